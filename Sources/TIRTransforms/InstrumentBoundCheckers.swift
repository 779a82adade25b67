import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Collects what must hold so that the accesses of one expression stay inside their buffers, inner accesses first.
private final class AccessConditions {
    struct Check {
        let condition: PrimExpr
        let buffer: Buffer
        let axis: Int
    }
    private(set) var checks: [Check] = []
    /// What is known where the access is evaluated: the conditions of `if_then_else` around it and its lets.
    private var around: [(PrimExpr) -> PrimExpr] = []
    private let analyzer: Analyzer

    init(_ analyzer: Analyzer) { self.analyzer = analyzer }

    func visit(_ e: PrimExpr) {
        switch e.kind {
        case .bufferLoad:
            let l = unsafeDowncast(e, to: BufferLoad.self)
            for i in l.indices { visit(i) }
            access(l.buffer, l.indices)
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            switch c.name {
            case "tir.if_then_else":
                visit(c.args[0])
                // What the condition says serves to prove, and stands in the check where that does not suffice.
                let known = conjuncts(c.args[0]).filter { !touchesState($0) }
                around.append { ifThenElse(c.args[0], $0, trueExpr) }
                analyzer.withConstraint(all(known)) { visit(c.args[1]) }
                around.removeLast()
                let opposite = touchesState(c.args[0]) ? trueExpr : not(c.args[0])
                around.append { ifThenElse(c.args[0], trueExpr, $0) }
                analyzer.withConstraint(opposite) { visit(c.args[2]) }
                around.removeLast()
            case "tir.prefetch": break  // touches nothing that a program could notice
            case "tir.address_of":
                // The address may be that of the end; its indices are evaluated.
                if let l = c.args.first as? BufferLoad { for i in l.indices { visit(i) } }
            default: for a in c.args { visit(a) }
            }
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            visit(l.value)
            around.append { uses($0, [l.variable]) ? Let(l.variable, l.value, $0) : $0 }
            visit(l.body)
            around.removeLast()
        default: forEachChild(of: e) { visit($0) }
        }
    }

    func access(_ b: Buffer, _ indices: [PrimExpr]) {
        for (axis, index) in indices.enumerated() where axis < b.rank {
            for e in lanes(index) {
                // An extent of another width is compared in the wider of the two.
                for c in [e .>= const(0, e.dtype), e .< b.shape[axis]] {
                    var condition = analyzer.simplify(c).isTrue ? trueExpr : c
                    if condition.isTrue { continue }
                    for wrap in around.reversed() { condition = wrap(condition) }
                    if condition.isTrue { continue }
                    checks.append(Check(condition: condition, buffer: b, axis: axis))
                }
            }
        }
    }

    /// The scalars that bound a vector index.
    private func lanes(_ e: PrimExpr) -> [PrimExpr] {
        if e.dtype.isScalar { return [e] }
        switch e.kind {
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            return [r.base, r.base + r.stride * (r.lanes - 1)]
        case .broadcast: return [unsafeDowncast(e, to: Broadcast.self).value]
        default: return (0..<Int(e.dtype.lanes)).map { Shuffle([e], [$0]) }
        }
    }
}

private final class BoundInstrumenter: AnalyzingMutator {
    /// Conditions asserted just before the statement at hand.
    private var known: [PrimExpr] = []

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }

    private func asserts(_ collect: (AccessConditions) -> Void) -> [Stmt] {
        let conditions = AccessConditions(analyzer)
        collect(conditions)
        defer { known = [] }
        var result: [Stmt] = []
        var seen = known
        for c in conditions.checks where !seen.contains(where: { sameExpr($0, c.condition) }) {
            seen.append(c.condition)
            result.append(
                AssertStmt(
                    c.condition, code: "RT101",
                    "index out of bounds: dimension \(c.axis) of `\(c.buffer.name)`"))
        }
        return result
    }

    private func guarded(_ s: Stmt, _ checks: [Stmt]) -> Stmt {
        checks.isEmpty ? s : SeqStmt.flat(checks + [s])
    }

    override func mutate(_ s: Stmt) -> Stmt {
        if s.stmtKind == .seq { return super.mutate(s) }
        let before = known
        let result = instrumented(s)
        known = []
        if let a = s as? AssertStmt, result === s { known = before + [a.condition] }
        return result
    }

    private func instrumented(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .bufferStore:
            let store = unsafeDowncast(s, to: BufferStore.self)
            return guarded(
                s,
                asserts { a in
                    for i in store.indices { a.visit(i) }
                    a.visit(store.value)
                    a.access(store.buffer, store.indices)
                })
        case .evaluate: return guarded(s, asserts { $0.visit(unsafeDowncast(s, to: Evaluate.self).value) })
        case .assert:
            return guarded(s, asserts { $0.visit(unsafeDowncast(s, to: AssertStmt.self).condition) })
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            let checks = asserts { $0.visit(l.value) }
            let body = bindingProperties(l.variable, l.value) { mutate(l.body) }
            return guarded(body === l.body ? s : LetStmt(l.variable, l.value, body), checks)
        case .ifThenElse:
            let b = unsafeDowncast(s, to: IfThenElse.self)
            let checks = asserts { $0.visit(b.condition) }
            let t = assuming(b.condition) { mutate(b.thenCase) }
            let e = b.elseCase.map { e in
                touchesState(b.condition) ? mutate(e) : assuming(not(b.condition)) { mutate(e) }
            }
            let same = t === b.thenCase && e === b.elseCase
            return guarded(same ? s : IfThenElse(b.condition, t, e), checks)
        case .forLoop:
            let loop = unsafeDowncast(s, to: For.self)
            let checks = asserts { a in
                a.visit(loop.min)
                a.visit(loop.extent)
            }
            return guarded(super.mutate(s), checks)
        case .whileLoop:
            // The condition is evaluated once more than the body: before the loop and at the end of each turn.
            let w = unsafeDowncast(s, to: While.self)
            let checks = asserts { $0.visit(w.condition) }
            let body = assuming(w.condition) { mutate(w.body) }
            if checks.isEmpty { return body === w.body ? s : While(w.condition, body) }
            return SeqStmt.flat(checks + [While(w.condition, SeqStmt.flat([body] + checks))])
        case .blockRealize:
            let r = unsafeDowncast(s, to: BlockRealize.self)
            let checks = asserts { a in
                for v in r.iterValues { a.visit(v) }
                a.visit(r.predicate)
            }
            for v in r.block.iterVars { analyzer.bind(v.variable, v.dom) }
            let initial = r.block.initial.map { mutate($0) }
            let body = mutate(r.block.body)
            let same = initial === r.block.initial && body === r.block.body
            return guarded(
                same
                    ? s
                    : BlockRealize(
                        r.iterValues, predicate: r.predicate,
                        r.block.with(body: body, initial: .some(initial))),
                checks)
        default: return super.mutate(s)
        }
    }
}

/// Puts an assertion (code RT101) in front of each statement whose accesses are not proved to lie inside their
/// buffers. Accesses that `if_then_else` guards are checked under its condition; both sides of a `Select` are
/// evaluated and both checked. Best before FlattenBuffer, while buffers have their dimensions.
public func instrumentBoundCheckers(_ f: PrimFunc) -> PrimFunc {
    f.rewritingBody { BoundInstrumenter(f).mutate($0) }
}

extension TIRPasses {
    public static let instrumentBoundCheckers = primFuncPass(
        PassInfo("tir.InstrumentBoundCheckers", "accesses not proved to be in bounds are asserted to be")
    ) { f, _, _ in ApusTIRTransforms.instrumentBoundCheckers(f) }
}
