import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Powers, with the special values of C's `pow`: 1 for an exponent of 0 and for a base of 1, NaN or not; of a negative base
// with a whole exponent the sign of the exponent's parity, with another NaN, unless the base is 0 or infinite.

extension F32 {
    /// x^y = 2^(y * log2 |x|) with a sign. The logarithm has to have more digits than the result, by those of the exponent:
    /// both are computed in float64 lanes, and the result is rounded once, subnormal or not.
    func pow(_ x: PrimExpr, _ y: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            let y = v("y", y)
            let w = wide
            let t = v("t", fabs(x))
            // Beyond these ends the result is 0 or inf already.
            let p = v("p", w.clamp(Cast(w.type, y) * logarithm(v, t), -151, 129))
            // 2^p = 2^n * 2^f; added to it, a small number is rounded to an integer, whose bits are the last ones of the sum.
            let magic = w.c(0x1.8p52)
            let r = v("r", p + magic)
            let f = v("f", p - (r - magic))
            let power = w.horner(
                f,
                [
                    0.00015594648209764326, 0.0013406641914410335, 0.009617693017644617,
                    0.05550310555615927, 0.24022652782864734, 0.693147214965531, 1,
                ])
            let scale = w.float(bitwise("shift_left", w.bits(r) + w.i(1023), w.i(52)))
            let magnitude = v("magnitude", Cast(type, power * scale))
            return special(v, x, y, t, magnitude)
        }
    }

    /// log2 t in float64, for t >= 0: t = m * 2^k with m in [sqrt(1/2), sqrt 2), and log2 m an odd polynomial in
    /// s = (m - 1) / (m + 1).
    private func logarithm(_ v: LetChain, _ t: PrimExpr) -> PrimExpr {
        let w = wide
        let (k, m) = split(v, t, from: 0x3F35_04F3)
        let d = v("d", Cast(w.type, m))
        let s = v("s", (d - w.c(1)) / (d + w.c(1)))
        let z = v("z", s * s)
        let series = w.horner(
            z,
            [
                0.3407300929333215, 0.4116727191457309, 0.5770835849795014, 0.9617966733415495,
                2.885390081790087,
            ])
        let value = w.fma(s, series, Cast(w.type, k))
        // An infinite or no number is its own logarithm.
        let finite = v("finite", LT(t, c(Double.infinity)))
        let other = v("other", Cast(w.type, Select(EQ(t, c(0)), c(-Double.infinity), t)))
        return Select(And(finite, GT(t, c(0))), value, other)
    }

    /// `magnitude` with the sign of the result, and the values that its formula does not have; t is |x|.
    private func special(
        _ v: LetChain, _ x: PrimExpr, _ y: PrimExpr, _ t: PrimExpr, _ magnitude: PrimExpr
    ) -> PrimExpr {
        func isWhole(_ e: PrimExpr) -> PrimExpr { EQ(intrinsic("trunc", type, [e]), e) }
        let whole = v("whole", isWhole(y))
        let half = v("half", y * c(0.5))
        let odd = And(whole, Not(isWhole(half)))
        // Of a base of -0 too.
        let signBit = bitwise("bitwise_and", bits(x), i(Int(Int32.min)))
        let signed = float(bitwise("bitwise_or", bits(magnitude), Select(odd, signBit, i(0))))
        let undefined = And(And(LT(x, c(0)), LT(t, c(Double.infinity))), Not(whole))
        let value = Select(undefined, c(Double.nan), signed)
        let turning = And(EQ(x, c(-1)), EQ(intrinsic("fabs", type, [y]), c(Double.infinity)))
        let one = Or(Or(EQ(y, c(0)), EQ(x, c(1))), turning)
        return Select(one, c(1), value)
    }
}
