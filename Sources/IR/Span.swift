import ApusNode
import ApusSupport

/// Where a piece of IR came from: a source (file, model or text), a line and a column, both counted from 1; 0 = unknown.
///
/// Spans are carried by nodes, kept by transformations and never compared.
public struct Span: Sendable, FieldConvertible, CustomStringConvertible {
    /// What the spans of one source share.
    private final class Origin: Sendable {
        let source: String
        let text: String?
        init(_ source: String, _ text: String?) {
            self.source = source
            self.text = text
        }
    }

    private let origin: Origin
    private let lineNumber: UInt32
    private let columnNumber: UInt32

    public var source: String { origin.source }
    public var line: Int { Int(lineNumber) }
    public var column: Int { Int(columnNumber) }

    private init(_ origin: Origin, _ line: Int, _ column: Int) {
        self.origin = origin
        lineNumber = UInt32(clamping: line)
        columnNumber = UInt32(clamping: column)
    }

    /// - Parameter text: what the source says, where errors should show the line.
    public init(source: String, line: Int = 0, column: Int = 0, text: String? = nil) {
        self.init(Origin(source, text), line, column)
    }

    /// Another place of the same source.
    public func at(line: Int, column: Int) -> Span { Span(origin, line, column) }

    /// The line with a caret under the column; empty where the text is not known or the line is very long.
    public var excerpt: String {
        guard let text = origin.text, line > 0 else { return "" }
        let excerpt = SourceText(name: source, text: text).excerpt(self)
        // A line may be megabytes long.
        return excerpt.utf8.count > 400 ? "" : excerpt
    }

    public var description: String { line == 0 ? source : "\(source):\(line):\(column)" }

    public var asField: FieldValue { .array([.string(source), .int(line), .int(column)]) }
    public static func fromField(_ value: FieldValue) throws -> Span {
        let parts = try [FieldValue].fromField(value)
        guard parts.count == 3 else {
            return Span(source: "")
        }
        return Span(
            source: try String.fromField(parts[0]), line: try Int.fromField(parts[1]),
            column: try Int.fromField(parts[2]))
    }
}

/// By source, line and column.
extension Span: Hashable {
    public static func == (a: Span, b: Span) -> Bool {
        a.lineNumber == b.lineNumber && a.columnNumber == b.columnNumber
            && (a.origin === b.origin || a.source == b.source)
    }
    public func hash(into hasher: inout Hasher) {
        hasher.combine(source)
        hasher.combine(lineNumber)
        hasher.combine(columnNumber)
    }
}

extension ApusError {
    /// The same error with the place in a text that it is about, unless it names one already: the innermost counts.
    public func located(_ span: Span?) -> ApusError {
        guard let span else { return self }
        return located(at: "\(span)", excerpt: span.excerpt)
    }
}

/// Runs `body`; an `ApusError` from it leaves with the place of what it works on, if that is known.
@inlinable
public func locating<T>(_ span: @autoclosure () -> Span?, _ body: () throws -> T) throws -> T {
    do {
        return try body()
    } catch let error as ApusError {
        throw error.located(span())
    }
}
