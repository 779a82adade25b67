import ApusIR
import ApusNode
import ApusSupport

/// One piece of Relay text.
struct Token: Sendable {
    enum Kind: Equatable, Sendable {
        /// `nn.conv2d`, `fn`, `True`
        case identifier(String)
        /// `%name`
        case local(String)
        /// `%0`
        case temporary(Int)
        /// `@name`
        case global(String)
        /// `3`, `3i64`: value, suffix
        case integer(Int, String)
        /// `1.5f`: text of the number, suffix (`f`, `f16`, `f64` or none)
        case float(String, String)
        case string(String)
        /// `(`, `->`, …
        case symbol(String)
        /// `#[version`, `#[attrs`
        case pragma(String)
        case end
    }

    let kind: Kind
    let line: Int
    let column: Int

    /// For messages.
    var text: String {
        switch kind {
        case .identifier(let s): return "`\(s)`"
        case .local(let s): return "`%\(s)`"
        case .temporary(let n): return "`%\(n)`"
        case .global(let s): return "`@\(s)`"
        case .integer(let v, let s): return "`\(v)\(s)`"
        case .float(let v, let s): return "`\(v)\(s)`"
        case .string(let s): return JSON.quoted(String(s.prefix(40)))
        case .symbol(let s): return "`\(s)`"
        case .pragma(let s): return "`#[\(s)`"
        case .end: return "end of text"
        }
    }
}

/// Cuts text into tokens. Works on bytes; columns count bytes from 1.
struct Lexer {
    private let bytes: [UInt8]
    private let source: SourceText
    private var at = 0
    private var line = 1
    private var lineStart = 0
    private var tokens: [Token] = []
    /// The text after `#[metadata]`.
    private(set) var metadata: String?

    static func run(_ text: String, source: SourceText) throws -> (tokens: [Token], metadata: String?) {
        var lexer = Lexer(bytes: Array(text.utf8), source: source)
        try lexer.scan()
        return (lexer.tokens, lexer.metadata)
    }

    private init(bytes: [UInt8], source: SourceText) {
        self.bytes = bytes
        self.source = source
    }

    private func failure(_ message: String, from start: Int, expected: String? = nil) -> ApusError {
        let span = Span(source: source.name, line: line, column: start - lineStart + 1)
        return ApusError(
            "RELAY030", message, at: ["\(span)"], expected: expected, notes: excerptNotes(source, span))
    }

    private func peek(_ ahead: Int = 0) -> UInt8 { at + ahead < bytes.count ? bytes[at + ahead] : 0 }

    private static func isLetter(_ c: UInt8) -> Bool { c == 95 || (c | 32 >= 97 && c | 32 <= 122) }
    private static func isDigit(_ c: UInt8) -> Bool { c >= 48 && c <= 57 }

    private mutating func add(_ kind: Token.Kind, from start: Int) {
        tokens.append(Token(kind: kind, line: line, column: start - lineStart + 1))
    }

    private func text(from start: Int) -> String { String(decoding: bytes[start..<at], as: UTF8.self) }

    private mutating func scan() throws {
        while at < bytes.count {
            let c = bytes[at]
            let start = at
            switch c {
            case 10:
                at += 1
                line += 1
                lineStart = at
            case 32, 9, 13: at += 1
            case UInt8(ascii: "/"): try comment()
            case UInt8(ascii: "%"): try named { Token.Kind.local($0) }
            case UInt8(ascii: "@"): try named { Token.Kind.global($0) }
            case UInt8(ascii: "\""): add(.string(try string()), from: start)
            case UInt8(ascii: "#"):
                if try pragma() { return }
            case UInt8(ascii: "-"):
                if peek(1) == UInt8(ascii: ">") {
                    at += 2
                    add(.symbol("->"), from: start)
                } else if Lexer.isDigit(peek(1)) {
                    try number()
                } else if bytes[at...].starts(with: "-inff".utf8) && !Lexer.isLetter(peek(5)) {
                    at += 5
                    add(.float("-inf", "f"), from: start)
                } else {
                    at += 1
                    add(.symbol("-"), from: start)
                }
            case _ where Lexer.isDigit(c): try number()
            case _ where Lexer.isLetter(c):
                while Lexer.isLetter(peek()) || Lexer.isDigit(peek())
                    || (peek() == 46 && Lexer.isLetter(peek(1)))
                { at += 1 }
                let word = text(from: start)
                switch word {
                case "inff": add(.float("inf", "f"), from: start)
                case "nanf": add(.float("nan", "f"), from: start)
                default: add(.identifier(word), from: start)
                }
            case _ where "()[]{},;:=.?+*".utf8.contains(c):
                at += 1
                add(.symbol(String(UnicodeScalar(c))), from: start)
            default: throw failure("a character that Relay text does not use", from: start)
            }
        }
        add(.end, from: at)
    }

    private mutating func comment() throws {
        let start = at
        if peek(1) == UInt8(ascii: "/") {
            while at < bytes.count && bytes[at] != 10 { at += 1 }
            return
        }
        guard peek(1) == UInt8(ascii: "*") else {
            throw failure("a lone `/`", from: start, expected: "a comment")
        }
        at += 2
        while at + 1 < bytes.count, !(bytes[at] == 42 && bytes[at + 1] == 47) {
            if bytes[at] == 10 {
                line += 1
                lineStart = at + 1
            }
            at += 1
        }
        guard at + 1 < bytes.count else { throw failure("a comment without end", from: at, expected: "*/") }
        at += 2
    }

    private mutating func named(_ make: (String) -> Token.Kind) throws {
        let start = at
        at += 1
        if peek() == UInt8(ascii: "\"") {
            add(make(try string()), from: start)
            return
        }
        let first = at
        while Lexer.isLetter(peek()) || Lexer.isDigit(peek()) { at += 1 }
        guard at > first else {
            throw failure("a name is missing", from: start, expected: "a name or \"a name\"")
        }
        let name = text(from: first)
        guard bytes[start] == UInt8(ascii: "%"), Lexer.isDigit(bytes[first]) else {
            add(make(name), from: start)
            return
        }
        guard let n = Int(name), n >= 0 else { throw failure("a bad number of a value", from: start) }
        add(.temporary(n), from: start)
    }

    private mutating func string() throws -> String {
        let start = at
        at += 1
        while at < bytes.count && bytes[at] != UInt8(ascii: "\"") {
            if bytes[at] == 10 { break }
            at += bytes[at] == UInt8(ascii: "\\") ? 2 : 1
        }
        guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else {
            at = min(at, bytes.count)
            throw failure("a string without end", from: start, expected: "\"")
        }
        at += 1
        guard case .string(let value)? = try? JSON.parse(text(from: start)) else {
            throw failure("a malformed string", from: start, expected: "a JSON string")
        }
        return value
    }

    private mutating func number() throws {
        let start = at
        // After `.` only the index of a field can stand: `%x.0.1` are two indices.
        let isIndex = tokens.last?.kind == .symbol(".")
        if peek() == UInt8(ascii: "-") { at += 1 }
        while Lexer.isDigit(peek()) { at += 1 }
        var isFloat = false
        if !isIndex {
            if peek() == 46 && Lexer.isDigit(peek(1)) {
                isFloat = true
                at += 1
                while Lexer.isDigit(peek()) { at += 1 }
            }
            if peek() | 32 == UInt8(ascii: "e") {
                let sign = peek(1) == UInt8(ascii: "+") || peek(1) == UInt8(ascii: "-") ? 1 : 0
                if Lexer.isDigit(peek(1 + sign)) {
                    isFloat = true
                    at += 1 + sign
                    while Lexer.isDigit(peek()) { at += 1 }
                }
            }
        }
        let digits = text(from: start)
        let suffixStart = at
        while !isIndex && (Lexer.isLetter(peek()) || Lexer.isDigit(peek())) { at += 1 }
        let suffix = text(from: suffixStart)
        if isFloat || suffix.hasPrefix("f") {
            guard ["", "f", "f16", "f64"].contains(suffix), Double(digits) != nil else {
                throw failure("a malformed number", from: start, expected: "such as 1.5f or 1e-5f64")
            }
            add(.float(digits, suffix), from: start)
            return
        }
        guard ["", "i8", "i16", "i32", "i64", "u8"].contains(suffix), let value = Int(digits) else {
            throw failure("a malformed number", from: start, expected: "such as 3 or 3i64")
        }
        add(.integer(value, suffix), from: start)
    }

    /// `#[metadata]` ends the program: true.
    private mutating func pragma() throws -> Bool {
        let start = at
        at += 1
        guard peek() == UInt8(ascii: "[") else { throw failure("a lone `#`", from: start, expected: "#[…]") }
        at += 1
        let first = at
        while Lexer.isLetter(peek()) { at += 1 }
        let name = text(from: first)
        guard name == "metadata" else {
            add(.pragma(name), from: start)
            return false
        }
        guard peek() == UInt8(ascii: "]") else {
            throw failure("#[metadata is not closed", from: start, expected: "]")
        }
        metadata = String(decoding: bytes[(at + 1)...], as: UTF8.self)
        add(.end, from: start)
        return true
    }
}

/// The line and a caret, shortened: a line may be a megabyte.
func excerptNotes(_ source: SourceText, _ span: Span) -> [String] {
    guard span.line >= 1, span.line <= source.lines.count else { return [] }
    let bytes = Array(source.lines[span.line - 1].utf8)
    let column = max(0, min(span.column - 1, bytes.count))
    let from = max(0, column - 60)
    let to = min(bytes.count, column + 40)
    let shown = String(decoding: bytes[from..<to], as: UTF8.self)
    return [shown, String(repeating: " ", count: column - from) + "^"]
}
