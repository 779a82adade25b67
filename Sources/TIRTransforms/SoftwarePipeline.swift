import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// The memory that a statement accesses, by data pointer.
struct AccessSummary {
    var reads: [Var: [(buffer: Buffer, access: LoopAccess)]] = [:]
    var writes: [Var: [(buffer: Buffer, access: LoopAccess)]] = [:]
    /// Pointers handed on: accessed in an unknown way. A call with effects counts as access of `world`.
    var opaque: Set<Var> = []
    /// What calls with effects change besides the memory they are given.
    static let world = Var("world", dtype: .handle)

    init(_ s: Stmt) {
        let collector = AccessCollector()
        collector.visit(s)
        reads = collector.reads
        writes = collector.writes
        opaque = collector.opaque
    }

    func touches(_ v: Var) -> Bool { reads[v] != nil || writes[v] != nil || opaque.contains(v) }
    func changes(_ v: Var) -> Bool { writes[v] != nil || opaque.contains(v) }
    /// In no order that matters for determinism: callers only ask whether there is one.
    var all: Set<Var> { Set(reads.keys).union(writes.keys).union(opaque) }
}

/// Collects accesses with the loops and conditions around them.
private final class AccessCollector: StmtExprVisitor {
    private(set) var reads: [Var: [(buffer: Buffer, access: LoopAccess)]] = [:]
    private(set) var writes: [Var: [(buffer: Buffer, access: LoopAccess)]] = [:]
    private(set) var opaque: Set<Var> = []
    private var loops: [(variable: Var, range: IRRange)] = []
    private var conditions: [PrimExpr] = []
    /// Values of names and of block variables.
    private var values: [Var: PrimExpr] = [:]
    /// Variables whose values follow from memory.
    private var unknown: Set<Var> = []

    /// `e` in terms of loops, nil where it follows from memory.
    private func known(_ e: PrimExpr) -> PrimExpr? {
        let plain = values.isEmpty ? e : substitute(e, values)
        return touchesState(plain) || uses(plain, unknown) ? nil : plain
    }

    private func define(_ v: Var, _ e: PrimExpr) {
        if let value = known(e), v.dtype.isInteger { values[v] = value } else { unknown.insert(v) }
    }

    private func access(_ indices: [PrimExpr]) -> LoopAccess {
        LoopAccess(
            box: indices.map { i in
                guard i.dtype.isScalar, let i = known(i) else { return nil }
                return IRRange(min: i, extent: IntImm(1))
            }, loops: loops, conditions: conditions)
    }

    override func visit(_ e: PrimExpr) {
        switch e.kind {
        case .bufferLoad:
            let l = unsafeDowncast(e, to: BufferLoad.self)
            reads[l.buffer.data, default: []].append((buffer: l.buffer, access: access(l.indices)))
        case .variable: if e.dtype.isHandle { opaque.insert(unsafeDowncast(e, to: Var.self)) }
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            define(l.variable, l.value)
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            if c.name == "tir.address_of", let l = c.args.first as? BufferLoad {
                opaque.insert(l.buffer.data)
            }
            if effect(of: c) == .updateState, c.name != "tir.prefetch" { opaque.insert(AccessSummary.world) }
        default: break
        }
        visitChildren(of: e)
    }

    private func under(_ c: PrimExpr, _ body: () -> Void) {
        let before = conditions.count
        if let c = known(c), !c.isTrue { conditions.append(c) }
        body()
        conditions.removeLast(conditions.count - before)
    }

    override func visit(_ s: Stmt) {
        switch s.stmtKind {
        case .bufferStore:
            let w = unsafeDowncast(s, to: BufferStore.self)
            writes[w.buffer.data, default: []].append((buffer: w.buffer, access: access(w.indices)))
            visitChildren(of: s)
        case .forLoop:
            let l = unsafeDowncast(s, to: For.self)
            visit(l.min)
            visit(l.extent)
            guard let lo = known(l.min), let n = known(l.extent) else {
                unknown.insert(l.loopVar)
                visit(l.body)
                return
            }
            loops.append((variable: l.loopVar, range: IRRange(min: lo, extent: n)))
            visit(l.body)
            loops.removeLast()
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            visit(l.value)
            define(l.variable, l.value)
            visit(l.body)
        case .ifThenElse:
            let i = unsafeDowncast(s, to: IfThenElse.self)
            visit(i.condition)
            under(i.condition) { visit(i.thenCase) }
            if let e = i.elseCase { under(not(i.condition)) { visit(e) } }
        case .blockRealize:
            let r = unsafeDowncast(s, to: BlockRealize.self)
            for e in r.iterValues { visit(e) }
            visit(r.predicate)
            for (v, e) in zip(r.block.iterVars, r.iterValues) { define(v.variable, e) }
            under(r.predicate) { visit(r.block) }
        default: visitChildren(of: s)
        }
    }
}

/// A loop whose body is a list of statements with memory that lives for one iteration.
struct PipelineBody {
    var statements: [Stmt] = []
    /// Memory of one iteration.
    var buffers: [Buffer] = []
    /// Whether the memory was that of a block (and goes to one again) or of `Allocate`.
    var inBlock = false

    /// Peels blocks without variables, allocations and the sequence; nil where something else is in the way.
    init?(_ body: Stmt) {
        var s = body
        while true {
            if let r = s as? BlockRealize {
                guard r.block.iterVars.isEmpty, r.predicate.isTrue, r.block.matchBuffers.isEmpty,
                    r.block.initial == nil, r.block.annotations.isEmpty
                else { break }
                buffers += r.block.allocBuffers
                inBlock = true
                s = r.block.body
            } else if let a = s as? Allocate {
                buffers.append(a.buffer)
                s = a.body
            } else {
                break
            }
        }
        if let seq = s as? SeqStmt { statements = seq.stmts } else { statements = [s] }
        if statements.isEmpty { return nil }
    }
}

/// Runs the statements of a loop's body in stages: statement `k` works on iteration `t - stage[k]` in step `t`, and the
/// statements of a step run in the given order.
final class LoopPipeliner {
    private let loop: For
    private let body: PipelineBody
    private let stages: [Int]
    /// Statements in the order in which a step runs them.
    private let sequence: [Int]
    private let summaries: [AccessSummary]
    private let analyzer: Analyzer
    /// Buffers in more than one version, with how many.
    private var versions: [Buffer: (buffer: Buffer, count: Int)] = [:]
    private var copies = 0

    /// Throws TTR022 if an order of steps would change the result.
    init(_ loop: For, _ body: PipelineBody, stages: [Int], order: [Int], _ analyzer: Analyzer) throws {
        self.loop = loop
        self.body = body
        self.stages = stages
        self.sequence = stages.indices.sorted { order[$0] < order[$1] }
        self.summaries = body.statements.map { AccessSummary($0) }
        self.analyzer = analyzer
        try check(order)
        try makeVersions(order)
    }

    private var last: Int { stages.max() ?? 0 }

    // MARK: Legality

    private func check(_ order: [Int]) throws {
        let own = Set(body.buffers.map(\.data))
        for a in stages.indices {
            for b in stages.indices {
                for v in summaries[a].all where summaries[b].touches(v) {
                    guard summaries[a].changes(v) || summaries[b].changes(v) else { continue }
                    if a < b, stages[a] > stages[b] || (stages[a] == stages[b] && order[a] > order[b]) {
                        throw reversed(a, b, v, "in one iteration")
                    }
                    // b of an iteration, then a of a later one: must stay that way where they share memory.
                    if own.contains(v) { continue }
                    // How many iterations later a would still come too early.
                    let late = stages[b] - stages[a]
                    let distance = order[b] > order[a] ? late : late - 1
                    if distance > 0, !iterationsAreApart(v, b, a, distance) {
                        throw reversed(b, a, v, "of a later iteration")
                    }
                }
            }
        }
    }

    private func reversed(_ a: Int, _ b: Int, _ v: Var, _ when: String) -> ApusError {
        ApusError(
            "TTR022", "the software pipeline would run statement \(b) \(when) before statement \(a)",
            at: ["loop: \(loop.loopVar.name)", "memory: \(v.name)"],
            expected: "a stage and order that keep what depends on `\(v.name)` in sequence",
            actual: "stages \(stages)"
        ).located(loop.span)
    }

    /// Whether statement `b` shares no element of memory `v` with statement `a` of the next `distance` iterations, as far
    /// as one of them changes it.
    private func iterationsAreApart(_ v: Var, _ b: Int, _ a: Int, _ distance: Int) -> Bool {
        if let n = loop.extent.asInt, n <= 1 { return true }
        let (x, y) = (summaries[b], summaries[a])
        if x.opaque.contains(v) || y.opaque.contains(v) { return false }
        func apart(
            _ p: [(buffer: Buffer, access: LoopAccess)]?, _ q: [(buffer: Buffer, access: LoopAccess)]?
        ) -> Bool {
            (p ?? []).allSatisfy { p in
                (q ?? []).allSatisfy { q in
                    p.buffer === q.buffer
                        && analyzer.iterationsAreApart(
                            p.access, q.access, loop: loop.loopVar, range: interval(of: loop),
                            distance: distance, shape: p.buffer.shape)
                }
            }
        }
        return apart(x.writes[v], y.writes[v]) && apart(x.writes[v], y.reads[v])
            && apart(x.reads[v], y.writes[v])
    }

    // MARK: Versions

    /// How many iterations' contents of a buffer are alive at once: from the first stage that touches it to the last,
    /// one fewer where a step reads the old contents before it writes the new ones.
    private func makeVersions(_ order: [Int]) throws {
        for b in body.buffers {
            let users = stages.indices.filter { summaries[$0].touches(b.data) }
            guard let first = users.map({ stages[$0] }).min(), let lastStage = users.map({ stages[$0] }).max()
            else { continue }
            var count = lastStage - first + 1
            let lastReads = users.filter { stages[$0] == lastStage }.map { order[$0] }.max() ?? 0
            let firstWrites = users.filter { stages[$0] == first }.map { order[$0] }.min() ?? 0
            if count > 1 && lastReads < firstWrites { count -= 1 }
            if count == 1 { continue }
            // An address that is handed on must be that of one element, which tells the version.
            for u in users where summaries[u].opaque.contains(b.data) {
                let plain = plainPointers(body.statements[u]).contains(b.data)
                if plain {
                    throw ApusError(
                        "TTR023",
                        "the memory `\(b.name)` of a software pipeline is handed on as a plain pointer",
                        hint: "use access_ptr, or address_of of an element"
                    ).located(loop.span)
                }
            }
            var strides = b.strides
            if let outer = strides.first, let rows = b.shape.first { strides = [outer * rows] + strides }
            let flat = b.rank == 1 && strides.isEmpty && !body.inBlock
            let wide = Buffer(
                data: b.data, dtype: b.dtype, shape: flat ? [b.shape[0] * count] : [IntImm(count)] + b.shape,
                strides: strides, elemOffset: b.elemOffset, name: b.name, alignment: b.alignment)
            versions[b] = (buffer: wide, count: count)
        }
    }

    // MARK: Code

    /// Statement `k` for iteration number `iteration` (from 0).
    private func statement(_ k: Int, _ iteration: PrimExpr) -> Stmt {
        var map: [Buffer: (buffer: Buffer, version: PrimExpr)] = [:]
        for (b, v) in versions {
            map[b] = (buffer: v.buffer, version: analyzer.simplify(floorMod(iteration, v.count)))
        }
        let s = map.isEmpty ? body.statements[k] : VersionAccess(map).mutate(body.statements[k])
        let value = [loop.loopVar: analyzer.simplify(loop.min + iteration)]
        copies += 1
        // Each copy after the first of all defines its own; the first of each statement keeps its names.
        return named.insert(k).inserted ? substitute(s, value) : FreshCopier.copy(s, value)
    }
    private var named: Set<Int> = []

    /// Step number `t`; iterations outside of `0 ..< count` are left out (count nil = none can be).
    private func step(_ t: Int, count: Int?) -> [Stmt] {
        sequence.compactMap { k in
            let i = t - stages[k]
            return i < 0 || (count.map { i >= $0 } ?? false) ? nil : statement(k, IntImm(i))
        }
    }

    private func wrapped(_ s: Stmt) -> Stmt {
        let buffers = body.buffers.map { versions[$0]?.buffer ?? $0 }
        if buffers.isEmpty { return s }
        if body.inBlock { return BlockRealize([], Block("pipeline", body: s, allocBuffers: buffers)) }
        return buffers.reversed().reduce(s) { Allocate($1, $0) }
    }

    /// Prologue, steady loop (of `split` steps a turn), epilogue. A loop whose number of iterations is not known runs as
    /// it was where it is shorter than the pipeline.
    func run(annotations: Attrs, split: Int = 1) -> Stmt {
        if let n = loop.extent.asInt {
            if n <= 0 { return Evaluate.noOp }
            if n <= last {
                return wrapped(SeqStmt.flat((0..<n + last).flatMap { step($0, count: n) }))
            }
            return wrapped(pipelined(annotations, split))
        }
        let long = loop.extent .>= const(last, loop.extent.dtype)
        if analyzer.canProve(long) { return wrapped(pipelined(annotations, split)) }
        let fast = wrapped(pipelined(annotations, split))
        return IfThenElse(long, fast, FreshCopier.copy(loop.with(annotations: annotations)))
    }

    private func pipelined(_ annotations: Attrs, _ split: Int) -> Stmt {
        let n = loop.extent
        var parts: [Stmt] = []
        for t in 0..<last { parts += step(t, count: nil) }
        // Iterations of the first stage from `last` on; the loop variable counts steps.
        let steady = analyzer.simplify(n - last)
        parts.append(steadyLoop(steady, annotations, split))
        for e in 0..<last {
            for k in sequence where e < stages[k] {
                parts.append(statement(k, analyzer.simplify(n + (e - stages[k]))))
            }
        }
        return SeqStmt.flat(parts)
    }

    /// Steps `last ..< n`.
    private func steadyLoop(_ count: PrimExpr, _ annotations: Attrs, _ split: Int) -> Stmt {
        let whole = split > 1 ? analyzer.simplify(floorDiv(count, split)) : count
        func turn(_ at: PrimExpr) -> [Stmt] {
            sequence.map { statement($0, analyzer.simplify(at - stages[$0] + last)) }
        }
        let v = Var(loop.loopVar.name, type: loop.loopVar.type)
        analyzer.bind(v, IRRange(min: IntImm(0), extent: whole))
        var steps: [Stmt] = []
        for i in 0..<split { steps += turn(split > 1 ? v * split + i : v) }
        let main = For(v, IntImm(0), whole, loop.forKind, body: SeqStmt.flat(steps), annotations: annotations)
        if split <= 1 { return main }
        if let c = count.asInt {
            let rest = c % split
            let tail = (0..<rest).flatMap { turn(IntImm(c - rest + $0)) }
            return SeqStmt.flat([main] + tail)
        }
        let w = Var(loop.loopVar.name, type: loop.loopVar.type)
        let rest = analyzer.simplify(count - whole * split)
        analyzer.bind(w, IRRange(min: IntImm(0), extent: rest))
        return SeqStmt.flat([
            main,
            For(
                w, IntImm(0), rest, loop.forKind, body: SeqStmt.flat(turn(whole * split + w)),
                annotations: annotations),
        ])
    }
}

/// Accesses of one version of buffers that have several.
private final class VersionAccess: StmtExprMutator {
    private let map: [Buffer: (buffer: Buffer, version: PrimExpr)]
    init(_ map: [Buffer: (buffer: Buffer, version: PrimExpr)]) {
        self.map = map
        for b in map.keys { byData[b.data] = b }
    }
    private var byData: [Var: Buffer] = [:]

    private func place(_ b: Buffer, _ indices: [PrimExpr]) -> (Buffer, [PrimExpr])? {
        guard let (wide, version) = map[b] else { return nil }
        if wide.rank > b.rank { return (wide, [version] + indices) }
        let by = version * b.shape[0]
        let i = indices[0]
        if let r = i as? Ramp { return (wide, [Ramp(r.base + by, r.stride, r.lanes)]) }
        return (wide, [i.dtype.isScalar ? i + by : i + Broadcast(by, Int(i.dtype.lanes))])
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let n = mutateChildren(of: e)
        if let v = (n as? Call)?.args.dropFirst().first as? Var, let b = byData[v],
            let version = map[b]?.version,
            let p = accessPointer(n, number: version, { $0 === v ? b : nil })
        {
            return p
        }
        guard let l = n as? BufferLoad, let (b, i) = place(l.buffer, l.indices) else { return n }
        return BufferLoad(b, i)
    }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        if let w = n as? BufferStore, let (b, i) = place(w.buffer, w.indices) {
            return BufferStore(b, w.value, i)
        }
        if let block = n as? Block {
            func region(_ r: BufferRegion) -> BufferRegion {
                guard let (wide, version) = map[r.buffer] else { return r }
                if wide.rank > r.buffer.rank {
                    return BufferRegion(wide, [IRRange(min: version, extent: IntImm(1))] + r.region)
                }
                let by = version * r.buffer.shape[0]
                return BufferRegion(wide, r.region.map { IRRange(min: $0.min + by, extent: $0.extent) })
            }
            let reads = block.reads.map(region)
            let writes = block.writes.map(region)
            let matches = block.matchBuffers.map { MatchBufferRegion($0.buffer, region($0.source)) }
            let same =
                zip(reads, block.reads).allSatisfy { $0 === $1 }
                && zip(writes, block.writes).allSatisfy { $0 === $1 } && block.matchBuffers.isEmpty
            return same ? n : block.with(reads: reads, writes: writes, matchBuffers: matches)
        }
        return n
    }
}
