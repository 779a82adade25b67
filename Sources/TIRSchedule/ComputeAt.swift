import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// The loops and bindings that run a block over part of its domain. `domains`: the interval of a variable,
/// absent = all of it. Loops of one iteration are left out; predicates keep the variables inside their
/// domains.
func loopNest(
    _ block: Block, _ domains: [Var: Interval], _ arith: ArithContext, prefix: String = "ax"
) -> Stmt {
    var loops: [For] = []
    var values: [PrimExpr] = []
    var conditions: [PrimExpr] = []
    for v in block.iterVars {
        let dtype = v.variable.dtype
        var lo = v.dom.min
        var extent = v.dom.extent
        if let i = domains[v.variable] {
            let wanted = arith.simplify(i.width + 1)
            // A part that is at least the whole is the whole.
            if !arith.canProve(wanted .>= extent)
                || sameExpr(wanted, extent) && arith.difference(i.lo, lo) == 0
            {
                lo = i.lo
                extent = wanted
            }
        }
        var value = lo
        if extent.asInt != 1 {
            let ax = Var("\(prefix)\(loops.count)", dtype: dtype)
            arith.bind(ax, IRRange(extent: extent))
            loops.append(For(ax, const(0, dtype), extent, body: Evaluate.noOp))
            value = arith.simplify(lo + ax)
        }
        values.append(value)
        if v.dom.min === lo && v.dom.extent === extent { continue }
        conditions.append(value .>= v.dom.min)
        conditions.append(value .< (v.dom.min + v.dom.extent))
    }
    var nest: Stmt = BlockRealize(values, predicate: conjunction(conditions, arith), block)
    for l in loops.reversed() { nest = l.with(body: nest) }
    return nest
}

/// The variables of a block as they run over their domains.
func blockDomain(_ block: Block, _ arith: ArithContext) -> Relaxation {
    let loops: [For] = block.iterVars.map { v in
        arith.bind(v.variable, v.dom)
        return For(v.variable, v.dom.min, v.dom.extent, body: Evaluate.noOp)
    }
    return Relaxation(loops, arith)
}

extension Schedule {
    /// What both ways of moving a block ask of it and of the loop.
    private func requireMovable(
        _ f: Int, _ index: StmtIndex, _ at: Int, _ r: BlockRealize, _ target: Int, _ l: For,
        _ primitive: String
    ) throws {
        guard index.scope(of: at) == index.scope(of: target), index.entries[at].parent >= 0 else {
            throw failure("SCH070", "\(primitive): the block and the loop are not in one scope", r).marking(l)
        }
        try requireOwnDomain(f, index, at, r, primitive)
        guard l.forKind != .vectorized else {
            throw failure(
                "SCH073", "\(primitive): loop \(l.loopVar.name) is vectorized", l,
                hint: "vectorize after moving blocks")
        }
    }

    /// What moving a block, its loops made anew, asks of it.
    func requireOwnDomain(_ f: Int, _ index: StmtIndex, _ at: Int, _ r: BlockRealize, _ primitive: String)
        throws
    {
        for v in r.block.iterVars where v.iterType != .dataParallel && v.iterType != .commReduce {
            throw failure(
                "SCH071",
                "\(primitive): the iterations of `\(r.block.name)` over \(v.variable.name) are "
                    + "\(v.iterType.rawValue)", r, expected: "spatial and reduction variables only")
        }
        if functions[f].partial.contains(r.block.name) {
            throw failure(
                "SCH062", "\(primitive): the predicate of `\(r.block.name)` leaves elements out", r,
                expected: "a block that visits all of its domain")
        }
        for w in r.block.writes {
            if r.block.reads.contains(where: { $0.buffer === w.buffer }) {
                throw failure(
                    "SCH072", "\(primitive): `\(r.block.name)` updates \(w.buffer.name) in place", r,
                    hint: "move the block before decomposeReduction")
            }
            if let other = otherWriters(index, at, w.buffer).first {
                throw failure(
                    "SCH072", "\(primitive): \(w.buffer.name) is also written by `\(other.block.name)`", r,
                    expected: "one writer of \(w.buffer.name)"
                ).marking(other)
            }
        }
    }

    /// The statements of a loop's body, and which of them hold the entries of `blocks`.
    private func children(_ index: StmtIndex, _ loopAt: Int, _ blocks: [Int]) -> (
        stmts: [Stmt], holds: [Bool]
    ) {
        guard let l = index.loop(loopAt) else { return ([], []) }
        guard let seq = l.body as? SeqStmt else { return ([l.body], [!blocks.isEmpty]) }
        var holds: [Bool] = []
        var at = loopAt + 2
        for _ in seq.stmts {
            let end = index.entries[at].end
            holds.append(blocks.contains { $0 >= at && $0 < end })
            at = end
        }
        return (seq.stmts, holds)
    }

    // MARK: computeAt

    /// Moves a producer under a loop of its consumers: each iteration of the loop computes just what its
    /// consumers read in it. The block's own loops are made anew (serial), over that region.
    ///
    /// What is computed into memory that threads share (scope `shared`: the threads of a block, virtual ones included;
    /// `warp`: those of `threadIdx.x`) is what all threads that share it read: each would compute all of it, until the
    /// new loops are bound to the same axes and each computes its part (cooperative fetching, see `bind`).
    ///
    /// Errors: SCH063 a result of the function, SCH070 another scope, SCH071 ordered iterations, SCH072 an
    /// in-place update or several writers, SCH073 a vectorized loop, SCH074 a consumer outside the loop,
    /// SCH020 to SCH022 dependencies.
    public func computeAt(_ block: BlockRV, _ loop: LoopRV) throws {
        try step("computeAt") {
            if handles.indices.contains(loop.id) {
                // What `sampleComputeLocation` drew may be no loop.
                switch handles[loop.id] {
                case .root:
                    record("computeAt", [.block(block.id), .loop(loop.id)])
                    return
                case .inlined:
                    let before = recording
                    recording = false
                    defer { recording = before }
                    try computeInline(block)
                    recording = before
                    record("computeAt", [.block(block.id), .loop(loop.id)])
                    return
                default: break
                }
            }
            let (f, index, at, r) = try locate(block)
            let (g, _, target, l) = try locate(loop)
            guard f == g else { throw failure("SCH070", "computeAt: the loop is of another function", l) }
            try requireMovable(f, index, at, r, target, l, "computeAt")
            for w in r.block.writes { try requireInternal(index, w.buffer, r, "computeAt") }
            let users = consumers(index, at)
            guard !users.isEmpty else {
                throw failure(
                    "SCH074", "computeAt: nothing reads `\(r.block.name)`", r,
                    expected: "a block that others read")
            }
            for u in users where u < target || u >= index.entries[target].end {
                throw failure(
                    "SCH074",
                    "computeAt: block `\(index.realize(u)?.block.name ?? "")` reads "
                        + "`\(r.block.name)` outside "
                        + "loop \(l.loopVar.name)", l
                ).marking(index.realize(u), "a reader").expecting {
                    "one of the loops "
                        + listed(self.acceptedLoops(self.loopVariables(f), f) { try $0.computeAt(block, $1) })
                }
            }
            let names = users.compactMap { index.realize($0)?.block.name }
            let rest = StmtIndex(index.replacing(at, with: nil))
            guard let place = rest.loopAt[l.loopVar] else { internalError("computeAt lost its loop") }
            let arith = rest.arith.copy()
            let own = ArithContext()
            var domains: [Var: Interval] = [:]
            var whole: Set<Var> = []
            let consumerAt = names.compactMap { rest.blockAt[$0] }
            for c in consumerAt {
                guard let user = rest.realize(c) else { continue }
                let above = rest.loopsAbove(c)
                let map = blockMap(user)
                for w in r.block.writes {
                    guard let read = user.block.reads.first(where: { $0.buffer === w.buffer }) else {
                        continue
                    }
                    // Threads that share the memory share its contents: it holds what all of them read.
                    let inside = above.filter { x in
                        (rest.loopAt[x.loopVar] ?? 0) > place || sharesMemory(x, w.buffer)
                    }
                    let box = Relaxation(inside, of: user, relevant: [], arith).box(read, map)
                    for (dim, need) in zip(w.region, box) {
                        guard dim.extent.asInt == 1 else {
                            whole.formUnion(variables(dim.min))
                            continue
                        }
                        let sum = own.affine(dim.min)
                        guard sum.terms.count == 1, sum.terms[0].coef == 1, let v = sum.terms[0].atom as? Var,
                            var need
                        else {
                            whole.formUnion(variables(dim.min))
                            continue
                        }
                        need.lo = arith.simplify(need.lo - const(sum.constant, v.dtype))
                        if let before = domains[v] {
                            if let both = union(before, need, arith) {
                                domains[v] = both
                            } else {
                                whole.insert(v)
                            }
                        } else {
                            domains[v] = need
                        }
                    }
                }
            }
            for v in r.block.iterVars where v.iterType != .dataParallel || whole.contains(v.variable) {
                domains[v.variable] = nil
            }
            let nest = loopNest(r.block, domains, arith)
            let (stmts, holds) = children(rest, place, consumerAt)
            var body = stmts
            body.insert(nest, at: holds.firstIndex(of: true) ?? 0)
            try finishMove(f, rest, place, body, r.block.name)
            record("computeAt", [.block(block.id), .loop(loop.id)])
        }
    }

    // MARK: reverseComputeAt

    /// Moves a consumer under a loop of its producers: each iteration of the loop consumes just what was
    /// produced in it, after it was produced. The block's own loops are made anew (serial), over that region. Of memory
    /// that threads share, each thread consumes what it produced itself; to share that work otherwise, place the block
    /// outside the loops over threads and bind its own.
    ///
    /// Errors: SCH070 to SCH073 as `computeAt`, SCH075 no producer below the loop, SCH020 to SCH022
    /// dependencies, such as a loop inside the producer's reduction.
    public func reverseComputeAt(_ block: BlockRV, _ loop: LoopRV) throws {
        try step("reverseComputeAt") {
            let (f, index, at, r) = try locate(block)
            let (g, _, target, l) = try locate(loop)
            guard f == g else {
                throw failure("SCH070", "reverseComputeAt: the loop is of another function", l)
            }
            try requireMovable(f, index, at, r, target, l, "reverseComputeAt")
            let made = producers(index, at).filter { $0 > target && $0 < index.entries[target].end }
            guard !made.isEmpty else {
                throw failure(
                    "SCH075",
                    "reverseComputeAt: nothing that `\(r.block.name)` reads is computed under loop "
                        + "\(l.loopVar.name)", l
                ).marking(r).expecting {
                    "one of the loops "
                        + listed(
                            self.acceptedLoops(self.loopVariables(f), f) {
                                try $0.reverseComputeAt(block, $1)
                            })
                }
            }
            let names = made.compactMap { index.realize($0)?.block.name }
            let rest = StmtIndex(index.replacing(at, with: nil))
            guard let place = rest.loopAt[l.loopVar] else { internalError("reverseComputeAt lost its loop") }
            let arith = rest.arith.copy()
            let own = ArithContext()
            var domains: [Var: Interval] = [:]
            let producerAt = names.compactMap { rest.blockAt[$0] }
            for p in producerAt {
                guard let producer = rest.realize(p) else { continue }
                let inside = rest.loopsAbove(p).filter { x in (rest.loopAt[x.loopVar] ?? 0) > place }
                let map = blockMap(producer)
                for w in producer.block.writes {
                    let relevant: [PrimExpr] = w.region.map { substitute($0.min, map) }
                    let box = Relaxation(inside, of: producer, relevant: relevant, arith).box(w, map)
                    guard let read = r.block.reads.first(where: { $0.buffer === w.buffer }) else { continue }
                    let total = wholeBox(producer.block, w, arith)
                    for (d, dim) in read.region.enumerated() {
                        guard var have = box[d], let all = total[d], dim.extent.asInt == 1 else { continue }
                        let sum = own.affine(dim.min)
                        guard sum.terms.count == 1, sum.terms[0].coef == 1, let v = sum.terms[0].atom as? Var,
                            domains[v] == nil,
                            let dom = r.block.iterVars.first(where: { $0.variable === v })?.dom
                        else { continue }
                        // All of the consumer must be reached: it may look beyond what is produced (padding).
                        let first = dom.min + const(sum.constant, v.dtype)
                        guard arith.canProve(all.lo .<= first),
                            arith.canProve((first + dom.extent - 1) .<= all.hi)
                        else { continue }
                        have.lo = arith.simplify(have.lo - const(sum.constant, v.dtype))
                        domains[v] = have
                    }
                }
            }
            for v in r.block.iterVars where v.iterType != .dataParallel { domains[v.variable] = nil }
            let nest = loopNest(r.block, domains, arith)
            let (stmts, holds) = children(rest, place, producerAt)
            var body = stmts
            body.insert(nest, at: (holds.lastIndex(of: true) ?? 0) + 1)
            try finishMove(f, rest, place, body, r.block.name)
            record("reverseComputeAt", [.block(block.id), .loop(loop.id)])
        }
    }

    /// What a block writes in all, by the domains of its variables.
    private func wholeBox(_ block: Block, _ region: BufferRegion, _ arith: ArithContext) -> [Interval?] {
        blockDomain(block, arith).box(region, [:])
    }

    private func finishMove(_ f: Int, _ rest: StmtIndex, _ place: Int, _ body: [Stmt], _ name: String) throws
    {
        guard let l = rest.loop(place) else { return }
        let function = rest.replacing(place, with: l.with(body: SeqStmt.flat(body)))
        let index = StmtIndex(function)
        if let i = index.blockAt[name] { try checkDependencies(index, i) }
        try checkLoopKinds(index, name)
        commit(f, function)
    }

    /// A block that moved under a parallel or vectorized loop must not combine its iterations.
    private func checkLoopKinds(_ index: StmtIndex, _ name: String) throws {
        guard let at = index.blockAt[name], let r = index.realize(at) else { return }
        let reduction = bindingVariables(r, { $0 != .dataParallel })
        let spatial = bindingVariables(r, { $0 == .dataParallel })
        for l in index.loopsAbove(at) where l.forKind == .parallel || l.forKind == .vectorized {
            let shared = r.block.writes.contains { w in
                index.function.bufferMap.contains { $0.buffer === w.buffer }
            }
            if reduction.contains(l.loopVar)
                || (shared && !spatial.contains(l.loopVar) && l.extent.asInt != 1)
            {
                throw failure(
                    "SCH040",
                    "the iterations of the \(l.forKind.rawValue) loop \(l.loopVar.name) would not be "
                        + "independent in `\(name)`", l,
                    expected: "a loop that is serial, or that the block runs over",
                    hint: "move blocks first, then set the kinds of loops", in: index.function
                ).marking(r)
            }
        }
    }
}
