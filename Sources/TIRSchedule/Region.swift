import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// The values `lo ... lo + width` of an index while some loops run and others stand still; `lo` is an
/// expression of the standing ones.
struct Interval {
    var lo: PrimExpr
    var width: PrimExpr
    /// Whether every value in between is taken, the moving variables being independent.
    var contiguous: Bool
    /// The moving variables that occur.
    var moving: [Var]

    var hi: PrimExpr { lo + width }
}

/// The moving loops of a region question, with the block predicates that tie several of them together.
struct Relaxation {
    var ranges: [Var: IRRange] = [:]
    /// Sums of moving variables that a predicate bounds: each counts as one variable of its own range.
    var groups: [(sum: Affine, variable: Var)] = []
    /// Whether some predicate restricts the points in a way that the groups do not express.
    var restricted = false
    let arith: ArithContext

    init(_ loops: [For], _ arith: ArithContext) {
        self.arith = arith
        for f in loops { ranges[f.loopVar] = IRRange(min: f.min, extent: f.extent) }
    }

    /// As above; the realize's predicate is taken into account. `relevant`: variables whose points matter.
    init(_ loops: [For], of realize: BlockRealize, relevant: [PrimExpr], _ arith: ArithContext) {
        self.init(loops, arith)
        for c in conjuncts(realize.predicate) where !impliedByDomain(c, realize) {
            if groupBound(c) { continue }
            // A bound of variables that the region does not use (a split reduction) leaves it alone.
            let vars = variables(c)
            if relevant.contains(where: { uses($0, vars) }) { restricted = true }
        }
    }

    /// Registers `sum < bound` of two or more moving variables; false if `c` is not of that form.
    private mutating func groupBound(_ c: PrimExpr) -> Bool {
        guard c.kind == .lt else { return false }
        let b = unsafeDowncast(c, to: BinaryExpr.self)
        guard b.a.dtype.isInteger else { return false }
        var sum = arith.affine(b.a)
        let bound = b.b
        let moves = sum.terms.allSatisfy { t in
            t.atom.kind == .variable && t.coef > 0
                && ranges[unsafeDowncast(t.atom, to: Var.self)]?.min.isZero == true
        }
        guard moves, !sum.terms.isEmpty, !touches(bound) else { return false }
        let offset = sum.constant
        sum.constant = 0
        let v = Var("group", dtype: b.a.dtype)
        let extent = arith.simplify(bound - const(offset, b.a.dtype))
        ranges[v] = IRRange(extent: extent)
        arith.bind(v, IRRange(extent: extent))
        groups.append((sum: sum, variable: v))
        return true
    }

    func touches(_ e: PrimExpr) -> Bool {
        var found = false
        postOrderVisit(e) { x in
            if x.kind == .variable, ranges[unsafeDowncast(x, to: Var.self)] != nil { found = true }
        }
        return found
    }

    /// Whether a conjunct only keeps a block's variable inside its domain.
    private func impliedByDomain(_ c: PrimExpr, _ r: BlockRealize) -> Bool {
        guard let b = c as? BinaryExpr, b.a.dtype.isInteger else { return false }
        for (value, iter) in zip(r.iterValues, r.block.iterVars) {
            if c.kind == .lt {
                let end = iter.dom.min + iter.dom.extent
                if arith.difference(b.a - b.b, value - end) == 0 { return true }
                // x // d < n  <=>  x < n * d
                if let f = arith.simplify(value) as? FloorDiv, let d = f.b.asInt, iter.dom.min.isZero,
                    arith.difference(b.a, f.a) == 0, arith.difference(b.b, end * d) == 0
                {
                    return true
                }
            }
            if c.kind == .ge, arith.difference(b.a - b.b, value - iter.dom.min) == 0 { return true }
            if c.kind == .le, arith.difference(b.b - b.a, value - iter.dom.min) == 0 { return true }
        }
        return false
    }

    // MARK: Intervals

    /// The interval of `e`, or nil where it cannot be told.
    func interval(_ e: PrimExpr) -> Interval? { interval(arith.affine(e), e) }

    private func interval(_ sum: Affine, _ e: PrimExpr) -> Interval? {
        var sum = sum
        for g in groups { replaceGroup(&sum, g.sum, g.variable) }
        let dtype = e.dtype
        var fixed = Affine(sum.constant)
        var lo: PrimExpr = const(0, dtype)
        var width: PrimExpr = const(0, dtype)
        var steps: [(coef: Int, width: PrimExpr)] = []
        var moving: [Var] = []
        var contiguous = true
        for t in sum.terms {
            if !touches(t.atom) {
                if !fixed.add(t.atom, t.coef) { return nil }
                continue
            }
            var part: Interval
            switch t.atom.kind {
            case .variable:
                let v = unsafeDowncast(t.atom, to: Var.self)
                guard let r = ranges[v], !touches(r.min), !touches(r.extent) else { return nil }
                part = Interval(lo: r.min, width: arith.simplify(r.extent - 1), contiguous: true, moving: [v])
            case .floorDiv:
                let b = unsafeDowncast(t.atom, to: BinaryExpr.self)
                guard let c = b.b.asInt, c > 0, let x = interval(b.a) else { return nil }
                let aligned = arith.simplify(floorMod(x.lo, c)).isZero
                let w = aligned ? floorDiv(x.width, c) : floorDiv(x.width + const(c - 1, dtype), c)
                part = Interval(
                    lo: floorDiv(x.lo, c), width: arith.simplify(w), contiguous: aligned && x.contiguous,
                    moving: x.moving)
            case .floorMod:
                let b = unsafeDowncast(t.atom, to: BinaryExpr.self)
                guard let c = b.b.asInt, c > 0, let x = interval(b.a) else { return nil }
                let low = arith.simplify(floorMod(x.lo, c))
                if arith.canProve((low + x.width) .< c) {
                    part = Interval(lo: low, width: x.width, contiguous: x.contiguous, moving: x.moving)
                } else {
                    let all = x.contiguous && arith.canProve(x.width .>= (c - 1))
                    part = Interval(
                        lo: const(0, dtype), width: const(c - 1, dtype), contiguous: all, moving: x.moving)
                }
            default: return nil
            }
            let k = t.coef
            guard k != .min else { return nil }
            let reach = part.width * const(abs(k), dtype)
            lo = k > 0 ? lo + part.lo * const(k, dtype) : lo - part.hi * const(-k, dtype)
            width = width + reach
            steps.append((coef: abs(k), width: part.width))
            if !part.contiguous || part.moving.contains(where: { m in moving.contains { $0 === m } }) {
                contiguous = false
            }
            for m in part.moving where !moving.contains(where: { $0 === m }) { moving.append(m) }
        }
        // Values are contiguous if each step is at most one further than what the smaller ones reach.
        steps.sort { $0.coef < $1.coef }
        var reached: PrimExpr = const(1, dtype)
        for s in steps {
            if !arith.canProve(reached .>= const(s.coef, dtype)) { contiguous = false }
            reached = reached + s.width * const(s.coef, dtype)
        }
        return Interval(
            lo: arith.simplify(lo + fixed.expr(dtype)), width: arith.simplify(width), contiguous: contiguous,
            moving: moving)
    }

    /// Puts `k * variable` for `k * sum` where all terms of it are there.
    private func replaceGroup(_ e: inout Affine, _ sum: Affine, _ variable: Var) {
        guard let first = sum.terms.first else { return }
        let c = e.coef(of: first.atom)
        guard c != 0, c % first.coef == 0 else { return }
        let k = c / first.coef
        for t in sum.terms {
            let p = t.coef.multipliedReportingOverflow(by: k)
            if p.overflow || e.coef(of: t.atom) != p.partialValue { return }
        }
        if var next = e.adding(sum, times: -k), next.add(variable, k) { e = next }
    }

    /// The box that `region` covers; nil for a dimension that cannot be told.
    func box(_ region: BufferRegion, _ map: [Var: PrimExpr]) -> [Interval?] {
        region.region.map { r in
            let extent = arith.simplify(substitute(r.extent, map))
            guard !touches(extent), var i = interval(substitute(r.min, map)) else { return nil }
            if extent.asInt != 1 {
                i.width = arith.simplify(i.width + extent - 1)
                // Further points of the same visit: still contiguous if the visits were.
            }
            return i
        }
    }

    /// Whether the points visited are all the points of the box (a bijective binding being given).
    func isExact(_ box: [Interval?]) -> Bool {
        if restricted { return false }
        var seen: [Var] = []
        var separate = true
        var points = 1
        var volume = 1
        for i in box {
            guard let i else { return false }
            if !i.contiguous { separate = false }
            if let w = i.width.asInt {
                let p = volume.multipliedReportingOverflow(by: w + 1)
                volume = p.overflow ? -1 : p.partialValue
            } else {
                volume = -1
            }
            for v in i.moving {
                if seen.contains(where: { $0 === v }) {
                    separate = false
                    continue
                }
                seen.append(v)
                if let n = ranges[v]?.extent.asInt, points >= 0 {
                    let p = points.multipliedReportingOverflow(by: n)
                    points = p.overflow ? -2 : p.partialValue
                } else {
                    points = -2
                }
            }
        }
        return separate || (points >= 0 && points == volume)
    }
}

/// The variables that occur in `e`.
func variables(_ e: PrimExpr) -> Set<Var> {
    var result: Set<Var> = []
    postOrderVisit(e) { x in
        if x.kind == .variable { result.insert(unsafeDowncast(x, to: Var.self)) }
    }
    return result
}

/// The smallest interval known to hold both; nil if their distance is not constant.
func union(_ a: Interval, _ b: Interval, _ arith: ArithContext) -> Interval? {
    guard let d = arith.difference(b.lo, a.lo), let e = arith.difference(b.hi, a.hi) else { return nil }
    let lo = d < 0 ? b.lo : a.lo
    let hi = e > 0 ? b.hi : a.hi
    return Interval(
        lo: lo, width: arith.simplify(hi - lo), contiguous: a.contiguous && b.contiguous,
        moving: a.moving + b.moving.filter { v in !a.moving.contains { $0 === v } })
}
