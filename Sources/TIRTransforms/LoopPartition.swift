import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// What `loopPartition` may do.
public struct LoopPartitionOptions: Sendable {
    /// Loops whose body has more nodes are left alone, since the code triples.
    public var maxNodes = 4000
    /// Partitions nested in each other.
    public var maxDepth = 3
    /// Also by conditions that are not marked as likely: of statements, block predicates and `if_then_else`.
    public var allConditions = false
    /// A part of one iteration becomes straight code; otherwise it stays a loop.
    public var unrollSingleIterations = true

    public init(
        maxNodes: Int = 4000, maxDepth: Int = 3, allConditions: Bool = false,
        unrollSingleIterations: Bool = true
    ) {
        self.maxNodes = maxNodes
        self.maxDepth = maxDepth
        self.allConditions = allConditions
        self.unrollSingleIterations = unrollSingleIterations
    }
}

/// Annotation of a loop: whether it may be cut.
private let partitionKey = "loop_partition"

/// Collects the conditions below a loop that are worth deciding: conjuncts of `likely(…)` and of block predicates,
/// or all conditions.
private final class ConditionFinder: StmtExprVisitor {
    struct Condition {
        /// The node in the program.
        let node: PrimExpr
        /// With the values of lets in place of their variables.
        let value: PrimExpr
    }
    private(set) var conditions: [Condition] = []
    private(set) var domains: [Var: IntervalSet] = [:]
    /// Variables inside of which nothing is known.
    private(set) var opaque: Set<Var> = []
    private var lets: [Var: PrimExpr] = [:]
    private let everything: Bool

    init(everything: Bool) { self.everything = everything }

    private func add(_ e: PrimExpr) {
        for c in conjuncts(e) where c.kind != .intImm {
            conditions.append(Condition(node: c, value: substitute(c, lets)))
        }
    }

    override func visit(_ e: PrimExpr) {
        if let c = e as? Call {
            if c.name == "tir.likely" {
                add(c.args[0])
            } else if everything && c.name == "tir.if_then_else" {
                add(c.args[0])
            }
        } else if let l = e as? Let {
            opaque.insert(l.variable)
        }
        visitChildren(of: e)
    }

    override func visit(_ s: Stmt) {
        switch s {
        case let loop as For:
            let lo = substitute(loop.min, lets)
            let n = substitute(loop.extent, lets)
            if touchesState(lo) || touchesState(n) {
                opaque.insert(loop.loopVar)
            } else {
                domains[loop.loopVar] = IntervalSet(IRRange(min: lo, extent: n))
            }
        case let l as LetStmt:
            // In terms of what is outside of it, as deep as it goes.
            if l.variable.dtype == .index, !touchesState(l.value) {
                lets[l.variable] = substitute(l.value, lets)
            } else {
                opaque.insert(l.variable)
            }
        case let b as IfThenElse where everything: add(b.condition)
        case let r as BlockRealize:
            if !r.predicate.isTrue { add(r.predicate) }
            for (v, e) in zip(r.block.iterVars, r.iterValues) { lets[v.variable] = substitute(e, lets) }
        default: break
        }
        visitChildren(of: s)
    }
}

/// Replaces given conditions, by identity, by true.
private final class ConditionRemover: StmtExprMutator {
    private let known: Set<ObjectIdentifier>
    init(_ known: [PrimExpr]) { self.known = Set(known.map { ObjectIdentifier($0) }) }

    private func reduce(_ e: PrimExpr) -> PrimExpr {
        if let a = e as? And {
            let x = reduce(a.a)
            let y = reduce(a.b)
            return x === a.a && y === a.b ? e : and(x, y)
        }
        if let c = e as? Call, c.name == "tir.likely" {
            let r = reduce(c.args[0])
            return r.isTrue ? r : (r === c.args[0] ? e : Call(c.dtype, c.op, [r]))
        }
        return known.contains(ObjectIdentifier(e)) ? trueExpr : e
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if let c = e as? Call {
            if c.name == "tir.likely" { return reduce(c) }
            if c.name == "tir.if_then_else" {
                let condition = reduce(mutate(c.args[0]))
                if condition.isTrue { return mutate(c.args[1]) }
                if condition !== c.args[0] {
                    return ifThenElse(condition, mutate(c.args[1]), mutate(c.args[2]))
                }
            }
        }
        return mutateChildren(of: e)
    }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        if let branch = n as? IfThenElse {
            let c = reduce(branch.condition)
            if c.isTrue { return branch.thenCase }
            if c !== branch.condition { return IfThenElse(c, branch.thenCase, branch.elseCase) }
        }
        if let r = n as? BlockRealize {
            let p = reduce(r.predicate)
            if p !== r.predicate { return BlockRealize(r.iterValues, predicate: p, r.block) }
        }
        return n
    }
}

private final class Partitioner: AnalyzingMutator {
    private var depth = 0
    private let options: LoopPartitionOptions

    init(_ f: PrimFunc, _ options: LoopPartitionOptions) {
        self.options = options
        super.init(f)
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }

    override func mutate(_ s: Stmt) -> Stmt {
        guard let loop = s as? For else { return super.mutate(s) }
        if depth < options.maxDepth {
            let parts = binding(loop.loopVar, interval(of: loop)) { split(loop) }
            if let parts { return parts }
        }
        let body = binding(loop.loopVar, interval(of: loop)) { mutate(loop.body) }
        return body === loop.body ? s : loop.with(body: body)
    }

    /// Where conditions hold for certain: `first ... last` of the loop variable, a missing end is the loop's own.
    private struct Certain {
        var first: PrimExpr?
        var last: PrimExpr?
        var conditions: [PrimExpr] = []
    }

    /// The bounds of `v` in which `condition` holds whatever the inner loops do.
    private func bounds(
        _ condition: PrimExpr, _ v: Var, _ domains: [Var: IntervalSet]
    ) -> (lower: PrimExpr?, upper: PrimExpr?)? {
        guard let op = condition as? BinaryExpr, op.a.dtype == .index else { return nil }
        let slack: PrimExpr
        switch condition.kind {
        case .lt: slack = op.b - op.a - 1
        case .le: slack = op.b - op.a
        case .gt: slack = op.a - op.b - 1
        case .ge: slack = op.a - op.b
        case .eq:
            // One iteration only, and only if nothing inside has a say.
            guard let (k, rest) = analyzer.linearCoefficient(op.a - op.b, of: v), k == 1 || k == -1,
                !uses(rest, Set(domains.keys))
            else { return nil }
            let at = analyzer.simplify(k == 1 ? const(0) - rest : rest)
            return (lower: at, upper: at)
        default: return nil
        }
        guard let least = analyzer.evalSet(slack, domains).min else { return nil }
        return analyzer.solve(least .>= 0, for: v)
    }

    private func certain(_ loop: For) -> Certain {
        let finder = ConditionFinder(everything: options.allConditions)
        finder.visit(loop.body)
        var result = Certain()
        for c in finder.conditions {
            guard uses(c.value, [loop.loopVar]), !touchesState(c.value), !uses(c.value, finder.opaque),
                let b = bounds(c.value, loop.loopVar, finder.domains)
            else { continue }
            var next = result
            if let lo = b.lower { next.first = result.first.map { analyzer.simplify(maximum($0, lo)) } ?? lo }
            if let hi = b.upper { next.last = result.last.map { analyzer.simplify(minimum($0, hi)) } ?? hi }
            next.conditions.append(c.node)
            // A condition that leaves nothing in the middle is left to the parts.
            let first = next.first ?? loop.min
            let last = next.last ?? loop.min + loop.extent - 1
            if analyzer.canProveLess(last, first) || analyzer.canProveLess(last, loop.min)
                || analyzer.canProveGreaterEqual(first, loop.min + loop.extent)
            {
                continue
            }
            result = next
        }
        return result
    }

    private func split(_ loop: For) -> Stmt? {
        let mayBranch =
            loop.forKind == .threadBinding && loop.threadBinding?.threadTag.hasPrefix("blockIdx") ?? false
        guard loop.forKind == .serial || loop.forKind == .parallel || mayBranch,
            loop.annotations.bool(partitionKey) ?? true, nodeCountAtMost(loop.body, options.maxNodes)
        else {
            return nil
        }
        let c = certain(loop)
        if c.conditions.isEmpty { return nil }
        depth += 1
        defer { depth -= 1 }
        return mayBranch ? branch(loop, c) : parts(loop, c)
    }

    /// A loop over the grid cannot be cut: each block of threads decides which body it runs. All its threads agree, so
    /// that barriers inside stay legal; a loop over the threads of one block is left alone for that reason.
    private func branch(_ loop: For, _ c: Certain) -> Stmt {
        var inside: [PrimExpr] = []
        if let lo = c.first { inside.append(analyzer.simplify(lo .<= loop.loopVar)) }
        if let hi = c.last { inside.append(analyzer.simplify(loop.loopVar .<= hi)) }
        let inRange = all(inside)
        let free = ConditionRemover(c.conditions).mutate(loop.body)
        if inRange.isTrue { return loop.with(body: mutate(free)) }
        let middle = assuming(inRange) { mutate(free) }
        let edge = mutate(FreshCopier.copy(loop.body))
        return loop.with(body: IfThenElse(intrinsic("likely", .bool, [inRange]), middle, edge))
    }

    /// The loop as up to three: before, in and after the range where its conditions hold for certain.
    private func parts(_ loop: For, _ c: Certain) -> Stmt? {
        let end = loop.min + loop.extent
        // The middle is first ..< last, inside the loop's own range whatever the bounds are.
        let first = c.first.map { analyzer.simplify(maximum(loop.min, minimum($0, end))) } ?? loop.min
        let last =
            c.last.map { analyzer.simplify(maximum(first, minimum($0 + 1, end))) } ?? analyzer.simplify(end)
        let count = analyzer.simplify(last - first)
        if analyzer.canProve(count .<= IntImm(0)) { return nil }
        var result: [Stmt] = []
        func part(_ from: PrimExpr, _ extent: PrimExpr, _ body: Stmt) {
            if extent.asInt.map({ $0 <= 0 }) ?? false { return }
            // Each part defines what the loop defines: the first keeps the names.
            if extent.asInt == 1 && options.unrollSingleIterations {
                let value = [loop.loopVar: from]
                result.append(
                    mutate(result.isEmpty ? substitute(body, value) : FreshCopier.copy(body, value)))
                return
            }
            let v = result.isEmpty ? loop.loopVar : Var(loop.loopVar.name, type: loop.loopVar.type)
            let own = v === loop.loopVar ? body : FreshCopier.copy(body, [loop.loopVar: v])
            let inner = binding(v, IRRange(min: from, extent: extent)) { mutate(own) }
            result.append(For(v, from, extent, loop.forKind, body: inner, annotations: loop.annotations))
        }
        let free = ConditionRemover(c.conditions).mutate(loop.body)
        part(loop.min, analyzer.simplify(first - loop.min), loop.body)
        part(first, count, free)
        part(last, analyzer.simplify(end - last), loop.body)
        return SeqStmt.flat(result)
    }
}

/// Whether `s` has at most `limit` nodes; stops counting there.
private func nodeCountAtMost(_ s: Stmt, _ limit: Int) -> Bool {
    var left = limit
    func count(_ e: PrimExpr) {
        left -= 1
        if left >= 0 { forEachChild(of: e) { count($0) } }
    }
    func count(_ s: Stmt) {
        left -= 1
        if left >= 0 { forEachChild(of: s, expr: { count($0) }, stmt: { count($0) }) }
    }
    count(s)
    return left >= 0
}

/// Splits serial and parallel loops where their `likely` conditions and block predicates hold for a range of iterations,
/// so that the middle part runs without conditions; bounds may be symbolic. Loops over a grid (`blockIdx`) get two bodies
/// and a test. Vectorised and unrolled loops are left alone: their passes treat conditions themselves; and so are loops
/// whose annotation `loop_partition` is false.
public func loopPartition(_ f: PrimFunc, options: LoopPartitionOptions) -> PrimFunc {
    f.rewritingBody { Partitioner(f, options).mutate($0) }
}

/// As above with the option most used.
public func loopPartition(_ f: PrimFunc, maxNodes: Int = 4000) -> PrimFunc {
    loopPartition(f, options: LoopPartitionOptions(maxNodes: maxNodes))
}
