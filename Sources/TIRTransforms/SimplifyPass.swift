import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private final class StmtSimplifier: AnalyzingMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr { analyzer.simplify(e) }

    /// Appends what a part of a sequence becomes. What dissolves (lets of constants, sequences) goes into the one list
    /// directly: sequences nested in each other would be copied once a level otherwise.
    private func emit(_ s: Stmt, _ out: inout [Stmt]) {
        if let seq = s as? SeqStmt, seq.stmts.count <= 64 {
            for c in seq.stmts { emit(c, &out) }
            return
        }
        if let l = s as? LetStmt {
            let value = mutate(l.value)
            if isPlain(value) {
                binding(l.variable, value: value) { emit(l.body, &out) }
                return
            }
        }
        out.append(mutate(s))
    }

    private func isPlain(_ e: PrimExpr) -> Bool {
        e.kind == .intImm || e.kind == .variable || e.kind == .floatImm
    }

    override func mutate(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .forLoop:
            let loop = unsafeDowncast(s, to: For.self)
            let lo = mutate(loop.min)
            let extent = mutate(loop.extent)
            if let n = extent.asInt {
                if n <= 0 { return Evaluate.noOp }
                if n == 1 && loop.forKind != .threadBinding {
                    return binding(loop.loopVar, value: lo) { mutate(loop.body) }
                }
            } else if !touchesState(extent), analyzer.canProve(extent .<= const(0, extent.dtype)) {
                return Evaluate.noOp
            }
            let body = binding(loop.loopVar, IRRange(min: lo, extent: extent)) { mutate(loop.body) }
            let same = lo === loop.min && extent === loop.extent && body === loop.body
            return same ? s : loop.with(min: lo, extent: extent, body: body)
        case .ifThenElse:
            let branch = unsafeDowncast(s, to: IfThenElse.self)
            let c = mutate(branch.condition)
            if let v = c.asInt {
                if v != 0 { return mutate(branch.thenCase) }
                return branch.elseCase.map { mutate($0) } ?? Evaluate.noOp
            }
            let t = assuming(c) { mutate(branch.thenCase) }
            // The opposite of a part of a condition says nothing.
            let e = branch.elseCase.map { e in
                touchesState(c) ? mutate(e) : assuming(not(c)) { mutate(e) }
            }
            let same = c === branch.condition && t === branch.thenCase && e === branch.elseCase
            return same ? s : IfThenElse(c, t, e)
        case .whileLoop:
            let w = unsafeDowncast(s, to: While.self)
            let c = mutate(w.condition)
            if c.isFalse { return Evaluate.noOp }
            let body = assuming(c) { mutate(w.body) }
            return c === w.condition && body === w.body ? s : While(c, body)
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            let value = mutate(l.value)
            if isPlain(value) {
                return binding(l.variable, value: value) { mutate(l.body) }
            }
            let body = bindingProperties(l.variable, value) { mutate(l.body) }
            return value === l.value && body === l.body ? s : LetStmt(l.variable, value, body)
        case .bufferStore:
            let store = unsafeDowncast(s, to: BufferStore.self)
            let value = mutate(store.value)
            let indices = store.indices.map { mutate($0) }
            if storesItself(store.buffer, value, indices) { return Evaluate.noOp }
            let same = value === store.value && zip(indices, store.indices).allSatisfy { $0 === $1 }
            return same ? s : BufferStore(store.buffer, value, indices)
        case .assert:
            let a = unsafeDowncast(s, to: AssertStmt.self)
            let c = mutate(a.condition)
            if c.isTrue { return Evaluate.noOp }
            return c === a.condition ? s : AssertStmt(c, code: a.code, a.message)
        case .seq:
            return mutateSequence(unsafeDowncast(s, to: SeqStmt.self)) { c, out in emit(c, &out) }
        default: return mutateChildren(of: s)
        }
    }
}

/// Whether the store `buffer[indices] = value` stores what is there: `x[i] = x[i]`.
func storesItself(_ buffer: Buffer, _ value: PrimExpr, _ indices: [PrimExpr]) -> Bool {
    guard let load = value as? BufferLoad, load.buffer === buffer, load.indices.count == indices.count else {
        return false
    }
    return zip(load.indices, indices).allSatisfy { sameExpr($0, $1) }
}

/// Simplifies every expression with what is known of loops and conditions; drops branches that are never taken,
/// loops of no or one iteration, and stores of a value onto itself. What a condition says of memory is not used: the
/// statements behind it may change it.
public func simplifyTIR(_ f: PrimFunc) -> PrimFunc { f.rewritingBody { StmtSimplifier(f).mutate($0) } }
