import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

@Suite struct ParserTests {
    @Test(
        arguments: [
            ("1 +", "TIR101"), ("x", "TIR102"), ("T.int8(1) + T.float64(1.0)", "TIR103"),
            ("T.int8(300)", "TIR104"),
            ("99999999999999999999", "TIR104"), ("T.nothing(1)", "TIR107"), ("T.exp()", "TIR106"),
            ("T.int33x0(1)", "TIR107"),
            ("\"open", "TIR100"), ("1 $ 2", "TIR100"), ("(1", "TIR100"), ("1)", "TIR100"),
            ("T.Ramp(0, 1, 0)", "TIR104"),
            ("T.Ramp(0, 1, 99999)", "TIR104"), ("T.Broadcast(T.Broadcast(1, 2), 2)", "TIR103"),
            ("T.Shuffle([1], [1])", "TIR104"),
            ("T.Select(1, 2, 3)", "TIR103"), ("True + True + 1.5", "TIR103"), ("1 / 2", "TIR103"),
            ("not 1", "TIR103"),
            ("T.Cast(\"int8x2\", 1)", "TIR103"), ("T.call_extern(\"f\")", "TIR108"),
            ("T.float32(\"huge\")", "TIR104"),
            ("1 2", "TIR101"), ("T.Let(1, 2, 3)", "TIR101"), ("\"\\q\"", "TIR100"), ("1e", "TIR100"),
            ("T.var(x, T.int32)", "TIR108"),
        ])
    func wrongExpressions(_ text: String, _ expected: String) {
        #expect(code { _ = try TIRParser.parseExpr(text) } == expected)
    }

    @Test(
        arguments: [
            ("for i in range(3):\npass", "TIR101"), ("\tpass", "TIR100"),
            ("for i in T.loop(3):\n    pass\n", "TIR107"),
            ("for i, j in T.grid(3):\n    pass\n", "TIR106"), ("A[0] = 1", "TIR102"),
            ("with T.what():\n    pass\n", "TIR107"),
            ("if 1:\n    pass\n", "TIR103"), ("x = 1\n  y = 2\n", "TIR101"),
            ("if True:\n    pass\n  pass\n", "TIR100"),
            ("with T.block(\"b\"):\n    v = T.axis.remap(\"S\", [1])\n    pass\n", "TIR108"),
            ("assert 1, \"m\"", "TIR103"), ("T.evaluate(1", "TIR100"),
            ("B = T.allocate((2,), \"float99\")\n", "TIR107"),
            ("B = T.allocate((2.5,), \"int8\")\n", "TIR103"),
            ("B = T.allocate((2,), \"int8\", zone=1)\n", "TIR107"),
            ("B = T.allocate((2,), \"int8\")\nB[0, 0] = T.int8(1)\n", "TIR106"),
            ("B = T.allocate((2,), \"int8\")\nB[T.float32(0.0)] = T.int8(1)\n", "TIR103"),
            ("B = T.allocate((2,), \"int8\")\nB[0] = T.int16(1)\n", "TIR103"),
            ("T.attr(\"a\", \"b\")\n", "TIR101"),
        ])
    func wrongStatements(_ text: String, _ expected: String) {
        #expect(code { _ = try TIRParser.parseStmt(text) } == expected)
    }

    @Test func errorsShowThePlace() {
        do {
            _ = try TIRParser.parseStmt("for i in range(3):\n    T.evaluate(i + zz)\n", source: "file.tir")
            Issue.record("no error")
        } catch let e as ApusError {
            #expect(e.code == "TIR102")
            #expect(e.context == ["file.tir:2:20"])
            #expect(e.description.contains("    T.evaluate(i + zz)\n                   ^"))
        } catch { Issue.record("\(error)") }
    }

    @Test func nestingIsBounded() {
        let deep = String(repeating: "(", count: 300_000) + "1" + String(repeating: ")", count: 300_000)
        #expect(code { _ = try TIRParser.parseExpr(deep) } == "TIR105")
        let minus = String(repeating: "- ", count: 300_000) + "x"
        #expect(code { _ = try TIRParser.parseExpr(minus, variables: [Var("x")]) } == "TIR105")
        let marked = String(repeating: "if True:\nT.indent()\n", count: 300_000)
        #expect(code { _ = try TIRParser.parseStmt(marked) } == "TIR100")
        let closed = marked + "pass\n" + String(repeating: "T.dedent()\n", count: 300_000)
        #expect(code { _ = try TIRParser.parseStmt(closed) } == "TIR105")
        let list =
            "T.attr(\"a\", \"b\", 1)\nfor i in T.serial(3, annotations={\"k\": "
            + String(repeating: "T.list([", count: 500_000)
        #expect(["TIR100", "TIR105"].contains(code { _ = try TIRParser.parseStmt(list) }))
    }

    @Test func nestingWithinTheBoundIsRead() throws {
        let n = 900
        let text = String(repeating: "(", count: n) + "1" + String(repeating: ")", count: n)
        #expect(try TIRParser.parseExpr(text).asInt == 1)
    }

    @Test func longScopesAreALoop() throws {
        var text = ""
        for i in 0..<20_000 { text += "x\(i): T.int64 = \(i)\n" }
        let s = try TIRParser.parseStmt(text + "pass\n")
        #expect(TIRPrinter.text(s) == text + "pass\n")
    }

    @Test func plainNumbersTakeTheOtherType() throws {
        let x = Var("x", dtype: .float32)
        #expect(structuralEqual(try TIRParser.parseExpr("x * 2", variables: [x]), Mul(x, FloatImm(2))))
        let b = Buffer("B", [4], .int8)
        let s = try TIRParser.parseStmt("B[1] = 3", buffers: [b])
        #expect(structuralEqual(s, BufferStore(b, IntImm(3, dtype: .int8), [IntImm(1)])))
    }

    @Test func commentsAndContinuations() throws {
        let s = try TIRParser.parseStmt(
            "# head\n\nfor i in range(  # extent\n    4):\n\n    # inside\n    T.evaluate(i)  # end\n")
        #expect(TIRPrinter.text(s) == "for i in range(4):\n    T.evaluate(i)\n")
    }
}
