import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

/// The operator inventory: every operator as a computation on TE tensors, and generic schedules.
///
/// Functions are named as the operators of the graph IR, in camel case. They throw TOPI errors only where
/// shapes or attributes that a user gave do not fit; element types are the caller's business.
public enum TOPI {
    /// What a compute is, for schedules: the value of the block annotation `tag`.
    public enum Tag {
        /// One output element of the same index of inputs of the same shape.
        public static let elemwise = "elemwise"
        /// As elementwise, with some axes of inputs repeated.
        public static let broadcast = "broadcast"
        /// One output element of one element each of the inputs.
        public static let injective = "injective"
        /// A reduction over axes of one input.
        public static let commReduce = "comm_reduce"
        /// A tuple reduction that yields a position.
        public static let commReduceIndex = "comm_reduce_idx"
        /// A window reduction.
        public static let pool = "pool"
        /// A statement rather than a formula.
        public static let extern = "extern"
    }

    /// The computation of a graph operator: attributes by the names of the operator's schema, the operands
    /// (a tuple operand spread out), and the type of the result.
    public typealias Compute =
        @Sendable (_ attrs: Attrs, _ inputs: [Tensor], _ outType: IRType) throws -> [Tensor]
}

extension TOPI {
    // The reductions of these names would hide the functions of the standard library within the namespace.
    static func max<T: Comparable>(_ a: T, _ b: T) -> T { Swift.max(a, b) }
    static func min<T: Comparable>(_ a: T, _ b: T) -> T { Swift.min(a, b) }
}

// Names that do not collide with the operators of the namespace, where a member hides a global function.
func asType(_ dtype: DataType, _ e: PrimExpr) -> PrimExpr { cast(dtype, e) }
func leastOf(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { minimum(a, b) }
func greatestOf(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { maximum(a, b) }
func leastOf(_ a: PrimExpr, _ b: Int) -> PrimExpr { minimum(a, const(b, a.dtype)) }
func greatestOf(_ a: PrimExpr, _ b: Int) -> PrimExpr { maximum(a, const(b, a.dtype)) }
func conjunction(_ conditions: [PrimExpr]) -> PrimExpr { all(conditions) }
func floorDivExpr(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { floorDiv(a, b) }
func floorModExpr(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { floorMod(a, b) }

/// Extern blocks carry their tag as an attribute.
let externAttrs = Attrs([(key: "tag", value: .string(TOPI.Tag.extern))])

func imm(_ v: Int) -> PrimExpr { IntImm(v) }

/// The type in which sums of `dtype` are formed: 16-bit floats lose too much of a long sum.
func accumulator(of dtype: DataType) -> DataType { dtype.isFloat && dtype.bits < 32 ? .float32 : dtype }

/// `f` of a floating value, computed in at least 32 bits.
func inFloat32(_ x: PrimExpr, _ f: (PrimExpr) -> PrimExpr) -> PrimExpr {
    x.dtype.isFloat && x.dtype.bits < 32 ? cast(x.dtype, f(cast(.float32, x))) : f(x)
}

/// Whether two dimensions are known to be the same.
func sameDimension(_ a: PrimExpr, _ b: PrimExpr) -> Bool {
    if let x = a.asInt, let y = b.asInt { return x == y }
    return a === b || structuralEqual(a, b)
}

func sameShape(_ a: [PrimExpr], _ b: [PrimExpr]) -> Bool {
    a.count == b.count && zip(a, b).allSatisfy { sameDimension($0, $1) }
}

/// `axis` counted from the front; TOPI001 where the rank has no such axis.
func normalized(_ axis: Int, rank: Int, _ op: String) throws -> Int {
    let a = axis < 0 ? axis + rank : axis
    guard a >= 0, a < rank else {
        throw ApusError(
            "TOPI001", "\(op): there is no such axis", expected: "\(-rank)..<\(rank)", actual: "\(axis)")
    }
    return a
}

/// Distinct axes counted from the front, ascending; nil = all.
func normalized(_ axes: [Int]?, rank: Int, _ op: String) throws -> [Int] {
    guard let axes else { return Array(0..<rank) }
    var result: Set<Int> = []
    for a in axes { result.insert(try normalized(a, rank: rank, op)) }
    return result.sorted()
}

func require(_ condition: Bool, _ op: String, _ message: @autoclosure () -> String) throws {
    if !condition { throw ApusError("TOPI002", "\(op): \(message())") }
}

func productOf(_ dims: [PrimExpr]) -> PrimExpr { dims.reduce(imm(1)) { $0 * $1 } }

extension Tensor {
    /// The one element of a tensor that stands for a scalar.
    var scalarValue: PrimExpr { self[shape.map { _ in imm(0) }] }

    /// The element at `indices` of a result of shape `out` that this tensor is broadcast to.
    func broadcastLoad(_ indices: [PrimExpr], _ out: [PrimExpr]) -> PrimExpr {
        let skip = indices.count - rank
        var own: [PrimExpr] = []
        for k in 0..<rank {
            let repeated = shape[k].asInt == 1 && out[skip + k].asInt != 1
            own.append(repeated ? imm(0) : indices[skip + k])
        }
        return self[own]
    }
}

/// `index` into an axis of `extent` elements, negative counted from the end, kept inside.
func boundedIndex(_ index: PrimExpr, _ extent: PrimExpr) -> PrimExpr {
    let i = asType(.index, index)
    let wrapped = select(i .< imm(0), i + extent, i)
    return leastOf(greatestOf(wrapped, imm(0)), extent - 1)
}
