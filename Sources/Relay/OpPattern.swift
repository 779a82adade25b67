import ApusIR

/// How an operator's loops relate to those of its operands: what operator fusion decides by.
///
/// The numbers are TVM's `OpPatternKind`; a greater number fuses in fewer ways.
public enum OpPattern: Int, Sendable, Comparable, CustomStringConvertible {
    /// Output element `i` depends on the operands' elements `i`.
    case elemWise = 0
    /// As `elemWise`, operands being broadcast along axes in order.
    case broadcast = 1
    /// Each output element depends on one element of an operand, at any place.
    case injective = 2
    /// A commutative reduction.
    case commReduce = 3
    /// Heavy; elementwise operators may follow in its loops, such as convolution.
    case outEWiseFusable = 4
    /// Makes a tuple.
    case tuple = 7
    /// Nothing is known: never fused.
    case opaque = 8

    public static func < (a: OpPattern, b: OpPattern) -> Bool { a.rawValue < b.rawValue }

    public var description: String {
        switch self {
        case .elemWise: return "elemwise"
        case .broadcast: return "broadcast"
        case .injective: return "injective"
        case .commReduce: return "comm_reduce"
        case .outEWiseFusable: return "out_elemwise_fusable"
        case .tuple: return "tuple"
        case .opaque: return "opaque"
        }
    }
}

extension Relay {
    /// The type of a call from the types of its operands and its completed attributes.
    public typealias TypeRelation = @Sendable ([IRType], Attrs) throws -> IRType
    /// As `TypeRelation`, for the few operators whose result's shape is given by constant operands.
    public typealias ValueRelation = @Sendable ([RelayExpr], Attrs) throws -> IRType
    /// Rewrites completed attributes into the one canonical form, such as `reshape` with no `-1` left.
    public typealias AttrsCanonicalizer = @Sendable ([IRType], Attrs) throws -> Attrs

    /// Every operator has one of `typeRelation` and `valueRelation`.
    public static let typeRelation = OpAttrKey<TypeRelation>("TypeRelation")
    /// See `ValueRelation`.
    public static let valueRelation = OpAttrKey<ValueRelation>("TypeRelationOnValues")
    /// See `AttrsCanonicalizer`; most operators have none.
    public static let canonicalizer = OpAttrKey<AttrsCanonicalizer>("FCanonicalizeAttrs")
    /// See `OpPattern`.
    public static let opPattern = OpAttrKey<OpPattern>("TOpPattern")

    /// The pattern of what is called; opaque where nothing is known.
    public static func pattern(of op: RelayExpr) -> OpPattern {
        guard op.exprKind == .op else { return .opaque }
        return unsafeDowncast(op, to: Op.self)[opPattern] ?? .opaque
    }
}
