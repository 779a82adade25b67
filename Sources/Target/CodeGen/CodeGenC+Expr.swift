import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

extension CodeGenC {
    /// The value of an expression.
    func value(_ e: PrimExpr) throws -> Value {
        let t = e.dtype
        switch e.kind {
        case .intImm:
            let n = e.asInt ?? 0
            if t.isHandle { return Value(text: "((void *)0)", dtype: t) }
            let digits =
                t.isUInt ? "\(UInt64(bitPattern: Int64(n)))ull" : n == Int.min ? "INT64_MIN" : "\(n)ll"
            return Value(text: "((\(try typeName(t)))\(digits))", dtype: t)
        case .floatImm: return try floatConstant(unsafeDowncast(e, to: FloatImm.self).value, t)
        case .stringImm:
            return Value(
                text: "((void *)\(CodeGenC.quoted(unsafeDowncast(e, to: StringImm.self).value)))",
                dtype: .handle)
        case .variable:
            let v = unsafeDowncast(e, to: Var.self)
            guard let known = frame.values[ObjectIdentifier(v)] else { throw undefined(v) }
            return known
        case .cast:
            let c = unsafeDowncast(e, to: Cast.self)
            var v = try value(c.value)
            if t.lanes > 1, v.dtype.lanes == 1 { v = try make(v.dtype.with(lanes: Int(t.lanes)), v.text) }
            return try convert(v, t)
        case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            return try binary(e.kind, value(b.a), value(b.b))
        case .and, .or:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            return try logical(b, isAnd: e.kind == .and)
        case .not:
            let v = try value(unsafeDowncast(e, to: Not.self).a)
            return try make(.bool.with(lanes: Int(v.dtype.lanes)), "!\(v.lane)")
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            let c = try convert(value(s.condition), .bool.with(lanes: Int(s.condition.dtype.lanes)))
            let a = try value(s.trueValue)
            let b = try value(s.falseValue)
            return try make(a.dtype, "\(c.lane) ? \(a.lane) : \(b.lane)")
        case .bufferLoad: return try load(unsafeDowncast(e, to: BufferLoad.self))
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            let base = try value(r.base)
            let stride = try value(r.stride)
            return try make(t, r.lanes == 1 ? base.text : "\(base.text) + \(stride.text) * l")
        case .broadcast:
            let b = unsafeDowncast(e, to: Broadcast.self)
            let v = try value(b.value)
            if v.dtype.lanes > 1 {
                return try make(
                    v.dtype.with(lanes: b.lanes * Int(v.dtype.lanes)), "\(v.text).v[l % \(v.dtype.lanes)]")
            }
            return b.lanes == 1 ? v : try make(v.dtype.with(lanes: b.lanes), v.text)
        case .shuffle: return try shuffle(unsafeDowncast(e, to: Shuffle.self))
        case .let:
            var bound: [(key: ObjectIdentifier, old: Value?)] = []
            var body = e
            while body.kind == .let {
                let l = unsafeDowncast(body, to: Let.self)
                let v = try value(l.value)
                bound.append(
                    (key: ObjectIdentifier(l.variable), old: frame.values[ObjectIdentifier(l.variable)]))
                frame.values[ObjectIdentifier(l.variable)] = v
                body = l.body
            }
            let result = try value(body)
            for b in bound.reversed() { frame.values[b.key] = b.old }
            return result
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            guard let v = try callValue(c) else {
                throw ApusError(
                    "TGT022", "a call without value is used as a value", at: ["kernel: \(kernel)"],
                    actual: "\(e)")
            }
            return v
        case .producerLoad, .reduce:
            throw ApusError(
                "TGT020", "the function still has tensor expressions: it was not lowered",
                at: ["kernel: \(kernel)"],
                actual: "\(e)", hint: "run `lower` before the code generator")
        }
    }

    private func floatConstant(_ x: Double, _ t: DataType) throws -> Value {
        switch (t.code, t.bits) {
        case (.float, 64): return Value(text: "apus_f64(\(x.bitPattern)ull)", dtype: t)
        case (.float, 32): return Value(text: "apus_f32(\(Float(x).bitPattern)u)", dtype: t)
        default: return try convert(Value(text: "apus_f64(\(x.bitPattern)ull)", dtype: .float64), t)
        }
    }

    private func shuffle(_ s: Shuffle) throws -> Value {
        let parts = try s.vectors.map { try value($0) }
        var lanes: [String] = []
        for p in parts {
            if p.dtype.lanes == 1 {
                lanes.append(p.text)
            } else {
                for i in 0..<Int(p.dtype.lanes) { lanes.append("\(p.text).v[\(i)]") }
            }
        }
        let t = s.dtype
        if s.indices.count == 1 { return try make(t, lanes[s.indices[0]]) }
        let name = fresh()
        let list = s.indices.map { lanes[$0] }.joined(separator: ", ")
        line("\(try typeName(t)) \(name) = {{\(list)}};")
        return Value(text: name, dtype: t)
    }

    // MARK: Operations

    private func single(_ v: Value) throws -> Value {
        v.dtype.isFloat && v.dtype.bits == 16 ? try convert(v, .float32.with(lanes: Int(v.dtype.lanes))) : v
    }

    func binary(_ kind: PrimExprKind, _ a: Value, _ b: Value) throws -> Value {
        let t = a.dtype
        let lanes = Int(t.lanes)
        let x = try single(a)
        let y = try single(b)
        let op: String?
        switch kind {
        case .eq: op = "=="
        case .ne: op = "!="
        case .lt: op = "<"
        case .le: op = "<="
        case .gt: op = ">"
        case .ge: op = ">="
        default: op = nil
        }
        if let op { return try make(.bool.with(lanes: lanes), "\(x.lane) \(op) \(y.lane)") }
        if t.isHandle { throw ApusError("TGT022", "arithmetic on pointers", at: ["kernel: \(kernel)"]) }
        if t.isFloat {
            let f = x.dtype.bits == 64 ? "" : "f"
            let text: String
            switch kind {
            case .add: text = "\(x.lane) + \(y.lane)"
            case .sub: text = "\(x.lane) - \(y.lane)"
            case .mul: text = "\(x.lane) * \(y.lane)"
            case .div: text = "\(x.lane) / \(y.lane)"
            case .mod: text = "fmod\(f)(\(x.lane), \(y.lane))"
            case .floorDiv: text = "floor\(f)(\(x.lane) / \(y.lane))"
            case .floorMod: text = "\(x.lane) - \(y.lane) * floor\(f)(\(x.lane) / \(y.lane))"
            case .min:
                text = "\(x.lane) < \(y.lane) ? \(x.lane) : \(x.lane) != \(x.lane) ? \(x.lane) : \(y.lane)"
            case .max:
                text = "\(x.lane) > \(y.lane) ? \(x.lane) : \(x.lane) != \(x.lane) ? \(x.lane) : \(y.lane)"
            default: internalError("\(kind) is not a binary operation")
            }
            return try convert(make(x.dtype, text), t)
        }
        if t.isBool {
            switch kind {
            case .add, .sub: return try make(t, "\(x.lane) ^ \(y.lane)")
            case .mul, .min: return try make(t, "\(x.lane) & \(y.lane)")
            case .max: return try make(t, "\(x.lane) | \(y.lane)")
            default: break
            }
        }
        let prefix = t.isInt ? "apus_s" : "apus_u"
        switch kind {
        case .add: return try make(t, "\(x.lane) + \(y.lane)")
        case .sub: return try make(t, "\(x.lane) - \(y.lane)")
        // In 64 bits, so that small unsigned numbers do not multiply as signed ones.
        case .mul:
            return try make(
                t, t.bits == 64 ? "\(x.lane) * \(y.lane)" : "(uint64_t)\(x.lane) * (uint64_t)\(y.lane)")
        case .min: return try make(t, "\(x.lane) < \(y.lane) ? \(x.lane) : \(y.lane)")
        case .max: return try make(t, "\(x.lane) > \(y.lane) ? \(x.lane) : \(y.lane)")
        case .div: return try make(t, "\(prefix)div(\(x.lane), \(y.lane))")
        case .mod: return try make(t, "\(prefix)mod(\(x.lane), \(y.lane))")
        case .floorDiv: return try make(t, "\(t.isInt ? "apus_floordiv" : "apus_udiv")(\(x.lane), \(y.lane))")
        case .floorMod: return try make(t, "\(t.isInt ? "apus_floormod" : "apus_umod")(\(x.lane), \(y.lane))")
        default: internalError("\(kind) is not a binary operation")
        }
    }

    private func logical(_ e: BinaryExpr, isAnd: Bool) throws -> Value {
        let bool = DataType.bool.with(lanes: Int(e.dtype.lanes))
        let a = try convert(value(e.a), bool)
        if bool.lanes > 1 {
            let b = try convert(value(e.b), bool)
            return try make(bool, "\(a.lane) \(isAnd ? "&" : "|") \(b.lane)")
        }
        let name = fresh()
        line("uint8_t \(name) = \(a.text);")
        open("if (\(isAnd ? "" : "!")\(name))")
        let b = try convert(value(e.b), bool)
        line("\(name) = \(b.text);")
        close()
        return Value(text: name, dtype: bool)
    }

    /// `v` as type `to`, as `Cast` defines it.
    func convert(_ v: Value, _ to: DataType) throws -> Value {
        let from = v.dtype
        if from.element == to.element { return v }
        guard from.lanes == to.lanes else {
            throw ApusError(
                "TGT022", "a cast changes the number of lanes", at: ["kernel: \(kernel)"],
                expected: "\(from.lanes)",
                actual: "\(to.lanes)")
        }
        let lanes = Int(from.lanes)
        let single = DataType.float32.with(lanes: lanes)
        if from.isFloat, from.bits == 16 {
            let name = from.code == .bfloat ? "apus_from_bfloat" : "apus_from_half"
            return try convert(make(single, "\(name)(\(v.lane))"), to)
        }
        if to.isFloat, to.bits == 16 {
            let name = to.code == .bfloat ? "apus_to_bfloat" : "apus_to_half"
            if from == single { return try make(to, "\(name)(\(v.lane))") }
            let d = try convert(v, DataType.float64.with(lanes: lanes))
            return try make(to, "\(name)(apus_round_to_odd(\(d.lane)))")
        }
        if to.isBool { return try make(to, "\(v.lane) != 0") }
        let type = try typeName(to.element)
        if from.isHandle || to.isHandle { return try make(to, "(\(type))(uintptr_t)\(v.lane)") }
        if from.isFloat, to.isInteger {
            if to.bits < 32 { return try make(to, "(\(type))(int32_t)\(v.lane)") }
            if to.isUInt, to.bits == 32 { return try make(to, "(\(type))(int64_t)\(v.lane)") }
        }
        return try make(to, "(\(type))\(v.lane)")
    }

    // MARK: Calls

    /// The value of a call; nil if it yields none.
    func callValue(_ e: Call) throws -> Value? {
        guard e.name.hasPrefix("tir.") else {
            throw ApusError(
                "TGT022", "generated code cannot call the function `\(e.name)`", at: ["kernel: \(kernel)"],
                hint: "inline it, or export it and use call_extern")
        }
        let name = String(e.name.dropFirst(4))
        if let dot = DotProduct(intrinsic: name) { return try value(dot.expanded(e.args[0], e.args[1])) }
        if let v = try packedCall(name, e) { return v.value }
        if let v = try control(name, e) { return v.value }
        let args = try e.args.map { try single(value($0)) }
        guard let first = args.first else { throw unknown(name, e) }
        let t = first.dtype
        let lanes = Int(t.lanes)
        let x = first.lane
        let y = args.count > 1 ? args[1].lane : ""
        let f = t.bits == 64 ? "" : "f"
        func result(_ text: String) throws -> Value { try convert(make(t, text), e.args[0].dtype) }
        if t.isFloat {
            switch name {
            case "isnan": return try make(.bool.with(lanes: lanes), "\(x) != \(x)")
            case "isinf": return try make(.bool.with(lanes: lanes), "fabs\(f)(\(x)) == INFINITY")
            case "isfinite": return try make(.bool.with(lanes: lanes), "fabs\(f)(\(x)) < INFINITY")
            case "rsqrt": return try result("1 / sqrt\(f)(\(x))")
            case "sigmoid": return try result("1 / (1 + exp\(f)(-\(x)))")
            case "gelu":
                let root = f.isEmpty ? "0.70710678118654752440" : "0.70710678f"
                return try result("\(x) / 2 * (1 + erf\(f)(\(x) * \(root)))")
            case "nearbyint", "round": return try result("nearbyint\(f)(\(x))")
            case "abs": return try result("fabs\(f)(\(x))")
            case "fma": return try result("fma\(f)(\(x), \(y), \(args[2].lane))")
            case "ldexp":
                return try result(
                    "ldexp\(f)(\(x), \(y) > 10000 ? 10000 : \(y) < -10000 ? -10000 : (int)\(y))")
            case "exp10": return try result("exp10\(f)(\(x))")
            case let n where Intrinsics.unaryFloat.contains(n): return try result("\(n)\(f)(\(x))")
            case let n where Intrinsics.binaryFloat.contains(n): return try result("\(n)\(f)(\(x), \(y))")
            default: throw unknown(name, e)
            }
        }
        guard t.isInteger else { throw unknown(name, e) }
        let bits = Int(t.bits)
        switch name {
        case "bitwise_and": return try make(t, "\(x) & \(y)")
        case "bitwise_or": return try make(t, "\(x) | \(y)")
        case "bitwise_xor": return try make(t, "\(x) ^ \(y)")
        case "bitwise_not": return try make(t, t.isBool ? "!\(x)" : "~\(x)")
        case "shift_left": return try make(t, "apus_shl(\(x), \(y), \(bits))")
        case "shift_right": return try make(t, "\(t.isInt ? "apus_sar" : "apus_shr")(\(x), \(y), \(bits))")
        case "popcount":
            return try make(e.dtype, "__builtin_popcountll((uint64_t)\(x) & (~0ull >> (64 - \(bits))))")
        case "clz":
            return try make(e.dtype, "apus_clz((uint64_t)\(x) & (~0ull >> (64 - \(bits))), \(bits))")
        case "abs": return try make(t, t.isUInt ? x : "\(x) < 0 ? -\(x) : \(x)")
        default: throw unknown(name, e)
        }
    }

    private func unknown(_ name: String, _ e: Call) -> ApusError {
        ApusError(
            "TGT022", "the code generator `c` does not know the intrinsic `\(name)`",
            at: ["kernel: \(kernel)"], actual: "\(e)")
    }

    /// Calls that do not simply evaluate their arguments; nil if `name` is none of them.
    private func control(_ name: String, _ e: Call) throws -> (value: Value?, Void)? {
        func malformed(_ expected: String) -> ApusError {
            ApusError(
                "TGT022", "malformed call of `\(e.name)`", at: ["kernel: \(kernel)"], expected: expected,
                actual: "\(e)")
        }
        switch name {
        case "if_then_else":
            guard e.args.count == 3 else { throw malformed("three arguments") }
            let c = try convert(value(e.args[0]), .bool.with(lanes: Int(e.args[0].dtype.lanes)))
            if c.dtype.lanes > 1 {
                let a = try masked(c) { try value(e.args[1]) }
                let b = try masked(make(c.dtype, "!\(c.lane)")) { try value(e.args[2]) }
                return (try make(e.dtype, "\(c.lane) ? \(a.lane) : \(b.lane)"), ())
            }
            let result = fresh()
            line("\(try typeName(e.dtype)) \(result);")
            open("if (\(c.text))")
            line("\(result) = \(try value(e.args[1]).text);")
            close()
            open("else")
            line("\(result) = \(try value(e.args[2]).text);")
            close()
            return (Value(text: result, dtype: e.dtype), ())
        case "likely": return (try convert(value(e.args[0]), .bool.with(lanes: Int(e.dtype.lanes))), ())
        case "reinterpret":
            let v = try value(e.args[0])
            if v.dtype.isHandle || e.dtype.isHandle { return (try convert(v, e.dtype), ()) }
            guard v.dtype.byteCount == e.dtype.byteCount else { throw malformed("types of one size") }
            let result = fresh()
            line("\(try typeName(v.dtype)) \(result)_from = \(v.text);")
            line("\(try typeName(e.dtype)) \(result);")
            line("memcpy(&\(result), &\(result)_from, sizeof \(result));")
            return (Value(text: result, dtype: e.dtype), ())
        case "address_of":
            guard let load = e.args[0] as? BufferLoad else { throw malformed("a buffer element") }
            return (try address(load), ())
        case "prefetch":
            guard let load = e.args[0] as? BufferLoad else { throw malformed("a buffer element") }
            line("__builtin_prefetch(\(try address(load).text), 0, 3);")
            return (nil, ())
        case "storage_sync": return (nil, ())
        case "ret":
            let v = try convert(value(e.args[0]), .int32)
            leave(v.text)
            return (nil, ())
        case "call_extern", "call_pure_extern":
            guard let function = (e.args.first as? StringImm)?.value, !function.isEmpty else {
                throw malformed("a function's name first")
            }
            let args = try e.args.dropFirst().map { try value($0) }
            guard args.allSatisfy({ $0.dtype.lanes == 1 }) else { throw malformed("scalar arguments") }
            let types = try args.map { try typeName($0.dtype) }
            let result = e.dtype.isVoid ? "void" : try typeName(e.dtype)
            // Declared under a name of our own, so that no header's declaration gets in the way.
            let alias = "apus_extern_\(function)"
            try declareExtern(
                function,
                "extern \(result) \(alias)(\(types.isEmpty ? "void" : types.joined(separator: ", "))) "
                    + "__asm__(\(CodeGenC.quoted(function)));\n")
            let call = "\(alias)(\(args.map(\.text).joined(separator: ", ")))"
            if e.dtype.isVoid {
                line("\(call);")
                return (nil, ())
            }
            return (try make(e.dtype, e.dtype.isBool ? "\(call) != 0" : call), ())
        default: return nil
        }
    }

    /// What the expressions above call. Division never traps: by 0 it gives 0, and it wraps.
    static let helpers = """
        extern float exp10f(float);
        extern double exp10(double);
        static inline float apus_f32(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }
        static inline double apus_f64(uint64_t b) { double x; memcpy(&x, &b, 8); return x; }
        static inline uint32_t apus_bits(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
        static inline int64_t apus_sdiv(int64_t a, int64_t b) { return b == 0 ? 0 : b == -1 ? -a : a / b; }
        static inline int64_t apus_smod(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }
        static inline uint64_t apus_udiv(uint64_t a, uint64_t b) { return b == 0 ? 0 : a / b; }
        static inline uint64_t apus_umod(uint64_t a, uint64_t b) { return b == 0 ? 0 : a % b; }
        static inline int64_t apus_floordiv(int64_t a, int64_t b) {
            int64_t q = apus_sdiv(a, b), r = apus_smod(a, b);
            return r != 0 && (r ^ b) < 0 ? q - 1 : q;
        }
        static inline int64_t apus_floormod(int64_t a, int64_t b) {
            int64_t r = apus_smod(a, b);
            return r != 0 && (r ^ b) < 0 ? r + b : r;
        }
        static inline uint64_t apus_shl(uint64_t a, uint64_t n, int bits) {
            return n < (uint64_t)bits ? a << n : 0;
        }
        static inline uint64_t apus_shr(uint64_t a, uint64_t n, int bits) {
            return n < (uint64_t)bits ? a >> n : 0;
        }
        static inline int64_t apus_sar(int64_t a, uint64_t n, int bits) {
            return a >> (n < (uint64_t)bits ? n : (uint64_t)bits - 1);
        }
        static inline int apus_clz(uint64_t a, int bits) {
            return a ? __builtin_clzll(a) - (64 - bits) : bits;
        }
        static inline float apus_from_bfloat(uint16_t h) { return apus_f32((uint32_t)h << 16); }
        static inline uint16_t apus_to_bfloat(float x) {
            uint32_t b = apus_bits(x);
            return (x != x ? b | 0x400000u : b + 0x7FFFu + (b >> 16 & 1)) >> 16;
        }
        static inline float apus_from_half(uint16_t h) {
            uint32_t o = (uint32_t)(h & 0x7FFF) << 13, e = o & 0x7C00u << 13;
            o += 112u << 23;
            if (e == 0x7C00u << 13) o += 112u << 23;
            else if (e == 0) o = apus_bits(apus_f32(o + (1u << 23)) - apus_f32(113u << 23));
            return apus_f32(o | (uint32_t)(h & 0x8000) << 16);
        }
        static inline uint16_t apus_to_half(float x) {
            uint32_t b = apus_bits(x), s = b & 0x80000000u, o;
            b ^= s;
            if (b >= 143u << 23) o = b > 255u << 23 ? 0x7E00 : 0x7C00;
            else if (b < 113u << 23) o = apus_bits(apus_f32(b) + apus_f32(126u << 23)) - (126u << 23);
            else o = (b + (uint32_t)((15 - 127) * (1 << 23)) + 0xFFFu + (b >> 13 & 1)) >> 13;
            return o | s >> 16;
        }
        static inline float apus_round_to_odd(double x) {
            float f = (float)x;
            double e = x - (double)f;
            uint32_t b = apus_bits(f);
            if ((e < 0 || e > 0) && !(b & 1)) b += (e > 0) == (x > 0) ? 1 : -1;
            return apus_f32(b);
        }

        """
}
