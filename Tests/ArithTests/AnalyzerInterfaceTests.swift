import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

/// The questions of the analyzer's interface, each by a case that holds and one that does not.
@Suite struct AnalyzerInterfaceTests {
    private let x = Var("x")
    private let y = Var("y")

    @Test func comparisons() {
        let a = Analyzer()
        a.bind(x, IRRange(2, extent: 6))
        #expect(a.canProveGreaterEqual(x, 2) && !a.canProveGreaterEqual(x, 3))
        #expect(a.canProveLess(x, 8) && !a.canProveLess(x, 7))
        #expect(a.canProveGreaterEqual(x + y, y + 2) && !a.canProveGreaterEqual(x, y))
        #expect(a.canProveLess(y, x + y) && !a.canProveLess(x, y))
        #expect(a.canProveEqual((x + y) * 2, x * 2 + y * 2) && !a.canProveEqual(x, y))
    }

    @Test func assumptionsEndWithTheirScope() {
        let a = Analyzer()
        #expect(!a.canProve(x .< 5))
        a.scope {
            a.assume(x .< 5)
            #expect(a.canProve(x .< 5) && a.canProve(x .< 6) && !a.canProve(x .< 4))
            a.scope {
                a.assume(and(y .< x, x .>= 0))
                #expect(a.canProve(y .< 4) && a.constIntBound(x).min == 0)
            }
            #expect(!a.canProve(y .< 4) && a.constIntBound(x).min != 0)
        }
        #expect(!a.canProve(x .< 5))
    }

    @Test func canonicalForm() {
        let a = Analyzer()
        #expect(structuralEqual(a.canonicalSimplify((x + y) * 3 - x * 3), a.canonicalSimplify(y * 3)))
        #expect(a.canonicalSimplify(floorDiv(x * 4 + 3, 4)) === x)
    }

    @Test func signsOfSets() {
        let a = Analyzer()
        func set(_ lo: Int, _ hi: Int) -> IntervalSet { .interval(IntImm(lo), IntImm(hi)) }
        #expect(set(1, 5).canProvePositive(a) && !set(0, 5).canProvePositive(a))
        #expect(set(-5, -1).canProveNegative(a) && !set(-5, 0).canProveNegative(a))
        #expect(set(0, 5).canProveNonNegative(a) && !set(-1, 5).canProveNonNegative(a))
        #expect(set(-5, 0).canProveNonPositive(a) && !set(-5, 1).canProveNonPositive(a))
    }

    @Test func regions() {
        let a = Analyzer()
        let domains: [Var: IntervalSet] = [x: .interval(IntImm(0), IntImm(3))]
        func ends(_ sets: [IntervalSet]) -> [[Int?]] {
            sets.map { s in [s.min.flatMap { a.simplify($0).asInt }, s.max.flatMap { a.simplify($0).asInt }] }
        }
        #expect(ends(a.evalRegion(points: [x * 2, x + 1], domains)) == [[0, 6], [1, 4]])
        let region = [IRRange(min: x, extent: IntImm(4)), IRRange(min: IntImm(7), extent: IntImm(1))]
        #expect(ends(a.evalRegion(region, domains)) == [[0, 6], [7, 7]])
    }

    @Test func euclid() {
        for a in 0..<40 {
            for b in 0..<40 {
                let e = extendedEuclid(a, b)
                #expect(a * e.x + b * e.y == e.gcd && e.gcd == gcd(a, b))
            }
        }
        let e = extendedEuclid(.max, 2)
        #expect(e.gcd == 1 && Int.max &* e.x &+ 2 &* e.y == 1)
    }
}
