import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

/// Visitor and mutator whose analyzer knows the surroundings of what they are at.
@Suite struct AnalyzerFunctorTests {
    init() { TIRNodes.registerAll() }

    /// Marks the places of a program: `call_extern("k", e)` asks what is known of `e` there.
    private static func mark(_ name: String, _ e: PrimExpr) -> PrimExpr {
        intrinsic("call_extern", .index, [StringImm(name), e])
    }

    private static func parse(_ text: String) throws -> PrimFunc { try TIRParser.parseFunction(text) }

    /// What the visitor can tell of each marked expression, in order: its bounds.
    private final class Asker: IRVisitorWithAnalyzer {
        var answers: [String] = []
        override func visit(_ e: PrimExpr) {
            if let c = e as? Call, c.name == "tir.call_extern", let name = c.args[0] as? StringImm {
                let b = analyzer.constIntBound(c.args[1])
                let lo = b.min == ConstIntBound.negInf ? "-inf" : "\(b.min)"
                let hi = b.max == ConstIntBound.posInf ? "inf" : "\(b.max)"
                answers.append("\(name.value) \(lo) \(hi)")
                return
            }
            super.visit(e)
        }
    }

    private func answers(_ text: String) throws -> [String] {
        let asker = Asker()
        asker.visit(try AnalyzerFunctorTests.parse(text).body)
        return asker.answers
    }

    private let program = """
        @T.prim_func
        def main(n: T.int64, m: T.int64):
            T.evaluate(T.call_extern("free", n, dtype="int64"))
            for i in T.serial(2, 10):
                T.evaluate(T.call_extern("loop", i, dtype="int64"))
                x: T.int64 = i * 3 + 1
                T.evaluate(T.call_extern("let", x, dtype="int64"))
                if i < 5:
                    T.evaluate(T.call_extern("then", i, dtype="int64"))
                else:
                    T.evaluate(T.call_extern("else", i, dtype="int64"))
                T.evaluate(T.call_extern("after", i, dtype="int64"))
            with T.seq():
                T.evaluate(T.call_extern("before assert", n, dtype="int64"))
                assert n >= 7, "n"
                T.evaluate(T.call_extern("after assert", n, dtype="int64"))
            T.evaluate(T.call_extern("outside", n, dtype="int64"))
            with T.block("b"):
                v = T.axis.spatial((4, 9), m)
                T.evaluate(T.call_extern("block", v, dtype="int64"))
            T.evaluate(T.if_then_else(m < 3, T.call_extern("yes", m, dtype="int64"), T.call_extern("no", m, dtype="int64")))
            T.evaluate(T.Select(m < 3, T.call_extern("select", m, dtype="int64"), 0))
            T.evaluate(T.Let(y, T.min(n, 20), T.call_extern("let value", y, dtype="int64")))
            T.evaluate(T.Reduce([0], lambda a, b: (a + b,), [T.iter_var(k, (1, 6), "reduce")], [T.call_extern("axis", k, dtype="int64")]))
            T.evaluate(T.call_extern("end", m, dtype="int64"))
        """

    @Test func whatIsKnownWhere() throws {
        #expect(
            try answers(program) == [
                "free -inf inf", "loop 2 9", "let 7 28", "then 2 4", "else 5 9", "after 2 9",
                "before assert -inf inf", "after assert 7 inf", "outside -inf inf", "block 4 8",
                "yes -inf 2", "no 3 inf", "select -inf inf", "let value -inf 20", "axis 1 5", "end -inf inf",
            ])
    }

    /// Folds what the surroundings decide: comparisons to true or false.
    private final class Folder: IRMutatorWithAnalyzer {
        override func mutate(_ e: PrimExpr) -> PrimExpr {
            if e.dtype == .bool, e.kind != .intImm {
                if analyzer.canProve(e) { return trueExpr }
                if analyzer.canProve(not(e)) { return falseExpr }
            }
            return super.mutate(e)
        }
    }

    private func folded(_ text: String) throws -> String {
        let f = try AnalyzerFunctorTests.parse(text)
        return TIRPrinter.text(Folder().mutate(f.body))
    }

    @Test func mutatorKnowsTheSame() throws {
        let body = try folded(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "bool"), n: T.int64, m: T.int64):
                for i in T.serial(2, 10):
                    A[0] = i < 10
                    A[1] = i < 9
                    x: T.int64 = i * 3 + 1
                    A[2] = x < 7
                    if i < 5:
                        A[3] = i < 6
                    else:
                        A[4] = i < 5
                with T.seq():
                    A[5] = n > 6
                    assert n >= 7, "n"
                    A[6] = n > 6
                A[7] = n > 6
                with T.block("b"):
                    v = T.axis.spatial((4, 9), m)
                    A[8] = v >= 4
                A[9] = T.if_then_else(m < 3, m < 4, m < 3)
                A[10] = T.Select(m < 3, m < 4, m < 3)
                A[11] = T.Let(y, T.min(n, 20), y < 21)
            """)
        #expect(
            body == """
                for i in T.serial(2, 10):
                    A[0] = True
                    A[1] = i < 9
                    x: T.int64 = i * 3 + 1
                    A[2] = False
                    if i < 5:
                        A[3] = True
                    else:
                        A[4] = False
                A[5] = n > 6
                assert n >= 7, "n"
                A[6] = True
                A[7] = n > 6
                with T.block("b"):
                    v = T.axis.spatial((4, 9), m)
                    A[8] = True
                A[9] = T.if_then_else(m < 3, True, False)
                A[10] = T.Select(m < 3, m < 4, m < 3)
                A[11] = True

                """)
    }

    /// Nothing to do: the same node, and an analyzer that has forgotten the scopes.
    @Test func identityAndScopes() throws {
        let f = try AnalyzerFunctorTests.parse(program)
        let mutator = IRMutatorWithAnalyzer()
        #expect(mutator.mutate(f.body) === f.body)
        let visitor = IRVisitorWithAnalyzer()
        visitor.visit(f.body)
        for a in [mutator.analyzer, visitor.analyzer] {
            for p in f.params {
                let b = a.constIntBound(p)
                #expect(b.min == ConstIntBound.negInf && b.max == ConstIntBound.posInf)
            }
            postOrderVisit(
                f.body,
                stmt: { s in
                    guard let l = s as? For else { return }
                    #expect(a.constIntBound(l.loopVar).min == ConstIntBound.negInf)
                })
        }
        // One that knows something keeps it.
        let known = Analyzer()
        known.bind(f.params[0], IRRange(0, extent: 4))
        let asker = Asker(known)
        asker.visit(f.body)
        #expect(asker.answers.first == "free 0 3")
    }

    /// Each statement and expression is rebuilt where a part changes.
    @Test func everyKindIsRebuilt() throws {
        final class Renamer: IRMutatorWithAnalyzer {
            let from: Var
            let to: Var
            init(_ from: Var, _ to: Var) {
                self.from = from
                self.to = to
                super.init()
            }
            override func mutate(_ e: PrimExpr) -> PrimExpr { e === from ? to : super.mutate(e) }
        }
        let f = try AnalyzerFunctorTests.parse(program)
        for p in f.params {
            let q = Var("q")
            let body = Renamer(p, q).mutate(f.body)
            #expect(!uses(body, [p]) && uses(body, [q]))
            #expect(structuralEqual(body, substitute(f.body, [p: q])))
            #expect(structuralEqual(Renamer(q, p).mutate(body), substitute(body, [q: p])))
        }
    }

    /// Deep structures do not exhaust the stack.
    @Test func deep() {
        let n = Var("n")
        var e: PrimExpr = n
        for _ in 0..<20_000 { e = intrinsic("if_then_else", .index, [trueExpr, e, IntImm(0)]) }
        let s: Stmt = (0..<20_000).reduce(Evaluate(e)) { s, _ in
            For(Var("i"), IntImm(0), IntImm(4), body: s)
        }
        IRVisitorWithAnalyzer().visit(s)
        #expect(IRMutatorWithAnalyzer().mutate(s) === s)
    }
}
