import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR
import ApusTIRTransforms
import Glibc
import Testing

/// Runs a float32 function of one argument, lowered, over many values at once.
private func run(_ name: String, _ values: [Float], useFMA: Bool = true) throws -> [Float] {
    let n = values.count
    let x = Buffer("x", [n])
    let y = Buffer("y", [n])
    let i = Var("i")
    let body = For(i, IntImm(0), IntImm(n), body: BufferStore(y, unary(name, BufferLoad(x, [i])), [i]))
    let f = lowerIntrin(PrimFunc(buffers: [x, y], body: body), useFMA: useFMA)
    let a = NDArray(values, shape: [n])
    let b = NDArray(shape: [n], dtype: .float32)
    try TIRInterpreter.run(f, [a, b])
    return try b.toArray(Float.self)
}

/// Distance in units of the last place of the correctly rounded result.
private func ulps(_ got: Float, _ want: Double) -> Double {
    let w = Float(want)
    if got == w || (got.isNaN && w.isNaN) { return 0 }
    if w.isInfinite || got.isInfinite || got.isNaN { return .infinity }
    return abs(Double(got) - want) / Double(max(w.ulp, Float.leastNonzeroMagnitude))
}

private func samples(_ range: ClosedRange<Float>, _ n: Int) -> [Float] {
    var out: [Float] = []
    for i in 0..<n {
        out.append(range.lowerBound + (range.upperBound - range.lowerBound) * Float(i) / Float(n - 1))
    }
    return out
}

/// Values of every binade, both signs if `signed`.
private func binades(signed: Bool) -> [Float] {
    var r = Random(5)
    var out: [Float] = []
    for e in 0..<255 {
        for _ in 0..<24 {
            let bits = UInt32(e) << 23 | UInt32(r.below(1 << 23))
            out.append(Float(bitPattern: bits))
            if signed { out.append(-Float(bitPattern: bits)) }
        }
    }
    return out
}

@Suite struct LowerIntrinTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let reference: @Sendable (Double) -> Double
        let limit: Double
        let range: ClosedRange<Float>
        var isRelativeToArgument = false
        var testDescription: String { name }

        func error(_ got: Float, at x: Float) -> Double {
            let want = reference(Double(x))
            if !isRelativeToArgument { return ulps(got, want) }
            return abs(Double(got) - want) / Double(max(x.ulp, Float.leastNonzeroMagnitude))
        }
    }

    static let cases: [Case] =
        [
            Case(name: "exp", reference: { Glibc.exp($0) }, limit: 2, range: -103.5...88.7),
            Case(name: "log", reference: { Glibc.log($0) }, limit: 2, range: 0.0001...1000),
            Case(name: "tanh", reference: { Glibc.tanh($0) }, limit: 4, range: -12...12),
            Case(name: "sigmoid", reference: { 1 / (1 + Glibc.exp(-$0)) }, limit: 4, range: -87...40),
            Case(name: "erf", reference: { Glibc.erf($0) }, limit: 2, range: -5...5),
            Case(
                name: "gelu", reference: { $0 * 0.5 * (1 + Glibc.erf($0 * 0.5.squareRoot())) }, limit: 4,
                range: -20...20, isRelativeToArgument: true),
            Case(name: "rsqrt", reference: { 1 / $0.squareRoot() }, limit: 2, range: 0.0001...10000),
        ] + others

    /// Those whose special values are the C library's.
    static let others: [Case] = [
        Case(name: "sin", reference: { Glibc.sin($0) }, limit: 2, range: -1e38...1e38),
        Case(name: "cos", reference: { Glibc.cos($0) }, limit: 2, range: -1e38...1e38),
        Case(name: "tan", reference: { Glibc.tan($0) }, limit: 3, range: -1e38...1e38),
        Case(name: "exp2", reference: { Glibc.exp2($0) }, limit: 1, range: -150...128),
        Case(name: "expm1", reference: { Glibc.expm1($0) }, limit: 2, range: -90...88.7),
        Case(name: "log2", reference: { Glibc.log2($0) }, limit: 2, range: 0.0001...1000),
        Case(name: "log10", reference: { Glibc.log10($0) }, limit: 2, range: 0.0001...1000),
        Case(name: "log1p", reference: { Glibc.log1p($0) }, limit: 2, range: -0.99999...1000),
        Case(name: "asin", reference: { Glibc.asin($0) }, limit: 3, range: -1...1),
        Case(name: "acos", reference: { Glibc.acos($0) }, limit: 2, range: -1...1),
        Case(name: "atan", reference: { Glibc.atan($0) }, limit: 2, range: -100...100),
        Case(name: "sinh", reference: { Glibc.sinh($0) }, limit: 2, range: -89.4...89.4),
        Case(name: "cosh", reference: { Glibc.cosh($0) }, limit: 2, range: -89.4...89.4),
        Case(name: "asinh", reference: { Glibc.asinh($0) }, limit: 3, range: -1e38...1e38),
        Case(name: "acosh", reference: { Glibc.acosh($0) }, limit: 3, range: 1...1000),
        Case(name: "atanh", reference: { Glibc.atanh($0) }, limit: 3, range: -1...1),
    ]

    @Test("the error stays below its bound", arguments: cases)
    func accuracy(_ c: Case) throws {
        var values = samples(c.range, 20001)
        let positive = c.range.lowerBound > 0 && c.name != "acosh"
        values += binades(signed: !positive).filter { c.range.contains($0) || (positive && $0 > 0) }
        let got = try run(c.name, values)
        var worst = 0.0
        var at: Float = 0
        for (x, y) in zip(values, got) {
            let e = c.error(y, at: x)
            if e > worst {
                worst = e
                at = x
            }
        }
        #expect(worst <= c.limit, "\(c.name)(\(at)): \(worst) ulp")
    }

    @Test func withoutFMA() throws {
        for c in Self.cases where c.name != "rsqrt" {
            let values = samples(c.range, 2001)
            for (x, y) in zip(values, try run(c.name, values, useFMA: false)) {
                #expect(c.error(y, at: x) <= c.limit + 2, "\(c.name)(\(x))")
            }
        }
    }

    @Test func specialValues() throws {
        let inf = Float.infinity
        let special: [Float] = [inf, -inf, .nan, 0, -0.0, 1e-45, -1e-45, 1e-40, .greatestFiniteMagnitude]
        func check(_ name: String, _ want: [Float]) throws {
            let got = try run(name, special)
            for i in special.indices {
                let same = got[i] == want[i] || (got[i].isNaN && want[i].isNaN)
                #expect(
                    same && (got[i] != 0 || got[i].sign == want[i].sign), "\(name)(\(special[i])) = \(got[i])"
                )
            }
        }
        try check("exp", [inf, 0, .nan, 1, 1, 1, 1, 1, inf])
        try check(
            "log",
            [
                inf, .nan, .nan, -inf, -inf, Float(Glibc.log(Double(Float(1e-45)))), .nan,
                Float(Glibc.log(Double(Float(1e-40)))), 88.72284,
            ])
        try check("tanh", [1, -1, .nan, 0, -0.0, 1e-45, -1e-45, 1e-40, 1])
        try check("sigmoid", [1, 0, .nan, 0.5, 0.5, 0.5, 0.5, 0.5, 1])
        try check(
            "erf",
            [
                1, -1, .nan, 0, -0.0, Float(Glibc.erf(Double(Float(1e-45)))),
                Float(Glibc.erf(Double(Float(-1e-45)))),
                Float(Glibc.erf(Double(Float(1e-40)))), 1,
            ])
        // Half of the smallest number, and -inf times 0.
        try check("gelu", [inf, .nan, .nan, 0, 0, 0, 0, 5e-41, .greatestFiniteMagnitude])
    }

    @Test("special values are the C library's", arguments: others)
    func specialValuesOfOthers(_ c: Case) throws {
        let special: [Float] = [
            .infinity, -.infinity, .nan, 0, -0.0, 0x1p-149, -0x1p-149, 0x1p-130, 1, -1, 0.5, -0.5, 2, -2, 1.5,
            .greatestFiniteMagnitude, -.greatestFiniteMagnitude, .leastNormalMagnitude, 0x1p24, -0x1p24,
            127.5,
            128, 129, 1000, -149, -149.5, -150, -151, -1000, 88.72284, 89.4, 89.5, -89.5, 1e9, 1e18, 1e20,
            Float(1).nextUp, Float(1).nextDown, -Float(1).nextUp, -Float(1).nextDown, Float(0.5).nextUp,
            // Near multiples of a quarter turn, the second as near as any number comes, and where digits change.
            1.57079637, 0x1.f9cbe2p+7, 0x1.6b9c3ap+109, 3.14159274, 6.28318548, 0x1.fffffep49, 0x1p50, 0x1p51,
            0x1p76, 0x1p77, 0x1p102, 0x1p103,
        ]
        for useFMA in [true, false] {
            for (x, y) in zip(special, try run(c.name, special, useFMA: useFMA)) {
                let want = c.reference(Double(x))
                let error = ulps(y, want)
                // Infinite just where the correctly rounded result is, or its neighbour.
                let top =
                    max(Swift.abs(y), Swift.abs(Float(want))).isInfinite && y.sign == want.sign
                    && min(Swift.abs(y), Swift.abs(Float(want))) == .greatestFiniteMagnitude
                #expect(error <= c.limit + (useFMA ? 0 : 1) || top, "\(c.name)(\(x)) = \(y), not \(want)")
                #expect(y != 0 || y.sign == want.sign, "\(c.name)(\(x)) = \(y)")
            }
        }
    }

    @Test func exponentialUnderflowsGradually() throws {
        let values: [Float] = [-87.5, -90, -95, -100, -103, -104, -110, 88.7, 88.8, 100]
        for (x, y) in zip(values, try run("exp", values)) {
            #expect(ulps(y, Glibc.exp(Double(x))) <= 1 || y == Float(Glibc.exp(Double(x))), "\(x): \(y)")
        }
    }

    @Test func sigmoidFarLeft() throws {
        let values = samples(-110 ... -87, 200)
        for (x, y) in zip(values, try run("sigmoid", values)) {
            #expect(abs(Double(y) - 1 / (1 + Glibc.exp(-Double(x)))) <= Double(Float.leastNormalMagnitude))
        }
    }

    @Test func vectorsStayVectors() throws {
        let x = Var("x", dtype: DataType.float32.with(lanes: 8))
        let e = lowerIntrin(exp(x))
        #expect(e.dtype.lanes == 8)
        var calls: Set<String> = []
        postOrderVisit(e) { n in if let c = n as? Call { calls.insert(c.name) } }
        #expect(!calls.contains("tir.exp"))
    }

    @Test func halfTypesGoThroughFloat32() {
        for type in [DataType.float16, .bfloat16] {
            let e = lowerIntrin(exp(Var("x", dtype: type)))
            #expect(e.dtype == type && e.kind == .cast)
            let p = lowerIntrin(pow(Var("x", dtype: type), Var("y", dtype: type)))
            #expect(p.dtype == type && p.kind == .cast)
        }
    }

    @Test func float64StaysACall() {
        let e = exp(Var("x", dtype: .float64))
        #expect(lowerIntrin(e) === e)
    }

    @Test func powers() throws {
        let x = Var("x", dtype: .float32)
        func value(_ p: Double, _ v: Double) throws -> TIRArgument {
            try TIRInterpreter.evaluate(lowerIntrin(pow(x, FloatImm(p))), [x: .float(v)])
        }
        for (p, v, want) in [
            (2.0, 3.0, 9.0), (3.0, -2.0, -8.0), (1.0, 5.0, 5.0), (0.0, 7.0, 1.0), (-1.0, 4.0, 0.25),
        ] {
            guard case .float(let got) = try value(p, v) else {
                Issue.record("not a float")
                continue
            }
            #expect(got == want)
        }
        let d = pow(Var("d", dtype: .float64), FloatImm(2.5, dtype: .float64))
        #expect(lowerIntrin(d) === d)
    }

    @Test("a power with any exponent, special values included", arguments: [true, false])
    func generalPowers(_ useFMA: Bool) throws {
        let bases: [Float] = [
            0, 1, 0.5, 2, 3, 10, 0.1, 1.5, .infinity, .nan, 0x1p-149, 0x1p-130, 0x1p-126, 0x1p24,
            .greatestFiniteMagnitude, Float(1).nextUp, Float(1).nextDown, 0.7071067, 1.41421354,
        ]
        let exponents: [Float] = [
            0, 1, 2, 3, 4, 5, 0.5, 0.25, 1.5, 2.5, 7.3, 100, 127, 128, 149, 150, 151, 0x1p-149, 1e-10,
            8388607,
            8388607.5, 8388608, 8388609, 16777215, 16777216, 1e9, 1e30, .infinity, .nan,
            .greatestFiniteMagnitude,
        ]
        var pairs: [(x: Float, y: Float)] = []
        for x in bases.flatMap({ [$0, -$0] }) {
            for y in exponents.flatMap({ [$0, -$0] }) { pairs.append((x: x, y: y)) }
        }
        var r = Random(11)
        for _ in 0..<20000 {
            let x = Float(bitPattern: UInt32(r.below(0x7F80_0000)))
            let y = Float(r.below(280_000) - 150_000) / 1000 / Glibc.log2f(x)
            pairs.append((x: x, y: y))
        }
        let n = pairs.count
        let buffers = ["x", "y", "z"].map { Buffer($0, [n]) }
        let i = Var("i")
        let value = pow(BufferLoad(buffers[0], [i]), BufferLoad(buffers[1], [i]))
        let body = For(i, IntImm(0), IntImm(n), body: BufferStore(buffers[2], value, [i]))
        let result = NDArray(shape: [n], dtype: .float32)
        try TIRInterpreter.run(
            lowerIntrin(PrimFunc(buffers: buffers, body: body), useFMA: useFMA),
            [NDArray(pairs.map(\.x), shape: [n]), NDArray(pairs.map(\.y), shape: [n]), result])
        for (p, z) in zip(pairs, try result.toArray(Float.self)) {
            let want = Glibc.pow(Double(p.x), Double(p.y))
            #expect(ulps(z, want) <= 1, "\(p.x) ^ \(p.y) = \(z), not \(want)")
            #expect(z != 0 || z.sign == want.sign, "\(p.x) ^ \(p.y) = \(z)")
        }
    }

    // MARK: Rules, divisions, multiply-adds

    /// The largest error of each function that is computed by arithmetic, measured and held against its declared bound.
    @Test func tableOfErrors() throws {
        var lines: [String] = []
        for f in ElementaryFunction.all where f.name != "pow" {
            guard let c = Self.cases.first(where: { $0.name == f.name }) else {
                Issue.record("\(f.name) is not measured")
                continue
            }
            var values = samples(c.range, 20001)
            let positive = c.range.lowerBound > 0 && c.name != "acosh"
            values += binades(signed: !positive).filter { c.range.contains($0) || (positive && $0 > 0) }
            var worst: [Double] = []
            for useFMA in [true, false] {
                var most = 0.0
                for (x, y) in zip(values, try run(c.name, values, useFMA: useFMA)) {
                    most = max(most, c.error(y, at: x))
                }
                worst.append(most)
            }
            #expect(worst[0] <= f.maxULP && worst[1] <= f.maxULPWithoutFMA, "\(f.name): \(worst)")
            lines.append(
                "ulp \(f.name) \((worst[0] * 100).rounded() / 100) without fma \((worst[1] * 100).rounded() / 100)"
            )
        }
        print(lines.joined(separator: "\n"))
    }

    @Test("floor division and modulo, for every sign", arguments: [DataType.int8, .int32, .int64])
    func divisions(_ type: DataType) throws {
        let a = Var("a", dtype: type)
        let b = Var("b", dtype: type)
        let analyzer = Analyzer()
        let positive = Var("p", dtype: type)
        analyzer.bind(positive, bound: ConstIntBound(0, 100))
        var forms: [(PrimExpr, String)] = []
        for make in [floorDiv as (PrimExpr, PrimExpr) -> PrimExpr, floorMod] {
            forms.append((make(a, b), "general"))
            for c in [1, 2, 8, 3, 7] {
                forms.append((make(a, const(c, type)), "by \(c)"))
                forms.append((make(positive, const(c, type)), "positive by \(c)"))
            }
        }
        for (e, what) in forms {
            let lowered = lowerFloorDivision(e, analyzer)
            var left = false
            var selects = 0
            postOrderVisit(lowered) { x in
                if x.kind == .floorDiv || x.kind == .floorMod { left = true }
                if x.kind == .select { selects += 1 }
            }
            #expect(!left, "\(what): \(lowered)")
            #expect(!what.hasPrefix("positive") || selects == 0, "\(what): \(lowered)")
            for x in [-128, -17, -8, -1, 0, 1, 5, 8, 99, 127] {
                for y in [-5, -2, 1, 3, 4] {
                    let values: [Var: TIRArgument] = [a: .int(x), b: .int(y), positive: .int(abs(x) % 101)]
                    guard case .int(let want) = try TIRInterpreter.evaluate(e, values),
                        case .int(let got) = try TIRInterpreter.evaluate(lowered, values)
                    else { continue }
                    #expect(got == want, "\(what): \(x), \(y)")
                }
            }
        }
    }

    @Test func divisionsInLoops() throws {
        try expectPass(
            lowerFloorDivision,
            """
            @T.prim_func
            def main(A: T.Buffer((24,), "float32"), B: T.Buffer((24,), "float32")):
                for i in range(24):
                    if i < 21:
                        B[i // 3 + i % 3] = A[(i + 3) // 4 + i % 8]
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((24,), "float32"), B: T.Buffer((24,), "float32")):
                for i in range(24):
                    if i < 21:
                        B[T.truncdiv(i, 3) + T.truncmod(i, 3)] = A[T.shift_right(i + 3, 2) + T.bitwise_and(i, 7)]
            """)
    }

    @Test("fixed-point multiplication rounds halves up")
    func fixedPoint() throws {
        let x = Var("x", dtype: .int32)
        let y = Var("y", dtype: .int32)
        for s in [-9, -1, 0, 1, 3] {
            let call = intrinsic(
                "q_multiply_shift", .int32, [x, y, IntImm(31, dtype: .int32), IntImm(s, dtype: .int32)])
            let e = lowerIntrin(call)
            for (a, b) in [
                (1000, 1 << 30), (-1000, 1 << 30), (12345, 1_500_000_007), (-7, 1_900_000_000), (3, 1 << 30),
            ] {
                let shift = 31 - min(s, 0)
                let want = ((a << max(s, 0)) * b + (1 << (shift - 1))) >> shift
                guard case .int(let got) = try TIRInterpreter.evaluate(e, [x: .int(a), y: .int(b)]) else {
                    continue
                }
                #expect(got == want, "\(a) \(b) \(s)")
            }
        }
    }

    @Test func multiplyAdds() throws {
        try expectText(
            matchFMA,
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
                for i in range(4):
                    B[i] = A[i] * B[i] + A[0]
                for j in range(4):
                    B[j] = A[1] + A[j] * B[j]
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
                for i in range(4):
                    B[i] = T.fma(A[i], B[i], A[0])
                for j in range(4):
                    B[j] = T.fma(A[j], B[j], A[1])
            """)
    }

    @Test("rules of a kind of target come before the default's")
    func kinds() {
        let x = Var("x", dtype: .float32)
        func text(_ e: PrimExpr, _ kind: String) -> String { "\(lowerIntrin(e, kind: kind))" }
        #expect(text(exp(x), "cuda").contains("expf"))
        #expect(text(exp(Var("h", dtype: .float16)), "cuda").contains("hexp"))
        #expect(text(sigmoid(x), "cuda").contains("expf"))
        #expect(text(tanh(x), "opencl").contains("\"tanh\""))
        #expect(text(unary("sin", x), "cuda").contains("\"sinf\""))
        #expect(text(pow(x, x), "opencl").contains("\"pow\""))
        #expect(!text(exp(x), "llvm").contains("call_pure_extern"))
        #expect(text(intrinsic("warp_activemask", .uint32, []), "cuda").contains("__activemask"))
        let double = exp(Var("d", dtype: .float64))
        #expect(lowerIntrin(double, kind: "llvm") === double)
    }
}
