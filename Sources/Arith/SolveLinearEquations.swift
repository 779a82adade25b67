import ApusIR
import ApusRuntime
import ApusTIR

// Systems of linear equations over the integers, by Smith normal form: with U A V = S and x = V y, A x = b becomes
// S y = U b, each of whose rows speaks of one y. (TVM's solve_linear_equation.)

/// The points of `system` by independent variables: its linear equations solved, the variables that stay free renamed
/// `n0`, `n1`, …, their ranges derived, everything else of the system restated in them.
///
/// Equations need constant coefficients; the right side may be symbolic, then the solution asks for it to be divisible
/// where that is not known. A contradiction gives a target with the relation `False`. Where the numbers do not
/// fit 64 bits the equations stay relations.
///
///     m + n == 10                      // m = n0, n = 10 - n0
public func solveLinearEquations(_ system: IntConstraints) -> IntConstraintsTransform {
    let plain = Analyzer()
    var matrix: [[Int]] = []
    var right: [PrimExpr] = []
    var others: [PrimExpr] = []
    for r in conjunction(system.relations) {
        if r.kind == .eq, let op = r as? BinaryExpr, op.a.dtype == .index,
            let (row, base) = constantCoefficients(op.a - op.b, system.variables, plain)
        {
            matrix.append(row)
            right.append(plain.simplify(const(0) - base))
        } else {
            others.append(r)
        }
    }
    let identity = system.variables.map { $0 as PrimExpr }
    func unchanged(_ target: IntConstraints) -> IntConstraintsTransform {
        IntConstraintsTransform(system, target, srcToDst: identity, dstToSrc: identity)
    }
    guard !matrix.isEmpty, matrix.count * system.variables.count <= 4096, let f = smithNormalForm(matrix)
    else {
        return unchanged(system)
    }

    let known = Analyzer()
    let list = zip(system.rangeVariables, system.ranges).map { (variable: $0, range: $1) }
    let parameters = list.filter { p in !system.variables.contains { $0 === p.variable } }
    for p in parameters { known.bind(p.variable, p.range) }
    func impossible() -> IntConstraintsTransform {
        unchanged(IntConstraints(system.variables, ranges: list, relations: [falseExpr]))
    }

    var relations: [PrimExpr] = []
    var y: [PrimExpr] = []
    for i in matrix.indices {
        let c = known.simplify(combination(f.u[i], right))
        if i >= f.rank {
            let condition = known.simplify(c .== 0)
            if condition.isFalse { return impossible() }
            if !condition.isTrue { relations.append(condition) }
            continue
        }
        let d = f.s[i][i]
        if d != 1 {
            let condition = known.simplify(floorMod(c, d) .== 0)
            if condition.isFalse { return impossible() }
            if !condition.isTrue { relations.append(condition) }
        }
        y.append(known.simplify(floorDiv(c, d)))
    }
    var free: [Var] = []
    for j in f.rank..<Swift.max(system.variables.count, f.rank) {
        free.append(Var("n\(j - f.rank)"))
        y.append(free[j - f.rank])
    }
    let forward = system.variables.indices.map { known.simplify(combination(f.v[$0], y)) }
    let back = free.indices.map { plain.simplify(combination(f.vInverse[f.rank + $0], identity)) }

    // Ranges of the free variables from those of the variables that they are sums of.
    var domains: [Var: IntervalSet] = [:]
    for (v, r) in zip(system.rangeVariables, system.ranges) { domains[v] = IntervalSet(r) }
    for p in parameters { domains[p.variable] = nil }
    var ranges = parameters
    for (v, e) in zip(free, back) {
        let set = plain.evalSet(e, domains)
        guard let lo = set.min, let hi = set.max, !uses(lo, Set(system.variables)),
            !uses(hi, Set(system.variables))
        else { continue }
        let range = IRRange(min: known.simplify(lo), extent: known.simplify(hi - lo + 1))
        if let n = range.extent.asInt, n <= 0 { return impossible() }
        ranges.append((variable: v, range: range))
        known.bind(v, range)
    }
    var map: [Var: PrimExpr] = [:]
    for (v, e) in zip(system.variables, forward) { map[v] = e }
    for (v, r) in zip(system.rangeVariables, system.ranges) {
        guard let e = map[v] else { continue }
        others.append(GE(e, substitute(r.min, map)))
        others.append(LT(e, substitute(r.min + r.extent, map)))
    }
    for o in others {
        let condition = known.simplify(substitute(o, map))
        if condition.isFalse { return impossible() }
        if !condition.isTrue && !relations.contains(where: { sameExpr($0, condition) }) {
            relations.append(condition)
        }
    }
    return IntConstraintsTransform(
        system, IntConstraints(free, ranges: ranges, relations: relations), srcToDst: forward, dstToSrc: back)
}

/// `sum(coefficients[i] * terms[i])`
private func combination(_ coefficients: [Int], _ terms: [PrimExpr]) -> PrimExpr {
    var sum: PrimExpr = const(0)
    for (k, t) in zip(coefficients, terms) where k != 0 { sum = sum + t * k }
    return sum
}

/// Constant coefficients, not all 0, of the variables, and the rest; nil if `e` has none.
private func constantCoefficients(
    _ e: PrimExpr, _ variables: [Var], _ a: Analyzer
) -> (row: [Int], base: PrimExpr)? {
    guard let (coefficients, base) = a.detectLinearEquation(e, variables) else { return nil }
    var row: [Int] = []
    for c in coefficients {
        guard let v = c.asInt else { return nil }
        row.append(v)
    }
    return row.contains { $0 != 0 } ? (row: row, base: base) : nil
}

/// The members of conjunctions, `likely` taken off.
func conjunction(_ conditions: [PrimExpr]) -> [PrimExpr] {
    var result: [PrimExpr] = []
    var pending: [PrimExpr] = conditions.reversed()
    while let c = pending.popLast() {
        if c.kind == .and {
            let op = unsafeDowncast(c, to: BinaryExpr.self)
            pending.append(op.b)
            pending.append(op.a)
        } else if let call = c as? Call, call.name == "tir.likely" {
            pending.append(call.args[0])
        } else if !c.isTrue {
            result.append(c)
        }
    }
    return result
}
