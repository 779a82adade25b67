import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// Text of loop IR in a notation close to TVMScript (Python's grammar, prefix `T.`); `TIRParser` reads it
/// back.
///
/// Names are unique among the names visible at a place: a variable whose hint is taken gets `_1`, `_2`, …
/// A memory region that no node declares (a view) is declared by `T.decl_buffer` where its data becomes
/// known.
public enum TIRPrinter {
    /// The text of an expression, statement, function, buffer, region or module; the key of any other node.
    /// Statements and functions end with a line break.
    public static func text(_ node: Node) -> String { write(node) }

    /// The text of a function under the given name.
    public static func text(_ function: PrimFunc, name: String) -> String {
        let writer = TIRWriter()
        writer.function(function, name: name, global: nil)
        return writer.out
    }

    private static func write(_ node: Node) -> String {
        let writer = TIRWriter()
        switch node {
        case let e as PrimExpr: writer.expr(e)
        case let s as Stmt: writer.suite(s)
        case let f as PrimFunc: writer.function(f, name: f.globalSymbol ?? "main", global: nil)
        case let m as IRModule: writer.module(m)
        case let b as Buffer:
            writer.defineNames(of: b)
            writer.out += "\(writer.name(b)) = T.Buffer"
            writer.bufferArguments(b, defaultAlignment: 0)
        case let r as BufferRegion: writer.region(r)
        case let i as IterVar: writer.iterVar(i)
        case let a as Attrs: writer.dictionary(a)
        default: return node.schema.key
        }
        return writer.out
    }
}

/// Words that cannot be names in the text.
let tirReservedWords: Set<String> = [
    "T", "I", "and", "or", "not", "if", "else", "for", "while", "with", "as", "in", "def", "class", "assert",
    "pass",
    "lambda", "True", "False", "None", "range", "return",
]

/// Functions of the notation itself; an intrinsic of the same name is written `T.op("tir.name", …)`.
let tirNotationWords: Set<String> = [
    "Buffer", "Ptr", "handle", "Cast", "Select", "Let", "Ramp", "Broadcast", "Shuffle", "Reduce", "min",
    "max",
    "truncdiv", "truncmod", "op", "call_global", "expr", "node", "dtype", "ints", "floats", "strings", "list",
    "float",
    "range", "iter_var", "var", "seq", "attr", "evaluate", "allocate", "block", "raw_block", "let",
]

/// The type of a call as far as its arguments tell it; nil where they do not. Printer and parser agree on it.
func inferredCallType(_ name: String, _ args: [PrimExpr]) -> DataType? {
    guard let first = args.first else { return nil }
    if Intrinsics.unaryFloat.contains(name) || Intrinsics.binaryFloat.contains(name) { return first.dtype }
    if Intrinsics.predicates.contains(name) { return .bool.with(lanes: Int(first.dtype.lanes)) }
    if Intrinsics.bitwise.contains(where: { $0.name == name }) { return first.dtype }
    switch name {
    case "fma", "abs", "likely", "ret", "q_multiply_shift": return first.dtype
    case "isnullptr": return .bool
    case "if_then_else": return args.count > 1 ? args[1].dtype : nil
    case "address_of": return .handle
    default: return nil
    }
}

/// One printing: the text so far, the names in use, what each name stands for.
final class TIRWriter {
    var out = ""
    private var indent = 0
    private var names: [ObjectIdentifier: String] = [:]
    private var visible: Set<String> = []
    /// Objects named since the scopes opened, for undoing.
    private var log: [(id: ObjectIdentifier, name: String, base: String, number: Int)] = []
    /// For a base name, the first number that may be free: all smaller ones are in use.
    private var firstFree: [String: Int] = [:]
    /// The buffer through which a data variable is written (`A.data`).
    private var dataOwner: [ObjectIdentifier: Buffer] = [:]
    /// Buffers that nothing declares, by their data variable; empty outside functions.
    private var views: [ObjectIdentifier: [Buffer]] = [:]
    /// Loops by their variable.
    var loops: [ObjectIdentifier: For] = [:]
    /// Statements to underline, with what is said about each.
    var marks: [ObjectIdentifier: String] = [:]
    /// Variables that a buffer defines and whose type, not being the index type, is still to be written.
    var typedSymbols: Set<ObjectIdentifier> = []

    // MARK: Lines and scopes

    func line(_ body: () -> Void) {
        out += String(repeating: "    ", count: indent)
        body()
        out += "\n"
    }
    func line(_ text: String) { line { out += text } }

    /// Levels that are indented; what lies deeper is put between `T.indent()` and `T.dedent()`, where indentation starts
    /// at 0 again, so that the text of deep nesting does not grow with the square of its depth. (Python itself refuses
    /// more than 100 levels.)
    static let indentedLevels = 40

    func nested(_ body: () -> Void) {
        if indent < TIRWriter.indentedLevels {
            indent += 1
            growingStack { body() }
            indent -= 1
        } else {
            line("T.indent()")
            let outside = indent
            indent = 0
            growingStack { body() }
            line("T.dedent()")
            indent = outside
        }
    }

    func scope(_ body: () -> Void) {
        let mark = log.count
        body()
        while log.count > mark {
            let (id, name, base, number) = log.removeLast()
            names[id] = nil
            dataOwner[id] = nil
            visible.remove(name)
            if let first = firstFree[base], number < first { firstFree[base] = number }
        }
    }

    // MARK: Names

    static func identifier(_ hint: String) -> String {
        var text = ""
        for u in hint.unicodeScalars {
            let plain = (u >= "a" && u <= "z") || (u >= "A" && u <= "Z") || (u >= "0" && u <= "9") || u == "_"
            text.unicodeScalars.append(plain ? u : "_")
        }
        if text.isEmpty { text = "v" }
        if let first = text.unicodeScalars.first, first >= "0" && first <= "9" { text = "_" + text }
        return tirReservedWords.contains(text) ? text + "_" : text
    }

    @discardableResult
    func define(_ node: Node, _ hint: String, undo: Bool = true) -> String {
        let base = TIRWriter.identifier(hint)
        var n = firstFree[base] ?? 0
        var name = n == 0 ? base : "\(base)_\(n)"
        while visible.contains(name) {
            n += 1
            name = "\(base)_\(n)"
        }
        visible.insert(name)
        firstFree[base] = n + 1
        names[ObjectIdentifier(node)] = name
        if undo { log.append((id: ObjectIdentifier(node), name: name, base: base, number: n)) }
        return name
    }

    func isNamed(_ node: Node) -> Bool { names[ObjectIdentifier(node)] != nil }

    func name(_ v: Var) -> String {
        if let known = names[ObjectIdentifier(v)] { return known }
        if let owner = dataOwner[ObjectIdentifier(v)] { return "\(name(owner)).data" }
        return define(v, v.name, undo: false)
    }

    func name(_ b: Buffer) -> String {
        if let known = names[ObjectIdentifier(b)] { return known }
        let name = define(b, b.name, undo: false)
        if dataOwner[ObjectIdentifier(b.data)] == nil { dataOwner[ObjectIdentifier(b.data)] = b }
        return name
    }

    /// Names a declared buffer; its data variable, if not yet known, is then `name.data`. Variables of its
    /// shape, strides and offset that are not known are defined by it.
    func defineNames(of b: Buffer) {
        define(b, b.name)
        for e in b.shape + b.strides + [b.elemOffset] {
            // (Not what is bound within the expression.)
            for v in undefinedVariables(of: e) where !isNamed(v) && dataOwner[ObjectIdentifier(v)] == nil {
                define(v, v.name)
                if v.dtype != .index { typedSymbols.insert(ObjectIdentifier(v)) }
            }
        }
    }

    /// To be called after the declaration's text: from here on `b.data` is known.
    private func own(_ b: Buffer) {
        let id = ObjectIdentifier(b.data)
        if names[id] != nil || dataOwner[id] != nil { return }
        dataOwner[id] = b
        log.append((id: id, name: "", base: "", number: .max))
    }

    func declareViews(of data: Var) {
        // Once a scope: memory that is defined several times has its views each time.
        for b in views[ObjectIdentifier(data)] ?? [] where !isNamed(b) {
            declaration(b, "T.decl_buffer", defaultAlignment: 64)
        }
    }

    /// `name = function(shape, dtype, …)` on a line, then the views of its memory.
    func declaration(_ b: Buffer, _ function: String, defaultAlignment: Int, prefix: () -> Void = {}) {
        defineNames(of: b)
        line {
            out += "\(name(b)) = \(function)"
            bufferArguments(b, defaultAlignment: defaultAlignment, prefix: prefix)
        }
        own(b)
        declareViews(of: b.data)
    }

    /// `((n, 4), "float32", scope="local", …)`
    func bufferArguments(_ b: Buffer, defaultAlignment: Int, prefix: () -> Void = {}) {
        out += "("
        prefix()
        tuple(b.shape)
        out += ", \"\(b.dtype)\""
        if !b.strides.isEmpty {
            out += ", strides="
            tuple(b.strides)
        }
        if !(b.elemOffset.asInt == 0 && b.elemOffset.dtype == .index) {
            out += ", elem_offset="
            expr(b.elemOffset)
        }
        let id = ObjectIdentifier(b.data)
        if names[id] != nil || dataOwner[id] != nil {
            out += ", data=\(name(b.data))"
        } else if let p = b.data.type as? PointerType, (p.element as? PrimType)?.dtype == b.dtype {
            if !p.storageScope.isEmpty { out += ", scope=\(JSON.quoted(p.storageScope))" }
        } else {
            out += ", data_type="
            type(b.data.type)
        }
        if b.alignment != defaultAlignment { out += ", align=\(b.alignment)" }
        if b.offsetFactor != 0 { out += ", offset_factor=\(b.offsetFactor)" }
        out += ")"
    }

    // MARK: Functions and modules

    func function(_ f: PrimFunc, name: String, global: String?) {
        let free = undefinedNodes(of: f)
        scope {
            views = [:]
            for b in free.buffers { views[ObjectIdentifier(b.data), default: []].append(b) }
            var inline = true
            var mapped: [ObjectIdentifier: Buffer] = [:]
            var position = -1
            for (param, buffer) in f.bufferMap {
                let at = f.params.firstIndex { $0 === param } ?? -1
                let plain =
                    (param.type as? PrimType)?.dtype == .handle
                    && !free.used.contains(ObjectIdentifier(param))
                if at <= position || !plain { inline = false }
                position = at
                mapped[ObjectIdentifier(param)] = buffer
            }
            if !inline { mapped = [:] }
            for p in f.params where mapped[ObjectIdentifier(p)] == nil { define(p, p.name) }
            for v in free.symbols { define(v, v.name) }
            if inline { for (_, b) in f.bufferMap { defineNames(of: b) } }
            if let global {
                line("@T.prim_func(\(JSON.quoted(global)))")
            } else {
                line("@T.prim_func")
            }
            line {
                out += "def \(TIRWriter.identifier(name))("
                for (i, p) in f.params.enumerated() {
                    if i > 0 { out += ", " }
                    if let b = mapped[ObjectIdentifier(p)] {
                        out += "\(self.name(b)): T.Buffer"
                        bufferArguments(b, defaultAlignment: 0)
                        own(b)
                    } else {
                        out += "\(self.name(p)): "
                        type(p.type)
                    }
                }
                out += "):"
            }
            nested {
                for v in free.symbols {
                    line {
                        out += "\(self.name(v)) = T.var("
                        type(v.type)
                        out += ")"
                    }
                }
                if !inline {
                    for (p, b) in f.bufferMap {
                        declaration(b, "T.match_buffer", defaultAlignment: 0) { out += "\(self.name(p)), " }
                    }
                }
                if !f.attrs.isEmpty {
                    line {
                        out += "T.func_attr("
                        dictionary(f.attrs)
                        out += ")"
                    }
                }
                for p in f.params { declareViews(of: p) }
                for (_, b) in f.bufferMap { declareViews(of: b.data) }
                for b in free.buffers where !free.dataDefined.contains(ObjectIdentifier(b.data)) {
                    declareViews(of: b.data)
                }
                suite(f.body)
            }
        }
    }

    func module(_ m: IRModule) {
        line("@I.ir_module")
        line("class Module:")
        nested {
            if !m.attrs.isEmpty {
                line {
                    out += "I.module_attrs("
                    dictionary(m.attrs)
                    out += ")"
                }
            }
            if m.globals.isEmpty && m.attrs.isEmpty { line("pass") }
            for (i, (global, function)) in m.definitions.enumerated() {
                if i > 0 { out += "\n" }
                if let f = function as? PrimFunc {
                    let plain = TIRWriter.identifier(global.name)
                    self.function(f, name: plain, global: plain == global.name ? nil : global.name)
                } else {
                    line("# @\(global.name): a function of the graph IR")
                }
            }
        }
    }

    // MARK: Types and attributes

    func type(_ t: IRType) {
        switch t {
        case let t as PrimType: out += "T.\(t.dtype)"
        case let t as PointerType:
            out += "T.Ptr("
            if let p = t.element as? PrimType { out += "\"\(p.dtype)\"" } else { type(t.element) }
            if !t.storageScope.isEmpty { out += ", \(JSON.quoted(t.storageScope))" }
            out += ")"
        default: out += "T.node(\(JSON.quoted(saveJSON(t))))"
        }
    }

    func dictionary(_ attrs: Attrs) {
        out += "{"
        for (i, e) in attrs.entries.enumerated() {
            if i > 0 { out += ", " }
            out += "\(JSON.quoted(e.key)): "
            value(e.value)
        }
        out += "}"
    }

    private func list<E>(_ items: [E], _ each: (E) -> Void) {
        out += "["
        for (i, e) in items.enumerated() {
            if i > 0 { out += ", " }
            each(e)
        }
        out += "]"
    }

    static func float(_ v: Double) -> String {
        if v.isNaN {
            return v.bitPattern == Double.nan.bitPattern
                ? "\"nan\"" : "\"nan:\(String(v.bitPattern, radix: 16))\""
        }
        if v.isInfinite { return v < 0 ? "\"-inf\"" : "\"inf\"" }
        return "\(v)"
    }

    func value(_ v: AttrValue) {
        switch v {
        case .none: out += "None"
        case .int(let x): out += "\(x)"
        case .float(let x): out += x.isFinite ? "\(x)" : "T.float(\(TIRWriter.float(x)))"
        case .bool(let x): out += x ? "True" : "False"
        case .string(let x): out += JSON.quoted(x)
        case .dtype(let x): out += "T.dtype(\"\(x)\")"
        case .ints(let x): if x.isEmpty { out += "T.ints([])" } else { list(x) { out += "\($0)" } }
        case .floats(let x): if x.isEmpty { out += "T.floats([])" } else { list(x) { value(.float($0)) } }
        case .strings(let x):
            if x.isEmpty { out += "T.strings([])" } else { list(x) { out += JSON.quoted($0) } }
        case .list(let x):
            out += "T.list("
            list(x) { value($0) }
            out += ")"
        case .node(let n):
            if let e = n as? PrimExpr {
                out += "T.expr("
                expr(e)
                out += ")"
            } else {
                out += "T.node(\(JSON.quoted(saveJSON(n))))"
            }
        }
    }
}
