import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR

/// One side of a rewrite rule, or its condition: a tree over pattern variables.
public final class RulePattern: Sendable {
    public enum Shape: Sendable, Hashable {
        /// `x y z w` (any expression of the rule's integer type), `u v` (any but a constant), `p q r` (Boolean).
        case variable
        /// `c1 c2 c3 c4`: an integer constant; in a vector a broadcast of one.
        case constant
        /// An integer literal, read as a value of the rule's type (-1 is the greatest unsigned number).
        case literal(Int)
        case truth(Bool)
        /// `n`: the number of lanes; in conditions and right sides of vector rules.
        case lanes
        /// An operation of the loop IR: two operands, three for `select`, one for `not` and `broadcast`.
        case operation(PrimExprKind)
        /// A call of the intrinsic `tir.<name>`.
        case call(String)
    }

    public let shape: Shape
    public let children: [RulePattern]
    /// Name of a variable or constant.
    public let name: String
    /// Place of a variable or constant among the bindings; see `RulePattern.names`.
    public let slot: Int
    public let isBool: Bool
    /// Whether this stands for one lane although the rule speaks of vectors: below `ramp` and `broadcast`.
    public let inLane: Bool
    /// Whether no variable occurs, only constants, literals and the number of lanes.
    public let isConstant: Bool
    /// The kinds that an expression matching this can have, one bit a kind.
    let kinds: UInt64
    /// The intrinsic of a call.
    let op: Op?

    /// Every name, at its slot.
    public static let names = ["x", "y", "z", "w", "u", "v", "c1", "c2", "c3", "c4", "p", "q", "r"]

    init(_ shape: Shape, _ children: [RulePattern], name: String = "", isBool: Bool, inLane: Bool) {
        self.shape = shape
        self.children = children
        self.name = name
        self.slot = RulePattern.names.firstIndex(of: name) ?? 0
        self.isBool = isBool
        self.inLane = inLane
        let constantKinds =
            UInt64(1) << UInt64(PrimExprKind.intImm.rawValue)
            | UInt64(1) << UInt64(PrimExprKind.broadcast.rawValue)
        var op: Op?
        switch shape {
        case .variable:
            isConstant = false
            kinds = name == "u" || name == "v" ? ~(UInt64(1) << UInt64(PrimExprKind.intImm.rawValue)) : ~0
        case .constant, .literal, .truth, .lanes:
            isConstant = true
            kinds = constantKinds
        case .operation(let kind):
            isConstant = children.allSatisfy { $0.isConstant }
            var accepted = UInt64(1) << UInt64(kind.rawValue)
            // Index sums are built as `x - 3`, which is `x + (-3)` to a rule.
            if kind == .add, case .constant = children[1].shape {
                accepted |= UInt64(1) << UInt64(PrimExprKind.sub.rawValue)
            }
            kinds = accepted
        case .call(let name):
            isConstant = children.allSatisfy { $0.isConstant }
            kinds = UInt64(1) << UInt64(PrimExprKind.call.rawValue)
            Intrinsics.registerAll()
            op = Op.find("tir.\(name)")
        }
        self.op = op
    }

    /// Calls `body` on this and all below, parents first.
    public func visit(_ body: (RulePattern) -> Void) {
        body(self)
        for c in children { c.visit(body) }
    }

    /// The names of variables and constants in order of appearance.
    public var variables: [String] {
        var result: [String] = []
        visit { if !$0.name.isEmpty && !result.contains($0.name) { result.append($0.name) } }
        return result
    }

    /// What the expression that this builds costs: two a node, one a node below `ramp` or `bcast` (a scalar in the
    /// place of a vector), nothing a negation (comparisons take it in), a constant where only constants occur.
    public var cost: Int {
        if isConstant { return inLane ? 1 : 2 }
        let own: Int
        if case .operation(.not) = shape { own = 0 } else { own = inLane ? 1 : 2 }
        return children.reduce(own) { $0 + $1.cost }
    }

    /// The logical opposite of a Boolean pattern.
    var negated: RulePattern {
        func opposite(_ kind: PrimExprKind, _ list: [RulePattern]) -> RulePattern {
            RulePattern(.operation(kind), list, isBool: true, inLane: inLane)
        }
        switch shape {
        case .truth(let b): return RulePattern(.truth(!b), [], isBool: true, inLane: inLane)
        case .operation(.eq): return opposite(.ne, children)
        case .operation(.ne): return opposite(.eq, children)
        case .operation(.lt): return opposite(.ge, children)
        case .operation(.ge): return opposite(.lt, children)
        case .operation(.le): return opposite(.lt, [children[1], children[0]])
        case .operation(.and): return opposite(.or, children.map { $0.negated })
        case .operation(.or): return opposite(.and, children.map { $0.negated })
        case .operation(.broadcast):
            return RulePattern(
                .operation(.broadcast), children.map { $0.negated }, isBool: true, inLane: inLane)
        case .operation(.not): return children[0]
        default: return opposite(.not, [self])
        }
    }

    /// As written in a rule.
    public var text: String { text(0) }

    private func text(_ level: Int) -> String {
        func infix(_ op: String, _ own: Int) -> String {
            let s = "\(children[0].text(own)) \(op) \(children[1].text(own + 1))"
            return own < level ? "(\(s))" : s
        }
        func call(_ f: String) -> String { "\(f)(\(children.map { $0.text(0) }.joined(separator: ", ")))" }
        switch shape {
        case .variable, .constant: return name
        case .literal(let v): return v < 0 ? "(\(v))" : "\(v)"
        case .truth(let b): return b ? "true" : "false"
        case .lanes: return "n"
        case .call(let f): return call(RuleParser.shortNames.first { $0.value == f }?.key ?? f)
        case .operation(let kind):
            switch kind {
            case .or: return infix("||", 1)
            case .and: return infix("&&", 2)
            case .eq: return infix("==", 3)
            case .ne: return infix("!=", 3)
            case .lt: return infix("<", 3)
            case .le: return infix("<=", 3)
            case .gt: return infix(">", 3)
            case .ge: return infix(">=", 3)
            case .add: return infix("+", 4)
            case .sub: return infix("-", 4)
            case .mul: return infix("*", 5)
            case .floorDiv: return infix("//", 5)
            case .floorMod: return infix("%", 5)
            case .not: return "!" + children[0].text(6)
            case .div: return call("tdiv")
            case .mod: return call("tmod")
            case .broadcast: return call("bcast")
            default: return call("\(kind)")
            }
        }
    }
}

/// Reads rules from text; see `RewriteRule` for the language. A rule that does not parse is a mistake in this room.
struct RuleParser {
    static let shortNames: [String: String] = [
        "band": "bitwise_and", "bor": "bitwise_or", "bxor": "bitwise_xor", "bnot": "bitwise_not",
        "shl": "shift_left", "shr": "shift_right", "abs": "abs", "ite": "if_then_else", "likely": "likely",
    ]
    private let tokens: [Substring]
    private var at = 0
    private let text: Substring
    private var laneDepth = 0

    init(_ text: Substring) {
        self.text = text
        var list: [Substring] = []
        var i = text.startIndex
        func isWord(_ c: Character) -> Bool { c.isLetter || c.isNumber || c == "_" }
        while i < text.endIndex {
            let c = text[i]
            if c == " " {
                i = text.index(after: i)
                continue
            }
            var j = text.index(after: i)
            if isWord(c) {
                while j < text.endIndex, isWord(text[j]) { j = text.index(after: j) }
            } else if j < text.endIndex,
                ["->", "//", "==", "!=", "<=", ">=", "&&", "||"].contains(text[i...j])
            {
                j = text.index(after: j)
            }
            list.append(text[i..<j])
            i = j
        }
        tokens = list
    }

    /// The rule `before -> after if condition`.
    mutating func rule() -> (before: RulePattern, after: RulePattern, condition: RulePattern?) {
        let before = expr(0)
        expect("->")
        let after = expr(0)
        var condition: RulePattern?
        if take("if") { condition = expr(0) }
        if at != tokens.count { fail() }
        return (before: before, after: after, condition: condition)
    }

    private func fail() -> Never { internalError("a rewrite rule does not parse: \(text)") }
    private var peek: Substring { at < tokens.count ? tokens[at] : "" }
    private mutating func take(_ t: Substring) -> Bool {
        if peek != t { return false }
        at += 1
        return true
    }
    private mutating func expect(_ t: Substring) { if !take(t) { fail() } }

    private static func infix(_ t: Substring) -> (level: Int, kind: PrimExprKind)? {
        switch t {
        case "||": return (1, .or)
        case "&&": return (2, .and)
        case "==": return (3, .eq)
        case "!=": return (3, .ne)
        case "<": return (3, .lt)
        case "<=": return (3, .le)
        case ">": return (3, .gt)
        case ">=": return (3, .ge)
        case "+": return (4, .add)
        case "-": return (4, .sub)
        case "*": return (5, .mul)
        case "//": return (5, .floorDiv)
        case "%": return (5, .floorMod)
        default: return nil
        }
    }

    private mutating func expr(_ level: Int) -> RulePattern {
        var left = operand()
        while let op = Self.infix(peek), op.level > level {
            at += 1
            left = node(op.kind, [left, expr(op.level)])
        }
        return left
    }

    private func node(_ kind: PrimExprKind, _ children: [RulePattern]) -> RulePattern {
        let isBool: Bool
        switch kind {
        case .eq, .ne, .lt, .le, .gt, .ge, .and, .or, .not: isBool = true
        case .select: isBool = children[1].isBool
        case .broadcast: isBool = children[0].isBool
        default: isBool = false
        }
        return RulePattern(.operation(kind), children, isBool: isBool, inLane: laneDepth > 0)
    }

    private mutating func operand() -> RulePattern {
        let lane = laneDepth > 0
        if take("!") { return node(.not, [operand()]) }
        if take("(") {
            let e = expr(0)
            expect(")")
            return e
        }
        if take("-") {
            guard let v = Int(peek) else { fail() }
            at += 1
            return RulePattern(.literal(-v), [], isBool: false, inLane: lane)
        }
        let t = peek
        at += 1
        if let v = Int(t) { return RulePattern(.literal(v), [], isBool: false, inLane: lane) }
        switch t {
        case "true", "false": return RulePattern(.truth(t == "true"), [], isBool: true, inLane: lane)
        case "n": return RulePattern(.lanes, [], isBool: false, inLane: lane)
        case "p", "q", "r": return RulePattern(.variable, [], name: String(t), isBool: true, inLane: lane)
        case "x", "y", "z", "w", "u", "v":
            return RulePattern(.variable, [], name: String(t), isBool: false, inLane: lane)
        case "c1", "c2", "c3", "c4":
            return RulePattern(.constant, [], name: String(t), isBool: false, inLane: lane)
        default: break
        }
        let vector = t == "ramp" || t == "bcast"
        if vector { laneDepth += 1 }
        expect("(")
        var args = [expr(0)]
        while take(",") { args.append(expr(0)) }
        expect(")")
        if vector { laneDepth -= 1 }
        switch (t, args.count) {
        case ("min", 2): return node(.min, args)
        case ("max", 2): return node(.max, args)
        case ("tdiv", 2): return node(.div, args)
        case ("tmod", 2): return node(.mod, args)
        case ("select", 3): return node(.select, args)
        case ("ramp", 2): return node(.ramp, args)
        case ("bcast", 1): return node(.broadcast, args)
        default:
            guard let f = Self.shortNames[String(t)] else { fail() }
            let isBool = f == "likely" ? args[0].isBool : (f == "if_then_else" ? args[1].isBool : false)
            return RulePattern(.call(f), args, isBool: isBool, inLane: lane)
        }
    }
}
