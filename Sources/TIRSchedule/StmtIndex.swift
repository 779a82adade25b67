import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// The statements of a function in pre-order with their parents: finds loops by variable and blocks by name,
/// and makes the function in which one of them is replaced (path copying). Statements inside a block's
/// `initial` are not indexed: a schedule moves them with their block only.
final class StmtIndex {
    struct Entry {
        let stmt: Stmt
        /// -1 for the root.
        let parent: Int
        /// One past the last entry of the subtree.
        var end: Int
    }

    let function: PrimFunc
    private(set) var entries: [Entry] = []
    private(set) var loopAt: [Var: Int] = [:]
    private(set) var blockAt: [String: Int] = [:]
    /// Ranges of all loops and block variables; variables are unique in a function that has been normalised.
    let arith = ArithContext()
    /// The buffers that blocks allocate.
    private(set) var allocated: Set<Buffer> = []
    /// Facts about blocks that were asked for.
    var infoAt: [Int: BlockInfo] = [:]

    init(_ function: PrimFunc) {
        self.function = function
        add(function.body, -1)
    }

    private func add(_ s: Stmt, _ parent: Int) {
        let at = entries.count
        entries.append(Entry(stmt: s, parent: parent, end: at))
        switch s.stmtKind {
        case .forLoop:
            let f = unsafeDowncast(s, to: For.self)
            loopAt[f.loopVar] = at
            arith.bind(f.loopVar, IRRange(min: f.min, extent: f.extent))
            add(f.body, at)
        case .blockRealize:
            let r = unsafeDowncast(s, to: BlockRealize.self)
            blockAt[r.block.name] = at
            allocated.formUnion(r.block.allocBuffers)
            // Blocks inside are bound in terms of these.
            for v in r.block.iterVars { arith.bind(v.variable, v.dom) }
            add(r.block.body, at)
        case .seq: for c in unsafeDowncast(s, to: SeqStmt.self).stmts { add(c, at) }
        case .ifThenElse:
            let i = unsafeDowncast(s, to: IfThenElse.self)
            add(i.thenCase, at)
            if let e = i.elseCase { add(e, at) }
        case .letStmt: add(unsafeDowncast(s, to: LetStmt.self).body, at)
        case .attr: add(unsafeDowncast(s, to: AttrStmt.self).body, at)
        case .whileLoop: add(unsafeDowncast(s, to: While.self).body, at)
        case .allocate: add(unsafeDowncast(s, to: Allocate.self).body, at)
        default: break
        }
        entries[at].end = entries.count
    }

    // MARK: Questions

    func realize(_ i: Int) -> BlockRealize? { entries[i].stmt as? BlockRealize }
    func loop(_ i: Int) -> For? { entries[i].stmt as? For }

    /// The entry of the block that encloses entry `i`; -1 for the root block itself.
    func scope(of i: Int) -> Int {
        var p = entries[i].parent
        while p >= 0, entries[p].stmt.stmtKind != .blockRealize { p = entries[p].parent }
        return p
    }

    /// Loops around entry `i` up to its enclosing block, outermost first; `i` itself not included.
    func loopsAbove(_ i: Int) -> [For] {
        var result: [For] = []
        var p = entries[i].parent
        while p >= 0, entries[p].stmt.stmtKind != .blockRealize {
            if let f = entries[p].stmt as? For { result.append(f) }
            p = entries[p].parent
        }
        return result.reversed()
    }

    /// Entries of the blocks directly in the scope of entry `i` (a block or any statement below one), in
    /// order; blocks nested in those are left out.
    func blocksBelow(_ i: Int) -> [Int] {
        var result: [Int] = []
        var at = i + 1
        while at < entries[i].end {
            if entries[at].stmt.stmtKind == .blockRealize {
                result.append(at)
                at = entries[at].end
            } else {
                at += 1
            }
        }
        return result
    }

    /// The first statement below entry `i` that computes outside any block, or nil.
    func looseStatement(below i: Int) -> Stmt? {
        var at = i + 1
        while at < entries[i].end {
            switch entries[at].stmt.stmtKind {
            case .blockRealize: at = entries[at].end
            case .forLoop, .seq: at += 1
            default: return entries[at].stmt
            }
        }
        return nil
    }

    // MARK: Rebuilding

    /// The function with entry `i` replaced; nil removes it together with the loops left empty.
    func replacing(_ i: Int, with new: Stmt?) -> PrimFunc {
        var child = entries[i].stmt
        var replacement = new
        var p = entries[i].parent
        while p >= 0 {
            let parent = entries[p].stmt
            replacement = rebuilt(parent, child, replacement)
            child = parent
            p = entries[p].parent
        }
        return function.with(body: replacement ?? SeqStmt([]))
    }

    /// The function with several entries replaced in one pass, none of them inside another; nil removes as above.
    func replacing(_ changes: [Int: Stmt?]) -> PrimFunc {
        var counts: [Int: Int] = [:]
        for i in changes.keys {
            var p = i
            while p >= 0 {
                counts[p, default: 0] += 1
                p = entries[p].parent
            }
        }
        func rebuild(_ i: Int) -> Stmt? {
            if let change = changes[i] { return change }
            guard counts[i] != nil else { return entries[i].stmt }
            // Children in order; positions are those of the entries.
            var result: Stmt? = entries[i].stmt
            var c = i + 1
            var replaced: [ObjectIdentifier: Stmt?] = [:]
            while c < entries[i].end {
                if counts[c] != nil { replaced[ObjectIdentifier(entries[c].stmt)] = .some(rebuild(c)) }
                c = entries[c].end
            }
            if let seq = result as? SeqStmt {
                let stmts = seq.stmts.compactMap { s in replaced[ObjectIdentifier(s)] ?? s }
                return stmts.isEmpty ? nil : SeqStmt.flat(stmts)
            }
            c = i + 1
            while c < entries[i].end, let parent = result {
                if let new = replaced[ObjectIdentifier(entries[c].stmt)] {
                    result = rebuilt(parent, entries[c].stmt, new)
                }
                c = entries[c].end
            }
            return result
        }
        return function.with(body: rebuild(0) ?? SeqStmt([]))
    }

    private func rebuilt(_ parent: Stmt, _ old: Stmt, _ new: Stmt?) -> Stmt? {
        switch parent.stmtKind {
        case .forLoop: return new.map { unsafeDowncast(parent, to: For.self).with(body: $0) }
        case .seq:
            var stmts: [Stmt] = []
            for s in unsafeDowncast(parent, to: SeqStmt.self).stmts {
                if s !== old { stmts.append(s) } else if let new { stmts.append(new) }
            }
            return stmts.isEmpty ? nil : SeqStmt.flat(stmts)
        case .blockRealize:
            let r = unsafeDowncast(parent, to: BlockRealize.self)
            return BlockRealize(r.iterValues, predicate: r.predicate, r.block.with(body: new ?? SeqStmt([])))
        case .ifThenElse:
            let s = unsafeDowncast(parent, to: IfThenElse.self)
            if s.thenCase === old {
                return IfThenElse(s.condition, new ?? SeqStmt([]), s.elseCase)
            }
            return IfThenElse(s.condition, s.thenCase, new)
        case .letStmt:
            let s = unsafeDowncast(parent, to: LetStmt.self)
            return new.map { LetStmt(s.variable, s.value, $0) }
        case .attr:
            let s = unsafeDowncast(parent, to: AttrStmt.self)
            return new.map { AttrStmt(s.node, s.key, s.value, $0) }
        case .whileLoop: return new.map { While(unsafeDowncast(parent, to: While.self).condition, $0) }
        case .allocate: return new.map { Allocate(unsafeDowncast(parent, to: Allocate.self).buffer, $0) }
        default: internalError("a leaf statement has a child")
        }
    }
}

/// Changes the statements between a loop and its blocks: expressions of loops and block bindings are
/// substituted and simplified, predicates get further conjuncts. Blocks are isolated from loop variables and
/// stay as they are.
func rewriteBindings(
    _ s: Stmt, _ map: [Var: PrimExpr], conditions: [PrimExpr], _ arith: ArithContext
) -> Stmt {
    switch s.stmtKind {
    case .forLoop:
        let f = unsafeDowncast(s, to: For.self)
        let lo = arith.simplify(substitute(f.min, map))
        let extent = arith.simplify(substitute(f.extent, map))
        arith.bind(f.loopVar, IRRange(min: lo, extent: extent))
        return f.with(
            min: lo, extent: extent, body: rewriteBindings(f.body, map, conditions: conditions, arith))
    case .blockRealize:
        let r = unsafeDowncast(s, to: BlockRealize.self)
        let values: [PrimExpr] = r.iterValues.map { arith.simplify(substitute($0, map)) }
        var parts: [PrimExpr] = conjuncts(r.predicate).map { substitute($0, map) }
        parts.append(contentsOf: conditions)
        return BlockRealize(values, predicate: conjunction(parts, arith), r.block)
    default:
        return mapChildren(
            of: s, expr: { substitute($0, map) },
            stmt: { rewriteBindings($0, map, conditions: conditions, arith) })
    }
}

/// The conjunction of what is not known to hold anyway.
func conjunction(_ parts: [PrimExpr], _ arith: ArithContext) -> PrimExpr {
    var kept: [PrimExpr] = []
    for p in parts {
        let q = arith.simplify(p)
        if q.isTrue || arith.canProveDeeply(q) || kept.contains(where: { sameExpr($0, q) }) { continue }
        kept.append(q)
    }
    return all(kept)
}
