import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// The number of statements and expressions in `s`.
func nodeCount(_ s: Stmt) -> Int {
    var n = 0
    postOrderVisit(s, expr: { _ in n += 1 }, stmt: { _ in n += 1 })
    return n
}

private final class Unroller: StmtExprMutator {
    private var values: [Var: PrimExpr] = [:]
    /// Nodes that explicit unrolling may still add.
    private var budget: Int
    private let autoMaxStep: Int

    init(budget: Int, autoMaxStep: Int) {
        self.budget = budget
        self.autoMaxStep = autoMaxStep
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if values.isEmpty { return e }
        if e.kind == .variable { return values[unsafeDowncast(e, to: Var.self)] ?? e }
        return mutateChildren(of: e)
    }

    override func mutate(_ s: Stmt) -> Stmt {
        guard let loop = s as? For, loop.forKind == .unrolled || loop.forKind == .serial else {
            return mutateChildren(of: s)
        }
        let lo = mutate(loop.min)
        let extent = mutate(loop.extent)
        let hint = loop.annotations.int("pragma_auto_unroll_max_step") ?? autoMaxStep
        guard let n = extent.asInt, n >= 0, loop.forKind == .unrolled || (hint > 0 && n > 0 && n <= hint)
        else {
            return finished(loop, lo, extent)
        }
        if loop.forKind == .serial && steps(loop.body) > hint / Swift.max(n, 1) {
            return finished(loop, lo, extent)
        }
        let cost = nodeCount(loop.body).multipliedReportingOverflow(by: n)
        if cost.overflow || cost.partialValue > budget { return finished(loop, lo, extent) }
        budget -= cost.partialValue
        var copies: [Stmt] = []
        let outer = values[loop.loopVar]
        for i in 0..<n {
            values[loop.loopVar] = lo + i
            copies.append(mutate(loop.body))
        }
        values[loop.loopVar] = outer
        return copies.isEmpty ? Evaluate.noOp : SeqStmt.flat(copies)
    }

    private func finished(_ loop: For, _ lo: PrimExpr, _ extent: PrimExpr) -> Stmt {
        let body = mutate(loop.body)
        let kind: ForKind = loop.forKind == .unrolled ? .serial : loop.forKind
        if lo === loop.min && extent === loop.extent && body === loop.body && kind == loop.forKind {
            return loop
        }
        return loop.with(min: lo, extent: extent, kind: kind, body: body)
    }

    /// Stores that one run of `s` makes.
    private func steps(_ s: Stmt) -> Int {
        switch s.stmtKind {
        case .forLoop:
            let loop = unsafeDowncast(s, to: For.self)
            guard let n = loop.extent.asInt else { return 1 << 20 }
            let r = steps(loop.body).multipliedReportingOverflow(by: n)
            return r.overflow ? 1 << 20 : r.partialValue
        case .bufferStore, .evaluate: return 1
        default:
            var total = 0
            forEachChild(of: s, expr: { _ in }, stmt: { total += steps($0) })
            return Swift.min(total, 1 << 20)
        }
    }
}

/// Expands unrolled loops of constant extent; where that would add more than `budget` nodes (or the extent is not
/// constant) the loop becomes serial. Serial loops with the annotation `pragma_auto_unroll_max_step`, or all with
/// `autoMaxStep` > 0, are expanded where the whole makes at most that many stores.
public func unrollLoop(_ f: PrimFunc, budget: Int = 100_000, autoMaxStep: Int = 0) -> PrimFunc {
    f.with(body: Unroller(budget: budget, autoMaxStep: autoMaxStep).mutate(f.body))
}
