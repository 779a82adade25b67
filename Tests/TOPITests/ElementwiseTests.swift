import ApusIR
import ApusRuntime
import ApusTOPI
import Glibc
import Testing

typealias Function = @Sendable (Double) -> Double

/// One unary function: operator, reference, range of arguments.
struct Unary: Sendable, CustomTestStringConvertible {
    let name: String
    let low: Double
    let high: Double
    let f: Function
    init(_ name: String, _ low: Double, _ high: Double, _ f: @escaping Function) {
        self.name = name
        self.low = low
        self.high = high
        self.f = f
    }
    var testDescription: String { name }

    static let all: [Unary] = {
        var u: [Unary] = []
        u.append(Unary("exp", -3, 3) { exp($0) })
        u.append(Unary("log", 0.1, 9) { log($0) })
        u.append(Unary("log2", 0.1, 9) { log2($0) })
        u.append(Unary("log10", 0.1, 9) { log10($0) })
        u.append(Unary("log1p", -0.5, 3) { log1p($0) })
        u.append(Unary("expm1", -2, 2) { expm1($0) })
        u.append(Unary("sqrt", 0, 9) { sqrt($0) })
        u.append(Unary("rsqrt", 0.1, 9) { 1 / sqrt($0) })
        u.append(Unary("tanh", -3, 3) { tanh($0) })
        u.append(Unary("sigmoid", -4, 4) { 1 / (1 + exp(-$0)) })
        u.append(Unary("erf", -3, 3) { erf($0) })
        u.append(Unary("nn.gelu", -3, 3) { $0 * 0.5 * (1 + erf($0 * 0.5.squareRoot())) })
        u.append(Unary("sin", -3, 3) { sin($0) })
        u.append(Unary("cos", -3, 3) { cos($0) })
        u.append(Unary("tan", -1, 1) { tan($0) })
        u.append(Unary("asin", -0.9, 0.9) { asin($0) })
        u.append(Unary("acos", -0.9, 0.9) { acos($0) })
        u.append(Unary("atan", -3, 3) { atan($0) })
        u.append(Unary("sinh", -2, 2) { sinh($0) })
        u.append(Unary("cosh", -2, 2) { cosh($0) })
        u.append(Unary("asinh", -2, 2) { asinh($0) })
        u.append(Unary("acosh", 1.1, 4) { acosh($0) })
        u.append(Unary("atanh", -0.9, 0.9) { atanh($0) })
        u.append(Unary("floor", -3, 3) { $0.rounded(.down) })
        u.append(Unary("ceil", -3, 3) { $0.rounded(.up) })
        u.append(Unary("round", -3, 3) { $0.rounded(.toNearestOrEven) })
        u.append(Unary("trunc", -3, 3) { $0.rounded(.towardZero) })
        u.append(Unary("abs", -3, 3) { Swift.abs($0) })
        u.append(Unary("negative", -3, 3) { -$0 })
        u.append(Unary("sign", -3, 3) { $0 > 0 ? 1 : ($0 < 0 ? -1 : 0) })
        u.append(Unary("nn.relu", -3, 3) { max($0, 0) })
        u.append(Unary("copy", -3, 3) { $0 })
        return u
    }()
}

/// One binary function: operator, reference.
struct BinaryCase: Sendable, CustomTestStringConvertible {
    let name: String
    let f: @Sendable (Double, Double) -> Double
    init(_ name: String, _ f: @escaping @Sendable (Double, Double) -> Double) {
        self.name = name
        self.f = f
    }
    var testDescription: String { name }

    static let arithmetic: [BinaryCase] = {
        var b: [BinaryCase] = []
        b.append(BinaryCase("add") { $0 + $1 })
        b.append(BinaryCase("subtract") { $0 - $1 })
        b.append(BinaryCase("multiply") { $0 * $1 })
        b.append(BinaryCase("divide") { $0 / $1 })
        b.append(BinaryCase("floor_divide") { ($0 / $1).rounded(.down) })
        b.append(BinaryCase("mod") { fmod($0, $1) })
        b.append(BinaryCase("floor_mod") { $0 - ($0 / $1).rounded(.down) * $1 })
        b.append(BinaryCase("maximum") { Swift.max($0, $1) })
        b.append(BinaryCase("minimum") { Swift.min($0, $1) })
        return b
    }()
    static let comparisons: [BinaryCase] = {
        var b: [BinaryCase] = []
        b.append(BinaryCase("equal") { $0 == $1 ? 1 : 0 })
        b.append(BinaryCase("not_equal") { $0 != $1 ? 1 : 0 })
        b.append(BinaryCase("less") { $0 < $1 ? 1 : 0 })
        b.append(BinaryCase("less_equal") { $0 <= $1 ? 1 : 0 })
        b.append(BinaryCase("greater") { $0 > $1 ? 1 : 0 })
        b.append(BinaryCase("greater_equal") { $0 >= $1 ? 1 : 0 })
        return b
    }()
}

@Suite struct ElementwiseTests {
    @Test(arguments: Unary.all) func unary(_ u: Unary) throws {
        var dice = Dice(u.name.utf8.reduce(7) { $0 &* 31 &+ Int($1) })
        for shape in [[], [7], [2, 3, 4]] {
            let x = dice.array(shape, .float32, u.low, u.high)
            try check(u.name, [:], [x], [x.map(u.f)], tolerance: 2e-6)
        }
        let d = dice.array([5], .float64, u.low, u.high)
        try check(u.name, [:], [d], [d.map(u.f)], tolerance: 1e-12)
        let h = dice.array([3, 2], .float16, u.low, u.high)
        try check(u.name, [:], [h], [h.map(u.f)], tolerance: 2e-3)
    }

    @Test func integersOfUnary() throws {
        let x = Arr([5], .int32, [-7, 0, 3, -1, 9])
        try check("abs", [:], [x], [x.map { Swift.abs($0) }])
        try check("negative", [:], [x], [x.map { -$0 }])
        try check("floor", [:], [x], [x])
        try check("sign", [:], [x], [Arr([5], .int32, [-1, 0, 1, -1, 1])])
        try check("nn.relu", [:], [x.typed(.int8)], [Arr([5], .int8, [0, 0, 3, 0, 9])])
        try check("bitwise_not", [:], [x], [x.map { -$0 - 1 }])
        try check("logical_not", [:], [Arr([3], .bool, [0, 1, 0])], [Arr([3], .bool, [1, 0, 1])])
        #expect(throws: (any Error).self) { try evaluate("exp", [:], [x], [x]) }
    }

    @Test func specialValues() throws {
        let x = Arr([5], .float32, [.nan, .infinity, -.infinity, 1, -0.5])
        try check("isnan", [:], [x], [Arr([5], .bool, [1, 0, 0, 0, 0])])
        try check("isfinite", [:], [x], [Arr([5], .bool, [0, 0, 0, 1, 1])])
        try check("isinf", [:], [x], [Arr([5], .bool, [0, 1, 1, 0, 0])])
        try check("isinf", ["detect_negative": false], [x], [Arr([5], .bool, [0, 1, 0, 0, 0])])
        try check("isinf", ["detect_positive": false], [x], [Arr([5], .bool, [0, 0, 1, 0, 0])])
        try check("isnan", [:], [x.typed(.float16)], [Arr([5], .bool, [1, 0, 0, 0, 0])])
        try check("isnan", [:], [Arr([2], .int32, [1, 2])], [Arr([2], .bool, [0, 0])])
        try check("sign", [:], [x], [Arr([5], .float32, [.nan, 1, -1, 1, -1])])
    }

    @Test func clip() throws {
        let x = Arr([6], .float32, [-3, -1, 0.5, 2, .nan, 9])
        try check(
            "clip", ["a_min": -1.5, "a_max": 6.0], [x], [Arr([6], .float32, [-1.5, -1, 0.5, 2, .nan, 6])])
        let n = Arr([4], .int8, [-128, -2, 3, 127])
        try check("clip", ["a_min": -1.5, "a_max": 2.5], [n], [Arr([4], .int8, [-1, -1, 2, 2])])
        try check("clip", ["a_min": -1000.0, "a_max": 1e30], [n], [n])
        try check(
            "clip", ["a_min": .float(-.infinity), "a_max": 5.0], [n], [Arr([4], .int8, [-128, -2, 3, 5])])
    }

    @Test func casts() throws {
        let x = Arr([6], .float32, [-2.7, -0.5, 0, 0.5, 2.7, 100])
        let truncated: Function = { $0.rounded(.towardZero) }
        for t in [DataType.int8, .int32, .int64] {
            try check("cast", ["dtype": .dtype(t)], [x], [x.map(t, truncated)])
        }
        try check("cast", ["dtype": .dtype(.bool)], [x], [x.map(.bool) { $0 != 0 ? 1 : 0 }])
        try check(
            "cast", ["dtype": .dtype(.float16)], [x], [x.map(.float16) { FloatImm.rounded($0, .float16) }])
        try check(
            "cast", ["dtype": .dtype(.float64)], [Arr([2], .bool, [0, 1])], [Arr([2], .float64, [0, 1])])
        try check(
            "cast", ["dtype": .dtype(.float32)], [Arr([2], .uint8, [0, 200])], [Arr([2], .float32, [0, 200])])
    }

    static let shapes: [([Int], [Int])] = [
        ([3, 4], [3, 4]), ([2, 3, 4], [4]), ([2, 1, 4], [3, 1]), ([], [2, 2]), ([1], [5]), ([2, 3], [1, 1]),
    ]

    @Test(arguments: BinaryCase.arithmetic) func arithmetic(_ b: BinaryCase) throws {
        var dice = Dice(b.name.utf8.count)
        for (s, t) in Self.shapes {
            let x = dice.array(s, .float32, -4, 4)
            var y = dice.array(t, .float32, 0.5, 3)
            for k in y.data.indices where dice.int(0...1) == 0 { y.data[k].negate() }
            let out = broadcastShape([s, t])
            try check(
                b.name, [:], [x, y], [Arr(out) { b.f(x.broadcast($0), y.broadcast($0)) }], tolerance: 1e-5)
        }
        let x = Arr([6], .int32, [-7, -7, 7, 7, 6, 0])
        let y = Arr([6], .int32, [2, -2, 2, -2, 3, 5])
        func exact(_ p: Double, _ q: Double) -> Double {
            b.name == "divide" ? (p / q).rounded(.towardZero) : b.f(p, q)
        }
        try check(b.name, [:], [x, y], [Arr([6], .int32) { exact(x[$0], y[$0]) }])
        try check(
            b.name, [:], [x.typed(.int64), y.typed(.int64)], [Arr([6], .int64) { exact(x[$0], y[$0]) }])
    }

    @Test(arguments: BinaryCase.comparisons) func comparisons(_ b: BinaryCase) throws {
        var dice = Dice(3)
        for (s, t) in Self.shapes {
            for type in [DataType.float32, .int32, .uint8] {
                let x = dice.array(s, type, 0, 3)
                let y = dice.array(t, type, 0, 3)
                let out = broadcastShape([s, t])
                try check(b.name, [:], [x, y], [Arr(out, .bool) { b.f(x.broadcast($0), y.broadcast($0)) }])
            }
        }
        let nan = Arr([3], .float32, [.nan, 1, .nan])
        let one = Arr([3], .float32, [1, .nan, .nan])
        try check(b.name, [:], [nan, one], [Arr([3], .bool) { b.f(nan[$0], one[$0]) }])
    }

    @Test func divisionThatTraps() throws {
        let x = Arr([5], .int32, [5, -2_147_483_648, 7, 0, -2_147_483_648])
        let y = Arr([5], .int32, [0, -1, -1, 0, 0])
        try check("divide", [:], [x, y], [Arr([5], .int32, [0, -2_147_483_648, -7, 0, 0])])
        try check("floor_divide", [:], [x, y], [Arr([5], .int32, [0, -2_147_483_648, -7, 0, 0])])
        try check("mod", [:], [x, y], [Arr([5], .int32, [0, 0, 0, 0, 0])])
        try check("floor_mod", [:], [x, y], [Arr([5], .int32, [0, 0, 0, 0, 0])])
    }

    @Test func power() throws {
        var dice = Dice(5)
        let x = dice.array([2, 3], .float32, 0.2, 3)
        let y = dice.array([3], .float32, -2, 2)
        try check("power", [:], [x, y], [Arr([2, 3]) { pow(x[$0], y.broadcast($0)) }])
        for t in [DataType.int32, .int64, .uint8] {
            let b = Arr([5], t, [2, 3, 1, 0, 5])
            let e = Arr([5], t, [7, 4, 9, 0, 1])
            try check("power", [:], [b, e], [Arr([5], t, [128, 81, 1, 1, 5])])
        }
        let b = Arr([6], .int64, [-2, -1, -1, 3, 2, 1])
        let e = Arr([6], .int64, [3, 5, 100, 31, -1, -3])
        try check("power", [:], [b, e], [Arr([6], .int64, [-8, -1, 1, 617_673_396_283_947, 0, 1])])
    }

    @Test func bits() throws {
        let x = Arr([4], .uint8, [12, 255, 1, 128])
        let y = Arr([4], .uint8, [10, 15, 7, 9])
        func bits(_ f: @escaping (UInt8, UInt8) -> UInt8) -> Arr {
            Arr([4], .uint8) { Double(f(UInt8(x[$0]), UInt8(y[$0]))) }
        }
        try check("bitwise_and", [:], [x, y], [bits { $0 & $1 }])
        try check("bitwise_or", [:], [x, y], [bits { $0 | $1 }])
        try check("bitwise_xor", [:], [x, y], [bits { $0 ^ $1 }])
        try check("left_shift", [:], [x, y], [bits { $0 << $1 }])
        try check("right_shift", [:], [x, y], [bits { $0 >> $1 }])
        let n = Arr([2], .int32, [-8, -1])
        try check("right_shift", [:], [n, Arr([2], .int32, [1, 40])], [Arr([2], .int32, [-4, -1])])
        let p = Arr([4], .bool, [0, 0, 1, 1])
        let q = Arr([4], .bool, [0, 1, 0, 1])
        try check("logical_and", [:], [p, q], [Arr([4], .bool, [0, 0, 0, 1])])
        try check("logical_or", [:], [p, q], [Arr([4], .bool, [0, 1, 1, 1])])
        try check("logical_xor", [:], [p, q], [Arr([4], .bool, [0, 1, 1, 0])])
        try check("bitwise_xor", [:], [p, q], [Arr([4], .bool, [0, 1, 1, 0])])
        try check("maximum", [:], [p, q], [Arr([4], .bool, [0, 1, 1, 1])])
    }

    @Test func nanOfExtrema() throws {
        let x = Arr([3], .float32, [.nan, 1, 2])
        let y = Arr([3], .float32, [1, .nan, 3])
        try check("maximum", [:], [x, y], [Arr([3], .float32, [.nan, .nan, 3])])
        try check("minimum", [:], [x, y], [Arr([3], .float32, [.nan, .nan, 2])])
        try check("nn.relu", [:], [x], [x])
    }

    @Test func whereAndBroadcast() throws {
        var dice = Dice(9)
        let c = dice.array([2, 1, 3], .bool, 0, 1)
        let x = dice.array([4, 3])
        let y = dice.array([1])
        let out = [2, 4, 3]
        let chosen = Arr(out) { c.broadcast($0) != 0 ? x.broadcast($0) : y.broadcast($0) }
        try check("where", [:], [c, x, y], [chosen])
        let z = dice.array([3, 1])
        try check("broadcast_to", ["shape": .ints([2, 3, 4])], [z], [Arr([2, 3, 4]) { z.broadcast($0) }])
        #expect(throws: (any Error).self) { try evaluate("add", [:], [x, dice.array([2])], [x]) }
    }
}
