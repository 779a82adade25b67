import ApusIR
import ApusNode
import ApusSupport
import ApusTIR
import ApusTIRSchedule
import Testing

struct TraceTests {
    /// A schedule that uses operands of every kind.
    static func scheduled(_ f: PrimFunc) throws -> Schedule {
        let s = try Schedule(f, seed: 3)
        let c = try s.getBlock("C")
        _ = try s.getConsumers(c)
        let l = try s.getLoops(c)
        let t = try s.samplePerfectTile(l[1], n: 2, maxInnermost: 4, decision: [2, 4])
        let y = try s.split(l[1], factors: t)
        let x = try s.split(l[0], factors: [nil, 3])
        try s.reorder(x[0], y[0], l[2], x[1], y[1])
        _ = try s.sampleCategorical([1, 2], weights: [0.25, 0.75], decision: 0)
        let v = try s.sampleCategorical([4, 8], weights: [1, 1], decision: 1)
        try s.annotate(c, "step", v)
        try s.annotate(y[1], "width", .floats([1, 2.5]))
        try s.transformLayout(c, 0, .write, IndexMap(text: "(i, j) -> (j, i)"))
        let b = try s.getBlock("T")
        try s.reverseComputeAt(b, y[0])
        s.enterPostproc()
        try s.vectorize(y[1])
        try s.unroll(x[1])
        return s
    }

    static let code = """
        let r0 = try schedule.getBlock("C")
        _ = try schedule.getConsumers(r0)
        let r2 = try schedule.getLoops(r0)
        let r3 = try schedule.samplePerfectTile(r2[1], n: 2, maxInnermost: 4, decision: [2, 4])
        let r4 = try schedule.split(r2[1], factors: [r3[0], r3[1]])
        let r5 = try schedule.split(r2[0], factors: [nil, 3])
        try schedule.reorder([r5[0], r4[0], r2[2], r5[1], r4[1]])
        _ = try schedule.sampleCategorical([1, 2], weights: [0.25, 0.75], decision: 0)
        let r8 = try schedule.sampleCategorical([4, 8], weights: [1.0, 1.0], decision: 1)
        try schedule.annotate(r0, "step", r8)
        try schedule.annotate(r4[1], "width", .floats([1.0, 2.5]))
        try schedule.transformLayout(r0, 0, .write, IndexMap(text: "(i, j) -> (j, i)"))
        let r12 = try schedule.getBlock("T")
        try schedule.reverseComputeAt(r12, r4[0])
        schedule.enterPostproc()
        try schedule.vectorize(r4[1])
        try schedule.unroll(r5[1])

        """

    /// `code`, compiled.
    static func compiled(_ schedule: Schedule) throws {
        let r0 = try schedule.getBlock("C")
        _ = try schedule.getConsumers(r0)
        let r2 = try schedule.getLoops(r0)
        let r3 = try schedule.samplePerfectTile(r2[1], n: 2, maxInnermost: 4, decision: [2, 4])
        let r4 = try schedule.split(r2[1], factors: [r3[0], r3[1]])
        let r5 = try schedule.split(r2[0], factors: [nil, 3])
        try schedule.reorder([r5[0], r4[0], r2[2], r5[1], r4[1]])
        _ = try schedule.sampleCategorical([1, 2], weights: [0.25, 0.75], decision: 0)
        let r8 = try schedule.sampleCategorical([4, 8], weights: [1.0, 1.0], decision: 1)
        try schedule.annotate(r0, "step", r8)
        try schedule.annotate(r4[1], "width", .floats([1.0, 2.5]))
        try schedule.transformLayout(r0, 0, .write, IndexMap(text: "(i, j) -> (j, i)"))
        let r12 = try schedule.getBlock("T")
        try schedule.reverseComputeAt(r12, r4[0])
        schedule.enterPostproc()
        try schedule.vectorize(r4[1])
        try schedule.unroll(r5[1])
    }

    @Test func printsAsSwift() throws {
        let f = Programs.matmulRelu()
        let s = try Self.scheduled(f)
        #expect(s.trace.swiftCode() == Self.code)
        let t = try Schedule(f)
        try Self.compiled(t)
        #expect(structuralEqual(s.function, t.function))
        #expect(t.trace.json.text == s.trace.json.text)
    }

    /// Every recorded call of every case is one that Swift knows: named, closed, on one line.
    @Test(arguments: cases)
    func everyCasePrints(_ c: Case) throws {
        let s = try Schedule(c.program())
        try c.schedule(s)
        let lines = s.trace.swiftCode(schedule: "s").split(separator: "\n")
        #expect(lines.count == s.trace.instructions.count)
        for l in lines { #expect(l.contains("s.") && l.hasSuffix(")") && !l.contains("unknown"), "\(l)") }
    }

    @Test(arguments: cases)
    func theSimplifiedTraceDoesTheSame(_ c: Case) throws {
        let s = try Schedule(c.program())
        try c.schedule(s)
        let t = try Schedule(c.program())
        try t.apply(s.trace.simplified())
        #expect(structuralEqual(s.function, t.function))
    }

    @Test func simplifyDropsWhatNothingUses() throws {
        let s = try Self.scheduled(Programs.matmulRelu())
        let kinds = s.trace.simplified(removePostproc: true).instructions.map(\.kind)
        #expect(
            kinds == [
                "getBlock", "getLoops", "samplePerfectTile", "split", "split", "reorder", "sampleCategorical",
                "annotate", "annotate", "transformLayout", "getBlock", "reverseComputeAt",
            ])
        #expect(s.trace.simplified().instructions.count == s.trace.instructions.count - 2)
    }

    @Test func decisionsCanBeChanged() throws {
        let f = Programs.matmulRelu()
        let s = try Self.scheduled(f)
        #expect(s.trace.decisions.map(\.index) == [3, 7, 8])
        let other = try s.trace.deciding(3, [8, 1])
        let t = try Schedule(f)
        try t.apply(other)
        #expect(t.text.contains("j_0 in T.grid(2, 8)") || t.text != s.text)
        #expect(difference(f, t.function) == nil)
        let u = try Schedule(f)
        try u.apply(s.trace) { _, i in i.kind == "samplePerfectTile" ? [8, 1] : nil }
        #expect(structuralEqual(t.function, u.function))
        // The trace of the replay holds what was decided there.
        #expect(u.trace.decisions.first?.decision == [8, 1])
        let e = #expect(throws: ApusError.self) {
            try Schedule(f).apply(s.trace) { _, i in i.kind == "samplePerfectTile" ? [3, 3] : nil }
        }
        #expect(e?.code == "SCH051")
    }

    @Test(arguments: [
        "", "null", "{}", "[[]]", "[1]", "[[\"split\"]]", "[[\"split\",[],{},[],7]]",
        "[[\"split\",[\"l\"],{},[],null]]",
        "[[\"split\",[\"l-1\"],{},[],null]]", "[[\"split\",[\"b99999999999999999999\"],{},[],null]]",
        "[[\"getBlock\",[],{\"name\":{\"x\":1}},[\"b0\"],null]]", "[[\"getBlock\",[],[],[\"b0\"],null]]",
        "[[\"getBlock\",[],{\"name\":\"C\",\"function\":\"\"},[\"4\"],null]]",
        "[[\"getBlock\",[],{\"name\":\"C\",\"function\":\"\"},[\"b0\",\"b0\"],null]]",
        "[[\"sampleCategorical\",[],{},[\"v0\"],[\"x\"]]]",
        "[[\"pragma\",[\"l0\"],{\"value\":[true]},[],null]]",
        "[[\"pragma\",[\"l0\"],{\"value\":{\"float\":\"one\"}},[],null]]",
        "[" + String(repeating: "[", count: 5000),
    ])
    func hostileJSONIsRefused(_ text: String) throws {
        let e = #expect(throws: ApusError.self) { _ = try Trace(json: JSON.parse(text)) }
        #expect(
            e?.code == "SCH090" || e?.code.hasPrefix("NODE") == true || e?.code.hasPrefix("JSON") == true,
            "\(String(describing: e))")
    }

    /// Well formed, and still no schedule: an error, never a stop.
    @Test(arguments: [
        "[[\"split\",[\"l0\",\"2\"],{},[],null]]", "[[\"fuse\",[],{},[\"l0\"],null]]",
        "[[\"getLoops\",[\"none\"],{},[],null]]", "[[\"getLoops\",[\"3\"],{},[],null]]",
        "[[\"sampleCategorical\",[],{\"candidates\":[1,2],\"weights\":[1,1]},[\"v0\"],[9]]]",
        "[[\"sampleCategorical\",[],{\"candidates\":[],\"weights\":[]},[\"v0\"],null]]",
        "[[\"getBlock\",[],{\"name\":\"B\",\"function\":\"\"},[\"b0\"],null],[\"transformLayout\",[\"b0\"],{\"index\":0,\"use\":\"both\",\"map\":\"(i) -> (i)\"},[],null]]",
        "[[\"getBlock\",[],{\"name\":\"B\",\"function\":\"\"},[\"b0\"],null],[\"transformLayout\",[\"b0\"],{\"index\":-1,\"use\":\"write\",\"map\":\"(i\"},[],null]]",
        "[[\"getBlock\",[],{\"name\":\"B\",\"function\":\"\"},[\"b0\"],null],[\"getLoops\",[\"b0\"],{},[\"l1\",\"l2\"],null],[\"split\",[\"l1\",\"9223372036854775807\",\"9223372036854775807\"],{},[\"l3\",\"l4\"],null]]",
        "[[\"getBlock\",[],{\"name\":\"B\",\"function\":\"\"},[\"b0\"],null],[\"getLoops\",[\"b0\"],{},[\"l1\",\"l2\"],null],[\"split\",[\"l1\"],{\"extents\":[\"none\",\"1 +\"]},[\"l3\",\"l4\"],null]]",
        "[[\"getBlock\",[],{\"name\":\"B\",\"function\":\"\"},[\"b0\"],null],[\"transformBlockLayout\",[\"b0\"],{\"map\":\"(i, j) -> (i // 0, j)\"},[],null]]",
        "[[\"getBlock\",[],{\"name\":\"B\",\"function\":\"\"},[\"b0\"],null],[\"padEinsum\",[\"b0\"],{\"padding\":[4611686018427387904,2]},[],null]]",
    ])
    func hostileTracesAreRefused(_ text: String) throws {
        let s = try Schedule(Programs.chain())
        let before = s.function
        let e = #expect(throws: ApusError.self) { try s.apply(Trace(json: JSON.parse(text))) }
        #expect(
            e?.code.hasPrefix("SCH") == true || e?.code.hasPrefix("TIR") == true, "\(String(describing: e))")
        #expect(difference(before, s.function) == nil)
    }

    @Test func symbolicFactorsReplay() throws {
        let n = Var("n")
        let (a, b) = (Buffer("A", [n, const(12)]), Buffer("B", [n, const(12)]))
        let (i, j, v, w) = (Var("i"), Var("j"), Var("v"), Var("w"))
        let block = Block(
            "B",
            iterVars: [
                IterVar(IRRange(extent: n), v, .dataParallel),
                IterVar(IRRange(0, extent: 12), w, .dataParallel),
            ], body: BufferStore(b, BufferLoad(a, [v, w]) + FloatImm(1), [v, w]))
        let nest = For(i, const(0), n, body: For(j, const(0), const(12), body: BlockRealize([i, j], block)))
        let handles = [Var("a", dtype: .handle), Var("b", dtype: .handle)]
        let f = PrimFunc(
            [n] + handles, bufferMap: [(param: handles[0], buffer: a), (param: handles[1], buffer: b)],
            body: nest)
        let s = try Schedule(f)
        let l = try s.getLoops(s.getBlock("B"))
        try s.split(l[1], extents: [nil, n])
        try s.split(l[0], extents: [n, const(1)])
        for k in [1, 3, 5, 12, 20] {
            #expect(difference(f, s.function, scalars: ["n": k]) == nil, "\(k)\n\(s.text)")
        }
        let t = try Schedule(f)
        try t.apply(Trace(json: JSON.parse(s.trace.json.text)))
        #expect(structuralEqual(s.function, t.function))
    }

    // MARK: The schedule's own state

    @Test(arguments: cases)
    func theStateIsVerified(_ c: Case) throws {
        let s = try Schedule(c.program())
        s.debugLevel = .exhaustive
        try c.schedule(s)
        try s.verify(exhaustively: true)
    }

    @Test func factsOfBlocks() throws {
        let s = try Schedule(Programs.softmax())
        let out = try s.getBlock("out")
        #expect(try s.info(out) == BlockInfo(affineBinding: true, regionCover: true, stagePipeline: true))
        let l = try s.getLoops(out)
        let u = try s.split(l[0], factors: [nil, 2])
        #expect(try s.info(out).affineBinding)
        #expect(try s.getLoops(out).count == u.count + 1)
        #expect(try s.info(s.getBlock("root")).stagePipeline)
        #expect(
            try s.dependencies(in: s.getBlock("root")).map(\.description) == [
                "mx -> ex RAW mx", "ex -> sum RAW ex", "ex -> out RAW ex", "sum -> out RAW sum",
            ])
        #expect(try s.getOutputBlocks(s.getBlock("root")).map { try s.get($0).name } == ["out"])
    }

    @Test func seedsAndForks() throws {
        let (a, b) = (try Schedule(Programs.chain(), seed: 4), try Schedule(Programs.chain(), seed: 4))
        #expect(a.forkSeed() == b.forkSeed())
        #expect(a.forkSeed() != a.forkSeed())
        a.seed(9)
        b.seed(9)
        #expect(a.forkSeed() == b.forkSeed())
    }

    /// |x| max |y| of what was there and a new value.
    static func registerAbsoluteMaximum() {
        let (x, y) = (Var("x", dtype: .float32), Var("y", dtype: .float32))
        Schedule.registerReducer(
            "test.absmax",
            CommReducer(
                lhs: [x], rhs: [y], result: [maximum(call("fabs", x), call("fabs", y))],
                identity: [FloatImm(0)]))
    }

    @Test func aRegisteredReductionCanBeFactored() throws {
        var p = Program()
        let a = p.input("A", [3, 8])
        let b = p.output("B", [3])
        p.compute("B", b, reduce: [8], initial: FloatImm(0)) { s, r in
            maximum(call("fabs", load(b, s[0])), call("fabs", load(a, s[0], r[0])))
        }
        let f = p.function
        Self.registerAbsoluteMaximum()
        let s = try Schedule(f)
        try s.rfactor(s.getLoops(s.getBlock("B"))[1], factorAxis: 0)
        #expect(try interpreterDifference(f, s.function) == nil, "\(s.text)")
    }
}

private func call(_ name: String, _ e: PrimExpr) -> PrimExpr { intrinsic(name, e.dtype, [e]) }
