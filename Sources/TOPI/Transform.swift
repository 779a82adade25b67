import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    static func injective(
        _ shape: [PrimExpr], _ name: String, _ f: ([PrimExpr]) throws -> PrimExpr
    ) throws -> Tensor { try compute(shape, name: name, tag: Tag.injective, f) }

    /// The same elements in the same order in another shape. Where dimensions are only merged or split, an
    /// index is the quotient or remainder of the one it comes from, never of a flat index of the whole.
    public static func reshape(_ x: Tensor, _ shape: [PrimExpr]) throws -> Tensor {
        if let n = staticCount(x.shape), let m = staticCount(shape), n != m {
            throw ApusError("TOPI009", "reshape: the element counts differ", expected: "\(n)", actual: "\(m)")
        }
        let groups = reshapeGroups(x.shape, shape)
        return try injective(shape, "reshape") { i in
            var index: [PrimExpr] = []
            for g in groups {
                var flat: PrimExpr = imm(0)
                for o in g.out where shape[o].asInt != 1 {
                    flat = flat.isZero ? i[o] : flat * shape[o] + i[o]
                }
                index.append(contentsOf: unflatten(flat, g.from.map { x.shape[$0] }))
            }
            return x[index]
        }
    }

    static func staticCount(_ shape: [PrimExpr]) -> Int? {
        var n = 1
        for d in shape {
            guard let v = d.asInt else { return nil }
            let (p, overflow) = n.multipliedReportingOverflow(by: v)
            if overflow { return nil }
            n = p
        }
        return n
    }

    /// The indices in `dims` of element `flat`.
    static func unflatten(_ flat: PrimExpr, _ dims: [PrimExpr]) -> [PrimExpr] {
        var result: [PrimExpr] = []
        var rest = flat
        // The outermost dimension that is not 1 needs no remainder.
        let first = dims.firstIndex { $0.asInt != 1 } ?? 0
        for d in dims.indices.reversed() {
            if dims[d].asInt == 1 {
                result.append(imm(0))
            } else if d == first {
                result.append(rest)
            } else {
                result.append(floorModExpr(rest, dims[d]))
                rest = floorDivExpr(rest, dims[d])
            }
        }
        return result.reversed()
    }

    /// Runs of dimensions on both sides with the same number of elements, as short as possible.
    private static func reshapeGroups(
        _ from: [PrimExpr], _ out: [PrimExpr]
    ) -> [(from: Range<Int>, out: Range<Int>)] {
        let whole: [(from: Range<Int>, out: Range<Int>)] = [(from: 0..<from.count, out: 0..<out.count)]
        if from.contains(where: { $0.asInt == 0 }) { return whole }
        var groups: [(from: Range<Int>, out: Range<Int>)] = []
        var f = 0
        var o = 0
        while f < from.count || o < out.count {
            let f0 = f
            let o0 = o
            if f < from.count, o < out.count, sameDimension(from[f], out[o]) {
                f += 1
                o += 1
                groups.append((from: f0..<f, out: o0..<o))
                continue
            }
            var a = 1
            var b = 1
            repeat {
                if (a <= b && f < from.count) || o >= out.count {
                    guard f < from.count, let v = from[f].asInt else { return tail(f0, o0) }
                    let (p, overflow) = a.multipliedReportingOverflow(by: v)
                    if overflow { return whole }
                    a = p
                    f += 1
                } else {
                    guard let v = out[o].asInt else { return tail(f0, o0) }
                    let (p, overflow) = b.multipliedReportingOverflow(by: v)
                    if overflow { return whole }
                    b = p
                    o += 1
                }
            } while a != b
            groups.append((from: f0..<f, out: o0..<o))
        }
        // A symbolic dimension that does not meet its equal: all that is left is one group.
        func tail(_ f: Int, _ o: Int) -> [(from: Range<Int>, out: Range<Int>)] {
            groups + [(from: f..<from.count, out: o..<out.count)]
        }
        return groups
    }

    /// Axis `k` of the result is axis `axes[k]` of `x`; nil reverses the axes.
    public static func transpose(_ x: Tensor, axes: [Int]? = nil) throws -> Tensor {
        var order: [Int] = []
        for a in axes ?? Array((0..<x.rank).reversed()) {
            order.append(try normalized(a, rank: x.rank, "transpose"))
        }
        try require(order.sorted() == Array(0..<x.rank), "transpose", "the axes are not a permutation")
        return try injective(order.map { x.shape[$0] }, "transpose") { i in
            var index = i
            for (k, a) in order.enumerated() { index[a] = i[k] }
            return x[index]
        }
    }

    /// `x` without axes of extent 1 (nil = all of them).
    public static func squeeze(_ x: Tensor, axes: [Int]? = nil) throws -> Tensor {
        let gone =
            try axes.map { try normalized($0, rank: x.rank, "squeeze") }
            ?? (0..<x.rank).filter { x.shape[$0].asInt == 1 }
        for a in gone {
            if let n = x.shape[a].asInt, n != 1 {
                throw ApusError(
                    "TOPI010", "squeeze: an axis is not of extent 1", expected: "1", actual: "\(n)")
            }
        }
        let kept = (0..<x.rank).filter { !gone.contains($0) }
        return try injective(kept.map { x.shape[$0] }, "squeeze") { i in
            var index = [PrimExpr](repeating: imm(0), count: x.rank)
            for (k, a) in kept.enumerated() { index[a] = i[k] }
            return x[index]
        }
    }

    /// `x` with `count` axes of extent 1 put before `axis`.
    public static func expandDims(_ x: Tensor, axis: Int, count: Int = 1) throws -> Tensor {
        let a = axis < 0 ? axis + x.rank + 1 : axis
        try require(
            a >= 0 && a <= x.rank && count >= 0 && count <= 64, "expand_dims", "there is no place \(axis)")
        let ones = [PrimExpr](repeating: imm(1), count: count)
        return try injective(Array(x.shape[..<a]) + ones + Array(x.shape[a...]), "expand_dims") { i in
            x[Array(i[..<a]) + Array(i[(a + count)...])]
        }
    }

    /// Tensors one after another along `axis`.
    public static func concatenate(_ xs: [Tensor], axis: Int) throws -> Tensor {
        try require(!xs.isEmpty, "concatenate", "nothing to concatenate")
        let a = try normalized(axis, rank: xs[0].rank, "concatenate")
        try require(xs.allSatisfy { $0.rank == xs[0].rank }, "concatenate", "the numbers of axes differ")
        var starts: [PrimExpr] = [imm(0)]
        for x in xs { starts.append(starts[starts.count - 1] + x.shape[a]) }
        var shape = xs[0].shape
        shape[a] = starts[xs.count]
        let parts = xs.indices.filter { xs[$0].shape[a].asInt != 0 }
        return try injective(shape, "concatenate") { i in
            // A balanced tree of choices: as deep as the logarithm of the number of parts.
            func pick(_ range: ArraySlice<Int>) -> PrimExpr {
                if range.count <= 1 {
                    let n = range.first ?? 0
                    var index = i
                    index[a] = i[a] - starts[n]
                    return xs[n][index]
                }
                let middle = range.startIndex + range.count / 2
                return ifThenElse(
                    i[a] .< starts[range[middle]], pick(range[..<middle]), pick(range[middle...]))
            }
            return pick(parts[...])
        }
    }

    /// Tensors of one shape side by side along a new axis.
    public static func stack(_ xs: [Tensor], axis: Int) throws -> Tensor {
        try require(!xs.isEmpty, "stack", "nothing to stack")
        return try concatenate(try xs.map { try expandDims($0, axis: axis) }, axis: axis)
    }

    /// The parts of `x` between the points `at` along `axis`.
    public static func split(_ x: Tensor, at points: [Int], axis: Int) throws -> [Tensor] {
        let a = try normalized(axis, rank: x.rank, "split")
        var result: [Tensor] = []
        var start: PrimExpr = imm(0)
        for p in points.map({ imm($0) }) + [x.shape[a]] {
            var shape = x.shape
            shape[a] = p - start
            if let n = shape[a].asInt, n < 0 {
                throw ApusError("TOPI011", "split: points must ascend and lie within the axis")
            }
            let from = start
            result.append(
                try injective(shape, "split") { i in
                    var index = i
                    index[a] = i[a] + from
                    return x[index]
                })
            start = p
        }
        return result
    }

    /// Every `strides[k]`-th element of axis `axes[k]` from `begin[k]` to before `end[k]`. With a negative
    /// stride `end` -1 stands for before the first. `shape`, if given, is that of the result.
    public static func stridedSlice(
        _ x: Tensor, begin: [Int], end: [Int], strides: [Int]? = nil, axes: [Int]? = nil,
        shape: [PrimExpr]? = nil
    ) throws -> Tensor {
        let named = try (axes ?? Array(0..<begin.count)).map {
            try normalized($0, rank: x.rank, "strided_slice")
        }
        let steps = strides ?? [Int](repeating: 1, count: begin.count)
        try require(
            named.count == begin.count && steps.count == begin.count && end.count == begin.count
                && steps.allSatisfy { $0 != 0 }, "strided_slice",
            "begin, end, strides and axes must correspond")
        var out = x.shape
        for (k, a) in named.enumerated() {
            let (span, overflow) =
                steps[k] > 0
                ? end[k].subtractingReportingOverflow(begin[k])
                : begin[k].subtractingReportingOverflow(end[k])
            try require(!overflow && steps[k] != .min, "strided_slice", "a bound is out of range")
            let step = Swift.abs(steps[k])
            out[a] = imm(span <= 0 ? 0 : (span - 1) / step + 1)
        }
        if let shape, shape.count == out.count { out = shape }
        return try injective(out, "strided_slice") { i in
            var index = i
            for (k, a) in named.enumerated() { index[a] = i[a] * steps[k] + begin[k] }
            return x[index]
        }
    }

    /// `x` repeated `reps[k]` times along axis `k`; missing leading axes count as 1.
    public static func tile(_ x: Tensor, reps: [Int]) throws -> Tensor {
        let rank = Swift.max(x.rank, reps.count)
        let dims = [PrimExpr](repeating: imm(1), count: rank - x.rank) + x.shape
        let times = [Int](repeating: 1, count: rank - reps.count) + reps
        try require(times.allSatisfy { $0 >= 0 }, "tile", "repetitions must not be negative")
        let shape = (0..<rank).map { times[$0] == 1 ? dims[$0] : dims[$0] * times[$0] }
        return try injective(shape, "tile") { i in
            var index: [PrimExpr] = []
            for k in (rank - x.rank)..<rank {
                index.append(
                    dims[k].asInt == 1 ? imm(0) : (times[k] == 1 ? i[k] : floorModExpr(i[k], dims[k])))
            }
            return x[index]
        }
    }

    /// Every element `repeats` times along `axis`.
    public static func `repeat`(_ x: Tensor, repeats: Int, axis: Int) throws -> Tensor {
        let a = try normalized(axis, rank: x.rank, "repeat")
        try require(repeats >= 0, "repeat", "repetitions must not be negative")
        var shape = x.shape
        shape[a] = shape[a] * repeats
        return try injective(shape, "repeat") { i in
            var index = i
            if repeats > 1 { index[a] = floorDiv(i[a], repeats) }
            return x[index]
        }
    }

    /// `x` with the elements of `axes` in reverse order.
    public static func reverse(_ x: Tensor, axes: [Int]) throws -> Tensor {
        let turned = try normalized(axes, rank: x.rank, "reverse")
        return try injective(x.shape, "reverse") { i in
            var index = i
            for a in turned { index[a] = x.shape[a] - 1 - i[a] }
            return x[index]
        }
    }

    /// A tensor of one value.
    public static func full(_ fill: Tensor, shape: [PrimExpr], dtype: DataType? = nil) throws -> Tensor {
        try compute(shape, name: "full", tag: Tag.broadcast) { _ in
            asType(dtype ?? fill.dtype, fill.scalarValue)
        }
    }

    /// `start, start + step, …`: `count` numbers.
    public static func arange(start: Tensor, step: Tensor, count: PrimExpr, dtype: DataType) throws -> Tensor
    {
        try injective([count], "arange") { i in
            asType(dtype, start.scalarValue) + asType(dtype, i[0]) * asType(dtype, step.scalarValue)
        }
    }

    /// The dimensions of `x`.
    public static func shapeOf(_ x: Tensor, dtype: DataType = .int64) throws -> Tensor {
        try injective([imm(x.rank)], "shape_of") { i in
            var e: PrimExpr = const(0, dtype)
            for (k, d) in x.shape.enumerated().reversed() { e = select(i[0] .== k, asType(dtype, d), e) }
            return e
        }
    }

    /// `x` with zeros below (`upper`) or above the diagonal moved up by `k` of its last two axes.
    public static func trilu(_ x: Tensor, k: Int = 0, upper: Bool = true) throws -> Tensor {
        try require(x.rank >= 2, "trilu", "matrices are needed")
        try require(k.magnitude < 1 << 48, "trilu", "the diagonal is out of range")
        return try injective(x.shape, "trilu") { i in
            let row = i[x.rank - 2] + k
            let column = i[x.rank - 1]
            return select(upper ? column .>= row : column .<= row, x[i], const(0, x.dtype))
        }
    }

    /// Blocks of channels as blocks of positions: `DCR` = block row, block column, channel; `CRD` = channel
    /// first.
    public static func depthToSpace(
        _ x: Tensor, blockSize b: Int, mode: String = "DCR", layout: String = "NCHW"
    ) throws -> Tensor {
        let (l, c, h, w) = try planar(x, layout, b, "nn.depth_to_space")
        try require(mode == "DCR" || mode == "CRD", "nn.depth_to_space", "mode must be DCR or CRD")
        var shape = x.shape
        if let n = x.shape[c].asInt {
            try require(n % (b * b) == 0, l, "\(n) channels do not divide into blocks of \(b)")
        }
        shape[c] = floorDiv(x.shape[c], b * b)
        shape[h] = shape[h] * b
        shape[w] = shape[w] * b
        let channels = shape[c]
        return try injective(shape, "depth_to_space") { i in
            let block = floorMod(i[h], b) * b + floorMod(i[w], b)
            var index = i
            index[h] = floorDiv(i[h], b)
            index[w] = floorDiv(i[w], b)
            index[c] = mode == "DCR" ? block * channels + i[c] : i[c] * (b * b) + block
            return x[index]
        }
    }

    /// Blocks of positions as blocks of channels, in the order block row, block column, channel.
    public static func spaceToDepth(_ x: Tensor, blockSize b: Int, layout: String = "NCHW") throws -> Tensor {
        let (l, c, h, w) = try planar(x, layout, b, "nn.space_to_depth")
        var shape = x.shape
        for a in [h, w] {
            if let n = x.shape[a].asInt {
                try require(n % b == 0, l, "\(n) positions do not divide into blocks of \(b)")
            }
            shape[a] = floorDiv(x.shape[a], b)
        }
        shape[c] = shape[c] * (b * b)
        let channels = x.shape[c]
        return try injective(shape, "space_to_depth") { i in
            let block = floorDivExpr(i[c], channels)
            var index = i
            index[c] = floorModExpr(i[c], channels)
            index[h] = i[h] * b + floorDiv(block, b)
            index[w] = i[w] * b + floorMod(block, b)
            return x[index]
        }
    }

    private static func planar(
        _ x: Tensor, _ text: String, _ b: Int, _ op: String
    ) throws -> (op: String, c: Int, h: Int, w: Int) {
        let l = try Layout(text)
        guard l.rank == 4, x.rank == 4, let c = l.position("C"), let h = l.position("H"),
            let w = l.position("W"),
            b > 0, b <= 1 << 20
        else { throw ApusError("TOPI002", "\(op): four axes N, C, H, W and a positive block are needed") }
        return (op: op, c: c, h: h, w: w)
    }
}
