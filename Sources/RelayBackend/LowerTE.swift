import ApusIR
import ApusNode
import ApusRelay
import ApusRelayTransforms
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTIRSchedule
import ApusTOPI
import ApusTarget

/// Lowers every primitive function to a scheduled loop function of the module, once for all that are structurally
/// equal, and calls it by name from the graph.
///
/// A primitive function that only gives its argument another shape stays as it is: the planner makes it a view.
public func lowerTE(_ target: Target) -> some Pass {
    ModulePass(
        PassInfo(
            "LowerTE", "primitive functions become scheduled loop functions", requires: ["FuseOps"],
            establishes: ["the graph calls loop functions by name"])
    ) { module, _ in
        OpStrategies.registerAll()
        var lowering = TELowering(target: target)
        var result = try module.mapFunctions { global, function in
            guard let f = function as? Relay.Function else { return function }
            return try within("function: @\(global.name)") { try lowering.run(f) }
        }
        for (name, function) in lowering.functions { result = result.updating(name, function) }
        return result
    }
}

private struct TELowering {
    let target: Target
    private(set) var functions: [(name: String, function: PrimFunc)] = []
    private var known: [UInt64: [(function: Relay.Function, global: GlobalVar)]] = [:]
    private var names: [String: Int] = [:]

    init(target: Target) { self.target = target }

    mutating func run(_ function: Relay.Function) throws -> Relay.Function {
        var cache = self
        let body = try Relay.rewrite(function.body, intoFunctions: false) { old, node in
            guard let call = node as? Relay.Call, let primitive = call.op as? Relay.Function,
                primitive.attrs.bool("primitive") == true, !isViewOnly(primitive)
            else { return node }
            let place = call.span.map { "node: \($0)" } ?? "node: \(kernelName(primitive))"
            let global = try within(place) { try cache.lower(primitive) }
            return try Relay.Call(global, call.args, call.attrs, span: call.span)
        }
        self = cache
        return try function.with(body: body)
    }

    private mutating func lower(_ primitive: Relay.Function) throws -> GlobalVar {
        let hash = structuralHash(primitive)
        for k in known[hash] ?? [] where structuralEqual(k.function, primitive) { return k.global }
        let base = kernelName(primitive)
        let n = names[base, default: 0]
        names[base] = n + 1
        let name = n == 0 ? base : "\(base)_\(n)"
        let global = GlobalVar(name, type: primitive.checkedType)
        let function = try primFunc(of: primitive, name: name, target: target)
        functions.append((name: name, function: try TOPI.schedule(function, target: target)))
        known[hash, default: []].append((function: primitive, global: global))
        return global
    }
}

/// `fused_` and the operators in order, short enough for a file name.
func kernelName(_ primitive: Relay.Function) -> String {
    var names: [String] = []
    for node in Relay.postOrder(primitive.body) {
        if let call = node as? Relay.Call, let op = call.op as? Op { names.append(op.name) }
    }
    // What operands are read through says little.
    let telling = names.filter { $0 != "nn.contrib_strided_view" }
    let parts = (telling.isEmpty ? names : telling).map { String($0.map { $0 == "." ? "_" : $0 }) }
    let full = "fused_" + parts.joined(separator: "_")
    return full.count <= 80 ? full : String(full.prefix(72)) + "_and_more"
}

/// Whether a primitive function only reinterprets its one argument's memory in another shape, or as words.
func isViewOnly(_ primitive: Relay.Function) -> Bool {
    guard primitive.params.count == 1 else { return false }
    var e = primitive.body
    while let call = e as? Relay.Call {
        guard let op = call.op as? Op,
            ["reshape", "squeeze", "expand_dims"].contains(op.name) || isWordView(call)
        else { return false }
        e = call.args[0]
    }
    return e === primitive.params[0]
}

/// The unscheduled loop function of a primitive function: its parameters, then its results.
public func primFunc(of primitive: Relay.Function, name: String, target: Target) throws -> PrimFunc {
    OpStrategies.registerAll()
    var tensors: [ObjectIdentifier: [Tensor]] = [:]
    var inputs: [Tensor] = []
    for p in primitive.params {
        var own: [Tensor] = []
        for type in flattened(p.checkedType) {
            own.append(placeholder(type.shape, type.dtype, name: "p\(inputs.count + own.count)"))
        }
        inputs += own
        tensors[ObjectIdentifier(p)] = own
    }
    for node in Relay.postOrder(primitive.body) {
        let id = ObjectIdentifier(node)
        switch node {
        case is Relay.Var, is Op: continue
        case let c as Relay.Constant: tensors[id] = [try constantTensor(c)]
        case let t as Relay.Tuple: tensors[id] = t.fields.flatMap { tensors[ObjectIdentifier($0)] ?? [] }
        case let g as Relay.TupleGetItem:
            tensors[id] = [tensors[ObjectIdentifier(g.tuple)]?[g.index]].compactMap { $0 }
        case let call as Relay.Call:
            guard let op = call.op as? Op else {
                throw ApusError("BACKEND001", "a primitive function may only call operators")
            }
            let args = call.args.flatMap { tensors[ObjectIdentifier($0)] ?? [] }
            guard let strategy = op[opStrategyKey],
                let implementation = strategy.select(call.attrs, call.args.map(\.checkedType), target)
            else {
                throw ApusError("BACKEND002", "no implementation of `\(op.name)` for this target")
            }
            tensors[id] = try within("operator: \(op.name)") {
                try implementation.compute(call.attrs, args, call.checkedType, target)
            }
        default:
            throw ApusError(
                "BACKEND001", "a primitive function may only hold operators", actual: node.schema.key)
        }
    }
    // A result that is an argument, or one of two equal results, is copied: each result has memory of its own.
    var outputs: [Tensor] = []
    for t in tensors[ObjectIdentifier(primitive.body)] ?? [] {
        let taken =
            t.op is PlaceholderOp || outputs.contains { $0.op === t.op && $0.valueIndex == t.valueIndex }
        outputs.append(taken ? try compute(t.shape, name: "copy", tag: "elemwise") { t[$0] } : t)
    }
    return try createPrimFunc(inputs + outputs, name: name)
}

/// The tensor types in a type, tuples flattened.
func flattened(_ type: IRType) -> [TensorType] {
    if let tuple = type as? TupleType { return tuple.fields.flatMap { flattened($0) } }
    return (type as? TensorType).map { [$0] } ?? []
}

/// A scalar constant as part of the code.
private func constantTensor(_ c: Relay.Constant) throws -> Tensor {
    guard c.data.shape.isEmpty else {
        throw ApusError(
            "BACKEND003", "only scalar constants lie inside a primitive function", actual: "\(c.data.shape)")
    }
    let value = try scalarExpr(c.data)
    return try compute([PrimExpr](), name: "constant", tag: "elemwise") { _ in value }
}

/// The one element of a tensor as an expression.
func scalarExpr(_ data: NDArray) throws -> PrimExpr {
    if data.dtype.isFloat { return FloatImm(try data.toDoubles()[0], dtype: data.dtype) }
    switch data.dtype {
    case .int64: return IntImm(Int(try data.toArray(Int64.self)[0]), dtype: data.dtype)
    case .uint64: return IntImm(Int(bitPattern: UInt(try data.toArray(UInt64.self)[0])), dtype: data.dtype)
    default: return IntImm(Int(try data.toDoubles()[0]), dtype: data.dtype)
    }
}
