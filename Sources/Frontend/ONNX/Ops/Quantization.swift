import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

/// Integers that stand for real numbers: value = (integer - zero point) * scale.
func addQuantization(_ t: inout [String: ONNXConverter]) {
    t["QuantizeLinear"] = { c in
        let x = try c.x(0)
        let shape = try c.shape(x)
        let zeroPoint = c.optional(2)
        let declared = try c.node.int("output_dtype", default: 0)
        let to =
            try zeroPoint.map { try c.dtype($0) }
            ?? (declared == 0 ? .uint8 : ONNXElementType.dtype(number: declared))
        let scale = try spread(c, try c.x(1), shape)
        let work = try c.dtype(x) == .float64 ? DataType.float64 : .float32
        let ratio = try c.div(try c.cast(x, work), try c.cast(scale, work))
        return [try saturated(c, ratio, try zeroPoint.map { try spread(c, $0, shape) }, to)]
    }
    t["DequantizeLinear"] = { c in
        let x = try c.x(0)
        let shape = try c.shape(x)
        let declared = try c.node.int("output_dtype", default: 0)
        let to = declared == 0 ? try c.dtype(try c.x(1)) : try ONNXElementType.dtype(number: declared)
        let scale = try c.cast(try spread(c, try c.x(1), shape), .float32)
        var e = try c.cast(x, .float32)
        if let zero = c.optional(2) { e = try c.sub(e, try c.cast(try spread(c, zero, shape), .float32)) }
        return [try c.cast(try c.mul(e, scale), to)]
    }
    t["DynamicQuantizeLinear"] = { c in
        let x = try c.x(0)
        let type = try c.dtype(x)
        let axes = Array(try c.shape(x).indices)
        let zero = try c.scalar(0, type)
        let high = try c.call("maximum", [try c.reduced("max", x, axes, keep: false), zero])
        let low = try c.call("minimum", [try c.reduced("min", x, axes, keep: false), zero])
        let scale = try c.div(try c.sub(high, low), try c.scalar(255, type))
        // All zeros: any scale does.
        let safe = try c.choose(try c.call("equal", [scale, zero]), try c.scalar(1, type), scale)
        let raw = try c.clipped(try c.apply("negative", try c.div(low, safe)), 0, 255)
        let zeroPoint = try c.cast(try c.apply("round", raw), .uint8)
        return [try saturated(c, try c.div(x, safe), zeroPoint, .uint8), scale, zeroPoint]
    }
    t["MatMulInteger"] = { c in [try integerProduct(c, 0, 1, 2, 3)] }
    t["QLinearMatMul"] = { c in
        let product = try integerProduct(c, 0, 3, 2, 5)
        let rank = try c.shape(product).count
        func real(_ i: Int, _ axis: Int) throws -> RelayExpr {
            try c.along(try c.cast(try c.x(i), .float32), axis, rank: rank)
        }
        let scale = try c.div(
            try c.mul(try real(1, max(0, rank - 2)), try real(4, max(0, rank - 1))), try real(6, 0))
        let zero = try c.along(try c.x(7), 0, rank: rank)
        return [
            try saturated(c, try c.mul(try c.cast(product, .float32), scale), zero, try c.dtype(try c.x(7)))
        ]
    }
    t["ConvInteger"] = { c in [try integerConvolution(c, 0, 1, 2, 3)] }
    t["QLinearConv"] = { c in
        var y = try integerConvolution(c, 0, 3, 2, 5)
        let rank = try c.shape(y).count
        if let bias = c.optional(8) { y = try c.add(y, try c.along(bias, 1, rank: rank)) }
        func real(_ i: Int, _ axis: Int) throws -> RelayExpr {
            try c.along(try c.cast(try c.x(i), .float32), axis, rank: rank)
        }
        let scale = try c.div(try c.mul(try real(1, 0), try real(4, 1)), try real(6, 0))
        let zero = try c.along(try c.x(7), 0, rank: rank)
        return [try saturated(c, try c.mul(try c.cast(y, .float32), scale), zero, try c.dtype(try c.x(7)))]
    }
}

/// A scale or zero point so that it broadcasts over data: one number, or one for each of an axis or block.
private func spread(_ c: NodeContext, _ e: RelayExpr, _ data: [Int]) throws -> RelayExpr {
    let s = try c.shape(e)
    if s.isEmpty { return e }
    let axis = data.isEmpty ? 0 : try c.node.int("axis", default: 1)
    let block = try c.node.int("block_size", default: 0)
    if s.count == 1 && block == 0 {
        if s[0] == 1 { return try c.reshape(e, []) }
        return try c.along(e, try c.axis(axis, rank: data.count), rank: data.count)
    }
    let a = try c.axis(axis, rank: data.count)
    guard block > 0, block <= data[a], s.count == data.count,
        s.indices.allSatisfy({ $0 == a || s[$0] == data[$0] }),
        s[a] > 0, (data[a] + block - 1) / block == s[a]
    else {
        throw ApusError(
            "ONNX310", "the scales do not fit the data", expected: "\(data)",
            actual: "\(s) in blocks of \(block)")
    }
    return try c.sliced(try c.repeated(e, block, a), a, 0, data[a])
}

/// `round(x) + zero` within the range of an integer type, as that.
private func saturated(_ c: NodeContext, _ x: RelayExpr, _ zero: RelayExpr?, _ to: DataType) throws
    -> RelayExpr
{
    let ranges: [DataType: (Double, Double)] = [
        .uint8: (0, 255), .int8: (-128, 127), .uint16: (0, 65535), .int16: (-32768, 32767),
    ]
    guard let range = ranges[to] else {
        throw ApusError(
            "ONNX311", "this type is not quantised to", expected: "an integer of 8 or 16 bits",
            actual: "\(to)")
    }
    var e = try c.apply("round", x)
    if let zero { e = try c.add(e, try c.cast(zero, try c.dtype(x))) }
    return try c.cast(try c.clipped(e, range.0, range.1), to)
}

private func centred(_ c: NodeContext, _ i: Int, _ zero: RelayExpr?, _ axis: Int) throws -> RelayExpr {
    let e = try c.cast(try c.x(i), .int32)
    guard let zero else { return e }
    return try c.sub(e, try c.along(try c.cast(zero, .int32), max(0, axis), rank: try c.shape(e).count))
}

private func integerProduct(_ c: NodeContext, _ a: Int, _ b: Int, _ za: Int, _ zb: Int) throws -> RelayExpr {
    let (ra, rb) = (try c.shape(try c.x(a)).count, try c.shape(try c.x(b)).count)
    return try matmul(c, try centred(c, a, c.optional(za), ra - 2), try centred(c, b, c.optional(zb), rb - 1))
}

private func integerConvolution(_ c: NodeContext, _ x: Int, _ w: Int, _ zx: Int, _ zw: Int) throws
    -> RelayExpr
{
    // Padding is the zero point, which is 0 once it is taken away.
    try convolution(c, try centred(c, x, c.optional(zx), 0), try centred(c, w, c.optional(zw), 0))
}
