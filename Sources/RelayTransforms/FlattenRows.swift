import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

/// Gives dense layers all rows of their data in one axis: `[2, 7, 7, K]` becomes `[98, K]`, so that register tiles are cut
/// from 98 rows and not from 7. The flat form flows through what works on each element or on each row (broadcasts over
/// rows, softmax, layer normalisation); the other form is a view of the same memory wherever it is needed.
///
/// The same walk as `alterOpLayout`: two forms of a value, made on demand.
public let flattenRows = FunctionPass<Relay.Function>(
    PassInfo("FlattenRows", "dense layers see all rows in one axis", level: 3)
) { function, _, _ in
    var rewriter = RowFlattener()
    return try rewriter.run(function)
}

private struct RowFlattener {
    /// The value of an old node in its own shape and as `[rows, columns]`; at least one exists once visited.
    private var ownForm: [ObjectIdentifier: RelayExpr] = [:]
    private var flatForm: [ObjectIdentifier: RelayExpr] = [:]

    mutating func run(_ function: Relay.Function) throws -> Relay.Function {
        for p in function.params { ownForm[ObjectIdentifier(p)] = p }
        for node in Relay.postOrder(function.body, intoFunctions: false) {
            if node.exprKind == .op { continue }
            let id = ObjectIdentifier(node)
            if let call = node as? Relay.Call, let op = call.op as? Op, let new = try flatCall(call, op) {
                flatForm[id] = new
                continue
            }
            var children: [ObjectIdentifier: RelayExpr] = [:]
            for c in Relay.children(of: node) where c.exprKind != .op {
                children[ObjectIdentifier(c)] = try own(c)
            }
            let map = children
            ownForm[id] = try Relay.rebuilt(node) { map[ObjectIdentifier($0)] ?? $0 }
        }
        let body = try own(function.body)
        return body === function.body ? function : try function.with(body: body)
    }

    // MARK: Forms of a value

    private mutating func own(_ old: RelayExpr) throws -> RelayExpr {
        let id = ObjectIdentifier(old)
        if let known = ownForm[id] { return known }
        guard let value = flatForm[id], let shape = old.tensorType?.staticShape else {
            internalError("FlattenRows met a use before its definition")
        }
        let result = try reshape(value, shape)
        ownForm[id] = result
        return result
    }

    private mutating func flat(_ old: RelayExpr, _ shape: [Int]) throws -> RelayExpr {
        let id = ObjectIdentifier(old)
        if let known = flatForm[id] { return known }
        let result = try reshape(try own(old), [shape.dropLast().reduce(1, *), shape[shape.count - 1]])
        flatForm[id] = result
        return result
    }

    // MARK: Operators

    /// The shape of a value whose rows take more than one axis, and are some.
    private func rows(_ e: RelayExpr) -> [Int]? {
        guard let shape = e.tensorType?.staticShape, shape.count > 2, !shape.contains(0) else { return nil }
        return shape
    }

    /// The call on flat operands, or nil where it stays as it is.
    private mutating func flatCall(_ call: Relay.Call, _ op: Op) throws -> RelayExpr? {
        guard let shape = rows(call) else { return nil }
        switch op.name {
        case "nn.contrib_dense_pack", "nn.dense":
            guard let data = rows(call.args[0]) else { return nil }
            return try Relay.Call(
                op, [try flat(call.args[0], data), try own(call.args[1])], call.attrs, span: call.span)
        case "nn.contrib_words":
            guard isFlat(call.args[0]), let data = rows(call.args[0]), isWordView(call) else { return nil }
            return try Relay.Call(
                op, [try flat(call.args[0], data)], call.attrs.setting("axis", .int(-1)), span: call.span)
        case "nn.softmax", "nn.layer_norm":
            let axis = call.attrs.int("axis") ?? -1
            guard isFlat(call.args[0]), axis == -1 || axis == shape.count - 1,
                call.args.dropFirst().allSatisfy({ ($0.tensorType?.shape.count ?? 9) <= 1 })
            else { return nil }
            var args = [try flat(call.args[0], shape)]
            for a in call.args.dropFirst() { args.append(try own(a)) }
            return try Relay.Call(op, args, call.attrs.setting("axis", .int(-1)), span: call.span)
        default:
            guard let pattern = op[Relay.opPattern], pattern <= .broadcast, call.attrs["axis"] == nil,
                call.args.contains(where: { isFlat($0) && $0.tensorType?.staticShape == shape })
            else { return nil }
            return try elementwise(call, op, shape)
        }
    }

    private func isFlat(_ old: RelayExpr) -> Bool { flatForm[ObjectIdentifier(old)] != nil }

    /// Operands are as large as the result, or the same for all rows.
    private mutating func elementwise(_ call: Relay.Call, _ op: Op, _ shape: [Int]) throws -> RelayExpr? {
        for a in call.args {
            guard let own = a.tensorType?.staticShape, own == shape || own.dropLast().allSatisfy({ $0 == 1 }),
                own.count <= shape.count
            else { return nil }
        }
        var args: [RelayExpr] = []
        for a in call.args {
            let given = a.tensorType?.staticShape ?? []
            if given == shape {
                args.append(try flat(a, shape))
            } else {
                let value = try own(a)
                args.append(given.count <= 1 ? value : try reshape(value, [given[given.count - 1]]))
            }
        }
        let new = try Relay.Call(op, args, call.attrs, span: call.span)
        // An operator that names its result's shape stays as it is.
        return new.tensorType?.staticShape == [shape.dropLast().reduce(1, *), shape[shape.count - 1]]
            ? new : nil
    }
}
