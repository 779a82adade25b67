extension RewriteRules {
    /// Rules for `a == b`.
    static let eq = RewriteRule.list("eq", equality)

    /// Rules for `a != b`: those for `a == b`, negated.
    static let ne: [RewriteRule] = eq.enumerated().map {
        RewriteRule(negating: $1, name: "ne.\($0 + 1)", root: .ne)
    }

    private static let equality: [(domain: RewriteRule.Domain, text: String)] = [
        (
            .anyInteger,
            """
            x == x -> true
            c1 == u -> u == c1
            x + c1 == c2 -> x == c2 - c1
            c1 - x == c2 -> x == c1 - c2
            x - y == 0 -> x == y
            ~x + y == x -> y == 0
            ~y + x == x -> y == 0
            ~x - y == x -> y == 0
            x + y == x + z -> y == z
            x + y == z + x -> y == z
            y + x == x + z -> y == z
            y + x == z + x -> y == z
            x - y == x - z -> y == z
            x - y == z - y -> x == z
            x + c1 == y + c2 -> x == y + (c2 - c1)
            x * c1 == y * c1 -> x == y if c1 % 2 != 0
            x % c1 == c2 -> false if c1 > 0 && (c2 < 0 || c2 >= c1)
            ~min(x, y) == x -> x <= y
            ~min(x, y) == y -> y <= x
            ~max(x, y) == x -> y <= x
            ~max(x, y) == y -> x <= y
            min(x, c1) == c2 -> false if c1 < c2
            min(x, c1) == c2 -> x == c2 if c1 > c2
            min(x, c1) == c2 -> x >= c1 if c1 == c2
            max(x, c1) == c2 -> false if c1 > c2
            max(x, c1) == c2 -> x == c2 if c1 < c2
            max(x, c1) == c2 -> x <= c1 if c1 == c2
            min(x, y) == max(x, y) -> x == y
            select(p, c1, c2) == c3 -> p if c1 == c3 && c2 != c3
            select(p, c1, c2) == c3 -> !p if c1 != c3 && c2 == c3
            select(p, c1, c2) == c3 -> false if c1 != c3 && c2 != c3
            select(p, x, c1) == c2 -> p && x == c2 if c1 != c2
            select(p, c1, x) == c2 -> !p && x == c2 if c1 != c2
            ~p == true -> p
            ~p == false -> !p
            p == p -> true
            ~p == !p -> false
            bcast(x) == bcast(y) -> bcast(x == y)
            """
        ),
        (
            .index,
            """
            x * c1 == c2 -> x == c2 // c1 if c1 != 0 && c2 % c1 == 0
            x * c1 == c2 -> false if c1 != 0 && c2 % c1 != 0
            x * c1 == y * c1 -> x == y if c1 != 0
            ramp(x, z) == ramp(y, z) -> bcast(x == y)
            """
        ),
    ]
}
