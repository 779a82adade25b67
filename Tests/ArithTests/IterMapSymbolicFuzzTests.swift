import ApusArith
import ApusIR
import ApusRuntime
import ApusTIR
import ApusTestSupport
import Testing

/// Random maps whose extents and steps speak of a parameter, against all points for several values of it: what is
/// detected for every value holds for each.
@Suite struct IterMapSymbolicFuzz {
    static let n = Var("n")

    struct Case {
        var inputs: [(variable: Var, range: IRRange)] = []
        var indices: [PrimExpr] = []
        var predicate: PrimExpr = trueExpr

        init(_ r: inout SeededRandom) {
            let n = IterMapSymbolicFuzz.n
            let extents: [PrimExpr] = [n, n * 2, n * 4, IntImm(2), IntImm(4), n + 1, n * n]
            for name in ["i", "j", "k"].prefix(1 + r.below(3)) {
                let low: PrimExpr = r.below(4) == 0 ? n - 2 : IntImm(0)
                inputs.append((variable: Var(name), range: IRRange(min: low, extent: extents[r.below(7)])))
            }
            var pool = inputs.map { (e: $0.variable - $0.range.min, n: $0.range.extent) }
            for _ in 0..<r.below(4) {
                let a = pool.remove(at: r.below(pool.count))
                if r.below(2) == 0, !pool.isEmpty {
                    let b = pool.remove(at: r.below(pool.count))
                    pool.append((e: a.e * b.n + b.e, n: a.n * b.n))
                } else {
                    let c: PrimExpr = [n, IntImm(2), IntImm(4), n * 2][r.below(4)]
                    pool.append((e: floorDiv(a.e, c), n: floorDiv(a.n + c - 1, c)))
                    pool.append((e: floorMod(a.e, c), n: c))
                }
            }
            if r.below(4) == 0 {
                let p = pool[r.below(pool.count)]
                let limit: PrimExpr = [n, n * 2 - 1, IntImm(3), p.n - 1][r.below(4)]
                predicate = r.below(2) == 0 ? LT(p.e, limit) : GE(p.e, limit - n)
            }
            for p in pool where r.below(8) != 0 {
                let k: PrimExpr = [IntImm(1), IntImm(1), n, IntImm(-1)][r.below(4)]
                indices.append(p.e * k + (r.below(3) == 0 ? n : IntImm(0)))
            }
        }

        func points(_ n: Int) -> [[Var: Int]] {
            var list: [[Var: Int]] = [[IterMapSymbolicFuzz.n: n]]
            for i in inputs {
                list = list.flatMap { p -> [[Var: Int]] in
                    let low = evaluate(i.range.min, p) ?? 0
                    return (low..<(low + (evaluate(i.range.extent, p) ?? 0))).map { x in
                        var q = p
                        q[i.variable] = x
                        return q
                    }
                }
            }
            return list.filter { evaluate(predicate, $0) == 1 }
        }

        func image(_ p: [Var: Int]) -> [Int] { indices.map { evaluate($0, p) ?? Int.min } }
    }

    @Test func maps() {
        let run = FuzzRun("arith.itermap.symbolic", cases: 100)
        var wrong = 0
        var counts = [0, 0, 0, 0]
        while let seed = run.next() {
            var r = SeededRandom(seed: seed)
            let c = Case(&r)
            let a = Analyzer()
            a.bindShapeVariable(Self.n, atLeast: 1)
            func fail(_ what: String) {
                wrong += 1
                let ins = c.inputs.map { "\($0.variable.name): \($0.range)" }
                Issue.record("seed \(seed): \(what): \(c.indices) over \(ins) where \(c.predicate)")
            }
            let onto = a.detectIterMap(c.indices, inputs: c.inputs, predicate: c.predicate)
            let exact = a.detectIterMap(
                c.indices, inputs: c.inputs, predicate: c.predicate, level: .bijective)
            let outputs = c.indices.indices.map { Var("o\($0)") }
            let inverse = exact.isDetected ? a.inverseAffineIterMap(exact.indices, outputs) : nil
            if exact.isDetected && inverse == nil { fail("no inverse") }
            let sub = c.inputs.map(\.variable).filter { _ in r.below(2) == 0 }
            let divided = a.subspaceDivide(c.indices, inputs: c.inputs, subIters: sub, predicate: c.predicate)
            let region = c.indices.map { IRRange(min: $0, extent: IntImm(1)) }
            let box = a.estimateRegionLowerBound(region, c.inputs, predicate: c.predicate)
            let back = onto.indices.map { a.expression($0) }
            counts[0] += onto.isDetected ? 1 : 0
            counts[1] += exact.isDetected ? 1 : 0
            counts[2] += divided == nil ? 0 : 1
            counts[3] += box == nil ? 0 : 1
            for n in 1...3 {
                let points = c.points(n)
                let images = Set(points.map { c.image($0) })
                // A domain that turns out empty fulfils anything.
                if points.isEmpty { continue }
                if onto.isDetected {
                    if !IterMapFuzz.isBox(images, c.indices.count) { fail("not surjective at n = \(n)") }
                    if points.contains(where: { p in back.map { evaluate($0, p) } != c.image(p) }) {
                        fail("\(back) is another map at n = \(n)")
                    }
                }
                if exact.isDetected && images.count != points.count { fail("not injective at n = \(n)") }
                for p in points {
                    var q = [Self.n: n]
                    for (o, x) in zip(outputs, c.image(p)) { q[o] = x }
                    for (v, e) in inverse ?? [] where evaluate(e, q) != p[v] {
                        fail("\(v.name) = \(e) is wrong at \(n)")
                    }
                    for (d, want) in zip(divided?.indices ?? [], c.image(p)) {
                        let e =
                            (a.expression(d.outer) * d.inner.extent + a.expression(d.inner)) * d.scale
                            + d.base
                        if evaluate(e, p) != want { fail("\(e) is not \(want) at n = \(n)") }
                    }
                }
                guard let box else { continue }
                var size = 1
                for (at, s) in box.enumerated() {
                    let list = images.map { $0[at] }
                    let low = s.min.flatMap { evaluate($0, [Self.n: n]) }
                    let high = s.max.flatMap { evaluate($0, [Self.n: n]) }
                    if low != list.min() || high != list.max() { fail("\(s) is not exact at n = \(n)") }
                    size *= (list.max() ?? 0) - (list.min() ?? 0) + 1
                }
                if size != images.count { fail("the box \(box) has holes at n = \(n)") }
            }
        }
        run.finish(
            differences: wrong,
            "surjective \(counts[0]) bijective \(counts[1]) divided \(counts[2]) exact \(counts[3])")
    }
}
