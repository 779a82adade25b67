import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

// Two blocks that share loops depend on each other within one iteration of them: what the reader needs in
// that iteration must have been written, completely, in the same iteration. (TVM's "region cover" and "stage
// pipeline".)

/// Checks every dependency in which block `at` takes part, as the function now stands.
func checkDependencies(_ index: StmtIndex, _ at: Int) throws {
    guard let me = index.realize(at) else { return }
    for other in index.blocksBelow(max(index.scope(of: at), 0)) where other != at {
        guard let it = index.realize(other) else { continue }
        try checkPair(index, writer: at, me, reader: other, it)
        try checkPair(index, writer: other, it, reader: at, me)
    }
}

/// Checks the dependencies among all blocks below entry `top`, such as a loop about to run in parallel.
func checkDependencies(below top: Int, _ index: StmtIndex) throws {
    let blocks = index.blocksBelow(top)
    if blocks.count < 2 { return }
    // Only pairs that share a buffer: a big function has many blocks that do not.
    var readers: [Buffer: [Int]] = [:]
    for r in blocks {
        for x in index.realize(r)?.block.reads ?? [] where readers[x.buffer]?.last != r {
            readers[x.buffer, default: []].append(r)
        }
    }
    for w in blocks {
        guard let a = index.realize(w) else { continue }
        var seen: Set<Int> = []
        for x in a.block.writes {
            for r in readers[x.buffer] ?? [] where r != w && seen.insert(r).inserted {
                if let b = index.realize(r) { try checkPair(index, writer: w, a, reader: r, b) }
            }
        }
    }
}

func checkPair(
    _ index: StmtIndex, writer: Int, _ w: BlockRealize, reader: Int, _ r: BlockRealize
) throws {
    for written in w.block.writes {
        guard let read = r.block.reads.first(where: { $0.buffer === written.buffer }) else { continue }
        if writer > reader {
            throw failure(
                "SCH020",
                "block `\(r.block.name)` would read \(written.buffer.name) before "
                    + "`\(w.block.name)` has written it", r,
                expected: "`\(w.block.name)` before `\(r.block.name)`", in: index.function
            ).marking(w, "the writer")
        }
        let above = index.loopsAbove(writer)
        let readerLoops = index.loopsAbove(reader)
        var shared = 0
        while shared < above.count, shared < readerLoops.count,
            above[shared].loopVar === readerLoops[shared].loopVar
        { shared += 1 }
        if shared == 0 { continue }
        let reduction = bindingVariables(w, { $0 != .dataParallel })
        for f in above.prefix(shared) where reduction.contains(f.loopVar) {
            throw failure(
                "SCH021",
                "block `\(r.block.name)` would read \(written.buffer.name) inside the reduction loop "
                    + "\(f.loopVar.name) of `\(w.block.name)`, before the sum is complete", f,
                expected: "a loop outside all reduction loops: "
                    + names(Array(above.prefix { !reduction.contains($0.loopVar) })),
                hint: "place it there, or reorder the reduction loops inward", in: index.function
            ).marking(r, "the reader")
        }
        let outer = above[shared - 1]
        try checkRuns(index, written, w, Array(above.prefix(shared)), Array(above.dropFirst(shared)), r)
        guard
            covers(
                index.arith, written, w, Array(above.dropFirst(shared)), read, r,
                Array(readerLoops.dropFirst(shared)))
        else {
            throw failure(
                "SCH022",
                "an iteration of \(outer.loopVar.name) would not write all that block "
                    + "`\(r.block.name)` reads of \(written.buffer.name) in it", outer,
                expected: "the region written by `\(w.block.name)` to cover the region read",
                hint: "keep `\(r.block.name)` outside the loops that divide what it reads", in: index.function
            ).marking(w, "writes \(written)").marking(r, "reads \(read)")
        }
    }
}

/// A predicate may leave the writer out of whole iterations of the shared loops: then the reader must be left out of
/// them, too. Where the region written tells these iterations apart, comparing regions is enough; a dimension of one
/// element does not tell.
private func checkRuns(
    _ index: StmtIndex, _ written: BufferRegion, _ w: BlockRealize, _ shared: [For], _ own: [For],
    _ r: BlockRealize
) throws {
    if w.predicate.isTrue { return }
    let map = blockMap(w)
    let seen = written.region.reduce(into: Set<Var>()) {
        $0.formUnion(variables(index.arith.simplify(substitute($1.min, map))))
    }
    var first: [Var: PrimExpr] = [:]
    for l in own { first[l.loopVar] = l.min }
    let sharedVars = Set(shared.map(\.loopVar))
    let known = conjuncts(r.predicate)
    for c in conjuncts(w.predicate) {
        let best = index.arith.simplify(substitute(c, first))
        let hidden = variables(best).intersection(sharedVars).subtracting(seen)
        if best.isTrue || hidden.isEmpty
            || known.contains(where: { sameExpr(index.arith.simplify($0), best) })
        {
            continue
        }
        throw failure(
            "SCH022",
            "block `\(r.block.name)` would run in iterations in which the predicate \(c) leaves out "
                + "`\(w.block.name)`, whose \(written.buffer.name) it reads", shared[shared.count - 1],
            expected: "a loop whose iterations all run `\(w.block.name)`", in: index.function
        ).marking(w, "writes \(written)").marking(r, "the reader")
    }
}

func blockMap(_ r: BlockRealize) -> [Var: PrimExpr] {
    var map: [Var: PrimExpr] = [:]
    for (v, e) in zip(r.block.iterVars, r.iterValues) { map[v.variable] = e }
    return map
}

/// Whether the points of `written` by `w` (while `writerLoops` run) include those of `read` by `r`.
private func covers(
    _ arith: ArithContext, _ written: BufferRegion, _ w: BlockRealize, _ writerLoops: [For],
    _ read: BufferRegion,
    _ r: BlockRealize, _ readerLoops: [For]
) -> Bool {
    let wmap = blockMap(w)
    let relevant: [PrimExpr] = written.region.map { substitute($0.min, wmap) }
    let wr = Relaxation(writerLoops, of: w, relevant: relevant, arith)
    let out = wr.box(written, wmap)
    guard wr.isExact(out) else { return false }
    let rmap = blockMap(r)
    let rr = Relaxation(readerLoops, of: r, relevant: [], arith)
    let need = rr.box(read, rmap)
    for (d, (o, n)) in zip(written.buffer.shape, zip(out, need)) {
        guard let o else { return false }
        let lo = n?.lo ?? const(0, d.dtype)
        let hi = n?.hi ?? (d - 1)
        // The reader stays inside the buffer, whatever its box says.
        func either(_ a: PrimExpr, _ b: PrimExpr) -> Bool {
            arith.canProve(a) || arith.canProve(b) || arith.canProveDeeply(a) || arith.canProveDeeply(b)
        }
        if !either(o.lo .<= lo, o.lo .<= const(0, d.dtype)) || !either(hi .<= o.hi, (d - 1) .<= o.hi) {
            return false
        }
    }
    return true
}

/// Whether `region` names one element whose indices are distinct variables (or constants) plus constants;
/// returns for each dimension the variable and the offset, nil for a constant index.
func pointVariables(_ region: BufferRegion, _ arith: ArithContext) -> [(variable: Var, offset: Int)?]? {
    var result: [(variable: Var, offset: Int)?] = []
    for r in region.region {
        let a = arith.affine(r.min)
        guard r.extent.asInt == 1 else { return nil }
        if a.isConstant {
            result.append(nil)
        } else if a.terms.count == 1, a.terms[0].coef == 1, let v = a.terms[0].atom as? Var,
            !result.contains(where: { $0?.variable === v })
        {
            result.append((variable: v, offset: a.constant))
        } else {
            return nil
        }
    }
    return result
}
