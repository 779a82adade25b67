import ApusIR
import ApusRuntime
import ApusTIR

// Boxes of buffers that accesses touch while loops run.
extension Analyzer {
    /// What a region covers, dimension by dimension, while the variables of `domains` run (an upper bound).
    public func evalRegion(_ region: [IRRange], _ domains: [Var: IntervalSet]) -> [IntervalSet] {
        region.map { evalSet($0, domains) }
    }

    /// What points cover, dimension by dimension.
    public func evalRegion(points: [PrimExpr], _ domains: [Var: IntervalSet]) -> [IntervalSet] {
        points.map { evalSet($0, domains) }
    }

    /// `evalRegion` clipped to a buffer of `shape` (not where it provably lies inside), as ranges: an upper bound
    /// of what is touched, for allocation and for placing a producer. Never too small.
    public func estimateRegionUpperBound(
        _ region: [IRRange], _ domains: [Var: IntervalSet], shape: [PrimExpr]
    ) -> [IRRange] {
        let sets = evalRegion(region, domains)
        var result: [IRRange] = []
        for i in sets.indices { result.append(clip(sets[i], extent: shape[i])) }
        return result
    }

    /// The region that is touched while variables run over their ranges where `predicate` holds: exact where
    /// `estimateRegionStrictBound` is, else the hull of the accesses. Never too small; dimensions without known ends
    /// are everything.
    public func estimateRegionUpperBound(
        _ region: [IRRange], _ domains: [(variable: Var, range: IRRange)], predicate: PrimExpr = trueExpr
    ) -> [IntervalSet] {
        if let exact = estimateRegionStrictBound(region, domains, predicate: predicate) { return exact }
        var sets: [Var: IntervalSet] = [:]
        for d in domains { sets[d.variable] = IntervalSet(d.range) }
        // Each condition that limits one variable makes its domain smaller.
        for c in conjunction([predicate]) {
            for d in domains where uses(c, [d.variable]) {
                guard let s = solve(c, for: d.variable), let old = sets[d.variable] else { continue }
                let limit = IntervalSet(s.lower, s.upper)
                if domains.contains(where: { e in
                    [s.lower, s.upper].contains { $0.map { uses($0, [e.variable]) } ?? false }
                }) {
                    continue
                }
                sets[d.variable] = intersect(old, limit)
            }
        }
        return evalRegion(region, sets)
    }

    /// The part of an interval inside `0 ..< extent`.
    public func clip(_ s: IntervalSet, extent: PrimExpr) -> IRRange {
        if s.isNothing { return IRRange(min: const(0, extent.dtype), extent: const(0, extent.dtype)) }
        let last = simplify(extent - 1)
        var lo = s.min ?? IntImm(0)
        var hi = s.max ?? last
        if s.isPoint { return IRRange(min: lo, extent: IntImm(1)) }
        if !canProveGreaterEqual(lo, 0) { lo = simplify(maximum(lo, IntImm(0))) }
        if !canProveGreaterEqual(last, hi) { hi = simplify(minimum(hi, last)) }
        return IRRange(min: lo, extent: simplify(hi - lo + 1))
    }
}
