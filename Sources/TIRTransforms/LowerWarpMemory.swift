import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Rewrites the accesses of one buffer in warp memory.
///
/// Lane l holds the elements y with (y / m) % width = l, at the place (y / (m * width)) * m + y % m of its own memory,
/// where m is the number of neighbouring elements that a lane stores: the factor of the lane in a store's index.
private final class WarpBuffer: StmtExprMutator {
    private let old: Buffer
    private let analyzer: Analyzer
    private let lane: PrimExpr
    /// Stands for the lane while indices are taken apart.
    private let laneVar: Var
    private let thread: Var
    private let width: Int
    private let warpSize: Int
    private let varying: Set<Var>
    private var run = 1
    private(set) var new: Buffer
    private var divergent = false
    var failure: ApusError?

    init(
        _ b: Buffer, thread: For, lane: PrimExpr, width: Int, warpSize: Int, varying: Set<Var>,
        analyzer: Analyzer
    ) {
        old = b
        new = b
        self.lane = lane
        self.thread = thread.loopVar
        self.width = width
        self.warpSize = warpSize
        self.varying = varying
        self.analyzer = analyzer
        laneVar = Var("lane", dtype: thread.loopVar.dtype)
        analyzer.bind(laneVar, IRRange(extent: IntImm(width, dtype: laneVar.dtype)))
    }

    private func refuse(_ message: String, _ e: PrimExpr) -> ApusError {
        ApusError("TTR058", message, at: ["buffer: \(old.name)"], actual: "\(e)").located(e.span)
    }

    /// Reads m off the stores and gives the buffer its new shape; then `mutate` may be called.
    func prepare(_ body: Stmt) throws {
        var runs: Set<Int> = []
        var problem: ApusError?
        postOrderVisit(
            body,
            stmt: { s in
                guard let store = s as? BufferStore, store.buffer === old else { return }
                guard store.indices.count == 1, store.indices[0].dtype.isScalar else {
                    problem = problem ?? refuse("warp memory is stored to by one scalar index", store.value)
                    return
                }
                guard let (c, _) = analyzer.linearCoefficient(byLane(store.indices[0]), of: laneVar), c > 0
                else {
                    problem =
                        problem
                        ?? refuse(
                            "the index of a store to warp memory is not linear in the lane", store.indices[0])
                    return
                }
                runs.insert(c)
            })
        if let problem { throw problem }
        guard runs.count == 1, let m = runs.first, let size = constantProduct(old.shape) else {
            throw refuse("warp memory needs a constant size and one layout", IntImm(runs.count))
        }
        run = m
        let chunk = m * width
        new = Buffer(
            old.name, [(size + chunk - 1) / chunk * m], old.dtype, scope: "local", alignment: old.alignment)
    }

    /// The index with the lane as one variable.
    private func byLane(_ e: PrimExpr) -> PrimExpr {
        func replace(_ e: PrimExpr) -> PrimExpr {
            if sameExpr(e, lane) { return laneVar }
            return mapChildren(of: e) { replace($0) }
        }
        return analyzer.simplify(replace(analyzer.simplify(e)))
    }

    private func place(_ y: PrimExpr) -> (lane: PrimExpr, local: PrimExpr) {
        let e = byLane(y)
        let from = analyzer.simplify(floorMod(floorDiv(e, run), width))
        let local = analyzer.simplify(floorDiv(e, run * width) * run + floorMod(e, run))
        return (from, local)
    }

    private func back(_ e: PrimExpr) -> PrimExpr { substitute(e, [laneVar: lane]) }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if let c = e as? Call, c.name == "tir.if_then_else", c.args.count == 3 {
            let condition = mutate(c.args[0])
            let saved = divergent
            divergent = divergent || uses(c.args[0], varying)
            let a = mutate(c.args[1])
            let b = mutate(c.args[2])
            divergent = saved
            let same = condition === c.args[0] && a === c.args[1] && b === c.args[2]
            return same ? e : Call(c.dtype, c.op, [condition, a, b])
        }
        if let l = e as? BufferLoad, l.buffer === old { return load(l) }
        return mutateChildren(of: e)
    }

    private func load(_ l: BufferLoad) -> PrimExpr {
        guard l.indices.count == 1, l.indices[0].dtype.isScalar else {
            failure = failure ?? refuse("warp memory is read by one scalar index", l)
            return l
        }
        let (from, local) = place(mutate(l.indices[0]))
        if sameExpr(from, laneVar) || analyzer.canProveEqual(from, laneVar) {
            return BufferLoad(new, [back(local)])
        }
        if uses(local, [laneVar]) {
            failure = failure ?? refuse("lanes read different places of each other's memory", l)
            return l
        }
        if divergent {
            failure =
                failure
                ?? ApusError(
                    "TTR059", "a lane reads another's memory where not all lanes come",
                    at: ["buffer: \(old.name)"],
                    hint: "read it before the condition"
                ).located(l.span)
            return l
        }
        let mask = intrinsic("warp_activemask", .uint32, [])
        return intrinsic(
            "warp_shuffle", l.dtype,
            [
                mask, BufferLoad(new, [local]), cast(.int32, back(from)), IntImm(width, dtype: .int32),
                IntImm(warpSize, dtype: .int32),
            ])
    }

    override func mutate(_ s: Stmt) -> Stmt {
        if let i = s as? IfThenElse {
            let c = mutate(i.condition)
            let saved = divergent
            divergent = divergent || uses(i.condition, varying)
            let t = mutate(i.thenCase)
            let e = i.elseCase.map { mutate($0) }
            divergent = saved
            let same = c === i.condition && t === i.thenCase && e === i.elseCase
            return same ? s : IfThenElse(c, t, e)
        }
        guard let store = s as? BufferStore, store.buffer === old else { return mutateChildren(of: s) }
        let (to, local) = place(store.indices[0])
        guard sameExpr(to, laneVar) || analyzer.canProveEqual(to, laneVar) else {
            failure = failure ?? refuse("a lane stores to another's memory", store.indices[0])
            return s
        }
        return BufferStore(new, mutate(store.value), [back(local)])
    }
}

private final class WarpLowerer: StmtExprMutator {
    private let thread: For?
    private let warpSize: Int
    private let varying: Set<Var>
    private let analyzer: Analyzer
    var failure: ApusError?

    init(_ nest: LaunchNest, warpSize: Int, analyzer: Analyzer) {
        thread = nest.threads.first { $0.threadBinding?.threadTag == "threadIdx.x" }
        varying = Set(nest.threads.map(\.loopVar))
        self.warpSize = warpSize
        self.analyzer = analyzer
        for l in nest.loops { analyzer.bind(l.loopVar, IRRange(min: l.min, extent: l.extent)) }
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        if let loop = s as? For { analyzer.bind(loop.loopVar, IRRange(min: loop.min, extent: loop.extent)) }
        let n = mutateChildren(of: s)
        guard failure == nil, let a = n as? Allocate, a.buffer.scope == "warp" else { return n }
        do {
            guard let thread, let extent = thread.extent.asInt,
                extent % warpSize == 0 || warpSize % extent == 0
            else {
                throw ApusError(
                    "TTR058", "warp memory needs threadIdx.x of an extent that fills warps or divides one",
                    at: ["buffer: \(a.buffer.name)"], expected: "a multiple or a divisor of \(warpSize)",
                    actual: self.thread.map { "\($0.extent)" } ?? "no threadIdx.x"
                ).located(a.span)
            }
            let width = min(extent, warpSize)
            let lane = analyzer.simplify(floorMod(thread.loopVar, width))
            let w = WarpBuffer(
                a.buffer, thread: thread, lane: lane, width: width, warpSize: warpSize, varying: varying,
                analyzer: analyzer)
            try w.prepare(a.body)
            let body = w.mutate(a.body)
            if let problem = w.failure { throw problem }
            return Allocate(w.new, body)
        } catch {
            failure = error as? ApusError ?? ApusError("TTR058", "\(error)")
            return n
        }
    }
}

private final class WarpKernels: KernelMutator {
    let warpSize: Int
    let f: PrimFunc
    init(_ f: PrimFunc, _ warpSize: Int) {
        self.f = f
        self.warpSize = warpSize
    }
    override func kernel(_ root: Stmt, _ nest: LaunchNest) throws -> Stmt {
        let m = WarpLowerer(nest, warpSize: warpSize, analyzer: shapeAnalyzer(f))
        let body = m.mutate(nest.body)
        if let failure = m.failure { throw failure }
        return nest.rebuilt(root, body: body)
    }
}

/// Memory of scope `warp`, which the lanes of a warp share, becomes each lane's own memory; what a lane reads of another
/// one goes through a warp shuffle.
///
/// Each lane must store its own elements only: the index of a store is `m * lane + …`. Throws TTR058 for other accesses,
/// TTR059 where a shuffle would stand under a condition that depends on the thread. Needs one index an access and
/// kernels of one loop an axis. Source of the idea: TVM's LowerWarpMemory.
public func lowerWarpMemory(_ f: PrimFunc, warpSize: Int) throws -> PrimFunc {
    try WarpKernels(f, warpSize).run(f)
}
