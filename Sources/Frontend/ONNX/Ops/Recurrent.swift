import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

/// Recurrent layers, unrolled over their static length.
func addRecurrent(_ t: inout [String: ONNXConverter]) {
    t["LSTM"] = { c in try recurrent(c, gates: 4, states: 2) }
    t["GRU"] = { c in try recurrent(c, gates: 3, states: 1) }
    t["RNN"] = { c in try recurrent(c, gates: 1, states: 1) }
    t["ReverseSequence"] = { c in [try reverseSequence(c)] }
}

/// Steps beyond this many would make a graph that takes too long to compile.
private let maximumSteps = 2048

/// One direction of a layer.
private struct Cell {
    let c: NodeContext
    let hidden: Int
    /// [gates * hidden, hidden]
    let recurrence: RelayExpr
    /// The two halves of the bias, of what comes in and of what recurs; [gates * hidden].
    let bias: (input: RelayExpr, recurrent: RelayExpr)?
    /// Peepholes of the input, output and forget gates, [hidden] each.
    let peepholes: [RelayExpr]
    let activations: [@Sendable (NodeContext, RelayExpr) throws -> RelayExpr]
    let clip: Double?

    func f(_ i: Int, _ x: RelayExpr) throws -> RelayExpr {
        try activations[i](c, try clip.map { try c.clipped(x, -$0, $0) } ?? x)
    }

    private func parts(_ e: RelayExpr, _ n: Int) throws -> [RelayExpr] {
        try c.pieces(e, 1, Array(repeating: hidden, count: n))
    }

    private func biasPiece(_ b: RelayExpr, _ i: Int) throws -> RelayExpr {
        try c.sliced(b, 0, i * hidden, (i + 1) * hidden)
    }

    /// `x` is the input's share of every gate, [N, gates * hidden], bias not added.
    func lstm(_ x: RelayExpr, _ h: RelayExpr, _ cell: RelayExpr) throws -> [RelayExpr] {
        var sum = try c.add(x, try c.call("nn.dense", [h, recurrence]))
        if let bias { sum = try c.add(sum, try c.add(bias.input, bias.recurrent)) }
        let g = try parts(sum, 4)
        func peep(_ i: Int, _ e: RelayExpr, _ cell: RelayExpr) throws -> RelayExpr {
            peepholes.isEmpty ? e : try c.add(e, try c.mul(peepholes[i], cell))
        }
        let i = try f(0, try peep(0, g[0], cell))
        let coupled = try c.node.bool("input_forget", default: false)
        let forget =
            coupled ? try c.sub(try c.scalar(1, try c.dtype(i)), i) : try f(0, try peep(2, g[2], cell))
        let next = try c.add(try c.mul(forget, cell), try c.mul(i, try f(1, g[3])))
        let o = try f(0, try peep(1, g[1], next))
        return [try c.mul(o, try activations[2](c, next)), next]
    }

    func gru(_ x: RelayExpr, _ h: RelayExpr) throws -> [RelayExpr] {
        let gx = try parts(x, 3)
        let after = try c.node.bool("linear_before_reset", default: false)
        // Where the reset gate comes first, the third part of the product is that of r * h.
        let rows = after ? 3 : 2
        let matrix = after ? recurrence : try c.sliced(recurrence, 0, 0, 2 * hidden)
        let gh = try parts(try c.call("nn.dense", [h, matrix]), rows)
        func biased(_ e: RelayExpr, _ i: Int) throws -> RelayExpr {
            guard let bias else { return e }
            return try c.add(e, try c.add(try biasPiece(bias.input, i), try biasPiece(bias.recurrent, i)))
        }
        let z = try f(0, try biased(try c.add(gx[0], gh[0]), 0))
        let r = try f(0, try biased(try c.add(gx[1], gh[1]), 1))
        var candidate: RelayExpr
        if after {
            let inner = try bias.map { try c.add(gh[2], try biasPiece($0.recurrent, 2)) } ?? gh[2]
            candidate = try c.add(gx[2], try c.mul(r, inner))
            if let bias { candidate = try c.add(candidate, try biasPiece(bias.input, 2)) }
        } else {
            let last = try c.sliced(recurrence, 0, 2 * hidden, 3 * hidden)
            candidate = try biased(try c.add(gx[2], try c.call("nn.dense", [try c.mul(r, h), last])), 2)
        }
        candidate = try f(1, candidate)
        let keep = try c.mul(z, h)
        return [try c.add(try c.mul(try c.sub(try c.scalar(1, try c.dtype(z)), z), candidate), keep)]
    }

    func rnn(_ x: RelayExpr, _ h: RelayExpr) throws -> [RelayExpr] {
        var sum = try c.add(x, try c.call("nn.dense", [h, recurrence]))
        if let bias { sum = try c.add(sum, try c.add(bias.input, bias.recurrent)) }
        return [try f(0, sum)]
    }
}

private func recurrent(_ c: NodeContext, gates: Int, states: Int) throws -> [RelayExpr?] {
    let batchFirst = try c.node.bool("layout", default: false)
    let x = try batchFirst ? c.transpose(try c.x(0), [1, 0, 2]) : c.x(0)
    let (sx, sw, sr) = (try c.shape(x), try c.shape(try c.x(1)), try c.shape(try c.x(2)))
    let direction = try c.node.string("direction", default: "forward")
    guard let directions = ["forward": 1, "reverse": 1, "bidirectional": 2][direction] else {
        throw ApusError("ONNX300", "direction is not known", actual: direction)
    }
    guard sx.count == 3, sw.count == 3, sr.count == 3, sw[0] == directions, sr[0] == directions,
        sw[2] == sx[2],
        sr[2] > 0, sr[1] / sr[2] == gates, sr[1] % sr[2] == 0, sw[1] == sr[1]
    else { throw ApusError("ONNX301", "the weights do not fit", expected: "\(sx)", actual: "\(sw), \(sr)") }
    let (steps, batch, hidden) = (sx[0], sx[1], sr[2])
    if let h = try c.node.int("hidden_size"), h != hidden {
        throw ApusError(
            "ONNX301", "hidden_size does not fit the weights", expected: "\(hidden)", actual: "\(h)")
    }
    guard steps <= maximumSteps, steps >= 1 else {
        throw ApusError(
            "ONNX302", "the sequence cannot be unrolled", expected: "1 to \(maximumSteps) steps",
            actual: "\(steps)")
    }
    let type = try c.dtype(x)
    let lengths = try c.optional(4).map { try c.reshape(try c.cast($0, .int64), [batch, 1]) }
    let functions = try activations(c, gates: gates, directions: directions)
    let zero = try c.scalar(0, type)
    func row(_ i: Int, _ d: Int, _ rest: [Int]) throws -> RelayExpr? {
        guard let e = c.optional(i) else { return nil }
        return try c.reshape(try c.sliced(e, 0, d, d + 1), rest)
    }
    var sequences: [RelayExpr] = []
    var finals: [[RelayExpr]] = []
    for d in 0..<directions {
        let reversed = direction == "reverse" || d == 1
        let w = try c.reshape(try c.sliced(try c.x(1), 0, d, d + 1), [sw[1], sw[2]])
        let bias = try row(3, d, [2 * gates * hidden])
        let holes = try gates == 4 ? row(7, d, [3 * hidden]) : nil
        let cell = Cell(
            c: c, hidden: hidden,
            recurrence: try c.reshape(try c.sliced(try c.x(2), 0, d, d + 1), [sr[1], hidden]),
            bias: try bias.map {
                (
                    input: try c.sliced($0, 0, 0, gates * hidden),
                    recurrent: try c.sliced($0, 0, gates * hidden, 2 * gates * hidden)
                )
            },
            peepholes: try holes.map { try c.pieces($0, 0, [hidden, hidden, hidden]) } ?? [],
            activations: functions[d], clip: try c.node.float("clip").map { Double($0) })
        // The input's share of all steps is one product.
        let flat = try c.reshape(x, [try c.product([steps, batch]), sx[2]])
        let shares = try c.reshape(try c.call("nn.dense", [flat, w]), [steps, batch, sw[1]])
        let inputs = try c.pieces(shares, 0, Array(repeating: 1, count: steps))
        func initial(_ i: Int) throws -> RelayExpr {
            guard let e = c.optional(i) else { return try c.filled(0, [batch, hidden], type) }
            return try c.reshape(try c.sliced(e, batchFirst ? 1 : 0, d, d + 1), [batch, hidden])
        }
        var state = [try initial(5)]
        if states == 2 { state.append(try initial(6)) }
        var outputs = Array(repeating: state[0], count: steps)
        for step in 0..<steps {
            let i = reversed ? steps - 1 - step : step
            let share = try c.reshape(inputs[i], [batch, sw[1]])
            var next: [RelayExpr]
            switch gates {
            case 4: next = try cell.lstm(share, state[0], state[1])
            case 3: next = try cell.gru(share, state[0])
            default: next = try cell.rnn(share, state[0])
            }
            outputs[i] = next[0]
            if let lengths {
                // Beyond the end of a row its state stays, and the output is zero.
                let inside = try c.call("greater", [lengths, try Relay.scalar(i, .int64)])
                outputs[i] = try c.choose(inside, next[0], zero)
                next = try zip(next, state).map { try c.choose(inside, $0, $1) }
            }
            state = next
        }
        let stacked =
            steps == 1
            ? try c.reshape(outputs[0], [1, batch, hidden])
            : try c.call("stack", [Relay.Tuple(outputs)], ["axis": 0])
        sequences.append(try c.reshape(stacked, [steps, 1, batch, hidden]))
        finals.append(try state.map { try c.reshape($0, [1, batch, hidden]) })
    }
    var y = try c.joined(sequences, 1)
    if batchFirst { y = try c.transpose(y, [2, 0, 1, 3]) }
    var results: [RelayExpr?] = [y]
    for s in 0..<states {
        let all = try c.joined(finals.map { $0[s] }, 0)
        results.append(batchFirst ? try c.transpose(all, [1, 0, 2]) : all)
    }
    return results
}

/// The functions of each direction: the gates', the candidate's, the cell's.
private func activations(
    _ c: NodeContext, gates: Int, directions: Int
) throws -> [[@Sendable (NodeContext, RelayExpr) throws -> RelayExpr]] {
    let standard = gates == 4 ? ["Sigmoid", "Tanh", "Tanh"] : (gates == 3 ? ["Sigmoid", "Tanh"] : ["Tanh"])
    let names =
        try c.node.strings("activations") ?? Array(repeating: standard, count: directions).flatMap { $0 }
    guard names.count == standard.count * directions else {
        throw ApusError(
            "ONNX303", "the number of activations does not fit", expected: "\(standard.count * directions)",
            actual: "\(names.count)")
    }
    var alphas = (try c.node.floats("activation_alpha") ?? []).map { Double($0) }[...]
    var betas = (try c.node.floats("activation_beta") ?? []).map { Double($0) }[...]
    var all: [@Sendable (NodeContext, RelayExpr) throws -> RelayExpr] = []
    for name in names { all.append(try activation(name, &alphas, &betas)) }
    return (0..<directions).map { Array(all[($0 * standard.count)..<(($0 + 1) * standard.count)]) }
}

private func activation(
    _ name: String, _ alphas: inout ArraySlice<Double>, _ betas: inout ArraySlice<Double>
) throws -> @Sendable (NodeContext, RelayExpr) throws -> RelayExpr {
    switch name.lowercased() {
    case "sigmoid": return { c, x in try c.apply("sigmoid", x) }
    case "tanh": return { c, x in try c.apply("tanh", x) }
    case "relu": return { c, x in try c.apply("nn.relu", x) }
    case "softsign": return { c, x in try c.div(x, try c.add(try c.apply("abs", x), 1)) }
    case "softplus": return { c, x in try softplus(c, x) }
    case "affine":
        let (a, b) = (alphas.popFirst() ?? 1, betas.popFirst() ?? 0)
        return { c, x in try c.add(try c.mul(x, a), b) }
    case "hardsigmoid":
        let (a, b) = (alphas.popFirst() ?? 0.2, betas.popFirst() ?? 0.5)
        return { c, x in try c.clipped(try c.add(try c.mul(x, a), b), 0, 1) }
    case "scaledtanh":
        let (a, b) = (alphas.popFirst() ?? 1, betas.popFirst() ?? 1)
        return { c, x in try c.mul(try c.apply("tanh", try c.mul(x, b)), a) }
    case "leakyrelu":
        let a = alphas.popFirst() ?? 0.01
        return { c, x in
            try c.choose(try c.call("less", [x, try c.scalar(0, try c.dtype(x))]), try c.mul(x, a), x)
        }
    case "thresholdedrelu":
        let a = alphas.popFirst() ?? 1
        return { c, x in
            let type = try c.dtype(x)
            return try c.choose(try c.call("greater", [x, try c.scalar(a, type)]), x, try c.scalar(0, type))
        }
    case "elu":
        let a = alphas.popFirst() ?? 1
        return { c, x in
            let zero = try c.scalar(0, try c.dtype(x))
            let below = try c.add(try c.apply("exp", try c.call("minimum", [x, zero])), -1)
            return try c.choose(try c.call("less", [x, zero]), try c.mul(below, a), x)
        }
    default: throw ApusError("ONNX304", "the activation is not supported", actual: name)
    }
}

/// Each row's first elements in reverse order, the others where they are.
private func reverseSequence(_ c: NodeContext) throws -> RelayExpr {
    let x = try c.x(0)
    let shape = try c.shape(x)
    let batchAxis = try c.node.int("batch_axis", default: 1)
    let timeAxis = try c.node.int("time_axis", default: 0)
    guard Set([batchAxis, timeAxis]) == [0, 1], shape.count >= 2 else {
        throw ApusError(
            "ONNX305", "the batch and time axes must be 0 and 1", actual: "\(batchAxis), \(timeAxis)")
    }
    let steps = try c.counting(shape[timeAxis], timeAxis == 0 ? [shape[0], 1] : [1, shape[1]])
    let lengths = try c.reshape(
        try c.cast(try c.x(1), .int64), batchAxis == 0 ? [shape[0], 1] : [1, shape[1]])
    let back = try c.add(try c.sub(lengths, steps), -1)
    let at = try c.choose(try c.call("less", [steps, lengths]), back, steps)
    let wide = try c.reshape(at, Array(try c.shape(at)) + Array(repeating: 1, count: shape.count - 2))
    return try c.call("gather", [x, try c.broadcast(wide, shape)], ["axis": .int(timeAxis)])
}
