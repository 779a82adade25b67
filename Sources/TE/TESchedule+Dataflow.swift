import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Primitives that add a stage: they rewrite what the stages compute. (After TVM's schedule_dataflow_rewrite.)

extension TESchedule {
    private func fail(
        _ code: String, _ message: String, _ t: Tensor, expected: String? = nil, actual: String? = nil
    ) {
        log.fail(
            ApusError(code, message, at: ["stage: \(t.op.name)"], expected: expected, actual: actual))
    }

    private func suffix(_ scope: String) -> String { String(scope.map { $0 == "." ? "_" : $0 }) }

    // MARK: cacheRead

    /// Makes `readers` read `tensor` from a copy in `scope`; returns the copy. All readers if none are named.
    @discardableResult
    public func cacheRead(_ tensor: Tensor, _ scope: String, _ readers: [Tensor] = []) -> Tensor {
        guard let stage = stageMap[tensor.op], !scope.isEmpty else {
            fail(
                "TE029", "cacheRead: `\(tensor.op.name)` is not of this schedule, or the scope has no name",
                tensor)
            return tensor
        }
        let original = source(tensor)
        if original.op.error != nil { return tensor }
        let axis = spatialAxes(tensor.shape, prefix: "ax")
        let copy = ComputeOp.deferred(
            name: "\(tensor.op.name)_\(suffix(scope))", axis: axis, body: [tensor[axis.map { $0.variable }]])
        let cache = copy.output()
        var wanted = readers.isEmpty ? self.readers(stage) : []
        for r in readers {
            guard let s = stageMap[r.op] else {
                fail("TE029", "cacheRead: the reader `\(r.op.name)` is not of this schedule", tensor)
                return tensor
            }
            if !wanted.contains(where: { $0 === s }) { wanted.append(s) }
        }
        var changed: [(stage: Stage, op: Operation)] = []
        for s in wanted {
            let new = s.op.replacingInputs { t in
                self.source(t).isSame(as: original) ? cache : nil
            }
            if new === s.op {
                fail("TE044", "cacheRead: `\(s.op.name)` does not read `\(tensor.op.name)`", tensor)
                return tensor
            }
            changed.append((stage: s, op: new))
        }
        guard !changed.isEmpty else {
            fail("TE044", "cacheRead: nothing reads `\(tensor.op.name)`", tensor)
            return tensor
        }
        for (s, op) in changed {
            s.op = op
            stageMap[op] = s
        }
        let made = Stage(copy, log)
        made.scope = scope
        let first = stages.first { s in changed.contains { $0.stage === s } } ?? stage
        insert(made, before: first)
        made.group = stage.group === first.group ? first.group : nil
        if first.attachType == .scanUpdate, !dependsOnState(copy) { made.attachType = .groupRoot }
        return cache
    }

    private func dependsOnState(_ op: Operation) -> Bool {
        for case let scan as ScanOp in stages.map(\.op) {
            if scan.body(source).contains(where: { $0 === op }) { return true }
        }
        return false
    }

    // MARK: cacheWrite

    /// Computes `tensor` into memory of `scope` first, which then is copied; returns what is computed there. The stage of
    /// `tensor` becomes the copy, with loops over all of its axes.
    ///
    /// If the spatial axes of the stage were split, fused or reordered before, the cache has a dimension for each leaf in
    /// their order: another layout.
    @discardableResult
    public func cacheWrite(_ tensor: Tensor, _ scope: String) -> Tensor {
        cacheWrite([tensor], scope).first ?? tensor
    }

    /// As above, for all outputs of one operation.
    @discardableResult
    public func cacheWrite(_ tensors: [Tensor], _ scope: String) -> [Tensor] {
        guard let first = tensors.first, let stage = stageMap[first.op], !scope.isEmpty else {
            let name = tensors.first.map { "stage: \($0.op.name)" } ?? "call: cacheWrite"
            log.fail(ApusError("TE029", "cacheWrite needs tensors of this schedule and a scope", at: [name]))
            return tensors
        }
        guard tensors.count == stage.op.outputCount,
            tensors.enumerated().allSatisfy({
                $0.element.op === first.op && $0.element.valueIndex == $0.offset
            })
        else {
            fail(
                "TE044", "cacheWrite needs all outputs of one operation, in order", first,
                expected: "\(stage.op.outputCount)", actual: "\(tensors.count)")
            return tensors
        }
        if stage.op.error != nil { return tensors }
        if let op = stage.op as? TensorComputeOp, stage.relations.isEmpty {
            return cacheWrite(tensor: op, stage, scope)
        }
        guard let op = stage.op as? ComputeOp else {
            fail("TE044", "cacheWrite: only a compute can be cached", first, actual: stage.op.schema.key)
            return tensors
        }
        let layout = Layout(stage, op)
        var axes: [IterVar] = []
        for leaf in layout.leaves {
            let dom = layout.domains[leaf] ?? leaf.dom
            axes.append(
                IterVar(dom, Var("\(leaf.variable.name)_c", dtype: leaf.variable.dtype), .dataParallel))
        }
        var up: AxisMap<PrimExpr> = [:]
        for (leaf, a) in zip(layout.leaves, axes) { up[leaf] = a.variable }
        passUpIndex(layout.relations, domains: layout.domains, &up)
        var map: [Var: PrimExpr] = [:]
        for a in op.axis { map[a.variable] = up[a] ?? a.variable }
        let conditions = boundConditions(layout.relations, layout.domains, up, axes)
        var body = mapBodies(op.body) { e in
            e.kind == .variable ? map[unsafeDowncast(e, to: Var.self)] : nil
        }
        if !conditions.isEmpty {
            let condition = ApusTIR.all(conditions)
            body = body.map { e in
                guard let r = e as? Reduce else {
                    return ifThenElse(condition, e, const(0, e.dtype))
                }
                return Reduce(
                    r.combiner, r.source, r.axis, condition: and(condition, r.condition),
                    valueIndex: r.valueIndex, initial: r.initial)
            }
        }
        let cached = ComputeOp.deferred(
            name: "\(op.name)_\(suffix(scope))", tag: op.tag, attrs: op.attrs, axis: axes, body: body)
        var down: AxisMap<PrimExpr> = [:]
        for a in op.axis { down[a] = a.variable }
        passDownIndex(layout.relations, domains: layout.domains, &down)
        let indices: [PrimExpr] = layout.leaves.map { down[$0] ?? $0.variable }
        let copy = ComputeOp.deferred(
            name: op.name, tag: op.tag, attrs: op.attrs, axis: op.axis,
            body: body.indices.map { ProducerLoad(cached.output($0), indices) })
        return install(cached, copy, stage, scope)
    }

    private func cacheWrite(tensor op: TensorComputeOp, _ stage: Stage, _ scope: String) -> [Tensor] {
        let cached = TensorComputeOp(
            name: "\(op.name)_\(suffix(scope))", tag: op.tag, attrs: op.attrs, axis: op.axis,
            reduceAxis: op.reduceAxis, schedulableNdim: op.schedulableNdim, intrin: op.intrin,
            inputs: op.inputs, inputRegions: op.inputRegions, scalarInputs: op.scalarInputs)
        let axes = spatialAxes(op.outputShape(0))
        let copy = ComputeOp.deferred(
            name: op.name, axis: axes,
            body: (0..<op.outputCount).map { cached.output($0)[axes.map { $0.variable }] })
        return install(cached, copy, stage, scope)
    }

    private func install(_ cached: Operation, _ copy: ComputeOp, _ stage: Stage, _ scope: String) -> [Tensor]
    {
        let made = Stage(cached, log)
        made.scope = scope
        replace(stage, with: copy)
        insert(made, before: stage)
        return (0..<cached.outputCount).map { cached.output($0) }
    }

    /// The spatial axes of a stage as they stand, and how they came to be.
    private struct Layout {
        var relations: [IterVarRelation] = []
        var leaves: [IterVar] = []
        var domains: AxisMap<IRRange> = [:]

        init(_ stage: Stage, _ op: ComputeOp) {
            for a in op.axis + op.reduceAxis { domains[a] = a.dom }
            passDownDomain(stage.relations, &domains)
            // What comes from spatial axes alone.
            var mark: AxisMap<Int> = [:]
            for a in op.axis { mark[a] = 1 }
            for a in op.reduceAxis { mark[a] = 2 }
            passDownBitMaskOr(stage.relations, &mark)
            relations = stage.relations.filter { r in r.results.allSatisfy { mark[$0] == 1 } }
            leaves = stage.leafIterVars.filter { mark[$0] == 1 }
        }
    }

    /// What must hold of the leaves so that no axis above runs past its end.
    private func boundConditions(
        _ relations: [IterVarRelation], _ domains: AxisMap<IRRange>, _ values: AxisMap<PrimExpr>,
        _ axes: [IterVar]
    ) -> [PrimExpr] {
        let analyzer = Analyzer()
        for a in axes { analyzer.bind(a.variable, a.dom) }
        var conditions: [PrimExpr] = []
        for r in relations {
            guard case .split(let parent, _, _, _, _) = r, let value = values[parent],
                let dom = domains[parent]
            else { continue }
            let c: PrimExpr = value .< (dom.min + dom.extent)
            if !analyzer.canProve(c) { conditions.append(analyzer.simplify(c)) }
        }
        return conditions
    }

    // MARK: rfactor

    /// Factors a reduction at one of its axes: partial results for each iteration of `axis` are computed by the returned tensor,
    /// which has `axis` as dimension `factorAxis` (negative: from the end) and keeps the other reduction axes; the stage
    /// itself then combines the partial results.
    @discardableResult
    public func rfactor(_ tensor: Tensor, _ axis: IterVar, factorAxis: Int = 0) -> Tensor {
        rfactorTuple(tensor, axis, factorAxis: factorAxis).first ?? tensor
    }

    /// As `rfactor`, with all values of a reduction of tuples.
    @discardableResult
    public func rfactorTuple(_ tensor: Tensor, _ axis: IterVar, factorAxis: Int = 0) -> [Tensor] {
        guard let stage = stageMap[tensor.op] else {
            fail("TE029", "rfactor: `\(tensor.op.name)` is not of this schedule", tensor)
            return [tensor]
        }
        guard let op = stage.op as? ComputeOp, let reduce = op.reduction, op.error == nil else {
            fail("TE044", "rfactor needs a reduction", tensor, actual: stage.op.schema.key)
            return [tensor]
        }
        guard stage.leaf(axis, "rfactor") != nil else { return [tensor] }
        guard axis.iterType == .commReduce else {
            stage.fail("TE033", "rfactor: not a reduction axis", axis, actual: axis.iterType.rawValue)
            return [tensor]
        }
        let at = factorAxis < 0 ? factorAxis + op.axis.count + 1 : factorAxis
        guard at >= 0, at <= op.axis.count else {
            stage.fail(
                "TE044", "rfactor: no such dimension", axis, expected: "0...\(op.axis.count)",
                actual: "\(factorAxis)")
            return [tensor]
        }
        var domains: AxisMap<IRRange> = [:]
        for a in op.axis + op.reduceAxis { domains[a] = a.dom }
        passDownDomain(stage.relations, &domains)

        // The leaves that share a root with the axis are factored together.
        var touched: Set<IterVar> = [axis]
        while true {
            var mark: AxisMap<Int> = [:]
            for v in touched { mark[v] = 1 }
            passUpBitMaskOr(stage.relations, &mark)
            passDownBitMaskOr(stage.relations, &mark)
            let more = Set(stage.allIterVars.filter { mark[$0] == 1 })
            if more == touched { break }
            touched = more
        }
        if op.axis.contains(where: { touched.contains($0) }) {
            stage.fail("TE033", "rfactor: the axis is fused with a spatial one", axis)
            return [tensor]
        }

        // Partial results.
        var axes: [IterVar] = []
        var map: [Var: PrimExpr] = [:]
        for a in op.axis {
            let fresh = Var(a.variable.name, dtype: a.variable.dtype)
            map[a.variable] = fresh
            axes.append(IterVar(a.dom, fresh, .dataParallel))
        }
        // A dimension starts at 0, whatever the axis does.
        let dom = domains[axis] ?? axis.dom
        let factorDom = IRRange(extent: dom.extent)
        let factor = Var("\(axis.variable.name)_v", dtype: axis.variable.dtype)
        axes.insert(IterVar(factorDom, factor, .dataParallel), at: at)
        var up: AxisMap<PrimExpr> = [axis: dom.min.isZero ? factor : factor + dom.min]
        var inner: [IterVar] = []
        for leaf in stage.leafIterVars where leaf.iterType == .commReduce && leaf !== axis {
            if !touched.contains(leaf) { continue }
            let fresh = IterVar(
                domains[leaf] ?? leaf.dom, Var(leaf.variable.name, dtype: leaf.variable.dtype), .commReduce)
            inner.append(fresh)
            up[leaf] = fresh.variable
        }
        passUpIndex(stage.relations, domains: domains, &up)
        for a in op.reduceAxis {
            if touched.contains(a) { map[a.variable] = up[a] } else { inner.append(a) }
        }
        let conditions = boundConditions(stage.relations, domains, up, axes + inner)
        func mapped(_ e: PrimExpr) -> PrimExpr { substitute(e, map) }
        let condition = ApusTIR.all(conditions + [mapped(reduce.condition)])
        let values: [PrimExpr] = reduce.source.map(mapped)
        let body: [PrimExpr] =
            inner.isEmpty
            ? values.indices.map { i in
                condition.isTrue ? values[i] : ifThenElse(condition, values[i], reduce.combiner.identity[i])
            }
            : values.indices.map {
                Reduce(reduce.combiner, values, inner, condition: condition, valueIndex: $0)
            }
        let partial = ComputeOp.deferred(
            name: "\(op.name)_rf", tag: op.tag, attrs: op.attrs, axis: axes, body: body)

        // Their combination.
        let again = IterVar(
            factorDom, Var("\(axis.variable.name)_v", dtype: axis.variable.dtype), .commReduce)
        var indices: [PrimExpr] = op.axis.map { $0.variable }
        indices.insert(again.variable, at: at)
        let loads: [PrimExpr] = body.indices.map { ProducerLoad(partial.output($0), indices) }
        let combined = ComputeOp.deferred(
            name: op.name, tag: op.tag, attrs: op.attrs, axis: op.axis,
            body: body.indices.map {
                Reduce(reduce.combiner, loads, [again], valueIndex: $0, initial: reduce.initial)
            })
        let made = Stage(partial, log)
        replace(stage, with: combined)
        insert(made, before: stage)
        return body.indices.map { partial.output($0) }
    }
}
