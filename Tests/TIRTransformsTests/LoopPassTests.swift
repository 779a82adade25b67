import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR
import ApusTIRTransforms
import Testing

@Suite struct VectorizeTests {
    @Test func rampAndBroadcast() throws {
        try expectPass(
            vectorizeLoop,
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((4,), "float32")):
                for i in range(4):
                    for j in T.vectorized(16):
                        A[i * 16 + j] = A[i * 16 + j] + B[i]
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((4,), "float32")):
                for i in range(4):
                    A[T.Ramp(i * 16, 1, 16)] = A[T.Ramp(i * 16, 1, 16)] + T.Broadcast(B[i], 16)
            """)
    }

    @Test func stridedAccess() throws {
        try expectPass(
            vectorizeLoop,
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((8,), "float32")):
                for j in T.vectorized(8):
                    B[j] = A[j * 8 + 3]
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((8,), "float32")):
                B[T.Ramp(0, 1, 8)] = A[T.Ramp(3, 8, 8)]
            """)
    }

    func vectorised(_ body: String, _ arguments: String) throws -> PrimFunc {
        let text = "@T.prim_func\ndef main(\(arguments)):\n" + body
        let f = try parse(text)
        let g = vectorizeLoop(f)
        try expectSame(f, g)
        #expect(count(g) { ($0 as? For)?.forKind == .vectorized } == 0)
        return g
    }

    @Test func gatherIsReadLaneByLane() throws {
        let g = try vectorised(
            """
                for j in T.vectorized(8):
                    B[j] = A[idx[j]] * T.float32(2)
            """,
            "A: T.Buffer((16,), \"float32\"), idx: T.Buffer((8,), \"int64\"), B: T.Buffer((8,), \"float32\")")
        #expect(countExpr(g) { $0.kind == .shuffle } == 1)
        #expect(count(g) { $0 is For } == 0)
    }

    @Test func reductionFallsBackToSerial() throws {
        let g = try vectorised(
            """
                for j in T.vectorized(8):
                    B[0] = B[0] + A[j]
            """, "A: T.Buffer((8,), \"float32\"), B: T.Buffer((1,), \"float32\")")
        #expect(count(g) { ($0 as? For)?.forKind == .serial } == 1)
    }

    @Test func scratchOfOneLaneMakesAllSerial() throws {
        let g = try vectorised(
            """
                for j in T.vectorized(8):
                    T_[0] = A[j] * T.float32(2)
                    B[j] = T_[0] + T.float32(1)
            """,
            "A: T.Buffer((8,), \"float32\"), T_: T.Buffer((1,), \"float32\"), B: T.Buffer((8,), \"float32\")")
        #expect(count(g) { ($0 as? For)?.forKind == .serial } == 1)
        #expect(countExpr(g) { $0.kind == .ramp } == 0)
    }

    @Test func variableThatCancelsInTheTail() throws {
        // The last 8 of 72 lanes all read A[5]: nothing of the loop variable may stay behind.
        let g = try vectorised(
            """
                for j in T.vectorized(72):
                    B[j] = A[j // 12]
            """, "A: T.Buffer((6,), \"float32\"), B: T.Buffer((72,), \"float32\")")
        #expect(undefinedVariables(of: g).isEmpty)
    }

    @Test func guardedReadIsSafe() throws {
        // Lanes 0 and 15 read outside of A if evaluated unconditionally: the interpreter would stop.
        let g = try vectorised(
            """
                for j in T.vectorized(16):
                    B[j] = T.if_then_else(j >= 1 and j < 15, A[j - 1], T.float32(0))
            """, "A: T.Buffer((14,), \"float32\"), B: T.Buffer((16,), \"float32\")")
        #expect(countExpr(g) { $0.kind == .shuffle } == 1)
    }

    @Test func paddingHasAFastPath() throws {
        let g = try vectorised(
            """
                for i in range(4):
                    for j in T.vectorized(8):
                        B[i * 8 + j] = T.if_then_else(i * 8 + j >= 1 and i * 8 + j < 31, A[i * 8 + j - 1], T.float32(0))
            """, "A: T.Buffer((30,), \"float32\"), B: T.Buffer((32,), \"float32\")")
        #expect(countExpr(g) { ($0 as? BufferLoad)?.dtype.lanes == 8 } == 1)
        #expect(countExpr(g) { $0.kind == .shuffle } == 1)
    }

    @Test func selectStaysASelect() throws {
        let g = try vectorised(
            """
                for j in T.vectorized(16):
                    B[j] = T.Select(j < 5, A[j], T.float32(0))
            """, "A: T.Buffer((16,), \"float32\"), B: T.Buffer((16,), \"float32\")")
        #expect(countExpr(g) { $0.kind == .select && $0.dtype.lanes == 16 } == 1)
        #expect(countExpr(g) { $0.kind == .shuffle } == 0)
    }

    @Test func uniformGuardKeepsVector() throws {
        let g = try vectorised(
            """
                for i in range(4):
                    for j in T.vectorized(4):
                        if i < 3:
                            B[i * 4 + j] = A[i * 4 + j]
            """, "A: T.Buffer((16,), \"float32\"), B: T.Buffer((16,), \"float32\")")
        #expect(countExpr(g) { $0.kind == .ramp } == 2)
    }

    @Test func tailGuardTestsAllLanes() throws {
        let g = try vectorised(
            """
                for i in range(3):
                    for j in T.vectorized(8):
                        if T.likely(i * 8 + j < 20):
                            B[i * 8 + j] = A[i * 8 + j]
            """, "A: T.Buffer((20,), \"float32\"), B: T.Buffer((20,), \"float32\")")
        #expect(count(g) { ($0 as? IfThenElse)?.elseCase != nil } == 1)
        #expect(countExpr(g) { $0.kind == .ramp } == 2)
    }

    @Test func longLoopIsStripMined() throws {
        let g = try vectorised(
            """
                for j in T.vectorized(100):
                    B[j] = A[j]
            """, "A: T.Buffer((100,), \"float32\"), B: T.Buffer((100,), \"float32\")")
        #expect(countExpr(g) { ($0 as? Ramp)?.lanes == 16 } == 2)
        #expect(countExpr(g) { ($0 as? Ramp)?.lanes == 4 } == 2)
    }

    @Test func castsAndComparisons() throws {
        let g = try vectorised(
            """
                for j in T.vectorized(8):
                    B[j] = T.Cast("float32", A[j]) + T.Cast("float32", j)
            """, "A: T.Buffer((8,), \"int32\"), B: T.Buffer((8,), \"float32\")")
        #expect(countExpr(g) { $0.kind == .cast && $0.dtype.lanes == 8 } == 2)
    }

    @Test func innerLoopStays() throws {
        let g = try vectorised(
            """
                for j in T.vectorized(8):
                    for k in range(3):
                        B[j] = B[j] + A[k * 8 + j]
            """, "A: T.Buffer((24,), \"float32\"), B: T.Buffer((8,), \"float32\")")
        #expect(count(g) { $0 is For } == 1)
        #expect(countExpr(g) { $0.kind == .ramp } == 3)
    }

    @Test func loopInvariantStore() throws {
        let g = try vectorised(
            """
                for j in T.vectorized(8):
                    B[0] = A[0]
            """, "A: T.Buffer((1,), \"float32\"), B: T.Buffer((1,), \"float32\")")
        #expect(count(g) { $0 is For } == 0)
    }

    @Test func scatterIsSerial() throws {
        let g = try vectorised(
            """
                for j in T.vectorized(8):
                    B[idx[j]] = A[j]
            """,
            "A: T.Buffer((8,), \"float32\"), idx: T.Buffer((8,), \"int64\"), B: T.Buffer((16,), \"float32\")")
        #expect(count(g) { $0 is For } == 1)
    }

    @Test func divisionOfTheLoopVariable() throws {
        let g = try vectorised(
            """
                for i in range(2):
                    for j in T.vectorized(4):
                        B[i * 4 + j] = A[(i * 4 + j) // 4 * 5 + (i * 4 + j) % 4]
            """, "A: T.Buffer((10,), \"float32\"), B: T.Buffer((8,), \"float32\")")
        #expect(countExpr(g) { $0.kind == .ramp } == 2, "\(g)")
    }

    @Test func letInside() throws {
        let g = try vectorised(
            """
                for j in T.vectorized(8):
                    x: T.float32 = A[j] * T.float32(3)
                    B[j] = x * x
            """, "A: T.Buffer((8,), \"float32\"), B: T.Buffer((8,), \"float32\")")
        #expect(count(g) { ($0 as? LetStmt)?.variable.dtype.lanes == 8 } == 1)
    }
}

@Suite struct LoopPassTests {
    @Test func unrolling() throws {
        try expectPass(
            { unrollLoop($0) },
            """
            @T.prim_func
            def main(A: T.Buffer((6,), "float32")):
                for i in T.unroll(2):
                    for j in T.unroll(3):
                        A[i * 3 + j] = T.float32(1)
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((6,), "float32")):
                A[0] = T.float32(1)
                A[1] = T.float32(1)
                A[2] = T.float32(1)
                A[3] = T.float32(1)
                A[4] = T.float32(1)
                A[5] = T.float32(1)
            """)
    }

    @Test func unrollingBeyondTheBudgetIsSerial() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((600,), "float32")):
                for i in T.unroll(600):
                    A[i] = T.float32(1)
            """)
        let g = unrollLoop(f, budget: 100)
        #expect(count(g) { ($0 as? For)?.forKind == .serial } == 1)
        try expectSame(f, g)
    }

    @Test func automaticUnrolling() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((12,), "float32")):
                for i in range(4):
                    for j in range(3):
                        A[i * 3 + j] = T.float32(1)
            """)
        #expect(count(unrollLoop(f, autoMaxStep: 3)) { $0 is For } == 1)
        #expect(count(unrollLoop(f, autoMaxStep: 12)) { $0 is For } == 0)
        #expect(unrollLoop(f) === f || structuralEqual(unrollLoop(f), f))
        try expectSame(f, unrollLoop(f, autoMaxStep: 3))
    }

    @Test func partitionSplitsTheTail() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((50,), "float32")):
                for io in range(4):
                    for ii in range(16):
                        if T.likely(io * 16 + ii < 50):
                            A[io * 16 + ii] = T.float32(1)
            """)
        let g = loopPartition(f)
        try expectSame(f, g)
        let h = removeNoOp(simplifyTIR(g))
        try expectSame(f, h)
        #expect(count(h) { $0 is IfThenElse } == 0, "\(h)")
    }

    @Test func partitionBothSides() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((30,), "float32")):
                for i in range(34):
                    if T.likely(i >= 2 and i < 32):
                        A[i - 2] = T.float32(1)
            """)
        let h = removeNoOp(simplifyTIR(loopPartition(f)))
        try expectSame(f, h)
        #expect(count(h) { $0 is IfThenElse } == 0, "\(h)")
    }

    @Test func partitionSymbolic() throws {
        let text = """
            @T.prim_func
            def main(a: T.handle):
                n = T.var(T.int64)
                A = T.match_buffer(a, (n,), "float32")
                for io in range((n + 15) // 16):
                    for ii in range(16):
                        if T.likely(io * 16 + ii < n):
                            A[io * 16 + ii] = T.float32(1)
            """
        let f = try parse(text)
        let h = removeNoOp(simplifyTIR(loopPartition(f)))
        for n in [1, 15, 16, 17, 40] { try expectSame(f, h, ["n": n]) }
    }

    @Test func simplifyDropsBranches() throws {
        try expectPass(
            simplifyTIR,
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for i in range(8):
                    if i < 8:
                        A[(i * 4 + 3) // 4] = T.float32(1)
                    else:
                        A[0] = T.float32(2)
                    if i < 3:
                        if i < 5:
                            A[i] = T.float32(3)
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for i in range(8):
                    A[i] = T.float32(1)
                    if i < 3:
                        A[i] = T.float32(3)
            """)
    }

    @Test func simplifyRemovesUnitLoops() throws {
        try expectPass(
            simplifyTIR,
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for i in range(1):
                    for j in range(8):
                        A[i * 8 + j] = T.float32(1)
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for j in range(8):
                    A[j] = T.float32(1)
            """)
    }

    @Test func noOpsGo() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for i in range(8):
                    T.evaluate(i + 1)
                for i in range(0):
                    A[i] = T.float32(1)
                A[0] = T.float32(2)
            """)
        let g = removeNoOp(f)
        #expect(g.body is BufferStore)
        try expectSame(f, g)
    }

    @Test func unusedAllocationGoes() throws {
        let a = Buffer("A", [4])
        let t = Buffer("t", [4])
        let f = PrimFunc(buffers: [a], body: Allocate(t, BufferStore(a, FloatImm(1), [IntImm(0)])))
        #expect(removeNoOp(f).body is BufferStore)
        let used = PrimFunc(
            buffers: [a],
            body: Allocate(
                t,
                SeqStmt([
                    BufferStore(t, FloatImm(1), [IntImm(0)]),
                    BufferStore(a, BufferLoad(t, [IntImm(0)]), [IntImm(0)]),
                ])))
        #expect(removeNoOp(used).body is Allocate)
    }

    @Test func hoisting() throws {
        try expectPass(
            hoistIfThenElse,
            """
            @T.prim_func
            def main(A: T.Buffer((4, 8), "float32")):
                for i in range(4):
                    for j in range(8):
                        if i < 2:
                            A[i, j] = T.float32(1)
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((4, 8), "float32")):
                for i in range(4):
                    if i < 2:
                        for j in range(8):
                            A[i, j] = T.float32(1)
            """)
    }

    @Test func conditionsOnMemoryStay() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for j in range(8):
                    if A[0] < T.float32(3):
                        A[0] = A[0] + T.float32(1)
            """)
        #expect(hoistIfThenElse(f) === f || structuralEqual(hoistIfThenElse(f), f))
    }

    @Test func commonSubexpressions() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((100,), "float32"), B: T.Buffer((100,), "float32")):
                for i in range(4):
                    for j in range(5):
                        B[i * 20 + j * 2 + 1] = A[i * 20 + j * 2 + 1] + A[i * 20 + j * 2 + 2]
            """)
        let g = commonSubexprElimTIR(f)
        #expect(count(g) { $0 is LetStmt } >= 1)
        try expectSame(f, g)
    }
}

/// Schedules as they come, the whole pipeline, compared by execution.
@Suite struct PipelineTests {
    @Test func microkernelAccumulatorIsIndexedByConstants() throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((12, 20), "float32"), B: T.Buffer((20, 32), "float32"), D: T.Buffer((32,), "float32"), C: T.Buffer((12, 32), "float32")):
                with T.block("root"):
                    acc = T.alloc_buffer((12, 32), "float32", scope="local")
                    for io, jo in T.grid(2, 2):
                        for ii in T.unroll(6):
                            for ji in T.vectorized(16):
                                with T.block("init"):
                                    vi = T.axis.spatial(12, io * 6 + ii)
                                    vj = T.axis.spatial(32, jo * 16 + ji)
                                    T.reads()
                                    T.writes(acc[vi, vj])
                                    acc[vi, vj] = T.float32(0)
                        for k in range(20):
                            for ii in T.unroll(6):
                                for ji in T.vectorized(16):
                                    with T.block("update"):
                                        vi = T.axis.spatial(12, io * 6 + ii)
                                        vj = T.axis.spatial(32, jo * 16 + ji)
                                        vk = T.axis.reduce(20, k)
                                        T.reads(acc[vi, vj], A[vi, vk], B[vk, vj])
                                        T.writes(acc[vi, vj])
                                        acc[vi, vj] = acc[vi, vj] + A[vi, vk] * B[vk, vj]
                        for ii in T.unroll(6):
                            for ji in T.vectorized(16):
                                with T.block("out"):
                                    vi = T.axis.spatial(12, io * 6 + ii)
                                    vj = T.axis.spatial(32, jo * 16 + ji)
                                    T.reads(acc[vi, vj], D[vj])
                                    T.writes(C[vi, vj])
                                    C[vi, vj] = T.max(acc[vi, vj] + D[vj], T.float32(0))
            """
        let g = try expectPipeline(text)
        var bases: Set<Int> = []
        func check(_ b: Buffer, _ i: PrimExpr) {
            guard b.name == "acc" else { return }
            #expect(b.staticShape == [96])
            guard let r = i as? Ramp, let base = r.base.asInt, r.stride.asInt == 1, r.lanes == 16 else {
                Issue.record("acc[\(i)]")
                return
            }
            bases.insert(base)
        }
        postOrderVisit(
            g.body, expr: { e in if let l = e as? BufferLoad { check(l.buffer, l.indices[0]) } },
            stmt: { s in if let st = s as? BufferStore { check(st.buffer, st.indices[0]) } })
        #expect(bases == [0, 16, 32, 48, 64, 80])
        #expect(count(g) { $0 is For } == 3)
    }

    @Test func tiledMatmulWithTails() throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((10, 7), "float32"), B: T.Buffer((7, 21), "float32"), C: T.Buffer((10, 21), "float32")):
                with T.block("root"):
                    for io in T.parallel(3):
                        for jo, k in T.grid(3, 7):
                            for ii in T.unroll(4):
                                for ji in T.vectorized(8):
                                    with T.block("C"):
                                        vi = T.axis.spatial(10, io * 4 + ii)
                                        vj = T.axis.spatial(21, jo * 8 + ji)
                                        vk = T.axis.reduce(7, k)
                                        T.where(io * 4 + ii < 10 and jo * 8 + ji < 21)
                                        T.reads(A[vi, vk], B[vk, vj])
                                        T.writes(C[vi, vj])
                                        with T.init():
                                            C[vi, vj] = T.float32(0)
                                        C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
            """
        let g = try expectPipeline(text)
        #expect(countExpr(g) { ($0 as? Ramp)?.lanes == 8 } > 0)
    }

    @Test func paddedConvolution() throws {
        let text = """
            @T.prim_func
            def main(X: T.Buffer((3, 9, 9), "float32"), W: T.Buffer((4, 3, 3, 3), "float32"), Y: T.Buffer((4, 9, 9), "float32")):
                with T.block("root"):
                    P = T.alloc_buffer((3, 11, 11), "float32")
                    for o, h in T.grid(4, 9):
                        for c, a, b in T.grid(3, 3, 11):
                            with T.block("pad"):
                                vc = T.axis.spatial(3, c)
                                vh = T.axis.spatial(11, h + a)
                                vw = T.axis.spatial(11, b)
                                T.reads(X[vc, vh - 1, vw - 1])
                                T.writes(P[vc, vh, vw])
                                P[vc, vh, vw] = T.if_then_else(vh >= 1 and vh < 10 and vw >= 1 and vw < 10, X[vc, vh - 1, vw - 1], T.float32(0))
                        for w, c, kh, kw in T.grid(9, 3, 3, 3):
                            with T.block("conv"):
                                vo = T.axis.spatial(4, o)
                                vh = T.axis.spatial(9, h)
                                vw = T.axis.spatial(9, w)
                                vc = T.axis.reduce(3, c)
                                vkh = T.axis.reduce(3, kh)
                                vkw = T.axis.reduce(3, kw)
                                T.reads(P[vc, vh + vkh, vw + vkw], W[vo, vc, vkh, vkw])
                                T.writes(Y[vo, vh, vw])
                                with T.init():
                                    Y[vo, vh, vw] = T.float32(0)
                                Y[vo, vh, vw] = Y[vo, vh, vw] + P[vc, vh + vkh, vw + vkw] * W[vo, vc, vkh, vkw]
            """
        let g = try expectPipeline(text)
        // Three channels of three rows of eleven.
        #expect(count(g) { ($0 as? Allocate)?.buffer.staticShape == [99] } == 1, "\(g)")
    }

    @Test func dynamicBatch() throws {
        let text = """
            @T.prim_func
            def main(a: T.handle, b: T.handle):
                n = T.var(T.int64)
                A = T.match_buffer(a, (n, 24), "float32")
                B = T.match_buffer(b, (n, 24), "float32")
                with T.block("root"):
                    for i in T.parallel(n):
                        for jo in range(2):
                            for ji in T.vectorized(12):
                                with T.block("B"):
                                    vi = T.axis.spatial(n, i)
                                    vj = T.axis.spatial(24, jo * 12 + ji)
                                    T.reads(A[vi, vj])
                                    T.writes(B[vi, vj])
                                    B[vi, vj] = A[vi, vj] + T.float32(1)
            """
        for n in [1, 3] { try expectPipeline(text, ["n": n]) }
    }

    @Test("random tilings of a reduction give the same result", arguments: 0..<12)
    func randomTilings(_ seed: Int) throws {
        var r = Random(seed)
        let m = 1 + r.below(12)
        let n = 1 + r.below(40)
        let k = 1 + r.below(9)
        let ti = 1 + r.below(5)
        let tj = [1, 4, 8, 16][r.below(4)]
        let kinds = ["T.unroll", "range", "T.serial"]
        let io = (m + ti - 1) / ti
        let jo = (n + tj - 1) / tj
        let text = """
            @T.prim_func
            def main(A: T.Buffer((\(m), \(k)), "float32"), B: T.Buffer((\(k), \(n)), "float32"), C: T.Buffer((\(m), \(n)), "float32")):
                with T.block("root"):
                    S = T.alloc_buffer((\(m), \(n)), "float32", scope="local")
                    for io in range(\(io)):
                        for jo in range(\(jo)):
                            for k in range(\(k)):
                                for ii in \(kinds[r.below(3)])(\(ti)):
                                    for ji in T.vectorized(\(tj)):
                                        with T.block("S"):
                                            vi = T.axis.spatial(\(m), io * \(ti) + ii)
                                            vj = T.axis.spatial(\(n), jo * \(tj) + ji)
                                            vk = T.axis.reduce(\(k), k)
                                            T.where(io * \(ti) + ii < \(m) and jo * \(tj) + ji < \(n))
                                            T.reads(A[vi, vk], B[vk, vj])
                                            T.writes(S[vi, vj])
                                            with T.init():
                                                S[vi, vj] = T.float32(0)
                                            S[vi, vj] = S[vi, vj] + A[vi, vk] * B[vk, vj]
                            for ii in range(\(ti)):
                                for ji in T.vectorized(\(tj)):
                                    with T.block("C"):
                                        vi = T.axis.spatial(\(m), io * \(ti) + ii)
                                        vj = T.axis.spatial(\(n), jo * \(tj) + ji)
                                        T.where(io * \(ti) + ii < \(m) and jo * \(tj) + ji < \(n))
                                        T.reads(S[vi, vj])
                                        T.writes(C[vi, vj])
                                        C[vi, vj] = T.max(S[vi, vj], T.float32(0))
            """
        try expectPipeline(text)
    }
}
