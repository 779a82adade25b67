import ApusArith
import ApusIR
import ApusRuntime
import ApusTIR
import Testing

@Suite struct BoundTests {
    let x = Var("x")
    let y = Var("y")

    func analyzer() -> Analyzer {
        let a = Analyzer()
        a.bind(x, IRRange(0, extent: 10))
        a.bind(y, IRRange(-3, extent: 8))
        return a
    }

    @Test func arithmetic() {
        let a = analyzer()
        #expect(a.constIntBound(x + y) == ConstIntBound(-3, 13))
        #expect(a.constIntBound(x - y) == ConstIntBound(-4, 12))
        #expect(a.constIntBound(x * y) == ConstIntBound(-27, 36))
        #expect(a.constIntBound(x * 2 + 1) == ConstIntBound(1, 19))
        #expect(a.constIntBound(floorDiv(x, 4)) == ConstIntBound(0, 2))
        #expect(a.constIntBound(floorDiv(y, 2)) == ConstIntBound(-2, 2))
        #expect(a.constIntBound(floorMod(y, 4)) == ConstIntBound(0, 3))
        #expect(a.constIntBound(minimum(x, y)) == ConstIntBound(-3, 4))
        #expect(a.constIntBound(maximum(x, y)) == ConstIntBound(0, 9))
    }

    @Test func boundsAreSoundAndTightForSingleUse() {
        let a = analyzer()
        let exprs: [PrimExpr] = [
            x + y * 3, x * 7 - y, floorDiv(x * 5 + 2, 3), floorMod(x + 3, 16), minimum(x, y + 4),
            floorDiv(x - 5, 2), x * x,
        ]
        for e in exprs {
            var low = Int.max
            var high = Int.min
            forEachAssignment([x, y], { $0 === x ? Array(0..<10) : Array(-3..<5) }) { v in
                if let r = evaluate(e, v) {
                    low = min(low, r)
                    high = max(high, r)
                }
            }
            let b = a.constIntBound(e)
            #expect(b.min <= low && b.max >= high, "\(e): \(b)")
        }
        #expect(a.constIntBound(x + y * 3) == ConstIntBound(-9, 21))
    }

    @Test func saturation() {
        let big = ConstIntBound(Int.max - 1, Int.max - 1)
        #expect((big + big).max == ConstIntBound.posInf)
        #expect((big + big).min > 0)
        #expect((big * big).max == ConstIntBound.posInf)
        #expect((ConstIntBound.everything * ConstIntBound(0)) == ConstIntBound(0))
        #expect(
            (ConstIntBound(0, ConstIntBound.posInf) * ConstIntBound(-2))
                == ConstIntBound(ConstIntBound.negInf, 0))
        let a = Analyzer()
        a.bind(x, bound: ConstIntBound(0, Int.max - 1))
        let e = a.simplify(x * Int.max + x * Int.max)
        #expect(evaluate(e, [x: 0]) == 0)
    }

    @Test func unknownVariables() {
        let a = Analyzer()
        #expect(a.constIntBound(x).isEverything)
        #expect(a.constIntBound(floorMod(x, 8)) == ConstIntBound(0, 7))
        #expect(a.constIntBound(Cast(.index, Var("b", dtype: .uint8))) == ConstIntBound(0, 255))
        #expect(a.constIntBound(bitwise("bitwise_and", x, IntImm(15))) == ConstIntBound(0, 15))
    }

    @Test func constraintsTighten() {
        let a = analyzer()
        a.withConstraint(and(x .< 5, x .>= 2)) { #expect(a.constIntBound(x) == ConstIntBound(2, 4)) }
        a.withConstraint(x * 3 .< 10) { #expect(a.constIntBound(x) == ConstIntBound(0, 3)) }
        a.withConstraint(not(x .< 5)) { #expect(a.constIntBound(x) == ConstIntBound(5, 9)) }
        #expect(a.constIntBound(x) == ConstIntBound(0, 9))
    }

    @Test func modularSets() {
        let a = Analyzer()
        #expect(a.modularSet(x * 6 + y * 4 + 3) == ModularSet(2, 1))
        #expect(a.modularSet(x * 8) == ModularSet(8, 0))
        #expect(a.modularSet((x * 4 + 2) * (y * 6)) == ModularSet(12, 0))
        #expect(a.modularSet(floorDiv(x * 8 + 4, 4)) == ModularSet(2, 1))
        #expect(a.modularSet(floorMod(x * 4 + 1, 8)) == ModularSet(4, 1))
        #expect(a.modularSet(minimum(x * 6, y * 9)) == ModularSet(3, 0))
        #expect(a.modularSet(IntImm(7)) == ModularSet(0, 7))
        a.bind(x, modular: ModularSet(8, 0))
        #expect("\(a.simplify(floorDiv(x, 8) * 8))" == "x")
        #expect(a.simplify(floorMod(x + 3, 8)).asInt == 3)
        a.withConstraint(floorMod(y, 4) .== 1) { #expect(a.modularSet(y) == ModularSet(4, 1)) }
        #expect(a.canProve((x * 2) .!= IntImm(3)))
    }
}
