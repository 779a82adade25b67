import ApusArith
import ApusIR
import ApusRuntime
import ApusTIR
import ApusTestSupport
import Testing

/// Random expressions of every integer type, all operations, against the interpreter at random points of the
/// variables' ranges: every value lies within the constant bounds and in the modular set.
@Suite struct BoundsFuzz {
    static let types: [DataType] = [.int8, .uint8, .int16, .int32, .uint32, .index, .index, .uint64, .bool]

    struct Maker {
        var r: SeededRandom
        var variables: [DataType: [Var]] = [:]
        var ranges: [Var: ClosedRange<Int>] = [:]
        var order: [Var] = []

        init(seed: UInt64) {
            r = SeededRandom(seed: seed)
            for t in BoundsFuzz.types where variables[t] == nil {
                for k in 0..<2 {
                    let v = Var("\(t)_\(k)", dtype: t)
                    variables[t, default: []].append(v)
                    ranges[v] = range(t)
                    order.append(v)
                }
            }
        }

        mutating func range(_ t: DataType) -> ClosedRange<Int> {
            if t.isBool { return 0...1 }
            let bits = Int(t.bits)
            let small = t.isUInt ? r.below(20) : r.below(40) - 20
            // Index arithmetic is trusted not to overflow: its variables stay small.
            if t == .index || r.below(2) == 0 { return small...(small + r.below(12)) }
            if t == .uint64 { return Int.min...Int.max }
            return t.isUInt ? 0...((1 << bits) - 1) : (-(1 << (bits - 1)))...((1 << (bits - 1)) - 1)
        }

        mutating func value(_ v: Var) -> Int {
            let g = ranges[v] ?? 0...0
            switch r.below(4) {
            case 0: return g.lowerBound
            case 1: return g.upperBound
            default:
                let width = UInt(bitPattern: g.upperBound &- g.lowerBound)
                let n = UInt(truncatingIfNeeded: r.next())
                return g.lowerBound &+ Int(bitPattern: width == .max ? n : n % (width + 1))
            }
        }

        mutating func constant(_ t: DataType) -> PrimExpr {
            if t.isBool { return IntImm(r.below(2), dtype: t) }
            let list = [0, 1, 2, 3, 4, 6, 7, 8, 16, 100, -1, -2, -4, 127]
            let v = list[r.below(list.count)]
            return IntImm(IntImm.fits(v, t) ? v : 5, dtype: t)
        }

        mutating func expr(_ t: DataType, _ depth: Int) -> PrimExpr {
            if depth == 0 || r.below(7) == 0 {
                return r.below(3) == 0 ? constant(t) : variables[t]![r.below(2)]
            }
            let d = depth - 1
            if t.isBool {
                let kinds: [PrimExprKind] = [.lt, .le, .gt, .ge, .eq, .ne]
                let o = BoundsFuzz.types[r.below(8)]
                switch r.below(6) {
                case 0: return And(expr(t, d), expr(t, d))
                case 1: return Or(expr(t, d), expr(t, d))
                case 2: return Not(expr(t, d))
                case 3: return Cast(t, expr(o, d))
                default: return BinaryExpr.raw(kinds[r.below(6)], expr(o, d), expr(o, d))
                }
            }
            switch r.below(20) {
            case 0, 1: return Add(expr(t, d), expr(t, d))
            case 2: return Sub(expr(t, d), expr(t, d))
            case 3, 4: return Mul(expr(t, d), constant(t))
            case 5: return FloorDiv(expr(t, d), r.below(3) == 0 ? expr(t, d) : constant(t))
            case 6: return FloorMod(expr(t, d), r.below(3) == 0 ? expr(t, d) : constant(t))
            case 7: return Div(expr(t, d), r.below(3) == 0 ? expr(t, d) : constant(t))
            case 8: return Mod(expr(t, d), r.below(3) == 0 ? expr(t, d) : constant(t))
            case 9: return Min(expr(t, d), expr(t, d))
            case 10: return Max(expr(t, d), expr(t, d))
            case 11: return Select(expr(.bool, d), expr(t, d), expr(t, d))
            case 12: return intrinsic("if_then_else", t, [expr(.bool, d), expr(t, d), expr(t, d)])
            case 13, 14: return Cast(t, expr(BoundsFuzz.types[r.below(9)], d))
            case 15:
                let names = ["bitwise_and", "bitwise_or", "bitwise_xor"]
                return bitwise(names[r.below(3)], expr(t, d), r.below(2) == 0 ? constant(t) : expr(t, d))
            case 16: return bitwise(["bitwise_not", "popcount", "clz"][r.below(3)], expr(t, d))
            case 17:
                let s = r.below(2) == 0 ? IntImm(r.below(9), dtype: t) : expr(t, d)
                return bitwise(r.below(2) == 0 ? "shift_left" : "shift_right", expr(t, d), s)
            case 18:
                let v = Var("let", dtype: t)
                return Let(v, expr(t, d), Add(v, expr(t, d)))
            default: return t.isInt ? intrinsic("abs", t, [expr(t, d)]) : Mul(expr(t, d), expr(t, d))
            }
        }
    }

    /// Whether index arithmetic stays far from the ends of 64 bits at this point, as the analyzer may trust.
    static func isTame(_ e: PrimExpr, _ values: [Var: TIRArgument]) -> Bool {
        var tame = true
        postOrderVisit(e) { x in
            if !tame || x.dtype != .index || x.kind == .intImm || x.kind == .variable { return }
            // Inside a binding the variable is not known here: the outer expression is looked at as a whole.
            if case .int(let v)? = try? TIRInterpreter.evaluate(x, values) {
                if v > 1 << 40 || v < -(1 << 40) { tame = false }
            }
        }
        return tame
    }

    @Test func values() throws {
        let run = FuzzRun("arith.bounds", cases: 150)
        var wrong = 0
        var tight = 0
        while let seed = run.next() {
            var m = Maker(seed: seed)
            let a = Analyzer()
            for v in m.order {
                guard let g = m.ranges[v], v.dtype.bits < 64 || v.dtype == .index else { continue }
                a.bind(v, bound: ConstIntBound(g.lowerBound, g.upperBound))
            }
            for _ in 0..<12 {
                let t = Self.types[m.r.below(Self.types.count)]
                let e = m.expr(t, 4)
                let condition = m.r.below(3) == 0 ? m.expr(.bool, 2) : trueExpr
                let (bound, modular) = a.withConstraint(condition) { (a.constIntBound(e), a.modularSet(e)) }
                if !bound.isEverything { tight += 1 }
                for _ in 0..<12 {
                    var values: [Var: TIRArgument] = [:]
                    for v in m.order { values[v] = .int(m.value(v)) }
                    guard case .int(1)? = try? TIRInterpreter.evaluate(condition, values),
                        case .int(let x)? = try? TIRInterpreter.evaluate(e, values)
                    else { continue }
                    let inside = bound.contains(x)
                    let offset = x.subtractingReportingOverflow(modular.base)
                    let divides =
                        modular.coeff == 0
                        ? x == modular.base : offset.overflow || offset.partialValue % modular.coeff == 0
                    if inside && divides { continue }
                    if !Self.isTame(e, values) || !Self.isTame(condition, values) { continue }
                    wrong += 1
                    let at = m.order.filter { uses(e, [$0]) || uses(condition, [$0]) }.map {
                        "\($0.name) = \(values[$0]!)"
                    }
                    Issue.record(
                        "seed \(seed): \(e) given \(condition): \(x) not in \(bound), \(modular) at \(at)")
                }
            }
        }
        run.finish(differences: wrong, "bounded \(tight)")
    }

    /// Deep sharing and long chains of choices must not blow up.
    /// (The limit counts the time waiting for a thread behind other tests; a blow-up never ends.)
    @Test(.timeLimit(.minutes(10))) func sharedExpressions() {
        let a = Analyzer()
        let i = Var("i", dtype: .int32)
        var e: PrimExpr = i
        for _ in 0..<200 { e = Add(e, e) }
        _ = a.constIntBound(e)
        _ = a.modularSet(e)
        var s: PrimExpr = i
        for k in 0..<400 { s = Select(LT(i, IntImm(k, dtype: .int32)), Add(s, IntImm(1, dtype: .int32)), s) }
        _ = a.constIntBound(s)
        _ = a.modularSet(s)
        let x = Var("x")
        var t: PrimExpr = x
        for k in 0..<20 { t = ifThenElse(x .< IntImm(k), t + 1, x) }
        _ = a.constIntBound(t)
    }
}
