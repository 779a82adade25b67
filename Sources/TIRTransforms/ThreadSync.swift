import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// What a statement leaves open to the one before and the one after it.
private struct Exposure {
    /// Accesses before the first barrier in it.
    var head: [MemoryAccess] = []
    /// Accesses after the last barrier in it; those of `head` if there is none.
    var tail: [MemoryAccess] = []
    var hasBarrier = false

    mutating func append(_ next: Exposure) {
        if !hasBarrier { head += next.head }
        tail = next.hasBarrier ? next.tail : tail + next.tail
        hasBarrier = hasBarrier || next.hasBarrier
    }
    mutating func appendBarrier() {
        tail = []
        hasBarrier = true
    }
}

/// A barrier is needed where not all threads come.
private struct Divergence: Error {
    let buffer: Buffer?
}

private final class SyncPlanner {
    private let scope: String
    private let analysis: HazardAnalysis
    /// Axes that are not told apart: any of their threads may make an access.
    private let free: [MemoryAccess.Loop]
    private let barrier: Stmt
    /// Whether a barrier that is there orders what this one is to order.
    private let orders: (Call) -> Bool
    private var loops: [MemoryAccess.Loop] = []
    private var conditions: [PrimExpr] = []
    private var values: [Var: PrimExpr] = [:]
    /// Variables whose value may differ between threads.
    private var varying: Set<Var>
    private var divergent = 0

    init(
        scope: String, analysis: HazardAnalysis, free: [MemoryAccess.Loop], varying: Set<Var>, barrier: Stmt,
        orders: @escaping (Call) -> Bool
    ) {
        self.scope = scope
        self.analysis = analysis
        self.free = free
        self.varying = varying
        self.barrier = barrier
        self.orders = orders
    }

    func plan(_ body: Stmt) throws -> Stmt { try sequence([], body, carried: nil).stmt }

    // MARK: Sequences

    private typealias Item = (stmt: Stmt, exposure: Exposure)

    /// The parts of `body` one after another with the barriers that they need. `before`: accesses that happen first.
    private func sequence(
        _ before: [MemoryAccess], _ body: Stmt, carried: (loop: MemoryAccess.Loop, extent: PrimExpr)?
    ) throws -> (stmt: Stmt, exposure: Exposure) {
        let parts = (body as? SeqStmt)?.stmts ?? [body]
        let items = try parts.map { try statement($0) }
        var (list, exposure) = try merged(items, before, late: [], nil)
        if let carried, carried.extent.asInt != 1 {
            // What the end of one iteration leaves meets the beginning of the next.
            let link = (loop: carried.loop, next: exposure.hasBarrier)
            if conflict(exposure.tail, exposure.head, link) != nil {
                (list, exposure) = try merged(items, before, late: exposure.tail, link)
            }
        }
        let same = list.count == parts.count && zip(list, parts).allSatisfy { $0 === $1 }
        return (stmt: same ? body : SeqStmt.flat(list), exposure: exposure)
    }

    private func merged(
        _ items: [Item], _ before: [MemoryAccess], late: [MemoryAccess],
        _ link: (loop: MemoryAccess.Loop, next: Bool)?
    ) throws -> ([Stmt], Exposure) {
        var list: [Stmt] = []
        var sum = Exposure(head: before, tail: before)
        var late = late
        for item in items {
            let meets =
                conflict(sum.tail, item.exposure.head, nil)
                ?? (late.isEmpty ? nil : link.flatMap { conflict(late, item.exposure.head, $0) })
            if let meets {
                if divergent > 0 { throw Divergence(buffer: meets) }
                list.append(barrier)
                sum.appendBarrier()
                late = []
            }
            list.append(item.stmt)
            sum.append(item.exposure)
            if item.exposure.hasBarrier { late = [] }
        }
        return (list, sum)
    }

    /// The buffer in which something of `first` may meet something of `second`, or nil.
    private func conflict(
        _ first: [MemoryAccess], _ second: [MemoryAccess], _ link: (loop: MemoryAccess.Loop, next: Bool)?
    ) -> Buffer? {
        let common = Set(loops.map(\.variable))
        for a in first {
            for b in second where analysis.conflict(a, b, common: common, carried: link) { return b.buffer }
        }
        return nil
    }

    // MARK: Statements

    private func statement(_ s: Stmt) throws -> Item {
        switch s.stmtKind {
        case .seq: return try sequence([], s, carried: nil)
        case .bufferStore:
            let store = unsafeDowncast(s, to: BufferStore.self)
            var list = reads(store.value) + store.indices.flatMap { reads($0) }
            if let w = access(store.buffer, store.indices, isWrite: true) { list.append(w) }
            return (stmt: s, exposure: Exposure(head: list, tail: list))
        case .evaluate:
            let e = unsafeDowncast(s, to: Evaluate.self).value
            if let c = e as? Call, c.name == "tir.storage_sync", orders(c) {
                if divergent > 0 { throw Divergence(buffer: nil) }
                return (stmt: s, exposure: Exposure(head: [], tail: [], hasBarrier: true))
            }
            let list = reads(e)
            return (stmt: s, exposure: Exposure(head: list, tail: list))
        case .assert:
            let list = reads(unsafeDowncast(s, to: AssertStmt.self).condition)
            return (stmt: s, exposure: Exposure(head: list, tail: list))
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            if varies(l.value) { varying.insert(l.variable) }
            if isArithmetic(l.value) { values[l.variable] = substitute(l.value, values) }
            let (body, exposure) = try sequence(reads(l.value), l.body, carried: nil)
            return (stmt: body === l.body ? s : LetStmt(l.variable, l.value, body), exposure: exposure)
        case .attr:
            let a = unsafeDowncast(s, to: AttrStmt.self)
            let (body, exposure) = try sequence(reads(a.value), a.body, carried: nil)
            return (stmt: body === a.body ? s : AttrStmt(a.node, a.key, a.value, body), exposure: exposure)
        case .allocate:
            let a = unsafeDowncast(s, to: Allocate.self)
            let (body, exposure) = try sequence([], a.body, carried: nil)
            return (stmt: body === a.body ? s : Allocate(a.buffer, body), exposure: exposure)
        case .forLoop: return try loop(unsafeDowncast(s, to: For.self))
        case .whileLoop: return try whileLoop(unsafeDowncast(s, to: While.self))
        case .ifThenElse: return try conditional(unsafeDowncast(s, to: IfThenElse.self))
        case .block, .blockRealize:
            throw ApusError("TTR053", "barriers are placed when there are no blocks any more").located(s.span)
        }
    }

    private func loop(_ l: For) throws -> Item {
        let uneven = varies(l.min) || varies(l.extent)
        if uneven { varying.insert(l.loopVar) }
        let inner = MemoryAccess.Loop(
            variable: l.loopVar, min: substitute(l.min, values), extent: substitute(l.extent, values))
        let entry = reads(l.min) + reads(l.extent)
        loops.append(inner)
        if uneven { divergent += 1 }
        defer {
            loops.removeLast()
            if uneven { divergent -= 1 }
        }
        // The loop's own variable has one value within an iteration; `sequence` looks from one to the next.
        var (body, exposure) = try sequence([], l.body, carried: (loop: inner, extent: l.extent))
        exposure.head = entry + exposure.head
        if !exposure.hasBarrier { exposure.tail = exposure.head }
        return (stmt: body === l.body ? l : l.with(body: body), exposure: exposure)
    }

    private func whileLoop(_ w: While) throws -> Item {
        let uneven = varies(w.condition)
        // The number of iterations is unknown; a variable of its own stands for it.
        let count = MemoryAccess.Loop(
            variable: Var("iteration"), min: IntImm(0), extent: IntImm(Int.max / 4))
        loops.append(count)
        if uneven { divergent += 1 }
        defer {
            loops.removeLast()
            if uneven { divergent -= 1 }
        }
        let entry = reads(w.condition)
        var (body, exposure) = try sequence(entry, w.body, carried: (loop: count, extent: count.extent))
        // The condition is read again after the body.
        if let b = conflict(exposure.tail, entry, nil) {
            if divergent > 0 { throw Divergence(buffer: b) }
            body = SeqStmt.flat([body, barrier])
            exposure.appendBarrier()
        }
        exposure.tail += entry
        return (stmt: body === w.body ? w : While(w.condition, body), exposure: exposure)
    }

    private func conditional(_ s: IfThenElse) throws -> Item {
        let uneven = varies(s.condition)
        let entry = reads(s.condition)
        let saved = (loops, conditions, values, varying)
        do {
            if uneven { divergent += 1 }
            defer { if uneven { divergent -= 1 } }
            let condition = substitute(s.condition, values)
            func branch(_ c: PrimExpr, _ body: Stmt) throws -> Item {
                conditions.append(c)
                defer { conditions.removeLast() }
                return try sequence([], body, carried: nil)
            }
            let yes = try branch(condition, s.thenCase)
            let no = try s.elseCase.map { try branch(not(condition), $0) }
            var exposure = Exposure(head: entry, tail: entry)
            var both = yes.exposure
            if let other = no?.exposure {
                both.head += other.head
                both.tail += other.tail
                both.hasBarrier = both.hasBarrier && other.hasBarrier
            } else {
                both.hasBarrier = false
            }
            // A barrier in one branch only orders nothing when the other is taken.
            if !both.hasBarrier && (yes.exposure.hasBarrier || no?.exposure.hasBarrier ?? false) {
                let all =
                    yes.exposure.head + yes.exposure.tail + (no?.exposure.head ?? [])
                    + (no?.exposure.tail ?? [])
                both.head = all
                both.tail = all
            }
            exposure.append(both)
            let same = yes.stmt === s.thenCase && no?.stmt === s.elseCase
            return (stmt: same ? s : IfThenElse(s.condition, yes.stmt, no?.stmt), exposure: exposure)
        } catch let d as Divergence {
            (loops, conditions, values, varying) = saved
            guard uneven, let pushed = distributed(s) else { throw d }
            return try statement(pushed)
        }
    }

    /// `if c { a; b }` as `if c { a }; if c { b }`, down to where all threads come together; nil where the condition
    /// may change on the way or there is nothing to take apart.
    private func distributed(_ s: IfThenElse) -> Stmt? {
        guard s.elseCase == nil, isArithmetic(s.condition) else { return nil }
        switch s.thenCase.stmtKind {
        case .seq:
            let parts = unsafeDowncast(s.thenCase, to: SeqStmt.self).stmts
            return SeqStmt.flat(
                parts.map { p in
                    if let e = p as? Evaluate, let c = e.value as? Call, c.name == "tir.storage_sync" {
                        return p
                    }
                    return IfThenElse(s.condition, p)
                })
        case .forLoop:
            let l = unsafeDowncast(s.thenCase, to: For.self)
            guard !varies(l.min), !varies(l.extent) else { return nil }
            return l.with(body: IfThenElse(s.condition, l.body))
        case .allocate:
            let a = unsafeDowncast(s.thenCase, to: Allocate.self)
            return Allocate(a.buffer, IfThenElse(s.condition, a.body))
        case .attr:
            let a = unsafeDowncast(s.thenCase, to: AttrStmt.self)
            return AttrStmt(a.node, a.key, a.value, IfThenElse(s.condition, a.body))
        case .letStmt:
            let l = unsafeDowncast(s.thenCase, to: LetStmt.self)
            guard isArithmetic(l.value) else { return nil }
            return LetStmt(l.variable, l.value, IfThenElse(s.condition, l.body))
        case .ifThenElse:
            let inner = unsafeDowncast(s.thenCase, to: IfThenElse.self)
            guard inner.elseCase == nil, isArithmetic(inner.condition) else { return nil }
            return distributed(IfThenElse(and(s.condition, inner.condition), inner.thenCase))
        default: return nil
        }
    }

    // MARK: Expressions

    private func isArithmetic(_ e: PrimExpr) -> Bool {
        var ok = true
        postOrderVisit(e) { x in
            if x.kind == .bufferLoad { ok = false }
            if let c = x as? Call, c.name != "tir.likely", c.name != "tir.if_then_else" { ok = false }
        }
        return ok
    }

    /// Whether threads may see different values.
    private func varies(_ e: PrimExpr) -> Bool {
        var found = false
        postOrderVisit(e) { x in
            if let v = x as? Var, varying.contains(v) { found = true }
            if let l = x as? BufferLoad, MemoryRank(l.buffer.scope) > .shared { found = true }
            if let c = x as? Call, effect(of: c) == .updateState || c.name.hasPrefix("tir.warp_") {
                found = true
            }
        }
        return found
    }

    private func isWatched(_ b: Buffer) -> Bool {
        scope == "global"
            ? MemoryRank(b.scope) == .global : b.scope == scope || (b.scope.hasPrefix(scope + "."))
    }

    private func access(_ b: Buffer, _ indices: [PrimExpr]?, isWrite: Bool) -> MemoryAccess? {
        guard isWatched(b) else { return nil }
        let size = b.dtype.byteCount
        var lanes = free + loops
        var offset: PrimExpr?
        if let indices {
            var sum: PrimExpr? = b.elemOffset
            for (i, stride) in zip(indices, flatStrides(b)) {
                guard let part = scalar(i, &lanes), let s = sum else {
                    sum = nil
                    break
                }
                sum = s + part * stride
            }
            offset = sum.map { substitute($0, values) * size }
            if let o = offset, !isArithmetic(o) || o.dtype != .index { offset = nil }
        }
        return MemoryAccess(
            b, isWrite: isWrite, offset: offset, width: size, loops: lanes, conditions: conditions)
    }

    /// A vector index as a scalar one in a loop over its lanes.
    private func scalar(_ e: PrimExpr, _ loops: inout [MemoryAccess.Loop]) -> PrimExpr? {
        if e.dtype.isScalar { return e }
        if let b = e as? Broadcast { return b.value.dtype.isScalar ? b.value : nil }
        guard let r = e as? Ramp, r.base.dtype.isScalar else { return nil }
        let lane = Var("lane", dtype: r.base.dtype)
        loops.append(MemoryAccess.Loop(variable: lane, min: IntImm(0), extent: IntImm(r.lanes)))
        return r.base + r.stride * lane
    }

    private func reads(_ e: PrimExpr) -> [MemoryAccess] {
        var list: [MemoryAccess] = []
        func visit(_ e: PrimExpr) {
            if let load = e as? BufferLoad {
                if let a = access(load.buffer, load.indices, isWrite: false) { list.append(a) }
            } else if let c = e as? Call {
                // An address may be written through, anywhere from there on.
                if c.name == "tir.address_of", let load = c.args.first as? BufferLoad {
                    if let a = access(load.buffer, nil, isWrite: true) { list.append(a) }
                    for i in load.indices { visit(i) }
                    return
                }
            } else if let l = e as? Let {
                visit(l.value)
                if varies(l.value) { varying.insert(l.variable) }
                if isArithmetic(l.value) { values[l.variable] = substitute(l.value, values) }
                visit(l.body)
                return
            }
            forEachChild(of: e) { visit($0) }
        }
        visit(e)
        return list
    }
}

private final class SyncInserter: KernelMutator {
    private let scope: String
    private let f: PrimFunc
    init(_ scope: String, _ f: PrimFunc) {
        self.scope = scope
        self.f = f
    }

    override func kernel(_ root: Stmt, _ nest: LaunchNest) throws -> Stmt {
        guard nest.isCanonical else {
            throw ApusError(
                "TTR053", "barriers are placed in kernels of one loop an axis",
                hint: "run UnifyThreadBinding first"
            ).located(root.span)
        }
        func axes(_ loops: [For]) -> [MemoryAccess.Loop] {
            loops.map { MemoryAccess.Loop(variable: $0.loopVar, min: $0.min, extent: $0.extent) }
        }
        let analyzer = shapeAnalyzer(f)
        var varying = Set(nest.threads.map(\.loopVar))
        for t in nest.threads { if let v = t.threadBinding?.variable { varying.insert(v) } }
        func isGrid(_ c: Call) -> Bool { (c.args.first as? StringImm)?.value == "global" }
        do {
            var body = nest.body
            if scope == "global" {
                // Blocks first: only a barrier of the grid orders these.
                var count: PrimExpr = IntImm(1)
                for b in nest.blocks { count = count * b.extent }
                let lead = all(nest.threads.map { $0.loopVar .== 0 })
                let wait = Evaluate(intrinsic("storage_sync", .void, [StringImm("global"), lead, count]))
                let blocks = HazardAnalysis(threads: axes(nest.blocks), analyzer: analyzer)
                let planner = SyncPlanner(
                    scope: scope, analysis: blocks, free: axes(nest.threads),
                    varying: varying.union(nest.blocks.map(\.loopVar)), barrier: wait, orders: isGrid)
                let ordered = try planner.plan(body)
                if ordered !== body {
                    body = SeqStmt.flat([Evaluate(intrinsic("global_barrier_kinit", .void, [])), ordered])
                }
            }
            for b in nest.blocks { analyzer.bind(b.loopVar, IRRange(min: b.min, extent: b.extent)) }
            let threads = HazardAnalysis(threads: axes(nest.threads), analyzer: analyzer)
            let planner = SyncPlanner(
                scope: scope, analysis: threads, free: [], varying: varying, barrier: barrier("shared"),
                orders: { ($0.args.first as? StringImm)?.value != "warp" })
            return nest.rebuilt(root, body: try planner.plan(body))
        } catch let d as Divergence {
            throw ApusError(
                "TTR052", "threads need a barrier at a place that not all of them reach",
                at: d.buffer.map { ["buffer: \($0.name)"] } ?? [],
                hint: "the condition around it depends on the thread; move the access out of it"
            ).located(root.span)
        }
    }
}

/// Places barriers between accesses of `scope` (`shared`, `shared.dyn`, `global`) by different threads of which one
/// writes: within a sequence, from one iteration of a loop to the next, and after the condition of a `while`.
///
/// A pair needs no barrier where the same thread makes both accesses, where all threads' elements are disjoint, or, by
/// the remainder of the loop variable, where it uses the other half of a double buffer. Barriers that are there count. A
/// condition that depends on the thread is taken apart around a barrier, since all threads must come to it; TTR052 where
/// that cannot be done. For `global`, a conflict between threads of one block gets the barrier of a block, one between
/// blocks that of the grid, with `global_barrier_kinit` at the start.
///
/// Needs kernels of one loop an axis (`unifyThreadBinding`) and no blocks. Source of the idea: TVM's ThreadSync; the
/// proof by thread ownership is ours.
public func threadSync(_ f: PrimFunc, scope: String) throws -> PrimFunc { try SyncInserter(scope, f).run(f) }
