import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

// Primitives that leave a note for the lowering passes: what they note is checked here, what it does is theirs.

extension Schedule {
    /// The block with one annotation set, in place of the present one.
    private func setAnnotation(
        _ f: Int, _ index: StmtIndex, _ at: Int, _ r: BlockRealize, _ key: String, _ value: AttrValue
    ) {
        let new = r.block.with(annotations: r.block.annotations.setting(key, value))
        commit(f, index.replacing(at, with: BlockRealize(r.iterValues, predicate: r.predicate, new)))
    }

    // MARK: doubleBuffer

    /// Lets two copies of a buffer that a block writes alternate between the iterations of the loop around it, so that
    /// one is written while the other is read. The block gets the annotation `double_buffer_scope`: the number of the
    /// write.
    ///
    /// Errors: SCH048 no such write, a parameter, or a block in no loop.
    public func doubleBuffer(_ block: BlockRV, writeIndex: Int = 0) throws {
        try step("doubleBuffer") {
            let (f, index, at, r) = try locate(block)
            let buffer = try bufferOperand(r, writeIndex, .write, "SCH048", "doubleBuffer")
            guard isInternal(index, buffer) else {
                throw failure(
                    "SCH048", "doubleBuffer: the memory of \(buffer.name) is given: it is a parameter", r,
                    expected: "a buffer allocated in the function", hint: "cacheRead or cacheWrite makes one")
            }
            guard otherWriters(index, at, buffer).isEmpty else {
                throw failure("SCH048", "doubleBuffer: \(buffer.name) has several writers", r)
            }
            setAnnotation(f, index, at, r, "double_buffer_scope", .int(writeIndex))
            record("doubleBuffer", [.block(block.id)], [(key: "writeIndex", value: .int(writeIndex))])
        }
    }

    // MARK: softwarePipeline

    /// Overlaps the iterations of a loop: the statements of its body are dealt to `stages` (a statement of stage s of
    /// iteration i runs beside stage 0 of iteration i + s) and run in `order` within the new body. The loop gets the
    /// annotations `software_pipeline_stage` and `software_pipeline_order`.
    ///
    /// Errors: SCH049 a loop that is not serial, lists of another length, an order that is no permutation, or one that
    /// breaks a dependency.
    public func softwarePipeline(_ loop: LoopRV, stages: [Int], order: [Int]) throws {
        try step("softwarePipeline") {
            let (f, index, at, l) = try locate(loop)
            let stmts: [Stmt] = (l.body as? SeqStmt)?.stmts ?? [l.body]
            guard stmts.count > 1 else {
                throw failure(
                    "SCH049", "softwarePipeline: the body of \(l.loopVar.name) is one statement", l,
                    expected: "statements that can overlap",
                    hint: "computeAt and cacheRead put stages into a loop")
            }
            guard l.forKind == .serial else {
                throw failure(
                    "SCH049", "softwarePipeline: loop \(l.loopVar.name) is \(l.forKind.rawValue)", l,
                    expected: "a serial loop")
            }
            guard stages.count == stmts.count, order.count == stmts.count, stages.allSatisfy({ $0 >= 0 }),
                Set(order) == Set(0..<stmts.count)
            else {
                throw failure(
                    "SCH049", "softwarePipeline: the body of \(l.loopVar.name) has \(stmts.count) statements",
                    l,
                    expected:
                        "a stage >= 0 for each, and an order that is a permutation of 0..<\(stmts.count)",
                    actual: "stages \(stages), order \(order)")
            }
            if let problem = pipelineProblem(l, stages, order) { throw problem }
            functions[f].noted = true
            let notes = l.annotations.setting("software_pipeline_stage", .ints(stages))
                .setting("software_pipeline_order", .ints(order))
            commit(f, index.replacing(at, with: l.with(annotations: notes)))
            record(
                "softwarePipeline", [.loop(loop.id)],
                [(key: "stages", value: .ints(stages)), (key: "order", value: .ints(order))])
        }
    }

    /// What in the body of a pipelined loop breaks the stages and the order given; nil if nothing does.
    private func pipelineProblem(_ l: For, _ stages: [Int], _ order: [Int]) -> Refusal? {
        let stmts: [Stmt] = (l.body as? SeqStmt)?.stmts ?? [l.body]
        guard stmts.count == stages.count, stmts.count == order.count, l.forKind == .serial else {
            return failure(
                "SCH049", "the software pipeline of loop \(l.loopVar.name) would no longer fit its body", l,
                expected: "a serial loop of \(stages.count) statements",
                actual: "\(l.forKind.rawValue), \(stmts.count) statements",
                hint: "softwarePipeline last, once the body of the loop is final")
        }
        // What each statement reads and writes.
        var reads: [Set<Buffer>] = []
        var writes: [Set<Buffer>] = []
        for s in stmts {
            let used = buffersAccessed(s)
            reads.append(Set(used.reads))
            writes.append(Set(used.writes))
        }
        for i in stmts.indices {
            for j in stmts.indices where j > i {
                func refused(_ what: String) -> Refusal {
                    failure(
                        "SCH049", "softwarePipeline: statement \(j) \(what) statement \(i)", l,
                        expected: "stage \(i) <= stage \(j); of one stage, statement \(i) first",
                        actual: "stages \(stages), order \(order)"
                    ).marking(stmts[i], "statement \(i)").marking(stmts[j], "statement \(j)")
                }
                let later = stages[i] < stages[j] || (stages[i] == stages[j] && order[i] < order[j])
                if !writes[i].isDisjoint(with: reads[j]), !later {
                    return refused("reads what is written by")
                }
                if !writes[i].isDisjoint(with: writes[j]), stages[i] != stages[j] || !later {
                    return refused("writes again what is written by")
                }
                if !reads[i].isDisjoint(with: writes[j]), stages[i] != stages[j] || !later {
                    return refused("overwrites what is read by")
                }
            }
        }
        return nil
    }

    /// What no longer fits after a primitive, of the notes of loops and the work of threads, as a refusal.
    func brokenNote() -> Refusal? {
        for f in functions.indices where functions[f].noted || functions[f].threaded {
            let index = index(f)
            if functions[f].threaded, var problem = threadProblem(index) {
                problem.function = functions[f].function
                return problem
            }
            for (at, e) in index.entries.enumerated() {
                guard let l = e.stmt as? For else { continue }
                var problem: Refusal?
                if let stages = l.annotations.ints("software_pipeline_stage"),
                    let order = l.annotations.ints("software_pipeline_order")
                {
                    problem = pipelineProblem(l, stages, order)
                }
                if let list = l.annotations.strings("prefetch_scope") {
                    problem = problem ?? prefetchProblem(index, at, l, list)
                }
                if var problem {
                    problem.function = functions[f].function
                    return problem
                }
            }
        }
        return nil
    }

    /// What is prefetched must be read inside the loop, at places that can be told ahead, and come from outside.
    private func prefetchProblem(_ index: StmtIndex, _ at: Int, _ l: For, _ notes: [String]) -> Refusal? {
        for note in notes {
            let name = note.split(separator: ":").first.map(String.init) ?? note
            var isRead = false
            for i in (at + 1)..<index.entries[at].end {
                guard let r = index.realize(i) else { continue }
                if r.block.writes.contains(where: { $0.buffer.name == name }) {
                    return failure(
                        "SCH052", "prefetch: \(name) would be computed inside loop \(l.loopVar.name)", l,
                        expected: "a buffer that is complete before the loop",
                        hint: "prefetch after moving blocks"
                    ).marking(r)
                }
                guard r.block.reads.contains(where: { $0.buffer.name == name }) else { continue }
                var plain = true
                postOrderVisit(
                    r.block.body,
                    expr: { e in
                        guard let load = e as? BufferLoad, load.buffer.name == name else { return }
                        isRead = true
                        for x in load.indices {
                            postOrderVisit(x) {
                                if $0.kind == .bufferLoad || $0.kind == .call { plain = false }
                            }
                        }
                    })
                if !plain {
                    return failure(
                        "SCH052",
                        "prefetch: the places of \(name) that `\(r.block.name)` reads come from memory", r,
                        expected: "indices that follow from the loops"
                    ).marking(l)
                }
            }
            if !isRead {
                return failure(
                    "SCH052", "prefetch: nothing inside loop \(l.loopVar.name) would read \(name)", l,
                    expected: "a buffer read by a load", hint: "prefetch after inlining and caching")
            }
        }
        return nil
    }

    // MARK: prefetch

    /// In each iteration of `loop`, brings near what `block`, inside it, reads of its input `readIndex` `offset`
    /// iterations later. The loop gets the annotation `prefetch_scope`: `"buffer:offset"`.
    ///
    /// Errors: SCH052 no such read, a block outside the loop, a negative offset.
    public func prefetch(_ block: BlockRV, _ readIndex: Int, _ loop: LoopRV, offset: Int = 1) throws {
        try step("prefetch") {
            let (f, index, at, r) = try locate(block)
            let (g, _, target, l) = try locate(loop)
            let buffer = try bufferOperand(r, readIndex, .read, "SCH052", "prefetch")
            guard f == g, at > target, at < index.entries[target].end, offset >= 0 else {
                throw failure(
                    "SCH052",
                    "prefetch: `\(r.block.name)` is not inside loop \(l.loopVar.name), or an offset < 0", l,
                    expected: "one of the loops " + names(index.loopsAbove(at)), actual: "offset \(offset)")
            }
            let note = "\(buffer.name):\(offset)"
            var list = l.annotations.strings("prefetch_scope") ?? []
            if !list.contains(note) { list.append(note) }
            if let problem = prefetchProblem(index, target, l, [note]) { throw problem }
            functions[f].noted = true
            commit(
                f,
                index.replacing(
                    target, with: l.with(annotations: l.annotations.setting("prefetch_scope", .strings(list)))
                ))
            record(
                "prefetch", [.block(block.id), .loop(loop.id)],
                [(key: "readIndex", value: .int(readIndex)), (key: "offset", value: .int(offset))])
        }
    }

    // MARK: pragma

    /// Notes `key` for the passes and code generators that know it: the loop's annotation `pragma_<key>`, such as
    /// `auto_unroll_max_step` or `unroll_explicit`.
    ///
    /// Errors: SCH052 a key that is no name.
    public func pragma(_ loop: LoopRV, _ key: String, _ value: AttrValue = .bool(true)) throws {
        try step("pragma") {
            let (f, index, at, l) = try locate(loop)
            let plain = key.unicodeScalars.allSatisfy { $0 == "_" || ("a"..."z") ~= $0 || ("0"..."9") ~= $0 }
            guard plain, !key.isEmpty else {
                throw failure(
                    "SCH052", "pragma: not a name", l, expected: "lower-case letters, digits and _",
                    actual: "`\(key)`")
            }
            commit(
                f,
                index.replacing(at, with: l.with(annotations: l.annotations.setting("pragma_\(key)", value))))
            record(
                "pragma", [.loop(loop.id)], [(key: "key", value: .string(key)), (key: "value", value: value)])
        }
    }

    // MARK: setStorePredicate

    /// Runs a block in one iteration only of a loop that it does not depend on, such as one thread of a block that
    /// stores a result which all of them have.
    ///
    /// Errors: SCH053 a loop that is not around the block, that it depends on, or inside which its result is read; a
    /// number that the loop does not reach.
    public func setStorePredicate(_ block: BlockRV, _ loop: LoopRV, equals value: Int = 0) throws {
        try step("setStorePredicate") {
            let (f, index, at, r) = try locate(block)
            let (g, _, target, l) = try locate(loop)
            let loops = index.loopsAbove(at)
            let used = bindingVariables(r, { _ in true }).union(variables(r.predicate))
            guard f == g, loops.contains(where: { $0 === l }), !used.contains(l.loopVar) else {
                throw failure(
                    "SCH053",
                    "setStorePredicate: loop \(l.loopVar.name) is not around `\(r.block.name)`, or the block depends "
                        + "on it", l,
                    expected: "a loop that only repeats the block: "
                        + names(loops.filter { !used.contains($0.loopVar) }))
            }
            guard let lo = l.min.asInt, let n = l.extent.asInt, value >= lo, value < lo + n else {
                throw failure(
                    "SCH053", "setStorePredicate: loop \(l.loopVar.name) does not reach \(value)", l,
                    expected: "\(l.min)..<\(l.extent)", actual: "\(value)")
            }
            let end = index.entries[target].end
            for c in consumers(index, at) where c > target && c < end {
                throw failure(
                    "SCH053", "setStorePredicate: the result of `\(r.block.name)` is read inside the loop",
                    index.realize(c) ?? r, expected: "readers outside loop \(l.loopVar.name)"
                ).marking(l)
            }
            for x in r.block.writes where r.block.initial == nil {
                if r.block.reads.contains(where: { $0.buffer === x.buffer }) {
                    throw failure(
                        "SCH053", "setStorePredicate: `\(r.block.name)` updates \(x.buffer.name) in place", r)
                }
            }
            let condition: PrimExpr = l.loopVar .== value
            commit(
                f,
                index.replacing(
                    at,
                    with: BlockRealize(
                        r.iterValues, predicate: all(conjuncts(r.predicate) + [condition]), r.block)))
            record(
                "setStorePredicate", [.block(block.id), .loop(loop.id)], [(key: "equals", value: .int(value))]
            )
        }
    }
}
