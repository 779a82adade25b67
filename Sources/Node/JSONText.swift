import ApusSupport

/// A JSON document; objects keep the order of their members. No Foundation, bounded depth, errors with offsets.
public enum JSON: Sendable {
    case null
    case bool(Bool)
    case int(Int)
    case double(Double)
    case string(String)
    case array([JSON])
    case object([(key: String, value: JSON)])

    public subscript(key: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key == key }?.value
    }
    public var stringValue: String? { if case .string(let v) = self { return v } else { return nil } }
    public var intValue: Int? { if case .int(let v) = self { return v } else { return nil } }
    public var boolValue: Bool? { if case .bool(let v) = self { return v } else { return nil } }
    public var arrayValue: [JSON]? { if case .array(let v) = self { return v } else { return nil } }
    public var doubleValue: Double? {
        switch self {
        case .double(let v): return v
        case .int(let v): return Double(v)
        default: return nil
        }
    }

    // MARK: Writing

    /// Compact text on one line, members in order. Non-finite numbers are written as the strings `inf`, `-inf`, `nan`.
    public var text: String {
        var out = ""
        write(to: &out)
        return out
    }

    private func write(to out: inout String) {
        switch self {
        case .null: out += "null"
        case .bool(let v): out += v ? "true" : "false"
        case .int(let v): out += String(v)
        case .double(let v): out += v.isFinite ? "\(v)" : "\"\(v)\""
        case .string(let v): JSON.quote(v, to: &out)
        case .array(let v):
            out += "["
            for (i, e) in v.enumerated() {
                if i > 0 { out += "," }
                e.write(to: &out)
            }
            out += "]"
        case .object(let v):
            out += "{"
            for (i, e) in v.enumerated() {
                if i > 0 { out += "," }
                JSON.quote(e.key, to: &out)
                out += ":"
                e.value.write(to: &out)
            }
            out += "}"
        }
    }

    /// `s` as a JSON string literal, quotes included.
    public static func quoted(_ s: String) -> String {
        var out = ""
        quote(s, to: &out)
        return out
    }

    private static func quote(_ s: String, to out: inout String) {
        // The usual text needs no escape.
        if !s.utf8.contains(where: { $0 < 0x20 || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }) {
            out += "\""
            out += s
            out += "\""
            return
        }
        out += "\""
        for u in s.unicodeScalars {
            switch u {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            default:
                if u.value < 0x20 {
                    let hex = String(u.value, radix: 16)
                    out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
                } else {
                    out.unicodeScalars.append(u)
                }
            }
        }
        out += "\""
    }

    // MARK: Reading

    /// Parses a whole document. Throws `JSON001` with the byte offset of the first thing that does not fit.
    public static func parse(_ text: String) throws -> JSON {
        var parser = JSONParser(bytes: Array(text.utf8))
        return try parser.document()
    }
}

private struct JSONParser {
    let bytes: [UInt8]
    var at = 0
    var depth = 0
    static let maxDepth = 256

    init(bytes: [UInt8]) { self.bytes = bytes }

    func failure(_ expected: String) -> ApusError {
        let actual = at < bytes.count ? "'\(Character(UnicodeScalar(bytes[at])))'" : "end of text"
        return ApusError("JSON001", "malformed JSON at byte \(at)", expected: expected, actual: actual)
    }

    mutating func space() {
        while at < bytes.count {
            switch bytes[at] {
            case 0x20, 0x0A, 0x0D, 0x09: at += 1
            default: return
            }
        }
    }

    mutating func take(_ c: Character) -> Bool {
        guard at < bytes.count, bytes[at] == c.asciiValue else { return false }
        at += 1
        return true
    }

    mutating func document() throws -> JSON {
        let v = try value()
        space()
        if at != bytes.count { throw failure("end of text") }
        return v
    }

    mutating func word(_ w: String, _ v: JSON) throws -> JSON {
        guard bytes[at...].starts(with: w.utf8) else { throw failure(w) }
        at += w.utf8.count
        return v
    }

    mutating func value() throws -> JSON {
        space()
        guard at < bytes.count else { throw failure("a value") }
        switch bytes[at] {
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "["), UInt8(ascii: "{"):
            depth += 1
            defer { depth -= 1 }
            if depth > Self.maxDepth { throw failure("at most \(Self.maxDepth) levels of nesting") }
            return try bytes[at] == UInt8(ascii: "[") ? array() : object()
        default: return try number()
        }
    }

    mutating func array() throws -> JSON {
        at += 1
        var out: [JSON] = []
        space()
        if take("]") { return .array(out) }
        while true {
            out.append(try value())
            space()
            if take(",") { continue }
            if take("]") { return .array(out) }
            throw failure("',' or ']'")
        }
    }

    mutating func object() throws -> JSON {
        at += 1
        var out: [(key: String, value: JSON)] = []
        space()
        if take("}") { return .object(out) }
        while true {
            space()
            let key = try string()
            space()
            guard take(":") else { throw failure("':'") }
            out.append((key, try value()))
            space()
            if take(",") { continue }
            if take("}") { return .object(out) }
            throw failure("',' or '}'")
        }
    }

    mutating func hex4() throws -> UInt32 {
        guard at + 4 <= bytes.count,
            let v = UInt32(String(decoding: bytes[at..<at + 4], as: UTF8.self), radix: 16)
        else { throw failure("four hexadecimal digits") }
        at += 4
        return v
    }

    mutating func string() throws -> String {
        guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else { throw failure("a string") }
        at += 1
        // The usual text has no escape and is taken as it stands.
        let start = at
        while at < bytes.count, bytes[at] != UInt8(ascii: "\""), bytes[at] != UInt8(ascii: "\\") { at += 1 }
        var out = Array(bytes[start..<at])
        while at < bytes.count {
            let c = bytes[at]
            at += 1
            if c == UInt8(ascii: "\"") { return String(decoding: out, as: UTF8.self) }
            if c != UInt8(ascii: "\\") {
                out.append(c)
                continue
            }
            guard at < bytes.count else { break }
            let e = bytes[at]
            at += 1
            switch e {
            case UInt8(ascii: "n"): out.append(0x0A)
            case UInt8(ascii: "r"): out.append(0x0D)
            case UInt8(ascii: "t"): out.append(0x09)
            case UInt8(ascii: "b"): out.append(0x08)
            case UInt8(ascii: "f"): out.append(0x0C)
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(e)
            case UInt8(ascii: "u"):
                var code = try hex4()
                if code >= 0xD800, code < 0xDC00, at + 1 < bytes.count, bytes[at] == UInt8(ascii: "\\"),
                    bytes[at + 1] == UInt8(ascii: "u")
                {
                    at += 2
                    let low = try hex4()
                    guard low >= 0xDC00, low < 0xE000 else { throw failure("a low surrogate") }
                    code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
                }
                guard let scalar = UnicodeScalar(code) else { throw failure("a Unicode scalar") }
                out.append(contentsOf: Array(String(Character(scalar)).utf8))
            default: throw failure("an escape")
            }
        }
        throw failure("a closing quote")
    }

    mutating func number() throws -> JSON {
        let start = at
        scan: while at < bytes.count {
            switch bytes[at] {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "-"),
                UInt8(ascii: "."),
                UInt8(ascii: "e"), UInt8(ascii: "E"):
                at += 1
            default: break scan
            }
        }
        let text = String(decoding: bytes[start..<at], as: UTF8.self)
        if let v = Int(text) { return .int(v) }
        if let v = Double(text) { return .double(v) }
        at = start
        throw failure("a number")
    }
}
