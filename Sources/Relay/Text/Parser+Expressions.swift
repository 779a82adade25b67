import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Expressions, calls and attribute values.

extension Parser {
    mutating func expression() throws -> RelayExpr {
        try enter()
        defer { depth -= 1 }
        var result = try primary()
        while true {
            let start = token
            if take(".") {
                guard case .integer(let index, "") = token.kind else {
                    throw unexpected("the index of a field")
                }
                advance()
                let tuple = result
                result = try located(start) { try Relay.TupleGetItem(tuple, index, span: span(start)) }
            } else if take("(") {
                let (args, attrs) = try arguments()
                let callee = result
                result = try located(start) { try Relay.Call(callee, args, attrs, span: span(start)) }
            } else {
                return result
            }
        }
    }

    /// Operands, then attributes; the opening has been read.
    mutating func arguments() throws -> ([RelayExpr], Attrs) {
        var args: [RelayExpr] = []
        var entries: [(key: String, value: AttrValue)] = []
        _ = try list(")") { p in
            let isKey: Bool
            switch p.token.kind {
            case .identifier, .string:
                isKey = p.at + 1 < p.tokens.count && p.tokens[p.at + 1].kind == .symbol("=")
            default: isKey = false
            }
            if isKey {
                entries.append(try p.attribute())
            } else {
                guard entries.isEmpty else { throw p.unexpected("an attribute: operands come first") }
                args.append(try p.expression())
            }
        }
        return (args, Attrs(try checkedKeys(entries)))
    }

    mutating func primary() throws -> RelayExpr {
        let start = token
        switch start.kind {
        case .temporary(let n):
            advance()
            guard let e = temporary(n) else {
                throw failure("RELAY032", "%\(n) is not defined here", at: start)
            }
            return e
        case .local(let name):
            advance()
            guard let e = variable(name) else {
                throw failure("RELAY032", "the variable %\(name) is not defined here", at: start)
            }
            return e
        case .global(let name):
            advance()
            guard let g = globals[name] else {
                throw failure(
                    "RELAY032", "the function @\(name) is not defined, or its type is not known yet",
                    at: start,
                    hint: "a function called before its definition needs `-> type`")
            }
            return g
        case .integer(let value, let suffix):
            advance()
            let types: [String: DataType] = [
                "": .int32, "i8": .int8, "i16": .int16, "i32": .int32, "i64": .int64, "u8": .uint8,
            ]
            return try located(start) { try Relay.scalar(value, types[suffix] ?? .int32) }
        case .float(let digits, let suffix):
            advance()
            let type: DataType = suffix == "f64" ? .float64 : (suffix == "f16" ? .float16 : .float32)
            if type == .float32, let v = Float(digits) {
                return Relay.Constant(NDArray(scalar: v), span: span(start))
            }
            return try located(start) { try Relay.scalar(Double(digits) ?? 0, type) }
        case .symbol("("):
            advance()
            var fields: [RelayExpr] = []
            let comma = try list(")") { p in fields.append(try p.expression()) }
            if fields.count == 1 && !comma { return fields[0] }
            let tuple = Relay.Tuple(fields, span: span(start))
            try located(start) { try Relay.checkComplexity(tuple.checkedType) }
            return tuple
        case .symbol("{"): return try block()
        case .identifier(let word):
            advance()
            return try named(word, start)
        default: throw unexpected("an expression")
        }
    }

    mutating func named(_ word: String, _ start: Token) throws -> RelayExpr {
        switch word {
        case "True", "False": return try Relay.scalar(word == "True" ? 1 : 0, .bool)
        case "meta":
            at -= 1
            guard let e = try metaReference() as? RelayExpr else {
                throw failure(
                    "RELAY035", "the reference is no expression", at: start, expected: "an expression")
            }
            return e
        case "fn":
            let (params, attrs) = try parameters()
            let retType = take("->") ? try type() : nil
            return try functionBody(params, attrs, retType, start)
        case "if":
            try expect("(")
            let condition = try expression()
            try expect(")")
            let thenBranch = try block()
            guard takeWord("else") else { throw unexpected("`else`") }
            let elseBranch = try block()
            return try located(start) {
                try Relay.If.checked(condition, thenBranch, elseBranch, span: span(start))
            }
        case "let": throw failure("RELAY031", "`let` belongs at the start of a line of a block", at: start)
        default:
            guard isSymbol("(") else { throw unexpected("`(` after the operator \(word)") }
            advance()
            let (args, attrs) = try arguments()
            return try located(start) {
                switch (word, args.count) {
                case ("ref", 1):
                    let reference = Relay.RefCreate(args[0], span: span(start))
                    try Relay.checkComplexity(reference.checkedType)
                    return reference
                case ("ref_read", 1): return try Relay.RefRead(args[0], span: span(start))
                case ("ref_write", 2): return try Relay.RefWrite(args[0], args[1], span: span(start))
                default: return try Relay.call(word, args, attrs: attrs, span: span(start))
                }
            }
        }
    }

    // MARK: Attributes

    /// `meta[Key][i]`
    mutating func metaReference() throws -> Node {
        let start = token
        guard takeWord("meta") else { throw unexpected("a reference such as meta[relay.Constant][0]") }
        try expect("[")
        guard case .identifier(let key) = token.kind else { throw unexpected("the kind of node") }
        advance()
        try expect("]")
        try expect("[")
        guard case .integer(let index, "") = token.kind else { throw unexpected("an index") }
        advance()
        try expect("]")
        let table = key == MetaTable.constantKey ? constants : (key == MetaTable.nodeKey ? nodes : [])
        guard table.indices.contains(index), case .node(let node) = table[index] else {
            throw failure(
                "RELAY035", "the metadata has no meta[\(key)][\(index)]", at: start,
                expected: "an index below \(table.count)")
        }
        return node
    }

    /// `name=value`
    mutating func attribute() throws -> (key: String, value: AttrValue) {
        let key: String
        switch token.kind {
        case .identifier(let s), .string(let s): key = s
        default: throw unexpected("an attribute such as axis=1")
        }
        advance()
        try expect("=")
        return (key: key, value: try attributeValue())
    }

    mutating func attributeValue() throws -> AttrValue {
        try enter()
        defer { depth -= 1 }
        let start = token
        switch start.kind {
        case .integer(let v, ""):
            advance()
            return .int(v)
        case .float(let digits, let suffix) where suffix == "f" || suffix == "":
            advance()
            return .float(Double(digits) ?? 0)
        case .string(let s):
            advance()
            return .string(s)
        case .symbol("["): return try attributeList("")
        case .identifier(let word):
            switch word {
            case "meta": return .node(try metaReference())
            case "True", "False", "None":
                advance()
                return word == "None" ? AttrValue.none : .bool(word == "True")
            case "dtype":
                advance()
                try expect("(")
                guard case .string(let s) = token.kind, let d = DataType(s) else {
                    throw unexpected("an element type")
                }
                advance()
                try expect(")")
                return .dtype(d)
            case "floats", "strings", "list":
                advance()
                return try attributeList(word)
            default: throw unexpected("the value of an attribute")
            }
        default: throw unexpected("the value of an attribute")
        }
    }

    mutating func attributeList(_ kind: String) throws -> AttrValue {
        let start = token
        try expect("[")
        var items: [AttrValue] = []
        _ = try list("]") { p in items.append(try p.attributeValue()) }
        if kind == "list" { return .list(items) }
        var ints: [Int] = []
        var floats: [Double] = []
        var strings: [String] = []
        for item in items {
            switch item {
            case .int(let v):
                ints.append(v)
                floats.append(Double(v))
            case .float(let v): floats.append(v)
            case .string(let v): strings.append(v)
            default: break
            }
        }
        if kind == "" && ints.count == items.count { return .ints(ints) }
        if kind != "strings" && floats.count == items.count { return .floats(floats) }
        if kind != "floats" && strings.count == items.count { return .strings(strings) }
        throw failure(
            "RELAY031", "a list of values of several kinds", at: start,
            expected: "integers, numbers or strings",
            hint: "write list[…]")
    }
}
