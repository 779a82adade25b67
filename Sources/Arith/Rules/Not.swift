extension RewriteRules {
    /// Rules for `!a`: negation moves down to comparisons.
    static let not = RewriteRule.list(
        "not",
        [
            (
                .anyInteger,
                """
                !true -> false
                !false -> true
                !(!p) -> p
                !(x < c1) -> x >= c1
                !(x >= c1) -> x < c1
                !(x < y) -> y <= x
                !(x <= y) -> y < x
                !(x > y) -> x <= y
                !(x >= y) -> x < y
                !(p && q) -> !p || !q
                !(p || q) -> !p && !q
                !bcast(p) -> bcast(!p)
                """
            ),
            (
                [.index, .signed, .unsigned, .float],
                """
                !(x == y) -> x != y
                !(x != y) -> x == y
                """
            ),
        ])
}
