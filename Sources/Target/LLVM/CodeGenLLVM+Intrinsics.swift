import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import CLLVM

extension CodeGenLLVM {
    /// Unary functions that LLVM lowers for vectors as a whole.
    private static let native: [String: String] = [
        "sqrt": "llvm.sqrt", "floor": "llvm.floor", "ceil": "llvm.ceil", "trunc": "llvm.trunc",
        "nearbyint": "llvm.roundeven", "round": "llvm.roundeven", "fabs": "llvm.fabs",
    ]
    /// Unary functions of the C library: float32 with the suffix `f`.
    private static let library: Set<String> = [
        "exp", "exp2", "exp10", "expm1", "log", "log2", "log10", "log1p", "tanh", "erf", "sin", "cos", "tan",
        "asin",
        "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh",
    ]
    private static let library2: Set<String> = ["pow", "atan2", "fmod", "hypot", "nextafter"]

    /// The value of a call; nil if it yields none.
    func callValue(_ e: Call) throws -> LV? {
        guard e.name.hasPrefix("tir.") else {
            throw ApusError(
                "TGT022", "generated code cannot call the function `\(e.name)`", at: ["kernel: \(kernel)"],
                hint: "inline it, or export it and use call_extern")
        }
        let name = String(e.name.dropFirst(4))
        if let dot = DotProduct(intrinsic: name) { return try dotProduct(dot, e, onto: nil) }
        if let known = try packedCall(name, e) { return known.value }
        if let known = try floatingCall(name, e) { return known }
        if let known = try integerCall(name, e) { return known }
        switch name {
        case "if_then_else": return try ifThenElse(e)
        case "likely":
            let v = try condition(e.args[0])
            if e.dtype.lanes > 1 { return v }
            return intrinsic("llvm.expect", [i1], [v, LLVMConstInt(i1, 1, 0)])
        case "reinterpret": return try reinterpret(value(e.args[0]), e.args[0].dtype, e.dtype)
        case "address_of":
            guard let load = e.args[0] as? BufferLoad else { throw malformed(e, "a buffer element") }
            return try address(load)
        case "prefetch":
            guard let load = e.args[0] as? BufferLoad else { throw malformed(e, "a buffer element") }
            _ = intrinsic("llvm.prefetch", [ptr], [try address(load), int32(0), int32(3), int32(1)])
            return nil
        case "call_extern", "call_pure_extern": return try callExtern(e)
        case "storage_sync": return nil
        case "ret":
            leave(try convert(value(e.args[0]), e.args[0].dtype, .int32))
            position(block())
            return nil
        default:
            throw ApusError(
                "TGT022", "the code generator `llvm` does not know the intrinsic `\(name)`",
                at: ["kernel: \(kernel)"])
        }
    }

    func malformed(_ e: Call, _ expected: String) -> ApusError {
        ApusError(
            "TGT022", "malformed call of `\(e.name)`", at: ["kernel: \(kernel)"], expected: expected,
            actual: "\(e)")
    }

    // MARK: Floating functions

    private func floatingCall(_ name: String, _ e: Call) throws -> LV? {
        guard let t = e.args.first?.dtype, t.isFloat else { return nil }
        let lanes = Int(t.lanes)
        let single = DataType.float32.with(lanes: lanes)
        let computes = t.bits == 16 ? single : t
        func argument(_ i: Int) throws -> LV { try convert(value(e.args[i]), e.args[i].dtype, computes) }
        func result(_ v: LV) throws -> LV { t.bits == 16 ? try convert(v, single, t) : v }
        switch name {
        case "isnan":
            let x = try argument(0)
            return LLVMBuildFCmp(builder, LLVMRealUNO, x, x, "")
        case "isinf", "isfinite":
            let x = try argument(0)
            let magnitude = intrinsic("llvm.fabs", [LLVMTypeOf(x)], [x])
            let infinity = real(.infinity, LLVMTypeOf(x))
            // Ordered and less: false for NaN too.
            return LLVMBuildFCmp(
                builder, name == "isinf" ? LLVMRealOEQ : LLVMRealOLT, magnitude, infinity, "")
        case "reinterpret", "if_then_else", "likely", "address_of", "call_extern", "call_pure_extern", "ret":
            return nil
        case "rsqrt":
            let x = try argument(0)
            let root = intrinsic("llvm.sqrt", [LLVMTypeOf(x)], [x])
            return try result(LLVMBuildFDiv(builder, real(1, LLVMTypeOf(x)), root, ""))
        case "sigmoid":
            let x = try argument(0)
            let one = real(1, LLVMTypeOf(x))
            let power = try libm1("exp", LLVMBuildFNeg(builder, x, ""))
            return try result(LLVMBuildFDiv(builder, one, LLVMBuildFAdd(builder, one, power, ""), ""))
        case "gelu":
            let x = try argument(0)
            let type: LT = LLVMTypeOf(x)
            let inner = try libm1("erf", LLVMBuildFMul(builder, x, real(0.70710678118654752440, type), ""))
            let half = LLVMBuildFMul(builder, x, real(0.5, type), "")
            return try result(
                LLVMBuildFMul(builder, half, LLVMBuildFAdd(builder, real(1, type), inner, ""), ""))
        case "fma":
            let x = try argument(0)
            return try result(intrinsic("llvm.fma", [LLVMTypeOf(x)], [x, try argument(1), try argument(2)]))
        case "copysign":
            let x = try argument(0)
            return try result(intrinsic("llvm.copysign", [LLVMTypeOf(x)], [x, try argument(1)]))
        case "ldexp":
            // The exponent comes as a float; values beyond any range saturate first.
            let x = try argument(0)
            let ft: LT = LLVMTypeOf(x)
            let limit = real(10000, ft)
            var n = try argument(1)
            n = LLVMBuildSelect(builder, LLVMBuildFCmp(builder, LLVMRealOLT, n, limit, ""), n, limit, "")
            let low = real(-10000, ft)
            n = LLVMBuildSelect(builder, LLVMBuildFCmp(builder, LLVMRealOGT, n, low, ""), n, low, "")
            let power: LV = LLVMBuildFPToSI(builder, n, wide(i32, lanes), "")
            return try result(
                lanewise([x, power], LLVMTypeOf(x)) { [self] parts in
                    let scalar: LT = LLVMTypeOf(parts[0])
                    let name = scalar == float ? "ldexpf" : "ldexp"
                    let type = functionType(scalar, [scalar, i32])
                    return call(type, try external(name, type), parts)
                })
        default: break
        }
        if let llvm = CodeGenLLVM.native[name] {
            let x = try argument(0)
            return try result(intrinsic(llvm, [LLVMTypeOf(x)], [x]))
        }
        if CodeGenLLVM.library.contains(name) { return try result(libm1(name, argument(0))) }
        if CodeGenLLVM.library2.contains(name) {
            let x = try argument(0)
            return try result(libm2(name, x, argument(1)))
        }
        if name == "abs" {
            let x = try argument(0)
            return try result(intrinsic("llvm.fabs", [LLVMTypeOf(x)], [x]))
        }
        return nil
    }

    /// `body` on each lane of the arguments.
    private func lanewise(_ args: [LV], _ type: LT, _ body: ([LV]) throws -> LV) rethrows -> LV {
        guard LLVMGetTypeKind(type) == LLVMVectorTypeKind else { return try body(args) }
        return try gather(Int(LLVMGetVectorSize(type)), LLVMGetElementType(type)) { i in
            try body(args.map { extract($0, i) })
        }
    }

    /// A unary function of the C library on each lane.
    func libm1(_ name: String, _ x: LV) throws -> LV { try libm(name, [x]) }

    /// A binary function of the C library on each lane.
    func libm2(_ name: String, _ x: LV, _ y: LV) throws -> LV { try libm(name, [x, y]) }

    private func libm(_ name: String, _ args: [LV]) throws -> LV {
        try lanewise(args, LLVMTypeOf(args[0])) { [self] parts in
            let scalar: LT = LLVMTypeOf(parts[0])
            let type = functionType(scalar, parts.map { _ in scalar })
            let function = try external(scalar == float ? name + "f" : name, type)
            // Errno is nobody's business here: without it a call can be moved out of loops and merged.
            addAttribute(function, "nounwind")
            addAttribute(function, "willreturn")
            addAttribute(function, "memory", 0)
            return call(type, function, parts)
        }
    }

    // MARK: Integer functions

    private func integerCall(_ name: String, _ e: Call) throws -> LV? {
        guard let t = e.args.first?.dtype, t.isInteger else { return nil }
        func argument(_ i: Int) throws -> LV { try value(e.args[i]) }
        switch name {
        case "bitwise_and": return LLVMBuildAnd(builder, try argument(0), try argument(1), "")
        case "bitwise_or": return LLVMBuildOr(builder, try argument(0), try argument(1), "")
        case "bitwise_xor": return LLVMBuildXor(builder, try argument(0), try argument(1), "")
        case "bitwise_not": return LLVMBuildNot(builder, try argument(0), "")
        case "shift_left", "shift_right":
            let x = try argument(0)
            let y = try convert(argument(1), e.args[1].dtype, t)
            return shift(x, y, left: name == "shift_left", t)
        case "popcount":
            let x = try argument(0)
            return try convert(intrinsic("llvm.ctpop", [LLVMTypeOf(x)], [x]), t, e.dtype)
        case "clz":
            let x = try argument(0)
            return try convert(
                intrinsic("llvm.ctlz", [LLVMTypeOf(x)], [x, LLVMConstInt(i1, 0, 0)]), t, e.dtype)
        case "abs":
            let x = try argument(0)
            return t.isUInt ? x : intrinsic("llvm.abs", [LLVMTypeOf(x)], [x, LLVMConstInt(i1, 0, 0)])
        default: return nil
        }
    }

    /// A shift by the type's width or more gives 0, or the sign for a right shift of a signed number.
    private func shift(_ x: LV, _ y: LV, left: Bool, _ t: DataType) -> LV {
        let type: LT = LLVMTypeOf(x)
        let bits = Int(t.bits)
        let inRange: LV = LLVMBuildICmp(builder, LLVMIntULT, y, constant(bits, type), "")
        let n: LV = LLVMBuildSelect(builder, inRange, y, constant(max(0, bits - 1), type), "")
        if !left, t.isInt { return LLVMBuildAShr(builder, x, n, "") }
        let r: LV = left ? LLVMBuildShl(builder, x, n, "") : LLVMBuildLShr(builder, x, n, "")
        return LLVMBuildSelect(builder, inRange, r, LLVMConstNull(type), "")
    }

    // MARK: Control and calls

    /// Evaluates only the chosen side; with a vector condition, loads of each side read only its lanes.
    private func ifThenElse(_ e: Call) throws -> LV {
        guard e.args.count == 3 else { throw malformed(e, "three arguments") }
        let c = try condition(e.args[0])
        if e.args[0].dtype.lanes > 1 {
            var a: LV?
            var b: LV?
            try masked(c) { a = try value(e.args[1]) }
            try masked(LLVMBuildNot(builder, c, "")) { b = try value(e.args[2]) }
            guard let a, let b else { throw malformed(e, "two values") }
            return LLVMBuildSelect(builder, c, a, b, "")
        }
        if !readsMemory(e.args[1]), !readsMemory(e.args[2]) {
            return LLVMBuildSelect(builder, c, try value(e.args[1]), try value(e.args[2]), "")
        }
        let yes = block()
        let no = block()
        let after = block()
        branch(c, yes, no)
        position(yes)
        let a = try value(e.args[1])
        let fromYes = currentBlock
        LLVMBuildBr(builder, after)
        position(no)
        let b = try value(e.args[2])
        let fromNo = currentBlock
        LLVMBuildBr(builder, after)
        position(after)
        return phi([(a, fromYes), (b, fromNo)])
    }

    /// A C function: scalars as they are (a bool as a byte), pointers, texts.
    private func callExtern(_ e: Call) throws -> LV? {
        guard let name = (e.args.first as? StringImm)?.value, !name.isEmpty else {
            throw malformed(e, "a function's name first")
        }
        var types: [LT] = []
        var values: [LV] = []
        for a in e.args.dropFirst() {
            guard a.dtype.lanes == 1 else { throw malformed(e, "scalar arguments") }
            var v = try value(a)
            if a.dtype.isBool { v = LLVMBuildZExt(builder, v, i8, "") }
            types.append(LLVMTypeOf(v))
            values.append(v)
        }
        let result = e.dtype.isVoid ? void : try memoryType(e.dtype)
        let type = functionType(result, types)
        let r = call(type, try external(name, type), values)
        if e.dtype.isVoid { return nil }
        return e.dtype.isBool ? LLVMBuildICmp(builder, LLVMIntNE, r, LLVMConstNull(i8), "") : r
    }
}
