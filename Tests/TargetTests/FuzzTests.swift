import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTarget
import Testing

/// Deterministic numbers (Marsaglia's xorshift).
private struct Generator {
    var state: UInt64
    mutating func next(_ n: Int) -> Int {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return Int((state >> 11) % UInt64(n))
    }
}

/// Random expressions of one type over loads; what they are compared with is TIR's interpreter.
private struct ExpressionFuzzer {
    var random: Generator
    let lanes: Int
    let inputs: [DataType: Buffer]
    let at: PrimExpr

    private func wide(_ t: DataType) -> DataType { t.with(lanes: lanes) }
    private func splat(_ e: PrimExpr) -> PrimExpr { lanes == 1 ? e : Broadcast(e, lanes) }

    mutating func constant(_ t: DataType) -> PrimExpr {
        if t.isFloat { return splat(FloatImm(Double(random.next(41) - 20) / 4, dtype: t)) }
        return splat(IntImm(t.isUInt ? random.next(100) : random.next(200) - 100, dtype: t))
    }

    mutating func leaf(_ t: DataType) -> PrimExpr {
        if let b = inputs[t], random.next(3) > 0 { return BufferLoad(b, [at]) }
        return constant(t)
    }

    mutating func condition(_ t: DataType, _ depth: Int) -> PrimExpr {
        let kinds: [PrimExprKind] = [.eq, .ne, .lt, .le, .gt, .ge]
        let c = BinaryExpr.raw(kinds[random.next(6)], expression(t, depth - 1), expression(t, depth - 1))
        switch random.next(5) {
        case 0 where depth > 1: return And(c, condition(t, depth - 1))
        case 1 where depth > 1: return Or(c, condition(t, depth - 1))
        case 2: return Not(c)
        default: return c
        }
    }

    mutating func expression(_ t: DataType, _ depth: Int) -> PrimExpr {
        if depth <= 0 { return leaf(t) }
        let types: [DataType] = [.int64, .int32, .uint8, .int16, .float32, .float64]
        switch random.next(12) {
        case 0...4:
            let kinds: [PrimExprKind] = [.add, .sub, .mul, .min, .max]
            return BinaryExpr.raw(kinds[random.next(5)], expression(t, depth - 1), expression(t, depth - 1))
        case 5 where t.isInteger:
            let kinds: [PrimExprKind] = [.div, .mod, .floorDiv, .floorMod]
            let b = expression(t, depth - 1)
            // Odd, so never 0: there the interpreter stops where code goes on.
            let divisor =
                random.next(2) == 0
                ? bitwise("bitwise_or", b, splat(IntImm(1, dtype: t)))
                : splat(IntImm(1 + random.next(20), dtype: t))
            return BinaryExpr.raw(kinds[random.next(4)], expression(t, depth - 1), divisor)
        case 5: return Div(expression(t, depth - 1), splat(FloatImm(Double(1 + random.next(9)), dtype: t)))
        case 6, 7:
            let other = types[random.next(types.count)]
            let c = condition(other, depth - 1)
            if random.next(2) == 0 {
                return intrinsic(
                    "if_then_else", wide(t), [c, expression(t, depth - 1), expression(t, depth - 1)])
            }
            return Select(c, expression(t, depth - 1), expression(t, depth - 1))
        case 8, 9:
            let other = types[random.next(types.count)]
            var v = expression(other, depth - 1)
            if other.isFloat, t.isInteger {
                // Within every integer type, and a number.
                let isNumber = EQ(v, v)
                v = Max(Min(v, splat(FloatImm(100, dtype: other))), splat(FloatImm(0, dtype: other)))
                v = Select(isNumber, v, splat(FloatImm(3, dtype: other)))
            }
            return other == t ? v : Cast(wide(t), v)
        case 10 where t.isInteger:
            let names = ["bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not"]
            let name = names[random.next(4)]
            let a = expression(t, depth - 1)
            return name == "bitwise_not" ? bitwise(name, a) : bitwise(name, a, expression(t, depth - 1))
        case 10: return unary(["floor", "ceil", "trunc", "fabs"][random.next(4)], expression(t, depth - 1))
        default:
            let v = Var("let", dtype: wide(t))
            let value = expression(t, depth - 1)
            return Let(v, value, Add(v, expression(t, depth - 1)))
        }
    }
}

@Suite struct FuzzTests {
    /// These targets have no multiply-add, so that even floats must agree exactly.
    @Test(arguments: [1, 4], 1...6)
    func expressions(_ lanes: Int, _ seed: Int) throws {
        let n = 16
        let types: [DataType] = [.int64, .int32, .uint8, .int16, .float32, .float64]
        var inputs: [DataType: Buffer] = [:]
        var tensors: [NDArray] = []
        var buffers: [Buffer] = []
        var random = Generator(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1)
        for t in types {
            let b = Buffer("in_\(t)", [n], t)
            inputs[t] = b
            buffers.append(b)
            let values = (0..<n).map { _ in random.next(1000) - (t.isUInt ? 0 : 500) }
            switch t {
            case .int64: tensors.append(NDArray(values.map { Int64($0) << Int64(($0 & 3) * 13) }))
            case .int32: tensors.append(NDArray(values.map { Int32($0) << Int32(($0 & 1) * 16) }))
            case .uint8: tensors.append(NDArray(values.map { UInt8(truncatingIfNeeded: $0) }))
            case .int16: tensors.append(NDArray(values.map { Int16(truncatingIfNeeded: $0 * 77) }))
            case .float32: tensors.append(NDArray(values.map { Float($0) / 8 }))
            default: tensors.append(NDArray(values.map { Double($0) / 3 }))
            }
        }
        let i = Var("i")
        let at: PrimExpr = lanes == 1 ? i : Ramp(i * lanes, IntImm(1), lanes)
        var fuzzer = ExpressionFuzzer(random: random, lanes: lanes, inputs: inputs, at: at)
        var stores: [Stmt] = []
        var outputs: [Buffer] = []
        for k in 0..<12 {
            let t = types[k % types.count]
            let o = Buffer("out\(k)", [n], t)
            outputs.append(o)
            stores.append(BufferStore(o, fuzzer.expression(t, lanes == 1 ? 4 : 3), [at]))
        }
        let f = PrimFunc(
            buffers: buffers + outputs,
            body: For(i, IntImm(0), IntImm(n / lanes), body: SeqStmt(stores)))
        func fresh() -> [NDArray] { outputs.map { NDArray(shape: [n], dtype: $0.dtype) } }
        let want = fresh()
        try TIRInterpreter.run(f, tensors + want)
        // The C compiler is slow: two seeds are enough of it.
        for target in seed <= 2 ? [Target.llvm, try Target("c -mcpu=x86-64")] : [Target.llvm] {
            let got = fresh()
            let module = try buildJIT(functions: [(name: "f", function: f)], target: target)
            try call(module, tensors + got)
            for (k, (a, b)) in zip(want, got).enumerated() {
                let (x, y) = (try a.toDoubles(), try b.toDoubles())
                for j in 0..<n where !(x[j] == y[j] || (x[j].isNaN && y[j].isNaN)) {
                    Issue.record("\(target), seed \(seed), out\(k)[\(j)]: \(y[j]), not \(x[j])\n\(stores[k])")
                    return
                }
            }
        }
    }
}
