import Glibc

/// Set while this thread runs on a stack made by `withLargeStack`: its size in bytes.
private let largeStackBytes = ThreadLocalBox<Int> { 0 }

private struct StackJob {
    var run: () -> Void
    var bytes: Int
}

/// Runs `body` on a thread of its own with a stack of at least `bytes`, waits, and returns or rethrows what
/// it did.
///
/// Recursive passes stay simple and still survive deep inputs this way: the memory is only reserved, pages
/// are taken as they are touched. A nested call runs where it is. Where the system refuses a stack of that
/// size, smaller ones are tried, down to running on the present stack. Thread-local state does not travel
/// along.
public func withLargeStack<R, E: Error>(bytes: Int = 1 << 30, _ body: () throws(E) -> R) throws(E) -> R {
    if largeStackBytes.with({ $0 }) >= bytes { return try body() }
    var outcome: Result<R, E>?
    let work: () -> Void = {
        do throws(E) {
            outcome = .success(try body())
        } catch {
            outcome = .failure(error)
        }
    }
    withoutActuallyEscaping(work) { escaping in
        var size = max(bytes, 1 << 20)
        while size >= 8 << 20 {
            var job = StackJob(run: escaping, bytes: size)
            if runOnThread(&job) { return }
            size /= 2
        }
        escaping()
    }
    guard let outcome else { internalError("the thread of withLargeStack left no result") }
    return try outcome.get()
}

/// Runs the job on a new thread of its stack size and joins it; false if the thread could not be made.
private func runOnThread(_ job: inout StackJob) -> Bool {
    withUnsafeMutablePointer(to: &job) { pointer in
        var attributes = pthread_attr_t()
        guard pthread_attr_init(&attributes) == 0 else { return false }
        defer { pthread_attr_destroy(&attributes) }
        guard pthread_attr_setstacksize(&attributes, pointer.pointee.bytes) == 0 else { return false }
        var thread = pthread_t()
        let status = pthread_create(
            &thread, &attributes,
            { raw in
                guard let raw else { return nil }
                let job = raw.assumingMemoryBound(to: StackJob.self)
                largeStackBytes.with { $0 = job.pointee.bytes }
                job.pointee.run()
                return nil
            }, UnsafeMutableRawPointer(pointer))
        guard status == 0 else { return false }
        pthread_join(thread, nil)
        return true
    }
}
