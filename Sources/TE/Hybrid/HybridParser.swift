import ApusIR
import ApusSupport

/// Parses hybrid script: `def`s of a module, by recursive descent with bounded nesting.
struct HybridParser {
    private let source: SourceText
    private let tokens: [HybridToken]
    private var at = 0
    private var depth = 0

    /// Blocks, brackets and operators within each other.
    static let maximumDepth = 100

    /// The definitions of a text. TE050 no token, TE051 a syntax error, TE052 nested too deep, TE053 a construct of Python that
    /// hybrid script does not have.
    static func parse(_ text: String, _ source: SourceText) throws -> [HybridDefinition] {
        var parser = HybridParser(source: source, tokens: try HybridLexer.tokens(text, source))
        return try parser.module()
    }

    private init(source: SourceText, tokens: [HybridToken]) {
        self.source = source
        self.tokens = tokens
    }

    // MARK: Tokens

    private var token: HybridToken { tokens[min(at, tokens.count - 1)] }
    private var span: Span { Span(source: source.name, line: token.line, column: token.column) }

    private func fail(
        _ code: String, _ message: String, at span: Span? = nil, expected: String? = nil,
        actual: String? = nil,
        hint: String? = nil
    ) -> ApusError {
        let place = span ?? self.span
        return ApusError(
            code, message, at: ["\(place)"], expected: expected, actual: actual, hint: hint,
            notes: [source.excerpt(place)].filter { !$0.isEmpty })
    }

    private func unexpected(_ expected: String) -> ApusError {
        fail("TE051", "the script cannot be read here", expected: expected, actual: token.text)
    }

    private func isSymbol(_ s: String) -> Bool { token.kind == .symbol(s) }
    private func isName(_ s: String) -> Bool { token.kind == .name(s) }

    private mutating func take(_ s: String) -> Bool {
        guard isSymbol(s) else { return false }
        at += 1
        return true
    }

    private mutating func takeName(_ s: String) -> Bool {
        guard isName(s) else { return false }
        at += 1
        return true
    }

    private mutating func expect(_ s: String) throws { if !take(s) { throw unexpected("`\(s)`") } }

    private mutating func identifier(_ what: String) throws -> String {
        guard case .name(let n) = token.kind else { throw unexpected(what) }
        if HybridParser.keywords.contains(n) {
            throw fail("TE051", "`\(n)` is a keyword and no name", expected: what, actual: "`\(n)`")
        }
        at += 1
        return n
    }

    static let keywords: Set<String> = [
        "def", "for", "in", "if", "elif", "else", "while", "return", "pass", "assert", "and", "or", "not",
        "True",
        "False", "None", "lambda", "class", "import", "from", "with", "try", "except", "finally", "raise",
        "yield",
        "global", "nonlocal", "del", "break", "continue", "is", "async", "await", "as",
    ]

    private mutating func nested<R>(_ body: (inout HybridParser) throws -> R) throws -> R {
        depth += 1
        defer { depth -= 1 }
        if depth > HybridParser.maximumDepth {
            throw fail(
                "TE052", "the script is nested too deep",
                expected: "at most \(HybridParser.maximumDepth) levels")
        }
        return try body(&self)
    }

    // MARK: Definitions

    private mutating func module() throws -> [HybridDefinition] {
        var result: [HybridDefinition] = []
        while token.kind != .end {
            if token.kind == .newline {
                at += 1
                continue
            }
            // Decorators say what is known already.
            while take("@") {
                _ = try expression()
                guard token.kind == .newline else { throw unexpected("the end of the line") }
                at += 1
            }
            guard isName("def") else {
                throw unexpected("a function: `def name(parameters):`")
            }
            let d = try definition()
            if result.contains(where: { $0.name == d.name }) {
                throw fail("TE051", "`\(d.name)` is defined twice", at: d.span)
            }
            result.append(d)
        }
        if result.isEmpty { throw unexpected("a function: `def name(parameters):`") }
        return result
    }

    private mutating func definition() throws -> HybridDefinition {
        let start = span
        at += 1
        let name = try identifier("the function's name")
        try expect("(")
        var parameters: [String] = []
        while !isSymbol(")") {
            let p = try identifier("a parameter")
            if parameters.contains(p) { throw fail("TE051", "two parameters are called `\(p)`") }
            parameters.append(p)
            if isSymbol("=") || isSymbol(":") {
                throw fail("TE053", "parameters have no default values and no annotations here")
            }
            if !take(",") { break }
        }
        try expect(")")
        try expect(":")
        var body = try block()
        var documentation: String?
        if case .evaluate(let e)? = body.first?.kind, case .string(let s) = e.kind {
            documentation = s
            body.removeFirst()
        }
        return HybridDefinition(
            name: name, parameters: parameters, body: body, span: start, documentation: documentation)
    }

    // MARK: Statements

    private mutating func block() throws -> [HybridStmt] {
        try nested { p in
            guard p.token.kind == .newline else {
                // A simple statement on the line of its header.
                return [try p.simpleStatement()]
            }
            p.at += 1
            guard p.token.kind == .indent else { throw p.unexpected("an indented block") }
            p.at += 1
            var result: [HybridStmt] = []
            while p.token.kind != .dedent && p.token.kind != .end { result.append(try p.statement()) }
            if p.token.kind == .dedent { p.at += 1 }
            return result
        }
    }

    private mutating func statement() throws -> HybridStmt {
        let start = span
        if takeName("for") {
            let v = try identifier("the loop's variable")
            if isSymbol(",") { throw fail("TE053", "a loop has one variable", hint: "nest the loops") }
            if !takeName("in") { throw unexpected("`in`") }
            let place = span
            guard case .call(let callee, let arguments) = try expression().kind,
                let kind = HybridParser.lastName(callee)
            else {
                throw fail(
                    "TE051", "a loop runs over a call", at: place,
                    expected: "range(n), serial, unroll, parallel, vectorize, const_range or bind")
            }
            try expect(":")
            return HybridStmt(kind: .loop(v, kind: kind, arguments, try block()), span: start)
        }
        if takeName("if") { return try branch(start) }
        if takeName("while") {
            let condition = try expression()
            try expect(":")
            return HybridStmt(kind: .repeated(condition, try block()), span: start)
        }
        if isName("def") {
            throw fail(
                "TE053", "a function within a function",
                hint: "define it beside; functions of one text call each other")
        }
        return try simpleStatement()
    }

    private mutating func branch(_ start: Span) throws -> HybridStmt {
        try nested { p in
            let condition = try p.expression()
            try p.expect(":")
            let yes = try p.block()
            var no: [HybridStmt] = []
            let next = p.span
            if p.takeName("elif") {
                no = [try p.branch(next)]
            } else if p.takeName("else") {
                try p.expect(":")
                no = try p.block()
            }
            return HybridStmt(kind: .branch(condition, yes, no), span: start)
        }
    }

    private mutating func simpleStatement() throws -> HybridStmt {
        let s = try smallStatement()
        guard token.kind == .newline else {
            if isSymbol(";") { throw fail("TE053", "one statement a line") }
            throw unexpected("the end of the line")
        }
        at += 1
        return s
    }

    private mutating func smallStatement() throws -> HybridStmt {
        let start = span
        if takeName("pass") { return HybridStmt(kind: .pass, span: start) }
        if takeName("return") {
            if token.kind == .newline { return HybridStmt(kind: .result([]), span: start) }
            let e = try tupleExpression()
            if case .tuple(let list) = e.kind { return HybridStmt(kind: .result(list), span: start) }
            return HybridStmt(kind: .result([e]), span: start)
        }
        if takeName("assert") {
            let condition = try expression()
            var message = "assertion failed"
            if take(",") {
                guard case .string(let s) = token.kind else { throw unexpected("the message as a string") }
                message = s
                at += 1
            }
            return HybridStmt(kind: .assert(condition, message), span: start)
        }
        if case .name(let n) = token.kind, HybridParser.keywords.contains(n),
            !["not", "True", "False"].contains(n)
        {
            throw fail(
                "TE053", "hybrid script has no `\(n)` here",
                hint: n == "break" || n == "continue" ? "guard the rest of the body by `if`" : nil)
        }
        let target = try tupleExpression()
        if take("=") {
            let value = try tupleExpression()
            if isSymbol("=") { throw fail("TE053", "one target an assignment") }
            return HybridStmt(kind: .assign(target, value), span: start)
        }
        if case .symbol(let s) = token.kind, s.count > 1, s.hasSuffix("="),
            !["==", "!=", "<=", ">="].contains(s)
        {
            at += 1
            return HybridStmt(kind: .augment(target, String(s.dropLast()), try expression()), span: start)
        }
        return HybridStmt(kind: .evaluate(target), span: start)
    }

    // MARK: Expressions

    /// The last name of `a.b.c`.
    static func lastName(_ e: HybridExpr) -> String? {
        switch e.kind {
        case .name(let n): return n
        case .attribute(_, let n): return n
        default: return nil
        }
    }

    private mutating func tupleExpression() throws -> HybridExpr {
        let start = span
        let first = try expression()
        guard isSymbol(",") else { return first }
        var list = [first]
        while take(",") {
            if token.kind == .newline || isSymbol("=") || isSymbol(")") { break }
            list.append(try expression())
        }
        return HybridExpr(kind: .tuple(list), span: start)
    }

    private mutating func expression() throws -> HybridExpr {
        try nested { p in
            let start = p.span
            if p.isName("lambda") { throw p.fail("TE053", "hybrid script has no `lambda`") }
            let yes = try p.binaryExpression(0)
            guard p.takeName("if") else { return yes }
            let condition = try p.binaryExpression(0)
            if !p.takeName("else") { throw p.unexpected("`else`") }
            return HybridExpr(
                kind: .conditional(condition: condition, yes: yes, no: try p.expression()), span: start)
        }
    }

    /// Binary operators from the weakest to the strongest; comparisons chain, and stand between `not` and `|`.
    static let levels: [[String]] = [
        ["or"], ["and"], ["not"], ["<", "<=", ">", ">=", "==", "!="], ["|"], ["^"], ["&"], ["<<", ">>"],
        ["+", "-"], ["*", "/", "//", "%"],
    ]

    private func operatorText() -> String? {
        switch token.kind {
        case .symbol(let s): return s
        case .name(let n) where n == "and" || n == "or": return n
        case .name(let n) where n == "is" || n == "in": return n
        default: return nil
        }
    }

    private mutating func binaryExpression(_ level: Int) throws -> HybridExpr {
        if level == HybridParser.levels.count { return try unary() }
        let start = span
        if HybridParser.levels[level] == ["not"] {
            if isName("not") {
                return try nested { p in
                    p.at += 1
                    return HybridExpr(kind: .unary("not", try p.binaryExpression(level)), span: start)
                }
            }
            return try binaryExpression(level + 1)
        }
        let first = try binaryExpression(level + 1)
        if level == 3 {
            var operands = [first]
            var operators: [String] = []
            while let op = operatorText(), HybridParser.levels[3].contains(op) {
                at += 1
                operators.append(op)
                operands.append(try binaryExpression(level + 1))
            }
            if operators.isEmpty { return first }
            return HybridExpr(kind: .compare(operands, operators), span: start)
        }
        var result = first
        var length = 0
        while let op = operatorText(), HybridParser.levels[level].contains(op) {
            at += 1
            length += 1
            if length > HybridParser.maximumDepth {
                throw fail(
                    "TE052", "too many operators in a row", expected: "at most \(HybridParser.maximumDepth)")
            }
            result = HybridExpr(kind: .binary(op, result, try binaryExpression(level + 1)), span: start)
        }
        return result
    }

    private mutating func unary() throws -> HybridExpr {
        let start = span
        for op in ["-", "+", "~"] where isSymbol(op) {
            return try nested { p in
                p.at += 1
                let e = try p.unary()
                return HybridExpr(kind: .unary(op, e), span: start)
            }
        }
        let base = try postfix()
        guard take("**") else { return base }
        // Right associative, and stronger than a sign on its left only.
        return try nested { p in HybridExpr(kind: .binary("**", base, try p.unary()), span: start) }
    }

    private mutating func postfix() throws -> HybridExpr {
        let start = span
        var e = try atom()
        var length = 0
        while true {
            length += 1
            if length > HybridParser.maximumDepth { throw fail("TE052", "the script is nested too deep") }
            if take(".") {
                e = HybridExpr(kind: .attribute(e, try identifier("an attribute")), span: start)
            } else if take("(") {
                let arguments = try list(until: ")")
                e = HybridExpr(kind: .call(e, arguments), span: start)
            } else if take("[") {
                if isSymbol(":") { throw fail("TE053", "hybrid script has no slices") }
                let indices = try list(until: "]")
                if indices.isEmpty { throw unexpected("an index") }
                e = HybridExpr(kind: .subscripted(e, indices), span: start)
            } else {
                return e
            }
        }
    }

    private mutating func list(until close: String) throws -> [HybridExpr] {
        var result: [HybridExpr] = []
        while !isSymbol(close) {
            result.append(try expression())
            if isSymbol("=") {
                throw fail("TE053", "arguments have no names here", hint: "give them by position")
            }
            if isSymbol(":") { throw fail("TE053", "hybrid script has no slices") }
            if !take(",") { break }
        }
        try expect(close)
        return result
    }

    private mutating func atom() throws -> HybridExpr {
        let start = span
        func made(_ kind: HybridExpr.Kind) -> HybridExpr { HybridExpr(kind: kind, span: start) }
        switch token.kind {
        case .int(let v):
            at += 1
            return made(.int(v))
        case .float(let v):
            at += 1
            return made(.float(v))
        case .string(let s):
            at += 1
            return made(.string(s))
        case .name("True"):
            at += 1
            return made(.bool(true))
        case .name("False"):
            at += 1
            return made(.bool(false))
        case .name: return made(.name(try identifier("an expression")))
        case .symbol("("):
            at += 1
            if take(")") { return made(.tuple([])) }
            let e = try tupleExpression()
            try expect(")")
            return e
        case .symbol("["):
            // A list says what a tuple says: a shape.
            at += 1
            return made(.tuple(try list(until: "]")))
        default: throw unexpected("an expression")
        }
    }
}
