import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// What the calls of matrix units say about one fragment.
private struct Fragment {
    var shape: [Int]
    var layout: String?
}

private final class FragmentCollector: StmtExprVisitor {
    private(set) var fragments: [Var: Fragment] = [:]
    private var scopes: [Var: String] = [:]
    private(set) var failure: ApusError?

    private func fail(_ v: Var, _ message: String, _ expected: String, _ actual: String) {
        failure =
            failure
            ?? ApusError("TTR060", message, at: ["fragment: \(v.name)"], expected: expected, actual: actual)
    }

    override func visit(_ s: Stmt) {
        if let a = s as? Allocate { scopes[a.buffer.data] = a.buffer.scope }
        visitChildren(of: s)
    }

    override func visit(_ e: PrimExpr) {
        visitChildren(of: e)
        guard let c = e as? Call else { return }
        switch c.name {
        case "tir.load_matrix_sync", "tir.store_matrix_sync", "tir.fill_fragment":
            guard c.args.count >= 6, let v = c.args[0] as? Var, let m = c.args[1].asInt,
                let n = c.args[2].asInt,
                let k = c.args[3].asInt
            else {
                failure =
                    failure
                    ?? ApusError(
                        "TTR060", "a call of a matrix unit needs a fragment and its constant shape",
                        actual: "\(e)"
                    ).located(e.span)
                return
            }
            record(v, [m, n, k])
            guard c.name == "tir.load_matrix_sync", let layout = (c.args.last as? StringImm)?.value,
                scopes[v].map({ $0.hasPrefix("wmma.matrix") }) ?? false
            else { return }
            if let known = fragments[v]?.layout, known != layout {
                fail(v, "a fragment is loaded in two layouts", known, layout)
            }
            fragments[v]?.layout = layout
        case "tir.mma_sync", "tir.bmma_sync":
            guard c.args.count == 8 else { return }
            let operands = stride(from: 0, to: 8, by: 2).compactMap { c.args[$0] as? Var }
            let shapes = operands.compactMap { fragments[$0]?.shape }
            for (v, s) in zip(operands, shapes) where s != shapes[0] {
                fail(
                    v, "the fragments of a matrix multiplication have different shapes", "\(shapes[0])",
                    "\(s)")
            }
        default: break
        }
    }

    private func record(_ v: Var, _ shape: [Int]) {
        if let known = fragments[v] {
            if known.shape != shape {
                fail(v, "a fragment is used with two shapes", "\(known.shape)", "\(shape)")
            }
        } else {
            fragments[v] = Fragment(shape: shape)
        }
    }
}

private final class FragmentMarker: StmtExprMutator {
    private let fragments: [Var: Fragment]
    init(_ fragments: [Var: Fragment]) { self.fragments = fragments }

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        guard let a = n as? Allocate, let f = fragments[a.buffer.data] else { return n }
        if let mark = a.body as? AttrStmt, mark.key == "fragment_shape", mark.node === a.buffer.data {
            return n
        }
        var body = a.body
        if let layout = f.layout {
            body = AttrStmt(a.buffer.data, "fragment_layout", StringImm(layout), body)
        }
        let shape = f.shape.map { "\($0)" }.joined(separator: ", ")
        return Allocate(a.buffer, AttrStmt(a.buffer.data, "fragment_shape", StringImm(shape), body))
    }
}

/// Writes shape (`m, n, k`) and layout of each matrix fragment, which the calls that load, fill and store it name, on
/// its allocation, where code generators declare it. Throws TTR060 where two calls disagree.
/// Source of the idea: TVM's InferFragment.
public func inferFragment(_ f: PrimFunc) throws -> PrimFunc {
    let c = FragmentCollector()
    c.visit(f.body)
    if let failure = c.failure { throw failure }
    if c.fragments.isEmpty { return f }
    return f.rewritingBody { FragmentMarker(c.fragments).mutate($0) }
}
