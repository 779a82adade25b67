import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

/// Evaluates closed graph functions: compiles and runs them, or interprets them. Given by the room that can.
public typealias ConstantEvaluator = @Sendable (Relay.Function) throws -> [NDArray]

/// Replaces every maximal subgraph without variables by its value. All of them are evaluated together, as one
/// function of no parameters that returns a tuple.
///
/// A result much larger than its operands stays an expression: a `full` of a gigabyte is better computed than stored.
///
/// - Parameter keepRearranged: leaves large constants that are only transposed or reshaped as they are. A later pass lays
///   them out once more: two copies of all weights at once would double the memory that compiling takes.
public func foldConstant(keepRearranged: Bool = false, evaluate: @escaping ConstantEvaluator) -> some Pass {
    FunctionPass<Relay.Function>(
        PassInfo("FoldConstant", "subgraphs of constants become constants", level: 2)
    ) { function, _, context in
        let growth = context.int("relay.FoldConstant.max_growth_bytes", default: 16 << 20)
        var isConstant: Set<ObjectIdentifier> = []
        var roots: [RelayExpr] = []
        var rootIds: Set<ObjectIdentifier> = []
        let nodes = Relay.postOrder(function.body, intoFunctions: false)
        func addRoot(_ node: RelayExpr) {
            // A tuple of constants needs no evaluation; its computed fields do.
            if node.exprKind == .constant || !isConstant.contains(ObjectIdentifier(node)) { return }
            if keepRearranged, isRearrangedConstant(node), (staticBytes(node.checkedType) ?? 0) >= 1 << 20 {
                return
            }
            if node.exprKind == .tuple {
                for f in Relay.children(of: node) { addRoot(f) }
                return
            }
            if rootIds.insert(ObjectIdentifier(node)).inserted { roots.append(node) }
        }
        for node in nodes {
            let children = Relay.children(of: node).filter { $0.exprKind != .op }
            if canFold(node, growth), children.allSatisfy({ isConstant.contains(ObjectIdentifier($0)) }) {
                isConstant.insert(ObjectIdentifier(node))
            } else {
                for c in children { addRoot(c) }
            }
        }
        addRoot(function.body)
        // A tensor taken out of a tuple is evaluated where it is taken.
        let tensors = roots.filter { $0.tensorType != nil }
        if tensors.isEmpty { return function }
        let values = try evaluate(Relay.Function([], Relay.Tuple(tensors)))
        guard values.count == tensors.count else {
            internalError("the evaluator returned \(values.count) values")
        }
        var value: [ObjectIdentifier: RelayExpr] = [:]
        for (node, v) in zip(tensors, values) {
            value[ObjectIdentifier(node)] = Relay.Constant(v, span: node.span)
        }
        let body = try Relay.rewrite(function.body) { old, node in value[ObjectIdentifier(old)] ?? node }
        return try function.with(body: body)
    }
}

/// Whether `e` is a constant, or one that is only transposed or reshaped.
func isRearrangedConstant(_ e: RelayExpr) -> Bool {
    var e = e
    while let call = e as? Relay.Call {
        guard let op = call.op as? Op, ["transpose", "reshape"].contains(op.name), call.args.count == 1 else {
            return false
        }
        e = call.args[0]
    }
    return e.exprKind == .constant
}

/// Whether a node with constant children is one itself.
private func canFold(_ node: RelayExpr, _ growth: Int) -> Bool {
    switch node.exprKind {
    case .constant, .tuple, .tupleGetItem: return true
    case .call:
        guard let call = node as? Relay.Call, call.op.exprKind == .op else { return false }
        var inputs = 0
        for a in call.args { inputs += staticBytes(a.checkedType) ?? 0 }
        guard let output = staticBytes(call.checkedType) else { return false }
        // A layer that multiplies by the transformed weight was chosen for it.
        if (call.op as? Op)?.name == "nn.contrib_conv2d_winograd_weight_transform" { return true }
        return output <= inputs + growth
    default: return false
    }
}

/// Bytes of a value of static type; nil where a dimension is not known.
private func staticBytes(_ type: IRType) -> Int? {
    if let tuple = type as? TupleType {
        var total = 0
        for f in tuple.fields {
            guard let n = staticBytes(f) else { return nil }
            total += n
        }
        return total
    }
    guard let tensor = type as? TensorType, let shape = tensor.staticShape else { return nil }
    var bytes = tensor.dtype.byteCount
    for d in shape {
        let (product, overflow) = bytes.multipliedReportingOverflow(by: d)
        if overflow { return nil }
        bytes = product
    }
    return bytes
}
