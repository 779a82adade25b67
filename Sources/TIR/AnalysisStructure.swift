import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// Whether two expressions are the same term: same kinds, same constants, and the same variables and buffers (which
/// structural equality would pair where they are bound). Cheaper than `structuralEqual`, for the inner loops of
/// simplifiers.
public func exprDeepEqual(_ a: PrimExpr, _ b: PrimExpr) -> Bool {
    if a === b { return true }
    if a.kind != b.kind || a.dtype != b.dtype { return false }
    var comparison = DeepComparison()
    return comparison.same(a, b)
}

private struct DeepComparison {
    private struct Pair: Hashable {
        let a: ObjectIdentifier
        let b: ObjectIdentifier
    }
    private var steps = 0
    /// Pairs found equal, or being compared further out, since there were many: shared structure is compared once.
    private var met: Set<Pair> = []

    mutating func same(_ a: PrimExpr, _ b: PrimExpr) -> Bool {
        if a === b { return true }
        if a.kind != b.kind || a.dtype != b.dtype { return false }
        switch a.kind {
        case .intImm: return a.asInt == b.asInt
        case .floatImm:
            return unsafeDowncast(a, to: FloatImm.self).value.bitPattern
                == unsafeDowncast(b, to: FloatImm.self).value.bitPattern
        case .stringImm:
            return unsafeDowncast(a, to: StringImm.self).value == unsafeDowncast(b, to: StringImm.self).value
        case .variable: return false
        default: break
        }
        steps += 1
        if steps > smallWalk,
            !met.insert(Pair(a: ObjectIdentifier(a), b: ObjectIdentifier(b))).inserted
        {
            return true
        }
        return growingStack { content(a, b) }
    }

    private mutating func content(_ a: PrimExpr, _ b: PrimExpr) -> Bool {
        switch a.kind {
        case .bufferLoad:
            let x = unsafeDowncast(a, to: BufferLoad.self)
            let y = unsafeDowncast(b, to: BufferLoad.self)
            return x.buffer === y.buffer && same(x.indices, y.indices)
        case .producerLoad:
            let x = unsafeDowncast(a, to: ProducerLoad.self)
            let y = unsafeDowncast(b, to: ProducerLoad.self)
            return x.producer === y.producer && same(x.indices, y.indices)
        case .call:
            let x = unsafeDowncast(a, to: Call.self)
            let y = unsafeDowncast(b, to: Call.self)
            let callee =
                x.op === y.op
                || ((x.op as? GlobalVar).map { $0.name == (y.op as? GlobalVar)?.name } ?? false)
            return callee && same(x.args, y.args)
        case .shuffle:
            let x = unsafeDowncast(a, to: Shuffle.self)
            let y = unsafeDowncast(b, to: Shuffle.self)
            return x.indices == y.indices && same(x.vectors, y.vectors)
        case .let:
            let x = unsafeDowncast(a, to: Let.self)
            let y = unsafeDowncast(b, to: Let.self)
            return x.variable === y.variable && same(x.value, y.value) && same(x.body, y.body)
        case .reduce: return structuralEqual(a, b)
        default:
            if let x = a as? BinaryExpr, let y = b as? BinaryExpr { return same(x.a, y.a) && same(x.b, y.b) }
            var left: [PrimExpr] = []
            var right: [PrimExpr] = []
            forEachChild(of: a) { left.append($0) }
            forEachChild(of: b) { right.append($0) }
            return same(left, right)
        }
    }

    private mutating func same(_ a: [PrimExpr], _ b: [PrimExpr]) -> Bool {
        if a.count != b.count { return false }
        for i in a.indices where !same(a[i], b[i]) { return false }
        return true
    }
}

/// Whether an expression uses a variable for which `condition` holds.
public func exprUsesVar(_ e: PrimExpr, where condition: (Var) -> Bool) -> Bool {
    contains(e) { $0.kind == .variable && condition(unsafeDowncast($0, to: Var.self)) }
}

/// How much work an expression is, in elementary operations: a node counts 1, a division 4 (rounded: 6), a call of a
/// function 20, an access 4; constants and variables nothing; what is shared, each time it occurs. For deciding what to
/// compute once.
public func exprComplexity(_ e: PrimExpr) -> Int {
    sumOverOccurrences(e) { x in
        switch x.kind {
        case .intImm, .floatImm, .stringImm, .variable, .broadcast: return 0
        case .div, .mod: return 4
        case .floorDiv, .floorMod: return 6
        case .bufferLoad, .producerLoad: return 4
        case .call:
            let name = unsafeDowncast(x, to: Call.self).name
            let cheap =
                name.hasPrefix("tir.bitwise") || name.hasPrefix("tir.shift") || name == "tir.likely"
                || name == "tir.reinterpret" || name == "tir.if_then_else" || name == "tir.fma"
            return cheap ? 1 : 20
        default: return 1
        }
    }
}

/// Whether every variable is defined once, and used within its definition only. (TVM's `VerifySSA`; the verifier of
/// functions checks more.)
public func isSSA(_ f: PrimFunc) -> Bool { ssaViolation(f) == nil }

/// The variable or buffer that `f` defines twice or uses where it is not defined; nil if there is none.
public func ssaViolation(_ f: PrimFunc) -> String? {
    do {
        try verifyWellFormed(f)
        return nil
    } catch let e as ApusError {
        return e.code == "TIR140" || e.code == "TIR141" || e.code == "TIR146" ? e.message : nil
    } catch { return nil }
}

/// For each buffer that a statement accesses, the innermost statement that holds all its accesses: nil stands for the
/// whole statement. Loops, blocks, conditions and allocations count as statements that hold. (TVM's
/// `DetectBufferAccessLCA`.)
public func detectBufferAccessLCA(_ f: PrimFunc) -> [(buffer: Buffer, lca: Stmt?)] {
    let finder = AccessLCA()
    for (_, b) in f.bufferMap { finder.parameter(b) }
    finder.visit(f.body)
    return finder.result()
}

private final class AccessLCA: StmtExprVisitor {
    private final class Level {
        let stmt: Stmt?
        let parent: Level?
        let depth: Int
        init(_ stmt: Stmt?, _ parent: Level?) {
            self.stmt = stmt
            self.parent = parent
            depth = (parent?.depth ?? -1) + 1
        }
    }
    private var level = Level(nil, nil)
    private var order: [Buffer] = []
    private var lca: [Buffer: Level] = [:]
    private var parameters: Set<Buffer> = []
    override var walksSharedOnce: Bool { true }

    func parameter(_ b: Buffer) { parameters.insert(b) }

    func result() -> [(buffer: Buffer, lca: Stmt?)] {
        order.map { b in (buffer: b, lca: parameters.contains(b) ? nil : lca[b]?.stmt) }
    }

    private func access(_ b: Buffer) {
        guard var x = lca[b] else {
            order.append(b)
            lca[b] = level
            return
        }
        var y = level
        while x !== y {
            if x.depth > y.depth, let p = x.parent {
                x = p
            } else if y.depth > x.depth, let p = y.parent {
                y = p
            } else if let p = x.parent, let q = y.parent {
                (x, y) = (p, q)
            } else {
                break
            }
        }
        lca[b] = x
    }

    override func visit(_ e: PrimExpr) {
        if let l = e as? BufferLoad { access(l.buffer) }
        visitChildren(of: e)
    }

    override func visit(_ s: Stmt) {
        switch s {
        case let w as BufferStore:
            access(w.buffer)
            visitChildren(of: s)
        case is For, is Block, is IfThenElse, is While, is Allocate:
            if let f = s as? For {
                beginExpression()
                visit(f.min)
                visit(f.extent)
            }
            let outer = level
            level = Level(s, outer)
            if let f = s as? For {
                growingStack { visit(f.body) }
            } else {
                if let b = s as? Block { for m in b.matchBuffers { access(m.source.buffer) } }
                visitChildren(of: s)
            }
            level = outer
        default: visitChildren(of: s)
        }
    }
}

/// Bytes of global memory that a function allocates at most at one time, each allocation rounded up to `alignment`
/// bytes; sizes that are not constant count as nothing. Sequences and branches share memory, nests add up.
public func calculateWorkspaceBytes(_ f: PrimFunc, alignment: Int = 64) -> Int {
    WorkspaceCount(Swift.max(alignment, 1)).stmt(f.body)
}

private struct WorkspaceCount {
    let alignment: Int
    init(_ alignment: Int) { self.alignment = alignment }

    private func bytes(_ b: Buffer) -> Int {
        guard b.storageScope.rank == .global, let n = constantBytes(b) else { return 0 }
        let (padded, overflow) = n.addingReportingOverflow(alignment - 1)
        return overflow ? n : padded / alignment * alignment
    }

    func stmt(_ s: Stmt) -> Int {
        var most = 0
        growingStack { forEachChild(of: s, expr: { _ in }, stmt: { most = Swift.max(most, stmt($0)) }) }
        var own = 0
        if let a = s as? Allocate { own = bytes(a.buffer) }
        if let b = s as? Block { for a in b.allocBuffers { own = own &+ bytes(a) } }
        return own &+ most
    }
}
