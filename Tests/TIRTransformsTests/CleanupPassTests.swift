import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR
import ApusTIRTransforms
import Testing

@Suite struct CleanupPassTests {
    @Test func hoistingThroughLetsAndAllocations() throws {
        try expectPass(
            hoistIfThenElse,
            """
            @T.prim_func
            def main(A: T.Buffer((n,), "float32"), B: T.Buffer((m,), "float32")):
                for i in range(n):
                    T_ = T.allocate((1,), "float32")
                    x: T.float32 = A[i]
                    if m > 3:
                        T_[0] = x + T.float32(1)
                        A[i] = T_[0]
                    else:
                        A[i] = x
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((n,), "float32"), B: T.Buffer((m,), "float32")):
                if m > 3:
                    for i in range(n):
                        T_ = T.allocate((1,), "float32")
                        x: T.float32 = A[i]
                        T_[0] = x + T.float32(1)
                        A[i] = T_[0]
                else:
                    for i in range(n):
                        T_ = T.allocate((1,), "float32")
                        x: T.float32 = A[i]
                        A[i] = x
            """, ["n": 3, "m": 4])
    }

    @Test func neighboursWithOneCondition() throws {
        try expectPass(
            hoistIfThenElse,
            """
            @T.prim_func
            def main(A: T.Buffer((n,), "float32"), B: T.Buffer((n,), "float32")):
                for i in range(n):
                    if n > 3:
                        A[i] = T.float32(1)
                    if n > 3:
                        B[i] = T.float32(2)
                    else:
                        B[i] = T.float32(3)
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((n,), "float32"), B: T.Buffer((n,), "float32")):
                if n > 3:
                    for i in range(n):
                        A[i] = T.float32(1)
                        B[i] = T.float32(2)
                else:
                    for i in range(n):
                        B[i] = T.float32(3)
            """, ["n": 3])
    }

    @Test func basicVariantStaysWithinLoops() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((n,), "float32")):
                for i in range(n):
                    x: T.float32 = A[i]
                    if n > 3:
                        A[i] = x + T.float32(1)
            """)
        #expect(hoistIfThenElse(f, variant: .basic) === f)
        #expect(hoistIfThenElse(f, variant: .full) !== f)
    }

    @Test func conditionOnMemoryStaysInTheLoop() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32")):
                for i in range(4):
                    if A[0] < T.float32(3):
                        A[0] = A[0] + T.float32(1)
            """)
        #expect(hoistIfThenElse(f) === f)
    }

    @Test func memoryNobodyReads() throws {
        try expectPass(
            removeNoOp,
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32")):
                T_ = T.allocate((4,), "float32")
                U = T.allocate((4,), "float32")
                for i in range(4):
                    T_[i] = A[i]
                    U[i] = T_[i] + U[i]
                    A[i] = A[i]
                for j in range(4):
                    x: T.float32 = A[j]
                    y: T.float32 = x
                    if A[j] < T.float32(1):
                        T_[j] = T.float32(1)
                    A[j] = x + T.float32(1)
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32")):
                for j in range(4):
                    x: T.float32 = A[j]
                    A[j] = x + T.float32(1)
            """)
    }

    @Test func loopsThatNeverRun() throws {
        try expectPass(
            removeNoOp,
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32")):
                for i in range(0):
                    A[i] = T.float32(1)
                while False:
                    A[0] = T.float32(1)
                if True:
                    A[1] = T.float32(1)
                else:
                    A[2] = T.float32(1)
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32")):
                A[1] = T.float32(1)
            """)
    }

    @Test func whatAConditionSaysOfMemoryIsNotKept() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "int64"), B: T.Buffer((4,), "float32")):
                for i in range(4):
                    if A[i] < 3 and i < 3:
                        A[i] = 7
                        if A[i] < 3:
                            B[i] = T.float32(1)
                        else:
                            B[i] = T.float32(2)
            """)
        let g = simplifyTIR(f)
        try expectSame(f, g)
        #expect(count(g) { $0 is IfThenElse } == 2)
    }

    @Test func attributesBecomeOne() throws {
        try expectPass(
            { liftAttrScope($0, key: "coproc_scope") },
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
                for i in range(4):
                    with T.attr(A, "coproc_scope", 1):
                        A[i] = T.float32(1)
                    with T.attr(A, "coproc_scope", 1):
                        B[i] = T.float32(2)
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
                T.attr(A, "coproc_scope", 1)
                for i in range(4):
                    A[i] = T.float32(1)
                    B[i] = T.float32(2)
            """)
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
                with T.attr(A, "coproc_scope", 1):
                    A[0] = T.float32(1)
                with T.attr(A, "coproc_scope", 2):
                    B[0] = T.float32(2)
            """)
        #expect(liftAttrScope(f, key: "coproc_scope") === f)
    }

    @Test func helpers() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32")):
                for i in T.parallel(4):
                    A[i] = T.float32(1)
            """)
        let module = IRModule(f)
        let serial = try TIRPasses.apply { convertForLoopsToSerial($0) }.run(module)
        #expect(
            count(try #require(serial.functions.first as? PrimFunc)) { ($0 as? For)?.forKind == .serial } == 1
        )
        #expect(try TIRPasses.filter { _ in false }.run(module).functions.isEmpty)
        #expect(try TIRPasses.filter { _ in true }.run(module) === module)
        #expect(try TIRPasses.hoistIfThenElseBasic.run(module).functions.first === f)
    }

    @Test func unrollingByExtentAndPragma() throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32")):
                for i in T.serial(4, annotations={"pragma_auto_unroll_max_step": 16}):
                    for j in range(4):
                        A[i * 4 + j] = T.float32(1)
            """
        let f = try parse(text)
        #expect(count(unrollLoop(f)) { $0 is For } == 0)
        try expectSame(f, unrollLoop(f))
        let hinted = unrollLoop(f, options: UnrollOptions(explicit: false))
        #expect(count(hinted) { ($0 as? For)?.forKind == .unrolled } == 2)
        let plain = try parse(text.replacing(", annotations={\"pragma_auto_unroll_max_step\": 16}", with: ""))
        #expect(unrollLoop(plain) === plain)
        #expect(count(unrollLoop(plain, options: UnrollOptions(autoMaxExtent: 4))) { $0 is For } == 0)
        // A pragma as an attribute holds for what it surrounds.
        let marked = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32")):
                T.attr(A, "pragma_auto_unroll_max_step", 4)
                for i in range(4):
                    for j in range(4):
                        A[i * 4 + j] = T.float32(1)
            """)
        #expect(count(unrollLoop(marked)) { $0 is For } == 1)
        try expectSame(marked, unrollLoop(marked))
    }

    @Test func copiesDefineTheirOwn() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32")):
                for i in T.unroll(4):
                    T_ = T.allocate((4,), "float32")
                    x: T.float32 = A[i]
                    for j in range(4):
                        T_[j] = x + T.Let(y, x, y + y)
                    for j in range(4):
                        A[i * 4 + j] = T_[j]
            """)
        let g = unrollLoop(f)
        try verifyWellFormed(g)
        try expectSame(f, g)
    }
}

@Suite struct VectorizeMoreTests {
    func vectorised(_ text: String) throws -> PrimFunc {
        let f = try parse(text)
        let g = vectorizeLoop(f)
        try verifyWellFormed(g)
        try expectSame(f, g)
        return g
    }

    @Test func memoryInsideGetsOneElementALane() throws {
        try expectPass(
            vectorizeLoop,
            """
            @T.prim_func
            def main(A: T.Buffer((32,), "float32"), B: T.Buffer((8,), "float32")):
                for j in T.vectorized(8):
                    T_ = T.allocate((4,), "float32", scope="local")
                    for k in range(4):
                        T_[k] = A[k * 8 + j]
                    B[j] = T_[0] + T_[3]
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((32,), "float32"), B: T.Buffer((8,), "float32")):
                T_ = T.allocate((32,), "float32", scope="local")
                for k in range(4):
                    T_[T.Ramp(k * 8, 1, 8)] = A[T.Ramp(k * 8, 1, 8)]
                B[T.Ramp(0, 1, 8)] = T_[T.Ramp(0, 1, 8)] + T_[T.Ramp(24, 1, 8)]
            """)
    }

    @Test func vectorsInsideOfVectors() throws {
        let g = try vectorised(
            """
            @T.prim_func
            def main(A: T.Buffer((32,), "float32"), B: T.Buffer((32,), "float32"), C: T.Buffer((8,), "float32")):
                for i in T.vectorized(8):
                    for j in T.vectorized(4):
                        B[i * 4 + j] = A[i * 4 + j] * C[i]
            """)
        #expect(countExpr(g) { ($0 as? Ramp)?.lanes == 32 } >= 2)
        #expect(count(g) { $0 is For } == 0)
    }

    @Test func vectorsInsideThatDoNotJoin() throws {
        let g = try vectorised(
            """
            @T.prim_func
            def main(A: T.Buffer((32,), "float32"), B: T.Buffer((64,), "float32")):
                for i in T.vectorized(4):
                    for j in T.vectorized(4):
                        B[i * 16 + j * 2] = A[i * 4 + j] + A[j * 8 + i]
            """)
        #expect(count(g) { ($0 as? For)?.forKind == .vectorized } == 0)
    }

    @Test func calls() throws {
        let g = try vectorised(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
                for j in T.vectorized(8):
                    B[j] = T.exp(A[j]) + T.float32(1)
            """)
        #expect(countExpr(g) { ($0 as? Call)?.name == "tir.exp" && $0.dtype.lanes == 8 } == 1)
    }

    @Test func whileRunsLaneByLane() throws {
        let g = try vectorised(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "int32")):
                for j in T.vectorized(8):
                    A[j] = T.float32(0)
                    C[j] = 0
                    while C[j] < 3:
                        A[j] = A[j] + T.float32(1)
                        C[j] = C[j] + 1
            """)
        #expect(count(g) { $0 is While } == 1 && count(g) { $0 is For } == 1)
        #expect(count(g) { ($0 as? BufferStore)?.indices[0].kind == .ramp } == 2)
    }

    @Test func onePlaceForAllLanesAndALoopLaneByLane() throws {
        // The counter is one for all lanes: each lane must find it as it left it.
        let g = try vectorised(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), C: T.Buffer((1,), "int64")):
                for j in T.vectorized(8):
                    C[0] = 0
                    A[j] = T.float32(0)
                    while C[0] < 3:
                        A[j] = A[j] + T.float32(1)
                        C[0] = C[0] + 1
            """)
        #expect(countExpr(g) { $0.kind == .ramp } == 0)
    }

    @Test func disabled() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for j in T.vectorized(8):
                    A[j] = T.float32(1)
            """)
        let g = vectorizeLoop(f, enable: false)
        #expect(count(g) { ($0 as? For)?.forKind == .serial } == 1)
        try expectSame(f, g)
    }
}

@Suite struct ConvertSSATests {
    @Test func repeatedPieces() throws {
        let piece = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                with T.block("root"):
                    for i in range(8):
                        T_ = T.alloc_buffer((2,), "float32")
                        with T.block("b"):
                            vi = T.axis.spatial(8, i)
                            x: T.float32 = A[vi]
                            A[vi] = T.Let(y, x + T.float32(1), y * y)
            """.replacing("            T_ = T.alloc_buffer((2,), \"float32\")\n", with: ""))
        let twice = piece.with(body: SeqStmt([piece.body, piece.body]))
        #expect(errorCode { try verifyWellFormed(twice) } == "TIR141")
        let g = convertSSA(twice)
        try verifyWellFormed(g)
        try expectSame(twice, g)
        #expect(convertSSA(g) === g)
        #expect(convertSSA(piece) === piece)
    }

    @Test func allocationsAndShadowing() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32")):
                B = T.allocate((4,), "float32")
                for i in range(4):
                    B[i] = A[i] + T.float32(1)
                for i in range(4):
                    A[i] = B[3 - i]
            """)
        let i = Var("i")
        // An inner loop that takes the outer variable's name, which is used behind it again.
        let inner = For(
            i, IntImm(0), IntImm(2), body: BufferStore(f.bufferMap[0].buffer, const(1.0, .float32), [i]))
        let outer = For(
            i, IntImm(2), IntImm(2),
            body: SeqStmt([inner, BufferStore(f.bufferMap[0].buffer, const(5.0, .float32), [i])]))
        let twice = f.with(body: SeqStmt([f.body, f.body, outer]))
        let g = convertSSA(twice)
        try verifyWellFormed(g)
        let a = NDArray([1, 2, 3, 4] as [Float], shape: [4])
        try TIRInterpreter.run(g, [a])
        #expect(try a.toArray(Float.self) == [1, 1, 5, 5])
    }
}

@Suite struct BlockReviewTests {
    @Test func viewsOfCompactedMemory() throws {
        // B is accessed through views only; what they see must stay where it is when B shrinks to a strip.
        let text = """
            @T.prim_func
            def main(A: T.Buffer((16, 8), "float32"), C: T.Buffer((16, 8), "float32")):
                with T.block("root"):
                    for io in range(4):
                        with T.block("tile"):
                            B = T.alloc_buffer((16, 8), "float32")
                            with T.block("fill"):
                                V = T.match_buffer(B[io * 4:io * 4 + 4, 0:8], (4, 8), "float32", strides=(s0, s1), elem_offset=e0)
                                for i, j in T.grid(4, 8):
                                    V[i, j] = A[io * 4 + i, j] + T.Cast("float32", s1 - 1)
                            with T.block("use"):
                                W = T.match_buffer(B[io * 4 + 3, 0:8], (8,), "float32", strides=(t1,), elem_offset=e1)
                                for j in range(8):
                                    C[io * 4, j] = W[j]
            """
        let f = try parse(text)
        let g = compactBufferAllocation(f)
        try verifyWellFormed(g)
        try expectSame(f, g)
        var shapes: [[Int]?] = []
        postOrderVisit(
            g.body, stmt: { s in if let b = s as? Block { shapes += b.allocBuffers.map(\.staticShape) } })
        #expect(shapes == [[4, 8]])
        try expectPipeline(text)
    }

    @Test func stridesOfAlignedMemoryReachTheView() throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((4, 6), "float32"), C: T.Buffer((4, 6), "float32"), S: T.Buffer((1,), "int64")):
                with T.block("root"):
                    B = T.alloc_buffer((4, 6), "float32")
                    for i, j in T.grid(4, 6):
                        with T.block("B"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj])
                            T.writes(B[vi, vj])
                            T.block_attr({"buffer_dim_align": [0, 0, 8, 1]})
                            B[vi, vj] = A[vi, vj]
                    for i in range(4):
                        with T.block("C"):
                            vi = T.axis.spatial(4, i)
                            V = T.match_buffer(B[vi, 0:6], (6,), "float32", strides=(s1,), elem_offset=e0)
                            for j in range(6):
                                C[vi, j] = V[j]
            """
        let g = try expectPipeline(text)
        #expect(count(g) { ($0 as? Allocate)?.buffer.staticShape == [36] } == 1)
    }

    @Test func viewsOfViews() throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32"), S: T.Buffer((4,), "int64")):
                with T.block("root"):
                    for i in range(2):
                        with T.block("outer"):
                            V = T.match_buffer(A[i * 4:i * 4 + 4, 2:8], (4, 6), "float32", strides=(s0, s1), elem_offset=e0)
                            for j in range(2):
                                with T.block("inner"):
                                    W = T.match_buffer(V[j * 2:j * 2 + 2, 1:4], (2, 3), "float32", strides=(t0, t1), elem_offset=e1)
                                    S[i * 2 + j] = t0 * 1000 + e1
                                    for a, b in T.grid(2, 3):
                                        C[i * 4 + j * 2 + a, b] = W[a, b]
            """
        try expectPipeline(text)
        let g = try lowerMatchBuffer(try parse(text))
        try verifyWellFormed(g)
        try expectSame(try parse(text), g)
    }

    @Test func symbolicShapesAndPredicates() throws {
        try expectPipeline(
            """
            @T.prim_func
            def main(A: T.Buffer((n, m), "float32"), C: T.Buffer((n, m), "float32")):
                with T.block("root"):
                    B = T.alloc_buffer((n, m), "float32")
                    for io in range((n + 3) // 4):
                        for ii, j in T.grid(4, m):
                            with T.block("B"):
                                vi = T.axis.spatial(n, io * 4 + ii)
                                vj = T.axis.spatial(m, j)
                                T.where(io * 4 + ii < n)
                                T.reads(A[vi, vj])
                                T.writes(B[vi, vj])
                                B[vi, vj] = A[vi, vj] * T.float32(2)
                        for ii, j in T.grid(4, m):
                            with T.block("C"):
                                vi = T.axis.spatial(n, io * 4 + ii)
                                vj = T.axis.spatial(m, j)
                                T.where(io * 4 + ii < n)
                                T.reads(B[vi, vj])
                                T.writes(C[vi, vj])
                                C[vi, vj] = B[vi, vj] + T.float32(1)
            """, ["n": 10, "m": 5])
    }

    @Test func transposedViewsOfParameters() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), C: T.Buffer((2, 4), "float32")):
                with T.block("root"):
                    with T.block("t"):
                        B = T.alloc_buffer((2, 4), "float32", strides=(1, 2))
                        for i, j in T.grid(2, 4):
                            B[i, j] = A[i * 4 + j]
                        for i, j in T.grid(2, 4):
                            C[i, j] = B[i, j]
            """)
        try expectSame(f, flattenBuffer(lowerOpaqueBlock(f)))
    }
}
