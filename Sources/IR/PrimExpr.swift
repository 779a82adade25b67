import ApusNode
import ApusRuntime
import ApusSupport

/// The closed set of scalar (and short-vector) expressions of the loop IR, for exhaustive switches: a stored tag
/// compares in one instruction where a chain of dynamic casts costs hundreds. The classes live in the TIR room.
public enum PrimExprKind: UInt8, Sendable, CaseIterable {
    case intImm, floatImm, stringImm, variable
    case cast
    case add, sub, mul, div, mod, floorDiv, floorMod, min, max
    case eq, ne, lt, le, gt, ge
    case and, or, not
    case select
    case bufferLoad, producerLoad
    case ramp, broadcast, shuffle
    case `let`, call, reduce
}

/// An expression of the loop IR: immutable, with the type of its value.
open class PrimExpr: Node, @unchecked Sendable {
    /// Type of the value, lanes included.
    public final let dtype: DataType
    /// The place in the text it was read from, if it was; not compared, not printed, not saved.
    public final private(set) var span: Span?

    public init(dtype: DataType) { self.dtype = dtype }

    /// Which of the closed set of kinds this is.
    open var kind: PrimExprKind { internalError("\(Self.self) names no kind") }

    /// Says where this came from, unless something does already. For whoever has just made the node: the one change that
    /// a node knows, and only as long as nobody else sees it.
    package final func locate(_ span: Span?) { if self.span == nil { self.span = span } }

    /// The value if this is an integer constant.
    public final var asInt: Int? { kind == .intImm ? unsafeDowncast(self, to: IntImm.self).value : nil }
}

/// An integer constant. Unsigned 64-bit values are held as their bit pattern.
public final class IntImm: PrimExpr, @unchecked Sendable {
    public let value: Int

    /// `value` must fit `dtype`, which must be an integer scalar.
    public init(_ value: Int, dtype: DataType = .index) {
        self.value = value
        super.init(dtype: dtype)
    }

    /// As `init`, for a value and a type that come from outside.
    public static func checked(_ value: Int, dtype: DataType) throws -> IntImm {
        guard dtype.isInteger, dtype.isScalar, fits(value, dtype) else {
            throw ApusError(
                "IR001", "an integer constant does not fit its type", expected: "a value of \(dtype)",
                actual: "\(value)")
        }
        return IntImm(value, dtype: dtype)
    }

    /// Whether `value` is a value of the integer type `dtype`.
    public static func fits(_ value: Int, _ dtype: DataType) -> Bool {
        let bits = Int(dtype.bits)
        if bits >= 64 { return true }
        if dtype.isUInt { return value >= 0 && value < (1 << bits) }
        return value >= -(1 << (bits - 1)) && value < (1 << (bits - 1))
    }

    public override var kind: PrimExprKind { .intImm }
    public override class var schema: NodeSchema { intImmSchema }
    public override var description: String {
        if dtype == .index { return "\(value)" }
        if dtype.isBool { return value == 0 ? "False" : "True" }
        return "T.\(dtype)(\(value))"
    }
}

private let intImmSchema = NodeSchema(
    "IntImm", IntImm.self, [.field("value", \.value), .field("dtype", \.dtype)],
    make: { try IntImm.checked($0.next(), dtype: $0.next()) })

/// A floating-point constant; the value is already rounded to `dtype`.
public final class FloatImm: PrimExpr, @unchecked Sendable {
    public let value: Double

    /// Rounds `value` to `dtype`, a floating scalar.
    public init(_ value: Double, dtype: DataType = .float32) {
        self.value = FloatImm.rounded(value, dtype)
        super.init(dtype: dtype)
    }

    /// `value` as `dtype` can represent it (round to nearest even).
    public static func rounded(_ value: Double, _ dtype: DataType) -> Double {
        switch (dtype.code, dtype.bits) {
        case (.float, 32): return Double(Float(value))
        case (.float, 16): return roundedToHalf(value)
        case (.bfloat, 16):
            if value.isNaN || value.isInfinite || value == 0 { return value }
            // One rounding: a step through Float would round twice.
            let exponent = max(Int(abs(value).exponent), -126)
            let ulp = Double(sign: .plus, exponent: exponent - 7, significand: 1)
            let rounded = (value / ulp).rounded(.toNearestOrEven) * ulp
            return abs(rounded) > 0x1.FEp127 ? (value < 0 ? -Double.infinity : Double.infinity) : rounded
        default: return value
        }
    }

    /// Double to IEEE binary16 and back, in one rounding. (Swift's `Float16` is absent on some hosts.)
    private static func roundedToHalf(_ value: Double) -> Double {
        if value.isNaN || value.isInfinite || value == 0 { return value }
        let magnitude = abs(value)
        if magnitude >= 65520 { return value < 0 ? -Double.infinity : Double.infinity }
        // One unit in the last place at this magnitude; below 2^-14 the spacing stays 2^-24 (subnormals).
        let exponent = max(Int(magnitude.exponent), -14)
        let ulp = Double(sign: .plus, exponent: exponent - 10, significand: 1)
        return (value / ulp).rounded(.toNearestOrEven) * ulp
    }

    public override var kind: PrimExprKind { .floatImm }
    public override class var schema: NodeSchema { floatImmSchema }
    public override var description: String { "T.\(dtype)(\(value))" }
}

private let floatImmSchema = NodeSchema(
    "FloatImm", FloatImm.self, [.field("value", \.value), .field("dtype", \.dtype)],
    make: {
        let value: Double = try $0.next()
        let dtype: DataType = try $0.next()
        guard dtype.isFloat, dtype.isScalar else {
            throw ApusError(
                "IR002", "a float constant needs a floating scalar type", actual: "\(dtype)")
        }
        return FloatImm(value, dtype: dtype)
    })

/// A string constant: an argument of an intrinsic or an annotation.
public final class StringImm: PrimExpr, @unchecked Sendable {
    public let value: String

    public init(_ value: String) {
        self.value = value
        super.init(dtype: .handle)
    }

    public override var kind: PrimExprKind { .stringImm }
    public override class var schema: NodeSchema { stringImmSchema }
    public override var description: String { JSON.quoted(value) }
}

private let stringImmSchema = NodeSchema(
    "StringImm", StringImm.self, [.field("value", \.value)], make: { StringImm(try $0.next()) })

/// The integers `min ..< min + extent` (TVM's `Range`; the name avoids Swift's).
public final class IRRange: Node, @unchecked Sendable {
    public let min: PrimExpr
    public let extent: PrimExpr

    public init(min: PrimExpr, extent: PrimExpr) {
        self.min = min
        self.extent = extent
    }

    /// `0 ..< extent`
    public convenience init(extent: PrimExpr) {
        self.init(min: IntImm(0, dtype: extent.dtype), extent: extent)
    }
    public convenience init(_ min: Int, extent: Int) { self.init(min: IntImm(min), extent: IntImm(extent)) }

    public override class var schema: NodeSchema { rangeSchema }
    public override var description: String { "Range(\(min), extent=\(extent))" }
}

private let rangeSchema = NodeSchema(
    "Range", IRRange.self, [.field("min", \.min), .field("extent", \.extent)],
    make: { IRRange(min: try $0.next(), extent: try $0.next()) })
