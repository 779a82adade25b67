import Apus
import ArgumentParser

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lists what a model needs and everything that is not supported.",
        discussion: """
            Example: apus check model.onnx
            Exits 1 where the model cannot be compiled.
            """)

    @Argument(help: "An ONNX file.")
    var model: String

    @Flag(help: "Prints JSON.")
    var json = false

    func run() throws {
        let report = try withLargeStack { try checkONNX(try ONNXModel.load(model)) }
        print(json ? report.json.text : report.description)
        if !report.unsupported.isEmpty { throw ExitCode(1) }
    }
}
