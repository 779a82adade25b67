import ApusSupport

/// An element type: code, bits, lanes. Same layout and codes as DLPack's `DLDataType` (4 bytes).
///
/// Text form: `float32`, `int8x16`, `uint1` is written `bool`, `handle` is an opaque pointer.
public struct DataType: Hashable, Sendable {
    public enum Code: UInt8, Sendable {
        case int = 0
        case uint = 1
        case float = 2
        case handle = 3
        case bfloat = 4
    }

    public let code: Code
    public let bits: UInt8
    public let lanes: UInt16

    public init(_ code: Code, _ bits: Int, lanes: Int = 1) {
        self.code = code
        self.bits = UInt8(bits)
        self.lanes = UInt16(lanes)
    }

    public static let bool = DataType(.uint, 1)
    public static let int8 = DataType(.int, 8)
    public static let int16 = DataType(.int, 16)
    public static let int32 = DataType(.int, 32)
    public static let int64 = DataType(.int, 64)
    public static let uint8 = DataType(.uint, 8)
    public static let uint16 = DataType(.uint, 16)
    public static let uint32 = DataType(.uint, 32)
    public static let uint64 = DataType(.uint, 64)
    public static let float16 = DataType(.float, 16)
    public static let float32 = DataType(.float, 32)
    public static let float64 = DataType(.float, 64)
    public static let bfloat16 = DataType(.bfloat, 16)
    public static let handle = DataType(.handle, 64)
    /// No value: the type of statements-as-calls such as a barrier.
    public static let void = DataType(.handle, 0, lanes: 0)
    /// The one index type: loop variables, shapes and buffer indices. 64 bits, so that no size overflows.
    public static let index = DataType.int64

    public var isBool: Bool { code == .uint && bits == 1 }
    public var isInt: Bool { code == .int }
    /// Unsigned, `bool` included.
    public var isUInt: Bool { code == .uint }
    /// Signed, unsigned or bool.
    public var isInteger: Bool { code == .int || code == .uint }
    /// IEEE float or bfloat16.
    public var isFloat: Bool { code == .float || code == .bfloat }
    public var isHandle: Bool { code == .handle && bits != 0 }
    public var isVoid: Bool { code == .handle && bits == 0 }
    public var isVector: Bool { lanes > 1 }
    public var isScalar: Bool { lanes == 1 }

    /// The same type with one lane.
    public var element: DataType { DataType(code, Int(bits), lanes: 1) }
    public func with(lanes: Int) -> DataType { DataType(code, Int(bits), lanes: lanes) }

    /// Bytes one element with all its lanes takes in memory; a `bool` takes one byte a lane.
    public var byteCount: Int { (Int(bits) + 7) / 8 * Int(lanes) }
}

extension DataType: CustomStringConvertible {
    public var description: String {
        if isVoid { return "void" }
        let base: String
        switch code {
        case .handle: base = "handle"
        case .uint where bits == 1: base = "bool"
        case .int: base = "int\(bits)"
        case .uint: base = "uint\(bits)"
        case .float: base = "float\(bits)"
        case .bfloat: base = "bfloat\(bits)"
        }
        return lanes == 1 ? base : "\(base)x\(lanes)"
    }

    /// Parses the text form; nil if it is not one.
    public init?(_ text: String) {
        if text == "void" {
            self = .void
            return
        }
        var rest = Substring(text)
        let code: Code
        var bits: Int?
        func strip(_ prefix: String) -> Bool {
            guard rest.hasPrefix(prefix) else { return false }
            rest = rest.dropFirst(prefix.count)
            return true
        }
        if strip("bool") {
            code = .uint
            bits = 1
        } else if strip("handle") {
            code = .handle
            bits = 64
        } else if strip("bfloat") {
            code = .bfloat
        } else if strip("float") {
            code = .float
        } else if strip("uint") {
            code = .uint
        } else if strip("int") {
            code = .int
        } else {
            return nil
        }
        if bits == nil {
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            rest = rest.dropFirst(digits.count)
            bits = Int(digits)
        }
        guard let bits, bits > 0, bits <= 64 else { return nil }
        var lanes = 1
        if strip("x") {
            guard let n = Int(rest), n > 0, n <= Int(UInt16.max) else { return nil }
            lanes = n
            rest = ""
        }
        guard rest.isEmpty else { return nil }
        self.init(code, bits, lanes: lanes)
    }
}
