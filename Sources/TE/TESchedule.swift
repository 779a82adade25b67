import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRSchedule

/// How tensors are computed: one `Stage` a computation, in dependency order. A record of what was asked for; the loops are made
/// from it by replaying it onto a `Schedule` of the loop IR (`asTIR`, `lowered`), which checks every step. Nothing here
/// throws until then, see `Stage`.
public final class TESchedule: CustomStringConvertible {
    public internal(set) var stages: [Stage] = []
    public internal(set) var outputs: [Operation]
    /// Groups of stages that are placed together.
    public internal(set) var groups: [Stage] = []
    /// The stage of each operation: of those that a schedule started from, and of those that replaced them.
    public internal(set) var stageMap: [Operation: Stage] = [:]
    let log: ScheduleLog
    private var cached: (version: Int, result: Result<ScheduleReplay, ApusError>)?

    init(_ operations: [Operation]) {
        log = ScheduleLog()
        outputs = []
        for op in operations where !outputs.contains(where: { $0 === op }) { outputs.append(op) }
        for op in dependencyOrder(outputs) {
            let stage = Stage(op, log)
            stage.isOutput = outputs.contains { $0 === op }
            stages.append(stage)
            stageMap[op] = stage
        }
        if outputs.isEmpty {
            log.fail(
                ApusError(
                    "TE029", "a schedule needs an output", at: ["call: createSchedule"],
                    expected: "the operations whose results are wanted"))
        }
        for case let scan as ScanOp in stages.map(\.op) {
            for b in scan.body() { stageMap[b]?.attachType = .scanUpdate }
        }
    }

    // MARK: Stages

    /// The stage that computes a tensor. A tensor that is none of the schedule's gets a stage of its own that does nothing, and
    /// the schedule an error (TE029).
    public subscript(tensor: Tensor) -> Stage { self[tensor.op] }

    /// The stage of an operation.
    public subscript(op: Operation) -> Stage {
        if let s = stageMap[op] { return s }
        log.fail(
            ApusError("TE029", "`\(op.name)` is not computed by this schedule", at: ["stage: \(op.name)"]))
        return Stage(op, log)
    }

    /// What stands for a tensor now: caches and factored reductions replace what computes it.
    func source(_ t: Tensor) -> Tensor {
        guard let op = stageMap[t.op]?.op, op !== t.op, t.valueIndex < op.outputCount else { return t }
        return op.output(t.valueIndex)
    }

    /// The stages that read what `stage` computes.
    func readers(_ stage: Stage) -> [Stage] {
        stages.filter { s in s !== stage && s.op.inputTensors.contains { source($0).op === stage.op } }
    }

    func insert(_ stage: Stage, before other: Stage) {
        let at = stages.firstIndex { $0 === other } ?? stages.count
        stages.insert(stage, at: at)
        stageMap[stage.op] = stage
        stage.group = other.group
        if let g = other.group { g.numChildStages += 1 }
        if other.attachType == .scanUpdate { stage.attachType = .scanUpdate }
        log.changed()
    }

    /// The stage computes `op` from now on, with loops as that has them.
    func replace(_ stage: Stage, with op: Operation) {
        stage.op = op
        stage.allIterVars = op.rootIterVars
        stage.leafIterVars = stage.allIterVars
        stage.relations = []
        stage.steps = []
        stage.attrs = [:]
        stageMap[op] = stage
        log.changed()
    }

    // MARK: Results

    /// What is wrong so far with the steps themselves, in the order of the calls.
    public var errors: [ApusError] { log.errors }

    /// Throws the first thing that is wrong: with a step, a declaration, or the loops that come of them.
    public func check() throws { _ = try replay() }

    /// The parameters of the function where none are given: the inputs, scalar variables, the outputs.
    public var defaultArguments: [any FunctionArgument] {
        var states: Set<Operation> = []
        for case let scan as ScanOp in stages.map(\.op) { states.formUnion(scan.state.map(\.op)) }
        var tensors: [Tensor] = []
        var bound: Set<Var> = []
        for s in stages {
            if s.op is PlaceholderOp, !states.contains(s.op) { tensors.append(s.op.output()) }
            for a in s.op.axis + s.op.reduceAxis { bound.insert(a.variable) }
        }
        for op in outputs {
            let now = stageMap[op]?.op ?? op
            for i in 0..<now.outputCount { tensors.append(op.output(i)) }
        }
        for t in tensors {
            for d in t.shape { postOrderVisit(d) { if let v = $0 as? Var { bound.insert(v) } } }
        }
        var scalars: [Var] = []
        for s in stages {
            guard let compute = s.op as? ComputeOp else { continue }
            for a in compute.reduceAxis { bound.insert(a.variable) }
            for e in compute.body {
                postOrderVisit(e) { x in
                    if let l = x as? Let { bound.insert(l.variable) }
                }
                postOrderVisit(e) { x in
                    if let v = x as? Var, !v.dtype.isHandle, bound.insert(v).inserted { scalars.append(v) }
                }
            }
        }
        let inputs = tensors.filter { $0.op is PlaceholderOp }
        let results = tensors.filter { !($0.op is PlaceholderOp) }
        return inputs as [any FunctionArgument] + scalars as [any FunctionArgument]
            + results as [any FunctionArgument]
    }

    /// The loops as scheduled so far, as text; what is wrong with them instead, if something is.
    public var asTIR: String {
        do {
            return try replay().function.description
        } catch {
            return "\(error)"
        }
    }

    public var description: String { asTIR }

    /// The loop function of these parameters (the default ones if nil).
    ///
    /// Throws what is wrong with a step (TE029 to TE044), a declaration (TE002 to TE022), or the loops (SCH…); stage and axis
    /// are in the error's context.
    /// - Parameter decompose: whether reductions start in loops of their own, before the loops of the reduction, as code
    ///   generators want it. The text form (`asTIR`) leaves the start inside the block.
    public func lowered(
        _ arguments: [any FunctionArgument]? = nil, name: String = "main", attrs: Attrs = .empty,
        decompose: Bool = false
    ) throws -> PrimFunc {
        if arguments == nil, name == "main", attrs.entries.isEmpty, !decompose {
            return try replay().function
        }
        return try withLargeStack {
            try ScheduleReplay(
                self, arguments ?? self.defaultArguments, name: name, attrs: attrs, decompose: decompose
            ).function
        }
    }

    /// The schedule of the loop IR that this one becomes, with its trace.
    public func engine() throws -> Schedule { try replay().engine.copy() }

    func replay() throws -> ScheduleReplay {
        if let cached, cached.version == log.version { return try cached.result.get() }
        let version = log.version
        do {
            let r = try withLargeStack {
                try ScheduleReplay(self, self.defaultArguments, name: "main", attrs: .empty, decompose: false)
            }
            cached = (version: version, result: .success(r))
            return r
        } catch let e as ApusError {
            cached = (version: version, result: .failure(e))
            throw e
        }
    }

    // MARK: Whole schedules

    /// An independent schedule in the same state. Its stages are others; axes are the same.
    public func copy() -> TESchedule {
        let c = TESchedule(copying: self)
        return c
    }

    private init(copying s: TESchedule) {
        log = s.log.copy()
        outputs = s.outputs
        var map: [ObjectIdentifier: Stage] = [:]
        for old in s.stages + s.groups {
            let new = Stage(old.originOp, log, isGroup: old.isGroup)
            new.op = old.op
            new.allIterVars = old.allIterVars
            new.leafIterVars = old.leafIterVars
            new.relations = old.relations
            new.steps = old.steps
            new.attrs = old.attrs
            new.envThreads = old.envThreads
            new.attachType = old.attachType
            new.attachIterVar = old.attachIterVar
            new.scope = old.scope
            new.isOutput = old.isOutput
            new.isDoubleBuffered = old.isDoubleBuffered
            new.storePredicate = old.storePredicate
            new.numChildStages = old.numChildStages
            map[ObjectIdentifier(old)] = new
        }
        for old in s.stages + s.groups {
            guard let new = map[ObjectIdentifier(old)] else { continue }
            new.attachStage = old.attachStage.flatMap { map[ObjectIdentifier($0)] }
            new.group = old.group.flatMap { map[ObjectIdentifier($0)] }
            if old.isGroup { groups.append(new) } else { stages.append(new) }
        }
        for (op, old) in s.stageMap { stageMap[op] = map[ObjectIdentifier(old)] }
    }

    /// Notes that the axes of all stages start at 0: each root axis that does not gets a `rebase` to one that does. Loops
    /// start at 0 anyway; this is for those who look at the relations.
    @discardableResult
    public func normalize() -> TESchedule {
        for s in stages {
            for (i, a) in s.leafIterVars.enumerated()
            where !a.dom.min.isZero && s.op.rootIterVars.contains(where: { $0 === a }) {
                let rebased = IterVar(
                    IRRange(extent: a.dom.extent), Var("\(a.variable.name)_rebased", dtype: a.variable.dtype),
                    a.iterType)
                let r = IterVarRelation.rebase(parent: a, rebased: rebased)
                s.relations.append(r)
                s.steps.append(.relation(r))
                s.allIterVars.append(rebased)
                s.leafIterVars[i] = rebased
                s.attrs[rebased] = s.attrs[a]
            }
        }
        log.changed()
        return self
    }

    // MARK: Groups

    /// A group of the stages between `inputs` and `outputs` (with those of the inputs where `includeInputs`): it is
    /// attached as one. Stages that are attached themselves stay where they are.
    @discardableResult
    public func createGroup(outputs: [Tensor], inputs: [Tensor], includeInputs: Bool = false) -> Stage {
        let boundary = Set(inputs.map { source($0).op })
        var members: [Stage] = []
        var depends: [Operation: Bool] = [:]
        func visit(_ op: Operation) -> Bool {
            if let known = depends[op] { return known }
            depends[op] = false
            if boundary.contains(op) {
                if includeInputs, let s = stageMap[op], !(op is PlaceholderOp) { members.append(s) }
                depends[op] = true
                return true
            }
            var found = boundary.isEmpty
            for t in op.inputTensors where visit(source(t).op) { found = true }
            if op is PlaceholderOp { found = false }
            depends[op] = found
            if found, let s = stageMap[op] { members.append(s) }
            return found
        }
        for t in outputs { _ = visit(source(t).op) }
        let named = outputs.first?.op ?? self.outputs.first
        guard let named else {
            log.fail(ApusError("TE043", "a group needs outputs"))
            return Stage(PlaceholderOp(name: "group", shape: [], dtype: .float32), log, isGroup: true)
        }
        let group = Stage(named, log, isGroup: true)
        func refuse(_ message: String) -> Stage {
            log.fail(ApusError("TE043", message, at: ["group: \(named.name)"]))
            return group
        }
        if members.isEmpty { return refuse("no stage lies between the inputs and outputs of the group") }
        // A group within a group must lie in it as a whole.
        let parent = members[0].group
        for m in members where m.group !== parent {
            return refuse("the stages belong to different groups: `\(m.op.name)` and `\(members[0].op.name)`")
        }
        for m in members {
            m.group = group
        }
        group.group = parent
        group.numChildStages = members.count
        if let parent { parent.numChildStages += 1 - members.count }
        groups.append(group)
        log.changed()
        return group
    }
}

/// Operations, producers before consumers, in order of first use.
func dependencyOrder(_ outputs: [Operation]) -> [Operation] {
    var order: [Operation] = []
    var seen: Set<Operation> = []
    var stack: [(op: Operation, inputs: [Tensor], next: Int)] = []
    for o in outputs {
        if seen.insert(o).inserted { stack.append((op: o, inputs: o.inputTensors, next: 0)) }
        while let top = stack.last {
            if top.next < top.inputs.count {
                stack[stack.count - 1].next += 1
                let op = top.inputs[top.next].op
                if seen.insert(op).inserted { stack.append((op: op, inputs: op.inputTensors, next: 0)) }
            } else {
                stack.removeLast()
                order.append(top.op)
            }
        }
    }
    return order
}

extension te {
    /// A schedule that computes these tensors, each stage by itself.
    public static func createSchedule(_ outputs: Tensor...) -> TESchedule { TESchedule(outputs.map(\.op)) }

    /// As above.
    public static func createSchedule(_ outputs: [Tensor]) -> TESchedule { TESchedule(outputs.map(\.op)) }

    /// As above, for operations.
    public static func createSchedule(_ outputs: [Operation]) -> TESchedule { TESchedule(outputs) }

    /// The range of every axis of every stage that is computed; see the free function.
    public static func inferBound(_ s: TESchedule) throws -> [IterVar: IRRange] { try ApusTE.inferBound(s) }
}

/// The range of every axis of every stage that is computed, read off the loops that the schedule becomes: of a root axis what
/// is computed of it, in terms of the loops around the stage; of the others, the loop they are or were. Stages computed
/// inline have no loops. Throws what `TESchedule.lowered` does.
public func inferBound(_ s: TESchedule) throws -> [IterVar: IRRange] { try s.replay().ranges }
