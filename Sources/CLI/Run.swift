import Apus
import ArgumentParser

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs a model on arrays.",
        discussion: """
            Example: apus run model.onnx --input x=x.npy --output result.npz
            Example: apus run model.so --expected recorded.npz   (inputs in_*, outputs out_*; exits 1 on a mismatch)
            """)

    @OptionGroup var inputs: InputArguments
    @OptionGroup var arguments: CompileArguments

    @Option(
        help: ArgumentHelp(
            "Takes the in_* arrays of this file as inputs and compares the outputs with its out_*.",
            valueName: "file.npz"))
    var expected: String?

    @Option(help: "Where the outputs go: .npz for all, .npy for the only one.")
    var output: String?

    @Option(help: "Largest error allowed, as a part of the largest expected magnitude.")
    var rtol = 1e-3

    @Option(help: "Largest absolute error allowed beside it.")
    var atol = 1e-5

    func run() throws {
        inputs.applyThreads()
        var compiler = try arguments.compiler()
        var given = try inputs.arrays()
        var recorded: [(name: String, tensor: NDArray)] = []
        if let expected {
            for entry in try NDArray.loadNPZ(expected) {
                if entry.name.hasPrefix("in_") {
                    let name = String(entry.name.dropFirst(3))
                    if !given.contains(where: { $0.name == name }) {
                        given.append((name: name, tensor: entry.tensor))
                    }
                } else if entry.name.hasPrefix("out_") {
                    recorded.append((name: String(entry.name.dropFirst(4)), tensor: entry.tensor))
                }
            }
        }
        // Arrays tell the shapes of inputs that the model leaves open.
        for g in given where compiler.shapes[g.name] == nil { compiler.shapes[g.name] = g.tensor.shape }
        var times = ModelCompiler.Times()
        let executor = try compiler.executor(inputs.model, times: &times)
        try setInputs(executor, given, seed: inputs.seed)
        try executor.run()
        var outputs: [(name: String, tensor: NDArray)] = []
        for (i, spec) in executor.plan.outputs.enumerated() {
            outputs.append((name: spec.name, tensor: try executor.output(i)))
        }
        if let output { try write(outputs, to: output) }
        if expected != nil {
            if try !compare(outputs, recorded) { throw ExitCode(1) }
        } else {
            for o in outputs { print(try summary(o.name, o.tensor)) }
        }
    }

    private func write(_ outputs: [(name: String, tensor: NDArray)], to path: String) throws {
        if path.hasSuffix(".npy") {
            guard outputs.count == 1 else {
                throw ApusError(
                    "CLI002", "a .npy file holds one array", expected: "1 output", actual: "\(outputs.count)",
                    hint: "write a .npz file")
            }
            try outputs[0].tensor.saveNPY(path)
        } else {
            try NDArray.saveNPZ(path, outputs)
        }
    }

    /// Prints the largest error of each output; false if one is out of tolerance.
    private func compare(
        _ outputs: [(name: String, tensor: NDArray)], _ recorded: [(name: String, tensor: NDArray)]
    ) throws -> Bool {
        var good = true
        for (i, r) in recorded.enumerated() {
            // By name; files made elsewhere may name outputs otherwise, then by position.
            guard
                let o = outputs.first(where: { $0.name == r.name }) ?? (i < outputs.count ? outputs[i] : nil)
            else {
                print("\(r.name): the model has no such output")
                good = false
                continue
            }
            let c = try OutputComparison(o.tensor, r.tensor, rtol: rtol, atol: atol)
            print("\(r.name): \(c)")
            if !c.isWithin { good = false }
        }
        if recorded.isEmpty {
            throw ApusError("CLI003", "the file records no outputs", expected: "arrays named out_*")
        }
        return good
    }

    /// Name, shape, type and the first values.
    private func summary(_ name: String, _ array: NDArray) throws -> String {
        let values = try array.contiguous().toDoubles()
        let head = values.prefix(8).map { "\(Float($0))" }.joined(separator: ", ")
        let dims = array.shape.map { "\($0)" }.joined(separator: "x")
        var text = "\(name): \(array.dtype)[\(dims)] = [\(head)\(values.count > 8 ? ", …" : "")]"
        if values.count > 8, let best = values.indices.max(by: { values[$0] < values[$1] }) {
            text += " max \(Float(values[best])) at \(best)"
        }
        return text
    }
}

/// How far an output is from a recorded one: `|a - b| <= rtol * max|b| + atol`, NaN equal to NaN.
struct OutputComparison: CustomStringConvertible {
    let maxError: Double
    let scale: Double
    let bound: Double
    let shapesAgree: Bool
    let description: String

    var isWithin: Bool { shapesAgree && maxError <= bound }

    init(_ a: NDArray, _ b: NDArray, rtol: Double, atol: Double) throws {
        shapesAgree = a.shape == b.shape
        guard shapesAgree else {
            maxError = .infinity
            scale = 0
            bound = 0
            description = "shape \(a.shape), expected \(b.shape): FAILED"
            return
        }
        let x = try a.contiguous().toDoubles()
        let y = try b.contiguous().toDoubles()
        var worst = 0.0
        var largest = 0.0
        for i in x.indices {
            if y[i].isFinite { largest = max(largest, abs(y[i])) }
            if x[i] == y[i] || (x[i].isNaN && y[i].isNaN) { continue }
            let e = abs(x[i] - y[i])
            worst = e.isNaN ? .infinity : max(worst, e)
        }
        maxError = worst
        scale = largest
        bound = rtol * largest + atol
        let verdict = worst <= bound ? "ok" : "FAILED"
        description =
            "largest error \(Float(worst)), allowed \(Float(bound)) (largest magnitude \(Float(largest))): \(verdict)"
    }
}
