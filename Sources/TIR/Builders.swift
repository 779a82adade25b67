import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

// Builders match the operands' types and fold constants; they never build a node whose operands differ in type.
// Integer folding is skipped where the result would not fit its type, so that the program's own arithmetic decides.

/// A constant of `dtype`; a vector type gives a broadcast.
public func const(_ value: Int, _ dtype: DataType = .index) -> PrimExpr {
    if dtype.lanes > 1 { return Broadcast(const(value, dtype.element), Int(dtype.lanes)) }
    if dtype.isFloat { return FloatImm(Double(value), dtype: dtype) }
    return IntImm(value, dtype: dtype)
}

/// As `const(Int)`, for a floating value (truncated where `dtype` is an integer type).
public func const(_ value: Double, _ dtype: DataType) -> PrimExpr {
    if dtype.lanes > 1 { return Broadcast(const(value, dtype.element), Int(dtype.lanes)) }
    if dtype.isFloat { return FloatImm(value, dtype: dtype) }
    return IntImm(Int(exactly: value.rounded(.towardZero)) ?? 0, dtype: dtype)
}

/// The neutral elements of comparisons: the least and the greatest value of a type.
public func minValue(_ dtype: DataType) -> PrimExpr {
    if dtype.isFloat { return FloatImm(-.infinity, dtype: dtype.element) }
    if dtype.isUInt { return IntImm(0, dtype: dtype.element) }
    return IntImm(dtype.bits >= 64 ? Int.min : -(1 << (Int(dtype.bits) - 1)), dtype: dtype.element)
}
public func maxValue(_ dtype: DataType) -> PrimExpr {
    if dtype.isFloat { return FloatImm(.infinity, dtype: dtype.element) }
    let bits = Int(dtype.bits)
    // 64-bit unsigned values are held as their bit pattern.
    if dtype.isUInt { return IntImm(bits >= 64 ? -1 : (1 << bits) - 1, dtype: dtype.element) }
    return IntImm(bits >= 64 ? Int.max : (1 << (bits - 1)) - 1, dtype: dtype.element)
}

public let trueExpr: PrimExpr = IntImm(1, dtype: .bool)
public let falseExpr: PrimExpr = IntImm(0, dtype: .bool)

extension PrimExpr {
    public final var isZero: Bool { constantInt == 0 || constantFloat == 0 }
    public final var isOne: Bool { constantInt == 1 || constantFloat == 1 }
    /// Whether this is the constant true.
    public final var isTrue: Bool { dtype.isBool && asInt == 1 }
    public final var isFalse: Bool { dtype.isBool && asInt == 0 }

    /// The value if this is an integer constant, or a broadcast of one.
    public final var constantInt: Int? {
        if let v = asInt { return v }
        if kind == .broadcast { return unsafeDowncast(self, to: Broadcast.self).value.constantInt }
        return nil
    }
    /// The value if this is a floating constant, or a broadcast of one.
    public final var constantFloat: Double? {
        if kind == .floatImm { return unsafeDowncast(self, to: FloatImm.self).value }
        if kind == .broadcast { return unsafeDowncast(self, to: Broadcast.self).value.constantFloat }
        return nil
    }
}

/// The common type of two operands: lanes by broadcast; float over integer; then the wider.
public func promoted(_ a: DataType, _ b: DataType) -> DataType {
    let lanes = max(Int(a.lanes), Int(b.lanes))
    let x = a.element
    let y = b.element
    if x == y { return x.with(lanes: lanes) }
    if x.isFloat != y.isFloat { return (x.isFloat ? x : y).with(lanes: lanes) }
    if x.bits != y.bits { return (x.bits > y.bits ? x : y).with(lanes: lanes) }
    // Same width: signed with unsigned is signed; float16 with bfloat16 is float32.
    if x.isFloat { return DataType.float32.with(lanes: lanes) }
    return (x.isInt ? x : y).with(lanes: lanes)
}

/// `a` and `b` converted to one type. Constants take the type of the other side where they fit it.
public func matched(_ a: PrimExpr, _ b: PrimExpr) -> (PrimExpr, PrimExpr) {
    if a.dtype == b.dtype { return (a, b) }
    if let v = b.asInt, !a.dtype.isHandle, a.dtype.isFloat || IntImm.fits(v, a.dtype.element) {
        return (a, const(v, a.dtype))
    }
    if let v = a.asInt, !b.dtype.isHandle, b.dtype.isFloat || IntImm.fits(v, b.dtype.element) {
        return (const(v, b.dtype), b)
    }
    let type = promoted(a.dtype, b.dtype)
    return (cast(type, a), cast(type, b))
}

/// `value` as `dtype`: itself, a folded constant, a broadcast or a `Cast`.
public func cast(_ dtype: DataType, _ value: PrimExpr) -> PrimExpr {
    if value.dtype == dtype { return value }
    if dtype.lanes > 1 && value.dtype.lanes == 1 {
        return Broadcast(cast(dtype.element, value), Int(dtype.lanes))
    }
    if dtype.lanes == 1 {
        if let v = value.asInt {
            if dtype.isBool { return IntImm(v != 0 ? 1 : 0, dtype: dtype) }
            // A 64-bit unsigned bit pattern that reads as negative is not the number itself.
            let plain = !(value.dtype == .uint64 && v < 0)
            if plain && dtype.isFloat { return FloatImm(Double(v), dtype: dtype) }
            if plain && dtype.isInteger && IntImm.fits(v, dtype) { return IntImm(v, dtype: dtype) }
        }
        if value.kind == .floatImm {
            let v = unsafeDowncast(value, to: FloatImm.self).value
            if dtype.isBool { return IntImm(v != 0 ? 1 : 0, dtype: dtype) }
            if dtype.isFloat { return FloatImm(v, dtype: dtype) }
            // What is out of range stays a conversion: no value of it is promised (ADR 11). A negative number is no bit
            // pattern of an unsigned one.
            if dtype.isInteger, let n = Int(exactly: v.rounded(.towardZero)), IntImm.fits(n, dtype),
                n >= 0 || !dtype.isUInt
            {
                return IntImm(n, dtype: dtype)
            }
        }
    }
    return Cast(dtype, value)
}

/// A binary node of `kind` with types matched and constants folded.
public func binary(_ kind: PrimExprKind, _ lhs: PrimExpr, _ rhs: PrimExpr) -> PrimExpr {
    let (a, b) = matched(lhs, rhs)
    return foldBinary(kind, a, b) ?? BinaryExpr.raw(kind, a, b)
}

/// The simpler form of a binary node of two operands of one type, or nil if there is none to see locally.
private func foldBinary(_ kind: PrimExprKind, _ a: PrimExpr, _ b: PrimExpr) -> PrimExpr? {
    let type = a.dtype
    switch kind {
    case .and:
        if a.isTrue { return b }
        if b.isTrue { return a }
        if a.isFalse { return a }
        if b.isFalse { return b }
        return nil
    case .or:
        if a.isFalse { return b }
        if b.isFalse { return a }
        if a.isTrue { return a }
        if b.isTrue { return b }
        return nil
    default: break
    }
    if type.isInteger {
        return foldInteger(kind, a, b)
    }
    guard type.isScalar, a.kind == .floatImm, b.kind == .floatImm else {
        // x * 1 and x / 1 are exact; x + 0 is not, for -0.
        if kind == .mul { return b.isOne ? a : (a.isOne ? b : nil) }
        if kind == .div && b.isOne { return a }
        return nil
    }
    let x = unsafeDowncast(a, to: FloatImm.self).value
    let y = unsafeDowncast(b, to: FloatImm.self).value
    switch kind {
    // Double arithmetic then one rounding equals float arithmetic for + - * / of at most 32 bits.
    case .add: return FloatImm(x + y, dtype: type)
    case .sub: return FloatImm(x - y, dtype: type)
    case .mul: return FloatImm(x * y, dtype: type)
    case .div: return FloatImm(x / y, dtype: type)
    // NaN wins; -0 is below 0, which `Swift.min` does not know.
    case .min:
        if x.isNaN || y.isNaN { return FloatImm(.nan, dtype: type) }
        return x < y || (x == y && x.sign == .minus) ? a : b
    case .max:
        if x.isNaN || y.isNaN { return FloatImm(.nan, dtype: type) }
        return x > y || (x == y && x.sign == .plus) ? a : b
    case .eq: return IntImm(x == y ? 1 : 0, dtype: .bool)
    case .ne: return IntImm(x != y ? 1 : 0, dtype: .bool)
    case .lt: return IntImm(x < y ? 1 : 0, dtype: .bool)
    case .le: return IntImm(x <= y ? 1 : 0, dtype: .bool)
    case .gt: return IntImm(x > y ? 1 : 0, dtype: .bool)
    case .ge: return IntImm(x >= y ? 1 : 0, dtype: .bool)
    default: return nil
    }
}

private func foldInteger(_ kind: PrimExprKind, _ a: PrimExpr, _ b: PrimExpr) -> PrimExpr? {
    let type = a.dtype
    // Bit patterns of uint64 would compare and divide wrongly as Int.
    let wideUnsigned = type.element == .uint64
    if let x = a.asInt, let y = b.asInt, !wideUnsigned || (x >= 0 && y >= 0) {
        func value(_ r: (partialValue: Int, overflow: Bool)) -> PrimExpr? {
            !r.overflow && IntImm.fits(r.partialValue, type) && (!wideUnsigned || r.partialValue >= 0)
                ? IntImm(r.partialValue, dtype: type) : nil
        }
        switch kind {
        case .add: return value(x.addingReportingOverflow(y))
        case .sub: return value(x.subtractingReportingOverflow(y))
        case .mul: return value(x.multipliedReportingOverflow(by: y))
        case .div: return y == 0 ? nil : value(x.dividedReportingOverflow(by: y))
        case .mod: return y == 0 ? nil : value(x.remainderReportingOverflow(dividingBy: y))
        case .floorDiv: return floorDivide(x, y).flatMap { value((partialValue: $0, overflow: false)) }
        case .floorMod: return floorModulo(x, y).flatMap { value((partialValue: $0, overflow: false)) }
        case .min: return x <= y ? a : b
        case .max: return x >= y ? a : b
        case .eq: return IntImm(x == y ? 1 : 0, dtype: .bool)
        case .ne: return IntImm(x != y ? 1 : 0, dtype: .bool)
        case .lt: return IntImm(x < y ? 1 : 0, dtype: .bool)
        case .le: return IntImm(x <= y ? 1 : 0, dtype: .bool)
        case .gt: return IntImm(x > y ? 1 : 0, dtype: .bool)
        case .ge: return IntImm(x >= y ? 1 : 0, dtype: .bool)
        default: return nil
        }
    }
    let x = a.constantInt
    let y = b.constantInt
    switch kind {
    case .add:
        if y == 0 { return a }
        if x == 0 { return b }
    case .sub:
        if y == 0 { return a }
        if a === b { return const(0, type) }
    case .mul:
        if y == 1 || x == 0 { return a }
        if x == 1 || y == 0 { return b }
    case .div, .floorDiv:
        if y == 1 { return a }
        if x == 0, let y, y != 0 { return a }
    case .mod, .floorMod:
        if y == 1 { return const(0, type) }
        if x == 0, let y, y != 0 { return a }
    case .min, .max:
        if a === b { return a }
    case .eq, .le, .ge:
        if a === b { return const(1, .bool.with(lanes: Int(type.lanes))) }
    case .ne, .lt, .gt:
        if a === b { return const(0, .bool.with(lanes: Int(type.lanes))) }
    default: break
    }
    return nil
}

/// `floor(x / y)`; nil for division by zero or overflow.
public func floorDivide(_ x: Int, _ y: Int) -> Int? {
    if y == 0 || (y == -1 && x == .min) { return nil }
    let q = x / y
    return (x % y != 0 && (x < 0) != (y < 0)) ? q - 1 : q
}

/// `x - y * floor(x / y)`; nil for division by zero.
public func floorModulo(_ x: Int, _ y: Int) -> Int? {
    if y == 0 { return nil }
    if y == -1 { return 0 }
    let r = x % y
    return r != 0 && (r < 0) != (y < 0) ? r + y : r
}

public func floorDiv(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { binary(.floorDiv, a, b) }
public func floorMod(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { binary(.floorMod, a, b) }
public func floorDiv(_ a: PrimExpr, _ b: Int) -> PrimExpr {
    binary(.floorDiv, a, IntImm(b, dtype: a.dtype.element))
}
public func floorMod(_ a: PrimExpr, _ b: Int) -> PrimExpr {
    binary(.floorMod, a, IntImm(b, dtype: a.dtype.element))
}
/// `ceil(a / b)` for positive `b`.
public func ceilDiv(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { floorDiv(a + b - 1, b) }
public func truncDiv(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { binary(.div, a, b) }
public func truncMod(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { binary(.mod, a, b) }
public func minimum(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { binary(.min, a, b) }
public func maximum(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { binary(.max, a, b) }
public func and(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { binary(.and, a, b) }
public func or(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { binary(.or, a, b) }

public func not(_ a: PrimExpr) -> PrimExpr {
    if let v = a.asInt { return IntImm(v == 0 ? 1 : 0, dtype: .bool) }
    if let n = a as? Not { return n.a }
    return Not(a)
}

/// Conjunction of all; true if there are none.
public func all(_ conditions: [PrimExpr]) -> PrimExpr { conditions.reduce(trueExpr) { and($0, $1) } }

/// Both sides are evaluated; see `ifThenElse` for one that guards.
public func select(_ condition: PrimExpr, _ a: PrimExpr, _ b: PrimExpr) -> PrimExpr {
    let (x, y) = matched(a, b)
    if let c = condition.asInt { return c != 0 ? x : y }
    return Select(condition, x, y)
}

extension PrimExpr {
    public static func + (a: PrimExpr, b: PrimExpr) -> PrimExpr { binary(.add, a, b) }
    public static func - (a: PrimExpr, b: PrimExpr) -> PrimExpr { binary(.sub, a, b) }
    public static func * (a: PrimExpr, b: PrimExpr) -> PrimExpr { binary(.mul, a, b) }
    /// Truncating for integers, see `floorDiv`.
    public static func / (a: PrimExpr, b: PrimExpr) -> PrimExpr { binary(.div, a, b) }
    public static func + (a: PrimExpr, b: Int) -> PrimExpr { binary(.add, a, const(b, a.dtype)) }
    public static func - (a: PrimExpr, b: Int) -> PrimExpr { binary(.sub, a, const(b, a.dtype)) }
    public static func * (a: PrimExpr, b: Int) -> PrimExpr { binary(.mul, a, const(b, a.dtype)) }
    public static prefix func - (a: PrimExpr) -> PrimExpr {
        if let f = a as? FloatImm { return FloatImm(-f.value, dtype: f.dtype) }
        // 0 - x would turn +0 into +0 instead of -0.
        return a.dtype.isFloat ? binary(.mul, a, const(-1, a.dtype)) : binary(.sub, const(0, a.dtype), a)
    }
    public static func .== (a: PrimExpr, b: PrimExpr) -> PrimExpr { binary(.eq, a, b) }
    public static func .!= (a: PrimExpr, b: PrimExpr) -> PrimExpr { binary(.ne, a, b) }
    public static func .< (a: PrimExpr, b: PrimExpr) -> PrimExpr { binary(.lt, a, b) }
    public static func .<= (a: PrimExpr, b: PrimExpr) -> PrimExpr { binary(.le, a, b) }
    public static func .> (a: PrimExpr, b: PrimExpr) -> PrimExpr { binary(.gt, a, b) }
    public static func .>= (a: PrimExpr, b: PrimExpr) -> PrimExpr { binary(.ge, a, b) }
    public static func .< (a: PrimExpr, b: Int) -> PrimExpr { binary(.lt, a, const(b, a.dtype)) }
    public static func .>= (a: PrimExpr, b: Int) -> PrimExpr { binary(.ge, a, const(b, a.dtype)) }
    public static func .== (a: PrimExpr, b: Int) -> PrimExpr { binary(.eq, a, const(b, a.dtype)) }
}
