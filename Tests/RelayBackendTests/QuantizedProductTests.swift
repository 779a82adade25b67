import ApusIR
import ApusNode
import ApusRelay
import ApusRelayBackend
import ApusRelayTransforms
import ApusRuntime
import ApusTarget
import Testing

/// Graphs of dequantised operands against sums of integers: element by element the same.
@Suite struct QuantizedProductTests {
    init() { OpStrategies.registerAll() }

    private func bytes(_ shape: [Int], _ type: DataType, _ seed: Int) throws -> NDArray {
        let values = (0..<shape.reduce(1, *)).map { i in
            UInt8(truncatingIfNeeded: (UInt32(truncatingIfNeeded: i &+ seed &* 7919) &* 2_654_435_761) >> 11)
        }
        return type == .uint8
            ? try NDArray(values).reshaped(to: shape)
            : try NDArray(values.map { Int8(bitPattern: $0) }).reshaped(to: shape)
    }

    private func cast(_ e: RelayExpr, _ type: DataType) throws -> RelayExpr {
        try Relay.call("cast", [e], ["dtype": .dtype(type)])
    }

    /// DequantizeLinear as it is imported.
    private func dequantized(_ e: RelayExpr, _ scale: RelayExpr, zero: RelayExpr) throws -> RelayExpr {
        try Relay.call(
            "multiply",
            [try Relay.call("subtract", [try cast(e, .float32), try cast(zero, .float32)]), scale])
    }

    /// QuantizeLinear as it is imported.
    private func quantized(_ e: RelayExpr, _ scale: Float, zero: Int, _ type: DataType) throws -> RelayExpr {
        let ratio = try Relay.call("divide", [e, try Relay.scalar(Double(scale), .float32)])
        let moved = try Relay.call(
            "add",
            [try Relay.call("round", [ratio]), try cast(try Relay.scalar(Double(zero), type), .float32)])
        let ends = type == .uint8 ? (0.0, 255.0) : (-128.0, 127.0)
        return try cast(
            try Relay.call("clip", [moved], ["a_min": .float(ends.0), "a_max": .float(ends.1)]), type)
    }

    private func integers(_ e: RelayExpr, _ zero: Int) throws -> RelayExpr {
        try Relay.call("subtract", [try cast(e, .int32), try Relay.scalar(Double(zero), .int32)])
    }

    struct Case: Sendable, CustomStringConvertible {
        var kind = "conv"
        var data: DataType = .uint8
        var zero = 3
        var perOutput = true
        /// A whole number of steps of the sum, any other number, or none.
        var bias: String = "whole"
        var result: DataType? = .uint8
        var description: String {
            "\(kind) of \(data) less \(zero), scales \(perOutput), bias \(bias), to \(result.map { "\($0)" } ?? "float32")"
        }
    }

    static let cases: [Case] = ["conv", "strided", "dense", "transposed dense", "stack"].flatMap { kind in
        [
            Case(kind: kind), Case(kind: kind, data: .int8, zero: -7, perOutput: false, result: .int8),
            Case(kind: kind, zero: 0, bias: "none"), Case(kind: kind, data: .int8, bias: "other"),
            Case(kind: kind, perOutput: false, result: nil),
        ]
    }

    @Test(arguments: cases)
    func sumsOfIntegers(_ c: Case) throws {
        let outputs = 24
        let isConv = c.kind == "conv" || c.kind == "strided"
        let shape: [Int]
        let weightShape: [Int]
        switch c.kind {
        case "conv": (shape, weightShape) = ([1, 20, 9, 11], [outputs, 20, 3, 3])
        case "strided": (shape, weightShape) = ([1, 3, 17, 15], [outputs, 3, 5, 5])
        case "dense": (shape, weightShape) = ([7, 50], [outputs, 50])
        case "stack": (shape, weightShape) = ([2, 5, 33], [33, outputs])
        default: (shape, weightShape) = ([7, 50], [50, outputs])
        }
        let x = Relay.Var("x", shape: shape, dtype: c.data)
        let weight = Relay.Constant(try bytes(weightShape, .int8, 2))
        let own: Float = 0.02
        let scales = (0..<outputs).map { c.perOutput ? 0.001 * Float($0 + 5) : 0.0125 }
        // One scale an output, along its axis of the weight.
        let axis = isConv || c.kind == "dense" ? 0 : 1
        var scaleShape = [Int](repeating: 1, count: weightShape.count)
        scaleShape[axis] = outputs
        let scale: RelayExpr =
            c.perOutput
            ? try Relay.call(
                "reshape", [Relay.Constant(NDArray(scales))], ["newshape": .ints(scaleShape)])
            : try Relay.scalar(Double(scales[0]), .float32)
        let steps = (0..<outputs).map { Int32($0 * 131 - 900) }
        let factors = scales.map { own * $0 }
        let attrs: Attrs =
            isConv
            ? Attrs([
                "kernel_size": .ints(Array(weightShape.suffix(2))), "channels": .int(outputs),
                "padding": .ints([1, 1, 1, 1]), "strides": .ints(c.kind == "conv" ? [1, 1] : [2, 2]),
            ]) : Attrs([])
        func product(_ a: RelayExpr, _ w: RelayExpr) throws -> RelayExpr {
            if isConv { return try Relay.call("nn.conv2d", [a, w], attrs: attrs) }
            return try Relay.call(
                "nn.dense", [a, axis == 0 ? w : try Relay.call("transpose", [w], ["axes": .ints([1, 0])])])
        }
        let biasShape = isConv ? [outputs, 1, 1] : [outputs]
        func along(_ values: NDArray) throws -> RelayExpr {
            try Relay.call("reshape", [Relay.Constant(values)], ["newshape": .ints(biasShape)])
        }
        var real = try product(
            try dequantized(
                x, try Relay.scalar(Double(own), .float32), zero: try Relay.scalar(Double(c.zero), c.data)),
            try dequantized(weight, scale, zero: try Relay.scalar(0, .int8)))
        var sum = try product(try integers(x, c.zero), try integers(weight, 0))
        let other = (0..<outputs).map { Float($0) * 0.37 - 3 }
        if c.bias == "whole" {
            let bias = zip(steps, factors).map { Float($0) * $1 }
            real = try Relay.call("add", [real, try along(NDArray(bias))])
            sum = try Relay.call("add", [sum, try along(NDArray(steps))])
        } else if c.bias == "other" {
            real = try Relay.call("add", [real, try along(NDArray(other))])
        }
        let step: Float = 0.9
        let body = try c.result.map { try quantized(real, step, zero: $0 == .uint8 ? 100 : -20, $0) } ?? real

        let module = try quantizedProducts.run(IRModule(Relay.Function([x], body)))
        let main = try #require(module["main"] as? Relay.Function)
        let calls = Relay.postOrder(main.body).compactMap { $0 as? Relay.Call }
        let products = calls.filter { ["nn.conv2d", "nn.dense"].contains($0.opName) }
        #expect(products.map { $0.tensorType?.dtype } == [.int32])
        // The scale of the result joins that of the operands.
        if c.result != nil, c.bias != "other" { #expect(!calls.contains { $0.opName == "divide" }) }

        let input = try bytes(shape, c.data, 1)
        let executor = try compile(module, CompileOptions(target: .host)).executor()
        try executor.setInput(0, input)
        try executor.run()
        let actual = try executor.output(0).toDoubles()
        let sums = try interpret(Relay.Function([x], sum), [input], target: .host)[0].toDoubles()
        #expect(actual.count == sums.count)
        let inside = isConv ? sums.count / outputs : 1
        for (n, (a, s)) in zip(actual, sums).enumerated() {
            let output = n / inside % outputs
            if let type = c.result, c.bias != "other" {
                let moved =
                    (Float(s) * (factors[output] / step)).rounded(.toNearestOrEven)
                    + (type == .uint8 ? 100 : -20)
                let ends: ClosedRange<Float> = type == .uint8 ? 0...255 : -128...127
                #expect(Float(a) == min(max(moved, ends.lowerBound), ends.upperBound))
            } else {
                let value = Float(s) * factors[output] + (c.bias == "other" ? other[output] : 0)
                if let type = c.result {
                    let zero: Float = type == .uint8 ? 100 : -20
                    let exact = value / step + zero
                    let ends: ClosedRange<Float> = type == .uint8 ? 0...255 : -128...127
                    // Where the number lies between two, either.
                    #expect(abs(Float(a) - min(max(exact, ends.lowerBound), ends.upperBound)) <= 0.5001)
                } else {
                    #expect(abs(Float(a) - value) <= 1e-5 * max(1, abs(value)))
                }
            }
        }
    }

    @Test(arguments: [(DataType.uint8, DataType.uint8), (.uint8, .int8), (.int8, .int8)], [false, true])
    func matricesKnownAtRunTime(_ types: (DataType, DataType), transposed: Bool) throws {
        let a = Relay.Var("a", shape: [3, 5, 33], dtype: types.0)
        let b = Relay.Var("b", shape: transposed ? [3, 21, 33] : [3, 33, 21], dtype: types.1)
        func product(_ a: RelayExpr, _ b: RelayExpr) throws -> RelayExpr {
            try Relay.call("nn.batch_matmul", [a, b], ["transpose_b": .bool(transposed)])
        }
        func operand(_ v: Relay.Var, _ scale: Double, zero: Double, _ type: DataType) throws -> RelayExpr {
            try dequantized(v, try Relay.scalar(scale, .float32), zero: try Relay.scalar(zero, type))
        }
        let body = try product(try operand(a, 0.5, zero: 4, types.0), try operand(b, 0.25, zero: 9, types.1))
        let module = try quantizedProducts.run(IRModule(Relay.Function([a, b], body)))
        let main = try #require(module["main"] as? Relay.Function)
        let products = Relay.postOrder(main.body).compactMap { $0 as? Relay.Call }.filter {
            $0.opName == "nn.batch_matmul"
        }
        #expect(products.map { $0.tensorType?.dtype } == [.int32])
        let inputs = [
            try bytes([3, 5, 33], types.0, 1),
            try bytes(transposed ? [3, 21, 33] : [3, 33, 21], types.1, 2),
        ]
        let executor = try compile(module, CompileOptions(target: .host)).executor()
        for (i, v) in inputs.enumerated() { try executor.setInput(i, v) }
        try executor.run()
        let sums = Relay.Function([a, b], try product(try integers(a, 4), try integers(b, 9)))
        let expected = try interpret(sums, inputs, target: .host)[0].toDoubles().map { $0 * 0.125 }
        #expect(try executor.output(0).toDoubles() == expected)
    }
}
