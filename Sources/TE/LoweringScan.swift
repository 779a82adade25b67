import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// A scan becomes a serial loop over its steps around one block, which holds the blocks of what a step computes:
//
//     for t in range(steps - given):
//         with block("scan"):
//             v_t = axis.ordered(given..steps, t + given)
//             S_state = match_buffer(S[…])          # earlier steps, as the update sees them
//             … blocks of the step, for v_t alone …
//
// States, initial values and updates share the memory of the result. Whatever the update reads at one step of its
// own first axis is computed for that step only.

extension TELowering {
    /// Initial values that only this lowering makes are written straight into the result.
    func aliasInitial(_ scan: ScanOp) {
        for (i, given) in scan.initial.enumerated() {
            let t = source(given)
            guard t.op is ComputeOp, !isParameter(t), buffers[TensorKey(t)] == nil else { continue }
            buffers[TensorKey(t)] = buffer(scan.output(i))
        }
    }

    func emit(scan: ScanOp) throws {
        let results = scan.state.indices.map { buffer(scan.output($0)) }
        for (i, given) in scan.initial.enumerated() {
            let t = source(given)
            let from = buffer(t)
            if from !== results[i] { copyInitial(scan, from, results[i], t.shape) }
        }
        let body = body(of: scan)
        for op in body { if let e = op.error { throw e } }
        var nest = Nest()
        nest.add(scan.scanAxis, nil, [])
        let step = nest.iterVars[0].variable
        let parts = try domains(scan, body, step)

        let outer = (stmts: stmts, allocated: allocated)
        stmts = []
        allocated = []
        var views: [MatchBufferRegion] = []
        for (i, given) in scan.state.enumerated() {
            let t = source(given)
            let view = Buffer(
                data: Var(t.op.name, type: results[i].data.type), dtype: t.dtype, shape: t.shape,
                name: unique(t.op.name), alignment: results[i].alignment)
            views.append(MatchBufferRegion(view, BufferRegion(all: results[i])))
            buffers[TensorKey(t)] = view
            let updated = source(scan.update[i])
            if buffers[TensorKey(updated)] == nil { buffers[TensorKey(updated)] = results[i] }
        }
        for op in body {
            if let op = op as? ComputeOp {
                try emit(compute: op, domains: parts[op] ?? [])
            } else {
                try emit(op)
            }
        }
        // Two states of one update, or an update that is a result of its own, are copied.
        for (i, given) in scan.update.enumerated() where buffer(given) !== results[i] {
            copyStep(scan, buffer(given), results[i], step)
        }
        let inner = SeqStmt.flat(stmts)
        let own = allocated
        (stmts, allocated) = outer
        var reads: [BufferRegion] = []
        let (loaded, _) = buffersAccessed(inner)
        for b in loaded
        where !own.contains(where: { $0 === b }) && !results.contains(where: { $0 === b })
            && !views.contains(where: { $0.buffer === b })
        {
            reads.append(BufferRegion(all: b))
        }
        var writes: [BufferRegion] = []
        for r in results {
            func rest(_ first: IRRange) -> BufferRegion {
                BufferRegion(r, [first] + r.shape.dropFirst().map { IRRange(extent: $0) })
            }
            reads.append(rest(IRRange(min: IntImm(0, dtype: step.dtype), extent: step)))
            writes.append(rest(IRRange(min: step, extent: IntImm(1, dtype: step.dtype))))
        }
        var attrs = scan.attrs
        if !scan.tag.isEmpty { attrs = attrs.setting("tag", .string(scan.tag)) }
        let block = Block(
            uniqueBlock("\(results[0].name)_step"), iterVars: nest.iterVars, reads: reads, writes: writes,
            body: inner, allocBuffers: own, matchBuffers: views, annotations: attrs)
        note(scan, block, [scan.scanAxis])
        stmts.append(nest.stmt(block))
    }

    /// `to[…] = from[…]` for the steps given.
    private func copyInitial(_ scan: ScanOp, _ from: Buffer, _ to: Buffer, _ shape: [PrimExpr]) {
        var nest = Nest()
        for a in spatialAxes(shape) { nest.add(a, nil, []) }
        let point: [PrimExpr] = nest.iterVars.map { $0.variable }
        let block = Block(
            uniqueBlock("\(to.name)_init"), iterVars: nest.iterVars,
            reads: [BufferRegion(from, point: point)],
            writes: [BufferRegion(to, point: point)], body: BufferStore(to, BufferLoad(from, point), point))
        stmts.append(nest.stmt(block))
    }

    private func copyStep(_ scan: ScanOp, _ from: Buffer, _ to: Buffer, _ step: Var) {
        var nest = Nest()
        for a in spatialAxes(Array(to.shape.dropFirst())) { nest.add(a, nil, []) }
        let point: [PrimExpr] = [step] + nest.iterVars.map { $0.variable }
        let block = Block(
            uniqueBlock("\(to.name)_update"), iterVars: nest.iterVars,
            reads: [BufferRegion(from, point: point)], writes: [BufferRegion(to, point: point)],
            body: BufferStore(to, BufferLoad(from, point), point))
        stmts.append(nest.stmt(block))
    }

    /// TE021: a state read at a step that may not be computed yet.
    private func tooLate(_ scan: ScanOp, _ op: Operation, _ what: String) -> ApusError {
        ApusError(
            "TE021", "the state is read at a step that may not be computed yet",
            at: ["scan: \(scan.name)", "compute: \(op.name)"],
            expected: "a first index less than the step", actual: what)
    }

    /// The part of each axis that step `step` needs, of each operation of the step: of an update, the step and all of
    /// the other axes; of others, what their readers read.
    private func domains(_ scan: ScanOp, _ body: [Operation], _ step: Var) throws -> [Operation:
        [(part: IRRange?, conditions: [PrimExpr])]]
    {
        let states = Set(scan.state.map { ObjectIdentifier($0.op) })
        let analyzer = Analyzer()
        analyzer.bind(step, scan.scanAxis.dom)
        var needed: [Operation: [IntervalSet]] = [:]
        func need(_ op: Operation, _ sets: [IntervalSet]) {
            guard let before = needed[op] else {
                needed[op] = sets
                return
            }
            needed[op] = zip(before, sets).map { a, b in
                if let x = a.min, a.isPoint, let y = b.min, b.isPoint,
                    sameExpr(analyzer.simplify(x), analyzer.simplify(y))
                {
                    return a
                }
                return analyzer.union(a, b)
            }
        }
        for given in scan.update {
            let op = source(given).op
            let rest = op.axis.dropFirst().map { IntervalSet($0.dom) }
            need(op, [IntervalSet(point: step)] + rest)
        }
        var result: [Operation: [(part: IRRange?, conditions: [PrimExpr])]] = [:]
        for op in body.reversed() {
            guard let compute = op as? ComputeOp else {
                // A statement or a scan in a step is run as a whole, on all of its inputs.
                for t in op.inputTensors.map(source) {
                    if states.contains(ObjectIdentifier(t.op)) { throw tooLate(scan, op, "all of it") }
                    need(t.op, t.shape.map { IntervalSet(IRRange(extent: $0)) })
                }
                continue
            }
            let sets = needed[op] ?? compute.axis.map { IntervalSet($0.dom) }
            var domains: [Var: IntervalSet] = [:]
            var parts: [(part: IRRange?, conditions: [PrimExpr])] = []
            for (a, s) in zip(compute.axis, sets) {
                let extent = a.dom.extent
                guard s.isPoint, let p = s.min else {
                    let range = analyzer.clip(s, extent: extent)
                    let whole = analyzer.canProve(range.extent .>= extent)
                    parts.append((part: whole ? nil : range, conditions: []))
                    domains[a.variable] = whole ? IntervalSet(a.dom) : IntervalSet(range)
                    continue
                }
                var conditions: [PrimExpr] = []
                if !analyzer.canProve(p .>= const(0, p.dtype)) { conditions.append(p .>= const(0, p.dtype)) }
                if !analyzer.canProve(p .< extent) { conditions.append(p .< extent) }
                parts.append(
                    (part: IRRange(min: p, extent: IntImm(1, dtype: p.dtype)), conditions: conditions))
                domains[a.variable] = s
            }
            for a in compute.reduceAxis { domains[a.variable] = IntervalSet(a.dom) }
            result[op] = parts
            var wrong: PrimExpr?
            for e in compute.body {
                postOrderVisit(e) { x in
                    guard let load = x as? ProducerLoad, let t = load.producer as? Tensor else { return }
                    let sets = load.indices.map { analyzer.evalSet($0, domains) }
                    if states.contains(ObjectIdentifier(t.op)) {
                        let known = sets.first?.max.map { analyzer.canProve($0 .< step) } ?? false
                        if !known && wrong == nil { wrong = load }
                    } else {
                        need(source(t).op, sets)
                    }
                }
            }
            if let wrong { throw tooLate(scan, op, "\(wrong)") }
        }
        return result
    }
}
