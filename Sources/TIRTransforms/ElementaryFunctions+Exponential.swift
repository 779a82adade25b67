import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Exponentials and logarithms besides e^x and ln x.
//
//   exp2          as exp
//   expm1, log1p  accurate near 0, keep -0; expm1(-inf) = -1; log1p(-1) = -inf, log1p(x < -1) = nan
//   log2, log10   as log; exact for powers of 2 where the result is

extension F32 {
    /// 2^x. x = n + f with |f| <= 1/2: 2^f by a polynomial, times 2^n.
    func exp2(_ x: PrimExpr) -> PrimExpr {
        let magic = 12_582_912.0
        return binding { v in
            // Beyond these ends the result is 0 or inf already.
            let x = v("x", clamp(x, -151, 129))
            let r = v("r", x + c(magic))
            let f = v("f", x - (r - c(magic)))
            let p = horner(
                f,
                [
                    0.000157717484, 0.00134150416, 0.00961710885, 0.0555027761, 0.240226552, 0.693147242, 1,
                ])
            return scaled(p, by: bits(r) - i(Int(Float(magic).bitPattern)))
        }
    }

    /// e^x - 1. x = n*ln2 + f: 2^n (e^f - 1) + (2^n - 1), in halves, so that 2^n may be 2^128.
    func expm1(_ x: PrimExpr) -> PrimExpr {
        let magic = 12_582_912.0
        return binding { v in
            let x = v("x", x)
            // Below the lower end the result is -1 to the last bit.
            let a = v("a", clamp(x, -20, 89))
            let r = v("r", fma(a, c(1.4426950408889634), magic))
            let n = v("n", r - c(magic))
            let f = v("f", fma(n, c(-1.42860677e-6), fma(n, c(-0.693145752), a)))
            let p = horner(f, [0.00138356758, 0.00836712308, 0.0416677557, 0.16666539, 0.49999997])
            let m = fma(f * f, p, f)
            let k = bits(r) - i(Int(Float(magic).bitPattern))
            let t = v("t", float(bitwise("shift_left", k + i(126), i(23))))
            let y = v("y", fma(m, t, t - c(0.5)))
            // The sign of the argument: the sums above make +0 of -0.
            return copysign(y + y, x)
        }
    }

    /// log2 x = k + ln(1+f) / ln 2, as in `log`; 1 / ln 2 in two parts.
    func log2(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            let (k, m) = split(v, x, from: 0x3F2A_AAAB)
            let f = v("f", m - c(1))
            let s = v("s", f * f)
            let high = c(1.44269502)
            let y = fma(f, high, fma(log1pTail(f, s) * s, high, f * c(1.92596299e-8)))
            return logarithmOf(x, y + k)
        }
    }

    /// As `log2`; log10 2 in two parts as well, of which the first has so few bits that its product with k is exact.
    func log10(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            let (k, m) = split(v, x, from: 0x3F2A_AAAB)
            let k2 = v("k2", k)
            let f = v("f", m - c(1))
            let s = v("s", f * f)
            let high = c(0.434294492)
            let low = fma(k2, c(4.60503907e-6), f * c(-1.01030775e-8))
            let y = fma(f, high, fma(log1pTail(f, s) * s, high, low))
            return logarithmOf(x, fma(k2, c(0.301025391), y))
        }
    }

    /// ln(1+x). The exponent k is that of 1+x rounded; then 1+x = 2^k (1+f) with f = x * 2^-k + (2^-k - 1), which x, not the
    /// rounded sum, goes into.
    func log1p(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            let e = v("e", bitwise("bitwise_and", bits(x + c(1)) - i(0x3F2A_AAAB), i(-8_388_608)))
            // 4 * 2^-k is a normal number for every k, 2^-k is not.
            let four = float(i(Int(Float(4).bitPattern)) - e)
            let f = v("f", float(bits(x) - e) + fma(four, c(0.25), -1))
            let s = v("s", f * f)
            let k = Cast(type, e) * c(1.1920928955078125e-7)
            let y = fma(k, c(0.693147182), fma(log1pTail(f, s), s, f))
            let low = Select(EQ(x, c(-1)), c(-Double.infinity), c(Double.nan))
            let special = Select(LE(x, c(-1)), low, x)
            let value = Select(And(GT(x, c(-1)), LT(x, c(Double.infinity))), y, special)
            return copysign(value, x)
        }
    }
}
