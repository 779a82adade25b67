import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// How `resize` finds and mixes source positions; names as in ONNX.
    public struct ResizeParameters: Sendable {
        /// Output extents, one a spatial dimension.
        public var size: [Int]
        /// Output over input, where it is not simply the ratio of the extents.
        public var scales: [Double]?
        /// Begins then ends of the region, in parts of the input (`tf_crop_and_resize`).
        public var roi: [Double]?
        public var layout = "NCHW"
        /// `nearest_neighbor`, `linear` or `cubic`.
        public var method = "linear"
        /// `half_pixel`, `half_pixel_symmetric`, `pytorch_half_pixel`, `asymmetric`, `align_corners`,
        /// `tf_half_pixel_for_nn` or `tf_crop_and_resize`.
        public var coordinateMode = "half_pixel"
        /// `round_prefer_floor`, `round_prefer_ceil` (or `round`), `floor` or `ceil`.
        public var rounding = "round_prefer_floor"
        public var cubicAlpha = -0.75
        /// Whether weights of taps outside are dropped and the others scaled up.
        public var cubicExclude = false
        /// What stands outside with `tf_crop_and_resize`.
        public var extrapolation = 0.0

        public init(size: [Int]) { self.size = size }
    }

    /// `x` resampled to other spatial extents, one axis after another. Positions are exact rationals where
    /// the mode allows, so that ties round as the mode says; otherwise they are computed in 64 bits.
    public static func resize(_ x: Tensor, _ p: ResizeParameters) throws -> Tensor {
        let op = "image.resize"
        let layout = try Layout(p.layout)
        let letters = layout.letters.filter { $0 != "N" && $0 != "C" }
        try require(
            layout.rank == x.rank && p.size.count == letters.count
                && letters.allSatisfy { !layout.isBlocked($0) }, op,
            "a tensor of \(x.rank) axes and \(p.size.count) sizes do not fit layout \(p.layout)")
        try require(
            p.size.allSatisfy { $0 > 0 && $0 <= 1 << 30 }
                && (p.scales.map { $0.count == p.size.count } ?? true)
                && (p.roi.map { $0.count == 2 * p.size.count } ?? true), op,
            "a size, scale or roi is not valid")
        try require(
            ["nearest_neighbor", "linear", "cubic"].contains(p.method), op, "unknown method \(p.method)")
        var y = x
        // Only the last axis may be inlined elsewhere: taps of taps would be computed many times.
        var remaining = 0
        for (k, letter) in letters.enumerated() {
            if let a = layout.position(letter), x.shape[a].asInt != p.size[k] || p.roi != nil {
                remaining += 1
            }
        }
        let interpolates = p.method != "nearest_neighbor"
        let work: DataType = x.dtype == .float64 ? .float64 : .float32
        for (k, letter) in letters.enumerated() {
            guard let a = layout.position(letter) else { continue }
            guard let extent = x.shape[a].asInt, extent > 0, extent <= 1 << 30 else {
                throw ApusError("TOPI002", "\(op): spatial extents must be known and not 0")
            }
            let position = try SourcePosition(p, k, extent)
            if position.isIdentity { continue }
            if interpolates && y.dtype != work { y = try cast(y, work) }
            remaining -= 1
            y = try resizeAxis(
                y, a, position, p, tag: remaining > 0 && interpolates ? "resize" : Tag.injective)
        }
        return y.dtype == x.dtype ? (y.op === x.op ? try copy(x) : y) : try cast(y, x.dtype)
    }

    private static func resizeAxis(
        _ x: Tensor, _ a: Int, _ position: SourcePosition, _ p: ResizeParameters, tag: String
    ) throws -> Tensor {
        var shape = x.shape
        shape[a] = imm(position.outExtent)
        let last = imm(position.extent - 1)
        return try ApusTE.compute(shape, name: "resize", tag: tag) { i in
            func tap(_ at: PrimExpr) -> PrimExpr {
                var index = i
                index[a] = leastOf(greatestOf(at, imm(0)), last)
                return x[index]
            }
            var value: PrimExpr
            switch p.method {
            case "nearest_neighbor": value = tap(position.rounded(i[a], p.rounding))
            case "linear":
                let (low, fraction) = position.split(i[a], x.dtype)
                value = tap(low) * (const(1, x.dtype) - fraction) + tap(low + 1) * fraction
            default:
                let (low, fraction) = position.split(i[a], x.dtype)
                value = cubic(low, fraction, last, p, tap)
            }
            if let outside = position.outside(i[a]) {
                value = select(outside, const(p.extrapolation, x.dtype), value)
            }
            return value
        }
    }

    /// Keys' cubic convolution of four taps.
    private static func cubic(
        _ low: PrimExpr, _ t: PrimExpr, _ last: PrimExpr, _ p: ResizeParameters, _ tap: (PrimExpr) -> PrimExpr
    ) -> PrimExpr {
        let type = t.dtype
        let alpha = p.cubicAlpha
        func c(_ v: Double) -> PrimExpr { const(v, type) }
        // |d| <= 1 and 1 < |d| < 2 pieces of the kernel.
        func near(_ d: PrimExpr) -> PrimExpr { (c(alpha + 2) * d - c(alpha + 3)) * d * d + c(1) }
        func far(_ d: PrimExpr) -> PrimExpr {
            ((c(alpha) * d - c(5 * alpha)) * d + c(8 * alpha)) * d - c(4 * alpha)
        }
        var weights: [PrimExpr] = [far(t + c(1)), near(t), near(c(1) - t), far(c(2) - t)]
        if p.cubicExclude {
            var total: PrimExpr = c(0)
            for k in 0..<4 {
                let at = low + (k - 1)
                weights[k] = select(and(at .>= 0, at .<= last), weights[k], c(0))
                total = k == 0 ? weights[0] : total + weights[k]
            }
            weights = weights.map { $0 / total }
        }
        var sum = weights[0] * tap(low - 1)
        for k in 1..<4 { sum = sum + weights[k] * tap(low + (k - 1)) }
        return sum
    }
}

/// Where element `i` of a resized axis lies in the source: `(a * i + b) / d` where that is rational, else
/// `factor * i + offset`.
private struct SourcePosition {
    let extent: Int
    let outExtent: Int
    private var rational: (a: Int, b: Int, d: Int)?
    private var factor = 0.0
    private var offset = 0.0
    private var extrapolates = false

    var isIdentity: Bool {
        guard let r = rational, extent == outExtent else { return false }
        return r.a == r.d && r.b == 0
    }

    init(_ p: TOPI.ResizeParameters, _ k: Int, _ extent: Int) throws {
        self.extent = extent
        outExtent = p.size[k]
        let n = extent
        let m = outExtent
        var scale = Double(m) / Double(n)
        var exact = true
        if let given = p.scales?[k], given > 0 {
            // Scales come as 32-bit numbers: 0.6 of 5 is 3.
            exact = Swift.abs(given * Double(n) - Double(m)) <= 1e-6 * Double(m)
            if !exact { scale = given }
        }
        let halfPixel = (a: 2 * n, b: n - m, d: 2 * m)
        switch p.coordinateMode {
        case "half_pixel", "":
            rational = halfPixel
            factor = 1 / scale
            offset = 0.5 / scale - 0.5
        case "pytorch_half_pixel":
            rational = m > 1 ? halfPixel : (a: 0, b: 0, d: 1)
            factor = m > 1 ? 1 / scale : 0
            offset = m > 1 ? 0.5 / scale - 0.5 : 0
        case "asymmetric":
            rational = (a: n, b: 0, d: m)
            factor = 1 / scale
        case "tf_half_pixel_for_nn":
            rational = (a: 2 * n, b: n, d: 2 * m)
            factor = 1 / scale
            offset = 0.5 / scale
        case "align_corners":
            rational = m > 1 ? (a: n - 1, b: 0, d: m - 1) : (a: 0, b: 0, d: 1)
            exact = true
        case "half_pixel_symmetric":
            // The centre stays the centre where the extent is not quite the scale's.
            let adjustment = Double(m) / (scale * Double(n))
            rational = halfPixel
            factor = 1 / scale
            offset = Double(n) / 2 * (1 - adjustment) + 0.5 / scale - 0.5
        case "tf_crop_and_resize":
            exact = false
            extrapolates = true
            let begin = p.roi?[k] ?? 0
            let end = p.roi?[k + p.size.count] ?? 1
            let last = Double(n - 1)
            factor = m > 1 ? (end - begin) * last / Double(m - 1) : 0
            offset = m > 1 ? begin * last : 0.5 * (begin + end) * last
        default:
            throw ApusError(
                "TOPI002", "image.resize: unknown coordinate transformation", actual: p.coordinateMode)
        }
        if !exact { rational = nil }
    }

    private func position(_ i: PrimExpr) -> PrimExpr {
        cast(.float64, i) * const(factor, .float64) + const(offset, .float64)
    }

    private func numerator(_ i: PrimExpr, _ r: (a: Int, b: Int, d: Int)) -> PrimExpr {
        let scaled = r.a == 0 ? IntImm(0) as PrimExpr : i * r.a
        return r.b == 0 ? scaled : scaled + r.b
    }

    /// The nearest source element by the given rule.
    func rounded(_ i: PrimExpr, _ rule: String) -> PrimExpr {
        guard let r = rational else {
            let x = position(i)
            let half = const(0.5, .float64)
            switch rule {
            case "floor": return cast(.index, unary("floor", x))
            case "ceil": return cast(.index, unary("ceil", x))
            case "round_prefer_ceil", "round": return cast(.index, unary("floor", x + half))
            default: return cast(.index, unary("ceil", x - half))
            }
        }
        let v = numerator(i, r)
        switch rule {
        case "floor": return floorDiv(v, r.d)
        case "ceil": return floorDiv(v + (r.d - 1), r.d)
        case "round_prefer_ceil", "round": return floorDiv(v * 2 + r.d, 2 * r.d)
        default: return floorDiv(v * 2 - r.d + (2 * r.d - 1), 2 * r.d)
        }
    }

    /// The source element at or before the position, and how far it is past it.
    func split(_ i: PrimExpr, _ dtype: DataType) -> (low: PrimExpr, fraction: PrimExpr) {
        guard let r = rational else {
            let x = position(i)
            let low = unary("floor", x)
            return (low: cast(.index, low), fraction: cast(dtype, x - low))
        }
        let v = numerator(i, r)
        return (
            low: floorDiv(v, r.d), fraction: cast(dtype, floorMod(v, r.d)) * const(1 / Double(r.d), dtype)
        )
    }

    /// Whether the position lies outside, where that matters.
    func outside(_ i: PrimExpr) -> PrimExpr? {
        guard extrapolates else { return nil }
        let x = position(i)
        return or(x .< const(0.0, .float64), x .> const(Double(extent - 1), .float64))
    }
}
