import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// A computation written in hybrid script: statements over buffers, run one after another. A statement that is a perfect nest
/// of loops around one store becomes a block with iteration variables, on which every schedule primitive works; any
/// other becomes a block of its own, which moves as a whole.
public final class HybridOp: Operation, @unchecked Sendable {
    public let inputs: [Tensor]
    public let inputBuffers: [Buffer]
    public let outputBuffers: [Buffer]
    /// Memory between the statements.
    public let localBuffers: [Buffer]
    public let stmts: [Stmt]

    init(
        name: String, tag: String, attrs: Attrs, inputs: [Tensor], inputBuffers: [Buffer],
        outputBuffers: [Buffer], localBuffers: [Buffer], stmts: [Stmt]
    ) {
        self.inputs = inputs
        self.inputBuffers = inputBuffers
        self.outputBuffers = outputBuffers
        self.localBuffers = localBuffers
        self.stmts = stmts
        super.init(name: name, tag: tag, attrs: attrs)
    }

    public override var outputCount: Int { outputBuffers.count }
    public override func outputShape(_ i: Int) -> [PrimExpr] { outputBuffers[i].shape }
    public override func outputDType(_ i: Int) -> DataType { outputBuffers[i].dtype }
    public override var inputTensors: [Tensor] { inputs }
    public override func replacingInputs(_ replacement: (Tensor) -> Tensor?) -> Operation {
        guard let new = replaced(inputs, replacement) else { return self }
        return HybridOp(
            name: name, tag: tag, attrs: attrs, inputs: new, inputBuffers: inputBuffers,
            outputBuffers: outputBuffers, localBuffers: localBuffers, stmts: stmts)
    }
    public override class var schema: NodeSchema { hybridSchema }
}

private let hybridSchema = NodeSchema(
    "te.HybridOp", HybridOp.self,
    [
        .field("name", \.name), .field("tag", \.tag), .field("attrs", \.attrs), .field("inputs", \.inputs),
        .definition("inputBuffers", \.inputBuffers), .definition("outputBuffers", \.outputBuffers),
        .definition("localBuffers", \.localBuffers), .field("stmts", \.stmts),
    ], identity: .graph,
    make: {
        let name: String = try $0.next()
        let tag: String = try $0.next()
        let attrs: Attrs = try $0.next()
        let inputs: [Tensor] = try $0.next()
        let inputBuffers: [Buffer] = try $0.next()
        let outputBuffers: [Buffer] = try $0.next()
        let localBuffers: [Buffer] = try $0.next()
        return HybridOp(
            name: name, tag: tag, attrs: attrs, inputs: inputs, inputBuffers: inputBuffers,
            outputBuffers: outputBuffers, localBuffers: localBuffers, stmts: try $0.next())
    })

extension TELowering {
    /// The statements of a hybrid operation as blocks.
    func emit(hybrid op: HybridOp) {
        var map: [Buffer: Buffer] = [:]
        var pointers: [Var: PrimExpr] = [:]
        func replace(_ old: Buffer, _ new: Buffer) {
            map[old] = new
            pointers[old.data] = new.data
        }
        for (t, b) in zip(op.inputs, op.inputBuffers) { replace(b, buffer(t)) }
        for (i, b) in op.outputBuffers.enumerated() { replace(b, buffer(op.output(i))) }
        for b in op.localBuffers {
            replace(b, allocate(Buffer(unique(b.name), b.shape, b.dtype, scope: b.scope)))
        }
        var attrs = op.attrs
        if !op.tag.isEmpty { attrs = attrs.setting("tag", .string(op.tag)) }
        for s in op.stmts {
            let s = substitute(s, pointers, buffers: map)
            if let nest = HybridNest(s) {
                emit(nest, op, attrs)
                continue
            }
            let (reads, writes) = accessedOutside(s, [])
            let block = Block(
                uniqueBlock(writes.first?.name ?? op.name), reads: reads.map { BufferRegion(all: $0) },
                writes: writes.map { BufferRegion(all: $0) }, body: s, annotations: attrs)
            note(op, block, [])
            stmts.append(BlockRealize([], block))
        }
    }

    private func emit(_ nest: HybridNest, _ op: HybridOp, _ attrs: Attrs) {
        var iterVars: [IterVar] = []
        var map: [Var: PrimExpr] = [:]
        for l in nest.loops {
            let v = Var("v_\(l.loopVar.name)", dtype: l.loopVar.dtype)
            iterVars.append(
                IterVar(
                    IRRange(min: l.min, extent: l.extent), v,
                    nest.spatial.contains(l.loopVar) ? .dataParallel : .commReduce))
            map[l.loopVar] = v
        }
        let body = substitute(nest.store, map)
        let point = nest.store.indices.map { substitute($0, map) }
        var reads = readRegions(of: body, except: [nest.store.buffer])
        if nest.readsItself { reads.append(BufferRegion(nest.store.buffer, point: point)) }
        let block = Block(
            uniqueBlock(nest.store.buffer.name), iterVars: iterVars, reads: reads,
            writes: [BufferRegion(nest.store.buffer, point: point)], body: body, annotations: attrs)
        var stmt: Stmt = BlockRealize(nest.loops.map(\.loopVar), block)
        for l in nest.loops.reversed() { stmt = l.with(body: stmt) }
        note(op, block, iterVars)
        stmts.append(stmt)
    }
}

/// The buffers that `s` accesses, but those in `own` and those that blocks within it allocate.
func accessedOutside(_ s: Stmt, _ own: [Buffer]) -> (reads: [Buffer], writes: [Buffer]) {
    var inside = Set(own)
    postOrderVisit(s, stmt: { if let b = $0 as? Block { inside.formUnion(b.allocBuffers) } })
    let (reads, writes) = buffersAccessed(s)
    return (reads: reads.filter { !inside.contains($0) }, writes: writes.filter { !inside.contains($0) })
}

/// A perfect nest of loops around one store, each point stored by itself or combined by a commutative operator: what can be
/// a block with iteration variables.
struct HybridNest {
    let loops: [For]
    let store: BufferStore
    /// Loops whose variable is an index of the store; the others reduce.
    let spatial: Set<Var>
    let readsItself: Bool

    init?(_ stmt: Stmt) {
        var loops: [For] = []
        var vars: Set<Var> = []
        var s = stmt
        while let l = s as? For {
            if uses(l.min, vars) || uses(l.extent, vars) || HybridNest.loads(l.min)
                || HybridNest.loads(l.extent)
            {
                return nil
            }
            loops.append(l)
            vars.insert(l.loopVar)
            s = l.body
        }
        guard let store = s as? BufferStore, !loops.isEmpty else { return nil }
        var spatial: Set<Var> = []
        for i in store.indices {
            if let v = i as? Var, vars.contains(v) {
                if !spatial.insert(v).inserted { return nil }
            } else if uses(i, vars) || HybridNest.loads(i) {
                return nil
            }
        }
        var same = true
        let own = sumOverOccurrences(store.value) { e in
            guard let load = e as? BufferLoad, load.buffer === store.buffer else { return 0 }
            if load.indices.count != store.indices.count
                || !zip(load.indices, store.indices).allSatisfy({ structuralEqual($0, $1) })
            {
                same = false
            }
            return 1
        }
        if !same { return nil }
        if spatial.count < loops.count {
            // Each point is visited more than once: only a reduction means the same in any order.
            guard own == 1, let op = store.value as? BinaryExpr,
                [.add, .mul, .min, .max, .and, .or].contains(op.kind),
                HybridNest.isLoad(op.a, store.buffer) || HybridNest.isLoad(op.b, store.buffer)
            else { return nil }
        }
        self.loops = loops
        self.store = store
        self.spatial = spatial
        readsItself = own > 0
    }

    private static func isLoad(_ e: PrimExpr, _ b: Buffer) -> Bool { (e as? BufferLoad)?.buffer === b }

    private static func loads(_ e: PrimExpr) -> Bool {
        var found = false
        postOrderVisit(e) { if $0.kind == .bufferLoad { found = true } }
        return found
    }
}
