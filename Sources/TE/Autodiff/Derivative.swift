import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// The derivative of a floating expression by a floating variable, by the rules of `LocalDerivative`; a reduction is
/// differentiated as one of twice as many values. Elements of tensors do not depend on the variable.
///
/// Apply it twice for the second derivative. Errors: TE100 for what has no derivative, TE102 where the expression or
/// the variable is no floating scalar.
public func derivative(_ e: PrimExpr, _ variable: Var) throws -> PrimExpr {
    guard variable.dtype.isFloat, variable.dtype.isScalar else {
        throw ApusError(
            "TE102", "a derivative is by a floating variable", actual: "\(variable.name): \(variable.dtype)")
    }
    guard e.dtype.isFloat, e.dtype.isScalar else {
        throw ApusError("TE102", "only a floating scalar has a derivative", actual: "\(e.dtype)")
    }
    return try withLargeStack { () throws -> PrimExpr in
        let forward = ForwardDerivative { x in x === variable ? const(1.0, x.dtype) : nil }
        return try forward.derivative(withoutLets(e)) ?? const(0.0, e.dtype)
    }
}

extension te {
    /// The derivative of an expression by a variable; see the free function `derivative`.
    public static func derivative(_ e: PrimExpr, _ variable: Var) throws -> PrimExpr {
        try ApusTE.derivative(e, variable)
    }
}

/// Forward differentiation: `seed` gives the derivative of a leaf, nil for 0.
final class ForwardDerivative {
    private let seed: (PrimExpr) -> PrimExpr?
    private var memo: [ObjectIdentifier: PrimExpr?] = [:]
    /// Keeps what `memo` is keyed by.
    private var kept: [PrimExpr] = []

    init(_ seed: @escaping (PrimExpr) -> PrimExpr?) { self.seed = seed }

    /// nil where it is 0 throughout.
    func derivative(_ e: PrimExpr) throws -> PrimExpr? {
        guard e.dtype.isFloat else { return nil }
        if let known = memo[ObjectIdentifier(e)] { return known }
        let result = try seed(e) ?? compute(e)
        memo[ObjectIdentifier(e)] = .some(result)
        kept.append(e)
        return result
    }

    private func compute(_ e: PrimExpr) throws -> PrimExpr? {
        if let r = e as? Reduce { return try reduction(r) }
        // An operand that does not depend on the variable may be anything.
        if try !dependsOn(e) { return nil }
        switch try LocalDerivative.of(e, value: e) {
        case .constant: return nil
        case .linear(let list):
            var sum: PrimExpr?
            for (operand, factor) in list {
                guard let inner = try derivative(operand) else { continue }
                let term = factor.map { $0 * inner } ?? inner
                sum = sum.map { $0 + term } ?? term
            }
            return sum
        case .chosen(let condition, let a, let b, let lazy):
            let x = try derivative(a)
            let y = try derivative(b)
            if x == nil && y == nil { return nil }
            let zero = const(0.0, e.dtype)
            return lazy
                ? ifThenElse(condition, x ?? zero, y ?? zero) : select(condition, x ?? zero, y ?? zero)
        case .converted(let v): return try derivative(v).map { cast(e.dtype, $0) }
        }
    }

    private func dependsOn(_ e: PrimExpr) throws -> Bool {
        var found = false
        try forEachChild(of: e) { x in
            if !found, try derivative(x) != nil { found = true }
        }
        return found
    }

    private func reduction(_ r: Reduce) throws -> PrimExpr? {
        let sources = try r.source.map { try derivative($0) }
        let starts = try r.initial.map { try derivative($0) }
        if sources.allSatisfy({ $0 == nil }) && starts.allSatisfy({ $0 == nil }) { return nil }
        func zeroed(_ list: [PrimExpr?], _ like: [PrimExpr]) -> [PrimExpr] {
            zip(list, like).map { $0 ?? const(0.0, $1.dtype) }
        }
        guard r.source.allSatisfy({ $0.dtype.isFloat }) else {
            throw LocalDerivative.noDerivative(r, "a reduction of integers")
        }
        if r.source.count == 1, ReducerKind.of(r.combiner, 0) == .sum {
            return Reduce(
                r.combiner, zeroed(sources, r.source), r.axis, condition: r.condition,
                initial: zeroed(starts, r.initial))
        }
        // The values and their derivatives together, combined by the combiner and by its derivative.
        let c = r.combiner
        let lhs = c.lhs.map { Var("d\($0.name)", dtype: $0.dtype) }
        let rhs = c.rhs.map { Var("d\($0.name)", dtype: $0.dtype) }
        var by: [ObjectIdentifier: Var] = [:]
        for (v, d) in zip(c.lhs + c.rhs, lhs + rhs) { by[ObjectIdentifier(v)] = d }
        let inner = ForwardDerivative { by[ObjectIdentifier($0)] }
        let results = try c.result.map { try inner.derivative(withoutLets($0)) ?? const(0.0, $0.dtype) }
        let both = CommReducer(
            lhs: c.lhs + lhs, rhs: c.rhs + rhs, result: c.result + results,
            identity: c.identity + c.identity.map { const(0.0, $0.dtype) })
        return Reduce(
            both, r.source + zeroed(sources, r.source), r.axis, condition: r.condition,
            valueIndex: r.source.count + r.valueIndex,
            initial: r.initial.isEmpty ? [] : r.initial + zeroed(starts, r.initial))
    }
}

/// The combiners whose gradients are known.
enum ReducerKind {
    case sum, product, maximum, minimum, other

    /// How value `i` of a combiner comes about, if of value `i` of its operands only.
    static func of(_ c: CommReducer, _ i: Int) -> ReducerKind {
        guard let e = c.result[i] as? BinaryExpr else { return .other }
        let straight = e.a === c.lhs[i] && e.b === c.rhs[i]
        let crossed = e.a === c.rhs[i] && e.b === c.lhs[i]
        guard straight || crossed else { return .other }
        switch e.kind {
        case .add: return .sum
        case .mul: return .product
        case .max: return .maximum
        case .min: return .minimum
        default: return .other
        }
    }
}
