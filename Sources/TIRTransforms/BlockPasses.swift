import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// From scheduled blocks to plain loops: reductions initialised, iteration variables gone, views resolved, blocks gone.

private final class InitBlockLowerer: StmtExprMutator {
    override func mutate(_ s: Stmt) -> Stmt {
        let s = mutateChildren(of: s)
        guard let block = s as? Block, let initial = block.initial else { return s }
        var conditions: [PrimExpr] = []
        for v in block.iterVars where v.iterType == .commReduce {
            conditions.append(v.variable .== v.dom.min)
        }
        let first = conditions.isEmpty ? initial : IfThenElse(all(conditions), initial)
        return block.with(body: SeqStmt.flat([first, block.body]), initial: .some(nil))
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
}

/// Puts the initialisation of each block into its body, guarded by "all reduction variables are at their start".
public func lowerInitBlock(_ f: PrimFunc) -> PrimFunc { f.rewritingBody { InitBlockLowerer().mutate($0) } }

private final class OpaqueConverter: StmtExprMutator {
    private var values: [Var: PrimExpr] = [:]

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.kind == .variable { return values[unsafeDowncast(e, to: Var.self)] ?? e }
        return mutateChildren(of: e)
    }
    override func mutate(_ s: Stmt) -> Stmt {
        guard let r = s as? BlockRealize else { return mutateChildren(of: s) }
        let iterValues = r.iterValues.map { mutate($0) }
        let predicate = mutate(r.predicate)
        for (v, e) in zip(r.block.iterVars, iterValues) { values[v.variable] = e }
        if r.block.iterVars.isEmpty {
            let block = mutateChildren(of: r.block)
            if block === r.block && predicate === r.predicate { return s }
        }
        let plain = r.block.iterVars.isEmpty ? r.block : r.block.with(iterVars: [])
        let block = mutateChildren(of: plain)
        guard let block = block as? Block else { internalError("a block became another statement") }
        return BlockRealize([], predicate: predicate, block)
    }
}

/// Replaces the iteration variables of every block by the values that its loops give them.
public func convertBlocksToOpaque(_ f: PrimFunc) -> PrimFunc {
    f.rewritingBody { OpaqueConverter().mutate($0) }
}

/// Views of regions: an access of the view is an access of the source at `region.min + index`.
private final class MatchBufferLowerer: StmtExprMutator {
    private var views: [Buffer: BufferRegion] = [:]
    private var variables: [Var: PrimExpr] = [:]
    var failure: ApusError?

    private func source(_ b: Buffer, _ indices: [PrimExpr]) -> (Buffer, [PrimExpr])? {
        guard let region = views[b] else { return nil }
        let extra = region.region.count - b.rank
        var out: [PrimExpr] = []
        for (d, r) in region.region.enumerated() {
            out.append(d < extra ? r.min : r.min + indices[d - extra])
        }
        return source(region.buffer, out) ?? (region.buffer, out)
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.kind == .variable { return variables[unsafeDowncast(e, to: Var.self)] ?? e }
        let e = mutateChildren(of: e)
        if let load = e as? BufferLoad, let (b, i) = source(load.buffer, load.indices) {
            return BufferLoad(b, i)
        }
        return e
    }
    override func mutate(_ s: Stmt) -> Stmt {
        if let block = s as? Block, !block.matchBuffers.isEmpty {
            for m in block.matchBuffers {
                let ranges = m.source.region.map { IRRange(min: mutate($0.min), extent: mutate($0.extent)) }
                let region = BufferRegion(m.source.buffer, ranges)
                bind(m.buffer, region)
                views[m.buffer] = region
            }
            func visible(_ r: BufferRegion) -> Bool { views[r.buffer] == nil }
            return mutate(
                block.with(
                    reads: block.reads.filter(visible), writes: block.writes.filter(visible), matchBuffers: []
                ))
        }
        let s = mutateChildren(of: s)
        if let store = s as? BufferStore, let (b, i) = source(store.buffer, store.indices) {
            return BufferStore(b, store.value, i)
        }
        return s
    }

    /// Gives values to the variables that the view declares for its strides, offset, shape and pointer.
    private func bind(_ view: Buffer, _ region: BufferRegion) {
        guard view.rank <= region.region.count,
            region.region.prefix(region.region.count - view.rank).allSatisfy({ $0.extent.asInt == 1 })
        else {
            failure = ApusError(
                "TTR001", "the view \(view.name) does not fit its region",
                expected: "\(region.region.count) dimensions, leading ones of extent 1 left out",
                actual: "\(view.rank) dimensions")
            return
        }
        // The source may be a view itself, whose variables have values by now.
        let strides = flatStrides(region.buffer).map { mutate($0) }
        let extra = region.region.count - view.rank
        for d in 0..<view.rank {
            if let v = view.shape[d] as? Var { variables[v] = region.region[d + extra].extent }
            if d < view.strides.count, let v = view.strides[d] as? Var { variables[v] = strides[d + extra] }
        }
        if let v = view.elemOffset as? Var {
            var offset = mutate(region.buffer.elemOffset)
            for (r, s) in zip(region.region, strides) { offset = offset + r.min * s }
            variables[v] = offset
        }
        variables[view.data] = mutate(region.buffer.data)
    }
}

/// Replaces accesses of views (`match_buffer` in blocks) by accesses of what they view. Throws TTR001 where a view
/// has more dimensions than its region or leaves out one that is not a single element.
public func lowerMatchBuffer(_ f: PrimFunc) throws -> PrimFunc {
    let m = MatchBufferLowerer()
    let result = f.rewritingBody { m.mutate($0) }
    if let failure = m.failure { throw failure }
    return result
}

/// The element strides of a buffer: its own, or those of a compact row-major array.
func flatStrides(_ b: Buffer) -> [PrimExpr] {
    if !b.strides.isEmpty { return b.strides }
    var result: [PrimExpr] = Array(repeating: IntImm(1), count: b.rank)
    var i = b.rank - 2
    while i >= 0 {
        result[i] = result[i + 1] * b.shape[i + 1]
        i -= 1
    }
    return result
}

private final class OpaqueLowerer: StmtExprMutator {
    private var values: [Var: PrimExpr] = [:]
    private var insideParallel = false

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if values.isEmpty { return e }
        if e.kind == .variable { return values[unsafeDowncast(e, to: Var.self)] ?? e }
        return mutateChildren(of: e)
    }
    override func mutate(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .blockRealize:
            let r = unsafeDowncast(s, to: BlockRealize.self)
            var body = mutate(r.block.body)
            for b in r.block.allocBuffers.reversed() { body = Allocate(b, body) }
            let predicate = mutate(r.predicate)
            if predicate.isTrue { return body }
            // Expected true: tails are rare, and loop partitioning looks for this mark.
            return IfThenElse(intrinsic("likely", .bool, [predicate]), body)
        case .forLoop:
            let loop = unsafeDowncast(s, to: For.self)
            if loop.extent.asInt == 1 && loop.forKind != .threadBinding {
                values[loop.loopVar] = mutate(loop.min)
                return mutate(loop.body)
            }
            guard loop.forKind == .parallel else { return mutateChildren(of: s) }
            // The threads are busy already: a parallel loop inside one is an ordinary loop.
            if insideParallel { return mutateChildren(of: loop.with(kind: .serial)) }
            insideParallel = true
            defer { insideParallel = false }
            return mutateChildren(of: s)
        default: return mutateChildren(of: s)
        }
    }
}

/// Removes blocks: predicates become `if likely(…)`, their buffers `Allocate`; loops of one iteration disappear, and
/// parallel loops inside of parallel ones become serial.
/// Needs: iteration variables gone, reductions initialised, views resolved.
public func lowerOpaqueBlock(_ f: PrimFunc) -> PrimFunc { f.rewritingBody { OpaqueLowerer().mutate($0) } }
