import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Whether a loop is over threads that exist only while lowering (`vthread`, `vthread.x`, `cthread`).
private func isVirtual(_ loop: For) -> Bool {
    guard loop.forKind == .threadBinding, let tag = loop.threadBinding?.threadTag else { return false }
    return tag == "vthread" || tag.hasPrefix("vthread.") || tag == "cthread"
}

/// Which variables and which memory depend on the thread: memory allocated inside of its loop, and stored to in a way
/// or with a value that differs between threads.
private final class TouchAnalysis: StmtExprVisitor {
    private(set) var touched: Set<Var>
    /// Data pointers of what is allocated inside.
    private(set) var own: Set<Var> = []
    /// Those of them that are handed on as plain pointers.
    private(set) var escaped: Set<Var> = []
    private var changed = false
    /// How many conditions and loop ranges around depend on the thread.
    private var divergence = 0

    init(_ thread: Set<Var>, _ body: Stmt) {
        touched = thread
        super.init()
        // What is stored late may be read early in the next turn of a loop: until nothing changes.
        repeat {
            changed = false
            visit(body)
        } while changed
        escaped = plainPointers(body).intersection(own)
    }

    func isTouched(_ e: PrimExpr) -> Bool {
        var found = false
        postOrderVisit(e) { x in
            if x.kind == .variable, touched.contains(unsafeDowncast(x, to: Var.self)) { found = true }
            if let l = x as? BufferLoad, touched.contains(l.buffer.data) { found = true }
        }
        return found
    }

    /// Whether all memory that `e` reads is allocated inside, and nothing is changed: lockstep sees what one thread sees.
    func isOwn(_ e: PrimExpr) -> Bool {
        var ok = true
        postOrderVisit(e) { x in
            if let l = x as? BufferLoad, !own.contains(l.buffer.data) { ok = false }
            if let c = x as? Call, effect(of: c) != .pure { ok = false }
        }
        return ok
    }

    /// Whether the threads run a block one after another.
    func parts(_ r: BlockRealize) -> Bool {
        isTouched(r.predicate) || r.iterValues.contains { isTouched($0) } || !r.block.matchBuffers.isEmpty
            || r.block.initial != nil
    }

    private func touch(_ v: Var) { if touched.insert(v).inserted { changed = true } }

    private func diverging(_ touched: Bool, _ body: () -> Void) {
        if touched { divergence += 1 }
        body()
        if touched { divergence -= 1 }
    }

    override func visit(_ e: PrimExpr) {
        switch e.kind {
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            if isTouched(l.value) { touch(l.variable) }
        case .call:
            // A call with an effect is made by each thread; it may write where it is pointed to.
            let c = unsafeDowncast(e, to: Call.self)
            if effect(of: c) == .updateState, c.name != "tir.storage_sync" {
                postOrderVisit(e) { x in
                    if x.kind == .variable, own.contains(unsafeDowncast(x, to: Var.self)) {
                        touch(unsafeDowncast(x, to: Var.self))
                    }
                    if let a = x as? Call, a.name == "tir.address_of", let l = a.args.first as? BufferLoad,
                        own.contains(l.buffer.data)
                    {
                        touch(l.buffer.data)
                    }
                }
            }
        default: break
        }
        visitChildren(of: e)
    }

    override func visit(_ s: Stmt) {
        switch s {
        case let store as BufferStore:
            if own.contains(store.buffer.data),
                divergence > 0 || isTouched(store.value) || store.indices.contains(where: { isTouched($0) })
            {
                touch(store.buffer.data)
            }
            visitChildren(of: s)
        case let a as Allocate:
            own.insert(a.buffer.data)
            visit(a.body)
        case let b as Block:
            for a in b.allocBuffers { own.insert(a.data) }
            visitChildren(of: s)
        case let l as LetStmt:
            if isTouched(l.value) { touch(l.variable) }
            visit(l.value)
            diverging(isTouched(l.value) || !isPure(l.value)) { visit(l.body) }
        case let b as IfThenElse:
            visit(b.condition)
            diverging(isTouched(b.condition)) {
                visit(b.thenCase)
                if let e = b.elseCase { visit(e) }
            }
        case let loop as For:
            visit(loop.min)
            visit(loop.extent)
            let differs = isTouched(loop.min) || isTouched(loop.extent)
            if differs { touch(loop.loopVar) }
            diverging(differs) { visit(loop.body) }
        case let w as While:
            visit(w.condition)
            diverging(isTouched(w.condition) || !isOwn(w.condition)) { visit(w.body) }
        case let r as BlockRealize:
            for (v, e) in zip(r.block.iterVars, r.iterValues) where isTouched(e) { touch(v.variable) }
            diverging(parts(r)) { visitChildren(of: s) }
        default: visitChildren(of: s)
        }
    }
}

private func hasBarrier(_ s: Stmt) -> Bool {
    var found = false
    postOrderVisit(s, expr: { e in if (e as? Call)?.name == "tir.storage_sync" { found = true } })
    return found
}

/// Accesses of the part of expanded memory that belongs to one thread.
private final class ThreadAccess: StmtExprMutator {
    private let expanded: [Buffer: Buffer]
    private let thread: PrimExpr

    init(_ expanded: [Buffer: Buffer], _ thread: PrimExpr) {
        self.expanded = expanded
        self.thread = thread
        for b in expanded.keys { byData[b.data] = b }
    }
    private var byData: [Var: Buffer] = [:]
    private func place(_ b: Buffer, _ indices: [PrimExpr]) -> [PrimExpr] {
        guard b.rank == 1 else { return [thread] + indices }
        return [shifted(indices[0], thread * b.shape[0])]
    }
    private func shifted(_ i: PrimExpr, _ by: PrimExpr) -> PrimExpr {
        if i.dtype.isScalar { return i + by }
        if let r = i as? Ramp { return Ramp(r.base + by, r.stride, r.lanes) }
        return i + Broadcast(by, Int(i.dtype.lanes))
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let n = mutateChildren(of: e)
        if let p = accessPointer(n, number: thread, { byData[$0] }) { return p }
        guard let l = n as? BufferLoad, let b = expanded[l.buffer] else { return n }
        return BufferLoad(b, place(l.buffer, l.indices))
    }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        if let w = n as? BufferStore, let b = expanded[w.buffer] {
            return BufferStore(b, w.value, place(w.buffer, w.indices))
        }
        // Signatures speak of whole boxes: the thread's part of each.
        if let block = n as? Block {
            func region(_ r: BufferRegion) -> BufferRegion {
                guard let b = expanded[r.buffer] else { return r }
                if r.buffer.rank != 1 {
                    return BufferRegion(b, [IRRange(min: thread, extent: IntImm(1))] + r.region)
                }
                return BufferRegion(
                    b,
                    r.region.map { IRRange(min: $0.min + thread * r.buffer.shape[0], extent: $0.extent) })
            }
            let reads = block.reads.map(region)
            let writes = block.writes.map(region)
            let same =
                zip(reads, block.reads).allSatisfy { $0 === $1 }
                && zip(writes, block.writes).allSatisfy { $0 === $1 }
            return same ? n : block.with(reads: reads, writes: writes)
        }
        return n
    }
}

/// Rewrites the body of one virtual thread loop: the threads run statement by statement, side by side.
private final class Interleaver {
    private let thread: Set<Var>
    private let count: Int
    private let lo: PrimExpr
    /// `vthread` lets threads share what does not depend on them; a `cthread` has everything of its own.
    private let mayShare: Bool
    private let touch: TouchAnalysis
    private var expanded: [Buffer: Buffer] = [:]
    private static let unrolled = 16

    init(_ loop: For, _ count: Int) {
        var vars: Set<Var> = [loop.loopVar]
        if let t = loop.threadBinding { vars.insert(t.variable) }
        thread = vars
        self.count = count
        lo = loop.min
        mayShare = loop.threadBinding?.threadTag != "cthread"
        touch = TouchAnalysis(vars, loop.body)
    }

    /// One run of `s` for thread number `i`.
    private func instance(_ s: Stmt, _ i: PrimExpr, fresh: Bool) -> Stmt {
        var value: [Var: PrimExpr] = [:]
        for v in thread { value[v] = lo + i }
        let mine = expanded.isEmpty ? s : ThreadAccess(expanded, i).mutate(s)
        return fresh ? FreshCopier.copy(mine, value) : substitute(mine, value)
    }

    /// `s` for each thread in turn.
    private func each(_ s: Stmt) throws -> Stmt {
        if hasBarrier(s) {
            throw ApusError(
                "TTR010", "a barrier stands where virtual threads part",
                expected: "all threads to reach it together",
                actual: "\(s)",
                hint: "the condition or loop around it depends on the thread"
            ).located(s.span)
        }
        if count <= Interleaver.unrolled {
            return SeqStmt.flat((0..<count).map { instance(s, IntImm($0), fresh: $0 > 0) })
        }
        let v = Var("vthread")
        return For(v, IntImm(0), IntImm(count), body: instance(s, v, fresh: false))
    }

    private func dependsOnThread(_ s: BufferStore) -> Bool {
        if !mayShare || touch.touched.contains(s.buffer.data) || touch.isTouched(s.value)
            || s.indices.contains(where: { touch.isTouched($0) })
        {
            return true
        }
        if touch.own.contains(s.buffer.data) { return false }
        // Memory of all: every thread stores the same unless the value is in terms of what the others stored.
        var reads = false
        postOrderVisit(s.value) { e in
            if (e as? BufferLoad)?.buffer.data === s.buffer.data { reads = true }
        }
        return reads
    }

    func run(_ s: Stmt) throws -> Stmt {
        switch s {
        case let seq as SeqStmt: return SeqStmt.flat(try seq.stmts.map { try run($0) })
        case let store as BufferStore: return dependsOnThread(store) ? try each(s) : s
        case let e as Evaluate:
            if let c = e.value as? Call, c.name == "tir.storage_sync" { return s }
            return isPure(e.value) && !touch.isTouched(e.value) ? s : try each(s)
        case let a as AssertStmt: return touch.isTouched(a.condition) ? try each(s) : s
        case let b as IfThenElse:
            if touch.isTouched(b.condition) { return try each(s) }
            return IfThenElse(b.condition, try run(b.thenCase), try b.elseCase.map { try run($0) })
        case let loop as For:
            if touch.isTouched(loop.min) || touch.isTouched(loop.extent) { return try each(s) }
            return loop.with(body: try run(loop.body))
        case let w as While:
            return touch.isTouched(w.condition) || !touch.isOwn(w.condition)
                ? try each(s) : While(w.condition, try run(w.body))
        case let l as LetStmt:
            if touch.isTouched(l.value) || !isPure(l.value) { return try each(s) }
            return LetStmt(l.variable, l.value, try run(l.body))
        case let a as AttrStmt: return AttrStmt(a.node, a.key, a.value, try run(a.body))
        case let a as Allocate:
            if mayShare && !touch.touched.contains(a.buffer.data) {
                return Allocate(a.buffer, try run(a.body))
            }
            let wide = try expand(a.buffer)
            return Allocate(wide, try run(a.body))
        case let r as BlockRealize:
            if touch.parts(r) { return try each(s) }
            let buffers = try r.block.allocBuffers.map { b in
                mayShare && !touch.touched.contains(b.data) ? b : try expand(b)
            }
            let body = try run(r.block.body)
            // The signature was that of one thread.
            return BlockRealize(
                r.iterValues, predicate: r.predicate,
                r.block.with(reads: [], writes: [], body: body, allocBuffers: buffers))
        default: return try each(s)
        }
    }

    /// Memory for all threads in the place of that of one.
    private func expand(_ b: Buffer) throws -> Buffer {
        if touch.escaped.contains(b.data) {
            throw ApusError(
                "TTR011", "the memory `\(b.name)` of a virtual thread is handed on as a plain pointer",
                hint: "use access_ptr or address_of of an element, which tell whose part is meant"
            ).located(b.data.span)
        }
        if b.rank == 1, !b.strides.isEmpty || !b.elemOffset.isZero {
            throw ApusError(
                "TTR011", "the memory `\(b.name)` of a virtual thread must be compact",
                hint: "run FlattenBuffer first"
            ).located(b.data.span)
        }
        var strides = b.strides
        if let outer = strides.first, let rows = b.shape.first { strides = [outer * rows] + strides }
        let shape = b.rank == 1 ? [b.shape[0] * count] : [IntImm(count)] + b.shape
        let wide = Buffer(
            data: b.data, dtype: b.dtype, shape: shape, strides: strides, elemOffset: b.elemOffset,
            name: b.name,
            alignment: b.alignment)
        expanded[b] = wide
        return wide
    }
}

/// `s` with `rewrite` applied to every statement, innermost first.
private func innermostFirst(_ s: Stmt, _ rewrite: (Stmt) throws -> Stmt) throws -> Stmt {
    try rewrite(mapChildren(of: s, expr: { $0 }, stmt: { try innermostFirst($0, rewrite) }))
}

/// Replaces loops over virtual threads by interleaved bodies: each statement runs for all threads before the next one
/// does, so that the memory accesses of one hide behind the arithmetic of another. Memory allocated inside gets a part
/// for each thread, unless no thread's number has a say in its contents (`vthread` only). Up to 16 threads are written
/// out, more become a loop. Barriers run once for all threads.
///
/// Throws TTR010 for a barrier that not all threads would reach, TTR011 for strided memory of one dimension, TTR012
/// for a number of threads that is not constant. (TVM's InjectVirtualThread.)
public func injectVirtualThread(_ f: PrimFunc) throws -> PrimFunc {
    try f.rewritingBody { (body: Stmt) throws -> Stmt in
        try innermostFirst(body) { s in
            guard let loop = s as? For, isVirtual(loop) else { return s }
            guard let n = loop.extent.asInt else {
                throw ApusError(
                    "TTR012", "the number of virtual threads must be constant", actual: "\(loop.extent)"
                ).located(loop.span)
            }
            if n <= 0 { return Evaluate.noOp }
            if n == 1 {
                var value = [loop.loopVar: loop.min]
                if let t = loop.threadBinding { value[t.variable] = loop.min }
                return substitute(loop.body, value)
            }
            return try Interleaver(loop, n).run(loop.body)
        }
    }
}

extension TIRPasses {
    public static let injectVirtualThread = primFuncPass(
        PassInfo(
            "tir.InjectVirtualThread", "virtual threads are interleaved statement by statement",
            establishes: ["no virtual threads"])
    ) { f, _, _ in try ApusTIRTransforms.injectVirtualThread(f) }
}
