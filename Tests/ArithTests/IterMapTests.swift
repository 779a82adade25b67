import ApusArith
import ApusIR
import ApusRuntime
import ApusTIR
import Testing

@Suite struct IterMapTests {
    let i = Var("i")
    let j = Var("j")
    let f = Var("f")

    func inputs(_ list: (Var, Int)...) -> [(variable: Var, range: IRRange)] {
        list.map { (variable: $0.0, range: IRRange(0, extent: $0.1)) }
    }

    @Test func trivial() {
        let a = Analyzer()
        #expect(a.detectIterMap([i, j], inputs: inputs((i, 4), (j, 8)), requireBijective: true) != nil)
        #expect(a.detectIterMap([i, i], inputs: inputs((i, 4), (j, 8))) == nil)
        #expect(a.detectIterMap([i], inputs: inputs((i, 4), (j, 8)), requireBijective: true) == nil)
        #expect(a.detectIterMap([i], inputs: inputs((i, 4), (j, 8))) != nil)
    }

    @Test func fuseAndSplit() {
        let a = Analyzer()
        let m = a.detectIterMap([i * 8 + j], inputs: inputs((i, 4), (j, 8)), requireBijective: true)
        #expect(m?.count == 1)
        #expect(a.detectIterMap([i * 7 + j], inputs: inputs((i, 4), (j, 8))) == nil)
        let parts: [PrimExpr] = [floorDiv(f, 24), floorMod(floorDiv(f, 4), 6), floorMod(f, 4)]
        #expect(a.detectIterMap(parts, inputs: inputs((f, 96)), requireBijective: true) != nil)
        #expect(
            a.detectIterMap(
                [floorDiv(f, 24), floorMod(f, 12)], inputs: inputs((f, 96)), requireBijective: true) == nil)
        #expect(a.detectIterMap([floorDiv(f, 24), floorMod(f, 48)], inputs: inputs((f, 96))) == nil)
    }

    @Test func fusedThenSplitElsewhere() {
        let a = Analyzer()
        let fused = i * 12 + j
        let m = a.detectIterMap(
            [floorDiv(fused, 6), floorMod(fused, 6)], inputs: inputs((i, 4), (j, 12)), requireBijective: true)
        #expect(m != nil)
        let n = a.detectIterMap(
            [floorDiv(fused, 8), floorMod(fused, 8)], inputs: inputs((i, 4), (j, 12)), requireBijective: true)
        #expect(n != nil)
    }

    @Test func predicateLimitsFusedIteration() {
        let a = Analyzer()
        let m = a.detectIterMap(
            [i * 8 + j], inputs: inputs((i, 4), (j, 8)), predicate: (i * 8 + j) .< 30)
        #expect(m?.count == 1)
    }

    @Test func scaledSumOverlaps() {
        let a = Analyzer()
        // Convolution window: overlapping, not an iteration map.
        #expect(a.detectIterMap([i * 2 + j], inputs: inputs((i, 4), (j, 3))) == nil)
        #expect(a.detectIterMap([i * 3 + j], inputs: inputs((i, 4), (j, 3))) != nil)
    }

    @Test func expressionIsTheSame() {
        let a = Analyzer()
        let ins = inputs((f, 96), (i, 5))
        let e = floorMod(floorDiv(f, 4), 6) * 5 + i + 7
        guard let m = a.detectIterMap([e], inputs: ins) else {
            Issue.record("not detected")
            return
        }
        let back = a.expression(m[0], inputs: ins)
        forEachAssignment([f, i], { $0 === f ? Array(0..<96) : Array(0..<5) }) { v in
            #expect(evaluate(back, v) == evaluate(e, v))
        }
    }

    @Test func symbolicExtent() {
        let a = Analyzer()
        let n = Var("n")
        a.bindShapeVariable(n, atLeast: 1)
        let ins: [(variable: Var, range: IRRange)] = [
            (variable: i, range: IRRange(extent: n)), (variable: j, range: IRRange(0, extent: 16)),
        ]
        #expect(a.detectIterMap([i * 16 + j], inputs: ins, requireBijective: true) != nil)
        let g: [(variable: Var, range: IRRange)] = [(variable: f, range: IRRange(extent: n * 64))]
        #expect(
            a.detectIterMap([floorDiv(f, 64), floorMod(f, 64)], inputs: g, requireBijective: true) != nil)
    }

    @Test func regions() {
        let a = Analyzer()
        let o = Var("o")
        a.bind(o, IRRange(0, extent: 10))
        // A 3-wide window over 4 outputs at stride 2: rows o*8 ..< o*8 + 9.
        let dom: [Var: IntervalSet] = [
            i: IntervalSet(IRRange(0, extent: 4)), j: IntervalSet(IRRange(0, extent: 3)),
        ]
        let r = a.estimateRegionUpperBound(
            [IRRange(min: (o * 4 + i) * 2 + j, extent: IntImm(1))], dom, shape: [IntImm(89)])
        #expect("\(r[0].min)" == "o * 8")
        #expect(r[0].extent.asInt == 9)
        let s = a.evalSet(floorDiv(o * 16 + i, 4), dom)
        #expect(s.min.map { "\($0)" } == "o * 4")
        #expect(s.max.map { "\($0)" } == "o * 4")
        let u = a.union(IntervalSet(o, o + 3), IntervalSet(o - 1, o + 1))
        #expect("\(u.min!)" == "o - 1" && "\(u.max!)" == "o + 3")
        let exact = a.estimateRegionLowerBound(
            [IRRange(min: o * 4 + i, extent: IntImm(1))], [(variable: i, range: IRRange(0, extent: 4))])
        #expect(exact?[0].min.map { "\($0)" } == "o * 4")
        let holes = a.estimateRegionLowerBound(
            [IRRange(min: i * 2, extent: IntImm(1))], [(variable: i, range: IRRange(0, extent: 4))])
        #expect(holes == nil)
    }

    @Test func clipping() {
        let a = Analyzer()
        let c = a.clip(IntervalSet(i - 1, i + 1), extent: IntImm(8))
        #expect(evaluate(c.min, [i: 0]) == 0)
        #expect(evaluate(c.extent, [i: 0]) == 2)
        #expect(evaluate(c.extent, [i: 7]) == 2)
        #expect(evaluate(c.extent, [i: 3]) == 3)
    }
}
