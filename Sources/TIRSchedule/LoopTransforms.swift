import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

extension Schedule {
    // MARK: split

    /// Splits a loop into nested ones of the given extents, outermost first; at most one factor may be nil,
    /// which is then chosen as small as covers the loop. Where the factors do not divide the extent, the
    /// blocks below get a predicate.
    ///
    /// Errors: SCH030 bad factors, SCH031 a loop that is not serial from 0, SCH032 statements outside blocks
    /// below.
    @discardableResult
    public func split(_ loop: LoopRV, factors: [Int?]) throws -> [LoopRV] {
        try split(loop, operands: factors.map { $0.map { TraceOperand.literal($0) } ?? .none })
    }

    /// As `split(_:factors:)` with sampled factors, all given.
    @discardableResult
    public func split(_ loop: LoopRV, factors: [IntRV]) throws -> [LoopRV] {
        try split(loop, operands: factors.map { .int($0.id) })
    }

    func split(_ loop: LoopRV, operands: [TraceOperand]) throws -> [LoopRV] {
        try within("primitive: split") {
            let (f, index, at, l) = try locate(loop)
            var factors: [Int?] = []
            for o in operands {
                switch o {
                case .literal(let n): factors.append(n)
                case .int(let id): factors.append(try value(IntRV(id: id)))
                default: factors.append(nil)
                }
            }
            let known = factors.compactMap { $0 }
            guard !factors.isEmpty, factors.count - known.count <= 1, known.allSatisfy({ $0 >= 1 }) else {
                throw failure(
                    "SCH030", "split needs positive factors, at most one of them nil", l,
                    actual: "[" + factors.map { $0.map { "\($0)" } ?? "nil" }.joined(separator: ", ") + "]")
            }
            try requirePlain(l, index, at)
            var product = 1
            for n in known {
                let p = product.multipliedReportingOverflow(by: n)
                if p.overflow { throw failure("SCH030", "the factors of split overflow", l) }
                product = p.partialValue
            }
            let dtype = l.loopVar.dtype
            let arith = index.arith.copy()
            let extents: [PrimExpr] = factors.map { n in
                if let n { return const(n, dtype) }
                return arith.simplify(ceilDiv(l.extent, const(product, dtype)))
            }
            if known.count == factors.count, !arith.canProve(const(product, dtype) .>= l.extent) {
                throw failure(
                    "SCH030", "the factors of split do not cover the loop", l,
                    expected: "a product >= \(l.extent)",
                    actual: "\(product)", hint: "leave one factor nil")
            }
            var vars: [Var] = []
            for i in factors.indices { vars.append(Var("\(l.loopVar.name)_\(i)", dtype: dtype)) }
            var value: PrimExpr = vars[0]
            for i in 1..<max(vars.count, 1) { value = value * extents[i] + vars[i] }
            for (v, e) in zip(vars, extents) { arith.bind(v, IRRange(extent: e)) }
            let inBounds: PrimExpr = value .< l.extent
            let needed: [PrimExpr] = arith.canProve(inBounds) ? [] : [inBounds]
            if !needed.isEmpty, let loose = index.looseStatement(below: at) {
                throw failure("SCH032", "a statement outside any block cannot take a predicate", loose)
            }
            // A bound that a block's domain already has is dropped again by `conjunction`.
            var body = rewriteBindings(l.body, [l.loopVar: value], conditions: needed, arith)
            for i in vars.indices.reversed() {
                body = For(vars[i], const(0, dtype), extents[i], body: body)
            }
            commit(f, index.replacing(at, with: body))
            let result = vars.map { newLoop(f, $0) }
            record("split", [.loop(loop.id)] + operands, outputs: result.map { .loop($0.id) })
            return result
        }
    }

    /// Loops that are rearranged must be plain: serial, from 0, not annotated as anything else.
    private func requirePlain(_ l: For, _ index: StmtIndex, _ at: Int) throws {
        guard l.forKind == .serial else {
            throw failure(
                "SCH031", "loop \(l.loopVar.name) is \(l.forKind.rawValue)", l, expected: "a serial loop",
                hint: "rearrange loops first, then parallelise, vectorise, unroll or bind")
        }
        guard l.min.isZero else {
            throw failure(
                "SCH031", "loop \(l.loopVar.name) does not start at 0", l, expected: "0", actual: "\(l.min)")
        }
    }

    // MARK: fuse

    /// Fuses loops nested directly in each other, outermost first, into one.
    ///
    /// Errors: SCH033 loops that are not one chain, SCH031 a loop that is not serial from 0, SCH034 an extent
    /// that depends on an outer loop.
    @discardableResult
    public func fuse(_ loops: [LoopRV]) throws -> LoopRV {
        try within("primitive: fuse") {
            guard let first = loops.first else { throw ApusError("SCH033", "fuse needs a loop") }
            let (f, index, at, top) = try locate(first)
            var chain: [For] = [top]
            try requirePlain(top, index, at)
            for rv in loops.dropFirst() {
                let (g, _, place, l) = try locate(rv)
                guard let last = chain.last, g == f, last.body === l else {
                    throw failure(
                        "SCH033",
                        "loop \(l.loopVar.name) is not the only statement of loop "
                            + "\(chain.last?.loopVar.name ?? "")", top,
                        expected: "loops nested directly in each other, outermost first")
                }
                try requirePlain(l, index, place)
                for outer in chain where uses(l.extent, [outer.loopVar]) {
                    throw failure(
                        "SCH034", "the extent of loop \(l.loopVar.name) depends on \(outer.loopVar.name)", top
                    )
                }
                chain.append(l)
            }
            guard let innermost = chain.last else { return first }
            try requireNoRepetition(index, at, chain, "fuse")
            let dtype = top.loopVar.dtype
            let arith = index.arith.copy()
            let name = chain.map { $0.loopVar.name }.joined(separator: "_") + "_fused"
            let fused = Var(chain.count == 1 ? top.loopVar.name : name, dtype: dtype)
            var extent: PrimExpr = const(1, dtype)
            for l in chain {
                if let a = extent.asInt, let b = l.extent.asInt, a.multipliedReportingOverflow(by: b).overflow
                {
                    throw failure("SCH034", "the extent of the fused loop overflows", top)
                }
                extent = extent * l.extent
            }
            extent = arith.simplify(extent)
            arith.bind(fused, IRRange(extent: extent))
            var map: [Var: PrimExpr] = [:]
            var rest: PrimExpr = fused
            for (i, l) in chain.enumerated().reversed() {
                map[l.loopVar] = i == 0 ? rest : floorMod(rest, l.extent)
                if i > 0 { rest = floorDiv(rest, l.extent) }
            }
            let body = rewriteBindings(innermost.body, map, conditions: [], arith)
            commit(f, index.replacing(at, with: For(fused, const(0, dtype), extent, body: body)))
            let result = newLoop(f, fused)
            record("fuse", loops.map { .loop($0.id) }, outputs: [.loop(result.id)])
            return result
        }
    }

    /// As `fuse([…])`.
    @discardableResult
    public func fuse(_ first: LoopRV, _ rest: LoopRV...) throws -> LoopRV { try fuse([first] + rest) }

    // MARK: reorder

    /// Puts loops of one chain into the given order, outermost first; loops of the chain that are not named
    /// keep their places.
    ///
    /// Errors: SCH033 loops that are not of one chain, SCH034 an extent that would depend on an inner loop,
    /// SCH035 a block below whose iterations must stay in order, SCH020 to SCH022 a dependency between blocks
    /// below that crosses iterations.
    public func reorder(_ loops: [LoopRV]) throws {
        try within("primitive: reorder") {
            guard let first = loops.first else { throw ApusError("SCH033", "reorder needs loops") }
            let (f, index, _, any) = try locate(first)
            var wanted: [For] = []
            for rv in loops {
                let (g, _, _, l) = try locate(rv)
                guard g == f, !wanted.contains(where: { $0 === l }) else {
                    throw failure(
                        "SCH033", "loop \(l.loopVar.name) is named twice, or of another function", l)
                }
                wanted.append(l)
            }
            // The chain from the outermost of them down to the innermost.
            guard let top = wanted.compactMap({ index.loopAt[$0.loopVar] }).min(), let head = index.loop(top)
            else {
                throw failure("SCH033", "no loop to reorder", any)
            }
            var chain: [For] = []
            var found = 0
            var at: Stmt = head
            while found < wanted.count {
                guard let l = at as? For else {
                    throw failure(
                        "SCH033", "the loops to reorder are not nested in one chain", head,
                        expected: "each loop to be the only statement of the one around it")
                }
                chain.append(l)
                if wanted.contains(where: { $0 === l }) { found += 1 }
                at = l.body
            }
            var next = wanted.makeIterator()
            var order: [For] = []
            for l in chain {
                if wanted.contains(where: { $0 === l }) {
                    if let w = next.next() { order.append(w) }
                } else {
                    order.append(l)
                }
            }
            for i in order.indices {
                for inner in order[i...]
                where uses(order[i].extent, [inner.loopVar]) || uses(order[i].min, [inner.loopVar]) {
                    throw failure(
                        "SCH034",
                        "the extent of loop \(order[i].loopVar.name) depends on \(inner.loopVar.name)", head)
                }
            }
            if let loose = index.looseStatement(below: top) {
                throw failure("SCH035", "a statement outside any block must stay in order", loose)
            }
            let below = index.blocksBelow(top)
            for b in below {
                guard let r = index.realize(b) else { continue }
                for v in r.block.iterVars where v.iterType != .dataParallel && v.iterType != .commReduce {
                    throw failure(
                        "SCH035",
                        "the iterations of `\(r.block.name)` over \(v.variable.name) are "
                            + "\(v.iterType.rawValue) and must stay in order", r)
                }
            }
            try requireNoRepetition(index, top, chain, "reorder")
            for b in below {
                // The init runs where all reduction variables are at their least: that iteration comes first
                // in any order of the loops only if none of them runs over spatial and reduction variables at
                // once.
                guard let r = index.realize(b), r.block.initial != nil else { continue }
                let mixed = bindingVariables(r, { $0 == .commReduce })
                    .intersection(bindingVariables(r, { $0 == .dataParallel }))
                if let l = index.loopsAbove(b).first(where: { mixed.contains($0.loopVar) }) {
                    throw failure(
                        "SCH035",
                        "loop \(l.loopVar.name) runs over spatial and reduction variables of "
                            + "`\(r.block.name)`: its init would no longer come first", head)
                }
            }
            guard let innermost = chain.last, let bottom = index.loopAt[innermost.loopVar] else { return }
            if below.count > 1 { try checkDependencies(below: bottom, index) }
            var body: Stmt = innermost.body
            for l in order.reversed() { body = l.with(body: body) }
            commit(f, index.replacing(top, with: body))
            record("reorder", loops.map { .loop($0.id) })
        }
    }

    /// As `reorder([…])`.
    public func reorder(_ first: LoopRV, _ rest: LoopRV...) throws { try reorder([first] + rest) }

    /// A loop that a reduction does not use repeats it as a whole, starting from its init each time; it must stay
    /// outside the reduction's own loops.
    private func requireNoRepetition(_ index: StmtIndex, _ top: Int, _ chain: [For], _ name: String) throws {
        for b in index.blocksBelow(top) {
            guard let r = index.realize(b) else { continue }
            let reduction = bindingVariables(r, { $0 != .dataParallel })
            let spatial = bindingVariables(r, { $0 == .dataParallel })
            guard chain.contains(where: { reduction.contains($0.loopVar) }) else { continue }
            // Fusing keeps the order of iterations, whatever they meet twice.
            if name == "reorder", !visitsOnce(r, chain.filter { spatial.contains($0.loopVar) }, index.arith) {
                throw failure(
                    "SCH035", "reorder: the loops meet elements of `\(r.block.name)` more than once", chain[0]
                )
            }
            for l in chain where l.extent.asInt != 1 {
                if reduction.contains(l.loopVar) || spatial.contains(l.loopVar) { continue }
                throw failure(
                    "SCH035",
                    "\(name): loop \(l.loopVar.name) repeats the reduction `\(r.block.name)` as a whole", l)
            }
        }
    }

    // MARK: addUnitLoop

    /// Puts a loop of one iteration around a block.
    @discardableResult
    public func addUnitLoop(_ block: BlockRV) throws -> LoopRV {
        try within("primitive: addUnitLoop") {
            let (f, index, at, realize) = try locate(block)
            if index.entries[at].parent < 0 {
                throw failure("SCH036", "the root block has no place for a loop around it", realize)
            }
            let v = Var("u")
            commit(f, index.replacing(at, with: For(v, const(0), const(1), body: realize)))
            let result = newLoop(f, v)
            record("addUnitLoop", [.block(block.id)], outputs: [.loop(result.id)])
            return result
        }
    }

    /// Puts a loop of one iteration around a loop.
    @discardableResult
    public func addUnitLoop(_ loop: LoopRV) throws -> LoopRV {
        try within("primitive: addUnitLoop") {
            let (f, index, at, l) = try locate(loop)
            let v = Var("u")
            commit(f, index.replacing(at, with: For(v, const(0), const(1), body: l)))
            let result = newLoop(f, v)
            record("addUnitLoop", [.loop(loop.id)], outputs: [.loop(result.id)])
            return result
        }
    }
}
