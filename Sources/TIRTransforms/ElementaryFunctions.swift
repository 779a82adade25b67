import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Elementary functions of float32 as straight-line arithmetic, so that a vector stays a vector: no calls, no tables,
// no branches. Errors measured exhaustively or by dense sampling in the tests, see `ElementaryFunction.all`.
//
//   exp      results below 2^-126 are subnormal, correctly scaled; exp(inf) = inf, exp(-inf) = 0
//   log      subnormal arguments are scaled; log(0) = -inf, log(x<0) = nan, log(inf) = inf
//   tanh     tanh(±inf) = ±1, keeps -0
//   sigmoid  below -87 the result is within 2^-126 of the true (subnormal) one
//   erf      erf(±inf) = ±1, keeps -0
//   gelu     the error is given in units of the last place of the argument; gelu(x) = 0 below -5.54
//   rsqrt    1 / sqrt
// NaN in gives NaN out. float16 and bfloat16 are computed in float32. Other types and functions are left as calls.
// In `ElementaryFunctions+….swift`: trigonometric functions and their inverses, further exponentials and logarithms,
// hyperbolic functions and their inverses, powers.
//
// Reduction and polynomial orders follow the classic scheme of Cody and Waite and of Cephes; the coefficients of
// exp, log and erf are those that N. Juffa published as minimax fits for this scheme; those in the other files were
// fitted for them, by Remez's exchange in 40 digits, rounded from the lowest power up and fitted again after each.

/// A function that is computed by arithmetic, and how far from the true value.
public struct ElementaryFunction: Sendable {
    /// Of the intrinsic, without `tir.`.
    public let name: String
    /// Largest error, in units of the last place of the correctly rounded result, with fused multiply-adds.
    public let maxULP: Double
    /// Largest error without them.
    public let maxULPWithoutFMA: Double

    /// Whether the unit is the last place of the argument, because small results come from a difference.
    public var isRelativeToArgument = false

    /// All of them. `ApproximationTests` measures each and fails where a bound does not hold.
    public static let all: [ElementaryFunction] = [
        ElementaryFunction(name: "exp", maxULP: 2, maxULPWithoutFMA: 4),
        ElementaryFunction(name: "log", maxULP: 2, maxULPWithoutFMA: 4),
        ElementaryFunction(name: "tanh", maxULP: 4, maxULPWithoutFMA: 6),
        ElementaryFunction(name: "sigmoid", maxULP: 4, maxULPWithoutFMA: 6),
        ElementaryFunction(name: "erf", maxULP: 2, maxULPWithoutFMA: 4),
        ElementaryFunction(name: "gelu", maxULP: 4, maxULPWithoutFMA: 5, isRelativeToArgument: true),
        ElementaryFunction(name: "rsqrt", maxULP: 2, maxULPWithoutFMA: 2),
        ElementaryFunction(name: "sin", maxULP: 2, maxULPWithoutFMA: 2),
        ElementaryFunction(name: "cos", maxULP: 2, maxULPWithoutFMA: 2),
        ElementaryFunction(name: "tan", maxULP: 3, maxULPWithoutFMA: 3),
        ElementaryFunction(name: "exp2", maxULP: 1, maxULPWithoutFMA: 2),
        ElementaryFunction(name: "expm1", maxULP: 2, maxULPWithoutFMA: 3),
        ElementaryFunction(name: "log2", maxULP: 2, maxULPWithoutFMA: 3),
        ElementaryFunction(name: "log10", maxULP: 2, maxULPWithoutFMA: 3),
        ElementaryFunction(name: "log1p", maxULP: 2, maxULPWithoutFMA: 3),
        ElementaryFunction(name: "asin", maxULP: 3, maxULPWithoutFMA: 3),
        ElementaryFunction(name: "acos", maxULP: 2, maxULPWithoutFMA: 2),
        ElementaryFunction(name: "atan", maxULP: 2, maxULPWithoutFMA: 2),
        ElementaryFunction(name: "sinh", maxULP: 2, maxULPWithoutFMA: 3),
        ElementaryFunction(name: "cosh", maxULP: 2, maxULPWithoutFMA: 3),
        ElementaryFunction(name: "asinh", maxULP: 3, maxULPWithoutFMA: 3),
        ElementaryFunction(name: "acosh", maxULP: 3, maxULPWithoutFMA: 3),
        ElementaryFunction(name: "atanh", maxULP: 3, maxULPWithoutFMA: 3),
        ElementaryFunction(name: "pow", maxULP: 1, maxULPWithoutFMA: 1),
    ]
}

/// Builders for values of one floating type, scalar or vector.
protocol FloatLanes {
    var type: DataType { get }
    var useFMA: Bool { get }
}

extension FloatLanes {
    var lanes: Int { Int(type.lanes) }
    /// Integers of the type's size.
    var int: DataType { DataType(.int, Int(type.bits), lanes: lanes) }

    func c(_ v: Double) -> PrimExpr { const(v, type) }
    func i(_ v: Int) -> PrimExpr { const(v, int) }
    func fma(_ a: PrimExpr, _ b: PrimExpr, _ d: PrimExpr) -> PrimExpr {
        useFMA ? intrinsic("fma", type, [a, b, d]) : a * b + d
    }
    func fma(_ a: PrimExpr, _ b: PrimExpr, _ d: Double) -> PrimExpr { fma(a, b, c(d)) }
    func bits(_ x: PrimExpr) -> PrimExpr { intrinsic("reinterpret", int, [x]) }
    func float(_ x: PrimExpr) -> PrimExpr { intrinsic("reinterpret", type, [x]) }
    func fabs(_ x: PrimExpr) -> PrimExpr { intrinsic("fabs", type, [x]) }
    func copysign(_ x: PrimExpr, _ s: PrimExpr) -> PrimExpr { intrinsic("copysign", type, [x, s]) }
    func nan(_ x: PrimExpr) -> PrimExpr { intrinsic("isnan", .bool.with(lanes: lanes), [x]) }

    /// `let v = value in body(v)`: what is used twice is computed once.
    func bind(_ name: String, _ value: PrimExpr, _ body: (PrimExpr) -> PrimExpr) -> PrimExpr {
        let v = Var(name, dtype: value.dtype)
        return Let(v, value, body(v))
    }

    /// As `bind`, for many values one after the other: `v("name", value)` is the variable.
    func binding(_ body: (LetChain) -> PrimExpr) -> PrimExpr {
        let chain = LetChain()
        return chain.around(body(chain))
    }
    func horner(_ x: PrimExpr, _ coefficients: [Double]) -> PrimExpr {
        var r = c(coefficients[0])
        for k in coefficients.dropFirst() { r = fma(r, x, k) }
        return r
    }

    /// `x` within two ends. A NaN fails both comparisons and stays.
    func clamp(_ x: PrimExpr, _ low: Double, _ high: Double) -> PrimExpr {
        bind("xl", Select(LT(x, c(low)), c(low), x)) { x in Select(GT(x, c(high)), c(high), x) }
    }
}

/// Variables, each bound around what follows.
final class LetChain {
    private var bound: [(variable: Var, value: PrimExpr)] = []

    func callAsFunction(_ name: String, _ value: PrimExpr) -> PrimExpr {
        let v = Var(name, dtype: value.dtype)
        bound.append((variable: v, value: value))
        return v
    }

    func around(_ body: PrimExpr) -> PrimExpr {
        bound.reversed().reduce(body) { Let($1.variable, $1.value, $0) }
    }
}

/// Lanes of float64, in which functions of float32 do what needs more digits.
struct F64: FloatLanes {
    let type: DataType
    let useFMA: Bool
}

/// Functions of lanes of float32.
struct F32: FloatLanes {
    let type: DataType
    let useFMA: Bool
    /// As many lanes of float64.
    var wide: F64 { F64(type: DataType.float64.with(lanes: lanes), useFMA: useFMA) }

    /// e^x = e^f * 2^n. x = n*ln2 + f with |f| <= ln2/2; e^f by a polynomial. `scale` gets e^f and the integer n, and
    /// must multiply, so that a NaN stays. For |x| < 2^21.
    func exponential(
        _ x: PrimExpr, _ scale: (_ power: PrimExpr, _ n: PrimExpr) -> PrimExpr
    ) -> PrimExpr {
        // Added to it, a small number is rounded to an integer, whose bits are the last ones of the sum.
        let magic = 12_582_912.0
        return bind("xc", x) { x in
            bind("r", fma(x, c(1.4426950408889634), magic)) { r in
                bind("n", r - c(magic)) { n in
                    let f0 = fma(n, c(-0.693145752), x)
                    return bind("f", fma(n, c(-1.42860677e-6), f0)) { f in
                        let p = horner(
                            f,
                            [1.37805939e-3, 8.37312452e-3, 4.16695364e-2, 1.66664720e-1, 4.99999851e-1, 1, 1])
                        return scale(p, bits(r) - i(Int(Float(magic).bitPattern)))
                    }
                }
            }
        }
    }

    /// p * 2^n, correct down to the smallest subnormal number: 2^n in two factors, so that neither overflows and the last
    /// multiplication alone rounds into the subnormal range.
    func scaled(_ p: PrimExpr, by n: PrimExpr) -> PrimExpr {
        binding { v in
            let k = v("k", n)
            let h = v("h", bitwise("shift_right", k, i(1)))
            let a = float(bitwise("shift_left", h + i(127), i(23)))
            let b = float(bitwise("shift_left", k - h + i(127), i(23)))
            return p * a * b
        }
    }

    /// e^x, correct down to the smallest subnormal number.
    func exp(_ x: PrimExpr) -> PrimExpr {
        // Beyond these ends the result is inf or 0 already.
        exponential(clamp(x, -104, 89)) { p, n in scaled(p, by: n) }
    }

    /// e^x where it is a normal number below 2^127; 0 below, inf above (exponents of all zeros and ones).
    func expNormal(_ x: PrimExpr) -> PrimExpr {
        exponential(clamp(x, -88, 89)) { p, n in p * float(bitwise("shift_left", n + i(127), i(23))) }
    }

    /// ln x. x = m * 2^k with m in [2/3, 4/3): ln x = k*ln2 + ln(1 + (m-1)).
    func log(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            let (k, m) = split(v, x, from: 0x3F2A_AAAB)
            let f = v("f", m - c(1))
            let s = v("s", f * f)
            return logarithmOf(x, fma(k, c(0.693147182), fma(log1pTail(f, s), s, f)))
        }
    }

    /// x = m * 2^k, k as a float, and m between the positive number whose bits are `from` and twice it. For positive x.
    func split(_ v: LetChain, _ x: PrimExpr, from: Int) -> (k: PrimExpr, m: PrimExpr) {
        let tiny = v("tiny", LT(x, c(1.17549435e-38)))
        let a = v("a", Select(tiny, x * c(8_388_608), x))
        let e = v("e", bitwise("bitwise_and", bits(a) - i(from), i(-8_388_608)))
        let k = v("k", Cast(type, e) * c(1.1920928955078125e-7) + Select(tiny, c(-23), c(0)))
        return (k, float(bits(a) - e))
    }

    /// (ln(1+f) - f) / f^2 for f in [-1/3, 1/3); s is f^2.
    func log1pTail(_ f: PrimExpr, _ s: PrimExpr) -> PrimExpr {
        let r0 = horner(s, [-0.130310059, -0.121483512, -0.166846126, -0.249996200])
        let t0 = horner(s, [0.140869141, 0.139814854, 0.200120345])
        return fma(fma(fma(t0, f, r0), f, 0.333331972), f, -0.5)
    }

    /// `value` for positive finite x, what a logarithm of x is else.
    func logarithmOf(_ x: PrimExpr, _ value: PrimExpr) -> PrimExpr {
        let low = Select(EQ(x, c(0)), c(-Double.infinity), c(Double.nan))
        let special = Select(LE(x, c(0)), low, x)
        return Select(And(GT(x, c(0)), LT(x, c(Double.infinity))), value, special)
    }

    /// tanh x: an odd polynomial near 0, else 1 - 2 / (e^2|x| + 1) with the sign of x.
    func tanh(_ x: PrimExpr) -> PrimExpr {
        bind("x", x) { x in
            bind("z", x * x) { z in
                let p = horner(
                    z,
                    [
                        -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1,
                        -3.33332819422e-1,
                    ])
                let small = fma(p * z, x, x)
                let e = expNormal(fabs(x) * c(2))
                let large = c(1) - c(2) / (e + c(1))
                // The sign of the argument on both: the sum above makes +0 of -0.
                return copysign(Select(LT(fabs(x), c(0.625)), small, large), x)
            }
        }
    }

    func sigmoid(_ x: PrimExpr) -> PrimExpr { c(1) / (c(1) + expNormal(x * c(-1))) }

    func erf(_ x: PrimExpr) -> PrimExpr {
        bind("x", x) { x in
            bind("t", fabs(x)) { t in
                bind("s", x * x) { s in
                    let a = fma(c(-1.72853470e-5), t, 3.83197126e-4)
                    let u = fma(c(-3.88396438e-3), t, 2.42546219e-2)
                    var r = fma(a, s, u)
                    for k in [-1.06777877e-1, -6.34846687e-1, -1.28717512e-1] { r = fma(r, t, k) }
                    r = fma(r, t, t * c(-1))
                    let large = copysign(c(1) - expNormal(r), x)
                    let p = horner(
                        s,
                        [
                            -5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1,
                            1.28379166e-1,
                        ])
                    let small = fma(p, x, x)
                    // Beyond 4 the polynomial is not valid, and erf is 1 to the last bit.
                    let body = Select(GT(t, c(4)), copysign(c(1), x), large)
                    return Select(nan(x), x, Select(GT(t, c(0.921875)), body, small))
                }
            }
        }
    }

    /// x times the normal distribution function of x: x / 2 * (1 + erf(x / sqrt 2)). The error function is the odd rational
    /// function of least relative error (2e-8) up to a point where it is 1 in float32, and exactly 1 from there.
    func gelu(_ x: PrimExpr) -> PrimExpr {
        let end = 5.53999758
        return bind("x", x) { x in
            bind("t", clamp(x, -end, end)) { t in
                bind("s", t * t) { s in
                    let p = horner(
                        s,
                        [
                            4.534696184014571e-08, 1.2591394946743223e-05, 0.0003325428517715692,
                            0.009323009426018769, 0.0672866773002256, 0.797884546078422,
                        ])
                    let q = horner(
                        s,
                        [
                            1.1910829320319592e-06, 7.261989494582923e-05, 0.0018703139707439257,
                            0.028518376851130553, 0.2509977164090649, 1.0,
                        ])
                    return bind("h", x * c(0.5)) { h in fma(h, t * (p / q), h) }
                }
            }
        }
    }
}
