extension RewriteRules {
    /// Rules for `a || b`.
    static let or = RewriteRule.list(
        "or",
        [
            (
                .anyInteger,
                """
                false || p -> p
                p || false -> p
                true || p -> true
                p || p -> p
                ~p || !p -> true
                ~(p && q) || p -> p
                (p && q) || q -> q
                q || (p && q) -> q
                (p || q) || p -> p || q
                (p || q) || q -> p || q
                p || (p || q) -> p || q
                p || (q || p) -> p || q
                p || (!p && q) -> p || q
                (!p && q) || p -> p || q
                p || (q && !p) -> p || q
                (p && q) || (p && r) -> p && (q || r)
                bcast(p) || bcast(q) -> bcast(p || q)
                x < c1 || x < c2 -> x < max(c1, c2)
                x >= c1 || x >= c2 -> x >= min(c1, c2)
                ~x < c1 || x >= c2 -> true if c1 >= c2
                ~x < c1 || x >= c2 -> x != c1 if c1 < c2 && c1 + 1 == c2
                x != c1 || x != c2 -> true if c1 != c2
                ~x != c1 || x == c2 -> x != c1 if c1 != c2
                ~x != c1 || x < c2 -> x != c1 if c1 >= c2
                ~x != c1 || x < c2 -> true if c1 < c2
                ~x != c1 || x >= c2 -> x != c1 if c1 < c2
                ~x != c1 || x >= c2 -> true if c1 >= c2
                ~x == c1 || x < c2 -> x < c2 if c1 < c2
                ~x == c1 || x < c2 -> x < c1 + 1 if c1 == c2 && c1 < c1 + 1
                ~x == c1 || x >= c2 -> x >= c2 if c1 >= c2
                ~x == c1 || x >= c2 -> x >= c1 if c1 < c2 && c1 + 1 == c2
                ~x == y || x != y -> true
                ~x < y || y < x -> x != y
                ~x < y || y <= x -> true
                ~x < y || x <= y -> x <= y
                ~x < y || x == y -> x <= y
                ~x < y || y == x -> x <= y
                ~x < y || x != y -> x != y
                ~x < y || y != x -> y != x
                ~x <= y || x != y -> true
                ~x <= y || y != x -> true
                ~x <= y || x == y -> x <= y
                ~x <= y || y == x -> x <= y
                ~x <= y || y <= x -> true
                """
            )
        ])
}
