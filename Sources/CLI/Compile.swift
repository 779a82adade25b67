import Apus
import ArgumentParser

struct Compile: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compiles a model to a shared library.",
        discussion: """
            Example: apus compile resnet18.onnx -o resnet18.so
            The library holds code, weights and plan; it runs through libapus_runtime from any language.
            """)

    @Argument(help: "An ONNX file.")
    var model: String

    @Option(name: .shortAndLong, help: "The library to write.")
    var output: String

    @OptionGroup var arguments: CompileArguments

    @Option(
        name: .customLong("dump-ir"),
        help: ArgumentHelp(
            "Prints the module after this pass (`all` = every pass). May be given again.", valueName: "pass"))
    var dumpIR: [String] = []

    @Option(help: "The model's name in the library; the file's name if left out.")
    var name: String?

    @Flag(help: "Prints the time of each pass.")
    var timings = false

    @Flag(help: "Prints nothing but errors.")
    var quiet = false

    func run() throws {
        var compiler = try arguments.compiler()
        compiler.options.name = name ?? Compile.modelName(model)
        let progress = Progress()
        if !quiet { compiler.options.progress = { progress.report($0, $1) } }
        if !dumpIR.isEmpty {
            let names = dumpIR.contains("all") ? [] : Set(dumpIR)
            compiler.options.instruments.append(PrintAfterPasses(names) { print($0) })
        }
        let times = PassTimes()
        if timings { compiler.options.instruments.append(times) }
        var stages = ModelCompiler.Times()
        let cached = try compiler.export(model, to: output, times: &stages)
        if quiet { return }
        progress.report(cached ? "from the cache" : "done", 1)
        if timings {
            print(
                "import \(formatted(seconds: stages.importing)), compile \(formatted(seconds: stages.compiling))"
            )
            for t in times.times { print("  \(t.name) \(formatted(seconds: t.seconds))") }
        }
    }

    /// The file's name without folder and ending, as an identifier.
    static func modelName(_ path: String) -> String {
        let file = path.split(separator: "/").last.map { String($0) } ?? path
        let stem = file.hasSuffix(".onnx") ? String(file.dropLast(5)) : file
        let name = String(stem.map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
        return name.isEmpty ? "main" : name
    }
}
