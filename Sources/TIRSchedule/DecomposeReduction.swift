import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// Loop `l` of a reduction once more, around its init: on the same thread or lane, but without the notes that speak of the
/// statements in the body (pipelines, prefetches), which the init does not have.
func initLoop(_ l: For, _ variable: Var, _ min: PrimExpr, _ extent: PrimExpr) -> For {
    let bodyNotes = ["software_pipeline_stage", "software_pipeline_order", "prefetch_scope"]
    return For(
        variable, min, extent, l.forKind, body: Evaluate.noOp, threadBinding: l.threadBinding,
        annotations: bodyNotes.reduce(l.annotations) { $0.removing($1) })
}

extension Schedule {
    /// Takes the initialisation of a reduction out into a block of its own, right before `loop`; returns it.
    /// The block itself becomes the pure update (its name gets the suffix `_update`, the new one `_init`).
    ///
    /// Errors: SCH082 no reduction with an init, SCH083 a loop that is not around the block, or inside a
    /// reduction loop, SCH084 a loop or predicate that mixes spatial and reduction variables.
    @discardableResult
    public func decomposeReduction(_ block: BlockRV, _ loop: LoopRV) throws -> BlockRV {
        try step("decomposeReduction") {
            let (f, index, at, r) = try locate(block)
            let (g, _, target, l) = try locate(loop)
            guard let initial = r.block.initial else {
                throw failure(
                    "SCH082", "decomposeReduction: `\(r.block.name)` has no init", r,
                    expected: "a reduction that initialises its result")
            }
            let loops = index.loopsAbove(at)
            guard f == g, let first = loops.firstIndex(where: { $0.loopVar === l.loopVar }) else {
                throw failure(
                    "SCH083", "decomposeReduction: loop \(l.loopVar.name) is not around `\(r.block.name)`", l,
                    expected: "one of the loops " + names(loops)
                ).marking(r)
            }
            let reduction = bindingVariables(r, { $0 == .commReduce })
            let spatial = bindingVariables(r, { $0 == .dataParallel })
            for outer in loops.prefix(first) where reduction.contains(outer.loopVar) {
                throw failure(
                    "SCH083",
                    "decomposeReduction: loop \(l.loopVar.name) runs inside the reduction loop "
                        + "\(outer.loopVar.name), the init would be repeated", outer,
                    expected: "one of the loops "
                        + names(
                            Array(
                                loops.prefix(
                                    through: loops.firstIndex { reduction.contains($0.loopVar) } ?? 0)))
                ).marking(l)
            }
            for x in loops where reduction.contains(x.loopVar) && spatial.contains(x.loopVar) {
                throw failure(
                    "SCH084",
                    "decomposeReduction: loop \(x.loopVar.name) runs over spatial and reduction variables", x,
                    expected: "loops over one kind of variables each",
                    hint: "decompose before fusing the two kinds"
                )
            }
            // A loop that the block does not use repeats it, which only the init makes harmless.
            for x in loops[first...] where x.extent.asInt != 1 {
                if !reduction.contains(x.loopVar) && !spatial.contains(x.loopVar) {
                    throw failure(
                        "SCH083",
                        "decomposeReduction: loop \(x.loopVar.name) repeats `\(r.block.name)` as a whole", x,
                        expected: "a loop inside of \(x.loopVar.name)")
                }
            }
            let arith = index.arith.copy()
            guard visitsOnce(r, loops[first...].filter { spatial.contains($0.loopVar) }, arith) else {
                throw failure(
                    "SCH083",
                    "decomposeReduction: the loops from \(l.loopVar.name) down meet elements of "
                        + "`\(r.block.name)` more than once", l, expected: "loops that meet each element once"
                )
            }
            var map: [Var: PrimExpr] = [:]
            var initLoops: [For] = []
            for x in loops[first...] where spatial.contains(x.loopVar) {
                let v = Var("\(x.loopVar.name)_init", dtype: x.loopVar.dtype)
                let lo = substitute(x.min, map)
                let extent = substitute(x.extent, map)
                map[x.loopVar] = v
                arith.bind(v, IRRange(min: lo, extent: extent))
                initLoops.append(initLoop(x, v, lo, extent))
            }
            var conditions: [PrimExpr] = []
            for c in conjuncts(r.predicate) {
                let vars = variables(c)
                let gone = loops[first...].filter { vars.contains($0.loopVar) && map[$0.loopVar] == nil }
                if gone.isEmpty {
                    conditions.append(substitute(c, map))
                } else if gone.count != vars.count {
                    throw failure(
                        "SCH084",
                        "decomposeReduction: the predicate \(c) mixes spatial and reduction variables", r,
                        expected: "predicates of one kind of variables each")
                }
            }
            var iters: [IterVar] = []
            var values: [PrimExpr] = []
            var inner: [Var: PrimExpr] = [:]
            for (v, e) in zip(r.block.iterVars, r.iterValues) where v.iterType == .dataParallel {
                let fresh = Var("\(v.variable.name)_init", dtype: v.variable.dtype)
                inner[v.variable] = fresh
                iters.append(IterVar(v.dom, fresh, .dataParallel))
                values.append(arith.simplify(substitute(e, map)))
            }
            let initName = freshBlockName(f, "\(r.block.name)_init")
            let updateName = freshBlockName(f, "\(r.block.name)_update")
            let initBlock = withDetectedRegions(
                Block(initName, iterVars: iters, body: substitute(initial, inner)))
            var nest: Stmt = BlockRealize(values, predicate: conjunction(conditions, arith), initBlock)
            for x in initLoops.reversed() { nest = x.with(body: nest) }
            let update = r.block.with(
                reads: r.block.reads + r.block.writes, name: updateName, initial: .some(nil))
            let first1 = StmtIndex(
                index.replacing(at, with: BlockRealize(r.iterValues, predicate: r.predicate, update)))
            let holder = first1.entries[target].stmt
            let function = first1.replacing(target, with: SeqStmt.flat([nest, holder]))
            commit(f, function)
            if functions[f].partial.contains(r.block.name) {
                functions[f].partial.formUnion([initName, updateName])
            }
            for i in handles.indices {
                if case .block(f, r.block.name) = handles[i] {
                    handles[i] = .block(function: f, name: updateName)
                }
            }
            let result = newBlock(f, initName)
            record("decomposeReduction", [.block(block.id), .loop(loop.id)], outputs: [.block(result.id)])
            return result
        }
    }
}
