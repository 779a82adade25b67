import ApusIR

/// An expression of hybrid script as it was written.
public struct HybridExpr: Sendable {
    public indirect enum Kind: Sendable {
        case int(Int)
        case float(Double)
        case bool(Bool)
        case string(String)
        case name(String)
        /// `a.shape`
        case attribute(HybridExpr, String)
        /// `a[i, j]`
        case subscripted(HybridExpr, [HybridExpr])
        case call(HybridExpr, [HybridExpr])
        case unary(String, HybridExpr)
        case binary(String, HybridExpr, HybridExpr)
        /// `a < b <= c`: operands one more than operators.
        case compare([HybridExpr], [String])
        /// `yes if condition else no`
        case conditional(condition: HybridExpr, yes: HybridExpr, no: HybridExpr)
        case tuple([HybridExpr])
    }
    public let kind: Kind
    public let span: Span
}

/// A statement of hybrid script as it was written.
public struct HybridStmt: Sendable {
    public indirect enum Kind: Sendable {
        case assign(HybridExpr, HybridExpr)
        /// `target += value`; the operator without `=`.
        case augment(HybridExpr, String, HybridExpr)
        /// `for name in kind(arguments): body`
        case loop(String, kind: String, [HybridExpr], [HybridStmt])
        case branch(HybridExpr, [HybridStmt], [HybridStmt])
        case repeated(HybridExpr, [HybridStmt])
        case assert(HybridExpr, String)
        case evaluate(HybridExpr)
        case result([HybridExpr])
        case pass
    }
    public let kind: Kind
    public let span: Span
}

/// `def name(parameters): body`
public struct HybridDefinition: Sendable {
    public let name: String
    public let parameters: [String]
    public let body: [HybridStmt]
    public let span: Span
    /// The first string of the body, if it stands alone.
    public let documentation: String?
}
