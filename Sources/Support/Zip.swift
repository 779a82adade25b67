/// A zip archive in memory (PKWARE's APPNOTE 6.3): stored and deflated members, zip64 sizes. Only what the
/// central directory lists exists. Every offset and size is checked against the archive before it is used.
public struct ZipArchive {
    /// One member.
    public struct Entry: Sendable {
        public let name: String
        /// Bytes when read.
        public let byteCount: Int
        fileprivate let stored: Range<Int>
        fileprivate let isDeflated: Bool
        fileprivate let checksum: UInt32
    }

    /// The members in the order of the directory.
    public let entries: [Entry]
    private let bytes: UnsafeRawBufferPointer

    /// Reads the directory; `bytes` must outlive the archive.
    /// - Parameter maximumBytes: of all members together, when read.
    /// - Throws: ZIP001 where this is no archive, ZIP002 for a damaged directory, ZIP003 for a feature that
    ///   is not supported (encryption, other compression), ZIP004 for members that would be too large or
    ///   share bytes.
    public init(_ bytes: UnsafeRawBufferPointer, maximumBytes: Int = 1 << 40) throws {
        self.bytes = bytes
        let directory = try ZipArchive.locateDirectory(bytes)
        var list: [Entry] = []
        var at = directory.range.lowerBound
        var total = 0
        for _ in 0..<directory.count {
            let entry = try ZipArchive.entry(bytes, &at, directory.range.upperBound)
            let (sum, overflow) = total.addingReportingOverflow(entry.byteCount)
            let limit = entry.stored.count.multipliedReportingOverflow(by: Inflate.maximumRatio)
            guard !overflow, sum <= maximumBytes, limit.overflow || entry.byteCount <= limit.partialValue + 64
            else {
                throw ApusError(
                    "ZIP004", "a member of the archive is too large", at: ["member: \(entry.name)"],
                    actual: "\(entry.byteCount) bytes from \(entry.stored.count)")
            }
            total = sum
            list.append(entry)
        }
        // Members that share their bytes are how small archives claim huge sizes.
        let byPlace = list.sorted { $0.stored.lowerBound < $1.stored.lowerBound }
        var end = 0
        for entry in byPlace where !entry.stored.isEmpty {
            guard entry.stored.lowerBound >= end else {
                throw ApusError("ZIP004", "members of the archive overlap", at: ["member: \(entry.name)"])
            }
            end = entry.stored.upperBound
        }
        entries = list
    }

    /// The bytes of a member where they lie in the archive; nil for a compressed one. The checksum has been
    /// compared.
    /// - Throws: ZIP006 where it differs.
    public func storedBytes(_ entry: Entry) throws -> UnsafeRawBufferPointer? {
        if entry.isDeflated { return nil }
        let data = UnsafeRawBufferPointer(rebasing: bytes[entry.stored])
        try verify(data, entry)
        return data
    }

    /// Reads a member into `output`, which has its size.
    /// - Throws: ZIP005 for damaged compressed data, ZIP006 where the checksum differs.
    public func read(_ entry: Entry, into output: UnsafeMutableRawBufferPointer) throws {
        try within("member: \(entry.name)") {
            guard output.count == entry.byteCount else {
                internalError("ZipArchive.read: buffer of another size")
            }
            let data = UnsafeRawBufferPointer(rebasing: bytes[entry.stored])
            if entry.isDeflated {
                try Inflate.inflate(data, into: output)
            } else {
                output.copyMemory(from: data)
            }
            try verify(UnsafeRawBufferPointer(output), entry)
        }
    }

    /// Reads a member; throws as `read(_:into:)`.
    public func read(_ entry: Entry) throws -> [UInt8] {
        var result = [UInt8](repeating: 0, count: entry.byteCount)
        try result.withUnsafeMutableBytes { (raw: UnsafeMutableRawBufferPointer) throws in
            try read(entry, into: raw)
        }
        return result
    }

    private func verify(_ data: UnsafeRawBufferPointer, _ entry: Entry) throws {
        guard CRC32.checksum(data) == entry.checksum else {
            throw ApusError(
                "ZIP006", "the checksum of a member differs: the archive is damaged",
                at: ["member: \(entry.name)"])
        }
    }

    // MARK: Directory

    private static func damaged(_ what: String) -> ApusError {
        ApusError("ZIP002", "the archive is damaged: \(what)")
    }

    private static func number(_ bytes: UnsafeRawBufferPointer, _ at: Int, _ size: Int) -> UInt64 {
        var value: UInt64 = 0
        for i in 0..<size { value |= UInt64(bytes[at + i]) << UInt64(8 * i) }
        return value
    }

    private static func position(_ value: UInt64, _ limit: Int, _ what: String) throws -> Int {
        guard value <= UInt64(limit) else { throw damaged("\(what) lies outside of it") }
        return Int(value)
    }

    private static func locateDirectory(
        _ bytes: UnsafeRawBufferPointer
    ) throws -> (range: Range<Int>, count: Int) {
        // The end record is the last thing but for a comment of at most 65535 bytes.
        var end = bytes.count - 22
        let lowest = max(0, end - 65535)
        while end >= lowest, number(bytes, end, 4) != 0x0605_4B50 { end -= 1 }
        guard end >= lowest, end >= 0 else { throw ApusError("ZIP001", "this is not a zip archive") }
        var count = number(bytes, end + 10, 2)
        var size = number(bytes, end + 12, 4)
        var offset = number(bytes, end + 16, 4)
        var limit = end
        if count == 0xFFFF || size == 0xFFFF_FFFF || offset == 0xFFFF_FFFF, end >= 20,
            number(bytes, end - 20, 4) == 0x0706_4B50
        {
            let record = try position(number(bytes, end - 20 + 8, 8), end - 20, "the zip64 record")
            guard end - 20 - record >= 56, number(bytes, record, 4) == 0x0606_4B50 else {
                throw damaged("bad zip64 record")
            }
            count = number(bytes, record + 32, 8)
            size = number(bytes, record + 40, 8)
            offset = number(bytes, record + 48, 8)
            limit = record
        }
        let start = try position(offset, limit, "the directory")
        let length = try position(size, limit - start, "the directory")
        guard count <= UInt64(length / 46) else { throw damaged("the directory is too short") }
        return (start..<start + length, Int(count))
    }

    private static func entry(_ bytes: UnsafeRawBufferPointer, _ at: inout Int, _ end: Int) throws -> Entry {
        guard end - at >= 46, number(bytes, at, 4) == 0x0201_4B50 else {
            throw damaged("bad directory entry")
        }
        let flags = number(bytes, at + 8, 2)
        let method = number(bytes, at + 10, 2)
        let checksum = UInt32(truncatingIfNeeded: number(bytes, at + 16, 4))
        var packed = number(bytes, at + 20, 4)
        var size = number(bytes, at + 24, 4)
        let nameLength = Int(number(bytes, at + 28, 2))
        let extraLength = Int(number(bytes, at + 30, 2))
        let commentLength = Int(number(bytes, at + 32, 2))
        var offset = number(bytes, at + 42, 4)
        let extra = at + 46 + nameLength
        let next = extra + extraLength + commentLength
        guard next <= end else { throw damaged("bad directory entry") }
        let raw = UnsafeRawBufferPointer(rebasing: bytes[at + 46..<extra])
        guard let name = String(validating: raw, as: UTF8.self) else {
            throw damaged("a name that is not UTF-8")
        }
        var field = extra
        while field + 4 <= extra + extraLength {
            let kind = number(bytes, field, 2)
            let length = Int(number(bytes, field + 2, 2))
            var value = field + 4
            let fieldEnd = value + length
            guard fieldEnd <= extra + extraLength else { break }
            if kind == 1 {
                func take() throws -> UInt64 {
                    guard value + 8 <= fieldEnd else { throw damaged("bad zip64 field") }
                    defer { value += 8 }
                    return number(bytes, value, 8)
                }
                if size == 0xFFFF_FFFF { size = try take() }
                if packed == 0xFFFF_FFFF { packed = try take() }
                if offset == 0xFFFF_FFFF { offset = try take() }
            }
            field = fieldEnd
        }
        at = next
        return try within("member: \(name)") {
            guard flags & 1 == 0 else { throw ApusError("ZIP003", "encrypted archives are not supported") }
            guard method == 0 || method == 8 else {
                throw ApusError(
                    "ZIP003", "this compression is not supported", expected: "stored or deflated",
                    actual: "method \(method)")
            }
            let header = try position(offset, bytes.count, "the member")
            guard bytes.count - header >= 30, number(bytes, header, 4) == 0x0403_4B50 else {
                throw damaged("bad header of a member")
            }
            let skip = 30 + Int(number(bytes, header + 26, 2)) + Int(number(bytes, header + 28, 2))
            let start = try position(UInt64(header) + UInt64(skip), bytes.count, "the member")
            let length = try position(packed, bytes.count - start, "the member")
            guard method == 8 || size == packed, let count = Int(exactly: size) else {
                throw damaged("sizes that contradict each other")
            }
            return Entry(
                name: name, byteCount: count, stored: start..<start + length, isDeflated: method == 8,
                checksum: checksum)
        }
    }
}

/// Writes a zip archive of stored (uncompressed) members, whose bytes begin at multiples of 64 so that a
/// mapping of the file can be used in place; zip64 where sizes need it. The same input gives the same bytes:
/// no times are recorded.
public struct ZipWriter: ~Copyable {
    private var file: FileWriter
    private var directory: [UInt8] = []
    private var count = 0
    private static let limit32 = 0xFFFF_FFFF
    /// 1 January 1980, the earliest date the format knows.
    private static let date = 0x0021

    /// - Throws: IO005 where the file cannot be made.
    public init(_ path: String) throws { file = try FileWriter(path) }

    /// Appends a member made of `parts`.
    /// - Throws: IO005 where writing fails, ZIP007 for a name over 65535 bytes.
    public mutating func add(_ name: String, _ parts: [UnsafeRawBufferPointer]) throws {
        let text = Array(name.utf8)
        guard text.count <= 0xFFFF else { throw ApusError("ZIP007", "the name of a member is too long") }
        var size = 0
        var checksum: UInt32 = 0
        for part in parts {
            size += part.count
            checksum = CRC32.checksum(part, previous: checksum)
        }
        let offset = file.offset
        let isLarge = size >= ZipWriter.limit32
        var extra: [UInt8] = []
        if isLarge {
            ZipWriter.put(&extra, 1, 2)
            ZipWriter.put(&extra, 16, 2)
            ZipWriter.put(&extra, size, 8)
            ZipWriter.put(&extra, size, 8)
        }
        // Padding as an extra field of its own; its identifier is the one zipalign uses for this purpose.
        let plain = offset + 30 + text.count + extra.count + 4
        let padding = (64 - plain % 64) % 64
        ZipWriter.put(&extra, 0xD935, 2)
        ZipWriter.put(&extra, padding, 2)
        extra += [UInt8](repeating: 0, count: padding)
        var header: [UInt8] = []
        ZipWriter.put(&header, 0x0403_4B50, 4)
        var common: [UInt8] = []
        ZipWriter.put(&common, isLarge ? 45 : 20, 2)
        ZipWriter.put(&common, 1 << 11, 2)  // names are UTF-8
        ZipWriter.put(&common, 0, 2)
        ZipWriter.put(&common, 0, 2)
        ZipWriter.put(&common, ZipWriter.date, 2)
        ZipWriter.put(&common, Int(checksum), 4)
        ZipWriter.put(&common, min(size, ZipWriter.limit32), 4)
        ZipWriter.put(&common, min(size, ZipWriter.limit32), 4)
        ZipWriter.put(&common, text.count, 2)
        header += common
        ZipWriter.put(&header, extra.count, 2)
        try file.write(header + text + extra)
        for part in parts { try file.write(part) }

        var large: [UInt8] = []
        if isLarge {
            ZipWriter.put(&large, size, 8)
            ZipWriter.put(&large, size, 8)
        }
        if offset >= ZipWriter.limit32 { ZipWriter.put(&large, offset, 8) }
        ZipWriter.put(&directory, 0x0201_4B50, 4)
        ZipWriter.put(&directory, large.isEmpty ? 20 : 45, 2)
        directory += common
        ZipWriter.put(&directory, large.isEmpty ? 0 : large.count + 4, 2)
        ZipWriter.put(&directory, 0, 2)
        ZipWriter.put(&directory, 0, 2)
        ZipWriter.put(&directory, 0, 2)
        ZipWriter.put(&directory, 0, 4)
        ZipWriter.put(&directory, min(offset, ZipWriter.limit32), 4)
        directory += text
        if !large.isEmpty {
            ZipWriter.put(&directory, 1, 2)
            ZipWriter.put(&directory, large.count, 2)
            directory += large
        }
        count += 1
    }

    /// Writes the directory and gives the file its name.
    /// - Throws: IO005 where writing fails.
    public mutating func finish() throws {
        let start = file.offset
        let size = directory.count
        var tail: [UInt8] = []
        if count >= 0xFFFF || start >= ZipWriter.limit32 || size >= ZipWriter.limit32 {
            ZipWriter.put(&tail, 0x0606_4B50, 4)
            ZipWriter.put(&tail, 44, 8)
            ZipWriter.put(&tail, 45, 2)
            ZipWriter.put(&tail, 45, 2)
            ZipWriter.put(&tail, 0, 8)
            ZipWriter.put(&tail, count, 8)
            ZipWriter.put(&tail, count, 8)
            ZipWriter.put(&tail, size, 8)
            ZipWriter.put(&tail, start, 8)
            ZipWriter.put(&tail, 0x0706_4B50, 4)
            ZipWriter.put(&tail, 0, 4)
            ZipWriter.put(&tail, start + size, 8)
            ZipWriter.put(&tail, 1, 4)
        }
        ZipWriter.put(&tail, 0x0605_4B50, 4)
        ZipWriter.put(&tail, 0, 4)
        ZipWriter.put(&tail, min(count, 0xFFFF), 2)
        ZipWriter.put(&tail, min(count, 0xFFFF), 2)
        ZipWriter.put(&tail, min(size, ZipWriter.limit32), 4)
        ZipWriter.put(&tail, min(start, ZipWriter.limit32), 4)
        ZipWriter.put(&tail, 0, 2)
        try file.write(directory + tail)
        try file.finish()
    }

    private static func put(_ to: inout [UInt8], _ value: Int, _ size: Int) {
        for i in 0..<size { to.append(UInt8(truncatingIfNeeded: value >> (8 * i))) }
    }
}
