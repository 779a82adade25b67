import ApusIR
import ApusNode
import ApusScheduleFuzzing
import ApusSupport
import ApusTIR
import ApusTIRSchedule

/// Further refusals: with those of `RefusalTests` one for every code that a user can meet.
let moreRefusals: [Refusal] = inputRefusals + loopRefusals + blockRefusals + layoutRefusals + noteRefusals

private func refusal(
    _ name: String, _ code: String, _ program: @escaping @autoclosure @Sendable () -> PrimFunc,
    _ schedule: @escaping @Sendable (Schedule) throws -> Void
) -> Refusal {
    Refusal(name: name, code: code, program: program, schedule: schedule)
}

/// A copy whose block speaks of the loop around it.
private func leaking() -> PrimFunc {
    let a = Buffer("A", [4])
    let (i, v) = (Var("i"), Var("v"))
    let block = Block(
        "fill", iterVars: [IterVar(IRRange(0, extent: 4), v, .dataParallel)],
        body: BufferStore(a, cast(.float32, i), [v]))
    return PrimFunc(buffers: [a], body: For(i, const(0), const(4), body: BlockRealize([i], block)))
}

/// A block, then a statement outside any block, in one loop; the loop inside is as long as the outer one has come.
private func triangular(loose: Bool, order: IterVarType = .dataParallel) -> PrimFunc {
    let (a, b) = (Buffer("A", [5, 6]), Buffer("B", [5]))
    let (i, j, v, w) = (Var("i"), Var("j"), Var("v"), Var("w"))
    let block = Block(
        "fill",
        iterVars: [
            IterVar(IRRange(0, extent: 5), v, order), IterVar(IRRange(0, extent: 6), w, .dataParallel),
        ],
        body: BufferStore(a, FloatImm(1), [v, w]))
    let inner: Stmt = For(j, const(0), i + 1, body: BlockRealize([i, j], block))
    let store: Stmt = BufferStore(b, FloatImm(2), [i])
    return PrimFunc(
        buffers: [a, b], body: For(i, const(0), const(5), body: loose ? SeqStmt([inner, store]) : inner))
}

private func symbolic() -> PrimFunc {
    let n = Var("n")
    let (a, b) = (Buffer("A", [n]), Buffer("B", [n]))
    let (i, v) = (Var("i"), Var("v"))
    let block = Block(
        "B", iterVars: [IterVar(IRRange(extent: n), v, .dataParallel)],
        body: BufferStore(b, BufferLoad(a, [v]), [v]))
    let handles = [Var("a", dtype: .handle), Var("b", dtype: .handle)]
    return PrimFunc(
        [n] + handles, bufferMap: [(param: handles[0], buffer: a), (param: handles[1], buffer: b)],
        body: For(i, const(0), n, body: BlockRealize([i], block)))
}

private let inputRefusals: [Refusal] = [
    refusal("a module without functions", "SCH001", Programs.chain()) { _ in _ = try Schedule(IRModule())
    },
    refusal("a body in loop variables", "SCH002", Programs.chain()) { _ in _ = try Schedule(leaking()) },
    refusal("work on a function that is not there", "SCH004", Programs.chain()) { try $0.workOn("g") },
    refusal("a handle that was removed", "SCH003", Programs.chain()) { s in
        let b = try s.getBlock("B")
        try s.remove(b)
        _ = try s.get(b)
    },
    refusal("another decision of no sampling", "SCH092", Programs.chain()) { s in
        _ = try s.getBlock("B")
        _ = try s.trace.deciding(0, [1])
    },
    refusal("a compute location that is not allowed", "SCH054", Programs.chain()) { s in
        _ = try s.sampleComputeLocation(s.getBlock("B"), decision: 7)
    },
    refusal("samplePerfectTile of nothing", "SCH051", Programs.matmul()) { s in
        _ = try s.samplePerfectTile(s.getLoops(s.getBlock("C"))[0], n: 0)
    },
]

private let loopRefusals: [Refusal] = [
    refusal("split around a loose statement", "SCH032", triangular(loose: true)) { s in
        try s.split(s.getLoops(s.getBlock("fill"))[0], factors: [nil, 2])
    },
    refusal("reorder of a triangle", "SCH034", triangular(loose: false)) { s in
        let l = try s.getLoops(s.getBlock("fill"))
        try s.reorder(l[1], l[0])
    },
    refusal("fuse of a triangle", "SCH034", triangular(loose: false)) { s in
        try s.fuse(s.getLoops(s.getBlock("fill")))
    },
    refusal("reorder of ordered iterations", "SCH035", triangular(loose: false, order: .ordered)) { s in
        let l = try s.getLoops(s.getBlock("fill"))
        try s.reorder(l[0])
    },
    refusal("a loop around the root", "SCH036", Programs.chain()) { s in
        try s.addUnitLoop(s.getBlock("root"))
    },
    refusal("split by a strange variable", "SCH037", symbolic()) { s in
        try s.split(s.getLoops(s.getBlock("B"))[0], extents: [nil, Var("m")])
    },
    refusal("vectorize a symbolic loop", "SCH043", symbolic()) { s in
        try s.vectorize(s.getLoops(s.getBlock("B"))[0])
    },
    refusal("one axis twice in a nest", "SCH044", Programs.matmul()) { s in
        let l = try s.getLoops(s.getBlock("C"))
        try s.bind(l[0], thread: "blockIdx.x")
        try s.bind(l[1], thread: "blockIdx.x")
    },
    refusal("threads cannot share iterations that differ", "SCH044", Programs.matmul()) { s in
        let l = try s.getLoops(s.getBlock("C"))
        try s.reorder([l[1], l[0]])
        try s.bind(l[1], thread: "threadIdx.x")
        try s.bind(l[0], thread: "threadIdx.x")
    },
    refusal("threads that all update one memory", "SCH040", Programs.softmax()) { s in
        let sum = try s.getBlock("sum")
        let l = try s.getLoops(s.getBlock("out"))
        try s.computeAt(sum, l[1])
        try s.bind(l[1], thread: "threadIdx.x")
    },
    refusal("more iterations than threads that share them", "SCH044", Programs.matmul()) { s in
        let c = try s.getBlock("C")
        let fetch = try s.cacheRead(c, 0, "shared")
        let i = try s.getLoops(c)[0]
        try s.bind(s.split(i, factors: [nil, 3])[1], thread: "threadIdx.x")
        try s.computeAt(fetch, s.getLoops(c)[1])
        try s.bind(s.getLoops(fetch)[3], thread: "threadIdx.x")
    },
    refusal("threads cannot share memory of their own", "SCH044", Programs.matmul()) { s in
        let c = try s.getBlock("C")
        let fetch = try s.cacheRead(c, 1, "local")
        let i = try s.getLoops(c)[0]
        try s.computeAt(fetch, i)
        try s.bind(i, thread: "threadIdx.x")
        try s.bind(s.getLoops(fetch)[1], thread: "threadIdx.x")
    },
    refusal("parallel loose statements", "SCH040", triangular(loose: true)) { s in
        try s.parallel(s.getLoops(s.getBlock("fill"))[0])
    },
]

private let blockRefusals: [Refusal] = [
    refusal("inline what is not indexed by variables", "SCH061", Programs.packed()) { s in
        let c = try s.getBlock("conv")
        try s.cacheWrite(c, 0, "local")
        try s.transformLayout(c, 0, .write, IndexMap(text: "(i, j, k) -> (i * 4 + k, j)"))
        let copy = try s.getBlock("conv_local")
        try s.transformLayout(copy, 0, .write, IndexMap(text: "(i, j, k) -> (i * 4 + k, j)"))
        try s.computeInline(copy)
    },
    refusal("computeAt of what leaves elements out", "SCH062", Programs.conv()) { s in
        let p = try s.getBlock("pad")
        try s.decomposePadding(p, s.getLoops(p)[0])
        try s.computeAt(p, s.getLoops(s.getBlock("conv"))[0])
    },
    refusal("inline into a block of blocks", "SCH064", Programs.chain()) { s in
        try s.blockize(s.getLoops(s.getBlock("C"))[1])
        try s.computeInline(s.getBlock("B"))
    },
    refusal("inline one of two writers", "SCH065", Programs.conv()) { s in
        let p = try s.getBlock("pad")
        try s.computeInline(s.decomposePadding(p, s.getLoops(p)[0]))
    },
    refusal("computeAt across scopes", "SCH070", Programs.chain()) { s in
        try s.blockize(s.getLoops(s.getBlock("C"))[1])
        try s.computeAt(s.getBlock("B"), s.getLoops(s.getBlock("C"))[0])
    },
    refusal("computeRoot of ordered iterations", "SCH071", triangular(loose: false, order: .ordered)) {
        s in
        try s.computeRoot(s.getBlock("fill"))
    },
    refusal("computeRoot within one loop", "SCH076", Programs.softmax()) { s in
        let row = try s.getLoops(s.getBlock("out"))[0]
        for b in ["sum", "ex", "mx"] { try s.computeAt(s.getBlock(b), row) }
        try s.computeRoot(s.getBlock("ex"))
    },
    refusal("rfactor of no known reduction", "SCH085", Programs.argmax()) { s in
        // What other tests register is part of the text.
        TraceTests.registerAbsoluteMaximum()
        try s.rfactor(s.getLoops(s.getBlock("best"))[1], factorAxis: 0)
    },
    refusal("blockize of two blocks by their loop", "SCH095", Programs.softmax()) { s in
        let row = try s.getLoops(s.getBlock("out"))[0]
        try s.computeAt(s.getBlock("sum"), row)
        try s.blockize(row)
    },
    refusal("blockize of an uneven tile", "SCH096", Programs.matmul()) { s in
        let parts = try s.split(s.getLoops(s.getBlock("C"))[1], factors: [nil, 2])
        let l = try s.getLoops(s.getBlock("C"))
        try s.reorder(l[0], l[3], parts[0], parts[1])
        try s.blockize(parts[1])
    },
    refusal("tensorize by nothing", "SCH097", Programs.matmul()) { s in
        TensorIntrin.register(try ScheduleTests.dotIntrinsic())
        try FuzzIntrinsics.registerAll()
        try s.tensorize(s.getLoops(s.getBlock("C"))[2], "test.none")
    },
    refusal("tensorize of something else", "SCH098", Programs.total()) { s in
        TensorIntrin.register(try ScheduleTests.dotIntrinsic())
        let l = try s.getLoops(s.getBlock("B"))
        try s.tensorize(s.split(l[2], factors: [nil, 7])[1], "test.dot4")
    },
    refusal("blockize of blocks apart", "SCH109", Programs.softmax()) { s in
        try s.blockize([s.getBlock("mx"), s.getBlock("sum")])
    },
    refusal("blockize of nothing", "SCH109", Programs.softmax()) { s in try s.blockize([BlockRV]()) },
    refusal("cacheRead for one that does not read it", "SCH080", Programs.softmax()) { s in
        try s.cacheRead(s.getBlock("mx"), 0, "local", readers: [s.getBlock("out")])
    },
]

private let layoutRefusals: [Refusal] = [
    refusal("no index map", "SCH100", Programs.chain()) { _ in _ = try IndexMap(text: "(i, i) -> (i)") },
    refusal("a map of another rank", "SCH100", Programs.chain()) { s in
        try s.transformLayout(s.getBlock("B"), 0, .write, IndexMap(text: "(i) -> (i)"))
    },
    refusal("a map that is not injective", "SCH100", Programs.chain()) { s in
        try s.transformLayout(s.getBlock("B"), 0, .write, IndexMap(text: "(i, j) -> (i // 2, j)"))
    },
    refusal("the layout of a parameter", "SCH101", Programs.chain()) { s in
        try s.transformLayout(s.getBlock("B"), 0, .read, IndexMap(text: "(i, j) -> (j, i)"))
    },
    refusal("the layout of an aligned buffer", "SCH101", Programs.chain()) { s in
        let b = try s.getBlock("B")
        try s.storageAlign(b, axis: 0, factor: 8, offset: 1)
        try s.transformLayout(b, 0, .write, IndexMap(text: "(i, j) -> (j, i)"))
    },
    refusal("padding of a reduction", "SCH102", Programs.matmulRelu()) { s in
        try s.transformLayout(
            s.getBlock("C"), 0, .write, IndexMap(text: "(i, j) -> (i // 4, j, i % 4)"), padValue: 0)
    },
    refusal("a block layout that mixes kinds", "SCH103", Programs.matmul()) { s in
        try s.transformBlockLayout(s.getBlock("C"), IndexMap(text: "(i, j, k) -> (i, j * 5 + k)"))
    },
    refusal("a block layout within shared loops", "SCH103", Programs.chain()) { s in
        let b = try s.getBlock("B")
        try s.computeAt(b, s.getLoops(s.getBlock("C"))[0])
        try s.transformBlockLayout(b, IndexMap(text: "(i, j) -> (j, i)"))
    },
    refusal("an order that is none", "SCH104", Programs.matmul()) { s in
        try s.reorderBlockIterVar(s.getBlock("C"), [0, 1, 1])
    },
    refusal("reindex of a window", "SCH105", Programs.blur()) { s in
        try s.reindex(s.getBlock("out"), 0, .read)
    },
    refusal("decomposePadding without padding", "SCH106", Programs.chain()) { s in
        let b = try s.getBlock("B")
        try s.decomposePadding(b, s.getLoops(b)[0])
    },
    refusal("padEinsum of a maximum", "SCH107", Programs.softmax()) { s in
        try s.padEinsum(s.getBlock("mx"), [4, 4])
    },
    refusal("padEinsum by zero", "SCH107", Programs.matmul()) { s in
        try s.padEinsum(s.getBlock("C"), [4, 0, 4])
    },
    refusal("the type of a parameter", "SCH108", Programs.chain()) { s in
        try s.unsafeSetDType(s.getBlock("D"), "float64")
    },
    refusal("a type that is no number", "SCH108", Programs.chain()) { s in
        try s.unsafeSetDType(s.getBlock("B"), "handle")
    },
]

private let noteRefusals: [Refusal] = [
    refusal("doubleBuffer of a parameter", "SCH048", Programs.chain()) { s in
        try s.doubleBuffer(s.getBlock("D"))
    },
    refusal("a pipeline against its dependencies", "SCH049", Programs.chain()) { s in
        let row = try s.getLoops(s.getBlock("C"))[0]
        try s.computeAt(s.getBlock("B"), row)
        try s.softwarePipeline(row, stages: [1, 0], order: [0, 1])
    },
    refusal("a pipeline of another length", "SCH049", Programs.chain()) { s in
        let row = try s.getLoops(s.getBlock("C"))[0]
        try s.computeAt(s.getBlock("B"), row)
        try s.softwarePipeline(row, stages: [0, 1, 1], order: [0, 1, 2])
    },
    refusal("a pipeline of one statement", "SCH049", Programs.chain()) { s in
        try s.softwarePipeline(s.getLoops(s.getBlock("C"))[0], stages: [0], order: [0])
    },
    refusal("parallel iterations of a pipeline", "SCH049", Programs.chain()) { s in
        let row = try s.getLoops(s.getBlock("C"))[0]
        try s.computeAt(s.getBlock("B"), row)
        try s.softwarePipeline(row, stages: [0, 1], order: [0, 1])
        try s.parallel(row)
    },
    refusal("a further statement in a pipeline", "SCH049", Programs.chain()) { s in
        let row = try s.getLoops(s.getBlock("C"))[0]
        try s.computeAt(s.getBlock("B"), row)
        try s.softwarePipeline(row, stages: [0, 1], order: [0, 1])
        try s.reverseComputeAt(s.getBlock("D"), row)
    },
    refusal("a pragma that is no name", "SCH052", Programs.chain()) { s in
        try s.pragma(s.getLoops(s.getBlock("C"))[0], "a b")
    },
    refusal("prefetch from another nest", "SCH052", Programs.chain()) { s in
        try s.prefetch(s.getBlock("B"), 0, s.getLoops(s.getBlock("C"))[0])
    },
    refusal("prefetch of what the loop computes", "SCH052", Programs.chain()) { s in
        let row = try s.getLoops(s.getBlock("C"))[0]
        try s.prefetch(s.getBlock("C"), 0, row)
        try s.computeAt(s.getBlock("B"), row)
    },
    refusal("an annotation that is a node", "SCH052", Programs.chain()) { s in
        try s.annotate(s.getBlock("B"), "n", .node(const(1)))
    },
    refusal("a store predicate on the block's own loop", "SCH053", Programs.chain()) { s in
        let d = try s.getBlock("D")
        try s.setStorePredicate(d, s.getLoops(d)[0])
    },
]
