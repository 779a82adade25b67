import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Binds the variables of a function's signature to what its arguments hold, with an assertion for everything that an
/// argument must be. Codes and texts are those of `ArgumentFailure`, as code generators report them.
///
/// Source of the idea: TVM's ArgBinder.
struct ArgumentBinder {
    private enum Step {
        case assert(AssertStmt)
        case bind(Var, PrimExpr)
    }

    private let kernel: String
    private var steps: [Step] = []
    private var bound: Set<Var> = []
    /// Dimensions and strides that must equal an expression, which may use what a later argument binds.
    private var open: [(expression: PrimExpr, actual: PrimExpr, message: String)] = []
    /// The device that all tensors are on: its number, once the first tensor has told it.
    private(set) var deviceID: PrimExpr?
    private let deviceType: Int

    /// `deviceType`: what tensors must be on, by DLPack's number; 1 is the CPU.
    init(kernel: String, deviceType: Int) {
        self.kernel = kernel
        self.deviceType = deviceType
    }

    private func message(_ i: Int, _ name: String, _ failure: String, _ expected: String) -> String {
        ArgumentFailure.message(kernel: kernel, argument: i, name: name, failure, expected: expected)
    }

    mutating func require(_ condition: PrimExpr, code: String, _ message: String) {
        if condition.isTrue { return }
        steps.append(.assert(AssertStmt(condition, code: code, message)))
    }

    mutating func define(_ v: Var, _ value: PrimExpr) {
        steps.append(.bind(v, value))
        bound.insert(v)
    }

    private func get(_ base: PrimExpr, _ field: String, _ index: Int = 0) -> PrimExpr {
        guard let f = StructField.named(field) else { internalError("no field \(field)") }
        return intrinsic("struct_get", f.dtype, [base, IntImm(index, dtype: .int32), StringImm(field)])
    }

    // MARK: Arguments

    /// Argument `i` of the array of values `args`.
    mutating func argument(_ i: Int, of args: Var, _ param: Var, _ buffer: Buffer?) throws {
        let kind = Var("\(param.name)_kind", dtype: .int32)
        define(kind, get(args, "any.kind", i))
        guard let buffer else {
            scalar(i, of: args, kind, param)
            return
        }
        let expected = ArgumentFailure.expected(buffer)
        let missing = ArgumentFailure.notTensor
        let text = message(i, buffer.name, missing.text, expected)
        require(kind .== AnyKind.tensor, code: missing.code, text)
        define(param, get(args, "any.pointer", i))
        require(not(intrinsic("isnullptr", .bool, [param])), code: missing.code, text)
        try tensor(i, param, buffer)
    }

    private mutating func scalar(_ i: Int, of args: Var, _ kind: Var, _ param: Var) {
        let text = message(i, param.name, "is not a number of its type", "\(param.dtype)")
        if param.dtype.isHandle {
            require(kind .== AnyKind.pointer, code: "RT109", text)
            define(param, get(args, "any.pointer", i))
            return
        }
        let isInt = or(kind .== AnyKind.int, kind .== AnyKind.bool)
        guard param.dtype.isFloat else {
            require(isInt, code: "RT109", text)
            define(param, cast(param.dtype, get(args, "any.int", i)))
            return
        }
        require(or(isInt, kind .== AnyKind.float), code: "RT109", text)
        let number = ifThenElse(
            kind .== AnyKind.float, get(args, "any.float", i), cast(.float64, get(args, "any.int", i)))
        define(param, cast(param.dtype, number))
    }

    /// The tensor behind `handle`, a `DLTensor`.
    mutating func tensor(_ i: Int, _ handle: Var, _ b: Buffer) throws {
        let expected = ArgumentFailure.expected(b)
        func fail(_ f: ArgumentFailure) -> (code: String, text: String) {
            let text = f == .device && deviceType != 1 ? "is not in the memory of the device" : f.text
            return (f.code, message(i, b.name, text, expected))
        }
        var no = fail(.device)
        require(get(handle, "tensor.device_type") .== deviceType, code: no.code, no.text)
        if deviceType != 1 {
            let id = get(handle, "tensor.device_id")
            if let deviceID {
                require(id .== deviceID, code: no.code, no.text)
            } else {
                let v = Var("device_id", dtype: .int32)
                define(v, id)
                deviceID = v
            }
        }
        no = fail(.elementType)
        let code = get(handle, "tensor.type_code")
        let bits = get(handle, "tensor.type_bits")
        let lanes = get(handle, "tensor.type_lanes") .== Int(b.dtype.lanes)
        func type(_ c: Int, _ n: Int) -> PrimExpr { and(code .== c, bits .== n) }
        var same = type(Int(b.dtype.code.rawValue), Int(b.dtype.bits))
        // A bool may come as DLPack's bool, or as a byte.
        if b.dtype == .bool { same = or(same, or(type(1, 8), type(6, 8))) }
        require(and(same, lanes), code: no.code, no.text)
        no = fail(.rank)
        require(get(handle, "tensor.ndim") .== b.rank, code: no.code, no.text)

        let shape = table("\(b.name)_shape", b.rank)
        define(shape.data, get(handle, "tensor.shape"))
        let strides = table("\(b.name)_strides", b.rank)
        define(strides.data, get(handle, "tensor.strides"))
        let isCompact = intrinsic("isnullptr", .bool, [strides.data])
        func dim(_ t: Buffer, _ d: Int) -> PrimExpr { BufferLoad(t, [IntImm(d)]) }
        var count: PrimExpr = IntImm(1)
        for d in (0..<b.rank).reversed() {
            if b.shape[d].asInt != nil {
                no = fail(.shape)
                require(dim(shape, d) .== b.shape[d], code: no.code, no.text)
            }
            let extent = b.shape[d].asInt.map { IntImm($0) } ?? dim(shape, d)
            if b.strides.isEmpty {
                no = fail(.strides)
                let matters = and(extent .!= IntImm(1), count .!= IntImm(0))
                let right = ifThenElse(and(not(isCompact), matters), dim(strides, d) .== count, trueExpr)
                require(right, code: no.code, no.text)
            }
            count = count * extent
        }
        no = fail(.memory)
        let isNull = intrinsic("isnullptr", .bool, [get(handle, "tensor.data")])
        require(not(and(isNull, count .!= IntImm(0))), code: no.code, no.text)
        try variables(i, handle, b, shape: { dim(shape, $0) }) { d in
            // A compact tensor tells no strides.
            var step: PrimExpr = IntImm(1)
            for k in (d + 1)..<max(b.rank, d + 1) { step = step * dim(shape, k) }
            return ifThenElse(isCompact, step, dim(strides, d))
        }
    }

    /// A view of `rank` integers behind a pointer.
    private func table(_ name: String, _ rank: Int) -> Buffer {
        Buffer(
            data: Var(name, type: PointerType(PrimType(.int64))), dtype: .int64, shape: [IntImm(rank)],
            name: name)
    }

    private mutating func variables(
        _ i: Int, _ handle: Var, _ b: Buffer, shape: (Int) -> PrimExpr, strides: (Int) -> PrimExpr
    ) throws {
        let expected = ArgumentFailure.expected(b)
        for d in 0..<b.rank where b.shape[d].asInt == nil {
            bindOrCheck(b.shape[d], shape(d), message(i, b.name, "has another dimension \(d)", expected))
        }
        for d in b.strides.indices {
            bindOrCheck(b.strides[d], strides(d), message(i, b.name, "has another stride \(d)", expected))
        }
        if let offset = b.elemOffset as? Var {
            // The pointer includes the offset.
            if !bound.contains(offset) { define(offset, IntImm(0, dtype: offset.dtype)) }
        } else if !b.elemOffset.isZero {
            throw ApusError(
                "TTR072", "a parameter with a fixed offset has no entry", at: ["buffer: \(b.name)"],
                expected: "0 or a variable",
                actual: "\(b.elemOffset)")
        }
        if !bound.contains(b.data) { define(b.data, get(handle, "tensor.start")) }
    }

    private mutating func bindOrCheck(_ e: PrimExpr, _ actual: PrimExpr, _ text: String) {
        if let v = e as? Var, !bound.contains(v) {
            define(v, cast(v.dtype, actual))
        } else {
            open.append((expression: e, actual: actual, message: text))
        }
    }

    /// Ends the arguments: what had to wait for variables of others is checked.
    mutating func finish() {
        for o in open { require(cast(.index, o.expression) .== o.actual, code: "RT110", o.message) }
        open = []
    }

    /// All bindings and assertions, then `body`.
    func wrap(_ body: Stmt) -> Stmt {
        var result = body
        for s in steps.reversed() {
            switch s {
            case .assert(let a): result = SeqStmt.flat([a, result])
            case .bind(let v, let value): result = LetStmt(v, value, result)
            }
        }
        return result
    }
}
