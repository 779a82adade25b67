import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// Collects the buffer accesses of a block body as regions in terms of the block's own variables.
private final class AccessCollector: StmtExprVisitor {
    let arith: ArithContext
    var inner: [For] = []
    var opaque: Set<Var> = []
    /// In order of first occurrence; nil in a dimension = all of it.
    var reads: [(buffer: Buffer, box: [Interval?])] = []
    var writes: [(buffer: Buffer, box: [Interval?])] = []

    /// Buffers that an inner block writes, unconditionally, before anything inside reads them.
    var produced: Set<Buffer> = []

    init(_ arith: ArithContext) { self.arith = arith }

    override func visit(_ e: PrimExpr) {
        if let load = e as? BufferLoad { add(&reads, load.buffer, load.indices) }
        if let l = e as? Let { opaque.insert(l.variable) }
        visitChildren(of: e)
    }

    override func visit(_ s: Stmt) {
        switch s {
        case let f as For:
            visit(f.min)
            visit(f.extent)
            inner.append(f)
            arith.bind(f.loopVar, IRRange(min: f.min, extent: f.extent))
            visit(f.body)
            inner.removeLast()
        case let store as BufferStore:
            visitChildren(of: store)
            add(&writes, store.buffer, store.indices)
        case let l as LetStmt:
            opaque.insert(l.variable)
            visitChildren(of: l)
        case let r as BlockRealize:
            let relaxed = Relaxation(inner, of: r, relevant: [], arith)
            for x in r.block.writes
            where r.predicate.isTrue && !r.block.reads.contains(where: { $0.buffer === x.buffer })
                && !reads.contains(where: { $0.buffer === x.buffer })
            { produced.insert(x.buffer) }
            for x in r.block.reads { addRegion(&reads, x, r, relaxed) }
            for x in r.block.writes { addRegion(&writes, x, r, relaxed) }
        default: visitChildren(of: s)
        }
    }

    private func usable(_ e: PrimExpr) -> Bool {
        var ok = e.dtype.isScalar
        postOrderVisit(e) { x in
            if x.kind == .bufferLoad || x.kind == .let || x.kind == .call { ok = false }
            if x.kind == .variable, opaque.contains(unsafeDowncast(x, to: Var.self)) { ok = false }
        }
        return ok
    }

    private func add(
        _ list: inout [(buffer: Buffer, box: [Interval?])], _ buffer: Buffer, _ indices: [PrimExpr]
    ) {
        let relaxed = Relaxation(inner, arith)
        merge(&list, buffer, indices.map { usable($0) ? relaxed.interval($0) : nil })
    }

    /// What a block inside accesses: by the values of its bindings, and no more than its domains reach (a predicate
    /// keeps the bindings inside).
    private func addRegion(
        _ list: inout [(buffer: Buffer, box: [Interval?])], _ x: BufferRegion, _ r: BlockRealize,
        _ relaxed: Relaxation
    ) {
        let box = relaxed.box(x, blockMap(r))
        let own = arith.copy()
        let whole = r.predicate.isTrue ? [] : blockDomain(r.block, own).box(x, [:])
        var result: [Interval?] = []
        for (d, i) in box.enumerated() {
            guard whole.indices.contains(d), let all = whole[d], all.moving.count > 0 || i == nil else {
                result.append(i)
                continue
            }
            guard let i else {
                result.append(all)
                continue
            }
            let lo = (own.difference(all.lo, i.lo) ?? 0) > 0 ? all.lo : i.lo
            let hi = (own.difference(i.hi, all.hi) ?? 0) > 0 ? all.hi : i.hi
            result.append(
                Interval(lo: lo, width: own.simplify(hi - lo), contiguous: i.contiguous, moving: i.moving))
        }
        merge(&list, x.buffer, result)
    }

    private func merge(
        _ list: inout [(buffer: Buffer, box: [Interval?])], _ buffer: Buffer, _ box: [Interval?]
    ) {
        guard let i = list.firstIndex(where: { $0.buffer === buffer }) else {
            list.append((buffer: buffer, box: box))
            return
        }
        var merged: [Interval?] = []
        for (a, b) in zip(list[i].box, box) {
            if let a, let b { merged.append(union(a, b, arith)) } else { merged.append(nil) }
        }
        list[i].box = merged
    }
}

private func regions(_ list: [(buffer: Buffer, box: [Interval?])], _ arith: ArithContext) -> [BufferRegion] {
    list.map { entry in
        var ranges: [IRRange] = []
        for (d, i) in zip(entry.buffer.shape, entry.box) {
            if let i {
                ranges.append(IRRange(min: i.lo, extent: arith.simplify(i.width + 1)))
            } else {
                ranges.append(IRRange(extent: d))
            }
        }
        return BufferRegion(entry.buffer, ranges)
    }
}

/// `block` with its reads and writes found from its body. In a reduction (a block with `initial`) the buffers
/// that it writes do not count as read: it only meets what it wrote itself.
func withDetectedRegions(_ block: Block) -> Block {
    let arith = ArithContext()
    for v in block.iterVars { arith.bind(v.variable, v.dom) }
    let collector = AccessCollector(arith)
    if let i = block.initial { collector.visit(i) }
    collector.visit(block.body)
    var reads = collector.reads.filter { r in !block.allocBuffers.contains { $0 === r.buffer } }
    let writes = collector.writes.filter { r in !block.allocBuffers.contains { $0 === r.buffer } }
    if block.initial != nil { reads.removeAll { r in writes.contains { $0.buffer === r.buffer } } }
    // What the block itself has computed before it reads it does not come from outside.
    reads.removeAll { r in
        guard collector.produced.contains(r.buffer), let w = writes.first(where: { $0.buffer === r.buffer })
        else {
            return false
        }
        return zip(zip(r.box, w.box), r.buffer.shape).allSatisfy { pair, n in
            guard let out = pair.1 else { return true }
            let need = pair.0
            return arith.canProve(out.lo .<= (need?.lo ?? const(0, n.dtype)))
                && arith.canProve((need?.hi ?? (n - 1)) .<= out.hi)
        }
    }
    return block.with(reads: regions(reads, arith), writes: regions(writes, arith))
}

/// The function with the signatures of blocks that hold blocks found anew, innermost first; the root has none.
func withRefreshedSignatures(_ f: PrimFunc) -> PrimFunc { f.with(body: SignatureRefresher().mutate(f.body)) }

private final class SignatureRefresher: StmtExprMutator {
    private var depth = 0
    private var holdsBlock = false

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        guard s.stmtKind == .block else { return mutateChildren(of: s) }
        depth += 1
        holdsBlock = false
        let new = mutateChildren(of: s)
        let inner = holdsBlock
        depth -= 1
        holdsBlock = true
        guard inner, depth > 0, let block = new as? Block else { return new }
        return withCheckedRegions(block)
    }
}

/// Whether a block touches memory only by loads and stores that can be seen.
func isTransparent(_ block: Block) -> Bool {
    var clear = block.matchBuffers.isEmpty
    postOrderVisit(
        block.body,
        expr: { e in
            if let c = e as? Call, effect(of: c) != .pure || c.name == "tir.address_of" { clear = false }
        },
        stmt: { s in
            if s.stmtKind == .whileLoop { clear = false }
            if let b = s as? Block, !b.matchBuffers.isEmpty { clear = false }
        })
    return clear
}

/// A leaf block with its regions as the body has them, in the declared order; what only the declaration names
/// is dropped. A body with calls that may touch memory in other ways keeps what was declared, as does a block
/// that the declaration describes exactly.
func withCheckedRegions(_ block: Block) -> Block {
    if !isTransparent(block) { return block }
    let found = withDetectedRegions(block)
    func ordered(_ declared: [BufferRegion], _ found: [BufferRegion]) -> [BufferRegion] {
        var result: [BufferRegion] = []
        for d in declared {
            guard let f = found.first(where: { $0.buffer === d.buffer }),
                !result.contains(where: { $0.buffer === d.buffer })
            else { continue }
            result.append(sameRegion(d, f) ? d : f)
        }
        for f in found where !result.contains(where: { $0.buffer === f.buffer }) { result.append(f) }
        return result
    }
    let reads = ordered(block.reads, found.reads)
    let writes = ordered(block.writes, found.writes)
    let same =
        reads.count == block.reads.count && writes.count == block.writes.count
        && zip(reads, block.reads).allSatisfy { $0 === $1 }
        && zip(writes, block.writes).allSatisfy { $0 === $1 }
    return same ? block : block.with(reads: reads, writes: writes)
}

private func sameRegion(_ a: BufferRegion, _ b: BufferRegion) -> Bool {
    for (x, y) in zip(a.region, b.region) where !sameExpr(x.min, y.min) || !sameExpr(x.extent, y.extent) {
        return false
    }
    return a.buffer === b.buffer && a.region.count == b.region.count
}

/// Brings a function into the form that a schedule works on: a root block, unique block names, each variable
/// bound by one loop only, loops from 0, regions of every block named.
final class Normalizer: StmtExprMutator {
    private var names: Set<String> = []
    private var bound: Set<Var> = []
    private var rename: [Var: PrimExpr] = [:]

    static func run(_ f: PrimFunc) -> PrimFunc {
        var body = f.body
        let isRoot = (body as? BlockRealize).map { $0.block.iterVars.isEmpty } ?? false
        if !isRoot { body = BlockRealize([], Block("root", body: body)) }
        let n = Normalizer()
        let result = n.mutate(body)
        return result === f.body ? f : f.with(body: result)
    }

    /// A copy in which every loop has a variable of its own, and no block one of the names `taken`.
    static func fresh(_ s: Stmt, taken: Set<String>) -> Stmt {
        let n = Normalizer()
        n.names = taken
        postOrderVisit(s, stmt: { if let l = $0 as? For { n.bound.insert(l.loopVar) } })
        return n.mutate(s)
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if rename.isEmpty { return e }
        if e.kind == .variable { return rename[unsafeDowncast(e, to: Var.self)] ?? e }
        return mutateChildren(of: e)
    }

    override func mutate(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .forLoop:
            let f = unsafeDowncast(s, to: For.self)
            let first = bound.insert(f.loopVar).inserted
            if first && f.min.isZero { return mutateChildren(of: s) }
            let fresh = Var(f.loopVar.name, dtype: f.loopVar.dtype)
            bound.insert(fresh)
            let lo = mutate(f.min)
            let extent = mutate(f.extent)
            let before = rename[f.loopVar]
            // Every loop starts at 0 here.
            rename[f.loopVar] = fresh + lo
            let body = mutate(f.body)
            rename[f.loopVar] = before
            return For(
                fresh, const(0, f.loopVar.dtype), extent, f.forKind, body: body,
                threadBinding: f.threadBinding, annotations: f.annotations)
        case .block:
            guard var block = mutateChildren(of: s) as? Block else { return s }
            let name = uniqueName(block.name, names)
            names.insert(name)
            if name != block.name { block = block.with(name: name) }
            let leaf = !(block.iterVars.isEmpty && block.name == "root") && !containsBlock(block.body)
            if leaf { block = withCheckedRegions(block) }
            return block
        default: return mutateChildren(of: s)
        }
    }

    private func containsBlock(_ s: Stmt) -> Bool {
        var found = false
        postOrderVisit(s, stmt: { if $0.stmtKind == .block { found = true } })
        return found
    }
}

/// `name`, or `name_1`, `name_2`, … if it is taken.
func uniqueName(_ name: String, _ taken: Set<String>) -> String {
    if !taken.contains(name) { return name }
    var i = 1
    while taken.contains("\(name)_\(i)") { i += 1 }
    return "\(name)_\(i)"
}
