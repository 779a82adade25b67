import Apus
import ArgumentParser
import Glibc

/// Writes text to a file descriptor; C's `stdout` and `stderr` are not safe to name from concurrent code.
func writeAll(_ descriptor: Int32, _ text: String) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
        let n = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        if n <= 0 { return }
        bytes = bytes.dropFirst(n)
    }
}

func printError(_ text: String) { writeAll(2, text + "\n") }

/// `NAME=VALUE`, split at the first equals sign.
func parsePair(_ text: String, _ option: String) throws -> (name: String, value: String) {
    guard let i = text.firstIndex(of: "="), i != text.startIndex else {
        throw ValidationError("\(option) needs NAME=VALUE, not `\(text)`")
    }
    return (name: String(text[..<i]), value: String(text[text.index(after: i)...]))
}

/// `1,3,224,224` or `1x3x224x224`.
func parseShape(_ text: String) throws -> [Int] {
    if text.isEmpty || text == "scalar" { return [] }
    return try text.split(whereSeparator: { $0 == "," || $0 == "x" }).map { part in
        guard let n = Int(part), n >= 0 else {
            throw ValidationError("`\(text)` is no shape; write 1,3,224,224")
        }
        return n
    }
}

extension Precision: ExpressibleByArgument {}

/// Options of everything that compiles.
struct CompileArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "What to generate code for: llvm, c, or a target as text or JSON.", valueName: "target"))
    var target = "llvm"

    @Option(name: .customLong("opt-level"), help: "0: as written … 3: everything.")
    var optLevel = 3

    @Option(
        help: """
            In what matrix products and convolutions are computed: model (in the model's types) or bf16 (those of float32 \
            take bfloat16 and sum in float32).
            """)
    var precision = Precision.model

    @Option(
        name: .customLong("shape"),
        help: ArgumentHelp(
            "Shape of an input, as NAME=1,3,224,224. May be given again.", valueName: "name=dims"))
    var shapes: [String] = []

    @Option(
        name: .customLong("constant"),
        help: ArgumentHelp("Fixes an input to the array of a .npy file.", valueName: "name=file"))
    var constants: [String] = []

    @Option(name: .customLong("disable-pass"), help: "Leaves out a graph pass, such as FoldScaleAxis.")
    var disabledPasses: [String] = []

    @Flag(name: .customLong("no-cache"), help: "Compiles even where the same model was compiled before.")
    var noCache = false

    func validate() throws {
        guard (0...3).contains(optLevel) else { throw ValidationError("--opt-level is 0, 1, 2 or 3") }
        for s in shapes { _ = try parseShape(parsePair(s, "--shape").value) }
        for c in constants { _ = try parsePair(c, "--constant") }
    }

    /// The target of a text; a bare kind means this machine.
    static func target(_ text: String) throws -> Target {
        switch text {
        case "llvm": return .host
        case "c": return try Target("c -mcpu=native")
        default: return try Target(text)
        }
    }

    func compiler() throws -> ModelCompiler {
        var options = CompileOptions(target: try CompileArguments.target(target), optLevel: optLevel)
        options.precision = precision
        options.disabledPasses = Set(disabledPasses)
        var compiler = ModelCompiler(options: options, cache: noCache ? nil : CompileCache.standard)
        for s in shapes {
            let pair = try parsePair(s, "--shape")
            compiler.shapes[pair.name] = try parseShape(pair.value)
        }
        for c in constants {
            let pair = try parsePair(c, "--constant")
            compiler.constants[pair.name] = try NDArray.loadNPY(pair.value)
        }
        return compiler
    }
}

/// Options of everything that runs a model.
struct InputArguments: ParsableArguments {
    @Argument(help: "A compiled library (.so) or an ONNX file.")
    var model: String

    @Option(
        name: .customLong("input"),
        help: ArgumentHelp(
            "The array of an input, as NAME=x.npy. May be given again.", valueName: "name=file"))
    var inputs: [String] = []

    @Option(help: "Seed of the values of inputs that are not given.")
    var seed: UInt64 = 0

    @Option(help: "Threads; 0 = as many as the machine gives this process.")
    var threads = 0

    func validate() throws {
        for i in inputs { _ = try parsePair(i, "--input") }
        guard threads >= 0 else { throw ValidationError("--threads must not be negative") }
    }

    func applyThreads() { if threads > 0 { ThreadPool.shared.setSize(threads) } }

    /// The arrays given, by name.
    func arrays() throws -> [(name: String, tensor: NDArray)] {
        var result: [(name: String, tensor: NDArray)] = []
        for i in inputs {
            let pair = try parsePair(i, "--input")
            let path = pair.value
            if path.hasSuffix(".npz") {
                guard let entry = try NDArray.loadNPZ(path).first(where: { $0.name == pair.name }) else {
                    throw ApusError(
                        "CLI001", "the archive has no array `\(pair.name)`", at: ["file: \(path)"])
                }
                result.append((name: pair.name, tensor: entry.tensor))
            } else {
                result.append((name: pair.name, tensor: try NDArray.loadNPY(path)))
            }
        }
        return result
    }
}

/// Sets the inputs of an executor: those given, the rest from the seed (integers are small, so that they can be
/// indices).
func setInputs(
    _ executor: GraphExecutor, _ given: [(name: String, tensor: NDArray)], seed: UInt64
) throws {
    for g in given { try executor.setInput(g.name, g.tensor) }
    for (i, spec) in executor.plan.inputs.enumerated() where !given.contains(where: { $0.name == spec.name })
    {
        try executor.setInput(i, generated(spec.shape, spec.dtype, seed: seed &+ UInt64(i)))
    }
}

func generated(_ shape: [Int], _ dtype: DataType, seed: UInt64) throws -> NDArray {
    // Random integers of the whole range would be indices out of bounds in most models.
    dtype.isInteger
        ? try NDArray.allocate(shape: shape, dtype: dtype)
        : NDArray.random(shape: shape, dtype: dtype, seed: seed)
}

/// Seconds as text with a unit.
func formatted(seconds s: Double) -> String {
    func digits(_ v: Double) -> String {
        let scaled = (v * 1000).rounded() / 1000
        return "\(scaled)"
    }
    if s >= 1 { return digits(s) + " s" }
    if s >= 1e-3 { return digits(s * 1e3) + " ms" }
    return digits(s * 1e6) + " us"
}

/// Shows how far a compilation is: a bar on a terminal, JSON lines otherwise.
struct Progress: Sendable {
    private let isTerminal = isatty(2) != 0
    private let start = ContinuousClock.now

    func report(_ stage: String, _ fraction: Double) {
        if isTerminal {
            let width = 30
            let done = Int((fraction * Double(width)).rounded())
            let bar = String(repeating: "#", count: done) + String(repeating: ".", count: width - done)
            let padding = String(repeating: " ", count: max(0, 20 - stage.count))
            writeAll(2, "\r[\(bar)] \(stage)\(padding)" + (fraction >= 1 ? "\n" : ""))
        } else {
            let elapsed = seconds(ContinuousClock.now - start)
            let line = JSON.object([
                (key: "stage", value: .string(stage)), (key: "progress", value: .double(fraction)),
                (key: "elapsed_s", value: .double(elapsed)),
            ])
            printError(line.text)
        }
    }
}
