import Foundation

/// Z3 as a child process (`z3 -in -smt2`), one for many questions.
final class Z3Process {
    enum Answer: String { case unsatisfiable = "unsat", satisfiable = "sat", unknown }

    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private var buffer: [UInt8] = []

    /// The program, if it is installed.
    static let path: String? = {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin").split(separator: ":")
        return folders.map { "\($0)/z3" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }()

    /// Nil if Z3 is not installed or does not start.
    init?() {
        guard let path = Self.path else { return nil }
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = ["-in", "-smt2"]
        process.standardInput = input
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        do { try process.run() } catch { return nil }
    }

    /// Asks it to go: closing its input would not do, since another child may have inherited the writing end.
    deinit {
        try? input.fileHandleForWriting.write(contentsOf: Data("(exit)\n".utf8))
        try? input.fileHandleForWriting.close()
    }

    /// Whether the assertions of `script` can be satisfied; `unknown` after `milliseconds`.
    func check(_ script: String, milliseconds: Int) -> Answer {
        let text = "(reset)\n(set-option :timeout \(milliseconds))\n\(script)(check-sat)\n(echo \"done\")\n"
        guard (try? input.fileHandleForWriting.write(contentsOf: Data(text.utf8))) != nil else {
            return .unknown
        }
        var answer = Answer.unknown
        while let line = readLine() {
            if line == "done" { return answer }
            if line.hasPrefix("(error") { print("z3: \(line)\n\(script)") }
            if let a = Answer(rawValue: line) { answer = a }
        }
        return .unknown
    }

    private func readLine() -> String? {
        while true {
            if let end = buffer.firstIndex(of: 10) {
                let line = String(decoding: buffer[..<end], as: UTF8.self)
                buffer.removeSubrange(...end)
                return line
            }
            let more = output.fileHandleForReading.availableData
            if more.isEmpty { return nil }
            buffer += more
        }
    }
}
