import ApusDriver
import ApusIR
import ApusRelay
import ApusRelayBackend
import ApusRelayTransforms
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTOPI
import ApusTarget
import Testing

/// Convolutions by Winograd's method against the operator they stand for.
@Suite struct WinogradTests {
    init() { OpStrategies.registerAll() }

    struct Shape: Sendable, CustomStringConvertible {
        var batch = 1
        let channels: Int
        let outputs: Int
        let height: Int
        let width: Int
        var padding = [1, 1, 1, 1]
        let tile: Int
        var tail = true
        var description: String {
            "\(batch)x\(channels)x\(height)x\(width) to \(outputs), tile \(tile), padding \(padding), tail \(tail)"
        }
    }

    static let shapes: [Shape] = [
        // Whole tiles, ragged ones, tiles larger than the image, several images, padding on some sides only.
        Shape(channels: 16, outputs: 32, height: 8, width: 8, tile: 4),
        Shape(channels: 32, outputs: 16, height: 7, width: 10, tile: 4),
        Shape(channels: 16, outputs: 16, height: 3, width: 2, tile: 4, tail: false),
        Shape(batch: 2, channels: 16, outputs: 48, height: 9, width: 6, tile: 2),
        Shape(channels: 16, outputs: 16, height: 28, width: 28, tile: 4),
        Shape(batch: 3, channels: 16, outputs: 16, height: 14, width: 14, tile: 2, tail: false),
        Shape(channels: 16, outputs: 32, height: 12, width: 13, padding: [0, 0, 0, 0], tile: 4),
        Shape(channels: 16, outputs: 32, height: 12, width: 13, padding: [2, 0, 1, 1], tile: 2),
        Shape(channels: 32, outputs: 16, height: 8, width: 40, tile: 4),
    ]

    /// Taps apart: images, height and width, how far apart, padding; whether the method is used.
    static let dilated: [(Int, [Int], [Int], [Int], Bool)] = [
        (1, [12, 12], [2, 2], [2, 2, 2, 2], true), (2, [13, 15], [2, 3], [2, 3, 2, 3], true),
        (1, [20, 9], [4, 1], [0, 1, 4, 1], true), (1, [17, 16], [3, 3], [3, 0, 0, 6], true),
        // Padding that is no multiple; parts that would be mostly filling.
        (1, [12, 12], [2, 2], [1, 1, 1, 1], false), (1, [14, 14], [12, 12], [12, 12, 12, 12], false),
    ]

    /// Taps so far apart that the number of parts of the image fits no integer.
    @Test func tapsFarApart() throws {
        let far = 1 << 39
        let x = Relay.Var("x", shape: [1, 16, 4, 4])
        let weight = NDArray.random(shape: [16, 16, 3, 3], seed: 3)
        let plain = try Relay.call(
            "nn.conv2d", [x, Relay.Constant(weight)],
            [
                "kernel_size": .ints([3, 3]), "channels": 16, "padding": .ints([far, far, far, far]),
                "dilation": .ints([far, far]), "strides": .ints([1, 1]),
            ])
        #expect(throws: ApusError.self) {
            try alterOpLayout(lanes: 16) { _ in 4 }.run(IRModule(Relay.Function([x], plain)), PassContext())
        }
    }

    @Test(arguments: dilated)
    func tapsApart(_ c: (Int, [Int], [Int], [Int], Bool)) throws {
        let x = Relay.Var("x", shape: [c.0, 16] + c.1)
        let weight = NDArray.random(shape: [32, 16, 3, 3], seed: 3)
        let plain = try Relay.call(
            "nn.conv2d", [x, Relay.Constant(weight)],
            [
                "kernel_size": .ints([3, 3]), "channels": 32, "padding": .ints(c.3), "dilation": .ints(c.2),
                "strides": .ints([1, 1]),
            ])
        let function = Relay.Function([x], plain)
        let altered = try alterOpLayout(lanes: 16) { _ in 4 }.run(IRModule(function), PassContext())
        let new = try #require(altered.function("main") as? Relay.Function)
        let names = Relay.postOrder(new.body, intoFunctions: false).compactMap { ($0 as? Relay.Call)?.opName }
        #expect(names.contains("nn.contrib_conv2d_winograd_without_weight_transform") == c.4)
        let data = NDArray.random(shape: [c.0, 16] + c.1, seed: 5)
        let expected = try interpret(function, [data], target: .host)[0]
        let actual = try interpret(new, [data], target: .host)[0]
        #expect(actual.shape == expected.shape)
        #expect(zip(try actual.toDoubles(), try expected.toDoubles()).allSatisfy { abs($0 - $1) <= 1e-4 })
    }

    @Test(arguments: shapes)
    func agreesWithTheSum(_ s: Shape) throws {
        let block = 16
        let x = Relay.Var("x", shape: [s.batch, s.channels, s.height, s.width])
        let weight = NDArray.random(shape: [s.outputs, s.channels, 3, 3], seed: 3)
        let bias = NDArray.random(shape: [s.outputs, 1, 1], seed: 4)
        func finish(_ y: RelayExpr, _ b: RelayExpr) throws -> RelayExpr {
            s.tail ? try Relay.call("nn.relu", [try Relay.call("add", [y, b])]) : y
        }
        let plain = try finish(
            try Relay.call(
                "nn.conv2d", [x, Relay.Constant(weight)],
                [
                    "kernel_size": .ints([3, 3]), "channels": .int(s.outputs), "padding": .ints(s.padding),
                    "strides": .ints([1, 1]),
                ]), Relay.Constant(bias))
        let side = s.tile + 2
        let transformed = try Relay.call(
            "nn.contrib_conv2d_winograd_weight_transform", [Relay.Constant(weight)],
            ["tile_size": .int(s.tile)])
        let blocks = try Relay.call(
            "reshape", [transformed],
            ["newshape": .ints([side, side, s.outputs / block, block, s.channels])])
        let panels = try Relay.call("transpose", [blocks], ["axes": .ints([0, 1, 2, 4, 3])])
        let data = try Relay.call(
            "layout_transform", [x], ["src_layout": "NCHW", "dst_layout": .string("NCHW\(block)c")])
        let y = try finish(
            try Relay.call(
                "nn.contrib_conv2d_winograd_without_weight_transform", [data, panels],
                ["tile_size": .int(s.tile), "padding": .ints(s.padding)]),
            try Relay.call(
                "reshape", [Relay.Constant(bias)], ["newshape": .ints([1, s.outputs / block, 1, 1, block])]))
        let result = try Relay.call(
            "layout_transform", [y], ["src_layout": .string("NCHW\(block)c"), "dst_layout": "NCHW"])
        let input = NDArray.random(shape: [s.batch, s.channels, s.height, s.width], seed: 5)
        func run(_ body: RelayExpr) throws -> [Double] {
            let target = try Target("llvm -mcpu=x86-64-v3 -num-cores=2 -vector-bytes=64")
            let executor = try compile(
                IRModule(Relay.Function([x], body)),
                CompileOptions(target: Target.host.mtriple.hasPrefix("x86_64") ? target : .host)
            ).executor()
            try executor.setInput(0, input)
            try executor.run()
            return try executor.output(0).toDoubles()
        }
        let expected = try interpret(Relay.Function([x], plain), [input], target: .host)[0].toDoubles()
        let actual = try run(result)
        let scale = expected.map { abs($0) }.max() ?? 0
        #expect(actual.count == expected.count)
        #expect(zip(actual, expected).allSatisfy { abs($0 - $1) <= 2e-5 * scale })
    }

    @Test("a convolution is computed by the method where it pays, and then as exactly as its operands allow")
    func chosenByItself() throws {
        let x = Relay.Var("x", shape: [1, 64, 56, 56])
        let weight = NDArray.random(shape: [64, 64, 3, 3], seed: 3)
        func conv(_ x: RelayExpr, strides: [Int] = [1, 1]) throws -> RelayExpr {
            try Relay.call(
                "nn.conv2d", [x, Relay.Constant(weight)],
                [
                    "kernel_size": .ints([3, 3]), "channels": .int(64), "padding": .ints([1, 1, 1, 1]),
                    "strides": .ints(strides),
                ])
        }
        let function = Relay.Function([x], try conv(try conv(x), strides: [2, 2]))
        let module = try alterOpLayout(lanes: 16) { q in
            #expect(
                q.inChannels == 64 && q.outChannels == 64 && q.height == 56 && q.width == 56 && q.batch == 1)
            return 4
        }.run(IRModule(function))
        var counts: [String: Int] = [:]
        for node in Relay.postOrder(try #require(module["main"] as? Relay.Function).body) {
            if let op = ((node as? Relay.Call)?.op as? Op)?.name { counts[op, default: 0] += 1 }
        }
        #expect(counts["nn.contrib_conv2d_winograd_without_weight_transform"] == 1)
        #expect(counts["nn.contrib_conv2d_NCHWc"] == 1)
    }

    @Test func whereItPays() throws {
        let machine = try Target("llvm -mcpu=znver4 -num-cores=1").machine
        func tile(_ channels: Int, _ outputs: Int, _ side: Int) -> Int? {
            TOPI.winogradTile(
                batch: 1, inChannels: channels, outChannels: outputs, height: side, width: side,
                machine: machine)
        }
        #expect(tile(64, 64, 56) == 4)
        #expect(tile(128, 128, 28) == 4)
        // Few tiles, much weight: reading it would take longer than the sum.
        #expect(tile(512, 512, 7) == nil)
    }

    @Test(
        "loops of one iteration do not spoil the schedule",
        arguments: [(16, 64, 55, 55), (16, 16, 12, 4), (32, 16, 4, 4)])
    func schedules(_ channels: Int, _ outputs: Int, _ height: Int, _ width: Int) throws {
        let target = try Target("llvm -mcpu=znver4 -num-cores=2 -l2-bytes=1048576")
        let data = placeholder([1, channels / 16, height, width, 16], name: "data")
        let weight = placeholder([6, 6, outputs / 16, channels, 16], name: "weight")
        let y = try TOPI.conv2dWinogradNCHWc(data, weight, tile: 4, padding: [1, 1, 1, 1])
        let text = "\(try TOPI.schedule(try createPrimFunc([data, weight, y]), target: target))"
        // The products are summed in registers and the rows of a tile of data stay with it.
        #expect(text.contains("product_update"))
        #expect(text.contains("product = T.alloc_buffer") && text.contains("scope=\"local\""))
        #expect(text.contains("T.vectorized(16)"))
    }

    @Test(
        "transformed weights, plain and in panels, and the schedule that applies to them",
        arguments: [(32, 7, 16), (16, 16, 0), (6, 5, 0), (4, 8, 2), (64, 24, 16), (1, 1, 0)], [2, 4])
    func transformedWeights(_ sizes: (Int, Int, Int), _ tile: Int) throws {
        let (outputs, channels, block) = sizes
        let taps = 3
        let side = tile + taps - 1
        let weight = NDArray.random(shape: [outputs, channels, taps, taps], seed: 7)
        let x = Relay.Var("w", shape: [outputs, channels, taps, taps])
        let y = try Relay.call(
            "nn.contrib_conv2d_winograd_weight_transform", [x],
            ["tile_size": .int(tile), "channel_block": .int(block)])
        let executor = try compile(IRModule(Relay.Function([x], y)), CompileOptions(target: .host)).executor()
        try executor.setInput(0, weight)
        try executor.run()
        let result = try executor.output(0)
        let panels = block == 0 ? [outputs, channels] : [outputs / block, channels, block]
        #expect(result.shape == [side, side] + panels)
        let actual = try result.toDoubles()
        let w = try weight.toDoubles()
        let g = try WinogradMatrices(tile: tile, taps: taps).weight
        var worst = 0.0
        for o in 0..<outputs {
            for c in 0..<channels {
                for e in 0..<side {
                    for f in 0..<side {
                        var sum = 0.0
                        for r in 0..<taps {
                            for s in 0..<taps {
                                sum += g[e][r] * w[((o * channels + c) * taps + r) * taps + s] * g[f][s]
                            }
                        }
                        let size = max(1, block)
                        let at = ((e * side + f) * (outputs / size) + o / size) * channels + c
                        worst = max(worst, abs(actual[at * size + o % size] - sum))
                    }
                }
            }
        }
        #expect(worst < 1e-6)
    }

    @Test("the transformation of weights is unrolled: no element chooses among coefficients")
    func weightSchedule() throws {
        let target = try Target("llvm -mcpu=znver4 -num-cores=2")
        for (channels, block) in [(64, 16), (48, 0)] {
            let weight = placeholder([64, channels, 3, 3], name: "weight")
            let y = try TOPI.conv2dWinogradWeightTransform(weight, tile: 4, block: block)
            let function = try TOPI.schedule(try createPrimFunc([weight, y]), target: target)
            let text = "\(function)"
            #expect(text.contains("scope=\"local\""))
            #expect(text.contains("T.unroll(6)") && text.contains("T.vectorized(16)"))
            let lowered = try lower(function)
            #expect(!"\(lowered)".contains("Select"))
        }
    }

    @Test func refusals() throws {
        func code(_ body: () throws -> Void) -> String? {
            do { try body() } catch let e as ApusError { return e.code } catch { return "?" }
            return nil
        }
        let weight = Relay.Constant(NDArray.random(shape: [16, 16, 3, 5], seed: 1))
        #expect(
            code { _ = try Relay.call("nn.contrib_conv2d_winograd_weight_transform", [weight]).checkedType }
                != nil)
        let data = Relay.Var("x", shape: [1, 1, 8, 8, 16])
        let other = Relay.Var("w", shape: [6, 6, 1, 32, 16])
        #expect(
            code {
                _ = try Relay.call(
                    "nn.contrib_conv2d_winograd_without_weight_transform", [data, other],
                    ["padding": .ints([1, 1, 1, 1])]
                ).checkedType
            } == "RELAY201")
        #expect(code { _ = try WinogradMatrices(tile: 7, taps: 3) } == "TOPI031")
    }

    @Test("each pair of sizes filters as the sum does")
    func matrices() throws {
        for taps in 2...5 {
            for tile in 1...6 where tile + taps - 1 <= 8 {
                let m = try WinogradMatrices(tile: tile, taps: taps)
                let d = (0..<m.points).map { Double(($0 * 7 + 3) % 11) - 5 }
                let g = (0..<taps).map { Double(($0 * 5 + 2) % 7) - 3 }
                func times(_ a: [[Double]], _ x: [Double]) -> [Double] {
                    a.map { zip($0, x).reduce(0) { $0 + $1.0 * $1.1 } }
                }
                let y = times(m.result, zip(times(m.weight, g), times(m.data, d)).map { $0 * $1 })
                for i in 0..<tile {
                    let sum = (0..<taps).reduce(0.0) { $0 + d[i + $1] * g[$1] }
                    #expect(abs(y[i] - sum) < 1e-9, "F(\(tile), \(taps)) at \(i)")
                }
            }
        }
    }
}
