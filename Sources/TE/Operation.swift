import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// An input tensor.
public func placeholder(_ shape: [PrimExpr], _ dtype: DataType = .float32, name: String = "placeholder")
    -> Tensor
{
    PlaceholderOp(name: name, shape: shape, dtype: dtype).output()
}

public func placeholder(_ shape: [Int], _ dtype: DataType = .float32, name: String = "placeholder") -> Tensor
{
    placeholder(shape.map { IntImm($0) }, dtype, name: name)
}

/// The tensor of `shape` whose element at the given indices is `formula` of them.
///
/// Throws what is wrong with the formula: TE002 (a reduction that is only a part of it), TE010 to TE015.
public func compute(
    _ shape: [PrimExpr], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
    _ formula: ([PrimExpr]) throws -> PrimExpr
) throws -> Tensor {
    try computeTuple(shape, name: name, tag: tag, attrs: attrs) { [try formula($0)] }[0]
}

public func compute(
    _ shape: [Int], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
    _ formula: ([PrimExpr]) throws -> PrimExpr
) throws -> Tensor {
    try compute(shape.map { IntImm($0) as PrimExpr }, name: name, tag: tag, attrs: attrs, formula)
}

/// As `compute`, for several outputs of one shape: any formulas, or the values of one reduction of tuples.
public func computeTuple(
    _ shape: [PrimExpr], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
    _ formula: ([PrimExpr]) throws -> [PrimExpr]
) throws -> [Tensor] {
    let axis = spatialAxes(shape)
    let body = try formula(axis.map { $0.variable })
    let op = try ComputeOp(
        name: name, tag: tag.isEmpty ? TagScope.current : tag, attrs: attrs, axis: axis, body: body)
    return body.indices.map { op.output($0) }
}

/// A reduction axis over `0 ..< extent`.
public func reduceAxis(_ extent: PrimExpr, name: String = "k") -> IterVar {
    IterVar(IRRange(extent: extent), Var(name), .commReduce)
}

public func reduceAxis(_ extent: Int, name: String = "k") -> IterVar {
    reduceAxis(IntImm(extent), name: name)
}

private func reducer(_ dtype: DataType, _ identity: PrimExpr, _ f: (Var, Var) -> PrimExpr) -> CommReducer {
    let x = Var("x", dtype: dtype)
    let y = Var("y", dtype: dtype)
    return CommReducer(lhs: [x], rhs: [y], result: [f(x, y)], identity: [identity])
}

/// The sum of `e` over the axes where `condition` holds; 0 over none.
public func reduceSum(_ e: PrimExpr, _ axes: [IterVar], where condition: PrimExpr = trueExpr) -> PrimExpr {
    Reduce(reducer(e.dtype, const(0, e.dtype), { $0 + $1 }), [e], axes, condition: condition)
}

/// The product of `e` over the axes; 1 over none.
public func reduceProd(_ e: PrimExpr, _ axes: [IterVar], where condition: PrimExpr = trueExpr) -> PrimExpr {
    Reduce(reducer(e.dtype, const(1, e.dtype), { $0 * $1 }), [e], axes, condition: condition)
}

/// The greatest `e`; the type's least value (minus infinity) over none. NaN wins.
public func reduceMax(_ e: PrimExpr, _ axes: [IterVar], where condition: PrimExpr = trueExpr) -> PrimExpr {
    Reduce(reducer(e.dtype, minValue(e.dtype), { maximum($0, $1) }), [e], axes, condition: condition)
}

/// The least `e`; the type's greatest value (infinity) over none. NaN wins.
public func reduceMin(_ e: PrimExpr, _ axes: [IterVar], where condition: PrimExpr = trueExpr) -> PrimExpr {
    Reduce(reducer(e.dtype, maxValue(e.dtype), { minimum($0, $1) }), [e], axes, condition: condition)
}

/// Whether all `e` (bool) hold.
public func reduceAll(_ e: PrimExpr, _ axes: [IterVar]) -> PrimExpr {
    Reduce(reducer(.bool, trueExpr, { and($0, $1) }), [e], axes)
}

/// Whether one of the `e` (bool) holds.
public func reduceAny(_ e: PrimExpr, _ axes: [IterVar]) -> PrimExpr {
    Reduce(reducer(.bool, falseExpr, { or($0, $1) }), [e], axes)
}

/// The values of a reduction of tuples by a combiner; use all of them as the formulas of one `computeTuple`.
public func reduceTuple(_ combiner: CommReducer, _ source: [PrimExpr], _ axes: [IterVar]) -> [PrimExpr] {
    source.indices.map { Reduce(combiner, source, axes, valueIndex: $0) }
}

/// Tensors computed by a statement: `body` gets one compact buffer an input and an output, and must define every
/// element of the outputs.
public func extern(
    _ outputs: [(shape: [PrimExpr], dtype: DataType)], inputs: [Tensor], name: String = "extern",
    tag: String = "",
    attrs: Attrs = .empty, _ body: ([Buffer], [Buffer]) throws -> Stmt
) rethrows -> [Tensor] {
    var inputBuffers: [Buffer] = []
    for t in inputs { inputBuffers.append(Buffer(t.op.name, t.shape, t.dtype)) }
    var outputBuffers: [Buffer] = []
    for (i, o) in outputs.enumerated() {
        outputBuffers.append(Buffer(outputs.count == 1 ? name : "\(name)_\(i)", o.shape, o.dtype))
    }
    let op = ExternOp(
        name: name, tag: tag, attrs: attrs, inputs: inputs, inputBuffers: inputBuffers,
        outputBuffers: outputBuffers, body: try body(inputBuffers, outputBuffers))
    return outputs.indices.map { op.output($0) }
}

/// A serial loop over `0 ..< extent`, for bodies of `extern`.
public func forLoop(_ name: String, _ extent: PrimExpr, _ body: (Var) -> Stmt) -> Stmt {
    let v = Var(name)
    return For(v, IntImm(0), extent, body: body(v))
}

/// Loops over all indices of `shape`, for bodies of `extern`.
public func forEachIndex(_ shape: [PrimExpr], prefix: String = "i", _ body: ([PrimExpr]) -> Stmt) -> Stmt {
    let vars = shape.indices.map { Var("\(prefix)\($0)") }
    var stmt = body(vars)
    for i in shape.indices.reversed() { stmt = For(vars[i], IntImm(0), shape[i], body: stmt) }
    return stmt
}
