import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR

// Simplification of what is not an index scalar, and of index scalars that are not arithmetic: operands first, then
// constants, then the rules of the root, then what is known of the values.
extension Analyzer {
    // MARK: Rules

    /// The first rule that fits `e` applied to it, or nil. The operands of `e` are simplified already.
    /// - Parameter movingForward: the second operand of `e` stands behind others in a chain of `&&` or `||`, which may
    ///   guard it: only rules that bring in nothing from there.
    func rewrite(_ e: PrimExpr, movingForward: Bool = false) -> PrimExpr? {
        if e.kind == .sub, e.dtype == .index {
            let s = unsafeDowncast(e, to: BinaryExpr.self)
            if let k = s.b.asInt, k != .min { return rewrite(Add(s.a, IntImm(-k))) }
        }
        let rules = RewriteRules.rules(e.kind)
        if rules.isEmpty { return nil }
        let kinds = childKinds(e)
        // `extremum` has compared the two sides already.
        let compared = e.dtype == .index && (e.kind == .min || e.kind == .max)
        var m = matchers.popLast() ?? RuleMatcher()
        defer { matchers.append(m) }
        for rule in rules {
            let accepted = rule.childKinds
            if accepted.0 & kinds.0 == 0 || accepted.1 & kinds.1 == 0 || accepted.2 & kinds.2 == 0 {
                continue
            }
            if movingForward && !rule.secondOperandKnown { continue }
            if compared && !rule.analyzerConditions.isEmpty { continue }
            statistics.attempts += 1
            m.reset(for: rule)
            guard m.match(rule.before, e), m.holds(rule, isTame: { m.operands.allSatisfy { isTame($0) } }),
                rule.constantConditions.allSatisfy({ m.evaluate($0) == 1 }),
                rule.analyzerConditions.allSatisfy({ ask($0, m, lanes: Int(e.dtype.lanes)) }),
                let result = m.build(rule.after, lanes: Int(e.dtype.lanes)), result.dtype == e.dtype
            else { continue }
            statistics.hits += 1
            if ruleHits != nil { ruleHits?[rule.name, default: 0] += 1 }
            return result
        }
        return nil
    }

    private func childKinds(_ e: PrimExpr) -> (UInt64, UInt64, UInt64) {
        func bit(_ e: PrimExpr) -> UInt64 { UInt64(1) << UInt64(e.kind.rawValue) }
        switch e.kind {
        case .not: return (bit(unsafeDowncast(e, to: Not.self).a), ~0, ~0)
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            return (bit(s.condition), bit(s.trueValue), bit(s.falseValue))
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            return (bit(r.base), bit(r.stride), ~0)
        case .call:
            let a = unsafeDowncast(e, to: Call.self).args
            return (
                a.isEmpty ? ~0 : bit(a[0]), a.count > 1 ? bit(a[1]) : ~0, a.count > 2 ? bit(a[2]) : ~0
            )
        default:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            return (bit(b.a), bit(b.b), ~0)
        }
    }

    /// Whether a side condition on variables can be proved.
    private func ask(_ c: RulePattern, _ m: RuleMatcher, lanes: Int) -> Bool {
        guard case .operation(let kind) = c.shape, c.children.count == 2, ruleDepth < 8 else { return false }
        func sides(_ lanes: Int) -> (x: PrimExpr, y: PrimExpr)? {
            guard let x = m.build(c.children[0], lanes: lanes), let y = m.build(c.children[1], lanes: lanes),
                x.dtype == y.dtype
            else { return nil }
            return (x: x, y: y)
        }
        // Of variables below `ramp` and `bcast` the condition speaks of scalars, and so are its constants.
        guard let (x, y) = sides(lanes) ?? (lanes == 1 ? nil : sides(1)) else { return false }
        ruleDepth += 1
        defer { ruleDepth -= 1 }
        if x.dtype == .index {
            switch kind {
            case .lt: return canProveLess(x, y)
            case .le: return canProveGreaterEqual(y, x)
            case .gt: return canProveLess(y, x)
            case .ge: return canProveGreaterEqual(x, y)
            case .eq: return canProveEqual(x, y)
            default: return false
            }
        }
        if kind == .eq { return same(simplify(x), simplify(y)) }
        let a = orderedBound(x)
        let b = orderedBound(y)
        switch kind {
        case .lt: return a.max < b.min
        case .le: return a.max <= b.min && a.max != ConstIntBound.posInf
        case .gt: return b.max < a.min
        case .ge: return b.max <= a.min && b.max != ConstIntBound.posInf
        default: return false
        }
    }

    /// `e` by one rule and simplified again, or `e`.
    private func rewriteFully(_ e: PrimExpr) -> PrimExpr {
        guard let r = rewrite(e) else { return e }
        if rewriteDepth >= Self.rewriteLimit {
            statistics.cutOff += 1
            return e
        }
        rewriteDepth += 1
        defer { rewriteDepth -= 1 }
        return simplify(r)
    }

    /// Rules applied one upon the result of another; what reaches this is a pair of rules that undo each other.
    static let rewriteLimit = 200

    /// What is left to do for a node whose operands are simplified.
    private func finish(_ e: PrimExpr) -> PrimExpr {
        if let c = ConstFold.fold(e) { return c }
        let r = rewriteFully(e)
        if r !== e { return r }
        switch e.kind {
        case .eq, .ne, .lt, .le, .gt, .ge:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            if let n = CastRules.rewriteComparison(op) { return simplify(n) }
            if let v = decideByBounds(op) { return ConstFold.make(v ? 1 : 0, e.dtype) }
            return fact(e)
        default: return e.dtype.isBool ? fact(e) : e
        }
    }

    /// Bounds in the order of the type: patterns of large 64-bit unsigned numbers read as negative.
    private func orderedBound(_ e: PrimExpr) -> ConstIntBound {
        let b = otherBound(e)
        return e.dtype.element == .uint64 && b.min < 0 ? .everything : b
    }

    private func decideByBounds(_ e: BinaryExpr) -> Bool? {
        guard e.a.dtype.isInteger, !e.a.dtype.isBool else { return nil }
        let a = orderedBound(e.a)
        let b = orderedBound(e.b)
        let less = a.max < b.min
        let more = b.max < a.min
        // An infinite end says only that nothing is known.
        let lessEqual = a.max <= b.min && a.max != ConstIntBound.posInf && b.min != ConstIntBound.negInf
        let moreEqual = b.max <= a.min && b.max != ConstIntBound.posInf && a.min != ConstIntBound.negInf
        switch e.kind {
        case .lt: return less ? true : (moreEqual ? false : nil)
        case .le: return lessEqual ? true : (more ? false : nil)
        case .gt: return more ? true : (lessEqual ? false : nil)
        case .ge: return moreEqual ? true : (less ? false : nil)
        case .eq, .ne:
            if less || more { return e.kind == .ne }
            if let x = a.single, x == b.single, x != ConstIntBound.negInf, x != ConstIntBound.posInf {
                return e.kind == .eq
            }
            return nil
        default: return nil
        }
    }

    // MARK: Index scalars

    func extremum(_ kind: PrimExprKind, _ a: LinearForm, _ b: LinearForm) -> LinearForm {
        if a == b { return a }
        if let x = a.asConstant, let y = b.asConstant {
            return LinearForm(kind == .min ? Swift.min(x, y) : Swift.max(x, y))
        }
        if isTame(a), isTame(b), let d = b.adding(a, times: -1), let n = d.scaled(by: -1) {
            if proveNonNegative(d) { return kind == .min ? a : b }
            if proveNonNegative(n) { return kind == .min ? b : a }
        } else {
            let x = valueBound(a)
            let y = valueBound(b)
            if x.max <= y.min, x.max != ConstIntBound.posInf { return kind == .min ? a : b }
            if y.max <= x.min, y.max != ConstIntBound.posInf { return kind == .min ? b : a }
        }
        let e = extremumAtom(kind, a, b)
        if nested(a) || nested(b), rewriteDepth < Self.rewriteLimit, let n = e.asAtom,
            let r = rewrite(atoms[n].expr)
        {
            rewriteDepth += 1
            defer { rewriteDepth -= 1 }
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

    /// A short sum with an extremum or a selection in it, by the rules for sums, if that leaves less.
    func rewrittenSum(_ f: LinearForm) -> LinearForm {
        guard f.terms.count >= 1, f.terms.count <= 3, f.terms.count > 1 || f.constant != 0 else { return f }
        var found = false
        for t in f.terms {
            switch atoms[t.atom].kind {
            case .min, .max: found = true
            case .opaque: found = found || atoms[t.atom].expr.kind == .select
            default: break
            }
        }
        guard found, rewriteDepth < Self.rewriteLimit else { return f }
        func lighter(_ sum: LinearForm, _ rest: Int) -> LinearForm? {
            guard let r = rewrite(build(sum)) else { return nil }
            rewriteDepth += 1
            defer { rewriteDepth -= 1 }
            guard let g = form(r).adding(LinearForm(rest)) else { return nil }
            return weight(g) < weight(f) ? g : nil
        }
        if let g = lighter(f, 0) { return g }
        // The constant stands outermost, where it may hide what fits.
        guard f.terms.count > 1, f.constant != 0 else { return f }
        return lighter(LinearForm(constant: 0, terms: f.terms), f.constant) ?? f
    }

    private func weight(_ f: LinearForm) -> Int {
        var w = f.constant == 0 ? 0 : 1
        for t in f.terms {
            w += 2
            if case .variable = atoms[t.atom].kind { w -= 1 }
        }
        return w
    }

    // MARK: Everything else

    /// Simplifies what is not an index scalar, and index scalars that are not arithmetic.
    func simplifyOther(_ e: PrimExpr) -> PrimExpr {
        switch e.kind {
        case .intImm, .floatImm, .stringImm: return e
        case .variable: return otherValue[ObjectIdentifier(e)] ?? fact(e)
        case .eq, .ne, .lt, .le, .gt, .ge:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            return op.a.dtype == .index ? simplifyIndexComparison(op) : simplifyBinary(op)
        case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max:
            return simplifyBinary(unsafeDowncast(e, to: BinaryExpr.self))
        case .and, .or:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            return e.dtype.isScalar ? simplifyLogic(op) : simplifyBinary(op)
        case .not:
            let inside = unsafeDowncast(e, to: Not.self).a
            if e.dtype.isScalar, inside.kind == .and || inside.kind == .or {
                // Negation moves down, once and of all members of a chain at once, before they are simplified.
                let kind: PrimExprKind = inside.kind == .and ? .or : .and
                let members = flattened(inside, inside.kind).map { negation($0) }
                return simplify(members.dropFirst().reduce(members[0]) { BinaryExpr.raw(kind, $0, $1) })
            }
            let a = simplify(inside)
            return finish(a === inside ? e : Not(a))
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            let c = simplify(s.condition)
            // Both sides are evaluated whatever the condition, so nothing may be assumed inside them.
            let t = simplify(s.trueValue)
            let f = simplify(s.falseValue)
            if let v = ConstFold.constant(c) { return v != 0 ? t : f }
            let unchanged = c === s.condition && t === s.trueValue && f === s.falseValue
            return finish(unchanged ? e : Select(c, t, f))
        case .cast:
            let c = unsafeDowncast(e, to: Cast.self)
            let v = simplify(c.value)
            let n = v === c.value ? c : Cast(c.dtype, v)
            if let k = ConstFold.fold(n) { return k }
            if v.kind == .floatImm || (v.kind == .intImm && n.dtype.isFloat) {
                let k = ApusTIR.cast(n.dtype, v)
                if k.kind != .cast { return k }
            }
            return CastRules.rewrite(n).map { simplify($0) } ?? n
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            let base = simplify(r.base)
            let stride = simplify(r.stride)
            if r.lanes == 1 { return base }
            return finish(base === r.base && stride === r.stride ? e : Ramp(base, stride, r.lanes))
        case .broadcast:
            let b = unsafeDowncast(e, to: Broadcast.self)
            let v = simplify(b.value)
            if b.lanes == 1 { return v }
            return v === b.value ? e : Broadcast(v, b.lanes)
        case .shuffle:
            let n = mapChildren(of: e) { simplify($0) }
            return ShuffleRules.rewrite(unsafeDowncast(n, to: Shuffle.self)).map { simplify($0) } ?? n
        case .call: return simplifyCall(unsafeDowncast(e, to: Call.self))
        case .let: return simplifyLet(unsafeDowncast(e, to: Let.self))
        case .reduce: return simplifyReduce(unsafeDowncast(e, to: Reduce.self))
        case .bufferLoad, .producerLoad: return mapChildren(of: e) { simplify($0) }
        }
    }

    /// `not(e)`, the same object each time: what occurs often is simplified once.
    private func negation(_ e: PrimExpr) -> PrimExpr {
        if let known = negations[ObjectIdentifier(e)] { return known.value }
        let n = not(e)
        negations[ObjectIdentifier(e)] = (key: e, value: n)
        return n
    }

    private func simplifyBinary(_ op: BinaryExpr) -> PrimExpr {
        let a = simplify(op.a)
        let b = simplify(op.b)
        let n = a === op.a && b === op.b ? op : BinaryExpr.raw(op.kind, a, b)
        if a.dtype.isFloat {
            // The builders fold what is exact.
            let folded = binary(op.kind, a, b)
            if folded.kind != op.kind { return folded }
        }
        return finish(n)
    }

    private func simplifyIndexComparison(_ op: BinaryExpr) -> PrimExpr {
        let a = form(op.a)
        let b = form(op.b)
        // Rules want the constant right.
        if let c = a.asConstant, nested(b), c < .max {
            switch op.kind {
            case .eq, .ne: return simplify(BinaryExpr.raw(op.kind, build(b), IntImm(c)))
            case .lt: return simplify(GE(build(b), IntImm(c + 1)))
            case .le: return simplify(GE(build(b), IntImm(c)))
            default: break
            }
        }
        if nested(a) || nested(b), rewriteDepth < Self.rewriteLimit,
            let r = rewrite(BinaryExpr.raw(op.kind, build(a), build(b)))
        {
            // Rules that only turn the comparison round are what `compare` does itself.
            if r.kind == .intImm || !(r is BinaryExpr) || weight(r) < weight(op.kind, a, b) {
                rewriteDepth += 1
                defer { rewriteDepth -= 1 }
                return simplify(r)
            }
        }
        let result = compare(op.kind, a, b)
        if same(result, op) { return fact(op) }
        // Turned round or with other sides, it may fit a rule that it did not fit before.
        guard result is BinaryExpr, rewriteDepth < Self.rewriteLimit else { return fact(result) }
        rewriteDepth += 1
        defer { rewriteDepth -= 1 }
        return simplify(result)
    }

    private func weight(_ kind: PrimExprKind, _ a: LinearForm, _ b: LinearForm) -> Int {
        weight(a) + weight(b)
    }
    private func weight(_ e: PrimExpr) -> Int {
        guard let op = e as? BinaryExpr, op.a.dtype == .index else { return 0 }
        return weight(form(op.a)) + weight(form(op.b))
    }

    private func simplifyCall(_ c: Call) -> PrimExpr {
        switch c.name {
        case "tir.if_then_else" where c.args.count == 3:
            let condition = simplify(c.args[0])
            if let v = condition.asInt { return simplify(c.args[v != 0 ? 1 : 2]) }
            // Far inside, where much is known already, the branches count on nothing more: each scope begins anew with
            // what it has seen.
            let scoped = openChoices < Self.choiceLimit
            openChoices += 1
            defer { openChoices -= 1 }
            let t = scoped ? withSimplifiedConstraint(condition) { simplify(c.args[1]) } : simplify(c.args[1])
            let f =
                scoped
                ? withSimplifiedConstraint(not(condition)) { simplify(c.args[2]) } : simplify(c.args[2])
            let unchanged = condition === c.args[0] && t === c.args[1] && f === c.args[2]
            return finish(unchanged ? c : Call(c.dtype, c.op, [condition, t, f]))
        case "tir.likely" where c.args.count == 1:
            let a = simplify(c.args[0])
            if ConstFold.constant(a) != nil { return a }
            return finish(a === c.args[0] ? c : Call(c.dtype, c.op, [a]))
        default:
            let n = mapChildren(of: c) { simplify($0) }
            return n.dtype.isInteger && n.kind == .call && effect(of: c) == .pure ? finish(n) : n
        }
    }

    /// Nested conditions of `if_then_else` whose branches are simplified with them in mind.
    static let choiceLimit = 64

    private func simplifyLet(_ l: Let) -> PrimExpr {
        let value = simplify(l.value)
        switch value.kind {
        case .intImm, .floatImm, .variable:
            // What costs nothing is used where it is needed.
            bind(l.variable, value)
            return simplify(l.body)
        default: break
        }
        if l.variable.dtype == .index {
            bindProperties(of: l.variable, from: value)
        } else if l.variable.dtype.isInteger {
            bind(l.variable, bound: otherBound(value))
        }
        let body = simplify(l.body)
        if ConstFold.constant(body) != nil { return body }
        return value === l.value && body === l.body ? l : Let(l.variable, value, body)
    }

    private func simplifyReduce(_ r: Reduce) -> PrimExpr {
        scope {
            var changed = false
            let axis = r.axis.map { a -> IterVar in
                let lo = simplify(a.dom.min)
                let extent = simplify(a.dom.extent)
                bind(a.variable, IRRange(min: lo, extent: extent))
                if lo === a.dom.min && extent === a.dom.extent { return a }
                changed = true
                return IterVar(
                    IRRange(min: lo, extent: extent), a.variable, a.iterType, threadTag: a.threadTag)
            }
            let condition = simplify(r.condition)
            func all(_ list: [PrimExpr]) -> [PrimExpr] {
                list.map { e in
                    let n = simplify(e)
                    if n !== e { changed = true }
                    return n
                }
            }
            let source =
                condition.isTrue ? all(r.source) : withSimplifiedConstraint(condition) { all(r.source) }
            let initial = all(r.initial)
            var combinerChanged = false
            let result = r.combiner.result.map { e -> PrimExpr in
                let n = simplify(e)
                if n !== e { combinerChanged = true }
                return n
            }
            let c = r.combiner
            let combiner =
                combinerChanged
                ? CommReducer(lhs: c.lhs, rhs: c.rhs, result: result, identity: c.identity) : c
            if !changed && !combinerChanged && condition === r.condition { return r }
            return Reduce(
                combiner, source, axis, condition: condition, valueIndex: r.valueIndex, initial: initial)
        }
    }

    // MARK: Logic

    /// `e` as decided by a known condition.
    func fact(_ e: PrimExpr) -> PrimExpr {
        guard e.dtype == .bool, e.kind != .intImm, !facts.isEmpty else { return e }
        for f in (facts[exprHash(e)] ?? []).reversed() where sameExpr(f.condition, e) {
            return f.value ? trueExpr : falseExpr
        }
        return e
    }

    private func simplifyLogic(_ e: BinaryExpr) -> PrimExpr {
        let isAnd = e.kind == .and
        var simplified: [PrimExpr] = []
        let members = flattened(e, e.kind)
        // Each member is looked at where those before it hold (or, in a disjunction, do not). Of a very long chain the
        // first ones do for that.
        let constant: PrimExpr? = scope {
            for (i, m) in members.enumerated() {
                let s = simplify(m)
                if let v = s.asInt {
                    if (v != 0) == isAnd { continue }
                    return s
                }
                simplified.append(s)
                // What is large decides nothing but itself, and would be negated once for each level of a chain.
                if i < 32, i + 1 < members.count, expressionSize(s, limit: 256) < 256 {
                    addSimplifiedConstraint(isAnd ? s : not(s))
                }
            }
            return nil
        }
        if let constant { return constant }
        // Pairs of members may contradict, absorb or merge.
        var parts: [PrimExpr] = []
        for s in simplified {
            for next in flattened(s, e.kind) {
                var merged = false
                for i in parts.indices where !merged && parts.count <= 8 && rewriteDepth < Self.rewriteLimit {
                    let adjacent = i == parts.count - 1
                    guard let r = rewrite(BinaryExpr.raw(e.kind, parts[i], next), movingForward: !adjacent)
                    else { continue }
                    if r.kind == e.kind {
                        // Still two members, but smaller ones.
                        guard expressionSize(r) < expressionSize(parts[i]) + expressionSize(next) + 1 else {
                            continue
                        }
                        parts.replaceSubrange(i...i, with: flattened(r, e.kind))
                        merged = true
                        continue
                    }
                    rewriteDepth += 1
                    parts[i] = simplify(r)
                    rewriteDepth -= 1
                    if let v = parts[i].asInt {
                        if (v != 0) != isAnd { return parts[i] }
                        parts.remove(at: i)
                    }
                    merged = true
                }
                if !merged { parts.append(next) }
            }
        }
        guard var result = parts.first else { return isAnd ? trueExpr : falseExpr }
        for p in parts.dropFirst() { result = BinaryExpr.raw(e.kind, result, p) }
        return fact(same(result, e) ? e : result)
    }

    /// The members of a chain of `kind`, first to last.
    func flattened(_ e: PrimExpr, _ kind: PrimExprKind) -> [PrimExpr] {
        guard e.kind == kind else { return [e] }
        var result: [PrimExpr] = []
        var open = [e]
        // A part that occurs again says nothing new.
        var seen: Set<ObjectIdentifier> = []
        while let next = open.popLast() {
            if next.kind == kind {
                if !seen.insert(ObjectIdentifier(next)).inserted { continue }
                let op = unsafeDowncast(next, to: BinaryExpr.self)
                open.append(op.b)
                open.append(op.a)
            } else {
                result.append(next)
            }
        }
        return result
    }
}
