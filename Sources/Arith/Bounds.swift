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
        if let b = caches.bounds[n] { return b }
        let b: ConstIntBound
        switch atoms[n].kind {
        case .variable: b = .everything
        case .product(let list):
            var p = ConstIntBound(1)
            for f in list { p = p * atomBound(f) }
            if list.count == 2 && list[0] == list[1] {
                p = p.intersect(ConstIntBound(0, ConstIntBound.posInf))
            }
            b = p
        case .floorDiv(let x, let d): b = bound(x).floorDividing(by: bound(d))
        case .floorMod(let x, let d): b = bound(x).floorModulo(bound(d))
        case .min(let x, let y): b = bound(x).minimum(bound(y))
        case .max(let x, let y): b = bound(x).maximum(bound(y))
        case .opaque:
            // A constraint may speak of this very atom: asked again while it is computed, its type must do.
            caches.bounds[n] = .of(atoms[n].expr.dtype)
            b = opaqueBound(atoms[n].expr)
        }
        caches.bounds[n] = b
        return b
    }

    /// Bounds of an expression that is not a sum, product, floor division or extremum of index type.
    func opaqueBound(_ e: PrimExpr) -> ConstIntBound {
        switch e.kind {
        case .cast:
            let inner = unsafeDowncast(e, to: Cast.self).value
            if !inner.dtype.isInteger { return .of(e.dtype) }
            let b = constIntBound(inner)
            let type = ConstIntBound.of(e.dtype)
            // Narrowing wraps: the bounds survive only where they fit.
            return b.min >= type.min && b.max <= type.max && !(b.min < 0 && e.dtype.isUInt) ? b : type
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            return constIntBound(s.trueValue).union(constIntBound(s.falseValue))
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            switch c.name {
            case "tir.likely": return constIntBound(c.args[0])
            case "tir.if_then_else": return constIntBound(c.args[1]).union(constIntBound(c.args[2]))
            case "tir.bitwise_and":
                let b = constIntBound(c.args[1])
                let a = constIntBound(c.args[0])
                if b.min >= 0 { return ConstIntBound(0, a.min >= 0 ? min(a.max, b.max) : b.max) }
                if a.min >= 0 { return ConstIntBound(0, a.max) }
            case "tir.shift_right":
                if let s = c.args[1].asInt, s >= 0, s < 62, c.dtype.isInt {
                    return constIntBound(c.args[0]).floorDividing(by: 1 << s)
                }
            case "tir.popcount", "tir.clz": return ConstIntBound(0, 64)
            default: break
            }
            return .of(e.dtype)
        case .div:
            // Truncating division by a positive constant shrinks towards 0.
            let d = unsafeDowncast(e, to: Div.self)
            guard let c = d.b.asInt, c > 0 else { return .of(e.dtype) }
            let b = constIntBound(d.a)
            func q(_ v: Int) -> Int { v == ConstIntBound.negInf || v == ConstIntBound.posInf ? v : v / c }
            return ConstIntBound(q(b.min), q(b.max))
        case .mod:
            let d = unsafeDowncast(e, to: Mod.self)
            guard let c = d.b.asInt, c > 0 else { return .of(e.dtype) }
            let b = constIntBound(d.a)
            return ConstIntBound(b.min >= 0 ? 0 : max(b.min, 1 - c), b.max <= 0 ? 0 : min(b.max, c - 1))
        case .let: return constIntBound(unsafeDowncast(e, to: Let.self).body)
        default: return .of(e.dtype)
        }
    }

    /// Bounds of an integer expression of any type: interval arithmetic, given up where it could wrap.
    func otherBound(_ e: PrimExpr) -> ConstIntBound {
        if e.dtype == .index { return bound(form(e)) }
        if let v = e.asInt { return ConstIntBound(v) }
        let type = ConstIntBound.of(e.dtype)
        guard e.dtype.isInteger, e.dtype.isScalar, let op = e as? BinaryExpr, op.a.dtype.isInteger else {
            return e.dtype.isInteger && e.dtype.isScalar ? opaqueBound(e) : type
        }
        let a = otherBound(op.a)
        let b = otherBound(op.b)
        let r: ConstIntBound
        switch e.kind {
        case .add: r = a + b
        case .sub: r = a - b
        case .mul: r = a * b
        case .min: r = a.minimum(b)
        case .max: r = a.maximum(b)
        case .floorDiv: r = a.floorDividing(by: b)
        case .floorMod: r = a.floorModulo(b)
        default: return type
        }
        return r.min >= type.min && r.max <= type.max ? r : type
    }

    func modular(_ f: LinearForm) -> ModularSet {
        var m = ModularSet(constant: f.constant)
        for t in f.terms { m = m + atomModular(t.atom) * ModularSet(constant: t.coef) }
        return m
    }

    func atomModular(_ n: Int) -> ModularSet {
        if case .variable = atoms[n].kind { return variableModular[n] ?? .everything }
        if let m = caches.modulars[n] { return m }
        let m: ModularSet
        switch atoms[n].kind {
        case .variable: m = .everything
        case .product(let list):
            var p = ModularSet(constant: 1)
            for f in list { p = p * atomModular(f) }
            m = p
        case .floorDiv(let x, let d):
            let a = modular(x)
            if let c = d.asConstant, c > 0, a.coeff % c == 0, a.coeff != 0, let q = floorDivide(a.base, c) {
                m = ModularSet(a.coeff / c, q)
            } else {
                m = .everything
            }
        case .floorMod(let x, let d):
            let a = modular(x)
            if let c = d.asConstant, c > 0 {
                m = ModularSet(gcd(a.coeff, c), a.base)
            } else {
                m = .everything
            }
        case .min(let x, let y), .max(let x, let y): m = modular(x).union(modular(y))
        case .opaque:
            if let s = atoms[n].expr as? Select {
                m = modularSet(s.trueValue).union(modularSet(s.falseValue))
            } else {
                m = .everything
            }
        }
        caches.modulars[n] = m
        return m
    }
}
