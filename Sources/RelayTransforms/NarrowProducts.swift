import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

/// Lets matrix products and convolutions of int32 that hold 8-bit integers less a zero point take the 8-bit integers
/// themselves: uint8 on the left, int8 on the right, sums in int32. The results are the same, bit for bit.
///
/// With `a` uint8, `b` int8 and zero points `p`, `q`:
///
///     Σ (a - p) (b - q)  =  Σ a b  -  p Σ b  -  q Σ a  +  K p q
///
/// in the arithmetic of 32 bits that wraps. A signed left operand is `a - 128` of an unsigned one, which moves its zero
/// point; so is an unsigned right one. Constant right operands have no zero point left (`q` = 0): one whose values are
/// beyond int8 becomes the sum of some that are not. Sums of constants are computed at compile time. Padding of a
/// convolution, which stands for 0, becomes its zero point.
public let narrowProducts = FunctionPass<Relay.Function>(
    PassInfo(
        "NarrowProducts", "integer products take the 8-bit integers that their operands are made of", level: 2
    )
) { function, _, _ in
    let body = try Relay.rewrite(function.body, intoFunctions: false) { _, node in
        guard let call = node as? Relay.Call, call.args.count == 2, call.tensorType?.dtype == .int32 else {
            return node
        }
        switch call.opName {
        case "nn.dense": return try dense(call) ?? node
        case "nn.matmul", "nn.batch_matmul": return try matmul(call) ?? node
        case "nn.conv2d": return try convolution(call) ?? node
        default: return node
        }
    }
    return body === function.body ? function : try function.with(body: body)
}

/// 8-bit integers less a zero point: a scalar of int32, or nil for 0.
private struct Centred {
    var value: RelayExpr
    var zero: RelayExpr?

    var type: DataType? { value.tensorType?.dtype }

    /// The same numbers as integers of `wanted`, which differs in the sign bit.
    func of(_ wanted: DataType) throws -> Centred {
        if type == wanted { return self }
        let shift = wanted == .uint8 ? 128 : -128
        let moved = try Relay.call(
            "add", [try cast(value, .int32), try Relay.scalar(Double(shift), .int32)])
        let zero = try zero ?? Relay.scalar(0, .int32)
        return Centred(
            value: try cast(moved, wanted),
            zero: try Relay.call("add", [zero, try Relay.scalar(Double(shift), .int32)]))
    }
}

private func cast(_ e: RelayExpr, _ type: DataType) throws -> RelayExpr {
    e.tensorType?.dtype == type ? e : try Relay.call("cast", [e], ["dtype": .dtype(type)])
}

/// What `e` is made of, if it is 8-bit integers less one zero point, perhaps rearranged.
private func centred(_ e: RelayExpr) throws -> Centred? {
    guard let call = e as? Relay.Call else { return nil }
    switch call.opName {
    case "cast":
        guard let type = call.args[0].tensorType?.dtype, type == .uint8 || type == .int8,
            call.tensorType?.dtype == .int32
        else { return nil }
        return Centred(value: call.args[0])
    case "subtract":
        guard let known = try centred(call.args[0]), known.zero == nil,
            let shape = call.args[1].tensorType?.staticShape, shape.allSatisfy({ $0 == 1 }),
            call.tensorType?.staticShape == call.args[0].tensorType?.staticShape
        else { return nil }
        let zero =
            shape.isEmpty ? call.args[1] : try Relay.call("reshape", [call.args[1]], ["newshape": .ints([])])
        return Centred(value: known.value, zero: zero)
    case "reshape", "transpose", "broadcast_to":
        guard call.args.count == 1, var known = try centred(call.args[0]) else { return nil }
        known.value = try Relay.Call(call.op, [known.value], call.attrs, span: call.span)
        return known
    default: return nil
    }
}

/// A constant operand as a sum of constants of int8, rearranged as it was: one in most cases. Nil where it is no constant or
/// too large.
private func constantParts(_ e: RelayExpr) throws -> [RelayExpr]? {
    if let call = e as? Relay.Call, ["reshape", "transpose"].contains(call.opName), call.args.count == 1 {
        return try constantParts(call.args[0])?.map {
            try Relay.Call(call.op, [$0], call.attrs, span: call.span)
        }
    }
    guard let constant = e as? Relay.Constant, constant.data.dtype == .int32 else { return nil }
    // The difference of two 8-bit integers takes three parts at most.
    var rest = try constant.data.toArray(Int32.self)
    guard rest.allSatisfy({ (-255...255).contains($0) }) else { return nil }
    var parts: [RelayExpr] = []
    repeat {
        let part = rest.map { Int8(clamping: $0) }
        for i in rest.indices { rest[i] -= Int32(part[i]) }
        parts.append(
            Relay.Constant(try NDArray(part).reshaped(to: constant.data.shape), span: constant.span))
    } while rest.contains { $0 != 0 }
    return parts
}

/// `product - zero * sums`, where there is a zero point.
private func corrected(_ product: RelayExpr, _ zero: RelayExpr?, _ sums: () throws -> RelayExpr) throws
    -> RelayExpr
{
    guard let zero else { return product }
    return try Relay.call("subtract", [product, try Relay.call("multiply", [try sums(), zero])])
}

/// Σ over some axes of 8-bit integers, in int32.
private func sum(_ e: RelayExpr, _ axes: [Int], keep: Bool) throws -> RelayExpr {
    try Relay.call("sum", [try cast(e, .int32)], ["axis": .ints(axes), "keepdims": .bool(keep)])
}

private func total(_ terms: [RelayExpr]) throws -> RelayExpr {
    var result = terms[0]
    for t in terms.dropFirst() { result = try Relay.call("add", [result, t]) }
    return result
}

private func dense(_ call: Relay.Call) throws -> RelayExpr? {
    guard let data = try centred(call.args[0])?.of(.uint8), let parts = try constantParts(call.args[1]) else {
        return nil
    }
    let attrs = call.attrs.setting("out_dtype", .dtype(.int32))
    return try total(
        parts.map { w in
            let product = try Relay.Call(call.op, [data.value, w], attrs, span: call.span)
            return try corrected(product, data.zero) { try sum(w, [1], keep: false) }
        })
}

private func matmul(_ call: Relay.Call) throws -> RelayExpr? {
    guard let left = try centred(call.args[0])?.of(.uint8), let shape = call.args[0].tensorType?.staticShape
    else {
        return nil
    }
    let rank = shape.count
    let ta = call.attrs.bool("transpose_a") ?? false
    let tb = call.attrs.bool("transpose_b") ?? false
    let depth = shape[ta ? rank - 2 : rank - 1]
    var a = left.value
    if ta {
        a = try Relay.call("transpose", [a], ["axes": .ints(Array(0..<(rank - 2)) + [rank - 1, rank - 2])])
    }
    let attrs = call.attrs.setting("out_dtype", .dtype(.int32)).setting("transpose_a", .bool(false))
    // Sums over the columns of b, as rows of the result.
    func columns(_ b: RelayExpr) throws -> RelayExpr {
        let kept = try sum(b, [tb ? rank - 1 : rank - 2], keep: true)
        guard tb else { return kept }
        return try Relay.call(
            "transpose", [kept], ["axes": .ints(Array(0..<(rank - 2)) + [rank - 1, rank - 2])])
    }
    func product(_ b: RelayExpr) throws -> RelayExpr {
        let product = try Relay.Call(call.op, [a, b], attrs, span: call.span)
        return try corrected(product, left.zero) { try columns(b) }
    }
    if let parts = try constantParts(call.args[1]) { return try total(parts.map(product)) }
    guard let right = try centred(call.args[1])?.of(.int8) else { return nil }
    let all = try corrected(try product(right.value), right.zero) { try sum(a, [rank - 1], keep: true) }
    guard let p = left.zero, let q = right.zero else { return all }
    let count = try Relay.scalar(Double(depth), .int32)
    return try Relay.call(
        "add", [all, try Relay.call("multiply", [count, try Relay.call("multiply", [p, q])])])
}

private func convolution(_ call: Relay.Call) throws -> RelayExpr? {
    let attrs = call.attrs
    let groups = attrs.int("groups") ?? 1
    guard attrs.string("data_layout") == "NCHW", attrs.string("kernel_layout") == "OIHW",
        (attrs.string("out_layout") ?? "").isEmpty, let padding = attrs.ints("padding"), padding.count == 4,
        let shape = call.args[1].tensorType?.staticShape, shape.count == 4, shape[1] > 1 || groups == 1,
        let data = try centred(call.args[0])?.of(.uint8), let parts = try constantParts(call.args[1])
    else { return nil }
    var value = data.value
    var settings = attrs.setting("out_dtype", .dtype(.int32))
    if let zero = data.zero, padding.contains(where: { $0 > 0 }) {
        value = try Relay.call(
            "nn.pad", [value, try cast(zero, .uint8)],
            [
                "pad_width": .ints([0, 0, 0, 0, padding[0], padding[2], padding[1], padding[3]]),
                "pad_mode": "constant",
            ])
        settings = settings.setting("padding", .ints([0, 0, 0, 0]))
    }
    return try total(
        parts.map { w in
            let product = try Relay.Call(call.op, [value, w], settings, span: call.span)
            return try corrected(product, data.zero) {
                try Relay.call(
                    "reshape", [try sum(w, [1, 2, 3], keep: false)], ["newshape": .ints([shape[0], 1, 1])])
            }
        })
}
