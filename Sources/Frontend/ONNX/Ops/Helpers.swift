import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

// Short forms that converters share. Each is a call of one operator, or none where it would change nothing.

extension NodeContext {
    func choose(_ condition: RelayExpr, _ yes: RelayExpr, _ no: RelayExpr) throws -> RelayExpr {
        try call("where", [condition, yes, no])
    }

    /// A tensor of one value.
    func filled(_ value: Double, _ shape: [Int], _ dtype: DataType) throws -> RelayExpr {
        _ = try NDArray.checkedSize(shape: shape, dtype: dtype)
        return try call("full", [try scalar(value, dtype)], ["shape": .ints(shape), "dtype": .dtype(dtype)])
    }

    /// Elements `from` up to `to` of an axis.
    func sliced(_ e: RelayExpr, _ axis: Int, _ from: Int, _ to: Int, step: Int = 1) throws -> RelayExpr {
        if try from == 0 && step == 1 && to == shape(e)[axis] { return e }
        return try call(
            "strided_slice", [e],
            ["begin": .ints([from]), "end": .ints([to]), "strides": .ints([step]), "axes": .ints([axis])])
    }

    func joined(_ parts: [RelayExpr], _ axis: Int) throws -> RelayExpr {
        guard let first = parts.first else { throw ApusError("ONNX218", "there is nothing to join") }
        return parts.count == 1 ? first : try call("concatenate", [Relay.Tuple(parts)], ["axis": .int(axis)])
    }

    /// Pieces of the given sizes along an axis.
    func pieces(_ e: RelayExpr, _ axis: Int, _ sizes: [Int]) throws -> [RelayExpr] {
        if sizes.count == 1 { return [e] }
        var points: [Int] = []
        var at = 0
        for s in sizes.dropLast() {
            at += s
            points.append(at)
        }
        let parts = try call("split", [e], ["indices_or_sections": .ints(points), "axis": .int(axis)])
        return try sizes.indices.map { try Relay.TupleGetItem(parts, $0) }
    }

    func repeated(_ e: RelayExpr, _ times: Int, _ axis: Int) throws -> RelayExpr {
        times == 1 ? e : try call("repeat", [e], ["repeats": .int(times), "axis": .int(axis)])
    }

    func reduced(_ op: String, _ e: RelayExpr, _ axes: [Int], keep: Bool = true) throws -> RelayExpr {
        axes.isEmpty ? e : try call(op, [e], ["axis": .ints(axes), "keepdims": .bool(keep)])
    }

    func clipped(_ e: RelayExpr, _ low: Double, _ high: Double) throws -> RelayExpr {
        try call("clip", [e], ["a_min": .float(low), "a_max": .float(high)])
    }

    func apply(_ op: String, _ e: RelayExpr) throws -> RelayExpr { try call(op, [e]) }

    /// A vector along `axis` of a tensor of `rank` axes; what has one element broadcasts as it is.
    func along(_ vector: RelayExpr, _ axis: Int, rank: Int) throws -> RelayExpr {
        let n = try product(try shape(vector))
        if n == 1 { return try reshape(vector, []) }
        var shape = Array(repeating: 1, count: rank)
        guard axis >= 0, axis < rank else {
            throw ApusError("ONNX213", "there is no such axis", actual: "\(axis)")
        }
        shape[axis] = n
        return try reshape(vector, shape)
    }

    /// Products of the matrices in the last two axes; leading axes are the same.
    func batched(_ a: RelayExpr, _ b: RelayExpr, transposeB: Bool = false) throws -> RelayExpr {
        let sa = try shape(a)
        let sb = try shape(b)
        guard sa.count == sb.count, sa.count >= 2, sa.dropLast(2) == sb.dropLast(2) else {
            throw ApusError(
                "ONNX252", "the batches of two products differ", expected: "\(sa)", actual: "\(sb)")
        }
        let n = try product(sa.dropLast(2))
        let y = try call(
            "nn.batch_matmul", [try reshape(a, [n] + sa.suffix(2)), try reshape(b, [n] + sb.suffix(2))],
            ["transpose_a": false, "transpose_b": .bool(transposeB)])
        return try reshape(y, sa.dropLast() + [sb[sb.count - (transposeB ? 2 : 1)]])
    }

    /// 0, 1, … as int64 in the given shape.
    func counting(_ n: Int, _ shape: [Int]) throws -> RelayExpr {
        guard n >= 0, n <= 1 << 24 else { throw ApusError("ONNX216", "a shape is too large", actual: "\(n)") }
        return constant(NDArray((0..<n).map { Int64($0) }, shape: shape))
    }

    /// An attribute that must lie in a range.
    func int(_ name: String, default standard: Int, in range: ClosedRange<Int>) throws -> Int {
        let v = try node.int(name, default: standard)
        guard range.contains(v) else {
            throw ApusError(
                "ONNX219", "`\(name)` is out of range", at: ["attribute: \(name)"],
                expected: "\(range.lowerBound) to \(range.upperBound)", actual: "\(v)")
        }
        return v
    }
}
