import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

// Elementwise and broadcasting operators. y[i] = f(x[i]); z = f(x, y) with NumPy's broadcasting.

extension Ops {
    private static let unaryFloat: [(name: String, doc: String)] = [
        ("exp", "e to the power x"), ("log", "natural logarithm"), ("log2", "logarithm to base 2"),
        ("log1p", "log(1 + x), exact near 0"), ("expm1", "exp(x) - 1, exact near 0"), ("sqrt", "square root"),
        ("rsqrt", "1 / sqrt(x)"), ("tanh", "hyperbolic tangent"), ("sigmoid", "1 / (1 + exp(-x))"),
        ("erf", "error function"), ("nn.gelu", "x / 2 * (1 + erf(x / sqrt 2))"),
        ("sin", "sine of radians"), ("cos", "cosine of radians"),
        ("tan", "tangent of radians"), ("asin", "arc sine in radians"), ("acos", "arc cosine in radians"),
        ("atan", "arc tangent in radians"), ("sinh", "hyperbolic sine"), ("cosh", "hyperbolic cosine"),
        ("asinh", "inverse hyperbolic sine"), ("acosh", "inverse hyperbolic cosine"),
        ("atanh", "inverse hyperbolic tangent"),
    ]
    private static let unaryNumeric: [(name: String, doc: String)] = [
        ("floor", "greatest integer not above x"), ("ceil", "least integer not below x"),
        ("round", "nearest integer, ties to even"), ("trunc", "integer part"), ("abs", "magnitude"),
        ("negative", "-x"), ("sign", "-1, 0 or 1"), ("nn.relu", "max(x, 0)"),
    ]
    private static let arithmetic: [(name: String, doc: String)] = [
        ("add", "x + y"), ("subtract", "x - y"), ("multiply", "x * y"),
        ("divide", "x / y; of integers, truncated towards zero"), ("floor_divide", "floor(x / y)"),
        ("mod", "remainder with the sign of x"), ("floor_mod", "remainder with the sign of y"),
        ("power", "x to the power y"), ("maximum", "greater of x and y"), ("minimum", "lesser of x and y"),
    ]
    private static let comparisons: [(name: String, doc: String)] = [
        ("equal", "x == y"), ("not_equal", "x != y"), ("less", "x < y"), ("less_equal", "x <= y"),
        ("greater", "x > y"), ("greater_equal", "x >= y"),
    ]

    static func registerElementwise() {
        for (name, doc) in unaryFloat { unary(name, doc, .float) }
        for (name, doc) in unaryNumeric { unary(name, doc, .numeric) }
        unary("copy", "x itself", .any)
        unary("logical_not", "not x", .bool)
        unary("bitwise_not", "every bit inverted", .bits)
        unary("isnan", "whether x is not a number", .numeric, result: .bool)
        unary("isfinite", "whether x is neither infinite nor not a number", .numeric, result: .bool)
        unary(
            "isinf", "whether x is infinite", .numeric, result: .bool,
            attrs: [
                AttrField("detect_negative", .bool, default: true, doc: "whether minus infinity counts"),
                AttrField("detect_positive", .bool, default: true, doc: "whether plus infinity counts"),
            ])
        unary(
            "clip", "min(max(x, a_min), a_max); not-a-number stays", .numeric,
            attrs: [
                AttrField("a_min", .float, doc: "least result"),
                AttrField("a_max", .float, doc: "greatest result"),
            ])
        define(
            "cast", "x as another element type; to an integer, truncated towards zero", ["data"],
            attrs: [AttrField("dtype", .dtype, doc: "element type of the result")], pattern: .elemWise
        ) { c in
            let x = try c.tensor(0)
            return TensorType(x.shape, try resultType(c, default: x.dtype))
        }
        for (name, doc) in arithmetic { binary(name, doc, .numeric) }
        for (name, doc) in comparisons { binary(name, doc, .any, result: .bool) }
        binary("bitwise_and", "bits set in both", .bits)
        binary("bitwise_or", "bits set in either", .bits)
        binary("bitwise_xor", "bits set in one", .bits)
        binary("left_shift", "x shifted left by y bits", .integer)
        binary("right_shift", "x shifted right by y bits; keeps the sign of signed x", .integer)
        binary("logical_and", "x and y", .bool)
        binary("logical_or", "x or y", .bool)
        binary("logical_xor", "x or y, not both", .bool)
        define(
            "where", "x where the condition holds, else y; all three broadcast", ["condition", "x", "y"],
            pattern: .broadcast
        ) { c in
            let condition = try c.tensor(0, .bool)
            let x = try c.tensor(1)
            let y = try c.tensor(2)
            try c.require(y, operand: 2, dtype: x.dtype, as: "x")
            return TensorType(try c.broadcast([condition.shape, x.shape, y.shape]), x.dtype)
        }
    }

    /// The attribute `name`, checked to be the type of a tensor's elements.
    static func resultType(
        _ c: TypeContext, _ name: String = "dtype", default fallback: DataType, _ allowed: DTypeClass = .any
    ) throws -> DataType {
        guard let d = c.attrs.dtype(name) else { return fallback }
        guard allowed.contains(d), [1, 8, 16, 32, 64].contains(d.bits), d.bits != 1 || d.isBool else {
            throw c.attributeError(name, "of \(c.op) is no element type it can give", expected: allowed.name)
        }
        return d
    }

    private static func unary(
        _ name: String, _ doc: String, _ allowed: DTypeClass, result: DataType? = nil, attrs: [AttrField] = []
    ) {
        define(name, doc, ["data"], attrs: attrs, pattern: .elemWise) { c in
            let x = try c.tensor(0, allowed)
            guard let result else { return x }
            return TensorType(x.shape, result)
        }
    }

    private static func binary(_ name: String, _ doc: String, _ allowed: DTypeClass, result: DataType? = nil)
    {
        define(name, doc, ["lhs", "rhs"], pattern: .broadcast) { c in
            let x = try c.tensor(0, allowed)
            let y = try c.tensor(1, allowed)
            try c.require(y, operand: 1, dtype: x.dtype, as: "lhs")
            if result == nil && x === y { return x }
            return TensorType(try c.broadcast([x.shape, y.shape]), result ?? x.dtype)
        }
    }
}
