import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Square tiles that are read apart and written together, row for row, are read as rows and transposed in registers:
///
///     for c in range(n): B[Ramp(b + c * s, 1, n)] = A[Ramp(a + c, k, n)]
///
/// reads the `n` rows `A[Ramp(a + j * k, 1, n)]` and exchanges, in log2 n steps, the halves, quarters, … of pairs of rows:
/// n loads, n log2 n shuffles of two vectors and n stores for n * n elements. (The scheme of Eklundh, "A Fast Computer
/// Method for Matrix Transposing", IEEE Transactions on Computers 1972.)
///
/// `n` is 4, 8 or 16, elements have at least 16 bits, and the two buffers do not overlap, which a function says by
/// `tir.noalias`.
public func transposeTiles(_ f: PrimFunc) -> PrimFunc {
    guard f.attrs.bool("tir.noalias") == true else { return f }
    let body = TileTransposer().mutate(f.body)
    return body === f.body ? f : f.with(body: body)
}

private final class TileTransposer: StmtExprMutator {
    private let analyzer = Analyzer()

    override func mutate(_ s: Stmt) -> Stmt {
        guard let loop = s as? For else { return mutateChildren(of: s) }
        return transposed(loop) ?? mutateChildren(of: s)
    }

    /// Expressions hold no loops.
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }

    private func transposed(_ loop: For) -> Stmt? {
        guard loop.forKind == .serial || loop.forKind == .unrolled, loop.min.isZero,
            let n = loop.extent.asInt, [4, 8, 16].contains(n), let store = loop.body as? BufferStore,
            let load = store.value as? BufferLoad, load.buffer.data !== store.buffer.data,
            load.buffer.dtype.bits >= 16, load.dtype.element == load.buffer.dtype, load.indices.count == 1,
            store.indices.count == 1, let to = store.indices[0] as? Ramp, let from = load.indices[0] as? Ramp,
            to.lanes == n, from.lanes == n, to.stride.asInt == 1, let step = from.stride.asInt, step != 1,
            let (start, apart) = line(from.base, loop.loopVar), apart.asInt == 1,
            let (target, distance) = line(to.base, loop.loopVar)
        else { return nil }
        func row(_ base: PrimExpr, _ i: Int, _ distance: PrimExpr) -> PrimExpr {
            let first = analyzer.simplify(base + const(i, base.dtype) * distance)
            return Ramp(first, const(1, base.dtype), n)
        }
        // Names for all rows of each step, since each is used twice.
        var names: [(variable: Var, value: PrimExpr)] = []
        func name(_ text: String, _ value: PrimExpr) -> PrimExpr {
            let v = Var(text, dtype: value.dtype)
            names.append((variable: v, value: value))
            return v
        }
        var rows: [PrimExpr] = []
        for i in 0..<n {
            rows.append(name("row", BufferLoad(load.buffer, [row(start, i, const(step, start.dtype))])))
        }
        var half = n / 2
        while half > 0 {
            // Lanes of the first row are 0..<n, of the second n..<2n.
            let upper = (0..<n).map { $0 & half == 0 ? $0 : $0 - half + n }
            let lower = (0..<n).map { $0 & half == 0 ? $0 + half : $0 + n }
            var next = rows
            for i in 0..<n where i & half == 0 {
                next[i] = name("row", Shuffle([rows[i], rows[i + half]], upper))
                next[i + half] = name("row", Shuffle([rows[i], rows[i + half]], lower))
            }
            rows = next
            half /= 2
        }
        var stores: [Stmt] = []
        for (i, r) in rows.enumerated() {
            stores.append(BufferStore(store.buffer, r, [row(target, i, distance)]))
        }
        var result: Stmt = SeqStmt(stores)
        for (v, value) in names.reversed() { result = LetStmt(v, value, result) }
        return result
    }

    /// `e` as `base + distance * v`.
    private func line(_ e: PrimExpr, _ v: Var) -> (base: PrimExpr, distance: PrimExpr)? {
        guard let form = analyzer.detectLinearEquation(e, [v]), !uses(form.coefficients[0], [v]),
            !uses(form.base, [v])
        else { return nil }
        return (base: form.base, distance: form.coefficients[0])
    }
}
