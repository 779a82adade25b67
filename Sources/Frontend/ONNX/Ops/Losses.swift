import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

/// Losses, as validation graphs hold them.
func addLosses(_ t: inout [String: ONNXConverter]) {
    t["NegativeLogLikelihoodLoss"] = { c in [try negativeLogLikelihood(c, try c.x(0))] }
    t["SoftmaxCrossEntropyLoss"] = { c in
        let p = try c.call("nn.log_softmax", [try c.x(0)], ["axis": 1])
        return [try negativeLogLikelihood(c, p), p]
    }
}

private func negativeLogLikelihood(_ c: NodeContext, _ logs: RelayExpr) throws -> RelayExpr {
    let shape = try c.shape(logs)
    let type = try c.dtype(logs)
    var target = try c.cast(try c.x(1), .int64)
    let targetShape = try c.shape(target)
    guard shape.count >= 2, targetShape == [shape[0]] + shape.dropFirst(2) else {
        throw ApusError(
            "ONNX290", "data [N, C, …] and targets [N, …] are needed", expected: "\(shape)",
            actual: "\(targetShape)")
    }
    var ignored: RelayExpr?
    if let ignore = try c.node.int("ignore_index") {
        let same = try c.call("equal", [target, try Relay.scalar(ignore, .int64)])
        ignored = same
        // Any class will do: what it gives is not counted.
        target = try c.choose(same, try Relay.scalar(0, .int64), target)
    }
    let picked = try c.call(
        "gather", [logs, try c.reshape(target, [shape[0], 1] + shape.dropFirst(2))], ["axis": 1])
    var loss = try c.apply("negative", try c.reshape(picked, targetShape))
    var weights = try c.optional(2).map { try c.call("take", [$0, target], ["axis": 0, "mode": "clip"]) }
    let zero = try c.scalar(0, type)
    if let ignored {
        weights = try c.choose(ignored, zero, try weights ?? c.scalar(1, type))
        loss = try c.choose(ignored, zero, loss)
    }
    if let weights { loss = try c.mul(loss, weights) }
    let all = Array(targetShape.indices)
    switch try c.node.string("reduction", default: "mean") {
    case "none": return loss
    case "sum": return try c.reduced("sum", loss, all, keep: false)
    case "mean":
        guard let weights else { return try c.reduced("mean", loss, all, keep: false) }
        let total = try c.reduced("sum", try c.broadcast(weights, targetShape), all, keep: false)
        return try c.div(try c.reduced("sum", loss, all, keep: false), total)
    default: throw ApusError("ONNX291", "the reduction is not known", actual: try c.node.string("reduction"))
    }
}
