import ApusIR
import ApusRuntime

/// How a function is called: the attribute `calling_conv`.
public enum CallingConvention: Int, Sendable {
    /// As the code generator's own convention: it makes an entry with checks around the body.
    case plain = 0
    /// `int32 f(void *self, const ApusAny *args, int32 n, ApusAny *result)`, checks in the body.
    case packed = 1
    /// A kernel: started for a grid of threads by the host.
    case kernelLaunch = 2
    /// Pointers, dimensions and scalars, nothing checked.
    case unpacked = 3

    /// The convention of a function.
    public static func of(_ f: PrimFunc) -> CallingConvention {
        f.attrs.int("calling_conv").flatMap { CallingConvention(rawValue: $0) } ?? .plain
    }
}

/// What can be wrong with a tensor that is given to a function, in the order in which it is looked at.
public enum ArgumentFailure: Int, Sendable, CaseIterable {
    case notTensor = 1, device, elementType, rank, shape, strides, memory

    /// The stable code of the error.
    public var code: String { "RT\(101 + rawValue)" }

    /// Goes between the argument's name and what is expected.
    public var text: String {
        switch self {
        case .notTensor: return "is not a tensor"
        case .device: return "is not in the memory of the CPU"
        case .elementType: return "has another element type"
        case .rank: return "has another number of dimensions"
        case .shape: return "has another shape"
        case .strides: return "is not compact in row-major order"
        case .memory: return "has no memory"
        }
    }

    /// `float32[4, n]`
    public static func expected(_ b: Buffer) -> String {
        "\(b.dtype)[" + b.shape.map { d in d.asInt.map { "\($0)" } ?? "\(d)" }.joined(separator: ", ") + "]"
    }

    /// `kernel add: argument 1 (B) has another shape; expected float32[4, 4]`
    public static func message(
        kernel: String, argument: Int, name: String, _ failure: String, expected: String
    ) -> String {
        "kernel \(kernel): argument \(argument) (\(name)) \(failure); expected \(expected)"
    }
}

/// A field of the C structures that cross calls (`apus.h`), as `struct_get` and `struct_set` name it: a value of
/// `dtype` at byte `offset` of an element of `stride` bytes.
public struct StructField: Sendable {
    /// `any.kind`, `tensor.shape`, …
    public let name: String
    public let offset: Int
    public let dtype: DataType
    /// Bytes from one structure of an array to the next.
    public let stride: Int

    /// Bytes of an `ApusAny`.
    public static let anySize = 16
    /// Bytes of a `DLTensor`.
    public static let tensorSize = 48

    /// All fields. The payload of an `ApusAny` has one name a kind.
    public static let all: [StructField] = [
        StructField(name: "any.kind", offset: 0, dtype: .int32, stride: anySize),
        StructField(name: "any.int", offset: 8, dtype: .int64, stride: anySize),
        StructField(name: "any.float", offset: 8, dtype: .float64, stride: anySize),
        StructField(name: "any.pointer", offset: 8, dtype: .handle, stride: anySize),
        StructField(name: "tensor.data", offset: 0, dtype: .handle, stride: tensorSize),
        // Not a field: `data` moved by `byte_offset`, where the first element is.
        StructField(name: "tensor.start", offset: 0, dtype: .handle, stride: tensorSize),
        StructField(name: "tensor.device_type", offset: 8, dtype: .int32, stride: tensorSize),
        StructField(name: "tensor.device_id", offset: 12, dtype: .int32, stride: tensorSize),
        StructField(name: "tensor.ndim", offset: 16, dtype: .int32, stride: tensorSize),
        StructField(name: "tensor.type_code", offset: 20, dtype: .uint8, stride: tensorSize),
        StructField(name: "tensor.type_bits", offset: 21, dtype: .uint8, stride: tensorSize),
        StructField(name: "tensor.type_lanes", offset: 22, dtype: .uint16, stride: tensorSize),
        StructField(name: "tensor.shape", offset: 24, dtype: .handle, stride: tensorSize),
        StructField(name: "tensor.strides", offset: 32, dtype: .handle, stride: tensorSize),
        StructField(name: "tensor.byte_offset", offset: 40, dtype: .int64, stride: tensorSize),
    ]

    /// The field of this name, or nil.
    public static func named(_ name: String) -> StructField? { all.first { $0.name == name } }
}

/// The kinds of an `ApusAny` (`apus.h`) that loop functions know.
public enum AnyKind {
    public static let none = 0
    public static let int = 1
    public static let bool = 2
    public static let float = 3
    public static let pointer = 4
    public static let tensor = 7
    public static let text = 8
}
