import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

@Suite struct VerifyTests {
    @Test(arguments: [0, 1, 2, 3, 4, 5, 8]) func programsAreWellFormed(_ i: Int) throws {
        try verifyWellFormed(try TIRParser.parseFunction(programs[i]))
    }

    private func verdict(_ body: (Buffer, Var) -> Stmt) -> String {
        code { try verifyWellFormed(function(body)) }
    }
    private let i = Var("i")

    @Test func freeVariable() { #expect(verdict { _, _ in Evaluate(i) } == "TIR140") }
    @Test func variableAfterItsLoop() {
        #expect(
            verdict { _, n in SeqStmt([For(i, IntImm(0), n, body: Evaluate(i)), Evaluate(i)]) } == "TIR140")
    }
    @Test func freeBuffer() {
        #expect(verdict { _, _ in Evaluate(BufferLoad(Buffer("Z", [1]), [IntImm(0)])) } == "TIR140")
    }
    @Test func loopVariableTwice() {
        #expect(
            verdict { _, n in
                SeqStmt([For(i, IntImm(0), n, body: Evaluate(i)), For(i, IntImm(0), n, body: Evaluate(i))])
            } == "TIR141")
    }
    @Test func operandTypes() { #expect(verdict { _, n in Evaluate(Add(n, FloatImm(1))) } == "TIR142") }
    @Test func conditionType() { #expect(verdict { _, n in IfThenElse(n, Evaluate(n)) } == "TIR142") }
    @Test func storedType() { #expect(verdict { a, n in BufferStore(a, n, [n]) } == "TIR142") }
    @Test func indexType() {
        #expect(verdict { a, n in BufferStore(a, FloatImm(1), [FloatImm(1)]) } == "TIR142")
    }
    @Test func letType() {
        #expect(verdict { _, n in LetStmt(Var("x", dtype: .int32), n, Evaluate(n)) } == "TIR142")
    }
    @Test func loopType() {
        #expect(verdict { _, n in For(Var("i", dtype: .int32), IntImm(0), n, body: Evaluate(n)) } == "TIR142")
    }
    @Test func floatFunctionOfIntegers() { #expect(verdict { _, n in Evaluate(exp(n)) } == "TIR142") }
    @Test func rank() { #expect(verdict { a, n in BufferStore(a, FloatImm(1), [n, n]) } == "TIR143") }
    @Test func regionRank() {
        #expect(
            verdict { a, n in BlockRealize([], Block("b", reads: [BufferRegion(a, [])], body: Evaluate(n))) }
                == "TIR143")
    }
    @Test func argumentCount() {
        #expect(verdict { _, n in Evaluate(intrinsic("exp", .float32, [])) } == "TIR143")
    }
    @Test func blockValues() {
        let v = IterVar(IRRange(0, extent: 4), Var("v"), .dataParallel)
        #expect(
            verdict { _, n in BlockRealize([], Block("b", iterVars: [v], body: Evaluate(n))) } == "TIR144")
    }
    @Test func threadWithoutAxis() {
        #expect(verdict { _, n in For(i, IntImm(0), n, .threadBinding, body: Evaluate(n)) } == "TIR144")
    }
    @Test func blockUsesLoopVariable() {
        let v = IterVar(IRRange(0, extent: 4), Var("v"), .dataParallel)
        #expect(
            verdict { _, n in
                For(i, IntImm(0), n, body: BlockRealize([i], Block("b", iterVars: [v], body: Evaluate(i))))
            } == "TIR146")
        // After such a block the loop variable is known again, and opaque blocks see it.
        #expect(
            verdict { _, n in
                For(
                    i, IntImm(0), n,
                    body: SeqStmt([
                        BlockRealize([i], Block("b", iterVars: [v], body: Evaluate(v.variable))),
                        BlockRealize([], Block("c", body: Evaluate(i))), Evaluate(i),
                    ]))
            } == "none")
    }
    @Test func reduceInFunction() {
        let k = IterVar(IRRange(0, extent: 4), Var("k"), .commReduce)
        let (x, y) = (Var("x"), Var("y"))
        let sum = CommReducer(lhs: [x], rhs: [y], result: [Add(x, y)], identity: [IntImm(0)])
        #expect(verdict { _, _ in Evaluate(Reduce(sum, [k.variable], [k])) } == "TIR147")
    }
    @Test func signature() {
        let a = Buffer("A", [1])
        let f = PrimFunc([], bufferMap: [(param: Var("h", dtype: .handle), buffer: a)], body: SeqStmt([]))
        #expect(code { try verifyWellFormed(f) } == "TIR145")
    }
    /// Threads may share the iterations of a loop inside theirs, if there is one for each; the axis has one extent.
    @Test(arguments: [(4, "none"), (2, "none"), (5, "TIR200")]) func loopWithinThreads(
        _ n: Int, _ expected: String
    ) {
        func over(_ name: String, _ extent: Int, _ body: Stmt) -> Stmt {
            let range = IRRange(0, extent: extent)
            let axis = IterVar(range, Var("threadIdx.x"), .threadIndex, threadTag: "threadIdx.x")
            return For(
                Var(name), range.min, range.extent, .threadBinding, body: body, threadBinding: axis)
        }
        let f = function { _, x in over("i", 4, over("j", n, Evaluate(x))) }
        #expect(code { try verify(f, level: .deep) } == expected)
    }
    @Test(arguments: [(4, "none"), (2, "TIR200")]) func axisOfTwoExtents(_ n: Int, _ expected: String) {
        let axis = IterVar(IRRange(0, extent: 4), Var("threadIdx.x"), .threadIndex, threadTag: "threadIdx.x")
        let other = IterVar(IRRange(0, extent: 4), Var("threadIdx.x"), .threadIndex, threadTag: "threadIdx.x")
        let f = function { _, x in
            AttrStmt(
                axis, "thread_extent", IntImm(4), AttrStmt(other, "thread_extent", IntImm(n), Evaluate(x)))
        }
        #expect(code { try verify(f, level: .deep) } == expected)
    }
    @Test func callee() {
        let f = PrimFunc([], bufferMap: [], body: Evaluate(Call(.int32, GlobalVar("g"), [])))
        #expect(code { try verifyWellFormed(IRModule(f)) } == "TIR148")
        #expect(code { try verifyWellFormed(f) } == "none")
    }
}

@Suite struct AnalysisTests {
    @Test func effects() {
        let a = Buffer("A", [4])
        #expect(sideEffect(of: exp(FloatImm(1))) == .pure)
        #expect(sideEffect(of: Add(IntImm(1), IntImm(2))) == .pure)
        #expect(sideEffect(of: BufferLoad(a, [IntImm(0)])) == .readState)
        #expect(sideEffect(of: intrinsic("call_extern", .int32, [StringImm("f")])) == .updateState)
        #expect(sideEffect(of: intrinsic("call_pure_extern", .int32, [StringImm("f")])) == .pure)
    }

    @Test func undefined() throws {
        let f = try TIRParser.parseFunction(programs[6])
        #expect(undefinedVariables(of: f).map(\.name) == ["k"])
        let x = Var("x")
        #expect(undefinedVariables(of: Add(Let(x, IntImm(1), x), x)).map(\.name) == ["x"])
        #expect(undefinedVariables(of: Let(x, IntImm(1), x)).isEmpty)
        let b = Buffer("B", [4])
        let s = BufferStore(b, FloatImm(1), [x])
        #expect(undefinedBuffers(of: s) == [b])
        #expect(undefinedVariables(of: s) == [x, b.data])
        #expect(undefinedVariables(of: Allocate(b, s)) == [x])
    }

    @Test func sizes() {
        let x = Var("x")
        let e = Add(Mul(x, IntImm(2)), IntImm(1))
        #expect(expressionSize(e) == 5)
        #expect(expressionDepth(e) == 3)
        #expect(expressionSize(e, limit: 2) == 2)
    }

    @Test func flops() throws {
        #expect(estimateFlops(try TIRParser.parseFunction(matmulText).body) == 4 * 5 * 6 * 2)
        let s = try TIRParser.parseStmt(
            "B = T.allocate((8,), \"float32\")\nfor i in range(3):\n    B[T.Ramp(0, 1, 4)] = T.exp(B[T.Ramp(i * 1, 1, 4)])\n"
        )
        #expect(estimateFlops(s) == 12)
    }

    @Test func accessed() throws {
        let f = try TIRParser.parseFunction(matmulText)
        let (r, w) = buffersAccessed(f.body)
        #expect(r.map(\.name) == ["C", "A", "B"])
        #expect(w.map(\.name) == ["C"])
    }

    private func regions(_ text: String) throws -> (String, String) {
        let f = try TIRParser.parseFunction(
            "@T.prim_func\ndef f(A: T.Buffer((64, 64), \"float32\"), B: T.Buffer((64,), \"float32\"), n: T.int64):\n"
                + "    with T.block(\"b\"):\n        v = T.axis.spatial(8, n)\n" + text)
        let block = try #require((f.body as? BlockRealize)?.block)
        let (r, w) = blockAccessRegion(block)
        return (r.map(\.description).joined(separator: "; "), w.map(\.description).joined(separator: "; "))
    }

    @Test func pointRegions() throws {
        let (r, w) = try regions("        B[v] = A[v, v + 1]\n")
        #expect(r == "A[v, v + 1]" && w == "B[v]")
    }

    @Test func loopRegions() throws {
        let (r, w) = try regions(
            "        for i, j in T.grid(4, 3):\n            B[v * 4 + i] = A[i * 2 + j, 5 - j] + B[v * 4 + i]\n"
        )
        #expect(r == "A[0:9, 3:6]; B[v * 4:v * 4 + 4]")
        #expect(w == "B[v * 4:v * 4 + 4]")
    }

    @Test func hullOfSeveralAccesses() throws {
        let (r, _) = try regions("        B[v] = A[v, 3] + A[v + 2, 7] + A[v + 1, 1]\n")
        #expect(r == "A[v:v + 3, 1:8]")
    }

    @Test func unknownIndicesTakeTheWholeAxis() throws {
        let (r, _) = try regions(
            "        for i in range(4):\n            B[v] = A[i * i, i // 2] + A[v, T.Cast(\"int64\", B[i])]\n"
        )
        #expect(r == "A[0:64, 0:64]; B[0:4]")
    }

    @Test func vectorRegions() throws {
        let (r, w) = try regions("        B[T.Ramp(v * 8, 1, 8)] = A[v, T.Ramp(0, 2, 8)]\n")
        #expect(r == "A[v, 0:15]" && w == "B[v * 8:v * 8 + 8]")
    }

    @Test func innerBlocksSpeakForThemselves() throws {
        let (r, w) = try regions(
            """
                    for i in range(4):
                        with T.block("inner"):
                            u = T.axis.spatial(32, v * 4 + i)
                            T.reads(A[u, 0:16])
                            T.writes(B[u])
                            B[u] = A[u, 3]

            """)
        #expect(r == "A[v * 4:v * 4 + 4, 0:16]" && w == "B[v * 4:v * 4 + 4]")
    }
}
