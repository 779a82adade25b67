import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Matrix products.

/// The attribute of operators whose operands may be words of several narrow elements each.
public let dotField = AttrField(
    "dot", .string, default: "", oneOf: [""] + DotProduct.allCases.map(\.rawValue),
    doc: "the product of two words, where the operands are words of several elements; empty = plain numbers")

extension Ops {
    static func registerMatrix() {
        let outType = AttrField(
            "out_dtype", .dtype, default: AttrValue.none, doc: "of the result; None = that of data")
        define(
            "nn.dense", "data [..., K] times the transpose of weight [N, K]", ["data", "weight"],
            attrs: [
                AttrField(
                    "units", .int, default: AttrValue.none, in: Limit.natural, doc: "N, checked where given"),
                outType,
            ], pattern: .outEWiseFusable
        ) { c in
            let x = try c.tensor(0, .numeric, rank: 1...64)
            let w = try c.tensor(1, .numeric, rank: 2...2)
            let type = try productType(c, x, w)
            try c.require(w.shape[1], equals: x.shape[x.rank - 1], "the number of input features", operand: 1)
            if let units = c.attrs.int("units") {
                try c.require(w.shape[0], equals: IntImm(units), "the number of units", operand: 1)
            }
            return TensorType(x.shape.dropLast() + [w.shape[0]], type)
        }
        define(
            "nn.contrib_dense_pack",
            "data [..., K] times packed weight [N / 16][K][16], the last piece padded",
            ["data", "weight"],
            attrs: [
                AttrField("units", .int, in: Limit.positive, doc: "N, before padding"), outType, dotField,
            ],
            pattern: .outEWiseFusable
        ) { c in
            let x = try c.tensor(0, .numeric, rank: 1...64)
            let w = try c.tensor(1, .numeric, rank: 3...3)
            let type: DataType
            if let dot = DotProduct(rawValue: c.attrs.string("dot") ?? "") {
                try c.require(x, operand: 0, dtype: .uint32, as: "words")
                try c.require(w, operand: 1, dtype: .uint32, as: "words")
                type = dot.sumType
            } else {
                type = try productType(c, x, w)
            }
            let units = c.attrs.int("units") ?? 1
            let piece = try c.known(w.shape[2], "the size of a piece", operand: 1)
            guard piece >= 1 else {
                throw c.error(
                    "RELAY005", "pieces of the weight are empty", operand: 1, expected: "> 0",
                    actual: "\(piece)")
            }
            try c.require(w.shape[1], equals: x.shape[x.rank - 1], "the number of input features", operand: 1)
            let pieces = units / piece + (units % piece == 0 ? 0 : 1)
            try c.require(w.shape[0], equals: IntImm(pieces), "the number of pieces", operand: 1)
            return TensorType(x.shape.dropLast() + [IntImm(units)], type)
        }
        let transposes = [
            AttrField("transpose_a", .bool, default: false, doc: "whether a is given transposed"),
            AttrField("transpose_b", .bool, default: false, doc: "whether b is given transposed"), outType,
        ]
        define(
            "nn.matmul", "a [M, K] times b [K, N]", ["a", "b"], attrs: transposes, pattern: .outEWiseFusable
        ) { c in try product(c, rank: 2) }
        define(
            "nn.batch_matmul", "a [B, M, K] times b [B, K, N] for each B; a B of 1 is repeated", ["a", "b"],
            attrs: transposes, pattern: .outEWiseFusable
        ) { c in try product(c, rank: 3) }
    }

    private static func productType(_ c: TypeContext, _ a: TensorType, _ b: TensorType) throws -> DataType {
        // Integers of two kinds (uint8 by int8) need to be told what they give.
        if a.dtype.isFloat || b.dtype.isFloat || c.attrs.dtype("out_dtype") == nil {
            try c.require(b, operand: 1, dtype: a.dtype, as: c.label(0))
        }
        return try resultType(c, "out_dtype", default: a.dtype, .numeric)
    }

    private static func product(_ c: TypeContext, rank: Int) throws -> IRType {
        let a = try c.tensor(0, .numeric, rank: rank...rank)
        let b = try c.tensor(1, .numeric, rank: rank...rank)
        let type = try productType(c, a, b)
        let ta = c.attrs.bool("transpose_a") ?? false
        let tb = c.attrs.bool("transpose_b") ?? false
        let m = a.shape[ta ? rank - 1 : rank - 2]
        let n = b.shape[tb ? rank - 2 : rank - 1]
        try c.require(
            b.shape[tb ? rank - 1 : rank - 2], equals: a.shape[ta ? rank - 2 : rank - 1],
            "the common extent of a and b", operand: 1)
        if rank == 2 { return TensorType([m, n], type) }
        return TensorType([try c.broadcast(a.shape[0], b.shape[0], axis: 2), m, n], type)
    }
}
