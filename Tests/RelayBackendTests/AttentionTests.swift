import ApusIR
import ApusRelay
import ApusRelayBackend
import ApusRuntime
import ApusTarget
import Testing

/// Models with attention, with and without the pass that makes one kernel of it.
@Suite struct FusedAttentionTests {
    init() { OpStrategies.registerAll() }

    /// A layer of attention over 3 heads of 16 numbers.
    ///
    /// - Parameter form: how queries, keys and values come about.
    private func layer(rows: Int, form: Int) throws -> Relay.Function {
        let (count, depth) = (3, 16)
        let width = count * depth
        let x = Relay.Var("x", shape: [rows, width])
        func weight(_ units: Int, _ seed: UInt64) -> RelayExpr {
            Relay.Constant(NDArray.random(shape: [units, width], seed: seed))
        }
        func heads(_ e: RelayExpr, _ axes: [Int]) throws -> RelayExpr {
            let parts = try Relay.call("reshape", [e], ["newshape": .ints([rows, count, depth])])
            return try Relay.call("transpose", [parts], ["axes": .ints(axes)])
        }
        var parts: [RelayExpr]
        if form == 0 {
            parts = try (0..<3).map { try Relay.call("nn.dense", [x, weight(width, UInt64($0))]) }
        } else {
            let all = try Relay.call("nn.dense", [x, weight(3 * width, 5)])
            let pieces = try Relay.call(
                "split", [all], ["indices_or_sections": .ints([width, 2 * width]), "axis": 1])
            parts = try (0..<3).map { try Relay.TupleGetItem(pieces, $0) }
        }
        if form == 2 {
            // Something between the layer and the heads, as with rotated positions.
            parts[1] = try Relay.call("tanh", [parts[1]])
        }
        let q = try Relay.call(
            "multiply", [try heads(parts[0], [1, 0, 2]), try Relay.scalar(0.25, .float32)])
        let product = try Relay.call(
            "nn.batch_matmul", [q, try heads(parts[1], [1, 2, 0])], ["transpose_b": false])
        let mask = Relay.Constant(NDArray.random(shape: form == 1 ? [rows, rows] : [rows], seed: 9))
        let weights = try Relay.call("nn.softmax", [try Relay.call("add", [product, mask])], ["axis": 2])
        let sums = try Relay.call(
            "nn.batch_matmul", [weights, try heads(parts[2], [1, 0, 2])], ["transpose_b": false])
        let back = try Relay.call("transpose", [sums], ["axes": .ints([1, 0, 2])])
        let flat = try Relay.call("reshape", [back], ["newshape": .ints([rows, width])])
        return Relay.Function([x], try Relay.call("nn.dense", [flat, weight(width, 7)]))
    }

    @Test(arguments: [37, 130], [0, 1, 2])
    func agreesWithoutThePass(rows: Int, form: Int) throws {
        let module = IRModule(try layer(rows: rows, form: form))
        let input = NDArray.random(shape: [rows, 48], seed: 4)
        func run(_ disabled: Set<String>) throws -> (values: [Double], kernels: [String]) {
            let model = try compile(
                module, CompileOptions(target: .host, disabledPasses: disabled))
            let executor = try model.executor()
            try executor.setInput(0, input)
            try executor.run()
            return (try executor.output(0).toDoubles(), model.kernels.map(\.name))
        }
        let plain = try run(["FuseAttention"])
        let scale = plain.values.map { abs($0) }.max() ?? 0
        let fused = try run([])
        #expect(zip(fused.values, plain.values).allSatisfy { abs($0 - $1) <= 1e-5 * scale })
        #expect(fused.kernels.contains { $0.contains("nn_attention") })
        #expect(!fused.kernels.contains { $0.contains("softmax") || $0.contains("transpose") })
    }

    @Test("a row alone keeps its kernels")
    func decoding() throws {
        let model = try compile(IRModule(try layer(rows: 1, form: 0)), CompileOptions(target: .host))
        #expect(!model.kernels.contains { $0.name.contains("nn_attention") })
    }
}
