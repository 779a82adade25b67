import ApusIR
import ApusSupport

/// A word, number, string or sign of the text form.
struct TIRToken {
    enum Kind: UInt8 { case word, int, float, string, sign, newline, indent, dedent, end }

    let kind: Kind
    /// For strings: the contents, escapes resolved.
    let text: String
    /// Both from 1; columns count bytes.
    let line: Int
    let column: Int

    var shown: String {
        switch kind {
        case .newline: return "end of line"
        case .indent: return "deeper indentation"
        case .dedent: return "end of the indented block"
        case .end: return "end of text"
        case .string: return "a string"
        default: return "'\(text.prefix(40))'"
        }
    }
}

/// An error at a place of a text: the message with line and column, the line itself below with a caret.
func tirTextError(
    _ code: String, _ message: String, source: String, text: String, line: Int, column: Int,
    expected: String? = nil, actual: String? = nil, hint: String? = nil
) -> ApusError {
    ApusError(code, message, expected: expected, actual: actual, hint: hint)
        .located(Span(source: source, line: line, column: column, text: text))
}

/// Cuts a text into tokens; indentation becomes `indent` and `dedent` as in Python.
struct TIRLexer {
    private let bytes: [UInt8]
    private let text: String
    private let source: String
    private var at = 0
    private var line = 1
    private var lineStart = 0
    private var brackets = 0
    private var indents = [0]
    /// What `indents` was outside of each `T.indent()`: within, indentation starts at 0 again.
    private var outer: [[Int]] = []
    private var tokens: [TIRToken] = []

    init(_ text: String, source: String) {
        self.text = text
        self.source = source
        bytes = Array(text.utf8)
    }

    static func tokens(of text: String, source: String) throws -> [TIRToken] {
        var lexer = TIRLexer(text, source: source)
        return try lexer.run()
    }

    private func failure(_ message: String, at place: Int? = nil, hint: String? = nil) -> ApusError {
        tirTextError(
            "TIR100", message, source: source, text: text, line: line, column: (place ?? at) - lineStart + 1,
            hint: hint)
    }

    private mutating func add(_ kind: TIRToken.Kind, _ text: String, _ start: Int) {
        tokens.append(TIRToken(kind: kind, text: text, line: line, column: start - lineStart + 1))
    }

    private mutating func newLine() {
        at += 1
        line += 1
        lineStart = at
    }

    private mutating func run() throws -> [TIRToken] {
        var startsLine = true
        while at < bytes.count {
            if startsLine && brackets == 0 {
                startsLine = false
                if try indentation() {
                    startsLine = true
                    continue
                }
                if at >= bytes.count { break }
            }
            let c = bytes[at]
            switch c {
            case UInt8(ascii: "\n"):
                if brackets == 0 {
                    add(.newline, "", at)
                    startsLine = true
                }
                newLine()
            case UInt8(ascii: " "), UInt8(ascii: "\r"): at += 1
            case UInt8(ascii: "#"): skipComment()
            case UInt8(ascii: "\""): try string()
            case UInt8(ascii: "0")...UInt8(ascii: "9"): try number()
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "_"):
                word()
            default: try sign(c)
            }
        }
        if brackets > 0 { throw failure("a bracket is not closed") }
        if let last = tokens.last, last.kind != .newline, last.kind != .dedent { add(.newline, "", at) }
        if !outer.isEmpty { throw failure("T.indent() is not closed by T.dedent()") }
        for _ in indents.dropFirst() { add(.dedent, "", at) }
        add(.end, "", at)
        return tokens
    }

    private mutating func skipComment() {
        while at < bytes.count, bytes[at] != UInt8(ascii: "\n") { at += 1 }
    }

    /// At the start of a line: true if the line is empty and was skipped.
    private mutating func indentation() throws -> Bool {
        let start = at
        while at < bytes.count, bytes[at] == UInt8(ascii: " ") { at += 1 }
        if at < bytes.count, bytes[at] == UInt8(ascii: "\t") {
            throw failure("a tab in the indentation", hint: "indent by spaces")
        }
        if at < bytes.count, bytes[at] == UInt8(ascii: "\r") { at += 1 }
        if at < bytes.count, bytes[at] == UInt8(ascii: "#") { skipComment() }
        if at >= bytes.count { return false }
        if bytes[at] == UInt8(ascii: "\n") {
            newLine()
            return true
        }
        let width = at - start
        if width > indents[indents.count - 1] {
            indents.append(width)
            add(.indent, "", at)
        } else {
            while width < indents[indents.count - 1] {
                indents.removeLast()
                add(.dedent, "", at)
            }
            if width != indents[indents.count - 1] {
                throw failure("the indentation fits no enclosing block")
            }
        }
        return try marker()
    }

    /// At the first character of a line: a line `T.indent()` opens a block whose indentation starts at 0, `T.dedent()`
    /// closes it. True if it was one and is skipped.
    private mutating func marker() throws -> Bool {
        func line(_ word: String) -> Int? {
            let end = at + word.utf8.count
            guard end <= bytes.count, bytes[at] == UInt8(ascii: "T"), bytes[at..<end].elementsEqual(word.utf8)
            else {
                return nil
            }
            var i = end
            while i < bytes.count, bytes[i] == UInt8(ascii: " ") || bytes[i] == UInt8(ascii: "\r") { i += 1 }
            return i == bytes.count || bytes[i] == UInt8(ascii: "\n") ? i : nil
        }
        if let end = line("T.indent()") {
            outer.append(indents)
            indents = [0]
            add(.indent, "", at)
            at = end
        } else if let end = line("T.dedent()") {
            guard indents.count == 1, let before = outer.popLast() else {
                throw failure("T.dedent() closes nothing", hint: "it stands at the beginning of a line")
            }
            indents = before
            add(.dedent, "", at)
            at = end
        } else {
            return false
        }
        if at < bytes.count { newLine() }
        return true
    }

    private mutating func word() {
        let start = at
        while at < bytes.count {
            let c = bytes[at]
            let plain =
                (c >= UInt8(ascii: "a") && c <= UInt8(ascii: "z"))
                || (c >= UInt8(ascii: "A") && c <= UInt8(ascii: "Z"))
                || (c >= UInt8(ascii: "0") && c <= UInt8(ascii: "9")) || c == UInt8(ascii: "_")
            if !plain { break }
            at += 1
        }
        add(.word, String(decoding: bytes[start..<at], as: UTF8.self), start)
    }

    private func isDigit(_ i: Int) -> Bool {
        i < bytes.count && bytes[i] >= UInt8(ascii: "0") && bytes[i] <= UInt8(ascii: "9")
    }

    private mutating func number() throws {
        let start = at
        var kind = TIRToken.Kind.int
        while isDigit(at) { at += 1 }
        if at < bytes.count, bytes[at] == UInt8(ascii: "."), isDigit(at + 1) {
            kind = .float
            at += 1
            while isDigit(at) { at += 1 }
        }
        if at < bytes.count, bytes[at] == UInt8(ascii: "e") || bytes[at] == UInt8(ascii: "E") {
            var end = at + 1
            if end < bytes.count, bytes[end] == UInt8(ascii: "+") || bytes[end] == UInt8(ascii: "-") {
                end += 1
            }
            guard isDigit(end) else { throw failure("a number without an exponent", at: start) }
            kind = .float
            at = end
            while isDigit(at) { at += 1 }
        }
        if at < bytes.count,
            (bytes[at] | 0x20) >= UInt8(ascii: "a") && (bytes[at] | 0x20) <= UInt8(ascii: "z")
        {
            throw failure("a letter in a number", at: at)
        }
        add(kind, String(decoding: bytes[start..<at], as: UTF8.self), start)
    }

    private mutating func string() throws {
        let start = at
        at += 1
        var contents: [UInt8] = []
        while at < bytes.count {
            let c = bytes[at]
            if c == UInt8(ascii: "\"") {
                at += 1
                add(.string, String(decoding: contents, as: UTF8.self), start)
                return
            }
            if c == UInt8(ascii: "\n") { break }
            if c != UInt8(ascii: "\\") {
                contents.append(c)
                at += 1
                continue
            }
            at += 1
            guard at < bytes.count else { break }
            switch bytes[at] {
            case UInt8(ascii: "n"): contents.append(0x0A)
            case UInt8(ascii: "r"): contents.append(0x0D)
            case UInt8(ascii: "t"): contents.append(0x09)
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): contents.append(bytes[at])
            case UInt8(ascii: "u"):
                guard at + 4 < bytes.count,
                    let code = UInt32(String(decoding: bytes[(at + 1)...(at + 4)], as: UTF8.self), radix: 16),
                    let scalar = UnicodeScalar(code)
                else { throw failure("an escape that is no character") }
                contents.append(contentsOf: Array(String(Character(scalar)).utf8))
                at += 4
            default: throw failure("an unknown escape")
            }
            at += 1
        }
        throw failure("a string without a closing quote", at: start)
    }

    private mutating func sign(_ c: UInt8) throws {
        let start = at
        let next = at + 1 < bytes.count ? bytes[at + 1] : 0
        switch (c, next) {
        case (UInt8(ascii: "/"), UInt8(ascii: "/")), (UInt8(ascii: "="), UInt8(ascii: "=")),
            (UInt8(ascii: "!"), UInt8(ascii: "=")), (UInt8(ascii: "<"), UInt8(ascii: "=")),
            (UInt8(ascii: ">"), UInt8(ascii: "=")), (UInt8(ascii: "-"), UInt8(ascii: ">")):
            at += 2
        default:
            guard "()[]{}:,.=+-*/%<>@".utf8.contains(c) else {
                throw failure("a character that has no meaning here")
            }
            at += 1
            if c == UInt8(ascii: "(") || c == UInt8(ascii: "[") || c == UInt8(ascii: "{") { brackets += 1 }
            if c == UInt8(ascii: ")") || c == UInt8(ascii: "]") || c == UInt8(ascii: "}") {
                if brackets == 0 { throw failure("a bracket closes nothing", at: start) }
                brackets -= 1
            }
        }
        add(.sign, String(decoding: bytes[start..<at], as: UTF8.self), start)
    }
}
