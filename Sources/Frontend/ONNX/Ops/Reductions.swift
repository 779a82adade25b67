import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

/// Operators that combine elements along axes.
func addReductions(_ t: inout [String: ONNXConverter]) {
    func reduce(
        _ name: String, axesAsInputSince: Int,
        _ f: @escaping @Sendable (NodeContext, RelayExpr, Axes) throws -> RelayExpr
    ) {
        t[name] = { c in
            let x = try c.x(0)
            let rank = try c.shape(x).count
            let given = try c.opset >= axesAsInputSince ? c.knownInts(1) : c.node.ints("axes")
            var axes: [Int] = []
            for a in given ?? [] { axes.append(try c.axis(a, rank: rank)) }
            if axes.isEmpty {
                if try c.node.bool("noop_with_empty_axes", default: false) {
                    axes = []
                } else {
                    axes = Array(0..<rank)
                }
            }
            return [
                try f(c, x, Axes(list: Set(axes).sorted(), keep: try c.node.bool("keepdims", default: true)))
            ]
        }
    }
    reduce("ReduceSum", axesAsInputSince: 13) { c, x, a in try a.apply(c, "sum", x) }
    reduce("ReduceMean", axesAsInputSince: 18) { c, x, a in try a.apply(c, "mean", x) }
    reduce("ReduceMax", axesAsInputSince: 18) { c, x, a in try a.applyOrdered(c, "max", x) }
    reduce("ReduceMin", axesAsInputSince: 18) { c, x, a in try a.applyOrdered(c, "min", x) }
    reduce("ReduceProd", axesAsInputSince: 18) { c, x, a in try a.apply(c, "prod", x) }
    reduce("ReduceL1", axesAsInputSince: 18) { c, x, a in try a.apply(c, "sum", try c.call("abs", [x])) }
    reduce("ReduceSumSquare", axesAsInputSince: 18) { c, x, a in try a.apply(c, "sum", try c.mul(x, x)) }
    reduce("ReduceL2", axesAsInputSince: 18) { c, x, a in
        let type = try c.dtype(x)
        let f = type.isFloat ? x : try c.cast(x, .float32)
        return try c.cast(try c.call("sqrt", [try a.apply(c, "sum", try c.mul(f, f))]), type)
    }
    reduce("ReduceLogSum", axesAsInputSince: 18) { c, x, a in try c.call("log", [try a.apply(c, "sum", x)]) }
    reduce("ReduceLogSumExp", axesAsInputSince: 18) { c, x, a in
        if a.list.isEmpty { return x }
        let kept = Axes(list: a.list, keep: true)
        // The maximum is taken out so that nothing overflows; not an infinite one, which leaves no number.
        let raw = try kept.apply(c, "max", x)
        let zero = try c.scalar(0, try c.dtype(x))
        let top = try c.call("where", [try c.call("isfinite", [raw]), raw, zero])
        let sum = try kept.apply(c, "sum", try c.call("exp", [try c.sub(x, top)]))
        let result = try c.add(try c.call("log", [sum]), top)
        if a.keep { return result }
        let shape = try c.shape(result)
        return try c.reshape(result, shape.indices.filter { !a.list.contains($0) }.map { shape[$0] })
    }
    for (name, op) in [("ArgMax", "argmax"), ("ArgMin", "argmin")] {
        t[name] = { c in
            let x = try c.x(0)
            let axis = try c.axis(try c.node.int("axis", default: 0), rank: try c.shape(x).count)
            return [
                try c.call(
                    op, [x],
                    [
                        "axis": .ints([axis]), "keepdims": .bool(try c.node.bool("keepdims", default: true)),
                        "select_last_index": .bool(try c.node.bool("select_last_index", default: false)),
                    ])
            ]
        }
    }
    t["TopK"] = { c in
        let x = try c.x(0)
        let axis = try c.axis(try c.node.int("axis", default: -1), rank: try c.shape(x).count)
        let k = try c.opset < 10 ? c.node.int("k") : c.knownInts(1)?.first
        guard let k else { throw ApusError("ONNX240", "TopK needs k") }
        let largest = try c.node.bool("largest", default: true)
        let both = try c.call(
            "topk", [x],
            [
                "k": .int(k), "axis": .int(axis), "ret_type": "both", "is_ascend": .bool(!largest),
                "dtype": .dtype(.int64),
            ])
        return [try Relay.TupleGetItem(both, 0), try Relay.TupleGetItem(both, 1)]
    }
    for (name, op) in [("Softmax", "nn.softmax"), ("LogSoftmax", "nn.log_softmax")] {
        t[name] = { c in
            let x = try c.x(0)
            let shape = try c.shape(x)
            if c.opset >= 13 {
                let axis = try c.axis(try c.node.int("axis", default: -1), rank: shape.count)
                return [try c.call(op, [x], ["axis": .int(axis)])]
            }
            // Before version 13 everything from the axis on was one long axis.
            let axis = try c.axis(try c.node.int("axis", default: 1), rank: shape.count)
            if axis == shape.count - 1 { return [try c.call(op, [x], ["axis": .int(axis)])] }
            let flat = try c.reshape(x, [try c.product(shape[..<axis]), try c.product(shape[axis...])])
            return [try c.reshape(try c.call(op, [flat], ["axis": 1]), shape)]
        }
    }
    t["Hardmax"] = { c in
        let x = try c.x(0)
        let shape = try c.shape(x)
        let since13 = c.opset >= 13
        let axis = try c.axis(try c.node.int("axis", default: since13 ? -1 : 1), rank: shape.count)
        let type = try c.dtype(x)
        let flat =
            since13 ? x : try c.reshape(x, [try c.product(shape[..<axis]), try c.product(shape[axis...])])
        let along = since13 ? axis : 1
        let best = try c.call("argmax", [flat], ["axis": .ints([along])])
        let depth = try c.shape(flat)[along]
        let hot = try c.call(
            "one_hot", [best, try c.scalar(1, type), try c.scalar(0, type)],
            ["depth": .int(depth), "axis": .int(along), "dtype": .dtype(type)])
        return [try c.reshape(hot, shape)]
    }
}

/// The axes of a reduction.
struct Axes: Sendable {
    let list: [Int]
    let keep: Bool

    func apply(_ c: NodeContext, _ op: String, _ x: RelayExpr) throws -> RelayExpr {
        if list.isEmpty { return x }
        let shape = try c.shape(x)
        if list.contains(where: { shape[$0] == 0 }) {
            // Nothing to combine: the neutral element.
            let type = try c.dtype(x)
            var result = shape
            for a in list { result[a] = 1 }
            if !keep { result = shape.indices.filter { !list.contains($0) }.map { shape[$0] } }
            switch op {
            case "sum": return try c.filled(0, result, type)
            case "prod": return try c.filled(1, result, type)
            case "mean": return try c.filled(.nan, result, type)
            case "max", "min":
                let least = op == "max"
                if type.isFloat { return try c.filled(least ? -.infinity : .infinity, result, type) }
                guard type.bits < 64 else { break }
                let top = Double((1 << (Int(type.bits) - (type.isUInt || type.isBool ? 0 : 1))) - 1)
                return try c.filled(least ? (type.isUInt || type.isBool ? 0 : -top - 1) : top, result, type)
            default: break
            }
            throw ApusError("ONNX241", "\(op) of nothing is not supported", actual: "\(type)\(shape)")
        }
        return try c.call(op, [x], ["axis": .ints(list), "keepdims": .bool(keep)])
    }

    /// As `apply`; bools are compared as bytes.
    func applyOrdered(_ c: NodeContext, _ op: String, _ x: RelayExpr) throws -> RelayExpr {
        guard try c.dtype(x).isBool else { return try apply(c, op, x) }
        return try c.cast(try apply(c, op, try c.cast(x, .uint8)), .bool)
    }
}
