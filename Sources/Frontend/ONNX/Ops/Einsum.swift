import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

/// A tensor whose axes have labels.
private struct Labelled {
    var value: RelayExpr
    /// Letters as their code; the axes of an ellipsis as 1000 plus their distance from its end.
    var labels: [Int]
}

/// Einstein's summation, by products of batches of matrices from left to right.
func einsum(_ c: NodeContext) throws -> RelayExpr {
    guard let text = try c.node.string("equation") else {
        throw ApusError("ONNX320", "Einsum needs an equation")
    }
    func failure(_ why: String) -> ApusError { ApusError("ONNX321", "the equation \(why)", actual: text) }
    let plain = Array(text.utf8).filter { $0 != 32 }
    guard plain.count <= 1000 else { throw failure("is too long") }
    let halves = String(decoding: plain, as: UTF8.self).components(byArrow: "->")
    guard halves.count <= 2 else { throw failure("has two arrows") }
    let terms = halves[0].split(separator: ",", omittingEmptySubsequences: false).map { Array($0.utf8) }
    guard terms.count == c.inputs.count, !terms.isEmpty else {
        throw ApusError(
            "ONNX322", "the equation has another number of operands", expected: "\(c.inputs.count)",
            actual: text)
    }
    let dot = UInt8(ascii: ".")
    var widest = 0
    /// Codes of a term; -1 stands for the ellipsis.
    func codes(_ term: [UInt8]) throws -> [Int] {
        var result: [Int] = []
        var i = 0
        while i < term.count {
            if term[i] == dot {
                guard i + 2 < term.count, term[i + 1] == dot, term[i + 2] == dot, !result.contains(-1) else {
                    throw failure("has a stray dot")
                }
                result.append(-1)
                i += 3
                continue
            }
            let lower = term[i] | 0x20
            guard lower >= UInt8(ascii: "a"), lower <= UInt8(ascii: "z") else {
                throw failure("has a character that is no letter")
            }
            result.append(Int(term[i]))
            i += 1
        }
        return result
    }
    func expanded(_ codes: [Int], _ n: Int) -> [Int] {
        codes.flatMap { $0 == -1 ? (0..<n).map { 1000 + n - 1 - $0 } : [$0] }
    }
    var operands: [Labelled] = []
    var extents: [Int: Int] = [:]
    var uses: [Int: Int] = [:]
    for (i, term) in terms.enumerated() {
        let list = try codes(term)
        let shape = try c.shape(try c.x(i))
        let named = list.filter { $0 != -1 }.count
        guard list.contains(-1) ? shape.count >= named : shape.count == named else {
            throw ApusError(
                "ONNX323", "operand \(i) has another number of axes than its term",
                expected: String(decoding: term, as: UTF8.self), actual: "\(shape)")
        }
        if list.contains(-1) { widest = max(widest, shape.count - named) }
        let labels = expanded(list, shape.count - named)
        for (l, n) in zip(labels, shape) {
            let known = extents[l] ?? 1
            guard known == 1 || n == 1 || known == n else {
                throw failure("gives axes of different extents one letter")
            }
            extents[l] = known == 1 ? n : known
            uses[l, default: 0] += 1
        }
        operands.append(Labelled(value: try c.x(i), labels: labels))
    }
    var output: [Int]
    if halves.count == 2 {
        output = expanded(try codes(Array(halves[1].utf8)), widest)
        guard Set(output).count == output.count, output.allSatisfy({ uses[$0] != nil }) else {
            throw failure("has a letter in its result twice, or one that no operand has")
        }
    } else {
        output = expanded([-1], widest) + uses.keys.filter { $0 < 1000 && uses[$0] == 1 }.sorted()
    }
    for i in operands.indices { operands[i] = try diagonal(c, operands[i]) }
    var result = operands[0]
    for i in operands.indices.dropFirst() {
        let later = Set(output).union(operands[(i + 1)...].flatMap { $0.labels })
        result = try contracted(c, result, operands[i], needed: later, extents)
    }
    // What is left is summed, turned, and broadcast.
    result = try summed(c, result, needed: Set(output))
    let order = output.compactMap { result.labels.firstIndex(of: $0) }
    let turned = try c.transpose(result.value, order)
    return try c.broadcast(turned, output.map { extents[$0] ?? 1 })
}

/// Letters that occur twice in a term: the elements where both axes have one index.
private func diagonal(_ c: NodeContext, _ operand: Labelled) throws -> Labelled {
    var o = operand
    while let second = o.labels.indices.first(where: { o.labels[..<$0].contains(o.labels[$0]) }),
        let first = o.labels.firstIndex(of: o.labels[second])
    {
        let shape = try c.shape(o.value)
        let n = shape[first]
        guard n == shape[second] else {
            throw ApusError("ONNX324", "a diagonal needs equal extents", actual: "\(shape)")
        }
        var rows = Array(repeating: 1, count: shape.count)
        var columns = rows
        rows[first] = n
        columns[second] = n
        let same = try c.call("equal", [try c.counting(n, rows), try c.counting(n, columns)])
        let kept = try c.choose(same, o.value, try c.scalar(0, try c.dtype(o.value)))
        o.value = try c.reduced("sum", kept, [second], keep: false)
        o.labels.remove(at: second)
    }
    return o
}

private func summed(_ c: NodeContext, _ o: Labelled, needed: Set<Int>) throws -> Labelled {
    let axes = o.labels.indices.filter { !needed.contains(o.labels[$0]) }
    if axes.isEmpty { return o }
    return Labelled(
        value: try c.reduced("sum", o.value, axes, keep: false),
        labels: o.labels.filter { needed.contains($0) })
}

/// The product of two operands, summed over what neither the result nor later operands need.
private func contracted(
    _ c: NodeContext, _ a: Labelled, _ b: Labelled, needed: Set<Int>, _ extents: [Int: Int]
) throws -> Labelled {
    let x = try summed(c, a, needed: needed.union(b.labels))
    let y = try summed(c, b, needed: needed.union(a.labels))
    let both = x.labels.filter { y.labels.contains($0) }
    let batch = both.filter { needed.contains($0) }
    let inner = both.filter { !needed.contains($0) }
    let left = x.labels.filter { !y.labels.contains($0) }
    let right = y.labels.filter { !x.labels.contains($0) }
    func sizes(_ labels: [Int]) -> [Int] { labels.map { extents[$0] ?? 1 } }
    func arranged(_ o: Labelled, _ groups: [[Int]]) throws -> RelayExpr {
        let order = groups.flatMap { $0 }
        let turned = try c.transpose(o.value, order.compactMap { o.labels.firstIndex(of: $0) })
        // An extent of 1 stands for any other.
        let wide = try c.broadcast(turned, sizes(order))
        return try c.reshape(wide, try groups.map { try c.product(sizes($0)) })
    }
    let p = try arranged(x, [batch, left, inner])
    let q = try arranged(y, [batch, inner, right])
    let product = try c.call("nn.batch_matmul", [p, q], ["transpose_a": false, "transpose_b": false])
    let labels = batch + left + right
    return Labelled(value: try c.reshape(product, sizes(labels)), labels: labels)
}

extension String {
    /// The parts before and after each `->`.
    fileprivate func components(byArrow arrow: String) -> [String] {
        var parts: [String] = []
        var current: [Character] = []
        for ch in self {
            if ch == ">", current.last == "-" {
                current.removeLast()
                parts.append(String(current))
                current = []
            } else {
                current.append(ch)
            }
        }
        return parts + [String(current)]
    }
}
