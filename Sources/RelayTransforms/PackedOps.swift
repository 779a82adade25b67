import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

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
            ]
        )
        .setting(Relay.typeRelation, convType)
        .setting(Relay.opPattern, OpPattern.outEWiseFusable)
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
        return TensorType(dims, data.dtype)
    }
}
