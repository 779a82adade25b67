extension RewriteRules {
    /// Rules for `a // b`, rounding down.
    static let floorDiv = RewriteRule.list(
        "floordiv",
        [
            (
                .anyInteger,
                """
                x // 1 -> x
                0 // x -> 0
                x // x -> 1
                # Twice is once by the product, as long as that does not wrap.
                (x // c1) // c2 -> x // (c1 * c2) if c1 > 0 && c2 > 0 && c1 * c2 > 0 && (c1 * c2) // c2 == c1
                (x % y) // y -> 0
                # Quotients of small numbers.
                x // y -> 0 if x >= 0 && x < y
                x // y -> 1 if y > 0 && x >= y && x - y < y
                select(p, c1, c2) // c3 -> select(p, c1 // c3, c2 // c3)
                bcast(x) // bcast(y) -> bcast(x // y)
                """
            ),
            (
                [.index, .signed],
                """
                x // (-1) -> 0 - x
                x // c1 -> -1 if c1 > 0 && x < 0 && x >= 0 - c1
                """
            ),
            (
                .index,
                """
                (x // c1 + c2) // c3 -> (x + c1 * c2) // (c1 * c3) if c1 > 0 && c3 > 0
                (x * c1) // c2 -> x * (c1 // c2) if c2 != 0 && c1 % c2 == 0
                (x * c1) // c2 -> x // (c2 // c1) if c1 > 0 && c2 > 0 && c2 % c1 == 0
                (x * c1 + y) // c2 -> x * (c1 // c2) + y // c2 if c2 > 0 && c1 % c2 == 0
                (y + x * c1) // c2 -> y // c2 + x * (c1 // c2) if c2 > 0 && c1 % c2 == 0
                (y - x * c1) // c2 -> y // c2 - x * (c1 // c2) if c2 > 0 && c1 % c2 == 0
                (x * c1 + y) // c2 -> x // (c2 // c1) if c1 > 0 && c2 > 0 && c2 % c1 == 0 && y >= 0 && y < c1
                (y + x * c1) // c2 -> x // (c2 // c1) if c1 > 0 && c2 > 0 && c2 % c1 == 0 && y >= 0 && y < c1
                (x * c1 + c3) // c2 -> (x + c3 // c1) // (c2 // c1) if c1 > 0 && c2 > 0 && c2 % c1 == 0
                (x * c1 + y) // c2 -> (x + y // c1) // (c2 // c1) if c1 > 1 && c2 > 0 && c2 % c1 == 0
                (y + x * c1) // c2 -> (x + y // c1) // (c2 // c1) if c1 > 1 && c2 > 0 && c2 % c1 == 0
                (x + c1) // c2 -> x // c2 + c1 // c2 if c2 > 0 && c1 % c2 == 0 && c1 != 0
                (x + u) // x -> u // x + 1
                (u + x) // x -> u // x + 1
                (u - x) // x -> u // x + (-1)
                (x * y) // y -> x
                (y * x) // y -> x
                (x * y + z) // y -> x + z // y
                (y * x + z) // y -> x + z // y
                (z + x * y) // y -> z // y + x
                (z + y * x) // y -> z // y + x
                (x * y) // (z * y) -> x // z
                (x * y) // (y * z) -> x // z
                (y * x) // (z * y) -> x // z
                (y * x) // (y * z) -> x // z
                # Remainders first.
                (x % c1) // c2 -> (x // c2) % (c1 // c2) if c1 > 0 && c2 > 0 && c1 % c2 == 0
                ramp(x, c1) // bcast(c2) -> ramp(x // c2, c1 // c2) if c2 > 0 && c1 % c2 == 0
                ramp(x, c1) // bcast(c2) -> bcast(x // c2) if c2 > 0 && c1 >= 0 && x % c2 + c1 * (n - 1) < c2
                """
            ),
        ])
}
