import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// An argument of a packed call, by what it becomes in the array of values; the same for every code generator.
enum PackedArgument {
    case text(String)
    case int(PrimExpr, kind: Int)
    case float(PrimExpr)
    case pointer(PrimExpr)
    /// A tensor made for this call: `stack_make_array(data, shape, strides, rank, zero of its type, offset)`.
    case tensor(data: PrimExpr, shape: [PrimExpr], strides: [PrimExpr]?, dtype: DataType, offset: PrimExpr)

    /// Name and arguments of `call_packed(name, …)`.
    static func all(_ e: Call, kernel: String) throws -> (name: String, arguments: [PackedArgument]) {
        func malformed(_ expected: String) -> ApusError {
            ApusError(
                "TGT022", "malformed call of `\(e.name)`", at: ["kernel: \(kernel)"], expected: expected,
                actual: "\(e)")
        }
        guard let name = (e.args.first as? StringImm)?.value, !name.isEmpty else {
            throw malformed("a function's name first")
        }
        var list: [PackedArgument] = []
        for a in e.args.dropFirst() {
            if let text = a as? StringImm {
                list.append(.text(text.value))
            } else if let c = a as? Call, c.name == "tir.stack_make_array" {
                guard c.args.count == 6, let shape = dimensions(c.args[1]) else {
                    throw malformed(
                        "tensors as stack_make_array(data, stack_make_shape(…), strides, rank, type, offset)")
                }
                list.append(
                    .tensor(
                        data: c.args[0], shape: shape, strides: dimensions(c.args[2]), dtype: c.args[4].dtype,
                        offset: c.args[5]))
            } else if a.dtype.isHandle {
                list.append(.pointer(a))
            } else if a.dtype.lanes == 1, a.dtype.isInteger {
                list.append(.int(a, kind: a.dtype.isBool ? AnyKind.bool : AnyKind.int))
            } else if a.dtype.lanes == 1, a.dtype.isFloat {
                list.append(.float(a))
            } else {
                throw malformed("numbers, pointers, texts and tensors")
            }
        }
        return (name, list)
    }

    /// The dimensions of `stack_make_shape(…)`; nil for anything else, such as a null pointer.
    private static func dimensions(_ e: PrimExpr) -> [PrimExpr]? {
        guard let c = e as? Call, c.name == "tir.stack_make_shape" else { return nil }
        return c.args
    }

    /// The kind of result that a call of this type needs.
    static func wanted(_ t: DataType) -> Int {
        if t.isVoid { return AnyKind.none }
        return t.isHandle ? AnyKind.pointer : t.isFloat ? AnyKind.float : AnyKind.int
    }

    /// The field that `struct_get` or `struct_set` names.
    static func field(_ e: Call, kernel: String) throws -> StructField {
        guard e.args.count >= 3, let name = (e.args[2] as? StringImm)?.value, let f = StructField.named(name)
        else {
            throw ApusError(
                "TGT022", "malformed call of `\(e.name)`", at: ["kernel: \(kernel)"],
                expected: "a structure, an index and one of "
                    + StructField.all.map(\.name).joined(separator: ", "),
                actual: "\(e)")
        }
        return f
    }
}
