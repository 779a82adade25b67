import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// `f` of every element.
    static func map(_ x: Tensor, _ name: String, _ f: (PrimExpr) -> PrimExpr) throws -> Tensor {
        try compute(x.shape, name: name, tag: Tag.elemwise) { f(x[$0]) }
    }

    /// The intrinsic `name` of every element of a floating tensor; 16-bit floats are computed in 32 bits.
    private static func math(_ x: Tensor, _ name: String, _ intrinsic: String? = nil) throws -> Tensor {
        guard x.dtype.isFloat else {
            throw ApusError(
                "TOPI003", "\(name) needs a floating tensor", expected: "float", actual: "\(x.dtype)")
        }
        return try map(x, name) { inFloat32($0) { unary(intrinsic ?? name, $0) } }
    }

    /// Rounding of a floating tensor; integers are their own roundings.
    private static func rounding(_ x: Tensor, _ name: String, _ intrinsic: String) throws -> Tensor {
        x.dtype.isFloat ? try math(x, name, intrinsic) : try copy(x)
    }

    /// e to the power of `x`.
    public static func exp(_ x: Tensor) throws -> Tensor { try math(x, "exp") }
    /// Natural logarithm.
    public static func log(_ x: Tensor) throws -> Tensor { try math(x, "log") }
    /// Logarithm to base 2.
    public static func log2(_ x: Tensor) throws -> Tensor { try math(x, "log2") }
    /// Logarithm to base 10.
    public static func log10(_ x: Tensor) throws -> Tensor { try math(x, "log10") }
    /// `log(1 + x)`, accurate for small `x`.
    public static func log1p(_ x: Tensor) throws -> Tensor { try math(x, "log1p") }
    /// `exp(x) - 1`, accurate for small `x`.
    public static func expm1(_ x: Tensor) throws -> Tensor { try math(x, "expm1") }
    /// Square root.
    public static func sqrt(_ x: Tensor) throws -> Tensor { try math(x, "sqrt") }
    /// `1 / sqrt(x)`
    public static func rsqrt(_ x: Tensor) throws -> Tensor { try math(x, "rsqrt") }
    /// Hyperbolic tangent.
    public static func tanh(_ x: Tensor) throws -> Tensor { try math(x, "tanh") }
    /// `1 / (1 + exp(-x))`
    public static func sigmoid(_ x: Tensor) throws -> Tensor { try math(x, "sigmoid") }
    /// Error function.
    public static func erf(_ x: Tensor) throws -> Tensor { try math(x, "erf") }
    /// Gaussian error linear unit, `x / 2 * (1 + erf(x / sqrt 2))` (Hendrycks and Gimpel 2016).
    public static func gelu(_ x: Tensor) throws -> Tensor { try math(x, "gelu") }
    /// Sine.
    public static func sin(_ x: Tensor) throws -> Tensor { try math(x, "sin") }
    /// Cosine.
    public static func cos(_ x: Tensor) throws -> Tensor { try math(x, "cos") }
    /// Tangent.
    public static func tan(_ x: Tensor) throws -> Tensor { try math(x, "tan") }
    /// Arc sine.
    public static func asin(_ x: Tensor) throws -> Tensor { try math(x, "asin") }
    /// Arc cosine.
    public static func acos(_ x: Tensor) throws -> Tensor { try math(x, "acos") }
    /// Arc tangent.
    public static func atan(_ x: Tensor) throws -> Tensor { try math(x, "atan") }
    /// Hyperbolic sine.
    public static func sinh(_ x: Tensor) throws -> Tensor { try math(x, "sinh") }
    /// Hyperbolic cosine.
    public static func cosh(_ x: Tensor) throws -> Tensor { try math(x, "cosh") }
    /// Inverse hyperbolic sine.
    public static func asinh(_ x: Tensor) throws -> Tensor { try math(x, "asinh") }
    /// Inverse hyperbolic cosine.
    public static func acosh(_ x: Tensor) throws -> Tensor { try math(x, "acosh") }
    /// Inverse hyperbolic tangent.
    public static func atanh(_ x: Tensor) throws -> Tensor { try math(x, "atanh") }
    /// Greatest integer not above `x`.
    public static func floor(_ x: Tensor) throws -> Tensor { try rounding(x, "floor", "floor") }
    /// Least integer not below `x`.
    public static func ceil(_ x: Tensor) throws -> Tensor { try rounding(x, "ceil", "ceil") }
    /// Nearest integer, halves to even.
    public static func round(_ x: Tensor) throws -> Tensor { try rounding(x, "round", "nearbyint") }
    /// Integer part.
    public static func trunc(_ x: Tensor) throws -> Tensor { try rounding(x, "trunc", "trunc") }

    /// Absolute value; wraps for the smallest integer.
    public static func abs(_ x: Tensor) throws -> Tensor {
        try map(x, "abs") { e in
            if e.dtype.isUInt { return e }
            if e.dtype.isFloat { return inFloat32(e) { unary("fabs", $0) } }
            return intrinsic("abs", e.dtype, [e])
        }
    }

    /// `-x`; wraps for unsigned types.
    public static func negative(_ x: Tensor) throws -> Tensor { try map(x, "negative") { -$0 } }

    /// -1, 0 or 1; NaN stays NaN.
    public static func sign(_ x: Tensor) throws -> Tensor {
        try map(x, "sign") { e in
            let zero = const(0, e.dtype)
            let positive = select(e .> zero, const(1, e.dtype), e.dtype.isFloat ? e : zero)
            return e.dtype.isUInt ? positive : select(e .< zero, const(-1, e.dtype), positive)
        }
    }

    /// `max(x, 0)`
    public static func relu(_ x: Tensor) throws -> Tensor {
        try map(x, "relu") { greatestOf($0, const(0, $0.dtype)) }
    }

    /// The same values.
    public static func copy(_ x: Tensor) throws -> Tensor { try map(x, "copy") { $0 } }

    /// Negation of truth values.
    public static func logicalNot(_ x: Tensor) throws -> Tensor {
        try map(x, "logical_not") { not(asType(.bool, $0)) }
    }

    /// Complement of the bits.
    public static func bitwiseNot(_ x: Tensor) throws -> Tensor {
        try map(x, "bitwise_not") { $0.dtype.isBool ? not($0) : bitwise("bitwise_not", $0) }
    }

    private static func predicate(_ x: Tensor, _ name: String, integers: PrimExpr) throws -> Tensor {
        try map(x, name) { e in
            e.dtype.isFloat ? intrinsic(name, .bool, [wide(e)]) : integers
        }
    }

    private static func wide(_ e: PrimExpr) -> PrimExpr { asType(accumulator(of: e.dtype), e) }

    /// Whether an element is not a number.
    public static func isNaN(_ x: Tensor) throws -> Tensor { try predicate(x, "isnan", integers: falseExpr) }
    /// Whether an element is neither infinite nor NaN.
    public static func isFinite(_ x: Tensor) throws -> Tensor {
        try predicate(x, "isfinite", integers: trueExpr)
    }

    /// Whether an element is infinite with one of the signs asked for.
    public static func isInf(_ x: Tensor, negative: Bool = true, positive: Bool = true) throws -> Tensor {
        if !x.dtype.isFloat || (negative && positive) {
            return try predicate(x, "isinf", integers: falseExpr)
        }
        return try map(x, "isinf") { e in
            if !negative && !positive { return falseExpr }
            return wide(e) .== const(positive ? Double.infinity : -Double.infinity, accumulator(of: e.dtype))
        }
    }

    /// Values kept within `lower ... upper`; NaN stays NaN. Bounds outside the element type do not bind.
    public static func clip(_ x: Tensor, lower: Double, upper: Double) throws -> Tensor {
        try map(x, "clip") { e in
            if e.dtype.isFloat { return leastOf(greatestOf(e, const(lower, e.dtype)), const(upper, e.dtype)) }
            var r = e
            // An integer not below 1.5 is not below 2; one not above 1.5 is not above 1.
            if let bound = integerBound(lower.rounded(.up), e.dtype, lower: true) { r = greatestOf(r, bound) }
            if let bound = integerBound(upper.rounded(.down), e.dtype, lower: false) { r = leastOf(r, bound) }
            return r
        }
    }

    /// `bound` as a constant of an integer type; nil if it lies outside on the side where it does not bind.
    private static func integerBound(_ bound: Double, _ dtype: DataType, lower: Bool) -> PrimExpr? {
        if bound.isNaN { return nil }
        if let v = Int(exactly: bound), IntImm.fits(v, dtype), !(dtype == .uint64 && v < 0) {
            return IntImm(v, dtype: dtype)
        }
        let below = bound < 0
        if below == lower { return nil }
        return below ? minValue(dtype) : maxValue(dtype)
    }

    /// Values converted to `dtype`: float to integer truncates, to bool is `!= 0`.
    public static func cast(_ x: Tensor, _ dtype: DataType) throws -> Tensor {
        try map(x, "cast") { asType(dtype, $0) }
    }
}
