import ApusArith
import ApusIR

/// What the integers of a rule are in a proof.
enum Theory: Hashable, CustomStringConvertible {
    /// No integer occurs.
    case logic
    /// The mathematical integers.
    case integers
    case bits(Int, signed: Bool)
    /// IEEE floats by exponent and significand bits.
    case floats(Int, Int)

    var description: String {
        switch self {
        case .logic: return "bool"
        case .integers: return "int"
        case .bits(let n, let signed): return "\(signed ? "s" : "u")\(n)"
        case .floats(let e, let s): return "f\(e + s)"
        }
    }

    /// Whether exhaustive evaluation speaks of it.
    var isInteger: Bool {
        if case .floats = self { return false }
        return true
    }

    var sort: String {
        switch self {
        case .logic, .integers: return "Int"
        case .bits(let n, _): return "(_ BitVec \(n))"
        case .floats(let e, let s): return "(_ FloatingPoint \(e) \(s))"
        }
    }

    func literal(_ v: Int) -> String {
        switch self {
        case .bits(let n, _):
            let mask: UInt64 = n == 64 ? .max : (1 << UInt64(n)) - 1
            return "(_ bv\(UInt64(bitPattern: Int64(v)) & mask) \(n))"
        default: return v < 0 ? "(- \(v.magnitude))" : "\(v)"
        }
    }

    /// The operations with the program's meaning, as functions.
    var preamble: String {
        switch self {
        case .logic: return ""
        case .integers:
            return """
                (define-fun fdiv ((a Int) (b Int)) Int (ite (> b 0) (div a b) (div (- a) (- b))))
                (define-fun fmod ((a Int) (b Int)) Int (ite (> b 0) (mod a b) (- (mod (- a) (- b)))))
                (define-fun tdiv ((a Int) (b Int)) Int (ite (>= a 0) (div a b) (- (div (- a) b))))
                (define-fun tmod ((a Int) (b Int)) Int (- a (* b (tdiv a b))))

                """
        case .bits(_, let signed):
            let s = sort
            if !signed {
                return ["fdiv bvudiv", "fmod bvurem", "tdiv bvudiv", "tmod bvurem"].map { f in
                    let p = f.split(separator: " ")
                    return "(define-fun \(p[0]) ((a \(s)) (b \(s))) \(s) (\(p[1]) a b))\n"
                }.joined()
            }
            let zero = literal(0)
            return """
                (define-fun tdiv ((a \(s)) (b \(s))) \(s) (bvsdiv a b))
                (define-fun tmod ((a \(s)) (b \(s))) \(s) (bvsrem a b))
                (define-fun fmod ((a \(s)) (b \(s))) \(s) (bvsmod a b))
                (define-fun fdiv ((a \(s)) (b \(s))) \(s)
                  (ite (and (distinct (bvsrem a b) \(zero)) (xor (bvslt (bvsrem a b) \(zero)) (bvslt b \(zero))))
                    (bvsub (bvsdiv a b) \(literal(1))) (bvsdiv a b)))

                """
        case .floats:
            let s = sort
            // The smaller and the larger as the interpreter has them: NaN wins, -0 is below +0.
            return """
                (define-fun fmin ((a \(s)) (b \(s))) \(s) (ite (fp.isNaN a) a (ite (fp.isNaN b) b
                  (ite (fp.eq a b) (ite (fp.isNegative a) a b) (ite (fp.lt a b) a b)))))
                (define-fun fmax ((a \(s)) (b \(s))) \(s) (ite (fp.isNaN a) a (ite (fp.isNaN b) b
                  (ite (fp.eq a b) (ite (fp.isNegative a) b a) (ite (fp.lt a b) b a)))))

                """
        }
    }
}

extension RewriteRule {
    private func any(_ test: (RulePattern) -> Bool) -> Bool {
        var found = false
        for side in [before, after] + (condition.map { [$0] } ?? []) {
            side.visit { found = found || test($0) }
        }
        return found
    }

    /// Whether bits of integers are looked at, which mathematical integers do not have.
    var usesBits: Bool {
        any {
            if case .call(let f) = $0.shape { return f.hasPrefix("bitwise") || f.hasPrefix("shift") }
            return false
        }
    }

    /// In which senses the rule must hold.
    var theories: [Theory] {
        let hasNumbers = any {
            switch $0.shape {
            case .variable, .constant, .literal: return !$0.isBool
            default: return false
            }
        }
        if !hasNumbers { return [.logic] }
        var result: [Theory] = []
        let widths = [8, 16, 32, 64]
        if domain.contains(.index) && !usesBits { result.append(.integers) }
        if domain.contains(.signed) || (domain.contains(.index) && usesBits) {
            result += widths.map { .bits($0, signed: true) }
        }
        if domain.contains(.unsigned) { result += widths.map { .bits($0, signed: false) } }
        if domain.contains(.float) { result += [.floats(5, 11), .floats(8, 24)] }
        return result
    }

    /// A script that is unsatisfiable if and only if the rule holds: where the left side has a value and the condition
    /// is true, the right side has the same value. Vectors are looked at in one lane `i`, any.
    func script(_ theory: Theory) -> String {
        var text = theory.preamble
        let lanes = any {
            switch $0.shape {
            case .lanes, .operation(.ramp): return true
            default: return false
            }
        }
        var names: [String: Bool] = [:]
        var order: [String] = []
        for side in [before, after] + (condition.map { [$0] } ?? []) {
            side.visit { p in
                if !p.name.isEmpty && names[p.name] == nil {
                    names[p.name] = p.isBool
                    order.append(p.name)
                }
            }
        }
        for n in order {
            text += "(declare-const \(n) \(names[n] == true ? "Bool" : theory.sort))\n"
            // Whether what a variable stands for has a value at all; constants have.
            if !n.hasPrefix("c") { text += "(declare-const d_\(n) Bool)\n" }
        }
        if lanes {
            text += "(declare-const i \(theory.sort))\n(declare-const n \(theory.sort))\n"
            if theory == .integers { text += "(assert (and (<= 0 i) (< i n) (<= n 65535)))\n" }
        }
        let l = SMTTranslator(theory: theory).translate(before)
        let r = SMTTranslator(theory: theory).translate(after)
        if let condition {
            let c = SMTTranslator(theory: theory).translate(condition)
            text += "(assert \(c.value))\n(assert \(c.defined))\n"
        }
        text += "(assert \(l.defined))\n(assert (not (and \(r.defined) (= \(l.value) \(r.value)))))\n"
        return text
    }
}

/// Patterns as terms.
struct SMTTranslator {
    let theory: Theory

    func translate(_ p: RulePattern) -> (value: String, defined: String) {
        switch p.shape {
        case .variable: return (p.name, "d_\(p.name)")
        case .constant: return (p.name, "true")
        case .literal(let v): return (theory.literal(v), "true")
        case .truth(let b): return (b ? "true" : "false", "true")
        case .lanes: return ("n", "true")
        case .call(let f):
            let c = p.children.map { translate($0) }
            let strict = "(and \(c.map { $0.defined }.joined(separator: " ")))"
            switch f {
            case "if_then_else":
                return (
                    "(ite \(c[0].value) \(c[1].value) \(c[2].value))",
                    "(and \(c[0].defined) (ite \(c[0].value) \(c[1].defined) \(c[2].defined)))"
                )
            case "likely": return c[0]
            case "abs":
                if case .bits(_, false) = theory { return c[0] }
                let zero = theory.literal(0)
                if case .bits = theory {
                    return ("(ite (bvslt \(c[0].value) \(zero)) (bvneg \(c[0].value)) \(c[0].value))", strict)
                }
                return ("(ite (< \(c[0].value) 0) (- \(c[0].value)) \(c[0].value))", strict)
            case "bitwise_not": return ("(bvnot \(c[0].value))", strict)
            default:
                var signed = true
                if case .bits(_, false) = theory { signed = false }
                let names = [
                    "bitwise_and": "bvand", "bitwise_or": "bvor", "bitwise_xor": "bvxor",
                    "shift_left": "bvshl",
                    "shift_right": signed ? "bvashr" : "bvlshr",
                ]
                return ("(\(names[f] ?? f) \(c[0].value) \(c[1].value))", strict)
            }
        case .operation(let kind): return operation(kind, p.children)
        }
    }

    private func operation(_ kind: PrimExprKind, _ children: [RulePattern]) -> (
        value: String, defined: String
    ) {
        let c = children.map { translate($0) }
        let strict = "(and \(c.map { $0.defined }.joined(separator: " ")))"
        func apply(_ f: String) -> (value: String, defined: String) {
            ("(\(f) \(c.map { $0.value }.joined(separator: " ")))", strict)
        }
        switch kind {
        case .not: return ("(not \(c[0].value))", c[0].defined)
        case .broadcast: return c[0]
        case .select: return apply("ite")
        case .and:
            return (
                "(and \(c[0].value) \(c[1].value))",
                "(and \(c[0].defined) (or (not \(c[0].value)) \(c[1].defined)))"
            )
        case .or:
            return (
                "(or \(c[0].value) \(c[1].value))", "(and \(c[0].defined) (or \(c[0].value) \(c[1].defined)))"
            )
        case .eq where children[0].isBool: return apply("=")
        case .ne where children[0].isBool: return apply("xor")
        default: break
        }
        switch theory {
        case .logic, .integers:
            switch kind {
            case .add: return apply("+")
            case .sub: return apply("-")
            case .mul: return apply("*")
            case .ramp: return ("(+ \(c[0].value) (* i \(c[1].value)))", strict)
            case .min: return ("(ite (<= \(c[0].value) \(c[1].value)) \(c[0].value) \(c[1].value))", strict)
            case .max: return ("(ite (>= \(c[0].value) \(c[1].value)) \(c[0].value) \(c[1].value))", strict)
            default: break
            }
        case .bits(_, let signed):
            let s = signed ? "bvs" : "bvu"
            switch kind {
            case .add: return apply("bvadd")
            case .sub: return apply("bvsub")
            case .mul: return apply("bvmul")
            case .ramp: return ("(bvadd \(c[0].value) (bvmul i \(c[1].value)))", strict)
            case .min:
                return ("(ite (\(s)le \(c[0].value) \(c[1].value)) \(c[0].value) \(c[1].value))", strict)
            case .max:
                return ("(ite (\(s)ge \(c[0].value) \(c[1].value)) \(c[0].value) \(c[1].value))", strict)
            case .lt: return apply(s + "lt")
            case .le: return apply(s + "le")
            case .gt: return apply(s + "gt")
            case .ge: return apply(s + "ge")
            default: break
            }
        case .floats:
            switch kind {
            case .min: return apply("fmin")
            case .max: return apply("fmax")
            case .eq: return apply("fp.eq")
            case .ne: return ("(not (fp.eq \(c[0].value) \(c[1].value)))", strict)
            default: return ("unsupported_\(kind)", "false")
            }
        }
        let zero = "(distinct \(c[1].value) \(theory.literal(0)))"
        func divides(_ f: String) -> (value: String, defined: String) {
            ("(\(f) \(c[0].value) \(c[1].value))", "(and \(c[0].defined) \(c[1].defined) \(zero))")
        }
        switch kind {
        case .floorDiv: return divides("fdiv")
        case .floorMod: return divides("fmod")
        case .div: return divides("tdiv")
        case .mod: return divides("tmod")
        case .eq: return apply("=")
        case .ne: return apply("distinct")
        case .lt: return apply("<")
        case .le: return apply("<=")
        case .gt: return apply(">")
        case .ge: return apply(">=")
        default: return ("unsupported_\(kind)", "false")
        }
    }
}
