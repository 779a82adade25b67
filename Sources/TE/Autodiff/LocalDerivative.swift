import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// How the value of a node changes with its operands: what forward and backward differentiation share.
///
/// Choices where a function has no derivative: `floor`, `ceil`, `trunc`, `round` and comparisons are constant (0);
/// `abs` has 0 at 0; `min` and `max` give all to the first operand where both are equal; `select` follows the side
/// that is chosen; `pow(x, y)` has derivative 0 by `y` at `x == 0`; `nextafter(x, y)` is taken for `x`.
enum LocalDerivative {
    /// The derivative by each operand; a nil factor is 1.
    case linear([(operand: PrimExpr, factor: PrimExpr?)])
    /// That of one of two operands. `lazy`: only the chosen one may be evaluated.
    case chosen(condition: PrimExpr, PrimExpr, PrimExpr, lazy: Bool)
    /// That of the operand, as another floating type.
    case converted(PrimExpr)
    case constant

    /// The operands through which the value changes.
    var operands: [PrimExpr] {
        switch self {
        case .linear(let list): return list.map { $0.operand }
        case .chosen(_, let a, let b, _): return [a, b]
        case .converted(let a): return [a]
        case .constant: return []
        }
    }

    /// The derivative of `e`, a scalar of floating type whose value is `value` (`e` itself, or where it was stored).
    /// TE100 for what has no derivative.
    static func of(_ e: PrimExpr, value: PrimExpr) throws -> LocalDerivative {
        let d = e.dtype
        func c(_ v: Double) -> PrimExpr { const(v, d) }
        switch e.kind {
        case .intImm, .floatImm, .variable, .producerLoad, .bufferLoad: return .constant
        case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max:
            let e = unsafeDowncast(e, to: BinaryExpr.self)
            let (a, b) = (e.a, e.b)
            switch e.kind {
            case .add: return .linear([(operand: a, factor: nil), (operand: b, factor: nil)])
            case .sub: return .linear([(operand: a, factor: nil), (operand: b, factor: c(-1))])
            case .mul: return .linear([(operand: a, factor: b), (operand: b, factor: a)])
            case .div: return .linear([(operand: a, factor: c(1) / b), (operand: b, factor: -(value / b))])
            case .mod:
                return .linear([(operand: a, factor: nil), (operand: b, factor: -unary("trunc", a / b))])
            case .floorMod:
                return .linear([(operand: a, factor: nil), (operand: b, factor: -unary("floor", a / b))])
            case .min: return .chosen(condition: a .<= b, a, b, lazy: false)
            case .max: return .chosen(condition: a .>= b, a, b, lazy: false)
            default: return .constant
            }
        case .select:
            let e = unsafeDowncast(e, to: Select.self)
            return .chosen(condition: e.condition, e.trueValue, e.falseValue, lazy: false)
        case .cast:
            let v = unsafeDowncast(e, to: Cast.self).value
            return v.dtype.isFloat ? .converted(v) : .constant
        case .call: return try of(unsafeDowncast(e, to: Call.self), value)
        default: throw noDerivative(e, "\(e.kind)")
        }
    }

    static func noDerivative(_ e: PrimExpr, _ what: String) -> ApusError {
        ApusError("TE100", "\(what) has no derivative", actual: String("\(e)".prefix(200)))
    }

    private static func of(_ call: Call, _ value: PrimExpr) throws -> LocalDerivative {
        let d = call.dtype
        guard call.name.hasPrefix("tir.") else { throw noDerivative(call, "a call of `\(call.name)`") }
        let name = String(call.name.dropFirst(4))
        let args = call.args
        if args.count == 1, let f = unaryFactor(name, args[0], value, d) {
            return .linear([(operand: args[0], factor: f)])
        }
        switch (name, args.count) {
        case ("floor", 1), ("ceil", 1), ("trunc", 1), ("nearbyint", 1), ("round", 1): return .constant
        case ("likely", 1): return .linear([(operand: args[0], factor: nil)])
        case ("if_then_else", 3): return .chosen(condition: args[0], args[1], args[2], lazy: true)
        case ("pow", 2):
            let (x, y) = (args[0], args[1])
            let byX = y * pow(x, y - const(1.0, d))
            let byY = select(x .== const(0.0, d), const(0.0, d), value * log(x))
            return .linear([(operand: x, factor: byX), (operand: y, factor: byY)])
        case ("atan2", 2):
            let (y, x) = (args[0], args[1])
            let r = x * x + y * y
            return .linear([(operand: y, factor: x / r), (operand: x, factor: -(y / r))])
        case ("fmod", 2):
            return .linear([
                (operand: args[0], factor: nil),
                (operand: args[1], factor: -unary("trunc", args[0] / args[1])),
            ])
        case ("hypot", 2):
            return .linear([
                (operand: args[0], factor: args[0] / value), (operand: args[1], factor: args[1] / value),
            ])
        case ("copysign", 2):
            let one = const(1.0, d)
            let sign = intrinsic("copysign", d, [one, args[0]]) * intrinsic("copysign", d, [one, args[1]])
            return .linear([(operand: args[0], factor: sign)])
        case ("nextafter", 2): return .linear([(operand: args[0], factor: nil)])
        case ("ldexp", 2):
            let scale = intrinsic("ldexp", d, [const(1.0, d), args[1]])
            return .linear([(operand: args[0], factor: scale)])
        case ("fma", 3):
            return .linear([
                (operand: args[0], factor: args[1]), (operand: args[1], factor: args[0]),
                (operand: args[2], factor: nil),
            ])
        default: throw noDerivative(call, "the intrinsic `\(name)`")
        }
    }

    /// The derivative of a function of one argument `x`, whose value is `y`.
    private static func unaryFactor(
        _ name: String, _ x: PrimExpr, _ y: PrimExpr, _ d: DataType
    ) -> PrimExpr? {
        func c(_ v: Double) -> PrimExpr { const(v, d) }
        let ln2 = 0.693147180559945309417232121458176568
        let ln10 = 2.302585092994045684017991454684364208
        switch name {
        case "exp": return y
        case "exp2": return y * c(ln2)
        case "exp10": return y * c(ln10)
        case "expm1": return y + c(1)
        case "log": return c(1) / x
        case "log2": return c(1) / (x * c(ln2))
        case "log10": return c(1) / (x * c(ln10))
        case "log1p": return c(1) / (x + c(1))
        case "sqrt": return c(0.5) / y
        case "rsqrt": return c(-0.5) * y / x
        case "tanh": return c(1) - y * y
        case "sigmoid": return y * (c(1) - y)
        case "erf": return c(1.128379167095512573896158903121545172) * exp(-(x * x))
        case "gelu":
            let below = c(0.5) * (c(1) + erf(x * c(0.70710678118654752440)))
            return below + x * c(0.398942280401432677939946059934) * exp(c(-0.5) * x * x)
        case "sin": return unary("cos", x)
        case "cos": return -unary("sin", x)
        case "tan": return c(1) + y * y
        case "asin": return rsqrt(c(1) - x * x)
        case "acos": return -rsqrt(c(1) - x * x)
        case "atan": return c(1) / (c(1) + x * x)
        case "sinh": return unary("cosh", x)
        case "cosh": return unary("sinh", x)
        case "asinh": return rsqrt(x * x + c(1))
        case "acosh": return rsqrt(x * x - c(1))
        case "atanh": return c(1) / (c(1) - x * x)
        case "fabs", "abs":
            return select(x .> c(0), c(1), select(x .< c(0), c(-1), c(0)))
        default: return nil
        }
    }
}

/// `e` with every `let` written out, so that differentiation sees values only.
func withoutLets(_ e: PrimExpr) -> PrimExpr {
    var memo: [ObjectIdentifier: PrimExpr] = [:]
    var values: [Var: PrimExpr] = [:]
    func walk(_ e: PrimExpr) -> PrimExpr {
        if e.kind == .variable { return values[unsafeDowncast(e, to: Var.self)] ?? e }
        if let known = memo[ObjectIdentifier(e)] { return known }
        let result: PrimExpr
        if let l = e as? Let {
            values[l.variable] = walk(l.value)
            result = walk(l.body)
        } else {
            result = mapChildren(of: e, walk)
        }
        memo[ObjectIdentifier(e)] = result
        return result
    }
    return walk(e)
}
