import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Reductions over axes, scans and selections along one axis.

extension Ops {
    private static let reduceAttrs: [AttrField] = [
        AttrField("axis", .ints, default: AttrValue.none, doc: "axes to reduce; None = all"),
        AttrField("keepdims", .bool, default: false, doc: "whether reduced axes stay with extent 1"),
        AttrField("exclude", .bool, default: false, doc: "reduce the axes that are not in `axis`"),
    ]

    static func registerReductions() {
        reduce("sum", "sum over the axes", .numeric)
        reduce("prod", "product over the axes", .numeric)
        reduce("max", "greatest over the axes", .numeric)
        reduce("min", "least over the axes", .numeric)
        reduce("mean", "arithmetic mean over the axes", .numeric)
        reduce("all", "whether all hold", .bool)
        reduce("any", "whether any holds", .bool)
        let last = AttrField(
            "select_last_index", .bool, default: false, doc: "among equals the last index, not the first")
        reduce("argmax", "index of the greatest, counted row-major over the axes", .numeric, .int64, [last])
        reduce("argmin", "index of the least, counted row-major over the axes", .numeric, .int64, [last])

        define(
            "cumsum", "running sum along an axis", ["data"],
            attrs: [
                AttrField("axis", .int, doc: "the axis"),
                AttrField("exclusive", .bool, default: false, doc: "leave the element itself out"),
                AttrField("reverse", .bool, default: false, doc: "from the end"),
            ], pattern: .opaque, axisRank: { c in try c.tensor(0).rank }
        ) { c in try c.tensor(0, .numeric, rank: 1...64) }

        define(
            "topk", "the k greatest (or least) along an axis, sorted; ties by lower index", ["data"],
            attrs: [
                AttrField("k", .int, in: Limit.natural, doc: "how many"),
                AttrField("axis", .int, default: -1, doc: "the axis"),
                AttrField(
                    "ret_type", .string, default: "both", oneOf: ["both", "values", "indices"],
                    doc: "what is given"),
                AttrField("is_ascend", .bool, default: false, doc: "the least instead of the greatest"),
                AttrField("dtype", .dtype, default: .dtype(.int64), doc: "element type of the indices"),
            ], pattern: .opaque, axisRank: { c in try c.tensor(0).rank }
        ) { c in
            let x = try c.tensor(0, .numeric, rank: 1...64)
            let k = c.attrs.int("k") ?? 1
            var shape = x.shape
            if let n = shape[c.axis].asInt, k > n {
                throw c.attributeError("k", "of topk exceeds the axis", expected: "at most \(n)")
            }
            shape[c.axis] = IntImm(k)
            let values = TensorType(shape, x.dtype)
            let indices = TensorType(shape, try resultType(c, default: .int64, .integer))
            switch c.attrs.string("ret_type") ?? "both" {
            case "values": return values
            case "indices": return indices
            default: return TupleType([values, indices])
            }
        }
    }

    private static func reduce(
        _ name: String, _ doc: String, _ allowed: DTypeClass, _ result: DataType? = nil,
        _ more: [AttrField] = []
    ) {
        define(
            name, doc, ["data"], attrs: reduceAttrs + more, pattern: .commReduce,
            axisRank: { c in try c.tensor(0).rank },
            canonical: { c in
                // One form: the axes listed in order, `exclude` false.
                let rank = try c.tensor(0).rank
                let exclude = c.attrs.bool("exclude") ?? false
                guard let axes = c.attrs.ints("axis") else {
                    if exclude {
                        throw c.attributeError("exclude", "of \(name) needs `axis`", expected: "axes")
                    }
                    return c.attrs.setting("axis", .ints(Array(0..<rank)))
                }
                let listed = exclude ? (0..<rank).filter { !axes.contains($0) } : axes.sorted()
                if listed == axes && !exclude { return c.attrs }
                return c.attrs.setting("axis", .ints(listed)).setting("exclude", false)
            }
        ) { c in
            let x = try c.tensor(0, allowed)
            let axes = c.attrs.ints("axis") ?? []
            let keep = c.attrs.bool("keepdims") ?? false
            var shape: [PrimExpr] = []
            for (i, d) in x.shape.enumerated() {
                if !axes.contains(i) {
                    shape.append(d)
                } else {
                    if result != nil && d.asInt == 0 {
                        throw c.error(
                            "RELAY007", "\(name) of nothing has no index", operand: 0,
                            expected: "extents > 0",
                            actual: "\(x)")
                    }
                    if keep { shape.append(Dim.one) }
                }
            }
            return TensorType(shape, result ?? x.dtype)
        }
    }
}
