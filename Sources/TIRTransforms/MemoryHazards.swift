import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// One access of memory by a statement, as what ThreadSync asks about it.
final class MemoryAccess {
    /// A loop or vector lane that the access runs through.
    struct Loop {
        let variable: Var
        let min: PrimExpr
        let extent: PrimExpr
    }

    let buffer: Buffer
    let isWrite: Bool
    /// Offset from the data pointer in bytes; nil = anywhere.
    let offset: PrimExpr?
    /// Bytes.
    let width: Int
    /// Loops around it within the kernel, outermost first.
    let loops: [Loop]
    /// Conditions under which it happens: integer arithmetic only.
    let conditions: [PrimExpr]

    init(
        _ buffer: Buffer, isWrite: Bool, offset: PrimExpr?, width: Int, loops: [Loop], conditions: [PrimExpr]
    ) {
        self.buffer = buffer
        self.isWrite = isWrite
        self.offset = offset
        self.width = width
        self.loops = loops
        self.conditions = conditions
    }
}

/// Tells whether two accesses by *different* threads may touch the same byte.
///
/// Three arguments, from cheap to dear: the intervals of all threads are disjoint; the offset is linear in the thread
/// axes and each thread owns a range of bytes of its own; or, for constant extents, every thread's bytes are listed.
final class HazardAnalysis {
    /// The axes whose threads are told apart; extents may be symbolic.
    let threads: [MemoryAccess.Loop]
    private let analyzer: Analyzer
    /// Most points that are listed for a pair.
    private let limit = 1 << 15

    init(threads: [MemoryAccess.Loop], analyzer: Analyzer) {
        self.threads = threads.filter { $0.extent.asInt != 1 }
        self.analyzer = analyzer
        for t in threads { analyzer.bind(t.variable, IRRange(min: t.min, extent: t.extent)) }
    }

    /// Whether `a` of one thread and `b` of another may meet. `common`: loop variables that have one value for both.
    /// `carried`: a loop around both; `b` happens in a later iteration of it than `a`: in the next one, or in any.
    func conflict(
        _ a: MemoryAccess, _ b: MemoryAccess, common: Set<Var>,
        carried: (loop: MemoryAccess.Loop, next: Bool)? = nil
    ) -> Bool {
        guard a.buffer.data === b.buffer.data, a.isWrite || b.isWrite, !threads.isEmpty else { return false }
        guard let x = a.offset, let y = b.offset else { return true }
        var side = Pair(first: x, second: y, width: (a.width, b.width))
        side.conditions = (a.conditions, b.conditions)
        // What is not common belongs to each of the two alone: the second one's get names of their own.
        for l in a.loops where !common.contains(l.variable) && l.variable !== carried?.loop.variable {
            side.inner.0.append(l)
        }
        var renamed: [Var: PrimExpr] = [:]
        func fresh(_ l: MemoryAccess.Loop) -> MemoryAccess.Loop {
            let v = Var(l.variable.name, type: l.variable.type)
            let new = MemoryAccess.Loop(
                variable: v, min: substitute(l.min, renamed), extent: substitute(l.extent, renamed))
            renamed[l.variable] = v
            return new
        }
        for t in threads { side.threads.append(fresh(t)) }
        for l in b.loops where !common.contains(l.variable) && l.variable !== carried?.loop.variable {
            side.inner.1.append(fresh(l))
        }
        if let carried {
            let l = carried.loop
            if carried.next {
                renamed[l.variable] = l.variable + 1
            } else {
                let later = Var("later", type: l.variable.type)
                side.inner.1.append(
                    MemoryAccess.Loop(
                        variable: later, min: IntImm(1, dtype: later.dtype), extent: l.extent - 1))
                renamed[l.variable] = l.variable + later
            }
            analyzer.bind(l.variable, IRRange(min: l.min, extent: l.extent))
        }
        for l in a.loops where common.contains(l.variable) {
            analyzer.bind(l.variable, IRRange(min: l.min, extent: l.extent))
        }
        for l in side.threads + side.inner.0 + side.inner.1 {
            analyzer.bind(l.variable, IRRange(min: l.min, extent: l.extent))
        }
        side.second = substitute(y, renamed)
        side.conditions.1 = b.conditions.map { substitute($0, renamed) }
        return periods(side).contains { meets($0) }
    }

    private struct Pair {
        var first: PrimExpr
        var second: PrimExpr
        var width: (Int, Int)
        /// The second one's thread axes, in the order of `threads`.
        var threads: [MemoryAccess.Loop] = []
        var inner: ([MemoryAccess.Loop], [MemoryAccess.Loop]) = ([], [])
        var conditions: ([PrimExpr], [PrimExpr]) = ([], [])

        func substituting(_ map: [Var: PrimExpr]) -> Pair {
            var p = self
            p.first = substitute(first, map)
            p.second = substitute(second, map)
            p.conditions = (
                conditions.0.map { substitute($0, map) }, conditions.1.map { substitute($0, map) }
            )
            return p
        }
    }

    /// Splits on the remainders of common variables that occur under `%` or `//`, as double buffering makes them: with
    /// v = period * q + r, the remainders become constants.
    private func periods(_ p: Pair) -> [Pair] {
        let own = Set((threads + p.threads + p.inner.0 + p.inner.1).map(\.variable))
        var found: [(variable: Var, period: Int)] = []
        for e in [p.first, p.second] {
            postOrderVisit(e) { x in
                guard x.kind == .floorMod || x.kind == .floorDiv, let op = x as? BinaryExpr,
                    let c = op.b.asInt,
                    c > 1, c <= 16
                else { return }
                postOrderVisit(op.a) { y in
                    guard let v = y as? Var, !own.contains(v) else { return }
                    if let i = found.firstIndex(where: { $0.variable === v }) {
                        found[i].period = lcm(found[i].period, c) ?? c
                    } else {
                        found.append((variable: v, period: c))
                    }
                }
            }
        }
        var result = [p]
        for (v, period) in found where period <= 16 && result.count * period <= 64 {
            let q = Var("q", type: v.type)
            analyzer.bindShapeVariable(q)
            result = result.flatMap { pair in
                (0..<period).map { r in pair.substituting([v: q * period + r]) }
            }
        }
        return result
    }

    private func meets(_ p: Pair) -> Bool {
        !disjoint(p) && !owned(p) && !listedApart(p)
    }

    private func domains(_ lists: [MemoryAccess.Loop]...) -> [Var: IntervalSet] {
        var map: [Var: IntervalSet] = [:]
        for l in lists.joined() { map[l.variable] = IntervalSet(IRRange(min: l.min, extent: l.extent)) }
        return map
    }

    /// All threads' bytes of one lie before all threads' bytes of the other.
    private func disjoint(_ p: Pair) -> Bool {
        let difference = analyzer.simplify(p.first - p.second)
        let set = analyzer.evalSet(difference, domains(threads, p.threads, p.inner.0, p.inner.1))
        if let lo = set.min, analyzer.canProveGreaterEqual(lo, p.width.1) { return true }
        if let hi = set.max, analyzer.canProveGreaterEqual(IntImm(-p.width.0), hi) { return true }
        return false
    }

    /// offset = sum of c_i * t_i + rest for both, with rests that differ by less than the least distance of two
    /// threads: what one touches, only it touches.
    private func owned(_ p: Pair) -> Bool {
        var first = analyzer.simplify(p.first)
        var second = analyzer.simplify(p.second)
        var steps: [(step: Int, extent: Int)] = []
        for (t, u) in zip(threads, p.threads) {
            guard let n = t.extent.asInt, let (c, rest) = analyzer.linearCoefficient(first, of: t.variable),
                let (d, other) = analyzer.linearCoefficient(second, of: u.variable), c == d, c != 0, c != .min
            else { return false }
            first = rest
            second = other
            steps.append((step: abs(c), extent: n))
        }
        steps.sort { $0.step < $1.step }
        // The least |sum of c_i * d_i| for d != 0, by the axis of the highest step that differs.
        var gap = Int.max
        var below = 0
        for s in steps {
            gap = min(gap, s.step - below)
            let (reach, overflow) = s.step.multipliedReportingOverflow(by: s.extent - 1)
            let (sum, more) = below.addingReportingOverflow(reach)
            if overflow || more { return false }
            below = sum
        }
        let set = analyzer.evalSet(analyzer.simplify(first - second), domains(p.inner.0, p.inner.1))
        guard let lo = set.min?.asInt, let hi = set.max?.asInt, lo > Int.min / 2, hi < Int.max / 2 else {
            return false
        }
        return gap - max(abs(lo), abs(hi)) >= max(p.width.0, p.width.1)
    }

    /// Lists the bytes of each thread, where all extents are constants and what is left cancels.
    private func listedApart(_ p: Pair) -> Bool {
        let first = points(p.first, threads + p.inner.0, p.conditions.0, threads.count)
        let second = points(p.second, p.threads + p.inner.1, p.conditions.1, threads.count)
        guard let first, let second,
            let shift = analyzer.simplify(first.origin - second.origin).asInt
        else { return false }
        // The owner of each byte of the first; -1 = more than one thread.
        var owner: [Int: Int] = [:]
        for (thread, at) in first.list {
            for byte in at..<(at + p.width.0) {
                if let known = owner[byte], known != thread { owner[byte] = -1 } else { owner[byte] = thread }
            }
        }
        for (thread, at) in second.list {
            for byte in (at - shift)..<(at - shift + p.width.1) {
                if let known = owner[byte], known != thread { return false }
            }
        }
        return true
    }

    /// The offsets relative to `origin` with the thread that each belongs to; nil where they depend on anything else or
    /// are too many.
    private func points(
        _ e: PrimExpr, _ loops: [MemoryAccess.Loop], _ conditions: [PrimExpr], _ threadCount: Int
    ) -> (origin: PrimExpr, list: [(thread: Int, offset: Int)])? {
        var ranges: [(variable: Var, min: Int, extent: Int)] = []
        var total = 1
        for l in loops {
            guard let lo = l.min.asInt, let n = l.extent.asInt else { return nil }
            ranges.append((variable: l.variable, min: lo, extent: n))
            let (t, overflow) = total.multipliedReportingOverflow(by: max(n, 1))
            if overflow || t > limit { return nil }
            total = t
        }
        var start: [Var: PrimExpr] = [:]
        for r in ranges { start[r.variable] = IntImm(r.min, dtype: r.variable.dtype) }
        let origin = analyzer.simplify(substitute(e, start))
        let relative = analyzer.simplify(e - origin)
        let own = Set(ranges.map(\.variable))
        func closed(_ x: PrimExpr) -> Bool {
            var ok = true
            postOrderVisit(x) { y in
                if y.kind == .bufferLoad || y.kind == .call { ok = false }
                if let v = y as? Var, !own.contains(v) { ok = false }
            }
            return ok
        }
        guard closed(relative) else { return nil }
        let known = conditions.filter { closed($0) }
        var values: [Var: Int] = [:]
        var list: [(thread: Int, offset: Int)] = []
        if ranges.contains(where: { $0.extent <= 0 }) { return (origin: origin, list: []) }
        var at = ranges.map { _ in 0 }
        var threadStride = 1
        for r in ranges.dropFirst(threadCount) { threadStride *= r.extent }
        for i in 0..<total {
            var rest = i
            for k in ranges.indices.reversed() {
                at[k] = rest % ranges[k].extent
                rest /= ranges[k].extent
                values[ranges[k].variable] = ranges[k].min + at[k]
            }
            if known.contains(where: { evaluate($0, values) == 0 }) { continue }
            guard let offset = evaluate(relative, values) else { return nil }
            list.append((thread: i / threadStride, offset: offset))
        }
        return (origin: origin, list: list)
    }
}
