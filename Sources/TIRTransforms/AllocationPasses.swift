import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Where buffers live, and how large they have to be.

/// Finds, for each buffer, the innermost statement (`For` or `Block`) that holds all its accesses.
private final class LCAFinder: StmtExprVisitor {
    /// From the root inwards: loops and blocks around the current statement.
    private var path: [Stmt] = []
    private(set) var common: [Buffer: [Stmt]] = [:]
    private var byData: [Var: Buffer] = [:]
    /// Conjuncts of the predicates around the current statement, and those around each write and read.
    private var guards: [PrimExpr] = []
    private var writeGuards: [Buffer: [[PrimExpr]]] = [:]
    private var readGuards: [Buffer: [[PrimExpr]]] = [:]

    init(_ buffers: [Buffer]) {
        for b in buffers { byData[b.data] = b }
    }

    private func access(_ b: Buffer, _ path: [Stmt]) {
        guard let old = common[b] else {
            common[b] = path
            return
        }
        var n = 0
        while n < old.count && n < path.count && old[n] === path[n] { n += 1 }
        common[b] = Array(old[..<n])
    }

    override func visit(_ e: PrimExpr) {
        if let load = e as? BufferLoad {
            access(load.buffer, path)
            readGuards[load.buffer, default: []].append(guards)
        }
        // A pointer handed to an intrinsic counts as an access of the whole buffer.
        if e.kind == .variable, let b = byData[unsafeDowncast(e, to: Var.self)] { access(b, path) }
        visitChildren(of: e)
    }
    override func visit(_ s: Stmt) {
        switch s.stmtKind {
        case .bufferStore:
            let b = unsafeDowncast(s, to: BufferStore.self).buffer
            access(b, path)
            writeGuards[b, default: []].append(guards)
            visitChildren(of: s)
        case .forLoop:
            let loop = unsafeDowncast(s, to: For.self)
            visit(loop.min)
            visit(loop.extent)
            path.append(s)
            visit(loop.body)
            path.removeLast()
        case .blockRealize:
            let r = unsafeDowncast(s, to: BlockRealize.self)
            for v in r.iterValues { visit(v) }
            visit(r.predicate)
            for m in r.block.matchBuffers { access(m.source.buffer, path) }
            carry(r)
            path.append(r.block)
            let before = guards.count
            addGuards(r.predicate)
            defer { guards.removeLast(guards.count - before) }
            // Signatures repeat what the body does, in boxes: they are not accesses of their own.
            if let i = r.block.initial { visit(i) }
            visit(r.block.body)
            path.removeLast()
        default: visitChildren(of: s)
        }
    }

    private func addGuards(_ e: PrimExpr) {
        if let a = e as? And {
            addGuards(a.a)
            addGuards(a.b)
        } else if e.kind != .intImm {
            guards.append(e)
        }
    }

    /// The innermost place for `b` such that no iteration reads what only an earlier one wrote: a loop stays outside
    /// if a write is skipped in some of its iterations in which a read is not.
    func place(of b: Buffer) -> [Stmt]? {
        guard var path = common[b] else { return nil }
        for w in writeGuards[b] ?? [] {
            for c in w {
                let shared = path.compactMap { ($0 as? For)?.loopVar }
                var variables: Set<Var> = []
                postOrderVisit(c) { x in if let v = x as? Var { variables.insert(v) } }
                if variables.isEmpty || !variables.isSubset(of: Set(shared)) { continue }
                let everywhere = (readGuards[b] ?? []).allSatisfy { r in r.contains { sameExpr($0, c) } }
                if everywhere { continue }
                if let i = path.firstIndex(where: { s in
                    (s as? For).map { variables.contains($0.loopVar) } ?? false
                }) {
                    path = Array(path[..<i])
                }
            }
        }
        return path
    }

    /// What a block writes under a reduction or an ordered loop lives on from iteration to iteration: it must be
    /// allocated outside of that loop.
    private func carry(_ r: BlockRealize) {
        var variables: Set<Var> = []
        for (v, e) in zip(r.block.iterVars, r.iterValues) where v.iterType != .dataParallel {
            postOrderVisit(e) { x in if let x = x as? Var { variables.insert(x) } }
        }
        if variables.isEmpty { return }
        for (i, s) in path.enumerated() {
            if let loop = s as? For, variables.contains(loop.loopVar) {
                for w in r.block.writes { access(w.buffer, Array(path[..<i])) }
                return
            }
        }
    }
}

private final class AllocationPlacer: StmtExprMutator {
    private let at: [ObjectIdentifier: [Buffer]]
    private let placed: Set<Buffer>
    /// What has been placed so far, in the order of the walk.
    private var done: [Buffer] = []

    init(_ at: [ObjectIdentifier: [Buffer]], _ placed: Set<Buffer>) {
        self.at = at
        self.placed = placed
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        let mine = at[ObjectIdentifier(s)] ?? []
        let mark = done.count
        let n = mutateChildren(of: s)
        defer { done += mine }
        if let block = n as? Block {
            let kept = block.allocBuffers.filter { !placed.contains($0) }
            // What lives within the block is no business of those who look at its signature.
            let inside = Set(done[mark...])
            let reads = block.reads.filter { !inside.contains($0.buffer) }
            let writes = block.writes.filter { !inside.contains($0.buffer) }
            if kept.count == block.allocBuffers.count && mine.isEmpty && reads.count == block.reads.count
                && writes.count == block.writes.count
            {
                return n
            }
            return block.with(reads: reads, writes: writes, allocBuffers: kept + mine)
        }
        guard !mine.isEmpty, let loop = n as? For else { return n }
        let block = Block("alloc", body: loop.body, allocBuffers: mine)
        return loop.with(body: BlockRealize([], block))
    }
}

/// Moves each allocation as deep as it can go: to the innermost loop or block that holds all accesses, but outside
/// of loops that carry its contents (reductions) and of vectorised loops. Needs blocks with iteration variables.
public func planAndUpdateBufferAllocationLocation(_ f: PrimFunc) -> PrimFunc {
    var buffers: [Buffer] = []
    postOrderVisit(
        f.body, stmt: { s in if let b = s as? Block { buffers.append(contentsOf: b.allocBuffers) } })
    if buffers.isEmpty { return f }
    let finder = LCAFinder(buffers)
    withLargeStack { finder.visit(f.body) }
    var at: [ObjectIdentifier: [Buffer]] = [:]
    var placed: Set<Buffer> = []
    for b in buffers {
        guard var path = finder.place(of: b) else {
            // Nobody accesses it: it needs no memory.
            placed.insert(b)
            continue
        }
        if let i = path.firstIndex(where: { ($0 as? For)?.forKind == .vectorized }) {
            path = Array(path[..<i])
        }
        // Memory that all threads share lies outside of the kernel.
        let rank = MemoryRank(b.scope)
        if rank == .global, let i = path.firstIndex(where: { hardwareTag($0) != nil }) {
            path = Array(path[..<i])
        }
        guard let place = path.last else { continue }
        placed.insert(b)
        at[ObjectIdentifier(place), default: []].append(b)
    }
    return f.rewritingBody { AllocationPlacer(at, placed).mutate($0) }
}

/// The box of each allocated buffer that is accessed below its allocation, relative to that place.
private final class RegionCollector: StmtExprVisitor {
    struct Entry {
        var depth: Int
        var sets: [IntervalSet]?
        /// Accessed in a way that is not understood, or not at all by index.
        var opaque = false
    }
    let analyzer = Analyzer()
    private(set) var entries: [Buffer: Entry] = [:]
    /// The keys of `entries` in order of declaration.
    private(set) var order: [Buffer] = []
    /// Alignment of strides asked for by the annotation `buffer_dim_align`: axis, factor, offset.
    private(set) var alignments: [Buffer: [(axis: Int, factor: Int, offset: Int)]] = [:]
    private var loops: [(variable: Var, set: IntervalSet, tag: String)] = []
    private var byData: [Var: Buffer] = [:]

    private func declare(_ b: Buffer) {
        entries[b] = Entry(depth: loops.count, sets: nil)
        order.append(b)
        byData[b.data] = b
    }

    private func access(_ b: Buffer, _ indices: [PrimExpr]) {
        guard var entry = entries[b], !entry.opaque else { return }
        var domains: [Var: IntervalSet] = [:]
        let rank = MemoryRank(b.scope)
        for (i, l) in loops.enumerated() {
            // Threads outside of the allocation share it: it holds what all of them access.
            let shares = (rank == .shared && isThreadAxis(l.tag)) || (rank == .warp && l.tag == "threadIdx.x")
            if i >= entry.depth || shares { domains[l.variable] = l.set }
        }
        let sets = indices.map { analyzer.evalSet($0, domains) }
        if let old = entry.sets {
            var merged: [IntervalSet] = []
            for (x, y) in zip(old, sets) { merged.append(analyzer.union(x, y)) }
            entry.sets = merged
        } else {
            entry.sets = sets
        }
        entries[b] = entry
    }

    /// A whole region.
    private func access(_ r: BufferRegion) {
        access(r.buffer, r.region.map(\.min))
        access(r.buffer, r.region.map { $0.min + $0.extent - 1 })
    }

    override func visit(_ e: PrimExpr) {
        switch e.kind {
        case .variable:
            if let b = byData[unsafeDowncast(e, to: Var.self)] { entries[b]?.opaque = true }
        case .bufferLoad:
            let load = unsafeDowncast(e, to: BufferLoad.self)
            access(load.buffer, load.indices)
            visitChildren(of: e)
        case .call:
            let call = unsafeDowncast(e, to: Call.self)
            if call.name == "tir.address_of", let load = call.args[0] as? BufferLoad {
                entries[load.buffer]?.opaque = true
            }
            visitChildren(of: e)
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            visit(l.value)
            within(l.variable, analyzer.evalSet(l.value, [:])) { visit(l.body) }
        default: visitChildren(of: e)
        }
    }

    private func within(_ v: Var, _ set: IntervalSet, tag: String = "", _ body: () -> Void) {
        loops.append((variable: v, set: set, tag: tag))
        body()
        loops.removeLast()
    }

    override func visit(_ s: Stmt) {
        switch s.stmtKind {
        case .bufferStore:
            let store = unsafeDowncast(s, to: BufferStore.self)
            access(store.buffer, store.indices)
            visit(store.value)
            for i in store.indices { visit(i) }
        case .forLoop:
            let loop = unsafeDowncast(s, to: For.self)
            visit(loop.min)
            visit(loop.extent)
            analyzer.bind(loop.loopVar, IRRange(min: loop.min, extent: loop.extent))
            // A single iteration is bound to its value and needs no relaxing, but must not escape either.
            within(
                loop.loopVar, IntervalSet(IRRange(min: loop.min, extent: loop.extent)),
                tag: loop.threadBinding?.threadTag ?? ""
            ) {
                visit(loop.body)
            }
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            visit(l.value)
            within(l.variable, analyzer.evalSet(l.value, [:])) { visit(l.body) }
        case .blockRealize:
            let r = unsafeDowncast(s, to: BlockRealize.self)
            visit(r.predicate)
            for b in r.block.allocBuffers { declare(b) }
            let list = r.block.annotations.ints("buffer_dim_align") ?? []
            var i = 0
            while i + 3 < list.count {
                if r.block.writes.indices.contains(list[i]) {
                    let b = r.block.writes[list[i]].buffer
                    alignments[b, default: []].append(
                        (axis: list[i + 1], factor: list[i + 2], offset: list[i + 3]))
                }
                i += 4
            }
            // What is accessed through a view is a part of the view's region.
            for m in r.block.matchBuffers { access(m.source) }
            // The sets stay sound without the predicate; it would only make them smaller.
            visit(r.block.body)
        case .allocate:
            let a = unsafeDowncast(s, to: Allocate.self)
            declare(a.buffer)
            visit(a.body)
        default: visitChildren(of: s)
        }
    }
}

private final class BufferCompactor: StmtExprMutator {
    private let layouts: [Buffer: (buffer: Buffer, offset: [PrimExpr])]
    private let analyzer: Analyzer

    init(_ layouts: [Buffer: (buffer: Buffer, offset: [PrimExpr])], _ analyzer: Analyzer) {
        self.layouts = layouts
        self.analyzer = analyzer
    }
    override func mutate(_ b: Buffer) -> Buffer { layouts[b]?.buffer ?? b }

    private func shift(_ b: Buffer, _ indices: [PrimExpr]) -> [PrimExpr] {
        guard let layout = layouts[b] else { return indices }
        return zip(indices, layout.offset).map { i, o in o.isZero ? i : analyzer.simplify(i - o) }
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if let load = e as? BufferLoad {
            let indices = load.indices.map { mutate($0) }
            let same = layouts[load.buffer] == nil && zip(indices, load.indices).allSatisfy { $0 === $1 }
            return same ? e : BufferLoad(mutate(load.buffer), shift(load.buffer, indices))
        }
        return mutateChildren(of: e)
    }
    override func mutate(_ s: Stmt) -> Stmt {
        if let store = s as? BufferStore {
            let indices = store.indices.map { mutate($0) }
            let value = mutate(store.value)
            let same =
                layouts[store.buffer] == nil && value === store.value
                && zip(indices, store.indices).allSatisfy { $0 === $1 }
            return same ? s : BufferStore(mutate(store.buffer), value, shift(store.buffer, indices))
        }
        if let block = s as? Block {
            // After this pass the boxes of the signature no longer speak of the same coordinates. Which buffer a block
            // writes stays known where an annotation counts on it.
            let matches = block.matchBuffers.map { m -> MatchBufferRegion in
                guard layouts[m.source.buffer] != nil else { return m }
                let lows = shift(m.source.buffer, m.source.region.map { mutate($0.min) })
                let ranges = zip(lows, m.source.region).map { IRRange(min: $0, extent: mutate($1.extent)) }
                return MatchBufferRegion(m.buffer, BufferRegion(mutate(m.source.buffer), ranges))
            }
            let counts = block.annotations["double_buffer_scope"] != nil
            let writes = counts ? block.writes.map { BufferRegion(all: mutate($0.buffer)) } : []
            if block.reads.isEmpty && (counts || block.writes.isEmpty) && layouts.isEmpty {
                return mutateChildren(of: block)
            }
            return mutateChildren(of: block.with(reads: [], writes: writes, matchBuffers: matches))
        }
        return mutateChildren(of: s)
    }
}

/// Shrinks each intermediate buffer to the box that is accessed below its allocation and moves its origin there.
/// Needs blocks without iteration variables. Applies `buffer_dim_align` to the strides.
public func compactBufferAllocation(_ f: PrimFunc) -> PrimFunc {
    let collector = RegionCollector()
    for (_, b) in f.bufferMap {
        for d in b.shape { if let v = d as? Var { collector.analyzer.bindShapeVariable(v) } }
    }
    withLargeStack { collector.visit(f.body) }
    let a = collector.analyzer
    var layouts: [Buffer: (buffer: Buffer, offset: [PrimExpr])] = [:]
    for b in collector.order {
        guard let entry = collector.entries[b], !entry.opaque, let sets = entry.sets, b.strides.isEmpty else {
            continue
        }
        var shape: [PrimExpr] = []
        var offset: [PrimExpr] = []
        for d in 0..<b.rank {
            var extent = b.shape[d]
            var start: PrimExpr = IntImm(0)
            if let lo = sets[d].min, let hi = sets[d].max {
                let need = a.simplify(hi - lo + 1)
                let most = a.constIntBound(need).max
                if most != ConstIntBound.posInf, most >= 0, extent.asInt.map({ most < $0 }) ?? true {
                    extent = IntImm(Swift.max(most, 1))
                    start = lo
                } else if extent.asInt == nil, a.canProveLess(need, extent) {
                    extent = need
                    start = lo
                }
            }
            shape.append(extent)
            offset.append(start)
        }
        let align = collector.alignments[b] ?? []
        if align.isEmpty && offset.allSatisfy({ $0.isZero }) && zip(shape, b.shape).allSatisfy({ $0 === $1 })
        {
            continue
        }
        var strides: [PrimExpr] = []
        if !align.isEmpty {
            strides = Array(repeating: IntImm(1), count: b.rank)
            for d in (0..<b.rank).reversed() {
                var s: PrimExpr = d + 1 < b.rank ? strides[d + 1] * shape[d + 1] : IntImm(1)
                for x in align where x.axis == d && x.factor > 0 {
                    // The least stride not below the compact one with stride mod factor = offset.
                    s = s + floorMod(IntImm(x.offset) - s, x.factor)
                }
                strides[d] = a.simplify(s)
            }
        }
        let fresh = Buffer(
            data: b.data, dtype: b.dtype, shape: shape, strides: strides, elemOffset: b.elemOffset,
            name: b.name,
            alignment: b.alignment)
        layouts[b] = (buffer: fresh, offset: offset)
    }
    if layouts.isEmpty { return f }
    return f.rewritingBody { BufferCompactor(layouts, a).mutate($0) }
}

private final class AllocationHoister: StmtExprMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        guard let loop = n as? For, loop.forKind == .serial || loop.forKind == .unrolled else { return n }
        var body = loop.body
        var out: [Buffer] = []
        var stay: [Buffer] = []
        while let a = body as? Allocate {
            // Registers stay where they are: their life is what makes them registers.
            let free = a.buffer.scope == "global" && a.buffer.shape.allSatisfy { !uses($0, [loop.loopVar]) }
            if free { out.append(a.buffer) } else { stay.append(a.buffer) }
            body = a.body
        }
        if out.isEmpty { return n }
        for b in stay.reversed() { body = Allocate(b, body) }
        var result: Stmt = loop.with(body: body)
        for b in out.reversed() { result = Allocate(b, result) }
        return result
    }
}

/// Moves allocations of global memory that begin the body of a serial loop in front of the loop: one allocation
/// instead of one an iteration. They do not leave parallel loops. Needs: no blocks.
public func hoistAllocation(_ f: PrimFunc) -> PrimFunc { f.rewritingBody { AllocationHoister().mutate($0) } }
