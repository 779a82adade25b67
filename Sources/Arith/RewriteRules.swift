import ApusIR
import ApusRuntime
import ApusTIR

/// One rewriting `before -> after` that holds where `condition` does. `x y z w` stand for any expression of one
/// integer type, `p q r` for any Boolean one, `c1 c2 c3` for constants.
///
/// Rules are data, so that tests prove each by exhaustive evaluation over a box of small values.
public struct RewriteRule: Sendable {
    public let before: PrimExpr
    public let after: PrimExpr
    public let condition: PrimExpr

    init(_ before: PrimExpr, _ after: PrimExpr, if condition: PrimExpr = trueExpr) {
        self.before = before
        self.after = after
        self.condition = condition
    }

    public var text: String { "\(before) -> \(after)" + (condition.isTrue ? "" : " if \(condition)") }
}

/// The table of rewrite rules for what linear sums do not cover: extrema, comparisons of them, logic, selection.
public enum RewriteRules {
    public static let x = Var("x")
    public static let y = Var("y")
    public static let z = Var("z")
    public static let w = Var("w")
    public static let c1 = Var("c1")
    public static let c2 = Var("c2")
    public static let c3 = Var("c3")
    public static let p = Var("p", dtype: .bool)
    public static let q = Var("q", dtype: .bool)
    public static let r = Var("r", dtype: .bool)
    static let constants: Set<Var> = [c1, c2, c3]

    /// Every rule, in the order in which they are tried.
    public static let all: [RewriteRule] = minRules + maxRules + compareRules + logicRules + selectRules

    /// The rules whose left side has this root.
    static let byRoot: [PrimExprKind: [RewriteRule]] = Dictionary(grouping: all) { $0.before.kind }

    private static func lo(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { Min(a, b) }
    private static func hi(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { Max(a, b) }

    private static let minRules: [RewriteRule] = {
        var t: [RewriteRule] = []
        t.append(RewriteRule(lo(lo(x, c1), c2), lo(x, lo(c1, c2))))
        t.append(RewriteRule(lo(hi(x, c1), c2), c2, if: LE(c2, c1)))
        t.append(RewriteRule(lo(lo(x, y), x), lo(x, y)))
        t.append(RewriteRule(lo(lo(x, y), y), lo(x, y)))
        t.append(RewriteRule(lo(x, lo(x, y)), lo(x, y)))
        t.append(RewriteRule(lo(y, lo(x, y)), lo(x, y)))
        t.append(RewriteRule(lo(hi(x, y), x), x))
        t.append(RewriteRule(lo(hi(x, y), y), y))
        t.append(RewriteRule(lo(x, hi(x, y)), x))
        t.append(RewriteRule(lo(y, hi(x, y)), y))
        t.append(RewriteRule(lo(lo(x, y), lo(x, z)), lo(lo(y, z), x)))
        t.append(RewriteRule(lo(lo(x, y), lo(z, x)), lo(lo(y, z), x)))
        t.append(RewriteRule(lo(lo(y, x), lo(x, z)), lo(lo(y, z), x)))
        t.append(RewriteRule(lo(lo(y, x), lo(z, x)), lo(lo(y, z), x)))
        t.append(RewriteRule(lo(hi(x, y), hi(x, z)), hi(lo(y, z), x)))
        t.append(RewriteRule(lo(hi(x, y), hi(z, x)), hi(lo(y, z), x)))
        t.append(RewriteRule(lo(hi(y, x), hi(x, z)), hi(lo(y, z), x)))
        t.append(RewriteRule(lo(hi(y, x), hi(z, x)), hi(lo(y, z), x)))
        t.append(RewriteRule(lo(lo(lo(x, y), z), y), lo(lo(x, y), z)))
        t.append(RewriteRule(lo(lo(lo(x, y), z), x), lo(lo(x, y), z)))
        t.append(RewriteRule(lo(select(p, x, y), x), Select(p, x, lo(x, y))))
        return t
    }()

    private static let maxRules: [RewriteRule] = {
        var t: [RewriteRule] = []
        t.append(RewriteRule(hi(hi(x, c1), c2), hi(x, hi(c1, c2))))
        t.append(RewriteRule(hi(lo(x, c1), c2), c2, if: LE(c1, c2)))
        t.append(RewriteRule(hi(hi(x, y), x), hi(x, y)))
        t.append(RewriteRule(hi(hi(x, y), y), hi(x, y)))
        t.append(RewriteRule(hi(x, hi(x, y)), hi(x, y)))
        t.append(RewriteRule(hi(y, hi(x, y)), hi(x, y)))
        t.append(RewriteRule(hi(lo(x, y), x), x))
        t.append(RewriteRule(hi(lo(x, y), y), y))
        t.append(RewriteRule(hi(x, lo(x, y)), x))
        t.append(RewriteRule(hi(y, lo(x, y)), y))
        t.append(RewriteRule(hi(hi(x, y), hi(x, z)), hi(hi(y, z), x)))
        t.append(RewriteRule(hi(hi(x, y), hi(z, x)), hi(hi(y, z), x)))
        t.append(RewriteRule(hi(hi(y, x), hi(x, z)), hi(hi(y, z), x)))
        t.append(RewriteRule(hi(hi(y, x), hi(z, x)), hi(hi(y, z), x)))
        t.append(RewriteRule(hi(lo(x, y), lo(x, z)), lo(hi(y, z), x)))
        t.append(RewriteRule(hi(lo(x, y), lo(z, x)), lo(hi(y, z), x)))
        t.append(RewriteRule(hi(lo(y, x), lo(x, z)), lo(hi(y, z), x)))
        t.append(RewriteRule(hi(lo(y, x), lo(z, x)), lo(hi(y, z), x)))
        t.append(RewriteRule(hi(hi(hi(x, y), z), y), hi(hi(x, y), z)))
        t.append(RewriteRule(hi(hi(hi(x, y), z), x), hi(hi(x, y), z)))
        t.append(RewriteRule(hi(select(p, x, y), x), Select(p, x, hi(x, y))))
        return t
    }()

    private static let compareRules: [RewriteRule] = {
        var t: [RewriteRule] = []
        t.append(RewriteRule(LT(lo(x, c1), c2), trueExpr, if: LT(c1, c2)))
        t.append(RewriteRule(LT(lo(x, c1), c2), LT(x, c2), if: GE(c1, c2)))
        t.append(RewriteRule(LT(hi(x, c1), c2), falseExpr, if: GE(c1, c2)))
        t.append(RewriteRule(LT(hi(x, c1), c2), LT(x, c2), if: LT(c1, c2)))
        t.append(RewriteRule(LT(c1, lo(x, c2)), falseExpr, if: LE(c2, c1)))
        t.append(RewriteRule(LT(c1, lo(x, c2)), LT(c1, x), if: LT(c1, c2)))
        t.append(RewriteRule(LT(c1, hi(x, c2)), trueExpr, if: LT(c1, c2)))
        t.append(RewriteRule(LT(c1, hi(x, c2)), LT(c1, x), if: LE(c2, c1)))
        t.append(RewriteRule(LE(lo(x, c1), c2), trueExpr, if: LE(c1, c2)))
        t.append(RewriteRule(LE(lo(x, c1), c2), LE(x, c2), if: GT(c1, c2)))
        t.append(RewriteRule(LE(hi(x, c1), c2), falseExpr, if: GT(c1, c2)))
        t.append(RewriteRule(LE(hi(x, c1), c2), LE(x, c2), if: LE(c1, c2)))
        t.append(RewriteRule(GE(lo(x, c1), c2), falseExpr, if: LT(c1, c2)))
        t.append(RewriteRule(GE(lo(x, c1), c2), GE(x, c2), if: GE(c1, c2)))
        t.append(RewriteRule(GE(hi(x, c1), c2), trueExpr, if: GE(c1, c2)))
        t.append(RewriteRule(GE(hi(x, c1), c2), GE(x, c2), if: LT(c1, c2)))
        t.append(RewriteRule(GT(lo(x, c1), c2), falseExpr, if: LE(c1, c2)))
        t.append(RewriteRule(GT(lo(x, c1), c2), GT(x, c2), if: GT(c1, c2)))
        t.append(RewriteRule(GT(hi(x, c1), c2), trueExpr, if: GT(c1, c2)))
        t.append(RewriteRule(GT(hi(x, c1), c2), GT(x, c2), if: LE(c1, c2)))
        t.append(RewriteRule(LT(lo(x, y), x), LT(y, x)))
        t.append(RewriteRule(LT(lo(x, y), y), LT(x, y)))
        t.append(RewriteRule(LT(x, lo(x, y)), falseExpr))
        t.append(RewriteRule(LT(y, lo(x, y)), falseExpr))
        t.append(RewriteRule(LT(hi(x, y), x), falseExpr))
        t.append(RewriteRule(LT(hi(x, y), y), falseExpr))
        t.append(RewriteRule(LT(x, hi(x, y)), LT(x, y)))
        t.append(RewriteRule(LT(y, hi(x, y)), LT(y, x)))
        t.append(RewriteRule(LE(lo(x, y), x), trueExpr))
        t.append(RewriteRule(LE(lo(x, y), y), trueExpr))
        t.append(RewriteRule(LE(x, hi(x, y)), trueExpr))
        t.append(RewriteRule(LE(y, hi(x, y)), trueExpr))
        t.append(RewriteRule(LE(hi(x, y), x), LE(y, x)))
        t.append(RewriteRule(LE(x, lo(x, y)), LE(x, y)))
        t.append(RewriteRule(EQ(lo(x, y), x), LE(x, y)))
        t.append(RewriteRule(EQ(lo(x, y), y), LE(y, x)))
        t.append(RewriteRule(EQ(hi(x, y), x), LE(y, x)))
        t.append(RewriteRule(EQ(hi(x, y), y), LE(x, y)))
        t.append(RewriteRule(EQ(lo(x, c1), c2), falseExpr, if: LT(c1, c2)))
        t.append(RewriteRule(EQ(lo(x, c1), c2), EQ(x, c2), if: GT(c1, c2)))
        t.append(RewriteRule(EQ(hi(x, c1), c2), falseExpr, if: GT(c1, c2)))
        t.append(RewriteRule(EQ(hi(x, c1), c2), EQ(x, c2), if: LT(c1, c2)))
        t.append(RewriteRule(LT(select(p, c1, c2), c3), p, if: And(LT(c1, c3), GE(c2, c3))))
        t.append(RewriteRule(LT(select(p, c1, c2), c3), Not(p), if: And(GE(c1, c3), LT(c2, c3))))
        t.append(RewriteRule(EQ(select(p, c1, c2), c3), p, if: And(EQ(c1, c3), NE(c2, c3))))
        t.append(RewriteRule(EQ(select(p, c1, c2), c3), Not(p), if: And(NE(c1, c3), EQ(c2, c3))))
        return t
    }()

    private static let logicRules: [RewriteRule] = {
        var t: [RewriteRule] = []
        t.append(RewriteRule(And(p, p), p))
        t.append(RewriteRule(And(p, Not(p)), falseExpr))
        t.append(RewriteRule(And(Not(p), p), falseExpr))
        t.append(RewriteRule(And(Or(p, q), p), p))
        t.append(RewriteRule(And(Or(p, q), q), q))
        t.append(RewriteRule(And(p, Or(p, q)), p))
        t.append(RewriteRule(And(q, Or(p, q)), q))
        t.append(RewriteRule(And(And(p, q), p), And(p, q)))
        t.append(RewriteRule(And(And(p, q), q), And(p, q)))
        t.append(RewriteRule(And(LT(x, c1), LT(x, c2)), LT(x, lo(c1, c2))))
        t.append(RewriteRule(And(LE(x, c1), LE(x, c2)), LE(x, lo(c1, c2))))
        t.append(RewriteRule(And(GE(x, c1), GE(x, c2)), GE(x, hi(c1, c2))))
        t.append(RewriteRule(And(GT(x, c1), GT(x, c2)), GT(x, hi(c1, c2))))
        t.append(RewriteRule(And(LT(x, c1), GE(x, c2)), falseExpr, if: LE(c1, c2)))
        t.append(RewriteRule(And(GE(x, c2), LT(x, c1)), falseExpr, if: LE(c1, c2)))
        t.append(RewriteRule(And(EQ(x, c1), EQ(x, c2)), falseExpr, if: NE(c1, c2)))
        t.append(RewriteRule(And(EQ(x, c1), LT(x, c2)), EQ(x, c1), if: LT(c1, c2)))
        t.append(RewriteRule(And(EQ(x, c1), LT(x, c2)), falseExpr, if: GE(c1, c2)))
        t.append(RewriteRule(And(EQ(x, c1), GE(x, c2)), EQ(x, c1), if: GE(c1, c2)))
        t.append(RewriteRule(And(EQ(x, c1), GE(x, c2)), falseExpr, if: LT(c1, c2)))
        t.append(RewriteRule(And(EQ(x, y), NE(x, y)), falseExpr))
        t.append(RewriteRule(And(LT(x, y), LE(y, x)), falseExpr))
        t.append(RewriteRule(And(LT(x, y), LT(y, x)), falseExpr))
        t.append(RewriteRule(Or(p, p), p))
        t.append(RewriteRule(Or(p, Not(p)), trueExpr))
        t.append(RewriteRule(Or(Not(p), p), trueExpr))
        t.append(RewriteRule(Or(And(p, q), p), p))
        t.append(RewriteRule(Or(And(p, q), q), q))
        t.append(RewriteRule(Or(p, And(p, q)), p))
        t.append(RewriteRule(Or(q, And(p, q)), q))
        t.append(RewriteRule(Or(And(p, q), And(p, r)), And(p, Or(q, r))))
        t.append(RewriteRule(Or(LT(x, c1), LT(x, c2)), LT(x, hi(c1, c2))))
        t.append(RewriteRule(Or(LE(x, c1), LE(x, c2)), LE(x, hi(c1, c2))))
        t.append(RewriteRule(Or(GE(x, c1), GE(x, c2)), GE(x, lo(c1, c2))))
        t.append(RewriteRule(Or(GT(x, c1), GT(x, c2)), GT(x, lo(c1, c2))))
        t.append(RewriteRule(Or(LT(x, c1), GE(x, c2)), trueExpr, if: GE(c1, c2)))
        t.append(RewriteRule(Or(GE(x, c2), LT(x, c1)), trueExpr, if: GE(c1, c2)))
        t.append(RewriteRule(Or(LT(x, y), LE(y, x)), trueExpr))
        t.append(RewriteRule(Or(EQ(x, y), NE(x, y)), trueExpr))
        t.append(RewriteRule(Not(LT(x, y)), LE(y, x)))
        t.append(RewriteRule(Not(LE(x, y)), LT(y, x)))
        t.append(RewriteRule(Not(GT(x, y)), LE(x, y)))
        t.append(RewriteRule(Not(GE(x, y)), LT(x, y)))
        t.append(RewriteRule(Not(EQ(x, y)), NE(x, y)))
        t.append(RewriteRule(Not(NE(x, y)), EQ(x, y)))
        t.append(RewriteRule(Not(Not(p)), p))
        t.append(RewriteRule(Not(And(p, q)), Or(Not(p), Not(q))))
        t.append(RewriteRule(Not(Or(p, q)), And(Not(p), Not(q))))
        return t
    }()

    private static let selectRules: [RewriteRule] = {
        var t: [RewriteRule] = []
        t.append(RewriteRule(Select(p, x, x), x))
        t.append(RewriteRule(Select(Not(p), x, y), Select(p, y, x)))
        t.append(RewriteRule(Select(p, Select(p, x, y), z), Select(p, x, z)))
        t.append(RewriteRule(Select(p, x, Select(p, y, z)), Select(p, x, z)))
        t.append(RewriteRule(Select(p, Select(q, x, y), y), Select(And(p, q), x, y)))
        t.append(RewriteRule(Select(p, x, Select(q, x, y)), Select(Or(p, q), x, y)))
        t.append(RewriteRule(Select(LT(x, y), x, y), lo(x, y)))
        t.append(RewriteRule(Select(LE(x, y), x, y), lo(x, y)))
        t.append(RewriteRule(Select(GT(x, y), x, y), hi(x, y)))
        t.append(RewriteRule(Select(GE(x, y), x, y), hi(x, y)))
        t.append(RewriteRule(Select(LT(x, y), y, x), hi(x, y)))
        t.append(RewriteRule(Select(LE(x, y), y, x), hi(x, y)))
        t.append(RewriteRule(Select(GT(x, y), y, x), lo(x, y)))
        t.append(RewriteRule(Select(GE(x, y), y, x), lo(x, y)))
        t.append(RewriteRule(Select(p, trueExpr, falseExpr), p))
        t.append(RewriteRule(Select(p, falseExpr, trueExpr), Not(p)))
        return t
    }()
}
