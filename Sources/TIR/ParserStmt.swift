import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

extension TIRTextParser {
    /// An indented body after a colon, in a scope of its own.
    private func suite() throws -> Stmt { sequence(try indentedList()) }

    private func indentedList() throws -> [Stmt] {
        try nested {
            try expect(":")
            try expectLine()
            if !takeKind(.indent) { throw unexpected("an indented block") }
            return try scope {
                let list = try statementList()
                if !takeKind(.dedent) { throw unexpected("a statement") }
                return list
            }
        }
    }

    private func sequence(_ list: [Stmt]) -> Stmt {
        if list.count == 1 { return list[0] }
        let s = SeqStmt(list)
        s.locate(list.first?.span)
        return s
    }

    /// The statements up to the end of the block, as one.
    func statements() throws -> Stmt { sequence(try statementList()) }

    private func statementList() throws -> [Stmt] {
        // A declaration takes the rest of the block as its body; these are closed from the last to the first.
        var open: [(before: [Stmt], wrap: (Stmt) -> Stmt)] = []
        var list: [Stmt] = []
        while token.kind != .dedent && token.kind != .end {
            if let wrap = try declaration() {
                open.append((before: list, wrap: wrap))
                list = []
            } else if let s = try statement() {
                list.append(s)
            }
        }
        while let (before, wrap) = open.popLast() { list = before + [wrap(sequence(list))] }
        return list
    }

    /// A statement whose body is the rest of the block, or nil if the next is none.
    private func declaration() throws -> ((Stmt) -> Stmt)? {
        let head = token
        if isT("attr") {
            let (node, key, value) = try attrHead()
            try expectLine()
            return { self.located(AttrStmt(node, key, value, $0), head) }
        }
        guard token.kind == .word, !tirReservedWords.contains(token.text) else { return nil }
        if isSign(":", 1) || isSign("=", 1) {
            if isSign("=", 1) && isT("allocate", 2) {
                let n = try name()
                advance()
                try expectT("allocate")
                let b = try bufferArguments(n, head, defaultAlignment: 64)
                define(n, b)
                try expectLine()
                return { self.located(Allocate(b, $0), head) }
            }
            if isDeclaration("decl_buffer") { return nil }
            let n = try name()
            let t = take(":") ? try type() : nil
            try expect("=")
            let value = try expression()
            try expectLine()
            let v = variable(n, t ?? PrimType(value.dtype), head)
            define(n, v)
            return { self.located(LetStmt(v, value, $0), head) }
        }
        return nil
    }

    private func attrHead() throws -> (Node, String, PrimExpr) {
        try expectT("attr")
        let node: Node
        if isT("iter_var") {
            node = try iterVar()
        } else if isT("node") {
            at += 3
            node = try jsonNode()
        } else if token.kind == .word, isSign(",", 1), let b = lookup(token.text) as? Buffer {
            advance()
            node = b
        } else {
            node = try expression()
        }
        try expect(",")
        let key = try string()
        try expect(",")
        let value = try expression()
        try expect(")")
        return (node, key, value)
    }

    /// One statement; nil for `pass` and declarations that make no node.
    private func statement() throws -> Stmt? {
        let head = token
        return try plainStatement().map { located($0, head) }
    }

    private func plainStatement() throws -> Stmt? {
        if isDeclaration("decl_buffer") {
            try declareView()
            return nil
        }
        guard token.kind == .word else { throw unexpected("a statement") }
        switch token.text {
        case "pass":
            advance()
            try expectLine()
            return nil
        case "for": return try loop()
        case "while":
            advance()
            let c = try condition()
            return While(c, try suite())
        case "if":
            advance()
            let c = try condition()
            let a = try suite()
            if takeWord("else") { return IfThenElse(c, a, try suite()) }
            return IfThenElse(c, a)
        case "assert":
            advance()
            let c = try condition()
            try expect(",")
            var code = "RT100"
            let message: String
            if take("(") {
                code = try string()
                try expect(",")
                message = try string()
                try expect(")")
            } else {
                message = try string()
            }
            try expectLine()
            return AssertStmt(c, code: code, message)
        case "with": return try with()
        case "T":
            try expectT("evaluate")
            let e = try expression()
            try expect(")")
            try expectLine()
            return Evaluate(e)
        default: return try store()
        }
    }

    private func condition() throws -> PrimExpr {
        let place = token
        let c = try expression()
        guard c.dtype == .bool else {
            throw failure(
                "TIR103", "a condition is needed here", at: place, expected: "bool", actual: "\(c.dtype)")
        }
        return c
    }

    private func store() throws -> Stmt {
        let b = try bufferName()
        let list = try indices(of: b)
        let place = token
        try expect("=")
        var value = try expression()
        let lanes = Int(list.last?.dtype.lanes ?? 1) * Int(b.dtype.lanes)
        let type = b.dtype.with(lanes: lanes)
        if value.dtype != type, value.kind == .intImm, value.dtype == .index, type.isFloat || type.isInteger,
            let v = value.asInt, type.isFloat || IntImm.fits(v, type.element)
        {
            value = const(v, type)
        }
        guard value.dtype == type else {
            throw failure(
                "TIR103", "the value does not fit `\(b.name)`", at: place, expected: "\(type)",
                actual: "\(value.dtype)")
        }
        try expectLine()
        return BufferStore(b, value, list)
    }

    // MARK: Loops

    private func loop() throws -> Stmt {
        let start = token
        advance()
        var heads: [(name: String, place: TIRToken)] = []
        repeat {
            let place = token
            heads.append((name: try name(), place: place))
        } while take(",")
        try expectWord("in")
        let place = token
        return try scope {
            if isT("grid") {
                try expectT("grid")
                var extents: [PrimExpr] = []
                repeat {
                    let p = token
                    extents.append(try expression())
                    try checkIndex(extents[extents.count - 1], p)
                } while take(",")
                try expect(")")
                guard extents.count == heads.count else {
                    throw failure(
                        "TIR106", "one variable an extent", at: place, expected: "\(extents.count)",
                        actual: "\(heads.count)")
                }
                var vars: [(Var, IRRange)] = []
                for (head, e) in zip(heads, extents) {
                    let r = IRRange(extent: e)
                    vars.append((bind(head.name, nil, r, head.place), r))
                }
                var body = try suite()
                for (v, r) in vars.reversed() {
                    body = located(For(v, r.min, r.extent, body: body), start)
                }
                return body
            }
            guard heads.count == 1 else {
                throw failure("TIR106", "only T.grid has several variables", at: place)
            }
            return try singleLoop(heads[0].name, heads[0].place, place)
        }
    }

    private func bind(_ n: String, _ type: IRType?, _ r: IRRange, _ place: TIRToken) -> Var {
        let v = variable(n, type ?? PrimType(r.extent.dtype), place)
        define(n, v)
        loops[ObjectIdentifier(v)] = r
        return v
    }

    private func singleLoop(_ n: String, _ head: TIRToken, _ place: TIRToken) throws -> Stmt {
        var kind = ForKind.serial
        if !takeWord("range") {
            try expectWord("T")
            try expect(".")
            let kinds: [String: ForKind] = [
                "serial": .serial, "parallel": .parallel, "vectorized": .vectorized, "unroll": .unrolled,
                "thread_binding": .threadBinding,
            ]
            guard token.kind == .word, let k = kinds[token.text] else {
                throw failure(
                    "TIR107", "no such kind of loop", expected: kinds.keys.sorted().joined(separator: ", "))
            }
            kind = k
            advance()
        }
        try expect("(")
        var r: IRRange
        let p = token
        if isT("range") {
            r = try range()
        } else {
            let first = try expression()
            if isSign(",") && !(peek(1).kind == .word && isSign("=", 2)) {
                advance()
                r = try range(first, try expression(), p)
            } else {
                try checkIndex(first, p)
                r = IRRange(extent: first)
            }
        }
        // What may name the loop variable, which is not known yet, is read once it is.
        var annotationsAt: Int?
        var type: IRType?
        var tag: String?
        var threadAt: Int?
        while take(",") {
            let option = try name()
            try expect("=")
            switch option {
            case "annotations":
                annotationsAt = at
                try skipBrackets("{", "}")
            case "var_type": type = try self.type()
            case "thread":
                if token.kind == .string {
                    tag = try string()
                } else {
                    threadAt = at
                    guard isT("iter_var"), isSign("(", 3) else { throw unexpected("T.iter_var") }
                    at += 3
                    try skipBrackets("(", ")")
                }
            default: throw failure("TIR107", "a loop has no option `\(option)`", at: place)
            }
        }
        try expect(")")
        let v = bind(n, type, r, head)
        var thread: IterVar?
        if let tag { thread = IterVar(r, Var(tag, dtype: r.extent.dtype), .threadIndex, threadTag: tag) }
        let after = at
        if let threadAt {
            at = threadAt
            thread = try iterVar()
        }
        var annotations = Attrs.empty
        if let annotationsAt {
            at = annotationsAt
            annotations = try dictionary()
        }
        at = after
        return For(
            v, r.min, r.extent, kind, body: try suite(), threadBinding: thread, annotations: annotations)
    }

    /// Skips what stands in brackets.
    private func skipBrackets(_ left: String, _ right: String) throws {
        guard isSign(left) else { throw unexpected("'\(left)'") }
        var open = 0
        repeat {
            if isSign(left) { open += 1 }
            if isSign(right) { open -= 1 }
            if token.kind == .end { throw unexpected("'\(right)'") }
            advance()
        } while open > 0
    }

    // MARK: with

    private func with() throws -> Stmt {
        let start = token
        advance()
        let place = token
        if isT("seq") {
            try expectT("seq")
            try expect(")")
            return SeqStmt(try indentedList())
        }
        if isT("allocate") {
            try expectT("allocate")
            try expect(")")
            return try suite()
        }
        if isT("attr") {
            return try scope {
                let (node, key, value) = try attrHead()
                return AttrStmt(node, key, value, try suite())
            }
        }
        if isT("let") {
            try expectT("let")
            let head = token
            let n = try name()
            try expect(":")
            let t = try type()
            try expect(",")
            let value = try expression()
            try expect(")")
            return try scope {
                let v = variable(n, t, head)
                define(n, v)
                return LetStmt(v, value, try suite())
            }
        }
        if isT("block") || isT("raw_block") {
            let realize = isT("block")
            at += 3
            try expect("(")
            let n = try string()
            try expect(")")
            return try nested { try scope { try block(n, realize, start) } }
        }
        throw failure("TIR107", "unknown `with` statement", at: place)
    }

    // MARK: Blocks

    /// Whether the line is `… = T.axis.…`.
    private func isAxis() -> Bool {
        guard token.kind == .word else { return false }
        var i = at
        while i < tokens.count, tokens[i].kind != .newline, tokens[i].kind != .end {
            if tokens[i].kind == .sign && tokens[i].text == "=" { return isT("axis", i - at + 1) }
            i += 1
        }
        return false
    }

    private func block(_ blockName: String, _ realize: Bool, _ place: TIRToken) throws -> Stmt {
        try expect(":")
        try expectLine()
        if !takeKind(.indent) { throw unexpected("an indented block") }
        var iterVars: [IterVar] = []
        var values: [PrimExpr] = []
        var predicate: PrimExpr = IntImm(1, dtype: .bool)
        var reads: [BufferRegion] = []
        var writes: [BufferRegion] = []
        var allocs: [Buffer] = []
        var matches: [MatchBufferRegion] = []
        var attrs = Attrs.empty
        var initial: Stmt?
        header: while true {
            let head = token
            if isWord("T") && isSign(".", 1) {
                switch peek(2).text {
                case "where":
                    try expectT("where")
                    predicate = try condition()
                    try expect(")")
                case "reads", "writes":
                    let isRead = peek(2).text == "reads"
                    at += 3
                    try expect("(")
                    while !take(")") {
                        let r = try region()
                        if isRead { reads.append(r) } else { writes.append(r) }
                        if take(",") { continue }
                        try expect(")")
                        break
                    }
                case "block_attr":
                    try expectT("block_attr")
                    attrs = try dictionary()
                    try expect(")")
                default: break header
                }
                try expectLine()
            } else if isAxis() {
                try axis(&iterVars, &values, realize)
                try expectLine()
            } else if isDeclaration("alloc_buffer") {
                let n = try name()
                advance()
                try expectT("alloc_buffer")
                let b = try bufferArguments(n, head, defaultAlignment: 64)
                define(n, b)
                allocs.append(b)
                try expectLine()
            } else if isDeclaration("match_buffer") {
                let n = try name()
                advance()
                try expectT("match_buffer")
                let source = try region()
                try expect(",")
                let b = try bufferArguments(n, head, defaultAlignment: 64)
                define(n, b)
                matches.append(MatchBufferRegion(b, source))
                try expectLine()
            } else if isDeclaration("decl_buffer") {
                try declareView()
            } else if isWord("with") && isT("init", 1) && initial == nil {
                advance()
                try expectT("init")
                try expect(")")
                initial = try suite()
            } else {
                break
            }
        }
        let body = sequence(try statementList())
        if !takeKind(.dedent) { throw unexpected("a statement") }
        let block = Block(
            blockName, iterVars: iterVars, reads: reads, writes: writes, body: body, initial: initial,
            allocBuffers: allocs, matchBuffers: matches, annotations: attrs)
        block.locate(span(place))
        return realize ? BlockRealize(values, predicate: predicate, block) : block
    }

    private func axis(_ iterVars: inout [IterVar], _ values: inout [PrimExpr], _ realize: Bool) throws {
        var heads: [(name: String, place: TIRToken)] = []
        let place = token
        repeat {
            let place = token
            heads.append((name: try name(), place: place))
        } while take(",")
        let t = take(":") ? try type() : nil
        try expect("=")
        at += 3
        try expect(".")
        guard token.kind == .word else { throw unexpected("a kind of axis") }
        let kind = token.text
        advance()
        try expect("(")
        if kind == "remap" {
            let kinds = Array(try string().utf8)
            try expect(",")
            let list = try list()
            try expect(")")
            guard realize, t == nil, kinds.count == heads.count, list.count == heads.count else {
                throw failure("TIR106", "remap needs one kind and one loop a variable", at: place)
            }
            for (i, head) in heads.enumerated() {
                guard let dom = loops[ObjectIdentifier(list[i])],
                    kinds[i] == UInt8(ascii: "S") || kinds[i] == UInt8(ascii: "R")
                else { throw failure("TIR108", "remap follows loop variables, by S or R", at: place) }
                let v = variable(head.name, PrimType(dom.extent.dtype), head.place)
                iterVars.append(IterVar(dom, v, kinds[i] == UInt8(ascii: "R") ? .commReduce : .dataParallel))
                values.append(list[i])
            }
        } else {
            guard heads.count == 1, let iterType = IterVarType(rawValue: kind) else {
                throw failure("TIR107", "no such axis", at: place, actual: kind)
            }
            let dom = try range()
            if realize {
                try expect(",")
                let value = try expression()
                try checkIndex(value, place)
                values.append(value)
            }
            var tag = ""
            if take(",") {
                try expectWord("thread")
                try expect("=")
                tag = try string()
            }
            try expect(")")
            let v = variable(heads[0].name, t ?? PrimType(dom.extent.dtype), heads[0].place)
            iterVars.append(IterVar(dom, v, iterType, threadTag: tag))
        }
        for (head, i) in zip(heads, iterVars.suffix(heads.count)) { define(head.name, i.variable) }
    }

    // MARK: Attributes

    /// `{"key": value, …}`
    func dictionary() throws -> Attrs {
        try expect("{")
        var entries: [(key: String, value: AttrValue)] = []
        var known: Set<String> = []
        while !take("}") {
            let place = token
            let key = try string()
            if !known.insert(key).inserted { throw failure("TIR108", "a key given twice", at: place) }
            try expect(":")
            entries.append((key: key, value: try attrValue()))
            if take(",") { continue }
            try expect("}")
            break
        }
        return Attrs(entries)
    }

    private func attrValue() throws -> AttrValue {
        try nested {
            if takeWord("None") { return .none }
            if takeWord("True") { return .bool(true) }
            if takeWord("False") { return .bool(false) }
            if token.kind == .string { return .string(try string()) }
            if isSign("[") { return try attrList() }
            if token.kind == .float || (isSign("-") && peek(1).kind == .float) {
                return .float(try float(single: false))
            }
            if token.kind == .int || isSign("-") { return .int(try integer()) }
            let place = token
            try expectWord("T")
            try expect(".")
            guard token.kind == .word else { throw unexpected("a value") }
            let word = token.text
            advance()
            if word == "node" { return .node(try jsonNode()) }
            try expect("(")
            let value: AttrValue
            switch word {
            case "float": value = .float(try float(single: false))
            case "dtype": value = .dtype(try dtype(orVoid: true))
            case "expr": value = .node(try expression())
            case "ints", "floats", "strings", "list":
                let items = try attrItems()
                if word != "list" && !items.isEmpty {
                    throw failure("TIR108", "only the empty list needs this", at: place)
                }
                switch word {
                case "ints": value = .ints([])
                case "floats": value = .floats([])
                case "strings": value = .strings([])
                default: value = .list(items)
                }
            default: throw failure("TIR107", "no such value", at: place, actual: word)
            }
            try expect(")")
            return value
        }
    }

    private func attrItems() throws -> [AttrValue] {
        try expect("[")
        var items: [AttrValue] = []
        while !take("]") {
            items.append(try attrValue())
            if take(",") { continue }
            try expect("]")
            break
        }
        return items
    }

    /// A list whose items are all integers, all floats or all strings.
    private func attrList() throws -> AttrValue {
        let place = token
        let items = try attrItems()
        var ints: [Int] = []
        var floats: [Double] = []
        var strings: [String] = []
        for i in items {
            switch i {
            case .int(let v): ints.append(v)
            case .float(let v): floats.append(v)
            case .string(let v): strings.append(v)
            default: break
            }
        }
        if items.isEmpty { return .list([]) }
        if ints.count == items.count { return .ints(ints) }
        if floats.count == items.count { return .floats(floats) }
        if strings.count == items.count { return .strings(strings) }
        throw failure(
            "TIR108", "a list of one kind of value is needed", at: place, hint: "write T.list([…])")
    }
}
