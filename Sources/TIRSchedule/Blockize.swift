import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// A block seen from one of its loops: every variable is `outer * extent + inner`, outer and inner running
/// over the loops outside and inside.
private struct Division {
    struct Part {
        let iter: IterVar
        /// In loops outside, already divided by `extent`; nil if the variable runs inside only.
        let outer: PrimExpr?
        let inner: PrimExpr
        /// 1 = the variable runs outside only.
        let extent: Int
    }
    var parts: [Part] = []
}

extension Schedule {
    /// Makes the loops from `loop` down to their block one block of their own, which then is scheduled and
    /// moved as a unit; returns it. It is named after the inner block with the suffix `_o`.
    ///
    /// Of a reduction that also runs outside, the init moves to the new block.
    ///
    /// Errors: SCH095 more than one block below, SCH096 bindings or predicates that do not divide into an
    /// outer and an inner part.
    @discardableResult
    public func blockize(_ loop: LoopRV) throws -> BlockRV {
        try step("blockize") {
            let (f, index, target, l) = try locate(loop)
            let below = index.blocksBelow(target)
            guard below.count == 1, let at = below.first, let r = index.realize(at),
                index.looseStatement(below: target) == nil
            else {
                throw failure(
                    "SCH095", "blockize: loop \(l.loopVar.name) must be around one block", l,
                    actual: "around " + listed(below.compactMap { index.realize($0)?.block.name }),
                    hint: "blockize a list of blocks makes one of several")
            }
            let inner = index.loopsAbove(at).filter { (index.loopAt[$0.loopVar] ?? 0) >= target }
            let innerVars = Set(inner.map(\.loopVar))
            for c in conjuncts(r.predicate) where !variables(c).isDisjoint(with: innerVars) {
                throw failure(
                    "SCH096", "blockize: the predicate \(c) of `\(r.block.name)` depends on the inner loops",
                    r, expected: "a predicate of the loops outside \(l.loopVar.name)",
                    hint: "blockize full tiles only")
            }
            let arith = index.arith.copy()
            let division = try divide(r, inner, innerVars, arith)

            let wasPartial = functions[f].partial.contains(r.block.name)
            var outerIters: [IterVar] = []
            var outerValues: [PrimExpr] = []
            var innerValues: [PrimExpr] = []
            var outerReduction = false
            for p in division.parts {
                guard let value = p.outer else {
                    innerValues.append(p.inner)
                    continue
                }
                let dtype = p.iter.variable.dtype
                let v = Var("\(p.iter.variable.name)_o", dtype: dtype)
                let dom =
                    p.extent == 1
                    ? p.iter.dom
                    : IRRange(extent: arith.simplify(floorDiv(p.iter.dom.extent, const(p.extent, dtype))))
                outerIters.append(IterVar(dom, v, p.iter.iterType))
                outerValues.append(value)
                arith.bind(v, dom)
                innerValues.append(arith.simplify(v * const(p.extent, dtype) + p.inner))
                if p.iter.iterType != .dataParallel { outerReduction = true }
            }

            var innerBlock = r.block
            var initial: Stmt?
            if let start = r.block.initial, outerReduction {
                let spatial = bindingVariables(r, { $0 == .dataParallel })
                let reduction = bindingVariables(r, { $0 != .dataParallel })
                for x in inner
                where spatial.contains(x.loopVar) == reduction.contains(x.loopVar) && x.extent.asInt != 1 {
                    throw failure(
                        "SCH096",
                        "blockize: loop \(x.loopVar.name) is neither spatial nor a reduction of "
                            + "`\(r.block.name)` alone, its init cannot be taken out", x,
                        expected: "loops over one kind of variables each")
                }
                initial = initNest(r, start, innerValues, inner, arith)
                innerBlock = innerBlock.with(reads: r.block.reads + r.block.writes, initial: .some(nil))
            }
            var nest: Stmt = BlockRealize(innerValues, innerBlock)
            for x in inner.reversed() { nest = x.with(body: nest) }
            let relaxed = Relaxation(inner, arith)
            var map: [Var: PrimExpr] = [:]
            for (v, e) in zip(r.block.iterVars, innerValues) { map[v.variable] = e }
            func relax(_ list: [BufferRegion]) -> [BufferRegion] {
                list.map { region in
                    let box = relaxed.box(region, map)
                    var ranges: [IRRange] = []
                    for (d, i) in zip(region.buffer.shape, box) {
                        ranges.append(
                            i.map { IRRange(min: $0.lo, extent: arith.simplify($0.width + 1)) }
                                ?? IRRange(extent: d))
                    }
                    return BufferRegion(region.buffer, ranges)
                }
            }
            let name = freshBlockName(f, "\(r.block.name)_o")
            let block = Block(
                name, iterVars: outerIters, reads: relax(r.block.reads), writes: relax(r.block.writes),
                body: nest,
                initial: initial)
            functions[f].nested = functions[f].nested || index.scope(of: target) >= 0
            commit(f, index.replacing(target, with: BlockRealize(outerValues, predicate: r.predicate, block)))
            if division.parts.contains(where: { $0.outer != nil && $0.iter.dom.extent.asInt != $0.extent }) {
                functions[f].partial.insert(r.block.name)
            }
            if wasPartial { functions[f].partial.insert(name) }
            let result = newBlock(f, name)
            record("blockize", [.loop(loop.id)], outputs: [.block(result.id)])
            return result
        }
    }

    /// Makes one block of several that follow each other below a loop (or directly in a block): their loops and
    /// bindings stay inside, the loops around become its variables. Returns it; it is named after the first with the
    /// suffix `_o`.
    ///
    /// Errors: SCH109 blocks that are not all that stands between two places of one statement sequence.
    @discardableResult
    public func blockize(_ blocks: [BlockRV]) throws -> BlockRV {
        try step("blockize") {
            guard let one = blocks.first else {
                throw ApusError("SCH109", "blockize needs a block", expected: "blocks that follow each other")
            }
            let (f, index, first, r) = try locate(one)
            var wanted: Set<Int> = []
            for b in blocks {
                let (g, _, at, x) = try locate(b)
                guard g == f, index.scope(of: at) == index.scope(of: first), index.entries[at].parent >= 0
                else {
                    throw failure("SCH109", "blockize: the blocks are not in one scope", x).marking(r)
                }
                wanted.insert(at)
            }
            // The innermost statement that holds all of them.
            var holder = first
            while !wanted.allSatisfy({ $0 >= holder && $0 < index.entries[holder].end }) {
                holder = index.entries[holder].parent
            }
            // A run of statements of a sequence, or the one statement.
            var children: [Int] = [holder]
            if index.entries[holder].stmt.stmtKind == .seq {
                children = []
                var c = holder + 1
                while c < index.entries[holder].end {
                    children.append(c)
                    c = index.entries[c].end
                }
                let used = children.indices.filter { i in
                    wanted.contains { $0 >= children[i] && $0 < index.entries[children[i]].end }
                }
                if let lo = used.first, let hi = used.last { children = Array(children[lo...hi]) }
            }
            let inside = Set(
                children.flatMap { c in
                    index.entries[c].stmt.stmtKind == .blockRealize ? [c] : index.blocksBelow(c)
                })
            guard inside == wanted, children.allSatisfy({ index.looseStatement(below: $0) == nil }) else {
                let extra = inside.subtracting(wanted).sorted().compactMap { index.realize($0) }
                throw failure(
                    "SCH109", "blockize: other blocks stand between them", extra.first ?? r,
                    expected: "all of " + listed(inside.sorted().compactMap { index.realize($0)?.block.name })
                )
            }
            let outer = index.loopsAbove(children[0])
            let arith = index.arith.copy()
            var map: [Var: PrimExpr] = [:]
            var iters: [IterVar] = []
            var values: [PrimExpr] = []
            for l in outer {
                let users = wanted.compactMap { index.realize($0) }
                let spatial = users.allSatisfy {
                    bindingVariables($0, { $0 == .dataParallel }).contains(l.loopVar)
                }
                let reduces = users.contains {
                    bindingVariables($0, { $0 != .dataParallel }).contains(l.loopVar)
                }
                let v = Var("v_\(l.loopVar.name)", dtype: l.loopVar.dtype)
                map[l.loopVar] = v
                let dom = IRRange(min: substitute(l.min, map), extent: substitute(l.extent, map))
                arith.bind(v, dom)
                // A loop that only some of them run over repeats the others: it stays in order.
                iters.append(IterVar(dom, v, spatial && !reduces ? .dataParallel : .ordered))
                values.append(l.loopVar)
            }
            let body = SeqStmt.flat(
                children.map { rewriteBindings(index.entries[$0].stmt, map, conditions: [], arith) })
            let name = freshBlockName(f, "\(r.block.name)_o")
            let block = withDetectedRegions(Block(name, iterVars: iters, body: body))
            var changes: [Int: Stmt?] = [:]
            for c in children { changes[c] = .some(nil) }
            changes[children[0]] = BlockRealize(values, block)
            functions[f].nested = true
            commit(f, index.replacing(changes))
            functions[f].partial.formUnion(wanted.compactMap { index.realize($0)?.block.name })
            let result = newBlock(f, name)
            record("blockize", blocks.map { .block($0.id) }, outputs: [.block(result.id)])
            return result
        }
    }

    private func divide(
        _ r: BlockRealize, _ inner: [For], _ innerVars: Set<Var>, _ arith: ArithContext
    ) throws -> Division {
        var division = Division()
        let relaxed = Relaxation(inner, arith)
        for (v, e) in zip(r.block.iterVars, r.iterValues) {
            func refused(_ why: String) -> Refusal {
                failure(
                    "SCH096", "blockize: the binding \(e) of \(v.variable.name) \(why)", r,
                    expected: "outer * n + inner, the inner part of the loops \(names(inner)) over 0..<n",
                    hint: "split by factors that divide, and reorder the inner parts inward")
            }
            let dtype = v.variable.dtype
            var outside = Affine(0)
            var inside = Affine(0)
            for t in arith.affine(e).terms {
                let vars = variables(t.atom)
                if vars.isDisjoint(with: innerVars) {
                    outside.terms.append(t)
                } else if vars.isSubset(of: innerVars) {
                    inside.terms.append(t)
                } else {
                    throw refused("mixes outer and inner loops")
                }
            }
            let offset = arith.affine(e).constant
            if inside.terms.isEmpty {
                outside.constant = offset
                division.parts.append(
                    Division.Part(iter: v, outer: outside.expr(dtype), inner: const(0, dtype), extent: 1))
                continue
            }
            guard offset == 0, let i = relaxed.interval(inside.expr(dtype)), i.lo.isZero, i.contiguous,
                let width = i.width.asInt, width >= 0, width < Int.max, v.dom.min.isZero
            else { throw refused("is not a whole tile of the inner loops") }
            let extent = width + 1
            if outside.terms.isEmpty {
                guard v.dom.extent.asInt == extent else { throw refused("covers part of its domain only") }
                division.parts.append(
                    Division.Part(iter: v, outer: nil, inner: inside.expr(dtype), extent: extent))
                continue
            }
            guard let n = v.dom.extent.asInt, n % extent == 0,
                outside.terms.allSatisfy({ $0.coef % extent == 0 })
            else { throw refused("does not step by whole tiles of \(extent)") }
            for k in outside.terms.indices { outside.terms[k].coef /= extent }
            division.parts.append(
                Division.Part(iter: v, outer: outside.expr(dtype), inner: inside.expr(dtype), extent: extent))
        }
        return division
    }

    /// The init of a reduction over the inner spatial loops, as a block in loops.
    private func initNest(
        _ r: BlockRealize, _ start: Stmt, _ values: [PrimExpr], _ inner: [For], _ arith: ArithContext
    ) -> Stmt {
        let reduction = bindingVariables(r, { $0 == .commReduce })
        var fresh: [Var: PrimExpr] = [:]
        var loops: [For] = []
        for x in inner where !reduction.contains(x.loopVar) {
            let v = Var("\(x.loopVar.name)_init", dtype: x.loopVar.dtype)
            fresh[x.loopVar] = v
            arith.bind(v, IRRange(min: x.min, extent: x.extent))
            loops.append(initLoop(x, v, x.min, x.extent))
        }
        var iters: [IterVar] = []
        var bound: [PrimExpr] = []
        var rename: [Var: PrimExpr] = [:]
        for (v, e) in zip(r.block.iterVars, values) where v.iterType == .dataParallel {
            let own = Var("\(v.variable.name)_init", dtype: v.variable.dtype)
            rename[v.variable] = own
            iters.append(IterVar(v.dom, own, .dataParallel))
            bound.append(arith.simplify(substitute(e, fresh)))
        }
        let block = withDetectedRegions(
            Block("\(r.block.name)_init", iterVars: iters, body: substitute(start, rename)))
        var nest: Stmt = BlockRealize(bound, block)
        for x in loops.reversed() { nest = x.with(body: nest) }
        return nest
    }
}
