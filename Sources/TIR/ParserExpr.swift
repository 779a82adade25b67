import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

extension TIRTextParser {
    private func infixOperator() -> (kind: PrimExprKind, precedence: Int)? {
        let t = token
        if t.kind == .word {
            if t.text == "and" { return (.and, TIRPrecedence.and) }
            if t.text == "or" { return (.or, TIRPrecedence.or) }
            return nil
        }
        if t.kind != .sign { return nil }
        switch t.text {
        case "==": return (.eq, TIRPrecedence.comparison)
        case "!=": return (.ne, TIRPrecedence.comparison)
        case "<": return (.lt, TIRPrecedence.comparison)
        case "<=": return (.le, TIRPrecedence.comparison)
        case ">": return (.gt, TIRPrecedence.comparison)
        case ">=": return (.ge, TIRPrecedence.comparison)
        case "+": return (.add, TIRPrecedence.sum)
        case "-": return (.sub, TIRPrecedence.sum)
        case "*": return (.mul, TIRPrecedence.product)
        case "/": return (.div, TIRPrecedence.product)
        case "//": return (.floorDiv, TIRPrecedence.product)
        case "%": return (.floorMod, TIRPrecedence.product)
        default: return nil
        }
    }

    /// An expression whose operators bind at least as tightly as `minimum`.
    func expression(_ minimum: Int = 0) throws -> PrimExpr {
        try nested {
            let left: PrimExpr
            let head = token
            if isWord("not") && minimum <= TIRPrecedence.not {
                advance()
                let place = token
                let a = try expression(TIRPrecedence.not)
                try checkBool(a, place)
                left = located(Not(a), head)
            } else {
                left = try primary()
            }
            return try chain(left, minimum)
        }
    }

    /// The rest of an expression that starts with `left`.
    private func chain(_ left: PrimExpr, _ minimum: Int) throws -> PrimExpr {
        // A chain is a loop, so that only brackets nest.
        var left = left
        while let (kind, precedence) = infixOperator(), precedence >= minimum {
            let place = token
            advance()
            let right = try expression(precedence + 1)
            left = located(try binaryNode(kind, left, right, place), place)
        }
        return left
    }

    private func checkBool(_ e: PrimExpr, _ place: TIRToken) throws {
        if !e.dtype.element.isBool {
            throw failure(
                "TIR103", "a condition is needed here", at: place, expected: "bool", actual: "\(e.dtype)")
        }
    }

    /// Two operands of one type; a plain number takes the type of the other side.
    func unified(_ a: PrimExpr, _ b: PrimExpr, _ place: TIRToken) throws -> (PrimExpr, PrimExpr) {
        if a.dtype == b.dtype { return (a, b) }
        let numeric = !a.dtype.isHandle && !b.dtype.isHandle && !a.dtype.isVoid && !b.dtype.isVoid
        let aLiteral = a.kind == .intImm && a.dtype == .index
        let bLiteral = b.kind == .intImm && b.dtype == .index
        if numeric && (aLiteral || bLiteral) {
            let (x, y) = matched(a, b)
            if x.dtype == y.dtype && (aLiteral ? y === b : x === a) { return (x, y) }
        }
        throw failure(
            "TIR103", "the operands differ in type", at: place, expected: "\(a.dtype)", actual: "\(b.dtype)",
            hint: "write T.Cast(\"\(a.dtype)\", …)")
    }

    private func binaryNode(
        _ kind: PrimExprKind, _ left: PrimExpr, _ right: PrimExpr, _ place: TIRToken
    ) throws -> PrimExpr {
        let (a, b) = try unified(left, right, place)
        switch kind {
        case .and, .or: try checkBool(a, place)
        case .eq, .ne:
            if a.dtype.isVoid { throw failure("TIR103", "a value is needed here", at: place) }
        default:
            if !a.dtype.isInteger && !a.dtype.isFloat {
                throw failure("TIR103", "numbers are needed here", at: place, actual: "\(a.dtype)")
            }
        }
        if kind == .div && place.text == "/" && !a.dtype.isFloat {
            throw failure(
                "TIR103", "`/` divides floats", at: place, actual: "\(a.dtype)",
                hint: "write `//` to round down or T.truncdiv to round to zero")
        }
        return BinaryExpr.raw(kind, a, b)
    }

    private func primary() throws -> PrimExpr {
        let place = token
        return located(try plainPrimary(), place)
    }

    private func plainPrimary() throws -> PrimExpr {
        let place = token
        switch token.kind {
        case .int: return IntImm(try integer())
        case .float:
            guard let v = Float(token.text) else { throw unexpected("a number") }
            advance()
            return FloatImm(Double(v))
        case .string: return StringImm(try string())
        case .sign:
            if isSign("-") {
                if peek(1).kind == .int { return IntImm(try integer()) }
                advance()
                let e = try nested { try primary() }
                if !e.dtype.isInteger && !e.dtype.isFloat {
                    throw failure("TIR103", "a number is needed here", at: place)
                }
                return -e
            }
            if take("(") {
                let e = try expression()
                try expect(")")
                return e
            }
            throw unexpected("an expression")
        case .word:
            if takeWord("True") { return IntImm(1, dtype: .bool) }
            if takeWord("False") { return IntImm(0, dtype: .bool) }
            if isWord("T") && isSign(".", 1) { return try function(of: place) }
            return try reference()
        default: throw unexpected("an expression")
        }
    }

    /// A variable, an element of a buffer, or a buffer's data.
    private func reference() throws -> PrimExpr {
        let place = token
        let n = try name()
        switch lookup(n) {
        case let v as Var: return v
        case let b as Buffer:
            if take(".") {
                try expectWord("data")
                return b.data
            }
            let list = try indices(of: b)
            return BufferLoad(b, list)
        default:
            guard declaring else { throw unknown(n, place) }
            let v = variable(n, PrimType(.index), place)
            declared.append((name: n, variable: v))
            return v
        }
    }

    /// `[i, j]`, checked against the buffer.
    func indices(of b: Buffer) throws -> [PrimExpr] {
        let place = token
        try expect("[")
        var list: [PrimExpr] = []
        if isSign("(") && isSign(")", 1) && isSign("]", 2) {
            at += 3
        } else {
            repeat {
                let p = token
                let e = try expression()
                guard e.dtype.isInteger, !e.dtype.element.isBool else {
                    throw failure("TIR103", "an index is an integer", at: p, actual: "\(e.dtype)")
                }
                list.append(e)
            } while take(",")
            try expect("]")
        }
        guard list.count == b.rank else {
            throw failure(
                "TIR106", "wrong number of indices of `\(b.name)`", at: place, expected: "\(b.rank)",
                actual: "\(list.count)")
        }
        if list.dropLast().contains(where: { $0.dtype.lanes > 1 }) {
            throw failure("TIR103", "only the last index may be a vector", at: place)
        }
        if let last = list.last, Int(last.dtype.lanes) * Int(b.dtype.lanes) > Int(UInt16.max) {
            throw failure("TIR104", "a vector of too many lanes", at: place)
        }
        return list
    }

    // MARK: T.…

    private func lanes() throws -> Int {
        let place = token
        let n = try integer()
        if n < 1 || n > Int(UInt16.max) {
            throw failure("TIR104", "a vector needs 1 to 65535 lanes", at: place, actual: "\(n)")
        }
        return n
    }

    private func scalar(_ e: PrimExpr, _ place: TIRToken) throws {
        guard e.dtype.isScalar else {
            throw failure("TIR103", "a scalar is needed here", at: place, actual: "\(e.dtype)")
        }
    }

    private func function(of place: TIRToken) throws -> PrimExpr {
        at += 2
        guard token.kind == .word else { throw unexpected("a function of T") }
        let word = token.text
        advance()
        try expect("(")
        if let d = DataType(word) { return try constant(d, place) }
        switch word {
        case "min", "max", "truncdiv", "truncmod":
            let a = try expression()
            try expect(",")
            let b = try expression()
            try expect(")")
            let kinds: [String: PrimExprKind] = [
                "min": .min, "max": .max, "truncdiv": .div, "truncmod": .mod,
            ]
            return try binaryNode(kinds[word] ?? .min, a, b, place)
        case "Select":
            let c = try expression()
            try checkBool(c, place)
            try expect(",")
            let a = try expression()
            try expect(",")
            let b = try expression()
            try expect(")")
            let (x, y) = try unified(a, b, place)
            guard c.dtype.lanes == 1 || c.dtype.lanes == x.dtype.lanes else {
                throw failure("TIR103", "the condition has other lanes than the values", at: place)
            }
            return Select(c, x, y)
        case "Cast":
            let d = try dtype()
            try expect(",")
            let e = try expression()
            try expect(")")
            guard d.lanes == e.dtype.lanes else {
                throw failure(
                    "TIR103", "a cast keeps the lanes", at: place, expected: "\(e.dtype.lanes)",
                    actual: "\(d.lanes)")
            }
            return Cast(d, e)
        case "Ramp":
            let base = try expression()
            try scalar(base, place)
            try expect(",")
            let (a, b) = try unified(base, try expression(), place)
            try expect(",")
            let n = try lanes()
            try expect(")")
            guard a.dtype.isInteger || a.dtype.isFloat else {
                throw failure("TIR103", "numbers are needed", at: place)
            }
            return Ramp(a, b, n)
        case "Broadcast":
            let e = try expression()
            try scalar(e, place)
            try expect(",")
            let n = try lanes()
            try expect(")")
            return Broadcast(e, n)
        case "Shuffle": return try shuffle(place)
        case "Let":
            let head = token
            let n = try name()
            let t = take(":") ? try type() : nil
            try expect(",")
            let value = try expression()
            try expect(",")
            return try scope {
                let v = variable(n, t ?? PrimType(value.dtype), head)
                define(n, v)
                let body = try expression()
                try expect(")")
                return Let(v, value, body)
            }
        case "Reduce": return try reduce(place)
        case "var":
            guard declaring else {
                throw failure("TIR108", "a variable is declared by a buffer only", at: place)
            }
            let n = try name()
            try expect(",")
            let v = variable(n, try type(), place)
            try expect(")")
            declared.append((name: n, variable: v))
            return v
        case "op", "call_global":
            let n = try string()
            let arguments = take(",") ? try arguments() : try endOfArguments()
            if word == "call_global" {
                guard let d = arguments.dtype else { throw missingType(place) }
                return Call(d, GlobalVar(n), arguments.args)
            }
            return try call(n, arguments, place)
        default: return try call("tir.\(word)", try arguments(), place)
        }
    }

    private func missingType(_ place: TIRToken) -> ApusError {
        failure("TIR108", "the type of this call must be given", at: place, hint: "add dtype=\"…\"")
    }

    private func endOfArguments() throws -> (args: [PrimExpr], dtype: DataType?) {
        try expect(")")
        return ([], nil)
    }

    /// Arguments up to the closing bracket, the last of which may be `dtype="…"`.
    private func arguments() throws -> (args: [PrimExpr], dtype: DataType?) {
        var args: [PrimExpr] = []
        while !take(")") {
            if isWord("dtype") && isSign("=", 1) {
                at += 2
                let d = try dtype(orVoid: true)
                try expect(")")
                return (args, d)
            }
            args.append(try expression())
            if take(",") { continue }
            try expect(")")
            break
        }
        return (args, nil)
    }

    private func call(
        _ name: String, _ given: (args: [PrimExpr], dtype: DataType?), _ place: TIRToken
    ) throws -> PrimExpr {
        guard let op = Op.find(name) else {
            throw failure("TIR107", "there is no function `\(name)`", at: place)
        }
        guard op.arity.contains(given.args.count) else {
            throw failure(
                "TIR106", "wrong number of arguments of \(name)", at: place,
                expected: op.arity.count == 1
                    ? "\(op.arity.lowerBound)" : "\(op.arity.lowerBound) to \(op.arity.upperBound)",
                actual: "\(given.args.count)")
        }
        let short = name.hasPrefix("tir.") ? String(name.dropFirst(4)) : ""
        guard let d = given.dtype ?? inferredCallType(short, given.args) else { throw missingType(place) }
        return Call(d, op, given.args)
    }

    /// `T.int32(5)`, `T.float32("inf")`
    private func constant(_ d: DataType, _ place: TIRToken) throws -> PrimExpr {
        guard d.isScalar, d.isInteger || d.isFloat else {
            throw failure("TIR103", "a constant has a scalar type", at: place, actual: "\(d)")
        }
        if d.isInteger {
            let v = try integer()
            try expect(")")
            guard IntImm.fits(v, d) else {
                throw failure("TIR104", "a constant that does not fit its type", at: place, actual: "\(v)")
            }
            return IntImm(v, dtype: d)
        }
        guard d.bits == 16 || d.bits == 32 || d.bits == 64 else {
            throw failure("TIR107", "`\(d)` is no type", at: place)
        }
        let v = try float(single: d == .float32)
        try expect(")")
        return FloatImm(v, dtype: d)
    }

    /// A number with a sign, or one of the strings `inf`, `-inf`, `nan`, `nan:bits`.
    func float(single: Bool) throws -> Double {
        if token.kind == .string {
            let place = token
            let s = try string()
            switch s {
            case "inf": return .infinity
            case "-inf": return -.infinity
            case "nan": return .nan
            default:
                if s.hasPrefix("nan:"), let bits = UInt64(s.dropFirst(4), radix: 16),
                    Double(bitPattern: bits).isNaN
                {
                    return Double(bitPattern: bits)
                }
                throw failure("TIR104", "not a number", at: place, actual: String(s.prefix(40)))
            }
        }
        let negative = take("-")
        guard token.kind == .float || token.kind == .int else { throw unexpected("a number") }
        let t = token.text
        // One rounding, from decimal to the type at hand.
        let value = single ? Float(t).map { Double($0) } : Double(t)
        guard let value, value.isFinite else { throw failure("TIR104", "a number out of range") }
        advance()
        return negative ? -value : value
    }

    private func shuffle(_ place: TIRToken) throws -> PrimExpr {
        let vectors = try list()
        try expect(",")
        try expect("[")
        var indices: [Int] = []
        while !take("]") {
            indices.append(try integer())
            if take(",") { continue }
            try expect("]")
            break
        }
        try expect(")")
        guard let first = vectors.first, vectors.allSatisfy({ $0.dtype.element == first.dtype.element })
        else {
            throw failure("TIR103", "a shuffle needs vectors of one element type", at: place)
        }
        let total = vectors.reduce(0) { $0 + Int($1.dtype.lanes) }
        guard !indices.isEmpty, indices.count <= Int(UInt16.max),
            indices.allSatisfy({ $0 >= 0 && $0 < total })
        else {
            throw failure(
                "TIR104", "a shuffle picks a lane that is not there", at: place, expected: "0..<\(total)")
        }
        return Shuffle(vectors, indices)
    }

    /// `[a, b]`
    func list() throws -> [PrimExpr] {
        try expect("[")
        var items: [PrimExpr] = []
        while !take("]") {
            items.append(try expression())
            if take(",") { continue }
            try expect("]")
            break
        }
        return items
    }

    private func reduce(_ place: TIRToken) throws -> PrimExpr {
        let identity = try list()
        try expect(",")
        try expectWord("lambda")
        var heads: [String] = []
        repeat { heads.append(try name()) } while take(",")
        try expect(":")
        guard !identity.isEmpty, heads.count == 2 * identity.count else {
            throw failure("TIR106", "a reducer needs two variables a value", at: place)
        }
        let vars = heads.enumerated().map { i, n in
            variable(n, PrimType(identity[i % identity.count].dtype), place)
        }
        let result: [PrimExpr] = try scope {
            for (n, v) in zip(heads, vars) { define(n, v) }
            try expect("(")
            var items: [PrimExpr] = []
            while !take(")") {
                items.append(try expression())
                if take(",") { continue }
                try expect(")")
                break
            }
            return items
        }
        guard result.count == identity.count else {
            throw failure("TIR106", "a reducer needs tuples of one length", at: place)
        }
        let reducer = CommReducer(
            lhs: Array(vars.prefix(identity.count)), rhs: Array(vars.suffix(identity.count)), result: result,
            identity: identity)
        try expect(",")
        return try scope {
            try expect("[")
            var axis: [IterVar] = []
            while !take("]") {
                axis.append(try iterVar())
                if take(",") { continue }
                try expect("]")
                break
            }
            try expect(",")
            let source = try list()
            var condition: PrimExpr = IntImm(1, dtype: .bool)
            var index = 0
            var initial: [PrimExpr] = []
            while take(",") {
                let option = try name()
                try expect("=")
                switch option {
                case "where":
                    condition = try expression()
                    try checkBool(condition, place)
                case "value_index": index = try integer()
                case "init": initial = try list()
                default: throw failure("TIR107", "a reduction has no option `\(option)`", at: place)
                }
            }
            try expect(")")
            guard source.count == identity.count, source.indices.contains(index) else {
                throw failure("TIR106", "a reduction needs one value a reducer's value", at: place)
            }
            return Reduce(reducer, source, axis, condition: condition, valueIndex: index, initial: initial)
        }
    }

    /// `T.iter_var(k: type, range, "reduce", "tag")`
    func iterVar() throws -> IterVar {
        try expectT("iter_var")
        let head = token
        let n = try name()
        let t = take(":") ? try type() : nil
        try expect(",")
        let dom = try range()
        try expect(",")
        let place = token
        guard let kind = IterVarType(rawValue: try string()) else {
            throw failure("TIR107", "no such kind of iteration", at: place)
        }
        let tag = take(",") ? try string() : ""
        try expect(")")
        if let known = lookup(n) as? Var { return IterVar(dom, known, kind, threadTag: tag) }
        let v = variable(n, t ?? PrimType(dom.extent.dtype), head)
        define(n, v)
        return IterVar(dom, v, kind, threadTag: tag)
    }

    // MARK: Ranges

    /// The range from `lo` to `hi`; where the text says `lo + n`, its extent is `n` as written.
    func range(_ lo: PrimExpr, _ hi: PrimExpr, _ place: TIRToken) throws -> IRRange {
        try checkIndex(lo, place)
        try checkIndex(hi, place)
        if lo.asInt == 0 && lo.dtype == hi.dtype { return IRRange(min: lo, extent: hi) }
        if let sum = hi as? Add, structuralEqual(sum.a, lo), sum.b.dtype == lo.dtype {
            return IRRange(min: lo, extent: sum.b)
        }
        let (a, b) = try unified(lo, hi, place)
        if let x = a.asInt, let y = b.asInt {
            let (n, overflow) = y.subtractingReportingOverflow(x)
            guard !overflow, IntImm.fits(n, a.dtype) else {
                throw failure("TIR104", "a range of too many elements", at: place)
            }
            return IRRange(min: a, extent: IntImm(n, dtype: a.dtype))
        }
        return IRRange(min: a, extent: Sub(b, a))
    }

    /// `extent`, `(begin, end)` or `T.range(min, extent)`
    func range() throws -> IRRange {
        let place = token
        if isT("range") {
            try expectT("range")
            let lo = try expression()
            try expect(",")
            let n = try expression()
            try expect(")")
            try checkIndex(lo, place)
            try checkIndex(n, place)
            return IRRange(min: lo, extent: n)
        }
        if isSign("(") {
            advance()
            let lo = try expression()
            if take(",") {
                let hi = try expression()
                try expect(")")
                return try range(lo, hi, place)
            }
            // It was an expression in brackets; what follows belongs to it.
            try expect(")")
            let n = try chain(lo, 0)
            try checkIndex(n, place)
            return IRRange(extent: n)
        }
        let n = try expression()
        try checkIndex(n, place)
        return IRRange(extent: n)
    }

    /// `A[i, lo:hi, T.range(min, extent)]`
    func region() throws -> BufferRegion {
        let b = try bufferName()
        let place = token
        try expect("[")
        var ranges: [IRRange] = []
        if isSign("(") && isSign(")", 1) && isSign("]", 2) {
            at += 3
        } else {
            repeat {
                let p = token
                if isT("range") {
                    ranges.append(try range())
                    continue
                }
                let lo = try expression()
                try checkIndex(lo, p)
                if take(":") {
                    ranges.append(try range(lo, try expression(), p))
                } else {
                    ranges.append(IRRange(min: lo, extent: IntImm(1, dtype: lo.dtype)))
                }
            } while take(",")
            try expect("]")
        }
        guard ranges.count == b.rank else {
            throw failure(
                "TIR106", "wrong number of ranges of `\(b.name)`", at: place, expected: "\(b.rank)",
                actual: "\(ranges.count)")
        }
        return BufferRegion(b, ranges)
    }
}
