import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

extension Schedule {
    /// Factors a reduction at one of its loops: partial results for each iteration of `loop` go to new buffers with
    /// one more dimension at `factorAxis`, computed by the returned block (`…_rf`), in which that loop is spatial; the
    /// block itself then only combines the partial results.
    ///
    /// The reduction is recognised by its body: `C[…] = C[…] op value` with op one of + * min max and or, or a
    /// combination of tuples that `Reducers` knows (arg max, arg min, registered ones). Partial results start from the
    /// neutral element, the combination from the block's init. (After "rfactor" of Halide: Suriana et al., CGO 2017.)
    ///
    /// Errors: SCH062 a block that may not visit all of its domain, SCH085 a block that is no such reduction, SCH086 a
    /// loop that is not a reduction loop of one block, SCH087 an axis that is out of range.
    @discardableResult
    public func rfactor(_ loop: LoopRV, factorAxis: Int) throws -> BlockRV {
        try step("rfactor") {
            let (f, index, target, l) = try locate(loop)
            let below = index.blocksBelow(target)
            guard below.count == 1, let at = below.first, let r = index.realize(at) else {
                throw failure(
                    "SCH086", "rfactor: loop \(l.loopVar.name) must be around one block", l,
                    actual: listed(below.compactMap { index.realize($0)?.block.name }))
            }
            let reduction = bindingVariables(r, { $0 == .commReduce })
            let spatial = bindingVariables(r, { $0 == .dataParallel })
            let all = index.loopsAbove(at)
            guard reduction.contains(l.loopVar), !spatial.contains(l.loopVar),
                r.block.iterVars.allSatisfy({ $0.iterType == .dataParallel || $0.iterType == .commReduce })
            else {
                throw failure(
                    "SCH086", "rfactor: \(l.loopVar.name) is not a reduction loop of `\(r.block.name)`", l,
                    expected: "one of its reduction loops: "
                        + names(
                            all.filter { reduction.contains($0.loopVar) && !spatial.contains($0.loopVar) }))
            }
            guard let form = ReductionForm(r.block), r.block.writes.count == form.outputs.count,
                r.block.allocBuffers.isEmpty, r.block.matchBuffers.isEmpty
            else {
                throw failure(
                    "SCH085", "rfactor: the body of `\(r.block.name)` is no reduction that is known", r,
                    expected: "an init, and C[…] = C[…] op value, of one of " + listed(Reducers.names),
                    hint: "Reducers.register makes a combination known; rfactor before decomposeReduction")
            }
            if functions[f].partial.contains(r.block.name) {
                throw failure(
                    "SCH062", "rfactor: `\(r.block.name)` may not visit all of its domain", r,
                    expected: "a block without a predicate of its own")
            }
            let rank = form.outputs[0].rank
            guard factorAxis >= 0, factorAxis <= rank, form.outputs.allSatisfy({ $0.rank == rank }) else {
                throw failure(
                    "SCH087", "rfactor: no such axis", r, expected: "0...\(rank)", actual: "\(factorAxis)")
            }
            guard l.min.isZero, variables(l.extent).isDisjoint(with: Set(all.map(\.loopVar))),
                form.outputs.allSatisfy({ otherWriters(index, at, $0).isEmpty })
            else {
                throw failure(
                    "SCH086", "rfactor: \(l.loopVar.name) must run from 0 to an extent fixed outside", l,
                    actual: "\(l.min)..<\(l.min) + \(l.extent)")
            }

            // Partial results: the loop becomes a spatial variable, every other reduction loop a reduction variable.
            let partials: [Buffer] = form.outputs.map { out in
                var shape = out.shape
                shape.insert(l.extent, at: factorAxis)
                return Buffer("\(out.name)_rf", shape, out.dtype, scope: out.scope)
            }
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
            for x in all where reduction.contains(x.loopVar) && x.loopVar !== l.loopVar {
                if spatial.contains(x.loopVar) || !x.min.isZero {
                    throw failure("SCH086", "rfactor: loop \(x.loopVar.name) is spatial as well", x)
                }
                let v = Var("v\(x.loopVar.name)", dtype: x.loopVar.dtype)
                inLoops[x.loopVar] = v
                iters.append(IterVar(IRRange(extent: x.extent), v, .commReduce))
                values.append(x.loopVar)
            }
            var bound: [Var: PrimExpr] = [:]
            for (v, e) in zip(r.block.iterVars, r.iterValues) where v.iterType == .commReduce {
                bound[v.variable] = substitute(e, inLoops)
            }
            // A bound of reduction variables must not skip the init: it guards the values instead.
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
            let map = bound
            let sources: [PrimExpr] = zip(form.sources, form.reducer.identity).map { s, e in
                let moved = substitute(s, map)
                return guards.isEmpty ? moved : ifThenElse(ApusTIR.all(guards), moved, e)
            }
            var indices = form.indices
            indices.insert(factor, at: factorAxis)
            let rfName = freshBlockName(f, "\(r.block.name)_rf")
            let rf = withDetectedRegions(
                Block(
                    rfName, iterVars: iters,
                    body: combination(form.reducer, partials, indices, sources),
                    initial: SeqStmt.flat(
                        zip(partials, form.reducer.identity).map { BufferStore($0, $1, indices) }),
                    annotations: r.block.annotations))
            let rfRealize = BlockRealize(values, predicate: ApusTIR.all(kept), rf)

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
            let finalIndices: [PrimExpr] = form.indices.map { substitute($0, finalMap) }
            var partialIndices = finalIndices
            partialIndices.insert(again, at: factorAxis)
            let loads: [PrimExpr] = partials.map { BufferLoad($0, partialIndices) }
            let combine = withDetectedRegions(
                Block(
                    r.block.name, iterVars: finalIters,
                    body: combination(form.reducer, form.outputs, finalIndices, loads),
                    initial: SeqStmt.flat(
                        zip(form.outputs, form.initial).map {
                            BufferStore($0, substitute($1, finalMap), finalIndices)
                        }),
                    annotations: r.block.annotations))

            // After the outermost statement that holds only this block.
            var place = at
            while true {
                let p = index.entries[place].parent
                guard p >= 0, index.entries[p].stmt.stmtKind == .forLoop else { break }
                place = p
            }
            let shared = index.loopsAbove(place)
            let arith = index.arith.copy()
            var domains: [Var: Interval] = [:]
            if !shared.isEmpty || index.scope(of: at) > 0 {
                // Under loops of other blocks only that part of the result is complete that the loops inside compute.
                if let x = shared.first(where: { reduction.contains($0.loopVar) }) {
                    throw failure(
                        "SCH086", "rfactor: `\(r.block.name)` shares its reduction loop \(x.loopVar.name)", x)
                }
                let inside = all.filter { x in !shared.contains { $0 === x } }
                let moving = Relaxation(inside, of: r, relevant: r.iterValues, arith)
                for ((v, e), own) in zip(
                    zip(r.block.iterVars, r.iterValues).filter({ $0.0.iterType == .dataParallel }), finalIters
                ) {
                    guard let i = moving.interval(e), i.contiguous, !moving.restricted else {
                        throw failure(
                            "SCH086",
                            "rfactor: the part of \(v.variable.name) computed under "
                                + "\(names(shared)) is not a box", r)
                    }
                    domains[own.variable] = i
                }
            }
            let nest = loopNest(combine, domains, arith)
            guard let scopeName = index.realize(index.scope(of: at))?.block.name else {
                internalError("rfactor lost its scope")
            }
            let first = StmtIndex(index.replacing(at, with: rfRealize))
            let holder = first.entries[place].stmt
            let second = StmtIndex(first.replacing(place, with: SeqStmt.flat([holder, nest])))
            guard let s = second.blockAt[scopeName], let scope = second.realize(s) else {
                return newBlock(f, rfName)
            }
            let scopeBlock = scope.block.with(allocBuffers: scope.block.allocBuffers + partials)
            let function = second.replacing(
                s, with: BlockRealize(scope.iterValues, predicate: scope.predicate, scopeBlock))
            if !shared.isEmpty {
                let now = StmtIndex(function)
                if let i = now.blockAt[r.block.name] { try checkDependencies(now, i) }
            }
            commit(f, function)
            let result = newBlock(f, rfName)
            record(
                "rfactor", [.loop(loop.id)], [(key: "factorAxis", value: .int(factorAxis))],
                outputs: [.block(result.id)])
            return result
        }
    }

    /// Stores of what was there combined with `values`; of tuples all are computed before one is stored.
    private func combination(
        _ reducer: CommReducer, _ outputs: [Buffer], _ indices: [PrimExpr], _ values: [PrimExpr]
    ) -> Stmt {
        let results = reducer.combine(outputs.map { BufferLoad($0, indices) }, values)
        if outputs.count == 1 { return BufferStore(outputs[0], results[0], indices) }
        let vars = results.enumerated().map { Var("value_\($0.offset)", dtype: $0.element.dtype) }
        var stmt: Stmt = SeqStmt(zip(outputs, vars).map { BufferStore($0, $1, indices) })
        for i in results.indices.reversed() { stmt = LetStmt(vars[i], results[i], stmt) }
        return stmt
    }
}
