import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// What a window is reduced to.
    public enum PoolKind: String, Sendable { case max, avg }

    /// How a pooling window moves; one number a spatial dimension.
    public struct PoolParameters: Sendable {
        public var size: [Int]
        public var strides: [Int]
        public var dilation: [Int]
        /// Added at the begin of each dimension, then at the end of each.
        public var padding: [Int]
        public var layout: String
        /// Whether a last window may reach over the end (it must begin inside the input or its leading
        /// padding).
        public var ceilMode: Bool
        /// Whether an average counts the padding as zeros.
        public var countIncludePad: Bool

        public init(
            size: [Int], strides: [Int]? = nil, dilation: [Int]? = nil, padding: [Int]? = nil, layout: String,
            ceilMode: Bool = false, countIncludePad: Bool = false
        ) {
            let ones = [Int](repeating: 1, count: size.count)
            self.size = size
            self.strides = strides ?? ones
            self.dilation = dilation ?? ones
            self.padding = padding ?? [Int](repeating: 0, count: 2 * size.count)
            self.layout = layout
            self.ceilMode = ceilMode
            self.countIncludePad = countIncludePad
        }

        func check(_ op: String) throws {
            let n = size.count
            try require(
                (1...3).contains(n) && strides.count == n && dilation.count == n && padding.count == 2 * n,
                op,
                "\(n) strides and dilations and \(2 * n) paddings are needed")
            try require(
                (size + strides + dilation).allSatisfy { $0 > 0 }, op, "sizes, strides must be positive")
            try require(
                (size + strides + dilation + padding).allSatisfy { $0.magnitude <= 1 << 30 }, op,
                "a size, stride, dilation or padding is out of range")
        }

        /// The number of windows along dimension `k` of `extent` elements.
        func windows(_ extent: PrimExpr, _ k: Int) -> PrimExpr {
            let window = (size[k] - 1) * dilation[k] + 1
            let room = extent + (padding[k] + padding[size.count + k] - window)
            if !ceilMode { return floorDiv(room, strides[k]) + 1 }
            let out = ceilDiv(room, imm(strides[k])) + 1
            // The last window must not begin in the trailing padding.
            let beginsOutside = (out - 1) * strides[k] .>= extent + padding[k]
            return select(beginsOutside, out - 1, out)
        }
    }

    /// Pooling of 1 to 3 spatial dimensions. `shape`, if given, is that of the result.
    public static func pool(
        _ x: Tensor, _ kind: PoolKind, _ p: PoolParameters, shape: [PrimExpr]? = nil
    ) throws -> Tensor {
        let n = p.size.count
        let op = "nn.\(kind.rawValue)_pool\(n)d"
        try p.check(op)
        let layout = try Layout(p.layout)
        let letters = spatialLetters(n)
        let positions = letters.compactMap { layout.position($0) }
        try require(
            layout.rank == x.rank && positions.count == n && letters.allSatisfy { !layout.isBlocked($0) }, op,
            "a tensor of \(x.rank) axes is not of layout \(p.layout)")
        var out = x.shape
        for (k, a) in positions.enumerated() { out[a] = p.windows(x.shape[a], k) }
        if let shape, shape.count == out.count { out = shape }

        // With ceilMode the last window may read more than the padding asked for.
        let begins = Array(p.padding[..<n])
        var ends: [Int] = []
        for (k, a) in positions.enumerated() {
            let end = p.padding[n + k]
            guard let extent = x.shape[a].asInt, let windows = out[a].asInt else {
                ends.append(p.ceilMode ? end + p.strides[k] - 1 : end)
                continue
            }
            let reach = (windows - 1) * p.strides[k] + (p.size[k] - 1) * p.dilation[k] + 1
            ends.append(Swift.max(end, reach - extent - begins[k]))
        }
        let fill = kind == .max ? minValue(x.dtype) : const(0, x.dtype)
        // Where a vector holds channels, windows at the borders are guarded.
        let isGuarded = !positions.contains(x.rank - 1)
        let source =
            isGuarded
            ? x
            : try padStage(
                x, positions: positions, before: begins, after: ends, value: fill, name: "pool_pad")
        let axes = letters.enumerated().map {
            reduceAxis(p.size[$0.offset], name: "k\($0.element.lowercased())")
        }
        let attrs = Attrs([
            (key: "pool_size", value: .ints(p.size)), (key: "strides", value: .ints(p.strides)),
            (key: "layout", value: .string(p.layout)),
        ])
        let name = kind == .max ? "max_pool\(n)d" : "pool_sum"
        let reduced = try compute(out, name: name, tag: Tag.pool, attrs: attrs) { i in
            var at = i
            for (k, a) in positions.enumerated() {
                at[a] = i[a] * p.strides[k] + axes[k].variable * p.dilation[k]
                if isGuarded { at[a] = at[a] - begins[k] }
            }
            let value =
                isGuarded
                ? guarded(x, at, axes: positions, before: begins, after: ends, value: fill) : source[at]
            let e = asType(accumulator(of: x.dtype), value)
            return kind == .max ? reduceMax(e, axes) : reduceSum(e, axes)
        }
        if kind == .max { return reduced.dtype == x.dtype ? reduced : try cast(reduced, x.dtype) }
        // How many taps count, a factor a dimension; those at the borders are tables.
        var whole = 1
        var tables: [(axis: Int, counts: Tensor)] = []
        for (k, a) in positions.enumerated() {
            let at0 = tapCount(p, k, window: imm(0), extent: x.shape[a], windows: out[a])
            if at0.dependsOnWindow {
                let counts = try compute([out[a]], name: "pool_count", tag: "pool_count") { i in
                    let c = tapCount(p, k, window: i[0], extent: x.shape[a], windows: out[a]).count
                    return asType(reduced.dtype, greatestOf(c, 1))
                }
                tables.append((axis: a, counts: counts))
            } else {
                let (product, overflow) = whole.multipliedReportingOverflow(by: p.size[k])
                try require(!overflow, op, "the window is too large")
                whole = product
            }
        }
        return try compute(out, name: "avg_pool\(n)d", tag: Tag.elemwise) { i in
            var count: PrimExpr = const(whole, reduced.dtype)
            for t in tables { count = count * t.counts[i[t.axis]] }
            return asType(x.dtype, reduced.dtype.isFloat ? reduced[i] / count : truncDiv(reduced[i], count))
        }
    }

    /// How many taps of a window along dimension `k` an average counts (not positive: none).
    private static func tapCount(
        _ p: PoolParameters, _ k: Int, window: PrimExpr, extent: PrimExpr, windows: PrimExpr
    ) -> (count: PrimExpr, dependsOnWindow: Bool) {
        let n = p.size.count
        let reach: Int? = windows.asInt.map { ($0 - 1) * p.strides[k] + (p.size[k] - 1) * p.dilation[k] + 1 }
        let room: Int? = extent.asInt.map { $0 + p.padding[k] + (p.countIncludePad ? p.padding[n + k] : 0) }
        let overEnd = reach.flatMap { r in room.map { r > $0 } } ?? true
        let overBegin = !p.countIncludePad && p.padding[k] > 0
        if !overEnd && !overBegin { return (count: imm(p.size[k]), dependsOnWindow: false) }
        let start = window * p.strides[k] - p.padding[k]
        let limit = p.countIncludePad ? extent + p.padding[n + k] : extent
        let d = imm(p.dilation[k])
        let high = overEnd ? leastOf(ceilDiv(limit - start, d), imm(p.size[k])) : imm(p.size[k])
        let low = overBegin ? greatestOf(ceilDiv(imm(0) - start, d), imm(0)) : imm(0)
        return (count: high - low, dependsOnWindow: true)
    }

    /// The greatest element or the mean of all spatial positions, which stay as axes of extent 1.
    public static func globalPool(_ x: Tensor, _ kind: PoolKind, layout: String = "NCHW") throws -> Tensor {
        let l = try Layout(layout)
        try require(
            l.rank == x.rank, "nn.global_\(kind.rawValue)_pool", "a tensor of \(x.rank) axes is not \(layout)"
        )
        let axes = l.axes.indices.filter { l.axes[$0].letter != "N" && l.axes[$0].letter != "C" }
        return kind == .max ? try max(x, axes: axes, keepdims: true) : try mean(x, axes: axes, keepdims: true)
    }
}
