import ApusIR
import ApusNode
import ApusRelay
import ApusRelayBackend
import ApusRuntime
import ApusTIR
import ApusTarget
import Testing

/// Small integers: exact in bfloat16, and so are their products and sums in float32, in any order.
private func integers(_ shape: [Int], _ seed: Int, largest: Int = 3) throws -> NDArray {
    let count = shape.reduce(1, *)
    let values = (0..<count).map { i -> Float in
        let mixed = UInt32(truncatingIfNeeded: (i &+ seed &* 7919) &* 2_654_435_761) >> 13
        return Float(Int(mixed) % (2 * largest + 1) - largest)
    }
    return try NDArray(values).reshaped(to: shape)
}

private func weights(_ shape: [Int], _ seed: Int) throws -> RelayExpr {
    Relay.Constant(try integers(shape, seed))
}

/// Compiles in bf16, runs on small integers, and compares with the interpreter in float32: equal, since nothing is rounded.
private func expectExact(
    _ function: Relay.Function, targets: [Target] = [.host, .llvm], levels: [Int] = [3],
    tolerance: Double = 0,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    var inputs: [NDArray] = []
    for (i, p) in function.params.enumerated() {
        inputs.append(try integers(try #require(p.tensorType?.staticShape), i + 11))
    }
    let expected = try interpret(function, inputs, target: .host)
    for target in targets {
        for level in levels {
            let options = CompileOptions(target: target, optLevel: level, precision: .bf16)
            let executor = try compile(IRModule(function), options).executor()
            for (i, v) in inputs.enumerated() { try executor.setInput(i, v) }
            try executor.run()
            for (i, e) in expected.enumerated() {
                let a = try executor.output(i).toDoubles()
                let b = try e.toDoubles()
                #expect(a.count == b.count, sourceLocation: sourceLocation)
                let scale = b.map { abs($0) }.max() ?? 0
                let bad = zip(a, b).filter { !(abs($0 - $1) <= tolerance * scale) }.count
                #expect(
                    bad == 0, "\(bad) of \(b.count) differ, level \(level), output \(i)",
                    sourceLocation: sourceLocation)
            }
        }
    }
}

/// The kernels that a model runs.
private func kernels(_ function: Relay.Function) throws -> [String] {
    try compile(IRModule(function), CompileOptions(target: .host, precision: .bf16)).kernels.map(\.name)
}

@Suite struct ReducedPrecisionTests {
    init() { Relay.registerAll() }

    @Test(arguments: [
        ([4, 32], 16), ([1, 33], 20), ([37, 50], 48), ([2, 5, 17], 7), ([64, 128], 64), ([3, 2], 1),
    ])
    func dense(_ data: [Int], _ n: Int) throws {
        let x = Relay.Var("x", shape: data)
        let y = try Relay.call("nn.dense", [x, try weights([n, data[data.count - 1]], 1)])
        try expectExact(
            Relay.Function([x], try Relay.call("add", [y, try weights([n], 2)])), levels: [0, 3])
    }

    /// A weight that the file keeps transposed.
    @Test func denseOfATransposedWeight() throws {
        let x = Relay.Var("x", shape: [9, 600])
        let w = try Relay.call("transpose", [try weights([600, 500], 1)], ["axes": .ints([1, 0])])
        try expectExact(Relay.Function([x], try Relay.call("nn.dense", [x, w])))
    }

    @Test(arguments: [(12, 8, 16), (9, 33, 20), (31, 64, 40), (8, 9, 11)], [0, 1, 2, 3])
    func stacks(_ size: (Int, Int, Int), _ transposed: Int) throws {
        let (m, k, n) = size
        let (ta, tb) = (transposed & 1 != 0, transposed & 2 != 0)
        let a = Relay.Var("a", shape: ta ? [3, k, m] : [3, m, k])
        let b = Relay.Var("b", shape: tb ? [3, n, k] : [3, k, n])
        let y = try Relay.call(
            "nn.batch_matmul", [a, b], ["transpose_a": .bool(ta), "transpose_b": .bool(tb)])
        try expectExact(Relay.Function([a, b], y))
    }

    @Test func matrices() throws {
        let a = Relay.Var("a", shape: [19, 27])
        let b = Relay.Var("b", shape: [27, 35])
        let w = Relay.Var("w", shape: [30, 27])
        let product = try Relay.call("nn.matmul", [a, b])
        let layer = try Relay.call("nn.dense", [a, w])
        try expectExact(Relay.Function([a, b, w], Relay.Tuple([product, layer])))
    }

    /// Channels in and out, extent, kernel, stride, groups.
    @Test(arguments: [
        [16, 16, 8, 3, 1, 1], [16, 32, 7, 3, 2, 1], [3, 16, 9, 3, 2, 1], [3, 24, 17, 7, 2, 1],
        [32, 16, 7, 1, 2, 1],
        [5, 7, 6, 3, 1, 1], [24, 24, 10, 5, 1, 1], [40, 48, 13, 1, 1, 1], [21, 16, 6, 3, 1, 1],
        [1, 16, 6, 3, 1, 1],
        [32, 64, 6, 3, 1, 2], [32, 32, 9, 3, 1, 32], [24, 24, 6, 3, 1, 3],
    ])
    func convolution(_ c: [Int]) throws {
        let x = Relay.Var("x", shape: [1, c[0], c[2], c[2]])
        let p = c[3] / 2
        let y = try Relay.call(
            "nn.conv2d", [x, try weights([c[1], c[0] / c[5], c[3], c[3]], 1)],
            [
                "kernel_size": .ints([c[3], c[3]]), "channels": .int(c[1]), "strides": .ints([c[4], c[4]]),
                "padding": .ints([p, p, p, p]), "groups": .int(c[5]),
            ])
        let biased = try Relay.call("add", [y, try weights([c[1], 1, 1], 2)])
        try expectExact(Relay.Function([x], try Relay.call("nn.relu", [biased])))
    }

    /// Odd channels in blocks: the lane beside the last one may hold anything.
    @Test func oddChannelsOfABlockedValue() throws {
        let x = Relay.Var("x", shape: [1, 16, 6, 6])
        func conv(_ e: RelayExpr, _ i: Int, _ o: Int, _ seed: Int) throws -> RelayExpr {
            try Relay.call(
                "nn.conv2d", [e, try weights([o, i, 1, 1], seed)],
                ["kernel_size": .ints([1, 1]), "channels": .int(o), "padding": .ints([0, 0, 0, 0])])
        }
        // 1 / 0 in surplus lanes.
        let small = try Relay.call("clip", [try conv(x, 16, 21, 1)], ["a_min": 1.0, "a_max": 4.0])
        let inverse = try Relay.call("divide", [try Relay.scalar(4, .float32), small])
        let rounded = try Relay.call("round", [inverse])
        try expectExact(Relay.Function([x], try conv(rounded, 21, 16, 3)))
    }

    /// What is read by convolutions and others is stored once; the others, and the result, agree with it.
    @Test func residualsAndPooling() throws {
        let x = Relay.Var("x", shape: [1, 16, 12, 12])
        func conv(_ e: RelayExpr, _ seed: Int) throws -> RelayExpr {
            let c = try #require(e.tensorType?.staticShape)[1]
            return try Relay.call(
                "nn.conv2d", [e, try weights([c, c, 1, 1], seed)],
                ["kernel_size": .ints([1, 1]), "channels": .int(c), "padding": .ints([0, 0, 0, 0])])
        }
        func clipped(_ e: RelayExpr) throws -> RelayExpr {
            try Relay.call("clip", [e], ["a_min": -3.0, "a_max": 3.0])
        }
        let a = try clipped(try conv(x, 1))
        let pooled = try Relay.call(
            "nn.max_pool2d", [a],
            [
                "pool_size": .ints([3, 3]), "strides": .ints([2, 2]), "padding": .ints([1, 1, 1, 1]),
                "layout": "NCHW",
            ])
        let b = try clipped(try Relay.call("add", [try conv(pooled, 2), pooled]))
        let joined = try Relay.call("concatenate", [Relay.Tuple([b, pooled])], ["axis": 1])
        let y = try conv(joined, 3)
        try expectExact(Relay.Function([x], Relay.Tuple([y, b])))
        let function = Relay.Function([x], y)
        // No kernel only converts, but for the input.
        let names = try kernels(function)
        #expect(names.filter { $0.hasPrefix("fused_cast") && !$0.contains("layout") }.isEmpty, "\(names)")
    }

    @Test func depthwiseBesideAConvolution() throws {
        let x = Relay.Var("x", shape: [1, 32, 8, 8])
        let relu = try Relay.call("nn.relu", [x])
        let deep = try Relay.call(
            "nn.conv2d", [relu, try weights([32, 1, 3, 3], 1)],
            [
                "kernel_size": .ints([3, 3]), "channels": 32, "groups": 32, "padding": .ints([1, 1, 1, 1]),
            ])
        let full = try Relay.call(
            "nn.conv2d", [relu, try weights([32, 32, 1, 1], 2)],
            ["kernel_size": .ints([1, 1]), "channels": 32, "padding": .ints([0, 0, 0, 0])])
        try expectExact(Relay.Function([x], try Relay.call("add", [deep, full])))
    }

    /// Values of the usual kind: as far off as rounding operands makes them.
    @Test func attention() throws {
        func projected(_ e: RelayExpr, _ seed: UInt64) throws -> RelayExpr {
            let w = Relay.Constant(NDArray.random(shape: [64, 64], seed: seed))
            let y = try Relay.call(
                "reshape", [try Relay.call("nn.dense", [e, w])], ["newshape": .ints([19, 4, 16])])
            return try Relay.call("transpose", [y], ["axes": .ints([1, 0, 2])])
        }
        let x = Relay.Var("x", shape: [19, 64])
        let scores = try Relay.call(
            "nn.batch_matmul", [try projected(x, 1), try projected(x, 2)],
            ["transpose_a": false, "transpose_b": true])
        let scaled = try Relay.call("multiply", [scores, try Relay.scalar(0.03, .float32)])
        let weights = try Relay.call("nn.softmax", [scaled], ["axis": -1])
        let y = try Relay.call(
            "nn.batch_matmul", [weights, try projected(x, 3)], ["transpose_a": false, "transpose_b": false])
        try expectExact(Relay.Function([x], y), tolerance: 2e-2)
    }
}
