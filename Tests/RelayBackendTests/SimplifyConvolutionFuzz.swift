import ApusIR
import ApusRelay
import ApusRelayBackend
import ApusRelayTransforms
import ApusRuntime
import ApusSupport
import ApusTarget
import ApusTestSupport
import Testing

/// Convolutions of random kind and shape compute the same once they are simplified; the interpreter does both.
@Suite struct SimplifyConvolutionFuzz {
    @Test func random() throws {
        Relay.registerAll()
        let run = FuzzRun("relay.simplifyConvolution", cases: 40)
        var differences = 0
        var rewritten = 0
        while let seed = run.next() {
            var r = SeededRandom(seed: seed)
            let function = try Self.convolution(&r)
            let simplified = try simplifyConvolution(lanes: r.below(2) == 0 ? 4 : 8).run(
                IRModule(function), PassContext())
            let new = try #require(simplified.function("main") as? Relay.Function)
            if new !== function { rewritten += 1 }
            var inputs: [NDArray] = []
            for (i, p) in function.params.enumerated() {
                let shape = try #require(p.tensorType?.staticShape)
                inputs.append(NDArray.random(shape: shape, seed: seed &+ UInt64(i)))
            }
            let expected = try interpret(function, inputs, target: .host)[0]
            let actual = try interpret(new, inputs, target: .host)[0]
            let same = zip(try actual.toDoubles(), try expected.toDoubles()).allSatisfy {
                abs($0 - $1) <= 1e-4
            }
            if actual.shape != expected.shape || !same {
                differences += 1
                Issue.record("seed \(seed): \(Relay.text(IRModule(function)))\n\(Relay.text(simplified))")
            }
        }
        run.finish(differences: differences, "rewritten \(rewritten)")
    }

    private static func convolution(_ r: inout SeededRandom) throws -> Relay.Function {
        let axes = 1 + r.below(3)
        let isTransposed = r.below(2) == 0
        let groups = [1, 1, 2, 3, 4, 8][r.below(6)]
        let inputs = groups * (1 + r.below(3))
        let outputs = groups * (1 + r.below(3))
        var data = [1 + r.below(2), inputs]
        var kernel: [Int] = []
        var strides: [Int] = []
        var dilation: [Int] = []
        var begins: [Int] = []
        var ends: [Int] = []
        var extra: [Int] = []
        for _ in 0..<axes {
            kernel.append(1 + r.below(4))
            strides.append(1 + r.below(3))
            dilation.append([1, 1, 1, 2, 5, 9][r.below(6)])
            data.append(1 + r.below(7))
            let window = dilation[dilation.count - 1] * (kernel[kernel.count - 1] - 1)
            // With as much padding as the window is wide some taps may meet nothing else.
            begins.append(r.below(3) == 0 ? window : r.below(min(window, 3) + 1))
            ends.append(r.below(3) == 0 ? window : r.below(min(window, 3) + 1))
            extra.append(r.below(3))
        }
        // A window must fit.
        for i in 0..<axes {
            let padding = isTransposed ? 0 : begins[i] + ends[i]
            data[2 + i] = max(data[2 + i], dilation[i] * (kernel[i] - 1) + 1 - padding)
        }
        var attrs: [(key: String, value: AttrValue)] = [
            (key: "kernel_size", value: .ints(kernel)), (key: "strides", value: .ints(strides)),
            (key: "dilation", value: .ints(dilation)), (key: "padding", value: .ints(begins + ends)),
            (key: "groups", value: .int(groups)), (key: "channels", value: .int(outputs)),
        ]
        if isTransposed { attrs.append((key: "output_padding", value: .ints(extra))) }
        let x = Relay.Var("x", TensorType(data, .float32))
        let shape = isTransposed ? [inputs, outputs / groups] : [outputs, inputs / groups]
        let w = Relay.Var("w", TensorType(shape + kernel, DataType.float32))
        let name = "nn.conv\(axes)d" + (isTransposed ? "_transpose" : "")
        return Relay.Function([x, w], try Relay.call(name, [x, w], attrs: Attrs(attrs)))
    }
}
