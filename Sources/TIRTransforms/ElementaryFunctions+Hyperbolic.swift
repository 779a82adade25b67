import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Hyperbolic functions besides tanh, and their inverses.
//
//   sinh, asinh   of ±inf ±inf, keep -0
//   cosh          of ±inf inf
//   acosh         nan below 1, acosh(inf) = inf
//   atanh         ±inf at ±1, nan beyond, keeps -0

extension F32 {
    /// e^t / 2 for t >= 0: finite up to where sinh and cosh are.
    private func halfExp(_ t: PrimExpr) -> PrimExpr {
        exponential(clamp(t, 0, 90)) { p, n in
            p * float(bitwise("shift_left", n + i(125), i(23))) * c(2)
        }
    }

    /// An odd polynomial up to 1, then (e^|x| - e^-|x|) / 2.
    func sinh(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            let t = v("t", fabs(x))
            let z = v("z", t * t)
            let small = fma(
                horner(z, [2.78221319e-06, 0.000198428956, 0.00833331048, 0.166666672]), t * z, t)
            let a = v("a", halfExp(t))
            return copysign(Select(LT(t, c(1)), small, a - c(0.25) / a), x)
        }
    }

    func cosh(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let a = v("a", halfExp(fabs(x)))
            return a + c(0.25) / a
        }
    }

    /// From here on, 1 beside x^2 does not count: the function is ln 2x.
    private static let large = 1e9

    /// ln(1 + y) or, where `big`, ln(y) + ln 2.
    private func logarithm(_ big: PrimExpr, _ y: PrimExpr) -> PrimExpr {
        log1p(y) + Select(big, c(0.693147182), c(0))
    }

    /// ln(t + sqrt(t^2 + 1)) for t = |x|, in a form that is accurate near 0.
    func asinh(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            let t = v("t", fabs(x))
            let big = v("big", GT(t, c(Self.large)))
            let s = v("s", t * t)
            let y = t + s / (c(1) + sqrt(c(1) + s))
            return copysign(logarithm(big, Select(big, t, y)), x)
        }
    }

    /// ln(x + sqrt(x^2 - 1)), in terms of x - 1.
    func acosh(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            let t = v("t", x - c(1))
            let big = v("big", GT(x, c(Self.large)))
            let y = t + sqrt(fma(t, t, t + t))
            return Select(LT(x, c(1)), c(Double.nan), logarithm(big, Select(big, x, y)))
        }
    }

    /// ln((1 + t) / (1 - t)) / 2 for t = |x|.
    func atanh(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            let t = v("t", fabs(x))
            let y = log1p((t + t) / (c(1) - t)) * c(0.5)
            return copysign(Select(GT(t, c(1)), c(Double.nan), y), x)
        }
    }
}
