import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

// swift-format-ignore: TypeNamesShouldBeCapitalized
/// The functions of the loop language by their usual names, for programs that build expressions: types are matched,
/// constants folded where the result is exact. (TVM's `tir.op`.) Reducers are made by `te.sum` … `te.commReducer`.
public enum tir {
    // MARK: Calls of functions

    /// A call of the packed function `name`; no value unless `dtype` says so.
    public static func callPacked(_ name: String, _ args: PrimExpr..., dtype: DataType = .int32) -> Call {
        intrinsic("call_packed", dtype, [StringImm(name)] + args)
    }

    /// As `callPacked`, of a function of the same library that is linked by name.
    public static func callCPacked(_ name: String, _ args: PrimExpr..., dtype: DataType = .int32) -> Call {
        intrinsic("call_cpacked", dtype, [StringImm(name)] + args)
    }

    /// A call of the C function `name`.
    public static func callExtern(_ dtype: DataType, _ name: String, _ args: PrimExpr...) -> Call {
        intrinsic("call_extern", dtype, [StringImm(name)] + args)
    }

    /// As `callExtern`, of a function without effects.
    public static func callPureExtern(_ dtype: DataType, _ name: String, _ args: PrimExpr...) -> Call {
        intrinsic("call_pure_extern", dtype, [StringImm(name)] + args)
    }

    /// A call of any registered intrinsic by its full name.
    /// - Throws: IR007 where there is none, TIR152 where the number of arguments is not its.
    public static func callIntrin(_ dtype: DataType, _ name: String, _ args: PrimExpr...) throws -> Call {
        TIRNodes.registerAll()
        let op = try Op.get(name)
        guard op.arity.contains(args.count) else {
            throw ApusError(
                "TIR152", "wrong number of arguments of \(name)", expected: "\(op.arity)",
                actual: "\(args.count)")
        }
        return Call(dtype, op, args)
    }

    /// A call of an LLVM intrinsic; the first `signature` arguments say which overload it is.
    public static func callLLVMIntrin(
        _ dtype: DataType, _ name: String, signature: Int = 0, _ args: PrimExpr...
    ) -> Call {
        intrinsic("call_llvm_intrin", dtype, [StringImm(name), IntImm(signature, dtype: .uint32)] + args)
    }

    /// As `callLLVMIntrin`, without effects.
    public static func callLLVMPureIntrin(
        _ dtype: DataType, _ name: String, signature: Int = 0, _ args: PrimExpr...
    ) -> Call {
        intrinsic(
            "call_llvm_pure_intrin", dtype, [StringImm(name), IntImm(signature, dtype: .uint32)] + args)
    }

    /// Calls the packed function `action` with `args`; the value is the last argument, or what the function returns.
    public static func trace(_ args: [PrimExpr], action: String = "apus.default_trace_action") -> Call {
        intrinsic("call_trace_packed", args.last?.dtype ?? .int32, [StringImm(action)] + args)
    }

    // MARK: Logic and bounds of types

    /// Whether one of the conditions holds; false if there are none.
    public static func any(_ conditions: PrimExpr...) -> PrimExpr {
        conditions.reduce(falseExpr) { or($0, $1) }
    }
    /// Whether all conditions hold; true if there are none.
    public static func all(_ conditions: PrimExpr...) -> PrimExpr {
        conditions.reduce(trueExpr) { and($0, $1) }
    }
    public static func minValue(_ dtype: DataType) -> PrimExpr { ApusTIR.minValue(dtype) }
    public static func maxValue(_ dtype: DataType) -> PrimExpr { ApusTIR.maxValue(dtype) }
    /// Positive infinity of a floating type.
    public static func infinity(_ dtype: DataType = .float32) -> PrimExpr {
        FloatImm(.infinity, dtype: dtype.element)
    }
    /// Not a number, quiet, of a floating type.
    public static func nan(_ dtype: DataType = .float32) -> PrimExpr { FloatImm(.nan, dtype: dtype.element) }
    public static func ifThenElse(_ condition: PrimExpr, _ a: PrimExpr, _ b: PrimExpr) -> PrimExpr {
        let (x, y) = matched(a, b)
        return ApusTIR.ifThenElse(condition, x, y)
    }
    /// `condition`, expected to be true.
    public static func likely(_ condition: PrimExpr) -> PrimExpr {
        condition.asInt != nil ? condition : intrinsic("likely", condition.dtype, [condition])
    }
    public static func isNullPointer(_ pointer: PrimExpr) -> PrimExpr {
        intrinsic("isnullptr", .bool, [pointer])
    }

    // MARK: Functions of floats. An integer argument is taken as float32.

    static func float(_ x: PrimExpr) -> PrimExpr {
        x.dtype.isFloat ? x : cast(DataType.float32.with(lanes: Int(x.dtype.lanes)), x)
    }
    static func call(_ name: String, _ x: PrimExpr) -> PrimExpr {
        let x = float(x)
        return intrinsic(name, x.dtype, [x])
    }
    static func call(_ name: String, _ a: PrimExpr, _ b: PrimExpr) -> PrimExpr {
        let (x, y) = matched(float(a), float(b))
        return intrinsic(name, x.dtype, [x, y])
    }
    /// A function whose value is exact in every floating type.
    static func exact(_ name: String, _ x: PrimExpr, _ f: (Double) -> Double) -> PrimExpr {
        if x.dtype.isInteger { return x }
        if x.kind == .floatImm {
            return FloatImm(f(unsafeDowncast(x, to: FloatImm.self).value), dtype: x.dtype)
        }
        return intrinsic(name, x.dtype, [x])
    }

    public static func exp(_ x: PrimExpr) -> PrimExpr { call("exp", x) }
    public static func exp2(_ x: PrimExpr) -> PrimExpr { call("exp2", x) }
    public static func exp10(_ x: PrimExpr) -> PrimExpr { call("exp10", x) }
    public static func expm1(_ x: PrimExpr) -> PrimExpr { call("expm1", x) }
    public static func erf(_ x: PrimExpr) -> PrimExpr { call("erf", x) }
    public static func gelu(_ x: PrimExpr) -> PrimExpr { call("gelu", x) }
    public static func tanh(_ x: PrimExpr) -> PrimExpr { call("tanh", x) }
    public static func sigmoid(_ x: PrimExpr) -> PrimExpr { call("sigmoid", x) }
    public static func log(_ x: PrimExpr) -> PrimExpr { call("log", x) }
    public static func log2(_ x: PrimExpr) -> PrimExpr { call("log2", x) }
    public static func log10(_ x: PrimExpr) -> PrimExpr { call("log10", x) }
    public static func log1p(_ x: PrimExpr) -> PrimExpr { call("log1p", x) }
    public static func tan(_ x: PrimExpr) -> PrimExpr { call("tan", x) }
    public static func cos(_ x: PrimExpr) -> PrimExpr { call("cos", x) }
    public static func cosh(_ x: PrimExpr) -> PrimExpr { call("cosh", x) }
    public static func acos(_ x: PrimExpr) -> PrimExpr { call("acos", x) }
    public static func acosh(_ x: PrimExpr) -> PrimExpr { call("acosh", x) }
    public static func sin(_ x: PrimExpr) -> PrimExpr { call("sin", x) }
    public static func sinh(_ x: PrimExpr) -> PrimExpr { call("sinh", x) }
    public static func asin(_ x: PrimExpr) -> PrimExpr { call("asin", x) }
    public static func asinh(_ x: PrimExpr) -> PrimExpr { call("asinh", x) }
    public static func atan(_ x: PrimExpr) -> PrimExpr { call("atan", x) }
    public static func atanh(_ x: PrimExpr) -> PrimExpr { call("atanh", x) }
    public static func atan2(_ y: PrimExpr, _ x: PrimExpr) -> PrimExpr { call("atan2", y, x) }
    public static func sqrt(_ x: PrimExpr) -> PrimExpr { call("sqrt", x) }
    public static func rsqrt(_ x: PrimExpr) -> PrimExpr { call("rsqrt", x) }
    public static func nextafter(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { call("nextafter", a, b) }
    public static func hypot(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { call("hypot", a, b) }
    public static func copysign(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { call("copysign", a, b) }
    /// `x * 2^n`; `n` is a floating value with an integer in it.
    public static func ldexp(_ x: PrimExpr, _ n: PrimExpr) -> PrimExpr { call("ldexp", x, n) }
    public static func fmod(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { call("fmod", a, b) }
    public static func power(_ x: PrimExpr, _ y: PrimExpr) -> PrimExpr {
        y.isOne && x.dtype.isFloat ? x : call("pow", x, y)
    }

    // MARK: Rounding; an integer is its own.

    public static func floor(_ x: PrimExpr) -> PrimExpr { exact("floor", x) { $0.rounded(.down) } }
    public static func ceil(_ x: PrimExpr) -> PrimExpr { exact("ceil", x) { $0.rounded(.up) } }
    public static func trunc(_ x: PrimExpr) -> PrimExpr { exact("trunc", x) { $0.rounded(.towardZero) } }
    /// To the nearest integer, halves away from zero.
    public static func round(_ x: PrimExpr) -> PrimExpr {
        exact("round", x) { $0.rounded(.toNearestOrAwayFromZero) }
    }
    /// To the nearest integer, halves to the even one.
    public static func nearbyint(_ x: PrimExpr) -> PrimExpr {
        exact("nearbyint", x) { $0.rounded(.toNearestOrEven) }
    }
    /// The absolute value; of the smallest signed integer that integer itself.
    public static func abs(_ x: PrimExpr) -> PrimExpr {
        if x.dtype.isFloat { return exact("fabs", x) { Swift.abs($0) } }
        if x.dtype.isUInt { return x }
        if let v = x.asInt, v != minSigned(x.dtype) { return IntImm(Swift.abs(v), dtype: x.dtype) }
        return intrinsic("abs", x.dtype, [x])
    }
    private static func minSigned(_ d: DataType) -> Int { d.bits >= 64 ? .min : -(1 << (Int(d.bits) - 1)) }

    // MARK: Predicates of floats; an integer is finite.

    private static func predicate(_ name: String, _ x: PrimExpr, ofInteger: Bool, _ f: (Double) -> Bool)
        -> PrimExpr
    {
        let type = DataType.bool.with(lanes: Int(x.dtype.lanes))
        if x.dtype.isInteger { return const(ofInteger ? 1 : 0, type) }
        if x.kind == .floatImm { return const(f(unsafeDowncast(x, to: FloatImm.self).value) ? 1 : 0, type) }
        return intrinsic(name, type, [x])
    }
    public static func isnan(_ x: PrimExpr) -> PrimExpr {
        predicate("isnan", x, ofInteger: false) { $0.isNaN }
    }
    public static func isinf(_ x: PrimExpr) -> PrimExpr {
        predicate("isinf", x, ofInteger: false) { $0.isInfinite }
    }
    public static func isfinite(_ x: PrimExpr) -> PrimExpr {
        predicate("isfinite", x, ofInteger: true) { $0.isFinite }
    }

    // MARK: Bits of integers

    private static func bits(_ name: String, _ a: PrimExpr, _ b: PrimExpr) -> PrimExpr {
        let (x, y) = matched(a, b)
        if let p = x.asInt, let q = y.asInt, let f = TIRMath.bitwise(name, x.dtype),
            !name.hasPrefix("shift") || (0..<Int(x.dtype.bits)).contains(q), let r = try? f(p, q)
        {
            return IntImm(r, dtype: x.dtype)
        }
        return intrinsic(name, x.dtype, [x, y])
    }
    public static func bitwiseAnd(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { bits("bitwise_and", a, b) }
    public static func bitwiseOr(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { bits("bitwise_or", a, b) }
    public static func bitwiseXor(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { bits("bitwise_xor", a, b) }
    public static func bitwiseNot(_ a: PrimExpr) -> PrimExpr {
        if let v = a.asInt { return IntImm(TIRMath.wrapped(~v, a.dtype), dtype: a.dtype) }
        return intrinsic("bitwise_not", a.dtype, [a])
    }
    /// Bits that leave the type are lost; a shift by the width or more gives 0.
    public static func shiftLeft(_ a: PrimExpr, _ n: PrimExpr) -> PrimExpr { bits("shift_left", a, n) }
    /// Arithmetic for signed types.
    public static func shiftRight(_ a: PrimExpr, _ n: PrimExpr) -> PrimExpr { bits("shift_right", a, n) }
    /// The number of ones.
    public static func popcount(_ x: PrimExpr) -> PrimExpr {
        if let v = x.asInt, let f = TIRMath.bitwise("popcount", x.dtype), let r = try? f(v, 0) {
            return IntImm(r, dtype: x.dtype)
        }
        return intrinsic("popcount", x.dtype, [x])
    }
    /// The number of zeros in front of the first one.
    public static func clz(_ x: PrimExpr) -> PrimExpr { intrinsic("clz", x.dtype, [x]) }
    /// An unsigned 64-bit constant of its halves. Constants hold the bit pattern, so that no call is needed.
    public static func largeUIntImm(_ dtype: DataType = .uint64, low: UInt32, high: UInt32) -> PrimExpr {
        let value = Int(bitPattern: UInt(high) << 32 | UInt(low))
        return IntImm.fits(value, dtype)
            ? IntImm(value, dtype: dtype)
            : intrinsic(
                "large_uint_imm", dtype,
                [IntImm(Int(low), dtype: .uint32), IntImm(Int(high), dtype: .uint32)])
    }
    /// `round(x * y * 2^(s - q))`, halves up: the product of fixed-point int32 numbers of `q` fraction bits.
    public static func qMultiplyShift(_ x: PrimExpr, _ y: PrimExpr, _ q: PrimExpr, _ s: PrimExpr) -> PrimExpr
    {
        intrinsic("q_multiply_shift", x.dtype, [x, y, q, s])
    }
    /// The same bits as another type of as many.
    public static func reinterpret(_ dtype: DataType, _ x: PrimExpr) -> PrimExpr {
        x.dtype == dtype ? x : intrinsic("reinterpret", dtype, [x])
    }
    /// `a * b + c` in one rounding.
    public static func fma(_ a: PrimExpr, _ b: PrimExpr, _ c: PrimExpr) -> PrimExpr {
        intrinsic("fma", a.dtype, [a, b, c])
    }

    // MARK: Division

    /// C's division: toward zero for integers.
    public static func div(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { truncDiv(a, b) }
    /// Division of an index: rounds down.
    public static func indexdiv(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { floorDiv(a, b) }
    /// Remainder of an index: of the sign of `b`.
    public static func indexmod(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { floorMod(a, b) }
    public static func truncdiv(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { truncDiv(a, b) }
    public static func truncmod(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { truncMod(a, b) }
    public static func floordiv(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { floorDiv(a, b) }
    public static func floormod(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { floorMod(a, b) }
}

extension PrimExpr {
    public static func & (a: PrimExpr, b: PrimExpr) -> PrimExpr { tir.bitwiseAnd(a, b) }
    public static func | (a: PrimExpr, b: PrimExpr) -> PrimExpr { tir.bitwiseOr(a, b) }
    public static func ^ (a: PrimExpr, b: PrimExpr) -> PrimExpr { tir.bitwiseXor(a, b) }
    public static func << (a: PrimExpr, n: PrimExpr) -> PrimExpr { tir.shiftLeft(a, n) }
    public static func >> (a: PrimExpr, n: PrimExpr) -> PrimExpr { tir.shiftRight(a, n) }
    public static prefix func ~ (a: PrimExpr) -> PrimExpr { tir.bitwiseNot(a) }

    /// Whether this is a constant number, or a broadcast of one.
    public final var isConstant: Bool { constantInt != nil || constantFloat != nil }
    /// Whether this is the integer constant `value`, or a broadcast of it.
    public final func isConstant(_ value: Int) -> Bool { constantInt == value }
    public final var isPositiveConstant: Bool {
        if dtype.element == .uint64 { return constantInt.map { $0 != 0 } ?? false }
        return constantInt.map { $0 > 0 } ?? constantFloat.map { $0 > 0 } ?? false
    }
    public final var isNegativeConstant: Bool {
        if dtype.isUInt { return false }
        return constantInt.map { $0 < 0 } ?? constantFloat.map { $0 < 0 } ?? false
    }
    /// The exponent if this is a positive integer constant that is a power of two.
    public final var powerOfTwo: Int? {
        guard let v = constantInt, v > 0, v & (v - 1) == 0 else { return nil }
        return v.trailingZeroBitCount
    }
}

extension Stmt {
    /// Whether the statement does nothing: a constant evaluated, or an empty sequence.
    public final var isNoOp: Bool {
        if let e = self as? Evaluate { return e.value.kind == .intImm }
        if let s = self as? SeqStmt { return s.stmts.allSatisfy(\.isNoOp) }
        return false
    }
}
