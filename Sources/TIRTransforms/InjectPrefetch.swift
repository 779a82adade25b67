import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private let prefetchKey = "prefetch_scope"

/// The box of one buffer that the body of a loop accesses, while the loops inside run.
private final class TouchedBox: StmtExprVisitor {
    private let name: String
    private let analyzer: Analyzer
    private var domains: [Var: IntervalSet] = [:]
    /// Variables whose values are not known.
    private var opaque: Set<Var> = []
    private(set) var buffer: Buffer?
    private(set) var sets: [IntervalSet]?
    private(set) var isUnknown = false

    init(_ name: String, _ analyzer: Analyzer) {
        self.name = name
        self.analyzer = analyzer
    }

    private func access(_ b: Buffer, _ indices: [PrimExpr]) {
        guard b.name == name, buffer == nil || buffer === b else { return }
        buffer = b
        let scalar = indices.allSatisfy { $0.dtype == .index && !touchesState($0) && !uses($0, opaque) }
        if !scalar {
            isUnknown = true
            return
        }
        let mine = indices.map { analyzer.evalSet($0, domains) }
        sets = sets.map { old in zip(old, mine).map { analyzer.union($0, $1) } } ?? mine
    }

    override func visit(_ e: PrimExpr) {
        if let l = e as? BufferLoad { access(l.buffer, l.indices) }
        if let l = e as? Let { opaque.insert(l.variable) }
        visitChildren(of: e)
    }
    override func visit(_ s: Stmt) {
        switch s {
        case let loop as For:
            if touchesState(loop.min) || touchesState(loop.extent) {
                opaque.insert(loop.loopVar)
            } else {
                domains[loop.loopVar] = IntervalSet(interval(of: loop))
            }
        case let l as LetStmt:
            if l.variable.dtype == .index, !touchesState(l.value), !uses(l.value, opaque) {
                domains[l.variable] = analyzer.evalSet(l.value, domains)
            } else {
                opaque.insert(l.variable)
            }
        case let w as BufferStore: access(w.buffer, w.indices)
        case let r as BlockRealize:
            for (v, e) in zip(r.block.iterVars, r.iterValues) {
                domains[v.variable] = analyzer.evalSet(e, domains)
            }
        default: break
        }
        visitChildren(of: s)
    }
}

private final class PrefetchInjector: AnalyzingMutator {
    private let lineBytes: Int
    private(set) var failure: ApusError?

    init(_ f: PrimFunc, lineBytes: Int) {
        self.lineBytes = lineBytes
        super.init(f)
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }

    override func mutate(_ s: Stmt) -> Stmt {
        let n = super.mutate(s)
        guard let loop = n as? For, let wanted = loop.annotations.strings(prefetchKey) else { return n }
        return binding(loop.loopVar, interval(of: loop)) {
            var parts: [Stmt] = []
            for w in wanted {
                let fields = w.split(separator: ":", omittingEmptySubsequences: false)
                guard fields.count == 2, let offset = Int(fields[1]) else {
                    fail(loop, "a prefetch is named `buffer:offset`", expected: "\"A:1\"", actual: "\"\(w)\"")
                    return n
                }
                guard let p = prefetch(loop, String(fields[0]), offset) else { return n }
                parts.append(p)
            }
            let rest = loop.annotations.removing(prefetchKey)
            return loop.with(body: SeqStmt.flat(parts + [loop.body]), annotations: rest)
        }
    }

    private func fail(_ loop: For, _ message: String, expected: String?, actual: String?) {
        failure =
            failure
            ?? ApusError(
                "TTR030", message, at: ["loop: \(loop.loopVar.name)"], expected: expected, actual: actual
            ).located(loop.span)
    }

    private func prefetch(_ loop: For, _ name: String, _ offset: Int) -> Stmt? {
        let box = TouchedBox(name, analyzer)
        box.visit(loop.body)
        guard let b = box.buffer else {
            fail(
                loop, "the loop does not access the buffer to be prefetched", expected: "\(name)", actual: nil
            )
            return nil
        }
        var starts: [PrimExpr] = []
        var extents: [PrimExpr] = []
        for d in 0..<b.rank {
            guard !box.isUnknown, let set = box.sets?[d], let lo = set.min, let hi = set.max else {
                fail(
                    loop, "what is to be prefetched is not a box", expected: "indices linear in the loops",
                    actual: "\(name), dimension \(d)")
                return nil
            }
            // That of a later iteration.
            starts.append(analyzer.simplify(substitute(lo, [loop.loopVar: loop.loopVar + offset])))
            extents.append(analyzer.simplify(hi - lo + 1))
        }
        return lines(b, starts, extents, loop, offset)
    }

    /// One prefetch for each line of the last dimension, where the iteration still belongs to the loop.
    private func lines(
        _ b: Buffer, _ starts: [PrimExpr], _ extents: [PrimExpr], _ loop: For, _ offset: Int
    ) -> Stmt {
        let step = Swift.max(lineBytes / Swift.max(b.dtype.byteCount, 1), 1)
        var vars: [Var] = []
        var counts: [PrimExpr] = []
        var indices: [PrimExpr] = []
        for d in 0..<b.rank {
            let v = Var("p\(d)")
            let last = d == b.rank - 1
            vars.append(v)
            counts.append(last ? analyzer.simplify(floorDiv(extents[d] + (step - 1), step)) : extents[d])
            indices.append(starts[d] + (last ? v * step : v))
        }
        var inside: [PrimExpr] = []
        for d in 0..<b.rank { inside += [indices[d] .>= IntImm(0), indices[d] .< b.shape[d]] }
        for (v, n) in zip(vars, counts) { analyzer.bind(v, IRRange(extent: n)) }
        let doubtful = inside.filter { !analyzer.canProve($0) }
        var s: Stmt = Evaluate(
            intrinsic("prefetch", .void, [BufferLoad(b, indices.map { analyzer.simplify($0) })]))
        if !doubtful.isEmpty { s = IfThenElse(all(doubtful.map { analyzer.simplify($0) }), s) }
        for (v, n) in zip(vars, counts).reversed() {
            s = n.asInt == 1 ? substitute(s, [v: IntImm(0)]) : For(v, IntImm(0), n, body: s)
        }
        return s
    }
}

/// Turns the loop annotation `prefetch_scope` (strings `"buffer:offset"`) into prefetches: at the begin of iteration `i`,
/// one of each cache line that iteration `i + offset` accesses of the buffer, where that lies inside of it. Before
/// FlattenBuffer, while boxes have their dimensions. Throws TTR030 for annotations that cannot be followed. (TVM's
/// InjectPrefetch.)
public func injectPrefetch(_ f: PrimFunc, lineBytes: Int = 64) throws -> PrimFunc {
    let injector = PrefetchInjector(f, lineBytes: lineBytes)
    let result = f.rewritingBody { injector.mutate($0) }
    if let failure = injector.failure { throw failure }
    return result
}

extension TIRPasses {
    public static let injectPrefetch = primFuncPass(
        PassInfo("tir.InjectPrefetch", "annotated loops ask for what later iterations read")
    ) { f, _, c in
        try ApusTIRTransforms.injectPrefetch(f, lineBytes: c.int("tir.prefetch_line_bytes", default: 64))
    }
}
