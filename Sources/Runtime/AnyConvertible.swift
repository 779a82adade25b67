import ApusCABI
import ApusSupport

/// A Swift type that can be an argument or result of a packed function.
public protocol AnyConvertible: SendableMetatype {
    /// Its name in signatures and messages.
    static var abiName: String { get }

    /// - Throws: RT020 where the value is of another kind.
    static func fromValue(_ value: AnyValue) throws -> Self

    /// The same from the C form, borrowed; the default goes through `AnyValue`.
    static func fromABI(_ any: ApusAny) throws -> Self

    /// The value that crosses a call.
    var asValue: AnyValue { get }
}

extension AnyConvertible {
    public static func fromABI(_ any: ApusAny) throws -> Self { try fromValue(AnyValue(borrowing: any)) }

    /// RT020: a value of the wrong kind.
    public static func mismatch(_ value: AnyValue) -> ApusError {
        ApusError("RT020", "a value of the wrong kind", expected: abiName, actual: value.kindName)
    }
}

extension AnyValue: AnyConvertible {
    public static var abiName: String { "any" }
    public static func fromValue(_ value: AnyValue) -> AnyValue { value }
    public var asValue: AnyValue { self }
}

extension Int: AnyConvertible {
    public static var abiName: String { "int" }
    public static func fromValue(_ value: AnyValue) throws -> Int {
        switch value {
        case .int(let x): x
        case .bool(let x): x ? 1 : 0
        default: throw mismatch(value)
        }
    }
    @inlinable public static func fromABI(_ any: ApusAny) throws -> Int {
        if any.type_index == 1 { return Int(any.v.i) }
        return try fromValue(AnyValue(borrowing: any))
    }
    public var asValue: AnyValue { .int(self) }
}

private func narrow<T: FixedWidthInteger & AnyConvertible>(_ value: AnyValue, _ type: T.Type) throws -> T {
    let wide = try Int.fromValue(value)
    guard let exact = T(exactly: wide) else {
        throw ApusError("RT020", "a number out of range", expected: T.abiName, actual: "\(wide)")
    }
    return exact
}

extension Int64: AnyConvertible {
    public static var abiName: String { "int" }
    public static func fromValue(_ value: AnyValue) throws -> Int64 { Int64(try Int.fromValue(value)) }
    public var asValue: AnyValue { .int(Int(self)) }
}

extension Int32: AnyConvertible {
    public static var abiName: String { "int32" }
    public static func fromValue(_ value: AnyValue) throws -> Int32 { try narrow(value, Int32.self) }
    public var asValue: AnyValue { .int(Int(self)) }
}

extension Bool: AnyConvertible {
    public static var abiName: String { "bool" }
    public static func fromValue(_ value: AnyValue) throws -> Bool {
        switch value {
        case .bool(let x): x
        case .int(let x) where x == 0 || x == 1: x == 1
        default: throw mismatch(value)
        }
    }
    public var asValue: AnyValue { .bool(self) }
}

extension Double: AnyConvertible {
    public static var abiName: String { "float" }
    public static func fromValue(_ value: AnyValue) throws -> Double {
        switch value {
        case .float(let x): x
        case .int(let x): Double(x)
        default: throw mismatch(value)
        }
    }
    @inlinable public static func fromABI(_ any: ApusAny) throws -> Double {
        if any.type_index == 3 { return any.v.f }
        return try fromValue(AnyValue(borrowing: any))
    }
    public var asValue: AnyValue { .float(self) }
}

extension Float: AnyConvertible {
    public static var abiName: String { "float" }
    public static func fromValue(_ value: AnyValue) throws -> Float { Float(try Double.fromValue(value)) }
    public var asValue: AnyValue { .float(Double(self)) }
}

extension String: AnyConvertible {
    public static var abiName: String { "str" }
    public static func fromValue(_ value: AnyValue) throws -> String {
        guard case .string(let x) = value else { throw mismatch(value) }
        return x
    }
    public var asValue: AnyValue { .string(self) }
}

extension DataType: AnyConvertible {
    public static var abiName: String { "dtype" }
    public static func fromValue(_ value: AnyValue) throws -> DataType {
        switch value {
        case .dtype(let x): return x
        case .string(let text):
            guard let type = DataType(text) else { throw mismatch(value) }
            return type
        default: throw mismatch(value)
        }
    }
    public var asValue: AnyValue { .dtype(self) }
}

extension Device: AnyConvertible {
    public static var abiName: String { "device" }
    public static func fromValue(_ value: AnyValue) throws -> Device {
        switch value {
        case .device(let x): return x
        case .string(let text):
            guard let device = Device(text) else { throw mismatch(value) }
            return device
        default: throw mismatch(value)
        }
    }
    public var asValue: AnyValue { .device(self) }
}

extension UnsafeMutableRawPointer: AnyConvertible {
    public static var abiName: String { "ptr" }
    public static func fromValue(_ value: AnyValue) throws -> UnsafeMutableRawPointer {
        guard case .ptr(.some(let x)) = value else { throw mismatch(value) }
        return x
    }
    public var asValue: AnyValue { .ptr(self) }
}

extension Optional: AnyConvertible where Wrapped: AnyConvertible {
    public static var abiName: String { "Optional[\(Wrapped.abiName)]" }
    public static func fromValue(_ value: AnyValue) throws -> Wrapped? {
        if case .none = value { return nil }
        return try Wrapped.fromValue(value)
    }
    public var asValue: AnyValue { self?.asValue ?? .none }
}

extension Array: AnyConvertible where Element: AnyConvertible {
    public static var abiName: String { "Array[\(Element.abiName)]" }
    public static func fromValue(_ value: AnyValue) throws -> [Element] {
        guard case .object(let object) = value, let array = object as? ArrayObject else {
            throw mismatch(value)
        }
        return try array.elements.enumerated().map { i, element in
            try within("element: \(i)") { try Element.fromValue(element) }
        }
    }
    public var asValue: AnyValue { .object(ArrayObject(map(\.asValue))) }
}

/// Every object class: the value must be an instance of it. A string gives a `StringObject`, a C tensor a
/// view that is valid as long as the C tensor is.
extension Object: AnyConvertible {
    public static var abiName: String { typeKey }
    public static func fromValue(_ value: AnyValue) throws -> Self {
        switch value {
        case .object(let object):
            if let match = object as? Self { return match }
        case .string(let text):
            if let match = StringObject(text) as? Self { return match }
        case .dlTensor(let tensor):
            if let match = try NDArray.view(of: tensor.pointee) as? Self { return match }
        default: break
        }
        throw mismatch(value)
    }
    public var asValue: AnyValue { AnyValue(self) }
}
