import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private final class AxisRemapper: StmtExprMutator {
    private let map: [String: String]
    init(_ map: [String: String]) { self.map = map }

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        guard let loop = n as? For, let t = loop.threadBinding, let tag = map[t.threadTag],
            tag != t.threadTag
        else { return n }
        // The axis' variable is named for the tag where the text form says no more than that.
        let variable =
            t.variable.name == t.threadTag && t.variable !== loop.loopVar
            ? Var(tag, type: t.variable.type) : t.variable
        let body = variable === t.variable ? loop.body : substitute(loop.body, [t.variable: variable])
        return For(
            loop.loopVar, loop.min, loop.extent, loop.forKind, body: body,
            threadBinding: IterVar(t.dom, variable, t.iterType, threadTag: tag), annotations: loop.annotations
        )
    }
}

/// Renames thread axes, such as `threadIdx.x` to `cthread` for accelerators whose threads are virtual, or to swap x and
/// y for a device that orders them otherwise.
public func remapThreadAxis(_ f: PrimFunc, _ map: [String: String]) -> PrimFunc {
    f.rewritingBody { AxisRemapper(map).mutate($0) }
}
