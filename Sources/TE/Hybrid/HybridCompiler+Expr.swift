import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR

// Expressions of hybrid script.
extension HybridCompiler {
    func expression(_ e: HybridExpr) throws -> HybridValue {
        switch e.kind {
        case .int(let v): return .int(v)
        case .float(let v): return .float(v)
        case .bool(let v): return .bool(v)
        case .string(let s): return .string(s)
        case .tuple(let list): return .tuple(try list.map { try expression($0) })
        case .name(let n): return try lookUp(n, e.span)
        case .attribute(let base, let n): return try attribute(base, n, e.span)
        case .subscripted: return try tensorElement(e)
        case .call(let callee, let arguments):
            guard let name = HybridParser.lastName(callee) else {
                throw fail("TE057", "only functions can be called", e.span)
            }
            return try call(name, arguments, e.span, whole: false, naming: "tensor")
        case .unary(let op, let a): return try unary(op, try expression(a), e.span)
        case .binary(let op, let a, let b):
            if op == "and" || op == "or" { return try logic(op, a, b) }
            return try arithmetic(op, try expression(a), try expression(b), e.span)
        case .compare(let operands, let operators):
            var result: HybridValue = .bool(true)
            var left = try expression(operands[0])
            for (op, o) in zip(operators, operands.dropFirst()) {
                let right = try expression(o)
                result = try conjunction(result, try comparison(op, left, right, e.span), e.span)
                left = right
            }
            return result
        case .conditional(let condition, let yes, let no):
            switch try truth(try expression(condition), condition.span) {
            case .bool(let v): return try expression(v ? yes : no)
            case .expr(let c):
                let a = try guarded { try expression(yes) }
                let b = try guarded { try expression(no) }
                return try choice(c, a, b, e.span)
            default: internalError("a truth value is neither known nor an expression")
            }
        }
    }

    private func lookUp(_ n: String, _ span: Span) throws -> HybridValue {
        if let v = names.value(n) { return v }
        if let constant = module.constants[n] { return try HybridCompiler.constant(constant) }
        if let place = names.lost(n) {
            throw fail(
                "TE056", "`\(n)` has a value only in the block that starts its life, at \(place)", span,
                hint: "assign it before the loop or the branch")
        }
        if frame.assignments[n] != nil {
            throw fail("TE056", "`\(n)` is used before it is assigned", span)
        }
        throw fail(
            "TE056", "`\(n)` is not defined", span,
            hint: "names are parameters, assigned names, loop variables and constants given to `parse`")
    }

    private func attribute(_ base: HybridExpr, _ n: String, _ span: Span) throws -> HybridValue {
        let value = try expression(base)
        if case .tensor(let b, _, let indices) = value, indices.isEmpty {
            if n == "shape" { return .tuple(b.shape.map { d in d.asInt.map { .int($0) } ?? .expr(d) }) }
            if n == "dtype" { return .string("\(b.dtype)") }
        }
        throw fail("TE068", "\(value.what) has no `\(n)`", span, expected: "`shape` or `dtype` of a tensor")
    }

    /// `base[indices]`: an element of a tuple, or a tensor with the indices given so far.
    func tensorElement(_ e: HybridExpr) throws -> HybridValue {
        guard case .subscripted(let base, let list) = e.kind else { return try expression(e) }
        switch try expression(base) {
        case .tuple(let values):
            guard list.count == 1, case .int(let i) = try expression(list[0]), values.indices.contains(i)
            else {
                throw fail(
                    "TE055", "a tuple is indexed by a number known when the script is compiled", e.span,
                    expected: "0 to \(values.count - 1)")
            }
            return values[i]
        case .tensor(let b, let role, var indices):
            guard indices.count + list.count <= b.rank else {
                throw fail(
                    "TE055", "`\(b.name)` has fewer axes than indices are given", e.span,
                    expected: "\(b.rank)",
                    actual: "\(indices.count + list.count)")
            }
            for i in list {
                let value = try index(try expression(i), i.span)
                if let n = value.asInt, let d = b.shape[indices.count].asInt, n < 0 || n >= d {
                    throw fail(
                        "TE055", "an index of `\(b.name)` is out of range on axis \(indices.count)", i.span,
                        expected: d > 0 ? "0 to \(d - 1)" : "no access: the axis has no elements",
                        actual: "\(n)")
                }
                indices.append(value)
            }
            return .tensor(b, role, indices)
        case let other:
            throw fail("TE055", "\(other.what) has no elements", e.span, expected: "a tensor or a shape")
        }
    }

    // MARK: Values

    /// Loads what stands for memory: an element, a variable.
    func loaded(_ v: HybridValue, _ span: Span) throws -> HybridValue {
        switch v {
        case .variable(let b): return .expr(BufferLoad(b, [IntImm(0)]))
        case .tensor(let b, _, let indices) where indices.count == b.rank && !indices.isEmpty:
            return .expr(BufferLoad(b, indices))
        default: return v
        }
    }

    /// A scalar: a literal or an expression. TE060 for what is none.
    func scalar(_ v: HybridValue, _ span: Span) throws -> HybridValue {
        let value = try loaded(v, span)
        switch value {
        case .int, .float, .bool, .expr: return value
        case .tensor(let b, _, let indices):
            if b.rank == 0 { return .expr(BufferLoad(b, [])) }
            throw fail(
                "TE060", "`\(b.name)` is a tensor where a value is needed", span,
                expected: "\(b.rank) indices",
                actual: "\(indices.count)")
        default:
            throw fail(
                "TE060", "\(value.what) cannot be used here", span, expected: "a number or a truth value")
        }
    }

    /// A scalar with a type of its own.
    func expr(_ v: HybridValue, _ span: Span) throws -> PrimExpr {
        switch try scalar(v, span) {
        case .int(let n): return IntImm(n)
        case .float(let x): return FloatImm(x, dtype: .float32)
        case .bool(let b): return b ? trueExpr : falseExpr
        case .expr(let e): return e
        default: internalError("a scalar of another kind")
        }
    }

    /// An index or an extent: an integer, as int64.
    func index(_ v: HybridValue, _ span: Span) throws -> PrimExpr {
        let e = try expr(v, span)
        guard e.dtype.isInteger, !e.dtype.isBool, e.dtype.isScalar else {
            throw fail("TE055", "an index is an integer", span, actual: "\(e.dtype)")
        }
        return cast(.index, e)
    }

    /// A value as it is stored in memory of type `dtype`: wider types take narrower values, floats take integers.
    func converted(_ v: HybridValue, _ dtype: DataType, _ span: Span) throws -> PrimExpr {
        func refused(_ actual: String) -> ApusError {
            fail(
                "TE061", "the value does not fit where it is stored", span, expected: "\(dtype)",
                actual: actual,
                hint: "say the conversion: \(dtype)(…)")
        }
        switch try scalar(v, span) {
        case .int(let n):
            if dtype.isFloat { return FloatImm(Double(n), dtype: dtype) }
            guard !dtype.isBool, IntImm.fits(n, dtype) else { throw refused("\(n)") }
            return IntImm(n, dtype: dtype)
        case .float(let x):
            guard dtype.isFloat else { throw refused("\(x)") }
            return FloatImm(x, dtype: dtype)
        case .bool(let b):
            guard dtype.isBool else { throw refused(b ? "True" : "False") }
            return b ? trueExpr : falseExpr
        case .expr(let e):
            if e.dtype == dtype { return e }
            guard e.dtype.isScalar, !e.dtype.isBool, !dtype.isBool, promoted(e.dtype, dtype) == dtype else {
                throw refused("\(e.dtype)")
            }
            return cast(dtype, e)
        default: internalError("a scalar of another kind")
        }
    }

    /// Two numbers of one type; at least one is no literal.
    func matched(_ a: HybridValue, _ b: HybridValue, _ span: Span) throws -> (PrimExpr, PrimExpr) {
        func literal(_ v: HybridValue, beside other: PrimExpr) throws -> (PrimExpr, PrimExpr) {
            let type = other.dtype.isBool ? DataType.index : other.dtype
            let other = cast(type, other)
            switch v {
            case .int(let n):
                if type.isFloat { return (FloatImm(Double(n), dtype: type), other) }
                guard IntImm.fits(n, type) else {
                    throw fail(
                        "TE061", "the number does not fit the type beside it", span, expected: "\(type)",
                        actual: "\(n)")
                }
                return (IntImm(n, dtype: type), other)
            case .float(let x):
                if type.isFloat { return (FloatImm(x, dtype: type), other) }
                return (FloatImm(x, dtype: .float32), cast(.float32, other))
            case .bool(let v):
                return ApusTIR.matched(IntImm(v ? 1 : 0, dtype: type.isFloat ? .index : type), other)
            default: internalError("no literal")
            }
        }
        let x = try scalar(a, span)
        let y = try scalar(b, span)
        if case .expr(let e) = y, x.isLiteral { return try literal(x, beside: e) }
        if case .expr(let e) = x, y.isLiteral {
            let (q, p) = try literal(y, beside: e)
            return (p, q)
        }
        let p = try expr(x, span)
        let q = try expr(y, span)
        // Arithmetic of truth values is that of integers.
        if p.dtype.isBool && q.dtype.isBool { return (cast(.index, p), cast(.index, q)) }
        return ApusTIR.matched(p, q)
    }

    // MARK: Logic

    /// A value as a condition: decided, or a Boolean expression.
    func truth(_ v: HybridValue, _ span: Span) throws -> HybridValue {
        switch try scalar(v, span) {
        case .int(let n): return .bool(n != 0)
        case .float(let x): return .bool(x != 0)
        case .bool(let b): return .bool(b)
        case .expr(let e):
            let c = e.dtype.isBool ? e : e .!= const(0, e.dtype)
            if let n = c.asInt { return .bool(n != 0) }
            return .expr(c)
        default: internalError("a scalar of another kind")
        }
    }

    private func conjunction(_ a: HybridValue, _ b: HybridValue, _ span: Span) throws -> HybridValue {
        if case .bool(let v) = a { return v ? b : a }
        if case .bool(let v) = b { return v ? a : b }
        return .expr(and(try expr(a, span), try expr(b, span)))
    }

    private func logic(_ op: String, _ a: HybridExpr, _ b: HybridExpr) throws -> HybridValue {
        let left = try truth(try expression(a), a.span)
        if case .bool(let v) = left {
            return v == (op == "or") ? left : try truth(try expression(b), b.span)
        }
        let right = try guarded { try truth(try expression(b), b.span) }
        if op == "and" { return try conjunction(left, right, a.span) }
        if case .bool(let v) = right { return v ? right : left }
        return .expr(or(try expr(left, a.span), try expr(right, b.span)))
    }

    func comparison(_ op: String, _ a: HybridValue, _ b: HybridValue, _ span: Span) throws -> HybridValue {
        let x = try scalar(a, span)
        let y = try scalar(b, span)
        if x.isLiteral && y.isLiteral { return .bool(HybridLiteral.compare(op, x, y)) }
        let (p, q) = try matched(x, y, span)
        let kinds: [String: PrimExprKind] = [
            "<": .lt, "<=": .le, ">": .gt, ">=": .ge, "==": .eq, "!=": .ne,
        ]
        guard let kind = kinds[op] else { internalError("no comparison \(op)") }
        return .expr(binary(kind, p, q))
    }

    /// `condition ? a : b`
    func choice(_ condition: PrimExpr, _ a: HybridValue, _ b: HybridValue, _ span: Span) throws -> HybridValue
    {
        let x = try scalar(a, span)
        let y = try scalar(b, span)
        let p: PrimExpr
        let q: PrimExpr
        if x.isLiteral && y.isLiteral {
            if case .bool = x, case .bool = y {
                p = try expr(x, span)
                q = try expr(y, span)
            } else {
                (p, q) = try matched(.expr(try expr(x, span)), .expr(try expr(y, span)), span)
            }
        } else if case .expr(let e) = x, case .expr(let f) = y, e.dtype.isBool, f.dtype.isBool {
            (p, q) = (e, f)
        } else {
            (p, q) = try matched(x, y, span)
        }
        // Only the chosen side is evaluated: the other may read what is not there.
        return .expr(ifThenElse(condition, p, q))
    }

    // MARK: Arithmetic

    func unary(_ op: String, _ v: HybridValue, _ span: Span) throws -> HybridValue {
        let x = try scalar(v, span)
        switch op {
        case "not":
            switch try truth(x, span) {
            case .bool(let b): return .bool(!b)
            case .expr(let e): return .expr(not(e))
            default: internalError("a truth value is neither known nor an expression")
            }
        case "+": return x
        case "-":
            switch x {
            case .int(let n):
                guard n != .min else { throw fail("TE062", "the number is too great", span) }
                return .int(-n)
            case .float(let f): return .float(-f)
            case .bool(let b): return .int(b ? -1 : 0)
            case .expr(let e): return .expr(-(e.dtype.isBool ? cast(.index, e) : e))
            default: internalError("a scalar of another kind")
            }
        default:
            if case .int(let n) = x { return .int(~n) }
            let e = try expr(x, span)
            guard e.dtype.isInteger, !e.dtype.isBool else {
                throw fail("TE060", "`~` is for integers", span, actual: "\(e.dtype)")
            }
            return .expr(bitwise("bitwise_not", e))
        }
    }

    func arithmetic(_ op: String, _ a: HybridValue, _ b: HybridValue, _ span: Span) throws -> HybridValue {
        let x = try scalar(a, span)
        let y = try scalar(b, span)
        if x.isLiteral && y.isLiteral {
            guard let r = HybridLiteral.arithmetic(op, x, y) else {
                throw fail(
                    "TE062", "the arithmetic of these numbers has no result", span,
                    actual: "an overflow, a division by 0 or an operator that they do not have")
            }
            return r
        }
        if ["&", "|", "^"].contains(op), case .expr(let p) = x, case .expr(let q) = y, p.dtype.isBool,
            q.dtype.isBool
        {
            switch op {
            case "&": return .expr(and(p, q))
            case "|": return .expr(or(p, q))
            default: return .expr(p .!= q)
            }
        }
        let (p, q) = try matched(x, y, span)
        let float = p.dtype.isFloat
        switch op {
        case "+": return .expr(p + q)
        case "-": return .expr(p - q)
        case "*": return .expr(p * q)
        case "/":
            guard float else {
                throw fail(
                    "TE063", "`/` of two integers", span, expected: "a floating operand",
                    actual: "\(p.dtype)",
                    hint: "`//` divides integers; float32(x) / y divides as floats")
            }
            return .expr(p / q)
        case "//": return .expr(float ? ApusTIR.unary("floor", p / q) : floorDiv(p, q))
        case "%": return .expr(float ? p - ApusTIR.unary("floor", p / q) * q : floorMod(p, q))
        case "**": return try power(p, q, y, span)
        default:
            let functions = [
                "&": "bitwise_and", "|": "bitwise_or", "^": "bitwise_xor", "<<": "shift_left",
                ">>": "shift_right",
            ]
            guard let f = functions[op], !float else {
                throw fail("TE060", "`\(op)` is for integers", span, actual: "\(p.dtype)")
            }
            return .expr(bitwise(f, p, q))
        }
    }

    private func power(_ p: PrimExpr, _ q: PrimExpr, _ exponent: HybridValue, _ span: Span) throws
        -> HybridValue
    {
        if p.dtype.isFloat { return .expr(pow(p, q)) }
        guard case .int(let n) = exponent, (0...64).contains(n) else {
            throw fail(
                "TE060", "integers are raised to literal powers only", span, expected: "0 to 64",
                hint: "float32(x) ** y raises floats")
        }
        var result: PrimExpr = const(1, p.dtype)
        for _ in 0..<n { result = result * p }
        return .expr(result)
    }
}

/// Arithmetic of literals, by Python's rules.
enum HybridLiteral {
    private static func double(_ v: HybridValue) -> Double {
        switch v {
        case .int(let n): return Double(n)
        case .float(let x): return x
        case .bool(let b): return b ? 1 : 0
        default: return .nan
        }
    }

    private static func int(_ v: HybridValue) -> Int? {
        switch v {
        case .int(let n): return n
        case .bool(let b): return b ? 1 : 0
        default: return nil
        }
    }

    static func compare(_ op: String, _ a: HybridValue, _ b: HybridValue) -> Bool {
        func holds<T: Comparable>(_ x: T, _ y: T) -> Bool {
            switch op {
            case "<": return x < y
            case "<=": return x <= y
            case ">": return x > y
            case ">=": return x >= y
            case "==": return x == y
            default: return x != y
            }
        }
        if let x = int(a), let y = int(b) { return holds(x, y) }
        return holds(double(a), double(b))
    }

    /// nil where there is no result.
    static func arithmetic(_ op: String, _ a: HybridValue, _ b: HybridValue) -> HybridValue? {
        if op != "/", let x = int(a), let y = int(b) { return integer(op, x, y) }
        let x = double(a)
        let y = double(b)
        let r: Double
        switch op {
        case "+": r = x + y
        case "-": r = x - y
        case "*": r = x * y
        case "/":
            if y == 0 { return nil }
            r = x / y
        case "//":
            if y == 0 { return nil }
            r = (x / y).rounded(.down)
        case "%":
            if y == 0 { return nil }
            r = x - (x / y).rounded(.down) * y
        default: return nil
        }
        return r.isFinite ? .float(r) : nil
    }

    private static func integer(_ op: String, _ x: Int, _ y: Int) -> HybridValue? {
        func checked(_ r: (partialValue: Int, overflow: Bool)) -> HybridValue? {
            r.overflow ? nil : .int(r.partialValue)
        }
        switch op {
        case "+": return checked(x.addingReportingOverflow(y))
        case "-": return checked(x.subtractingReportingOverflow(y))
        case "*": return checked(x.multipliedReportingOverflow(by: y))
        case "//": return floorDivide(x, y).map { .int($0) }
        case "%": return floorModulo(x, y).map { .int($0) }
        case "**":
            guard (0...64).contains(y) else { return nil }
            var r = 1
            for _ in 0..<y {
                let next = r.multipliedReportingOverflow(by: x)
                if next.overflow { return nil }
                r = next.partialValue
            }
            return .int(r)
        case "&": return .int(x & y)
        case "|": return .int(x | y)
        case "^": return .int(x ^ y)
        case "<<":
            guard (0..<63).contains(y) else { return nil }
            let r = x.multipliedReportingOverflow(by: 1 << y)
            return checked(r)
        case ">>": return (0..<64).contains(y) ? .int(x >> y) : nil
        default: return nil
        }
    }
}
