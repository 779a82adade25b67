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
    /// Memory allocated inside the loop, one element a lane: the last index `i` becomes `i * lanes + lane`.
    private var expanded: [Buffer: Buffer] = [:]
    /// Lanes of a vector that a machine may still hold in a few registers.
    private static let widest = 64

    init(_ variable: Var, _ start: PrimExpr, _ lanes: Int, _ analyzer: Analyzer) {
        self.variable = variable
        self.start = start
        self.lanes = lanes
        self.analyzer = analyzer
        analyzer.bind(variable, IRRange(min: start, extent: IntImm(lanes)))
    }

    // MARK: Expressions

    /// What stands for an expression of `inner` lanes, in all lanes of the loop: the inner lanes of lane 0, of lane 1, ….
    private func widen(_ e: PrimExpr, _ inner: Int = 1) throws -> PrimExpr {
        if Int(e.dtype.lanes) == lanes * inner { return e }
        guard Int(e.dtype.lanes) == inner else { throw NeedsScalar() }
        if inner == 1 { return Broadcast(e, lanes) }
        if let b = e as? Broadcast { return Broadcast(b.value, lanes * inner) }
        return Shuffle([e], (0..<lanes * inner).map { $0 % inner })
    }

    private func varies(_ e: PrimExpr) -> Bool {
        if uses(e, [variable]) { return true }
        if !expanded.isEmpty {
            var own = false
            postOrderVisit(e) { x in if let l = x as? BufferLoad, expanded[l.buffer] != nil { own = true } }
            if own { return true }
        }
        return !vectors.isEmpty && uses(e, Set(vectors.keys))
    }

    /// `e` for one lane.
    private func lane(_ e: PrimExpr, _ i: Int) -> PrimExpr {
        let one = substitute(e, [variable: analyzer.simplify(start + i)])
        return expanded.isEmpty ? one : LaneAccess(expanded, lanes, IntImm(i)).mutate(one)
    }

    /// All lanes computed apart: gathers, guarded reads.
    private func apart(_ e: PrimExpr) throws -> PrimExpr {
        let total = lanes * Int(e.dtype.lanes)
        guard lanes <= 16, total <= LoopVectorizer.widest else { throw NeedsScalar() }
        if !vectors.isEmpty && uses(e, Set(vectors.keys)) { throw NeedsScalar() }
        return Shuffle((0..<lanes).map { lane(e, $0) }, Array(0..<total))
    }

    /// The last index of an access of memory that has one element a lane.
    private func inLane(_ index: PrimExpr) throws -> PrimExpr {
        if index.dtype.isScalar { return Ramp(analyzer.simplify(index * lanes), IntImm(1), lanes) }
        guard let r = index as? Ramp, r.lanes == lanes else { throw NeedsScalar() }
        return Ramp(analyzer.simplify(r.base * lanes), analyzer.simplify(r.stride * lanes + 1), lanes)
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
        if e.dtype.lanes > 1 { return varies(e) ? try vectorOfVectors(e) : e }
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
            var indices = try load.indices.map { try expr($0) }
            if let own = expanded[load.buffer], let last = indices.last {
                guard indices.dropLast().allSatisfy({ $0.dtype.lanes == 1 }) else { return try apart(e) }
                indices[indices.count - 1] = try inLane(last)
                return BufferLoad(own, indices)
            }
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

    /// An expression of several lanes that differs between the lanes of the loop, as with one vectorised loop inside
    /// another: the lanes of both, the loop's outermost.
    private func vectorOfVectors(_ e: PrimExpr) throws -> PrimExpr {
        let inner = Int(e.dtype.lanes)
        guard lanes * inner <= LoopVectorizer.widest else { throw NeedsScalar() }
        let type = e.dtype.with(lanes: lanes * inner)
        func wide(_ x: PrimExpr) throws -> PrimExpr { try widen(try expr(x), Int(x.dtype.lanes)) }
        switch e.kind {
        case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge,
            .and, .or:
            let op = unsafeDowncast(e, to: BinaryExpr.self)
            return BinaryExpr.raw(e.kind, try wide(op.a), try wide(op.b))
        case .not: return Not(try wide(unsafeDowncast(e, to: Not.self).a))
        case .cast: return Cast(type, try wide(unsafeDowncast(e, to: Cast.self).value))
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            guard Int(s.condition.dtype.lanes) == inner else { return try apart(e) }
            return Select(try wide(s.condition), try wide(s.trueValue), try wide(s.falseValue))
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            // Ramps that continue each other are one.
            guard vectors.isEmpty, let step = r.stride.asInt,
                let (k, rest) = analyzer.linearCoefficient(r.base, of: variable), k == step * inner
            else { return try apart(e) }
            return Ramp(analyzer.simplify(rest + start * k), r.stride, lanes * inner)
        case .broadcast:
            let value = try widen(try expr(unsafeDowncast(e, to: Broadcast.self).value))
            return Shuffle([value], (0..<lanes * inner).map { $0 / inner })
        case .bufferLoad:
            let load = unsafeDowncast(e, to: BufferLoad.self)
            guard expanded[load.buffer] == nil, load.buffer.dtype.lanes == 1 else { return try apart(e) }
            let indices = try load.indices.map { try expr($0) }
            guard indices.dropLast().allSatisfy({ $0.dtype.lanes == 1 }), indices.last?.kind == .ramp,
                Int(indices.last?.dtype.lanes ?? 1) == lanes * inner
            else { return try apart(e) }
            return BufferLoad(load.buffer, indices)
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            guard effect(of: c) == .pure, isVectorizable(c),
                c.args.allSatisfy({ Int($0.dtype.lanes) == inner })
            else { return try apart(e) }
            return Call(type, c.op, try c.args.map { try wide($0) })
        default: return try apart(e)
        }
    }

    /// Whether a call of vectors is that of each lane.
    private func isVectorizable(_ c: Call) -> Bool { (c.op as? Op)?[vectorizableKey] ?? false }

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
        default:
            guard c.op is Op else { throw NeedsScalar() }
            if !isVectorizable(c) { return try apart(c) }
            let args = try c.args.map { try widen(try expr($0)) }
            return Call(c.dtype.with(lanes: lanes), c.op, args)
        }
    }

    // MARK: Statements

    /// The whole body.
    func run(_ s: Stmt) -> Stmt {
        whole = s
        return (try? stmt(s)) ?? entirelySerial(s)
    }

    private func entirelySerial(_ s: Stmt) -> Stmt {
        expanded = [:]
        serialised = false
        return For(variable, start, IntImm(lanes), .serial, body: s)
    }

    /// A part of it. A scalar fallback would not know variables that became vectors: then all around is scalar too.
    private func stmt(_ s: Stmt) throws -> Stmt {
        do {
            return try vector(s)
        } catch {
            if !vectors.isEmpty || (error as? NeedsScalar)?.whole ?? false { throw error }
            return try serial(s)
        }
    }

    /// A part that runs lane by lane. Where it leaves a value in one place for all lanes, the parts around would see that
    /// of the last lane only: then all runs lane by lane.
    private func serial(_ s: Stmt) throws -> Stmt {
        var places: Set<Var> = []
        postOrderVisit(
            s,
            stmt: { x in
                if let w = x as? BufferStore, expanded[w.buffer] == nil,
                    !w.indices.contains(where: { varies($0) })
                {
                    places.insert(w.buffer.data)
                }
            })
        if !places.isEmpty, let whole, s !== whole {
            let inside = accesses(s)
            let all = accesses(whole)
            if places.contains(where: { inside[$0, default: 0] < all[$0, default: 0] }) {
                throw NeedsScalar(whole: true)
            }
        }
        let v = serialised ? Var(variable.name, type: variable.type) : variable
        serialised = true
        var body = v === variable ? s : FreshCopier.copy(s, [variable: v])
        if !expanded.isEmpty { body = LaneAccess(expanded, lanes, v - start).mutate(body) }
        return For(v, start, IntImm(lanes), .serial, body: body)
    }
    /// Whether a loop over the variable itself stands in the result already.
    private var serialised = false
    private var whole: Stmt?

    /// How often memory is accessed in `s`, by its data pointer.
    private func accesses(_ s: Stmt) -> [Var: Int] {
        var n: [Var: Int] = [:]
        postOrderVisit(
            s,
            expr: { e in
                if let l = e as? BufferLoad { n[l.buffer.data, default: 0] += 1 }
                if e.kind == .variable, e.dtype.isHandle {
                    n[unsafeDowncast(e, to: Var.self), default: 0] += 1
                }
            },
            stmt: { x in if let w = x as? BufferStore { n[w.buffer.data, default: 0] += 1 } })
        return n
    }

    private func vector(_ s: Stmt) throws -> Stmt {
        switch s.stmtKind {
        case .bufferStore:
            let store = unsafeDowncast(s, to: BufferStore.self)
            var indices = try store.indices.map { try expr($0) }
            let inner = Int(store.indices.last?.dtype.lanes ?? 1)
            if let own = expanded[store.buffer], let last = indices.last {
                guard indices.dropLast().allSatisfy({ $0.dtype.lanes == 1 }) else {
                    throw NeedsScalar(whole: true)
                }
                indices[indices.count - 1] = try inLane(last)
                return BufferStore(own, try widen(try expr(store.value)), indices)
            }
            guard indices.dropLast().allSatisfy({ $0.dtype.lanes == 1 }), let last = indices.last else {
                throw NeedsScalar(whole: true)
            }
            let value = try expr(store.value)
            if Int(last.dtype.lanes) == inner {
                // One place for all lanes: once is enough only if the value neither varies nor accumulates.
                var again = Int(value.dtype.lanes) > inner
                postOrderVisit(value) { e in
                    if (e as? BufferLoad)?.buffer.data === store.buffer.data { again = true }
                }
                if again { throw NeedsScalar(whole: true) }
                // Rewritten even so: within these lanes the loop variable may have cancelled out.
                let same = value === store.value && zip(indices, store.indices).allSatisfy { $0 === $1 }
                return same ? s : BufferStore(store.buffer, value, indices)
            }
            guard last.kind == .ramp, store.buffer.dtype.lanes == 1 else { throw NeedsScalar(whole: true) }
            return BufferStore(store.buffer, try widen(value, inner), indices)
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
            if everywhere.isTrue { return fast }
            // Both forms define what the body defines.
            serialised = true
            return IfThenElse(everywhere, fast, try serial(s))
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
        case .allocate:
            let a = unsafeDowncast(s, to: Allocate.self)
            let b = a.buffer
            // One element a lane, side by side: what each lane keeps for itself becomes a vector.
            guard b.rank > 0, b.strides.isEmpty, b.elemOffset.isZero, b.dtype.lanes == 1,
                b.shape.allSatisfy({ !varies($0) }), isAccessedByIndex(a.body, b)
            else { throw NeedsScalar() }
            let own = Buffer(
                data: b.data, dtype: b.dtype,
                shape: b.shape.dropLast() + [analyzer.simplify(b.shape[b.rank - 1] * lanes)],
                name: b.name, alignment: b.alignment)
            expanded[b] = own
            defer { expanded[b] = nil }
            return Allocate(own, try vector(a.body))
        case .whileLoop, .block, .blockRealize: throw NeedsScalar()
        }
    }

    /// Whether memory is used by scalar indices only.
    private func isAccessedByIndex(_ s: Stmt, _ b: Buffer) -> Bool {
        var ok = true
        postOrderVisit(
            s,
            expr: { e in
                if e === b.data { ok = false }
                if let l = e as? BufferLoad, l.buffer.data === b.data {
                    if l.buffer !== b || l.indices.contains(where: { $0.dtype.lanes > 1 }) { ok = false }
                }
                if let c = e as? Call, c.name == "tir.address_of", (c.args.first as? BufferLoad)?.buffer === b
                {
                    ok = false
                }
            },
            stmt: { x in
                if let w = x as? BufferStore, w.buffer.data === b.data {
                    if w.buffer !== b || w.indices.contains(where: { $0.dtype.lanes > 1 }) { ok = false }
                }
                if let a = x as? AttrStmt, a.node === b || a.node === b.data { ok = false }
            })
        return ok
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

/// Accesses of memory that has one element a lane, for one lane.
private final class LaneAccess: StmtExprMutator {
    private let expanded: [Buffer: Buffer]
    private let lanes: Int
    private let lane: PrimExpr

    init(_ expanded: [Buffer: Buffer], _ lanes: Int, _ lane: PrimExpr) {
        self.expanded = expanded
        self.lanes = lanes
        self.lane = lane
    }
    private func place(_ indices: [PrimExpr]) -> [PrimExpr] {
        guard let last = indices.last else { return indices }
        return indices.dropLast() + [last * lanes + lane]
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let n = mutateChildren(of: e)
        guard let l = n as? BufferLoad, let own = expanded[l.buffer] else { return n }
        return BufferLoad(own, place(l.indices))
    }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        guard let w = n as? BufferStore, let own = expanded[w.buffer] else { return n }
        return BufferStore(own, w.value, place(w.indices))
    }
}

private final class VectorizePass: AnalyzingMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        guard let loop = s as? For, loop.forKind == .vectorized else { return super.mutate(s) }
        return binding(loop.loopVar, interval(of: loop)) { rewritten(loop) }
    }

    private func rewritten(_ loop: For) -> Stmt {
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
        if tail == 0 { return main }
        // What is left is a copy with definitions of its own.
        let v = Var(loop.loopVar.name, type: loop.loopVar.type)
        if let tail {
            if tail == 1 { return SeqStmt.flat([main, FreshCopier.copy(body, [loop.loopVar: rest])]) }
            let copy = FreshCopier.copy(body, [loop.loopVar: v])
            return SeqStmt.flat([main, vectorized(v, rest, tail, copy)])
        }
        let left = analyzer.simplify(loop.extent - count * 16)
        let copy = FreshCopier.copy(body, [loop.loopVar: v])
        return SeqStmt.flat([main, For(v, rest, left, body: copy)])
    }
}

/// Makes vectorised loops serial, for targets and for debugging without vectors.
private final class VectorSkipper: StmtExprMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        guard let loop = n as? For, loop.forKind == .vectorized else { return n }
        return loop.with(kind: .serial)
    }
}

/// Turns vectorised loops into vector expressions. Indices linear in the loop variable become `Ramp`; gathers and
/// reads under a condition that differs between lanes are read lane by lane; memory allocated inside gets one element
/// a lane; a guard that may fail in some lanes is tested for all lanes, with a scalar loop otherwise; what cannot be a
/// vector at all runs in a serial loop. Without `enable`, the loops become serial.
public func vectorizeLoop(_ f: PrimFunc, enable: Bool) -> PrimFunc {
    f.rewritingBody { enable ? VectorizePass(f).mutate($0) : VectorSkipper().mutate($0) }
}

/// As above, enabled.
public func vectorizeLoop(_ f: PrimFunc) -> PrimFunc { vectorizeLoop(f, enable: true) }
