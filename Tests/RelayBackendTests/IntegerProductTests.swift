import ApusIR
import ApusNode
import ApusRelay
import ApusRelayBackend
import ApusRuntime
import ApusTIR
import ApusTarget
import Testing

/// 8-bit integers of the whole range, and 32-bit ones of moderate size.
private func integers(_ shape: [Int], _ type: DataType, _ seed: Int) throws -> NDArray {
    let bytes = (0..<shape.reduce(1, *)).map { i in
        UInt8(truncatingIfNeeded: (UInt32(truncatingIfNeeded: i &+ seed &* 7919) &* 2_654_435_761) >> 11)
    }
    switch type {
    case .uint8: return try NDArray(bytes).reshaped(to: shape)
    case .int8: return try NDArray(bytes.map { Int8(bitPattern: $0) }).reshaped(to: shape)
    default: return try NDArray(bytes.map { Int32($0) - 100 }).reshaped(to: shape)
    }
}

/// `x - zero` in int32.
private func centred(_ x: RelayExpr, _ zero: RelayExpr?) throws -> RelayExpr {
    let wide = try Relay.call("cast", [x], ["dtype": .dtype(.int32)])
    return try zero.map { try Relay.call("subtract", [wide, $0]) } ?? wide
}

private func number(_ v: Int) throws -> RelayExpr { try Relay.scalar(Double(v), .int32) }

/// Compiles and runs, and compares with the interpreter, which knows 32-bit integers only: equal.
private func expectExact(
    _ function: Relay.Function, targets: [Target] = [.host, .llvm], words: Bool = true,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    var inputs: [NDArray] = []
    for (i, p) in function.params.enumerated() {
        let type = try #require(p.tensorType)
        inputs.append(try integers(try #require(type.staticShape), type.dtype, i + 3))
    }
    let expected = try interpret(function, inputs, target: .host)
    for target in targets {
        let model = try compile(IRModule(function), CompileOptions(target: target))
        if words {
            #expect(
                model.kernels.contains { "\($0.function)".contains("dot4_u8s8") }, "no product of words",
                sourceLocation: sourceLocation)
        }
        let executor = try model.executor()
        for (i, v) in inputs.enumerated() { try executor.setInput(i, v) }
        try executor.run()
        for (i, e) in expected.enumerated() {
            let a = try executor.output(i).toDoubles()
            let b = try e.toDoubles()
            let bad = zip(a, b).filter { $0 != $1 }.count
            #expect(
                a.count == b.count && bad == 0, "\(bad) of \(b.count) differ", sourceLocation: sourceLocation)
        }
    }
}

@Suite struct IntegerProductTests {
    init() { Relay.registerAll() }

    private static let kinds: [(DataType, DataType)] = [
        (.uint8, .int8), (.uint8, .uint8), (.int8, .int8), (.int8, .uint8),
    ]

    /// Constant weights: signed, unsigned about 128 (int8 again), unsigned about 3 (beyond int8: several products).
    @Test(arguments: kinds, [0, 3, 128])
    func dense(_ kind: (DataType, DataType), _ zero: Int) throws {
        let x = Relay.Var("x", shape: [19, 70], dtype: kind.0)
        let w = Relay.Constant(try integers([37, 70], kind.1, 1))
        let y = try Relay.call(
            "nn.dense",
            [try centred(x, try number(zero)), try centred(w, kind.1 == .uint8 ? try number(zero) : nil)])
        try expectExact(
            Relay.Function([x], try Relay.call("add", [y, Relay.Constant(try integers([37], .int32, 2))])))
    }

    /// Zero points known only at run time; one row; rows of words as they lie in a parameter.
    @Test(arguments: [[1, 64], [8, 65], [2, 3, 32]])
    func dynamicZeroPoint(_ shape: [Int]) throws {
        let x = Relay.Var("x", shape: shape, dtype: .uint8)
        let zero = Relay.Var("zero", shape: [1], dtype: .uint8)
        let w = Relay.Constant(try integers([48, shape[shape.count - 1]], .int8, 1))
        let y = try Relay.call("nn.dense", [try centred(x, try centred(zero, nil)), try centred(w, nil)])
        try expectExact(Relay.Function([x, zero], y))
    }

    @Test(arguments: kinds, [false, true])
    func matricesKnownAtRunTime(_ kind: (DataType, DataType), _ transposed: Bool) throws {
        let a = Relay.Var("a", shape: [3, 9, 27], dtype: kind.0)
        let b = Relay.Var("b", shape: transposed ? [3, 21, 27] : [3, 27, 21], dtype: kind.1)
        let y = try Relay.call(
            "nn.batch_matmul", [try centred(a, try number(7)), try centred(b, try number(-4))],
            ["transpose_a": false, "transpose_b": .bool(transposed)])
        try expectExact(Relay.Function([a, b], y))
    }

    @Test func transposedLeftOperand() throws {
        let a = Relay.Var("a", shape: [32, 9], dtype: .int8)
        let b = Relay.Var("b", shape: [32, 21], dtype: .int8)
        let y = try Relay.call(
            "nn.matmul", [try centred(a, nil), try centred(b, try number(5))], ["transpose_a": true])
        try expectExact(Relay.Function([a, b], y))
    }

    /// Channels in and out, extent, kernel, stride, groups, padding.
    @Test(
        arguments: kinds,
        [
            [16, 16, 8, 3, 1, 1, 1], [3, 16, 9, 3, 2, 1, 1], [32, 20, 7, 1, 1, 1, 0],
            [21, 16, 6, 3, 1, 1, 0],
            [32, 32, 6, 3, 1, 2, 1],
        ])
    func convolution(_ kind: (DataType, DataType), _ c: [Int]) throws {
        let x = Relay.Var("x", shape: [1, c[0], c[2], c[2]], dtype: kind.0)
        let w = Relay.Constant(try integers([c[1], c[0] / c[5], c[3], c[3]], kind.1, 1))
        let y = try Relay.call(
            "nn.conv2d",
            [try centred(x, try number(6)), try centred(w, kind.1 == .uint8 ? try number(128) : nil)],
            [
                "kernel_size": .ints([c[3], c[3]]), "channels": .int(c[1]), "strides": .ints([c[4], c[4]]),
                "padding": .ints([c[6], c[6], c[6], c[6]]), "groups": .int(c[5]),
            ])
        let bias = Relay.Constant(try integers([c[1], 1, 1], .int32, 2))
        try expectExact(Relay.Function([x], try Relay.call("add", [y, bias])))
    }

    /// Two layers with requantisation between them: blocks flow through it, the padding included.
    @Test func layersInSequence() throws {
        func conv(_ e: RelayExpr, _ i: Int, _ o: Int, _ seed: Int, groups: Int = 1) throws -> RelayExpr {
            let w = Relay.Constant(try integers([o, i / groups, 3, 3], .int8, seed))
            return try Relay.call(
                "nn.conv2d", [try centred(e, try number(5)), try centred(w, nil)],
                [
                    "kernel_size": .ints([3, 3]), "channels": .int(o), "padding": .ints([1, 1, 1, 1]),
                    "groups": .int(groups),
                ])
        }
        func requantised(_ e: RelayExpr) throws -> RelayExpr {
            let real = try Relay.call("cast", [e], ["dtype": .dtype(.float32)])
            // A power of two: no rounding but the one asked for.
            let scaled = try Relay.call("multiply", [real, try Relay.scalar(1.0 / 4096, .float32)])
            let moved = try Relay.call(
                "add", [try Relay.call("round", [scaled]), try Relay.scalar(5, .float32)])
            let kept = try Relay.call("clip", [moved], ["a_min": 0.0, "a_max": 255.0])
            return try Relay.call("cast", [kept], ["dtype": .dtype(.uint8)])
        }
        let x = Relay.Var("x", shape: [1, 16, 7, 7], dtype: .uint8)
        let first = try requantised(try conv(x, 16, 24, 1))
        let second = try requantised(try conv(first, 24, 24, 2, groups: 24))
        try expectExact(Relay.Function([x], try conv(second, 24, 16, 3)))
    }

    @Test func valuesBeyondEightBitsStay() throws {
        let x = Relay.Var("x", shape: [4, 8], dtype: .int32)
        let w = Relay.Constant(try integers([5, 8], .int32, 1))
        try expectExact(Relay.Function([x], try Relay.call("nn.dense", [x, w])), words: false)
    }
}
