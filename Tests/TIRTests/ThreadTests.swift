import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

private func floats(_ a: NDArray) -> [Float] {
    (0..<a.count).map { a.data.assumingMemoryBound(to: Float.self)[$0] }
}
private func ints(_ a: NDArray) -> [Int64] {
    (0..<a.count).map { a.data.assumingMemoryBound(to: Int64.self)[$0] }
}
private func numbers(_ n: Int) -> NDArray {
    let a = NDArray(shape: [n], dtype: .float32)
    for i in 0..<n { a.data.assumingMemoryBound(to: Float.self)[i] = Float(i) }
    return a
}
private func run(_ text: String, _ arrays: [NDArray], _ options: TIRInterpreter.Options = .init()) throws {
    let f = try TIRParser.parseFunction(text)
    expectRoundTrip(f)
    try verifyWellFormed(f)
    try TIRInterpreter.run(f, arrays, options: options)
}

/// Threads that wait for each other.
@Suite struct ThreadTests {
    init() { TIRNodes.registerAll() }

    /// Each thread reads what another one wrote before the barrier; shared memory is one a block.
    private let reversal = """
        @T.prim_func
        def reverse(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
            for b in T.thread_binding(4, thread="blockIdx.x"):
                for t in T.thread_binding(16, thread="threadIdx.x"):
                    S = T.allocate((16,), "float32", scope="shared")
                    S[t] = A[b * 16 + t]
                    T.evaluate(T.storage_sync("shared", dtype="void"))
                    B[b * 16 + t] = S[15 - t]

        """

    @Test func sharedMemoryAndBarrier() throws {
        let b = numbers(64)
        try run(reversal, [numbers(64), b], .init(detectRaces: true))
        let expected: [Float] = (0..<64).map { (i: Int) -> Float in Float(i / 16 * 16 + 15 - i % 16) }
        #expect(floats(b) == expected)
    }

    @Test func withoutBarrierItIsARace() throws {
        let text = reversal.replacing(
            "            T.evaluate(T.storage_sync(\"shared\", dtype=\"void\"))\n", with: "")
        #expect(code { try run(text, [numbers(64), numbers(64)], .init(detectRaces: true)) } == "TIR170")
    }

    /// A tree in shared memory: barriers in a loop, under a condition that is the same for all.
    @Test func treeReduction() throws {
        let b = numbers(2)
        try run(
            """
            @T.prim_func
            def tree(A: T.Buffer((64,), "float32"), B: T.Buffer((2,), "float32")):
                for b in T.thread_binding(2, thread="blockIdx.x"):
                    S = T.allocate((32,), "float32", scope="shared")
                    for y in T.thread_binding(4, thread="threadIdx.y"):
                        for x in T.thread_binding(8, thread="threadIdx.x"):
                            S[y * 8 + x] = A[b * 32 + y * 8 + x]
                            T.evaluate(T.storage_sync("shared", dtype="void"))
                            for i in range(5):
                                if y * 8 + x < T.shift_right(16, i):
                                    S[y * 8 + x] = S[y * 8 + x] + S[y * 8 + x + T.shift_right(16, i)]
                                T.evaluate(T.storage_sync("shared", dtype="void"))
                            if x == 0 and y == 0:
                                B[b] = S[0]

            """, [numbers(64), b], .init(detectRaces: true))
        #expect(floats(b) == [496, 1520])
    }

    @Test func divergenceIsAnError() {
        #expect(
            code {
                try run(
                    """
                    @T.prim_func
                    def f(A: T.Buffer((8,), "float32")):
                        for t in T.thread_binding(8, thread="threadIdx.x"):
                            if t < 3:
                                T.evaluate(T.storage_sync("shared", dtype="void"))
                            A[t] = T.float32(1.0)

                    """, [numbers(8)])
            } == "TIR169")
    }

    @Test func errorsLeaveThreads() {
        #expect(
            code {
                try run(
                    """
                    @T.prim_func
                    def f(A: T.Buffer((8,), "float32")):
                        for t in T.thread_binding(8, thread="threadIdx.x"):
                            T.evaluate(T.storage_sync("shared", dtype="void"))
                            A[t + 3] = T.float32(1.0)
                            T.evaluate(T.storage_sync("shared", dtype="void"))

                    """, [numbers(8)])
            } == "TIR161")
    }

    /// Memory of threads that is allocated around them is each thread's own, and lasts from loop to loop.
    @Test func localMemoryIsEachThreadsOwn() throws {
        let b = numbers(8)
        try run(
            """
            @T.prim_func
            def f(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
                L = T.allocate((1,), "float32", scope="local")
                for t in T.thread_binding(8, thread="threadIdx.x"):
                    L[0] = A[t]
                for u in T.thread_binding(8, thread="threadIdx.x"):
                    B[u] = L[0] + T.float32(1.0)

            """, [numbers(8), b])
        let expected: [Float] = (0..<8).map { (i: Int) -> Float in Float(i + 1) }
        #expect(floats(b) == expected)
    }

    @Test func gridBarrier() throws {
        let b = numbers(4)
        try run(
            """
            @T.prim_func
            def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
                for b in T.thread_binding(2, thread="blockIdx.x"):
                    for t in T.thread_binding(2, thread="threadIdx.x"):
                        A[b * 2 + t] = T.Cast("float32", b * 2 + t) * T.float32(10.0)
                        T.evaluate(T.storage_sync("global", True, 2, dtype="void"))
                        B[b * 2 + t] = A[3 - (b * 2 + t)]

            """, [numbers(4), b], .init(detectRaces: true))
        #expect(floats(b) == [30, 20, 10, 0])
    }

    @Test func shuffles() throws {
        let b = numbers(16)
        try run(
            """
            @T.prim_func
            def f(A: T.Buffer((8,), "float32"), B: T.Buffer((16,), "float32"), C: T.Buffer((8,), "int64")):
                for t in T.thread_binding(8, thread="threadIdx.x"):
                    B[t] = T.warp_shuffle(T.uint32(255), A[t], 2, 4, 8, dtype="float32")
                    B[t + 8] = T.warp_shuffle_down(T.uint32(255), A[t], 1, 4, 8, dtype="float32") + T.warp_shuffle_up(T.uint32(255), A[t], 1, 8, 8, dtype="float32")
                    C[t] = T.Cast("int64", T.warp_activemask(dtype="uint32"))

            """, [numbers(8), b, NDArray(shape: [8], dtype: .int64)])
        #expect(floats(b) == [2, 2, 2, 2, 6, 6, 6, 6, 1, 2, 4, 5, 8, 10, 12, 13])
    }

    /// The butterfly with CUDA's own shuffle: the mask is of 32 lanes.
    @Test func cudaShuffles() throws {
        let b = numbers(32)
        try run(
            """
            @T.prim_func
            def f(A: T.Buffer((32,), "float32"), B: T.Buffer((32,), "float32")):
                for t in T.thread_binding(32, thread="threadIdx.x"):
                    x = T.allocate((1,), "float32", scope="local")
                    x[0] = A[t]
                    for i in range(5):
                        x[0] = x[0] + T.op("tir.cuda.__shfl_down_sync", T.uint32(4294967295), x[0], T.shift_right(16, i), 32, dtype="float32")
                    B[t] = x[0]

            """, [numbers(32), b])
        #expect(floats(b)[0] == 496)
    }

    @Test func allReduce() throws {
        let b = numbers(4)
        let f = PrimFunc.allReduceSample()
        try verifyWellFormed(f)
        try TIRInterpreter.run(f, [numbers(16), b])
        // Rows of four; the condition leaves out the last of each.
        #expect(floats(b) == [3, 15, 27, 39])
    }

    @Test func atomics() throws {
        let a = NDArray(shape: [2], dtype: .int64)
        a.data.assumingMemoryBound(to: Int64.self)[0] = 5
        a.data.assumingMemoryBound(to: Int64.self)[1] = 0
        try run(
            """
            @T.prim_func
            def f(A: T.Buffer((2,), "int64")):
                for t in T.parallel(10):
                    T.evaluate(T.atomic_add(T.address_of(A[0]), t, dtype="int64"))
                A[1] = T.atomic_add(T.address_of(A[0]), 1, dtype="int64")

            """, [a], .init(detectRaces: true))
        #expect(ints(a) == [51, 50])
    }

    @Test func parallelRaces() {
        func check(_ body: String) -> String {
            code {
                try run(
                    """
                    @T.prim_func
                    def f(A: T.Buffer((8,), "float32")):
                        for i in T.parallel(8):
                            \(body)

                    """, [numbers(8)], .init(detectRaces: true))
            }
        }
        #expect(check("A[i] = A[i] + T.float32(1.0)") == "none")
        #expect(check("A[0] = T.float32(1.0)") == "TIR170")
        #expect(check("A[i] = A[7 - i]") == "TIR170")
    }

    @Test func pointersAndVectors() throws {
        let a = numbers(8)
        let seen = Locked<[Int]>([])
        try run(
            """
            @T.prim_func
            def f(A: T.Buffer((8,), "float32")):
                T.evaluate(T.call_extern("look", T.access_ptr(T.type_annotation(dtype="float32"), A.data, 2, 3, 1, dtype="handle"), dtype="void"))
                A[T.Ramp(0, 1, 4)] = T.vectorcombine(T.vectorhigh(A[T.Ramp(0, 1, 4)], dtype="float32x2"), T.vectorlow(A[T.Ramp(4, 1, 4)], dtype="float32x2"), dtype="float32x4")
                T.evaluate(T.prefetch(A[0], 0, 3, 1, dtype="void"))
                A[7] = T.Cast("float32", T.q_multiply_shift(T.int32(1073741824), T.int32(3), T.int32(31), T.int32(1)))

            """, [a],
            .init(externs: [
                "look": { args in
                    guard case .array(let v) = args[0] else { return .int(0) }
                    seen.with { $0.append(v.byteCount) }
                    return .int(0)
                }
            ]))
        #expect(seen.with { $0 } == [12])
        #expect(floats(a) == [2, 3, 4, 5, 4, 5, 6, 3])
        #expect(
            code {
                try run(
                    """
                    @T.prim_func
                    def f(A: T.Buffer((8,), "float32")):
                        T.evaluate(T.call_extern("look", T.access_ptr(T.type_annotation(dtype="float32"), A.data, 6, 3, 1, dtype="handle"), dtype="void"))

                    """, [numbers(8)], .init(externs: ["look": { _ in .int(0) }]))
            } == "TIR161")
    }

    /// A packed call finds a function that is given, one of the module, or a registered one, in this order.
    @Test func packedCalls() throws {
        let name = "test.tir.twice"
        if Registry.get(name) == nil {
            _ = try Registry.register(
                name, PackedFunc(name) { args in .int(2 * (try args.get(0, as: Int.self))) })
        }
        let module = try TIRParser.parseModule(
            """
            @I.ir_module
            class Module:
                @T.prim_func
                def main(A: T.Buffer((2,), "int64")):
                    A[0] = T.call_packed("test.tir.twice", A[0], dtype="int64")
                    T.evaluate(T.call_packed("inner", A.data, dtype="int32"))

                @T.prim_func
                def other(B: T.Buffer((2,), "int64")):
                    T.func_attr({"global_symbol": "inner"})
                    B[1] = B[0] + 1

            """)
        let a = NDArray(shape: [2], dtype: .int64)
        a.data.assumingMemoryBound(to: Int64.self)[0] = 21
        guard let f = module["main"] as? PrimFunc else {
            Issue.record("no main")
            return
        }
        try TIRInterpreter.run(f, [a], module: module)
        #expect(ints(a) == [42, 43])
    }
}

extension PrimFunc {
    /// `B[y] = sum of A[y, x] over the threads x where x < 3`.
    fileprivate static func allReduceSample() -> PrimFunc {
        let a = Buffer("A", [16])
        let b = Buffer("B", [4])
        let r = Buffer("R", [1], scope: "local")
        let x = Var("x")
        let y = Var("y")
        let p = Var("p", dtype: .float32)
        let q = Var("q", dtype: .float32)
        let sum = CommReducer(lhs: [p], rhs: [q], result: [p + q], identity: [FloatImm(0)])
        let reduce = AttrStmt(
            sum, "reduce_scope", IntImm(0),
            Evaluate(
                intrinsic(
                    "thread_allreduce", .void,
                    [
                        IntImm(1), BufferLoad(a, [y * 4 + x]), x .< 3,
                        intrinsic("address_of", .handle, [BufferLoad(r, [IntImm(0)])]), x,
                    ])))
        let body = Allocate(
            r, SeqStmt([reduce, IfThenElse(x .== 0, BufferStore(b, BufferLoad(r, [IntImm(0)]), [y]))]))
        func threads(_ v: Var, _ tag: String, _ s: Stmt) -> Stmt {
            let range = IRRange(0, extent: 4)
            return For(
                v, range.min, range.extent, .threadBinding, body: s,
                threadBinding: IterVar(range, Var(tag), .threadIndex, threadTag: tag))
        }
        return PrimFunc(buffers: [a, b], body: threads(y, "threadIdx.y", threads(x, "threadIdx.x", body)))
    }
}
