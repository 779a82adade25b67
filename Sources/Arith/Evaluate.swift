import ApusIR
import ApusRuntime
import ApusTIR

/// The value of an integer or Boolean expression where variables have the given values; nil where a variable has
/// none, a division is by zero, arithmetic overflows 64 bits or a kind is not arithmetic.
///
/// Truth is 1 and 0; `and`, `or`, `if_then_else` do not evaluate what they need not.
public func evaluate(_ e: PrimExpr, _ values: [Var: Int]) -> Int? {
    switch e.kind {
    case .intImm: return e.asInt
    case .variable: return values[unsafeDowncast(e, to: Var.self)]
    case .cast:
        guard e.dtype.isInteger, let v = evaluate(unsafeDowncast(e, to: Cast.self).value, values) else {
            return nil
        }
        return e.dtype.isBool ? (v != 0 ? 1 : 0) : (IntImm.fits(v, e.dtype) ? v : nil)
    case .not: return evaluate(unsafeDowncast(e, to: Not.self).a, values).map { $0 == 0 ? 1 : 0 }
    case .and, .or:
        let op = unsafeDowncast(e, to: BinaryExpr.self)
        guard let a = evaluate(op.a, values) else { return nil }
        if (a != 0) != (e.kind == .and) { return a != 0 ? 1 : 0 }
        return evaluate(op.b, values).map { $0 != 0 ? 1 : 0 }
    case .select:
        let s = unsafeDowncast(e, to: Select.self)
        guard let c = evaluate(s.condition, values) else { return nil }
        return evaluate(c != 0 ? s.trueValue : s.falseValue, values)
    case .let:
        let l = unsafeDowncast(e, to: Let.self)
        guard let v = evaluate(l.value, values) else { return nil }
        var inner = values
        inner[l.variable] = v
        return evaluate(l.body, inner)
    case .call:
        let c = unsafeDowncast(e, to: Call.self)
        switch c.name {
        case "tir.likely": return evaluate(c.args[0], values)
        case "tir.if_then_else":
            guard let v = evaluate(c.args[0], values) else { return nil }
            return evaluate(c.args[v != 0 ? 1 : 2], values)
        default: return nil
        }
    case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge:
        let op = unsafeDowncast(e, to: BinaryExpr.self)
        guard let a = evaluate(op.a, values), let b = evaluate(op.b, values) else { return nil }
        func checked(_ r: (partialValue: Int, overflow: Bool)) -> Int? { r.overflow ? nil : r.partialValue }
        switch e.kind {
        case .add: return checked(a.addingReportingOverflow(b))
        case .sub: return checked(a.subtractingReportingOverflow(b))
        case .mul: return checked(a.multipliedReportingOverflow(by: b))
        case .div: return b == 0 ? nil : checked(a.dividedReportingOverflow(by: b))
        case .mod: return b == 0 ? nil : checked(a.remainderReportingOverflow(dividingBy: b))
        case .floorDiv: return floorDivide(a, b)
        case .floorMod: return floorModulo(a, b)
        case .min: return Swift.min(a, b)
        case .max: return Swift.max(a, b)
        case .eq: return a == b ? 1 : 0
        case .ne: return a != b ? 1 : 0
        case .lt: return a < b ? 1 : 0
        case .le: return a <= b ? 1 : 0
        case .gt: return a > b ? 1 : 0
        default: return a >= b ? 1 : 0
        }
    default: return nil
    }
}
