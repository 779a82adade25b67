import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRTransforms
import Testing

/// A module whose kernels run as loops: what any target without threads can execute.
func threadsAsLoops(_ m: IRModule) throws -> IRModule {
    try m.mapFunctions { _, f in try (f as? PrimFunc).map { try convertThreadsToLoops($0) } ?? f }
}

/// Runs the pipeline on a scheduled function. Every step is verified and, once barriers are placed, executed; the result
/// must be that of the function as it is written.
@discardableResult
func expectDevice(
    _ f: PrimFunc, _ dims: [String: Int] = [:], warpSize: Int = 32,
    _ location: SourceLocation = #_sourceLocation
) throws -> IRModule {
    var context = PassContext()
    context.config["tir.warp_size"] = .int(warpSize)
    let want = tensors(f, dims)
    try TIRInterpreter.run(f, want)
    func check(_ m: IRModule, _ step: String) throws {
        let got = tensors(f, dims)
        guard let host = m["main"] as? PrimFunc else { return }
        do { try TIRInterpreter.run(host, got, module: m) } catch {
            Issue.record("after \(step): \(error)\n\(m)", sourceLocation: location)
            return
        }
        for (p, q) in zip(want, got) where !p.hasSameContents(as: q) {
            Issue.record("after \(step) results differ:\n\(m)", sourceLocation: location)
            return
        }
    }
    var m = IRModule(f)
    var synced = false
    for pass in TIRPasses.deviceLowering {
        m = try pass.run(m, context)
        try verifyWellFormed(m)
        if pass.info.name == "tir.ThreadSync(shared)" { synced = true }
        if synced { try check(try threadsAsLoops(m), pass.info.name) }
    }
    for (global, function) in m.definitions {
        guard let g = function as? PrimFunc else { continue }
        let text = "\(g)"
        #expect(
            structuralEqual(try parse(text), g), "\(global.name) does not read back", sourceLocation: location
        )
        let isKernel = CallingConvention.of(g) == .kernelLaunch
        let threads = count(g) { ($0 as? For)?.forKind == .threadBinding }
        #expect(isKernel || threads == 0, sourceLocation: location)
    }
    return m
}

@Suite struct DeviceLoweringTests {
    @Test func elementwise() throws {
        let m = try expectDevice(
            parse(
                """
                @T.prim_func
                def main(A: T.Buffer((n, 20), "float32"), B: T.Buffer((n, 20), "float32")):
                    with T.block("root"):
                        for b in T.thread_binding((n * 20 + 31) // 32, thread="blockIdx.x"):
                            for t in T.thread_binding(32, thread="threadIdx.x"):
                                with T.block("B"):
                                    vi = T.axis.spatial(n, (b * 32 + t) // 20)
                                    vj = T.axis.spatial(20, (b * 32 + t) % 20)
                                    T.where(b * 32 + t < n * 20)
                                    T.reads(A[vi, vj])
                                    T.writes(B[vi, vj])
                                    B[vi, vj] = A[vi, vj] + T.float32(1)
                """), ["n": 5])
        let kernel = try #require(m["main_kernel0"] as? PrimFunc)
        #expect(kernel.attrs["tir.device_thread_axis"] == .strings(["blockIdx.x", "threadIdx.x"]))
        #expect(kernel.params.map(\.name) == ["A", "B", "n"] || kernel.params.count == 3)
        let host = lowerKernelLaunch(m)
        let text = "\(try #require(host["main"] as? PrimFunc))"
        #expect(text.contains("T.call_packed(\"main_kernel0\""))
    }

    /// Tiles of 8 by 8 threads; each fetches its share of both operands into shared memory.
    static let matmul = """
        @T.prim_func
        def main(A: T.Buffer((16, 24), "float32"), B: T.Buffer((24, 16), "float32"), C: T.Buffer((16, 16), "float32")):
            with T.block("root"):
                AS = T.alloc_buffer((16, 24), "float32", scope="shared")
                BS = T.alloc_buffer((24, 16), "float32", scope="shared")
                for by in T.thread_binding(2, thread="blockIdx.y"):
                    for bx in T.thread_binding(2, thread="blockIdx.x"):
                        for ty in T.thread_binding(8, thread="threadIdx.y"):
                            for tx in T.thread_binding(8, thread="threadIdx.x"):
                                for ko in range(3):
                                    for ay in T.thread_binding(8, thread="threadIdx.y"):
                                        for ax in T.thread_binding(8, thread="threadIdx.x"):
                                            with T.block("AS"):
                                                v0 = T.axis.spatial(16, by * 8 + ay)
                                                v1 = T.axis.spatial(24, ko * 8 + ax)
                                                T.reads(A[v0, v1])
                                                T.writes(AS[v0, v1])
                                                AS[v0, v1] = A[v0, v1]
                                    for cy in T.thread_binding(8, thread="threadIdx.y"):
                                        for cx in T.thread_binding(8, thread="threadIdx.x"):
                                            with T.block("BS"):
                                                v0 = T.axis.spatial(24, ko * 8 + cy)
                                                v1 = T.axis.spatial(16, bx * 8 + cx)
                                                T.reads(B[v0, v1])
                                                T.writes(BS[v0, v1])
                                                BS[v0, v1] = B[v0, v1]
                                    for ki in range(8):
                                        with T.block("C"):
                                            vi = T.axis.spatial(16, by * 8 + ty)
                                            vj = T.axis.spatial(16, bx * 8 + tx)
                                            vk = T.axis.reduce(24, ko * 8 + ki)
                                            T.reads(AS[vi, vk], BS[vk, vj])
                                            T.writes(C[vi, vj])
                                            with T.init():
                                                C[vi, vj] = T.float32(0)
                                            C[vi, vj] = C[vi, vj] + AS[vi, vk] * BS[vk, vj]
        """

    @Test("a matrix product in tiles of shared memory: two barriers an iteration")
    func matmul() throws {
        let m = try expectDevice(parse(Self.matmul))
        let kernel = try #require(m["main_kernel0"] as? PrimFunc)
        var barriers = 0
        postOrderVisit(kernel.body, expr: { if ($0 as? Call)?.name == "tir.storage_sync" { barriers += 1 } })
        #expect(barriers == 2)
        #expect(count(kernel) { ($0 as? Allocate)?.buffer.scope == "shared" } == 2)
        // Compacted to a tile.
        #expect(count(kernel) { ($0 as? Allocate)?.buffer.staticShape == [64] } == 2)
    }

    @Test("reductions across threads, by shuffles and by trees", arguments: [1, 32])
    func rowSums(_ warp: Int) throws {
        try expectDevice(parse(rowSum), warpSize: warp)
    }

    /// softmax over rows: a maximum and a sum across threads, handed on through shared memory.
    @Test(arguments: [(12, 1), (16, 32), (12, 32)])
    func softmax(_ threads: Int, _ warp: Int) throws {
        func row(_ name: String, _ start: String, _ update: String) -> String {
            let lines = [
                "for t in T.thread_binding(\(threads), thread=\"threadIdx.x\"):",
                "    for k in range(4):",
                "        with T.block(\"\(name)\"):",
                "            vi = T.axis.spatial(3, i)",
                "            vk = T.axis.reduce(\(threads * 4), k * \(threads) + t)",
                "            T.writes(\(name)[vi])",
                "            with T.init():",
                "                \(name)[vi] = T.float32(\(start))",
                "            \(name)[vi] = \(update)",
            ]
            return lines.map { String(repeating: " ", count: 12) + $0 }.joined(separator: "\n")
        }
        let text = """
            @T.prim_func
            def main(A: T.Buffer((3, \(threads * 4)), "float32"), B: T.Buffer((3, \(threads * 4)), "float32")):
                with T.block("root"):
                    X = T.alloc_buffer((3,), "float32", scope="shared")
                    S = T.alloc_buffer((3,), "float32", scope="shared")
                    for i in T.thread_binding(3, thread="blockIdx.x"):
            \(row("X", "-1000", "T.max(X[vi], A[vi, vk])"))
            \(row("S", "0", "S[vi] + (X[vi] - A[vi, vk])"))
                        for t in T.thread_binding(\(threads), thread="threadIdx.x"):
                            for k in range(4):
                                with T.block("B"):
                                    vi = T.axis.spatial(3, i)
                                    vk = T.axis.spatial(\(threads * 4), k * \(threads) + t)
                                    T.reads(A[vi, vk], X[vi], S[vi])
                                    T.writes(B[vi, vk])
                                    B[vi, vk] = (A[vi, vk] - X[vi]) * T.float32(64) + S[vi]
            """
        try expectDevice(parse(text), warpSize: warp)
    }

    @Test("position and value of the largest element, in groups of threads", arguments: [1, 32])
    func argmax(_ warp: Int) throws {
        try expectDevice(
            parse(
                """
                @T.prim_func
                def main(A: T.Buffer((4, 24), "float32"), V: T.Buffer((4,), "float32"), P: T.Buffer((4,), "int32")):
                    with T.block("root"):
                        for i in T.thread_binding(4, thread="threadIdx.y"):
                            for t in T.thread_binding(8, thread="threadIdx.x"):
                                for k in range(3):
                                    with T.block("R"):
                                        vi = T.axis.spatial(4, i)
                                        vk = T.axis.reduce(24, t * 3 + k)
                                        T.reads(A[vi, vk])
                                        T.writes(V[vi], P[vi])
                                        with T.init():
                                            V[vi] = T.float32(-1000)
                                            P[vi] = T.int32(-1)
                                        v: T.float32 = T.Select(V[vi] >= A[vi, vk], V[vi], A[vi, vk])
                                        p: T.int32 = T.Select(V[vi] > A[vi, vk] or V[vi] == A[vi, vk] and P[vi] < T.Cast("int32", vk), P[vi], T.Cast("int32", vk))
                                        V[vi] = v
                                        P[vi] = p
                """), warpSize: warp)
    }
}
