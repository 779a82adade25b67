import ApusIR
import ApusNode
import ApusRuntime
import ApusTE
import ApusTIR
import ApusTOPI
import Testing

@Suite struct TransformTests {
    static let reshapes: [([Int], [Int])] = [
        ([6], [2, 3]), ([2, 3], [6]), ([2, 3, 4], [6, 4]), ([6, 4], [2, 3, 4]), ([2, 3, 4], [4, 3, 2]),
        ([2, 1, 3], [6]), ([1], []), ([], [1, 1]), ([4, 6], [2, 2, 3, 2]), ([2, 3, 4, 5], [6, 20]),
        ([2, 3, 4, 5], [2, 12, 5]), ([3, 8, 5], [3, 2, 4, 5, 1]), ([6, 10], [4, 15]),
        ([1, 5, 1], [5, 1, 1, 1]),
    ]

    @Test(arguments: reshapes) func reshape(_ from: [Int], _ to: [Int]) throws {
        var dice = Dice(60)
        let x = dice.array(from)
        try check("reshape", ["newshape": .ints(to)], [x], [Arr(to, .float32, x.data)])
    }

    @Test func reshapeOfEmpty() throws {
        let x = Arr([2, 0, 3], .float32, [])
        try check("reshape", [:], [x], [Arr([0, 5], .float32, [])])
        var dice = Dice(61)
        let y = dice.array([4])
        #expect(throws: (any Error).self) {
            try evaluate("reshape", [:], [y], [Arr([3], .float32, [0, 0, 0])])
        }
    }

    /// Merging and splitting axes must not make a flat index of the whole tensor.
    @Test func reshapeIndexIsLocal() throws {
        let x = placeholder([2, 3, 4, 5])
        let y = try TOPI.reshape(x, [2, 3, 20].map { IntImm($0) })
        let op = try #require(y.op as? ComputeOp)
        let load = try #require(op.body[0] as? ProducerLoad)
        #expect(load.indices[0] === op.axis[0].variable)
        #expect(load.indices[1] === op.axis[1].variable)
        #expect(load.indices[2].kind == .floorDiv)
        #expect(load.indices[3].kind == .floorMod)
    }

    /// A dimension known only when the function runs passes through untouched.
    @Test func symbolicDimensions() throws {
        let n = Var("n")
        let x = placeholder([n, IntImm(3), IntImm(4)])
        let merged = try TOPI.reshape(x, [n, IntImm(12)])
        let load = try #require((merged.op as? ComputeOp)?.body[0] as? ProducerLoad)
        #expect(load.indices[0] === (merged.op as? ComputeOp)?.axis[0].variable)
        #expect(try TOPI.add(x, placeholder([4])).shape[0] === n)
        #expect(try TOPI.softmax(x).shape[0] === n)
        #expect(try TOPI.dense(x, placeholder([7, 4])).shape[0] === n)
        let image = placeholder([n, IntImm(3), IntImm(8), IntImm(8)])
        let y = try TOPI.conv2d(image, placeholder([5, 3, 3, 3]), padding: [1, 1, 1, 1])
        #expect(y.shape[0] === n)
        #expect(y.shape[1...].map(\.asInt) == [5, 8, 8])
        let f = try TOPI.scheduleGeneric(try createPrimFunc([image, placeholder([5, 3, 3, 3])]))
        #expect(f.params.count == 2)
        let window = TOPI.PoolParameters(size: [2, 2], strides: [2, 2], layout: "NCHW")
        let pooled = try TOPI.pool(image, .max, window)
        #expect(pooled.shape[0] === n)
        _ = try TOPI.scheduleGeneric(try createPrimFunc([image, pooled]))
        _ = try TOPI.scheduleGeneric(try createPrimFunc([x, try TOPI.softmax(x)]))
    }

    @Test func transposes() throws {
        var dice = Dice(62)
        let x = dice.array([2, 3, 4])
        try check("transpose", [:], [x], [Arr([4, 3, 2]) { x[[$0[2], $0[1], $0[0]]] }])
        try check(
            "transpose", ["axes": .ints([1, -1, 0])], [x], [Arr([3, 4, 2]) { x[[$0[2], $0[0], $0[1]]] }])
        #expect(throws: (any Error).self) { try evaluate("transpose", ["axes": .ints([0, 0, 1])], [x], [x]) }
    }

    @Test func unitAxes() throws {
        var dice = Dice(63)
        let x = dice.array([1, 3, 1, 2])
        try check("squeeze", [:], [x], [Arr([3, 2], .float32, x.data)])
        try check("squeeze", ["axis": .ints([-2])], [x], [Arr([1, 3, 2], .float32, x.data)])
        try check(
            "expand_dims", ["axis": 1, "num_newaxis": 2], [x], [Arr([1, 1, 1, 3, 1, 2], .float32, x.data)])
        try check("expand_dims", ["axis": -1], [x], [Arr([1, 3, 1, 2, 1], .float32, x.data)])
        #expect(throws: (any Error).self) { try evaluate("squeeze", ["axis": .ints([1])], [x], [x]) }
    }

    @Test(arguments: [1, 2, 3, 5, 9]) func concatenate(_ count: Int) throws {
        var dice = Dice(64 + count)
        for (axis, own) in [(0, 0), (1, 1), (-1, 2)] {
            let xs = (0..<count).map { _ in
                var s = [2, 3, 4]
                s[own] = dice.int(0...4)
                return dice.array(s)
            }
            var shape = [2, 3, 4]
            shape[own] = xs.reduce(0) { $0 + $1.shape[own] }
            let y = Arr(shape) { i in
                var j = i
                for x in xs {
                    if j[own] < x.shape[own] { return x[j] }
                    j[own] -= x.shape[own]
                }
                return .nan
            }
            try check("concatenate", ["axis": .int(axis)], xs, [y])
        }
    }

    @Test func stackAndSplit() throws {
        var dice = Dice(70)
        let xs = (0..<3).map { _ in dice.array([2, 4]) }
        try check("stack", ["axis": 1], xs, [Arr([2, 3, 4]) { xs[$0[1]][[$0[0], $0[2]]] }])
        try check("stack", ["axis": -1], xs, [Arr([2, 4, 3]) { xs[$0[2]][[$0[0], $0[1]]] }])
        let x = dice.array([2, 7, 3])
        let parts = [(0, 2), (2, 3), (3, 7)].map { a, b in
            Arr([2, b - a, 3]) { x[[$0[0], $0[1] + a, $0[2]]] }
        }
        try check("split", ["indices_or_sections": .ints([2, 3]), "axis": 1], [x], parts)
        #expect(throws: (any Error).self) {
            try evaluate("split", ["indices_or_sections": .ints([3, 2]), "axis": 1], [x], parts)
        }
    }

    @Test func slices() throws {
        var dice = Dice(71)
        let x = dice.array([6, 5, 4])
        try check(
            "strided_slice",
            [
                "begin": .ints([1, 4]), "end": .ints([6, 0]), "strides": .ints([2, -1]),
                "axes": .ints([0, 1]),
            ], [x],
            [Arr([3, 4, 4]) { x[[1 + 2 * $0[0], 4 - $0[1], $0[2]]] }])
        try check(
            "strided_slice",
            ["begin": .ints([3]), "end": .ints([-1]), "strides": .ints([-2]), "axes": .ints([2])], [x],
            [Arr([6, 5, 2]) { x[[$0[0], $0[1], 3 - 2 * $0[2]]] }])
        try check(
            "strided_slice",
            ["begin": .ints([2]), "end": .ints([2]), "strides": .ints([1]), "axes": .ints([0])], [x],
            [Arr([0, 5, 4], .float32, [])])
    }

    @Test func repetition() throws {
        var dice = Dice(72)
        let x = dice.array([2, 3])
        try check("tile", ["reps": .ints([2, 1, 3])], [x], [Arr([2, 2, 9]) { x[[$0[1], $0[2] % 3]] }])
        try check("tile", ["reps": .ints([2])], [x], [Arr([2, 6]) { x[[$0[0], $0[1] % 3]] }])
        try check("repeat", ["repeats": 3, "axis": -2], [x], [Arr([6, 3]) { x[[$0[0] / 3, $0[1]]] }])
        try check("reverse", ["axis": .ints([1])], [x], [Arr([2, 3]) { x[[$0[0], 2 - $0[1]]] }])
        try check("reverse", ["axis": .ints([0, -1])], [x], [Arr([2, 3]) { x[[1 - $0[0], 2 - $0[1]]] }])
    }

    @Test func creation() throws {
        try check(
            "full", ["shape": .ints([2, 2]), "dtype": "int32"], [.scalar(7, .int32)],
            [Arr([2, 2], .int32) { _ in 7 }])
        let range = [Arr.scalar(2, .int64), .scalar(11, .int64), .scalar(3, .int64)]
        try check("arange", ["dtype": "int64"], range, [Arr([3], .int64, [2, 5, 8])])
        let steps = [Arr.scalar(1), .scalar(0), .scalar(-0.25)]
        try check("arange", ["dtype": "float32"], steps, [Arr([4], .float32, [1, 0.75, 0.5, 0.25])])
        var dice = Dice(73)
        try check("shape_of", ["dtype": "int64"], [dice.array([2, 3, 4])], [Arr([3], .int64, [2, 3, 4])])
        try check("shape_of", ["dtype": "int32"], [dice.array([])], [Arr([0], .int32, [])])
    }

    @Test(arguments: [-3, -1, 0, 1, 4], [true, false]) func trilu(_ k: Int, _ upper: Bool) throws {
        var dice = Dice(74)
        let x = dice.array([2, 3, 4])
        let y = Arr(x.shape) { i in (upper ? i[2] - i[1] >= k : i[2] - i[1] <= k) ? x[i] : 0 }
        try check("trilu", ["k": .int(k), "upper": .bool(upper)], [x], [y])
    }

    static let layouts: [([Int], String, String)] = [
        ([2, 3, 4, 5], "NCHW", "NHWC"), ([2, 8, 3, 3], "NCHW", "NCHW4c"),
        ([1, 2, 3, 3, 4], "NCHW4c", "NCHW"),
        ([1, 6, 2, 3], "NCHW", "NCHW4c"), ([8, 8, 2, 2], "OIHW", "OIHW4i2o"),
        ([2, 4, 3, 3, 4], "NCHW4c", "NCHW8c"),
        ([2, 2, 3, 3, 4], "NCHW4c", "NHWC"), ([5, 7, 1, 1], "OIHW", "OIHW4o"),
        ([2, 4, 3, 2, 4], "NCHW4c", "NHWC4c"),
    ]

    @Test(arguments: layouts) func layoutTransform(_ shape: [Int], _ from: String, _ to: String) throws {
        var dice = Dice(75)
        let x = dice.array(shape)
        let s = try TOPI.Layout(from)
        let d = try TOPI.Layout(to)
        // Position in each whole axis, from an index of a layout.
        func whole(_ l: TOPI.Layout, _ i: [Int]) -> [Character: Int] {
            var r: [Character: Int] = [:]
            for (a, v) in zip(l.axes, i) where a.factor == nil { r[a.letter] = v }
            for (a, v) in zip(l.axes, i) { if let f = a.factor { r[a.letter] = (r[a.letter] ?? 0) * f + v } }
            return r
        }
        var extents: [Character: Int] = [:]
        for (a, n) in zip(s.axes, shape) { extents[a.letter] = (extents[a.letter] ?? 1) * n }
        let out = d.axes.map { a -> Int in
            if let f = a.factor { return f }
            let block = d.blockSize(a.letter)
            return ((extents[a.letter] ?? 1) + block - 1) / block
        }
        var y = Arr(out) { _ in 0 }
        Arr.each(shape) { i in
            let at = whole(s, i)
            Arr.each(out) { j in
                if whole(d, j) == at { y[j] = x[i] }
            }
        }
        try check("layout_transform", ["src_layout": .string(from), "dst_layout": .string(to)], [x], [y])
    }

    @Test func layoutTransformDropsPadding() throws {
        var dice = Dice(76)
        let x = dice.array([1, 2, 2, 2, 4])
        let y = Arr([1, 6, 2, 2]) { x[[0, $0[1] / 4, $0[2], $0[3], $0[1] % 4]] }
        try check("layout_transform", ["src_layout": "NCHW4c", "dst_layout": "NCHW"], [x], [y])
        for bad in ["NC8", "NCc", "NNHW", "N-HW", "", "4c"] {
            #expect(throws: (any Error).self) { try TOPI.Layout(bad) }
        }
    }

    @Test func depthAndSpace() throws {
        var dice = Dice(77)
        let x = dice.array([2, 12, 2, 3])
        let dcr = Arr([2, 3, 4, 6]) { i in
            x[[i[0], (i[2] % 2 * 2 + i[3] % 2) * 3 + i[1], i[2] / 2, i[3] / 2]]
        }
        let crd = Arr([2, 3, 4, 6]) { i in x[[i[0], i[1] * 4 + i[2] % 2 * 2 + i[3] % 2, i[2] / 2, i[3] / 2]] }
        try check("nn.depth_to_space", ["block_size": 2, "mode": "DCR", "layout": "NCHW"], [x], [dcr])
        try check("nn.depth_to_space", ["block_size": 2, "mode": "CRD", "layout": "NCHW"], [x], [crd])
        try check("nn.space_to_depth", ["block_size": 2, "layout": "NCHW"], [dcr], [x])
        let last = Arr([2, 4, 6, 3]) { dcr[[$0[0], $0[3], $0[1], $0[2]]] }
        try check(
            "nn.space_to_depth", ["block_size": 2, "layout": "NHWC"], [last],
            [Arr([2, 2, 3, 12]) { x[[$0[0], $0[3], $0[1], $0[2]]] }])
    }

    static let pads: [([Int], [Int])] = [
        ([4], [1, 2]), ([3, 5], [0, 2, 1, 0]), ([4, 5], [-1, 2, 1, -2]), ([2, 3, 4], [0, 0, 1, 2, 3, 3]),
        ([3], [5, 7]), ([1, 2], [2, 1, 0, 3]),
    ]

    @Test(arguments: ["constant", "edge", "reflect", "wrap"], pads) func pad(
        _ mode: String, _ widths: ([Int], [Int])
    ) throws {
        var dice = Dice(78)
        let (shape, w) = widths
        let x = dice.array(shape)
        let out = shape.indices.map { shape[$0] + w[2 * $0] + w[2 * $0 + 1] }
        // Walks step by step, turning round at the ends: independent of the modulus in the operator.
        func reflected(_ v: Int, _ n: Int) -> Int {
            if n == 1 { return 0 }
            var p = 0
            var step = v < 0 ? -1 : 1
            if v < 0 { step = 1 }
            for _ in 0..<abs(v) {
                if p + step < 0 || p + step >= n { step = -step }
                p += step
            }
            return p
        }
        let y = Arr(out) { i in
            let at = shape.indices.map { i[$0] - w[2 * $0] }
            switch mode {
            case "constant": return x.at(at, or: 3.5)
            case "edge": return x[shape.indices.map { min(max(at[$0], 0), shape[$0] - 1) }]
            case "wrap": return x[shape.indices.map { (at[$0] % shape[$0] + shape[$0]) % shape[$0] }]
            default: return x[shape.indices.map { reflected(at[$0], shape[$0]) }]
            }
        }
        try check("nn.pad", ["pad_width": .ints(w), "pad_mode": .string(mode)], [x, .scalar(3.5)], [y])
    }
}
