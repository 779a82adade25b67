import ApusIR
import ApusNode
import ApusRelay
import ApusSupport

/// Matrix products read their operands as they lie: a transposition of the last two axes before one becomes its attribute,
/// and is gone where nothing else reads it. Constant operands are left alone, since they are transposed at compile time.
public let absorbTranspose = FunctionPass<Relay.Function>(
    PassInfo("AbsorbTranspose", "transpositions before matrix products become their attributes", level: 1)
) { function, _, _ in
    let body = try Relay.rewrite(function.body) { _, node in
        guard let call = node as? Relay.Call, let op = call.op as? Op, call.args.count == 2 else {
            return node
        }
        switch op.name {
        case "nn.dense":
            // The weight of a dense layer is transposed already: twice is not at all.
            guard let source = try transposed(call.args[1]), call.args[0].tensorType?.shape.count == 2 else {
                return node
            }
            var attrs = Attrs(["transpose_a": false, "transpose_b": false])
            if let type = call.attrs["out_dtype"] { attrs = attrs.setting("out_dtype", type) }
            return try Relay.Call(
                try matmul(), [call.args[0], source], attrs, span: call.span)
        case "nn.matmul", "nn.batch_matmul":
            var args = call.args
            var attrs = call.attrs
            for (i, key) in ["transpose_a", "transpose_b"].enumerated() {
                guard let source = try transposed(args[i]) else { continue }
                args[i] = source
                attrs = attrs.setting(key, .bool(!(attrs.bool(key) ?? false)))
            }
            if let product = try rowTimesTransposed(args, attrs, call) { return product }
            if zip(args, call.args).allSatisfy({ $0 === $1 }) { return node }
            return try Relay.Call(op, args, attrs, span: call.span)
        default: return node
        }
    }
    return body === function.body ? function : try function.with(body: body)
}

private func matmul() throws -> Op {
    guard let op = Op.find("nn.matmul") else { internalError("nn.matmul is not registered") }
    return op
}

/// One row times a matrix that is given transposed: a sum along each of its rows, as they lie in memory. In the order of a
/// matrix product they would have to be transposed first, and read once.
private func rowTimesTransposed(_ args: [RelayExpr], _ attrs: Attrs, _ call: Relay.Call) throws -> RelayExpr?
{
    guard attrs.bool("transpose_b") ?? false, !(attrs.bool("transpose_a") ?? false),
        !isRearrangedConstant(args[1]),
        let shape = call.tensorType?.staticShape, shape[shape.count - 2] == 1, !shape.contains(0),
        let depth = args[0].tensorType?.staticShape?.last, depth > 0,
        args.allSatisfy({ $0.tensorType?.dtype == .float32 }), call.tensorType?.dtype == .float32
    else { return nil }
    let products = try Relay.call("multiply", [args[1], args[0]])
    let sums = try Relay.call("sum", [products], ["axis": .ints([-1]), "keepdims": false])
    return try Relay.call("reshape", [sums], ["newshape": .ints(shape)])
}

/// What `e` transposes in its last two axes and nothing else; nil where it is no such call, or of a constant.
///
/// A reshape behind the transposition that keeps these axes goes before it.
private func transposed(_ e: RelayExpr) throws -> RelayExpr? {
    if let call = e as? Relay.Call, call.opName == "reshape", let shape = call.tensorType?.staticShape,
        let before = call.args[0].tensorType?.staticShape, shape.count >= 2, before.count >= 2,
        Array(shape.suffix(2)) == Array(before.suffix(2)), let source = try transposed(call.args[0])
    {
        let swapped = Array(shape.dropLast(2)) + [shape[shape.count - 1], shape[shape.count - 2]]
        return try Relay.call("reshape", [source], ["newshape": .ints(swapped)])
    }
    guard let call = e as? Relay.Call, let op = call.op as? Op, op.name == "transpose", call.args.count == 1,
        !isRearrangedConstant(call.args[0]), let rank = call.args[0].tensorType?.shape.count, rank >= 2
    else { return nil }
    let reversed = Array((0..<rank).reversed())
    let given = call.attrs.ints("axes") ?? []
    let axes = (given.isEmpty ? reversed : given).map { $0 < 0 ? $0 + rank : $0 }
    let swap = Array(0..<(rank - 2)) + [rank - 1, rank - 2]
    return axes == swap ? call.args[0] : nil
}
