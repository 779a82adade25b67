import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

extension Relay {
    /// A module as text that `parse` reads back to a structurally equal module.
    ///
    /// `def @main(%x: Tensor[(1, 3), float32]) -> … { %0 = nn.relu(%x) /* ty=… */; … }`; constants other than
    /// small scalars are `meta[relay.Constant][i]` with their contents in a `#[metadata]` section at the end.
    /// - Parameters:
    ///   - types: whether calls are followed by their type in a comment.
    ///   - metadata: whether the section is written; without it the text is for reading only.
    public static func text(_ module: IRModule, types: Bool = true, metadata: Bool = true) -> String {
        withLargeStack {
            var meta = MetaTable()
            var parts: [String] = []
            if !module.attrs.isEmpty {
                var printer = TextPrinter(meta: meta, types: types)
                parts.append("#[attrs(" + printer.attributes(module.attrs.entries, typed: false) + ")]\n")
                meta = printer.meta
            }
            for (global, function) in module.definitions {
                var printer = TextPrinter(meta: meta, types: types)
                printer.definition(global, function)
                meta = printer.meta
                parts.append(printer.output)
            }
            var result = "#[version = \"0.0.5\"]\n" + parts.joined(separator: "\n")
            if metadata, let section = meta.section { result += "\n" + section }
            return result
        }
    }

    /// An expression as text; see `text(_: IRModule)`. Free variables are written by name.
    public static func text(_ expr: RelayExpr, types: Bool = true, metadata: Bool = false) -> String {
        withLargeStack {
            var printer = TextPrinter(meta: MetaTable(), types: types)
            printer.expression(expr)
            var result = printer.output
            if metadata, let section = printer.meta.section { result += "\n\n" + section }
            return result
        }
    }
}

/// Nodes that the text refers to by number.
struct MetaTable {
    static let constantKey = "relay.Constant"
    static let nodeKey = "Node"

    private var constants: [AttrValue] = []
    private var nodes: [AttrValue] = []
    private var indexOf: [ObjectIdentifier: Int] = [:]

    mutating func reference(_ node: Node) -> String {
        let isConstant = node is Relay.Constant
        let key = isConstant ? MetaTable.constantKey : MetaTable.nodeKey
        if let known = indexOf[ObjectIdentifier(node)] { return "meta[\(key)][\(known)]" }
        let index = isConstant ? constants.count : nodes.count
        if isConstant { constants.append(.node(node)) } else { nodes.append(.node(node)) }
        indexOf[ObjectIdentifier(node)] = index
        return "meta[\(key)][\(index)]"
    }

    /// The section's text, or nil if nothing is referred to.
    var section: String? {
        if indexOf.isEmpty { return nil }
        let table = Attrs([
            (key: MetaTable.constantKey, value: .list(constants)),
            (key: MetaTable.nodeKey, value: .list(nodes)),
        ])
        return "#[metadata]\n" + saveJSON(table) + "\n"
    }
}

/// Writes one definition or expression; numbering and names are its own.
struct TextPrinter {
    var meta: MetaTable
    let types: Bool
    private(set) var output = ""
    private var tree: Relay.ScopeTree?
    /// What each region prints, in order.
    private var events: [[Event]] = []
    private var inlineDepth: [ObjectIdentifier: Int] = [:]
    private var nameOf: [ObjectIdentifier: String] = [:]
    private var taken: Set<String> = []
    private var suffixes: [String: Int] = [:]
    private var symbolSuffixes: [String: Int] = [:]
    private var symbolNames: [ObjectIdentifier: String] = [:]
    private var takenSymbols: Set<String> = ["floordiv", "floormod", "truncdiv", "truncmod", "min", "max"]
    private var counter = 0
    private var indent = 0

    private enum Event {
        case node(RelayExpr)
        case binding(Relay.Let)
    }

    init(meta: MetaTable, types: Bool) {
        self.meta = meta
        self.types = types
    }

    // MARK: Entry

    mutating func definition(_ global: GlobalVar, _ function: BaseFunc) {
        guard let f = function as? Relay.Function else {
            output += "def @\(TextPrinter.quotedName(global.name)) = \(meta.reference(function));\n"
            return
        }
        prepare(f)
        output += "def @" + TextPrinter.quotedName(global.name)
        functionRest(f)
        output += "\n"
    }

    mutating func expression(_ e: RelayExpr) {
        prepare(e)
        if case .node(let only)? = events[0].last, events[0].count == 1, only === e {
            output += value(e)
        } else if events[0].allSatisfy({ if case .node(let n) = $0 { !needsLine(n) } else { false } }) {
            output += value(e)
        } else {
            block(0)
        }
    }

    private mutating func prepare(_ root: RelayExpr) {
        let tree = Relay.ScopeTree(root, lets: .blocks)
        events = [[Event]](repeating: [], count: tree.parent.count)
        // As `postOrder`, with the place of each binding between its value and its body.
        enum Step { case enter, bind, leave }
        var seen: Set<ObjectIdentifier> = []
        var stack: [(node: RelayExpr, step: Step)] = [(node: root, step: .enter)]
        while let (node, step) = stack.popLast() {
            let id = ObjectIdentifier(node)
            switch step {
            case .enter:
                guard seen.insert(id).inserted else { continue }
                stack.append((node: node, step: .leave))
                if node.exprKind == .let {
                    let l = unsafeDowncast(node, to: Relay.Let.self)
                    stack.append((node: l.body, step: .enter))
                    stack.append((node: l, step: .bind))
                    stack.append((node: l.value, step: .enter))
                } else {
                    for child in Relay.children(of: node).reversed() {
                        stack.append((node: child, step: .enter))
                    }
                }
            case .bind:
                let l = unsafeDowncast(node, to: Relay.Let.self)
                events[tree.opened[id] ?? tree.scope(of: l)].append(.binding(l))
            case .leave:
                if node.exprKind == .tuple || node.exprKind == .tupleGetItem {
                    var deepest = 0
                    for c in Relay.children(of: node) {
                        deepest = max(deepest, inlineDepth[ObjectIdentifier(c)] ?? 0)
                    }
                    inlineDepth[id] = deepest < 4 && tree.uses[id] == 1 ? deepest + 1 : 0
                }
                events[tree.scope(of: node)].append(.node(node))
            }
        }
        self.tree = tree
    }

    // MARK: Regions and lines

    private mutating func newLine() {
        // Deep nesting is not worth quadratic text.
        output += "\n" + String(repeating: "  ", count: min(indent, 40))
    }

    private func needsLine(_ n: RelayExpr) -> Bool {
        switch n.exprKind {
        case .variable, .globalVar, .constant, .op, .primFunc: return false
        case .tuple, .tupleGetItem:
            return (inlineDepth[ObjectIdentifier(n)] ?? 0) == 0
        case .let:
            // One that is its region's result has been printed as a binding.
            return tree?.opened[ObjectIdentifier(n)] != nil
        default: return true
        }
    }

    private mutating func block(_ scope: Int) {
        guard let tree else { return }
        output += "{"
        indent += 1
        let tail = tree.tail[scope]
        for event in events[scope] {
            switch event {
            case .binding(let l):
                newLine()
                var annotation = ""
                if !structuralEqual(l.variable.checkedType, l.value.checkedType) {
                    annotation = ": " + type(l.variable.checkedType)
                }
                let bound = value(l.value)
                output += "let \(variable(l.variable))\(annotation) = \(bound);"
            case .node(let n):
                if n === tail || !needsLine(n) || nameOf[ObjectIdentifier(n)] != nil { continue }
                newLine()
                let name = "%\(counter)"
                counter += 1
                output += name + " = "
                bodyText(n)
                output += ";"
                nameOf[ObjectIdentifier(n)] = name
            }
        }
        newLine()
        if nameOf[ObjectIdentifier(tail)] != nil {
            output += value(tail)
        } else {
            bodyText(tail)
        }
        indent -= 1
        newLine()
        output += "}"
    }

    /// Appends an expression that may hold regions of its own.
    private mutating func bodyText(_ n: RelayExpr) {
        guard let tree else { return }
        let id = ObjectIdentifier(n)
        switch n.exprKind {
        case .function:
            output += "fn "
            functionRest(unsafeDowncast(n, to: Relay.Function.self))
        case .if:
            let f = unsafeDowncast(n, to: Relay.If.self)
            let first = tree.opened[id] ?? 0
            output += "if (\(value(f.condition))) "
            block(first)
            output += " else "
            block(first + 1)
        case .let:
            if let scope = tree.opened[id] { block(scope) }
        default: output += value(n)
        }
    }

    private mutating func functionRest(_ f: Relay.Function) {
        var parts: [String] = []
        for p in f.params { parts.append("\(variable(p)): \(type(p.checkedType))") }
        if !f.attrs.isEmpty { parts.append(attributes(f.attrs.entries, typed: false)) }
        output += "(" + parts.joined(separator: ", ") + ") -> \(type(f.retType)) "
        block(tree?.opened[ObjectIdentifier(f)] ?? 0)
    }

    // MARK: Expressions on one line

    private mutating func value(_ n: RelayExpr) -> String {
        if let name = nameOf[ObjectIdentifier(n)] { return name }
        switch n.exprKind {
        case .variable: return variable(unsafeDowncast(n, to: Relay.Var.self))
        case .globalVar: return "@" + TextPrinter.quotedName(unsafeDowncast(n, to: GlobalVar.self).name)
        case .constant:
            let c = unsafeDowncast(n, to: Relay.Constant.self)
            return TextPrinter.scalarText(c.data) ?? meta.reference(c)
        case .op: return unsafeDowncast(n, to: Op.self).name
        case .tuple:
            let fields = unsafeDowncast(n, to: Relay.Tuple.self).fields
            var parts: [String] = []
            for f in fields { parts.append(value(f)) }
            return "(" + parts.joined(separator: ", ") + (parts.count == 1 ? ",)" : ")")
        case .tupleGetItem:
            let item = unsafeDowncast(n, to: Relay.TupleGetItem.self)
            return value(item.tuple) + ".\(item.index)"
        case .call:
            let call = unsafeDowncast(n, to: Relay.Call.self)
            var parts: [String] = []
            let callee = value(call.op)
            for a in call.args { parts.append(value(a)) }
            var entries = call.attrs.entries
            var typed = false
            if let op = call.op as? Op {
                typed = true
                let fields = op.attrsSchema.fields
                entries = entries.filter { e in
                    fields.first { $0.name == e.key }?.defaultValue != e.value
                }
            }
            if !entries.isEmpty { parts.append(attributes(entries, typed: typed)) }
            let text = callee + "(" + parts.joined(separator: ", ") + ")"
            return types ? text + " /* ty=\(type(call.checkedType)) */" : text
        case .refCreate: return "ref(\(value(unsafeDowncast(n, to: Relay.RefCreate.self).value)))"
        case .refRead: return "ref_read(\(value(unsafeDowncast(n, to: Relay.RefRead.self).ref)))"
        case .refWrite:
            let w = unsafeDowncast(n, to: Relay.RefWrite.self)
            let ref = value(w.ref)
            return "ref_write(\(ref), \(value(w.value)))"
        case .function, .if, .let, .primFunc:
            // Only as the whole of what is printed.
            let saved = output
            output = ""
            bodyText(n)
            let text = output
            output = saved
            return text
        }
    }

    mutating func attributes(_ entries: [(key: String, value: AttrValue)], typed: Bool) -> String {
        var parts: [String] = []
        for e in entries {
            let key = TextPrinter.isIdentifier(e.key) ? e.key : JSON.quoted(e.key)
            parts.append("\(key)=\(attribute(e.value, typed: typed))")
        }
        return parts.joined(separator: ", ")
    }

    /// `typed`: a schema says what an attribute is, so that data types and empty lists need no mark.
    private mutating func attribute(_ v: AttrValue, typed: Bool) -> String {
        switch v {
        case .none: return "None"
        case .int(let x): return "\(x)"
        case .bool(let x): return x ? "True" : "False"
        case .float(let x): return TextPrinter.floatText(x)
        case .string(let x): return JSON.quoted(x)
        case .dtype(let x): return typed ? "\"\(x)\"" : "dtype(\"\(x)\")"
        case .ints(let x): return "[" + x.map { "\($0)" }.joined(separator: ", ") + "]"
        case .floats(let x):
            return (x.isEmpty ? "floats[" : "[") + x.map { TextPrinter.floatText($0) }.joined(separator: ", ")
                + "]"
        case .strings(let x):
            return (x.isEmpty ? "strings[" : "[") + x.map { JSON.quoted($0) }.joined(separator: ", ") + "]"
        case .node(let n): return meta.reference(n)
        case .list(let x):
            var parts: [String] = []
            for e in x { parts.append(attribute(e, typed: false)) }
            return "list[" + parts.joined(separator: ", ") + "]"
        }
    }

    private static func floatText(_ x: Double) -> String {
        if x.isFinite { return "\(x)f" }
        return x.isNaN ? "nanf" : (x < 0 ? "-inff" : "inff")
    }

    /// A finite scalar with its type as a suffix: `1.0f`, `2.5f64`, `3`, `4i64`, `True`; nil for any other
    /// constant.
    private static func scalarText(_ data: NDArray) -> String? {
        guard data.shape.isEmpty, data.device == .cpu else { return nil }
        let d = data.dtype
        let raw = data.data
        switch (d.code, d.bits, d.lanes) {
        case (.float, 32, 1):
            let v = raw.load(as: Float.self)
            return v.isFinite ? "\(v)f" : nil
        case (.float, 64, 1):
            let v = raw.load(as: Double.self)
            return v.isFinite ? "\(v)f64" : nil
        case (.int, 32, 1): return "\(raw.load(as: Int32.self))"
        case (.int, 64, 1): return "\(raw.load(as: Int64.self))i64"
        case (.int, 16, 1): return "\(raw.load(as: Int16.self))i16"
        case (.int, 8, 1): return "\(raw.load(as: Int8.self))i8"
        case (.uint, 8, 1): return "\(raw.load(as: UInt8.self))u8"
        case (.uint, 1, 1):
            let v = raw.load(as: UInt8.self)
            return v == 0 ? "False" : (v == 1 ? "True" : nil)
        default: return nil
        }
    }

    // MARK: Names and types

    static func isIdentifier(_ s: String) -> Bool {
        guard let first = s.utf8.first, first == 95 || (first | 32 >= 97 && first | 32 <= 122) else {
            return false
        }
        return s.utf8.allSatisfy { c in c == 95 || (c | 32 >= 97 && c | 32 <= 122) || (c >= 48 && c <= 57) }
    }

    static func quotedName(_ s: String) -> String { isIdentifier(s) ? s : JSON.quoted(s) }

    private mutating func variable(_ v: Relay.Var) -> String {
        let id = ObjectIdentifier(v)
        if let known = nameOf[id] { return known }
        var name = v.name
        // Where the last search for this name ended: many variables may have one name.
        var n = suffixes[v.name] ?? 1
        while !taken.insert(name).inserted {
            name = "\(v.name)_\(n)"
            n += 1
        }
        suffixes[v.name] = n
        let text = "%" + TextPrinter.quotedName(name)
        nameOf[id] = text
        return text
    }

    private mutating func type(_ t: IRType) -> String {
        switch t {
        case let t as TensorType:
            var dims: [String] = []
            for d in t.shape { dims.append(dimension(d)) }
            let inside = dims.joined(separator: ", ") + (dims.count == 1 ? "," : "")
            return "Tensor[(\(inside)), \(t.dtype)]"
        case let t as TupleType:
            var parts: [String] = []
            for f in t.fields { parts.append(type(f)) }
            return "(" + parts.joined(separator: ", ") + (parts.count == 1 ? ",)" : ")")
        case let t as FuncType:
            var parts: [String] = []
            for a in t.argTypes { parts.append(type(a)) }
            return "fn (\(parts.joined(separator: ", "))) -> \(type(t.retType))"
        case let t as RelayRefType: return "ref(\(type(t.value)))"
        default: return "?"
        }
    }

    private static let functions: [PrimExprKind: String] = [
        .floorDiv: "floordiv", .floorMod: "floormod", .div: "truncdiv", .mod: "truncmod", .min: "min",
        .max: "max",
    ]

    private mutating func dimension(_ d: PrimExpr) -> String {
        if let n = d.asInt { return "\(n)" }
        if let v = d as? ApusTIR.Var {
            if let known = symbolNames[ObjectIdentifier(v)] { return known }
            let base = TextPrinter.isIdentifier(v.name) ? v.name : "n"
            var name = base
            var n = symbolSuffixes[base] ?? 1
            while !takenSymbols.insert(name).inserted {
                name = "\(base)_\(n)"
                n += 1
            }
            symbolSuffixes[base] = n
            symbolNames[ObjectIdentifier(v)] = name
            return name
        }
        if let b = d as? BinaryExpr {
            let x = dimension(b.a)
            let y = dimension(b.b)
            switch d.kind {
            case .add: return "(\(x) + \(y))"
            case .sub: return "(\(x) - \(y))"
            case .mul: return "(\(x) * \(y))"
            default: if let f = TextPrinter.functions[d.kind] { return "\(f)(\(x), \(y))" }
            }
        }
        // What no operator of this room makes.
        return "?"
    }
}
