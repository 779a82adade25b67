import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// What becomes of an element that an update meets.
    public enum ScatterMode: String, Sendable { case update, add, mul, min, max }

    private static func combined(_ mode: ScatterMode, _ old: PrimExpr, _ new: PrimExpr) -> PrimExpr {
        switch mode {
        case .update: return new
        case .add: return old.dtype.isBool ? or(old, new) : old + new
        case .mul: return old.dtype.isBool ? and(old, new) : old * new
        case .min: return old.dtype.isBool ? and(old, new) : leastOf(old, new)
        case .max: return old.dtype.isBool ? or(old, new) : greatestOf(old, new)
        }
    }

    private static func load(_ b: Buffer, _ i: [PrimExpr]) -> PrimExpr { BufferLoad(b, i) }

    private static func copyAll(_ source: Buffer, _ target: Buffer) -> Stmt {
        forEachIndex(source.shape, prefix: "c") { BufferStore(target, load(source, $0), $0) }
    }

    private static func wrapped(_ e: PrimExpr, _ extent: PrimExpr) -> PrimExpr {
        let i = asType(.index, e)
        return select(i .< imm(0), i + extent, i)
    }

    /// A copy of `data` with every update put, in order, at its own index with `indices` in place of `axis`
    /// (negative from the end; outside = left out).
    public static func scatterElements(
        _ data: Tensor, _ indices: Tensor, _ updates: Tensor, axis: Int, mode: ScatterMode = .update
    ) throws -> Tensor {
        let a = try normalized(axis, rank: data.rank, "scatter_elements")
        try require(
            indices.rank == data.rank && sameShape(indices.shape, updates.shape), "scatter_elements",
            "indices and updates need one shape, of as many axes as the data")
        return extern(
            [(shape: data.shape, dtype: data.dtype)], inputs: [data, indices, updates],
            name: "scatter_elements",
            tag: Tag.extern, attrs: externAttrs
        ) { ins, outs in
            let updating = forEachIndex(updates.shape) { i in
                let v = Var("position")
                var target = i
                target[a] = v
                let store = BufferStore(
                    outs[0], combined(mode, load(outs[0], target), load(ins[2], i)), target)
                let inside = and(v .>= 0, v .< data.shape[a])
                return LetStmt(v, wrapped(load(ins[1], i), data.shape[a]), IfThenElse(inside, store))
            }
            return SeqStmt.flat([copyAll(ins[0], outs[0]), updating])
        }[0]
    }

    /// A copy of `data` with every update (an element or a slice), in order, put at the tuple in the last
    /// axis of `indices` (negative from the end; outside = left out).
    public static func scatterND(
        _ data: Tensor, _ indices: Tensor, _ updates: Tensor, mode: ScatterMode = .update
    ) throws -> Tensor {
        guard indices.rank >= 1, let depth = indices.shape[indices.rank - 1].asInt, depth >= 0,
            depth <= data.rank, updates.rank == indices.rank - 1 + data.rank - depth
        else { throw ApusError("TOPI002", "scatter_nd: indices, updates and data do not fit") }
        let outer = indices.rank - 1
        return extern(
            [(shape: data.shape, dtype: data.dtype)], inputs: [data, indices, updates], name: "scatter_nd",
            tag: Tag.extern, attrs: externAttrs
        ) { ins, outs in
            let updating = forEachIndex(updates.shape) { i in
                let place = Array(i[..<outer])
                let at = (0..<depth).map { Var("position_\($0)") }
                var inside: [PrimExpr] = []
                for (k, v) in at.enumerated() {
                    inside.append(v .>= 0)
                    inside.append(v .< data.shape[k])
                }
                let target = at.map { $0 as PrimExpr } + Array(i[outer...])
                var stmt: Stmt = BufferStore(
                    outs[0], combined(mode, load(outs[0], target), load(ins[2], i)), target)
                if !inside.isEmpty { stmt = IfThenElse(conjunction(inside), stmt) }
                for k in at.indices.reversed() {
                    stmt = LetStmt(at[k], wrapped(load(ins[1], place + [imm(k)]), data.shape[k]), stmt)
                }
                return stmt
            }
            return SeqStmt.flat([copyAll(ins[0], outs[0]), updating])
        }[0]
    }

    /// Running sums along `axis`: without the element itself if `exclusive`, from the end if `reverse`.
    public static func cumsum(
        _ x: Tensor, axis: Int, exclusive: Bool = false, reverse: Bool = false
    ) throws -> Tensor {
        let a = try normalized(axis, rank: x.rank, "cumsum")
        let wide = accumulator(of: x.dtype)
        let source = wide == x.dtype ? x : try cast(x, wide)
        let n = x.shape[a]
        let sums = extern(
            [(shape: x.shape, dtype: wide)], inputs: [source], name: "cumsum", tag: Tag.extern,
            attrs: externAttrs
        ) { ins, outs in
            // The scanned axis innermost: the sum so far is the neighbour just written.
            forEachIndex(removing(x.shape, a)) { outer in
                forLoop("k", n) { k in
                    let at = reverse ? n - 1 - k : k as PrimExpr
                    let before = reverse ? at + 1 : at - 1
                    let here = inserting(outer, a, at)
                    let there = inserting(outer, a, before)
                    let addend = load(ins[0], exclusive ? there : here)
                    let start = exclusive ? const(0, wide) : addend
                    let value = ifThenElse(k .== imm(0), start, load(outs[0], there) + addend)
                    return BufferStore(outs[0], value, here)
                }
            }
        }[0]
        return wide == x.dtype ? sums : try cast(sums, x.dtype)
    }
}
