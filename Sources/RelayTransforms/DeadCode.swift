import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

/// Removes `let` bindings whose variable is not used (the graph IR is free of side effects, save references), and
/// fields of tuples that are only taken apart again.
///
/// What is not reachable from the result needs no removing: it is not in the graph.
public let deadCodeElimination = FunctionPass<Relay.Function>(
    PassInfo(
        "DeadCodeElimination", "unused bindings and tuples built to be taken apart go", level: 1,
        establishes: ["every binding is used"])
) { function, _, _ in
    var body = function.body
    // Dropping one binding may free another that its value used.
    while true {
        var used: Set<ObjectIdentifier> = []
        for node in Relay.postOrder(body) where node.exprKind == .variable {
            used.insert(ObjectIdentifier(node))
        }
        let uses = Relay.useCounts(body)
        let next = try Relay.rewrite(body) { old, node in
            if let item = node as? Relay.TupleGetItem, let tuple = item.tuple as? Relay.Tuple {
                return tuple.fields[item.index]
            }
            if let binding = node as? Relay.Let, (uses[ObjectIdentifier(binding.variable)] ?? 0) == 0,
                !hasEffect(binding.value)
            {
                return binding.body
            }
            return node
        }
        if next === body { break }
        body = next
    }
    return try function.with(body: body)
}

/// Whether evaluating `e` may do more than yield a value.
private func hasEffect(_ e: RelayExpr) -> Bool {
    Relay.postOrder(e).contains {
        $0.exprKind == .refWrite || $0.exprKind == .refCreate || $0.exprKind == .refRead
    }
}

/// Merges calls of one operator with the same operands and attributes, and constants of the same contents.
///
/// Source: TVM's `EliminateCommonSubexpr`; here by hashing on identity of operands in dependency order, which is
/// value numbering.
public let eliminateCommonSubexpr = FunctionPass<Relay.Function>(
    PassInfo("EliminateCommonSubexpr", "equal computations are done once", level: 3)
) { function, _, _ in
    var table: [UInt64: [RelayExpr]] = [:]
    let body = try Relay.rewrite(function.body) { old, node in
        guard let key = valueNumberKey(node) else { return node }
        for candidate in table[key] ?? [] where sameValue(candidate, node) { return candidate }
        table[key, default: []].append(node)
        return node
    }
    return try function.with(body: body)
}

/// A hash of what a node computes, from its operator, attributes and the identity of its operands; nil where merging
/// is not safe or not useful.
private func valueNumberKey(_ node: RelayExpr) -> UInt64? {
    var hasher = Hasher()
    switch node.exprKind {
    case .call:
        guard let call = node as? Relay.Call, call.op.exprKind == .op else { return nil }
        hasher.combine(ObjectIdentifier(call.op))
        for a in call.args { hasher.combine(ObjectIdentifier(a)) }
    case .tupleGetItem:
        guard let item = node as? Relay.TupleGetItem else { return nil }
        hasher.combine(item.index)
        hasher.combine(ObjectIdentifier(item.tuple))
    case .tuple:
        guard let tuple = node as? Relay.Tuple else { return nil }
        for f in tuple.fields { hasher.combine(ObjectIdentifier(f)) }
    case .constant:
        guard let constant = node as? Relay.Constant else { return nil }
        hasher.combine(constant.data.dtype)
        hasher.combine(constant.data.shape)
        // Of a large weight a few parts: whether two are equal is found by comparing them.
        constant.data.withUnsafeBytes { bytes in
            let part = 1024
            if bytes.count <= 4 * part { return hasher.combine(bytes: bytes) }
            for k in 0..<4 {
                let begin = (bytes.count - part) / 3 * k
                hasher.combine(bytes: UnsafeRawBufferPointer(rebasing: bytes[begin..<begin + part]))
            }
        }
    default: return nil
    }
    return UInt64(bitPattern: Int64(hasher.finalize()))
}

private func sameValue(_ a: RelayExpr, _ b: RelayExpr) -> Bool {
    switch (a, b) {
    case (let a as Relay.Call, let b as Relay.Call):
        return a.op === b.op && a.args.count == b.args.count && zip(a.args, b.args).allSatisfy { $0 === $1 }
            && structuralEqual(a.attrs, b.attrs)
    case (let a as Relay.TupleGetItem, let b as Relay.TupleGetItem):
        return a.index == b.index && a.tuple === b.tuple
    case (let a as Relay.Tuple, let b as Relay.Tuple):
        return a.fields.count == b.fields.count && zip(a.fields, b.fields).allSatisfy { $0 === $1 }
    case (let a as Relay.Constant, let b as Relay.Constant):
        return a.data.dtype == b.data.dtype && a.data.shape == b.data.shape
            && a.data.hasSameContents(as: b.data)
    default: return false
    }
}
