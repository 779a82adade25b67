import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// What `take` does with an index outside of the axis.
    public enum TakeMode: String, Sendable {
        /// The nearest element.
        case clip
        /// Counted round.
        case wrap
        /// The indices are known to be inside.
        case fast
    }

    /// Elements of `x` along `axis` (nil = of the flat tensor) at `indices`; the first `batchDims` axes of
    /// both correspond.
    public static func take(
        _ x: Tensor, _ indices: Tensor, axis: Int?, mode: TakeMode = .clip, batchDims: Int = 0
    ) throws -> Tensor {
        func bounded(_ e: PrimExpr, _ extent: PrimExpr) -> PrimExpr {
            let i = asType(.index, e)
            switch mode {
            case .clip: return leastOf(greatestOf(i, imm(0)), extent - 1)
            case .wrap: return floorModExpr(i, extent)
            case .fast: return i
            }
        }
        guard let axis else {
            return try injective(indices.shape, "take") { i in
                x[unflatten(bounded(indices[i], productOf(x.shape)), x.shape)]
            }
        }
        let a = try normalized(axis, rank: x.rank, "take")
        let b = batchDims < 0 ? batchDims + indices.rank : batchDims
        try require(b >= 0 && b <= a && b <= indices.rank, "take", "batch_dims does not fit the operands")
        let picked = indices.rank - b
        let shape = Array(x.shape[..<a]) + Array(indices.shape[b...]) + Array(x.shape[(a + 1)...])
        return try injective(shape, "take") { i in
            let at = indices[Array(i[..<b]) + Array(i[a..<(a + picked)])]
            return x[Array(i[..<a]) + [bounded(at, x.shape[a])] + Array(i[(a + picked)...])]
        }
    }

    /// The element of `x` at the index itself, with `indices` in place of `axis` (negative from the end;
    /// outside = nearest).
    public static func gather(_ x: Tensor, _ indices: Tensor, axis: Int) throws -> Tensor {
        let a = try normalized(axis, rank: x.rank, "gather")
        try require(indices.rank == x.rank, "gather", "data and indices need the same number of axes")
        return try injective(indices.shape, "gather") { i in
            var index = i
            index[a] = boundedIndex(indices[i], x.shape[a])
            return x[index]
        }
    }

    /// Elements or slices of `x` at the tuples in the last axis of `indices`, after `batchDims` axes that
    /// correspond (negative from the end; outside = nearest).
    public static func gatherND(_ x: Tensor, _ indices: Tensor, batchDims b: Int = 0) throws -> Tensor {
        guard indices.rank >= 1, let depth = indices.shape[indices.rank - 1].asInt, b >= 0, b < indices.rank,
            depth >= 0, depth <= x.rank - b
        else { throw ApusError("TOPI002", "gather_nd: the index tuples do not fit the data") }
        let outer = indices.rank - 1
        let shape = Array(indices.shape[..<outer]) + Array(x.shape[(b + depth)...])
        return try injective(shape, "gather_nd") { i in
            let place = Array(i[..<outer])
            var index = Array(i[..<b])
            for k in 0..<depth { index.append(boundedIndex(indices[place + [imm(k)]], x.shape[b + k])) }
            return x[index + Array(i[outer...])]
        }
    }

    /// `on` where the position along the new `axis` of extent `depth` is the index (negative from the end),
    /// else `off`.
    public static func oneHot(
        _ indices: Tensor, on: Tensor, off: Tensor, depth: Int, axis: Int = -1, dtype: DataType? = nil
    ) throws -> Tensor {
        let a = axis < 0 ? axis + indices.rank + 1 : axis
        try require(a >= 0 && a <= indices.rank && depth >= 0, "one_hot", "there is no place \(axis)")
        let type = dtype ?? on.dtype
        return try injective(inserting(indices.shape, a, imm(depth)), "one_hot") { i in
            let index = asType(.index, indices[without(i, a)])
            let hit = or(index .== i[a], index .== i[a] - depth)
            return select(hit, asType(type, on.scalarValue), asType(type, off.scalarValue))
        }
    }
}
