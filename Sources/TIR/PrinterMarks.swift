import ApusIR
import ApusNode
import ApusSupport

extension TIRPrinter {
    /// The text of a function in which some statements are underlined: below the line on which a marked loop or block
    /// begins, `^^^` under its name, and the note behind it. Such a text is for reading; it does not parse.
    public static func text(_ function: PrimFunc, name: String? = nil, marking: [(stmt: Stmt, note: String)])
        -> String
    {
        withLargeStack {
            let writer = TIRWriter()
            for m in marking { writer.marks[ObjectIdentifier(m.stmt)] = m.note }
            writer.function(function, name: name ?? function.globalSymbol ?? "main", global: nil)
            return writer.out
        }
    }
}

extension TIRWriter {
    /// If `node` is marked, underlines `token` (all of it, if nil) in the line that was written last.
    func mark(_ node: Node?, _ token: String? = nil) {
        guard !marks.isEmpty, let node, let note = marks.removeValue(forKey: ObjectIdentifier(node)) else {
            return
        }
        // The line itself, above the marks of others that may already stand below it.
        var lines = out.split(separator: "\n", omittingEmptySubsequences: false).suffix(6).map(String.init)
        if lines.last == "" { lines.removeLast() }
        guard
            let line = lines.last(where: { !$0.allSatisfy({ $0 == " " || $0 == "^" }) && !$0.contains("^^") })
        else { return }
        let text = Array(line)
        let wanted = token.map(Array.init) ?? Array(line.drop { $0 == " " })
        var start = text.firstIndex { $0 != " " } ?? 0
        func isWord(_ i: Int) -> Bool {
            text.indices.contains(i) && (text[i].isLetter || text[i].isNumber || text[i] == "_")
        }
        if token != nil {
            for i in text.indices where i + wanted.count <= text.count {
                if Array(text[i..<(i + wanted.count)]) == wanted, !isWord(i - 1), !isWord(i + wanted.count) {
                    start = i
                    break
                }
            }
        }
        out += String(repeating: " ", count: start) + String(repeating: "^", count: max(1, wanted.count))
        out += note.isEmpty ? "\n" : " \(note)\n"
    }
}
