import ApusRuntime
import ApusSupport

/// A field's contents in the one form that equality, hashing, JSON and printing read.
public enum FieldValue: Sendable {
    case null
    case bool(Bool)
    case int(Int)
    case float(Double)
    case string(String)
    case dtype(DataType)
    case node(Node)
    case tensor(NDArray)
    case array([FieldValue])
    /// Insertion-ordered; keys are unique.
    case map([(key: String, value: FieldValue)])
}

/// How a field takes part in structural equality and hashing.
public enum FieldRole: Sendable {
    /// Compared by content.
    case compared
    /// Binds the variables in it: they may differ in identity on the two sides, and are paired for what follows.
    case definition
    /// Binds the variables that stand anywhere in it, as a shape determines those of its dimensions' expressions.
    case pattern
    /// Not compared: name hints, spans, caches.
    case ignored
}

/// A type that a node field may have.
public protocol FieldConvertible: SendableMetatype {
    var asField: FieldValue { get }
    static func fromField(_ value: FieldValue) throws -> Self
}

func fieldMismatch(_ expected: String, _ value: FieldValue) -> ApusError {
    let actual: String
    switch value {
    case .null: actual = "null"
    case .bool(let v): actual = "\(v)"
    case .int(let v): actual = "\(v)"
    case .float(let v): actual = "\(v)"
    case .string(let v): actual = "\"\(v.prefix(40))\""
    case .dtype(let v): actual = "\(v)"
    case .node(let n): actual = type(of: n).schema.key
    case .tensor: actual = "a tensor"
    case .array(let v): actual = "an array of \(v.count)"
    case .map(let v): actual = "a map of \(v.count)"
    }
    return ApusError("NODE001", "a node field has the wrong type", expected: expected, actual: actual)
}

extension Bool: FieldConvertible {
    public var asField: FieldValue { .bool(self) }
    public static func fromField(_ value: FieldValue) throws -> Bool {
        guard case .bool(let v) = value else { throw fieldMismatch("a boolean", value) }
        return v
    }
}

extension Int: FieldConvertible {
    public var asField: FieldValue { .int(self) }
    public static func fromField(_ value: FieldValue) throws -> Int {
        guard case .int(let v) = value else { throw fieldMismatch("an integer", value) }
        return v
    }
}

extension Double: FieldConvertible {
    public var asField: FieldValue { .float(self) }
    public static func fromField(_ value: FieldValue) throws -> Double {
        switch value {
        case .float(let v): return v
        case .int(let v): return Double(v)
        default: throw fieldMismatch("a number", value)
        }
    }
}

extension String: FieldConvertible {
    public var asField: FieldValue { .string(self) }
    public static func fromField(_ value: FieldValue) throws -> String {
        guard case .string(let v) = value else { throw fieldMismatch("a string", value) }
        return v
    }
}

extension DataType: FieldConvertible {
    public var asField: FieldValue { .dtype(self) }
    public static func fromField(_ value: FieldValue) throws -> DataType {
        guard case .dtype(let v) = value else { throw fieldMismatch("a data type", value) }
        return v
    }
}

extension NDArray: FieldConvertible {
    public var asField: FieldValue { .tensor(self) }
    public static func fromField(_ value: FieldValue) throws -> Self {
        guard case .tensor(let v) = value, let tensor = v as? Self else {
            throw fieldMismatch("a tensor", value)
        }
        return tensor
    }
}

extension Array: FieldConvertible where Element: FieldConvertible {
    public var asField: FieldValue { .array(map(\.asField)) }
    public static func fromField(_ value: FieldValue) throws -> [Element] {
        guard case .array(let v) = value else { throw fieldMismatch("an array", value) }
        return try v.map(Element.fromField)
    }
}

extension Optional: FieldConvertible where Wrapped: FieldConvertible {
    public var asField: FieldValue { map(\.asField) ?? .null }
    public static func fromField(_ value: FieldValue) throws -> Wrapped? {
        if case .null = value { return nil }
        return try Wrapped.fromField(value)
    }
}

/// Enumerations with string raw values are written as that string.
extension FieldConvertible where Self: RawRepresentable, RawValue == String {
    public var asField: FieldValue { .string(rawValue) }
    public static func fromField(_ value: FieldValue) throws -> Self {
        guard case .string(let text) = value, let v = Self(rawValue: text) else {
            throw fieldMismatch("a \(Self.self)", value)
        }
        return v
    }
}

/// A value of any field type as itself.
extension FieldValue: FieldConvertible {
    public var asField: FieldValue { self }
    public static func fromField(_ value: FieldValue) throws -> FieldValue { value }
}

/// One field of node class `N`: its name, its role and how to read it. How to write it is the constructor's business.
public struct FieldOf<N: Node>: Sendable {
    let name: String
    let role: FieldRole
    let get: @Sendable (N) -> FieldValue

    public static func field<V: FieldConvertible>(_ name: String, _ get: @escaping @Sendable (N) -> V) -> Self
    {
        Self(name: name, role: .compared, get: { get($0).asField })
    }
    public static func definition<V: FieldConvertible>(
        _ name: String, _ get: @escaping @Sendable (N) -> V
    ) -> Self {
        Self(name: name, role: .definition, get: { get($0).asField })
    }
    public static func pattern<V: FieldConvertible>(_ name: String, _ get: @escaping @Sendable (N) -> V)
        -> Self
    {
        Self(name: name, role: .pattern, get: { get($0).asField })
    }
    public static func ignored<V: FieldConvertible>(_ name: String, _ get: @escaping @Sendable (N) -> V)
        -> Self
    {
        Self(name: name, role: .ignored, get: { get($0).asField })
    }
}

/// A field of some node, the class erased.
public struct Field: Sendable {
    public let name: String
    public let role: FieldRole
    public let get: @Sendable (Node) -> FieldValue
}

/// Hands a node's constructor its fields in the order of the field list.
public struct FieldReader {
    private let key: String
    private let names: [String]
    private let values: [FieldValue]
    private var position = 0

    init(key: String, names: [String], values: [FieldValue]) {
        self.key = key
        self.names = names
        self.values = values
    }

    /// The next field, converted to what the constructor's parameter wants.
    public mutating func next<V: FieldConvertible>() throws -> V {
        guard position < values.count else {
            internalError("\(key): the constructor reads more fields than listed")
        }
        let value = values[position]
        position += 1
        do {
            return try V.fromField(value)
        } catch let error as ApusError {
            throw error.within("field: \(key).\(names[position - 1])")
        }
    }
}

/// What a node class declares about itself, once: key, fields, constructor. All else is derived from it.
public struct NodeSchema: Sendable {
    /// How identity enters equality.
    public enum Identity: Sendable {
        /// Equal content is equality; sharing does not matter.
        case content
        /// A variable: equal to itself and to the variable it was paired with.
        case variable
        /// A graph node: content, and sharing must be the same on both sides.
        case graph
    }

    /// Globally unique, such as `tir.Add`.
    public let key: String
    public let fields: [Field]
    public let identity: Identity
    /// Builds the node from its fields, validating as the public constructor does.
    public let make: @Sendable (inout FieldReader) throws -> Node

    public init<N: Node>(
        _ key: String, _ type: N.Type, _ fields: [FieldOf<N>], identity: Identity = .content,
        make: @escaping @Sendable (inout FieldReader) throws -> N
    ) {
        self.key = key
        self.identity = identity
        self.fields = fields.map { f in
            Field(name: f.name, role: f.role, get: { f.get(unsafeDowncast($0, to: N.self)) })
        }
        self.make = { try make(&$0) }
    }

    /// Builds a node of this kind from field values in list order.
    public func build(_ values: [FieldValue]) throws -> Node {
        guard values.count == fields.count else {
            throw ApusError(
                "NODE002", "\(key) has \(fields.count) fields", expected: "\(fields.count)",
                actual: "\(values.count)")
        }
        var reader = FieldReader(key: key, names: fields.map(\.name), values: values)
        return try make(&reader)
    }
}
