import ApusArith
import ApusIR
import ApusRuntime
import ApusTIR
import Testing

/// All assignments of `domain` to `variables`.
func forEachAssignment(_ variables: [Var], _ domain: (Var) -> [Int], _ body: ([Var: Int]) -> Void) {
    var values: [Var: Int] = [:]
    func go(_ i: Int) {
        if i == variables.count {
            body(values)
            return
        }
        for v in domain(variables[i]) {
            values[variables[i]] = v
            go(i + 1)
        }
    }
    go(0)
}

func freeVariables(_ list: [PrimExpr]) -> [Var] {
    var result: [Var] = []
    for e in list {
        postOrderVisit(e) { x in
            if let v = x as? Var, !result.contains(v) { result.append(v) }
        }
    }
    return result
}

@Suite struct RuleProofTests {
    @Test("each rewrite rule holds on a box of small values", arguments: RewriteRules.all.indices)
    func holds(_ index: Int) {
        let rule = RewriteRules.all[index]
        let variables = freeVariables([rule.before, rule.after, rule.condition])
        #expect(freeVariables([rule.after]).allSatisfy { freeVariables([rule.before]).contains($0) })
        var applied = 0
        forEachAssignment(variables, { $0.dtype.isBool ? [0, 1] : [-3, -2, -1, 0, 1, 2, 3] }) { values in
            guard evaluate(rule.condition, values) == 1 else { return }
            applied += 1
            let a = evaluate(rule.before, values)
            let b = evaluate(rule.after, values)
            if a != b || a == nil {
                Issue.record(
                    "\(rule.text): \(String(describing: a)) is not \(String(describing: b)) at \(values)")
            }
        }
        #expect(applied > 0)
    }

    @Test func rulesAreDistinct() {
        var seen: Set<String> = []
        for r in RewriteRules.all { #expect(seen.insert("\(r.before) \(r.condition)").inserted, "\(r.text)") }
    }
}
