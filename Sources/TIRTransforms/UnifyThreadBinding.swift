import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// One thread axis of a kernel: its loop variable for all of the kernel and the number of threads launched.
private struct Axis {
    let tag: String
    /// The loop that the launch takes variable and thread axis from.
    let loop: For
    var extent: PrimExpr
    /// Whether some loops of this axis have fewer threads than are launched.
    var varies = false
}

private final class RegionUnifier: StmtExprMutator {
    private let analyzer: Analyzer
    private(set) var axes: [Axis] = []
    private(set) var shared: [Buffer] = []
    private var values: [Var: PrimExpr] = [:]
    private var open: [String] = []
    /// Variables that are defined within the kernel: no extent may depend on them.
    private var inner: Set<Var> = []

    init(_ analyzer: Analyzer) { self.analyzer = analyzer }

    // MARK: Axes

    func collect(_ root: Stmt) throws {
        var failure: ApusError?
        visit(root, &failure)
        if let failure { throw failure }
        for a in axes where uses(a.extent, inner) {
            throw ApusError(
                "TTR051", "the number of threads of \(a.tag) is not known when the kernel is launched",
                at: ["loop: \(a.loop.loopVar.name)"],
                expected: "an expression of what is known outside of the kernel",
                actual: "\(a.extent)"
            ).located(a.loop.span)
        }
    }

    private func visit(_ s: Stmt, _ failure: inout ApusError?) {
        if let tag = hardwareTag(s) {
            let loop = unsafeDowncast(s, to: For.self)
            inner.insert(loop.loopVar)
            if let t = loop.threadBinding?.variable { inner.insert(t) }
            if let i = axes.firstIndex(where: { $0.tag == tag }) {
                let known = axes[i].extent
                if !sameExpr(known, loop.extent) && !analyzer.canProveEqual(known, loop.extent) {
                    guard let a = known.asInt, let b = loop.extent.asInt else {
                        failure =
                            failure
                            ?? ApusError(
                                "TTR050", "loops over \(tag) have different numbers of threads in one kernel",
                                at: ["loop: \(loop.loopVar.name)"], expected: "\(known)",
                                actual: "\(loop.extent)", hint: "bind loops of one extent, or constants"
                            ).located(loop.span)
                        return
                    }
                    axes[i].extent = IntImm(max(a, b), dtype: known.dtype)
                    axes[i].varies = true
                }
            } else {
                axes.append(Axis(tag: tag, loop: loop, extent: loop.extent))
            }
        } else if let loop = s as? For {
            inner.insert(loop.loopVar)
        } else if let l = s as? LetStmt {
            inner.insert(l.variable)
        }
        forEachChild(of: s, expr: { _ in }, stmt: { visit($0, &failure) })
    }

    private func axis(_ tag: String) -> Axis {
        guard let a = axes.first(where: { $0.tag == tag }) else { internalError("\(tag) was not collected") }
        return a
    }

    /// The launch around `body`: blocks, shared memory, threads; each kind in order of first appearance.
    func launch(_ body: Stmt) -> Stmt {
        var result = body
        func wrap(_ a: Axis) {
            result = For(
                a.loop.loopVar, IntImm(0, dtype: a.loop.loopVar.dtype), a.extent, .threadBinding,
                body: result,
                threadBinding: bound(a), annotations: a.loop.annotations)
        }
        for a in axes.reversed() where isThreadAxis(a.tag) { wrap(a) }
        for b in shared.reversed() { result = Allocate(b, result) }
        for a in axes.reversed() where isBlockAxis(a.tag) { wrap(a) }
        return result
    }

    private func bound(_ a: Axis) -> IterVar? {
        guard let t = a.loop.threadBinding else { return nil }
        if a.loop.min.isZero && sameExpr(t.dom.extent, a.extent) && t.dom.min.isZero { return t }
        return IterVar(
            IRRange(extent: a.extent), Var(t.variable.name, type: t.variable.type), .threadIndex,
            threadTag: a.tag)
    }

    // MARK: Body

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.kind == .variable { return values[unsafeDowncast(e, to: Var.self)] ?? e }
        return mutateChildren(of: e)
    }

    override func mutate(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .forLoop:
            guard let tag = hardwareTag(s) else {
                let n = mutateChildren(of: s)
                // Its threads are around it from here on.
                guard let loop = n as? For, loop.annotations[envThreadsKey] != nil else { return n }
                return loop.with(annotations: loop.annotations.removing(envThreadsKey))
            }
            return threads(unsafeDowncast(s, to: For.self), axis(tag))
        case .allocate:
            let a = unsafeDowncast(s, to: Allocate.self)
            let fixed = a.buffer.shape.allSatisfy { !uses($0, inner) }
            if MemoryRank(a.buffer.scope) == .shared && fixed {
                shared.append(a.buffer)
                return mutate(a.body)
            }
            return mutateChildren(of: s)
        case .bufferStore:
            return guarded(mutateChildren(of: s), unsafeDowncast(s, to: BufferStore.self).buffer.scope)
        case .evaluate:
            let e = unsafeDowncast(s, to: Evaluate.self).value
            let n = mutateChildren(of: s)
            return isCollective(e) || sideEffect(of: e) != .updateState ? n : guarded(n, "global")
        default: return mutateChildren(of: s)
        }
    }

    private func threads(_ loop: For, _ a: Axis) -> Stmt {
        let index =
            loop.loopVar.dtype == a.loop.loopVar.dtype
            ? a.loop.loopVar : cast(loop.loopVar.dtype, a.loop.loopVar)
        let start = mutate(loop.min)
        let value: PrimExpr = start.isZero ? index : start + index
        if value !== loop.loopVar { values[loop.loopVar] = value }
        if let t = loop.threadBinding?.variable, t !== loop.loopVar {
            values[t] = t.dtype == value.dtype ? value : cast(t.dtype, value)
        }
        open.append(a.tag)
        let body = mutate(loop.body)
        open.removeLast()
        let all = sameExpr(loop.extent, a.extent) || analyzer.canProveEqual(loop.extent, a.extent)
        return all ? body : only(index .< mutate(loop.extent), body, loop, [a.loop.loopVar])
    }

    /// The first thing that is wrong with the body.
    private(set) var failure: ApusError?

    /// `s` where `condition` holds, which tells threads apart. Threads combine values together, all of them: those for
    /// which it does not hold take part with the neutral value.
    private func only(_ condition: PrimExpr, _ s: Stmt, _ loop: For, _ varying: Set<Var>) -> Stmt {
        var combines = false
        postOrderVisit(s, expr: { if ($0 as? Call)?.name == "tir.thread_allreduce" { combines = true } })
        if !combines { return IfThenElse(condition, s) }
        func inside(_ b: Stmt) -> Stmt { only(condition, b, loop, varying) }
        switch s.stmtKind {
        case .seq: return SeqStmt.flat(unsafeDowncast(s, to: SeqStmt.self).stmts.map(inside))
        case .allocate:
            let a = unsafeDowncast(s, to: Allocate.self)
            return Allocate(a.buffer, inside(a.body))
        case .attr:
            let a = unsafeDowncast(s, to: AttrStmt.self)
            return AttrStmt(a.node, a.key, a.value, inside(a.body))
        case .forLoop:
            let l = unsafeDowncast(s, to: For.self)
            if !uses(l.min, varying), !uses(l.extent, varying) { return l.with(body: inside(l.body)) }
        case .evaluate:
            let e = unsafeDowncast(s, to: Evaluate.self).value
            if let c = e as? Call, c.name == "tir.thread_allreduce", let n = c.args.first?.asInt,
                c.args.indices.contains(n + 1)
            {
                var args = c.args
                args[n + 1] = and(args[n + 1], condition)
                return Evaluate(intrinsic("thread_allreduce", c.dtype, args))
            }
        default: break
        }
        failure =
            failure
            ?? ApusError(
                "TTR050", "threads combine values where not all threads of the axis are",
                at: ["loop: \(loop.loopVar.name)"], expected: "a loop of as many threads as the kernel has",
                actual: "\(loop.extent)")
        return s
    }

    /// A statement that stands outside of the loops of some axes runs once for all threads of these: by their first.
    /// Memory of a thread's own is written by each.
    private func guarded(_ s: Stmt, _ scope: String) -> Stmt {
        let rank = MemoryRank(scope)
        if rank >= .warp { return s }
        var first: [PrimExpr] = []
        for a in axes where !open.contains(a.tag) && (rank == .global || isThreadAxis(a.tag)) {
            first.append(a.loop.loopVar .== 0)
        }
        return first.isEmpty ? s : IfThenElse(all(first), s)
    }

    /// Calls that all threads make together.
    private func isCollective(_ e: PrimExpr) -> Bool {
        guard let c = e as? Call else { return false }
        return c.name == "tir.storage_sync" || c.name == "tir.thread_allreduce"
            || c.name == "tir.global_barrier_kinit" || c.name.hasPrefix("tir.warp_")
    }
}

private final class Unifier: KernelMutator {
    let analyzer: Analyzer
    init(_ analyzer: Analyzer) { self.analyzer = analyzer }

    override func kernel(_ root: Stmt, _ nest: LaunchNest) throws -> Stmt {
        if nest.isCanonical { return root }
        let region = RegionUnifier(analyzer)
        try region.collect(root)
        let body = region.mutate(root)
        if let failure = region.failure { throw failure }
        return region.launch(body)
    }
}

/// Gives each kernel one loop an axis: from the outermost thread-bound loop on, all loops bound to the same axis become
/// one around the whole kernel, blocks outside, threads inside, shared memory between them.
///
/// A loop annotated `env_threads` is part of the kernel of its threads: they run all of its iterations.
///
/// A loop of fewer threads than its axis has elsewhere is guarded; a statement outside of the loops of an axis runs in
/// the first thread of it only, or in every thread where it writes a thread's own memory. What threads hand to each
/// other through shared memory then needs barriers: see `threadSync`. Needs: no blocks. Throws TTR050 for loops of one
/// axis whose extents differ and are not constants, or a reduction across threads that not all of them reach, TTR051 for extents that depend on the kernel's own variables.
///
/// Source of the idea: TVM's UnifyThreadBinding; the guards are ours.
public func unifyThreadBinding(_ f: PrimFunc) throws -> PrimFunc { try Unifier(shapeAnalyzer(f)).run(f) }
