import ApusIR
import ApusRuntime
import ApusTIR

// Linear shapes of expressions and of conditions. (TVM's detect_linear_equation.)
extension Analyzer {
    /// `e` as `sum(coefficients[i] * variables[i]) + base`, where neither coefficients nor base speak of the
    /// variables; nil if it has no such shape. Coefficients may be symbolic; works for any scalar number type.
    ///
    ///     detectLinearEquation((n * 4) * x + y * 7 + m, [x, y])     // [n * 4, 7], m
    public func detectLinearEquation(
        _ e: PrimExpr, _ variables: [Var]
    ) -> (coefficients: [PrimExpr], base: PrimExpr)? {
        var base = e
        var coefficients: [PrimExpr] = []
        for v in variables {
            // The normal form multiplies out and cancels; a product of sums is seen through as it is written.
            guard let part = linearPart(base, v) ?? linearPart(simplify(base), v) else { return nil }
            coefficients.append(simplify(part.coefficient ?? const(0, e.dtype)))
            base = part.base
        }
        let all = Set(variables)
        base = simplify(base)
        if uses(base, all) || coefficients.contains(where: { uses($0, all) }) { return nil }
        return (coefficients: coefficients, base: base)
    }

    /// `e = coefficient * v + base`; a nil coefficient is 0.
    private func linearPart(_ e: PrimExpr, _ v: Var) -> (coefficient: PrimExpr?, base: PrimExpr)? {
        if !uses(e, [v]) { return (coefficient: nil, base: e) }
        func sum(_ a: PrimExpr?, _ b: PrimExpr?, _ kind: PrimExprKind) -> PrimExpr? {
            guard let b else { return a }
            guard let a else { return kind == .add ? b : const(0, b.dtype) - b }
            return binary(kind, a, b)
        }
        switch e.kind {
        case .variable: return (coefficient: const(1, e.dtype), base: const(0, e.dtype))
        case .add, .sub:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            guard let a = linearPart(op.a, v), let b = linearPart(op.b, v) else { return nil }
            return (
                coefficient: sum(a.coefficient, b.coefficient, e.kind), base: binary(e.kind, a.base, b.base)
            )
        case .mul:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            guard let a = linearPart(op.a, v), let b = linearPart(op.b, v) else { return nil }
            if let k = a.coefficient {
                return b.coefficient == nil ? (coefficient: k * b.base, base: a.base * b.base) : nil
            }
            return (coefficient: b.coefficient.map { $0 * a.base }, base: a.base * b.base)
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            return c.name == "tir.likely" ? linearPart(c.args[0], v) : nil
        default: return nil
        }
    }

    /// Whether `condition` is a conjunction of limits of the variables, one variable in each: their inclusive ends in
    /// the order of `variables`, nil where there is none on that side; nil if the condition has another shape.
    /// The condition holds if and only if all variables lie within their ends.
    ///
    ///     detectClipBound(and(a .< b * 6, (a - 1) .> 0), [a])     // 2 ... b * 6 - 1
    public func detectClipBound(
        _ condition: PrimExpr, _ variables: [Var]
    ) -> [(lower: PrimExpr?, upper: PrimExpr?)]? {
        var ends: [(lower: PrimExpr?, upper: PrimExpr?)] = variables.map { _ in (lower: nil, upper: nil) }
        var pending = [condition]
        while let c = pending.popLast() {
            if c.isTrue { continue }
            if c.kind == .and {
                let op = unsafeDowncast(c, to: BinaryExpr.self)
                pending.append(op.b)
                pending.append(op.a)
                continue
            }
            if let call = c as? Call, call.name == "tir.likely" {
                pending.append(call.args[0])
                continue
            }
            let used = variables.indices.filter { uses(c, [variables[$0]]) }
            guard used.count == 1, let op = c as? BinaryExpr, op.a.dtype == .index else { return nil }
            let i = used[0]
            let parts = c.kind == .eq ? [LE(op.a, op.b), GE(op.a, op.b)] : [c]
            for p in parts {
                guard let s = solve(p, for: variables[i]) else { return nil }
                if let lo = s.lower {
                    ends[i].lower = ends[i].lower.map { simplify(maximum($0, lo)) } ?? lo
                }
                if let hi = s.upper {
                    ends[i].upper = ends[i].upper.map { simplify(minimum($0, hi)) } ?? hi
                }
            }
        }
        return ends
    }
}
