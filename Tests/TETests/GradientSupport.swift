import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import Testing

/// Runs the function that computes `outputs`; inputs by value.
func interpret(_ outputs: [Tensor], _ inputs: [(tensor: Tensor, values: [Double])]) throws -> [[Double]] {
    let f = try createPrimFunc(inputs.map { $0.tensor } + outputs)
    try verifyWellFormed(f)
    let results = try outputs.map { t in
        try NDArray.allocate(shape: try #require(t.staticShape), dtype: t.dtype)
    }
    let given = try inputs.map { try array($0.values, $0.tensor) }
    try TIRInterpreter.run(f, given + results)
    return try results.map { try $0.toDoubles() }
}

func array(_ values: [Double], _ t: Tensor) throws -> NDArray {
    let shape = try #require(t.staticShape)
    switch t.dtype {
    case .float64: return NDArray(values, shape: shape)
    case .float32: return NDArray(values.map { Float($0) }, shape: shape)
    case .int32: return NDArray(values.map { Int32($0) }, shape: shape)
    case .int64: return NDArray(values.map { Int64($0) }, shape: shape)
    default: throw ApusError("TEST", "no array of \(t.dtype)")
    }
}

/// Numbers in `low ..< high`, the same for the same seed.
func numbers(_ n: Int, _ seed: Int, _ low: Double = -1, _ high: Double = 1) -> [Double] {
    var state = UInt64(truncatingIfNeeded: seed) &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678
    return (0..<n).map { _ in
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return low + (high - low) * Double(state >> 11) / Double(1 << 53)
    }
}

func elements(_ t: Tensor) -> Int { (t.staticShape ?? []).reduce(1, *) }

/// Compares `gradient(output, inputs, head)` for a random head with central differences in float64.
func expectGradient(
    _ output: Tensor, _ inputs: [Tensor], low: Double = -1, high: Double = 1, step: Double = 1e-5,
    tolerance: Double = 1e-6, seed: Int = 7, others: [(tensor: Tensor, values: [Double])] = [],
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let head = placeholder(output.shape, output.dtype, name: "head")
    let weights = numbers(elements(output), seed)
    var values = inputs.enumerated().map { numbers(elements($1), seed + 1 + $0, low, high) }
    let grads = try gradient(output, inputs, head: head)
    func given() -> [(tensor: Tensor, values: [Double])] {
        zip(inputs, values).map { (tensor: $0, values: $1) } + others
    }
    let found = try interpret(grads, given() + [(tensor: head, values: weights)])
    let forward = try createPrimFunc(inputs + others.map { $0.tensor } + [output])
    func loss() throws -> Double {
        let result = try NDArray.allocate(shape: try #require(output.staticShape), dtype: output.dtype)
        try TIRInterpreter.run(forward, try given().map { try array($0.values, $0.tensor) } + [result])
        return zip(try result.toDoubles(), weights).reduce(0.0) { $0 + $1.0 * $1.1 }
    }
    for k in inputs.indices {
        for i in values[k].indices {
            let x = values[k][i]
            values[k][i] = x + step
            let up = try loss()
            values[k][i] = x - step
            let down = try loss()
            values[k][i] = x
            let expected = (up - down) / (2 * step)
            #expect(
                abs(found[k][i] - expected) <= tolerance * max(1, abs(expected)),
                "\(inputs[k].op.name)[\(i)]: \(found[k][i]) is not \(expected)",
                sourceLocation: sourceLocation)
        }
    }
}
