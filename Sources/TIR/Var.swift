import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// A variable: loop variable, parameter, symbolic dimension or buffer pointer. Two variables are equal only if they
/// are the same object (or paired by a definition, under structural equality); the name is a hint.
public final class Var: PrimExpr, @unchecked Sendable {
    public let name: String
    /// `PrimType` of the value, or `PointerType` for a buffer's data.
    public let type: IRType

    public init(_ name: String, dtype: DataType = .index) {
        self.name = name
        self.type = PrimType(dtype)
        super.init(dtype: dtype)
    }

    /// A variable of the given type; a pointer has dtype `handle`.
    public init(_ name: String, type: IRType) {
        self.name = name
        self.type = type
        super.init(dtype: (type as? PrimType)?.dtype ?? .handle)
    }

    public override var kind: PrimExprKind { .variable }
    public override class var schema: NodeSchema { varSchema }
    public override var description: String { name }
}

private let varSchema = NodeSchema(
    "tir.Var", Var.self, [.ignored("name", \.name), .field("type", \.type)], identity: .variable,
    make: {
        let name: String = try $0.next()
        return Var(name, type: try $0.next())
    })

/// How an iteration variable may be executed.
public enum IterVarType: String, Sendable, FieldConvertible {
    /// Spatial: iterations are independent.
    case dataParallel = "spatial"
    /// Iterations combine by a commutative reduction.
    case commReduce = "reduce"
    /// In order.
    case ordered
    case opaque
    /// Run as the annotation of its loop says: all iterations at once on several threads, written out, or in the lanes
    /// of a vector.
    case parallelized, unrolled, vectorized
    /// Replaced by a hardware intrinsic.
    case tensorized
    /// Bound to a hardware thread axis; the tag names it.
    case threadIndex
}

/// A variable with its domain and its kind of iteration.
public final class IterVar: Node, @unchecked Sendable {
    public let dom: IRRange
    public let variable: Var
    public let iterType: IterVarType
    /// For `threadIndex`: `blockIdx.x`, `threadIdx.x`, …
    public let threadTag: String

    public init(_ dom: IRRange, _ variable: Var, _ iterType: IterVarType, threadTag: String = "") {
        self.dom = dom
        self.variable = variable
        self.iterType = iterType
        self.threadTag = threadTag
    }

    public override class var schema: NodeSchema { iterVarSchema }
    public override var description: String { "\(variable.name): \(iterType.rawValue) in \(dom)" }
}

private let iterVarSchema = NodeSchema(
    "tir.IterVar", IterVar.self,
    [
        .field("dom", \.dom), .definition("variable", \.variable), .field("iterType", \.iterType),
        .field("threadTag", \.threadTag),
    ],
    make: {
        let dom: IRRange = try $0.next()
        let variable: Var = try $0.next()
        return IterVar(dom, variable, try $0.next(), threadTag: try $0.next())
    })
