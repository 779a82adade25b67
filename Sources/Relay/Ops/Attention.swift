import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Attention, and memory read as it lies.

extension Ops {
    static func registerAttention() {
        Op.register(
            "nn.attention",
            doc:
                "softmax(scale * query key^T + mask) value for each matrix of a stack: query [..., rows, depth], key "
                + "[..., keys, depth], value [..., keys, width], mask of what broadcasts to [..., rows, keys]; a leading "
                + "extent of 1 of key or value is repeated. Result [..., rows, width], or its axes in another order",
            args: ["query", "key", "value", "mask"], arity: 3...4,
            attrs: [
                AttrField(
                    "scale", .float, default: .float(1), doc: "of the products, before the mask is added"),
                AttrField(
                    "causal", .bool, default: false,
                    doc:
                        "whether row i takes the keys up to i + keys - rows only; there are as many keys as rows at least"
                ),
                AttrField(
                    "axes", .ints, default: .ints([]), in: 0...63,
                    doc: "the axes of the result in their order, the last staying last; empty = as they are"),
            ]
        )
        .setting(Relay.typeRelation, attentionType)
        .setting(Relay.opPattern, OpPattern.opaque)
        Op.register(
            "nn.contrib_strided_view",
            doc:
                "the memory of data seen as axes of other extents: element (i, j, …) lies offset + i strides[0] + j strides[1] "
                + "+ … elements behind the first",
            args: ["data"],
            attrs: [
                AttrField("shape", .ints, in: Limit.natural, doc: "of the result"),
                AttrField("strides", .ints, in: Limit.natural, doc: "in elements, one an axis of the result"),
                AttrField("offset", .int, default: 0, in: Limit.natural, doc: "in elements"),
            ]
        )
        .setting(Relay.typeRelation, viewType)
        .setting(Relay.opPattern, OpPattern.injective)
    }

    private static let attentionType: Relay.TypeRelation = { types, attrs in
        let c = TypeContext(
            op: "nn.attention", argNames: ["query", "key", "value", "mask"], types: types, attrs: attrs)
        let q = try c.tensor(0, .float, rank: 2...64)
        let n = q.rank
        let k = try c.tensor(1, .float, rank: n...n)
        let v = try c.tensor(2, .float, rank: n...n)
        try c.require(k, operand: 1, dtype: q.dtype, as: "query")
        try c.require(v, operand: 2, dtype: q.dtype, as: "query")
        try c.require(k.shape[n - 1], equals: q.shape[n - 1], "the depth", operand: 1)
        try c.require(v.shape[n - 2], equals: k.shape[n - 2], "the number of keys", operand: 2)
        for (i, t) in [k, v].enumerated() {
            for d in 0..<(n - 2) where t.shape[d].asInt != 1 {
                try c.require(t.shape[d], equals: q.shape[d], "extent \(d)", operand: i + 1)
            }
        }
        if attrs.bool("causal") ?? false {
            let rows = try c.known(q.shape[n - 2], "the number of rows", operand: 0)
            let keys = try c.known(k.shape[n - 2], "the number of keys", operand: 1)
            guard keys >= rows else {
                throw c.attributeError(
                    "causal", "needs a key a row", expected: "at least \(rows) keys", actual: "\(keys)")
            }
        }
        if types.count > 3 {
            let mask = try c.tensor(3, .float, rank: 0...n)
            try c.require(mask, operand: 3, dtype: q.dtype, as: "query")
            let full = Array(q.shape.dropLast()) + [k.shape[n - 2]]
            for (d, extent) in zip(full.suffix(mask.rank), mask.shape) where extent.asInt != 1 {
                try c.require(extent, equals: d, "an extent of the mask", operand: 3)
            }
        }
        let shape = Array(q.shape.dropLast()) + [v.shape[n - 1]]
        let axes = attrs.ints("axes") ?? []
        guard !axes.isEmpty else { return TensorType(shape, q.dtype) }
        guard axes.sorted() == Array(0..<n), axes.last == n - 1 else {
            throw c.attributeError(
                "axes", "is no order of the axes with the last one last", expected: "0 to \(n - 1), each once"
            )
        }
        return TensorType(axes.map { shape[$0] }, q.dtype)
    }

    private static let viewType: Relay.TypeRelation = { types, attrs in
        let c = TypeContext(op: "nn.contrib_strided_view", argNames: ["data"], types: types, attrs: attrs)
        let x = try c.tensor(0)
        let shape = attrs.ints("shape") ?? []
        let strides = try c.ints("strides", count: shape.count)
        guard let memory = x.staticShape,
            StridedAccess(shape: memory, extents: shape, strides: strides, offset: attrs.int("offset") ?? 0)
                != nil
        else {
            throw c.attributeError(
                "strides", "of nn.contrib_strided_view do not stay within the axes of data",
                expected: "a view of \(x)")
        }
        return TensorType(shape.map { IntImm($0) }, x.dtype)
    }
}
