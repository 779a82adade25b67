import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import Testing

/// Random tensors for every parameter of a function, the same for the same seed; NaN where the function writes floats.
func arguments(_ f: PrimFunc, seed: UInt64 = 1) throws -> [NDArray] {
    var result: [NDArray] = []
    for (i, entry) in f.bufferMap.enumerated() {
        let shape = try #require(entry.buffer.staticShape)
        result.append(NDArray.random(shape: shape, dtype: entry.buffer.dtype, seed: seed &+ UInt64(i)))
    }
    return result
}

/// What a function leaves in its parameters, by the interpreter.
func results(_ f: PrimFunc, seed: UInt64 = 1) throws -> [[Double]] {
    let arrays = try arguments(f, seed: seed)
    try TIRInterpreter.run(f, arrays)
    return try arrays.map { try $0.toDoubles() }
}

/// The first difference between what two functions compute, or nil.
func difference(_ a: PrimFunc, _ b: PrimFunc, seed: UInt64 = 1, tolerance: Double = 1e-4) throws -> String? {
    let x = try results(a, seed: seed)
    let y = try results(b, seed: seed)
    if x.count != y.count { return "another number of parameters" }
    for (n, (p, q)) in zip(x, y).enumerated() {
        for i in p.indices
        where !(abs(p[i] - q[i]) <= tolerance * max(1, abs(p[i])) || p[i].isNaN && q[i].isNaN || p[i] == q[i])
        {
            return "parameter \(n) element \(i): \(p[i]) became \(q[i])"
        }
    }
    return nil
}

/// Runs the function that computes `outputs` from `inputs` by the interpreter.
func run(_ outputs: [Tensor], _ inputs: [(Tensor, NDArray)]) throws -> [NDArray] {
    let function = try createPrimFunc(inputs.map { $0.0 } + outputs)
    try verifyWellFormed(function)
    let results = try outputs.map { t in
        try NDArray.allocate(shape: try #require(t.staticShape), dtype: t.dtype)
    }
    try TIRInterpreter.run(function, inputs.map { $0.1 } + results)
    return results
}

/// The code of the error that `body` throws, or nil.
func errorCode(_ body: () throws -> Void) -> String? {
    do {
        try body()
        return nil
    } catch {
        return (error as? ApusError)?.code ?? "\(error)"
    }
}
