import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// Rewrites statements (and expressions) by closures. `preorder` sees a node before its parts; what it returns, if
/// anything, replaces the node as it is. Else the parts are transformed and `postorder` sees the result. An expression that
/// occurs several times is transformed once, and shared again.
/// - Parameter onlyEnable: keys of node kinds, such as `tir.For`, that the closures are asked about; empty = all
///   statements and expressions.
public func irTransform(
    _ s: Stmt, preorder: @escaping (Node) -> Node? = { _ in nil },
    postorder: @escaping (Node) -> Node? = { _ in nil },
    onlyEnable: [String] = []
) throws -> Stmt {
    let transformer = Transformer(preorder, postorder, Set(onlyEnable))
    let result = transformer.mutate(s)
    if let e = transformer.failure { throw e }
    return result
}

private final class Transformer: StmtExprMutator {
    private let preorder: (Node) -> Node?
    private let postorder: (Node) -> Node?
    private let enabled: Set<String>
    private(set) var failure: ApusError?
    /// What expressions became, kept with them since their addresses are the keys.
    private var done: [ObjectIdentifier: (expr: PrimExpr, result: PrimExpr)] = [:]

    init(
        _ preorder: @escaping (Node) -> Node?, _ postorder: @escaping (Node) -> Node?, _ enabled: Set<String>
    ) {
        self.preorder = preorder
        self.postorder = postorder
        self.enabled = enabled
    }

    private func asks(_ n: Node) -> Bool { enabled.isEmpty || enabled.contains(n.schema.key) }

    private func taken<N: Node>(_ n: Node, for old: N) -> N? {
        if let n = n as? N { return n }
        if failure == nil {
            failure = ApusError(
                "TIR155", "a transformation replaces a node by one of another sort", expected: "\(N.self)",
                actual: "\(n.schema.key) for \(old.schema.key)")
        }
        return nil
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if let known = done[ObjectIdentifier(e)] { return known.result }
        let result = transformed(e)
        done[ObjectIdentifier(e)] = (expr: e, result: result)
        return result
    }

    private func transformed(_ e: PrimExpr) -> PrimExpr {
        let ask = asks(e)
        if ask, let n = preorder(e), let r = taken(n, for: e) { return r }
        let n = mutateChildren(of: e)
        if ask, let m = postorder(n), let r: PrimExpr = taken(m, for: n) { return r }
        return n
    }

    override func mutate(_ s: Stmt) -> Stmt {
        let ask = asks(s)
        if ask, let n = preorder(s), let r = replacement(n, for: s) { return r }
        let n = mutateChildren(of: s)
        if ask, let m = postorder(n), let r = replacement(m, for: n) { return r }
        return n
    }

    /// A block's place takes blocks only.
    private func replacement(_ n: Node, for old: Stmt) -> Stmt? {
        if old is Block {
            let block: Block? = taken(n, for: old) as? Block
            if block == nil, failure == nil {
                failure = ApusError("TIR155", "a block is replaced by no block")
            }
            return block
        }
        return taken(n, for: old)
    }
}

/// `body` inside the statements of `nest`, the first outermost; the body of each, a place holder, is replaced. Statements
/// without a body come before what follows them.
/// - Throws: TIR155 for a statement that has branches.
public func mergeNest(_ nest: [Stmt], _ body: Stmt) throws -> Stmt {
    var body = body
    for s in nest.reversed() {
        switch s {
        case let l as LetStmt: body = LetStmt(l.variable, l.value, body)
        case let a as AttrStmt: body = AttrStmt(a.node, a.key, a.value, body)
        case let f as For: body = f.with(body: body)
        case let w as While: body = While(w.condition, body)
        case let a as Allocate: body = Allocate(a.buffer, body)
        case let i as IfThenElse where i.elseCase == nil: body = IfThenElse(i.condition, body)
        case let b as BlockRealize:
            body = BlockRealize(b.iterValues, predicate: b.predicate, b.block.with(body: body))
        case let q as SeqStmt:
            // The last of a sequence is the one that holds what follows.
            guard let last = q.stmts.last else { continue }
            body = SeqStmt.flat(q.stmts.dropLast() + [try mergeNest([last], body)])
        case is AssertStmt, is Evaluate, is BufferStore: body = SeqStmt.flat([s, body])
        default:
            throw ApusError("TIR155", "a statement that cannot hold another", actual: "\(s.schema.key)")
        }
    }
    return body
}

/// As `mergeNest`, of nests one inside the other.
public func mergeNest(_ nests: [[Stmt]], _ body: Stmt) throws -> Stmt {
    try nests.reversed().reduce(body) { try mergeNest($1, $0) }
}
