import ApusIR
import ApusRuntime
import ApusTIR

// Systems of linear inequalities over the integers by Fourier-Motzkin elimination: what is said about the first
// variable goes to its bounds, pairs of its lower and upper bounds say something about the others. Each inequality is
// divided by the common divisor of its coefficients and its constant rounded inwards (Pugh, The Omega Test, 1991, the
// real shadow). All bounds together with the other conditions are equivalent to the system.
// (TVM's solve_linear_inequality.)

/// A system whose variables have bounds in terms of later ones only.
public struct PartiallySolvedInequalities: Sendable {
    /// One for each variable, in the order of the system.
    public let bounds: [(variable: Var, bounds: IntGroupBounds)]
    /// What is not linear in the variables, or speaks of parameters alone; `[False]` where there is no point.
    public let others: [PrimExpr]

    /// All of it as conditions.
    public var conditions: [PrimExpr] { bounds.flatMap { $0.bounds.conditions(on: $0.variable) } + others }
}

/// The bounds of each variable in terms of those after it. Ranges count as inequalities. Work is limited: beyond
/// some hundred inequalities at a time no further ones are derived, which leaves the result right but weaker.
public func solveLinearInequalities(_ system: IntConstraints) -> PartiallySolvedInequalities {
    var e = Elimination(system)
    return e.run()
}

/// The system as the smallest ranges of its variables that were found, each in terms of later variables, and the
/// relations that the ranges do not imply.
public func solveInequalitiesToRange(_ system: IntConstraints) -> IntConstraints {
    let solved = solveLinearInequalities(system)
    let parameters = parameterRanges(system)
    let known = Analyzer()
    for p in parameters { known.bind(p.variable, p.range) }
    var ranges: [Var: IRRange] = [:]
    for (v, b) in solved.bounds.reversed() {
        guard let range = b.findBestRange(ranges, known) else { continue }
        if range.extent.asInt == 0 { return contradiction(system) }
        ranges[v] = range
        known.bind(v, range)
    }
    var relations: [PrimExpr] = []
    for c in solved.conditions {
        let condition = known.simplify(c)
        if condition.isFalse { return contradiction(system) }
        if !condition.isTrue && !relations.contains(where: { sameExpr($0, condition) }) {
            relations.append(condition)
        }
    }
    let list = system.variables.compactMap { v in ranges[v].map { (variable: v, range: $0) } }
    return IntConstraints(system.variables, ranges: parameters + list, relations: relations)
}

/// As `solveInequalitiesToRange`, in new variables whose ranges start at 0 and have constant or parametric extents: each
/// variable is its new one plus its minimum; a variable of one value disappears.
public func solveInequalitiesDeskewRange(_ system: IntConstraints) -> IntConstraintsTransform {
    let solved = solveLinearInequalities(system)
    let parameters = parameterRanges(system)
    let known = Analyzer()
    for p in parameters { known.bind(p.variable, p.range) }
    let identity = system.variables.map { $0 as PrimExpr }
    func impossible() -> IntConstraintsTransform {
        IntConstraintsTransform(system, contradiction(system), srcToDst: identity, dstToSrc: identity)
    }
    var ranges: [Var: IRRange] = [:]
    var forward: [Var: PrimExpr] = [:]
    var made: [(old: Var, new: Var, range: IRRange?, back: PrimExpr)] = []
    let plain = Analyzer()
    for (v, b) in solved.bounds.reversed() {
        guard let range = b.findBestRange(ranges, known) else {
            let new = Var(v.name)
            forward[v] = new
            made.append((old: v, new: new, range: nil, back: v))
            continue
        }
        if range.extent.asInt == 0 { return impossible() }
        ranges[v] = range
        known.bind(v, range)
        let low = substitute(range.min, forward)
        if range.extent.asInt == 1 {
            forward[v] = low
            continue
        }
        let new = Var(v.name)
        let own = IRRange(extent: range.extent)
        known.bind(new, own)
        forward[v] = plain.simplify(new + low)
        made.append((old: v, new: new, range: own, back: plain.simplify(v - range.min)))
    }
    var relations: [PrimExpr] = []
    for c in solved.conditions {
        let condition = known.simplify(substitute(c, forward))
        if condition.isFalse { return impossible() }
        if !condition.isTrue && !relations.contains(where: { sameExpr($0, condition) }) {
            relations.append(condition)
        }
    }
    made.reverse()
    let list = made.compactMap { m in m.range.map { (variable: m.new, range: $0) } }
    return IntConstraintsTransform(
        system, IntConstraints(made.map(\.new), ranges: parameters + list, relations: relations),
        srcToDst: system.variables.map { forward[$0] ?? $0 }, dstToSrc: made.map(\.back))
}

/// The ranges of variables that the system does not solve for.
private func parameterRanges(_ system: IntConstraints) -> [(variable: Var, range: IRRange)] {
    zip(system.rangeVariables, system.ranges).map { (variable: $0, range: $1) }.filter { p in
        !system.variables.contains { $0 === p.variable }
    }
}

private func contradiction(_ system: IntConstraints) -> IntConstraints {
    IntConstraints(
        system.variables, ranges: zip(system.rangeVariables, system.ranges).map { (variable: $0, range: $1) },
        relations: [falseExpr])
}

/// Inequalities `form >= 0`, of those with the same terms the strongest, in order of arrival.
private struct InequalitySet {
    private var index: [[LinearForm.Term]: Int] = [:]
    private(set) var forms: [LinearForm] = []

    mutating func add(_ f: LinearForm) {
        if let i = index[f.terms] {
            forms[i].constant = Swift.min(forms[i].constant, f.constant)
        } else {
            index[f.terms] = forms.count
            forms.append(f)
        }
    }
    /// The constant of the inequality with exactly these terms.
    func constant(of terms: [LinearForm.Term]) -> Int? { index[terms].map { forms[$0].constant } }
}

private struct Elimination {
    /// For the normal forms; knows no ranges, so that variables stay in them.
    let plain = Analyzer()
    /// Knows all ranges, to drop what they imply.
    let known = Analyzer()
    let system: IntConstraints
    var inequalities = InequalitySet()
    var equalities: [LinearForm] = []
    var others: [PrimExpr] = []
    var failed = false
    /// Pairs that may still be combined.
    var budget = 2000

    init(_ system: IntConstraints) { self.system = system }

    mutating func run() -> PartiallySolvedInequalities {
        for (v, r) in zip(system.rangeVariables, system.ranges) { known.bind(v, r) }
        for v in system.variables {
            guard let r = system.range(of: v) else { continue }
            // Ranges are kept: what they imply is dropped elsewhere.
            take(GE(v, r.min), droppable: false)
            take(LT(v, r.min + r.extent), droppable: false)
        }
        for c in conjunction(system.relations) { take(c, droppable: true) }
        var bounds: [(variable: Var, bounds: IntGroupBounds)] = []
        for v in system.variables {
            bounds.append((variable: v, bounds: eliminate(v)))
            if failed { break }
        }
        for f in inequalities.forms { others.append(plain.simplify(plain.build(f) .>= 0)) }
        for f in equalities { others.append(plain.simplify(plain.build(f) .== 0)) }
        var kept: [PrimExpr] = []
        for o in others {
            let c = system.variables.contains { uses(o, [$0]) } ? plain.simplify(o) : known.simplify(o)
            if c.isFalse { failed = true }
            if !c.isTrue { kept.append(c) }
        }
        if failed {
            let none = system.variables.map {
                (variable: $0, bounds: IntGroupBounds(const(1), lower: [], equal: [], upper: []))
            }
            return PartiallySolvedInequalities(bounds: none, others: [falseExpr])
        }
        return PartiallySolvedInequalities(bounds: bounds, others: kept)
    }

    private mutating func take(_ c: PrimExpr, droppable: Bool) {
        guard let op = c as? BinaryExpr, op.a.dtype == .index else {
            others.append(c)
            return
        }
        let a = plain.form(op.a)
        let b = plain.form(op.b)
        guard let d = a.adding(b, times: -1), let n = b.adding(a, times: -1), isLinear(d) else {
            others.append(c)
            return
        }
        func one(_ f: LinearForm?) {
            guard let f else {
                others.append(c)
                return
            }
            add(f, droppable: droppable)
        }
        switch c.kind {
        case .lt: one(n.adding(LinearForm(-1)))
        case .le: one(n)
        case .gt: one(d.adding(LinearForm(-1)))
        case .ge: one(d)
        case .eq: addEquality(d)
        default: others.append(c)
        }
    }

    /// Whether the variables occur by constant coefficients only.
    private func isLinear(_ f: LinearForm) -> Bool {
        for v in system.variables {
            let n = plain.variableAtom(v)
            if plain.mentions(f.removing(n), n) { return false }
        }
        return true
    }

    private mutating func add(_ f: LinearForm, droppable: Bool) {
        let g = f.coefficientGCD
        if f.terms.isEmpty {
            if f.constant < 0 { failed = true }
            return
        }
        var f = f
        if g > 1, let c = floorDivide(f.constant, g) {
            f = LinearForm(constant: c * g, terms: f.terms).dividedExactly(by: g)
        }
        if droppable && known.canProve(GE(plain.build(f), const(0))) { return }
        // -f + c >= 0 and f + d >= 0 need c + d >= 0.
        if let n = f.scaled(by: -1), let c = inequalities.constant(of: n.terms) {
            let s = c.addingReportingOverflow(f.constant)
            if !s.overflow && s.partialValue < 0 { failed = true }
        }
        inequalities.add(f)
    }

    private mutating func addEquality(_ f: LinearForm) {
        if f.terms.isEmpty {
            if f.constant != 0 { failed = true }
            return
        }
        let g = f.coefficientGCD
        if g > 1 {
            if f.constant % g != 0 {
                failed = true
                return
            }
            equalities.append(f.dividedExactly(by: g))
        } else {
            equalities.append(f)
        }
    }

    /// Moves what is known of `v` to its bounds and derives what follows for the others.
    private mutating func eliminate(_ v: Var) -> IntGroupBounds {
        let n = plain.variableAtom(v)
        var lower: [LinearForm] = []
        var upper: [LinearForm] = []
        var equal: [LinearForm] = []
        let all = inequalities.forms
        let same = equalities
        inequalities = InequalitySet()
        equalities = []
        for f in all {
            let k = f.coefficient(of: n)
            if k == 0 { inequalities.add(f) } else if k > 0 { lower.append(f) } else { upper.append(f) }
        }
        for f in same { if f.coefficient(of: n) == 0 { equalities.append(f) } else { equal.append(f) } }
        equal.sort { $0.coefficient(of: n).magnitude < $1.coefficient(of: n).magnitude }
        if let e = equal.first {
            // With c*v + r = 0, |c| * f - sign(c) * k * e has no v and says, with e, what f says.
            let c = e.coefficient(of: n)
            func without(_ f: LinearForm) -> LinearForm? {
                let k = f.coefficient(of: n)
                guard c != .min, k != .min, let a = f.scaled(by: abs(c)) else { return nil }
                return a.adding(e, times: c > 0 ? -k : k)
            }
            var rest = [e]
            for f in equal.dropFirst() {
                if let g = without(f) { addEquality(g) } else { rest.append(f) }
            }
            equal = rest
            lower.removeAll { f in
                guard let g = without(f) else { return false }
                add(g, droppable: true)
                return true
            }
            upper.removeAll { f in
                guard let g = without(f) else { return false }
                add(g, droppable: true)
                return true
            }
        } else {
            combine(lower, upper, n)
        }
        return group(n, v, lower, equal, upper)
    }

    private mutating func combine(_ lower: [LinearForm], _ upper: [LinearForm], _ n: Int) {
        for p in lower {
            for q in upper {
                if budget <= 0 || inequalities.forms.count > 300 || failed { return }
                budget -= 1
                let a = p.coefficient(of: n)
                let b = q.coefficient(of: n)
                guard b != .min else { continue }
                let g = gcd(a, b)
                if let x = p.scaled(by: -b / g), let f = x.adding(q, times: a / g) { add(f, droppable: true) }
            }
        }
    }

    /// The bounds by one common coefficient; what does not fit becomes a condition.
    private mutating func group(
        _ n: Int, _ v: Var, _ lower: [LinearForm], _ equal: [LinearForm], _ upper: [LinearForm]
    ) -> IntGroupBounds {
        var common = 1
        for f in lower + equal + upper {
            // A common multiple that grows without bound would help nobody.
            if let m = lcm(common, f.coefficient(of: n)), m > 0, m < 1 << 31 { common = m }
        }
        // coef * v + rest >= 0  is  common * v >= -rest * (common / coef)
        func bound(_ f: LinearForm) -> PrimExpr? {
            let k = f.coefficient(of: n)
            guard k != .min, common % k == 0, let r = f.removing(n).scaled(by: -(common / k)) else {
                return nil
            }
            return plain.build(r)
        }
        var lists: [[PrimExpr]] = [[], [], []]
        for (i, forms) in [lower, equal, upper].enumerated() {
            for f in forms {
                if let e = bound(f) {
                    lists[i].append(e)
                } else {
                    let e = plain.build(f)
                    others.append(i == 1 ? EQ(e, const(0)) : GE(e, const(0)))
                }
            }
        }
        return IntGroupBounds(const(common), lower: lists[0], equal: lists[1], upper: lists[2])
    }
}
