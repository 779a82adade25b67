import ApusIR

// `description` of an expression is its text without the contents of constants.

extension Relay {
    /// The text that nodes of this room describe themselves by.
    static func describe(_ e: RelayExpr) -> String { text(e, types: true, metadata: false) }
}
