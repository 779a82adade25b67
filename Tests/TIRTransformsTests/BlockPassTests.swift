import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR
import ApusTIRTransforms
import Testing

let matmul = """
    @T.prim_func
    def main(A: T.Buffer((6, 8), "float32"), B: T.Buffer((8, 5), "float32"), C: T.Buffer((6, 5), "float32")):
        with T.block("root"):
            for i, j, k in T.grid(6, 5, 8):
                with T.block("C"):
                    vi = T.axis.spatial(6, i)
                    vj = T.axis.spatial(5, j)
                    vk = T.axis.reduce(8, k)
                    T.reads(A[vi, vk], B[vk, vj])
                    T.writes(C[vi, vj])
                    with T.init():
                        C[vi, vj] = T.float32(0)
                    C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
    """

/// Producer and consumer with a buffer in between, tiled so that a strip of it is enough.
let strip = """
    @T.prim_func
    def main(A: T.Buffer((16, 16), "float32"), C: T.Buffer((16, 16), "float32")):
        with T.block("root"):
            B = T.alloc_buffer((16, 16), "float32")
            for io in range(4):
                for i, j in T.grid(4, 16):
                    with T.block("B"):
                        vi = T.axis.spatial(16, io * 4 + i)
                        vj = T.axis.spatial(16, j)
                        T.reads(A[vi, vj])
                        T.writes(B[vi, vj])
                        B[vi, vj] = A[vi, vj] * T.float32(2)
                for i, j in T.grid(4, 16):
                    with T.block("C"):
                        vi = T.axis.spatial(16, io * 4 + i)
                        vj = T.axis.spatial(16, j)
                        T.reads(B[vi, vj])
                        T.writes(C[vi, vj])
                        C[vi, vj] = B[vi, vj] + T.float32(1)
    """

@Suite struct BlockPassTests {
    @Test func initIsGuarded() throws {
        let g = lowerInitBlock(try parse(matmul))
        #expect(count(g) { ($0 as? Block)?.initial != nil } == 0)
        #expect(count(g) { ($0 as? IfThenElse)?.condition.kind == .eq } == 1)
        try expectSame(try parse(matmul), g)
        #expect(lowerInitBlock(g) === g || structuralEqual(lowerInitBlock(g), g))
    }

    @Test func conversionSubstitutesIterationVariables() throws {
        let g = convertBlocksToOpaque(lowerInitBlock(try parse(matmul)))
        #expect(count(g) { !(($0 as? Block)?.iterVars.isEmpty ?? true) } == 0)
        try expectSame(try parse(matmul), g)
        let text = "\(g)"
        #expect(text.contains("C[i, j] = C[i, j] + A[i, k] * B[k, j]"))
        #expect(text.contains("if k == 0:"))
    }

    @Test func allocationMovesIntoTheLoop() throws {
        let g = planAndUpdateBufferAllocationLocation(try parse(strip))
        var at: [String] = []
        postOrderVisit(
            g.body, stmt: { s in if let b = s as? Block, !b.allocBuffers.isEmpty { at.append(b.name) } })
        #expect(at == ["alloc"])
        guard let root = g.body as? BlockRealize, let loop = root.block.body as? For else {
            Issue.record("\(g)")
            return
        }
        #expect((loop.body as? BlockRealize)?.block.allocBuffers.map(\.name) == ["B"])
        try expectSame(try parse(strip), g)
    }

    @Test func signaturesForgetWhatMovedInside() throws {
        // A sort's cursor, say: nobody outside of the loop sees it, so that the block cannot name it.
        let text = """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32")):
                with T.block("root"):
                    S = T.alloc_buffer((1,), "float32")
                    with T.block("b"):
                        T.reads(A[0:4], S[0])
                        T.writes(A[0:4], S[0])
                        for i in range(4):
                            S[0] = A[i] * T.float32(2)
                            A[i] = S[0] + T.float32(1)
            """
        let g = planAndUpdateBufferAllocationLocation(try parse(text))
        try verifyWellFormed(g)
        var signature: [String] = []
        postOrderVisit(
            g.body,
            stmt: { s in
                guard let b = s as? Block, b.name == "b" else { return }
                signature = (b.reads + b.writes).map { $0.buffer.name }
            })
        #expect(signature == ["A", "A"])
        try expectSame(try parse(text), g)
        try expectPipeline(text)
    }

    @Test func accumulatorStaysOutsideItsReduction() throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), C: T.Buffer((1,), "float32")):
                with T.block("root"):
                    S = T.alloc_buffer((1,), "float32")
                    for k in range(8):
                        with T.block("S"):
                            vk = T.axis.reduce(8, k)
                            T.reads(A[vk])
                            T.writes(S[0])
                            with T.init():
                                S[0] = T.float32(0)
                            S[0] = S[0] + A[vk]
                        with T.block("C"):
                            v = T.axis.opaque(8, k)
                            T.reads(S[0])
                            T.writes(C[0])
                            C[0] = S[0]
            """
        let g = planAndUpdateBufferAllocationLocation(try parse(text))
        #expect(count(g) { ($0 as? Block)?.name == "alloc" } == 0)
        try expectSame(try parse(text), g)
        try expectPipeline(text)
    }

    @Test func skippedWritesKeepTheBufferOutside() throws {
        // B is written in the first pass over r only, and read in all of them.
        let text = """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
                with T.block("root"):
                    B = T.alloc_buffer((8,), "float32")
                    for r in range(3):
                        for i in range(8):
                            with T.block("B"):
                                vi = T.axis.spatial(8, i)
                                T.where(r < 1)
                                T.reads(A[vi])
                                T.writes(B[vi])
                                B[vi] = A[vi] * T.float32(2)
                            with T.block("C"):
                                vi = T.axis.spatial(8, i)
                                T.reads(B[vi])
                                T.writes(C[vi])
                                C[vi] = B[vi]
            """
        let g = planAndUpdateBufferAllocationLocation(try parse(text))
        #expect(count(g) { ($0 as? Block)?.name == "alloc" } == 0)
        try expectSame(try parse(text), g)
        try expectPipeline(text)
    }

    @Test func compactionShrinksToTheStrip() throws {
        var g = planAndUpdateBufferAllocationLocation(lowerInitBlock(try parse(strip)))
        g = compactBufferAllocation(convertBlocksToOpaque(g))
        var shapes: [[Int]?] = []
        postOrderVisit(
            g.body,
            stmt: { s in
                if let b = s as? Block { shapes.append(contentsOf: b.allocBuffers.map(\.staticShape)) }
            })
        #expect(shapes == [[4, 16]])
        try expectSame(try parse(strip), g)
    }

    @Test func compactionKeepsHalo() throws {
        // A 3-row window over 4 outputs: 6 rows are needed.
        let text = """
            @T.prim_func
            def main(A: T.Buffer((18, 4), "float32"), C: T.Buffer((16, 4), "float32")):
                with T.block("root"):
                    for io in range(4):
                        with T.block("tile"):
                            B = T.alloc_buffer((18, 4), "float32")
                            for i, j in T.grid(6, 4):
                                B[io * 4 + i, j] = A[io * 4 + i, j]
                            for i, j in T.grid(4, 4):
                                C[io * 4 + i, j] = B[io * 4 + i, j] + B[io * 4 + i + 1, j] + B[io * 4 + i + 2, j]
            """
        let g = compactBufferAllocation(try parse(text))
        var shapes: [[Int]?] = []
        postOrderVisit(
            g.body,
            stmt: { s in
                if let b = s as? Block { shapes.append(contentsOf: b.allocBuffers.map(\.staticShape)) }
            })
        #expect(shapes == [[6, 4]])
        try expectSame(try parse(text), g)
        try expectPipeline(text)
    }

    @Test func viewsAreResolved() throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
                with T.block("root"):
                    for i, j in T.grid(2, 2):
                        with T.block("tile"):
                            V = T.match_buffer(C[i * 4:i * 4 + 4, j * 4:j * 4 + 4], (4, 4), "float32", strides=[8, 1], elem_offset=i * 32 + j * 4)
                            for a, b in T.grid(4, 4):
                                V[a, b] = A[i * 4 + a, j * 4 + b] + T.float32(1)
            """
        guard let f = try? parse(text) else { return }
        let g = try lowerMatchBuffer(f)
        #expect(count(g) { !(($0 as? Block)?.matchBuffers.isEmpty ?? true) } == 0)
        try expectSame(f, g)
    }

    @Test func viewOfWrongRankIsAnError() throws {
        let c = Buffer("C", [8, 8])
        let v = Buffer("V", [4])
        let source = BufferRegion(c, [IRRange(0, extent: 2), IRRange(0, extent: 4)])
        let store = BufferStore(v, FloatImm(0), [IntImm(0)])
        let block = Block("b", body: store, matchBuffers: [MatchBufferRegion(v, source)])
        let f = PrimFunc(buffers: [c], body: BlockRealize([], block))
        #expect(throws: (any Error).self) { try lowerMatchBuffer(f) }
    }

    @Test func blocksDisappear() throws {
        let g = lowerOpaqueBlock(convertBlocksToOpaque(lowerInitBlock(try parse(matmul))))
        #expect(count(g) { $0 is Block || $0 is BlockRealize } == 0)
        try expectSame(try parse(matmul), g)
    }

    @Test func predicateBecomesLikely() throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((10,), "float32")):
                with T.block("root"):
                    for io, ii in T.grid(3, 4):
                        with T.block("A"):
                            v = T.axis.spatial(10, io * 4 + ii)
                            T.where(io * 4 + ii < 10)
                            T.reads()
                            T.writes(A[v])
                            A[v] = T.float32(1)
            """
        let g = lowerOpaqueBlock(convertBlocksToOpaque(try parse(text)))
        #expect(countExpr(g) { ($0 as? Call)?.name == "tir.likely" } == 1)
        try expectSame(try parse(text), g)
        let h = try expectPipeline(text)
        // Partitioned: the main part has no condition left.
        #expect(count(h) { $0 is IfThenElse } == 0, "\(h)")
    }

    @Test func unitLoopsDisappear() throws {
        let g = lowerOpaqueBlock(
            try parse(
                """
                @T.prim_func
                def main(A: T.Buffer((4,), "float32")):
                    for i in range(4):
                        for j in range(1):
                            A[i + j] = T.float32(1)
                """))
        #expect(count(g) { $0 is For } == 1)
    }

    @Test func flattening() throws {
        try expectPass(
            flattenBuffer,
            """
            @T.prim_func
            def main(A: T.Buffer((4, 6), "float32"), B: T.Buffer((4, 6), "float32")):
                for i, j in T.grid(4, 6):
                    B[i, j] = A[i, j] + T.float32(1)
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((4, 6), "float32"), B: T.Buffer((4, 6), "float32")):
                A_1 = T.decl_buffer((24,), "float32", data=A.data, align=0)
                B_1 = T.decl_buffer((24,), "float32", data=B.data, align=0)
                for i, j in T.grid(4, 6):
                    B_1[i * 6 + j] = A_1[i * 6 + j] + T.float32(1)
            """)
    }

    @Test func flatteningSymbolic() throws {
        let text = """
            @T.prim_func
            def main(a: T.handle, b: T.handle):
                n = T.var(T.int64)
                A = T.match_buffer(a, (n, 6), "float32")
                B = T.match_buffer(b, (n, 6), "float32")
                for i, j in T.grid(n, 6):
                    B[i, j] = A[n - 1 - i, j]
            """
        guard let f = try? parse(text) else { return }
        let g = flattenBuffer(f)
        #expect(countExpr(g) { ($0 as? BufferLoad)?.indices.count == 1 } == 1)
        try expectSame(f, g, ["n": 5])
        try expectPipeline(text, ["n": 5])
    }

    @Test func scalarBuffer() throws {
        let s = Buffer("S", [Int]())
        let f = PrimFunc(buffers: [s], body: BufferStore(s, FloatImm(3), []))
        let g = flattenBuffer(f)
        #expect((g.body as? BufferStore)?.indices.count == 1)
    }

    @Test func allocationLeavesSerialLoops() throws {
        var g = planAndUpdateBufferAllocationLocation(lowerInitBlock(try parse(strip)))
        g = lowerOpaqueBlock(compactBufferAllocation(convertBlocksToOpaque(g)))
        #expect(g.body is For)
        let h = hoistAllocation(g)
        #expect(h.body is Allocate)
        try expectSame(g, h)
        let parallel = try parse(strip.replacing("for io in range(4)", with: "for io in T.parallel(4)"))
        #expect((try expectPipeline("\(parallel)").body as? For)?.forKind == .parallel)
    }

    @Test func strideAlignment() throws {
        let text = strip.replacing(
            "                    T.writes(B[vi, vj])\n",
            with: "                    T.writes(B[vi, vj])\n"
                + "                    T.block_attr({\"buffer_dim_align\": [0, 0, 32, 4]})\n")
        var g = planAndUpdateBufferAllocationLocation(try parse(text))
        g = compactBufferAllocation(convertBlocksToOpaque(g))
        var strides: [Int?] = []
        postOrderVisit(
            g.body,
            stmt: { s in
                if let b = s as? Block { for a in b.allocBuffers { strides = a.strides.map(\.asInt) } }
            })
        #expect(strides == [36, 1])
        try expectSame(try parse(text), g)
        try expectPipeline(text)
    }

    @Test func wholePipelineMatmul() throws {
        let g = try expectPipeline(matmul)
        #expect(count(g) { $0 is For } == 3)
    }

    @Test func wholePipelineStrip() throws {
        let g = try expectPipeline(strip)
        #expect(count(g) { ($0 as? Allocate)?.buffer.staticShape == [64] } == 1, "\(g)")
    }
}
