import ApusCABI
import ApusDriver
import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTarget
import Glibc

/// Compiles a loop function for this machine and runs it on arrays, one a parameter.
func runCompiled(_ function: PrimFunc, _ arrays: [NDArray]) throws {
    let options = { () -> BuildOptions in
        var o = BuildOptions()
        o.threads = 1
        return o
    }()
    let module = try buildJIT(
        functions: [(name: "f", function: try lower(function))], target: .host, options: options)
    defer { withExtendedLifetime(module) {} }
    guard let kernel = module.kernel(named: "f") else { throw ApusError("TEST", "no kernel") }
    var list = arrays.map { ApusAny(type_index: 7, pad: 0, v: ApusValue(tensor: $0.dlTensor)) }
    var result = ApusAny()
    let status = kernel(nil, &list, Int32(arrays.count), &result)
    withExtendedLifetime(arrays) {}
    if status != 0 { throw LastError.take(from: "f") }
}

/// Runs a loop function before any lowering, on arrays, one a parameter: a direct reading of the IR's
/// semantics that shares nothing with the code generators.
func execute(_ function: PrimFunc, _ arrays: [NDArray]) throws {
    let machine = Machine()
    for (e, a) in zip(function.bufferMap, arrays) { machine.memory[e.buffer] = a }
    try machine.run(function.body)
}

private enum Value {
    case int(Int)
    case float(Double)

    var int: Int {
        switch self {
        case .int(let v): return v
        case .float(let v): return Int(v)
        }
    }
    var float: Double {
        switch self {
        case .int(let v): return Double(v)
        case .float(let v): return v
        }
    }
}

private struct Unsupported: Error { let what: String }

private final class Machine {
    var memory: [Buffer: NDArray] = [:]
    var values: [Var: Value] = [:]

    func run(_ s: Stmt) throws {
        switch s {
        case let s as SeqStmt: for part in s.stmts { try run(part) }
        case let s as For:
            let low = try eval(s.min).int
            let n = try eval(s.extent).int
            for k in 0..<max(n, 0) {
                values[s.loopVar] = .int(low + k)
                try run(s.body)
            }
        case let s as IfThenElse:
            if try eval(s.condition).int != 0 {
                try run(s.thenCase)
            } else if let e = s.elseCase {
                try run(e)
            }
        case let s as LetStmt:
            values[s.variable] = try eval(s.value)
            try run(s.body)
        case let s as BufferStore: try store(s)
        case let s as BlockRealize: try realize(s)
        case let s as Evaluate: _ = try eval(s.value)
        default: throw Unsupported(what: "\(s)")
        }
    }

    private func realize(_ r: BlockRealize) throws {
        guard try eval(r.predicate).int != 0 else { return }
        let block = r.block
        for b in block.allocBuffers {
            let shape = try b.shape.map { try eval($0).int }
            memory[b] = NDArray(shape: shape, dtype: b.dtype)
        }
        var first = true
        for (v, e) in zip(block.iterVars, r.iterValues) {
            let value = try eval(e)
            values[v.variable] = value
            if v.iterType == .commReduce, try eval(v.dom.min).int != value.int { first = false }
        }
        if let initial = block.initial, first { try run(initial) }
        try run(block.body)
    }

    private func offset(_ b: Buffer, _ indices: [PrimExpr]) throws -> (NDArray, Int) {
        guard let a = memory[b] else { throw Unsupported(what: "no memory for \(b.name)") }
        var o = 0
        for (i, n) in zip(indices, a.shape) {
            let k = try eval(i).int
            guard k >= 0, k < n else {
                throw Unsupported(what: "\(b.name)[\(indices)]: \(k) is outside of 0..<\(n)")
            }
            o = o * n + k
        }
        return (a, o)
    }

    private func store(_ s: BufferStore) throws {
        let v = try eval(s.value)
        let (a, o) = try offset(s.buffer, s.indices)
        switch v {
        case .int(let n) where a.dtype == .int64 || a.dtype == .uint64:
            a.data.storeBytes(of: n, toByteOffset: o * 8, as: Int.self)
        case .int(let n): ElementCodec.store(Double(n), at: o, of: a.dtype, in: a.data)
        case .float(let x): ElementCodec.store(x, at: o, of: a.dtype, in: a.data)
        }
    }

    private func load(_ e: BufferLoad) throws -> Value {
        let (a, o) = try offset(e.buffer, e.indices)
        if a.dtype.bits == 64, a.dtype.isInteger {
            return .int(a.data.load(fromByteOffset: o * 8, as: Int.self))
        }
        let x = ElementCodec.load(o, of: a.dtype, in: a.data)
        return a.dtype.isFloat ? .float(x) : .int(Int(x))
    }

    private func rounded(_ x: Double, _ t: DataType) -> Value { .float(FloatImm.rounded(x, t)) }
    private func wrapped(_ x: Int, _ t: DataType) -> Value {
        if t.isBool { return .int(x & 1) }
        let shift = 64 - Int(t.bits)
        if t.isUInt { return .int(Int(bitPattern: UInt(bitPattern: x << shift) >> UInt(shift))) }
        return .int((x << shift) >> shift)
    }

    func eval(_ e: PrimExpr) throws -> Value {
        switch e {
        case let e as IntImm: return .int(e.value)
        case let e as FloatImm: return .float(e.value)
        case let e as Var:
            guard let v = values[e] else { throw Unsupported(what: "no value for \(e.name)") }
            return v
        case let e as Cast:
            let v = try eval(e.value)
            if e.dtype.isFloat { return rounded(v.float, e.dtype) }
            if e.dtype.isBool { return .int(v.float != 0 ? 1 : 0) }
            if case .float(let x) = v { return wrapped(Int(x.rounded(.towardZero)), e.dtype) }
            return wrapped(v.int, e.dtype)
        case let e as Not: return .int(try eval(e.a).int == 0 ? 1 : 0)
        case let e as Select: return try eval(e.condition).int != 0 ? eval(e.trueValue) : eval(e.falseValue)
        case let e as Let:
            values[e.variable] = try eval(e.value)
            return try eval(e.body)
        case let e as BufferLoad: return try load(e)
        case let e as BinaryExpr: return try binary(e)
        case let e as Call: return try call(e)
        default: throw Unsupported(what: "\(e)")
        }
    }

    private func binary(_ e: BinaryExpr) throws -> Value {
        let a = try eval(e.a)
        let b = try eval(e.b)
        if e.a.dtype.isFloat {
            let x = a.float
            let y = b.float
            switch e.kind {
            case .add: return rounded(x + y, e.dtype)
            case .sub: return rounded(x - y, e.dtype)
            case .mul: return rounded(x * y, e.dtype)
            case .div: return rounded(x / y, e.dtype)
            case .min: return .float(x.isNaN || y.isNaN ? .nan : min(x, y))
            case .max: return .float(x.isNaN || y.isNaN ? .nan : max(x, y))
            case .eq: return .int(x == y ? 1 : 0)
            case .ne: return .int(x != y ? 1 : 0)
            case .lt: return .int(x < y ? 1 : 0)
            case .le: return .int(x <= y ? 1 : 0)
            case .gt: return .int(x > y ? 1 : 0)
            case .ge: return .int(x >= y ? 1 : 0)
            default: throw Unsupported(what: "\(e)")
            }
        }
        let x = a.int
        let y = b.int
        switch e.kind {
        case .add: return wrapped(x &+ y, e.dtype)
        case .sub: return wrapped(x &- y, e.dtype)
        case .mul: return wrapped(x &* y, e.dtype)
        case .div, .mod, .floorDiv, .floorMod:
            // What a processor would trap on.
            let least = ~0 << (Int(e.dtype.bits) - 1)
            if y == 0 || (y == -1 && e.dtype.isInt && x == least) {
                throw Unsupported(what: "\(x) / \(y) traps")
            }
            switch e.kind {
            case .div: return .int(x / y)
            case .mod: return .int(x % y)
            case .floorDiv: return .int(floorDivide(x, y) ?? 0)
            default: return .int(floorModulo(x, y) ?? 0)
            }
        case .min: return .int(min(x, y))
        case .max: return .int(max(x, y))
        case .eq: return .int(x == y ? 1 : 0)
        case .ne: return .int(x != y ? 1 : 0)
        case .lt: return .int(x < y ? 1 : 0)
        case .le: return .int(x <= y ? 1 : 0)
        case .gt: return .int(x > y ? 1 : 0)
        case .ge: return .int(x >= y ? 1 : 0)
        case .and: return .int(x != 0 && y != 0 ? 1 : 0)
        case .or: return .int(x != 0 || y != 0 ? 1 : 0)
        default: throw Unsupported(what: "\(e)")
        }
    }

    private func call(_ e: Call) throws -> Value {
        if e.name == "tir.if_then_else" {
            return try eval(e.args[0]).int != 0 ? eval(e.args[1]) : eval(e.args[2])
        }
        let v = try e.args.map { try eval($0) }
        let type = e.args[0].dtype
        switch e.name {
        case "tir.likely": return v[0]
        case "tir.bitwise_and": return wrapped(v[0].int & v[1].int, type)
        case "tir.bitwise_or": return wrapped(v[0].int | v[1].int, type)
        case "tir.bitwise_xor": return wrapped(v[0].int ^ v[1].int, type)
        case "tir.bitwise_not": return wrapped(~v[0].int, type)
        case "tir.shift_left", "tir.shift_right":
            guard v[1].int >= 0, v[1].int < Int(type.bits) else {
                throw Unsupported(what: "shift by \(v[1].int)")
            }
            return e.name == "tir.shift_left"
                ? wrapped(v[0].int << v[1].int, type) : wrapped(v[0].int >> v[1].int, type)
        case "tir.abs": return wrapped(Swift.abs(v[0].int), type)
        case "tir.isnan": return .int(v[0].float.isNaN ? 1 : 0)
        case "tir.isinf": return .int(v[0].float.isInfinite ? 1 : 0)
        case "tir.isfinite": return .int(v[0].float.isFinite ? 1 : 0)
        case "tir.pow": return rounded(pow(v[0].float, v[1].float), type)
        case "tir.fmod": return rounded(fmod(v[0].float, v[1].float), type)
        default:
            guard let f = functions[e.name] else { throw Unsupported(what: e.name) }
            return rounded(f(v[0].float), type)
        }
    }
}

private let functions: [String: @Sendable (Double) -> Double] = {
    var f: [String: @Sendable (Double) -> Double] = [:]
    f["tir.exp"] = { exp($0) }
    f["tir.log"] = { log($0) }
    f["tir.log2"] = { log2($0) }
    f["tir.log10"] = { log10($0) }
    f["tir.log1p"] = { log1p($0) }
    f["tir.expm1"] = { expm1($0) }
    f["tir.sqrt"] = { sqrt($0) }
    f["tir.rsqrt"] = { 1 / sqrt($0) }
    f["tir.tanh"] = { tanh($0) }
    f["tir.sigmoid"] = { 1 / (1 + exp(-$0)) }
    f["tir.erf"] = { erf($0) }
    f["tir.gelu"] = { $0 * 0.5 * (1 + erf($0 * 0.5.squareRoot())) }
    f["tir.sin"] = { sin($0) }
    f["tir.cos"] = { cos($0) }
    f["tir.tan"] = { tan($0) }
    f["tir.asin"] = { asin($0) }
    f["tir.acos"] = { acos($0) }
    f["tir.atan"] = { atan($0) }
    f["tir.sinh"] = { sinh($0) }
    f["tir.cosh"] = { cosh($0) }
    f["tir.asinh"] = { asinh($0) }
    f["tir.acosh"] = { acosh($0) }
    f["tir.atanh"] = { atanh($0) }
    f["tir.floor"] = { $0.rounded(.down) }
    f["tir.ceil"] = { $0.rounded(.up) }
    f["tir.trunc"] = { $0.rounded(.towardZero) }
    f["tir.nearbyint"] = { $0.rounded(.toNearestOrEven) }
    f["tir.fabs"] = { Swift.abs($0) }
    return f
}()
