import ApusIR
import ApusNode
import ApusSupport
import ApusTIR
import ApusTIRSchedule

/// Cases of the primitives that change layouts, domains and annotations.
let moreCases: [Case] = layoutCases + domainCases + annotationCases + reductionCases

private let layoutCases: [Case] = {
    var all: [Case] = []
    all.append(
        Case(name: "transformLayout permutes", program: { Programs.chain() }) { s in
            try s.transformLayout(s.getBlock("B"), 0, .write, IndexMap(text: "(i, j) -> (j, i)"))
        })
    all.append(
        Case(name: "transformLayout packs", program: { Programs.layout() }) { s in
            try s.transformLayout(
                s.getBlock("D"), 0, .read, IndexMap(2) { [floorDiv($0[0], 4), $0[1], floorMod($0[0], 4)] })
        })
    all.append(
        Case(name: "transformLayout with padding", program: { Programs.matmulRelu() }) { s in
            try s.transformLayout(
                s.getBlock("C"), 0, .write, IndexMap(text: "(i, j) -> (i // 4, j // 3, i % 4, j % 3)"))
        })
    all.append(
        Case(name: "transformLayout fills the padding", program: { Programs.chain() }) { s in
            try s.transformLayout(
                s.getBlock("B"), 0, .write, IndexMap(text: "(i, j) -> (i // 4, j, i % 4)"), padValue: 0)
        })
    all.append(
        Case(name: "transformBlockLayout", program: { Programs.matmul() }) { s in
            try s.transformBlockLayout(
                s.getBlock("C"), IndexMap(text: "(i, j, k) -> (i * 7 + j, k // 2, k % 2)"))
        })
    all.append(
        Case(name: "transformBlockLayout of views", program: { try Programs.views() }) { s in
            try s.transformBlockLayout(s.getBlock("B"), IndexMap(text: "(i, j) -> (j, i)"))
        })
    all.append(
        Case(name: "reorderBlockIterVar", program: { Programs.matmul() }) { s in
            try s.reorderBlockIterVar(s.getBlock("C"), [2, 0, 1])
        })
    all.append(
        Case(name: "reindex a read", program: { Programs.conv() }) { s in
            try s.reindex(s.getBlock("conv"), 0, .read)
        })
    all.append(
        Case(name: "reindex a write", program: { Programs.layout() }) { s in
            try s.reindex(s.getBlock("C"), 0, .write)
        })
    all.append(
        Case(name: "unsafeSetDType", program: { Programs.matmulRelu() }) { s in
            try s.unsafeSetDType(s.getBlock("C"), "float64")
        })
    return all
}()

private let domainCases: [Case] = {
    var all: [Case] = []
    all.append(
        Case(name: "computeRoot", program: { Programs.blur() }) { s in
            let bx = try s.getBlock("bx")
            try s.computeAt(bx, s.getLoops(s.getBlock("out"))[0])
            try s.computeRoot(bx)
        })
    all.append(
        Case(name: "tile helper", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.tile(l[0], l[1], 3, 4)
        })
    all.append(
        Case(name: "fuse of no loops", program: { Programs.scalar() }) { s in
            try s.fuse([], around: s.getBlock("prefix"))
        })
    all.append(
        Case(name: "split by parts", program: { Programs.matmul() }) { s in
            try s.split(s.getLoops(s.getBlock("C"))[1], nparts: 3)
        })
    all.append(
        Case(name: "cacheRead for several readers", program: { Programs.normalize() }) { s in
            let readers = try ["square", "out"].map { try s.getBlock($0) }
            try s.cacheRead(s.getBlock("sum"), 0, "shared", readers: readers)
        })
    all.append(
        Case(name: "decomposePadding", program: { Programs.conv() }) { s in
            let p = try s.getBlock("pad")
            try s.decomposePadding(p, s.getLoops(p)[1])
        })
    all.append(
        Case(name: "padEinsum", program: { Programs.matmul() }) { s in
            try s.padEinsum(s.getBlock("C"), [4, 4, 4])
        })
    all.append(
        Case(name: "blockize several blocks", program: { Programs.softmax() }) { s in
            let out = try s.getBlock("out")
            let row = try s.getLoops(out)[0]
            try s.computeAt(s.getBlock("sum"), row)
            try s.blockize([s.getBlock("sum"), out])
        })
    all.append(
        Case(name: "sampleComputeLocation", program: { Programs.chain() }) { s in
            let b = try s.getBlock("B")
            try s.computeAt(b, s.sampleComputeLocation(b, decision: 0))
            let c = try s.getBlock("C")
            try s.computeAt(c, s.sampleComputeLocation(c, decision: -2))
            s.enterPostproc()
        })
    all.append(
        Case(name: "setStorePredicate", program: { Programs.repeated() }) { s in
            let b = try s.getBlock("B")
            try s.setStorePredicate(b, s.getLoops(b)[0], equals: 2)
        })
    return all
}()

private let annotationCases: [Case] = {
    var all: [Case] = []
    all.append(
        Case(name: "doubleBuffer", program: { Programs.chain() }) { s in
            let b = try s.getBlock("B")
            try s.computeAt(b, s.getLoops(s.getBlock("C"))[0])
            try s.doubleBuffer(b)
        })
    all.append(
        Case(name: "softwarePipeline", program: { Programs.chain() }) { s in
            let row = try s.getLoops(s.getBlock("C"))[0]
            try s.computeAt(s.getBlock("B"), row)
            try s.softwarePipeline(row, stages: [0, 1], order: [0, 1])
        })
    all.append(
        Case(name: "prefetch and pragma", program: { Programs.chain() }) { s in
            let b = try s.getBlock("B")
            let l = try s.getLoops(b)
            try s.prefetch(b, 0, l[0], offset: 2)
            try s.pragma(l[1], "auto_unroll_max_step", 16)
            try s.pragma(l[1], "unroll_explicit")
        })
    all.append(
        Case(name: "annotate with a sampled number", program: { Programs.chain() }) { s in
            let v = try s.sampleCategorical([8, 16], weights: [1, 1], decision: 1)
            let b = try s.getBlock("B")
            try s.annotate(b, "step", v)
            try s.annotate(s.getLoops(b)[0], "step", v)
            try s.annotate(b, "list", .list([.float(0.5), .string("x"), .floats([1, 2]), .strings([])]))
        })
    all.append(
        Case(name: "virtual threads", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            let x = try s.split(l[0], factors: [nil, 2])
            try s.bind(x[1], thread: "vthread.x")
            try s.bind(x[0], thread: "blockIdx.x")
        })
    all.append(
        Case(name: "threads fetch together", program: { Programs.matmul() }) { s in
            let c = try s.getBlock("C")
            let fetch = try s.cacheRead(c, 0, "shared")
            let l = try s.getLoops(c)
            let x = try s.split(l[0], factors: [nil, 3])
            try s.bind(x[0], thread: "blockIdx.x")
            try s.bind(x[1], thread: "threadIdx.x")
            try s.computeAt(fetch, x[1])
            try s.bind(s.getLoops(fetch)[2], thread: "threadIdx.x")
        })
    all.append(
        Case(name: "each thread fetches its own", program: { Programs.matmul() }) { s in
            let c = try s.getBlock("C")
            let fetch = try s.cacheRead(c, 0, "local")
            let l = try s.getLoops(c)
            let x = try s.split(l[0], factors: [nil, 3])
            try s.bind(x[0], thread: "blockIdx.x")
            try s.bind(x[1], thread: "threadIdx.x")
            try s.computeAt(fetch, x[1])
        })
    return all
}()

private let reductionCases: [Case] = {
    var all: [Case] = []
    all.append(
        Case(name: "rfactor at the first axis", program: { Programs.matmul() }) { s in
            try s.rfactor(s.getLoops(s.getBlock("C"))[2], factorAxis: 0)
        })
    all.append(
        Case(name: "rfactor of one loop of several", program: { Programs.total() }) { s in
            let l = try s.getLoops(s.getBlock("B"))
            let parts = try s.split(l[1], factors: [nil, 4])
            try s.rfactor(parts[0], factorAxis: 1)
        })
    all.append(
        Case(name: "rfactor of pairs", program: { Programs.argmaxPairs() }) { s in
            let l = try s.getLoops(s.getBlock("best"))
            let parts = try s.split(l[1], factors: [nil, 3])
            try s.rfactor(parts[1], factorAxis: 1)
        })
    all.append(
        Case(name: "rfactor under a shared loop", program: { Programs.softmax() }) { s in
            let row = try s.getLoops(s.getBlock("out"))[0]
            let sum = try s.getBlock("sum")
            try s.computeAt(sum, row)
            let l = try s.getLoops(sum)
            let parts = try s.split(l[1], factors: [nil, 2])
            try s.rfactor(parts[1], factorAxis: 0)
        })
    return all
}()
