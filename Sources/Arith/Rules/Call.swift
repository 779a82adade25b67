extension RewriteRules {
    /// Rules for calls of integer intrinsics, `if_then_else` (`ite`) and `likely`.
    static let call = RewriteRule.list(
        "call",
        [
            (
                .anyInteger,
                """
                band(x, x) -> x
                ~band(x, 0) -> 0
                ~band(x, -1) -> x
                band(c1, u) -> band(u, c1)
                band(band(x, c1), c2) -> band(x, band(c1, c2))
                ~band(band(x, y), x) -> band(x, y)
                ~band(band(x, y), y) -> band(x, y)
                ~band(bor(x, y), x) -> x
                ~band(bor(x, y), y) -> y
                ~band(x, bnot(x)) -> 0
                bor(x, x) -> x
                ~bor(x, 0) -> x
                ~bor(x, -1) -> -1
                bor(c1, u) -> bor(u, c1)
                bor(bor(x, c1), c2) -> bor(x, bor(c1, c2))
                ~bor(bor(x, y), x) -> bor(x, y)
                ~bor(bor(x, y), y) -> bor(x, y)
                ~bor(band(x, y), x) -> x
                ~bor(band(x, y), y) -> y
                ~bor(x, bnot(x)) -> -1
                bxor(x, x) -> 0
                ~bxor(x, 0) -> x
                ~bxor(x, -1) -> bnot(x)
                bxor(c1, u) -> bxor(u, c1)
                bxor(bxor(x, c1), c2) -> bxor(x, bxor(c1, c2))
                ~bxor(bxor(x, y), x) -> y
                ~bxor(bxor(x, y), y) -> x
                bnot(bnot(x)) -> x
                shl(x, 0) -> x
                shr(x, 0) -> x
                shl(0, x) -> 0
                shr(0, x) -> 0
                abs(abs(x)) -> abs(x)
                abs(x) -> x if x >= 0
                likely(true) -> true
                likely(false) -> false
                likely(likely(p)) -> likely(p)
                """
            ),
            (
                [.index, .signed],
                """
                abs(0 - x) -> abs(x)
                """
            ),
            (
                .unsigned,
                """
                abs(x) -> x
                """
            ),
            (
                .index,
                """
                # A mask of low bits is a remainder.
                band(x, c1) -> x % (c1 + 1) if c1 > 0 && c1 < c1 + 1 && band(c1, c1 + 1) == 0
                """
            ),
            (
                [.index, .signed, .unsigned, .float],
                """
                ite(true, x, y) -> x
                ite(false, x, y) -> y
                ite(p, x, x) -> x
                ite(!p, x, y) -> ite(p, y, x)
                ite(p, ite(p, x, y), z) -> ite(p, x, z)
                ite(p, x, ite(p, y, z)) -> ite(p, x, z)
                ite(p, ite(q, x, y), y) -> ite(p && q, x, y)
                ite(p, x, ite(q, x, y)) -> ite(p || q, x, y)
                """
            ),
        ])
}
