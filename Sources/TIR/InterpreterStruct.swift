import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

// The C structures that cross calls (`apus.h`), as the interpreter reads them: an entry that checks its own arguments
// runs here like any other function, on an array of values in memory or on tensors handed in directly.

extension TIRCompiler {
    /// Calls of this file; nil if `name` is none of them.
    func structCall(_ name: String, _ c: Call) throws -> Code? {
        switch name {
        case "isnullptr":
            let f = try handleCode(c, 0)
            return .int { try f($0).base == nil ? 1 : 0 }
        case "struct_get": return try structGet(c)
        case "stack_make_array": return try makeArray(c)
        default: return nil
        }
    }

    private func malformed(_ c: Call, _ expected: String) -> ApusError {
        ApusError("TIR162", "malformed call of `\(c.name)`", expected: expected, actual: "\(c)")
    }

    private func handleCode(_ c: Call, _ i: Int) throws -> (TIRFrame) throws -> TIRHandle {
        guard i < c.args.count, case .handle(let f) = try expr(c.args[i]) else {
            throw malformed(c, "a pointer")
        }
        return f
    }

    private func structGet(_ c: Call) throws -> Code {
        guard c.args.count == 3, let name = (c.args[2] as? StringImm)?.value,
            let field = StructField.named(name)
        else {
            throw malformed(
                c, "a structure, an index and one of " + StructField.all.map(\.name).joined(separator: ", "))
        }
        let from = try handleCode(c, 0)
        let index = try int(c.args[1])
        let at: (TIRFrame) throws -> UnsafeMutableRawPointer = { f in
            try TIRCompiler.address(of: field, in: from(f), index(f))
        }
        if field.dtype.isHandle {
            return .handle { f in
                let h = try from(f)
                if let a = h.array, field.name == "tensor.start" || field.name == "tensor.data" {
                    var data = TIRHandle(a)
                    data.array = nil
                    return data
                }
                return TIRCompiler.pointer(field, try at(f))
            }
        }
        if field.dtype.isFloat { return .float { f in try at(f).loadUnaligned(as: Double.self) } }
        let read = TIRCompiler.readInt(field.dtype)
        let d = c.dtype
        return .int { f in TIRMath.wrapped(read(try at(f)), d) }
    }

    /// Where the field lies, within memory that is known to be there.
    private static func address(of field: StructField, in h: TIRHandle, _ index: Int) throws
        -> UnsafeMutableRawPointer
    {
        if let a = h.array, field.name.hasPrefix("tensor."), index == 0 {
            return UnsafeMutableRawPointer(a.dlTensor) + field.offset
        }
        guard let base = h.base else { throw ApusError("TIR167", "a field of no structure is read") }
        let (scaled, overflow) = index.multipliedReportingOverflow(by: field.stride)
        let at = h.offset &+ scaled &+ field.offset
        guard !overflow, at >= 0, at &+ field.dtype.byteCount <= h.bytes else {
            throw ApusError(
                "TIR161", "a field outside of its structure", expected: "a byte offset in 0..<\(h.bytes)",
                actual: "\(at)")
        }
        return base + at
    }

    /// What a pointer in a structure points to, with its bounds where the structure tells them.
    private static func pointer(_ field: StructField, _ at: UnsafeMutableRawPointer) -> TIRHandle {
        var h = TIRHandle()
        h.base = at.loadUnaligned(as: UnsafeMutableRawPointer?.self)
        let start = at - field.offset
        func word(_ name: String) -> UnsafeMutableRawPointer {
            start + (StructField.named(name)?.offset ?? 0)
        }
        switch field.name {
        case "any.pointer":
            // Plain memory comes without its size.
            let kind = start.loadUnaligned(as: Int32.self)
            h.bytes = Int(kind) == AnyKind.tensor ? StructField.tensorSize : Int.max / 2
        case "tensor.shape", "tensor.strides":
            h.bytes = 8 * Int(word("tensor.ndim").loadUnaligned(as: Int32.self))
        default:
            let rank = Int(word("tensor.ndim").loadUnaligned(as: Int32.self))
            let shape = word("tensor.shape").loadUnaligned(as: UnsafePointer<Int>?.self)
            let strides = word("tensor.strides").loadUnaligned(as: UnsafePointer<Int>?.self)
            let bits = Int(word("tensor.type_bits").loadUnaligned(as: UInt8.self))
            let lanes = Int(word("tensor.type_lanes").loadUnaligned(as: UInt16.self))
            let size = (bits + 7) / 8 * lanes
            let before = word("tensor.byte_offset").loadUnaligned(as: Int.self)
            var last = 0
            var compact = 1
            for d in (0..<max(rank, 0)).reversed() {
                let n = shape?[d] ?? 0
                let step = strides?[d] ?? compact
                last = last &+ (n &- 1) &* max(step, 0)
                compact = compact &* n
            }
            let bytes = compact == 0 ? 0 : (last &+ 1) &* size
            if field.name == "tensor.start" {
                h.base = h.base.map { $0 + before }
                h.bytes = bytes
            } else {
                h.bytes = bytes &+ before
            }
        }
        return h
    }

    /// `stack_make_array(data, shape, strides, rank, zero of its type, offset)`: a tensor over memory that is there.
    private func makeArray(_ c: Call) throws -> Code {
        guard c.args.count == 6, let shape = c.args[1] as? Call, shape.name == "tir.stack_make_shape" else {
            throw malformed(
                c, "data, stack_make_shape(…), strides, rank, a value of the element type, an offset")
        }
        if let s = c.args[2] as? Call, s.name == "tir.stack_make_shape" {
            throw ApusError("TIR162", "a tensor with strides cannot be handed on", actual: "\(c)")
        }
        let data = try handleCode(c, 0)
        let dims = try shape.args.map { try int($0) }
        let start = try int(c.args[5])
        let dtype = c.args[4].dtype
        return .handle { f in
            let h = try data(f)
            let extents = try dims.map { try $0(f) }
            guard let base = h.base else { throw ApusError("TIR167", "a tensor of no memory is handed on") }
            var bytes = dtype.byteCount
            for n in extents { bytes = bytes &* n }
            let at = h.offset &+ (try start(f)) &* dtype.byteCount
            guard extents.allSatisfy({ $0 >= 0 }), at >= 0, at &+ bytes <= h.bytes else {
                throw ApusError(
                    "TIR161", "a tensor larger than its memory is handed on", expected: "\(h.bytes) bytes",
                    actual: "\(at &+ bytes)")
            }
            return TIRHandle(
                NDArray(
                    borrowing: base + at, shape: extents, dtype: dtype,
                    owner: h.storage ?? TIRStorage(NDArray(shape: [], dtype: .uint8))))
        }
    }
}
