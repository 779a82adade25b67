import ApusNode
import ApusRuntime
import ApusSupport

/// The value of one attribute.
public enum AttrValue: Sendable {
    case none
    case int(Int)
    case float(Double)
    case bool(Bool)
    case string(String)
    case dtype(DataType)
    case ints([Int])
    case floats([Double])
    case strings([String])
    case node(Node)
    case list([AttrValue])
}

extension AttrValue: Equatable {
    /// Nodes by structure.
    public static func == (a: AttrValue, b: AttrValue) -> Bool {
        switch (a, b) {
        case (.none, .none): return true
        case (.int(let x), .int(let y)): return x == y
        case (.float(let x), .float(let y)): return x == y || (x.isNaN && y.isNaN)
        case (.bool(let x), .bool(let y)): return x == y
        case (.string(let x), .string(let y)): return x == y
        case (.dtype(let x), .dtype(let y)): return x == y
        case (.ints(let x), .ints(let y)): return x == y
        case (.floats(let x), .floats(let y)):
            return x.count == y.count && zip(x, y).allSatisfy { $0 == $1 || ($0.isNaN && $1.isNaN) }
        case (.strings(let x), .strings(let y)): return x == y
        case (.node(let x), .node(let y)): return structuralEqual(x, y)
        case (.list(let x), .list(let y)): return x == y
        default: return false
        }
    }
}

extension AttrValue: ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByStringLiteral
{
    public init(integerLiteral value: Int) { self = .int(value) }
    public init(floatLiteral value: Double) { self = .float(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(stringLiteral value: String) { self = .string(value) }
}

extension AttrValue: CustomStringConvertible {
    /// The text form: `1`, `1.5f`, `True`, `"text"`, `[1, 2]`, `None`.
    public var description: String {
        switch self {
        case .none: return "None"
        case .int(let v): return "\(v)"
        case .float(let v): return "\(v)f"
        case .bool(let v): return v ? "True" : "False"
        case .string(let v): return JSON.quoted(v)
        case .dtype(let v): return "\"\(v)\""
        case .ints(let v): return "[" + v.map { "\($0)" }.joined(separator: ", ") + "]"
        case .floats(let v): return "[" + v.map { "\($0)f" }.joined(separator: ", ") + "]"
        case .strings(let v): return "[" + v.map { JSON.quoted($0) }.joined(separator: ", ") + "]"
        case .node(let v): return v.description
        case .list(let v): return "[" + v.map(\.description).joined(separator: ", ") + "]"
        }
    }
}

extension AttrValue: FieldConvertible {
    // Typed by a leading tag, so that an empty list or a float 1.0 comes back as it was.
    public var asField: FieldValue {
        switch self {
        case .none: return .null
        case .int(let v): return .int(v)
        case .float(let v): return .array([.string("float"), .float(v)])
        case .bool(let v): return .bool(v)
        case .string(let v): return .string(v)
        case .dtype(let v): return .dtype(v)
        case .ints(let v): return .array([.string("ints"), v.asField])
        case .floats(let v): return .array([.string("floats"), v.asField])
        case .strings(let v): return .array([.string("strings"), v.asField])
        case .node(let v): return .node(v)
        case .list(let v): return .array([.string("list"), v.asField])
        }
    }

    public static func fromField(_ value: FieldValue) throws -> AttrValue {
        switch value {
        case .null: return .none
        case .int(let v): return .int(v)
        case .float(let v): return .float(v)
        case .bool(let v): return .bool(v)
        case .string(let v): return .string(v)
        case .dtype(let v): return .dtype(v)
        case .node(let v): return .node(v)
        case .array(let parts):
            guard parts.count == 2, case .string(let tag) = parts[0] else { break }
            switch tag {
            case "float": return .float(try Double.fromField(parts[1]))
            case "ints": return .ints(try [Int].fromField(parts[1]))
            case "floats": return .floats(try [Double].fromField(parts[1]))
            case "strings": return .strings(try [String].fromField(parts[1]))
            case "list": return .list(try [AttrValue].fromField(parts[1]))
            default: break
            }
        default: break
        }
        throw ApusError("IR003", "not an attribute value")
    }
}

/// Named attributes of a function or a call, ordered by insertion; one form for all operators.
public final class Attrs: Node, @unchecked Sendable {
    /// Names are unique.
    public let entries: [(key: String, value: AttrValue)]

    public init(_ entries: [(key: String, value: AttrValue)]) { self.entries = entries }

    public convenience init(_ entries: KeyValuePairs<String, AttrValue>) {
        self.init(entries.map { (key: $0.key, value: $0.value) })
    }

    public static let empty = Attrs([(key: String, value: AttrValue)]())

    public var isEmpty: Bool { entries.isEmpty }

    /// The value of `key`, or nil if there is none.
    public subscript(key: String) -> AttrValue? {
        for e in entries where e.key == key { return e.value }
        return nil
    }

    /// A copy with `key` set; an existing key keeps its place.
    public func setting(_ key: String, _ value: AttrValue) -> Attrs {
        var copy = entries
        if let i = copy.firstIndex(where: { $0.key == key }) {
            copy[i].value = value
        } else {
            copy.append((key: key, value: value))
        }
        return Attrs(copy)
    }

    /// A copy without `key`.
    public func removing(_ key: String) -> Attrs { Attrs(entries.filter { $0.key != key }) }

    // Typed reads of attributes that a schema has already checked; nil where absent or `None`.
    public func int(_ key: String) -> Int? {
        if case .int(let v)? = self[key] { return v }
        return nil
    }
    public func float(_ key: String) -> Double? {
        switch self[key] {
        case .float(let v)?: return v
        case .int(let v)?: return Double(v)
        default: return nil
        }
    }
    public func bool(_ key: String) -> Bool? {
        switch self[key] {
        case .bool(let v)?: return v
        case .int(let v)?: return v != 0
        default: return nil
        }
    }
    public func string(_ key: String) -> String? {
        if case .string(let v)? = self[key] { return v }
        return nil
    }
    public func dtype(_ key: String) -> DataType? {
        switch self[key] {
        case .dtype(let v)?: return v
        case .string(let v)?: return DataType(v)
        default: return nil
        }
    }
    public func ints(_ key: String) -> [Int]? {
        if case .ints(let v)? = self[key] { return v }
        return nil
    }
    public func floats(_ key: String) -> [Double]? {
        if case .floats(let v)? = self[key] { return v }
        return nil
    }
    public func strings(_ key: String) -> [String]? {
        if case .strings(let v)? = self[key] { return v }
        return nil
    }
    public func node(_ key: String) -> Node? {
        if case .node(let v)? = self[key] { return v }
        return nil
    }

    /// `key=value, …` in order.
    public override var description: String {
        entries.map { "\($0.key)=\($0.value)" }.joined(separator: ", ")
    }

    fileprivate var entriesField: FieldValue { .map(entries.map { (key: $0.key, value: $0.value.asField) }) }
    public override class var schema: NodeSchema { attrsSchema }
}

private let attrsSchema = NodeSchema(
    "Attrs", Attrs.self, [.field("entries", \.entriesField)],
    make: {
        let field: FieldValue = try $0.next()
        guard case .map(let pairs) = field else { throw ApusError("IR003", "attributes must be a map") }
        return Attrs(try pairs.map { (key: $0.key, value: try AttrValue.fromField($0.value)) })
    })

/// What one attribute of an operator may be.
public struct AttrField: Sendable {
    public enum Kind: String, Sendable {
        case int, float, bool, string, dtype, ints, floats, strings, node, any
    }

    public let name: String
    public let kind: Kind
    /// nil = required; `.none` = optional, absent.
    public let defaultValue: AttrValue?
    /// Strings allowed; empty = any.
    public let oneOf: [String]
    /// Bounds of an integer, or of each integer of a list.
    public let bounds: ClosedRange<Int>?
    public let doc: String

    public init(
        _ name: String, _ kind: Kind, default defaultValue: AttrValue? = nil, oneOf: [String] = [],
        in bounds: ClosedRange<Int>? = nil, doc: String = ""
    ) {
        self.name = name
        self.kind = kind
        self.defaultValue = defaultValue
        self.oneOf = oneOf
        self.bounds = bounds
        self.doc = doc
    }

    func check(_ value: AttrValue, op: String) throws -> AttrValue {
        func mismatch(_ expected: String) -> ApusError {
            ApusError(
                "IR004", "attribute `\(name)` of \(op) is not valid",
                at: ["operator: \(op)", "attribute: \(name)"],
                expected: expected, actual: "\(value)")
        }
        if value == .none, defaultValue == AttrValue.none { return value }
        var value = value
        switch (kind, value) {
        case (.any, _), (.float, .float), (.bool, .bool), (.string, .string), (.dtype, .dtype), (.int, .int),
            (.ints, .ints), (.floats, .floats), (.strings, .strings), (.node, .node):
            break
        case (.float, .int(let v)): value = .float(Double(v))
        case (.bool, .int(let v)): value = .bool(v != 0)
        case (.dtype, .string(let v)):
            guard let d = DataType(v) else { throw mismatch("an element type") }
            value = .dtype(d)
        case (.floats, .ints(let v)): value = .floats(v.map { Double($0) })
        case (.ints, .list(let v)) where v.isEmpty: value = .ints([])
        case (.floats, .list(let v)) where v.isEmpty: value = .floats([])
        case (.strings, .list(let v)) where v.isEmpty: value = .strings([])
        default: throw mismatch("a value of kind \(kind.rawValue)")
        }
        if case .string(let v) = value, !oneOf.isEmpty, !oneOf.contains(v) {
            throw mismatch("one of " + oneOf.map { "\"\($0)\"" }.joined(separator: ", "))
        }
        if let bounds {
            var numbers: [Int] = []
            if case .int(let v) = value { numbers = [v] }
            if case .ints(let v) = value { numbers = v }
            if !numbers.allSatisfy({ bounds.contains($0) }) {
                throw mismatch("integers from \(bounds.lowerBound) to \(bounds.upperBound)")
            }
        }
        return value
    }
}

/// The attributes an operator takes, in order.
public struct AttrsSchema: Sendable {
    public let fields: [AttrField]

    public init(_ fields: [AttrField]) { self.fields = fields }

    /// `given` checked and completed with defaults, in this schema's order; unknown names are errors.
    public func complete(_ given: Attrs, op: String) throws -> Attrs {
        for e in given.entries where !fields.contains(where: { $0.name == e.key }) {
            throw ApusError(
                "IR005", "\(op) has no attribute `\(e.key)`", at: ["operator: \(op)"],
                expected: "one of " + fields.map(\.name).joined(separator: ", "))
        }
        var entries: [(key: String, value: AttrValue)] = []
        entries.reserveCapacity(fields.count)
        for f in fields {
            if let value = given[f.name] {
                entries.append((key: f.name, value: try f.check(value, op: op)))
            } else if let value = f.defaultValue {
                entries.append((key: f.name, value: value))
            } else {
                throw ApusError(
                    "IR006", "\(op) needs the attribute `\(f.name)`", at: ["operator: \(op)"],
                    expected: "a value of kind \(f.kind.rawValue)")
            }
        }
        return Attrs(entries)
    }
}
