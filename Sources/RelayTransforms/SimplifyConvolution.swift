import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

/// Rewrites convolutions as those that have fast kernels: of two axes, not transposed, with groups of whole vectors. What
/// happens to weights is computed at compile time.
///
/// - One spatial axis: an image of height 1.
/// - Three: the taps along the depth become input channels, the depths of the result become images.
/// - Transposed: each of the `stride` phases of the result is a convolution of its own; all of them are one convolution to
///   `O * stride * stride` channels, which then move into space. With `T = ceil(kernel / stride)`, along one axis:
///   `y[stride * m + a] = sum_t x[m - t] * weight[a + stride * t]`, less the padding at both ends.
/// - Groups that do not fill blocks of channels: as many together as do, with weights of 0 between them. Of one input channel
///   and several output channels: the input channels repeated, depthwise.
/// - Taps that meet nothing but the zeros around the image (dilation wider than it): cut off.
///
/// Leaves alone what has other layouts, shapes known only at run time, transposed ones with dilation or of three axes,
/// and those of three axes with groups.
///
/// - Parameter lanes: 32-bit floats in a vector.
public func simplifyConvolution(lanes: Int) -> some Pass {
    FunctionPass<Relay.Function>(
        PassInfo("SimplifyConvolution", "convolutions become those of two axes and whole vectors", level: 2)
    ) { function, _, _ in
        let flat = try Relay.rewrite(function.body) { _, node in
            guard let call = node as? Relay.Call else { return node }
            return try ConvolutionSimplifier().simplified(call) ?? node
        }
        // How groups are put together depends on all convolutions: they have blocks of one size.
        let block = channelBlock(of: flat, lanes: lanes)
        let body = try Relay.rewrite(flat) { _, node in
            guard let call = node as? Relay.Call, call.opName == "nn.conv2d",
                let geometry = Geometry(call, axes: 2, kernelOrder: "OI")
            else { return node }
            return try ConvolutionSimplifier().grouped(call, geometry, block: block) ?? node
        }
        return body === function.body ? function : try function.with(body: body)
    }
}

/// The parameters of a convolution of one to three spatial axes, or of a transposed one.
private struct Geometry {
    let data: [Int]
    let weight: [Int]
    let result: [Int]
    let strides: [Int]
    /// All begins, then all ends.
    let padding: [Int]
    let dilation: [Int]
    let groups: Int
    var axes: Int { strides.count }
    var kernel: ArraySlice<Int> { weight[2...] }
    /// Channels of one group.
    var inputs: Int { data[1] / groups }
    var outputs: Int { result[1] / groups }

    /// Nil where a layout is not the plain one or a shape is not known.
    init?(_ call: Relay.Call, axes: Int, kernelOrder: String) {
        let spatial = String("DHW".suffix(axes))
        let a = call.attrs
        guard call.args.count == 2, a.string("data_layout") ?? "NC" + spatial == "NC" + spatial,
            a.string("kernel_layout") ?? kernelOrder + spatial == kernelOrder + spatial,
            ["", "NC" + spatial].contains(a.string("out_layout") ?? ""),
            let data = call.args[0].tensorType?.staticShape, data.count == axes + 2,
            let weight = call.args[1].tensorType?.staticShape, weight.count == axes + 2,
            let result = call.tensorType?.staticShape, !result.contains(0), !data.contains(0)
        else { return nil }
        self.data = data
        self.weight = weight
        self.result = result
        strides = a.ints("strides") ?? [Int](repeating: 1, count: axes)
        padding = a.ints("padding") ?? [Int](repeating: 0, count: 2 * axes)
        dilation = a.ints("dilation") ?? [Int](repeating: 1, count: axes)
        groups = a.int("groups") ?? 1
    }
}

private struct ConvolutionSimplifier {
    func simplified(_ call: Relay.Call) throws -> RelayExpr? {
        switch call.opName {
        case "nn.conv1d": return try Geometry(call, axes: 1, kernelOrder: "OI").map { try widened(call, $0) }
        case "nn.conv1d_transpose":
            return try Geometry(call, axes: 1, kernelOrder: "IO").map { try widened(call, $0) }
        case "nn.conv2d":
            return try Geometry(call, axes: 2, kernelOrder: "OI").flatMap { try trimmed(call, $0) }
        case "nn.conv2d_transpose":
            return try Geometry(call, axes: 2, kernelOrder: "IO").flatMap { try transposed(call, $0) }
        case "nn.conv3d":
            return try Geometry(call, axes: 3, kernelOrder: "OI").flatMap { try flattened(call, $0) }
        default: return nil
        }
    }

    /// A convolution of the plain layout, itself simplified.
    private func conv2d(
        _ data: RelayExpr, _ weight: RelayExpr, channels: Int, kernel: [Int], strides: [Int] = [1, 1],
        padding: [Int] = [0, 0, 0, 0], dilation: [Int] = [1, 1], groups: Int = 1, like call: Relay.Call
    ) throws -> RelayExpr {
        var attrs: [(key: String, value: AttrValue)] = [
            (key: "kernel_size", value: .ints(kernel)), (key: "channels", value: .int(channels)),
            (key: "strides", value: .ints(strides)), (key: "padding", value: .ints(padding)),
            (key: "dilation", value: .ints(dilation)), (key: "groups", value: .int(groups)),
            (key: "data_layout", value: "NCHW"), (key: "kernel_layout", value: "OIHW"),
        ]
        if let type = call.attrs.dtype("out_dtype") { attrs.append((key: "out_dtype", value: .dtype(type))) }
        let new = try Relay.call("nn.conv2d", [data, weight], attrs: Attrs(attrs), span: call.span)
        return try simplified(new) ?? new
    }

    // MARK: One axis

    private func widened(_ call: Relay.Call, _ g: Geometry) throws -> RelayExpr {
        let data = try reshape(call.args[0], [g.data[0], g.data[1], 1, g.data[2]])
        let weight = try reshape(call.args[1], [g.weight[0], g.weight[1], 1, g.weight[2]])
        let result: RelayExpr
        if call.opName == "nn.conv1d" {
            result = try conv2d(
                data, weight, channels: g.result[1], kernel: [1, g.weight[2]], strides: [1, g.strides[0]],
                padding: [0, g.padding[0], 0, g.padding[1]], dilation: [1, g.dilation[0]], groups: g.groups,
                like: call)
        } else {
            var attrs: [(key: String, value: AttrValue)] = [
                (key: "kernel_size", value: .ints([1, g.weight[2]])),
                (key: "channels", value: .int(g.result[1])),
                (key: "strides", value: .ints([1, g.strides[0]])),
                (key: "padding", value: .ints([0, g.padding[0], 0, g.padding[1]])),
                (key: "dilation", value: .ints([1, g.dilation[0]])), (key: "groups", value: .int(g.groups)),
                (key: "output_padding", value: .ints([0, call.attrs.ints("output_padding")?.first ?? 0])),
                (key: "data_layout", value: "NCHW"), (key: "kernel_layout", value: "IOHW"),
            ]
            if let type = call.attrs.dtype("out_dtype") {
                attrs.append((key: "out_dtype", value: .dtype(type)))
            }
            let new = try Relay.call(
                "nn.conv2d_transpose", [data, weight], attrs: Attrs(attrs), span: call.span)
            result = try simplified(new) ?? new
        }
        return try reshape(result, g.result)
    }

    // MARK: Three axes

    private func flattened(_ call: Relay.Call, _ g: Geometry) throws -> RelayExpr? {
        guard g.groups == 1 else { return nil }
        let (taps, depths) = (g.weight[2], g.result[2])
        var data = call.args[0]
        if g.padding[0] > 0 || g.padding[3] > 0 {
            guard let type = data.tensorType?.dtype else { return nil }
            data = try Relay.call(
                "nn.pad", [data, try Relay.scalar(0, type)],
                ["pad_width": .ints([0, 0, 0, 0, g.padding[0], g.padding[3], 0, 0, 0, 0])])
        }
        // The depths that each tap meets, as images.
        var images: [RelayExpr] = []
        for tap in 0..<taps {
            let begin = tap * g.dilation[0]
            let met = try Relay.call(
                "strided_slice", [data],
                [
                    "begin": .ints([begin]), "end": .ints([begin + (depths - 1) * g.strides[0] + 1]),
                    "strides": .ints([g.strides[0]]), "axes": .ints([2]),
                ])
            images.append(
                try reshape(
                    try transpose(met, [0, 2, 1, 3, 4]),
                    [g.data[0] * depths, g.data[1], g.data[3], g.data[4]]))
        }
        let all =
            images.count == 1
            ? images[0] : try Relay.call("concatenate", [Relay.Tuple(images)], ["axis": 1])
        let weight = try reshape(
            try transpose(call.args[1], [0, 2, 1, 3, 4]),
            [g.weight[0], taps * g.weight[1], g.weight[3], g.weight[4]])
        let result = try conv2d(
            all, weight, channels: g.result[1], kernel: Array(g.weight[3...]),
            strides: Array(g.strides[1...]),
            padding: [g.padding[1], g.padding[2], g.padding[4], g.padding[5]],
            dilation: Array(g.dilation[1...]),
            like: call)
        let (n, o) = (g.result[0], g.result[1])
        return try transpose(
            try reshape(result, [n, depths, o, g.result[3], g.result[4]]), [0, 2, 1, 3, 4])
    }

    // MARK: Taps

    /// Without the rows and columns of taps at the ends of the kernel that lie outside the image for every element of the
    /// result.
    private func trimmed(_ call: Relay.Call, _ g: Geometry) throws -> RelayExpr? {
        var padding = g.padding
        var kept: [Range<Int>] = []
        for axis in 0..<2 {
            let (taps, extent, step) = (g.weight[2 + axis], g.data[2 + axis], g.strides[axis])
            let last = (g.result[2 + axis] - 1) * step
            /// Whether a tap meets the image somewhere: of the places it is at, `step` apart, one is inside.
            func meets(_ tap: Int) -> Bool {
                let first = tap * g.dilation[axis] - g.padding[axis]
                let inside = first >= 0 ? first : first + (-first + step - 1) / step * step
                return inside < extent && inside <= first + last
            }
            guard let low = (0..<taps).first(where: meets), let high = (0..<taps).last(where: meets) else {
                return nil
            }
            padding[axis] -= low * g.dilation[axis]
            padding[axis + 2] -= (taps - 1 - high) * g.dilation[axis]
            kept.append(low..<high + 1)
        }
        let kernel = kept.map(\.count)
        guard kernel != Array(g.kernel), padding.allSatisfy({ $0 >= 0 }) else { return nil }
        let weight = try Relay.call(
            "strided_slice", [call.args[1]],
            [
                "begin": .ints(kept.map(\.lowerBound)), "end": .ints(kept.map(\.upperBound)),
                "strides": .ints([1, 1]), "axes": .ints([2, 3]),
            ])
        return try conv2d(
            call.args[0], weight, channels: g.result[1], kernel: kernel, strides: g.strides, padding: padding,
            dilation: zip(kernel, g.dilation).map { $0 == 1 ? 1 : $1 }, groups: g.groups, like: call)
    }

    // MARK: Groups

    /// - Parameter block: channels in a block.
    func grouped(_ call: Relay.Call, _ g: Geometry, block: Int) throws -> RelayExpr? {
        guard g.groups > 1, let type = call.args[1].tensorType?.dtype else { return nil }
        let kernel = Array(g.kernel)
        if g.inputs == 1 {
            if g.outputs == 1 { return nil }
            let x = g.data
            let repeated = try Relay.call(
                "broadcast_to", [try reshape(call.args[0], [x[0], x[1], 1, x[2], x[3]])],
                ["shape": .ints([x[0], x[1], g.outputs, x[2], x[3]])])
            return try conv2d(
                try reshape(repeated, [x[0], g.result[1], x[2], x[3]]), call.args[1], channels: g.result[1],
                kernel: kernel, strides: g.strides, padding: g.padding, dilation: g.dilation,
                groups: g.result[1], like: call)
        }
        let plan = GroupPlan(groups: g.groups, inputs: g.inputs, outputs: g.outputs, block: block)
        let together = plan.together
        if together == 1 { return nil }
        let count = plan.sets * together
        func filledUp(_ x: RelayExpr, axis: Int, by surplus: Int) throws -> RelayExpr {
            guard surplus > 0 else { return x }
            var widths = [Int](repeating: 0, count: 8)
            widths[2 * axis + 1] = surplus
            return try Relay.call(
                "nn.pad", [x, try Relay.scalar(0, x.tensorType?.dtype ?? type)], ["pad_width": .ints(widths)])
        }
        let data = try filledUp(call.args[0], axis: 1, by: (count - g.groups) * g.inputs)
        let all = try filledUp(call.args[1], axis: 0, by: (count - g.groups) * g.outputs)
        let area = kernel.reduce(1, *)
        let each = try reshape(all, [plan.sets, together, g.outputs, 1, g.inputs * area])
        let mask = try identity(together, type)
        let spread = try Relay.call(
            "multiply", [each, try reshape(mask, [1, together, 1, together, 1])])
        // [sets, group, output, group, input * tap]
        let weight = try reshape(spread, [count * g.outputs, together * g.inputs] + kernel)
        let result = try conv2d(
            data, weight, channels: count * g.outputs, kernel: kernel, strides: g.strides,
            padding: g.padding, dilation: g.dilation, groups: plan.sets, like: call)
        if count == g.groups { return result }
        return try Relay.call(
            "strided_slice", [result],
            [
                "begin": .ints([0]), "end": .ints([g.result[1]]), "strides": .ints([1]), "axes": .ints([1]),
            ])
    }

    /// 1 on the diagonal, 0 elsewhere.
    private func identity(_ n: Int, _ type: DataType) throws -> RelayExpr {
        let values: [Float] = (0..<n * n).map { $0 % (n + 1) == 0 ? 1 : 0 }
        let matrix = Relay.Constant(NDArray(values, shape: [n, n]))
        return type == .float32 ? matrix : try Relay.call("cast", [matrix], ["dtype": .dtype(type)])
    }

    // MARK: Transposed

    private func transposed(_ call: Relay.Call, _ g: Geometry) throws -> RelayExpr? {
        guard g.dilation == [1, 1], let type = call.args[1].tensorType?.dtype else { return nil }
        let (s, c) = (g.strides, g.data[1])
        let taps = zip(g.kernel, s).map { ($0 + $1 - 1) / $1 }
        let o = g.outputs
        var weight = call.args[1]
        let surplus = [taps[0] * s[0] - g.weight[2], taps[1] * s[1] - g.weight[3]]
        if surplus != [0, 0] {
            weight = try Relay.call(
                "nn.pad", [weight, try Relay.scalar(0, type)],
                ["pad_width": .ints([0, 0, 0, 0, 0, surplus[0], 0, surplus[1]])])
        }
        // [group, C, O, tap, phase, tap, phase], the last tap first.
        weight = try reshape(weight, [g.groups, c / g.groups, o, taps[0], s[0], taps[1], s[1]])
        let turned = (0...1).filter { taps[$0] > 1 }.map { 3 + 2 * $0 }
        if !turned.isEmpty { weight = try Relay.call("reverse", [weight], ["axis": .ints(turned)]) }
        weight = try transpose(weight, [0, 2, 4, 6, 1, 3, 5])
        let channels = g.groups * o * s[0] * s[1]
        weight = try reshape(weight, [channels, c / g.groups] + taps)
        let around = [taps[0] - 1, taps[1] - 1]
        let phases = try conv2d(
            call.args[0], weight, channels: channels, kernel: taps, padding: around + around,
            groups: g.groups,
            like: call)
        // Channels into space.
        let size = [g.data[2] + around[0], g.data[3] + around[1]]
        let split = try reshape(phases, [g.data[0], g.result[1], s[0], s[1], size[0], size[1]])
        let whole = try reshape(
            s == [1, 1] ? split : try transpose(split, [0, 1, 4, 2, 5, 3]),
            [g.data[0], g.result[1], size[0] * s[0], size[1] * s[1]])
        return try window(whole, from: Array(g.padding[..<2]), size: Array(g.result[2...]))
    }

    /// Rows and columns of an image: what lies beyond it is 0.
    private func window(_ image: RelayExpr, from begin: [Int], size: [Int]) throws -> RelayExpr? {
        guard let type = image.tensorType, let shape = type.staticShape else { return nil }
        var result = image
        let ends = [min(begin[0] + size[0], shape[2]), min(begin[1] + size[1], shape[3])]
        if begin[0] >= ends[0] || begin[1] >= ends[1] { return nil }
        if begin != [0, 0] || ends != Array(shape[2...]) {
            result = try Relay.call(
                "strided_slice", [result],
                [
                    "begin": .ints(begin), "end": .ints(ends), "strides": .ints([1, 1]),
                    "axes": .ints([2, 3]),
                ])
        }
        let missing = [begin[0] + size[0] - ends[0], begin[1] + size[1] - ends[1]]
        if missing != [0, 0] {
            result = try Relay.call(
                "nn.pad", [result, try Relay.scalar(0, type.dtype)],
                ["pad_width": .ints([0, 0, 0, 0, 0, missing[0], 0, missing[1]])])
        }
        return result
    }
}
