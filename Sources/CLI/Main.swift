import Apus
import ArgumentParser

/// The command `apus`.
@main
struct ApusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apus",
        abstract: "Compiles trained models to native code and runs them.",
        discussion: """
            Example: apus run model.onnx --input x=image.npy --output result.npz
            """,
        version: apusVersion,
        subcommands: [Check.self, Compile.self, Run.self, Bench.self, Doctor.self])

    /// Errors of Apus are printed as they describe themselves; others as the argument parser does.
    static func main() {
        forgetCodeGeneratorPages()
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let error as ApusError {
            printError(error.description)
            // The parser's own failures use 64; 2 is ours for a model or file that is not usable.
            exit(withError: ExitCode(2))
        } catch {
            exit(withError: error)
        }
    }
}
