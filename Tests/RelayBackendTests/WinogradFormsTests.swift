import ApusIR
import ApusRelay
import ApusRelayBackend
import ApusRuntime
import ApusTE
import ApusTOPI
import ApusTarget
import Testing

/// Forms of Winograd's method: several images, tiles in chunks that are part full, tiles that no register tile divides.
@Suite struct WinogradFormsTests {
    init() { OpStrategies.registerAll() }

    struct Form: Sendable, CustomStringConvertible {
        var batch = 1
        let channels: Int
        let outputs: Int
        let height: Int
        let width: Int
        var padding = [1, 1, 1, 1]
        var tile = 4
        /// Second-level cache; a small one makes chunks of few tiles.
        var cache = 1 << 20
        var description: String {
            "\(batch)x\(channels)x\(height)x\(width) to \(outputs), tile \(tile), padding \(padding), \(cache) bytes"
        }
        var target: Target {
            get throws {
                let name = Target.host.mtriple.hasPrefix("x86_64") ? "llvm -mcpu=x86-64-v3" : "llvm"
                return try Target("\(name) -num-cores=2 -vector-bytes=64 -l2-bytes=\(cache)")
            }
        }
        var result: (height: Int, width: Int) {
            (height: height + padding[0] + padding[2] - 2, width: width + padding[1] + padding[3] - 2)
        }
    }

    static let forms: [Form] = [
        // Images of 4, 9 and 25 tiles; chunks that end within an image, within a line, at the end of both.
        Form(batch: 2, channels: 16, outputs: 16, height: 8, width: 8),
        Form(batch: 4, channels: 16, outputs: 32, height: 7, width: 7),
        Form(batch: 3, channels: 32, outputs: 16, height: 10, width: 9, cache: 1 << 16),
        Form(batch: 2, channels: 16, outputs: 16, height: 17, width: 17, cache: 1 << 16),
        Form(batch: 4, channels: 16, outputs: 16, height: 16, width: 8, cache: 1 << 16),
        Form(batch: 2, channels: 16, outputs: 16, height: 32, width: 16, cache: 1 << 17),
        Form(batch: 4, channels: 32, outputs: 32, height: 28, width: 28, cache: 1 << 18),
        Form(
            batch: 2, channels: 16, outputs: 16, height: 9, width: 11, padding: [0, 2, 1, 0], tile: 2,
            cache: 1 << 16),
        // 37 tiles in a line, and 37 lines of one tile.
        Form(channels: 16, outputs: 16, height: 5, width: 147, cache: 1 << 16),
        Form(channels: 16, outputs: 32, height: 146, width: 3, padding: [1, 0, 0, 1], cache: 1 << 16),
        Form(channels: 32, outputs: 48, height: 19, width: 23, padding: [0, 0, 0, 0]),
        // One tile, one line of one tile's height, one pixel.
        Form(channels: 16, outputs: 16, height: 4, width: 4),
        Form(channels: 16, outputs: 16, height: 1, width: 30),
        Form(batch: 3, channels: 16, outputs: 16, height: 1, width: 1),
    ]

    /// The sum, in double precision.
    static func sum(_ f: Form, _ x: [Double], _ w: [Double]) -> [Double] {
        let (height, width) = f.result
        var y = [Double](repeating: 0, count: f.batch * f.outputs * height * width)
        for n in 0..<f.batch {
            for o in 0..<f.outputs {
                for c in 0..<f.channels {
                    for r in 0..<3 {
                        for s in 0..<3 {
                            let weight = w[((o * f.channels + c) * 3 + r) * 3 + s]
                            for i in 0..<height where (0..<f.height).contains(i + r - f.padding[0]) {
                                let from = ((n * f.channels + c) * f.height + i + r - f.padding[0]) * f.width
                                let to = ((n * f.outputs + o) * height + i) * width
                                for j in 0..<width where (0..<f.width).contains(j + s - f.padding[1]) {
                                    y[to + j] += weight * x[from + j + s - f.padding[1]]
                                }
                            }
                        }
                    }
                }
            }
        }
        return y
    }

    /// The largest error of Winograd's method on random operands, in units of the largest element of the result.
    static func error(_ f: Form) throws -> Double {
        let block = 16
        let data = NDArray.random(shape: [f.batch, f.channels, f.height, f.width], seed: 5)
        let weight = NDArray.random(shape: [f.outputs, f.channels, 3, 3], seed: 3)
        let x = Relay.Var("x", shape: [f.batch, f.channels, f.height, f.width])
        let panels = try Relay.call(
            "nn.contrib_conv2d_winograd_weight_transform", [Relay.Constant(weight)],
            ["tile_size": .int(f.tile), "channel_block": .int(block)])
        let blocked = try Relay.call(
            "layout_transform", [x], ["src_layout": "NCHW", "dst_layout": .string("NCHW\(block)c")])
        let y = try Relay.call(
            "nn.contrib_conv2d_winograd_without_weight_transform", [blocked, panels],
            ["tile_size": .int(f.tile), "padding": .ints(f.padding)])
        let result = try Relay.call(
            "layout_transform", [y], ["src_layout": .string("NCHW\(block)c"), "dst_layout": "NCHW"])
        let executor = try compile(IRModule(Relay.Function([x], result)), CompileOptions(target: f.target))
            .executor()
        try executor.setInput(0, data)
        try executor.run()
        let actual = try executor.output(0).toDoubles()
        let expected = sum(f, try data.toDoubles(), try weight.toDoubles())
        guard actual.count == expected.count else { return .infinity }
        let scale = expected.map { abs($0) }.max() ?? 0
        return (zip(actual, expected).map { abs($0 - $1) }.max() ?? 0) / scale
    }

    @Test(arguments: forms)
    func agreesWithTheSum(_ f: Form) throws {
        #expect(try Self.error(f) <= (f.tile == 2 ? 2e-6 : 2e-5))
    }

    /// The bounds that docs/approximations.md states, by results on a side of a tile.
    @Test("the error is within the bound stated, whatever the depth", arguments: [(2, 2e-6), (4, 2e-5)])
    func errors(_ tile: Int, _ bound: Double) throws {
        for channels in [16, 64, 256, 512] {
            let f = Form(channels: channels, outputs: 16, height: 14, width: 14, tile: tile)
            let error = try Self.error(f)
            print("Winograd, tiles of \(tile) x \(tile), \(channels) channels: \(error)")
            #expect(error <= bound)
        }
    }

    @Test("the schedule applies to every form", arguments: forms)
    func schedules(_ f: Form) throws {
        let machine = try f.target.machine
        let (height, width) = f.result
        let plan = try #require(
            WinogradPlan(
                batch: f.batch, inChannels: f.channels, outChannels: f.outputs, height: height, width: width,
                tile: f.tile, machine: machine))
        let data = placeholder([f.batch, f.channels / 16, f.height, f.width, 16], name: "data")
        let side = f.tile + 2
        let weight = placeholder([side, side, f.outputs / 16, f.channels, 16], name: "weight")
        let y = try TOPI.conv2dWinogradNCHWc(
            data, weight, tile: f.tile, padding: f.padding, chunk: plan.chunk)
        let text = "\(try TOPI.schedule(try createPrimFunc([data, weight, y]), target: f.target))"
        // Products are summed in registers, rows of a tile of data stay with it: plain loops do neither.
        #expect(text.contains("product_update"))
        #expect(text.contains("product = T.alloc_buffer") && text.contains("scope=\"local\""))
        #expect(text.contains("T.unroll(\(side))"))
    }

    @Test("plans of tiles that have no convenient divisors")
    func plans() throws {
        let machine = try Target("llvm -mcpu=znver4 -num-cores=2 -l2-bytes=1048576").machine
        // inception_v3's first layers, densenet's, and several images.
        for (batch, channels, outputs, side) in [
            (1, 32, 32, 147), (1, 32, 64, 147), (1, 80, 192, 71), (1, 64, 96, 35), (1, 128, 32, 56),
            (4, 64, 64, 56),
            (2, 128, 128, 28), (4, 256, 256, 14),
        ] {
            let what = "\(batch)x\(channels)x\(side)x\(side) to \(outputs)"
            let tile = TOPI.winogradTile(
                batch: batch, inChannels: channels, outChannels: outputs, height: side, width: side,
                machine: machine)
            #expect(tile == 4, "\(what)")
            let plan = try #require(
                WinogradPlan(
                    batch: batch, inChannels: channels, outChannels: outputs, height: side, width: side,
                    tile: 4,
                    machine: machine))
            let computed = (plan.tiles + plan.chunk - 1) / plan.chunk * plan.chunk
            // Little is computed that nobody reads, and a chunk stays in the cache where there are several.
            #expect(computed * 10 <= plan.tiles * 11, "\(what): \(computed) for \(plan.tiles)")
            let held = plan.chunk * 36 * (channels + outputs) * 4
            #expect(held <= machine.l2Bytes / 2 || plan.chunk >= plan.tiles, "\(what): \(plan.chunk)")
        }
        // Much weight for few tiles: small ones, whose weights are fewer.
        #expect(
            TOPI.winogradTile(
                batch: 1, inChannels: 448, outChannels: 384, height: 8, width: 8, machine: machine) == 2)
        // Sizes that no memory holds.
        let most = 1 << 30
        #expect(
            WinogradPlan(
                batch: most, inChannels: 16, outChannels: 16, height: most, width: most, tile: 4,
                machine: machine) == nil)
    }

    @Test(
        "channels that are no whole blocks are left to the sum", arguments: [(20, 32), (32, 20), (20, 20)],
        [1, 3])
    func oddChannels(_ sizes: (Int, Int), _ batch: Int) throws {
        let f = Form(batch: batch, channels: sizes.0, outputs: sizes.1, height: 13, width: 22)
        let data = NDArray.random(shape: [f.batch, f.channels, f.height, f.width], seed: 5)
        let weight = NDArray.random(shape: [f.outputs, f.channels, 3, 3], seed: 3)
        let x = Relay.Var("x", shape: [f.batch, f.channels, f.height, f.width])
        let y = try Relay.call(
            "nn.conv2d", [x, Relay.Constant(weight)],
            ["kernel_size": .ints([3, 3]), "channels": .int(f.outputs), "padding": .ints(f.padding)])
        let executor = try compile(IRModule(Relay.Function([x], y)), CompileOptions(target: f.target))
            .executor()
        try executor.setInput(0, data)
        try executor.run()
        let actual = try executor.output(0).toDoubles()
        let expected = Self.sum(f, try data.toDoubles(), try weight.toDoubles())
        let scale = expected.map { abs($0) }.max() ?? 0
        #expect(actual.count == expected.count)
        #expect(zip(actual, expected).allSatisfy { abs($0 - $1) <= 2e-6 * scale })
    }
}
