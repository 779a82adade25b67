import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

/// Lets matrix products and convolutions of dequantised values sum the integers themselves: graphs of DequantizeLinear, operator,
/// QuantizeLinear then compute what QLinearConv and MatMulInteger do.
///
/// With data `s (a - p)` and weights `t (b - q)`, `t` one number or one for each output:
///
///     Σ s (a - p) t (b - q)  =  s t Σ (a - p) (b - q)
///
/// A bias that is a multiple of `s t` joins the sum, which is exact; another is added behind it. Where the result is quantised
/// with a scale `u`, the sum is multiplied by `s t / u` once. `NarrowProducts` then takes the integers as 8 bits.
///
/// Greatest elements of windows, reshapes and transpositions of dequantised values are those of the integers, dequantised; what
/// is dequantised and quantised again with the same scale and zero point is left as it is.
///
/// To be run before constants are folded, which would hide scales in weights.
public let quantizedProducts = FunctionPass<Relay.Function>(
    PassInfo("QuantizedProducts", "products of dequantised values become sums of integers", level: 2)
) { function, _, _ in
    var rewriter = QuantizedRewriter(uses: Relay.useCounts(function.body))
    let body = try Relay.rewrite(function.body, intoFunctions: false) { old, new in
        try rewriter.visit(old, new) ?? new
    }
    return body === function.body ? function : try function.with(body: body)
}

/// Small constants as numbers.
private struct Numbers {
    let shape: [Int]
    let values: [Double]

    /// The values of constants and of arithmetic on them; nil for what is none, or has more than 2^16 elements.
    static func of(_ e: RelayExpr, depth: Int = 16) -> Numbers? {
        guard depth > 0, let shape = e.tensorType?.staticShape, shape.reduce(1, *) <= 1 << 16 else {
            return nil
        }
        if let constant = e as? Relay.Constant {
            return (try? constant.data.toDoubles()).map { Numbers(shape: shape, values: $0) }
        }
        guard let call = e as? Relay.Call, let first = call.args.first, let a = of(first, depth: depth - 1)
        else {
            return nil
        }
        switch call.opName {
        case "cast":
            // To a type that has all of these numbers.
            guard let to = call.tensorType?.dtype, let from = first.tensorType?.dtype,
                to == from || (to == .float32 && from.isInteger && from.bits <= 16)
                    || (to == .int32 && from.isInteger)
            else { return nil }
            return a
        case "reshape", "expand_dims", "squeeze": return Numbers(shape: shape, values: a.values)
        default: return nil
        }
    }

    /// The number that all elements are.
    var single: Double? { Set(values).count == 1 ? values[0] : nil }
    var isZero: Bool { values.allSatisfy { $0 == 0 } }

    /// The one number an index of `axis` (of `rank` axes) has, for all of them; nil where others matter too.
    func along(_ axis: Int, rank: Int, extent: Int) -> [Double]? {
        if let single { return [Double](repeating: single, count: extent) }
        let at = axis - (rank - shape.count)
        guard at >= 0, shape.indices.allSatisfy({ $0 == at ? shape[$0] == extent : shape[$0] == 1 }) else {
            return nil
        }
        return values
    }
}

/// `scale * (value - zero)`.
private struct Dequantized {
    /// 8-bit integers.
    let value: RelayExpr
    let zero: Numbers?
    let zeroExpr: RelayExpr?
    let scale: Numbers

    /// What `e` is, if it is that.
    static func of(_ e: RelayExpr) -> Dequantized? {
        guard let product = e as? Relay.Call, product.opName == "multiply",
            product.tensorType?.dtype == .float32,
            let scale = Numbers.of(product.args[1]), scale.values.allSatisfy({ $0 > 0 && $0.isFinite })
        else { return nil }
        var inner = product.args[0]
        var zero: Numbers?
        var zeroExpr: RelayExpr?
        if let difference = inner as? Relay.Call, difference.opName == "subtract" {
            guard let z = Numbers.of(difference.args[1]) else { return nil }
            if !z.isZero {
                zero = z
                zeroExpr = difference.args[1]
            }
            inner = difference.args[0]
        }
        guard let cast = inner as? Relay.Call, cast.opName == "cast", cast.tensorType?.dtype == .float32,
            let type = cast.args[0].tensorType?.dtype, type == .uint8 || type == .int8,
            cast.tensorType?.staticShape == product.tensorType?.staticShape
        else { return nil }
        return Dequantized(value: cast.args[0], zero: zero, zeroExpr: zeroExpr, scale: scale)
    }

    /// Whether one scale and one zero point hold for all elements.
    var isUniform: Bool { scale.single != nil && (zero == nil || zero?.single != nil) }

    /// `value - zero` in int32.
    func integers() throws -> RelayExpr {
        let wide = try Relay.call("cast", [value], ["dtype": .dtype(.int32)])
        guard let zero, let zeroExpr else { return wide }
        let z =
            try zero.single.map { try Relay.scalar($0, .int32) as RelayExpr }
            ?? Relay.call("cast", [zeroExpr], ["dtype": .dtype(.int32)])
        return try Relay.call("subtract", [wide, z])
    }

    /// `new` in place of the integers, with the one scale and zero point of these.
    func uniform(_ new: RelayExpr) throws -> RelayExpr {
        var e: RelayExpr = try Relay.call("cast", [new], ["dtype": .dtype(.float32)])
        if let z = zero?.single { e = try Relay.call("subtract", [e, try Relay.scalar(z, .float32)]) }
        return try Relay.call("multiply", [e, try Relay.scalar(scale.single ?? 1, .float32)])
    }
}

private struct QuantizedRewriter {
    let uses: [ObjectIdentifier: Int]
    /// Results of this pass: sums of int32, and what each output is multiplied by.
    private var sums: [ObjectIdentifier: Sum] = [:]

    private struct Sum {
        let integers: RelayExpr
        let scales: [Double]
        /// The axis of outputs, from the end.
        let axisFromEnd: Int
    }

    init(uses: [ObjectIdentifier: Int]) { self.uses = uses }

    mutating func visit(_ old: RelayExpr, _ new: RelayExpr) throws -> RelayExpr? {
        guard let call = new as? Relay.Call, let before = old as? Relay.Call else { return nil }
        switch call.opName {
        case "nn.conv2d": return try convolution(call)
        case "nn.dense": return try dense(call)
        case "nn.batch_matmul": return try matrices(call)
        case "add": return try biased(call, before)
        case "divide": return try rescaled(call, before)
        case "nn.max_pool2d", "reshape", "transpose":
            guard call.args.count == 1, let d = Dequantized.of(call.args[0]), d.isUniform,
                d.value.exprKind != .constant
            else { return nil }
            return try d.uniform(try Relay.Call(call.op, [d.value], call.attrs, span: call.span))
        case "cast": return requantized(call)
        default: return nil
        }
    }

    // MARK: Products

    private mutating func convolution(_ call: Relay.Call) throws -> RelayExpr? {
        // What NarrowProducts takes.
        guard call.attrs.string("data_layout") == "NCHW", call.attrs.string("kernel_layout") == "OIHW",
            (call.attrs.string("out_layout") ?? "").isEmpty, call.attrs.ints("padding")?.count == 4,
            call.tensorType?.dtype == .float32, let data = Dequantized.of(call.args[0]), data.isUniform,
            let weight = Dequantized.of(call.args[1]), weight.value.exprKind == .constant,
            let shape = weight.value.tensorType?.staticShape, shape.count == 4,
            shape[1] > 1 || call.attrs.int("groups") ?? 1 == 1,
            let scales = weight.scale.along(0, rank: 4, extent: shape[0]), let own = data.scale.single
        else { return nil }
        let attrs = call.attrs.setting("out_dtype", .dtype(.int32))
        let sum = try Relay.Call(
            call.op, [try data.integers(), try weight.integers()], attrs, span: call.span)
        return try scaled(Sum(integers: sum, scales: scales.map { $0 * own }, axisFromEnd: 3), call.span)
    }

    private mutating func dense(_ call: Relay.Call) throws -> RelayExpr? {
        guard call.tensorType?.dtype == .float32, let data = Dequantized.of(call.args[0]), data.isUniform,
            let own = data.scale.single, let shape = call.args[1].tensorType?.staticShape
        else { return nil }
        // A weight [N, K], or the transpose of one [K, N].
        var weight = Dequantized.of(call.args[1])
        var turned = false
        if weight == nil, let t = call.args[1] as? Relay.Call, t.opName == "transpose" {
            weight = Dequantized.of(t.args[0])
            turned = true
        }
        guard let weight, weight.value.exprKind == .constant,
            let scales = weight.scale.along(turned ? 1 : 0, rank: 2, extent: shape[0])
        else { return nil }
        var w = try weight.integers()
        if turned { w = try Relay.call("transpose", [w], ["axes": .ints([1, 0])]) }
        let attrs = call.attrs.setting("out_dtype", .dtype(.int32))
        let sum = try Relay.Call(call.op, [try data.integers(), w], attrs, span: call.span)
        return try scaled(Sum(integers: sum, scales: scales.map { $0 * own }, axisFromEnd: 1), call.span)
    }

    /// Stacks of matrices, both perhaps known only at run time.
    private mutating func matrices(_ call: Relay.Call) throws -> RelayExpr? {
        guard call.tensorType?.dtype == .float32, let columns = call.tensorType?.staticShape?.last,
            let left = Dequantized.of(call.args[0]), let right = Dequantized.of(call.args[1]),
            left.isUniform, right.isUniform, left.value.exprKind != .constant,
            let s = left.scale.single, let t = right.scale.single
        else { return nil }
        let attrs = call.attrs.setting("out_dtype", .dtype(.int32))
        let sum = try Relay.Call(
            call.op, [try left.integers(), try right.integers()], attrs, span: call.span)
        let scales = [Double](repeating: s * t, count: columns)
        return try scaled(Sum(integers: sum, scales: scales, axisFromEnd: 1), call.span)
    }

    /// `sum * scales` in float32, remembered.
    private mutating func scaled(_ sum: Sum, _ span: Span?) throws -> RelayExpr {
        let real = try Relay.call("cast", [sum.integers], ["dtype": .dtype(.float32)])
        let result = try Relay.call(
            "multiply", [real, try vector(sum.scales, sum.axisFromEnd, .float32)], span: span)
        sums[ObjectIdentifier(result)] = sum
        return result
    }

    /// Numbers for each output, such that they broadcast; one where all are the same.
    private func vector(_ values: [Double], _ axisFromEnd: Int, _ type: DataType) throws -> RelayExpr {
        if Set(values).count == 1 { return try Relay.scalar(values[0], type) }
        let shape = [values.count] + [Int](repeating: 1, count: axisFromEnd - 1)
        let data = type == .int32 ? NDArray(values.map { Int32($0) }) : NDArray(values.map { Float($0) })
        return Relay.Constant(try data.reshaped(to: shape))
    }

    // MARK: What follows

    private mutating func biased(_ call: Relay.Call, _ old: Relay.Call) throws -> RelayExpr? {
        for (i, other) in [(0, 1), (1, 0)] {
            guard let sum = sums[ObjectIdentifier(call.args[i])], uses[ObjectIdentifier(old.args[i])] == 1,
                let shape = call.tensorType?.staticShape, shape == call.args[i].tensorType?.staticShape,
                let bias = Numbers.of(call.args[other])?.along(
                    shape.count - sum.axisFromEnd, rank: shape.count, extent: sum.scales.count)
            else { continue }
            var steps: [Double] = []
            for (b, scale) in zip(bias, sum.scales) {
                let n = (b / scale).rounded()
                guard abs(n) < 0x1p30, abs(n * scale - b) <= 1e-6 * abs(b) + 1e-3 * scale else { return nil }
                steps.append(n)
            }
            let integers = try Relay.call("add", [sum.integers, try vector(steps, sum.axisFromEnd, .int32)])
            return try scaled(
                Sum(integers: integers, scales: sum.scales, axisFromEnd: sum.axisFromEnd), call.span)
        }
        return nil
    }

    private mutating func rescaled(_ call: Relay.Call, _ old: Relay.Call) throws -> RelayExpr? {
        guard let sum = sums[ObjectIdentifier(call.args[0])], uses[ObjectIdentifier(old.args[0])] == 1,
            call.tensorType?.staticShape == call.args[0].tensorType?.staticShape,
            let divisor = Numbers.of(call.args[1])?.single, divisor > 0, divisor.isFinite
        else { return nil }
        let scales = sum.scales.map { Double(Float($0) / Float(divisor)) }
        return try scaled(
            Sum(integers: sum.integers, scales: scales, axisFromEnd: sum.axisFromEnd), call.span)
    }

    /// What was dequantised, where `call` quantises it with the same scale and zero point.
    private func requantized(_ call: Relay.Call) -> RelayExpr? {
        guard let type = call.tensorType?.dtype, type == .uint8 || type == .int8,
            let clip = call.args[0] as? Relay.Call, clip.opName == "clip",
            clip.attrs.float("a_min") == (type == .uint8 ? 0 : -128),
            clip.attrs.float("a_max") == (type == .uint8 ? 255 : 127)
        else { return nil }
        var e = clip.args[0]
        var zero = 0.0
        if let sum = e as? Relay.Call, sum.opName == "add" {
            guard let z = Numbers.of(sum.args[1])?.single else { return nil }
            zero = z
            e = sum.args[0]
        }
        guard let round = e as? Relay.Call, round.opName == "round", let ratio = round.args[0] as? Relay.Call,
            ratio.opName == "divide", let d = Dequantized.of(ratio.args[0]), d.isUniform,
            d.value.tensorType?.dtype == type,
            d.value.tensorType?.staticShape == call.tensorType?.staticShape,
            let scale = Numbers.of(ratio.args[1])?.single, scale == d.scale.single,
            zero == d.zero?.single ?? 0
        else { return nil }
        return d.value
    }
}
