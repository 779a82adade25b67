import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport
import ApusTIR

/// Whether a call takes elements for words that are words in memory already: along the last axis, without a rest.
public func isWordView(_ call: Relay.Call) -> Bool {
    guard (call.op as? Op)?.name == "nn.contrib_words", let type = call.args.first?.tensorType,
        let last = type.staticShape?.last
    else { return false }
    let axis = call.attrs.int("axis") ?? -1
    return (axis == -1 || axis == type.rank - 1) && last % (32 / max(8, Int(type.dtype.bits))) == 0
}

/// Operators that only `AlterOpLayout` makes.
public enum PackedOps {
    /// Registers them. Idempotent.
    public static func registerAll() {
        Op.register(
            "nn.contrib_conv2d_NCHWc",
            doc: "2-d convolution with channels in blocks: data [N][C/c][H][W][c] or [N][C][H][W], weight "
                + "[O/o][I/i][KH][KW][i][o], result [N][O/o][OH][OW][o]",
            args: ["data", "weight"],
            attrs: [
                AttrField("strides", .ints, in: 1...(1 << 30), doc: "rows, columns"),
                AttrField("padding", .ints, in: 0...(1 << 30), doc: "top, left, bottom, right"),
                AttrField("dilation", .ints, in: 1...(1 << 30), doc: "rows, columns"),
                AttrField("groups", .int, default: 1, in: 1...(1 << 30), doc: "groups of channels"),
                AttrField(
                    "in_channels", .int, default: 0, in: 0...(1 << 30),
                    doc: "channels of blocked data that are real; 0 = all. Those behind them are not read"),
                AttrField(
                    "out_dtype", .dtype, default: AttrValue.none, doc: "of the result; None = that of data"),
                dotField,
            ]
        )
        .setting(Relay.typeRelation, convType)
        .setting(Relay.opPattern, OpPattern.outEWiseFusable)
        let tileSize = AttrField("tile_size", .int, default: 4, in: 1...6, doc: "results on a side of a tile")
        Op.register(
            "nn.contrib_conv2d_winograd_weight_transform",
            doc:
                "The weight of a convolution as Winograd's method multiplies by it: [O][I][k][k] to [a][a][O][I], "
                + "a = tile_size + k - 1; in panels of channel_block outputs [a][a][O/o][I][o]",
            args: ["weight"],
            attrs: [
                tileSize,
                AttrField(
                    "channel_block", .int, default: 0, in: 0...1024, doc: "outputs in a panel; 0 = no panels"),
            ]
        )
        .setting(Relay.typeRelation, winogradWeightType)
        .setting(Relay.opPattern, OpPattern.opaque)
        Op.register(
            "nn.contrib_conv2d_winograd_without_weight_transform",
            doc:
                "2-d convolution of stride 1 by Winograd's method, channels in blocks: data [N][C/c][H][W][c], "
                + "transformed weight in panels [a][a][O/o][C][o], result [N][O/o][OH][OW][o]",
            args: ["data", "weight"],
            attrs: [
                tileSize,
                AttrField("padding", .ints, in: 0...(1 << 30), doc: "top, left, bottom, right"),
            ]
        )
        .setting(Relay.typeRelation, winogradType)
        .setting(Relay.opPattern, OpPattern.outEWiseFusable)
        Op.register(
            "nn.contrib_words",
            doc:
                "elements of 8 or 16 bits along an axis side by side in words of 32 bits, the last filled up with zeros",
            args: ["data"], attrs: [AttrField("axis", .int, default: -1, in: -64...63, doc: "the axis")]
        )
        .setting(Relay.typeRelation, wordsType)
        .setting(Relay.opPattern, OpPattern.injective)
        Op.register(
            "nn.contrib_matmul_words",
            doc:
                "a [..., M, K] times b [..., K, N], a being words of several elements along K, b words or elements",
            args: ["a", "b"],
            attrs: [
                AttrField("transpose_b", .bool, default: false, doc: "whether b is given transposed"),
                dotField,
            ]
        )
        .setting(Relay.typeRelation, matmulType)
        .setting(Relay.opPattern, OpPattern.outEWiseFusable)
    }

    private static let winogradWeightType: Relay.TypeRelation = { types, attrs in
        guard types.count == 1, let weight = types[0] as? TensorType, weight.rank == 4,
            let size = weight.shape[2].asInt, weight.shape[3].asInt == size, (2...5).contains(size)
        else {
            throw ApusError(
                "RELAY201", "nn.contrib_conv2d_winograd_weight_transform: the weight",
                expected: "[O][I][k][k], k from 2 to 5", actual: "\(types)")
        }
        let side = IntImm((attrs.int("tile_size") ?? 4) + size - 1)
        let block = attrs.int("channel_block") ?? 0
        if block == 0 { return TensorType([side, side, weight.shape[0], weight.shape[1]], weight.dtype) }
        guard let outputs = weight.shape[0].asInt, outputs % block == 0 else {
            throw ApusError(
                "RELAY201", "nn.contrib_conv2d_winograd_weight_transform: the outputs",
                expected: "whole panels of \(block)", actual: "\(weight.shape[0])")
        }
        return TensorType(
            [side, side, IntImm(outputs / block), weight.shape[1], IntImm(block)], weight.dtype)
    }

    private static let winogradType: Relay.TypeRelation = { types, attrs in
        func fail(_ what: String, _ expected: String, _ actual: String) -> ApusError {
            ApusError(
                "RELAY201", "nn.contrib_conv2d_winograd_without_weight_transform: \(what)",
                expected: expected,
                actual: actual)
        }
        guard types.count == 2, let data = types[0] as? TensorType, let weight = types[1] as? TensorType,
            let x = data.staticShape, x.count == 5, let w = weight.staticShape, w.count == 5
        else { throw fail("operands", "static data and weight of rank 5", "\(types)") }
        guard let tile = attrs.int("tile_size"), let padding = attrs.ints("padding"), padding.count == 4
        else {
            throw fail("attributes", "tile_size and 4 paddings", "\(attrs)")
        }
        let taps = w[0] - tile + 1
        guard w[0] == w[1], taps >= 1, w[3] == x[1] * x[4], x.allSatisfy({ $0 <= 1 << 30 }) else {
            throw fail("the weight", "[a][a][O/o][\(x[1] * x[4])][o], a >= \(tile)", "\(w)")
        }
        let height = x[2] + padding[0] + padding[2] - taps + 1
        let width = x[3] + padding[1] + padding[3] - taps + 1
        guard height > 0, width > 0 else {
            throw fail("the window", "no larger than the padded data", "\(taps)")
        }
        return TensorType(
            [data.shape[0], weight.shape[2], IntImm(height), IntImm(width), weight.shape[4]], data.dtype)
    }

    private static let wordsType: Relay.TypeRelation = { types, attrs in
        guard types.count == 1, let data = types[0] as? TensorType, [8, 16].contains(data.dtype.bits),
            let shape = data.staticShape
        else {
            throw ApusError(
                "RELAY202", "nn.contrib_words: the operand", expected: "a static tensor of 8 or 16 bits",
                actual: "\(types)")
        }
        let axis = attrs.int("axis") ?? -1
        let a = axis < 0 ? axis + shape.count : axis
        guard shape.indices.contains(a) else {
            throw ApusError(
                "RELAY202", "nn.contrib_words: the axis", expected: "one of \(shape.count)", actual: "\(axis)"
            )
        }
        let perWord = 32 / Int(data.dtype.bits)
        var result = data.shape
        result[a] = IntImm(shape[a] / perWord + (shape[a] % perWord == 0 ? 0 : 1))
        return TensorType(result, .uint32)
    }

    private static let matmulType: Relay.TypeRelation = { types, attrs in
        func fail(_ what: String, _ expected: String) -> ApusError {
            ApusError(
                "RELAY202", "nn.contrib_matmul_words: \(what)", expected: expected, actual: "\(types)")
        }
        guard types.count == 2, let a = types[0] as? TensorType, let b = types[1] as? TensorType,
            let left = a.staticShape, let right = b.staticShape, left.count == right.count,
            (2...3).contains(left.count)
        else { throw fail("the operands", "two static matrices or stacks of them") }
        guard let dot = DotProduct(rawValue: attrs.string("dot") ?? ""), a.dtype == .uint32,
            b.dtype == .uint32 || b.dtype == dot.elements.right
        else { throw fail("the element types", "words, and words or elements of a product `dot`") }
        let rank = left.count
        let transposed = attrs.bool("transpose_b") ?? false
        let perStep = b.dtype == .uint32 ? 1 : dot.perWord
        let depth = right[transposed ? rank - 1 : rank - 2]
        guard left[rank - 1] == depth / perStep + (depth % perStep == 0 ? 0 : 1) else {
            throw fail("the common extent", "\(left[rank - 1]) steps")
        }
        var shape = [a.shape[rank - 2], b.shape[transposed ? rank - 2 : rank - 1]]
        if rank == 3 {
            guard left[0] == right[0] || left[0] == 1 || right[0] == 1 else {
                throw fail("the stacks", "as many matrices, or one")
            }
            shape.insert(IntImm(left[0] == 1 ? right[0] : left[0]), at: 0)
        }
        return TensorType(shape, dot.sumType)
    }

    private static let convType: Relay.TypeRelation = { types, attrs in
        func fail(_ what: String, _ expected: String, _ actual: String) -> ApusError {
            ApusError(
                "RELAY201", "nn.contrib_conv2d_NCHWc: \(what)", expected: expected, actual: actual)
        }
        guard types.count == 2, let data = types[0] as? TensorType, let weight = types[1] as? TensorType,
            let shape = weight.staticShape, shape.count == 6, data.rank == 4 || data.rank == 5
        else { throw fail("operand ranks", "data of rank 4 or 5, static weight of rank 6", "\(types)") }
        guard let strides = attrs.ints("strides"), strides.count == 2, let padding = attrs.ints("padding"),
            padding.count == 4, let dilation = attrs.ints("dilation"), dilation.count == 2
        else { throw fail("attributes", "2 strides, 4 paddings, 2 dilations", "\(attrs)") }
        var dims: [PrimExpr] = [data.shape[0], IntImm(shape[0])]
        for i in 0..<2 {
            guard let extent = data.shape[2 + i].asInt else {
                throw fail("a spatial dimension", "a constant", "\(data.shape[2 + i])")
            }
            // Within these bounds nothing below overflows.
            guard (1...(1 << 30)).contains(shape[2 + i]), extent <= 1 << 40 else {
                throw fail(
                    "an extent", "a window of 1 to 2^30, data up to 2^40", "\(shape[2 + i]), \(extent)")
            }
            let window = (shape[2 + i] - 1) * dilation[i] + 1
            let padded = extent + padding[i] + padding[i + 2]
            guard padded >= window else { throw fail("window", "at most \(padded)", "\(window)") }
            dims.append(IntImm((padded - window) / strides[i] + 1))
        }
        dims.append(IntImm(shape[5]))
        if let dot = DotProduct(rawValue: attrs.string("dot") ?? "") {
            guard data.dtype == .uint32, weight.dtype == .uint32 else {
                throw fail("element types", "words of the product \(dot.rawValue)", "\(data), \(weight)")
            }
            return TensorType(dims, dot.sumType)
        }
        return TensorType(dims, attrs.dtype("out_dtype") ?? data.dtype)
    }
}
