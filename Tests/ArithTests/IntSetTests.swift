import ApusArith
import ApusIR
import ApusRuntime
import ApusTIR
import ApusTestSupport
import Testing

@Suite struct IntSetTests {
    let x = Var("x")
    let y = Var("y")
    let n = Var("n")
    let m = Var("m")

    func check(
        _ e: PrimExpr, _ domains: [Var: IntervalSet], _ low: PrimExpr?, _ high: PrimExpr?,
        _ a: Analyzer = Analyzer(),
        _ location: SourceLocation = #_sourceLocation
    ) {
        let s = a.evalSet(e, domains)
        func same(_ p: PrimExpr?, _ q: PrimExpr?) -> Bool {
            guard let p, let q else { return p == nil && q == nil }
            return a.canProveEqual(p, q)
        }
        #expect(same(s.min, low) && same(s.max, high), "\(e): \(s)", sourceLocation: location)
    }

    @Test func makers() {
        let a = Analyzer()
        #expect(IntSet.everything.isEverything && !IntSet.everything.isNothing)
        #expect(IntSet.nothing.isNothing && !IntSet.nothing.isEverything)
        #expect(IntSet.singlePoint(x).pointValue === x)
        #expect(IntSet.interval(x, x + 1).pointValue == nil)
        let r = IntSet.fromRange(IRRange(min: x, extent: IntImm(4)))
        #expect(a.canProveEqual(r.max!, x + 3))
        #expect(IntSet.fromRange(IRRange(min: x, extent: IntImm(1))).isPoint)
        #expect(IntSet.fromRange(IRRange(3, extent: 0)).isNothing)
        let v = IntSet.vector(Ramp(x, IntImm(2), 4))
        #expect(v.min === x && a.canProveEqual(v.max!, x + 6))
        let w = IntSet.vector(Ramp(x, IntImm(-2), 4))
        #expect(a.canProveEqual(w.min!, x - 6) && w.max === x)
        #expect(IntSet.vector(Broadcast(x, 4)).pointValue === x)
        #expect(IntSet.interval(x + 1 - 1, x).isSinglePoint() && !IntSet.interval(x, y).isSinglePoint())
        #expect("\(IntSet.nothing) \(IntSet.interval(nil, x))" == "nothing [-inf, x]")
    }

    @Test func signs() {
        #expect(IntSet.interval(IntImm(1), nil).signType() == .positive)
        #expect(IntSet.interval(nil, IntImm(-1)).signType() == .negative)
        #expect(IntSet.interval(IntImm(0), IntImm(0)).signType() == .zero)
        #expect(IntSet.interval(IntImm(0), IntImm(3)).signType() == .unknown)
        #expect(IntSet.interval(IntImm(0), IntImm(3)).canProveNonNegative())
        #expect(IntSet.interval(nil, IntImm(0)).canProveNonPositive())
        #expect(!IntSet.everything.canProveNonNegative())
        let a = Analyzer()
        a.bindShapeVariable(n, atLeast: 1)
        #expect(IntSet.interval(n, n * 2).signType(a) == .positive)
        #expect(IntSet.interval(n, n - 1).isEmpty(a) && !IntSet.interval(n, n).isEmpty(a))
    }

    @Test func sums() {
        let d: [Var: IntervalSet] = [x: IntervalSet(IntImm(0), IntImm(10)), y: IntervalSet(n, n + 3)]
        check(x + y, d, n, n + 13)
        check(x - y, d, const(0) - n - 3, IntImm(10) - n)
        check(x * 2 - x, d, IntImm(0), IntImm(10))
        check(m - x * 3, d, m - 30, m)
        check(y - y + 1, d, IntImm(1), IntImm(1))
    }

    @Test func products() {
        let a = Analyzer()
        a.bindShapeVariable(n, atLeast: 1)
        let d: [Var: IntervalSet] = [
            x: IntervalSet(IntImm(-2), IntImm(10)), y: IntervalSet(IntImm(3), IntImm(5)),
        ]
        check(x * y, d, IntImm(-10), IntImm(50), a)
        check(x * x, d, IntImm(0), IntImm(100), a)
        check(x * n, d, n * -2, n * 10, a)
        check(y * n * y, d, n * 9, n * 25, a)
        check(x * (const(0) - n), d, n * -10, n * 2, a)
    }

    @Test func divisions() {
        let a = Analyzer()
        a.bindShapeVariable(n, atLeast: 1)
        let d: [Var: IntervalSet] = [
            x: IntervalSet(IntImm(-9), IntImm(10)), y: IntervalSet(IntImm(3), IntImm(5)),
        ]
        check(floorDiv(x, 4), d, IntImm(-3), IntImm(2), a)
        check(floorDiv(x, y), d, IntImm(-3), IntImm(3), a)
        check(floorDiv(y, x), d, nil, nil, a)
        check(floorMod(x, 4), d, IntImm(0), IntImm(3), a)
        check(floorMod(y, 16), d, IntImm(3), IntImm(5), a)
        check(floorMod(x, y), d, IntImm(0), IntImm(4), a)
        check(floorMod(y, n * 4 + 4), d, IntImm(3), IntImm(5), a)
        check(Div(x, IntImm(4)), d, IntImm(-2), IntImm(2), a)
        check(Mod(x, IntImm(4)), d, IntImm(-3), IntImm(3), a)
        check(floorDiv(m * 4 + y, 4), [y: IntervalSet(IntImm(0), IntImm(3))], m, m, a)
    }

    @Test func extremaAndSelection() {
        let d: [Var: IntervalSet] = [
            x: IntervalSet(IntImm(-9), IntImm(10)), y: IntervalSet(IntImm(3), IntImm(5)),
        ]
        check(minimum(x, y), d, IntImm(-9), IntImm(5))
        check(maximum(x, y), d, IntImm(3), IntImm(10))
        check(maximum(x, n), [x: IntervalSet(nil, IntImm(3))], n, maximum(n, IntImm(3)))
        check(select(n .> m, x, y + 8), d, IntImm(-9), IntImm(13))
        check(ifThenElse(n .> m, x, y + 8), d, IntImm(-9), IntImm(13))
        check(intrinsic("likely", .index, [x]), d, IntImm(-9), IntImm(10))
        let v = Var("v")
        check(Let(v, x + 1, Mul(v, IntImm(2))), d, IntImm(-16), IntImm(22))
        check(bitwise("shift_right", x, IntImm(2)), d, IntImm(-3), IntImm(2))
    }

    @Test func missingEnds() {
        let d: [Var: IntervalSet] = [x: IntervalSet(IntImm(2), nil), y: IntervalSet(nil, IntImm(7))]
        check(x + 1, d, IntImm(3), nil)
        check(y - x, d, nil, IntImm(5))
        check(floorDiv(x, 2), d, IntImm(1), nil)
        check(minimum(x, y), d, nil, IntImm(7))
        check(x + n, [x: .everything], nil, nil)
        #expect(Analyzer().evalSet(x + 1, [x: .nothing]).isNothing)
        #expect(!Analyzer().evalSet(y + 1, [x: .nothing]).isNothing)
    }

    @Test func triangularLoops() {
        // y runs from x to n - 1 while x runs from 0 to n - 1.
        let d: [Var: IntervalSet] = [x: IntervalSet(IntImm(0), n - 1), y: IntervalSet(x, n - 1)]
        check(y, d, IntImm(0), n - 1)
        check(y + x, d, IntImm(0), n * 2 - 2)
        // Domains that speak of each other have no ends.
        let loop: [Var: IntervalSet] = [x: IntervalSet(y, y + 1), y: IntervalSet(x, x + 1)]
        let s = Analyzer().evalSet(x, loop)
        #expect(s.min.map { !uses($0, [x, y]) } ?? true)
    }

    @Test func unionsAndIntersections() {
        let a = Analyzer()
        a.bindShapeVariable(n, atLeast: 1)
        let u = a.union(IntervalSet(n, n * 2), IntervalSet(IntImm(0), n))
        #expect(a.canProveEqual(u.min!, IntImm(0)) && a.canProveEqual(u.max!, n * 2))
        #expect(a.union([]).isNothing && a.union(.nothing, IntervalSet(point: x)).pointValue === x)
        #expect(a.union(.everything, IntervalSet(point: x)).isEverything)
        let i = a.intersect(IntervalSet(n, nil), IntervalSet(nil, n * 2))
        #expect(i.min === n && a.canProveEqual(i.max!, n * 2))
        #expect(a.intersect(IntervalSet(n, n * 2), IntervalSet(IntImm(-4), IntImm(0))).isNothing)
        #expect(a.intersect([]).isEverything)
        // A lower bound leaves out what may not touch.
        let l = a.unionLowerBound([
            IntervalSet(IntImm(0), IntImm(3)), IntervalSet(IntImm(8), IntImm(9)),
            IntervalSet(IntImm(4), IntImm(6)),
        ])
        #expect(l.min?.asInt == 0 && l.max?.asInt == 6)
        let k = a.unionLowerBound([IntervalSet(x, x + 3), IntervalSet(x + 2, x + 9)])
        #expect(k.min === x && a.canProveEqual(k.max!, x + 9))
        let boxes = a.unionLowerBound(regions: [
            [IntervalSet(IntImm(0), IntImm(3)), IntervalSet(IntImm(0), n)],
            [IntervalSet(IntImm(4), IntImm(7)), IntervalSet(IntImm(0), n)],
            [IntervalSet(IntImm(0), IntImm(9)), IntervalSet(IntImm(1), n)],
        ])
        #expect(boxes[0].max?.asInt == 7)
    }

    @Test func ranges() {
        let a = Analyzer()
        let s = IntervalSet(x, x + 7)
        #expect(s.matchRange(IRRange(min: x, extent: IntImm(8))) && !s.matchRange(IRRange(min: x, extent: n)))
        #expect(s.coverRange(IRRange(0, extent: 3)).extent.asInt == 8)
        #expect(IntSet.everything.coverRange(IRRange(0, extent: 3)).extent.asInt == 3)
        let region = a.evalSet(IRRange(min: x * 2, extent: IntImm(3)), [x: IntervalSet(IntImm(0), IntImm(3))])
        #expect(region.min?.asInt == 0 && region.max?.asInt == 8)
        let relaxed = a.evalSet(IntervalSet(x, x + y), [x: IntervalSet(IntImm(1), IntImm(2))])
        #expect(relaxed.min?.asInt == 1 && a.canProveEqual(relaxed.max!, y + 2))
    }

    @Test func subexpressions() {
        let e = (x + 1) * 2 + x
        let sets = Analyzer().evalSetForEachSubExpr(e, [x: IntervalSet(IntImm(0), IntImm(3))])
        let list = sets.map { "\($0.expr): \($0.set)" }
        #expect(list.contains("x: [0, 3]") && list.contains("x + 1: [1, 4]"))
        #expect(sets.last?.set.max?.asInt == 11 && list.filter { $0.hasPrefix("x: ") }.count == 1)
    }

    @Test func extremesDoNotTrap() {
        let a = Analyzer()
        for k in [Int.min, Int.min + 1, -1, 0, 1, Int.max] {
            for l in [Int.min, Int.max, 0, 2] {
                let d: [Var: IntervalSet] = [
                    x: IntervalSet(IntImm(k), IntImm(l)), y: IntervalSet(IntImm(l), nil),
                ]
                let exprs: [PrimExpr] = [
                    x + y, Mul(x, IntImm(k)), FloorDiv(x, IntImm(l)), FloorMod(x, IntImm(k)), x * y,
                    FloorDiv(x, y),
                    FloorMod(y, x), Min(x, y), Sub(IntImm(k), x), Div(x, IntImm(k)), Mod(y, IntImm(l)),
                ]
                for e in exprs {
                    let s = a.evalSet(e, d)
                    _ = a.union(s, IntervalSet(point: IntImm(k)))
                    _ = a.intersect(s, IntervalSet(point: IntImm(l)))
                    _ = a.range(s)
                    _ = a.clip(s, extent: IntImm(l))
                    _ = deduceBound(x, LE(e, IntImm(k)))
                }
            }
        }
    }
}

@Suite struct DeduceBoundTests {
    let a = Var("a")
    let b = Var("b")
    let c = Var("c")
    let d = Var("d")

    func check(
        _ s: IntervalSet, _ low: PrimExpr?, _ high: PrimExpr?, _ location: SourceLocation = #_sourceLocation
    ) {
        func same(_ p: PrimExpr?, _ q: PrimExpr?) -> Bool {
            guard let p, let q else { return p == nil && q == nil }
            return Analyzer().canProveEqual(p, q)
        }
        #expect(!s.isNothing && same(s.min, low) && same(s.max, high), "\(s)", sourceLocation: location)
    }

    @Test func linear() {
        check(deduceBound(a, a * 4 + b .< c), nil, floorDiv(c - b - 1, 4))
        check(deduceBound(a, (a * 4 + b) .<= c), nil, floorDiv(c - b, 4))
        check(deduceBound(a, (a * 4 + b) .> c), floorDiv(c - b, 4) + 1, nil)
        check(deduceBound(a, (b - a) .>= c), nil, b - c)
        check(deduceBound(a, (a + b) .== c), c - b, c - b)
        check(deduceBound(a, maximum(IntImm(5), a * 4) .< 255), nil, IntImm(63))
        check(deduceBound(a, minimum(IntImm(5), a * 4) .>= 5), IntImm(2), nil)
        check(deduceBound(a, and(a .>= b, a .< (b + 8))), b, b + 7)
        check(deduceBound(a, trueExpr), nil, nil)
    }

    @Test func hintsGiveSigns() {
        let hint: [Var: IntervalSet] = [b: IntervalSet(IntImm(2), IntImm(3))]
        let s = deduceBound(a, ((const(0) - b) * a + c - d) .>= 0, hints: hint)
        check(s, nil, floorDiv(c - d, b))
        #expect(deduceBound(a, (b * a) .>= c).isNothing)
    }

    @Test func relaxed() {
        let relax: [Var: IntervalSet] = [
            b: IntervalSet(IntImm(2), IntImm(3)), d: IntervalSet(IntImm(-3), IntImm(-1)),
        ]
        check(deduceBound(a, (a * 4 + b - d) .< c, relax: relax), nil, floorDiv(c - 7, 4))
        check(deduceBound(a, (a - b + d) .>= 0, relax: relax), IntImm(6), nil)
        check(deduceBound(a, (a * b) .>= 10, relax: relax), IntImm(5), nil)
        #expect(deduceBound(a, (a + b) .== c, relax: relax).isNothing)
    }

    @Test func throughDivisions() {
        check(deduceBound(a, floorDiv(a, 8) .>= 3), IntImm(24), nil)
        check(deduceBound(a, floorDiv(a + b, 8) .<= c), nil, c * 8 + 7 - b)
        check(deduceBound(a, (floorDiv(a, 8) * 3 + 1) .< 11), nil, IntImm(31))
        check(deduceBound(a, (IntImm(20) - floorDiv(a, 8)) .> IntImm(17)), nil, IntImm(23))
    }

    @Test func notSupported() {
        #expect(deduceBound(a, floorMod(a, 16) .< 10).isNothing)
        #expect(deduceBound(a, (a * a) .< 10).isNothing)
        #expect(deduceBound(a, a .!= b).isNothing)
        #expect(deduceBound(a, Var("p", dtype: .bool)).isNothing)
        #expect(deduceBound(a, EQ(a .< 3, a .< 5)).isNothing)
    }

    @Test func decidedConditions() {
        #expect(deduceBound(a, b .< (b + 1)).isEverything)
        #expect(deduceBound(a, b .< c).isNothing)
        #expect(deduceBound(a, and(a .< 3, a .> IntImm(5))).isNothing)
        #expect(deduceBound(a, or(a .< 3, b .< c)).max?.asInt == 2)
    }
}

@Suite struct DetectTests {
    let a = Var("a")
    let b = Var("b")
    let c = Var("c")

    @Test func linearEquations() {
        let z = Analyzer()
        func check(_ e: PrimExpr, _ vars: [Var], _ want: [PrimExpr], _ base: PrimExpr) {
            guard let m = z.detectLinearEquation(e, vars) else {
                Issue.record("\(e)")
                return
            }
            #expect(m.coefficients.count == want.count)
            for (x, y) in zip(m.coefficients, want) { #expect(z.canProveEqual(x, y), "\(e): \(x), not \(y)") }
            #expect(z.canProveEqual(m.base, base), "\(e): \(m.base)")
        }
        check(a * 4 + b * 6 + 7, [a], [IntImm(4)], b * 6 + 7)
        check(a * 4 * (a + 1) - a * a * 4 + b, [a], [IntImm(4)], b)
        check(a * 4 + b * 6 + 7, [a, b], [IntImm(4), IntImm(6)], IntImm(7))
        check((a * 4 + 6) * c + b, [a], [c * 4], c * 6 + b)
        check(b * c - (a - b) * c, [a, b], [const(0) - c, c * 2], IntImm(0))
        check(b * 3, [], [], b * 3)
        check(floorDiv(b, 2) + a, [a], [IntImm(1)], floorDiv(b, 2))
        let i = Var("i", dtype: .int32)
        let m = z.detectLinearEquation(i * 3 + 1, [i])
        #expect(m?.coefficients[0].asInt == 3 && m?.base.asInt == 1)
        #expect(z.detectLinearEquation(a * a, [a]) == nil)
        #expect(z.detectLinearEquation(a * b, [a, b]) == nil)
        #expect(z.detectLinearEquation(floorDiv(a, 2), [a]) == nil)
        #expect(z.detectLinearEquation(BufferLoad(Buffer("B", [8], .int64), [a]), [a]) == nil)
    }

    @Test func clipBounds() {
        let z = Analyzer()
        let m = z.detectClipBound(and(a .< (b * 6), (a - 1) .> IntImm(0)), [a])
        #expect(m?[0].lower?.asInt == 2 && z.canProveEqual(m![0].upper!, b * 6 - 1))
        #expect(z.detectClipBound(and(a .< (b * 6), (a - 1) .> IntImm(0)), [a, b]) == nil)
        let two = z.detectClipBound(and((a + c * 10) .<= IntImm(20), (b - 1) .> IntImm(0)), [a, b])
        #expect(two?[0].lower == nil && z.canProveEqual(two![0].upper!, IntImm(20) - c * 10))
        #expect(two?[1].lower?.asInt == 2 && two?[1].upper == nil)
        let both = z.detectClipBound(and(a .< 9, and(a .< c, (a * 3) .== 6)), [a])
        #expect(both?[0].lower != nil && both?[0].upper != nil)
        #expect(z.detectClipBound(or(a .< 9, a .> IntImm(3)), [a]) == nil)
        #expect(z.detectClipBound(trueExpr, [a])?[0].upper == nil)
    }

    @Test func domainTouchedByLoops() {
        let i = Var("i")
        let j = Var("j")
        let n = Var("n")
        let m = Var("m")
        let A = Buffer("A", [n, m])
        let B = Buffer("B", [n, m])
        let body = BufferStore(
            A, BufferLoad(B, [i - 1, j + 1]) + BufferLoad(A, [i - 1, j - 1]), [i, j])
        let loops = For(i, IntImm(0), n, body: For(j, IntImm(0), m, body: body))
        let z = Analyzer()
        func same(_ r: IRRange?, _ low: PrimExpr, _ extent: PrimExpr) -> Bool {
            r.map { z.canProveEqual($0.min, low) && z.canProveEqual($0.extent, extent) } ?? false
        }
        let all = domainTouched(loops, A)
        #expect(same(all?[0], IntImm(-1), n + 1) && same(all?[1], IntImm(-1), m + 1))
        let written = domainTouched(loops, A, considerLoads: false)
        #expect(same(written?[0], IntImm(0), n) && same(written?[1], IntImm(0), m))
        let read = domainTouched(loops, B, considerStores: false)
        #expect(same(read?[0], IntImm(-1), n) && same(read?[1], IntImm(1), m))
        #expect(domainTouched(loops, B, considerLoads: false) == nil)
        // An index from memory: the whole dimension.
        let gather = BufferStore(A, FloatImm(0), [cast(.index, BufferLoad(B, [i, j])), i])
        let wide = domainTouched(For(i, IntImm(2), IntImm(3), body: gather), A)
        #expect(same(wide?[0], IntImm(0), n) && same(wide?[1], IntImm(2), IntImm(3)))
        // Vector accesses and blocks.
        let v = BufferStore(A, Broadcast(FloatImm(0), 4), [i, Ramp(j * 4, IntImm(1), 4)])
        let block = Block(
            "b", iterVars: [IterVar(IRRange(extent: n), i, .dataParallel)], reads: [], writes: [],
            body: For(j, IntImm(0), IntImm(2), body: v))
        let k = Var("k")
        let realized = For(k, IntImm(0), IntImm(5), body: BlockRealize([k + 3], block))
        let box = domainTouched(realized, A)
        #expect(same(box?[0], IntImm(3), IntImm(5)) && same(box?[1], IntImm(0), IntImm(8)))
    }
}

/// Sets of random expressions, and deduced bounds of random conditions, against all points of a small domain.
@Suite struct IntSetFuzz {
    static let vars: [Var] = [Var("a"), Var("b"), Var("c"), Var("n")]

    static func expr(_ r: inout SeededRandom, _ depth: Int) -> PrimExpr {
        if depth == 0 || r.below(7) == 0 {
            return r.below(4) == 0 ? IntImm(r.below(13) - 5) : vars[r.below(4)]
        }
        let d = depth - 1
        let k = [1, 2, 3, 4, 6, 8, -1, -3][r.below(8)]
        switch r.below(15) {
        case 0, 1, 2: return Add(expr(&r, d), expr(&r, d))
        case 3: return Sub(expr(&r, d), expr(&r, d))
        case 4, 5: return Mul(expr(&r, d), IntImm(k))
        case 6: return FloorDiv(expr(&r, d), IntImm(k))
        case 7: return FloorMod(expr(&r, d), IntImm(k))
        case 8: return Min(expr(&r, d), expr(&r, d))
        case 9: return Max(expr(&r, d), expr(&r, d))
        case 10: return Mul(expr(&r, d), expr(&r, d))
        case 11: return r.below(2) == 0 ? FloorDiv(expr(&r, d), vars[3]) : FloorMod(expr(&r, d), expr(&r, d))
        case 12: return Div(expr(&r, d), IntImm(k))
        case 13: return Select(LT(expr(&r, d), expr(&r, d)), expr(&r, d), expr(&r, d))
        default:
            let v = Var("let")
            return Let(v, expr(&r, d), Add(v, expr(&r, d)))
        }
    }

    static func condition(_ r: inout SeededRandom) -> PrimExpr {
        let kinds: [PrimExprKind] = [.lt, .le, .gt, .ge, .eq]
        let c = BinaryExpr.raw(kinds[r.below(5)], expr(&r, 3), expr(&r, 1))
        switch r.below(6) {
        case 0: return And(c, BinaryExpr.raw(kinds[r.below(4)], expr(&r, 2), expr(&r, 1)))
        case 1: return Or(c, BinaryExpr.raw(kinds[r.below(4)], expr(&r, 2), expr(&r, 1)))
        default: return c
        }
    }

    @Test func sets() {
        let run = FuzzRun("arith.intset", cases: 400)
        var wrong = 0
        var found = 0
        while let seed = run.next() {
            var r = SeededRandom(seed: seed)
            let v = Self.vars
            let a = Analyzer()
            a.bind(v[3], IRRange(1, extent: 4))
            // a and b run over sets whose ends are constants or speak of n; c stays symbolic.
            let ends = (0..<2).map { _ in (low: r.below(9) - 5, size: r.below(5), symbolic: r.below(3) == 0) }
            var domains: [Var: IntervalSet] = [:]
            for i in 0..<2 {
                let e = ends[i]
                domains[v[i]] =
                    e.symbolic
                    ? IntervalSet(v[3] + e.low, v[3] * 2 + e.low + e.size)
                    : IntervalSet(IntImm(e.low), IntImm(e.low + e.size))
            }
            func points(_ body: ([Var: Int]) -> Void) {
                for n in 1...4 {
                    for c in [-3, 0, 5] {
                        var range: [ClosedRange<Int>] = []
                        for e in ends {
                            range.append(
                                e.symbolic ? (n + e.low)...(2 * n + e.low + e.size) : e.low...(e.low + e.size)
                            )
                        }
                        for x in range[0] {
                            for y in range[1] { body([v[0]: x, v[1]: y, v[2]: c, v[3]: n]) }
                        }
                    }
                }
            }
            for _ in 0..<4 {
                let e = Self.expr(&r, 3)
                let s = a.evalSet(e, domains)
                if !s.isEverything { found += 1 }
                var bad: String?
                points { p in
                    guard bad == nil, let x = evaluate(e, p) else { return }
                    if s.isNothing { bad = "nothing" }
                    if let lo = s.min, let l = evaluate(lo, p), l > x { bad = "\(x) < \(lo) = \(l)" }
                    if let hi = s.max, let h = evaluate(hi, p), h < x { bad = "\(x) > \(hi) = \(h)" }
                    for end in [s.min, s.max] {
                        if let end, uses(end, [v[0], v[1]]) { bad = "\(end) speaks of what is relaxed" }
                    }
                }
                if let bad {
                    wrong += 1
                    Issue.record("seed \(seed): \(e): \(s): \(bad)")
                }
            }
            // The bound of a, b relaxed, c and n symbolic.
            let condition = Self.condition(&r)
            let bound = a.deduceBound(v[0], condition, relax: [v[1]: domains[v[1]] ?? .everything])
            if !bound.isNothing { found += 1 }
            var bad: String?
            points { p in
                guard bad == nil, !bound.isNothing else { return }
                var p = p
                for x in -12...12 {
                    p[v[0]] = x
                    let low = bound.min.map { evaluate($0, p) } ?? Int.min
                    let high = bound.max.map { evaluate($0, p) } ?? Int.max
                    guard let low, let high, x >= low, x <= high, let holds = evaluate(condition, p) else {
                        continue
                    }
                    if holds == 0 { bad = "false at \(p.map { "\($0.key) = \($0.value)" }.sorted())" }
                }
            }
            if let bad {
                wrong += 1
                Issue.record("seed \(seed): \(condition) for \(v[0]) in \(bound), \(domains[v[1]]!): \(bad)")
            }
        }
        run.finish(differences: wrong, "found \(found)")
    }

    /// A linear comparison is solved exactly.
    @Test func exactBounds() {
        var r = SeededRandom(seed: 3)
        let v = Self.vars
        for _ in 0..<300 {
            let k = [1, 2, 3, -1, -2, -5][r.below(6)]
            let e = v[0] * k + v[2] * (r.below(5) - 2) + (r.below(9) - 4)
            let kinds: [PrimExprKind] = [.lt, .le, .gt, .ge]
            let c = BinaryExpr.raw(
                kinds[r.below(4)], r.below(2) == 0 ? e : FloorDiv(e, IntImm(3)), IntImm(r.below(9)))
            let s = deduceBound(v[0], c)
            for x in -20...20 {
                for y in [-2, 0, 3] {
                    let p = [v[0]: x, v[2]: y]
                    let inside =
                        x >= (s.min.flatMap { evaluate($0, p) } ?? Int.min)
                        && x <= (s.max.flatMap { evaluate($0, p) } ?? Int.max) && !s.isNothing
                    if inside != (evaluate(c, p) == 1) {
                        Issue.record("\(c): \(s) at \(x), \(y)")
                        return
                    }
                }
            }
        }
    }
}
