import ApusIR
import ApusRuntime
import ApusTIR

/// The integers `min ... max`, ends included and symbolic; nil = no end known.
public struct IntervalSet: Sendable, CustomStringConvertible {
    public let min: PrimExpr?
    public let max: PrimExpr?

    public static let everything = IntervalSet(nil, nil)

    public init(_ min: PrimExpr?, _ max: PrimExpr?) {
        self.min = min
        self.max = max
    }
    /// One value.
    public init(point e: PrimExpr) { self.init(e, e) }
    /// The integers of a range.
    public init(_ range: IRRange) { self.init(range.min, range.min + range.extent - 1) }

    public var isEverything: Bool { min == nil && max == nil }
    public var isPoint: Bool { min != nil && min === max }
    public var description: String {
        "[\(min.map { "\($0)" } ?? "-inf"), \(max.map { "\($0)" } ?? "inf")]"
    }
}

private struct FormInterval {
    var lo: LinearForm?
    var hi: LinearForm?
    static let everything = FormInterval(lo: nil, hi: nil)
}

extension Analyzer {
    /// The values that index expression `e` takes while each variable of `domains` runs over its set; other
    /// variables stay symbolic. Never too small; may be too large where variables occur more than once.
    public func evalSet(_ e: PrimExpr, _ domains: [Var: IntervalSet]) -> IntervalSet {
        guard e.dtype == .index else { return .everything }
        let whole = form(e)
        var map: [Int: FormInterval] = [:]
        // Atoms must be numbered in an order that does not depend on the dictionary's: only variables that have a
        // number already, lowest first; ends may bring in more.
        while true {
            var next: (number: Int, set: IntervalSet)?
            for (v, s) in domains {
                guard let n = atomNumber[.variable(ObjectIdentifier(v))], map[n] == nil else { continue }
                if next.map({ n < $0.number }) ?? true { next = (number: n, set: s) }
            }
            guard let (n, s) = next else { break }
            map[n] = .everything
            map[n] = FormInterval(lo: s.min.map { form($0) }, hi: s.max.map { form($0) })
        }
        var r = interval(whole, map)
        // Ends of domains may name other relaxed variables (triangular loops).
        for _ in 0..<8 {
            let loMore = r.lo.map { f in map.keys.contains { mentions(f, $0) } } ?? false
            let hiMore = r.hi.map { f in map.keys.contains { mentions(f, $0) } } ?? false
            if !loMore && !hiMore { break }
            if loMore, let f = r.lo { r.lo = interval(f, map).lo }
            if hiMore, let f = r.hi { r.hi = interval(f, map).hi }
        }
        func settled(_ f: LinearForm?) -> PrimExpr? {
            guard let f, !map.keys.contains(where: { mentions(f, $0) }) else { return nil }
            return build(f)
        }
        let lo = settled(r.lo)
        let hi = settled(r.hi)
        if let a = r.lo, let b = r.hi, a == b { return IntervalSet(lo, lo) }
        return IntervalSet(lo, hi)
    }

    /// The smallest interval that holds both.
    public func union(_ a: IntervalSet, _ b: IntervalSet) -> IntervalSet {
        func end(_ kind: PrimExprKind, _ x: PrimExpr?, _ y: PrimExpr?) -> PrimExpr? {
            guard let x, let y else { return nil }
            return build(extremum(kind, form(x), form(y)))
        }
        return IntervalSet(end(.min, a.min, b.min), end(.max, a.max, b.max))
    }

    public func intersect(_ a: IntervalSet, _ b: IntervalSet) -> IntervalSet {
        func end(_ kind: PrimExprKind, _ x: PrimExpr?, _ y: PrimExpr?) -> PrimExpr? {
            guard let x else { return y }
            guard let y else { return x }
            return build(extremum(kind, form(x), form(y)))
        }
        return IntervalSet(end(.max, a.min, b.min), end(.min, a.max, b.max))
    }

    /// The interval of an expression with free variables at their bound ranges: constants where known.
    public func intSet(_ e: PrimExpr) -> IntervalSet {
        let b = constIntBound(e)
        return IntervalSet(
            b.min == ConstIntBound.negInf ? nil : IntImm(b.min),
            b.max == ConstIntBound.posInf ? nil : IntImm(b.max))
    }

    /// The interval as a range; nil where an end is missing.
    public func range(_ s: IntervalSet) -> IRRange? {
        guard let lo = s.min, let hi = s.max else { return nil }
        if s.isPoint { return IRRange(min: lo, extent: IntImm(1)) }
        return IRRange(min: lo, extent: simplify(hi - lo + 1))
    }

    /// What a region covers, dimension by dimension, while the variables of `domains` run (an upper bound).
    public func evalRegion(_ region: [IRRange], _ domains: [Var: IntervalSet]) -> [IntervalSet] {
        region.map { r in
            if r.extent.asInt == 1 { return evalSet(r.min, domains) }
            let lo = evalSet(r.min, domains)
            let hi = evalSet(r.min + r.extent - 1, domains)
            return IntervalSet(lo.min, hi.max)
        }
    }

    /// `evalRegion` clipped to a buffer of `shape` (not where it provably lies inside), as ranges: an upper bound
    /// of what is touched, for allocation and for placing a producer.
    public func estimateRegionUpperBound(
        _ region: [IRRange], _ domains: [Var: IntervalSet], shape: [PrimExpr]
    ) -> [IRRange] {
        let sets = evalRegion(region, domains)
        var result: [IRRange] = []
        for i in sets.indices { result.append(clip(sets[i], extent: shape[i])) }
        return result
    }

    /// The part of an interval inside `0 ..< extent`.
    public func clip(_ s: IntervalSet, extent: PrimExpr) -> IRRange {
        let last = simplify(extent - 1)
        var lo = s.min ?? IntImm(0)
        var hi = s.max ?? last
        if s.isPoint { return IRRange(min: lo, extent: IntImm(1)) }
        if !canProveGreaterEqual(lo, 0) { lo = simplify(maximum(lo, IntImm(0))) }
        if !canProveGreaterEqual(last, hi) { hi = simplify(minimum(hi, last)) }
        return IRRange(min: lo, extent: simplify(hi - lo + 1))
    }

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

    private func interval(_ f: LinearForm, _ map: [Int: FormInterval]) -> FormInterval {
        var result = FormInterval(lo: LinearForm(f.constant), hi: LinearForm(f.constant))
        var fixed = LinearForm(0)
        for t in f.terms {
            let n = t.atom
            if !map.keys.contains(where: { mentions(LinearForm(atom: n), $0) }) {
                fixed.terms.append(t)
                continue
            }
            let a = atomInterval(n, map)
            let low = t.coef > 0 ? a.lo : a.hi
            let high = t.coef > 0 ? a.hi : a.lo
            result.lo = result.lo.flatMap { x in low.flatMap { x.adding($0, times: t.coef) } }
            result.hi = result.hi.flatMap { x in high.flatMap { x.adding($0, times: t.coef) } }
        }
        result.lo = result.lo.flatMap { $0.adding(fixed) }.map(recombined)
        result.hi = result.hi.flatMap { $0.adding(fixed) }.map(recombined)
        return result
    }

    private func atomInterval(_ n: Int, _ map: [Int: FormInterval]) -> FormInterval {
        func fallback() -> FormInterval {
            let b = atomBound(n)
            return FormInterval(
                lo: b.min == ConstIntBound.negInf ? nil : LinearForm(b.min),
                hi: b.max == ConstIntBound.posInf ? nil : LinearForm(b.max))
        }
        if let known = map[n] { return known }
        switch atoms[n].kind {
        case .variable: return FormInterval(lo: LinearForm(atom: n), hi: LinearForm(atom: n))
        case .floorDiv(let x, let d):
            if map.keys.contains(where: { mentions(d, $0) }) || bound(d).min <= 0 { return fallback() }
            let i = interval(x, map)
            return FormInterval(lo: i.lo.flatMap { floorDiv($0, d) }, hi: i.hi.flatMap { floorDiv($0, d) })
        case .floorMod(let x, let d):
            if map.keys.contains(where: { mentions(d, $0) }) || bound(d).min <= 0 { return fallback() }
            let i = interval(x, map)
            if let lo = i.lo, let hi = i.hi, let a = floorDiv(lo, d), a == floorDiv(hi, d) {
                return FormInterval(lo: floorMod(lo, d), hi: floorMod(hi, d))
            }
            return FormInterval(lo: LinearForm(0), hi: d.adding(LinearForm(-1)))
        case .min(let x, let y), .max(let x, let y):
            var kind = PrimExprKind.max
            if case .min = atoms[n].kind { kind = .min }
            let a = interval(x, map)
            let b = interval(y, map)
            func end(_ p: LinearForm?, _ q: LinearForm?, unboundedWins: Bool) -> LinearForm? {
                guard let p else { return unboundedWins ? nil : q }
                guard let q else { return unboundedWins ? nil : p }
                return extremum(kind, p, q)
            }
            return FormInterval(
                lo: end(a.lo, b.lo, unboundedWins: kind == .min),
                hi: end(a.hi, b.hi, unboundedWins: kind == .max))
        case .product(let list):
            // One relaxed factor times fixed ones of known sign.
            let relaxed = list.filter { f in map.keys.contains { mentions(LinearForm(atom: f), $0) } }
            guard relaxed.count == 1, let v = relaxed.first else { return fallback() }
            var rest = list
            if let i = rest.firstIndex(of: v) { rest.remove(at: i) }
            let k = LinearForm(atom: productAtom(rest))
            let sign = bound(k)
            let a = atomInterval(v, map)
            if sign.min >= 0 {
                return FormInterval(lo: a.lo.flatMap { product($0, k) }, hi: a.hi.flatMap { product($0, k) })
            }
            if sign.max <= 0 {
                return FormInterval(lo: a.hi.flatMap { product($0, k) }, hi: a.lo.flatMap { product($0, k) })
            }
            return fallback()
        case .opaque:
            if let s = atoms[n].expr as? Select {
                let a = interval(form(s.trueValue), map)
                let b = interval(form(s.falseValue), map)
                return FormInterval(
                    lo: a.lo.flatMap { x in b.lo.map { extremum(.min, x, $0) } },
                    hi: a.hi.flatMap { x in b.hi.map { extremum(.max, x, $0) } })
            }
            return fallback()
        }
    }
}
