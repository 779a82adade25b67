import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Types and symbolic extents.

extension Parser {
    /// `Tensor[(1, n), float32]`, `float32` (no axes), `(T, T)`, `fn (T) -> T`, `ref(T)`, `?`
    mutating func type() throws -> IRType {
        try enter()
        defer { depth -= 1 }
        let start = token
        switch start.kind {
        case .symbol("?"):
            advance()
            return IncompleteType()
        case .symbol("("):
            advance()
            var fields: [IRType] = []
            let comma = try list(")") { p in fields.append(try p.type()) }
            return fields.count == 1 && !comma ? fields[0] : TupleType(fields)
        case .identifier("Tensor"):
            advance()
            try expect("[")
            try expect("(")
            var shape: [PrimExpr] = []
            _ = try list(")") { p in shape.append(try p.dimension()) }
            try expect(",")
            let dtype = try elementType()
            try expect("]")
            let type = TensorType(shape, dtype)
            try located(start) { try Relay.checkSize(type) }
            return type
        case .identifier("fn"):
            advance()
            try expect("(")
            var args: [IRType] = []
            _ = try list(")") { p in args.append(try p.type()) }
            try expect("->")
            return FuncType(args, try type())
        case .identifier("ref"):
            advance()
            try expect("(")
            let value = try type()
            try expect(")")
            return RelayRefType(value)
        case .identifier: return TensorType([Int](), try elementType())
        default: throw unexpected("a type such as Tensor[(1, 3), float32]")
        }
    }

    private mutating func elementType() throws -> DataType {
        guard case .identifier(let word) = token.kind, let dtype = DataType(word),
            DTypeClass.any.contains(dtype),
            [1, 8, 16, 32, 64].contains(dtype.bits), dtype.bits != 1 || dtype.isBool
        else { throw unexpected("an element type such as float32") }
        advance()
        return dtype
    }

    /// An extent: a number, a name, `(a + b)`, `floordiv(a, b)`, …, or `?` for one that has no name.
    private mutating func dimension() throws -> PrimExpr {
        try enter()
        defer { depth -= 1 }
        let start = token
        switch start.kind {
        case .integer(let v, ""):
            advance()
            return IntImm(v)
        case .symbol("?"):
            advance()
            return ApusTIR.Var("any")
        case .symbol("("):
            advance()
            let a = try dimension()
            guard case .symbol(let op) = token.kind, ["+", "-", "*"].contains(op) else {
                throw unexpected("`+`, `-` or `*`")
            }
            advance()
            let b = try dimension()
            try expect(")")
            return try located(start) {
                switch op {
                case "+": return try Dim.add(a, b)
                case "*": return try Dim.mul(a, b)
                default: return try Dim.bounded(a - b)
                }
            }
        case .identifier(let word):
            advance()
            guard take("(") else {
                if let known = symbols[word] { return known }
                let v = ApusTIR.Var(word)
                symbols[word] = v
                return v
            }
            let a = try dimension()
            try expect(",")
            let b = try dimension()
            try expect(")")
            _ = try located(start) { try Dim.bounded(a + b) }
            switch word {
            case "floordiv": return ApusTIR.floorDiv(a, b)
            case "floormod": return ApusTIR.floorMod(a, b)
            case "truncdiv": return ApusTIR.truncDiv(a, b)
            case "truncmod": return ApusTIR.truncMod(a, b)
            case "min": return ApusTIR.minimum(a, b)
            case "max": return ApusTIR.maximum(a, b)
            default:
                throw failure(
                    "RELAY031", "unknown function of extents `\(word)`", at: start,
                    expected: "floordiv, floormod, truncdiv, truncmod, min or max")
            }
        default: throw unexpected("an extent")
        }
    }
}
