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

/// When loops are expanded; the pragmas of a loop (`pragma_auto_unroll_max_step`, `pragma_unroll_explicit`) hold for
/// it and the loops inside.
public struct UnrollOptions: Sendable {
    /// Nodes that expansion may add; beyond, loops become serial.
    public var budget = 100_000
    /// Serial loops are expanded where the whole makes at most this many stores; 0 = none for that reason.
    public var autoMaxStep = 0
    /// Nesting of loops expanded by themselves.
    public var autoMaxDepth = 8
    /// Serial loops of at most this many iterations are expanded whatever their body; 0 = none for that reason.
    public var autoMaxExtent = 0
    /// Expand in the IR; otherwise loops are only marked as unrolled, for a compiler behind to do.
    public var explicit = true

    public init(
        budget: Int = 100_000, autoMaxStep: Int = 0, autoMaxDepth: Int = 8, autoMaxExtent: Int = 0,
        explicit: Bool = true
    ) {
        self.budget = budget
        self.autoMaxStep = autoMaxStep
        self.autoMaxDepth = autoMaxDepth
        self.autoMaxExtent = autoMaxExtent
        self.explicit = explicit
    }
}

/// Expands loops bottom-up, as TVM's `unroll_loop` does: whether an outer loop is expanded depends on what became of
/// those inside.
private final class Unroller: StmtExprMutator {
    private var options: UnrollOptions
    /// Of what was just rewritten: stores made, nesting of ordinary loops, nesting of expanded ones.
    private var steps = 0
    private var normalDepth = 0
    private var unrolledDepth = 0
    private static let many = 1 << 30

    init(_ options: UnrollOptions) { self.options = options }

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }

    override func mutate(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .bufferStore, .evaluate:
            steps = Swift.min(steps + 1, Unroller.many)
            return s
        case .seq, .ifThenElse: return gathered(s)
        case .attr:
            let a = unsafeDowncast(s, to: AttrStmt.self)
            let saved = options
            defer { options.restore(saved) }
            switch a.key {
            case "pragma_auto_unroll_max_step": options.autoMaxStep = a.value.asInt ?? options.autoMaxStep
            case "pragma_unroll_explicit":
                options.explicit = a.value.asInt.map { $0 != 0 } ?? options.explicit
            default: return mutateChildren(of: s)
            }
            return mutate(a.body)
        case .forLoop: return loop(unsafeDowncast(s, to: For.self))
        default: return mutateChildren(of: s)
        }
    }

    /// Parts side by side: steps add up, of the depths the largest counts.
    private func gathered(_ s: Stmt) -> Stmt {
        let before = steps
        var depths = (normal: normalDepth, unrolled: unrolledDepth)
        var total = before
        let result = mapChildren(
            of: s, expr: { $0 },
            stmt: { c in
                steps = 0
                normalDepth = 0
                unrolledDepth = 0
                let n = mutate(c)
                total = Swift.min(total + steps, Unroller.many)
                depths = (Swift.max(depths.normal, normalDepth), Swift.max(depths.unrolled, unrolledDepth))
                return n
            })
        steps = total
        normalDepth = depths.normal
        unrolledDepth = depths.unrolled
        return result
    }

    private func loop(_ loop: For) -> Stmt {
        let saved = options
        defer { options.restore(saved) }
        if let n = loop.annotations.int("pragma_auto_unroll_max_step") { options.autoMaxStep = n }
        if let x = loop.annotations.bool("pragma_unroll_explicit") { options.explicit = x }
        let before = steps
        steps = 0
        normalDepth = 0
        unrolledDepth = 0
        let body = mutate(loop.body)
        let inside = steps
        let n = loop.extent.asInt
        let product = n.map { inside.multipliedReportingOverflow(by: Swift.max($0, 0)) }
        let total = product.map { $0.overflow ? Unroller.many : Swift.min($0.partialValue, Unroller.many) }
        defer { steps = Swift.min(before + (total ?? Unroller.many), Unroller.many) }

        let byItself =
            loop.forKind == .serial && (n ?? -1) > 0 && normalDepth == 0
            && unrolledDepth <= options.autoMaxDepth
            && ((total ?? Unroller.many) <= options.autoMaxStep || (n ?? 0) <= options.autoMaxExtent)
        guard let n, n >= 0, loop.forKind == .unrolled || byItself else { return kept(loop, body) }
        if !options.explicit {
            unrolledDepth += 1
            let plain = plainAnnotations(loop)
            let same = body === loop.body && loop.forKind == .unrolled && plain === loop.annotations
            return same ? loop : loop.with(kind: .unrolled, body: body, annotations: plain)
        }
        if n == 0 { return Evaluate.noOp }
        let cost = nodeCount(body).multipliedReportingOverflow(by: n)
        if cost.overflow || cost.partialValue > options.budget { return kept(loop, body) }
        options.budget -= cost.partialValue
        unrolledDepth += 1
        var copies: [Stmt] = []
        for i in 0..<n {
            let value = [loop.loopVar: loop.min + i]
            // The first copy keeps the names, the others define their own.
            copies.append(i == 0 ? substitute(body, value) : FreshCopier.copy(body, value))
        }
        return SeqStmt.flat(copies)
    }

    private func plainAnnotations(_ loop: For) -> Attrs {
        let a = loop.annotations
        if a["pragma_auto_unroll_max_step"] == nil && a["pragma_unroll_explicit"] == nil { return a }
        return a.removing("pragma_auto_unroll_max_step").removing("pragma_unroll_explicit")
    }

    private func kept(_ loop: For, _ body: Stmt) -> Stmt {
        normalDepth += 1
        let kind: ForKind = loop.forKind == .unrolled ? .serial : loop.forKind
        let plain = plainAnnotations(loop)
        if body === loop.body && kind == loop.forKind && plain === loop.annotations { return loop }
        return loop.with(kind: kind, body: body, annotations: plain)
    }
}

extension UnrollOptions {
    /// The options of the surroundings, with the budget as it is by now.
    fileprivate mutating func restore(_ outer: UnrollOptions) {
        let left = budget
        self = outer
        budget = left
    }
}

/// Expands unrolled loops of constant extent; where that would add more nodes than the budget (or the extent is not
/// constant) the loop becomes serial. Serial loops are expanded where the options or a pragma around them allow it:
/// by the number of stores they make or by their extent, if no ordinary loop is left inside. With `explicit` false,
/// loops are marked as unrolled instead of expanded.
public func unrollLoop(_ f: PrimFunc, options: UnrollOptions) -> PrimFunc {
    f.rewritingBody { Unroller(options).mutate($0) }
}

/// As above with the two options most used.
public func unrollLoop(_ f: PrimFunc, budget: Int = 100_000, autoMaxStep: Int = 0) -> PrimFunc {
    unrollLoop(f, options: UnrollOptions(budget: budget, autoMaxStep: autoMaxStep))
}
