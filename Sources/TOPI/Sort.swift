import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// The `k` greatest (or least, if `ascending`) elements along `axis` in order, and where they stand.
    /// Equal elements stay in the order of their positions; NaN is greater than every number, as in numpy's
    /// sort.
    public static func topK(
        _ x: Tensor, k: Int, axis: Int = -1, ascending: Bool = false, indexType: DataType = .int64
    ) throws -> (values: Tensor, indices: Tensor) {
        let a = try normalized(axis, rank: x.rank, "topk")
        let n = x.shape[a]
        if k < 0 || (n.asInt.map { k > $0 } ?? false) {
            throw ApusError("TOPI012", "topk: k is not within the axis", expected: "0...\(n)", actual: "\(k)")
        }
        var shape = x.shape
        shape[a] = imm(k)
        let results = extern(
            [
                (shape: shape, dtype: x.dtype), (shape: shape, dtype: indexType), (shape: [n], dtype: .int64),
                (shape: [n], dtype: .int64), (shape: [imm(2)], dtype: .int64),
            ], inputs: [x], name: "topk", tag: Tag.extern, attrs: externAttrs
        ) { ins, outs in
            let sorter = MergeSort(data: ins[0], order: outs[2], spare: outs[3], cursor: outs[4], extent: n)
            return forEachIndex(removing(x.shape, a)) { outer in
                let sorting = sorter.sort { left, right in
                    precedes(
                        BufferLoad(ins[0], inserting(outer, a, left)),
                        BufferLoad(ins[0], inserting(outer, a, right)),
                        ascending)
                }
                let writing = forLoop("j", imm(k)) { j in
                    let v = Var("position")
                    let target = inserting(outer, a, j)
                    let stores = SeqStmt([
                        BufferStore(outs[0], BufferLoad(ins[0], inserting(outer, a, v)), target),
                        BufferStore(outs[1], asType(indexType, v), target),
                    ])
                    return LetStmt(v, BufferLoad(outs[2], [j]), stores)
                }
                return SeqStmt.flat([sorting, writing])
            }
        }
        return (values: results[0], indices: results[1])
    }

    /// The positions that sort `x` along `axis`, stably.
    public static func argsort(
        _ x: Tensor, axis: Int = -1, ascending: Bool = true, indexType: DataType = .int64
    ) throws -> Tensor {
        let a = try normalized(axis, rank: x.rank, "argsort")
        guard let n = x.shape[a].asInt else {
            throw ApusError("TOPI002", "argsort: the axis must have a known extent")
        }
        return try topK(x, k: n, axis: a, ascending: ascending, indexType: indexType).indices
    }

    /// Whether `x` stands strictly before `y`.
    private static func precedes(_ x: PrimExpr, _ y: PrimExpr, _ ascending: Bool) -> PrimExpr {
        let plain = ascending ? x .< y : x .> y
        guard x.dtype.isFloat else { return plain }
        let wide = accumulator(of: x.dtype)
        let xNaN = ApusTIR.isNaN(asType(wide, x))
        let yNaN = ApusTIR.isNaN(asType(wide, y))
        return or(plain, ascending ? and(yNaN, not(xNaN)) : and(xNaN, not(yNaN)))
    }
}

/// A stable merge sort of positions, bottom up: runs of 1, 2, 4, … are merged until one is left.
private struct MergeSort {
    let data: Buffer
    /// The sorted positions.
    let order: Buffer
    let spare: Buffer
    /// Where the two runs that are being merged stand.
    let cursor: Buffer
    let extent: PrimExpr

    private func at(_ b: Buffer, _ i: PrimExpr) -> PrimExpr { BufferLoad(b, [i]) }

    func sort(_ precedes: @escaping (PrimExpr, PrimExpr) -> PrimExpr) -> Stmt {
        var passes = 0
        // 40 doublings cover any axis that fits memory.
        while passes < 40, extent.asInt.map({ (1 << passes) < $0 }) ?? true { passes += 1 }
        let start = forLoop("p", extent) { p in BufferStore(order, p, [p]) }
        let merging = forLoop("pass", imm(passes)) { pass in
            let width = Var("width")
            let rounds = forLoop("run", ceilDiv(extent, width * 2)) { run in
                merge(run * width * 2, width, precedes)
            }
            let back = forLoop("p", extent) { p in BufferStore(order, at(spare, p), [p]) }
            return LetStmt(width, bitwise("shift_left", imm(1), pass), SeqStmt([rounds, back]))
        }
        return SeqStmt.flat([start, merging])
    }

    /// Merges the runs of `order` that begin at `begin` and `begin + width` into `spare`.
    private func merge(
        _ begin: PrimExpr, _ width: PrimExpr, _ precedes: @escaping (PrimExpr, PrimExpr) -> PrimExpr
    ) -> Stmt {
        let low = Var("low")
        let middle = Var("middle")
        let high = Var("high")
        let left = at(cursor, imm(0))
        let right = at(cursor, imm(1))
        let step = forLoop("p", high - low) { p in
            let rightFirst = precedes(at(order, right), at(order, left))
            let takeRight = ifThenElse(
                right .>= high, falseExpr, ifThenElse(left .>= middle, trueExpr, rightFirst))
            func move(_ which: Int, _ position: PrimExpr) -> Stmt {
                SeqStmt([
                    BufferStore(spare, at(order, position), [low + p]),
                    BufferStore(cursor, position + 1, [imm(which)]),
                ])
            }
            return IfThenElse(takeRight, move(1, right), move(0, left))
        }
        let body = SeqStmt([BufferStore(cursor, low, [imm(0)]), BufferStore(cursor, middle, [imm(1)]), step])
        return LetStmt(
            low, begin,
            LetStmt(
                middle, minimum(low + width, extent), LetStmt(high, minimum(low + width * 2, extent), body)))
    }
}
