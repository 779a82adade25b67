import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// An element read by a formula, and how the formula's derivative reaches it.
struct ReadAdjoint {
    let tensor: Tensor
    let indices: [PrimExpr]
    /// The contribution to that element's gradient.
    var adjoint: PrimExpr
}

/// Backward differentiation of one formula (the adjoint method: Linnainmaa 1970): one pass from the value to the elements
/// read. The size of each adjoint is that of the formula times its depth, at most.
///
/// What stands under a lazy choice is differentiated by itself and guarded by the choice, so that nothing is read which the
/// formula would not read.
struct AdjointPass {
    /// Whether the gradient of a tensor is wanted.
    let wanted: (Tensor) -> Bool
    private(set) var reads: [ReadAdjoint] = []

    init(wanted: @escaping (Tensor) -> Bool) { self.wanted = wanted }

    private final class Activity {
        var memo: [ObjectIdentifier: Bool] = [:]
        var kept: [PrimExpr] = []
    }
    private let activity = Activity()

    /// Adds the adjoints of all elements that `e` reads. `value`: where the value of `e` can be read, or `e`.
    mutating func run(_ e: PrimExpr, seed: PrimExpr, value: PrimExpr? = nil) throws {
        for r in try contributions(e, seed, value) { add(r) }
    }

    private mutating func add(_ r: ReadAdjoint) {
        for i in reads.indices where reads[i].tensor.isSame(as: r.tensor) {
            if zip(reads[i].indices, r.indices).allSatisfy({ structuralEqual($0, $1) }) {
                reads[i].adjoint = reads[i].adjoint + r.adjoint
                return
            }
        }
        reads.append(r)
    }

    /// Whether a floating value depends on what is wanted.
    private func active(_ e: PrimExpr) -> Bool {
        guard e.dtype.isFloat else { return false }
        if let known = activity.memo[ObjectIdentifier(e)] { return known }
        var result = false
        if let load = e as? ProducerLoad, let t = load.producer as? Tensor {
            result = wanted(t)
        } else {
            forEachChild(of: e) { if !result, active($0) { result = true } }
        }
        activity.memo[ObjectIdentifier(e)] = result
        activity.kept.append(e)
        return result
    }

    private func contributions(_ root: PrimExpr, _ seed: PrimExpr, _ value: PrimExpr?) throws -> [ReadAdjoint]
    {
        guard active(root) else { return [] }
        // Users before what they use.
        var order: [PrimExpr] = []
        var local: [ObjectIdentifier: LocalDerivative] = [:]
        func visit(_ e: PrimExpr) throws {
            if local[ObjectIdentifier(e)] != nil { return }
            let d = try LocalDerivative.of(e, value: e === root ? value ?? e : e)
            local[ObjectIdentifier(e)] = d
            if case .chosen = d {
                // Its sides are passes of their own.
            } else {
                for x in d.operands where active(x) { try visit(x) }
            }
            order.append(e)
        }
        try visit(root)
        var adjoints: [ObjectIdentifier: PrimExpr] = [ObjectIdentifier(root): seed]
        var out: [ReadAdjoint] = []
        func flow(_ x: PrimExpr, _ a: PrimExpr) {
            adjoints[ObjectIdentifier(x)] = adjoints[ObjectIdentifier(x)].map { $0 + a } ?? a
        }
        for e in order.reversed() {
            guard let a = adjoints[ObjectIdentifier(e)], let d = local[ObjectIdentifier(e)] else { continue }
            if let load = e as? ProducerLoad, let t = load.producer as? Tensor {
                out.append(ReadAdjoint(tensor: t, indices: load.indices, adjoint: a))
                continue
            }
            switch d {
            case .constant: continue
            case .linear(let list):
                for (x, factor) in list where active(x) { flow(x, factor.map { a * $0 } ?? a) }
            case .converted(let x): if active(x) { flow(x, cast(x.dtype, a)) }
            case .chosen(let condition, let x, let y, let lazy):
                for (side, negated) in [(x, false), (y, true)] {
                    for var r in try contributions(side, a, nil) {
                        let zero = const(0.0, r.adjoint.dtype)
                        let (t, f) = negated ? (zero, r.adjoint) : (r.adjoint, zero)
                        r.adjoint = lazy ? ifThenElse(condition, t, f) : select(condition, t, f)
                        out.append(r)
                    }
                }
            }
        }
        return out
    }
}
