import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// What a rule for the gradient of an operation is given.
public struct GradientRequest: Sendable {
    public let op: Operation
    /// One an output: the gradient that flows back, of shape `prefix + output.shape`; nil = none.
    public let heads: [Tensor?]
    /// How many leading axes of `heads` belong to what is differentiated.
    public let prefixRank: Int
}

/// The gradients of `op.inputTensors`, in that order, each of shape `prefix + input.shape`; nil = 0.
public typealias GradientRule = @Sendable (GradientRequest) throws -> [Tensor?]

private let registeredRules = Locked<[String: GradientRule]>([:])

/// Gives the operations with a tag (or, without one, with a name) their gradient: what `extern` and hybrid script
/// need, whose statements are not differentiated. A later rule replaces an earlier one.
public func registerGradient(_ tagOrName: String, _ rule: @escaping GradientRule) {
    registeredRules.with { $0[tagOrName] = rule }
}

/// The gradient of `output` by each of `inputs`: `head` times the Jacobian, summed over `output`'s axes.
///
/// `head` has the shape `prefix + output.shape`, a result `prefix + input.shape`. Without a head the result is the
/// Jacobian itself, `output.shape + input.shape`: for a scalar output, the gradient. The result is a computation like any
/// other, and can be differentiated again.
///
/// One operation is made for each use of a tensor that needs a sum, one for the rest and the total; sums range over
/// what the indices leave open only (`IndexInversion`). The gradient of a maximum or minimum is shared evenly by the
/// elements that attain it; that of a product is right where elements are 0 (its own derivative there is not).
///
/// Errors: TE101 an operation without a gradient, TE102 a tensor that is not floating, TE104 a head that does not fit,
/// TE100 an expression without a derivative.
public func gradient(
    _ output: Tensor, _ inputs: [Tensor], head: Tensor? = nil, rules: [String: GradientRule] = [:]
) throws -> [Tensor] {
    for t in [output] + inputs where !t.dtype.isFloat {
        throw ApusError(
            "TE102", "only floating tensors have a gradient", at: ["tensor: \(t.op.name)"],
            actual: "\(t.dtype)")
    }
    let head = try head ?? identityHead(output)
    let prefix = try prefixShape(head, output)
    return try withLargeStack { () throws -> [Tensor] in
        let pass = GradientPass(inputs: inputs, prefix: prefix, rules: rules)
        return try pass.run(output, head)
    }
}

extension te {
    /// The gradient of a tensor by others; see the free function `gradient`.
    public static func gradient(
        _ output: Tensor, _ inputs: [Tensor], head: Tensor? = nil, rules: [String: GradientRule] = [:]
    ) throws -> [Tensor] {
        try ApusTE.gradient(output, inputs, head: head, rules: rules)
    }
}

/// 1 where the two halves of the index agree, 0 elsewhere.
private func identityHead(_ t: Tensor) throws -> Tensor {
    try compute(t.shape + t.shape, name: "\(t.op.name)_identity") { i in
        let n = t.rank
        let same = all((0..<n).map { i[$0] .== i[n + $0] })
        return select(same, const(1.0, t.dtype), const(0.0, t.dtype))
    }
}

/// What `head` has before the axes of `output`; TE104 where it does not fit.
func prefixShape(_ head: Tensor, _ output: Tensor) throws -> [PrimExpr] {
    let extra = head.rank - output.rank
    let fits =
        extra >= 0 && head.dtype == output.dtype
        && zip(head.shape.dropFirst(max(extra, 0)), output.shape).allSatisfy { structuralEqual($0, $1) }
    guard fits else {
        throw ApusError(
            "TE104", "the head does not fit the output", at: ["tensor: \(output.op.name)"],
            expected: "\(output.dtype) of shape […, \(output.shape.map { "\($0)" }.joined(separator: ", "))]",
            actual: "\(head)")
    }
    return Array(head.shape.prefix(extra))
}

/// One backward walk over the graph of operations.
final class GradientPass {
    private let inputs: [Tensor]
    private let prefix: [PrimExpr]
    private let rules: [String: GradientRule]
    /// Whether an operation depends on an input.
    private var active: [ObjectIdentifier: Bool] = [:]
    private var kept: [Operation] = []
    /// What flows to each tensor: axes of its gradient, terms without a sum, tensors to be added.
    private struct Sink {
        var axes: [IterVar]
        var plain: [PrimExpr] = []
        var summed: [Tensor] = []
    }
    private var sinks: [TensorKey: Sink] = [:]

    init(inputs: [Tensor], prefix: [PrimExpr], rules: [String: GradientRule]) {
        self.inputs = inputs
        self.prefix = prefix
        self.rules = rules
    }

    func run(_ output: Tensor, _ head: Tensor) throws -> [Tensor] {
        let order = activeOrder(output.op)
        for t in inputs + [output] { open(t) }
        sinks[TensorKey(output)]?.summed.append(head)
        var results: [TensorKey: Tensor] = [:]
        for op in order.reversed() {
            if let error = op.error { throw error }
            var heads: [Tensor?] = []
            for i in 0..<op.outputCount {
                let t = op.output(i)
                let total = try total(t)
                if let total { results[TensorKey(t)] = total }
                heads.append(total)
            }
            if heads.allSatisfy({ $0 == nil }) || !inputsActive(op) { continue }
            try propagate(op, heads)
        }
        return try inputs.map { t in
            if let known = try results[TensorKey(t)] ?? total(t) { return known }
            return try compute(prefix + t.shape, name: "\(t.op.name)_grad") { _ in const(0.0, t.dtype) }
        }
    }

    // MARK: Order

    private func isInput(_ t: Tensor) -> Bool { inputs.contains { $0.isSame(as: t) } }
    private func wanted(_ t: Tensor) -> Bool {
        t.dtype.isFloat && (isInput(t) || active[ObjectIdentifier(t.op)] == true)
    }
    private func inputsActive(_ op: Operation) -> Bool { op.inputTensors.contains { wanted($0) } }

    /// Operations that depend on the inputs or are asked for, producers first.
    private func activeOrder(_ root: Operation) -> [Operation] {
        var order: [Operation] = []
        var stack: [(op: Operation, inputs: [Tensor], next: Int)] = []
        var entered: Set<ObjectIdentifier> = []
        func enter(_ op: Operation) {
            guard entered.insert(ObjectIdentifier(op)).inserted else { return }
            kept.append(op)
            stack.append((op: op, inputs: op.error == nil ? op.inputTensors : [], next: 0))
        }
        enter(root)
        while let top = stack.last {
            if top.next < top.inputs.count {
                stack[stack.count - 1].next += 1
                enter(top.inputs[top.next].op)
                continue
            }
            stack.removeLast()
            active[ObjectIdentifier(top.op)] = inputsActive(top.op)
            let asked = inputs.contains { $0.op === top.op }
            if asked || active[ObjectIdentifier(top.op)] == true || top.op === root { order.append(top.op) }
        }
        return order
    }

    // MARK: Sums

    private func open(_ t: Tensor) {
        if sinks[TensorKey(t)] != nil { return }
        var axes: [IterVar] = []
        for (i, n) in (prefix + t.shape).enumerated() {
            axes.append(IterVar(IRRange(extent: n), Var("i\(i)"), .dataParallel))
        }
        sinks[TensorKey(t)] = Sink(axes: axes)
    }

    private func total(_ t: Tensor) throws -> Tensor? {
        guard let s = sinks[TensorKey(t)] else { return nil }
        if s.plain.isEmpty && s.summed.count <= 1 { return s.summed.first }
        var sum: PrimExpr?
        for e in s.plain + s.summed.map({ $0[s.axes.map { $0.variable }] }) { sum = sum.map { $0 + e } ?? e }
        guard let sum else { return nil }
        return try ComputeOp(name: "\(t.op.name)_grad", tag: "", attrs: .empty, axis: s.axes, body: [sum])
            .output()
    }

    private func add(_ t: Tensor, _ term: GradientTerm, _ prefixVars: [Var]) throws {
        open(t)
        guard let axes = sinks[TensorKey(t)]?.axes else { return }
        let map = Dictionary(uniqueKeysWithValues: zip(prefixVars, axes.map { $0.variable as PrimExpr }))
        let here = GradientTerm(
            indices: term.indices, adjoint: substitute(term.adjoint, map), unknowns: term.unknowns,
            condition: term.condition)
        let targets = axes.dropFirst(prefix.count).map { $0.variable as PrimExpr }
        guard
            let r = here.inverted(targets, ranges: axes.map { (variable: $0.variable, range: $0.dom) })
        else { return }
        if r.axes.isEmpty {
            let zero = const(0.0, r.value.dtype)
            sinks[TensorKey(t)]?.plain.append(ifThenElse(r.condition, r.value, zero))
            return
        }
        // An operation of its own, with axes of its own.
        let own = axes.map { IterVar($0.dom, Var($0.variable.name, dtype: $0.variable.dtype), .dataParallel) }
        let rename = Dictionary(
            uniqueKeysWithValues: zip(axes, own).map { ($0.variable, $1.variable as PrimExpr) })
        let body = reduceSum(
            substitute(r.value, rename), r.axes, where: substitute(r.condition, rename))
        let op = try ComputeOp(name: "\(t.op.name)_grad", tag: "", attrs: .empty, axis: own, body: [body])
        sinks[TensorKey(t)]?.summed.append(op.output())
    }

    // MARK: Operations

    private func propagate(_ op: Operation, _ heads: [Tensor?]) throws {
        let key = op.tag.isEmpty ? op.name : op.tag
        if let rule = rules[key] ?? registeredRules.with({ $0[key] }) {
            let given = try rule(GradientRequest(op: op, heads: heads, prefixRank: prefix.count))
            for (t, g) in zip(op.inputTensors, given) {
                guard let g, wanted(t) else { continue }
                _ = try prefixShape(g, t)
                open(t)
                sinks[TensorKey(t)]?.summed.append(g)
            }
            return
        }
        guard let op = op as? ComputeOp else {
            throw ApusError(
                "TE101", "the operation has no gradient", at: ["operation: \(op.name)"],
                actual: op.schema.key, hint: "give it one by registerGradient, or by `rules`")
        }
        let prefixVars = prefix.indices.map { Var("p\($0)") }
        for i in 0..<op.outputCount {
            guard let head = heads[i] else { continue }
            for (t, term) in try terms(op, i, head, prefixVars) { try add(t, term, prefixVars) }
        }
    }

    /// The gradient of output `i` of a computation by each element it reads.
    private func terms(
        _ op: ComputeOp, _ i: Int, _ head: Tensor, _ prefixVars: [Var]
    ) throws -> [(Tensor, GradientTerm)] {
        try gradientTerms(
            op, i, seed: head[(prefixVars as [PrimExpr]) + op.axis.map { $0.variable }], wanted: wanted)
    }
}

/// The adjoints of all wanted elements that output `i` of `op` reads, where `seed` flows to its element.
func gradientTerms(
    _ op: ComputeOp, _ i: Int, seed: PrimExpr, wanted: @escaping (Tensor) -> Bool
) throws -> [(Tensor, GradientTerm)] {
    try within("operation: \(op.name)") { () throws -> [(Tensor, GradientTerm)] in
        let point = op.axis.map { $0.variable as PrimExpr }
        var result: [(Tensor, GradientTerm)] = []
        func collect(
            _ e: PrimExpr, _ seed: PrimExpr, _ unknowns: [IterVar], _ condition: PrimExpr, value: PrimExpr?
        ) throws {
            var pass = AdjointPass(wanted: wanted)
            let bare = withoutLets(e)
            try pass.run(bare, seed: seed, value: value)
            for r in pass.reads {
                let term = GradientTerm(
                    indices: r.indices, adjoint: r.adjoint, unknowns: unknowns, condition: condition)
                result.append((r.tensor, term))
            }
        }
        let out = op.output(i)
        guard let reduce = op.body[i] as? Reduce else {
            // The stored value serves only formulas whose derivative is in terms of it.
            try collect(op.body[i], seed, op.axis, trueExpr, value: out[point])
            return result
        }
        let source = reduce.source[i]
        let all = op.axis + reduce.axis
        if !reduce.initial.isEmpty { try collect(reduce.initial[i], seed, op.axis, trueExpr, value: nil) }
        let kind = ReducerKind.of(reduce.combiner, i)
        let one = const(1.0, source.dtype)
        let zero = const(0.0, source.dtype)
        switch kind {
        case .sum: try collect(source, seed, all, reduce.condition, value: nil)
        case .product where reduce.initial.isEmpty:
            let isZero = source .== zero
            let others = try conditionalSum(op, reduce, i, "nonzeros", product: true) {
                select($0 .== zero, one, $0)
            }
            let zeros = try conditionalSum(op, reduce, i, "zeros", product: false) {
                select($0 .== zero, one, zero)
            }
            let rest = select(
                zeros .== zero, others / select(isZero, one, source),
                select(and(zeros .== one, isZero), others, zero))
            try collect(source, seed * rest, all, reduce.condition, value: nil)
        case .maximum where reduce.initial.isEmpty, .minimum where reduce.initial.isEmpty:
            let best = out[point]
            let count = try conditionalSum(op, reduce, i, "ties", product: false) {
                select($0 .== best, one, zero)
            }
            let share = select(source .== best, seed / count, zero)
            try collect(source, share, all, reduce.condition, value: nil)
        default:
            if !wantedIn(source, wanted) { return result }
            throw ApusError(
                "TE101", "the reduction has no gradient", actual: "\(reduce.combiner.result[i])",
                hint: "sums, products, maxima and minima have; give others one by registerGradient")
        }
        return result
    }
}

/// The sum (or product) of `f` of a reduction's source over the same axes, as an operation; its element at the same place.
private func conditionalSum(
    _ op: ComputeOp, _ reduce: Reduce, _ i: Int, _ name: String, product: Bool, _ f: (PrimExpr) -> PrimExpr
) throws -> PrimExpr {
    var map: [Var: PrimExpr] = [:]
    func copy(_ a: IterVar) -> IterVar {
        let v = Var(a.variable.name, dtype: a.variable.dtype)
        map[a.variable] = v
        return IterVar(a.dom, v, a.iterType)
    }
    let outer = op.axis.map { copy($0) }
    let inner = reduce.axis.map { copy($0) }
    let e = substitute(f(reduce.source[i]), map)
    let condition = substitute(reduce.condition, map)
    let body = product ? reduceProd(e, inner, where: condition) : reduceSum(e, inner, where: condition)
    let made = try ComputeOp(name: "\(op.name)_\(name)", tag: "", attrs: .empty, axis: outer, body: [body])
    return made.output()[op.axis.map { $0.variable }]
}

private func wantedIn(_ e: PrimExpr, _ wanted: (Tensor) -> Bool) -> Bool {
    var found = false
    postOrderVisit(e) { x in
        if let load = x as? ProducerLoad, let t = load.producer as? Tensor, wanted(t) { found = true }
    }
    return found
}
