import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

/// Finds the Gaussian error linear unit in what exporters write, `x * 0.5 * (1 + erf(x / sqrt 2))` in any association and
/// order of its products, with a division by sqrt 2 or a multiplication by its inverse: `nn.gelu` has a kernel without the
/// division and with an error function that is as exact as the sum with 1 shows.
///
/// For `x` of floating types; the constants may differ from the true ones by a millionth.
public let recognizeGelu = FunctionPass<Relay.Function>(
    PassInfo("RecognizeGelu", "products with 1 + erf(x / sqrt 2) become nn.gelu", level: 1)
) { function, _, _ in
    let body = try Relay.rewrite(function.body) { _, node in
        guard let call = node as? Relay.Call, call.opName == "multiply" else { return node }
        return try gelu(call) ?? node
    }
    return body === function.body ? function : try function.with(body: body)
}

private func gelu(_ root: Relay.Call) throws -> RelayExpr? {
    guard let type = root.tensorType, type.dtype.isFloat else { return nil }
    for x in candidates(root) where structuralEqual(x.checkedType, root.checkedType) {
        guard let p = product(root, upTo: x), p.count == 2, p.has(x), near(p.scale, 0.5),
            let sum = p.factors.first(where: { $0 !== x }), onePlusErf(sum, x)
        else { continue }
        return try Relay.call("nn.gelu", [x], span: root.span)
    }
    return nil
}

/// A product of expressions and constants.
private struct Product {
    var factors: [RelayExpr] = []
    var scale = 1.0
    var count: Int { factors.count }
    func has(_ e: RelayExpr) -> Bool { factors.contains { $0 === e } }
}

/// The factors of a tree of multiplications and divisions by constants, in which `x` stays whole; nil where there are many.
private func product(_ e: RelayExpr, upTo x: RelayExpr?) -> Product? {
    var result = Product()
    var rest = [e]
    while let f = rest.popLast() {
        if let v = scalar(f) {
            result.scale *= v
        } else if f !== x, let call = f as? Relay.Call, call.args.count == 2, call.opName == "multiply" {
            rest += call.args
        } else if f !== x, let call = f as? Relay.Call, call.args.count == 2, call.opName == "divide",
            let v = scalar(call.args[1])
        {
            result.scale /= v
            rest.append(call.args[0])
        } else {
            result.factors.append(f)
        }
        if result.count > 3 || rest.count > 8 { return nil }
    }
    return result
}

/// What may be the argument: what stands in an error function that is a factor, without its constants.
private func candidates(_ root: Relay.Call) -> [RelayExpr] {
    var result: [RelayExpr] = []
    var rest: [RelayExpr] = [root]
    var visited = 0
    while let f = rest.popLast(), visited < 16 {
        visited += 1
        guard let call = f as? Relay.Call, call.args.count == 2 else { continue }
        if call.opName == "multiply" { rest += call.args }
        guard call.opName == "add", let e = (call.args[0] as? Relay.Call) ?? (call.args[1] as? Relay.Call),
            e.opName == "erf", let inner = e.args[0] as? Relay.Call, inner.args.count == 2
        else { continue }
        // The argument may be a product itself.
        result += inner.args.filter { scalar($0) == nil }
    }
    return result
}

/// Whether `e` is `1 + erf(x / sqrt 2)`.
private func onePlusErf(_ e: RelayExpr, _ x: RelayExpr) -> Bool {
    guard let sum = e as? Relay.Call, sum.opName == "add", sum.args.count == 2 else { return false }
    for (a, b) in [(sum.args[0], sum.args[1]), (sum.args[1], sum.args[0])] {
        guard scalar(a) == 1, let inner = b as? Relay.Call, inner.opName == "erf",
            let p = product(inner.args[0], upTo: x), p.count == 1, p.has(x)
        else { continue }
        return near(p.scale, 0.5.squareRoot())
    }
    return false
}

private func near(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-6 * b }

/// The value of a constant of one element, of float types.
private func scalar(_ e: RelayExpr) -> Double? {
    guard let c = e as? Relay.Constant, c.data.count == 1, c.data.dtype.isFloat else { return nil }
    return try? c.data.toDoubles().first
}
