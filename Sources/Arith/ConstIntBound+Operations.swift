import ApusIR
import ApusRuntime
import ApusTIR

// Interval arithmetic beyond sums and products. Division by zero has no value, so that a divisor's interval is taken
// without 0. Nothing here wraps: what an operation of a narrow type does beyond its range is the caller's business.
// (TVM's const_int_bound; the rules for bits follow Warren, Hacker's Delight, chapter 4, in their coarser form.)
extension ConstIntBound {
    /// Neither end infinite where it should bound: the values in `d` below and above zero.
    private static func signs(_ d: ConstIntBound) -> (negative: ConstIntBound?, positive: ConstIntBound?) {
        let n = d.intersect(ConstIntBound(negInf, -1))
        let p = d.intersect(ConstIntBound(1, posInf))
        return (n.isEmpty ? nil : n, p.isEmpty ? nil : p)
    }

    private static func either(_ a: ConstIntBound?, _ b: ConstIntBound?) -> ConstIntBound {
        guard let a else { return b ?? .everything }
        return b.map { a.union($0) } ?? a
    }

    /// `floor(self / d)`; everything if `d` can only be 0.
    func floorQuotient(_ d: ConstIntBound) -> ConstIntBound {
        let (n, p) = Self.signs(d)
        return Self.either(n.map { (-self).floorDividing(by: -$0) }, p.map { floorDividing(by: $0) })
    }

    /// `self - d * floor(self / d)`; everything if `d` can only be 0.
    func floorRemainder(_ d: ConstIntBound) -> ConstIntBound {
        let (n, p) = Self.signs(d)
        return Self.either(n.map { -((-self).floorModulo(-$0)) }, p.map { floorModulo($0) })
    }

    /// `self / d` rounded towards zero; everything if `d` can only be 0.
    public func truncQuotient(_ d: ConstIntBound) -> ConstIntBound {
        let (n, p) = Self.signs(d)
        return Self.either(n.map { (-self).truncDividing(-$0) }, p.map { truncDividing($0) })
    }

    private func truncDividing(_ d: ConstIntBound) -> ConstIntBound {
        func q(_ v: Int, _ w: Int) -> Int {
            if w == Self.posInf { return 0 }
            return v == Self.negInf || v == Self.posInf ? v : v / w
        }
        let ends = [q(min, d.min), q(min, d.max), q(max, d.min), q(max, d.max)]
        return ConstIntBound(ends.min() ?? Self.negInf, ends.max() ?? Self.posInf)
    }

    /// What is left of `self` by division rounded towards zero: of the sign of `self`, smaller than `d`.
    public func truncRemainder(_ d: ConstIntBound) -> ConstIntBound {
        let (n, p) = Self.signs(d)
        let size = Self.either(n.map { -$0 }, p)
        guard size.min > 0 else { return .everything }
        // Smaller than every divisor: itself.
        if min > -size.min && max < size.min { return self }
        let top = size.max == Self.posInf ? Self.posInf : size.max - 1
        let low = min >= 0 ? 0 : (top == Self.posInf ? min : Swift.max(min, -top))
        return ConstIntBound(low, max <= 0 ? 0 : Swift.min(max, top))
    }

    /// All numbers of as many bits as the ends need: `-2^k ... 2^k - 1`.
    private static func bits(_ a: ConstIntBound, _ b: ConstIntBound) -> (low: Int, high: Int) {
        var need: UInt = 0
        for v in [a.min, a.max, b.min, b.max] { need |= UInt(bitPattern: v < 0 ? ~v : v) }
        let k = 64 - need.leadingZeroBitCount
        return k >= 63 ? (negInf, posInf) : (-(1 << k), (1 << k) - 1)
    }

    /// `self & o`, both of one signed type or both not negative.
    public func bitAnd(_ o: ConstIntBound) -> ConstIntBound {
        if min >= 0 && o.min >= 0 { return ConstIntBound(0, Swift.min(max, o.max)) }
        if o.min >= 0 { return ConstIntBound(0, o.max) }
        if min >= 0 { return ConstIntBound(0, max) }
        return ConstIntBound(Self.bits(self, o).low, Swift.max(max, o.max))
    }

    /// `self | o`, both of one signed type or both not negative.
    public func bitOr(_ o: ConstIntBound) -> ConstIntBound {
        if min >= 0 && o.min >= 0 {
            return ConstIntBound(Swift.max(min, o.min), Self.bits(self, o).high)
        }
        // A negative operand makes the result negative, and setting bits of it raises it.
        let low = Swift.min(min, o.min)
        if max < 0 || o.max < 0 { return ConstIntBound(low, -1) }
        return ConstIntBound(low, Self.bits(self, o).high)
    }

    /// `self ^ o`, both of one signed type or both not negative.
    public func bitXor(_ o: ConstIntBound) -> ConstIntBound {
        let range = Self.bits(self, o)
        if min >= 0 && o.min >= 0 { return ConstIntBound(0, range.high) }
        if (max < 0 && o.min >= 0) || (min >= 0 && o.max < 0) { return ConstIntBound(range.low, -1) }
        return ConstIntBound(range.low, range.high)
    }

    /// `self << s` for `0 <= s`, as a product: infinite where it leaves 64 bits.
    public func shiftedLeft(_ s: ConstIntBound) -> ConstIntBound {
        guard s.min >= 0 else { return .everything }
        func factor(_ n: Int) -> Int { n < 62 ? 1 << n : Self.posInf }
        return self * ConstIntBound(factor(s.min), factor(s.max))
    }

    /// `self >> s`, the sign kept, for `0 <= s`.
    public func shiftedRight(_ s: ConstIntBound) -> ConstIntBound {
        guard s.min >= 0 else { return .everything }
        func q(_ v: Int, _ n: Int) -> Int {
            if n == Self.posInf { return v < 0 ? -1 : 0 }
            return v == Self.negInf || v == Self.posInf ? v : v >> Swift.min(n, 63)
        }
        return ConstIntBound(
            Swift.min(q(min, s.min), q(min, s.max)), Swift.max(q(max, s.min), q(max, s.max)))
    }

    /// The absolute value.
    public var magnitude: ConstIntBound {
        if min >= 0 { return self }
        if max <= 0 { return -self }
        return ConstIntBound(0, Swift.max(max, (-ConstIntBound(min)).max))
    }

    /// Number of one-bits in a word of `bits`.
    public func populationCount(bits: Int) -> ConstIntBound {
        if let v = single, v >= 0 { return ConstIntBound(v.nonzeroBitCount) }
        let low = contains(0) ? 0 : 1
        guard min >= 0 else { return ConstIntBound(low, bits) }
        return ConstIntBound(low, Swift.min(bits, 64 - max.leadingZeroBitCount))
    }

    /// Number of zero-bits above the highest one-bit in a word of `bits`.
    public func leadingZeros(bits: Int) -> ConstIntBound {
        if max < 0 { return ConstIntBound(0) }
        let high = bits - (64 - Swift.max(min, 0).leadingZeroBitCount)
        let low = bits - (64 - max.leadingZeroBitCount)
        return ConstIntBound(min < 0 ? 0 : Swift.max(low, 0), Swift.max(high, 0))
    }
}
