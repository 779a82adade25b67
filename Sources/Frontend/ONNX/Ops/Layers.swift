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
        guard try c.shape(a).count == 2, try c.shape(b).count == 2 else {
            throw ApusError("ONNX250", "Gemm needs matrices")
        }
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
                "pool_size": .ints(window.kernel), "strides": .ints(window.strides),
                "dilation": .ints(window.dilation),
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
                "pool_size": .ints(window.kernel), "strides": .ints(window.strides),
                "dilation": .ints(window.dilation),
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
            guard rank >= 3 else {
                throw ApusError("ONNX251", "\(name) needs spatial axes", actual: "rank \(rank)")
            }
            return [try c.call(op, [x], ["axis": .ints(Array(2..<rank)), "keepdims": true])]
        }
    }
    t["GlobalLpPool"] = { c in
        let x = try c.x(0)
        let rank = try c.shape(x).count
        guard rank >= 3 else {
            throw ApusError("ONNX251", "GlobalLpPool needs spatial axes", actual: "rank \(rank)")
        }
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
                "pool_size": .ints(window.kernel), "strides": .ints(window.strides),
                "dilation": .ints(window.dilation),
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
            "strides": .ints(window.strides), "padding": .ints(window.padding),
            "dilation": .ints(window.dilation),
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
        return try c.reshape(
            try c.broadcast(try c.reshape(e, own + matrix), batch + matrix), [count] + matrix)
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
    guard let k = try c.node.ints("kernel_shape") else {
        throw ApusError("ONNX253", "\(c.node.opType) needs kernel_shape")
    }
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
            throw ApusError(
                "ONNX254", "1 to 3 spatial axes are supported", expected: "rank \(n + 2)", actual: "\(data)")
        }
        if let declared = try c.node.ints("kernel_shape"), declared != kernel {
            throw ApusError(
                "ONNX255", "kernel_shape does not fit the weight", expected: "\(kernel)",
                actual: "\(declared)")
        }
        func list(_ name: String, _ standard: [Int], _ low: Int) throws -> [Int] {
            let v = try c.node.ints(name, default: standard)
            guard v.count == standard.count, v.allSatisfy({ $0 >= low && $0 < 1 << 30 }) else {
                throw ApusError(
                    "ONNX256", "`\(name)` is not valid",
                    expected: "\(standard.count) numbers of at least \(low)", actual: "\(v)")
            }
            return v
        }
        guard kernel.allSatisfy({ $0 >= 1 && $0 < 1 << 30 }) else {
            throw ApusError("ONNX256", "the window is empty", actual: "\(kernel)")
        }
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
    guard (1...3).contains(n), data.count == n + 2, data.allSatisfy({ $0 < 1 << 30 }) else {
        throw ApusError("ONNX254", "1 to 3 spatial axes are supported")
    }
    let strides = try c.node.ints("strides", default: Array(repeating: 1, count: n))
    let dilation = try c.node.ints("dilations", default: Array(repeating: 1, count: n))
    var extra = try c.node.ints("output_padding", default: Array(repeating: 0, count: n))
    var pads = try c.node.ints("pads", default: Array(repeating: 0, count: 2 * n))
    guard strides.count == n, dilation.count == n, extra.count == n, pads.count == 2 * n,
        (strides + dilation).allSatisfy({ $0 >= 1 && $0 < 1 << 30 }),
        (extra + pads).allSatisfy({ $0 >= 0 && $0 < 1 << 30 }),
        kernel.allSatisfy({ $0 >= 1 && $0 < 1 << 30 })
    else { throw ApusError("ONNX256", "the window is not valid") }
    let auto = try c.node.string("auto_pad", default: "NOTSET")
    let wanted = try c.node.ints("output_shape").map { Array($0.suffix(n)) }
    if let wanted, wanted.count != n || !wanted.allSatisfy({ $0 >= 0 && $0 < 1 << 40 }) {
        throw ApusError("ONNX258", "output_shape needs one extent an axis")
    }
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
            "strides": .ints(strides), "padding": .ints(pads), "dilation": .ints(dilation),
            "groups": .int(groups),
            "kernel_size": .ints(kernel), "output_padding": .ints(extra),
            "data_layout": .string("NC" + spatial),
            "kernel_layout": .string("IO" + spatial),
        ])
    return [try biased(c, y, 2)]
}
