import ApusSupport
import Glibc

/// A 128-bit hash of bytes, for finding equal inputs again; it is no defence against a forger.
public struct ContentHash {
    private var a: UInt64 = 0x9E37_79B9_7F4A_7C15
    private var b: UInt64 = 0xC2B2_AE3D_27D4_EB4F

    public init() {}

    private mutating func mix(_ word: UInt64) {
        let x = (a ^ word).multipliedFullWidth(by: 0xA076_1D64_78BD_642F)
        a = x.high ^ x.low
        let y = (b &+ word).multipliedFullWidth(by: 0xE703_7ED1_A0B4_28DB)
        b = (y.high ^ y.low) &+ a
    }

    public mutating func add(bytes: UnsafeRawBufferPointer) {
        mix(UInt64(bytes.count))
        var i = 0
        while i + 8 <= bytes.count {
            mix(bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self))
            i += 8
        }
        var last: UInt64 = 0
        while i < bytes.count {
            last = last << 8 | UInt64(bytes[i])
            i += 1
        }
        mix(last)
    }

    public mutating func add(_ text: String) { Array(text.utf8).withUnsafeBytes { add(bytes: $0) } }

    /// Adds the bytes of a file; false if it cannot be read.
    public mutating func add(contentsOf path: String) throws -> Bool {
        let fd = open(path, O_RDONLY)
        guard fd >= 0 else { return false }
        defer { close(fd) }
        var info = stat()
        guard fstat(fd, &info) == 0, info.st_size >= 0 else { return false }
        let size = Int(info.st_size)
        if size == 0 {
            mix(0)
            return true
        }
        guard let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, fd, 0), base != MAP_FAILED else {
            return false
        }
        defer { munmap(base, size) }
        // Piece by piece, so that a large file is never in this process's memory as a whole.
        let piece = 16 << 20
        for start in stride(from: 0, to: size, by: piece) {
            let part = min(piece, size - start)
            add(bytes: UnsafeRawBufferPointer(start: base + start, count: part))
            madvise(base + start, part, MADV_DONTNEED)
        }
        return true
    }

    /// 32 hexadecimal digits.
    public var hex: String {
        func digits(_ v: UInt64) -> String {
            let s = String(v, radix: 16)
            return String(repeating: "0", count: 16 - s.count) + s
        }
        return digits(a) + digits(b)
    }
}

/// Compiled libraries by what they were made of, in a folder of the user's. Losing it loses only time.
public struct CompileCache: Sendable {
    public let folder: String

    public init(folder: String) { self.folder = folder }

    /// `$APUS_CACHE_DIR`, else `apus` beneath the user's cache folder; nil where there is neither.
    public static var standard: CompileCache? {
        func variable(_ name: String) -> String? {
            guard let p = getenv(name) else { return nil }
            let s = String(cString: p)
            return s.isEmpty ? nil : s
        }
        if let own = variable("APUS_CACHE_DIR") { return CompileCache(folder: own) }
        if let base = variable("XDG_CACHE_HOME") { return CompileCache(folder: base + "/apus") }
        return variable("HOME").map { CompileCache(folder: $0 + "/.cache/apus") }
    }

    /// Which build of the compiler this is: another one may generate other code.
    static let compilerIdentity: String = {
        var info = stat()
        guard stat("/proc/self/exe", &info) == 0 else { return "" }
        return "\(info.st_size) \(info.st_mtim.tv_sec) \(info.st_mtim.tv_nsec)"
    }()

    private func file(_ key: String) -> String { "\(folder)/\(key).so" }

    /// The library kept under `key`, or nil.
    public func path(_ key: String) -> String? { access(file(key), R_OK) == 0 ? file(key) : nil }

    /// Copies what is kept under `key` to `output`; false if there is nothing.
    public func fetch(_ key: String, to output: String) throws -> Bool {
        guard let kept = path(key) else { return false }
        return copyFile(kept, output)
    }

    /// Keeps a copy of `file`; quietly does not where the folder cannot be written.
    public func store(_ key: String, from source: String) { _ = try? put(key) { _ = copyFile(source, $0) } }

    /// Lets `write` make the file, then keeps it; nil where the folder cannot be written.
    public func put(_ key: String, _ write: (String) throws -> Void) throws -> String? {
        guard makeFolders(folder) else { return nil }
        // Written aside and renamed: another process sees all of it or nothing.
        let draft = "\(folder)/.\(key).\(getpid()).so"
        defer { unlink(draft) }
        try write(draft)
        return rename(draft, file(key)) == 0 ? file(key) : nil
    }
}

/// Creates a folder and those above it.
func makeFolders(_ path: String) -> Bool {
    var made = path.hasPrefix("/") ? "" : "."
    for part in path.split(separator: "/") {
        made += "/\(part)"
        if mkdir(made, 0o755) != 0 && errno != EEXIST { return false }
    }
    return true
}

/// Copies a file; false where that fails.
func copyFile(_ source: String, _ target: String) -> Bool {
    let input = open(source, O_RDONLY)
    guard input >= 0 else { return false }
    defer { close(input) }
    let output = open(target, O_WRONLY | O_CREAT | O_TRUNC, 0o755)
    guard output >= 0 else { return false }
    defer { close(output) }
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    while true {
        let n = read(input, &buffer, buffer.count)
        if n == 0 { return true }
        if n < 0 { return false }
        var done = 0
        while done < n {
            let w = buffer.withUnsafeBytes { write(output, $0.baseAddress! + done, n - done) }
            if w <= 0 { return false }
            done += w
        }
    }
}
