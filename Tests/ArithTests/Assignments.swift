import ApusTIR

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
