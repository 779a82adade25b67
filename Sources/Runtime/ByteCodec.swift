import ApusSupport

/// Writes little-endian numbers, strings and lists.
package struct ByteWriter {
    package var bytes: [UInt8] = []

    package init() {}

    package mutating func write<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    /// A length that is known to be non-negative.
    package mutating func write(count: Int) { write(UInt64(count)) }

    package mutating func write(_ text: String) {
        write(count: text.utf8.count)
        bytes.append(contentsOf: text.utf8)
    }

    package mutating func write(shape: [Int]) {
        write(count: shape.count)
        for n in shape { write(Int64(n)) }
    }

    package mutating func write(_ dtype: DataType) {
        write(dtype.code.rawValue)
        write(dtype.bits)
        write(dtype.lanes)
    }

    package mutating func pad(to unit: Int) { while bytes.count % unit != 0 { bytes.append(0) } }
}

/// Reads what `ByteWriter` wrote, from bytes that nobody vouches for: every length is checked before it is
/// used, and nothing is allocated that the bytes at hand could not fill.
package struct ByteReader {
    package let bytes: UnsafeRawBufferPointer
    package private(set) var position = 0
    /// The code of the errors that this throws.
    package let code: String

    package init(_ bytes: UnsafeRawBufferPointer, code: String) {
        self.bytes = bytes
        self.code = code
    }

    package var remaining: Int { bytes.count - position }

    package func malformed(_ what: String) -> ApusError {
        ApusError(code, "malformed data: \(what)", at: ["byte: \(position)"])
    }

    package mutating func read<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type = T.self) throws -> T {
        guard remaining >= MemoryLayout<T>.size else { throw malformed("it ends too early") }
        defer { position += MemoryLayout<T>.size }
        return T(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: T.self))
    }

    /// How many records follow, each of at least `minimum` bytes.
    package mutating func readCount(minimum: Int) throws -> Int {
        let raw = try read(UInt64.self)
        guard let count = Int(exactly: raw), count <= remaining / max(minimum, 1) else {
            throw malformed("a count of \(raw) with \(remaining) bytes left")
        }
        return count
    }

    package mutating func readBytes(_ count: Int) throws -> UnsafeRawBufferPointer {
        guard count >= 0, count <= remaining else { throw malformed("it ends too early") }
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
    }

    package mutating func readString() throws -> String {
        let count = try readCount(minimum: 1)
        guard let text = String(validating: try readBytes(count), as: UTF8.self) else {
            throw malformed("a text that is no UTF-8")
        }
        return text
    }

    package mutating func readInt() throws -> Int { Int(try read(Int64.self)) }

    package mutating func readShape() throws -> [Int] {
        let count = try readCount(minimum: 8)
        guard count <= 64 else { throw malformed("a rank of \(count)") }
        var shape: [Int] = []
        for _ in 0..<count { shape.append(try readInt()) }
        return shape
    }

    package mutating func readDataType() throws -> DataType {
        let code = try read(UInt8.self)
        let bits = try read(UInt8.self)
        let lanes = try read(UInt16.self)
        guard let kind = DataType.Code(rawValue: code), [1, 4, 8, 16, 32, 64].contains(bits), lanes > 0 else {
            throw malformed("an unknown type")
        }
        return DataType(kind, Int(bits), lanes: Int(lanes))
    }

    package mutating func readList<T>(minimum: Int, _ element: (inout ByteReader) throws -> T) throws -> [T] {
        let count = try readCount(minimum: minimum)
        var list: [T] = []
        list.reserveCapacity(count)
        for _ in 0..<count { list.append(try element(&self)) }
        return list
    }
}

/// FNV-1a, 64 bits: finds damage, not malice.
package func fnv1a(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    return hash
}
