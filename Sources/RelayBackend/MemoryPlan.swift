import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

/// Assigns storage to the values of a straight line of kernel calls so that values never alive together share memory.
///
/// Greedy in execution order: a value takes the smallest free storage that holds it; where none does, the largest free
/// one grows. Source: TVM's `GraphPlanMemory` (after Chen et al., "Training Deep Nets with Sublinear Memory Cost",
/// section 3).
struct StoragePlanner {
    private(set) var bytes: [Int] = []
    private var free: [Int] = []

    /// A storage of at least `size` bytes, taken until `release`.
    mutating func take(_ size: Int) -> Int {
        var best: Int?
        for f in free where bytes[f] >= size {
            // A storage many times too large is kept for a value that needs it.
            if size > 0 && bytes[f] / 16 > size { continue }
            if best.map({ bytes[f] < bytes[$0] }) ?? true { best = f }
        }
        if best == nil {
            for f in free where bytes[f] < size && bytes[f] >= size / 16 {
                if best.map({ bytes[f] > bytes[$0] }) ?? true { best = f }
            }
        }
        guard let chosen = best else {
            bytes.append(size)
            return bytes.count - 1
        }
        free.removeAll { $0 == chosen }
        bytes[chosen] = max(bytes[chosen], size)
        return chosen
    }

    mutating func release(_ storage: Int) { free.append(storage) }
}

/// The plan of a graph function whose calls are of loop functions (by name) or views: storage, constants,
/// instructions.
struct GraphPlanner {
    private var planner = StoragePlanner()
    private var constants: [ExecutablePlan.TensorSpec] = []
    private(set) var constantData: [NDArray] = []
    private var constantIndex: [ObjectIdentifier: Int] = [:]
    private var views: [ObjectIdentifier: [ExecutablePlan.View]] = [:]
    private var storagesOf: [ObjectIdentifier: [Int]] = [:]

    mutating func plan(
        _ function: Relay.Function, name: String, inputNames: [String], outputNames: [String]
    ) throws -> ExecutablePlan {
        var inputs: [ExecutablePlan.TensorSpec] = []
        for (i, p) in function.params.enumerated() {
            let type = try staticType(p)
            inputs.append(
                ExecutablePlan.TensorSpec(name: inputNames[i], shape: type.shape, dtype: type.dtype))
            views[ObjectIdentifier(p)] = [
                ExecutablePlan.View(.input(i), shape: type.shape, dtype: type.dtype)
            ]
        }
        let nodes = Relay.postOrder(function.body, intoFunctions: false)
        let lastUse = lastUses(nodes, function.body)
        var instructions: [ExecutablePlan.Instruction] = []
        for (i, node) in nodes.enumerated() {
            switch node {
            case is Relay.Var, is Op, is GlobalVar, is Relay.Function: continue
            case let c as Relay.Constant: views[ObjectIdentifier(c)] = [try constantView(c)]
            case let t as Relay.Tuple:
                views[ObjectIdentifier(t)] = t.fields.flatMap { views[ObjectIdentifier($0)] ?? [] }
            case let g as Relay.TupleGetItem:
                let fields = views[ObjectIdentifier(g.tuple)] ?? []
                guard fields.indices.contains(g.index) else { internalError("a tuple lost a field") }
                views[ObjectIdentifier(g)] = [fields[g.index]]
            case let call as Relay.Call: try plan(call, lastUse, &instructions)
            default:
                throw ApusError(
                    "BACKEND004", "the graph executor runs straight-line dataflow only",
                    actual: node.schema.key,
                    hint: "control flow needs the virtual machine")
            }
            for s in lastUse.dying[i] ?? [] { release(s) }
        }
        let results = views[ObjectIdentifier(function.body)] ?? []
        var outputs: [ExecutablePlan.Output] = []
        for (i, v) in results.enumerated() {
            let name = i < outputNames.count ? outputNames[i] : "output_\(i)"
            outputs.append(ExecutablePlan.Output(name: name, view: v))
        }
        let plan = ExecutablePlan(
            name: name, storages: planner.bytes.map { ExecutablePlan.Storage(bytes: $0) }, inputs: inputs,
            constants: constants, instructions: instructions, outputs: outputs)
        try plan.validate()
        return plan
    }

    private struct Lifetimes {
        /// By index in the order of execution: the values whose last use is there.
        var dying: [Int: [ObjectIdentifier]] = [:]
        var kept: Set<ObjectIdentifier> = []
    }

    /// When each call's value is used for the last time, looking through tuples and views.
    private func lastUses(_ nodes: [RelayExpr], _ result: RelayExpr) -> Lifetimes {
        // The calls whose storage a node's value lies in.
        var owners: [ObjectIdentifier: [ObjectIdentifier]] = [:]
        var last: [ObjectIdentifier: Int] = [:]
        for (i, node) in nodes.enumerated() {
            let id = ObjectIdentifier(node)
            var through: [ObjectIdentifier] = []
            for c in Relay.children(of: node) {
                let own = owners[ObjectIdentifier(c)] ?? []
                through += own
                for o in own { last[o] = i }
            }
            if let call = node as? Relay.Call, !(call.op is Relay.Function) {
                owners[id] = [id]
                last[id] = i
            } else if node.exprKind != .function {
                owners[id] = through
            }
        }
        var lifetimes = Lifetimes()
        lifetimes.kept = Set(owners[ObjectIdentifier(result)] ?? [])
        for node in nodes {
            let id = ObjectIdentifier(node)
            if let i = last[id], !lifetimes.kept.contains(id) { lifetimes.dying[i, default: []].append(id) }
        }
        return lifetimes
    }

    private mutating func release(_ id: ObjectIdentifier) {
        for s in storagesOf[id] ?? [] { planner.release(s) }
    }

    private mutating func plan(
        _ call: Relay.Call, _ lifetimes: Lifetimes, _ instructions: inout [ExecutablePlan.Instruction]
    ) throws {
        let args = call.args.flatMap { views[ObjectIdentifier($0)] ?? [] }
        if call.op is Relay.Function {
            // A view: same bytes, another shape.
            let type = try staticType(call)
            views[ObjectIdentifier(call)] = [
                ExecutablePlan.View(
                    args[0].source, byteOffset: args[0].byteOffset, shape: type.shape, dtype: type.dtype)
            ]
            return
        }
        guard let kernel = call.op as? GlobalVar else {
            throw ApusError("BACKEND005", "a call that was not lowered", actual: "\(call.op)")
        }
        var results: [ExecutablePlan.View] = []
        var storages: [Int] = []
        for type in flattened(call.checkedType) {
            let shape = try staticShape(type, call)
            let size = try NDArray.checkedSize(shape: shape, dtype: type.dtype).bytes
            let storage = planner.take(size)
            storages.append(storage)
            results.append(ExecutablePlan.View(.storage(storage), shape: shape, dtype: type.dtype))
        }
        storagesOf[ObjectIdentifier(call)] = storages
        views[ObjectIdentifier(call)] = results
        instructions.append(
            ExecutablePlan.Instruction(
                kernel: kernel.name, args: args + results, label: call.span.map { "\($0)" } ?? ""))
    }

    private mutating func constantView(_ c: Relay.Constant) throws -> ExecutablePlan.View {
        let id = ObjectIdentifier(c.data)
        let index: Int
        if let known = constantIndex[id] {
            index = known
        } else {
            index = constants.count
            constantIndex[id] = index
            constants.append(
                ExecutablePlan.TensorSpec(name: "c\(index)", shape: c.data.shape, dtype: c.data.dtype))
            constantData.append(c.data)
        }
        return ExecutablePlan.View(.constant(index), shape: c.data.shape, dtype: c.data.dtype)
    }

    private func staticType(_ e: RelayExpr) throws -> (shape: [Int], dtype: DataType) {
        guard let type = e.tensorType else {
            throw ApusError("BACKEND006", "a tensor is needed here", actual: "\(e.checkedType)")
        }
        return (shape: try staticShape(type, e), dtype: type.dtype)
    }

    private func staticShape(_ type: TensorType, _ e: RelayExpr) throws -> [Int] {
        if let shape = type.staticShape { return shape }
        throw ApusError(
            "BACKEND007", "the graph executor needs static shapes", at: e.span.map { ["node: \($0)"] } ?? [],
            actual: "\(type)",
            hint: "give the dimensions of the inputs at compile time, as --shape NAME=1,3,224,224")
    }
}
