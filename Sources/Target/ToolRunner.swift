import ApusSupport
import Glibc

/// Runs the system's compiler, and keeps its files in a folder that goes away.
enum ToolRunner {
    /// The compiler drivers to try, the target's own choice first.
    static func compilers(_ target: Target) -> [String] {
        if let own = target.string("cc") { return [own] }
        return ["cc", "clang", "gcc"]
    }

    /// A folder of its own for `body`; removed with its files afterwards.
    static func withTemporaryFolder<R>(_ body: (String) throws -> R) throws -> R {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template: [CChar] = Array("\(base)/apusXXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw ApusError(
                "TGT013", "cannot make a temporary folder", at: ["folder: \(base)"], actual: systemError(),
                hint: "set TMPDIR to a folder that can be written")
        }
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { remove(folder: path) }
        return try body(path)
    }

    private static func remove(folder: String) {
        if let dir = opendir(folder) {
            while let entry = readdir(dir) {
                let name = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
                    String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
                }
                if name != ".", name != ".." { unlink("\(folder)/\(name)") }
            }
            closedir(dir)
        }
        rmdir(folder)
    }

    static func systemError() -> String { String(cString: strerror(errno)) }

    /// Writes what `body` hands over, one part after another, into a new file.
    static func write(to path: String, _ body: ((UnsafeRawBufferPointer) throws -> Void) throws -> Void)
        throws
    {
        let fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
        guard fd >= 0 else {
            throw ApusError("TGT013", "cannot write a file", at: ["file: \(path)"], actual: systemError())
        }
        defer { close(fd) }
        try body { part in
            var rest = part
            while let start = rest.baseAddress, !rest.isEmpty {
                let n = Glibc.write(fd, start, min(rest.count, 1 << 30))
                if n < 0, errno == EINTR { continue }
                guard n > 0 else {
                    throw ApusError(
                        "TGT013", "cannot write a file", at: ["file: \(path)"], actual: systemError())
                }
                rest = UnsafeRawBufferPointer(rebasing: rest[n...])
            }
        }
    }

    static func write(_ bytes: [UInt8], to path: String) throws {
        try write(to: path) { sink in try bytes.withUnsafeBytes(sink) }
    }

    static func read(_ path: String) throws -> [UInt8] {
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else {
            throw ApusError("TGT013", "cannot read a file", at: ["file: \(path)"], actual: systemError())
        }
        defer { close(fd) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let n = Glibc.read(fd, &chunk, chunk.count)
            if n < 0, errno == EINTR { continue }
            guard n >= 0 else {
                throw ApusError("TGT013", "cannot read a file", at: ["file: \(path)"], actual: systemError())
            }
            if n == 0 { return bytes }
            bytes.append(contentsOf: chunk[..<n])
        }
    }

    /// Runs the first compiler of `names` that exists. `folder` takes what it says.
    static func compile(_ names: [String], _ arguments: [String], stdin: String? = nil, folder: String) throws
    {
        let log = "\(folder)/messages"
        for name in names {
            guard let status = try spawn(name, arguments, stdin: stdin, log: log) else { continue }
            if status == 0 { return }
            let text = String(decoding: (try? read(log)) ?? [], as: UTF8.self)
            throw ApusError(
                "TGT014", "the C compiler failed",
                at: ["command: \(name) \(arguments.joined(separator: " "))"],
                actual: String(text.prefix(2000)))
        }
        throw ApusError(
            "TGT015", "there is no C compiler", expected: names.joined(separator: ", or "),
            hint: "run scripts/bootstrap, or name one by the target's option -cc")
    }

    /// Runs a program and waits; its exit status, or nil if there is no such program.
    private static func spawn(_ name: String, _ arguments: [String], stdin: String?, log: String) throws
        -> Int32?
    {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, stdin ?? "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var argv: [UnsafeMutablePointer<CChar>?] = ([name] + arguments).map { strdup($0) }
        argv.append(nil)
        defer { for a in argv { free(a) } }
        var pid = pid_t()
        let failure = posix_spawnp(&pid, name, &actions, nil, argv, environ)
        if failure == ENOENT || failure == EACCES { return nil }
        guard failure == 0 else {
            throw ApusError("TGT014", "cannot start `\(name)`", actual: String(cString: strerror(failure)))
        }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 {
            if errno != EINTR {
                throw ApusError("TGT014", "lost the process of `\(name)`", actual: systemError())
            }
        }
        // Exited: the low seven bits are 0 and the status is in the next byte.
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    }
}
