import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// `s` with every variable and buffer defined once: a second definition gets an object of its own, of the same name. What
/// is defined once already comes back itself.
///
/// Definitions are what the text form writes as such: parameters, `Let`, loops and their thread axes, axes and reducers
/// of reductions, iteration variables of blocks, and buffers with their pointers and the variables that only their
/// shapes mention.
public func convertSSA(_ s: Stmt) -> Stmt { SSAConverter().mutate(s) }

/// As above, for a function.
public func convertSSA(_ f: PrimFunc) -> PrimFunc {
    let converter = SSAConverter()
    let params = f.params.map { converter.define($0) }
    var map: [(param: Var, buffer: Buffer)] = []
    for (p, b) in f.bufferMap { map.append((param: converter.use(p), buffer: converter.declare(b))) }
    let body = converter.mutate(f.body)
    let same =
        zip(params, f.params).allSatisfy { $0 === $1 }
        && zip(map, f.bufferMap).allSatisfy { $0.param === $1.param && $0.buffer === $1.buffer }
    return same && body === f.body ? f : f.with(params: params, bufferMap: map, body: body)
}

private final class SSAConverter: StmtExprMutator {
    private enum Undo {
        case leave(ObjectIdentifier)
        case variable(Var, Var?)
        case buffer(Buffer, Buffer?)
    }

    /// All that was defined so far, kept: it is known by address.
    private var defined: [ObjectIdentifier: Node] = [:]
    /// How many definitions of a node are in force.
    private var scope: [ObjectIdentifier: Int] = [:]
    /// What stands for a variable or buffer in the scope at hand, where it is not itself.
    private var variables: [Var: Var] = [:]
    private var buffers: [Buffer: Buffer] = [:]
    private var log: [Undo] = []
    /// What became of buffers that no node declares: they follow their memory.
    private var views: [Buffer: [Buffer]] = [:]
    /// Results of expressions that define nothing, as long as what variables stand for does not change: sharing stays
    /// sharing. (An expression that defines something is made anew at each place.)
    private var memo: [ObjectIdentifier: PrimExpr] = [:]
    private var definitions = 0

    // MARK: Scopes

    private func scoped<R>(_ body: () -> R) -> R {
        let mark = log.count
        defer {
            while log.count > mark {
                switch log.removeLast() {
                case .leave(let id): scope[id, default: 1] -= 1
                case .variable(let v, let before):
                    variables[v] = before
                    memo.removeAll(keepingCapacity: true)
                case .buffer(let b, let before):
                    buffers[b] = before
                    memo.removeAll(keepingCapacity: true)
                }
            }
        }
        return body()
    }

    private func isInForce(_ n: Node) -> Bool { scope[ObjectIdentifier(n), default: 0] > 0 }

    private func enter(_ n: Node) {
        scope[ObjectIdentifier(n), default: 0] += 1
        log.append(.leave(ObjectIdentifier(n)))
    }

    /// Whether this is the first definition.
    private func isFirst(_ n: Node) -> Bool { defined.updateValue(n, forKey: ObjectIdentifier(n)) == nil }

    func use(_ v: Var) -> Var { variables[v] ?? v }

    /// The variable of a definition of `v`, in force up to the end of the scope.
    func define(_ v: Var) -> Var {
        definitions += 1
        enter(v)
        if isFirst(v) { return v }
        let fresh = Var(v.name, type: v.type)
        _ = isFirst(fresh)
        log.append(.variable(v, variables.updateValue(fresh, forKey: v)))
        memo.removeAll(keepingCapacity: true)
        return fresh
    }

    /// The buffer of a declaration of `b`, which defines the variables of its shape that are not known, unless `known` says
    /// that they must be.
    func declare(_ b: Buffer, known: Bool = false) -> Buffer {
        definitions += 1
        // The pointer is defined with it, unless it is that of another buffer.
        let data = isInForce(b.data) && !isInForce(b) ? use(b.data) : define(b.data)
        // So is what only its shape speaks of.
        let free = known ? b.shape.flatMap { undefinedVariables(of: $0) } : []
        for e in b.shape + b.strides + [b.elemOffset] {
            for v in undefinedVariables(of: e) where !isInForce(v) && !free.contains(where: { $0 === v }) {
                _ = define(v)
            }
        }
        let again = !isFirst(b)
        let next = rebuilt(b, data)
        enter(b)
        let result = next === b && again ? b.with(data: data) : next
        if result !== b || buffers[b] != nil {
            _ = isFirst(result)
            log.append(.buffer(b, buffers.updateValue(result, forKey: b)))
            memo.removeAll(keepingCapacity: true)
        }
        return result
    }

    private func rebuilt(_ b: Buffer, _ data: Var) -> Buffer {
        let shape = b.shape.map { mutate($0) }
        let strides = b.strides.map { mutate($0) }
        let offset = mutate(b.elemOffset)
        if data === b.data && isSame(shape, b.shape) && isSame(strides, b.strides) && offset === b.elemOffset
        {
            return b
        }
        return b.with(data: data, shape: shape, strides: strides, elemOffset: offset)
    }

    private func isSame<N: Node>(_ x: [N], _ y: [N]) -> Bool { zip(x, y).allSatisfy { $0 === $1 } }

    override func mutate(_ b: Buffer) -> Buffer {
        if let known = buffers[b] { return known }
        if isInForce(b) { return b }
        let next = rebuilt(b, use(b.data))
        if next === b { return b }
        for old in views[b] ?? [] {
            let same =
                old.data === next.data && zip(old.shape, next.shape).allSatisfy { exprDeepEqual($0, $1) }
                && zip(old.strides, next.strides).allSatisfy { exprDeepEqual($0, $1) }
                && exprDeepEqual(old.elemOffset, next.elemOffset)
            if same { return old }
        }
        views[b, default: []].append(next)
        return next
    }

    // MARK: Expressions

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        switch e.kind {
        case .variable: return use(unsafeDowncast(e, to: Var.self))
        case .intImm, .floatImm, .stringImm: return e
        default: break
        }
        if let known = memo[ObjectIdentifier(e)] { return known }
        let before = definitions
        let result = growingStack { rewrite(e) }
        if definitions == before { memo[ObjectIdentifier(e)] = result }
        return result
    }

    private func rewrite(_ e: PrimExpr) -> PrimExpr {
        switch e.kind {
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            let value = mutate(l.value)
            return scoped {
                let v = define(l.variable)
                let body = mutate(l.body)
                return v === l.variable && value === l.value && body === l.body ? l : Let(v, value, body)
            }
        case .reduce: return reduction(unsafeDowncast(e, to: Reduce.self))
        default: return mutateChildren(of: e)
        }
    }

    private func reduction(_ r: Reduce) -> PrimExpr {
        let c = r.combiner
        let identity = c.identity.map { mutate($0) }
        let combiner = scoped {
            let left = c.lhs.map { define($0) }
            let right = c.rhs.map { define($0) }
            let result = c.result.map { mutate($0) }
            let kept =
                isSame(left, c.lhs) && isSame(right, c.rhs) && isSame(result, c.result)
                && isSame(identity, c.identity)
            return kept ? c : CommReducer(lhs: left, rhs: right, result: result, identity: identity)
        }
        return scoped {
            // The domain of an axis may use the axes before it.
            let axis = r.axis.map { iterVar($0) }
            let source = r.source.map { mutate($0) }
            let condition = mutate(r.condition)
            let initial = r.initial.map { mutate($0) }
            if combiner === c && isSame(axis, r.axis) && isSame(source, r.source) && condition === r.condition
                && isSame(initial, r.initial)
            {
                return r
            }
            return Reduce(
                combiner, source, axis, condition: condition, valueIndex: r.valueIndex, initial: initial)
        }
    }

    private func range(_ r: IRRange) -> IRRange {
        let lo = mutate(r.min)
        let n = mutate(r.extent)
        return lo === r.min && n === r.extent ? r : IRRange(min: lo, extent: n)
    }

    /// The domain, then the variable: defined here unless `known` says what it is.
    private func iterVar(_ i: IterVar, known: Var? = nil) -> IterVar {
        let dom = range(i.dom)
        let v = known ?? define(i.variable)
        return dom === i.dom && v === i.variable ? i : IterVar(dom, v, i.iterType, threadTag: i.threadTag)
    }

    // MARK: Statements

    override func mutate(_ s: Stmt) -> Stmt { growingStack { scoped { rewrite(s) } } }

    private func rewrite(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            let value = mutate(l.value)
            let v = define(l.variable)
            let body = mutate(l.body)
            return v === l.variable && value === l.value && body === l.body ? l : LetStmt(v, value, body)
        case .forLoop: return rewrite(unsafeDowncast(s, to: For.self))
        case .attr:
            let a = unsafeDowncast(s, to: AttrStmt.self)
            let node: Node
            switch a.node {
            case let e as PrimExpr: node = mutate(e)
            case let b as Buffer: node = mutate(b)
            case let i as IterVar: node = iterVar(i, known: isInForce(i.variable) ? use(i.variable) : nil)
            default: node = a.node
            }
            let value = mutate(a.value)
            let body = mutate(a.body)
            return node === a.node && value === a.value && body === a.body
                ? a : AttrStmt(node, a.key, value, body)
        case .allocate:
            let a = unsafeDowncast(s, to: Allocate.self)
            let b = declare(a.buffer, known: true)
            let body = mutate(a.body)
            return b === a.buffer && body === a.body ? a : Allocate(b, body)
        case .block: return rewrite(unsafeDowncast(s, to: Block.self))
        case .seq:
            // As it is written, not flat: the form stays that of the text.
            let q = unsafeDowncast(s, to: SeqStmt.self)
            let stmts = q.stmts.map { mutate($0) }
            return isSame(stmts, q.stmts) ? q : SeqStmt(stmts)
        default: return mutateChildren(of: s)
        }
    }

    private func rewrite(_ l: For) -> Stmt {
        let lo = mutate(l.min)
        let extent = mutate(l.extent)
        let v = define(l.loopVar)
        // Each loop over a thread axis may have a variable of its own for it: all have the same value.
        let thread = l.threadBinding.map { t in iterVar(t, known: t.variable === l.loopVar ? v : nil) }
        let notes = attributes(l.annotations)
        let body = mutate(l.body)
        if v === l.loopVar && lo === l.min && extent === l.extent && body === l.body
            && thread === l.threadBinding
            && notes == nil
        {
            return l
        }
        return For(
            v, lo, extent, l.forKind, body: body, threadBinding: thread, annotations: notes ?? l.annotations)
    }

    private func rewrite(_ b: Block) -> Stmt {
        let iterVars = b.iterVars.map { iterVar($0) }
        let allocs = b.allocBuffers.map { declare($0) }
        let matches = b.matchBuffers.map { m -> MatchBufferRegion in
            let source = region(m.source)
            let view = declare(m.buffer)
            return source === m.source && view === m.buffer ? m : MatchBufferRegion(view, source)
        }
        let reads = b.reads.map { region($0) }
        let writes = b.writes.map { region($0) }
        let notes = attributes(b.annotations)
        let initial = b.initial.map { mutate($0) }
        let body = mutate(b.body)
        if isSame(iterVars, b.iterVars) && isSame(reads, b.reads) && isSame(writes, b.writes)
            && isSame(allocs, b.allocBuffers) && isSame(matches, b.matchBuffers) && initial === b.initial
            && body === b.body && notes == nil
        {
            return b
        }
        return b.with(
            iterVars: iterVars, reads: reads, writes: writes, body: body, initial: .some(initial),
            allocBuffers: allocs, matchBuffers: matches, annotations: notes ?? b.annotations)
    }

    private func region(_ r: BufferRegion) -> BufferRegion {
        let b = mutate(r.buffer)
        let ranges = r.region.map { range($0) }
        return b === r.buffer && isSame(ranges, r.region) ? r : BufferRegion(b, ranges)
    }

    /// nil if nothing in them changes.
    private func attributes(_ a: Attrs) -> Attrs? {
        var changed = false
        let entries = a.entries.map { (key: $0.key, value: value($0.value, &changed)) }
        return changed ? Attrs(entries) : nil
    }

    private func value(_ v: AttrValue, _ changed: inout Bool) -> AttrValue {
        switch v {
        case .node(let n):
            guard let e = n as? PrimExpr else { return v }
            let next = mutate(e)
            if next !== e { changed = true }
            return .node(next)
        case .list(let items):
            var any = false
            let next = items.map { value($0, &any) }
            if any { changed = true }
            return any ? .list(next) : v
        default: return v
        }
    }
}
