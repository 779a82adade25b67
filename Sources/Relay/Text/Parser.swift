import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

extension Relay {
    /// Reads a module from its text; types are inferred, annotations checked.
    ///
    /// - Parameter name: what messages call the text.
    /// - Throws: RELAY030 to RELAY039 with line, column and excerpt, and what the nodes' own constructors
    ///   throw, the place added. Any text ends in a module or an error.
    public static func parse(_ text: String, name: String = "text") throws -> IRModule {
        registerAll()
        return try withLargeStackThrowing {
            var parser = try Parser(text, name: name)
            return try parser.module()
        }
    }

    /// Reads one expression, such as `fn (%x: Tensor[(2,), float32]) { nn.relu(%x) }`; `variables` may be
    /// used by name.
    public static func parseExpr(
        _ text: String, variables: [Var] = [], name: String = "text"
    ) throws -> RelayExpr {
        registerAll()
        return try withLargeStackThrowing {
            var parser = try Parser(text, name: name)
            return try parser.wholeExpression(variables)
        }
    }

    /// Reads a module of one function, or a single `fn` expression.
    public static func parseFunction(_ text: String, name: String = "text") throws -> Function {
        registerAll()
        let isModule = text.split(separator: "\n").contains { $0.hasPrefix("def ") }
        let node: RelayExpr? =
            isModule ? try parse(text, name: name).functions.first : try parseExpr(text, name: name)
        guard let f = node as? Function else {
            throw ApusError(
                "RELAY031", "the text is not a function", at: [name], expected: "fn (…) {…} or def @…")
        }
        return f
    }
}

private func withLargeStackThrowing<R>(_ body: () throws -> R) throws -> R {
    try withLargeStack { () throws(any Error) -> R in try body() }
}

/// Recursive descent with bounded depth.
struct Parser {
    static let maximumDepth = 1000

    let source: SourceText
    let tokens: [Token]
    var at = 0
    var depth = 0
    var constants: [AttrValue] = []
    var nodes: [AttrValue] = []
    var globals: [String: GlobalVar] = [:]
    /// Innermost last; a block's names end with it.
    var scopes: [Scope] = [Scope()]
    /// Symbolic extents of the definition being read.
    var symbols: [String: ApusTIR.Var] = [:]

    struct Scope {
        var variables: [String: RelayExpr] = [:]
        var temporaries: [Int: RelayExpr] = [:]
    }

    init(_ text: String, name: String) throws {
        source = SourceText(name: name, text: text)
        let (tokens, metadata) = try Lexer.run(text, source: source)
        self.tokens = tokens
        guard let metadata else { return }
        let root = try within("\(name): #[metadata]") { try loadJSON(metadata) }
        guard let table = root as? Attrs else {
            throw ApusError("RELAY035", "the metadata is no table", at: [name], expected: "Attrs")
        }
        if case .list(let v)? = table[MetaTable.constantKey] { constants = v }
        if case .list(let v)? = table[MetaTable.nodeKey] { nodes = v }
    }

    // MARK: Tokens and messages

    var token: Token { tokens[min(at, tokens.count - 1)] }

    func span(_ t: Token) -> Span { Span(source: source.name, line: t.line, column: t.column) }

    func failure(
        _ code: String, _ message: String, at t: Token? = nil, expected: String? = nil, actual: String? = nil,
        hint: String? = nil
    ) -> ApusError {
        let span = self.span(t ?? token)
        return ApusError(
            code, message, at: ["\(span)"], expected: expected, actual: actual, hint: hint,
            notes: excerptNotes(source, span))
    }

    func unexpected(_ expected: String) -> ApusError {
        failure("RELAY031", "unexpected \(token.text)", expected: expected, actual: token.text)
    }

    /// Runs a constructor; its error leaves with the place in the text.
    func located<T>(_ t: Token, _ body: () throws -> T) throws -> T {
        do {
            return try body()
        } catch let e as ApusError {
            let span = self.span(t)
            throw ApusError(
                e.code, e.message, at: ["\(span)"] + e.context, expected: e.expected, actual: e.actual,
                hint: e.hint,
                notes: e.notes + excerptNotes(source, span))
        }
    }

    mutating func advance() { if at < tokens.count - 1 { at += 1 } }

    func isSymbol(_ s: String) -> Bool { token.kind == .symbol(s) }
    func isWord(_ s: String) -> Bool { token.kind == .identifier(s) }

    mutating func take(_ s: String) -> Bool {
        guard isSymbol(s) else { return false }
        advance()
        return true
    }

    mutating func expect(_ s: String) throws {
        if !take(s) { throw unexpected("`\(s)`") }
    }

    mutating func takeWord(_ s: String) -> Bool {
        guard isWord(s) else { return false }
        advance()
        return true
    }

    mutating func enter() throws {
        depth += 1
        if depth > Parser.maximumDepth {
            throw failure(
                "RELAY036", "nesting is too deep", expected: "at most \(Parser.maximumDepth) levels")
        }
    }

    /// Items up to `close`, separated by commas; a last comma is allowed. The opening has been read.
    mutating func list(_ close: String, _ item: (inout Parser) throws -> Void) throws -> Bool {
        var trailingComma = false
        while !isSymbol(close) {
            try item(&self)
            trailingComma = take(",")
            if !trailingComma { break }
        }
        try expect(close)
        return trailingComma
    }

    // MARK: Modules

    struct Signature {
        let name: String
        let start: Token
        let params: [Relay.Var]
        let attrs: Attrs
        let retType: IRType?
        let symbols: [String: ApusTIR.Var]
        /// The first token of the body.
        let body: Int
    }

    mutating func module() throws -> IRModule {
        var moduleAttrs = Attrs.empty
        while case .pragma(let name) = token.kind {
            advance()
            switch name {
            case "version":
                try expect("=")
                guard case .string = token.kind else { throw unexpected("a version such as \"0.0.5\"") }
                advance()
            case "attrs":
                try expect("(")
                var entries: [(key: String, value: AttrValue)] = []
                _ = try list(")") { p in entries.append(try p.attribute()) }
                moduleAttrs = Attrs(try checkedKeys(entries))
            default:
                throw failure("RELAY031", "unknown section `\(name)`", expected: "version, attrs or metadata")
            }
            try expect("]")
        }
        // Signatures first, so that functions may call those that come later.
        var signatures: [Signature] = []
        var defined: Set<String> = []
        var finished: [(global: GlobalVar, function: BaseFunc)?] = []
        while token.kind != .end {
            let start = token
            guard takeWord("def") else { throw unexpected("`def` or end of text") }
            guard case .global(let name) = token.kind else { throw unexpected("a name such as @main") }
            advance()
            guard defined.insert(name).inserted else {
                throw failure("RELAY033", "@\(name) is defined twice", at: start)
            }
            symbols = [:]
            if take("=") {
                if isWord("fn") {
                    advance()
                    try readSignature(name, start, &signatures, &finished)
                } else {
                    guard let function = try metaReference() as? BaseFunc else {
                        throw failure(
                            "RELAY035", "the reference is no function", at: start, expected: "a function")
                    }
                    let global = GlobalVar(name, type: function.checkedType)
                    globals[name] = global
                    finished.append((global: global, function: function))
                    signatures.append(
                        Signature(
                            name: name, start: start, params: [], attrs: .empty, retType: nil, symbols: [:],
                            body: at))
                }
                _ = take(";")
            } else {
                try readSignature(name, start, &signatures, &finished)
            }
        }
        for (i, s) in signatures.enumerated() where finished[i] == nil {
            at = s.body
            symbols = s.symbols
            let function = try functionBody(s.params, s.attrs, s.retType, s.start)
            let global = globals[s.name] ?? GlobalVar(s.name, type: function.checkedType)
            globals[s.name] = global
            finished[i] = (global: global, function: function)
        }
        return IRModule(finished.compactMap { $0 }, attrs: moduleAttrs)
    }

    mutating func readSignature(
        _ name: String, _ start: Token, _ signatures: inout [Signature],
        _ finished: inout [(global: GlobalVar, function: BaseFunc)?]
    ) throws {
        let (params, attrs) = try parameters()
        let retType = take("->") ? try type() : nil
        let s = Signature(
            name: name, start: start, params: params, attrs: attrs, retType: retType, symbols: symbols,
            body: at)
        if let retType { globals[name] = GlobalVar(name, type: FuncType(params.map(\.checkedType), retType)) }
        try skipBlock()
        signatures.append(s)
        finished.append(nil)
    }

    mutating func skipBlock() throws {
        try expect("{")
        var open = 1
        while open > 0 {
            if token.kind == .end { throw unexpected("`}`") }
            if isSymbol("{") { open += 1 }
            if isSymbol("}") { open -= 1 }
            advance()
        }
    }

    func checkedKeys(
        _ entries: [(key: String, value: AttrValue)]
    ) throws -> [(key: String, value: AttrValue)] {
        var seen: Set<String> = []
        for e in entries where !seen.insert(e.key).inserted {
            throw failure("RELAY033", "the attribute `\(e.key)` is given twice")
        }
        return entries
    }

    // MARK: Functions

    /// `(%x: T, …, name=value, …)`
    mutating func parameters() throws -> ([Relay.Var], Attrs) {
        try expect("(")
        var params: [Relay.Var] = []
        var entries: [(key: String, value: AttrValue)] = []
        var names: Set<String> = []
        _ = try list(")") { p in
            let t = p.token
            guard case .local(let name) = t.kind else {
                entries.append(try p.attribute())
                return
            }
            p.advance()
            guard names.insert(name).inserted else {
                throw p.failure("RELAY033", "the parameter %\(name) is declared twice", at: t)
            }
            try p.expect(":")
            params.append(Relay.Var(name, try p.type(), span: p.span(t)))
        }
        return (params, Attrs(try checkedKeys(entries)))
    }

    mutating func functionBody(
        _ params: [Relay.Var], _ attrs: Attrs, _ retType: IRType?, _ start: Token
    ) throws -> Relay.Function {
        var scope = Scope()
        for p in params { scope.variables[p.name] = p }
        let body = try block(scope)
        if let retType, !Relay.typesEqual(retType, body.checkedType) {
            throw failure(
                "RELAY034", "the function yields another type than it declares", at: start,
                expected: "\(retType)",
                actual: "\(body.checkedType)")
        }
        let function = Relay.Function(params, body, attrs, span: span(start))
        try located(start) { try Relay.checkComplexity(function.checkedType) }
        return function
    }

    mutating func wholeExpression(_ variables: [Relay.Var]) throws -> RelayExpr {
        for v in variables { scopes[0].variables[v.name] = v }
        let e = try expression()
        if token.kind != .end { throw unexpected("end of text") }
        return e
    }

    /// `{ %0 = …; let %v = …; … result }`
    mutating func block(_ names: Scope = Scope()) throws -> RelayExpr {
        try enter()
        defer { depth -= 1 }
        try expect("{")
        scopes.append(names)
        var bindings: [(variable: Relay.Var, value: RelayExpr, start: Token)] = []
        while true {
            let start = token
            if case .temporary(let n) = start.kind, at + 1 < tokens.count, tokens[at + 1].kind == .symbol("=")
            {
                advance()
                advance()
                let value = try expression()
                try expect(";")
                guard temporary(n) == nil else {
                    throw failure("RELAY033", "%\(n) is defined twice", at: start)
                }
                scopes[scopes.count - 1].temporaries[n] = value
            } else if takeWord("let") {
                guard case .local(let name) = token.kind else { throw unexpected("a name such as %x") }
                advance()
                let annotation = take(":") ? try type() : nil
                try expect("=")
                let value = try expression()
                try expect(";")
                let variable = Relay.Var(name, annotation ?? value.checkedType, span: span(start))
                if let annotation, !Relay.typesEqual(annotation, value.checkedType) {
                    throw failure(
                        "RELAY034", "the value of %\(name) has another type than declared", at: start,
                        expected: "\(annotation)", actual: "\(value.checkedType)")
                }
                scopes[scopes.count - 1].variables[name] = variable
                bindings.append((variable: variable, value: value, start: start))
            } else {
                break
            }
        }
        var result = try expression()
        try expect("}")
        scopes.removeLast()
        for b in bindings.reversed() {
            result = try located(b.start) {
                try Relay.Let.checked(b.variable, b.value, result, span: span(b.start))
            }
        }
        return result
    }

    func temporary(_ n: Int) -> RelayExpr? {
        for s in scopes.reversed() { if let e = s.temporaries[n] { return e } }
        return nil
    }

    func variable(_ name: String) -> RelayExpr? {
        for s in scopes.reversed() { if let e = s.variables[name] { return e } }
        return nil
    }
}
