import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// From "element `f(v)` is read for each `v`" to "element `j` is read for these `v`": which values of the iteration
/// variables satisfy `f(v) = j`, as few of them enumerated as possible.
///
/// Each index is a linear equation in variables with ranges; floor division and remainder by a constant `c` add
/// `x = c * quotient + remainder`. Equations are eliminated over the integers: a coefficient of 1 or -1 gives a
/// variable outright; in `c * v + rest = t` with `rest` in a range of `w` values, `v` is one of `ceil(w / c)` values
/// next to `floor(t / c)`. What no equation determines stays enumerated. Every solved variable leaves the condition
/// that it lies in its range; conditions that always hold are dropped. An index that is not linear is compared.
final class IndexInversion {
    /// `sum(factor * unknown) + rest`
    struct Linear {
        var terms: [(variable: Var, factor: Int)] = []
        var rest: PrimExpr = IntImm(0)

        func factor(of v: Var) -> Int { terms.first { $0.variable === v }?.factor ?? 0 }

        /// nil on overflow.
        func adding(_ o: Linear, times k: Int = 1) -> Linear? {
            var out = self
            for t in o.terms {
                let (f, high) = t.factor.multipliedReportingOverflow(by: k)
                if high { return nil }
                if let i = out.terms.firstIndex(where: { $0.variable === t.variable }) {
                    let (sum, overflow) = out.terms[i].factor.addingReportingOverflow(f)
                    if overflow { return nil }
                    out.terms[i].factor = sum
                    if sum == 0 { out.terms.remove(at: i) }
                } else if f != 0 {
                    out.terms.append((variable: t.variable, factor: f))
                }
            }
            out.rest = out.rest + o.rest * k
            return out
        }

        /// `v` replaced.
        func replacing(_ v: Var, _ value: Linear) -> Linear? {
            let f = factor(of: v)
            if f == 0 { return self }
            var out = self
            out.terms.removeAll { $0.variable === v }
            return out.adding(value, times: f)
        }

        var expression: PrimExpr {
            var e = rest
            for t in terms { e = e + t.variable * t.factor }
            return e
        }
    }

    struct Result {
        /// The original variables in terms of targets and free variables.
        let values: [Var: PrimExpr]
        let free: [(variable: Var, extent: PrimExpr)]
        /// When there is such an iteration; none = always.
        let conditions: [PrimExpr]
    }

    let analyzer: Analyzer
    private var extents: [Var: PrimExpr] = [:]
    private var order: [Var] = []
    private var equations: [Linear] = []
    private var solved: [(variable: Var, value: Linear)] = []
    private var free: [(variable: Var, extent: PrimExpr)] = []
    private var conditions: [PrimExpr] = []
    private var originals: [(variable: Var, value: Linear)] = []
    private var split: [(dividend: PrimExpr, divisor: Int, quotient: Linear, remainder: Var)] = []
    private var known: Set<Var> = []

    private init(_ analyzer: Analyzer) { self.analyzer = analyzer }

    /// Solves `indices[k] == targets[k]` for `unknowns`. nil: there is no solution.
    /// - Parameter analyzer: knows the ranges of the variables in `targets`; it learns those of the free ones.
    /// - Parameter eliminate: false = enumerate all unknowns and compare, the plain form.
    static func solve(
        _ indices: [PrimExpr], _ targets: [PrimExpr], unknowns: [IterVar], analyzer: Analyzer,
        eliminate: Bool = true
    ) -> Result? {
        let s = IndexInversion(analyzer)
        for v in unknowns { s.add(v) }
        var compared: [(PrimExpr, PrimExpr)] = []
        for (f, j) in zip(indices, targets) {
            if eliminate, f.dtype == .index, let l = s.linear(f), let e = l.adding(Linear(rest: j), times: -1)
            {
                s.equations.append(e)
            } else {
                compared.append((f, j))
            }
        }
        s.eliminate()
        return s.result(compared)
    }

    private func unknown(_ name: String, _ extent: PrimExpr) -> Var {
        let v = Var(name)
        extents[v] = extent
        order.append(v)
        analyzer.bind(v, IRRange(extent: extent))
        return v
    }

    private func add(_ v: IterVar) {
        let u = unknown(v.variable.name, v.dom.extent)
        let value = Linear(terms: [(variable: u, factor: 1)], rest: v.dom.min)
        originals.append((variable: v.variable, value: value))
        known.insert(v.variable)
        analyzer.bind(v.variable, v.dom)
    }

    // MARK: Equations

    private func linear(_ e: PrimExpr) -> Linear? {
        if !uses(e, known) { return Linear(rest: e) }
        switch e.kind {
        case .variable:
            return originals.first { $0.variable === e }?.value
        case .add, .sub:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            guard let x = linear(b.a), let y = linear(b.b) else { return nil }
            return x.adding(y, times: e.kind == .add ? 1 : -1)
        case .mul:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            for (x, y) in [(b.a, b.b), (b.b, b.a)] {
                if let k = y.asInt, let inner = linear(x) { return Linear().adding(inner, times: k) }
            }
            return nil
        case .floorDiv, .floorMod:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            guard let c = b.b.asInt, c > 0 else { return nil }
            return divided(b.a, c, quotient: e.kind == .floorDiv)
        default: return nil
        }
    }

    private func divided(_ x: PrimExpr, _ c: Int, quotient: Bool) -> Linear? {
        if let s = split.first(where: { $0.divisor == c && sameExpr($0.dividend, x) }) {
            return quotient ? s.quotient : Linear(terms: [(variable: s.remainder, factor: 1)])
        }
        guard let inner = linear(x) else { return nil }
        let bound = analyzer.constIntBound(x)
        guard bound.isFinite, let low = floorDivide(bound.min, c), let high = floorDivide(bound.max, c),
            high >= low, high - low < Int.max
        else { return nil }
        let q = unknown("q", IntImm(high - low + 1))
        let r = unknown("r", IntImm(c))
        let quotientForm = Linear(terms: [(variable: q, factor: 1)], rest: IntImm(low))
        // x - c * quotient - remainder == 0
        guard let a = inner.adding(quotientForm, times: 0 - c),
            let equation = a.adding(Linear(terms: [(variable: r, factor: 1)]), times: -1)
        else { return nil }
        equations.append(equation)
        split.append((dividend: x, divisor: c, quotient: quotientForm, remainder: r))
        return quotient ? quotientForm : Linear(terms: [(variable: r, factor: 1)])
    }

    // MARK: Elimination

    private func simplify(_ e: PrimExpr) -> PrimExpr { analyzer.simplify(e) }

    private func eliminate() {
        while true {
            equations = equations.filter { e in
                if !e.terms.isEmpty { return true }
                conditions.append(e.rest .== 0)
                return false
            }
            if equations.isEmpty { return }
            for i in equations.indices { reduceByDivisor(i) }
            // Fewest variables first; of those, coefficients of 1 and -1 only.
            func rank(_ l: Linear) -> Int {
                (l.terms.allSatisfy { $0.factor.magnitude == 1 } ? 0 : 1 << 20) + l.terms.count
            }
            guard let at = equations.indices.min(by: { rank(equations[$0]) < rank(equations[$1]) }) else {
                return
            }
            let e = equations[at]
            if e.terms.count == 1 || e.terms.allSatisfy({ $0.factor.magnitude == 1 }) {
                let t = e.terms.dropFirst().reduce(e.terms[0]) { larger($1, $0) ? $1 : $0 }
                guard resolve(at, t.variable, t.factor) else { return giveUp() }
            } else if !narrow(at) {
                return giveUp()
            }
        }
    }

    /// All coefficients by their common divisor; what it does not divide has no solution.
    private func reduceByDivisor(_ i: Int) {
        func gcd(_ a: Int, _ b: Int) -> Int { b == 0 ? a : gcd(b, a % b) }
        if equations[i].terms.contains(where: { $0.factor == .min }) { return }
        var g = 0
        for t in equations[i].terms { g = gcd(g, abs(t.factor)) }
        if g <= 1 { return }
        let rest = simplify(equations[i].rest)
        conditions.append(floorMod(rest, g) .== 0)
        equations[i].rest = floorDiv(rest, g)
        for k in equations[i].terms.indices { equations[i].terms[k].factor /= g }
    }

    /// Whether `a` is the better variable to solve for: by coefficient, then by range.
    private func larger(_ a: (variable: Var, factor: Int), _ b: (variable: Var, factor: Int)) -> Bool {
        if a.factor.magnitude != b.factor.magnitude { return a.factor.magnitude > b.factor.magnitude }
        let x = extents[a.variable]?.asInt ?? Int.max
        let y = extents[b.variable]?.asInt ?? Int.max
        return x > y
    }

    /// `factor * v + others == 0` with factor 1 or -1.
    private func resolve(_ at: Int, _ v: Var, _ factor: Int) -> Bool {
        var others = equations[at]
        others.terms.removeAll { $0.variable === v }
        guard let value = Linear().adding(others, times: factor == 1 ? -1 : 1) else { return false }
        equations.remove(at: at)
        return put(v, value)
    }

    private func put(_ v: Var, _ value: Linear) -> Bool {
        var value = value
        value.rest = simplify(value.rest)
        for i in equations.indices {
            guard var e = equations[i].replacing(v, value) else { return false }
            e.rest = simplify(e.rest)
            equations[i] = e
        }
        for i in solved.indices {
            guard let s = solved[i].value.replacing(v, value) else { return false }
            solved[i].value = s
        }
        for i in originals.indices {
            guard let o = originals[i].value.replacing(v, value) else { return false }
            originals[i].value = o
        }
        solved.append((variable: v, value: value))
        return true
    }

    /// Enumerates as little as determines one variable of an equation with larger coefficients.
    private func narrow(_ at: Int) -> Bool {
        var e = equations[at]
        let top = e.terms.dropFirst().reduce(e.terms[0]) { larger($1, $0) ? $1 : $0 }
        if top.factor == .min { return false }
        if top.factor < 0 {
            guard let negated = Linear().adding(e, times: -1) else { return false }
            e = negated
        }
        let c = abs(top.factor)
        guard let extent = extents[top.variable] else { return false }
        var low: PrimExpr = IntImm(0)
        var high: PrimExpr = IntImm(0)
        for t in e.terms where t.variable !== top.variable {
            guard let n = extents[t.variable] else { return false }
            let span = (n - 1) * t.factor
            if t.factor > 0 { high = high + span } else { low = low + span }
        }
        let count = simplify(floorDiv(high - low, c) + 1)
        var narrower = false
        if let n = count.asInt { narrower = extent.asInt.map { n <= $0 } ?? true }
        guard narrower else { return enumerate(top.variable) }
        // c * v + R + rest == 0 with R in low...high: v is at most floor((-rest - low) / c).
        var value = Linear(rest: floorDiv(const(0) - e.rest - low, c))
        if count.asInt.map({ $0 > 1 }) ?? true {
            let q = unknown(top.variable.name, count)
            guard enumerate(q), let v = value.adding(Linear(rest: q), times: -1) else { return false }
            value = v
        }
        return put(top.variable, value)
    }

    /// `v` becomes an axis of the result.
    private func enumerate(_ v: Var) -> Bool {
        guard let extent = extents[v] else { return false }
        order.removeAll { $0 === v }
        free.append((variable: v, extent: extent))
        let value = Linear(rest: v)
        for i in equations.indices {
            guard let e = equations[i].replacing(v, value) else { return false }
            equations[i] = e
        }
        for i in solved.indices {
            guard let s = solved[i].value.replacing(v, value) else { return false }
            solved[i].value = s
        }
        for i in originals.indices {
            guard let o = originals[i].value.replacing(v, value) else { return false }
            originals[i].value = o
        }
        return true
    }

    /// Numbers beyond the index type: what is left is compared.
    private func giveUp() {
        for e in equations { conditions.append(e.expression .== 0) }
        equations = []
    }

    // MARK: Result

    private func result(_ compared: [(PrimExpr, PrimExpr)]) -> Result? {
        let done = Set(solved.map { $0.variable })
        for v in order where !done.contains(v) {
            if let n = extents[v] { free.append((variable: v, extent: n)) }
        }
        var values: [Var: PrimExpr] = [:]
        for o in originals { values[o.variable] = simplify(o.value.expression) }
        var bodies: [Var: PrimExpr] = [:]
        for s in solved { bodies[s.variable] = s.value.expression }
        var all = conditions.map { substitute($0, bodies) }
        for s in solved {
            guard let n = extents[s.variable] else { continue }
            let e = simplify(s.value.expression)
            all.append(e .>= 0)
            all.append(e .< n)
        }
        for (f, j) in compared { all.append(substitute(f, values) .== j) }
        var kept: [PrimExpr] = []
        for c in all {
            let s = simplify(c)
            if s.isFalse { return nil }
            if s.isTrue || kept.contains(where: { structuralEqual($0, s) }) { continue }
            kept.append(s)
        }
        return Result(values: values, free: free, conditions: kept)
    }
}
