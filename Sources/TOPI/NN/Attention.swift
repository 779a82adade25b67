import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI.Tag {
    /// Memory seen as axes of other extents: a computation that kernels may read through.
    public static let stridedView = "strided_view"
}

extension TOPI {
    /// The memory of `data` seen as axes of other extents: element `(i, j, …)` lies `offset + i * strides[0] +
    /// j * strides[1] + …` elements behind the first.
    ///
    /// - Throws: TOPI033 where that leaves the memory or is not affine in each of its axes (see `StridedAccess`).
    public static func stridedView(_ data: Tensor, shape: [Int], strides: [Int], offset: Int = 0) throws
        -> Tensor
    {
        guard let memory = data.staticShape,
            let access = StridedAccess(shape: memory, extents: shape, strides: strides, offset: offset)
        else {
            throw ApusError(
                "TOPI033", "no such view of the memory", expected: "a view of \(data.shape)",
                actual: "extents \(shape), strides \(strides), offset \(offset)")
        }
        let attrs = Attrs([
            (key: "shape", value: .ints(shape)), (key: "strides", value: .ints(strides)),
            (key: "offset", value: .int(offset)),
        ])
        return try compute(shape, name: "view", tag: Tag.stridedView, attrs: attrs) {
            data[access.indices($0)]
        }
    }

    /// `softmax(scale * query key^T + mask) value` for each matrix of a stack, as that formula says.
    ///
    /// - Parameters:
    ///   - query: `[…, rows, depth]`.
    ///   - key: `[…, keys, depth]`; a leading extent of 1 is repeated, as of `value`.
    ///   - value: `[…, keys, width]`.
    ///   - mask: of a shape that broadcasts to `[…, rows, keys]`.
    ///   - causal: whether row `i` takes the keys up to `i + keys - rows` only.
    ///   - axes: the axes of the result in their order; empty = as they are.
    /// - Returns: `[…, rows, width]`, or its axes in another order.
    public static func attention(
        _ query: Tensor, _ key: Tensor, _ value: Tensor, mask: Tensor? = nil, scale: Double = 1,
        causal: Bool = false,
        axes: [Int] = []
    ) throws -> Tensor {
        let n = query.rank
        try require(
            n >= 2 && key.rank == n && value.rank == n, "nn.attention",
            "stacks of matrices of one rank are needed")
        let wide = accumulator(of: query.dtype)
        let (rows, keys) = (query.shape[n - 2], key.shape[n - 2])
        let full = Array(query.shape.dropLast()) + [keys]
        func own(_ t: Tensor, _ outer: [PrimExpr]) -> [PrimExpr] {
            outer.enumerated().map { t.shape[$0.offset].asInt == 1 ? imm(0) : $0.element }
        }
        let d = reduceAxis(query.shape[n - 1], name: "d")
        let products = try compute(full, name: "scores", tag: "attention_scores") { i in
            let outer = Array(i.prefix(n - 2))
            let a = query[outer + [i[n - 2], d.variable]]
            let b = key[own(key, outer) + [i[n - 1], d.variable]]
            return reduceSum(asType(wide, a) * asType(wide, b), [d])
        }
        let scores = try compute(full, name: "masked", tag: Tag.broadcast) { i in
            var s: PrimExpr = products[i] * const(scale, wide)
            if let mask { s = s + asType(wide, mask.broadcastLoad(i, full)) }
            return causal ? select(i[n - 1] .<= i[n - 2] + (keys - rows), s, minValue(wide)) : s
        }
        let weights = try softmax(scores, axis: n - 1)
        let k = reduceAxis(keys, name: "k")
        let shape = Array(query.shape.dropLast()) + [value.shape[n - 1]]
        let order = axes.isEmpty ? Array(0..<n) : axes
        let result = try compute(order.map { shape[$0] }, name: "attention", tag: "attention") { i in
            var at = i
            for (position, axis) in order.enumerated() { at[axis] = i[position] }
            let outer = Array(at.prefix(n - 2))
            let v = value[own(value, outer) + [k.variable, at[n - 1]]]
            return reduceSum(weights[outer + [at[n - 2], k.variable]] * asType(wide, v), [k])
        }
        return wide == query.dtype ? result : try cast(result, query.dtype)
    }

    static func addAttention(_ t: inout [String: Compute]) {
        t["nn.attention"] = { a, x, _ in
            [
                try attention(
                    try operand(x, 0), try operand(x, 1), try operand(x, 2), mask: x.count > 3 ? x[3] : nil,
                    scale: a.float("scale") ?? 1, causal: a.bool("causal") ?? false,
                    axes: a.ints("axes") ?? [])
            ]
        }
        t["nn.contrib_strided_view"] = { a, x, _ in
            [
                try stridedView(
                    try operand(x, 0), shape: a.ints("shape") ?? [], strides: a.ints("strides") ?? [],
                    offset: a.int("offset") ?? 0)
            ]
        }
    }
}
