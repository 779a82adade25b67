import ApusNode
import ApusRuntime
import ApusSupport

/// The closed set of types of the graph IR and of function signatures.
public enum IRTypeKind: UInt8, Sendable {
    case prim, pointer, tensor, tuple, function, typeVariable, incomplete, relayRef
}

/// A type. (TVM's `Type`; the name avoids Swift's metatypes.)
open class IRType: Node, @unchecked Sendable {
    open var typeKind: IRTypeKind { internalError("\(Self.self) names no kind") }
}

/// The type of a scalar of the loop IR.
public final class PrimType: IRType, @unchecked Sendable {
    public let dtype: DataType

    public init(_ dtype: DataType) { self.dtype = dtype }

    public override var typeKind: IRTypeKind { .prim }
    public override class var schema: NodeSchema { primTypeSchema }
    public override var description: String { "\(dtype)" }
}

private let primTypeSchema = NodeSchema(
    "PrimType", PrimType.self, [.field("dtype", \.dtype)], make: { PrimType(try $0.next()) })

/// The type of a data pointer: what it points to and in which memory.
public final class PointerType: IRType, @unchecked Sendable {
    public let element: IRType
    /// `global`, `local`, `shared`, … ; empty = global.
    public let storageScope: String

    public init(_ element: IRType, storageScope: String = "") {
        self.element = element
        self.storageScope = storageScope
    }

    public override var typeKind: IRTypeKind { .pointer }
    public override class var schema: NodeSchema { pointerTypeSchema }
    public override var description: String {
        storageScope.isEmpty ? "Pointer(\(element))" : "Pointer(\(element), \"\(storageScope)\")"
    }
}

private let pointerTypeSchema = NodeSchema(
    "PointerType", PointerType.self, [.field("element", \.element), .field("storageScope", \.storageScope)],
    make: { PointerType(try $0.next(), storageScope: try $0.next()) })

/// A tensor: a dimension is an integer constant, a variable or an expression of variables.
public final class TensorType: IRType, @unchecked Sendable {
    public let shape: [PrimExpr]
    public let dtype: DataType

    public init(_ shape: [PrimExpr], _ dtype: DataType) {
        self.shape = shape
        self.dtype = dtype
    }

    /// A type with known dimensions.
    public convenience init(_ shape: [Int], _ dtype: DataType) { self.init(shape.map { IntImm($0) }, dtype) }

    public var rank: Int { shape.count }

    /// All dimensions, if all are constants.
    public var staticShape: [Int]? {
        var result: [Int] = []
        result.reserveCapacity(shape.count)
        for d in shape {
            guard let n = d.asInt else { return nil }
            result.append(n)
        }
        return result
    }

    public override var typeKind: IRTypeKind { .tensor }
    public override class var schema: NodeSchema { tensorTypeSchema }
    public override var description: String {
        let dims = shape.map { "\($0)" }.joined(separator: ", ")
        return "Tensor[(\(shape.count == 1 ? dims + "," : dims)), \(dtype)]"
    }
}

private let tensorTypeSchema = NodeSchema(
    "relay.TensorType", TensorType.self, [.field("shape", \.shape), .field("dtype", \.dtype)],
    make: {
        let shape: [PrimExpr] = try $0.next()
        return TensorType(shape, try $0.next())
    })

/// A tuple of types; the empty tuple is the unit type.
public final class TupleType: IRType, @unchecked Sendable {
    public let fields: [IRType]

    public init(_ fields: [IRType]) { self.fields = fields }

    public override var typeKind: IRTypeKind { .tuple }
    public override class var schema: NodeSchema { tupleTypeSchema }
    public override var description: String {
        let inside = fields.map { "\($0)" }.joined(separator: ", ")
        return "(\(fields.count == 1 ? inside + "," : inside))"
    }
}

private let tupleTypeSchema = NodeSchema(
    "TupleType", TupleType.self, [.field("fields", \.fields)], make: { TupleType(try $0.next()) })

/// The type of a function of the graph IR.
public final class FuncType: IRType, @unchecked Sendable {
    public let typeParams: [TypeVar]
    public let argTypes: [IRType]
    public let retType: IRType

    public init(_ argTypes: [IRType], _ retType: IRType, typeParams: [TypeVar] = []) {
        self.typeParams = typeParams
        self.argTypes = argTypes
        self.retType = retType
    }

    public override var typeKind: IRTypeKind { .function }
    public override class var schema: NodeSchema { funcTypeSchema }
    public override var description: String {
        "fn (\(argTypes.map { "\($0)" }.joined(separator: ", "))) -> \(retType)"
    }
}

private let funcTypeSchema = NodeSchema(
    "FuncType", FuncType.self,
    [.definition("typeParams", \.typeParams), .field("argTypes", \.argTypes), .field("retType", \.retType)],
    make: {
        let typeParams: [TypeVar] = try $0.next()
        return FuncType(try $0.next(), try $0.next(), typeParams: typeParams)
    })

/// A type parameter.
public final class TypeVar: IRType, @unchecked Sendable {
    public let name: String

    public init(_ name: String) { self.name = name }

    public override var typeKind: IRTypeKind { .typeVariable }
    public override class var schema: NodeSchema { typeVarSchema }
    public override var description: String { name }
}

private let typeVarSchema = NodeSchema(
    "TypeVar", TypeVar.self, [.ignored("name", \.name)], identity: .variable, make: { TypeVar(try $0.next()) }
)

/// A type not known yet; a parsed program may hold it where an annotation was left out.
public final class IncompleteType: IRType, @unchecked Sendable {
    public override init() {}
    public override var typeKind: IRTypeKind { .incomplete }
    public override class var schema: NodeSchema { incompleteTypeSchema }
    public override var description: String { "?" }
}

private let incompleteTypeSchema = NodeSchema(
    "IncompleteType", IncompleteType.self, [], make: { _ in IncompleteType() })

/// A mutable reference to a value of a type.
public final class RelayRefType: IRType, @unchecked Sendable {
    public let value: IRType

    public init(_ value: IRType) { self.value = value }

    public override var typeKind: IRTypeKind { .relayRef }
    public override class var schema: NodeSchema { refTypeSchema }
    public override var description: String { "ref(\(value))" }
}

private let refTypeSchema = NodeSchema(
    "relay.RefType", RelayRefType.self, [.field("value", \.value)], make: { RelayRefType(try $0.next()) })
