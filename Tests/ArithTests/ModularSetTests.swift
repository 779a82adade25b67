import ApusArith
import ApusIR
import ApusRuntime
import ApusTIR
import ApusTestSupport
import Testing

@Suite struct ModularSetTests {
    let x = Var("x")
    let y = Var("y")
    let i = Var("i", dtype: .int32)
    let b = Var("b", dtype: .uint8)

    func check(
        _ e: PrimExpr, _ coeff: Int, _ base: Int, _ location: SourceLocation = #_sourceLocation,
        _ prepare: (Analyzer) -> Void = { _ in }
    ) {
        let a = Analyzer()
        prepare(a)
        #expect(a.modularSet(e) == ModularSet(coeff, base), "\(e)", sourceLocation: location)
    }

    @Test func arithmetic() {
        check(x * 4 + y * 6 + 1, 2, 1)
        check(x * 4 - y * 6 - 1, 2, 1)
        check((x * 4 + 2) * (y * 4 + 1), 4, 2)
        check(floorDiv(x * 6 + 8, 2), 3, 1)
        check(floorMod(x * 6 + 8, 4), 2, 0)
        check(floorMod(x * 8 + 3, 4), 0, 3)
        check(Mod(x * 6 + 3, IntImm(4)), 2, 1)
        check(Div(x * 8, IntImm(4)), 2, 0)
        check(minimum(x * 3, y * 9), 3, 0)
        check(maximum(x * 3 + 1, y * 9 + 4), 3, 1)
        check(Select(x .>= 1, x * 2, y * 4 + 2), 2, 0)
        check(ifThenElse(x .>= 1, x * 6 + 1, y * 4 + 3), 2, 1)
    }

    @Test func bits() {
        check(bitwise("shift_left", x, IntImm(3)), 8, 0)
        check(bitwise("shift_right", x * 8 + 2, IntImm(1)), 4, 1)
        check(bitwise("bitwise_and", x * 8 + 3, IntImm(3)), 0, 3)
        check(bitwise("bitwise_and", x, IntImm(-4)), 4, 0)
        check(bitwise("bitwise_and", x * 6 + 1, IntImm(7)), 2, 1)
    }

    /// Other types wrap, so that only powers of two survive where they may.
    @Test func wrappingTypes() {
        check(Mul(i, IntImm(6, dtype: .int32)), 2, 0)
        check(Mul(i, IntImm(6, dtype: .int32)), 6, 0) { $0.bind(self.i, bound: ConstIntBound(0, 100)) }
        check(Mul(b, IntImm(6, dtype: .uint8)), 2, 0)
        check(Mul(b, IntImm(6, dtype: .uint8)), 6, 0) { $0.bind(self.b, bound: ConstIntBound(0, 40)) }
        check(Cast(.int8, Mul(i, IntImm(24, dtype: .int32))), 8, 0)
        check(Cast(.index, Mul(b, IntImm(4, dtype: .uint8))), 4, 0)
        check(Sub(IntImm(0, dtype: .uint8), Mul(b, IntImm(4, dtype: .uint8))), 4, 0)
        check(bitwise("shift_left", i, IntImm(3, dtype: .int32)), 8, 0)
        check(Cast(.bool, Mul(i, IntImm(2, dtype: .int32))), 1, 0)
    }

    @Test func vectors() {
        check(Ramp(x * 4, IntImm(2), 4), 2, 0)
        check(Broadcast(x * 4 + 1, 4), 4, 1)
    }

    @Test func bindings() {
        let v = Var("v")
        check(Let(v, x * 4 + 1, Mul(v, IntImm(2))), 8, 2)
    }

    @Test func constraints() {
        let a = Analyzer()
        a.withConstraint(floorMod(x, 4) .== 1) {
            #expect(a.modularSet(x) == ModularSet(4, 1))
            a.withConstraint(floorMod(x, 6) .== 3) { #expect(a.modularSet(x) == ModularSet(12, 9)) }
            #expect(a.modularSet(x * 2) == ModularSet(8, 2))
        }
        a.withConstraint(floorMod(x * 2 + 3, 6) .== 1) { #expect(a.modularSet(x) == ModularSet(3, 2)) }
        a.withConstraint(IntImm(2) .== floorMod(x, 8)) { #expect(a.modularSet(x + 1) == ModularSet(8, 3)) }
        a.withConstraint(Mod(x, IntImm(8)) .== IntImm(2)) { #expect(a.modularSet(x) == ModularSet(8, 2)) }
        a.withConstraint(and(x .== 7, y .>= 0)) { #expect(a.modularSet(x) == ModularSet(0, 7)) }
        #expect(a.modularSet(x) == .everything)
    }

    @Test func intersections() {
        #expect(ModularSet(4, 1).intersect(ModularSet(6, 3)) == ModularSet(12, 9))
        #expect(ModularSet(4, 1).intersect(ModularSet(6, 2)) == nil)
        #expect(ModularSet(0, 9).intersect(ModularSet(6, 3)) == ModularSet(0, 9))
        #expect(ModularSet(0, 8).intersect(ModularSet(6, 3)) == nil)
        for (c1, c2) in [(4, 6), (5, 7), (9, 6), (1, 3), (8, 2), (10, 10)] {
            for (b1, b2) in [(0, 0), (1, 3), (3, 1), (2, 4)] {
                let p = ModularSet(c1, b1)
                let q = ModularSet(c2, b2)
                let both = (-100...100).filter { p.contains($0) && q.contains($0) }
                let r = p.intersect(q)
                #expect(both == (-100...100).filter { r?.contains($0) ?? false }, "\(p) \(q)")
            }
        }
        let big = ModularSet(Int.max, 3)
        #expect(big.intersect(ModularSet(Int.max - 1, 3)) != nil)
        #expect(ModularSet(1 << 62, 5).intersect(ModularSet(3, 1)) != nil)
    }

    @Test func extremes() {
        for k in [Int.min, Int.min + 1, -1, 0, 1, Int.max] {
            for l in [Int.min, -3, 0, 1, Int.max] {
                let p = ModularSet(k, l)
                for q in [ModularSet(l, k), ModularSet(constant: k), .everything] {
                    _ = [p + q, p * q, p.union(q), p.intersect(q) ?? p, p.wrapped(bits: 64)]
                }
            }
        }
        #expect(modularInverse(3, 7) == 5 && modularInverse(2, 4) == nil && modularInverse(-1, 5) == 4)
        #expect(lcm(4, 6) == 12 && lcm(Int.max, Int.max - 1) == nil && gcd(Int.min, Int.min) == 1)
    }
}
