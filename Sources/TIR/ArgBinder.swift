import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// Matches what a function declares with what it is given: variables that stand alone are defined by their value, all
/// else must be equal, which an assertion checks when the program runs. Used for the arguments of an entry function, for
/// views, and for the buffers of a tensor intrinsic.
public final class ArgBinder {
    /// Variables defined, in order.
    public private(set) var definitions: [(variable: Var, value: PrimExpr)] = []
    /// Checks to be made after the definitions, in order.
    public private(set) var asserts: [AssertStmt] = []
    private var values: [Var: PrimExpr]
    private let code: String
    private let simplify: (PrimExpr) -> PrimExpr

    /// - Parameters:
    ///   - known: variables that have a value already.
    ///   - code: of the assertions.
    ///   - simplify: makes conditions simpler where more is known than here; what becomes constantly true is no assertion.
    public init(
        known: [Var: PrimExpr] = [:], code: String = "RT100",
        simplify: @escaping (PrimExpr) -> PrimExpr = { $0 }
    ) {
        values = known
        self.code = code
        self.simplify = simplify
    }

    /// What a variable was bound to.
    public func value(of v: Var) -> PrimExpr? { values[v] }

    /// - Throws: TIR157 where the condition can never hold.
    private func require(_ condition: PrimExpr, _ message: String) throws {
        let c = simplify(condition)
        if c.isTrue { return }
        if c.isFalse { throw ApusError("TIR157", message, expected: "\(condition)", actual: "never") }
        asserts.append(AssertStmt(c, code: code, message))
    }

    /// Binds an argument to a value; whether it was defined by it.
    @discardableResult
    public func bind(_ argument: PrimExpr, _ value: PrimExpr, _ name: String) throws -> Bool {
        if let v = argument as? Var {
            guard v.dtype == value.dtype || (v.dtype.isInteger && value.dtype.isInteger) else {
                throw ApusError(
                    "TIR157", "`\(name)` has another type", expected: "\(v.dtype)", actual: "\(value.dtype)")
            }
            let converted = v.dtype.isHandle ? value : cast(v.dtype, value)
            guard let known = values[v] else {
                values[v] = converted
                definitions.append((variable: v, value: converted))
                return true
            }
            if known !== converted && !structuralEqual(known, converted) {
                try require(
                    equal(known, converted), "`\(name)` has another value than `\(v.name)` has already")
            }
            return false
        }
        let declared = substitute(argument, values)
        if declared.dtype.isHandle || structuralEqual(declared, value) { return false }
        let (a, b) = matched(declared, value)
        try require(a .== b, "`\(name)` does not fit: \(argument) is expected")
        return false
    }

    private func equal(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr {
        if a.dtype.isHandle { return EQ(a, b) }
        let (x, y) = matched(a, b)
        return x .== y
    }

    /// Binds lists of one length.
    public func bind(_ arguments: [PrimExpr], _ values: [PrimExpr], _ name: String) throws {
        guard arguments.count == values.count else {
            throw ApusError(
                "TIR157", "`\(name)` has another length", expected: "\(arguments.count)",
                actual: "\(values.count)")
        }
        for (i, (a, v)) in zip(arguments, values).enumerated() { try bind(a, v, "\(name)[\(i)]") }
    }

    /// Binds a declared buffer to one that is there: data, offset, shape, strides.
    /// - Parameter fuzzy: whether the given one may have more dimensions, all of extent 1 in front, and whether a
    ///   vector of lanes may be declared where its last dimension is that long.
    public func bind(_ declared: Buffer, to given: Buffer, _ name: String, fuzzy: Bool = false) throws {
        guard declared.scope == given.scope else {
            throw ApusError(
                "TIR157", "`\(name)` is in another memory", expected: declared.scope, actual: given.scope)
        }
        guard declared.dtype == given.dtype || (fuzzy && declared.dtype.element == given.dtype.element) else {
            throw ApusError(
                "TIR157", "`\(name)` has another element type", expected: "\(declared.dtype)",
                actual: "\(given.dtype)")
        }
        if given.alignment % Swift.max(declared.alignment, 1) != 0 {
            throw ApusError(
                "TIR157", "`\(name)` is aligned for less", expected: "\(declared.alignment) bytes",
                actual: "\(given.alignment) bytes")
        }
        var extra = given.rank - declared.rank
        let lanes = Int(declared.dtype.lanes) / Swift.max(Int(given.dtype.lanes), 1)
        if lanes > 1 { extra -= 1 }
        guard extra == 0 || (fuzzy && extra > 0) else {
            throw ApusError(
                "TIR157", "`\(name)` has another rank", expected: "\(declared.rank)", actual: "\(given.rank)")
        }
        try bind(declared.data, given.data, "\(name).data")
        for i in 0..<extra {
            try require(
                given.shape[i] .== const(1, given.shape[i].dtype), "dimension \(i) of `\(name)` is not 1")
        }
        let last = declared.rank + extra
        if lanes > 1 {
            try require(
                given.shape[last] .== const(lanes, given.shape[last].dtype),
                "the vectors of `\(name)` are not its rows")
            if !given.strides.isEmpty {
                try require(
                    given.strides[last] .== const(1, given.strides[last].dtype),
                    "the vectors of `\(name)` have gaps")
            }
        }
        for i in 0..<declared.rank {
            try bind(declared.shape[i], given.shape[i + extra], "\(name).shape[\(i)]")
        }
        let given0 = lanes > 1 ? floorDiv(given.elemOffset, lanes) : given.elemOffset
        try bindOffset(declared, given0, name)
        if declared.strides.isEmpty {
            try requireCompact(given, name)
        } else {
            let steps = given.elementStrides
            for i in 0..<declared.rank {
                let s = lanes > 1 ? floorDiv(steps[i + extra], lanes) : steps[i + extra]
                try bind(declared.strides[i], s, "\(name).strides[\(i)]")
            }
        }
    }

    private func bindOffset(_ declared: Buffer, _ value: PrimExpr, _ name: String) throws {
        try bind(declared.elemOffset, value, "\(name).elem_offset")
        if declared.offsetFactor > 1 {
            let zero = const(0, value.dtype)
            try require(
                floorMod(value, const(declared.offsetFactor, value.dtype)) .== zero,
                "the offset of `\(name)` is no multiple of \(declared.offsetFactor)")
        }
    }

    /// A buffer without strides is compact; a dimension of one element may have any stride.
    private func requireCompact(_ given: Buffer, _ name: String) throws {
        if given.strides.isEmpty { return }
        var expected: PrimExpr = const(1)
        for i in given.shape.indices.reversed() {
            let n = given.shape[i]
            if n.asInt != 1 {
                let (a, b) = matched(given.strides[i], expected)
                try require(
                    n.asInt == nil ? or(n .== const(1, n.dtype), a .== b) : a .== b,
                    "`\(name)` is not compact")
            }
            let (x, y) = matched(expected, n)
            expected = x * y
        }
    }

    /// `body` with the definitions around it, and the checks after them.
    public func wrap(_ body: Stmt) -> Stmt {
        var s = SeqStmt.flat(asserts + [body])
        for (v, value) in definitions.reversed() { s = LetStmt(v, value, s) }
        return s
    }
}
