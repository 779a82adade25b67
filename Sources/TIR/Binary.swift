import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// An expression of two operands of one type. `Op(a, b)` builds the node as it is; the functions and operators of
/// Builders.swift match types and fold constants.
open class BinaryExpr: PrimExpr, @unchecked Sendable {
    public private(set) final var a: PrimExpr
    public private(set) final var b: PrimExpr

    fileprivate init(_ a: PrimExpr, _ b: PrimExpr, dtype: DataType) {
        self.a = a
        self.b = b
        super.init(dtype: dtype)
    }

    deinit {
        reclaim(&a, &b)
    }

    /// The same operation on other operands.
    public final func with(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr {
        a === self.a && b === self.b ? self : Self.raw(kind, a, b)
    }

    public final override var description: String { TIRPrinter.text(self) }

    /// The node of a binary kind, unfolded.
    public static func raw(_ kind: PrimExprKind, _ a: PrimExpr, _ b: PrimExpr) -> PrimExpr {
        switch kind {
        case .add: return Add(a, b)
        case .sub: return Sub(a, b)
        case .mul: return Mul(a, b)
        case .div: return Div(a, b)
        case .mod: return Mod(a, b)
        case .floorDiv: return FloorDiv(a, b)
        case .floorMod: return FloorMod(a, b)
        case .min: return Min(a, b)
        case .max: return Max(a, b)
        case .eq: return EQ(a, b)
        case .ne: return NE(a, b)
        case .lt: return LT(a, b)
        case .le: return LE(a, b)
        case .gt: return GT(a, b)
        case .ge: return GE(a, b)
        case .and: return And(a, b)
        case .or: return Or(a, b)
        default: internalError("\(kind) is not a binary kind")
        }
    }
}

/// Reads the two operands of a binary node, which must have one type.
private func operands(_ reader: inout FieldReader, _ key: String) throws -> (PrimExpr, PrimExpr) {
    let a: PrimExpr = try reader.next()
    let b: PrimExpr = try reader.next()
    guard a.dtype == b.dtype else {
        throw ApusError(
            "TIR001", "the operands of \(key) differ in type", expected: "\(a.dtype)", actual: "\(b.dtype)")
    }
    return (a, b)
}

/// `a + b`; wraps for integers.
public final class Add: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) { super.init(a, b, dtype: a.dtype) }
    public override var kind: PrimExprKind { .add }
    public override class var schema: NodeSchema { addSchema }
}

private let addSchema = NodeSchema(
    "tir.Add", Add.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.Add")
        return Add(a, b)
    })

/// `a - b`; wraps for integers.
public final class Sub: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) { super.init(a, b, dtype: a.dtype) }
    public override var kind: PrimExprKind { .sub }
    public override class var schema: NodeSchema { subSchema }
}

private let subSchema = NodeSchema(
    "tir.Sub", Sub.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.Sub")
        return Sub(a, b)
    })

/// `a * b`; wraps for integers.
public final class Mul: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) { super.init(a, b, dtype: a.dtype) }
    public override var kind: PrimExprKind { .mul }
    public override class var schema: NodeSchema { mulSchema }
}

private let mulSchema = NodeSchema(
    "tir.Mul", Mul.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.Mul")
        return Mul(a, b)
    })

/// `a / b`, rounding toward zero for integers.
public final class Div: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) { super.init(a, b, dtype: a.dtype) }
    public override var kind: PrimExprKind { .div }
    public override class var schema: NodeSchema { divSchema }
}

private let divSchema = NodeSchema(
    "tir.Div", Div.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.Div")
        return Div(a, b)
    })

/// The remainder of `Div`: it has the sign of `a`.
public final class Mod: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) { super.init(a, b, dtype: a.dtype) }
    public override var kind: PrimExprKind { .mod }
    public override class var schema: NodeSchema { modSchema }
}

private let modSchema = NodeSchema(
    "tir.Mod", Mod.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.Mod")
        return Mod(a, b)
    })

/// `floor(a / b)`.
public final class FloorDiv: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) { super.init(a, b, dtype: a.dtype) }
    public override var kind: PrimExprKind { .floorDiv }
    public override class var schema: NodeSchema { floorDivSchema }
}

private let floorDivSchema = NodeSchema(
    "tir.FloorDiv", FloorDiv.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.FloorDiv")
        return FloorDiv(a, b)
    })

/// `a - b * floor(a / b)`: it has the sign of `b`.
public final class FloorMod: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) { super.init(a, b, dtype: a.dtype) }
    public override var kind: PrimExprKind { .floorMod }
    public override class var schema: NodeSchema { floorModSchema }
}

private let floorModSchema = NodeSchema(
    "tir.FloorMod", FloorMod.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.FloorMod")
        return FloorMod(a, b)
    })

/// The smaller; for floats NaN where either is NaN.
public final class Min: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) { super.init(a, b, dtype: a.dtype) }
    public override var kind: PrimExprKind { .min }
    public override class var schema: NodeSchema { minSchema }
}

private let minSchema = NodeSchema(
    "tir.Min", Min.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.Min")
        return Min(a, b)
    })

/// The larger; for floats NaN where either is NaN.
public final class Max: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) { super.init(a, b, dtype: a.dtype) }
    public override var kind: PrimExprKind { .max }
    public override class var schema: NodeSchema { maxSchema }
}

private let maxSchema = NodeSchema(
    "tir.Max", Max.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.Max")
        return Max(a, b)
    })

/// `a == b`
public final class EQ: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) {
        super.init(a, b, dtype: DataType.bool.with(lanes: Int(a.dtype.lanes)))
    }
    public override var kind: PrimExprKind { .eq }
    public override class var schema: NodeSchema { eqSchema }
}

private let eqSchema = NodeSchema(
    "tir.EQ", EQ.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.EQ")
        return EQ(a, b)
    })

/// `a != b`
public final class NE: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) {
        super.init(a, b, dtype: DataType.bool.with(lanes: Int(a.dtype.lanes)))
    }
    public override var kind: PrimExprKind { .ne }
    public override class var schema: NodeSchema { neSchema }
}

private let neSchema = NodeSchema(
    "tir.NE", NE.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.NE")
        return NE(a, b)
    })

/// `a < b`
public final class LT: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) {
        super.init(a, b, dtype: DataType.bool.with(lanes: Int(a.dtype.lanes)))
    }
    public override var kind: PrimExprKind { .lt }
    public override class var schema: NodeSchema { ltSchema }
}

private let ltSchema = NodeSchema(
    "tir.LT", LT.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.LT")
        return LT(a, b)
    })

/// `a <= b`
public final class LE: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) {
        super.init(a, b, dtype: DataType.bool.with(lanes: Int(a.dtype.lanes)))
    }
    public override var kind: PrimExprKind { .le }
    public override class var schema: NodeSchema { leSchema }
}

private let leSchema = NodeSchema(
    "tir.LE", LE.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.LE")
        return LE(a, b)
    })

/// `a > b`
public final class GT: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) {
        super.init(a, b, dtype: DataType.bool.with(lanes: Int(a.dtype.lanes)))
    }
    public override var kind: PrimExprKind { .gt }
    public override class var schema: NodeSchema { gtSchema }
}

private let gtSchema = NodeSchema(
    "tir.GT", GT.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.GT")
        return GT(a, b)
    })

/// `a >= b`
public final class GE: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) {
        super.init(a, b, dtype: DataType.bool.with(lanes: Int(a.dtype.lanes)))
    }
    public override var kind: PrimExprKind { .ge }
    public override class var schema: NodeSchema { geSchema }
}

private let geSchema = NodeSchema(
    "tir.GE", GE.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.GE")
        return GE(a, b)
    })

/// Both; short-circuit.
public final class And: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) {
        super.init(a, b, dtype: DataType.bool.with(lanes: Int(a.dtype.lanes)))
    }
    public override var kind: PrimExprKind { .and }
    public override class var schema: NodeSchema { andSchema }
}

private let andSchema = NodeSchema(
    "tir.And", And.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.And")
        return And(a, b)
    })

/// Either; short-circuit.
public final class Or: BinaryExpr, @unchecked Sendable {
    public init(_ a: PrimExpr, _ b: PrimExpr) {
        super.init(a, b, dtype: DataType.bool.with(lanes: Int(a.dtype.lanes)))
    }
    public override var kind: PrimExprKind { .or }
    public override class var schema: NodeSchema { orSchema }
}

private let orSchema = NodeSchema(
    "tir.Or", Or.self, [.field("a", \.a), .field("b", \.b)],
    make: {
        let (a, b) = try operands(&$0, "tir.Or")
        return Or(a, b)
    })

/// The node kinds of this file.
let binarySchemas: [NodeSchema] = [
    Add.schema,
    Sub.schema,
    Mul.schema,
    Div.schema,
    Mod.schema,
    FloorDiv.schema,
    FloorMod.schema,
    Min.schema,
    Max.schema,
    EQ.schema,
    NE.schema,
    LT.schema,
    LE.schema,
    GT.schema,
    GE.schema,
    And.schema,
    Or.schema,
]
