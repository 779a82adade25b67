import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRTransforms
import Testing

@Suite struct SmallPassTests {
    @Test func assertionsGo() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32")):
                assert A[0] < T.float32(100), "small"
                A[0] = T.float32(1)
            """)
        let g = skipAssert(f)
        #expect(count(g) { $0 is AssertStmt } == 0)
        try expectSame(f, g)
    }

    @Test func serialLoops() throws {
        try expectPass(
            convertForLoopsToSerial,
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32")):
                for i in T.parallel(4):
                    A[i] = T.float32(1)
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32")):
                for i in range(4):
                    A[i] = T.float32(1)
            """)
    }

    @Test func unsafeSelects() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32"), B: T.Buffer((6,), "float32")):
                for i in range(6):
                    B[i] = T.Select(i < 4, A[i], T.float32(0))
            """)
        let g = rewriteUnsafeSelect(f)
        #expect(countExpr(g) { ($0 as? Call)?.name == "tir.if_then_else" } == 1)
        #expect(countExpr(g) { $0.kind == .select } == 0)
        let b = NDArray(shape: [6], dtype: .float32)
        try TIRInterpreter.run(g, [NDArray([1, 2, 3, 4] as [Float], shape: [4]), b])
        #expect(try b.toArray(Float.self) == [1, 2, 3, 4, 0, 0])
        let safe = try parse(
            """
            @T.prim_func
            def main(B: T.Buffer((6,), "float32")):
                for i in range(6):
                    B[i] = T.Select(i < 4, T.float32(1), T.float32(0))
            """)
        #expect(countExpr(rewriteUnsafeSelect(safe)) { $0.kind == .select } == 1)
    }

    @Test func nestedParallelLoopsBecomeSerial() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((4, 4), "float32")):
                for i in T.parallel(4):
                    for j in T.parallel(4):
                        A[i, j] = T.float32(1)
            """)
        let g = lowerOpaqueBlock(f)
        #expect(count(g) { ($0 as? For)?.forKind == .parallel } == 1)
        try expectSame(f, g)
    }

    @Test func passesAreNamedOnceAndDescribed() {
        var names: Set<String> = []
        for p in TIRPasses.lowering {
            #expect(names.insert(p.info.name).inserted)
            #expect(p.info.name.hasPrefix("tir.") && !p.info.summary.isEmpty)
        }
        #expect(names.count == TIRPasses.lowering.count)
    }
}

@Suite struct VerifyPassTests {
    @Test func findings() throws {
        let v = Var("v")
        let a = Buffer("A", [8])
        let loop = For(v, IntImm(0), IntImm(8), body: BufferStore(a, const(0, .float32), [v]))
        let once = PrimFunc(buffers: [a], body: loop)
        let twice = PrimFunc(buffers: [a], body: SeqStmt([loop, loop]))
        #expect(try TIRPasses.verifySSAPass.run(IRModule(once))["main"] === once)
        #expect(throws: ApusError.self) { try TIRPasses.verifySSAPass.run(IRModule(twice)) }
        #expect(try TIRPasses.verifyMemoryPass.run(IRModule(once))["main"] === once)
        let kernel = PrimFunc(buffers: [a], body: loop, attrs: Attrs(["target": "cuda"]))
        #expect(throws: ApusError.self) { try TIRPasses.verifyMemoryPass.run(IRModule(kernel)) }
        let axis = IterVar(
            IRRange(extent: IntImm(8)), Var("threadIdx.x"), .threadIndex, threadTag: "threadIdx.x")
        let bound = PrimFunc(
            buffers: [a],
            body: For(
                v, IntImm(0), IntImm(8), .threadBinding, body: BufferStore(a, const(0, .float32), [v]),
                threadBinding: axis))
        #expect(
            try TIRPasses.verifyGPUCodePass(GPULimits(maxThreadsPerBlock: 8)).run(IRModule(bound))["main"]
                === bound)
        #expect(throws: ApusError.self) {
            try TIRPasses.verifyGPUCodePass(GPULimits(maxThreadsPerBlock: 4)).run(IRModule(bound))
        }
    }
}
