import ApusIR
import ApusRuntime
import ApusTIR

// Divisibility of what is not a linear form. Types other than the index type wrap: after an operation that may, only
// the power of two in the period survives (a word of 2^n values keeps residues modulo powers of two).
extension Analyzer {
    /// Divisibility of an integer expression of any type.
    func otherModular(_ e: PrimExpr) -> ModularSet {
        if e.dtype == .index { return valueModular(form(e)) }
        guard e.dtype.isInteger, !e.dtype.isBool else { return .everything }
        if let v = e.asInt { return ModularSet(constant: v) }
        if e.kind == .variable {
            return variableModular[variableAtom(unsafeDowncast(e, to: Var.self))] ?? .everything
        }
        if let known = caches.otherModulars[ObjectIdentifier(e)] { return known.value }
        let m = deeper { opaqueModular(e) }
        caches.otherModulars[ObjectIdentifier(e)] = (key: e, value: m)
        return m
    }

    /// Divisibility of an expression of any kind, taken apart at its root.
    func opaqueModular(_ e: PrimExpr) -> ModularSet {
        switch e.kind {
        case .intImm: return e.asInt.map { ModularSet(constant: $0) } ?? .everything
        case .variable: return otherModular(e)
        case .add, .sub, .mul:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            let a = modularSet(op.a)
            let b = modularSet(op.b)
            let m: ModularSet
            switch e.kind {
            case .add: m = a + b
            case .sub: m = a + b * ModularSet(constant: -1)
            default: m = a * b
            }
            let exact = e.dtype.element == .index ? isTame(op.a) && isTame(op.b) : cannotWrap(op)
            return exact ? m : m.wrapped(bits: Int(e.dtype.bits))
        case .min, .max:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            return modularSet(op.a).union(modularSet(op.b))
        case .div, .floorDiv:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            guard let c = op.b.constantInt, c > 0 else { return .everything }
            let exact = e.kind == .floorDiv || constIntBound(op.a).min >= 0
            return quotient(modularSet(op.a), c, floor: exact && !isWideUnsigned(op.a))
        case .mod, .floorMod:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            guard let c = op.b.constantInt, c > 0, !isWideUnsigned(op.a) else { return .everything }
            return remainder(modularSet(op.a), c, floor: e.kind == .floorMod)
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            return partModular(s.trueValue).union(partModular(s.falseValue))
        case .cast:
            let value = unsafeDowncast(e, to: Cast.self).value
            guard value.dtype.isInteger, !e.dtype.isBool else { return .everything }
            let m = modularSet(value)
            let b = constIntBound(value)
            let type = ConstIntBound.of(e.dtype)
            let kept = b.min >= type.min && b.max <= type.max && !(e.dtype.isUInt && b.min < 0)
            return kept && !isWideUnsigned(value)
                ? m : m.wrapped(bits: Int(min(e.dtype.bits, value.dtype.bits)))
        case .call: return callModular(unsafeDowncast(e, to: Call.self))
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            return withLet(l) { partModular(l.body) }
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            let m = modularSet(r.base) + modularSet(r.stride) * ModularSet.everything
            let exact = e.dtype.element == .index && isTame(r.base) && isTame(r.stride)
            return exact ? m : m.wrapped(bits: Int(e.dtype.bits))
        case .broadcast: return modularSet(unsafeDowncast(e, to: Broadcast.self).value)
        case .shuffle:
            let parts = unsafeDowncast(e, to: Shuffle.self).vectors.map { modularSet($0) }
            guard let first = parts.first else { return .everything }
            return parts.dropFirst().reduce(first) { $0.union($1) }
        default: return .everything
        }
    }

    private func partModular(_ e: PrimExpr) -> ModularSet {
        e.dtype == .index ? valueModular(partForm(e)) : modularSet(e)
    }

    private func isWideUnsigned(_ e: PrimExpr) -> Bool {
        e.dtype.isUInt && e.dtype.bits == 64 && constIntBound(e).min < 0
    }

    /// Whether the exact result is within the type.
    private func cannotWrap(_ e: BinaryExpr) -> Bool {
        let a = constIntBound(e.a)
        let b = constIntBound(e.b)
        if e.dtype.isUInt && e.dtype.bits == 64 && (a.min < 0 || b.min < 0) { return false }
        let r = e.kind == .add ? a + b : e.kind == .sub ? a - b : a * b
        let type = ConstIntBound.of(e.dtype)
        return r.isFinite && r.min >= (e.dtype.isUInt ? 0 : type.min) && r.max <= type.max
    }

    /// Of `a / c` for `a` in `m`.
    private func quotient(_ m: ModularSet, _ c: Int, floor: Bool) -> ModularSet {
        guard m.coeff % c == 0, floor || m.base % c == 0 else { return .everything }
        return floorDivide(m.base, c).map { ModularSet(m.coeff / c, $0) } ?? .everything
    }

    /// Of the remainder by `c` for `a` in `m`.
    private func remainder(_ m: ModularSet, _ c: Int, floor: Bool) -> ModularSet {
        if floor && m.coeff % c == 0 { return ModularSet(constant: floorModulo(m.base, c) ?? 0) }
        if m.coeff % c == 0 && m.base % c == 0 { return ModularSet(constant: 0) }
        return ModularSet(gcd(m.coeff, c), m.base)
    }

    private func callModular(_ c: Call) -> ModularSet {
        guard let first = c.args.first else { return .everything }
        let bits = Int(c.dtype.bits)
        switch c.name {
        case "tir.likely": return modularSet(first)
        case "tir.if_then_else": return partModular(c.args[1]).union(partModular(c.args[2]))
        case "tir.shift_left":
            // Bits that leave the word are multiples of the word.
            guard let s = c.args[1].constantInt, s >= 0, s < min(bits, 62) else { return .everything }
            let m = modularSet(first) * ModularSet(constant: 1 << s)
            return m.wrapped(bits: bits)
        case "tir.shift_right":
            guard let s = c.args[1].constantInt, s >= 0, s < min(bits, 62), !isWideUnsigned(first) else {
                return .everything
            }
            return quotient(modularSet(first), 1 << s, floor: true)
        case "tir.bitwise_and":
            // a & (2^k - 1) = a mod 2^k; a & -2^k is a multiple of 2^k.
            for (mask, other) in [(c.args[1], first), (first, c.args[1])] {
                guard let v = mask.constantInt else { continue }
                if v > 0, v < 1 << 61, v & (v + 1) == 0 {
                    return remainder(modularSet(other), v + 1, floor: true)
                }
                if v != 0 {
                    let low = min(v.trailingZeroBitCount, 61)
                    let m = ModularSet(1 << low, 0)
                    return low > 0 ? m : .everything
                }
            }
            return .everything
        default: return .everything
        }
    }

    // MARK: Constraints

    /// Keeps what `a == b` says about divisibility, where one side is a remainder of a sum of one atom, or constant:
    /// `(k * x + d) mod c == r` gives `x` modulo `c / gcd(k, c)`.
    func noteDivisibility(_ a: LinearForm, _ b: LinearForm) {
        guard let n = a.asAtom, let r = b.asConstant else { return }
        let x: LinearForm
        let c: Int
        switch atoms[n].kind {
        case .floorMod(let y, let d):
            guard let v = d.asConstant, v > 0 else { return }
            (x, c) = (y, v)
        case .opaque:
            // A truncating remainder equals the floor one up to a multiple of the divisor.
            guard let m = atoms[n].expr as? Mod, let v = m.b.asInt, v > 0 else { return }
            (x, c) = (form(m.a), v)
        default: return
        }
        guard x.terms.count == 1, isTame(x) else { return }
        let t = x.terms[0]
        let rest = r.subtractingReportingOverflow(x.constant)
        let g = gcd(t.coef, c)
        guard !rest.overflow, rest.partialValue % g == 0, let k = floorModulo(t.coef / g, c / g),
            let inverse = modularInverse(k, c / g), let d = floorModulo(rest.partialValue / g, c / g)
        else { return }
        let m = c / g
        let base = m.dividingFullWidth(d.multipliedFullWidth(by: inverse)).remainder
        refine(t.atom, ModularSet(m, base))
    }

    private func refine(_ n: Int, _ m: ModularSet) {
        if case .variable = atoms[n].kind {
            setModular(n, (variableModular[n] ?? .everything).intersect(m) ?? m)
        } else {
            boundState.atomModulars[n] = (boundState.atomModulars[n] ?? .everything).intersect(m) ?? m
        }
    }
}
