import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Simplifies the integer and Boolean parts of a formula; floating arithmetic stays as it is written.
final class IndexSimplifier: StmtExprMutator {
    private let analyzer: Analyzer
    init(_ analyzer: Analyzer) { self.analyzer = analyzer }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.dtype.isInteger && e.dtype.isScalar && !readsTensor(e) { return analyzer.simplify(e) }
        if let call = e as? Call, call.name == "tir.if_then_else", call.args.count == 3 {
            return choice(mutate(call.args[0]), call.args[1], call.args[2], e, lazy: true)
        }
        if let s = e as? Select {
            return choice(mutate(s.condition), s.trueValue, s.falseValue, e, lazy: false)
        }
        let changed = mutateChildren(of: e)
        // A factor or a term that became 0 by the simplification of a choice.
        if let b = changed as? BinaryExpr, b.kind == .add, b.dtype.isFloat {
            if b.a.constantFloat == 0 { return b.b }
            if b.b.constantFloat == 0 { return b.a }
        }
        return changed
    }

    private func choice(_ c: PrimExpr, _ a: PrimExpr, _ b: PrimExpr, _ e: PrimExpr, lazy: Bool) -> PrimExpr {
        if c.isTrue { return mutate(a) }
        if c.isFalse { return mutate(b) }
        let x = readsTensor(c) ? mutate(a) : analyzer.withConstraint(c) { mutate(a) }
        let y = readsTensor(c) ? mutate(b) : analyzer.withConstraint(not(c)) { mutate(b) }
        // Nested alike: one choice under both conditions.
        if x.constantFloat == 0 && y.constantFloat == 0 { return y }
        return lazy ? ifThenElse(c, x, y) : select(c, x, y)
    }

    private func readsTensor(_ e: PrimExpr) -> Bool {
        var found = false
        postOrderVisit(e) { x in
            if x.kind == .producerLoad || x.kind == .call || x.kind == .cast || x.kind == .reduce {
                found = true
            }
        }
        return found
    }
}

/// A part of the gradient of a tensor: the sum over `unknowns` of `adjoint` where `indices` is the element asked for.
struct GradientTerm {
    let indices: [PrimExpr]
    let adjoint: PrimExpr
    /// Iteration variables of the operation that reads; those in `fixed` are given from outside.
    let unknowns: [IterVar]
    /// Under which the operation reads at all.
    let condition: PrimExpr

    /// The term for element `targets`: summed over the axes returned, where the condition holds. nil = always 0.
    /// - Parameter ranges: of the variables in `targets` and of others that are given.
    func inverted(
        _ targets: [PrimExpr], ranges: [(variable: Var, range: IRRange)], eliminate: Bool = true
    ) -> (value: PrimExpr, axes: [IterVar], condition: PrimExpr)? {
        let analyzer = Analyzer()
        var dims: Set<Var> = []
        for r in ranges {
            for e in [r.range.min, r.range.extent] {
                postOrderVisit(e) {
                    if let v = $0 as? Var, dims.insert(v).inserted { analyzer.bindShapeVariable(v) }
                }
            }
        }
        for u in unknowns {
            postOrderVisit(u.dom.extent) {
                if let v = $0 as? Var, dims.insert(v).inserted { analyzer.bindShapeVariable(v) }
            }
        }
        for r in ranges { analyzer.bind(r.variable, r.range) }
        guard
            let s = IndexInversion.solve(
                indices, targets, unknowns: unknowns, analyzer: analyzer, eliminate: eliminate)
        else { return nil }
        let found = all(s.conditions)
        let simplifier = IndexSimplifier(analyzer)
        func put(_ e: PrimExpr) -> PrimExpr {
            let e = substitute(e, s.values)
            return found.isTrue
                ? simplifier.mutate(e) : analyzer.withConstraint(found) { simplifier.mutate(e) }
        }
        let own = put(condition)
        let value = put(adjoint)
        if own.isFalse || value.constantFloat == 0 { return nil }
        let axes = s.free.map { IterVar(IRRange(extent: $0.extent), $0.variable, .commReduce) }
        return (value: value, axes: axes, condition: and(found, own))
    }
}
