import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

extension TIRCompiler {
    typealias Address = (TIRFrame) throws -> UnsafeMutableRawPointer

    private static func outOfBounds(_ b: String, _ axis: Int, _ index: Int, _ extent: Int) -> ApusError {
        ApusError(
            "TIR161", "index out of bounds", at: ["buffer: \(b)", "dimension: \(axis)"],
            expected: "0..<\(extent)",
            actual: "\(index)")
    }

    private static func noMemory(_ b: String, _ offset: Int, _ bytes: Int) -> ApusError {
        ApusError(
            "TIR161", "access outside of the memory of `\(b)`", expected: "a byte offset in 0..<\(bytes)",
            actual: "\(offset)")
    }

    /// The byte address of an element at an element offset within the buffer's data, checked against the
    /// memory.
    private func located(_ b: Buffer, bytes size: Int, isWrite: Bool) throws -> (TIRFrame, Int) throws ->
        UnsafeMutableRawPointer
    {
        let slot = try handleSlot(b.data)
        let width = b.dtype.byteCount
        let label = b.name
        if let races = context.races {
            return { f, element in
                guard let base = f.handles[slot].base else {
                    throw ApusError("TIR167", "`\(label)` has no memory")
                }
                let (scaled, overflow) = element.multipliedReportingOverflow(by: width)
                let at = f.handles[slot].offset &+ scaled
                if overflow || at < 0 || at &+ size > f.handles[slot].bytes {
                    throw TIRCompiler.noMemory(label, at, f.handles[slot].bytes)
                }
                try races.access(base + at, f.path, isWrite: isWrite, label)
                return base + at
            }
        }
        return { f, element in
            guard let base = f.handles[slot].base else {
                throw ApusError("TIR167", "`\(label)` has no memory")
            }
            let (scaled, overflow) = element.multipliedReportingOverflow(by: width)
            let at = f.handles[slot].offset &+ scaled
            if overflow || at < 0 || at &+ size > f.handles[slot].bytes {
                throw TIRCompiler.noMemory(label, at, f.handles[slot].bytes)
            }
            return base + at
        }
    }

    /// The element offset that leading scalar indices make, checked against the shape.
    private func offset(_ b: Buffer, _ indices: [PrimExpr]) throws -> IntFn {
        let all = try strides(b)
        let label = b.name
        var plain: IntFn?
        if b.elemOffset.asInt != 0 { plain = try int(b.elemOffset) }
        var parts: [(index: IntFn, extent: IntFn, stride: IntFn)] = []
        var constant: [(extent: Int, stride: Int)] = []
        var known = 1
        // Strides of a compact static shape, innermost first.
        for i in b.shape.indices.reversed() {
            guard b.strides.isEmpty, let n = b.shape[i].asInt else {
                constant = []
                break
            }
            constant.append((extent: n, stride: known))
            known = known &* n
        }
        if constant.count == b.rank && b.rank > 0 && plain == nil {
            let dims = Array(constant.reversed())
            let fns = try indices.map { try int($0) }
            if fns.count == 1 {
                let f0 = fns[0]
                let (n0, s0) = dims[0]
                return { f in
                    let i = try f0(f)
                    if i < 0 || i >= n0 { throw TIRCompiler.outOfBounds(label, 0, i, n0) }
                    return i &* s0
                }
            }
            return { f in
                var sum = 0
                for k in fns.indices {
                    let i = try fns[k](f)
                    if i < 0 || i >= dims[k].extent {
                        throw TIRCompiler.outOfBounds(label, k, i, dims[k].extent)
                    }
                    sum = sum &+ i &* dims[k].stride
                }
                return sum
            }
        }
        for (k, e) in indices.enumerated() {
            parts.append((index: try int(e), extent: try int(b.shape[k]), stride: all[k]))
        }
        return { f in
            var sum = try plain?(f) ?? 0
            for k in parts.indices {
                let i = try parts[k].index(f)
                let n = try parts[k].extent(f)
                if i < 0 || i >= n { throw TIRCompiler.outOfBounds(label, k, i, n) }
                sum = sum &+ i &* (try parts[k].stride(f))
            }
            return sum
        }
    }

    private func check(_ b: Buffer, _ indices: [PrimExpr]) throws {
        try checkType(b.dtype)
        guard indices.count == b.rank else {
            throw ApusError(
                "TIR162", "`\(b.name)` is accessed with another rank", expected: "\(b.rank)",
                actual: "\(indices.count)")
        }
    }

    /// The address of one element.
    func address(_ b: Buffer, _ indices: [PrimExpr], isWrite: Bool = false) throws -> Address {
        try check(b, indices)
        let element = try offset(b, indices)
        let at = try located(b, bytes: b.dtype.byteCount, isWrite: isWrite)
        return { f in try at(f, try element(f)) }
    }

    /// A pointer to one element.
    func pointer(_ b: Buffer, _ indices: [PrimExpr]) throws -> (TIRFrame) throws -> TIRHandle {
        let at = try address(b, indices)
        let slot = try handleSlot(b.data)
        return { f in
            let p = try at(f)
            var h = f.handles[slot]
            if let base = h.base { h.offset = p - UnsafeMutableRawPointer(base) }
            h.array = nil
            return h
        }
    }

    /// The addresses of the elements that a vector index names.
    private func addresses(_ b: Buffer, _ indices: [PrimExpr], isWrite: Bool = false) throws -> (TIRFrame)
        throws
        -> [UnsafeMutableRawPointer]
    {
        try check(b, indices)
        guard let last = indices.last, case .ints(let lanes) = try expr(last) else {
            let one = try address(b, indices, isWrite: isWrite)
            return { f in [try one(f)] }
        }
        // The leading part is that of index 0 in the last place.
        let outer = try offset(b, Array(indices.dropLast()) + [IntImm(0, dtype: last.dtype.element)])
        let extent = try int(b.shape[b.rank - 1])
        let stride = try strides(b)[b.rank - 1]
        let at = try located(b, bytes: b.dtype.byteCount, isWrite: isWrite)
        let label = b.name
        let axis = b.rank - 1
        return { f in
            let base = try outer(f)
            let n = try extent(f)
            let s = try stride(f)
            var result: [UnsafeMutableRawPointer] = []
            for i in try lanes(f) {
                if i < 0 || i >= n { throw TIRCompiler.outOfBounds(label, axis, i, n) }
                result.append(try at(f, base &+ i &* s))
            }
            return result
        }
    }

    static func readInt(_ d: DataType) -> (UnsafeMutableRawPointer) -> Int {
        switch (d.code, d.bits) {
        case (.int, 8): return { Int($0.loadUnaligned(as: Int8.self)) }
        case (.int, 16): return { Int($0.loadUnaligned(as: Int16.self)) }
        case (.int, 32): return { Int($0.loadUnaligned(as: Int32.self)) }
        case (.uint, 1): return { $0.loadUnaligned(as: UInt8.self) == 0 ? 0 : 1 }
        case (.uint, 8): return { Int($0.loadUnaligned(as: UInt8.self)) }
        case (.uint, 16): return { Int($0.loadUnaligned(as: UInt16.self)) }
        case (.uint, 32): return { Int($0.loadUnaligned(as: UInt32.self)) }
        default: return { $0.loadUnaligned(as: Int.self) }
        }
    }

    static func readFloat(_ d: DataType) -> (UnsafeMutableRawPointer) -> Double {
        switch (d.code, d.bits) {
        case (.float, 64): return { $0.loadUnaligned(as: Double.self) }
        case (.float, 32): return { Double($0.loadUnaligned(as: Float.self)) }
        default:
            let e = d.element
            return { TIRMath.decode(UInt64($0.loadUnaligned(as: UInt16.self)), e) }
        }
    }

    static func writeInt(_ d: DataType) -> (UnsafeMutableRawPointer, Int) -> Void {
        switch d.bits {
        case 1: return { p, v in p.storeBytes(of: v == 0 ? 0 : 1, as: UInt8.self) }
        case 8: return { p, v in p.storeBytes(of: UInt8(truncatingIfNeeded: v), as: UInt8.self) }
        case 16: return { p, v in p.storeBytes(of: UInt16(truncatingIfNeeded: v), as: UInt16.self) }
        case 32: return { p, v in p.storeBytes(of: UInt32(truncatingIfNeeded: v), as: UInt32.self) }
        default: return { p, v in p.storeBytes(of: v, as: Int.self) }
        }
    }

    static func writeFloat(_ d: DataType) -> (UnsafeMutableRawPointer, Double) -> Void {
        switch (d.code, d.bits) {
        case (.float, 64): return { p, v in p.storeBytes(of: v, as: Double.self) }
        case (.float, 32): return { p, v in p.storeBytes(of: Float(v), as: Float.self) }
        default:
            let e = d.element
            return { p, v in
                p.storeBytes(of: UInt16(truncatingIfNeeded: TIRMath.encode(v, e)), as: UInt16.self)
            }
        }
    }

    func load(_ b: Buffer, _ indices: [PrimExpr]) throws -> Code {
        try checkType(b.dtype)
        let e = b.dtype.element
        let width = e.byteCount
        let inner = Int(b.dtype.lanes)
        if inner == 1 && (indices.last?.dtype.lanes ?? 1) == 1 {
            let at = try address(b, indices)
            if e == .float32 { return .float { f in Double(try at(f).loadUnaligned(as: Float.self)) } }
            if e.isFloat {
                let read = TIRCompiler.readFloat(e)
                return .float { f in read(try at(f)) }
            }
            let read = TIRCompiler.readInt(e)
            return .int { f in read(try at(f)) }
        }
        let all = try addresses(b, indices)
        if e.isFloat {
            let read = TIRCompiler.readFloat(e)
            return .floats { f in
                var v: [Double] = []
                for p in try all(f) { for k in 0..<inner { v.append(read(p + k * width)) } }
                return v
            }
        }
        let read = TIRCompiler.readInt(e)
        return .ints { f in
            var v: [Int] = []
            for p in try all(f) { for k in 0..<inner { v.append(read(p + k * width)) } }
            return v
        }
    }

    func store(_ b: Buffer, _ indices: [PrimExpr], _ value: Code) throws -> Run {
        try checkType(b.dtype)
        let e = b.dtype.element
        let width = e.byteCount
        let inner = Int(b.dtype.lanes)
        let mismatch = ApusError(
            "TIR162", "the value stored in `\(b.name)` has another type", expected: "\(b.dtype)")
        switch value {
        case .int(let g):
            guard e.isInteger, inner == 1, (indices.last?.dtype.lanes ?? 1) == 1 else { throw mismatch }
            let at = try address(b, indices, isWrite: true)
            let write = TIRCompiler.writeInt(e)
            return { f in
                let v = try g(f)
                write(try at(f), v)
            }
        case .float(let g):
            guard e.isFloat, inner == 1, (indices.last?.dtype.lanes ?? 1) == 1 else { throw mismatch }
            let at = try address(b, indices, isWrite: true)
            if e == .float32 {
                return { f in
                    let v = try g(f)
                    try at(f).storeBytes(of: Float(v), as: Float.self)
                }
            }
            let write = TIRCompiler.writeFloat(e)
            return { f in
                let v = try g(f)
                write(try at(f), v)
            }
        case .ints(let g):
            guard e.isInteger else { throw mismatch }
            let all = try addresses(b, indices, isWrite: true)
            let write = TIRCompiler.writeInt(e)
            return { f in
                let v = try g(f)
                let places = try all(f)
                guard v.count == places.count * inner else { throw mismatch }
                for (i, p) in places.enumerated() {
                    for k in 0..<inner { write(p + k * width, v[i * inner + k]) }
                }
            }
        case .floats(let g):
            guard e.isFloat else { throw mismatch }
            let all = try addresses(b, indices, isWrite: true)
            let write = TIRCompiler.writeFloat(e)
            return { f in
                let v = try g(f)
                let places = try all(f)
                guard v.count == places.count * inner else { throw mismatch }
                for (i, p) in places.enumerated() {
                    for k in 0..<inner { write(p + k * width, v[i * inner + k]) }
                }
            }
        case .handle: throw mismatch
        }
    }
}
