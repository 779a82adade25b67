import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import Testing

/// Running sums along the first axis.
private func cumulative(_ m: Int, _ n: Int) -> (x: Tensor, result: Tensor, update: Tensor, initial: Tensor) {
    let x = te.placeholder([m, n], name: "X")
    let state = te.placeholder([m, n], name: "state")
    let initial = te.compute([1, n], name: "init") { _, i in x[0, i] }
    let update = te.compute([m, n], name: "update") { t, i in state[t - 1, i] + x[t, i] }
    return (x, te.scan(initial, update, state, inputs: [x], name: "S"), update, initial)
}

@Suite struct ScanTests {
    @Test func text() throws {
        let p = cumulative(5, 3)
        let f = try createPrimFunc([p.x, p.result])
        let text = """
            @T.prim_func
            def main(X: T.Buffer((5, 3), "float32"), S: T.Buffer((5, 3), "float32")):
                T.func_attr({"global_symbol": "main", "tir.noalias": True})
                with T.block("root"):
                    for i0, i1 in T.grid(1, 3):
                        with T.block("S"):
                            v_i0, v_i1 = T.axis.remap("SS", [i0, i1])
                            T.reads(X[0, v_i1])
                            T.writes(S[v_i0, v_i1])
                            S[v_i0, v_i1] = X[0, v_i1]
                    for t in range(4):
                        with T.block("S_step"):
                            v_t = T.axis.ordered((1, 5), t + 1)
                            state = T.match_buffer(S[0:5, 0:3], (5, 3), "float32", align=0)
                            T.reads(X[0:5, 0:3], S[0:v_t, 0:3])
                            T.writes(S[v_t, 0:3])
                            for i1 in range(3):
                                with T.block("S_1"):
                                    v_i0 = T.axis.spatial(5, v_t)
                                    v_i1 = T.axis.remap("S", [i1])
                                    T.reads(state[v_i0 - 1, v_i1], X[v_i0, v_i1])
                                    T.writes(S[v_i0, v_i1])
                                    S[v_i0, v_i1] = state[v_i0 - 1, v_i1] + X[v_i0, v_i1]
            """
        #expect(f.description.hasPrefix(text), "\(f)")
    }

    @Test(arguments: [(2, 1), (5, 3), (9, 4)])
    func runningSums(_ s: (Int, Int)) throws {
        let p = cumulative(s.0, s.1)
        let x = NDArray.random(shape: [s.0, s.1], seed: 4)
        let v = try x.toDoubles()
        let y = try run([p.result], [(p.x, x)])[0].toDoubles()
        for i in 0..<s.1 {
            var sum = 0.0
            for t in 0..<s.0 {
                sum += v[t * s.1 + i]
                #expect(abs(y[t * s.1 + i] - sum) < 1e-4)
            }
        }
    }

    @Test func fibonacciHasTwoStepsGiven() throws {
        let state = te.placeholder([10], .int64, name: "F")
        let initial = te.compute([2], name: "one") { _ in te.const(1) }
        let update = te.compute([10], name: "next") { t in state[t - 1] + state[t - 2] }
        let f = te.scan(initial, update, state)
        let y = try run([f], [])[0].toArray(Int64.self)
        #expect(y == [1, 1, 2, 3, 5, 8, 13, 21, 34, 55])
    }

    @Test func intermediateStagesAreComputedForTheStep() throws {
        let (m, n) = (6, 4)
        let x = te.placeholder([m, n], name: "X")
        let state = te.placeholder([m, n], name: "state")
        let initial = te.compute([1, n], name: "init") { _, i in x[0, i] }
        let s1 = te.compute([m, n], name: "s1") { t, i in state[t - 1, i] * te.const(0.5) }
        let k = te.reduceAxis(0..<n)
        let mean = te.compute([m], name: "mean") { t in te.sum(s1[t, k], axis: k) }
        let update = te.compute([m, n], name: "update") { t, i in mean[t] + x[t, i] - s1[t, i] }
        let result = te.scan(initial, update, state, inputs: [x], name: "S")
        let f = try createPrimFunc([x, result])
        // One row a step, not the whole of it.
        #expect(!f.description.contains("T.grid(6, 4)"), "\(f)")
        let input = NDArray.random(shape: [m, n], seed: 9)
        let v = try input.toDoubles()
        let y = try run([result], [(x, input)])[0].toDoubles()
        var now = Array(v[0..<n])
        for t in 1..<m {
            let half = now.map { $0 * 0.5 }
            let sum = half.reduce(0, +)
            now = (0..<n).map { sum + v[t * n + $0] - half[$0] }
            for i in 0..<n { #expect(abs(y[t * n + i] - now[i]) < 1e-4) }
        }
    }

    @Test func initialValuesMayBeInputs() throws {
        let h = te.placeholder([1, 3], name: "h")
        let state = te.placeholder([4, 3], name: "state")
        let update = te.compute([4, 3], name: "update") { t, i in state[t - 1, i] * te.const(2.0) }
        let s = te.scan(h, update, state, name: "S")
        let y = try run([s], [(h, NDArray([Float(1), 2, 3], shape: [1, 3]))])[0].toArray(Float.self)
        #expect(y == [1, 2, 3, 2, 4, 6, 4, 8, 12, 8, 16, 24])
    }

    @Test func severalStates() throws {
        // A long short-term memory cell without weights on the gates: two states, gates that both read.
        let (m, n) = (5, 3)
        let x = te.placeholder([m, n], name: "X")
        let c = te.placeholder([m, n], name: "c")
        let h = te.placeholder([m, n], name: "h")
        let c0 = te.compute([1, n], name: "c0") { _, _ in te.const(0.0) }
        let h0 = te.compute([1, n], name: "h0") { _, _ in te.const(0.0) }
        let k = te.reduceAxis(0..<n)
        let mixed = te.compute([m, n], name: "mixed") { t, i in te.sum(h[t - 1, k], axis: k) }
        let gate = te.compute([m, n], name: "gate") { t, i in sigmoid(x[t, i] + mixed[t, i]) }
        let nextC = te.compute([m, n], name: "nextC") { t, i in c[t - 1, i] * gate[t, i] + tanh(x[t, i]) }
        let nextH = te.compute([m, n], name: "nextH") { t, i in tanh(nextC[t, i]) * gate[t, i] }
        let out = te.scan([c0, h0], [nextC, nextH], [c, h], inputs: [x], name: "lstm")
        let input = NDArray.random(shape: [m, n], seed: 21)
        let v = try input.toDoubles()
        let y = try run(out, [(x, input)])
        let (cs, hs) = (try y[0].toDoubles(), try y[1].toDoubles())
        var (cc, hh) = ([Double](repeating: 0, count: n), [Double](repeating: 0, count: n))
        for t in 1..<m {
            let sum = hh.reduce(0, +)
            for i in 0..<n {
                let e = v[t * n + i]
                let g = 1 / (1 + exponential(-(e + sum)))
                cc[i] = cc[i] * g + tangent(e)
                hh[i] = tangent(cc[i]) * g
                #expect(abs(cs[t * n + i] - cc[i]) < 1e-4)
                #expect(abs(hs[t * n + i] - hh[i]) < 1e-4)
            }
        }
    }

    @Test func theResultIsReadByOthers() throws {
        let p = cumulative(4, 2)
        let last = te.compute([2], name: "last") { i in p.result[3, i] * te.const(2.0) }
        let x = NDArray((0..<8).map { Float($0) }, shape: [4, 2])
        #expect(try run([last], [(p.x, x)])[0].toArray(Float.self) == [24, 32])
    }

    @Test func aScanIsNotComputedWithinItsOwnStep() throws {
        let x = te.placeholder([4, 2], name: "X")
        let state = te.placeholder([4, 2], name: "state")
        let initial = te.compute([1, 2], name: "init") { _, i in x[0, i] }
        let update = te.compute([4, 2], name: "update") { t, i in state[t - 1, i] + x[t, i] }
        let r = te.scan(initial, update, state)
        let s = te.createSchedule(r)
        s[r].computeAt(s[update], update.axis[1])
        #expect(errorCode { try s.check() } == "TE036")
    }

    @Test func whatDoesNotFitIsNamed() throws {
        let x = te.placeholder([4, 2], name: "X")
        let state = te.placeholder([4, 2], name: "state")
        let initial = te.compute([1, 2], name: "init") { _, i in x[0, i] }
        let update = te.compute([4, 2], name: "update") { t, i in state[t - 1, i] + x[t, i] }
        func code(_ t: Tensor) -> String? { errorCode { _ = try createPrimFunc([x, t]) } }
        #expect(code(te.scan(initial, update, state)) == nil)
        #expect(code(te.scan(initial, update, initial)) == "TE019")
        #expect(code(te.scan(x, x, state)) == nil)
        #expect(code(te.scan(update, initial, state)) == "TE019")
        let five = te.compute([5, 2], name: "five") { _, i in x[0, i] }
        #expect(code(te.scan(five, update, state)) == "TE019")
        let ints = te.compute([4, 2], name: "ints") { _, _ in te.const(1) }
        #expect(code(te.scan(initial, ints, state)) == "TE019")
        let now = te.compute([4, 2], name: "now") { t, i in state[t, i] + x[t, i] }
        #expect(code(te.scan(initial, now, state)) == "TE021")
        #expect(te.scan([], [], []).isEmpty)
        // A stage of the step is not there outside of it.
        #expect(
            errorCode { _ = try createPrimFunc([x, te.scan(initial, update, state), update]) } == "TE003")
    }
}

private func exponential(_ x: Double) -> Double {
    // By squaring of (1 + x / 2^20), exact enough for a test.
    var r = 1 + x / 1048576
    for _ in 0..<20 { r *= r }
    return r
}
private func tangent(_ x: Double) -> Double { 1 - 2 / (exponential(2 * x) + 1) }
