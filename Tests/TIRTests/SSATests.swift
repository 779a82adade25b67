import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

/// `convertSSA`, and texts of programs that define something twice: what is shared is written wherever it stands.
@Suite struct SSATests {
    init() { TIRNodes.registerAll() }

    /// Reads back, and is well formed once everything is defined once.
    private func expectReadsBack(_ f: PrimFunc, _ place: SourceLocation = #_sourceLocation) throws {
        #expect(throws: Never.self, sourceLocation: place) { try verifyRoundTrip(f) }
        let g = convertSSA(f)
        #expect(throws: Never.self, sourceLocation: place) { try verifyWellFormed(g) }
        #expect(convertSSA(g) === g, sourceLocation: place)
        #expect(TIRPrinter.text(g) == TIRPrinter.text(f), sourceLocation: place)
    }

    /// A shape determines the variables of its expressions, also one that a later shape names by itself.
    @Test func variableWithinADimension() throws {
        func program(_ swapped: Bool) -> PrimFunc {
            let (n, m, i) = (Var("n"), Var("m", dtype: .int32), Var("i"))
            let a = Buffer("a", [n, cast(.int64, m)], .float32)
            let c = Buffer("c", swapped ? [n, m] : [m, n], .float32)
            return PrimFunc(
                buffers: [a, c],
                body: For(i, IntImm(0), n, body: BufferStore(c, FloatImm(0), [IntImm(0), i])))
        }
        try expectReadsBack(program(false))
        #expect(structuralEqual(program(false), program(false)))
        #expect(!structuralEqual(program(false), program(true)))
    }

    /// Fuzzer tir.roundtrip, seeds 916 and 1001: the range of a loop and of its thread axis hold the same `Let`, which the
    /// short form of the axis reads back as shared, another place as two.
    @Test func loopAndThreadAxisShareALet() throws {
        try expectReadsBack(
            function { _, n in
                let x = Var("x")
                let range = IRRange(extent: Let(x, n, x + 1))
                let i = Var("i")
                let axis = IterVar(range, Var("threadIdx.x"), .threadIndex, threadTag: "threadIdx.x")
                let loop = For(
                    i, range.min, range.extent, .threadBinding, body: Evaluate(i), threadBinding: axis)
                return SeqStmt([Evaluate(range.extent), loop])
            })
        try expectReadsBack(
            function { _, n in
                let x = Var("x")
                let extent = Let(x, n, x + 1)
                let i = Var("i")
                let v = Var("v")
                let block = Block(
                    "b", iterVars: [IterVar(IRRange(extent: extent), v, .dataParallel)], body: Evaluate(v))
                return For(i, IntImm(0), extent, body: BlockRealize([i], block))
            })
    }

    /// Fuzzer tir.roundtrip, seed 1108: a variable that is bound within the shape of a buffer is no variable of the shape.
    @Test func letInAShape() throws {
        let x = Var("x", dtype: .int32)
        let m = Var("m", dtype: .int32)
        let f = function { _, n in
            let b = Buffer(
                data: Var("B", type: PointerType(PrimType(.int8))), dtype: .int8,
                shape: [m, Let(x, IntImm(3, dtype: .int32), Cast(.int64, Add(x, m)))], strides: [n, m],
                name: "B", alignment: 64)
            let body = Evaluate(BufferLoad(b, [IntImm(0), IntImm(0)]))
            return BlockRealize([], Block("b", body: body, allocBuffers: [b]))
        }
        let text = TIRPrinter.text(f)
        let expected =
            "(T.var(m, T.int32), T.Let(x, T.int32(3), T.Cast(\"int64\", x + m))), \"int8\", strides=(n, m)"
        #expect(text.contains(expected), "\(text)")
        let back = try TIRParser.parseFunction(text)
        #expect(TIRPrinter.text(back) == text && structuralEqual(f, back))
        try verifyRoundTrip(f)
    }

    @Test func annotationsMayNameTheLoopVariable() throws {
        let i = Var("i")
        let f = function { _, n in
            SeqStmt(
                (0..<2).map { _ in
                    For(
                        i, IntImm(0), n, body: Evaluate(i),
                        annotations: attrs(
                            ("last", .node(EQ(i, n - 1))), ("list", .list([.node(i), .int(2)]))))
                })
        }
        #expect(TIRPrinter.text(f).contains("\"last\": T.expr(i == n - 1)"))
        try expectReadsBack(f)
        let loops = try #require((convertSSA(f).body as? SeqStmt)?.stmts as? [For])
        for l in loops {
            guard case .node(let e)? = l.annotations["last"] else { throw ApusError("TEST", "no annotation") }
            #expect(uses(try #require(e as? PrimExpr), [l.loopVar]))
        }
    }

    @Test func threadAxesOfSeveralLoops() throws {
        let t = IterVar(IRRange(0, extent: 4), Var("tx"), .threadIndex, threadTag: "threadIdx.x")
        func loop(_ name: String, _ a: Buffer) -> Stmt {
            let i = Var(name)
            return For(
                i, IntImm(0), IntImm(4), .threadBinding, body: BufferStore(a, FloatImm(1), [t.variable]),
                threadBinding: t)
        }
        try expectReadsBack(function { a, _ in SeqStmt([loop("i", a), loop("j", a)]) })
        // An axis that a statement declares.
        let f = function { a, n in
            let x = Var("x")
            func part() -> Stmt {
                let axis = IterVar(IRRange(extent: x), Var("ty"), .threadIndex, threadTag: "threadIdx.y")
                return LetStmt(
                    x, n, AttrStmt(axis, "thread_extent", x, BufferStore(a, FloatImm(2), [axis.variable])))
            }
            return SeqStmt([part(), part()])
        }
        try expectReadsBack(f)
        #expect(undefinedVariables(of: convertSSA(f)).isEmpty)
    }

    @Test func viewsAndTheirSymbols() throws {
        let f = try TIRParser.parseFunction(
            """
            @T.prim_func
            def f(A: T.Buffer((16, 8), "float32")):
                with T.block("b"):
                    V = T.match_buffer(A[4:8, 0:8], (4, 8), "float32", strides=(s0, s1), elem_offset=e0)
                    W = T.alloc_buffer((8,), "float32")
                    W[0] = V[0, 0] + T.Cast("float32", s0)
                    V[1, 1] = W[0] + T.Cast("float32", e0)
            """)
        let twice = f.with(body: SeqStmt([f.body, f.body, f.body]))
        #expect(code { try verifyWellFormed(twice) } == "TIR141")
        try expectReadsBack(twice)
        let array = try NDArray.allocate(shape: [16, 8], dtype: .float32)
        try TIRInterpreter.run(convertSSA(twice), [array])
    }

    /// Views that nothing declares follow their memory into each part.
    @Test func undeclaredViews() throws {
        let f = function { a, n in
            let memory = Buffer("M", [16])
            let view = Buffer(data: memory.data, dtype: .float32, shape: [IntImm(4), IntImm(4)], name: "V")
            func part() -> Stmt {
                Allocate(
                    memory,
                    SeqStmt([
                        BufferStore(view, FloatImm(1), [IntImm(1), IntImm(2)]),
                        BufferStore(a, BufferLoad(view, [IntImm(1), IntImm(2)]), [n]),
                    ]))
            }
            return SeqStmt([part(), part()])
        }
        let g = convertSSA(f)
        try verifyWellFormed(g)
        var views: Set<Buffer> = []
        var pointers: Set<Var> = []
        postOrderVisit(
            g.body,
            stmt: { s in
                if let w = s as? BufferStore, w.buffer.name == "V" { views.insert(w.buffer) }
                if let w = s as? Allocate { pointers.insert(w.buffer.data) }
            })
        #expect(views.count == 2 && Set(views.map(\.data)) == pointers)
        try verifyRoundTrip(g)
        try verifyRoundTrip(f)
    }

    @Test func reductions() throws {
        let k = IterVar(IRRange(0, extent: 4), Var("k"), .commReduce)
        let x = Var("x", dtype: .float32)
        let y = Var("y", dtype: .float32)
        let sum = CommReducer(lhs: [x], rhs: [y], result: [Add(x, y)], identity: [FloatImm(0)])
        let f = function { a, n in
            let r = Reduce(sum, [BufferLoad(a, [k.variable])], [k])
            return SeqStmt([BufferStore(a, r, [n]), BufferStore(a, Add(r, r), [n])])
        }
        try verifyRoundTrip(f)
        let g = convertSSA(f)
        #expect(g !== f && convertSSA(g) === g && TIRPrinter.text(g) == TIRPrinter.text(f))
    }

    /// Fuzzer tir.roundtrip, seeds 3528 and 9521: a thread axis that only the strides of a buffer speak of is still named.
    @Test func stridesSpeakOfAThreadAxis() throws {
        let axis = IterVar(IRRange(0, extent: 4), Var("vthread"), .threadIndex, threadTag: "vthread")
        for inBlock in [false, true] {
            try expectReadsBack(
                function { _, _ in
                    let i = Var("i")
                    let b = Buffer("B", [8]).with(strides: [Add(axis.variable, IntImm(1))])
                    let use = Evaluate(BufferLoad(b, [i]))
                    let body: Stmt =
                        inBlock
                        ? BlockRealize([], Block("b", body: use, allocBuffers: [b])) : Allocate(b, use)
                    return For(
                        i, IntImm(0), IntImm(4), .threadBinding, body: body, threadBinding: axis)
                })
        }
    }

    /// A sequence of one statement stays one: the converted function has the form of the text.
    @Test func sequencesKeepTheirForm() throws {
        let x = Var("x")
        let f = function { _, n in
            let l = Let(x, n, x + 1)
            return SeqStmt([SeqStmt([Evaluate(l), Evaluate(l)]), SeqStmt([Evaluate(n)])])
        }
        try expectReadsBack(f)
    }
}
