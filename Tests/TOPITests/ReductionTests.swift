import ApusIR
import ApusRuntime
import ApusTOPI
import Glibc
import Testing

/// Folds the elements of `x` over `axes`: `f` of the elements that share an output index, in row-major order.
func reduced(_ x: Arr, _ axes: [Int], keepdims: Bool, _ f: ([Double]) -> Double) -> Arr {
    reduced(x, axes, keepdims: keepdims, x.dtype, f)
}

func reduced(_ x: Arr, _ axes: [Int], keepdims: Bool, _ dtype: DataType, _ f: ([Double]) -> Double) -> Arr {
    var kept: [Int] = []
    for a in 0..<x.rank where !axes.contains(a) || keepdims { kept.append(axes.contains(a) ? 1 : x.shape[a]) }
    var cells = [[Double]](repeating: [], count: Arr.count(kept))
    let out = Arr(kept, dtype, [Double](repeating: 0, count: cells.count))
    Arr.each(x.shape) { i in
        var o: [Int] = []
        for a in 0..<x.rank where !axes.contains(a) || keepdims { o.append(axes.contains(a) ? 0 : i[a]) }
        cells[out.offset(o)].append(x[i])
    }
    return Arr(kept, dtype, cells.map(f))
}

@Suite struct ReductionTests {
    struct Fold: Sendable, CustomTestStringConvertible {
        let name: String
        let f: @Sendable ([Double]) -> Double
        var testDescription: String { name }
    }
    static let folds: [Fold] = [
        Fold(name: "sum") { $0.reduce(0, +) },
        Fold(name: "prod") { $0.reduce(1, *) },
        Fold(name: "max") { $0.max() ?? -.infinity },
        Fold(name: "min") { $0.min() ?? .infinity },
        Fold(name: "mean") { $0.reduce(0, +) / Double($0.count) },
    ]
    /// shape, attribute (nil = all), axes meant
    static let cases: [([Int], [Int]?, [Int])] = [
        ([5], nil, [0]), ([2, 3, 4], nil, [0, 1, 2]), ([2, 3, 4], [1], [1]), ([2, 3, 4], [-1], [2]),
        ([2, 3, 4], [0, 2], [0, 2]), ([3, 1, 2, 5], [3, 1], [1, 3]), ([2, 3], [], []), ([], nil, []),
    ]

    @Test(arguments: folds) func fold(_ r: Fold) throws {
        var dice = Dice(11)
        for (shape, axis, axes) in Self.cases {
            for keep in [false, true] {
                let x = dice.array(shape, .float32, -1.5, 1.5)
                let value: AttrValue = axis.map { .ints($0) } ?? .none
                try check(
                    r.name, ["axis": value, "keepdims": .bool(keep)], [x],
                    [reduced(x, axes, keepdims: keep, r.f)])
            }
        }
        let x = dice.array([3, 4], .float16, -1, 1)
        try check(r.name, ["axis": .ints([1])], [x], [reduced(x, [1], keepdims: false, r.f)], tolerance: 2e-3)
        let n = dice.array([3, 4], .int32, -4, 4)
        let whole: @Sendable ([Double]) -> Double = { r.f($0).rounded(.towardZero) }
        try check(r.name, ["axis": .ints([1])], [n], [reduced(n, [1], keepdims: false, whole)])
        try check(
            r.name, ["axis": .ints([0]), "exclude": true], [n], [reduced(n, [1], keepdims: false, whole)])
    }

    @Test func longHalfSum() throws {
        // In 16 bits the sum would stop at 2048.
        let x = Arr([4000], .float16, [Double](repeating: 1, count: 4000))
        try check("sum", [:], [x], [Arr([], .float16, [4000])])
        try check("mean", [:], [x], [Arr([], .float16, [1])])
    }

    @Test func truth() throws {
        let x = Arr([2, 3], .bool, [1, 1, 0, 1, 1, 1])
        try check("all", ["axis": .ints([1])], [x], [Arr([2], .bool, [0, 1])])
        try check("any", ["axis": .ints([0])], [x], [Arr([3], .bool, [1, 1, 1])])
        try check("all", [:], [x], [Arr([], .bool, [0])])
        try check("any", ["keepdims": true], [x.map { _ in 0 }], [Arr([1, 1], .bool, [0])])
        try check("max", ["axis": .ints([1])], [x], [Arr([2], .bool, [1, 1])])
        try check("min", ["axis": .ints([1])], [x], [Arr([2], .bool, [0, 1])])
    }

    @Test func nanOfExtrema() throws {
        let x = Arr([2, 3], .float32, [1, .nan, 2, 4, 3, 5])
        try check("max", ["axis": .ints([1])], [x], [Arr([2], .float32, [.nan, 5])])
        try check("min", ["axis": .ints([1])], [x], [Arr([2], .float32, [.nan, 3])])
    }

    @Test(arguments: [false, true]) func positions(_ last: Bool) throws {
        var dice = Dice(12)
        for (name, sign) in [("argmax", 1.0), ("argmin", -1.0)] {
            func position(_ v: [Double]) -> Double {
                var best = 0
                for k in v.indices where sign * v[k] > sign * v[best] || (last && v[k] == v[best]) {
                    best = k
                }
                return Double(best)
            }
            for (shape, axis, axes) in Self.cases where !shape.isEmpty && !axes.isEmpty {
                let x = dice.array(shape, .int32, 0, 2).typed(.float32)
                let value: AttrValue = axis.map { .ints($0) } ?? .none
                for t in [DataType.float32, .int32] {
                    try check(
                        name, ["axis": value, "keepdims": true, "select_last_index": .bool(last)],
                        [x.typed(t)],
                        [reduced(x, axes, keepdims: true, .int64, position)])
                }
            }
            let worst = Arr([3], .float32, [Double](repeating: -sign * .infinity, count: 3))
            try check(name, ["select_last_index": .bool(last)], [worst], [Arr([], .int64, [last ? 2 : 0])])
            let nan = Arr([5], .float32, [1, .nan, 3, .nan, -1])
            try check(name, ["select_last_index": .bool(last)], [nan], [Arr([], .int64, [last ? 3 : 1])])
        }
    }
}

@Suite struct NormalisationTests {
    static let cases: [([Int], Int)] = [
        ([5], 0), ([3, 7], -1), ([2, 3, 4], 1), ([2, 3, 4], 0), ([1, 1], 1),
    ]

    func line(_ x: Arr, _ a: Int, _ i: [Int]) -> [Double] {
        (0..<x.shape[a]).map { k in
            var j = i
            j[a] = k
            return x[j]
        }
    }

    @Test(arguments: [DataType.float32, .float64, .float16]) func softmax(_ type: DataType) throws {
        var dice = Dice(13)
        for (shape, axis) in Self.cases {
            let a = axis < 0 ? axis + shape.count : axis
            let x = dice.array(shape, type, -3, 3)
            let soft = Arr(shape, type) { i in
                Glibc.exp(x[i]) / line(x, a, i).map { Glibc.exp($0) }.reduce(0, +)
            }
            let tolerance = type == .float16 ? 2e-3 : 2e-6
            try check("nn.softmax", ["axis": .int(axis)], [x], [soft], tolerance: tolerance)
            try check(
                "nn.log_softmax", ["axis": .int(axis)], [x], [soft.map { Glibc.log($0) }],
                tolerance: tolerance)
        }
    }

    @Test func softmaxOfLargeValues() throws {
        let x = Arr([3], .float32, [10000, 10001, -20000])
        let e = Glibc.exp(1.0)
        try check("nn.softmax", [:], [x], [Arr([3], .float32, [1 / (1 + e), e / (1 + e), 0])])
        try check(
            "nn.log_softmax", [:], [x],
            [Arr([3], .float32, [-Glibc.log(1 + e), 1 - Glibc.log(1 + e), -30000 - Glibc.log(1 + e)])])
    }

    @Test(arguments: [true, false]) func layerNorm(_ affine: Bool) throws {
        var dice = Dice(14)
        for (shape, axis) in Self.cases {
            let a = axis < 0 ? axis + shape.count : axis
            // Far from zero, where a difference of squares would cancel.
            let x = dice.array(shape, .float32, 1000, 1003)
            let gamma = dice.array([shape[a]])
            let beta = dice.array([shape[a]])
            let y = Arr(shape) { i in
                let v = line(x, a, i)
                let mean = v.reduce(0, +) / Double(v.count)
                let variance = v.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(v.count)
                let n = (x[i] - mean) / Glibc.sqrt(variance + 1e-3)
                return affine ? n * gamma[[i[a]]] + beta[[i[a]]] : n
            }
            try check(
                "nn.layer_norm",
                ["axis": .int(axis), "epsilon": 1e-3, "center": .bool(affine), "scale": .bool(affine)],
                [x, gamma, beta], [y], tolerance: 1e-3)
        }
    }

    @Test func batchNorm() throws {
        var dice = Dice(15)
        for (shape, axis) in [([2, 3, 4, 2], 1), ([2, 3], 1), ([2, 2, 5], -1)] {
            let a = axis < 0 ? axis + shape.count : axis
            let x = dice.array(shape)
            let p = (0..<4).map { dice.array([shape[a]], .float32, $0 == 3 ? 0.5 : -1, 2) }
            let y = Arr(shape) { i in
                let c = [i[a]]
                return (x[i] - p[2][c]) / Glibc.sqrt(p[3][c] + 1e-2) * p[0][c] + p[1][c]
            }
            try check("nn.batch_norm", ["axis": .int(axis), "epsilon": 1e-2], [x] + p, [y, p[2], p[3]])
        }
    }

    @Test func biasAddAndLRN() throws {
        var dice = Dice(16)
        let x = dice.array([2, 5, 3, 2])
        let b = dice.array([5])
        try check("nn.bias_add", ["axis": 1], [x, b], [Arr(x.shape) { x[$0] + b[[$0[1]]] }])
        for (size, axis) in [(3, 1), (4, 1), (5, 2), (1, 3)] {
            let y = Arr(x.shape) { i in
                var s = 0.0
                for d in -((size - 1) / 2)...(size / 2) {
                    var j = i
                    j[axis] += d
                    let v = x.at(j, or: 0)
                    s += v * v
                }
                return x[i] / Glibc.pow(2 + 0.1 / Double(size) * s, 0.75)
            }
            try check(
                "nn.lrn", ["size": .int(size), "axis": .int(axis), "bias": 2.0, "alpha": 0.1, "beta": 0.75],
                [x], [y])
        }
    }
}
