import ApusIR
import ApusNode
import ApusRuntime
import ApusTOPI
import Testing

@Suite struct IndexingTests {
    @Test(arguments: [DataType.int64, .int32]) func take(_ type: DataType) throws {
        var dice = Dice(80)
        let x = dice.array([3, 4, 5])
        let n = dice.array([2, 2], type, -2, 6)
        for (axis, a) in [(0, 0), (1, 1), (-1, 2)] {
            for mode in ["clip", "wrap", "fast"] {
                let e = x.shape[a]
                let i = mode == "fast" ? n.map { min(max($0, 0), 2) } : n
                var shape = x.shape
                shape.replaceSubrange(a...a, with: [2, 2])
                let y = Arr(shape) { k in
                    let v = Int(i[Array(k[a..<(a + 2)])])
                    let at = mode == "wrap" ? (v % e + e) % e : min(max(v, 0), e - 1)
                    return x[Array(k[..<a]) + [at] + Array(k[(a + 2)...])]
                }
                try check("take", ["axis": .int(axis), "mode": .string(mode)], [x, i], [y])
            }
        }
        let flat = Arr([3], type, [0, 59, 17])
        try check(
            "take", ["axis": .none, "mode": "clip"], [x, flat],
            [Arr([3], .float32, [x.data[0], x.data[59], x.data[17]])])
        let one = Arr([], type, [2])
        try check("take", ["axis": 1], [x, one], [Arr([3, 5]) { x[[$0[0], 2, $0[1]]] }])
        let batched = dice.array([3, 2], type, 0, 4)
        try check(
            "take", ["axis": 2, "batch_dims": 1], [x, batched],
            [Arr([3, 4, 2]) { x[[$0[0], $0[1], Int(batched[[$0[0], $0[2]]])]] }])
    }

    @Test func gather() throws {
        var dice = Dice(81)
        let x = dice.array([3, 4])
        let n = dice.array([2, 3], .int64, -3, 2)
        try check(
            "gather", ["axis": 0], [x, n],
            [Arr([2, 3]) { x[[(Int(n[$0]) + 3) % 3, $0[1]]] }])
        let m = dice.array([3, 2], .int32, 0, 3)
        try check("gather", ["axis": -1], [x, m], [Arr([3, 2]) { x[[$0[0], Int(m[$0])]] }])
    }

    @Test func gatherND() throws {
        var dice = Dice(82)
        let x = dice.array([3, 4, 5])
        let n = dice.array([2, 2], .int64, -3, 2)
        func at(_ v: Double, _ e: Int) -> Int { v < 0 ? Int(v) + e : Int(v) }
        try check(
            "gather_nd", [:], [x, n],
            [Arr([2, 5]) { x[[at(n[[$0[0], 0]], 3), at(n[[$0[0], 1]], 4), $0[1]]] }])
        let full = dice.array([2, 2, 3], .int32, 0, 2)
        try check(
            "gather_nd", [:], [x, full], [Arr([2, 2]) { i in x[(0..<3).map { Int(full[i + [$0]]) }] }])
        let b = dice.array([3, 2, 1], .int64, 0, 3)
        try check(
            "gather_nd", ["batch_dims": 1], [x, b],
            [Arr([3, 2, 5]) { x[[$0[0], Int(b[[$0[0], $0[1], 0]]), $0[2]]] }])
    }

    static let modes = ["update", "add", "mul", "min", "max"]
    func combined(_ mode: String, _ a: Double, _ b: Double) -> Double {
        switch mode {
        case "add": return a + b
        case "mul": return a * b
        case "min": return min(a, b)
        case "max": return max(a, b)
        default: return b
        }
    }

    @Test(arguments: modes) func scatterElements(_ mode: String) throws {
        var dice = Dice(83)
        for (axis, a) in [(0, 0), (1, 1), (-1, 1)] {
            let x = dice.array([4, 5])
            let n = dice.array([3, 4], .int64, -4, 5)  // 4 and 5 are outside for axis 0
            let u = dice.array([3, 4])
            var y = x
            Arr.each(n.shape) { i in
                var j = i
                j[a] = Int(n[i]) < 0 ? Int(n[i]) + x.shape[a] : Int(n[i])
                if j[a] < x.shape[a] { y[j] = combined(mode, y[j], u[i]) }
            }
            try check("scatter_elements", ["axis": .int(axis), "reduction": .string(mode)], [x, n, u], [y])
        }
    }

    @Test(arguments: modes) func scatterND(_ mode: String) throws {
        var dice = Dice(84)
        let x = dice.array([3, 4, 2])
        let n = dice.array([5, 2], .int64, -3, 2)
        let u = dice.array([5, 2])
        var y = x
        Arr.each(u.shape) { i in
            let at = (0..<2).map { k -> Int in
                let v = Int(n[[i[0], k]])
                return v < 0 ? v + x.shape[k] : v
            }
            let j = at + [i[1]]
            y[j] = combined(mode, y[j], u[i])
        }
        try check("scatter_nd", ["mode": .string(mode)], [x, n, u], [y])
        let m = Arr([2, 3], .int32, [0, 1, 1, 2, 3, 0])
        let v = Arr([2], .float32, [7, -9])
        var z = x
        for k in 0..<2 {
            let j = (0..<3).map { Int(m[[k, $0]]) }
            z[j] = combined(mode, z[j], v[[k]])
        }
        try check("scatter_nd", ["mode": .string(mode)], [x, m, v], [z])
    }

    @Test func oneHot() throws {
        let n = Arr([2, 2], .int64, [0, 2, -1, 5])
        let onOff = [Arr.scalar(5), Arr.scalar(-1)]
        func hot(_ v: Double, _ k: Int) -> Double { Int(v) == k || Int(v) == k - 3 ? 5 : -1 }
        try check(
            "one_hot", ["depth": 3, "axis": -1, "dtype": "float32"], [n] + onOff,
            [Arr([2, 2, 3]) { hot(n[[$0[0], $0[1]]], $0[2]) }])
        try check(
            "one_hot", ["depth": 3, "axis": 0, "dtype": "float32"], [n] + onOff,
            [Arr([3, 2, 2]) { hot(n[[$0[1], $0[2]]], $0[0]) }])
    }

    @Test(arguments: [false, true], [false, true]) func cumsum(_ exclusive: Bool, _ reverse: Bool) throws {
        var dice = Dice(85)
        for type in [DataType.float32, .int32, .float64, .float16] {
            let x = dice.array([3, 4, 2], type, -3, 3)
            for a in 0..<3 {
                let y = Arr(x.shape, type) { i in
                    var s = 0.0
                    for k in 0..<x.shape[a] {
                        let before = reverse ? k > i[a] : k < i[a]
                        if before || (k == i[a] && !exclusive) {
                            var j = i
                            j[a] = k
                            s += x[j]
                        }
                    }
                    return s
                }
                try check(
                    "cumsum", ["axis": .int(a), "exclusive": .bool(exclusive), "reverse": .bool(reverse)],
                    [x], [y],
                    tolerance: type == .float16 ? 4e-3 : 1e-5)
            }
        }
    }

    /// shape, axis, k
    static let tops: [([Int], Int, Int)] = [
        ([7], 0, 3), ([3, 8], -1, 8), ([5, 3], 0, 2), ([2, 17, 2], 1, 5), ([1], 0, 1), ([33], 0, 33),
        ([4], 0, 0),
    ]

    @Test(arguments: [true, false], tops) func topK(_ ascending: Bool, _ c: ([Int], Int, Int)) throws {
        var dice = Dice(86)
        let (shape, axis, k) = c
        let a = axis < 0 ? axis + shape.count : axis
        for type in [DataType.float32, .int32] {
            let x = dice.array(shape, type, 0, 6).map { $0.rounded() }
            var out = shape
            out[a] = k
            var indices = Arr(out, .int64) { _ in 0 }
            var values = Arr(out, type) { _ in 0 }
            Arr.each(out) { i in
                let line = (0..<shape[a]).map { n -> Double in
                    var j = i
                    j[a] = n
                    return x[j]
                }
                let order = line.indices.sorted {
                    line[$0] == line[$1] ? $0 < $1 : (ascending ? line[$0] < line[$1] : line[$0] > line[$1])
                }
                indices[i] = Double(order[i[a]])
                values[i] = line[order[i[a]]]
            }
            let attrs: KeyValuePairs<String, AttrValue> = [
                "k": .int(k), "axis": .int(axis), "is_ascend": .bool(ascending), "ret_type": "both",
                "dtype": "int64",
            ]
            try check("topk", attrs, [x], [values, indices])
        }
    }

    @Test func topKOfNaN() throws {
        let x = Arr([5], .float32, [1, .nan, 3, .nan, -1])
        try check(
            "topk", ["k": 5, "is_ascend": false], [x],
            [Arr([5], .float32, [.nan, .nan, 3, 1, -1]), Arr([5], .int64, [1, 3, 2, 0, 4])])
        try check(
            "topk", ["k": 5, "is_ascend": true, "ret_type": "indices", "dtype": "int32"], [x],
            [Arr([5], .int32, [4, 0, 2, 1, 3])])
        try check("topk", ["k": 2, "ret_type": "values"], [x], [Arr([2], .float32, [.nan, .nan])])
        #expect(throws: (any Error).self) { try evaluate("topk", ["k": 6], [x], [x, x]) }
    }
}
