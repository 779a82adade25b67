import ApusIR
import ApusRuntime
import ApusTIR

extension Analyzer {
    /// The exact region touched by quasi-affine `region` while variables run over constant or symbolic ranges, or
    /// nil where it has holes or dimensions depend on each other: what may be called covered by a producer.
    public func estimateRegionLowerBound(
        _ region: [IRRange], _ domains: [(variable: Var, range: IRRange)], predicate: PrimExpr = trueExpr
    ) -> [IntervalSet]? {
        let relaxed = Set(domains.map(\.variable))
        guard
            let maps = detectIterMap(
                region.map(\.min), inputs: domains, predicate: predicate, requireBijective: false,
                freeVariables: true)
        else { return nil }
        var result: [IntervalSet] = []
        for (r, m) in zip(region, maps) {
            if uses(r.extent, relaxed) { return nil }
            guard let extent = denseExtent(m, gap: r.extent) else { return nil }
            result.append(IntervalSet(simplify(m.base), simplify(m.base + extent + r.extent - 2)))
        }
        return result
    }

    /// How many consecutive starting points a sum takes, allowing steps of up to `gap`; nil if it leaves holes.
    private func denseExtent(_ m: IterSum, gap: PrimExpr) -> PrimExpr? {
        var covered = gap
        var reach: PrimExpr = IntImm(1)
        for s in m.splits.sorted(by: { abs($0.scale) < abs($1.scale) }) {
            guard s.scale > 0, canProveGreaterEqual(covered, IntImm(s.scale)) else { return nil }
            let more = (s.extent - 1) * s.scale
            covered = simplify(covered + more)
            reach = simplify(reach + more)
        }
        return reach
    }

    /// A lower and an upper end as tight as known: both ends exact where `estimateRegionLowerBound` succeeds.
    public func estimateRegionStrictBound(
        _ region: [IRRange], _ domains: [(variable: Var, range: IRRange)], predicate: PrimExpr = trueExpr
    ) -> [IntervalSet]? {
        estimateRegionLowerBound(region, domains, predicate: predicate)
    }
}
