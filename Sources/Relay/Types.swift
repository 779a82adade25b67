import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

extension Relay {
    /// Ranks beyond this are refused, so that hostile attributes cannot ask for endless shapes.
    public static let maximumRank = 64

    /// Whether two types are the same, dimensions being compared by `dimsEqual`.
    public static func typesEqual(_ a: IRType, _ b: IRType) -> Bool {
        if a === b { return true }
        switch (a, b) {
        case (let a as TensorType, let b as TensorType):
            return a.dtype == b.dtype && a.rank == b.rank && zip(a.shape, b.shape).allSatisfy(dimsEqual)
        case (let a as TupleType, let b as TupleType):
            return a.fields.count == b.fields.count && zip(a.fields, b.fields).allSatisfy(typesEqual)
        case (let a as FuncType, let b as FuncType):
            return a.argTypes.count == b.argTypes.count && zip(a.argTypes, b.argTypes).allSatisfy(typesEqual)
                && typesEqual(a.retType, b.retType)
        case (let a as RelayRefType, let b as RelayRefType): return typesEqual(a.value, b.value)
        default: return structuralEqual(a, b)
        }
    }

    /// Whether two dimensions are provably the same: equal constants, or expressions whose difference as a
    /// linear form over structurally equal terms is zero. False means "not known to be".
    public static func dimsEqual(_ a: PrimExpr, _ b: PrimExpr) -> Bool {
        if a === b { return true }
        if let x = a.asInt, let y = b.asInt { return x == y }
        var form = LinearForm()
        guard form.add(a, times: 1, depth: 0), form.add(b, times: -1, depth: 0) else { return false }
        return form.constant == 0 && form.terms.allSatisfy { $0.factor == 0 }
    }

    /// Whether an argument of type `actual` may be passed where `wanted` is declared; a dimension of `wanted`
    /// that is a variable takes the argument's dimension at its first occurrence.
    static func unify(_ wanted: IRType, _ actual: IRType, _ dims: inout [ApusTIR.Var: PrimExpr]) -> Bool {
        switch (wanted, actual) {
        case (let w as TensorType, let a as TensorType):
            guard w.dtype == a.dtype, w.rank == a.rank else { return false }
            for (x, y) in zip(w.shape, a.shape) {
                if let v = x as? ApusTIR.Var {
                    if let bound = dims[v] {
                        if !dimsEqual(bound, y) { return false }
                    } else {
                        dims[v] = y
                    }
                } else if !dimsEqual(ApusTIR.substitute(x, dims), y) {
                    return false
                }
            }
            return true
        case (let w as TupleType, let a as TupleType):
            guard w.fields.count == a.fields.count else { return false }
            for (x, y) in zip(w.fields, a.fields) where !unify(x, y, &dims) { return false }
            return true
        default: return typesEqual(wanted, actual)
        }
    }

    /// `type` with variables in dimensions replaced.
    public static func substituteDims(_ type: IRType, _ dims: [ApusTIR.Var: PrimExpr]) -> IRType {
        switch type {
        case let t as TensorType: return TensorType(t.shape.map { ApusTIR.substitute($0, dims) }, t.dtype)
        case let t as TupleType: return TupleType(t.fields.map { substituteDims($0, dims) })
        case let t as RelayRefType: return RelayRefType(substituteDims(t.value, dims))
        case let t as FuncType:
            return FuncType(
                t.argTypes.map { substituteDims($0, dims) }, substituteDims(t.retType, dims),
                typeParams: t.typeParams)
        default: return type
        }
    }

    /// Appends the variables in the dimensions of `type` that are not in `seen`.
    static func collectSymbols(
        _ type: IRType, _ found: inout [ApusTIR.Var], _ seen: inout Set<ObjectIdentifier>
    ) {
        switch type {
        case let t as TensorType:
            for d in t.shape where d.asInt == nil {
                ApusTIR.postOrderVisit(d) { e in
                    if let v = e as? ApusTIR.Var, seen.insert(ObjectIdentifier(v)).inserted {
                        found.append(v)
                    }
                }
            }
        case let t as TupleType:
            for f in t.fields { collectSymbols(f, &found, &seen) }
        case let t as RelayRefType: collectSymbols(t.value, &found, &seen)
        case let t as FuncType:
            for a in t.argTypes { collectSymbols(a, &found, &seen) }
            collectSymbols(t.retType, &found, &seen)
        default: break
        }
    }

    /// Throws RELAY009 for a type no tensor can have: too many axes, a negative extent, more bytes than fit.
    static func checkSize(_ type: IRType) throws {
        switch type {
        case let t as TupleType:
            for f in t.fields { try checkSize(f) }
        case let t as TensorType:
            guard t.rank <= maximumRank else {
                throw ApusError(
                    "RELAY009", "a tensor of this rank is not supported",
                    expected: "at most \(maximumRank) axes",
                    actual: "\(t.rank)")
            }
            var product = max(t.dtype.byteCount, 1)
            for d in t.shape {
                guard let n = d.asInt else { continue }
                let (next, overflow) = product.multipliedReportingOverflow(by: max(n, 1))
                guard n >= 0, !overflow, next < 1 << 62 else {
                    throw ApusError(
                        "RELAY009", "a tensor of this shape cannot exist",
                        expected: "extents >= 0 of a product that fits", actual: "\(t)")
                }
                product = next
            }
        default: break
        }
    }
}
