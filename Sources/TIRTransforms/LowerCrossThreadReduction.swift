import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private final class CrossThreadLowerer: StmtExprMutator {
    var failure: ApusError?

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        guard failure == nil, let loop = s as? For else { return mutateChildren(of: s) }
        guard let (loops, realize) = nest(loop) else { return inside(loop) }
        let reduced = reductionLoops(loops, realize)
        // Only where this loop is the outermost of the reduction, and a thread axis is part of it.
        guard reduced.contains(where: { $0 === loop }), reduced.contains(where: { hardwareTag($0) != nil })
        else { return inside(loop) }
        do { return try lower(loops, reduced, realize) } catch {
            failure = error as? ApusError ?? ApusError("TTR054", "\(error)")
            return s
        }
    }

    /// Loops around the present statement.
    private var around: [For] = []

    private func inside(_ loop: For) -> Stmt {
        around.append(loop)
        defer { around.removeLast() }
        return mutateChildren(of: loop)
    }

    /// The loops directly inside each other from `root` on, down to a block with an initialisation.
    private func nest(_ root: For) -> (loops: [For], realize: BlockRealize)? {
        var loops = [root]
        var s = root.body
        while let inner = s as? For {
            loops.append(inner)
            s = inner.body
        }
        guard let r = s as? BlockRealize, r.block.initial != nil else { return nil }
        return (loops, r)
    }

    private func variables(_ l: For) -> Set<Var> {
        var set: Set<Var> = [l.loopVar]
        if let t = l.threadBinding?.variable { set.insert(t) }
        return set
    }

    private func reductionLoops(_ loops: [For], _ r: BlockRealize) -> [For] {
        loops.filter { l in
            zip(r.block.iterVars, r.iterValues).contains { v, e in
                v.iterType == .commReduce && uses(e, variables(l))
            }
        }
    }

    private func lower(_ loops: [For], _ reduced: [For], _ r: BlockRealize) throws -> Stmt {
        let block = r.block
        func refuse(_ code: String, _ message: String, hint: String? = nil) -> ApusError {
            ApusError(code, message, at: ["block: \(block.name)"], hint: hint).located(r.span)
        }
        let isReduced = { (l: For) in reduced.contains { $0 === l } }
        if let b = reduced.first(where: { hardwareTag($0).map(isBlockAxis) ?? false }) {
            throw refuse(
                "TTR055",
                "a reduction is bound to \(b.threadBinding?.threadTag ?? ""), whose blocks cannot wait for each other",
                hint: "rfactor the loop first, or bind it to threadIdx")
        }
        for (v, e) in zip(block.iterVars, r.iterValues) where v.iterType != .commReduce {
            if let l = reduced.first(where: { uses(e, variables($0)) }) {
                throw refuse("TTR054", "the loop \(l.loopVar.name) is part of the reduction and of an index")
            }
        }
        for (v, e) in zip(block.iterVars, r.iterValues) where v.iterType == .commReduce {
            if let l = around.first(where: { $0.extent.asInt != 1 && uses(e, variables($0)) }) {
                throw refuse(
                    "TTR054",
                    "between the reduction loop \(l.loopVar.name) and the block stands something else: each of its "
                        + "iterations would begin anew",
                    hint: "rfactor the loop over threads, or fetch outside of the reduction")
            }
        }
        for l in loops {
            for other in reduced
            where !isReduced(l) && (uses(l.min, variables(other)) || uses(l.extent, variables(other))) {
                throw refuse(
                    "TTR054", "the loop \(l.loopVar.name) depends on the reduction loop \(other.loopVar.name)"
                )
            }
        }
        guard let initial = block.initial, let match = MatchedReduction(initial: initial, update: block.body)
        else {
            throw refuse(
                "TTR054", "threads can combine their parts only for a known reducer",
                hint:
                    "one store a value: op(old, new) or select(condition, old, new), op of + * min max and or"
            )
        }
        var values: [Var: PrimExpr] = [:]
        for (v, e) in zip(block.iterVars, r.iterValues) { values[v.variable] = e }

        // Each thread's own part, and what all of them make of it.
        var parts: [Buffer] = []
        var totals: [Buffer] = []
        for b in match.buffers {
            parts.append(Buffer("\(b.name)_thread", [1], b.dtype, scope: "local"))
            totals.append(Buffer("\(b.name)_all", [1], b.dtype, scope: "local"))
        }
        let zero: [PrimExpr] = [IntImm(0)]
        var body: [Stmt] = []
        for (p, e) in zip(parts, match.reducer.identity) { body.append(BufferStore(p, e, zero)) }
        var update = accumulate(match, parts, zero)
        update = substitute(update, values)
        if !r.predicate.isTrue { update = IfThenElse(intrinsic("likely", .bool, [r.predicate]), update) }
        for l in loops.reversed() where isReduced(l) && hardwareTag(l) == nil {
            update = l.with(body: update)
        }
        body.append(update)

        let threads = reduced.filter { hardwareTag($0) != nil }
        var args: [PrimExpr] = [IntImm(parts.count, dtype: .int32)]
        for p in parts { args.append(BufferLoad(p, zero)) }
        args.append(trueExpr)
        for t in totals { args.append(intrinsic("address_of", .handle, [BufferLoad(t, zero)])) }
        for t in threads { args.append(t.loopVar) }
        let call = Evaluate(intrinsic("thread_allreduce", .void, args))
        body.append(AttrStmt(match.reducer, "reduce_scope", IntImm(0), call))

        var back: [Stmt] = []
        for i in match.buffers.indices {
            back.append(
                BufferStore(
                    match.buffers[i], BufferLoad(totals[i], zero),
                    match.indices[i].map { substitute($0, values) }))
        }
        var conditions: [PrimExpr] = []
        for t in threads { conditions.append(t.loopVar .== t.min) }
        let own = Set(reduced.flatMap { variables($0) })
        conditions += conjuncts(r.predicate).filter { !uses($0, own) }
        body.append(IfThenElse(all(conditions), SeqStmt.flat(back)))

        let whole = Block("\(block.name)_threads", body: SeqStmt.flat(body), allocBuffers: parts + totals)
        var result: Stmt = BlockRealize([], whole)
        for l in threads.reversed() { result = l.with(body: result) }
        for l in loops.reversed() where !isReduced(l) { result = l.with(body: result) }
        return result
    }

    /// The update with the accumulators in `parts`; several values are all computed before any is stored.
    private func accumulate(_ m: MatchedReduction, _ parts: [Buffer], _ zero: [PrimExpr]) -> Stmt {
        let results = m.reducer.combine(parts.map { BufferLoad($0, zero) }, m.values)
        if results.count == 1 { return BufferStore(parts[0], results[0], zero) }
        let variables = results.enumerated().map { i, e in Var("new\(i)", dtype: e.dtype) }
        var s: Stmt = SeqStmt(zip(parts, variables).map { BufferStore($0, $1, zero) })
        for i in results.indices.reversed() { s = LetStmt(variables[i], results[i], s) }
        return s
    }

    private func conjuncts(_ e: PrimExpr) -> [PrimExpr] {
        if let a = e as? And { return conjuncts(a.a) + conjuncts(a.b) }
        return e.isTrue ? [] : [e]
    }
}

/// Throws TTR054 where a block still reduces over threads: each would update the result without the others.
private func requireNone(_ s: Stmt) throws {
    var threads: [Var: String] = [:]
    var failure: ApusError?
    func visit(_ s: Stmt) {
        if let l = s as? For, let tag = hardwareTag(l) {
            threads[l.loopVar] = tag
            if let t = l.threadBinding?.variable { threads[t] = tag }
        }
        if let r = s as? BlockRealize {
            for (v, e) in zip(r.block.iterVars, r.iterValues)
            where v.iterType == .commReduce && failure == nil {
                guard uses(e, Set(threads.keys)) else { continue }
                failure = ApusError(
                    "TTR054", "a reduction across threads whose loops are not directly inside each other",
                    at: ["block: \(r.block.name)"],
                    expected: "one nest from the reduction's outermost loop to the block, which has its init",
                    actual: "\(v.variable.name) = \(e)",
                    hint: "rfactor the loop over threads, or fetch outside of it")
            }
        }
        forEachChild(of: s, expr: { _ in }, stmt: { visit($0) })
    }
    withLargeStack { visit(s) }
    if let failure { throw failure }
}

/// Turns a reduction block with a reduction axis bound to `threadIdx` into what threads can do: each accumulates its
/// part in memory of its own, `thread_allreduce` combines the parts, and the first thread of the reduction writes the
/// result. Serial reduction loops stay within the threads; other loops of the nest move outside of them.
///
/// Needs blocks with their initialisation, and a perfect nest from the reduction's outermost loop to the block. Throws
/// TTR054 for a reducer or nest of another form, TTR055 for a reduction bound to `blockIdx`.
/// Source of the idea: TVM's LowerCrossThreadReduction.
public func lowerCrossThreadReduction(_ f: PrimFunc) throws -> PrimFunc {
    let m = CrossThreadLowerer()
    return try f.rewritingBody { body throws(ApusError) -> Stmt in
        let new = m.mutate(body)
        if let failure = m.failure { throw failure }
        do { try requireNone(new) } catch {
            throw error as? ApusError ?? ApusError("TTR054", "\(error)")
        }
        return new
    }
}
