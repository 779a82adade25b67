extension RewriteRules {
    /// Rules for `a < b`.
    static let lt = RewriteRule.list(
        "lt",
        [
            (
                .anyInteger,
                """
                x < x -> false
                # Against a constant: `<` and `>=`, the constant right.
                c1 < x -> x >= c1 + 1 if c1 < c1 + 1
                x % y < 0 -> false if y > 0
                min(x, c1) < c2 -> true if c1 < c2
                min(x, c1) < c2 -> x < c2 if c1 >= c2
                max(x, c1) < c2 -> false if c1 >= c2
                max(x, c1) < c2 -> x < c2 if c1 < c2
                min(x, y) < x -> y < x
                min(x, y) < y -> x < y
                x < min(x, y) -> false
                y < min(x, y) -> false
                max(x, y) < x -> false
                max(x, y) < y -> false
                x < max(x, y) -> x < y
                y < max(x, y) -> y < x
                min(x, y) < max(x, y) -> x != y
                max(x, y) < min(x, y) -> false
                select(p, c1, c2) < c3 -> true if c1 < c3 && c2 < c3
                select(p, c1, c2) < c3 -> p if c1 < c3 && c2 >= c3
                select(p, c1, c2) < c3 -> !p if c1 >= c3 && c2 < c3
                select(p, c1, c2) < c3 -> false if c1 >= c3 && c2 >= c3
                select(p, x, c1) < c2 -> p && x < c2 if c1 >= c2
                select(p, c1, x) < c2 -> !p && x < c2 if c1 >= c2
                select(p, x, c1) < c2 -> !p || x < c2 if c1 < c2
                select(p, c1, x) < c2 -> p || x < c2 if c1 < c2
                bcast(x) < bcast(y) -> bcast(x < y)
                """
            ),
            (
                [.signed, .unsigned],
                """
                c1 < x -> false if c1 + 1 <= c1
                """
            ),
            (
                .unsigned,
                """
                x < 0 -> false
                x < 1 -> x == 0
                """
            ),
            (
                .index,
                """
                x + c1 < c2 -> x < c2 - c1
                c1 - x < c2 -> x >= c1 - c2 + 1
                x + c1 < y + c2 -> x < y + (c2 - c1)
                x + y < x + z -> y < z
                x + y < z + x -> y < z
                y + x < x + z -> y < z
                y + x < z + x -> y < z
                x - y < x - z -> z < y
                x - y < z - y -> x < z
                x + y < x -> y < 0
                y + x < x -> y < 0
                x < x + y -> y >= 1
                x < y + x -> y >= 1
                x - y < x -> y >= 1
                x < x - y -> y < 0
                x - y < 0 -> x < y
                x * c1 < y * c1 -> x < y if c1 > 0
                x * c1 < y * c1 -> y < x if c1 < 0
                x * c1 < c2 -> x < (c2 + c1 - 1) // c1 if c1 > 0
                x * c1 < c2 -> x >= c2 // c1 + 1 if c1 < 0
                x // c1 < c2 -> x < c1 * c2 if c1 > 0
                x // c1 * c1 < x -> x % c1 != 0 if c1 > 0
                x < x // c1 * c1 -> false if c1 > 0
                min(x + c1, y) < x -> y < x if c1 >= 0
                min(y, x + c1) < x -> y < x if c1 >= 0
                min(x + c1, y) < x -> true if c1 < 0
                min(y, x + c1) < x -> true if c1 < 0
                x < max(x + c1, y) -> true if c1 > 0
                x < max(y, x + c1) -> true if c1 > 0
                x < max(x + c1, y) -> x < y if c1 <= 0
                x < max(y, x + c1) -> x < y if c1 <= 0
                max(x + c1, y) < x -> false if c1 >= 0
                max(y, x + c1) < x -> false if c1 >= 0
                ramp(x, z) < ramp(y, z) -> bcast(x < y)
                ramp(x, c1) < bcast(y) -> bcast(true) if c1 >= 0 && x + c1 * (n - 1) < y
                ramp(x, c1) < bcast(y) -> bcast(false) if c1 >= 0 && x >= y
                ramp(x, c1) < bcast(y) -> bcast(true) if c1 <= 0 && x < y
                ramp(x, c1) < bcast(y) -> bcast(false) if c1 <= 0 && x + c1 * (n - 1) >= y
                bcast(x) < ramp(y, c1) -> bcast(true) if c1 >= 0 && x < y
                bcast(x) < ramp(y, c1) -> bcast(false) if c1 >= 0 && x >= y + c1 * (n - 1)
                bcast(x) < ramp(y, c1) -> bcast(true) if c1 <= 0 && x < y + c1 * (n - 1)
                bcast(x) < ramp(y, c1) -> bcast(false) if c1 <= 0 && x >= y
                """
            ),
        ])
}
