import ApusIR
import ApusRuntime
import ApusTIR

/// Rules for conversions: what they ask of the types is data, which the tests prove for every choice of types.
public enum CastRules {
    /// Whether every value of the type `a` is one of `b`, so that a conversion keeps it: integers to wider integers and
    /// to floats whose significand holds them, floats to wider floats.
    public static func embeds(_ a: DataType, _ b: DataType) -> Bool {
        if a.element == b.element { return true }
        if a.isBool { return b.isInteger || b.isFloat }
        if a.isInteger && b.isInteger {
            if b.isBool { return false }
            if a.isUInt { return b.isUInt ? a.bits <= b.bits : a.bits < b.bits }
            return b.isInt && a.bits <= b.bits
        }
        if a.isInteger, let digits = significand(b) {
            // float16 and bfloat16 hold integers of 8 bits; their range is no limit for these.
            return Int(a.bits) - (a.isInt ? 1 : 0) <= digits
        }
        switch (a.element, b.element) {
        case (.float16, .float32), (.float16, .float64), (.bfloat16, .float32), (.bfloat16, .float64),
            (.float32, .float64):
            return true
        default: return false
        }
    }

    private static func significand(_ d: DataType) -> Int? {
        switch d.element {
        case .float16: return 11
        case .bfloat16: return 8
        case .float32: return 24
        case .float64: return 53
        default: return nil
        }
    }

    /// Whether `cast<c>(cast<b>(x)) -> cast<c>(x)` holds for x of type `a`: the inner conversion keeps the value, or all
    /// are integers and the outer one keeps only bits that the inner one did not touch.
    public static func dropsInner(_ a: DataType, _ b: DataType, _ c: DataType) -> Bool {
        // From a float to an integer, what does not fit becomes the nearest value; from an integer it wraps.
        if embeds(a, b) && (!(a.isInteger && b.isFloat && c.isInteger) || c.isBool || embeds(a, c)) {
            return true
        }
        return a.isInteger && b.isInteger && c.isInteger && !b.isBool && !c.isBool && c.bits <= b.bits
    }

    /// Whether `cast<b>(x) op cast<b>(y) -> x op y` holds for comparisons of x and y of the type `a`.
    public static func keepsOrder(_ a: DataType, _ b: DataType) -> Bool {
        a.isInteger && !a.isBool && b.isInteger && !b.isBool && embeds(a, b)
    }

    /// Whether `cast<b>(ramp(x, y)) -> ramp(cast<b>(x), cast<b>(y))` holds for x and y of the type `a`: conversions
    /// that drop high bits go with sums and products.
    public static func splitsRamp(_ a: DataType, _ b: DataType) -> Bool {
        a.isInteger && !a.isBool && b.isInteger && !b.isBool && b.bits <= a.bits
    }

    /// `e`, whose operand is simplified, by one rule; nil if none fits.
    static func rewrite(_ e: Cast) -> PrimExpr? {
        let v = e.value
        let type = e.dtype
        if v.dtype == type { return v }
        switch v.kind {
        case .cast:
            let inner = unsafeDowncast(v, to: Cast.self)
            if inner.value.dtype.lanes == type.lanes, dropsInner(inner.value.dtype, v.dtype, type) {
                return inner.value.dtype == type ? inner.value : Cast(type, inner.value)
            }
        case .broadcast:
            let b = unsafeDowncast(v, to: Broadcast.self)
            return Broadcast(cast(type.element, b.value), b.lanes)
        case .ramp:
            let r = unsafeDowncast(v, to: Ramp.self)
            if splitsRamp(v.dtype, type) {
                return Ramp(cast(type.element, r.base), cast(type.element, r.stride), r.lanes)
            }
        case .select:
            let s = unsafeDowncast(v, to: Select.self)
            if isConstant(s.trueValue), isConstant(s.falseValue) {
                return Select(s.condition, constant(type, s.trueValue), constant(type, s.falseValue))
            }
        default: break
        }
        return nil
    }

    private static func isConstant(_ e: PrimExpr) -> Bool {
        ConstFold.constant(e) != nil || e.constantFloat != nil
    }
    private static func constant(_ type: DataType, _ e: PrimExpr) -> PrimExpr {
        let c = Cast(type, e)
        return ConstFold.fold(c) ?? cast(type, e)
    }

    /// A comparison of conversions from one narrower type, made there; nil if `e` is none. A constant takes the type of
    /// the other side if it is a value of it, or decides.
    static func rewriteComparison(_ e: BinaryExpr) -> PrimExpr? {
        guard e.a.kind == .cast else { return nil }
        let x = unsafeDowncast(e.a, to: Cast.self).value
        let wide = e.a.dtype
        if x.dtype.isBool, wide.isInteger, let c = ConstFold.constant(e.b) {
            // A truth value as a number is 0 or 1.
            guard let zero = ConstFold.binary(e.kind, 0, c, wide),
                let one = ConstFold.binary(e.kind, 1, c, wide)
            else { return nil }
            if zero == one { return ConstFold.make(one, e.dtype) }
            return one != 0 ? x : not(x)
        }
        guard keepsOrder(x.dtype, wide) else { return nil }
        if e.b.kind == .cast {
            let y = unsafeDowncast(e.b, to: Cast.self).value
            return x.dtype == y.dtype ? BinaryExpr.raw(e.kind, x, y) : nil
        }
        guard let c = ConstFold.constant(e.b), let limits = ConstFold.limits(x.dtype) else { return nil }
        if !ConstFold.less(c, limits.min, wide) && !ConstFold.less(limits.max, c, wide) {
            return BinaryExpr.raw(e.kind, x, ConstFold.make(ConstFold.wrapped(c, x.dtype), x.dtype))
        }
        return ConstFold.binary(e.kind, limits.min, c, wide).map { ConstFold.make($0, e.dtype) }
    }
}
