import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// How many lanes all accesses of a buffer have in common.
private final class LaneCollector: StmtExprVisitor {
    let analyzer: Analyzer
    /// nil: not the same everywhere.
    private(set) var lanes: [Buffer: Int?] = [:]
    private(set) var order: [Buffer] = []
    private(set) var pointers: Set<Var> = []

    init(_ analyzer: Analyzer) { self.analyzer = analyzer }

    private func access(_ b: Buffer, _ indices: [PrimExpr]) {
        if lanes[b] == nil { order.append(b) }
        guard b.dtype.isScalar, b.rank == 1, b.strides.isEmpty, indices.count == 1,
            let r = indices[0] as? Ramp,
            r.stride.isOne, r.base.dtype.isScalar, analyzer.modularSet(r.base).isMultiple(of: r.lanes),
            b.shape[0].asInt.map({ $0 % r.lanes == 0 })
                ?? analyzer.modularSet(b.shape[0]).isMultiple(of: r.lanes),
            b.elemOffset.isZero
        else {
            lanes[b] = .some(nil)
            return
        }
        if let known = lanes[b] { if known != r.lanes { lanes[b] = .some(nil) } } else { lanes[b] = r.lanes }
    }

    override func visit(_ e: PrimExpr) {
        if let l = e as? BufferLoad { access(l.buffer, l.indices) }
        if let v = e as? Var, v.dtype.isHandle { pointers.insert(v) }
        if let c = e as? Call, c.name == "tir.address_of", let l = c.args.first as? BufferLoad {
            lanes[l.buffer] = .some(nil)
        }
        visitChildren(of: e)
    }
    override func visit(_ s: Stmt) {
        if let loop = s as? For { analyzer.bind(loop.loopVar, IRRange(min: loop.min, extent: loop.extent)) }
        if let l = s as? LetStmt { analyzer.bindProperties(of: l.variable, from: l.value) }
        if let store = s as? BufferStore { access(store.buffer, store.indices) }
        visitChildren(of: s)
    }
}

private final class VectorTyper: StmtExprMutator {
    private let buffers: [Buffer: Buffer]
    private let analyzer: Analyzer
    init(_ buffers: [Buffer: Buffer], _ analyzer: Analyzer) {
        self.buffers = buffers
        self.analyzer = analyzer
    }
    override func mutate(_ b: Buffer) -> Buffer { buffers[b] ?? b }
    private func index(_ e: PrimExpr) -> PrimExpr {
        guard let r = e as? Ramp else { return e }
        return analyzer.simplify(floorDiv(mutate(r.base), r.lanes))
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        guard let l = e as? BufferLoad, let b = buffers[l.buffer] else { return mutateChildren(of: e) }
        return BufferLoad(b, l.indices.map { index($0) })
    }
    override func mutate(_ s: Stmt) -> Stmt {
        guard let store = s as? BufferStore, let b = buffers[store.buffer] else {
            return mutateChildren(of: s)
        }
        return BufferStore(b, mutate(store.value), store.indices.map { index($0) })
    }
}

/// A buffer that is only ever accessed as vectors of n neighbouring elements, each at a multiple of n, becomes a buffer
/// of vectors: the form that code for devices with vector types (`float4`) loads in one instruction. Parameters keep
/// the type that callers see; the body sees a view. Needs one index an access, after vectorisation.
/// Source of the idea: TVM's PointerValueTypeRewrite.
public func pointerValueTypeRewrite(_ f: PrimFunc) -> PrimFunc {
    let c = LaneCollector(shapeAnalyzer(f))
    c.visit(f.body)
    var buffers: [Buffer: Buffer] = [:]
    for b in c.order {
        guard case .some(.some(let n)) = c.lanes[b], n > 1, !c.pointers.contains(b.data) else { continue }
        let type = b.dtype.with(lanes: n)
        let isParameter =
            f.bufferMap.contains { $0.buffer.data === b.data } || f.params.contains { $0 === b.data }
        let data =
            isParameter
            ? b.data
            : Var(
                b.data.name,
                type: PointerType(PrimType(type), storageScope: b.scope == "global" ? "" : b.scope))
        buffers[b] = Buffer(
            data: data, dtype: type, shape: [c.analyzer.simplify(floorDiv(b.shape[0], n))], name: b.name,
            alignment: b.alignment)
    }
    if buffers.isEmpty { return f }
    return f.rewritingBody { VectorTyper(buffers, c.analyzer).mutate($0) }
}
