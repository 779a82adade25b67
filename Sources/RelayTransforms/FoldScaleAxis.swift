import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

/// Moves multiplications by per-channel constants into the weights of the convolution or dense layer beside them:
/// `conv(x, w) * s` = `conv(x, w * s)`, `(conv(x, w) + b) * s` = `conv(x, w * s) + b * s`, and
/// `conv(x * s, w)` = `conv(x, w * s)` along the input channels.
///
/// Holds exactly in real arithmetic, also under zero padding; in floating point the products round differently.
/// Source: TVM's `BackwardFoldScaleAxis` and `ForwardFoldScaleAxis`, here as local rules to a fixed point.
public let foldScaleAxis = FunctionPass<Relay.Function>(
    PassInfo(
        "FoldScaleAxis", "per-channel scales move into the weights of the layer beside them", level: 3)
) { function, _, _ in
    var body = function.body
    // Each round moves every scale by one operator; chains in real models are short.
    for _ in 0..<8 {
        let uses = Relay.useCounts(body)
        let next = try Relay.rewrite(body) { old, node in
            guard let call = node as? Relay.Call, let op = call.op as? Op else { return node }
            // `uses` speaks of the nodes before this round; a rebuilt child has the uses of the one it replaces.
            guard let before = old as? Relay.Call else { return node }
            switch op.name {
            case "multiply": return try backward(before, call, uses) ?? node
            case "nn.conv2d", "nn.conv1d", "nn.conv3d": return try forward(before, call, uses) ?? node
            default: return node
            }
        }
        if next === body { break }
        body = next
    }
    return try function.with(body: body)
}

/// A layer whose weights can take a scale.
private struct Layer {
    let call: Relay.Call
    /// Axis of the output channels in the weight and of the channels in the output.
    let weightOutAxis: Int
    let dataAxis: Int

    init?(_ e: RelayExpr) {
        guard let call = e as? Relay.Call, let op = call.op as? Op, let type = call.tensorType else {
            return nil
        }
        switch op.name {
        case "nn.conv1d", "nn.conv2d", "nn.conv3d":
            guard let layout = call.attrs.string("data_layout"), layout.hasPrefix("NC"),
                layout.count == type.rank, call.attrs.string("kernel_layout")?.hasPrefix("OI") == true,
                call.args[1].tensorType?.rank == type.rank
            else { return nil }
            weightOutAxis = 0
            dataAxis = 1
        case "nn.dense":
            weightOutAxis = 0
            dataAxis = type.rank - 1
        default: return nil
        }
        self.call = call
    }

    /// The layer with its weight multiplied along the output channels by `scale` (one value, or one a channel).
    func scaled(by scale: Relay.Constant) throws -> RelayExpr {
        let weight = call.args[1]
        guard let type = weight.tensorType else { return call }
        let factor = try reshaped(scale, rank: type.rank, axis: weightOutAxis)
        let product = try Relay.call("multiply", [weight, factor])
        return try Relay.Call(
            call.op, [call.args[0], product] + call.args.dropFirst(2), call.attrs, span: call.span)
    }
}

/// `scale` with its channels on `axis` of a tensor of `rank`; a single value stays a single value.
private func reshaped(_ scale: Relay.Constant, rank: Int, axis: Int) throws -> RelayExpr {
    let n = scale.data.count
    var shape = Array(repeating: 1, count: rank)
    shape[axis] = n
    return try Relay.call("reshape", [scale], ["newshape": .ints(shape)])
}

/// `e` as a constant that varies at most along `axis` of a tensor of the given shape.
private func channelConstant(_ e: RelayExpr, shape: [Int], axis: Int) -> Relay.Constant? {
    guard let constant = e as? Relay.Constant, constant.data.dtype.isFloat else { return nil }
    let own = constant.data.shape
    guard own.count <= shape.count else { return nil }
    let offset = shape.count - own.count
    for (i, d) in own.enumerated() where d != 1 {
        if i + offset != axis || d != shape[axis] { return nil }
    }
    return constant
}

private func isOnlyUse(_ e: RelayExpr, _ uses: [ObjectIdentifier: Int]) -> Bool {
    uses[ObjectIdentifier(e)] == 1
}

/// A multiplication behind a layer, or behind a layer and its bias.
private func backward(
    _ before: Relay.Call, _ call: Relay.Call, _ uses: [ObjectIdentifier: Int]
) throws -> RelayExpr? {
    guard let shape = call.tensorType?.staticShape else { return nil }
    for (data, scale, old) in [
        (call.args[0], call.args[1], before.args[0]), (call.args[1], call.args[0], before.args[1]),
    ] {
        guard data.tensorType?.staticShape == shape, isOnlyUse(old, uses) else { continue }
        if let layer = Layer(data), let s = channelConstant(scale, shape: shape, axis: layer.dataAxis) {
            return try layer.scaled(by: s)
        }
        guard let sum = data as? Relay.Call, let op = sum.op as? Op,
            op.name == "add" || op.name == "nn.bias_add",
            let oldSum = old as? Relay.Call
        else { continue }
        let sides: [(Int, Int)] = op.name == "add" ? [(0, 1), (1, 0)] : [(0, 1)]
        for (x, y) in sides {
            guard isOnlyUse(oldSum.args[x], uses), let layer = Layer(sum.args[x]),
                layer.call.tensorType?.staticShape == shape,
                let s = channelConstant(scale, shape: shape, axis: layer.dataAxis)
            else { continue }
            if op.name == "nn.bias_add" {
                guard let bias = sum.args[1] as? Relay.Constant else { continue }
                let flat = try Relay.call("reshape", [s], ["newshape": .ints([s.data.count])])
                let product = try Relay.call("multiply", [bias, flat])
                return try Relay.Call(op, [try layer.scaled(by: s), product], sum.attrs, span: sum.span)
            }
            guard let bias = channelConstant(sum.args[y], shape: shape, axis: layer.dataAxis) else {
                continue
            }
            let product = try Relay.call("multiply", [bias, s])
            return try Relay.call("add", [try layer.scaled(by: s), product])
        }
    }
    return nil
}

/// A multiplication before a convolution.
private func forward(
    _ before: Relay.Call, _ call: Relay.Call, _ uses: [ObjectIdentifier: Int]
) throws -> RelayExpr? {
    guard let layer = Layer(call), (call.attrs.int("groups") ?? 1) == 1, isOnlyUse(before.args[0], uses),
        let product = call.args[0] as? Relay.Call, let op = product.op as? Op, op.name == "multiply",
        let shape = product.tensorType?.staticShape, let weightType = call.args[1].tensorType
    else { return nil }
    for (data, scale) in [(product.args[0], product.args[1]), (product.args[1], product.args[0])] {
        guard data.tensorType?.staticShape == shape,
            let s = channelConstant(scale, shape: shape, axis: layer.dataAxis)
        else { continue }
        let factor = try reshaped(s, rank: weightType.rank, axis: 1)
        let weight = try Relay.call("multiply", [call.args[1], factor])
        return try Relay.Call(call.op, [data, weight], call.attrs, span: call.span)
    }
    return nil
}
