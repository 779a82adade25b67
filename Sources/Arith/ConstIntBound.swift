import ApusIR
import ApusRuntime
import ApusTIR

/// The integers from `min` to `max`, both included; `negInf` and `posInf` stand for no bound.
///
/// Arithmetic saturates: a bound that leaves the 64-bit range becomes infinite, never wraps.
public struct ConstIntBound: Hashable, Sendable, CustomStringConvertible {
    public static let negInf = Int.min
    public static let posInf = Int.max
    public static let everything = ConstIntBound(negInf, posInf)

    public let min: Int
    public let max: Int

    public init(_ min: Int, _ max: Int) {
        self.min = min
        self.max = max
    }
    /// The one value `v`.
    public init(_ v: Int) { self.init(v, v) }

    public var isEverything: Bool { min == Self.negInf && max == Self.posInf }
    public var isFinite: Bool { min != Self.negInf && max != Self.posInf }
    public var isEmpty: Bool { min > max }
    /// The value, if there is only one.
    public var single: Int? { min == max ? min : nil }

    public var description: String {
        let lo = min == Self.negInf ? "-inf" : "\(min)"
        let hi = max == Self.posInf ? "inf" : "\(max)"
        return "[\(lo), \(hi)]"
    }

    /// The values of an integer type.
    public static func of(_ type: DataType) -> ConstIntBound {
        let bits = Int(type.bits)
        if !type.isInteger || bits >= 64 { return everything }
        if type.isUInt { return ConstIntBound(0, (1 << bits) - 1) }
        return ConstIntBound(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    }

    public func intersect(_ o: ConstIntBound) -> ConstIntBound {
        ConstIntBound(Swift.max(min, o.min), Swift.min(max, o.max))
    }
    public func union(_ o: ConstIntBound) -> ConstIntBound {
        ConstIntBound(Swift.min(min, o.min), Swift.max(max, o.max))
    }
    public func minimum(_ o: ConstIntBound) -> ConstIntBound {
        ConstIntBound(Swift.min(min, o.min), Swift.min(max, o.max))
    }
    public func maximum(_ o: ConstIntBound) -> ConstIntBound {
        ConstIntBound(Swift.max(min, o.min), Swift.max(max, o.max))
    }
    public func contains(_ v: Int) -> Bool { v >= min && v <= max }

    // A lower bound that overflows upwards must stay a true lower bound of what fits: one below infinity.
    private static func addLow(_ a: Int, _ b: Int) -> Int {
        if a == negInf || b == negInf { return negInf }
        let r = a.addingReportingOverflow(b)
        return r.overflow ? (a < 0 ? negInf : posInf - 1) : r.partialValue
    }
    private static func addHigh(_ a: Int, _ b: Int) -> Int {
        if a == posInf || b == posInf { return posInf }
        let r = a.addingReportingOverflow(b)
        return r.overflow ? (a < 0 ? negInf + 1 : posInf) : r.partialValue
    }
    /// Product of two bounds where an infinity keeps its sign and `0 * inf` is 0.
    private static func mulBound(_ a: Int, _ b: Int) -> Int {
        if a == 0 || b == 0 { return 0 }
        let negative = (a < 0) != (b < 0)
        if a == negInf || a == posInf || b == negInf || b == posInf { return negative ? negInf : posInf }
        let r = a.multipliedReportingOverflow(by: b)
        return r.overflow ? (negative ? negInf : posInf) : r.partialValue
    }

    public static func + (a: ConstIntBound, b: ConstIntBound) -> ConstIntBound {
        ConstIntBound(addLow(a.min, b.min), addHigh(a.max, b.max))
    }
    public static func * (a: ConstIntBound, b: ConstIntBound) -> ConstIntBound {
        let p = mulBound(a.min, b.min)
        let q = mulBound(a.min, b.max)
        let r = mulBound(a.max, b.min)
        let s = mulBound(a.max, b.max)
        return ConstIntBound(
            Swift.min(Swift.min(p, q), Swift.min(r, s)), Swift.max(Swift.max(p, q), Swift.max(r, s)))
    }
    public static prefix func - (a: ConstIntBound) -> ConstIntBound { a * ConstIntBound(-1) }
    public static func - (a: ConstIntBound, b: ConstIntBound) -> ConstIntBound { a + -b }

    /// `floor(self / c)` for a positive constant.
    public func floorDividing(by c: Int) -> ConstIntBound {
        func q(_ v: Int) -> Int {
            if v == Self.negInf || v == Self.posInf { return v }
            return floorDivide(v, c) ?? v
        }
        return ConstIntBound(q(min), q(max))
    }

    /// `floor(self / d)`; `d` is not 0.
    public func floorDividing(by d: ConstIntBound) -> ConstIntBound {
        if let c = d.single, c > 0 { return floorDividing(by: c) }
        guard d.min > 0 else { return floorQuotient(d) }
        let a = floorDividing(by: d.min)
        // Towards infinite divisors the quotient tends to 0 from above or to -1 from below.
        let b =
            d.max == Self.posInf
            ? ConstIntBound(min < 0 ? -1 : 0, max < 0 ? -1 : 0) : floorDividing(by: d.max)
        return a.union(b)
    }

    /// `self mod d` (floor); `d` is not 0.
    public func floorModulo(_ d: ConstIntBound) -> ConstIntBound {
        guard d.min > 0 else { return floorRemainder(d) }
        if let c = d.single {
            if isFinite, floorDivide(min, c) == floorDivide(max, c), let lo = ApusTIR.floorModulo(min, c),
                let hi = ApusTIR.floorModulo(max, c)
            {
                return ConstIntBound(lo, hi)
            }
        } else if min >= 0 && max < d.min {
            return self
        }
        let top = d.max == Self.posInf ? Self.posInf : d.max - 1
        return ConstIntBound(0, min >= 0 ? Swift.min(top, max) : top)
    }
}
