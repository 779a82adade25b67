extension RewriteRules {
    /// Rules for `a >= b`: the normal form against a constant, `b <= a` otherwise.
    static let ge = RewriteRule.list(
        "ge",
        [
            (
                .anyInteger,
                """
                x >= x -> true
                c1 >= u -> u < c1 + 1 if c1 < c1 + 1
                u >= v -> v <= u
                x % y >= 0 -> true if y > 0
                min(x, c1) >= c2 -> false if c1 < c2
                min(x, c1) >= c2 -> x >= c2 if c1 >= c2
                max(x, c1) >= c2 -> true if c1 >= c2
                max(x, c1) >= c2 -> x >= c2 if c1 < c2
                select(p, c1, c2) >= c3 -> true if c1 >= c3 && c2 >= c3
                select(p, c1, c2) >= c3 -> p if c1 >= c3 && c2 < c3
                select(p, c1, c2) >= c3 -> !p if c1 < c3 && c2 >= c3
                select(p, c1, c2) >= c3 -> false if c1 < c3 && c2 < c3
                select(p, x, c1) >= c2 -> p && x >= c2 if c1 < c2
                select(p, c1, x) >= c2 -> !p && x >= c2 if c1 < c2
                select(p, x, c1) >= c2 -> !p || x >= c2 if c1 >= c2
                select(p, c1, x) >= c2 -> p || x >= c2 if c1 >= c2
                bcast(x) >= bcast(y) -> bcast(x >= y)
                """
            ),
            (
                [.signed, .unsigned],
                """
                c1 >= u -> true if c1 + 1 <= c1
                """
            ),
            (
                .unsigned,
                """
                x >= 0 -> true
                x >= 1 -> x != 0
                """
            ),
            (
                .index,
                """
                x + c1 >= c2 -> x >= c2 - c1
                c1 - x >= c2 -> x < c1 - c2 + 1
                x - y >= 0 -> y <= x
                x - y >= 1 -> y < x
                x * c1 >= c2 -> x >= (c2 + c1 - 1) // c1 if c1 > 0
                x * c1 >= c2 -> x < c2 // c1 + 1 if c1 < 0
                x // c1 >= c2 -> x >= c1 * c2 if c1 > 0
                """
            ),
        ])
}
