import ApusIR
import ApusRuntime
import ApusTIR

/// Arithmetic on constants of a type, by the semantics of [ADR 11](../../docs/adr/0011-integer-semantics.md).
///
/// A constant is an `Int`: sign- or zero-extended from its type, 64-bit unsigned ones as their bit pattern. Index
/// arithmetic (`DataType.index`) has no result where it leaves 64 bits; every other type wraps. Division by zero has
/// no result.
public enum ConstFold {
    /// `v` reduced to the values of the integer type by wrapping.
    public static func wrapped(_ v: Int, _ type: DataType) -> Int {
        let bits = Int(type.bits)
        if bits >= 64 { return v }
        if type.isUInt { return v & ((1 << bits) - 1) }
        let shift = 64 - bits
        return (v << shift) >> shift
    }

    /// The least and the greatest value of an integer type, as constants are held; nil for other types.
    public static func limits(_ type: DataType) -> (min: Int, max: Int)? {
        guard type.isInteger else { return nil }
        let bits = Int(type.bits)
        if type.isUInt { return (min: 0, max: bits >= 64 ? -1 : (1 << bits) - 1) }
        return bits >= 64 ? (min: .min, max: .max) : (min: -(1 << (bits - 1)), max: (1 << (bits - 1)) - 1)
    }

    /// Whether `x < y` as values of the type.
    public static func less(_ x: Int, _ y: Int, _ type: DataType) -> Bool {
        type.element == .uint64 ? UInt(bitPattern: x) < UInt(bitPattern: y) : x < y
    }

    /// The value of `x kind y` for operands of the integer type `type`; comparisons and logic give 1 or 0.
    public static func binary(_ kind: PrimExprKind, _ x: Int, _ y: Int, _ type: DataType) -> Int? {
        let checked = type.element == .index
        func result(_ r: (partialValue: Int, overflow: Bool)) -> Int? {
            checked ? (r.overflow ? nil : r.partialValue) : wrapped(r.partialValue, type)
        }
        switch kind {
        case .add: return result(x.addingReportingOverflow(y))
        case .sub: return result(x.subtractingReportingOverflow(y))
        case .mul: return result(x.multipliedReportingOverflow(by: y))
        case .div, .mod, .floorDiv, .floorMod:
            if y == 0 { return nil }
            if type.element == .uint64 {
                let a = UInt(bitPattern: x)
                let b = UInt(bitPattern: y)
                return Int(bitPattern: kind == .div || kind == .floorDiv ? a / b : a % b)
            }
            switch kind {
            case .div: return result(x.dividedReportingOverflow(by: y))
            case .mod: return x.remainderReportingOverflow(dividingBy: y).partialValue
            case .floorDiv:
                if x == .min && y == -1 { return checked ? nil : x }
                return floorDivide(x, y).map { wrapped($0, type) }
            default: return floorModulo(x, y)
            }
        case .min: return less(y, x, type) ? y : x
        case .max: return less(x, y, type) ? y : x
        case .eq: return x == y ? 1 : 0
        case .ne: return x != y ? 1 : 0
        case .lt: return less(x, y, type) ? 1 : 0
        case .le: return less(y, x, type) ? 0 : 1
        case .gt: return less(y, x, type) ? 1 : 0
        case .ge: return less(x, y, type) ? 0 : 1
        case .and: return x != 0 && y != 0 ? 1 : 0
        case .or: return x != 0 || y != 0 ? 1 : 0
        default: return nil
        }
    }

    /// The value of the intrinsic `name` (without `tir.`) on integers of one type; the second argument of unary ones
    /// is ignored.
    public static func intrinsic(_ name: String, _ x: Int, _ y: Int, _ type: DataType) -> Int? {
        let bits = Int(type.bits)
        let mask = bits >= 64 ? -1 : (1 << bits) - 1
        switch name {
        case "bitwise_and": return x & y
        case "bitwise_or": return x | y
        case "bitwise_xor": return wrapped(x ^ y, type)
        case "bitwise_not": return wrapped(~x, type)
        case "shift_left": return y < 0 || y >= bits ? 0 : wrapped(x << y, type)
        case "shift_right":
            if type.isUInt { return y < 0 || y >= bits ? 0 : Int(bitPattern: UInt(bitPattern: x) >> UInt(y)) }
            return x >> (y < 0 || y >= bits ? bits - 1 : y)
        case "abs": return type.isInt && x < 0 ? wrapped(0 &- x, type) : x
        case "popcount": return (x & mask).nonzeroBitCount
        case "clz": return (x & mask).leadingZeroBitCount - (64 - bits)
        default: return nil
        }
    }

    /// The value of `v`, of integer type `source`, converted to the integer type `target`: wrapped, or `!= 0`.
    public static func cast(_ v: Int, from source: DataType, to target: DataType) -> Int {
        target.isBool ? (v != 0 ? 1 : 0) : wrapped(v, target)
    }

    /// The constant of an integer expression: an `IntImm`, or a `Broadcast` of one.
    public static func constant(_ e: PrimExpr) -> Int? {
        if e.kind == .intImm { return unsafeDowncast(e, to: IntImm.self).value }
        if e.kind == .broadcast {
            let v = unsafeDowncast(e, to: Broadcast.self).value
            return v.kind == .intImm ? unsafeDowncast(v, to: IntImm.self).value : nil
        }
        return nil
    }

    /// The constant `v` (already a value of the element type) as an expression of the type.
    public static func make(_ v: Int, _ type: DataType) -> PrimExpr {
        let c: PrimExpr = type.isBool ? (v != 0 ? trueExpr : falseExpr) : IntImm(v, dtype: type.element)
        return type.lanes > 1 ? Broadcast(c, Int(type.lanes)) : c
    }

    /// `e` as a constant if it is one operation on integer constants (vectors: on broadcasts of them); nil otherwise
    /// and where the operation has no result.
    public static func fold(_ e: PrimExpr) -> PrimExpr? {
        switch e.kind {
        case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge,
            .and,
            .or:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            guard op.a.dtype.isInteger, let x = constant(op.a), let y = constant(op.b) else { return nil }
            return binary(e.kind, x, y, op.a.dtype).map { make($0, e.dtype) }
        case .not:
            return constant(unsafeDowncast(e, to: Not.self).a).map { make($0 == 0 ? 1 : 0, e.dtype) }
        case .cast:
            let v = unsafeDowncast(e, to: Cast.self).value
            guard v.dtype.isInteger, e.dtype.isInteger, v.dtype.lanes == e.dtype.lanes, let x = constant(v)
            else {
                return nil
            }
            return make(cast(x, from: v.dtype, to: e.dtype), e.dtype)
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            guard e.dtype.isInteger, !e.dtype.isBool, c.args.count == 1 || c.args.count == 2,
                c.name.hasPrefix("tir."), c.args[0].dtype == e.dtype, let x = constant(c.args[0])
            else { return nil }
            guard let y = c.args.count == 2 ? constant(c.args[1]) : 0 else { return nil }
            let name = String(c.name.dropFirst(4))
            guard c.args.count == 2 || !["bitwise_and", "bitwise_or", "bitwise_xor"].contains(name) else {
                return nil
            }
            return intrinsic(name, x, y, e.dtype.element).map { make($0, e.dtype) }
        default: return nil
        }
    }
}
