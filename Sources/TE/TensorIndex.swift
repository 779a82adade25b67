import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// What can stand in an index or a shape: an expression, an iteration variable, an integer.
public protocol TensorIndex {
    /// The expression that it is.
    var indexExpr: PrimExpr { get }
}

extension PrimExpr: TensorIndex {
    public var indexExpr: PrimExpr { self }
}

extension IterVar: TensorIndex {
    public var indexExpr: PrimExpr { variable }
}

extension Int: TensorIndex {
    public var indexExpr: PrimExpr { IntImm(self) }
}

/// What can stand in a region: a point as in an index, or a range of a dimension.
public protocol RegionIndex {
    /// The part of the dimension.
    var regionRange: IRRange { get }
}

extension PrimExpr: RegionIndex {
    public var regionRange: IRRange { IRRange(min: self, extent: IntImm(1, dtype: dtype.element)) }
}

extension IterVar: RegionIndex {
    public var regionRange: IRRange { variable.regionRange }
}

extension Int: RegionIndex {
    public var regionRange: IRRange { IRRange(self, extent: 1) }
}

extension Range: RegionIndex where Bound == Int {
    public var regionRange: IRRange { IRRange(lowerBound, extent: count) }
}

extension IRRange: RegionIndex {
    public var regionRange: IRRange { self }
}

// An iteration variable in arithmetic is its variable: `a[i + k]`.
extension IterVar {
    public static func + (a: IterVar, b: any TensorIndex) -> PrimExpr { a.variable + b.indexExpr }
    public static func + (a: PrimExpr, b: IterVar) -> PrimExpr { a + b.variable }
    public static func + (a: Int, b: IterVar) -> PrimExpr { const(a, b.variable.dtype) + b.variable }
    public static func - (a: IterVar, b: any TensorIndex) -> PrimExpr { a.variable - b.indexExpr }
    public static func - (a: PrimExpr, b: IterVar) -> PrimExpr { a - b.variable }
    public static func - (a: Int, b: IterVar) -> PrimExpr { const(a, b.variable.dtype) - b.variable }
    public static func * (a: IterVar, b: any TensorIndex) -> PrimExpr { a.variable * b.indexExpr }
    public static func * (a: PrimExpr, b: IterVar) -> PrimExpr { a * b.variable }
    public static func * (a: Int, b: IterVar) -> PrimExpr { const(a, b.variable.dtype) * b.variable }
    public static func .== (a: IterVar, b: any TensorIndex) -> PrimExpr { a.variable .== b.indexExpr }
    public static func .!= (a: IterVar, b: any TensorIndex) -> PrimExpr { a.variable .!= b.indexExpr }
    public static func .< (a: IterVar, b: any TensorIndex) -> PrimExpr { a.variable .< b.indexExpr }
    public static func .<= (a: IterVar, b: any TensorIndex) -> PrimExpr { a.variable .<= b.indexExpr }
    public static func .> (a: IterVar, b: any TensorIndex) -> PrimExpr { a.variable .> b.indexExpr }
    public static func .>= (a: IterVar, b: any TensorIndex) -> PrimExpr { a.variable .>= b.indexExpr }
}

extension PrimExpr {
    public static func + (a: Int, b: PrimExpr) -> PrimExpr { const(a, b.dtype) + b }
    public static func - (a: Int, b: PrimExpr) -> PrimExpr { const(a, b.dtype) - b }
    public static func * (a: Int, b: PrimExpr) -> PrimExpr { const(a, b.dtype) * b }
}

/// `floor(k / b)` of an iteration variable.
public func floorDiv(_ k: IterVar, _ b: any TensorIndex) -> PrimExpr { floorDiv(k.variable, b.indexExpr) }
/// `k - b * floor(k / b)` of an iteration variable.
public func floorMod(_ k: IterVar, _ b: any TensorIndex) -> PrimExpr { floorMod(k.variable, b.indexExpr) }

/// Some leading indices of a tensor: `a.slice(i)[j].value` is `a[i, j]`.
public struct TensorSlice {
    public let tensor: Tensor
    public let indices: [PrimExpr]

    /// With further indices.
    public subscript(_ more: any TensorIndex...) -> TensorSlice {
        TensorSlice(tensor: tensor, indices: indices + more.map { $0.indexExpr })
    }

    /// The element, once there is an index for each axis (TE010 of the operation that uses it otherwise).
    public var value: PrimExpr { ProducerLoad(tensor, indices) }

    /// What is left of the tensor, of the remaining axes, as a tensor of its own.
    public func asTensor(name: String = "slice") -> Tensor {
        let given = indices
        let rest = Array(tensor.shape.dropFirst(given.count))
        return te.computeIndexed(rest, name: name, tag: "injective") { tensor[given + $0] }
    }
}

/// A box of a tensor: what a tensor intrinsic works on.
public struct TensorRegion {
    public let tensor: Tensor
    public let region: [IRRange]
}

extension Tensor {
    /// The first axes fixed.
    public func slice(_ indices: any TensorIndex...) -> TensorSlice {
        TensorSlice(tensor: self, indices: indices.map { $0.indexExpr })
    }

    /// A box of the tensor: a point or a range an axis, as in `a.region(i, 0..<16)`.
    public func region(_ ranges: any RegionIndex...) -> TensorRegion {
        TensorRegion(tensor: self, region: ranges.map { $0.regionRange })
    }

    /// The spatial axes of the operation that computes it; empty for an input.
    public var axis: [IterVar] { op.axis }

    /// The reduction axes of the operation that computes it.
    public var reduceAxis: [IterVar] { op.reduceAxis }
}
