import ApusIR
import ApusNode
import ApusTIR

/// The graph IR: expressions, operators with their types, text form.
///
/// Expressions are immutable graphs: a node used twice is one node with two users. Types are inferred when a
/// node is built, from the types of its parts, so an expression without a type cannot be made by a checked
/// constructor.
public enum Relay {
    /// Makes node kinds and operators of this room and of those below known. Idempotent; called before
    /// anything else.
    public static func registerAll() {
        TIRNodes.registerAll()
        NodeRegistry.register(RelayNodes.all)
        Ops.registerAll()
    }
}

/// The node kinds of this room.
public enum RelayNodes {
    /// Their declarations, in a stable order.
    public static let all: [NodeSchema] = [
        Relay.Var.schema, Relay.Constant.schema, Relay.Call.schema, Relay.Function.schema, Relay.Let.schema,
        Relay.Tuple.schema, Relay.TupleGetItem.schema, Relay.If.schema, Relay.RefCreate.schema,
        Relay.RefRead.schema, Relay.RefWrite.schema,
    ]
}
