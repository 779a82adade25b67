import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTarget
import Glibc
import Testing

/// `out[k * n + i] = operations[k](a[i], b[i])`, as scalars (lanes 1) or as vectors.
private func table(
    _ a: Buffer, _ b: Buffer, _ out: Buffer, _ n: Int, _ lanes: Int,
    _ operations: [(PrimExpr, PrimExpr) -> PrimExpr]
) -> PrimFunc {
    let i = Var("i")
    let at: PrimExpr = lanes == 1 ? i : Ramp(i * lanes, IntImm(1), lanes)
    var stores: [Stmt] = []
    for (k, op) in operations.enumerated() {
        let place = lanes == 1 ? at + k * n : Ramp(i * lanes + k * n, IntImm(1), lanes)
        let v = op(BufferLoad(a, [at]), BufferLoad(b, [at]))
        stores.append(BufferStore(out, cast(out.dtype.with(lanes: lanes), v), [place]))
    }
    return PrimFunc(buffers: [a, b, out], body: For(i, IntImm(0), IntImm(n / lanes), body: SeqStmt(stores)))
}

private func floorQuotient<T: FixedWidthInteger>(_ a: T, _ b: T) -> T {
    if b == 0 { return 0 }
    let q = a.dividedReportingOverflow(by: b).partialValue
    let r = a.remainderReportingOverflow(dividingBy: b).partialValue
    return r != 0 && (r < 0) != (b < 0) ? q &- 1 : q
}

private func floorRemainder<T: FixedWidthInteger>(_ a: T, _ b: T) -> T {
    if b == 0 { return 0 }
    let r = a.remainderReportingOverflow(dividingBy: b).partialValue
    return r != 0 && (r < 0) != (b < 0) ? r &+ b : r
}

@Suite struct OperatorTests {
    private func integers<T: FixedWidthInteger & NDArrayElement>(
        _ type: T.Type, _ engine: Engine, _ lanes: Int
    ) throws {
        let interesting: [T] = [
            0, 1, 2, 3, 7, 8, 100, T.max, T.max - 1, T.min, T.min &+ 1, T(truncatingIfNeeded: -1),
            T(truncatingIfNeeded: -7), 64, 5, 126,
        ]
        var x: [T] = []
        var y: [T] = []
        for a in interesting {
            for b in interesting {
                x.append(a)
                y.append(b)
            }
        }
        let n = x.count
        let t = T.dtype
        typealias E = (PrimExpr, PrimExpr) -> PrimExpr
        typealias R = (T, T) -> T
        func flag(_ b: Bool) -> T { b ? 1 : 0 }
        var operations: [(name: String, E, R)] = []
        operations.append((name: "add", { Add($0, $1) }, { $0 &+ $1 }))
        operations.append((name: "sub", { Sub($0, $1) }, { $0 &- $1 }))
        operations.append((name: "mul", { Mul($0, $1) }, { $0 &* $1 }))
        operations.append(
            (name: "div", { Div($0, $1) }, { $1 == 0 ? 0 : $0.dividedReportingOverflow(by: $1).partialValue })
        )
        operations.append(
            (
                name: "mod", { Mod($0, $1) },
                { $1 == 0 ? 0 : $0.remainderReportingOverflow(dividingBy: $1).partialValue }
            ))
        operations.append((name: "floordiv", { FloorDiv($0, $1) }, { floorQuotient($0, $1) }))
        operations.append((name: "floormod", { FloorMod($0, $1) }, { floorRemainder($0, $1) }))
        operations.append((name: "min", { Min($0, $1) }, { Swift.min($0, $1) }))
        operations.append((name: "max", { Max($0, $1) }, { Swift.max($0, $1) }))
        operations.append((name: "eq", { EQ($0, $1) }, { flag($0 == $1) }))
        operations.append((name: "ne", { NE($0, $1) }, { flag($0 != $1) }))
        operations.append((name: "lt", { LT($0, $1) }, { flag($0 < $1) }))
        operations.append((name: "le", { LE($0, $1) }, { flag($0 <= $1) }))
        operations.append((name: "gt", { GT($0, $1) }, { flag($0 > $1) }))
        operations.append((name: "ge", { GE($0, $1) }, { flag($0 >= $1) }))
        operations.append((name: "and", { And(LT($0, $1), NE($0, $1)) }, { flag($0 < $1 && $0 != $1) }))
        operations.append((name: "or", { Or(LT($0, $1), EQ($0, $1)) }, { flag($0 < $1 || $0 == $1) }))
        operations.append((name: "not", { Not(LT($0, $1)) }, { flag(!($0 < $1)) }))
        operations.append((name: "select", { Select(LT($0, $1), $0, $1) }, { $0 < $1 ? $0 : $1 }))
        operations.append((name: "bitwise_and", { bitwise("bitwise_and", $0, $1) }, { $0 & $1 }))
        operations.append((name: "bitwise_or", { bitwise("bitwise_or", $0, $1) }, { $0 | $1 }))
        operations.append((name: "bitwise_xor", { bitwise("bitwise_xor", $0, $1) }, { $0 ^ $1 }))
        operations.append((name: "bitwise_not", { a, _ in bitwise("bitwise_not", a) }, { a, _ in ~a }))
        // A negative or large distance shifts everything out.
        func distance(_ b: T) -> Int { b < 0 || b >= T.bitWidth ? T.bitWidth : Int(b) }
        operations.append((name: "shift_left", { bitwise("shift_left", $0, $1) }, { $0 << distance($1) }))
        operations.append((name: "shift_right", { bitwise("shift_right", $0, $1) }, { $0 >> distance($1) }))
        operations.append(
            (name: "popcount", { a, _ in bitwise("popcount", a) }, { a, _ in T(a.nonzeroBitCount) }))
        operations.append((name: "clz", { a, _ in bitwise("clz", a) }, { a, _ in T(a.leadingZeroBitCount) }))
        operations.append((name: "abs", { a, _ in bitwise("abs", a) }, { a, _ in a < 0 ? 0 &- a : a }))
        for c in [T(1), 2, 3, 8, 10, 127] {
            func k(_ e: PrimExpr) -> PrimExpr {
                let imm = IntImm(Int(c), dtype: t)
                return e.dtype.lanes > 1 ? Broadcast(imm, Int(e.dtype.lanes)) : imm
            }
            operations.append((name: "div \(c)", { a, _ in Div(a, k(a)) }, { a, _ in a / c }))
            operations.append((name: "mod \(c)", { a, _ in Mod(a, k(a)) }, { a, _ in a % c }))
            operations.append(
                (name: "floordiv \(c)", { a, _ in FloorDiv(a, k(a)) }, { a, _ in floorQuotient(a, c) }))
            operations.append(
                (name: "floormod \(c)", { a, _ in FloorMod(a, k(a)) }, { a, _ in floorRemainder(a, c) }))
        }
        let a = Buffer("a", [n], t)
        let b = Buffer("b", [n], t)
        let out = Buffer("out", [n * operations.count], t)
        let module = try engine.build(table(a, b, out, n, lanes, operations.map(\.1)))
        let z = NDArray(shape: [n * operations.count], dtype: t)
        try call(module, [NDArray(x), NDArray(y), z])
        let got: [T] = try z.toArray()
        for (k, op) in operations.enumerated() {
            for i in 0..<n where got[k * n + i] != op.2(x[i], y[i]) {
                Issue.record(
                    "\(op.name)(\(x[i]), \(y[i])) x\(lanes): \(got[k * n + i]), not \(op.2(x[i], y[i]))"
                )
                return
            }
        }
    }

    @Test(arguments: Engine.combinations)
    func everyInteger(_ engine: Engine, _ lanes: Int) throws {
        try integers(Int8.self, engine, lanes)
        try integers(Int16.self, engine, lanes)
        try integers(Int32.self, engine, lanes)
        try integers(Int64.self, engine, lanes)
        try integers(UInt8.self, engine, lanes)
        try integers(UInt16.self, engine, lanes)
        try integers(UInt32.self, engine, lanes)
        try integers(UInt64.self, engine, lanes)
    }

    private func floats<T: BinaryFloatingPoint & NDArrayElement>(
        _ type: T.Type, _ engine: Engine, _ lanes: Int
    ) throws {
        let interesting: [T] = [
            0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, 3.25, -7.75, 100, T.greatestFiniteMagnitude,
            T.leastNormalMagnitude, T.leastNonzeroMagnitude, T.infinity, -T.infinity, T.nan, 0.1, -0.3, 1000,
        ]
        var x: [T] = []
        var y: [T] = []
        for a in interesting {
            for b in interesting {
                x.append(a)
                y.append(b)
            }
        }
        let n = x.count
        let t = T.dtype
        func flag(_ b: Bool) -> T { b ? 1 : 0 }
        typealias E = (PrimExpr, PrimExpr) -> PrimExpr
        typealias R = (T, T) -> T
        var operations: [(name: String, E, R)] = []
        operations.append((name: "add", { Add($0, $1) }, { $0 + $1 }))
        operations.append((name: "sub", { Sub($0, $1) }, { $0 - $1 }))
        operations.append((name: "mul", { Mul($0, $1) }, { $0 * $1 }))
        operations.append((name: "div", { Div($0, $1) }, { $0 / $1 }))
        operations.append((name: "mod", { Mod($0, $1) }, { $0.truncatingRemainder(dividingBy: $1) }))
        operations.append(
            (
                name: "floordiv", { FloorDiv($0, $1) },
                { a, b in
                    // 16-bit types round once, after the floor of the float32 quotient.
                    T.self == Float16.self ? T((Float(a) / Float(b)).rounded(.down)) : (a / b).rounded(.down)
                }
            ))
        operations.append((name: "min", { Min($0, $1) }, { $0.isNaN || $1.isNaN ? .nan : Swift.min($0, $1) }))
        operations.append((name: "max", { Max($0, $1) }, { $0.isNaN || $1.isNaN ? .nan : Swift.max($0, $1) }))
        func zero(_ e: PrimExpr) -> PrimExpr {
            let c = FloatImm(0, dtype: t)
            return e.dtype.lanes > 1 ? Broadcast(c, Int(e.dtype.lanes)) : c
        }
        operations.append(
            (name: "relu", { a, _ in Max(a, zero(a)) }, { a, _ in a.isNaN ? .nan : a > 0 ? a : 0 }))
        operations.append(
            (name: "relu left", { a, _ in Min(zero(a), a) }, { a, _ in a.isNaN ? .nan : a < 0 ? a : 0 }))
        operations.append((name: "eq", { EQ($0, $1) }, { flag($0 == $1) }))
        operations.append((name: "ne", { NE($0, $1) }, { flag($0 != $1) }))
        operations.append((name: "lt", { LT($0, $1) }, { flag($0 < $1) }))
        operations.append((name: "le", { LE($0, $1) }, { flag($0 <= $1) }))
        operations.append((name: "gt", { GT($0, $1) }, { flag($0 > $1) }))
        operations.append((name: "ge", { GE($0, $1) }, { flag($0 >= $1) }))
        operations.append((name: "select", { Select(LT($0, $1), $1, $0) }, { $0 < $1 ? $1 : $0 }))
        operations.append((name: "floor", { a, _ in unary("floor", a) }, { a, _ in a.rounded(.down) }))
        operations.append((name: "ceil", { a, _ in unary("ceil", a) }, { a, _ in a.rounded(.up) }))
        operations.append((name: "trunc", { a, _ in unary("trunc", a) }, { a, _ in a.rounded(.towardZero) }))
        operations.append(
            (name: "round", { a, _ in unary("round", a) }, { a, _ in a.rounded(.toNearestOrEven) }))
        operations.append(
            (name: "nearbyint", { a, _ in unary("nearbyint", a) }, { a, _ in a.rounded(.toNearestOrEven) }))
        operations.append((name: "fabs", { a, _ in unary("fabs", a) }, { a, _ in a.magnitude }))
        operations.append((name: "sqrt", { a, _ in unary("sqrt", a) }, { a, _ in a.squareRoot() }))
        operations.append(
            (
                name: "copysign", { intrinsic("copysign", $0.dtype, [$0, $1]) },
                {
                    T(
                        sign: $1.sign, exponentBitPattern: $0.exponentBitPattern,
                        significandBitPattern: $0.significandBitPattern)
                }
            ))
        let bool: (PrimExpr) -> DataType = { .bool.with(lanes: Int($0.dtype.lanes)) }
        operations.append(
            (name: "isnan", { a, _ in intrinsic("isnan", bool(a), [a]) }, { a, _ in flag(a.isNaN) }))
        operations.append(
            (name: "isinf", { a, _ in intrinsic("isinf", bool(a), [a]) }, { a, _ in flag(a.isInfinite) }))
        operations.append(
            (name: "isfinite", { a, _ in intrinsic("isfinite", bool(a), [a]) }, { a, _ in flag(a.isFinite) }))
        let a = Buffer("a", [n], t)
        let b = Buffer("b", [n], t)
        let out = Buffer("out", [n * operations.count], t)
        let module = try engine.build(table(a, b, out, n, lanes, operations.map(\.1)))
        let z = NDArray(shape: [n * operations.count], dtype: t)
        try call(module, [NDArray(x), NDArray(y), z])
        let got: [T] = try z.toArray()
        for (k, op) in operations.enumerated() {
            for i in 0..<n {
                let want = op.2(x[i], y[i])
                if got[k * n + i] == want || (want.isNaN && got[k * n + i].isNaN) { continue }
                Issue.record("\(op.name)(\(x[i]), \(y[i])) of \(t) x\(lanes): \(got[k * n + i]), not \(want)")
                return
            }
        }
    }

    @Test(arguments: Engine.combinations)
    func everyFloat(_ engine: Engine, _ lanes: Int) throws {
        try floats(Float.self, engine, lanes)
        try floats(Double.self, engine, lanes)
        try floats(Float16.self, engine, lanes)
    }

    @Test(arguments: Engine.code, [1, 8])
    func bfloat16(_ engine: Engine, _ lanes: Int) throws {
        let values: [Double] = [
            0, 1, -1, 0.1, 3.14159, -2.71828, 1e30, 1e-30, 255.5, -0.007, 12345, .infinity, 1e-39, 100, 7,
            0.3,
        ]
        let n = 16
        let a = Buffer("a", [n], .bfloat16)
        let b = Buffer("b", [n], .bfloat16)
        let out = Buffer("out", [n * 4], .bfloat16)
        let f = table(
            a, b, out, n, lanes, [{ Add($0, $1) }, { Mul($0, $1) }, { Sub($0, $1) }, { Div($0, $1) }])
        func encode(_ v: Double) -> UInt16 {
            UInt16(Float(FloatImm(v, dtype: .bfloat16).value).bitPattern >> 16)
        }
        func tensor(_ v: [Double]) -> NDArray {
            let t = NDArray(shape: [v.count], dtype: .bfloat16)
            for (i, x) in v.enumerated() {
                t.data.storeBytes(of: encode(x), toByteOffset: 2 * i, as: UInt16.self)
            }
            return t
        }
        let other = Array(values.reversed())
        let z = NDArray(shape: [n * 4], dtype: .bfloat16)
        try call(engine.build(f), [tensor(values), tensor(other), z])
        for i in 0..<n {
            let x = Float(FloatImm(values[i], dtype: .bfloat16).value)
            let y = Float(FloatImm(other[i], dtype: .bfloat16).value)
            for (k, want) in [x + y, x * y, x - y, x / y].enumerated() {
                let bits = z.data.load(fromByteOffset: 2 * (k * n + i), as: UInt16.self)
                let got = Float(bitPattern: UInt32(bits) << 16)
                let expected = Float(FloatImm(Double(want), dtype: .bfloat16).value)
                #expect(got == expected || (got.isNaN && expected.isNaN), "op \(k) of \(x), \(y)")
            }
        }
    }

    /// Every float16 pattern, there and back, and every kind of rounding.
    @Test(arguments: Engine.code, [1, 16])
    func halfConversions(_ engine: Engine, _ lanes: Int) throws {
        let n = 65536
        let h = Buffer("h", [n], .float16)
        let s = Buffer("s", [n], .float32)
        let widen = vectorOrScalar([h], s, n, lanes) {
            cast(.float32.with(lanes: lanes), BufferLoad(h, [$0]))
        }
        let all: [Float16] = (0..<n).map { Float16(bitPattern: UInt16($0)) }
        let wide = NDArray(shape: [n], dtype: .float32)
        try call(engine.build(widen), [NDArray(all), wide])
        let got: [Float] = try wide.toArray()
        for i in 0..<n where got[i] != Float(all[i]) && !all[i].isNaN { Issue.record("\(i): \(got[i])") }
        for i in 0..<n where all[i].isNaN { #expect(got[i].isNaN) }

        let d = Buffer("d", [n], .float64)
        let o = Buffer("o", [2 * n], .float16)
        let i = Var("i")
        let at: PrimExpr = lanes == 1 ? i : Ramp(i * lanes, IntImm(1), lanes)
        let at2: PrimExpr = lanes == 1 ? i + n : Ramp(i * lanes + n, IntImm(1), lanes)
        let half = DataType.float16.with(lanes: lanes)
        let body = SeqStmt([
            BufferStore(o, cast(half, BufferLoad(s, [at])), [at]),
            BufferStore(o, cast(half, BufferLoad(d, [at])), [at2]),
        ])
        let narrow = PrimFunc(buffers: [s, d, o], body: For(i, IntImm(0), IntImm(n / lanes), body: body))
        // Between neighbours: below, at and above the middle, by less than a float32 can tell from it.
        var singles: [Float] = []
        var doubles: [Double] = []
        for k in 0..<n {
            let v = Double(Float16(bitPattern: UInt16(k)))
            let next = Double(Float16(bitPattern: UInt16(k) &+ 1))
            let middle = v.isFinite && next.isFinite ? (v + next) / 2 : v
            singles.append(Float(middle))
            doubles.append(k % 3 == 0 ? middle : k % 3 == 1 ? middle.nextUp : middle.nextDown)
        }
        let z = NDArray(shape: [2 * n], dtype: .float16)
        try call(engine.build(narrow), [NDArray(singles), NDArray(doubles), z])
        let halves: [Float16] = try z.toArray()
        var bad = 0
        for k in 0..<n {
            let a = Float16(singles[k])
            let b = Float16(doubles[k])
            if halves[k] != a && !(a.isNaN && halves[k].isNaN) { bad += 1 }
            if halves[n + k] != b && !(b.isNaN && halves[n + k].isNaN) { bad += 1 }
        }
        #expect(bad == 0)
    }

    private func vectorOrScalar(
        _ inputs: [Buffer], _ out: Buffer, _ n: Int, _ lanes: Int, _ body: (PrimExpr) -> PrimExpr
    ) -> PrimFunc {
        lanes == 1 ? elementwise(inputs, out, n) { body($0) } : vectorwise(inputs, out, n, lanes, body)
    }

    /// Each type to each other type, for values that both can hold.
    @Test(arguments: Engine.code, [1, 4])
    func casts(_ engine: Engine, _ lanes: Int) throws {
        let types: [DataType] = [
            .int8, .int16, .int32, .int64, .uint8, .uint16, .uint32, .uint64, .float16, .float32, .float64,
            .bfloat16, .bool,
        ]
        let values: [Double] = [0, 1, 2, 3, 100, 64, 127, 5, 7, 8, 17, 33]
        let n = values.count
        let a = Buffer("a", [n], .float64)
        let out = Buffer("out", [n * types.count * types.count], .float64)
        var stores: [Stmt] = []
        let i = Var("i")
        func place(_ k: Int) -> PrimExpr { lanes == 1 ? i + k : Ramp(i * lanes + k, IntImm(1), lanes) }
        for (f, from) in types.enumerated() {
            for (t, to) in types.enumerated() {
                let v = Cast(from.with(lanes: lanes), BufferLoad(a, [place(0)]))
                let w = Cast(DataType.float64.with(lanes: lanes), Cast(to.with(lanes: lanes), v))
                stores.append(BufferStore(out, w, [place((f * types.count + t) * n)]))
            }
        }
        let function = PrimFunc(
            buffers: [a, out], body: For(i, IntImm(0), IntImm(n / lanes), body: SeqStmt(stores)))
        let z = NDArray(shape: [n * types.count * types.count], dtype: .float64)
        try call(engine.build(function), [NDArray(values), z])
        let got: [Double] = try z.toArray()
        for (f, from) in types.enumerated() {
            for (t, to) in types.enumerated() {
                for (j, v) in values.enumerated() {
                    let want = from.isBool || to.isBool ? (v != 0 ? 1 : 0) : v
                    #expect(got[(f * types.count + t) * n + j] == want, "\(from) to \(to): \(v)")
                }
            }
        }
    }

    @Test(arguments: Engine.code)
    func truncation(_ engine: Engine) throws {
        let a = Buffer("a", [8], .float32)
        let b = Buffer("b", [8], .int32)
        let f = vectorwise([a], b, 8, 8) { Cast(.int32.with(lanes: 8), BufferLoad(a, [$0])) }
        let z = NDArray(shape: [8], dtype: .int32)
        try call(engine.build(f), [NDArray([1.9, -1.9, 0.5, -0.5, 2.5, 1e6, -3.999, 7] as [Float]), z])
        #expect(try z.toArray(Int32.self) == [1, -1, 0, 0, 2, 1_000_000, -3, 7])
        let c = Buffer("c", [8], .int32)
        let d = Buffer("d", [8], .uint8)
        let g = vectorwise([c], d, 8, 8) { Cast(.uint8.with(lanes: 8), BufferLoad(c, [$0])) }
        let w = NDArray(shape: [8], dtype: .uint8)
        try call(engine.build(g), [NDArray([0, 255, 256, -1, -128, 511, 65536, 3] as [Int32]), w])
        #expect(try w.toArray(UInt8.self) == [0, 255, 0, 255, 128, 255, 0, 3])
    }

    /// Every function of floats against the C library in float64.
    @Test(arguments: Engine.code, [1, 8])
    func functions(_ engine: Engine, _ lanes: Int) throws {
        typealias R = (Double) -> Double
        var unaryTable: [(name: String, R)] = []
        unaryTable.append((name: "exp", { Glibc.exp($0) }))
        unaryTable.append((name: "exp2", { Glibc.exp2($0) }))
        unaryTable.append((name: "exp10", { Glibc.pow(10, $0) }))
        unaryTable.append((name: "expm1", { Glibc.expm1($0) }))
        unaryTable.append((name: "log", { Glibc.log($0) }))
        unaryTable.append((name: "log2", { Glibc.log2($0) }))
        unaryTable.append((name: "log10", { Glibc.log10($0) }))
        unaryTable.append((name: "log1p", { Glibc.log1p($0) }))
        unaryTable.append((name: "rsqrt", { 1 / Glibc.sqrt($0) }))
        unaryTable.append((name: "tanh", { Glibc.tanh($0) }))
        unaryTable.append((name: "sigmoid", { 1 / (1 + Glibc.exp(-$0)) }))
        unaryTable.append((name: "erf", { Glibc.erf($0) }))
        unaryTable.append((name: "gelu", { $0 * 0.5 * (1 + Glibc.erf($0 * 0.5.squareRoot())) }))
        unaryTable.append((name: "sin", { Glibc.sin($0) }))
        unaryTable.append((name: "cos", { Glibc.cos($0) }))
        unaryTable.append((name: "tan", { Glibc.tan($0) }))
        unaryTable.append((name: "asin", { Glibc.asin($0) }))
        unaryTable.append((name: "acos", { Glibc.acos($0) }))
        unaryTable.append((name: "atan", { Glibc.atan($0) }))
        unaryTable.append((name: "sinh", { Glibc.sinh($0) }))
        unaryTable.append((name: "cosh", { Glibc.cosh($0) }))
        unaryTable.append((name: "asinh", { Glibc.asinh($0) }))
        unaryTable.append((name: "acosh", { Glibc.acosh($0) }))
        unaryTable.append((name: "atanh", { Glibc.atanh($0) }))
        let binaryNames = ["pow", "atan2", "fmod", "hypot", "ldexp", "nextafter"]
        for t in [DataType.float32, .float64] {
            let values: [Double] = [
                0.1, 0.5, 0.9, 1.0, 1.5, 2.0, 3.0, 10.0, -0.5, -1.25, -2, 0.25, 0.01, 7.5, -8, 0,
            ]
            let n = values.count
            let a = Buffer("a", [n], t)
            let b = Buffer("b", [n], t)
            let out = Buffer("out", [n * (unaryTable.count + binaryNames.count + 1)], t)
            var ops: [(PrimExpr, PrimExpr) -> PrimExpr] = []
            for u in unaryTable { ops.append { x, _ in unary(u.name, x) } }
            for name in binaryNames { ops.append { intrinsic(name, $0.dtype, [$0, $1]) } }
            ops.append { intrinsic("fma", $0.dtype, [$0, $1, $0]) }
            let z = NDArray(shape: [n * ops.count], dtype: t)
            let other = Array(values.reversed())
            func tensor(_ v: [Double]) -> NDArray {
                t == .float32 ? NDArray(v.map { Float($0) }) : NDArray(v)
            }
            try call(engine.build(table(a, b, out, n, lanes, ops)), [tensor(values), tensor(other), z])
            let got = try z.toDoubles()
            let tolerance = t == .float32 ? 4e-6 : 1e-14
            for i in 0..<n {
                let x = t == .float32 ? Double(Float(values[i])) : values[i]
                let y = t == .float32 ? Double(Float(other[i])) : other[i]
                var want = unaryTable.map { $0.1(x) }
                want += [Glibc.pow(x, y), Glibc.atan2(x, y), Glibc.fmod(x, y), Glibc.hypot(x, y)]
                want += [x * Glibc.exp2(y.rounded(.towardZero))]
                want += [t == .float32 ? Double(Glibc.nextafterf(Float(x), Float(y))) : Glibc.nextafter(x, y)]
                want += [x * y + x]
                for (k, w) in want.enumerated() {
                    let g = got[k * n + i]
                    let close =
                        g == w || (g.isNaN && w.isNaN)
                        || Swift.abs(g - w) <= tolerance * Swift.max(1, Swift.abs(w))
                    let name = k < unaryTable.count ? unaryTable[k].name : "binary \(k - unaryTable.count)"
                    #expect(close, "\(name)(\(x), \(y)) = \(g), not \(w)")
                }
            }
        }
    }

    @Test(arguments: Engine.code, [1, 4])
    func reinterpretAndLikely(_ engine: Engine, _ lanes: Int) throws {
        let a = Buffer("a", [8], .float32)
        let b = Buffer("b", [8], .int32)
        let f = vectorOrScalar([a], b, 8, lanes) { at in
            let x = BufferLoad(a, [at])
            let bits = intrinsic("reinterpret", .int32.with(lanes: lanes), [x])
            let zero: PrimExpr = lanes == 1 ? FloatImm(0) : Broadcast(FloatImm(0), lanes)
            let c = intrinsic("likely", .bool.with(lanes: lanes), [GT(x, zero)])
            return Select(c, bits, Sub(bits, bits))
        }
        let x: [Float] = [1, 2, -3, 0.5, -0.0, 7, 100, -1]
        let z = NDArray(shape: [8], dtype: .int32)
        try call(engine.build(f), [NDArray(x), z])
        #expect(try z.toArray(Int32.self) == x.map { $0 > 0 ? Int32(bitPattern: $0.bitPattern) : 0 })
    }
}
