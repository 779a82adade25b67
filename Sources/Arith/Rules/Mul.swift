extension RewriteRules {
    /// Rules for `a * b`.
    static let mul = RewriteRule.list(
        "mul",
        [
            (
                .anyInteger,
                """
                x * 0 -> 0
                x * 1 -> x
                x * (-1) -> 0 - x
                c1 * u -> u * c1
                (x * c1) * c2 -> x * (c1 * c2)
                (x + c1) * c2 -> x * c2 + c1 * c2
                (c1 - x) * c2 -> x * (0 - c2) + c1 * c2
                (u * c1) * v -> (u * v) * c1
                u * (v * c1) -> (u * v) * c1
                (0 - x) * c1 -> x * (0 - c1)
                (0 - x) * (0 - y) -> x * y
                ~min(x, y) * max(x, y) -> x * y
                ~min(x, y) * max(y, x) -> x * y
                select(p, c1, c2) * c3 -> select(p, c1 * c3, c2 * c3)
                bcast(x) * bcast(y) -> bcast(x * y)
                ~ramp(x, y) * bcast(z) -> ramp(x * z, y * z)
                """
            ),
            (
                [.index, .signed],
                """
                (x - y) * c1 -> (y - x) * (0 - c1) if c1 < 0 && 0 - c1 > 0
                """
            ),
            (
                .index,
                """
                # What is known to be a multiple.
                (x // c1) * c1 -> x if x % c1 == 0
                """
            ),
        ])
}
