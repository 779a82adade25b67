import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private final class AttrLifter: StmtExprMutator {
    private let key: String
    init(_ key: String) { self.key = key }

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }

    private func attr(_ s: Stmt) -> AttrStmt? {
        guard let a = s as? AttrStmt, a.key == key else { return nil }
        return a
    }
    private func same(_ a: AttrStmt, _ b: AttrStmt) -> Bool {
        (a.node === b.node || structuralEqual(a.node, b.node)) && sameValue(a.value, b.value)
    }
    private func sameValue(_ a: PrimExpr, _ b: PrimExpr) -> Bool { a === b || structuralEqual(a, b) }

    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        switch n {
        case let seq as SeqStmt: return sequence(seq)
        case let loop as For:
            if let a = attr(loop.body), !uses(a.value, [loop.loopVar]) {
                return AttrStmt(a.node, a.key, a.value, loop.with(body: a.body))
            }
        case let l as LetStmt:
            if let a = attr(l.body), !uses(a.value, [l.variable]) {
                return AttrStmt(a.node, a.key, a.value, LetStmt(l.variable, l.value, a.body))
            }
        case let w as Allocate:
            if let a = attr(w.body), a.node !== w.buffer, a.node !== w.buffer.data {
                return AttrStmt(a.node, a.key, a.value, Allocate(w.buffer, a.body))
            }
        case let b as IfThenElse:
            guard let t = attr(b.thenCase) else { break }
            guard let other = b.elseCase else {
                return AttrStmt(t.node, t.key, t.value, IfThenElse(b.condition, t.body))
            }
            if let e = attr(other), same(t, e) {
                return AttrStmt(t.node, t.key, t.value, IfThenElse(b.condition, t.body, e.body))
            }
        default: break
        }
        return n
    }

    /// Neighbours with equal marks get one; if that is all there is, it stands outside.
    private func sequence(_ seq: SeqStmt) -> Stmt {
        var result: [Stmt] = []
        var group: [AttrStmt] = []
        func close() {
            if group.count == 1 { result.append(group[0]) }
            if group.count > 1, let a = group.first {
                result.append(AttrStmt(a.node, a.key, a.value, SeqStmt.flat(group.map(\.body))))
            }
            group = []
        }
        for s in seq.stmts {
            if let a = attr(s) {
                if let first = group.first, !same(first, a) { close() }
                group.append(a)
            } else {
                close()
                result.append(s)
            }
        }
        close()
        return result.count == seq.stmts.count ? seq : SeqStmt.flat(result)
    }
}

/// Lifts the attribute `key` as far out as it says the same: out of loops, lets, allocations and branches, and around
/// neighbours that carry it with equal node and value.
public func liftAttrScope(_ f: PrimFunc, key: String) -> PrimFunc {
    f.rewritingBody { AttrLifter(key).mutate($0) }
}

extension TIRPasses {
    /// The pass for one key.
    public static func liftAttrScope(_ key: String) -> FunctionPass<PrimFunc> {
        primFuncPass(
            PassInfo("tir.LiftAttrScope", "equal attributes `\(key)` of neighbours become one around them")
        ) {
            f, _, _ in ApusTIRTransforms.liftAttrScope(f, key: key)
        }
    }
}
