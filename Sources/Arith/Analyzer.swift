import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Reasoning about integer index expressions: simplification, bounds, divisibility, proofs.
///
/// Index expressions (`DataType.index`, scalar) are brought to a normal form: a linear sum over atoms, with floor
/// division and modulo split by the structure of the sum. Everything else (other integer types, vectors, logic, floats
/// where it is exact) is simplified by the rules of `RewriteRules`. What integer arithmetic means is said there and in
/// [ADR 11](../../docs/adr/0011-integer-semantics.md). Variables not bound may have any value. Not thread safe; cheap to
/// create. Deep expressions move to a large stack by themselves.
///
/// Source of the ideas: TVM's arith (const_int_bound, modular_set, canonical_simplify, rewrite_simplify,
/// transitive_comparison_analyzer); the form is our own.
public final class Analyzer {
    var atoms: [Atom] = []
    /// The form that is just the atom, of each: made once, since it is asked for often.
    var singles: [LinearForm] = []
    var atomNumber: [AtomKey: Int] = [:]
    /// Opaque atoms by structural hash.
    var opaqueNumber: [UInt64: [Int]] = [:]
    var variableBound: [Int: ConstIntBound] = [:]
    var variableModular: [Int: ModularSet] = [:]
    /// Symbolic inclusive ends of variables whose range is not constant.
    var symbolicRange: [Int: (min: LinearForm, max: LinearForm)] = [:]
    /// Variables that stand for data, which may wrap.
    var wildVariables: Set<Int> = []
    /// Values of variables bound to an expression.
    var variableValue: [Int: LinearForm] = [:]
    /// Values of bound variables that are not index scalars.
    var otherValue: [ObjectIdentifier: PrimExpr] = [:]
    /// Forms known to be at least 0: in the open scopes, and always.
    var localConstraints: [LinearForm] = []
    var globalConstraints: [LinearForm] = []
    /// Conditions known to be true or false, by hash.
    var facts: [UInt64: [(condition: PrimExpr, value: Bool)]] = [:]

    // Caches keep their keys alive, so that an address is not reused.
    struct Caches {
        var simplified: [ObjectIdentifier: (key: PrimExpr, value: PrimExpr)] = [:]
        var forms: [ObjectIdentifier: (key: PrimExpr, value: LinearForm)] = [:]
        var bounds: [Int: ConstIntBound] = [:]
        var modulars: [Int: ModularSet] = [:]
        var otherBounds: [ObjectIdentifier: (key: PrimExpr, value: ConstIntBound)] = [:]
        var otherModulars: [ObjectIdentifier: (key: PrimExpr, value: ModularSet)] = [:]
        var tame: [Int: Bool] = [:]
        /// Tameness of what has no form.
        var otherTame: [ObjectIdentifier: (key: PrimExpr, value: Bool)] = [:]
    }
    /// What constraints say about values that are no variables.
    var boundState = BoundState()
    var caches = Caches()
    var builtForms: [LinearForm: PrimExpr] = [:]
    /// The forms that expressions were built from; those expressions live in `builtForms` and `atoms`.
    var formOfBuilt: [ObjectIdentifier: LinearForm] = [:]
    /// Negations that were made, so that of one condition there is one.
    var negations: [ObjectIdentifier: (key: PrimExpr, value: PrimExpr)] = [:]
    /// How many conditions of `if_then_else` are open around what is simplified.
    var openChoices = 0
    var hashes: [ObjectIdentifier: (key: PrimExpr, value: UInt64)] = [:]
    var ruleDepth = 0
    var rewriteDepth = 0
    var depth = 0
    var matchers: [RuleMatcher] = []

    /// What a scope has changed, to be undone at its end.
    enum Change {
        case bound(Int, ConstIntBound?)
        case modular(Int, ModularSet?)
        case fact(UInt64)
    }
    var changes: [Change] = []
    var openScopes = 0

    /// Deterministic figures of the work done so far.
    public struct Statistics: Sendable {
        /// Rules compared with an expression (after the rejection by the kinds of the operands).
        public var attempts = 0
        /// Rules applied.
        public var hits = 0
        /// Times a chain of rules was cut off: rules that undo each other.
        public var cutOff = 0
    }
    public internal(set) var statistics = Statistics()
    /// How often each rule was applied, if asked for.
    var ruleHits: [String: Int]?

    public init() {}

    /// Starts counting how often each rule is applied; `hitsOfRules` tells.
    public func trackRules() { ruleHits = [:] }

    /// Applications by name of the rule since `trackRules`; a rule that is missing was never applied.
    public var hitsOfRules: [String: Int] { ruleHits ?? [:] }

    // MARK: Knowledge

    /// `v` lies in `range`.
    /// - Parameter override: whether what was known of `v` is forgotten; otherwise both hold.
    public func bind(_ v: Var, _ range: IRRange, override: Bool = true) {
        if v.dtype != .index {
            let b = otherBound(range.min) + otherBound(range.extent) + ConstIntBound(-1)
            bind(v, bound: ConstIntBound(otherBound(range.min).min, b.max), override: override)
            return
        }
        if range.extent.asInt == 1 && override {
            bind(v, range.min)
            return
        }
        let lo = form(range.min)
        let extent = form(range.extent)
        let n = override ? forget(v) : variableAtom(v)
        let loBound = bound(lo)
        let extentBound = bound(extent)
        let own = ConstIntBound(loBound.min, (loBound + extentBound + ConstIntBound(-1)).max)
        setBound(n, override ? own : own.intersect(variableBound[n] ?? .everything))
        if lo.asConstant == nil || extent.asConstant == nil, let top = lo.adding(extent),
            let last = top.adding(LinearForm(-1))
        {
            symbolicRange[n] = (min: lo, max: last)
        }
        caches = Caches()
    }

    /// `v` has the value of `value`; simplification puts it in the place of `v`.
    public func bind(_ v: Var, _ value: PrimExpr) {
        if v.dtype == .index {
            let f = form(value)
            let n = forget(v)
            // A variable bound to itself would never end.
            if f.coefficient(of: n) == 0 { variableValue[n] = f }
        } else {
            let s = simplify(value)
            otherValue[ObjectIdentifier(v)] = s === v ? nil : s
        }
        caches = Caches()
    }

    /// `v` lies within constant bounds.
    /// - Parameter override: whether what was known of `v` is forgotten; otherwise both hold.
    public func bind(_ v: Var, bound: ConstIntBound, override: Bool = true) {
        let n = override ? forget(v) : variableAtom(v)
        setBound(n, override ? bound : bound.intersect(variableBound[n] ?? .everything))
        caches = Caches()
    }

    /// `v` is `modular.coeff * k + modular.base`; keeps other knowledge of `v`.
    public func bind(_ v: Var, modular: ModularSet) {
        setModular(variableAtom(v), modular)
        caches = Caches()
    }

    /// Bounds and divisibility of `value` hold for `v`, which stays itself in simplified expressions.
    public func bindProperties(of v: Var, from value: PrimExpr) {
        guard v.dtype == .index else { return }
        let f = form(value)
        let b = valueBound(f)
        let m = valueModular(f)
        let tame = isTame(f)
        let n = forget(v)
        setBound(n, b)
        setModular(n, m)
        if tame { symbolicRange[n] = (min: f, max: f) } else { wildVariables.insert(n) }
        caches = Caches()
    }

    /// All loop variables known at least 0 and extents at least 1: what a shape variable is.
    public func bindShapeVariable(_ v: Var, atLeast low: Int = 0) {
        bind(v, bound: ConstIntBound(low, ConstIntBound.posInf))
    }

    /// `e` is at least 0, whatever scope is open or closed.
    public func markGlobalNonNegative(_ e: PrimExpr) {
        guard e.dtype == .index else {
            if let v = e as? Var, v.dtype.isInteger {
                bind(v, bound: ConstIntBound(0, ConstIntBound.posInf), override: false)
            }
            return
        }
        let f = form(e)
        guard isTame(f) else { return }
        let open = openScopes
        openScopes = 0
        addNonNegative(f, global: true)
        openScopes = open
    }

    private func forget(_ v: Var) -> Int {
        let n = variableAtom(v)
        wildVariables.remove(n)
        setBound(n, nil)
        setModular(n, nil)
        symbolicRange[n] = nil
        variableValue[n] = nil
        otherValue[ObjectIdentifier(v)] = nil
        return n
    }

    func setBound(_ n: Int, _ b: ConstIntBound?) {
        if openScopes > 0 { changes.append(.bound(n, variableBound[n])) }
        variableBound[n] = b
    }

    func setModular(_ n: Int, _ m: ModularSet?) {
        if openScopes > 0 { changes.append(.modular(n, variableModular[n])) }
        variableModular[n] = m
    }

    /// Runs `body`; what is learnt of bounds, divisibility and conditions within is forgotten at its end.
    public func scope<R>(_ body: () throws -> R) rethrows -> R {
        let known = changes.count
        let constraintCount = localConstraints.count
        let saved = (caches, boundState)
        openScopes += 1
        caches = Caches()
        defer {
            while changes.count > known, let c = changes.popLast() {
                switch c {
                case .bound(let n, let b): variableBound[n] = b
                case .modular(let n, let m): variableModular[n] = m
                case .fact(let h): facts[h]?.removeLast()
                }
            }
            localConstraints.removeLast(localConstraints.count - constraintCount)
            openScopes -= 1
            (caches, boundState) = saved
        }
        return try body()
    }

    /// Runs `body` where `condition` is known to hold.
    public func withConstraint<R>(_ condition: PrimExpr, _ body: () throws -> R) rethrows -> R {
        try scope {
            addSimplifiedConstraint(simplify(condition))
            return try body()
        }
    }

    /// As `withConstraint`, for a condition that is in normal form.
    func withSimplifiedConstraint<R>(_ condition: PrimExpr, _ body: () throws -> R) rethrows -> R {
        try scope {
            addSimplifiedConstraint(condition)
            return try body()
        }
    }

    /// `condition` is known to hold until the end of the innermost scope.
    public func assume(_ condition: PrimExpr) { addSimplifiedConstraint(simplify(condition)) }

    func addSimplifiedConstraint(_ condition: PrimExpr) {
        for c in flattened(condition, .and) { addFact(c) }
        caches = Caches()
    }

    private func addFact(_ c: PrimExpr) {
        switch c.kind {
        case .intImm: return
        case .call:
            let call = unsafeDowncast(c, to: Call.self)
            if call.name == "tir.likely" { return addSimplifiedConstraint(call.args[0]) }
            know(c, true)
        case .not:
            let a = unsafeDowncast(c, to: Not.self).a
            know(a, false)
            // Not any of them, so none.
            if a.kind == .or { for m in flattened(a, .or) { addFact(simplify(not(m))) } }
        default: know(c, true)
        }
        guard let c = c as? BinaryExpr else { return }
        guard c.a.dtype == .index else { return noteComparison(c) }
        let a = form(c.a)
        let b = form(c.b)
        guard isTame(a), isTame(b), let diff = a.adding(b, times: -1), let negated = diff.scaled(by: -1)
        else { return }
        switch c.kind {
        case .lt: if let f = negated.adding(LinearForm(-1)) { addNonNegative(f) }
        case .le: addNonNegative(negated)
        case .gt: if let f = diff.adding(LinearForm(-1)) { addNonNegative(f) }
        case .ge: addNonNegative(diff)
        case .eq:
            addNonNegative(diff)
            addNonNegative(negated)
            noteDivisibility(a, b)
            noteDivisibility(b, a)
        case .ne:
            // x != y where x >= y is known: x > y.
            if proveNonNegative(diff), let f = diff.adding(LinearForm(-1)) {
                addNonNegative(f)
            } else if proveNonNegative(negated), let f = negated.adding(LinearForm(-1)) {
                addNonNegative(f)
            }
        default: break
        }
    }

    private func know(_ c: PrimExpr, _ value: Bool) {
        let h = exprHash(c)
        facts[h, default: []].append((condition: c, value: value))
        if openScopes > 0 { changes.append(.fact(h)) }
        // The opposite comparison is decided as well.
        guard let op = c as? BinaryExpr, op.a.dtype.isInteger else { return }
        let opposite: PrimExpr
        switch c.kind {
        case .eq: opposite = NE(op.a, op.b)
        case .ne: opposite = EQ(op.a, op.b)
        case .lt where ConstFold.constant(op.b) == nil: opposite = LE(op.b, op.a)
        case .lt: opposite = GE(op.a, op.b)
        case .ge: opposite = LT(op.a, op.b)
        case .le: opposite = LT(op.b, op.a)
        default: return
        }
        let o = exprHash(opposite)
        facts[o, default: []].append((condition: opposite, value: !value))
        if openScopes > 0 { changes.append(.fact(o)) }
    }

    private func addNonNegative(_ f: LinearForm, global: Bool = false) {
        if global || openScopes == 0 { globalConstraints.append(f) } else { localConstraints.append(f) }
        noteAtomBounds(f)
        caches = Caches()
    }

    // MARK: Questions

    /// A simpler expression with the same value wherever the bindings and constraints hold; `e` itself if it is
    /// in normal form already.
    public func simplify(_ e: PrimExpr) -> PrimExpr {
        switch e.kind {
        case .intImm, .floatImm, .stringImm: return e
        default: break
        }
        if let known = caches.simplified[ObjectIdentifier(e)] { return known.value }
        let result: PrimExpr = deeper {
            if e.dtype == .index {
                let built = build(form(e))
                return same(built, e) ? e : built
            }
            // Rules may undo each other's work, so that nothing has changed in the end.
            let other = simplifyOther(e)
            return same(other, e) ? e : other
        }
        caches.simplified[ObjectIdentifier(e)] = (key: e, value: result)
        return result
    }

    /// Simplifies up to `steps` times, as long as something changes.
    public func simplify(_ e: PrimExpr, steps: Int) -> PrimExpr {
        var e = e
        for _ in 0..<steps {
            let next = simplify(e)
            if next === e { break }
            e = next
            // What a first round found may be looked at afresh.
            caches.simplified.removeAll(keepingCapacity: true)
        }
        return e
    }

    /// One application of the rules to the root of `e`, operands simplified; `e` where none fits. (TVM's rewrite
    /// simplifier alone; `simplify` does both.)
    public func rewriteSimplify(_ e: PrimExpr) -> PrimExpr {
        if e.dtype == .index, let r = rewrite(mapChildren(of: e) { simplify($0) }) { return simplify(r) }
        return simplify(e)
    }

    /// The linear normal form of an index expression; other expressions as `simplify`. (TVM's canonical simplifier.)
    public func canonicalSimplify(_ e: PrimExpr) -> PrimExpr { simplify(e) }

    /// Whether the Boolean `condition` holds for all values that the variables may have.
    public func canProve(_ condition: PrimExpr) -> Bool {
        let s = simplify(condition)
        return s.dtype.isBool && ConstFold.constant(s) == 1
    }

    /// Whether `a == b` always.
    public func canProveEqual(_ a: PrimExpr, _ b: PrimExpr) -> Bool {
        if a === b { return true }
        guard a.dtype == .index, b.dtype == .index else { return same(simplify(a), simplify(b)) }
        let x = form(a)
        let y = form(b)
        if x == y { return true }
        guard isTame(x), isTame(y), let d = x.adding(y, times: -1), let n = d.scaled(by: -1) else {
            return false
        }
        return proveNonNegative(d) && proveNonNegative(n)
    }

    /// Whether `a >= b` always.
    public func canProveGreaterEqual(_ a: PrimExpr, _ b: PrimExpr) -> Bool {
        guard a.dtype == .index, b.dtype == .index else { return canProve(a .>= b) }
        let x = form(a)
        let y = form(b)
        if x == y { return true }
        guard isTame(x), isTame(y), let d = x.adding(y, times: -1) else { return false }
        return proveNonNegative(recombined(d))
    }
    /// Whether `a < b` always.
    public func canProveLess(_ a: PrimExpr, _ b: PrimExpr) -> Bool { canProveGreaterEqual(b, a + 1) }
    public func canProveGreaterEqual(_ a: PrimExpr, _ b: Int) -> Bool { canProveGreaterEqual(a, const(b)) }
    public func canProveLess(_ a: PrimExpr, _ b: Int) -> Bool { canProveLess(a, const(b)) }

    /// Constant bounds of an integer expression.
    public func constIntBound(_ e: PrimExpr) -> ConstIntBound {
        if e.dtype == .index {
            let f = form(e)
            return constrained(valueBound(f), f)
        }
        return otherBound(e)
    }

    /// What is known of divisibility of an integer expression.
    public func modularSet(_ e: PrimExpr) -> ModularSet { otherModular(e) }

    /// The coefficient of `v` and the rest, if `e` is `coefficient * v + rest` with a constant coefficient and
    /// `v` nowhere else; nil otherwise.
    public func linearCoefficient(_ e: PrimExpr, of v: Var) -> (coefficient: Int, rest: PrimExpr)? {
        guard e.dtype == .index else { return nil }
        let f = form(e)
        let n = variableAtom(v)
        let rest = f.removing(n)
        if mentions(rest, n) { return nil }
        return (coefficient: f.coefficient(of: n), rest: build(rest))
    }

    /// Where the comparison `condition` holds, as bounds on `v`: `v >= lower`, `v <= upper`; nil if `condition`
    /// is not linear in `v` or is not an inequality of index expressions. Exact: the bounds hold if and only if
    /// the condition does.
    public func solve(_ condition: PrimExpr, for v: Var) -> (lower: PrimExpr?, upper: PrimExpr?)? {
        var condition = condition
        if let call = condition as? Call, call.name == "tir.likely" { condition = call.args[0] }
        guard let c = condition as? BinaryExpr, c.a.dtype == .index else { return nil }
        let left: PrimExpr  // left >= 0
        switch c.kind {
        case .lt: left = c.b - c.a - 1
        case .le: left = c.b - c.a
        case .gt: left = c.a - c.b - 1
        case .ge: left = c.a - c.b
        default: return nil
        }
        guard let (k, rest) = linearCoefficient(left, of: v), k != 0, k != .min else { return nil }
        // k * v + rest >= 0
        if k > 0 { return (lower: simplify(ApusTIR.floorDiv(const(0) - rest + (k - 1), k)), upper: nil) }
        return (lower: nil, upper: simplify(ApusTIR.floorDiv(rest, -k)))
    }

    // MARK: Depth

    /// Runs one more level of a recursion over an expression; now and then makes sure that there is stack for it.
    func deeper<R>(_ body: () -> R) -> R {
        depth += 1
        defer { depth -= 1 }
        return depth % 200 == 0 ? withLargeStack { body() } : body()
    }

    // MARK: Sameness

    /// As `sameExpr`; unequal trees are told apart by their hashes, which are kept.
    func same(_ a: PrimExpr, _ b: PrimExpr) -> Bool {
        if a === b { return true }
        if a.kind != b.kind || a.dtype != b.dtype { return false }
        return exprHash(a) == exprHash(b) && sameExpr(a, b)
    }

    /// Equal for trees that `sameExpr` calls the same, within this process.
    func exprHash(_ e: PrimExpr) -> UInt64 {
        var h = StableHash(UInt64(e.kind.rawValue) &* 0x9E37_79B9 &+ UInt64(e.dtype.bits))
        switch e.kind {
        case .variable: return UInt64(UInt(bitPattern: ObjectIdentifier(e)))
        case .intImm:
            h.mix(UInt64(bitPattern: Int64(unsafeDowncast(e, to: IntImm.self).value)))
            return h.value
        case .floatImm:
            h.mix(unsafeDowncast(e, to: FloatImm.self).value.bitPattern)
            return h.value
        case .stringImm:
            h.mix(unsafeDowncast(e, to: StringImm.self).value)
            return h.value
        default: break
        }
        if let known = hashes[ObjectIdentifier(e)] { return known.value }
        h.mix(UInt64(e.dtype.lanes))
        deeper {
            switch e.kind {
            case .call:
                let c = unsafeDowncast(e, to: Call.self)
                h.mix(c.name)
                for a in c.args { h.mix(exprHash(a)) }
            case .shuffle:
                let s = unsafeDowncast(e, to: Shuffle.self)
                for i in s.indices { h.mix(UInt64(i)) }
                for v in s.vectors { h.mix(exprHash(v)) }
            case .bufferLoad:
                let l = unsafeDowncast(e, to: BufferLoad.self)
                h.mix(UInt64(UInt(bitPattern: ObjectIdentifier(l.buffer.data))))
                for i in l.indices { h.mix(exprHash(i)) }
            case .let:
                // Whatever else has another variable is another expression here.
                let l = unsafeDowncast(e, to: Let.self)
                h.mix(exprHash(l.variable))
                h.mix(exprHash(l.value))
                h.mix(exprHash(l.body))
            case .reduce, .producerLoad: h.mix(structuralHash(e))
            default: forEachChild(of: e) { h.mix(exprHash($0)) }
            }
        }
        hashes[ObjectIdentifier(e)] = (key: e, value: h.value)
        return h.value
    }
}

/// Whether two expressions are the same tree: same kinds, constants, variables; cheap where they share nodes.
public func sameExpr(_ a: PrimExpr, _ b: PrimExpr) -> Bool { sameExpr(a, b, 0) }

private func sameExpr(_ a: PrimExpr, _ b: PrimExpr, _ depth: Int) -> Bool {
    if a === b { return true }
    if a.kind != b.kind || a.dtype != b.dtype { return false }
    if depth % 500 == 499 { return withLargeStack { sameExpr(a, b, depth + 1) } }
    switch a.kind {
    case .variable: return false
    case .intImm: return a.asInt == b.asInt
    case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge, .and,
        .or:
        let x = unsafeDowncast(a, to: BinaryExpr.self)
        let y = unsafeDowncast(b, to: BinaryExpr.self)
        return sameExpr(x.b, y.b, depth + 1) && sameExpr(x.a, y.a, depth + 1)
    case .not:
        return sameExpr(unsafeDowncast(a, to: Not.self).a, unsafeDowncast(b, to: Not.self).a, depth + 1)
    case .cast:
        return sameExpr(
            unsafeDowncast(a, to: Cast.self).value, unsafeDowncast(b, to: Cast.self).value, depth + 1)
    case .select:
        let x = unsafeDowncast(a, to: Select.self)
        let y = unsafeDowncast(b, to: Select.self)
        return sameExpr(x.condition, y.condition, depth + 1) && sameExpr(x.trueValue, y.trueValue, depth + 1)
            && sameExpr(x.falseValue, y.falseValue, depth + 1)
    case .ramp:
        let x = unsafeDowncast(a, to: Ramp.self)
        let y = unsafeDowncast(b, to: Ramp.self)
        return sameExpr(x.base, y.base, depth + 1) && sameExpr(x.stride, y.stride, depth + 1)
    case .broadcast:
        return sameExpr(
            unsafeDowncast(a, to: Broadcast.self).value, unsafeDowncast(b, to: Broadcast.self).value,
            depth + 1)
    case .call:
        let x = unsafeDowncast(a, to: Call.self)
        let y = unsafeDowncast(b, to: Call.self)
        guard x.op === y.op, x.args.count == y.args.count else { return structuralEqual(a, b) }
        for (p, q) in zip(x.args, y.args) where !sameExpr(p, q, depth + 1) { return false }
        return true
    case .bufferLoad:
        let x = unsafeDowncast(a, to: BufferLoad.self)
        let y = unsafeDowncast(b, to: BufferLoad.self)
        guard x.buffer === y.buffer, x.indices.count == y.indices.count else { return structuralEqual(a, b) }
        for (p, q) in zip(x.indices, y.indices) where !sameExpr(p, q, depth + 1) { return false }
        return true
    case .let:
        let x = unsafeDowncast(a, to: Let.self)
        let y = unsafeDowncast(b, to: Let.self)
        if x.variable !== y.variable { return structuralEqual(a, b) }
        return sameExpr(x.value, y.value, depth + 1) && sameExpr(x.body, y.body, depth + 1)
    default: return structuralEqual(a, b)
    }
}
