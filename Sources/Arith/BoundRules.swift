import ApusIR
import ApusRuntime
import ApusTIR

/// What constraints told about values that are not variables, and how deep the questions nest.
struct BoundState {
    /// Bounds of atoms by constraints that speak of one atom alone.
    var atoms: [Int: ConstIntBound] = [:]
    /// Bounds of expressions of other types than the index type, by constraints.
    var others: [(expr: PrimExpr, bound: ConstIntBound)] = []
    /// Divisibility of atoms that are not variables, by constraints.
    var atomModulars: [Int: ModularSet] = [:]
    /// Nesting of conditional values and bindings whose insides are looked at with more knowledge.
    var depth = 0
}

// Constant bounds of what is not a linear form: every kind of expression, every integer type.
//
// Index arithmetic is taken not to overflow (see `Analyzer`). All other types wrap: where an interval leaves the
// type, the type is all that is known. 64-bit unsigned numbers travel as bit patterns: bounds of theirs are kept
// only where they are not negative and finite, so that the pattern is the number.
extension Analyzer {
    /// Bounds of an expression that is not a sum, product, floor division or extremum of index type.
    func opaqueBound(_ e: PrimExpr) -> ConstIntBound {
        let type = ConstIntBound.of(e.dtype)
        guard e.dtype.isInteger else { return type }
        switch e.kind {
        case .intImm: return e.asInt.map { ConstIntBound($0) } ?? type
        case .variable:
            guard let known = variableBound[variableAtom(unsafeDowncast(e, to: Var.self))] else {
                return type
            }
            return fitting(known, e.dtype)
        case .cast: return castBound(unsafeDowncast(e, to: Cast.self))
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            return conditionalBound(s.condition, s.trueValue, s.falseValue)
        case .call: return fitting(callBound(unsafeDowncast(e, to: Call.self)), e.dtype)
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            return withLet(l) { partBound(l.body) }
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            let last = constIntBound(r.base) + constIntBound(r.stride) * ConstIntBound(r.lanes - 1)
            return unlessWrapped(fitting(constIntBound(r.base).union(last), e.dtype), r.base, r.stride)
        case .broadcast: return constIntBound(unsafeDowncast(e, to: Broadcast.self).value)
        case .shuffle:
            let parts = unsafeDowncast(e, to: Shuffle.self).vectors.map { constIntBound($0) }
            guard let first = parts.first else { return type }
            return parts.dropFirst().reduce(first) { $0.union($1) }
        case .not:
            let b = constIntBound(unsafeDowncast(e, to: Not.self).a)
            return b.single.map { ConstIntBound($0 == 0 ? 1 : 0) } ?? ConstIntBound(0, 1)
        case .add, .sub, .mul:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            return unlessWrapped(fitting(binaryBound(op), e.dtype), op.a, op.b)
        case .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge, .and, .or:
            return fitting(binaryBound(unsafeDowncast(e, to: BinaryExpr.self)), e.dtype)
        default: return type
        }
    }

    /// `b` of a sum or product of the index type of `x` and `y`, which wraps if they are data and it has no end.
    private func unlessWrapped(_ b: ConstIntBound, _ x: PrimExpr, _ y: PrimExpr) -> ConstIntBound {
        b.isFinite || b == .everything || (isTame(x) && isTame(y)) ? b : .everything
    }

    /// Bounds of an integer expression of any type.
    func otherBound(_ e: PrimExpr) -> ConstIntBound {
        if e.dtype == .index { return valueBound(form(e)) }
        guard e.dtype.isInteger else { return .of(e.dtype) }
        switch e.kind {
        case .intImm, .variable: return constrained(opaqueBound(e), e)
        default: break
        }
        if let known = caches.otherBounds[ObjectIdentifier(e)] { return known.value }
        let b = deeper { constrained(opaqueBound(e), e) }
        caches.otherBounds[ObjectIdentifier(e)] = (key: e, value: b)
        return b
    }

    private func constrained(_ b: ConstIntBound, _ e: PrimExpr) -> ConstIntBound {
        var b = b
        for c in boundState.others where sameExpr(c.expr, e) { b = b.intersect(c.bound) }
        return b
    }

    /// `b` where it is within the type; the type otherwise.
    private func fitting(_ b: ConstIntBound, _ type: DataType) -> ConstIntBound {
        if type.isUInt && type.bits == 64 { return b.min >= 0 && b.isFinite ? b : .everything }
        let range = ConstIntBound.of(type)
        return b.min >= range.min && b.max <= range.max ? b : range
    }

    private func castBound(_ c: Cast) -> ConstIntBound {
        let from = c.value.dtype
        guard from.isInteger else { return .of(c.dtype) }
        let b = constIntBound(c.value)
        if c.dtype.isBool {
            if !b.contains(0) { return ConstIntBound(1) }
            return b.single == 0 ? ConstIntBound(0) : ConstIntBound(0, 1)
        }
        // Negative numbers become large patterns; narrowing wraps: bounds survive where the number stays.
        if c.dtype.isUInt && c.dtype.bits == 64 { return b.min >= 0 && b.isFinite ? b : .everything }
        return fitting(b, c.dtype)
    }

    private func binaryBound(_ e: BinaryExpr) -> ConstIntBound {
        let type = e.a.dtype
        guard type.isInteger else { return .of(e.dtype) }
        let a = constIntBound(e.a)
        let b = constIntBound(e.b)
        if type.isUInt && type.bits == 64 && (a.min < 0 || b.min < 0) { return .of(e.dtype) }
        func truth(_ always: Bool, _ never: Bool) -> ConstIntBound {
            always ? ConstIntBound(1) : never ? ConstIntBound(0) : ConstIntBound(0, 1)
        }
        switch e.kind {
        case .add: return a + b
        case .sub: return a - b
        case .mul: return sameExpr(e.a, e.b) ? (a * b).intersect(ConstIntBound(0, .max)) : a * b
        case .min: return a.minimum(b)
        case .max: return a.maximum(b)
        case .div: return a.truncQuotient(b)
        case .mod: return a.truncRemainder(b)
        case .floorDiv: return a.floorDividing(by: b)
        case .floorMod: return a.floorModulo(b)
        case .lt: return truth(a.max < b.min, a.min >= b.max)
        case .le: return truth(a.max <= b.min, a.min > b.max)
        case .gt: return truth(a.min > b.max, a.max <= b.min)
        case .ge: return truth(a.min >= b.max, a.max < b.min)
        case .eq: return truth(a.single != nil && a == b, a.max < b.min || b.max < a.min)
        case .ne: return truth(a.max < b.min || b.max < a.min, a.single != nil && a == b)
        case .and: return truth(a.min > 0 && b.min > 0, a.max == 0 || b.max == 0)
        case .or: return truth(a.min > 0 || b.min > 0, a.max == 0 && b.max == 0)
        default: return .of(e.dtype)
        }
    }

    private func callBound(_ c: Call) -> ConstIntBound {
        let type = ConstIntBound.of(c.dtype)
        let bits = Int(c.dtype.bits)
        guard let first = c.args.first, first.dtype.isInteger else { return type }
        // Patterns of 64-bit unsigned numbers that are not known to be small.
        func number(_ e: PrimExpr) -> ConstIntBound? {
            let b = constIntBound(e)
            return e.dtype.isUInt && e.dtype.bits == 64 && b.min < 0 ? nil : b
        }
        switch c.name {
        case "tir.likely": return constIntBound(first)
        case "tir.if_then_else": return conditionalBound(first, c.args[1], c.args[2])
        case "tir.bitwise_and", "tir.bitwise_or", "tir.bitwise_xor":
            guard c.args.count == 2, let b = number(c.args[1]) else { return type }
            guard let a = number(first) else {
                return c.name == "tir.bitwise_and" ? ConstIntBound(0, b.max) : type
            }
            if c.name == "tir.bitwise_and" { return a.bitAnd(b) }
            return c.name == "tir.bitwise_or" ? a.bitOr(b) : a.bitXor(b)
        case "tir.bitwise_not":
            guard let a = number(first) else { return type }
            if c.dtype.isInt { return ConstIntBound(-1) - a }
            return bits < 64 ? ConstIntBound((1 << bits) - 1) - a : type
        case "tir.shift_left":
            let s = constIntBound(c.args[1])
            guard let a = number(first), s.min >= 0, s.max < bits else { return type }
            let r = a.shiftedLeft(s)
            return r.isFinite ? r : type
        case "tir.shift_right":
            let s = constIntBound(c.args[1])
            guard s.min >= 0 else { return type }
            if let a = number(first) { return a.shiftedRight(s) }
            return s.min >= 1
                ? ConstIntBound(0, Int(truncatingIfNeeded: UInt.max >> UInt(min(s.min, 63)))) : type
        case "tir.popcount":
            return (number(first) ?? .everything).populationCount(bits: Int(first.dtype.bits))
        case "tir.clz": return (number(first) ?? .everything).leadingZeros(bits: Int(first.dtype.bits))
        case "tir.abs":
            let a = constIntBound(first)
            // The smallest number has no opposite in its type.
            return a.min == ConstIntBound.of(first.dtype).min && c.dtype.isInt ? type : a.magnitude
        default: return type
        }
    }

    /// The value is `a` only where `condition` holds, else `b`: each is looked at with that knowledge, while the
    /// nesting is small.
    private func conditionalBound(_ condition: PrimExpr, _ a: PrimExpr, _ b: PrimExpr) -> ConstIntBound {
        guard boundState.depth < 3, condition.dtype.isScalar else {
            return partBound(a).union(partBound(b))
        }
        let truth = constIntBound(condition)
        if truth.min > 0 { return partBound(a) }
        if truth.max == 0 { return partBound(b) }
        let x = partBound(a)
        let y = partBound(b)
        // A chain of choices would be walked once for each of its members.
        var room = 48
        if (a.kind == .intImm && b.kind == .intImm) || !isSmall(a, &room) || !isSmall(b, &room) {
            return x.union(y)
        }
        let yes = inner(condition) { constIntBound(a) }
        let no = inner(not(condition)) { constIntBound(b) }
        // What cannot be the case is chosen never.
        if yes.isEmpty { return y }
        if no.isEmpty { return x }
        return x.intersect(yes).union(y.intersect(no))
    }

    private func partBound(_ e: PrimExpr) -> ConstIntBound {
        e.dtype == .index ? valueBound(partForm(e)) : constIntBound(e)
    }

    /// The form of a part of a choice. What is large is not simplified anew: this analyzer has simplified it where the
    /// condition held, as it did the parts of the parts, and would do so once for each level of a chain of choices.
    func partForm(_ e: PrimExpr) -> LinearForm {
        if let known = caches.forms[ObjectIdentifier(e)] { return known.value }
        var room = 48
        if let built = formOfBuilt[ObjectIdentifier(e)], !isSmall(e, &room) { return built }
        return form(e)
    }

    private func isSmall(_ e: PrimExpr, _ room: inout Int) -> Bool {
        room -= 1
        if room < 0 { return false }
        var small = true
        forEachChild(of: e) { if small { small = isSmall($0, &room) } }
        return small
    }

    private func inner(_ condition: PrimExpr, _ body: () -> ConstIntBound) -> ConstIntBound {
        boundState.depth += 1
        let depth = boundState.depth
        defer { boundState.depth = depth - 1 }
        return withConstraint(condition, body)
    }

    /// `body` with the variable of `l` known by bounds and divisibility of its value, and as before afterwards.
    func withLet<R>(_ l: Let, _ body: () -> R) -> R {
        guard boundState.depth < 8, l.variable.dtype.isInteger else { return body() }
        let b = constIntBound(l.value)
        let m = modularSet(l.value)
        let n = variableAtom(l.variable)
        let saved = (
            variableBound[n], variableModular[n], symbolicRange[n], variableValue[n], caches, boundState.depth
        )
        let savedWild = wildVariables
        if l.variable.dtype == .index {
            if isTame(l.value) { wildVariables.remove(n) } else { wildVariables.insert(n) }
        }
        boundState.depth += 1
        symbolicRange[n] = nil
        variableValue[n] = nil
        variableBound[n] = b
        variableModular[n] = m
        caches = Caches()
        defer {
            wildVariables = savedWild
            (
                variableBound[n], variableModular[n], symbolicRange[n], variableValue[n], caches,
                boundState.depth
            ) = saved
        }
        return body()
    }

    // MARK: Constraints

    /// Keeps what `f >= 0` says about each of its atoms, the others taken at their ends.
    func noteAtomBounds(_ f: LinearForm) {
        guard f.terms.count <= 4 else { return }
        for t in f.terms where t.coef != .min {
            // coef * atom >= -most
            let most = bound(f.removing(t.atom)).max
            guard most != ConstIntBound.posInf, let q = floorDivide(most, abs(t.coef)), q != .min else {
                continue
            }
            let b =
                t.coef > 0
                ? ConstIntBound(-q, ConstIntBound.posInf) : ConstIntBound(ConstIntBound.negInf, q)
            var isVariable = false
            if case .variable = atoms[t.atom].kind { isVariable = true }
            let old = (isVariable ? variableBound[t.atom] : boundState.atoms[t.atom]) ?? .everything
            let new = old.intersect(b)
            if new == old { continue }
            if isVariable { setBound(t.atom, new) } else { boundState.atoms[t.atom] = new }
            caches = Caches()
        }
    }

    /// Bounds of a sum of values that may lie anywhere in 64 bits, such as data: it wraps unless the ends say otherwise.
    func wildBound(_ f: LinearForm) -> ConstIntBound {
        let b = bound(f)
        return b.isFinite || f.asAtom != nil ? b : .everything
    }

    /// Keeps what a comparison of another type than the index type says about either side.
    func noteComparison(_ c: BinaryExpr) {
        guard c.a.dtype.isInteger, !(c.a.dtype.isUInt && c.a.dtype.bits == 64), boundState.others.count < 64
        else {
            return
        }
        func note(_ e: PrimExpr, _ low: Int, _ high: Int) {
            if e.kind != .intImm { boundState.others.append((expr: e, bound: ConstIntBound(low, high))) }
        }
        let a = otherBound(c.a)
        let b = otherBound(c.b)
        func above(_ v: Int) -> Int { v == .max || v == .min ? v : v + 1 }
        func below(_ v: Int) -> Int { v == .max || v == .min ? v : v - 1 }
        switch c.kind {
        case .lt:
            note(c.a, .min, below(b.max))
            note(c.b, above(a.min), .max)
        case .le:
            note(c.a, .min, b.max)
            note(c.b, a.min, .max)
        case .gt:
            note(c.a, above(b.min), .max)
            note(c.b, .min, below(a.max))
        case .ge:
            note(c.a, b.min, .max)
            note(c.b, .min, a.max)
        case .eq:
            note(c.a, b.min, b.max)
            note(c.b, a.min, a.max)
        default: break
        }
    }

    /// `b` of the form `f`, tighter where a constraint speaks of the same sum.
    func constrained(_ b: ConstIntBound, _ f: LinearForm) -> ConstIntBound {
        guard f.terms.count > 1 else { return b }
        if localConstraints.isEmpty && globalConstraints.isEmpty { return b }
        var b = b
        // The innermost conditions are the likeliest to matter.
        for c in localConstraints.suffix(48) + globalConstraints.suffix(48)
        where c.terms.count == f.terms.count {
            // f - f.constant = k * (c - c.constant): k > 0 gives a lower end, k < 0 an upper one.
            let (x, y) = (f.terms[0].coef, c.terms[0].coef)
            guard x != .min, y != .min, x % y == 0, let scaled = c.scaled(by: x / y), scaled.terms == f.terms
            else {
                continue
            }
            let d = f.constant.subtractingReportingOverflow(scaled.constant)
            if d.overflow { continue }
            b = b.intersect(
                x / y > 0 ? ConstIntBound(d.partialValue, .max) : ConstIntBound(.min, d.partialValue))
        }
        return b
    }
}
