import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

/// Matrix products, convolutions, pooling, normalisation.
func addLayers(_ t: inout [String: ONNXConverter]) {
    t["MatMul"] = { c in [try matmul(c, try c.x(0), try c.x(1))] }
    t["Gemm"] = { c in
        var a = try c.x(0)
        var b = try c.x(1)
        let alpha = Double(try c.node.float("alpha", default: 1))
        let beta = Double(try c.node.float("beta", default: 1))
        if try c.node.bool("transA", default: false) { a = try c.transpose(a, [1, 0]) }
        if try !c.node.bool("transB", default: false) { b = try c.transpose(b, [1, 0]) }
        guard try c.shape(a).count == 2, try c.shape(b).count == 2 else { throw ApusError("ONNX250", "Gemm needs matrices") }
        var y = try c.call("nn.dense", [a, b])
        if alpha != 1 { y = try c.mul(y, alpha) }
        if let bias = c.optional(2), beta != 0 { y = try c.add(y, beta == 1 ? bias : try c.mul(bias, beta)) }
        return [y]
    }
    t["Conv"] = { c in
        return [try biased(c, try convolution(c, try c.x(0), try c.x(1)), 2)]
    }
    t["ConvTranspose"] = convTranspose
    t["MaxPool"] = { c in
        let x = try c.x(0)
        let window = try Window(c, kernel: try kernelShape(c), data: try c.shape(x))
        let y = try c.call(
            "nn.max_pool\(window.rank)d", [x],
            [
                "pool_size": .ints(window.kernel), "strides": .ints(window.strides), "dilation": .ints(window.dilation),
                "padding": .ints(window.padding), "layout": .string(window.layout("NC")),
                "ceil_mode": .bool(try c.node.bool("ceil_mode", default: false)),
            ])
        return [y]
    }
    t["AveragePool"] = { c in
        let x = try c.x(0)
        let window = try Window(c, kernel: try kernelShape(c), data: try c.shape(x))
        let y = try c.call(
            "nn.avg_pool\(window.rank)d", [x],
            [
                "pool_size": .ints(window.kernel), "strides": .ints(window.strides), "dilation": .ints(window.dilation),
                "padding": .ints(window.padding), "layout": .string(window.layout("NC")),
                "ceil_mode": .bool(try c.node.bool("ceil_mode", default: false)),
                "count_include_pad": .bool(try c.node.bool("count_include_pad", default: false)),
            ])
        return [y]
    }
    for (name, op) in [("GlobalAveragePool", "mean"), ("GlobalMaxPool", "max")] {
        t[name] = { c in
            let x = try c.x(0)
            let rank = try c.shape(x).count
            guard rank >= 3 else { throw ApusError("ONNX251", "\(name) needs spatial axes", actual: "rank \(rank)") }
            return [try c.call(op, [x], ["axis": .ints(Array(2..<rank)), "keepdims": true])]
        }
    }
    t["GlobalLpPool"] = { c in
        let x = try c.x(0)
        let rank = try c.shape(x).count
        guard rank >= 3 else { throw ApusError("ONNX251", "GlobalLpPool needs spatial axes", actual: "rank \(rank)") }
        let p = Double(try c.node.int("p", default: 2))
        let type = try c.dtype(x)
        let powers = try c.call("power", [try c.call("abs", [x]), try c.scalar(p, type)])
        let sum = try c.call("sum", [powers], ["axis": .ints(Array(2..<rank)), "keepdims": true])
        return [try c.call("power", [sum, try c.scalar(1 / p, type)])]
    }
    t["LpPool"] = { c in
        let x = try c.x(0)
        let window = try Window(c, kernel: try kernelShape(c), data: try c.shape(x))
        let p = Double(try c.node.int("p", default: 2))
        let type = try c.dtype(x)
        let powers = try c.call("power", [try c.call("abs", [x]), try c.scalar(p, type)])
        // A sum is an average over all of the window, padding counted, times its size.
        let mean = try c.call(
            "nn.avg_pool\(window.rank)d", [powers],
            [
                "pool_size": .ints(window.kernel), "strides": .ints(window.strides), "dilation": .ints(window.dilation),
                "padding": .ints(window.padding), "layout": .string(window.layout("NC")),
                "ceil_mode": .bool(try c.node.bool("ceil_mode", default: false)), "count_include_pad": true,
            ])
        let sum = try c.mul(mean, Double(try c.product(window.kernel)))
        return [try c.call("power", [sum, try c.scalar(1 / p, type)])]
    }
    addNormalizations(&t)
    t["Resize"] = resize
    t["Upsample"] = resize
}

/// The convolution that the node's attributes describe, without bias.
func convolution(_ c: NodeContext, _ x: RelayExpr, _ w: RelayExpr) throws -> RelayExpr {
    let window = try Window(c, kernel: Array(try c.shape(w).dropFirst(2)), data: try c.shape(x))
    return try c.call(
        "nn.conv\(window.rank)d", [x, w],
        [
            "strides": .ints(window.strides), "padding": .ints(window.padding), "dilation": .ints(window.dilation),
            "groups": .int(try c.node.int("group", default: 1)), "channels": .int(try c.shape(w)[0]),
            "kernel_size": .ints(window.kernel), "data_layout": .string(window.layout("NC")),
            "kernel_layout": .string(window.layout("OI")),
        ])
}

/// numpy's matrix product; a constant matrix on the right is a dense layer.
func matmul(_ c: NodeContext, _ a: RelayExpr, _ b: RelayExpr) throws -> RelayExpr {
    let sa = try c.shape(a)
    let sb = try c.shape(b)
    guard !sa.isEmpty, !sb.isEmpty, sa[sa.count - 1] == sb[max(0, sb.count - 2)] else {
        throw ApusError("ONNX252", "the matrices do not fit", expected: "\(sa)", actual: "\(sb)")
    }
    if sa.count == 1 {
        let y = try matmul(c, try c.reshape(a, [1, sa[0]]), b)
        var shape = try c.shape(y)
        shape.remove(at: sb.count == 1 ? 0 : shape.count - 2)
        return try c.reshape(y, shape)
    }
    if sb.count == 1 {
        let y = try matmul(c, a, try c.reshape(b, [sb[0], 1]))
        return try c.reshape(y, Array(try c.shape(y).dropLast()))
    }
    if sb.count == 2 {
        return try c.call("nn.dense", [a, try c.transpose(b, [1, 0])])
    }
    let rank = max(sa.count, sb.count) - 2
    let ba = Array(repeating: 1, count: rank - (sa.count - 2)) + sa.dropLast(2)
    let bb = Array(repeating: 1, count: rank - (sb.count - 2)) + sb.dropLast(2)
    var batch: [Int] = []
    for (x, y) in zip(ba, bb) {
        guard x == y || x == 1 || y == 1 else {
            throw ApusError("ONNX252", "the batches do not broadcast", expected: "\(sa)", actual: "\(sb)")
        }
        batch.append(x == 1 ? y : x)
    }
    let count = try c.product(batch)
    func flat(_ e: RelayExpr, _ own: [Int], _ matrix: [Int]) throws -> RelayExpr {
        if own.allSatisfy({ $0 == 1 }) { return try c.reshape(e, [1] + matrix) }
        return try c.reshape(try c.broadcast(try c.reshape(e, own + matrix), batch + matrix), [count] + matrix)
    }
    let x = try flat(a, ba, Array(sa.suffix(2)))
    let y = try flat(b, bb, Array(sb.suffix(2)))
    let product = try c.call("nn.batch_matmul", [x, y], ["transpose_a": false, "transpose_b": false])
    return try c.reshape(product, batch + [sa[sa.count - 2], sb[sb.count - 1]])
}

/// `y` plus the bias of its channels, if input `i` is there.
private func biased(_ c: NodeContext, _ y: RelayExpr, _ i: Int) throws -> RelayExpr {
    guard let bias = c.optional(i) else { return y }
    let rank = try c.shape(y).count
    let n = try c.product(try c.shape(bias))
    return try c.add(y, try c.reshape(bias, [n] + Array(repeating: 1, count: rank - 2)))
}

private func kernelShape(_ c: NodeContext) throws -> [Int] {
    guard let k = try c.node.ints("kernel_shape") else { throw ApusError("ONNX253", "\(c.node.opType) needs kernel_shape") }
    return k
}

/// The geometry of a sliding window.
struct Window {
    let kernel: [Int]
    let strides: [Int]
    let dilation: [Int]
    /// Begins, then ends.
    let padding: [Int]
    var rank: Int { kernel.count }

    init(_ c: NodeContext, kernel: [Int], data: [Int]) throws {
        let n = kernel.count
        guard (1...3).contains(n), data.count == n + 2, data.allSatisfy({ $0 < 1 << 30 }) else {
            throw ApusError("ONNX254", "1 to 3 spatial axes are supported", expected: "rank \(n + 2)", actual: "\(data)")
        }
        if let declared = try c.node.ints("kernel_shape"), declared != kernel {
            throw ApusError("ONNX255", "kernel_shape does not fit the weight", expected: "\(kernel)", actual: "\(declared)")
        }
        func list(_ name: String, _ standard: [Int], _ low: Int) throws -> [Int] {
            let v = try c.node.ints(name, default: standard)
            guard v.count == standard.count, v.allSatisfy({ $0 >= low && $0 < 1 << 30 }) else {
                throw ApusError("ONNX256", "`\(name)` is not valid", expected: "\(standard.count) numbers of at least \(low)", actual: "\(v)")
            }
            return v
        }
        guard kernel.allSatisfy({ $0 >= 1 && $0 < 1 << 30 }) else { throw ApusError("ONNX256", "the window is empty", actual: "\(kernel)") }
        strides = try list("strides", Array(repeating: 1, count: n), 1)
        dilation = try list("dilations", Array(repeating: 1, count: n), 1)
        var pads = try list("pads", Array(repeating: 0, count: 2 * n), 0)
        let auto = try c.node.string("auto_pad", default: "NOTSET")
        if auto == "SAME_UPPER" || auto == "SAME_LOWER" {
            for i in 0..<n {
                let out = (data[i + 2] + strides[i] - 1) / strides[i]
                let total = max(0, (out - 1) * strides[i] + (kernel[i] - 1) * dilation[i] + 1 - data[i + 2])
                pads[i] = auto == "SAME_UPPER" ? total / 2 : (total + 1) / 2
                pads[i + n] = total - pads[i]
            }
        } else if auto == "VALID" {
            pads = Array(repeating: 0, count: 2 * n)
        } else if auto != "NOTSET" && !auto.isEmpty {
            throw ApusError("ONNX257", "auto_pad is not valid", actual: auto)
        }
        padding = pads
        self.kernel = kernel
    }

    /// `NCHW`, `OIW`, `NCDHW`, …
    func layout(_ prefix: String) -> String { prefix + ["W", "HW", "DHW"][rank - 1] }
}

private let convTranspose: ONNXConverter = { c in
    let x = try c.x(0)
    let w = try c.x(1)
    let data = try c.shape(x)
    let kernel = Array(try c.shape(w).dropFirst(2))
    let n = kernel.count
    guard (1...3).contains(n), data.count == n + 2, data.allSatisfy({ $0 < 1 << 30 }) else { throw ApusError("ONNX254", "1 to 3 spatial axes are supported") }
    let strides = try c.node.ints("strides", default: Array(repeating: 1, count: n))
    let dilation = try c.node.ints("dilations", default: Array(repeating: 1, count: n))
    var extra = try c.node.ints("output_padding", default: Array(repeating: 0, count: n))
    var pads = try c.node.ints("pads", default: Array(repeating: 0, count: 2 * n))
    guard strides.count == n, dilation.count == n, extra.count == n, pads.count == 2 * n,
        (strides + dilation).allSatisfy({ $0 >= 1 && $0 < 1 << 30 }), (extra + pads).allSatisfy({ $0 >= 0 && $0 < 1 << 30 }),
        kernel.allSatisfy({ $0 >= 1 && $0 < 1 << 30 })
    else { throw ApusError("ONNX256", "the window is not valid") }
    let auto = try c.node.string("auto_pad", default: "NOTSET")
    let wanted = try c.node.ints("output_shape").map { Array($0.suffix(n)) }
    if let wanted, wanted.count != n || !wanted.allSatisfy({ $0 >= 0 && $0 < 1 << 40 }) { throw ApusError("ONNX258", "output_shape needs one extent an axis") }
    for i in 0..<n {
        let full = strides[i] * (data[i + 2] - 1) + extra[i] + (kernel[i] - 1) * dilation[i] + 1
        let same = auto == "SAME_UPPER" || auto == "SAME_LOWER"
        guard let target = wanted?[i] ?? (same ? data[i + 2] * strides[i] : nil) else { continue }
        let total = full - target
        if total < 0 {
            // Larger than what the inputs reach: zeros at the end.
            extra[i] += -total
            pads[i] = 0
            pads[i + n] = 0
        } else {
            pads[i] = auto == "SAME_UPPER" ? total / 2 : total - total / 2
            if auto == "NOTSET" { pads[i] = total / 2 }
            pads[i + n] = total - pads[i]
        }
    }
    let spatial = ["W", "HW", "DHW"][n - 1]
    let groups = try c.node.int("group", default: 1)
    let y = try c.call(
        "nn.conv\(n)d_transpose", [x, w],
        [
            "strides": .ints(strides), "padding": .ints(pads), "dilation": .ints(dilation), "groups": .int(groups),
            "kernel_size": .ints(kernel), "output_padding": .ints(extra), "data_layout": .string("NC" + spatial),
            "kernel_layout": .string("IO" + spatial),
        ])
    return [try biased(c, y, 2)]
}

private func addNormalizations(_ t: inout [String: ONNXConverter]) {
    t["BatchNormalization"] = { c in
        let training = try c.node.bool("training_mode", default: false)
        if training { return try batchNormTraining(c) }
        guard try c.node.bool("spatial", default: true) else {
            throw ApusError("ONNX260", "batch normalisation of each element by itself is not supported")
        }
        let args = try (0..<5).map { try c.x($0) }
        let y = try c.call("nn.batch_norm", args, ["epsilon": .float(Double(try c.node.float("epsilon", default: 1e-5))), "axis": 1])
        return [try Relay.TupleGetItem(y, 0)]
    }
    t["InstanceNormalization"] = { c in
        let x = try c.x(0)
        let rank = try c.shape(x).count
        guard rank >= 3 else { throw ApusError("ONNX251", "InstanceNormalization needs spatial axes", actual: "rank \(rank)") }
        let e = Double(try c.node.float("epsilon", default: 1e-5))
        let y = try normalized(c, x, Array(2..<rank), e).value
        return [try scaled(c, y, try c.x(1), try c.x(2), rank)]
    }
    t["GroupNormalization"] = { c in
        let x = try c.x(0)
        let shape = try c.shape(x)
        guard let groups = try c.node.int("num_groups"), shape.count >= 2, groups >= 1, shape[1] % groups == 0 else {
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
        if axis == shape.count - 1, !wantsStatistics, let beta = c.optional(2), try c.shape(try c.x(1)) == [shape[axis]],
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
        let square = try c.call("mean", [try c.mul(f, f)], ["axis": .ints(Array(axis..<shape.count)), "keepdims": true])
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
                    "size": .int(size), "axis": 1, "bias": .float(Double(try c.node.float("bias", default: 1))),
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
    guard rank >= 2 else { throw ApusError("ONNX251", "BatchNormalization needs channels", actual: "rank \(rank)") }
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

private func scaled(_ c: NodeContext, _ y: RelayExpr, _ scale: RelayExpr, _ bias: RelayExpr, _ rank: Int) throws -> RelayExpr {
    let ones = Array(repeating: 1, count: rank - 2)
    let s = try c.reshape(scale, [try c.product(try c.shape(scale))] + ones)
    let b = try c.reshape(bias, [try c.product(try c.shape(bias))] + ones)
    return try c.add(try c.mul(y, s), b)
}

private let resize: ONNXConverter = { c in
    let x = try c.x(0)
    let shape = try c.shape(x)
    let rank = shape.count
    guard shape.allSatisfy({ $0 < 1 << 30 }) else { throw ApusError("ONNX216", "a shape is too large", actual: "\(shape)") }
    let old = c.node.opType == "Upsample" || c.opset < 11
    if try c.node.bool("antialias", default: false) { throw ApusError("ONNX263", "antialias is not supported") }
    var axes = try (c.node.ints("axes") ?? Array(0..<rank)).map { try c.axis($0, rank: rank) }
    if axes.isEmpty { axes = Array(0..<rank) }
    var scales = try old ? (c.node.floats("scales")?.map { Double($0) } ?? c.knownFloats(1)) : c.knownFloats(2)
    var sizes = try old ? nil : c.knownInts(3)
    if scales?.isEmpty == true { scales = nil }
    if sizes?.isEmpty == true { sizes = nil }
    var target = shape
    var factor = Array(repeating: 1.0, count: rank)
    if let sizes {
        guard sizes.count == axes.count, sizes.allSatisfy({ $0 >= 0 && $0 < 1 << 30 }) else {
            throw ApusError("ONNX264", "Resize needs one size an axis", actual: "\(sizes)")
        }
        let policy = try c.node.string("keep_aspect_ratio_policy", default: "stretch")
        let ratios = zip(axes, sizes).map { Double($1) / Double(max(1, shape[$0])) }
        let common = policy == "not_larger" ? ratios.min() : (policy == "not_smaller" ? ratios.max() : nil)
        for (i, a) in axes.enumerated() {
            let kept = common.map { ($0 * Double(shape[a])).rounded(.toNearestOrAwayFromZero) }
            guard (kept ?? 0) < 1e9 else { throw ApusError("ONNX216", "a shape is too large", actual: "\(sizes)") }
            target[a] = kept.map { Int($0) } ?? sizes[i]
            factor[a] = common ?? ratios[i]
        }
    } else if let scales {
        guard scales.count == axes.count, scales.allSatisfy({ $0 > 0 && $0 < 1e6 }) else {
            throw ApusError("ONNX264", "Resize needs one positive scale an axis", actual: "\(scales)")
        }
        for (i, a) in axes.enumerated() {
            factor[a] = scales[i]
            target[a] = Int((Double(shape[a]) * scales[i]).rounded(.down))
        }
    } else {
        throw ApusError("ONNX264", "Resize needs sizes or scales")
    }
    let mode = try c.node.string("mode", default: "nearest")
    let transform = old ? "asymmetric" : try c.node.string("coordinate_transformation_mode", default: "half_pixel")
    // The operator works on 1 to 3 trailing axes behind a batch and a channel axis.
    let cropping = transform == "tf_crop_and_resize"
    let region = try cropping ? c.knownFloats(1) ?? [] : []
    guard !cropping || (region.count == 2 * axes.count && region.allSatisfy { $0.isFinite }) else {
        throw ApusError("ONNX266", "tf_crop_and_resize needs a begin and an end for each axis", actual: "\(region)")
    }
    func cropped(_ a: Int) -> Bool {
        guard cropping, let i = axes.firstIndex(of: a) else { return false }
        return region[i] != 0 || region[i + axes.count] != 1
    }
    let changed = (0..<rank).filter { target[$0] != shape[$0] || factor[$0] != 1 || cropped($0) }
    if changed.isEmpty { return [x] }
    guard changed.count <= 3 else { throw ApusError("ONNX265", "at most 3 axes can be resized", actual: "\(changed)") }
    let kept = (0..<rank).filter { !changed.contains($0) }
    let order = kept + changed
    let moved = try c.transpose(x, order)
    let flat = try c.reshape(moved, [1, try c.product(kept.map { shape[$0] })] + changed.map { shape[$0] })
    var roi: AttrValue = .none
    if cropping {
        var begins: [Double] = []
        var ends: [Double] = []
        for a in changed {
            guard let i = axes.firstIndex(of: a) else { continue }
            begins.append(region[i])
            ends.append(region[i + axes.count])
        }
        roi = .floats(begins + ends)
    }
    let method = ["nearest": "nearest_neighbor", "linear": "linear", "bilinear": "linear", "cubic": "cubic"][mode] ?? mode
    let spatial = ["W", "HW", "DHW"][changed.count - 1]
    let y = try c.call(
        "image.resize", [flat],
        [
            "size": .ints(changed.map { target[$0] }), "scales": .floats(changed.map { factor[$0] }), "roi": roi,
            "layout": .string("NC" + spatial), "method": .string(method),
            "coordinate_transformation_mode": .string(transform),
            "rounding_method": .string(old ? "floor" : try c.node.string("nearest_mode", default: "round_prefer_floor")),
            "cubic_alpha": .float(Double(try c.node.float("cubic_coeff_a", default: -0.75))),
            "cubic_exclude": .int(try c.node.int("exclude_outside", default: 0)),
            "extrapolation_value": .float(Double(try c.node.float("extrapolation_value", default: 0))),
        ])
    let shaped = try c.reshape(y, kept.map { shape[$0] } + changed.map { target[$0] })
    var back = Array(repeating: 0, count: rank)
    for (i, a) in order.enumerated() { back[a] = i }
    return [try c.transpose(shaped, back)]
}
