import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import CLLVM

extension CodeGenLLVM {
    /// `v` of type `from` as type `to`, as `Cast` defines it; lanes must agree.
    func convert(_ v: LV, _ from: DataType, _ to: DataType) throws -> LV {
        if from.element == to.element { return v }
        let lanes = Int(from.lanes)
        guard to.lanes == from.lanes else {
            throw ApusError(
                "TGT022", "a cast changes the number of lanes", at: ["kernel: \(kernel)"],
                expected: "\(from.lanes)",
                actual: "\(to.lanes)")
        }
        let target = try type(to)
        if from.isHandle || to.isHandle { return pointerCast(v, from, to, target) }
        switch (from.isFloat, to.isFloat) {
        case (false, false):
            if to.isBool { return LLVMBuildICmp(builder, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "") }
            return LLVMBuildIntCast2(builder, v, target, from.isInt ? 1 : 0, "")
        case (true, true):
            if from.bits == 16 {
                let single = from.code == .bfloat ? fromBFloat(v, lanes) : fromHalf(v, lanes)
                return try convert(single, .float32.with(lanes: lanes), to)
            }
            if to.bits == 16 {
                let single = from.bits == 64 ? roundToOdd(v, lanes) : v
                return to.code == .bfloat ? toBFloat(single, lanes) : toHalf(single, lanes)
            }
            return LLVMBuildFPCast(builder, v, target, "")
        case (false, true):
            if to.bits == 16 {
                // Exact in the intermediate type, so that there is one rounding.
                let wideType = DataType(.float, from.bits > 16 ? 64 : 32, lanes: lanes)
                return try convert(convert(v, from, wideType), wideType, to)
            }
            return from.isInt
                ? LLVMBuildSIToFP(builder, v, target, "") : LLVMBuildUIToFP(builder, v, target, "")
        case (true, false):
            if from.bits == 16 {
                let single = DataType.float32.with(lanes: lanes)
                return try convert(convert(v, from, single), single, to)
            }
            if to.isBool { return LLVMBuildFCmp(builder, LLVMRealUNE, v, LLVMConstNull(LLVMTypeOf(v)), "") }
            // Narrow integers wrap, as on every processor that converts to 32 bits; the value of a number out
            // of range is arbitrary but fixed (freeze), never undefined behavior.
            if to.bits < 32 { return LLVMBuildTrunc(builder, toInteger(v, wide(i32, lanes)), target, "") }
            if to.isUInt, to.bits == 32 {
                return LLVMBuildTrunc(builder, toInteger(v, wide(i64, lanes)), target, "")
            }
            if to.isUInt { return LLVMBuildFreeze(builder, LLVMBuildFPToUI(builder, v, target, ""), "") }
            return toInteger(v, target)
        }
    }

    private func toInteger(_ v: LV, _ type: LT) -> LV {
        LLVMBuildFreeze(builder, LLVMBuildFPToSI(builder, v, type, ""), "")
    }

    private func pointerCast(_ v: LV, _ from: DataType, _ to: DataType, _ target: LT) -> LV {
        if from.isHandle {
            return to.isBool
                ? LLVMBuildIsNotNull(builder, v, "") : LLVMBuildPtrToInt(builder, v, target, "")
        }
        return LLVMBuildIntToPtr(builder, v, target, "")
    }

    /// The same bits as another type of the same size.
    func reinterpret(_ v: LV, _ from: DataType, _ to: DataType) throws -> LV {
        let source = from.isBool ? LLVMBuildZExt(builder, v, wide(i8, Int(from.lanes)), "") : v
        if from.isHandle || to.isHandle {
            return pointerCast(v, from, to, try type(to))
        }
        guard from.byteCount == to.byteCount else {
            throw ApusError(
                "TGT022", "reinterpret needs types of one size", at: ["kernel: \(kernel)"],
                expected: "\(from)",
                actual: "\(to)")
        }
        if to.isBool {
            return LLVMBuildICmp(builder, LLVMIntNE, source, LLVMConstNull(LLVMTypeOf(source)), "")
        }
        return LLVMBuildBitCast(builder, source, try type(to), "")
    }

    // MARK: 16-bit floats

    private func bits(_ v: LV, _ lanes: Int) -> LV { LLVMBuildBitCast(builder, v, wide(i32, lanes), "") }
    private func floats(_ v: LV, _ lanes: Int) -> LV { LLVMBuildBitCast(builder, v, wide(float, lanes), "") }
    private func and(_ a: LV, _ b: LV) -> LV { LLVMBuildAnd(builder, a, b, "") }
    private func or(_ a: LV, _ b: LV) -> LV { LLVMBuildOr(builder, a, b, "") }
    private func add(_ a: LV, _ b: LV) -> LV { LLVMBuildAdd(builder, a, b, "") }
    private func pick(_ c: LV, _ a: LV, _ b: LV) -> LV { LLVMBuildSelect(builder, c, a, b, "") }

    private func fromBFloat(_ v: LV, _ lanes: Int) -> LV {
        let t = wide(i32, lanes)
        return floats(LLVMBuildShl(builder, LLVMBuildZExt(builder, v, t, ""), constant(16, t), ""), lanes)
    }

    /// Round to nearest even; NaN stays a NaN.
    private func toBFloat(_ v: LV, _ lanes: Int) -> LV {
        if flushesBFloat, dots.contains(.bf16) {
            let narrow: LV = LLVMBuildFPTrunc(builder, v, wide(bfloat, lanes), "")
            return LLVMBuildBitCast(builder, narrow, wide(i16, lanes), "")
        }
        let t = wide(i32, lanes)
        let b = bits(v, lanes)
        let odd = and(LLVMBuildLShr(builder, b, constant(16, t), ""), constant(1, t))
        let rounded = add(b, add(odd, constant(0x7FFF, t)))
        let isNaN: LV = LLVMBuildFCmp(builder, LLVMRealUNO, v, v, "")
        let high = pick(isNaN, or(b, constant(0x40_0000, t)), rounded)
        return LLVMBuildTrunc(
            builder, LLVMBuildLShr(builder, high, constant(16, t), ""), wide(i16, lanes), "")
    }

    // Without an instruction, the conversions of Fabian Giesen ("float->half variants", public domain, 2016):
    // no branches, so that vectors stay vectors, and no calls into a compiler's support library.
    private func fromHalf(_ v: LV, _ lanes: Int) -> LV {
        if hasHalf {
            let h: LV = LLVMBuildBitCast(builder, v, wide(half, lanes), "")
            return LLVMBuildFPExt(builder, h, wide(float, lanes), "")
        }
        let t = wide(i32, lanes)
        let h: LV = LLVMBuildZExt(builder, v, t, "")
        let magnitude: LV = LLVMBuildShl(builder, and(h, constant(0x7FFF, t)), constant(13, t), "")
        let exponent = and(magnitude, constant(0x7C00 << 13, t))
        let normal = add(magnitude, constant((127 - 15) << 23, t))
        let special = add(normal, constant((128 - 16) << 23, t))
        let shifted = floats(add(normal, constant(1 << 23, t)), lanes)
        let subnormal = bits(
            LLVMBuildFSub(
                builder, shifted, real(Double(Float(bitPattern: 113 << 23)), wide(float, lanes)), ""), lanes)
        let isSpecial: LV = LLVMBuildICmp(builder, LLVMIntEQ, exponent, constant(0x7C00 << 13, t), "")
        let isSmall: LV = LLVMBuildICmp(builder, LLVMIntEQ, exponent, constant(0, t), "")
        let value = pick(isSpecial, special, pick(isSmall, subnormal, normal))
        let sign: LV = LLVMBuildShl(builder, and(h, constant(0x8000, t)), constant(16, t), "")
        return floats(or(value, sign), lanes)
    }

    private func toHalf(_ v: LV, _ lanes: Int) -> LV {
        if hasHalf {
            let h: LV = LLVMBuildFPTrunc(builder, v, wide(half, lanes), "")
            return LLVMBuildBitCast(builder, h, wide(i16, lanes), "")
        }
        let t = wide(i32, lanes)
        let all = bits(v, lanes)
        let sign = and(all, constant(Int(Int32.min), t))
        let f: LV = LLVMBuildXor(builder, all, sign, "")
        let isNaN: LV = LLVMBuildICmp(builder, LLVMIntSGT, f, constant(255 << 23, t), "")
        let large = pick(isNaN, constant(0x7E00, t), constant(0x7C00, t))
        let magic = ((127 - 15) + (23 - 10) + 1) << 23
        let small: LV = LLVMBuildSub(
            builder,
            bits(
                LLVMBuildFAdd(
                    builder, floats(f, lanes),
                    real(Double(Float(bitPattern: UInt32(magic))), wide(float, lanes)), ""),
                lanes), constant(magic, t), "")
        let odd = and(LLVMBuildLShr(builder, f, constant(13, t), ""), constant(1, t))
        let rounded = add(add(f, constant(((15 - 127) << 23) + 0xFFF, t)), odd)
        let normal: LV = LLVMBuildLShr(builder, rounded, constant(13, t), "")
        let isLarge: LV = LLVMBuildICmp(builder, LLVMIntSGE, f, constant((127 + 16) << 23, t), "")
        let isSmall: LV = LLVMBuildICmp(builder, LLVMIntSLT, f, constant(113 << 23, t), "")
        let magnitude = pick(isLarge, large, pick(isSmall, small, normal))
        let result = or(magnitude, LLVMBuildLShr(builder, sign, constant(16, t), ""))
        return LLVMBuildTrunc(builder, result, wide(i16, lanes), "")
    }

    /// float64 to float32, rounded so that a second rounding to a 16-bit type gives what one rounding would:
    /// an inexact result gets an odd last bit (Boldo and Melquiond, "Emulation of FMA and correctly rounded
    /// sums", 2008).
    private func roundToOdd(_ v: LV, _ lanes: Int) -> LV {
        let t = wide(i32, lanes)
        let d = wide(double, lanes)
        let near: LV = LLVMBuildFPTrunc(builder, v, wide(float, lanes), "")
        let error: LV = LLVMBuildFSub(builder, v, LLVMBuildFPExt(builder, near, d, ""), "")
        let b = bits(near, lanes)
        let zero = real(0, d)
        let inexact: LV = LLVMBuildFCmp(builder, LLVMRealONE, error, zero, "")
        let even: LV = LLVMBuildICmp(builder, LLVMIntEQ, and(b, constant(1, t)), constant(0, t), "")
        let up: LV = LLVMBuildFCmp(builder, LLVMRealOGT, error, zero, "")
        let positive: LV = LLVMBuildFCmp(builder, LLVMRealOGT, v, zero, "")
        let away: LV = LLVMBuildICmp(builder, LLVMIntEQ, up, positive, "")
        let moved = add(b, pick(away, constant(1, t), constant(-1, t)))
        return floats(pick(and(inexact, even), moved, b), lanes)
    }
}
