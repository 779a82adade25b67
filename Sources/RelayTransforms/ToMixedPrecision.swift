import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

/// Lets matrix products and convolutions take bfloat16 and sum in float32; everything else is computed in float32 as
/// before.
///
/// A value that such an operator reads is stored as bfloat16 only: whoever else reads it widens it again, so that it is
/// written once and in half the bytes. What only moves values (reshapes, transpositions, concatenations, maxima over
/// windows) moves them as bfloat16 where its result is wanted so; that is exact. Weights are rounded at compile time.
///
/// Source of the idea: TVM's `ToMixedPrecision`, which sorts operators into lists as well; here the second list follows
/// from who reads a value.
///
/// - Parameter lanes: 32-bit floats in a vector.
public func toMixedPrecision(lanes: Int) -> some Pass {
    FunctionPass<Relay.Function>(
        PassInfo("ToMixedPrecision", "matrix products and convolutions take bfloat16", level: 0)
    ) { function, _, _ in
        var rewriter = PrecisionRewriter(lanes: lanes)
        return try rewriter.run(function)
    }
}

/// Gives every reader of a widened bfloat16 value a conversion of its own, which becomes part of that reader's kernel: one
/// for all would be a kernel that stores the value in float32.
public let repeatWidening = FunctionPass<Relay.Function>(
    PassInfo("RepeatWidening", "each reader of a bfloat16 value widens it itself", level: 1)
) { function, _, _ in
    let body = try Relay.rewrite(function.body, intoFunctions: false) { _, node in
        guard let call = node as? Relay.Call, call.args.contains(where: isWidening) else { return node }
        return try call.with(
            args: try call.args.map { a in
                guard let cast = a as? Relay.Call, isWidening(a) else { return a }
                return try Relay.Call(cast.op, cast.args, cast.attrs, span: cast.span)
            })
    }
    return body === function.body ? function : try function.with(body: body)
}

private func isWidening(_ e: RelayExpr) -> Bool {
    guard let call = e as? Relay.Call, call.opName == "cast", call.tensorType?.dtype == .float32 else {
        return false
    }
    return call.args[0].tensorType?.dtype == .bfloat16
}

/// Whether `e` is a constant, or one that is only transposed, reshaped or converted.
func isConvertedConstant(_ e: RelayExpr) -> Bool {
    var e = e
    while let call = e as? Relay.Call {
        guard ["transpose", "reshape", "cast"].contains(call.opName), call.args.count == 1 else {
            return false
        }
        e = call.args[0]
    }
    return e.exprKind == .constant
}

/// Operators whose result holds values of their operands, or the greatest of some: rounding before or after is the same.
private let movers: Set<String> = [
    "reshape", "squeeze", "expand_dims", "transpose", "concatenate", "split", "strided_slice", "broadcast_to",
    "nn.batch_flatten", "nn.max_pool1d", "nn.max_pool2d", "nn.max_pool3d", "nn.global_max_pool2d",
]

private struct PrecisionRewriter {
    let lanes: Int
    /// Old nodes whose value is wanted as bfloat16.
    private var wanted: Set<ObjectIdentifier> = []
    /// The value of an old node in float32 (or its own type) and in bfloat16; at least one exists once visited.
    private var wideForm: [ObjectIdentifier: RelayExpr] = [:]
    private var narrowForm: [ObjectIdentifier: RelayExpr] = [:]

    init(lanes: Int) { self.lanes = lanes }

    mutating func run(_ function: Relay.Function) throws -> Relay.Function {
        let nodes = Relay.postOrder(function.body, intoFunctions: false)
        for node in nodes.reversed() {
            guard let call = node as? Relay.Call else { continue }
            if takesNarrow(call) || (isMover(call) && wanted.contains(ObjectIdentifier(call))) {
                for a in call.args { want(a) }
            }
        }
        if wanted.isEmpty { return function }
        // What leaves the function stays as exact as it was computed.
        var kept: Set<ObjectIdentifier> = [ObjectIdentifier(function.body)]
        if let tuple = function.body as? Relay.Tuple {
            kept.formUnion(tuple.fields.map { ObjectIdentifier($0) })
        }
        for p in function.params { wideForm[ObjectIdentifier(p)] = p }
        for node in nodes where node.exprKind != .op {
            try visit(node, isKept: kept.contains(ObjectIdentifier(node)))
        }
        return try function.with(body: try wide(function.body))
    }

    // MARK: Who reads what

    private mutating func want(_ e: RelayExpr) {
        if let tuple = e as? Relay.Tuple {
            for f in tuple.fields { want(f) }
            return
        }
        guard e.tensorType?.dtype == .float32 else { return }
        wanted.insert(ObjectIdentifier(e))
        if let item = e as? Relay.TupleGetItem, let call = item.tuple as? Relay.Call, isMover(call) {
            wanted.insert(ObjectIdentifier(call))
        }
    }

    private func isMover(_ call: Relay.Call) -> Bool {
        guard movers.contains(call.opName) else { return false }
        return fields(call.args).allSatisfy { $0.tensorType?.dtype == .float32 }
    }

    private func fields(_ args: [RelayExpr]) -> [RelayExpr] {
        args.flatMap { a in (a as? Relay.Tuple)?.fields ?? [a] }
    }

    /// Whether a call computes with bfloat16.
    private func takesNarrow(_ call: Relay.Call) -> Bool {
        guard call.args.count == 2, call.tensorType?.dtype == .float32,
            call.args.allSatisfy({ $0.tensorType?.dtype == .float32 }),
            let left = call.args[0].tensorType?.staticShape, let right = call.args[1].tensorType?.staticShape,
            let result = call.tensorType?.staticShape, !(left + right + result).contains(0)
        else { return false }
        let attrs = call.attrs
        switch call.opName {
        case "nn.dense":
            guard isConvertedConstant(call.args[1]) else { return left.count == 2 && pays(result, right[1]) }
            return right[1] > 1
        case "nn.matmul", "nn.batch_matmul":
            return pays(result, right[right.count - (attrs.bool("transpose_b") ?? false ? 1 : 2)])
        case "nn.conv2d":
            guard attrs.string("data_layout") == "NCHW", attrs.string("kernel_layout") == "OIHW",
                isConvertedConstant(call.args[1]), right.count == 4, right[1] > 1
            else { return false }
            let groups = attrs.int("groups") ?? 1
            return groups == 1 || (right[1] % lanes == 0 && right[0] / groups % lanes == 0)
        default: return false
        }
    }

    /// Whether packing an operand anew in each run is worth it: its columns fill vectors, and there are more rows than a
    /// register tile has.
    private func pays(_ result: [Int], _ depth: Int) -> Bool {
        result[result.count - 2] >= 8 && result[result.count - 1] >= lanes / 2 && depth >= 8
    }

    // MARK: Forms of a value

    private func cast(_ e: RelayExpr, _ type: DataType) throws -> RelayExpr {
        try Relay.call("cast", [e], ["dtype": .dtype(type)])
    }

    private mutating func wide(_ old: RelayExpr) throws -> RelayExpr {
        let id = ObjectIdentifier(old)
        if let known = wideForm[id] { return known }
        let result: RelayExpr
        if let tuple = old as? Relay.Tuple {
            result = try rebuilt(tuple)
        } else if let value = narrowForm[id] {
            result = try cast(value, .float32)
        } else {
            internalError("ToMixedPrecision met a use before its definition")
        }
        wideForm[id] = result
        return result
    }

    private mutating func narrow(_ old: RelayExpr) throws -> RelayExpr {
        let id = ObjectIdentifier(old)
        if let known = narrowForm[id] { return known }
        if let tuple = old as? Relay.Tuple {
            var all: [RelayExpr] = []
            for f in tuple.fields { all.append(try narrow(f)) }
            return Relay.Tuple(all, span: tuple.span)
        }
        let result = try cast(try wide(old), .bfloat16)
        narrowForm[id] = result
        return result
    }

    private mutating func visit(_ node: RelayExpr, isKept: Bool) throws {
        let id = ObjectIdentifier(node)
        if wideForm[id] != nil { return }
        if let item = node as? Relay.TupleGetItem, let tuple = narrowForm[ObjectIdentifier(item.tuple)] {
            narrowForm[id] = try Relay.TupleGetItem(tuple, item.index, span: item.span)
            return
        }
        let isWanted = wanted.contains(id)
        guard let call = node as? Relay.Call else {
            // A tuple is built only where someone wants it: a concatenation takes its fields as they are.
            if node.exprKind != .tuple { wideForm[id] = try rebuilt(node) }
            return
        }
        if isWanted, isMover(call) {
            var args: [RelayExpr] = []
            for a in call.args { args.append(try narrow(a)) }
            narrowForm[id] = try Relay.Call(call.op, args, call.attrs, span: call.span)
            return
        }
        let result: RelayExpr
        if takesNarrow(call) {
            result = try product(call)
        } else if isDepthwise(call), wanted.contains(ObjectIdentifier(call.args[0])) {
            // Its data is stored as bfloat16 for another reader; it computes in float32 all the same.
            result = try Relay.Call(
                call.op, [try narrow(call.args[0]), try narrow(call.args[1])],
                call.attrs.setting("out_dtype", .dtype(.float32)), span: call.span)
        } else {
            result = try rebuilt(node)
        }
        if isWanted, call.tensorType?.dtype == .float32 {
            narrowForm[id] = try cast(result, .bfloat16)
            if isKept { wideForm[id] = result }
        } else {
            wideForm[id] = result
        }
    }

    private mutating func rebuilt(_ node: RelayExpr) throws -> RelayExpr {
        var children: [ObjectIdentifier: RelayExpr] = [:]
        for c in Relay.children(of: node) where c.exprKind != .op {
            children[ObjectIdentifier(c)] = try wide(c)
        }
        let map = children
        return try Relay.rebuilt(node) { map[ObjectIdentifier($0)] ?? $0 }
    }

    /// A convolution of each channel by itself that the packed layout knows.
    private func isDepthwise(_ call: Relay.Call) -> Bool {
        guard call.opName == "nn.conv2d", call.attrs.string("data_layout") == "NCHW",
            call.attrs.string("kernel_layout") == "OIHW", isConvertedConstant(call.args[1]),
            let weight = call.args[1].tensorType?.staticShape, weight.count == 4, weight[1] == 1,
            call.tensorType?.dtype == .float32
        else { return false }
        return call.attrs.int("groups") ?? 1 > 1 && call.attrs.int("groups") == weight[0]
            && call.args[0].tensorType?.shape[1].asInt == weight[0]
    }

    /// The call on bfloat16 operands, with a result in float32.
    private mutating func product(_ call: Relay.Call) throws -> RelayExpr {
        var a = try narrow(call.args[0])
        let b = try narrow(call.args[1])
        var attrs = call.attrs.setting("out_dtype", .dtype(.float32))
        if call.opName == "nn.dense", !isConvertedConstant(call.args[1]) {
            return try Relay.call(
                "nn.matmul", [a, b],
                ["transpose_a": false, "transpose_b": true, "out_dtype": .dtype(.float32)])
        }
        if attrs.bool("transpose_a") ?? false {
            // Steps of the reduction must lie side by side.
            let rank = a.tensorType?.shape.count ?? 2
            a = try Relay.call(
                "transpose", [a], ["axes": .ints(Array(0..<(rank - 2)) + [rank - 1, rank - 2])])
            attrs = attrs.setting("transpose_a", .bool(false))
        }
        return try Relay.Call(call.op, [a, b], attrs, span: call.span)
    }
}
