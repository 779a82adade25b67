import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// The axes that a reduction's attributes name, ascending: nil = all, `exclude` = all others.
    public static func reductionAxes(
        _ x: Tensor, _ axes: [Int]?, exclude: Bool = false, _ op: String = "reduction"
    ) throws -> [Int] {
        let named = try normalized(axes, rank: x.rank, op)
        if !exclude { return named }
        return axes == nil ? [] : (0..<x.rank).filter { !named.contains($0) }
    }

    /// `reduce` over `axes` (ascending, not empty) of the elements of `x`; reduced axes stay as 1 if
    /// `keepdims`.
    static func commReduce(
        _ x: Tensor, _ axes: [Int], keepdims: Bool, name: String, tag: String = Tag.commReduce,
        _ reduce: (_ element: PrimExpr, _ axes: [IterVar], _ indices: [PrimExpr]) -> [PrimExpr]
    ) throws -> [Tensor] {
        let reduced = axes.enumerated().map { reduceAxis(x.shape[$0.element], name: "k\($0.offset)") }
        var shape: [PrimExpr] = []
        for a in 0..<x.rank {
            if !axes.contains(a) {
                shape.append(x.shape[a])
            } else if keepdims {
                shape.append(imm(1))
            }
        }
        return try computeTuple(shape, name: name, tag: tag) { i in
            var indices: [PrimExpr] = []
            var next = 0
            var k = 0
            for a in 0..<x.rank {
                if axes.contains(a) {
                    indices.append(reduced[k].variable)
                    k += 1
                    if keepdims { next += 1 }
                } else {
                    indices.append(i[next])
                    next += 1
                }
            }
            return reduce(x[indices], reduced, indices)
        }
    }

    /// The sum of `f` of the elements, formed in 32 bits for 16-bit floats; the result has that wider type.
    static func wideSum(
        _ x: Tensor, _ axes: [Int], keepdims: Bool, name: String, _ f: (PrimExpr) -> PrimExpr = { $0 }
    ) throws -> Tensor {
        try commReduce(x, axes, keepdims: keepdims, name: name) { e, k, _ in
            [reduceSum(f(asType(accumulator(of: e.dtype), e)), k)]
        }[0]
    }

    private static func narrowed(_ x: Tensor, _ dtype: DataType) throws -> Tensor {
        x.dtype == dtype ? x : try cast(x, dtype)
    }

    /// The sum over `axes` (nil = all); 0 over none.
    public static func sum(_ x: Tensor, axes: [Int]? = nil, keepdims: Bool = false) throws -> Tensor {
        let a = try normalized(axes, rank: x.rank, "sum")
        if a.isEmpty { return try copy(x) }
        return try narrowed(try wideSum(x, a, keepdims: keepdims, name: "sum"), x.dtype)
    }

    /// The product over `axes` (nil = all); 1 over none.
    public static func prod(_ x: Tensor, axes: [Int]? = nil, keepdims: Bool = false) throws -> Tensor {
        let a = try normalized(axes, rank: x.rank, "prod")
        if a.isEmpty { return try copy(x) }
        let r = try commReduce(x, a, keepdims: keepdims, name: "prod") { e, k, _ in
            [reduceProd(asType(accumulator(of: e.dtype), e), k)]
        }[0]
        return try narrowed(r, x.dtype)
    }

    /// The greatest element over `axes` (nil = all); NaN wins.
    public static func max(_ x: Tensor, axes: [Int]? = nil, keepdims: Bool = false) throws -> Tensor {
        let a = try normalized(axes, rank: x.rank, "max")
        if a.isEmpty { return try copy(x) }
        return try commReduce(x, a, keepdims: keepdims, name: "max") { e, k, _ in
            [e.dtype.isBool ? reduceAny(e, k) : reduceMax(e, k)]
        }[0]
    }

    /// The least element over `axes` (nil = all); NaN wins.
    public static func min(_ x: Tensor, axes: [Int]? = nil, keepdims: Bool = false) throws -> Tensor {
        let a = try normalized(axes, rank: x.rank, "min")
        if a.isEmpty { return try copy(x) }
        return try commReduce(x, a, keepdims: keepdims, name: "min") { e, k, _ in
            [e.dtype.isBool ? reduceAll(e, k) : reduceMin(e, k)]
        }[0]
    }

    /// The mean over `axes` (nil = all); integers truncate.
    public static func mean(_ x: Tensor, axes: [Int]? = nil, keepdims: Bool = false) throws -> Tensor {
        let a = try normalized(axes, rank: x.rank, "mean")
        if a.isEmpty { return try copy(x) }
        let total = try wideSum(x, a, keepdims: keepdims, name: "mean_sum")
        let count = asType(total.dtype, productOf(a.map { x.shape[$0] }))
        return try map(total, "mean") { e in
            // No element, no quotient: integers keep the sum 0, floats give 0 / 0 = NaN.
            if e.dtype.isFloat { return asType(x.dtype, e / count) }
            return count.isZero ? e : truncDiv(e, count)
        }
    }

    /// Whether all elements over `axes` (nil = all) are true.
    public static func all(_ x: Tensor, axes: [Int]? = nil, keepdims: Bool = false) throws -> Tensor {
        let a = try normalized(axes, rank: x.rank, "all")
        if a.isEmpty { return try cast(x, .bool) }
        return try commReduce(x, a, keepdims: keepdims, name: "all") { e, k, _ in
            [reduceAll(asType(.bool, e), k)]
        }[0]
    }

    /// Whether any element over `axes` (nil = all) is true.
    public static func any(_ x: Tensor, axes: [Int]? = nil, keepdims: Bool = false) throws -> Tensor {
        let a = try normalized(axes, rank: x.rank, "any")
        if a.isEmpty { return try cast(x, .bool) }
        return try commReduce(x, a, keepdims: keepdims, name: "any") { e, k, _ in
            [reduceAny(asType(.bool, e), k)]
        }[0]
    }

    /// The position (flat over `axes`, int64) of the greatest element; the first of equals unless
    /// `selectLast`. NaN is greatest, as in numpy.
    public static func argmax(
        _ x: Tensor, axes: [Int]? = nil, keepdims: Bool = false, selectLast: Bool = false
    ) throws -> Tensor {
        try position(x, axes, keepdims, selectLast, "argmax", worst: minValue(x.dtype)) { $0 .> $1 }
    }

    /// The position (flat over `axes`, int64) of the least element; the first of equals unless
    /// `selectLast`. NaN is least, as in numpy.
    public static func argmin(
        _ x: Tensor, axes: [Int]? = nil, keepdims: Bool = false, selectLast: Bool = false
    ) throws -> Tensor {
        try position(x, axes, keepdims, selectLast, "argmin", worst: maxValue(x.dtype)) { $0 .< $1 }
    }

    private static func position(
        _ x: Tensor, _ axes: [Int]?, _ keepdims: Bool, _ last: Bool, _ name: String, worst: PrimExpr,
        _ better: (PrimExpr, PrimExpr) -> PrimExpr
    ) throws -> Tensor {
        let a = try normalized(axes, rank: x.rank, name)
        if a.isEmpty { return try compute(x.shape, name: name, tag: Tag.elemwise) { _ in imm(0) } }
        let li = Var("lhs_index")
        let ri = Var("rhs_index")
        let lv = Var("lhs_value", dtype: x.dtype)
        let rv = Var("rhs_value", dtype: x.dtype)
        let tie = last ? li .> ri : li .< ri
        var keepLeft = or(better(lv, rv), and(lv .== rv, tie))
        if x.dtype.isFloat {
            let wide = accumulator(of: x.dtype)
            let leftNaN = ApusTIR.isNaN(asType(wide, lv))
            let rightNaN = ApusTIR.isNaN(asType(wide, rv))
            keepLeft = select(leftNaN, or(not(rightNaN), tie), and(not(rightNaN), keepLeft))
        }
        // The neutral index loses every tie.
        let combiner = CommReducer(
            lhs: [li, lv], rhs: [ri, rv], result: [select(keepLeft, li, ri), select(keepLeft, lv, rv)],
            identity: [imm(last ? -1 : Int.max), worst])
        return try commReduce(x, a, keepdims: keepdims, name: name, tag: Tag.commReduceIndex) { e, k, _ in
            var flat: PrimExpr = imm(0)
            for v in k { flat = flat * v.dom.extent + v.variable }
            return reduceTuple(combiner, [flat, e], k)
        }[0]
    }
}
