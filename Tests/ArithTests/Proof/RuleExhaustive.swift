import ApusArith
import ApusIR
import ApusRuntime

/// A rule evaluated for every value of every variable at a small width.
struct ExhaustiveCheck {
    let rule: RewriteRule
    let theory: Theory
    /// Assignments that satisfied the condition and gave the left side a value.
    private(set) var cases = 0
    private(set) var bits = 8
    private(set) var counterexample: String?

    /// Most assignments looked at.
    static let budget = 1 << 25

    private var values = [Int](repeating: 0, count: RulePattern.names.count)
    private var lane = 0
    private var lanes = 1
    /// The slot of the variable that runs over all its values at once; -1 for none.
    private var inner = -1
    private var innerValues: [Int] = [0]

    /// At 8 bits, or at fewer where there are too many variables; nil where even 3 are too many.
    init?(_ rule: RewriteRule, _ theory: Theory) {
        self.rule = rule
        if case .bits(_, let signed) = theory {
            self.theory = .bits(8, signed: signed)
        } else {
            self.theory = theory
        }
        let names = rule.before.variables
        let numbers = names.filter { !Self.isBool($0) }
        var usesLanes = false
        for side in [rule.before, rule.after] {
            side.visit { if case .operation(.ramp) = $0.shape { usesLanes = true } }
        }
        guard theory.isInteger else { return nil }
        // Constants first: the condition leaves few of them.
        let outer =
            names.filter { $0.hasPrefix("c") } + names.filter(Self.isBool)
            + numbers.filter { !$0.hasPrefix("c") }.dropLast()
        let last = numbers.last { !$0.hasPrefix("c") }
        let constants = names.filter { $0.hasPrefix("c") }.count
        for width in [8, 7, 6, 5, 4, 3] {
            bits = width
            let choices = count(constants: names.filter { $0.hasPrefix("c") })
            let rest = (numbers.count - constants) * width + names.count - numbers.count + (usesLanes ? 4 : 0)
            guard let choices, rest < 40, choices <= Self.budget >> rest else { continue }
            if let last, let slot = RulePattern.names.firstIndex(of: last) {
                inner = slot
                innerValues = domain(last)
            }
            for n in usesLanes ? 1...4 : 1...1 {
                for i in 0..<n {
                    lanes = n
                    lane = i
                    run(outer, 0, constants)
                }
            }
            return
        }
        return nil
    }

    /// How many choices of the constants the condition leaves; nil where there are too many to look at.
    private func count(constants: [String]) -> Int? {
        if constants.count * bits > 20 { return nil }
        var me = self
        var n = 0
        func go(_ k: Int) {
            if k == constants.count {
                if me.constantsFit { n += 1 }
                return
            }
            guard let slot = RulePattern.names.firstIndex(of: constants[k]) else { return }
            for v in me.domain(constants[k]) {
                me.values[slot] = v
                go(k + 1)
            }
        }
        go(0)
        return n
    }

    private var constantsFit: Bool { rule.conditionOnConstants.allSatisfy { scalar($0) == 1 } }

    private mutating func run(_ outer: [String], _ k: Int, _ constants: Int) {
        if counterexample != nil || (k == constants && !constantsFit) { return }
        if k == outer.count { return block() }
        guard let slot = RulePattern.names.firstIndex(of: outer[k]) else { return }
        for v in domain(outer[k]) {
            values[slot] = v
            run(outer, k + 1, constants)
        }
    }

    private static func isBool(_ n: String) -> Bool { n == "p" || n == "q" || n == "r" }

    private func domain(_ n: String) -> [Int] {
        if Self.isBool(n) { return [0, 1] }
        if case .bits(_, false) = theory { return Array(0..<(1 << bits)) }
        return Array(-(1 << (bits - 1))..<(1 << (bits - 1)))
    }

    private mutating func block() {
        let n = innerValues.count
        var wanted = [Bool](repeating: true, count: n)
        for c in rule.conditionOnVariables {
            let v = vector(c)
            for k in 0..<n where v.value[k] == 0 || !v.defined[k] { wanted[k] = false }
        }
        let l = vector(rule.before)
        var any = false
        for k in 0..<n {
            wanted[k] = wanted[k] && l.defined[k]
            if wanted[k] {
                any = true
                cases += 1
            }
        }
        if !any { return }
        let r = vector(rule.after)
        for k in 0..<n where wanted[k] && (!r.defined[k] || l.value[k] != r.value[k]) {
            if inner >= 0 { values[inner] = innerValues[k] }
            let at = rule.before.variables.map { n in
                "\(n) = \(RulePattern.names.firstIndex(of: n).map { values[$0] } ?? 0)"
            }
            counterexample = "\(at.joined(separator: ", ")), lane \(lane): \(l.value[k]) became \(r.value[k])"
            return
        }
    }

    private var type: DataType {
        switch theory {
        case .bits(_, let signed): return DataType(signed ? .int : .uint, bits)
        default: return .index
        }
    }

    /// The value of a pattern of constants.
    private func scalar(_ p: RulePattern) -> Int? {
        switch p.shape {
        case .constant: return values[p.slot]
        case .literal(let v): return ConstFold.wrapped(v, type)
        case .truth(let b): return b ? 1 : 0
        case .lanes: return lanes
        case .variable: return nil
        case .call(let f):
            guard let a = scalar(p.children[0]) else { return nil }
            return ConstFold.intrinsic(f, a, p.children.count > 1 ? scalar(p.children[1]) ?? 0 : 0, type)
        case .operation(let kind):
            guard let a = scalar(p.children[0]) else { return nil }
            if kind == .not { return a == 0 ? 1 : 0 }
            if kind == .and && a == 0 || kind == .or && a != 0 || kind == .broadcast { return a }
            guard let b = scalar(p.children[1]) else { return nil }
            return ConstFold.binary(kind, a, b, type)
        }
    }

    private typealias Lanes = (value: [Int], defined: [Bool])

    private func vector(_ p: RulePattern) -> Lanes {
        let n = innerValues.count
        func all(_ v: Int) -> Lanes {
            (value: [Int](repeating: v, count: n), defined: [Bool](repeating: true, count: n))
        }
        switch p.shape {
        case .variable, .constant:
            if p.slot == inner { return (value: innerValues, defined: [Bool](repeating: true, count: n)) }
            return all(values[p.slot])
        case .literal(let v): return all(ConstFold.wrapped(v, type))
        case .truth(let b): return all(b ? 1 : 0)
        case .lanes: return all(lanes)
        case .call(let f):
            let c = p.children.map { vector($0) }
            var r = c[0]
            switch f {
            case "likely": return r
            case "if_then_else":
                for k in 0..<n {
                    let s = c[c[0].value[k] != 0 ? 1 : 2]
                    r.value[k] = s.value[k]
                    r.defined[k] = c[0].defined[k] && s.defined[k]
                }
            default:
                for k in 0..<n {
                    let y = c.count > 1 ? c[1].value[k] : 0
                    r.value[k] = ConstFold.intrinsic(f, c[0].value[k], y, type) ?? 0
                    r.defined[k] = c.allSatisfy { $0.defined[k] }
                }
            }
            return r
        case .operation(let kind):
            var a = vector(p.children[0])
            switch kind {
            case .not:
                for k in 0..<n { a.value[k] = a.value[k] == 0 ? 1 : 0 }
                return a
            case .broadcast: return a
            default: break
            }
            let b = vector(p.children[1])
            let t = type
            if kind == .select {
                let c = vector(p.children[2])
                for k in 0..<n {
                    a.defined[k] = a.defined[k] && b.defined[k] && c.defined[k]
                    a.value[k] = a.value[k] != 0 ? b.value[k] : c.value[k]
                }
                return a
            }
            for k in 0..<n {
                if kind == .and || kind == .or {
                    let decided = (a.value[k] != 0) == (kind == .or)
                    a.defined[k] = a.defined[k] && (decided || b.defined[k])
                    a.value[k] = decided ? a.value[k] : b.value[k]
                    continue
                }
                let v: Int?
                switch kind {
                case .add: v = ConstFold.wrapped(a.value[k] &+ b.value[k], t)
                case .mul: v = ConstFold.wrapped(a.value[k] &* b.value[k], t)
                case .sub: v = ConstFold.wrapped(a.value[k] &- b.value[k], t)
                case .ramp: v = ConstFold.wrapped(a.value[k] &+ b.value[k] &* lane, t)
                default: v = ConstFold.binary(kind, a.value[k], b.value[k], t)
                }
                a.defined[k] = a.defined[k] && b.defined[k] && v != nil
                a.value[k] = v ?? 0
            }
            return a
        }
    }
}
