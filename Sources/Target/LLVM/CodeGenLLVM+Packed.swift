import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import CLLVM

// Packed calls and the structures that cross them. Memory for arguments is on the stack of the function, taken once.

extension CodeGenLLVM {
    /// Calls of this file; nil if `name` is none of them.
    func packedCall(_ name: String, _ e: Call) throws -> (value: LV?, Void)? {
        switch name {
        case "call_packed": return (try callPacked(e), ())
        case "struct_get":
            let f = try PackedArgument.field(e, kernel: kernel)
            var v = load(try memoryType(f.dtype), try fieldAddress(e, f))
            if f.name == "tensor.start", let start = StructField.named("tensor.byte_offset") {
                v = gep(i8, v, load(i64, try fieldAddress(e, start)))
            }
            return (try convert(v, f.dtype, e.dtype), ())
        case "struct_set":
            let f = try PackedArgument.field(e, kernel: kernel)
            guard e.args.count == 4 else { throw malformed(e, "a structure, an index, a field and a value") }
            let v = try convert(value(e.args[3]), e.args[3].dtype, f.dtype)
            LLVMBuildStore(builder, v, try fieldAddress(e, f))
            return (nil, ())
        case "isnullptr": return (LLVMBuildIsNull(builder, try value(e.args[0]), ""), ())
        default: return nil
        }
    }

    private func fieldAddress(_ e: Call, _ f: StructField) throws -> LV {
        let base = try value(e.args[0])
        let i = try convert(value(e.args[1]), e.args[1].dtype, .int64)
        let bytes: LV = LLVMBuildMul(builder, i, index(f.stride), "")
        return offset(gep(i8, base, bytes), bytes: f.offset)
    }

    private func slots(_ bytes: Int) -> LV {
        alloca(LLVMArrayType2(i8, UInt64(max(bytes, 1))), alignment: 16)
    }

    private func put(_ v: LV, _ p: LV, _ bytes: Int) { LLVMBuildStore(builder, v, offset(p, bytes: bytes)) }

    private func callPacked(_ e: Call) throws -> LV? {
        let (name, arguments) = try PackedArgument.all(e, kernel: kernel)
        let size = StructField.anySize
        let args = slots(size * arguments.count)
        let result = slots(size)
        for (i, a) in arguments.enumerated() {
            let kind: Int
            let payload: LV
            switch a {
            case .text(let text):
                kind = AnyKind.text
                payload = string(text)
            case .int(let x, let k):
                kind = k
                payload = try convert(value(x), x.dtype, .int64)
            case .float(let x):
                kind = AnyKind.float
                payload = try convert(value(x), x.dtype, .float64)
            case .pointer(let x):
                kind = AnyKind.pointer
                payload = try value(x)
            case .tensor(let data, let shape, let strides, let dtype, let start):
                kind = AnyKind.tensor
                payload = try tensor(data, shape, strides, dtype, start)
            }
            put(LLVMConstInt(i64, UInt64(kind), 0), args, size * i)
            put(payload, args, size * i + 8)
        }
        let type = functionType(i32, [ptr, ptr, i32, i32, ptr])
        let status = call(
            type, apiFunction(4),
            [string(name), args, int32(arguments.count), int32(PackedArgument.wanted(e.dtype)), result])
        require(LLVMBuildICmp(builder, LLVMIntEQ, status, int32(0), "")) {}
        let payload = offset(result, bytes: 8)
        if e.dtype.isVoid { return nil }
        if e.dtype.isHandle { return load(ptr, payload) }
        return e.dtype.isFloat
            ? try convert(load(double, payload), .float64, e.dtype)
            : try convert(load(i64, payload), .int64, e.dtype)
    }

    /// A `DLTensor` on the stack.
    private func tensor(
        _ data: PrimExpr, _ shape: [PrimExpr], _ strides: [PrimExpr]?, _ dtype: DataType, _ start: PrimExpr
    ) throws -> LV {
        func table(_ list: [PrimExpr]) throws -> LV {
            let p = slots(8 * list.count)
            for (i, d) in list.enumerated() { put(try convert(value(d), d.dtype, .int64), p, 8 * i) }
            return p
        }
        let t = slots(StructField.tensorSize)
        put(try value(data), t, 0)
        put(int32(1), t, 8)
        put(int32(0), t, 12)
        put(int32(shape.count), t, 16)
        put(int32(KernelSignature.word(dtype)), t, 20)
        put(try table(shape), t, 24)
        put(try strides.map { try table($0) } ?? LLVMConstNull(ptr), t, 32)
        let at = try convert(value(start), start.dtype, .int64)
        put(LLVMBuildMul(builder, at, index(dtype.byteCount), ""), t, 40)
        return t
    }

    /// A function whose parameters are those of the packed convention: the entry itself.
    func addPacked(_ name: String, _ function: PrimFunc) throws {
        kernel = name
        taskCount = 0
        noAlias = function.attrs.bool("tir.noalias") ?? false
        let symbol = "apus_fn_\(name)"
        if LLVMGetNamedFunction(module, symbol) != nil {
            throw ApusError("TGT024", "two kernels have the same name", actual: name)
        }
        let types = try function.params.map { try type($0.dtype) }
        guard types == [ptr, ptr, i32, ptr], function.bufferMap.isEmpty else {
            throw ApusError(
                "TGT022", "a function of the packed convention has other parameters", at: ["kernel: \(name)"],
                expected: "self: handle, args: handle, num_args: int32, result: handle",
                actual: function.params.map { "\($0.name): \($0.dtype)" }.joined(separator: ", "))
        }
        let f: LV = LLVMAddFunction(module, symbol, functionType(i32, types))
        let saved = begin(f)
        for (i, p) in function.params.enumerated() { define(p, LLVMGetParam(f, UInt32(i))) }
        try statement(function.body)
        LLVMBuildRet(builder, int32(0))
        finish(saved, at: nil)
    }

    /// `attr(_, "compute_scope", name)`: a function of its own for the body, whose pointers are parameters, because
    /// `noalias` is a property of parameters.
    func computeScope(_ s: AttrStmt) throws {
        let used = usedVariables(s.body)
        var seen: Set<ObjectIdentifier> = []
        let variables = frame.order.filter {
            used.contains(ObjectIdentifier($0)) && frame.values[ObjectIdentifier($0)] != nil
                && seen.insert(ObjectIdentifier($0)).inserted
        }
        var values: [LV] = []
        for v in variables {
            guard let known = frame.values[ObjectIdentifier(v)] else { throw undefined(v) }
            values.append(known)
        }
        let type = functionType(i32, values.map { LLVMTypeOf($0) })
        let body: LV = LLVMAddFunction(module, "\(kernel).body", type)
        LLVMSetLinkage(body, LLVMInternalLinkage)
        addAttribute(body, "noinline")
        let outer = currentBlock
        let facts = frame.facts
        let saved = begin(body)
        frame.facts = facts
        for (i, v) in variables.enumerated() {
            define(v, LLVMGetParam(body, UInt32(i)))
            guard v.type is PointerType else { continue }
            frame.pointers.insert(ObjectIdentifier(v))
            if noAlias { addAttribute(body, "noalias", at: i) }
        }
        try statement(s.body)
        LLVMBuildRet(builder, int32(0))
        finish(saved, at: outer)
        let status = call(type, body, values)
        let bad = block()
        let good = block()
        branch(LLVMBuildICmp(builder, LLVMIntEQ, status, int32(0), ""), good, bad, likely: true)
        position(bad)
        leave(status)
        position(good)
    }
}
