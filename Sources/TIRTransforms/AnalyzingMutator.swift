import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Walks statements with an analyzer that knows the loops, lets and conditions around.
///
/// An analyzer keeps what it learnt of variables that are out of scope, and entering a condition costs what it knows.
/// Long sequences therefore get a new one, with what holds there, for each piece of a few statements: the whole stays
/// linear.
class AnalyzingMutator: StmtExprMutator {
    private enum Fact {
        case range(Var, IRRange)
        case value(Var, PrimExpr)
        case properties(Var, PrimExpr)
        case condition(PrimExpr)
    }

    private(set) var analyzer: Analyzer
    private let makeAnalyzer: () -> Analyzer
    private var facts: [Fact] = []
    /// Statements of a sequence that share an analyzer.
    private static let piece = 64

    /// For functions whose shape variables are parameters.
    init(_ f: PrimFunc) {
        makeAnalyzer = { shapeAnalyzer(f) }
        analyzer = makeAnalyzer()
        super.init()
    }

    /// Runs `body` where `v` lies in `range`.
    final func binding<R>(_ v: Var, _ range: IRRange, _ body: () throws -> R) rethrows -> R {
        analyzer.bind(v, range)
        facts.append(.range(v, range))
        defer { facts.removeLast() }
        return try body()
    }

    /// Runs `body` where `v` is replaced by `value`.
    final func binding<R>(_ v: Var, value: PrimExpr, _ body: () throws -> R) rethrows -> R {
        analyzer.bind(v, value)
        facts.append(.value(v, value))
        defer { facts.removeLast() }
        return try body()
    }

    /// Runs `body` where `v` stays itself and has the properties of `value`.
    final func bindingProperties<R>(_ v: Var, _ value: PrimExpr, _ body: () throws -> R) rethrows -> R {
        analyzer.bindProperties(of: v, from: value)
        facts.append(.properties(v, value))
        defer { facts.removeLast() }
        return try body()
    }

    /// Runs `body` where `condition` holds. What reads memory is left out: the body may change it.
    final func assuming<R>(_ condition: PrimExpr, _ body: () throws -> R) rethrows -> R {
        let stable = conjuncts(condition).filter { !touchesState($0) }
        if stable.isEmpty { return try body() }
        let c = all(stable)
        facts.append(.condition(c))
        defer { facts.removeLast() }
        return try analyzer.withConstraint(c, body)
    }

    /// Runs `body` with a new analyzer that knows what is known here.
    private func anew<R>(_ body: () throws -> R) rethrows -> R {
        let outer = analyzer
        defer { analyzer = outer }
        analyzer = makeAnalyzer()
        return try replay(0, body)
    }

    private func replay<R>(_ from: Int, _ body: () throws -> R) rethrows -> R {
        var i = from
        while i < facts.count {
            switch facts[i] {
            case .range(let v, let r): analyzer.bind(v, r)
            case .value(let v, let e): analyzer.bind(v, e)
            case .properties(let v, let e): analyzer.bindProperties(of: v, from: e)
            case .condition(let c): return try analyzer.withConstraint(c) { try replay(i + 1, body) }
            }
            i += 1
        }
        return try body()
    }

    /// The statements of a sequence, one after another.
    final func mutateSequence(_ seq: SeqStmt) -> Stmt {
        mutateSequence(seq) { s, out in out.append(mutate(s)) }
    }

    /// As above; `emit` appends what a statement becomes.
    final func mutateSequence(_ seq: SeqStmt, _ emit: (Stmt, inout [Stmt]) -> Void) -> Stmt {
        var result: [Stmt] = []
        result.reserveCapacity(seq.stmts.count)
        if seq.stmts.count <= AnalyzingMutator.piece {
            for s in seq.stmts { emit(s, &result) }
        } else {
            var at = 0
            while at < seq.stmts.count {
                let end = Swift.min(at + AnalyzingMutator.piece, seq.stmts.count)
                anew { for s in seq.stmts[at..<end] { emit(s, &result) } }
                at = end
            }
        }
        let same = result.count == seq.stmts.count && zip(result, seq.stmts).allSatisfy { $0 === $1 }
        return same ? seq : SeqStmt.flat(result)
    }

    override func mutate(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .forLoop:
            let loop = unsafeDowncast(s, to: For.self)
            let lo = mutate(loop.min)
            let extent = mutate(loop.extent)
            let body = binding(loop.loopVar, IRRange(min: lo, extent: extent)) { mutate(loop.body) }
            let same = lo === loop.min && extent === loop.extent && body === loop.body
            return same ? s : loop.with(min: lo, extent: extent, body: body)
        case .seq: return mutateSequence(unsafeDowncast(s, to: SeqStmt.self))
        default: return mutateChildren(of: s)
        }
    }
}

/// An analyzer that knows the variables in the shapes and strides of the parameters to be dimensions.
public func shapeAnalyzer(_ f: PrimFunc) -> Analyzer {
    let a = Analyzer()
    for (_, b) in f.bufferMap {
        for d in b.shape + b.strides + [b.elemOffset] {
            if d.kind == .variable, d.dtype == .index { a.bindShapeVariable(unsafeDowncast(d, to: Var.self)) }
        }
    }
    return a
}
