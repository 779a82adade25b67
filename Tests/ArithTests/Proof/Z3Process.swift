import Foundation
import Glibc

/// Z3 as a child process (`z3 -in -smt2`), one for many questions.
///
/// A question ends by Z3's own count of steps (`:rlimit`), which is the same on every run and machine. Its clock
/// (`:timeout`) is not used: the timer of version 4.8.12, Debian's, can deadlock. A child that is silent for long in
/// spite of the count is ended, and another one started.
final class Z3Process {
    enum Answer: String { case unsatisfiable = "unsat", satisfiable = "sat", unknown }

    private var process = Process()
    private var input = Pipe()
    private var output = Pipe()
    private var buffer: [UInt8] = []
    /// Children that were ended for their silence.
    private(set) var restarts = 0

    /// Steps for each millisecond that a caller grants.
    private static let stepsPerMillisecond = 3000
    /// How long a child may be silent.
    private static let patience: Int32 = 20_000

    /// The program, if it is installed.
    static let path: String? = {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin").split(separator: ":")
        return folders.map { "\($0)/z3" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }()

    /// Nil if Z3 is not installed or does not start.
    init?() { if !start() { return nil } }

    private func start() -> Bool {
        guard let path = Self.path else { return false }
        process = Process()
        input = Pipe()
        output = Pipe()
        buffer = []
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = ["-in", "-smt2"]
        process.standardInput = input
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        do { try process.run() } catch { return false }
        return true
    }

    /// Asks it to go: closing its input alone would not do where another child has inherited the writing end.
    deinit {
        try? input.fileHandleForWriting.write(contentsOf: Data("(exit)\n".utf8))
        try? input.fileHandleForWriting.close()
    }

    /// Whether the assertions of `script` can be satisfied; `unknown` after about `milliseconds`' worth of steps.
    func check(_ script: String, milliseconds: Int) -> Answer {
        let text =
            "(reset)\n(set-option :rlimit \(milliseconds * Self.stepsPerMillisecond))\n\(script)(check-sat)\n(echo \"done\")\n"
        guard (try? input.fileHandleForWriting.write(contentsOf: Data(text.utf8))) != nil else {
            return .unknown
        }
        var answer = Answer.unknown
        while let line = readLine() {
            if line == "done" { return answer }
            if line.hasPrefix("(error") { print("z3: \(line)\n\(script)") }
            if let a = Answer(rawValue: line) { answer = a }
        }
        // A child that hangs in its own locks does not heed a request.
        kill(process.processIdentifier, SIGKILL)
        restarts += 1
        _ = start()
        return .unknown
    }

    /// The next line; nil where the child ended or stays silent.
    private func readLine() -> String? {
        while true {
            if let end = buffer.firstIndex(of: 10) {
                let line = String(decoding: buffer[..<end], as: UTF8.self)
                buffer.removeSubrange(...end)
                return line
            }
            var ready = pollfd(
                fd: output.fileHandleForReading.fileDescriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&ready, 1, Self.patience) > 0 else { return nil }
            let more = output.fileHandleForReading.availableData
            if more.isEmpty { return nil }
            buffer += more
        }
    }
}
