import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR

// Walking a program with an analyzer that knows, at each place, what the surroundings bind and guarantee: loop
// variables and block iterators their ranges, `let` variables their values, branches their conditions, what follows an
// assertion its condition. (TVM: IRVisitorWithAnalyzer, IRMutatorWithAnalyzer.)

/// The variable of a loop and that of the thread axis it is bound to.
private func bindLoop(_ s: For, _ range: IRRange, _ analyzer: Analyzer) {
    analyzer.bind(s.loopVar, range)
    if let t = s.threadBinding, t.variable !== s.loopVar { analyzer.bind(t.variable, range) }
}

/// The variable of a thread axis without a loop (`thread_extent`).
private func bindAxis(_ a: AttrStmt, _ extent: PrimExpr, _ analyzer: Analyzer) {
    guard let i = a.node as? IterVar, i.iterType == .threadIndex else { return }
    analyzer.bind(i.variable, IRRange(extent: extent))
}

/// A visitor whose `analyzer` knows the surroundings of what is visited.
open class IRVisitorWithAnalyzer: StmtExprVisitor {
    public let analyzer: Analyzer

    public init(_ analyzer: Analyzer = Analyzer()) {
        self.analyzer = analyzer
        super.init()
    }

    open override func visit(_ s: Stmt) { growingStack { walk(s) } }

    private func walk(_ s: Stmt) {
        switch s.stmtKind {
        case .forLoop:
            let s = unsafeDowncast(s, to: For.self)
            visit(s.min)
            visit(s.extent)
            analyzer.scope {
                bindLoop(s, IRRange(min: s.min, extent: s.extent), analyzer)
                visit(s.body)
            }
        case .attr:
            let a = unsafeDowncast(s, to: AttrStmt.self)
            visit(a.value)
            analyzer.scope {
                bindAxis(a, a.value, analyzer)
                visit(a.body)
            }
        case .letStmt:
            let s = unsafeDowncast(s, to: LetStmt.self)
            visit(s.value)
            analyzer.scope {
                analyzer.bindProperties(of: s.variable, from: s.value)
                visit(s.body)
            }
        case .ifThenElse:
            let s = unsafeDowncast(s, to: IfThenElse.self)
            visit(s.condition)
            analyzer.withConstraint(s.condition) { visit(s.thenCase) }
            if let e = s.elseCase { analyzer.withConstraint(not(s.condition)) { visit(e) } }
        case .seq:
            // What is asserted holds for the rest of the sequence.
            analyzer.scope {
                for c in unsafeDowncast(s, to: SeqStmt.self).stmts {
                    visit(c)
                    if c.stmtKind == .assert {
                        analyzer.assume(unsafeDowncast(c, to: AssertStmt.self).condition)
                    }
                }
            }
        case .block:
            analyzer.scope {
                for v in unsafeDowncast(s, to: Block.self).iterVars { analyzer.bind(v.variable, v.dom) }
                visitChildren(of: s)
            }
        default: visitChildren(of: s)
        }
    }

    open override func visit(_ e: PrimExpr) { growingStack { walk(e) } }

    private func walk(_ e: PrimExpr) {
        switch e.kind {
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            visit(l.value)
            analyzer.scope {
                analyzer.bindProperties(of: l.variable, from: l.value)
                visit(l.body)
            }
        case .reduce:
            let r = unsafeDowncast(e, to: Reduce.self)
            analyzer.scope {
                for a in r.axis { analyzer.bind(a.variable, a.dom) }
                visitChildren(of: e)
            }
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            guard c.name == "tir.if_then_else", c.args.count == 3 else { return visitChildren(of: e) }
            visit(c.args[0])
            analyzer.withConstraint(c.args[0]) { visit(c.args[1]) }
            analyzer.withConstraint(not(c.args[0])) { visit(c.args[2]) }
        default: visitChildren(of: e)
        }
    }
}

/// A mutator whose `analyzer` knows the surroundings of what is rebuilt. `select` evaluates both its values, so its
/// condition says nothing inside them.
open class IRMutatorWithAnalyzer: StmtExprMutator {
    public let analyzer: Analyzer

    public init(_ analyzer: Analyzer = Analyzer()) {
        self.analyzer = analyzer
        super.init()
    }

    open override func mutate(_ s: Stmt) -> Stmt { growingStack { rewrite(s) } }

    private func rewrite(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .forLoop:
            let s = unsafeDowncast(s, to: For.self)
            let lo = mutate(s.min)
            let extent = mutate(s.extent)
            let body = analyzer.scope {
                bindLoop(s, IRRange(min: lo, extent: extent), analyzer)
                return mutate(s.body)
            }
            return lo === s.min && extent === s.extent && body === s.body
                ? s : s.with(min: lo, extent: extent, body: body)
        case .attr:
            let a = unsafeDowncast(s, to: AttrStmt.self)
            let value = mutate(a.value)
            let body = analyzer.scope {
                bindAxis(a, value, analyzer)
                return mutate(a.body)
            }
            return value === a.value && body === a.body ? s : AttrStmt(a.node, a.key, value, body)
        case .letStmt:
            let s = unsafeDowncast(s, to: LetStmt.self)
            let value = mutate(s.value)
            let body = analyzer.scope {
                analyzer.bindProperties(of: s.variable, from: value)
                return mutate(s.body)
            }
            return value === s.value && body === s.body ? s : LetStmt(s.variable, value, body)
        case .ifThenElse:
            let s = unsafeDowncast(s, to: IfThenElse.self)
            let c = mutate(s.condition)
            let t = analyzer.withConstraint(c) { mutate(s.thenCase) }
            let e = s.elseCase.map { other in analyzer.withConstraint(not(c)) { mutate(other) } }
            return c === s.condition && t === s.thenCase && e === s.elseCase ? s : IfThenElse(c, t, e)
        case .seq:
            let s = unsafeDowncast(s, to: SeqStmt.self)
            var changed = false
            let list = analyzer.scope {
                s.stmts.map { c -> Stmt in
                    let n = mutate(c)
                    if n !== c { changed = true }
                    if n.stmtKind == .assert {
                        analyzer.assume(unsafeDowncast(n, to: AssertStmt.self).condition)
                    }
                    return n
                }
            }
            return changed ? SeqStmt.flat(list) : s
        case .block:
            return analyzer.scope {
                for v in unsafeDowncast(s, to: Block.self).iterVars { analyzer.bind(v.variable, v.dom) }
                return mutateChildren(of: s)
            }
        default: return mutateChildren(of: s)
        }
    }

    open override func mutate(_ e: PrimExpr) -> PrimExpr { growingStack { rewrite(e) } }

    private func rewrite(_ e: PrimExpr) -> PrimExpr {
        switch e.kind {
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            let value = mutate(l.value)
            let body = analyzer.scope {
                analyzer.bindProperties(of: l.variable, from: value)
                return mutate(l.body)
            }
            return value === l.value && body === l.body ? e : Let(l.variable, value, body)
        case .reduce:
            return analyzer.scope {
                for a in unsafeDowncast(e, to: Reduce.self).axis { analyzer.bind(a.variable, a.dom) }
                return mutateChildren(of: e)
            }
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            guard c.name == "tir.if_then_else", c.args.count == 3 else { return mutateChildren(of: e) }
            let condition = mutate(c.args[0])
            let t = analyzer.withConstraint(condition) { mutate(c.args[1]) }
            let f = analyzer.withConstraint(not(condition)) { mutate(c.args[2]) }
            return condition === c.args[0] && t === c.args[1] && f === c.args[2]
                ? e : Call(c.dtype, c.op, [condition, t, f])
        default: return mutateChildren(of: e)
        }
    }
}
