import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR
import ApusTIRTransforms
import Testing

/// The situations of TVM's tests of this pass, each run before and after.
@Suite struct LoopPartitionTests {
    /// The partitioned function; its result is that of the original.
    @discardableResult
    func partition(
        _ text: String, _ dims: [String: Int] = [:], options: LoopPartitionOptions = LoopPartitionOptions(),
        _ location: SourceLocation = #_sourceLocation
    ) throws -> PrimFunc {
        let f = try parse(text)
        let g = loopPartition(f, options: options)
        try verifyWellFormed(g)
        try expectSame(f, g, dims, location)
        #expect(structuralEqual(try parse("\(g)"), g), sourceLocation: location)
        return g
    }
    func likely(_ f: PrimFunc) -> Int { countExpr(f) { ($0 as? Call)?.name == "tir.likely" } }
    func loops(_ f: PrimFunc) -> Int { count(f) { $0 is For } }

    @Test func symbolicExtent() throws {
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((n,), "float32"), B: T.Buffer((m,), "float32")):
                for i, j in T.grid((n + 3) // 4, 4):
                    if T.likely(i * 4 + j < n):
                        A[i * 4 + j] = T.float32(2)
                B[0] = T.float32(1)
            """, ["n": 10, "m": 1])
        // The middle has no condition, the tail keeps its own.
        #expect(loops(g) >= 4 && likely(g) == 1)
    }

    @Test func constantExtent() throws {
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((21,), "float32")):
                for i in range(21):
                    A[i] = T.if_then_else(T.likely(i < 20), T.float32(1), T.float32(2))
            """)
        #expect(likely(g) == 1 && loops(g) == 1)
        let kept = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((21,), "float32")):
                for i in range(21):
                    A[i] = T.if_then_else(T.likely(i < 20), T.float32(1), T.float32(2))
            """, options: LoopPartitionOptions(unrollSingleIterations: false))
        #expect(loops(kept) == 2)
    }

    @Test func nestedLoopsOneCondition() throws {
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((n,), "float32")):
                for i, j, k in T.grid(4, 4, 3):
                    if T.likely(i * 12 + j * 3 + k < n):
                        A[i * 12 + j * 3 + k] = T.float32(1)
            """, ["n": 29])
        #expect(count(g) { $0 is IfThenElse } < loops(g))
    }

    @Test func severalConditions() throws {
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((16, 16), "float32"), B: T.Buffer((16, 16), "float32")):
                for i, j in T.grid(16, 16):
                    if T.likely(i < 10):
                        if T.likely(j < 12):
                            A[i, j] = T.float32(1)
                    if T.likely(i < 14 and j >= 2):
                        B[i, j] = T.float32(2)
            """)
        #expect(likely(g) > 0)
        #expect(count(g) { ($0 as? For)?.extent.asInt == 10 } > 0)
    }

    @Test func bothEndsOfAWindow() throws {
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "float32")):
                for i in range(16):
                    B[i] = T.if_then_else(T.likely(i >= 1 and i < 15), A[i - 1] + A[i + 1], T.float32(0))
            """)
        // Two single iterations around a loop of 14.
        #expect(loops(g) == 1 && likely(g) == 2)
    }

    @Test func equalityPeelsAnIteration() throws {
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for i in range(8):
                    A[i] = T.if_then_else(T.likely(i == 3), T.float32(1), T.float32(2))
            """)
        #expect(loops(g) == 2)
    }

    @Test func conditionsOfOrdinaryBranches() throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for i in range(8):
                    if i < 5:
                        A[i] = T.float32(1)
                    else:
                        A[i] = T.float32(2)
            """
        #expect(loops(try partition(text)) == 1)
        let g = try partition(text, options: LoopPartitionOptions(allConditions: true))
        #expect(loops(g) == 2)
    }

    @Test func blockPredicates() throws {
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((20,), "float32")):
                with T.block("root"):
                    for i, j in T.grid(3, 8):
                        with T.block("A"):
                            vi = T.axis.spatial(20, i * 8 + j)
                            T.where(i * 8 + j < 20)
                            T.reads()
                            T.writes(A[vi])
                            A[vi] = T.float32(1)
            """)
        #expect(count(g) { !(($0 as? BlockRealize)?.predicate.isTrue ?? true) } == 1)
        #expect(count(g) { ($0 as? BlockRealize)?.block.name == "A" } == 3)
    }

    @Test func gridOfThreadsGetsTwoBodies() throws {
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((50,), "float32")):
                for bx in T.thread_binding(4, thread="blockIdx.x"):
                    for tx in T.thread_binding(16, thread="threadIdx.x"):
                        if T.likely(bx * 16 + tx < 50):
                            A[bx * 16 + tx] = T.float32(1)
            """)
        #expect(count(g) { ($0 as? IfThenElse)?.elseCase != nil } == 1)
        // One test of the grid, one of the thread at the edge; the threads themselves are not cut.
        #expect(likely(g) == 2)
        #expect(count(g) { ($0 as? For)?.threadBinding?.threadTag == "threadIdx.x" } == 2)
    }

    @Test func letsAreSeenThrough() throws {
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for i in range(8):
                    t: T.int64 = i * 2 + 1
                    if T.likely(t < 11):
                        A[i] = T.float32(1)
            """)
        #expect(loops(g) == 2)
    }

    @Test func conditionsOnMemoryAreLeftAlone() throws {
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), X: T.Buffer((1,), "int64")):
                for i in range(8):
                    if T.likely(i < X[0]):
                        X[0] = X[0] - 1
                        A[i] = T.float32(1)
            """)
        #expect(loops(g) == 1)
    }

    @Test func conditionsThatExcludeEachOther() throws {
        // No iteration has both: one of them is decided, the other stays.
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "float32")):
                for i in range(16):
                    if T.likely(i < 5):
                        A[i] = T.float32(1)
                    if T.likely(i >= 10):
                        B[i] = T.float32(1)
            """)
        #expect(loops(g) >= 2)
    }

    @Test func tilesThatDoNotDivide() throws {
        try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((130,), "float32"), B: T.Buffer((130,), "float32")):
                for io, im, ii in T.grid(3, 7, 8):
                    if T.likely(im * 8 + ii < 50):
                        if T.likely(io * 50 + im * 8 + ii < 130):
                            B[io * 50 + im * 8 + ii] = A[io * 50 + im * 8 + ii] * T.float32(2)
            """)
    }

    @Test func pooling() throws {
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "float32")):
                for i in range(16):
                    B[i] = T.float32(0)
                    for k in range(3):
                        if T.likely(i + k >= 1 and i + k < 17):
                            B[i] = T.max(B[i], A[i + k - 1])
            """)
        #expect(count(g) { ($0 as? For)?.extent.asInt == 14 } == 1)
    }

    /// The parts run one after the other, each on all threads; a single iteration that is left over needs none.
    @Test func parallelLoops() throws {
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((61,), "float32")):
                for i in T.parallel(4):
                    for j in T.serial(16):
                        if T.likely(i * 16 + j < 61):
                            A[i * 16 + j] = T.float32(1)
            """)
        #expect(count(g) { ($0 as? For)?.forKind == .parallel } == 1)
        // What is left is the loop of the last iteration beyond its end, which simplification drops.
        #expect(likely(g) == 1)
    }

    @Test func otherKindsAreLeftAlone() throws {
        for kind in ["vectorized", "unroll"] {
            let f = try parse(
                """
                @T.prim_func
                def main(A: T.Buffer((8,), "float32")):
                    for i in T.\(kind)(8):
                        if T.likely(i < 5):
                            A[i] = T.float32(1)
                """)
            #expect(loopPartition(f) === f)
        }
    }

    @Test func annotatedLoopsAreLeftAlone() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for i in T.parallel(8):
                    if T.likely(i < 5):
                        A[i] = T.float32(1)
            """)
        let loop = try #require(f.body as? For)
        for whole in [false, true] {
            let g = f.with(body: loop.with(annotations: Attrs(["loop_partition": .bool(!whole)])))
            #expect((loopPartition(g) === g) == whole)
        }
    }

    @Test func largeBodiesAreLeftAlone() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for i in range(8):
                    if T.likely(i < 5):
                        A[i] = T.float32(1)
            """)
        #expect(loopPartition(f, maxNodes: 3) === f)
        #expect(loopPartition(f, maxNodes: 100) !== f)
    }

    @Test func everyPartDefinesItsOwn() throws {
        try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32")):
                for i in range(16):
                    T_ = T.allocate((4,), "float32")
                    for j in range(4):
                        T_[j] = T.float32(1)
                    x: T.float32 = T_[0]
                    if T.likely(i >= 2 and i < 12):
                        A[i] = x + T_[3]
            """)
    }

    @Test func conditionOfAnInnerLoopOnly() throws {
        let g = try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((4, 8), "float32")):
                for i in range(4):
                    for j in range(8):
                        if T.likely(j < 6):
                            A[i, j] = T.float32(1)
            """)
        #expect(loops(g) == 3)
    }

    @Test func triangularLoop() throws {
        try partition(
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32")):
                for i in range(8):
                    for j in range(i + 1):
                        if T.likely(i + j < 10):
                            A[i * 8 + j] = T.float32(1)
            """)
    }

    @Test func emptyMiddleChangesNothing() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for i in range(8):
                    if T.likely(i >= 9):
                        A[i] = T.float32(1)
            """)
        #expect(loopPartition(f) === f)
    }
}
