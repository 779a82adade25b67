import ApusNode

/// The node kinds of this room.
public enum IRNodes {
    public static let all: [NodeSchema] = [
        IntImm.schema, FloatImm.schema, StringImm.schema, IRRange.schema, PrimType.schema, PointerType.schema,
        TensorType.schema, TupleType.schema, FuncType.schema, TypeVar.schema, IncompleteType.schema,
        RelayRefType.schema, GlobalVar.schema, Attrs.schema, Op.schema, IRModule.schema,
    ]

    /// Makes the kinds known to JSON loading. Idempotent.
    public static func registerAll() { NodeRegistry.register(all) }
}
