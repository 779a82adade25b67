import ApusIR
import ApusRuntime
import ApusTIR

/// The box of `buffer` that `stmt` touches, loops and bindings inside relaxed: a range for each dimension, the whole
/// dimension where an index has no known ends; nil if nothing is touched. Never too small.
/// (TVM's DomainTouched.)
/// - Parameters:
///   - considerStores: count what is written.
///   - considerLoads: count what is read.
public func domainTouched(
    _ stmt: Stmt, _ buffer: Buffer, considerStores: Bool = true, considerLoads: Bool = true,
    analyzer: Analyzer = Analyzer()
) -> [IRRange]? {
    let walk = TouchWalker(buffer, considerStores, considerLoads, analyzer)
    walk.visit(stmt)
    guard let sets = walk.touched else { return nil }
    var result: [IRRange] = []
    for (i, s) in sets.enumerated() {
        let all = i < buffer.rank ? IRRange(extent: buffer.shape[i]) : IRRange(0, extent: 1)
        result.append(s.coverRange(all, analyzer))
    }
    return result
}

private final class TouchWalker: StmtExprVisitor {
    let buffer: Buffer
    let stores: Bool
    let loads: Bool
    let analyzer: Analyzer
    private(set) var touched: [IntervalSet]?
    private var domains: [Var: IntervalSet] = [:]

    init(_ buffer: Buffer, _ stores: Bool, _ loads: Bool, _ analyzer: Analyzer) {
        self.buffer = buffer
        self.stores = stores
        self.loads = loads
        self.analyzer = analyzer
        super.init()
    }

    private func touch(_ sets: [IntervalSet]) {
        touched = touched.map { analyzer.union(regions: [$0, sets]) } ?? sets
    }

    private func within(_ v: Var, _ set: IntervalSet, _ body: () -> Void) {
        let old = domains[v]
        domains[v] = set
        body()
        domains[v] = old
    }

    override func visit(_ e: PrimExpr) {
        switch e.kind {
        case .bufferLoad:
            let l = unsafeDowncast(e, to: BufferLoad.self)
            if loads && l.buffer === buffer { touch(analyzer.evalRegion(points: l.indices, domains)) }
            visitChildren(of: e)
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            visit(l.value)
            within(l.variable, analyzer.evalSet(l.value, domains)) { visit(l.body) }
        case .reduce:
            let r = unsafeDowncast(e, to: Reduce.self)
            let saved = domains
            for a in r.axis { domains[a.variable] = analyzer.evalSet(a.dom, domains) }
            visitChildren(of: e)
            domains = saved
        default: visitChildren(of: e)
        }
    }

    override func visit(_ s: Stmt) {
        switch s.stmtKind {
        case .bufferStore:
            let store = unsafeDowncast(s, to: BufferStore.self)
            if stores && store.buffer === buffer {
                touch(analyzer.evalRegion(points: store.indices, domains))
            }
            visitChildren(of: s)
        case .forLoop:
            let loop = unsafeDowncast(s, to: For.self)
            visit(loop.min)
            visit(loop.extent)
            within(loop.loopVar, analyzer.evalSet(IRRange(min: loop.min, extent: loop.extent), domains)) {
                visit(loop.body)
            }
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            visit(l.value)
            within(l.variable, analyzer.evalSet(l.value, domains)) { visit(l.body) }
        case .attr:
            let a = unsafeDowncast(s, to: AttrStmt.self)
            visit(a.value)
            guard a.key == "thread_extent", let axis = a.node as? IterVar else {
                visit(a.body)
                return
            }
            let range = IRRange(min: const(0, a.value.dtype), extent: a.value)
            within(axis.variable, analyzer.evalSet(range, domains)) { visit(a.body) }
        case .blockRealize:
            let r = unsafeDowncast(s, to: BlockRealize.self)
            for v in r.iterValues { visit(v) }
            visit(r.predicate)
            let saved = domains
            for (axis, value) in zip(r.block.iterVars, r.iterValues) {
                domains[axis.variable] = analyzer.evalSet(value, saved)
            }
            if let i = r.block.initial { visit(i) }
            visit(r.block.body)
            domains = saved
        default: visitChildren(of: s)
        }
    }
}
