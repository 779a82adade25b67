import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR

/// What a detected map must be.
public enum IterMapLevel: Sendable {
    /// Each point of the domain gives another output, and each output of the box of outputs is one's.
    case bijective
    /// The outputs take all combinations of their values.
    case surjective
    /// Each output is a sum of digits; nothing is asked about how they hang together.
    case noCheck
}

/// A detected map, or why there is none.
public struct IterMapResult: Sendable {
    /// One sum for each index; empty if the map was not detected.
    public let indices: [IterSumExpr]
    /// What stood in the way; empty if nothing.
    public let errors: [String]
    public var isDetected: Bool { errors.isEmpty }
}

// Quasi-affine maps: sums, products with constants, quotients and remainders of loop variables, read as sums of digits.
// (TVM's iter_affine_map; here nothing is padded: what would need it is refused.)
extension Analyzer {
    /// `indices` as sums of digits of `inputs` over the points where `predicate` holds.
    ///
    /// The predicate is a conjunction of upper and lower limits of sums. Extents, scales and limits may be symbolic.
    /// A negative scale is allowed.
    ///
    ///     detectIterMap([floorDiv(i * 8 + j, 4), floorMod(j, 4)], [(i, 0 ..< 4), (j, 0 ..< 8)], level: .bijective)
    public func detectIterMap(
        _ indices: [PrimExpr], inputs: [(variable: Var, range: IRRange)], predicate: PrimExpr = trueExpr,
        level: IterMapLevel = .surjective
    ) -> IterMapResult {
        let first = detect(indices, inputs, predicate, level, fusesFirst: false)
        if first.isDetected { return first }
        let second = detect(indices, inputs, predicate, level, fusesFirst: true)
        return second.isDetected ? second : first
    }

    private func detect(
        _ indices: [PrimExpr], _ inputs: [(variable: Var, range: IRRange)], _ predicate: PrimExpr,
        _ level: IterMapLevel, fusesFirst: Bool
    ) -> IterMapResult {
        var d = IterMapDetector(self, inputs, fusesFirst: fusesFirst)
        guard d.addPredicate(predicate) else { return IterMapResult(indices: [], errors: d.errors) }
        var result: [IterSumExpr] = []
        for (i, e) in indices.enumerated() {
            guard let s = d.index(e) else {
                return IterMapResult(indices: [], errors: d.errors + ["index \(i) is no sum of digits"])
            }
            result.append(sorted(s))
            if level == .noCheck { continue }
            guard s.args.isEmpty || d.dense(s.args, magnitudes: true) != nil else {
                return IterMapResult(indices: [], errors: ["index \(i) has gaps or takes values twice"])
            }
        }
        if level != .noCheck && !d.independent(result, bijective: level == .bijective) {
            return IterMapResult(indices: [], errors: d.errors)
        }
        return IterMapResult(indices: result, errors: [])
    }

    /// The sums whose digits are independent; each sum may have gaps or overlap in itself.
    func independentSums(
        _ indices: [PrimExpr], _ inputs: [(variable: Var, range: IRRange)], _ predicate: PrimExpr
    ) -> [IterSumExpr]? {
        search: for fusesFirst in [false, true] {
            var d = IterMapDetector(self, inputs, fusesFirst: fusesFirst)
            guard d.addPredicate(predicate) else { continue }
            var result: [IterSumExpr] = []
            for e in indices {
                guard let s = d.index(e) else { continue search }
                result.append(s)
            }
            if d.independent(result, bijective: false) { return result }
        }
        return nil
    }

    /// Digits from the largest scale to the smallest, where they are constants.
    private func sorted(_ s: IterSumExpr) -> IterSumExpr {
        var args = s.args
        // Insertion, stable: symbolic scales are compared as far as they can be.
        for i in args.indices.dropFirst() {
            var k = i
            while k > 0, isLess(args[k - 1].scale, args[k].scale) {
                args.swapAt(k - 1, k)
                k -= 1
            }
        }
        return IterSumExpr(args, base: s.base)
    }

    private func isLess(_ a: PrimExpr, _ b: PrimExpr) -> Bool {
        if let x = a.asInt, let y = b.asInt { return x.magnitude < y.magnitude }
        return canProveLess(a, b)
    }

    /// `index` as a sum of digits in the order of their scales, whether or not they count densely; nil where it is none.
    public func normalizeToIterSum(
        _ index: PrimExpr, inputs: [(variable: Var, range: IRRange)]
    ) -> IterSumExpr? {
        detectIterMap([index], inputs: inputs, level: .noCheck).indices.first
    }

    /// `indices` in the simplest form that their digits show: `floorDiv(i * 8 + j, 8)` is `i` where `j` runs over
    /// `0 ..< 8`. Indices that are no sums of digits are simplified only.
    public func iterMapSimplify(
        _ indices: [PrimExpr], inputs: [(variable: Var, range: IRRange)], predicate: PrimExpr = trueExpr,
        level: IterMapLevel = .surjective
    ) -> [PrimExpr] {
        let all = detectIterMap(indices, inputs: inputs, predicate: predicate, level: level)
        if all.isDetected { return all.indices.map { expression($0) } }
        return indices.map { e in
            let one = detectIterMap([e], inputs: inputs, predicate: predicate, level: .noCheck)
            return one.indices.first.map { expression($0) } ?? simplify(e)
        }
    }

    /// The values of the input variables at which the map has the values `outputs`, in order of their occurrence; nil if
    /// the sums leave a digit open. `map` comes from a bijective detection. Inputs of one value do not occur.
    public func inverseAffineIterMap(
        _ map: [IterSumExpr], _ outputs: [PrimExpr]
    ) -> [(variable: Var, value: PrimExpr)]? {
        guard map.count == outputs.count else { return nil }
        // How many digits of each counter are to come, so that a counter is known when all are.
        var open: [ObjectIdentifier: Int] = [:]
        var marks: [IterMark] = []
        var queue = map.flatMap(\.args)
        var at = 0
        while at < queue.count {
            let m = queue[at].source
            at += 1
            if open[ObjectIdentifier(m)] == nil {
                marks.append(m)
                if let s = m.sum { queue.append(contentsOf: s.args) }
            }
            open[ObjectIdentifier(m), default: 0] += 1
        }
        var values: [ObjectIdentifier: PrimExpr] = [:]
        func spread(_ s: IterSumExpr, _ value: PrimExpr) -> Bool {
            // A digit that counts down is the distance from its end.
            var total = value - s.base
            var sizes: [PrimExpr] = []
            for a in s.args {
                let down = canProveLess(a.scale, 0)
                let size = down ? simplify(const(0) - a.scale) : a.scale
                sizes.append(size)
                if down { total = total + size * (a.extent - 1) }
            }
            total = simplify(total)
            for (i, a) in s.args.enumerated() {
                var digit = ApusTIR.floorDiv(total, sizes[i])
                let highest = s.args.indices.allSatisfy {
                    $0 == i || s.args[$0].extent.isOne || isLess(sizes[$0], sizes[i])
                }
                if !highest { digit = ApusTIR.floorMod(digit, a.extent) }
                if a.extent.isOne {
                    digit = const(0)
                } else if canProveLess(a.scale, 0) {
                    digit = a.extent - 1 - digit
                }
                let id = ObjectIdentifier(a.source)
                values[id] = simplify((values[id] ?? const(0)) + digit * a.lowerFactor)
                open[id, default: 0] -= 1
            }
            return true
        }
        for (s, o) in zip(map, outputs) { guard spread(s, o) else { return nil } }
        var result: [(variable: Var, value: PrimExpr)] = []
        var pending = marks
        while !pending.isEmpty {
            guard let i = pending.firstIndex(where: { open[ObjectIdentifier($0)] == 0 }) else { return nil }
            let m = pending.remove(at: i)
            guard let v = values[ObjectIdentifier(m)] else { return nil }
            let value = simplify(v + m.min)
            if let x = m.variable { result.append((variable: x, value: value)) }
            if let s = m.sum, !spread(s, value) { return nil }
        }
        return result
    }
}
