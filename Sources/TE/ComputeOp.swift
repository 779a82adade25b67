import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Each element of the outputs by a formula of its indices; a reduction may only be the whole formula.
public final class ComputeOp: Operation, @unchecked Sendable {
    private let axes: [IterVar]
    /// One formula an output; of a reduction, the values of one tuple in order.
    public let body: [PrimExpr]

    /// Throws what is wrong with the formulas: TE002, TE010 to TE015.
    public convenience init(name: String, tag: String, attrs: Attrs, axis: [IterVar], body: [PrimExpr])
        throws
    {
        let error = checkCompute(name, axis, body)
        if let error { throw error }
        self.init(checked: name, tag, attrs, axis, body, nil)
    }

    private init(
        checked name: String, _ tag: String, _ attrs: Attrs, _ axis: [IterVar], _ body: [PrimExpr],
        _ error: ApusError?
    ) {
        axes = axis
        self.body = body
        super.init(name: name, tag: tag, attrs: attrs, error: error)
    }

    /// As `init`, but what is wrong is noted in `error`.
    static func deferred(
        name: String, tag: String = "", attrs: Attrs = .empty, axis: [IterVar], body: [PrimExpr],
        error: ApusError? = nil
    ) -> ComputeOp {
        ComputeOp(checked: name, tag, attrs, axis, body, error ?? checkCompute(name, axis, body))
    }

    public var reduction: Reduce? { body.first as? Reduce }
    public override var axis: [IterVar] { axes }
    public override var reduceAxis: [IterVar] { reduction?.axis ?? [] }

    public override var outputCount: Int { body.count }
    public override func outputShape(_ i: Int) -> [PrimExpr] { axis.map { $0.dom.extent } }
    public override func outputDType(_ i: Int) -> DataType { body[i].dtype }

    public override var inputTensors: [Tensor] {
        var result: [Tensor] = []
        var seen: Set<TensorKey> = []
        for e in body {
            postOrderVisit(e) { x in
                guard let load = x as? ProducerLoad, let t = load.producer as? Tensor else { return }
                if seen.insert(TensorKey(t)).inserted { result.append(t) }
            }
        }
        return result
    }

    public override func replacingInputs(_ replacement: (Tensor) -> Tensor?) -> Operation {
        let new = mapBodies(body) { e in
            guard let load = e as? ProducerLoad, let t = load.producer as? Tensor, let other = replacement(t)
            else { return nil }
            return ProducerLoad(other, load.indices)
        }
        if zip(new, body).allSatisfy({ $0 === $1 }) { return self }
        return ComputeOp.deferred(name: name, tag: tag, attrs: attrs, axis: axis, body: new, error: error)
    }

    public override class var schema: NodeSchema { computeSchema }
}

private let computeSchema = NodeSchema(
    "te.ComputeOp", ComputeOp.self,
    [
        .field("name", \.name), .field("tag", \.tag), .field("attrs", \.attrs), .definition("axis", \.axis),
        .field("body", \.body),
    ], identity: .graph,
    make: {
        let name: String = try $0.next()
        let tag: String = try $0.next()
        let attrs: Attrs = try $0.next()
        let axis: [IterVar] = try $0.next()
        return try ComputeOp(name: name, tag: tag, attrs: attrs, axis: axis, body: try $0.next())
    })

/// Rewrites formulas bottom-up: `change` sees each expression with its children done; nil leaves it. What several
/// formulas share stays shared (the values of a tuple reduction have the same source).
func mapBodies(_ bodies: [PrimExpr], _ change: (PrimExpr) -> PrimExpr?) -> [PrimExpr] {
    var done: [ObjectIdentifier: PrimExpr] = [:]
    func map(_ e: PrimExpr) -> PrimExpr {
        if let known = done[ObjectIdentifier(e)] { return known }
        let inner = mapChildren(of: e) { map($0) }
        let new = change(inner) ?? inner
        done[ObjectIdentifier(e)] = new
        return new
    }
    // The same axis objects for all values of a reduction: the first decides.
    var result = bodies.map { map($0) }
    if let first = result.first as? Reduce {
        for i in result.indices.dropFirst() {
            guard let r = result[i] as? Reduce else { continue }
            result[i] = Reduce(
                r.combiner, first.source.count == r.source.count ? first.source : r.source, first.axis,
                condition: first.condition, valueIndex: r.valueIndex, initial: first.initial)
        }
        if zip(result, bodies).allSatisfy({ a, b in
            guard let x = a as? Reduce, let y = b as? Reduce else { return a === b }
            return x.source.elementsEqual(y.source, by: { $0 === $1 }) && x.condition === y.condition
                && x.axis.elementsEqual(y.axis, by: { $0 === $1 })
                && x.initial.elementsEqual(y.initial, by: { $0 === $1 })
        }) {
            return bodies
        }
    }
    return result
}

/// Tensors with some exchanged; nil where none is.
func replaced(_ tensors: [Tensor], _ replacement: (Tensor) -> Tensor?) -> [Tensor]? {
    var changed = false
    let new = tensors.map { t -> Tensor in
        guard let other = replacement(t), !other.isSame(as: t) else { return t }
        changed = true
        return other
    }
    return changed ? new : nil
}

/// The axes `i0`, `i1`, … over a shape.
func spatialAxes(_ shape: [PrimExpr], prefix: String = "i") -> [IterVar] {
    var axis: [IterVar] = []
    for (i, extent) in shape.enumerated() {
        let type = extent.dtype.isInteger && extent.dtype.isScalar ? extent.dtype : .index
        axis.append(IterVar(IRRange(extent: extent), Var("\(prefix)\(i)", dtype: type), .dataParallel))
    }
    return axis
}

/// TE017: a dimension that cannot be one.
func shapeError(_ shape: [PrimExpr], _ place: String) -> ApusError? {
    for d in shape where !(d.dtype.isInteger && d.dtype.isScalar) || (d.asInt ?? 0) < 0 {
        return ApusError(
            "TE017", "a shape needs dimensions that are integers, not negative", at: [place], actual: "\(d)")
    }
    return nil
}

// MARK: - Checks

/// What is wrong with the formulas of a computation, or nil.
private func checkCompute(_ name: String, _ axis: [IterVar], _ body: [PrimExpr]) -> ApusError? {
    let place = "compute: \(name)"
    if let e = shapeError(axis.map { $0.dom.extent }, place) { return e }
    if body.isEmpty { return ApusError("TE014", "a computation needs a formula", at: [place]) }
    var nested = false
    var wrong: ApusError?
    func check(_ e: PrimExpr) {
        if e.kind == .reduce { nested = true }
        if let load = e as? ProducerLoad, wrong == nil { wrong = loadError(load, place) }
        forEachChild(of: e, check)
    }
    for e in body {
        if let load = e as? ProducerLoad, wrong == nil { wrong = loadError(load, place) }
        forEachChild(of: e, check)
    }
    if nested {
        return ApusError(
            "TE002", "a reduction must be the whole formula of a computation", at: [place],
            hint: "give the reduction its own compute and read its result")
    }
    if let wrong { return wrong }
    for e in body where e.dtype.isHandle || e.dtype.lanes != 1 {
        return ApusError("TE011", "a formula must be a scalar value", at: [place], actual: "\(e.dtype)")
    }
    return reductionError(axis, body, place)
}

/// TE010, TE011: an access with another number of indices than axes, or an index that is no integer.
private func loadError(_ load: ProducerLoad, _ place: String) -> ApusError? {
    let rank = load.producer.producerShape.count
    if load.indices.count != rank {
        return ApusError(
            "TE010", "`\(load.producer.producerName)` is read with a wrong number of indices", at: [place],
            expected: "\(rank)", actual: "\(load.indices.count)")
    }
    for i in load.indices where !i.dtype.isInteger || i.dtype.lanes != 1 {
        return ApusError(
            "TE011", "an index of `\(load.producer.producerName)` is not an integer", at: [place],
            actual: "\(i): \(i.dtype)")
    }
    return nil
}

/// TE013: reduction axes that are none. TE014: several outputs that are not the values of one reduction.
private func reductionError(_ axis: [IterVar], _ body: [PrimExpr], _ place: String) -> ApusError? {
    let reductions = body.compactMap { $0 as? Reduce }
    guard let first = reductions.first else { return nil }
    let mixed = ApusError(
        "TE014", "several outputs with a reduction must be the values of one, in order", at: [place],
        expected: "\(first.source.count) values of the same axes, sources and condition",
        hint: "use all of what reduceTuple or a commReducer gives")
    guard reductions.count == body.count, body.count == first.source.count else { return mixed }
    for (i, r) in reductions.enumerated() {
        guard r.valueIndex == i, r.combiner === first.combiner || structuralEqual(r.combiner, first.combiner),
            r.axis.elementsEqual(first.axis, by: { $0 === $1 }), r.source.count == first.source.count,
            zip(r.source, first.source).allSatisfy({ $0 === $1 || structuralEqual($0, $1) }),
            r.condition === first.condition || structuralEqual(r.condition, first.condition)
        else { return mixed }
    }
    let count = first.source.count
    guard first.combiner.result.count == count, first.initial.isEmpty || first.initial.count == count else {
        return ApusError(
            "TE015", "a reduction needs as many values as its combiner has", at: [place],
            expected: "\(first.combiner.result.count)", actual: "\(count)")
    }
    for (v, e) in zip(first.combiner.lhs, first.source) where v.dtype != e.dtype {
        return ApusError(
            "TE015", "a reduction combines values of another type", at: [place], expected: "\(v.dtype)",
            actual: "\(e.dtype)")
    }
    for (v, e) in zip(first.combiner.lhs, first.initial) where v.dtype != e.dtype {
        return ApusError(
            "TE015", "an initial value has another type than the reduction", at: [place],
            expected: "\(v.dtype)", actual: "\(e.dtype)")
    }
    if first.condition.dtype != .bool {
        return ApusError(
            "TE015", "the condition of a reduction is not a truth value", at: [place],
            actual: "\(first.condition.dtype)")
    }
    if first.axis.isEmpty {
        return ApusError("TE013", "a reduction needs at least one axis", at: [place])
    }
    var seen: Set<Var> = []
    for a in first.axis {
        guard a.iterType == .commReduce else {
            return ApusError(
                "TE013", "`\(a.variable.name)` is not a reduction axis", at: [place],
                actual: a.iterType.rawValue, hint: "make it with reduceAxis")
        }
        guard seen.insert(a.variable).inserted else {
            return ApusError("TE013", "the reduction axis `\(a.variable.name)` is named twice", at: [place])
        }
    }
    return nil
}
