import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Sine, cosine, tangent and their inverses.
//
//   sin, cos, tan      of every finite argument, however large; of ±inf nan; sin and tan keep -0
//   asin, acos         nan beyond ±1; asin keeps -0
//   atan               atan(±inf) = ±pi/2, keeps -0
//
// The reduction is that of M. Payne and R. Hanek, with digits of 26 bits in float64 lanes: the places of 2/pi that make
// whole turns of |x| = m * 2^e are left out, those that are needed are chosen by e.

/// 2/pi = 0.A2F9836E4E441529FC27… in places that float64 multiplies by a float32 without rounding.
private enum TwoOverPi {
    /// Bits 26k + 1 to 26k + 26 after the point.
    static let digits = [
        0x1.45F3068p-1, 0x1.7272208p-27, 0x1.4A7F09p-54, 0x1.ABE8FA8p-79, 0x1.A6EE06p-107,
    ]
    /// What follows after the digits k and k + 1, rounded.
    static let rests = [
        0x1.4A7F09D5F47D5p-54, 0x1.ABE8FA9A6EE07p-79, 0x1.A6EE06DB14ACDp-107, 0x1.B6295993C4390p-132,
    ]
}

extension F32 {
    /// |x| = (n + f) * pi/2, or pi where `half` turns are counted, less `offset` of that unit; |f| is at most 1/2, apart from
    /// the last bits. f in float64, as relative accuracy needs where x is next to a multiple of the unit.
    /// - Returns: f, and an integer of 64 bits whose lowest bit is that of n.
    private func turns(
        _ v: LetChain, _ x: PrimExpr, half: Bool, offset: Double = 0
    ) -> (fraction: PrimExpr, count: PrimExpr) {
        let w = wide
        // x is below 2^(e+1) and a multiple of 2^(e-23): leaving out a digit leaves out a multiple of 2 from here on.
        let first = half ? 51 : 50
        let unit = half ? 0.5 : 1.0
        func power(_ e: Int) -> PrimExpr { w.c(Double(sign: .plus, exponent: e, significand: 1)) }
        let a = v("a", Cast(w.type, fabs(x)))
        let far = v("far", GE(a, power(first + 26)))
        let odd = v("odd", GE(a, Select(far, power(first + 52), power(first))))
        func pick(_ places: [Double], _ k: Int) -> PrimExpr {
            Select(far, w.c(places[k + 2] * unit), w.c(places[k] * unit))
        }
        let middle = v("middle", pick(TwoOverPi.digits, 1))
        let c0 = Select(odd, middle, pick(TwoOverPi.digits, 0))
        let c1 = v("c1", Select(odd, pick(TwoOverPi.digits, 2), middle))
        let c2 = v("c2", Select(odd, pick(TwoOverPi.rests, 1), pick(TwoOverPi.rests, 0)))
        // Added to these, a number below 2^51 is rounded to a multiple of 2 and of 1.
        let twos = w.c(0x1.8p53)
        let ones = w.c(0x1.8p52)
        let p = v("p", a * c0)
        let rest = p - ((p + twos) - twos)
        let q = v("q", offset == 0 ? rest : rest + w.c(offset))
        let t = v("t", w.fma(a, c2, w.fma(a, c1, q)) + ones)
        // q - n is exact, and so is all but the last place of the sum that is left.
        return (w.fma(a, c2, w.fma(a, c1, q - (t - ones))), w.bits(t))
    }

    /// (-1)^n sin(f pi), where n and f count half turns: an odd polynomial.
    private func sine(_ v: LetChain, _ turns: (fraction: PrimExpr, count: PrimExpr)) -> PrimExpr {
        let sign = bitwise("shift_left", turns.count, wide.i(63))
        let angle = bitwise("bitwise_xor", wide.bits(turns.fraction * wide.c(Double.pi)), sign)
        let r = v("r", Cast(type, wide.float(angle)))
        let z = v("z", r * r)
        let p = horner(
            z, [-2.54939909e-08, 2.76267269e-06, -0.000198430906, 0.00833335053, -0.166666672])
        return fma(p, r * z, r)
    }

    /// `y` with its sign changed where x has one.
    private func withSign(of x: PrimExpr, _ y: PrimExpr) -> PrimExpr {
        float(bitwise("bitwise_xor", bits(y), bitwise("bitwise_and", bits(x), i(Int(Int32.min)))))
    }

    func sin(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            return withSign(of: x, sine(v, turns(v, x, half: true)))
        }
    }

    /// The sine of a quarter turn more.
    func cos(_ x: PrimExpr) -> PrimExpr {
        binding { v in sine(v, turns(v, x, half: true, offset: 0.5)) }
    }

    /// An odd polynomial within an eighth of a turn, -1 over it where an odd number of quarter turns was taken away.
    func tan(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            let (fraction, count) = turns(v, x, half: false)
            let r = v("r", Cast(type, fraction * wide.c(Double.pi / 2)))
            let z = v("z", r * r)
            let p = horner(
                z,
                [
                    0.00437270058, 9.82424099e-05, 0.0108274445, 0.0212862082, 0.0540589131, 0.133326754,
                    0.333333492,
                ])
            let t = v("t", fma(p, r * z, r))
            let odd = v("odd", NE(bitwise("bitwise_and", count, wide.i(1)), wide.i(0)))
            return withSign(of: x, Select(odd, c(-1), t) / Select(odd, t, c(1)))
        }
    }

    // MARK: Inverses

    /// pi/2 and pi as a float32 and what it lacks.
    private static let halfPi = (high: 1.57079637, low: -4.37113883e-8)
    private static let pi = (high: 3.14159274, low: -8.74227766e-8)

    /// An odd polynomial up to 1; beyond, pi/2 less that of the reciprocal.
    func atan(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            let t = v("t", fabs(x))
            let big = v("big", GT(t, c(1)))
            let a = v("a", Select(big, c(1), t) / Select(big, t, c(1)))
            let z = v("z", a * a)
            let p = horner(
                z,
                [
                    -0.00178255572, 0.0108679719, -0.0310963094, 0.0578811318, -0.0839930326, 0.109508805,
                    -0.142640159, 0.199985296, -0.333332986,
                ])
            let y = v("y", fma(p, a * z, a))
            return copysign(Select(big, c(Self.halfPi.high) - (y - c(Self.halfPi.low)), y), x)
        }
    }

    /// The arc sine of s, an odd polynomial in s up to 1/2: s is t = |x| itself, or sqrt((1 - t) / 2), of which twice the
    /// arc sine is pi/2 less that of t.
    private func arcSine(_ v: LetChain, _ x: PrimExpr) -> (big: PrimExpr, y: PrimExpr) {
        let t = v("t", fabs(x))
        let big = v("big", GT(t, c(0.5)))
        let z = v("z", Select(big, fma(t, c(-0.5), 0.5), t * t))
        let s = v("s", Select(big, sqrt(z), t))
        let p = horner(z, [0.0421583988, 0.0241847411, 0.0454691537, 0.0749530941, 0.166667521])
        return (big, v("y", fma(p, s * z, s)))
    }

    func asin(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            let (big, y) = arcSine(v, x)
            return copysign(Select(big, c(Self.halfPi.high) - (y + y - c(Self.halfPi.low)), y), x)
        }
    }

    func acos(_ x: PrimExpr) -> PrimExpr {
        binding { v in
            let x = v("x", x)
            let (big, y) = arcSine(v, x)
            let near = c(Self.halfPi.high) - (copysign(y, x) - c(Self.halfPi.low))
            let twice = v("twice", y + y)
            let far = Select(LT(x, c(0)), c(Self.pi.high) - (twice - c(Self.pi.low)), twice)
            return Select(big, far, near)
        }
    }
}
