import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

extension TIRCompiler {
    /// Intrinsics of memory, vectors and fixed point.
    func memoryCall(_ name: String, _ c: Call) throws -> Code {
        func arg(_ i: Int) throws -> PrimExpr {
            guard i < c.args.count else { throw unsupported(c, ": too few arguments") }
            return c.args[i]
        }
        switch name {
        case "access_ptr": return .handle(try accessPointer(c))
        case "atomic_add": return try atomicAdd(c)
        case "q_multiply_shift": return try qMultiplyShift(c)
        case "large_uint_imm":
            let low = try int(try arg(0))
            let high = try int(try arg(1))
            let e = c.dtype.element
            return .int { TIRMath.wrapped(try high($0) << 32 | (try low($0) & 0xFFFF_FFFF), e) }
        case "vectorlow", "vectorhigh":
            let isLow = name == "vectorlow"
            func half<T>(_ v: [T]) -> [T] {
                isLow ? Array(v.prefix(v.count / 2)) : Array(v.suffix(v.count - v.count / 2))
            }
            switch try expr(try arg(0)) {
            case .ints(let f): return narrowed(.ints { half(try f($0)) }, c)
            case .floats(let f): return narrowed(.floats { half(try f($0)) }, c)
            default: throw unsupported(c)
            }
        case "vectorcombine":
            switch (widened(try expr(try arg(0))), widened(try expr(try arg(1)))) {
            case (.ints(let a), .ints(let b)): return .ints { try a($0) + (try b($0)) }
            case (.floats(let a), .floats(let b)): return .floats { try a($0) + (try b($0)) }
            default: throw unsupported(c)
            }
        case "thread_context": return try expr(try arg(0))
        case "context_id": return .int { _ in 0 }
        case "static_handle": return .handle { _ in TIRHandle() }
        case "vscale": return .int { _ in 1 }
        default: throw unsupported(c)
        }
    }

    /// One lane as a scalar, where the type of the call says so.
    private func narrowed(_ code: Code, _ c: Call) -> Code {
        if c.dtype.lanes > 1 { return code }
        switch code {
        case .ints(let f): return .int { try f($0).first ?? 0 }
        case .floats(let f): return .float { try f($0).first ?? 0 }
        default: return code
        }
    }

    private func widened(_ code: Code) -> Code {
        switch code {
        case .int(let f): return .ints { [try f($0)] }
        case .float(let f): return .floats { [try f($0)] }
        default: return code
        }
    }

    /// `access_ptr(type, data, offset, extent, mask)`: the memory from `offset` on, `extent` elements of the type.
    private func accessPointer(_ c: Call) throws -> (TIRFrame) throws -> TIRHandle {
        guard c.args.count == 5, case .handle(let data) = try expr(c.args[1]) else { throw unsupported(c) }
        let width = Swift.max(c.args[0].dtype.byteCount, 1)
        let offset = try int(c.args[2])
        let extent = try int(c.args[3])
        return { f in
            var h = try data(f)
            guard h.base != nil else { throw ApusError("TIR167", "a pointer into no memory") }
            let (begin, o1) = (try offset(f)).multipliedReportingOverflow(by: width)
            let (size, o2) = (try extent(f)).multipliedReportingOverflow(by: width)
            let at = h.offset &+ begin
            guard !o1, !o2, at >= 0, size >= 0, at <= h.bytes, size <= h.bytes - at else {
                throw ApusError(
                    "TIR161", "a pointer to memory that is not there", expected: "within \(h.bytes) bytes",
                    actual: "\(size) bytes from \(at)")
            }
            h.offset = at
            h.bytes = at + size
            h.array = nil
            return h
        }
    }

    /// `atomic_add(address, value)`: the value before.
    private func atomicAdd(_ c: Call) throws -> Code {
        guard c.args.count == 2, case .handle(let pointer) = try expr(c.args[0]) else { throw unsupported(c) }
        let e = c.args[1].dtype
        try checkType(e)
        let at: Address = { f in
            let h = try pointer(f)
            guard let base = h.base, h.offset >= 0, h.offset + e.byteCount <= h.bytes else {
                throw ApusError("TIR161", "an atomic operation outside of memory")
            }
            return base + h.offset
        }
        switch try expr(c.args[1]) {
        case .int(let g):
            let read = TIRCompiler.readInt(e)
            let write = TIRCompiler.writeInt(e)
            return .int { f in
                let p = try at(f)
                let before = read(p)
                write(p, TIRMath.wrapped(before &+ (try g(f)), e))
                return before
            }
        case .float(let g):
            let read = TIRCompiler.readFloat(e)
            let write = TIRCompiler.writeFloat(e)
            return .float { f in
                let p = try at(f)
                let before = read(p)
                write(p, TIRMath.rounded(before + (try g(f)), e))
                return before
            }
        default: throw unsupported(c)
        }
    }

    /// `(x * y + 2^(q - s - 1)) >> (q - s)` in 64 bits, for int32 lanes.
    private func qMultiplyShift(_ c: Call) throws -> Code {
        guard c.args.count == 4 else { throw unsupported(c) }
        let e = c.dtype.element
        func one(_ x: Int, _ y: Int, _ q: Int, _ s: Int) -> Int {
            let product = x &* y
            let shift = q &- s
            if shift <= 0 { return TIRMath.wrapped(shift <= -64 ? 0 : product << (0 &- shift), e) }
            if shift >= 64 { return 0 }
            return TIRMath.wrapped((product &+ (1 << (shift - 1))) >> shift, e)
        }
        let codes = try c.args.map { try expr($0) }
        if case .int(let x) = codes[0], case .int(let y) = codes[1], case .int(let q) = codes[2],
            case .int(let s) = codes[3]
        {
            return .int { one(try x($0), try y($0), try q($0), try s($0)) }
        }
        let n = Int(c.dtype.lanes)
        let lanes = try codes.map { code -> (TIRFrame) throws -> [Int] in
            switch code {
            case .ints(let f): return f
            case .int(let f): return { [Int](repeating: try f($0), count: n) }
            default: throw unsupported(c)
            }
        }
        return .ints { f in
            let v = try lanes.map { try $0(f) }
            guard v.allSatisfy({ $0.count == n }) else {
                throw ApusError("TIR162", "vectors of different lengths")
            }
            return (0..<n).map { one(v[0][$0], v[1][$0], v[2][$0], v[3][$0]) }
        }
    }

    // MARK: Packed functions

    /// The function of the module that a packed call names, by its global or its exported name.
    func function(called name: String) -> PrimFunc? {
        guard let module = context.module else { return nil }
        if let f = module[name] as? PrimFunc { return f }
        for (_, f) in module.definitions {
            if let f = f as? PrimFunc, f.globalSymbol == name { return f }
        }
        return nil
    }

    /// A call of a registered function.
    func registered(_ function: PackedFunc, _ c: Call, _ args: [PrimExpr]) throws -> (TIRFrame) throws ->
        TIRValue?
    {
        let values: [(TIRFrame) throws -> AnyValue] = try args.map { a in
            if let s = a as? StringImm { return { _ in .string(s.value) } }
            switch try expr(a) {
            case .int(let f): return a.dtype.isBool ? { .bool(try f($0) != 0) } : { .int(try f($0)) }
            case .float(let f): return { .float(try f($0)) }
            case .handle(let f): return { .object(try TIRCompiler.bytes(of: try f($0))) }
            default: throw unsupported(c, ": a vector cannot be passed")
            }
        }
        return { f in
            switch try function.call(try values.map { try $0(f) }) {
            case .none: return nil
            case .int(let v): return .int(v)
            case .bool(let v): return .int(v ? 1 : 0)
            case .float(let v): return .float(v)
            case .object(let o as NDArray): return .handle(TIRHandle(o))
            default:
                throw ApusError(
                    "TIR162", "a packed function gave a value that loop programs do not have", actual: c.name)
            }
        }
    }
}
