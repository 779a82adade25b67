import ApusCABI
import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTarget
import Glibc

/// One way from a lowered function to results; every test of code runs all of them.
enum Engine: String, CaseIterable, Sendable {
    case jitHost, jitGeneric, c, library

    /// Those that generate different code: a library holds what the JIT runs.
    static let code: [Engine] = [.jitHost, .jitGeneric, .c]

    /// With numbers of lanes, for tests of much code: each engine, scalars and vectors.
    static let combinations: [(Engine, Int)] = [(.jitHost, 1), (.jitHost, 8), (.jitGeneric, 8), (.c, 1)]

    /// Makes the kernel callable.
    func build(_ function: PrimFunc, name: String = "f") throws -> any KernelProvider {
        switch self {
        case .library:
            return try withFile { path in
                try exportLibrary(
                    functions: [(name: name, function: function)], blob: nil, target: .host, to: path)
                return try SharedLibrary(path)
            }
        case .jitHost: return try buildJIT(functions: [(name: name, function: function)], target: .host)
        case .jitGeneric: return try buildJIT(functions: [(name: name, function: function)], target: .llvm)
        case .c: return try buildJIT(functions: [(name: name, function: function)], target: .c)
        }
    }
}

/// An argument of a kernel.
enum Argument {
    case tensor(NDArray)
    case int(Int)
    case float(Double)
    case none

    var any: ApusAny {
        switch self {
        case .tensor(let t): return ApusAny(type_index: 7, pad: 0, v: ApusValue(tensor: t.dlTensor))
        case .int(let i): return ApusAny(type_index: 1, pad: 0, v: ApusValue(i: Int64(i)))
        case .float(let f): return ApusAny(type_index: 3, pad: 0, v: ApusValue(f: f))
        case .none: return ApusAny(type_index: 0, pad: 0, v: ApusValue(i: 0))
        }
    }
}

/// Calls a kernel; a failure is the error that it set.
func call(_ kernel: ApusCFunction?, _ arguments: [Argument]) throws {
    guard let kernel else { throw ApusError("TEST", "no such kernel") }
    var list = arguments.map(\.any)
    var result = ApusAny()
    let status = kernel(nil, &list, Int32(arguments.count), &result)
    if status != 0 { throw LastError.take(from: "f") }
}

func call(_ module: any KernelProvider, _ tensors: [NDArray]) throws {
    defer { withExtendedLifetime(module) {} }
    try call(module.kernel(named: "f"), tensors.map { Argument.tensor($0) })
}

/// `out[i] = body(i)` for `n` elements, one loop.
func elementwise(_ inputs: [Buffer], _ out: Buffer, _ n: Int, _ body: (Var) -> PrimExpr) -> PrimFunc {
    let i = Var("i")
    let store = BufferStore(out, body(i), [i])
    return PrimFunc(buffers: inputs + [out], body: For(i, IntImm(0), IntImm(n), body: store))
}

/// `out[i ..< i + lanes] = body(ramp)` for `n / lanes` vectors.
func vectorwise(
    _ inputs: [Buffer], _ out: Buffer, _ n: Int, _ lanes: Int, _ body: (PrimExpr) -> PrimExpr
) -> PrimFunc {
    let i = Var("i")
    let ramp = Ramp(i * lanes, IntImm(1), lanes)
    let store = BufferStore(out, body(ramp), [ramp])
    return PrimFunc(buffers: inputs + [out], body: For(i, IntImm(0), IntImm(n / lanes), body: store))
}

/// Bytes of a file.
func contents(_ path: String) -> [UInt8] {
    guard let file = fopen(path, "r") else { return [] }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while true {
        let n = fread(&chunk, 1, chunk.count, file)
        if n == 0 { return bytes }
        bytes.append(contentsOf: chunk[..<n])
    }
}

/// The path of a file for `body`, removed afterwards.
func withFile<R>(_ body: (String) throws -> R) throws -> R {
    var template: [CChar] = Array("/tmp/apusTestXXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw ApusError("TEST", "no temporary folder") }
    let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { rmdir(folder) }
    let path = "\(folder)/out.so"
    defer { unlink(path) }
    return try body(path)
}
