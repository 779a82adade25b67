import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR
import ApusTestSupport

/// Random loop programs of every construct, for printing and parsing: types fit, names clash, constants are extreme;
/// whether they make sense does not matter.
struct RandomIR {
    var random: SeededRandom
    private var variables: [Var] = []
    private var buffers: [Buffer] = []
    private var budget: Int

    init(seed: UInt64, budget: Int = 60) {
        random = SeededRandom(seed: seed)
        self.budget = budget
    }

    private static let names = [
        "x", "x", "x_1", "A", "A", "A_1", "T", "for", "", "1a", "é", "a b", "n", "v", "data", "range", "pass",
        "I",
        "A_data", "\u{1F600}", "_", "ret", "buffer\"quote",
    ]
    private static let texts = [
        "", "plain", "quote\" back\\slash", "line\nbreak\ttab", "é\u{1F600}", "\u{1}\u{7f}", "{}[]:,",
    ]
    private static let scalars: [DataType] = [
        .int8, .int16, .int32, .int64, .uint8, .uint16, .uint32, .uint64, .bool, .float16, .bfloat16,
        .float32, .float64,
        .int64, .int64, .float32,
    ]

    private mutating func name() -> String { random.pick(RandomIR.names) ?? "x" }
    private mutating func text() -> String { random.pick(RandomIR.texts) ?? "" }
    private mutating func one(in n: Int) -> Bool { random.below(n) == 0 }
    private mutating func scalar() -> DataType { random.pick(RandomIR.scalars) ?? .int64 }

    // MARK: Constants

    mutating func constant(_ d: DataType) -> PrimExpr {
        let e = d.element
        let c: PrimExpr
        if e.isFloat {
            let values: [Double] = [
                0, -0.0, 1, -1.5, 0.1, .infinity, -.infinity, .nan, 1e-45, 3.4e38, 1e300, 5e-324, 65504,
                1.0 / 3,
                Double(bitPattern: 0x7FF8_0000_0000_0123), -.nan,
            ]
            c = FloatImm(values[random.below(values.count)], dtype: e)
        } else {
            let lo = minValue(e).asInt ?? 0
            let hi = maxValue(e).asInt ?? 1
            let values = [0, 1, lo, hi, 2, -1, 7]
            let v = values[random.below(values.count)]
            c = IntImm(IntImm.fits(v, e) ? v : 1, dtype: e)
        }
        return d.lanes == 1 ? c : Broadcast(c, Int(d.lanes))
    }

    // MARK: Expressions

    mutating func expr(_ d: DataType, _ depth: Int) -> PrimExpr {
        budget -= 1
        if depth <= 0 || budget <= 0 { return leaf(d) }
        let next = depth - 1
        let lanes = Int(d.lanes)
        if lanes > 1 && one(in: 3) {
            if one(in: 2) { return Broadcast(expr(d.element, next), lanes) }
            if !d.element.isBool { return Ramp(expr(d.element, next), expr(d.element, next), lanes) }
        }
        switch random.below(14) {
        case 0, 1: return leaf(d)
        case 2, 3, 4:
            if d.element.isBool {
                let other = one(in: 3) ? d : scalar().with(lanes: lanes)
                let kinds: [PrimExprKind] =
                    other.element.isBool ? [.and, .or, .eq, .ne] : [.eq, .ne, .lt, .le, .gt, .ge]
                return BinaryExpr.raw(kinds[random.below(kinds.count)], expr(other, next), expr(other, next))
            }
            let kinds: [PrimExprKind] =
                d.isFloat
                ? [.add, .sub, .mul, .div, .min, .max]
                : [.add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max]
            return BinaryExpr.raw(kinds[random.below(kinds.count)], expr(d, next), expr(d, next))
        case 5:
            return d.element.isBool ? Not(expr(d, next)) : Cast(d, expr(scalar().with(lanes: lanes), next))
        case 6:
            let mask = DataType.bool.with(lanes: one(in: 2) ? lanes : 1)
            return Select(expr(mask, next), expr(d, next), expr(d, next))
        case 7: return load(d, next) ?? leaf(d)
        case 8:
            // The value does not see the variable.
            let t = scalar()
            let value = expr(t, next)
            let v = Var(name(), dtype: t)
            variables.append(v)
            let body = expr(d, next)
            variables.removeAll { $0 === v }
            return Let(v, value, body)
        case 9:
            let parts = [expr(d.element.with(lanes: 2), next), expr(d.element, next)]
            return Shuffle(parts, (0..<lanes).map { _ in random.below(3) })
        case 10 where d.isFloat: return intrinsic(one(in: 2) ? "exp" : "floor", d, [expr(d, next)])
        case 10 where d.isInteger && !d.element.isBool:
            return intrinsic(one(in: 2) ? "bitwise_xor" : "shift_left", d, [expr(d, next), expr(d, next)])
        case 11 where lanes == 1:
            return intrinsic("call_extern", d, [StringImm(text()), expr(scalar(), next)])
        case 12 where lanes == 1: return Call(d, GlobalVar(name() + "g"), [expr(scalar(), next)])
        case 12: return Call(d, Op.find("tir.reinterpret") ?? Op.register("tir.reinterpret"), [expr(d, next)])
        case 13 where lanes == 1 && !d.element.isBool: return reduce(d, next)
        default: return intrinsic("if_then_else", d, [expr(.bool, next), expr(d, next), expr(d, next)])
        }
    }

    private mutating func leaf(_ d: DataType) -> PrimExpr {
        let known = variables.filter { $0.dtype == d }
        if !one(in: 3), let v = random.pick(known) { return v }
        return constant(d)
    }

    private mutating func index(_ depth: Int) -> PrimExpr { expr(.int64, Swift.min(depth, 2)) }

    private mutating func load(_ d: DataType, _ depth: Int) -> PrimExpr? {
        let fits = buffers.filter { $0.dtype == d || ($0.dtype == d.element && $0.rank > 0) }
        guard let b = random.pick(fits) else { return nil }
        return BufferLoad(b, indices(b, Int(d.lanes) / Int(b.dtype.lanes), depth))
    }

    private mutating func indices(_ b: Buffer, _ lanes: Int, _ depth: Int) -> [PrimExpr] {
        (0..<b.rank).map { i in
            i == b.rank - 1 && lanes > 1 ? expr(DataType.int64.with(lanes: lanes), depth) : index(depth)
        }
    }

    private mutating func reduce(_ d: DataType, _ depth: Int) -> PrimExpr {
        let x = Var(name(), dtype: d)
        let y = Var(name(), dtype: d)
        let combiner = CommReducer(
            lhs: [x], rhs: [y], result: [BinaryExpr.raw(.add, x, y)], identity: [constant(d)])
        let k = IterVar(range(depth), Var(name()), .commReduce)
        variables.append(k.variable)
        defer { variables.removeAll { $0 === k.variable } }
        return Reduce(
            combiner, [expr(d, depth)], [k], condition: one(in: 2) ? trueExpr : expr(.bool, depth),
            initial: one(in: 3) ? [constant(d)] : [])
    }

    private mutating func range(_ depth: Int) -> IRRange {
        switch random.below(3) {
        case 0: return IRRange(extent: index(depth))
        case 1: return IRRange(random.below(5), extent: random.below(9))
        default: return IRRange(min: index(depth), extent: index(depth))
        }
    }

    // MARK: Attributes

    mutating func attrValue(_ depth: Int) -> AttrValue {
        switch random.below(depth > 0 ? 12 : 10) {
        case 0: return .none
        case 1: return .int(one(in: 2) ? .min : random.below(100))
        case 2: return .float([0, -0.0, 1.5, .infinity, -.infinity, .nan, 1e300][random.below(7)])
        case 3: return .bool(one(in: 2))
        case 4: return .string(text())
        case 5: return .dtype(one(in: 4) ? .void : scalar())
        case 6: return .ints((0..<random.below(3)).map { _ in random.below(9) - 4 })
        case 7: return .floats((0..<random.below(3)).map { _ in one(in: 2) ? .nan : 0.5 })
        case 8: return .strings((0..<random.below(3)).map { _ in text() })
        case 9: return .node(constant(scalar()))
        case 10: return .list((0..<random.below(3)).map { _ in attrValue(depth - 1) })
        default: return .node(IRRange(0, extent: random.below(5)))
        }
    }

    private mutating func attributes() -> Attrs {
        if one(in: 2) { return .empty }
        var list: [(key: String, value: AttrValue)] = []
        for i in 0..<random.below(3) { list.append((key: "k\(i)" + text(), value: attrValue(2))) }
        return Attrs(list)
    }

    // MARK: Statements

    private mutating func buffer() -> Buffer {
        let d = one(in: 5) ? scalar().with(lanes: 4) : scalar()
        let rank = random.below(3)
        let shape: [PrimExpr] = (0..<rank).map { _ in one(in: 3) ? index(1) : IntImm(random.below(9)) }
        let scope =
            random.pick(["global", "shared", "local", "shared.dyn", "wmma.matrix_a", "odd \"scope"])
            ?? "global"
        let b = Buffer(name(), shape, d, scope: scope, alignment: random.pick([0, 16, 64]) ?? 64)
        if one(in: 3) {
            return b.with(
                strides: shape.map { _ in one(in: 2) ? index(1) : IntImm(3) },
                elemOffset: one(in: 2) ? IntImm(4) : nil,
                offsetFactor: one(in: 2) ? 4 : 0)
        }
        return b
    }

    mutating func stmt(_ depth: Int) -> Stmt {
        budget -= 1
        let kinds = depth <= 0 || budget <= 0 ? 4 : 15
        let next = depth - 1
        switch random.below(kinds) {
        case 0: return Evaluate(expr(one(in: 4) ? scalar().with(lanes: 4) : scalar(), 3))
        case 1: return AssertStmt(expr(.bool, 2), code: one(in: 2) ? "RT100" : text(), text())
        case 2, 3:
            guard let b = random.pick(buffers) else { return Evaluate(expr(scalar(), 3)) }
            let lanes = b.rank > 0 && b.dtype.lanes == 1 && one(in: 3) ? 4 : 1
            let d = b.dtype.with(lanes: lanes * Int(b.dtype.lanes))
            return BufferStore(b, expr(d, 3), indices(b, lanes, 2))
        case 4: return SeqStmt((0..<random.below(4)).map { _ in stmt(next) })
        case 5:
            let t = scalar()
            let value = expr(t, 2)
            let v = Var(name(), dtype: t)
            return LetStmt(v, value, with([v]) { $0.stmt(next) })
        case 6:
            let node: Node
            switch random.below(4) {
            case 0: node = random.pick(buffers) ?? StringImm(text())
            case 1: node = expr(scalar(), 1)
            case 2: node = IRRange(0, extent: 3)
            default:
                let i = IterVar(range(1), Var(name()), .threadIndex, threadTag: "threadIdx.x")
                let value = expr(.int64, 1)
                return AttrStmt(i, text(), value, with([i.variable]) { $0.stmt(next) })
            }
            return AttrStmt(node, text(), expr(scalar(), 1), stmt(next))
        case 7: return IfThenElse(expr(.bool, 2), stmt(next), one(in: 2) ? stmt(next) : nil)
        case 8: return While(expr(.bool, 2), stmt(next))
        case 9, 10: return loop(next)
        case 11:
            let b = buffer()
            buffers.append(b)
            defer { buffers.removeAll { $0 === b } }
            return Allocate(b, stmt(next))
        case 12: return block(next, raw: true)
        default: return block(next, raw: false)
        }
    }

    private mutating func with<R>(_ list: [Var], _ body: (inout RandomIR) -> R) -> R {
        variables += list
        defer { variables.removeAll { v in list.contains { $0 === v } } }
        return body(&self)
    }

    private mutating func loop(_ depth: Int) -> Stmt {
        let r = range(1)
        let d = r.extent.dtype
        let v = Var(name(), dtype: d)
        let kind =
            random.pick([ForKind.serial, .serial, .parallel, .vectorized, .unrolled, .threadBinding])
            ?? .serial
        var thread: IterVar?
        if kind == .threadBinding {
            let tag = random.pick(["threadIdx.x", "blockIdx.y", "vthread", "vthread.x"]) ?? "threadIdx.x"
            switch random.below(3) {
            case 0: thread = IterVar(r, Var(tag, dtype: d), .threadIndex, threadTag: tag)
            case 1: thread = IterVar(r, v, .threadIndex, threadTag: tag)
            default: thread = IterVar(range(1), Var(name()), .threadIndex, threadTag: tag)
            }
        }
        let notes = attributes()
        let bound = thread.map { [v, $0.variable] } ?? [v]
        return For(
            v, r.min, r.extent, kind, body: with(bound) { $0.stmt(depth) }, threadBinding: thread,
            annotations: notes)
    }

    private mutating func block(_ depth: Int, raw: Bool) -> Stmt {
        let types: [IterVarType] = [
            .dataParallel, .commReduce, .ordered, .opaque, .parallelized, .unrolled, .vectorized, .tensorized,
        ]
        var iters: [IterVar] = []
        var values: [PrimExpr] = []
        for _ in 0..<random.below(3) {
            iters.append(IterVar(range(1), Var(name()), random.pick(types) ?? .dataParallel))
            values.append(expr(.int64, 1))
        }
        let predicate = one(in: 2) ? trueExpr : expr(.bool, 2)
        let outside = (variables, buffers)
        defer { (variables, buffers) = outside }
        variables += iters.map(\.variable)
        var allocs: [Buffer] = []
        for _ in 0..<random.below(2) {
            allocs.append(buffer())
            buffers.append(allocs[allocs.count - 1])
        }
        var matches: [MatchBufferRegion] = []
        if one(in: 3), let source = random.pick(buffers) {
            let r = region(source)
            let view = Buffer(
                data: Var(name(), type: PointerType(PrimType(source.dtype))), dtype: source.dtype,
                shape: r.region.map { _ in IntImm(2) },
                strides: one(in: 2) ? r.region.map { _ in Var(name()) } : [],
                elemOffset: one(in: 2) ? IntImm(0) : Var(name()), name: name(), alignment: 64)
            matches.append(MatchBufferRegion(view, r))
            buffers.append(view)
        }
        let reads = (0..<random.below(3)).compactMap { _ in random.pick(buffers).map { region($0) } }
        let writes = (0..<random.below(2)).compactMap { _ in random.pick(buffers).map { region($0) } }
        let initial = one(in: 2) ? stmt(depth - 1) : nil
        let b = Block(
            text(), iterVars: iters, reads: reads, writes: writes, body: stmt(depth), initial: initial,
            allocBuffers: allocs, matchBuffers: matches, annotations: attributes())
        return raw ? b : BlockRealize(values, predicate: predicate, b)
    }

    private mutating func region(_ b: Buffer) -> BufferRegion {
        BufferRegion(
            b, b.shape.map { _ in one(in: 2) ? range(1) : IRRange(min: index(1), extent: IntImm(1)) })
    }

    // MARK: Functions

    mutating func function() -> PrimFunc {
        var params: [Var] = []
        var map: [(param: Var, buffer: Buffer)] = []
        for _ in 0..<random.below(4) {
            if one(in: 3) {
                let v =
                    one(in: 4)
                    ? Var(name(), type: PointerType(PrimType(.int8), storageScope: "shared"))
                    : Var(name(), dtype: scalar())
                params.append(v)
                variables.append(v)
            } else {
                let h = Var(name(), dtype: .handle)
                let n = Var(name())
                var b = Buffer(name(), [n, IntImm(4)], scalar(), alignment: one(in: 2) ? 0 : 64)
                if one(in: 3) {
                    b = b.with(strides: [Var(name()), IntImm(1)], elemOffset: Var(name()), offsetFactor: 2)
                }
                params.append(h)
                map.append((param: h, buffer: b))
                variables.append(n)
                buffers.append(b)
            }
        }
        return PrimFunc(params, bufferMap: map, body: stmt(5), attrs: attributes())
    }
}
