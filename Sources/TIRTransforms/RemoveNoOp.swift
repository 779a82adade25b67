import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Whether evaluating `e` can be left out.
func isPure(_ e: PrimExpr) -> Bool { sideEffect(of: e) != .updateState }

private func isNoOp(_ s: Stmt) -> Bool {
    if let e = s as? Evaluate { return isPure(e.value) }
    if let seq = s as? SeqStmt { return seq.stmts.isEmpty }
    return false
}

/// Allocated memory that nobody asks: never read, or read only to compute what is stored in such memory.
private final class DeadMemory: StmtExprVisitor {
    private var allocated: Set<Var> = []
    /// Data pointers and variables that are needed for certain.
    private var live: Set<Var> = []
    /// What is read to compute what is stored in a buffer or bound to a variable.
    private var feeds: [Var: [Var]] = [:]
    /// The buffer or variable that the expression being visited is for.
    private var target: Var?
    private var stored: Set<Var> = []

    private func need(_ data: Var) {
        if let target { feeds[target, default: []].append(data) } else { live.insert(data) }
    }

    override func visit(_ e: PrimExpr) {
        if let l = e as? BufferLoad { need(l.buffer.data) }
        if e.kind == .variable {
            let v = unsafeDowncast(e, to: Var.self)
            // A pointer handed to a function, or a view in a pointer variable: needed.
            if e.dtype.isHandle { live.insert(v) } else { need(v) }
        }
        if let c = e as? Call, c.name == "tir.address_of", let l = c.args.first as? BufferLoad {
            live.insert(l.buffer.data)
        }
        visitChildren(of: e)
    }

    override func visit(_ s: Stmt) {
        switch s {
        case let a as Allocate: allocated.insert(a.buffer.data)
        case let b as Block:
            for a in b.allocBuffers { allocated.insert(a.data) }
            for m in b.matchBuffers { live.insert(m.source.buffer.data) }
        case let a as AttrStmt:
            if let v = a.node as? Var { live.insert(v) }
            if let b = a.node as? Buffer { live.insert(b.data) }
        // What NoOpRemover drops at once asks for nothing.
        case let loop as For: if let n = loop.extent.asInt, n <= 0 { return }
        case let w as While: if w.condition.isFalse { return }
        case let e as Evaluate: if isPure(e.value) { return }
        case let b as IfThenElse:
            if b.condition.isTrue { return visit(b.thenCase) }
            if b.condition.isFalse {
                if let e = b.elseCase { visit(e) }
                return
            }
        case let l as LetStmt:
            if isPure(l.value) {
                target = l.variable
                visit(l.value)
                target = nil
                visit(l.body)
                return
            }
        case let store as BufferStore:
            let pure = isPure(store.value) && store.indices.allSatisfy { isPure($0) }
            target = pure ? store.buffer.data : nil
            stored.insert(store.buffer.data)
            if !pure { live.insert(store.buffer.data) }
            visitChildren(of: s)
            target = nil
            return
        default: break
        }
        visitChildren(of: s)
    }

    func dead() -> Set<Var> {
        // Memory from outside is always needed.
        var work = Array(live) + stored.filter { !allocated.contains($0) }
        var reached = Set(work)
        while let v = work.popLast() {
            for w in feeds[v] ?? [] where reached.insert(w).inserted { work.append(w) }
        }
        return allocated.subtracting(reached)
    }
}

/// Drops statements bottom-up. Uses are counted for what is kept only, each body before what surrounds it, so that one
/// walk suffices however deep lets nest.
private final class NoOpRemover: StmtExprMutator {
    private let dead: Set<Var>
    /// Variables and data pointers used by the statements kept so far.
    private var used: Set<Var> = []

    init(dead: Set<Var>) { self.dead = dead }

    private func count(_ e: PrimExpr) {
        postOrderVisit(e) { x in
            if x.kind == .variable { used.insert(unsafeDowncast(x, to: Var.self)) }
            if let l = x as? BufferLoad { count(l.buffer) }
        }
    }
    private func count(_ b: Buffer) {
        if !used.insert(b.data).inserted { return }
        for e in b.shape + b.strides + [b.elemOffset] where e.kind != .intImm { count(e) }
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }

    override func mutate(_ s: Stmt) -> Stmt {
        let n = rewrite(s)
        if !isNoOp(n) && n.stmtKind != .seq { countOwn(n) }
        return n
    }

    /// The expressions of a statement without those of its parts, which have been counted.
    private func countOwn(_ s: Stmt) {
        forEachChild(of: s, expr: { count($0) }, stmt: { _ in })
        switch s {
        case let store as BufferStore: count(store.buffer)
        case let a as Allocate: for e in a.buffer.shape + a.buffer.strides { count(e) }
        case let a as AttrStmt:
            if let v = a.node as? Var { used.insert(v) }
            if let b = a.node as? Buffer { count(b) }
        case let b as Block:
            for r in b.reads + b.writes { count(r.buffer) }
            for m in b.matchBuffers { count(m.source.buffer) }
        default: break
        }
    }

    private func rewrite(_ s: Stmt) -> Stmt {
        if let store = s as? BufferStore {
            if dead.contains(store.buffer.data) { return Evaluate.noOp }
            return storesItself(store.buffer, store.value, store.indices) && isPure(store.value)
                ? Evaluate.noOp : s
        }
        // What never runs goes before its parts are looked at: they count for nothing.
        switch s {
        case let loop as For: if let e = loop.extent.asInt, e <= 0 { return Evaluate.noOp }
        case let w as While: if w.condition.isFalse { return Evaluate.noOp }
        case let b as IfThenElse:
            if b.condition.isTrue { return mutate(b.thenCase) }
            if b.condition.isFalse { return b.elseCase.map { mutate($0) } ?? Evaluate.noOp }
        default: break
        }
        let n = mutateChildren(of: s)
        switch n.stmtKind {
        case .seq:
            let seq = unsafeDowncast(n, to: SeqStmt.self)
            let kept = seq.stmts.filter { !isNoOp($0) }
            if kept.count == seq.stmts.count { return n }
            return kept.isEmpty ? Evaluate.noOp : SeqStmt.flat(kept)
        case .forLoop:
            let loop = unsafeDowncast(n, to: For.self)
            return isNoOp(loop.body) && isPure(loop.min) && isPure(loop.extent) ? Evaluate.noOp : n
        case .ifThenElse:
            let b = unsafeDowncast(n, to: IfThenElse.self)
            if let e = b.elseCase, isNoOp(e) {
                return isNoOp(b.thenCase) && isPure(b.condition)
                    ? Evaluate.noOp : IfThenElse(b.condition, b.thenCase)
            }
            if isNoOp(b.thenCase) {
                if let e = b.elseCase { return IfThenElse(not(b.condition), e) }
                if isPure(b.condition) { return Evaluate.noOp }
            }
            return n
        case .letStmt:
            let l = unsafeDowncast(n, to: LetStmt.self)
            if !isPure(l.value) { return n }
            return isNoOp(l.body) || !used.contains(l.variable) ? l.body : n
        case .allocate:
            let a = unsafeDowncast(n, to: Allocate.self)
            return isNoOp(a.body) || !used.contains(a.buffer.data) ? a.body : n
        case .attr: return isNoOp(unsafeDowncast(n, to: AttrStmt.self).body) ? Evaluate.noOp : n
        case .assert: return unsafeDowncast(n, to: AssertStmt.self).condition.isTrue ? Evaluate.noOp : n
        case .evaluate:
            let e = unsafeDowncast(n, to: Evaluate.self)
            return isNoOp(n) && e.value.kind != .intImm ? Evaluate.noOp : n
        default: return n
        }
    }
}

/// Drops statements without effect: empty loops and branches, pure evaluations, unused lets, stores of what is there
/// already, and memory that is written but never asked for, with the stores into it.
public func removeNoOp(_ f: PrimFunc) -> PrimFunc {
    f.rewritingBody { body in
        var body = body
        // What is gone may have been the last to ask for something else; few rounds find all but contrived chains.
        for _ in 0..<8 {
            let memory = DeadMemory()
            memory.visit(body)
            let next = NoOpRemover(dead: memory.dead()).mutate(body)
            if next === body { break }
            body = next
        }
        return body
    }
}
