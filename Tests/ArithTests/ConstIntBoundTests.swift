import ApusArith
import ApusIR
import ApusRuntime
import ApusTIR
import ApusTestSupport
import Testing

/// The rules one by one.
@Suite struct ConstIntBoundTests {
    let x = Var("x")
    let y = Var("y")
    let i = Var("i", dtype: .int32)
    let j = Var("j", dtype: .int32)
    let b = Var("b", dtype: .uint8)
    static let inf = ConstIntBound.posInf
    static let neg = ConstIntBound.negInf

    func check(
        _ e: PrimExpr, _ bounds: [(Var, ClosedRange<Int>)], _ low: Int, _ high: Int,
        _ location: SourceLocation = #_sourceLocation
    ) {
        let a = Analyzer()
        for (v, r) in bounds { a.bind(v, bound: ConstIntBound(r.lowerBound, r.upperBound)) }
        #expect(a.constIntBound(e) == ConstIntBound(low, high), "\(e)", sourceLocation: location)
    }

    @Test func types() {
        let a = Analyzer()
        #expect(a.constIntBound(i) == ConstIntBound(-(1 << 31), (1 << 31) - 1))
        #expect(a.constIntBound(b) == ConstIntBound(0, 255))
        #expect(a.constIntBound(Var("p", dtype: .bool)) == ConstIntBound(0, 1))
        #expect(a.constIntBound(Var("w", dtype: .uint64)).isEverything)
        #expect(a.constIntBound(IntImm(7, dtype: .int8)) == ConstIntBound(7))
    }

    @Test func casts() {
        check(Cast(.int8, i), [(i, -5...100)], -5, 100)
        check(Cast(.int8, i), [(i, -5...200)], -128, 127)
        check(Cast(.uint8, i), [(i, 0...200)], 0, 200)
        check(Cast(.uint8, i), [(i, -1...200)], 0, 255)
        check(Cast(.uint64, i), [(i, -1...200)], Self.neg, Self.inf)
        check(Cast(.uint64, i), [(i, 0...200)], 0, 200)
        check(Cast(.bool, i), [(i, 1...200)], 1, 1)
        check(Cast(.bool, i), [(i, 0...0)], 0, 0)
        check(Cast(.int32, Var("f", dtype: .float32)), [], -(1 << 31), (1 << 31) - 1)
        check(Cast(.index, i), [(i, -3...9)], -3, 9)
    }

    @Test func sums() {
        check(x + y, [(x, 0...4), (y, -2...10)], -2, 14)
        check(x - y, [(x, 0...4), (y, -2...10)], -10, 6)
        check(x * y, [(x, -2...4), (y, -3...10)], -20, 40)
        check(Add(i, j), [(i, 0...100), (j, -5...7)], -5, 107)
        check(Mul(i, i), [(i, -7...5)], 0, 49)
        check(Add(b, b), [(b, 0...200)], 0, 255)
        check(Add(b, b), [(b, 0...100)], 0, 200)
        check(Sub(b, IntImm(1, dtype: .uint8)), [(b, 0...9)], 0, 255)
        check(Sub(b, IntImm(1, dtype: .uint8)), [(b, 1...9)], 0, 8)
    }

    @Test func truncatingDivision() {
        check(Div(x, y), [(x, -9...4), (y, 2...3)], -4, 2)
        check(Div(x, y), [(x, -9...4), (y, -3...2)], -9, 9)
        check(Div(x, IntImm(-2)), [(x, -9...4)], -2, 4)
        check(Div(x, IntImm(4)), [(x, 4...Self.inf)], 1, Self.inf)
        check(Mod(x, y), [(x, -9...4), (y, 4...8)], -7, 4)
        check(Mod(x, y), [(x, -9...Self.inf), (y, 4...8)], -7, 7)
        check(Mod(x, IntImm(-5)), [(x, 1...Self.inf)], 0, 4)
        check(Mod(x, IntImm(10)), [(x, -4...4)], -4, 4)
        check(Mod(i, j), [(i, -9...9), (j, 0...3)], -2, 2)
    }

    @Test func floorDivision() {
        check(floorDiv(x, y), [(x, -9...4), (y, 2...3)], -5, 2)
        check(floorDiv(x, y), [(x, -9...4), (y, -3...2)], -5 - 4, 9)
        check(floorDiv(x, IntImm(-2)), [(x, -9...4)], -2, 4)
        check(floorMod(x, y), [(x, -9...4), (y, 4...8)], 0, 7)
        check(floorMod(x, y), [(x, 0...3), (y, 4...8)], 0, 3)
        check(floorMod(x, IntImm(-5)), [], -4, 0)
        check(FloorDiv(i, IntImm(-1, dtype: .int32)), [(i, -4...5)], -5, 4)
        check(FloorDiv(i, IntImm(0, dtype: .int32)), [(i, -4...5)], -(1 << 31), (1 << 31) - 1)
    }

    @Test func extremaAndSelection() {
        check(minimum(x, y), [(x, -9...4), (y, 2...3)], -9, 3)
        check(maximum(x, y), [(x, -9...4), (y, 2...3)], 2, 4)
        check(minimum(x, IntImm(7)), [], Self.neg, 7)
        check(Select(x .< 3, x, y), [(x, -2...8), (y, 1...4)], -2, 4)
        check(Select(x .>= 0, x, IntImm(0)), [(x, -9...4)], 0, 4)
        check(ifThenElse(y .< x, y, x - 1), [(x, 1...6), (y, 0...100)], 0, 5)
        check(Call(.index, intrinsic("likely", .index, [x]).op, [x]), [(x, 1...6)], 1, 6)
    }

    @Test func bits() {
        let a = Analyzer()
        a.bind(x, bound: ConstIntBound(-2, 10))
        a.bind(y, bound: ConstIntBound(3, 12))
        #expect(a.constIntBound(bitwise("bitwise_and", x, y)) == ConstIntBound(0, 12))
        #expect(a.constIntBound(bitwise("bitwise_or", y, y)) == ConstIntBound(3, 12))
        #expect(a.constIntBound(bitwise("bitwise_or", x, y)) == ConstIntBound(-2, 15))
        #expect(a.constIntBound(bitwise("bitwise_xor", y, y)) == ConstIntBound(0))
        #expect(a.constIntBound(bitwise("bitwise_not", y)) == ConstIntBound(-13, -4))
        #expect(a.constIntBound(bitwise("shift_right", x, IntImm(1))) == ConstIntBound(-1, 5))
        #expect(a.constIntBound(bitwise("shift_right", IntImm(1024), y)) == ConstIntBound(0, 128))
        #expect(a.constIntBound(bitwise("shift_left", x, IntImm(2))) == ConstIntBound(-8, 40))
        #expect(a.constIntBound(bitwise("shift_left", IntImm(1), y)) == ConstIntBound(8, 4096))
        #expect(a.constIntBound(bitwise("popcount", y)) == ConstIntBound(1, 4))
        #expect(a.constIntBound(bitwise("popcount", x)) == ConstIntBound(0, 64))
        #expect(a.constIntBound(bitwise("clz", y)) == ConstIntBound(60, 62))
        #expect(a.constIntBound(intrinsic("abs", .index, [x])) == ConstIntBound(0, 10))
    }

    /// Index arithmetic does not overflow; data is no index.
    @Test func dataMayWrap() {
        let a = Analyzer()
        let load = BufferLoad(Buffer("D", [8], .int64), [x])
        a.bind(x, bound: ConstIntBound(0, 7))
        #expect(a.constIntBound(minimum(load, IntImm(5))) == ConstIntBound(Self.neg, 5))
        #expect(a.constIntBound(minimum(load, IntImm(5)) - 10).isEverything)
        #expect(a.constIntBound(maximum(minimum(load, IntImm(5)), IntImm(0)) - 10) == ConstIntBound(-10, -5))
        #expect(a.modularSet(load * 12) == ModularSet(4, 0))
        #expect(a.modularSet(x * 12) == ModularSet(12, 0))
    }

    @Test func bindings() {
        let v = Var("v")
        check(Let(v, x + 1, Mul(v, IntImm(2))), [(x, 1...5)], 4, 12)
        let w = Var("w", dtype: .int32)
        check(Let(w, Add(i, i), Sub(w, IntImm(1, dtype: .int32))), [(i, 1...5)], 1, 9)
    }

    @Test func vectors() {
        check(Ramp(x, IntImm(2), 4), [(x, 1...5)], 1, 11)
        check(Broadcast(i, 4), [(i, 1...5)], 1, 5)
        check(Add(Ramp(i, IntImm(-1, dtype: .int32), 4), Broadcast(i, 4)), [(i, 1...5)], -1, 10)
    }

    @Test func comparisonsAndLogic() {
        check(LT(i, j), [(i, 0...3), (j, 4...5)], 1, 1)
        check(GE(i, j), [(i, 0...3), (j, 4...5)], 0, 0)
        check(EQ(i, j), [(i, 0...3), (j, 3...5)], 0, 1)
        check(And(LT(i, j), EQ(i, i)), [(i, 0...3), (j, 4...5)], 0, 1)
        check(Not(LT(i, j)), [(i, 0...3), (j, 4...5)], 0, 0)
    }

    @Test func constraints() {
        let a = Analyzer()
        a.withConstraint(and(x .>= 3, IntImm(9) .> x)) { #expect(a.constIntBound(x) == ConstIntBound(3, 8)) }
        a.withConstraint(x .== 4) { #expect(a.constIntBound(x * 2) == ConstIntBound(8)) }
        a.withConstraint((x + y) .< 5) {
            #expect(a.constIntBound(x + y).max == 4)
            #expect(a.constIntBound(x + y + 3).max == 7)
            #expect(a.constIntBound(x * -2 - y * 2).min == -8)
            #expect(a.constIntBound(x).isEverything)
        }
        a.withConstraint(LT(i, IntImm(5, dtype: .int32))) { #expect(a.constIntBound(i).max == 4) }
        a.withConstraint(GE(Mul(i, j), IntImm(5, dtype: .int32))) {
            #expect(a.constIntBound(Mul(i, j)).min == 5)
        }
        a.withConstraint(and(floorMod(x, y) .>= 2, (x * y) .< 9)) {
            #expect(a.constIntBound(floorMod(x, y)).min == 2)
            #expect(a.constIntBound(x * y).max == 8)
        }
        // One side at its ends bounds the other.
        a.bind(y, bound: ConstIntBound(2, 9))
        a.withConstraint((x * 2 + y) .< 20) { #expect(a.constIntBound(x).max == 8) }
        #expect(a.constIntBound(x + y).isEverything)
        #expect(a.constIntBound(i).min == -(1 << 31))
    }

    @Test func saturationAtTheEnds() {
        for k in [Int.min, Int.min + 1, -1, 0, 1, Int.max - 1, Int.max] {
            for l in [Int.min, -1, 0, 1, Int.max] {
                let p = ConstIntBound(min(k, l), max(k, l))
                for q in [p, .everything, ConstIntBound(l), ConstIntBound(0, 63), ConstIntBound(-1, 1)] {
                    _ = [
                        p + q, p - q, p * q, p.floorDividing(by: q), p.floorModulo(q), p.truncQuotient(q),
                        p.truncRemainder(q), p.bitAnd(q), p.bitOr(q), p.bitXor(q), p.shiftedLeft(q),
                        p.shiftedRight(q), p.magnitude, p.populationCount(bits: 64),
                        p.leadingZeros(bits: 64), p.union(q), p.intersect(q),
                    ]
                }
            }
        }
        #expect(ConstIntBound(1, 5).shiftedLeft(ConstIntBound(62, 70)).max == ConstIntBound.posInf)
    }

    /// Every operation of intervals against all pairs of members.
    @Test func operationsAreExactlySound() {
        var r = SeededRandom(seed: 11)
        typealias Op = (
            name: String, set: (ConstIntBound, ConstIntBound) -> ConstIntBound, value: (Int, Int) -> Int?
        )
        let ops: [Op] = [
            ("floorDiv", { $0.floorDividing(by: $1) }, { floorDivide($0, $1) }),
            ("floorMod", { $0.floorModulo($1) }, { floorModulo($0, $1) }),
            ("div", { $0.truncQuotient($1) }, { $1 == 0 ? nil : $0 / $1 }),
            ("mod", { $0.truncRemainder($1) }, { $1 == 0 ? nil : $0 % $1 }),
            ("and", { $0.bitAnd($1) }, { $0 & $1 }), ("or", { $0.bitOr($1) }, { $0 | $1 }),
            ("xor", { $0.bitXor($1) }, { $0 ^ $1 }),
            ("shl", { $0.shiftedLeft($1) }, { $1 < 0 ? nil : $0 << $1 }),
            ("shr", { $0.shiftedRight($1) }, { $1 < 0 ? nil : $0 >> $1 }),
        ]
        for _ in 0..<400 {
            let a = r.below(40) - 20
            let b = a + r.below(12)
            let c = r.below(24) - 12
            let d = c + r.below(8)
            for op in ops {
                let set = op.set(ConstIntBound(a, b), ConstIntBound(c, d))
                var low = Int.max
                var high = Int.min
                for x in a...b {
                    for y in c...d {
                        guard let v = op.value(x, y) else { continue }
                        low = min(low, v)
                        high = max(high, v)
                    }
                }
                if low > high { continue }
                #expect(set.min <= low && set.max >= high, "\(op.name) [\(a), \(b)] [\(c), \(d)]: \(set)")
                // Quotients have exact ends.
                if op.name.hasSuffix("iv") || op.name == "shr" && c >= 0 {
                    #expect(set == ConstIntBound(low, high), "\(op.name) [\(a), \(b)] [\(c), \(d)]: \(set)")
                }
            }
        }
    }
}
