import ApusIR
import ApusRuntime
import ApusTIR

// What values an expression takes while variables run over sets: interval arithmetic on normal forms, so that what
// cancels is gone before. (TVM's EvalSet.)

private struct FormInterval {
    var lo: LinearForm?
    var hi: LinearForm?
    static let everything = FormInterval(lo: nil, hi: nil)
}

extension Analyzer {
    /// The values that integer expression `e` takes while each variable of `domains` runs over its set; other
    /// variables stay symbolic. Never too small; may be too large where variables occur more than once. For a vector,
    /// the values of all lanes.
    public func evalSet(_ e: PrimExpr, _ domains: [Var: IntervalSet]) -> IntervalSet {
        guard e.dtype == .index else {
            if e.dtype.element == .index && (e.kind == .ramp || e.kind == .broadcast) {
                let s = IntervalSet.vector(e)
                let lo = s.min.map { evalSet($0, domains) }
                let hi = s.max.map { evalSet($0, domains) }
                return lo?.isNothing ?? false ? .nothing : IntervalSet(lo?.min, hi?.max)
            }
            return intSet(e)
        }
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
            if s.isNothing && mentions(whole, n) { return .nothing }
            map[n] = .everything
            map[n] = FormInterval(lo: s.min.map { form($0) }, hi: s.max.map { form($0) })
        }
        var walk = SetEvaluator(self, map)
        var r = walk.interval(whole)
        // Ends of domains may name other relaxed variables (triangular loops).
        for _ in 0..<8 {
            let loMore = r.lo.map { walk.isRelaxed($0) } ?? false
            let hiMore = r.hi.map { walk.isRelaxed($0) } ?? false
            if !loMore && !hiMore { break }
            if loMore, let f = r.lo { r.lo = walk.interval(f).lo }
            if hiMore, let f = r.hi { r.hi = walk.interval(f).hi }
        }
        func settled(_ f: LinearForm?) -> PrimExpr? {
            guard let f, !walk.isRelaxed(f) else { return nil }
            return build(f)
        }
        let lo = settled(r.lo)
        let hi = settled(r.hi)
        if let a = r.lo, let b = r.hi, a == b { return IntervalSet(lo, lo) }
        return IntervalSet(lo, hi)
    }

    /// As `evalSet`, each variable running over its range.
    public func evalSet(_ e: PrimExpr, ranges: [Var: IRRange]) -> IntervalSet {
        evalSet(e, ranges.mapValues { IntervalSet($0) })
    }

    /// The integers that are in `range` for some values of the variables.
    public func evalSet(_ range: IRRange, _ domains: [Var: IntervalSet]) -> IntervalSet {
        if range.extent.asInt == 1 { return evalSet(range.min, domains) }
        if let n = range.extent.asInt, n <= 0 { return .nothing }
        let lo = evalSet(range.min, domains)
        let hi = evalSet(range.min + range.extent - 1, domains)
        if lo.isNothing || hi.isNothing { return .nothing }
        return IntervalSet(lo.min, hi.max)
    }

    /// The integers that are in `set` for some values of the variables: what is left of a set once the loops that its
    /// ends depend on are relaxed.
    public func evalSet(_ set: IntervalSet, _ domains: [Var: IntervalSet]) -> IntervalSet {
        if set.isNothing { return set }
        if let p = set.pointValue { return evalSet(p, domains) }
        let lo = set.min.map { evalSet($0, domains) }
        let hi = set.max.map { evalSet($0, domains) }
        if lo?.isNothing ?? false || hi?.isNothing ?? false { return .nothing }
        return IntervalSet(lo?.min, hi?.max)
    }

    /// The sets of every integer subexpression of `e`, itself last; one entry a node.
    public func evalSetForEachSubExpr(
        _ e: PrimExpr, _ domains: [Var: IntervalSet]
    ) -> [(expr: PrimExpr, set: IntervalSet)] {
        var result: [(expr: PrimExpr, set: IntervalSet)] = []
        var seen: Set<ObjectIdentifier> = []
        func walk(_ x: PrimExpr) {
            guard seen.insert(ObjectIdentifier(x)).inserted else { return }
            forEachChild(of: x) { walk($0) }
            if x.dtype.isInteger { result.append((expr: x, set: evalSet(x, domains))) }
        }
        walk(e)
        return result
    }
}

/// One evaluation: what is relaxed, and the intervals found so far.
private struct SetEvaluator {
    let analyzer: Analyzer
    var map: [Int: FormInterval]
    private var intervals: [Int: FormInterval] = [:]
    private var relaxed: [Int: Bool] = [:]
    private var depth = 0

    init(_ analyzer: Analyzer, _ map: [Int: FormInterval]) {
        self.analyzer = analyzer
        self.map = map
    }

    /// Whether a relaxed variable occurs.
    mutating func isRelaxed(_ f: LinearForm) -> Bool {
        for t in f.terms where isRelaxed(t.atom) { return true }
        return false
    }

    private mutating func isRelaxed(_ n: Int) -> Bool {
        if map[n] != nil { return true }
        if let known = relaxed[n] { return known }
        var found = false
        switch analyzer.atoms[n].kind {
        case .variable: break
        case .product(let list): for m in list where isRelaxed(m) { found = true }
        case .floorDiv(let x, let y), .floorMod(let x, let y), .min(let x, let y), .max(let x, let y):
            found = analyzer.deeper { isRelaxed(x) || isRelaxed(y) }
        case .opaque:
            found = map.keys.contains { analyzer.mentions(LinearForm(atom: n), $0) }
        }
        relaxed[n] = found
        return found
    }

    mutating func interval(_ f: LinearForm) -> FormInterval {
        var result = FormInterval(lo: LinearForm(f.constant), hi: LinearForm(f.constant))
        var fixed = LinearForm(0)
        for t in f.terms {
            if !isRelaxed(t.atom) {
                fixed.terms.append(t)
                continue
            }
            let a = atomInterval(t.atom)
            let low = t.coef > 0 ? a.lo : a.hi
            let high = t.coef > 0 ? a.hi : a.lo
            result.lo = result.lo.flatMap { x in low.flatMap { x.adding($0, times: t.coef) } }
            result.hi = result.hi.flatMap { x in high.flatMap { x.adding($0, times: t.coef) } }
        }
        result.lo = result.lo.flatMap { $0.adding(fixed) }.map(analyzer.recombined)
        result.hi = result.hi.flatMap { $0.adding(fixed) }.map(analyzer.recombined)
        return result
    }

    private func constants(_ b: ConstIntBound) -> FormInterval {
        FormInterval(
            lo: b.min == ConstIntBound.negInf ? nil : LinearForm(b.min),
            hi: b.max == ConstIntBound.posInf ? nil : LinearForm(b.max))
    }

    private mutating func atomInterval(_ n: Int) -> FormInterval {
        if let known = map[n] { return known }
        if let known = intervals[n] { return known }
        // Expressions inside opaque ones nest without end only by mistake; the constant bounds do.
        guard depth < 64 else { return constants(analyzer.atomBound(n)) }
        depth += 1
        defer { depth -= 1 }
        let i = compute(n) ?? constants(analyzer.atomBound(n))
        intervals[n] = i
        return i
    }

    /// nil: no better than the constant bounds.
    private mutating func compute(_ n: Int) -> FormInterval? {
        switch analyzer.atoms[n].kind {
        case .variable: return FormInterval(lo: LinearForm(atom: n), hi: LinearForm(atom: n))
        case .floorDiv(let x, let d): return quotient(interval(x), d)
        case .floorMod(let x, let d): return remainder(interval(x), d)
        case .min(let x, let y): return extremum(.min, interval(x), interval(y))
        case .max(let x, let y): return extremum(.max, interval(x), interval(y))
        case .product(let list): return product(list)
        case .opaque: return opaque(analyzer.atoms[n].expr)
        }
    }

    private func end(_ kind: PrimExprKind, _ p: LinearForm?, _ q: LinearForm?) -> LinearForm? {
        guard let p, let q else { return nil }
        return analyzer.extremum(kind, p, q)
    }

    private func hull(_ a: FormInterval, _ b: FormInterval) -> FormInterval {
        FormInterval(lo: end(.min, a.lo, b.lo), hi: end(.max, a.hi, b.hi))
    }

    private func extremum(_ kind: PrimExprKind, _ a: FormInterval, _ b: FormInterval) -> FormInterval {
        // An end that is missing decides where it is the winning one, else the other's holds.
        if kind == .min {
            return FormInterval(lo: end(.min, a.lo, b.lo), hi: end(.min, a.hi, b.hi) ?? a.hi ?? b.hi)
        }
        return FormInterval(lo: end(.max, a.lo, b.lo) ?? a.lo ?? b.lo, hi: end(.max, a.hi, b.hi))
    }

    private mutating func quotient(_ a: FormInterval, _ d: LinearForm) -> FormInterval? {
        if !isRelaxed(d) {
            guard analyzer.proveNonNegative(d.adding(LinearForm(-1)) ?? LinearForm(-1)) else { return nil }
            return FormInterval(
                lo: a.lo.flatMap { analyzer.floorDiv($0, d) }, hi: a.hi.flatMap { analyzer.floorDiv($0, d) })
        }
        let b = interval(d)
        guard let small = b.lo, analyzer.proveNonNegative(small.adding(LinearForm(-1)) ?? LinearForm(-1))
        else {
            return nil
        }
        // Towards large divisors the quotient tends to 0 or -1.
        func ends(_ x: LinearForm?, _ kind: PrimExprKind) -> LinearForm? {
            guard let x, let p = analyzer.floorDiv(x, small) else { return nil }
            let q: LinearForm?
            if let large = b.hi {
                q = analyzer.floorDiv(x, large)
            } else if analyzer.proveNonNegative(x) {
                q = LinearForm(0)
            } else {
                q = LinearForm(kind == .min ? -1 : 0)
            }
            return end(kind, p, q)
        }
        return FormInterval(lo: ends(a.lo, .min), hi: ends(a.hi, .max))
    }

    private mutating func remainder(_ a: FormInterval, _ d: LinearForm) -> FormInterval? {
        if isRelaxed(d) {
            let b = interval(d)
            guard let small = b.lo, analyzer.proveNonNegative(small.adding(LinearForm(-1)) ?? LinearForm(-1))
            else {
                return nil
            }
            let top = b.hi.flatMap { $0.adding(LinearForm(-1)) }
            // What is not negative is never made larger.
            if let lo = a.lo, analyzer.proveNonNegative(lo) {
                return FormInterval(lo: LinearForm(0), hi: end(.min, top, a.hi) ?? top ?? a.hi)
            }
            return FormInterval(lo: LinearForm(0), hi: top)
        }
        guard analyzer.proveNonNegative(d.adding(LinearForm(-1)) ?? LinearForm(-1)) else { return nil }
        if let lo = a.lo, let hi = a.hi, let q = analyzer.floorDiv(lo, d), q == analyzer.floorDiv(hi, d) {
            return FormInterval(lo: analyzer.floorMod(lo, d), hi: analyzer.floorMod(hi, d))
        }
        let top = d.adding(LinearForm(-1))
        if let lo = a.lo, analyzer.proveNonNegative(lo), let hi = a.hi {
            return FormInterval(lo: LinearForm(0), hi: end(.min, top, hi) ?? top)
        }
        return FormInterval(lo: LinearForm(0), hi: top)
    }

    private mutating func product(_ list: [Int]) -> FormInterval? {
        // Fixed factors together; relaxed ones one by one.
        var fixed: [Int] = []
        var factors: [FormInterval] = []
        var i = 0
        while i < list.count {
            let m = list[i]
            i += 1
            if !isRelaxed(m) {
                fixed.append(m)
                continue
            }
            let a = atomInterval(m)
            if i < list.count && list[i] == m {
                // A square: not negative, largest at one of the ends.
                i += 1
                guard let lo = a.lo, let hi = a.hi, let p = analyzer.product(lo, lo),
                    let q = analyzer.product(hi, hi)
                else {
                    factors.append(FormInterval(lo: LinearForm(0), hi: nil))
                    continue
                }
                let least: LinearForm
                if analyzer.proveNonNegative(lo) {
                    least = p
                } else if let n = hi.scaled(by: -1), analyzer.proveNonNegative(n) {
                    least = q
                } else {
                    least = LinearForm(0)
                }
                factors.append(FormInterval(lo: least, hi: end(.max, p, q)))
            } else {
                factors.append(a)
            }
        }
        var result: FormInterval
        if fixed.isEmpty {
            guard let first = factors.first else { return nil }
            result = first
            factors.removeFirst()
        } else {
            let k = LinearForm(atom: analyzer.productAtom(fixed))
            result = FormInterval(lo: k, hi: k)
        }
        for f in factors { result = times(result, f) }
        return result
    }

    private func times(_ a: FormInterval, _ b: FormInterval) -> FormInterval {
        func sign(_ x: FormInterval) -> Int {
            if let lo = x.lo, analyzer.proveNonNegative(lo) { return 1 }
            if let hi = x.hi?.scaled(by: -1), analyzer.proveNonNegative(hi) { return -1 }
            return 0
        }
        func mul(_ x: LinearForm?, _ y: LinearForm?) -> LinearForm? {
            guard let x, let y else { return nil }
            return analyzer.product(x, y)
        }
        switch (sign(a), sign(b)) {
        case (1, 1): return FormInterval(lo: mul(a.lo, b.lo), hi: mul(a.hi, b.hi))
        case (1, -1): return FormInterval(lo: mul(a.hi, b.lo), hi: mul(a.lo, b.hi))
        case (-1, 1): return FormInterval(lo: mul(a.lo, b.hi), hi: mul(a.hi, b.lo))
        case (-1, -1): return FormInterval(lo: mul(a.hi, b.hi), hi: mul(a.lo, b.lo))
        // A sign that is not known need not change: both ends of the other are tried.
        case (1, 0):
            return FormInterval(
                lo: end(.min, mul(a.hi, b.lo), mul(a.lo, b.lo)),
                hi: end(.max, mul(a.hi, b.hi), mul(a.lo, b.hi)))
        case (-1, 0):
            return FormInterval(
                lo: end(.min, mul(a.lo, b.hi), mul(a.hi, b.hi)),
                hi: end(.max, mul(a.lo, b.lo), mul(a.hi, b.lo)))
        case (0, 1), (0, -1): return times(b, a)
        default:
            guard let p = mul(a.lo, b.lo), let q = mul(a.lo, b.hi), let r = mul(a.hi, b.lo),
                let s = mul(a.hi, b.hi)
            else { return .everything }
            return FormInterval(
                lo: end(.min, end(.min, p, q), end(.min, r, s)),
                hi: end(.max, end(.max, p, q), end(.max, r, s)))
        }
    }

    private mutating func opaque(_ e: PrimExpr) -> FormInterval? {
        switch e.kind {
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            return hull(
                interval(analyzer.partForm(s.trueValue)), interval(analyzer.partForm(s.falseValue)))
        case .div, .mod:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            let a = interval(analyzer.form(op.a))
            let d = analyzer.form(op.b)
            guard !isRelaxed(d), analyzer.proveNonNegative(d.adding(LinearForm(-1)) ?? LinearForm(-1)) else {
                return nil
            }
            func divided(_ f: LinearForm) -> LinearForm {
                analyzer.form(Div(analyzer.build(f), analyzer.build(d)))
            }
            // Rounding towards zero keeps the order.
            if e.kind == .div { return FormInterval(lo: a.lo.map(divided), hi: a.hi.map(divided)) }
            let top = d.adding(LinearForm(-1))
            if let lo = a.lo, analyzer.proveNonNegative(lo) {
                return FormInterval(lo: LinearForm(0), hi: top)
            }
            return FormInterval(lo: top.flatMap { $0.scaled(by: -1) }, hi: top)
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            switch c.name {
            case "tir.likely": return interval(analyzer.form(c.args[0]))
            case "tir.if_then_else":
                return hull(
                    interval(analyzer.partForm(c.args[1])), interval(analyzer.partForm(c.args[2])))
            case "tir.shift_left":
                guard let s = c.args[1].asInt, s >= 0, s < 48 else { return nil }
                let a = interval(analyzer.form(c.args[0]))
                // As a product only where no bit is lost.
                let b = analyzer.constIntBound(e)
                return b.isFinite
                    ? FormInterval(
                        lo: a.lo.flatMap { $0.scaled(by: 1 << s) }, hi: a.hi.flatMap { $0.scaled(by: 1 << s) }
                    )
                    : nil
            case "tir.shift_right":
                guard let s = c.args[1].asInt, s >= 0, s < 62 else { return nil }
                return quotient(interval(analyzer.form(c.args[0])), LinearForm(1 << s))
            default: return nil
            }
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            guard l.variable.dtype == .index else { return nil }
            let n = analyzer.variableAtom(l.variable)
            let value = interval(analyzer.form(l.value))
            let saved = (map, intervals, relaxed)
            map[n] = value
            intervals = [:]
            relaxed = [:]
            var r = interval(analyzer.partForm(l.body))
            // The variable must not escape; its interval may speak of relaxed ones, which the caller goes on with.
            if let f = r.lo, analyzer.mentions(f, n) { r.lo = nil }
            if let f = r.hi, analyzer.mentions(f, n) { r.hi = nil }
            (map, intervals, relaxed) = saved
            return r
        default: return nil
        }
    }
}
