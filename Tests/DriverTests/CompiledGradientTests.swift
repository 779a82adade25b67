import ApusDriver
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTarget
import Testing

/// Gradients as compiled code: against central differences of the compiled function, and against the interpreter.
@Suite struct CompiledGradientTests {
    private typealias Given = (tensor: Tensor, values: [Double])

    private func numbers(_ n: Int, _ seed: Int) -> [Double] {
        var state = UInt64(truncatingIfNeeded: seed) &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678
        return (0..<n).map { _ in
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return -1 + 2 * Double(state >> 11) / Double(1 << 53)
        }
    }

    private func size(_ t: Tensor) throws -> Int { try #require(t.staticShape).reduce(1, *) }

    private func arrays(_ inputs: [Given], _ outputs: [Tensor]) throws -> [NDArray] {
        try inputs.map { NDArray($0.values, shape: try #require($0.tensor.staticShape)) }
            + outputs.map { try NDArray.allocate(shape: try #require($0.staticShape), dtype: .float64) }
    }

    /// Results of a schedule compiled by LLVM.
    private func compiled(_ s: TESchedule, _ inputs: [Given], _ outputs: [Tensor]) throws -> ([Given]) throws
        -> [[Double]]
    {
        let f = try build(s, inputs.map { $0.tensor } + outputs, target: .host)["main"]
        return { given in
            let list = try self.arrays(given, outputs)
            _ = try f.call(list.map { $0.asValue })
            return try list.dropFirst(given.count).map { try $0.toDoubles() }
        }
    }

    /// `schedule` may change the loops of the gradients.
    private func expectCompiledGradient(
        _ output: Tensor, _ inputs: [Tensor], _ schedule: (TESchedule, [Tensor]) -> Void = { _, _ in },
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let head = placeholder(output.shape, output.dtype, name: "head")
        let weights = numbers(try size(output), 3)
        var given: [Given] = try inputs.enumerated().map {
            (tensor: $1, values: numbers(try size($1), 11 + $0))
        }
        let grads = try gradient(output, inputs, head: head)
        let s = te.createSchedule(grads)
        schedule(s, grads)
        let all = given + [(tensor: head, values: weights)]
        let found = try compiled(s, all, grads)(all)
        // The interpreter, on plain loops.
        let list = try arrays(all, grads)
        try TIRInterpreter.run(createPrimFunc(all.map { $0.tensor } + grads), list)
        for (x, y) in zip(found, list.dropFirst(all.count)) {
            for (p, q) in zip(x, try y.toDoubles()) {
                #expect(abs(p - q) <= 1e-9 * max(1, abs(q)), sourceLocation: sourceLocation)
            }
        }
        let forward = try compiled(te.createSchedule(output), given, [output])
        func loss() throws -> Double {
            zip(try forward(given)[0], weights).reduce(0.0) { $0 + $1.0 * $1.1 }
        }
        let step = 1e-5
        for k in inputs.indices {
            for i in given[k].values.indices {
                let x = given[k].values[i]
                given[k].values[i] = x + step
                let up = try loss()
                given[k].values[i] = x - step
                let down = try loss()
                given[k].values[i] = x
                let expected = (up - down) / (2 * step)
                #expect(
                    abs(found[k][i] - expected) <= 1e-6 * max(1, abs(expected)),
                    "\(inputs[k].op.name)[\(i)]: \(found[k][i]) is not \(expected)",
                    sourceLocation: sourceLocation)
            }
        }
    }

    private func input(_ shape: [Int], _ name: String) -> Tensor { placeholder(shape, .float64, name: name) }

    private func dense(_ x: Tensor, _ w: Tensor) throws -> Tensor {
        let k = reduceAxis(x.shape[1], name: "k")
        return try compute([x.shape[0], w.shape[0]], name: "dense") {
            reduceSum(x[$0[0], k.variable] * w[$0[1], k.variable], [k])
        }
    }

    @Test func elementwise() throws {
        let a = input([5, 7], "A")
        try expectCompiledGradient(
            compute([5, 7], name: "B") {
                tanh(a[$0]) * exp(a[$0] * const(0.5, .float64)) + sqrt(a[$0] * a[$0] + const(1.0, .float64))
            },
            [a])
    }

    @Test("a layer of a network, its gradients tiled, vectorised and in parallel")
    func denseTanh() throws {
        let (x, w) = (input([4, 6], "X"), input([8, 6], "W"))
        let d = try dense(x, w)
        let y = try compute([4, 8], name: "Y") { tanh(d[$0]) }
        try expectCompiledGradient(y, [x, w]) { s, grads in
            for g in grads {
                let (outer, inner) = s[g].split(g.op.axis[1], factor: 4)
                _ = outer
                s[g].vectorize(inner)
                s[g].parallel(g.op.axis[0])
            }
        }
    }

    @Test func softmaxOfRows() throws {
        let a = input([3, 6], "A")
        let k = reduceAxis(6, name: "k"), l = reduceAxis(6, name: "l")
        let top = try compute([3], name: "top") { reduceMax(a[$0[0], k.variable], [k]) }
        let e = try compute([3, 6], name: "exps") { exp(a[$0] - top[$0[0]]) }
        let sum = try compute([3], name: "sum") { reduceSum(e[$0[0], l.variable], [l]) }
        try expectCompiledGradient(compute([3, 6], name: "softmax") { e[$0] / sum[$0[0]] }, [a])
    }

    @Test("a convolution of stride 2 with padding", arguments: [1, 2])
    func convolution(_ stride: Int) throws {
        let (x, w) = (input([1, 2, 5, 5], "X"), input([3, 2, 3, 3], "W"))
        let padded = try compute([1, 2, 7, 7], name: "padded") { i in
            let inside = all([i[2] .>= const(1), i[2] .< const(6), i[3] .>= const(1), i[3] .< const(6)])
            return ifThenElse(inside, x[i[0], i[1], i[2] - 1, i[3] - 1], const(0.0, .float64))
        }
        let (rc, ry, rx) = (reduceAxis(2, name: "rc"), reduceAxis(3, name: "ry"), reduceAxis(3, name: "rx"))
        let n = 4 / stride + 1
        let y = try compute([1, 3, n, n], name: "conv") { i in
            reduceSum(
                padded[i[0], rc.variable, i[2] * stride + ry.variable, i[3] * stride + rx.variable]
                    * w[i[1], rc.variable, ry.variable, rx.variable], [rc, ry, rx])
        }
        try expectCompiledGradient(y, [x, w])
    }

    @Test("the derivative of a derivative")
    func secondOrder() throws {
        let a = input([4], "A")
        let b = try compute([4], name: "B") { a[$0] * a[$0] * a[$0] }
        let ones = try compute([4], name: "ones") { _ in const(1.0, .float64) }
        try expectCompiledGradient(gradient(b, [a], head: ones)[0], [a])
    }
}
