import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

/// Operators that read at computed places, and crops.
func addSampling(_ t: inout [String: ONNXConverter]) {
    t["GridSample"] = { c in [try gridSample(c)] }
    t["AffineGrid"] = { c in [try affineGrid(c)] }
    t["CenterCropPad"] = { c in
        var x = try c.x(0)
        let rank = try c.shape(x).count
        guard let sizes = try c.knownInts(1) else { throw ApusError("ONNX210", "input 1 is missing") }
        let axes = try (c.node.ints("axes") ?? Array(0..<rank)).map { try c.axis($0, rank: rank) }
        guard axes.count == sizes.count, sizes.allSatisfy({ $0 >= 0 && $0 < 1 << 40 }) else {
            throw ApusError("ONNX330", "CenterCropPad needs one extent an axis", actual: "\(sizes)")
        }
        for (axis, size) in zip(axes, sizes) {
            let n = try c.shape(x)[axis]
            if size < n {
                x = try c.sliced(x, axis, (n - size) / 2, (n - size) / 2 + size)
            } else if size > n {
                var width = Array(repeating: 0, count: 2 * rank)
                width[2 * axis] = (size - n) / 2
                width[2 * axis + 1] = size - n - (size - n) / 2
                let type = try c.dtype(x)
                let zero = type.isBool ? try Relay.scalar(0, .bool) : try c.scalar(0, type)
                x = try c.call("nn.pad", [x, zero], ["pad_width": .ints(width), "pad_mode": "constant"])
            }
        }
        return [x]
    }
    t["TensorScatter"] = { c in
        let cache = try c.x(0)
        let update = try c.x(1)
        let (s, u) = (try c.shape(cache), try c.shape(update))
        let axis = try c.axis(try c.node.int("axis", default: -2), rank: s.count)
        guard u.count == s.count, axis >= 1,
            s.indices.allSatisfy({ $0 == axis ? u[$0] <= s[$0] : u[$0] == s[$0] })
        else {
            throw ApusError("ONNX331", "the update does not fit the cache", expected: "\(s)", actual: "\(u)")
        }
        var shape = Array(repeating: 1, count: s.count)
        shape[axis] = u[axis]
        var at = try c.counting(u[axis], shape)
        if let starts = c.optional(2) {
            shape[axis] = 1
            shape[0] = s[0]
            at = try c.add(try c.reshape(try c.cast(starts, .int64), shape), at)
        }
        if try c.node.string("mode", default: "linear") == "circular" {
            at = try c.call("floor_mod", [at, try c.scalar(Double(s[axis]), .int64)])
        }
        return [
            try c.call(
                "scatter_elements", [cache, try c.broadcast(at, u), update],
                ["axis": .int(axis), "reduction": "update"])
        ]
    }
}

/// Coordinates in -1...1 of every element of an affine map's result.
private func affineGrid(_ c: NodeContext) throws -> RelayExpr {
    guard let size = try c.knownInts(1), (4...5).contains(size.count), size.allSatisfy({ $0 >= 0 }) else {
        throw ApusError("ONNX332", "AffineGrid needs a size of 4 or 5 extents that is known")
    }
    let spatial = Array(size.dropFirst(2))
    let n = spatial.count
    let corners = try c.node.bool("align_corners", default: false)
    let count = try c.product(spatial)
    guard count <= 1 << 22 else { throw ApusError("ONNX216", "a shape is too large", actual: "\(size)") }
    var values: [Float] = []
    values.reserveCapacity(count * (n + 1))
    for flat in 0..<count {
        var rest = flat
        var place: [Float] = []
        // The innermost axis comes first.
        for extent in spatial.reversed() {
            let i = Double(rest % extent)
            rest /= extent
            let e = Double(extent)
            let v = corners ? (extent > 1 ? 2 * i / (e - 1) - 1 : 0) : (2 * i + 1) / e - 1
            place.append(Float(v))
        }
        values += place + [1]
    }
    let theta = try c.x(0)
    let type = try c.dtype(theta)
    let base = try c.cast(c.constant(NDArray(values, shape: [1, count, n + 1])), type)
    let shape = try c.shape(theta)
    guard shape == [size[0], n, n + 1] else {
        throw ApusError(
            "ONNX332", "theta does not fit", expected: "\([size[0], n, n + 1])", actual: "\(shape)")
    }
    let y = try c.batched(try c.broadcast(base, [size[0], count, n + 1]), theta, transposeB: true)
    return try c.reshape(y, [size[0]] + spatial + [n])
}

/// One axis of a sampled grid: positions in elements.
private struct GridAxis {
    let extent: Int
    /// [N, points], float.
    let position: RelayExpr
    let low: Double
    let high: Double
}

private func gridSample(_ c: NodeContext) throws -> RelayExpr {
    let x = try c.x(0)
    let type = try c.dtype(x)
    let (s, g) = (try c.shape(x), try c.shape(try c.x(1)))
    let n = s.count - 2
    guard (1...3).contains(n), g.count == n + 2, g[0] == s[0], g[n + 1] == n, s.allSatisfy({ $0 > 0 }) else {
        throw ApusError("ONNX333", "the grid does not fit the data", expected: "\(s)", actual: "\(g)")
    }
    let corners = try c.node.bool("align_corners", default: false)
    let padding = try c.node.string("padding_mode", default: "zeros")
    let mode = try c.node.string("mode", default: "linear")
    let method = ["bilinear": "linear", "bicubic": "cubic"][mode] ?? mode
    guard ["zeros", "border", "reflection"].contains(padding),
        ["nearest", "linear", "cubic"].contains(method)
    else {
        throw ApusError("ONNX334", "the mode or the padding is not known", actual: "\(mode), \(padding)")
    }
    let points = try c.product(g[1..<(n + 1)])
    let work: DataType = type == .float64 ? .float64 : .float32
    let grid = try c.cast(try c.reshape(try c.x(1), [g[0], points, n]), work)

    func reflected(_ e: RelayExpr, _ a: GridAxis) throws -> RelayExpr {
        let range = a.high - a.low
        if range <= 0 { return try c.mul(e, 0) }
        // A triangle wave of twice the range.
        let t = try c.call("floor_mod", [try c.add(e, -a.low), try c.scalar(2 * range, work)])
        let back = try c.sub(try c.scalar(2 * range, work), t)
        return try c.add(try c.call("minimum", [t, back]), a.low)
    }
    var axes: [GridAxis] = []
    for k in 0..<n {
        let extent = s[k + 2]
        // The grid's last component is the first axis from the end.
        let v = try c.reshape(try c.sliced(grid, 2, n - 1 - k, n - k), [g[0], points])
        var p =
            corners
            ? try c.mul(try c.add(v, 1), Double(extent - 1) / 2)
            : try c.mul(try c.add(try c.mul(try c.add(v, 1), Double(extent)), -1), 0.5)
        let a = GridAxis(
            extent: extent, position: p, low: corners ? 0 : -0.5, high: Double(extent) - (corners ? 1 : 0.5))
        if method == "nearest" { p = try c.apply("round", p) }
        // Cubic taps are brought inside one by one (as PyTorch does), the others by their position.
        if method == "cubic" {
            axes.append(a)
            continue
        }
        if padding == "border" { p = try c.clipped(p, 0, Double(extent - 1)) }
        if padding == "reflection" { p = try reflected(p, a) }
        axes.append(GridAxis(extent: extent, position: p, low: a.low, high: a.high))
    }
    /// Taps of an axis: element, weight (nil = 1), and whether it is inside (nil = yes).
    func taps(_ a: GridAxis) throws -> [(at: RelayExpr, weight: RelayExpr?, inside: RelayExpr?)] {
        let base = method == "nearest" ? a.position : try c.apply("floor", a.position)
        let t = try c.sub(a.position, base)
        let offsets = method == "nearest" ? [0] : (method == "linear" ? [0, 1] : [-1, 0, 1, 2])
        return try offsets.map { o in
            var e = o == 0 ? base : try c.add(base, Double(o))
            var inside: RelayExpr?
            if padding == "reflection" {
                e = try reflected(e, a)
            } else if padding == "zeros" {
                inside = try c.call(
                    "logical_and",
                    [
                        try c.call("greater_equal", [e, try c.scalar(0, work)]),
                        try c.call("less_equal", [e, try c.scalar(Double(a.extent - 1), work)]),
                    ])
            }
            // Clamped in any case: nothing is read outside, whatever the grid holds.
            let safe = try c.call(
                "minimum",
                [
                    try c.call("maximum", [e, try c.scalar(0, work)]),
                    try c.scalar(Double(a.extent - 1), work),
                ])
            let number = try c.choose(try c.apply("isnan", safe), try c.scalar(0, work), safe)
            return (at: try c.cast(number, .int64), weight: try weight(o, t), inside: inside)
        }
    }
    func weight(_ o: Int, _ t: RelayExpr) throws -> RelayExpr? {
        let one = try c.scalar(1, work)
        switch method {
        case "nearest": return nil
        case "linear": return o == 0 ? try c.sub(one, t) : t
        default:
            // Keys' kernel with a = -0.75.
            let alpha = -0.75
            func near(_ d: RelayExpr) throws -> RelayExpr {
                let inner = try c.add(try c.mul(d, alpha + 2), -(alpha + 3))
                return try c.add(try c.mul(try c.mul(inner, d), d), 1)
            }
            func far(_ d: RelayExpr) throws -> RelayExpr {
                let first = try c.add(try c.mul(d, alpha), -5 * alpha)
                let second = try c.add(try c.mul(first, d), 8 * alpha)
                return try c.add(try c.mul(second, d), -4 * alpha)
            }
            switch o {
            case -1: return try far(try c.add(t, 1))
            case 0: return try near(t)
            case 1: return try near(try c.sub(one, t))
            default: return try far(try c.sub(try c.scalar(2, work), t))
            }
        }
    }
    let data = try c.cast(try c.reshape(x, [s[0], s[1], try c.product(s[2...])]), work)
    let all = try axes.map { try taps($0) }
    var sum: RelayExpr?
    let combinations = all.reduce(1) { $0 * $1.count }
    for k in 0..<combinations {
        var rest = k
        var at: RelayExpr?
        var factor: RelayExpr?
        var inside: RelayExpr?
        for (axis, list) in zip(axes, all) {
            let tap = list[rest % list.count]
            rest /= list.count
            at = try at.map { try c.add(try c.mul($0, Double(axis.extent)), tap.at) } ?? tap.at
            if let w = tap.weight { factor = try factor.map { try c.mul($0, w) } ?? w }
            if let i = tap.inside { inside = try inside.map { try c.call("logical_and", [$0, i]) } ?? i }
        }
        guard let at else { continue }
        var value = try c.call("take", [data, at], ["axis": 2, "batch_dims": 1, "mode": "clip"])
        func perPoint(_ e: RelayExpr) throws -> RelayExpr { try c.reshape(e, [s[0], 1, points]) }
        if let factor { value = try c.mul(value, try perPoint(factor)) }
        if let inside { value = try c.choose(try perPoint(inside), value, try c.scalar(0, work)) }
        sum = try sum.map { try c.add($0, value) } ?? value
    }
    guard let sum else { throw ApusError("ONNX333", "the grid is empty") }
    return try c.reshape(try c.cast(sum, type), [s[0], s[1]] + g[1..<(n + 1)])
}
