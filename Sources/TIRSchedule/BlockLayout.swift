import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

extension Schedule {
    /// Gives a block new variables, the image of its own under `map`, and loops over them. A map that does not fill
    /// its box makes a predicate.
    ///
    /// Errors: SCH100 a map of another rank, or one that is not injective; SCH103 a block that shares its loops, does
    /// not visit all of its domain, or a map that mixes spatial and reduction variables.
    public func transformBlockLayout(_ block: BlockRV, _ map: IndexMap) throws {
        try step("transformBlockLayout") {
            let (f, index, at, r) = try locate(block)
            let b = r.block
            guard map.variables.count == b.iterVars.count, !map.indices.isEmpty, map.indices.count <= 32
            else {
                throw failure(
                    "SCH100", "transformBlockLayout: the map takes \(map.variables.count) indices", r,
                    expected: "\(b.iterVars.count), the variables of `\(b.name)`: "
                        + listed(b.iterVars.map { $0.variable.name }), actual: "\(map)")
            }
            for e in map.indices {
                if let v = undefinedVariables(of: e).first(where: { v in !map.variables.contains { $0 === v }
                }) {
                    throw failure(
                        "SCH100", "transformBlockLayout: the map uses \(v.name)", r, actual: "\(map)")
                }
            }
            guard index.entries[at].parent >= 0, let top = wholeNest(index, at),
                !functions[f].partial.contains(b.name), b.iterVars.allSatisfy({ $0.dom.min.isZero }),
                b.iterVars.allSatisfy({ $0.iterType == .dataParallel || $0.iterType == .commReduce }),
                b.initial != nil
                    || !b.reads.contains(where: { x in b.writes.contains { $0.buffer === x.buffer } })
            else {
                throw failure(
                    "SCH103",
                    "transformBlockLayout: `\(b.name)` must be alone in its loops, over all of its domain",
                    r, expected: "a block from 0, before computeAt, blockize and decomposeReduction")
            }
            var kinds: [IterVarType] = []
            for e in map.indices {
                let used = variables(e)
                var kind: IterVarType?
                for (v, iter) in zip(map.variables, b.iterVars) where used.contains(v) {
                    if kind != nil, kind != iter.iterType {
                        throw failure(
                            "SCH103", "transformBlockLayout: \(e) mixes spatial and reduction variables", r,
                            expected: "spatial: "
                                + listed(
                                    b.iterVars.filter { $0.iterType == .dataParallel }.map {
                                        $0.variable.name
                                    })
                                + "; reduction: "
                                + listed(
                                    b.iterVars.filter { $0.iterType == .commReduce }.map { $0.variable.name }),
                            actual: "\(map)")
                    }
                    kind = iter.iterType
                }
                kinds.append(kind ?? .dataParallel)
            }
            let old = b.iterVars.map { $0.dom.extent }
            let values = map.indices.indices.map { Var("v\($0)") }
            let arith = ArithContext()
            guard let shape = map.image(of: old) else {
                throw failure(
                    "SCH100", "transformBlockLayout: an index that cannot be bounded", r, actual: "\(map)")
            }
            for (v, n) in zip(values, shape) { arith.bind(v, IRRange(extent: n)) }
            guard let inverse = map.inverse(values, shape: old, image: shape, arith) else {
                throw failure(
                    "SCH100", "transformBlockLayout: the map sends two iterations to one", r,
                    expected: "indices that permute, split or fuse the variables", actual: "\(map)")
            }
            var subst: [Var: PrimExpr] = [:]
            for (v, e) in zip(b.iterVars, inverse.indices) { subst[v.variable] = e }
            var iters: [IterVar] = []
            for (d, v) in values.enumerated() {
                iters.append(IterVar(IRRange(extent: shape[d]), v, kinds[d]))
            }
            // The block as a whole: its regions and the views that it opens name its variables too.
            let renamed = unsafeDowncast(substitute(b, subst), to: Block.self).with(iterVars: iters)
            var new = unsafeDowncast(IndexSimplifier(renamed).mutate(renamed), to: Block.self)
            if StmtIndex.containsRealize(new.body) == false { new = withCheckedRegions(new) }
            // The nest binds each variable to a loop of its own; what is outside the domain is left out.
            var nest = loopNest(new, [:], index.arith.copy())
            if !inverse.conditions.isEmpty { nest = restricted(nest, inverse.conditions, values) }
            commit(f, index.replacing(top, with: nest))
            if !inverse.conditions.isEmpty { functions[f].partial.insert(b.name) }
            record("transformBlockLayout", [.block(block.id)], [(key: "map", value: .string("\(map)"))])
        }
    }

    /// A fresh nest whose block only runs where the conditions on its variables hold.
    func restricted(_ nest: Stmt, _ conditions: [PrimExpr], _ variables: [Var]) -> Stmt {
        if let l = nest as? For { return l.with(body: restricted(l.body, conditions, variables)) }
        guard let r = nest as? BlockRealize else { return nest }
        let map = blockMap(r)
        let parts: [PrimExpr] = conditions.map { substitute($0, map) }
        return BlockRealize(r.iterValues, predicate: all(conjuncts(r.predicate) + parts), r.block)
    }

    // MARK: reorderBlockIterVar

    /// Lists a block's variables in another order: position `i` gets the one that is at `order[i]` now. Loops stay.
    ///
    /// Errors: SCH104 something else than a permutation.
    public func reorderBlockIterVar(_ block: BlockRV, _ order: [Int]) throws {
        try step("reorderBlockIterVar") {
            let (f, index, at, r) = try locate(block)
            let n = r.block.iterVars.count
            guard order.count == n, Set(order) == Set(0..<n) else {
                throw failure(
                    "SCH104", "reorderBlockIterVar: not an order of the variables of `\(r.block.name)`", r,
                    expected: "each of 0..<\(n) once, for "
                        + listed(r.block.iterVars.map { $0.variable.name }), actual: "\(order)")
            }
            let new = r.block.with(iterVars: order.map { r.block.iterVars[$0] })
            commit(
                f,
                index.replacing(
                    at, with: BlockRealize(order.map { r.iterValues[$0] }, predicate: r.predicate, new)))
            record("reorderBlockIterVar", [.block(block.id)], [(key: "order", value: .ints(order))])
        }
    }

    // MARK: reindex

    /// Makes a block access one of its buffers through a copy that is indexed by the block's own variables, so that
    /// the indices of the block become plain: `A[i // 4, j + k]` becomes `A_reindex[i, j, k]`. Returns the block that
    /// copies, before the block for what it reads, after it for what it writes.
    ///
    /// Errors: SCH105 a block that shares its loops, indices that differ between accesses, or that may leave the
    /// buffer.
    @discardableResult
    public func reindex(_ block: BlockRV, _ operand: Int, _ use: BufferUse) throws -> BlockRV {
        try step("reindex") {
            let (f, index, at, r) = try locate(block)
            let b = r.block
            let buffer = try bufferOperand(r, operand, use, "SCH105", "reindex")
            guard index.entries[at].parent >= 0, let top = wholeNest(index, at),
                !StmtIndex.containsRealize(b.body),
                isTransparent(b), !functions[f].partial.contains(b.name),
                b.iterVars.allSatisfy({ $0.iterType == .dataParallel || $0.iterType == .commReduce }),
                b.writes.contains(where: { $0.buffer === buffer })
                    != b.reads.contains(where: { $0.buffer === buffer }),
                use == .read || otherWriters(index, at, buffer).isEmpty
            else {
                throw failure(
                    "SCH105",
                    "reindex: `\(b.name)` must be alone in its loops, and only \(use.rawValue) "
                        + "\(buffer.name)", r,
                    expected: "a block before computeAt, blockize and decomposeReduction")
            }
            var points: [[PrimExpr]] = []
            func see(_ i: [PrimExpr]) {
                if !points.contains(where: { sameExprs($0, i) }) { points.append(i) }
            }
            let collect: (Stmt) -> Void = { s in
                postOrderVisit(
                    s, expr: { if let l = $0 as? BufferLoad, l.buffer === buffer { see(l.indices) } },
                    stmt: { if let w = $0 as? BufferStore, w.buffer === buffer { see(w.indices) } })
            }
            collect(b.body)
            if let i = b.initial { collect(i) }
            guard points.count == 1, let indices = points.first else {
                throw failure(
                    "SCH105", "reindex: `\(b.name)` accesses \(buffer.name) at several places", r,
                    expected: "one form of indices", actual: listed(points.map { "\($0)" }))
            }
            let used = indices.reduce(into: Set<Var>()) { $0.formUnion(variables($1)) }
            let iters = b.iterVars.filter { used.contains($0.variable) }
            let arith = ArithContext()
            for v in b.iterVars { arith.bind(v.variable, v.dom) }
            let known = Set(b.iterVars.map(\.variable))
            let inside = zip(indices, buffer.shape).allSatisfy { i, n in
                variables(i).isSubset(of: known.union(undefinedVariables(of: n)))
                    && arith.canProveDeeply(i .>= 0) && arith.canProveDeeply(i .< n)
            }
            // What is written must be all of the buffer, each element once.
            var complete = true
            if use == .write {
                complete =
                    iters.allSatisfy { $0.iterType == .dataParallel }
                    && iters.count
                        == b.iterVars.filter({ $0.iterType == .dataParallel && $0.dom.extent.asInt != 1 })
                        .count
                    && inverseBijection(indices, shape: buffer.shape, iters, values: indices, arith).map {
                        $0.conditions.isEmpty
                    } ?? false
            }
            guard inside, complete, iters.allSatisfy({ $0.dom.min.isZero }) else {
                throw failure(
                    "SCH105", "reindex: the indices of \(buffer.name) may leave it, or do not fill it", r,
                    expected: "indices within the shape for all iterations",
                    actual: "\(BufferRegion(buffer, point: indices))")
            }
            let copy = Buffer(
                "\(buffer.name)_reindex", iters.map { $0.dom.extent }, buffer.dtype, scope: buffer.scope)
            let own: [PrimExpr] = iters.map { $0.variable }
            let changed = ReindexRewriter(buffer, copy, own)
            let new = withDetectedRegions(
                b.with(body: changed.mutate(b.body), initial: .some(b.initial.map { changed.mutate($0) })))
            let name = freshBlockName(f, "\(buffer.name)_reindex")
            var fresh: [Var: PrimExpr] = [:]
            var copyIters: [IterVar] = []
            for v in iters {
                let w = Var(v.variable.name, dtype: v.variable.dtype)
                fresh[v.variable] = w
                copyIters.append(IterVar(v.dom, w, .dataParallel))
            }
            let there = indices.map { substitute($0, fresh) }
            let here: [PrimExpr] = copyIters.map { $0.variable }
            let body: Stmt =
                use == .read
                ? BufferStore(copy, BufferLoad(buffer, there), here)
                : BufferStore(buffer, BufferLoad(copy, here), there)
            let copyBlock = withDetectedRegions(Block(name, iterVars: copyIters, body: body))
            let nest = loopNest(copyBlock, [:], ArithContext())
            guard let scopeName = index.realize(index.scope(of: at))?.block.name else {
                internalError("reindex lost its scope")
            }
            let first = StmtIndex(
                index.replacing(at, with: BlockRealize(r.iterValues, predicate: r.predicate, new)))
            let holder = first.entries[top].stmt
            let function = placing(
                first, top, use == .read ? [nest, holder] : [holder, nest], allocating: copy,
                scopeName: scopeName)
            let checked = StmtIndex(function)
            if let i = checked.blockAt[name] { try checkDependencies(checked, i) }
            commit(f, function)
            let result = newBlock(f, name)
            record(
                "reindex", [.block(block.id)],
                [(key: "index", value: .int(operand)), (key: "use", value: .string(use.rawValue))],
                outputs: [.block(result.id)])
            return result
        }
    }
}

/// Puts `copy[own]` for every access of a buffer.
private final class ReindexRewriter: StmtExprMutator {
    let old: Buffer
    let copy: Buffer
    let own: [PrimExpr]
    init(_ old: Buffer, _ copy: Buffer, _ own: [PrimExpr]) {
        self.old = old
        self.copy = copy
        self.own = own
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if let l = e as? BufferLoad, l.buffer === old { return BufferLoad(copy, own) }
        return mutateChildren(of: e)
    }
    override func mutate(_ s: Stmt) -> Stmt {
        if let w = s as? BufferStore, w.buffer === old { return BufferStore(copy, mutate(w.value), own) }
        return mutateChildren(of: s)
    }
}
