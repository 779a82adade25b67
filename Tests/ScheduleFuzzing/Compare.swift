import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTestSupport

extension FuzzProgram {
    /// Inputs for a run: small integers, so that sums are exact; results start as a pattern that no program yields.
    public func arguments(seed: UInt64) throws -> [NDArray] {
        var random = SeededRandom(seed: seed &+ 991)
        return try function.bufferMap.map { _, b in
            let shape = b.staticShape ?? []
            let n = shape.reduce(1, *)
            let limit = limits[b.name]
            let values = (0..<n).map { _ in limit.map { random.below($0) } ?? random.below(9) - 4 }
            switch b.dtype {
            case .float32: return NDArray(values.map { Float($0) }, shape: shape)
            case .float64: return NDArray(values.map { Double($0) }, shape: shape)
            case .int32: return NDArray(values.map { Int32($0) }, shape: shape)
            case .int64: return NDArray(values.map { Int64($0) }, shape: shape)
            case .int8: return NDArray(values.map { Int8($0) }, shape: shape)
            default: throw ApusError("TEST001", "no arguments of type \(b.dtype)")
            }
        }
    }

    /// nil if both runs left the same in all parameters; otherwise what differs.
    public func difference(_ a: [NDArray], _ b: [NDArray]) throws -> String? {
        for (n, (x, y)) in zip(a, b).enumerated() {
            if x.hasSameContents(as: y) { continue }
            let (p, q) = (try x.toDoubles(), try y.toDoubles())
            for i in p.indices {
                let same = p[i] == q[i] || (p[i].isNaN && q[i].isNaN)
                if same || abs(p[i] - q[i]) <= tolerance * max(1, abs(p[i])) { continue }
                return "parameter \(function.bufferMap[n].buffer.name) element \(i): \(p[i]) became \(q[i])"
            }
        }
        return nil
    }
}

/// The same program with the iterations of parallel, vectorized and virtual-thread loops in reverse: what depends on
/// their order shows.
public func reversingIndependentLoops(_ f: PrimFunc) -> PrimFunc {
    f.with(body: LoopReverser().mutate(f.body))
}

private final class LoopReverser: StmtExprMutator {
    override func mutate(_ s: Stmt) -> Stmt {
        let s = mutateChildren(of: s)
        guard let l = s as? For else { return s }
        let blockAxis = l.threadBinding?.threadTag.hasPrefix("blockIdx") ?? false
        guard l.forKind == .parallel || l.forKind == .vectorized || blockAxis, l.extent.asInt != 1 else {
            return s
        }
        // Block variables are bound through an expression: it takes the reversed variable.
        let last: PrimExpr = l.min + l.extent - 1
        return l.with(body: substitute(l.body, [l.loopVar: last - (l.loopVar - l.min)]))
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
}
