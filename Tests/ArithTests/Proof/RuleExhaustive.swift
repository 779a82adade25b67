import ApusArith
import ApusIR
import ApusRuntime

/// A rule evaluated for every value of every variable at 8 bits, or at fewer where `budget` does not allow that.
///
/// One variable, the inner one, takes all its values at once; what does not depend on it is computed once for them.
struct ExhaustiveCheck {
    let rule: RewriteRule
    let theory: Theory
    /// Assignments that satisfied the condition and gave the left side a value.
    private(set) var cases = 0
    private(set) var bits = 8
    private(set) var counterexample: String?

    private var values = [Int](repeating: 0, count: RulePattern.names.count)
    private var lane = 0
    private var lanes = 1
    private let names: [String]
    private var innerName = ""
    private var innerValues: [Int] = []
    /// The names that are set one by one, and which parts of the condition are decided with each.
    private var outer: [String] = []
    private var decided: [[EvaluationNode]] = []
    private var blockConditions: [EvaluationNode] = []
    private var before: EvaluationNode?
    private var after: EvaluationNode?

    /// Nil for floats, and where even 3 bits are too many.
    /// - Parameter budget: how many assignments may be looked at.
    init?(_ rule: RewriteRule, _ theory: Theory, budget: Int) {
        guard theory.isInteger else { return nil }
        self.rule = rule
        names = rule.before.variables
        if case .bits(_, let signed) = theory {
            self.theory = .bits(8, signed: signed)
        } else {
            self.theory = theory
        }
        chooseInner()
        var usesLanes = false
        for side in [rule.before, rule.after] {
            side.visit { if case .operation(.ramp) = $0.shape { usesLanes = true } }
        }
        for width in [8, 7, 6, 5, 4, 3] {
            bits = width
            innerValues = domain(innerName)
            prepare()
            lanes = 4
            guard countFits(budget / (innerValues.count * (usesLanes ? 10 : 1))) else { continue }
            for n in usesLanes ? 1...4 : 1...1 {
                for i in 0..<n {
                    lanes = n
                    lane = i
                    run(0)
                }
            }
            return
        }
        return nil
    }

    private static func isBool(_ n: String) -> Bool { n == "p" || n == "q" || n == "r" }

    /// A number that nothing is divided by, if there is one: variables rather than constants.
    private mutating func chooseInner() {
        var divisors: Set<String> = []
        for side in [rule.before, rule.after] {
            side.visit { p in
                guard case .operation(let k) = p.shape, [.div, .mod, .floorDiv, .floorMod].contains(k) else {
                    return
                }
                divisors.formUnion(p.children[1].variables)
            }
        }
        // Nor one that others are computed from.
        for c in rule.condition.map(Self.conjuncts) ?? [] {
            for n in names { divisors.formUnion(Self.solution(c, n)?.variables ?? []) }
            divisors.formUnion(names.filter { Self.solution(c, $0) != nil })
        }
        let numbers = names.filter { !Self.isBool($0) }
        let variables = numbers.filter { !$0.hasPrefix("c") }
        innerName =
            variables.last { !divisors.contains($0) } ?? variables.last
            ?? numbers.last { !divisors.contains($0) } ?? numbers.last ?? names.last ?? ""
    }

    private func domain(_ n: String) -> [Int] {
        if n.isEmpty { return [0] }
        if Self.isBool(n) { return [0, 1] }
        if case .bits(_, false) = theory { return Array(0..<(1 << bits)) }
        return Array(-(1 << (bits - 1))..<(1 << (bits - 1)))
    }

    /// `a && b && …` one by one.
    private static func conjuncts(_ p: RulePattern) -> [RulePattern] {
        if case .operation(.and) = p.shape { return p.children.flatMap(conjuncts) }
        return [p]
    }

    /// Orders the outer names, so that the condition rules out values early, and builds the evaluators.
    private mutating func prepare() {
        let all = rule.condition.map(Self.conjuncts) ?? []
        let rest = names.filter { $0 != innerName }
        // A constant that the condition gives as a function of others comes after them.
        let given = rest.filter { n in all.contains { Self.solution($0, n) != nil } }
        let free = rest.filter { !given.contains($0) }
        let late = given.filter { n in
            all.contains { !(Self.solution($0, n)?.isConstant ?? true) }
        }
        outer =
            free.filter { $0.hasPrefix("c") } + given.filter { !late.contains($0) }
            + free.filter { !$0.hasPrefix("c") } + late
        func node(_ p: RulePattern) -> EvaluationNode {
            EvaluationNode(p, inner: innerName, lanes: innerValues.count)
        }
        decided = [[EvaluationNode]](repeating: [], count: outer.count + 1)
        blockConditions = []
        for c in all {
            let used = c.variables
            if used.contains(innerName) {
                blockConditions.append(node(c))
                continue
            }
            let last = outer.lastIndex { used.contains($0) } ?? -1
            decided[last + 1].append(node(c))
        }
        before = node(rule.before)
        after = node(rule.after)
    }

    /// What `c` says `n` equals, if it says so.
    private static func solution(_ c: RulePattern, _ n: String) -> RulePattern? {
        guard case .operation(.eq) = c.shape else { return nil }
        for (a, b) in [(c.children[0], c.children[1]), (c.children[1], c.children[0])]
        where a.name == n && !b.variables.contains(n) {
            return b
        }
        return nil
    }

    private var setting: EvaluationNode.Setting {
        EvaluationNode.Setting(theory: theory, bits: bits, lane: lane, lanes: lanes)
    }

    private func holds(_ list: [EvaluationNode]) -> Bool {
        for c in list {
            c.evaluate(values, innerValues, setting)
            if !c.defined || c.value == 0 { return false }
        }
        return true
    }

    private func choices(_ k: Int) -> [Int] {
        let n = outer[k]
        for c in rule.condition.map(Self.conjuncts) ?? [] {
            guard let s = Self.solution(c, n),
                s.variables.allSatisfy({ outer.firstIndex(of: $0).map { $0 < k } ?? false })
            else { continue }
            let e = EvaluationNode(s, inner: "", lanes: 1)
            e.evaluate(values, [0], setting)
            return e.defined && domain(n).contains(e.value) ? [e.value] : []
        }
        return domain(n)
    }

    /// Whether the condition leaves at most `most` choices of the outer names.
    private func countFits(_ most: Int) -> Bool {
        var me = self
        var n = 0
        // The variables of the condition are counted, the others multiplied.
        let relevant = (0..<outer.count).last { !decided[$0 + 1].isEmpty } ?? -1
        let factor = outer.dropFirst(relevant + 1).reduce(1) {
            let r = $0.multipliedReportingOverflow(by: domain($1).count)
            return r.overflow ? Int.max / 1024 : r.partialValue
        }
        func go(_ k: Int) -> Bool {
            if k > relevant {
                n += 1
                return n.multipliedReportingOverflow(by: factor).overflow ? false : n * factor <= most
            }
            guard let slot = RulePattern.names.firstIndex(of: outer[k]) else { return false }
            for v in me.choices(k) {
                me.values[slot] = v
                if me.holds(me.decided[k + 1]) && !go(k + 1) { return false }
            }
            return true
        }
        return holds(decided[0]) ? go(0) : true
    }

    private mutating func run(_ k: Int) {
        if counterexample != nil || !holds(decided[k]) { return }
        if k == outer.count { return block() }
        guard let slot = RulePattern.names.firstIndex(of: outer[k]) else { return }
        for v in choices(k) {
            values[slot] = v
            run(k + 1)
        }
    }

    private mutating func block() {
        guard let before, let after else { return }
        let n = innerValues.count
        before.evaluateLanes(values, innerValues, setting)
        for c in blockConditions { c.evaluateLanes(values, innerValues, setting) }
        after.evaluateLanes(values, innerValues, setting)
        let conditions = blockConditions
        for k in 0..<n {
            if !before.ok[k] { continue }
            var wanted = true
            for c in conditions where !c.ok[k] || c.result[k] == 0 { wanted = false }
            if !wanted { continue }
            cases += 1
            if after.ok[k] && before.result[k] == after.result[k] { continue }
            if let slot = RulePattern.names.firstIndex(of: innerName) { values[slot] = innerValues[k] }
            let at = names.map { n in
                "\(n) = \(RulePattern.names.firstIndex(of: n).map { values[$0] } ?? 0)"
            }
            counterexample =
                "\(at.joined(separator: ", ")), lane \(lane): \(before.result[k]) became \(after.result[k])"
            return
        }
    }
}

/// A pattern with room for its values.
final class EvaluationNode {
    struct Setting {
        let theory: Theory
        let bits: Int
        let lane: Int
        let lanes: Int
    }

    let pattern: RulePattern
    let children: [EvaluationNode]
    /// Whether the inner variable occurs; else `value` and `defined` say everything.
    let isVector: Bool
    private let isInner: Bool
    /// Whether there are values for which this has none.
    private let isPartial: Bool
    let count: Int
    let result: UnsafeMutablePointer<Int>
    let ok: UnsafeMutablePointer<Bool>
    private(set) var value = 0
    private(set) var defined = true
    private var filled: (value: Int, defined: Bool)?

    init(_ p: RulePattern, inner: String, lanes: Int) {
        pattern = p
        children = p.children.map { EvaluationNode($0, inner: inner, lanes: lanes) }
        isInner = !inner.isEmpty && p.name == inner
        isVector = isInner || children.contains { $0.isVector }
        var partial = children.contains { $0.isPartial }
        if case .operation(let k) = p.shape, [.div, .mod, .floorDiv, .floorMod].contains(k) {
            partial = true
        }
        isPartial = partial
        count = lanes
        result = .allocate(capacity: lanes)
        result.initialize(repeating: 0, count: lanes)
        ok = .allocate(capacity: lanes)
        ok.initialize(repeating: true, count: lanes)
    }

    deinit {
        result.deallocate()
        ok.deallocate()
    }

    /// Sets `result` and `ok`.
    func evaluateLanes(_ values: [Int], _ inner: [Int], _ s: Setting) {
        evaluate(values, inner, s)
        if !isVector { spread() }
    }

    private func spread() {
        if let filled, filled.value == value, filled.defined == defined { return }
        for k in 0..<count { result[k] = value }
        for k in 0..<count { ok[k] = defined }
        filled = (value: value, defined: defined)
    }

    /// Sets `result` and `ok` of what depends on the inner variable, `value` and `defined` of what does not.
    func evaluate(_ values: [Int], _ inner: [Int], _ s: Setting) {
        if isInner {
            for k in 0..<count { result[k] = inner[k] }
            return
        }
        for c in children { c.evaluate(values, inner, s) }
        if !isVector { return evaluateScalar(values, s) }
        for c in children where !c.isVector { c.spread() }
        let a = children[0]
        if isPartial { for k in 0..<count { ok[k] = a.ok[k] } }
        switch pattern.shape {
        case .call(let f): call(f, s)
        case .operation(let kind): operation(kind, s)
        default: break
        }
    }

    private static func type(_ s: Setting) -> DataType {
        if case .bits(_, let signed) = s.theory { return DataType(signed ? .int : .uint, s.bits) }
        return .index
    }

    private func evaluateScalar(_ values: [Int], _ s: Setting) {
        let type = Self.type(s)
        let c = children
        func strict(_ v: Int?) {
            value = v ?? 0
            defined = v != nil && c.allSatisfy { $0.defined }
        }
        switch pattern.shape {
        case .variable, .constant: value = values[pattern.slot]
        case .literal(let v): value = ConstFold.wrapped(v, type)
        case .truth(let b): value = b ? 1 : 0
        case .lanes: value = s.lanes
        case .call("likely"): strict(c[0].value)
        case .call("if_then_else"):
            let chosen = c[c[0].value != 0 ? 1 : 2]
            value = chosen.value
            defined = c[0].defined && chosen.defined
        case .call(let f): strict(ConstFold.intrinsic(f, c[0].value, c.count > 1 ? c[1].value : 0, type))
        case .operation(let kind):
            switch kind {
            case .not: strict(c[0].value == 0 ? 1 : 0)
            case .broadcast: strict(c[0].value)
            case .select: strict(c[0].value != 0 ? c[1].value : c[2].value)
            case .and, .or:
                let known = (c[0].value != 0) == (kind == .or)
                value = known ? c[0].value : c[1].value
                defined = c[0].defined && (known || c[1].defined)
            case .ramp: strict(ConstFold.wrapped(c[0].value &+ c[1].value &* s.lane, type))
            default: strict(ConstFold.binary(kind, c[0].value, c[1].value, type))
            }
        }
    }

    /// Every child's `ok` in mine.
    private func strict() {
        if !isPartial { return }
        for c in children.dropFirst() where c.isPartial {
            for k in 0..<count where !c.ok[k] { ok[k] = false }
        }
    }

    private func call(_ f: String, _ s: Setting) {
        let a = children[0]
        if f == "if_then_else" {
            for k in 0..<count {
                let c = children[a.result[k] != 0 ? 1 : 2]
                result[k] = c.result[k]
                ok[k] = a.ok[k] && c.ok[k]
            }
            return
        }
        strict()
        let b = children.count > 1 ? children[1] : a
        let type = Self.type(s)
        switch f {
        case "likely": for k in 0..<count { result[k] = a.result[k] }
        case "bitwise_and": for k in 0..<count { result[k] = a.result[k] & b.result[k] }
        case "bitwise_or": for k in 0..<count { result[k] = a.result[k] | b.result[k] }
        default:
            for k in 0..<count { result[k] = ConstFold.intrinsic(f, a.result[k], b.result[k], type) ?? 0 }
        }
    }

    private func operation(_ kind: PrimExprKind, _ s: Setting) {
        let n = count
        let r = result
        let a = children[0].result
        let b = children.count > 1 ? children[1].result : a
        switch kind {
        case .not:
            for k in 0..<n { r[k] = a[k] == 0 ? 1 : 0 }
            return
        case .broadcast:
            for k in 0..<n { r[k] = a[k] }
            return
        case .select:
            let c = children[2].result
            strict()
            for k in 0..<n { r[k] = a[k] != 0 ? b[k] : c[k] }
            return
        case .and, .or:
            let decides = kind == .or
            let other = children[1].ok
            for k in 0..<n {
                let known = (a[k] != 0) == decides
                if isPartial { ok[k] = ok[k] && (known || other[k]) }
                r[k] = known ? a[k] : b[k]
            }
            return
        default: strict()
        }
        switch kind {
        case .add: for k in 0..<n { r[k] = a[k] &+ b[k] }
        case .sub: for k in 0..<n { r[k] = a[k] &- b[k] }
        case .mul: for k in 0..<n { r[k] = a[k] &* b[k] }
        case .ramp: for k in 0..<n { r[k] = a[k] &+ b[k] &* s.lane }
        case .min: for k in 0..<n { r[k] = a[k] < b[k] ? a[k] : b[k] }
        case .max: for k in 0..<n { r[k] = a[k] > b[k] ? a[k] : b[k] }
        case .eq: for k in 0..<n { r[k] = a[k] == b[k] ? 1 : 0 }
        case .ne: for k in 0..<n { r[k] = a[k] != b[k] ? 1 : 0 }
        case .lt: for k in 0..<n { r[k] = a[k] < b[k] ? 1 : 0 }
        case .le: for k in 0..<n { r[k] = a[k] <= b[k] ? 1 : 0 }
        case .gt: for k in 0..<n { r[k] = a[k] > b[k] ? 1 : 0 }
        case .ge: for k in 0..<n { r[k] = a[k] >= b[k] ? 1 : 0 }
        case .div, .mod, .floorDiv, .floorMod: divide(kind, children[1])
        default: for k in 0..<n { ok[k] = false }
        }
        switch kind {
        case .add, .sub, .mul, .ramp, .div, .floorDiv: wrap(s)
        default: break
        }
    }

    private func wrap(_ s: Setting) {
        guard case .bits(_, let signed) = s.theory else { return }
        let mask = (1 << s.bits) - 1
        let sign = signed ? 1 << (s.bits - 1) : 0
        for k in 0..<count { result[k] = ((result[k] & mask) ^ sign) &- sign }
    }

    /// Of values that are far within 32 bits: division there is several times faster than of 64.
    private func divide(_ kind: PrimExprKind, _ divisor: EvaluationNode) {
        let a = children[0].result
        let b = divisor.result
        for k in 0..<count {
            if b[k] == 0 || !ok[k] {
                ok[k] = false
                result[k] = 0
                continue
            }
            let q: Int
            let rest: Int
            if let x = Int32(exactly: a[k]), let y = Int32(exactly: b[k]), x != .min {
                q = Int(x / y)
                rest = Int(x % y)
            } else {
                (q, rest) = (a[k] / b[k], a[k] % b[k])
            }
            let down = rest != 0 && (rest < 0) != (b[k] < 0)
            switch kind {
            case .div: result[k] = q
            case .mod: result[k] = rest
            case .floorDiv: result[k] = down ? q - 1 : q
            default: result[k] = down ? rest + b[k] : rest
            }
        }
    }
}
