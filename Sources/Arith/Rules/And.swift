extension RewriteRules {
    /// Rules for `a && b`.
    static let and = RewriteRule.list(
        "and",
        [
            (
                .anyInteger,
                """
                true && p -> p
                p && true -> p
                false && p -> false
                p && p -> p
                ~p && !p -> false
                ~(p || q) && p -> p
                (p || q) && q -> q
                q && (p || q) -> q
                (p && q) && p -> p && q
                (p && q) && q -> p && q
                p && (p && q) -> p && q
                p && (q && p) -> p && q
                p && (!p || q) -> p && q
                (!p || q) && p -> p && q
                p && (q || !p) -> p && q
                (p || q) && (p || r) -> p || (q && r)
                bcast(p) && bcast(q) -> bcast(p && q)
                # Two comparisons of the same with constants.
                x < c1 && x < c2 -> x < min(c1, c2)
                x >= c1 && x >= c2 -> x >= max(c1, c2)
                ~x < c1 && x >= c2 -> false if c1 <= c2
                ~x < c1 && x >= c2 -> x == c2 if c2 < c1 && c2 + 1 == c1
                x == c1 && x == c2 -> false if c1 != c2
                ~x == c1 && x != c2 -> x == c1 if c1 != c2
                ~x == c1 && x < c2 -> x == c1 if c1 < c2
                ~x == c1 && x < c2 -> false if c1 >= c2
                ~x == c1 && x >= c2 -> x == c1 if c1 >= c2
                ~x == c1 && x >= c2 -> false if c1 < c2
                ~x != c1 && x < c2 -> x < c2 if c1 >= c2
                ~x != c1 && x < c2 -> x < c1 if c1 < c2 && c1 + 1 == c2
                ~x != c1 && x >= c2 -> x >= c2 if c1 < c2
                ~x != c1 && x >= c2 -> x >= c1 + 1 if c1 == c2 && c1 < c1 + 1
                # Two comparisons of the same pair.
                ~x == y && x != y -> false
                ~x < y && y < x -> false
                ~x < y && y <= x -> false
                ~x < y && x <= y -> x < y
                ~x < y && x != y -> x < y
                ~x < y && y != x -> x < y
                ~x < y && x == y -> false
                ~x < y && y == x -> false
                ~x <= y && x != y -> x < y
                ~x <= y && y != x -> x < y
                ~x <= y && x == y -> x == y
                ~x <= y && y == x -> x == y
                ~x <= y && y <= x -> x == y
                """
            )
        ])
}
