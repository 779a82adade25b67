import ApusDriver
import ApusIR
import ApusNode
import ApusRuntime
import ApusScheduleFuzzing
import ApusSupport
import ApusTE
import ApusTIR
import ApusTIRSchedule
import Testing

/// What the schedule fuzzer found, small.
@Suite struct ScheduleFindings {
    private func matmul(_ m: Int, _ n: Int, _ l: Int) throws -> PrimFunc {
        let a = te.placeholder([m, l], name: "A"), b = te.placeholder([l, n], name: "B")
        let k = te.reduceAxis(0..<l, name: "k")
        return try createPrimFunc([
            a, b, te.compute([m, n], name: "C") { i, j in te.sum(a[i, k] * b[k, j], axis: k) },
        ])
    }

    /// Two stages over a matrix, the first of which is read again outside of their loop.
    private func chain(_ m: Int, _ n: Int) throws -> PrimFunc {
        let a = te.placeholder([m, n], name: "A")
        let x = te.compute([m, n], name: "X") { i, j in a[i, j] + 1 }
        let y = te.compute([m, n], name: "Y") { i, j in x[i, j] * 2 }
        return try createPrimFunc([a, te.compute([m, n], name: "Z") { i, j in x[i, j] - y[i, j] }])
    }

    private func expectSame(_ program: PrimFunc, _ other: PrimFunc) throws {
        func arguments() throws -> [NDArray] {
            try program.bufferMap.enumerated().map { i, e in
                let shape = try #require(e.buffer.staticShape)
                return NDArray((0..<shape.reduce(1, *)).map { Float(($0 * 5 + i) % 7 - 3) }, shape: shape)
            }
        }
        let (x, y) = (try arguments(), try arguments())
        try TIRInterpreter.run(program, x)
        try TIRInterpreter.run(other, y)
        for (p, q) in zip(x, y) { #expect(p.hasSameContents(as: q), "\(other)") }
    }

    @Test("the init of a reduction runs on the same threads as its updates")
    func initOfBoundLoops() throws {
        let program = try matmul(3, 4, 5)
        let s = try Schedule(program)
        let block = try s.getBlock("C")
        let l = try s.getLoops(block)
        try s.reorder([l[2], l[0], l[1]])
        try s.bind(l[0], thread: "threadIdx.x")
        try s.blockize(l[0])
        try s.verify()
        var axes = 0
        postOrderVisit(
            s.function.body,
            stmt: { if ($0 as? For)?.threadBinding?.threadTag == "threadIdx.x" { axes += 1 } })
        #expect(axes == 2)
        try expectSame(program, s.function)
    }

    @Test("the init of a reduction reads nothing that could be prefetched")
    func initOfPrefetchedLoops() throws {
        for blockize in [true, false] {
            let program = try matmul(3, 4, 5)
            let s = try Schedule(program)
            let block = try s.getBlock("C")
            let l = try s.getLoops(block)
            try s.reorder([l[2], l[0], l[1]])
            try s.prefetch(block, 0, l[0], offset: 1)
            if blockize { try s.blockize(l[0]) } else { try s.decomposeReduction(block, l[2]) }
            var notes = 0
            postOrderVisit(
                s.function.body,
                stmt: { if ($0 as? For)?.annotations["prefetch_scope"] != nil { notes += 1 } })
            #expect(notes == 1)
            try expectSame(program, lower(s.function))
        }
    }

    @Test("an intrinsic around an intrinsic would name the inner one's views")
    func tensorizeTwice() throws {
        try FuzzIntrinsics.registerAll()
        let s = try Schedule(matmul(1, 1, 1))
        let l = try s.getLoops(s.getBlock("C"))
        try s.tensorize(l[2], "fuzz.madd1")
        do {
            try s.tensorize(s.getLoops(s.getBlock("C_o"))[0], "fuzz.madd1")
            Issue.record("accepted:\n\(s.text)")
        } catch let e as ApusError { #expect(e.code == "SCH098") }
        try s.verify()
    }

    @Test("iterations that a quotient and a remainder tell apart may overlap")
    func pipelineOfFusedLoops() throws {
        for swap in [false, true] {
            let program = try chain(2, 7)
            let s = try Schedule(program)
            let l = try s.getLoops(s.getBlock("X"))
            if swap { try s.reorder([l[1], l[0]]) }
            let loop = try s.fuse(swap ? [l[1], l[0]] : l)
            try s.reverseComputeAt(s.getBlock("Y"), loop)
            try s.softwarePipeline(loop, stages: [0, 1], order: [0, 1])
            try expectSame(program, lower(s.function))
        }
    }

    @Test func pipelineOfOneIteration() throws {
        let program = try chain(1, 3)
        let s = try Schedule(program)
        let l = try s.getLoops(s.getBlock("X"))
        try s.reverseComputeAt(s.getBlock("Y"), l[0])
        try s.softwarePipeline(l[0], stages: [0, 1], order: [0, 1])
        try expectSame(program, lower(s.function))
    }

    @Test("stages already make the versions that a double buffer asks for")
    func pipelineOfADoubleBuffer() throws {
        let a = te.placeholder([6, 4], name: "A")
        let x = te.compute([6, 4], name: "X") { i, j in a[i, j] + 1 }
        let program = try createPrimFunc([a, te.compute([6, 4], name: "Y") { i, j in x[i, j] * 2 }])
        let s = try Schedule(program)
        let l = try s.getLoops(s.getBlock("Y"))
        try s.computeAt(s.getBlock("X"), l[0])
        try s.doubleBuffer(s.getBlock("X"))
        try s.softwarePipeline(l[0], stages: [0, 1], order: [0, 1])
        let f = try lower(s.function)
        try expectSame(program, f)
        var sizes: [[Int]] = []
        postOrderVisit(
            f.body, stmt: { if let a = $0 as? Allocate { sizes.append(a.buffer.staticShape ?? []) } })
        #expect(sizes == [[8]], "\(f)")
    }

    @Test("two threads of one axis may not run the same instance of a reduction in memory that they share")
    func threadsThatRepeatEachOther() throws {
        func program(_ value: String, _ extent: Int) -> String {
            """
            @T.prim_func
            def main(A: T.Buffer((9,), "float32"), P: T.Buffer((18,), "float32")):
                with T.block("root"):
                    S = T.alloc_buffer((\(extent),), "float32")
                    for f in range(18):
                        for k in range(1):
                            with T.block("s"):
                                v = T.axis.spatial(\(extent), \(value))
                                r = T.axis.reduce(1, k)
                                T.reads(A[v % 9])
                                T.writes(S[v])
                                with T.init():
                                    S[v] = T.float32(0)
                                S[v] = S[v] + A[v % 9]
                        with T.block("p"):
                            v = T.axis.spatial(18, f)
                            T.reads(S[v % \(extent)])
                            T.writes(P[v])
                            P[v] = S[v % \(extent)]
            """
        }
        for (value, extent, code) in [
            ("f % 9", 9, "SCH040"), ("f", 18, nil), ("f // 3 * 3 + f % 3", 18, nil),
        ] {
            let s = try Schedule(TIRParser.parseFunction(program(value, extent)))
            let loop = try s.getLoops(s.getBlock("s"))[0]
            var found: String?
            do { try s.bind(loop, thread: "blockIdx.x") } catch let e as ApusError { found = e.code }
            #expect(found == code, "\(value)")
        }
    }
}
