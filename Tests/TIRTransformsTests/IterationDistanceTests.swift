import ApusArith
import ApusIR
import ApusNode
import ApusSupport
import ApusTIR
import ApusTestSupport
import Testing

@Suite struct IterationDistanceTests {
    private let i = Var("i")
    private let j = Var("j")

    private func access(_ indices: [PrimExpr], inner: Int = 1, where condition: PrimExpr? = nil) -> LoopAccess
    {
        LoopAccess(
            box: indices.map { IRRange(min: $0, extent: IntImm(1)) },
            loops: inner == 1 ? [] : [(variable: j, range: IRRange(extent: IntImm(inner)))],
            conditions: condition.map { [$0] } ?? [])
    }
    private func apart(
        _ a: LoopAccess, _ b: LoopAccess, _ extent: PrimExpr, _ distance: Int, shape: [Int]
    ) -> Bool {
        Analyzer().iterationsAreApart(
            a, b, loop: i, range: IRRange(extent: extent), distance: distance, shape: shape.map { IntImm($0) }
        )
    }

    @Test func tilesBySteps() {
        let tile = access([i * 4 + j], inner: 4)
        let wide = access([i * 4 + j], inner: 5)
        let n = Var("n")
        #expect(apart(tile, tile, n, 3, shape: [1000]))
        #expect(!apart(wide, wide, n, 1, shape: [1000]))
        // A reader of the element before, one iteration later or two.
        let before = access([i * 4 - 1])
        #expect(!apart(tile, before, n, 1, shape: [1000]))
        #expect(apart(access([i * 4]), before, n, 8, shape: [1000]))
    }

    @Test func quotientsAndRemainders() {
        let p = access([floorDiv(i, 5), floorMod(i, 5)])
        #expect(apart(p, p, IntImm(20), 19, shape: [4, 5]))
        let q = access([floorMod(i, 2), floorDiv(i, 2)])
        #expect(apart(q, q, IntImm(14), 13, shape: [2, 7]))
        #expect(apart(q, q, IntImm(14), 13, shape: [9, 9]))
        #expect(!apart(access([floorDiv(i, 2)]), access([floorDiv(i, 2)]), IntImm(14), 1, shape: [7]))
        #expect(apart(access([IntImm(0)]), access([IntImm(0)]), IntImm(1), 1, shape: [1]))
    }

    @Test("an iteration that a condition leaves out meets nothing")
    func conditions() {
        let p = access([IntImm(0)], where: i .< 1)
        #expect(apart(p, p, IntImm(2), 1, shape: [1]))
        #expect(apart(access([IntImm(0)]), p, IntImm(2), 1, shape: [1]))
        #expect(!apart(p, access([IntImm(0)]), IntImm(2), 1, shape: [1]))
    }

    /// What is said to be apart is, by looking at each element.
    @Test func fuzzAgainstEnumeration() throws {
        let run = FuzzRun("arith.iterations", cases: 400)
        var differences = 0
        var proved = 0
        var possible = 0
        while let seed = run.next() {
            var r = SeededRandom(seed: seed)
            let (n, inner) = (1 + r.below(9), 1 + r.below(3))
            func index() -> PrimExpr {
                var e: PrimExpr = i * (r.below(5) - 1) + j * r.below(3) + r.below(4)
                if r.below(3) == 0 { e = floorDiv(e, 1 + r.below(4)) }
                if r.below(3) == 0 { e = floorMod(e, 1 + r.below(5)) }
                return e
            }
            let rank = 1 + r.below(2)
            let (a, b) = ((0..<rank).map { _ in index() }, (0..<rank).map { _ in index() })
            let second = r.below(2) == 0 ? a : b
            let distance = 1 + r.below(4)
            func elements(_ list: [PrimExpr], _ at: Int) -> Set<[Int]> {
                Set((0..<inner).map { k in list.map { evaluate($0, [i: at, j: k]) ?? .min } })
            }
            var apart = true
            for p in 0..<n {
                for q in p + 1..<max(p + 1, min(n, p + distance + 1))
                where !elements(a, p).isDisjoint(with: elements(second, q)) { apart = false }
            }
            // The bounds of the buffer are what the accesses reach: they may be used in a proof.
            let reach = (0..<rank).map { d in
                (0..<n).flatMap { p in elements(a, p).union(elements(second, p)).map { $0[d] } }
            }
            if reach.contains(where: { ($0.min() ?? 0) < 0 }) { continue }
            let shape = reach.map { ($0.max() ?? 0) + 1 }
            let said = self.apart(
                access(a, inner: inner), access(second, inner: inner), IntImm(n), distance, shape: shape)
            if apart { possible += 1 }
            if said { proved += 1 }
            if said && !apart {
                differences += 1
                Issue.record("seed \(seed): \(a) and \(second), \(n) iterations, distance \(distance)")
            }
        }
        run.finish(differences: differences, "proved \(proved) of \(possible)")
    }
}
