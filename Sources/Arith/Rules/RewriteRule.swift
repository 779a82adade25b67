import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR

/// One rewriting `before -> after` that holds where `condition` does.
///
/// **Language.** `x y z w u v` stand for any expression of the rule's integer type (`u v` not for a constant), `c1 … c4`
/// for constants of that type, `p q r` for any Boolean expression. `//` and `%` are floor division and modulo, `tdiv`
/// and `tmod` truncating ones; `ramp(x, y)` and `bcast(x)` have the lanes of the rule (`n`), below them stand scalars.
/// Everything else is lane-wise, so a rule written for scalars is one for vectors too. Conditions on constants are
/// computed; conditions on variables are put to the analyzer, and the rule applies if it can prove them. A line of a
/// rule file that starts with `~` also stands for the rule with the operands of the left side's root exchanged.
///
/// **Semantics** ([ADR 11](../../../docs/adr/0011-integer-semantics.md)), part of what the tests prove:
/// * `.index`: int64 index arithmetic is that of the mathematical integers: no operation of the program overflows, and
///   sums and products which the compiler forms of index values do not either. Data loaded from memory gets no such
///   trust: for it the rule must hold as `.signed`.
/// * `.signed`, `.unsigned`: arithmetic modulo 2^bits, two's complement, 8, 16, 32 and 64 bits.
/// * `.float`: IEEE values, where NaN and the sign of zero survive.
/// * Division by zero has no value, nor has what depends on it; `&&`, `||` and `if_then_else` (`ite`) do not evaluate
///   what they need not. Where the left side has a value the right side has the same one: a rule may count on the left
///   side's divisors not being zero, and never divides by what the left side does not divide by.
/// * Constants computed for index expressions must not overflow, else the rule does not apply; others wrap.
///
/// A right side is no larger than the left, or in a shape nearer to the normal form: constants right and outside,
/// `x + (-c)` for `x - c`, `<`, `>=` and `==` against constants, `<` and `<=` otherwise.
public final class RewriteRule: Sendable {
    /// The types for which a rule holds.
    public struct Domain: OptionSet, Sendable, Hashable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }
        public static let index = Domain(rawValue: 1)
        public static let signed = Domain(rawValue: 2)
        public static let unsigned = Domain(rawValue: 4)
        public static let float = Domain(rawValue: 8)
        /// Index arithmetic and wrapping arithmetic, signed and unsigned.
        public static let anyInteger: Domain = [.index, .signed, .unsigned]
    }

    /// Root and number within its file: `add.12`.
    public let name: String
    public let before: RulePattern
    public let after: RulePattern
    public let condition: RulePattern?
    public let domain: Domain
    /// The conditions computed from constants, and those put to the analyzer.
    let constantConditions: [RulePattern]
    let analyzerConditions: [RulePattern]
    /// Whether the second operand of the root brings in no variable that the first lacks: what may move forward in a
    /// chain of `&&` or `||` without being evaluated where it was guarded.
    let secondOperandKnown: Bool
    /// The kinds that the root's operands can have.
    let childKinds: (UInt64, UInt64, UInt64)

    convenience init(name: String, _ text: Substring, swapped: Bool, _ domain: Domain) {
        var parser = RuleParser(text)
        let r = parser.rule()
        let before =
            swapped
            ? RulePattern(
                r.before.shape, [r.before.children[1], r.before.children[0]], isBool: r.before.isBool,
                inLane: false) : r.before
        self.init(name: name, before, r.after, r.condition, domain)
    }

    /// The rule for the opposite comparison, whose kind is `root`.
    convenience init(negating rule: RewriteRule, name: String, root: PrimExprKind) {
        let before = RulePattern(.operation(root), rule.before.children, isBool: true, inLane: false)
        self.init(name: name, before, rule.after.negated, rule.condition, rule.domain)
    }

    private init(
        name: String, _ before: RulePattern, _ after: RulePattern, _ condition: RulePattern?, _ domain: Domain
    ) {
        self.name = name
        self.before = before
        self.after = after
        self.condition = condition
        self.domain = domain
        var constant: [RulePattern] = []
        var asked: [RulePattern] = []
        func split(_ c: RulePattern) {
            if c.isConstant {
                constant.append(c)
            } else if case .operation(.and) = c.shape {
                for p in c.children { split(p) }
            } else {
                asked.append(c)
            }
        }
        if let condition { split(condition) }
        constantConditions = constant
        analyzerConditions = asked
        func kinds(_ i: Int) -> UInt64 { i < before.children.count ? before.children[i].kinds : ~0 }
        childKinds = (kinds(0), kinds(1), kinds(2))
        let first = Set(before.children.first?.variables ?? [])
        secondOperandKnown =
            before.children.count == 2
            && before.children[1].variables.allSatisfy { first.contains($0) || $0.hasPrefix("c") }
    }

    /// The conjuncts of the condition that are computed from constants, and those that speak of variables.
    public var conditionOnConstants: [RulePattern] { constantConditions }
    public var conditionOnVariables: [RulePattern] { analyzerConditions }

    /// A rule from its text, for experiments and tests; traps if it does not parse.
    public static func parse(_ text: String, _ domain: Domain = .anyInteger) -> RewriteRule {
        RewriteRule(name: "parsed", Substring(text), swapped: false, domain)
    }

    /// Without the domain: `x - x -> 0`.
    public var text: String { "\(before.text) -> \(after.text)" + (condition.map { " if \($0.text)" } ?? "") }

    /// Whether both sides are vectors because of a `ramp` or `bcast` in the rule.
    public var isVectorRule: Bool {
        var found = false
        before.visit { if case .operation(let k) = $0.shape, k == .ramp || k == .broadcast { found = true } }
        return found
    }

    /// The rules of a file: one a line; blank lines and lines that start with `#` say something to the reader.
    static func list(_ root: String, _ groups: [(domain: Domain, text: String)]) -> [RewriteRule] {
        var result: [RewriteRule] = []
        for g in groups {
            for line in g.text.split(separator: "\n") {
                var t = line.drop { $0 == " " }
                if t.isEmpty || t.first == "#" { continue }
                let both = t.first == "~"
                if both { t = t.dropFirst() }
                result.append(RewriteRule(name: "\(root).\(result.count + 1)", t, swapped: false, g.domain))
                if both {
                    result.append(
                        RewriteRule(name: "\(root).\(result.count + 1)", t, swapped: true, g.domain))
                }
            }
        }
        return result
    }
}

/// The rules by root operator, one file a root, parsed when a root is first met.
public enum RewriteRules {
    /// Every rule, root by root, in the order in which they are tried.
    public static let all: [RewriteRule] = PrimExprKind.allCases.flatMap { rules($0) }

    /// The rules whose left side has this root.
    public static func rules(_ root: PrimExprKind) -> [RewriteRule] {
        switch root {
        case .add: return add
        case .sub: return sub
        case .mul: return mul
        case .div: return truncDiv
        case .mod: return truncMod
        case .floorDiv: return floorDiv
        case .floorMod: return floorMod
        case .min: return min
        case .max: return max
        case .eq: return eq
        case .ne: return ne
        case .lt: return lt
        case .le: return le
        case .gt: return gt
        case .ge: return ge
        case .and: return and
        case .or: return or
        case .not: return not
        case .select: return select
        case .ramp: return ramp
        case .call: return call
        default: return []
        }
    }
}
