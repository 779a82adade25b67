import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

@Suite struct IterMapTests {
    typealias Inputs = [(variable: Var, range: IRRange)]
    let i = Var("i")
    let j = Var("j")
    let k = Var("k")
    let f = Var("f")
    let n = Var("n")

    func inputs(_ list: (Var, Int)...) -> Inputs {
        list.map { (variable: $0.0, range: IRRange(0, extent: $0.1)) }
    }

    func detected(
        _ indices: [PrimExpr], _ ins: Inputs, _ level: IterMapLevel = .surjective,
        _ predicate: PrimExpr = trueExpr,
        _ a: Analyzer = Analyzer()
    ) -> Bool {
        let m = a.detectIterMap(indices, inputs: ins, predicate: predicate, level: level)
        #expect(m.isDetected == (m.indices.count == indices.count) || indices.isEmpty)
        return m.isDetected
    }

    @Test func trivial() {
        let ins = inputs((i, 4), (j, 8))
        #expect(detected([i, j], ins, .bijective))
        #expect(detected([i * 1 + 5, j], ins, .bijective))
        #expect(!detected([i, i], ins))
        #expect(detected([i, i], ins, .noCheck))
        #expect(!detected([i], ins, .bijective))
        #expect(detected([i], ins))
        #expect(detected([IntImm(3), i], ins))
        #expect(detected([i], inputs((i, 4), (j, 1)), .bijective))
        #expect(detected([j, i], inputs((i, 4), (j, 1)), .bijective))
        #expect(!detected([floorMod(i, 8), floorDiv(i, 8)], inputs((i, 0))))
    }

    @Test func fuseAndSplit() {
        let ins = inputs((i, 4), (j, 8))
        #expect(detected([i * 8 + j], ins, .bijective))
        #expect(!detected([i * 7 + j], ins))
        #expect(!detected([i * 9 + j], ins))
        let parts: [PrimExpr] = [floorDiv(f, 24), floorMod(floorDiv(f, 4), 6), floorMod(f, 4)]
        #expect(detected(parts, inputs((f, 96)), .bijective))
        #expect(!detected([floorDiv(f, 24), floorMod(f, 12)], inputs((f, 96)), .bijective))
        #expect(detected([floorDiv(f, 24), floorMod(f, 12)], inputs((f, 96))))
        #expect(!detected([floorDiv(f, 24), floorMod(f, 48)], inputs((f, 96))))
        #expect(detected([floorDiv(i * 8 + j, 4), floorMod(j, 4)], ins, .bijective))
    }

    @Test func fusedThenSplitElsewhere() {
        let fused = i * 12 + j
        let ins = inputs((i, 4), (j, 12))
        #expect(detected([floorDiv(fused, 6), floorMod(fused, 6)], ins, .bijective))
        #expect(detected([floorDiv(fused, 8), floorMod(fused, 8)], ins, .bijective))
        #expect(
            detected(
                [floorDiv(fused, 16), floorMod(floorDiv(fused, 4), 4), floorMod(fused, 4)], ins, .bijective))
        // A digit of the fused counter and one of its parts.
        #expect(!detected([floorDiv(fused, 8), i], ins))
        let wide = fused + k * 48
        #expect(
            detected([floorDiv(wide, 32), floorMod(wide, 32)], inputs((i, 4), (j, 12), (k, 2)), .bijective))
    }

    @Test func paddingIsRefused() {
        #expect(!detected([floorDiv(f, 4), floorMod(f, 4)], inputs((f, 10))))
        #expect(detected([floorDiv(f, 4)], inputs((f, 10))))
        #expect(detected([floorMod(f, 4)], inputs((f, 10))))
        #expect(!detected([floorDiv(f + 1, 4)], inputs((f, 8))))
        #expect(detected([floorDiv(f + 4, 4), floorMod(f + 4, 4)], inputs((f, 8)), .bijective))
        let m = Analyzer().detectIterMap([floorDiv(f + 1, 4)], inputs: inputs((f, 8)))
        #expect(m.errors.contains { $0.contains("padding") })
    }

    @Test func scales() {
        let ins = inputs((i, 4), (j, 3))
        #expect(!detected([i * 2 + j], ins))
        #expect(detected([i * 3 + j], ins))
        #expect(detected([i * 6 + j * 2], ins, .bijective))
        #expect(detected([IntImm(11) - i * 3 - j], ins, .bijective))
        #expect(detected([i * 3 - j], ins, .bijective))
        #expect(detected([(i * 3 + j) * 2, IntImm(0)], ins, .bijective))
        #expect(!detected([i * j], ins, .noCheck))
        #expect(!detected([minimum(i, j)], ins, .noCheck))
        #expect(detected([truncDiv(i * 3 + j, IntImm(3)), truncMod(i * 3 + j, IntImm(3))], ins, .bijective))
    }

    @Test func predicates() {
        let ins = inputs((i, 4), (j, 8))
        let fused = i * 8 + j
        #expect(detected([fused], ins, .bijective, fused .< 30))
        #expect(detected([fused], ins, .bijective, and(fused .< 30, fused .>= 4)))
        #expect(detected([i, j], ins, .bijective, and(i .< 3, j .>= 2)))
        #expect(!detected([i, j], ins, .surjective, fused .< 30))
        #expect(detected([floorDiv(fused, 10), floorMod(fused, 10)], ins, .bijective, fused .< 30))
        #expect(!detected([floorDiv(fused, 8), floorMod(fused, 8)], ins, .surjective, fused .< 30))
        #expect(detected([floorDiv(fused, 8), floorMod(fused, 8)], ins, .bijective, fused .< 24))
        #expect(detected([fused], ins, .bijective, EQ(i, IntImm(2))))
        #expect(!detected([i], ins, .surjective, or(i .< 3, j .< 2)))
        #expect(!detected([fused], ins, .surjective, fused .< 0))
        let m = Analyzer().detectIterMap([fused], inputs: ins, predicate: and(fused .< 30, fused .>= 4))
        #expect(m.indices.first?.args.first?.extent.asInt == 26 && m.indices.first?.base.asInt == 4)
        // A limit of a part within a limit of the whole.
        let three = inputs((i, 3), (j, 4), (k, 5))
        let inner = j * 5 + k
        #expect(detected([i * 18 + inner], three, .bijective, inner .< 18))
        #expect(detected([i * 18 + inner], three, .bijective, and(inner .< 18, (i * 18 + inner) .< 40)))
        // Narrowing after a sum was limited.
        #expect(
            !detected([fused], ins, .bijective, and(fused .< 30, and(fused .>= 2, floorMod(fused, 3) .< 2))))
    }

    @Test func symbolicExtents() {
        let a = Analyzer()
        a.bindShapeVariable(n, atLeast: 1)
        let ins: Inputs = [
            (variable: i, range: IRRange(extent: n)), (variable: j, range: IRRange(0, extent: 16)),
        ]
        #expect(detected([i * 16 + j], ins, .bijective, trueExpr, a))
        #expect(detected([j * n + i], ins, .bijective, trueExpr, a))
        #expect(detected([floorDiv(j * n + i, n), floorMod(j * n + i, n)], ins, .bijective, trueExpr, a))
        #expect(!detected([j * n + i * 2], ins, .surjective, trueExpr, a))
        let g: Inputs = [(variable: f, range: IRRange(extent: n * 64))]
        #expect(detected([floorDiv(f, 64), floorMod(f, 64)], g, .bijective, trueExpr, a))
        #expect(detected([floorDiv(f, n), floorMod(f, n)], g, .bijective, trueExpr, a))
        #expect(
            detected(
                [floorMod(f, 64)], [(variable: f, range: IRRange(extent: n * 64))], .surjective, trueExpr, a))
        let m = a.detectIterMap([i * 16 + j], inputs: ins, predicate: (i * 16 + j) .< (n * 10))
        #expect(m.isDetected)
    }

    @Test func expressionsAreTheSame() {
        let a = Analyzer()
        let ins: Inputs = [
            (variable: f, range: IRRange(3, extent: 96)), (variable: i, range: IRRange(-2, extent: 5)),
        ]
        let e = floorMod(floorDiv(f - 3, 4), 6) * 5 + i + 7
        let m = a.detectIterMap([e], inputs: ins)
        #expect(m.isDetected)
        guard let s = m.indices.first else { return }
        let back = a.expression(s)
        for x in 3..<99 {
            for y in -2..<3 { #expect(evaluate(back, [f: x, i: y]) == evaluate(e, [f: x, i: y])) }
        }
    }

    @Test func normalization() {
        let a = Analyzer()
        let ins = inputs((i, 4), (j, 3), (k, 5))
        let s = a.normalizeToIterSum(j + i * 10 + k * 3 + 2, inputs: ins)
        #expect(s?.args.map(\.scale.asInt) == [10, 3, 1] && s?.base.asInt == 2)
        #expect(a.normalizeToIterSum(i * 2 + j, inputs: ins)?.args.count == 2)
        #expect(a.normalizeToIterSum(i * j, inputs: ins) == nil)
        #expect(
            a.normalizeToIterSum(floorDiv(f, 4) * 4 + floorMod(f, 4), inputs: inputs((f, 10)))?.args.count
                == 1)
    }

    @Test func simplification() {
        let a = Analyzer()
        let ins = inputs((i, 4), (j, 8))
        let r = a.iterMapSimplify([floorDiv(i * 8 + j, 8), floorMod(i * 8 + j, 8), i * j], inputs: ins)
        #expect(r.map { "\($0)" } == ["i", "j", "i * j"])
        let p = a.iterMapSimplify([floorDiv(i * 8 + j, 30)], inputs: ins, predicate: (i * 8 + j) .< 30)
        #expect("\(p[0])" == "0")
    }

    @Test func inverse() {
        let a = Analyzer()
        let (x, y) = (Var("x"), Var("y"))
        let ins = inputs((i, 4), (j, 12))
        let fused = i * 12 + j
        let m = a.detectIterMap([floorMod(fused, 8), floorDiv(fused, 8)], inputs: ins, level: .bijective)
        let inverse = a.inverseAffineIterMap(m.indices, [x, y])
        #expect(inverse?.count == 2)
        for v in inverse ?? [] {
            for p in 0..<4 {
                for q in 0..<12 {
                    let value = p * 12 + q
                    #expect(evaluate(v.value, [x: value % 8, y: value / 8]) == (v.variable === i ? p : q))
                }
            }
        }
        let s = a.detectIterMap(
            [IntImm(7) - j, i * 3 + 5], inputs: inputs((i, 4), (j, 8)), level: .bijective)
        let t = a.inverseAffineIterMap(s.indices, [x, y])?.map { "\($0.variable.name) = \($0.value)" }
        #expect(
            t == ["j = 7 - x", "i = \(floorDiv(y - 5, 3))"] || t == ["j = 7 - x", "i = (y + 1) // 3 - 2"])
        #expect(a.inverseAffineIterMap(s.indices, [x]) == nil)
        let half = a.detectIterMap([floorDiv(f, 4)], inputs: inputs((f, 16)))
        #expect(a.inverseAffineIterMap(half.indices, [x]) != nil)
    }

    @Test func subspaces() {
        let a = Analyzer()
        let ins = inputs((i, 4), (j, 8), (k, 2))
        let d = a.subspaceDivide([i * 8 + j, k], inputs: ins, subIters: [j, k], level: .bijective)
        #expect(
            d?.indices.map(\.outer.extent.asInt) == [4, 1] && d?.indices.map(\.inner.extent.asInt) == [8, 2])
        #expect(d?.outerPredicate.isTrue ?? false && d?.innerPredicate.isTrue ?? false)
        // The inner variable is the slower one.
        #expect(a.subspaceDivide([i * 8 + j], inputs: ins, subIters: [i]) == nil)
        #expect(a.subspaceDivide([i * 8 + j], inputs: ins, subIters: []) != nil)
        #expect(a.subspaceDivide([i * 8 + j], inputs: ins, subIters: [i, j, k]) != nil)
        let p = a.subspaceDivide(
            [i * 8 + j], inputs: ins, subIters: [j], predicate: and(i .< 3, likely(j .< 8)))
        #expect(p.map { "\($0.outerPredicate)" } == "i < 3")
        #expect(
            a.subspaceDivide([i * 8 + j], inputs: ins, subIters: [j], predicate: (i * 8 + j) .< 30) == nil)
        let split = a.subspaceDivide(
            [floorDiv(i * 8 + j, 4), floorMod(j, 4)], inputs: ins, subIters: [j])
        #expect(split?.indices.map(\.inner.extent.asInt) == [2, 4])
    }

    private func likely(_ e: PrimExpr) -> PrimExpr { intrinsic("likely", .bool, [e]) }

    @Test func nodes() throws {
        ArithNodes.registerAll()
        let m = Analyzer().detectIterMap(
            [floorDiv(i * 12 + j, 8), floorMod(i * 12 + j, 8)], inputs: inputs((i, 4), (j, 12)))
        for s in m.indices {
            let back = try loadJSON(saveJSON(s))
            #expect(structuralEqual(s, back, mapFreeVariables: true))
            #expect(s.description.contains("IterSplit"))
        }
        let error = #expect(throws: ApusError.self) {
            try IterMark.schema.build([IntImm(3).asField, IntImm(0).asField, IntImm(4).asField])
        }
        #expect(error?.code == "ARI032")
        let keys = ArithNodes.all.map(\.key)
        #expect(Set(keys).count == keys.count && keys.allSatisfy { $0.hasPrefix("arith.") })
    }

    @Test func regions() {
        let a = Analyzer()
        let o = Var("o")
        a.bind(o, IRRange(0, extent: 10))
        // A 3-wide window over 4 outputs at stride 2: rows o*8 ..< o*8 + 9.
        let dom: [Var: IntervalSet] = [
            i: IntervalSet(IRRange(0, extent: 4)), j: IntervalSet(IRRange(0, extent: 3)),
        ]
        let window = [IRRange(min: (o * 4 + i) * 2 + j, extent: IntImm(1))]
        let r = a.estimateRegionUpperBound(window, dom, shape: [IntImm(89)])
        #expect("\(r[0].min)" == "o * 8")
        #expect(r[0].extent.asInt == 9)
        let s = a.evalSet(floorDiv(o * 16 + i, 4), dom)
        #expect(s.min.map { "\($0)" } == "o * 4")
        #expect(s.max.map { "\($0)" } == "o * 4")
        let ins = inputs((i, 4), (j, 3))
        let exact = a.estimateRegionLowerBound(window, ins)
        #expect(exact.map { "\($0[0])" } == "[o * 8, o * 8 + 8]")
        let holes = a.estimateRegionLowerBound([IRRange(min: i * 2, extent: IntImm(1))], ins)
        #expect(holes == nil)
        let wide = a.estimateRegionLowerBound([IRRange(min: i * 2, extent: IntImm(2))], ins)
        #expect(wide.map { "\($0[0])" } == "[0, 7]")
        // Two dimensions that move together: each is known, the box is not.
        let diagonal = [IRRange(min: i, extent: IntImm(1)), IRRange(min: i + 1, extent: IntImm(1))]
        #expect(a.estimateRegionLowerBound(diagonal, ins) == nil)
        #expect(a.estimateRegionStrictBound(diagonal, ins).map { "\($0)" } == "[[0, 3], [1, 4]]")
        let down = a.estimateRegionLowerBound([IRRange(min: IntImm(9) - i, extent: IntImm(1))], ins)
        #expect(down.map { "\($0[0])" } == "[6, 9]")
        let cut = a.estimateRegionLowerBound(
            [IRRange(min: i * 3 + j, extent: IntImm(1))], ins, predicate: (i * 3 + j) .< 10)
        #expect(cut.map { "\($0[0])" } == "[0, 9]")
        let upper = a.estimateRegionUpperBound(
            [IRRange(min: i * i + j, extent: IntImm(1))], ins, predicate: i .< 3)
        #expect(upper.map { "\($0)" } == ["[0, 6]"])
        #expect(a.estimateRegionLowerBound([IRRange(min: i, extent: j + 1)], ins) == nil)
    }

    @Test func clipping() {
        let a = Analyzer()
        let c = a.clip(IntervalSet(i - 1, i + 1), extent: IntImm(8))
        #expect(evaluate(c.min, [i: 0]) == 0)
        #expect(evaluate(c.extent, [i: 0]) == 2)
        #expect(evaluate(c.extent, [i: 7]) == 2)
        #expect(evaluate(c.extent, [i: 3]) == 3)
        #expect(a.clip(.nothing, extent: IntImm(8)).extent.asInt == 0)
    }

    @Test(.timeLimit(.minutes(1))) func hostileMaps() {
        let a = Analyzer()
        var e: PrimExpr = i
        for _ in 0..<60 { e = Add(e, e) }
        _ = a.detectIterMap([e], inputs: inputs((i, 4)))
        // Shared subexpressions, which are huge as trees: digits swapped again and again, and what is no sum.
        var swapped: PrimExpr = i
        for at in 0..<40 { swapped = floorDiv(swapped, 3 + at % 2) + floorMod(swapped, 3 + at % 2) * 4 }
        _ = Analyzer().normalizeToIterSum(swapped, inputs: inputs((i, 12)))
        var other: PrimExpr = n
        for _ in 0..<60 { other = minimum(other + 1, other) }
        #expect(!Analyzer().detectIterMap([other, Mul(i, i)], inputs: inputs((i, 4))).isDetected)
        let load = BufferLoad(Buffer("B", [8], .int64), [i])
        #expect(!Analyzer().detectIterMap([load], inputs: inputs((i, 4))).isDetected)
        let many = (0..<60).map { Var("v\($0)") }
        let ins = many.map { (variable: $0, range: IRRange(0, extent: 2)) }
        var sum: PrimExpr = many[0]
        for (at, v) in many.enumerated().dropFirst() { sum = sum + v * (1 << min(at, 61)) }
        #expect(!a.detectIterMap([sum], inputs: ins).isDetected)
        for c in [Int.min, -1, 0, Int.max] {
            for x in [Int.min, Int.max, 1, -1] {
                let r: Inputs = [(variable: i, range: IRRange(x, extent: Swift.max(1, c)))]
                for e in [Mul(i, IntImm(c)), FloorDiv(i, IntImm(c)), FloorMod(Add(i, IntImm(c)), IntImm(x))]
                    as [PrimExpr]
                {
                    for level in [IterMapLevel.bijective, .noCheck] {
                        let m = a.detectIterMap([e], inputs: r, predicate: LT(i, IntImm(c)), level: level)
                        if m.isDetected { _ = a.inverseAffineIterMap(m.indices, [k]) }
                    }
                    _ = a.estimateRegionLowerBound([IRRange(min: e, extent: IntImm(c))], r)
                }
            }
        }
    }
}
