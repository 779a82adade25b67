import ApusIR
import ApusRelay
import ApusRelayBackend
import ApusRuntime
import ApusTarget
import Testing

// Channels that do not fill whole blocks: what the surplus lanes hold must never reach a result.

/// Compiles at level 3, runs, and compares with the interpreter, which knows no layouts.
private func expectAgreement(
    _ function: Relay.Function, tolerance: Double = 1e-4, _ comment: Comment? = nil,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    var inputs: [NDArray] = []
    for (i, p) in function.params.enumerated() {
        let shape = try #require(p.tensorType?.staticShape)
        inputs.append(NDArray.random(shape: shape, seed: UInt64(i + 7)))
    }
    let expected = try interpret(function, inputs, target: .host)
    let executor = try compile(IRModule(function), CompileOptions(target: .host)).executor()
    for (i, v) in inputs.enumerated() { try executor.setInput(i, v) }
    try executor.run()
    for (i, e) in expected.enumerated() {
        let a = try executor.output(i).toDoubles()
        let b = try e.toDoubles()
        #expect(a.count == b.count, sourceLocation: sourceLocation)
        let scale = b.map { abs($0) }.max() ?? 0
        // Not `max` of the differences, which a NaN would slip through.
        let bad = zip(a, b).contains { !(abs($0 - $1) <= tolerance * scale + 1e-6) }
        #expect(!bad, comment, sourceLocation: sourceLocation)
    }
}

/// A small network in the making.
private struct Net {
    private var seed: UInt64 = 1

    mutating func constant(_ shape: [Int]) -> RelayExpr {
        seed += 1
        return Relay.Constant(NDArray.random(shape: shape, seed: seed))
    }

    mutating func conv(
        _ x: RelayExpr, _ out: Int, kernel: Int = 1, stride: Int = 1, groups: Int = 1, bias: Bool = true
    ) throws -> RelayExpr {
        let channels = try #require(x.tensorType?.staticShape)[1]
        let p = kernel / 2
        let y = try Relay.call(
            "nn.conv2d", [x, constant([out, channels / groups, kernel, kernel])],
            [
                "kernel_size": .ints([kernel, kernel]), "channels": .int(out), "groups": .int(groups),
                "strides": .ints([stride, stride]), "padding": .ints([p, p, p, p]),
            ])
        return bias ? try Relay.call("add", [y, constant([out, 1, 1])]) : y
    }

    mutating func depthwise(_ x: RelayExpr, kernel: Int = 3, stride: Int = 1) throws -> RelayExpr {
        let c = try #require(x.tensorType?.staticShape)[1]
        return try conv(x, c, kernel: kernel, stride: stride, groups: c)
    }

    func scalar(_ v: Double) throws -> RelayExpr { try Relay.scalar(v, .float32) }
    func relu(_ x: RelayExpr) throws -> RelayExpr { try Relay.call("nn.relu", [x]) }

    func hardSwish(_ x: RelayExpr) throws -> RelayExpr {
        let gate = try Relay.call(
            "clip", [try Relay.call("add", [x, scalar(3)])], ["a_min": 0.0, "a_max": 6.0])
        return try Relay.call(
            "multiply", [x, try Relay.call("divide", [gate, scalar(6)])])
    }

    mutating func squeezeExcite(_ x: RelayExpr, _ inner: Int) throws -> RelayExpr {
        let c = try #require(x.tensorType?.staticShape)[1]
        let mean = try Relay.call("mean", [x], ["axis": .ints([2, 3]), "keepdims": true])
        let gate = try conv(try relu(try conv(mean, inner)), c)
        return try Relay.call("multiply", [x, try Relay.call("sigmoid", [gate])])
    }

    func concat(_ parts: [RelayExpr]) throws -> RelayExpr {
        try Relay.call("concatenate", [Relay.Tuple(parts)], ["axis": 1])
    }

    func shuffle(_ x: RelayExpr, _ groups: Int) throws -> RelayExpr {
        let s = try #require(x.tensorType?.staticShape)
        let apart = try Relay.call(
            "reshape", [x], ["newshape": .ints([s[0], groups, s[1] / groups, s[2], s[3]])])
        let turned = try Relay.call("transpose", [apart], ["axes": .ints([0, 2, 1, 3, 4])])
        return try Relay.call("reshape", [turned], ["newshape": .ints(s)])
    }

    func channels(_ x: RelayExpr, _ range: Range<Int>) throws -> RelayExpr {
        try Relay.call(
            "strided_slice", [x],
            [
                "begin": .ints([range.lowerBound]), "end": .ints([range.upperBound]), "strides": .ints([1]),
                "axes": .ints([1]),
            ])
    }

    func pool(_ x: RelayExpr, _ kind: String, _ size: Int, stride: Int) throws -> RelayExpr {
        try Relay.call(
            "nn.\(kind)_pool2d", [x],
            [
                "pool_size": .ints([size, size]), "strides": .ints([stride, stride]),
                "padding": .ints([1, 1, 1, 1]),
            ])
    }
}

@Suite struct PaddedLayoutTests {
    init() { Relay.registerAll() }

    @Test(arguments: [
        (3, 24, 3, 1), (24, 40, 1, 1), (40, 24, 3, 2), (58, 58, 1, 1), (7, 5, 3, 1), (20, 1, 1, 1),
        (1, 20, 5, 2),
        (33, 17, 3, 1),
    ])
    func convolutions(_ c: (Int, Int, Int, Int)) throws {
        var net = Net()
        let x = Relay.Var("x", shape: [2, 3, 9, 7])
        let first = try net.relu(try net.conv(x, c.0, kernel: 3))
        try expectAgreement(
            Relay.Function([x], try net.relu(try net.conv(first, c.1, kernel: c.2, stride: c.3))))
    }

    @Test(arguments: [(24, 3, 1), (58, 3, 2), (7, 5, 1), (40, 5, 2), (1, 3, 1)])
    func depthwise(_ c: (Int, Int, Int)) throws {
        var net = Net()
        let x = Relay.Var("x", shape: [1, 3, 10, 9])
        let first = try net.relu(try net.conv(x, c.0))
        let middle = try net.depthwise(first, kernel: c.1, stride: c.2)
        try expectAgreement(Relay.Function([x], Relay.Tuple([middle, try net.conv(middle, 19)])))
    }

    /// Channels in, channels out and groups of a convolution between two others.
    @Test(arguments: [(24, 36, 3), (104, 104, 13), (15, 20, 5), (56, 56, 7), (6, 6, 2)])
    func groupsThatDoNotFillBlocks(_ c: (Int, Int, Int)) throws {
        var net = Net()
        let x = Relay.Var("x", shape: [1, 24, 6, 6])
        let y = try net.conv(try net.conv(x, c.0), c.1, kernel: 3, groups: c.2)
        try expectAgreement(Relay.Function([x], try net.conv(y, 8)))
    }

    /// Rows of channels in blocks taken and mixed; the surplus lanes of the last block stay out of the result.
    @Test(arguments: ["nearest_neighbor", "linear", "cubic"], [(24, 13, 9), (40, 6, 20)])
    func resampling(_ method: String, _ c: (Int, Int, Int)) throws {
        var net = Net()
        let x = Relay.Var("x", shape: [2, 3, 6, 7])
        let y = try Relay.call(
            "image.resize", [try net.relu(try net.conv(x, c.0))],
            ["size": .ints([c.1, c.2]), "method": .string(method)])
        try expectAgreement(Relay.Function([x], Relay.Tuple([y, try net.conv(y, 9, kernel: 3)])))
    }

    @Test func concatenations() throws {
        var net = Net()
        let x = Relay.Var("x", shape: [1, 3, 6, 6])
        let a = try net.relu(try net.conv(x, 32))
        let b = try net.relu(try net.conv(x, 24))
        // The first stays in blocks, the second does not.
        let whole = try net.concat([a, b])
        let ragged = try net.concat([b, a, b])
        try expectAgreement(
            Relay.Function(
                [x], Relay.Tuple([whole, ragged, try net.conv(whole, 9), try net.conv(ragged, 9)])))
    }

    @Test func shuffledUnits() throws {
        var net = Net()
        let x = Relay.Var("x", shape: [1, 3, 8, 8])
        var y = try net.relu(try net.conv(x, 58, kernel: 3))
        for _ in 0..<2 {
            let left = try net.channels(y, 0..<29)
            let right = try net.relu(
                try net.conv(
                    try net.depthwise(try net.relu(try net.conv(try net.channels(y, 29..<58), 29))), 29))
            y = try net.shuffle(try net.concat([left, right]), 2)
        }
        try expectAgreement(Relay.Function([x], y))
    }

    @Test func squeezeExcite() throws {
        var net = Net()
        let x = Relay.Var("x", shape: [1, 3, 9, 9])
        let y = try net.hardSwish(try net.depthwise(try net.hardSwish(try net.conv(x, 40)), kernel: 5))
        try expectAgreement(Relay.Function([x], try net.conv(try net.squeezeExcite(y, 10), 24)))
    }

    @Test func pooling() throws {
        var net = Net()
        let x = Relay.Var("x", shape: [1, 3, 9, 9])
        let y = try net.conv(x, 24)
        let a = try net.pool(y, "max", 3, stride: 2)
        let b = try net.pool(y, "avg", 3, stride: 2)
        let m = try Relay.call("nn.global_avg_pool2d", [try net.concat([a, b])])
        try expectAgreement(Relay.Function([x], Relay.Tuple([a, m, try net.conv(b, 20)])))
    }

    /// One channel for all is not the first lane of a block, and a value of one channel may be in blocks itself.
    @Test func oneChannelForAll() throws {
        var net = Net()
        let x = Relay.Var("x", shape: [1, 3, 6, 6])
        let y = try net.conv(x, 20)
        let map = try Relay.call("sigmoid", [try net.conv(y, 1, kernel: 3)])
        try expectAgreement(Relay.Function([x], try net.conv(try Relay.call("multiply", [y, map]), 8)))
    }

    /// Infinities and NaNs in surplus lanes: of constants of which zeros are the rest, and of what maps zero to them.
    @Test(arguments: [20, 24, 40]) func nothingLeaksOutOfSurplusLanes(_ channels: Int) throws {
        var net = Net()
        let x = Relay.Var("x", shape: [1, 3, 7, 7])
        let positive = try Relay.call(
            "add", [try Relay.call("abs", [net.constant([channels, 1, 1])]), net.scalar(1)])
        let y = try Relay.call("add", [try net.relu(try net.conv(x, channels, bias: false)), positive])
        // In the surplus lanes y is 0 or 1 / 0, its logarithm not finite and the product with zero not a number.
        let inverse = try Relay.call("divide", [positive, y])
        let logarithm = try Relay.call("log", [y])
        let power = try Relay.call("multiply", [try Relay.call("rsqrt", [y]), y])
        let sum = try Relay.call("add", [try Relay.call("add", [inverse, logarithm]), power])
        let dense = try net.conv(sum, 24, kernel: 3)
        let light = try net.conv(try net.depthwise(sum), 7)
        let pooled = try net.conv(try net.pool(sum, "max", 3, stride: 1), 9)
        let scaled = try net.conv(try net.squeezeExcite(sum, 6), 5)
        try expectAgreement(Relay.Function([x], Relay.Tuple([dense, light, pooled, scaled, sum])))
    }

    /// An infinite pixel times the zero weights of surplus lanes is NaN there; its sigmoid is 1 in all others.
    @Test func infiniteInputs() throws {
        var net = Net()
        let x = Relay.Var("x", shape: [1, 24, 1, 2])
        var big = try Relay.call("abs", [x])
        for _ in 0..<2 { big = try Relay.call("multiply", [big, net.scalar(1e30)]) }
        let y = try Relay.call(
            "nn.conv2d", [big, try Relay.call("abs", [net.constant([20, 24, 1, 1])])],
            ["kernel_size": .ints([1, 1]), "channels": 20])
        try expectAgreement(Relay.Function([x], try net.conv(try Relay.call("sigmoid", [y]), 5)))
    }

    /// Random networks of everything above.
    @Test(arguments: 0..<8) func randomNetworksFuzz(_ seed: Int) throws {
        var state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678_9ABC_DEF1
        func roll(_ n: Int) -> Int {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int(state % UInt64(n))
        }
        var net = Net()
        let x = Relay.Var("x", shape: [1 + roll(2), 3, 6 + roll(5), 6 + roll(5)])
        var values: [RelayExpr] = [try net.conv(x, 4 + roll(40), kernel: 3)]
        for _ in 0..<10 {
            let v = values[roll(values.count)]
            let shape = try #require(v.tensorType?.staticShape)
            let c = shape[1]
            let same = values.filter { $0 !== v && $0.tensorType?.staticShape == shape }
            let near = values.filter {
                let s = $0.tensorType?.staticShape ?? []
                return s.count == 4 && s[0] == shape[0] && s[2...] == shape[2...]
            }
            let new: RelayExpr
            switch roll(12) {
            case 0: new = try net.conv(v, 1 + roll(48), kernel: 1 + 2 * roll(2), stride: 1 + roll(2))
            case 1: new = try net.relu(try net.conv(v, 1 + roll(48)))
            case 2: new = try net.depthwise(v, kernel: 3 + 2 * roll(2), stride: 1 + roll(2))
            case 3: new = try net.hardSwish(v)
            case 4: new = try net.squeezeExcite(v, 1 + roll(20))
            case 5: new = try net.concat([v, near[roll(near.count)]])
            case 6 where c % 2 == 0: new = try net.shuffle(v, 2)
            case 7 where c > 2:
                let at = roll(c - 2)
                new = try net.channels(v, at..<(at + 1 + roll(c - at)))
            case 8: new = try net.pool(v, roll(2) == 0 ? "max" : "avg", 3, stride: 1 + roll(2))
            case 9 where !same.isEmpty: new = try Relay.call("add", [v, same[roll(same.count)]])
            case 10: new = try Relay.call("multiply", [v, net.constant([c, 1, 1])])
            default:
                new = try Relay.call("multiply", [v, try Relay.call("sigmoid", [try net.conv(v, 1)])])
            }
            values.append(new)
        }
        try expectAgreement(
            Relay.Function([x], Relay.Tuple([values[values.count - 1], values[values.count / 2]])),
            "seed \(seed)")
    }
}
