import ApusRuntime
import ApusSupport

/// Element types of ONNX, numbered as `TensorProto.DataType`.
public enum ONNXElementType: Int, Sendable, Hashable, CaseIterable {
    case undefined = 0
    case float = 1
    case uint8 = 2
    case int8 = 3
    case uint16 = 4
    case int16 = 5
    case int32 = 6
    case int64 = 7
    case string = 8
    case bool = 9
    case float16 = 10
    case double = 11
    case uint32 = 12
    case uint64 = 13
    case complex64 = 14
    case complex128 = 15
    case bfloat16 = 16
    case float8e4m3fn = 17
    case float8e4m3fnuz = 18
    case float8e5m2 = 19
    case float8e5m2fnuz = 20
    case uint4 = 21
    case int4 = 22
    case float4e2m1 = 23
    case float8e8m0 = 24
    case uint2 = 25
    case int2 = 26
    case float6e2m3 = 27
    case float6e3m2 = 28

    /// The type of a tensor in this package; nil where there is none (strings, complex, 8-bit floats and
    /// narrower).
    public var dtype: DataType? {
        switch self {
        case .float: .float32
        case .uint8: .uint8
        case .int8: .int8
        case .uint16: .uint16
        case .int16: .int16
        case .int32: .int32
        case .int64: .int64
        case .bool: .bool
        case .float16: .float16
        case .double: .float64
        case .uint32: .uint32
        case .uint64: .uint64
        case .bfloat16: .bfloat16
        default: nil
        }
    }

    /// ONNX's name, in lower case: `float`, `int4`, `float8e4m3fn`.
    public var name: String { String(describing: self) }

    /// The ONNX type of tensors of `dtype`; nil for vectors and handles.
    public init?(_ dtype: DataType) {
        for candidate in ONNXElementType.allCases where candidate.dtype == dtype {
            self = candidate
            return
        }
        return nil
    }

    /// The supported type for an attribute's or a field's number such as `to` of Cast.
    /// - Throws: ONNX010 for a number that ONNX does not define or a type without tensors here, named.
    public static func dtype(number: Int) throws -> DataType {
        guard let type = ONNXElementType(rawValue: number), type != .undefined else {
            throw ApusError("ONNX010", "unknown element type", actual: "number \(number)")
        }
        guard let dtype = type.dtype else {
            throw ApusError(
                "ONNX010", "tensors of element type \(type.name) are not supported",
                expected: "float16, bfloat16, float, double, bool, or an integer of 8 to 64 bits",
                actual: type.name)
        }
        return dtype
    }
}

/// One extent of a declared shape.
public enum ONNXDim: Sendable, Hashable, CustomStringConvertible {
    /// A constant extent, >= 0.
    case value(Int)
    /// A named extent such as `batch`: equal names stand for equal extents.
    case symbol(String)
    case unknown

    /// The extent, where it is constant.
    public var constant: Int? { if case .value(let n) = self { n } else { nil } }

    public var description: String {
        switch self {
        case .value(let n): "\(n)"
        case .symbol(let name): name
        case .unknown: "?"
        }
    }
}

/// A declared type of a value.
public indirect enum ONNXType: Sendable, Hashable {
    /// Shape nil: not even the rank is declared.
    case tensor(ONNXElementType, shape: [ONNXDim]?)
    case sparseTensor(ONNXElementType, shape: [ONNXDim]?)
    case sequence(ONNXType)
    case optional(ONNXType)
    case map(key: ONNXElementType, value: ONNXType)
    case opaque(domain: String, name: String)
    case undeclared
}

extension ONNXType: CustomStringConvertible {
    /// Like `tensor(float)[1, batch, ?]`.
    public var description: String {
        func dims(_ shape: [ONNXDim]?) -> String {
            guard let shape else { return "" }
            return "[" + shape.map { $0.description }.joined(separator: ", ") + "]"
        }
        switch self {
        case .tensor(let element, let shape): return "tensor(\(element.name))" + dims(shape)
        case .sparseTensor(let element, let shape): return "sparse_tensor(\(element.name))" + dims(shape)
        case .sequence(let element): return "seq(\(element))"
        case .optional(let element): return "optional(\(element))"
        case .map(let key, let value): return "map(\(key.name), \(value))"
        case .opaque(let domain, let name): return "opaque(\(domain), \(name))"
        case .undeclared: return "undeclared"
        }
    }
}

/// Values by name in the order of the file. Looking up is constant time, iterating is in order.
public struct ONNXTable<Value: Sendable>: Sendable, Sequence {
    /// Names and values in order.
    public private(set) var entries: [(name: String, value: Value)] = []
    private var positions: [String: Int] = [:]

    /// Empty.
    public init() {}

    public var count: Int { entries.count }
    public var isEmpty: Bool { entries.isEmpty }
    /// Names in order.
    public var names: [String] { entries.map { $0.name } }

    /// The value of a name; assigning nil removes it (linear time), a new name goes to the end.
    public subscript(name: String) -> Value? {
        get { positions[name].map { entries[$0].value } }
        set {
            switch (positions[name], newValue) {
            case (let at?, let value?): entries[at].value = value
            case (nil, let value?):
                positions[name] = entries.count
                entries.append((name: name, value: value))
            case (let at?, nil):
                entries.remove(at: at)
                positions[name] = nil
                for i in at..<entries.count { positions[entries[i].name] = i }
            case (nil, nil): break
            }
        }
    }

    public func makeIterator() -> IndexingIterator<[(name: String, value: Value)]> { entries.makeIterator() }
}

/// A value with its declared type.
public struct ONNXValueInfo: Sendable {
    public var name: String
    public var type: ONNXType

    public init(name: String, type: ONNXType) {
        self.name = name
        self.type = type
    }

    /// The element type of a dense tensor; nil for everything else and for element types without tensors
    /// here.
    public var dtype: DataType? { if case .tensor(let element, _) = type { element.dtype } else { nil } }
    /// The declared shape of a dense tensor; nil where no rank is declared.
    public var shape: [ONNXDim]? { if case .tensor(_, let shape) = type { shape } else { nil } }
}
