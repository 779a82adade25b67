import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR

/// One index cut into what the outer and what the inner variables do:
/// `index == (outer * inner.extent + inner) * scale + base`.
public struct SubspaceDivision: Sendable {
    public let outer: IterMark
    public let inner: IterMark
    public let scale: PrimExpr
    public let base: PrimExpr
}

/// All indices and the predicate cut; see `Analyzer.subspaceDivide`.
public struct SubspaceDivisions: Sendable {
    public let indices: [SubspaceDivision]
    /// Holds together with `innerPredicate` where the whole predicate does.
    public let outerPredicate: PrimExpr
    public let innerPredicate: PrimExpr
}

extension Analyzer {
    /// `indices` cut in two: for the block inside the loops over `subIters` and the block around it. Nil where an index
    /// mixes the two spaces otherwise than `outer * extent + inner`, where the predicate does, or where the map is not
    /// of the `level` asked for. (TVM's SubspaceDivide.)
    public func subspaceDivide(
        _ indices: [PrimExpr], inputs: [(variable: Var, range: IRRange)], subIters: [Var],
        predicate: PrimExpr = trueExpr, level: IterMapLevel = .surjective
    ) -> SubspaceDivisions? {
        let inner = Set(subIters)
        let outer = Set(inputs.map(\.variable)).subtracting(inner)
        var outerPredicate: PrimExpr = trueExpr
        var innerPredicate: PrimExpr = trueExpr
        for c in conjunction([simplify(predicate)]) {
            if !uses(c, outer) && uses(c, inner) {
                innerPredicate = and(innerPredicate, c)
            } else if !uses(c, inner) {
                outerPredicate = and(outerPredicate, c)
            } else {
                return nil
            }
        }
        let map = detectIterMap(indices, inputs: inputs, predicate: predicate, level: level)
        guard map.isDetected else { return nil }
        var result: [SubspaceDivision] = []
        for s in map.indices {
            guard let d = divide(s, inner) else { return nil }
            result.append(d)
        }
        return SubspaceDivisions(
            indices: result, outerPredicate: outerPredicate, innerPredicate: innerPredicate)
    }

    /// Whether all variables that a counter counts are in `set` (true), none is (false), or some (nil).
    private func isInside(_ m: IterMark, _ set: Set<Var>) -> Bool? {
        if let v = m.variable { return set.contains(v) }
        var side: Bool?
        for a in m.sum?.args ?? [] {
            guard let s = isInside(a.source, set) else { return nil }
            if let old = side, old != s { return nil }
            side = s
        }
        return side ?? false
    }

    private func divide(_ s: IterSumExpr, _ inner: Set<Var>) -> SubspaceDivision? {
        let none = IterMark(IterSumExpr([], base: const(0)), extent: const(1))
        let s = IterSumExpr(s.args.filter { !$0.extent.isOne }, base: s.base)
        guard let last = s.args.last else {
            return SubspaceDivision(outer: none, inner: none, scale: const(1), base: s.base)
        }
        // Digits are in the order of their scales: the inner ones must be the lowest.
        var cut = s.args.count
        for i in s.args.indices.reversed() {
            guard let inside = isInside(s.args[i].source, inner) else { return nil }
            if inside {
                if cut != i + 1 { return nil }
                cut = i
            }
        }
        // A sum that counts down is mirrored by its scale.
        let unit = last.scale
        func mark(_ args: ArraySlice<IterSplitExpr>) -> IterMark? {
            if args.isEmpty { return none }
            guard let low = args.last?.scale else { return nil }
            var extent: PrimExpr = const(1)
            var parts: [IterSplitExpr] = []
            for a in args {
                guard let k = ratio(a.scale, low) else { return nil }
                parts.append(a.scaled(k))
                extent = extent * a.extent
            }
            return IterMark(IterSumExpr(parts, base: const(0)), extent: simplify(extent))
        }
        guard let o = mark(s.args[..<cut]), let i = mark(s.args[cut...]) else { return nil }
        // The outer part steps by whole inner ones.
        if cut > 0 && cut < s.args.count && !canProveEqual(s.args[cut - 1].scale, i.extent * unit) {
            return nil
        }
        return SubspaceDivision(outer: o, inner: i, scale: unit, base: s.base)
    }

    /// `a / b` where that is exact and positive.
    private func ratio(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr? {
        if let x = a.asInt, let y = b.asInt {
            return y != 0 && x % y == 0 && (x < 0) == (y < 0) ? IntImm(x / y) : nil
        }
        if b.isOne { return a }
        guard canProveGreaterEqual(b, 1), canProveEqual(ApusTIR.floorMod(a, b), const(0)) else { return nil }
        return simplify(ApusTIR.floorDiv(a, b))
    }
}
