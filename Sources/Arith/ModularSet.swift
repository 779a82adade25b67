import ApusIR
import ApusRuntime
import ApusTIR

/// The integers `coeff * k + base`; `coeff` 0 means the one value `base`, else `0 <= base < coeff`.
public struct ModularSet: Hashable, Sendable, CustomStringConvertible {
    public static let everything = ModularSet(1, 0)

    public let coeff: Int
    public let base: Int

    public init(_ coeff: Int, _ base: Int) {
        let c = coeff == .min ? 1 : abs(coeff)
        self.coeff = c
        self.base = c == 0 ? base : (floorModulo(base, c) ?? 0)
    }
    public init(constant v: Int) { self.init(0, v) }

    public var description: String { "\(coeff)*k+\(base)" }

    public static func + (a: ModularSet, b: ModularSet) -> ModularSet {
        let r = a.base.addingReportingOverflow(b.base)
        return r.overflow ? .everything : ModularSet(gcd(a.coeff, b.coeff), r.partialValue)
    }
    public static func * (a: ModularSet, b: ModularSet) -> ModularSet {
        let pp = a.coeff.multipliedReportingOverflow(by: b.coeff)
        let pq = a.coeff.multipliedReportingOverflow(by: b.base)
        let qp = a.base.multipliedReportingOverflow(by: b.coeff)
        let qq = a.base.multipliedReportingOverflow(by: b.base)
        if pp.overflow || pq.overflow || qp.overflow || qq.overflow { return .everything }
        return ModularSet(gcd(gcd(pp.partialValue, pq.partialValue), qp.partialValue), qq.partialValue)
    }
    public func union(_ o: ModularSet) -> ModularSet {
        let r = base.subtractingReportingOverflow(o.base)
        if r.overflow { return .everything }
        let g = gcd(gcd(coeff, o.coeff), r.partialValue)
        return g == 0 ? self : ModularSet(g, base)
    }
    /// The values in both sets (Chinese remainders); nil if there are none. Where the combined period does not fit,
    /// the finer of the two.
    public func intersect(_ o: ModularSet) -> ModularSet? {
        if coeff == 0 { return o.contains(base) ? self : nil }
        if o.coeff == 0 { return contains(o.base) ? o : nil }
        let g = gcd(coeff, o.coeff)
        let d = o.base.subtractingReportingOverflow(base)
        if d.overflow { return coeff >= o.coeff ? self : o }
        if d.partialValue % g != 0 { return nil }
        guard let period = lcm(coeff, o.coeff), let inverse = modularInverse(coeff / g, o.coeff / g) else {
            return coeff >= o.coeff ? self : o
        }
        // base + coeff * t = o.base (mod o.coeff)
        let m = o.coeff / g
        let t = (floorModulo(d.partialValue / g, m) ?? 0).multipliedFullWidth(by: inverse)
        let k = m.dividingFullWidth(t).remainder
        let step = coeff.multipliedReportingOverflow(by: k)
        let sum = base.addingReportingOverflow(step.partialValue)
        if step.overflow || sum.overflow { return coeff >= o.coeff ? self : o }
        return ModularSet(period, sum.partialValue)
    }

    /// Whether `v` is one of the values.
    public func contains(_ v: Int) -> Bool {
        if coeff == 0 { return v == base }
        return floorModulo(v, coeff) == base
    }

    /// What remains true after the value wrapped around a word of `bits`.
    public func wrapped(bits: Int) -> ModularSet {
        ModularSet(gcd(coeff, 1 << Swift.min(bits, 62)), base)
    }

    /// Whether every value is a multiple of `c`.
    public func isMultiple(of c: Int) -> Bool { c != 0 && coeff % c == 0 && base % c == 0 }
}

/// `x` in `0 ..< m` with `a * x = 1 (mod m)`; nil if `a` and `m` have a common divisor. 0 for `m` 1.
public func modularInverse(_ a: Int, _ m: Int) -> Int? {
    guard m > 0 else { return nil }
    let (g, x, _) = extendedEuclid(floorModulo(a, m) ?? 0, m)
    return g == 1 ? floorModulo(x, m) : nil
}

/// `(g, x, y)` with `a * x + b * y == g`, g the greatest common divisor, for `a`, `b` not negative.
public func extendedEuclid(_ a: Int, _ b: Int) -> (gcd: Int, x: Int, y: Int) {
    var (r0, r1) = (a, b)
    var (x0, x1) = (1, 0)
    var (y0, y1) = (0, 1)
    while r1 != 0 {
        let q = r0 / r1
        // No coefficient exceeds the operands in size.
        (r0, r1) = (r1, r0 - q * r1)
        (x0, x1) = (x1, x0 &- q &* x1)
        (y0, y1) = (y1, y0 &- q &* y1)
    }
    return (gcd: r0, x: x0, y: y0)
}

/// Greatest common divisor, not negative; `gcd(0, 0)` is 0.
public func gcd(_ a: Int, _ b: Int) -> Int {
    var x = a.magnitude
    var y = b.magnitude
    while y != 0 { (x, y) = (y, x % y) }
    return x > UInt(Int.max) ? 1 : Int(x)
}

/// Least common multiple; nil if it does not fit.
public func lcm(_ a: Int, _ b: Int) -> Int? {
    let g = gcd(a, b)
    if g == 0 { return 0 }
    let r = (a / g).multipliedReportingOverflow(by: b)
    return r.overflow || r.partialValue == .min ? nil : abs(r.partialValue)
}
