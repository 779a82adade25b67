import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// A tensor of the tensor-expression language: output `valueIndex` of an operation. It has a shape and an element
/// type, and no memory until a function is made of it.
public final class Tensor: DataProducer, @unchecked Sendable {
    public let shape: [PrimExpr]
    public let dtype: DataType
    public let op: Operation
    public let valueIndex: Int

    init(shape: [PrimExpr], dtype: DataType, op: Operation, valueIndex: Int) {
        self.shape = shape
        self.dtype = dtype
        self.op = op
        self.valueIndex = valueIndex
    }

    public var rank: Int { shape.count }

    /// All dimensions, if all are constants.
    public var staticShape: [Int]? {
        var result: [Int] = []
        for d in shape {
            guard let n = d.asInt else { return nil }
            result.append(n)
        }
        return result
    }

    /// The element at `indices`, one an axis.
    public subscript(_ indices: [PrimExpr]) -> PrimExpr {
        if indices.count != shape.count {
            internalError("\(op.name) has \(shape.count) axes, \(indices.count) indices given")
        }
        return ProducerLoad(self, indices)
    }
    public subscript(_ indices: PrimExpr...) -> PrimExpr { self[indices] }

    public override var producerShape: [PrimExpr] { shape }
    public override var producerDType: DataType { dtype }
    public override var producerName: String { op.name }

    public override class var schema: NodeSchema { tensorSchema }
    public override var description: String {
        "\(op.name)[\(shape.map { "\($0)" }.joined(separator: ", "))]: \(dtype)"
    }
}

private let tensorSchema = NodeSchema(
    "te.Tensor", Tensor.self, [.field("op", \.op), .field("valueIndex", \.valueIndex)],
    make: {
        let op: Operation = try $0.next()
        let index: Int = try $0.next()
        guard index >= 0, index < op.outputCount else {
            throw ApusError("TE001", "an operation has no such output", actual: "\(index)")
        }
        return op.output(index)
    })

/// What produces tensors. Identity matters: two operations with the same definition are two.
open class Operation: Node, @unchecked Sendable {
    /// Hint for block and buffer names.
    public final let name: String
    /// What schedules recognise, such as `conv2d_nchw`; empty = nothing special.
    public final let tag: String
    public final let attrs: Attrs

    init(name: String, tag: String, attrs: Attrs) {
        self.name = name
        self.tag = tag
        self.attrs = attrs
    }

    open var outputCount: Int { 1 }
    open func outputShape(_ i: Int) -> [PrimExpr] { internalError("\(Self.self) has no shape") }
    open func outputDType(_ i: Int) -> DataType { internalError("\(Self.self) has no dtype") }
    /// The tensors read, each once, in order of first use.
    open var inputTensors: [Tensor] { [] }

    public final func output(_ i: Int = 0) -> Tensor {
        Tensor(shape: outputShape(i), dtype: outputDType(i), op: self, valueIndex: i)
    }
}

/// An input.
public final class PlaceholderOp: Operation, @unchecked Sendable {
    public let shape: [PrimExpr]
    public let dtype: DataType

    init(name: String, shape: [PrimExpr], dtype: DataType) {
        self.shape = shape
        self.dtype = dtype
        super.init(name: name, tag: "", attrs: .empty)
    }

    public override func outputShape(_ i: Int) -> [PrimExpr] { shape }
    public override func outputDType(_ i: Int) -> DataType { dtype }
    public override class var schema: NodeSchema { placeholderSchema }
}

private let placeholderSchema = NodeSchema(
    "te.PlaceholderOp", PlaceholderOp.self,
    [.field("name", \.name), .field("shape", \.shape), .field("dtype", \.dtype)], identity: .graph,
    make: {
        let name: String = try $0.next()
        let shape: [PrimExpr] = try $0.next()
        return PlaceholderOp(name: name, shape: shape, dtype: try $0.next())
    })

/// Each element of the outputs by a formula of its indices; a reduction may only be the whole formula.
public final class ComputeOp: Operation, @unchecked Sendable {
    public let axis: [IterVar]
    /// One formula an output; several only for a reduction of tuples.
    public let body: [PrimExpr]

    public init(name: String, tag: String, attrs: Attrs, axis: [IterVar], body: [PrimExpr]) throws {
        for e in body { try checkBody(e, name) }
        self.axis = axis
        self.body = body
        super.init(name: name, tag: tag, attrs: attrs)
    }

    public var reduction: Reduce? { body.first as? Reduce }
    public var reduceAxis: [IterVar] { reduction?.axis ?? [] }

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
    public override class var schema: NodeSchema { computeSchema }
}

/// Tensors are equal where they are the same output of the same operation.
struct TensorKey: Hashable {
    let op: ObjectIdentifier
    let index: Int
    init(_ t: Tensor) {
        op = ObjectIdentifier(t.op)
        index = t.valueIndex
    }
}

private func checkBody(_ e: PrimExpr, _ name: String) throws {
    var nested = false
    func check(_ e: PrimExpr) {
        if e.kind == .reduce { nested = true }
        forEachChild(of: e, check)
    }
    forEachChild(of: e, check)
    if nested {
        throw ApusError(
            "TE002", "a reduction must be the whole formula of a computation", at: ["compute: \(name)"],
            hint: "give the reduction its own compute and read its result")
    }
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

/// A computation written as a statement over buffers, for what a formula cannot say (sorting, scattering).
public final class ExternOp: Operation, @unchecked Sendable {
    public let inputs: [Tensor]
    public let inputBuffers: [Buffer]
    public let outputBuffers: [Buffer]
    public let body: Stmt

    init(
        name: String, tag: String, attrs: Attrs, inputs: [Tensor], inputBuffers: [Buffer],
        outputBuffers: [Buffer],
        body: Stmt
    ) {
        self.inputs = inputs
        self.inputBuffers = inputBuffers
        self.outputBuffers = outputBuffers
        self.body = body
        super.init(name: name, tag: tag, attrs: attrs)
    }

    public override var outputCount: Int { outputBuffers.count }
    public override func outputShape(_ i: Int) -> [PrimExpr] { outputBuffers[i].shape }
    public override func outputDType(_ i: Int) -> DataType { outputBuffers[i].dtype }
    public override var inputTensors: [Tensor] { inputs }
    public override class var schema: NodeSchema { externSchema }
}

private let externSchema = NodeSchema(
    "te.ExternOp", ExternOp.self,
    [
        .field("name", \.name), .field("tag", \.tag), .field("attrs", \.attrs), .field("inputs", \.inputs),
        .definition("inputBuffers", \.inputBuffers), .definition("outputBuffers", \.outputBuffers),
        .field("body", \.body),
    ], identity: .graph,
    make: {
        let name: String = try $0.next()
        let tag: String = try $0.next()
        let attrs: Attrs = try $0.next()
        let inputs: [Tensor] = try $0.next()
        let inputBuffers: [Buffer] = try $0.next()
        let outputBuffers: [Buffer] = try $0.next()
        return ExternOp(
            name: name, tag: tag, attrs: attrs, inputs: inputs, inputBuffers: inputBuffers,
            outputBuffers: outputBuffers, body: try $0.next())
    })

/// The node kinds of this room.
public enum TENodes {
    public static let all: [NodeSchema] = [
        Tensor.schema, PlaceholderOp.schema, ComputeOp.schema, ExternOp.schema,
    ]
    /// Makes the kinds known to JSON loading. Idempotent.
    public static func registerAll() {
        TIRNodes.registerAll()
        NodeRegistry.register(all)
    }
}
