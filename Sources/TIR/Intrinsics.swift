import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// What a call of an intrinsic may do besides yielding a value; passes move and merge calls by it.
public enum CallEffect: Int, Sendable, Comparable {
    /// A function of its arguments: may be moved, merged, dropped.
    case pure
    /// Reads memory or state.
    case readState
    /// Changes memory or state.
    case updateState

    public static func < (a: CallEffect, b: CallEffect) -> Bool { a.rawValue < b.rawValue }
}

/// The effect of an intrinsic.
public let callEffectKey = OpAttrKey<CallEffect>("TCallEffectKind")

/// The intrinsics of the loop IR. Floats are IEEE; a lane of a vector behaves as the scalar would.
public enum Intrinsics {
    /// Unary functions of one floating value, result of the same type.
    public static let unaryFloat: [String] = [
        "exp", "exp2", "exp10", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "tanh", "sigmoid",
        "erf",
        "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "floor",
        "ceil",
        "trunc", "nearbyint", "round", "fabs",
    ]
    /// Binary functions of two values of one floating type.
    public static let binaryFloat: [String] = [
        "pow", "atan2", "fmod", "hypot", "copysign", "nextafter", "ldexp",
    ]
    /// Predicates of one floating value.
    public static let predicates: [String] = ["isnan", "isinf", "isfinite"]
    /// Functions of one or two integers of one type.
    public static let bitwise: [(name: String, arity: Int)] = [
        (name: "bitwise_and", arity: 2), (name: "bitwise_or", arity: 2), (name: "bitwise_xor", arity: 2),
        (name: "bitwise_not", arity: 1), (name: "shift_left", arity: 2), (name: "shift_right", arity: 2),
        (name: "popcount", arity: 1), (name: "clz", arity: 1),
    ]

    /// Registers all of them. Idempotent.
    public static func registerAll() {
        func define(_ name: String, _ arity: ClosedRange<Int>, _ effect: CallEffect, _ doc: String) {
            Op.register("tir.\(name)", doc: doc, arity: arity).setting(callEffectKey, effect)
        }
        for n in unaryFloat { define(n, 1...1, .pure, "\(n) of a floating value") }
        for n in binaryFloat { define(n, 2...2, .pure, "\(n) of two floating values") }
        for n in predicates { define(n, 1...1, .pure, "whether a floating value \(n)") }
        for b in bitwise { define(b.name, b.arity...b.arity, .pure, "\(b.name) of integers") }
        define("fma", 3...3, .pure, "a * b + c in one rounding")
        define("if_then_else", 3...3, .pure, "the second or third argument; only the chosen one is evaluated")
        define("likely", 1...1, .pure, "its argument, expected to be true")
        define("reinterpret", 1...1, .pure, "the same bits as another type of the same size")
        define("abs", 1...1, .pure, "absolute value of an integer; wraps for the smallest")
        define("address_of", 1...1, .pure, "the address of the element that a BufferLoad names")
        define("prefetch", 1...1, .updateState, "brings the element's cache line near")
        define("call_extern", 1...1024, .updateState, "calls the C function named by the first argument")
        define("call_pure_extern", 1...1024, .pure, "as call_extern, for a function without effects")
        define("call_packed", 1...1024, .updateState, "calls the packed function named by the first argument")
        define("ret", 1...1, .updateState, "leaves the function")
        define("storage_sync", 1...1, .updateState, "a barrier of the threads that share the scope named")
        define("vscale", 0...0, .pure, "lanes of a scalable vector, in units")
    }
}

/// A call of the intrinsic `name` (without `tir.`). Its registration is `Intrinsics.registerAll`'s business and is
/// done here on first use, so that builders work in any order.
public func intrinsic(_ name: String, _ dtype: DataType, _ args: [PrimExpr]) -> Call {
    if Op.find("tir.\(name)") == nil { Intrinsics.registerAll() }
    guard let op = Op.find("tir.\(name)") else { internalError("no intrinsic tir.\(name)") }
    return Call(dtype, op, args)
}

/// Unary function of `unaryFloat`, result of the argument's type.
public func unary(_ name: String, _ x: PrimExpr) -> PrimExpr { intrinsic(name, x.dtype, [x]) }

/// `condition ? a : b`, evaluating only the chosen side: safe where the other would read out of bounds.
public func ifThenElse(_ condition: PrimExpr, _ a: PrimExpr, _ b: PrimExpr) -> PrimExpr {
    if let c = condition.asInt { return c != 0 ? a : b }
    return intrinsic("if_then_else", a.dtype, [condition, a, b])
}

public func exp(_ x: PrimExpr) -> PrimExpr { unary("exp", x) }
public func log(_ x: PrimExpr) -> PrimExpr { unary("log", x) }
public func sqrt(_ x: PrimExpr) -> PrimExpr { unary("sqrt", x) }
public func rsqrt(_ x: PrimExpr) -> PrimExpr { unary("rsqrt", x) }
public func tanh(_ x: PrimExpr) -> PrimExpr { unary("tanh", x) }
public func sigmoid(_ x: PrimExpr) -> PrimExpr { unary("sigmoid", x) }
public func erf(_ x: PrimExpr) -> PrimExpr { unary("erf", x) }
public func pow(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { intrinsic("pow", a.dtype, [a, b]) }
public func isNaN(_ x: PrimExpr) -> PrimExpr {
    intrinsic("isnan", .bool.with(lanes: Int(x.dtype.lanes)), [x])
}
public func bitwise(_ name: String, _ args: PrimExpr...) -> PrimExpr { intrinsic(name, args[0].dtype, args) }

/// The effect of evaluating `call`; unknown functions may do anything.
public func effect(of call: Call) -> CallEffect { (call.op as? Op)?[callEffectKey] ?? .updateState }
