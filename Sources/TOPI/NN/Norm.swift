import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// `(x - mean) / sqrt(variance + epsilon) * gamma + beta` with mean and variance along `axis`. The
    /// variance is that of the centred values: the difference of mean squares would cancel where the mean
    /// is large. Computations: `layer_norm_sum`, `layer_norm_mean`, `layer_norm_sqsum`, `layer_norm_rstd`,
    /// `layer_norm` (tags the same: what is one a row must not be computed anew for each element).
    public static func layerNorm(
        _ x: Tensor, gamma: Tensor?, beta: Tensor?, axis: Int = -1, epsilon: Double = 1e-5
    ) throws -> Tensor {
        let a = try normalized(axis, rank: x.rank, "nn.layer_norm")
        let wide = accumulator(of: x.dtype)
        let count = asType(wide, x.shape[a])
        let total = try along(x, a, "layer_norm_sum") { e, k in reduceSum(asType(wide, e), k) }
        let mean = try compute(total.shape, name: "layer_norm_mean", tag: "layer_norm_mean") {
            total[$0] / count
        }
        let k = reduceAxis(x.shape[a], name: "k")
        let attrs = Attrs([(key: "axis", value: .int(a))])
        let squares = try compute(
            total.shape, name: "layer_norm_sqsum", tag: "layer_norm_sqsum", attrs: attrs
        ) { i in
            let d = asType(wide, x[inserting(i, a, k.variable)]) - mean[i]
            return reduceSum(d * d, [k])
        }
        let rstd = try compute(total.shape, name: "layer_norm_rstd", tag: "layer_norm_rstd") { i in
            const(1, wide) / ApusTIR.sqrt(squares[i] / count + const(epsilon, wide))
        }
        return try compute(x.shape, name: "layer_norm", tag: "layer_norm", attrs: attrs) { i in
            let row = without(i, a)
            var y = (asType(wide, x[i]) - mean[row]) * rstd[row]
            if let gamma { y = y * asType(wide, gamma[i[a]]) }
            if let beta { y = y + asType(wide, beta[i[a]]) }
            return asType(x.dtype, y)
        }
    }

    /// Normalisation with known mean and variance of each position of `axis` (the inference form): the
    /// normalised data, and the mean and variance as they are.
    public static func batchNorm(
        _ x: Tensor, gamma: Tensor?, beta: Tensor?, mean: Tensor, variance: Tensor, axis: Int = 1,
        epsilon: Double = 1e-5
    ) throws -> [Tensor] {
        let a = try normalized(axis, rank: x.rank, "nn.batch_norm")
        let wide = accumulator(of: x.dtype)
        let scale = try compute(variance.shape, name: "batch_norm_scale", tag: "batch_norm_scale") { i in
            let r = const(1, wide) / ApusTIR.sqrt(asType(wide, variance[i]) + const(epsilon, wide))
            return gamma.map { asType(wide, $0[i]) * r } ?? r
        }
        let y = try compute(x.shape, name: "batch_norm", tag: Tag.broadcast) { i in
            let c = i[a]
            var y = (asType(wide, x[i]) - asType(wide, mean[c])) * scale[c]
            if let beta { y = y + asType(wide, beta[c]) }
            return asType(x.dtype, y)
        }
        return [y, try copy(mean), try copy(variance)]
    }

    /// Local response normalisation: `x / (bias + alpha / size * s) ^ beta`, `s` the sum of squares of the
    /// `size` elements around along `axis` (one more after than before where `size` is even).
    public static func lrn(
        _ x: Tensor, size: Int, axis: Int = 1, bias: Double = 1, alpha: Double = 1e-4, beta: Double = 0.75
    ) throws -> Tensor {
        let a = try normalized(axis, rank: x.rank, "nn.lrn")
        try require(size > 0 && size <= 1 << 30, "nn.lrn", "size must be positive")
        let wide = accumulator(of: x.dtype)
        let before = (size - 1) / 2
        let padded = try padStage(
            x, positions: [a], before: [before], after: [size - 1 - before], value: const(0, x.dtype),
            name: "lrn_pad")
        let k = reduceAxis(size, name: "k")
        let squares = try compute(x.shape, name: "lrn_sqsum", tag: Tag.pool) { i in
            var at = i
            at[a] = i[a] + k.variable
            let e = asType(wide, padded[at])
            return reduceSum(e * e, [k])
        }
        return try compute(x.shape, name: "lrn", tag: Tag.elemwise) { i in
            let base = const(bias, wide) + const(alpha / Double(size), wide) * squares[i]
            return asType(x.dtype, asType(wide, x[i]) / pow(base, const(beta, wide)))
        }
    }
}
