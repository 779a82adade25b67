import ApusArith
import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTestSupport
import Testing

/// Expressions made from a rule's own left side.
struct RuleInstance {
    let before: PrimExpr
    let variables: [Var]

    /// The left side with constants chosen so that the condition on them holds; nil if none are found.
    /// - Parameter choice: which of the choices of constants.
    init?(_ rule: RewriteRule, _ type: DataType, lanes: Int, choice: Int = 0) {
        let names = rule.before.variables
        var map: [String: PrimExpr] = [:]
        var list: [Var] = []
        func lane(_ name: String) -> Bool {
            var inLane = false
            rule.before.visit { if $0.name == name && $0.inLane { inLane = true } }
            return inLane
        }
        let vector = rule.isVectorRule ? lanes : 1
        for n in names where !n.hasPrefix("c") {
            let v = Var(n, dtype: ["p", "q", "r"].contains(n) ? .bool : type)
            list.append(v)
            map[n] = lane(n) || vector == 1 ? v : Broadcast(v, vector)
        }
        variables = list
        let constants = names.filter { $0.hasPrefix("c") }
        let candidates = [4, 2, 8, 1, 3, 0, 5, -2, -1, -8, 7]
        func value(_ p: RulePattern, _ c: [String: Int]) -> Int? {
            switch p.shape {
            case .constant: return c[p.name]
            case .literal(let v): return ConstFold.wrapped(v, type)
            case .truth(let b): return b ? 1 : 0
            case .lanes: return lanes
            case .variable: return nil
            case .call(let f):
                guard let a = value(p.children[0], c) else { return nil }
                return ConstFold.intrinsic(
                    f, a, p.children.count > 1 ? value(p.children[1], c) ?? 0 : 0, type)
            case .operation(let k):
                guard let a = value(p.children[0], c) else { return nil }
                if k == .not { return a == 0 ? 1 : 0 }
                if k == .and && a == 0 || k == .or && a != 0 { return a }
                return value(p.children[1], c).flatMap { ConstFold.binary(k, a, $0, type) }
            }
        }
        var chosen: [String: Int]?
        var skipped = 0
        func choose(_ k: Int, _ c: [String: Int]) {
            if chosen != nil { return }
            if k == constants.count {
                if rule.conditionOnConstants.allSatisfy({ value($0, c) == 1 }) {
                    if skipped == choice { chosen = c }
                    skipped += 1
                }
                return
            }
            var options = candidates
            if let l = ConstFold.limits(type) { options += [l.max, l.min] }
            for v in options {
                var next = c
                next[constants[k]] = ConstFold.wrapped(v, type)
                choose(k + 1, next)
            }
        }
        choose(0, [:])
        guard let chosen else { return nil }
        func build(_ p: RulePattern) -> PrimExpr? {
            let own = p.inLane ? 1 : vector
            switch p.shape {
            case .variable: return map[p.name]
            case .constant: return chosen[p.name].map { ConstFold.make($0, type.with(lanes: own)) }
            case .literal(let v): return ConstFold.make(ConstFold.wrapped(v, type), type.with(lanes: own))
            case .truth(let b): return ConstFold.make(b ? 1 : 0, .bool.with(lanes: own))
            case .lanes: return nil
            case .call(let f):
                let a = p.children.compactMap(build)
                guard a.count == p.children.count else { return nil }
                return intrinsic(f, a.last?.dtype ?? type, a)
            case .operation(let k):
                let a = p.children.compactMap(build)
                guard a.count == p.children.count else { return nil }
                switch k {
                case .not: return Not(a[0])
                case .broadcast: return Broadcast(a[0], vector)
                case .ramp: return Ramp(a[0], a[1], vector)
                case .select: return Select(a[0], a[1], a[2])
                default: return BinaryExpr.raw(k, a[0], a[1])
                }
            }
        }
        guard let e = build(rule.before) else { return nil }
        before = e
    }
}

@Suite struct RuleTests {
    /// The type to try a rule with: one that wraps where the rule holds for one.
    static func type(_ rule: RewriteRule) -> DataType {
        if rule.domain.contains(.signed) { return .int32 }
        return rule.domain.contains(.unsigned) ? .uint8 : .index
    }

    /// The mask of all value bits: one more than it is no value of the type, so that there is no remainder to take.
    @Test(arguments: [DataType.int8, .int16, .int32]) func maskOfAllValueBits(_ type: DataType) throws {
        let x = Var("x", dtype: type)
        let top = (1 << (Int(type.bits) - 1)) - 1
        let s = Analyzer().simplify(bitwise("bitwise_and", x, IntImm(top, dtype: type)))
        for v in [-top - 1, -top, -2, -1, 0, 1, 2, top - 1, top] {
            guard case .int(let found) = try TIRInterpreter.evaluate(s, [x: .int(v)]) else {
                Issue.record("no integer")
                continue
            }
            #expect(found == v & top, "\(type) \(v): \(s)")
        }
    }

    @Test("each rule, or a better one, applies to its own left side and keeps its value")
    func applies() {
        var random = SeededRandom(seed: 7)
        var withoutInstance: [String] = []
        for rule in RewriteRules.all {
            let type = Self.type(rule)
            guard let instance = RuleInstance(rule, type, lanes: 4) else {
                withoutInstance.append(rule.name)
                continue
            }
            let a = Analyzer()
            let asked = !rule.conditionOnVariables.isEmpty
            for v in instance.variables where v.dtype == .index {
                a.bind(v, bound: asked ? ConstIntBound(0, 3) : ConstIntBound(-20, 20))
            }
            let s = a.simplify(instance.before)
            // Index scalars have their normal form, where not every rule is needed.
            if !asked && type != .index {
                #expect(s !== instance.before, "\(rule.name): \(rule.text): \(instance.before) stays")
            }
            for _ in 0..<12 {
                var values: [Var: TIRArgument] = [:]
                for v in instance.variables {
                    if v.dtype.isBool {
                        values[v] = .int(random.below(2))
                    } else if v.dtype == .index {
                        values[v] = .int(asked ? random.below(4) : random.below(41) - 20)
                    } else {
                        values[v] = .int(
                            ConstFold.wrapped(
                                Int(truncatingIfNeeded: random.next()) >> random.below(60), v.dtype))
                    }
                }
                guard let want = SimplifyFuzzTests.lanes(instance.before, values) else { continue }
                let got = SimplifyFuzzTests.lanes(s, values) ?? []
                #expect(
                    want.count == got.count && zip(want, got).allSatisfy(SimplifyFuzzTests.equal),
                    "\(rule.name): \(rule.text): \(instance.before) became \(s): \(want), \(got)")
            }
        }
        // Rules for the ends of a type's range want constants that only some types have.
        #expect(withoutInstance.count < 12, "\(withoutInstance)")
    }

    /// Conditions of vector rules speak of one lane, in which variables and constants meet.
    @Test func vectorRulesWithConditionsApply() {
        let ranges = [
            ConstIntBound(0, 3), ConstIntBound(-9, -8), ConstIntBound(16, 17), ConstIntBound(100, 103),
        ]
        var count = 0
        for rule in RewriteRules.all where rule.isVectorRule && !rule.conditionOnVariables.isEmpty {
            count += 1
            var fired = false
            for choice in 0..<160 where !fired {
                guard let instance = RuleInstance(rule, .index, lanes: 4, choice: choice) else { break }
                for x in ranges where !fired {
                    for y in instance.variables.count > 1 ? ranges : [x] where !fired {
                        let a = Analyzer()
                        a.trackRules()
                        for (k, v) in instance.variables.enumerated() { a.bind(v, bound: k == 0 ? x : y) }
                        _ = a.simplify(instance.before)
                        let hits = a.hitsOfRules
                        // What is not negative has become a floor division by an earlier rule.
                        let taken = rule.name.hasPrefix("tdiv") || rule.name.hasPrefix("tmod")
                        fired = hits[rule.name] != nil || (taken && !hits.isEmpty)
                    }
                }
            }
            #expect(fired, "\(rule.name): \(rule.text)")
        }
        #expect(count > 5)
    }

    @Test func castsKeepTheirValues() {
        let types: [DataType] = [
            .bool, .int8, .int16, .int32, .int64, .uint8, .uint16, .uint32, .uint64, .float32, .float64,
        ]
        var random = SeededRandom(seed: 3)
        for a in types {
            for b in types {
                for c in types where !a.isFloat {
                    let x = Var("x", dtype: a)
                    let e = Cast(c, Cast(b, x))
                    let s = Analyzer().simplify(e)
                    var list = [0, 1, -1, 127, 128, 255, 256, 1 << 31, .min, .max]
                    for _ in 0..<10 { list.append(Int(truncatingIfNeeded: random.next())) }
                    for v in list.map({ ConstFold.wrapped($0, a) }) {
                        let want = SimplifyFuzzTests.lanes(e, [x: .int(v)]) ?? []
                        let got = SimplifyFuzzTests.lanes(s, [x: .int(v)]) ?? []
                        #expect(
                            zip(want, got).allSatisfy(SimplifyFuzzTests.equal), "\(e) became \(s) at \(v)")
                    }
                }
            }
        }
    }

    @Test func otherTypesAndVectors() {
        let x = Var("x", dtype: .int32)
        let y = Var("y", dtype: .int32)
        let u = Var("u", dtype: .uint8)
        let i = Var("i")
        func c(_ v: Int, _ t: DataType = .int32) -> PrimExpr { IntImm(v, dtype: t) }
        func expect(_ e: PrimExpr, _ text: String, _ at: SourceLocation = #_sourceLocation) {
            let a = Analyzer()
            a.bind(i, IRRange(0, extent: 16))
            let s = a.simplify(e)
            #expect("\(s)" == text, "of \(e)", sourceLocation: at)
            #expect(a.simplify(s) === s, sourceLocation: at)
        }
        expect(Sub(Add(x, y), x), "y")
        expect(Add(Add(x, c(3)), c(4)), "\(Add(x, c(7)))")
        expect(Min(Min(x, y), x), "\(Min(x, y))")
        expect(LT(Add(x, c(1)), x), "\(LT(Add(x, c(1)), x))")
        expect(LT(u, c(0, .uint8)), "False")
        expect(LT(u, c(1, .uint8)), "\(EQ(u, c(0, .uint8)))")
        expect(FloorDiv(Mul(x, c(4)), c(4)), "\(FloorDiv(Mul(x, c(4)), c(4)))")
        expect(And(LT(x, c(5)), LT(x, c(3))), "\(LT(x, c(3)))")
        expect(GT(x, y), "\(LT(y, x))")
        expect(Cast(.int32, Cast(.int64, x)), "x")
        expect(
            Add(Ramp(i, IntImm(1), 4), Broadcast(IntImm(2), 4)), "\(Ramp(Add(i, IntImm(2)), IntImm(1), 4))")
        expect(FloorDiv(Ramp(Mul(i, IntImm(8)), IntImm(1), 8), Broadcast(IntImm(8), 8)), "\(Broadcast(i, 8))")
        expect(
            FloorMod(Ramp(Mul(i, IntImm(8)), IntImm(1), 8), Broadcast(IntImm(8), 8)),
            "\(Ramp(IntImm(0), IntImm(1), 8))")
        expect(LT(Ramp(i, IntImm(1), 4), Broadcast(IntImm(20), 4)), "\(Broadcast(trueExpr, 4))")
        expect(Shuffle([Ramp(i, IntImm(2), 4)], [3]), "i + 6")
        expect(Select(LT(x, y), x, y), "\(Min(x, y))")
    }

    @Test func constantsAtTheEnds() {
        for t: DataType in [.int8, .int16, .int32, .int64, .uint8, .uint16, .uint32, .uint64] {
            guard let l = ConstFold.limits(t) else { continue }
            let one = ConstFold.wrapped(1, t)
            let wraps = ConstFold.binary(.add, l.max, one, t)
            #expect(wraps == (t == .index ? nil : l.min), "\(t)")
            #expect(ConstFold.binary(.sub, l.min, one, t) == (t == .index ? nil : l.max))
            #expect(ConstFold.binary(.floorDiv, l.min, 0, t) == nil)
            #expect(ConstFold.binary(.mod, l.max, 0, t) == nil)
            #expect(ConstFold.binary(.lt, l.min, l.max, t) == 1)
            #expect(ConstFold.binary(.max, l.min, l.max, t) == l.max)
            if t.isInt {
                #expect(ConstFold.binary(.div, l.min, -1, t) == (t == .index ? nil : l.min))
                #expect(ConstFold.binary(.mod, l.min, -1, t) == 0)
                #expect(ConstFold.binary(.floorMod, l.min, -1, t) == 0)
            }
            let e = Add(IntImm(l.max, dtype: t), IntImm(one, dtype: t))
            #expect((ConstFold.fold(e) != nil) == (t != .index))
        }
        #expect(ConstFold.cast(300, from: .int32, to: .uint8) == 44)
        #expect(ConstFold.cast(-1, from: .int8, to: .uint64) == -1)
    }

    @Test func scopesAndFacts() {
        let a = Analyzer()
        let x = Var("x")
        let y = Var("y")
        let z = Var("z")
        let p = Var("p", dtype: .int32)
        a.withConstraint(LT(x, y)) {
            a.withConstraint(LE(y, Add(z, IntImm(3)))) {
                #expect(a.canProveLess(x, z + 3))
                #expect(!a.canProveLess(x, z + 2))
            }
            #expect(!a.canProveLess(x, z + 3))
        }
        a.withConstraint(LT(p, IntImm(7, dtype: .int32))) {
            #expect(a.canProve(LT(p, IntImm(8, dtype: .int32))))
            #expect(a.simplify(GE(p, IntImm(7, dtype: .int32))).isFalse)
        }
        #expect(!a.canProve(LT(p, IntImm(8, dtype: .int32))))
        a.markGlobalNonNegative(z)
        #expect(a.canProve(z .>= 0))
        a.bind(z, IRRange(-5, extent: 10), override: false)
        #expect(a.constIntBound(z) == ConstIntBound(0, 4))
    }

    @Test("expressions of 100,000 nodes", arguments: [0, 1, 2, 3])
    func deep(_ shape: Int) {
        let i = Var("i")
        let x = Var("x", dtype: .int32)
        var e: PrimExpr = [i, i, x, trueExpr][shape]
        for k in 0..<50_000 {
            switch shape {
            case 0: e = Add(e, k % 2 == 0 ? i : IntImm(k % 7))
            case 1: e = FloorDiv(Add(e, IntImm(k % 5 + 1)), IntImm(3))
            case 2: e = Min(Add(e, x), IntImm(k % 100, dtype: .int32))
            default: e = And(e, LT(x, IntImm(k + 5, dtype: .int32)))
            }
        }
        let a = Analyzer()
        a.bind(i, IRRange(0, extent: 60_000))
        let s = a.simplify(e)
        if s.dtype == .index { _ = a.constIntBound(s) }
        #expect(s.dtype == e.dtype)
    }
}
