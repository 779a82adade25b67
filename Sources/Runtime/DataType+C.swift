import ApusCABI

extension DataType {
    /// The C form inside Apus: `bool` is one bit of unsigned integer, as generated code expects it.
    public var dlDataType: DLDataType { DLDataType(code: code.rawValue, bits: bits, lanes: lanes) }

    /// The C form for other frameworks: `bool` is DLPack's own code 6 with 8 bits.
    public var interchangeDataType: DLDataType {
        isBool ? DLDataType(code: 6, bits: 8, lanes: lanes) : dlDataType
    }

    /// From the C form, DLPack's bool included; nil where Apus has no such type.
    public init?(_ type: DLDataType) {
        if type.code == 6 {
            guard type.bits == 8 || type.bits == 1 else { return nil }
            self.init(.uint, 1, lanes: Int(type.lanes))
            return
        }
        guard let code = Code(rawValue: type.code) else { return nil }
        self.init(code, Int(type.bits), lanes: Int(type.lanes))
    }
}

/// A Swift type that has an element type of its own; what arrays are made from and read into.
public protocol NDArrayElement: BitwiseCopyable, Sendable {
    /// Its element type.
    static var dtype: DataType { get }
}

extension Bool: NDArrayElement { public static var dtype: DataType { .bool } }
extension Int8: NDArrayElement { public static var dtype: DataType { .int8 } }
extension Int16: NDArrayElement { public static var dtype: DataType { .int16 } }
extension Int32: NDArrayElement { public static var dtype: DataType { .int32 } }
extension Int64: NDArrayElement { public static var dtype: DataType { .int64 } }
extension Int: NDArrayElement { public static var dtype: DataType { .int64 } }
extension UInt8: NDArrayElement { public static var dtype: DataType { .uint8 } }
extension UInt16: NDArrayElement { public static var dtype: DataType { .uint16 } }
extension UInt32: NDArrayElement { public static var dtype: DataType { .uint32 } }
extension UInt64: NDArrayElement { public static var dtype: DataType { .uint64 } }
extension Float16: NDArrayElement { public static var dtype: DataType { .float16 } }
extension Float: NDArrayElement { public static var dtype: DataType { .float32 } }
extension Double: NDArrayElement { public static var dtype: DataType { .float64 } }
