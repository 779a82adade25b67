import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Collects the `likely` conditions below a loop and decides conditions that are known.
private final class LikelyFinder: StmtExprVisitor {
    private(set) var conditions: [PrimExpr] = []
    private(set) var loops: [(variable: Var, set: IntervalSet)] = []

    override func visit(_ e: PrimExpr) {
        if let c = e as? Call, c.name == "tir.likely" { add(c.args[0]) }
        visitChildren(of: e)
    }
    private func add(_ e: PrimExpr) {
        if let a = e as? And {
            add(a.a)
            add(a.b)
        } else {
            conditions.append(e)
        }
    }
    override func visit(_ s: Stmt) {
        if let loop = s as? For {
            loops.append(
                (variable: loop.loopVar, set: IntervalSet(IRRange(min: loop.min, extent: loop.extent))))
        }
        visitChildren(of: s)
    }
}

/// Replaces given conditions by true.
private final class ConditionRemover: StmtExprMutator {
    private let known: [PrimExpr]
    init(_ known: [PrimExpr]) { self.known = known }

    private func reduce(_ e: PrimExpr) -> PrimExpr {
        if let a = e as? And { return and(reduce(a.a), reduce(a.b)) }
        return known.contains { $0 === e } ? trueExpr : e
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if let c = e as? Call, c.name == "tir.likely" {
            let r = reduce(c.args[0])
            return r.isTrue ? r : (r === c.args[0] ? e : Call(c.dtype, c.op, [r]))
        }
        return mutateChildren(of: e)
    }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        if let branch = n as? IfThenElse, branch.condition.isTrue { return branch.thenCase }
        return n
    }
}

private final class Partitioner: AnalyzingMutator {
    private var depth = 0
    private let maxNodes: Int

    init(_ analyzer: Analyzer, maxNodes: Int) {
        self.maxNodes = maxNodes
        super.init(analyzer)
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }

    override func mutate(_ s: Stmt) -> Stmt {
        guard let loop = s as? For else { return mutateChildren(of: s) }
        analyzer.bind(loop.loopVar, IRRange(min: loop.min, extent: loop.extent))
        guard loop.forKind == .serial, depth < 3, let parts = split(loop) else {
            return loop.with(body: mutate(loop.body))
        }
        return parts
    }

    /// The loop as up to three: before, in and after the range where its conditions hold for certain.
    private func split(_ loop: For) -> Stmt? {
        let finder = LikelyFinder()
        finder.visit(loop.body)
        if finder.conditions.isEmpty || nodeCount(loop.body) > maxNodes { return nil }
        var domains: [Var: IntervalSet] = [:]
        for l in finder.loops { domains[l.variable] = l.set }
        // `b - a` at its least over the inner loops must not be negative.
        var lower: PrimExpr?
        var upper: PrimExpr?
        var certain: [PrimExpr] = []
        for c in finder.conditions where uses(c, [loop.loopVar]) {
            guard let op = c as? BinaryExpr, op.a.dtype == .index else { continue }
            let slack: PrimExpr
            switch c.kind {
            case .lt: slack = op.b - op.a - 1
            case .le: slack = op.b - op.a
            case .gt: slack = op.a - op.b - 1
            case .ge: slack = op.a - op.b
            default: continue
            }
            guard let least = analyzer.evalSet(slack, domains).min,
                let s = analyzer.solve(least .>= 0, for: loop.loopVar)
            else { continue }
            if let lo = s.lower { lower = lower.map { analyzer.simplify(maximum($0, lo)) } ?? lo }
            if let hi = s.upper { upper = upper.map { analyzer.simplify(minimum($0, hi)) } ?? hi }
            certain.append(c)
        }
        if certain.isEmpty { return nil }
        let end = loop.min + loop.extent
        // The middle is first ..< last, inside the loop's own range whatever the bounds are.
        let first = lower.map { analyzer.simplify(maximum(loop.min, minimum($0, end))) } ?? loop.min
        let last =
            upper.map { analyzer.simplify(maximum(first, minimum($0 + 1, end))) } ?? analyzer.simplify(end)
        let count = analyzer.simplify(last - first)
        if analyzer.canProve(count .<= IntImm(0)) { return nil }
        depth += 1
        defer { depth -= 1 }
        var parts: [Stmt] = []
        func part(_ from: PrimExpr, _ extent: PrimExpr, _ body: Stmt, again: Bool) {
            if extent.asInt.map({ $0 <= 0 }) ?? false { return }
            if extent.asInt == 1 {
                let one = substitute(body, [loop.loopVar: from])
                parts.append(mutate(one))
                return
            }
            analyzer.bind(loop.loopVar, IRRange(min: from, extent: extent))
            // The same variable in each part would be bound thrice: each part gets its own.
            let v = parts.isEmpty ? loop.loopVar : Var(loop.loopVar.name)
            let own = v === loop.loopVar ? body : substitute(body, [loop.loopVar: v])
            analyzer.bind(v, IRRange(min: from, extent: extent))
            parts.append(
                For(v, from, extent, loop.forKind, body: mutate(own), annotations: loop.annotations))
        }
        part(loop.min, analyzer.simplify(first - loop.min), loop.body, again: true)
        part(first, count, ConditionRemover(certain).mutate(loop.body), again: false)
        part(last, analyzer.simplify(end - last), loop.body, again: true)
        return SeqStmt.flat(parts)
    }
}

/// Splits serial loops where their `likely` conditions hold for a range of iterations, so that the middle part runs
/// without conditions. Loops whose body has more than `maxNodes` nodes are left alone, since the code triples.
public func loopPartition(_ f: PrimFunc, maxNodes: Int = 4000) -> PrimFunc {
    f.with(body: Partitioner(shapeAnalyzer(f), maxNodes: maxNodes).mutate(f.body))
}
