import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Arithmetic of whole tensors: element by element, shapes aligned from the right, a dimension of 1 repeated. Shapes that do not
// fit make an operation that says so when a function is made of it (TE018).

/// What can be the other operand of a tensor: a tensor, a scalar expression, a number.
public protocol TensorOperand {}

extension Tensor: TensorOperand {}
extension PrimExpr: TensorOperand {}
extension Int: TensorOperand {}
extension Double: TensorOperand {}

/// The shape of an elementwise operation of two, or nil where they do not fit.
public func broadcastShape(_ a: [PrimExpr], _ b: [PrimExpr]) -> [PrimExpr]? {
    var result: [PrimExpr] = []
    let rank = max(a.count, b.count)
    for i in 0..<rank {
        let x = i < rank - a.count ? nil : a[i - (rank - a.count)]
        let y = i < rank - b.count ? nil : b[i - (rank - b.count)]
        guard let x, let y else {
            result.append(x ?? y ?? IntImm(1))
            continue
        }
        if structuralEqual(x, y) || y.asInt == 1 {
            result.append(x)
        } else if x.asInt == 1 {
            result.append(y)
        } else {
            return nil
        }
    }
    return result
}

/// The element of `t` that belongs to an element of a broadcast result.
private func element(_ t: Tensor, _ indices: [PrimExpr]) -> PrimExpr {
    let own = indices.suffix(t.rank)
    return t[zip(own, t.shape).map { i, d in d.asInt == 1 ? IntImm(0, dtype: i.dtype) : i }]
}

@inline(never)
private func combined(_ kind: PrimExprKind, _ name: String, _ a: any TensorOperand, _ b: any TensorOperand)
    -> Tensor
{
    var type = DataType.float32
    if let t = a as? Tensor { type = t.dtype } else if let t = b as? Tensor { type = t.dtype }
    func value(_ o: any TensorOperand, _ indices: [PrimExpr]) -> PrimExpr {
        switch o {
        case let t as Tensor: return element(t, indices)
        case let e as PrimExpr: return e
        case let n as Int: return const(n, type)
        case let x as Double:
            return type.isFloat ? const(x, type) : const(x, .float32)
        default: return const(0, type)
        }
    }
    let left = (a as? Tensor)?.shape ?? []
    let right = (b as? Tensor)?.shape ?? []
    let both = a is Tensor && b is Tensor
    guard let shape = broadcastShape(left, right) else {
        let error = ApusError(
            "TE018", "the shapes of the operands do not fit together", at: ["compute: \(name)"],
            expected: "equal dimensions, or 1, from the right", actual: "\(left) and \(right)")
        let longer = left.count >= right.count ? left : right
        let op = ComputeOp.deferred(
            name: name, axis: spatialAxes(longer), body: [const(0, type)], error: error)
        return op.output()
    }
    return te.computeIndexed(
        shape, name: name, tag: both ? "broadcast" : "elemwise"
    ) { binary(kind, value(a, $0), value(b, $0)) }
}

extension Tensor {
    public static func + (a: Tensor, b: any TensorOperand) -> Tensor { combined(.add, "add", a, b) }
    public static func + (a: PrimExpr, b: Tensor) -> Tensor { combined(.add, "add", a, b) }
    public static func + (a: Int, b: Tensor) -> Tensor { combined(.add, "add", a, b) }
    public static func + (a: Double, b: Tensor) -> Tensor { combined(.add, "add", a, b) }
    public static func - (a: Tensor, b: any TensorOperand) -> Tensor { combined(.sub, "subtract", a, b) }
    public static func - (a: PrimExpr, b: Tensor) -> Tensor { combined(.sub, "subtract", a, b) }
    public static func - (a: Int, b: Tensor) -> Tensor { combined(.sub, "subtract", a, b) }
    public static func - (a: Double, b: Tensor) -> Tensor { combined(.sub, "subtract", a, b) }
    public static func * (a: Tensor, b: any TensorOperand) -> Tensor { combined(.mul, "multiply", a, b) }
    public static func * (a: PrimExpr, b: Tensor) -> Tensor { combined(.mul, "multiply", a, b) }
    public static func * (a: Int, b: Tensor) -> Tensor { combined(.mul, "multiply", a, b) }
    public static func * (a: Double, b: Tensor) -> Tensor { combined(.mul, "multiply", a, b) }
    /// Truncating for integers.
    public static func / (a: Tensor, b: any TensorOperand) -> Tensor { combined(.div, "divide", a, b) }
    public static func / (a: PrimExpr, b: Tensor) -> Tensor { combined(.div, "divide", a, b) }
    public static func / (a: Int, b: Tensor) -> Tensor { combined(.div, "divide", a, b) }
    public static func / (a: Double, b: Tensor) -> Tensor { combined(.div, "divide", a, b) }
    public static prefix func - (a: Tensor) -> Tensor {
        te.computeIndexed(a.shape, name: "negative", tag: "elemwise") { -a[$0] }
    }
}
