import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Rewrites index arithmetic in a narrower type wherever every value on the way is proved to fit.
private final class Narrower: AnalyzingMutator {
    private let type: DataType
    private let low: Int
    private let high: Int
    private var variables: [Var: Var] = [:]

    init(_ f: PrimFunc, bits: Int) {
        type = DataType(.int, bits)
        low = bits >= 64 ? .min : -(1 << (bits - 1))
        high = bits >= 64 ? .max : (1 << (bits - 1)) - 1
        super.init(f)
    }

    private func fits(_ e: PrimExpr) -> Bool {
        let b = analyzer.constIntBound(e)
        return b.min >= low && b.max <= high
    }

    private func isNarrow(_ e: PrimExpr) -> Bool { e.dtype.element == type }

    /// What became of `original`, with the type that it had; itself where it can be.
    private func wide(_ e: PrimExpr, _ original: PrimExpr) -> PrimExpr {
        if original.kind == .intImm { return original }
        if let c = original as? Cast, c.value === e { return original }
        return e.dtype == original.dtype ? e : cast(original.dtype, e)
    }

    /// The value of `e`, in the narrow type where that is safe. Anything whose type others count on keeps it.
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.dtype == .index { return index(e) }
        switch e.kind {
        case .eq, .ne, .lt, .le, .gt, .ge:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            let a = mutate(op.a)
            let b = mutate(op.b)
            if a === op.a && b === op.b { return e }
            if a.dtype == b.dtype { return binary(e.kind, a, b) }
            let x = wide(a, op.a)
            let y = wide(b, op.b)
            return x === op.a && y === op.b ? e : binary(e.kind, x, y)
        case .cast:
            let c = unsafeDowncast(e, to: Cast.self)
            let v = mutate(c.value)
            return v === c.value ? e : cast(c.dtype, v)
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            guard r.dtype.element == .index else { return mutateChildren(of: e) }
            let base = mutate(r.base)
            let stride = mutate(r.stride)
            if isNarrow(base) && isNarrow(stride) && fits(r.base) && fits(r.base + r.stride * (r.lanes - 1)) {
                return Ramp(base, stride, r.lanes)
            }
            let same = wide(base, r.base) === r.base && wide(stride, r.stride) === r.stride
            return same ? e : Ramp(wide(base, r.base), wide(stride, r.stride), r.lanes)
        case .broadcast:
            let b = unsafeDowncast(e, to: Broadcast.self)
            let v = mutate(b.value)
            return v === b.value ? e : Broadcast(v, b.lanes)
        case .bufferLoad: return load(unsafeDowncast(e, to: BufferLoad.self))
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            let (v, value) = bound(l.variable, l.value)
            let body = bindingProperties(l.variable, l.value) { wide(mutate(l.body), l.body) }
            return v === l.variable && value === l.value && body === l.body ? e : Let(v, value, body)
        default:
            // Operands of other types keep theirs: their users count on them.
            return mapChildren(of: e) { c in wide(mutate(c), c) }
        }
    }

    /// Indices may have any integer type; what is loaded keeps its own.
    private func load(_ l: BufferLoad) -> PrimExpr {
        let indices = l.indices.map { mutate($0) }
        return zip(indices, l.indices).allSatisfy { $0 === $1 } ? l : BufferLoad(l.buffer, indices)
    }

    private func index(_ e: PrimExpr) -> PrimExpr {
        switch e.kind {
        case .intImm:
            let v = unsafeDowncast(e, to: IntImm.self).value
            return v >= low && v <= high ? IntImm(v, dtype: type) : e
        case .variable:
            return variables[unsafeDowncast(e, to: Var.self)] ?? e
        case .add, .sub, .mul, .floorDiv, .floorMod, .div, .mod, .min, .max:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            let a = mutate(op.a)
            let b = mutate(op.b)
            if isNarrow(a) && isNarrow(b) && fits(e) { return binary(e.kind, a, b) }
            let x = wide(a, op.a)
            let y = wide(b, op.b)
            return x === op.a && y === op.b ? e : binary(e.kind, x, y)
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            let c = mutate(s.condition)
            let t = mutate(s.trueValue)
            let f = mutate(s.falseValue)
            if isNarrow(t) && isNarrow(f) { return select(c, t, f) }
            let x = wide(t, s.trueValue)
            let y = wide(f, s.falseValue)
            return c === s.condition && x === s.trueValue && y === s.falseValue ? e : select(c, x, y)
        case .cast:
            let c = unsafeDowncast(e, to: Cast.self)
            let v = mutate(c.value)
            if v.dtype == type { return v }
            return v === c.value ? e : cast(e.dtype, v)
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            if c.name == "tir.if_then_else" {
                let condition = mutate(c.args[0])
                let t = mutate(c.args[1])
                let f = mutate(c.args[2])
                if isNarrow(t) && isNarrow(f) { return ifThenElse(condition, t, f) }
                let args = [condition, wide(t, c.args[1]), wide(f, c.args[2])]
                return zip(args, c.args).allSatisfy { $0 === $1 } ? e : Call(c.dtype, c.op, args)
            }
            return mapChildren(of: e) { x in wide(mutate(x), x) }
        case .bufferLoad: return load(unsafeDowncast(e, to: BufferLoad.self))
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            let (v, value) = bound(l.variable, l.value)
            let body = bindingProperties(l.variable, l.value) { mutate(l.body) }
            return v === l.variable && value === l.value && body === l.body ? e : Let(v, value, body)
        default: return mapChildren(of: e) { c in wide(mutate(c), c) }
        }
    }

    /// A let's variable and value: narrow together, or as they were.
    private func bound(_ v: Var, _ value: PrimExpr) -> (Var, PrimExpr) {
        let n = mutate(value)
        guard v.dtype == .index, isNarrow(n) else { return (v, wide(n, value)) }
        let own = Var(v.name, dtype: type)
        variables[v] = own
        return (own, n)
    }

    override func mutate(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .forLoop:
            let loop = unsafeDowncast(s, to: For.self)
            let lo = mutate(loop.min)
            let extent = mutate(loop.extent)
            var v = loop.loopVar
            // The end itself is computed by whoever runs the loop: it must fit as well.
            let narrow =
                v.dtype == .index && isNarrow(lo) && isNarrow(extent) && fits(loop.min + loop.extent)
                && fits(loop.extent) && loop.threadBinding == nil
            if narrow {
                v = Var(loop.loopVar.name, dtype: type)
                variables[loop.loopVar] = v
            }
            let x = narrow ? lo : wide(lo, loop.min)
            let n = narrow ? extent : wide(extent, loop.extent)
            let body = binding(loop.loopVar, interval(of: loop)) { mutate(loop.body) }
            if !narrow && x === loop.min && n === loop.extent && body === loop.body { return s }
            return For(
                v, x, n, loop.forKind, body: body, threadBinding: loop.threadBinding,
                annotations: loop.annotations)
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            let (v, value) = bound(l.variable, l.value)
            let body = bindingProperties(l.variable, l.value) { mutate(l.body) }
            return v === l.variable && value === l.value && body === l.body ? s : LetStmt(v, value, body)
        case .bufferStore:
            let store = unsafeDowncast(s, to: BufferStore.self)
            let indices = store.indices.map { mutate($0) }
            let value = wide(mutate(store.value), store.value)
            let same = value === store.value && zip(indices, store.indices).allSatisfy { $0 === $1 }
            return same ? s : BufferStore(store.buffer, value, indices)
        case .ifThenElse:
            let b = unsafeDowncast(s, to: IfThenElse.self)
            let c = mutate(b.condition)
            let t = assuming(b.condition) { mutate(b.thenCase) }
            let e = b.elseCase.map { mutate($0) }
            return c === b.condition && t === b.thenCase && e === b.elseCase ? s : IfThenElse(c, t, e)
        case .seq: return mutateSequence(unsafeDowncast(s, to: SeqStmt.self))
        case .block, .blockRealize:
            internalError("NarrowDataType runs on functions without blocks")
        default:
            return mapChildren(of: s, expr: { e in wide(mutate(e), e) }, stmt: { mutate($0) })
        }
    }
}

/// Computes loop variables, lets and indices in integers of `bits` (8, 16 or 32) where bounds prove that every value on
/// the way fits; all else stays as it is, with conversions in between. Late in the pipeline: passes behind it know less
/// of the narrow type. Needs: no blocks. Throws TTR041 for a width that there is not, TTR042 if there are blocks.
/// (TVM's NarrowDataType.)
public func narrowDataType(_ f: PrimFunc, bits: Int = 32) throws -> PrimFunc {
    guard [8, 16, 32].contains(bits) else {
        throw ApusError(
            "TTR041", "no narrow index type has this width", expected: "8, 16 or 32", actual: "\(bits)")
    }
    var blocks = false
    withLargeStack { postOrderVisit(f.body, stmt: { s in if s is Block { blocks = true } }) }
    if blocks {
        throw ApusError("TTR042", "NarrowDataType needs a function without blocks", hint: "lower it first")
    }
    return f.rewritingBody { Narrower(f, bits: bits).mutate($0) }
}

extension TIRPasses {
    public static let narrowDataType = primFuncPass(
        PassInfo("tir.NarrowDataType", "index arithmetic proved to fit is done in narrow integers")
    ) { f, _, c in try ApusTIRTransforms.narrowDataType(f, bits: c.int("tir.narrow_bits", default: 32)) }
}
