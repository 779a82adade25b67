import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

/// What is read from a text knows its place there, through passes, so that errors can show it.
@Suite struct SpanTests {
    private let text = """
        @T.prim_func
        def main(A: T.Buffer((16,), "float32"), n: T.int64):
            B = T.allocate((16,), "float32")
            for i in range(16):
                x: T.float32 = A[i] + T.float32(1)
                B[i] = x * x
            with T.block("b"):
                v = T.axis.spatial(16, n)
                A[v] = T.Let(y, B[v], y + y)
        """

    private func place(_ s: Span?) -> String { s.map { "\($0.line):\($0.column)" } ?? "none" }

    private func parsed(_ text: String? = nil) throws -> PrimFunc {
        try TIRParser.parseFunction(text ?? self.text, source: "k.tir")
    }

    @Test func everyNodeKnowsItsPlace() throws {
        let f = try parsed()
        #expect(f.span == Span(source: "k.tir", line: 2, column: 5))
        #expect(f.params.map { place($0.span) } == ["2:10", "2:41"])
        var places: [String] = []
        var missing: [String] = []
        postOrderVisit(
            f.body,
            expr: { e in if e.span == nil { missing.append("\(e)") } },
            stmt: { s in
                places.append("\(s.schema.key) \(place(s.span))")
                if s.span?.source != "k.tir" { missing.append("\(s)") }
            })
        // Constants that the notation leaves out have no place: ranges begin at 0.
        #expect(Set(missing).isSubset(of: ["0", "True"]), "\(missing)")
        #expect(
            places == [
                "tir.BufferStore 6:9", "tir.LetStmt 5:9", "tir.For 4:5", "tir.BufferStore 9:9",
                "tir.Block 7:5",
                "tir.BlockRealize 7:5", "tir.SeqStmt 4:5", "tir.Allocate 3:5",
            ])
        var operators: [String] = []
        postOrderVisit(f.body, expr: { if $0 is BinaryExpr { operators.append(place($0.span)) } })
        #expect(operators == ["5:29", "6:18", "9:33"])
    }

    @Test func spansAreNoContent() throws {
        let f = try parsed()
        let g = try TIRParser.parseFunction("\n\n" + text, source: "other")
        #expect(structuralEqual(f, g) && structuralHash(f) == structuralHash(g))
        #expect(TIRPrinter.text(f) == TIRPrinter.text(g) && saveJSON(f) == saveJSON(g))
    }

    @Test func rewritesKeepSpans() throws {
        let f = try parsed()
        let n = f.params[1]
        let g = substitute(f.body, [n: Add(n, IntImm(1))])
        var missing: [String] = []
        postOrderVisit(g, stmt: { if $0.span == nil { missing.append("\($0)") } })
        #expect(g !== f.body && missing.isEmpty)
        // What an override builds has the place of what it stands for.
        final class Doubler: StmtExprMutator {
            override func mutate(_ s: Stmt) -> Stmt {
                guard let w = s as? BufferStore else { return mutateChildren(of: s) }
                return BufferStore(w.buffer, w.value * 2, w.indices)
            }
        }
        var stores: [String] = []
        postOrderVisit(
            Doubler().mutate(f.body), stmt: { if $0 is BufferStore { stores.append(place($0.span)) } })
        #expect(stores == ["6:9", "9:9"])
        // A node that others hold stays as it is.
        final class Constant: StmtExprMutator {
            let one = FloatImm(1)
            override func mutate(_ e: PrimExpr) -> PrimExpr { e.kind == .mul ? one : mutateChildren(of: e) }
        }
        let c = Constant()
        _ = c.mutate(f.body)
        #expect(c.one.span == nil)
    }

    private func error(_ body: () throws -> Void) -> ApusError? {
        do { try body() } catch let e as ApusError { return e } catch {}
        return nil
    }

    @Test func errorsShowThePlace() throws {
        let f = try parsed(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32"), n: T.int64):
                A[0] = T.float32(1)
                for i in range(n):
                    A[i + n] = A[i // (n - n)]
            """)
        // The interpreter.
        let array = try NDArray.allocate(shape: [16], dtype: .float32)
        let e = try #require(
            error { try TIRInterpreter.run(f, args: [.array(array), .int(4)]) })
        #expect(e.code == "TIR164")
        #expect(e.context.last == "k.tir:5:9", "\(e)")
        #expect(e.notes == ["\n        A[i + n] = A[i // (n - n)]\n        ^"], "\(e)")
        // The verifier, after a rewrite that breaks the types.
        let bad = substitute(f.body, [f.params[1]: Var("m", dtype: .int32)])
        let v = try #require(error { try verifyWellFormed(f.with(body: bad)) })
        #expect(v.context.contains { $0.hasPrefix("k.tir:4:14") || $0.hasPrefix("k.tir:4:5") }, "\(v)")
        #expect(v.context.filter { $0.hasPrefix("k.tir") }.count == 1)
        // Memory of an unknown kind.
        let g = try parsed(
            """
            @T.prim_func
            def main(n: T.int64):
                B = T.allocate((16,), "float32", scope="nowhere")
                B[n] = T.float32(0)
            """)
        let s = try #require(error { try verify(g, level: .deep) })
        #expect(s.code == "TIR149" && s.context.last == "k.tir:3:5", "\(s)")
        // A function made by hand has no places.
        let h = function { a, n in BufferStore(a, FloatImm(1), [n, n]) }
        #expect(error { try verifyWellFormed(h) }?.notes == [])
    }

    @Test func spansCompareByContent() {
        let a = Span(source: "a", line: 2, column: 3, text: "x")
        #expect(a == Span(source: "a", line: 2, column: 3))
        #expect(a.hashValue == Span(source: "a", line: 2, column: 3).hashValue)
        #expect(a != a.at(line: 2, column: 4) && a != Span(source: "b", line: 2, column: 3))
        #expect(a.at(line: 1, column: 1).excerpt == "x\n^" && a.excerpt == "")
    }
}
