import ApusCABI
import ApusRuntime
import ApusSupport
import Glibc
import Testing

/// Runs `body`, which must throw an `ApusError` with this code.
func expectError(
    _ code: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) {
    do {
        try body()
        Issue.record("nothing was thrown, expected \(code)", sourceLocation: sourceLocation)
    } catch let error as ApusError {
        #expect(error.code == code, "\(error)", sourceLocation: sourceLocation)
    } catch {
        Issue.record("another error: \(error)", sourceLocation: sourceLocation)
    }
}

/// A generator for tests: the same numbers for the same seed (splitmix64).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state = state &+ 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// A path for a file of one test.
func temporaryPath(_ name: String) -> String {
    var template = Array("/tmp/apus-test-XXXXXX".utf8CString)
    let folder = template.withUnsafeMutableBufferPointer { buffer -> String in
        guard let base = buffer.baseAddress, let made = mkdtemp(base) else { return "/tmp" }
        return String(cString: made)
    }
    return "\(folder)/\(name)"
}

func writeFile(_ path: String, _ bytes: some Sequence<UInt8>) {
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    let all = Array(bytes)
    _ = all.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
    close(file)
}

func readFile(_ path: String) -> [UInt8] {
    guard let mapping = try? FileMapping(path) else { return [] }
    return Array(mapping.bytes)
}

/// Runs a program of the system; its status, or nil where it cannot be started.
func execute(_ arguments: [String]) -> Int32? {
    var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
    pointers.append(nil)
    defer { for p in pointers { free(p) } }
    var child = pid_t()
    guard let program = pointers[0] else { return nil }
    guard posix_spawnp(&child, program, nil, nil, pointers, environ) == 0 else { return nil }
    var status: Int32 = 0
    guard waitpid(child, &status, 0) == child else { return nil }
    return (status >> 8) & 0xFF
}

private func elements(_ any: ApusAny) -> UnsafeMutableBufferPointer<Float> {
    guard let t = any.v.tensor, let data = t.pointee.data else { return .init(start: nil, count: 0) }
    var n = 1
    for i in 0..<Int(t.pointee.ndim) { n *= Int(t.pointee.shape[i]) }
    return UnsafeMutableBufferPointer(start: data.assumingMemoryBound(to: Float.self), count: n)
}

/// Kernels over float32, as generated code would be: y = x + w, y = 2 x, and one that fails.
final class TestKernels: KernelProvider {
    func kernel(named name: String) -> ApusCFunction? {
        switch name {
        case "add":
            return { _, args, count, _ in
                guard let args, count == 3 else { return -1 }
                let a = elements(args[0])
                let b = elements(args[1])
                let out = elements(args[2])
                for i in 0..<out.count { out[i] = a[i] + b[i] }
                return 0
            }
        case "double":
            return { _, args, count, _ in
                guard let args, count == 2 else { return -1 }
                let a = elements(args[0])
                let out = elements(args[1])
                for i in 0..<out.count { out[i] = 2 * a[i] }
                return 0
            }
        case "fail":
            return { _, _, _, _ in
                BackendAPI.table.pointee.set_error("RT399", "this kernel always fails")
                return -1
            }
        case "parallel_fail":
            return { _, _, _, _ in
                BackendAPI.table.pointee.parallel_launch(
                    { id, _, _ in
                        if id != 5 { return 0 }
                        BackendAPI.table.pointee.set_error("RT398", "task five fails")
                        return -1
                    }, nil, 8)
            }
        case "silent_fail": return { _, _, _, _ in 7 }
        default: return nil
        }
    }
}

typealias Plan = ExecutablePlan

/// y = 2 (x + w), where the sum lies at an offset of the one storage and y at its begin.
func smallPlan(_ n: Int = 4) -> ExecutablePlan {
    let bytes = (n * 4 + 63) / 64 * 64
    let sum = Plan.View(.storage(0), byteOffset: bytes, shape: [n], dtype: .float32)
    let y = Plan.View(.storage(0), shape: [n], dtype: .float32)
    return Plan(
        name: "small", storages: [Plan.Storage(bytes: 2 * bytes)],
        inputs: [Plan.TensorSpec(name: "x", shape: [n], dtype: .float32)],
        constants: [Plan.TensorSpec(name: "w", shape: [n], dtype: .float32)],
        instructions: [
            Plan.Instruction(
                kernel: "add",
                args: [
                    Plan.View(.input(0), shape: [n], dtype: .float32),
                    Plan.View(.constant(0), shape: [n], dtype: .float32), sum,
                ], label: "x + w"),
            Plan.Instruction(kernel: "double", args: [sum, y]),
        ], outputs: [Plan.Output(name: "y", view: y)])
}

func smallExecutable(_ n: Int = 4) throws -> Executable {
    try Executable(plan: smallPlan(n), constants: [NDArray((0..<n).map { Float($0) }, shape: [n])])
}
