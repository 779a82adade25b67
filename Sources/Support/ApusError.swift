/// Everything that a user's input can make go wrong, in one shape: stable code, where, expected, actual, hint.
///
/// Internal invariants do not throw this; they stop in `internalError`, which names the pass and prints the IR.
/// (Three kinds of failure, worded differently, after Halide's `CompileError` / `RuntimeError` / `InternalError`.)
public struct ApusError: Error, Sendable, CustomStringConvertible {
    /// Stable identifier such as `ONNX004`; documentation and tests refer to it, wording may change.
    public let code: String
    /// One line: what went wrong, in the user's terms.
    public let message: String
    /// Where: outermost first, each a `kind: name` pair such as `node: conv_3 (Conv)`.
    public private(set) var context: [String]
    public let expected: String?
    public let actual: String?
    public let hint: String?
    /// Further findings that belong to the same failure, such as every unsupported operator of a model.
    public private(set) var notes: [String]
    /// Whether the context names the place in a text already.
    private var isLocated = false

    public init(
        _ code: String, _ message: String, at context: [String] = [], expected: String? = nil,
        actual: String? = nil, hint: String? = nil, notes: [String] = []
    ) {
        self.code = code
        self.message = message
        self.context = context
        self.expected = expected
        self.actual = actual
        self.hint = hint
        self.notes = notes
    }

    /// The same error seen from further out: `outer` is put before the places already known.
    public func within(_ outer: String) -> ApusError {
        var copy = self
        copy.context.insert(outer, at: 0)
        return copy
    }

    /// The same error with `place`, in a text, as the innermost place and the line there as a note; itself if it has one.
    public func located(at place: String, excerpt: String) -> ApusError {
        if isLocated { return self }
        var copy = self
        copy.isLocated = true
        copy.context.append(place)
        if !excerpt.isEmpty { copy.notes.append("\n" + excerpt) }
        return copy
    }

    /// headline / at / expected / actual / note / hint, one a line; absent parts are left out.
    public var description: String {
        var lines = ["error[\(code)]: \(message)"]
        if !context.isEmpty { lines.append("  at: " + context.joined(separator: " > ")) }
        if let expected { lines.append("  expected: \(expected)") }
        if let actual { lines.append("  actual: \(actual)") }
        for note in notes { lines.append("  note: \(note)") }
        if let hint { lines.append("  hint: \(hint)") }
        return lines.joined(separator: "\n")
    }
}

/// Runs `body`; an `ApusError` from it leaves with `place` prepended to its context.
public func within<T>(_ place: @autoclosure () -> String, _ body: () throws -> T) throws -> T {
    do {
        return try body()
    } catch let error as ApusError {
        throw error.within(place())
    }
}

/// A broken internal invariant: never reachable from user input. Prints what is known, then traps.
public func internalError(
    _ message: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line
) -> Never {
    fatalError("internal error (please report): \(message())", file: file, line: line)
}
