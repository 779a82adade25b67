import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR

/// Something that counts through `0 ..< extent`: an input variable (less its minimum), or a fused sum of splits.
public final class IterMark {
    public enum Source {
        case variable(Var)
        case sum(IterSum)
    }
    public let source: Source
    public let extent: PrimExpr

    init(_ source: Source, _ extent: PrimExpr) {
        self.source = source
        self.extent = extent
    }
}

/// `(mark // lowerFactor) mod extent * scale`
public struct IterSplit {
    public let mark: IterMark
    public let lowerFactor: Int
    public let extent: PrimExpr
    public let scale: Int
}

/// `base + sum(splits)`, each split's digits independent of the others'.
public struct IterSum {
    public let splits: [IterSplit]
    public let base: PrimExpr
}

/// Detects quasi-affine maps: what loops may be called an iteration of a block, what may be inverted or covered.
/// Source of the idea: TVM's iter_affine_map.
private struct IterMapDetector {
    let analyzer: Analyzer
    let inputs: [Var: (mark: IterMark, min: PrimExpr)]
    let order: [Var]
    let freeVariables: Bool
    /// Fused marks by their text, so that two uses of one fused sum share it.
    var fused: [(splits: [IterSplit], mark: IterMark)] = []
    /// Upper limits from the predicate: the sum of `splits` is less than `limit`.
    var limits: [(splits: [IterSplit], limit: Int)] = []

    private func same(_ a: [IterSplit], _ b: [IterSplit]) -> Bool {
        guard a.count == b.count else { return false }
        for i in a.indices {
            guard a[i].mark === b[i].mark, a[i].lowerFactor == b[i].lowerFactor, a[i].scale == b[i].scale,
                analyzer.canProveEqual(a[i].extent, b[i].extent)
            else { return false }
        }
        return true
    }

    mutating func sum(_ e: PrimExpr) -> IterSum? {
        if e.kind == .variable, let input = inputs[unsafeDowncast(e, to: Var.self)] {
            if input.mark.extent.asInt == 1 { return IterSum(splits: [], base: input.min) }
            let split = IterSplit(mark: input.mark, lowerFactor: 1, extent: input.mark.extent, scale: 1)
            return IterSum(splits: [split], base: input.min)
        }
        if !uses(e, Set(order)) {
            guard freeVariables || e.kind == .intImm || e.dtype == .index else { return nil }
            return IterSum(splits: [], base: e)
        }
        guard let op = e as? BinaryExpr else { return nil }
        switch e.kind {
        case .add, .sub:
            guard let a = sum(op.a), let b = sum(op.b) else { return nil }
            return add(a, b, e.kind == .add ? 1 : -1)
        case .mul:
            if let k = op.b.asInt, let a = sum(op.a) { return scaled(a, k) }
            if let k = op.a.asInt, let b = sum(op.b) { return scaled(b, k) }
            return nil
        case .floorDiv, .floorMod:
            guard let c = op.b.asInt, c > 0, let a = sum(op.a) else { return nil }
            return divide(a, c, isDiv: e.kind == .floorDiv)
        default: return nil
        }
    }

    private func scaled(_ a: IterSum, _ k: Int) -> IterSum? {
        if k == 0 { return IterSum(splits: [], base: IntImm(0)) }
        var splits: [IterSplit] = []
        for s in a.splits {
            let r = s.scale.multipliedReportingOverflow(by: k)
            if r.overflow || r.partialValue == .min { return nil }
            splits.append(
                IterSplit(mark: s.mark, lowerFactor: s.lowerFactor, extent: s.extent, scale: r.partialValue))
        }
        return IterSum(splits: splits, base: a.base * k)
    }

    private func add(_ a: IterSum, _ b: IterSum, _ sign: Int) -> IterSum? {
        guard let b = scaled(b, sign) else { return nil }
        var splits = a.splits
        for s in b.splits {
            if let i = splits.firstIndex(where: { $0.mark === s.mark && $0.lowerFactor == s.lowerFactor }) {
                guard analyzer.canProveEqual(splits[i].extent, s.extent) else { return nil }
                let k = splits[i].scale.addingReportingOverflow(s.scale)
                if k.overflow || k.partialValue == .min { return nil }
                if k.partialValue == 0 {
                    splits.remove(at: i)
                } else {
                    splits[i] = IterSplit(
                        mark: s.mark, lowerFactor: s.lowerFactor, extent: s.extent, scale: k.partialValue)
                }
            } else {
                splits.append(s)
            }
        }
        return IterSum(splits: splits, base: a.base + b.base)
    }

    /// The splits from the slowest to the fastest if they count densely with the last one's scale, and the count.
    func dense(_ splits: [IterSplit]) -> (splits: [IterSplit], scale: Int, extent: PrimExpr)? {
        let sorted = splits.sorted { abs($0.scale) > abs($1.scale) }
        guard let last = sorted.last, last.scale > 0 else { return nil }
        var expected: PrimExpr = IntImm(last.scale)
        for s in sorted.reversed() {
            guard analyzer.canProveEqual(expected, IntImm(s.scale)) else { return nil }
            expected = analyzer.simplify(s.extent * s.scale)
        }
        return (
            splits: sorted, scale: last.scale,
            extent: analyzer.simplify(ApusTIR.floorDiv(expected, last.scale))
        )
    }

    /// One split that stands for the sum, without its base.
    private mutating func fuse(_ a: IterSum) -> IterSplit? {
        if a.splits.count == 1 && limits.isEmpty { return a.splits[0] }
        guard let d = dense(a.splits) else { return nil }
        let unit = d.splits.map {
            IterSplit(
                mark: $0.mark, lowerFactor: $0.lowerFactor, extent: $0.extent, scale: $0.scale / d.scale)
        }
        for f in fused where same(f.splits, unit) {
            return IterSplit(mark: f.mark, lowerFactor: 1, extent: f.mark.extent, scale: d.scale)
        }
        var extent = d.extent
        var limited = false
        for l in limits where same(l.splits, unit) {
            extent = analyzer.simplify(minimum(extent, IntImm(l.limit)))
            limited = true
        }
        if a.splits.count == 1 && !limited { return a.splits[0] }
        let mark = IterMark(.sum(IterSum(splits: unit, base: IntImm(0))), extent)
        fused.append((splits: unit, mark: mark))
        return IterSplit(mark: mark, lowerFactor: 1, extent: extent, scale: d.scale)
    }

    private mutating func divide(_ a: IterSum, _ c: Int, isDiv: Bool) -> IterSum? {
        // The base must not carry into the digits.
        let base = analyzer.simplify(a.base)
        if a.splits.isEmpty {
            let r = isDiv ? ApusTIR.floorDiv(base, c) : ApusTIR.floorMod(base, c)
            return IterSum(splits: [], base: analyzer.simplify(r))
        }
        guard analyzer.modularSet(base).isMultiple(of: c) || base.isZero else { return nil }
        // What is a multiple of c divides by itself.
        let whole = a.splits.filter { $0.scale % c == 0 }
        let rest = a.splits.filter { $0.scale % c != 0 }
        var split: IterSplit?
        if !rest.isEmpty {
            if !whole.isEmpty, let f = fuse(IterSum(splits: rest, base: IntImm(0))), f.scale > 0 {
                // The rest stays below c: it vanishes in the quotient and is the remainder.
                let top = analyzer.simplify((f.extent - 1) * f.scale)
                if analyzer.canProveLess(top, IntImm(c)) {
                    if !isDiv { return IterSum(splits: rest, base: IntImm(0)) }
                    return quotient(whole, c, base)
                }
            }
            guard let f = fuse(IterSum(splits: a.splits, base: IntImm(0))) else { return nil }
            split = f
        } else {
            if !isDiv { return IterSum(splits: [], base: IntImm(0)) }
            return quotient(whole, c, base)
        }
        guard let s = split, s.scale > 0 else { return nil }
        var c = c
        var outer = 1
        if s.scale > 1 {
            guard c % s.scale == 0 else { return nil }
            outer = s.scale
            c /= s.scale
        }
        let m = analyzer.modularSet(s.extent)
        let lower = s.lowerFactor.multipliedReportingOverflow(by: c)
        if lower.overflow { return nil }
        let exact = m.isMultiple(of: c)
        let top = s.lowerFactor == 1 && analyzer.canProveEqual(s.extent, s.mark.extent)
        let baseDiv = analyzer.simplify(ApusTIR.floorDiv(base, c * outer))
        if analyzer.canProveGreaterEqual(IntImm(c), s.extent) {
            if isDiv { return IterSum(splits: [], base: baseDiv) }
            return IterSum(
                splits: [IterSplit(mark: s.mark, lowerFactor: s.lowerFactor, extent: s.extent, scale: outer)],
                base: IntImm(0))
        }
        // A remainder in the highest digit is harmless: the quotient just has a smaller last row.
        guard exact || top else { return nil }
        if isDiv {
            let extent = analyzer.simplify(ceilDiv(s.extent, IntImm(c)))
            return IterSum(
                splits: [IterSplit(mark: s.mark, lowerFactor: lower.partialValue, extent: extent, scale: 1)],
                base: baseDiv)
        }
        return IterSum(
            splits: [IterSplit(mark: s.mark, lowerFactor: s.lowerFactor, extent: IntImm(c), scale: outer)],
            base: IntImm(0))
    }

    private func quotient(_ splits: [IterSplit], _ c: Int, _ base: PrimExpr) -> IterSum {
        IterSum(
            splits: splits.map {
                IterSplit(mark: $0.mark, lowerFactor: $0.lowerFactor, extent: $0.extent, scale: $0.scale / c)
            }, base: analyzer.simplify(ApusTIR.floorDiv(base, c)))
    }

    mutating func addLimit(_ condition: PrimExpr) -> Bool {
        if condition.isTrue { return true }
        if let c = condition as? And { return addLimit(c.a) && addLimit(c.b) }
        if let c = condition as? Call, c.name == "tir.likely" { return addLimit(c.args[0]) }
        guard let c = condition as? BinaryExpr, c.kind == .lt || c.kind == .le, let limit = c.b.asInt,
            let s = sum(c.a), let d = dense(s.splits), d.scale == 1,
            let base = analyzer.simplify(s.base).asInt
        else { return false }
        let r = limit.subtractingReportingOverflow(base)
        if r.overflow { return false }
        limits.append((splits: d.splits, limit: c.kind == .lt ? r.partialValue : r.partialValue + 1))
        return true
    }

    /// Whether no two points of the input give the same output (and every digit is used, if `bijective`).
    func independent(_ sums: [IterSum], bijective: Bool) -> Bool {
        var all: [IterSplit] = []
        for s in sums { all.append(contentsOf: s.splits) }
        var used: [IterMark] = []
        var queue = all
        while let first = queue.first {
            let mark = first.mark
            let mine = queue.filter { $0.mark === mark }.sorted { $0.lowerFactor < $1.lowerFactor }
            queue.removeAll { $0.mark === mark }
            var low: PrimExpr = IntImm(1)
            for s in mine {
                if bijective {
                    guard analyzer.canProveEqual(low, IntImm(s.lowerFactor)) else { return false }
                } else {
                    guard analyzer.canProveGreaterEqual(IntImm(s.lowerFactor), low) else { return false }
                }
                low = analyzer.simplify(s.extent * s.lowerFactor)
            }
            if bijective && !analyzer.canProveGreaterEqual(low, mark.extent) { return false }
            used.append(mark)
            if case .sum(let inner) = mark.source { queue.append(contentsOf: inner.splits) }
        }
        if bijective {
            for v in order {
                guard let input = inputs[v], input.mark.extent.asInt != 1 else { continue }
                if !used.contains(where: { $0 === input.mark }) { return false }
            }
        }
        return true
    }
}

extension Analyzer {
    /// `indices` as independent sums of digits of the inputs, or nil if they are not quasi-affine: no input digit
    /// serves two outputs. `requireBijective`: every digit of every input is used, so that the map can be inverted.
    /// `freeVariables`: expressions without inputs may be anything.
    public func detectIterMap(
        _ indices: [PrimExpr], inputs: [(variable: Var, range: IRRange)], predicate: PrimExpr = trueExpr,
        requireBijective: Bool = false, freeVariables: Bool = true
    ) -> [IterSum]? {
        var marks: [Var: (mark: IterMark, min: PrimExpr)] = [:]
        for i in inputs {
            let extent = simplify(i.range.extent)
            marks[i.variable] = (mark: IterMark(.variable(i.variable), extent), min: simplify(i.range.min))
        }
        // Facts about the inputs themselves would decide divisions too early; the detector uses extents instead.
        var d = IterMapDetector(
            analyzer: self, inputs: marks, order: inputs.map(\.variable), freeVariables: freeVariables)
        if !d.addLimit(simplify(predicate)) { return nil }
        var result: [IterSum] = []
        for e in indices {
            guard e.dtype == .index, let s = d.sum(simplify(e)) else { return nil }
            // A sum that carries between its digits takes some values twice.
            let sorted = s.splits.sorted { abs($0.scale) < abs($1.scale) }
            for i in sorted.indices.dropFirst() {
                var reach: PrimExpr = IntImm(0)
                for j in 0..<i { reach = reach + (sorted[j].extent - 1) * abs(sorted[j].scale) }
                guard canProveLess(simplify(reach), IntImm(abs(sorted[i].scale))) else { return nil }
            }
            result.append(s)
        }
        return d.independent(result, bijective: requireBijective) ? result : nil
    }

    /// A sum as an expression of the input variables.
    public func expression(_ s: IterSum, inputs: [(variable: Var, range: IRRange)]) -> PrimExpr {
        var e = s.base
        for p in s.splits { e = e + expression(p, inputs) }
        return simplify(e)
    }

    private func expression(_ s: IterSplit, _ inputs: [(variable: Var, range: IRRange)]) -> PrimExpr {
        var v: PrimExpr
        switch s.mark.source {
        case .variable(let x):
            let min = inputs.first { $0.variable === x }?.range.min ?? IntImm(0)
            v = x - min
        case .sum(let inner):
            v = inner.base
            for p in inner.splits { v = v + expression(p, inputs) }
        }
        if s.lowerFactor != 1 { v = ApusTIR.floorDiv(v, s.lowerFactor) }
        if s.lowerFactor == 1 && canProveEqual(s.extent, s.mark.extent) { return v * s.scale }
        return ApusTIR.floorMod(v, s.extent) * s.scale
    }
}
