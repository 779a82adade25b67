import ApusIR
import ApusSupport

/// A token of hybrid script, with the place where it starts.
struct HybridToken: Equatable {
    enum Kind: Equatable {
        case name(String)
        case int(Int)
        case float(Double)
        case string(String)
        /// An operator or a punctuation mark.
        case symbol(String)
        case newline
        case indent
        case dedent
        case end
    }
    let kind: Kind
    let line: Int
    let column: Int

    /// As it reads in an error message.
    var text: String {
        switch kind {
        case .name(let s): return "`\(s)`"
        case .int(let v): return "`\(v)`"
        case .float(let v): return "`\(v)`"
        case .string: return "a string"
        case .symbol(let s): return "`\(s)`"
        case .newline: return "the end of the line"
        case .indent: return "a deeper indentation"
        case .dedent: return "the end of the block"
        case .end: return "the end of the text"
        }
    }
}

/// Splits a text into tokens by Python's rules of layout: a line's indentation opens and closes blocks; within brackets, and
/// after a backslash, a line goes on. Comments and blank lines count for nothing.
struct HybridLexer {
    private let source: SourceText
    private let bytes: [UInt8]
    private var at = 0
    private var line = 1
    private var lineStart = 0
    private var depth = 0
    private var indents = [0]
    private var tokens: [HybridToken] = []

    /// Bytes of a text that is still read; a longer one is refused.
    static let maximumBytes = 1 << 24

    private init(_ text: String, _ source: SourceText) {
        bytes = Array(text.utf8)
        self.source = source
    }

    /// TE050 where no token can start or an indentation fits no block.
    static func tokens(_ text: String, _ source: SourceText) throws -> [HybridToken] {
        guard text.utf8.count <= maximumBytes else {
            throw ApusError(
                "TE050", "the script is too long", expected: "at most \(maximumBytes) bytes",
                actual: "\(text.utf8.count)")
        }
        var lexer = HybridLexer(text, source)
        try lexer.run()
        return lexer.tokens
    }

    private func fail(_ message: String, hint: String? = nil) -> ApusError {
        let span = Span(source: source.name, line: line, column: at - lineStart + 1)
        return ApusError(
            "TE050", message, at: ["\(span)"], hint: hint,
            notes: [source.excerpt(span)].filter { !$0.isEmpty })
    }

    private func peek(_ offset: Int = 0) -> UInt8 { at + offset < bytes.count ? bytes[at + offset] : 0 }

    private mutating func add(_ kind: HybridToken.Kind, from start: Int) {
        tokens.append(HybridToken(kind: kind, line: line, column: start - lineStart + 1))
    }

    private mutating func nextLine() {
        at += 1
        line += 1
        lineStart = at
    }

    private mutating func run() throws {
        var fresh = true
        while at < bytes.count {
            if fresh && depth == 0 {
                if try !indentation() { continue }
                fresh = false
            }
            let c = peek()
            switch c {
            case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"): at += 1
            case UInt8(ascii: "#"): skipComment()
            case UInt8(ascii: "\n"):
                if depth == 0 {
                    add(.newline, from: at)
                    fresh = true
                }
                nextLine()
            case UInt8(ascii: "\\"):
                at += 1
                while peek() == UInt8(ascii: "\r") { at += 1 }
                guard peek() == UInt8(ascii: "\n") else { throw fail("a backslash must end its line") }
                nextLine()
            case UInt8(ascii: "0")...UInt8(ascii: "9"): try number()
            case UInt8(ascii: "."):
                if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(peek(1)) {
                    try number()
                } else {
                    symbol(1)
                }
            case UInt8(ascii: "\""), UInt8(ascii: "'"): try string()
            default:
                if isNameStart(c) { name() } else { try punctuation() }
            }
        }
        if !fresh { add(.newline, from: at) }
        for _ in indents.dropFirst() { add(.dedent, from: at) }
        add(.end, from: at)
    }

    /// Whether a statement starts on this line; its indentation opens or closes blocks.
    private mutating func indentation() throws -> Bool {
        var width = 0
        while at < bytes.count {
            if peek() == UInt8(ascii: " ") {
                width += 1
            } else if peek() == UInt8(ascii: "\t") {
                width += 8 - width % 8
            } else if peek() != UInt8(ascii: "\r") {
                break
            }
            at += 1
        }
        if at >= bytes.count { return false }
        if peek() == UInt8(ascii: "#") { skipComment() }
        if peek() == UInt8(ascii: "\n") || at >= bytes.count {
            if at < bytes.count { nextLine() }
            return false
        }
        if width > indents[indents.count - 1] {
            indents.append(width)
            add(.indent, from: at)
        }
        while width < indents[indents.count - 1] {
            indents.removeLast()
            add(.dedent, from: at)
        }
        guard width == indents[indents.count - 1] else {
            throw fail(
                "the indentation fits no block around it", hint: "use one width for all lines of a block")
        }
        return true
    }

    private mutating func skipComment() {
        while at < bytes.count, peek() != UInt8(ascii: "\n") { at += 1 }
    }

    private func isNameStart(_ c: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(c)
            || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(c) || c == UInt8(ascii: "_")
    }

    private func isDigit(_ c: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(c) }

    private func slice(_ start: Int) -> String { String(decoding: bytes[start..<at], as: UTF8.self) }

    private mutating func name() {
        let start = at
        while isNameStart(peek()) || isDigit(peek()) { at += 1 }
        add(.name(slice(start)), from: start)
    }

    private mutating func number() throws {
        let start = at
        if peek() == UInt8(ascii: "0"), peek(1) | 0x20 == UInt8(ascii: "x") {
            at += 2
            while isNameStart(peek()) || isDigit(peek()) { at += 1 }
            let digits = slice(start).dropFirst(2).filter { $0 != "_" }
            guard let v = Int(digits, radix: 16) else { throw fail("no integer of 64 bits: \(slice(start))") }
            add(.int(v), from: start)
            return
        }
        var real = false
        while true {
            let c = peek()
            if isDigit(c) || c == UInt8(ascii: "_") {
                at += 1
            } else if c == UInt8(ascii: ".") {
                real = true
                at += 1
            } else if c | 0x20 == UInt8(ascii: "e"),
                isDigit(peek(1))
                    || ((peek(1) == UInt8(ascii: "-") || peek(1) == UInt8(ascii: "+")) && isDigit(peek(2)))
            {
                real = true
                at += 2
            } else {
                break
            }
        }
        if isNameStart(peek()) { throw fail("a number ends in a letter") }
        let digits = slice(start).filter { $0 != "_" }
        if real {
            guard let v = Double(digits), v.isFinite else { throw fail("no number: \(digits)") }
            add(.float(v), from: start)
        } else {
            guard let v = Int(digits) else { throw fail("no integer of 64 bits: \(digits)") }
            add(.int(v), from: start)
        }
    }

    /// A string in single, double or triple quotes, on one line unless triple.
    private mutating func string() throws {
        let start = at
        let startLine = line
        let column = at - lineStart + 1
        let quote = peek()
        let triple = peek(1) == quote && peek(2) == quote
        at += triple ? 3 : 1
        var content: [UInt8] = []
        while true {
            guard at < bytes.count else {
                at = start
                throw fail("a string does not end")
            }
            let c = peek()
            if c == quote && (!triple || (peek(1) == quote && peek(2) == quote)) {
                at += triple ? 3 : 1
                break
            }
            if c == UInt8(ascii: "\n") {
                guard triple else { throw fail("a string does not end on its line") }
                content.append(c)
                nextLine()
                continue
            }
            if c == UInt8(ascii: "\\") {
                at += 1
                switch peek() {
                case UInt8(ascii: "n"): content.append(UInt8(ascii: "\n"))
                case UInt8(ascii: "t"): content.append(UInt8(ascii: "\t"))
                case UInt8(ascii: "\\"), UInt8(ascii: "\""), UInt8(ascii: "'"): content.append(peek())
                default:
                    throw fail("an escape that hybrid script does not know", hint: #"known: \n \t \\ \" \'"#)
                }
                at += 1
                continue
            }
            content.append(c)
            at += 1
        }
        tokens.append(
            HybridToken(
                kind: .string(String(decoding: content, as: UTF8.self)), line: startLine, column: column))
    }

    private mutating func symbol(_ length: Int) {
        let start = at
        at += length
        add(.symbol(slice(start)), from: start)
    }

    private static let symbols: [[String]] = [
        ["**=", "//=", "<<=", ">>="],
        [
            "**", "//", "<<", ">>", "<=", ">=", "==", "!=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
            "->",
        ],
        [
            "+", "-", "*", "/", "%", "<", ">", "=", "(", ")", "[", "]", ",", ":", ".", "@", "&", "|", "^",
            "~", "{",
            "}", ";",
        ],
    ]

    private mutating func punctuation() throws {
        for (i, list) in HybridLexer.symbols.enumerated() {
            let length = 3 - i
            guard at + length <= bytes.count else { continue }
            let text = String(decoding: bytes[at..<at + length], as: UTF8.self)
            guard list.contains(text) else { continue }
            if "([{".contains(text) { depth += 1 }
            if ")]}".contains(text), depth > 0 { depth -= 1 }
            symbol(length)
            return
        }
        throw fail(
            "no token starts here", hint: "hybrid script is written in ASCII outside of strings and comments")
    }
}
