import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// A recurrence: states whose first axis is the step. The first steps come from `initial`, each later one from
/// `update`, which reads earlier steps through the placeholders `state`.
public final class ScanOp: Operation, @unchecked Sendable {
    /// The steps that are computed: from the steps given to the end.
    public let scanAxis: IterVar
    public let initial: [Tensor]
    public let update: [Tensor]
    public let state: [Tensor]
    /// What the update reads besides the states; for documentation and visualisation.
    public let inputs: [Tensor]
    /// For each state in turn, an axis for each dimension but the first.
    public let spatialAxis: [IterVar]

    init(
        name: String, tag: String, attrs: Attrs, scanAxis: IterVar, initial: [Tensor], update: [Tensor],
        state: [Tensor], inputs: [Tensor], spatialAxis: [IterVar], error: ApusError? = nil
    ) {
        self.scanAxis = scanAxis
        self.initial = initial
        self.update = update
        self.state = state
        self.inputs = inputs
        self.spatialAxis = spatialAxis
        super.init(
            name: name, tag: tag, attrs: attrs,
            error: error ?? checkScan(name, initial: initial, update: update, state: state))
    }

    public override var outputCount: Int { state.count }
    public override func outputShape(_ i: Int) -> [PrimExpr] { state[i].shape }
    public override func outputDType(_ i: Int) -> DataType { state[i].dtype }
    public override var inputTensors: [Tensor] { initial + update }
    public override var rootIterVars: [IterVar] { [scanAxis] }

    public override func replacingInputs(_ replacement: (Tensor) -> Tensor?) -> Operation {
        let a = replaced(initial, replacement)
        let b = replaced(update, replacement)
        let c = replaced(inputs, replacement)
        if a == nil && b == nil && c == nil { return self }
        return ScanOp(
            name: name, tag: tag, attrs: attrs, scanAxis: scanAxis, initial: a ?? initial,
            update: b ?? update, state: state, inputs: c ?? inputs, spatialAxis: spatialAxis, error: error)
    }

    /// The operations of one step, producers first: those that depend on a state, and the updates themselves.
    /// `source`: the operation that stands for a tensor's (a schedule may have replaced it).
    func body(_ source: (Tensor) -> Tensor = { $0 }, with extra: Set<Operation> = []) -> [Operation] {
        let states = Set(state.map { ObjectIdentifier($0.op) })
        let updates = Set(update.map { ObjectIdentifier(source($0).op) })
        var depends: [ObjectIdentifier: Bool] = [:]
        var order: [Operation] = []
        var stack: [(op: Operation, inputs: [Tensor], next: Int)] = []
        func enter(_ op: Operation) {
            let id = ObjectIdentifier(op)
            if depends[id] != nil { return }
            depends[id] = states.contains(id)
            if states.contains(id) { return }
            stack.append((op: op, inputs: op.inputTensors.map(source), next: 0))
        }
        for t in update {
            enter(source(t).op)
            while let top = stack.last {
                if top.next < top.inputs.count {
                    stack[stack.count - 1].next += 1
                    enter(top.inputs[top.next].op)
                    continue
                }
                stack.removeLast()
                let id = ObjectIdentifier(top.op)
                let inside =
                    updates.contains(id) || extra.contains(top.op)
                    || top.inputs.contains { depends[ObjectIdentifier($0.op)] == true }
                depends[id] = inside
                if inside { order.append(top.op) }
            }
        }
        return order
    }

    public override class var schema: NodeSchema { scanSchema }
}

private let scanSchema = NodeSchema(
    "te.ScanOp", ScanOp.self,
    [
        .field("name", \.name), .field("tag", \.tag), .field("attrs", \.attrs),
        .definition("scanAxis", \.scanAxis), .definition("spatialAxis", \.spatialAxis),
        .field("state", \.state), .field("initial", \.initial), .field("update", \.update),
        .field("inputs", \.inputs),
    ], identity: .graph,
    make: {
        let name: String = try $0.next()
        let tag: String = try $0.next()
        let attrs: Attrs = try $0.next()
        let scanAxis: IterVar = try $0.next()
        let spatial: [IterVar] = try $0.next()
        let state: [Tensor] = try $0.next()
        let initial: [Tensor] = try $0.next()
        let update: [Tensor] = try $0.next()
        return ScanOp(
            name: name, tag: tag, attrs: attrs, scanAxis: scanAxis, initial: initial, update: update,
            state: state, inputs: try $0.next(), spatialAxis: spatial)
    })

/// The recurrence over states of shape `[steps, …]`: `initial` gives the first steps (its first dimension says how many),
/// `update` all others, reading `state` (placeholders of the whole) at earlier steps.
///
/// Errors, noted in the operation: TE019.
public func scan(
    initial: [Tensor], update: [Tensor], state: [Tensor], inputs: [Tensor] = [], name: String = "scan",
    tag: String = "", attrs: Attrs = .empty
) -> [Tensor] {
    let given: PrimExpr = initial.first?.shape.first ?? IntImm(0)
    let steps: PrimExpr = state.first?.shape.first ?? IntImm(0)
    let axis = IterVar(IRRange(min: given, extent: steps - given), Var("t", dtype: steps.dtype), .ordered)
    var spatial: [IterVar] = []
    for (i, t) in state.enumerated() {
        spatial.append(contentsOf: spatialAxes(Array(t.shape.dropFirst()), prefix: "s\(i)_"))
    }
    let op = ScanOp(
        name: name, tag: tag.isEmpty ? TagScope.current : tag, attrs: attrs, scanAxis: axis, initial: initial,
        update: update, state: state, inputs: inputs, spatialAxis: spatial)
    return state.indices.map { op.output($0) }
}

extension te {
    /// A recurrence of several states; see the free function `scan`.
    public static func scan(
        _ initial: [Tensor], _ update: [Tensor], _ state: [Tensor], inputs: [Tensor] = [],
        name: String = "scan", tag: String = "", attrs: Attrs = .empty
    ) -> [Tensor] {
        ApusTE.scan(
            initial: initial, update: update, state: state, inputs: inputs, name: name, tag: tag, attrs: attrs
        )
    }

    /// A recurrence of one state.
    public static func scan(
        _ initial: Tensor, _ update: Tensor, _ state: Tensor, inputs: [Tensor] = [], name: String = "scan",
        tag: String = "", attrs: Attrs = .empty
    ) -> Tensor {
        // One state gives one result.
        scan([initial], [update], [state], inputs: inputs, name: name, tag: tag, attrs: attrs)[0]
    }
}

/// TE019: states, initial values and updates that do not fit together.
private func checkScan(_ name: String, initial: [Tensor], update: [Tensor], state: [Tensor]) -> ApusError? {
    func wrong(_ message: String, _ expected: String? = nil, _ actual: String? = nil) -> ApusError {
        ApusError("TE019", message, at: ["scan: \(name)"], expected: expected, actual: actual)
    }
    guard !state.isEmpty, initial.count == state.count, update.count == state.count else {
        return wrong(
            "a scan needs one initial value and one update a state", "\(max(state.count, 1))",
            "\(initial.count) and \(update.count)")
    }
    for i in state.indices {
        guard state[i].op is PlaceholderOp else {
            return wrong("the state `\(state[i].op.name)` of a scan must be a placeholder")
        }
        let shape = state[i].shape
        for t in [initial[i], update[i]] where t.dtype != state[i].dtype {
            return wrong("`\(t.op.name)` has another type than its state", "\(state[i].dtype)", "\(t.dtype)")
        }
        let rest = shape.dropFirst()
        guard !shape.isEmpty, update[i].rank == shape.count, initial[i].rank == shape.count,
            zip(update[i].shape, shape).allSatisfy({ structuralEqual($0, $1) }),
            zip(initial[i].shape.dropFirst(), rest).allSatisfy({ structuralEqual($0, $1) })
        else {
            return wrong(
                "`\(initial[i].op.name)` or `\(update[i].op.name)` has another shape than its state",
                "\(shape)", "\(initial[i].shape) and \(update[i].shape)")
        }
        guard structuralEqual(shape[0], state[0].shape[0]),
            structuralEqual(initial[i].shape[0], initial[0].shape[0])
        else { return wrong("the states of a scan need the same steps") }
        if let given = initial[i].shape[0].asInt, let steps = shape[0].asInt, given < 1 || given > steps {
            return wrong("a scan needs at least one step given", "1...\(steps)", "\(given)")
        }
    }
    return nil
}
