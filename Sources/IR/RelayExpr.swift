import ApusNode
import ApusRuntime
import ApusSupport

/// The closed set of graph-IR expressions, for exhaustive switches. The classes live in the Relay room, save `op`,
/// `globalVar` (here) and `primFunc` (TIR).
public enum RelayExprKind: UInt8, Sendable {
    case variable, globalVar, constant, op, call, function, `let`, tuple, tupleGetItem, `if`
    case refCreate, refRead, refWrite, primFunc
}

/// An expression of the graph IR. Its type is inferred when it is built, from the types of its parts.
open class RelayExpr: Node, @unchecked Sendable {
    /// The type of the value.
    public final let checkedType: IRType
    /// Where it came from: a model's node, a line of text.
    public final let span: Span?

    public init(checkedType: IRType, span: Span? = nil) {
        self.checkedType = checkedType
        self.span = span
    }

    open var exprKind: RelayExprKind { internalError("\(Self.self) names no kind") }

    /// The type as a tensor type, or nil if it is not one.
    public final var tensorType: TensorType? {
        checkedType.typeKind == .tensor ? unsafeDowncast(checkedType, to: TensorType.self) : nil
    }
}

/// The name of a function of the module.
public final class GlobalVar: RelayExpr, @unchecked Sendable {
    public let name: String

    public init(_ name: String, type: IRType = IncompleteType()) {
        self.name = name
        super.init(checkedType: type)
    }

    public override var exprKind: RelayExprKind { .globalVar }
    public override class var schema: NodeSchema { globalVarSchema }
    public override var description: String { "@\(name)" }
}

private let globalVarSchema = NodeSchema(
    "GlobalVar", GlobalVar.self, [.field("name", \.name), .ignored("type", \.checkedType)],
    make: {
        let name: String = try $0.next()
        return GlobalVar(name, type: try $0.next())
    })

/// A function of the module: a graph function (`Relay.Function`) or a loop function (`PrimFunc`).
open class BaseFunc: RelayExpr, @unchecked Sendable {
    /// Ordered attributes, such as `global_symbol`, `primitive`, `target`.
    public final let attrs: Attrs

    public init(checkedType: IRType, attrs: Attrs, span: Span? = nil) {
        self.attrs = attrs
        super.init(checkedType: checkedType, span: span)
    }

    /// A copy with other attributes.
    open func with(attrs: Attrs) -> BaseFunc { internalError("\(Self.self) does not copy") }
}
