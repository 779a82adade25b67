import ApusArith
import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTestSupport
import Testing

/// Random expressions of every kind and type, with variables that have ranges.
struct RandomExpr {
    var r: SeededRandom
    /// Two variables of each scalar type.
    static let variables: [DataType: [Var]] = {
        var m: [DataType: [Var]] = [:]
        for t in types { m[t] = [Var("a_\(t)", dtype: t), Var("b_\(t)", dtype: t)] }
        return m
    }()
    static let types: [DataType] = [
        .index, .int8, .int16, .int32, .uint8, .uint16, .uint32, .uint64, .bool, .float32, .float64,
    ]
    static let indexRange = -9...40
    /// Memory of each type with known contents, the ends of the type among them: data is not trusted not to wrap.
    static let buffers: [DataType: (buffer: Buffer, data: NDArray)] = {
        var m: [DataType: (buffer: Buffer, data: NDArray)] = [:]
        for t in types {
            let data = NDArray(shape: [8], dtype: t)
            for k in 0..<8 {
                let p = data.data + k * t.byteCount
                if t.isFloat {
                    let v = [0, -0.0, 1, -1, 2.5, .infinity, .nan, 1e30][k]
                    if t.bits == 32 {
                        p.storeBytes(of: Float(v), as: Float.self)
                    } else {
                        p.storeBytes(of: v, as: Double.self)
                    }
                    continue
                }
                let l = ConstFold.limits(t) ?? (min: 0, max: 1)
                let v = t.isBool ? k & 1 : [0, 1, l.min, l.max, l.min &+ 1, l.max &- 1, 7, -3][k]
                withUnsafeBytes(of: v) { p.copyMemory(from: $0.baseAddress!, byteCount: t.byteCount) }
            }
            m[t] = (buffer: Buffer("m_\(t)", [8], t), data: data)
        }
        return m
    }()
    /// Variables of `let` and of reductions in scope, with their types.
    var scope: [Var] = []

    init(seed: UInt64) { r = SeededRandom(seed: seed) }

    mutating func type() -> DataType {
        r.below(3) == 0 ? .index : Self.types[r.below(Self.types.count)]
    }

    mutating func constant(_ t: DataType) -> PrimExpr {
        if t.isBool { return r.below(2) == 0 ? trueExpr : falseExpr }
        if t.isFloat { return FloatImm([0, -0.0, 1, -1, 2.5, .infinity, .nan, 1e30][r.below(8)], dtype: t) }
        if t == .index { return IntImm([-3, -2, -1, 0, 1, 2, 3, 4, 5, 8, 16, 12][r.below(12)]) }
        guard r.below(3) != 0, let l = ConstFold.limits(t) else {
            return IntImm(ConstFold.wrapped(r.below(12) - 3, t), dtype: t)
        }
        let list = [
            l.min, l.max, ConstFold.wrapped(l.min &+ 1, t), ConstFold.wrapped(l.max &- 1, t),
            ConstFold.wrapped(Int(truncatingIfNeeded: r.next()), t),
        ]
        return IntImm(list[r.below(5)], dtype: t)
    }

    mutating func leaf(_ t: DataType) -> PrimExpr {
        if t.isVector {
            if !t.isFloat && !t.isBool && r.below(2) == 0 {
                return Ramp(leaf(t.element), constant(t.element), Int(t.lanes))
            }
            return Broadcast(leaf(t.element), Int(t.lanes))
        }
        let own = scope.filter { $0.dtype == t }
        if !own.isEmpty && r.below(2) == 0 { return own[r.below(own.count)] }
        if r.below(3) == 0 { return constant(t) }
        return Self.variables[t]?[r.below(2)] ?? constant(t)
    }

    mutating func expr(_ t: DataType, _ depth: Int) -> PrimExpr {
        if depth <= 0 { return leaf(t) }
        let d = depth - 1
        switch r.below(16) {
        case 0: return leaf(t)
        case 14:
            if let load = load(t, d) { return load }
        case 15:
            if let call = call(t, d) { return call }
        case 1:
            return Select(
                expr(r.below(4) == 0 ? .bool : .bool.with(lanes: Int(t.lanes)), d), expr(t, d), expr(t, d))
        case 2:
            // Index values that are cast from wide types may wrap as data does.
            let from = type().with(lanes: Int(t.lanes))
            return from == t || (t.element == .index && from.isFloat) ? expr(t, d) : Cast(t, expr(from, d))
        case 3 where t.isScalar:
            return intrinsic("if_then_else", t, [expr(.bool, d), expr(t, d), expr(t, d)])
        case 4 where t.isScalar && scope.count < 3:
            let vt = type()
            let v = Var("l\(scope.count)", dtype: vt)
            let value = expr(vt, d)
            scope.append(v)
            defer { scope.removeLast() }
            return Let(v, value, expr(t, d))
        case 5 where t.isVector && !t.isFloat && !t.isBool:
            return Ramp(
                expr(t.element, d), r.below(2) == 0 ? constant(t.element) : leaf(t.element), Int(t.lanes))
        case 5 where t.isVector: return Broadcast(expr(t.element, d), Int(t.lanes))
        case 5 where t == .index && depth > 2 && scope.count < 3: return reduce(d)
        case 6:
            let n = [2, 4][r.below(2)]
            let v = expr(t.element.with(lanes: n), d)
            return Shuffle([v], (0..<Int(t.lanes)).map { _ in r.below(n) })
        case 7 where t.isVector:
            let a = expr(t, d)
            let b = expr(t, d)
            let start = r.below(2 * Int(t.lanes))
            return Shuffle([a, b], (0..<Int(t.lanes)).map { (start + $0) % (2 * Int(t.lanes)) })
        default: break
        }
        if t.isBool { return boolean(t, d) }
        if t.isFloat {
            let kinds: [PrimExprKind] = [
                .add, .sub, .mul, .div, .min, .max, .add, .sub, .mul, .min, .max, .mod, .floorDiv, .floorMod,
            ]
            let k = kinds[r.below(14)]
            let a = expr(t, d)
            return BinaryExpr.raw(k, a, r.below(4) == 0 ? a : expr(t, d))
        }
        return integer(t, d)
    }

    /// An element of memory, or as many as there are lanes; the index is within bounds unless it wraps.
    private mutating func load(_ t: DataType, _ d: Int) -> PrimExpr? {
        guard let b = Self.buffers[t.element]?.buffer else { return nil }
        if t.isScalar { return BufferLoad(b, [FloorMod(expr(.index, d), IntImm(8))]) }
        let lanes = Int(t.lanes)
        if r.below(2) == 0 { return BufferLoad(b, [Ramp(IntImm(r.below(5)), IntImm(1), lanes)]) }
        return BufferLoad(
            b, [FloorMod(expr(DataType.index.with(lanes: lanes), d), Broadcast(IntImm(8), lanes))])
    }

    /// An intrinsic function that is not arithmetic on integers of one type.
    private mutating func call(_ t: DataType, _ d: Int) -> PrimExpr? {
        let lanes = Int(t.lanes)
        if t.isBool {
            let of: DataType = r.below(2) == 0 ? .float32 : .float64
            return intrinsic(["isnan", "isinf", "isfinite"][r.below(3)], t, [expr(of.with(lanes: lanes), d)])
        }
        if r.below(4) == 0, t.bits == 32 || t.bits == 64 {
            // Not from floats: which pattern a NaN has is not kept.
            let list: [DataType] = t.bits == 32 ? [.int32, .uint32] : [.int64, .uint64]
            let of = list[r.below(2)]
            if of != t.element { return intrinsic("reinterpret", t, [expr(of.with(lanes: lanes), d)]) }
        }
        if r.below(4) == 0 && lanes == 2 {
            let name = r.below(2) == 0 ? "vectorlow" : "vectorhigh"
            return intrinsic(name, t, [expr(t.with(lanes: 4), d)])
        }
        if r.below(4) == 0 && lanes == 4 {
            return intrinsic(
                "vectorcombine", t, [expr(t.with(lanes: 2), d), expr(t.with(lanes: 2), d)])
        }
        if t.isFloat {
            switch r.below(4) {
            case 0: return intrinsic("fma", t, [expr(t, d), expr(t, d), expr(t, d)])
            case 1:
                return intrinsic(
                    ["pow", "fmod", "copysign", "atan2"][r.below(4)], t, [expr(t, d), expr(t, d)])
            default:
                let names = ["floor", "ceil", "trunc", "round", "sqrt", "exp", "fabs", "abs", "tanh", "log"]
                return intrinsic(names[r.below(10)], t, [expr(t, d)])
            }
        }
        if r.below(3) == 0 && t.element != .index { return intrinsic("clz", t, [expr(t, d)]) }
        if t == .int32 && r.below(2) == 0 {
            let q = IntImm(31, dtype: t)
            return intrinsic(
                "q_multiply_shift", t, [expr(t, d), expr(t, d), q, IntImm(r.below(5), dtype: t)])
        }
        if t == .uint64 {
            func half() -> PrimExpr { IntImm(Int(r.next() >> 32), dtype: .uint32) }
            return intrinsic("large_uint_imm", t, [half(), half()])
        }
        return t.isScalar && t != .index ? dataReduce(t, d) : nil
    }

    /// The largest with its place, the sum or the product of a few values of any type.
    private mutating func dataReduce(_ t: DataType, _ d: Int) -> PrimExpr? {
        guard scope.count < 3 else { return nil }
        let l = [Var("l", dtype: t), Var("li")]
        let m = [Var("m", dtype: t), Var("mi")]
        let k = Var("k")
        let axis = IterVar(IRRange(extent: IntImm(1 + r.below(3))), k, .commReduce)
        scope.append(k)
        defer { scope.removeLast() }
        let source = expr(t, d - 1)
        let condition = r.below(3) == 0 ? expr(.bool, d - 1) : trueExpr
        if r.below(2) == 0 {
            let first = GE(l[0], m[0])
            let c = CommReducer(
                lhs: l, rhs: m, result: [Select(first, l[0], m[0]), Select(first, l[1], m[1])],
                identity: [minValue(t), IntImm(-1)])
            return Reduce(c, [source, k], [axis], condition: condition, valueIndex: 0)
        }
        let kind: PrimExprKind = r.below(2) == 0 ? .add : .mul
        let c = CommReducer(
            lhs: [l[0]], rhs: [m[0]], result: [BinaryExpr.raw(kind, l[0], m[0])],
            identity: [const(kind == .add ? 0 : 1, t)])
        return Reduce(
            c, [source], [axis], condition: condition, initial: r.below(3) == 0 ? [constant(t)] : [])
    }

    private mutating func integer(_ t: DataType, _ d: Int) -> PrimExpr {
        let isIndex = t.element == .index
        if r.below(6) == 0 {
            let name = [
                "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "shift_left", "shift_right", "abs",
                "popcount",
            ][r.below(8)]
            if name == "bitwise_not" || name == "abs" || name == "popcount" {
                return intrinsic(name, t, [expr(t, d)])
            }
            if name == "shift_left" && isIndex { return expr(t, d) }
            if name.hasPrefix("shift") {
                let c = ConstFold.make(r.below(9), t)
                return intrinsic(name, t, [expr(t, d), c])
            }
            return intrinsic(name, t, [expr(t, d), expr(t, d)])
        }
        let kinds: [PrimExprKind] = [
            .add, .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .add, .sub,
        ]
        let k = kinds[r.below(12)]
        let a = expr(t, d)
        if k == .mul && isIndex {
            let c = constant(.index)
            return Mul(a, t.isVector ? Broadcast(c, Int(t.lanes)) : c)
        }
        if r.below(2) == 0 {
            let c = constant(t.element)
            return BinaryExpr.raw(k, a, t.isVector ? Broadcast(c, Int(t.lanes)) : c)
        }
        if r.below(5) == 0 { return BinaryExpr.raw(k, a, a) }
        return r.below(3) == 0 ? BinaryExpr.raw(k, leaf(t), a) : BinaryExpr.raw(k, a, expr(t, d))
    }

    private mutating func boolean(_ t: DataType, _ d: Int) -> PrimExpr {
        switch r.below(6) {
        case 0: return And(expr(t, d), expr(t, d))
        case 1: return Or(expr(t, d), expr(t, d))
        case 2: return Not(expr(t, d))
        case 3 where t.isScalar && r.below(3) == 0: return intrinsic("likely", t, [expr(t, d)])
        default:
            let kinds: [PrimExprKind] = [.eq, .ne, .lt, .le, .gt, .ge]
            let of = (type().isBool ? .index : type()).with(lanes: Int(t.lanes))
            let k = kinds[r.below(of.isBool ? 2 : 6)]
            let a = expr(of, d)
            return BinaryExpr.raw(k, a, r.below(3) == 0 ? leaf(of) : expr(of, d))
        }
    }

    private mutating func reduce(_ d: Int) -> PrimExpr {
        let l = Var("l", dtype: .index)
        let m = Var("m", dtype: .index)
        let kind: PrimExprKind = [.add, .min, .max][r.below(3)]
        let c = CommReducer(
            lhs: [l], rhs: [m], result: [BinaryExpr.raw(kind, l, m)],
            identity: [IntImm(kind == .add ? 0 : (kind == .min ? 1 << 40 : -(1 << 40)))])
        let k = Var("k")
        let axis = IterVar(IRRange(extent: IntImm(1 + r.below(3))), k, .commReduce)
        scope.append(k)
        defer { scope.removeLast() }
        return Reduce(
            c, [expr(.index, d - 1)], [axis], condition: r.below(3) == 0 ? expr(.bool, d - 1) : trueExpr)
    }

    /// Values for all variables.
    mutating func assignment() -> [Var: TIRArgument] {
        var m: [Var: TIRArgument] = [:]
        for b in Self.buffers.values { m[b.buffer.data] = .array(b.data) }
        for t in Self.types {
            for v in Self.variables[t] ?? [] {
                let c = constant(t)
                if t == .index {
                    m[v] = .int(Self.indexRange.lowerBound + r.below(Self.indexRange.count))
                } else if let x = c.asInt {
                    m[v] = .int(
                        r.below(3) == 0
                            ? ConstFold.wrapped(Int(truncatingIfNeeded: r.next()), t) & (t.isBool ? 1 : -1)
                            : x)
                } else if let f = c.constantFloat {
                    m[v] = .float(f)
                }
            }
        }
        return m
    }
}

@Suite struct SimplifyFuzzTests {
    static func lanes(_ e: PrimExpr, _ values: [Var: TIRArgument]) -> [TIRArgument]? {
        try? TIRInterpreter.evaluateLanes(e, values)
    }

    static func equal(_ a: TIRArgument, _ b: TIRArgument) -> Bool {
        switch (a, b) {
        case (.int(let x), .int(let y)): return x == y
        case (.float(let x), .float(let y)): return x.bitPattern == y.bitPattern || (x.isNaN && y.isNaN)
        default: return false
        }
    }

    @Test("random expressions keep their values")
    func fuzzSimplify() {
        let run = FuzzRun("arith.simplify", cases: 3000)
        var differences = 0
        var restless = 0
        var cutOff = 0
        var compared = 0
        withLargeStack {
            while let seed = run.next() {
                var g = RandomExpr(seed: seed)
                let a = Analyzer()
                for v in RandomExpr.variables[.index] ?? [] {
                    a.bind(v, IRRange(RandomExpr.indexRange.lowerBound, extent: RandomExpr.indexRange.count))
                }
                let lanes = [1, 1, 2, 4][g.r.below(4)]
                let e = g.expr(g.type().with(lanes: lanes), 2 + g.r.below(3))
                let condition = g.r.below(4) == 0 ? g.expr(.bool, 2) : trueExpr
                let (s, again) = a.withConstraint(condition) { () -> (PrimExpr, PrimExpr) in
                    let s = a.simplify(e)
                    return (s, a.simplify(s))
                }
                cutOff += a.statistics.cutOff
                if a.statistics.cutOff > 0 { print("seed \(seed): rules that undo each other: \(e)\n  \(s)") }
                if again !== s {
                    restless += 1
                    if restless <= 20 { print("seed \(seed): not settled: \(e)\n  \(s)\n  \(again)") }
                }
                if sameExpr(s, e) && s !== e {
                    differences += 1
                    Issue.record("seed \(seed): \(e) came back as another object")
                }
                for _ in 0..<3 {
                    let values = g.assignment()
                    if !condition.isTrue {
                        guard let c = Self.lanes(condition, values), case .int(1) = c[0] else { continue }
                    }
                    guard let want = Self.lanes(e, values) else { continue }
                    compared += 1
                    let got = Self.lanes(s, values)
                    if got == nil || got?.count != want.count || !zip(want, got ?? []).allSatisfy(Self.equal)
                        || s.dtype != e.dtype
                    {
                        differences += 1
                        if differences <= 10 {
                            let used = values.filter { uses(e, [$0.key]) || uses(condition, [$0.key]) }.map {
                                "\($0.key)=\($0.value)"
                            }.sorted()
                            Issue.record(
                                "seed \(seed): \(e)\n  became \(s)\n  under \(condition) with \(used.joined(separator: ", ")): \(want), now \(String(describing: got))"
                            )
                        }
                        break
                    }
                }
            }
        }
        run.finish(differences: differences, "compared \(compared) unsettled \(restless) cutOff \(cutOff)")
        #expect(differences == 0)
        #expect(cutOff == 0)
    }
}
