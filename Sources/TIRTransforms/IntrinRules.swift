import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// What a rule may know of the target.
struct IntrinOptions {
    /// Whether the target has a fused multiply-add; without it errors grow by about one ulp.
    var useFMA = true
}

/// How one target kind computes one intrinsic. Rules are data: a back end adds its own to the table, the lookup takes
/// those of the target's kind before those of `default`.
struct IntrinRule: Sendable {
    /// A kind of target, or `default`.
    let kind: String
    /// Of the intrinsic, without `tir.`.
    let name: String
    /// The replacement; nil where the rule does not apply to the call's types.
    let apply: @Sendable (Call, IntrinOptions) -> PrimExpr?
}

enum IntrinRules {
    /// The table, by `kind.name`.
    static let table: [String: IntrinRule] = {
        var table: [String: IntrinRule] = [:]
        for r in arithmetic + fixedPoint + cuda + openCL { table["\(r.kind).\(r.name)"] = r }
        return table
    }()

    static func rule(_ name: String, kind: String) -> IntrinRule? {
        table["\(kind).\(name)"] ?? table["default.\(name)"]
    }

    // MARK: Default: arithmetic

    /// Elementary functions as arithmetic of float32. float16 and bfloat16 are computed in float32.
    private static let arithmetic: [IntrinRule] =
        ElementaryFunction.all.map { f in
            IntrinRule(kind: "default", name: f.name) { call, options in
                f.name == "pow" ? power(call, options) : expand(f.name, call, options)
            }
        }

    private static func expand(_ name: String, _ c: Call, _ options: IntrinOptions) -> PrimExpr? {
        guard c.dtype.isFloat else { return nil }
        let x = c.args[0]
        if c.dtype.bits == 16 {
            let wide = DataType.float32.with(lanes: Int(c.dtype.lanes))
            return Cast(c.dtype, float32(name, Cast(wide, x), wide, options))
        }
        if c.dtype.bits == 64 {
            if name == "rsqrt" { return const(1, c.dtype) / sqrt(x) }
            if name == "gelu" { return geluByErf(c, options) }
            if name == "sigmoid" {
                return const(1, c.dtype) / (const(1, c.dtype) + ApusTIR.exp(x * const(-1, c.dtype)))
            }
            return nil
        }
        return float32(name, x, c.dtype, options)
    }

    private static func float32(
        _ name: String, _ x: PrimExpr, _ type: DataType, _ options: IntrinOptions
    ) -> PrimExpr {
        let f = F32(type: type, useFMA: options.useFMA)
        switch name {
        case "sin": return f.sin(x)
        case "cos": return f.cos(x)
        case "tan": return f.tan(x)
        case "asin": return f.asin(x)
        case "acos": return f.acos(x)
        case "atan": return f.atan(x)
        case "sinh": return f.sinh(x)
        case "cosh": return f.cosh(x)
        case "asinh": return f.asinh(x)
        case "acosh": return f.acosh(x)
        case "atanh": return f.atanh(x)
        case "exp2": return f.exp2(x)
        case "expm1": return f.expm1(x)
        case "log2": return f.log2(x)
        case "log10": return f.log10(x)
        case "log1p": return f.log1p(x)
        case "exp": return f.exp(x)
        case "log": return f.log(x)
        case "tanh": return f.tanh(x)
        case "sigmoid": return f.sigmoid(x)
        case "erf": return f.erf(x)
        case "gelu": return f.gelu(x)
        default: return f.c(1) / sqrt(x)
        }
    }

    /// Few multiplications where the exponent is a constant for which they are at least as accurate; else in float32
    /// lanes, of float64 the library.
    private static func power(_ call: Call, _ options: IntrinOptions) -> PrimExpr? {
        let x = call.args[0]
        let y = call.args[1]
        guard x.dtype.isFloat else { return nil }
        switch y.constantFloat {
        case 0 where isPure(x): return const(1, x.dtype)
        case 1: return x
        case -1: return const(1, x.dtype) / x
        case 2:
            let v = Var("base", dtype: x.dtype)
            return Let(v, x, v * v)
        case 3:
            let v = Var("base", dtype: x.dtype)
            return Let(v, x, v * v * v)
        default: break
        }
        guard x.dtype.bits < 64 else { return nil }
        let single = DataType.float32.with(lanes: Int(x.dtype.lanes))
        return cast(x.dtype, F32(type: single, useFMA: options.useFMA).pow(cast(single, x), cast(single, y)))
    }

    // MARK: Default: fixed point

    private static let fixedPoint: [IntrinRule] = [
        IntrinRule(kind: "default", name: "q_multiply_shift") { c, _ in
            c.args.count == 4 ? multiplyShift(c.args[0], c.args[1], c.args[2], c.args[3]) : nil
        }
    ]

    /// round(x * y * 2^(s - q)), halves up: y is a fixed-point number of q fractional bits, s a shift to the left (or, if
    /// negative, to the right). In 64 bits; the result is brought back to the type of x. The form of gemmlowp and TVM.
    private static func multiplyShift(_ x: PrimExpr, _ y: PrimExpr, _ q: PrimExpr, _ s: PrimExpr) -> PrimExpr?
    {
        guard x.dtype.isInt, x.dtype.bits <= 32 else { return nil }
        let lanes = Int(x.dtype.lanes)
        let wide = DataType.int64.with(lanes: lanes)
        func widened(_ e: PrimExpr) -> PrimExpr {
            let v = e.dtype.lanes == 1 && lanes > 1 ? Broadcast(e, lanes) : e
            return cast(wide, v)
        }
        let zero = const(0, wide)
        let shift = widened(s)
        let left = maximum(shift, zero)
        let right = widened(q) + maximum(zero - shift, zero)
        let product = bitwise("shift_left", widened(x), left) * widened(y)
        let half = bitwise("shift_left", const(1, wide), right - 1)
        return cast(x.dtype, bitwise("shift_right", product + half, right))
    }

    // MARK: Devices

    private static func external(
        _ kind: String, _ name: String, as function: @escaping @Sendable (DataType) -> String?
    )
        -> IntrinRule
    {
        IntrinRule(kind: kind, name: name) { c, _ in
            guard c.dtype.isScalar, c.dtype.isFloat, let f = function(c.dtype) else { return nil }
            return intrinsic("call_pure_extern", c.dtype, [StringImm(f)] + c.args)
        }
    }

    /// Functions of CUDA's library: suffix `f` for float32, prefix `h` for float16 where the device has them.
    private static let cuda: [IntrinRule] = {
        let half: Set<String> = [
            "exp", "exp2", "exp10", "log", "log2", "log10", "sin", "cos", "sqrt", "rsqrt", "floor", "ceil",
            "trunc",
        ]
        var rules: [IntrinRule] = []
        for name in Intrinsics.unaryFloat where !composed.contains(name) && name != "nearbyint" {
            rules.append(
                external("cuda", name) { t in
                    switch t {
                    case .float64: return name
                    case .float32: return name + "f"
                    case .float16: return half.contains(name) ? "h" + name : nil
                    default: return nil
                    }
                })
        }
        rules.append(IntrinRule(kind: "cuda", name: "sigmoid", apply: sigmoidByExp))
        rules.append(IntrinRule(kind: "cuda", name: "gelu", apply: geluByErf))
        rules.append(external("cuda", "pow") { t in t == .float64 ? "pow" : t == .float32 ? "powf" : nil })
        for (name, function) in [
            ("warp_shuffle", "__shfl_sync"), ("warp_shuffle_up", "__shfl_up_sync"),
            ("warp_shuffle_down", "__shfl_down_sync"),
        ] {
            // The device knows its warp size: the last argument goes.
            rules.append(
                IntrinRule(kind: "cuda", name: name) { c, _ in
                    intrinsic("call_extern", c.dtype, [StringImm(function)] + c.args.dropLast())
                })
        }
        rules.append(
            IntrinRule(kind: "cuda", name: "warp_activemask") { c, _ in
                intrinsic("call_extern", c.dtype, [StringImm("__activemask")])
            })
        return rules
    }()

    /// OpenCL's functions are overloaded: one name for all types.
    private static let openCL: [IntrinRule] =
        Intrinsics.unaryFloat.filter { !composed.contains($0) && $0 != "nearbyint" }.map { name in
            external("opencl", name) { $0.code == .bfloat ? nil : name }
        } + [
            external("opencl", "nearbyint") { $0.code == .bfloat ? nil : "rint" },
            external("opencl", "pow") { $0.code == .bfloat ? nil : "pow" },
            IntrinRule(kind: "opencl", name: "sigmoid", apply: sigmoidByExp),
            IntrinRule(kind: "opencl", name: "gelu", apply: geluByErf),
        ]

    /// Functions that no library of a device has.
    private static let composed: Set<String> = ["sigmoid", "gelu"]

    /// x / 2 * (1 + erf(x / sqrt 2)); the error function is looked up again.
    private static let geluByErf: @Sendable (Call, IntrinOptions) -> PrimExpr? = { c, _ in
        let v = Var("x", dtype: c.dtype)
        let inner = ApusTIR.erf(v * const(0.70710678118654752440, c.dtype))
        return Let(v, c.args[0], v * const(0.5, c.dtype) * (const(1, c.dtype) + inner))
    }

    /// 1 / (1 + e^-x); the exponential is looked up again.
    private static let sigmoidByExp: @Sendable (Call, IntrinOptions) -> PrimExpr? = { c, _ in
        let one = const(1, c.dtype)
        return one / (one + ApusTIR.exp(c.args[0] * const(-1, c.dtype)))
    }
}
