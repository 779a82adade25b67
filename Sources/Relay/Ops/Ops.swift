import ApusIR

/// The operators of this room, by family; each file of this folder declares its own.
enum Ops {
    /// Declares every operator; the second call is free.
    static func registerAll() { _ = once }

    private static let once: Void = {
        registerElementwise()
        registerReductions()
        registerNormalisations()
        registerConvolutions()
        registerPooling()
        registerMatrix()
        registerAttention()
        registerShape()
        registerJoins()
        registerIndexing()
        registerCreation()
        registerImage()
    }()

    typealias Relation = @Sendable (TypeContext) throws -> IRType

    /// Declares one operator.
    ///
    /// - Parameter axisRank: where the operator has an attribute `axis` (an integer, a list or None), the
    ///   number of axes it counts in: negative values are resolved before the relation sees them, others are
    ///   errors.
    /// - Parameter canonical: brings other attributes into canonical form, after `axis`.
    static func define(
        _ name: String, _ doc: String, _ args: [String], attrs: [AttrField] = [], pattern: OpPattern,
        axisRank: (@Sendable (TypeContext) throws -> Int)? = nil,
        canonical: (@Sendable (TypeContext) throws -> Attrs)? = nil, relation: @escaping Relation
    ) {
        let op = Op.register(name, doc: doc, args: args, attrs: attrs)
        op.setting(Relay.opPattern, pattern)
        guard axisRank != nil || canonical != nil else {
            op.setting(
                Relay.typeRelation,
                { (types: [IRType], attrs: Attrs) throws -> IRType in
                    try relation(TypeContext(op: name, argNames: args, types: types, attrs: attrs))
                })
            return
        }
        let canonicalise: Relay.AttrsCanonicalizer = { (types: [IRType], attrs: Attrs) throws -> Attrs in
            var context = TypeContext(op: name, argNames: args, types: types, attrs: attrs)
            if let axisRank { context.attrs = try context.resolvingAxes(rank: try axisRank(context)) }
            if let canonical { context.attrs = try canonical(context) }
            return context.attrs
        }
        op.setting(Relay.canonicalizer, canonicalise)
        op.setting(
            Relay.typeRelation,
            { (types: [IRType], attrs: Attrs) throws -> IRType in
                // Canonical attributes pass through unchanged; others may come from a direct caller.
                let attrs = try canonicalise(types, attrs)
                return try relation(TypeContext(op: name, argNames: args, types: types, attrs: attrs))
            })
    }
}

/// Bounds of attributes: wide enough for any tensor, narrow enough that a sum of a few cannot overflow.
enum Limit {
    static let size = 1 << 40
    static let positive: ClosedRange<Int> = 1...size
    static let natural: ClosedRange<Int> = 0...size
    static let any: ClosedRange<Int> = -size...size
}
