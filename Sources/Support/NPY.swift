/// The header of NumPy's .npy files (numpy.lib.format, versions 1 to 3): the element type as text, the order
/// of the elements and the shape. The data follow at `dataOffset`.
public struct NPYHeader: Sendable, Equatable {
    /// Type text such as `<f4` or `|b1`: byte order, kind, size.
    public var descr: String
    /// Whether the first axis is the innermost.
    public var isFortranOrder: Bool
    public var shape: [Int]
    /// Where the data begin, in bytes from the start of the file.
    public var dataOffset: Int

    private static let magic: [UInt8] = [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59]

    /// Reads the header at the start of `bytes`.
    /// - Throws: NPY001 where this is no .npy file or a damaged one, NPY002 for a version or a kind of
    ///   element (records, objects) that is not supported.
    public init(_ bytes: UnsafeRawBufferPointer) throws {
        guard bytes.count >= 10, bytes.prefix(6).elementsEqual(NPYHeader.magic) else {
            throw ApusError("NPY001", "this is not an .npy file")
        }
        let version = bytes[6]
        guard version >= 1, version <= 3 else {
            throw ApusError(
                "NPY002", "this version of .npy is not supported", expected: "1 to 3", actual: "\(version)")
        }
        var length = Int(bytes[8]) | Int(bytes[9]) << 8
        var start = 10
        if version >= 2 {
            guard bytes.count >= 12 else { throw NPYHeader.damaged("it ends within the header") }
            length |= Int(bytes[10]) << 16 | Int(bytes[11]) << 24
            start = 12
        }
        guard length <= bytes.count - start else { throw NPYHeader.damaged("it ends within the header") }
        // NumPy's own limit for headers it does not trust.
        guard length <= 10000 else { throw NPYHeader.damaged("the header is too long") }
        var parser = NPYHeaderParser(Array(bytes[start..<start + length]))
        self = try parser.header(dataOffset: start + length)
    }

    /// A header for data to be written.
    public init(descr: String, isFortranOrder: Bool = false, shape: [Int]) {
        self.descr = descr
        self.isFortranOrder = isFortranOrder
        self.shape = shape
        dataOffset = 0
    }

    /// The bytes of the header, a multiple of 64, in the lowest version that can hold it.
    public var encoded: [UInt8] {
        var extents = shape.map { String($0) }.joined(separator: ", ")
        if shape.count == 1 { extents += "," }
        let order = isFortranOrder ? "True" : "False"
        var text = Array("{'descr': '\(descr)', 'fortran_order': \(order), 'shape': (\(extents)), }".utf8)
        let isLong = 10 + text.count + 64 > 65535
        let prefix = isLong ? 12 : 10
        while (prefix + text.count + 1) % 64 != 0 { text.append(0x20) }
        text.append(0x0A)
        var result = NPYHeader.magic + [isLong ? 2 : 1, 0]
        for i in 0..<(isLong ? 4 : 2) { result.append(UInt8(truncatingIfNeeded: text.count >> (8 * i))) }
        return result + text
    }

    fileprivate static func damaged(_ what: String) -> ApusError {
        ApusError("NPY001", "the .npy file is damaged: \(what)")
    }
}

/// Reads the header's text: a Python dictionary of three entries, in any order.
private struct NPYHeaderParser {
    private let text: [UInt8]
    private var at = 0

    init(_ text: [UInt8]) { self.text = text }

    private var next: UInt8 { at < text.count ? text[at] : 0 }

    private mutating func skipSpace() {
        while at < text.count, text[at] == 0x20 || text[at] == 0x0A || text[at] == 0x09 || text[at] == 0x0D {
            at += 1
        }
    }

    private mutating func accept(_ c: Unicode.Scalar) -> Bool {
        skipSpace()
        guard at < text.count, UInt32(text[at]) == c.value else { return false }
        at += 1
        return true
    }

    private mutating func expect(_ c: Unicode.Scalar) throws {
        guard accept(c) else { throw NPYHeader.damaged("expected `\(c)` in the header, byte \(at)") }
    }

    private mutating func string() throws -> String {
        skipSpace()
        let quote = next
        guard quote == 0x27 || quote == 0x22 else { throw NPYHeader.damaged("expected text in the header") }
        at += 1
        let start = at
        while at < text.count, text[at] != quote { at += 1 }
        guard at < text.count else { throw NPYHeader.damaged("text without an end in the header") }
        defer { at += 1 }
        return String(decoding: text[start..<at], as: UTF8.self)
    }

    private mutating func word() -> String {
        skipSpace()
        let start = at
        while at < text.count, text[at] | 0x20 >= 0x61, text[at] | 0x20 <= 0x7A { at += 1 }
        return String(decoding: text[start..<at], as: UTF8.self)
    }

    private mutating func tuple() throws -> [Int] {
        try expect("(")
        var result: [Int] = []
        while !accept(")") {
            skipSpace()
            let start = at
            while at < text.count, text[at] >= 0x30, text[at] <= 0x39 { at += 1 }
            guard let n = Int(String(decoding: text[start..<at], as: UTF8.self)) else {
                throw NPYHeader.damaged("bad extent in the shape")
            }
            // Python 2 wrote long integers with this suffix.
            if next == 0x4C { at += 1 }
            result.append(n)
            if !accept(",") {
                try expect(")")
                break
            }
        }
        guard result.count <= 64 else { throw NPYHeader.damaged("too many axes") }
        return result
    }

    mutating func header(dataOffset: Int) throws -> NPYHeader {
        var descr: String?
        var order: Bool?
        var shape: [Int]?
        try expect("{")
        while !accept("}") {
            let key = try string()
            try expect(":")
            switch key {
            case "descr":
                skipSpace()
                if next == 0x5B {
                    throw ApusError(
                        "NPY002", "arrays of records are not supported",
                        hint: "save each field as an array of its own")
                }
                descr = try string()
            case "fortran_order":
                switch word() {
                case "True": order = true
                case "False": order = false
                default: throw NPYHeader.damaged("bad fortran_order")
                }
            case "shape": shape = try tuple()
            default: throw NPYHeader.damaged("unknown key `\(key)` in the header")
            }
            if !accept(",") {
                try expect("}")
                break
            }
        }
        skipSpace()
        guard at == text.count, let descr, let order, let shape else {
            throw NPYHeader.damaged("the header is not complete")
        }
        var header = NPYHeader(descr: descr, isFortranOrder: order, shape: shape)
        header.dataOffset = dataOffset
        return header
    }
}
