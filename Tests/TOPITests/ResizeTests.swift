import ApusIR
import ApusNode
import ApusRuntime
import ApusTOPI
import Testing

@Suite struct ResizeTests {
    /// The source position as ONNX defines it.
    static func position(
        _ i: Int, _ mode: String, _ input: Int, _ output: Int, _ scale: Double, _ roi: (Double, Double)
    ) -> Double {
        let x = Double(i)
        let n = Double(input)
        let m = Double(output)
        switch mode {
        case "asymmetric": return x / scale
        case "align_corners": return output == 1 ? 0 : x * (n - 1) / (m - 1)
        case "pytorch_half_pixel": return output > 1 ? (x + 0.5) / scale - 0.5 : 0
        case "tf_half_pixel_for_nn": return (x + 0.5) / scale
        case "half_pixel_symmetric":
            let adjustment = m / (scale * n)
            return n / 2 * (1 - adjustment) + (x + 0.5) / scale - 0.5
        case "tf_crop_and_resize":
            return output > 1
                ? roi.0 * (n - 1) + x * (roi.1 - roi.0) * (n - 1) / (m - 1) : 0.5 * (roi.0 + roi.1) * (n - 1)
        default: return (x + 0.5) / scale - 0.5
        }
    }

    static func weights(_ t: Double, _ a: Double) -> [Double] {
        func k(_ d: Double) -> Double {
            let x = abs(d)
            if x <= 1 { return (a + 2) * x * x * x - (a + 3) * x * x + 1 }
            return a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a
        }
        return [k(1 + t), k(t), k(1 - t), k(2 - t)]
    }

    struct Options {
        var method = "linear"
        var mode = "half_pixel"
        var rounding = "round_prefer_floor"
        var scales: [Double]?
        var roi: [Double]?
        var alpha = -0.75
        var exclude = false
        var extrapolation = 0.0
    }

    /// Taps and weights of every axis, all combinations summed at once.
    static func reference(_ x: Arr, _ size: [Int], _ o: Options) -> Arr {
        let n = size.count
        return Arr(Array(x.shape[..<2]) + size) { i in
            var taps: [[(Int, Double)]] = []
            for k in 0..<n {
                let extent = x.shape[2 + k]
                let scale = o.scales?[k] ?? Double(size[k]) / Double(extent)
                let roi = o.roi.map { ($0[k], $0[k + n]) } ?? (0, 1)
                let p = position(i[2 + k], o.mode, extent, size[k], scale, roi)
                if o.mode == "tf_crop_and_resize" && (p < 0 || p > Double(extent - 1)) {
                    return o.extrapolation
                }
                let clamp: (Int) -> Int = { min(max($0, 0), extent - 1) }
                let low = Int(p.rounded(.down))
                let t = p - p.rounded(.down)
                switch o.method {
                case "nearest_neighbor":
                    let q: Double
                    switch o.rounding {
                    case "floor": q = p.rounded(.down)
                    case "ceil": q = p.rounded(.up)
                    case "round_prefer_ceil": q = (p + 0.5).rounded(.down)
                    default: q = (p - 0.5).rounded(.up)
                    }
                    taps.append([(clamp(Int(q)), 1)])
                case "linear": taps.append([(clamp(low), 1 - t), (clamp(low + 1), t)])
                default:
                    var w = weights(t, o.alpha)
                    if o.exclude {
                        for j in 0..<4 where low - 1 + j < 0 || low - 1 + j >= extent { w[j] = 0 }
                        let s = w.reduce(0, +)
                        w = w.map { $0 / s }
                    }
                    taps.append((0..<4).map { (clamp(low - 1 + $0), w[$0]) })
                }
            }
            var sum = 0.0
            Arr.each(taps.map(\.count)) { c in
                var w = 1.0
                var at = Array(i[..<2])
                for k in 0..<n {
                    at.append(taps[k][c[k]].0)
                    w *= taps[k][c[k]].1
                }
                sum += w * x[at]
            }
            return sum
        }
    }

    func verify(_ shape: [Int], _ size: [Int], _ o: Options, seed: Int = 90) throws {
        var dice = Dice(seed)
        let x = dice.array(shape)
        try check(
            "image.resize",
            [
                "size": .ints(size), "scales": o.scales.map { .floats($0) } ?? .none,
                "roi": o.roi.map { .floats($0) } ?? .none,
                "layout": .string(size.count == 1 ? "NCW" : (size.count == 2 ? "NCHW" : "NCDHW")),
                "method": .string(o.method), "coordinate_transformation_mode": .string(o.mode),
                "rounding_method": .string(o.rounding), "cubic_alpha": .float(o.alpha),
                "cubic_exclude": .int(o.exclude ? 1 : 0), "extrapolation_value": .float(o.extrapolation),
            ], [x], [Self.reference(x, size, o)])
    }

    static let modes = [
        "half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "tf_half_pixel_for_nn",
        "half_pixel_symmetric",
    ]
    static let shapes: [([Int], [Int])] = [
        ([1, 2, 5], [8]), ([1, 2, 4, 4], [8, 8]), ([2, 1, 6, 5], [3, 7]), ([1, 1, 3, 4], [1, 9]),
        ([1, 1, 2, 3, 4], [4, 3, 2]), ([1, 1, 3, 3], [3, 3]),
    ]

    @Test(arguments: modes, ["nearest_neighbor", "linear", "cubic"]) func resize(
        _ mode: String, _ method: String
    ) throws {
        for (shape, size) in Self.shapes {
            try verify(shape, size, Options(method: method, mode: mode))
        }
    }

    @Test(arguments: ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]) func rounding(
        _ rule: String
    ) throws {
        for mode in ["half_pixel", "asymmetric"] {
            for (shape, size) in [([1, 1, 4, 4], [8, 2]), ([1, 1, 6, 2], [4, 8])] {
                try verify(shape, size, Options(method: "nearest_neighbor", mode: mode, rounding: rule))
            }
        }
    }

    @Test func scalesThatAreNotRatios() throws {
        for method in ["linear", "cubic", "nearest_neighbor"] {
            for mode in ["half_pixel", "asymmetric", "half_pixel_symmetric"] {
                let size = [3, 6]  // floor of 5 * 0.7 and of 5 * 1.3
                try verify([1, 2, 5, 5], size, Options(method: method, mode: mode, scales: [0.7, 1.3]))
            }
        }
    }

    @Test func cubicOptions() throws {
        try verify([1, 1, 4, 5], [7, 9], Options(method: "cubic", alpha: -0.5))
        try verify([1, 1, 4, 5], [7, 3], Options(method: "cubic", alpha: -0.5, exclude: true))
        try verify([1, 1, 4, 4], [8, 2], Options(method: "cubic", mode: "asymmetric", exclude: true))
    }

    @Test func cropAndResize() throws {
        for method in ["linear", "nearest_neighbor", "cubic"] {
            try verify(
                [1, 2, 6, 6], [4, 5],
                Options(
                    method: method, mode: "tf_crop_and_resize", roi: [0.2, -0.3, 0.9, 1.2], extrapolation: 7))
            try verify(
                [1, 1, 6, 6], [1, 5],
                Options(
                    method: method, mode: "tf_crop_and_resize", roi: [0.2, 0.1, 0.9, 0.6], extrapolation: 7))
        }
    }

    @Test func integersAndHalves() throws {
        let x = Arr([1, 1, 2], .uint8, [10, 20])
        try check(
            "image.resize", ["size": .ints([4]), "layout": "NCW", "method": "linear"], [x],
            [Arr([1, 1, 4], .uint8, [10, 12, 17, 20])])
        try check(
            "image.resize", ["size": .ints([4]), "layout": "NCW", "method": "nearest_neighbor"], [x],
            [Arr([1, 1, 4], .uint8, [10, 10, 20, 20])])
        try check(
            "image.resize", ["size": .ints([4]), "layout": "NCW", "method": "linear"], [x.typed(.float16)],
            [Arr([1, 1, 4], .float16, [10, 12.5, 17.5, 20])])
        try check(
            "image.resize", ["size": .ints([2, 2]), "layout": "NHWC", "method": "nearest_neighbor"],
            [Arr([1, 1, 2, 3], .float32, [1, 2, 3, 4, 5, 6])],
            [Arr([1, 2, 2, 3], .float32, [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6])])
        #expect(throws: (any Error).self) {
            try evaluate("image.resize", ["size": .ints([0]), "layout": "NCW"], [x], [x])
        }
    }
}
