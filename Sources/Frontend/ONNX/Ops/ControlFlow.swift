import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

/// Branches and loops whose course is known at compile time.
func addControlFlow(_ t: inout [String: ONNXConverter]) {
    t["If"] = { c in
        guard let v = try c.importer.evaluated(try c.x(0)), v.count == 1 else {
            throw ApusError(
                "ONNX230", "a branch that depends on the model's inputs is not supported",
                hint: "fix the input it depends on, such as --constant NAME=value.npy")
        }
        let name = try v.toDoubles()[0] != 0 ? "then_branch" : "else_branch"
        guard let branch = try c.node.graph(name) else {
            throw ApusError("ONNX231", "If needs both branches")
        }
        return try c.importer.subgraph(branch)
    }
    t["Loop"] = { c in try loop(c) }
    t["Scan"] = { c in try scan(c) }
}

private let maximumIterations = 1024

private func loop(_ c: NodeContext) throws -> [RelayExpr?] {
    guard let body = try c.node.graph("body") else { throw ApusError("ONNX340", "Loop needs a body") }
    let limit = try c.optional(0) == nil ? Int.max : c.knownInts(0)?.first ?? Int.max
    var state = try (0..<max(0, c.inputs.count - 2)).map { try c.x($0 + 2) }
    guard body.inputs.count == state.count + 2, body.outputs.count > state.count else {
        throw ApusError(
            "ONNX341", "the body does not fit the loop", expected: "\(state.count + 2) inputs",
            actual: "\(body.inputs.count)")
    }
    func holds(_ e: RelayExpr) throws -> Bool {
        guard let v = try c.importer.evaluated(e), v.count == 1 else {
            throw ApusError("ONNX342", "a loop whose end depends on the model's inputs is not supported")
        }
        return try v.toDoubles()[0] != 0
    }
    var condition = c.optional(1)
    var collected = Array(repeating: [RelayExpr](), count: body.outputs.count - 1 - state.count)
    var i = 0
    while i < limit, try condition.map({ try holds($0) }) ?? true {
        guard i < maximumIterations else {
            throw ApusError(
                "ONNX343", "the loop is too long to unroll", expected: "at most \(maximumIterations) rounds")
        }
        let step = c.constant(NDArray([Int64(i)], shape: []))
        let first = try condition ?? Relay.scalar(1, .bool)
        let results = try c.importer.subgraph(body, [step, first] + state)
        condition = results[0]
        state = Array(results[1..<(1 + state.count)])
        for (k, e) in results[(1 + state.count)...].enumerated() { collected[k].append(e) }
        i += 1
    }
    return state
        + (try collected.map { list -> RelayExpr in
            guard !list.isEmpty else {
                throw ApusError("ONNX344", "a loop of no rounds has no type for what it collects")
            }
            return try c.call("stack", [Relay.Tuple(list)], ["axis": 0])
        })
}

private func scan(_ c: NodeContext) throws -> [RelayExpr?] {
    guard c.opset >= 9 else { throw ApusError("ONNX345", "Scan before version 9 is not supported") }
    guard let body = try c.node.graph("body") else { throw ApusError("ONNX340", "Scan needs a body") }
    let n = try c.int("num_scan_inputs", default: 0, in: 1...max(1, c.inputs.count))
    let states = c.inputs.count - n
    var state = try (0..<states).map { try c.x($0) }
    let inputs = try (states..<c.inputs.count).map { try c.x($0) }
    let outputs = body.outputs.count - states
    guard states >= 0, body.inputs.count == c.inputs.count, outputs >= 0 else {
        throw ApusError(
            "ONNX341", "the body does not fit the scan", expected: "\(c.inputs.count) inputs",
            actual: "\(body.inputs.count)")
    }
    func list(_ name: String, _ count: Int) throws -> [Int] {
        let v = try c.node.ints(name, default: Array(repeating: 0, count: count))
        guard v.count == count else {
            throw ApusError(
                "ONNX346", "`\(name)` has the wrong length", expected: "\(count)", actual: "\(v.count)")
        }
        return v
    }
    let inputAxes = try zip(try list("scan_input_axes", n), inputs).map {
        try c.axis($0, rank: try c.shape($1).count)
    }
    let backwards = try list("scan_input_directions", n)
    let outputAxes = try list("scan_output_axes", outputs)
    let prepends = try list("scan_output_directions", outputs)
    guard let first = inputs.first else { throw ApusError("ONNX346", "Scan needs an input to scan") }
    let steps = try c.shape(first)[inputAxes[0]]
    for (e, a) in zip(inputs, inputAxes) where try c.shape(e)[a] != steps {
        throw ApusError(
            "ONNX346", "the inputs to scan have different lengths", expected: "\(steps)",
            actual: "\(try c.shape(e)[a])")
    }
    guard steps >= 1, steps <= maximumIterations else {
        throw ApusError(
            "ONNX343", "the scan cannot be unrolled", expected: "1 to \(maximumIterations) rounds",
            actual: "\(steps)")
    }
    var collected = Array(repeating: [RelayExpr](), count: outputs)
    for i in 0..<steps {
        var arguments = state
        for (k, e) in inputs.enumerated() {
            let at = backwards[k] == 1 ? steps - 1 - i : i
            var shape = try c.shape(e)
            let piece = try c.sliced(e, inputAxes[k], at, at + 1)
            shape.remove(at: inputAxes[k])
            arguments.append(try c.reshape(piece, shape))
        }
        let results = try c.importer.subgraph(body, arguments)
        state = Array(results[..<states])
        for (k, e) in results[states...].enumerated() { collected[k].append(e) }
    }
    var all: [RelayExpr?] = state
    for (k, list) in collected.enumerated() {
        let parts = prepends[k] == 1 ? list.reversed() : list
        let rank = try c.shape(parts[0]).count
        all.append(
            try c.call(
                "stack", [Relay.Tuple(parts)], ["axis": .int(try c.axis(outputAxes[k], rank: rank + 1))]))
    }
    return all
}
