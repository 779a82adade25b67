import ApusIR
import ApusRuntime
import ApusTIR

// Whether iterations of a loop that are some steps apart meet in memory: what a loop needs to know before it overlaps
// the work of its iterations.

/// An access of memory in the body of a loop.
public struct LoopAccess: Sendable {
    /// The box that is accessed, a range a dimension; nil for a dimension that follows from memory or is not known.
    public let box: [IRRange?]
    /// Loops between the loop asked about and the access, outermost first.
    public let loops: [(variable: Var, range: IRRange)]
    /// Conditions of integer arithmetic under which it happens.
    public let conditions: [PrimExpr]

    public init(
        box: [IRRange?], loops: [(variable: Var, range: IRRange)] = [], conditions: [PrimExpr] = []
    ) {
        self.box = box
        self.loops = loops
        self.conditions = conditions
    }

    /// The same access where variables have other values; its own loops get variables of their own.
    fileprivate func renamed(_ map: [Var: PrimExpr]) -> LoopAccess {
        var map = map
        var own: [(variable: Var, range: IRRange)] = []
        for l in loops {
            let v = Var(l.variable.name, type: l.variable.type)
            own.append((variable: v, range: substituted(l.range, map)))
            map[l.variable] = v
        }
        return LoopAccess(
            box: box.map { r in r.map { substituted($0, map) } }, loops: own,
            conditions: conditions.map { substitute($0, map) })
    }
    private func substituted(_ r: IRRange, _ map: [Var: PrimExpr]) -> IRRange {
        IRRange(min: substitute(r.min, map), extent: substitute(r.extent, map))
    }
}

extension Analyzer {
    /// Whether no element is touched by `a` in an iteration of the loop and by `b` one to `distance` iterations later.
    /// False where that cannot be told. `shape`: that of the buffer, whose bounds no access of one element leaves.
    ///
    /// Three arguments: an index grows or falls by more than the loops inside move it; so does the position in the buffer
    /// in some order of its dimensions; or, for a constant number of iterations, each has a box (or elements) of its own.
    public func iterationsAreApart(
        _ a: LoopAccess, _ b: LoopAccess, loop: Var, range: IRRange, distance: Int, shape: [PrimExpr]
    ) -> Bool {
        guard loop.dtype == .index else { return false }
        var distance = distance
        if let n = range.extent.asInt { distance = Swift.min(distance, n - 1) }
        if distance < 1 { return true }
        guard a.box.count == b.box.count, !a.box.isEmpty else { return false }
        return scope {
            bind(loop, range)
            let later = Var("later", type: loop.type)
            bind(later, IRRange(min: IntImm(1), extent: IntImm(distance)))
            let next = b.renamed([loop: loop + later])
            var domains: [Var: IntervalSet] = [
                later: IntervalSet(IntImm(1), IntImm(distance))
            ]
            for l in a.loops + next.loops {
                bind(l.variable, l.range)
                domains[l.variable] = IntervalSet(l.range)
            }
            func moves(_ d: PrimExpr, _ width: PrimExpr, _ other: PrimExpr) -> Bool {
                // b begins behind a's end, or ends before a's begin.
                let ahead = evalSet(d - width, domains)
                if let lo = ahead.min, canProve(lo .>= IntImm(1)) { return true }
                let behind = evalSet(d + other, domains)
                if let hi = behind.max, canProve(hi .<= IntImm(-1)) { return true }
                return false
            }
            for (x, y) in zip(a.box, next.box) {
                guard let x, let y, x.min.dtype == .index, y.min.dtype == .index else { continue }
                if moves(y.min - x.min, x.extent - 1, y.extent - 1) { return true }
            }
            if let differences = positionDifferences(a, next, shape),
                differences.contains(where: { moves($0, IntImm(0), IntImm(0)) })
            {
                return true
            }
            return eachApart(a, b, loop, range, distance)
        }
    }

    /// By how far element `b` lies behind element `a`, the dimensions of the buffer being laid out in each order.
    private func positionDifferences(_ a: LoopAccess, _ b: LoopAccess, _ shape: [PrimExpr]) -> [PrimExpr]? {
        guard (2...4).contains(a.box.count), shape.count == a.box.count else { return nil }
        var points: [(PrimExpr, PrimExpr)] = []
        for (x, y) in zip(a.box, b.box) {
            guard let x, let y, x.extent.asInt == 1, y.extent.asInt == 1, x.min.dtype == .index,
                y.min.dtype == .index
            else { return nil }
            points.append((x.min, y.min))
        }
        var result: [PrimExpr] = []
        func place(_ left: [Int], _ x: PrimExpr, _ y: PrimExpr) {
            if left.isEmpty { result.append(simplify(simplify(y) - simplify(x))) }
            for d in left {
                place(
                    left.filter { $0 != d }, x * shape[d] + points[d].0, y * shape[d] + points[d].1)
            }
        }
        place(Array(shape.indices), IntImm(0), IntImm(0))
        return result
    }

    // MARK: One by one

    private func eachApart(_ a: LoopAccess, _ b: LoopAccess, _ loop: Var, _ range: IRRange, _ distance: Int)
        -> Bool
    {
        guard let n = range.extent.asInt, n <= 256, n * distance <= 1024 else { return false }
        func at(_ x: LoopAccess, _ i: Int) -> LoopAccess? {
            let there = x.renamed([loop: simplify(range.min + i)])
            return there.conditions.contains { simplify($0).isFalse } ? nil : there
        }
        let first = (0..<n).map { at(a, $0) }
        let second = (0..<n).map { at(b, $0) }
        if let x = elements(first), let y = elements(second) {
            return (0..<n).allSatisfy { i in
                (i + 1..<Swift.max(i + 1, Swift.min(i + 1 + distance, n))).allSatisfy {
                    x[i].isDisjoint(with: y[$0])
                }
            }
        }
        let x = first.map { $0.map { box($0) } }
        let y = second.map { $0.map { box($0) } }
        for i in 0..<n {
            guard let p = x[i] else { continue }
            for j in i + 1..<Swift.max(i + 1, Swift.min(i + 1 + distance, n)) {
                guard let q = y[j] else { continue }
                let apart = zip(p, q).contains { s, t in
                    if s.isNothing || t.isNothing { return true }
                    if let hi = s.max, let lo = t.min, canProve(hi .< lo) { return true }
                    if let hi = t.max, let lo = s.min, canProve(hi .< lo) { return true }
                    return false
                }
                if !apart { return false }
            }
        }
        return true
    }

    /// The box that the access covers while its loops run.
    private func box(_ a: LoopAccess) -> [IntervalSet] {
        var domains: [Var: IntervalSet] = [:]
        for l in a.loops {
            bind(l.variable, l.range)
            domains[l.variable] = IntervalSet(l.range)
        }
        return a.box.map { r in
            guard let r, r.min.dtype == .index else { return .everything }
            return evalSet(r, domains)
        }
    }

    /// The elements of each iteration, listed; nil where they are too many or depend on what is not constant.
    private func elements(_ list: [LoopAccess?]) -> [Set<[Int]>]? {
        var budget = 1 << 13
        var result: [Set<[Int]>] = []
        for a in list {
            guard let a else {
                result.append([])
                continue
            }
            var points: Set<[Int]> = []
            func visit(_ k: Int, _ env: [Var: PrimExpr]) -> Bool {
                if k < a.loops.count {
                    let r = a.loops[k].range
                    guard let lo = simplify(substitute(r.min, env)).asInt,
                        let n = simplify(substitute(r.extent, env)).asInt, n <= budget
                    else { return false }
                    var env = env
                    for i in 0..<Swift.max(n, 0) {
                        env[a.loops[k].variable] = IntImm(lo + i)
                        if !visit(k + 1, env) { return false }
                    }
                    return true
                }
                budget -= 1
                if budget < 0 { return false }
                if a.conditions.contains(where: { simplify(substitute($0, env)).isFalse }) { return true }
                var point: [Int] = []
                for r in a.box {
                    guard let r, r.extent.asInt == 1, let i = simplify(substitute(r.min, env)).asInt else {
                        return false
                    }
                    point.append(i)
                }
                points.insert(point)
                return true
            }
            if !visit(0, [:]) { return nil }
            result.append(points)
        }
        return result
    }
}
