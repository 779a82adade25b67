import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private final class StmtSimplifier: AnalyzingMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr { analyzer.simplify(e) }

    override func mutate(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .forLoop:
            let loop = unsafeDowncast(s, to: For.self)
            let lo = mutate(loop.min)
            let extent = mutate(loop.extent)
            if let n = extent.asInt {
                if n <= 0 { return Evaluate.noOp }
                if n == 1 && loop.forKind != .threadBinding {
                    analyzer.bind(loop.loopVar, lo)
                    return mutate(loop.body)
                }
            }
            analyzer.bind(loop.loopVar, IRRange(min: lo, extent: extent))
            let body = mutate(loop.body)
            let same = lo === loop.min && extent === loop.extent && body === loop.body
            return same ? s : loop.with(min: lo, extent: extent, body: body)
        case .ifThenElse:
            let branch = unsafeDowncast(s, to: IfThenElse.self)
            let c = mutate(branch.condition)
            if let v = c.asInt {
                if v != 0 { return mutate(branch.thenCase) }
                return branch.elseCase.map { mutate($0) } ?? Evaluate.noOp
            }
            let t = analyzer.withConstraint(c) { mutate(branch.thenCase) }
            let e = branch.elseCase.map { e in analyzer.withConstraint(not(c)) { mutate(e) } }
            let same = c === branch.condition && t === branch.thenCase && e === branch.elseCase
            return same ? s : IfThenElse(c, t, e)
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            let value = mutate(l.value)
            if value.kind == .intImm || value.kind == .variable || value.kind == .floatImm {
                analyzer.bind(l.variable, value)
                return mutate(l.body)
            }
            analyzer.bindProperties(of: l.variable, from: value)
            let body = mutate(l.body)
            return value === l.value && body === l.body ? s : LetStmt(l.variable, value, body)
        case .bufferStore:
            let store = unsafeDowncast(s, to: BufferStore.self)
            let value = mutate(store.value)
            let indices = store.indices.map { mutate($0) }
            // x[i] = x[i] does nothing.
            if let load = value as? BufferLoad, load.buffer === store.buffer,
                zip(load.indices, indices).allSatisfy({ sameExpr($0, $1) })
            {
                return Evaluate.noOp
            }
            let same = value === store.value && zip(indices, store.indices).allSatisfy { $0 === $1 }
            return same ? s : BufferStore(store.buffer, value, indices)
        case .assert:
            let a = unsafeDowncast(s, to: AssertStmt.self)
            let c = mutate(a.condition)
            if c.isTrue { return Evaluate.noOp }
            return c === a.condition ? s : AssertStmt(c, code: a.code, a.message)
        default: return mutateChildren(of: s)
        }
    }
}

/// Simplifies every expression with what is known of loops and conditions; drops branches that are never taken,
/// loops of no or one iteration, and stores of a value onto itself.
public func simplifyTIR(_ f: PrimFunc) -> PrimFunc {
    f.with(body: StmtSimplifier(shapeAnalyzer(f)).mutate(f.body))
}

/// Whether evaluating `e` can be left out.
func isPure(_ e: PrimExpr) -> Bool {
    var pure = true
    postOrderVisit(e) { x in if let c = x as? Call, effect(of: c) == .updateState { pure = false } }
    return pure
}

private func isNoOp(_ s: Stmt) -> Bool {
    if let e = s as? Evaluate { return isPure(e.value) }
    if let seq = s as? SeqStmt { return seq.stmts.isEmpty }
    return false
}

private final class NoOpRemover: StmtExprMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        switch n.stmtKind {
        case .seq:
            let seq = unsafeDowncast(n, to: SeqStmt.self)
            let kept = seq.stmts.filter { !isNoOp($0) }
            if kept.count == seq.stmts.count { return n }
            return kept.isEmpty ? Evaluate.noOp : SeqStmt.flat(kept)
        case .forLoop:
            let loop = unsafeDowncast(n, to: For.self)
            if loop.extent.asInt == 0 { return Evaluate.noOp }
            return isNoOp(loop.body) && isPure(loop.min) && isPure(loop.extent) ? Evaluate.noOp : n
        case .ifThenElse:
            let b = unsafeDowncast(n, to: IfThenElse.self)
            if let e = b.elseCase, isNoOp(e) {
                return isNoOp(b.thenCase) && isPure(b.condition)
                    ? Evaluate.noOp : IfThenElse(b.condition, b.thenCase)
            }
            if isNoOp(b.thenCase) {
                if let e = b.elseCase { return IfThenElse(not(b.condition), e) }
                if isPure(b.condition) { return Evaluate.noOp }
            }
            return n
        case .letStmt:
            let l = unsafeDowncast(n, to: LetStmt.self)
            if !isPure(l.value) { return n }
            return isNoOp(l.body) || !mentions(l.body, l.variable) ? l.body : n
        case .allocate:
            let a = unsafeDowncast(n, to: Allocate.self)
            if isNoOp(a.body) { return a.body }
            var used = false
            postOrderVisit(
                a.body,
                expr: { e in
                    if e === a.buffer.data { used = true }
                    if (e as? BufferLoad)?.buffer.data === a.buffer.data { used = true }
                },
                stmt: { s in if (s as? BufferStore)?.buffer.data === a.buffer.data { used = true } })
            return used ? n : a.body
        case .attr: return isNoOp(unsafeDowncast(n, to: AttrStmt.self).body) ? Evaluate.noOp : n
        case .evaluate: return isNoOp(n) ? Evaluate.noOp : n
        default: return n
        }
    }
}

func mentions(_ s: Stmt, _ v: Var) -> Bool {
    var found = false
    postOrderVisit(s, expr: { e in if e === v { found = true } })
    return found
}

/// Drops statements without effect: empty loops and branches, pure evaluations, unused lets and allocations.
public func removeNoOp(_ f: PrimFunc) -> PrimFunc { f.with(body: NoOpRemover().mutate(f.body)) }

private final class IfHoister: StmtExprMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        guard let loop = n as? For,
            loop.forKind == .serial || loop.forKind == .unrolled || loop.forKind == .vectorized,
            let branch = loop.body as? IfThenElse, !uses(branch.condition, [loop.loopVar]),
            isInvariant(branch.condition)
        else { return n }
        // A loop of no iterations does nothing either way: the condition is pure.
        let t = mutate(loop.with(body: branch.thenCase))
        let e = branch.elseCase.map { body in
            // The second loop needs its own variable.
            let v = Var(loop.loopVar.name, dtype: loop.loopVar.dtype)
            return mutate(
                For(
                    v, loop.min, loop.extent, loop.forKind, body: substitute(body, [loop.loopVar: v]),
                    annotations: loop.annotations))
        }
        return IfThenElse(branch.condition, t, e)
    }
    /// Without reading memory, which the loop may change.
    private func isInvariant(_ e: PrimExpr) -> Bool {
        var ok = true
        postOrderVisit(e) { x in
            if x.kind == .bufferLoad { ok = false }
            if let c = x as? Call, effect(of: c) != .pure { ok = false }
        }
        return ok
    }
}

/// Moves conditions that do not depend on a loop's variable out of the loop, where they are its whole body.
public func hoistIfThenElse(_ f: PrimFunc) -> PrimFunc { f.with(body: IfHoister().mutate(f.body)) }
