import ApusSupport
import Glibc
import Synchronization
import Testing

private struct Failure: Error, Equatable { let at: Int }

/// What the C-style tasks of these tests work on.
private final class Counters: @unchecked Sendable {
    let hits: UnsafeMutablePointer<Int32>
    let count: Int
    init(_ count: Int) {
        hits = .allocate(capacity: count)
        hits.initialize(repeating: 0, count: count)
        self.count = count
    }
    deinit { hits.deallocate() }
}

/// Where threads wait for each other, and count.
private final class Meeting: Sendable {
    private let arrived = Atomic<Int>(0)
    private let moved = Atomic<Int>(0)

    /// Waits until it was called `total` times.
    func wait(for total: Int) {
        arrived.add(1, ordering: .sequentiallyConsistent)
        while arrived.load(ordering: .sequentiallyConsistent) < total { sched_yield() }
    }
    func noteMove() { moved.add(1, ordering: .relaxed) }
    var moves: Int { moved.load(ordering: .relaxed) }
}

/// Starts a thread, to be joined; nil where the system refuses one.
private func startThread(_ body: @escaping @Sendable () -> Void) -> pthread_t? {
    final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let status = pthread_create(
        &thread, nil,
        { raw in
            if let raw { Unmanaged<Box>.fromOpaque(raw).takeRetainedValue().body() }
            return nil
        }, Unmanaged.passRetained(Box(body)).toOpaque())
    return status == 0 ? thread : nil
}

private let countTask: ThreadPool.Task = { id, total, data in
    guard let hits = data?.assumingMemoryBound(to: Int32.self) else { return -1 }
    hits[Int(id)] += 1
    return 0
}

@Suite(.serialized) struct ThreadPoolTests {
    @Test(arguments: [1, 2, 3, 4, 8])
    func everyTaskRunsExactlyOnce(threads: Int) {
        let pool = ThreadPool(size: threads)
        #expect(pool.threadCount == threads)
        for total in [1, 2, 3, 7, 8, 64, 1000] {
            let counters = Counters(total)
            #expect(pool.launch(countTask, counters.hits, count: Int32(total)) == 0)
            for i in 0..<total { #expect(counters.hits[i] == 1) }
        }
    }

    @Test func stressIsExact() {
        let pool = ThreadPool(size: 4)
        let total = 37
        let counters = Counters(total)
        for _ in 0..<20_000 { _ = pool.launch(countTask, counters.hits, count: Int32(total)) }
        for i in 0..<total { #expect(counters.hits[i] == 20_000) }
    }

    @Test func stressInsideRegionIsExact() {
        let pool = ThreadPool(size: 4)
        let counters = Counters(8)
        pool.activeRegion { for _ in 0..<20_000 { _ = pool.launch(countTask, counters.hits, count: 8) } }
        for i in 0..<8 { #expect(counters.hits[i] == 20_000) }
    }

    @Test func launchIsABarrier() {
        let pool = ThreadPool(size: 3)
        let n = 300
        nonisolated(unsafe) let cells = UnsafeMutablePointer<Int>.allocate(capacity: 2 * n)
        cells.initialize(repeating: 0, count: 2 * n)
        defer { cells.deallocate() }
        // Each round reads, from the other half, what all tasks of the round before wrote.
        for round in 1...500 {
            let from = cells + (round % 2) * n
            let to = cells + ((round + 1) % 2) * n
            pool.parallelFor(n) { i in to[i] = max(from[i], from[(i + 1) % n], from[(i + n - 1) % n]) + 1 }
            // One cell that lagged behind would stay visible as a smaller number.
            let slow = (0..<n).min { to[$0] < to[$1] }
            #expect(slow.map { to[$0] } == round)
        }
    }

    @Test func zeroCountMeansOneATask() {
        let pool = ThreadPool(size: 3)
        let counters = Counters(3)
        #expect(pool.launch(countTask, counters.hits, count: 0) == 0)
        #expect((0..<3).map { counters.hits[$0] } == [1, 1, 1])
    }

    @Test func failingTaskGivesItsStatus() {
        let pool = ThreadPool(size: 4)
        let status = pool.launch({ id, _, _ in id == 11 ? 42 : 0 }, nil, count: 16)
        #expect(status == 42)
        #expect(pool.launch({ _, _, _ in 0 }, nil, count: 16) == 0)
    }

    @Test func lowestErrorIsThrown() {
        let pool = ThreadPool(size: 4)
        for _ in 0..<50 {
            #expect(throws: Failure(at: 3)) {
                try pool.parallelFor(400) { i in if i % 100 == 3 { throw Failure(at: i) } }
            }
        }
    }

    @Test func parallelForCoversSums() {
        let pool = ThreadPool(size: 4)
        for n in [0, 1, 2, 5, 1023] {
            let sum = Atomic<Int>(0)
            pool.parallelFor(n) { i in sum.add(i, ordering: .relaxed) }
            #expect(sum.load(ordering: .relaxed) == n * (n - 1) / 2)
        }
    }

    @Test func rangesAreConsecutiveAndComplete() {
        let pool = ThreadPool(size: 3)
        let seen = Locked<[Range<Int>]>([])
        pool.parallelRanges(10) { range in seen.with { $0.append(range) } }
        #expect(seen.with { $0.sorted { $0.lowerBound < $1.lowerBound } } == [0..<4, 4..<7, 7..<10])
    }

    @Test func nothingSpinsAfterARegion() {
        let pool = ThreadPool(size: 3)
        let counters = Counters(3)
        pool.activeRegion { for _ in 0..<1000 { _ = pool.launch(countTask, counters.hits, count: 3) } }
        // Workers look at the region's end within one round of looking.
        usleep(20_000)
        let before = pool.workerNanoseconds
        #expect(before > 0)
        usleep(200_000)
        #expect(pool.workerNanoseconds - before < 2_000_000)
    }

    /// As many models at once as there are threads: each keeps to its own.
    @Test func regionsOfOtherThreadsTakeThreads() {
        let pool = ThreadPool(size: 2)
        let meeting = Meeting()
        let run: @Sendable () -> Void = {
            pool.activeRegion {
                meeting.wait(for: 2)
                let here = pthread_self()
                for _ in 0..<100 {
                    pool.parallelFor(8) { _ in
                        if pthread_equal(here, pthread_self()) == 0 { meeting.noteMove() }
                    }
                }
                meeting.wait(for: 4)
            }
        }
        let other = startThread(run)
        run()
        if let other { pthread_join(other, nil) }
        #expect(meeting.moves == 0)
        // The regions are closed: loops are shared again.
        let threads = Locked<Set<UInt>>([])
        pool.activeRegion {
            pool.parallelFor(2) { _ in
                _ = threads.with { $0.insert(UInt(pthread_self())) }
                usleep(1000)
            }
        }
        #expect(threads.with { $0.count } == 2)
    }

    @Test func nestedLoopsRunOnOneThread() {
        let pool = ThreadPool(size: 4)
        let total = Atomic<Int>(0)
        let moved = Atomic<Int>(0)
        pool.parallelFor(8) { _ in
            let here = pthread_self()
            #expect(ThreadPool.isInsideTask)
            pool.parallelFor(10) { _ in
                total.add(1, ordering: .relaxed)
                if pthread_equal(here, pthread_self()) == 0 { moved.add(1, ordering: .relaxed) }
            }
        }
        #expect(total.load(ordering: .relaxed) == 80)
        #expect(moved.load(ordering: .relaxed) == 0)
        #expect(!ThreadPool.isInsideTask)
    }

    @Test func manyThreadsMayLaunchAtOnce() {
        let pool = ThreadPool(size: 3)
        let drivers = ThreadPool(size: 4)
        let counts = Locked<Int>(0)
        // Within a task loops are serial; real contention comes from threads outside the pool.
        func driver() -> pthread_t {
            var thread = pthread_t()
            let job = Unmanaged.passRetained(Job(pool, counts)).toOpaque()
            pthread_create(
                &thread, nil,
                { raw in
                    let job = Unmanaged<Job>.fromOpaque(raw!).takeRetainedValue()
                    for _ in 0..<300 { job.pool.parallelFor(5) { _ in job.counts.with { $0 += 1 } } }
                    return nil
                }, job)
            return thread
        }
        let threads = (0..<4).map { _ in driver() }
        for thread in threads { pthread_join(thread, nil) }
        #expect(counts.with { $0 } == 4 * 300 * 5)
        _ = drivers
    }

    @Test func sizeChanges() {
        let pool = ThreadPool(size: 2)
        for n in [4, 1, 3, 2, 8, 1] {
            pool.setSize(n)
            #expect(pool.threadCount == n)
            let counters = Counters(16)
            _ = pool.launch(countTask, counters.hits, count: 16)
            #expect((0..<16).allSatisfy { counters.hits[$0] == 1 })
        }
        pool.withThreads(5) { #expect(pool.threadCount == 5) }
        #expect(pool.threadCount == 1)
        pool.setSize(0)
        #expect(pool.threadCount == 1)
    }

    @Test func idleWorkersUseNoTime() {
        let pool = ThreadPool(size: 4)
        pool.parallelFor(4) { _ in }
        usleep(20_000)
        // Their own time, whatever other suites do. A spinning pool would burn 3 x 100 ms.
        let before = pool.workerNanoseconds
        usleep(100_000)
        #expect(pool.workerNanoseconds - before < 10_000_000)
        #expect(pool.threadCount == 4)
    }

    @Test func sharesDifferByAtMostOne() {
        for parts in 1...9 {
            for count in 0...40 {
                let sizes = (0..<parts).map { ThreadPool.share($0, of: parts, count).count }
                #expect(sizes.reduce(0, +) == count)
                #expect((sizes.max() ?? 0) - (sizes.min() ?? 0) <= 1)
            }
        }
    }

    @Test func childOfAForkHasAPool() {
        let pool = ThreadPool(size: 3)
        pool.parallelFor(3) { _ in }
        // `fork` is not offered to Swift; the pool's handling is reached through the C function by name.
        typealias Fork = @convention(c) () -> Int32
        guard let symbol = dlsym(nil, "fork") else { return }
        let child = unsafeBitCast(symbol, to: Fork.self)()
        if child == 0 {
            let sum = Atomic<Int>(0)
            pool.parallelFor(100) { i in sum.add(i, ordering: .relaxed) }
            _exit(sum.load(ordering: .relaxed) == 4950 ? 0 : 1)
        }
        var status: Int32 = -1
        #expect(waitpid(child, &status, 0) == child)
        #expect(status == 0)
    }
}

private final class Job: Sendable {
    let pool: ThreadPool
    let counts: Locked<Int>
    init(_ pool: ThreadPool, _ counts: Locked<Int>) {
        self.pool = pool
        self.counts = counts
    }
}

@Suite struct ThreadCountTests {
    @Test(arguments: [("4", 4), ("2,4", 2), (" 3 ", 3)])
    func numbers(text: String, expected: Int) { #expect(ThreadPool.parseThreadCount(text) == expected) }

    @Test(arguments: ["", "0", "-1", "many", ",2", "99999999999999999999"])
    func noNumbers(text: String) { #expect(ThreadPool.parseThreadCount(text) == nil) }

    @Test func atLeastOne() { #expect(ThreadPool.machineThreads >= 1) }

    private func folder(_ files: [(String, String)]) -> String {
        var template = Array("/tmp/apus-cgroup-XXXXXX\0".utf8CString)
        let root = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
        for (path, text) in files {
            var current = root
            let parts = path.split(separator: "/")
            for part in parts.dropLast() {
                current += "/\(part)"
                mkdir(current, 0o755)
            }
            let file = open("\(root)/\(path)", O_WRONLY | O_CREAT, 0o644)
            _ = Array(text.utf8).withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
            close(file)
        }
        return root
    }

    @Test func version2QuotaRoundsUp() {
        let root = folder([("a/cpu.max", "150000 100000\n")])
        #expect(ThreadPool.cgroupQuota(root: root, membership: "0::/a\n") == 2)
    }

    @Test func version2AncestorsCount() {
        let root = folder([("a/b/cpu.max", "400000 100000\n"), ("a/cpu.max", "100000 100000\n")])
        #expect(ThreadPool.cgroupQuota(root: root, membership: "0::/a/b\n") == 1)
    }

    @Test func version2InContainerUsesTheRoot() {
        let root = folder([("cpu.max", "300000 100000\n")])
        #expect(ThreadPool.cgroupQuota(root: root, membership: "0::/not/there\n") == 3)
    }

    @Test func version2WithoutLimit() {
        let root = folder([("a/cpu.max", "max 100000\n")])
        #expect(ThreadPool.cgroupQuota(root: root, membership: "0::/a\n") == nil)
    }

    @Test func version1() {
        let root = folder([
            ("cpu,cpuacct/x/cpu.cfs_quota_us", "250000\n"), ("cpu,cpuacct/x/cpu.cfs_period_us", "100000\n"),
        ])
        #expect(ThreadPool.cgroupQuota(root: root, membership: "4:cpu,cpuacct:/x\n1:name=systemd:/\n") == 3)
    }

    @Test func version1WithoutLimit() {
        let root = folder([("cpu/cpu.cfs_quota_us", "-1\n"), ("cpu/cpu.cfs_period_us", "100000\n")])
        #expect(ThreadPool.cgroupQuota(root: root, membership: "4:cpu:/\n") == nil)
    }

    @Test(arguments: ["", "garbage", "0:", "::::", "0::/../../etc\n"])
    func strangeMembership(text: String) {
        #expect(ThreadPool.cgroupQuota(root: "/nonexistent", membership: text) == nil)
    }
}
