import ApusIR
import ApusNode
import ApusRuntime
import ApusTE
import ApusTIR
import ApusTOPI
import ApusTarget
import Testing

@Suite struct ScheduleTests {
    /// An operator and shapes: the scheduled function must compute what the plain one does.
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let attrs: @Sendable () -> Attrs
        let inputs: [[Int]]
        let out: [Int]
        var tail = false
        var testDescription: String { "\(name) \(inputs)" }
    }

    static let cases: [Case] = {
        var c: [Case] = []
        func add(
            _ name: String, _ inputs: [[Int]], _ out: [Int],
            _ attrs: @escaping @Sendable () -> Attrs = { .empty }
        ) {
            c.append(Case(name: name, attrs: attrs, inputs: inputs, out: out))
        }
        func axis(_ a: Int) -> @Sendable () -> Attrs { { Attrs(["axis": .int(a)]) } }
        func axes(_ a: [Int], _ keep: Bool = false) -> @Sendable () -> Attrs {
            { Attrs(["axis": .ints(a), "keepdims": .bool(keep)]) }
        }
        add("exp", [[5]], [5])
        add("exp", [[4, 64]], [4, 64])
        add("add", [[2, 3, 7, 7], [3, 1, 1]], [2, 3, 7, 7])
        add("add", [[40, 48], [48]], [40, 48])
        add("transpose", [[12, 40]], [40, 12])
        // Tiles of 16, 8 and 4, and none.
        for n in [32, 24, 20, 18] {
            add("transpose", [[n, 64]], [64, n])
            add("transpose", [[2, n, 4, 12]], [2, 4, 12, n]) { Attrs(["axes": .ints([0, 2, 3, 1])]) }
            add("transpose", [[2, 4, 12, n]], [2, n, 4, 12]) { Attrs(["axes": .ints([0, 3, 1, 2])]) }
            add("transpose", [[4, n, 16]], [16, 4, n]) { Attrs(["axes": .ints([2, 0, 1])]) }
        }
        add("layout_transform", [[2, 3, 4, 8, 16]], [2, 48, 4, 8]) {
            Attrs(["src_layout": "NCHW16c", "dst_layout": "NCHW"])
        }
        add("layout_transform", [[2, 48, 4, 8]], [2, 3, 4, 8, 16]) {
            Attrs(["src_layout": "NCHW", "dst_layout": "NCHW16c"])
        }
        add("nn.softmax", [[10, 32]], [10, 32], axis(-1))
        add("nn.softmax", [[2, 5, 37]], [2, 5, 37], axis(-1))
        add("nn.softmax", [[64]], [64], axis(0))
        add("nn.softmax", [[3, 16, 8]], [3, 16, 8], axis(1))
        add("nn.log_softmax", [[6, 128]], [6, 128], axis(-1))
        add("nn.layer_norm", [[4, 3, 48], [48], [48]], [4, 3, 48], axis(-1))
        add("nn.layer_norm", [[5, 19], [19], [19]], [5, 19], axis(-1))
        add("sum", [[6, 64]], [6], axes([1]))
        add("sum", [[64]], [], axes([0]))
        add("mean", [[2, 6, 7, 7]], [2, 6, 1, 1], axes([2, 3], true))
        add("mean", [[2, 6, 8, 8]], [2, 6], axes([2, 3]))
        add("max", [[32, 24]], [24], axes([0]))
        add("max", [[4, 300]], [4], axes([1]))
        add("prod", [[3, 5, 16]], [3, 16], axes([1]))
        add("argmax", [[6, 64]], [6], axes([1]))
        add("nn.batch_norm", [[2, 8, 4, 4], [8], [8], [8], [8]], [2, 8, 4, 4])
        add("nn.conv2d", [[1, 3, 9, 9], [16, 3, 3, 3]], [1, 16, 9, 9]) {
            Attrs(["padding": .ints([1, 1, 1, 1])])
        }
        add("nn.max_pool2d", [[1, 4, 16, 16]], [1, 4, 8, 8]) {
            Attrs(["pool_size": .ints([3, 3]), "strides": .ints([2, 2]), "padding": .ints([1, 1, 1, 1])])
        }
        return c
    }()

    @Test(arguments: cases) func generic(_ c: Case) throws {
        var dice = Dice(100)
        let inputs = c.inputs.map { dice.array($0, .float32, 0.1, 2) }
        let places = inputs.enumerated().map { placeholder($0.element.shape, name: "p\($0.offset)") }
        let type = TensorType(c.out, c.name == "argmax" ? .int64 : .float32)
        var results = try TOPI.results(of: c.name, c.attrs(), places, type)
        results = [results[0]]
        for tail in [false, true] where !tail || results[0].dtype == .float32 {
            if tail { results = [try TOPI.sqrt(try TOPI.abs(results[0]))] }
            let plain = try createPrimFunc(places + results)
            // Everything is worth a thread here.
            let scheduled = try TOPI.scheduleGeneric(
                plain, TOPI.CPUScheduleOptions(lanes: 8, parallelWork: 64))
            var outputs: [Arr] = []
            for f in [plain, scheduled] {
                let buffers = inputs.map(\.ndarray) + [NDArray(shape: c.out, dtype: results[0].dtype)]
                try execute(f, buffers)
                outputs.append(try Arr(buffers[buffers.count - 1]))
            }
            expectClose(outputs[1], outputs[0], 1e-5, "\(c.name): \(scheduled)", #_sourceLocation)
        }
    }

    private func loops(_ f: PrimFunc) -> (parallel: Int, vectors: Int, all: Int) {
        var r = (parallel: 0, vectors: 0, all: 0)
        postOrderVisit(
            f.body,
            stmt: { s in
                guard let l = s as? For else { return }
                r.all += 1
                if l.forKind == .parallel { r.parallel += 1 }
                if l.forKind == .vectorized { r.vectors += 1 }
            })
        return r
    }

    /// What the schedules are for: one parallel loop over rows, vectors in every step of them.
    @Test func rowsShareOneLoop() throws {
        let x = placeholder([16, 128])
        let y = try TOPI.softmax(x)
        let f = try TOPI.scheduleGeneric(
            try createPrimFunc([x, y]), TOPI.CPUScheduleOptions(lanes: 8, parallelWork: 64))
        let n = loops(f)
        #expect(n.parallel == 1)
        // Steps of max and sum with their initialisations, exp, quotient.
        #expect(n.vectors == 6, "\(f)")
    }

    /// The mean of a row, which its variance reads, is no operand that lies along the rows; an axis of 1 changes nothing.
    @Test(arguments: [[16, 128], [1, 16, 128], [1, 4, 4, 96]]) func layerNormIsOneLoop(_ shape: [Int]) throws
    {
        let x = placeholder(shape)
        let gamma = placeholder([shape[shape.count - 1]])
        let y = try TOPI.layerNorm(x, gamma: gamma, beta: nil)
        let f = try TOPI.scheduleGeneric(
            try createPrimFunc([x, gamma, y]), TOPI.CPUScheduleOptions(lanes: 8, parallelWork: 64))
        let n = loops(f)
        #expect(n.parallel == 1)
        // Two sums with their initialisations, and the result.
        #expect(n.vectors == 5, "\(f)")
    }

    @Test func elementwiseIsOneVectorLoop() throws {
        let x = placeholder([2, 3, 7, 8])
        let b = placeholder([3, 1, 1])
        let y = try TOPI.relu(try TOPI.add(x, b))
        let f = try TOPI.scheduleGeneric(
            try createPrimFunc([x, b, y]), TOPI.CPUScheduleOptions(lanes: 8, parallelWork: 64))
        let n = loops(f)
        #expect(n.parallel == 1)
        #expect(n.vectors == 1)
        let small = try TOPI.scheduleGeneric(try createPrimFunc([x, b, y]))
        #expect(loops(small).parallel == 0)
    }
}

@Suite struct MatrixTileTests {
    private static func target(_ vectorBytes: Int, _ registers: Int) throws -> Target {
        try Target("llvm -vector-bytes=\(vectorBytes) -vector-registers=\(registers)")
    }

    /// Rows that are no whole tiles, one row, panels of prime count, with and without an elementwise tail.
    @Test(arguments: [1, 3, 13, 14, 15, 29, 43, 64], [16, 48, 80, 112])
    func raggedRows(_ rows: Int, _ columns: Int) throws {
        var dice = Dice(rows * 1000 + columns)
        let k = 19
        let a = dice.array([rows, k], .float32, -1, 1)
        let b = dice.array([columns / 16, k, 16], .float32, -1, 1)
        let places = [placeholder([rows, k], name: "a"), placeholder([columns / 16, k, 16], name: "b")]
        let product = try TOPI.densePack(places[0], places[1])
        for result in [product, try TOPI.relu(product)] {
            let plain = try createPrimFunc(places + [result])
            let expected = NDArray(shape: [rows, columns], dtype: .float32)
            try execute(plain, [a.ndarray, b.ndarray, expected])
            for target in [try MatrixTileTests.target(64, 32), try MatrixTileTests.target(32, 16)] {
                let scheduled = try TOPI.schedule(plain, target: target)
                // Tiled at all: a block for each of start, steps and end of the tile.
                #expect("\(scheduled)".contains("_update"), "\(scheduled)")
                let found = NDArray(shape: [rows, columns], dtype: .float32)
                try execute(scheduled, [a.ndarray, b.ndarray, found])
                expectClose(try Arr(found), try Arr(expected), 1e-5, "\(scheduled)", #_sourceLocation)
            }
            let host = NDArray(shape: [rows, columns], dtype: .float32)
            try runCompiled(try TOPI.schedule(plain, target: .host), [a.ndarray, b.ndarray, host])
            expectClose(try Arr(host), try Arr(expected), 1e-5, "compiled", #_sourceLocation)
        }
    }

    /// Rows a page apart are copied to rows that are not; rows too many for the cache go block by block.
    @Test func rowsForTheCaches() throws {
        let a = placeholder([80, 1024], name: "a")
        let b = placeholder([32, 1024, 16], name: "b")
        let plain = try createPrimFunc([a, b, try TOPI.densePack(a, b)])
        let target = try Target("llvm -vector-bytes=64 -vector-registers=32 -l3-bytes=\(1 << 18)")
        let scheduled = try TOPI.schedule(plain, target: target)
        #expect("\(scheduled)".contains("buffer_dim_align"), "\(scheduled)")
        var dice = Dice(7)
        let x = dice.array([80, 1024], .float32, -1, 1).ndarray
        let w = dice.array([32, 1024, 16], .float32, -1, 1).ndarray
        var results: [NDArray] = []
        for f in [plain, scheduled, try TOPI.schedule(plain, target: .host)] {
            let y = NDArray(shape: [80, 512], dtype: .float32)
            try runCompiled(f, [x, w, y])
            results.append(y)
        }
        for y in results.dropFirst() {
            expectClose(try Arr(y), try Arr(results[0]), 1e-5, "\(scheduled)", #_sourceLocation)
        }
    }

    /// Rows, their length, and the rows of the tile: half a page apart two sets hold eight each, a page apart one does, which
    /// few rows do not pay to copy; others lie apart. A line as long as two pages leaves one set.
    @Test(arguments: [(50, 512, 5), (50, 480, 30), (32, 2048, 5), (50, 513, 30)])
    func rowsThatCollide(_ c: (Int, Int, Int)) throws {
        let places = [placeholder([c.0, c.1], name: "a"), placeholder([5, c.1, 16], name: "b")]
        let plain = try createPrimFunc(places + [try TOPI.densePack(places[0], places[1])])
        let machine = "llvm -vector-bytes=64 -vector-registers=32 -fma-ports=1 -fma-latency=4 -l1-bytes=32768"
        let scheduled = try TOPI.schedule(plain, target: try Target("\(machine) -cache-line-bytes=64"))
        #expect("\(scheduled)".contains("T.unroll(\(c.2))"), "\(scheduled)")
        let odd = try TOPI.schedule(plain, target: try Target("\(machine) -cache-line-bytes=8192"))
        #expect("\(odd)".contains("_update"))
    }
}
