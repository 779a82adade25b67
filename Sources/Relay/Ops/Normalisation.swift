import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Normalisations along an axis.

extension Ops {
    private static func affineAttrs(axis: Int) -> [AttrField] {
        [
            AttrField("axis", .int, default: .int(axis), doc: "the axis"),
            AttrField("epsilon", .float, default: .float(1e-5), doc: "added to the variance"),
            AttrField("center", .bool, default: true, doc: "whether beta is added"),
            AttrField("scale", .bool, default: true, doc: "whether gamma multiplies"),
        ]
    }

    static func registerNormalisations() {
        for (name, doc) in [
            ("nn.softmax", "exp(x) / sum(exp(x)) along an axis"),
            ("nn.log_softmax", "log of the softmax along an axis"),
        ] {
            define(
                name, doc, ["data"], attrs: [AttrField("axis", .int, default: -1, doc: "the axis")],
                pattern: .outEWiseFusable, axisRank: { c in try c.tensor(0, .float).rank }
            ) { c in try c.tensor(0, .float, rank: 1...64) }
        }

        define(
            "nn.layer_norm", "(x - mean) / sqrt(var + epsilon) * gamma + beta along one axis",
            ["data", "gamma", "beta"], attrs: affineAttrs(axis: -1), pattern: .outEWiseFusable,
            axisRank: { c in try c.tensor(0, .float).rank }
        ) { c in
            let x = try c.tensor(0, .float, rank: 1...64)
            try checkVectors(c, 1...2, of: x)
            return x
        }

        define(
            "nn.batch_norm",
            "(x - moving_mean) / sqrt(moving_var + epsilon) * gamma + beta along one axis; and mean, variance",
            ["data", "gamma", "beta", "moving_mean", "moving_var"], attrs: affineAttrs(axis: 1),
            pattern: .opaque,
            axisRank: { c in try c.tensor(0, .float).rank }
        ) { c in
            let x = try c.tensor(0, .float, rank: 1...64)
            try checkVectors(c, 1...4, of: x)
            return TupleType([x, try c.tensor(3), try c.tensor(4)])
        }

        define(
            "nn.bias_add", "x plus a vector along one axis", ["data", "bias"],
            attrs: [AttrField("axis", .int, default: 1, doc: "the axis")], pattern: .broadcast,
            axisRank: { c in try c.tensor(0, .numeric).rank }
        ) { c in
            let x = try c.tensor(0, .numeric, rank: 1...64)
            try checkVectors(c, 1...1, of: x)
            let bias = try c.tensor(1)
            try c.require(bias, operand: 1, dtype: x.dtype, as: "data")
            return x
        }

        define(
            "nn.lrn", "x / (bias + alpha / size * sum of squares of neighbours along an axis) ^ beta",
            ["data"],
            attrs: [
                AttrField(
                    "size", .int, default: 5, in: Limit.positive, doc: "neighbours, itself included"),
                AttrField("axis", .int, default: 1, doc: "the axis"),
                AttrField("bias", .float, default: 2.0, doc: "see the formula"),
                AttrField("alpha", .float, default: 0.0001, doc: "see the formula"),
                AttrField("beta", .float, default: 0.75, doc: "see the formula"),
            ], pattern: .opaque, axisRank: { c in try c.tensor(0, .float).rank }
        ) { c in try c.tensor(0, .float, rank: 1...64) }
    }

    /// Operands in `range` must be floating (or numeric, for `nn.bias_add`) vectors as long as the axis of
    /// `x`. Their element type may be wider than the data's (float32 statistics of float16 data).
    private static func checkVectors(_ c: TypeContext, _ range: ClosedRange<Int>, of x: TensorType) throws {
        for i in range {
            let v = try c.tensor(i, x.dtype.isFloat ? .float : .numeric, rank: 1...1)
            try c.require(v.shape[0], equals: x.shape[c.axis], "the length of `\(c.label(i))`", operand: i)
        }
    }
}
