import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// All derivatives of `output` by `input`: shape `output.shape + input.shape`.
///
/// Where `output`'s own formula reads `input` and nothing lies between, the result is one formula; sums range over what the
/// indices leave open only. `optimize` false keeps the plain form: every reduction axis summed, indices compared. Otherwise
/// it is `gradient` without a head. Errors as `gradient`.
public func jacobian(_ output: Tensor, _ input: Tensor, optimize: Bool = true) throws -> Tensor {
    guard let op = output.op as? ComputeOp, isDirect(op, output.valueIndex, input) else {
        return try gradient(output, [input])[0]
    }
    for t in [output, input] where !t.dtype.isFloat {
        throw ApusError(
            "TE102", "only floating tensors have a gradient", at: ["tensor: \(t.op.name)"],
            actual: "\(t.dtype)")
    }
    return try withLargeStack { () throws -> Tensor in
        let terms = try gradientTerms(op, output.valueIndex, seed: const(1.0, output.dtype)) {
            $0.isSame(as: input)
        }
        var results: [Tensor] = []
        var plain: [PrimExpr] = []
        func axes() -> [IterVar] {
            (output.shape + input.shape).enumerated().map { i, n in
                IterVar(IRRange(extent: n), Var("i\(i)"), .dataParallel)
            }
        }
        let shared = axes()
        for (_, term) in terms {
            // The operation's own axes are given; only its reduction axes are to be found.
            let own = axes()
            func inverted(_ axes: [IterVar]) -> (value: PrimExpr, axes: [IterVar], condition: PrimExpr)? {
                var map: [Var: PrimExpr] = [:]
                for (a, b) in zip(op.axis, axes) { map[a.variable] = a.dom.min + b.variable }
                let inner = GradientTerm(
                    indices: term.indices.map { substitute($0, map) }, adjoint: substitute(term.adjoint, map),
                    unknowns: term.unknowns.filter { u in !op.axis.contains { $0 === u } },
                    condition: substitute(term.condition, map))
                return inner.inverted(
                    axes.dropFirst(output.rank).map { $0.variable },
                    ranges: axes.map { (variable: $0.variable, range: $0.dom) }, eliminate: optimize)
            }
            guard let r = inverted(own) else { continue }
            if r.axes.isEmpty {
                guard let here = inverted(shared) else { continue }
                plain.append(ifThenElse(here.condition, here.value, const(0.0, output.dtype)))
                continue
            }
            let sum = try ComputeOp(
                name: "\(output.op.name)_jacobian", tag: "", attrs: .empty, axis: own,
                body: [reduceSum(r.value, r.axes, where: r.condition)])
            results.append(sum.output())
        }
        if plain.isEmpty && results.count == 1 { return results[0] }
        let point = shared.map { $0.variable as PrimExpr }
        var total: PrimExpr?
        for e in plain + results.map({ $0[point] }) { total = total.map { $0 + e } ?? e }
        return try ComputeOp(
            name: "\(output.op.name)_jacobian", tag: "", attrs: .empty, axis: shared,
            body: [total ?? const(0.0, output.dtype)]
        ).output()
    }
}

/// `head` times the Jacobian of `output` by `input`, for an `output` whose formula itself reads `input`: what flows back
/// over one operation. `head` has the shape `prefix + output.shape`, the result `prefix + input.shape`; 0 where the formula
/// does not read `input`. Errors as `gradient`.
public func vectorJacobianProduct(_ output: Tensor, head: Tensor, _ input: Tensor) throws -> Tensor {
    guard output.op.inputTensors.contains(where: { $0.isSame(as: input) }) else {
        let prefix = try prefixShape(head, output)
        return try compute(prefix + input.shape, name: "\(input.op.name)_grad") { _ in const(0.0, input.dtype)
        }
    }
    // Every other input is a constant, so that nothing is followed beyond this operation.
    var stand: [(old: Tensor, new: Tensor)] = []
    for t in output.op.inputTensors where !t.isSame(as: input) {
        stand.append((old: t, new: placeholder(t.shape, t.dtype, name: t.op.name)))
    }
    let lone = output.op.replaceInputs(stand).output(output.valueIndex)
    let result = try gradient(lone, [input], head: head)[0]
    var back: [(old: Tensor, new: Tensor)] = stand.map { (old: $0.new, new: $0.old) }
    for i in 0..<lone.op.outputCount { back.append((old: lone.op.output(i), new: output.op.output(i))) }
    return withLargeStack { restored(result, back) }
}

/// The graph of `t` with tensors exchanged, wherever they are read.
private func restored(_ t: Tensor, _ pairs: [(old: Tensor, new: Tensor)]) -> Tensor {
    var memo: [ObjectIdentifier: Operation] = [:]
    func visit(_ op: Operation) -> Operation {
        if let known = memo[ObjectIdentifier(op)] { return known }
        let made = op.replacingInputs { x in
            if let p = pairs.first(where: { $0.old.isSame(as: x) }) { return p.new }
            let other = visit(x.op)
            return other === x.op ? nil : other.output(x.valueIndex)
        }
        memo[ObjectIdentifier(op)] = made
        return made
    }
    return visit(t.op).output(t.valueIndex)
}

/// Whether the formula reads `input` itself, by a reduction that is differentiated as a formula, and nothing in between
/// depends on it.
private func isDirect(_ op: ComputeOp, _ i: Int, _ input: Tensor) -> Bool {
    guard op.inputTensors.contains(where: { $0.isSame(as: input) }) else { return false }
    if let r = op.body[i] as? Reduce, ReducerKind.of(r.combiner, i) != .sum { return false }
    var seen: Set<ObjectIdentifier> = []
    var queue = op.inputTensors.filter { !$0.isSame(as: input) }.map { $0.op }
    while let next = queue.popLast() {
        if !seen.insert(ObjectIdentifier(next)).inserted { continue }
        if next === input.op { return false }
        for t in next.inputTensors {
            if t.isSame(as: input) { return false }
            queue.append(t.op)
        }
    }
    return true
}

extension te {
    /// All derivatives of a tensor by another; see the free function `jacobian`.
    public static func jacobian(_ output: Tensor, _ input: Tensor, optimize: Bool = true) throws -> Tensor {
        try ApusTE.jacobian(output, input, optimize: optimize)
    }

    /// What flows back over one operation; see the free function `vectorJacobianProduct`.
    public static func vectorJacobianProduct(
        _ output: Tensor, head: Tensor, _ input: Tensor
    ) throws -> Tensor {
        try ApusTE.vectorJacobianProduct(output, head: head, input)
    }
}
