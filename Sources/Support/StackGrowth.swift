import ApusCABI

/// Runs `body`; where the present stack is nearly used up, on fresh memory. To be put at the recursion points of what
/// walks nested structures: those then need no bound on depth and no large stack around them.
///
/// The check is one comparison with a thread-local limit. Fresh stacks are 64 MiB each, only reserved; they belong to the
/// same thread, so that thread-local state and ownership are as before. (After Rust's `stacker`.)
@inlinable
@inline(__always)
public func growingStack<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    if _fastPath(apus_stack_is_low() == 0) { return try body() }
    return try onFreshStack(body)
}

/// Runs `body` on a stack of its own on this thread; where there is no memory for one, on the present stack.
@inline(never)
public func onFreshStack<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    var outcome: Result<R, E>?
    let work: () -> Void = {
        do throws(E) {
            outcome = .success(try body())
        } catch {
            outcome = .failure(error)
        }
    }
    withoutActuallyEscaping(work) { escaping in
        var job: () -> Void = escaping
        withUnsafeMutablePointer(to: &job) { pointer in
            let ran = apus_stack_call(
                { raw in raw?.assumingMemoryBound(to: (() -> Void).self).pointee() },
                UnsafeMutableRawPointer(pointer))
            if ran == 0 { escaping() }
        }
    }
    guard let outcome else { internalError("a stack of its own left no result") }
    return try outcome.get()
}

/// A function that can pause: `resume` runs it up to its next `pause` or its end, on the caller's thread but a stack of
/// its own. What runs in it must end: an owner that loses interest resumes it until it does.
public final class Coroutine {
    private var handle: OpaquePointer?
    private let body: (Coroutine) -> Void
    /// Whether it has ended.
    public private(set) var isDone = false

    /// nil where there is no memory for a stack of `stackBytes`.
    public init?(stackBytes: Int = 256 << 10, _ body: @escaping (Coroutine) -> Void) {
        self.body = body
        handle = nil
        let made = apus_coroutine_make(
            UInt64(max(stackBytes, 64 << 10)),
            { raw in
                guard let raw else { return }
                // The owner, who resumes, keeps the object.
                let me = Unmanaged<Coroutine>.fromOpaque(raw).takeUnretainedValue()
                me.body(me)
            }, Unmanaged.passUnretained(self).toOpaque())
        guard let made else { return nil }
        handle = made
    }

    deinit {
        if let handle { apus_coroutine_free(handle) }
    }

    /// Runs it up to its next pause or its end; whether it paused.
    @discardableResult
    public func resume() -> Bool {
        guard let handle, !isDone else { return false }
        if apus_coroutine_resume(handle) == 0 { isDone = true }
        return !isDone
    }

    /// Pauses; only from within.
    public func pause() {
        if let handle { apus_coroutine_yield(handle) }
    }
}
