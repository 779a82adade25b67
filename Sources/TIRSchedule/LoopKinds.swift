import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

extension Schedule {
    /// Runs the iterations of a loop on the threads of the pool.
    ///
    /// Errors: SCH040 iterations that are not independent, SCH041 a loop that is already of another kind,
    /// SCH042 inside or around another parallel loop, SCH020 to SCH022 a dependency between iterations.
    public func parallel(_ loop: LoopRV) throws {
        try setKind(loop, .parallel, "parallel")
    }

    /// Runs the iterations of a loop as the lanes of vectors. Errors as `parallel`; SCH043: the extent must
    /// be a constant.
    public func vectorize(_ loop: LoopRV) throws {
        try setKind(loop, .vectorized, "vectorize")
    }

    /// Writes the iterations of a loop out one after another. Errors: SCH041 and SCH043.
    public func unroll(_ loop: LoopRV) throws {
        try setKind(loop, .unrolled, "unroll")
    }

    private func setKind(_ loop: LoopRV, _ kind: ForKind, _ name: String) throws {
        try step(name) {
            let (f, index, at, l) = try locate(loop)
            guard l.forKind == .serial || l.forKind == kind else {
                throw failure(
                    "SCH041", "loop \(l.loopVar.name) is already \(l.forKind.rawValue)", l,
                    expected: "a serial loop")
            }
            if kind != .parallel, l.extent.asInt == nil {
                throw failure(
                    "SCH043", "\(name) needs a constant extent", l, actual: "\(l.extent)",
                    hint: "split by a constant first")
            }
            if kind != .unrolled { try requireIndependent(index, at, l, name) }
            if kind == .parallel {
                for i in index.entries.indices where i != at {
                    guard let other = index.loop(i), other.forKind == .parallel else { continue }
                    let nested =
                        (i > at && i < index.entries[at].end) || (at > i && at < index.entries[i].end)
                    if nested {
                        throw failure(
                            "SCH042",
                            "loops \(other.loopVar.name) and \(l.loopVar.name) would be parallel, one "
                                + "inside the other", i < at ? other : l,
                            expected: "one parallel loop around a block",
                            hint: "fuse them"
                        ).marking(i < at ? l : other)
                    }
                }
            }
            commit(f, index.replacing(at, with: l.with(kind: kind)))
            record(name, [.loop(loop.id)])
        }
    }

    /// The axes that `bind` knows.
    public static let threadTags = [
        "blockIdx.x", "blockIdx.y", "blockIdx.z", "threadIdx.x", "threadIdx.y", "threadIdx.z", "vthread",
        "vthread.x",
        "vthread.y", "vthread.z", "cthread",
    ]

    /// Binds a loop to a hardware thread axis such as `blockIdx.x`.
    ///
    /// A loop inside one of the same `threadIdx` axis is shared by the threads of that one, iteration by iteration: it must
    /// fill shared memory in the same way for all of them (cooperative fetching). What all threads of an axis do alike may
    /// not change memory in place that they share: each would change it.
    ///
    /// Errors as `parallel`; SCH044: not an axis, or one that a loop of the nest has already and cannot share.
    public func bind(_ loop: LoopRV, thread: String) throws {
        try step("bind") {
            let (f, index, at, l) = try locate(loop)
            guard Schedule.threadTags.contains(thread) else {
                throw failure(
                    "SCH044", "`\(thread)` is not a thread axis", l,
                    expected: "one of " + listed(Schedule.threadTags))
            }
            guard l.forKind == .serial else {
                throw failure(
                    "SCH041", "loop \(l.loopVar.name) is already \(l.forKind.rawValue)", l,
                    expected: "a serial loop")
            }
            // Threads of one block may cooperate in a reduction; everything else must be independent.
            if !thread.hasPrefix("threadIdx.") { try requireIndependent(index, at, l, "bind") }
            let binding = IterVar(
                IRRange(min: l.min, extent: l.extent), Var(thread, dtype: l.loopVar.dtype), .threadIndex,
                threadTag: thread)
            let new = For(
                l.loopVar, l.min, l.extent, .threadBinding, body: l.body, threadBinding: binding,
                annotations: l.annotations)
            let function = index.replacing(at, with: new)
            if hardwareTag(new) != nil {
                if let problem = threadProblem(StmtIndex(function), thread) { throw problem }
                functions[f].threaded = true
            }
            commit(f, function)
            record("bind", [.loop(loop.id)], [(key: "thread", value: .string(thread))])
        }
    }

    private func requireIndependent(_ index: StmtIndex, _ at: Int, _ l: For, _ name: String) throws {
        if let loose = index.looseStatement(below: at) {
            throw failure(
                "SCH040", "a statement outside any block may depend on other iterations", loose,
                expected: "blocks only below loop \(l.loopVar.name)")
        }
        for b in index.blocksBelow(at) {
            guard let r = index.realize(b) else { continue }
            if bindingVariables(r, { $0 != .dataParallel }).contains(l.loopVar) {
                throw failure(
                    "SCH040",
                    "\(name): the iterations of \(l.loopVar.name) combine in the reduction "
                        + "`\(r.block.name)`", l,
                    expected: "a loop of independent (spatial) iterations: "
                        + names(independentLoops(index, b, r)),
                    hint: "rfactor makes a reduction loop spatial")
            }
            // A loop that a block does not use repeats the same writes, which is only safe for memory that is
            // private to an iteration: buffers that nothing outside the loop reads.
            if !bindingVariables(r, { $0 == .dataParallel }).contains(l.loopVar), l.extent.asInt != 1 {
                let leaves = consumers(index, b).contains { $0 < at || $0 >= index.entries[at].end }
                for w in r.block.writes
                where leaves || index.function.bufferMap.contains(where: { $0.buffer === w.buffer }) {
                    throw failure(
                        "SCH040",
                        "\(name): every iteration of \(l.loopVar.name) writes the same elements of "
                            + "\(w.buffer.name)", l,
                        expected: "a loop that `\(r.block.name)` runs over: "
                            + names(independentLoops(index, b, r))
                    ).marking(r)
                }
            }
        }
        try checkDependencies(below: at, index)
    }

    /// The loops around a block whose iterations it does not combine.
    private func independentLoops(_ index: StmtIndex, _ at: Int, _ r: BlockRealize) -> [For] {
        let reduction = bindingVariables(r, { $0 != .dataParallel })
        let spatial = bindingVariables(r, { $0 == .dataParallel })
        return index.loopsAbove(at).filter { spatial.contains($0.loopVar) && !reduction.contains($0.loopVar) }
    }

    // MARK: Annotations

    /// What a trace cannot write is no annotation of a schedule.
    private func requirePlain(_ value: AttrValue, _ s: Stmt) throws {
        switch value {
        case .node, .dtype:
            throw failure(
                "SCH052", "annotate: the value cannot be part of a trace", s,
                expected: "a number, a string, a truth value or a list of these", actual: "\(value)")
        case .list(let l): for v in l { try requirePlain(v, s) }
        default: break
        }
    }

    /// Sets an annotation of a block. SCH052 for a value that a trace cannot hold.
    public func annotate(_ block: BlockRV, _ key: String, _ value: AttrValue) throws {
        try step("annotate") {
            let (f, index, at, r) = try locate(block)
            try requirePlain(value, r)
            let new = r.block.with(annotations: r.block.annotations.setting(key, value))
            commit(f, index.replacing(at, with: BlockRealize(r.iterValues, predicate: r.predicate, new)))
            record(
                "annotate", [.block(block.id)],
                [(key: "key", value: .string(key)), (key: "value", value: value)])
        }
    }

    /// Sets an annotation of a loop.
    public func annotate(_ loop: LoopRV, _ key: String, _ value: AttrValue) throws {
        try step("annotate") {
            let (f, index, at, l) = try locate(loop)
            try requirePlain(value, l)
            commit(f, index.replacing(at, with: l.with(annotations: l.annotations.setting(key, value))))
            record(
                "annotate", [.loop(loop.id)],
                [(key: "key", value: .string(key)), (key: "value", value: value)])
        }
    }

    /// Sets an annotation of a block to a sampled integer.
    public func annotate(_ block: BlockRV, _ key: String, _ value: IntRV) throws {
        try step("annotate") {
            let (f, index, at, r) = try locate(block)
            let new = r.block.with(annotations: r.block.annotations.setting(key, .int(try self.value(value))))
            commit(f, index.replacing(at, with: BlockRealize(r.iterValues, predicate: r.predicate, new)))
            record("annotate", [.block(block.id), .int(value.id)], [(key: "key", value: .string(key))])
        }
    }

    /// Sets an annotation of a loop to a sampled integer.
    public func annotate(_ loop: LoopRV, _ key: String, _ value: IntRV) throws {
        try step("annotate") {
            let (f, index, at, l) = try locate(loop)
            let number = AttrValue.int(try self.value(value))
            commit(f, index.replacing(at, with: l.with(annotations: l.annotations.setting(key, number))))
            record("annotate", [.loop(loop.id), .int(value.id)], [(key: "key", value: .string(key))])
        }
    }

    /// Removes an annotation of a block; SCH045 if it has none of that name.
    public func unannotate(_ block: BlockRV, _ key: String) throws {
        try step("unannotate") {
            let (f, index, at, r) = try locate(block)
            guard r.block.annotations[key] != nil else {
                throw failure(
                    "SCH045", "block `\(r.block.name)` has no annotation `\(key)`", r,
                    expected: "one of " + listed(r.block.annotations.entries.map(\.key)))
            }
            let new = r.block.with(annotations: r.block.annotations.removing(key))
            commit(f, index.replacing(at, with: BlockRealize(r.iterValues, predicate: r.predicate, new)))
            record("unannotate", [.block(block.id)], [(key: "key", value: .string(key))])
        }
    }

    /// Removes an annotation of a loop; SCH045 if it has none of that name.
    public func unannotate(_ loop: LoopRV, _ key: String) throws {
        try step("unannotate") {
            let (f, index, at, l) = try locate(loop)
            guard l.annotations[key] != nil else {
                throw failure(
                    "SCH045", "loop \(l.loopVar.name) has no annotation `\(key)`", l,
                    expected: "one of " + listed(l.annotations.entries.map(\.key)))
            }
            commit(f, index.replacing(at, with: l.with(annotations: l.annotations.removing(key))))
            record("unannotate", [.loop(loop.id)], [(key: "key", value: .string(key))])
        }
    }

    /// Pads a dimension of what a block writes: its stride becomes `factor * k + offset` elements. The block
    /// gets the annotation `buffer_dim_align` (four integers an entry: buffer index, axis, factor, offset),
    /// which buffer compaction obeys. Errors: SCH046.
    public func storageAlign(
        _ block: BlockRV, writeIndex: Int = 0, axis: Int, factor: Int, offset: Int
    ) throws {
        try step("storageAlign") {
            let (f, index, at, r) = try locate(block)
            guard r.block.writes.indices.contains(writeIndex) else {
                throw failure(
                    "SCH046", "block `\(r.block.name)` writes \(r.block.writes.count) buffers", r,
                    expected: numbered(r.block.writes), actual: "\(writeIndex)")
            }
            let buffer = r.block.writes[writeIndex].buffer
            guard axis >= 0, axis < buffer.rank, factor >= 1, offset >= 0 else {
                throw failure(
                    "SCH046",
                    "storageAlign needs an axis of \(buffer.name), a positive factor, an offset >= 0", r,
                    expected: "an axis in 0..<\(buffer.rank)",
                    actual: "axis \(axis), factor \(factor), offset \(offset)")
            }
            guard isInternal(index, buffer) else {
                throw failure(
                    "SCH046", "the layout of \(buffer.name) is fixed: it is a parameter", r,
                    expected: "a buffer allocated in the function", hint: "cacheRead or cacheWrite makes one")
            }
            var list = r.block.annotations.ints("buffer_dim_align") ?? []
            list.append(contentsOf: [writeIndex, axis, factor, offset])
            let new = r.block.with(annotations: r.block.annotations.setting("buffer_dim_align", .ints(list)))
            commit(f, index.replacing(at, with: BlockRealize(r.iterValues, predicate: r.predicate, new)))
            record(
                "storageAlign", [.block(block.id)],
                [
                    (key: "writeIndex", value: .int(writeIndex)), (key: "axis", value: .int(axis)),
                    (key: "factor", value: .int(factor)), (key: "offset", value: .int(offset)),
                ])
        }
    }

    /// Whether a buffer is allocated by a block of the function.
    func isInternal(_ index: StmtIndex, _ buffer: Buffer) -> Bool { index.allocated.contains(buffer) }

    /// Moves what a block writes into another memory scope, such as `local`. Errors: SCH047.
    public func setScope(_ block: BlockRV, writeIndex: Int = 0, scope: String) throws {
        try step("setScope") {
            let (f, index, at, r) = try locate(block)
            guard r.block.writes.indices.contains(writeIndex) else {
                throw failure(
                    "SCH047", "block `\(r.block.name)` writes \(r.block.writes.count) buffers", r,
                    expected: numbered(r.block.writes), actual: "\(writeIndex)")
            }
            let old = r.block.writes[writeIndex].buffer
            guard isInternal(index, old) else {
                throw failure(
                    "SCH047", "the memory of \(old.name) is given: it is a parameter", r,
                    expected: "a buffer allocated in the function", hint: "cacheWrite makes one")
            }
            guard !scope.isEmpty else {
                throw failure(
                    "SCH047", "a memory scope needs a name", r, expected: "such as global, shared or local")
            }
            _ = at
            let pointer = PointerType(PrimType(old.dtype), storageScope: scope == "global" ? "" : scope)
            let new = Buffer(
                data: Var(old.data.name, type: pointer), dtype: old.dtype, shape: old.shape,
                strides: old.strides,
                elemOffset: old.elemOffset, name: old.name, alignment: old.alignment)
            let function = index.function
            commit(
                f, function.with(body: substitute(function.body, [old.data: new.data], buffers: [old: new])))
            record(
                "setScope", [.block(block.id)],
                [(key: "writeIndex", value: .int(writeIndex)), (key: "scope", value: .string(scope))])
        }
    }
}
