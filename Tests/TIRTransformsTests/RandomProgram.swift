import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR
import ApusTestSupport

/// Random loop functions whose result does not depend on the kinds of their loops: every store has a place of its own for
/// each iteration, memory allocated inside is written before it is read.
struct RandomProgram {
    var random: SeededRandom
    /// Blocks with iteration variables and `allocBuffers` instead of `Allocate`.
    var useBlocks = false
    /// Loops of kinds other than serial.
    var useKinds = true
    /// Some loops are over virtual threads.
    var virtualThreads = false

    private let floats = Buffer("A", [40], .float32)
    private let ints = Buffer("I", [24], .int64)
    private let size = Var("n")
    private lazy var symbolic = Buffer("S", [size], .float32)
    private let out = Buffer("O", [outSize], .float32)
    private var used = 0
    private static let outSize = 20_000
    /// The value of `n`.
    static let symbolicSize = 5

    /// A variable and the values that it may have.
    private struct Index {
        let variable: PrimExpr
        let lo: Int
        let hi: Int
        /// A loop variable: part of the place of every store inside.
        let isLoop: Bool
    }
    private var indices: [Index] = []
    private var values: [PrimExpr] = []
    private var temporaries: [Buffer] = []
    private var depth = 0
    private var vectorDepth = 0
    private var names = 0

    init(seed: UInt64, useBlocks: Bool = false, useKinds: Bool = true) {
        random = SeededRandom(seed: seed)
        self.useBlocks = useBlocks
        self.useKinds = useKinds
    }

    /// Inputs A, I, S (of `n` elements) and the output O.
    mutating func function() -> PrimFunc {
        var body = sequence(2 + random.below(3))
        if useBlocks { body = BlockRealize([], Block("root", body: body)) }
        return PrimFunc(buffers: [floats, ints, symbolic, out], body: body)
    }

    private mutating func name(_ s: String) -> String {
        names += 1
        return "\(s)\(names)"
    }
    private mutating func chance(_ percent: Int) -> Bool { random.below(100) < percent }

    // MARK: Expressions

    /// An affine index with its bounds.
    private mutating func affine() -> (PrimExpr, Int, Int) {
        var e: PrimExpr = IntImm(random.below(5))
        var lo = e.asInt ?? 0
        var hi = lo
        for _ in 0..<random.below(3) {
            guard let i = random.pick(indices) else { break }
            let k = 1 + random.below(4)
            e = e + i.variable * k
            lo += i.lo * k
            hi += i.hi * k
        }
        switch random.below(8) {
        case 0:
            let d = 2 + random.below(4)
            return (floorDiv(e, d), floorDivide(lo, d) ?? 0, floorDivide(hi, d) ?? 0)
        case 1:
            let d = 2 + random.below(7)
            return (floorMod(e, d), 0, d - 1)
        case 2:
            let c = random.below(12)
            return (minimum(e, IntImm(c)), min(lo, c), min(hi, c))
        case 3: return (maximum(e - 3, IntImm(0)), max(lo - 3, 0), max(hi - 3, 0))
        default: return (e, lo, hi)
        }
    }

    private mutating func inBounds(_ count: Int) -> PrimExpr {
        let (e, lo, hi) = affine()
        if lo >= 0 && hi < count { return e }
        if chance(50) { return floorMod(e, count) }
        return maximum(minimum(e, IntImm(count - 1)), IntImm(0))
    }

    private mutating func condition() -> PrimExpr {
        var c: PrimExpr
        let (a, _, hi) = affine()
        let k = IntImm(random.below(max(hi, 0) + 2))
        let kinds: [PrimExprKind] = [.lt, .le, .gt, .ge, .eq, .ne]
        let kind = random.pick(kinds) ?? .lt
        c = binary(kind, a, chance(15) ? affine().0 : k)
        if chance(12) { c = binary(.lt, BufferLoad(ints, [inBounds(24)]), IntImm(random.below(9))) }
        if chance(25) { c = and(c, condition()) }
        if chance(5) { c = or(c, condition()) }
        return c
    }
    private mutating func mark(_ c: PrimExpr) -> PrimExpr { chance(50) ? intrinsic("likely", .bool, [c]) : c }

    private mutating func load() -> PrimExpr {
        switch random.below(8) {
        case 0: return BufferLoad(floats, [BufferLoad(ints, [inBounds(24)])])
        case 1:
            let (e, _, _) = affine()
            let inside = and(IntImm(2) .<= e, e .< IntImm(42))
            let guarded = BufferLoad(floats, [e - 2])
            return ifThenElse(
                chance(30) ? intrinsic("likely", .bool, [inside]) : inside, guarded, const(1.0, .float32))
        case 2: return BufferLoad(symbolic, [floorMod(affine().0, RandomProgram.symbolicSize)])
        case 3: return cast(.float32, affine().0)
        case 4, 5:
            if let t = random.pick(temporaries), let n = t.staticShape?.first {
                return BufferLoad(t, [inBounds(n)])
            }
            return BufferLoad(floats, [inBounds(40)])
        default: return BufferLoad(floats, [inBounds(40)])
        }
    }

    private mutating func value(_ levels: Int = 2) -> PrimExpr {
        if levels == 0 {
            if chance(20), let v = random.pick(values) { return v }
            return load()
        }
        let a = value(levels - 1)
        switch random.below(9) {
        case 0: return a + value(levels - 1)
        case 1: return a - value(levels - 1)
        case 2: return maximum(a, value(levels - 1))
        case 3: return minimum(a, value(levels - 1))
        case 4: return a * const(Double(random.below(3)), .float32)
        case 5: return select(condition(), a, value(levels - 1))
        case 6:
            let v = Var(name("e"), dtype: .float32)
            return Let(v, a, v + value(levels - 1) + v)
        case 7: return unary("fabs", a)
        default: return a
        }
    }

    // MARK: Statements

    private mutating func sequence(_ count: Int) -> Stmt {
        var list: [Stmt] = []
        for _ in 0..<count { list.append(statement()) }
        return SeqStmt.flat(list)
    }

    /// A place that no other iteration and no other statement stores to.
    private mutating func place() -> PrimExpr? {
        var extent = 1
        for i in indices where i.isLoop { extent *= i.hi - i.lo + 1 }
        guard used + extent <= RandomProgram.outSize else { return nil }
        var e: PrimExpr = IntImm(used)
        var stride = 1
        for i in indices.reversed() where i.isLoop {
            e = e + (i.lo == 0 ? i.variable : i.variable - i.lo) * stride
            stride *= i.hi - i.lo + 1
        }
        used += extent
        return e
    }

    private mutating func store() -> Stmt {
        guard let p = place() else { return Evaluate.noOp }
        if chance(20) {
            return SeqStmt.flat([
                BufferStore(out, value(), [p]), BufferStore(out, BufferLoad(out, [p]) + value(1), [p]),
            ])
        }
        return BufferStore(out, value(), [p])
    }

    private mutating func statement() -> Stmt {
        depth += 1
        defer { depth -= 1 }
        if depth > 5 || used > RandomProgram.outSize / 2 { return store() }
        switch random.below(16) {
        case 0...5: return loop()
        case 6, 7: return branch()
        case 8, 9: return allocation()
        case 10:
            let v = Var(name("f"), dtype: .float32)
            let x = value(1)
            values.append(v)
            defer { values.removeLast() }
            return LetStmt(v, x, sequence(1 + random.below(2)))
        case 11:
            let v = Var(name("t"))
            let (e, lo, hi) = affine()
            indices.append(Index(variable: v, lo: lo, hi: hi, isLoop: false))
            defer { indices.removeLast() }
            return LetStmt(v, e, sequence(1 + random.below(2)))
        case 12: return chance(50) ? Evaluate(affine().0) : AssertStmt(affine().0 .>= IntImm(-100), "never")
        case 13: return counted()
        default: return store()
        }
    }

    private mutating func loop() -> Stmt {
        let v = Var(name("i"))
        var kind = ForKind.serial
        var extent = 1 + random.below(5)
        if useKinds {
            switch random.below(8) {
            case 0, 1:
                if vectorDepth < 2 {
                    kind = .vectorized
                    extent = chance(80) ? [2, 4, 8][random.below(3)] : 1 + random.below(20)
                }
            case 2: kind = .parallel
            case 3, 4: kind = .unrolled
            default: break
            }
        }
        let lo = chance(20) ? random.below(4) : 0
        let symbolicLoop = chance(15) && kind != .unrolled
        if symbolicLoop { extent = RandomProgram.symbolicSize }
        if chance(3) { extent = 0 }
        let count: PrimExpr = symbolicLoop && extent > 0 ? size : IntImm(extent)
        if kind == .vectorized { vectorDepth += 1 }
        indices.append(Index(variable: v, lo: lo, hi: lo + max(extent, 1) - 1, isLoop: true))
        defer {
            indices.removeLast()
            if kind == .vectorized { vectorDepth -= 1 }
        }
        var body = sequence(1 + random.below(2))
        if useBlocks && chance(40) { body = block(body) }
        if virtualThreads, kind == .serial, !symbolicLoop, chance(50) {
            let thread = IterVar(
                IRRange(min: IntImm(lo), extent: count), Var("vthread"), .threadIndex,
                threadTag: chance(30) ? "cthread" : "vthread")
            return For(v, IntImm(lo), count, .threadBinding, body: body, threadBinding: thread)
        }
        return For(v, IntImm(lo), count, kind, body: body)
    }

    /// A block in which every variable of the loops around has a name of its own.
    private mutating func block(_ body: Stmt) -> Stmt {
        var map: [Var: PrimExpr] = [:]
        var iterVars: [IterVar] = []
        var iterValues: [PrimExpr] = []
        for i in indices {
            guard let v = i.variable as? Var else { continue }
            let own = Var("v_\(v.name)")
            map[v] = own
            iterVars.append(
                IterVar(IRRange(min: IntImm(i.lo), extent: IntImm(i.hi - i.lo + 1)), own, .dataParallel))
            iterValues.append(v)
        }
        let predicate = chance(30) ? condition() : trueExpr
        let reads = sideEffect(of: predicate) == .pure
        return BlockRealize(
            iterValues, predicate: reads ? predicate : trueExpr,
            Block(name("B"), iterVars: iterVars, body: substitute(body, map)))
    }

    private mutating func branch() -> Stmt {
        let c = mark(condition())
        let t = sequence(1 + random.below(2))
        return IfThenElse(c, t, chance(40) ? sequence(1) : nil)
    }

    private func allocate(_ b: Buffer, _ body: Stmt) -> Stmt {
        useBlocks
            ? BlockRealize([], Block("alloc_\(b.name)", body: body, allocBuffers: [b])) : Allocate(b, body)
    }

    private mutating func allocation() -> Stmt {
        let outer = temporaries
        defer { temporaries = outer }
        var n = 1 + random.below(6)
        // Sometimes element by element from another one, which may then not be needed any more.
        let operand = chance(40) ? temporaries.last : nil
        if let m = operand?.staticShape?.first { n = m }
        let t = Buffer(name("T"), [n], .float32, scope: ["global", "local", "shared"][random.below(3)])
        var list: [Stmt] = []
        let j = Var(name("j"))
        indices.append(Index(variable: j, lo: 0, hi: n - 1, isLoop: true))
        let initial = operand.map { BufferLoad($0, [j]) + const(1.0, .float32) } ?? value(1)
        if operand != nil, chance(60) { temporaries.removeLast() }
        list.append(For(j, IntImm(0), IntImm(n), body: BufferStore(t, initial, [j])))
        indices.removeLast()
        temporaries.append(t)
        if chance(40) {
            let k = Var(name("k"))
            indices.append(Index(variable: k, lo: 0, hi: n - 1, isLoop: true))
            list.append(
                For(k, IntImm(0), IntImm(n), body: BufferStore(t, BufferLoad(t, [k]) + value(1), [k])))
            indices.removeLast()
        }
        list.append(sequence(1 + random.below(2)))
        return allocate(t, SeqStmt.flat(list))
    }

    /// A `while` with a counter in memory.
    private mutating func counted() -> Stmt {
        let c = Buffer(name("C"), [1], .int64, scope: "local")
        let zero: [PrimExpr] = [IntImm(0)]
        guard let p = place() else { return Evaluate.noOp }
        let turn = SeqStmt.flat([
            BufferStore(out, BufferLoad(out, [p]) + value(1), [p]),
            BufferStore(c, BufferLoad(c, zero) + 1, zero),
        ])
        return allocate(
            c,
            SeqStmt.flat([
                BufferStore(c, IntImm(0), zero), BufferStore(out, const(0.0, .float32), [p]),
                While(BufferLoad(c, zero) .< IntImm(random.below(4)), turn),
            ]))
    }
}
