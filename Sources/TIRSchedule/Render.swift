import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// How much the errors of refused primitives show.
public enum ErrorRenderLevel: Sendable {
    /// The function with the offending loops and blocks underlined, and what would be legal.
    case detail
    /// Code and message only: for searches that try primitives and expect refusals.
    case fast
}

/// A refusal on its way out of a primitive: the error, and the statements at fault, which the schedule marks in the
/// text of the function once it is known that nobody inside catches it.
struct Refusal: Error {
    var error: ApusError
    /// With what is said about each; empty = only underlined.
    var marks: [(stmt: Stmt, note: String)]
    /// The function that holds the statements, where it is not the schedule's present one.
    var function: PrimFunc?
    /// Computes what would be legal; asked only where the error is shown in detail.
    var legal: (() -> String?)?

    /// The same refusal with a lazily computed `expected`.
    func expecting(_ legal: @escaping () -> String?) -> Refusal {
        var copy = self
        copy.legal = legal
        return copy
    }

    /// The same refusal with one more statement marked.
    func marking(_ s: Stmt?, _ note: String = "") -> Refusal {
        guard let s else { return self }
        var copy = self
        copy.marks.append((stmt: s, note: note))
        return copy
    }
}

/// The refusal for a failed condition; `s` is the statement at fault.
func failure(
    _ code: String, _ message: String, _ s: Stmt, expected: String? = nil, actual: String? = nil,
    hint: String? = nil, in function: PrimFunc? = nil
) -> Refusal {
    Refusal(
        error: ApusError(code, message, expected: expected, actual: actual, hint: hint),
        marks: [(stmt: s, note: "")], function: function)
}

extension Schedule {
    /// Runs a primitive: what it throws leaves as an error that shows the function, what it did is verified where
    /// `debugLevel` says so.
    func step<T>(_ name: String, _ body: () throws -> T) throws -> T {
        let result: T
        depth += 1
        defer { depth -= 1 }
        let guarded = depth == 1 && functions.contains { $0.noted || $0.threaded }
        let before = guarded ? (functions, handles, trace) : nil
        do {
            result = try body()
        } catch let r as Refusal {
            // A primitive within a primitive: the outer one explains.
            if depth > 1 { throw r }
            throw rendered(r).within("primitive: \(name)")
        } catch let e as ApusError {
            throw e.within("primitive: \(name)")
        }
        if let before, let broken = brokenNote() {
            (functions, handles, trace) = before
            throw rendered(broken).within("primitive: \(name)")
        }
        if depth == 1, debugLevel != .none { try verify(exhaustively: debugLevel == .exhaustive) }
        return result
    }

    /// The error of a refusal, with the function's text as a note.
    func rendered(_ r: Refusal) -> ApusError {
        guard errorRenderLevel == .detail else { return r.error }
        var f = r.function
        if f == nil, let s = r.marks.first?.stmt {
            f = functions.map(\.function).first { holds($0.body, s) }
        }
        var notes: [String] = []
        if let f {
            notes.append(markedText(f, r.marks))
        } else if let s = r.marks.first?.stmt {
            notes.append(excerpt(s))
        }
        let e = r.error
        return ApusError(
            e.code, e.message, at: e.context, expected: r.legal?() ?? e.expected, actual: e.actual,
            hint: e.hint, notes: e.notes + notes)
    }

    private func holds(_ body: Stmt, _ s: Stmt) -> Bool {
        var found = false
        postOrderVisit(body, stmt: { if $0 === s { found = true } })
        return found
    }
}

/// Lines of a function's text that an error shows at most; of a longer one the surroundings of the marks.
private let shownLines = 60

/// The text of `f` with the given statements underlined.
private func markedText(_ f: PrimFunc, _ marks: [(stmt: Stmt, note: String)]) -> String {
    let text = TIRPrinter.text(f, marking: marks)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).filter { !$0.isEmpty }
    if lines.count <= shownLines { return "in the function\n" + lines.joined(separator: "\n") }
    var keep: Set<Int> = [0, 1, 2]
    for (i, l) in lines.enumerated() where l.contains("^^^") || l.hasSuffix("^") {
        keep.formUnion(max(0, i - 12)...min(lines.count - 1, i + 12))
    }
    var out = "in the function"
    var skipped = false
    for (i, l) in lines.enumerated() {
        if keep.contains(i) {
            out += "\n\(l)"
            skipped = false
        } else if !skipped {
            out += "\n…"
            skipped = true
        }
    }
    return out
}

/// `a, b, c`; `none` of nothing.
func listed(_ names: [String]) -> String { names.isEmpty ? "none" : names.joined(separator: ", ") }

/// The names of loops, outermost first.
func names(_ loops: [For]) -> String { listed(loops.map { $0.loopVar.name }) }

/// `0: A[…], 1: B[…]`
func numbered(_ regions: [BufferRegion]) -> String {
    listed(regions.enumerated().map { "\($0.offset): \($0.element)" })
}
