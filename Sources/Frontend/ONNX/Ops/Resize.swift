import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

/// Resampling along axes; `Upsample` is its old name.
let resize: ONNXConverter = { c in
    let x = try c.x(0)
    let shape = try c.shape(x)
    let rank = shape.count
    guard shape.allSatisfy({ $0 < 1 << 30 }) else {
        throw ApusError("ONNX216", "a shape is too large", actual: "\(shape)")
    }
    let old = c.node.opType == "Upsample" || c.opset < 11
    if try c.node.bool("antialias", default: false) {
        throw ApusError("ONNX263", "antialias is not supported")
    }
    var axes = try (c.node.ints("axes") ?? Array(0..<rank)).map { try c.axis($0, rank: rank) }
    if axes.isEmpty { axes = Array(0..<rank) }
    var scales =
        try old ? (c.node.floats("scales")?.map { Double($0) } ?? c.knownFloats(1)) : c.knownFloats(2)
    var sizes = try old ? nil : c.knownInts(3)
    if scales?.isEmpty == true { scales = nil }
    if sizes?.isEmpty == true { sizes = nil }
    var target = shape
    var factor = Array(repeating: 1.0, count: rank)
    if let sizes {
        guard sizes.count == axes.count, sizes.allSatisfy({ $0 >= 0 && $0 < 1 << 30 }) else {
            throw ApusError("ONNX264", "Resize needs one size an axis", actual: "\(sizes)")
        }
        let policy = try c.node.string("keep_aspect_ratio_policy", default: "stretch")
        let ratios = zip(axes, sizes).map { Double($1) / Double(max(1, shape[$0])) }
        let common = policy == "not_larger" ? ratios.min() : (policy == "not_smaller" ? ratios.max() : nil)
        for (i, a) in axes.enumerated() {
            let kept = common.map { ($0 * Double(shape[a])).rounded(.toNearestOrAwayFromZero) }
            guard (kept ?? 0) < 1e9 else {
                throw ApusError("ONNX216", "a shape is too large", actual: "\(sizes)")
            }
            target[a] = kept.map { Int($0) } ?? sizes[i]
            factor[a] = common ?? ratios[i]
        }
    } else if let scales {
        guard scales.count == axes.count, scales.allSatisfy({ $0 > 0 && $0 < 1e6 }) else {
            throw ApusError("ONNX264", "Resize needs one positive scale an axis", actual: "\(scales)")
        }
        for (i, a) in axes.enumerated() {
            factor[a] = scales[i]
            target[a] = Int((Double(shape[a]) * scales[i]).rounded(.down))
        }
    } else {
        throw ApusError("ONNX264", "Resize needs sizes or scales")
    }
    let mode = try c.node.string("mode", default: "nearest")
    let transform =
        old ? "asymmetric" : try c.node.string("coordinate_transformation_mode", default: "half_pixel")
    // The operator works on 1 to 3 trailing axes behind a batch and a channel axis.
    let cropping = transform == "tf_crop_and_resize"
    let region = try cropping ? c.knownFloats(1) ?? [] : []
    guard !cropping || (region.count == 2 * axes.count && region.allSatisfy { $0.isFinite }) else {
        throw ApusError(
            "ONNX266", "tf_crop_and_resize needs a begin and an end for each axis", actual: "\(region)")
    }
    func cropped(_ a: Int) -> Bool {
        guard cropping, let i = axes.firstIndex(of: a) else { return false }
        return region[i] != 0 || region[i + axes.count] != 1
    }
    let changed = (0..<rank).filter { target[$0] != shape[$0] || factor[$0] != 1 || cropped($0) }
    if changed.isEmpty { return [x] }
    guard changed.count <= 3 else {
        throw ApusError("ONNX265", "at most 3 axes can be resized", actual: "\(changed)")
    }
    let kept = (0..<rank).filter { !changed.contains($0) }
    let order = kept + changed
    let moved = try c.transpose(x, order)
    // A batch and a channel axis stay what they are: layouts know them.
    let front = kept.count == 2 ? kept.map { shape[$0] } : [1, try c.product(kept.map { shape[$0] })]
    let flat = try c.reshape(moved, front + changed.map { shape[$0] })
    var roi: AttrValue = .none
    if cropping {
        var begins: [Double] = []
        var ends: [Double] = []
        for a in changed {
            guard let i = axes.firstIndex(of: a) else { continue }
            begins.append(region[i])
            ends.append(region[i + axes.count])
        }
        roi = .floats(begins + ends)
    }
    let method =
        ["nearest": "nearest_neighbor", "linear": "linear", "bilinear": "linear", "cubic": "cubic"][mode]
        ?? mode
    let spatial = ["W", "HW", "DHW"][changed.count - 1]
    let y = try c.call(
        "image.resize", [flat],
        [
            "size": .ints(changed.map { target[$0] }), "scales": .floats(changed.map { factor[$0] }),
            "roi": roi,
            "layout": .string("NC" + spatial), "method": .string(method),
            "coordinate_transformation_mode": .string(transform),
            "rounding_method": .string(
                old ? "floor" : try c.node.string("nearest_mode", default: "round_prefer_floor")),
            "cubic_alpha": .float(Double(try c.node.float("cubic_coeff_a", default: -0.75))),
            "cubic_exclude": .int(try c.node.int("exclude_outside", default: 0)),
            "extrapolation_value": .float(Double(try c.node.float("extrapolation_value", default: 0))),
        ])
    let shaped = try c.reshape(y, kept.map { shape[$0] } + changed.map { target[$0] })
    var back = Array(repeating: 0, count: rank)
    for (i, a) in order.enumerated() { back[a] = i }
    return [try c.transpose(shaped, back)]
}
