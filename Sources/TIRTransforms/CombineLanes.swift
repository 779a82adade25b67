import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private let combineLanesKey = "combine_lanes"

/// A loop annotated `combine_lanes` combines consecutive elements into one in any order and grouping: the last step of a
/// reduction, over the lanes of a vector of partial results.
///
///     for k in range(n): r[i] = f(r[i], v[base + k])
///
/// reads them as one vector and combines its halves, then the halves of the result, and so on, so that log2 n steps
/// wait for one another and not n. `f` is a sum, product, minimum or maximum, or a choice of one of the two by a comparison of
/// them. Where n is an odd number of vectors those are combined one by one first.
///
/// Floating-point sums are rounded in another order than the loop's, which the annotation allows.
public func combineLanes(_ f: PrimFunc) -> PrimFunc { f.rewritingBody { LaneCombiner().mutate($0) } }

private final class LaneCombiner: StmtExprMutator {
    private let analyzer = Analyzer()

    override func mutate(_ s: Stmt) -> Stmt {
        guard let loop = s as? For, loop.annotations[combineLanesKey] != nil else {
            return mutateChildren(of: s)
        }
        return combined(loop) ?? mutateChildren(of: s)
    }

    /// Expressions hold no loops.
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }

    private func combined(_ loop: For) -> Stmt? {
        guard loop.forKind == .serial || loop.forKind == .unrolled, loop.min.isZero,
            let n = loop.extent.asInt, n >= 4, n <= 1 << 10, let store = loop.body as? BufferStore,
            store.value.dtype.isScalar, !uses(store.indices, loop.loopVar),
            let (combine, read) = operation(store, loop.loopVar), read.indices.count == 1,
            read.buffer.data !== store.buffer.data,
            let form = analyzer.detectLinearEquation(read.indices[0], [loop.loopVar]),
            form.coefficients[0].asInt == 1, !uses([form.base], loop.loopVar)
        else { return nil }
        var names: [(variable: Var, value: PrimExpr)] = []
        func name(_ value: PrimExpr) -> PrimExpr {
            let v = Var("lanes", dtype: value.dtype)
            names.append((variable: v, value: value))
            return v
        }
        let base = form.base
        var vector = name(BufferLoad(read.buffer, [Ramp(base, const(1, base.dtype), n)]))
        func part(_ range: Range<Int>) -> PrimExpr { Shuffle([vector], Array(range)) }
        // A power of two lanes, as many as go into n.
        var lanes = n & -n
        if lanes < n {
            var sum = part(0..<lanes)
            for start in stride(from: lanes, to: n, by: lanes) {
                sum = combine(name(sum), name(part(start..<(start + lanes))))
            }
            vector = name(sum)
        }
        while lanes > 1 {
            lanes /= 2
            vector = name(combine(name(part(0..<lanes)), name(part(lanes..<(2 * lanes)))))
        }
        let before = BufferLoad(store.buffer, store.indices)
        var result: Stmt = BufferStore(store.buffer, combine(before, vector), store.indices)
        for (v, value) in names.reversed() { result = LetStmt(v, value, result) }
        return result
    }

    /// What the loop combines with, for vectors too, and the element it reads; nil for anything else.
    private func operation(_ store: BufferStore, _ v: Var) -> (
        combine: (PrimExpr, PrimExpr) -> PrimExpr, read: BufferLoad
    )? {
        func isResult(_ e: PrimExpr) -> Bool {
            guard let l = e as? BufferLoad, l.buffer === store.buffer else { return false }
            return zip(l.indices, store.indices).allSatisfy { structuralEqual($0, $1) }
        }
        func element(_ e: PrimExpr) -> BufferLoad? {
            guard let l = e as? BufferLoad, l.dtype.isScalar, uses(l.indices, v) else { return nil }
            return l
        }
        if let s = store.value as? Select, let c = s.condition as? BinaryExpr,
            let make = Self.comparison(c.kind), let read = element(c.b), isResult(c.a), isResult(s.trueValue),
            structuralEqual(s.falseValue, read)
        {
            return (combine: { a, b in Select(make(a, b), a, b) }, read: read)
        }
        guard let b = store.value as? BinaryExpr, let make = Self.binary(b.kind) else { return nil }
        if isResult(b.a), let read = element(b.b) { return (combine: make, read: read) }
        if isResult(b.b), let read = element(b.a) { return (combine: make, read: read) }
        return nil
    }

    private static func binary(_ kind: PrimExprKind) -> ((PrimExpr, PrimExpr) -> PrimExpr)? {
        switch kind {
        case .add: return { Add($0, $1) }
        case .mul: return { Mul($0, $1) }
        case .min: return { Min($0, $1) }
        case .max: return { Max($0, $1) }
        default: return nil
        }
    }

    private static func comparison(_ kind: PrimExprKind) -> ((PrimExpr, PrimExpr) -> PrimExpr)? {
        switch kind {
        case .gt: return { GT($0, $1) }
        case .ge: return { GE($0, $1) }
        case .lt: return { LT($0, $1) }
        case .le: return { LE($0, $1) }
        default: return nil
        }
    }

    private func uses(_ all: [PrimExpr], _ v: Var) -> Bool { all.contains { ApusTIR.uses($0, [v]) } }
}
