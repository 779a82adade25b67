import ApusIR
import ApusRuntime
import ApusTIR

// Exact regions: where the digits of the accesses' sums are independent, the starting points in a dimension are known,
// and boxes of a width at least the steps between them leave no hole.
extension Analyzer {
    /// The exact region touched by quasi-affine `region` while variables run over their ranges where `predicate` holds:
    /// a box all of whose points are touched, and no others. Nil where it has holes or dimensions depend on each other:
    /// what may be called covered by a producer. (TVM's EstimateRegionLowerBound.)
    public func estimateRegionLowerBound(
        _ region: [IRRange], _ domains: [(variable: Var, range: IRRange)], predicate: PrimExpr = trueExpr
    ) -> [IntervalSet]? {
        guard let sums = independentSums(region.map(\.min), domains, predicate) else { return nil }
        let relaxed = Set(domains.map(\.variable))
        var result: [IntervalSet] = []
        for (r, s) in zip(region, sums) {
            guard !uses(r.extent, relaxed), let set = covered(s, width: simplify(r.extent)) else {
                return nil
            }
            result.append(set)
        }
        return result
    }

    /// In each dimension, exactly the positions touched for some other ones, as an interval; nil where a dimension has
    /// holes. The box may hold points that are not touched, where dimensions depend on each other.
    /// (TVM's EstimateRegionStrictBound.)
    public func estimateRegionStrictBound(
        _ region: [IRRange], _ domains: [(variable: Var, range: IRRange)], predicate: PrimExpr = trueExpr
    ) -> [IntervalSet]? {
        var result: [IntervalSet] = []
        for r in region {
            guard let set = estimateRegionLowerBound([r], domains, predicate: predicate)?.first else {
                return nil
            }
            result.append(set)
        }
        return result
    }

    /// The union of `s ..< s + width` over all values of the digits, if it has no hole.
    private func covered(_ s: IterSumExpr, width: PrimExpr) -> IntervalSet? {
        guard canProveGreaterEqual(width, 1) else { return nil }
        var low = s.base
        var length = width
        var steps: [(size: PrimExpr, extent: PrimExpr)] = []
        for a in s.args where !a.extent.isOne {
            if canProveGreaterEqual(a.scale, 1) {
                steps.append((size: a.scale, extent: a.extent))
            } else if canProveLess(a.scale, 0) {
                steps.append((size: simplify(const(0) - a.scale), extent: a.extent))
                low = low + a.scale * (a.extent - 1)
            } else {
                return nil
            }
        }
        // The smallest step that closes with what is covered, again and again.
        while !steps.isEmpty {
            guard let i = steps.firstIndex(where: { canProveGreaterEqual(length, $0.size) }) else {
                return nil
            }
            let step = steps.remove(at: i)
            length = simplify(length + (step.extent - 1) * step.size)
        }
        let first = simplify(low)
        if length.isOne { return IntervalSet(point: first) }
        return IntervalSet(first, simplify(low + length - 1))
    }
}
