import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR

/// Reasoning about integer index expressions: simplification, bounds, divisibility, proofs.
///
/// Index expressions (`DataType.index`, scalar) are brought to a normal form: a linear sum over atoms, with floor
/// division and modulo split by the structure of the sum. Index arithmetic is taken not to overflow 64 bits; data
/// loaded from memory gets no such trust. Variables not bound may have any value. Not thread safe; cheap to create.
///
/// Source of the ideas: TVM's arith (const_int_bound, modular_set, canonical_simplify); the form is our own.
public final class Analyzer {
    var atoms: [Atom] = []
    var atomNumber: [AtomKey: Int] = [:]
    /// Opaque atoms by structural hash.
    var opaqueNumber: [UInt64: [Int]] = [:]
    var variableBound: [Int: ConstIntBound] = [:]
    var variableModular: [Int: ModularSet] = [:]
    /// Symbolic inclusive ends of variables whose range is not constant.
    var symbolicRange: [Int: (min: LinearForm, max: LinearForm)] = [:]
    /// Values of variables bound to an expression.
    var variableValue: [Int: LinearForm] = [:]
    /// Values of bound variables that are not index scalars.
    var otherValue: [ObjectIdentifier: PrimExpr] = [:]
    /// Forms known to be at least 0.
    var constraints: [LinearForm] = []
    /// Conditions known to be true or false, by structural hash.
    var facts: [(condition: PrimExpr, value: Bool)] = []

    // Caches; `memo` keeps its keys alive, so that an address is not reused.
    struct Caches {
        var simplified: [ObjectIdentifier: (key: PrimExpr, value: PrimExpr)] = [:]
        var forms: [ObjectIdentifier: (key: PrimExpr, value: LinearForm)] = [:]
        var bounds: [Int: ConstIntBound] = [:]
        var modulars: [Int: ModularSet] = [:]
        var otherBounds: [ObjectIdentifier: (key: PrimExpr, value: ConstIntBound)] = [:]
        var otherModulars: [ObjectIdentifier: (key: PrimExpr, value: ModularSet)] = [:]
    }
    /// What constraints say about values that are no variables.
    var boundState = BoundState()
    var caches = Caches()
    var builtForms: [LinearForm: PrimExpr] = [:]
    var ruleDepth = 0

    public init() {}

    // MARK: Knowledge

    /// `v` lies in `range`. A variable may be bound again; what was known before is forgotten.
    public func bind(_ v: Var, _ range: IRRange) {
        if range.extent.asInt == 1 {
            bind(v, range.min)
            return
        }
        let lo = form(range.min)
        let extent = form(range.extent)
        let n = forget(v)
        let loBound = bound(lo)
        let extentBound = bound(extent)
        variableBound[n] = ConstIntBound(loBound.min, (loBound + extentBound + ConstIntBound(-1)).max)
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
            otherValue[ObjectIdentifier(v)] = simplify(value)
        }
        caches = Caches()
    }

    /// `v` lies within constant bounds.
    public func bind(_ v: Var, bound: ConstIntBound) {
        let n = forget(v)
        variableBound[n] = bound
        caches = Caches()
    }

    /// `v` is `modular.coeff * k + modular.base`; keeps other knowledge of `v`.
    public func bind(_ v: Var, modular: ModularSet) {
        variableModular[variableAtom(v)] = modular
        caches = Caches()
    }

    /// Bounds and divisibility of `value` hold for `v`, which stays itself in simplified expressions.
    public func bindProperties(of v: Var, from value: PrimExpr) {
        guard v.dtype == .index else { return }
        let f = form(value)
        let b = bound(f)
        let m = modular(f)
        let n = forget(v)
        variableBound[n] = b
        variableModular[n] = m
        symbolicRange[n] = (min: f, max: f)
        caches = Caches()
    }

    /// All loop variables known at least 0 and extents at least 1: what a shape variable is.
    public func bindShapeVariable(_ v: Var, atLeast low: Int = 0) {
        bind(v, bound: ConstIntBound(low, ConstIntBound.posInf))
    }

    private func forget(_ v: Var) -> Int {
        let n = variableAtom(v)
        variableBound[n] = nil
        variableModular[n] = nil
        symbolicRange[n] = nil
        variableValue[n] = nil
        return n
    }

    /// Runs `body` where `condition` is known to hold.
    public func withConstraint<R>(_ condition: PrimExpr, _ body: () throws -> R) rethrows -> R {
        let saved = (variableBound, variableModular, constraints, facts, caches, boundState)
        addConstraint(simplify(condition))
        caches = Caches()
        defer { (variableBound, variableModular, constraints, facts, caches, boundState) = saved }
        return try body()
    }

    private func addConstraint(_ c: PrimExpr) {
        switch c.kind {
        case .and:
            let c = unsafeDowncast(c, to: And.self)
            addConstraint(c.a)
            addConstraint(c.b)
            return
        case .call:
            let call = unsafeDowncast(c, to: Call.self)
            if call.name == "tir.likely" { addConstraint(call.args[0]) }
            return
        case .intImm: return
        case .not: facts.append((condition: unsafeDowncast(c, to: Not.self).a, value: false))
        default: facts.append((condition: c, value: true))
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
        default: break
        }
    }

    private func addNonNegative(_ f: LinearForm) {
        constraints.append(f)
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
        let result: PrimExpr
        if e.dtype == .index {
            let built = build(form(e))
            result = sameExpr(built, e) ? e : built
        } else {
            result = simplifyOther(e)
        }
        caches.simplified[ObjectIdentifier(e)] = (key: e, value: result)
        return result
    }

    /// Whether the Boolean `condition` holds for all values that the variables may have.
    public func canProve(_ condition: PrimExpr) -> Bool { simplify(condition).isTrue }

    /// Whether `a == b` always.
    public func canProveEqual(_ a: PrimExpr, _ b: PrimExpr) -> Bool {
        if a === b { return true }
        guard a.dtype == .index, b.dtype == .index else { return sameExpr(simplify(a), simplify(b)) }
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
            return constrained(isTame(f) ? bound(f) : wildBound(f), f)
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
}

/// Whether two expressions are the same tree: same kinds, constants, variables; cheap where they share nodes.
public func sameExpr(_ a: PrimExpr, _ b: PrimExpr) -> Bool {
    if a === b { return true }
    if a.kind != b.kind || a.dtype != b.dtype { return false }
    switch a.kind {
    case .variable: return false
    case .intImm: return a.asInt == b.asInt
    case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge, .and,
        .or:
        let x = unsafeDowncast(a, to: BinaryExpr.self)
        let y = unsafeDowncast(b, to: BinaryExpr.self)
        return sameExpr(x.a, y.a) && sameExpr(x.b, y.b)
    case .not: return sameExpr(unsafeDowncast(a, to: Not.self).a, unsafeDowncast(b, to: Not.self).a)
    case .cast:
        return sameExpr(unsafeDowncast(a, to: Cast.self).value, unsafeDowncast(b, to: Cast.self).value)
    default: return structuralEqual(a, b)
    }
}
