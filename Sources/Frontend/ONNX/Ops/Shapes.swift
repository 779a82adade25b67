import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

/// Operators that move elements or speak of shapes.
func addShapes(_ t: inout [String: ONNXConverter]) {
    t["Constant"] = { c in
        let n = c.node
        if let v = try n.tensor("value") { return [c.constant(v)] }
        if let v = try n.float("value_float") { return [c.constant(NDArray([v], shape: []))] }
        if let v = try n.floats("value_floats") { return [c.constant(NDArray(v, shape: [v.count]))] }
        if let v = try n.int("value_int") { return [c.constant(NDArray([Int64(v)], shape: []))] }
        if let v = try n.ints("value_ints") { return [c.int64(v)] }
        throw ApusError(
            "ONNX220", "only constants of numbers are supported",
            actual: n.attributes.names.joined(separator: ", "))
    }
    t["ConstantOfShape"] = { c in
        guard let shape = try c.knownInts(0) else { throw ApusError("ONNX210", "input 0 is missing") }
        let fill = try c.node.tensor("value") ?? NDArray([Float(0)], shape: [1])
        guard fill.count == 1 else {
            throw ApusError("ONNX221", "the value to fill with must be one element")
        }
        let scalar = c.constant(try fill.reshaped(to: []))
        return [try c.call("full", [scalar], ["shape": .ints(shape), "dtype": .dtype(fill.dtype)])]
    }
    t["Shape"] = { c in
        let shape = try c.shape(try c.x(0))
        func bound(_ v: Int) -> Int { max(0, min(shape.count, v < 0 ? v + shape.count : v)) }
        let start = bound(try c.node.int("start", default: 0))
        let end = bound(try c.node.int("end", default: shape.count))
        return [c.int64(start < end ? Array(shape[start..<end]) : [])]
    }
    t["Size"] = { c in
        let n = try c.product(try c.shape(try c.x(0)))
        return [c.constant(NDArray([Int64(n)], shape: []))]
    }
    t["Reshape"] = { c in
        let x = try c.x(0)
        let own = try c.shape(x)
        guard var target = try c.knownInts(1) else { throw ApusError("ONNX210", "input 1 is missing") }
        let zeroIsZero = try c.node.bool("allowzero", default: false)
        for i in target.indices where target[i] == 0 && !zeroIsZero {
            guard i < own.count else {
                throw ApusError(
                    "ONNX222", "a dimension to copy is not there", expected: "rank > \(i)", actual: "\(own)")
            }
            target[i] = own[i]
        }
        if let hole = target.firstIndex(of: -1) {
            let rest = try c.product(target.enumerated().filter { $0.offset != hole }.map { $0.element })
            let total = try c.product(own)
            guard rest > 0, total % rest == 0 else {
                throw ApusError(
                    "ONNX223", "the shapes do not fit", expected: "\(total) elements", actual: "\(target)")
            }
            target[hole] = total / rest
        }
        return [try c.reshape(x, target)]
    }
    t["Flatten"] = { c in
        let x = try c.x(0)
        let shape = try c.shape(x)
        var axis = try c.node.int("axis", default: 1)
        if axis < 0 { axis += shape.count }
        guard axis >= 0, axis <= shape.count else {
            throw ApusError("ONNX213", "there is no such axis", actual: "\(axis)")
        }
        return [try c.reshape(x, [try c.product(shape[..<axis]), try c.product(shape[axis...])])]
    }
    t["Transpose"] = { c in
        let x = try c.x(0)
        let rank = try c.shape(x).count
        return [try c.transpose(x, try c.node.ints("perm") ?? Array((0..<rank).reversed()))]
    }
    t["Squeeze"] = { c in
        let x = try c.x(0)
        let shape = try c.shape(x)
        let given = try c.opset >= 13 ? c.knownInts(1) : c.node.ints("axes")
        var drop: Set<Int> = []
        for a in given ?? shape.indices.filter({ shape[$0] == 1 }) {
            drop.insert(try c.axis(a, rank: shape.count))
        }
        for a in drop where shape[a] != 1 {
            throw ApusError(
                "ONNX224", "only an extent of 1 can be squeezed", expected: "1", actual: "\(shape[a])")
        }
        return [try c.reshape(x, shape.indices.filter { !drop.contains($0) }.map { shape[$0] })]
    }
    t["Unsqueeze"] = { c in
        let x = try c.x(0)
        let shape = try c.shape(x)
        guard let axes = try c.opset >= 13 ? c.knownInts(1) : c.node.ints("axes") else {
            throw ApusError("ONNX225", "Unsqueeze needs axes")
        }
        let rank = shape.count + axes.count
        var new: Set<Int> = []
        for a in axes {
            guard new.insert(try c.axis(a, rank: rank)).inserted else {
                throw ApusError("ONNX225", "an axis is given twice")
            }
        }
        var rest = shape[...]
        return [try c.reshape(x, (0..<rank).map { new.contains($0) ? 1 : (rest.popFirst() ?? 1) })]
    }
    t["Expand"] = { c in
        let x = try c.x(0)
        let own = try c.shape(x)
        guard let target = try c.knownInts(1) else { throw ApusError("ONNX210", "input 1 is missing") }
        let rank = max(own.count, target.count)
        let a = Array(repeating: 1, count: rank - own.count) + own
        let b = Array(repeating: 1, count: rank - target.count) + target
        var shape: [Int] = []
        for (x, y) in zip(a, b) {
            guard x == y || x == 1 || y == 1 else {
                throw ApusError(
                    "ONNX226", "the shapes do not broadcast", expected: "\(own)", actual: "\(target)")
            }
            shape.append(x == 1 ? y : x)
        }
        return [try c.broadcast(x, shape)]
    }
    t["Concat"] = { c in
        let rank = try c.shape(try c.x(0)).count
        let axis = try c.axis(try c.node.int("axis", default: 1), rank: rank)
        let fields = try c.inputs.indices.map { try c.x($0) }
        if fields.count == 1 { return [fields[0]] }
        return [try c.call("concatenate", [Relay.Tuple(fields)], ["axis": .int(axis)])]
    }
    t["Split"] = { c in
        let x = try c.x(0)
        let shape = try c.shape(x)
        let axis = try c.axis(try c.node.int("axis", default: 0), rank: shape.count)
        let n = c.node.outputs.count
        if let declared = try c.node.int("num_outputs"), declared != n {
            throw ApusError(
                "ONNX227", "num_outputs is not the number of outputs", expected: "\(n)", actual: "\(declared)"
            )
        }
        var sizes = try c.opset >= 13 ? c.knownInts(1) : c.node.ints("split")
        if sizes == nil {
            // The last piece may be smaller.
            let piece = (shape[axis] + n - 1) / max(1, n)
            sizes = (0..<n).map { min(piece, max(0, shape[axis] - piece * $0)) }
        }
        guard let sizes, sizes.count == n, sizes.allSatisfy({ $0 >= 0 && $0 <= shape[axis] }),
            sizes.reduce(0, { $0 &+ $1 }) == shape[axis]
        else {
            throw ApusError(
                "ONNX227", "the pieces do not make up the axis", expected: "\(shape[axis])",
                actual: "\(sizes ?? [])")
        }
        if n == 1 { return [x] }
        var points: [Int] = []
        var at = 0
        for s in sizes.dropLast() {
            at += s
            points.append(at)
        }
        let pieces = try c.call("split", [x], ["indices_or_sections": .ints(points), "axis": .int(axis)])
        return try (0..<n).map { try Relay.TupleGetItem(pieces, $0) }
    }
    t["Slice"] = slice
    t["Gather"] = { c in
        let x = try c.x(0)
        let axis = try c.axis(try c.node.int("axis", default: 0), rank: try c.shape(x).count)
        let extent = try c.shape(x)[axis]
        return [
            try c.call(
                "take", [x, try wrapped(c, try c.x(1), extent)], ["axis": .int(axis), "mode": "clip"])
        ]
    }
    t["GatherElements"] = { c in
        let x = try c.x(0)
        let axis = try c.axis(try c.node.int("axis", default: 0), rank: try c.shape(x).count)
        return [try c.call("gather", [x, try c.x(1)], ["axis": .int(axis)])]
    }
    t["GatherND"] = { c in
        let dims = try c.node.int("batch_dims", default: 0)
        return [try c.call("gather_nd", [try c.x(0), try c.x(1)], ["batch_dims": .int(dims)])]
    }
    let scatter: ONNXConverter = { c in
        let x = try c.x(0)
        let axis = try c.axis(try c.node.int("axis", default: 0), rank: try c.shape(x).count)
        let indices = try c.x(1)
        return [
            try c.call(
                "scatter_elements", [x, indices, try c.x(2)],
                ["axis": .int(axis), "reduction": .string(try reduction(c))])
        ]
    }
    t["ScatterElements"] = scatter
    t["Scatter"] = scatter
    t["ScatterND"] = { c in
        [try c.call("scatter_nd", [try c.x(0), try c.x(1), try c.x(2)], ["mode": .string(try reduction(c))])]
    }
    t["Tile"] = { c in
        guard let reps = try c.knownInts(1) else { throw ApusError("ONNX210", "input 1 is missing") }
        return [try c.call("tile", [try c.x(0)], ["reps": .ints(reps)])]
    }
    t["Pad"] = pad
    t["OneHot"] = { c in
        guard let depth = try c.known(1)?.toDoubles().first, depth >= 0, depth < 1e9 else {
            throw ApusError("ONNX228", "OneHot needs a depth that is known")
        }
        let values = try c.x(2)
        let type = try c.dtype(values)
        func value(_ i: Int) throws -> RelayExpr {
            let one = try c.call(
                "strided_slice", [values],
                ["begin": .ints([i]), "end": .ints([i + 1]), "strides": .ints([1]), "axes": .ints([0])])
            return try c.reshape(one, [])
        }
        var indices = try c.x(0)
        indices = try c.cast(indices, .int64)
        let axis = try c.node.int("axis", default: -1)
        return [
            try c.call(
                "one_hot", [indices, try value(1), try value(0)],
                ["depth": .int(Int(depth)), "axis": .int(axis), "dtype": .dtype(type)])
        ]
    }
    t["Trilu"] = { c in
        let upper = try c.node.bool("upper", default: true)
        // Beyond every extent one diagonal is as good as another.
        let k = max(-1 << 40, min(1 << 40, try c.knownInts(1)?.first ?? 0))
        return [try c.call("trilu", [try c.x(0)], ["k": .int(k), "upper": .bool(upper)])]
    }
    t["CumSum"] = { c in
        let x = try c.x(0)
        let axis = try c.known(1)?.toDoubles().first.flatMap { Int(exactly: $0) } ?? 0
        return [
            try c.call(
                "cumsum", [x],
                [
                    "axis": .int(try c.axis(axis, rank: try c.shape(x).count)),
                    "exclusive": .bool(try c.node.bool("exclusive", default: false)),
                    "reverse": .bool(try c.node.bool("reverse", default: false)),
                ])
        ]
    }
    t["DepthToSpace"] = { c in
        [
            try c.call(
                "nn.depth_to_space", [try c.x(0)],
                [
                    "block_size": .int(try c.node.int("blocksize", default: 1)), "layout": "NCHW",
                    "mode": .string(try c.node.string("mode", default: "DCR")),
                ])
        ]
    }
    t["SpaceToDepth"] = { c in
        if try c.node.string("mode", default: "DCR") == "CRD" {
            let x = try c.x(0)
            let (s, b) = (try c.shape(x), try c.int("blocksize", default: 1, in: 1...(1 << 20)))
            guard s.count == 4, s[2] % b == 0, s[3] % b == 0 else {
                throw ApusError(
                    "ONNX234", "the blocks do not divide the axes", expected: "multiples of \(b)",
                    actual: "\(s)")
            }
            let cut = try c.reshape(x, [s[0], s[1], s[2] / b, b, s[3] / b, b])
            let turned = try c.transpose(cut, [0, 1, 3, 5, 2, 4])
            return [try c.reshape(turned, [s[0], try c.product([s[1], b, b]), s[2] / b, s[3] / b])]
        }
        return [
            try c.call(
                "nn.space_to_depth", [try c.x(0)],
                ["block_size": .int(try c.node.int("blocksize", default: 1)), "layout": "NCHW"])
        ]
    }
    t["EyeLike"] = { c in
        let x = try c.x(0)
        let shape = try c.shape(x)
        let k = try c.node.int("k", default: 0)
        let type = try c.node.int("dtype").map { try ONNXElementType.dtype(number: $0) } ?? c.dtype(x)
        guard shape.count == 2, try c.product(shape) <= 1 << 22 else {
            throw ApusError("ONNX229", "EyeLike needs a small matrix")
        }
        var values = [Float](repeating: 0, count: shape[0] * shape[1])
        for i in 0..<shape[0] where (0..<shape[1]).contains(i &+ k) { values[i * shape[1] + i + k] = 1 }
        return [try c.cast(c.constant(NDArray(values, shape: shape)), type)]
    }
}

private func reduction(_ c: NodeContext) throws -> String {
    let name = try c.node.string("reduction", default: "none")
    return name == "none" ? "update" : name
}

/// Indices counted from the front.
func wrapped(_ c: NodeContext, _ indices: RelayExpr, _ extent: Int) throws -> RelayExpr {
    if let known = indices as? Relay.Constant, known.data.count <= 4096,
        try known.data.toDoubles().allSatisfy({ $0 >= 0 })
    {
        return indices
    }
    // Narrow integers may not hold the extent.
    let wide = try c.cast(indices, .int64)
    let negative = try c.call("less", [wide, try c.scalar(0, .int64)])
    return try c.choose(negative, try c.add(wide, try Relay.scalar(extent, .int64)), wide)
}

private let slice: ONNXConverter = { c in
    let x = try c.x(0)
    let shape = try c.shape(x)
    let starts: [Int]?
    let ends: [Int]?
    var axes: [Int]?
    var steps: [Int]?
    if c.opset < 10 {
        (starts, ends, axes) = (try c.node.ints("starts"), try c.node.ints("ends"), try c.node.ints("axes"))
    } else {
        (starts, ends, axes, steps) = (
            try c.knownInts(1), try c.knownInts(2), try c.knownInts(3), try c.knownInts(4)
        )
    }
    guard let starts, let ends, starts.count == ends.count else {
        throw ApusError("ONNX232", "Slice needs starts and ends")
    }
    let which = axes ?? Array(starts.indices)
    let stride = steps ?? Array(repeating: 1, count: starts.count)
    guard which.count == starts.count, stride.count == starts.count, stride.allSatisfy({ $0 != 0 }) else {
        throw ApusError("ONNX232", "Slice needs an axis and a step other than 0 for each start")
    }
    var begin: [Int] = []
    var end: [Int] = []
    var normal: [Int] = []
    for i in starts.indices {
        let axis = try c.axis(which[i], rank: shape.count)
        let n = shape[axis]
        func clamp(_ v: Int, _ low: Int, _ high: Int) -> Int {
            let p = v < 0 ? v &+ n : v
            return max(low, min(high, v < 0 && v < -n ? low : p))
        }
        if stride[i] > 0 {
            begin.append(clamp(starts[i], 0, n))
            end.append(clamp(ends[i], 0, n))
        } else {
            begin.append(clamp(starts[i], 0, n - 1))
            end.append(clamp(ends[i], -1, n - 1))
        }
        normal.append(axis)
    }
    if zip(begin, zip(end, normal)).allSatisfy({ $0 == 0 && $1.0 == shape[$1.1] }),
        stride.allSatisfy({ $0 == 1 })
    {
        return [x]
    }
    return [
        try c.call(
            "strided_slice", [x],
            ["begin": .ints(begin), "end": .ints(end), "strides": .ints(stride), "axes": .ints(normal)])
    ]
}

private let pad: ONNXConverter = { c in
    var x = try c.x(0)
    let type = try c.dtype(x)
    let rank = try c.shape(x).count
    let mode = try c.node.string("mode", default: "constant")
    let pads: [Int]?
    var axes: [Int]?
    var value: RelayExpr
    if c.opset < 11 {
        pads = try c.node.ints("pads")
        value = try c.scalar(Double(try c.node.float("value", default: 0)), type)
    } else {
        pads = try c.knownInts(1)
        axes = try c.knownInts(3)
        value = try c.optional(2).map { try c.reshape($0, []) } ?? c.scalar(0, type)
    }
    let which = try (axes ?? Array(0..<rank)).map { try c.axis($0, rank: rank) }
    guard let pads, pads.count == 2 * which.count, pads.allSatisfy({ abs(max($0, -.max)) < 1 << 40 }) else {
        throw ApusError(
            "ONNX233", "Pad needs two numbers an axis", expected: "\(2 * which.count)",
            actual: "\(pads?.count ?? 0)")
    }
    var width = Array(repeating: 0, count: 2 * rank)
    for (i, a) in which.enumerated() {
        width[2 * a] = pads[i]
        width[2 * a + 1] = pads[i + which.count]
    }
    if mode != "constant" {
        // What is cut off is not there to be copied.
        for a in 0..<rank where width[2 * a] < 0 || width[2 * a + 1] < 0 {
            let n = try c.shape(x)[a]
            let (from, to) = (-min(0, width[2 * a]), n + min(0, width[2 * a + 1]))
            guard from <= to else {
                throw ApusError("ONNX233", "more is cut off than there is", actual: "\(pads)")
            }
            x = try c.sliced(x, a, from, to)
            width[2 * a] = max(0, width[2 * a])
            width[2 * a + 1] = max(0, width[2 * a + 1])
        }
    }
    if width.allSatisfy({ $0 == 0 }) { return [x] }
    return [try c.call("nn.pad", [x, value], ["pad_width": .ints(width), "pad_mode": .string(mode)])]
}
