import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

/// Operators that shift and scale by the statistics of their data.
func addNormalizations(_ t: inout [String: ONNXConverter]) {
    t["BatchNormalization"] = { c in
        let training = try c.node.bool("training_mode", default: false)
        if training { return try batchNormTraining(c) }
        guard try c.node.bool("spatial", default: true) else {
            throw ApusError("ONNX260", "batch normalisation of each element by itself is not supported")
        }
        let args = try (0..<5).map { try c.x($0) }
        let y = try c.call(
            "nn.batch_norm", args,
            ["epsilon": .float(Double(try c.node.float("epsilon", default: 1e-5))), "axis": 1])
        return [try Relay.TupleGetItem(y, 0)]
    }
    t["InstanceNormalization"] = { c in
        let x = try c.x(0)
        let rank = try c.shape(x).count
        guard rank >= 3 else {
            throw ApusError("ONNX251", "InstanceNormalization needs spatial axes", actual: "rank \(rank)")
        }
        let e = Double(try c.node.float("epsilon", default: 1e-5))
        let y = try normalized(c, x, Array(2..<rank), e).value
        return [try scaled(c, y, try c.x(1), try c.x(2), rank)]
    }
    t["GroupNormalization"] = { c in
        let x = try c.x(0)
        let shape = try c.shape(x)
        guard let groups = try c.node.int("num_groups"), shape.count >= 2, groups >= 1, shape[1] % groups == 0
        else {
            throw ApusError("ONNX261", "num_groups must divide the channels")
        }
        let e = Double(try c.node.float("epsilon", default: 1e-5))
        let grouped = try c.reshape(x, [shape[0], groups, shape[1] / groups] + shape.dropFirst(2))
        let y = try c.reshape(try normalized(c, grouped, Array(2..<(shape.count + 1)), e).value, shape)
        var scale = try c.x(1)
        var bias = try c.x(2)
        if c.opset < 21 {
            // One value a group, repeated over its channels.
            func spread(_ v: RelayExpr) throws -> RelayExpr {
                let wide = try c.broadcast(try c.reshape(v, [groups, 1]), [groups, shape[1] / groups])
                return try c.reshape(wide, [shape[1]])
            }
            scale = try spread(scale)
            bias = try spread(bias)
        }
        return [try scaled(c, y, scale, bias, shape.count)]
    }
    t["LayerNormalization"] = { c in
        let x = try c.x(0)
        let shape = try c.shape(x)
        let axis = try c.axis(try c.node.int("axis", default: -1), rank: shape.count)
        let e = Double(try c.node.float("epsilon", default: 1e-5))
        let wantsStatistics = c.node.outputs.count > 1
        if axis == shape.count - 1, !wantsStatistics, let beta = c.optional(2),
            try c.shape(try c.x(1)) == [shape[axis]],
            try c.shape(beta) == [shape[axis]]
        {
            return [
                try c.call(
                    "nn.layer_norm", [x, try c.x(1), beta], ["axis": .int(axis), "epsilon": .float(e)])
            ]
        }
        let n = try normalized(c, x, Array(axis..<shape.count), e)
        var y = try c.mul(n.value, try c.x(1))
        if let beta = c.optional(2) { y = try c.add(y, beta) }
        return [y, n.mean, n.inverse]
    }
    t["RMSNormalization"] = { c in
        let x = try c.x(0)
        let shape = try c.shape(x)
        let type = try c.dtype(x)
        let axis = try c.axis(try c.node.int("axis", default: -1), rank: shape.count)
        let e = Double(try c.node.float("epsilon", default: 1e-5))
        let f = type.bits < 32 ? try c.cast(x, .float32) : x
        let square = try c.call(
            "mean", [try c.mul(f, f)], ["axis": .ints(Array(axis..<shape.count)), "keepdims": true])
        let y = try c.mul(f, try c.call("rsqrt", [try c.add(square, e)]))
        return [try c.mul(try c.cast(y, type), try c.x(1))]
    }
    t["MeanVarianceNormalization"] = { c in
        let x = try c.x(0)
        let axes = try c.node.ints("axes", default: [0, 2, 3])
        let rank = try c.shape(x).count
        return [try normalized(c, x, try axes.map { try c.axis($0, rank: rank) }, 1e-18).value]
    }
    t["LpNormalization"] = { c in
        let x = try c.x(0)
        let axis = try c.axis(try c.node.int("axis", default: -1), rank: try c.shape(x).count)
        let p = try c.int("p", default: 2, in: 1...2)
        let powers = p == 1 ? try c.call("abs", [x]) : try c.mul(x, x)
        let sum = try c.call("sum", [powers], ["axis": .ints([axis]), "keepdims": true])
        let norm = p == 1 ? sum : try c.call("sqrt", [sum])
        let zero = try c.call("equal", [norm, try c.scalar(0, try c.dtype(x))])
        return [try c.div(x, try c.call("where", [zero, try c.scalar(1, try c.dtype(x)), norm]))]
    }
    t["LRN"] = { c in
        guard let size = try c.node.int("size") else { throw ApusError("ONNX262", "LRN needs size") }
        return [
            try c.call(
                "nn.lrn", [try c.x(0)],
                [
                    "size": .int(size), "axis": 1,
                    "bias": .float(Double(try c.node.float("bias", default: 1))),
                    "alpha": .float(Double(try c.node.float("alpha", default: 1e-4))),
                    "beta": .float(Double(try c.node.float("beta", default: 0.75))),
                ])
        ]
    }
}

/// Normalisation by the batch's own statistics, and the running ones it moves.
private func batchNormTraining(_ c: NodeContext) throws -> [RelayExpr?] {
    let x = try c.x(0)
    let rank = try c.shape(x).count
    guard rank >= 2 else {
        throw ApusError("ONNX251", "BatchNormalization needs channels", actual: "rank \(rank)")
    }
    let axes = (0..<rank).filter { $0 != 1 }
    let epsilon = Double(try c.node.float("epsilon", default: 1e-5))
    let momentum = Double(try c.node.float("momentum", default: 0.9))
    let mean = try c.reduced("mean", x, axes)
    let centred = try c.sub(x, mean)
    let variance = try c.reduced("mean", try c.mul(centred, centred), axes)
    let y = try c.mul(centred, try c.apply("rsqrt", try c.add(variance, epsilon)))
    func running(_ i: Int, _ new: RelayExpr) throws -> RelayExpr {
        let old = try c.x(i)
        let flat = try c.cast(try c.reshape(new, try c.shape(old)), try c.dtype(old))
        return try c.add(try c.mul(old, momentum), try c.mul(flat, 1 - momentum))
    }
    return [try scaled(c, y, try c.x(1), try c.x(2), rank), try running(3, mean), try running(4, variance)]
}

/// `(x - mean) / sqrt(variance + epsilon)` along axes, with the mean and the factor.
private func normalized(
    _ c: NodeContext, _ x: RelayExpr, _ axes: [Int], _ epsilon: Double
) throws -> (value: RelayExpr, mean: RelayExpr, inverse: RelayExpr) {
    let type = try c.dtype(x)
    let f = type.bits < 32 ? try c.cast(x, .float32) : x
    let mean = try c.call("mean", [f], ["axis": .ints(axes), "keepdims": true])
    let centred = try c.sub(f, mean)
    let variance = try c.call("mean", [try c.mul(centred, centred)], ["axis": .ints(axes), "keepdims": true])
    let inverse = try c.call("rsqrt", [try c.add(variance, epsilon)])
    return (value: try c.cast(try c.mul(centred, inverse), type), mean: mean, inverse: inverse)
}

private func scaled(_ c: NodeContext, _ y: RelayExpr, _ scale: RelayExpr, _ bias: RelayExpr, _ rank: Int)
    throws -> RelayExpr
{
    let ones = Array(repeating: 1, count: rank - 2)
    let s = try c.reshape(scale, [try c.product(try c.shape(scale))] + ones)
    let b = try c.reshape(bias, [try c.product(try c.shape(bias))] + ones)
    return try c.add(try c.mul(y, s), b)
}
