extension RewriteRules {
    /// Rules for `max(a, b)`.
    static let max = RewriteRule.list(
        "max",
        [
            (
                [.index, .signed, .unsigned, .float],
                """
                max(x, x) -> x
                ~max(max(x, y), x) -> max(x, y)
                ~max(max(x, y), y) -> max(x, y)
                max(max(max(x, y), z), x) -> max(max(x, y), z)
                max(max(max(x, y), z), y) -> max(max(x, y), z)
                max(select(p, x, y), select(p, z, w)) -> select(p, max(x, z), max(y, w))
                """
            ),
            (
                .anyInteger,
                """
                max(c1, u) -> max(u, c1)
                max(max(max(max(x, y), z), w), x) -> max(max(max(x, y), z), w)
                max(max(max(max(x, y), z), w), y) -> max(max(max(x, y), z), w)
                max(max(x, c1), c2) -> max(x, max(c1, c2))
                max(max(u, c1), v) -> max(max(u, v), c1)
                max(u, max(v, c1)) -> max(max(u, v), c1)
                max(x, y) -> x if x >= y
                max(x, y) -> y if y >= x
                max(min(x, c1), c2) -> c2 if c2 >= c1
                ~max(min(x, y), x) -> x
                ~max(min(x, y), y) -> y
                max(max(x, y), max(x, z)) -> max(max(y, z), x)
                max(max(x, y), max(z, x)) -> max(max(y, z), x)
                max(max(y, x), max(x, z)) -> max(max(y, z), x)
                max(max(y, x), max(z, x)) -> max(max(y, z), x)
                max(min(x, y), min(x, z)) -> min(max(y, z), x)
                max(min(x, y), min(z, x)) -> min(max(y, z), x)
                max(min(y, x), min(x, z)) -> min(max(y, z), x)
                max(min(y, x), min(z, x)) -> min(max(y, z), x)
                ~max(select(p, x, y), x) -> select(p, x, max(x, y))
                ~max(select(p, x, y), y) -> select(p, max(x, y), y)
                max(select(p, c1, c2), c3) -> select(p, max(c1, c3), max(c2, c3))
                # Division by a positive number keeps the order.
                max(x // c1, y // c1) -> max(x, y) // c1 if c1 > 0
                max(tdiv(x, c1), tdiv(y, c1)) -> tdiv(max(x, y), c1) if c1 > 0
                max(bcast(x), bcast(y)) -> bcast(max(x, y))
                """
            ),
            (
                [.index, .signed],
                """
                max(x // c1, y // c1) -> min(x, y) // c1 if c1 < -1
                """
            ),
            (
                .index,
                """
                max(x + y, x + z) -> max(y, z) + x
                max(x + y, z + x) -> max(y, z) + x
                max(y + x, x + z) -> max(y, z) + x
                max(y + x, z + x) -> max(y, z) + x
                max(x - y, x - z) -> x - min(y, z)
                max(x - y, z - y) -> max(x, z) - y
                ~max(x + y, x) -> max(y, 0) + x
                ~max(y + x, x) -> max(y, 0) + x
                ~max(u - y, u) -> u - min(y, 0)
                max(x + c1, c2) -> max(x, c2 - c1) + c1
                # For 0 the rules for sums go the other way: c1 - min(x, c1) is max(c1 - x, 0).
                max(c1 - x, c2) -> c1 - min(x, c1 - c2) if c2 != 0
                max(x * c1, y * c1) -> max(x, y) * c1 if c1 > 0
                max(x * c1, y * c1) -> min(x, y) * c1 if c1 < 0
                max(x * c1, c2) -> max(x, c2 // c1) * c1 if c1 > 0 && c2 % c1 == 0
                max(x * c1, c2) -> min(x, c2 // c1) * c1 if c1 < 0 && c2 % c1 == 0
                ~max(x // c1 * c1, x) -> x if c1 > 0
                ~max((x + c1) // c2 * c2, x) -> (x + c1) // c2 * c2 if c2 > 0 && c1 == c2 - 1
                max(ramp(x, z), ramp(y, z)) -> ramp(max(x, y), z)
                """
            ),
        ])
}
