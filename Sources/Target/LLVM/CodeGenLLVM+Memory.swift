import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import CLLVM

extension CodeGenLLVM {
    private func base(_ b: Buffer) throws -> LV {
        if let p = frame.values[ObjectIdentifier(b.data)] { return p }
        throw ApusError(
            "TGT023", "the buffer `\(b.name)` has no memory where it is used", at: ["kernel: \(kernel)"],
            hint: "it must belong to a parameter or to an allocation around")
    }

    /// The value of an index: 64 bits a lane; additions of an affine one cannot wrap.
    private func indexValue(_ e: PrimExpr) throws -> LV {
        let saved = noWrap
        noWrap = IndexFacts.isAffine(e)
        defer { noWrap = saved }
        return try convert(value(e), e.dtype, .int64.with(lanes: Int(e.dtype.lanes)))
    }

    /// The largest power of two that the address surely is a multiple of, at most 64; at least the element's
    /// size.
    private func alignment(_ b: Buffer, _ index: PrimExpr) -> UInt32 {
        let size = max(1, b.dtype.element.byteCount)
        guard frame.aligned.contains(ObjectIdentifier(b.data)) else { return elementAlignment(b) }
        let multiple = frame.facts.multiple(index)
        if multiple == 0 { return 64 }
        let (bytes, overflow) = multiple.multipliedReportingOverflow(by: b.dtype.byteCount)
        return overflow ? UInt32(size) : UInt32(min(64, 1 << bytes.trailingZeroBitCount))
    }

    /// Of any element. Constants of a model are used where they lie in its file, at any address, if the processor reads that as
    /// fast.
    private func elementAlignment(_ b: Buffer) -> UInt32 {
        if readsUnaligned, !frame.aligned.contains(ObjectIdentifier(b.data)) { return 1 }
        return UInt32(max(1, b.dtype.element.byteCount))
    }

    private func fromMemory(_ v: LV, _ t: DataType) -> LV {
        t.isBool ? LLVMBuildICmp(builder, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "") : v
    }

    private func toMemory(_ v: LV, _ t: DataType) -> LV {
        t.isBool ? LLVMBuildZExt(builder, v, wide(i8, Int(t.lanes)), "") : v
    }

    private func reversed(_ v: LV, _ lanes: Int) -> LV { shuffled(v, v, (0..<lanes).map { lanes - 1 - $0 }) }

    /// How the lanes of an access lie in memory.
    private enum Pattern {
        /// One after another from the index on.
        case contiguous(PrimExpr)
        /// One after another, the last lane first.
        case reversed(PrimExpr)
        /// All the same.
        case uniform(PrimExpr)
        /// A fixed distance apart.
        case strided(PrimExpr, PrimExpr)
        case anywhere(PrimExpr)
    }

    private func pattern(_ e: PrimExpr, _ lanes: Int) -> Pattern {
        guard let (base, stride) = IndexFacts.rampForm(e) else { return .anywhere(e) }
        guard let distance = stride.asInt else { return .strided(base, stride) }
        switch distance {
        case 1: return .contiguous(base)
        case -1: return .reversed(base - (lanes - 1))
        case 0: return .uniform(base)
        default: return .strided(base, stride)
        }
    }

    /// Runs `body` only if a lane of the mask is active; `otherwise` is the value if none is.
    private func ifAnyLane(_ mask: LV, otherwise: LV, _ body: () throws -> LV) rethrows -> LV {
        let any = intrinsic("llvm.vector.reduce.or", [LLVMTypeOf(mask)], [mask])
        let before = currentBlock
        let yes = block()
        let after = block()
        branch(any, yes, after)
        position(yes)
        let v = try body()
        let from = currentBlock
        LLVMBuildBr(builder, after)
        position(after)
        return phi([(otherwise, before), (v, from)])
    }

    /// The mask, if it has this many lanes.
    private func mask(lanes: Int) -> LV? {
        guard let m = frame.mask, LLVMGetVectorSize(LLVMTypeOf(m)) == UInt32(lanes) else { return nil }
        return m
    }

    /// One address a lane.
    private func addresses(_ p: LV, _ element: LT, _ indices: LV) -> LV { gep(element, p, indices) }

    func load(_ e: BufferLoad) throws -> LV {
        let b = e.buffer
        let flat = try IndexFacts.flatIndex(b, e.indices)
        let p = try base(b)
        let memory = try memoryType(b.dtype)
        let lanes = Int(flat.dtype.lanes)
        if lanes == 1 {
            let result = wide(try memoryType(b.dtype.element), Int(b.dtype.lanes))
            let read: () throws -> LV = { [self] in
                let address = gep(arrayed(memory, b.dtype), p, try indexValue(scaled(flat, b)))
                let v = load(result, address)
                LLVMSetAlignment(v, alignment(b, flat))
                return v
            }
            if let m = frame.mask {
                return fromMemory(try ifAnyLane(m, otherwise: LLVMConstNull(result), read), b.dtype)
            }
            return fromMemory(try read(), b.dtype)
        }
        guard b.dtype.lanes == 1 else {
            throw ApusError(
                "TGT022", "a vector index into a buffer of vectors",
                at: ["kernel: \(kernel)", "buffer: \(b.name)"])
        }
        return fromMemory(try loadLanes(b, p, memory, flat, lanes), e.dtype)
    }

    private func scaled(_ index: PrimExpr, _ b: Buffer) -> PrimExpr {
        b.dtype.lanes == 1 ? index : index * Int(b.dtype.lanes)
    }

    /// The type that indices count: a buffer of vectors is laid out without padding.
    private func arrayed(_ memory: LT, _ t: DataType) -> LT {
        t.lanes == 1 ? memory : LLVMGetElementType(memory)
    }

    private func loadLanes(_ b: Buffer, _ p: LV, _ memory: LT, _ flat: PrimExpr, _ lanes: Int) throws -> LV {
        let vector: LT = LLVMVectorType(memory, UInt32(lanes))
        let active = mask(lanes: lanes)
        func contiguous(_ at: PrimExpr, _ active: LV?) throws -> LV {
            let address = gep(memory, p, try indexValue(at))
            if let active { return maskedLoad(vector, address, active, alignment(b, at)) }
            let v = load(vector, address)
            LLVMSetAlignment(v, alignment(b, at))
            return v
        }
        switch pattern(flat, lanes) {
        case .contiguous(let at): return try contiguous(at, active)
        case .reversed(let at): return reversed(try contiguous(at, active.map { reversed($0, lanes) }), lanes)
        case .uniform(let at):
            func read() throws -> LV {
                let v = load(memory, gep(memory, p, try indexValue(at)))
                LLVMSetAlignment(v, elementAlignment(b))
                return v
            }
            if let m = frame.mask {
                return splat(try ifAnyLane(m, otherwise: LLVMConstNull(memory), read), lanes: lanes)
            }
            return splat(try read(), lanes: lanes)
        case .strided(let at, let stride) where active == nil:
            let start = gep(memory, p, try indexValue(at))
            let step = try indexValue(stride)
            return gather(lanes, memory) { i in
                let v = load(memory, gep(memory, start, LLVMBuildNSWMul(builder, step, index(i), "")))
                LLVMSetAlignment(v, elementAlignment(b))
                return v
            }
        default:
            let indices = try indexValue(flat)
            if let active {
                return maskedGather(vector, addresses(p, memory, indices), active, elementAlignment(b))
            }
            return gather(lanes, memory) { i in
                let v = load(memory, gep(memory, p, extract(indices, i)))
                LLVMSetAlignment(v, elementAlignment(b))
                return v
            }
        }
    }

    // From LLVM 22 on, the alignment of a masked access is an attribute of its pointer.
    private func aligned(_ call: LV, _ parameter: Int, _ bytes: UInt32) -> LV {
        LLVMAddCallSiteAttribute(call, UInt32(parameter + 1), attribute("align", UInt64(bytes)))
        return call
    }

    private func maskedLoad(_ type: LT, _ p: LV, _ mask: LV, _ bytes: UInt32) -> LV {
        aligned(intrinsic("llvm.masked.load", [type, ptr], [p, mask, LLVMConstNull(type)]), 0, bytes)
    }

    private func maskedGather(_ type: LT, _ p: LV, _ mask: LV, _ bytes: UInt32) -> LV {
        aligned(
            intrinsic("llvm.masked.gather", [type, LLVMTypeOf(p)], [p, mask, LLVMConstNull(type)]), 0, bytes)
    }

    func store(_ s: BufferStore) throws {
        let b = s.buffer
        let flat = try IndexFacts.flatIndex(b, s.indices)
        let p = try base(b)
        let memory = try memoryType(b.dtype)
        let lanes = Int(flat.dtype.lanes)
        var v = try value(s.value)
        if s.value.dtype.element != b.dtype.element {
            v = try convert(v, s.value.dtype, b.dtype.element.with(lanes: Int(s.value.dtype.lanes)))
        }
        v = toMemory(v, b.dtype.element.with(lanes: Int(s.value.dtype.lanes)))
        if lanes == 1 {
            let write: () throws -> LV = { [self] in
                let address = gep(arrayed(memory, b.dtype), p, try indexValue(scaled(flat, b)))
                let w: LV = LLVMBuildStore(builder, v, address)
                LLVMSetAlignment(w, alignment(b, flat))
                return LLVMConstNull(i1)
            }
            if let m = frame.mask {
                _ = try ifAnyLane(m, otherwise: LLVMConstNull(i1), write)
            } else {
                _ = try write()
            }
            return
        }
        guard b.dtype.lanes == 1 else {
            throw ApusError(
                "TGT022", "a vector index into a buffer of vectors",
                at: ["kernel: \(kernel)", "buffer: \(b.name)"])
        }
        if s.value.dtype.lanes == 1 { v = splat(v, lanes: lanes) }
        try storeLanes(b, p, memory, flat, lanes, v)
    }

    private func storeLanes(_ b: Buffer, _ p: LV, _ memory: LT, _ flat: PrimExpr, _ lanes: Int, _ v: LV)
        throws
    {
        let active = mask(lanes: lanes)
        func contiguous(_ at: PrimExpr, _ v: LV, _ active: LV?) throws {
            let address = gep(memory, p, try indexValue(at))
            if let active {
                _ = aligned(
                    intrinsic("llvm.masked.store", [LLVMTypeOf(v), ptr], [v, address, active]), 1,
                    alignment(b, at))
            } else {
                LLVMSetAlignment(LLVMBuildStore(builder, v, address), alignment(b, at))
            }
        }
        switch pattern(flat, lanes) {
        case .contiguous(let at): try contiguous(at, v, active)
        case .reversed(let at): try contiguous(at, reversed(v, lanes), active.map { reversed($0, lanes) })
        default:
            let indices = try indexValue(flat)
            if let active {
                let p = addresses(p, memory, indices)
                _ = aligned(
                    intrinsic("llvm.masked.scatter", [LLVMTypeOf(v), LLVMTypeOf(p)], [v, p, active]), 1,
                    UInt32(max(1, b.dtype.byteCount)))
                return
            }
            for i in 0..<lanes {
                let w: LV = LLVMBuildStore(builder, extract(v, i), gep(memory, p, extract(indices, i)))
                LLVMSetAlignment(w, UInt32(max(1, b.dtype.byteCount)))
            }
        }
    }

    /// The address of the element that a load names.
    func address(_ e: BufferLoad) throws -> LV {
        var flat = try IndexFacts.flatIndex(e.buffer, e.indices)
        if let (start, _) = IndexFacts.rampForm(flat), flat.dtype.lanes > 1 { flat = start }
        guard flat.dtype.lanes == 1 else {
            throw ApusError("TGT022", "address_of needs one address", at: ["kernel: \(kernel)"])
        }
        let memory = try memoryType(e.buffer.dtype)
        return gep(
            arrayed(memory, e.buffer.dtype), try base(e.buffer), try indexValue(scaled(flat, e.buffer)))
    }
}
