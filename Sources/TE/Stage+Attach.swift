import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

extension Stage {
    /// Computes the stage (or all stages of a group) within a loop of `parent`: each iteration just what is read in it.
    @discardableResult
    public func computeAt(_ parent: Stage, _ axis: IterVar) -> Stage {
        if op is PlaceholderOp && !isGroup {
            fail("TE031", "computeAt: an input is not computed")
            return self
        }
        if parent === self || parent.isGroup || parent.log !== log {
            fail("TE036", "computeAt: not another stage of the same schedule", axis, actual: parent.place)
            return self
        }
        guard parent.allIterVars.contains(where: { $0 === axis }) else {
            fail(
                "TE030", "computeAt: the axis is not one of stage `\(parent.op.name)`", axis,
                expected: "one of " + parent.leafIterVars.map { $0.variable.name }.joined(separator: ", "))
            return self
        }
        attachType = .scope
        attachStage = parent
        attachIterVar = axis
        log.changed()
        return self
    }

    /// Computes the stage in the formulas that read it.
    @discardableResult
    public func computeInline() -> Stage {
        guard let compute = op as? ComputeOp, !isGroup else {
            fail(
                "TE037", "computeInline: only a compute can be put into other formulas", actual: op.schema.key
            )
            return self
        }
        guard compute.reduction == nil, compute.outputCount == 1 else {
            fail(
                "TE037", "computeInline: a reduction or several outputs cannot be put into other formulas",
                hint: "computeAt places it within a loop of its reader")
            return self
        }
        guard !isOutput else {
            fail("TE037", "computeInline: the stage is an output")
            return self
        }
        attachType = .inline
        attachStage = nil
        attachIterVar = nil
        log.changed()
        return self
    }

    /// Computes the stage by itself, before what reads it (the default).
    @discardableResult
    public func computeRoot() -> Stage {
        attachType = .groupRoot
        attachStage = nil
        attachIterVar = nil
        log.changed()
        return self
    }

    /// The loop that stands for the axis the stage is attached to: what it became by later splits (the inner one) and fusions.
    public var attachLeaf: IterVar? {
        guard let parent = attachStage, var axis = attachIterVar else { return nil }
        while !parent.leafIterVars.contains(where: { $0 === axis }) {
            guard let r = parent.relations.first(where: { r in r.parents.contains { $0 === axis } }),
                let next = r.results.last
            else { return nil }
            axis = next
        }
        return axis
    }

    // MARK: Kinds of loops

    private func set(_ axis: IterVar, _ primitive: String, _ change: (inout IterVarAttr) -> Void) {
        guard leaf(axis, primitive) != nil else { return }
        var a = attr(axis)
        change(&a)
        attrs[axis] = a
        log.changed()
    }

    private func setKind(_ axis: IterVar, _ kind: IterVarAttr.Kind, _ primitive: String) {
        let now = attr(axis)
        if let thread = now.bindThread {
            fail("TE038", "\(primitive): the axis is bound to \(thread.threadTag)", axis)
            return
        }
        if now.kind != .serial, now.kind != kind {
            fail("TE038", "\(primitive): the axis is already \(now.kind.rawValue)", axis)
            return
        }
        if axis.iterType == .commReduce, kind == .vectorized || kind == .parallelized {
            fail(
                "TE033", "\(primitive): the iterations of a reduction axis are not independent", axis,
                hint: "rfactor makes it spatial")
            return
        }
        set(axis, primitive) { $0.kind = kind }
    }

    /// Runs the iterations as the lanes of vectors.
    @discardableResult
    public func vectorize(_ axis: IterVar) -> Stage {
        setKind(axis, .vectorized, "vectorize")
        return self
    }

    /// Writes the iterations out one after another.
    @discardableResult
    public func unroll(_ axis: IterVar) -> Stage {
        setKind(axis, .unrolled, "unroll")
        return self
    }

    /// Runs the iterations on the threads of the pool.
    @discardableResult
    public func parallel(_ axis: IterVar) -> Stage {
        setKind(axis, .parallelized, "parallel")
        return self
    }

    /// Runs the iterations on a hardware thread axis, `te.threadAxis("threadIdx.x")`.
    @discardableResult
    public func bind(_ axis: IterVar, _ thread: IterVar) -> Stage {
        guard thread.iterType == .threadIndex, !thread.threadTag.isEmpty else {
            fail(
                "TE039", "bind: not a thread axis", axis, actual: thread.variable.name,
                hint: "te.threadAxis makes one")
            return self
        }
        let now = attr(axis)
        guard now.kind == .serial, now.bindThread == nil else {
            fail("TE038", "bind: the axis is already \(now.bindThread?.threadTag ?? now.kind.rawValue)", axis)
            return self
        }
        if let i = leafIterVars.first(where: { attr($0).bindThread?.threadTag == thread.threadTag }),
            !thread.threadTag.hasPrefix("vthread")
        {
            fail("TE038", "bind: \(thread.threadTag) is already the axis `\(i.variable.name)`", axis)
            return self
        }
        set(axis, "bind") { $0.bindThread = thread }
        return self
    }

    /// Launches threads around a scan.
    @discardableResult
    public func envThreads(_ threads: [IterVar]) -> Stage {
        guard op is ScanOp, !isGroup else {
            fail("TE039", "envThreads: only a scan has threads around it", actual: op.schema.key)
            return self
        }
        for t in threads where t.iterType != .threadIndex || t.threadTag.isEmpty {
            fail("TE039", "envThreads: not a thread axis", t, hint: "te.threadAxis makes one")
            return self
        }
        envThreads.append(contentsOf: threads)
        log.changed()
        return self
    }

    /// Stores the results only where `condition` holds, a truth value of the stage's axes and of the threads that they are
    /// bound to: one of several threads that compute the same.
    @discardableResult
    public func setStorePredicate(_ condition: PrimExpr) -> Stage {
        guard op is ComputeOp, !isGroup, condition.dtype == .bool else {
            fail("TE040", "setStorePredicate needs a compute and a truth value", actual: "\(condition.dtype)")
            return self
        }
        storePredicate = condition
        log.changed()
        return self
    }

    // MARK: Hints

    /// A hint to later passes, such as `auto_unroll_max_step`: the annotation `pragma_<key>` of the loop.
    @discardableResult
    public func pragma(_ axis: IterVar, _ key: String, _ value: AttrValue = .int(1)) -> Stage {
        guard !key.isEmpty else {
            fail("TE040", "pragma needs a key", axis)
            return self
        }
        set(axis, "pragma") { $0.pragmas.append((key: key, value: value)) }
        return self
    }

    /// Brings what `tensor` will be read at `offset` iterations later near.
    @discardableResult
    public func prefetch(_ tensor: Tensor, _ axis: IterVar, _ offset: Int) -> Stage {
        guard offset >= 0 else {
            fail("TE032", "prefetch needs an offset that is not negative", axis, actual: "\(offset)")
            return self
        }
        set(axis, "prefetch") { $0.prefetch.append((tensor: tensor, offset: offset)) }
        return self
    }

    /// Replaces the loops from `axis` inward by an intrinsic that computes the same.
    @discardableResult
    public func tensorize(_ axis: IterVar, _ intrin: TETensorIntrin) -> Stage {
        guard op is ComputeOp else {
            fail(
                "TE037", "tensorize: only the loops of a compute can be replaced", axis, actual: op.schema.key
            )
            return self
        }
        setKind(axis, .tensorized, "tensorize")
        if attr(axis).kind == .tensorized { attrs[axis]?.tensorIntrin = intrin }
        return self
    }

    /// Keeps the results in memory of another scope, such as `local` or `shared`.
    @discardableResult
    public func setScope(_ scope: String) -> Stage {
        guard !scope.isEmpty, !isGroup, !(op is PlaceholderOp) else {
            fail("TE040", "setScope needs a scope and a stage that is computed", actual: scope)
            return self
        }
        guard !isOutput || scope == "global" else {
            fail("TE040", "setScope: the memory of an output is given", actual: scope)
            return self
        }
        self.scope = scope
        log.changed()
        return self
    }

    /// Pads the dimension of `axis` (a spatial root axis): its stride is `k * factor + offset` elements.
    @discardableResult
    public func storageAlign(_ axis: IterVar, factor: Int, offset: Int) -> Stage {
        guard op.axis.contains(where: { $0 === axis }), factor >= 1, offset >= 0 else {
            fail(
                "TE040",
                "storageAlign needs a spatial axis of the computation, a positive factor, an offset >= 0",
                axis,
                actual: "factor \(factor), offset \(offset)")
            return self
        }
        var a = attr(axis)
        a.dimAlignFactor = factor
        a.dimAlignOffset = offset
        attrs[axis] = a
        log.changed()
        return self
    }

    /// Computes into one of two buffers in turn, so that the next can be filled while one is read.
    @discardableResult
    public func doubleBuffer() -> Stage {
        guard !isOutput, !isGroup, !(op is PlaceholderOp) else {
            fail("TE040", "doubleBuffer: only an intermediate result has two buffers")
            return self
        }
        isDoubleBuffered = true
        log.changed()
        return self
    }
}
