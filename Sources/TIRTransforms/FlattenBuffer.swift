import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private final class Flattener: AnalyzingMutator {
    private var flat: [Buffer: (buffer: Buffer, strides: [PrimExpr])] = [:]

    private func layout(_ b: Buffer) -> (buffer: Buffer, strides: [PrimExpr]) {
        // A pixel is found by row and column.
        if isTexture(b.scope) { return (buffer: b, strides: []) }
        if let known = flat[b] { return known }
        let strides = flatStrides(b).map { analyzer.simplify($0) }
        let count = b.elemOffset + extent(b, strides)
        let already = b.rank == 1 && b.strides.isEmpty && b.elemOffset.isZero
        let buffer =
            already
            ? b
            : Buffer(
                data: b.data, dtype: b.dtype, shape: [analyzer.simplify(count)], name: b.name,
                alignment: b.alignment)
        flat[b] = (buffer: buffer, strides: strides)
        return (buffer: buffer, strides: strides)
    }

    /// Elements from the first to the end of the last row.
    private func extent(_ b: Buffer, _ strides: [PrimExpr]) -> PrimExpr {
        if b.strides.isEmpty { return b.shape.reduce(IntImm(1)) { $0 * $1 } }
        var nested = true
        for d in 0..<Swift.max(b.rank - 1, 0) where nested {
            nested = analyzer.canProveGreaterEqual(strides[d], strides[d + 1] * b.shape[d + 1])
        }
        if nested, let outer = strides.first, let rows = b.shape.first { return outer * rows }
        // Rows are not inside of each other (a transposed view): up to the last element.
        var last: PrimExpr = IntImm(1)
        for (n, s) in zip(b.shape, strides) { last = last + (n - 1) * s }
        return last
    }

    private func index(_ b: Buffer, _ strides: [PrimExpr], _ indices: [PrimExpr]) -> PrimExpr {
        let lanes = Int(indices.last?.dtype.lanes ?? 1)
        if lanes > 1 {
            // Vector indices written by hand: only the last may be one.
            var sum: PrimExpr = b.elemOffset
            for (i, s) in zip(indices.dropLast(), strides.dropLast()) { sum = sum + i * s }
            guard let last = indices.last, let step = strides.last else { return sum }
            return vectorAdd(vectorScale(last, step), analyzer.simplify(sum))
        }
        var sum: PrimExpr = b.elemOffset
        for (i, s) in zip(indices, strides) { sum = sum + i * s }
        // What the sum brings together may meet another rule once it is written out.
        return analyzer.simplify(analyzer.simplify(sum))
    }

    override func mutate(_ b: Buffer) -> Buffer { layout(b).buffer }

    /// Whether `indices` are what they would become, up to the order of terms, which depends on what was seen before.
    private func isNormal(_ indices: [PrimExpr], _ i: PrimExpr) -> Bool {
        guard indices.count == 1 else { return false }
        if sameExpr(i, indices[0]) { return true }
        return i.dtype == .index && expressionSize(i) == expressionSize(indices[0])
            && analyzer.canProveEqual(i, indices[0])
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        guard let load = e as? BufferLoad, !isTexture(load.buffer.scope) else { return mutateChildren(of: e) }
        let l = layout(load.buffer)
        let i = index(load.buffer, l.strides, load.indices.map { mutate($0) })
        if l.buffer === load.buffer && isNormal(load.indices, i) { return e }
        return BufferLoad(l.buffer, [i])
    }
    override func mutate(_ s: Stmt) -> Stmt {
        guard let store = s as? BufferStore, !isTexture(store.buffer.scope) else { return super.mutate(s) }
        let l = layout(store.buffer)
        let value = mutate(store.value)
        let i = index(store.buffer, l.strides, store.indices.map { mutate($0) })
        let same = l.buffer === store.buffer && isNormal(store.indices, i)
        if same && value === store.value { return s }
        return BufferStore(l.buffer, value, same ? store.indices : [i])
    }
}

func vectorScale(_ e: PrimExpr, _ k: PrimExpr) -> PrimExpr {
    if k.isOne { return e }
    if let r = e as? Ramp { return Ramp(r.base * k, r.stride * k, r.lanes) }
    if let b = e as? Broadcast { return Broadcast(b.value * k, b.lanes) }
    return e * k
}

func vectorAdd(_ e: PrimExpr, _ k: PrimExpr) -> PrimExpr {
    if let r = e as? Ramp { return Ramp(r.base + k, r.stride, r.lanes) }
    if let b = e as? Broadcast { return Broadcast(b.value + k, b.lanes) }
    return e + k
}

/// Makes every access one-dimensional: index `elemOffset + sum(index * stride)`, simplified; buffers in the body have
/// one dimension and offset 0, and the data pointer they had. The function's `bufferMap` keeps the shapes that
/// callers must hand in. Needs: no blocks.
public func flattenBuffer(_ f: PrimFunc) -> PrimFunc {
    f.rewritingBody { Flattener(f).mutate($0) }
}
