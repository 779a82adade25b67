import ApusCABI
import ApusSupport

/// Any value that crosses a packed call: plain data or an object. The Swift side of the C `ApusAny`.
///
/// Strings are values here and `StringObject` only at the C border. Equality is by value for plain data and
/// strings, by identity for other objects.
public enum AnyValue: @unchecked Sendable {
    case none
    case int(Int)
    case bool(Bool)
    case float(Double)
    case string(String)
    case dtype(DataType)
    case device(Device)
    case ptr(UnsafeMutableRawPointer?)
    /// A tensor described by C, alive only as long as its giver says (during a call: until it returns).
    case dlTensor(UnsafeMutablePointer<DLTensor>)
    /// Any object, tensors, functions, containers and modules included; strings are always `string`.
    case object(Object)

    /// A tensor, function or other object as a value; a `StringObject` becomes `string`.
    public init(_ object: Object) {
        if let text = object as? StringObject { self = .string(text.value) } else { self = .object(object) }
    }

    /// What kind of thing it is, for messages: `int`, `str`, `runtime.NDArray`.
    public var kindName: String {
        switch self {
        case .none: "None"
        case .int: "int"
        case .bool: "bool"
        case .float: "float"
        case .string: "str"
        case .dtype: "dtype"
        case .device: "device"
        case .ptr: "ptr"
        case .dlTensor: "DLTensor"
        case .object(let o): type(of: o).typeKey
        }
    }

    /// Whether this is `none`.
    public var isNone: Bool { if case .none = self { true } else { false } }

    /// The object, where it is one; a string as a new `StringObject`.
    public var asObject: Object? {
        switch self {
        case .object(let o): o
        case .string(let s): StringObject(s)
        default: nil
        }
    }

    /// Converts with the rules of `AnyConvertible`: int where a float is wanted, 0/1 between int and bool, a
    /// text where a dtype or device is wanted; nothing else.
    /// - Throws: RT020 naming both kinds.
    public func to<T: AnyConvertible>(_ type: T.Type = T.self) throws -> T { try T.fromValue(self) }
}

extension AnyValue: Hashable {
    public static func == (a: AnyValue, b: AnyValue) -> Bool {
        switch (a, b) {
        case (.none, .none): true
        case (.int(let x), .int(let y)): x == y
        case (.bool(let x), .bool(let y)): x == y
        case (.float(let x), .float(let y)): x == y
        case (.string(let x), .string(let y)): x == y
        case (.dtype(let x), .dtype(let y)): x == y
        case (.device(let x), .device(let y)): x == y
        case (.ptr(let x), .ptr(let y)): x == y
        case (.dlTensor(let x), .dlTensor(let y)): x == y
        case (.object(let x), .object(let y)): x === y
        default: false
        }
    }

    public func hash(into hasher: inout Hasher) {
        switch self {
        case .none: hasher.combine(0)
        case .int(let x): hasher.combine(x)
        case .bool(let x): hasher.combine(x)
        case .float(let x): hasher.combine(x)
        case .string(let x): hasher.combine(x)
        case .dtype(let x): hasher.combine(x)
        case .device(let x): hasher.combine(x)
        case .ptr(let x): hasher.combine(x)
        case .dlTensor(let x): hasher.combine(x)
        case .object(let x): hasher.combine(ObjectIdentifier(x))
        }
    }
}

extension AnyValue: CustomStringConvertible {
    /// Short text for logs: `3`, `"text"`, `cpu(0)`, the description of an object that has one, else its key.
    public var description: String {
        switch self {
        case .none: "None"
        case .int(let x): "\(x)"
        case .bool(let x): "\(x)"
        case .float(let x): "\(x)"
        case .string(let x): "\"\(x)\""
        case .dtype(let x): "\(x)"
        case .device(let x): "\(x)"
        case .ptr(let x): x.map { "ptr(\($0))" } ?? "ptr(null)"
        case .dlTensor(let x): "DLTensor(rank \(x.pointee.ndim))"
        case .object(let x): (x as? any CustomStringConvertible)?.description ?? type(of: x).typeKey
        }
    }
}

extension AnyValue: ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByStringLiteral, ExpressibleByNilLiteral
{
    public init(integerLiteral value: Int) { self = .int(value) }
    public init(floatLiteral value: Double) { self = .float(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(stringLiteral value: String) { self = .string(value) }
    public init(nilLiteral: ()) { self = .none }
}

// MARK: - The C form

extension AnyValue {
    /// From C, borrowing: objects are retained by the value that results, raw strings are copied.
    /// - Throws: RT021 for a tag or payload that means nothing.
    public init(borrowing any: ApusAny) throws {
        switch any.type_index {
        case Int32(APUS_NONE): self = .none
        case Int32(APUS_INT): self = .int(Int(any.v.i))
        case Int32(APUS_BOOL): self = .bool(any.v.i != 0)
        case Int32(APUS_FLOAT): self = .float(any.v.f)
        case Int32(APUS_PTR): self = .ptr(any.v.p)
        case Int32(APUS_DTYPE):
            guard let type = DataType(any.v.dtype) else { throw AnyValue.malformed("unknown dtype") }
            self = .dtype(type)
        case Int32(APUS_DEVICE):
            guard let device = Device(any.v.device) else { throw AnyValue.malformed("unknown device") }
            self = .device(device)
        case Int32(APUS_DLTENSOR):
            guard let tensor = any.v.tensor else { throw AnyValue.malformed("null DLTensor") }
            self = .dlTensor(tensor)
        case Int32(APUS_RAWSTR):
            guard let text = any.v.s else { throw AnyValue.malformed("null string") }
            self = .string(String(cString: text))
        case let index where index >= Int32(APUS_OBJECT):
            guard let raw = any.v.object else { throw AnyValue.malformed("null object") }
            self.init(Unmanaged<Object>.fromOpaque(raw).takeUnretainedValue())
        default: throw AnyValue.malformed("type index \(any.type_index)")
        }
    }

    /// From a C result, taking over its reference.
    /// - Throws: RT021 for a tag or payload that means nothing.
    public init(taking any: ApusAny) throws {
        try self.init(borrowing: any)
        if any.type_index >= Int32(APUS_OBJECT), let raw = any.v.object {
            Unmanaged<Object>.fromOpaque(raw).release()
        }
    }

    static func malformed(_ what: String) -> ApusError {
        ApusError("RT021", "malformed value from C: \(what)")
    }

    /// The C form with a reference of its own where it is an object: whoever gets it releases it.
    public func toOwnedABI() -> ApusAny {
        switch self {
        case .none: return ApusAny()
        case .int(let x): return ApusAny(Int32(APUS_INT), ApusValue(i: Int64(x)))
        case .bool(let x): return ApusAny(Int32(APUS_BOOL), ApusValue(i: x ? 1 : 0))
        case .float(let x): return ApusAny(Int32(APUS_FLOAT), ApusValue(f: x))
        case .string(let x): return AnyValue.object(StringObject(x)).toOwnedABI()
        case .dtype(let x):
            var value = ApusValue(i: 0)
            value.dtype = x.dlDataType
            return ApusAny(Int32(APUS_DTYPE), value)
        case .device(let x): return ApusAny(Int32(APUS_DEVICE), ApusValue(device: x.dlDevice))
        case .ptr(let x): return ApusAny(Int32(APUS_PTR), ApusValue(p: x))
        case .dlTensor(let x): return ApusAny(Int32(APUS_DLTENSOR), ApusValue(tensor: x))
        case .object(let x):
            return ApusAny(x.abiTypeIndex, ApusValue(object: Unmanaged.passRetained(x).toOpaque()))
        }
    }
}

extension ApusAny {
    @inlinable init(_ index: Int32, _ value: ApusValue) { self.init(type_index: index, pad: 0, v: value) }

    /// Releases the object this owns, if it is one.
    package func releaseObject() {
        if type_index >= Int32(APUS_OBJECT), let raw = v.object {
            Unmanaged<Object>.fromOpaque(raw).release()
        }
    }
}

extension Object {
    /// The index by which C knows this object. Modules and functions of every kind answer with the fixed one;
    /// the common types answer without a look at the table.
    package final var abiTypeIndex: Int32 {
        switch self {
        case is NDArray: return Int32(APUS_NDARRAY)
        case is StringObject: return Int32(APUS_STRING)
        case is PackedFunc: return Int32(APUS_FUNCTION)
        case is ArrayObject: return Int32(APUS_ARRAY)
        case is MapObject: return Int32(APUS_MAP)
        case is Module: return Int32(APUS_MODULE)
        default: return typeIndex
        }
    }
}
