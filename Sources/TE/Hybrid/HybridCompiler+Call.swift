import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR

/// The functions that hybrid script has without defining them.
enum HybridBuiltins {
    /// Of one floating value; an integer becomes float32.
    static let math: Set<String> = [
        "exp", "exp2", "exp10", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "tanh", "sigmoid", "erf",
        "gelu",
        "sin", "cos",
        "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "floor", "ceil", "trunc",
        "round",
        "nearbyint",
    ]
    static let predicates: Set<String> = ["isnan", "isinf", "isfinite"]
    /// Of two floating values.
    static let math2: Set<String> = ["power", "pow", "atan2", "fmod", "hypot", "copysign"]

    /// The element type of this name, if it is one.
    static func dtype(_ name: String) -> DataType? {
        guard let t = DataType(name), t.isScalar, t.isFloat || t.isInteger, !t.isHandle else { return nil }
        return t
    }
}

// Calls: what hybrid script knows, and functions of the same text, which are compiled in place.
extension HybridCompiler {
    /// - Parameters:
    ///   - whole: the call is all of a statement's right side, so that the function may do anything.
    ///   - naming: what memory is called that the function makes.
    func call(
        _ name: String, _ arguments: [HybridExpr], _ span: Span, whole: Bool, naming: String
    ) throws -> HybridValue {
        if let d = module.definitions.first(where: { $0.name == name }) {
            return try inlined(d, arguments, span, whole: whole)
        }
        if name == "likely" || name == "if_then_else" || name == "select" {
            return try conditional(name, arguments, span)
        }
        let values = try arguments.map { try expression($0) }
        func count(_ allowed: ClosedRange<Int>) throws {
            guard allowed.contains(values.count) else {
                throw fail(
                    "TE057", "`\(name)` takes another number of arguments", span,
                    expected: allowed.count == 1
                        ? "\(allowed.lowerBound)" : "\(allowed.lowerBound) to \(allowed.upperBound)",
                    actual: "\(values.count)")
            }
        }
        switch name {
        case "output_tensor":
            try count(2...2)
            return try makeOutput(naming, try shape(values[0], span), try type(values[1], span), span)
        case "allocate":
            try count(1...3)
            var scope = "global"
            if values.count == 3 {
                guard case .string(let s) = values[2] else {
                    throw fail("TE057", "a memory scope is a string", span, actual: values[2].what)
                }
                scope = s
            }
            let dtype = values.count > 1 ? try type(values[1], span) : .float32
            return .tensor(
                try allocate(naming, try shape(values[0], span), dtype, scope: scope, span), .local, [])
        case "len":
            try count(1...1)
            switch values[0] {
            case .tuple(let list): return .int(list.count)
            case .tensor(let b, _, let indices) where indices.count < b.rank:
                let d = b.shape[indices.count]
                return d.asInt.map { .int($0) } ?? .expr(d)
            default:
                throw fail("TE057", "\(values[0].what) has no length", span, expected: "a tensor or a shape")
            }
        case "max_num_threads":
            try count(0...1)
            return .int(module.maxNumThreads)
        case "ceil_div":
            try count(2...2)
            let sum = try arithmetic("-", try arithmetic("+", values[0], values[1], span), .int(1), span)
            return try arithmetic("//", sum, values[1], span)
        case "max", "min":
            try count(1...64)
            return try values.dropFirst().reduce(values[0]) { try extremum(name, $0, $1, span) }
        case "abs", "fabs":
            try count(1...1)
            let e = try number(values[0], span)
            return .expr(e.dtype.isFloat ? ApusTIR.unary("fabs", e) : ApusTIR.unary("abs", e))
        case "popcount":
            try count(1...1)
            let e = try number(values[0], span)
            guard e.dtype.isInteger else {
                throw fail("TE060", "`popcount` is for integers", span, actual: "\(e.dtype)")
            }
            return .expr(bitwise("popcount", e))
        default: break
        }
        if HybridBuiltins.math.contains(name) {
            try count(1...1)
            return .expr(ApusTIR.unary(name, try floating(values[0], span)))
        }
        if HybridBuiltins.predicates.contains(name) {
            try count(1...1)
            return .expr(intrinsic(name, .bool, [try floating(values[0], span)]))
        }
        if HybridBuiltins.math2.contains(name) {
            try count(2...2)
            var (a, b) = try matched(.expr(try number(values[0], span)), values[1], span)
            if !a.dtype.isFloat { (a, b) = (cast(.float32, a), cast(.float32, b)) }
            return .expr(intrinsic(name == "power" ? "pow" : name, a.dtype, [a, b]))
        }
        if let dtype = HybridBuiltins.dtype(name) {
            try count(1...1)
            return .expr(cast(dtype, try expr(values[0], span)))
        }
        throw fail(
            "TE057", "there is no function `\(name)`", span,
            expected: "a function of this script, an element type, or one of "
                + HybridCompiler.known.joined(separator: ", "))
    }

    private static let known: [String] =
        ([
            "output_tensor", "allocate", "len", "likely", "if_then_else", "ceil_div", "max_num_threads",
            "max", "min", "abs",
            "popcount",
        ] + HybridBuiltins.math + HybridBuiltins.math2 + HybridBuiltins.predicates).sorted()

    private func conditional(_ name: String, _ arguments: [HybridExpr], _ span: Span) throws -> HybridValue {
        let n = name == "likely" ? 1 : 3
        guard arguments.count == n else {
            throw fail(
                "TE057", "`\(name)` takes another number of arguments", span, expected: "\(n)",
                actual: "\(arguments.count)")
        }
        let condition = try truth(try expression(arguments[0]), span)
        if name == "likely" {
            if case .expr(let e) = condition { return .expr(intrinsic("likely", .bool, [e])) }
            return condition
        }
        switch condition {
        case .bool(let v): return try expression(arguments[v ? 1 : 2])
        case .expr(let c):
            let a = try guarded { try expression(arguments[1]) }
            return try choice(c, a, try guarded { try expression(arguments[2]) }, span)
        default: internalError("a truth value is neither known nor an expression")
        }
    }

    private func extremum(_ name: String, _ a: HybridValue, _ b: HybridValue, _ span: Span) throws
        -> HybridValue
    {
        let x = try scalar(a, span)
        let y = try scalar(b, span)
        if x.isLiteral && y.isLiteral {
            return HybridLiteral.compare(name == "max" ? ">=" : "<=", x, y) ? x : y
        }
        let (p, q) = try matched(x, y, span)
        return .expr(name == "max" ? maximum(p, q) : minimum(p, q))
    }

    private func number(_ v: HybridValue, _ span: Span) throws -> PrimExpr {
        let e = try expr(v, span)
        return e.dtype.isBool ? cast(.index, e) : e
    }

    private func floating(_ v: HybridValue, _ span: Span) throws -> PrimExpr {
        let e = try expr(v, span)
        return e.dtype.isFloat ? e : cast(.float32, e)
    }

    private func shape(_ v: HybridValue, _ span: Span) throws -> [PrimExpr] {
        var list: [HybridValue] = [v]
        if case .tuple(let l) = v { list = l }
        return try list.map { d in
            let e = try index(d, span)
            if let n = e.asInt, n < 0 { throw fail("TE055", "a dimension is negative", span, actual: "\(n)") }
            return e
        }
    }

    private func type(_ v: HybridValue, _ span: Span) throws -> DataType {
        guard case .string(let s) = v, let t = HybridBuiltins.dtype(s) else {
            throw fail(
                "TE057", "no element type", span, expected: "a string such as \"float32\"", actual: v.what)
        }
        return t
    }

    // MARK: Functions of the script

    private func inlined(
        _ d: HybridDefinition, _ arguments: [HybridExpr], _ span: Span, whole: Bool
    ) throws -> HybridValue {
        guard arguments.count == d.parameters.count else {
            throw fail(
                "TE057", "`\(d.name)` takes another number of arguments", span,
                expected: "\(d.parameters.count)",
                actual: "\(arguments.count)")
        }
        guard frames.count < HybridCompiler.maximumCalls else {
            throw fail(
                "TE067", "calls are nested too deep", span,
                expected: "at most \(HybridCompiler.maximumCalls)",
                hint: "a function cannot call itself: it is compiled in place")
        }
        try copy(span)
        let outer = mayEmit
        mayEmit = mayEmit && whole
        defer { mayEmit = outer }
        let scope = Names(nil)
        for (p, a) in zip(d.parameters, arguments) {
            let v = try expression(a)
            // Without statements in between, nothing changes what an argument is.
            scope.values[p] = mayEmit ? try settled(v, p, span) : try loaded(v, span)
        }
        frames.append(Frame(definition: d, names: scope, assignments: HybridCompiler.assignments(d)))
        defer { frames.removeLast() }
        try statements(d.body)
        return frame.result ?? .tuple([])
    }
}
