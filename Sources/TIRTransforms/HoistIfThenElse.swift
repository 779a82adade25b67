import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// How far `hoistIfThenElse` goes.
public enum HoistVariant: Sendable {
    /// Out of serial, unrolled and vectorised loops whose whole body is the branch.
    case basic
    /// Also out of thread-bound loops, lets, attributes and allocations; branches on the same condition that follow each
    /// other become one.
    case full
}

private final class IfHoister: StmtExprMutator {
    private let variant: HoistVariant
    init(_ variant: HoistVariant) { self.variant = variant }

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }

    override func mutate(_ s: Stmt) -> Stmt { hoist(mutateChildren(of: s)) }

    /// `s`, whose parts have been hoisted as far as they go, with a branch taken out of it.
    private func hoist(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .forLoop:
            let loop = unsafeDowncast(s, to: For.self)
            switch loop.forKind {
            case .serial, .unrolled, .vectorized: break
            case .threadBinding: if variant == .basic || loop.threadBinding == nil { return s }
            case .parallel: return s
            }
            // A loop of no iterations does nothing either way: the condition is pure.
            var bound: Set<Var> = [loop.loopVar]
            if let t = loop.threadBinding { bound.insert(t.variable) }
            return taken(loop.body, bound) { body in loop.with(body: body) } ?? s
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            guard variant == .full, sideEffect(of: l.value) != .updateState else { return s }
            return taken(l.body, [l.variable]) { body in LetStmt(l.variable, l.value, body) } ?? s
        case .allocate:
            let a = unsafeDowncast(s, to: Allocate.self)
            guard variant == .full else { return s }
            return taken(a.body, []) { body in Allocate(a.buffer, body) } ?? s
        case .attr:
            let a = unsafeDowncast(s, to: AttrStmt.self)
            guard variant == .full else { return s }
            var bound: Set<Var> = []
            if let i = a.node as? IterVar { bound.insert(i.variable) }
            return taken(a.body, bound) { body in AttrStmt(a.node, a.key, a.value, body) } ?? s
        case .seq: return variant == .full ? merged(unsafeDowncast(s, to: SeqStmt.self)) : s
        default: return s
        }
    }

    /// If `body` is a branch on something that neither `bound` nor memory has a say in: that branch with `wrap` around
    /// each side.
    private func taken(_ body: Stmt, _ bound: Set<Var>, _ wrap: (Stmt) -> Stmt) -> Stmt? {
        guard let branch = body as? IfThenElse, !touchesState(branch.condition),
            !uses(branch.condition, bound)
        else { return nil }
        let t = hoist(wrap(branch.thenCase))
        // The second copy of what is around needs its own definitions.
        let e = branch.elseCase.map { hoist(FreshCopier.copy(wrap($0))) }
        return IfThenElse(branch.condition, t, e)
    }

    /// Branches on one condition, one after the other. The first cannot change the condition: it reads no memory.
    private func merged(_ seq: SeqStmt) -> Stmt {
        var result: [Stmt] = []
        var group: [IfThenElse] = []
        func close() {
            guard let first = group.first else { return }
            if group.count == 1 {
                result.append(first)
            } else {
                let none = group.allSatisfy { $0.elseCase == nil }
                let other: Stmt? = none ? nil : SeqStmt.flat(group.compactMap(\.elseCase))
                result.append(IfThenElse(first.condition, SeqStmt.flat(group.map(\.thenCase)), other))
            }
            group = []
        }
        for s in seq.stmts {
            if let branch = s as? IfThenElse, !touchesState(branch.condition) {
                if let first = group.first, !sameExpr(first.condition, branch.condition) { close() }
                group.append(branch)
            } else {
                close()
                result.append(s)
            }
        }
        close()
        return result.count == seq.stmts.count ? seq : SeqStmt.flat(result)
    }
}

/// Moves conditions that do not depend on a loop out of it, where the branch is all of its body. The condition may
/// not read memory, which the loop could change.
public func hoistIfThenElse(_ f: PrimFunc, variant: HoistVariant) -> PrimFunc {
    f.rewritingBody { IfHoister(variant).mutate($0) }
}

/// As above, as far as it goes.
public func hoistIfThenElse(_ f: PrimFunc) -> PrimFunc { hoistIfThenElse(f, variant: .full) }

extension TIRPasses {
    public static let hoistIfThenElseBasic = primFuncPass(
        PassInfo(
            "tir.HoistIfThenElseBasic", "conditions that do not change move out of serial loops", level: 1)
    ) { f, _, _ in ApusTIRTransforms.hoistIfThenElse(f, variant: .basic) }
}
