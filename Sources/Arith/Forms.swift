import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR

// Expressions to forms and back.
extension Analyzer {
    func variableAtom(_ v: Var) -> Int {
        let key = AtomKey.variable(ObjectIdentifier(v))
        if let n = atomNumber[key] { return n }
        return addAtom(key, Atom(kind: .variable(v), expr: v))
    }

    func addAtom(_ key: AtomKey, _ atom: Atom) -> Int {
        let n = atoms.count
        atoms.append(atom)
        atomNumber[key] = n
        let single = LinearForm(atom: n)
        singles.append(single)
        formOfBuilt[ObjectIdentifier(atom.expr)] = single
        return n
    }

    func isTame(_ f: LinearForm) -> Bool {
        for t in f.terms where !atomIsTame(t.atom) { return false }
        return true
    }

    /// Whether the value is known not to come near the end of the 64-bit range, so that sums of it do not wrap: index
    /// variables, and what is bounded; not data loaded from memory.
    private func atomIsTame(_ n: Int) -> Bool {
        if case .variable = atoms[n].kind {
            return wildVariables.isEmpty || !wildVariables.contains(n) || isSmall(atomBound(n))
        }
        if let known = caches.tame[n] { return known }
        let tame = deeper { partsAreTame(n) }
        caches.tame[n] = tame
        return tame
    }

    private func partsAreTame(_ n: Int) -> Bool {
        switch atoms[n].kind {
        case .variable: return true
        case .product(let list): return list.allSatisfy { atomIsTame($0) }
        case .floorDiv(let a, let d): return isTame(a) && isTame(d)
        case .floorMod(_, let d): return isTame(d)
        // One bounded side each way would do for boundedness.
        case .min(let x, let y), .max(let x, let y): return (isTame(x) && isTame(y)) || isSmall(atomBound(n))
        case .opaque: return isSmall(atomBound(n)) || partsAreTame(atoms[n].expr)
        }
    }

    /// 2^48 is far above any index and far below overflow of a sum of products with strides.
    private func isSmall(_ b: ConstIntBound) -> Bool { b.isFinite && b.min > -(1 << 48) && b.max < 1 << 48 }

    /// Whether an index expression that has no form, scalar or vector, is made of what is tame.
    private func partsAreTame(_ e: PrimExpr) -> Bool {
        switch e.kind {
        case .intImm, .variable: return true
        case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            return isTame(op.a) && isTame(op.b)
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            return partIsTame(s.trueValue) && partIsTame(s.falseValue)
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            return isTame(r.base) && isTame(r.stride)
        case .broadcast: return isTame(unsafeDowncast(e, to: Broadcast.self).value)
        case .shuffle: return unsafeDowncast(e, to: Shuffle.self).vectors.allSatisfy { isTame($0) }
        case .let: return partIsTame(unsafeDowncast(e, to: Let.self).body)
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            return c.name == "tir.if_then_else" && c.args.dropFirst().allSatisfy { partIsTame($0) }
        default: return false
        }
    }

    private func partIsTame(_ e: PrimExpr) -> Bool {
        e.dtype == .index ? isTame(partForm(e)) : isTame(e)
    }

    /// Whether an index expression's arithmetic may be taken not to overflow.
    func isTame(_ e: PrimExpr) -> Bool {
        if e.dtype.element != .index { return true }
        if e.dtype.isScalar { return isTame(form(e)) }
        if e.kind == .variable { return true }
        if let known = caches.otherTame[ObjectIdentifier(e)] { return known.value }
        let tame = deeper { isSmall(otherBound(e)) || partsAreTame(e) }
        caches.otherTame[ObjectIdentifier(e)] = (key: e, value: tame)
        return tame
    }

    func opaqueAtom(_ e: PrimExpr) -> LinearForm {
        let hash = exprHash(e)
        for n in opaqueNumber[hash] ?? [] where sameExpr(atoms[n].expr, e) { return singles[n] }
        let n = atoms.count
        let single = LinearForm(atom: n)
        atoms.append(Atom(kind: .opaque, expr: e))
        singles.append(single)
        formOfBuilt[ObjectIdentifier(e)] = single
        opaqueNumber[hash, default: []].append(n)
        return single
    }

    /// The normal form of an index scalar.
    func form(_ e: PrimExpr) -> LinearForm {
        if let v = e.asInt { return LinearForm(v) }
        if e.kind == .variable {
            let n = variableAtom(unsafeDowncast(e, to: Var.self))
            if let value = variableValue[n] { return value }
            if let b = variableBound[n], let v = b.single { return LinearForm(v) }
            return singles[n]
        }
        if let known = caches.forms[ObjectIdentifier(e)] { return known.value }
        let f = deeper { computeForm(e) }
        caches.forms[ObjectIdentifier(e)] = (key: e, value: f)
        return f
    }

    private func computeForm(_ e: PrimExpr) -> LinearForm {
        switch e.kind {
        case .add, .sub:
            let e = unsafeDowncast(e, to: BinaryExpr.self)
            if let long = longSum(e) { return long }
            let a = form(e.a)
            let b = form(e.b)
            guard let sum = a.adding(b, times: e.kind == .add ? 1 : -1) else { return opaqueBinary(e, a, b) }
            return rewrittenSum(recombined(sum))
        case .mul:
            let e = unsafeDowncast(e, to: BinaryExpr.self)
            let a = form(e.a)
            let b = form(e.b)
            return product(a, b).map(rewrittenSum) ?? opaqueBinary(e, a, b)
        case .floorDiv, .div:
            let e = unsafeDowncast(e, to: BinaryExpr.self)
            let a = form(e.a)
            let b = form(e.b)
            if e.kind == .div && !(valueBound(a).min >= 0 && valueBound(b).min > 0) {
                if let x = a.asConstant, let y = b.asConstant, y != 0, !(x == .min && y == -1) {
                    return LinearForm(x / y)
                }
                return opaqueBinary(e, a, b)
            }
            return floorDiv(a, b).map(rewrittenSum) ?? opaqueBinary(e, a, b)
        case .floorMod, .mod:
            let e = unsafeDowncast(e, to: BinaryExpr.self)
            let a = form(e.a)
            let b = form(e.b)
            if e.kind == .mod && !(valueBound(a).min >= 0 && valueBound(b).min > 0) {
                if let x = a.asConstant, let y = b.asConstant, y != 0, y != -1 { return LinearForm(x % y) }
                return opaqueBinary(e, a, b)
            }
            return floorMod(a, b).map(rewrittenSum) ?? opaqueBinary(e, a, b)
        case .min, .max:
            let e = unsafeDowncast(e, to: BinaryExpr.self)
            return extremum(e.kind, form(e.a), form(e.b))
        default:
            let s = simplifyOther(e)
            if s === e || s.kind == e.kind { return opaqueAtom(s) }
            return form(s)
        }
    }

    /// The form of a sum of many members, gathered at once: adding them one by one copies ever longer forms. Nil for
    /// short sums and where a coefficient overflows.
    private func longSum(_ e: BinaryExpr) -> LinearForm? {
        var additions = 32
        countAdditions(e, &additions)
        if additions >= 0 { return nil }
        var open: [(e: PrimExpr, sign: Int)] = [(e: e, sign: 1)]
        var members: [(e: PrimExpr, sign: Int)] = []
        var seen: Set<ObjectIdentifier> = []
        while let (next, sign) = open.popLast() {
            if next.kind == .add || next.kind == .sub {
                // A part that is shared is looked at once: as a tree it may be endless.
                if !seen.insert(ObjectIdentifier(next)).inserted { return nil }
                let op = unsafeDowncast(next, to: BinaryExpr.self)
                open.append((e: op.b, sign: next.kind == .add ? sign : -sign))
                open.append((e: op.a, sign: sign))
            } else {
                members.append((e: next, sign: sign))
            }
        }
        var constant = 0
        var coefficients: [Int: Int] = [:]
        func add(_ x: Int, _ k: Int, _ s: Int) -> Int? {
            let p = k.multipliedReportingOverflow(by: s)
            let r = x.addingReportingOverflow(p.partialValue)
            return p.overflow || r.overflow ? nil : r.partialValue
        }
        for m in members {
            let f = form(m.e)
            guard let c = add(constant, f.constant, m.sign) else { return nil }
            constant = c
            for t in f.terms {
                guard let k = add(coefficients[t.atom] ?? 0, t.coef, m.sign) else { return nil }
                coefficients[t.atom] = k
            }
        }
        let terms = coefficients.filter { $0.value != 0 }.map {
            LinearForm.Term(atom: $0.key, coef: $0.value)
        }
        return recombined(LinearForm(constant: constant, terms: terms.sorted { $0.atom < $1.atom }))
    }

    /// Takes the additions and subtractions of a sum from `left` until it is below 0: most sums are short, and asking
    /// costs neither memory nor, this way, depth.
    private func countAdditions(_ e: PrimExpr, _ left: inout Int) {
        guard left >= 0, e.kind == .add || e.kind == .sub else { return }
        left -= 1
        let e = unsafeDowncast(e, to: BinaryExpr.self)
        countAdditions(e.a, &left)
        countAdditions(e.b, &left)
    }

    private func opaqueBinary(_ e: BinaryExpr, _ a: LinearForm, _ b: LinearForm) -> LinearForm {
        let x = build(a)
        let y = build(b)
        return opaqueAtom(same(x, e.a) && same(y, e.b) ? e : BinaryExpr.raw(e.kind, x, y))
    }

    /// The product, distributed; nil on overflow or where distribution would grow it.
    func product(_ a: LinearForm, _ b: LinearForm) -> LinearForm? {
        if let k = a.asConstant { return b.scaled(by: k).map(recombined) }
        if let k = b.asConstant { return a.scaled(by: k).map(recombined) }
        let na = a.terms.count + (a.constant == 0 ? 0 : 1)
        let nb = b.terms.count + (b.constant == 0 ? 0 : 1)
        if na * nb > 12 { return nil }
        guard var sum = b.scaled(by: a.constant),
            let t = LinearForm(constant: 0, terms: a.terms).scaled(by: b.constant)
        else { return nil }
        guard let s0 = sum.adding(t) else { return nil }
        // a.constant * b.constant was counted once, in `sum`: `t` has no constant.
        sum = s0
        for x in a.terms {
            for y in b.terms {
                let k = x.coef.multipliedReportingOverflow(by: y.coef)
                if k.overflow { return nil }
                let p = singles[productAtom(x.atom, y.atom)]
                guard let next = sum.adding(p, times: k.partialValue) else { return nil }
                sum = next
            }
        }
        return recombined(sum)
    }

    func factors(_ n: Int) -> [Int] {
        if case .product(let f) = atoms[n].kind { return f }
        return [n]
    }

    func productAtom(_ a: Int, _ b: Int) -> Int { productAtom((factors(a) + factors(b)).sorted()) }

    func productAtom(_ list: [Int]) -> Int {
        if list.count == 1 { return list[0] }
        let key = AtomKey.product(list)
        if let n = atomNumber[key] { return n }
        var e = atoms[list[0]].expr
        for n in list.dropFirst() { e = Mul(e, atoms[n].expr) }
        return addAtom(key, Atom(kind: .product(list), expr: e))
    }

    func divAtom(_ a: LinearForm, _ d: LinearForm) -> LinearForm {
        let key = AtomKey.floorDiv(a, d)
        if let n = atomNumber[key] { return singles[n] }
        let e = FloorDiv(build(a), build(d))
        return singles[addAtom(key, Atom(kind: .floorDiv(a, d), expr: e))]
    }

    func modAtom(_ a: LinearForm, _ d: LinearForm) -> LinearForm {
        let key = AtomKey.floorMod(a, d)
        if let n = atomNumber[key] { return singles[n] }
        let e = FloorMod(build(a), build(d))
        return singles[addAtom(key, Atom(kind: .floorMod(a, d), expr: e))]
    }

    func extremumAtom(_ kind: PrimExprKind, _ a: LinearForm, _ b: LinearForm) -> LinearForm {
        // Constants second; else by size of the form, then by atom, so that min(a, b) and min(b, a) are one.
        let swap = order(b) < order(a)
        let x = swap ? b : a
        let y = swap ? a : b
        let key = kind == .min ? AtomKey.min(x, y) : AtomKey.max(x, y)
        if let n = atomNumber[key] { return singles[n] }
        let e = BinaryExpr.raw(kind, build(x), build(y))
        return singles[addAtom(key, Atom(kind: kind == .min ? .min(x, y) : .max(x, y), expr: e))]
    }

    private func order(_ f: LinearForm) -> (Int, Int) {
        f.terms.isEmpty ? (Int.max, f.constant) : (f.terms[0].atom, f.constant)
    }

    /// `f` as an expression: positive terms first, in the order of their atoms, the constant last.
    func build(_ f: LinearForm) -> PrimExpr {
        if let c = f.asConstant { return IntImm(c) }
        if let n = f.asAtom { return atoms[n].expr }
        if let e = builtForms[f] { return e }
        var sum: PrimExpr?
        func term(_ t: LinearForm.Term, _ k: Int) -> PrimExpr {
            k == 1 ? atoms[t.atom].expr : Mul(atoms[t.atom].expr, IntImm(k))
        }
        for t in f.terms where t.coef > 0 {
            let e = term(t, t.coef)
            sum = sum.map { Add($0, e) } ?? e
        }
        if sum == nil && f.constant > 0 { sum = IntImm(f.constant) }
        let constantUsed = sum?.kind == .intImm
        for t in f.terms where t.coef < 0 {
            if let s = sum {
                sum = t.coef == .min ? Add(s, term(t, t.coef)) : Sub(s, term(t, -t.coef))
            } else {
                sum = term(t, t.coef)
            }
        }
        guard var result = sum else { return IntImm(f.constant) }
        if f.constant != 0 && !constantUsed {
            result =
                f.constant > 0 || f.constant == .min
                ? Add(result, IntImm(f.constant)) : Sub(result, IntImm(-f.constant))
        }
        builtForms[f] = result
        formOfBuilt[ObjectIdentifier(result)] = f
        return result
    }

    /// Whether atom `n` occurs anywhere in `f`, inside other atoms as well.
    func mentions(_ f: LinearForm, _ n: Int) -> Bool {
        // Atoms that have been looked at, and those yet to be: nested atoms share others, and may be deep.
        var seen: Set<Int> = []
        var open = f.terms.map { $0.atom }
        while let a = open.popLast() {
            if a == n { return true }
            switch atoms[a].kind {
            case .variable: continue
            case .product(let list): open += list
            case .floorDiv(let x, let y), .floorMod(let x, let y), .min(let x, let y), .max(let x, let y):
                if !seen.insert(a).inserted { continue }
                for t in x.terms { open.append(t.atom) }
                for t in y.terms { open.append(t.atom) }
            case .opaque:
                guard case .variable(let v) = atoms[n].kind else { return true }
                if uses(atoms[a].expr, [v]) { return true }
            }
        }
        return false
    }
}
