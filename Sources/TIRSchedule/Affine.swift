import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// The region analysis of the schedule needs expressions as explicit sums; this file yields them. Sums are
// kept in the order of first occurrence, so that text is stable. Overflow makes a sum opaque, never wrong.

/// `coef * atom`; an atom is a variable or an expression that is not a sum.
struct AffineTerm {
    var atom: PrimExpr
    var coef: Int
}

/// `sum(terms) + constant`, of a scalar integer type; no two terms have equal atoms, no coefficient is zero.
struct Affine {
    var terms: [AffineTerm] = []
    var constant: Int = 0

    init(_ constant: Int) { self.constant = constant }
    init(atom: PrimExpr) { terms = [AffineTerm(atom: atom, coef: 1)] }

    var isConstant: Bool { terms.isEmpty }

    /// How many terms are quotients or remainders.
    var digits: Int {
        terms.reduce(0) { $0 + ($1.atom.kind == .floorDiv || $1.atom.kind == .floorMod ? 1 : 0) }
    }

    /// `self + k * other`, or nil on overflow.
    func adding(_ other: Affine, times k: Int = 1) -> Affine? {
        var result = self
        for t in other.terms {
            let c = t.coef.multipliedReportingOverflow(by: k)
            if c.overflow { return nil }
            if !result.add(t.atom, c.partialValue) { return nil }
        }
        let c = other.constant.multipliedReportingOverflow(by: k)
        let s = result.constant.addingReportingOverflow(c.partialValue)
        if c.overflow || s.overflow { return nil }
        result.constant = s.partialValue
        return result
    }

    /// Adds `coef * atom`; false on overflow.
    mutating func add(_ atom: PrimExpr, _ coef: Int) -> Bool {
        if coef == 0 { return true }
        for i in terms.indices where sameExpr(terms[i].atom, atom) {
            let s = terms[i].coef.addingReportingOverflow(coef)
            if s.overflow { return false }
            if s.partialValue == 0 { terms.remove(at: i) } else { terms[i].coef = s.partialValue }
            return true
        }
        terms.append(AffineTerm(atom: atom, coef: coef))
        return true
    }

    func coef(of atom: PrimExpr) -> Int {
        for t in terms where sameExpr(t.atom, atom) { return t.coef }
        return 0
    }

    /// The expression, in `dtype`.
    func expr(_ dtype: DataType) -> PrimExpr {
        var sum: PrimExpr?
        // A leading positive term reads better: `i - 1`, not `-1 + i`.
        for t in terms where t.coef > 0 {
            let p = t.atom * const(t.coef, dtype)
            sum = sum.map { $0 + p } ?? p
        }
        for t in terms where t.coef < 0 {
            if t.coef == .min { return internalSum(dtype) }
            let p = t.atom * const(-t.coef, dtype)
            sum = (sum ?? const(0, dtype)) - p
        }
        guard let s = sum else { return const(constant, dtype) }
        if constant < 0 && constant != .min { return s - const(-constant, dtype) }
        return constant == 0 ? s : s + const(constant, dtype)
    }

    private func internalSum(_ dtype: DataType) -> PrimExpr {
        var sum: PrimExpr = const(constant, dtype)
        for t in terms { sum = sum + t.atom * const(t.coef, dtype) }
        return sum
    }
}

/// Whether two expressions are the same tree over the same variables and buffers.
func sameExpr(_ x: PrimExpr, _ y: PrimExpr) -> Bool {
    if x === y { return true }
    if x.kind != y.kind || x.dtype != y.dtype { return false }
    switch x.kind {
    case .variable, .stringImm: return false
    case .intImm: return x.asInt == y.asInt
    case .floatImm: return structuralEqual(x, y)
    case .bufferLoad:
        let a = unsafeDowncast(x, to: BufferLoad.self)
        let b = unsafeDowncast(y, to: BufferLoad.self)
        return a.buffer === b.buffer && sameExprs(a.indices, b.indices)
    case .call:
        let a = unsafeDowncast(x, to: Call.self)
        let b = unsafeDowncast(y, to: Call.self)
        return a.op === b.op && sameExprs(a.args, b.args)
    case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge, .and,
        .or:
        let a = unsafeDowncast(x, to: BinaryExpr.self)
        let b = unsafeDowncast(y, to: BinaryExpr.self)
        return sameExpr(a.a, b.a) && sameExpr(a.b, b.b)
    case .cast:
        return sameExpr(unsafeDowncast(x, to: Cast.self).value, unsafeDowncast(y, to: Cast.self).value)
    default: return structuralEqual(x, y)
    }
}

func sameExprs(_ a: [PrimExpr], _ b: [PrimExpr]) -> Bool {
    if a.count != b.count { return false }
    for i in a.indices where !sameExpr(a[i], b[i]) { return false }
    return true
}

/// Ranges of variables, and what follows from them.
final class ArithContext {
    private(set) var ranges: [Var: IRRange] = [:]

    init(_ ranges: [Var: IRRange] = [:]) { self.ranges = ranges }

    /// An independent context with the same ranges.
    func copy() -> ArithContext { ArithContext(ranges) }

    func bind(_ v: Var, _ range: IRRange) { ranges[v] = range }

    // MARK: Sums

    /// `e` as a sum; an opaque single atom where it is none.
    func affine(_ e: PrimExpr) -> Affine {
        guard e.dtype.isScalar, e.dtype.isInteger else { return Affine(atom: e) }
        switch e.kind {
        case .intImm: return Affine(unsafeDowncast(e, to: IntImm.self).value)
        case .variable:
            // A loop of one iteration is its minimum.
            if let r = ranges[unsafeDowncast(e, to: Var.self)], r.extent.asInt == 1, let lo = r.min.asInt {
                return Affine(lo)
            }
            return Affine(atom: e)
        case .add, .sub:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            if let s = affine(b.a).adding(affine(b.b), times: e.kind == .add ? 1 : -1) {
                return recombined(s)
            }
            return Affine(atom: e)
        case .mul:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            let x = affine(b.a)
            let y = affine(b.b)
            if y.isConstant { return Affine(0).adding(x, times: y.constant) ?? Affine(atom: e) }
            if x.isConstant { return Affine(0).adding(y, times: x.constant) ?? Affine(atom: e) }
            return Affine(atom: x.expr(e.dtype) * y.expr(e.dtype))
        case .floorDiv, .floorMod:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            let y = affine(b.b)
            guard y.isConstant, y.constant > 0 else {
                return Affine(atom: binary(e.kind, simplify(b.a), y.expr(e.dtype)))
            }
            return e.kind == .floorDiv
                ? floorDivided(affine(b.a), y.constant, e.dtype)
                : floorModulo(affine(b.a), y.constant, e.dtype)
        case .min, .max:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            let x = affine(b.a)
            let y = affine(b.b)
            if let d = x.adding(y, times: -1) {
                let (lo, hi) = bounds(d)
                if let lo, lo >= 0 { return e.kind == .min ? y : x }
                if let hi, hi <= 0 { return e.kind == .min ? x : y }
            }
            return Affine(atom: binary(e.kind, x.expr(e.dtype), y.expr(e.dtype)))
        default:
            return Affine(atom: mapChildren(of: e) { simplify($0) })
        }
    }

    private func floorDivided(_ x: Affine, _ c: Int, _ dtype: DataType) -> Affine {
        if c == 1 { return x }
        var whole = Affine(0)
        var rest = Affine(0)
        for t in x.terms {
            if t.coef % c == 0 {
                whole.terms.append(AffineTerm(atom: t.atom, coef: t.coef / c))
            } else {
                rest.terms.append(t)
            }
        }
        guard let q = floorDivide(x.constant, c), let r = ApusTIR.floorModulo(x.constant, c) else {
            return Affine(atom: binary(.floorDiv, x.expr(dtype), const(c, dtype)))
        }
        whole.constant = q
        rest.constant = r
        let (lo, hi) = bounds(rest)
        if let lo, let hi, let a = floorDivide(lo, c), let b = floorDivide(hi, c), a == b {
            whole.constant &+= a
            return whole
        }
        if let coarse = withoutFineTerms(rest, c) {
            let quotient = floorDivided(coarse.sum, coarse.divisor, dtype)
            return whole.adding(quotient) ?? Affine(atom: x.expr(dtype))
        }
        // floor((g*y + r) / (g*c')) = floor((y + floor(r / g)) / c')
        let g = rest.terms.reduce(c) { gcd($0, $1.coef) }
        var divisor = c
        if g > 1 {
            divisor = c / g
            for i in rest.terms.indices { rest.terms[i].coef /= g }
            rest.constant = r / g
        }
        if divisor == 1 { return whole.adding(rest) ?? Affine(atom: x.expr(dtype)) }
        // floor((y + floor(z / d)) / c) = floor((d*y + z) / (d*c))
        for (i, t) in rest.terms.enumerated() where t.coef == 1 {
            guard let inner = t.atom as? FloorDiv, let d = inner.b.asInt, d > 0 else { continue }
            let p = d.multipliedReportingOverflow(by: divisor)
            // The terms keep their order, so that equal quotients have equal texts.
            var sum: Affine? = Affine(0)
            for (j, u) in rest.terms.enumerated() {
                let k = u.coef.multipliedReportingOverflow(by: d)
                let scaled = k.overflow ? nil : sum?.adding(Affine(atom: u.atom), times: k.partialValue)
                sum = j == i ? sum?.adding(affine(inner.a)) : scaled
            }
            guard !p.overflow, let sum = sum?.adding(Affine(rest.constant), times: d) else { continue }
            return whole.adding(floorDivided(sum, p.partialValue, dtype)) ?? Affine(atom: x.expr(dtype))
        }
        let atom = Affine(atom: binary(.floorDiv, rest.expr(dtype), const(divisor, dtype)))
        return whole.adding(atom) ?? atom
    }

    /// `floor((g*y + r) / (g*c)) = floor(y / c)` where `0 <= r < g`: `y` and `c`; nil where no terms of `x` are such an `r`.
    private func withoutFineTerms(_ x: Affine, _ divisor: Int) -> (sum: Affine, divisor: Int)? {
        for t in x.terms {
            let g = gcd(divisor, t.coef)
            guard g > 1, x.constant >= 0, let constant = floorDivide(x.constant, g) else { continue }
            var coarse = Affine(constant)
            var fine = Affine(x.constant - constant * g)
            for u in x.terms {
                if u.coef % g == 0 {
                    coarse.terms.append(AffineTerm(atom: u.atom, coef: u.coef / g))
                } else {
                    fine.terms.append(u)
                }
            }
            let (lo, hi) = bounds(fine)
            if !fine.terms.isEmpty, let lo, let hi, lo >= 0, hi < g {
                return (sum: coarse, divisor: divisor / g)
            }
        }
        return nil
    }

    private func floorModulo(_ x: Affine, _ c: Int, _ dtype: DataType) -> Affine {
        if c == 1 { return Affine(0) }
        var rest = Affine(ApusTIR.floorModulo(x.constant, c) ?? 0)
        for t in x.terms where t.coef % c != 0 { rest.terms.append(t) }
        let (lo, hi) = bounds(rest)
        if let lo, let hi, let a = floorDivide(lo, c), floorDivide(hi, c) == a,
            let shifted = rest.adding(Affine(c), times: -a)
        {
            return shifted
        }
        let g = rest.terms.reduce(gcd(c, rest.constant)) { gcd($0, $1.coef) }
        if g > 1 {
            for i in rest.terms.indices { rest.terms[i].coef /= g }
            rest.constant /= g
            return Affine(0).adding(floorModulo(rest, c / g, dtype), times: g) ?? Affine(0)
        }
        if rest.constant == 0, rest.terms.count == 1, rest.terms[0].coef == 1,
            let inner = rest.terms[0].atom as? FloorMod, let d = inner.b.asInt, d > 0, d % c == 0
        {
            return floorModulo(affine(inner.a), c, dtype)
        }
        return Affine(atom: binary(.floorMod, rest.expr(dtype), const(c, dtype)))
    }

    /// Digits put together again: `c*k*(x // c) + k*(x % c) = k*x`, `a*k*((x // a) % b) + k*(x % a) = k*(x %
    /// (a*b))`.
    private func recombined(_ s: Affine) -> Affine {
        var s = s
        var changed = true
        while changed {
            changed = false
            search: for t in s.terms {
                guard t.atom.kind == .floorMod else { continue }
                let low = unsafeDowncast(t.atom, to: BinaryExpr.self)
                guard let c = low.b.asInt, c > 0 else { continue }
                let dtype = t.atom.dtype
                let high = floorDivided(affine(low.a), c, dtype)
                let wanted = t.coef.multipliedReportingOverflow(by: c)
                if wanted.overflow { continue }
                // x // c may itself be a sum, all of whose terms must be there.
                if !high.terms.isEmpty,
                    high.terms.allSatisfy({ h in
                        let p = h.coef.multipliedReportingOverflow(by: wanted.partialValue)
                        return !p.overflow && s.coef(of: h.atom) == p.partialValue
                    })
                {
                    var next = s.adding(high, times: -wanted.partialValue)
                    next = next?.adding(Affine(atom: t.atom), times: -t.coef)
                    next = next?.adding(affine(low.a), times: t.coef)
                    if let next, next.terms.count < s.terms.count || next.digits < s.digits {
                        s = next
                        changed = true
                        break search
                    }
                }
                for u in s.terms where u.coef == wanted.partialValue && u.atom.kind == .floorMod {
                    let top = unsafeDowncast(u.atom, to: BinaryExpr.self)
                    guard let b = top.b.asInt, b > 0, high.terms.count == 1, high.constant == 0,
                        high.terms[0].coef == 1, sameExpr(top.a, high.terms[0].atom)
                    else { continue }
                    let p = c.multipliedReportingOverflow(by: b)
                    if p.overflow { continue }
                    var next = s.adding(Affine(atom: u.atom), times: -u.coef)
                    next = next?.adding(Affine(atom: t.atom), times: -t.coef)
                    next = next?.adding(floorModulo(affine(low.a), p.partialValue, dtype), times: t.coef)
                    if let next {
                        s = next
                        changed = true
                        break search
                    }
                }
            }
        }
        return s
    }

    private func gcd(_ a: Int, _ b: Int) -> Int {
        var x = a.magnitude
        var y = b.magnitude
        while y != 0 { (x, y) = (y, x % y) }
        return Int(exactly: x) ?? 1
    }

    // MARK: Bounds

    /// Constant bounds of a sum; nil = unknown on that side.
    func bounds(_ a: Affine) -> (lo: Int?, hi: Int?) {
        var lo: Int? = a.constant
        var hi: Int? = a.constant
        for t in a.terms {
            let (x, y) = atomBounds(t.atom)
            let (l, h) = t.coef > 0 ? (x, y) : (y, x)
            lo = plus(lo, times(l, t.coef))
            hi = plus(hi, times(h, t.coef))
            if lo == nil && hi == nil { break }
        }
        return (lo, hi)
    }

    private func plus(_ a: Int?, _ b: Int?) -> Int? {
        guard let a, let b else { return nil }
        let r = a.addingReportingOverflow(b)
        return r.overflow ? nil : r.partialValue
    }
    private func times(_ a: Int?, _ b: Int) -> Int? {
        guard let a else { return nil }
        let r = a.multipliedReportingOverflow(by: b)
        return r.overflow ? nil : r.partialValue
    }

    private func atomBounds(_ e: PrimExpr) -> (lo: Int?, hi: Int?) {
        switch e.kind {
        case .intImm: return (e.asInt, e.asInt)
        case .variable:
            guard let r = ranges[unsafeDowncast(e, to: Var.self)] else { return (nil, nil) }
            let lo = r.min.asInt
            return (lo, plus(plus(lo, r.extent.asInt), -1))
        case .floorDiv:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            guard let c = b.b.asInt, c > 0 else { return (nil, nil) }
            let (x, y) = bounds(affine(b.a))
            return (x.flatMap { floorDivide($0, c) }, y.flatMap { floorDivide($0, c) })
        case .floorMod:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            guard let c = b.b.asInt, c > 0 else { return (nil, nil) }
            return (0, c - 1)
        case .min, .max:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            let (al, ah) = bounds(affine(b.a))
            let (bl, bh) = bounds(affine(b.b))
            func both(_ x: Int?, _ y: Int?, _ f: (Int, Int) -> Int) -> Int? {
                guard let x, let y else { return nil }
                return f(x, y)
            }
            func either(_ x: Int?, _ y: Int?, _ f: (Int, Int) -> Int) -> Int? {
                guard let x else { return y }
                guard let y else { return x }
                return f(x, y)
            }
            return e.kind == .min
                ? (both(al, bl, Swift.min), either(ah, bh, Swift.min))
                : (either(al, bl, Swift.max), both(ah, bh, Swift.max))
        default: return (nil, nil)
        }
    }

    /// The least value as a constant, loops of symbolic extent replaced by their ends first; nil = unknown.
    private func least(_ a: Affine) -> Int? {
        var a = a
        for _ in 0..<4 {
            var changed = false
            for t in a.terms where t.atom.kind == .variable {
                guard let r = ranges[unsafeDowncast(t.atom, to: Var.self)],
                    r.extent.asInt == nil || r.min.asInt == nil
                else { continue }
                let end = t.coef > 0 ? affine(r.min) : affine(r.min + r.extent - 1)
                let without = a.adding(Affine(atom: t.atom), times: -t.coef)
                guard let next = without?.adding(end, times: t.coef) else { return nil }
                a = next
                changed = true
                break
            }
            if !changed { break }
        }
        return bounds(a).lo
    }

    // MARK: Simplification and proofs

    /// An equal expression, sums in normal form.
    func simplify(_ e: PrimExpr) -> PrimExpr {
        guard e.dtype.isScalar else { return mapChildren(of: e) { simplify($0) } }
        if e.dtype.isBool {
            switch e.kind {
            case .lt, .le, .gt, .ge, .eq, .ne:
                if canProve(e) { return trueExpr }
                let b = unsafeDowncast(e, to: BinaryExpr.self)
                if b.a.dtype.isInteger { return binary(e.kind, simplify(b.a), simplify(b.b)) }
                return e
            default: return mapChildren(of: e) { simplify($0) }
            }
        }
        if e.dtype.isInteger { return affine(e).expr(e.dtype) }
        return mapChildren(of: e) { simplify($0) }
    }

    /// Whether `condition` holds for all values in range; false = not known.
    func canProve(_ condition: PrimExpr) -> Bool {
        if condition.isTrue { return true }
        guard condition.dtype.isScalar, condition.kind != .intImm else { return false }
        switch condition.kind {
        case .and:
            let b = unsafeDowncast(condition, to: BinaryExpr.self)
            return canProve(b.a) && canProve(b.b)
        case .or:
            let b = unsafeDowncast(condition, to: BinaryExpr.self)
            return canProve(b.a) || canProve(b.b)
        case .lt, .le, .gt, .ge, .eq, .ne:
            let b = unsafeDowncast(condition, to: BinaryExpr.self)
            guard b.a.dtype.isScalar, b.a.dtype.isInteger, !b.a.dtype.isBool,
                let d = affine(b.b).adding(affine(b.a), times: -1), let e = Affine(0).adding(d, times: -1)
            else { return false }
            switch condition.kind {
            case .lt: return (least(d) ?? 0) >= 1
            case .le: return (least(d) ?? -1) >= 0
            case .gt: return (least(e) ?? 0) >= 1
            case .ge: return (least(e) ?? -1) >= 0
            case .eq: return d.isConstant && d.constant == 0
            default: return (least(d) ?? 0) >= 1 || (least(e) ?? 0) >= 1
            }
        default: return false
        }
    }

    /// As `canProve`, with the analyzer's rules where sums do not tell: for questions asked once a primitive.
    func canProveDeeply(_ condition: PrimExpr) -> Bool {
        if canProve(condition) { return true }
        let analyzer = Analyzer()
        var bound: Set<Var> = []
        func bind(_ e: PrimExpr, _ depth: Int) {
            postOrderVisit(e) { x in
                guard depth < 4, x.kind == .variable else { return }
                let v = unsafeDowncast(x, to: Var.self)
                guard bound.insert(v).inserted, let r = ranges[v] else { return }
                // Ends of a range may speak of further variables.
                bind(r.min, depth + 1)
                bind(r.extent, depth + 1)
                analyzer.bind(v, r)
            }
        }
        bind(condition, 0)
        return analyzer.canProve(condition)
    }

    /// `a - b` if that is a constant.
    func difference(_ a: PrimExpr, _ b: PrimExpr) -> Int? {
        guard let d = affine(a).adding(affine(b), times: -1), d.isConstant else { return nil }
        return d.constant
    }
}

/// The conjuncts of a condition; none for true.
func conjuncts(_ condition: PrimExpr) -> [PrimExpr] {
    if condition.isTrue { return [] }
    if condition.kind == .and {
        let b = unsafeDowncast(condition, to: BinaryExpr.self)
        return conjuncts(b.a) + conjuncts(b.b)
    }
    if let call = condition as? Call, call.name == "tir.likely", let inner = call.args.first {
        return conjuncts(inner)
    }
    return [condition]
}
