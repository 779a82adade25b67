import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// A computation that hardware (or a hand-written kernel) does at once: what it computes, as an operation over placeholders,
/// and the statements that do it, over buffers that stand for its inputs and outputs.
///
/// Of a reduction there are up to three forms: `body` does all of it, `reduceInit` sets the outputs to the initial
/// value, `reduceUpdate` adds to them. Where the reduction also runs outside of the intrinsic, the latter two are used.
public final class TETensorIntrin: Node, @unchecked Sendable {
    public let name: String
    /// What is computed: a `ComputeOp` whose inputs are placeholders.
    public let op: Operation
    public let inputs: [Tensor]
    /// One an input, then one an output. Strides and offsets that are variables stand for any layout.
    public let buffers: [Buffer]
    /// Values given at each use.
    public let scalarParams: [Var]
    public let body: Stmt?
    public let reduceInit: Stmt?
    public let reduceUpdate: Stmt?

    init(
        name: String, op: Operation, inputs: [Tensor], buffers: [Buffer], scalarParams: [Var], body: Stmt?,
        reduceInit: Stmt?, reduceUpdate: Stmt?
    ) {
        self.name = name
        self.op = op
        self.inputs = inputs
        self.buffers = buffers
        self.scalarParams = scalarParams
        self.body = body
        self.reduceInit = reduceInit
        self.reduceUpdate = reduceUpdate
    }

    /// A use in a tensor expression: the regions of the inputs in order, reduction axes that run around it, and
    /// the values of its scalar parameters.
    public func callAsFunction(
        _ regions: TensorRegion..., reduceAxis: [IterVar] = [], scalars: [any TensorIndex] = []
    ) -> TensorIntrinCall {
        TensorIntrinCall(
            intrin: self, regions: regions, reduceAxis: reduceAxis, scalarInputs: scalars.map { $0.indexExpr }
        )
    }

    public override class var schema: NodeSchema { intrinSchema }
    public override var description: String { "TensorIntrin(\(name))" }
}

private let intrinSchema = NodeSchema(
    "te.TensorIntrin", TETensorIntrin.self,
    [
        .field("name", \.name), .field("op", \.op), .field("inputs", \.inputs),
        .definition("buffers", \.buffers), .definition("scalarParams", \.scalarParams),
        .field("body", \.body),
        .field("reduceInit", \.reduceInit), .field("reduceUpdate", \.reduceUpdate),
    ], identity: .graph,
    make: {
        let name: String = try $0.next()
        let op: Operation = try $0.next()
        let inputs: [Tensor] = try $0.next()
        let buffers: [Buffer] = try $0.next()
        let scalars: [Var] = try $0.next()
        let body: Stmt? = try $0.next()
        let initial: Stmt? = try $0.next()
        guard buffers.count == inputs.count + op.outputCount else {
            throw ApusError("TE016", "a tensor intrinsic needs a buffer an input and an output")
        }
        return TETensorIntrin(
            name: name, op: op, inputs: inputs, buffers: buffers, scalarParams: scalars, body: body,
            reduceInit: initial, reduceUpdate: try $0.next())
    })

/// The statements of a tensor intrinsic.
public struct IntrinsicForms {
    public var body: Stmt?
    public var reset: Stmt?
    public var update: Stmt?

    /// One that is always run as a whole.
    public init(_ body: Stmt) { self.body = body }

    /// One whose reduction may run in parts; nil where a form does not exist.
    public init(body: Stmt?, reset: Stmt?, update: Stmt?) {
        self.body = body
        self.reset = reset
        self.update = update
    }
}

/// Declares a tensor intrinsic: `op` is the output of a computation over placeholders, `forms` gives the statements
/// for buffers of the inputs and outputs and for the scalar parameters.
///
/// A tensor that `bindBuffers` does not name gets a buffer of any strides and any offset.
///
/// Errors: TE016 (an operation of another kind, inputs that are no placeholders, a buffer of another shape or type,
/// no form at all), and what is wrong with `op`.
public func declTensorIntrin(
    _ op: Operation, scalarParams: [Var] = [], bindBuffers: [(tensor: Tensor, buffer: Buffer)] = [],
    name: String = "tensor_intrin",
    _ forms: ([Buffer], [Buffer], [Var]) throws -> IntrinsicForms
) throws -> TETensorIntrin {
    func refused(_ message: String, _ expected: String? = nil, _ actual: String? = nil) -> ApusError {
        ApusError("TE016", message, at: ["intrinsic: \(name)"], expected: expected, actual: actual)
    }
    if let e = op.error { throw e.within("intrinsic: \(name)") }
    guard op is ComputeOp || op is TensorComputeOp else {
        throw refused("a tensor intrinsic is described by a compute", "a ComputeOp", op.schema.key)
    }
    let inputs = op.inputTensors
    for t in inputs where !(t.op is PlaceholderOp) {
        throw refused("the description reads `\(t.op.name)`, which is not a placeholder")
    }
    let tensors = inputs + (0..<op.outputCount).map { op.output($0) }
    var buffers: [Buffer] = []
    for t in tensors {
        if let given = bindBuffers.first(where: { $0.tensor.isSame(as: t) })?.buffer {
            guard given.dtype == t.dtype, given.rank == t.rank,
                zip(given.shape, t.shape).allSatisfy({ structuralEqual($0, $1) })
            else {
                throw refused(
                    "the buffer `\(given.name)` does not fit `\(t.op.name)`", "\(t)",
                    "\(given.shape): \(given.dtype)")
            }
            buffers.append(given)
        } else {
            buffers.append(anyLayout(t))
        }
    }
    let made = try forms(
        Array(buffers.prefix(inputs.count)), Array(buffers.dropFirst(inputs.count)), scalarParams)
    if made.body == nil && made.update == nil { throw refused("it has neither a body nor an update") }
    return TETensorIntrin(
        name: name, op: op, inputs: inputs, buffers: buffers, scalarParams: scalarParams, body: made.body,
        reduceInit: made.reset, reduceUpdate: made.update)
}

/// A buffer for any part of any tensor of this shape.
private func anyLayout(_ t: Tensor) -> Buffer {
    var strides: [PrimExpr] = []
    for i in t.shape.indices { strides.append(Var("\(t.op.name)_s\(i)")) }
    return Buffer(
        data: Var(t.op.name, type: PointerType(PrimType(t.dtype))), dtype: t.dtype, shape: t.shape,
        strides: strides, elemOffset: Var("\(t.op.name)_offset"), name: t.op.name)
}

extension te {
    /// Declares a tensor intrinsic; see the free function `declTensorIntrin`.
    public static func declTensorIntrin(
        _ op: Operation, scalarParams: [Var] = [], bindBuffers: [(tensor: Tensor, buffer: Buffer)] = [],
        name: String = "tensor_intrin",
        _ forms: ([Buffer], [Buffer], [Var]) throws -> IntrinsicForms
    ) throws -> TETensorIntrin {
        try ApusTE.declTensorIntrin(
            op, scalarParams: scalarParams, bindBuffers: bindBuffers, name: name, forms)
    }
}

/// A use of an intrinsic in a tensor expression: on these regions of its inputs.
public struct TensorIntrinCall {
    public let intrin: TETensorIntrin
    public let regions: [TensorRegion]
    public let reduceAxis: [IterVar]
    public let scalarInputs: [PrimExpr]
}

/// A computation whose elements come in tiles, each by one call of an intrinsic.
public final class TensorComputeOp: Operation, @unchecked Sendable {
    private let axes: [IterVar]
    private let reduction: [IterVar]
    /// The first so many axes are loops; the others lie inside the intrinsic.
    public let schedulableNdim: Int
    public let intrin: TETensorIntrin
    public let inputs: [Tensor]
    /// What a call reads of each input.
    public let inputRegions: [[IRRange]]
    public let scalarInputs: [PrimExpr]

    init(
        name: String, tag: String, attrs: Attrs, axis: [IterVar], reduceAxis: [IterVar],
        schedulableNdim: Int, intrin: TETensorIntrin, inputs: [Tensor], inputRegions: [[IRRange]],
        scalarInputs: [PrimExpr], error: ApusError? = nil
    ) {
        axes = axis
        reduction = reduceAxis
        self.schedulableNdim = schedulableNdim
        self.intrin = intrin
        self.inputs = inputs
        self.inputRegions = inputRegions
        self.scalarInputs = scalarInputs
        super.init(name: name, tag: tag, attrs: attrs, error: error)
    }

    public override var axis: [IterVar] { axes }
    public override var reduceAxis: [IterVar] { reduction }
    public override var rootIterVars: [IterVar] { Array(axes.prefix(schedulableNdim)) + reduction }
    public override var outputCount: Int { intrin.op.outputCount }
    public override func outputShape(_ i: Int) -> [PrimExpr] { axes.map { $0.dom.extent } }
    public override func outputDType(_ i: Int) -> DataType { intrin.op.outputDType(i) }
    public override var inputTensors: [Tensor] {
        var result: [Tensor] = []
        for t in inputs where !result.contains(where: { $0.isSame(as: t) }) { result.append(t) }
        return result
    }

    public override func replacingInputs(_ replacement: (Tensor) -> Tensor?) -> Operation {
        guard let new = replaced(inputs, replacement) else { return self }
        return TensorComputeOp(
            name: name, tag: tag, attrs: attrs, axis: axes, reduceAxis: reduction,
            schedulableNdim: schedulableNdim, intrin: intrin, inputs: new, inputRegions: inputRegions,
            scalarInputs: scalarInputs, error: error)
    }

    fileprivate var flatRegions: [IRRange] { inputRegions.flatMap { $0 } }

    public override class var schema: NodeSchema { tensorComputeSchema }
}

private let tensorComputeSchema = NodeSchema(
    "te.TensorComputeOp", TensorComputeOp.self,
    [
        .field("name", \.name), .field("tag", \.tag), .field("attrs", \.attrs), .definition("axis", \.axis),
        .definition("reduceAxis", \.reduceAxis), .field("schedulableNdim", \.schedulableNdim),
        .field("intrin", \.intrin), .field("inputs", \.inputs), .field("inputRegions", \.flatRegions),
        .field("scalarInputs", \.scalarInputs),
    ], identity: .graph,
    make: {
        let name: String = try $0.next()
        let tag: String = try $0.next()
        let attrs: Attrs = try $0.next()
        let axis: [IterVar] = try $0.next()
        let reduceAxis: [IterVar] = try $0.next()
        let loops: Int = try $0.next()
        let intrin: TETensorIntrin = try $0.next()
        let inputs: [Tensor] = try $0.next()
        let flat: [IRRange] = try $0.next()
        var regions: [[IRRange]] = []
        var at = 0
        for t in inputs {
            regions.append(Array(flat.dropFirst(at).prefix(t.rank)))
            at += t.rank
        }
        guard at == flat.count, loops >= 0, loops <= axis.count else {
            throw ApusError("TE016", "a tensor computation needs a range a dimension of its inputs")
        }
        return TensorComputeOp(
            name: name, tag: tag, attrs: attrs, axis: axis, reduceAxis: reduceAxis, schedulableNdim: loops,
            intrin: intrin, inputs: inputs, inputRegions: regions, scalarInputs: try $0.next())
    })

/// The tensors of `shape` of which each call of an intrinsic gives a tile: the first `count` axes are loops, whose
/// indices the formula gets, the others are those of the intrinsic's output.
///
/// Errors, noted in the operation: TE016.
func tensorCompute(
    _ shape: [PrimExpr], _ count: Int, name: String, tag: String, attrs: Attrs,
    _ formula: ([Var]) -> TensorIntrinCall
) -> TensorComputeOp {
    let axis = spatialAxes(shape)
    var vars = axis.map(\.variable)
    while vars.count < count { vars.append(Var("i\(vars.count)")) }
    let call = formula(Array(vars.prefix(count)))
    let intrin = call.intrin
    func wrong(_ message: String, _ expected: String, _ actual: String) -> ApusError {
        ApusError("TE016", message, at: ["compute: \(name)"], expected: expected, actual: actual)
    }
    var error = shapeError(shape, "compute: \(name)")
    let tile = Array(shape.dropFirst(count))
    let own = intrin.op.outputShape(0)
    if error == nil, count > shape.count || !sameDimensions(tile, own) {
        error = wrong("the inner axes are not those of `\(intrin.name)`", "\(own)", "\(tile)")
    }
    if error == nil, call.regions.count != intrin.inputs.count {
        error = wrong(
            "`\(intrin.name)` needs another number of inputs", "\(intrin.inputs.count)",
            "\(call.regions.count)")
    }
    if error == nil, call.scalarInputs.count != intrin.scalarParams.count {
        error = wrong(
            "`\(intrin.name)` needs another number of scalars", "\(intrin.scalarParams.count)",
            "\(call.scalarInputs.count)")
    }
    for (r, t) in zip(call.regions, intrin.inputs) where error == nil {
        let lead = r.region.count - t.rank
        let points = r.region.prefix(Swift.max(lead, 0)).allSatisfy { $0.extent.asInt == 1 }
        if r.region.count != r.tensor.rank || lead < 0 || !points || r.tensor.dtype != t.dtype
            || !sameDimensions(r.region.dropFirst(lead).map(\.extent), t.shape)
        {
            error = wrong(
                "the region of `\(r.tensor.op.name)` does not fit `\(intrin.name)`", "\(t)",
                "\(r.region.map(\.extent)): \(r.tensor.dtype)")
        }
    }
    for a in call.reduceAxis where error == nil && a.iterType != .commReduce {
        error = ApusError(
            "TE013", "`\(a.variable.name)` is not a reduction axis", at: ["compute: \(name)"],
            actual: a.iterType.rawValue, hint: "make it with reduceAxis")
    }
    if error == nil,
        call.reduceAxis.isEmpty ? intrin.body == nil : intrin.reduceUpdate == nil || intrin.reduceInit == nil
    {
        error = wrong(
            "`\(intrin.name)` lacks a form that is needed",
            call.reduceAxis.isEmpty ? "a body" : "a reset and an update", "none")
    }
    return TensorComputeOp(
        name: name, tag: tag.isEmpty ? TagScope.current : tag, attrs: attrs, axis: axis,
        reduceAxis: call.reduceAxis, schedulableNdim: Swift.min(count, axis.count), intrin: intrin,
        inputs: call.regions.map(\.tensor), inputRegions: call.regions.map(\.region),
        scalarInputs: call.scalarInputs, error: error)
}

private func sameDimensions(_ a: [PrimExpr], _ b: [PrimExpr]) -> Bool {
    a.count == b.count
        && zip(a, b).allSatisfy { structuralEqual($0, $1) || ($0.asInt != nil && $0.asInt == $1.asInt) }
}

extension te {
    /// A tensor that is one call of an intrinsic.
    public static func compute(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: () -> TensorIntrinCall
    ) -> Tensor {
        tensorCompute(shape.map { $0.indexExpr }, 0, name: name, tag: tag, attrs: attrs) { _ in formula() }
            .output()
    }

    /// A tensor whose tiles come from an intrinsic: one call an index of the first axis.
    public static func compute(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var) -> TensorIntrinCall
    ) -> Tensor {
        tensorCompute(shape.map { $0.indexExpr }, 1, name: name, tag: tag, attrs: attrs) { formula($0[0]) }
            .output()
    }

    /// As above, one call an index of the first two axes.
    public static func compute(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var, Var) -> TensorIntrinCall
    ) -> Tensor {
        tensorCompute(shape.map { $0.indexExpr }, 2, name: name, tag: tag, attrs: attrs) {
            formula($0[0], $0[1])
        }
        .output()
    }

    /// As above, one call an index of the first three axes.
    public static func compute(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var, Var, Var) -> TensorIntrinCall
    ) -> Tensor {
        tensorCompute(shape.map { $0.indexExpr }, 3, name: name, tag: tag, attrs: attrs) {
            formula($0[0], $0[1], $0[2])
        }.output()
    }
}
