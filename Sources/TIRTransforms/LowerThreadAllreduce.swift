import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// A `thread_allreduce` in its reducer's scope, taken apart.
private struct AllReduce {
    let reducer: CommReducer
    let values: [PrimExpr]
    let condition: PrimExpr
    let outputs: [BufferLoad]
    let axes: [Var]

    init(_ call: Call, _ reducer: CommReducer) throws {
        func malformed(_ expected: String) -> ApusError {
            ApusError("TTR056", "malformed call of thread_allreduce", expected: expected, actual: "\(call)")
                .located(call.span)
        }
        guard let n = call.args.first?.asInt, n >= 1, n == reducer.result.count, call.args.count >= 2 * n + 3
        else {
            throw malformed(
                "a count, values, a condition, outputs and thread axes for a reducer of \(reducer.result.count) values"
            )
        }
        self.reducer = reducer
        values = Array(call.args[1...n])
        condition = call.args[n + 1]
        outputs = call.args[(n + 2)..<(2 * n + 2)].compactMap { a in
            (a as? BufferLoad)
                ?? ((a as? Call)?.name == "tir.address_of" ? (a as? Call)?.args[0] as? BufferLoad : nil)
        }
        axes = call.args[(2 * n + 2)...].compactMap { $0 as? Var }
        guard outputs.count == n, axes.count == call.args.count - 2 * n - 2 else {
            throw malformed("outputs as addresses of elements, thread axes as variables")
        }
    }
}

private final class AllReduceLowerer: StmtExprMutator {
    let threads: [For]
    let warpSize: Int
    private let analyzer: Analyzer
    private(set) var shared: [Buffer] = []
    var failure: ApusError?

    init(threads: [For], warpSize: Int, analyzer: Analyzer) {
        self.threads = threads
        self.warpSize = warpSize
        self.analyzer = analyzer
        for t in threads { analyzer.bind(t.loopVar, IRRange(min: t.min, extent: t.extent)) }
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        guard let a = s as? AttrStmt, a.key == "reduce_scope", let reducer = a.node as? CommReducer,
            let e = a.body as? Evaluate, let call = e.value as? Call, call.name == "tir.thread_allreduce"
        else { return mutateChildren(of: s) }
        if failure != nil { return s }
        do { return try lower(AllReduce(call, reducer)) } catch {
            failure = error as? ApusError ?? ApusError("TTR056", "\(error)")
            return s
        }
    }

    /// An axis of the launch with its constant extent; the first of the list varies fastest.
    private func position(_ loops: [(loop: For, extent: Int)]) -> PrimExpr {
        var sum: PrimExpr = IntImm(0)
        var stride = 1
        for (loop, extent) in loops {
            sum = sum + cast(.index, loop.loopVar - loop.min) * stride
            stride *= extent
        }
        return analyzer.simplify(sum)
    }

    private func lower(_ r: AllReduce) throws -> Stmt {
        // x before y before z: neighbours in a warp.
        let sorted = threads.sorted {
            ($0.threadBinding?.threadTag ?? "") < ($1.threadBinding?.threadTag ?? "")
        }
        var inside: [(loop: For, extent: Int)] = []
        var outside: [(loop: For, extent: Int)] = []
        for t in sorted {
            guard let n = t.extent.asInt else {
                throw ApusError(
                    "TTR057", "a reduction across threads needs a known number of threads",
                    at: ["axis: \(t.threadBinding?.threadTag ?? "")"], actual: "\(t.extent)"
                ).located(t.span)
            }
            let mine = r.axes.contains { $0 === t.loopVar || $0 === t.threadBinding?.variable }
            if mine { inside.append((loop: t, extent: n)) } else { outside.append((loop: t, extent: n)) }
        }
        guard inside.count == r.axes.count else {
            throw ApusError(
                "TTR057", "a reduction names a thread axis that the kernel does not have",
                actual: r.axes.map(\.name).joined(separator: ", "))
        }
        let size = inside.reduce(1) { $0 * $1.extent }
        if size == 1 { return writeBack(r, values: r.values) }
        // Neighbours in a warp: the axes of the reduction come first, and groups do not straddle warps.
        let leading = sorted.prefix(inside.count).allSatisfy { t in inside.contains { $0.loop === t } }
        let powerOfTwo = size & (size - 1) == 0
        if warpSize > 1, leading, powerOfTwo, size <= warpSize, warpSize % size == 0 {
            return byShuffles(r, size)
        }
        return byTree(
            r, size, position(inside), position(outside), groups: outside.reduce(1) { $0 * $1.extent })
    }

    /// What each thread brings: its value, or the identity where the condition does not hold.
    private func contribution(_ r: AllReduce) -> [PrimExpr] {
        if r.condition.isTrue { return r.values }
        return zip(r.values, r.reducer.identity).map { ifThenElse(r.condition, $0, cast($0.dtype, $1)) }
    }

    private func writeBack(_ r: AllReduce, values: [PrimExpr]) -> Stmt {
        bound(values, "all") { v in
            SeqStmt.flat(zip(r.outputs, v).map { BufferStore($0.buffer, $1, $0.indices) })
        }
    }

    /// `let` a variable for each value, so that all are computed before any is used.
    private func bound(_ values: [PrimExpr], _ name: String, _ body: ([PrimExpr]) -> Stmt) -> Stmt {
        if values.count == 1 { return body(values) }
        let variables = values.enumerated().map { i, e in Var("\(name)\(i)", dtype: e.dtype) }
        var s = body(variables)
        for i in values.indices.reversed() { s = LetStmt(variables[i], values[i], s) }
        return s
    }

    /// Neighbours first, then pairs of neighbours, so that the first lane combines its group in order; its value then goes
    /// to all of the group.
    private func byShuffles(_ r: AllReduce, _ size: Int) -> Stmt {
        let mask = Var("mask", dtype: .uint32)
        func shuffle(_ name: String, _ e: PrimExpr, _ by: Int) -> PrimExpr {
            intrinsic(
                name, e.dtype,
                [
                    mask, e, IntImm(by, dtype: .int32), IntImm(size, dtype: .int32),
                    IntImm(warpSize, dtype: .int32),
                ])
        }
        func named(_ values: [PrimExpr], _ name: String, _ body: ([PrimExpr]) -> Stmt) -> Stmt {
            let variables = values.enumerated().map { i, e in Var("\(name)\(i)", dtype: e.dtype) }
            var s = body(variables)
            for i in values.indices.reversed() { s = LetStmt(variables[i], values[i], s) }
            return s
        }
        func step(_ values: [PrimExpr], _ distance: Int) -> Stmt {
            if distance >= size {
                return writeBack(r, values: values.map { shuffle("warp_shuffle", $0, 0) })
            }
            // Every lane comes to each shuffle with its value ready: one statement each.
            return named(values.map { shuffle("warp_shuffle_down", $0, distance) }, "other") { others in
                named(r.reducer.combine(values, others), "sum") { step($0, distance * 2) }
            }
        }
        let body = named(contribution(r), "part") { step($0, 1) }
        return LetStmt(mask, intrinsic("warp_activemask", .uint32, []), body)
    }

    /// A tree in shared memory; a number of threads that is no power of two folds its end first.
    private func byTree(_ r: AllReduce, _ size: Int, _ lane: PrimExpr, _ group: PrimExpr, groups: Int) -> Stmt
    {
        var buffers: [Buffer] = []
        for o in r.outputs {
            buffers.append(
                Buffer("\(o.buffer.name)_shared", [groups * size], o.buffer.dtype, scope: "shared"))
        }
        shared += buffers
        let at = analyzer.simplify(group * size + lane)
        func load(_ shift: Int) -> [PrimExpr] {
            buffers.map { BufferLoad($0, [analyzer.simplify(at + shift)]) }
        }
        var body: [Stmt] = []
        body.append(
            bound(contribution(r), "part") { v in
                SeqStmt.flat(zip(buffers, v).map { BufferStore($0, $1, [at]) })
            })
        body.append(barrier("shared"))
        func fold(_ distance: Int, threads: Int) {
            let combine = bound(r.reducer.combine(load(0), load(distance)), "sum") { v in
                SeqStmt.flat(zip(buffers, v).map { BufferStore($0, $1, [at]) })
            }
            body.append(IfThenElse(lane .< threads, combine))
            body.append(barrier("shared"))
        }
        var power = 1
        while power * 2 <= size { power *= 2 }
        if power < size { fold(power, threads: size - power) }
        var distance = power / 2
        while distance >= 1 {
            fold(distance, threads: distance)
            distance /= 2
        }
        let first = analyzer.simplify(group * size)
        body.append(writeBack(r, values: buffers.map { BufferLoad($0, [first]) }))
        // The next use of the memory must not overtake the slowest reader.
        body.append(barrier("shared"))
        return SeqStmt.flat(body)
    }
}

private final class AllReduceKernels: KernelMutator {
    let warpSize: Int
    let f: PrimFunc
    init(_ f: PrimFunc, _ warpSize: Int) {
        self.f = f
        self.warpSize = warpSize
    }

    override func kernel(_ root: Stmt, _ nest: LaunchNest) throws -> Stmt {
        guard nest.isCanonical else {
            throw ApusError(
                "TTR053", "reductions across threads are lowered in kernels of one loop an axis",
                hint: "run UnifyThreadBinding first"
            ).located(root.span)
        }
        let m = AllReduceLowerer(threads: nest.threads, warpSize: warpSize, analyzer: shapeAnalyzer(f))
        let body = m.mutate(nest.body)
        if let failure = m.failure { throw failure }
        if body === nest.body { return root }
        var wider = nest
        // Shared memory stands between blocks and threads.
        wider.allocations += m.shared.map { (depth: nest.blocks.count, buffer: $0) }
        return wider.rebuilt(root, body: body)
    }
}

/// Lowers `thread_allreduce(n, values…, condition, outputs…, axes…)` in the scope of its reducer: every thread of the
/// group that differs only in `axes` gets the combination of all their values in `outputs`.
///
/// Groups of a power of two that lie within a warp use warp shuffles (`warpSize` 1 = none); others a tree in shared
/// memory, with its barriers. The order of combination is fixed. Throws TTR056 for a malformed call, TTR057 for a group
/// whose size is not known. Needs kernels of one loop an axis. Source of the idea: TVM's LowerThreadAllreduce.
public func lowerThreadAllreduce(_ f: PrimFunc, warpSize: Int) throws -> PrimFunc {
    try AllReduceKernels(f, warpSize).run(f)
}
