extension RewriteRules {
    /// Rules for `tdiv(a, b)`, rounding toward zero.
    static let truncDiv = RewriteRule.list(
        "tdiv",
        [
            (
                .anyInteger,
                """
                tdiv(x, 1) -> x
                tdiv(0, x) -> 0
                tdiv(x, x) -> 1
                tdiv(tmod(x, y), y) -> 0
                tdiv(tdiv(x, c1), c2) -> tdiv(x, c1 * c2) if c1 > 0 && c2 > 0 && c1 * c2 > 0 && tdiv(c1 * c2, c2) == c1
                tdiv(select(p, c1, c2), c3) -> select(p, tdiv(c1, c3), tdiv(c2, c3))
                tdiv(bcast(x), bcast(y)) -> bcast(tdiv(x, y))
                """
            ),
            (
                .unsigned,
                """
                tdiv(x, y) -> x // y
                """
            ),
            (
                [.index, .signed],
                """
                tdiv(x, y) -> x // y if x >= 0 && y > 0
                tdiv(x, -1) -> 0 - x
                tdiv(x, c1) -> 0 if c1 > 0 && x < c1 && x > 0 - c1
                """
            ),
            (
                .index,
                """
                tdiv(x * c1, c2) -> x * tdiv(c1, c2) if c2 != 0 && tmod(c1, c2) == 0
                tdiv(x * c1, c2) -> tdiv(x, tdiv(c2, c1)) if c1 > 0 && c2 > 0 && tmod(c2, c1) == 0
                tdiv(x * y, y) -> x
                tdiv(y * x, y) -> x
                tdiv(x * y, z * y) -> tdiv(x, z)
                tdiv(x * y, y * z) -> tdiv(x, z)
                tdiv(y * x, z * y) -> tdiv(x, z)
                tdiv(y * x, y * z) -> tdiv(x, z)
                tdiv(x * c1 + y, c2) -> x * tdiv(c1, c2) + tdiv(y, c2) if c1 > 0 && c2 > 0 && c1 % c2 == 0 && x >= 0 && y >= 0
                tdiv(ramp(x, c1), bcast(c2)) -> ramp(tdiv(x, c2), tdiv(c1, c2)) if c2 > 0 && c1 >= 0 && c1 % c2 == 0 && x >= 0
                """
            ),
        ])
}
