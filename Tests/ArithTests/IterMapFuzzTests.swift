import ApusArith
import ApusIR
import ApusRuntime
import ApusTIR
import ApusTestSupport
import Testing

/// Random maps against all points of their domain: what is called bijective is, the inverse inverts, divisions
/// recombine, exact regions are exact.
@Suite struct IterMapFuzz {
    struct Case {
        var inputs: [(variable: Var, range: IRRange)] = []
        var boxes: [ClosedRange<Int>] = []
        var indices: [PrimExpr] = []
        var predicate: PrimExpr = trueExpr
        var points: [[Var: Int]] = []

        init(_ r: inout SeededRandom) {
            let extents = [1, 2, 3, 4, 6, 8, 12]
            for name in ["i", "j", "k"].prefix(1 + r.below(3)) {
                let lo = r.below(3) == 0 ? r.below(9) - 4 : 0
                let n = extents[r.below(extents.count)]
                inputs.append((variable: Var(name), range: IRRange(lo, extent: n)))
                boxes.append(lo...(lo + n - 1))
            }
            // Pools of digits: start with the variables, fuse and split at random.
            var pool: [(e: PrimExpr, n: Int)] = inputs.indices.map {
                (e: inputs[$0].variable - inputs[$0].range.min, n: boxes[$0].count)
            }
            for _ in 0..<r.below(5) {
                let at = r.below(pool.count)
                if r.below(2) == 0, pool.count > 1 {
                    let a = pool.remove(at: at)
                    let b = pool.remove(at: r.below(pool.count))
                    let step = r.below(8) == 0 ? b.n + r.below(3) - 1 : b.n
                    pool.append((e: a.e * step + b.e, n: a.n * b.n))
                } else {
                    let a = pool.remove(at: at)
                    let c =
                        r.below(6) == 0 ? 1 + r.below(5) : [2, 3, 4, 6].filter { a.n % $0 == 0 }.first ?? 2
                    pool.append((e: floorDiv(a.e, c), n: (a.n + c - 1) / c))
                    pool.append((e: floorMod(a.e, c), n: min(c, a.n)))
                }
            }
            let fused = pool[r.below(pool.count)]
            if r.below(3) == 0 {
                let kinds: [PrimExprKind] = [.lt, .le, .gt, .ge]
                let c = BinaryExpr.raw(kinds[r.below(4)], fused.e, IntImm(r.below(fused.n + 1)))
                predicate = r.below(3) == 0 ? And(c, LT(pool[0].e, IntImm(1 + r.below(pool[0].n)))) : c
            }
            for p in pool where r.below(8) != 0 {
                let k = [1, 1, 1, 2, -1][r.below(5)]
                indices.append(p.e * k + (r.below(3) == 0 ? r.below(7) - 3 : 0))
            }
            if r.below(10) == 0, let e = indices.first { indices.append(e) }
            if r.below(6) == 0, indices.count > 1 { indices[0] = indices[0] + indices[1] * (1 + r.below(3)) }
            walk(0, [:])
        }

        private mutating func walk(_ at: Int, _ p: [Var: Int]) {
            if at == inputs.count {
                if evaluate(predicate, p) == 1 { points.append(p) }
                return
            }
            for x in boxes[at] {
                var q = p
                q[inputs[at].variable] = x
                walk(at + 1, q)
            }
        }

        func image(_ p: [Var: Int]) -> [Int] { indices.map { evaluate($0, p) ?? Int.min } }
    }

    /// How many values all combinations of what each index takes have, against how many combinations occur.
    static func isBox(_ images: Set<[Int]>, _ count: Int) -> Bool {
        var product = 1
        for d in 0..<count { product *= Set(images.map { $0[d] }).count }
        return product == images.count
    }

    @Test func maps() {
        let run = FuzzRun("arith.itermap", cases: 300)
        var wrong = 0
        var counts = [0, 0, 0, 0, 0]
        while let seed = run.next() {
            var r = SeededRandom(seed: seed)
            let c = Case(&r)
            let a = Analyzer()
            // With and without the analyzer knowing the ranges.
            if r.below(3) == 0 { for i in c.inputs { a.bind(i.variable, i.range) } }
            func fail(_ what: String) {
                wrong += 1
                let ins = c.inputs.map { "\($0.variable.name): \($0.range)" }
                Issue.record("seed \(seed): \(what): \(c.indices) over \(ins) where \(c.predicate)")
            }
            let images = Set(c.points.map { c.image($0) })
            for level in [IterMapLevel.noCheck, .surjective, .bijective] {
                let m = a.detectIterMap(c.indices, inputs: c.inputs, predicate: c.predicate, level: level)
                if !m.isDetected { continue }
                let back = m.indices.map { a.expression($0) }
                for p in c.points where back.map({ evaluate($0, p) }) != c.image(p) {
                    fail("\(back) is another map at \(p.map { "\($0.key.name) = \($0.value)" })")
                    break
                }
                switch level {
                case .noCheck: counts[0] += 1
                case .surjective:
                    counts[1] += 1
                    if !Self.isBox(images, c.indices.count) { fail("not surjective") }
                    for (d, s) in m.indices.enumerated() {
                        let want = s.args.reduce(1) { $0 * ($1.extent.asInt ?? -1) }
                        let have = Set(images.map { $0[d] }).count
                        if !c.points.isEmpty && want != have {
                            fail("index \(d) has \(have) values, not \(want)")
                        }
                    }
                case .bijective:
                    counts[2] += 1
                    if images.count != c.points.count { fail("not injective") }
                    let outputs = c.indices.indices.map { Var("o\($0)") }
                    guard let inverse = a.inverseAffineIterMap(m.indices, outputs) else {
                        fail("no inverse")
                        continue
                    }
                    for p in c.points {
                        var q: [Var: Int] = [:]
                        for (o, x) in zip(outputs, c.image(p)) { q[o] = x }
                        for (v, e) in inverse where evaluate(e, q) != p[v] {
                            fail("the inverse gives \(v.name) = \(e), not \(p[v] ?? 0) for \(c.image(p))")
                        }
                        let known = Set(inverse.map(\.variable))
                        for (i, box) in zip(c.inputs, c.boxes)
                        where !known.contains(i.variable) && box.count > 1 {
                            // Only a condition can leave one value of it.
                            if Set(c.points.map { $0[i.variable] }).count > 1 {
                                fail("\(i.variable.name) is lost")
                            }
                        }
                    }
                }
            }
            let simple = a.iterMapSimplify(c.indices, inputs: c.inputs, predicate: c.predicate)
            for p in c.points where simple.map({ evaluate($0, p) }) != c.image(p) {
                fail("simplified to \(simple)")
                break
            }
            let sub = c.inputs.map(\.variable).filter { _ in r.below(2) == 0 }
            if let d = a.subspaceDivide(c.indices, inputs: c.inputs, subIters: sub, predicate: c.predicate) {
                counts[3] += 1
                let parts = d.indices.map { (o: a.expression($0.outer), i: a.expression($0.inner), d: $0) }
                let outerOnly = Set(c.inputs.map(\.variable)).subtracting(sub)
                for p in parts where uses(p.o, Set(sub)) || uses(p.i, outerOnly) {
                    fail("\(p.o), \(p.i) mix the spaces")
                }
                for p in c.points {
                    for (x, want) in zip(parts, c.image(p)) {
                        guard let o = evaluate(x.o, p), let i = evaluate(x.i, p),
                            let n = x.d.inner.extent.asInt,
                            let top = x.d.outer.extent.asInt, let k = x.d.scale.asInt, let b = x.d.base.asInt
                        else {
                            fail("no value of \(x.o), \(x.i)")
                            continue
                        }
                        if (o * n + i) * k + b != want || i < 0 || i >= n || o < 0 || o >= top {
                            fail("(\(x.o)) * \(n) + \(x.i) is not \(want)")
                        }
                    }
                    if evaluate(and(d.outerPredicate, d.innerPredicate), p) != 1 {
                        fail("the predicate is another")
                    }
                }
            }
            regions(c, a, &r, &counts, fail)
        }
        run.finish(
            differences: wrong,
            "sums \(counts[0]) surjective \(counts[1]) bijective \(counts[2]) divided \(counts[3]) exact \(counts[4])"
        )
    }

    private func regions(
        _ c: Case, _ a: Analyzer, _ r: inout SeededRandom, _ counts: inout [Int], _ fail: (String) -> Void
    ) {
        if c.points.isEmpty || c.indices.isEmpty || c.indices.count > 3 { return }
        let widths = c.indices.map { _ in 1 + r.below(3) }
        let region = zip(c.indices, widths).map { IRRange(min: $0, extent: IntImm($1)) }
        var touched: Set<[Int]> = []
        func fill(_ start: [Int], _ at: Int, _ p: [Int]) {
            if at == start.count {
                touched.insert(p)
                return
            }
            for x in start[at]..<(start[at] + widths[at]) { fill(start, at + 1, p + [x]) }
        }
        for start in Set(c.points.map { c.image($0) }) { fill(start, 0, []) }
        let hull = c.indices.indices.map { d in
            let list = touched.map { $0[d] }
            return (low: list.min() ?? 0, high: list.max() ?? 0, count: Set(list).count)
        }
        func ends(_ s: IntervalSet) -> (Int?, Int?) {
            (s.min.flatMap { evaluate($0, [:]) }, s.max.flatMap { evaluate($0, [:]) })
        }
        if let exact = a.estimateRegionLowerBound(region, c.inputs, predicate: c.predicate) {
            counts[4] += 1
            var size = 1
            for (s, h) in zip(exact, hull) {
                let e = ends(s)
                if e.0 != h.low || e.1 != h.high { fail("\(s) is not \(h)") }
                size *= h.high - h.low + 1
            }
            if size != touched.count { fail("the box \(exact) has points that are not touched") }
        }
        if let strict = a.estimateRegionStrictBound(region, c.inputs, predicate: c.predicate) {
            for (s, h) in zip(strict, hull) {
                let e = ends(s)
                if e.0 != h.low || e.1 != h.high || h.count != h.high - h.low + 1 {
                    fail("\(s) is not strictly \(h)")
                }
            }
        }
        let upper = a.estimateRegionUpperBound(region, c.inputs, predicate: c.predicate)
        for (s, h) in zip(upper, hull) {
            let e = ends(s)
            if e.0 ?? Int.min > h.low || e.1 ?? Int.max < h.high { fail("\(s) leaves out some of \(h)") }
        }
    }
}
