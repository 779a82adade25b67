import ApusArith
import ApusIR
import ApusRuntime
import ApusTIR
import Foundation
import Testing

/// The proof of one rule: how it was decided in each of its senses.
struct RuleProof: Sendable {
    enum Method: Sendable { case proved, exhaustive, open }
    var method = Method.proved
    /// One word a sense: `int` (by Z3), `u8*65536` (by so many assignments), …
    var parts: [String] = []
    var failure: String?
    var seconds = 0.0
}

/// Proves rules with Z3 where it is installed; what Z3 does not decide in time, and everything without it, is evaluated
/// for all values at 8 bits.
final class RuleProver {
    private let z3 = Z3Process()
    let milliseconds: Int
    /// How many assignments an exhaustive check may look at.
    let budget: Int

    init(milliseconds: Int, budget: Int) {
        self.milliseconds = milliseconds
        self.budget = budget
    }

    var hasZ3: Bool { z3 != nil }

    /// Questions about expressions that have been proved.
    var decided: [String: Bool] = [:]

    func ask(_ script: String) -> Z3Process.Answer {
        z3?.check(script, milliseconds: milliseconds) ?? .unknown
    }

    func prove(_ rule: RewriteRule) -> RuleProof {
        var proof = RuleProof()
        let start = ContinuousClock.now
        /// Senses that a wider proof of the same kind was given up for.
        var tooHard: Set<Bool> = []
        var exhaustive: Set<String> = []
        for theory in rule.theories {
            if case .bits(let n, let signed) = theory, n > 8, tooHard.contains(signed) { continue }
            switch z3?.check(rule.script(theory), milliseconds: theory.isInteger ? milliseconds : 10_000)
                ?? .unknown
            {
            case .unsatisfiable: proof.parts.append("\(theory)")
            case .satisfiable:
                proof.method = .open
                proof.failure = "Z3 has a counterexample in the sense \(theory)"
            case .unknown:
                if case .bits(_, let signed) = theory { tooHard.insert(signed) }
                let sense = theory == .integers ? "int" : "bits"
                if case .bits(_, let signed) = theory, !exhaustive.insert("\(sense)\(signed)").inserted {
                    continue
                }
                guard let check = ExhaustiveCheck(rule, theory, budget: budget) else {
                    proof.method = .open
                    proof.failure = "neither Z3 nor exhaustive evaluation decides the sense \(theory)"
                    continue
                }
                proof.parts.append("\(theory) at \(check.bits) bits: \(check.cases) cases")
                if proof.method == .proved { proof.method = .exhaustive }
                if let c = check.counterexample {
                    proof.method = .open
                    proof.failure = "\(theory): \(c)"
                } else if check.cases == 0 {
                    proof.method = .open
                    proof.failure = "no case fits the rule in the sense \(theory)"
                }
            }
        }
        proof.seconds =
            Double((ContinuousClock.now - start).components.attoseconds) / 1e18
            + Double((ContinuousClock.now - start).components.seconds)
        return proof
    }
}

@Suite struct RuleProofTests {
    /// Every rule in shares, which run beside each other.
    static let shares = 2

    /// The rules that are matched, and the steps of the linear normal form.
    static let rules = RewriteRules.all + RewriteRules.linear

    static func share(_ k: Int) -> [RewriteRule] {
        rules.enumerated().filter { $0.offset % shares == k }.map { $0.element }
    }

    @Test("each rewrite rule is proved", arguments: 0..<shares)
    func proved(_ k: Int) {
        let prover = RuleProver(milliseconds: 60, budget: 1 << 25)
        if !prover.hasZ3 {
            print("RuleProofTests: z3 is not installed; rules are evaluated exhaustively only")
        }
        for rule in Self.share(k) {
            let p = prover.prove(rule)
            if let f = p.failure { Issue.record("\(rule.name): \(rule.text): \(f)") }
        }
    }

    @Test("what the simplifier does to conversions and shuffles is proved")
    func provedClaims() {
        let prover = RuleProver(milliseconds: 1000, budget: 1 << 25)
        for claim in ExprClaim.casts + ExprClaim.shuffles {
            let p = prover.prove(claim)
            if let f = p.failure { Issue.record("\(claim.name): \(claim.text): \(f)") }
        }
    }

    @Test(
        "the report of all proofs",
        .enabled(if: ProcessInfo.processInfo.environment["APUS_PROVE_REPORT"] != nil))
    func report() throws {
        let path = ProcessInfo.processInfo.environment["APUS_PROVE_REPORT"] ?? "prove-report.txt"
        let prover = RuleProver(milliseconds: 500, budget: 1 << 32)
        var lines: [String] = []
        var proved = 0
        var exhaustive = 0
        var open = 0
        func note(_ name: String, _ text: String, _ p: RuleProof) {
            let word: String
            switch p.method {
            case .proved:
                proved += 1
                word = "proved"
            case .exhaustive:
                exhaustive += 1
                word = "exhaustive"
            case .open:
                open += 1
                word = "OPEN"
            }
            let ms = Int(p.seconds * 1000)
            if p.method != .proved { print("\(name): \(word) \(ms) ms \(p.parts) \(text)") }
            lines.append(
                "\(name): \(text)\n    \(word), \(ms) ms: \(p.parts.joined(separator: " "))"
                    + (p.failure.map { "\n    \($0)" } ?? ""))
        }
        // `APUS_PROVE_ONLY=linear.` reports on some of them.
        let only = ProcessInfo.processInfo.environment["APUS_PROVE_ONLY"] ?? ""
        for rule in Self.rules where rule.name.hasPrefix(only) {
            note(rule.name, rule.text, prover.prove(rule))
        }
        for claim in ExprClaim.casts + ExprClaim.shuffles where claim.name.hasPrefix(only) {
            note(claim.name, claim.text, prover.prove(claim))
        }
        let n = proved + exhaustive + open
        lines.append("rules \(n) proved \(proved) exhaustive \(exhaustive) open \(open)")
        try (lines.joined(separator: "\n") + "\n").write(toFile: path, atomically: true, encoding: .utf8)
        #expect(open == 0)
    }

    @Test func rulesAreDistinct() {
        var seen: Set<String> = []
        for r in RewriteRules.all {
            let key = "\(r.before.text) if \(r.condition?.text ?? "true") in \(r.domain.rawValue)"
            #expect(seen.insert(key).inserted, "\(r.name): \(r.text)")
        }
    }

    @Test func rightSidesCostNoMore() {
        for r in RewriteRules.all {
            #expect(r.after.cost <= r.before.cost, "\(r.name): \(r.text)")
            #expect(r.after.variables.allSatisfy { r.before.variables.contains($0) }, "\(r.name): \(r.text)")
        }
    }

    @Test func textReadsBack() {
        for r in RewriteRules.all { #expect(RewriteRule.parse(r.text).text == r.text) }
    }
}
