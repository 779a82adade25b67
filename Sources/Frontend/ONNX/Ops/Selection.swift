import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

#if canImport(Glibc)
    import Glibc
#endif

/// Operators whose result's shape depends on values, which must be known; and tables made at compile time.
func addSelection(_ t: inout [String: ONNXConverter]) {
    t["NonZero"] = { c in
        let x = try needed(c, 0)
        let values = try x.toDoubles()
        var found: [[Int64]] = Array(repeating: [], count: x.shape.count)
        for (flat, v) in values.enumerated() where v != 0 {
            var rest = flat
            for axis in x.shape.indices.reversed() {
                found[axis].append(Int64(rest % x.shape[axis]))
                rest /= x.shape[axis]
            }
        }
        let n = x.shape.isEmpty ? values.filter { $0 != 0 }.count : found[0].count
        return [c.constant(NDArray(found.flatMap { $0 }, shape: [x.shape.count, n]))]
    }
    t["Compress"] = { c in
        var x = try c.x(0)
        let picked = try needed(c, 1).toDoubles().enumerated().filter { $0.element != 0 }.map {
            Int64($0.offset)
        }
        var axis = 0
        if let a = try c.node.int("axis") {
            axis = try c.axis(a, rank: try c.shape(x).count)
        } else {
            x = try c.reshape(x, [try c.product(try c.shape(x))])
        }
        let extent = try c.shape(x)[axis]
        let inside = picked.filter { $0 < extent }
        return [
            try c.call(
                "take", [x, c.constant(NDArray(inside, shape: [inside.count]))],
                ["axis": .int(axis), "mode": "clip"])
        ]
    }
    t["Unique"] = { c in try unique(c) }
    t["BitCast"] = { c in
        let x = try needed(c, 0)
        let to = try ONNXElementType.dtype(number: try c.node.int("to", default: 0))
        guard x.dtype.bits == to.bits || x.dtype.bits + to.bits == 9 else {
            throw ApusError(
                "ONNX350", "BitCast needs types of one width", expected: "\(x.dtype)", actual: "\(to)")
        }
        let result = try NDArray.allocate(shape: x.shape, dtype: to)
        x.withUnsafeBytes { bytes in
            if let from = bytes.baseAddress, bytes.count > 0 {
                result.data.copyMemory(from: from, byteCount: bytes.count)
            }
        }
        return [c.constant(result)]
    }
    t["HannWindow"] = { c in [try window(c) { x in 0.5 - 0.5 * cos(2 * x) }] }
    t["HammingWindow"] = { c in [try window(c) { x in 25.0 / 46 - 21.0 / 46 * cos(2 * x) }] }
    t["BlackmanWindow"] = { c in [try window(c) { x in 0.42 - 0.5 * cos(2 * x) + 0.08 * cos(4 * x) }] }
    t["Range"] = { c in [try range(c)] }
    t["CumProd"] = { c in [try cumulativeProduct(c)] }
}

private func needed(_ c: NodeContext, _ i: Int) throws -> NDArray {
    guard let v = try c.known(i) else { throw ApusError("ONNX210", "input \(i) is missing") }
    return v
}

/// A window function of a known length; `f` takes half of the angle.
private func window(_ c: NodeContext, _ f: (Double) -> Double) throws -> RelayExpr {
    guard let n = try c.knownInts(0)?.first, n >= 0, n <= 1 << 22 else {
        throw ApusError("ONNX351", "the length of a window must be known and reasonable")
    }
    let type = try ONNXElementType.dtype(number: try c.node.int("output_datatype", default: 1))
    let periodic = try c.node.bool("periodic", default: true)
    let whole = Double(periodic ? n : max(1, n - 1))
    let values = (0..<n).map { f(.pi * Double($0) / whole) }
    return try c.cast(c.constant(NDArray(values, shape: [n])), type)
}

private func range(_ c: NodeContext) throws -> RelayExpr {
    let (start, limit, step) = (try needed(c, 0), try needed(c, 1), try needed(c, 2))
    guard start.count == 1, limit.count == 1, step.count == 1, limit.dtype == start.dtype,
        step.dtype == start.dtype
    else { throw ApusError("ONNX352", "Range needs three numbers of one type") }
    let failure = ApusError("ONNX352", "Range with these numbers has no reasonable length")
    let most = 1 << 22
    if start.dtype.isFloat {
        let (a, b, d) = (try start.toDoubles()[0], try limit.toDoubles()[0], try step.toDoubles()[0])
        let n = ((b - a) / d).rounded(.up)
        guard n.isFinite, n <= Double(most) else { throw failure }
        let count = Int(max(0, n))
        let values = (0..<count).map { a + Double($0) * d }
        return try c.cast(c.constant(NDArray(values, shape: [count])), start.dtype)
    }
    func whole(_ v: NDArray) throws -> Int {
        if v.dtype == .int64 { return Int(try v.toArray(Int64.self)[0]) }
        guard v.dtype.bits < 64, let n = Int(exactly: try v.toDoubles()[0]) else { throw failure }
        return n
    }
    let (a, b, d) = (try whole(start), try whole(limit), try whole(step))
    let (span, overflow) = b.subtractingReportingOverflow(a)
    guard !overflow, d != 0, d != .min, span != .min else { throw failure }
    let forward = d > 0 ? span : -span
    let count = forward <= 0 ? 0 : (forward - 1) / abs(d) + 1
    guard count <= most else { throw failure }
    return try c.cast(c.int64((0..<count).map { a &+ $0 &* d }), start.dtype)
}

/// Distinct elements (or slices of an axis) of a known tensor, with first indices, inverse and counts.
private func unique(_ c: NodeContext) throws -> [RelayExpr?] {
    let x = try needed(c, 0)
    let values = try x.toDoubles()
    guard x.dtype.bits < 64 || x.dtype.isFloat || values.allSatisfy({ abs($0) < 9e15 }) else {
        throw ApusError("ONNX353", "Unique of such large integers is not supported")
    }
    let axis = try c.node.int("axis").map { try c.axis($0, rank: x.shape.count) }
    let extent = axis.map { x.shape.isEmpty ? 1 : x.shape[$0] } ?? x.count
    let inner = try axis.map { try c.product(x.shape[($0 + 1)...]) } ?? 1
    let outer = try axis.map { try c.product(x.shape[..<$0]) } ?? 1
    func slice(_ i: Int) -> [Double] {
        var s: [Double] = []
        for o in 0..<outer {
            for k in 0..<inner { s.append(values[(o * extent + i) * inner + k]) }
        }
        return s
    }
    let slices = (0..<extent).map { slice($0) }
    var groups: [[Double]: Int] = [:]
    var first: [Int] = []
    var inverse: [Int] = []
    var counts: [Int] = []
    for (i, s) in slices.enumerated() {
        if let g = groups[s] {
            inverse.append(g)
            counts[g] += 1
        } else {
            groups[s] = first.count
            inverse.append(first.count)
            first.append(i)
            counts.append(1)
        }
    }
    var order = Array(first.indices)
    if try c.node.bool("sorted", default: true) {
        order.sort { a, b in slices[first[a]].lexicographicallyPrecedes(slices[first[b]]) }
    }
    var place = Array(repeating: 0, count: order.count)
    for (new, old) in order.enumerated() { place[old] = new }
    let flat = try axis == nil ? c.reshape(c.constant(x), [x.count]) : c.constant(x)
    let y = try c.call(
        "take", [flat, c.int64(order.map { first[$0] })], ["axis": .int(axis ?? 0), "mode": "clip"])
    return [
        y, c.int64(order.map { first[$0] }), c.int64(inverse.map { place[$0] }),
        c.int64(order.map { counts[$0] }),
    ]
}

/// Running products, one element after another.
private func cumulativeProduct(_ c: NodeContext) throws -> RelayExpr {
    let x = try c.x(0)
    let shape = try c.shape(x)
    let axis = try c.axis(
        try needed(c, 1).toDoubles().first.flatMap { Int(exactly: $0) } ?? 0, rank: shape.count)
    let n = shape.isEmpty ? 0 : shape[axis]
    guard n >= 1, n <= 1024 else {
        throw ApusError(
            "ONNX354", "CumProd cannot be unrolled", expected: "1 to 1024 elements", actual: "\(n)")
    }
    let exclusive = try c.node.bool("exclusive", default: false)
    let reverse = try c.node.bool("reverse", default: false)
    var one = shape
    one[axis] = 1
    let parts = try c.pieces(x, axis, Array(repeating: 1, count: n))
    var results = parts
    var running: RelayExpr?
    for i in reverse ? Array((0..<n).reversed()) : Array(0..<n) {
        let next = try running.map { try c.mul($0, parts[i]) } ?? parts[i]
        results[i] = exclusive ? try running ?? c.filled(1, one, try c.dtype(x)) : next
        running = next
    }
    return try c.joined(results, axis)
}
