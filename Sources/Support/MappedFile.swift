import Glibc

/// A file's bytes, mapped into memory copy-on-write: pages are read when touched, shared with the system's
/// cache, and a write through the pointer changes this process's copy only. The mapping ends with the object.
///
/// Another process that shortens the file meanwhile makes later reads of the lost part fail (SIGBUS), as with
/// every mapping; replace files by renaming instead.
public final class MappedFile: @unchecked Sendable {
    /// Where the file was opened, for messages.
    public let path: String
    /// Length in bytes.
    public let count: Int
    /// The first byte; page-aligned. Points to one zero byte where the file is empty.
    public let base: UnsafeMutableRawPointer
    private let mapped: Bool

    /// All bytes. Valid as long as the object, which the caller keeps (as the owner of a tensor, or by
    /// `withExtendedLifetime`); `withUnsafeBytes` does so itself.
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

    /// Runs `body` on all bytes; they are not valid after it.
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        defer { withExtendedLifetime(self) {} }
        return try body(bytes)
    }

    /// Maps a regular file.
    /// - Throws: IO001 where it cannot be opened or mapped, IO002 where it is no regular file, IO003 where it
    ///   is longer than `maximumBytes`.
    public convenience init(_ path: String, maximumBytes: Int = .max) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw MappedFile.failure("cannot open the file", path) }
        defer { close(descriptor) }
        try self.init(descriptor: descriptor, path: path, maximumBytes: maximumBytes)
    }

    /// Maps the file `relative` beneath the folder `folder`, and nothing else: every component is opened from
    /// the folder before it, so that neither `..`, an absolute path, nor (unless allowed) a symbolic link
    /// leads out.
    /// - Parameter followLinks: accept symbolic links, wherever they lead.
    /// - Throws: IO004 for a path that is not plain, IO001 to IO003 as `init(_:maximumBytes:)`.
    public convenience init(
        _ relative: String, beneath folder: String, followLinks: Bool = false, maximumBytes: Int = .max
    ) throws {
        let parts = relative.split(separator: "/", omittingEmptySubsequences: false).map { String($0) }
        var plain: [String] = []
        for part in parts where part != "." { plain.append(part) }
        var isPlain = !plain.isEmpty && plain.count <= 64
        for part in plain where part.isEmpty || part == ".." || part.utf8.contains(0) { isPlain = false }
        guard isPlain, let last = plain.last else {
            throw ApusError(
                "IO004", "this path does not stay beneath its folder",
                expected: "a relative path without `..`",
                actual: relative)
        }
        let place = folder + "/" + relative
        let links = followLinks ? 0 : O_NOFOLLOW
        var current = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard current >= 0 else { throw MappedFile.failure("cannot open the folder", folder) }
        defer { close(current) }
        for part in plain.dropLast() {
            let next = openat(current, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC | links)
            guard next >= 0 else { throw MappedFile.failure("cannot open the file", place) }
            close(current)
            current = next
        }
        let descriptor = openat(current, last, O_RDONLY | O_CLOEXEC | O_NONBLOCK | links)
        guard descriptor >= 0 else { throw MappedFile.failure("cannot open the file", place) }
        defer { close(descriptor) }
        try self.init(descriptor: descriptor, path: place, maximumBytes: maximumBytes)
    }

    private init(descriptor: Int32, path: String, maximumBytes: Int) throws {
        var info = stat()
        guard fstat(descriptor, &info) == 0 else { throw MappedFile.failure("cannot read the file", path) }
        guard info.st_mode & S_IFMT == S_IFREG else {
            throw ApusError("IO002", "not a regular file", at: ["file: \(path)"])
        }
        guard let length = Int(exactly: info.st_size), length <= maximumBytes else {
            throw ApusError(
                "IO003", "the file is too large", at: ["file: \(path)"],
                expected: "at most \(maximumBytes) bytes",
                actual: "\(info.st_size) bytes")
        }
        self.path = path
        count = length
        guard length > 0 else {
            base = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 64)
            base.storeBytes(of: 0, as: UInt8.self)
            mapped = false
            return
        }
        // MAP_FAILED is the address -1, which Swift's importer does not offer as a constant.
        guard let memory = mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0),
            Int(bitPattern: memory) != -1
        else { throw MappedFile.failure("cannot map the file", path) }
        base = memory
        mapped = true
    }

    deinit {
        if mapped { munmap(base, count) } else { base.deallocate() }
    }

    /// Gives the memory of a part that has been read and is not needed soon back to the system. Its pages
    /// come from the file again when touched; what was written to them is lost.
    public func forget(_ part: UnsafeRawBufferPointer) {
        let page = 4096
        guard mapped, let start = part.baseAddress, part.count >= 4 * page else { return }
        let from = (UInt(bitPattern: start) + UInt(page - 1)) & ~UInt(page - 1)
        let to = (UInt(bitPattern: start) + UInt(part.count)) & ~UInt(page - 1)
        let limit = UInt(bitPattern: base) + UInt(count)
        guard from < to, from >= UInt(bitPattern: base), to <= limit else { return }
        // Only advice: where the page is larger than assumed the call fails, and nothing is lost.
        madvise(UnsafeMutableRawPointer(bitPattern: from), Int(to - from), MADV_DONTNEED)
    }

    private static func failure(_ message: String, _ path: String) -> ApusError {
        let number = errno
        let hint =
            number == ELOOP || number == ENOTDIR
            ? "symbolic links are not followed here: copy the file into its folder" : nil
        return ApusError(
            "IO001", message, at: ["file: \(path)"], actual: String(cString: strerror(number)), hint: hint)
    }
}

/// Writes a file in pieces, under a temporary name that is renamed when `finish` succeeds: a reader never
/// sees half a file, and a mapping of the old one stays whole.
public struct FileWriter: ~Copyable {
    private let path: String
    private let temporary: String
    private var descriptor: Int32
    /// Bytes written so far.
    public private(set) var offset = 0

    /// - Throws: IO005 where the file cannot be made.
    public init(_ path: String) throws {
        self.path = path
        temporary = "\(path).\(getpid()).tmp"
        descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o644)
        if descriptor < 0 { throw FileWriter.failure("cannot create the file", path) }
    }

    deinit {
        if descriptor >= 0 {
            close(descriptor)
            unlink(temporary)
        }
    }

    /// Appends bytes.
    /// - Throws: IO005 where the system refuses, such as on a full disk.
    public mutating func write(_ bytes: UnsafeRawBufferPointer) throws {
        var done = 0
        while done < bytes.count, let from = bytes.baseAddress {
            let n = Glibc.write(descriptor, from + done, min(bytes.count - done, 1 << 30))
            if n < 0 {
                if errno == EINTR { continue }
                throw FileWriter.failure("cannot write the file", path)
            }
            done += n
        }
        offset += bytes.count
    }

    /// Appends bytes; throws as the other.
    public mutating func write(_ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { (raw: UnsafeRawBufferPointer) throws in try write(raw) }
    }

    /// Closes the file and gives it its name.
    /// - Throws: IO005 where that fails.
    public mutating func finish() throws {
        let status = close(descriptor)
        descriptor = -1
        guard status == 0, rename(temporary, path) == 0 else {
            let error = FileWriter.failure("cannot write the file", path)
            unlink(temporary)
            throw error
        }
    }

    private static func failure(_ message: String, _ path: String) -> ApusError {
        ApusError("IO005", message, at: ["file: \(path)"], actual: String(cString: strerror(errno)))
    }
}
