extension RewriteRules {
    /// Rules for `a % b`, the remainder of `//`.
    static let floorMod = RewriteRule.list(
        "floormod",
        [
            (
                .anyInteger,
                """
                x % 1 -> 0
                0 % x -> 0
                x % x -> 0
                (x % y) % y -> x % y
                (x % c1) % c2 -> x % c2 if c1 > 0 && c2 > 0 && c1 % c2 == 0
                x % y -> x if x >= 0 && x < y
                x % y -> x - y if y > 0 && x >= y && x - y < y
                select(p, c1, c2) % c3 -> select(p, c1 % c3, c2 % c3)
                bcast(x) % bcast(y) -> bcast(x % y)
                """
            ),
            (
                [.index, .signed],
                """
                x % (-1) -> 0
                x % c1 -> x + c1 if c1 > 0 && x < 0 && x >= 0 - c1
                """
            ),
            (
                .index,
                """
                (x * c1) % c2 -> 0 if c2 != 0 && c1 % c2 == 0
                (x * c1) % c2 -> (x % (c2 // c1)) * c1 if c1 > 1 && c2 > 0 && c2 % c1 == 0
                (x * c1) % c2 -> (x * (c1 % c2)) % c2 if c2 > 0 && c1 % c2 != c1
                (x * c1 + y) % c2 -> y % c2 if c2 > 0 && c1 % c2 == 0
                (y + x * c1) % c2 -> y % c2 if c2 > 0 && c1 % c2 == 0
                (x * c1 - y) % c2 -> (0 - y) % c2 if c2 > 0 && c1 % c2 == 0
                (y - x * c1) % c2 -> y % c2 if c2 > 0 && c1 % c2 == 0
                (x * c1 + y) % c2 -> (x % (c2 // c1)) * c1 + y if c1 > 1 && c2 > 0 && c2 % c1 == 0 && y >= 0 && y < c1
                (y + x * c1) % c2 -> (x % (c2 // c1)) * c1 + y if c1 > 1 && c2 > 0 && c2 % c1 == 0 && y >= 0 && y < c1
                (x + c1) % c2 -> x % c2 if c2 > 0 && c1 % c2 == 0
                (x + c1) % c2 -> (x + c1 % c2) % c2 if c2 > 0 && c1 % c2 != c1
                (x + y) % y -> x % y
                (y + x) % y -> x % y
                (x - y) % y -> x % y
                (x * y) % y -> 0
                (y * x) % y -> 0
                (x * y + z) % y -> z % y
                (y * x + z) % y -> z % y
                (z + x * y) % y -> z % y
                (z + y * x) % y -> z % y
                (z - x * y) % y -> z % y
                (z - y * x) % y -> z % y
                (x * y) % (z * y) -> (x % z) * y
                (x % c1 + y) % c1 -> (x + y) % c1
                (y + x % c1) % c1 -> (y + x) % c1
                (x % c1 - y) % c1 -> (x - y) % c1
                (y - x % c1) % c1 -> (y - x) % c1
                (x % c1 * y) % c1 -> (x * y) % c1
                (y * (x % c1)) % c1 -> (y * x) % c1
                ramp(x, c1) % bcast(c2) -> bcast(x % c2) if c2 > 0 && c1 % c2 == 0
                ramp(x, c1) % bcast(c2) -> ramp(x % c2, c1) if c2 > 0 && c1 >= 0 && x % c2 + c1 * (n - 1) < c2
                """
            ),
        ])
}
