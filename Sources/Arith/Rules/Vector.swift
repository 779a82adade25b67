extension RewriteRules {
    /// Rules for `ramp(a, b)`. The vector rules of the other roots stand in their files.
    static let ramp = RewriteRule.list(
        "ramp",
        [
            (
                .anyInteger,
                """
                ramp(x, 0) -> bcast(x)
                """
            )
        ])
}
