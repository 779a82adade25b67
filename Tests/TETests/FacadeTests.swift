import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTIRSchedule
import Testing

@Suite struct ScheduleRecordTests {
    @Test func stagesInDependencyOrder() throws {
        let c = Chain()
        let s = te.createSchedule(c.d)
        #expect(s.stages.map(\.op.name) == ["A", "B", "C", "D"])
        #expect(s.stages.map(\.isOutput) == [false, false, false, true])
        #expect(s.outputs.count == 1 && s.stageMap.count == 4)
        #expect(s[c.b].originOp === c.b.op && s[c.b].op === c.b.op)
        let cached = s.cacheWrite(c.c, "local")
        #expect(s.stages.map(\.op.name) == ["A", "B", "C_local", "C", "D"])
        #expect(s[c.c].originOp === c.c.op && s[c.c].op !== c.c.op && s[cached].op === cached.op)
        // Diamonds once, several outputs, an output that is read by another.
        let a = te.placeholder([4], name: "A")
        let l = te.compute([4], name: "L") { i in a[i] + 1 }
        let r = te.compute([4], name: "R") { i in l[i] + a[i] }
        let t = te.createSchedule(l, r)
        #expect(t.stages.map(\.op.name) == ["A", "L", "R"])
        try expectSame(t)
    }

    @Test func extern() throws {
        let a = te.placeholder([4], name: "A")
        let b = te.compute([4], name: "B") { i in a[i] + 1 }
        let e = te.extern(
            [(shape: [4], dtype: .float32), (shape: [4], dtype: .float32)], inputs: [b], name: "E"
        ) {
            ins, outs in
            SeqStmt([
                forEachIndex([te.const(4)]) { BufferStore(outs[0], BufferLoad(ins[0], $0) * 2, $0) },
                forEachIndex([te.const(4)]) { BufferStore(outs[1], BufferLoad(ins[0], $0) * 3, $0) },
            ])
        }
        let c = te.compute([4], name: "C") { i in e[0][i] + e[1][i] }
        let s = te.createSchedule(c)
        s[c].split(c.axis[0], factor: 3)
        try expectSame(s)
        s[e[0]].computeAt(s[c], c.axis[0])
        #expect(s[e[0]].leafIterVars.isEmpty)
    }

    @Test func copies() throws {
        let c = Chain()
        let s = te.createSchedule(c.d)
        s[c.c].computeAt(s[c.d], c.d.axis[0])
        s.createGroup(outputs: [c.b], inputs: [c.a])
        let t = s.copy()
        t[c.d].split(c.d.axis[1], factor: 4)
        t[c.b].computeInline()
        #expect(s[c.d].leafIterVars.count == 2 && t[c.d].leafIterVars.count == 3)
        #expect(t[c.c].attachStage === t[c.d] && t.groups.count == 1)
        try expectSame(s)
        try expectSame(t)
    }

    @Test func theTraceOfTheEngineReplays() throws {
        let m = Matmul(8, 8, 8)
        let s = te.createSchedule(m.c)
        let t = s[m.c].tile(m.c.axis[0], m.c.axis[1], 4, 4)
        s[m.c].parallel(t.xOuter)
        let engine = try s.engine()
        let again = try Schedule(try createPrimFunc([m.a, m.b, m.c]))
        try again.apply(engine.trace)
        #expect(structuralEqual(again.function, engine.function))
    }

    @Test func symbolicShapes() throws {
        let n = te.var("n")
        let a = te.placeholder([n, 8], name: "A")
        let b = te.compute([n, 8], name: "B") { i, j in a[i, j] + 1 }
        let c = te.compute([n, 8], name: "C") { i, j in b[i, j] * 2 }
        let s = te.createSchedule(c)
        let (o, i) = s[c].split(c.axis[0], factor: 4)
        s[c].parallel(o).unroll(i)
        s[b].computeAt(s[c], o)
        let f = try s.lowered()
        for length in [0, 1, 4, 7] {
            let x = NDArray.random(shape: [length, 8], seed: 3)
            let y = try NDArray.allocate(shape: [length, 8], dtype: .float32)
            try TIRInterpreter.run(f, [x, y])
            #expect(try y.toDoubles() == x.toDoubles().map { Double((Float($0) + 1) * 2) })
        }
    }

    @Test func scalarParameters() throws {
        let alpha = te.var("alpha", .float32)
        let a = te.placeholder([4], name: "A")
        let b = te.compute([4], name: "B") { i in a[i] * alpha }
        let s = te.createSchedule(b)
        s[b].vectorize(b.axis[0])
        #expect(s.asTIR.contains("alpha"))
        #expect(try s.lowered([a, alpha, b]).params.count == 3)
        #expect(errorCode { _ = try s.lowered([a, b]) } == "TE020")
        #expect(errorCode { _ = try s.lowered([b]) } == "TE003")
    }
}

@Suite struct StageErrorTests {
    /// The first error that the steps note; nothing else happens.
    private func code(_ f: (TESchedule, Chain) throws -> Void) rethrows -> String? {
        let c = Chain()
        let s = te.createSchedule(c.d)
        let before = s.asTIR
        try f(s, c)
        let first = s.errors.first
        #expect(first == nil || s.asTIR.hasPrefix("error[\(first?.code ?? "")]"))
        #expect(!before.isEmpty)
        #expect(first?.context.isEmpty != true)
        return first?.code
    }

    @Test func everyStepNamesWhatIsWrong() throws {
        #expect(code { s, c in s[c.d].split(c.c.axis[0], factor: 2) } == "TE030")
        #expect(
            code { s, c in
                s[c.d].split(c.d.axis[0], factor: 2); s[c.d].unroll(c.d.axis[0])
            } == "TE030")
        #expect(code { s, c in s[c.a].split(te.reduceAxis(0..<2), factor: 2) } == "TE031")
        #expect(code { s, c in s[c.a].computeAt(s[c.b], c.b.axis[0]) } == "TE031")
        #expect(code { s, c in s[c.a].fuse() } == "TE031")
        #expect(code { s, c in s[c.d].split(c.d.axis[0], factor: 0) } == "TE032")
        #expect(code { s, c in s[c.d].split(c.d.axis[0], nparts: -3) } == "TE032")
        #expect(code { s, c in s[c.d].prefetch(c.c, c.d.axis[0], -1) } == "TE032")
        #expect(code { s, c in s[c.d].fuse(c.d.axis[1], c.d.axis[0]) } == "TE034")
        #expect(code { s, c in s[c.d].reorder(c.d.axis[1], c.d.axis[1]) } == "TE035")
        #expect(code { s, c in s[c.c].computeAt(s[c.c], c.c.axis[0]) } == "TE036")
        #expect(code { s, c in s[c.c].computeAt(te.createSchedule(c.d)[c.d], c.d.axis[0]) } == "TE036")
        #expect(code { s, c in s[c.c].computeAt(s[c.d], c.c.axis[0]) } == "TE030")
        #expect(code { s, c in s[c.d].computeInline() } == "TE037")
        #expect(code { s, c in s[c.a].computeInline() } == "TE037")
        #expect(code { s, c in s[c.d].vectorize(c.d.axis[1]).unroll(c.d.axis[1]) } == "TE038")
        #expect(code { s, c in s[c.d].bind(c.d.axis[0], c.d.axis[1]) } == "TE039")
        #expect(
            code { s, c in
                s[c.d].bind(c.d.axis[0], te.threadAxis("threadIdx.x")).bind(
                    c.d.axis[1], te.threadAxis("threadIdx.x"))
            } == "TE038")
        #expect(
            code { s, c in s[c.d].bind(c.d.axis[0], te.threadAxis("threadIdx.x")).parallel(c.d.axis[0]) }
                == "TE038")
        #expect(code { s, c in s[c.d].envThreads([te.threadAxis("threadIdx.x")]) } == "TE039")
        #expect(code { s, c in s[c.d].setStorePredicate(te.const(1)) } == "TE040")
        #expect(code { s, c in s[c.d].setScope("local") } == "TE040")
        #expect(code { s, c in s[c.d].doubleBuffer() } == "TE040")
        #expect(code { s, c in s[c.d].pragma(c.d.axis[0], "") } == "TE040")
        #expect(code { s, c in s[c.c].storageAlign(c.d.axis[0], factor: 4, offset: 0) } == "TE040")
        #expect(code { s, c in _ = s[te.placeholder([1])] } == "TE029")
        #expect(te.createSchedule([] as [Tensor]).errors.first?.code == "TE029")
        #expect(errorCode { try te.createSchedule([] as [Tensor]).check() } == "TE029")
    }

    @Test func reductionAxes() throws {
        let m = Matmul(4, 4, 4)
        func first(_ f: (Stage) -> Void) -> String? {
            let s = te.createSchedule(m.c)
            f(s[m.c])
            return s.errors.first?.code
        }
        #expect(first { $0.parallel(m.k) } == "TE033")
        #expect(first { $0.vectorize(m.k) } == "TE033")
        #expect(first { $0.fuse(m.c.axis[1], m.k) } == "TE033")
        #expect(first { $0.unroll(m.k) } == nil)
        #expect(first { $0.computeInline() } == "TE037")
    }

    @Test func errorsOfTheLoopsNameStageAndAxis() throws {
        let m = Matmul(4, 4, 4)
        let n = te.var("n")
        let a = te.placeholder([n], name: "A")
        let b = te.compute([n], name: "B") { i in a[i] + 1 }
        let s = te.createSchedule(b)
        s[b].vectorize(b.axis[0])
        let e = #expect(throws: ApusError.self) { try s.check() }
        #expect(e?.code == "SCH043" && e?.context.prefix(2) == ["stage: B", "axis: i0"])
        let t = te.createSchedule(m.c)
        let e2 = #expect(throws: ApusError.self) { try t.lowered([m.a, m.c]) }
        #expect(e2?.code == "TE003")
    }
}

@Suite struct BoundTests {
    @Test func producersAtEveryAxis() throws {
        let m = Matmul(16, 16, 8)
        let r = te.compute([16, 16], name: "R") { i, j in m.c[i, j] + 1 }
        for axis in 0..<4 {
            let s = te.createSchedule(r)
            let t = s[r].tile(r.axis[0], r.axis[1], 8, 4)
            let places = [t.xOuter, t.yOuter, t.xInner, t.yInner]
            s[m.c].computeAt(s[r], places[axis])
            let b = try te.inferBound(s)
            #expect(b[m.c.axis[0]]?.extent.asInt == [8, 8, 1, 1][axis])
            #expect(b[m.c.axis[1]]?.extent.asInt == [16, 4, 4, 1][axis])
            #expect(b[m.k]?.extent.asInt == 8)
            #expect(b[t.xOuter]?.extent.asInt == 2 && b[t.yInner]?.extent.asInt == 4)
            try expectSame(s)
        }
    }

    @Test func minimaSpeakOfTheLoopsAround() throws {
        let c = Chain(8, 12)
        let s = te.createSchedule(c.d)
        let (o, _) = s[c.d].split(c.d.axis[0], factor: 2)
        s[c.c].computeAt(s[c.d], o)
        let b = try te.inferBound(s)
        #expect(b[c.c.axis[0]]?.min.description == "i0_outer * 2")
        #expect(b[c.c.axis[1]]?.min.asInt == 0)
        #expect(b[c.d.axis[0]]?.extent.asInt == 8)
    }

    @Test func stridesAndWindows() throws {
        let a = te.placeholder([33], name: "A")
        let b = te.compute([33], name: "B") { i in a[i] + 1 }
        let k = te.reduceAxis(0..<3, name: "k")
        let c = te.compute([16], name: "C") { i in te.sum(b[i * 2 + k], axis: k) }
        for factor in [1, 2, 4] {
            let s = te.createSchedule(c)
            let (o, _) = s[c].split(c.axis[0], factor: factor)
            s[b].computeAt(s[c], o)
            #expect(try te.inferBound(s)[b.axis[0]]?.extent.asInt == (factor - 1) * 2 + 3)
            try expectSame(s)
        }
        let t = te.createSchedule(c)
        t[b].computeAt(t[c], k)
        #expect(try te.inferBound(t)[b.axis[0]]?.extent.asInt == 1)
        try expectSame(t)
    }

    @Test func guardedReads() throws {
        let a = te.placeholder([8], name: "A")
        let b = te.compute([8], name: "B") { i in a[i] * 2 }
        let p = te.compute([10], name: "P") { i in
            ifThenElse(and(i .>= te.const(1), i .< te.const(9)), b[i - 1], te.const(0.0))
        }
        for factor in [1, 3, 5, 10] {
            let s = te.createSchedule(p)
            let (o, _) = s[p].split(p.axis[0], factor: factor)
            s[b].computeAt(s[p], o)
            try expectSame(s)
        }
    }

    @Test func transposesAndFlattening() throws {
        let a = te.placeholder([6, 8], name: "A")
        let b = te.compute([8, 6], name: "B") { i, j in a[j, i] }
        let c = te.compute([48], name: "C") { i in b[floorDiv(i, 6), floorMod(i, 6)] }
        for factor in [6, 12] {
            let s = te.createSchedule(c)
            let (o, _) = s[c].split(c.axis[0], factor: factor)
            s[b].computeAt(s[c], o)
            #expect(try te.inferBound(s)[b.axis[0]]?.extent.asInt == factor / 6)
            try expectSame(s)
        }
    }

    @Test func inlineStagesHaveNone() throws {
        let c = Chain()
        let s = te.createSchedule(c.d)
        s[c.c].computeInline()
        let b = try te.inferBound(s)
        #expect(b[c.c.axis[0]] == nil && b[c.b.axis[0]] != nil)
    }
}

@Suite struct MessagePassingTests {
    private let x = IterVar(IRRange(0, extent: 13), Var("x"), .dataParallel)
    private let y = IterVar(IRRange(0, extent: 4), Var("y"), .dataParallel)
    private func axis(_ n: String) -> IterVar { IterVar(IRRange(0, extent: 0), Var(n), .dataParallel) }

    @Test func splitAndFuse() throws {
        let (o, i, f) = (axis("o"), axis("i"), axis("f"))
        let relations: [IterVarRelation] = [
            .split(parent: x, outer: o, inner: i, factor: 4, parts: nil), .fuse(outer: i, inner: y, fused: f),
        ]
        var domains: [IterVar: IRRange] = [x: x.dom, y: y.dom]
        passDownDomain(relations, &domains)
        #expect(
            domains[o]?.extent.asInt == 4 && domains[i]?.extent.asInt == 4 && domains[f]?.extent.asInt == 16)
        // Down, then up, is the identity.
        for (a, b) in [(0, 0), (5, 3), (12, 1)] {
            var down: [IterVar: PrimExpr] = [x: te.const(a), y: te.const(b)]
            passDownIndex(relations, domains: domains, &down)
            #expect(down[f]?.asInt == (a % 4) * 4 + b)
            let leaves = [o, f]
            var up: [IterVar: PrimExpr] = [:]
            for l in leaves { up[l] = down[l] }
            passUpIndex(relations, domains: domains, &up)
            #expect(up[x]?.asInt == a && up[y]?.asInt == b)
        }
        var whole: [IterVar: IRRange] = [:]
        for l in [o, f] { whole[l] = domains[l] }
        passUpDomain(relations, domains: domains, &whole)
        #expect(whole[x]?.extent.asInt == 13 && whole[y]?.extent.asInt == 4)
        var part: [IterVar: IRRange] = [o: IRRange(2, extent: 1), f: IRRange(0, extent: 16)]
        passUpDomain(relations, domains: domains, &part)
        #expect(part[x]?.min.asInt == 8 && part[x]?.extent.asInt == 4)
        var point: [IterVar: IRRange] = [o: IRRange(1, extent: 1), f: IRRange(6, extent: 1)]
        passUpDomain(relations, domains: domains, &point)
        #expect(point[x]?.min.asInt == 5 && point[x]?.extent.asInt == 1)
        #expect(point[y]?.min.asInt == 2 && point[y]?.extent.asInt == 1)
        var marks: [IterVar: Int] = [f: 1]
        passUpBitMaskOr(relations, &marks)
        #expect(marks[x] == 1 && marks[y] == 1 && marks[i] == 1)
        marks = [x: 1, y: 2]
        passDownBitMaskOr(relations, &marks)
        #expect(marks[o] == 1 && marks[f] == 3)
    }

    @Test func partsRebaseAndSingleton() throws {
        let z = IterVar(IRRange(3, extent: 10), Var("z"), .dataParallel)
        let (r, o, i, one) = (axis("r"), axis("o"), axis("i"), axis("one"))
        let relations: [IterVarRelation] = [
            .rebase(parent: z, rebased: r), .split(parent: r, outer: o, inner: i, factor: nil, parts: 3),
            .singleton(one),
        ]
        var domains: [IterVar: IRRange] = [z: z.dom]
        passDownDomain(relations, &domains)
        #expect(
            domains[r]?.extent.asInt == 10 && domains[o]?.extent.asInt == 3 && domains[i]?.extent.asInt == 4)
        #expect(domains[one]?.extent.asInt == 1)
        var up: [IterVar: PrimExpr] = [o: te.const(1), i: te.const(2)]
        passUpIndex(relations, domains: domains, &up)
        #expect(up[z]?.asInt == 9)
        var down: [IterVar: PrimExpr] = [z: te.const(9)]
        passDownIndex(relations, domains: domains, &down)
        #expect(down[o]?.asInt == 1 && down[i]?.asInt == 2 && down[one]?.asInt == 0)
        var part: [IterVar: IRRange] = [o: IRRange(1, extent: 1), i: IRRange(0, extent: 4)]
        passUpDomain(relations, domains: domains, &part)
        #expect(part[z]?.min.asInt == 7 && part[z]?.extent.asInt == 4)
    }
}
