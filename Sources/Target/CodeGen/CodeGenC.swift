import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Lowered TIR to C: the same functions as `CodeGenLLVM` makes, for machines that have a C compiler and no
/// LLVM.
///
/// A vector is a structure of its lanes, and every operation on one a loop over them, which compilers turn
/// back into vector instructions; so any number of lanes works. Values are named once, in order. 16-bit
/// floats are kept as their bits and computed in float32.
final class CodeGenC {
    /// A value: the name of a C variable or a constant, and its type.
    struct Value {
        let text: String
        let dtype: DataType
        /// One lane, inside a loop over `l`.
        var lane: String { dtype.lanes > 1 ? "\(text).v[l]" : text }
    }

    /// State of the C function that is being written.
    struct Frame {
        var lines: [String] = []
        var depth = 1
        var values: [ObjectIdentifier: Value] = [:]
        var order: [Var] = []
        var workspaces: [String] = []
        var insideParallel = false
        var mask: Value?
        var stackBytes = 0
    }

    var frame = Frame()
    /// Complete functions, in order of definition.
    private(set) var functions: [String] = []
    private var vectorTypes: [DataType] = []
    private var externs: [String: String] = [:]
    private var externOrder: [String] = []
    private var counter = 0
    var kernel = ""
    private var noAlias = false
    private var taskCount = 0

    /// The text of a translation unit with all kernels.
    static func source(_ kernels: [Kernel]) throws -> String {
        try withLargeStack {
            let g = CodeGenC()
            var seen: Set<String> = []
            for k in kernels {
                guard isIdentifier(k.name) else {
                    throw ApusError("TGT024", "a kernel's name is not an identifier", actual: k.name)
                }
                guard seen.insert(k.name).inserted else {
                    throw ApusError("TGT024", "two kernels have the same name", actual: k.name)
                }
                try within("kernel: \(k.name)") { try g.add(k.name, k.function) }
            }
            var text =
                KernelPrelude.source + "const ApusBackendAPI *apus_backend_api;\n"
                + KernelPrelude.sourceReport
            text += helpers
            for t in g.vectorTypes {
                let lane = CodeGenC.scalarName(t.element) ?? "void *"
                text += "typedef struct { \(lane) v[\(t.lanes)]; } \(g.vectorName(t));\n"
            }
            for name in g.externOrder { text += g.externs[name] ?? "" }
            return text + g.functions.joined(separator: "\n")
        }
    }

    private static func isIdentifier(_ s: String) -> Bool {
        guard let first = s.utf8.first, !(48...57).contains(first) else { return false }
        return s.utf8.allSatisfy {
            ($0 >= 97 && $0 <= 122) || ($0 >= 65 && $0 <= 90) || ($0 >= 48 && $0 <= 57) || $0 == 95
        }
    }

    // MARK: Types and text

    static func scalarName(_ t: DataType) -> String? {
        switch (t.code, t.bits) {
        case (.int, 8), (.int, 16), (.int, 32), (.int, 64): return "int\(t.bits)_t"
        case (.uint, 8), (.uint, 16), (.uint, 32), (.uint, 64): return "uint\(t.bits)_t"
        case (.uint, 1): return "uint8_t"
        case (.float, 16), (.bfloat, 16): return "uint16_t"
        case (.float, 32): return "float"
        case (.float, 64): return "double"
        case (.handle, 64): return "void *"
        default: return nil
        }
    }

    private func vectorName(_ t: DataType) -> String { "\(t.element)_\(t.lanes)" }

    func typeName(_ t: DataType) throws -> String {
        guard let scalar = CodeGenC.scalarName(t.element) else {
            throw ApusError(
                "TGT021", "C code cannot hold values of type \(t)", at: ["kernel: \(kernel)"],
                expected: "int8…int64, uint8…uint64, bool, float16, bfloat16, float32, float64, handle")
        }
        if t.lanes == 1 { return scalar }
        if !vectorTypes.contains(t) { vectorTypes.append(t) }
        return vectorName(t)
    }

    func line(_ text: String) { frame.lines.append(String(repeating: "    ", count: frame.depth) + text) }

    func open(_ text: String) {
        line(text + " {")
        frame.depth += 1
    }

    func close(_ text: String = "}") {
        frame.depth -= 1
        line(text)
    }

    func fresh(_ hint: String = "t") -> String {
        counter += 1
        return "\(hint)\(counter)"
    }

    /// A name for a variable: its own, made an identifier, with a number.
    func fresh(_ v: Var) -> String {
        let clean = v.name.utf8.map { c -> Character in
            let ok = (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || (c >= 48 && c <= 57)
            return ok ? Character(UnicodeScalar(c)) : "_"
        }
        return fresh("v_\(String(clean.prefix(40)))_")
    }

    /// A new value: `expression` gives each lane, with `l` as the lane's number.
    func make(_ t: DataType, _ expression: String) throws -> Value {
        let name = fresh()
        let type = try typeName(t)
        if t.lanes == 1 {
            line("\(type) \(name) = \(expression);")
        } else {
            line("\(type) \(name);")
            line("for (int l = 0; l < \(t.lanes); l++) \(name).v[l] = \(expression);")
        }
        return Value(text: name, dtype: t)
    }

    static func quoted(_ s: String) -> String {
        var out = "\""
        for b in s.utf8 {
            switch b {
            case 34: out += "\\\""
            case 92: out += "\\\\"
            case 32...126: out += String(UnicodeScalar(b))
            default:
                out +=
                    "\\" + String(b >> 6, radix: 8) + String((b >> 3) & 7, radix: 8) + String(b & 7, radix: 8)
            }
        }
        return out + "\""
    }

    func undefined(_ v: Var) -> ApusError {
        ApusError(
            "TGT023", "the variable `\(v.name)` has no value where it is used", at: ["kernel: \(kernel)"],
            hint: "it must be a parameter, a dimension of a parameter, or defined by a loop or let")
    }

    func scoped<R>(_ v: Var, _ value: Value, _ body: () throws -> R) rethrows -> R {
        let key = ObjectIdentifier(v)
        let shadowed = frame.values[key]
        frame.values[key] = value
        frame.order.append(v)
        let result = try body()
        frame.values[key] = shadowed
        frame.order.removeLast()
        return result
    }

    func declareExtern(_ name: String, _ declaration: String) throws {
        if let known = externs[name] {
            if known != declaration {
                throw ApusError(
                    "TGT022", "the C function `\(name)` is called with different types",
                    at: ["kernel: \(kernel)"])
            }
            return
        }
        externs[name] = declaration
        externOrder.append(name)
    }

    // MARK: Kernels

    /// Starts the function of a kernel.
    func begin(_ name: String, noAlias: Bool) {
        kernel = name
        taskCount = 0
        self.noAlias = noAlias
        frame = Frame()
    }

    private func add(_ name: String, _ function: PrimFunc) throws {
        if isPacked(function) {
            try addPacked(name, function)
            return
        }
        let signature = try KernelSignature(function, name: name)
        begin(name, noAlias: signature.noAlias)
        var variables: [Var] = signature.pointers.map(\.data)
        variables += signature.bindings.map(\.variable)
        variables += signature.zeroOffsets
        for a in signature.arguments { if case .scalar(_, let v) = a { variables.append(v) } }
        var parameters: [String] = []
        for (i, v) in variables.enumerated() {
            let text = fresh(v)
            let isPointer = i < signature.pointers.count
            parameters.append(try parameter(v, text, isPointer: isPointer))
            frame.values[ObjectIdentifier(v)] = Value(text: text, dtype: v.dtype)
            frame.order.append(v)
        }
        try statement(function.body)
        line("return 0;")
        let head =
            "static int32_t \(name)_body(\(parameters.isEmpty ? "void" : parameters.joined(separator: ", ")))"
        emitFunction(head)
        try wrapper(signature, variables)
    }

    func parameter(_ v: Var, _ text: String, isPointer: Bool) throws -> String {
        isPointer ? "void *\(noAlias ? "restrict " : "")\(text)" : "\(try typeName(v.dtype)) \(text)"
    }

    func emitFunction(_ head: String) {
        functions.append("\(head) {\n\(frame.lines.joined(separator: "\n"))\n}\n")
    }

    private func wrapper(_ s: KernelSignature, _ variables: [Var]) throws {
        frame = Frame()
        func fail(_ condition: String, _ code: String, _ message: String) {
            open("if (\(condition))")
            line("apus_backend_api->set_error(\(CodeGenC.quoted(code)), \(CodeGenC.quoted(message)));")
            line("return -1;")
            close()
        }
        let n = s.arguments.count
        fail("num_args != \(n)", "RT101", "kernel \(s.name): wrong number of arguments; expected \(n)")
        line("int32_t failure;")
        for (i, a) in s.arguments.enumerated() {
            switch a {
            case .tensor(_, let buffer, let shape, _):
                let list = shape.isEmpty ? "0" : shape.map { "\($0)" }.joined(separator: ", ")
                line("static const int64_t shape\(i)[] = {\(list)};")
                let word = KernelSignature.word(buffer.dtype)
                open(
                    "if ((failure = apus_check_tensor(&args[\(i)], \(shape.count), \(word)u, shape\(i), "
                        + "\(buffer.strides.isEmpty ? 0 : 1))) != 0)")
                let format = s.message(i, "\u{1}").split(separator: "%", omittingEmptySubsequences: false)
                    .joined(separator: "%%").replacing("\u{1}", with: "%s")
                line("apus_argument_error(failure, \(CodeGenC.quoted(format)));")
                line("return -1;")
                close()
                line("DLTensor *tensor\(i) = args[\(i)].v.tensor;")
            case .scalar(_, let v):
                let kind = "args[\(i)].type_index"
                let isInt = "(\(kind) == 1 || \(kind) == 2)"
                let message = s.message(i, "is not a number of its type")
                let value: Value
                if v.dtype.isHandle {
                    fail("\(kind) != 4", "RT109", message)
                    value = try make(v.dtype, "args[\(i)].v.p")
                } else if v.dtype.isFloat {
                    fail("!\(isInt) && \(kind) != 3", "RT109", message)
                    let d = try make(.float64, "\(isInt) ? (double)args[\(i)].v.i : args[\(i)].v.f")
                    value = try convert(d, v.dtype)
                } else {
                    fail("!\(isInt)", "RT109", message)
                    value = try convert(make(.int64, "args[\(i)].v.i"), v.dtype)
                }
                frame.values[ObjectIdentifier(v)] = value
            }
        }
        for (data, i) in s.pointers {
            let p = try make(.handle, "(char *)tensor\(i)->data + tensor\(i)->byte_offset")
            frame.values[ObjectIdentifier(data)] = p
        }
        func dimension(_ d: KernelSignature.Dimension) -> String {
            d.isStride ? "apus_stride(tensor\(d.argument), \(d.dim))" : "tensor\(d.argument)->shape[\(d.dim)]"
        }
        for v in s.zeroOffsets { frame.values[ObjectIdentifier(v)] = try make(v.dtype, "0") }
        for (v, from) in s.bindings {
            frame.values[ObjectIdentifier(v)] = try convert(make(.int64, dimension(from)), v.dtype)
        }
        for (e, at) in s.checks {
            let expected = try value(e)
            fail(
                "\(dimension(at)) != \(expected.text)", "RT110",
                s.message(at.argument, "has another \(at.isStride ? "stride" : "dimension") \(at.dim)"))
        }
        var names: [String] = []
        for v in variables {
            guard let known = frame.values[ObjectIdentifier(v)] else { throw undefined(v) }
            names.append(known.text)
        }
        line("return \(s.name)_body(\(names.joined(separator: ", ")));")
        emitFunction(
            "int32_t apus_fn_\(s.name)(void *self, const ApusAny *args, int32_t num_args, ApusAny *result)")
    }

    // MARK: Parallel loops

    func parallel(_ s: For) throws {
        let used = usedVariables(s.body)
        var seen: Set<ObjectIdentifier> = []
        let variables = frame.order.filter {
            used.contains(ObjectIdentifier($0)) && frame.values[ObjectIdentifier($0)] != nil
                && seen.insert(ObjectIdentifier($0)).inserted
        }
        let name = "\(kernel)_task\(taskCount)"
        taskCount += 1
        let first = try convert(value(s.min), .int64)
        let extent = try convert(value(s.extent), .int64)
        var fields = ["int64_t first", "int64_t extent"]
        var given = [first.text, extent.text]
        for (i, v) in variables.enumerated() {
            guard let known = frame.values[ObjectIdentifier(v)] else { throw undefined(v) }
            fields.append("\(try typeName(known.dtype)) f\(i)")
            given.append(known.text)
        }
        let outer = frame
        frame = Frame()
        frame.insideParallel = true
        line("struct \(name)_data *d = data;")
        for (i, v) in variables.enumerated() {
            let text = fresh(v)
            let type = try typeName(v.dtype)
            line("\(type) \(noAlias && v.dtype.isHandle ? "restrict " : "")\(text) = d->f\(i);")
            frame.values[ObjectIdentifier(v)] = Value(text: text, dtype: v.dtype)
            frame.order.append(v)
        }
        let lo = try make(.int64, "d->first + d->extent * id / tasks")
        let hi = try make(.int64, "d->first + d->extent * (id + 1) / tasks")
        try count(s, from: lo.text, to: hi.text)
        line("return 0;")
        functions.append("struct \(name)_data { \(fields.joined(separator: "; ")); };\n")
        emitFunction("static int32_t \(name)(int32_t id, int32_t tasks, void *data)")
        frame = outer
        let data = fresh("data")
        line("struct \(name)_data \(data) = {\(given.joined(separator: ", "))};")
        let status = fresh("status")
        line("int32_t \(status) = apus_backend_api->parallel_launch(\(name), &\(data), 0);")
        open("if (\(status) != 0)")
        leave(status)
        close()
    }

    func leave(_ status: String) {
        for p in frame.workspaces.reversed() { line("apus_backend_api->free_workspace(\(p));") }
        line("return \(status);")
    }

    func count(_ s: For, from: String, to: String) throws {
        let name = fresh(s.loopVar)
        let type = try typeName(s.loopVar.dtype)
        open("for (\(type) \(name) = \(from); \(name) < \(to); \(name)++)")
        try scoped(s.loopVar, Value(text: name, dtype: s.loopVar.dtype)) { try statement(s.body) }
        close()
    }
}
