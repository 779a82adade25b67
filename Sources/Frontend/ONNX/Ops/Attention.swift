import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

/// Attention and what belongs to sequence models.
func addAttention(_ t: inout [String: ONNXConverter]) {
    t["Attention"] = { c in try attention(c) }
    t["RotaryEmbedding"] = { c in [try rotary(c)] }
    t["LinearAttention"] = { c in try linearAttention(c) }
    t["CausalConvWithState"] = { c in
        let x = try c.x(0)
        let w = try c.x(1)
        let shape = try c.shape(x)
        let kernel = try c.shape(w)
        guard shape.count == 3, kernel.count == 3, kernel[2] >= 1 else {
            throw ApusError(
                "ONNX280", "data [N, C, L] and a weight [C, 1, k] are needed", actual: "\(shape), \(kernel)")
        }
        let type = try c.dtype(x)
        let before =
            try c.optional(3)
            ?? (kernel[2] > 1 ? c.filled(0, [shape[0], shape[1], kernel[2] - 1], type) : nil)
        guard try before.map({ try c.shape($0).count == 3 }) ?? true else {
            throw ApusError("ONNX280", "a state [N, C, k - 1] is needed")
        }
        let padded = try before.map { try c.shape($0)[2] == 0 ? x : c.joined([$0, x], 2) } ?? x
        var y = try c.call(
            "nn.conv1d", [padded, w],
            [
                "groups": .int(shape[1]), "channels": .int(kernel[0]), "kernel_size": .ints([kernel[2]]),
                "data_layout": "NCW", "kernel_layout": "OIW",
            ])
        if let bias = c.optional(2) { y = try c.add(y, try c.along(bias, 1, rank: 3)) }
        switch try c.node.string("activation", default: "none") {
        case "none": break
        case "silu", "swish":
            let f = type.bits < 32 ? try c.cast(y, .float32) : y
            y = try c.cast(try c.mul(f, try c.apply("sigmoid", f)), type)
        default:
            throw ApusError("ONNX281", "the activation is not known", actual: try c.node.string("activation"))
        }
        let end = try c.shape(padded)[2]
        return [
            y,
            kernel[2] == 1
                ? try c.filled(0, [shape[0], shape[1], 0], type)
                : try c.sliced(padded, 2, end - kernel[2] + 1, end),
        ]
    }
    t["SwiGLU"] = { c in
        let a = try c.x(0)
        let alpha = Double(try c.node.float("alpha", default: 1))
        let gate = try c.apply("sigmoid", alpha == 1 ? a : try c.mul(a, alpha))
        return [try c.mul(try c.mul(a, gate), try c.x(1))]
    }
}

/// [N, L, heads * D] as [N, heads, L, D].
private func heads(_ c: NodeContext, _ e: RelayExpr, _ count: Int) throws -> RelayExpr {
    let s = try c.shape(e)
    if s.count == 4 { return e }
    guard s.count == 3, count >= 1, s[2] % count == 0 else {
        throw ApusError(
            "ONNX282", "the heads do not divide the last axis", expected: "a divisor of \(s.last ?? 0)",
            actual: "\(count)")
    }
    return try c.transpose(try c.reshape(e, [s[0], s[1], count, s[2] / count]), [0, 2, 1, 3])
}

private func attention(_ c: NodeContext) throws -> [RelayExpr?] {
    let three = try c.shape(try c.x(0)).count == 3
    let qHeads = try c.node.int("q_num_heads", default: 0)
    let kvHeads = try c.node.int("kv_num_heads", default: 0)
    let q = try heads(c, try c.x(0), qHeads)
    var k = try heads(c, try c.x(1), kvHeads)
    var v = try heads(c, try c.x(2), kvHeads)
    if let past = c.optional(4) { k = try c.joined([past, k], 2) }
    if let past = c.optional(5) { v = try c.joined([past, v], 2) }
    let present = (k, v)
    let type = try c.dtype(q)
    let sq = try c.shape(q)
    let sk = try c.shape(k)
    guard sq.count == 4, sk.count == 4, try c.shape(v).count == 4, sq[1] >= 1, sk[1] >= 1, sq[1] % sk[1] == 0,
        sq[3] > 0
    else {
        throw ApusError("ONNX283", "the operands of attention do not fit", expected: "\(sq)", actual: "\(sk)")
    }
    k = try c.repeated(k, sq[1] / sk[1], 1)
    v = try c.repeated(v, sq[1] / sk[1], 1)
    // The root on both sides keeps halves from overflowing, as the standard says.
    let scale = try c.node.float("scale").map { Double($0) } ?? 1 / Double(sq[3]).squareRoot()
    let root = scale.squareRoot()
    guard root.isFinite else { throw ApusError("ONNX284", "scale must not be negative", actual: "\(scale)") }
    var scores = try c.batched(try c.mul(q, root), try c.mul(k, root), transposeB: true)
    let mode = try c.int("qk_matmul_output_mode", default: 0, in: 0...3)
    var shown = scores
    let cap = Double(try c.node.float("softcap", default: 0))
    if cap > 0 {
        scores = try c.mul(try c.apply("tanh", try c.mul(scores, 1 / cap)), cap)
        if mode == 1 { shown = scores }
    }
    let bias = try attentionBias(c, type, sq, sk)
    if let bias { scores = try c.add(scores, bias) }
    if mode == 2 { shown = scores }
    let precision = try c.node.int("softmax_precision").map { try ONNXElementType.dtype(number: $0) } ?? type
    guard precision.isFloat else { throw ApusError("ONNX284", "softmax_precision must be a floating type") }
    let wide = try c.cast(scores, precision)
    var p: RelayExpr
    if bias == nil {
        p = try c.call("nn.softmax", [wide], ["axis": 3])
    } else {
        // A row that may see nothing gives zeros, not 0 / 0.
        let zero = try c.scalar(0, precision)
        let top = try c.reduced("max", wide, [3])
        let nothing = try c.call("equal", [top, try c.scalar(-.infinity, precision)])
        let e = try c.apply("exp", try c.sub(wide, try c.choose(nothing, zero, top)))
        let sum = try c.reduced("sum", e, [3])
        p = try c.div(e, try c.choose(nothing, try c.scalar(1, precision), sum))
    }
    p = try c.cast(p, type)
    if mode == 3 { shown = p }
    var y = try c.batched(p, v)
    if three {
        let s = try c.shape(y)
        y = try c.reshape(try c.transpose(y, [0, 2, 1, 3]), [s[0], s[2], try c.product([s[1], s[3]])])
    }
    return [y, present.0, present.1, shown]
}

/// What is added to the scores: 0, or minus infinity where a query must not see a key; nil: nothing hidden.
private func attentionBias(_ c: NodeContext, _ type: DataType, _ q: [Int], _ k: [Int]) throws -> RelayExpr? {
    let (queries, keys) = (q[2], k[2])
    let zero = try c.scalar(0, type)
    let hidden = try c.scalar(-.infinity, type)
    var bias: RelayExpr?
    func hide(_ visible: RelayExpr) throws {
        let b = try c.choose(visible, zero, hidden)
        bias = try bias.map { try c.add($0, b) } ?? b
    }
    if var mask = c.optional(3) {
        let s = try c.shape(mask)
        guard s.count >= 1, s.count <= 4 else {
            throw ApusError("ONNX283", "the mask has too many axes", actual: "\(s)")
        }
        let bool = try c.dtype(mask).isBool
        let missing = keys - s[s.count - 1]
        if missing > 0 && s[s.count - 1] > 0 {
            var width = Array(repeating: 0, count: 2 * s.count)
            width[2 * s.count - 1] = missing
            let filler = bool ? try Relay.scalar(0, .bool) : hidden
            mask = try c.call("nn.pad", [mask, filler], ["pad_width": .ints(width), "pad_mode": "constant"])
        }
        if bool { try hide(mask) } else { bias = try c.cast(mask, type) }
    }
    // Where the first query stands among the keys.
    var offset: RelayExpr?
    let lengths = try c.optional(6).map { try c.reshape(try c.cast($0, .int64), [q[0], 1, 1, 1]) }
    if let past = c.optional(4) {
        offset = c.int64([try c.shape(past)[2]])
    } else if let lengths {
        offset = try c.add(lengths, -Double(queries))
    }
    let column = try c.counting(keys, [1, 1, 1, keys])
    func row() throws -> RelayExpr {
        let r = try c.counting(queries, [1, 1, queries, 1])
        return try offset.map { try c.add(r, $0) } ?? r
    }
    if try c.node.bool("is_causal", default: false) {
        try hide(try c.call("less_equal", [column, try row()]))
    }
    let left = try c.int("left_window_size", default: -1, in: -1...(1 << 40))
    let right = try c.int("right_window_size", default: -1, in: -1...(1 << 40))
    if left >= 0 { try hide(try c.call("less_equal", [try c.add(try row(), -Double(left)), column])) }
    if right >= 0 { try hide(try c.call("less_equal", [column, try c.add(try row(), Double(right))])) }
    if let lengths { try hide(try c.call("less", [column, lengths])) }
    return bias
}

private func rotary(_ c: NodeContext) throws -> RelayExpr {
    let x = try c.x(0)
    let own = try c.shape(x)
    // [N, L, heads, D]
    var e = x
    if own.count == 4 {
        e = try c.transpose(x, [0, 2, 1, 3])
    } else {
        let n = try c.node.int("num_heads", default: 0)
        guard own.count == 3, n >= 1, own[2] % n == 0 else {
            throw ApusError("ONNX282", "num_heads must divide the last axis", actual: "\(n) and \(own)")
        }
        e = try c.reshape(x, [own[0], own[1], n, own[2] / n])
    }
    let s = try c.shape(e)
    let given = try c.int("rotary_embedding_dim", default: 0, in: 0...s[3])
    let dim = given == 0 ? s[3] : given
    guard dim % 2 == 0, dim > 0 else {
        throw ApusError("ONNX285", "the number of rotated elements must be even", actual: "\(dim)")
    }
    func table(_ i: Int) throws -> RelayExpr {
        var cache = try c.x(i)
        if let ids = c.optional(3) { cache = try c.call("take", [cache, ids], ["axis": 0]) }
        let t = try c.shape(cache)
        guard t.count == 3, t[2] == dim / 2 else {
            throw ApusError(
                "ONNX286", "the cache does not fit", expected: "[\(s[0]), \(s[1]), \(dim / 2)]",
                actual: "\(t)")
        }
        return try c.reshape(cache, [t[0], t[1], 1, t[2]])
    }
    let (cos, sin) = (try table(1), try table(2))
    let interleaved = try c.node.bool("interleaved", default: false)
    let a = interleaved ? try c.sliced(e, 3, 0, dim, step: 2) : try c.sliced(e, 3, 0, dim / 2)
    let b = interleaved ? try c.sliced(e, 3, 1, dim, step: 2) : try c.sliced(e, 3, dim / 2, dim)
    let real = try c.sub(try c.mul(cos, a), try c.mul(sin, b))
    let imaginary = try c.add(try c.mul(sin, a), try c.mul(cos, b))
    var y: RelayExpr
    if interleaved {
        let pairs = try c.call("stack", [Relay.Tuple([real, imaginary])], ["axis": 4])
        y = try c.reshape(pairs, [s[0], s[1], s[2], dim])
    } else {
        y = try c.joined([real, imaginary], 3)
    }
    if dim < s[3] { y = try c.joined([y, try c.sliced(e, 3, dim, s[3])], 3) }
    return own.count == 4 ? try c.transpose(y, [0, 2, 1, 3]) : try c.reshape(y, own)
}

/// The recurrence S = decay S + k (x) v of linear attention, unrolled.
private func linearAttention(_ c: NodeContext) throws -> [RelayExpr?] {
    let type = try c.dtype(try c.x(0))
    let rule = try c.node.string("update_rule", default: "gated_delta")
    let gated = rule == "gated" || rule == "gated_delta"
    let delta = rule == "delta" || rule == "gated_delta"
    guard gated || delta || rule == "linear" else {
        throw ApusError("ONNX281", "update_rule is not known", actual: rule)
    }
    guard (c.optional(4) != nil) == gated, (c.optional(5) != nil) == delta else {
        throw ApusError(
            "ONNX287", "decay and beta must be given where, and only where, the rule uses them", actual: rule)
    }
    let qHeads = try c.node.int("q_num_heads", default: 0)
    let kvHeads = try c.node.int("kv_num_heads", default: 0)
    func wide(_ i: Int, _ n: Int) throws -> RelayExpr { try c.cast(try heads(c, try c.x(i), n), .float32) }
    guard qHeads >= 1, kvHeads >= 1, qHeads % kvHeads == 0 else {
        throw ApusError(
            "ONNX282", "q_num_heads must be a multiple of kv_num_heads", actual: "\(qHeads), \(kvHeads)")
    }
    let (q, k, v) = (try wide(0, qHeads), try wide(1, kvHeads), try wide(2, kvHeads))
    let (sq, sv) = (try c.shape(q), try c.shape(v))
    let (batch, steps, dk, dv) = (sq[0], sq[2], sq[3], sv[3])
    guard steps <= 1024, dk > 0 else {
        throw ApusError(
            "ONNX288", "the sequence is too long to unroll", expected: "at most 1024", actual: "\(steps)")
    }
    let decay = gated ? try wide(4, kvHeads) : nil
    var beta: RelayExpr?
    if delta { beta = try wide(5, try c.shape(try c.x(5)).last == 1 ? 1 : kvHeads) }
    var stateType = type
    var state = try c.filled(0, [batch, kvHeads, dk, dv], .float32)
    if let past = c.optional(3) {
        stateType = try c.dtype(past)
        state = try c.cast(past, .float32)
    }
    let given = Double(try c.node.float("scale", default: 0))
    let scale = given == 0 ? 1 / Double(dk).squareRoot() : given
    func at(_ e: RelayExpr, _ i: Int) throws -> RelayExpr { try c.sliced(e, 2, i, i + 1) }
    var outputs: [RelayExpr] = []
    for i in 0..<steps {
        if let decay {
            // [N, H, 1, dk or 1] turned so that it scales the rows of the state.
            state = try c.mul(state, try c.transpose(try c.apply("exp", try at(decay, i)), [0, 1, 3, 2]))
        }
        let column = try c.transpose(try at(k, i), [0, 1, 3, 2])
        var value = try at(v, i)
        if let beta {
            let retrieved = try c.reduced("sum", try c.mul(state, column), [2])
            value = try c.mul(try at(beta, i), try c.sub(value, retrieved))
        }
        state = try c.add(state, try c.mul(column, value))
        let read = try c.repeated(state, qHeads / kvHeads, 1)
        outputs.append(try c.batched(try at(q, i), read))
    }
    let all = try c.mul(try c.joined(outputs, 2), scale)
    let y = try c.reshape(try c.transpose(all, [0, 2, 1, 3]), [batch, steps, try c.product([qHeads, dv])])
    return [try c.cast(y, type), try c.cast(state, stateType)]
}
