import ApusSupport

/// A string as an object, for C and for containers; immutable. Its bytes are UTF-8 and null-terminated.
public final class StringObject: Object, @unchecked Sendable {
    public override class var typeKey: String { "runtime.String" }

    /// The text.
    public let value: String
    /// The UTF-8 bytes, a null byte after them; lives as long as the object.
    public let utf8: UnsafePointer<CChar>
    /// Bytes before the terminating null.
    public let utf8Count: Int

    /// Copies the text.
    public init(_ value: String) {
        self.value = value
        let count = value.utf8.count
        let pointer = UnsafeMutablePointer<CChar>.allocate(capacity: count + 1)
        var i = 0
        for byte in value.utf8 {
            pointer[i] = CChar(bitPattern: byte)
            i += 1
        }
        pointer[count] = 0
        utf8 = UnsafePointer(pointer)
        utf8Count = count
    }

    deinit { utf8.deallocate() }
}

/// A list of values; immutable, `setting` and `appending` make new ones.
public final class ArrayObject: Object, @unchecked Sendable {
    public override class var typeKey: String { "runtime.Array" }

    /// The values in order.
    public let elements: [AnyValue]

    /// An array of these values.
    public init(_ elements: [AnyValue]) { self.elements = elements }

    /// Number of elements.
    public var count: Int { elements.count }

    /// The element at `index`.
    /// - Throws: RT030 out of range.
    public func element(_ index: Int) throws -> AnyValue {
        guard elements.indices.contains(index) else {
            throw ApusError("RT030", "index out of range", expected: "0..<\(count)", actual: "\(index)")
        }
        return elements[index]
    }

    /// A copy with another element at `index`; `index == count` appends.
    /// - Throws: RT030 out of range.
    public func setting(_ index: Int, to value: AnyValue) throws -> ArrayObject {
        guard index >= 0, index <= count else {
            throw ApusError("RT030", "index out of range", expected: "0...\(count)", actual: "\(index)")
        }
        var copy = elements
        if index == count { copy.append(value) } else { copy[index] = value }
        return ArrayObject(copy)
    }

    /// A copy with one more element at the end.
    public func appending(_ value: AnyValue) -> ArrayObject { ArrayObject(elements + [value]) }
}

/// A map that keeps the order of insertion; immutable, `setting` makes a new one. Keys compare as `AnyValue`
/// does: strings and numbers by value, other objects by identity.
public final class MapObject: Object, @unchecked Sendable {
    public override class var typeKey: String { "runtime.Map" }

    /// Keys and values in order of first insertion.
    public let entries: [(key: AnyValue, value: AnyValue)]
    private let indexOf: [AnyValue: Int]

    /// A later pair with the same key replaces the value and keeps the place.
    public init(_ pairs: [(AnyValue, AnyValue)] = []) {
        var entries: [(key: AnyValue, value: AnyValue)] = []
        var indexOf: [AnyValue: Int] = [:]
        for (key, value) in pairs {
            if let i = indexOf[key] {
                entries[i].value = value
            } else {
                indexOf[key] = entries.count
                entries.append((key, value))
            }
        }
        self.entries = entries
        self.indexOf = indexOf
    }

    /// Number of keys.
    public var count: Int { entries.count }
    /// The keys in order of insertion.
    public var keys: [AnyValue] { entries.map(\.key) }

    /// The value of `key`, or nil.
    public subscript(key: AnyValue) -> AnyValue? { indexOf[key].map { entries[$0].value } }

    /// A copy with `key` mapped to `value`.
    public func setting(_ key: AnyValue, to value: AnyValue) -> MapObject {
        MapObject(entries.map { ($0.key, $0.value) } + [(key, value)])
    }
}

/// A tagged record: a constructor of an algebraic data type with its fields, or a tuple (tag 0).
public final class ADTObject: Object, @unchecked Sendable {
    public override class var typeKey: String { "runtime.ADT" }

    /// Which constructor; 0 for tuples.
    public let tag: Int
    /// Its arguments.
    public let fields: [AnyValue]

    /// A record.
    public init(tag: Int, fields: [AnyValue]) {
        self.tag = tag
        self.fields = fields
    }

    /// A tuple.
    public static func tuple(_ fields: [AnyValue]) -> ADTObject { ADTObject(tag: 0, fields: fields) }
}

/// A function with values bound to its first parameters.
public final class ClosureObject: Object, @unchecked Sendable {
    public override class var typeKey: String { "runtime.Closure" }

    /// What is called.
    public let function: PackedFunc
    /// Values of its first parameters.
    public let captured: [AnyValue]

    /// Binds the first parameters of a function.
    public init(_ function: PackedFunc, captured: [AnyValue]) {
        self.function = function
        self.captured = captured
    }

    /// Calls the function with the captured values, then `arguments`.
    public func call(_ arguments: [AnyValue]) throws -> AnyValue { try function.call(captured + arguments) }
}
