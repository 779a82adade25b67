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

    /// An outer loop and an inner one of extent `factor`.
    @discardableResult
    public func split(_ loop: LoopRV, factor: Int) throws -> [LoopRV] {
        try split(loop, factors: [nil, factor])
    }

    /// An outer loop of extent `nparts` and an inner one.
    @discardableResult
    public func split(_ loop: LoopRV, nparts: Int) throws -> [LoopRV] {
        try split(loop, factors: [nparts, nil])
    }

    /// As `split(_:factors:)` with extents that are expressions of the function's symbols (scalar parameters, symbolic
    /// dimensions). One that may be less than 1 counts as 1 there.
    ///
    /// Errors: as there; SCH037 an expression of anything else.
    @discardableResult
    public func split(_ loop: LoopRV, extents: [PrimExpr?]) throws -> [LoopRV] {
        try step("split") {
            let (f, _, _, l) = try locate(loop)
            let known = symbols(f)
            for e in extents.compactMap({ $0 }) {
                let foreign = undefinedVariables(of: e).filter { v in !known.contains { $0 === v } }
                if let v = foreign.first {
                    throw failure(
                        "SCH037", "split: \(v.name) is no symbol of the function", l,
                        expected: "an expression of " + listed(known.map(\.name)))
                }
                guard e.dtype.isInteger, e.dtype.isScalar else {
                    throw failure("SCH037", "split needs integers", l, actual: "\(e): \(e.dtype)")
                }
            }
            let texts = extents.map { e in e.map { "\(cast(l.loopVar.dtype, $0))" } ?? "none" }
            return try splitLoop(
                loop, extents, [.loop(loop.id)], [(key: "extents", value: .strings(texts))])
        }
    }

    /// The extents that `split(_:extents:)` recorded.
    func splitExtents(_ loop: LoopRV, _ texts: [String]) throws -> [PrimExpr?] {
        let (f, _, _, _) = try locate(loop)
        return try texts.map {
            $0 == "none" ? nil : try TIRParser.parseExpr($0, variables: symbols(f), source: "<trace>")
        }
    }

    /// Scalars that the whole body knows: parameters and symbolic dimensions of parameters.
    private func symbols(_ f: Int) -> [Var] {
        let function = functions[f].function
        var result = function.params.filter { $0.dtype.isInteger }
        for (_, b) in function.bufferMap {
            for e in b.shape {
                if let v = e as? Var, !result.contains(where: { $0 === v }) { result.append(v) }
            }
        }
        return result
    }

    func split(_ loop: LoopRV, operands: [TraceOperand]) throws -> [LoopRV] {
        try step("split") {
            let (_, _, _, l) = try locate(loop)
            let dtype = l.loopVar.dtype
            let factors: [PrimExpr?] = try operands.map { o in
                switch o {
                case .literal(let n): return IntImm.fits(n, dtype) ? const(n, dtype) : const(-1, dtype)
                case .int(let id): return const(try value(IntRV(id: id)), dtype)
                default: return nil
                }
            }
            return try splitLoop(loop, factors, [.loop(loop.id)] + operands, [])
        }
    }

    private func splitLoop(
        _ loop: LoopRV, _ factors: [PrimExpr?], _ inputs: [TraceOperand],
        _ attrs: [(key: String, value: AttrValue)]
    ) throws -> [LoopRV] {
        let (f, index, at, l) = try locate(loop)
        let dtype = l.loopVar.dtype
        let arith = index.arith.copy()
        let known: [PrimExpr] = factors.compactMap { $0 }.map { e in
            if e.asInt != nil || arith.canProve(e .>= 1) { return cast(dtype, e) }
            return maximum(cast(dtype, e), const(1, dtype))
        }
        func divisors(_ n: Int) -> String {
            listed((1...max(1, min(n, 4096))).filter { n % $0 == 0 }.map { "\($0)" })
        }
        let shown = "[" + factors.map { $0.map { "\($0)" } ?? "nil" }.joined(separator: ", ") + "]"
        guard !factors.isEmpty, factors.count - known.count <= 1, known.allSatisfy({ ($0.asInt ?? 1) >= 1 })
        else {
            throw failure(
                "SCH030", "split needs positive factors, at most one of them nil", l, actual: shown,
                hint: l.extent.asInt.map { "factors that divide \($0): \(divisors($0))" })
        }
        try requirePlain(l, index, at)
        var product: PrimExpr = const(1, dtype)
        for n in known {
            if let a = product.asInt, let b = n.asInt {
                let p = a.multipliedReportingOverflow(by: b)
                guard !p.overflow, IntImm.fits(p.partialValue, dtype) else {
                    throw failure("SCH030", "the factors of split overflow", l, actual: shown)
                }
            }
            product = product * n
        }
        product = arith.simplify(product)
        var given = known[...]
        let extents: [PrimExpr] = factors.map { e in
            if e != nil, let first = given.popFirst() { return first }
            return arith.simplify(ceilDiv(l.extent, product))
        }
        let covering: PrimExpr = product .>= l.extent
        if known.count == factors.count, !arith.canProve(covering), !arith.canProveDeeply(covering) {
            throw failure(
                "SCH030", "the factors of split do not cover the loop", l,
                expected: "a product >= \(l.extent)", actual: "\(product)",
                hint: "leave one factor nil"
                    + (l.extent.asInt.map { "; factors that divide \($0): \(divisors($0))" } ?? ""))
        }
        var vars: [Var] = []
        for i in factors.indices { vars.append(Var("\(l.loopVar.name)_\(i)", dtype: dtype)) }
        var value: PrimExpr = vars[0]
        for i in 1..<max(vars.count, 1) { value = value * extents[i] + vars[i] }
        for (v, e) in zip(vars, extents) { arith.bind(v, IRRange(extent: e)) }
        let inBounds: PrimExpr = value .< l.extent
        let needed: [PrimExpr] = arith.canProve(inBounds) ? [] : [inBounds]
        if !needed.isEmpty, let loose = index.looseStatement(below: at) {
            throw failure(
                "SCH032", "a statement outside any block cannot take a predicate", loose,
                hint: "split by factors whose product is the extent")
        }
        // A bound that a block's domain already has is dropped again by `conjunction`.
        var body = rewriteBindings(l.body, [l.loopVar: value], conditions: needed, arith)
        for i in vars.indices.reversed() {
            body = For(vars[i], const(0, dtype), extents[i], body: body)
        }
        commit(f, index.replacing(at, with: body))
        let result = vars.map { newLoop(f, $0) }
        record("split", inputs, attrs, outputs: result.map { .loop($0.id) })
        return result
    }

    // MARK: tile

    /// Splits two loops by `xFactor` and `yFactor` and brings the parts into the order x outer, y outer, x inner, y
    /// inner, which is also that of the result. Recorded as the primitives that it consists of.
    @discardableResult
    public func tile(_ x: LoopRV, _ y: LoopRV, _ xFactor: Int, _ yFactor: Int) throws -> [LoopRV] {
        let a = try split(x, factor: xFactor)
        let b = try split(y, factor: yFactor)
        let order = [a[0], b[0], a[1], b[1]]
        try reorder(order)
        return order
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
        try step("fuse") {
            guard let first = loops.first else {
                throw ApusError(
                    "SCH033", "fuse needs a loop",
                    hint: "fuse([], around: block) makes a loop of one iteration")
            }
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
                        expected: "loops nested directly in each other, outermost first: "
                            + names(nest(top)))
                }
                try requirePlain(l, index, place)
                for outer in chain where uses(l.extent, [outer.loopVar]) {
                    throw failure(
                        "SCH034", "the extent of loop \(l.loopVar.name) depends on \(outer.loopVar.name)",
                        top,
                        expected: "extents that do not depend on the other loops", actual: "\(l.extent)")
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

    /// Fuses the loops, or, if there are none, makes a loop of one iteration around the block (as `addUnitLoop`).
    @discardableResult
    public func fuse(_ loops: [LoopRV], around block: BlockRV) throws -> LoopRV {
        loops.isEmpty ? try addUnitLoop(block) : try fuse(loops)
    }

    /// The loops nested directly in each other from `top` on.
    private func nest(_ top: For) -> [For] {
        var result = [top]
        while let inner = result[result.count - 1].body as? For { result.append(inner) }
        return result
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
        try step("reorder") {
            guard let first = loops.first else {
                throw ApusError("SCH033", "reorder needs loops", expected: "loops of one chain")
            }
            let (f, index, _, any) = try locate(first)
            var wanted: [For] = []
            for rv in loops {
                let (g, _, _, l) = try locate(rv)
                guard g == f, !wanted.contains(where: { $0 === l }) else {
                    throw failure(
                        "SCH033", "loop \(l.loopVar.name) is named twice, or of another function", l,
                        expected: "different loops of one chain")
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
                        expected: "each loop to be the only statement of the one around it; with "
                            + "\(head.loopVar.name): " + names(nest(head)),
                        actual: names(wanted))
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
                        "the extent of loop \(order[i].loopVar.name) depends on \(inner.loopVar.name)", head,
                        expected: "\(inner.loopVar.name) outside of \(order[i].loopVar.name)"
                    ).marking(inner)
                }
            }
            if let loose = index.looseStatement(below: top) {
                throw failure(
                    "SCH035", "a statement outside any block must stay in order", loose,
                    expected: "blocks only below the loops")
            }
            let below = index.blocksBelow(top)
            for b in below {
                guard let r = index.realize(b) else { continue }
                for v in r.block.iterVars where v.iterType != .dataParallel && v.iterType != .commReduce {
                    throw failure(
                        "SCH035",
                        "the iterations of `\(r.block.name)` over \(v.variable.name) are "
                            + "\(v.iterType.rawValue) and must stay in order", r,
                        expected: "spatial and reduction variables only")
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
                            + "`\(r.block.name)`: its init would no longer come first", l,
                        expected: "loops over one kind of variables each",
                        hint: "reorder before fusing the two kinds"
                    ).marking(r)
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
                    "SCH035", "reorder: the loops meet elements of `\(r.block.name)` more than once",
                    chain[0],
                    expected: "loops whose iterations are different elements"
                ).marking(r)
            }
            for l in chain where l.extent.asInt != 1 {
                if reduction.contains(l.loopVar) || spatial.contains(l.loopVar) { continue }
                throw failure(
                    "SCH035",
                    "\(name): loop \(l.loopVar.name) repeats the reduction `\(r.block.name)` as a whole", l,
                    expected: "loops that `\(r.block.name)` runs over: "
                        + names(
                            chain.filter { reduction.contains($0.loopVar) || spatial.contains($0.loopVar) })
                ).marking(r)
            }
        }
    }

    // MARK: addUnitLoop

    /// Puts a loop of one iteration around a block.
    @discardableResult
    public func addUnitLoop(_ block: BlockRV) throws -> LoopRV {
        try step("addUnitLoop") {
            let (f, index, at, realize) = try locate(block)
            if index.entries[at].parent < 0 {
                throw failure(
                    "SCH036", "the root block has no place for a loop around it", realize,
                    expected: "a block inside it")
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
        try step("addUnitLoop") {
            let (f, index, at, l) = try locate(loop)
            let v = Var("u")
            commit(f, index.replacing(at, with: For(v, const(0), const(1), body: l)))
            let result = newLoop(f, v)
            record("addUnitLoop", [.loop(loop.id)], outputs: [.loop(result.id)])
            return result
        }
    }
}
