import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    static func addNN(_ t: inout [String: Compute]) {
        t["nn.softmax"] = { a, x, _ in [try softmax(try operand(x, 0), axis: a.int("axis") ?? -1)] }
        t["nn.log_softmax"] = { a, x, _ in [try logSoftmax(try operand(x, 0), axis: a.int("axis") ?? -1)] }
        t["nn.layer_norm"] = { a, x, _ in
            [
                try layerNorm(
                    try operand(x, 0), gamma: a.bool("scale") ?? true ? try operand(x, 1) : nil,
                    beta: a.bool("center") ?? true ? try operand(x, 2) : nil, axis: a.int("axis") ?? -1,
                    epsilon: a.float("epsilon") ?? 1e-5)
            ]
        }
        t["nn.batch_norm"] = { a, x, _ in
            try batchNorm(
                try operand(x, 0), gamma: a.bool("scale") ?? true ? try operand(x, 1) : nil,
                beta: a.bool("center") ?? true ? try operand(x, 2) : nil, mean: try operand(x, 3),
                variance: try operand(x, 4), axis: a.int("axis") ?? 1, epsilon: a.float("epsilon") ?? 1e-5)
        }
        t["nn.bias_add"] = { a, x, _ in
            [try biasAdd(try operand(x, 0), try operand(x, 1), axis: a.int("axis") ?? 1)]
        }
        t["nn.lrn"] = { a, x, _ in
            [
                try lrn(
                    try operand(x, 0), size: a.int("size") ?? 5, axis: a.int("axis") ?? 1,
                    bias: a.float("bias") ?? 1,
                    alpha: a.float("alpha") ?? 1e-4, beta: a.float("beta") ?? 0.75)
            ]
        }
        for n in 1...3 {
            t["nn.conv\(n)d"] = { a, x, type in
                let p = convParameters(a, n, data: "NCDHW", kernel: "OIDHW", type)
                if n == 2, let y = try blockedConv2d(a, p, try operand(x, 0), try operand(x, 1)) {
                    return [y]
                }
                let y = try conv(try operand(x, 0), try operand(x, 1), spatial: n, p)
                let out = a.string("out_layout") ?? ""
                return [
                    out.isEmpty || out == p.dataLayout
                        ? y : try layoutTransform(y, from: p.dataLayout, to: out)
                ]
            }
            t["nn.conv\(n)d_transpose"] = { a, x, type in
                let p = convParameters(a, n, data: "NCDHW", kernel: "IODHW", type)
                let extra = a.ints("output_padding") ?? [Int](repeating: 0, count: n)
                return [
                    try convTranspose(
                        try operand(x, 0), try operand(x, 1), spatial: n, outputPadding: extra, p)
                ]
            }
            for kind in [PoolKind.max, .avg] {
                t["nn.\(kind.rawValue)_pool\(n)d"] = { a, x, type in
                    let p = PoolParameters(
                        size: a.ints("pool_size") ?? [], strides: a.ints("strides"),
                        dilation: a.ints("dilation"),
                        padding: a.ints("padding"), layout: layoutText(a.string("layout"), n, "NCDHW"),
                        ceilMode: a.bool("ceil_mode") ?? false,
                        countIncludePad: a.bool("count_include_pad") ?? false)
                    return [try pool(try operand(x, 0), kind, p, shape: resultShape(type))]
                }
            }
        }
        t["nn.global_max_pool2d"] = { a, x, _ in
            [try globalPool(try operand(x, 0), .max, layout: a.string("layout") ?? "NCHW")]
        }
        t["nn.global_avg_pool2d"] = { a, x, _ in
            [try globalPool(try operand(x, 0), .avg, layout: a.string("layout") ?? "NCHW")]
        }
        t["nn.dense"] = { a, x, _ in
            [try dense(try operand(x, 0), try operand(x, 1), outDType: a.dtype("out_dtype"))]
        }
        t["nn.contrib_dense_pack"] = { a, x, _ in
            [
                try densePack(
                    try operand(x, 0), try operand(x, 1), units: a.int("units"),
                    outDType: a.dtype("out_dtype"), dot: DotProduct(rawValue: a.string("dot") ?? ""))
            ]
        }
        t["nn.contrib_words"] = { a, x, _ in [try words(try operand(x, 0), axis: a.int("axis") ?? -1)] }
        t["nn.matmul"] = { a, x, _ in
            [
                try matmul(
                    try operand(x, 0), try operand(x, 1), transposeA: a.bool("transpose_a") ?? false,
                    transposeB: a.bool("transpose_b") ?? false, outDType: a.dtype("out_dtype"))
            ]
        }
        t["nn.batch_matmul"] = { a, x, _ in
            [
                try batchMatmul(
                    try operand(x, 0), try operand(x, 1), transposeA: a.bool("transpose_a") ?? false,
                    transposeB: a.bool("transpose_b") ?? false, outDType: a.dtype("out_dtype"))
            ]
        }
        t["nn.pad"] = { a, x, _ in
            let widths = a.ints("pad_width") ?? []
            guard let mode = PadMode(rawValue: a.string("pad_mode") ?? "constant"), widths.count % 2 == 0
            else {
                throw ApusError("TOPI002", "nn.pad: the mode or the widths are not valid")
            }
            let pairs = 0..<(widths.count / 2)
            let value: PrimExpr? = x.count > 1 ? x[1].scalarValue : nil
            return [
                try pad(
                    try operand(x, 0), before: pairs.map { widths[2 * $0] },
                    after: pairs.map { widths[2 * $0 + 1] },
                    mode: mode, value: value)
            ]
        }
        t["nn.depth_to_space"] = { a, x, _ in
            [
                try depthToSpace(
                    try operand(x, 0), blockSize: a.int("block_size") ?? 1, mode: a.string("mode") ?? "DCR",
                    layout: a.string("layout") ?? "NCHW")
            ]
        }
        t["nn.space_to_depth"] = { a, x, _ in
            [
                try spaceToDepth(
                    try operand(x, 0), blockSize: a.int("block_size") ?? 1,
                    layout: a.string("layout") ?? "NCHW")
            ]
        }
    }

    /// A 2-d convolution whose result has channels in blocks and whose weight is `OIHW…i…o`, or nil for
    /// others.
    private static func blockedConv2d(
        _ a: Attrs, _ p: ConvParameters, _ data: Tensor, _ weight: Tensor
    ) throws -> Tensor? {
        let kernel = try Layout(p.kernelLayout)
        let text = a.string("out_layout") ?? ""
        let source = try Layout(p.dataLayout)
        let result = text.isEmpty ? source : try Layout(text)
        let order: [Character] = ["O", "I", "H", "W", "I", "O"]
        guard result.isBlocked("C"), kernel.axes.map(\.letter) == order, result.axes.count == 5,
            result.letters == ["N", "C", "H", "W"], source.letters == ["N", "C", "H", "W"],
            result.blockSize("C") == kernel.blockSize("O"), p.outDType == nil || p.outDType == data.dtype,
            data.dtype == accumulator(of: data.dtype)
        else { return nil }
        let depthwise = p.groups > 1 && kernel.blockSize("I") == 1 && weight.shape[1].asInt == 1
        guard kernel.blockSize("I") == source.blockSize("C") || (depthwise && source.isBlocked("C")) else {
            return nil
        }
        return try conv2dNCHWc(
            data, weight, strides: p.strides, padding: p.padding, dilation: p.dilation, groups: p.groups)
    }

    /// A layout given for `n` dimensions; the schema's default is that of two.
    private static func layoutText(_ given: String?, _ n: Int, _ full: String) -> String {
        if let given, !given.isEmpty, n == 2 || !["NCHW", "OIHW", "IOHW"].contains(given) { return given }
        let drop = n == 3 ? "" : (n == 2 ? "D" : "DH")
        return full.filter { !drop.contains($0) }
    }

    private static func convParameters(
        _ a: Attrs, _ n: Int, data: String, kernel: String, _ type: IRType
    ) -> ConvParameters {
        let ones = [Int](repeating: 1, count: n)
        return ConvParameters(
            strides: a.ints("strides") ?? ones, padding: a.ints("padding") ?? ones.flatMap { _ in [0, 0] },
            dilation: a.ints("dilation") ?? ones, groups: a.int("groups") ?? 1,
            dataLayout: layoutText(a.string("data_layout"), n, data),
            kernelLayout: layoutText(a.string("kernel_layout"), n, kernel), outDType: a.dtype("out_dtype"),
            channels: a.int("channels"))
    }
}
