import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR
import Testing

@Suite struct SimplifyTests {
    let x = Var("x")
    let y = Var("y")
    let z = Var("z")
    let n = Var("n")
    let m = Var("m")

    func analyzer() -> Analyzer {
        let a = Analyzer()
        a.bind(x, IRRange(0, extent: 64))
        a.bind(y, IRRange(0, extent: 8))
        a.bindShapeVariable(n, atLeast: 1)
        a.bindShapeVariable(m, atLeast: 1)
        return a
    }

    func expect(
        _ e: PrimExpr, _ text: String, _ a: Analyzer? = nil, _ location: SourceLocation = #_sourceLocation
    ) {
        let a = a ?? analyzer()
        let s = a.simplify(e)
        #expect("\(s)" == text, "of \(e)", sourceLocation: location)
        #expect(a.simplify(s) === s || sameExpr(a.simplify(s), s), sourceLocation: location)
    }

    @Test func sums() {
        expect(x + y - x, "y")
        expect((x + 1) * 3 - x * 3, "3")
        expect(z * 2 + z * 3 + 4 - z * 5, "4")
        expect((z + 1) * (n + 2) - z * n, "n + z * 2 + 2")
    }

    @Test func splitsDivide() {
        expect(floorDiv(x * 8 + y, 8), "x")
        expect(floorMod(x * 8 + y, 8), "y")
        expect(floorDiv(x * 16 + y * 2 + 1, 16), "x")
        expect(floorDiv(x * 8 + y, 64), "\(floorDiv(x, 8))")
        expect(floorMod(x * 8 + y, 64), "y + x % 8 * 8")
        expect(floorDiv(z * 8 + y + 3 * 8, 8), "z + 3")
        expect(floorDiv(floorDiv(z, 4), 8), "\(floorDiv(z, 32))")
        expect(floorDiv(floorMod(z, 64), 8), "\(floorMod(floorDiv(z, 8), 8))")
    }

    @Test func recombination() {
        expect(floorDiv(z, 8) * 8 + floorMod(z, 8), "z")
        expect(floorMod(floorDiv(z, 8), 4) * 8 + floorMod(z, 8), "\(floorMod(z, 32))")
        expect(floorDiv(z, 32) * 32 + floorMod(floorDiv(z, 8), 4) * 8 + floorMod(z, 8), "z")
        expect(floorMod(floorMod(z, 64), 8), "\(floorMod(z, 8))")
        expect(floorMod(floorMod(z, 64) + 1, 8), "\(floorMod(z + 1, 8))")
    }

    @Test func truncatingDivision() {
        expect(truncDiv(x, IntImm(4)), "\(floorDiv(x, 4))")
        expect(truncMod(x * 4 + 2, IntImm(4)), "2")
        let t = analyzer().simplify(truncDiv(z, IntImm(4)))
        #expect(t.kind == .div)
    }

    @Test func symbolicExtents() {
        let a = analyzer()
        let i = Var("i")
        let j = Var("j")
        a.bind(i, IRRange(extent: n))
        a.bind(j, IRRange(extent: m))
        expect(floorDiv(i * m + j, m), "i", a)
        expect(floorMod(i * m + j, m), "j", a)
        #expect(a.canProve((i * m + j) .< (n * m)))
        #expect(a.canProve((i * m + j) .>= 0))
        #expect(!a.canProve((i * m + j) .< (n * m - 1)))
        expect(floorDiv(n * m * 4, m), "n * 4", a)
        #expect(a.canProve(floorDiv(n, 8) * 8 .<= n))
        #expect(a.canProve(floorDiv(n + 7, 8) * 8 .>= n))
        #expect(a.canProveLess(minimum(i, n - 1), n))
    }

    @Test func comparisons() {
        expect((x * 8 + y) .< 64, "x < 8")
        expect((x * 8 + y) .< 512, "True")
        expect(x .< 0, "False")
        expect((z * 4 + 3) .< 17, "z < 4")
        expect((z * 4) .== 6, "False")
        expect((z * 4) .== 8, "z == 2")
        expect((z + 3) .< (z + 5), "True")
        expect((z + 1) .> z, "True")
        expect((x + 1) .!= IntImm(0), "True")
        expect(x .>= 64, "False")
        expect(z .<= n, "z <= n")
        expect((z + 1) .<= n, "z < n")
    }

    @Test func extrema() {
        expect(minimum(x, IntImm(100)), "x")
        expect(maximum(x, IntImm(-1)), "x")
        expect(minimum(z, z + 1), "z")
        expect(maximum(z * 2 + 4, z * 2), "z * 2 + 4")
        expect(minimum(minimum(z, IntImm(7)), IntImm(5)), "\(minimum(z, IntImm(5)))")
        expect(maximum(minimum(z, IntImm(3)), IntImm(5)), "5")
        expect(minimum(z, y) - minimum(y, z), "0")
        expect(minimum(z, IntImm(4)) .< 9, "True")
        expect(maximum(z, n) .>= n, "True")
    }

    @Test func logic() {
        expect(and(z .< 5, z .< 8), "z < 5")
        expect(and(z .< 5, z .>= 5), "False")
        expect(or(z .< 5, z .>= 3), "True")
        expect(and(z .< n, not(z .< n)), "False")
        expect(not(z .< 5), "z >= 5")
        expect(not(and(z .< n, y .< m)), "\(or(n .<= z, m .<= y))")
        expect(and(z .< n, and(y .< m, z .< n)), "\(and(z .< n, y .< m))")
        expect(ifThenElse(z .< 5, select(z .< 9, x, y), y), "\(ifThenElse(z .< 5, x, y))")
        expect(Select(z .< 5, z, IntImm(5)), "\(minimum(z, IntImm(5)))")
    }

    @Test func constraintsDecide() {
        let a = analyzer()
        a.withConstraint(z .< n) {
            #expect(a.canProve((z + 1) .<= n))
            #expect(a.canProve(z .< (n + 4)))
            #expect(!a.canProve(z .< (n - 1)))
        }
        #expect(!a.canProve(z .< n))
        a.withConstraint(and(z .>= 0, (z * 8 + y) .< n)) { #expect(a.canProve(z * 8 .< n)) }
        let p = Var("p", dtype: .bool)
        a.withConstraint(p) { #expect(a.canProve(p)) }
        a.withConstraint(not(p)) { #expect(a.simplify(p).isFalse) }
    }

    @Test func letBindings() {
        let a = analyzer()
        a.bind(z, x * 4)
        expect(floorMod(z, 4) + floorDiv(z, 4), "x", a)
        let w = Var("w")
        a.bindProperties(of: w, from: x * 4 + 1)
        #expect(a.constIntBound(w) == ConstIntBound(1, 253))
        expect(floorMod(w, 4), "1", a)
        #expect("\(a.simplify(w + 1))" == "w + 1")
    }

    @Test func dataIsNotTrustedNotToWrap() {
        let b = Buffer("b", [16], .int64)
        let load = BufferLoad(b, [IntImm(0)])
        let e = floorDiv(load * 4, 4)
        #expect(analyzer().simplify(e).kind == .floorDiv)
        #expect(analyzer().simplify((load + 1) .> load).kind != .intImm)
        // Bounded data is: an index clamped into range.
        let clamped = minimum(maximum(load, IntImm(0)), IntImm(15))
        #expect(analyzer().canProve(clamped .< 16))
        #expect(analyzer().simplify(floorDiv(clamped * 4, 4)).kind == .min)
    }

    @Test func floatsAreLeftAlone() {
        let f = Var("f", dtype: .float32)
        let e = Add(f, FloatImm(0))
        #expect(analyzer().simplify(e) === e)
        let mn = Select(LT(f, FloatImm(1)), f, FloatImm(1))
        #expect(analyzer().simplify(mn) === mn)
    }

    /// Out of range a conversion has no promised value: it is left to whoever executes it.
    @Test func floatsOutOfRangeStayConversions() {
        for (v, t) in [(-1.0, DataType.uint64), (-1, .uint8), (300, .uint8), (1e30, .int64), (.nan, .int32)] {
            let e = Cast(t, FloatImm(v, dtype: .float64))
            #expect(analyzer().simplify(e) === e, "\(e)")
            #expect(cast(t, FloatImm(v, dtype: .float64)).kind == .cast)
        }
        #expect(analyzer().simplify(Cast(.uint8, FloatImm(255.5))).asInt == 255)
        #expect(analyzer().simplify(Cast(.int8, FloatImm(-1.5))).asInt == -1)
    }

    @Test func zerosOfFloatsHaveSigns() {
        for (x, y) in [(0.0, -0.0), (-0.0, 0.0)] {
            let low = analyzer().simplify(Min(FloatImm(x), FloatImm(y))).constantFloat
            let high = analyzer().simplify(Max(FloatImm(x), FloatImm(y))).constantFloat
            #expect(low == 0 && low?.sign == .minus)
            #expect(high == 0 && high?.sign == .plus)
        }
    }

    @Test func comparisonsSettleAtOnce() {
        expect(GT(minimum(z, IntImm(12)), IntImm(5)), "z >= 6")
        let p = Var("p", dtype: .bool)
        expect(GT(Select(p, z, IntImm(4)), IntImm(5)), "p and z >= 6")
        expect(z - minimum(z, y) + 12, "T.max(z - y, 0) + 12")
        let b = Buffer("b", [16], .int64)
        expect(BufferLoad(b, [floorMod(Select(p, IntImm(-1), IntImm(-2)), 8)]), "b[T.Select(p, 7, 6)]")
    }

    /// `max(0 - x, 0)` and `0 - min(x, 0)` are one: rules that prefer either would never end.
    @Test func oppositesOfExtremaEnd() {
        let v = Var("v", dtype: .index.with(lanes: 4))
        func c(_ k: Int) -> PrimExpr { Broadcast(IntImm(k), 4) }
        for e in [
            Max(Sub(c(0), v), c(0)), Min(Sub(c(0), v), c(0)), Max(Sub(c(-1), v), c(0)),
            Max(Mul(v, c(-1)), c(0)),
            Sub(c(3), Min(v, c(3))), FloorDiv(Max(v, c(0)), c(-1)),
        ] as [PrimExpr] {
            let a = analyzer()
            let s = a.simplify(e)
            #expect(a.statistics.cutOff == 0, "\(e)")
            #expect(a.simplify(s) === s)
        }
    }

    /// The least number is its own opposite, and what is doubled may change its sign: data is not trusted not to.
    @Test func dataAtTheEndsKeepsItsValue() throws {
        let data = NDArray([Int.min, .max, .min + 1, -1, 0, 1, 7, 1 << 62])
        let b = Buffer("b", [8], .int64)
        let k = Var("k")
        let load = BufferLoad(b, [k])
        let w = Var("w")
        let positive = Max(load, IntImm(0))
        let vector = Max(BufferLoad(b, [Ramp(k, IntImm(0), 4)]), Broadcast(IntImm(0), 4))
        let three = Mul(vector, Broadcast(IntImm(3), 4))
        for e in [
            FloorDiv(load, IntImm(-2)), FloorMod(load, IntImm(-3)), Div(Mul(positive, IntImm(3)), IntImm(8)),
            Mod(Mul(positive, IntImm(3)), IntImm(8)), Min(Mul(Min(load, IntImm(5)), IntImm(2)), IntImm(20)),
            Let(w, load, Select(GT(Add(w, IntImm(1)), w), IntImm(1), IntImm(0))),
            FloorDiv(Mul(Min(load, IntImm(5)), IntImm(2)), IntImm(4)), Mod(three, Broadcast(IntImm(8), 4)),
        ] as [PrimExpr] {
            let a = Analyzer()
            a.bind(k, IRRange(0, extent: 8))
            let s = a.simplify(e)
            let bound = e.dtype.isScalar ? a.constIntBound(e) : .everything
            for i in 0..<8 {
                let values: [Var: TIRArgument] = [k: .int(i), b.data: .array(data)]
                let want = try TIRInterpreter.evaluateLanes(e, values)
                let got = try TIRInterpreter.evaluateLanes(s, values)
                #expect(zip(want, got).allSatisfy(SimplifyFuzzTests.equal), "\(e) became \(s) at \(i)")
                if case .int(let v) = want[0] { #expect(bound.contains(v), "\(e) at \(i): \(bound)") }
            }
        }
    }

    @Test func overflowStaysOpaque() {
        let a = Analyzer()
        let big = IntImm(Int.max / 2)
        let e = Mul(Mul(z, big), IntImm(8))
        let s = a.simplify(e)
        #expect(evaluate(s, [z: 0]) == 0)
        #expect(evaluate(a.simplify(FloorDiv(z, IntImm(0))), [z: 1]) == nil)
    }

    @Test func linearForms() {
        let a = analyzer()
        let r = a.linearCoefficient(x * 12 + y + 5, of: x)
        #expect(r?.coefficient == 12)
        #expect(a.linearCoefficient(floorDiv(z, 3) + z, of: z) == nil)
        #expect(a.detectLinearEquation(x * 2 + y * 3 + n, [x, y])?.coefficients.map(\.asInt) == [2, 3])
        let s = a.solve((z * 4 + x) .< n, for: z)
        #expect(s?.lower == nil && s?.upper != nil)
        // Exactness of the solution.
        for (zv, xv, nv) in [(0, 0, 1), (3, 2, 14), (3, 2, 15), (-4, 1, 7), (2, 7, 15), (2, 7, 16)] {
            guard let upper = s?.upper else { break }
            let holds = zv * 4 + xv < nv
            #expect((zv <= evaluate(upper, [x: xv, n: nv])!) == holds)
        }
    }

    @Test func extremeConstantsDoNotTrap() {
        let a = analyzer()
        for k in [Int.min, Int.min + 1, Int.max, -1, 0, 1] {
            for l in [Int.min, Int.max, -1, 1, 0] {
                let exprs: [PrimExpr] = [
                    Add(Mul(z, IntImm(k)), IntImm(l)), FloorDiv(Mul(z, IntImm(k)), IntImm(l)),
                    FloorMod(Add(z, IntImm(k)), IntImm(l)), Div(Mul(z, IntImm(k)), IntImm(l)),
                    Mod(IntImm(k), IntImm(l)), FloorDiv(Mul(z, IntImm(k)), Mul(n, IntImm(l))),
                    LT(Mul(z, IntImm(k)), IntImm(l)), EQ(Add(z, IntImm(k)), IntImm(l)),
                    LE(Mul(z, IntImm(k)), Mul(n, IntImm(l))), Min(Add(z, IntImm(k)), Mul(z, IntImm(l))),
                    GE(Sub(IntImm(k), z), Sub(n, IntImm(l))),
                ]
                for e in exprs {
                    let s = a.simplify(e)
                    let v: [Var: Int] = [z: 3, n: 2]
                    if let want = evaluate(e, v), let got = evaluate(s, v) { #expect(got == want, "\(e)") }
                    _ = a.constIntBound(s.dtype == .index ? s : IntImm(0))
                    a.withConstraint(e.dtype.isBool ? e : trueExpr) { _ = a.simplify(Add(z, n)) }
                }
            }
        }
    }

    @Test func identityIsKept() {
        let a = analyzer()
        for e in [x + y, x * 4 + 1, floorDiv(z, 8), and(z .< n, y .< m), minimum(z, n)] as [PrimExpr] {
            let s = a.simplify(e)
            #expect(sameExpr(s, e) == (s === e), "\(e)")
        }
    }
}

@Suite struct RandomSimplifyTests {
    struct Random {
        var state: UInt64
        mutating func next() -> UInt64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return state
        }
        mutating func below(_ n: Int) -> Int { Int(next() % UInt64(n)) }
    }

    static let vars: [Var] = [Var("a"), Var("b"), Var("c"), Var("d")]
    static let ranges: [(Int, Int)] = [(0, 8), (0, 5), (-4, 9), (1, 6)]

    static func integer(_ r: inout Random, _ depth: Int) -> PrimExpr {
        if depth == 0 || r.below(8) == 0 {
            return r.below(4) == 0 ? IntImm(r.below(25) - 8) : vars[r.below(vars.count)]
        }
        let constants = [2, 3, 4, 5, 8, 16, -2, 6]
        switch r.below(12) {
        case 0, 1, 2: return Add(integer(&r, depth - 1), integer(&r, depth - 1))
        case 3: return Sub(integer(&r, depth - 1), integer(&r, depth - 1))
        case 4, 5: return Mul(integer(&r, depth - 1), IntImm(constants[r.below(8)]))
        case 6: return FloorDiv(integer(&r, depth - 1), IntImm(constants[r.below(8)]))
        case 7: return FloorMod(integer(&r, depth - 1), IntImm(constants[r.below(8)]))
        case 8: return Min(integer(&r, depth - 1), integer(&r, depth - 1))
        case 9: return Max(integer(&r, depth - 1), integer(&r, depth - 1))
        case 10:
            return r.below(2) == 0
                ? Select(boolean(&r, depth - 1), integer(&r, depth - 1), integer(&r, depth - 1))
                : Mul(integer(&r, depth - 1), integer(&r, depth - 1))
        default:
            return r.below(2) == 0
                ? FloorDiv(integer(&r, depth - 1), vars[3]) : FloorMod(integer(&r, depth - 1), vars[3])
        }
    }

    static func boolean(_ r: inout Random, _ depth: Int) -> PrimExpr {
        if depth <= 0 { return LT(vars[r.below(4)], IntImm(r.below(8))) }
        let kinds: [PrimExprKind] = [.lt, .le, .gt, .ge, .eq, .ne]
        switch r.below(6) {
        case 0: return And(boolean(&r, depth - 1), boolean(&r, depth - 1))
        case 1: return Or(boolean(&r, depth - 1), boolean(&r, depth - 1))
        case 2: return Not(boolean(&r, depth - 1))
        default: return BinaryExpr.raw(kinds[r.below(6)], integer(&r, depth - 1), integer(&r, depth - 1))
        }
    }

    /// Values of the variables for point `i`.
    static func point(_ r: inout Random) -> [Var: Int] {
        var v: [Var: Int] = [:]
        for i in vars.indices { v[vars[i]] = ranges[i].0 + r.below(ranges[i].1 - ranges[i].0) }
        return v
    }

    @Test("simplification keeps the value of random expressions", arguments: 0..<10)
    func equivalence(_ seed: Int) {
        var r = Random(state: UInt64(seed + 1) &* 0x9E37_79B9_7F4A_7C15)
        var a = Analyzer()
        for i in 0..<1000 {
            // A fresh analyzer now and then, an old one with many terms otherwise.
            if i % 50 == 0 {
                a = Analyzer()
                for v in Self.vars.indices {
                    a.bind(
                        Self.vars[v], IRRange(Self.ranges[v].0, extent: Self.ranges[v].1 - Self.ranges[v].0))
                }
            }
            let e = i % 3 == 0 ? Self.boolean(&r, 4) : Self.integer(&r, 4)
            let s = a.simplify(e)
            let bound = e.dtype == .index ? a.constIntBound(e) : ConstIntBound.everything
            let modular = e.dtype == .index ? a.modularSet(e) : ModularSet.everything
            for _ in 0..<12 {
                let values = Self.point(&r)
                guard let want = evaluate(e, values) else { continue }
                let got = evaluate(s, values)
                if got != want {
                    Issue.record("\(e)  became  \(s): \(want) is now \(String(describing: got)) at \(values)")
                    break
                }
                if !bound.contains(want) { Issue.record("\(e): \(want) is outside \(bound)") }
                let offset = want - modular.base
                if modular.coeff == 0 ? offset != 0 : offset % modular.coeff != 0 {
                    Issue.record("\(e): \(want) is not in \(modular)")
                }
            }
            let again = a.simplify(s)
            if !sameExpr(again, s) {
                // A second round may still improve, but must not change the value.
                let values = Self.point(&r)
                if let want = evaluate(s, values) { #expect(evaluate(again, values) == want) }
            }
        }
    }

    @Test("interval sets hold every value", arguments: 0..<4)
    func intervals(_ seed: Int) {
        var r = Random(state: UInt64(seed + 77) &* 0x9E37_79B9_7F4A_7C15)
        let a = Analyzer()
        let v = Self.vars
        var domains: [Var: IntervalSet] = [:]
        for i in 0..<2 {
            domains[v[i]] = IntervalSet(
                IRRange(Self.ranges[i].0, extent: Self.ranges[i].1 - Self.ranges[i].0))
        }
        a.bind(v[3], IRRange(1, extent: 5))
        for _ in 0..<400 {
            let e = Self.integer(&r, 3)
            let s = a.evalSet(e, domains)
            for _ in 0..<10 {
                let values = Self.point(&r)
                guard let x = evaluate(e, values) else { continue }
                if let lo = s.min, let l = evaluate(lo, values), l > x {
                    Issue.record("\(e): \(x) < \(lo) = \(l)")
                }
                if let hi = s.max, let h = evaluate(hi, values), h < x {
                    Issue.record("\(e): \(x) > \(hi) = \(h)")
                }
            }
        }
    }

    @Test("symbolic constraints are used soundly", arguments: 0..<4)
    func constraints(_ seed: Int) {
        var r = Random(state: UInt64(seed + 1234) &* 0x9E37_79B9_7F4A_7C15)
        let a = Analyzer()
        for v in Self.vars.indices {
            a.bind(Self.vars[v], IRRange(Self.ranges[v].0, extent: Self.ranges[v].1 - Self.ranges[v].0))
        }
        for _ in 0..<400 {
            let c = Self.boolean(&r, 2)
            let e = r.below(2) == 0 ? Self.boolean(&r, 3) : Self.integer(&r, 3)
            let s = a.withConstraint(c) { a.simplify(e) }
            for _ in 0..<12 {
                let values = Self.point(&r)
                guard evaluate(c, values) == 1, let want = evaluate(e, values) else { continue }
                let got = evaluate(s, values)
                if got != want {
                    Issue.record(
                        "\(e)  became  \(s) under \(c): \(want), now \(String(describing: got)) at \(values)")
                    break
                }
            }
        }
    }
}
