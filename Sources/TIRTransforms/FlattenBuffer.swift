import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Walks statements with an analyzer that knows the loops, lets and conditions around.
class AnalyzingMutator: StmtExprMutator {
    let analyzer: Analyzer

    init(_ analyzer: Analyzer) { self.analyzer = analyzer }

    override func mutate(_ s: Stmt) -> Stmt {
        if let loop = s as? For {
            let lo = mutate(loop.min)
            let extent = mutate(loop.extent)
            analyzer.bind(loop.loopVar, IRRange(min: lo, extent: extent))
            let body = mutate(loop.body)
            let same = lo === loop.min && extent === loop.extent && body === loop.body
            return same ? s : loop.with(min: lo, extent: extent, body: body)
        }
        return mutateChildren(of: s)
    }
}

private final class Flattener: AnalyzingMutator {
    private var flat: [Buffer: (buffer: Buffer, strides: [PrimExpr])] = [:]

    private func layout(_ b: Buffer) -> (buffer: Buffer, strides: [PrimExpr]) {
        if let known = flat[b] { return known }
        let strides = flatStrides(b).map { analyzer.simplify($0) }
        var count: PrimExpr = IntImm(1)
        if b.strides.isEmpty {
            for d in b.shape { count = count * d }
        } else if let outer = strides.first, let rows = b.shape.first {
            count = outer * rows
        }
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
        return analyzer.simplify(sum)
    }

    override func mutate(_ b: Buffer) -> Buffer { layout(b).buffer }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        guard let load = e as? BufferLoad else { return mutateChildren(of: e) }
        let l = layout(load.buffer)
        let i = index(load.buffer, l.strides, load.indices.map { mutate($0) })
        if l.buffer === load.buffer && load.indices.count == 1 && sameExpr(i, load.indices[0]) { return e }
        return BufferLoad(l.buffer, [i])
    }
    override func mutate(_ s: Stmt) -> Stmt {
        guard let store = s as? BufferStore else { return super.mutate(s) }
        let l = layout(store.buffer)
        let value = mutate(store.value)
        let i = index(store.buffer, l.strides, store.indices.map { mutate($0) })
        let same = l.buffer === store.buffer && value === store.value && store.indices.count == 1
        return same && sameExpr(i, store.indices[0]) ? s : BufferStore(l.buffer, value, [i])
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
    f.with(body: Flattener(shapeAnalyzer(f)).mutate(f.body))
}

/// An analyzer that knows the variables in the shapes and strides of the parameters to be dimensions.
public func shapeAnalyzer(_ f: PrimFunc) -> Analyzer {
    let a = Analyzer()
    for (_, b) in f.bufferMap {
        for d in b.shape + b.strides + [b.elemOffset] {
            if d.kind == .variable, d.dtype == .index { a.bindShapeVariable(unsafeDowncast(d, to: Var.self)) }
        }
    }
    return a
}
