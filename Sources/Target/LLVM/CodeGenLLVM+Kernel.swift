import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import CLLVM

extension CodeGenLLVM {
    /// Adds the kernel: its body, and `apus_fn_<name>` that checks the arguments and calls it.
    func add(_ name: String, _ function: PrimFunc) throws {
        if isPacked(function) {
            try addPacked(name, function)
            return
        }
        kernel = name
        taskCount = 0
        let signature = try KernelSignature(function, name: name)
        noAlias = signature.noAlias
        flushesBFloat = function.attrs.bool(flushesSubnormals) ?? false
        // The body takes data pointers, then dimensions, then scalars.
        var variables: [Var] = signature.pointers.map(\.data)
        variables += signature.bindings.map(\.variable)
        variables += signature.zeroOffsets
        for a in signature.arguments {
            if case .scalar(_, let v) = a { variables.append(v) }
        }
        let types = try variables.map { try type($0.dtype) }
        let bodyType = functionType(i32, types)
        let body: LV = LLVMAddFunction(module, "\(name).body", bodyType)
        LLVMSetLinkage(body, LLVMInternalLinkage)
        addAttribute(body, "noinline")
        let saved = begin(body)
        for (i, v) in variables.enumerated() {
            define(v, LLVMGetParam(body, UInt32(i)))
            if i < signature.pointers.count {
                frame.pointers.insert(ObjectIdentifier(v))
                if signature.noAlias { addAttribute(body, "noalias", at: i) }
            }
        }
        for b in signature.bindings { frame.facts.nonNegative.insert(ObjectIdentifier(b.variable)) }
        try statement(function.body)
        LLVMBuildRet(builder, int32(0))
        finish(saved, at: nil)
        try wrapper(signature, variables, body, bodyType)
    }

    /// `int32_t apus_fn_<name>(void *self, const ApusAny *args, int32_t num_args, ApusAny *result)`
    private func wrapper(_ signature: KernelSignature, _ variables: [Var], _ body: LV, _ bodyType: LT) throws
    {
        let type = functionType(i32, [ptr, ptr, i32, ptr])
        let symbol = "apus_fn_\(signature.name)"
        if LLVMGetNamedFunction(module, symbol) != nil {
            throw ApusError("TGT024", "two kernels have the same name", actual: signature.name)
        }
        let function: LV = LLVMAddFunction(module, symbol, type)
        let saved = begin(function)
        let args: LV = LLVMGetParam(function, 1)
        let count: LV = LLVMGetParam(function, 2)
        let n = signature.arguments.count
        require(LLVMBuildICmp(builder, LLVMIntEQ, count, int32(n), "")) {
            setError("RT101", "kernel \(signature.name): wrong number of arguments; expected \(n)")
        }
        var tensors: [Int: LV] = [:]
        let checkType = functionType(i32, [ptr, i32, i32, ptr, i32])
        let check: LV = LLVMGetNamedFunction(module, "apus_check_tensor")
        for (i, argument) in signature.arguments.enumerated() {
            let slot = offset(args, bytes: 16 * i)
            switch argument {
            case .tensor(_, let buffer, let shape, _):
                let failure = call(
                    checkType, check,
                    [
                        slot, int32(shape.count), int32(KernelSignature.word(buffer.dtype)),
                        shapeTable(shape),
                        int32(buffer.strides.isEmpty ? 0 : 1),
                    ])
                require(LLVMBuildICmp(builder, LLVMIntEQ, failure, int32(0), "")) {
                    let format = signature.message(i, "\u{1}").split(
                        separator: "%", omittingEmptySubsequences: false
                    )
                    .joined(separator: "%%").replacing("\u{1}", with: "%s")
                    let report: LV = LLVMGetNamedFunction(module, "apus_argument_error")
                    _ = call(functionType(void, [i32, ptr]), report, [failure, string(format)])
                }
                tensors[i] = load(ptr, offset(slot, bytes: 8))
            case .scalar(_, let variable):
                define(variable, try scalarArgument(signature, i, variable, slot))
            }
        }
        for (data, argument) in signature.pointers {
            guard let t = tensors[argument] else { continue }
            define(data, gep(i8, load(ptr, t), load(i64, offset(t, bytes: 40))))
        }
        for v in signature.zeroOffsets { define(v, constant(0, try self.type(v.dtype))) }
        for (variable, from) in signature.bindings {
            guard let t = tensors[from.argument] else { continue }
            define(variable, try convert(dimension(t, from), .int64, variable.dtype))
        }
        for (expression, at) in signature.checks {
            guard let t = tensors[at.argument] else { continue }
            let expected = try convert(value(expression), expression.dtype, .int64)
            require(LLVMBuildICmp(builder, LLVMIntEQ, dimension(t, at), expected, "")) {
                let what = at.isStride ? "stride" : "dimension"
                setError("RT110", signature.message(at.argument, "has another \(what) \(at.dim)"))
            }
        }
        var values: [LV] = []
        for v in variables {
            guard let known = frame.values[ObjectIdentifier(v)] else { throw undefined(v) }
            values.append(known)
        }
        LLVMBuildRet(builder, call(bodyType, body, values))
        finish(saved, at: nil)
    }

    private func dimension(_ tensor: LV, _ d: KernelSignature.Dimension) -> LV {
        if d.isStride {
            let f: LV = LLVMGetNamedFunction(module, "apus_stride")
            return call(functionType(i64, [ptr, i32]), f, [tensor, int32(d.dim)])
        }
        return load(i64, offset(load(ptr, offset(tensor, bytes: 24)), bytes: 8 * d.dim))
    }

    private func shapeTable(_ shape: [Int]) -> LV {
        var entries: [LV?] = shape.map { index($0) }
        let table: LV = LLVMConstArray2(i64, &entries, UInt64(shape.count))
        let global: LV = LLVMAddGlobal(module, LLVMTypeOf(table), "")
        LLVMSetInitializer(global, table)
        LLVMSetGlobalConstant(global, 1)
        LLVMSetLinkage(global, LLVMPrivateLinkage)
        LLVMSetUnnamedAddress(global, LLVMGlobalUnnamedAddr)
        return global
    }

    /// An argument that is a number: an int or bool for integers, also for floats; a float only for floats.
    private func scalarArgument(_ signature: KernelSignature, _ i: Int, _ v: Var, _ slot: LV) throws -> LV {
        let kind = load(i32, slot)
        let payload = offset(slot, bytes: 8)
        func isKind(_ k: Int) -> LV { LLVMBuildICmp(builder, LLVMIntEQ, kind, int32(k), "") }
        let isInt: LV = LLVMBuildOr(builder, isKind(1), isKind(2), "")
        func mismatch() { setError("RT109", signature.message(i, "is not a number of its type")) }
        if v.dtype.isHandle {
            require(isKind(4), mismatch)
            return load(ptr, payload)
        }
        guard v.dtype.isFloat else {
            require(isInt, mismatch)
            return try convert(load(i64, payload), .int64, v.dtype)
        }
        require(LLVMBuildOr(builder, isInt, isKind(3), ""), mismatch)
        let whole: LV = LLVMBuildSIToFP(builder, load(i64, payload), double, "")
        let number: LV = LLVMBuildSelect(builder, isInt, whole, load(double, payload), "")
        return try convert(number, .float64, v.dtype)
    }

    func undefined(_ v: Var) -> ApusError {
        ApusError(
            "TGT023", "the variable `\(v.name)` has no value where it is used", at: ["kernel: \(kernel)"],
            hint: "it must be a parameter, a dimension of a parameter, or defined by a loop or let")
    }
}

extension String {
    /// All of `part` replaced; Foundation is not used here.
    func replacing(_ part: Character, with text: String) -> String {
        var result = ""
        for c in self { if c == part { result += text } else { result.append(c) } }
        return result
    }
}
