import ApusSupport

/// One finding about a program: severity, place, message.
public struct Diagnostic: Sendable, CustomStringConvertible {
    public enum Severity: String, Sendable { case error, warning, note, help }

    public let severity: Severity
    /// Stable identifier, such as `RELAY003`.
    public let code: String
    public let message: String
    public let span: Span?

    public init(_ severity: Severity, _ code: String, _ message: String, span: Span? = nil) {
        self.severity = severity
        self.code = code
        self.message = message
        self.span = span
    }

    public var description: String {
        let place = span.map { "\($0): " } ?? ""
        return "\(place)\(severity.rawValue)[\(code)]: \(message)"
    }
}

/// Collects findings so that a user sees all of them at once, then fails once.
public struct DiagnosticCollector: Sendable {
    public private(set) var diagnostics: [Diagnostic] = []

    public init() {}

    public mutating func emit(_ diagnostic: Diagnostic) { diagnostics.append(diagnostic) }

    public var hasErrors: Bool { diagnostics.contains { $0.severity == .error } }

    /// Throws one error that lists every finding, if any of them is an error.
    public func throwIfErrors(_ code: String, _ message: String) throws {
        if hasErrors { throw ApusError(code, message, notes: diagnostics.map(\.description)) }
    }
}

/// The text of a program under study, for messages that show the offending line.
public struct SourceText: Sendable {
    public let name: String
    public let lines: [Substring]

    public init(name: String, text: String) {
        self.name = name
        self.lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    }

    /// The line of `span` with a caret under its column; empty if the span lies outside the text.
    public func excerpt(_ span: Span) -> String {
        guard span.line >= 1, span.line <= lines.count else { return "" }
        let line = lines[span.line - 1]
        let pad = String(repeating: " ", count: max(0, min(span.column - 1, line.count)))
        return "\(line)\n\(pad)^"
    }
}
