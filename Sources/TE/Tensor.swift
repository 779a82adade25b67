import ApusArith
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

    /// The element at `indices`. Another number of them than axes is an error of the operation that uses it (TE010).
    public subscript(_ indices: [PrimExpr]) -> PrimExpr { ProducerLoad(self, indices) }
    /// As above; an index is an expression, an iteration variable or an integer.
    public subscript(_ indices: any TensorIndex...) -> PrimExpr {
        ProducerLoad(self, indices.map { $0.indexExpr })
    }

    /// Whether both are the same output of the same operation.
    public func isSame(as other: Tensor) -> Bool { op === other.op && valueIndex == other.valueIndex }

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
    /// What is wrong with it. Building blocks that do not throw (`te.compute`) note it here; whoever makes a function
    /// of the operation throws it.
    public final let error: ApusError?

    init(name: String, tag: String, attrs: Attrs, error: ApusError? = nil) {
        self.name = name
        self.tag = tag
        self.attrs = attrs
        self.error = error
    }

    open var outputCount: Int { 1 }
    open func outputShape(_ i: Int) -> [PrimExpr] { internalError("\(Self.self) has no shape") }
    open func outputDType(_ i: Int) -> DataType { internalError("\(Self.self) has no dtype") }
    /// The tensors read, each once, in order of first use.
    open var inputTensors: [Tensor] { [] }
    /// The spatial axes, in the order of the dimensions.
    open var axis: [IterVar] { [] }
    open var reduceAxis: [IterVar] { [] }
    /// The axes that a schedule starts from.
    open var rootIterVars: [IterVar] { axis + reduceAxis }
    /// The same operation reading other tensors; itself where nothing changes.
    open func replacingInputs(_ replacement: (Tensor) -> Tensor?) -> Operation { self }

    /// The same operation with some inputs exchanged.
    public final func replaceInputs(_ pairs: [(old: Tensor, new: Tensor)]) -> Operation {
        replacingInputs { t in pairs.first { $0.old.isSame(as: t) }?.new }
    }

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
        super.init(name: name, tag: "", attrs: .empty, error: shapeError(shape, "placeholder: \(name)"))
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

/// Tensors are equal where they are the same output of the same operation.
struct TensorKey: Hashable {
    let op: ObjectIdentifier
    let index: Int
    init(_ t: Tensor) {
        op = ObjectIdentifier(t.op)
        index = t.valueIndex
    }
}

/// The node kinds of this room.
public enum TENodes {
    public static let all: [NodeSchema] = [
        Tensor.schema, PlaceholderOp.schema, ComputeOp.schema, ExternOp.schema, ScanOp.schema,
        TETensorIntrin.schema, TensorComputeOp.schema, HybridOp.schema,
    ]
    /// Makes the kinds known to JSON loading. Idempotent.
    public static func registerAll() {
        ArithNodes.registerAll()
        NodeRegistry.register(all)
    }
}
