import ApusDriver
import ApusIR
import ApusNode
import ApusRelay
import ApusRelayTransforms
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTarget

/// Evaluates closed graph functions with the compiler itself: small ones by interpreting their loop functions, others
/// by compiling them in memory.
///
/// One definition of every operator serves the model and the folding of its constants, so that they cannot differ.
public func constantEvaluator(target: Target) -> ConstantEvaluator {
    { function in try withLargeStack { try evaluateConstants(function, target) } }
}

/// Interpreting a step costs about a hundred times a compiled one, compiling a kernel some tens of milliseconds.
private let interpreterElements = 1 << 14

private func evaluateConstants(_ function: Relay.Function, _ target: Target) throws -> [NDArray] {
    OpStrategies.registerAll()
    var small: [ObjectIdentifier: [NDArray]] = [:]
    // Values that are cheap to interpret are computed node by node; what is left is compiled together.
    for node in Relay.postOrder(function.body) {
        let id = ObjectIdentifier(node)
        switch node {
        case let c as Relay.Constant: small[id] = [c.data]
        case let t as Relay.Tuple:
            var all: [NDArray] = []
            for f in t.fields {
                guard let v = small[ObjectIdentifier(f)] else { break }
                all += v
            }
            if all.count == flattened(t.checkedType).count { small[id] = all }
        case let g as Relay.TupleGetItem:
            if let all = small[ObjectIdentifier(g.tuple)], all.indices.contains(g.index) {
                small[id] = [all[g.index]]
            }
        case let call as Relay.Call:
            guard call.op is Op, call.args.allSatisfy({ small[ObjectIdentifier($0)] != nil }), isSmall(call)
            else { continue }
            small[id] = try interpret(call, call.args.map { small[ObjectIdentifier($0)] ?? [] }, target)
        default: continue
        }
    }
    if let all = small[ObjectIdentifier(function.body)] { return all }
    let body = try Relay.rewrite(function.body) { old, node in
        guard node.exprKind == .call, let v = small[ObjectIdentifier(old)], v.count == 1,
            old.checkedType is TensorType
        else { return node }
        return Relay.Constant(v[0])
    }
    return try compileAndRun(try function.with(body: body), target)
}

/// Whether the elements read and written are few.
private func isSmall(_ call: Relay.Call) -> Bool {
    var total = 0
    for type in flattened(call.checkedType) + call.args.flatMap({ flattened($0.checkedType) }) {
        guard let shape = type.staticShape,
            let size = try? NDArray.checkedSize(shape: shape, dtype: type.dtype)
        else { return false }
        let (sum, overflow) = total.addingReportingOverflow(size.count)
        if overflow || sum > interpreterElements { return false }
        total = sum
    }
    // A product of matrices does more work than it has elements.
    return Relay.pattern(of: call.op) <= .injective || total <= 256
}

private func interpret(_ call: Relay.Call, _ args: [[NDArray]], _ target: Target) throws -> [NDArray] {
    var params: [Relay.Var] = []
    for (i, a) in call.args.enumerated() { params.append(Relay.Var("p\(i)", a.checkedType)) }
    let results = try allocated(call.checkedType)
    if (call.op as? Op)?[Relay.valueRelation] != nil {
        // The type depends on the operands' values: they go into the code, and no argument is left.
        let closed = try Relay.Call(call.op, args.flatMap { $0 }.map { Relay.Constant($0) }, call.attrs)
        let f = Relay.Function([], closed, Attrs(["primitive": true]))
        try TIRInterpreter.run(try primFunc(of: f, name: "constant", target: target), results)
        return results
    }
    let f = Relay.Function(params, try Relay.Call(call.op, params, call.attrs), Attrs(["primitive": true]))
    let loops = try primFunc(of: f, name: "constant", target: target)
    try TIRInterpreter.run(loops, args.flatMap { $0 } + results)
    return results
}

private func allocated(_ type: IRType) throws -> [NDArray] {
    try flattened(type).map { t in
        guard let shape = t.staticShape else {
            throw ApusError("BACKEND007", "a constant needs a static shape", actual: "\(t)")
        }
        return try NDArray.allocate(shape: shape, dtype: t.dtype)
    }
}

/// Bytes of results that are computed together. Each group has memory of its own for its run; small ones keep the peak of
/// a large model near the size of its weights.
private let groupBytes = 16 << 20

/// Compiles all kernels once and runs the results in groups: what a group read from a file and wrote to its own memory is
/// given back before the next.
private func compileAndRun(_ function: Relay.Function, _ target: Target) throws -> [NDArray] {
    let context = PassContext(optLevel: 3, config: loweringConfig(target))
    let passes = Sequential("Evaluate", [fuseOps, lowerTE(target)])
    let lowered = try passes.run(IRModule(function), context)
    guard let main = try lowered.function("main") as? Relay.Function else {
        internalError("the function to evaluate was lost")
    }
    var plans: [(plan: ExecutablePlan, constants: [NDArray])] = []
    var names: [String] = []
    for group in groups(of: main.body) {
        var planner = GraphPlanner()
        let plan = try planner.plan(
            try main.with(body: group), name: "constants", inputNames: [], outputNames: [])
        plans.append((plan: plan, constants: planner.constantData))
        for n in plan.kernelNames where !names.contains(n) { names.append(n) }
    }
    let kernels = try buildJIT(functions: try lowerKernels(names, lowered, context), target: target)
    var results: [NDArray] = []
    for (plan, constants) in plans {
        let executor = try GraphExecutor(
            Executable(plan: plan, constants: constants, inPlace: { canRead($0, target) }), kernels: kernels)
        try executor.run()
        let wanted = plan.outputs.reduce(0) { $0 + ((try? outputBytes($1)) ?? 0) }
        let all = plan.storages.reduce(0) { $0 + $1.bytes }
        for i in plan.outputs.indices {
            let value = try executor.output(i)
            if case .storage = plan.outputs[i].view.source, all <= wanted + wanted / 8 {
                // The executor's memory holds little else: it is kept as it is.
                results.append(value)
                continue
            }
            let copy = try NDArray.allocate(shape: value.shape, dtype: value.dtype)
            try copy.copy(from: value)
            results.append(copy)
        }
        for c in constants { c.forgetFilePages() }
    }
    return results
}

private func outputBytes(_ output: ExecutablePlan.Output) throws -> Int {
    try NDArray.checkedSize(shape: output.view.shape, dtype: output.view.dtype).bytes
}

/// The fields of a tuple in order, some together; a value that two groups need is computed in each.
private func groups(of body: RelayExpr) -> [RelayExpr] {
    guard let tuple = body as? Relay.Tuple else { return [body] }
    var result: [RelayExpr] = []
    var fields: [RelayExpr] = []
    var bytes = 0
    func close() {
        if !fields.isEmpty { result.append(Relay.Tuple(fields)) }
        fields = []
        bytes = 0
    }
    for f in tuple.fields {
        fields.append(f)
        for type in flattened(f.checkedType) {
            let size = type.staticShape.flatMap {
                try? NDArray.checkedSize(shape: $0, dtype: type.dtype).bytes
            }
            bytes += size ?? 0
        }
        if bytes >= groupBytes { close() }
    }
    close()
    return result.isEmpty ? [body] : result
}

/// Runs a graph function by interpreting the unscheduled loop function of each operator: slow, and independent of
/// fusion, layouts, schedules and code generation. The oracle of the tests.
public func interpret(_ function: Relay.Function, _ inputs: [NDArray], target: Target) throws -> [NDArray] {
    try withLargeStack {
        OpStrategies.registerAll()
        var values: [ObjectIdentifier: [NDArray]] = [:]
        for (p, v) in zip(function.params, inputs) { values[ObjectIdentifier(p)] = [v] }
        for node in Relay.postOrder(function.body) {
            let id = ObjectIdentifier(node)
            switch node {
            case is Relay.Var: continue
            case let c as Relay.Constant: values[id] = [c.data]
            case let t as Relay.Tuple: values[id] = t.fields.flatMap { values[ObjectIdentifier($0)] ?? [] }
            case let g as Relay.TupleGetItem:
                values[id] = [values[ObjectIdentifier(g.tuple)]?[g.index]].compactMap { $0 }
            case let call as Relay.Call:
                values[id] = try interpret(call, call.args.map { values[ObjectIdentifier($0)] ?? [] }, target)
            default:
                throw ApusError("BACKEND004", "only dataflow can be interpreted", actual: node.schema.key)
            }
        }
        return values[ObjectIdentifier(function.body)] ?? []
    }
}
