import ApusDriver
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTarget
import Testing

/// What compiled code leaves in its parameters is what the unscheduled function leaves there by the interpreter.
private func expectCompiles(
    _ s: TESchedule, target: Target = .host, sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let arguments = s.defaultArguments
    let plain = try createPrimFunc(arguments: arguments)
    var expected: [NDArray] = []
    var found: [NDArray] = []
    for (i, entry) in plain.bufferMap.enumerated() {
        let shape = try #require(entry.buffer.staticShape)
        expected.append(NDArray.random(shape, entry.buffer.dtype, seed: UInt64(i)))
        found.append(NDArray.random(shape, entry.buffer.dtype, seed: UInt64(i)))
    }
    try TIRInterpreter.run(plain, expected)
    let f = try build(s, arguments, target: target)["main"]
    _ = try f.call(found.map { $0.asValue })
    for (x, y) in zip(expected, found) {
        for (p, q) in zip(try x.toDoubles(), try y.toDoubles()) {
            #expect(abs(p - q) <= 1e-4 * max(1, abs(p)), sourceLocation: sourceLocation)
        }
    }
}

private struct Product {
    let a: Tensor
    let b: Tensor
    let k: IterVar
    let c: Tensor

    init(_ m: Int, _ n: Int, _ l: Int) {
        let a = te.placeholder([m, l], name: "A"), b = te.placeholder([l, n], name: "B")
        let k = te.reduceAxis(0..<l, name: "k")
        self.a = a
        self.b = b
        self.k = k
        c = te.compute([m, n], name: "C") { i, j in te.sum(a[i, k] * b[k, j], axis: k) }
    }
}

@Suite struct BuildTests {
    @Test(arguments: [16, 64, 70]) func matmulOfTheExample(_ n: Int) throws {
        let p = Product(n, n, n)
        let s = te.createSchedule(p.c)
        let (io, jo, ii, ji) = s[p.c].tile(p.c.axis[0], p.c.axis[1], 14, 32)
        s[p.c].reorder(io, jo, p.k, ii, ji)
        s[p.c].vectorize(ji)
        s[p.c].unroll(ii)
        s[p.c].parallel(io)
        try expectCompiles(s)
    }

    @Test func cachesAndReductions() throws {
        let p = Product(24, 40, 18)
        let relu = te.compute([24, 40], name: "R") { i, j in maximum(p.c[i, j], te.const(0.0)) }
        let s = te.createSchedule(relu)
        let local = s.cacheWrite(p.c, "local")
        s[p.c].computeInline()
        let t = s[relu].tile(relu.axis[0], relu.axis[1], 6, 8)
        s[local].computeAt(s[relu], t.yOuter)
        let (ko, ki) = s[local].split(p.k, factor: 4)
        s[local].reorder(ko, ki, local.axis[0], local.axis[1])
        s[local].vectorize(local.axis[1]).unroll(local.axis[0])
        s[relu].vectorize(t.yInner).parallel(t.xOuter)
        let packed = s.cacheRead(p.b, "global", [local])
        s[packed].computeAt(s[local], ko)
        try expectCompiles(s)
    }

    @Test func factoredReductions() throws {
        let a = te.placeholder([6, 100], name: "A")
        let k = te.reduceAxis(0..<100, name: "k")
        let b = te.compute([6], name: "B") { i in te.sum(a[i, k], axis: k) }
        let s = te.createSchedule(b)
        let (_, ki) = s[b].split(k, factor: 8)
        let rf = s.rfactor(b, ki)
        s[rf].vectorize(rf.axis[0])
        try expectCompiles(s)
    }

    @Test func scans() throws {
        let (m, n) = (7, 12)
        let x = te.placeholder([m, n], name: "X")
        let state = te.placeholder([m, n], name: "state")
        let initial = te.compute([1, n], name: "first") { _, i in x[0, i] }
        let half = te.compute([m, n], name: "half") { t, i in state[t - 1, i] * te.const(0.5) }
        let more = te.compute([m, n], name: "more") { t, i in half[t, i] + x[t, i] }
        let s = te.createSchedule(te.scan(initial, more, state, inputs: [x], name: "S"))
        let (o, i) = s[more].split(more.axis[1], factor: 4)
        s[more].vectorize(i)
        s[half].computeAt(s[more], o)
        try expectCompiles(s)
    }

    @Test func tensorIntrinsics() throws {
        let x = te.placeholder([4], name: "x"), y = te.placeholder([4], name: "y")
        let z = te.compute([4], name: "z") { i in x[i] + y[i] }
        let add = try te.declTensorIntrin(z.op, name: "add4") { ins, outs, _ in
            IntrinsicForms(
                forEachIndex([te.const(4)]) {
                    BufferStore(outs[0], BufferLoad(ins[0], $0) + BufferLoad(ins[1], $0), $0)
                })
        }
        let a = te.placeholder([6, 8], name: "A"), b = te.placeholder([6, 8], name: "B")
        let c = te.compute([6, 8], name: "C") { i, j in a[i, j] + b[i, j] }
        let s = te.createSchedule(c)
        let (_, ji) = s[c].split(c.axis[1], factor: 4)
        s[c].tensorize(ji, add)
        try expectCompiles(s)
        let d = te.compute([6, 4], name: "D") { i in add(a.region(i, 2..<6), b.region(i, 0..<4)) }
        try expectCompiles(te.createSchedule(d))
    }

    @Test func unscheduledAndTheTargetC() throws {
        let p = Product(5, 6, 7)
        try expectCompiles(te.createSchedule(p.c))
        try expectCompiles(te.createSchedule(p.c), target: .c)
    }

    @Test func functionsAndModules() throws {
        let a = te.placeholder([4], name: "A")
        let b = te.compute([4], name: "B") { i in a[i] + 1 }
        let f = try te.createPrimFunc([a, b], name: "plus")
        let x = NDArray.zeros([4])
        let y = NDArray.zeros([4])
        try build(f)["plus"](x, y)
        #expect(try y.toArray(Float.self) == [1, 1, 1, 1])
        let module = try build([
            (target: .host, module: IRModule(f, name: "one")),
            (target: .host, module: IRModule(f, name: "two")),
        ])
        #expect(module.functionNames == ["one"])
        try module["two"](y, x)
        #expect(try x.toArray(Float.self) == [2, 2, 2, 2])
        #expect(try module.source(format: "ll").contains("define"))
        let s = te.createSchedule(b)
        #expect(try lower(s, [a, b]).globals.map(\.name) == ["main"])
        try build(s, [a, b], name: "named")["named"](x, y)
        #expect(try y.toArray(Float.self) == [3, 3, 3, 3])
    }

    @Test func scalarParameters() throws {
        let alpha = te.var("alpha", .int64)
        let a = te.placeholder([4], .int64, name: "A")
        let b = te.compute([4], name: "B") { i in a[i] * alpha }
        let f = try build(te.createSchedule(b), [a, alpha, b])["main"]
        let y = NDArray.zeros([4], .int64)
        try f(NDArray([Int64(1), 2, 3, 4]), 5, y)
        #expect(try y.toArray(Int64.self) == [5, 10, 15, 20])
    }

    @Test func errorsComeOutOfBuild() throws {
        let a = te.placeholder([4], name: "A")
        let b = te.compute([4], name: "B") { i in a[i, i] }
        func code(_ body: () throws -> Void) -> String? {
            do {
                try body()
                return nil
            } catch { return (error as? ApusError)?.code }
        }
        #expect(code { _ = try build(te.createSchedule(b), [a, b]) } == "TE010")
        let c = te.compute([4], name: "C") { i in a[i] }
        let s = te.createSchedule(c)
        s[c].split(c.axis[0], factor: 0)
        #expect(code { _ = try build(s, [a, c]) } == "TE032")
        #expect(code { _ = try build(te.createSchedule(c), [c]) } == "TE003")
        #expect(code { _ = try build(IRModule()) } == "TE045")
        #expect(code { _ = try build([] as [(target: Target, module: IRModule)]) } == "TE045")
    }
}
