import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR

/// What is known of one variable `v`, all for one positive coefficient: `coef * v >= lower[i]`,
/// `coef * v == equal[i]`, `coef * v <= upper[i]`. (TVM's IntGroupBounds.)
public final class IntGroupBounds: Node, @unchecked Sendable {
    public let coef: PrimExpr
    public let lower: [PrimExpr]
    public let equal: [PrimExpr]
    public let upper: [PrimExpr]

    public init(_ coef: PrimExpr, lower: [PrimExpr], equal: [PrimExpr], upper: [PrimExpr]) {
        self.coef = coef
        self.lower = lower
        self.equal = equal
        self.upper = upper
    }

    /// The bounds that `range` is: an equality where it has one value.
    public convenience init(_ range: IRRange) {
        let one = const(1, range.min.dtype)
        if range.extent.asInt == 1 {
            self.init(one, lower: [], equal: [range.min], upper: [])
        } else {
            self.init(
                one, lower: [range.min], equal: [], upper: [Analyzer().simplify(range.min + range.extent - 1)]
            )
        }
    }

    public override class var schema: NodeSchema { groupBoundsSchema }

    /// With variables replaced.
    public func substituteVars(_ map: [Var: PrimExpr]) -> IntGroupBounds {
        IntGroupBounds(
            substitute(coef, map), lower: lower.map { substitute($0, map) },
            equal: equal.map { substitute($0, map) }, upper: upper.map { substitute($0, map) })
    }

    /// The conditions on `v` that the bounds stand for.
    public func conditions(on v: Var) -> [PrimExpr] {
        let left = coef * v
        return equal.map { left .== $0 } + lower.map { left .>= $0 } + upper.map { left .<= $0 }
    }

    /// The tightest range that a lower and an upper bound together give, or nil without such a pair.
    ///
    /// The range's minimum may speak of other variables. The extent is made independent of those in `domains` by
    /// taking its largest value, so that the range may be larger than the bounds allow: the bounds still have to be
    /// checked. An extent of 0 says that there is no value.
    public func findBestRange(
        _ domains: [Var: IRRange] = [:], _ analyzer: Analyzer = Analyzer()
    ) -> IRRange? {
        let sets = domains.mapValues { IntervalSet($0) }
        let relaxed = Set(domains.keys)
        var best: (range: IRRange, size: Int?)?
        func relax(_ e: PrimExpr) -> PrimExpr? {
            let e = analyzer.simplify(e)
            return uses(e, relaxed) ? analyzer.evalSet(e, sets).max.map { analyzer.simplify($0) } : e
        }
        func consider(_ low: PrimExpr, _ high: PrimExpr) {
            let lo = analyzer.simplify(ceilDiv(low, coef))
            let hi = analyzer.simplify(floorDiv(high, coef))
            // As many as from end to end, and no more than fit in the distance; where one cancels to a constant the
            // other need not.
            guard var extent = relax(hi - lo + 1) ?? relax(floorDiv(high - low, coef) + 1) else { return }
            if extent.asInt == nil, let other = relax(floorDiv(high - low, coef) + 1), other.asInt != nil {
                extent = other
            }
            if let n = extent.asInt, n < 0 { extent = const(0, extent.dtype) }
            if let old = best {
                if let n = extent.asInt {
                    if let m = old.size, m <= n { return }
                } else if old.size != nil || !analyzer.canProveLess(extent, old.range.extent) {
                    return
                }
            }
            best = (range: IRRange(min: lo, extent: extent), size: extent.asInt)
        }
        for l in equal + lower {
            for u in equal + upper { consider(l, u) }
        }
        return best?.range
    }

    public override var description: String {
        "IntGroupBounds(coef: \(coef), lower: \(lower), equal: \(equal), upper: \(upper))"
    }
}

private let groupBoundsSchema = NodeSchema(
    "arith.IntGroupBounds", IntGroupBounds.self,
    [.field("coef", \.coef), .field("lower", \.lower), .field("equal", \.equal), .field("upper", \.upper)],
    make: {
        let coef: PrimExpr = try $0.next()
        let lower: [PrimExpr] = try $0.next()
        let equal: [PrimExpr] = try $0.next()
        return IntGroupBounds(coef, lower: lower, equal: equal, upper: try $0.next())
    })
