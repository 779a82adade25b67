import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Makes the function an entry of the one calling convention, with its checks in its body:
/// `int32 f(self: handle, args: handle, num_args: int32, result: handle)`.
///
/// Number, kinds and values of the arguments are asserted with the codes RT101 to RT110 and the texts that the entries
/// of code generators have; the original body follows in a `compute_scope`, which generators put into a function of its
/// own. With the attribute `tir.device_type` (DLPack's number) tensors must be on one device of that type, whose number
/// is put around the body as `device_id`. A function that is packed, unpacked or a kernel already stays as it is.
/// Throws TTR072 for a parameter with a fixed offset. Source of the idea: TVM's MakePackedAPI.
public func makePackedAPI(_ f: PrimFunc, name: String = "main") throws -> PrimFunc {
    guard CallingConvention.of(f) == .plain else { return f }
    let kernel = f.globalSymbol ?? name
    let device = f.attrs.int("tir.device_type") ?? 1
    let this = Var("self", dtype: .handle)
    let args = Var("args", dtype: .handle)
    let count = Var("num_args", dtype: .int32)
    let result = Var("result", dtype: .handle)
    var binder = ArgumentBinder(kernel: kernel, deviceType: device)
    binder.require(
        count .== f.params.count, code: "RT101",
        "kernel \(kernel): wrong number of arguments; expected \(f.params.count)")
    for (i, p) in f.params.enumerated() { try binder.argument(i, of: args, p, f.buffer(of: p)) }
    binder.finish()
    var body: Stmt = AttrStmt(IntImm(0), "compute_scope", StringImm("\(kernel)_compute"), f.body)
    if let id = binder.deviceID {
        body = AttrStmt(IntImm(0), "device_id", id, AttrStmt(IntImm(0), "device_type", IntImm(device), body))
    }
    let done = Evaluate(intrinsic("ret", .int32, [IntImm(0, dtype: .int32)]))
    return PrimFunc(
        [this, args, count, result], bufferMap: [], body: binder.wrap(SeqStmt.flat([body, done])),
        attrs: f.attrs.setting("global_symbol", .string(kernel))
            .setting("calling_conv", .int(CallingConvention.packed.rawValue)))
}

/// Makes the function one of plain values, nothing checked: for each tensor the pointer to its first element, then the
/// scalars, in the order of the parameters; then the dimensions and strides that are variables, each once. What ahead of
/// time compiled code without a runtime calls.
/// Throws TTR072 for a parameter with a fixed offset. Source of the idea: TVM's MakeUnpackedAPI.
public func makeUnpackedAPI(_ f: PrimFunc) throws -> PrimFunc {
    guard CallingConvention.of(f) == .plain else { return f }
    var params: [Var] = []
    var sizes: [Var] = []
    var zeros: [Var] = []
    var known: Set<Var> = []
    for p in f.params where f.buffer(of: p) == nil { known.insert(p) }
    for p in f.params {
        guard let b = f.buffer(of: p) else {
            params.append(p)
            continue
        }
        guard b.elemOffset is Var || b.elemOffset.isZero else {
            throw ApusError(
                "TTR072", "a parameter with a fixed offset has no entry", at: ["buffer: \(b.name)"],
                expected: "0 or a variable", actual: "\(b.elemOffset)")
        }
        if known.insert(b.data).inserted { params.append(b.data) }
        for e in b.shape + b.strides { if let v = e as? Var, known.insert(v).inserted { sizes.append(v) } }
        if let v = b.elemOffset as? Var, known.insert(v).inserted { zeros.append(v) }
    }
    var body = f.body
    for v in zeros.reversed() { body = LetStmt(v, IntImm(0, dtype: v.dtype), body) }
    return PrimFunc(
        params + sizes, bufferMap: [], body: body,
        attrs: f.attrs.setting("calling_conv", .int(CallingConvention.unpacked.rawValue)))
}
