import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// What a call of an intrinsic may do besides yielding a value; passes move and merge calls by it. In order of
/// strength as far as evaluation goes; the last two say how an argument is read, not what it does.
public enum CallEffect: Int, Sendable, Comparable, CaseIterable {
    /// Says something about its argument, which it is the value of (`likely`).
    case exprAnnotation
    /// A function of its arguments: may be moved, merged, dropped.
    case pure
    /// Reads memory or state.
    case readState
    /// Changes memory or state, or may do anything.
    case updateState
    /// Has a meaning only as an argument of certain calls (`access_ptr`), which say what happens to it.
    case specialCallArg
    /// Embeds information for a pass in an expression (`tuple`); nothing to evaluate.
    case embedInfo

    /// A call of which nothing is known may change state.
    public static var opaque: CallEffect { .updateState }

    /// What evaluating a call of this effect may do: `pure`, `readState` or `updateState`. A pointer that is an
    /// argument of another call counts as a read, so that it stays where its memory is.
    public var evaluation: CallEffect {
        switch self {
        case .exprAnnotation, .pure, .embedInfo: return .pure
        case .readState, .specialCallArg: return .readState
        case .updateState: return .updateState
        }
    }

    public static func < (a: CallEffect, b: CallEffect) -> Bool { a.rawValue < b.rawValue }
}

/// The effect of an intrinsic, by its kind.
public let callEffectKey = OpAttrKey<CallEffect>("TCallEffectKind")
/// Whether a call of vectors is the call of each lane.
public let vectorizableKey = OpAttrKey<Bool>("TVectorizable")
/// The symbol that an intrinsic calls where it is a function of a library.
public let globalSymbolKey = OpAttrKey<String>("TGlobalSymbol")
/// Whether the code that uses an intrinsic needs the declarations of warp shuffles.
public let needsWarpShuffleKey = OpAttrKey<Bool>("cuda.need_warp_shuffle")

/// The intrinsics of the loop IR. Floats are IEEE; a lane of a vector behaves as the scalar would.
public enum Intrinsics {
    /// Unary functions of one floating value, result of the same type.
    public static let unaryFloat: [String] = [
        "exp", "exp2", "exp10", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "tanh", "sigmoid",
        "erf", "gelu",
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
        registerValues()
        registerCalls()
        registerThreads()
        registerDevice()
    }

    /// Anything up to this many arguments.
    static let many = 1 << 16

    @discardableResult
    static func define(_ name: String, _ arity: ClosedRange<Int>, _ effect: CallEffect, _ doc: String) -> Op {
        Op.register("tir.\(name)", doc: doc, arity: arity).setting(callEffectKey, effect)
    }

    /// Functions of values.
    private static func registerValues() {
        func lanes(_ name: String, _ arity: Int, _ doc: String, _ effect: CallEffect = .pure) {
            define(name, arity...arity, effect, doc).setting(vectorizableKey, true)
        }
        for n in unaryFloat { lanes(n, 1, "\(n) of a floating value") }
        for n in binaryFloat { lanes(n, 2, "\(n) of two floating values") }
        for n in predicates { lanes(n, 1, "whether a floating value \(n)") }
        for b in bitwise { lanes(b.name, b.arity, "\(b.name) of integers") }
        lanes("fma", 3, "a * b + c in one rounding")
        for d in DotProduct.allCases { lanes(d.intrinsic, 2, d.summary) }
        lanes("likely", 1, "its argument, expected to be true", .exprAnnotation)
        lanes("reinterpret", 1, "the same bits as another type of the same size")
        lanes("abs", 1, "absolute value of an integer; wraps for the smallest")
        lanes(
            "q_multiply_shift", 4, "round(x * y * 2^(s - q)) for fixed-point x and y of q bits: (x, y, q, s)")
        define("if_then_else", 3...3, .pure, "the second or third argument; only the chosen one is evaluated")
        define("large_uint_imm", 2...2, .pure, "an unsigned 64-bit constant: (low, high) halves of 32 bits")
        define("isnullptr", 1...1, .pure, "whether a pointer is null")
        define("vectorlow", 1...1, .pure, "the first half of the lanes")
        define("vectorhigh", 1...1, .pure, "the second half of the lanes")
        define("vectorcombine", 2...2, .pure, "the lanes of the first, then of the second")
        define("vscale", 0...0, .pure, "lanes of a scalable vector, in units")
        define("type_annotation", 0...0, .pure, "carries a type as an argument of another call")
    }

    /// Memory, calls of functions, structures of the calling convention.
    private static func registerCalls() {
        define("address_of", 1...1, .pure, "the address of the element that a BufferLoad names")
        define(
            "access_ptr", 5...5, .specialCallArg,
            "a pointer into memory: (type annotation, data, offset, extent, 1 read | 2 write)")
        define(
            "prefetch", 1...4, .updateState,
            "brings the element's cache line near: (load[, rw, locality, type])")
        define("call_extern", 1...many, .updateState, "calls the C function named by the first argument")
        define("call_pure_extern", 1...many, .pure, "as call_extern, for a function without effects")
        define(
            "call_llvm_intrin", 2...many, .updateState, "an LLVM intrinsic: (name, count of types, arguments)"
        )
        define("call_llvm_pure_intrin", 2...many, .pure, "as call_llvm_intrin, without effects")
        define("call_spirv_pure_glsl450", 1...many, .pure, "a function of GLSL.std.450 by its number")
        define("call_packed", 1...many, .updateState, "calls the packed function named by the first argument")
        define("call_cpacked", 1...many, .updateState, "as call_packed, a symbol linked by name")
        define(
            "call_trace_packed", 1...many, .updateState,
            "a packed call whose result replaces its last argument")
        define("call_packed_lowered", 4...5, .updateState, "(name, values, kinds, begin, end) on the stack")
        define("call_cpacked_lowered", 4...5, .updateState, "as call_packed_lowered, a symbol linked by name")
        define(
            "call_trace_packed_lowered", 5...6, .updateState, "as call_packed_lowered, with the traced value")
        define("ret", 0...1, .updateState, "leaves the function, with a value")
        define("static_handle", 0...0, .specialCallArg, "a handle that lives as long as the library")
        define("context_id", 0...0, .readState, "the identity of the running context")
        define("tuple", 0...many, .embedInfo, "values for the call around it")
        define("struct_get", 3...3, .readState, "a field of a C structure: (pointer, index, field)")
        define(
            "struct_set", 4...4, .updateState, "sets a field of a C structure: (pointer, index, field, value)"
        )
        define("throw_last_error", 0...0, .updateState, "leaves with the error that is set")
        define("stack_alloca", 2...2, .updateState, "memory of the function's own: (kind, count)")
        define("stack_make_shape", 0...many, .readState, "dimensions on the stack")
        define(
            "stack_make_array", 6...6, .readState,
            "a tensor on the stack: (data, shape, strides, rank, zero, offset)")
        define("lookup_param", 1...1, .readState, "the data of a constant by its name")
        define("backend_alloc_workspace", 5...5, .updateState, "(device type, id, bytes, type code, bits)")
            .setting(globalSymbolKey, "apus_backend_api.alloc_workspace")
        define("backend_free_workspace", 3...3, .updateState, "(device type, id, pointer)")
            .setting(globalSymbolKey, "apus_backend_api.free_workspace")
    }

    /// What threads that run together do.
    private static func registerThreads() {
        define("thread_context", 1...1, .updateState, "a value made once for each thread")
        define("storage_sync", 1...3, .updateState, "a barrier of the threads that share the scope named")
        define("global_barrier_kinit", 0...0, .updateState, "prepares the barrier of the grid")
        define(
            "atomic_add", 2...2, .updateState,
            "adds to the memory at an address, the old value: (address, value)")
        define(
            "thread_allreduce", 4...many, .updateState,
            "reduces over threads: (count, values, condition, addresses of results, thread axes)")
        for n in ["warp_shuffle", "warp_shuffle_up", "warp_shuffle_down"] {
            define(
                n, 5...5, .updateState,
                "the value of another lane: (mask, value, lane or delta, width, warp size)")
        }
        define("warp_activemask", 0...0, .updateState, "the lanes of the warp that are active, as bits")
        for n in ["__shfl_sync", "__shfl_up_sync", "__shfl_down_sync"] {
            define("cuda.\(n)", 4...4, .updateState, "CUDA's \(n): (mask, value, lane or delta, width)")
                .setting(globalSymbolKey, n).setting(needsWarpShuffleKey, true)
        }
        for n in ["__shfl", "__shfl_up", "__shfl_down"] {
            define("cuda.\(n)", 3...3, .updateState, "CUDA's \(n): (value, lane or delta, width)")
                .setting(globalSymbolKey, n).setting(needsWarpShuffleKey, true)
        }
        define("cuda.__activemask", 0...0, .updateState, "CUDA's __activemask")
            .setting(globalSymbolKey, "__activemask").setting(needsWarpShuffleKey, true)
    }

    /// Matrix fragments and images of single kinds of devices.
    private static func registerDevice() {
        define("load_matrix_sync", 8...8, .updateState, "(fragment, m, n, k, index, pointer, stride, layout)")
        define(
            "store_matrix_sync", 8...8, .updateState, "(fragment, m, n, k, index, pointer, stride, layout)")
        define("mma_sync", 8...8, .updateState, "d = a * b + c: (d, index, a, index, b, index, c, index)")
        define("bmma_sync", 8...8, .updateState, "as mma_sync, of single bits")
        define("fill_fragment", 6...6, .updateState, "(fragment, m, n, k, index, value)")
        define("texture2d_alloca", 4...many, .updateState, "(scope, width, height, element zero)")
        define("texture2d_load", 3...many, .updateState, "(texture, y, x)")
        define("texture2d_store", 3...many, .updateState, "(texture, y, x, value)")
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
/// The Gaussian error linear unit, x / 2 * (1 + erf(x / sqrt 2)).
public func gelu(_ x: PrimExpr) -> PrimExpr { unary("gelu", x) }
public func pow(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { intrinsic("pow", a.dtype, [a, b]) }
public func isNaN(_ x: PrimExpr) -> PrimExpr {
    intrinsic("isnan", .bool.with(lanes: Int(x.dtype.lanes)), [x])
}
public func bitwise(_ name: String, _ args: PrimExpr...) -> PrimExpr { intrinsic(name, args[0].dtype, args) }

/// The effect of evaluating `call` (`pure`, `readState` or `updateState`), its arguments aside; unknown functions may do
/// anything.
public func effect(of call: Call) -> CallEffect { ((call.op as? Op)?[callEffectKey] ?? .opaque).evaluation }
