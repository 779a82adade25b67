import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Counts index expressions that could be computed once at the top of a loop body.
private final class CandidateCounter: StmtExprVisitor {
    struct Candidate {
        var expr: PrimExpr
        var count: Int
        var size: Int
    }
    private(set) var list: [Candidate] = []
    private var buckets: [UInt64: [Int]] = [:]
    /// Variables defined inside: what uses them cannot be moved out.
    private var inner: Set<Var> = []

    init(inner: Set<Var>) { self.inner = inner }

    override func visit(_ e: PrimExpr) {
        if isCandidate(e) {
            let hash = structuralHash(e)
            for i in buckets[hash] ?? [] where sameExpr(list[i].expr, e) {
                list[i].count += 1
                return
            }
            buckets[hash, default: []].append(list.count)
            list.append(Candidate(expr: e, count: 1, size: size(e)))
        }
        visitChildren(of: e)
    }
    private func size(_ e: PrimExpr) -> Int {
        expressionSize(e)
    }
    /// Pure integer arithmetic that cannot trap, of variables known outside.
    private func isCandidate(_ e: PrimExpr) -> Bool {
        guard e.dtype == .index, e is BinaryExpr else { return false }
        var ok = true
        postOrderVisit(e) { x in
            switch x.kind {
            case .intImm, .add, .sub, .mul, .min, .max: break
            case .floorDiv, .floorMod, .div, .mod:
                if (unsafeDowncast(x, to: BinaryExpr.self)).b.asInt ?? 0 == 0 { ok = false }
            case .variable: if inner.contains(unsafeDowncast(x, to: Var.self)) { ok = false }
            default: ok = false
            }
        }
        return ok
    }
}

private final class ExprReplacer: StmtExprMutator {
    private let from: PrimExpr
    private let hash: UInt64
    private let to: Var
    init(_ from: PrimExpr, _ to: Var) {
        self.from = from
        self.hash = structuralHash(from)
        self.to = to
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.kind == from.kind && sameExpr(e, from) { return to }
        return mutateChildren(of: e)
    }
}

private final class SubexprEliminator: StmtExprMutator {
    private var number = 0
    private let minimumSize: Int
    private let limit: Int

    init(minimumSize: Int, limit: Int) {
        self.minimumSize = minimumSize
        self.limit = limit
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        // Outer loops first: what does not depend on the inner variable moves out as far as it can.
        guard let loop = s as? For else { return mutateChildren(of: s) }
        let body = mutate(eliminate(loop.body))
        return body === loop.body ? s : loop.with(body: body)
    }

    func eliminate(_ body: Stmt) -> Stmt {
        var inner: Set<Var> = []
        postOrderVisit(
            body,
            expr: { e in if let l = e as? Let { inner.insert(l.variable) } },
            stmt: { s in
                if let l = s as? For { inner.insert(l.loopVar) }
                if let l = s as? LetStmt { inner.insert(l.variable) }
            })
        var body = body
        var lets: [(variable: Var, value: PrimExpr)] = []
        while lets.count < limit {
            let counter = CandidateCounter(inner: inner)
            counter.visit(body)
            // The largest saving first; ties by order of appearance.
            var best: CandidateCounter.Candidate?
            for c in counter.list where c.count > 1 && c.size >= minimumSize {
                if best.map({ c.size * (c.count - 1) > $0.size * ($0.count - 1) }) ?? true { best = c }
            }
            guard let best else { break }
            number += 1
            let v = Var("cse_\(number)")
            body = ExprReplacer(best.expr, v).mutate(body)
            lets.append((variable: v, value: best.expr))
        }
        // Later ones are parts of earlier ones' surroundings, never the reverse.
        for l in lets.reversed() { body = LetStmt(l.variable, l.value, body) }
        return body
    }
}

/// Computes index expressions that occur more than once in a loop's body once, in a `LetStmt` at its top. Only
/// expressions of at least `minimumSize` nodes, at most `limit` a loop: LLVM does the rest better.
public func commonSubexprElimTIR(_ f: PrimFunc, minimumSize: Int = 5, limit: Int = 16) -> PrimFunc {
    f.rewritingBody { SubexprEliminator(minimumSize: minimumSize, limit: limit).mutate($0) }
}
