import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// What stands outside of a padded tensor.
    public enum PadMode: String, Sendable {
        /// A given value.
        case constant
        /// The nearest element.
        case edge
        /// The elements mirrored, the outermost not repeated.
        case reflect
        /// The elements from the other end.
        case wrap
    }

    /// `x` with `before` and `after` elements added to each axis; a negative number removes them. TOPI002
    /// where an empty axis would have to be extended by its own elements.
    public static func pad(
        _ x: Tensor, before: [Int], after: [Int], mode: PadMode = .constant, value: PrimExpr? = nil,
        name: String = "pad", tag: String = Tag.injective
    ) throws -> Tensor {
        try require(
            before.count == x.rank && after.count == x.rank, "nn.pad", "one pair of widths an axis is needed")
        try require(
            (before + after).allSatisfy { $0.magnitude <= 1 << 40 }, "nn.pad", "a width is out of range")
        var shape: [PrimExpr] = []
        for a in 0..<x.rank {
            let extent = before[a] == 0 && after[a] == 0 ? x.shape[a] : x.shape[a] + (before[a] + after[a])
            if let n = extent.asInt, n < 0 {
                throw ApusError("TOPI006", "nn.pad: more is removed than there is", at: ["axis: \(a)"])
            }
            if mode != .constant, x.shape[a].asInt == 0, (extent.asInt ?? 1) > 0 {
                throw ApusError(
                    "TOPI006", "nn.pad: an empty axis has no elements to repeat", at: ["axis: \(a)"])
            }
            shape.append(extent)
        }
        let fill = value ?? const(0, x.dtype)
        return try compute(shape, name: name, tag: tag) { i in
            var index: [PrimExpr] = []
            var inside: [PrimExpr] = []
            for a in 0..<x.rank {
                let v = before[a] == 0 ? i[a] : i[a] - before[a]
                let low = before[a] > 0
                let high = after[a] > 0
                let n = x.shape[a]
                guard low || high else {
                    index.append(v)
                    continue
                }
                switch mode {
                case .constant:
                    if low { inside.append(v .>= 0) }
                    if high { inside.append(v .< n) }
                    index.append(v)
                case .edge:
                    let w = low ? greatestOf(v, imm(0)) : v
                    index.append(high ? leastOf(w, n - 1) : w)
                case .wrap: index.append(floorMod(v, n))
                case .reflect: index.append(reflected(v, n, low: before[a], high: after[a]))
                }
            }
            let e = x[index]
            return inside.isEmpty ? e : ifThenElse(conjunction(inside), e, fill)
        }
    }

    /// `v` mirrored at 0 and at `n - 1` as often as the widths need.
    private static func reflected(_ v: PrimExpr, _ n: PrimExpr, low: Int, high: Int) -> PrimExpr {
        if n.asInt == 1 { return imm(0) }
        if let extent = n.asInt, low < extent, high < extent {
            var w = v
            if low > 0 { w = select(w .< imm(0), imm(0) - w, w) }
            if high > 0 { w = select(w .>= n, n * 2 - 2 - w, w) }
            return w
        }
        let period = greatestOf(n * 2 - 2, imm(1))
        let m = floorMod(v, period)
        return select(m .< n, m, period - m)
    }

    /// The conditions under which the positions along `axes` are those of elements of `x`; `before` and `after` say how far
    /// outside they may be.
    static func inside(
        _ x: Tensor, _ at: [PrimExpr], axes: [Int], before: [Int], after: [Int]
    ) -> [PrimExpr] {
        var conditions: [PrimExpr] = []
        for (k, a) in axes.enumerated() {
            if before[k] > 0 { conditions.append(at[a] .>= 0) }
            if after[k] > 0 { conditions.append(at[a] .< x.shape[a]) }
        }
        return conditions
    }

    /// The element at `at`, or `value` outside of `x`. For windows that read each element a few times only, so that a padded
    /// copy would cost as much as they do: loop partitioning leaves those that are not at a border without guards.
    static func guarded(
        _ x: Tensor, _ at: [PrimExpr], axes: [Int], before: [Int], after: [Int], value: PrimExpr
    ) -> PrimExpr {
        let conditions = inside(x, at, axes: axes, before: before, after: after)
        if conditions.isEmpty { return x[at] }
        return ifThenElse(intrinsic("likely", .bool, [conjunction(conditions)]), x[at], value)
    }

    /// The constant-padded input of a window operator, or `x` itself where nothing is added.
    static func padStage(
        _ x: Tensor, positions: [Int], before: [Int], after: [Int], value: PrimExpr, name: String
    ) throws -> Tensor {
        if before.allSatisfy({ $0 == 0 }) && after.allSatisfy({ $0 == 0 }) { return x }
        var b = [Int](repeating: 0, count: x.rank)
        var a = b
        for (k, p) in positions.enumerated() {
            b[p] = before[k]
            a[p] = after[k]
        }
        return try pad(x, before: b, after: a, value: value, name: name, tag: "pad")
    }
}
