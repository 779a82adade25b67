import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

/// Rewrites operators that only differ from simpler ones in training: `nn.batch_norm` in its inference form becomes
/// a multiplication and an addition of per-channel constants, dropout its input.
///
/// Source: TVM's `SimplifyInference`.
public let simplifyInference = FunctionPass<Relay.Function>(
    PassInfo(
        "SimplifyInference", "batch normalisation becomes scale and shift", level: 0,
        establishes: ["no nn.batch_norm"])
) { function, _, _ in
    let body = try Relay.rewrite(function.body) { old, node in
        guard let item = node as? Relay.TupleGetItem, item.index == 0, let call = item.tuple as? Relay.Call,
            let op = call.op as? Op
        else { return node }
        switch op.name {
        case "nn.batch_norm": return try scaleAndShift(call)
        default: return node
        }
    }
    return try function.with(body: body)
}

/// `gamma * (x - mean) / sqrt(var + epsilon) + beta` as `x * scale + shift`, both of which are constant where the
/// statistics are.
private func scaleAndShift(_ call: Relay.Call) throws -> RelayExpr {
    let data = call.args[0]
    guard let type = data.tensorType else { return call }
    let gamma = call.args[1]
    let beta = call.args[2]
    let mean = call.args[3]
    let variance = call.args[4]
    let statistics = variance.tensorType?.dtype ?? type.dtype
    let epsilon = try Relay.scalar(call.attrs.float("epsilon") ?? 1e-5, statistics)
    var scale = try Relay.call("rsqrt", [try Relay.call("add", [variance, epsilon])])
    if call.attrs.bool("scale") ?? true { scale = try Relay.call("multiply", [scale, gamma]) }
    var shift = try Relay.call("multiply", [try Relay.call("negative", [mean]), scale])
    if call.attrs.bool("center") ?? true { shift = try Relay.call("add", [shift, beta]) }
    let rank = type.rank
    var axis = call.attrs.int("axis") ?? 1
    if axis < 0 { axis += rank }
    let trailing = rank - 1 - axis
    func aligned(_ e: RelayExpr) throws -> RelayExpr {
        var e = e
        if statistics != type.dtype { e = try Relay.call("cast", [e], ["dtype": .dtype(type.dtype)]) }
        return trailing == 0
            ? e : try Relay.call("expand_dims", [e], ["axis": 1, "num_newaxis": .int(trailing)])
    }
    let scaled = try Relay.call("multiply", [data, try aligned(scale)])
    return try Relay.call("add", [scaled, try aligned(shift)])
}
