import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Marks the whole body as code of the device (`device_scope`), for accelerators whose functions have no threads:
/// `splitHostDevice` then cuts it out as one kernel.
public func decorateDeviceScope(_ f: PrimFunc) -> PrimFunc {
    if let a = f.body as? AttrStmt, a.key == "device_scope" { return f }
    if CallingConvention.of(f) == .kernelLaunch { return f }
    return f.with(body: AttrStmt(IntImm(0), "device_scope", IntImm(0), f.body))
}

private final class ContextCombiner: StmtExprMutator {
    private var bound: [(context: PrimExpr, variable: Var)] = []

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let e = mutateChildren(of: e)
        guard let c = e as? Call, c.name == "tir.thread_context", c.args.count == 1 else { return e }
        if let known = bound.first(where: { sameContext($0.context, c.args[0]) }) { return known.variable }
        let v = Var("context", type: PrimType(.handle))
        bound.append((context: c.args[0], variable: v))
        return v
    }

    override func mutate(_ s: Stmt) -> Stmt {
        // Each thread of a parallel loop has a context of its own.
        guard let loop = s as? For, loop.forKind == .parallel else { return mutateChildren(of: s) }
        let saved = bound
        bound = []
        let body = wrap(mutate(loop.body))
        bound = saved
        return body === loop.body ? s : loop.with(body: body)
    }

    /// The contexts taken so far, in front of `body`.
    func wrap(_ body: Stmt) -> Stmt {
        var result = body
        for b in bound.reversed() {
            result = LetStmt(b.variable, intrinsic("thread_context", .handle, [b.context]), result)
        }
        return result
    }

    private func sameContext(_ a: PrimExpr, _ b: PrimExpr) -> Bool { structuralEqual(a, b) }
}

/// Takes each `thread_context` once, at the beginning of the function or of the body of a parallel loop, instead of at
/// each call that needs it. Source of the idea: TVM's CombineContextCall.
public func combineContextCall(_ f: PrimFunc) -> PrimFunc {
    if alreadyCombined(f.body) { return f }
    let m = ContextCombiner()
    let body = m.mutate(f.body)
    return body === f.body ? f : f.with(body: m.wrap(body))
}

/// Whether contexts are taken by `let` at the heads of scopes only.
private func alreadyCombined(_ body: Stmt) -> Bool {
    var calls = 0
    var heads = 0
    func head(_ s: Stmt) {
        var s = s
        while let l = s as? LetStmt, let c = l.value as? Call, c.name == "tir.thread_context" {
            heads += 1
            s = l.body
        }
    }
    head(body)
    postOrderVisit(
        body, expr: { e in if let c = e as? Call, c.name == "tir.thread_context" { calls += 1 } },
        stmt: { s in if let l = s as? For, l.forKind == .parallel { head(l.body) } })
    return calls == heads
}
