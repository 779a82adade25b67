extension RewriteRules {
    /// Rules for `a <= b`.
    static let le = RewriteRule.list(
        "le",
        [
            (
                .anyInteger,
                """
                x <= x -> true
                x <= c1 -> x < c1 + 1 if c1 < c1 + 1
                c1 <= u -> u >= c1
                min(x, y) <= x -> true
                min(x, y) <= y -> true
                x <= max(x, y) -> true
                y <= max(x, y) -> true
                max(x, y) <= x -> y <= x
                max(x, y) <= y -> x <= y
                x <= min(x, y) -> x <= y
                y <= min(x, y) -> y <= x
                min(x, y) <= max(x, y) -> true
                max(x, y) <= min(x, y) -> x == y
                bcast(x) <= bcast(y) -> bcast(x <= y)
                """
            ),
            (
                [.signed, .unsigned],
                """
                x <= c1 -> true if c1 + 1 <= c1
                """
            ),
            (
                .unsigned,
                """
                x // y <= x -> true
                x % y <= x -> true
                """
            ),
            (
                .index,
                """
                x + c1 <= y + c2 -> x <= y + (c2 - c1)
                x + y <= x + z -> y <= z
                x + y <= z + x -> y <= z
                y + x <= x + z -> y <= z
                y + x <= z + x -> y <= z
                x - y <= x - z -> z <= y
                x - y <= z - y -> x <= z
                x + y <= x -> y < 1
                y + x <= x -> y < 1
                x <= x + y -> y >= 0
                x <= y + x -> y >= 0
                x - y <= x -> y >= 0
                x <= x - y -> y < 1
                x * c1 <= y * c1 -> x <= y if c1 > 0
                x * c1 <= y * c1 -> y <= x if c1 < 0
                x // c1 * c1 <= x -> true if c1 > 0
                x <= (x + c1) // c2 * c2 -> true if c2 > 0 && c1 == c2 - 1
                ramp(x, z) <= ramp(y, z) -> bcast(x <= y)
                ramp(x, c1) <= bcast(y) -> bcast(true) if c1 >= 0 && x + c1 * (n - 1) <= y
                ramp(x, c1) <= bcast(y) -> bcast(false) if c1 >= 0 && x > y
                bcast(x) <= ramp(y, c1) -> bcast(true) if c1 >= 0 && x <= y
                bcast(x) <= ramp(y, c1) -> bcast(false) if c1 >= 0 && x > y + c1 * (n - 1)
                """
            ),
        ])
}
