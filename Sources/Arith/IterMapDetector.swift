import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR

/// Finds the sums of digits that index expressions are. All steps keep the value; whether digits are independent is
/// asked at the end.
struct IterMapDetector {
    /// A condition on a sum of several digits (or on one digit that is no whole counter) makes them one counter, of
    /// which everything else must speak as a whole.
    struct Limit {
        /// The digits that are limited, the last of scale 1, densely.
        let splits: [IterSplitExpr]
        var mark: IterMark
    }

    let analyzer: Analyzer
    /// Divide a sum as one fused counter and leave expressions as they are written; otherwise divide digit by digit
    /// and simplify first. Neither finds all: `(i*12 + j) // 16` beside `(i*12 + j) // 4 % 4` needs the former,
    /// `(i*16 + j) // 8` beside `j % 8` the latter.
    let fusesFirst: Bool
    let order: [Var]
    let inputs: Set<Var>
    private(set) var marks: [Var: IterMark] = [:]
    private(set) var limits: [Limit] = []
    /// Fused counters by their digits, so that two uses of one sum share it.
    private var fused: [(splits: [IterSplitExpr], mark: IterMark)] = []
    /// Whether an expression speaks of inputs; shared subexpressions are looked at once.
    private var dependence: [ObjectIdentifier: (key: PrimExpr, value: Bool)] = [:]
    private var memo: [ObjectIdentifier: (key: PrimExpr, value: IterSumExpr?)] = [:]
    /// Why it failed, the innermost reason first.
    private(set) var errors: [String] = []

    /// More digits in one sum than any program has.
    private static let maxDigits = 48

    init(_ analyzer: Analyzer, _ inputs: [(variable: Var, range: IRRange)], fusesFirst: Bool) {
        self.analyzer = analyzer
        self.fusesFirst = fusesFirst
        order = inputs.map(\.variable)
        self.inputs = Set(order)
        for i in inputs {
            if let n = i.range.extent.asInt, n < 1 { errors.append("\(i.variable.name) takes no value") }
            marks[i.variable] = IterMark(
                i.variable, min: analyzer.simplify(i.range.min), extent: analyzer.simplify(i.range.extent))
        }
    }

    private mutating func fail(_ why: String) -> IterSumExpr? {
        if errors.count < 8 { errors.append(why) }
        return nil
    }
    private mutating func refuse(_ why: String) -> Bool {
        _ = fail(why)
        return false
    }

    private mutating func depends(_ e: PrimExpr) -> Bool {
        if e.kind == .variable { return inputs.contains(unsafeDowncast(e, to: Var.self)) }
        if e.kind == .intImm { return false }
        if let known = dependence[ObjectIdentifier(e)] { return known.value }
        var found = false
        var children: [PrimExpr] = []
        forEachChild(of: e) { children.append($0) }
        for c in children where !found { found = depends(c) }
        dependence[ObjectIdentifier(e)] = (key: e, value: found)
        return found
    }

    /// How many of the inputs occur in `e`.
    private func inputCount(_ e: PrimExpr) -> Int {
        var seen: Set<ObjectIdentifier> = []
        var count = 0
        func walk(_ x: PrimExpr) {
            guard seen.insert(ObjectIdentifier(x)).inserted else { return }
            if x.kind == .variable && inputs.contains(unsafeDowncast(x, to: Var.self)) { count += 1 }
            forEachChild(of: x) { walk($0) }
        }
        walk(e)
        return count
    }

    /// `e` as text for a message, if it is no monster.
    private func text(_ e: PrimExpr) -> String {
        var room = 200
        func count(_ x: PrimExpr) {
            room -= 1
            if room > 0 { forEachChild(of: x) { if room > 0 { count($0) } } }
        }
        count(e)
        return room > 0 ? "\(e)" : "a large expression"
    }

    private func text(_ m: IterMark) -> String {
        m.variable?.name ?? "a sum of \(m.sum?.args.count ?? 0) digits"
    }

    // MARK: Comparison

    private func equal(_ a: PrimExpr, _ b: PrimExpr) -> Bool { a === b || analyzer.canProveEqual(a, b) }

    /// The same digit, whatever the scale.
    private func sameDigit(_ a: IterSplitExpr, _ b: IterSplitExpr) -> Bool {
        a.source === b.source && equal(a.lowerFactor, b.lowerFactor) && equal(a.extent, b.extent)
    }

    private func same(_ a: [IterSplitExpr], _ b: [IterSplitExpr]) -> Bool {
        guard a.count == b.count else { return false }
        for i in a.indices where !sameDigit(a[i], b[i]) || !equal(a[i].scale, b[i].scale) { return false }
        return true
    }

    /// Whether `a` is a multiple of `b > 0`, and the quotient.
    private func exactQuotient(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr? {
        if b.isOne { return a }
        if let x = a.asInt, let y = b.asInt { return y != 0 && x % y == 0 ? IntImm(x / y) : nil }
        guard equal(analyzer.simplify(ApusTIR.floorMod(a, b)), const(0)) else { return nil }
        return analyzer.simplify(ApusTIR.floorDiv(a, b))
    }

    // MARK: Expressions to sums

    private func prepared(_ e: PrimExpr) -> PrimExpr { fusesFirst ? e : analyzer.simplify(e) }

    /// An index as a sum of digits, or nil.
    mutating func index(_ e: PrimExpr) -> IterSumExpr? { e.dtype == .index ? sum(prepared(e)) : nil }

    /// `e` as a sum of digits, or nil.
    mutating func sum(_ e: PrimExpr) -> IterSumExpr? {
        if let known = memo[ObjectIdentifier(e)] { return known.value }
        let s = compute(e).map { collapse($0) }
        memo[ObjectIdentifier(e)] = (key: e, value: s)
        return s
    }

    private mutating func compute(_ e: PrimExpr) -> IterSumExpr? {
        if e.kind == .variable, let mark = marks[unsafeDowncast(e, to: Var.self)] {
            if mark.extent.asInt == 1 { return IterSumExpr([], base: mark.min) }
            return IterSumExpr([IterSplitExpr(mark)], base: mark.min)
        }
        if !depends(e) { return IterSumExpr([], base: e) }
        guard let op = e as? BinaryExpr, e.dtype == .index else {
            return fail("\(text(e)) is no sum, product, quotient or remainder")
        }
        switch e.kind {
        case .add, .sub:
            guard let a = sum(op.a), let b = sum(op.b) else { return nil }
            return add(a, b, e.kind == .add ? 1 : -1)
        case .mul:
            guard let a = sum(op.a), let b = sum(op.b) else { return nil }
            if b.args.isEmpty { return scaled(a, b.base) }
            if a.args.isEmpty { return scaled(b, a.base) }
            return fail("\(text(e)) multiplies iterations")
        case .floorDiv, .floorMod, .div, .mod:
            guard let a = sum(op.a), let c = sum(op.b) else { return nil }
            guard c.args.isEmpty, analyzer.canProveGreaterEqual(c.base, 1) else {
                return fail("the divisor of \(text(e)) is not known to be positive and constant")
            }
            // Rounding towards zero is the same where nothing is negative.
            if e.kind == .div || e.kind == .mod, !isNonNegative(a) {
                return fail("\(text(e)) rounds towards zero and may be negative")
            }
            return divide(a, analyzer.simplify(c.base), isDiv: e.kind == .floorDiv || e.kind == .div, e)
        default: return fail("\(text(e)) is no sum, product, quotient or remainder")
        }
    }

    private func isNonNegative(_ s: IterSumExpr) -> Bool {
        analyzer.canProveGreaterEqual(s.base, 0)
            && s.args.allSatisfy { analyzer.canProveGreaterEqual($0.scale, 0) }
    }

    private func scaled(_ a: IterSumExpr, _ k: PrimExpr) -> IterSumExpr? {
        if k.isZero { return IterSumExpr([], base: const(0)) }
        var args: [IterSplitExpr] = []
        for s in a.args {
            let scale = analyzer.simplify(s.scale * k)
            if scale.isZero { continue }
            args.append(s.scaled(scale))
        }
        return IterSumExpr(args, base: analyzer.simplify(a.base * k))
    }

    private mutating func add(_ a: IterSumExpr, _ b: IterSumExpr, _ sign: Int) -> IterSumExpr? {
        guard let b = scaled(b, const(sign)) else { return nil }
        var args = a.args
        for s in b.args {
            if let i = args.firstIndex(where: { sameDigit($0, s) }) {
                let scale = analyzer.simplify(args[i].scale + s.scale)
                if scale.isZero { args.remove(at: i) } else { args[i] = s.scaled(scale) }
            } else {
                args.append(s)
            }
        }
        if args.count > Self.maxDigits { return fail("more than \(Self.maxDigits) digits in one sum") }
        return IterSumExpr(args, base: analyzer.simplify(a.base + b.base))
    }

    /// Neighbouring digits of one counter put together, limited digits replaced by their counter.
    func collapse(_ s: IterSumExpr) -> IterSumExpr {
        var args = s.args
        var base = s.base
        var changed = args.count > 1
        while changed {
            changed = false
            search: for i in args.indices {
                for j in args.indices where i != j && args[i].source === args[j].source {
                    let (low, high) = (args[i], args[j])
                    // lower*extent of the one is where the other begins, in place and in weight.
                    guard equal(high.lowerFactor, analyzer.simplify(low.lowerFactor * low.extent)),
                        equal(high.scale, analyzer.simplify(low.scale * low.extent))
                    else { continue }
                    let whole = analyzer.simplify(low.extent * high.extent)
                    // A highest digit may be cut short: together they are the counter itself.
                    let reach = high.lowerFactor * high.extent
                    let top = analyzer.canProveGreaterEqual(reach, high.source.extent)
                    if !top && !analyzer.canProveGreaterEqual(high.source.extent, reach) { continue }
                    let rest = analyzer.simplify(ceilDiv(high.source.extent, low.lowerFactor))
                    args[i] = IterSplitExpr(
                        low.source, lowerFactor: low.lowerFactor, extent: top ? rest : whole, scale: low.scale
                    )
                    args.remove(at: j)
                    changed = true
                    break search
                }
            }
        }
        for l in limits {
            guard let unit = l.splits.last, let i = args.firstIndex(where: { sameDigit($0, unit) }) else {
                continue
            }
            let factor = args[i].scale
            var rest = args
            var matched = true
            for u in l.splits {
                guard
                    let k = rest.firstIndex(where: {
                        sameDigit($0, u) && equal($0.scale, analyzer.simplify(u.scale * factor))
                    })
                else {
                    matched = false
                    break
                }
                rest.remove(at: k)
            }
            if !matched { continue }
            // Even where one value is left: it tells the digits.
            rest.append(IterSplitExpr(l.mark, scale: factor))
            args = rest
            base = analyzer.simplify(base + l.mark.min * factor)
        }
        return IterSumExpr(args, base: base)
    }

    // MARK: Fusion

    /// The digits from the highest to the lowest if they count densely, with scales divided by the lowest's, that scale
    /// and the number of values. Scales may all be negative only where `magnitudes` are asked for.
    func dense(
        _ splits: [IterSplitExpr], magnitudes: Bool = false
    ) -> (splits: [IterSplitExpr], scale: PrimExpr, extent: PrimExpr)? {
        var list: [IterSplitExpr] = []
        for s in splits where !s.extent.isOne {
            if analyzer.canProveGreaterEqual(s.scale, 1) {
                list.append(s)
            } else if magnitudes && analyzer.canProveLess(s.scale, 0) {
                list.append(s.scaled(analyzer.simplify(const(0) - s.scale)))
            } else {
                return nil
            }
        }
        if list.isEmpty { return (splits: [], scale: const(1), extent: const(1)) }
        // The lowest is the smallest constant; of symbolic scales, each is tried.
        let constants = list.indices.filter { list[$0].scale.asInt != nil }
        let start =
            constants.min { (list[$0].scale.asInt ?? 0) < (list[$1].scale.asInt ?? 0) }.map { [$0] }
            ?? Array(list.indices)
        for first in start {
            var rest = list
            var chain = [rest.remove(at: first)]
            let unit = chain[0].scale
            var next = analyzer.simplify(unit * chain[0].extent)
            while let k = rest.firstIndex(where: { equal($0.scale, next) }) {
                let s = rest.remove(at: k)
                chain.append(s)
                next = analyzer.simplify(s.scale * s.extent)
            }
            guard rest.isEmpty, let extent = exactQuotient(next, unit) else { continue }
            var result: [IterSplitExpr] = []
            for s in chain.reversed() {
                guard let k = exactQuotient(s.scale, unit) else { return nil }
                result.append(s.scaled(k))
            }
            return (splits: result, scale: unit, extent: extent)
        }
        return nil
    }

    /// One digit that stands for the sum of `splits`.
    private mutating func fuse(_ splits: [IterSplitExpr]) -> IterSplitExpr? {
        let splits = splits.filter { !$0.extent.isOne }
        if splits.count == 1 { return splits[0] }
        guard !splits.isEmpty, let d = dense(splits) else { return nil }
        for f in fused where same(f.splits, d.splits) { return IterSplitExpr(f.mark, scale: d.scale) }
        let mark = IterMark(IterSumExpr(d.splits, base: const(0)), extent: d.extent)
        fused.append((splits: d.splits, mark: mark))
        return IterSplitExpr(mark, scale: d.scale)
    }

    // MARK: Quotients and remainders

    private mutating func divide(_ a: IterSumExpr, _ c: PrimExpr, isDiv: Bool, _ e: PrimExpr) -> IterSumExpr?
    {
        if a.args.isEmpty {
            let r = isDiv ? ApusTIR.floorDiv(a.base, c) : ApusTIR.floorMod(a.base, c)
            return IterSumExpr([], base: analyzer.simplify(r))
        }
        if c.isOne { return isDiv ? a : IterSumExpr([], base: const(0)) }
        // floor((c*W + R) / c) = W + floor(R / c)
        var whole: [IterSplitExpr] = []
        var rest: [IterSplitExpr] = []
        for s in a.args {
            if let k = exactQuotient(s.scale, c) { whole.append(s.scaled(k)) } else { rest.append(s) }
        }
        if fusesFirst && !rest.isEmpty && !whole.isEmpty && fuse(a.args) != nil {
            whole = []
            rest = a.args
        }
        guard let base = exactQuotient(a.base, c) else { return within(a.base, whole, rest, c, isDiv, e) }
        if rest.isEmpty { return isDiv ? IterSumExpr(whole, base: base) : IterSumExpr([], base: const(0)) }
        // What stays below the divisor vanishes in the quotient and is the remainder.
        if let most = largest(rest), analyzer.canProveLess(most, c) {
            return isDiv ? IterSumExpr(whole, base: base) : IterSumExpr(rest, base: const(0))
        }
        guard let s = fuse(rest) else { return fail("\(text(e)) divides a sum that does not count densely") }
        guard analyzer.canProveGreaterEqual(s.scale, 1), let by = exactQuotient(c, s.scale) else {
            return fail("the divisor and the steps of \(text(e)) do not fit")
        }
        // The digit is cut at `by`; a remainder in the highest digit only makes its last row shorter.
        let exact = exactQuotient(s.extent, by)
        let top = analyzer.canProveGreaterEqual(s.lowerFactor * s.extent, s.source.extent)
        guard exact != nil || top else {
            return fail(
                "\(text(e)) cuts a digit of extent \(text(s.extent)) at \(text(by)), which needs padding")
        }
        if isDiv {
            let extent = exact ?? analyzer.simplify(ceilDiv(s.extent, by))
            let lower = analyzer.simplify(s.lowerFactor * by)
            let high = IterSplitExpr(s.source, lowerFactor: lower, extent: extent, scale: const(1))
            return add(IterSumExpr(whole, base: base), IterSumExpr([high], base: const(0)), 1)
        }
        // The divisor may be more than there are values.
        let full = exact != nil || analyzer.canProveGreaterEqual(s.extent, by)
        let extent = full ? by : analyzer.simplify(minimum(s.extent, by))
        return IterSumExpr(
            [IterSplitExpr(s.source, lowerFactor: s.lowerFactor, extent: extent, scale: s.scale)],
            base: const(0))
    }

    /// With a base that is no multiple of the divisor: only where nothing carries.
    private mutating func within(
        _ base: PrimExpr, _ whole: [IterSplitExpr], _ rest: [IterSplitExpr], _ c: PrimExpr, _ isDiv: Bool,
        _ e: PrimExpr
    ) -> IterSumExpr? {
        let low = analyzer.simplify(ApusTIR.floorMod(base, c))
        guard let most = largest(rest), analyzer.canProveLess(low + most, c) else {
            return fail("the offset \(text(base)) in \(text(e)) carries, which needs padding")
        }
        return isDiv
            ? IterSumExpr(whole, base: analyzer.simplify(ApusTIR.floorDiv(base, c)))
            : IterSumExpr(rest, base: low)
    }

    /// The largest value of a sum of digits of positive scales.
    private func largest(_ splits: [IterSplitExpr]) -> PrimExpr? {
        var most: PrimExpr = const(0)
        for s in splits {
            guard analyzer.canProveGreaterEqual(s.scale, 0) else { return nil }
            most = most + (s.extent - 1) * s.scale
        }
        return analyzer.simplify(most)
    }

    // MARK: Predicates

    /// Narrows the counters by a condition; false if it has no such effect or leaves nothing.
    mutating func addPredicate(_ predicate: PrimExpr) -> Bool {
        if !errors.isEmpty { return false }
        var list = conjunction([prepared(predicate)])
        if list.contains(where: \.isFalse) { return refuse("no iteration fulfils \(text(predicate))") }
        // Small sums first: larger ones may contain them.
        list = list.enumerated().map { (key: (inputCount($1), $0), value: $1) }.sorted { $0.key < $1.key }
            .map(
                \.value)
        for c in list where inputCount(c) > 0 {
            if !narrow(c) { return false }
        }
        return true
    }

    private mutating func narrow(_ c: PrimExpr) -> Bool {
        if c.kind == .eq, let op = c as? BinaryExpr {
            return narrow(LE(op.a, op.b)) && narrow(GE(op.a, op.b))
        }
        guard let op = c as? BinaryExpr, op.a.dtype == .index, [.lt, .le, .gt, .ge].contains(c.kind) else {
            return refuse("the condition \(text(c)) is no limit of a sum")
        }
        guard var s = sum(prepared(op.a - op.b)) else { return false }
        if s.args.allSatisfy({ $0.extent.isOne }) {
            let rest = analyzer.simplify(BinaryExpr.raw(c.kind, s.base, const(0)))
            return rest.isFalse ? refuse("no iteration fulfils \(text(c))") : true
        }
        var upper = c.kind == .lt || c.kind == .le
        if dense(s.args) == nil, let n = scaled(s, const(-1)) {
            s = n
            upper.toggle()
        }
        guard let d = dense(s.args) else {
            return refuse("the condition \(text(c)) limits a sum with gaps or overlaps")
        }
        let strict = c.kind == .lt || c.kind == .gt
        // scale * F + base <= 0 (or < 0, >= 0, > 0)
        let right = analyzer.simplify(const(0) - s.base)
        if upper {
            return limit(
                d.splits, d.extent, low: nil, high: ApusTIR.floorDiv(strict ? right - 1 : right, d.scale), c)
        }
        return limit(d.splits, d.extent, low: ceilDiv(strict ? right + 1 : right, d.scale), high: nil, c)
    }

    /// The dense sum of `splits`, which has `extent` values, lies in `low ... high`.
    private mutating func limit(
        _ splits: [IterSplitExpr], _ extent: PrimExpr, low: PrimExpr?, high: PrimExpr?, _ c: PrimExpr
    ) -> Bool {
        let last = analyzer.simplify(extent - 1)
        let first = low.map { analyzer.simplify(maximum($0, const(0))) } ?? const(0)
        let end = high.map { analyzer.simplify(minimum($0, last)) } ?? last
        let count = analyzer.simplify(end - first + 1)
        if let n = count.asInt, n <= 0 {
            return refuse("no iteration fulfils \(text(c))")
        }
        memo = [:]
        fused = []
        if first.isZero && equal(count, extent) { return true }
        // A whole counter becomes a smaller one.
        if splits.count == 1, splits[0].lowerFactor.isOne, equal(splits[0].extent, splits[0].source.extent) {
            let old = splits[0].source
            // What an earlier condition tied together must not lose one of its counters.
            if limits.contains(where: { $0.splits.contains { reaches($0.source, old) } }) {
                return refuse("the condition \(text(c)) narrows what another one limits already")
            }
            let low = analyzer.simplify(old.min + first)
            if let v = old.variable, marks[v] === old {
                marks[v] = IterMark(v, min: low, extent: count)
                return true
            }
            if let i = limits.firstIndex(where: { $0.mark === old }), let s = old.sum {
                limits[i].mark = IterMark(s, min: low, extent: count)
                return true
            }
        }
        let source = IterSumExpr(splits, base: const(0))
        limits.append(Limit(splits: splits, mark: IterMark(source, min: first, extent: count)))
        return true
    }

    private func reaches(_ m: IterMark, _ wanted: IterMark) -> Bool {
        m === wanted || (m.sum?.args.contains { reaches($0.source, wanted) } ?? false)
    }

    // MARK: Independence

    /// Whether the digits of all sums take all combinations of their values; with `bijective`, whether they also tell
    /// the point of the domain.
    mutating func independent(_ sums: [IterSumExpr], bijective: Bool) -> Bool {
        var uses: [ObjectIdentifier: [IterSplitExpr]] = [:]
        var found: [IterMark] = []
        var queue: [IterSplitExpr] = sums.flatMap(\.args)
        // What a condition ties together is one counter, used or not.
        var expanded = Set(limits.map { ObjectIdentifier($0.mark) })
        for l in limits { queue.append(contentsOf: l.splits) }
        var at = 0
        while at < queue.count {
            let s = queue[at]
            at += 1
            let id = ObjectIdentifier(s.source)
            if uses[id] == nil { found.append(s.source) }
            uses[id, default: []].append(s)
            if let inner = s.source.sum, expanded.insert(id).inserted { queue.append(contentsOf: inner.args) }
        }
        for m in found {
            if !covers(uses[ObjectIdentifier(m)] ?? [], m, bijective) {
                return refuse("the digits used of \(text(m)) overlap or leave something out")
            }
        }
        if bijective {
            for l in limits where uses[ObjectIdentifier(l.mark)] == nil {
                return refuse("\(text(l.mark)) is limited and not used")
            }
            for v in order {
                guard let m = marks[v], m.extent.asInt != 1, uses[ObjectIdentifier(m)] == nil else {
                    continue
                }
                return refuse("\(v.name) is not used")
            }
        }
        return true
    }

    private func covers(_ splits: [IterSplitExpr], _ m: IterMark, _ bijective: Bool) -> Bool {
        var rest = splits
        var low: PrimExpr = const(1)
        while !rest.isEmpty {
            var next = rest.firstIndex { equal($0.lowerFactor, low) }
            if next == nil && !bijective, let have = low.asInt {
                // A digit left out.
                next = rest.indices.filter { i in
                    rest[i].lowerFactor.asInt.map { $0 > have && $0 % have == 0 } ?? false
                }.min { (rest[$0].lowerFactor.asInt ?? 0) < (rest[$1].lowerFactor.asInt ?? 0) }
            }
            guard let i = next else { return !bijective && splits.count == 1 }
            let s = rest.remove(at: i)
            low = analyzer.simplify(s.lowerFactor * s.extent)
        }
        if bijective { return equal(low, m.extent) }
        // Alone, a highest digit cut short still takes all its values.
        return splits.count == 1 || analyzer.canProveGreaterEqual(m.extent, low)
    }
}
