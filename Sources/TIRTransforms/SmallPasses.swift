import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Passes that the standard pipeline does not need, for debugging and for special targets.

private final class AssertSkipper: StmtExprMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt { s.stmtKind == .assert ? Evaluate.noOp : mutateChildren(of: s) }
}

/// Drops assertions.
public func skipAssert(_ f: PrimFunc) -> PrimFunc { f.rewritingBody { AssertSkipper().mutate($0) } }

private final class Serialiser: StmtExprMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        guard let loop = n as? For, loop.forKind == .parallel else { return n }
        return loop.with(kind: .serial)
    }
}

/// Makes parallel loops serial: for targets of one thread.
public func convertForLoopsToSerial(_ f: PrimFunc) -> PrimFunc { f.rewritingBody { Serialiser().mutate($0) } }

private final class SelectGuard: StmtExprMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let n = mutateChildren(of: e)
        guard let s = n as? Select, s.condition.dtype.isScalar, mayFail(s.trueValue) || mayFail(s.falseValue)
        else {
            return n
        }
        return ifThenElse(s.condition, s.trueValue, s.falseValue)
    }

    /// Reads memory or divides by what may be 0.
    private func mayFail(_ e: PrimExpr) -> Bool {
        var found = false
        postOrderVisit(e) { x in
            switch x.kind {
            case .bufferLoad: found = true
            case .div, .mod, .floorDiv, .floorMod:
                if x.dtype.isInteger, unsafeDowncast(x, to: BinaryExpr.self).b.constantInt ?? 0 == 0 {
                    found = true
                }
            case .call: if effect(of: unsafeDowncast(x, to: Call.self)) != .pure { found = true }
            default: break
            }
        }
        return found
    }
}

/// Turns a `Select` whose sides read memory or may divide by 0 into `if_then_else`, which evaluates one side only:
/// for programs that rely on the condition to keep the other side from failing. Costs vector code.
public func rewriteUnsafeSelect(_ f: PrimFunc) -> PrimFunc { f.rewritingBody { SelectGuard().mutate($0) } }

extension TIRPasses {
    public static let skipAssert = FunctionPass<PrimFunc>(
        PassInfo("tir.SkipAssert", "assertions are dropped")
    ) { f, _, _ in ApusTIRTransforms.skipAssert(f) }

    public static let convertForLoopsToSerial = FunctionPass<PrimFunc>(
        PassInfo(
            "tir.ConvertForLoopsToSerial", "parallel loops become serial", establishes: ["no parallel loops"])
    ) { f, _, _ in ApusTIRTransforms.convertForLoopsToSerial(f) }

    public static let rewriteUnsafeSelect = FunctionPass<PrimFunc>(
        PassInfo("tir.RewriteUnsafeSelect", "selects whose sides may fail become if_then_else")
    ) { f, _, _ in ApusTIRTransforms.rewriteUnsafeSelect(f) }
}
