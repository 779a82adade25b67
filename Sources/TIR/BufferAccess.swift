import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

extension Buffer {
    /// What a pointer is used for.
    public struct AccessMask: OptionSet, Sendable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }
        public static let read = AccessMask(rawValue: 1)
        public static let write = AccessMask(rawValue: 2)
        public static let readWrite: AccessMask = [.read, .write]
    }

    /// A buffer whose data, strides and offset are variables of its own, as one that is given from outside: strides
    /// `name_s0`, … if `strided`, and an offset that is a multiple of `offsetFactor` elements if that is not 0.
    public static func declare(
        _ name: String, _ shape: [PrimExpr], _ dtype: DataType = .float32, scope: String = "global",
        strided: Bool = false, offsetFactor: Int = 0, alignment: Int = 0
    ) -> Buffer {
        let pointer = PointerType(PrimType(dtype), storageScope: scope == "global" ? "" : scope)
        return Buffer(
            data: Var(name, type: pointer), dtype: dtype, shape: shape,
            strides: strided ? shape.indices.map { Var("\(name)_s\($0)") } : [],
            elemOffset: offsetFactor == 0 ? IntImm(0) : Var("\(name)_offset"), name: name,
            alignment: alignment,
            offsetFactor: offsetFactor)
    }

    /// A copy with some parts replaced.
    public func with(
        data: Var? = nil, dtype: DataType? = nil, shape: [PrimExpr]? = nil, strides: [PrimExpr]? = nil,
        elemOffset: PrimExpr? = nil, name: String? = nil, alignment: Int? = nil, offsetFactor: Int? = nil
    ) -> Buffer {
        Buffer(
            data: data ?? self.data, dtype: dtype ?? self.dtype, shape: shape ?? self.shape,
            strides: strides ?? self.strides, elemOffset: elemOffset ?? self.elemOffset,
            name: name ?? self.name,
            alignment: alignment ?? self.alignment, offsetFactor: offsetFactor ?? self.offsetFactor)
    }

    /// Strides in elements; of a compact buffer the products of the inner dimensions.
    public var elementStrides: [PrimExpr] {
        if !strides.isEmpty || shape.isEmpty { return strides }
        var list: [PrimExpr] = []
        var product: PrimExpr = IntImm(1, dtype: shape[shape.count - 1].dtype)
        for d in shape.reversed() {
            list.append(product)
            product = product * d
        }
        return list.reversed()
    }

    /// Where an element lies, in elements from `data`.
    public func elementOffset(_ indices: [PrimExpr]) -> PrimExpr {
        zip(indices, elementStrides).reduce(elemOffset) { sum, pair in sum + pair.0 * pair.1 }
    }

    /// A pointer to the buffer's memory from `offset` elements on, as an argument of a call: `contentLanes` says how
    /// many elements of the buffer one of the pointer's type holds, `extent` how many elements it reaches (all that
    /// follow, if nil).
    public func accessPointer(
        _ mask: AccessMask, type: DataType? = nil, contentLanes: Int = 1, offset: PrimExpr = IntImm(0),
        extent: PrimExpr? = nil
    ) -> Call {
        var size = extent ?? shape.reduce(const(1)) { $0 * $1 }
        if extent == nil, !strides.isEmpty, let outer = shape.first, let step = strides.first {
            size = outer * step
        }
        if extent == nil { size = size - offset }
        var begin = elemOffset + offset
        var element = dtype
        if contentLanes > 1 {
            begin = floorDiv(begin, contentLanes)
            size = floorDiv(size, contentLanes)
            element = dtype.with(lanes: contentLanes)
        }
        return intrinsic(
            "access_ptr", .handle,
            [
                intrinsic("type_annotation", type ?? element, []), data, begin, size,
                IntImm(mask.rawValue, dtype: .int32),
            ])
    }

    /// `dtype.lanes / self.dtype.lanes` elements from `begin` on, as one vector.
    /// - Throws: TIR153 where the element types differ.
    public func vload(_ begin: [PrimExpr], _ type: DataType? = nil) throws -> PrimExpr {
        BufferLoad(self, try vectorIndices(begin, type ?? dtype))
    }

    /// Stores a vector from `begin` on.
    /// - Throws: TIR153 where the element types differ.
    public func vstore(_ begin: [PrimExpr], _ value: PrimExpr) throws -> Stmt {
        BufferStore(self, value, try vectorIndices(begin, value.dtype))
    }

    private func vectorIndices(_ begin: [PrimExpr], _ type: DataType) throws -> [PrimExpr] {
        guard type.element == dtype.element, Int(type.lanes) % Int(max(dtype.lanes, 1)) == 0,
            let last = begin.last,
            begin.count == rank
        else {
            throw ApusError(
                "TIR153", "a vector that the buffer `\(name)` does not have",
                expected: "\(rank) indices, lanes of \(dtype)", actual: "\(begin.count) indices, \(type)")
        }
        let lanes = Int(type.lanes) / Int(dtype.lanes)
        if lanes == 1 { return begin }
        return begin.dropLast() + [Ramp(last, IntImm(1, dtype: last.dtype), lanes)]
    }

    /// The same memory with its strides written out.
    public func makeStrideView() -> Buffer { strides.isEmpty ? with(strides: elementStrides) : self }

    /// The box `begins ..< begins + extents` as a buffer of its own over the same memory; compact where the box is.
    /// - Throws: TIR153 where the ranks differ.
    public func makeSlice(_ begins: [PrimExpr], _ extents: [PrimExpr]) throws -> Buffer {
        guard begins.count == rank, extents.count == rank else {
            throw ApusError(
                "TIR153", "a slice of another rank than `\(name)`", expected: "\(rank)",
                actual: "\(begins.count)")
        }
        // Rows that follow each other without a gap need no strides: all but the outermost dimension taken whole.
        let whole = zip(extents, shape).dropFirst().allSatisfy { $0 === $1 || structuralEqual($0, $1) }
        let outerOne = extents.dropLast().allSatisfy { $0.asInt == 1 }
        let compact = strides.isEmpty && (whole || outerOne)
        return with(
            shape: extents, strides: compact ? [] : elementStrides, elemOffset: elementOffset(begins),
            name: "\(name)_slice", offsetFactor: 0)
    }
}
