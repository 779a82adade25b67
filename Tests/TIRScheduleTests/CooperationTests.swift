import ApusArith
import ApusDriver
import ApusIR
import ApusNode
import ApusRuntime
import ApusScheduleFuzzing
import ApusSupport
import ApusTE
import ApusTIR
import ApusTIRSchedule
import ApusTIRTransforms
import Testing

/// A scheduled function as a host function `main` and kernels, barriers placed.
func deviceLowered(_ f: PrimFunc) throws -> IRModule {
    var m = IRModule(f, name: "main")
    for pass in TIRPasses.deviceLowering { m = try pass.run(m, PassContext()) }
    return m
}

/// Runs a module of `deviceLowered`: the threads of a block side by side, from barrier to barrier.
func runOnThreads(_ m: IRModule, _ arguments: [NDArray], detectRaces: Bool = false) throws {
    guard let host = m["main"] as? PrimFunc else { throw ApusError("TEST002", "no host function") }
    var options = TIRInterpreter.Options()
    options.detectRaces = detectRaces
    try TIRInterpreter.run(host, arguments, module: m, options: options)
}

/// Threads that fill shared memory for each other.
@Suite struct CooperationTests {
    /// C = A B in tiles of 4 by 4 threads; each step over k fetches tiles of both operands into shared memory.
    static func matmul(_ n: Int = 8, tile: Int = 4) throws -> (program: PrimFunc, schedule: Schedule) {
        let a = te.placeholder([n, n], name: "A"), b = te.placeholder([n, n], name: "B")
        let k = te.reduceAxis(0..<n, name: "k")
        let c = te.compute([n, n], name: "C") { i, j in te.sum(a[i, k] * b[k, j], axis: k) }
        let program = try createPrimFunc([a, b, c])
        let s = try Schedule(program)
        let block = try s.getBlock("C")
        let fetchA = try s.cacheRead(block, 0, "shared")
        let fetchB = try s.cacheRead(block, 1, "shared")
        let l = try s.getLoops(block)
        let (y, x) = (try s.split(l[0], factors: [nil, tile]), try s.split(l[1], factors: [nil, tile]))
        let step = try s.split(l[2], factors: [nil, tile])
        try s.reorder([y[0], x[0], y[1], x[1], step[0], step[1]])
        try s.bind(y[0], thread: "blockIdx.y")
        try s.bind(x[0], thread: "blockIdx.x")
        try s.bind(y[1], thread: "threadIdx.y")
        try s.bind(x[1], thread: "threadIdx.x")
        for f in [fetchA, fetchB] {
            try s.computeAt(f, step[0])
            let own = try s.getLoops(f)
            try s.bind(own[own.count - 2], thread: "threadIdx.y")
            try s.bind(own[own.count - 1], thread: "threadIdx.x")
        }
        return (program, s)
    }

    private func arguments(_ f: PrimFunc) throws -> [NDArray] {
        try f.bufferMap.enumerated().map { i, e in
            let shape = try #require(e.buffer.staticShape)
            let values = (0..<shape.reduce(1, *)).map { Float(($0 * 7 + i * 3) % 9 - 4) }
            return NDArray(values, shape: shape)
        }
    }

    @Test func tilesOfAMatrixProduct() throws {
        let (program, s) = try Self.matmul()
        try s.verify(exhaustively: true)
        let (expected, direct) = (try arguments(program), try arguments(program))
        try TIRInterpreter.run(program, expected)
        try TIRInterpreter.run(s.function, direct)
        #expect(direct[2].hasSameContents(as: expected[2]))
        let m = try deviceLowered(s.function)
        let found = try arguments(program)
        try runOnThreads(m, found, detectRaces: true)
        #expect(found[2].hasSameContents(as: expected[2]), "\(m)")
        let kernel = try #require(m["main_kernel0"] as? PrimFunc)
        var barriers = 0
        var sizes: [[Int]] = []
        postOrderVisit(
            kernel.body, expr: { if ($0 as? Call)?.name == "tir.storage_sync" { barriers += 1 } },
            stmt: {
                if let a = $0 as? Allocate, a.buffer.scope == "shared" {
                    sizes.append(a.buffer.staticShape ?? [])
                }
            })
        #expect(barriers == 2)
        // The memory of the block is a tile of each operand.
        #expect(sizes == [[16], [16]])
    }

    @Test("without barriers, the race shows")
    func barriersAreNeeded() throws {
        let (program, s) = try Self.matmul()
        var m = IRModule(s.function, name: "main")
        for pass in TIRPasses.deviceLowering where !pass.info.name.hasPrefix("tir.ThreadSync") {
            m = try pass.run(m, PassContext())
        }
        #expect(throws: ApusError.self) { try runOnThreads(m, arguments(program), detectRaces: true) }
    }

    /// What each thread reads goes to memory of its own; what threads share is computed for all of them.
    @Test(arguments: [("shared", 12), ("shared.dyn", 12), ("warp", 12), ("local", 3), ("global", 3)])
    func regionsByScope(_ scope: String, _ count: Int) throws {
        let a = te.placeholder([12], name: "A")
        let b = te.compute([12], name: "B") { i in a[i] * 2 }
        let s = try Schedule(createPrimFunc([a, b]))
        let block = try s.getBlock("B")
        let fetch = try s.cacheRead(block, 0, scope)
        let parts = try s.split(s.getLoops(block)[0], factors: [4, 3])
        try s.bind(parts[0], thread: "threadIdx.x")
        try s.computeAt(fetch, parts[0])
        #expect(try s.get(s.getLoops(fetch)[1]).extent.asInt == count)
    }

    @Test(
        "axes of which a region is widened",
        arguments: [("threadIdx.y", 12), ("vthread", 12), ("blockIdx.x", 3)])
    func regionsByAxis(_ axis: String, _ count: Int) throws {
        let a = te.placeholder([12], name: "A")
        let b = te.compute([12], name: "B") { i in a[i] * 2 }
        let s = try Schedule(createPrimFunc([a, b]))
        let block = try s.getBlock("B")
        let fetch = try s.cacheRead(block, 0, "shared")
        let parts = try s.split(s.getLoops(block)[0], factors: [4, 3])
        try s.bind(parts[0], thread: axis)
        try s.computeAt(fetch, parts[0])
        #expect(try s.get(s.getLoops(fetch)[1]).extent.asInt == count)
    }

    @Test("a consumer of shared memory takes what its own thread made")
    func reverseComputeAt() throws {
        let a = te.placeholder([12], name: "A")
        let b = te.compute([12], name: "B") { i in a[i] * 2 }
        let program = try createPrimFunc([a, b])
        let s = try Schedule(program)
        let block = try s.getBlock("B")
        let copy = try s.cacheWrite(block, 0, "shared")
        let parts = try s.split(s.getLoops(block)[0], factors: [4, 3])
        try s.bind(parts[0], thread: "threadIdx.x")
        try s.reverseComputeAt(copy, parts[0])
        #expect(try s.get(s.getLoops(copy)[1]).extent.asInt == 3)
        let (expected, found) = (try arguments(program), try arguments(program))
        try TIRInterpreter.run(program, expected)
        try runOnThreads(deviceLowered(s.function), found, detectRaces: true)
        #expect(found[1].hasSameContents(as: expected[1]))
    }

    @Test("a later step may not take what threads share out of shared memory")
    func laterSteps() throws {
        let (_, s) = try Self.matmul()
        let before = s.text
        #expect(throws: ApusError.self) { try s.setScope(s.getBlock("A_shared"), scope: "local") }
        #expect(s.text == before)
    }

    private func code(_ body: () throws -> Void) -> String? {
        do { try body() } catch { return (error as? ApusError)?.code ?? "\(error)" }
        return nil
    }

    @Test("memory of a thread's own is not read by another one")
    func strangers() throws {
        let a = te.placeholder([8], name: "A")
        let b = te.compute([8], name: "B") { i in a[i] * 2 }
        let program = try createPrimFunc([a, b, te.compute([8], name: "C") { i in b[i] + 1 }])
        for scope in ["local", "shared"] {
            let s = try Schedule(program)
            let c = try s.getBlock("C")
            let copy = try s.cacheRead(c, 0, scope)
            try s.bind(s.split(s.getLoops(c)[0], factors: [nil, 4])[1], thread: "threadIdx.x")
            let own = try s.split(s.getLoops(copy)[0], factors: [4, nil])
            #expect(code { try s.bind(own[0], thread: "threadIdx.x") } == (scope == "local" ? "SCH040" : nil))
        }
    }

    @Test("virtual threads have shared memory of their own where its contents differ")
    func virtualThreads() throws {
        let a = te.placeholder([4, 8], name: "A")
        let program = try createPrimFunc([a, te.compute([4, 8], name: "B") { i, j in a[i, 7 - j] * 2 }])
        for tag in ["vthread", "cthread"] {
            let s = try Schedule(program)
            let b = try s.getBlock("B")
            let fetch = try s.cacheRead(b, 0, "shared")
            let l = try s.getLoops(b)
            let rows = try s.split(l[0], factors: [2, 2])
            try s.computeAt(fetch, rows[1])
            try s.bind(rows[0], thread: "blockIdx.x")
            try s.bind(rows[1], thread: tag)
            try s.bind(l[1], thread: "threadIdx.x")
            try s.bind(s.getLoops(fetch)[2], thread: "threadIdx.x")
            let (expected, found) = (try arguments(program), try arguments(program))
            try TIRInterpreter.run(program, expected)
            try runOnThreads(deviceLowered(s.function), found, detectRaces: true)
            #expect(found[1].hasSameContents(as: expected[1]))
        }
    }

    /// Row sums, the reduction across `threads` threads, beside a loop of eight threads that fetch a row.
    private func rowSums(fetchInside: Bool) throws -> (program: PrimFunc, schedule: Schedule) {
        let a = te.placeholder([3, 8], name: "A")
        let k = te.reduceAxis(0..<8, name: "k")
        let program = try createPrimFunc([a, te.compute([3], name: "S") { i in te.sum(a[i, k], axis: k) }])
        let s = try Schedule(program)
        let b = try s.getBlock("S")
        let fetch = try s.cacheRead(b, 0, "shared")
        let l = try s.getLoops(b)
        let parts = try s.split(l[1], factors: [4, 2])
        try s.bind(l[0], thread: "blockIdx.x")
        try s.computeAt(fetch, fetchInside ? parts[0] : l[0])
        let own = try s.getLoops(fetch)
        try s.bind(fetchInside ? parts[1] : parts[0], thread: "threadIdx.x")
        try s.bind(own[own.count - 1], thread: "threadIdx.x")
        return (program, s)
    }

    @Test("a reduction across fewer threads than its kernel has")
    func fewerThreads() throws {
        let (program, s) = try rowSums(fetchInside: false)
        let (expected, found) = (try arguments(program), try arguments(program))
        try TIRInterpreter.run(program, expected)
        try runOnThreads(deviceLowered(s.function), found, detectRaces: true)
        #expect(found[1].hasSameContents(as: expected[1]))
    }

    @Test("a reduction across threads with something else between its loops is refused, not begun anew")
    func brokenNests() throws {
        let (_, s) = try rowSums(fetchInside: true)
        #expect(code { _ = try deviceLowered(s.function) } == "TTR054")
    }
}
