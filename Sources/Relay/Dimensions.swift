import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// Arithmetic on extents: overflow is an error, sums are kept as linear forms, and expressions stay small (a graph
/// that keeps joining a tensor to itself would otherwise build one of exponential size).
enum Dim {
    static let one: PrimExpr = IntImm(1)
    /// Parts that an extent's expression may have.
    static let maximumParts = 256

    private static func overflow(_ a: PrimExpr, _ b: PrimExpr) -> ApusError {
        ApusError(
            "RELAY009", "an extent is too large", expected: "a 64-bit number", actual: "from \(a) and \(b)")
    }

    static func add(_ a: PrimExpr, _ b: PrimExpr) throws -> PrimExpr {
        if let x = a.asInt, let y = b.asInt {
            let (r, o) = x.addingReportingOverflow(y)
            if o { throw overflow(a, b) }
            return IntImm(r)
        }
        if b.asInt == 0 { return a }
        if a.asInt == 0 { return b }
        var form = LinearForm()
        guard form.add(a, times: 1, depth: 0), form.add(b, times: 1, depth: 0) else { throw tooComplex() }
        return try bounded(form.expression)
    }

    static func add(_ a: PrimExpr, _ b: Int) throws -> PrimExpr { try add(a, IntImm(b)) }

    static func mul(_ a: PrimExpr, _ b: PrimExpr) throws -> PrimExpr {
        if let x = a.asInt, let y = b.asInt {
            let (r, o) = x.multipliedReportingOverflow(by: y)
            if o { throw overflow(a, b) }
            return IntImm(r)
        }
        if a.asInt == 1 { return b }
        if b.asInt == 1 { return a }
        guard let factor = a.asInt ?? b.asInt else { return try bounded(a * b) }
        var form = LinearForm()
        guard form.add(a.asInt == nil ? a : b, times: factor, depth: 0) else { throw tooComplex() }
        return try bounded(form.expression)
    }

    static func mul(_ a: PrimExpr, _ b: Int) throws -> PrimExpr { try mul(a, IntImm(b)) }

    /// `floor(a / b)`, `b` positive.
    static func floorDiv(_ a: PrimExpr, _ b: Int) -> PrimExpr { ApusTIR.floorDiv(a, b) }

    static func product(_ dims: [PrimExpr]) throws -> PrimExpr {
        // Zero first: 0 extents make any product of the others fit.
        if dims.contains(where: { $0.asInt == 0 }) { return IntImm(0) }
        return try dims.reduce(one) { try mul($0, $1) }
    }

    private static func tooComplex() -> ApusError {
        ApusError(
            "RELAY009", "the expression of an extent has become too long",
            expected: "at most \(maximumParts) parts")
    }

    /// `e`, or an error where it has too many parts.
    static func bounded(_ e: PrimExpr) throws -> PrimExpr {
        if e.asInt != nil { return e }
        var budget = maximumParts
        var stack: [PrimExpr] = [e]
        while let next = stack.popLast() {
            budget -= 1
            if budget < 0 { throw tooComplex() }
            ApusTIR.forEachChild(of: next) { stack.append($0) }
        }
        return e
    }

    /// Throws where an extent in `type` has too many parts.
    static func checkBounded(_ type: IRType) throws {
        switch type {
        case let t as TensorType: for d in t.shape { _ = try bounded(d) }
        case let t as TupleType: for f in t.fields { try checkBounded(f) }
        default: break
        }
    }
}

/// `constant + sum factor * term`, to prove dimensions equal without the Arith room's machinery.
struct LinearForm {
    var constant = 0
    var terms: [(term: PrimExpr, factor: Int)] = []

    /// Adds `factor * e`; false where a number overflows or the expression is too deep to look at.
    mutating func add(_ e: PrimExpr, times factor: Int, depth: Int) -> Bool {
        guard depth < 200 else { return false }
        if let v = e.asInt {
            let (product, o1) = v.multipliedReportingOverflow(by: factor)
            let (sum, o2) = constant.addingReportingOverflow(product)
            constant = sum
            return !o1 && !o2
        }
        if let b = e as? BinaryExpr {
            switch e.kind {
            case .add:
                return add(b.a, times: factor, depth: depth + 1) && add(b.b, times: factor, depth: depth + 1)
            case .sub:
                guard factor != .min else { return false }
                return add(b.a, times: factor, depth: depth + 1) && add(b.b, times: -factor, depth: depth + 1)
            case .mul:
                let (x, y) = b.a.asInt != nil ? (b.b, b.a) : (b.a, b.b)
                guard let n = y.asInt else { break }
                let (next, overflow) = factor.multipliedReportingOverflow(by: n)
                return !overflow && add(x, times: next, depth: depth + 1)
            default: break
            }
        }
        for i in terms.indices where terms[i].term === e || structuralEqual(terms[i].term, e) {
            let (sum, overflow) = terms[i].factor.addingReportingOverflow(factor)
            terms[i].factor = sum
            return !overflow
        }
        guard terms.count < Dim.maximumParts / 4 else { return false }
        terms.append((term: e, factor: factor))
        return true
    }

    /// The form as an expression: terms in order of first occurrence, the constant last.
    var expression: PrimExpr {
        var result: PrimExpr?
        for t in terms where t.factor != 0 {
            let part = t.factor == 1 ? t.term : t.term * t.factor
            result = result.map { $0 + part } ?? part
        }
        guard let sum = result else { return IntImm(constant) }
        return constant == 0 ? sum : (constant < 0 && constant != .min ? sum - (-constant) : sum + constant)
    }
}
