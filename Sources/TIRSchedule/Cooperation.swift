import ApusArith
import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

// Threads that work together on memory they share.

/// Whether the iterations of `l` are threads that share memory of a buffer's scope: those of a block for `shared` (virtual
/// ones included), those of `threadIdx.x` for `warp`.
func sharesMemory(_ l: For, _ buffer: Buffer) -> Bool {
    guard let tag = l.threadBinding?.threadTag, let thread = ThreadScope.find(tag), thread.rank == 1 else {
        return false
    }
    switch buffer.storageScope.rank {
    case .shared: return true
    case .warp: return thread.dimension == 0
    // Threads write parts of global memory side by side; the rest is a thread's own.
    default: return false
    }
}

/// Whether some loop runs over blocks or threads of the hardware.
func hasThreads(_ index: StmtIndex) -> Bool {
    index.entries.contains { ($0.stmt as? For).flatMap(hardwareTag) != nil }
}

/// The axis of a loop over blocks or threads of the hardware.
func hardwareTag(_ l: For) -> String? {
    guard let tag = l.threadBinding?.threadTag, let thread = ThreadScope.find(tag), thread.dimension >= 0
    else {
        return nil
    }
    return tag
}

/// The buffers that blocks in `b`, itself included, change in place: what another thread does in between counts.
private func updated(_ b: Block) -> [Buffer] {
    var result: [Buffer] = []
    postOrderVisit(
        b,
        stmt: { s in
            guard let x = s as? Block else { return }
            result += x.writes.map(\.buffer).filter { w in
                x.initial != nil || x.reads.contains { $0.buffer === w }
            }
        })
    return result
}

/// What the threads of a function may not do together; nil if nothing. `axis`: of which loops inside loops are asked about.
func threadProblem(_ index: StmtIndex, _ axis: String? = nil) -> Refusal? {
    cooperationProblem(index, axis) ?? repeatedUpdate(index) ?? strangerRead(index)
}

/// Whether each thread of an axis has a memory of its own of the buffer's scope.
private func isPrivate(_ b: Buffer, to tag: String) -> Bool {
    switch b.storageScope.rank {
    case .global, .texture: return false
    case .shared: return tag.hasPrefix("blockIdx")
    case .warp: return tag != "threadIdx.x"
    default: return true
    }
}

/// A block that reads what another thread has written to memory of its own: outside of the loop over these threads, or in
/// another one of the axis at elements of another thread.
private func strangerRead(_ index: StmtIndex) -> Refusal? {
    for at in index.entries.indices {
        guard let w = index.realize(at) else { continue }
        let used = bindingVariables(w, { _ in true })
        for l in index.loopsAbove(at) {
            guard let tag = hardwareTag(l), l.extent.asInt != 1, used.contains(l.loopVar) else { continue }
            for written in w.block.writes where isPrivate(written.buffer, to: tag) {
                for reader in consumers(index, at) {
                    guard let r = index.realize(reader) else { continue }
                    let around = index.loopsAbove(reader)
                    if around.contains(where: { $0.loopVar === l.loopVar }) { continue }
                    for read in r.block.reads where read.buffer === written.buffer {
                        if let other = around.last(where: { hardwareTag($0) == tag }),
                            samePlaces(index.arith, written, w, l, read, r, other)
                        {
                            continue
                        }
                        return failure(
                            "SCH040",
                            "`\(r.block.name)` would read \(read.buffer.name) of other threads of \(tag) than its own",
                            l,
                            expected: "memory that they share, or a reader inside loop \(l.loopVar.name)",
                            actual: "scope \(read.buffer.scope)", in: index.function
                        ).marking(w, "writes \(written)").marking(r, "the reader")
                    }
                }
            }
        }
    }
    return nil
}

/// Whether thread `i` of loop `b` reads what thread `i` of loop `a` has written.
private func samePlaces(
    _ arith: ArithContext, _ written: BufferRegion, _ w: BlockRealize, _ a: For, _ read: BufferRegion,
    _ r: BlockRealize, _ b: For
) -> Bool {
    let (wmap, rmap) = (blockMap(w), blockMap(r))
    for (x, y) in zip(written.region, read.region) {
        let to = arith.simplify(substitute(x.min, wmap))
        let from = arith.simplify(substitute(substitute(y.min, rmap), [b.loopVar: a.loopVar]))
        guard uses(to, [a.loopVar]) || uses(from, [a.loopVar]) else { continue }
        guard x.extent.asInt == 1, y.extent.asInt == 1, arith.difference(to, from) == 0 else { return false }
    }
    return true
}

/// Whether no two iterations of a loop run the same instance of a block, the other loops around it standing still. A
/// predicate that speaks of the loop chooses among its iterations.
private func tellsApart(_ r: BlockRealize, _ l: For, _ above: [For], _ arith: ArithContext) -> Bool {
    if variables(r.predicate).contains(l.loopVar) { return true }
    let values = r.iterValues.filter { uses($0, [l.loopVar]) }
    for v in values {
        // A multiple of the loop variable beside what does not depend on it.
        let sum = arith.affine(v)
        if sum.coef(of: l.loopVar) != 0,
            !sum.terms.contains(where: { $0.atom !== l.loopVar && uses($0.atom, [l.loopVar]) })
        {
            return true
        }
    }
    if values.isEmpty { return false }
    // Quotients and remainders together (fused loops), of this loop alone or of all of them.
    func isOneToOne(_ values: [PrimExpr], _ loops: [For]) -> Bool {
        let inputs = loops.map { (variable: $0.loopVar, range: IRRange(min: $0.min, extent: $0.extent)) }
        return Analyzer().detectIterMap(values, inputs: inputs, level: .bijective).isDetected
    }
    return isOneToOne(values, [l]) || isOneToOne(r.iterValues, above)
}

/// A block that each thread of an axis runs alike and that changes shared memory in place: they would all change it. (To
/// write the same value several times does no harm.)
private func repeatedUpdate(_ index: StmtIndex) -> Refusal? {
    for at in index.entries.indices {
        guard let r = index.realize(at) else { continue }
        let above = index.loopsAbove(at)
        guard above.contains(where: { hardwareTag($0) != nil }) else { continue }
        var changed: [Buffer]?
        for (i, l) in above.enumerated() {
            guard let tag = hardwareTag(l), l.extent.asInt != 1 else { continue }
            // The innermost loop of the axis tells its threads apart.
            if above[i...].contains(where: { hardwareTag($0) == tag && tellsApart(r, $0, above, index.arith) }
            ) {
                continue
            }
            let list = changed ?? updated(r.block)
            changed = list
            for b in list {
                let rank = b.storageScope.rank
                guard rank == .global || (rank == .shared && tag.hasPrefix("threadIdx")) else { continue }
                return failure(
                    "SCH040",
                    "each thread of \(tag) would update the same elements of \(b.name) in `\(r.block.name)`",
                    l,
                    expected: "memory of a thread's own, or a block that runs over loop \(l.loopVar.name)",
                    hint: "setScope local, or computeAt outside of the loop", in: index.function
                ).marking(r)
            }
        }
    }
    return nil
}

/// What is wrong with loops over threads inside loops of the same axis (one axis, or all); nil if nothing is.
///
/// The threads that run the outer loop run the inner one as well: iteration `i` of it falls to thread `i`, and what
/// it leaves in memory of the block is there for all of them after a barrier, which lowering places. So the inner
/// iterations must be the same for each thread outside, every one must have a thread, and their results go to shared
/// memory, or no further than the loop.
private func cooperationProblem(_ index: StmtIndex, _ axis: String?) -> Refusal? {
    for (at, e) in index.entries.enumerated() {
        guard let inner = e.stmt as? For, let tag = inner.threadBinding?.threadTag,
            tag.hasPrefix("blockIdx") || tag.hasPrefix("threadIdx"), axis == nil || axis == tag
        else { continue }
        var outer: (at: Int, loop: For)?
        var p = e.parent
        while p >= 0, outer == nil {
            if let x = index.loop(p), x.threadBinding?.threadTag == tag { outer = (at: p, loop: x) }
            p = index.entries[p].parent
        }
        guard let outer else { continue }
        func refused(_ why: String, _ s: Stmt) -> Refusal {
            failure(
                "SCH044", "bind: loop \(outer.loop.loopVar.name) of the same nest is bound to \(tag): \(why)",
                s,
                expected: "one of " + listed(Schedule.threadTags.filter { $0 != tag }),
                hint:
                    "threads share the iterations of a loop that fills shared memory for all of them: computeAt "
                    + "under the bound loop makes one", in: index.function)
        }
        guard tag.hasPrefix("threadIdx"), index.scope(of: at) == index.scope(of: outer.at) else {
            return refused("loop \(inner.loopVar.name) cannot share its iterations", inner)
        }
        guard inner.min.asInt == 0, outer.loop.min.asInt == 0, let n = inner.extent.asInt,
            let m = outer.loop.extent.asInt, n <= m
        else {
            return refused("there is no thread for each iteration of \(inner.loopVar.name)", inner)
        }
        if let loose = index.looseStatement(below: at) {
            return refused("a statement outside any block may not be the same for each thread", loose)
        }
        // What depends on the thread outside: its variable, and loops that run differently.
        var varying: Set<Var> = [outer.loop.loopVar]
        for x in index.loopsAbove(at) + index.entries[at..<e.end].compactMap({ $0.stmt as? For })
        where uses(x.min, varying) || uses(x.extent, varying) { varying.insert(x.loopVar) }
        for b in index.blocksBelow(at) {
            guard let r = index.realize(b) else { continue }
            let used = bindingVariables(r, { _ in true }).union(variables(r.predicate))
            guard used.isDisjoint(with: varying) else {
                return refused("`\(r.block.name)` is not the same for each of its threads", r)
            }
            guard !bindingVariables(r, { $0 != .dataParallel }).contains(inner.loopVar) else {
                return refused("`\(r.block.name)` is a reduction over \(inner.loopVar.name)", r)
            }
            let leaves = consumers(index, b).contains { $0 < at || $0 >= e.end }
            for w in r.block.writes where leaves || !index.allocated.contains(w.buffer) {
                guard w.buffer.storageScope.rank == .shared else {
                    return refused(
                        "what `\(r.block.name)` writes is not in shared memory, where all of its threads see it",
                        r)
                }
            }
        }
    }
    return nil
}
