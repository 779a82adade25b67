import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// A region of memory seen as an n-dimensional array: the one form in which the loop IR names memory.
///
/// Identity is that of the object, as for a variable. `data` is the base pointer; element `[i…]` lies at
/// `data[elemOffset + sum(i * stride)]`; empty `strides` = compact, row-major.
public final class Buffer: Node, @unchecked Sendable {
    public let name: String
    public let data: Var
    public let dtype: DataType
    public let shape: [PrimExpr]
    public let strides: [PrimExpr]
    /// In elements.
    public let elemOffset: PrimExpr
    /// Bytes to which `data` is known to be aligned; 0 = the element's own size.
    public let alignment: Int
    /// Elements of which `elemOffset` is known to be a multiple; 0 = nothing is known.
    public let offsetFactor: Int

    public init(
        data: Var, dtype: DataType, shape: [PrimExpr], strides: [PrimExpr] = [],
        elemOffset: PrimExpr = IntImm(0),
        name: String, alignment: Int = 0, offsetFactor: Int = 0
    ) {
        self.name = name
        self.data = data
        self.dtype = dtype
        self.shape = shape
        self.strides = strides
        self.elemOffset = elemOffset
        self.alignment = alignment
        self.offsetFactor = offsetFactor
    }

    /// A compact buffer with its own data pointer in `scope` (`global`, `local`, …).
    public convenience init(
        _ name: String, _ shape: [PrimExpr], _ dtype: DataType = .float32, scope: String = "global",
        alignment: Int = 64
    ) {
        let pointer = PointerType(PrimType(dtype), storageScope: scope == "global" ? "" : scope)
        self.init(
            data: Var(name, type: pointer), dtype: dtype, shape: shape, name: name,
            alignment: alignment)
    }

    public convenience init(
        _ name: String, _ shape: [Int], _ dtype: DataType = .float32, scope: String = "global",
        alignment: Int = 64
    ) {
        self.init(name, shape.map { IntImm($0) }, dtype, scope: scope, alignment: alignment)
    }

    /// The memory it lives in: `global`, `local`, `shared`, …
    public var scope: String {
        guard let pointer = data.type as? PointerType, !pointer.storageScope.isEmpty else { return "global" }
        return pointer.storageScope
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

    public override class var schema: NodeSchema { bufferSchema }
    public override var description: String { name }
}

private let bufferSchema = NodeSchema(
    "tir.Buffer", Buffer.self,
    [
        .definition("data", \.data), .field("dtype", \.dtype), .pattern("shape", \.shape),
        .pattern("strides", \.strides), .pattern("elemOffset", \.elemOffset), .ignored("name", \.name),
        .field("alignment", \.alignment), .field("offsetFactor", \.offsetFactor),
    ], identity: .variable,
    make: {
        let data: Var = try $0.next()
        let dtype: DataType = try $0.next()
        let shape: [PrimExpr] = try $0.next()
        let strides: [PrimExpr] = try $0.next()
        let elemOffset: PrimExpr = try $0.next()
        let name: String = try $0.next()
        return Buffer(
            data: data, dtype: dtype, shape: shape, strides: strides, elemOffset: elemOffset, name: name,
            alignment: try $0.next(), offsetFactor: try $0.next())
    })

/// A box of a buffer: one range a dimension.
public final class BufferRegion: Node, @unchecked Sendable {
    public let buffer: Buffer
    public let region: [IRRange]

    public init(_ buffer: Buffer, _ region: [IRRange]) {
        self.buffer = buffer
        self.region = region
    }

    /// The whole buffer.
    public convenience init(all buffer: Buffer) {
        self.init(buffer, buffer.shape.map { IRRange(extent: $0) })
    }

    /// One element.
    public convenience init(_ buffer: Buffer, point indices: [PrimExpr]) {
        self.init(buffer, indices.map { IRRange(min: $0, extent: IntImm(1, dtype: $0.dtype)) })
    }

    public override class var schema: NodeSchema { bufferRegionSchema }
    public override var description: String {
        let inside = region.map { r in
            r.extent.asInt == 1 ? "\(r.min)" : "\(r.min):\(r.min + r.extent)"
        }.joined(separator: ", ")
        return "\(buffer.name)[\(inside)]"
    }
}

private let bufferRegionSchema = NodeSchema(
    "tir.BufferRegion", BufferRegion.self, [.field("buffer", \.buffer), .field("region", \.region)],
    make: {
        let buffer: Buffer = try $0.next()
        return BufferRegion(buffer, try $0.next())
    })

/// Something that yields a tensor value element by element, before it has memory: a tensor of TE.
open class DataProducer: Node, @unchecked Sendable {
    open var producerShape: [PrimExpr] { internalError("\(Self.self) has no shape") }
    open var producerDType: DataType { internalError("\(Self.self) has no dtype") }
    open var producerName: String { internalError("\(Self.self) has no name") }
}
