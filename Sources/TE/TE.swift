import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// swift-format-ignore: TypeNamesShouldBeCapitalized
/// The tensor-expression language: declare what is computed, then say how.
///
///     let a = te.placeholder([n, n], name: "A"), b = te.placeholder([n, n], name: "B")
///     let k = te.reduceAxis(0..<n, name: "k")
///     let c = te.compute([n, n], name: "C") { i, j in te.sum(a[i, k] * b[k, j], axis: k) }
///     let s = te.createSchedule(c)
///
/// Nothing here throws: what is wrong with a declaration is noted in its operation (`Operation.error`), and whoever makes a
/// function of it (`createPrimFunc`, `build`) throws the first such error. The free functions (`compute`,
/// `placeholder`) are the same for libraries that want each error at once.
public enum te {
    // MARK: Inputs and axes

    /// An input tensor.
    public static func placeholder(
        _ shape: [any TensorIndex], _ dtype: DataType = .float32, name: String = "placeholder"
    ) -> Tensor {
        PlaceholderOp(name: name, shape: shape.map { $0.indexExpr }, dtype: dtype).output()
    }

    /// A variable: a dimension known only when the function runs, or a scalar parameter.
    public static func `var`(_ name: String = "n", _ dtype: DataType = .index) -> Var {
        Var(name, dtype: dtype)
    }

    /// A variable that is not negative. Dimensions never are, so that this is `var`.
    public static func sizeVar(_ name: String = "n", _ dtype: DataType = .index) -> Var {
        Var(name, dtype: dtype)
    }

    /// A constant.
    public static func const(_ value: Int, _ dtype: DataType = .index) -> PrimExpr {
        ApusTIR.const(value, dtype)
    }

    /// A floating constant.
    public static func const(_ value: Double, _ dtype: DataType = .float32) -> PrimExpr {
        ApusTIR.const(value, dtype)
    }

    /// A reduction axis.
    public static func reduceAxis(_ range: Range<Int>, name: String = "k") -> IterVar {
        IterVar(IRRange(range.lowerBound, extent: range.count), Var(name), .commReduce)
    }

    /// A reduction axis over `min ..< min + extent`.
    public static func reduceAxis(_ range: IRRange, name: String = "k") -> IterVar {
        IterVar(range, Var(name, dtype: range.extent.dtype), .commReduce)
    }

    /// A reduction axis over `0 ..< extent`.
    public static func reduceAxis(_ extent: any TensorIndex, name: String = "k") -> IterVar {
        reduceAxis(IRRange(extent: extent.indexExpr), name: name)
    }

    /// A hardware thread axis: `blockIdx.x`, `threadIdx.y`, `vthread`, …. The extent may be left to the loop that is bound.
    public static func threadAxis(_ tag: String, extent: (any TensorIndex)? = nil) -> IterVar {
        IterVar(
            IRRange(extent: extent?.indexExpr ?? IntImm(0)), Var(tag, dtype: .index), .threadIndex,
            threadTag: tag)
    }

    // MARK: Reductions

    /// The sum of `e` over the axes, where `condition` holds; starts from `initial` (0).
    public static func sum(
        _ e: PrimExpr, axis: IterVar..., where condition: PrimExpr = trueExpr, initial: PrimExpr? = nil
    ) -> PrimExpr { started(reduceSum(e, axis, where: condition), initial) }

    /// The product of `e` over the axes, where `condition` holds; starts from `initial` (1).
    public static func prod(
        _ e: PrimExpr, axis: IterVar..., where condition: PrimExpr = trueExpr, initial: PrimExpr? = nil
    ) -> PrimExpr { started(reduceProd(e, axis, where: condition), initial) }

    /// The greatest `e`; starts from `initial` (the type's least value, minus infinity). NaN wins.
    public static func max(
        _ e: PrimExpr, axis: IterVar..., where condition: PrimExpr = trueExpr, initial: PrimExpr? = nil
    ) -> PrimExpr { started(reduceMax(e, axis, where: condition), initial) }

    /// The least `e`; starts from `initial` (the type's greatest value, infinity). NaN wins.
    public static func min(
        _ e: PrimExpr, axis: IterVar..., where condition: PrimExpr = trueExpr, initial: PrimExpr? = nil
    ) -> PrimExpr { started(reduceMin(e, axis, where: condition), initial) }

    /// Whether all `e` (bool) hold.
    public static func all(_ e: PrimExpr, axis: IterVar...) -> PrimExpr { reduceAll(e, axis) }

    /// Whether one of the `e` (bool) holds.
    public static func any(_ e: PrimExpr, axis: IterVar...) -> PrimExpr { reduceAny(e, axis) }

    /// Where the greatest value is and what it is: `(index, value)`, the least index of equal ones. Both are the formulas of
    /// one `computeTuple`.
    public static func argmax(_ index: PrimExpr, _ value: PrimExpr, axis: IterVar...) -> [PrimExpr] {
        reduceTuple(argReducer(index.dtype, value.dtype, greatest: true), [index, value], axis)
    }

    /// As `argmax`, for the least value.
    public static func argmin(_ index: PrimExpr, _ value: PrimExpr, axis: IterVar...) -> [PrimExpr] {
        reduceTuple(argReducer(index.dtype, value.dtype, greatest: false), [index, value], axis)
    }

    /// A reduction of one's own: `combine` of two tuples, which must be commutative and associative, and its neutral
    /// element for given types. Combiners that give another number of values are an error of the operation (TE015).
    public static func commReducer(
        _ combine: @escaping ([PrimExpr], [PrimExpr]) -> [PrimExpr],
        _ identity: @escaping ([DataType]) -> [PrimExpr], name: String = "reduce"
    ) -> Reducer {
        Reducer(name: name, combine: combine, identity: identity)
    }

    private static func started(_ e: PrimExpr, _ initial: PrimExpr?) -> PrimExpr {
        guard let initial, let r = e as? Reduce else { return e }
        return Reduce(
            r.combiner, r.source, r.axis, condition: r.condition, valueIndex: r.valueIndex, initial: [initial]
        )
    }

    // MARK: Tags

    /// Operations declared in `body` without a tag of their own get `tag`. A scope within a scope replaces it.
    public static func tagScope<R>(_ tag: String, _ body: () throws -> R) rethrows -> R {
        try TagScope.$current.withValue(tag, operation: body)
    }

    /// Dimensions and other quantities of which special cases are known while `body` runs; see
    /// `SpecializedCondition.current`.
    public static func specializedCondition<R>(_ clauses: [PrimExpr], _ body: () throws -> R) rethrows -> R {
        try SpecializedCondition.$current.withValue(SpecializedCondition(clauses: clauses), operation: body)
    }
}

/// The tag that operations get which name none.
enum TagScope {
    @TaskLocal static var current = ""
}

/// Conditions that whoever chooses an implementation may rely on: all clauses hold at run time.
public struct SpecializedCondition: Sendable {
    /// Truth values, such as `n .>= 16`; all hold.
    public let clauses: [PrimExpr]

    public init(clauses: [PrimExpr]) { self.clauses = clauses }

    /// The innermost one around the caller, or nil.
    @TaskLocal public static var current: SpecializedCondition?
}

/// A commutative reduction that a program defines; call it like `te.sum`, with one value or several.
public struct Reducer {
    public let name: String
    let combine: ([PrimExpr], [PrimExpr]) -> [PrimExpr]
    let identity: ([DataType]) -> [PrimExpr]

    /// The combiner for values of these types.
    public func combiner(_ types: [DataType]) -> CommReducer {
        var left: [Var] = []
        var right: [Var] = []
        for (i, t) in types.enumerated() {
            left.append(Var("x\(i)", dtype: t))
            right.append(Var("y\(i)", dtype: t))
        }
        return CommReducer(lhs: left, rhs: right, result: combine(left, right), identity: identity(types))
    }

    /// The reduction of one value.
    public func callAsFunction(
        _ e: PrimExpr, axis: IterVar..., where condition: PrimExpr = trueExpr, initial: PrimExpr? = nil
    ) -> PrimExpr {
        Reduce(
            combiner([e.dtype]), [e], axis, condition: condition, initial: initial.map { [$0] } ?? [])
    }

    /// The reduction of a tuple: the formulas of one `computeTuple`.
    public func callAsFunction(
        _ source: [PrimExpr], axis: IterVar..., where condition: PrimExpr = trueExpr, initial: [PrimExpr] = []
    ) -> [PrimExpr] {
        let combiner = combiner(source.map(\.dtype))
        return source.indices.map {
            Reduce(combiner, source, axis, condition: condition, valueIndex: $0, initial: initial)
        }
    }
}

private func argReducer(_ index: DataType, _ value: DataType, greatest: Bool) -> CommReducer {
    let a = [Var("i", dtype: index), Var("x", dtype: value)]
    let b = [Var("j", dtype: index), Var("y", dtype: value)]
    let better: PrimExpr = greatest ? a[1] .> b[1] : a[1] .< b[1]
    let first: PrimExpr = or(better, and(a[1] .== b[1], a[0] .<= b[0]))
    return CommReducer(
        lhs: a, rhs: b, result: [select(first, a[0], b[0]), select(first, a[1], b[1])],
        identity: [maxValue(index), greatest ? minValue(value) : maxValue(value)])
}
