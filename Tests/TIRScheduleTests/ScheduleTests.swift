import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRSchedule
import Testing

struct ScheduleTests {
    // MARK: Looking around

    @Test func neighboursInOrderOfExecution() throws {
        let s = try Schedule(Programs.softmax())
        func names(_ b: [BlockRV]) throws -> [String] { try b.map { try s.get($0).name } }
        let ex = try s.getBlock("ex")
        #expect(try names(s.getProducers(ex)) == ["mx"])
        #expect(try names(s.getConsumers(ex)) == ["sum", "out"])
        #expect(try names(s.getChildBlocks(s.getBlock("root"))) == ["mx", "ex", "sum", "out"])
        let l = try s.getLoops(s.getBlock("mx"))
        #expect(try l.map { try s.get($0).extent.asInt } == [5, 6])
        for b in ["ex", "sum"] { try s.reverseComputeAt(s.getBlock(b), l[0]) }
        #expect(try names(s.getChildBlocks(l[0])) == ["mx", "ex", "sum"])
    }

    @Test func handlesSurviveWhatHappensAround() throws {
        let s = try Schedule(Programs.matmulRelu())
        let c = try s.getBlock("C")
        let l = try s.getLoops(c)
        try s.computeInline(s.getBlock("T"))
        try s.split(l[0], factors: [nil, 2])
        try s.vectorize(l[1])
        #expect(try s.get(l[1]).forKind == .vectorized)
        try s.decomposeReduction(c, l[2])
        #expect(try s.get(c).name == "C_update")
        #expect(try s.getLoops(c).count == 4)
    }

    @Test func aCopyIsIndependent() throws {
        let s = try Schedule(Programs.matmul())
        let l = try s.getLoops(s.getBlock("C"))
        let t = s.copy()
        try t.parallel(l[0])
        #expect(try s.get(l[0]).forKind == .serial)
        #expect(try t.get(l[0]).forKind == .parallel)
        #expect(s.trace.instructions.count + 1 == t.trace.instructions.count)
    }

    @Test func aModuleKeepsItsOtherFunctions() throws {
        let m = IRModule([
            (global: GlobalVar("f", type: Programs.matmul().checkedType), function: Programs.matmul()),
            (global: GlobalVar("g", type: Programs.chain().checkedType), function: Programs.chain()),
        ])
        let s = try Schedule(m)
        let b = try s.getBlock("B", function: "g")
        try s.computeInline(b)
        try s.parallel(s.getLoops(s.getBlock("C", function: "f"))[0])
        #expect(s.module.globals.map(\.name) == ["f", "g"])
        #expect(s.module["g"] !== m["g"])
        let f = try #require(s.module["f"] as? PrimFunc)
        let before = try #require(m["f"] as? PrimFunc)
        #expect(difference(before, f) == nil)
        #expect(throws: ApusError.self) { _ = try s.getBlock("B", function: "f") }
        let again = try Schedule(m)
        try again.apply(s.trace)
        #expect(structuralEqual(again.module, s.module))
        #expect(throws: ApusError.self) { _ = try Schedule(IRModule()) }
    }

    @Test func theTraceIsAProgram() throws {
        let s = try Schedule(Programs.matmul())
        let l = try s.getLoops(s.getBlock("C"))
        let x = try s.split(l[0], factors: [nil, 3])
        try s.reorder(l[1], x[1])
        try s.parallel(x[0])
        #expect(
            s.trace.description == """
                b0 = sch.getBlock(name="C", function="")
                l1, l2, l3 = sch.getLoops(b0)
                l4, l5 = sch.split(l1, none, 3)
                sch.parallel(l4)
                """ || s.trace.description.contains("sch.reorder(l2, l5)"))
        #expect(s.trace.instructions.map(\.kind) == ["getBlock", "getLoops", "split", "reorder", "parallel"])
    }

    // MARK: Input in other forms

    @Test func duplicateNamesAndSharedLoopVariablesAreTakenApart() throws {
        let a = Buffer("A", [4])
        let b = Buffer("B", [4])
        let c = Buffer("C", [4])
        let i = Var("i")
        func block(_ from: Buffer, _ to: Buffer) -> Stmt {
            let v = Var("v")
            let body = BufferStore(to, BufferLoad(from, [v]), [v])
            return For(
                i, const(0), const(4),
                body: BlockRealize(
                    [i],
                    Block("copy", iterVars: [IterVar(IRRange(0, extent: 4), v, .dataParallel)], body: body)))
        }
        let f = PrimFunc(
            buffers: [a, c],
            body: BlockRealize(
                [], Block("root", body: SeqStmt([block(a, b), block(b, c)]), allocBuffers: [b])))
        let s = try Schedule(f)
        #expect(try s.getChildBlocks(s.getBlock("root")).map { try s.get($0).name } == ["copy", "copy_1"])
        let one = try s.getBlock("copy_1")
        #expect(try s.get(one).reads.map(\.description) == ["B[v]"])
        try s.parallel(s.getLoops(one)[0])
        #expect(try s.get(s.getLoops(s.getBlock("copy"))[0]).forKind == .serial)
        try s.computeInline(s.getBlock("copy"))
        #expect(difference(f, s.function) == nil)
    }

    @Test func aFunctionWithoutRootGetsOne() throws {
        let a = Buffer("A", [4])
        let i = Var("i")
        let v = Var("v")
        let block = Block(
            "fill", iterVars: [IterVar(IRRange(0, extent: 4), v, .dataParallel)],
            body: BufferStore(a, FloatImm(1), [v]))
        let f = PrimFunc(buffers: [a], body: For(i, const(0), const(4), body: BlockRealize([i], block)))
        let s = try Schedule(f)
        try s.vectorize(s.getLoops(s.getBlock("fill"))[0])
        #expect(difference(f, s.function) == nil)
    }

    @Test func loopsStartAtZero() throws {
        let a = Buffer("A", [6, 9])
        let b = Buffer("B", [6])
        let (i, r, v, vr) = (Var("i"), Var("r"), Var("v"), Var("vr"))
        let block = Block(
            "B",
            iterVars: [
                IterVar(IRRange(0, extent: 6), v, .dataParallel),
                IterVar(IRRange(2, extent: 5), vr, .commReduce),
            ], body: BufferStore(b, BufferLoad(b, [v]) + BufferLoad(a, [v, vr]), [v]),
            initial: BufferStore(b, FloatImm(0), [v]))
        let inner = For(r, const(2), const(5), body: BlockRealize([i, r], block))
        let f = PrimFunc(buffers: [a, b], body: For(i, const(0), const(6), body: inner))
        let s = try Schedule(f)
        let l = try s.getLoops(s.getBlock("B"))
        #expect(try s.get(l[1]).min.isZero)
        let x = try s.split(l[1], factors: [nil, 2])
        try s.reorder(x[1], x[0], l[0])
        #expect(difference(f, s.function) == nil, "\(s.text)")
        #expect(try interpreterDifference(f, s.function) == nil, "\(s.text)")
    }

    @Test func aBodyInLoopVariablesIsRefused() throws {
        let a = Buffer("A", [4])
        let i = Var("i")
        let v = Var("v")
        let block = Block(
            "fill", iterVars: [IterVar(IRRange(0, extent: 4), v, .dataParallel)],
            body: BufferStore(a, cast(.float32, i), [v]))
        let f = PrimFunc(buffers: [a], body: For(i, const(0), const(4), body: BlockRealize([i], block)))
        let e = #expect(throws: ApusError.self) { _ = try Schedule(f) }
        #expect(e?.code == "SCH002")
    }

    @Test func wrongDeclaredRegionsAreCorrected() throws {
        let f = Programs.blur()
        let s = try Schedule(f)
        #expect(try s.get(s.getBlock("out")).reads.map(\.description) == ["bx[vi:vi + 3, vj]"])
    }

    // MARK: Symbolic shapes

    private static func symbolic() -> PrimFunc {
        let n = Var("n")
        let a = Buffer("A", [n, const(6)])
        let b = Buffer("B", [n, const(6)])
        let c = Buffer("C", [n])
        func nest(
            _ name: String, _ extents: [PrimExpr], _ reduce: Bool, _ make: ([PrimExpr]) -> (Stmt, Stmt?)
        ) -> Stmt {
            let loops = extents.indices.map { Var("i\($0)") }
            var iters: [IterVar] = []
            for (d, e) in extents.enumerated() {
                let last = reduce && d == extents.count - 1
                iters.append(IterVar(IRRange(extent: e), Var("v\(d)"), last ? .commReduce : .dataParallel))
            }
            let (body, initial) = make(iters.map { $0.variable })
            var s: Stmt = BlockRealize(
                loops.map { $0 }, Block(name, iterVars: iters, body: body, initial: initial))
            for (v, e) in zip(loops, extents).reversed() { s = For(v, const(0), e, body: s) }
            return s
        }
        let first = nest("B", [n, const(6)], false) { v in
            (BufferStore(b, BufferLoad(a, v) + FloatImm(1), v), nil)
        }
        let second = nest("C", [n, const(6)], true) { v in
            let sum = BufferLoad(c, [v[0]]) + BufferLoad(b, v)
            return (BufferStore(c, sum, [v[0]]), BufferStore(c, FloatImm(0), [v[0]]))
        }
        let handles = [Var("a", dtype: .handle), Var("c", dtype: .handle)]
        return PrimFunc(
            [n] + handles, bufferMap: [(param: handles[0], buffer: a), (param: handles[1], buffer: c)],
            body: BlockRealize([], Block("root", body: SeqStmt([first, second]), allocBuffers: [b])))
    }

    @Test(arguments: [1, 4, 5, 9])
    func symbolicExtents(_ n: Int) throws {
        let f = Self.symbolic()
        let s = try Schedule(f)
        let c = try s.getBlock("C")
        let l = try s.getLoops(c)
        let x = try s.split(l[0], factors: [nil, 4])
        try s.computeAt(s.getBlock("B"), x[0])
        try s.parallel(x[0])
        let inner = try s.getLoops(s.getBlock("B"))
        try s.vectorize(inner[2])
        try s.decomposeReduction(c, l[1])
        #expect(difference(f, s.function, scalars: ["n": n]) == nil, "\(s.text)")
        let t = try Schedule(f)
        try t.fuse(t.getLoops(t.getBlock("B")))
        try t.cacheWrite(t.getBlock("C"), 0, "local")
        try t.computeInline(t.getBlock("B"))
        #expect(difference(f, t.function, scalars: ["n": n]) == nil, "\(t.text)")
        let e = #expect(throws: ApusError.self) { try t.vectorize(t.getLoops(t.getBlock("C"))[0]) }
        #expect(e?.code == "SCH043")
    }

    // MARK: Sampling

    @Test func samplingFollowsTheSeed() throws {
        func draw(_ seed: Int) throws -> [Int] {
            let s = try Schedule(Programs.matmul(64, 64, 64), seed: seed)
            let l = try s.getLoops(s.getBlock("C"))
            var result: [Int] = []
            for x in l {
                let t = try s.samplePerfectTile(x, n: 4, maxInnermost: 16).map { try s.value($0) }
                #expect(t.reduce(1, *) == 64 && t[3] <= 16)
                result += t
            }
            return result + [try s.value(s.sampleCategorical([0, 16, 64], weights: [1, 1, 2]))]
        }
        #expect(try draw(3) == draw(3))
        var different: Set<[Int]> = []
        for seed in 0..<20 { different.insert(try draw(seed)) }
        #expect(different.count > 10)
    }

    @Test func aReplayMayDecideAgain() throws {
        let f = Programs.matmul(16, 16, 16)
        let s = try Schedule(f, seed: 1)
        let l = try s.getLoops(s.getBlock("C"))
        try s.split(l[0], factors: s.samplePerfectTile(l[0], n: 3))
        var texts: Set<String> = [s.text]
        for seed in 0..<12 {
            let t = try Schedule(f, seed: seed)
            try t.apply(s.trace, resample: true)
            #expect(difference(f, t.function) == nil)
            texts.insert(t.text)
        }
        #expect(texts.count > 3)
    }

    // MARK: Tensorize

    static func dotIntrinsic() throws -> TensorIntrin {
        func function(_ body: (Buffer, Buffer, Buffer) -> Stmt, strided: Bool) -> PrimFunc {
            func buffer(_ name: String, _ shape: [Int]) -> Buffer {
                if !strided { return Buffer(name, shape) }
                let strides: [PrimExpr] = shape.indices.map { Var("\(name)_s\($0)") }
                return Buffer(
                    data: Var(name, type: PointerType(PrimType(.float32))), dtype: .float32,
                    shape: shape.map { const($0) },
                    strides: strides, elemOffset: Var("\(name)_o"), name: name)
            }
            let a = buffer("a", [4])
            let b = buffer("b", [4])
            let c = buffer("c", [1])
            return PrimFunc(buffers: [a, b, c], body: BlockRealize([], Block("root", body: body(a, b, c))))
        }
        let description = function(
            { a, b, c in
                let k = Var("k")
                let v = Var("vk")
                let zero: [PrimExpr] = [const(0)]
                let body = BufferStore(c, BufferLoad(c, zero) + BufferLoad(a, [v]) * BufferLoad(b, [v]), zero)
                let block = Block(
                    "dot", iterVars: [IterVar(IRRange(0, extent: 4), v, .commReduce)], body: body)
                return For(k, const(0), const(4), body: BlockRealize([k], block))
            }, strided: false)
        let implementation = function(
            { a, b, c in
                let zero: [PrimExpr] = [const(0)]
                var sum: PrimExpr = BufferLoad(c, zero)
                for i in 0..<4 { sum = sum + BufferLoad(a, [const(i)]) * BufferLoad(b, [const(i)]) }
                return BufferStore(c, sum, zero)
            }, strided: true)
        return try TensorIntrin("test.dot4", description: description, implementation: implementation)
    }

    @Test func tensorizeReplacesTheLoops() throws {
        TensorIntrin.register(try Self.dotIntrinsic())
        var p = Program()
        let a = p.input("A", [6, 8])
        let b = p.input("B", [5, 8])
        let c = p.output("C", [6, 5])
        p.compute("C", c, reduce: [8], initial: FloatImm(0)) { s, r in
            load(c, s[0], s[1]) + load(a, s[0], r[0]) * load(b, s[1], r[0])
        }
        let f = p.function
        let s = try Schedule(f)
        let l = try s.getLoops(s.getBlock("C"))
        let k = try s.split(l[2], factors: [nil, 4])
        let t = try s.tensorize(k[1], "test.dot4")
        #expect(
            try s.get(t).matchBuffers.map(\.source.description) == [
                "A[vi_o, vr0_o * 4:vr0_o * 4 + 4]",
                "B[vj_o, vr0_o * 4:vr0_o * 4 + 4]", "C[vi_o, vj_o]",
            ], "\(s.text)")
        #expect(try interpreterDifference(f, s.function) == nil, "\(s.text)")
        let again = try Schedule(f)
        try again.apply(s.trace)
        #expect(structuralEqual(again.function, s.function))
        try s.decomposeReduction(t, s.getLoops(t)[2])
        #expect(try interpreterDifference(f, s.function) == nil, "\(s.text)")
    }

    @Test func tensorizeComparesTheComputation() throws {
        TensorIntrin.register(try Self.dotIntrinsic())
        let s = try Schedule(Programs.total(6, 8))
        let l = try s.getLoops(s.getBlock("B"))
        let k = try s.split(l[2], factors: [nil, 4])
        let e = #expect(throws: ApusError.self) { try s.tensorize(k[1], "test.dot4") }
        #expect(e?.code == "SCH098")
        let unknown = #expect(throws: ApusError.self) { try s.tensorize(k[1], "test.none") }
        #expect(unknown?.code == "SCH097")
        let uneven = try s.split(l[1], factors: [nil, 4])
        let partial = #expect(throws: ApusError.self) { try s.blockize(uneven[1]) }
        #expect(partial?.code == "SCH096")
        let two = try Schedule(Programs.softmax())
        let rows = try two.getLoops(two.getBlock("out"))[0]
        try two.computeAt(two.getBlock("sum"), rows)
        let several = #expect(throws: ApusError.self) { try two.blockize(rows) }
        #expect(several?.code == "SCH095")
    }
}
