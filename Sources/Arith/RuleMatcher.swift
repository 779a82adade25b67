import ApusIR
import ApusRuntime
import ApusTIR

/// Binds the variables of a rule while its left side is compared with an expression, and builds the right side.
struct RuleMatcher {
    private var values: ContiguousArray<PrimExpr?> = ContiguousArray(
        repeating: nil, count: RulePattern.names.count)
    private var bound: UInt32 = 0
    /// The type that the integer variables stand for, and the lanes of the rule; known from the first one bound.
    private(set) var element: DataType?
    private var lanes = 0
    private var boolLanes = 0
    private var acceptsFloat = false

    mutating func reset(for rule: RewriteRule) {
        bound = 0
        element = nil
        lanes = 0
        boolLanes = 0
        acceptsFloat = rule.domain.contains(.float)
    }

    private mutating func accept(_ d: DataType, inLane: Bool) -> Bool {
        let e = d.element
        if let element {
            if element != e { return false }
        } else {
            // Odd widths are not among those that the rules are proved for.
            guard
                (e.isInteger && !e.isBool && e.bits >= 8 && e.bits & (e.bits - 1) == 0)
                    || (acceptsFloat && e.isFloat)
            else { return false }
            element = e
        }
        if inLane { return d.isScalar }
        if lanes == 0 { lanes = Int(d.lanes) }
        return lanes == Int(d.lanes)
    }

    private mutating func acceptBool(_ d: DataType, inLane: Bool) -> Bool {
        guard d.isBool || (d.isUInt && d.bits == 1) else { return false }
        if inLane { return d.isScalar }
        if boolLanes == 0 { boolLanes = Int(d.lanes) }
        return boolLanes == Int(d.lanes)
    }

    mutating func match(_ pattern: RulePattern, _ e: PrimExpr) -> Bool {
        switch pattern.shape {
        case .variable, .constant:
            let bit = UInt32(1) << UInt32(pattern.slot)
            let constant = pattern.shape == .constant
            if constant {
                guard let v = ConstFold.constant(e) else { return false }
                if bound & bit != 0 { return values[pattern.slot].flatMap(ConstFold.constant) == v }
            } else if bound & bit != 0 {
                return values[pattern.slot].map { sameExpr($0, e) } ?? false
            }
            if pattern.isBool {
                guard acceptBool(e.dtype, inLane: pattern.inLane) else { return false }
            } else {
                guard accept(e.dtype, inLane: pattern.inLane) else { return false }
                // `u` and `v` are no constants.
                if pattern.slot == 4 || pattern.slot == 5, ConstFold.constant(e) != nil { return false }
            }
            values[pattern.slot] = e
            bound |= bit
            return true
        case .literal(let wanted):
            guard let v = ConstFold.constant(e), accept(e.dtype, inLane: pattern.inLane), let element else {
                return false
            }
            return v == ConstFold.wrapped(wanted, element)
        case .truth(let wanted):
            guard let v = ConstFold.constant(e), acceptBool(e.dtype, inLane: pattern.inLane) else {
                return false
            }
            return (v != 0) == wanted
        case .lanes: return false
        case .operation(let kind):
            let c = pattern.children
            if e.kind != kind {
                guard kind == .add, e.kind == .sub, case .constant = c[1].shape, e.dtype == .index else {
                    return false
                }
                let s = unsafeDowncast(e, to: BinaryExpr.self)
                guard let k = s.b.asInt, k != .min else { return false }
                return match(c[0], s.a) && match(c[1], IntImm(-k))
            }
            switch kind {
            case .not: return match(c[0], unsafeDowncast(e, to: Not.self).a)
            case .select:
                let s = unsafeDowncast(e, to: Select.self)
                return match(c[0], s.condition) && match(c[1], s.trueValue) && match(c[2], s.falseValue)
            case .ramp:
                let r = unsafeDowncast(e, to: Ramp.self)
                return accept(e.dtype, inLane: false) && match(c[0], r.base) && match(c[1], r.stride)
            case .broadcast:
                guard c[0].isBool ? acceptBool(e.dtype, inLane: false) : accept(e.dtype, inLane: false) else {
                    return false
                }
                return match(c[0], unsafeDowncast(e, to: Broadcast.self).value)
            default:
                let b = unsafeDowncast(e, to: BinaryExpr.self)
                return match(c[0], b.a) && match(c[1], b.b)
            }
        case .call:
            guard e.kind == .call else { return false }
            let call = unsafeDowncast(e, to: Call.self)
            guard call.op === pattern.op, call.args.count == pattern.children.count else { return false }
            for (p, a) in zip(pattern.children, call.args) where !match(p, a) { return false }
            return true
        }
    }

    /// Whether the rule may be used for the type that was bound; `isTame` is asked for index types only.
    func holds(_ rule: RewriteRule, isTame: () -> Bool) -> Bool {
        guard let element else { return true }
        let d = rule.domain
        if element == .index {
            let both: RewriteRule.Domain = [.index, .signed]
            if d.isSuperset(of: both) { return true }
            return isTame() ? d.contains(.index) : d.contains(.signed)
        }
        if element.isFloat { return d.contains(.float) }
        return d.contains(element.isInt ? .signed : .unsigned)
    }

    /// What the variables stand for, in the order of their names.
    var operands: [PrimExpr] {
        values.indices.compactMap { bound & (1 << UInt32($0)) != 0 ? values[$0] : nil }
    }

    /// The value of a constant pattern; nil where it has none.
    func evaluate(_ pattern: RulePattern) -> Int? {
        switch pattern.shape {
        case .constant: return values[pattern.slot].flatMap(ConstFold.constant)
        case .literal(let v): return ConstFold.wrapped(v, element ?? .index)
        case .truth(let b): return b ? 1 : 0
        case .lanes: return lanes
        case .variable: return nil
        case .operation(let kind):
            let c = pattern.children
            switch kind {
            case .not: return evaluate(c[0]).map { $0 == 0 ? 1 : 0 }
            case .and, .or:
                guard let a = evaluate(c[0]) else { return nil }
                if (a != 0) != (kind == .and) { return a }
                return evaluate(c[1])
            case .broadcast: return evaluate(c[0])
            case .select, .ramp: return nil
            default:
                guard let a = evaluate(c[0]), let b = evaluate(c[1]) else { return nil }
                return ConstFold.binary(kind, a, b, element ?? .index)
            }
        case .call(let name):
            guard let a = evaluate(pattern.children[0]) else { return nil }
            guard let b = pattern.children.count > 1 ? evaluate(pattern.children[1]) : 0 else { return nil }
            return ConstFold.intrinsic(name, a, b, element ?? .index)
        }
    }

    /// The expression of a pattern; `lanes` are those of the root. Nil where a constant has no value or types do not
    /// fit.
    func build(_ pattern: RulePattern, lanes: Int) -> PrimExpr? {
        let own = pattern.inLane ? 1 : lanes
        if pattern.isConstant {
            guard let v = evaluate(pattern) else { return nil }
            return ConstFold.make(v, (pattern.isBool ? .bool : element ?? .index).with(lanes: own))
        }
        switch pattern.shape {
        case .variable: return values[pattern.slot]
        case .constant, .literal, .truth, .lanes: return nil
        case .operation(let kind):
            guard let a = build(pattern.children[0], lanes: lanes) else { return nil }
            switch kind {
            case .not: return Not(a)
            case .broadcast: return lanes == 1 ? a : Broadcast(a, lanes)
            default: break
            }
            guard let b = build(pattern.children[1], lanes: lanes) else { return nil }
            if kind == .select {
                guard let c = build(pattern.children[2], lanes: lanes), b.dtype == c.dtype else { return nil }
                return a.dtype.lanes == 1 || a.dtype.lanes == b.dtype.lanes ? Select(a, b, c) : nil
            }
            guard a.dtype == b.dtype else { return nil }
            if kind == .ramp { return lanes == 1 ? a : Ramp(a, b, lanes) }
            return BinaryExpr.raw(kind, a, b)
        case .call(let name):
            var args: [PrimExpr] = []
            for c in pattern.children {
                guard let a = build(c, lanes: lanes) else { return nil }
                args.append(a)
            }
            return intrinsic(name, args.last?.dtype ?? .bool, args)
        }
    }
}
