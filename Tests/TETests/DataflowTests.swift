import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTIRSchedule
import Testing

@Suite struct CacheTests {
    @Test func readOfAnInput() throws {
        let m = Matmul(8, 8, 8)
        let s = te.createSchedule(m.c)
        let local = s.cacheRead(m.a, "local", [m.c])
        #expect(local.op.name == "A_local" && s[local].scope == "local")
        #expect(s.asTIR.contains("scope=\"local\""))
        try expectSame(s)
        let (ko, _) = s[m.c].split(m.k, factor: 4)
        s[m.c].reorder(ko, m.c.axis[0], m.c.axis[1])
        s[local].computeAt(s[m.c], ko)
        #expect(try te.inferBound(s)[local.axis[1]]?.extent.asInt == 4)
        try expectSame(s)
    }

    @Test func readByOneOfSeveral() throws {
        let a = te.placeholder([6], name: "A")
        let b = te.compute([6], name: "B") { i in a[i] + 1 }
        let c = te.compute([6], name: "C") { i in b[i] * 2 }
        let d = te.compute([6], name: "D") { i in b[i] - c[i] }
        let s = te.createSchedule(d)
        let cached = s.cacheRead(b, "shared", [c])
        #expect(s[c].op.inputTensors.map(\.op.name) == ["B_shared"])
        #expect(s[d].op.inputTensors.map(\.op.name) == ["B", "C"])
        try expectSame(s)
        let all = s.cacheRead(a, "local")
        s[all].computeAt(s[b], b.axis[0])
        s[cached].computeAt(s[c], c.axis[0])
        try expectSame(s)
        // A copy of a copy.
        let again = s.cacheRead(cached, "local", [c])
        s[again].computeAt(s[c], c.axis[0])
        try expectSame(s)
    }

    @Test func write() throws {
        let m = Matmul(8, 12, 8)
        let s = te.createSchedule(m.c)
        let local = s.cacheWrite(m.c, "local")
        #expect(local.op.name == "C_local" && local.reduceAxis.first === m.k)
        #expect(s[m.c].reduceAxis.isEmpty && s[m.c].axis[0] === m.c.axis[0])
        let t = s[m.c].tile(m.c.axis[0], m.c.axis[1], 4, 6)
        s[local].computeAt(s[m.c], t.yOuter)
        s[local].reorder(m.k, local.axis[0], local.axis[1])
        s[local].vectorize(local.axis[1])
        s[m.c].vectorize(t.yInner)
        #expect(
            try loops(s, "C_local")
                == "i0_outer(2) i1_outer(2) k(8) i0_c(4) vectorized i1_c(6)")
        try expectSame(s)
    }

    @Test func writeOfAnIntermediateStage() throws {
        let c = Chain()
        let s = te.createSchedule(c.d)
        let cached = s.cacheWrite(c.b, "local")
        s[c.b].computeInline()
        try expectSame(s)
        s[cached].computeAt(s[c.c], c.c.axis[0])
        try expectSame(s)
    }

    @Test func writeInAnotherLayout() throws {
        let m = Matmul(8, 12, 4)
        let s = te.createSchedule(m.c)
        let (jo, ji) = s[m.c].split(m.c.axis[1], factor: 4)
        s[m.c].reorder(jo, m.c.axis[0], ji)
        let packed = s.cacheWrite(m.c, "global")
        #expect(packed.staticShape == [3, 8, 4])
        #expect(s[m.c].relations.isEmpty)
        s[packed].vectorize(packed.axis[2])
        try expectSame(s)
        // Of a width that does not divide: the cache is padded.
        let u = Matmul(7, 10, 3)
        let t = te.createSchedule(u.c)
        let (_, inner) = t[u.c].split(u.c.axis[1], factor: 4)
        let (_, finest) = t[u.c].split(inner, factor: 3)
        let f = t[u.c].fuse(t[u.c].leafIterVars[0], t[u.c].leafIterVars[1])
        t[u.c].reorder(finest, f)
        let other = t.cacheWrite(u.c, "global")
        #expect(other.rank == 3)
        try expectSame(t)
    }

    @Test func writeOfSeveralOutputs() throws {
        let a = te.placeholder([6, 4], name: "A")
        let k = te.reduceAxis(0..<4)
        let b = te.computeTuple([6], name: "B") { i in te.argmax(k.variable, a[i, k], axis: k) }
        let s = te.createSchedule(b)
        let cached = s.cacheWrite(b, "local")
        #expect(cached.count == 2)
        s[cached[0]].computeAt(s[b[0]], b[0].axis[0])
        try expectSame(s)
        let t = te.createSchedule(b)
        t.cacheWrite(b[0], "local")
        #expect(t.errors.first?.code == "TE044")
    }

    @Test func whatCannotBeCachedIsNamed() throws {
        let c = Chain()
        let other = te.placeholder([1], name: "X")
        func code(_ f: (TESchedule) -> Void) -> String? {
            let s = te.createSchedule(c.d)
            f(s)
            let first = s.errors.first?.code
            #expect(errorCode { try s.check() } == first)
            return first
        }
        #expect(code { $0.cacheRead(other, "local") } == "TE029")
        #expect(code { $0.cacheRead(c.a, "") } == "TE029")
        #expect(code { $0.cacheRead(c.a, "local", [c.d]) } == "TE044")
        #expect(code { $0.cacheRead(c.a, "local", [other]) } == "TE029")
        #expect(code { $0.cacheRead(c.d, "local") } == "TE044")
        #expect(code { $0.cacheWrite(c.a, "local") } == "TE044")
        #expect(code { $0.cacheWrite(other, "local") } == "TE029")
        #expect(code { $0.cacheWrite([], "local") } == "TE029")
    }
}

@Suite struct RFactorTests {
    private func sum(_ n: Int) -> (a: Tensor, b: Tensor, k: IterVar) {
        let a = te.placeholder([4, n], name: "A")
        let k = te.reduceAxis(0..<n, name: "k")
        return (a, te.compute([4], name: "B") { i in te.sum(a[i, k], axis: k) }, k)
    }

    @Test func splitAxis() throws {
        let p = sum(16)
        let s = te.createSchedule(p.b)
        let (ko, ki) = s[p.b].split(p.k, factor: 4)
        let rf = s.rfactor(p.b, ki)
        #expect(rf.op.name == "B_rf" && rf.staticShape == [4, 4])
        #expect(s[rf].reduceAxis.map { $0.variable.name } == [ko.variable.name])
        #expect(s[p.b].reduceAxis.count == 1)
        s[rf].computeAt(s[p.b], p.b.axis[0])
        try expectSame(s)
    }

    @Test(arguments: [0, 1, -1]) func dimensionOfTheFactor(_ at: Int) throws {
        let p = sum(12)
        let s = te.createSchedule(p.b)
        let (ko, _) = s[p.b].split(p.k, nparts: 3)
        let rf = s.rfactor(p.b, ko, factorAxis: at)
        #expect(rf.staticShape == (at == 0 ? [3, 4] : [4, 3]))
        s[rf].parallel(rf.axis[at == 0 ? 0 : 1])
        try expectSame(s)
    }

    @Test func sizesThatDoNotDivide() throws {
        let p = sum(13)
        let s = te.createSchedule(p.b)
        let (_, ki) = s[p.b].split(p.k, factor: 5)
        let (_, kii) = s[p.b].split(ki, factor: 2)
        s.rfactor(p.b, kii)
        try expectSame(s)
    }

    @Test func wholeAxisAndOtherAxes() throws {
        let a = te.placeholder([3, 4, 5], name: "A")
        let k = te.reduceAxis(0..<4, name: "k"), l = te.reduceAxis(1..<5, name: "l")
        let b = te.compute([3], name: "B") { i in
            te.max(a[i, k, l], axis: k, l, where: k .< 3, initial: te.const(-0.5))
        }
        for axis in [k, l] {
            let s = te.createSchedule(b)
            let rf = s.rfactor(b, axis)
            #expect(rf.reduceAxis.count == 1)
            try expectSame(s)
        }
        let s = te.createSchedule(b)
        let f = s[b].fuse(k, l)
        let (_, inner) = s[b].split(f, factor: 3)
        s.rfactor(b, inner)
        try expectSame(s)
        let one = sum(4)
        let t = te.createSchedule(one.b)
        #expect(t.rfactor(one.b, one.k).reduceAxis.isEmpty)
        try expectSame(t)
    }

    @Test func valuesOfATuple() throws {
        let a = te.placeholder([3, 8], name: "A")
        let k = te.reduceAxis(0..<8, name: "k")
        let b = te.computeTuple([3], name: "B") { i in te.argmax(k.variable, a[i, k], axis: k) }
        let s = te.createSchedule(b)
        let (_, ki) = s[b[0]].split(k, factor: 4)
        let rf = s.rfactorTuple(b[0], ki)
        #expect(rf.count == 2 && rf[0].dtype == .int64)
        try expectSame(s)
    }

    @Test func twice() throws {
        let p = sum(24)
        let s = te.createSchedule(p.b)
        let (_, ki) = s[p.b].split(p.k, factor: 6)
        let rf = s.rfactor(p.b, ki)
        s.rfactor(rf, s[rf].reduceAxis[0])
        try expectSame(s)
    }

    @Test func refusals() throws {
        let p = sum(16)
        func code(_ f: (TESchedule) -> Void) -> String? {
            let s = te.createSchedule(p.b)
            f(s)
            return s.errors.first?.code
        }
        #expect(code { $0.rfactor(p.b, p.b.axis[0]) } == "TE033")
        #expect(code { $0.rfactor(p.a, p.k) } == "TE044")
        #expect(code { $0.rfactor(p.b, p.k, factorAxis: 3) } == "TE044")
        #expect(code { $0.rfactor(p.b, te.reduceAxis(0..<4)) } == "TE030")
        #expect(code { $0.rfactor(te.placeholder([1]), p.k) } == "TE029")
    }

    @Test func threadsReduceTogether() throws {
        let p = sum(16)
        let s = te.createSchedule(p.b)
        let (_, ki) = s[p.b].split(p.k, factor: 4)
        let rf = s.rfactor(p.b, ki)
        let tx = te.threadAxis("threadIdx.x")
        s[p.b].bind(s[p.b].reduceAxis[0], tx)
        s[rf].computeAt(s[p.b], s[p.b].reduceAxis[0])
        try s.check()
        #expect(s.asTIR.contains("threadIdx.x"))
    }
}

@Suite struct TensorizeTests {
    @Test func elementwise() throws {
        let a = te.placeholder([8, 16], name: "A"), b = te.placeholder([8, 16], name: "B")
        let c = te.compute([8, 16], name: "C") { i, j in a[i, j] + b[i, j] }
        let s = te.createSchedule(c)
        let (_, ji) = s[c].split(c.axis[1], factor: 4)
        s[c].tensorize(ji, try vectorAdd(4))
        #expect(s.asTIR.contains("T.match_buffer"))
        try expectSame(s)
        s[c].parallel(c.axis[0])
        try expectSame(s)
    }

    @Test(arguments: [true, false]) func partOfAReduction(_ reset: Bool) throws {
        let a = te.placeholder([8, 12], name: "A"), b = te.placeholder([12], name: "B")
        let k = te.reduceAxis(0..<12, name: "k")
        let c = te.compute([8], name: "C") { i in te.sum(a[i, k] * b[k], axis: k) }
        let s = te.createSchedule(c)
        let (io, ii) = s[c].split(c.axis[0], factor: 4)
        let (ko, ki) = s[c].split(k, factor: 3)
        s[c].reorder(io, ko, ii, ki)
        s[c].tensorize(ii, try matrixVector(4, 3, reset: reset))
        try expectSame(s)
        _ = io
    }

    @Test func wholeReduction() throws {
        let a = te.placeholder([8, 6], name: "A"), b = te.placeholder([6], name: "B")
        let k = te.reduceAxis(0..<6, name: "k")
        let c = te.compute([8], name: "C") { i in te.sum(a[i, k] * b[k], axis: k) }
        let s = te.createSchedule(c)
        let (_, ii) = s[c].split(c.axis[0], factor: 4)
        s[c].tensorize(ii, try matrixVector(4, 6))
        try expectSame(s)
    }

    @Test func anotherComputationIsRefused() throws {
        let a = te.placeholder([8, 16], name: "A"), b = te.placeholder([8, 16], name: "B")
        let c = te.compute([8, 16], name: "C") { i, j in a[i, j] * b[i, j] }
        let s = te.createSchedule(c)
        let (_, ji) = s[c].split(c.axis[1], factor: 4)
        s[c].tensorize(ji, try vectorAdd(4))
        let e = #expect(throws: ApusError.self) { try s.check() }
        #expect(e?.code == "SCH098" && e?.context.first == "stage: C")
    }

    @Test func cachedTensorComputation() throws {
        let v = try vectorAdd(4)
        let a = te.placeholder([6, 8], name: "A"), b = te.placeholder([8], name: "B")
        let c = te.compute([6, 4], name: "C") { i in v(a.region(i, 2..<6), b.region(0..<4)) }
        let s = te.createSchedule(c)
        let cached = s.cacheWrite(c, "local")
        s[cached].computeAt(s[c], s[c].axis[0])
        s[c].vectorize(s[c].axis[1])
        try expectSame(s)
        let t = te.createSchedule(c)
        t[c].parallel(c.axis[0])
        try expectSame(t)
    }
}

@Suite struct ScanScheduleTests {
    @Test func stagesOfTheStep() throws {
        let (m, n) = (6, 8)
        let x = te.placeholder([m, n], name: "X")
        let state = te.placeholder([m, n], name: "state")
        let initial = te.compute([1, n], name: "first") { _, i in x[0, i] }
        let half = te.compute([m, n], name: "half") { t, i in state[t - 1, i] * te.const(0.5) }
        let more = te.compute([m, n], name: "more") { t, i in half[t, i] + x[t, i] }
        let result = te.scan(initial, more, state, inputs: [x], name: "S")
        let s = te.createSchedule(result)
        try expectSame(s)
        let (o, i) = s[more].split(more.axis[1], factor: 4)
        s[more].vectorize(i)
        s[half].computeAt(s[more], o)
        s[initial].vectorize(initial.axis[1])
        try expectSame(s)
        s[half].computeInline()
        try expectSame(s)
        #expect(s[half].attachType == .inline)
        let t = te.createSchedule(result)
        #expect(t[half].attachType == .scanUpdate)
        t[half].parallel(half.axis[1])
        t[more].fuse(more.axis[0], more.axis[1])
        try expectSame(t)
    }

    @Test func stagesOutsideComeInWhereTheyAreAttached() throws {
        let (m, n) = (5, 4)
        let x = te.placeholder([m, n], name: "X")
        let twice = te.compute([m, n], name: "twice") { t, i in x[t, i] * 2 }
        let state = te.placeholder([m, n], name: "state")
        let initial = te.compute([1, n], name: "first") { _, i in x[0, i] }
        let more = te.compute([m, n], name: "more") { t, i in state[t - 1, i] + twice[t, i] }
        let result = te.scan(initial, more, state, name: "S")
        for place in 0..<4 {
            let s = te.createSchedule(result)
            switch place {
            case 0: s[twice].computeInline()
            case 1: s[twice].computeAt(s[more], more.axis[1])
            case 2: s[twice].computeAt(s[result], (result.op as? ScanOp)?.scanAxis ?? more.axis[0])
            default: s[twice].parallel(twice.axis[0])
            }
            try expectSame(s)
        }
    }

    @Test func cachesOfWhatTheStepReads() throws {
        let (m, n) = (5, 4)
        let x = te.placeholder([m, n], name: "X")
        let state = te.placeholder([m, n], name: "state")
        let initial = te.compute([1, n], name: "first") { _, i in x[0, i] }
        let k = te.reduceAxis(0..<n, name: "k")
        let more = te.compute([m, n], name: "more") { t, i in te.sum(state[t - 1, k] * x[t, i], axis: k) }
        let result = te.scan(initial, more, state, name: "S")
        let s = te.createSchedule(result)
        let cached = s.cacheRead(x, "local", [more])
        try expectSame(s)
        s[cached].computeAt(s[more], more.axis[0])
        try expectSame(s)
        let held = s.cacheRead(state, "local", [more])
        try expectSame(s)
        s[held].computeAt(s[more], more.axis[0])
        try expectSame(s)
        let write = s.cacheWrite(more, "local")
        s[write].computeAt(s[more], s[more].axis[1])
        try expectSame(s)
    }

    @Test func stepsStayInOrder() throws {
        let state = te.placeholder([8], name: "state")
        let initial = te.compute([1], name: "first") { _ in te.const(1.0) }
        let more = te.compute([8], name: "more") { t in state[t - 1] + 1 }
        let result = te.scan(initial, more, state, name: "S")
        let axis = try #require((result.op as? ScanOp)?.scanAxis)
        let s = te.createSchedule(result)
        s[result].split(axis, factor: 3)
        s[result].envThreads([te.threadAxis("blockIdx.x"), te.threadAxis("threadIdx.x")])
        #expect(s.asTIR.contains("\"env_threads\": [\"blockIdx.x\", \"threadIdx.x\"]"), "\(s.asTIR)")
        try expectSame(s)
        let t = te.createSchedule(result)
        t[result].parallel(axis)
        #expect(errorCode { try t.check() } == "SCH040")
        let u = te.createSchedule(result)
        u[result].reorder(axis)
        #expect(u.errors.first?.code == "TE033")
    }
}
