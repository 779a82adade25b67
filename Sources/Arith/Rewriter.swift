import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR

/// Binds the pattern variables of a rule while matching.
struct PatternMatch {
    private(set) var bindings: [(variable: Var, value: PrimExpr)] = []
    /// The type that the integer variables stand for, known from the first one bound.
    private(set) var type: DataType?

    func value(of v: Var) -> PrimExpr? {
        for b in bindings where b.variable === v { return b.value }
        return nil
    }

    mutating func match(_ pattern: PrimExpr, _ e: PrimExpr) -> Bool {
        switch pattern.kind {
        case .variable:
            let v = unsafeDowncast(pattern, to: Var.self)
            if let known = value(of: v) { return sameExpr(known, e) }
            if v.dtype.isBool {
                guard e.dtype.isBool else { return false }
            } else {
                // Patterns speak of integers: for floats, NaN breaks the order that they rely on.
                guard e.dtype.isInteger, e.dtype.isScalar, e.dtype != .uint64, type == nil || type == e.dtype
                else {
                    return false
                }
                if RewriteRules.constants.contains(v) && e.kind != .intImm { return false }
                if e.dtype.isBool { return false }
                type = e.dtype
            }
            bindings.append((variable: v, value: e))
            return true
        case .intImm: return e.kind == .intImm && e.asInt == pattern.asInt && e.dtype == pattern.dtype
        case .not:
            return e.kind == .not
                && match(unsafeDowncast(pattern, to: Not.self).a, unsafeDowncast(e, to: Not.self).a)
        case .select:
            guard e.kind == .select else { return false }
            let p = unsafeDowncast(pattern, to: Select.self)
            let s = unsafeDowncast(e, to: Select.self)
            return match(p.condition, s.condition) && match(p.trueValue, s.trueValue)
                && match(p.falseValue, s.falseValue)
        default:
            guard e.kind == pattern.kind, let p = pattern as? BinaryExpr, let b = e as? BinaryExpr else {
                return false
            }
            return match(p.a, b.a) && match(p.b, b.b)
        }
    }

    /// The right side of a rule with what was bound put in.
    func build(_ e: PrimExpr) -> PrimExpr {
        if e.kind == .variable { return value(of: unsafeDowncast(e, to: Var.self)) ?? e }
        return mapChildren(of: e) { build($0) }
    }
}

extension Analyzer {
    /// The first rule that fits `e` applied to it, or nil. `e`'s operands are simplified already.
    func rewrite(_ e: PrimExpr) -> PrimExpr? {
        guard ruleDepth < 6, let rules = RewriteRules.byRoot[e.kind] else { return nil }
        for rule in rules {
            var m = PatternMatch()
            guard m.match(rule.before, e) else { continue }
            if !rule.condition.isTrue && !m.build(rule.condition).isTrue { continue }
            return m.build(rule.after)
        }
        return nil
    }

    private func rewriteFully(_ e: PrimExpr) -> PrimExpr {
        guard let r = rewrite(e) else { return e }
        ruleDepth += 1
        defer { ruleDepth -= 1 }
        return simplify(r)
    }

    func extremum(_ kind: PrimExprKind, _ a: LinearForm, _ b: LinearForm) -> LinearForm {
        if a == b { return a }
        if let x = a.asConstant, let y = b.asConstant {
            return LinearForm(kind == .min ? Swift.min(x, y) : Swift.max(x, y))
        }
        if isTame(a), isTame(b), let d = b.adding(a, times: -1), let n = d.scaled(by: -1) {
            if proveNonNegative(d) { return kind == .min ? a : b }
            if proveNonNegative(n) { return kind == .min ? b : a }
        } else if bound(a).max <= bound(b).min {
            return kind == .min ? a : b
        } else if bound(b).max <= bound(a).min {
            return kind == .min ? b : a
        }
        let e = extremumAtom(kind, a, b)
        if nested(a) || nested(b), let n = e.asAtom, let r = rewrite(atoms[n].expr) {
            ruleDepth += 1
            defer { ruleDepth -= 1 }
            return form(r)
        }
        return e
    }

    private func nested(_ f: LinearForm) -> Bool {
        guard let n = f.asAtom else { return false }
        switch atoms[n].kind {
        case .min, .max, .opaque: return true
        default: return false
        }
    }

    /// Simplifies what is not an index scalar, and index scalars that are not arithmetic.
    func simplifyOther(_ e: PrimExpr) -> PrimExpr {
        switch e.kind {
        case .variable: return otherValue[ObjectIdentifier(e)] ?? fact(e)
        case .eq, .ne, .lt, .le, .gt, .ge:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            if op.a.dtype == .index {
                let a = form(op.a)
                let b = form(op.b)
                if nested(a) || nested(b) {
                    let plain = BinaryExpr.raw(e.kind, build(a), build(b))
                    if let r = rewrite(plain) {
                        ruleDepth += 1
                        defer { ruleDepth -= 1 }
                        return simplify(r)
                    }
                }
                let result = compare(e.kind, a, b)
                return fact(sameExpr(result, e) ? e : result)
            }
            return fact(rewriteFully(op.with2(simplify(op.a), simplify(op.b))))
        case .and, .or: return simplifyLogic(unsafeDowncast(e, to: BinaryExpr.self))
        case .not:
            let a = simplify(unsafeDowncast(e, to: Not.self).a)
            let n = a === unsafeDowncast(e, to: Not.self).a ? e : not(a)
            return n.kind == .not ? fact(rewriteFully(n)) : n
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            let c = simplify(s.condition)
            // Both sides are evaluated whatever the condition, so nothing may be assumed inside them.
            let t = simplify(s.trueValue)
            let f = simplify(s.falseValue)
            let same = c === s.condition && t === s.trueValue && f === s.falseValue
            let n = same ? e : select(c, t, f)
            return n.kind == .select ? rewriteFully(n) : n
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            switch c.name {
            case "tir.if_then_else":
                let condition = simplify(c.args[0])
                if let v = condition.asInt { return simplify(c.args[v != 0 ? 1 : 2]) }
                let t = withConstraint(condition) { simplify(c.args[1]) }
                let f = withConstraint(not(condition)) { simplify(c.args[2]) }
                let same = condition === c.args[0] && t === c.args[1] && f === c.args[2]
                return same ? e : Call(c.dtype, c.op, [condition, t, f])
            case "tir.likely":
                let a = simplify(c.args[0])
                if a.kind == .intImm { return a }
                return a === c.args[0] ? e : Call(c.dtype, c.op, [a])
            default: return mapChildren(of: e) { simplify($0) }
            }
        case .min, .max:
            let n = mapChildren(of: e) { simplify($0) }
            return n.kind == e.kind && n.dtype.isInteger ? rewriteFully(n) : n
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            let value = simplify(l.value)
            bindProperties(of: l.variable, from: value)
            let body = simplify(l.body)
            return value === l.value && body === l.body ? e : Let(l.variable, value, body)
        default:
            return mapChildren(of: e) { simplify($0) }
        }
    }

    /// `e` as decided by a known condition.
    private func fact(_ e: PrimExpr) -> PrimExpr {
        guard e.dtype.isBool, e.kind != .intImm else { return e }
        for f in facts.reversed() where sameExpr(f.condition, e) { return f.value ? trueExpr : falseExpr }
        return e
    }

    private func simplifyLogic(_ e: BinaryExpr) -> PrimExpr {
        guard e.dtype.isScalar else { return mapChildren(of: e) { simplify($0) } }
        let a = simplify(e.a)
        if a.kind == .intImm {
            return a.isTrue == (e.kind == .and) ? simplify(e.b) : a
        }
        let b: PrimExpr
        if e.kind == .and {
            b = withConstraint(a) { simplify(e.b) }
        } else {
            b = withConstraint(not(a)) { simplify(e.b) }
        }
        if b.kind == .intImm { return b.isTrue == (e.kind == .and) ? a : b }
        // Pairs of members of a chain may contradict, absorb or merge.
        var parts = flattened(a, e.kind)
        for next in flattened(b, e.kind) {
            var merged = false
            for i in parts.indices where !merged {
                if parts.count > 8 { break }
                let pair = BinaryExpr.raw(e.kind, parts[i], next)
                if let r = rewrite(pair), r.kind != e.kind {
                    if r.kind == .intImm { return r }
                    parts[i] = simplify(r)
                    merged = true
                }
            }
            if !merged { parts.append(next) }
        }
        var result = parts[0]
        for p in parts.dropFirst() { result = binary(e.kind, result, p) }
        return fact(sameExpr(result, e) ? e : result)
    }

    private func flattened(_ e: PrimExpr, _ kind: PrimExprKind) -> [PrimExpr] {
        guard e.kind == kind else { return [e] }
        let op = unsafeDowncast(e, to: BinaryExpr.self)
        return flattened(op.a, kind) + flattened(op.b, kind)
    }
}

extension BinaryExpr {
    /// As `with`, folding constants.
    func with2(_ x: PrimExpr, _ y: PrimExpr) -> PrimExpr { x === a && y === b ? self : binary(kind, x, y) }
}
