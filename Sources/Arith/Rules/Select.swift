extension RewriteRules {
    /// Rules for `select(p, a, b)`; both values are evaluated whatever `p` is.
    static let select = RewriteRule.list(
        "select",
        [
            (
                [.index, .signed, .unsigned, .float],
                """
                select(true, x, y) -> x
                select(false, x, y) -> y
                select(p, x, x) -> x
                select(!p, x, y) -> select(p, y, x)
                select(p, select(p, x, y), z) -> select(p, x, z)
                select(p, select(!p, x, y), z) -> select(p, y, z)
                select(p, x, select(p, y, z)) -> select(p, x, z)
                select(p, x, select(!p, y, z)) -> select(p, x, y)
                select(p, select(q, x, y), y) -> select(p && q, x, y)
                select(p, select(q, x, y), x) -> select(p && !q, y, x)
                select(p, x, select(q, x, y)) -> select(p || q, x, y)
                select(p, x, select(q, y, x)) -> select(p || !q, x, y)
                """
            ),
            (
                .anyInteger,
                """
                select(x < y, x, y) -> min(x, y)
                select(x <= y, x, y) -> min(x, y)
                select(x > y, x, y) -> max(x, y)
                select(x >= y, x, y) -> max(x, y)
                select(x < y, y, x) -> max(x, y)
                select(x <= y, y, x) -> max(x, y)
                select(x > y, y, x) -> min(x, y)
                select(x >= y, y, x) -> min(x, y)
                select(x < c1, x, c2) -> min(x, c2) if c2 < c1 && c2 + 1 == c1
                select(x < c1, c2, x) -> max(x, c2) if c2 < c1 && c2 + 1 == c1
                select(x >= c1, x, c2) -> max(x, c2) if c2 < c1 && c2 + 1 == c1
                select(x >= c1, c2, x) -> min(x, c2) if c2 < c1 && c2 + 1 == c1
                select(x == y, x, y) -> y
                select(x == y, y, x) -> x
                select(x != y, x, y) -> x
                select(x != y, y, x) -> y
                select(p, true, false) -> p
                select(p, false, true) -> !p
                select(p, q, false) -> p && q
                select(p, true, q) -> p || q
                select(p, false, q) -> !p && q
                select(p, q, true) -> !p || q
                select(bcast(p), bcast(x), bcast(y)) -> bcast(select(p, x, y))
                """
            ),
        ])
}
