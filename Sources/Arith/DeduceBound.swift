import ApusIR
import ApusRuntime
import ApusTIR

// What a variable must be for a condition to hold for certain. (TVM's deduce_bound.)
extension Analyzer {
    /// An interval of values of `v` for all of which `condition` holds, whatever values in `relax` the variables of
    /// `relax` have; other variables stay symbolic. `hints` tell what may be assumed of variables, such as the sign of
    /// a coefficient.
    ///
    /// The interval is exact (the condition holds nowhere else) for a comparison linear in `v` with nothing relaxed.
    /// `.nothing` where no such interval is found: the condition is no comparison, or not monotone in `v`.
    ///
    ///     deduceBound(a, a * 4 + b .< c)                      // [-inf, (c - b - 1) // 4]
    public func deduceBound(
        _ v: Var, _ condition: PrimExpr, hints: [Var: IntervalSet] = [:], relax: [Var: IntervalSet] = [:]
    ) -> IntervalSet {
        var known: PrimExpr = trueExpr
        // In the order of names and then of occurrence, so that results do not depend on the dictionary.
        for u in undefinedVariables(of: condition) where u !== v && u.dtype == .index {
            for s in [hints[u], relax[u]].compactMap({ $0 }) {
                if let lo = s.min { known = and(known, u .>= lo) }
                if let hi = s.max { known = and(known, u .<= hi) }
            }
        }
        if known.isTrue { return deduce(v, condition, relax) }
        return withConstraint(known) { deduce(v, condition, relax) }
    }

    private func deduce(_ v: Var, _ condition: PrimExpr, _ relax: [Var: IntervalSet]) -> IntervalSet {
        switch condition.kind {
        case .intImm: return condition.isTrue ? .everything : .nothing
        case .and:
            let c = unsafeDowncast(condition, to: BinaryExpr.self)
            return intersect(deduce(v, c.a, relax), deduce(v, c.b, relax))
        case .or:
            // Each side alone suffices; the union need not be an interval.
            let c = unsafeDowncast(condition, to: BinaryExpr.self)
            let a = deduce(v, c.a, relax)
            let b = deduce(v, c.b, relax)
            return either(a, b)
        case .call:
            let c = unsafeDowncast(condition, to: Call.self)
            return c.name == "tir.likely" ? deduce(v, c.args[0], relax) : .nothing
        default: break
        }
        guard v.dtype == .index, let c = condition as? BinaryExpr, c.a.dtype == .index else {
            return .nothing
        }
        if !uses(condition, [v]) {
            // It speaks of others: true for certain, or no help.
            return canProve(condition) ? .everything : .nothing
        }
        let d = simplify(c.a - c.b)
        var exact: IntervalSet
        switch condition.kind {
        case .lt: exact = atMost(v, d, const(-1), 0)
        case .le: exact = atMost(v, d, const(0), 0)
        case .gt: exact = atLeast(v, d, const(1), 0)
        case .ge: exact = atLeast(v, d, const(0), 0)
        case .eq: exact = intersect(atMost(v, d, const(0), 0), atLeast(v, d, const(0), 0))
        default: return .nothing
        }
        if exact.isNothing || relax.isEmpty { return exact }
        // For all values of the relaxed variables: the largest lower end, the smallest upper end.
        if let lo = exact.min, uses(lo, Set(relax.keys)) {
            guard let most = evalSet(lo, relax).max else { return .nothing }
            exact = IntervalSet(most, exact.max)
        }
        if let hi = exact.max, uses(hi, Set(relax.keys)) {
            guard let least = evalSet(hi, relax).min else { return .nothing }
            exact = IntervalSet(exact.min, least)
        }
        return exact.isEmpty(self) ? .nothing : exact
    }

    /// `v` where `e >= r`.
    private func atLeast(_ v: Var, _ e: PrimExpr, _ r: PrimExpr, _ depth: Int) -> IntervalSet {
        if depth > 32 { return .nothing }
        if let (k, base) = detectLinearEquation(e, [v]), let k = k.first {
            // k * v >= r - base
            let right = r - base
            if canProveGreaterEqual(k, 1) {
                if k.asInt != nil { return IntervalSet(simplify(ceilDiv(right, k)), nil) }
                // Rounded up as -floor(-x / k), where k occurs once: it may be relaxed later.
                return IntervalSet(simplify(const(0) - ApusTIR.floorDiv(const(0) - right, k)), nil)
            }
            if canProveLess(k, 0) {
                return IntervalSet(nil, simplify(ApusTIR.floorDiv(-right, const(0) - k)))
            }
            return .nothing
        }
        guard let (x, rest, sign) = onlyTerm(v, e) else { return .nothing }
        // sign * x >= r - rest
        let right = simplify(r - rest)
        return sign > 0
            ? unwrap(v, x, least: right, depth) : unwrap(v, x, most: simplify(const(0) - right), depth)
    }

    /// `v` where `e <= r`.
    private func atMost(_ v: Var, _ e: PrimExpr, _ r: PrimExpr, _ depth: Int) -> IntervalSet {
        atLeast(v, simplify(const(0) - e), simplify(const(0) - r), depth)
    }

    /// `e = sign * x + rest` where only `x`, which is no sum, speaks of `v`.
    private func onlyTerm(_ v: Var, _ e: PrimExpr) -> (x: PrimExpr, rest: PrimExpr, sign: Int)? {
        let f = form(e)
        let n = variableAtom(v)
        var found: LinearForm.Term?
        for t in f.terms where mentions(LinearForm(atom: t.atom), n) {
            if found != nil { return nil }
            found = t
        }
        guard let t = found, t.coef != .min else { return nil }
        let x = build(LinearForm(atom: t.atom))
        let k = abs(t.coef)
        return (x: k == 1 ? x : Mul(x, IntImm(k)), rest: build(f.removing(t.atom)), sign: t.coef > 0 ? 1 : -1)
    }

    /// `v` where `x >= r`.
    private func unwrap(_ v: Var, _ x: PrimExpr, least r: PrimExpr, _ depth: Int) -> IntervalSet {
        guard let op = x as? BinaryExpr else { return .nothing }
        switch x.kind {
        case .mul:
            guard let k = op.b.asInt, k > 0 else { return .nothing }
            return unwrap(v, op.a, least: simplify(ceilDiv(r, IntImm(k))), depth + 1)
        case .floorDiv:
            // floor(a / c) >= r  iff  a >= r * c
            guard !uses(op.b, [v]), canProveGreaterEqual(op.b, 1) else { return .nothing }
            return atLeast(v, op.a, simplify(r * op.b), depth + 1)
        case .min: return intersect(side(v, op.a, least: r, depth), side(v, op.b, least: r, depth))
        case .max: return either(side(v, op.a, least: r, depth), side(v, op.b, least: r, depth))
        default: return .nothing
        }
    }

    /// `v` where `x <= r`.
    private func unwrap(_ v: Var, _ x: PrimExpr, most r: PrimExpr, _ depth: Int) -> IntervalSet {
        guard let op = x as? BinaryExpr else { return .nothing }
        switch x.kind {
        case .mul:
            guard let k = op.b.asInt, k > 0 else { return .nothing }
            return unwrap(v, op.a, most: simplify(ApusTIR.floorDiv(r, k)), depth + 1)
        case .floorDiv:
            // floor(a / c) <= r  iff  a <= r * c + c - 1
            guard !uses(op.b, [v]), canProveGreaterEqual(op.b, 1) else { return .nothing }
            return atMost(v, op.a, simplify(r * op.b + op.b - 1), depth + 1)
        case .max: return intersect(side(v, op.a, most: r, depth), side(v, op.b, most: r, depth))
        case .min: return either(side(v, op.a, most: r, depth), side(v, op.b, most: r, depth))
        default: return .nothing
        }
    }

    private func side(_ v: Var, _ e: PrimExpr, least r: PrimExpr, _ depth: Int) -> IntervalSet {
        if !uses(e, [v]) { return canProveGreaterEqual(e, r) ? .everything : .nothing }
        return atLeast(v, e, r, depth + 1)
    }
    private func side(_ v: Var, _ e: PrimExpr, most r: PrimExpr, _ depth: Int) -> IntervalSet {
        if !uses(e, [v]) { return canProveGreaterEqual(r, e) ? .everything : .nothing }
        return atMost(v, e, r, depth + 1)
    }
    /// One of the two is enough.
    private func either(_ a: IntervalSet, _ b: IntervalSet) -> IntervalSet {
        if a.isNothing || b.isEverything { return b }
        return a
    }
}

/// As `Analyzer.deduceBound`, knowing nothing else.
public func deduceBound(
    _ v: Var, _ condition: PrimExpr, hints: [Var: IntervalSet] = [:], relax: [Var: IntervalSet] = [:]
) -> IntervalSet {
    Analyzer().deduceBound(v, condition, hints: hints, relax: relax)
}
