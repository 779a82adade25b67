import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTestSupport
import Testing

@Suite struct SmithNormalFormTests {
    static func times(_ a: [[Int]], _ b: [[Int]]) -> [[Int]] {
        a.map { row in
            (0..<(b.first?.count ?? 0)).map { j in row.indices.reduce(0) { $0 + row[$1] * b[$1][j] } }
        }
    }
    /// By expansion: the matrices are tiny.
    static func determinant(_ a: [[Int]]) -> Int {
        if a.isEmpty { return 1 }
        var sum = 0
        for j in a.indices where a[0][j] != 0 {
            let minor = a.dropFirst().map { row in row.indices.filter { $0 != j }.map { row[$0] } }
            sum += (j % 2 == 0 ? 1 : -1) * a[0][j] * determinant(minor)
        }
        return sum
    }
    static func check(_ a: [[Int]]) {
        guard let f = smithNormalForm(a) else {
            Issue.record("\(a): no form")
            return
        }
        #expect(times(times(f.u, a), f.v) == f.s, "\(a)")
        #expect(abs(determinant(f.u)) == 1 && abs(determinant(f.v)) == 1, "\(a)")
        let n = f.v.count
        #expect(times(f.v, f.vInverse) == (0..<n).map { i in (0..<n).map { $0 == i ? 1 : 0 } })
        for i in f.s.indices {
            for j in f.s[i].indices where i != j { #expect(f.s[i][j] == 0) }
        }
        let d = f.diagonal
        #expect(d.allSatisfy { $0 >= 0 } && d.filter { $0 != 0 }.count == f.rank)
        for (x, y) in zip(d, d.dropFirst()) { #expect(x == 0 ? y == 0 : y % x == 0, "\(a): \(d)") }
    }

    @Test func examples() {
        Self.check([[2, 4, 4], [-6, 6, 12], [10, 4, 16]])
        #expect(smithNormalForm([[2, 4, 4], [-6, 6, 12], [10, 4, 16]])?.diagonal == [2, 2, 156])
        Self.check([[1, 1]])
        Self.check([[0, 0], [0, 0]])
        Self.check([[6], [10], [15]])
        Self.check([[6, 10, 15]])
        Self.check([[2, 0], [0, 3]])
        #expect(smithNormalForm([])?.rank == 0)
    }

    @Test func random() {
        var r = SeededRandom(seed: 5)
        for _ in 0..<300 {
            let rows = 1 + r.below(4)
            let columns = 1 + r.below(4)
            Self.check((0..<rows).map { _ in (0..<columns).map { _ in r.below(13) - 6 } })
        }
    }

    @Test func overflowIsNoForm() {
        #expect(smithNormalForm([[Int.min, 1]]) == nil)
        _ = smithNormalForm([[Int.max, Int.max - 1], [3, Int.max - 7]])
        var r = SeededRandom(seed: 9)
        for _ in 0..<50 {
            _ = smithNormalForm(
                (0..<5).map { _ in (0..<5).map { _ in Int(truncatingIfNeeded: r.next() >> 3) } })
        }
    }
}

@Suite struct SolveTests {
    let x = Var("x")
    let y = Var("y")
    let z = Var("z")
    let n = Var("n")

    init() { ArithNodes.registerAll() }

    func ranges(_ list: (Var, Int, Int)...) -> [(variable: Var, range: IRRange)] {
        list.map { (variable: $0.0, range: IRRange($0.1, extent: $0.2)) }
    }

    @Test func uniqueSolution() {
        // 2x - y = 8, x + y = 4
        let s = IntConstraints(
            [x, y], ranges: [], relations: [(x * 2 - y) .== IntImm(8), (x + y) .== IntImm(4)])
        let t = solveLinearEquations(s)
        #expect(t.dst.variables.isEmpty && t.dst.relations.isEmpty)
        #expect(t.srcToDst.map(\.asInt) == [4, 0])
    }

    @Test func underdetermined() {
        let s = IntConstraints([x, y, z], ranges: [], relations: [(x + y * 2 - z) .== IntImm(3)])
        let t = solveLinearEquations(s)
        #expect(t.dst.variables.count == 2 && t.dst.relations.isEmpty)
        let a = Analyzer()
        #expect(a.canProveEqual(t.srcToDst[0] + t.srcToDst[1] * 2 - t.srcToDst[2], IntImm(3)))
        #expect(t.toDst(x) === t.srcToDst[0] && t.toSrc(t.dst.variables[1]) === t.dstToSrc[1])
    }

    @Test func contradictions() {
        let parity = IntConstraints([x, y], ranges: [], relations: [(x * 2 + y * 4) .== IntImm(3)])
        #expect(solveLinearEquations(parity).dst.isContradiction)
        let twice = IntConstraints(
            [x, y], ranges: [], relations: [(x + y) .== IntImm(3), (x + y) .== IntImm(4)])
        #expect(solveLinearEquations(twice).dst.isContradiction)
        let far = IntConstraints([x], ranges: ranges((x, 0, 5)), relations: [(x * 2) .== IntImm(20)])
        #expect(solveLinearEquations(far).dst.isContradiction)
    }

    @Test func rangesOfFreeVariables() {
        let s = IntConstraints(
            [x, y], ranges: ranges((x, 0, 10), (y, 0, 10)), relations: [(x - y) .== IntImm(0)])
        let t = solveLinearEquations(s)
        #expect(t.dst.variables.count == 1 && t.dst.relations.isEmpty, "\(t)")
        #expect(t.dst.ranges.first?.extent.asInt == 10)
        let far = solveLinearEquations(
            IntConstraints(
                [x, y], ranges: ranges((x, 0, 10), (y, 0, 10)), relations: [(x - y) .== IntImm(4)]))
        #expect(!far.dst.relations.isEmpty)
    }

    @Test func parameters() {
        let s = IntConstraints([x, y], ranges: [], relations: [(x * 2) .== n, (x + y) .== IntImm(5)])
        let t = solveLinearEquations(s)
        let a = Analyzer()
        #expect(t.dst.relations.count == 1 && a.canProveEqual(t.srcToDst[0], floorDiv(n, 2)))
        #expect(a.canProveEqual(t.srcToDst[1], IntImm(5) - floorDiv(n, 2)))
    }

    @Test func inequalities() {
        let s = IntConstraints(
            [x, y], ranges: ranges((x, -100, 200), (y, 0, 10)),
            relations: [(x + y) .<= IntImm(20), (x - y) .>= 10])
        let t = solveInequalitiesToRange(s)
        let a = Analyzer()
        #expect(t.range(of: y)?.min.asInt == 0 && t.range(of: y)?.extent.asInt == 6)
        #expect(a.canProveEqual(t.range(of: x)!.min, y + 10) && t.range(of: x)?.extent.asInt == 11)
        #expect(t.relations.count == 1)
        let d = solveInequalitiesDeskewRange(s)
        #expect(d.dst.ranges.map(\.extent.asInt) == [11, 6] && d.dst.relations.count == 1)
        #expect(d.dst.ranges.allSatisfy { $0.min.asInt == 0 })
        #expect(a.canProveEqual(d.dstToSrc[0], x - y - 10))
    }

    @Test func equalitiesAmongInequalities() {
        let s = IntConstraints(
            [x, y], ranges: ranges((y, 0, 10)), relations: [(x - y) .== IntImm(0), x .>= 3, (x * 2) .< 13])
        let t = solveInequalitiesToRange(s)
        #expect(t.range(of: y)?.min.asInt == 3 && t.range(of: y)?.extent.asInt == 4)
        #expect(t.range(of: x)?.min === y && t.range(of: x)?.extent.asInt == 1)
        let d = solveInequalitiesDeskewRange(s)
        #expect(d.dst.variables.count == 1 && d.dst.relations.isEmpty)
    }

    @Test func noSolution() {
        let s = IntConstraints([x, y], ranges: [], relations: [(x + y) .< 3, (x + y) .> IntImm(4)])
        #expect(solveInequalitiesToRange(s).isContradiction)
        #expect(solveInequalitiesDeskewRange(s).dst.isContradiction)
        #expect(solveLinearInequalities(s).others.first?.isFalse ?? false)
        let gap = IntConstraints([x], ranges: [], relations: [(x * 3) .> IntImm(3), (x * 3) .< 6])
        #expect(solveInequalitiesToRange(gap).isContradiction)
    }

    @Test func multipliers() {
        let s = IntConstraints(
            [x, y], ranges: ranges((y, 0, 8)), relations: [(x * 2) .>= 3, (x * 3) .<= (y * 4)])
        let p = solveLinearInequalities(s)
        #expect(
            p.bounds.count == 2 && p.bounds[0].bounds.coef.asInt == 3 || p.bounds[0].bounds.coef.asInt == 6)
        #expect(p.conditions.count >= 3)
    }

    @Test func otherConditionsStay() {
        let s = IntConstraints(
            [x, y], ranges: ranges((x, 0, 9), (y, 0, 9)),
            relations: [floorMod(x, 3) .== 1, or(x .< y, y .< 2), (x * y) .< 20, Var("p", dtype: .bool)])
        let t = solveInequalitiesToRange(s)
        #expect(t.relations.count == 4)
        #expect(solveLinearEquations(s).dst.relations.count == 4)
    }

    @Test func bestRange() {
        let b = IntGroupBounds(IntImm(2), lower: [IntImm(3), n], equal: [], upper: [IntImm(20), n + 6])
        let r = b.findBestRange()
        #expect(r?.extent.asInt == 4 && r?.min.asInt == nil)
        let best = IntGroupBounds(IntImm(1), lower: [n], equal: [], upper: [n + x, IntImm(9)])
        #expect(best.findBestRange([x: IRRange(0, extent: 4)])?.extent.asInt == 4)
        let none = IntGroupBounds(IntImm(3), lower: [IntImm(4)], equal: [], upper: [IntImm(5)])
        #expect(none.findBestRange()?.extent.asInt == 0)
        #expect(IntGroupBounds(IntImm(1), lower: [n], equal: [], upper: []).findBestRange() == nil)
        let one = IntGroupBounds(IRRange(min: n, extent: IntImm(1)))
        #expect(one.equal.count == 1 && one.substituteVars([n: x + 1]).equal[0].kind == .add)
        #expect(IntGroupBounds(IRRange(2, extent: 5)).findBestRange()?.extent.asInt == 5)
    }

    @Test func composition() throws {
        let s = IntConstraints(
            [x, y, z], ranges: ranges((x, 0, 10), (y, 0, 10), (z, 2, 5)),
            relations: [(x + y) .== (z + 3), (x - z) .>= 0])
        let first = solveLinearEquations(s)
        let second = solveInequalitiesDeskewRange(first.dst)
        let both = try first.composed(with: second)
        #expect(both.src === s && both.dst === second.dst)
        #expect(both.srcToDst.count == 3 && both.dstToSrc.count == both.dst.variables.count)
        let a = Analyzer()
        #expect(a.canProveEqual(both.srcToDst[0] + both.srcToDst[1], both.srcToDst[2] + 3))
        let error = #expect(throws: ApusError.self) { try first.composed(with: first) }
        #expect(error?.code == "ARI031")
    }

    @Test func nodes() throws {
        let s = IntConstraints([x, y], ranges: ranges((x, 0, 10)), relations: [(x + y) .== IntImm(3)])
        let t = solveLinearEquations(s)
        let b = IntGroupBounds(IntImm(2), lower: [n], equal: [], upper: [n + 6])
        for node in [s, t, b] as [Node] {
            let back = try loadJSON(saveJSON(node))
            #expect(structuralEqual(node, back, mapFreeVariables: true))
            #expect(structuralHash(node) == structuralHash(node))
        }
        let other = IntConstraints([x, y], ranges: ranges((x, 0, 11)), relations: [(x + y) .== IntImm(3)])
        #expect(!structuralEqual(s, other))
        #expect(throws: ApusError.self) {
            try IntConstraints.schema.build([
                [x].asField, [x].asField, [IRRange]().asField, [PrimExpr]().asField,
            ])
        }
    }

    @Test func hostileSystems() {
        // Dense systems would grow doubly exponentially.
        var r = SeededRandom(seed: 2)
        let v = (0..<14).map { Var("v\($0)") }
        var relations: [PrimExpr] = []
        for _ in 0..<60 {
            var e: PrimExpr = IntImm(r.below(9))
            for u in v { e = e + u * (r.below(7) - 3) }
            relations.append(e .>= 0)
        }
        _ = solveLinearInequalities(IntConstraints(v, ranges: [], relations: relations))
        let k = IntImm(Int.max / 2)
        let extreme: [PrimExpr] = [
            GE(Mul(x, k), Mul(y, IntImm(Int.min))), LE(Add(x, IntImm(Int.max)), Mul(y, k)),
            EQ(Mul(x, k), Add(Mul(y, IntImm(Int.max)), IntImm(Int.min))), LT(x, IntImm(Int.min)),
        ]
        for e in extreme {
            let s = IntConstraints([x, y], ranges: ranges((x, Int.min, Int.max)), relations: [e])
            _ = solveLinearEquations(s)
            _ = solveInequalitiesToRange(s)
            _ = solveInequalitiesDeskewRange(s)
        }
    }
}

/// Random systems against all points of a box.
@Suite struct SolveFuzz {
    static let v: [Var] = [Var("x"), Var("y"), Var("z")]
    static let n = Var("n")

    static func sum(_ r: inout SeededRandom, _ dense: Bool) -> PrimExpr {
        var e: PrimExpr = IntImm(r.below(11) - 5)
        for u in v where dense || r.below(3) > 0 { e = e + u * (r.below(9) - 4) }
        if r.below(4) == 0 { e = e + n * (r.below(5) - 2) }
        return e
    }

    /// All points of the box where `conditions` hold.
    static func points(_ box: [ClosedRange<Int>], _ n: Int, _ conditions: [PrimExpr]) -> Set<[Int]> {
        var result: Set<[Int]> = []
        for x in box[0] {
            for y in box[1] {
                for z in box[2] {
                    let p = [v[0]: x, v[1]: y, v[2]: z, Self.n: n]
                    if conditions.allSatisfy({ evaluate($0, p) == 1 }) { result.insert([x, y, z]) }
                }
            }
        }
        return result
    }

    static func inside(_ s: IntConstraints, _ p: [Var: Int]) -> Bool {
        for (u, r) in zip(s.rangeVariables, s.ranges) {
            guard let x = p[u], let lo = evaluate(r.min, p), let e = evaluate(r.extent, p) else {
                return false
            }
            if x < lo || x >= lo + e { return false }
        }
        return s.relations.allSatisfy { evaluate($0, p) == 1 }
    }

    @Test func systems() {
        let run = FuzzRun("arith.solve", cases: 150)
        var wrong = 0
        var solved = 0
        while let seed = run.next() {
            var r = SeededRandom(seed: seed)
            var box: [ClosedRange<Int>] = []
            for _ in 0..<3 {
                let lo = r.below(7) - 4
                box.append(lo...(lo + r.below(6)))
            }
            let ranges = Self.v.indices.map {
                (variable: Self.v[$0], range: IRRange(box[$0].lowerBound, extent: box[$0].count))
            }
            var relations: [PrimExpr] = []
            let equations = r.below(3)
            for _ in 0..<equations { relations.append(EQ(Self.sum(&r, false), IntImm(r.below(7) - 3))) }
            for _ in 0..<r.below(4) {
                let kinds: [PrimExprKind] = [.lt, .le, .gt, .ge]
                relations.append(BinaryExpr.raw(kinds[r.below(4)], Self.sum(&r, false), Self.sum(&r, false)))
            }
            if r.below(4) == 0 { relations.append(LT(Self.v[0] * Self.v[1], IntImm(r.below(9)))) }
            let parameter = (variable: Self.n, range: IRRange(-2, extent: 6))
            let s = IntConstraints(Self.v, ranges: ranges + [parameter], relations: relations)
            func fail(_ what: String) {
                wrong += 1
                Issue.record("seed \(seed): \(what) of \(s)")
            }
            let equalities = solveLinearEquations(s)
            let partial = solveLinearInequalities(s)
            let range = solveInequalitiesToRange(s)
            let deskewed = solveInequalitiesDeskewRange(s)
            let all = try? equalities.composed(with: solveInequalitiesDeskewRange(equalities.dst))
            if all == nil { fail("no composition") }
            for n in [-2, 0, 3] {
                let want = Self.points(box, n, relations)
                if want != Self.points(box, n, partial.conditions) {
                    fail("conditions at n = \(n): \(partial.conditions)")
                }
                var count = 0
                for x in box[0] {
                    for y in box[1] {
                        for z in box[2] {
                            let p = [Self.v[0]: x, Self.v[1]: y, Self.v[2]: z, Self.n: n]
                            let holds = want.contains([x, y, z])
                            if Self.inside(range, p) != holds { fail("range \(range) at \([x, y, z, n])") }
                            if !holds { continue }
                            count += 1
                            // To the target and back is the same point, and inside the target.
                            for t in [equalities, deskewed] + (all.map { [$0] } ?? []) {
                                var q: [Var: Int] = [Self.n: n]
                                for (u, e) in zip(t.dst.variables, t.dstToSrc) { q[u] = evaluate(e, p) }
                                if !Self.inside(t.dst, q) { fail("\(t) loses \([x, y, z, n])") }
                                let back = t.srcToDst.map { evaluate($0, q) }
                                if back != [x, y, z] { fail("\(t) turns \([x, y, z, n]) to \(back)") }
                            }
                        }
                    }
                }
                solved += count
                // Every point of the deskewed target comes from one of the source.
                var found = 0
                let size = deskewed.dst.ranges.reduce(1) { $0 * max(1, $1.extent.asInt ?? 1) }
                if size < 4000 {
                    Self.each(deskewed.dst, [Self.n: n]) { q in
                        let back = deskewed.srcToDst.compactMap { evaluate($0, q) }
                        if want.contains(back) { found += 1 } else { fail("\(deskewed) invents \(back)") }
                    }
                    if found != count { fail("\(deskewed) has \(found) of \(count) points at n = \(n)") }
                }
            }
        }
        run.finish(differences: wrong, "points \(solved)")
    }

    /// All points inside `s`, whose ranges have constant extents.
    static func each(_ s: IntConstraints, _ start: [Var: Int], _ body: ([Var: Int]) -> Void) {
        func go(_ i: Int, _ p: [Var: Int]) {
            if i < 0 {
                if inside(s, p) { body(p) }
                return
            }
            guard let r = s.range(of: s.variables[i]), let lo = evaluate(r.min, p),
                let e = evaluate(r.extent, p)
            else {
                return
            }
            for x in lo..<(lo + max(e, 0)) {
                var q = p
                q[s.variables[i]] = x
                go(i - 1, q)
            }
        }
        go(s.variables.count - 1, start)
    }
}
