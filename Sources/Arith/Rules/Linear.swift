extension RewriteRules {
    /// What the normal form of index expressions counts on (`LinearForm`, `Forms`, `DivMod`, `Prover`). These are not
    /// matched: that code computes with sums of any length, of which each line here is one step. They are stated as rules
    /// so that they are proved as rules are. `.index` holds for tame values only; sums and products are formed of data
    /// as well and so must hold where arithmetic wraps.
    public static let linear = RewriteRule.list(
        "linear",
        [
            (
                [.index, .signed],
                """
                # LinearForm.adding, longSum: sums have no order, equal atoms merge, what cancels goes.
                x + y -> y + x
                (x + y) + z -> x + (y + z)
                x - y -> x + y * (-1)
                (x - y) + z -> (x + z) - y
                x * c1 + x * c2 -> x * (c1 + c2)
                x * c1 - x * c2 -> x * (c1 - c2)
                x * c1 + x * c2 -> 0 if c1 + c2 == 0
                (x + c1) + (y + c2) -> (x + y) + (c1 + c2)
                (x + c1) - (y + c2) -> (x - y) + (c1 - c2)
                # LinearForm.scaled, product: distribution, factors in order.
                (x + y) * c1 -> x * c1 + y * c1
                (x + c1) * c2 -> x * c2 + c1 * c2
                (x * c1) * c2 -> x * (c1 * c2)
                x * y -> y * x
                (x * y) * z -> x * (y * z)
                (x * c1) * (y * c2) -> (x * y) * (c1 * c2)
                (x + y) * (z + w) -> x * z + x * w + y * z + y * w
                (x + c1) * (y + c2) -> x * y + x * c2 + y * c1 + c1 * c2
                """
            ),
            (
                .index,
                """
                # Analyzer.extremum: by the sign of the difference.
                min(x, y) -> x if y - x >= 0
                min(x, y) -> y if x - y >= 0
                max(x, y) -> y if y - x >= 0
                max(x, y) -> x if x - y >= 0
                min(x, y) -> min(y, x)
                max(x, y) -> max(y, x)
                # divideTerms: multiples of the divisor leave the division.
                (x * c1 + y) // c1 -> x + y // c1 if c1 > 0
                (x * c1 + y) % c1 -> y % c1 if c1 > 0
                (y + c2) // c1 -> (y + c2 % c1) // c1 + c2 // c1 if c1 > 0
                (y + c2) % c1 -> (y + c2 % c1) % c1 if c1 > 0
                # period: what stays between two multiples of the divisor.
                y // c1 -> c2 if c1 > 0 && y >= c2 * c1 && y < (c2 + 1) * c1
                y % c1 -> y - c2 * c1 if c1 > 0 && y >= c2 * c1 && y < (c2 + 1) * c1
                # Divisors of any sign.
                x // c1 -> (0 - x) // (0 - c1) if c1 < 0
                x % c1 -> 0 - ((0 - x) % (0 - c1)) if c1 < 0
                x // 1 -> x
                x % 1 -> 0
                # divideConstant: a common divisor, a small tail, a quotient, a remainder.
                (x * c1 + y) // (c1 * c2) -> (x + c3) // c2 if c1 > 0 && c2 > 0 && c3 == y // c1
                (x // c1 + c2) // c3 -> (x + c2 * c1) // (c1 * c3) if c1 > 0 && c3 > 0
                (x % c1) // c2 -> (x // c2) % (c1 // c2) if c1 > 0 && c2 > 0 && c1 % c2 == 0
                # moduloConstant: the same of remainders.
                (x * c1 + y) % (c1 * c2) -> (x + c3) % c2 * c1 + (y - c3 * c1) if c1 > 0 && c2 > 0 && c3 == y // c1
                # (x % c1 * c3 + y) % c2 -> (x * c3 + y) % c2 in two steps, each of few enough variables for 8 bits.
                (x + y) % c2 -> (x % c2 + y) % c2 if c2 > 0
                (x % c1 * c3) % c2 -> (x * c3) % c2 if c1 > 0 && c2 > 0 && c1 % c2 == 0
                # divideSymbolic, insidePeriod: a symbolic divisor.
                (x * y + z) // y -> x if z >= 0 && z < y
                (x * y + z) % y -> z if z >= 0 && z < y
                (x + y) // y -> x // y + 1
                # recombined: quotient and remainder meet.
                (x // c1) * c2 + (x % c1) * c3 -> x * c3 if c1 > 0 && c2 == c1 * c3
                ((x // c1) % c2) * c1 + x % c1 -> x % (c1 * c2) if c1 > 0 && c2 > 0
                (x // y) * y + x % y -> x
                (x // c1) * c1 -> x - c2 if c1 > 0 && c2 == x % c1
                # computeForm: truncating division of what is not negative.
                tdiv(x, y) -> x // y if x >= 0 && y > 0
                tmod(x, y) -> x % y if x >= 0 && y > 0
                # compare: by the difference.
                x < y -> 0 <= y - x - 1
                x <= y -> 0 <= y - x
                x > y -> 0 <= x - y - 1
                x >= y -> 0 <= x - y
                x == y -> x - y == 0
                x != y -> x - y != 0
                x * c1 + c2 == 0 -> x + c2 // c1 == 0 if c1 > 0 && c2 % c1 == 0
                x * c1 + c2 == 0 -> false if c1 > 0 && c2 % c1 != 0
                # nonNegative: a divisor of the large terms rounds the rest down.
                x * c1 + y >= 0 -> x + c2 >= 0 if c1 > 0 && c2 == y // c1
                # nonNegativeSides, sides: the negative terms on the other side.
                x - y + c1 >= 0 -> y <= x + c1
                x - y - 1 >= 0 -> y < x
                x - y + c1 >= 0 -> y < x + (c1 + 1)
                c1 - x >= 0 -> x < c1 + 1
                x + c1 >= 0 -> x >= 0 - c1
                # eliminate: a quotient or remainder at the end of its range.
                (x // c1) * c1 <= x -> true if c1 > 0
                (x // c1) * c1 >= x + (1 - c1) -> true if c1 > 0
                x % y < y -> true if y > 0
                x % y >= 0 -> true if y > 0
                """
            ),
        ])
}
