/// Hybrid script as text, in one layout: what is parsed from it is the same program.
struct HybridPrinter {
    private var lines: [String] = []

    static func text(_ definitions: [HybridDefinition]) -> String {
        var printer = HybridPrinter()
        for (i, d) in definitions.enumerated() {
            if i > 0 { printer.lines.append("") }
            printer.definition(d)
        }
        return printer.lines.joined(separator: "\n") + "\n"
    }

    private mutating func definition(_ d: HybridDefinition) {
        lines.append("def \(d.name)(\(d.parameters.joined(separator: ", "))):")
        if let text = d.documentation { line(1, HybridPrinter.quoted(text)) }
        block(d.body, 1, empty: d.documentation == nil)
    }

    private mutating func line(_ depth: Int, _ text: String) {
        lines.append(String(repeating: "    ", count: depth) + text)
    }

    private mutating func block(_ stmts: [HybridStmt], _ depth: Int, empty: Bool = true) {
        if stmts.isEmpty && empty { line(depth, "pass") }
        for s in stmts { statement(s, depth) }
    }

    private mutating func statement(_ s: HybridStmt, _ depth: Int, keyword: String = "if") {
        func text(_ e: HybridExpr) -> String { HybridPrinter.text(e) }
        switch s.kind {
        case .assign(let target, let value): line(depth, "\(bare(target)) = \(bare(value))")
        case .augment(let target, let op, let value): line(depth, "\(text(target)) \(op)= \(text(value))")
        case .loop(let v, let kind, let arguments, let body):
            line(depth, "for \(v) in \(kind)(\(arguments.map(text).joined(separator: ", "))):")
            block(body, depth + 1)
        case .branch(let condition, let yes, let no):
            line(depth, "\(keyword) \(text(condition)):")
            block(yes, depth + 1)
            if no.count == 1, case .branch = no[0].kind {
                statement(no[0], depth, keyword: "elif")
            } else if !no.isEmpty {
                line(depth, "else:")
                block(no, depth + 1)
            }
        case .repeated(let condition, let body):
            line(depth, "while \(text(condition)):")
            block(body, depth + 1)
        case .assert(let condition, let message):
            line(depth, "assert \(text(condition)), \(HybridPrinter.quoted(message))")
        case .evaluate(let e): line(depth, bare(e))
        case .result(let list):
            line(
                depth,
                list.isEmpty
                    ? "return"
                    : "return \(list.map(text).joined(separator: ", "))\(list.count == 1 && isTuple(list[0]) ? "," : "")"
            )
        case .pass: line(depth, "pass")
        }
    }

    private func isTuple(_ e: HybridExpr) -> Bool {
        if case .tuple = e.kind { return true }
        return false
    }

    /// A tuple that stands alone needs no brackets.
    private func bare(_ e: HybridExpr) -> String {
        if case .tuple(let list) = e.kind, list.count > 1 {
            return list.map { HybridPrinter.text($0) }.joined(separator: ", ")
        }
        return HybridPrinter.text(e)
    }

    static func quoted(_ s: String) -> String {
        var result = "\""
        for c in s.unicodeScalars {
            switch c {
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            case "\\": result += "\\\\"
            case "\"": result += "\\\""
            default: result.unicodeScalars.append(c)
            }
        }
        return result + "\""
    }

    /// The strength of an operator: its level in the parser's table; signs and powers above.
    private static func strength(_ op: String) -> Int {
        op == "**" ? 11 : HybridParser.levels.firstIndex { $0.contains(op) } ?? 0
    }

    /// `e`, in brackets unless it binds at least as strongly as `needed` (-1: a conditional may stand bare).
    static func text(_ e: HybridExpr, _ needed: Int = -1) -> String {
        func wrapped(_ own: Int, _ s: String) -> String { own < needed ? "(\(s))" : s }
        switch e.kind {
        case .int(let v): return wrapped(v < 0 ? 10 : 20, "\(v)")
        case .float(let v): return "\(v)"
        case .bool(let v): return v ? "True" : "False"
        case .string(let s): return quoted(s)
        case .name(let n): return n
        case .attribute(let base, let n): return "\(text(base, 15)).\(n)"
        case .subscripted(let base, let indices):
            return "\(text(base, 15))[\(indices.map { text($0) }.joined(separator: ", "))]"
        case .call(let callee, let arguments):
            return "\(text(callee, 15))(\(arguments.map { text($0) }.joined(separator: ", ")))"
        case .unary("not", let a): return wrapped(2, "not \(text(a, 2))")
        case .unary(let op, let a): return wrapped(10, "\(op)\(text(a, 10))")
        case .binary("**", let a, let b): return wrapped(11, "\(text(a, 12)) ** \(text(b, 10))")
        case .binary(let op, let a, let b):
            let own = strength(op)
            return wrapped(own, "\(text(a, own)) \(op) \(text(b, own + 1))")
        case .compare(let operands, let operators):
            var s = text(operands[0], 4)
            for (op, o) in zip(operators, operands.dropFirst()) { s += " \(op) \(text(o, 4))" }
            return wrapped(3, s)
        case .conditional(let condition, let yes, let no):
            return wrapped(-1, "\(text(yes, 0)) if \(text(condition, 0)) else \(text(no))")
        case .tuple(let list):
            if list.count == 1 { return "(\(text(list[0])),)" }
            return "(\(list.map { text($0) }.joined(separator: ", ")))"
        }
    }
}
