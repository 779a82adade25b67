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
