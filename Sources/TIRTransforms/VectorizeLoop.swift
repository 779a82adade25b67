import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Thrown inside: this part has to run lane by lane.
private struct NeedsScalar: Error {
    /// Not only this statement but all of the loop: what one statement keeps in a single place for one lane,
    /// another reads for the same lane.
    var whole = false
}

/// Rewrites the body of one vectorised loop: the loop variable becomes `Ramp(start, 1, lanes)`.
private final class LoopVectorizer {
    let variable: Var
    let start: PrimExpr
    let lanes: Int
    let analyzer: Analyzer
    /// Let-bound variables that became vectors.
    private var vectors: [Var: PrimExpr] = [:]

    init(_ variable: Var, _ start: PrimExpr, _ lanes: Int, _ analyzer: Analyzer) {
        self.variable = variable
        self.start = start
        self.lanes = lanes
        self.analyzer = analyzer
        analyzer.bind(variable, IRRange(min: start, extent: IntImm(lanes)))
    }

    // MARK: Expressions

    private func widen(_ e: PrimExpr) throws -> PrimExpr {
        if Int(e.dtype.lanes) == lanes { return e }
        guard e.dtype.lanes == 1 else { throw NeedsScalar() }
        return Broadcast(e, lanes)
    }

    private func varies(_ e: PrimExpr) -> Bool {
        if uses(e, [variable]) { return true }
        return !vectors.isEmpty && uses(e, Set(vectors.keys))
    }

    /// `e` for one lane.
    private func lane(_ e: PrimExpr, _ i: Int) -> PrimExpr {
        substitute(e, [variable: analyzer.simplify(start + i)])
    }

    /// All lanes computed apart: gathers, guarded reads.
    private func apart(_ e: PrimExpr) throws -> PrimExpr {
        guard lanes <= 16, e.dtype.lanes == 1 else { throw NeedsScalar() }
        if !vectors.isEmpty && uses(e, Set(vectors.keys)) { throw NeedsScalar() }
        return Shuffle((0..<lanes).map { lane(e, $0) }, Array(0..<lanes))
    }

    private func readsMemory(_ e: PrimExpr) -> Bool {
        var found = false
        postOrderVisit(e) { x in
            if x.kind == .bufferLoad { found = true }
            if let c = x as? Call, effect(of: c) != .pure { found = true }
            // Division may trap where the condition was there to prevent it.
            if x.kind == .div || x.kind == .mod || x.kind == .floorDiv || x.kind == .floorMod,
                x.dtype.isInteger,
                (x as? BinaryExpr)?.b.constantInt ?? 0 == 0
            {
                found = true
            }
        }
        return found
    }

    /// The value in all lanes: scalar if it is the same in all, else a vector.
    func expr(_ e: PrimExpr) throws -> PrimExpr {
        switch e.kind {
        case .intImm, .floatImm, .stringImm: return e
        case .variable:
            let v = unsafeDowncast(e, to: Var.self)
            if v === variable { return Ramp(start, IntImm(1, dtype: v.dtype), lanes) }
            return vectors[v] ?? e
        default: break
        }
        if e.dtype.lanes > 1 {
            if varies(e) { throw NeedsScalar() }
            return e
        }
        if e.dtype == .index, vectors.isEmpty, let (k, rest) = analyzer.linearCoefficient(e, of: variable) {
            // Within these lanes the variable may have cancelled out: then it must not stay behind either.
            if k == 0 { return uses(e, [variable]) ? rest : e }
            return Ramp(analyzer.simplify(rest + start * k), IntImm(k), lanes)
        }
        switch e.kind {
        case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge,
            .and, .or:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            let a = try expr(op.a)
            let b = try expr(op.b)
            if a.dtype.lanes == 1 && b.dtype.lanes == 1 {
                return a === op.a && b === op.b ? e : binary(e.kind, a, b)
            }
            return BinaryExpr.raw(e.kind, try widen(a), try widen(b))
        case .not:
            let a = try expr(unsafeDowncast(e, to: Not.self).a)
            return a === unsafeDowncast(e, to: Not.self).a ? e : not(a)
        case .cast:
            let c = unsafeDowncast(e, to: Cast.self)
            let v = try expr(c.value)
            return v === c.value ? e : cast(c.dtype.with(lanes: Int(v.dtype.lanes)), v)
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            let c = try expr(s.condition)
            let t = try expr(s.trueValue)
            let f = try expr(s.falseValue)
            if c.dtype.lanes == 1 && t.dtype.lanes == 1 && f.dtype.lanes == 1 {
                return c === s.condition && t === s.trueValue && f === s.falseValue ? e : select(c, t, f)
            }
            return Select(try widen(c), try widen(t), try widen(f))
        case .bufferLoad:
            let load = unsafeDowncast(e, to: BufferLoad.self)
            let indices = try load.indices.map { try expr($0) }
            let inner = indices.dropLast().allSatisfy { $0.dtype.lanes == 1 }
            guard inner, load.buffer.dtype.lanes == 1 else { return try apart(e) }
            guard let last = indices.last, last.dtype.lanes > 1 else {
                return zip(indices, load.indices).allSatisfy({ $0 === $1 })
                    ? e : BufferLoad(load.buffer, indices)
            }
            return last.kind == .ramp ? BufferLoad(load.buffer, indices) : try apart(e)
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            let value = try expr(l.value)
            if value.dtype.lanes == 1 {
                let body = try expr(l.body)
                return value === l.value && body === l.body ? e : Let(l.variable, value, body)
            }
            let v = Var(l.variable.name, dtype: value.dtype)
            vectors[l.variable] = v
            defer { vectors[l.variable] = nil }
            return Let(v, value, try widen(try expr(l.body)))
        case .call: return try call(unsafeDowncast(e, to: Call.self))
        default: throw NeedsScalar()
        }
    }

    private func call(_ c: Call) throws -> PrimExpr {
        if !varies(c) { return c }
        guard effect(of: c) == .pure else { throw NeedsScalar() }
        switch c.name {
        case "tir.if_then_else":
            let condition = try expr(c.args[0])
            if condition.dtype.lanes == 1 {
                return Call(
                    c.dtype.with(lanes: lanes), c.op,
                    [condition, try widen(try expr(c.args[1])), try widen(try expr(c.args[2]))])
            }
            // Where the condition differs between lanes, only what is safe to compute in all may be.
            if readsMemory(c.args[1]) || readsMemory(c.args[2]) {
                let slow = try apart(c)
                // Inside of padding all lanes agree most of the time: one test, then a whole vector.
                guard let everywhere = inAllLanes(c.args[0]), !everywhere.isFalse else { return slow }
                let fast = try widen(try expr(c.args[1]))
                return ifThenElse(everywhere, fast, slow)
            }
            return Select(
                try widen(condition), try widen(try expr(c.args[1])), try widen(try expr(c.args[2])))
        case "tir.likely": return try expr(c.args[0])
        case "tir.call_pure_extern", "tir.address_of", "tir.vscale": return try apart(c)
        default:
            guard c.op is Op else { throw NeedsScalar() }
            let args = try c.args.map { try widen(try expr($0)) }
            return Call(c.dtype.with(lanes: lanes), c.op, args)
        }
    }

    // MARK: Statements

    /// The whole body.
    func run(_ s: Stmt) -> Stmt { (try? stmt(s)) ?? serial(s) }

    /// A part of it. A scalar fallback would not know variables that became vectors: then all around is scalar too.
    private func stmt(_ s: Stmt) throws -> Stmt {
        do {
            return try vector(s)
        } catch {
            if !vectors.isEmpty || (error as? NeedsScalar)?.whole ?? false { throw error }
            return serial(s)
        }
    }

    private func serial(_ s: Stmt) -> Stmt { For(variable, start, IntImm(lanes), .serial, body: s) }

    private func vector(_ s: Stmt) throws -> Stmt {
        switch s.stmtKind {
        case .bufferStore:
            let store = unsafeDowncast(s, to: BufferStore.self)
            let indices = try store.indices.map { try expr($0) }
            guard indices.dropLast().allSatisfy({ $0.dtype.lanes == 1 }), let last = indices.last else {
                throw NeedsScalar(whole: true)
            }
            let value = try expr(store.value)
            if last.dtype.lanes == 1 {
                // One place for all lanes: once is enough only if the value neither varies nor accumulates.
                var again = value.dtype.lanes > 1
                postOrderVisit(value) { e in
                    if (e as? BufferLoad)?.buffer.data === store.buffer.data { again = true }
                }
                if again { throw NeedsScalar(whole: true) }
                return s
            }
            guard last.kind == .ramp, store.buffer.dtype.lanes == 1 else { throw NeedsScalar(whole: true) }
            return BufferStore(store.buffer, try widen(value), indices)
        case .seq: return SeqStmt.flat(try unsafeDowncast(s, to: SeqStmt.self).stmts.map { try stmt($0) })
        case .ifThenElse:
            let branch = unsafeDowncast(s, to: IfThenElse.self)
            let condition = try expr(branch.condition)
            if condition.dtype.lanes == 1 {
                return IfThenElse(
                    condition, try stmt(branch.thenCase), try branch.elseCase.map { try stmt($0) })
            }
            guard let everywhere = inAllLanes(branch.condition) else { throw NeedsScalar() }
            if everywhere.isFalse || !vectors.isEmpty { throw NeedsScalar() }
            let fast = try stmt(branch.thenCase)
            return everywhere.isTrue ? fast : IfThenElse(everywhere, fast, serial(s))
        case .forLoop:
            let loop = unsafeDowncast(s, to: For.self)
            if varies(loop.min) || varies(loop.extent) { throw NeedsScalar() }
            analyzer.bind(loop.loopVar, IRRange(min: loop.min, extent: loop.extent))
            return loop.with(body: try stmt(loop.body))
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            if !varies(l.value) {
                analyzer.bindProperties(of: l.variable, from: l.value)
                return LetStmt(l.variable, l.value, try stmt(l.body))
            }
            // Index arithmetic stays visible to the analysis; values become a vector variable.
            if l.value.dtype == .index { return try stmt(substitute(l.body, [l.variable: l.value])) }
            let value = try widen(try expr(l.value))
            let v = Var(l.variable.name, dtype: value.dtype)
            vectors[l.variable] = v
            defer { vectors[l.variable] = nil }
            return LetStmt(v, value, try vector(l.body))
        case .attr:
            let a = unsafeDowncast(s, to: AttrStmt.self)
            return AttrStmt(a.node, a.key, a.value, try stmt(a.body))
        case .evaluate:
            if unsafeDowncast(s, to: Evaluate.self).value.kind == .intImm { return s }
            throw NeedsScalar()
        case .assert:
            let a = unsafeDowncast(s, to: AssertStmt.self)
            if varies(a.condition) { throw NeedsScalar() }
            return s
        case .allocate, .whileLoop, .block, .blockRealize: throw NeedsScalar()
        }
    }

    /// The condition for all lanes at once, for conjunctions of inequalities linear in the loop variable: such a
    /// one holds in between if it holds at both ends.
    private func inAllLanes(_ e: PrimExpr) -> PrimExpr? {
        if !varies(e) { return e }
        switch e.kind {
        case .and:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            guard let a = inAllLanes(op.a), let b = inAllLanes(op.b) else { return nil }
            return and(a, b)
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            return c.name == "tir.likely" ? inAllLanes(c.args[0]) : nil
        case .lt, .le, .gt, .ge:
            guard vectors.isEmpty, let (lower, upper) = analyzer.solve(e, for: variable) else { return nil }
            if let upper { return analyzer.simplify((start + (lanes - 1)) .<= upper) }
            if let lower { return analyzer.simplify(start .>= lower) }
            return nil
        default: return nil
        }
    }
}

private final class VectorizePass: AnalyzingMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        guard let loop = s as? For, loop.forKind == .vectorized else { return super.mutate(s) }
        analyzer.bind(loop.loopVar, IRRange(min: loop.min, extent: loop.extent))
        let body = mutate(loop.body)
        if let n = loop.extent.asInt {
            if n <= 0 { return Evaluate.noOp }
            if n == 1 { return substitute(body, [loop.loopVar: loop.min]) }
            if n <= 64 { return vectorized(loop.loopVar, loop.min, n, body) }
            return stripMined(loop, body, IntImm(n / 16), tail: n % 16)
        }
        return stripMined(loop, body, analyzer.simplify(floorDiv(loop.extent, 16)), tail: nil)
    }

    private func vectorized(_ v: Var, _ start: PrimExpr, _ lanes: Int, _ body: Stmt) -> Stmt {
        LoopVectorizer(v, analyzer.simplify(start), lanes, analyzer).run(body)
    }

    /// Long loops: vectors of 16 lanes in a serial loop, then what is left.
    private func stripMined(_ loop: For, _ body: Stmt, _ count: PrimExpr, tail: Int?) -> Stmt {
        let outer = Var("\(loop.loopVar.name)_o")
        analyzer.bind(outer, IRRange(extent: count))
        let main = For(
            outer, IntImm(0), count, body: vectorized(loop.loopVar, loop.min + outer * 16, 16, body))
        let rest = analyzer.simplify(loop.min + count * 16)
        if let tail {
            if tail == 0 { return main }
            let last =
                tail == 1
                ? substitute(body, [loop.loopVar: rest]) : vectorized(loop.loopVar, rest, tail, body)
            return SeqStmt.flat([main, last])
        }
        let left = analyzer.simplify(loop.extent - count * 16)
        return SeqStmt.flat([main, For(loop.loopVar, rest, left, body: body)])
    }
}

/// Turns vectorised loops into vector expressions. Indices linear in the loop variable become `Ramp`; gathers and
/// reads under a condition that differs between lanes are read lane by lane; a guard that may fail in some lanes
/// is tested for all lanes, with a scalar loop otherwise; what cannot be a vector at all runs in a serial loop.
public func vectorizeLoop(_ f: PrimFunc) -> PrimFunc {
    f.with(body: VectorizePass(shapeAnalyzer(f)).mutate(f.body))
}
