import ApusIR
import ApusRuntime
import ApusSupport
import Glibc

// Scalar arithmetic of every element type. Integers of all widths travel as `Int`: signed ones sign-extended,
// unsigned ones zero-extended, 64-bit unsigned ones as their bit pattern. Floats travel as the `Double` they
// equal. For + - * / and sqrt of floats of at most 32 bits, double arithmetic followed by one rounding is the
// correctly rounded result (Figueroa 1995: 53 >= 2 * 24 + 2).

enum TIRMath {
    typealias IntOp = (Int, Int) throws -> Int
    typealias FloatOp = (Double, Double) -> Double

    /// `value` reduced to the range of an integer type by wrapping.
    static func wrapped(_ value: Int, _ d: DataType) -> Int {
        switch (d.code, d.bits) {
        case (_, 64): return value
        case (.int, 32): return Int(Int32(truncatingIfNeeded: value))
        case (.int, 8): return Int(Int8(truncatingIfNeeded: value))
        case (.uint, 1): return value & 1
        case (.int, let bits):
            let shift = 64 - Int(bits)
            return (value << shift) >> shift
        default: return value & ((1 << Int(d.bits)) - 1)
        }
    }

    /// `value` rounded to a floating type, ties to even.
    static func rounded(_ value: Double, _ d: DataType) -> Double {
        switch (d.code, d.bits) {
        case (.float, 32): return Double(Float(value))
        case (.float, 64): return value
        default: return value.isNaN ? value : FloatImm.rounded(value, d)
        }
    }

    static func divisionByZero() -> ApusError { ApusError("TIR164", "integer division by zero") }

    /// The integer operation of a binary kind on one type; nil if it has none. Comparisons yield 0 or 1.
    static func integer(_ kind: PrimExprKind, _ d: DataType) -> IntOp? {
        let wide = d.bits == 64
        let unsigned64 = d.isUInt && wide
        func wrapping(_ op: @escaping (Int, Int) -> Int) -> IntOp {
            if wide { return { a, b in op(a, b) } }
            let e = d.element
            return { a, b in wrapped(op(a, b), e) }
        }
        func dividing(_ signed: @escaping (Int, Int) -> Int, _ unsigned: @escaping (UInt, UInt) -> UInt)
            -> IntOp
        {
            let e = d.element
            return { a, b in
                if b == 0 { throw divisionByZero() }
                if unsigned64 { return Int(bitPattern: unsigned(UInt(bitPattern: a), UInt(bitPattern: b))) }
                return wrapped(signed(a, b), e)
            }
        }
        func comparing(_ signed: @escaping (Int, Int) -> Bool, _ unsigned: @escaping (UInt, UInt) -> Bool)
            -> IntOp
        {
            if unsigned64 { return { a, b in unsigned(UInt(bitPattern: a), UInt(bitPattern: b)) ? 1 : 0 } }
            return { a, b in signed(a, b) ? 1 : 0 }
        }
        switch kind {
        case .add: return wrapping { $0 &+ $1 }
        case .sub: return wrapping { $0 &- $1 }
        case .mul: return wrapping { $0 &* $1 }
        case .div: return dividing({ $0.dividedReportingOverflow(by: $1).partialValue }, { $0 / $1 })
        case .mod:
            return dividing({ $0.remainderReportingOverflow(dividingBy: $1).partialValue }, { $0 % $1 })
        case .floorDiv:
            return dividing(
                { a, b in
                    let (q, overflow) = a.dividedReportingOverflow(by: b)
                    if overflow { return q }
                    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q
                }, { $0 / $1 })
        case .floorMod: return dividing({ floorModulo($0, $1) ?? 0 }, { $0 % $1 })
        case .min:
            return unsigned64
                ? { a, b in UInt(bitPattern: a) < UInt(bitPattern: b) ? a : b } : { a, b in a < b ? a : b }
        case .max:
            return unsigned64
                ? { a, b in UInt(bitPattern: a) > UInt(bitPattern: b) ? a : b } : { a, b in a > b ? a : b }
        case .eq: return { a, b in a == b ? 1 : 0 }
        case .ne: return { a, b in a != b ? 1 : 0 }
        case .lt: return comparing({ $0 < $1 }, { $0 < $1 })
        case .le: return comparing({ $0 <= $1 }, { $0 <= $1 })
        case .gt: return comparing({ $0 > $1 }, { $0 > $1 })
        case .ge: return comparing({ $0 >= $1 }, { $0 >= $1 })
        case .and: return { a, b in a != 0 && b != 0 ? 1 : 0 }
        case .or: return { a, b in a != 0 || b != 0 ? 1 : 0 }
        default: return nil
        }
    }

    /// The floating operation of an arithmetic kind, rounded to the type; nil if it has none.
    static func float(_ kind: PrimExprKind, _ d: DataType) -> FloatOp? {
        func rounding(_ op: @escaping FloatOp) -> FloatOp {
            if d.code == .float && d.bits == 64 { return op }
            if d.code == .float && d.bits == 32 { return { a, b in Double(Float(op(a, b))) } }
            let e = d.element
            return { a, b in rounded(op(a, b), e) }
        }
        switch kind {
        case .add: return rounding { $0 + $1 }
        case .sub: return rounding { $0 - $1 }
        case .mul: return rounding { $0 * $1 }
        case .div: return rounding { $0 / $1 }
        case .mod: return rounding { fmod($0, $1) }
        case .floorDiv:
            let divide = rounding { $0 / $1 }
            return { a, b in divide(a, b).rounded(.down) }
        case .floorMod:
            return rounding { a, b in
                let r = fmod(a, b)
                return r != 0 && (r < 0) != (b < 0) ? r + b : r
            }
        case .min:
            return { a, b in
                if a.isNaN { return a }
                if b.isNaN { return b }
                if a == b { return a.sign == .minus ? a : b }
                return a < b ? a : b
            }
        case .max:
            return { a, b in
                if a.isNaN { return a }
                if b.isNaN { return b }
                if a == b { return a.sign == .minus ? b : a }
                return a > b ? a : b
            }
        default: return nil
        }
    }

    /// A comparison of floats; nil if the kind is none.
    static func comparison(_ kind: PrimExprKind) -> ((Double, Double) -> Bool)? {
        switch kind {
        case .eq: return { $0 == $1 }
        case .ne: return { $0 != $1 }
        case .lt: return { $0 < $1 }
        case .le: return { $0 <= $1 }
        case .gt: return { $0 > $1 }
        case .ge: return { $0 >= $1 }
        default: return nil
        }
    }

    /// Float to integer: toward zero, what does not fit becomes the nearest value that does, NaN becomes 0.
    static func truncated(_ v: Double, _ d: DataType) -> Int {
        if v.isNaN { return 0 }
        let t = v.rounded(.towardZero)
        let bits = Int(d.bits)
        if d.isUInt {
            if t <= 0 { return 0 }
            if bits == 64 { return t >= 0x1p64 ? -1 : Int(bitPattern: UInt(t)) }
            let top = (1 << bits) - 1
            return t >= Double(top) ? top : Int(t)
        }
        if bits == 64 { return t >= 0x1p63 ? .max : (t < -0x1p63 ? .min : Int(t)) }
        let top = (1 << (bits - 1)) - 1
        return t >= Double(top) ? top : (t <= Double(-top - 1) ? -top - 1 : Int(t))
    }

    /// Integer to float in one rounding.
    static func toFloat(_ v: Int, from s: DataType, _ d: DataType) -> Double {
        let unsigned64 = s.isUInt && s.bits == 64
        if d.code == .float && d.bits == 32 {
            return unsigned64 ? Double(Float(UInt(bitPattern: v))) : Double(Float(v))
        }
        return rounded(unsigned64 ? Double(UInt(bitPattern: v)) : Double(v), d)
    }

    /// The functions of `Intrinsics.unaryFloat`, before rounding to the type.
    static func unary(_ name: String) -> ((Double) -> Double)? {
        switch name {
        case "exp": return { Glibc.exp($0) }
        case "exp2": return { Glibc.exp2($0) }
        case "exp10": return { Glibc.pow(10, $0) }
        case "expm1": return { Glibc.expm1($0) }
        case "log": return { Glibc.log($0) }
        case "log2": return { Glibc.log2($0) }
        case "log10": return { Glibc.log10($0) }
        case "log1p": return { Glibc.log1p($0) }
        case "sqrt": return { $0.squareRoot() }
        case "rsqrt": return { 1 / $0.squareRoot() }
        case "tanh": return { Glibc.tanh($0) }
        case "sigmoid": return { 1 / (1 + Glibc.exp(-$0)) }
        case "erf": return { Glibc.erf($0) }
        case "gelu": return { $0 * 0.5 * (1 + Glibc.erf($0 * 0.5.squareRoot())) }
        case "sin": return { Glibc.sin($0) }
        case "cos": return { Glibc.cos($0) }
        case "tan": return { Glibc.tan($0) }
        case "asin": return { Glibc.asin($0) }
        case "acos": return { Glibc.acos($0) }
        case "atan": return { Glibc.atan($0) }
        case "sinh": return { Glibc.sinh($0) }
        case "cosh": return { Glibc.cosh($0) }
        case "asinh": return { Glibc.asinh($0) }
        case "acosh": return { Glibc.acosh($0) }
        case "atanh": return { Glibc.atanh($0) }
        case "floor": return { $0.rounded(.down) }
        case "ceil": return { $0.rounded(.up) }
        case "trunc": return { $0.rounded(.towardZero) }
        case "nearbyint": return { $0.rounded(.toNearestOrEven) }
        case "round": return { $0.rounded(.toNearestOrAwayFromZero) }
        case "fabs": return { Swift.abs($0) }
        default: return nil
        }
    }

    /// The functions of `Intrinsics.binaryFloat`, before rounding to the type.
    static func binary(_ name: String, _ d: DataType) -> FloatOp? {
        switch name {
        case "pow": return { Glibc.pow($0, $1) }
        case "atan2": return { Glibc.atan2($0, $1) }
        case "fmod": return { Glibc.fmod($0, $1) }
        case "hypot": return { Glibc.hypot($0, $1) }
        case "copysign": return { Glibc.copysign($0, $1) }
        case "ldexp": return { Glibc.scalbln($0, truncated($1, .int32)) }
        case "nextafter":
            let e = d.element
            return { a, b in nextAfter(a, b, e) }
        default: return nil
        }
    }

    private static func nextAfter(_ a: Double, _ b: Double, _ d: DataType) -> Double {
        if a.isNaN || b.isNaN { return .nan }
        if a == b { return b }
        if d.bits == 64 { return Glibc.nextafter(a, b) }
        // Neighbours of a float are neighbours as integers, apart from the step over zero.
        let bits = Int(encode(a, d))
        let sign = 1 << (Int(d.bits) - 1)
        if a == 0 { return decode(UInt64(b < 0 ? sign | 1 : 1), d) }
        let away = (b > a) == (a > 0)
        return decode(UInt64(away ? bits + 1 : bits - 1), d)
    }

    /// The bits of a float of the type.
    static func encode(_ v: Double, _ d: DataType) -> UInt64 {
        switch (d.code, d.bits) {
        case (.float, 64): return v.bitPattern
        case (.float, 32): return UInt64(Float(v).bitPattern)
        case (.float, 16): return UInt64(Float16(v).bitPattern)
        default: return UInt64(Float(v).bitPattern >> 16) | (v.isNaN ? 0x40 : 0)
        }
    }

    /// The float of the type with these bits.
    static func decode(_ bits: UInt64, _ d: DataType) -> Double {
        switch (d.code, d.bits) {
        case (.float, 64): return Double(bitPattern: bits)
        case (.float, 32): return Double(Float(bitPattern: UInt32(truncatingIfNeeded: bits)))
        case (.float, 16): return Double(Float16(bitPattern: UInt16(truncatingIfNeeded: bits)))
        default: return Double(Float(bitPattern: UInt32(truncatingIfNeeded: bits) << 16))
        }
    }

    /// `Intrinsics.bitwise` of one type; the second argument of unary ones is ignored. A shift by the width
    /// or more leaves no bit of the operand (only its sign for a signed shift to the right).
    static func bitwise(_ name: String, _ d: DataType) -> IntOp? {
        let e = d.element
        let bits = Int(d.bits)
        let mask = bits >= 64 ? -1 : (1 << bits) - 1
        switch name {
        case "bitwise_and": return { a, b in a & b }
        case "bitwise_or": return { a, b in a | b }
        case "bitwise_xor": return { a, b in wrapped(a ^ b, e) }
        case "bitwise_not": return { a, _ in wrapped(~a, e) }
        case "shift_left": return { a, n in n < 0 || n >= bits ? 0 : wrapped(a << n, e) }
        case "shift_right":
            if e.isUInt {
                return { a, n in n < 0 || n >= bits ? 0 : Int(bitPattern: UInt(bitPattern: a) >> UInt(n)) }
            }
            return { a, n in a >> (n < 0 || n >= bits ? bits - 1 : n) }
        case "popcount": return { a, _ in (a & mask).nonzeroBitCount }
        case "clz": return { a, _ in (a & mask).leadingZeroBitCount - (64 - bits) }
        default: return nil
        }
    }
}
