import ApusIR
import ApusNode
import ApusRuntime
import ApusTOPI
import Testing

/// Convolution by definition, any number of spatial dimensions; `x` N C spatial, `w` O I spatial.
func convolution(
    _ x: Arr, _ w: Arr, _ strides: [Int], _ padding: [Int], _ dilation: [Int], _ groups: Int,
    _ dtype: DataType? = nil
) -> Arr {
    let n = strides.count
    let outs = (0..<n).map { k in
        (x.shape[2 + k] + padding[k] + padding[n + k] - (w.shape[2 + k] - 1) * dilation[k] - 1) / strides[k]
            + 1
    }
    let perIn = x.shape[1] / groups
    let perOut = w.shape[0] / groups
    return Arr([x.shape[0], w.shape[0]] + outs, dtype ?? x.dtype) { i in
        var sum = 0.0
        Arr.each([perIn] + Array(w.shape[2...])) { k in
            var at = [i[0], i[1] / perOut * perIn + k[0]]
            for d in 0..<n { at.append(i[2 + d] * strides[d] - padding[d] + k[1 + d] * dilation[d]) }
            sum += x.at(at, or: 0) * w[[i[1]] + k]
        }
        return sum
    }
}

/// Transposed convolution by definition: every input element adds its multiple of the kernel. `w` I O
/// spatial.
func transposedConvolution(
    _ x: Arr, _ w: Arr, _ strides: [Int], _ padding: [Int], _ dilation: [Int], _ extra: [Int], _ groups: Int
) -> Arr {
    let n = strides.count
    let outs = (0..<n).map { k in
        (x.shape[2 + k] - 1) * strides[k] + (w.shape[2 + k] - 1) * dilation[k] + 1 + extra[k] - padding[k]
            - padding[n + k]
    }
    let perOut = w.shape[1]
    let perIn = x.shape[1] / groups
    var y = Arr([x.shape[0], perOut * groups] + outs) { _ in 0 }
    Arr.each(x.shape) { i in
        Arr.each(Array(w.shape[1...])) { k in
            var at = [i[0], i[1] / perIn * perOut + k[0]]
            for d in 0..<n { at.append(i[2 + d] * strides[d] - padding[d] + k[1 + d] * dilation[d]) }
            for d in 0..<n where at[2 + d] < 0 || at[2 + d] >= outs[d] { return }
            y[at] += x[i] * w[[i[1]] + k]
        }
    }
    return y
}

struct ConvCase: Sendable {
    var x: [Int]
    var w: [Int]
    var strides: [Int]
    var padding: [Int]
    var dilation: [Int]
    var groups = 1
}

@Suite struct ConvTests {
    static let cases: [ConvCase] = {
        var c: [ConvCase] = []
        c.append(ConvCase(x: [1, 3, 7], w: [4, 3, 3], strides: [1], padding: [1, 1], dilation: [1]))
        c.append(
            ConvCase(x: [2, 4, 9], w: [6, 2, 3], strides: [2], padding: [0, 2], dilation: [2], groups: 2))
        c.append(
            ConvCase(
                x: [1, 1, 4, 4], w: [1, 1, 1, 1], strides: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1]))
        c.append(
            ConvCase(
                x: [2, 3, 6, 5], w: [4, 3, 3, 3], strides: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1]))
        c.append(
            ConvCase(
                x: [1, 3, 8, 7], w: [2, 3, 3, 2], strides: [2, 3], padding: [0, 1, 2, 0], dilation: [1, 1]))
        c.append(
            ConvCase(
                x: [1, 2, 9, 9], w: [3, 2, 3, 3], strides: [1, 2], padding: [2, 2, 2, 2], dilation: [2, 3]))
        c.append(
            ConvCase(
                x: [1, 4, 5, 5], w: [6, 2, 3, 3], strides: [1, 1], padding: [1, 0, 1, 0], dilation: [1, 1],
                groups: 2))
        c.append(
            ConvCase(
                x: [2, 4, 5, 5], w: [4, 1, 3, 3], strides: [2, 2], padding: [1, 1, 1, 1], dilation: [1, 1],
                groups: 4))
        c.append(
            ConvCase(
                x: [1, 3, 5, 5], w: [6, 1, 2, 3], strides: [1, 1], padding: [0, 1, 0, 1], dilation: [1, 1],
                groups: 3))
        c.append(
            ConvCase(
                x: [1, 2, 4, 5, 4], w: [3, 2, 2, 3, 2], strides: [1, 2, 1], padding: [1, 1, 0, 0, 1, 1],
                dilation: [1, 1, 2]))
        c.append(
            ConvCase(
                x: [1, 2, 3, 3, 3], w: [2, 1, 2, 2, 2], strides: [1, 1, 1], padding: [0, 0, 0, 0, 0, 0],
                dilation: [1, 1, 1], groups: 2))
        return c
    }()

    @Test(arguments: cases) func conv(_ c: ConvCase) throws {
        var dice = Dice(c.x.reduce(17, +))
        let n = c.strides.count
        for type in [DataType.float32, .float64, .float16] {
            let x = dice.array(c.x, type, -1, 1)
            let w = dice.array(c.w, type, -1, 1)
            let y = convolution(x, w, c.strides, c.padding, c.dilation, c.groups)
            try check(
                "nn.conv\(n)d",
                [
                    "strides": .ints(c.strides), "padding": .ints(c.padding), "dilation": .ints(c.dilation),
                    "groups": .int(c.groups), "data_layout": "NCHW", "kernel_layout": "OIHW",
                ], [x, w], [y], tolerance: type == .float16 ? 4e-3 : 1e-5)
        }
        let x = dice.array(c.x, .int8, -100, 100)
        let w = dice.array(c.w, .int8, -100, 100)
        try check(
            "nn.conv\(n)d",
            [
                "strides": .ints(c.strides), "padding": .ints(c.padding), "dilation": .ints(c.dilation),
                "groups": .int(c.groups), "out_dtype": .dtype(.int32),
            ], [x, w], [convolution(x, w, c.strides, c.padding, c.dilation, c.groups, .int32)])
    }

    @Test func layouts() throws {
        var dice = Dice(18)
        let x = dice.array([2, 5, 6, 4])
        let w = dice.array([7, 5, 3, 3])
        let y = convolution(x, w, [1, 1], [1, 1, 1, 1], [1, 1], 1)
        let attrs: KeyValuePairs<String, AttrValue> = [
            "strides": .ints([1, 1]), "padding": .ints([1, 1, 1, 1]), "data_layout": "NHWC",
            "kernel_layout": "HWIO",
        ]
        func nhwc(_ a: Arr) -> Arr {
            Arr([a.shape[0], a.shape[2], a.shape[3], a.shape[1]]) { a[[$0[0], $0[3], $0[1], $0[2]]] }
        }
        let hwio = Arr([3, 3, 5, 7]) { w[[$0[3], $0[2], $0[0], $0[1]]] }
        try check("nn.conv2d", attrs, [nhwc(x), hwio], [nhwc(y)])
        // Weights in blocks of 4 output channels, the last one padded.
        let packed = Arr([2, 5, 3, 3, 4]) { i in
            let o = i[0] * 4 + i[4]
            return o < 7 ? w[[o, i[1], i[2], i[3]]] : 0
        }
        let packing: KeyValuePairs<String, AttrValue> = [
            "padding": .ints([1, 1, 1, 1]), "kernel_layout": "OIHW4o", "channels": 7,
        ]
        try check("nn.conv2d", packing, [x, packed], [y])
    }

    @Test func blockedLayouts() throws {
        var dice = Dice(19)
        let x = dice.array([1, 8, 5, 5])
        func blocked(_ a: Arr) -> Arr {
            Arr([a.shape[0], a.shape[1] / 4, a.shape[2], a.shape[3], 4]) {
                a[[$0[0], $0[1] * 4 + $0[4], $0[2], $0[3]]]
            }
        }
        let w = dice.array([4, 8, 3, 3])
        let packed = Arr([1, 2, 3, 3, 4, 4]) { w[[$0[0] * 4 + $0[5], $0[1] * 4 + $0[4], $0[2], $0[3]]] }
        try check(
            "nn.conv2d",
            ["padding": .ints([1, 0, 1, 0]), "data_layout": "NCHW4c", "kernel_layout": "OIHW4i4o"],
            [blocked(x), packed], [blocked(convolution(x, w, [1, 1], [1, 0, 1, 0], [1, 1], 1))])
        let d = dice.array([8, 1, 3, 3])
        let depth = Arr([2, 1, 3, 3, 1, 4]) { d[[$0[0] * 4 + $0[5], 0, $0[2], $0[3]]] }
        try check(
            "nn.conv2d",
            [
                "strides": .ints([2, 2]), "groups": 8, "padding": .ints([1, 1, 1, 1]),
                "data_layout": "NCHW4c",
                "kernel_layout": "OIHW1i4o",
            ],
            [blocked(x), depth], [blocked(convolution(x, d, [2, 2], [1, 1, 1, 1], [1, 1], 8))])
        let first = Arr([1, 8, 3, 3, 1, 4]) { w[[$0[0] * 4 + $0[5], $0[1], $0[2], $0[3]]] }
        try check(
            "nn.conv2d", ["kernel_layout": "OIHW1i4o", "out_layout": "NCHW4c"], [x, first],
            [blocked(convolution(x, w, [1, 1], [0, 0, 0, 0], [1, 1], 1))])
    }

    @Test func invalid() throws {
        var dice = Dice(20)
        let x = dice.array([1, 4, 5, 5])
        let w = dice.array([4, 3, 3, 3])
        #expect(throws: (any Error).self) { try evaluate("nn.conv2d", [:], [x, w], [x]) }
        #expect(throws: (any Error).self) {
            try evaluate("nn.conv2d", ["strides": .ints([0, 1])], [x, x], [x])
        }
        #expect(throws: (any Error).self) {
            try evaluate("nn.conv2d", ["kernel_layout": "OIHW?"], [x, x], [x])
        }
    }

    /// data, weight, strides, padding, dilation, output padding, groups
    static let transposed: [([Int], [Int], [Int], [Int], [Int], [Int], Int)] = {
        var c: [([Int], [Int], [Int], [Int], [Int], [Int], Int)] = []
        c.append(([1, 2, 4], [2, 3, 3], [2], [1, 0], [1], [1], 1))
        c.append(([1, 3, 4, 3], [3, 2, 3, 3], [1, 1], [0, 0, 0, 0], [1, 1], [0, 0], 1))
        c.append(([2, 2, 3, 4], [2, 4, 2, 3], [2, 3], [1, 0, 1, 2], [1, 1], [1, 0], 1))
        c.append(([1, 4, 3, 3], [4, 2, 3, 3], [2, 2], [1, 1, 1, 1], [1, 1], [1, 1], 2))
        c.append(([1, 2, 3, 3], [2, 1, 2, 2], [1, 1], [2, 2, 2, 2], [2, 3], [0, 0], 2))
        c.append(
            ([1, 2, 3, 2, 3], [2, 2, 2, 2, 3], [1, 2, 2], [0, 1, 0, 0, 0, 1], [1, 1, 1], [0, 1, 0], 1))
        return c
    }()

    @Test(arguments: 0..<6) func convTranspose(_ n: Int) throws {
        let c = Self.transposed[n]
        var dice = Dice(21 + n)
        let x = dice.array(c.0, .float32, -1, 1)
        let w = dice.array(c.1, .float32, -1, 1)
        try check(
            "nn.conv\(c.2.count)d_transpose",
            [
                "strides": .ints(c.2), "padding": .ints(c.3), "dilation": .ints(c.4),
                "output_padding": .ints(c.5),
                "groups": .int(c.6), "kernel_layout": "IOHW",
            ], [x, w], [transposedConvolution(x, w, c.2, c.3, c.4, c.5, c.6)])
    }
}

@Suite struct MatrixTests {
    func product(_ a: Arr, _ b: Arr, _ dtype: DataType? = nil) -> Arr {
        Arr([a.shape[0], b.shape[1]], dtype ?? a.dtype) { i in
            (0..<a.shape[1]).reduce(0.0) { $0 + a[[i[0], $1]] * b[[$1, i[1]]] }
        }
    }
    func transposed(_ a: Arr) -> Arr { Arr([a.shape[1], a.shape[0]], a.dtype) { a[[$0[1], $0[0]]] } }

    @Test(arguments: [DataType.float32, .float64, .float16]) func dense(_ type: DataType) throws {
        var dice = Dice(30)
        let tolerance = type == .float16 ? 4e-3 : 1e-5
        let x = dice.array([3, 5], type, -1, 1)
        let w = dice.array([7, 5], type, -1, 1)
        let y = product(x, transposed(w))
        try check("nn.dense", ["units": 7], [x, w], [y], tolerance: tolerance)
        let deep = Arr([1, 3, 1, 5], type, x.data)
        try check("nn.dense", [:], [deep, w], [Arr([1, 3, 1, 7], type, y.data)], tolerance: tolerance)
        let packed = Arr([2, 5, 4], type) { i in
            let n = i[0] * 4 + i[2]
            return n < 7 ? w[[n, i[1]]] : 0
        }
        try check("nn.contrib_dense_pack", ["units": 7], [x, packed], [y], tolerance: tolerance)
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let b = transposed(w)
            try check(
                "nn.matmul", ["transpose_a": .bool(ta), "transpose_b": .bool(tb)],
                [ta ? transposed(x) : x, tb ? transposed(b) : b], [y], tolerance: tolerance)
        }
    }

    @Test func integers() throws {
        var dice = Dice(31)
        let x = dice.array([3, 5], .int8, -100, 100)
        let w = dice.array([4, 5], .int8, -100, 100)
        try check("nn.dense", ["out_dtype": .dtype(.int32)], [x, w], [product(x, transposed(w), .int32)])
    }

    @Test func batches() throws {
        var dice = Dice(32)
        for (m, n) in [(3, 3), (1, 3), (3, 1)] {
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                let a = dice.array([m] + (ta ? [4, 2] : [2, 4]))
                let b = dice.array([n] + (tb ? [5, 4] : [4, 5]))
                let y = Arr([max(m, n), 2, 5]) { i in
                    var sum = 0.0
                    for k in 0..<4 {
                        let p: [Int] = ta ? [k, i[1]] : [i[1], k]
                        let q: [Int] = tb ? [i[2], k] : [k, i[2]]
                        sum += a[[m == 1 ? 0 : i[0]] + p] * b[[n == 1 ? 0 : i[0]] + q]
                    }
                    return sum
                }
                try check(
                    "nn.batch_matmul", ["transpose_a": .bool(ta), "transpose_b": .bool(tb)], [a, b], [y])
            }
        }
        let x = dice.array([2, 3])
        #expect(throws: (any Error).self) { try evaluate("nn.matmul", [:], [x, x], [x]) }
    }
}

@Suite struct PoolTests {
    struct Case: Sendable {
        var x: [Int]
        var size: [Int]
        var strides: [Int]
        var padding: [Int]
        var dilation: [Int]
        var ceil = false
    }
    static let cases: [Case] = {
        var c: [Case] = []
        c.append(Case(x: [1, 2, 9], size: [3], strides: [2], padding: [1, 0], dilation: [1]))
        c.append(Case(x: [1, 2, 8], size: [3], strides: [3], padding: [1, 1], dilation: [1], ceil: true))
        c.append(
            Case(x: [2, 3, 6, 6], size: [2, 2], strides: [2, 2], padding: [0, 0, 0, 0], dilation: [1, 1]))
        c.append(
            Case(x: [1, 3, 7, 8], size: [3, 3], strides: [2, 2], padding: [1, 1, 1, 1], dilation: [1, 1]))
        c.append(
            Case(
                x: [1, 2, 7, 8], size: [3, 2], strides: [2, 3], padding: [0, 1, 0, 0], dilation: [1, 1],
                ceil: true))
        c.append(
            Case(
                x: [1, 2, 5, 5], size: [2, 2], strides: [3, 3], padding: [0, 0, 1, 1], dilation: [1, 1],
                ceil: true))
        c.append(
            Case(x: [1, 1, 9, 9], size: [3, 2], strides: [1, 2], padding: [1, 0, 2, 1], dilation: [2, 3]))
        c.append(
            Case(
                x: [1, 1, 9, 9], size: [3, 2], strides: [2, 2], padding: [2, 1, 2, 1], dilation: [2, 2],
                ceil: true))
        c.append(
            Case(
                x: [1, 2, 4, 5, 6], size: [2, 3, 2], strides: [1, 2, 2], padding: [0, 1, 0, 1, 1, 0],
                dilation: [1, 1, 1]))
        return c
    }()

    /// How many windows: as in PyTorch, the last one begins inside the input or its leading padding.
    func windows(_ c: Case, _ k: Int) -> Int {
        let n = c.size.count
        let extent = c.x[2 + k]
        let room = extent + c.padding[k] + c.padding[n + k] - (c.size[k] - 1) * c.dilation[k] - 1
        var out = (c.ceil ? room + c.strides[k] - 1 : room) / c.strides[k] + 1
        if c.ceil && (out - 1) * c.strides[k] >= extent + c.padding[k] { out -= 1 }
        return out
    }

    @Test(arguments: 0..<9, [false, true]) func pool(_ number: Int, _ includePad: Bool) throws {
        let c = Self.cases[number]
        let n = c.size.count
        var dice = Dice(40 + number)
        let outs = (0..<n).map { windows(c, $0) }
        let attrs: KeyValuePairs<String, AttrValue> = [
            "pool_size": .ints(c.size), "strides": .ints(c.strides), "dilation": .ints(c.dilation),
            "padding": .ints(c.padding), "layout": "NCHW", "ceil_mode": .bool(c.ceil),
            "count_include_pad": .bool(includePad),
        ]
        for type in [DataType.float32, .int32] {
            let x = dice.array(c.x, type, -9, 9)
            func pooled(_ f: ([Double], Int) -> Double) -> Arr {
                Arr(Array(c.x[..<2]) + outs, type) { i in
                    var inside: [Double] = []
                    var count = 0
                    Arr.each(c.size) { k in
                        var at: [Int] = []
                        var inPad = true
                        var inInput = true
                        for d in 0..<n {
                            let p = i[2 + d] * c.strides[d] - c.padding[d] + k[d] * c.dilation[d]
                            let extent = c.x[2 + d]
                            at.append(p)
                            if p >= extent + c.padding[n + d] { inPad = false }
                            if p < 0 || p >= extent { inInput = false }
                        }
                        if inInput { inside.append(x[Array(i[..<2]) + at]) }
                        if includePad ? inPad : inInput { count += 1 }
                    }
                    return f(inside, count)
                }
            }
            if !includePad {
                try check("nn.max_pool\(n)d", attrs, [x], [pooled { v, _ in v.max() ?? -.infinity }])
            }
            try check(
                "nn.avg_pool\(n)d", attrs, [x],
                [
                    pooled { v, count in
                        let q = v.reduce(0, +) / Double(max(count, 1))
                        return type == .int32 ? q.rounded(.towardZero) : q
                    }
                ])
        }
    }

    @Test func otherLayoutAndGlobal() throws {
        var dice = Dice(50)
        let x = dice.array([2, 5, 6, 3])
        let y = Arr([2, 2, 3, 3]) { i in
            var m = -Double.infinity
            for a in 0..<2 { for b in 0..<2 { m = max(m, x[[i[0], i[1] * 2 + a, i[2] * 2 + b, i[3]]]) } }
            return m
        }
        try check(
            "nn.max_pool2d", ["pool_size": .ints([2, 2]), "strides": .ints([2, 2]), "layout": "NHWC"], [x],
            [y])
        let mean = reduced(x, [2, 3], keepdims: true) { $0.reduce(0, +) / Double($0.count) }
        try check("nn.global_avg_pool2d", ["layout": "NCHW"], [x], [mean])
        try check(
            "nn.global_max_pool2d", ["layout": "NHWC"], [x],
            [reduced(x, [1, 2], keepdims: true) { $0.max() ?? 0 }])
    }
}
