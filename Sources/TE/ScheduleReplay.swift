import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRSchedule

// From the record of a schedule to loops, in an order that is always legal:
//
//  1. blocks for all operations, in dependency order, each in loops of its own (createPrimFunc);
//  2. stages computed inline go into their readers;
//  3. from the last reader to the first producer: the stage moves into the loop it is attached to, which exists by now, and
//     its own splits, fusions and reorderings are taken, in the order of the calls;
//  4. annotations, then the kinds of loops, which end all rearranging;
//  5. reductions get their start in loops of its own, if wanted; loops take the names of the axes.
//
// Each step is one of the schedule of the loop IR, which checks it.

/// The loops of a schedule.
final class ScheduleReplay {
    let schedule: TESchedule
    /// Before names and loops of one iteration are tidied up.
    let engine: Schedule
    private(set) var function: PrimFunc
    /// Of each axis that has or had a loop.
    private(set) var ranges: [IterVar: IRRange] = [:]

    private var blocks: [ObjectIdentifier: BlockRV] = [:]
    private var blockNames: [ObjectIdentifier: [String]] = [:]
    private var loops: [IterVar: LoopRV] = [:]
    private var attachments: [ObjectIdentifier: Attachment] = [:]
    /// Stages whose reductions start in a block of their own.
    private var decomposed: Set<ObjectIdentifier> = []

    /// Where a stage is computed, groups considered.
    enum Attachment {
        case root
        case inline
        case scope(Stage, IterVar)
        /// Within each step of a scan, outside of its stages' loops.
        case step(Stage)
    }

    init(
        _ schedule: TESchedule, _ arguments: [any FunctionArgument], name: String, attrs: Attrs,
        decompose: Bool
    ) throws {
        self.schedule = schedule
        if let first = schedule.log.errors.first { throw first }
        for s in schedule.stages { if let e = s.op.error { throw e } }
        var scopes: [Operation: String] = [:]
        for s in schedule.stages where !s.scope.isEmpty { scopes[s.op] = s.scope }
        let (attachments, inScan) = try ScheduleReplay.attachments(schedule)
        self.attachments = attachments
        let lowering = TELowering(arguments, source: schedule.source, scopes: scopes, inScan: inScan)
        let start = try lowering.build(name: name, attrs: attrs)
        function = start
        engine = try Schedule(start)
        var placed: [Operation: TELowering.Placed] = [:]
        for p in lowering.placed { placed[p.op] = p }
        try inlineStages(placed)
        for s in schedule.stages.reversed() {
            guard let p = placed[s.op], !isInline(s) else { continue }
            try within(s.place) { try place(s, p) }
        }
        for s in schedule.stages.reversed() where blocks[ObjectIdentifier(s)] != nil {
            try within(s.place) { try annotate(s) }
        }
        for s in schedule.stages.reversed() where blocks[ObjectIdentifier(s)] != nil {
            try within(s.place) { try tensorize(s) }
        }
        for s in schedule.stages where blocks[ObjectIdentifier(s)] != nil {
            try within(s.place) { try setKinds(s) }
        }
        if decompose { for s in schedule.stages.reversed() { startReduction(s) } }
        function = engine.function
        for s in schedule.stages where s.storePredicate != nil && blocks[ObjectIdentifier(s)] != nil {
            try within(s.place) { try guardStores(s) }
        }
        tidy()
    }

    private func isInline(_ s: Stage) -> Bool {
        if case .inline = attachments[ObjectIdentifier(s)] { return true }
        return false
    }

    // MARK: Attachments

    /// Where each stage is computed, and which operations that brings into the steps of a scan.
    private static func attachments(_ schedule: TESchedule) throws -> (
        [ObjectIdentifier: Attachment], [Operation: Set<Operation>]
    ) {
        var result: [ObjectIdentifier: Attachment] = [:]
        var inScan: [Operation: Set<Operation>] = [:]
        /// The scan in whose step a stage is.
        var home: [ObjectIdentifier: Stage] = [:]
        for s in schedule.stages {
            guard let scan = s.op as? ScanOp else { continue }
            for op in scan.body(schedule.source) {
                if let b = schedule.stageMap[op] { home[ObjectIdentifier(b)] = s }
            }
        }
        for s in schedule.stages.reversed() {
            let id = ObjectIdentifier(s)
            var from: Stage? = s
            while let f = from, f.attachType == .groupRoot || f.attachType == .scanUpdate { from = f.group }
            guard let f = from, !(s.op is PlaceholderOp) else {
                result[id] = .root
                continue
            }
            if f.attachType == .inline {
                result[id] = .inline
                let readers = schedule.readers(s)
                for r in readers where !(r.op is ComputeOp) {
                    throw ApusError(
                        "TE037", "computeInline: `\(r.op.name)` is not a formula", at: [s.place],
                        actual: r.op.schema.key)
                }
                let homes = readers.map { home[ObjectIdentifier($0)] }
                if let first = homes.first, let scan = first, home[id] == nil,
                    homes.allSatisfy({ $0 === scan })
                {
                    home[id] = scan
                    inScan[scan.op, default: []].insert(s.op)
                }
                continue
            }
            guard let target = f.attachStage, let leaf = f.attachLeaf else {
                throw ApusError(
                    "TE036", "computeAt: the axis is no longer one of the other stage", at: [s.place])
            }
            if case .inline = result[ObjectIdentifier(target)] {
                throw ApusError(
                    "TE036", "computeAt: stage `\(target.op.name)` is computed inline and has no loops",
                    at: [s.place])
            }
            if home[ObjectIdentifier(target)] === s {
                throw ApusError(
                    "TE036", "computeAt: stage `\(target.op.name)` is a part of each step of the scan itself",
                    at: [s.place], expected: "a stage that reads the scan")
            }
            if target.op is ScanOp {
                result[id] = .step(target)
                if home[id] == nil {
                    home[id] = target
                    inScan[target.op, default: []].insert(s.op)
                }
                continue
            }
            result[id] = .scope(target, leaf)
            if let scan = home[ObjectIdentifier(target)], home[id] == nil {
                home[id] = scan
                inScan[scan.op, default: []].insert(s.op)
            }
        }
        return (result, inScan)
    }

    private func inlineStages(_ placed: [Operation: TELowering.Placed]) throws {
        for s in schedule.stages where isInline(s) {
            guard let p = placed[s.op] else { continue }
            try within(s.place) { try engine.computeInline(try engine.getBlock(p.block)) }
        }
    }

    // MARK: Loops

    private func place(_ s: Stage, _ p: TELowering.Placed) throws {
        let block = try engine.getBlock(p.block)
        blocks[ObjectIdentifier(s)] = block
        blockNames[ObjectIdentifier(s)] = [p.block]
        var around: Var?
        if case .scope(let target, let leaf) = attachments[ObjectIdentifier(s)] {
            guard let loop = loops[leaf] else {
                throw ApusError(
                    "TE036", "computeAt: stage `\(target.op.name)` has no such loop",
                    at: ["axis: \(leaf.variable.name)"])
            }
            around = try engine.get(loop).loopVar
            try within("axis: \(leaf.variable.name)") { try engine.computeAt(block, loop) }
        }
        var own: [(rv: LoopRV, loop: For)] = []
        for rv in try engine.getLoops(block) { own.append((rv: rv, loop: try engine.get(rv))) }
        if let around, let i = own.firstIndex(where: { $0.loop.loopVar === around }) {
            own.removeFirst(i + 1)
        }
        try bindRoots(s, p, block, own)
        for step in s.steps { try take(step, s, block) }
    }

    /// Finds the loop of each root axis; an axis of which one point is computed gets a loop of one iteration.
    private func bindRoots(
        _ s: Stage, _ p: TELowering.Placed, _ block: BlockRV, _ own: [(rv: LoopRV, loop: For)]
    ) throws {
        guard let realize = realize(p.block, in: engine.function) else { return }
        let analyzer = Analyzer()
        var found: [(axis: IterVar, loop: (rv: LoopRV, loop: For)?, value: PrimExpr)] = []
        for (axis, value) in zip(p.axes, realize.iterValues) {
            let loop = own.first { uses(value, [$0.loop.loopVar]) }
            found.append((axis: axis, loop: loop, value: value))
        }
        for (i, f) in found.enumerated() {
            if let l = f.loop {
                loops[f.axis] = l.rv
                let low = substitute(f.value, [l.loop.loopVar: const(0, l.loop.loopVar.dtype)])
                ranges[f.axis] = IRRange(min: analyzer.simplify(low), extent: l.loop.extent)
                continue
            }
            let next = found[(i + 1)...].compactMap { $0.loop }.first
            loops[f.axis] = try next.map { try engine.addUnitLoop($0.rv) } ?? engine.addUnitLoop(block)
            ranges[f.axis] = IRRange(min: f.value, extent: const(1, f.value.dtype))
        }
        // An axis of no iterations has no loop at all (a reduction over nothing).
        for a in s.op.rootIterVars where loops[a] == nil {
            loops[a] = try engine.addUnitLoop(block)
            ranges[a] = IRRange(min: a.dom.min, extent: const(1, a.variable.dtype))
        }
    }

    private func realize(_ name: String, in f: PrimFunc) -> BlockRealize? {
        var result: BlockRealize?
        postOrderVisit(
            f.body,
            stmt: { x in
                if result == nil, let r = x as? BlockRealize, r.block.name == name { result = r }
            })
        return result
    }

    private func loop(_ axis: IterVar) throws -> LoopRV {
        guard let l = loops[axis] else {
            throw ApusError("TE030", "the axis has no loop", at: ["axis: \(axis.variable.name)"])
        }
        return l
    }

    private func note(_ axis: IterVar, _ rv: LoopRV) throws {
        loops[axis] = rv
        ranges[axis] = IRRange(extent: try engine.get(rv).extent)
    }

    private func take(_ step: Stage.Step, _ s: Stage, _ block: BlockRV) throws {
        switch step {
        case .reorder(let axes):
            try within("axis: " + axes.map { $0.variable.name }.joined(separator: ", ")) {
                try engine.reorder(try axes.map { try loop($0) })
            }
        case .relation(.split(let parent, let outer, let inner, let factor, let parts)):
            try within("axis: \(parent.variable.name)") {
                let l = try loop(parent)
                let extent = try engine.get(l).extent
                let made: [LoopRV]
                if let factor {
                    // A tile is no longer than what is tiled.
                    let f = Swift.min(factor, Swift.max(extent.asInt ?? factor, 1))
                    made = try engine.split(l, factors: [nil, f])
                } else {
                    made = try engine.split(l, factors: [parts, nil])
                }
                try note(outer, made[0])
                try note(inner, made[1])
            }
        case .relation(.fuse(let outer, let inner, let fused)):
            try within("axis: \(outer.variable.name), \(inner.variable.name)") {
                try note(fused, try engine.fuse([try loop(outer), try loop(inner)]))
            }
        case .relation(.rebase(let parent, let rebased)):
            try note(rebased, try loop(parent))
        case .relation(.singleton(let axis)):
            var outermost: LoopRV?
            // Around the loops that the stage has now.
            for rv in try engine.getLoops(block) {
                let v = try engine.get(rv).loopVar
                if loops.contains(where: { e in
                    s.allIterVars.contains { $0 === e.key } && (try? engine.get(e.value).loopVar) === v
                }) {
                    outermost = rv
                    break
                }
            }
            try note(axis, try outermost.map { try engine.addUnitLoop($0) } ?? engine.addUnitLoop(block))
        }
    }

    // MARK: Annotations and kinds

    private func annotate(_ s: Stage) throws {
        guard let block = blocks[ObjectIdentifier(s)] else { return }
        for (d, a) in s.op.axis.enumerated() {
            let attr = s.attr(a)
            if attr.dimAlignFactor == 0 { continue }
            try within("axis: \(a.variable.name)") {
                for i in 0..<s.op.outputCount {
                    try engine.storageAlign(
                        block, writeIndex: i, axis: d, factor: attr.dimAlignFactor,
                        offset: attr.dimAlignOffset)
                }
            }
        }
        if s.isDoubleBuffered { try engine.annotate(block, "double_buffer_scope", .int(0)) }
        for a in s.leafIterVars {
            let attr = s.attr(a)
            try within("axis: \(a.variable.name)") {
                for p in attr.pragmas { try engine.annotate(try loop(a), "pragma_\(p.key)", p.value) }
                if attr.prefetch.isEmpty { return }
                var list: [String] = []
                for p in attr.prefetch {
                    let name = try bufferName(p.tensor, readBy: s)
                    list.append("\(name):\(p.offset)")
                }
                try engine.annotate(try loop(a), "prefetch_scope", .strings(list))
            }
        }
        if !s.envThreads.isEmpty, let axis = s.leafIterVars.first {
            try engine.annotate(try loop(axis), "env_threads", .strings(s.envThreads.map(\.threadTag)))
        }
    }

    /// The buffer of a tensor that a stage reads.
    private func bufferName(_ t: Tensor, readBy s: Stage) throws -> String {
        let wanted = schedule.source(t)
        let names = Set([wanted.op.name, "\(wanted.op.name)_v\(wanted.valueIndex)"])
        if let block = blocks[ObjectIdentifier(s)] {
            for r in try engine.get(block).reads where names.contains(r.buffer.name) { return r.buffer.name }
        }
        throw ApusError(
            "TE044", "prefetch: the stage does not read `\(t.op.name)`", at: [s.place],
            expected: s.op.inputTensors.map(\.op.name).joined(separator: ", "))
    }

    private func setKinds(_ s: Stage) throws {
        for a in s.leafIterVars {
            let attr = s.attr(a)
            if attr.kind == .tensorized { return }
            if attr.kind == .serial && attr.bindThread == nil { continue }
            try within("axis: \(a.variable.name)") {
                let l = try loop(a)
                switch attr.kind {
                case .parallelized: try engine.parallel(l)
                case .vectorized: try engine.vectorize(l)
                case .unrolled: try engine.unroll(l)
                case .serial, .tensorized: break
                }
                guard let thread = attr.bindThread else { return }
                let extent = try engine.get(l).extent
                if let wanted = thread.dom.extent.asInt, wanted > 0, let n = extent.asInt, n != wanted {
                    throw ApusError(
                        "TE041", "bind: the loop and the thread axis \(thread.threadTag) differ in extent",
                        expected: "\(wanted)", actual: "\(n)")
                }
                try engine.bind(l, thread: thread.threadTag)
            }
        }
    }

    /// Gives the start of a reduction loops of its own, right before the outermost loop of the reduction. Where that is not
    /// possible (a loop over spatial and reduction axes, threads that reduce together) the start stays in the block,
    /// which computes the same.
    private func startReduction(_ s: Stage) {
        let id = ObjectIdentifier(s)
        guard let block = blocks[id], !decomposed.contains(id), s.op is ComputeOp, !s.op.reduceAxis.isEmpty,
            let outermost = s.leafIterVars.first(where: { $0.iterType == .commReduce }),
            !s.leafIterVars.contains(where: {
                $0.iterType == .commReduce && s.attr($0).bindThread != nil || s.attr($0).kind == .tensorized
            }), let loop = loops[outermost], let made = try? engine.decomposeReduction(block, loop),
            let name = try? engine.get(made).name, let updated = try? engine.get(block).name
        else { return }
        decomposed.insert(id)
        blockNames[id] = [name, updated]
    }

    // MARK: Store predicates

    private func guardStores(_ s: Stage) throws {
        guard let condition = s.storePredicate else { return }
        var map: [Var: PrimExpr] = [:]
        for a in s.allIterVars {
            if let l = loops[a], let f = try? engine.get(l) { map[a.variable] = f.loopVar }
        }
        for name in blockNames[ObjectIdentifier(s)] ?? [] {
            function = try PredicateAdder.run(function, name, condition, map, roots: s.op.rootIterVars)
        }
    }

    // MARK: Names

    /// Loops take the names of their axes; loops of one iteration, which say nothing, go.
    private func tidy() {
        var names: [Var: String] = [:]
        for (axis, rv) in loops {
            guard let v = try? engine.get(rv).loopVar else { continue }
            names[v] = axis.variable.name
        }
        let t = LoopTidier(names)
        function = function.with(body: t.mutate(function.body))
        let analyzer = Analyzer()
        for (axis, r) in ranges {
            ranges[axis] = IRRange(
                min: analyzer.simplify(substitute(r.min, t.map)), extent: substitute(r.extent, t.map))
        }
    }
}

/// Renames loops, and removes those of one iteration.
private final class LoopTidier: StmtExprMutator {
    let names: [Var: String]
    private(set) var map: [Var: PrimExpr] = [:]

    init(_ names: [Var: String]) { self.names = names }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.kind == .variable { return map[unsafeDowncast(e, to: Var.self)] ?? e }
        return mutateChildren(of: e)
    }

    override func mutate(_ s: Stmt) -> Stmt {
        guard let f = s as? For else { return mutateChildren(of: s) }
        if f.extent.asInt == 1, f.forKind != .threadBinding, f.annotations.entries.isEmpty {
            map[f.loopVar] = mutate(f.min)
            return mutate(f.body)
        }
        guard let name = names[f.loopVar], name != f.loopVar.name else { return mutateChildren(of: s) }
        let fresh = Var(name, dtype: f.loopVar.dtype)
        map[f.loopVar] = fresh
        return For(
            fresh, mutate(f.min), mutate(f.extent), f.forKind, body: mutate(f.body),
            threadBinding: f.threadBinding, annotations: f.annotations)
    }
}

/// Adds a condition to the predicate of a block.
private final class PredicateAdder: StmtExprMutator {
    private let block: String
    private let condition: PrimExpr
    private let axes: [Var: PrimExpr]
    private let roots: [IterVar]
    private var threads: [(tag: String, loopVar: Var)] = []
    private var error: ApusError?

    private init(_ block: String, _ condition: PrimExpr, _ axes: [Var: PrimExpr], _ roots: [IterVar]) {
        self.block = block
        self.condition = condition
        self.axes = axes
        self.roots = roots
    }

    static func run(
        _ f: PrimFunc, _ block: String, _ condition: PrimExpr, _ axes: [Var: PrimExpr], roots: [IterVar]
    ) throws -> PrimFunc {
        let m = PredicateAdder(block, condition, axes, roots)
        let body = m.mutate(f.body)
        if let e = m.error { throw e }
        return f.with(body: body)
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }

    override func mutate(_ s: Stmt) -> Stmt {
        if let f = s as? For, f.forKind == .threadBinding, let b = f.threadBinding {
            threads.append((tag: b.threadTag, loopVar: f.loopVar))
            defer { threads.removeLast() }
            return mutateChildren(of: s)
        }
        guard let r = s as? BlockRealize, r.block.name == block else { return mutateChildren(of: s) }
        var map = axes
        for (v, value) in zip(r.block.iterVars, r.iterValues) {
            for a in roots where "v_\(a.variable.name)" == v.variable.name { map[a.variable] = value }
        }
        var unknown: Var?
        postOrderVisit(condition) { e in
            guard let v = e as? Var, map[v] == nil else { return }
            // The variable of a thread axis: the loop that is bound to it.
            if let t = threads.last(where: { $0.tag == v.name }) {
                map[v] = t.loopVar
            } else if unknown == nil {
                unknown = v
            }
        }
        if let unknown {
            error = ApusError(
                "TE042",
                "setStorePredicate: `\(unknown.name)` is neither an axis of the stage nor a thread around it")
            return s
        }
        return BlockRealize(r.iterValues, predicate: and(r.predicate, substitute(condition, map)), r.block)
    }
}

// MARK: - Tensor intrinsics

extension ScheduleReplay {
    /// Replaces the loops from the tensorized axis inward by the intrinsic. If the reduction also runs outside, its start is
    /// taken out first (and done by the reset, where there is one), and the update takes the place.
    private func tensorize(_ s: Stage) throws {
        guard let at = s.leafIterVars.firstIndex(where: { s.attr($0).kind == .tensorized }),
            let intrin = s.attr(s.leafIterVars[at]).tensorIntrin, let block = blocks[ObjectIdentifier(s)]
        else { return }
        let axis = s.leafIterVars[at]
        try within("axis: \(axis.variable.name)") {
            guard let target = loops[axis] else { return }
            let inside = s.leafIterVars[at...]
            let outer = s.leafIterVars[..<at].first { a in
                guard a.iterType == .commReduce, let l = loops[a] else { return false }
                return (try? engine.get(l).extent.asInt) != 1
            }
            guard let outer, let outerLoop = loops[outer] else {
                guard let body = intrin.body else {
                    throw ApusError(
                        "TE041", "tensorize: the intrinsic `\(intrin.name)` has no body for a whole reduction"
                    )
                }
                let name = try register(intrin, "body", body) { $0 }
                try engine.tensorize(target, name)
                return
            }
            guard let update = intrin.reduceUpdate else {
                throw ApusError(
                    "TE041",
                    "tensorize: the intrinsic `\(intrin.name)` has no update for a part of a reduction",
                    hint: "the reduction also runs over `\(outer.variable.name)`, outside")
            }
            let initial = try engine.decomposeReduction(block, outerLoop)
            decomposed.insert(ObjectIdentifier(s))
            blockNames[ObjectIdentifier(s)] = [try engine.get(initial).name]
            let name = try register(intrin, "update", update) { b in
                b.with(reads: b.reads + b.writes, initial: .some(nil))
            }
            try engine.tensorize(target, name)
            let spatial = inside.filter { $0.iterType == .dataParallel }.count
            guard let reset = intrin.reduceInit, spatial > 0 else { return }
            let starts = try engine.getLoops(initial)
            guard starts.count >= spatial else { return }
            let resetName = try register(intrin, "reset", reset) { b in
                b.with(
                    iterVars: b.iterVars.filter { $0.iterType == .dataParallel }, reads: [],
                    body: b.initial ?? b.body, initial: .some(nil))
            }
            try engine.tensorize(starts[starts.count - spatial], resetName)
        }
    }

    /// Makes one form of an intrinsic known to the schedule of the loop IR; its name says what it is, so that two intrinsics of
    /// one name do not meet. `describe` makes the block that the form computes of the whole computation's.
    private func register(
        _ intrin: TETensorIntrin, _ form: String, _ body: Stmt, _ describe: @escaping (Block) -> Block
    ) throws -> String {
        let outputs = (0..<intrin.op.outputCount).map { intrin.op.output($0) }
        let whole = try createPrimFunc(intrin.inputs + outputs)
        guard let root = whole.body as? BlockRealize else { internalError("a function without a root block") }
        let only = form == "reset" ? outputs.count : 0
        let described = whole.with(
            body: BlockRealize([], root.block.with(body: Describer(describe).mutate(root.block.body))))
        var buffers = intrin.buffers
        var description = described
        if only > 0 {
            // The reset knows the outputs alone.
            buffers = Array(buffers.suffix(only))
            description = described.with(
                params: Array(described.params.suffix(only)),
                bufferMap: Array(described.bufferMap.suffix(only)))
        }
        let implementation = PrimFunc(buffers: buffers, body: BlockRealize([], Block("root", body: body)))
        let name =
            "te.\(intrin.name).\(form).\(hexadecimal(structuralHash(description) &+ 31 &* structuralHash(implementation)))"
        TensorIntrin.register(
            try within("intrinsic: \(intrin.name)") {
                try TensorIntrin(name, description: description, implementation: implementation)
            })
        return name
    }

    private func hexadecimal(_ h: UInt64) -> String { String(h, radix: 16) }
}

/// Changes the one block of a description; loops that it no longer uses go.
private final class Describer: StmtExprMutator {
    private let change: (Block) -> Block
    private var kept: Set<Var> = []

    init(_ change: @escaping (Block) -> Block) { self.change = change }

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }

    override func mutate(_ s: Stmt) -> Stmt {
        if let r = s as? BlockRealize {
            let new = change(r.block)
            var values: [PrimExpr] = []
            for v in new.iterVars {
                guard let i = r.block.iterVars.firstIndex(where: { $0.variable === v.variable }) else {
                    continue
                }
                values.append(r.iterValues[i])
            }
            for e in values { postOrderVisit(e) { if let v = $0 as? Var { kept.insert(v) } } }
            return BlockRealize(values, predicate: r.predicate, new)
        }
        guard let f = s as? For else { return mutateChildren(of: s) }
        let body = mutate(f.body)
        return kept.contains(f.loopVar) ? f.with(body: body) : body
    }
}
