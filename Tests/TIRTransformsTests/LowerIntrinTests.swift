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

    static let cases: [Case] = [
        Case(name: "exp", reference: { Glibc.exp($0) }, limit: 2, range: -103.5...88.7),
        Case(name: "log", reference: { Glibc.log($0) }, limit: 2, range: 0.0001...1000),
        Case(name: "tanh", reference: { Glibc.tanh($0) }, limit: 4, range: -12...12),
        Case(name: "sigmoid", reference: { 1 / (1 + Glibc.exp(-$0)) }, limit: 4, range: -87...40),
        Case(name: "erf", reference: { Glibc.erf($0) }, limit: 2, range: -5...5),
        Case(
            name: "gelu", reference: { $0 * 0.5 * (1 + Glibc.erf($0 * 0.5.squareRoot())) }, limit: 4,
            range: -20...20, isRelativeToArgument: true),
        Case(name: "rsqrt", reference: { 1 / $0.squareRoot() }, limit: 2, range: 0.0001...10000),
    ]

    @Test("the error stays below its bound", arguments: cases)
    func accuracy(_ c: Case) throws {
        var values = samples(c.range, 20001)
        let positive = c.name == "log" || c.name == "rsqrt"
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
        #expect((lowerIntrin(pow(x, FloatImm(2.5))) as? Call)?.name == "tir.pow")
    }

    // MARK: Rules, divisions, multiply-adds

    /// The largest error of each function that is computed by arithmetic, measured and held against its declared bound.
    @Test func tableOfErrors() throws {
        var lines: [String] = []
        for f in ElementaryFunction.all {
            guard let c = Self.cases.first(where: { $0.name == f.name }) else {
                Issue.record("\(f.name) is not measured")
                continue
            }
            var values = samples(c.range, 20001)
            let positive = c.name == "log" || c.name == "rsqrt"
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
        #expect(!text(exp(x), "llvm").contains("call_pure_extern"))
        #expect(text(intrinsic("warp_activemask", .uint32, []), "cuda").contains("__activemask"))
        let double = exp(Var("d", dtype: .float64))
        #expect(lowerIntrin(double, kind: "llvm") === double)
    }
}
