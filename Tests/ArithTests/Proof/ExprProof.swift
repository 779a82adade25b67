import ApusArith
import ApusIR
import ApusRuntime
import ApusTIR

/// Something that the simplifier does by code rather than by a rule of its tables: expressions with what must equal them.
struct ExprClaim {
    struct Instance {
        let before: PrimExpr
        let after: PrimExpr
        var condition: PrimExpr?
    }
    let name: String
    let text: String
    let instances: [Instance]
}

/// Integer expressions of all types, lane by lane, as terms over bit vectors and as numbers. A truth value is one bit.
enum ExprLane {
    static func bits(_ d: DataType) -> Int { d.isBool ? 1 : Int(d.bits) }

    /// A variable, of a vector the variable of one lane.
    static func name(_ v: Var, _ lane: Int) -> String { v.dtype.isVector ? "\(v.name)_\(lane)" : v.name }

    static func variables(_ e: PrimExpr, _ lane: Int) -> [String: Int] {
        var found: [String: Int] = [:]
        func go(_ e: PrimExpr, _ lane: Int) {
            switch e {
            case let v as Var: found[name(v, lane)] = bits(v.dtype)
            case let s as Shuffle:
                if let (v, l) = source(s, lane) { go(v, l) }
            default: forEachChild(of: e) { go($0, lane) }
            }
        }
        go(e, lane)
        return found
    }

    static func source(_ s: Shuffle, _ lane: Int) -> (PrimExpr, Int)? {
        var i = s.indices[lane]
        for v in s.vectors {
            if i < Int(v.dtype.lanes) { return (v, i) }
            i -= Int(v.dtype.lanes)
        }
        return nil
    }

    /// Nil for kinds that do not occur in these claims.
    static func term(_ e: PrimExpr, _ lane: Int) -> String? {
        func literal(_ v: Int, _ d: DataType) -> String {
            let n = bits(d)
            let mask: UInt64 = n == 64 ? .max : (1 << UInt64(n)) - 1
            return "(_ bv\(UInt64(bitPattern: Int64(v)) & mask) \(n))"
        }
        switch e {
        case let c as IntImm: return literal(c.value, c.dtype)
        case let v as Var: return name(v, lane)
        case let b as Broadcast: return term(b.value, 0)
        case let r as Ramp:
            guard let x = term(r.base, 0), let y = term(r.stride, 0) else { return nil }
            return "(bvadd \(x) (bvmul \(literal(lane, r.dtype)) \(y)))"
        case let s as Shuffle: return source(s, lane).flatMap { term($0.0, $0.1) }
        case let c as Cast: return term(c.value, lane).map { cast($0, c.value.dtype, c.dtype) }
        case let s as Select:
            guard let c = term(s.condition, s.condition.dtype.isVector ? lane : 0),
                let t = term(s.trueValue, lane), let f = term(s.falseValue, lane)
            else { return nil }
            return "(ite (= \(c) #b1) \(t) \(f))"
        case let n as Not: return term(n.a, lane).map { "(bvnot \($0))" }
        case let op as BinaryExpr:
            guard let a = term(op.a, lane), let b = term(op.b, lane) else { return nil }
            let s = op.a.dtype.isInt ? "s" : "u"
            let f: String
            switch op.kind {
            case .add: return "(bvadd \(a) \(b))"
            case .sub: return "(bvsub \(a) \(b))"
            case .mul: return "(bvmul \(a) \(b))"
            case .and: return "(bvand \(a) \(b))"
            case .or: return "(bvor \(a) \(b))"
            case .eq: f = "="
            case .ne: f = "distinct"
            case .lt: f = "bv\(s)lt"
            case .le: f = "bv\(s)le"
            case .gt: f = "bv\(s)gt"
            case .ge: f = "bv\(s)ge"
            default: return nil
            }
            return "(ite (\(f) \(a) \(b)) #b1 #b0)"
        default: return nil
        }
    }

    /// Sign or zero extension, the low bits, or whether it is not zero.
    private static func cast(_ t: String, _ from: DataType, _ to: DataType) -> String {
        let a = bits(from)
        let b = bits(to)
        if to.isBool { return from.isBool ? t : "(ite (= \(t) (_ bv0 \(a))) #b0 #b1)" }
        if a == b { return t }
        if a > b { return "((_ extract \(b - 1) 0) \(t))" }
        return "((_ \(from.isInt ? "sign" : "zero")_extend \(b - a)) \(t))"
    }

    static func value(_ e: PrimExpr, _ lane: Int, _ values: [String: Int]) -> Int? {
        switch e {
        case let c as IntImm: return c.value
        case let v as Var: return values[name(v, lane)].map { ConstFold.wrapped($0, v.dtype) }
        case let b as Broadcast: return value(b.value, 0, values)
        case let r as Ramp:
            guard let x = value(r.base, 0, values), let y = value(r.stride, 0, values) else { return nil }
            return ConstFold.wrapped(x &+ lane &* y, r.dtype)
        case let s as Shuffle: return source(s, lane).flatMap { value($0.0, $0.1, values) }
        case let c as Cast:
            return value(c.value, lane, values).map { ConstFold.cast($0, from: c.value.dtype, to: c.dtype) }
        case let s as Select:
            let c = value(s.condition, s.condition.dtype.isVector ? lane : 0, values)
            return c.flatMap { value($0 != 0 ? s.trueValue : s.falseValue, lane, values) }
        case let n as Not: return value(n.a, lane, values).map { 1 - $0 }
        case let op as BinaryExpr:
            guard let a = value(op.a, lane, values), let b = value(op.b, lane, values) else { return nil }
            switch op.kind {
            case .add: return ConstFold.wrapped(a &+ b, op.dtype)
            case .sub: return ConstFold.wrapped(a &- b, op.dtype)
            case .mul: return ConstFold.wrapped(a &* b, op.dtype)
            default: return ConstFold.binary(op.kind, a, b, op.a.dtype)
            }
        default: return nil
        }
    }
}

extension RuleProver {
    /// Every lane of every instance; what Z3 does not decide is evaluated for all values where those are few.
    func prove(_ claim: ExprClaim) -> RuleProof {
        var proof = RuleProof()
        let start = ContinuousClock.now
        var queries = 0
        var lanes = 0
        var evaluated = 0
        for i in claim.instances {
            if i.after.dtype != i.before.dtype {
                proof.method = .open
                proof.failure = "\(i.before) became \(i.after) of another type"
                continue
            }
            for lane in 0..<Int(i.before.dtype.lanes) {
                lanes += 1
                guard let a = ExprLane.term(i.before, lane), let b = ExprLane.term(i.after, lane) else {
                    proof.method = .open
                    proof.failure = "no term for \(i.before) or \(i.after)"
                    continue
                }
                if a == b { continue }
                var sorts = ExprLane.variables(i.before, lane).merging(ExprLane.variables(i.after, lane)) {
                    $1
                }
                var text = ""
                if let c = i.condition, let t = ExprLane.term(c, 0) {
                    sorts.merge(ExprLane.variables(c, 0)) { $1 }
                    text += "(assert (= \(t) #b1))\n"
                }
                for (n, bits) in sorts.sorted(by: { $0.key < $1.key }) {
                    text = "(declare-const \(n) (_ BitVec \(bits)))\n" + text
                }
                text += "(assert (not (= \(a) \(b))))\n"
                if decided[text] == true { continue }
                queries += 1
                switch ask(text) {
                case .unsatisfiable: decided[text] = true
                case .satisfiable:
                    proof.method = .open
                    proof.failure = "Z3 has a counterexample: \(i.before) became \(i.after), lane \(lane)"
                case .unknown:
                    evaluated += 1
                    if proof.method == .proved { proof.method = .exhaustive }
                    if let failure = evaluate(i, lane, sorts) {
                        proof.method = .open
                        proof.failure = failure
                    }
                }
            }
        }
        proof.parts = ["\(claim.instances.count) instances, \(lanes) lanes, \(queries) questions"]
        if evaluated > 0 { proof.parts.append("\(evaluated) evaluated") }
        let t = (ContinuousClock.now - start).components
        proof.seconds = Double(t.seconds) + Double(t.attoseconds) / 1e18
        return proof
    }

    /// Every value of variables of up to 24 bits altogether; of wider ones the ends and some in between.
    private func evaluate(_ i: ExprClaim.Instance, _ lane: Int, _ sorts: [String: Int]) -> String? {
        let names = sorts.keys.sorted()
        guard names.reduce(0, { $0 + (sorts[$1] ?? 0) }) <= 24 else {
            // Without Z3, the narrow instances of a claim speak for the wide ones.
            return hasZ3 ? "Z3 does not decide \(i.before), lane \(lane)" : nil
        }
        var failure: String?
        func go(_ k: Int, _ values: [String: Int]) {
            if failure != nil { return }
            if k == names.count {
                if let c = i.condition, ExprLane.value(c, 0, values) != 1 { return }
                let a = ExprLane.value(i.before, lane, values)
                if a != ExprLane.value(i.after, lane, values) {
                    failure = "\(i.before) became \(i.after), lane \(lane), at \(values)"
                }
                return
            }
            var v = values
            for x in 0..<(1 << (sorts[names[k]] ?? 0)) {
                v[names[k]] = x
                go(k + 1, v)
            }
        }
        go(0, [:])
        return failure
    }
}

extension ExprClaim {
    static let integers: [DataType] = [
        .int8, .int16, .int32, .int64, .uint8, .uint16, .uint32, .uint64,
    ]
    static let types: [DataType] = [.bool] + integers
    static let comparisons: [PrimExprKind] = [.eq, .ne, .lt, .le, .gt, .ge]

    private static func simplified(_ e: PrimExpr) -> Instance {
        Instance(before: e, after: Analyzer().simplify(e))
    }

    /// What `CastRules` does, for every choice of integer types.
    static var casts: [ExprClaim] {
        var chains: [Instance] = []
        var same: [Instance] = []
        var vectors: [Instance] = []
        var ramps: [Instance] = []
        var selects: [Instance] = []
        var orders: [Instance] = []
        var inside: [Instance] = []
        var outside: [Instance] = []
        var truths: [Instance] = []
        let p = Var("p", dtype: .bool)
        for a in types {
            let x = Var("x", dtype: a)
            let y = Var("y", dtype: a)
            same.append(simplified(Cast(a, x)))
            for b in types {
                for c in types where CastRules.dropsInner(a, b, c) {
                    chains.append(simplified(Cast(c, Cast(b, x))))
                }
                vectors.append(simplified(Cast(b.with(lanes: 4), Broadcast(x, 4))))
                if let l = ConstFold.limits(a) {
                    for (m, n) in [(l.min, l.max), (l.max, ConstFold.wrapped(1, a))] {
                        selects.append(
                            simplified(Cast(b, Select(p, ConstFold.make(m, a), ConstFold.make(n, a)))))
                    }
                }
                if CastRules.splitsRamp(a, b) {
                    ramps.append(simplified(Cast(b.with(lanes: 4), Ramp(x, y, 4))))
                }
                if CastRules.keepsOrder(a, b) {
                    let c = Var("c", dtype: b)
                    guard let l = ConstFold.limits(a) else { continue }
                    let low = ConstFold.make(ConstFold.cast(l.min, from: a, to: b), b)
                    let high = ConstFold.make(ConstFold.cast(l.max, from: a, to: b), b)
                    for k in comparisons {
                        orders.append(
                            Instance(
                                before: BinaryExpr.raw(k, Cast(b, x), Cast(b, y)),
                                after: BinaryExpr.raw(k, x, y)))
                        orders.append(simplified(BinaryExpr.raw(k, Cast(b, x), Cast(b, y))))
                        // A constant is a variable here: any.
                        inside.append(
                            Instance(
                                before: BinaryExpr.raw(k, Cast(b, x), c),
                                after: BinaryExpr.raw(k, x, Cast(a, c)),
                                condition: And(LE(low, c), LE(c, high))))
                        outside.append(
                            Instance(
                                before: BinaryExpr.raw(k, Cast(b, x), c), after: BinaryExpr.raw(k, low, c),
                                condition: Or(LT(c, low), LT(high, c))))
                        for v in [l.min &- 1, l.min, l.min &+ 1, l.max &- 1, l.max, l.max &+ 1] {
                            let k = BinaryExpr.raw(
                                k, Cast(b, x), ConstFold.make(ConstFold.wrapped(v, b), b))
                            if a != b { inside.append(simplified(k)) }
                        }
                    }
                }
            }
            if !a.isBool {
                for k in comparisons {
                    for v in [-1, 0, 1, 2] {
                        truths.append(
                            simplified(
                                BinaryExpr.raw(k, Cast(a, p), ConstFold.make(ConstFold.wrapped(v, a), a))))
                    }
                }
            }
        }
        return [
            ExprClaim(name: "cast.1", text: "cast<a>(x) -> x for x of type a", instances: same),
            ExprClaim(
                name: "cast.2", text: "cast<c>(cast<b>(x)) -> cast<c>(x) where dropsInner", instances: chains),
            ExprClaim(name: "cast.3", text: "cast<b>(bcast(x)) -> bcast(cast<b>(x))", instances: vectors),
            ExprClaim(
                name: "cast.4", text: "cast<b>(ramp(x, y)) -> ramp(cast<b>(x), cast<b>(y)) where splitsRamp",
                instances: ramps),
            ExprClaim(
                name: "cast.5", text: "cast<b>(select(p, c1, c2)) -> select(p, cast<b>(c1), cast<b>(c2))",
                instances: selects),
            ExprClaim(
                name: "cast.6", text: "cast<b>(x) op cast<b>(y) -> x op y where keepsOrder",
                instances: orders),
            ExprClaim(
                name: "cast.7", text: "cast<b>(x) op c1 -> x op cast<a>(c1) where the type a has c1",
                instances: inside),
            ExprClaim(
                name: "cast.8", text: "cast<b>(x) op c1 -> least<a> op c1 where the type a has no c1",
                instances: outside),
            ExprClaim(
                name: "cast.9", text: "cast<b>(p) op c1 -> p, !p, true or false by op of 0 and of 1",
                instances: truths),
        ]
    }

    /// What `ShuffleRules` does, for all lists of up to 4 of the lanes of vectors of up to 4.
    static var shuffles: [ExprClaim] {
        let t = DataType.int8
        func vector(_ kind: Int, _ name: String, _ n: Int) -> PrimExpr {
            let v = Var(name, dtype: t)
            if n == 1 { return v }
            switch kind {
            case 0: return Var(name, dtype: t.with(lanes: n))
            case 1: return Broadcast(v, n)
            default: return Ramp(v, Var(name + "s", dtype: t), n)
            }
        }
        func all(_ vectors: [PrimExpr]) -> [Instance] {
            let total = vectors.reduce(0) { $0 + Int($1.dtype.lanes) }
            var result: [Instance] = []
            func go(_ list: [Int], _ m: Int) {
                if list.count == m { return result.append(simplified(Shuffle(vectors, list))) }
                for i in 0..<total { go(list + [i], m) }
            }
            for m in 1...4 { go([], m) }
            return result
        }
        var one: [[Instance]] = [[], [], []]
        var many: [Instance] = []
        for n in 1...4 {
            for k in 0..<3 where n > 1 || k == 0 { one[k] += all([vector(k, "x", n)]) }
        }
        for n in 1...4 {
            for m in 1...4 {
                for (j, k) in [(0, 0), (1, 2), (2, 0)] where n + m < 7 || j == 0 {
                    many += all([vector(j, "x", n), vector(k, "y", m)])
                }
            }
        }
        many += all([vector(0, "x", 2), vector(1, "y", 2), vector(2, "z", 2)])
        let x = Var("x", dtype: t)
        let single = [simplified(Broadcast(x, 1)), simplified(Ramp(x, Var("y", dtype: t), 1))]
        return [
            ExprClaim(
                name: "shuffle.1", text: "shuffle of x: x itself, or as it stands", instances: one[0]),
            ExprClaim(name: "shuffle.2", text: "shuffle of bcast(x) -> bcast(x)", instances: one[1]),
            ExprClaim(
                name: "shuffle.3", text: "shuffle of ramp(x, y) -> ramp, bcast, or as it stands",
                instances: one[2]),
            ExprClaim(
                name: "shuffle.4", text: "shuffle of several: vectors that no lane comes from go",
                instances: many),
            ExprClaim(name: "vector.1", text: "bcast(x), ramp(x, y) of one lane -> x", instances: single),
        ]
    }
}
