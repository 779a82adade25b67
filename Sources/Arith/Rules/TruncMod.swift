extension RewriteRules {
    /// Rules for `tmod(a, b)`, the remainder of `tdiv`.
    static let truncMod = RewriteRule.list(
        "tmod",
        [
            (
                .anyInteger,
                """
                tmod(x, 1) -> 0
                tmod(0, x) -> 0
                tmod(x, x) -> 0
                tmod(tmod(x, y), y) -> tmod(x, y)
                tmod(tmod(x, c1), c2) -> tmod(x, c2) if c1 > 0 && c2 > 0 && tmod(c1, c2) == 0
                tmod(select(p, c1, c2), c3) -> select(p, tmod(c1, c3), tmod(c2, c3))
                tmod(bcast(x), bcast(y)) -> bcast(tmod(x, y))
                """
            ),
            (
                .unsigned,
                """
                tmod(x, y) -> x % y
                """
            ),
            (
                [.index, .signed],
                """
                tmod(x, y) -> x % y if x >= 0 && y > 0
                tmod(x, -1) -> 0
                tmod(x, c1) -> x if c1 > 0 && x < c1 && x > 0 - c1
                """
            ),
            (
                .index,
                """
                tmod(x * c1, c2) -> 0 if c2 != 0 && tmod(c1, c2) == 0
                tmod(x * c1, c2) -> tmod(x, tdiv(c2, c1)) * c1 if c1 > 1 && c2 > 0 && tmod(c2, c1) == 0
                tmod(x * y, y) -> 0
                tmod(y * x, y) -> 0
                tmod(x * c1 + y, c2) -> tmod(y, c2) if c1 > 0 && c2 > 0 && c1 % c2 == 0 && x >= 0 && y >= 0
                tmod(ramp(x, c1), bcast(c2)) -> bcast(tmod(x, c2)) if c2 > 0 && c1 >= 0 && c1 % c2 == 0 && x >= 0
                """
            ),
        ])
}
