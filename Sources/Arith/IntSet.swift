import ApusIR
import ApusRuntime
import ApusTIR

/// What is known of the sign of all members of a set.
public enum SignType: Sendable {
    case positive, negative, zero, unknown
}

/// A set of integers as far as the stack distinguishes them: intervals. (TVM's IntSet, whose one kind with content is the
/// interval as well.)
public typealias IntSet = IntervalSet

/// The integers `min ... max`, ends included and symbolic; nil = no end known. Or no integer at all.
public struct IntervalSet: Sendable, CustomStringConvertible {
    public let min: PrimExpr?
    public let max: PrimExpr?
    /// Whether this is the set without members. A set whose ends turn out to cross is empty too, but does not say so:
    /// see `isEmpty`.
    public let isNothing: Bool

    public static let everything = IntervalSet(nil, nil)
    public static let nothing = IntervalSet(nil, nil, isNothing: true)

    public init(_ min: PrimExpr?, _ max: PrimExpr?) { self.init(min, max, isNothing: false) }
    private init(_ min: PrimExpr?, _ max: PrimExpr?, isNothing: Bool) {
        self.min = min
        self.max = max
        self.isNothing = isNothing
    }
    /// One value.
    public init(point e: PrimExpr) { self.init(e, e) }
    /// The integers of a range; none for a constant extent below 1.
    public init(_ range: IRRange) {
        if let n = range.extent.asInt {
            if n <= 0 {
                self = .nothing
                return
            }
            if n == 1 {
                self.init(range.min, range.min)
                return
            }
        }
        self.init(range.min, range.min + range.extent - 1)
    }

    public static func singlePoint(_ e: PrimExpr) -> IntervalSet { IntervalSet(point: e) }
    public static func fromRange(_ range: IRRange) -> IntervalSet { IntervalSet(range) }
    public static func interval(_ min: PrimExpr?, _ max: PrimExpr?) -> IntervalSet { IntervalSet(min, max) }
    /// The hull of the lanes of a vector of integers: everything, where the vector is no ramp or broadcast.
    public static func vector(_ e: PrimExpr) -> IntervalSet {
        switch e.kind {
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            let last = r.base + r.stride * (r.lanes - 1)
            guard let step = r.stride.asInt else {
                return IntervalSet(minimum(r.base, last), maximum(r.base, last))
            }
            return step >= 0 ? IntervalSet(r.base, last) : IntervalSet(last, r.base)
        case .broadcast: return IntervalSet(point: unsafeDowncast(e, to: Broadcast.self).value)
        default: return e.dtype.isScalar && e.dtype.isInteger ? IntervalSet(point: e) : .everything
        }
    }

    public var isEverything: Bool { min == nil && max == nil && !isNothing }
    /// Whether both ends are the same node. An interval of one value may be written otherwise: see
    /// `isSinglePoint(_:)`.
    public var isPoint: Bool { min != nil && min === max }
    /// The one value of a point.
    public var pointValue: PrimExpr? { isPoint ? min : nil }
    public var description: String {
        if isNothing { return "nothing" }
        return "[\(min.map { "\($0)" } ?? "-inf"), \(max.map { "\($0)" } ?? "inf")]"
    }

    // MARK: Questions

    /// Whether there is provably exactly one member.
    public func isSinglePoint(_ a: Analyzer = Analyzer()) -> Bool {
        guard let min, let max else { return false }
        return isPoint || a.canProveEqual(min, max)
    }
    /// Whether there is provably no member.
    public func isEmpty(_ a: Analyzer = Analyzer()) -> Bool {
        if isNothing { return true }
        guard let min, let max else { return false }
        return a.canProveLess(max, min)
    }
    // An empty set proves nothing here: callers ask about values that exist.
    public func canProvePositive(_ a: Analyzer = Analyzer()) -> Bool {
        min.map { a.canProveGreaterEqual($0, 1) } ?? false
    }
    public func canProveNegative(_ a: Analyzer = Analyzer()) -> Bool {
        max.map { a.canProveLess($0, 0) } ?? false
    }
    public func canProveNonNegative(_ a: Analyzer = Analyzer()) -> Bool {
        min.map { a.canProveGreaterEqual($0, 0) } ?? false
    }
    public func canProveNonPositive(_ a: Analyzer = Analyzer()) -> Bool {
        max.map { a.canProveLess($0, 1) } ?? false
    }
    /// The sign of every member.
    public func signType(_ a: Analyzer = Analyzer()) -> SignType {
        if canProvePositive(a) { return .positive }
        if canProveNegative(a) { return .negative }
        return canProveNonNegative(a) && canProveNonPositive(a) ? .zero : .unknown
    }

    /// The interval as a range; `all` where an end is missing or there is no member.
    public func coverRange(_ all: IRRange, _ a: Analyzer = Analyzer()) -> IRRange { a.range(self) ?? all }

    /// Whether the set is exactly `range`, provably.
    public func matchRange(_ range: IRRange, _ a: Analyzer = Analyzer()) -> Bool {
        guard let min, let max else { return false }
        return a.canProveEqual(min, range.min) && a.canProveEqual(max, range.min + range.extent - 1)
    }
}

extension Analyzer {
    private func end(_ kind: PrimExprKind, _ x: PrimExpr, _ y: PrimExpr) -> PrimExpr {
        guard x.dtype == .index, y.dtype == .index else { return simplify(binary(kind, x, y)) }
        return build(extremum(kind, form(x), form(y)))
    }

    /// The smallest interval that holds both.
    public func union(_ a: IntervalSet, _ b: IntervalSet) -> IntervalSet {
        if a.isNothing { return b }
        if b.isNothing { return a }
        func both(_ kind: PrimExprKind, _ x: PrimExpr?, _ y: PrimExpr?) -> PrimExpr? {
            guard let x, let y else { return nil }
            return end(kind, x, y)
        }
        let lo = both(.min, a.min, b.min)
        let hi = both(.max, a.max, b.max)
        if let lo, let hi, a.isPoint, b.isPoint, sameExpr(lo, hi) { return IntervalSet(point: lo) }
        return IntervalSet(lo, hi)
    }

    /// The smallest interval that holds all; nothing for none.
    public func union(_ sets: [IntervalSet]) -> IntervalSet { sets.reduce(.nothing) { union($0, $1) } }

    /// What is in both; `.nothing` where that is provably empty.
    public func intersect(_ a: IntervalSet, _ b: IntervalSet) -> IntervalSet {
        if a.isNothing || b.isNothing { return .nothing }
        func tighter(_ kind: PrimExprKind, _ x: PrimExpr?, _ y: PrimExpr?) -> PrimExpr? {
            guard let x else { return y }
            guard let y else { return x }
            return end(kind, x, y)
        }
        let s = IntervalSet(tighter(.max, a.min, b.min), tighter(.min, a.max, b.max))
        return s.isEmpty(self) ? .nothing : s
    }

    /// What is in all; everything for none.
    public func intersect(_ sets: [IntervalSet]) -> IntervalSet {
        sets.reduce(.everything) { intersect($0, $1) }
    }

    /// An interval within the union, as large as can be shown: sets are joined where no gap can be between them; of
    /// what stays apart, the first.
    public func unionLowerBound(_ sets: [IntervalSet]) -> IntervalSet {
        var rest = sets.filter { !$0.isNothing }
        guard !rest.isEmpty else { return .nothing }
        var result = rest.removeFirst()
        var changed = true
        while changed {
            changed = false
            for i in rest.indices {
                guard let joined = joined(result, rest[i]) else { continue }
                result = joined
                rest.remove(at: i)
                changed = true
                break
            }
        }
        return result
    }

    /// The union of two non-empty sets between which no gap can be, its ends decided; else nil.
    private func joined(_ a: IntervalSet, _ b: IntervalSet) -> IntervalSet? {
        func reaches(_ x: IntervalSet, _ y: IntervalSet) -> Bool {
            guard let hi = x.max, let lo = y.min else { return true }
            return canProveGreaterEqual(hi + 1, lo)
        }
        return reaches(a, b) && reaches(b, a) ? union(a, b) : nil
    }

    /// Dimension by dimension.
    public func union(regions: [[IntervalSet]]) -> [IntervalSet] {
        guard let first = regions.first else { return [] }
        return first.indices.map { d in union(regions.compactMap { $0.indices.contains(d) ? $0[d] : nil }) }
    }

    /// A box within the union of boxes. Joining them in one dimension is exact only where all others agree: they are
    /// joined in the first dimension that differs, else the first box stays.
    public func unionLowerBound(regions: [[IntervalSet]]) -> [IntervalSet] {
        guard var result = regions.first else { return [] }
        for r in regions.dropFirst() where r.count == result.count {
            let different = result.indices.filter { !same(result[$0], r[$0]) }
            if different.isEmpty { continue }
            if different.count == 1, let j = joined(result[different[0]], r[different[0]]) {
                result[different[0]] = j
            }
        }
        return result
    }

    private func same(_ a: IntervalSet, _ b: IntervalSet) -> Bool {
        func same(_ x: PrimExpr?, _ y: PrimExpr?) -> Bool {
            guard let x, let y else { return x == nil && y == nil }
            return canProveEqual(x, y)
        }
        return a.isNothing == b.isNothing && same(a.min, b.min) && same(a.max, b.max)
    }

    /// The interval of an expression with free variables at their bound ranges: constants where known.
    public func intSet(_ e: PrimExpr) -> IntervalSet {
        let b = constIntBound(e)
        // Patterns of 64-bit unsigned numbers have no order.
        guard e.dtype.isInteger, e.dtype.isScalar, !(e.dtype.isUInt && e.dtype.bits == 64) else {
            return .everything
        }
        return IntervalSet(
            b.min == ConstIntBound.negInf ? nil : IntImm(b.min, dtype: e.dtype),
            b.max == ConstIntBound.posInf ? nil : IntImm(b.max, dtype: e.dtype))
    }

    /// The interval as a range; nil where an end is missing.
    public func range(_ s: IntervalSet) -> IRRange? {
        guard let lo = s.min, let hi = s.max else { return nil }
        if s.isPoint { return IRRange(min: lo, extent: const(1, lo.dtype)) }
        return IRRange(min: lo, extent: simplify(hi - lo + 1))
    }
}
