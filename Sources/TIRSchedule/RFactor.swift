import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

extension Schedule {
    /// Factors a reduction at one of its loops: partial results for each iteration of `loop` go to a new
    /// buffer with one more dimension at `factorAxis`, computed by the returned block (`…_rf`), in which that
    /// loop is spatial; the block itself then only combines the partial results.
    ///
    /// The reduction must be of the form `C[…] = C[…] op value` with op one of + * min max, starting from its
    /// init. (After "rfactor" of Halide: Suriana et al., CGO 2017.)
    ///
    /// Errors: SCH085 a block that is no such reduction, SCH086 a loop that is not a reduction loop of one
    /// block, SCH087 an axis that is out of range.
    @discardableResult
    public func rfactor(_ loop: LoopRV, factorAxis: Int) throws -> BlockRV {
        try within("primitive: rfactor") {
            let (f, index, target, l) = try locate(loop)
            let below = index.blocksBelow(target)
            guard below.count == 1, let at = below.first, let r = index.realize(at) else {
                throw failure("SCH086", "rfactor: loop \(l.loopVar.name) must be around one block", l)
            }
            let reduction = bindingVariables(r, { $0 == .commReduce })
            let spatial = bindingVariables(r, { $0 == .dataParallel })
            guard reduction.contains(l.loopVar), !spatial.contains(l.loopVar),
                r.block.iterVars.allSatisfy({ $0.iterType == .dataParallel || $0.iterType == .commReduce })
            else {
                throw failure(
                    "SCH086", "rfactor: \(l.loopVar.name) is not a reduction loop of `\(r.block.name)`", l)
            }
            guard let initial = r.block.initial as? BufferStore, let update = r.block.body as? BufferStore,
                initial.buffer === update.buffer, sameExprs(initial.indices, update.indices),
                r.block.writes.count == 1, let value = addend(update)
            else {
                throw failure(
                    "SCH085", "rfactor: the body of `\(r.block.name)` is not C[…] = C[…] op value", r,
                    expected: "op one of +, *, min, max, and an init of the same element")
            }
            let out = update.buffer
            if functions[f].partial.contains(r.block.name) {
                throw failure("SCH062", "rfactor: `\(r.block.name)` may not visit all of its domain", r)
            }
            guard factorAxis >= 0, factorAxis <= out.rank else {
                throw failure(
                    "SCH087", "rfactor: no such axis", r, expected: "0...\(out.rank)", actual: "\(factorAxis)"
                )
            }
            guard l.min.isZero,
                variables(l.extent).isDisjoint(with: Set(index.loopsAbove(at).map(\.loopVar))),
                otherWriters(index, at, out).isEmpty
            else {
                throw failure(
                    "SCH086", "rfactor: \(l.loopVar.name) must run from 0 to an extent fixed outside", l)
            }

            // Partial results: the loop becomes a spatial variable, every other reduction loop a reduction
            // variable.
            var shape = out.shape
            shape.insert(l.extent, at: factorAxis)
            let partial = Buffer(
                "\(out.name)_rf", shape, out.dtype, scope: out.scope, alignment: out.alignment)
            let factor = Var("v\(l.loopVar.name)", dtype: l.loopVar.dtype)
            var iters: [IterVar] = []
            var values: [PrimExpr] = []
            var inLoops: [Var: PrimExpr] = [l.loopVar: factor]
            for (v, e) in zip(r.block.iterVars, r.iterValues) where v.iterType == .dataParallel {
                iters.append(v)
                values.append(e)
            }
            iters.append(IterVar(IRRange(extent: l.extent), factor, .dataParallel))
            values.append(l.loopVar)
            for x in index.loopsAbove(at) where reduction.contains(x.loopVar) && x.loopVar !== l.loopVar {
                if spatial.contains(x.loopVar) || !x.min.isZero {
                    throw failure("SCH086", "rfactor: loop \(x.loopVar.name) is spatial as well", x)
                }
                let v = Var("v\(x.loopVar.name)", dtype: x.loopVar.dtype)
                inLoops[x.loopVar] = v
                iters.append(IterVar(IRRange(extent: x.extent), v, .commReduce))
                values.append(x.loopVar)
            }
            var body: [Var: PrimExpr] = [:]
            for (v, e) in zip(r.block.iterVars, r.iterValues) where v.iterType == .commReduce {
                body[v.variable] = substitute(e, inLoops)
            }
            // A bound of reduction variables must not skip the init: it guards the addend instead.
            var kept: [PrimExpr] = []
            var guards: [PrimExpr] = []
            for c in conjuncts(r.predicate) {
                let vars = variables(c)
                if vars.isDisjoint(with: reduction) {
                    kept.append(c)
                } else if vars.isDisjoint(with: spatial) {
                    guards.append(substitute(c, inLoops))
                } else {
                    throw failure(
                        "SCH086", "rfactor: the predicate \(c) mixes spatial and reduction variables", r)
                }
            }
            let map = body
            var addend = substitute(value, map)
            if !guards.isEmpty { addend = ifThenElse(all(guards), addend, initial.value) }
            var indices = update.indices
            indices.insert(factor, at: factorAxis)
            let rfName = freshBlockName(f, "\(r.block.name)_rf")
            let kind = unsafeDowncast(update.value, to: BinaryExpr.self).kind
            let rf = withDetectedRegions(
                Block(
                    rfName, iterVars: iters,
                    body: BufferStore(partial, binary(kind, BufferLoad(partial, indices), addend), indices),
                    initial: BufferStore(partial, initial.value, indices), annotations: r.block.annotations))
            let rfRealize = BlockRealize(values, predicate: all(kept), rf)

            // Combination: the block's spatial variables and the factor, over loops of its own.
            var finalIters: [IterVar] = []
            var finalMap: [Var: PrimExpr] = [:]
            for v in r.block.iterVars where v.iterType == .dataParallel {
                let fresh = Var(v.variable.name, dtype: v.variable.dtype)
                finalMap[v.variable] = fresh
                finalIters.append(IterVar(v.dom, fresh, .dataParallel))
            }
            let again = Var("v\(l.loopVar.name)", dtype: l.loopVar.dtype)
            finalIters.append(IterVar(IRRange(extent: l.extent), again, .commReduce))
            let finalIndices: [PrimExpr] = update.indices.map { substitute($0, finalMap) }
            var partialIndices = finalIndices
            partialIndices.insert(again, at: factorAxis)
            let combine = withDetectedRegions(
                Block(
                    r.block.name, iterVars: finalIters,
                    body: BufferStore(
                        out, binary(kind, BufferLoad(out, finalIndices), BufferLoad(partial, partialIndices)),
                        finalIndices),
                    initial: BufferStore(out, substitute(initial.value, finalMap), finalIndices),
                    annotations: r.block.annotations))
            let nest = loopNest(combine, [:], index.arith.copy())

            // After the outermost statement that holds only this block.
            var place = at
            while true {
                let p = index.entries[place].parent
                guard p >= 0, index.entries[p].stmt.stmtKind == .forLoop else { break }
                place = p
            }
            if index.entries[place].parent >= 0, index.scope(of: place) >= 0,
                !index.loopsAbove(place).isEmpty
            {
                throw failure(
                    "SCH086", "rfactor: `\(r.block.name)` shares loops with other blocks",
                    index.entries[place].stmt)
            }
            guard let scopeName = index.realize(index.scope(of: at))?.block.name else {
                internalError("rfactor lost its scope")
            }
            let first = StmtIndex(index.replacing(at, with: rfRealize))
            let holder = first.entries[place].stmt
            let second = StmtIndex(first.replacing(place, with: SeqStmt.flat([holder, nest])))
            guard let s = second.blockAt[scopeName], let scope = second.realize(s) else {
                return newBlock(f, rfName)
            }
            let scopeBlock = scope.block.with(allocBuffers: scope.block.allocBuffers + [partial])
            commit(
                f,
                second.replacing(
                    s, with: BlockRealize(scope.iterValues, predicate: scope.predicate, scopeBlock)))
            let result = newBlock(f, rfName)
            record(
                "rfactor", [.loop(loop.id)], [(key: "factorAxis", value: .int(factorAxis))],
                outputs: [.block(result.id)])
            return result
        }
    }

    /// `value` of `C[…] = C[…] op value`; nil for another form.
    private func addend(_ s: BufferStore) -> PrimExpr? {
        guard let b = s.value as? BinaryExpr, [.add, .mul, .min, .max].contains(b.kind) else { return nil }
        func isSelf(_ e: PrimExpr) -> Bool {
            guard let l = e as? BufferLoad else { return false }
            return l.buffer === s.buffer && sameExprs(l.indices, s.indices)
        }
        var value: PrimExpr?
        if isSelf(b.a) { value = b.b } else if isSelf(b.b) { value = b.a }
        guard let value else { return nil }
        var clean = true
        postOrderVisit(value) { if let l = $0 as? BufferLoad, l.buffer === s.buffer { clean = false } }
        return clean ? value : nil
    }
}
