extension RewriteRules {
    /// Rules for `min(a, b)`.
    static let min = RewriteRule.list(
        "min",
        [
            (
                [.index, .signed, .unsigned, .float],
                """
                min(x, x) -> x
                ~min(min(x, y), x) -> min(x, y)
                ~min(min(x, y), y) -> min(x, y)
                min(min(min(x, y), z), x) -> min(min(x, y), z)
                min(min(min(x, y), z), y) -> min(min(x, y), z)
                min(select(p, x, y), select(p, z, w)) -> select(p, min(x, z), min(y, w))
                """
            ),
            (
                .anyInteger,
                """
                min(c1, u) -> min(u, c1)
                min(min(min(min(x, y), z), w), x) -> min(min(min(x, y), z), w)
                min(min(min(min(x, y), z), w), y) -> min(min(min(x, y), z), w)
                min(min(x, c1), c2) -> min(x, min(c1, c2))
                min(min(u, c1), v) -> min(min(u, v), c1)
                min(u, min(v, c1)) -> min(min(u, v), c1)
                min(x, y) -> x if x <= y
                min(x, y) -> y if y <= x
                min(max(x, c1), c2) -> c2 if c2 <= c1
                ~min(max(x, y), x) -> x
                ~min(max(x, y), y) -> y
                min(min(x, y), min(x, z)) -> min(min(y, z), x)
                min(min(x, y), min(z, x)) -> min(min(y, z), x)
                min(min(y, x), min(x, z)) -> min(min(y, z), x)
                min(min(y, x), min(z, x)) -> min(min(y, z), x)
                min(max(x, y), max(x, z)) -> max(min(y, z), x)
                min(max(x, y), max(z, x)) -> max(min(y, z), x)
                min(max(y, x), max(x, z)) -> max(min(y, z), x)
                min(max(y, x), max(z, x)) -> max(min(y, z), x)
                ~min(select(p, x, y), x) -> select(p, x, min(x, y))
                ~min(select(p, x, y), y) -> select(p, min(x, y), y)
                min(select(p, c1, c2), c3) -> select(p, min(c1, c3), min(c2, c3))
                # Division by a positive number keeps the order.
                min(x // c1, y // c1) -> min(x, y) // c1 if c1 > 0
                min(tdiv(x, c1), tdiv(y, c1)) -> tdiv(min(x, y), c1) if c1 > 0
                min(bcast(x), bcast(y)) -> bcast(min(x, y))
                """
            ),
            (
                [.index, .signed],
                """
                min(x // c1, y // c1) -> max(x, y) // c1 if c1 < -1
                """
            ),
            (
                .index,
                """
                min(x + y, x + z) -> min(y, z) + x
                min(x + y, z + x) -> min(y, z) + x
                min(y + x, x + z) -> min(y, z) + x
                min(y + x, z + x) -> min(y, z) + x
                min(x - y, x - z) -> x - max(y, z)
                min(x - y, z - y) -> min(x, z) - y
                ~min(x + y, x) -> min(y, 0) + x
                ~min(y + x, x) -> min(y, 0) + x
                ~min(u - y, u) -> u - max(y, 0)
                min(x + c1, c2) -> min(x, c2 - c1) + c1
                # For 0 the rules for sums go the other way: c1 - max(x, c1) is min(c1 - x, 0).
                min(c1 - x, c2) -> c1 - max(x, c1 - c2) if c2 != 0
                min(x * c1, y * c1) -> min(x, y) * c1 if c1 > 0
                min(x * c1, y * c1) -> max(x, y) * c1 if c1 < 0
                min(x * c1, c2) -> min(x, c2 // c1) * c1 if c1 > 0 && c2 % c1 == 0
                min(x * c1, c2) -> max(x, c2 // c1) * c1 if c1 < 0 && c2 % c1 == 0
                ~min(x // c1 * c1, x) -> x // c1 * c1 if c1 > 0
                ~min((x + c1) // c2 * c2, x) -> x if c2 > 0 && c1 == c2 - 1
                min(ramp(x, z), ramp(y, z)) -> ramp(min(x, y), z)
                """
            ),
        ])
}
