extension RewriteRules {
    /// Rules for `a > b`: there is one normal form, `b < a`.
    static let gt = RewriteRule.list(
        "gt",
        [
            (
                .anyInteger,
                """
                x > y -> y < x
                """
            )
        ])
}
