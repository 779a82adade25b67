import ApusDriver
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRTransforms
import ApusTarget
import Glibc
import Testing

/// A function of one float32, compiled by LLVM in vectors of 16, and how far from the true value it may be.
private struct Approximation: Sendable {
    let name: String
    /// What is measured, as the table says it.
    let range: String
    let reference: @Sendable (Double) -> Double
    let isMeasured: @Sendable (Float) -> Bool
    /// Largest error with fused multiply-adds, and without.
    let bound: Double
    let boundWithoutFMA: Double
    let make: @Sendable (PrimExpr) -> PrimExpr
    let isRelativeToArgument: Bool

    init(
        _ name: String, _ range: String, bound: Double, withoutFMA: Double? = nil,
        make: (@Sendable (PrimExpr) -> PrimExpr)? = nil,
        where isMeasured: @escaping @Sendable (Float) -> Bool,
        _ reference: @escaping @Sendable (Double) -> Double
    ) {
        self.name = name
        self.range = range
        self.reference = reference
        self.isMeasured = isMeasured
        self.bound = bound
        boundWithoutFMA = withoutFMA ?? bound
        self.make = make ?? { unary(name, $0) }
        isRelativeToArgument = Self.declared(name).name == name && Self.declared(name).isRelativeToArgument
    }

    static func declared(_ name: String) -> ElementaryFunction {
        ElementaryFunction.all.first { $0.name == name } ?? ElementaryFunction.all[0]
    }

    /// Those that are computed by arithmetic.
    static let arithmetic: [Approximation] = {
        func one(
            _ name: String, _ range: String, where isMeasured: @escaping @Sendable (Float) -> Bool,
            _ reference: @escaping @Sendable (Double) -> Double
        ) -> Approximation {
            let d = declared(name)
            return Approximation(
                name, range, bound: d.maxULP, withoutFMA: d.maxULPWithoutFMA, where: isMeasured, reference)
        }
        return [
            one("exp", "all", where: { _ in true }) { Glibc.exp($0) },
            one("log", "all", where: { _ in true }) { Glibc.log($0) },
            one("tanh", "all", where: { _ in true }) { Glibc.tanh($0) },
            // Below, the result is within 2^-126 of the true, subnormal, one: `LowerIntrinTests`.
            one("sigmoid", "x >= -87", where: { $0 >= -87 || $0.isNaN }) { 1 / (1 + Glibc.exp(-$0)) },
            one("erf", "all", where: { _ in true }) { Glibc.erf($0) },
            one("gelu", "all, in places of x", where: { _ in true }) {
                $0 * 0.5 * (1 + Glibc.erf($0 * 0.5.squareRoot()))
            },
            one("rsqrt", "all", where: { _ in true }) { 1 / $0.squareRoot() },
        ] + others.map { name, f in one(name, "all", where: { _ in true }, f) } + [
            Approximation("sqrt", "all", bound: 0.5, where: { _ in true }) { $0.squareRoot() },
            Approximation(
                "pow(x, 2)", "all", bound: 0.5, make: { pow($0, FloatImm(2)) }, where: { _ in true }
            ) { $0 * $0 },
            // The square of a small number may be subnormal, and then has few digits.
            Approximation(
                "pow(x, 3)", "abs(x) >= 2^-42", bound: 1.5, make: { pow($0, FloatImm(3)) },
                where: { $0.magnitude >= 0x1p-42 || $0.isNaN }
            ) { $0 * $0 * $0 },
            Approximation(
                "pow(x, 2.5)", "all", bound: declared("pow").maxULP, make: { pow($0, FloatImm(2.5)) },
                where: { _ in true }
            ) { Glibc.pow($0, 2.5) },
            Approximation(
                "pow(1.001, x)", "all", bound: declared("pow").maxULP,
                make: { pow(const(Double(Float(1.001)), $0.dtype), $0) }, where: { _ in true }
            ) { Glibc.pow(Double(Float(1.001)), $0) },
            Approximation(
                "pow(x, -1)", "all", bound: 0.5, make: { pow($0, FloatImm(-1)) }, where: { _ in true }
            ) { 1 / $0 },
        ]
    }()

    private static let others: [(String, @Sendable (Double) -> Double)] = [
        ("sin", { Glibc.sin($0) }), ("cos", { Glibc.cos($0) }), ("tan", { Glibc.tan($0) }),
        ("exp2", { Glibc.exp2($0) }), ("expm1", { Glibc.expm1($0) }), ("log2", { Glibc.log2($0) }),
        ("log10", { Glibc.log10($0) }), ("log1p", { Glibc.log1p($0) }), ("asin", { Glibc.asin($0) }),
        ("acos", { Glibc.acos($0) }), ("atan", { Glibc.atan($0) }), ("sinh", { Glibc.sinh($0) }),
        ("cosh", { Glibc.cosh($0) }), ("asinh", { Glibc.asinh($0) }), ("acosh", { Glibc.acosh($0) }),
        ("atanh", { Glibc.atanh($0) }),
    ]

    /// Calls of the C library, whose errors are its own.
    static let library: [Approximation] = [
        Approximation("exp10", "all", bound: 4, where: { _ in true }) { Glibc.pow(10, $0) }
    ]
}

/// The largest error found.
private struct Worst: Sendable {
    var ulps = 0.0
    var at: Float = 0

    mutating func take(_ other: Worst) { if other.ulps > ulps { self = other } }
}

/// Distance in units of the last place of the correctly rounded result.
/// `unit`: whose last place counts, if another's.
private func ulps(_ got: Float, _ want: Double, unit: Float? = nil) -> Double {
    let w = Float(want)
    if let unit, got.isFinite, w.isFinite { return abs(Double(got) - want) / step(unit) }
    if got == w || (got.isNaN && w.isNaN) {
        return got == w && !w.isInfinite ? abs(Double(got) - want) / step(w) : 0
    }
    if w.isInfinite || got.isInfinite || got.isNaN || w.isNaN {
        // The last finite number is next to infinity.
        if w.isInfinite && got == (w > 0 ? Float.greatestFiniteMagnitude : -Float.greatestFiniteMagnitude) {
            return 1
        }
        if got.isInfinite && abs(w) == .greatestFiniteMagnitude && (got > 0) == (w > 0) { return 1 }
        return .infinity
    }
    return abs(Double(got) - want) / step(w)
}

private func step(_ x: Float) -> Double { Double(max(x.ulp, Float.leastNonzeroMagnitude)) }

@Suite struct ApproximationTests {
    /// Elements of one call of the compiled function.
    private static let chunk = 1 << 16

    private static func compile(_ a: Approximation, _ target: Target) throws -> CompiledModule {
        let x = Buffer("x", [chunk])
        let y = Buffer("y", [chunk])
        let o = Var("o")
        let i = Var("i")
        let at = o * 16 + i
        let inner = For(
            i, IntImm(0), IntImm(16), .vectorized, body: BufferStore(y, a.make(BufferLoad(x, [at])), [at]))
        let body = For(o, IntImm(0), IntImm(chunk / 16), body: inner)
        return try build(PrimFunc(buffers: [x, y], body: body), target: target)
    }

    /// The bit patterns of number `part` of the sample of `parts`.
    private static func sample(_ part: Int, of parts: Int) -> [Float] {
        // Consecutive patterns, spread evenly over all; an odd step meets every place of the last digits.
        let step = UInt64(1 << 32) / UInt64(parts * chunk) | 1
        let first = UInt64(part * chunk) &* step
        return (0..<chunk).map { Float(bitPattern: UInt32(truncatingIfNeeded: first &+ UInt64($0) &* step)) }
    }

    private static func measure(_ a: Approximation, _ target: Target, parts: Int) throws -> Worst {
        let module = try compile(a, target)
        let f = try module["main"]
        let result = Locked(Worst())
        let exhaustive = parts == (1 << 32) / chunk
        try ThreadPool.shared.parallelFor(parts) { (part: Int) throws in
            let values =
                exhaustive
                ? (0..<chunk).map { Float(bitPattern: UInt32(part * chunk + $0)) } : sample(part, of: parts)
            let x = NDArray(values, shape: [chunk])
            let y = NDArray(shape: [chunk], dtype: .float32)
            _ = try f.call([x.asValue, y.asValue])
            var worst = Worst()
            y.withUnsafeBytes { raw in
                let got = raw.bindMemory(to: Float.self)
                for (k, v) in values.enumerated() where a.isMeasured(v) {
                    let e = ulps(got[k], a.reference(Double(v)), unit: a.isRelativeToArgument ? v : nil)
                    if e > worst.ulps { worst = Worst(ulps: e, at: v) }
                }
            }
            result.with { $0.take(worst) }
        }
        return result.with { $0 }
    }

    private static func rounded(_ x: Double) -> String { "\((x * 1000).rounded(.up) / 1000)" }

    /// The table of `docs/approximations.md`: a million arguments in steps by default. `APUS_EXHAUSTIVE` names the functions,
    /// separated by commas, that are measured over all 2^32 arguments, and no others are; `all` means all.
    @Test func errorsStayBelowTheirBounds() throws {
        let chosen = getenv("APUS_EXHAUSTIVE").map {
            String(cString: $0).split(separator: ",").map(String.init)
        }
        func isWanted(_ name: String) -> Bool { chosen.map { $0 == ["all"] || $0.contains(name) } ?? true }
        let parts = chosen != nil ? (1 << 32) / Self.chunk : 16
        var plain: Target?
        #if arch(x86_64)
            // Runs on every machine of this architecture, and has no multiply-add.
            plain = try Target("llvm -mcpu=x86-64")
        #endif
        for a in Approximation.arithmetic where isWanted(a.name) {
            let worst = try Self.measure(a, .host, parts: parts)
            #expect(worst.ulps <= a.bound, "\(a.name)(\(worst.at))")
            var line = "| \(a.name) | \(a.range) | \(a.bound) | \(Self.rounded(worst.ulps)) at \(worst.at) |"
            if let plain {
                let other = try Self.measure(a, plain, parts: parts)
                #expect(other.ulps <= a.boundWithoutFMA, "\(a.name)(\(other.at)) without multiply-adds")
                line += " \(a.boundWithoutFMA) | \(Self.rounded(other.ulps)) at \(other.at) |"
            }
            print(line)
        }
        for a in Approximation.library where isWanted(a.name) {
            let worst = try Self.measure(a, .host, parts: chosen != nil ? parts : 2)
            #expect(worst.ulps <= a.bound, "\(a.name)(\(worst.at))")
            print("| \(a.name) | \(a.range) | \(a.bound) | \(Self.rounded(worst.ulps)) at \(worst.at) |")
        }
    }

    /// Powers of positive bases, so that results of all sizes are met as often, subnormal ones included; as many of them as
    /// arguments of the other functions by default, 256 times as many where `APUS_EXHAUSTIVE` names `pow` or `all`.
    @Test func powersStayBelowTheirBound() throws {
        let chosen = getenv("APUS_EXHAUSTIVE").map {
            String(cString: $0).split(separator: ",").map(String.init)
        }
        if let chosen, chosen != ["all"], !chosen.contains("pow") { return }
        let buffers = ["x", "y", "z"].map { Buffer($0, [Self.chunk]) }
        let o = Var("o")
        let i = Var("i")
        let at = o * 16 + i
        let value = pow(BufferLoad(buffers[0], [at]), BufferLoad(buffers[1], [at]))
        let inner = For(i, IntImm(0), IntImm(16), .vectorized, body: BufferStore(buffers[2], value, [at]))
        let kernel = PrimFunc(
            buffers: buffers, body: For(o, IntImm(0), IntImm(Self.chunk / 16), body: inner))
        let bound = Approximation.declared("pow").maxULP
        var line = "| pow(x, y) | x > 0 | \(bound) |"
        var targets = [Target.host]
        #if arch(x86_64)
            targets.append(try Target("llvm -mcpu=x86-64"))
        #endif
        for target in targets {
            let module = try build(kernel, target: target)
            let f = try module["main"]
            let result = Locked((worst: Worst(), y: Float(0)))
            try ThreadPool.shared.parallelFor(chosen == nil ? 16 : 4096) { (part: Int) throws in
                var state = UInt64(part)
                func random() -> UInt32 {
                    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    return UInt32(state >> 32)
                }
                let x = (0..<Self.chunk).map { _ in Float(bitPattern: 1 + random() % 0x7F7F_FFFF) }
                let y = x.map { Float((Double(random()) / 0x1p32 * 280 - 151) / Glibc.log2(Double($0))) }
                let z = NDArray(shape: [Self.chunk], dtype: .float32)
                _ = try f.call([
                    NDArray(x, shape: [Self.chunk]).asValue, NDArray(y, shape: [Self.chunk]).asValue,
                    z.asValue,
                ])
                var worst = (worst: Worst(), y: Float(0))
                for (k, got) in try z.toArray(Float.self).enumerated() {
                    let e = ulps(got, Glibc.pow(Double(x[k]), Double(y[k])))
                    if e > worst.worst.ulps { worst = (worst: Worst(ulps: e, at: x[k]), y: y[k]) }
                }
                result.with { if worst.worst.ulps > $0.worst.ulps { $0 = worst } }
            }
            let (worst, y) = result.with { $0 }
            #expect(worst.ulps <= bound, "pow(\(worst.at), \(y)) for \(target)")
            line += " \(Self.rounded(worst.ulps)) at \(worst.at), \(y) |"
        }
        print(line)
    }

    /// Every function that is declared as arithmetic is measured.
    @Test func allAreMeasured() {
        let measured = Set(Approximation.arithmetic.map(\.name) + ["pow"])
        for f in ElementaryFunction.all { #expect(measured.contains(f.name)) }
    }
}
