import ApusIR
import ApusRuntime
import ApusTIR

// Floor division and modulo of sums. With c > 0 and F = c*Q + R:  F // c = Q + R // c  and  F mod c = R mod c.
// R is then shrunk: by a common divisor of its terms and c, and by a small part T that never crosses a multiple.
extension Analyzer {
    /// `c * quotient + rest == f`, no coefficient of `rest` a multiple of `c`, its constant in 0..<c. Coefficients
    /// that are not multiples stay whole: (12*i + j) // 8 remains recognisable as a split of one fused iteration.
    private func divideTerms(_ f: LinearForm, _ c: Int) -> (quotient: LinearForm, rest: LinearForm) {
        let whole = f.terms.count { $0.coef % c == 0 }
        let k = floorDivide(f.constant, c) ?? 0
        let left = floorModulo(f.constant, c) ?? 0
        if whole == 0 { return (LinearForm(k), LinearForm(constant: left, terms: f.terms)) }
        var q: [LinearForm.Term] = []
        q.reserveCapacity(whole)
        var r: [LinearForm.Term] = []
        r.reserveCapacity(f.terms.count - whole)
        for t in f.terms {
            if t.coef % c == 0 {
                q.append(LinearForm.Term(atom: t.atom, coef: t.coef / c))
            } else {
                r.append(t)
            }
        }
        return (LinearForm(constant: k, terms: q), LinearForm(constant: left, terms: r))
    }

    /// The k with `k*c <= f < (k+1)*c` always, if there is one.
    private func period(of f: LinearForm, _ c: Int) -> Int? {
        let b = bound(f)
        guard b.isFinite, let lo = floorDivide(b.min, c), lo == floorDivide(b.max, c) else { return nil }
        return lo
    }

    /// `r = g*(head) + tail` with `g > 1` dividing `c` and `k*g <= tail < (k+1)*g`; head includes the constant's
    /// multiple of g.
    private func smallTail(_ r: LinearForm, _ c: Int) -> (g: Int, head: LinearForm, tail: LinearForm, k: Int)?
    {
        guard r.terms.count > 1 else { return nil }
        let sorted = r.terms.sorted { x, y in
            let gx = gcd(x.coef, c)
            let gy = gcd(y.coef, c)
            return gx != gy ? gx > gy : x.atom < y.atom
        }
        var g = c
        for i in 0..<(sorted.count - 1) {
            g = gcd(g, sorted[i].coef)
            if g == 1 { return nil }
            let rest = sorted[(i + 1)...].sorted { $0.atom < $1.atom }
            let tail = LinearForm(constant: floorModulo(r.constant, g) ?? 0, terms: rest)
            if let k = period(of: tail, g) {
                let first = sorted[...i].sorted { $0.atom < $1.atom }
                let head = LinearForm(constant: r.constant - tail.constant, terms: first).dividedExactly(
                    by: g)
                return (g: g, head: head, tail: tail, k: k)
            }
        }
        return nil
    }

    /// `floor(a / d)`; nil on overflow or division by zero.
    func floorDiv(_ a: LinearForm, _ d: LinearForm) -> LinearForm? {
        if let c = d.asConstant {
            if c == 0 || c == .min { return nil }
            if let v = a.asConstant { return ApusTIR.floorDivide(v, c).map { LinearForm($0) } }
            if c == 1 { return a }
            // The opposite of data may be itself: of the least number.
            guard isTame(a) else { return divAtom(a, d) }
            if c < 0 { return a.scaled(by: -1).flatMap { floorDiv($0, LinearForm(-c)) } }
            return divideConstant(a, c)
        }
        if let v = a.asConstant, v == 0 { return a }
        guard isTame(a), isTame(d), let (q, r) = divideSymbolic(a, d) else { return divAtom(a, d) }
        if r.asConstant == 0 || insidePeriod(r, d) { return q }
        return divAtom(a, d)
    }

    private func divideConstant(_ a: LinearForm, _ c: Int) -> LinearForm? {
        let (q, r0) = divideTerms(a, c)
        if let k = period(of: r0, c) { return q.adding(LinearForm(k)) }
        let g = gcd(r0.coefficientGCD, c)
        var r = r0
        var c = c
        if g > 1 {
            r = LinearForm(constant: r0.constant - (floorModulo(r0.constant, g) ?? 0), terms: r0.terms)
                .dividedExactly(by: g)
            c /= g
            guard let rest = divideConstant(r, c) else { return nil }
            return q.adding(rest).map(recombined)
        }
        if let s = smallTail(r, c) {
            guard let head = s.head.adding(LinearForm(s.k)), let rest = floorDiv(head, LinearForm(c / s.g))
            else {
                return nil
            }
            return q.adding(rest).map(recombined)
        }
        if r.terms.count == 1 && r.terms[0].coef == 1 {
            switch atoms[r.terms[0].atom].kind {
            case .floorDiv(let x, let d):
                // (x // c1 + k) // c = (x + k*c1) // (c1*c)
                if let c1 = d.asConstant, c1 > 0 {
                    let cc = c1.multipliedReportingOverflow(by: c)
                    let kc = r.constant.multipliedReportingOverflow(by: c1)
                    if !cc.overflow, !kc.overflow, let y = x.adding(LinearForm(kc.partialValue)),
                        let rest = divideConstant(y, cc.partialValue)
                    {
                        return q.adding(rest).map(recombined)
                    }
                }
            case .floorMod(let x, let d):
                // (x mod m) // c = (x // c) mod (m / c) where c divides m
                if r.constant == 0, let m = d.asConstant, m > 0, m % c == 0, isTame(x),
                    let y = divideConstant(x, c), let rest = floorMod(y, LinearForm(m / c))
                {
                    return q.adding(rest).map(recombined)
                }
            default: break
            }
        }
        return q.adding(divAtom(r, LinearForm(c))).map(recombined)
    }

    /// `a - d * floor(a / d)`; nil on overflow or division by zero.
    func floorMod(_ a: LinearForm, _ d: LinearForm) -> LinearForm? {
        if let c = d.asConstant {
            if c == 0 || c == .min { return nil }
            if let v = a.asConstant { return ApusTIR.floorModulo(v, c).map { LinearForm($0) } }
            if c == 1 { return LinearForm(0) }
            guard isTame(a) else { return modAtom(a, d) }
            if c < 0 {
                return a.scaled(by: -1).flatMap { floorMod($0, LinearForm(-c)) }.flatMap { $0.scaled(by: -1) }
            }
            return moduloConstant(a, c, 0)
        }
        if let v = a.asConstant, v == 0 { return a }
        guard isTame(a), isTame(d), let (_, r) = divideSymbolic(a, d) else { return modAtom(a, d) }
        if r.asConstant == 0 { return r }
        return insidePeriod(r, d) ? r : modAtom(r, d)
    }

    private func moduloConstant(_ a: LinearForm, _ c: Int, _ depth: Int) -> LinearForm? {
        let r = divideTerms(a, c).rest
        if let k = period(of: r, c) {
            let m = k.multipliedReportingOverflow(by: -c)
            return m.overflow ? nil : r.adding(LinearForm(m.partialValue))
        }
        let m = modular(r)
        if m.coeff % c == 0, let v = ApusTIR.floorModulo(m.base, c) { return LinearForm(v) }
        let g = gcd(r.coefficientGCD, c)
        if g > 1 {
            let low = ApusTIR.floorModulo(r.constant, g) ?? 0
            let head = LinearForm(constant: r.constant - low, terms: r.terms).dividedExactly(by: g)
            guard let rest = moduloConstant(head, c / g, depth), let s = rest.scaled(by: g) else {
                return nil
            }
            return s.adding(LinearForm(low)).map(recombined)
        }
        // (x mod m) + … = x + … where c divides m
        if depth < 8 {
            for t in r.terms {
                if case .floorMod(let x, let d) = atoms[t.atom].kind, let m = d.asConstant, m % c == 0,
                    isTame(x)
                {
                    guard let y = r.removing(t.atom).adding(x, times: t.coef) else { break }
                    return moduloConstant(y, c, depth + 1)
                }
            }
        }
        if let s = smallTail(r, c) {
            guard let head = s.head.adding(LinearForm(s.k)), let rest = floorMod(head, LinearForm(c / s.g)),
                let scaled = rest.scaled(by: s.g), let sum = scaled.adding(s.tail)
            else { return nil }
            let shift = s.k.multipliedReportingOverflow(by: -s.g)
            return shift.overflow ? nil : sum.adding(LinearForm(shift.partialValue)).map(recombined)
        }
        return modAtom(r, LinearForm(c))
    }

    /// `a = q*d + r` where parts of `a` are visibly multiples of `d`.
    private func divideSymbolic(_ a: LinearForm, _ d: LinearForm) -> (LinearForm, LinearForm)? {
        guard let lead = d.terms.first, lead.coef > 0 else { return nil }
        if d.terms.count == 1 && d.constant == 0 {
            var q = LinearForm(0)
            var r = LinearForm(a.constant)
            let wanted = factors(lead.atom)
            for t in a.terms {
                var have = factors(t.atom)
                var divides = t.coef % lead.coef == 0
                for w in wanted where divides {
                    if let i = have.firstIndex(of: w) { have.remove(at: i) } else { divides = false }
                }
                let k = divides ? t.coef / lead.coef : 0
                let part = divides ? (have.isEmpty ? LinearForm(1) : LinearForm(atom: productAtom(have))) : r
                if divides {
                    guard let next = q.adding(part, times: k) else { return nil }
                    q = next
                } else {
                    r.terms.append(t)
                }
            }
            return (q, r)
        }
        let k = a.coefficient(of: lead.atom) / lead.coef
        guard k != 0, k != .min, let r = a.adding(d, times: -k) else { return (LinearForm(0), a) }
        return (LinearForm(k), r)
    }

    private func insidePeriod(_ r: LinearForm, _ d: LinearForm) -> Bool {
        guard proveNonNegative(r), let last = d.adding(LinearForm(-1)), let room = last.adding(r, times: -1)
        else {
            return false
        }
        return proveNonNegative(room)
    }

    /// Puts division and remainder back together:  k*c*(x // c) + k*(x mod c) = k*x  and
    /// k*c*((x // c) mod m) + k*(x mod c) = k*(x mod c*m).
    func recombined(_ f: LinearForm) -> LinearForm {
        // Looking for pairs takes the square of the terms.
        if f.terms.count > 128 { return f }
        var f = f
        var rounds = 0
        while rounds < 8, let next = recombineOnce(f) {
            f = next
            rounds += 1
        }
        return f
    }

    private func recombineOnce(_ f: LinearForm) -> LinearForm? {
        var anyDiv = false
        for t in f.terms {
            switch atoms[t.atom].kind {
            case .floorDiv, .floorMod: anyDiv = true
            default: break
            }
        }
        if !anyDiv { return nil }
        for t in f.terms {
            switch atoms[t.atom].kind {
            case .floorMod(let x, let d):
                guard isTame(x), isTame(d) else { continue }
                if let c = d.asConstant {
                    let kc = t.coef.multipliedReportingOverflow(by: c)
                    guard f.terms.count > 1, !kc.overflow, let q = floorDiv(x, d)?.asAtom else { continue }
                    for u in f.terms where u.coef == kc.partialValue {
                        if u.atom == q { return f.removing(t.atom).removing(q).adding(x, times: t.coef) }
                        if case .floorMod(let y, let m) = atoms[u.atom].kind, y.asAtom == q,
                            let mm = m.asConstant
                        {
                            let cm = c.multipliedReportingOverflow(by: mm)
                            guard !cm.overflow, let merged = floorMod(x, LinearForm(cm.partialValue)) else {
                                continue
                            }
                            return f.removing(t.atom).removing(u.atom).adding(merged, times: t.coef)
                        }
                    }
                } else if let p = d.asAtom {
                    guard let q = floorDiv(x, d)?.asAtom else { continue }
                    let u = productAtom(p, q)
                    if f.coefficient(of: u) == t.coef {
                        return f.removing(t.atom).removing(u).adding(x, times: t.coef)
                    }
                }
            case .floorDiv(let x, let d):
                // c*(x // c) = x - b where x = b mod c is known
                guard let c = d.asConstant, c > 0, t.coef % c == 0, isTame(x) else { continue }
                let m = modular(x)
                if m.coeff % c == 0, let b = ApusTIR.floorModulo(m.base, c), let y = x.adding(LinearForm(-b))
                {
                    return f.removing(t.atom).adding(y, times: t.coef / c)
                }
            default: break
            }
        }
        return nil
    }
}
