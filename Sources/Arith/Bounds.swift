import ApusIR
import ApusRuntime
import ApusTIR

// Constant bounds and divisibility of forms and of what is not a form.
extension Analyzer {
    func bound(_ f: LinearForm) -> ConstIntBound {
        var b = ConstIntBound(f.constant)
        for t in f.terms {
            let a = atomBound(t.atom)
            b = b + (t.coef == 1 ? a : a * ConstIntBound(t.coef))
        }
        return b
    }

    func atomBound(_ n: Int) -> ConstIntBound {
        if case .variable = atoms[n].kind { return variableBound[n] ?? .everything }
        return caches.bounds[n] ?? deeper { computeBound(n) }
    }

    private func computeBound(_ n: Int) -> ConstIntBound {
        let b: ConstIntBound
        switch atoms[n].kind {
        case .variable: b = .everything
        case .product(let list):
            var p = ConstIntBound(1)
            for f in list { p = p * atomBound(f) }
            if !p.isFinite && !isTame(LinearForm(atom: n)) {
                p = .everything
            } else if list.count == 2 && list[0] == list[1] {
                p = p.intersect(ConstIntBound(0, ConstIntBound.posInf))
            }
            b = p
        case .floorDiv(let x, let d): b = valueBound(x).floorDividing(by: valueBound(d))
        case .floorMod(let x, let d): b = valueBound(x).floorModulo(valueBound(d))
        case .min(let x, let y): b = valueBound(x).minimum(valueBound(y))
        case .max(let x, let y): b = valueBound(x).maximum(valueBound(y))
        case .opaque:
            // A constraint may speak of this very atom: asked again while it is computed, its type must do.
            caches.bounds[n] = .of(atoms[n].expr.dtype)
            b = opaqueBound(atoms[n].expr)
        }
        let known = boundState.atoms[n].map { b.intersect($0) } ?? b
        caches.bounds[n] = known
        return known
    }

    /// Bounds of the value of `f`, whose sum may wrap if there is data in it.
    func valueBound(_ f: LinearForm) -> ConstIntBound { isTame(f) ? bound(f) : wildBound(f) }

    /// Divisibility of the value of `f`, as for `valueBound`.
    func valueModular(_ f: LinearForm) -> ModularSet {
        isTame(f) || f.asAtom != nil ? modular(f) : modular(f).wrapped(bits: 64)
    }

    func modular(_ f: LinearForm) -> ModularSet {
        var m = ModularSet(constant: f.constant)
        for t in f.terms { m = m + atomModular(t.atom) * ModularSet(constant: t.coef) }
        return m
    }

    func atomModular(_ n: Int) -> ModularSet {
        if case .variable = atoms[n].kind { return variableModular[n] ?? .everything }
        return caches.modulars[n] ?? deeper { computeModular(n) }
    }

    private func computeModular(_ n: Int) -> ModularSet {
        let m: ModularSet
        switch atoms[n].kind {
        case .variable: m = .everything
        case .product(let list):
            var p = ModularSet(constant: 1)
            for f in list { p = p * atomModular(f) }
            m = isTame(LinearForm(atom: n)) ? p : p.wrapped(bits: 64)
        case .floorDiv(let x, let d):
            let a = valueModular(x)
            if let c = d.asConstant, c > 0, a.coeff % c == 0, a.coeff != 0, let q = floorDivide(a.base, c) {
                m = ModularSet(a.coeff / c, q)
            } else {
                m = .everything
            }
        case .floorMod(let x, let d):
            let a = valueModular(x)
            if let c = d.asConstant, c > 0 {
                // A multiple of the divisor leaves one remainder.
                m =
                    a.coeff % c == 0
                    ? ModularSet(constant: ApusTIR.floorModulo(a.base, c) ?? 0)
                    : ModularSet(gcd(a.coeff, c), a.base)
            } else {
                m = .everything
            }
        case .min(let x, let y), .max(let x, let y): m = valueModular(x).union(valueModular(y))
        case .opaque:
            // As for bounds.
            caches.modulars[n] = .everything
            m = opaqueModular(atoms[n].expr)
        }
        let known = boundState.atomModulars[n].flatMap { m.intersect($0) } ?? m
        caches.modulars[n] = known
        return known
    }
}
