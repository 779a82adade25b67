import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

@Suite struct PrinterTests {
    init() { TIRNodes.registerAll() }

    @Test func matmulText() throws {
        let f = try TIRParser.parseFunction(ApusTIRTests.matmulText)
        #expect(TIRPrinter.text(f) == ApusTIRTests.matmulText)
    }

    @Test(arguments: programs.indices) func programsAreStable(_ i: Int) throws {
        let f = try TIRParser.parseFunction(programs[i])
        let text = TIRPrinter.text(f)
        #expect(TIRPrinter.text(try TIRParser.parseFunction(text)) == text)
        expectRoundTrip(f)
        let body = programs[i].split(separator: "\n").dropFirst(2)
        #expect(text.split(separator: "\n").dropFirst(2) == body)
    }

    @Test func precedence() {
        let (a, b, c) = (Var("a"), Var("b"), Var("c"))
        #expect(TIRPrinter.text(Mul(Add(a, b), c)) == "(a + b) * c")
        #expect(TIRPrinter.text(Add(a, Mul(b, c))) == "a + b * c")
        #expect(TIRPrinter.text(Sub(a, Sub(b, c))) == "a - (b - c)")
        #expect(TIRPrinter.text(Sub(Sub(a, b), c)) == "a - b - c")
        #expect(TIRPrinter.text(FloorDiv(a, FloorMod(b, c))) == "a // (b % c)")
        #expect(
            TIRPrinter.text(And(Or(EQ(a, b), LT(a, b)), Not(EQ(a, b)))) == "(a == b or a < b) and not a == b")
        #expect(TIRPrinter.text(EQ(Not(EQ(a, b)), EQ(b, c))) == "(not a == b) == (b == c)")
        #expect(TIRPrinter.text(Mul(a, IntImm(-5))) == "a * -5")
    }

    @Test(
        arguments: [
            (0.1, DataType.float32, "T.float32(0.1)"), (-0.0, .float64, "T.float64(-0.0)"),
            (1e30, .float64, "T.float64(1e+30)"),
            (.infinity, .float16, "T.float16(\"inf\")"), (-.infinity, .bfloat16, "T.bfloat16(\"-inf\")"),
            (.nan, .float32, "T.float32(\"nan\")"), (65504, .float16, "T.float16(65504.0)"),
            (5e-324, .float64, "T.float64(5e-324)"),
        ])
    func floatConstants(_ v: Double, _ d: DataType, _ text: String) throws {
        let e = FloatImm(v, dtype: d)
        #expect(TIRPrinter.text(e) == text)
        #expect(structuralEqual(try TIRParser.parseExpr(text), e))
    }

    @Test func everyFloatReadsBack() throws {
        var state: UInt64 = 1
        for _ in 0..<2000 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let x = Double(Float(bitPattern: UInt32(state >> 32)))
            for (v, d) in [(x, DataType.float32), (Double(bitPattern: state), .float64)] {
                let e = FloatImm(v, dtype: d)
                let back = try TIRParser.parseExpr(TIRPrinter.text(e))
                #expect(structuralEqual(back, e), "\(TIRPrinter.text(e))")
            }
        }
    }

    @Test(arguments: [Int.min, .max, 0, -1]) func integers(_ v: Int) throws {
        for d in [DataType.int64, .uint64] {
            let e = IntImm(v, dtype: d)
            #expect(structuralEqual(try TIRParser.parseExpr(TIRPrinter.text(e)), e))
        }
    }

    @Test func shadowedNamesAreToldApart() {
        let f = function { a, n in
            let (i, i2) = (Var("i"), Var("i"))
            let inner = For(i2, IntImm(0), IntImm(4), body: BufferStore(a, FloatImm(1), [Add(i, i2)]))
            return For(
                i, IntImm(0), IntImm(4), .unrolled, body: SeqStmt([inner, LetStmt(Var("n"), n, Evaluate(n))]))
        }
        #expect(TIRPrinter.text(f).contains("A[i + i_1]"))
        #expect(TIRPrinter.text(f).contains("n_1: T.int64 = n"))
        expectRoundTrip(f)
    }

    @Test(arguments: ["", "if", "2x", "größe", "a.b", "T", "i\n"]) func strangeNames(_ name: String) {
        expectRoundTrip(
            function { a, _ in
                let i = Var(name)
                return For(i, IntImm(0), IntImm(4), body: BufferStore(a, FloatImm(1), [i]))
            })
    }

    @Test func undeclaredViewsInsideScopes() {
        expectRoundTrip(
            function { a, _ in
                let local = Buffer("L", [4, 4], scope: "local")
                let flat = Buffer(
                    data: local.data, dtype: .float32, shape: [IntImm(16)], name: "flat", alignment: 64)
                let whole = Buffer(
                    data: a.data, dtype: .int32, shape: [IntImm(16)], name: "bits", alignment: 4)
                return Allocate(
                    local,
                    SeqStmt([
                        BufferStore(flat, BufferLoad(local, [IntImm(0), IntImm(1)]), [IntImm(3)]),
                        BufferStore(whole, IntImm(1, dtype: .int32), [IntImm(0)]),
                    ]))
            })
    }

    @Test func typedShapeSymbols() {
        let n = Var("n", dtype: .int32)
        let a = Buffer("A", [n, Add(n, IntImm(1, dtype: .int32))])
        expectRoundTrip(PrimFunc(buffers: [a, Buffer("B", [n])], body: Evaluate(n)))
    }

    @Test func allThreadBindings() {
        for same in [true, false] {
            let i = Var("i")
            let t = IterVar(
                IRRange(0, extent: same ? 4 : 5), same ? i : Var("tx"), .threadIndex, threadTag: "threadIdx.x"
            )
            expectRoundTrip(
                PrimFunc(
                    [], bufferMap: [],
                    body: For(i, IntImm(0), IntImm(4), .threadBinding, body: Evaluate(i), threadBinding: t)))
        }
    }

    @Test func moduleRoundTrip() throws {
        let f = try TIRParser.parseFunction(programs[0])
        let g = try TIRParser.parseFunction(programs[5])
        let m = IRModule(
            [(global: GlobalVar("main"), function: f), (global: GlobalVar("odd name"), function: g)],
            attrs: attrs(("target", .string("cpu"))))
        let text = TIRPrinter.text(m)
        let back = try TIRParser.parseModule(text)
        #expect(firstDifference(m, back)?.description == nil)
        #expect(TIRPrinter.text(back) == text)
        #expect(back.globals.map(\.name) == ["main", "odd name"])
        let empty = IRModule()
        #expect(structuralEqual(try TIRParser.parseModule(TIRPrinter.text(empty)), empty))
    }

    @Test func deepExpressionsPrint() throws {
        let x = Var("x")
        var e: PrimExpr = x
        for _ in 0..<100_000 { e = Add(e, x) }
        let text = TIRPrinter.text(e)
        #expect(text.utf8.count == 400_001)
        #expect(structuralEqual(try TIRParser.parseExpr(text, variables: [x]), e))
        var right: PrimExpr = x
        for _ in 0..<100_000 { right = Add(x, right) }
        #expect(TIRPrinter.text(right).utf8.count > 400_000)
    }
}
