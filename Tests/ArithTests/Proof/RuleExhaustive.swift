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
    static let budget = 1 << 28

    private var values: [String: Int] = [:]
    private var lane = 0
    private var lanes = 1
    /// The variable that runs over all its values at once.
    private var inner = ""
    private var innerValues: [Int] = []

    /// At 8 bits, or at fewer where there are too many variables; nil where even 4 are too many.
    init?(_ rule: RewriteRule, _ theory: Theory) {
        self.rule = rule
        switch theory {
        case .integers, .logic: self.theory = theory
        case .bits(_, let signed): self.theory = .bits(8, signed: signed)
        case .floats: return nil
        }
        let all = rule.before.variables
        let numbers = all.filter { !Self.isBool($0) }
        let constants = numbers.filter { $0.hasPrefix("c") }
        let free = numbers.filter { !$0.hasPrefix("c") }
        var usesLanes = false
        for side in [rule.before, rule.after] {
            side.visit { if case .operation(.ramp) = $0.shape { usesLanes = true } }
        }
        for width in [8, 7, 6, 5, 4] {
            bits = width
            var choices: [[String: Int]] = []
            assign(constants, [:]) { c in
                var me = self
                me.values = c
                if rule.conditionOnConstants.allSatisfy({ me.scalar($0) == 1 }) { choices.append(c) }
            }
            let shapes = usesLanes ? 10 : 1
            let rest = free.count * width + all.count - numbers.count
            if rest < 40, choices.count * shapes <= Self.budget >> rest {
                run(choices, free, all.filter(Self.isBool), usesLanes)
                return
            }
        }
        return nil
    }

    private static func isBool(_ n: String) -> Bool { n == "p" || n == "q" || n == "r" }

    private func domain(_ n: String) -> [Int] {
        if Self.isBool(n) { return [0, 1] }
        if case .bits(_, false) = theory { return Array(0..<(1 << bits)) }
        return Array(-(1 << (bits - 1))..<(1 << (bits - 1)))
    }

    private func assign(_ names: [String], _ start: [String: Int], _ body: ([String: Int]) -> Void) {
        guard let n = names.first else { return body(start) }
        var v = start
        for x in domain(n) {
            v[n] = x
            assign(Array(names.dropFirst()), v, body)
        }
    }

    private mutating func run(_ choices: [[String: Int]], _ free: [String], _ bools: [String], _ usesLanes: Bool) {
        let outer = bools + free.dropLast()
        inner = free.last ?? ""
        innerValues = inner.isEmpty ? [0] : domain(inner)
        for n in usesLanes ? 1...4 : 1...1 {
            for i in 0..<n {
                lanes = n
                lane = i
                for c in choices {
                    // A loop over all outer assignments, as an odometer.
                    let domains = outer.map { domain($0) }
                    var at = [Int](repeating: 0, count: outer.count)
                    while true {
                        values = c
                        for k in outer.indices { values[outer[k]] = domains[k][at[k]] }
                        block()
                        if counterexample != nil { return }
                        var k = 0
                        while k < outer.count {
                            at[k] += 1
                            if at[k] < domains[k].count { break }
                            at[k] = 0
                            k += 1
                        }
                        if k == outer.count { break }
                    }
                }
            }
        }
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
            values[inner] = innerValues[k]
            counterexample = "\(values.sorted { $0.key < $1.key }) lane \(lane): \(l.value[k]) became \(r.value[k])"
            return
        }
    }

    private var type: DataType {
        switch theory {
        case .bits(_, let signed): return DataType(signed ? .int : .uint, bits)
        default: return .index
        }
    }

    private func scalar(_ p: RulePattern) -> Int? {
        var me = self
        me.inner = ""
        me.innerValues = [0]
        let v = me.vector(p)
        return v.defined[0] ? v.value[0] : nil
    }

    private typealias Lanes = (value: [Int], defined: [Bool])

    private func vector(_ p: RulePattern) -> Lanes {
        let n = innerValues.count
        func all(_ v: Int) -> Lanes {
            (value: [Int](repeating: v, count: n), defined: [Bool](repeating: true, count: n))
        }
        switch p.shape {
        case .variable, .constant:
            if p.name == inner { return (value: innerValues, defined: [Bool](repeating: true, count: n)) }
            return all(values[p.name] ?? 0)
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
