import ApusIR
import ApusRuntime
import ApusTIR

// Proofs of `form >= 0`: constant bounds first; then known constraints, symbolic ranges of variables and the two
// sides of minima and maxima, to a small depth.
extension Analyzer {
    func proveNonNegative(_ f: LinearForm) -> Bool {
        var budget = 64
        return prove(f, depth: 5, &budget)
    }

    private func prove(_ f: LinearForm, depth: Int, _ budget: inout Int) -> Bool {
        let b = bound(f)
        if b.min >= 0 { return true }
        if b.max < 0 || depth == 0 || budget <= 0 { return false }
        budget -= 1
        // The innermost conditions are the likeliest to matter.
        for c in localConstraints.suffix(48).reversed() + globalConstraints.suffix(48) {
            for t in c.terms {
                let k = f.coefficient(of: t.atom)
                guard k != 0, k != .min, k % t.coef == 0, k / t.coef > 0 else { continue }
                if let g = f.adding(c, times: -(k / t.coef)), prove(g, depth: depth - 1, &budget) {
                    return true
                }
            }
        }
        // The latest bound variable depends on earlier ones: eliminate it first.
        for t in f.terms.reversed() {
            if let g = eliminate(t, from: f), prove(g, depth: depth - 1, &budget) { return true }
        }
        for t in f.terms {
            switch atoms[t.atom].kind {
            case .min(let x, let y), .max(let x, let y):
                var isMin = false
                if case .min = atoms[t.atom].kind { isMin = true }
                let rest = f.removing(t.atom)
                guard let fx = rest.adding(x, times: t.coef), let fy = rest.adding(y, times: t.coef) else {
                    continue
                }
                // k * min(x, y) with k > 0 is either: both must do. With k < 0 it is at least each: one suffices.
                if isMin == (t.coef > 0) {
                    return prove(fx, depth: depth - 1, &budget) && prove(fy, depth: depth - 1, &budget)
                }
                if prove(fx, depth: depth - 1, &budget) || prove(fy, depth: depth - 1, &budget) {
                    return true
                }
            default: break
            }
        }
        return false
    }

    /// A form not greater than `f` without the term `t`'s variable, if its range is symbolic, or with a quotient or
    /// remainder replaced by its bound.
    private func eliminate(_ t: LinearForm.Term, from f: LinearForm) -> LinearForm? {
        switch atoms[t.atom].kind {
        case .variable: return eliminateVariable(t.atom, from: f)
        case .product(let list):
            for n in list.reversed() where symbolicRange[n] != nil {
                if let g = eliminateVariable(n, from: f) { return g }
            }
            return nil
        case .floorDiv(let x, let d):
            // c*(x // c) lies in x-c+1 ... x
            guard let c = d.asConstant, c > 0, t.coef % c == 0, isTame(x) else { return nil }
            let k = t.coef / c
            let low = k > 0 ? x.adding(LinearForm(1 - c)) : x
            return low.flatMap { f.removing(t.atom).adding($0, times: k) }
        case .floorMod(let x, let d):
            guard d.asConstant == nil, bound(d).min > 0 else { return nil }
            if t.coef > 0 { return f.removing(t.atom) }
            _ = x
            return d.adding(LinearForm(-1)).flatMap { f.removing(t.atom).adding($0, times: t.coef) }
        default: return nil
        }
    }

    /// `f = a*v + b` at the end of v's symbolic range where it is least.
    private func eliminateVariable(_ v: Int, from f: LinearForm) -> LinearForm? {
        guard let range = symbolicRange[v] else { return nil }
        var a = LinearForm(0)
        var rest = LinearForm(f.constant)
        for t in f.terms {
            var list = factors(t.atom)
            guard let i = list.firstIndex(of: v) else {
                rest.terms.append(t)
                continue
            }
            list.remove(at: i)
            if list.contains(v) { return nil }
            let part = list.isEmpty ? LinearForm(1) : LinearForm(atom: productAtom(list))
            guard let next = a.adding(part, times: t.coef) else { return nil }
            a = next
        }
        if mentions(rest, v) || mentions(a, v) { return nil }
        let sign = bound(a)
        let end: LinearForm
        if sign.min >= 0 { end = range.min } else if sign.max <= 0 { end = range.max } else { return nil }
        return product(a, end).flatMap { rest.adding($0) }.map(recombined)
    }

    // MARK: Comparisons

    /// A comparison of two forms, decided or in its simplest shape.
    func compare(_ kind: PrimExprKind, _ a: LinearForm, _ b: LinearForm) -> PrimExpr {
        func truth(_ v: Bool) -> PrimExpr { v ? trueExpr : falseExpr }
        func raw() -> PrimExpr { binary(kind, build(a), build(b)) }
        // Sums of what may wrap are not ordered by their difference.
        guard a == b || (isTame(a) && isTame(b)), let d = a.adding(b, times: -1).map(recombined),
            let n = d.scaled(by: -1)
        else { return raw() }
        switch kind {
        case .lt: return n.adding(LinearForm(-1)).map { nonNegative($0) } ?? raw()
        case .le: return nonNegative(n)
        case .gt: return d.adding(LinearForm(-1)).map { nonNegative($0) } ?? raw()
        case .ge: return nonNegative(d)
        case .eq, .ne:
            let equal = kind == .eq
            if let c = d.asConstant { return truth((c == 0) == equal) }
            let range = bound(d)
            if !range.contains(0) { return truth(!equal) }
            let m = modular(d)
            if m.coeff > 1 && m.base != 0 { return truth(!equal) }
            if let less = n.adding(LinearForm(-1)), proveNonNegative(less) { return truth(!equal) }
            if let more = d.adding(LinearForm(-1)), proveNonNegative(more) { return truth(!equal) }
            if proveNonNegative(d) && proveNonNegative(n) { return truth(equal) }
            let g = gcd(d.coefficientGCD, d.constant)
            let s = g > 1 ? d.dividedExactly(by: g) : d
            return sides(equal ? .eq : .ne, s)
        default: return raw()
        }
    }

    /// `f >= 0`
    private func nonNegative(_ f: LinearForm) -> PrimExpr {
        if let c = f.asConstant { return c >= 0 ? trueExpr : falseExpr }
        if proveNonNegative(f) { return trueExpr }
        if let n = f.scaled(by: -1), let opposite = n.adding(LinearForm(-1)), proveNonNegative(opposite) {
            return falseExpr
        }
        // f = g*s + r, r small: f >= 0  iff  s >= ceil(-r / g), the same for all r.
        let magnitudes = Set(f.terms.map { abs($0.coef == .min ? 1 : $0.coef) }).sorted(by: >)
        for g in magnitudes where g > 1 {
            var head: [LinearForm.Term] = []
            var tail: [LinearForm.Term] = []
            for t in f.terms {
                if t.coef % g == 0 {
                    head.append(LinearForm.Term(atom: t.atom, coef: t.coef / g))
                } else {
                    tail.append(t)
                }
            }
            let r = bound(LinearForm(constant: f.constant, terms: tail))
            guard r.isFinite, r.min > .min + g, r.max < .max - g, let lo = floorDivide(r.min, g),
                let hi = floorDivide(r.max, g), lo == hi
            else { continue }
            // g*s + r >= 0 iff s + floor(r / g) >= 0
            return nonNegativeSides(LinearForm(constant: lo, terms: head))
        }
        return nonNegativeSides(f)
    }

    private func nonNegativeSides(_ f: LinearForm) -> PrimExpr {
        // constant + positive - negative >= 0, written negative <= positive + constant.
        let positive = f.terms.filter { $0.coef > 0 }
        let negative = f.terms.filter { $0.coef < 0 && $0.coef != .min }
        if positive.count + negative.count != f.terms.count { return GE(build(f), IntImm(0)) }
        let left = build(
            LinearForm(constant: 0, terms: negative.map { .init(atom: $0.atom, coef: -$0.coef) }))
        let c = f.constant
        if positive.isEmpty { return c == .max ? LE(left, IntImm(c)) : LT(left, IntImm(c + 1)) }
        let right = build(LinearForm(constant: 0, terms: positive))
        if negative.isEmpty { return c == .min ? GE(build(f), IntImm(0)) : GE(right, IntImm(-c)) }
        if c == -1 { return LT(left, right) }
        if c == 0 { return LE(left, right) }
        if c > 0 && c < .max { return LT(left, Add(right, IntImm(c + 1))) }
        return LE(left, build(LinearForm(constant: c, terms: positive)))
    }

    private func sides(_ kind: PrimExprKind, _ f: LinearForm) -> PrimExpr {
        let positive = f.terms.filter { $0.coef > 0 }
        let negative = f.terms.filter { $0.coef < 0 && $0.coef != .min }
        if positive.count + negative.count != f.terms.count || f.constant == .min {
            return BinaryExpr.raw(kind, build(f), IntImm(0))
        }
        let flipped = LinearForm(constant: 0, terms: negative.map { .init(atom: $0.atom, coef: -$0.coef) })
        if positive.isEmpty { return BinaryExpr.raw(kind, build(flipped), IntImm(f.constant)) }
        if f.constant <= 0 {
            var right = flipped
            right.constant = -f.constant
            return BinaryExpr.raw(kind, build(LinearForm(constant: 0, terms: positive)), build(right))
        }
        let left = LinearForm(constant: f.constant, terms: positive)
        if negative.isEmpty {
            return BinaryExpr.raw(kind, build(LinearForm(constant: 0, terms: positive)), IntImm(-f.constant))
        }
        return BinaryExpr.raw(kind, build(left), build(flipped))
    }
}
