import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// `exp(x) / sum(exp(x))` along `axis`, of values with the greatest subtracted so that nothing overflows.
    /// Computations: `softmax_maxelem`, `softmax_exp`, `softmax_expsum`, `softmax_scale`, `softmax_norm` (tags the same). The
    /// exponentials are multiplied by the reciprocal of their sum: one division a row, one rounding more.
    public static func softmax(_ x: Tensor, axis: Int = -1) throws -> Tensor {
        let a = try normalized(axis, rank: x.rank, "nn.softmax")
        let greatest = try along(x, a, "softmax_maxelem", greatestOf)
        let attrs = Attrs([(key: "axis", value: .int(a))])
        let e = try compute(x.shape, name: "softmax_exp", tag: "softmax_exp", attrs: attrs) { i in
            let wide = accumulator(of: x.dtype)
            return ApusTIR.exp(asType(wide, x[i]) - asType(wide, greatest[without(i, a)]))
        }
        let total = try along(e, a, "softmax_expsum") { e, k in reduceSum(e, k) }
        let scale = try compute(total.shape, name: "softmax_scale", tag: "softmax_scale") {
            const(1, e.dtype) / total[$0]
        }
        return try compute(x.shape, name: "softmax_norm", tag: "softmax_norm", attrs: attrs) { i in
            asType(x.dtype, e[i] * scale[without(i, a)])
        }
    }

    /// The greatest number. A NaN need not win here: it makes the sum of exponentials one, and so every result.
    private static func greatestOf(_ e: PrimExpr, _ axes: [IterVar]) -> PrimExpr {
        let (x, y) = (Var("x", dtype: e.dtype), Var("y", dtype: e.dtype))
        let greater = CommReducer(
            lhs: [x], rhs: [y], result: [select(x .> y, x, y)], identity: [minValue(e.dtype)])
        return Reduce(greater, [e], axes)
    }

    /// The logarithm of softmax along `axis`: `x - max - log(sum(exp(x - max)))`.
    public static func logSoftmax(_ x: Tensor, axis: Int = -1) throws -> Tensor {
        let a = try normalized(axis, rank: x.rank, "nn.log_softmax")
        let wide = accumulator(of: x.dtype)
        let greatest = try along(x, a, "softmax_maxelem", greatestOf)
        let attrs = Attrs([(key: "axis", value: .int(a))])
        let k = reduceAxis(x.shape[a], name: "k")
        let total = try compute(
            removing(x.shape, a), name: "softmax_expsum", tag: "softmax_expsum", attrs: attrs
        ) { i in
            let e = x[inserting(i, a, k.variable)]
            return reduceSum(ApusTIR.exp(asType(wide, e) - asType(wide, greatest[i])), [k])
        }
        let logTotal = try compute(total.shape, name: "softmax_logsum", tag: "softmax_logsum") {
            ApusTIR.log(total[$0])
        }
        return try compute(x.shape, name: "log_softmax_norm", tag: "log_softmax_norm", attrs: attrs) { i in
            let row = without(i, a)
            return asType(x.dtype, asType(wide, x[i]) - asType(wide, greatest[row]) - logTotal[row])
        }
    }

    static func without(_ i: [PrimExpr], _ axis: Int) -> [PrimExpr] {
        Array(i[..<axis]) + Array(i[(axis + 1)...])
    }
    static func removing(_ shape: [PrimExpr], _ axis: Int) -> [PrimExpr] { without(shape, axis) }
    static func inserting(_ i: [PrimExpr], _ axis: Int, _ e: PrimExpr) -> [PrimExpr] {
        Array(i[..<axis]) + [e] + Array(i[axis...])
    }

    /// The reduction of one axis, which goes.
    static func along(
        _ x: Tensor, _ axis: Int, _ name: String, _ f: (PrimExpr, [IterVar]) -> PrimExpr
    ) throws -> Tensor {
        let k = reduceAxis(x.shape[axis], name: "k")
        let attrs = Attrs([(key: "axis", value: .int(axis))])
        return try compute(removing(x.shape, axis), name: name, tag: name, attrs: attrs) { i in
            f(x[inserting(i, axis, k.variable)], [k])
        }
    }
}
