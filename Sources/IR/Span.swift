import ApusNode

/// Where a piece of IR came from: a source (file, model or text), a line and a column, both counted from 1; 0 = unknown.
///
/// Spans are carried by nodes, kept by transformations and never compared.
public struct Span: Hashable, Sendable, FieldConvertible, CustomStringConvertible {
    public let source: String
    public let line: Int
    public let column: Int

    public init(source: String, line: Int = 0, column: Int = 0) {
        self.source = source
        self.line = line
        self.column = column
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
