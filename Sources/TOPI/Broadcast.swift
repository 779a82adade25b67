import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// The shape that all of `shapes` broadcast to (numpy's rule). TOPI004 where they do not agree. Symbolic
    /// dimensions are taken to agree with each other.
    public static func broadcastShape(_ shapes: [[PrimExpr]]) throws -> [PrimExpr] {
        let rank = shapes.map(\.count).max() ?? 0
        var result: [PrimExpr] = []
        for axis in 0..<rank {
            var dim: PrimExpr = imm(1)
            for s in shapes {
                let k = axis - (rank - s.count)
                guard k >= 0, s[k].asInt != 1 else { continue }
                if dim.asInt == 1 {
                    dim = s[k]
                } else if let a = dim.asInt, let b = s[k].asInt, a != b {
                    throw ApusError(
                        "TOPI004", "shapes do not broadcast", expected: "\(a) or 1 in axis \(axis)",
                        actual: "\(b)")
                } else if dim.asInt == nil, s[k].asInt != nil {
                    dim = s[k]
                }
            }
            result.append(dim)
        }
        return result
    }

    /// `f` of the elements of two tensors broadcast to one shape.
    static func broadcasting(
        _ a: Tensor, _ b: Tensor, _ name: String, _ f: (PrimExpr, PrimExpr) -> PrimExpr
    ) throws -> Tensor {
        let shape = try broadcastShape([a.shape, b.shape])
        let same = sameShape(a.shape, shape) && sameShape(b.shape, shape)
        return try compute(shape, name: name, tag: same ? Tag.elemwise : Tag.broadcast) { i in
            f(a.broadcastLoad(i, shape), b.broadcastLoad(i, shape))
        }
    }

    /// `a + b`
    public static func add(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "add") { $0 + $1 }
    }
    /// `a - b`
    public static func subtract(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "subtract") { $0 - $1 }
    }
    /// `a * b`
    public static func multiply(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "multiply") { $0 * $1 }
    }
    /// `a / b`; integers truncate, and 0 where `b` is 0.
    public static func divide(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "divide") { x, y in
            x.dtype.isFloat ? x / y : guardedQuotient(x, y) { truncDiv($0, $1) }
        }
    }
    /// `floor(a / b)`; integers give 0 where `b` is 0.
    public static func floorDivide(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "floor_divide") { x, y in
            x.dtype.isFloat
                ? inFloat32(x / y) { unary("floor", $0) } : guardedQuotient(x, y) { floorDivExpr($0, $1) }
        }
    }
    /// The remainder with the sign of `a` (C's `fmod` and `%`); integers give 0 where `b` is 0.
    public static func mod(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "mod") { x, y in
            x.dtype.isFloat ? remainder(x, y) : guardedRemainder(x, y) { truncMod($0, $1) }
        }
    }
    /// The remainder with the sign of `b`; integers give 0 where `b` is 0.
    public static func floorModulo(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "floor_mod") { x, y in
            guard x.dtype.isFloat else { return guardedRemainder(x, y) { floorModExpr($0, $1) } }
            let zero = const(0, x.dtype)
            let r = remainder(x, y)
            let crosses = (r .< zero) .!= (y .< zero)
            return select(and(r .!= zero, crosses), r + y, r)
        }
    }
    /// `a` to the power of `b`. An integer power that overflows is unspecified; a negative exponent
    /// truncates.
    public static func power(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "power") { x, y in
            if x.dtype.isFloat {
                let wide = accumulator(of: x.dtype)
                return asType(x.dtype, pow(asType(wide, x), asType(wide, y)))
            }
            return integerPower(x, y)
        }
    }
    /// The greater; NaN wins.
    public static func maximum(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "maximum") { $0.dtype.isBool ? or($0, $1) : greatestOf($0, $1) }
    }
    /// The smaller; NaN wins.
    public static func minimum(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "minimum") { $0.dtype.isBool ? and($0, $1) : leastOf($0, $1) }
    }

    /// Conjunction of bits.
    public static func bitwiseAnd(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "bitwise_and") {
            $0.dtype.isBool ? and($0, $1) : bitwise("bitwise_and", $0, $1)
        }
    }
    /// Disjunction of bits.
    public static func bitwiseOr(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "bitwise_or") { $0.dtype.isBool ? or($0, $1) : bitwise("bitwise_or", $0, $1) }
    }
    /// Difference of bits.
    public static func bitwiseXor(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "bitwise_xor") { $0.dtype.isBool ? $0 .!= $1 : bitwise("bitwise_xor", $0, $1) }
    }
    /// `a << b`; 0 where `b` is not less than the number of bits.
    public static func leftShift(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "left_shift") { x, y in
            let inside = leastOf(greatestOf(y, const(0, y.dtype)), Int(x.dtype.bits) - 1)
            return select(
                y .< const(Int(x.dtype.bits), y.dtype), bitwise("shift_left", x, inside), const(0, x.dtype))
        }
    }
    /// `a >> b`, arithmetic for signed types; all sign where `b` is not less than the number of bits.
    public static func rightShift(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "right_shift") { x, y in
            let shifted = bitwise(
                "shift_right", x, leastOf(greatestOf(y, const(0, y.dtype)), Int(x.dtype.bits) - 1))
            if x.dtype.isInt { return shifted }
            return select(y .< const(Int(x.dtype.bits), y.dtype), shifted, const(0, x.dtype))
        }
    }

    /// `a == b`
    public static func equal(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "equal") { $0 .== $1 }
    }
    /// `a != b`
    public static func notEqual(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "not_equal") { $0 .!= $1 }
    }
    /// `a < b`
    public static func less(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "less") { $0 .< $1 }
    }
    /// `a <= b`
    public static func lessEqual(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "less_equal") { $0 .<= $1 }
    }
    /// `a > b`
    public static func greater(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "greater") { $0 .> $1 }
    }
    /// `a >= b`
    public static func greaterEqual(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "greater_equal") { $0 .>= $1 }
    }
    /// Conjunction of truth values.
    public static func logicalAnd(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "logical_and") { and(asType(.bool, $0), asType(.bool, $1)) }
    }
    /// Disjunction of truth values.
    public static func logicalOr(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "logical_or") { or(asType(.bool, $0), asType(.bool, $1)) }
    }
    /// Difference of truth values.
    public static func logicalXor(_ a: Tensor, _ b: Tensor) throws -> Tensor {
        try broadcasting(a, b, "logical_xor") { asType(.bool, $0) .!= asType(.bool, $1) }
    }

    /// `x` where `condition` holds, else `y`.
    public static func `where`(_ condition: Tensor, _ x: Tensor, _ y: Tensor) throws -> Tensor {
        let shape = try broadcastShape([condition.shape, x.shape, y.shape])
        let same = [condition, x, y].allSatisfy { sameShape($0.shape, shape) }
        return try compute(shape, name: "where", tag: same ? Tag.elemwise : Tag.broadcast) { i in
            select(
                asType(.bool, condition.broadcastLoad(i, shape)), x.broadcastLoad(i, shape),
                y.broadcastLoad(i, shape))
        }
    }

    /// `x` repeated along axes of extent 1 and new leading axes.
    public static func broadcastTo(_ x: Tensor, _ shape: [PrimExpr]) throws -> Tensor {
        _ = try broadcastShape([x.shape, shape])
        try require(shape.count >= x.rank, "broadcast_to", "the result has fewer axes than the operand")
        return try compute(shape, name: "broadcast_to", tag: Tag.broadcast) { x.broadcastLoad($0, shape) }
    }
}

private func remainder(_ x: PrimExpr, _ y: PrimExpr) -> PrimExpr {
    let wide = accumulator(of: x.dtype)
    return cast(x.dtype, intrinsic("fmod", wide, [cast(wide, x), cast(wide, y)]))
}

/// A divisor that the processor does not trap on: 0, and -1 (which overflows for the smallest number),
/// become 1.
private func harmless(_ y: PrimExpr) -> PrimExpr {
    if let v = y.asInt, v != 0, v != -1 || y.dtype.isUInt { return y }
    let one = const(1, y.dtype)
    let zero = y .== const(0, y.dtype)
    return select(y.dtype.isInt ? or(zero, y .== const(-1, y.dtype)) : zero, one, y)
}

private func guardedQuotient(
    _ x: PrimExpr, _ y: PrimExpr, _ f: (PrimExpr, PrimExpr) -> PrimExpr
) -> PrimExpr {
    let q = select(y .== const(0, y.dtype), const(0, x.dtype), f(x, harmless(y)))
    return y.dtype.isInt ? select(y .== const(-1, y.dtype), -x, q) : q
}

/// Remainders by 1, which replaces 0 and -1, are 0.
private func guardedRemainder(
    _ x: PrimExpr, _ y: PrimExpr, _ f: (PrimExpr, PrimExpr) -> PrimExpr
) -> PrimExpr { f(x, harmless(y)) }

private func integerPower(_ x: PrimExpr, _ y: PrimExpr) -> PrimExpr {
    let type = x.dtype
    if type.bits <= 32 {
        // Every result that fits 32 bits is exact in a double.
        let base = cast(.float64, x)
        let exponent = cast(.float64, y)
        let p = cast(type, pow(base, exponent))
        if y.dtype.isUInt { return p }
        return select(and(y .< const(0, y.dtype), x .== const(0, type)), const(0, type), p)
    }
    // Square and multiply; exponents from 64 on can only matter for bases -1, 0, 1, where parity decides.
    let one = const(1, type)
    let e = Var("exponent", dtype: type)
    let start = select(y .< const(64, type), y, const(62, type) + bitwise("bitwise_and", y, one))
    var bindings: [(variable: Var, value: PrimExpr)] = [(variable: e, value: start)]
    var base: PrimExpr = x
    var result: PrimExpr = one
    for bit in 0..<6 {
        let set = bitwise("bitwise_and", bitwise("shift_right", e, const(bit, type)), one) .== one
        let r = Var("power_\(bit)", dtype: type)
        bindings.append((variable: r, value: select(set, result * base, result)))
        result = r
        let b = Var("base_\(bit)", dtype: type)
        bindings.append((variable: b, value: base * base))
        base = b
    }
    if type.isInt {
        let odd = bitwise("bitwise_and", y, one) .== one
        let inverse = select(
            x .== one, one, select(x .== const(-1, type), select(odd, x, one), const(0, type)))
        result = select(y .< const(0, type), inverse, result)
    }
    for b in bindings.reversed() { result = Let(b.variable, b.value, result) }
    return result
}
