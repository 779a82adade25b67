import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR

/// Floor division and modulo as what processors have: shift and mask for a power of two, the plain division where both
/// sides are known not to be negative, and otherwise the plain division with a correction by the signs.
struct DivisionLowering {
    let analyzer: Analyzer

    /// The lowered form of a floor division or modulo of integers; nil for anything else.
    func lower(_ e: PrimExpr) -> PrimExpr? {
        guard e.kind == .floorDiv || e.kind == .floorMod, e.dtype.isInteger, !e.dtype.isBool else {
            return nil
        }
        let op = unsafeDowncast(e, to: BinaryExpr.self)
        let isDivision = e.kind == .floorDiv
        let type = e.dtype
        if let c = op.b.constantInt, c > 0, c & (c - 1) == 0 {
            if c == 1 { return isDivision ? op.a : const(0, type) }
            // Arithmetic shift rounds down, and two's complement keeps the low bits of a negative number.
            return isDivision
                ? bitwise("shift_right", op.a, const(c.trailingZeroBitCount, type))
                : bitwise("bitwise_and", op.a, const(c - 1, type))
        }
        let plain: PrimExprKind = isDivision ? .div : .mod
        let positive = isNonNegative(op.b)
        if type.isUInt || (positive && isNonNegative(op.a)) { return BinaryExpr.raw(plain, op.a, op.b) }
        // Each operand once.
        let a = Var("a", dtype: type)
        let b = op.b.constantInt == nil ? Var("b", dtype: type) : op.b
        let r = Var("r", dtype: type)
        let zero = const(0, type)
        let kept: PrimExpr
        if positive {
            kept = GE(r, zero)
        } else {
            kept = Or(And(GE(r, zero), GE(b, zero)), And(LE(r, zero), LE(b, zero)))
        }
        let result: PrimExpr
        if isDivision {
            let q = BinaryExpr.raw(.div, a, b)
            result = Select(kept, q, q - const(1, type))
        } else {
            result = Select(kept, r, r + b)
        }
        var body: PrimExpr = Let(r, BinaryExpr.raw(.mod, a, b), result)
        if let v = b as? Var { body = Let(v, op.b, body) }
        return Let(a, op.a, body)
    }

    private func isNonNegative(_ e: PrimExpr) -> Bool {
        if let c = e.constantInt { return c >= 0 }
        switch e {
        case let b as Broadcast: return isNonNegative(b.value)
        case let r as Ramp:
            return isNonNegative(r.base) && isNonNegative(r.base + r.stride * (r.lanes - 1))
        default: break
        }
        guard e.dtype.isScalar else { return false }
        if analyzer.constIntBound(e).min >= 0 { return true }
        return e.dtype == .index && analyzer.canProveGreaterEqual(e, 0)
    }
}
