extension RewriteRules {
    /// Rules for `a - b`.
    static let sub = RewriteRule.list(
        "sub",
        [
            (
                .anyInteger,
                """
                x - x -> 0
                x - 0 -> x
                # A constant is added, so that every other rule sees one form.
                u - c1 -> u + (0 - c1)
                (x + y) - y -> x
                (x + y) - x -> y
                x - (x + y) -> 0 - y
                x - (y + x) -> 0 - y
                (x - y) - x -> 0 - y
                x - (x - y) -> y
                u - (0 - y) -> u + y
                (x - y) - (x - z) -> z - y
                (x - z) - (y - z) -> x - y
                (x + y) - (x + z) -> y - z
                (x + y) - (z + x) -> y - z
                (y + x) - (x + z) -> y - z
                (y + x) - (z + x) -> y - z
                c1 - (x + c2) -> (c1 - c2) - x
                c1 - (c2 - x) -> x + (c1 - c2)
                c1 - (x - y) -> (y - x) + c1
                (u + c1) - v -> (u - v) + c1
                u - (v + c1) -> (u - v) + (0 - c1)
                (c1 - u) - v -> c1 - (u + v)
                u - (c1 - v) -> (u + v) + (0 - c1)
                u * y - u -> u * (y + (-1))
                y * u - u -> u * (y + (-1))
                u - u * y -> u * (1 - y)
                u - y * u -> u * (1 - y)
                x * y - x * z -> x * (y - z)
                x * y - z * x -> x * (y - z)
                y * x - x * z -> x * (y - z)
                y * x - z * x -> x * (y - z)
                x - (x // y) * y -> x % y
                x - y * (x // y) -> x % y
                x - tdiv(x, y) * y -> tmod(x, y)
                x - y * tdiv(x, y) -> tmod(x, y)
                (x // y) * y - x -> 0 - x % y
                x - x % y -> x // y * y
                min(x, y) - min(y, x) -> 0
                max(x, y) - max(y, x) -> 0
                select(p, x, y) - select(p, z, w) -> select(p, x - z, y - w)
                select(p, x, y) - x -> select(p, 0, y - x)
                select(p, x, y) - y -> select(p, x - y, 0)
                x - select(p, x, y) -> select(p, 0, x - y)
                y - select(p, x, y) -> select(p, y - x, 0)
                c3 - select(p, c1, c2) -> select(p, c3 - c1, c3 - c2)
                bcast(x) - bcast(y) -> bcast(x - y)
                ramp(x, y) - ramp(z, w) -> ramp(x - z, y - w)
                ramp(x, y) - bcast(z) -> ramp(x - z, y)
                bcast(x) - ramp(y, z) -> ramp(x - y, 0 - z)
                """
            ),
            (
                .index,
                """
                min(x + y, z) - x -> min(y, z - x)
                min(x + y, z) - y -> min(x, z - y)
                min(z, x + y) - x -> min(z - x, y)
                min(z, x + y) - y -> min(z - y, x)
                max(x + y, z) - x -> max(y, z - x)
                max(x + y, z) - y -> max(x, z - y)
                max(z, x + y) - x -> max(z - x, y)
                max(z, x + y) - y -> max(z - y, x)
                x - min(x + y, z) -> max(0 - y, x - z)
                x - min(y + x, z) -> max(0 - y, x - z)
                x - min(z, x + y) -> max(x - z, 0 - y)
                x - min(z, y + x) -> max(x - z, 0 - y)
                x - max(x + y, z) -> min(0 - y, x - z)
                x - max(y + x, z) -> min(0 - y, x - z)
                x - max(z, x + y) -> min(x - z, 0 - y)
                x - max(z, y + x) -> min(x - z, 0 - y)
                x - min(y, x - z) -> max(x - y, z)
                x - min(x - z, y) -> max(z, x - y)
                x - max(y, x - z) -> min(x - y, z)
                x - max(x - z, y) -> min(z, x - y)
                min(x, y) - x -> min(0, y - x)
                min(x, y) - y -> min(x - y, 0)
                max(x, y) - x -> max(0, y - x)
                max(x, y) - y -> max(x - y, 0)
                x - max(x, y) -> min(0, x - y)
                y - max(x, y) -> min(y - x, 0)
                x - min(x, y) -> max(0, x - y)
                y - min(x, y) -> max(y - x, 0)
                # Two extrema of pairs that are equally far apart.
                min(x, y) - min(z, w) -> x - z if x - z == y - w
                min(x, y) - min(z, w) -> x - w if x - w == y - z
                max(x, y) - max(z, w) -> x - z if x - z == y - w
                max(x, y) - max(z, w) -> x - w if x - w == y - z
                # Quotients of neighbours: what is left is a quotient of the remainder.
                (x + c1) // c2 - x // c2 -> (x % c2 + c1) // c2 if c2 > 0
                x // c2 - (x + c1) // c2 -> 0 - (x % c2 + c1) // c2 if c2 > 0
                (x + c1) // c3 - (x + c2) // c3 -> ((x + c2 % c3) % c3 + (c1 - c2)) // c3 if c3 > 0
                """
            ),
        ])
}
