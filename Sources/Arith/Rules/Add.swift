extension RewriteRules {
    /// Rules for `a + b`.
    static let add = RewriteRule.list(
        "add",
        [
            (
                .anyInteger,
                """
                x + 0 -> x
                # Constants go right and outside, where they meet.
                c1 + u -> u + c1
                (x + c1) + c2 -> x + (c1 + c2)
                (c1 - x) + c2 -> (c1 + c2) - x
                (u + c1) + v -> (u + v) + c1
                u + (v + c1) -> (u + v) + c1
                (c1 - u) + v -> (v - u) + c1
                u + (c1 - v) -> (u - v) + c1
                ~(x - y) + y -> x
                ~(x - y) + (y - z) -> x - z
                ~(x - y) + (z - x) -> z - y
                # Common factors.
                x + x -> x * 2
                ~u * y + u -> u * (y + 1)
                ~y * u + u -> u * (y + 1)
                x * y + x * z -> x * (y + z)
                x * y + z * x -> x * (y + z)
                y * x + x * z -> x * (y + z)
                y * x + z * x -> x * (y + z)
                # Quotient and remainder put together.
                ~(x // y) * y + x % y -> x
                ~y * (x // y) + x % y -> x
                ~tdiv(x, y) * y + tmod(x, y) -> x
                ~y * tdiv(x, y) + tmod(x, y) -> x
                ~(x // c1) * c2 + (x % c1) * c3 -> x * c3 if c2 == c1 * c3
                # The smaller and the larger are both.
                ~min(x, y) + max(x, y) -> x + y
                ~min(x, y) + max(y, x) -> x + y
                select(p, x, y) + select(p, z, w) -> select(p, x + z, y + w)
                select(p, c1, c2) + c3 -> select(p, c1 + c3, c2 + c3)
                # Vectors.
                bcast(x) + bcast(y) -> bcast(x + y)
                ramp(x, y) + ramp(z, w) -> ramp(x + z, y + w)
                ~ramp(x, y) + bcast(z) -> ramp(x + z, y)
                """
            ),
            (
                .index,
                """
                ~min(x - z, y) + z -> min(x, y + z)
                ~min(y, x - z) + z -> min(y + z, x)
                ~max(x - z, y) + z -> max(x, y + z)
                ~max(y, x - z) + z -> max(y + z, x)
                min(x, y + c1) + c2 -> min(x + c2, y) if c1 + c2 == 0
                min(x + c1, y) + c2 -> min(x, y + c2) if c1 + c2 == 0
                max(x, y + c1) + c2 -> max(x + c2, y) if c1 + c2 == 0
                max(x + c1, y) + c2 -> max(x, y + c2) if c1 + c2 == 0
                # The remainder carries into the quotient.
                ~x // c1 + (x % c1 + y) // c1 -> (x + y) // c1 if c1 > 0
                ~x // c1 + (y + x % c1) // c1 -> (x + y) // c1 if c1 > 0
                ~x // 2 + x % 2 -> (x + 1) // 2
                """
            ),
        ])
}
