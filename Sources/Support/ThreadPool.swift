import ApusCABI
import Glibc
import Synchronization

/// Threads that share parallel loops: a fixed number of workers beside the calling thread, static partition,
/// a barrier at the end of each loop.
///
/// Workers sleep in the kernel between loops. Only inside `activeRegion` (one run of a model) do they look
/// for the next loop for a short while before they sleep, since a model launches hundreds in a row; after the
/// region nothing spins. Threads are not bound to processors. A launch allocates nothing. A loop within a
/// task, or while another thread's loop has the pool, runs on the calling thread alone; so does every loop while
/// as many models run at once as there are threads, since each of these has a thread already.
public final class ThreadPool: @unchecked Sendable {
    /// Runs task number `id` of `count`; a value other than 0 says that it failed.
    public typealias Task =
        @convention(c) (_ id: Int32, _ count: Int32, _ data: UnsafeMutableRawPointer?) -> Int32

    /// The pool of the process; its size is `machineThreads` until `setSize` changes it.
    public static let shared = ThreadPool(size: machineThreads)

    private let state: PoolState
    private var threads: [pthread_t] = []
    private let size = Atomic<Int>(1)
    private let forks = Atomic<Int32>(0)
    private let configuration = Locked<Void>(())

    /// A pool of `size` threads, the calling one included, at most 1024. Where the system refuses a thread,
    /// the pool is smaller.
    public init(size: Int) {
        state = PoolState()
        installForkHandler()
        start(max(1, min(size, 1024)))
    }

    deinit {
        stop()
        state.deallocate()
    }

    /// Threads that share a loop, the calling one included.
    public var threadCount: Int { size.load(ordering: .relaxed) }

    /// Changes the number of threads, at least 1 and at most 1024; waits for a loop of another thread to end.
    /// Does nothing within a task.
    public func setSize(_ count: Int) {
        let wanted = max(1, min(count, 1024))
        if ThreadPool.isInsideTask { return }
        configuration.with { _ in
            if wanted == threadCount { return }
            while !state.acquire() { sched_yield() }
            stop()
            start(wanted)
            state.release()
        }
    }

    /// Runs `body` with `count` threads, then goes back to the former number. For tests and benchmarks: it
    /// changes the pool for every thread of the process.
    public func withThreads<R>(_ count: Int, _ body: () throws -> R) rethrows -> R {
        let before = threadCount
        setSize(count)
        defer { setSize(before) }
        return try body()
    }

    // MARK: Loops

    /// Whether the present thread runs a task of any pool.
    public static var isInsideTask: Bool { pthread_getspecific(insideTaskKey) != nil }

    /// Runs `task` for every id in `0..<count`, spread over the threads in consecutive shares, and waits for
    /// all. A count of 0 or less means one task a thread.
    /// - Returns: 0, or the value of one task that failed; its thread then skips the rest of its share.
    public func launch(_ task: Task, _ data: UnsafeMutableRawPointer?, count: Int32) -> Int32 {
        if ThreadPool.isInsideTask {
            return ThreadPool.runShare(task, data, max(count, 1), from: 0, to: max(count, 1))
        }
        let total = count > 0 ? count : Int32(truncatingIfNeeded: threadCount)
        guard total > 1, threadCount > 1, !othersTakeAllThreads, state.acquire() else {
            pthread_setspecific(insideTaskKey, insideMark)
            defer { pthread_setspecific(insideTaskKey, nil) }
            return ThreadPool.runShare(task, data, total, from: 0, to: total)
        }
        if forks.load(ordering: .relaxed) != forkCount.load(ordering: .relaxed) { restartAfterFork() }
        pthread_setspecific(insideTaskKey, insideMark)
        let status = state.run(task, data, total, workers: Int32(truncatingIfNeeded: threads.count))
        pthread_setspecific(insideTaskKey, nil)
        state.release()
        return status
    }

    /// Whether regions of other threads and this thread are as many as the threads there are.
    private var othersTakeAllThreads: Bool {
        let open = Int(state.regions.pointee.load(ordering: .relaxed))
        if open <= 1 && isInsideOwnRegion { return false }
        // In a child process the regions of other threads are gone, and the pool starts anew.
        if forks.load(ordering: .relaxed) != forkCount.load(ordering: .relaxed) { return false }
        let others = open - (isInsideOwnRegion ? 1 : 0)
        return others > 0 && others + 1 >= threadCount
    }

    /// Processor time that the workers have used since they were started, in nanoseconds.
    package var workerNanoseconds: Int {
        configuration.with { _ in
            var total = 0
            for thread in threads {
                var clock = clockid_t()
                var time = timespec()
                guard pthread_getcpuclockid(thread, &clock) == 0, clock_gettime(clock, &time) == 0 else {
                    continue
                }
                total += time.tv_sec * 1_000_000_000 + time.tv_nsec
            }
            return total
        }
    }

    /// Runs `body` on consecutive ranges that together are `0..<count`, one a thread, and waits for all.
    ///
    /// If `body` throws, the error of the lowest range is thrown after all are done.
    public func parallelRanges<E: Error>(
        _ count: Int, _ body: (Range<Int>) throws(E) -> Void
    ) throws(E) {
        if count <= 0 { return }
        if count == 1 || threadCount == 1 || ThreadPool.isInsideTask { return try body(0..<count) }
        let failure = Locked<(at: Int, error: E)?>(nil)
        let run: (Range<Int>) -> Void = { range in
            do throws(E) {
                try body(range)
            } catch {
                failure.with {
                    if $0.map({ range.lowerBound < $0.at }) ?? true { $0 = (range.lowerBound, error) }
                }
            }
        }
        withoutActuallyEscaping(run) { run in
            var job = RangeJob(run: run, count: count)
            withUnsafeMutablePointer(to: &job) { job in
                _ = launch(
                    { id, tasks, data in
                        guard let job = data?.assumingMemoryBound(to: RangeJob.self) else { return -1 }
                        let range = ThreadPool.share(Int(id), of: Int(tasks), job.pointee.count)
                        if !range.isEmpty { job.pointee.run(range) }
                        return 0
                    }, UnsafeMutableRawPointer(job), count: Int32(truncatingIfNeeded: min(count, threadCount))
                )
            }
        }
        if let found = failure.with({ $0 }) { throw found.error }
    }

    /// Runs `body` for every number in `0..<count`; otherwise as `parallelRanges`.
    public func parallelFor<E: Error>(_ count: Int, _ body: (Int) throws(E) -> Void) throws(E) {
        try parallelRanges(count) { (range: Range<Int>) throws(E) in
            for i in range { try body(i) }
        }
    }

    private struct RangeJob {
        let run: (Range<Int>) -> Void
        let count: Int
    }

    /// Share number `i` of `parts` of `0..<count`: sizes differ by at most one, larger first.
    package static func share(_ i: Int, of parts: Int, _ count: Int) -> Range<Int> {
        let small = count / parts
        let large = count % parts
        let begin = i * small + min(i, large)
        return begin..<begin + small + (i < large ? 1 : 0)
    }

    fileprivate static func runShare(
        _ task: Task, _ data: UnsafeMutableRawPointer?, _ total: Int32, from: Int32, to: Int32
    ) -> Int32 {
        var id = from
        while id < to {
            let status = task(id, total, data)
            if status != 0 { return status }
            id += 1
        }
        return 0
    }

    // MARK: Regions

    /// Marks a stretch in which loops follow each other closely, such as one run of a model: idle workers
    /// look for the next loop a while before they sleep. Nests; never keep a region open while waiting for
    /// anything else.
    @inline(__always)
    public func activeRegion<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
        // A region within one of the same thread is no second one, and within a task nothing is shared.
        if isInsideOwnRegion || ThreadPool.isInsideTask { return try body() }
        let outer = pthread_getspecific(regionKey)
        pthread_setspecific(regionKey, state.base)
        state.regions.pointee.add(1, ordering: .relaxed)
        defer {
            state.regions.pointee.subtract(1, ordering: .relaxed)
            pthread_setspecific(regionKey, outer)
        }
        return try body()
    }

    private var isInsideOwnRegion: Bool { pthread_getspecific(regionKey) == state.base }

    // MARK: Workers

    private func start(_ count: Int) {
        let generation = state.generation.pointee.load(ordering: .relaxed)
        state.stopping.pointee.store(0, ordering: .relaxed)
        forks.store(forkCount.load(ordering: .relaxed), ordering: .relaxed)
        // Workers must not take the signals that the host program waits for.
        var all = sigset_t()
        var before = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &before)
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setstacksize(&attributes, 8 << 20)
        for index in 1..<max(count, 1) {
            let worker = UnsafeMutablePointer<Worker>.allocate(capacity: 1)
            worker.initialize(
                to: Worker(state: state, index: Int32(index), count: count, generation: generation))
            var thread = pthread_t()
            let status = pthread_create(
                &thread, &attributes,
                { raw in
                    guard let worker = raw?.assumingMemoryBound(to: Worker.self) else { return nil }
                    let own = worker.pointee
                    worker.deallocate()
                    pthread_setspecific(insideTaskKey, insideMark)
                    own.state.work(own.index, of: own.count, own.generation)
                    return nil
                }, UnsafeMutableRawPointer(worker))
            if status != 0 {
                worker.deallocate()
                break
            }
            threads.append(thread)
        }
        pthread_attr_destroy(&attributes)
        pthread_sigmask(SIG_SETMASK, &before, nil)
        size.store(threads.count + 1, ordering: .relaxed)
    }

    private func stop() {
        state.stopping.pointee.store(1, ordering: .sequentiallyConsistent)
        state.generation.pointee.add(1, ordering: .sequentiallyConsistent)
        apus_futex_wake(state.generationWord, Int32.max)
        for thread in threads { pthread_join(thread, nil) }
        threads.removeAll()
        size.store(1, ordering: .relaxed)
    }

    /// In a child process the workers do not exist any more: make new ones.
    private func restartAfterFork() {
        let count = threads.count + 1
        threads.removeAll()
        state.sleepers.pointee.store(0, ordering: .relaxed)
        // Regions of other threads do not exist any more either.
        state.regions.pointee.store(isInsideOwnRegion ? 1 : 0, ordering: .relaxed)
        start(count)
    }

    private struct Worker {
        let state: PoolState
        let index: Int32
        let count: Int
        let generation: UInt32
    }
}

/// Set on a thread while it runs tasks; on workers always.
private let insideTaskKey: pthread_key_t = {
    var key = pthread_key_t()
    let status = pthread_key_create(&key, nil)
    if status != 0 { internalError("pthread_key_create failed: \(status)") }
    return key
}()
/// The pool in whose active region a thread is, by the address of its state.
private let regionKey: pthread_key_t = {
    var key = pthread_key_t()
    let status = pthread_key_create(&key, nil)
    if status != 0 { internalError("pthread_key_create failed: \(status)") }
    return key
}()
nonisolated(unsafe) private let insideMark = UnsafeRawPointer(bitPattern: 1)

/// How often this process came out of a fork as the child.
private let forkCount = Atomic<Int32>(0)
private let forkHandlerOnce: Void = {
    pthread_atfork(nil, nil) { forkCount.add(1, ordering: .relaxed) }
    return ()
}()
private func installForkHandler() { _ = forkHandlerOnce }

/// What the threads of a pool share, at fixed addresses: atomics that different threads write lie on cache
/// lines of their own. (128 bytes: processors fetch lines in pairs.)
private struct PoolState: @unchecked Sendable {
    private static let line = 128
    /// Rounds of looking for the next loop before sleeping, of the order of 100 microseconds.
    private static let spinRounds = 3000

    private struct Job {
        var task: ThreadPool.Task?
        var data: UnsafeMutableRawPointer?
        var total: Int32 = 0
        var threads: Int32 = 1
    }

    let base: UnsafeMutableRawPointer
    /// Number of the present loop; workers wait for it to change.
    let generation: UnsafeMutablePointer<Atomic<UInt32>>
    /// Workers that have not finished the present loop.
    private let pending: UnsafeMutablePointer<Atomic<UInt32>>
    /// Workers asleep, or about to be, on `generation`.
    let sleepers: UnsafeMutablePointer<Atomic<UInt32>>
    /// Whether the caller sleeps, or is about to, on `pending`.
    private let callerSleeps: UnsafeMutablePointer<Atomic<UInt32>>
    /// Open active regions.
    let regions: UnsafeMutablePointer<Atomic<UInt32>>
    let stopping: UnsafeMutablePointer<Atomic<UInt32>>
    /// 1 while a loop has the pool.
    private let busy: UnsafeMutablePointer<Atomic<UInt32>>
    /// The value of a task that failed in the present loop.
    private let failure: UnsafeMutablePointer<Atomic<UInt32>>
    /// The present loop; written before `generation` is released.
    private let job: UnsafeMutablePointer<Job>

    /// One round of looking. Where there are more runnable threads than processors, the one waited for may
    /// need ours: now and then it is offered.
    @inline(__always)
    private static func pause(_ round: Int) {
        if round & 31 == 0 { sched_yield() } else { apus_cpu_pause() }
    }

    init() {
        let fields = 9
        let base = UnsafeMutableRawPointer.allocate(
            byteCount: PoolState.line * fields, alignment: PoolState.line)
        func word(_ i: Int) -> UnsafeMutablePointer<Atomic<UInt32>> {
            let pointer = (base + i * PoolState.line).bindMemory(to: Atomic<UInt32>.self, capacity: 1)
            pointer.initialize(to: Atomic<UInt32>(0))
            return pointer
        }
        self.base = base
        generation = word(0)
        pending = word(1)
        sleepers = word(2)
        callerSleeps = word(3)
        regions = word(4)
        stopping = word(5)
        busy = word(6)
        failure = word(7)
        job = (base + 8 * PoolState.line).bindMemory(to: Job.self, capacity: 1)
        job.initialize(to: Job())
    }

    func deallocate() { base.deallocate() }

    /// An atomic of 32 bits is nothing but these bits, as the kernel needs them.
    var generationWord: UnsafeMutablePointer<UInt32> {
        UnsafeMutableRawPointer(generation).assumingMemoryBound(to: UInt32.self)
    }
    private var pendingWord: UnsafeMutablePointer<UInt32> {
        UnsafeMutableRawPointer(pending).assumingMemoryBound(to: UInt32.self)
    }

    func acquire() -> Bool {
        busy.pointee.compareExchange(expected: 0, desired: 1, ordering: .acquiringAndReleasing).exchanged
    }
    func release() { busy.pointee.store(0, ordering: .releasing) }

    /// One loop, by whoever has acquired the pool.
    func run(
        _ task: @escaping ThreadPool.Task, _ data: UnsafeMutableRawPointer?, _ total: Int32, workers: Int32
    )
        -> Int32
    {
        let participants = workers + 1
        job.pointee = Job(task: task, data: data, total: total, threads: participants)
        failure.pointee.store(0, ordering: .relaxed)
        callerSleeps.pointee.store(0, ordering: .relaxed)
        pending.pointee.store(UInt32(workers), ordering: .relaxed)
        // Sequentially consistent against a worker that first says it sleeps, then looks at the number again.
        generation.pointee.add(1, ordering: .sequentiallyConsistent)
        if sleepers.pointee.load(ordering: .sequentiallyConsistent) > 0 {
            apus_futex_wake(generationWord, Int32.max)
        }
        runShare(0, job.pointee)
        var rounds = 0
        while pending.pointee.load(ordering: .acquiring) != 0 {
            rounds += 1
            if rounds < PoolState.spinRounds {
                PoolState.pause(rounds)
                continue
            }
            callerSleeps.pointee.store(1, ordering: .sequentiallyConsistent)
            let left = pending.pointee.load(ordering: .sequentiallyConsistent)
            if left != 0 { apus_futex_wait(pendingWord, left) }
        }
        return Int32(bitPattern: failure.pointee.load(ordering: .relaxed))
    }

    /// The life of worker number `index` of a pool of `count` threads.
    func work(_ index: Int32, of count: Int, _ start: UInt32) {
        var seen = start
        // With as many regions open as there are threads all loops run on their own threads, and workers sleep.
        func looks() -> Bool {
            let open = regions.pointee.load(ordering: .relaxed)
            return open == 1 || open > 1 && open < count
        }
        while true {
            var now = generation.pointee.load(ordering: .acquiring)
            var rounds = 0
            while now == seen && rounds < PoolState.spinRounds && looks() {
                rounds += 1
                PoolState.pause(rounds)
                now = generation.pointee.load(ordering: .acquiring)
            }
            while now == seen {
                sleepers.pointee.add(1, ordering: .sequentiallyConsistent)
                now = generation.pointee.load(ordering: .sequentiallyConsistent)
                if now == seen { apus_futex_wait(generationWord, seen) }
                sleepers.pointee.subtract(1, ordering: .relaxed)
                now = generation.pointee.load(ordering: .acquiring)
            }
            seen = now
            if stopping.pointee.load(ordering: .acquiring) != 0 { return }
            runShare(index, job.pointee)
            let left = pending.pointee.subtract(1, ordering: .sequentiallyConsistent).newValue
            if left == 0 && callerSleeps.pointee.load(ordering: .sequentiallyConsistent) != 0 {
                apus_futex_wake(pendingWord, 1)
            }
        }
    }

    private func runShare(_ thread: Int32, _ job: Job) {
        guard let task = job.task else { return }
        let range = ThreadPool.share(Int(thread), of: Int(job.threads), Int(job.total))
        let status = ThreadPool.runShare(
            task, job.data, job.total, from: Int32(range.lowerBound), to: Int32(range.upperBound))
        if status != 0 { failure.pointee.store(UInt32(bitPattern: status), ordering: .relaxed) }
    }
}
