import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// What a piece of loop IR uses and does not define.
struct UndefinedNodes {
    /// Free variables in order of first use; without the data variables of `buffers`.
    var symbols: [Var] = []
    /// Buffers accessed that no node declares (views), in order of first use.
    var buffers: [Buffer] = []
    /// Every variable that occurs in an expression.
    var used: Set<ObjectIdentifier> = []
    /// Data variables that some declaration or parameter defines.
    var dataDefined: Set<ObjectIdentifier> = []
}

/// The undefined nodes of a function.
func undefinedNodes(of f: PrimFunc) -> UndefinedNodes {
    let walk = UseWalker()
    for p in f.params { walk.define(p) }
    for (_, b) in f.bufferMap { walk.declare(b) }
    walk.visit(f.body)
    return walk.result()
}

/// Free variables of an expression, in order of first use.
public func undefinedVariables(of e: PrimExpr) -> [Var] {
    let walk = UseWalker()
    walk.visit(e)
    return walk.free()
}

/// Free variables of a statement in order of first use, the data and shape variables of undeclared buffers
/// included.
public func undefinedVariables(of s: Stmt) -> [Var] {
    let walk = UseWalker()
    walk.visit(s)
    return walk.free()
}

/// Free variables of a function's body and signature: none, if it is well formed and has no views of foreign
/// memory.
public func undefinedVariables(of f: PrimFunc) -> [Var] {
    let walk = UseWalker()
    for p in f.params { walk.define(p) }
    for (_, b) in f.bufferMap { walk.declare(b) }
    walk.visit(f.body)
    return walk.free()
}

/// Whether a statement names the variable in any way: uses it, defines it, or declares a buffer whose shape, strides or
/// offset speak of it (which alone would make it a symbol of that buffer).
func mentions(_ s: Stmt, _ v: Var) -> Bool {
    let walk = UseWalker()
    walk.visit(s)
    return walk.nodes.used.contains(ObjectIdentifier(v))
        || walk.nodes.dataDefined.contains(ObjectIdentifier(v))
}

/// Buffers that a statement accesses and does not declare, in order of first use.
public func undefinedBuffers(of s: Stmt) -> [Buffer] {
    let walk = UseWalker()
    walk.visit(s)
    return walk.nodes.buffers
}

/// Whether any of the variables occurs in the statement (indices, extents, values; not as a buffer's data).
public func uses(_ s: Stmt, _ variables: Set<Var>) -> Bool {
    var found = false
    growingStack {
        forEachChild(
            of: s, expr: { found = found || uses($0, variables) },
            stmt: { found = found || uses($0, variables) })
    }
    return found
}

/// Walks IR with the definitions in scope.
private final class UseWalker {
    var nodes = UndefinedNodes()
    private var scope: [ObjectIdentifier: Int] = [:]
    private var log: [ObjectIdentifier] = []
    private var seen: Set<ObjectIdentifier> = []
    private var dataFree: [Var] = []
    private var steps = 0
    /// Expressions walked since there were many: their uses are known where at least as much is defined, that is up to
    /// the end of the scope.
    private var walked: Set<ObjectIdentifier> = []
    private var walkedLog: [ObjectIdentifier] = []

    func define(_ n: Node) {
        scope[ObjectIdentifier(n), default: 0] += 1
        log.append(ObjectIdentifier(n))
        nodes.dataDefined.insert(ObjectIdentifier(n))
    }

    private func isDefined(_ n: Node) -> Bool { scope[ObjectIdentifier(n), default: 0] > 0 }

    private func nested(_ body: () -> Void) {
        let mark = log.count
        let walkedMark = walkedLog.count
        body()
        while log.count > mark { scope[log.removeLast(), default: 1] -= 1 }
        while walkedLog.count > walkedMark { walked.remove(walkedLog.removeLast()) }
    }

    /// A declaration defines the buffer, its data and the variables of its shape that are not known yet.
    func declare(_ b: Buffer) {
        define(b)
        if !isDefined(b.data) { define(b.data) }
        for e in b.shape + b.strides + [b.elemOffset] {
            for v in undefinedVariables(of: e) where !isDefined(v) { define(v) }
        }
    }

    private func use(_ v: Var) {
        nodes.used.insert(ObjectIdentifier(v))
        if !isDefined(v), seen.insert(ObjectIdentifier(v)).inserted { nodes.symbols.append(v) }
    }

    private func use(_ b: Buffer) {
        if isDefined(b) || !seen.insert(ObjectIdentifier(b)).inserted { return }
        nodes.buffers.append(b)
        if !isDefined(b.data) { dataFree.append(b.data) }
        for e in b.shape + b.strides + [b.elemOffset] { visit(e) }
    }

    func result() -> UndefinedNodes {
        var copy = nodes
        let data = Set(nodes.buffers.map { ObjectIdentifier($0.data) })
        copy.symbols.removeAll { data.contains(ObjectIdentifier($0)) }
        return copy
    }

    func free() -> [Var] {
        var list: [Var] = []
        var known: Set<ObjectIdentifier> = []
        for v in nodes.symbols + dataFree where known.insert(ObjectIdentifier(v)).inserted { list.append(v) }
        return list
    }

    func visit(_ e: PrimExpr) {
        switch e.kind {
        case .intImm, .floatImm, .stringImm: return
        case .variable: return use(unsafeDowncast(e, to: Var.self))
        default: break
        }
        steps += 1
        if steps > smallWalk {
            if !walked.insert(ObjectIdentifier(e)).inserted { return }
            walkedLog.append(ObjectIdentifier(e))
        }
        growingStack { walk(e) }
    }

    private func walk(_ e: PrimExpr) {
        switch e.kind {
        case .bufferLoad:
            use(unsafeDowncast(e, to: BufferLoad.self).buffer)
            forEachChild(of: e) { visit($0) }
        case .let:
            let e = unsafeDowncast(e, to: Let.self)
            visit(e.value)
            nested {
                define(e.variable)
                visit(e.body)
            }
        case .reduce:
            let e = unsafeDowncast(e, to: Reduce.self)
            nested {
                for v in e.combiner.lhs + e.combiner.rhs { define(v) }
                for r in e.combiner.result + e.combiner.identity { visit(r) }
            }
            nested {
                for a in e.axis {
                    visit(a.dom.min)
                    visit(a.dom.extent)
                    define(a.variable)
                }
                for s in e.source + [e.condition] + e.initial { visit(s) }
            }
        default: forEachChild(of: e) { visit($0) }
        }
    }

    private func visit(_ r: BufferRegion) {
        use(r.buffer)
        for d in r.region {
            visit(d.min)
            visit(d.extent)
        }
    }

    func visit(_ s: Stmt) {
        steps = 0
        growingStack { walk(s) }
    }

    private func walk(_ s: Stmt) {
        switch s.stmtKind {
        case .letStmt:
            let s = unsafeDowncast(s, to: LetStmt.self)
            visit(s.value)
            nested {
                define(s.variable)
                visit(s.body)
            }
        case .attr:
            let s = unsafeDowncast(s, to: AttrStmt.self)
            nested {
                switch s.node {
                case let e as PrimExpr: visit(e)
                case let b as Buffer: use(b)
                case let i as IterVar:
                    visit(i.dom.min)
                    visit(i.dom.extent)
                    if !isDefined(i.variable) { define(i.variable) }
                default: break
                }
                visit(s.value)
                visit(s.body)
            }
        case .bufferStore:
            use(unsafeDowncast(s, to: BufferStore.self).buffer)
            forEachChild(of: s, expr: { visit($0) }, stmt: { visit($0) })
        case .forLoop:
            let s = unsafeDowncast(s, to: For.self)
            visit(s.min)
            visit(s.extent)
            if let t = s.threadBinding {
                if t.dom.min !== s.min { visit(t.dom.min) }
                if t.dom.extent !== s.extent { visit(t.dom.extent) }
            }
            nested {
                define(s.loopVar)
                if let t = s.threadBinding { define(t.variable) }
                visit(s.body)
            }
        case .allocate:
            let s = unsafeDowncast(s, to: Allocate.self)
            nested {
                for e in s.buffer.shape { visit(e) }
                declare(s.buffer)
                visit(s.body)
            }
        case .block:
            let s = unsafeDowncast(s, to: Block.self)
            nested {
                for v in s.iterVars {
                    visit(v.dom.min)
                    visit(v.dom.extent)
                }
                for v in s.iterVars { define(v.variable) }
                for b in s.allocBuffers { declare(b) }
                for m in s.matchBuffers {
                    visit(m.source)
                    declare(m.buffer)
                }
                for r in s.reads + s.writes { visit(r) }
                if let i = s.initial { nested { visit(i) } }
                visit(s.body)
            }
        default: forEachChild(of: s, expr: { visit($0) }, stmt: { c in nested { visit(c) } })
        }
    }
}
