import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// Reads the text that `TIRPrinter` writes.
///
/// Nothing in a text can stop the process: every error is thrown with line, column and the line itself.
/// TIR100 malformed token, TIR101 unexpected token, TIR102 unknown name, TIR103 types do not fit, TIR104
/// number out of range, TIR105 nested too deeply, TIR106 wrong number of indices or arguments, TIR107 unknown
/// function or option, TIR108 malformed declaration.
public enum TIRParser {
    /// Levels of nesting that a text may have. The stack grows with them.
    public static let maxDepth = 250_000

    /// A function: `@T.prim_func` and a `def`.
    public static func parseFunction(_ text: String, source: String = "<text>") throws -> PrimFunc {
        let parser = try TIRTextParser(text, source: source)
        let (_, f) = try parser.function()
        try parser.end()
        return f
    }

    /// A module: `@I.ir_module` and a `class` of functions, or a single function.
    public static func parseModule(_ text: String, source: String = "<text>") throws -> IRModule {
        let parser = try TIRTextParser(text, source: source)
        let m = try parser.module()
        try parser.end()
        return m
    }

    /// An expression; the given variables and buffers are known by their names.
    public static func parseExpr(
        _ text: String, variables: [Var] = [], buffers: [Buffer] = [], source: String = "<text>"
    ) throws -> PrimExpr {
        let parser = try TIRTextParser(text, source: source)
        parser.know(variables, buffers)
        let e = try parser.expression()
        _ = parser.takeKind(.newline)
        try parser.end()
        return e
    }

    /// Statements, one below the other; the given variables and buffers are known by their names.
    public static func parseStmt(
        _ text: String, variables: [Var] = [], buffers: [Buffer] = [], source: String = "<text>"
    ) throws -> Stmt {
        let parser = try TIRTextParser(text, source: source)
        parser.know(variables, buffers)
        let s = try parser.statements()
        try parser.end()
        return s
    }
}

/// One parse: position, names in scope.
final class TIRTextParser {
    let text: String
    let source: String
    /// The text as a whole.
    private let origin: Span
    let tokens: [TIRToken]
    var at = 0
    var depth = 0
    private var names: [String: Node] = [:]
    private var log: [(name: String, before: Node?)] = []
    /// The range of each loop variable.
    var loops: [ObjectIdentifier: IRRange] = [:]
    /// Whether an unknown name defines a variable of the index type: inside the shape of a buffer's
    /// declaration.
    var declaring = false
    /// What the declaration being read defines by mentioning it. (Apart from `names`: it may do so within a `Let`, whose
    /// scope ends sooner.)
    var declared: [(name: String, variable: Var)] = []

    init(_ text: String, source: String) throws {
        self.text = text
        self.source = source
        origin = Span(source: source, text: text)
        tokens = try TIRLexer.tokens(of: text, source: source)
        TIRNodes.registerAll()
    }

    // MARK: Tokens and errors

    var token: TIRToken { tokens[at] }
    func peek(_ n: Int) -> TIRToken { tokens[Swift.min(at + n, tokens.count - 1)] }
    func advance() { if at < tokens.count - 1 { at += 1 } }

    // MARK: Places

    func span(_ place: TIRToken) -> Span { origin.at(line: place.line, column: place.column) }

    /// `e`, new here, with its place; a variable stands where it is defined.
    func located(_ e: PrimExpr, _ place: TIRToken) -> PrimExpr {
        if e.kind != .variable { e.locate(span(place)) }
        return e
    }

    func located<S: Stmt>(_ s: S, _ place: TIRToken) -> S {
        s.locate(span(place))
        return s
    }

    /// A variable that is defined at `place`.
    func variable(_ name: String, _ type: IRType, _ place: TIRToken) -> Var {
        let v = Var(name, type: type)
        v.locate(span(place))
        return v
    }

    func failure(
        _ code: String, _ message: String, at place: TIRToken? = nil, expected: String? = nil,
        actual: String? = nil, hint: String? = nil
    ) -> ApusError {
        let t = place ?? token
        return tirTextError(
            code, message, source: source, text: text, line: t.line, column: t.column, expected: expected,
            actual: actual, hint: hint)
    }

    func unexpected(_ expected: String) -> ApusError {
        failure("TIR101", "unexpected \(token.shown)", expected: expected, actual: token.shown)
    }

    func isSign(_ s: String, _ ahead: Int = 0) -> Bool {
        let t = peek(ahead)
        return t.kind == .sign && t.text == s
    }
    func isWord(_ s: String, _ ahead: Int = 0) -> Bool {
        let t = peek(ahead)
        return t.kind == .word && t.text == s
    }
    /// Whether the tokens from `ahead` are `T.name`.
    func isT(_ name: String, _ ahead: Int = 0) -> Bool {
        isWord("T", ahead) && isSign(".", ahead + 1) && isWord(name, ahead + 2)
    }

    func take(_ s: String) -> Bool {
        if !isSign(s) { return false }
        advance()
        return true
    }
    func takeKind(_ kind: TIRToken.Kind) -> Bool {
        if token.kind != kind { return false }
        advance()
        return true
    }
    func takeWord(_ s: String) -> Bool {
        if !isWord(s) { return false }
        advance()
        return true
    }
    func expect(_ s: String) throws {
        if !take(s) { throw unexpected("'\(s)'") }
    }
    func expectWord(_ s: String) throws {
        if !takeWord(s) { throw unexpected("'\(s)'") }
    }
    func expectLine() throws {
        if !takeKind(.newline) { throw unexpected("end of line") }
    }
    /// `T.name(`
    func expectT(_ name: String) throws {
        try expectWord("T")
        try expect(".")
        try expectWord(name)
        try expect("(")
    }
    func end() throws {
        if token.kind != .end { throw unexpected("end of text") }
    }

    func name() throws -> String {
        guard token.kind == .word, !tirReservedWords.contains(token.text) else { throw unexpected("a name") }
        defer { advance() }
        return token.text
    }
    func string() throws -> String {
        guard token.kind == .string else { throw unexpected("a string") }
        defer { advance() }
        return token.text
    }
    /// An integer with an optional sign.
    func integer() throws -> Int {
        let negative = take("-")
        guard token.kind == .int else { throw unexpected("an integer") }
        guard let n = Int((negative ? "-" : "") + token.text) else {
            throw failure("TIR104", "an integer beyond 64 bits")
        }
        advance()
        return n
    }

    /// Runs `body` one level deeper.
    func nested<R>(_ body: () throws -> R) throws -> R {
        depth += 1
        defer { depth -= 1 }
        if depth > TIRParser.maxDepth {
            throw failure("TIR105", "nested too deeply", expected: "at most \(TIRParser.maxDepth) levels")
        }
        return try growingStack { () throws(any Error) -> R in try body() }
    }

    // MARK: Names

    func know(_ variables: [Var], _ buffers: [Buffer]) {
        for v in variables { define(TIRWriter.identifier(v.name), v) }
        for b in buffers { define(TIRWriter.identifier(b.name), b) }
    }

    func define(_ name: String, _ node: Node) {
        log.append((name: name, before: names[name]))
        names[name] = node
    }
    func lookup(_ name: String) -> Node? {
        if let known = names[name] { return known }
        return declaring ? declared.first { $0.name == name }?.variable : nil
    }

    func scope<R>(_ body: () throws -> R) rethrows -> R {
        let mark = log.count
        defer {
            while log.count > mark {
                let (name, before) = log.removeLast()
                names[name] = before
            }
        }
        return try body()
    }

    func unknown(_ name: String, _ place: TIRToken) -> ApusError {
        failure("TIR102", "nothing is called `\(name)` here", at: place)
    }

    /// A buffer known by name.
    func bufferName() throws -> Buffer {
        let place = token
        let n = try name()
        guard let b = lookup(n) as? Buffer else {
            throw lookup(n) == nil ? unknown(n, place) : failure("TIR103", "`\(n)` is no buffer", at: place)
        }
        return b
    }

    // MARK: Types

    /// `T.int32`, `T.Ptr("float32", "local")`
    func type() throws -> IRType {
        try nested {
            let place = token
            try expectWord("T")
            try expect(".")
            guard token.kind == .word else { throw unexpected("a type") }
            let word = token.text
            advance()
            if word == "Ptr" {
                try expect("(")
                let element: IRType
                if token.kind == .string {
                    element = PrimType(try dtype())
                } else {
                    element = try type()
                }
                let scope = take(",") ? try string() : ""
                try expect(")")
                return PointerType(element, storageScope: scope)
            }
            if word == "node" {
                guard let t = try jsonNode() as? IRType else {
                    throw failure("TIR103", "this node is no type", at: place)
                }
                return t
            }
            guard let d = DataType(word), isUsable(d) else {
                throw failure("TIR107", "`\(word)` is no type", at: place)
            }
            return PrimType(d)
        }
    }

    private func isUsable(_ d: DataType) -> Bool {
        if d.lanes == 0 { return false }
        switch d.code {
        case .float: return d.bits == 16 || d.bits == 32 || d.bits == 64
        case .bfloat: return d.bits == 16
        default: return true
        }
    }

    /// `"float32"`
    func dtype(orVoid: Bool = false) throws -> DataType {
        let place = token
        let s = try string()
        guard let d = DataType(s), isUsable(d) || (orVoid && d.isVoid) else {
            throw failure("TIR107", "`\(s.prefix(40))` is no element type", at: place)
        }
        return d
    }

    /// `("json")`
    func jsonNode() throws -> Node {
        try expect("(")
        let place = token
        let json = try string()
        do {
            let node = try loadJSON(json)
            try expect(")")
            return node
        } catch let error as ApusError {
            if error.code.hasPrefix("TIR10") { throw error }
            throw failure("TIR108", "a node that cannot be built: \(error.message)", at: place)
        }
    }

    // MARK: Buffers

    /// `(shape, "dtype", options…)` after the opening bracket and a possible first argument.
    func bufferArguments(_ name: String, _ head: TIRToken, defaultAlignment: Int) throws -> Buffer {
        let outer = (declaring, declared)
        (declaring, declared) = (true, [])
        defer {
            let list = declared
            (declaring, declared) = outer
            for (n, v) in list { define(n, v) }
        }
        let shape = try tuple()
        try expect(",")
        let type = try dtype()
        var strides: [PrimExpr] = []
        var offset: PrimExpr = IntImm(0)
        var data: Var?
        var dataType: IRType = PointerType(PrimType(type))
        var alignment = defaultAlignment
        var offsetFactor = 0
        while take(",") {
            let place = token
            let option = try self.name()
            try expect("=")
            switch option {
            case "strides": strides = try tuple()
            case "elem_offset":
                offset = try expression()
                try checkIndex(offset, place)
            case "scope": dataType = PointerType(PrimType(type), storageScope: try string())
            case "data_type": dataType = try self.type()
            case "data":
                guard let v = try expression() as? Var, v.dtype.isHandle else {
                    throw failure("TIR103", "a buffer's data is a pointer variable", at: place)
                }
                data = v
            case "align":
                alignment = try integer()
                if alignment < 0 { throw failure("TIR104", "a negative alignment", at: place) }
            case "offset_factor":
                offsetFactor = try integer()
                if offsetFactor < 0 { throw failure("TIR104", "a negative offset factor", at: place) }
            default:
                throw failure("TIR107", "a buffer has no option `\(option)`", at: place)
            }
        }
        let place = token
        try expect(")")
        if !strides.isEmpty && strides.count != shape.count {
            throw failure(
                "TIR106", "a buffer needs one stride a dimension", at: place, expected: "\(shape.count)",
                actual: "\(strides.count)")
        }
        return Buffer(
            data: data ?? variable(name, dataType, head), dtype: type, shape: shape, strides: strides,
            elemOffset: offset,
            name: name, alignment: alignment, offsetFactor: offsetFactor)
    }

    func checkIndex(_ e: PrimExpr, _ place: TIRToken) throws {
        guard e.dtype.isInteger, !e.dtype.isBool, e.dtype.isScalar else {
            throw failure("TIR103", "an integer is needed here", at: place, actual: "\(e.dtype)")
        }
    }

    /// `(a, b)`, `(a,)` or `()`: scalar integers.
    func tuple() throws -> [PrimExpr] {
        try expect("(")
        var items: [PrimExpr] = []
        while !take(")") {
            let place = token
            items.append(try expression())
            try checkIndex(items[items.count - 1], place)
            if take(",") { continue }
            try expect(")")
            break
        }
        return items
    }

    // MARK: Functions and modules

    func module() throws -> IRModule {
        if isSign("@") && isWord("T", 1) {
            let (n, f) = try function()
            return IRModule([(global: GlobalVar(n, type: f.checkedType), function: f)])
        }
        try expect("@")
        try expectWord("I")
        try expect(".")
        try expectWord("ir_module")
        try expectLine()
        try expectWord("class")
        _ = try name()
        try expect(":")
        try expectLine()
        if !takeKind(.indent) { throw unexpected("an indented block") }
        var definitions: [(global: GlobalVar, function: BaseFunc)] = []
        var attrs = Attrs.empty
        while !takeKind(.dedent) {
            if takeWord("pass") {
                try expectLine()
            } else if isWord("I") {
                advance()
                try expect(".")
                try expectWord("module_attrs")
                try expect("(")
                attrs = try dictionary()
                try expect(")")
                try expectLine()
            } else {
                let (n, f) = try function()
                definitions.append((global: GlobalVar(n, type: f.checkedType), function: f))
            }
        }
        return IRModule(definitions, attrs: attrs)
    }

    func function() throws -> (name: String, function: PrimFunc) {
        try scope {
            try expect("@")
            try expectWord("T")
            try expect(".")
            try expectWord("prim_func")
            var global: String?
            if take("(") {
                global = try string()
                try expect(")")
            }
            try expectLine()
            try expectWord("def")
            let place = token
            let defName = try name()
            let (params, inline) = try parameters()
            if take("->") { try expectWord("None") }
            try expect(":")
            try expectLine()
            if !takeKind(.indent) { throw unexpected("an indented block") }
            var map = inline
            let attrs = try functionHead(params, &map)
            let body = try statements()
            if !takeKind(.dedent) { throw unexpected("a statement") }
            return (
                global ?? defName,
                PrimFunc(params, bufferMap: map, body: body, attrs: attrs, span: span(place))
            )
        }
    }

    private func parameters() throws -> ([Var], [(param: Var, buffer: Buffer)]) {
        try expect("(")
        var params: [Var?] = []
        var pending: [(index: Int, name: String, place: TIRToken, at: Int)] = []
        while !take(")") {
            let place = token
            let n = try name()
            try expect(":")
            if isT("Buffer") {
                // Read after all plain parameters are known: a shape may name one that stands further right.
                pending.append((index: params.count, name: n, place: place, at: at))
                params.append(nil)
                at += 3
                guard isSign("(") else { throw unexpected("'('") }
                var open = 0
                repeat {
                    if isSign("(") { open += 1 }
                    if isSign(")") { open -= 1 }
                    if token.kind == .end { throw unexpected("')'") }
                    advance()
                } while open > 0
            } else {
                let v = variable(n, try type(), place)
                define(n, v)
                params.append(v)
            }
            if take(",") { continue }
            try expect(")")
            break
        }
        let after = at
        var map: [(param: Var, buffer: Buffer)] = []
        for p in pending {
            at = p.at + 4
            let b = try bufferArguments(p.name, p.place, defaultAlignment: 0)
            define(p.name, b)
            let v = variable("\(p.name)_handle", PrimType(.handle), p.place)
            params[p.index] = v
            map.append((param: v, buffer: b))
        }
        at = after
        return (params.compactMap { $0 }, map)
    }

    private func functionHead(_ params: [Var], _ map: inout [(param: Var, buffer: Buffer)]) throws -> Attrs {
        var attrs = Attrs.empty
        while true {
            let head = token
            if isT("func_attr") {
                try expectT("func_attr")
                attrs = try dictionary()
                try expect(")")
                try expectLine()
            } else if token.kind == .word && isSign("=", 1) && isT("var", 2) {
                let n = try name()
                advance()
                try expectT("var")
                define(n, variable(n, try type(), head))
                try expect(")")
                try expectLine()
            } else if token.kind == .word && isSign("=", 1) && isT("match_buffer", 2) {
                let n = try name()
                advance()
                try expectT("match_buffer")
                let place = token
                guard let p = try expression() as? Var, params.contains(where: { $0 === p }) else {
                    throw failure("TIR108", "match_buffer needs a parameter here", at: place)
                }
                try expect(",")
                let b = try bufferArguments(n, head, defaultAlignment: 0)
                define(n, b)
                map.append((param: p, buffer: b))
                try expectLine()
            } else if isDeclaration("decl_buffer") {
                try declareView()
            } else {
                return attrs
            }
        }
    }

    /// Whether the line is `name = T.what(…)`.
    func isDeclaration(_ what: String) -> Bool { token.kind == .word && isSign("=", 1) && isT(what, 2) }

    /// `B = T.decl_buffer(…)`
    func declareView() throws {
        let head = token
        let n = try name()
        advance()
        try expectT("decl_buffer")
        let b = try bufferArguments(n, head, defaultAlignment: 64)
        define(n, b)
        try expectLine()
    }
}
