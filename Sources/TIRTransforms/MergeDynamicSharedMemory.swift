import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// The positions in a kernel's body at which a buffer is used: a loop counts as one.
private final class UseSpans {
    private(set) var span: [Var: ClosedRange<Int>] = [:]
    private var position = 0

    func visit(_ s: Stmt) {
        switch s {
        case let seq as SeqStmt: for part in seq.stmts { visit(part) }
        case let a as AttrStmt: visit(a.body)
        case let a as Allocate: visit(a.body)
        default:
            postOrderVisit(
                s, expr: { e in self.expression(e) },
                stmt: { x in if let store = x as? BufferStore { self.use(store.buffer.data) } })
            position += 1
        }
    }

    private func expression(_ e: PrimExpr) {
        if let l = e as? BufferLoad { use(l.buffer.data) }
        if let v = e as? Var { use(v) }
    }
    private func use(_ v: Var) {
        span[v] =
            span[v].map { min($0.lowerBound, position)...max($0.upperBound, position) } ?? position...position
    }
}

private final class DynamicMerger: StmtExprMutator {
    private let views: [Buffer: Buffer]
    private let data: [Var: PrimExpr]
    init(_ views: [Buffer: Buffer], _ data: [Var: PrimExpr]) {
        self.views = views
        self.data = data
    }
    override func mutate(_ b: Buffer) -> Buffer { views[b] ?? b }
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.kind == .variable { return data[unsafeDowncast(e, to: Var.self)] ?? e }
        return mutateChildren(of: e)
    }
}

private final class DynamicKernels: KernelMutator {
    override func kernel(_ root: Stmt, _ nest: LaunchNest) throws -> Stmt {
        var inside: [Buffer] = nest.allocations.map(\.buffer).filter { $0.scope == "shared.dyn" }
        var body = nest.body
        while let a = body as? Allocate, a.buffer.scope == "shared.dyn" {
            inside.append(a.buffer)
            body = a.body
        }
        if inside.count == 1, inside[0].dtype == .uint8, inside[0].name == "shared_dyn" { return root }
        if inside.isEmpty { return root }
        let uses = UseSpans()
        uses.visit(body)
        // First fit by start of use: a buffer may lie where another one's life is over before, or begins after.
        struct Slot {
            let buffer: Buffer
            let span: ClosedRange<Int>
            let offset: Int
            let size: Int
        }
        var slots: [Slot] = []
        var end = 0
        for b in inside {
            guard let count = constantProduct(b.shape) else {
                throw ApusError(
                    "TTR061", "dynamic shared memory is merged where its parts have constant sizes",
                    at: ["buffer: \(b.name)"], actual: "\(b.shape)"
                ).located(b.data.span)
            }
            let size = (count * b.dtype.byteCount + 15) / 16 * 16
            guard let span = uses.span[b.data] else { continue }
            var offset = 0
            for s in slots.filter({ $0.span.overlaps(span) }).sorted(by: { $0.offset < $1.offset }) {
                if offset + size <= s.offset { break }
                offset = max(offset, s.offset + s.size)
            }
            slots.append(Slot(buffer: b, span: span, offset: offset, size: size))
            end = max(end, offset + size)
        }
        let whole = Buffer("shared_dyn", [end], .uint8, scope: "shared.dyn")
        var views: [Buffer: Buffer] = [:]
        var pointers: [Var: PrimExpr] = [:]
        for s in slots {
            let b = s.buffer
            views[b] = Buffer(
                data: whole.data, dtype: b.dtype, shape: b.shape, strides: b.strides,
                elemOffset: IntImm(s.offset / b.dtype.byteCount), name: b.name, alignment: 16)
            pointers[b.data] = intrinsic("address_of", .handle, [BufferLoad(whole, [IntImm(s.offset)])])
        }
        // Views of the old buffers, made by earlier passes, follow.
        var others: Set<Buffer> = []
        func see(_ b: Buffer) {
            guard views[b] == nil, others.insert(b).inserted,
                let s = slots.first(where: { $0.buffer.data === b.data })
            else { return }
            views[b] = Buffer(
                data: whole.data, dtype: b.dtype, shape: b.shape, strides: b.strides,
                elemOffset: b.elemOffset + s.offset / b.dtype.byteCount, name: b.name, alignment: 16)
        }
        postOrderVisit(
            body, expr: { e in if let l = e as? BufferLoad { see(l.buffer) } },
            stmt: { s in if let x = s as? BufferStore { see(x.buffer) } })
        var wider = nest
        wider.allocations = nest.allocations.filter { $0.buffer.scope != "shared.dyn" }
        wider.allocations.append((depth: nest.blocks.count, buffer: whole))
        return wider.rebuilt(root, body: DynamicMerger(views, pointers).mutate(body))
    }
}

/// All allocations of scope `shared.dyn` of a kernel become one buffer of bytes, `shared_dyn`, whose size the launch
/// hands over; each is a view at an offset of a multiple of 16 bytes. Buffers that are not in use at the same time share
/// bytes, so that barriers must be placed afterwards (`threadSync`). Throws TTR061 for sizes that are not constant.
/// Source of the idea: TVM's MergeDynamicSharedMemoryAllocations.
public func mergeDynamicSharedMemoryAllocations(_ f: PrimFunc) throws -> PrimFunc {
    try DynamicKernels().run(f)
}
