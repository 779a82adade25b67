import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// Rewrites statements (and expressions) by closures. `preorder` sees a node before its parts; what it returns, if
/// anything, replaces the node as it is. Else the parts are transformed and `postorder` sees the result.
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

/// `s` with every variable and buffer defined once: a second definition gets an object of its own, of the same name.
public func convertSSA(_ s: Stmt) -> Stmt { SSAConverter().mutate(s) }

/// As above, for a function.
public func convertSSA(_ f: PrimFunc) -> PrimFunc {
    let converter = SSAConverter()
    for p in f.params { converter.know(p) }
    for (_, b) in f.bufferMap { converter.know(b) }
    let body = converter.mutate(f.body)
    return body === f.body ? f : f.with(body: body)
}

private final class SSAConverter: StmtExprMutator {
    private var defined: Set<ObjectIdentifier> = []
    /// What stands for a variable or buffer in the scope at hand.
    private var variables: [Var: Var] = [:]
    private var buffers: [Buffer: Buffer] = [:]

    func know(_ v: Var) { defined.insert(ObjectIdentifier(v)) }
    func know(_ b: Buffer) {
        defined.insert(ObjectIdentifier(b))
        defined.insert(ObjectIdentifier(b.data))
    }

    /// The variable for a definition of `v`, in force while `body` runs.
    private func defining<R>(_ v: Var, _ body: (Var) -> R) -> R {
        if defined.insert(ObjectIdentifier(v)).inserted { return body(v) }
        let fresh = Var(v.name, type: v.type)
        defined.insert(ObjectIdentifier(fresh))
        let outer = variables.updateValue(fresh, forKey: v)
        defer { variables[v] = outer }
        return body(fresh)
    }

    private func defining<R>(all list: [Var], _ body: ([Var]) -> R) -> R {
        guard let last = list.last else { return body([]) }
        return defining(all: Array(list.dropLast())) { fresh in defining(last) { body(fresh + [$0]) } }
    }

    private func defining<R>(_ b: Buffer, _ body: (Buffer) -> R) -> R {
        let again = !defined.insert(ObjectIdentifier(b)).inserted
        // Its pointer is defined with it, unless it shares that of another.
        if !again && defined.insert(ObjectIdentifier(b.data)).inserted {
            let changed = mutate(b)
            return body(changed)
        }
        if !again { return body(mutate(b)) }
        let fresh = Var(b.data.name, type: b.data.type)
        let outerVar = variables.updateValue(fresh, forKey: b.data)
        let shape = b.shape.map { mutate($0) }
        let next = b.with(
            data: fresh, shape: shape, strides: b.strides.map { mutate($0) }, elemOffset: mutate(b.elemOffset)
        )
        know(next)
        let outer = buffers.updateValue(next, forKey: b)
        defer {
            variables[b.data] = outerVar
            buffers[b] = outer
        }
        return body(next)
    }

    private func defining<R>(all list: [Buffer], _ body: ([Buffer]) -> R) -> R {
        guard let last = list.last else { return body([]) }
        return defining(all: Array(list.dropLast())) { fresh in defining(last) { body(fresh + [$0]) } }
    }

    override func mutate(_ b: Buffer) -> Buffer {
        if let known = buffers[b] { return known }
        // A view follows its memory.
        guard let data = variables[b.data] else { return b }
        let next = b.with(data: data)
        buffers[b] = next
        return next
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        switch e.kind {
        case .variable: return variables[unsafeDowncast(e, to: Var.self)] ?? e
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            return growingStack {
                let value = mutate(l.value)
                return defining(l.variable) { v in
                    let body = mutate(l.body)
                    return v === l.variable && value === l.value && body === l.body ? l : Let(v, value, body)
                }
            }
        case .reduce:
            let r = unsafeDowncast(e, to: Reduce.self)
            return growingStack { reduction(r) }
        default: return mutateChildren(of: e)
        }
    }

    private func reduction(_ r: Reduce) -> PrimExpr {
        func same<N: Node>(_ x: [N], _ y: [N]) -> Bool { zip(x, y).allSatisfy { $0 === $1 } }
        let c = r.combiner
        let identity = c.identity.map { mutate($0) }
        let combiner = defining(all: c.lhs) { left in
            defining(all: c.rhs) { right in
                let result = c.result.map { mutate($0) }
                let kept =
                    same(left, c.lhs) && same(right, c.rhs) && same(result, c.result)
                    && same(identity, c.identity)
                return kept ? c : CommReducer(lhs: left, rhs: right, result: result, identity: identity)
            }
        }
        return axes(r.axis[...], []) { axis in
            let source = r.source.map { mutate($0) }
            let condition = mutate(r.condition)
            let initial = r.initial.map { mutate($0) }
            if combiner === c && same(axis, r.axis) && same(source, r.source) && condition === r.condition
                && same(initial, r.initial)
            {
                return r
            }
            return Reduce(
                combiner, source, axis, condition: condition, valueIndex: r.valueIndex, initial: initial)
        }
    }

    /// Axes one after the other: the domain of one may use those before it.
    private func axes(_ rest: ArraySlice<IterVar>, _ done: [IterVar], _ body: ([IterVar]) -> PrimExpr)
        -> PrimExpr
    {
        guard let first = rest.first else { return body(done) }
        let lo = mutate(first.dom.min)
        let n = mutate(first.dom.extent)
        return defining(first.variable) { v in
            let same = v === first.variable && lo === first.dom.min && n === first.dom.extent
            let next =
                same
                ? first : IterVar(IRRange(min: lo, extent: n), v, first.iterType, threadTag: first.threadTag)
            return axes(rest.dropFirst(), done + [next], body)
        }
    }

    override func mutate(_ s: Stmt) -> Stmt { growingStack { rewrite(s) } }

    private func rewrite(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            let value = mutate(l.value)
            return defining(l.variable) { v in
                let body = mutate(l.body)
                return v === l.variable && value === l.value && body === l.body ? l : LetStmt(v, value, body)
            }
        case .forLoop:
            let l = unsafeDowncast(s, to: For.self)
            let lo = mutate(l.min)
            let extent = mutate(l.extent)
            return defining(l.loopVar) { v in
                // The variable of an axis may be that of several loops.
                var thread = l.threadBinding
                if let t = thread {
                    let first = mutate(t.dom.min)
                    let count = mutate(t.dom.extent)
                    let variable = t.variable === l.loopVar ? v : t.variable
                    if first !== t.dom.min || count !== t.dom.extent || variable !== t.variable {
                        thread = IterVar(
                            IRRange(min: first, extent: count), variable, t.iterType, threadTag: t.threadTag)
                    }
                }
                let body = mutate(l.body)
                if v === l.loopVar && lo === l.min && extent === l.extent && body === l.body
                    && thread === l.threadBinding
                {
                    return l
                }
                return For(
                    v, lo, extent, l.forKind, body: body, threadBinding: thread, annotations: l.annotations)
            }
        case .attr:
            let a = unsafeDowncast(s, to: AttrStmt.self)
            let value = mutate(a.value)
            let node: Node
            switch a.node {
            case let v as Var: node = variables[v] ?? v
            case let b as Buffer: node = mutate(b)
            default: node = a.node
            }
            let body = mutate(a.body)
            return node === a.node && value === a.value && body === a.body
                ? a : AttrStmt(node, a.key, value, body)
        case .allocate:
            let a = unsafeDowncast(s, to: Allocate.self)
            return defining(a.buffer) { b in
                let body = mutate(a.body)
                return b === a.buffer && body === a.body ? a : Allocate(b, body)
            }
        case .block: return rewrite(unsafeDowncast(s, to: Block.self))
        default: return mutateChildren(of: s)
        }
    }

    private func rewrite(_ b: Block) -> Stmt {
        defining(all: b.iterVars.map(\.variable)) { vars in
            defining(all: b.allocBuffers) { allocs in
                let sources = b.matchBuffers.map { region($0.source) }
                return defining(all: b.matchBuffers.map(\.buffer)) { views in
                    var iterVars: [IterVar] = []
                    for (old, v) in zip(b.iterVars, vars) {
                        let lo = mutate(old.dom.min)
                        let n = mutate(old.dom.extent)
                        let same = v === old.variable && lo === old.dom.min && n === old.dom.extent
                        iterVars.append(
                            same
                                ? old
                                : IterVar(
                                    IRRange(min: lo, extent: n), v, old.iterType, threadTag: old.threadTag))
                    }
                    let reads = b.reads.map(region)
                    let writes = b.writes.map(region)
                    var matches: [MatchBufferRegion] = []
                    for (i, m) in b.matchBuffers.enumerated() {
                        let same = views[i] === m.buffer && sources[i] === m.source
                        matches.append(same ? m : MatchBufferRegion(views[i], sources[i]))
                    }
                    let initial = b.initial.map { mutate($0) }
                    let body = mutate(b.body)
                    func same<N: Node>(_ x: [N], _ y: [N]) -> Bool { zip(x, y).allSatisfy { $0 === $1 } }
                    if same(iterVars, b.iterVars) && same(reads, b.reads) && same(writes, b.writes)
                        && same(allocs, b.allocBuffers) && same(matches, b.matchBuffers)
                        && initial === b.initial
                        && body === b.body
                    {
                        return b
                    }
                    return b.with(
                        iterVars: iterVars, reads: reads, writes: writes, body: body, initial: .some(initial),
                        allocBuffers: allocs, matchBuffers: matches)
                }
            }
        }
    }

    private func region(_ r: BufferRegion) -> BufferRegion {
        let b = mutate(r.buffer)
        var changed = b !== r.buffer
        let ranges = r.region.map { d -> IRRange in
            let lo = mutate(d.min)
            let n = mutate(d.extent)
            if lo === d.min && n === d.extent { return d }
            changed = true
            return IRRange(min: lo, extent: n)
        }
        return changed ? BufferRegion(b, ranges) : r
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
