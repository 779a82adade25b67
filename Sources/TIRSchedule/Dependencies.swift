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
    for w in blocks {
        for r in blocks where r != w {
            guard let a = index.realize(w), let b = index.realize(r) else { continue }
            try checkPair(index, writer: w, a, reader: r, b)
        }
    }
}

private func checkPair(
    _ index: StmtIndex, writer: Int, _ w: BlockRealize, reader: Int, _ r: BlockRealize
) throws {
    for written in w.block.writes {
        guard let read = r.block.reads.first(where: { $0.buffer === written.buffer }) else { continue }
        if writer > reader {
            throw failure(
                "SCH020",
                "block `\(r.block.name)` would read \(written.buffer.name) before "
                    + "`\(w.block.name)` has written it",
                index.function.body)
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
                hint: "place it under a loop outside all reduction loops, or reorder those inward")
        }
        let outer = above[shared - 1]
        guard
            covers(
                index.arith, written, w, Array(above.dropFirst(shared)), read, r,
                Array(readerLoops.dropFirst(shared)))
        else {
            throw failure(
                "SCH022",
                "an iteration of \(outer.loopVar.name) would not write all that block "
                    + "`\(r.block.name)` reads of \(written.buffer.name) in it", outer,
                expected: "the region written by `\(w.block.name)` to cover the region read")
        }
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
