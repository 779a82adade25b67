import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Packed calls and the structures that cross them, as `CodeGenLLVM+Packed` makes them.

extension CodeGenC {
    /// Calls of this file; nil if `name` is none of them.
    func packedCall(_ name: String, _ e: Call) throws -> (value: Value?, Void)? {
        switch name {
        case "call_packed": return (try callPacked(e), ())
        case "struct_get":
            let f = try PackedArgument.field(e, kernel: kernel)
            let at = try fieldAddress(e, f)
            let v = fresh()
            line("\(try typeName(f.dtype)) \(v);")
            line("memcpy(&\(v), \(at), sizeof \(v));")
            if f.name == "tensor.start", let start = StructField.named("tensor.byte_offset") {
                let bytes = fresh()
                line("uint64_t \(bytes);")
                line("memcpy(&\(bytes), \(try fieldAddress(e, start)), sizeof \(bytes));")
                return (try make(.handle, "(char *)\(v) + \(bytes)"), ())
            }
            return (try convert(Value(text: v, dtype: f.dtype), e.dtype), ())
        case "struct_set":
            let f = try PackedArgument.field(e, kernel: kernel)
            guard e.args.count == 4 else {
                throw ApusError(
                    "TGT022", "malformed call of `\(e.name)`", at: ["kernel: \(kernel)"],
                    expected: "a structure, an index, a field and a value", actual: "\(e)")
            }
            let v = try make(f.dtype, convert(value(e.args[3]), f.dtype).text)
            line("memcpy(\(try fieldAddress(e, f)), &\(v.text), sizeof \(v.text));")
            return (nil, ())
        case "isnullptr": return (try make(.bool, "\(value(e.args[0]).text) == 0"), ())
        default: return nil
        }
    }

    private func fieldAddress(_ e: Call, _ f: StructField) throws -> String {
        let base = try value(e.args[0])
        let i = try convert(value(e.args[1]), .int64)
        return "(char *)\(base.text) + \(i.text) * \(f.stride) + \(f.offset)"
    }

    private func callPacked(_ e: Call) throws -> Value? {
        let (name, arguments) = try PackedArgument.all(e, kernel: kernel)
        let args = fresh("args")
        line("ApusAny \(args)[\(max(arguments.count, 1))];")
        for (i, a) in arguments.enumerated() {
            let kind: Int
            let payload: String
            switch a {
            case .text(let text):
                kind = AnyKind.text
                payload = "s = \(CodeGenC.quoted(text))"
            case .int(let x, let k):
                kind = k
                payload = "i = \(try convert(value(x), .int64).text)"
            case .float(let x):
                kind = AnyKind.float
                payload = "f = \(try convert(value(x), .float64).text)"
            case .pointer(let x):
                kind = AnyKind.pointer
                payload = "p = \(try value(x).text)"
            case .tensor(let data, let shape, let strides, let dtype, let start):
                kind = AnyKind.tensor
                payload = "tensor = &\(try tensor(data, shape, strides, dtype, start))"
            }
            line("\(args)[\(i)].type_index = \(kind);")
            line("\(args)[\(i)].pad = 0;")
            line("\(args)[\(i)].v.\(payload);")
        }
        let result = fresh("result")
        line("ApusAny \(result);")
        let wanted = PackedArgument.wanted(e.dtype)
        open(
            "if (apus_backend_api->call_packed(\(CodeGenC.quoted(name)), \(args), \(arguments.count), \(wanted), "
                + "&\(result)) != 0)")
        leave("-1")
        close()
        if e.dtype.isVoid { return nil }
        if e.dtype.isHandle { return try make(.handle, "\(result).v.p") }
        return e.dtype.isFloat
            ? try convert(make(.float64, "\(result).v.f"), e.dtype)
            : try convert(make(.int64, "\(result).v.i"), e.dtype)
    }

    /// The name of a `DLTensor` on the stack.
    private func tensor(
        _ data: PrimExpr, _ shape: [PrimExpr], _ strides: [PrimExpr]?, _ dtype: DataType, _ start: PrimExpr
    ) throws -> String {
        func table(_ list: [PrimExpr]) throws -> String {
            let name = fresh("dims")
            let values = try list.map { try convert(value($0), .int64).text }
            line("int64_t \(name)[] = {\(values.isEmpty ? "0" : values.joined(separator: ", "))};")
            return name
        }
        let dims = try table(shape)
        let steps = try strides.map { try table($0) } ?? "0"
        let memory = try value(data)
        let at = try convert(value(start), .int64)
        let name = fresh("tensor")
        line(
            "DLTensor \(name) = {\(memory.text), {1, 0}, \(shape.count), "
                + "{\(dtype.code.rawValue), \(dtype.bits), \(dtype.lanes)}, \(dims), \(steps), "
                + "(uint64_t)\(at.text) * \(dtype.byteCount)};")
        return name
    }

    /// A function whose parameters are those of the packed convention: the entry itself.
    func addPacked(_ name: String, _ function: PrimFunc) throws {
        begin(name, noAlias: function.attrs.bool("tir.noalias") ?? false)
        guard function.params.map(\.dtype) == [.handle, .handle, .int32, .handle], function.bufferMap.isEmpty
        else {
            throw ApusError(
                "TGT022", "a function of the packed convention has other parameters", at: ["kernel: \(name)"],
                expected: "self: handle, args: handle, num_args: int32, result: handle",
                actual: function.params.map { "\($0.name): \($0.dtype)" }.joined(separator: ", "))
        }
        let texts = ["self", "((void *)args)", "num_args", "((void *)result)"]
        for (p, text) in zip(function.params, texts) {
            frame.values[ObjectIdentifier(p)] = Value(text: text, dtype: p.dtype)
            frame.order.append(p)
        }
        try statement(function.body)
        line("return 0;")
        emitFunction(
            "int32_t apus_fn_\(name)(void *self, const ApusAny *args, int32_t num_args, ApusAny *result)")
    }

    /// `attr(_, "compute_scope", name)`: a function of its own for the body, whose pointers are parameters, because
    /// `restrict` is of use on parameters.
    func computeScope(_ s: AttrStmt) throws {
        let used = usedVariables(s.body)
        var seen: Set<ObjectIdentifier> = []
        let variables = frame.order.filter {
            used.contains(ObjectIdentifier($0)) && frame.values[ObjectIdentifier($0)] != nil
                && seen.insert(ObjectIdentifier($0)).inserted
        }
        var given: [String] = []
        for v in variables {
            guard let known = frame.values[ObjectIdentifier(v)] else { throw undefined(v) }
            given.append(known.text)
        }
        let outer = frame
        frame = Frame()
        var parameters: [String] = []
        for v in variables {
            let text = fresh(v)
            parameters.append(try parameter(v, text, isPointer: v.type is PointerType))
            frame.values[ObjectIdentifier(v)] = Value(text: text, dtype: v.dtype)
            frame.order.append(v)
        }
        try statement(s.body)
        line("return 0;")
        let list = parameters.isEmpty ? "void" : parameters.joined(separator: ", ")
        emitFunction("static int32_t \(kernel)_body(\(list))")
        frame = outer
        let status = fresh("status")
        line("int32_t \(status) = \(kernel)_body(\(given.joined(separator: ", ")));")
        open("if (\(status) != 0)")
        leave(status)
        close()
    }
}
