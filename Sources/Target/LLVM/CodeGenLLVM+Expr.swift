import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import CLLVM

extension CodeGenLLVM {
    /// The value of an expression, in registers.
    func value(_ e: PrimExpr) throws -> LV {
        guard let v = try valueOrVoid(e) else {
            throw ApusError(
                "TGT022", "a call without value is used as a value", at: ["kernel: \(kernel)"], actual: "\(e)"
            )
        }
        return v
    }

    /// As `value`; nil for a call that yields nothing.
    func valueOrVoid(_ e: PrimExpr) throws -> LV? {
        switch e.kind {
        case .intImm:
            let t = try type(e.dtype)
            return e.dtype.isHandle ? LLVMConstNull(t) : constant(e.asInt ?? 0, t)
        case .floatImm: return try floatConstant(unsafeDowncast(e, to: FloatImm.self).value, e.dtype)
        case .stringImm: return string(unsafeDowncast(e, to: StringImm.self).value)
        case .variable:
            let v = unsafeDowncast(e, to: Var.self)
            guard let known = frame.values[ObjectIdentifier(v)] else { throw undefined(v) }
            return known
        case .cast:
            let c = unsafeDowncast(e, to: Cast.self)
            var v = try value(c.value)
            var from = c.value.dtype
            if e.dtype.lanes > 1, from.lanes == 1 {
                v = try splat(v, from, Int(e.dtype.lanes))
                from = from.with(lanes: Int(e.dtype.lanes))
            }
            return try convert(v, from, e.dtype)
        case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            if e.kind == .add, let sum = try accumulation(b) { return sum }
            return try binary(e.kind, b.a, b.b)
        case .and, .or: return try logical(unsafeDowncast(e, to: BinaryExpr.self))
        case .not:
            let a = unsafeDowncast(e, to: Not.self).a
            return LLVMBuildNot(
                builder, try convert(value(a), a.dtype, .bool.with(lanes: Int(a.dtype.lanes))), "")
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            let c = try condition(s.condition)
            return LLVMBuildSelect(builder, c, try value(s.trueValue), try value(s.falseValue), "")
        case .bufferLoad: return try load(unsafeDowncast(e, to: BufferLoad.self))
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            let t = r.base.dtype.element
            let base = try splat(value(r.base), t, r.lanes)
            let stride = try splat(value(r.stride), t, r.lanes)
            var steps: [LV?] = []
            let element = try type(t)
            for i in 0..<r.lanes { steps.append(constant(i, element)) }
            let step: LV = r.lanes == 1 ? steps[0]! : LLVMConstVector(&steps, UInt32(r.lanes))
            return LLVMBuildAdd(builder, base, LLVMBuildMul(builder, stride, step, ""), "")
        case .broadcast:
            let b = unsafeDowncast(e, to: Broadcast.self)
            guard b.value.dtype.isScalar else {
                let n = Int(b.value.dtype.lanes)
                let v = try value(b.value)
                return shuffled(v, v, (0..<b.lanes * n).map { $0 % n })
            }
            return try splat(value(b.value), b.value.dtype, b.lanes)
        case .shuffle: return try shuffle(unsafeDowncast(e, to: Shuffle.self))
        case .let:
            // Chains of lets are as long as a program's author likes: a loop, not a recursion.
            var bound: [(key: ObjectIdentifier, old: LV?)] = []
            var body = e
            while body.kind == .let {
                let l = unsafeDowncast(body, to: Let.self)
                let v = try value(l.value)
                bound.append(
                    (key: ObjectIdentifier(l.variable), old: frame.values[ObjectIdentifier(l.variable)]))
                if frame.facts.isNonNegative(l.value) {
                    frame.facts.nonNegative.insert(ObjectIdentifier(l.variable))
                }
                frame.values[ObjectIdentifier(l.variable)] = v
                body = l.body
            }
            let result = try valueOrVoid(body)
            for b in bound.reversed() { frame.values[b.key] = b.old }
            return result
        case .call: return try callValue(unsafeDowncast(e, to: Call.self))
        case .producerLoad, .reduce:
            throw ApusError(
                "TGT020", "the function still has tensor expressions: it was not lowered",
                at: ["kernel: \(kernel)"],
                actual: "\(e)", hint: "run `lower` before the code generator")
        }
    }

    func floatConstant(_ x: Double, _ t: DataType) throws -> LV {
        guard t.bits == 16 else { return real(x, try type(t)) }
        return LLVMConstBitCast(LLVMConstReal(t.code == .bfloat ? bfloat : half, x), i16)
    }

    // MARK: Vectors

    /// A scalar in every lane.
    func splat(_ v: LV, _ t: DataType, _ lanes: Int) throws -> LV {
        lanes <= 1 ? v : splat(v, lanes: lanes)
    }

    func splat(_ v: LV, lanes: Int) -> LV {
        if LLVMIsConstant(v) != 0, LLVMIsAGlobalValue(v) == nil {
            var parts: [LV?] = Array(repeating: v, count: lanes)
            return LLVMConstVector(&parts, UInt32(lanes))
        }
        let vector: LT = LLVMVectorType(LLVMTypeOf(v), UInt32(lanes))
        let poison: LV = LLVMGetPoison(vector)
        let one: LV = LLVMBuildInsertElement(builder, poison, v, index(0), "")
        let zeros: LV = LLVMConstNull(LLVMVectorType(i32, UInt32(lanes)))
        return LLVMBuildShuffleVector(builder, one, poison, zeros, "")
    }

    func shuffled(_ a: LV, _ b: LV, _ picks: [Int]) -> LV {
        var mask: [LV?] = picks.map { int32($0) }
        return LLVMBuildShuffleVector(builder, a, b, LLVMConstVector(&mask, UInt32(picks.count)), "")
    }

    func extract(_ v: LV, _ lane: Int) -> LV { LLVMBuildExtractElement(builder, v, index(lane), "") }
    func insert(_ v: LV, _ x: LV, _ lane: Int) -> LV {
        LLVMBuildInsertElement(builder, v, x, index(lane), "")
    }

    /// A vector made of `lanes` scalars.
    func gather(_ lanes: Int, _ element: LT, _ body: (Int) throws -> LV) rethrows -> LV {
        var v: LV = LLVMGetPoison(LLVMVectorType(element, UInt32(lanes)))
        for i in 0..<lanes { v = insert(v, try body(i), i) }
        return v
    }

    private func shuffle(_ s: Shuffle) throws -> LV {
        let parts = try s.vectors.map { try value($0) }
        let lanes = s.vectors.map { Int($0.dtype.lanes) }
        if s.indices.count > 1, parts.count <= 2, lanes.allSatisfy({ $0 == lanes[0] && $0 > 1 }) {
            return shuffled(parts[0], parts[parts.count - 1], s.indices)
        }
        func lane(_ position: Int) -> LV {
            var rest = position
            for (i, n) in lanes.enumerated() {
                if rest < n { return n == 1 ? parts[i] : extract(parts[i], rest) }
                rest -= n
            }
            return parts[0]
        }
        if s.indices.count == 1 { return lane(s.indices[0]) }
        return gather(s.indices.count, try type(s.dtype.element)) { lane(s.indices[$0]) }
    }

    // MARK: Binary operations

    /// Marks a floating operation as free to become part of a multiply-add.
    func contractible(_ v: LV) -> LV {
        if LLVMIsAInstruction(v) != nil, LLVMCanValueUseFastMathFlags(v) != 0 {
            LLVMSetFastMathFlags(v, UInt32(LLVMFastMathAllowContract))
        }
        return v
    }

    func binary(_ kind: PrimExprKind, _ a: PrimExpr, _ b: PrimExpr) throws -> LV {
        var x = try value(a)
        var y = try value(b)
        let t = a.dtype
        if t.isFloat {
            if t.bits == 16 {
                let wideType = DataType(.float, 32, lanes: Int(t.lanes))
                x = try convert(x, t, wideType)
                y = try convert(y, t, wideType)
            }
            let r = try floating(kind, x, y, constantY: b, constantX: a)
            switch kind {
            case .eq, .ne, .lt, .le, .gt, .ge: return r
            default: return t.bits == 16 ? try convert(r, DataType(.float, 32, lanes: Int(t.lanes)), t) : r
            }
        }
        if t.isHandle, kind != .eq, kind != .ne {
            throw ApusError("TGT022", "arithmetic on pointers", at: ["kernel: \(kernel)"])
        }
        return try integer(kind, x, y, a, b)
    }

    private func floating(
        _ kind: PrimExprKind, _ x: LV, _ y: LV, constantY: PrimExpr, constantX: PrimExpr
    ) throws -> LV {
        switch kind {
        case .add: return contractible(LLVMBuildFAdd(builder, x, y, ""))
        case .sub: return contractible(LLVMBuildFSub(builder, x, y, ""))
        case .mul: return contractible(LLVMBuildFMul(builder, x, y, ""))
        case .div: return LLVMBuildFDiv(builder, x, y, "")
        case .mod: return try libm2("fmod", x, y)
        case .floorDiv: return roundDown(LLVMBuildFDiv(builder, x, y, ""))
        case .floorMod:
            let quotient = roundDown(LLVMBuildFDiv(builder, x, y, ""))
            return LLVMBuildFSub(builder, x, LLVMBuildFMul(builder, y, quotient, ""), "")
        case .min, .max:
            let predicate = kind == .min ? LLVMRealOLT : LLVMRealOGT
            // `a < b ? a : b` is one machine instruction and yields b where either is NaN: enough if a is a
            // number.
            if isNumber(constantX) {
                return LLVMBuildSelect(builder, LLVMBuildFCmp(builder, predicate, x, y, ""), x, y, "")
            }
            if isNumber(constantY) {
                return LLVMBuildSelect(builder, LLVMBuildFCmp(builder, predicate, y, x, ""), y, x, "")
            }
            let r: LV = LLVMBuildSelect(builder, LLVMBuildFCmp(builder, predicate, x, y, ""), x, y, "")
            return LLVMBuildSelect(builder, LLVMBuildFCmp(builder, LLVMRealUNO, x, x, ""), x, r, "")
        case .eq: return LLVMBuildFCmp(builder, LLVMRealOEQ, x, y, "")
        case .ne: return LLVMBuildFCmp(builder, LLVMRealUNE, x, y, "")
        case .lt: return LLVMBuildFCmp(builder, LLVMRealOLT, x, y, "")
        case .le: return LLVMBuildFCmp(builder, LLVMRealOLE, x, y, "")
        case .gt: return LLVMBuildFCmp(builder, LLVMRealOGT, x, y, "")
        case .ge: return LLVMBuildFCmp(builder, LLVMRealOGE, x, y, "")
        default: internalError("\(kind) is not a binary operation")
        }
    }

    private func isNumber(_ e: PrimExpr) -> Bool {
        if let f = e as? FloatImm { return !f.value.isNaN }
        if let b = e as? Broadcast { return isNumber(b.value) }
        return false
    }

    private func roundDown(_ x: LV) -> LV { intrinsic("llvm.floor", [LLVMTypeOf(x)], [x]) }

    private func integer(_ kind: PrimExprKind, _ x: LV, _ y: LV, _ a: PrimExpr, _ b: PrimExpr) throws -> LV {
        let signed = a.dtype.isInt
        func compare(_ s: LLVMIntPredicate, _ u: LLVMIntPredicate) -> LV {
            LLVMBuildICmp(builder, signed ? s : u, x, y, "")
        }
        switch kind {
        case .add:
            return noWrap && signed ? LLVMBuildNSWAdd(builder, x, y, "") : LLVMBuildAdd(builder, x, y, "")
        case .sub:
            return noWrap && signed ? LLVMBuildNSWSub(builder, x, y, "") : LLVMBuildSub(builder, x, y, "")
        case .mul:
            return noWrap && signed ? LLVMBuildNSWMul(builder, x, y, "") : LLVMBuildMul(builder, x, y, "")
        case .div, .mod, .floorDiv, .floorMod: return try division(kind, x, y, a, b)
        case .min: return LLVMBuildSelect(builder, compare(LLVMIntSLT, LLVMIntULT), x, y, "")
        case .max: return LLVMBuildSelect(builder, compare(LLVMIntSGT, LLVMIntUGT), x, y, "")
        case .eq: return LLVMBuildICmp(builder, LLVMIntEQ, x, y, "")
        case .ne: return LLVMBuildICmp(builder, LLVMIntNE, x, y, "")
        case .lt: return compare(LLVMIntSLT, LLVMIntULT)
        case .le: return compare(LLVMIntSLE, LLVMIntULE)
        case .gt: return compare(LLVMIntSGT, LLVMIntUGT)
        case .ge: return compare(LLVMIntSGE, LLVMIntUGE)
        default: internalError("\(kind) is not a binary operation")
        }
    }

    /// The divisor if it is a constant (the same in every lane).
    private func constantDivisor(_ e: PrimExpr) -> Int? {
        if let n = e.asInt { return n }
        if let b = e as? Broadcast { return constantDivisor(b.value) }
        return nil
    }

    /// Integer division. It never traps: a quotient or remainder by 0 is 0, and the smallest number by -1
    /// wraps.
    private func division(_ kind: PrimExprKind, _ x: LV, _ y: LV, _ a: PrimExpr, _ b: PrimExpr) throws -> LV {
        let t: LT = LLVMTypeOf(x)
        let wantsQuotient = kind == .div || kind == .floorDiv
        let known = constantDivisor(b)
        let signed = a.dtype.isInt
        let simple = !signed || ((known ?? 0) > 0 && frame.facts.isNonNegative(a) && IndexFacts.isAffine(a))
        if simple {
            if let known, known != 0 {
                return wantsQuotient ? LLVMBuildUDiv(builder, x, y, "") : LLVMBuildURem(builder, x, y, "")
            }
            let zero: LV = LLVMBuildICmp(builder, LLVMIntEQ, y, LLVMConstNull(t), "")
            let safe: LV = LLVMBuildSelect(builder, zero, constant(1, t), y, "")
            let r: LV =
                wantsQuotient ? LLVMBuildUDiv(builder, x, safe, "") : LLVMBuildURem(builder, x, safe, "")
            return LLVMBuildSelect(builder, zero, LLVMConstNull(t), r, "")
        }
        let floors = kind == .floorDiv || kind == .floorMod
        if let known, known > 0, floors, known & (known - 1) == 0 {
            return wantsQuotient
                ? LLVMBuildAShr(builder, x, constant(known.trailingZeroBitCount, t), "")
                : LLVMBuildAnd(builder, x, constant(known - 1, t), "")
        }
        let isSafe = known != nil && known != 0 && known != -1
        var divisor = y
        var zero: LV?
        var minusOne: LV?
        if !isSafe {
            let z: LV = LLVMBuildICmp(builder, LLVMIntEQ, y, LLVMConstNull(t), "")
            let m: LV = LLVMBuildICmp(builder, LLVMIntEQ, y, constant(-1, t), "")
            divisor = LLVMBuildSelect(builder, LLVMBuildOr(builder, z, m, ""), constant(1, t), y, "")
            zero = z
            minusOne = m
        }
        var q: LV = LLVMBuildSDiv(builder, x, divisor, "")
        var r: LV = LLVMBuildSub(builder, x, LLVMBuildMul(builder, q, divisor, ""), "")
        if floors {
            let inexact: LV = LLVMBuildICmp(builder, LLVMIntNE, r, LLVMConstNull(t), "")
            let opposite: LV = LLVMBuildICmp(
                builder, LLVMIntSLT, LLVMBuildXor(builder, r, divisor, ""), LLVMConstNull(t), "")
            let down: LV = LLVMBuildAnd(builder, inexact, opposite, "")
            q = LLVMBuildSelect(builder, down, LLVMBuildSub(builder, q, constant(1, t), ""), q, "")
            r = LLVMBuildSelect(builder, down, LLVMBuildAdd(builder, r, divisor, ""), r, "")
        }
        guard let zero, let minusOne else { return wantsQuotient ? q : r }
        let atMinusOne: LV = wantsQuotient ? LLVMBuildNeg(builder, x, "") : LLVMConstNull(t)
        let s: LV = LLVMBuildSelect(builder, minusOne, atMinusOne, wantsQuotient ? q : r, "")
        return LLVMBuildSelect(builder, zero, LLVMConstNull(t), s, "")
    }

    /// `and`, `or`: the second side of a scalar one runs only if it must, where running it could do harm.
    private func logical(_ e: BinaryExpr) throws -> LV {
        let isAnd = e.kind == .and
        let bool = DataType.bool.with(lanes: Int(e.dtype.lanes))
        let x = try convert(value(e.a), e.a.dtype, bool)
        if e.dtype.lanes > 1 || !readsMemory(e.b) {
            let y = try convert(value(e.b), e.b.dtype, bool)
            let t: LT = LLVMTypeOf(x)
            return isAnd
                ? LLVMBuildSelect(builder, x, y, LLVMConstNull(t), "")
                : LLVMBuildSelect(builder, x, LLVMConstAllOnes(t), y, "")
        }
        let before = currentBlock
        let more = block()
        let after = block()
        if isAnd { branch(x, more, after) } else { branch(x, after, more) }
        position(more)
        let y = try convert(value(e.b), e.b.dtype, bool)
        let from = currentBlock
        LLVMBuildBr(builder, after)
        position(after)
        return phi([(isAnd ? LLVMConstNull(i1) : LLVMConstInt(i1, 1, 0), before), (y, from)])
    }

    func phi(_ incoming: [(LV, LLVMBasicBlockRef)]) -> LV {
        let p: LV = LLVMBuildPhi(builder, LLVMTypeOf(incoming[0].0), "")
        var values: [LV?] = incoming.map(\.0)
        var blocks: [LLVMBasicBlockRef?] = incoming.map(\.1)
        LLVMAddIncoming(p, &values, &blocks, UInt32(incoming.count))
        return p
    }

    /// Whether evaluating `e` loads or calls.
    func readsMemory(_ e: PrimExpr) -> Bool {
        if e.kind == .bufferLoad { return true }
        if e.kind == .call, let c = e as? Call, effect(of: c) != .pure || c.name.hasSuffix("extern") {
            return true
        }
        var found = false
        forEachChild(of: e) { if !found { found = readsMemory($0) } }
        return found
    }
}
