import ApusIR
import ApusNode
import ApusSupport
import ApusTIR
import ApusTIRSchedule

/// One schedule of a program: what the text and equivalence tests walk.
struct Case: Sendable, CustomStringConvertible {
    let name: String
    let program: @Sendable () throws -> PrimFunc
    let schedule: @Sendable (Schedule) throws -> Void
    var description: String { name }
}

/// Schedules as an operator library writes them.
enum Recipes {
    static func matmul(_ s: Schedule) throws {
        let c = try s.getBlock("C")
        let t = try s.getBlock("T")
        try s.reverseComputeInline(s.getBlock("D"))
        try s.setScope(c, scope: "local")
        let l = try s.getLoops(c)
        let x = try s.split(l[0], factors: [nil, 4])
        let y = try s.split(l[1], factors: [nil, 8])
        let k = try s.split(l[2], factors: [nil, 2])
        try s.reorder(x[0], y[0], k[0], k[1], x[1], y[1])
        try s.reverseComputeAt(t, y[0])
        let tile = try s.fuse(x[0], y[0])
        try s.parallel(tile)
        try s.vectorize(y[1])
        try s.unroll(x[1])
        try s.decomposeReduction(c, k[0])
        let e = try s.getLoops(t)
        if let last = e.last { try s.vectorize(last) }
    }

    static func conv(_ s: Schedule) throws {
        let c = try s.getBlock("conv")
        let epilogue = try s.getBlock("biased")
        try s.reverseComputeInline(s.getBlock("relu"))
        let w = try s.cacheWrite(c, 0, "local")
        try s.reverseComputeInline(epilogue)
        let l = try s.getLoops(c)
        let o = try s.split(l[0], factors: [nil, 4])
        let x = try s.split(l[2], factors: [nil, 4])
        try s.reorder([o[0], l[1], x[0], l[3], l[4], l[5], x[1], o[1]])
        try s.reverseComputeAt(w, x[0])
        let outer = try s.fuse(o[0], l[1])
        try s.parallel(outer)
        try s.vectorize(o[1])
        try s.unroll(x[1])
        try s.decomposeReduction(c, l[3])
        try s.computeAt(s.getBlock("pad"), outer)
    }
}

let cases: [Case] = {
    var all: [Case] = []
    all.append(
        Case(name: "split divisible", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.split(l[0], factors: [nil, 3])
        })
    all.append(
        Case(name: "split with predicate", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.split(l[1], factors: [nil, 2, 2])
        })
    all.append(
        Case(name: "split with given outer factor", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.split(l[2], factors: [2, nil])
        })
    all.append(
        Case(name: "fuse", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.fuse(l[0], l[1])
        })
    all.append(
        Case(name: "fuse undoes split", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.fuse(s.split(l[0], factors: [nil, 3]))
        })
    all.append(
        Case(name: "reorder", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.reorder(l[2], l[0])
        })
    all.append(
        Case(name: "tile", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            let x = try s.split(l[0], factors: [nil, 3])
            let y = try s.split(l[1], factors: [nil, 4])
            try s.reorder(x[0], y[0], l[2], x[1], y[1])
        })
    all.append(
        Case(name: "loop kinds", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.parallel(l[0])
            try s.vectorize(l[1])
            try s.unroll(l[2])
        })
    all.append(
        Case(name: "bind", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.bind(l[0], thread: "blockIdx.x")
            try s.bind(l[1], thread: "threadIdx.x")
        })
    all.append(
        Case(name: "annotate", program: { Programs.chain() }) { s in
            let b = try s.getBlock("B")
            let l = try s.getLoops(b)
            try s.annotate(b, "note", 3)
            try s.annotate(l[0], "pragma_unroll", true)
            try s.annotate(l[1], "gone", 1)
            try s.unannotate(l[1], "gone")
        })
    all.append(
        Case(name: "storageAlign", program: { Programs.chain() }) { s in
            try s.storageAlign(s.getBlock("B"), axis: 0, factor: 32, offset: 16)
        })
    all.append(
        Case(name: "setScope", program: { Programs.chain() }) { s in
            try s.setScope(s.getBlock("B"), scope: "local")
        })
    all.append(
        Case(name: "addUnitLoop", program: { Programs.chain() }) { s in
            let b = try s.getBlock("B")
            try s.addUnitLoop(b)
            try s.addUnitLoop(s.getLoops(b)[0])
        })
    all.append(
        Case(name: "computeInline elementwise", program: { Programs.chain() }) { s in
            try s.computeInline(s.getBlock("B"))
        })
    all.append(
        Case(name: "computeInline padding", program: { Programs.conv() }) { s in
            try s.computeInline(s.getBlock("pad"))
        })
    all.append(
        Case(name: "computeInline transposition", program: { Programs.layout() }) { s in
            try s.computeInline(s.getBlock("B"))
            try s.computeInline(s.getBlock("C"))
        })
    all.append(
        Case(name: "reverseComputeInline chain", program: { Programs.conv() }) { s in
            try s.reverseComputeInline(s.getBlock("relu"))
        })
    all.append(
        Case(name: "reverseComputeInline layout", program: { Programs.layout() }) { s in
            try s.reverseComputeInline(s.getBlock("C"))
            try s.reverseComputeInline(s.getBlock("D"))
        })
    all.append(
        Case(name: "computeAt elementwise", program: { Programs.chain() }) { s in
            try s.computeAt(s.getBlock("C"), s.getLoops(s.getBlock("D"))[0])
        })
    all.append(
        Case(name: "computeAt window", program: { Programs.blur() }) { s in
            try s.computeAt(s.getBlock("bx"), s.getLoops(s.getBlock("out"))[0])
        })
    all.append(
        Case(name: "computeAt tile of a window", program: { Programs.blur() }) { s in
            let l = try s.getLoops(s.getBlock("out"))
            let x = try s.split(l[0], factors: [nil, 3])
            let y = try s.split(l[1], factors: [nil, 4])
            try s.reorder(x[0], y[0], x[1], y[1])
            try s.computeAt(s.getBlock("bx"), y[0])
        })
    // Chunks of several fused axes: less than a line, lines that end within chunks, whole lines, whole pictures.
    for size in [2, 5, 8, 12] {
        all.append(
            Case(name: "computeAt chunks of \(size)", program: { Programs.lines() }) { s in
                let parts = try s.split(s.fuse(s.getLoops(s.getBlock("C"))), factors: [nil, size])
                try s.computeAt(s.getBlock("B"), parts[0])
            })
    }
    all.append(
        Case(name: "computeAt padding stage", program: { Programs.conv() }) { s in
            let l = try s.getLoops(s.getBlock("conv"))
            let y = try s.split(l[1], factors: [nil, 2])
            try s.reorder(y[0], l[0], y[1])
            try s.computeAt(s.getBlock("pad"), y[0])
        })
    all.append(
        Case(name: "computeAt reduction", program: { Programs.softmax() }) { s in
            try s.computeAt(s.getBlock("sum"), s.getLoops(s.getBlock("out"))[0])
            try s.computeAt(s.getBlock("ex"), s.getLoops(s.getBlock("out"))[0])
            try s.computeAt(s.getBlock("mx"), s.getLoops(s.getBlock("out"))[0])
        })
    all.append(
        Case(name: "reverseComputeAt", program: { Programs.matmulRelu() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.reverseComputeAt(s.getBlock("T"), l[0])
            try s.reverseComputeAt(s.getBlock("D"), l[0])
        })
    all.append(
        Case(name: "reverseComputeAt tile", program: { Programs.matmulRelu() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            let x = try s.split(l[0], factors: [nil, 4])
            let y = try s.split(l[1], factors: [nil, 4])
            try s.reorder(x[0], y[0], l[2], x[1], y[1])
            try s.reverseComputeInline(s.getBlock("D"))
            try s.reverseComputeAt(s.getBlock("T"), y[0])
        })
    all.append(
        Case(name: "reverseComputeAt softmax", program: { Programs.softmax() }) { s in
            let l = try s.getLoops(s.getBlock("mx"))
            for b in ["ex", "sum", "out"] { try s.reverseComputeAt(s.getBlock(b), l[0]) }
        })
    all.append(
        Case(name: "cacheRead", program: { Programs.matmul() }) { s in
            let b = try s.getBlock("C")
            let c = try s.cacheRead(b, 1, "global")
            try s.computeAt(c, s.getLoops(b)[1])
        })
    all.append(
        Case(name: "cacheRead of an intermediate", program: { Programs.chain() }) { s in
            try s.cacheRead(s.getBlock("C"), 0, "local")
        })
    all.append(
        Case(name: "cacheWrite", program: { Programs.matmul() }) { s in
            try s.cacheWrite(s.getBlock("C"), 0, "local")
        })
    all.append(
        Case(name: "cacheWrite accumulator", program: { Programs.matmul() }) { s in
            let b = try s.getBlock("C")
            let w = try s.cacheWrite(b, 0, "local")
            let l = try s.getLoops(b)
            let y = try s.split(l[1], factors: [nil, 4])
            try s.reorder(l[0], y[0], l[2], y[1])
            try s.reverseComputeAt(w, y[0])
        })
    all.append(
        Case(name: "decomposeReduction", program: { Programs.matmul() }) { s in
            let b = try s.getBlock("C")
            let l = try s.getLoops(b)
            try s.decomposeReduction(b, l[2])
        })
    all.append(
        Case(name: "decomposeReduction of a tile", program: { Programs.matmul() }) { s in
            let b = try s.getBlock("C")
            let l = try s.getLoops(b)
            let y = try s.split(l[1], factors: [nil, 4])
            let k = try s.split(l[2], factors: [nil, 2])
            try s.reorder(l[0], y[0], k[0], k[1], y[1])
            try s.vectorize(y[1])
            try s.decomposeReduction(b, k[0])
        })
    all.append(
        Case(name: "rfactor", program: { Programs.total() }) { s in
            let b = try s.getBlock("B")
            let l = try s.getLoops(b)
            try s.rfactor(l[2], factorAxis: 0)
        })
    all.append(
        Case(name: "rfactor of a split loop", program: { Programs.total() }) { s in
            let b = try s.getBlock("B")
            let l = try s.getLoops(b)
            let r = try s.split(l[2], factors: [nil, 4])
            try s.rfactor(r[1], factorAxis: 1)
        })
    all.append(
        Case(name: "sampling", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            let t = try s.samplePerfectTile(l[0], n: 3, decision: [2, 1, 3])
            try s.split(l[0], factors: t)
            let c = try s.sampleCategorical([1, 2, 4], weights: [0.2, 0.3, 0.5], decision: 1)
            try s.annotate(s.getBlock("C"), "unroll", .int(s.value(c)))
        })
    all.append(
        Case(name: "cpu matmul", program: { Programs.matmulRelu() }) { s in
            try Recipes.matmul(s)
        })
    all.append(
        Case(name: "cpu convolution", program: { Programs.conv() }) { s in
            try Recipes.conv(s)
        })
    all.append(
        Case(name: "blockize", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            let x = try s.split(l[0], factors: [nil, 3])
            try s.reorder(x[0], l[1], x[1], l[2])
            let b = try s.blockize(x[1])
            try s.parallel(s.getLoops(b)[0])
        })
    all.append(
        Case(name: "blockize inside a reduction", program: { Programs.matmulRelu() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            let y = try s.split(l[1], factors: [nil, 4])
            try s.reorder(l[0], y[0], l[2], y[1])
            let b = try s.blockize(y[1])
            try s.decomposeReduction(b, s.getLoops(b)[2])
        })
    all.append(
        Case(name: "inner block", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            let x = try s.split(l[0], factors: [nil, 3])
            try s.reorder(x[0], l[1], x[1], l[2])
            try s.blockize(x[1])
            let c = try s.getBlock("C")
            let k = try s.getLoops(c)
            try s.unroll(k[0])
            try s.decomposeReduction(c, k[1])
        })
    all.append(
        Case(name: "rows in parallel", program: { Programs.softmax4() }) { s in
            let l = try s.getLoops(s.getBlock("mx"))
            let f = try s.fuse(l[0], l[1], l[2])
            for b in ["ex", "sum", "out"] { try s.reverseComputeAt(s.getBlock(b), f) }
            try s.parallel(f)
            try s.vectorize(s.getLoops(s.getBlock("out"))[1])
        })
    all.append(
        Case(name: "rows in chunks", program: { Programs.softmax4() }) { s in
            let l = try s.getLoops(s.getBlock("out"))
            let f = try s.split(s.fuse(l[0], l[1], l[2]), factors: [nil, 2])
            for b in ["sum", "ex", "mx"] { try s.computeAt(s.getBlock(b), f[1]) }
            try s.parallel(f[0])
        })
    all.append(
        Case(name: "two reductions under one loop", program: { Programs.normalize() }) { s in
            try s.computeInline(s.getBlock("mean"))
            let l = try s.getLoops(s.getBlock("out"))
            let x = try s.split(l[0], factors: [nil, 4])
            for b in ["sum", "square"] { try s.computeAt(s.getBlock(b), x[0]) }
            try s.parallel(x[0])
        })
    all.append(
        Case(name: "packed output", program: { Programs.packed() }) { s in
            let c = try s.getBlock("conv")
            let w = try s.cacheWrite(c, 0, "local")
            try s.reverseComputeAt(w, s.getLoops(c)[1])
            try s.reverseComputeInline(s.getBlock("unpack"))
            let l = try s.getLoops(c)
            try s.reorder(l[3], l[2])
            try s.vectorize(l[2])
            try s.decomposeReduction(c, l[3])
            try s.parallel(s.fuse(l[0], l[1]))
        })
    all.append(
        Case(name: "reduction of pairs", program: { Programs.argmax() }) { s in
            let b = try s.getBlock("best")
            try s.reverseComputeAt(s.getBlock("double"), s.getLoops(b)[0])
            let l = try s.getLoops(b)
            try s.parallel(l[0])
            try s.decomposeReduction(b, l[1])
        })
    all.append(
        Case(name: "scalars and opaque blocks", program: { Programs.scalar() }) { s in
            let b = try s.getBlock("sum")
            let l = try s.getLoops(b)
            try s.split(l[0], factors: [nil, 4])
            try s.cacheWrite(b, 0, "local")
            try s.decomposeReduction(b, s.getLoops(b)[0])
            try s.vectorize(s.getLoops(s.getBlock("out"))[0])
        })
    return all + moreCases
}()
