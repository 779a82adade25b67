import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private func isBF16(_ d: DataType) -> Bool { d.element == .bfloat16 }
private func lanesOf(_ d: DataType, _ e: DataType) -> DataType { e.with(lanes: Int(d.lanes)) }

// MARK: Promote

private final class BF16Promoter: StmtExprMutator {
    private func wide(_ e: PrimExpr) -> PrimExpr { isBF16(e.dtype) ? cast(lanesOf(e.dtype, .float32), e) : e }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let n = mutateChildren(of: e)
        if let op = n as? BinaryExpr, isBF16(op.a.dtype) {
            let r = BinaryExpr.raw(op.kind, wide(op.a), wide(op.b))
            return isBF16(n.dtype) ? cast(n.dtype, r) : r
        }
        // Functions of numbers; what only moves a value keeps its type.
        guard let c = n as? Call, effect(of: c) == .pure, c.args.contains(where: { isBF16($0.dtype) }),
            c.name.hasPrefix("tir."), numeric.contains(String(c.name.dropFirst(4)))
        else { return n }
        let r = Call(isBF16(c.dtype) ? lanesOf(c.dtype, .float32) : c.dtype, c.op, c.args.map { wide($0) })
        return isBF16(c.dtype) ? cast(c.dtype, r) : r
    }
}

private let numeric: Set<String> = {
    var names = Set(Intrinsics.unaryFloat + Intrinsics.binaryFloat + Intrinsics.predicates)
    names.insert("fma")
    return names
}()

/// Computes in float32 what is written in bfloat16: operands are widened, results rounded. Sums, differences, products
/// and quotients come out as if rounded once (24 bits are more than 2 * 8 + 2: Figueroa, SIGNUM 30(3), 1995).
public func bf16Promote(_ f: PrimFunc) -> PrimFunc { f.rewritingBody { BF16Promoter().mutate($0) } }

// MARK: Cast elimination

private final class BF16CastEliminator: StmtExprMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let n = mutateChildren(of: e)
        guard let outer = n as? Cast, outer.dtype.element == .float32, let inner = outer.value as? Cast,
            isBF16(inner.dtype), inner.value.dtype == outer.dtype
        else { return n }
        return inner.value
    }
}

/// Drops the rounding between two operations of one expression: `float32(bfloat16(x))` becomes `x`. More exact than the
/// program as written, and not the same.
public func bf16CastElimination(_ f: PrimFunc) -> PrimFunc {
    f.rewritingBody { BF16CastEliminator().mutate($0) }
}

// MARK: Type lowering

private final class BF16Lowerer: StmtExprMutator {
    private var variables: [Var: Var] = [:]
    private var buffers: [Buffer: Buffer] = [:]

    private func storage(_ d: DataType) -> DataType { lanesOf(d, .uint16) }

    func buffer(_ b: Buffer) -> Buffer {
        if let known = buffers[b] { return known }
        var n = b
        let shape = b.shape.map { mutate($0) }
        let strides = b.strides.map { mutate($0) }
        let offset = mutate(b.elemOffset)
        let same =
            zip(shape, b.shape).allSatisfy { $0 === $1 } && zip(strides, b.strides).allSatisfy { $0 === $1 }
            && offset === b.elemOffset
        if isBF16(b.dtype) || !same {
            n = Buffer(
                data: isBF16(b.dtype) ? pointer(b.data) : b.data,
                dtype: isBF16(b.dtype) ? storage(b.dtype) : b.dtype,
                shape: shape, strides: strides, elemOffset: offset, name: b.name, alignment: b.alignment)
        }
        buffers[b] = n
        return n
    }
    override func mutate(_ b: Buffer) -> Buffer { buffer(b) }

    private func pointer(_ v: Var) -> Var {
        if let known = variables[v] { return known }
        guard let p = v.type as? PointerType, let e = p.element as? PrimType, isBF16(e.dtype) else {
            return v
        }
        let n = Var(v.name, type: PointerType(PrimType(storage(e.dtype)), storageScope: p.storageScope))
        variables[v] = n
        return n
    }
    func variable(_ v: Var) -> Var {
        if let known = variables[v] { return known }
        if v.dtype.isHandle { return pointer(v) }
        guard isBF16(v.dtype) else { return v }
        let n = Var(v.name, dtype: storage(v.dtype))
        variables[v] = n
        return n
    }

    /// The value of 16 bits that are the upper half of a float32.
    private func widened(_ bits: PrimExpr) -> PrimExpr {
        let u = lanesOf(bits.dtype, .uint32)
        let shifted = intrinsic("shift_left", u, [cast(u, bits), const(16, u)])
        return intrinsic("reinterpret", lanesOf(bits.dtype, .float32), [shifted])
    }

    /// The 16 bits nearest to a float, ties to even; what is no number stays none.
    private func rounded(_ x: PrimExpr) -> PrimExpr {
        let f32 = lanesOf(x.dtype, .float32)
        let u = lanesOf(x.dtype, .uint32)
        let single = cast(f32, x)
        var bits: PrimExpr = intrinsic("reinterpret", u, [single])
        if x.dtype.element == .float64 {
            // The way through float32 must not round to a tie: to odd where it is not exact (Boldo and Melquiond, 2008).
            let back = cast(x.dtype, single)
            let odd = binary(.eq, bitwise("bitwise_and", bits, const(1, u)), const(1, u))
            let keep = or(binary(.eq, back, x), odd)
            let below = binary(.lt, unary("fabs", back), unary("fabs", x))
            bits = select(keep, bits, select(below, bits + const(1, u), bits - const(1, u)))
        }
        let tie = bitwise("bitwise_and", bitwise("shift_right", bits, const(16, u)), const(1, u))
        let up = bitwise("shift_right", bits + (tie + const(0x7FFF, u)), const(16, u))
        let quiet = bitwise("bitwise_or", bitwise("shift_right", bits, const(16, u)), const(0x40, u))
        return cast(storage(x.dtype), select(isNaN(x), quiet, up))
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        switch e.kind {
        case .variable: return variable(unsafeDowncast(e, to: Var.self))
        case .floatImm:
            guard isBF16(e.dtype) else { return e }
            let v = FloatImm.rounded(unsafeDowncast(e, to: FloatImm.self).value, .bfloat16)
            return IntImm(v.isNaN ? 0x7FC0 : Int(Float(v).bitPattern >> 16), dtype: .uint16)
        case .cast:
            let c = unsafeDowncast(e, to: Cast.self)
            let v = mutate(c.value)
            if isBF16(c.value.dtype) {
                if isBF16(c.dtype) { return v }
                return cast(c.dtype, widened(v))
            }
            if isBF16(c.dtype) {
                // Integers by way of float64, which holds those of up to 53 bits.
                let number = c.value.dtype.isFloat ? v : cast(lanesOf(v.dtype, .float64), v)
                return rounded(number)
            }
            return v === c.value ? e : cast(c.dtype, v)
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            let value = mutate(l.value)
            let v = variable(l.variable)
            let body = mutate(l.body)
            return v === l.variable && value === l.value && body === l.body ? e : Let(v, value, body)
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            let args = c.args.map { mutate($0) }
            let same = zip(args, c.args).allSatisfy { $0 === $1 }
            if isBF16(c.dtype) { return Call(storage(c.dtype), c.op, args) }
            return same ? e : Call(c.dtype, c.op, args)
        default: return mutateChildren(of: e)
        }
    }

    override func mutate(_ s: Stmt) -> Stmt {
        switch s {
        case let l as LetStmt:
            let value = mutate(l.value)
            let v = variable(l.variable)
            let body = mutate(l.body)
            return v === l.variable && value === l.value && body === l.body ? s : LetStmt(v, value, body)
        case let a as AttrStmt:
            var node = a.node
            if let v = node as? Var { node = variable(v) }
            if let b = node as? Buffer { node = buffer(b) }
            let value = mutate(a.value)
            let body = mutate(a.body)
            return node === a.node && value === a.value && body === a.body
                ? s : AttrStmt(node, a.key, value, body)
        case let b as Block where !b.matchBuffers.isEmpty:
            let n = mutateChildren(of: b)
            guard let block = n as? Block else { return n }
            let matches = block.matchBuffers.map { m -> MatchBufferRegion in
                let view = buffer(m.buffer)
                return view === m.buffer ? m : MatchBufferRegion(view, m.source)
            }
            let same = zip(matches, block.matchBuffers).allSatisfy { $0 === $1 }
            return same ? block : block.with(matchBuffers: matches)
        default: return mutateChildren(of: s)
        }
    }

    /// The arithmetic that type lowering cannot express.
    static func leftover(_ f: PrimFunc) -> PrimExpr? {
        var found: PrimExpr?
        postOrderVisit(
            f.body,
            expr: { e in
                if let op = e as? BinaryExpr, isBF16(op.a.dtype) { found = found ?? e }
                if let c = e as? Call, c.args.contains(where: { isBF16($0.dtype) }), c.name.hasPrefix("tir."),
                    numeric.contains(String(c.name.dropFirst(4)))
                {
                    found = found ?? e
                }
            })
        return found
    }
}

/// Keeps bfloat16 as the 16 bits that it is: buffers, variables and constants become uint16, conversions become shifts
/// and rounding to nearest even. The function's parameters change their type; their memory is the same.
/// Throws TTR040 if there is arithmetic in bfloat16 left: `bf16Promote` comes first.
public func bf16TypeLowering(_ f: PrimFunc) throws -> PrimFunc {
    if let e = withLargeStack({ BF16Lowerer.leftover(f) }) {
        throw ApusError(
            "TTR040", "arithmetic in bfloat16 is left", actual: "\(e)", hint: "run tir.BF16Promote first")
    }
    return withLargeStack {
        let lowerer = BF16Lowerer()
        let params = f.params.map { lowerer.variable($0) }
        let map = f.bufferMap.map { (param: lowerer.variable($0.param), buffer: lowerer.buffer($0.buffer)) }
        let body = lowerer.mutate(f.body)
        let same =
            zip(params, f.params).allSatisfy { $0 === $1 }
            && zip(map, f.bufferMap).allSatisfy { $0.buffer === $1.buffer && $0.param === $1.param }
        return same && body === f.body ? f : f.with(params: params, bufferMap: map, body: body)
    }
}

/// Promotion, elimination of casts and lowering of the type, in this order.
public func bf16Legalize(_ f: PrimFunc) throws -> PrimFunc {
    try bf16TypeLowering(bf16CastElimination(bf16Promote(f)))
}

extension TIRPasses {
    public static let bf16Promote = primFuncPass(
        PassInfo(
            "tir.BF16Promote", "bfloat16 is computed in float32", establishes: ["no bfloat16 arithmetic"])
    ) { f, _, _ in ApusTIRTransforms.bf16Promote(f) }
    public static let bf16CastElimination = primFuncPass(
        PassInfo("tir.BF16CastElimination", "roundings to bfloat16 between two operations are dropped")
    ) { f, _, _ in ApusTIRTransforms.bf16CastElimination(f) }
    public static let bf16TypeLowering = primFuncPass(
        PassInfo(
            "tir.BF16TypeLowering", "bfloat16 is kept as uint16", requires: ["tir.BF16Promote"],
            establishes: ["no bfloat16"])
    ) { f, _, _ in try ApusTIRTransforms.bf16TypeLowering(f) }
    public static let bf16Legalize = primFuncPass(
        PassInfo(
            "tir.BF16Legalize", "bfloat16 is computed in float32 and kept as uint16",
            establishes: ["no bfloat16"])
    ) { f, _, _ in try ApusTIRTransforms.bf16Legalize(f) }
}
