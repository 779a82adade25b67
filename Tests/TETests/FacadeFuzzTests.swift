import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTestSupport
import Testing

/// A random program: a chain of stages over matrices and vectors, reductions, stencils, broadcasts, scans, statements.
private struct RandomProgram {
    var tensors: [Tensor] = []
    var used: Set<Int> = []
    var random: SeededRandom

    init(_ random: SeededRandom) {
        self.random = random
        let m = 1 + self.random.below(7)
        let n = 1 + self.random.below(9)
        tensors = [te.placeholder([m, n], name: "X"), te.placeholder([n], name: "Y")]
        for i in 0..<(2 + self.random.below(4)) { add("S\(i)") }
        // Every draw may be a stage that the shapes do not allow: a program without a result is none.
        if tensors.count == 2 {
            let x = tensors[0]
            tensors.append(te.compute([m, n], name: "S") { i, j in x[i, j] + 1 })
        }
    }

    mutating func matrix() -> Tensor? {
        let found = tensors.indices.filter { tensors[$0].rank == 2 }
        guard let i = random.pick(found.suffix(4)) else { return nil }
        used.insert(i)
        return tensors[i]
    }

    mutating func add(_ name: String) {
        guard let x = matrix(), let shape = x.staticShape else { return }
        let (m, n) = (shape[0], shape[1])
        switch random.below(11) {
        case 0: tensors.append(te.compute([m, n], name: name) { i, j in x[i, j] + 1 })
        case 1: tensors.append(te.compute([n, m], name: name) { i, j in x[j, i] * 2 })
        case 2:
            let k = te.reduceAxis(0..<n, name: "k")
            let r = te.compute([m], name: name) { i in te.sum(x[i, k], axis: k) }
            tensors.append(te.compute([m, n], name: "\(name)b") { i, j in r[i] - x[i, j] })
            used.formUnion([tensors.count - 1].filter { _ in false })
        case 3:
            guard let y = matrix(), let other = y.staticShape else { return }
            let l = min(n, other[0])
            let k = te.reduceAxis(0..<l, name: "k")
            tensors.append(
                te.compute([m, other[1]], name: name) { i, j in te.sum(x[i, k] * y[k, j], axis: k) })
        case 4 where n >= 3:
            tensors.append(
                te.compute([m, n - 2], name: name) { i, j in x[i, j] + x[i, j + 1] - x[i, j + 2] })
        case 5:
            tensors.append(
                te.compute([m + 2, n], name: name) { i, j in
                    ifThenElse(and(i .>= te.const(1), i .< te.const(m + 1)), x[i - 1, j], te.const(0.0))
                })
        case 6:
            let k = te.reduceAxis(0..<n, name: "k")
            let both = te.computeTuple([m], name: name) { i in te.argmax(k.variable, x[i, k], axis: k) }
            tensors.append(te.compute([m, n], name: "\(name)b") { i, j in x[i, j] - both[1][i] })
        case 7:
            let state = te.placeholder([m, n], name: "\(name)_state")
            let initial = te.compute([1, n], name: "\(name)_init") { _, j in x[0, j] }
            let half = te.compute([m, n], name: "\(name)_half") { t, j in state[t - 1, j] * te.const(0.5) }
            let next = te.compute([m, n], name: "\(name)_next") { t, j in half[t, j] + x[t, j] }
            tensors.append(te.scan(initial, next, state, inputs: [x], name: name))
        case 8:
            let both = te.computeTuple([m, n], name: name) { i, j in [x[i, j] + 1, x[i, j] * 3] }
            tensors.append(te.compute([m, n], name: "\(name)b") { i, j in both[0][i, j] - both[1][i, j] })
        case 9:
            let e = te.extern([(shape: [m, n], dtype: .float32)], inputs: [x], name: name) { ins, outs in
                forEachIndex([te.const(m), te.const(n)]) {
                    BufferStore(outs[0], BufferLoad(ins[0], $0) * 2, $0)
                }
            }
            tensors.append(e[0])
        default:
            let k = te.reduceAxis(0..<2, name: "k"), l = te.reduceAxis(0..<2, name: "l")
            guard m >= 2, n >= 2 else { return }
            tensors.append(
                te.compute([m / 2, n / 2], name: name) { i, j in te.max(x[i * 2 + k, j * 2 + l], axis: k, l) }
            )
        }
    }

    /// What nothing reads.
    var outputs: [Tensor] {
        let read = Set(
            tensors.indices.filter { i in
                tensors.contains { t in
                    !t.isSame(as: tensors[i]) && t.op.inputTensors.contains { $0.isSame(as: tensors[i]) }
                }
            })
        let open = tensors.indices.filter { !read.contains($0) && !(tensors[$0].op is PlaceholderOp) }
        return open.map { tensors[$0] }
    }
}

/// Random calls of the facade, in any order, of which many are wrong.
private struct RandomCalls {
    var random: SeededRandom
    let s: TESchedule
    /// Axes that were axes once.
    var old: [IterVar] = []
    /// What was called, for the message of a failure.
    var history: [String] = []

    mutating func stage() -> Stage? { random.pick(s.stages) }

    mutating func axis(_ stage: Stage) -> IterVar? {
        if random.below(30) == 0 { return random.pick(old) }
        return random.pick(stage.leafIterVars)
    }

    mutating func factor() -> Int { random.below(40) == 0 ? 0 : 1 + random.below(5) }

    mutating func call() {
        guard let st = stage() else { return }
        old.append(contentsOf: st.leafIterVars)
        let kind = random.below(20)
        history.append("\(kind): \(st.op.name)")
        switch kind {
        case 0, 1: if let a = axis(st) { st.split(a, factor: factor()) }
        case 2: if let a = axis(st) { st.split(a, nparts: factor()) }
        case 3, 4:
            let i = random.below(max(st.leafIterVars.count, 1))
            if i + 1 < st.leafIterVars.count { st.fuse(st.leafIterVars[i], st.leafIterVars[i + 1]) }
        case 5, 6:
            var axes = st.leafIterVars
            axes.shuffle(using: &random)
            st.reorder(Array(axes.prefix(2 + random.below(3))))
        case 7: if let a = axis(st), let b = axis(st) { st.tile(a, b, factor(), factor()) }
        case 8, 9, 10:
            let readers = s.stages.filter { r in r.op.inputTensors.contains { t in s.stageMap[t.op] === st } }
            if let r = random.below(8) == 0 ? stage() : random.pick(readers),
                let a = random.pick(r.leafIterVars)
            {
                st.computeAt(r, a)
            }
        case 11: if !st.isOutput { st.computeInline() }
        case 12: st.computeRoot()
        case 13:
            guard let a = axis(st) else { return }
            switch random.below(4) {
            case 0: st.vectorize(a)
            case 1: st.unroll(a)
            case 2: st.parallel(a)
            default: st.bind(a, te.threadAxis("threadIdx.x"))
            }
        case 14:
            let t = st.originOp.output(0)
            s.cacheRead(t, random.below(2) == 0 ? "local" : "global")
        case 15: if st.op.outputCount == 1 { s.cacheWrite(st.originOp.output(0), "local") }
        case 16:
            let t = st.originOp.output(0)
            if let a = st.leafIterVars.last(where: { $0.iterType == .commReduce }) {
                s.rfactorTuple(t, a, factorAxis: random.below(2))
            }
        case 17: if let a = axis(st) { st.pragma(a, "unroll_explicit") }
        case 18:
            if random.below(2) == 0 {
                st.setScope("local")
            } else if let a = st.op.axis.first {
                st.storageAlign(a, factor: 8, offset: 1)
            }
        default: if random.below(3) == 0 { st.fuse() } else { autoInlineElemWise(s) }
        }
    }
}

@Suite struct FacadeFuzzTests {
    /// Every schedule that is not refused computes what the unscheduled program does; what is refused has a code.
    @Test func fuzzRandomSchedules() throws {
        let run = FuzzRun("te.facade", cases: 1000)
        var differences = 0
        var refused = 0
        while let seed = run.next() {
            let program = RandomProgram(SeededRandom(seed: seed))
            let outputs = program.outputs
            let s = te.createSchedule(outputs)
            let arguments = s.defaultArguments
            let plain = try te.createPrimFunc(arguments)
            var calls = RandomCalls(random: SeededRandom(seed: seed ^ 0x5eed), s: s)
            // Schedules grow; the last that is legal counts, so that the wrong calls do not hide the right ones.
            var good = s.copy()
            for _ in 0..<(1 + calls.random.below(14)) {
                let before = calls.s.copy()
                calls.call()
                do {
                    try calls.s.check()
                    good = calls.s.copy()
                } catch let e as ApusError {
                    refused += 1
                    #expect(
                        !e.code.isEmpty && !e.context.isEmpty, "seed \(seed): \(e)\n\(calls.history)")
                    let history = calls.history.dropLast()
                    calls = RandomCalls(random: calls.random, s: before)
                    calls.history = Array(history)
                }
            }
            do {
                let f = try good.lowered(arguments, decompose: seed % 2 == 0)
                try verifyWellFormed(f)
                if let d = try difference(plain, f, seed: seed, tolerance: 1e-3) {
                    differences += 1
                    Issue.record("seed \(seed): \(d)\n\(calls.history)\n\(f)\n\(plain)")
                }
            } catch {
                differences += 1
                Issue.record("seed \(seed): \(error)\n\(good.asTIR)")
            }
            if differences > 3 { break }
        }
        run.finish(differences: differences, "refused \(refused)")

    }

}
