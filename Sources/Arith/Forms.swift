import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR

// Expressions to forms and back.
extension Analyzer {
    func variableAtom(_ v: Var) -> Int {
        let key = AtomKey.variable(ObjectIdentifier(v))
        if let n = atomNumber[key] { return n }
        return addAtom(key, Atom(kind: .variable(v), expr: v, tame: true))
    }

    func addAtom(_ key: AtomKey, _ atom: Atom) -> Int {
        let n = atoms.count
        atoms.append(atom)
        atomNumber[key] = n
        return n
    }

    func isTame(_ f: LinearForm) -> Bool {
        for t in f.terms where !atoms[t.atom].tame { return false }
        return true
    }

    func opaqueAtom(_ e: PrimExpr) -> LinearForm {
        let hash = structuralHash(e)
        for n in opaqueNumber[hash] ?? [] where sameExpr(atoms[n].expr, e) { return LinearForm(atom: n) }
        let b = opaqueBound(e)
        // Only now: asking for the bound may have added atoms.
        let n = atoms.count
        // 2^48 is far above any index and far below overflow of a sum of products with strides.
        let limit = 1 << 48
        let tame = b.isFinite && b.min > -limit && b.max < limit
        atoms.append(Atom(kind: .opaque, expr: e, tame: tame || e.kind == .cast))
        opaqueNumber[hash, default: []].append(n)
        return LinearForm(atom: n)
    }

    /// The normal form of an index scalar.
    func form(_ e: PrimExpr) -> LinearForm {
        if let v = e.asInt { return LinearForm(v) }
        if e.kind == .variable {
            let n = variableAtom(unsafeDowncast(e, to: Var.self))
            if let value = variableValue[n] { return value }
            if let b = variableBound[n], let v = b.single { return LinearForm(v) }
            return LinearForm(atom: n)
        }
        if let known = caches.forms[ObjectIdentifier(e)] { return known.value }
        let f = computeForm(e)
        caches.forms[ObjectIdentifier(e)] = (key: e, value: f)
        return f
    }

    private func computeForm(_ e: PrimExpr) -> LinearForm {
        switch e.kind {
        case .add, .sub:
            let e = unsafeDowncast(e, to: BinaryExpr.self)
            let a = form(e.a)
            let b = form(e.b)
            guard let sum = a.adding(b, times: e.kind == .add ? 1 : -1) else { return opaqueBinary(e, a, b) }
            return recombined(sum)
        case .mul:
            let e = unsafeDowncast(e, to: BinaryExpr.self)
            let a = form(e.a)
            let b = form(e.b)
            return product(a, b) ?? opaqueBinary(e, a, b)
        case .floorDiv, .div:
            let e = unsafeDowncast(e, to: BinaryExpr.self)
            let a = form(e.a)
            let b = form(e.b)
            if e.kind == .div && !(bound(a).min >= 0 && bound(b).min > 0) {
                if let x = a.asConstant, let y = b.asConstant, y != 0, !(x == .min && y == -1) {
                    return LinearForm(x / y)
                }
                return opaqueBinary(e, a, b)
            }
            return floorDiv(a, b) ?? opaqueBinary(e, a, b)
        case .floorMod, .mod:
            let e = unsafeDowncast(e, to: BinaryExpr.self)
            let a = form(e.a)
            let b = form(e.b)
            if e.kind == .mod && !(bound(a).min >= 0 && bound(b).min > 0) {
                if let x = a.asConstant, let y = b.asConstant, y != 0, y != -1 { return LinearForm(x % y) }
                return opaqueBinary(e, a, b)
            }
            return floorMod(a, b) ?? opaqueBinary(e, a, b)
        case .min, .max:
            let e = unsafeDowncast(e, to: BinaryExpr.self)
            return extremum(e.kind, form(e.a), form(e.b))
        default:
            let s = simplifyOther(e)
            if s === e || s.kind == e.kind { return opaqueAtom(s) }
            return form(s)
        }
    }

    private func opaqueBinary(_ e: BinaryExpr, _ a: LinearForm, _ b: LinearForm) -> LinearForm {
        let x = build(a)
        let y = build(b)
        return opaqueAtom(sameExpr(x, e.a) && sameExpr(y, e.b) ? e : BinaryExpr.raw(e.kind, x, y))
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
                let p = LinearForm(atom: productAtom(x.atom, y.atom))
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
        var tame = atoms[list[0]].tame
        for n in list.dropFirst() {
            e = Mul(e, atoms[n].expr)
            tame = tame && atoms[n].tame
        }
        return addAtom(key, Atom(kind: .product(list), expr: e, tame: tame))
    }

    func divAtom(_ a: LinearForm, _ d: LinearForm) -> LinearForm {
        let key = AtomKey.floorDiv(a, d)
        if let n = atomNumber[key] { return LinearForm(atom: n) }
        let e = FloorDiv(build(a), build(d))
        return LinearForm(
            atom: addAtom(key, Atom(kind: .floorDiv(a, d), expr: e, tame: isTame(a) && isTame(d))))
    }

    func modAtom(_ a: LinearForm, _ d: LinearForm) -> LinearForm {
        let key = AtomKey.floorMod(a, d)
        if let n = atomNumber[key] { return LinearForm(atom: n) }
        let e = FloorMod(build(a), build(d))
        return LinearForm(atom: addAtom(key, Atom(kind: .floorMod(a, d), expr: e, tame: isTame(d))))
    }

    func extremumAtom(_ kind: PrimExprKind, _ a: LinearForm, _ b: LinearForm) -> LinearForm {
        // Constants second; else by size of the form, then by atom, so that min(a, b) and min(b, a) are one.
        let swap = order(b) < order(a)
        let x = swap ? b : a
        let y = swap ? a : b
        let key = kind == .min ? AtomKey.min(x, y) : AtomKey.max(x, y)
        if let n = atomNumber[key] { return LinearForm(atom: n) }
        let e = BinaryExpr.raw(kind, build(x), build(y))
        // One bounded side each way would do for boundedness; both tame, or the result bounded.
        let b = kind == .min ? bound(x).minimum(bound(y)) : bound(x).maximum(bound(y))
        let limit = 1 << 48
        let tame = (isTame(x) && isTame(y)) || (b.isFinite && b.min > -limit && b.max < limit)
        return LinearForm(
            atom: addAtom(key, Atom(kind: kind == .min ? .min(x, y) : .max(x, y), expr: e, tame: tame)))
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
        return result
    }

    /// Whether atom `n` occurs anywhere in `f`, inside other atoms as well.
    func mentions(_ f: LinearForm, _ n: Int) -> Bool {
        for t in f.terms where atomMentions(t.atom, n) { return true }
        return false
    }

    private func atomMentions(_ a: Int, _ n: Int) -> Bool {
        if a == n { return true }
        switch atoms[a].kind {
        case .variable: return false
        case .product(let list): return list.contains { atomMentions($0, n) }
        case .floorDiv(let x, let y), .floorMod(let x, let y), .min(let x, let y), .max(let x, let y):
            return mentions(x, n) || mentions(y, n)
        case .opaque:
            guard case .variable(let v) = atoms[n].kind else { return true }
            return uses(atoms[a].expr, [v])
        }
    }
}
