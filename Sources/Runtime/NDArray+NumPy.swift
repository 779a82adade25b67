import ApusSupport
import Glibc

// NumPy's files: .npy holds one array, .npz is a zip archive of them.

extension NDArray {
    /// Reads an .npy file: bool, integers and floats of 8 to 64 bits in either byte order, row-major or
    /// Fortran order (converted). The data of a little-endian, row-major file stay in the file's mapping.
    /// - Throws: IO001 to IO003 for the file, NPY001 for a damaged one, NPY002 for elements that are not
    ///   supported (complex, text, records, objects), RT001 for an impossible shape.
    public static func loadNPY(_ path: String) throws -> NDArray {
        let file = try MappedFile(path)
        return try within("file: \(path)") { try file.withUnsafeBytes { try decodeNPY($0, owner: file) } }
    }

    /// Reads the bytes of an .npy file, copying them; throws as `loadNPY(_:)` for a path.
    public static func loadNPY(_ bytes: [UInt8]) throws -> NDArray {
        try bytes.withUnsafeBytes { (raw: UnsafeRawBufferPointer) throws -> NDArray in
            try decodeNPY(raw, owner: nil)
        }
    }

    /// Reads an .npz archive, stored or compressed: names (without `.npy`) and arrays in the archive's order.
    /// - Throws: as `loadNPY`, and ZIP001 to ZIP006 for the archive.
    public static func loadNPZ(_ path: String) throws -> [(name: String, tensor: NDArray)] {
        let file = try MappedFile(path)
        return try within("file: \(path)") { try file.withUnsafeBytes { try decodeNPZ($0, owner: file) } }
    }

    /// Reads the bytes of an .npz archive, copying them; throws as `loadNPZ(_:)` for a path.
    public static func loadNPZ(_ bytes: [UInt8]) throws -> [(name: String, tensor: NDArray)] {
        try bytes.withUnsafeBytes {
            (raw: UnsafeRawBufferPointer) throws -> [(name: String, tensor: NDArray)] in
            try decodeNPZ(raw, owner: nil)
        }
    }

    /// Writes an .npy file (row-major, little-endian).
    /// - Throws: NPY003 for element types NumPy has not (bfloat16, handles), RT005 for memory off the host,
    ///   IO005 where writing fails.
    public func saveNPY(_ path: String) throws {
        let header = try npyHeader().encoded
        try requireHost()
        var file = try FileWriter(path)
        try file.write(header)
        let source = contiguous()
        try file.write(UnsafeRawBufferPointer(start: source.data, count: source.byteCount))
        withExtendedLifetime(source) {}
        try file.finish()
    }

    /// Writes an .npz archive of uncompressed arrays; equal arrays give equal bytes.
    /// - Throws: NPY003, RT005 and IO005 as `saveNPY`; NPY004 for two arrays of one name.
    public static func saveNPZ(_ path: String, _ arrays: [(name: String, tensor: NDArray)]) throws {
        var names: Set<String> = []
        var file = try ZipWriter(path)
        for (name, tensor) in arrays {
            guard names.insert(name).inserted else {
                throw ApusError("NPY004", "two arrays have one name", actual: name)
            }
            let header = try within("array: \(name)") { () throws -> [UInt8] in
                try tensor.requireHost()
                return try tensor.npyHeader().encoded
            }
            let source = tensor.contiguous()
            defer { withExtendedLifetime(source) {} }
            try header.withUnsafeBytes { (raw: UnsafeRawBufferPointer) throws in
                try file.add(
                    name + ".npy", [raw, UnsafeRawBufferPointer(start: source.data, count: source.byteCount)])
            }
        }
        try file.finish()
    }

    private func requireHost() throws {
        guard device.isHostAccessible else {
            throw ApusError("RT005", "the memory of this tensor is not on the host", actual: "\(device)")
        }
    }

    private func npyHeader() throws -> NPYHeader {
        guard let kind = NDArray.npyKinds.first(where: { $0.dtype == dtype }) else {
            throw ApusError(
                "NPY003", "NumPy has no element type like \(dtype)",
                hint: dtype.code == .bfloat ? "convert to float32 first" : nil)
        }
        return NPYHeader(descr: (dtype.byteCount == 1 ? "|" : "<") + kind.text, shape: shape)
    }

    private static let npyKinds: [(text: String, dtype: DataType)] = [
        ("b1", .bool), ("i1", .int8), ("i2", .int16), ("i4", .int32), ("i8", .int64), ("u1", .uint8),
        ("u2", .uint16),
        ("u4", .uint32), ("u8", .uint64), ("f2", .float16), ("f4", .float32), ("f8", .float64),
    ]

    // MARK: Decoding

    private static func decodeNPY(_ bytes: UnsafeRawBufferPointer, owner: AnyObject?) throws -> NDArray {
        let header = try NPYHeader(bytes)
        let order = header.descr.utf8.first.map { Character(Unicode.Scalar($0)) } ?? "?"
        let kind = String(header.descr.dropFirst())
        guard let dtype = npyKinds.first(where: { $0.text == kind })?.dtype, "<>|=".contains(order) else {
            throw ApusError(
                "NPY002", "elements of this type are not supported",
                expected: "bool, integers, or floats of 16, 32 or 64 bits", actual: header.descr)
        }
        let (_, size) = try checkedSize(shape: header.shape, dtype: dtype)
        let data = UnsafeRawBufferPointer(rebasing: bytes[header.dataOffset...])
        guard data.count >= size else {
            throw ApusError(
                "NPY001", "the .npy file is damaged: it ends too early", expected: "\(size) bytes of data",
                actual: "\(data.count)")
        }
        let isSwapped = order == ">" && dtype.byteCount > 1
        let isFortran = header.isFortranOrder && header.shape.count > 1
        if let owner, let base = data.baseAddress, size > 0, !isSwapped, !isFortran, !dtype.isBool,
            UInt(bitPattern: base) % UInt(dtype.byteCount) == 0
        {
            return NDArray(
                borrowing: UnsafeMutableRawPointer(mutating: base), shape: header.shape, dtype: dtype,
                owner: owner)
        }
        let result = try allocate(shape: header.shape, dtype: dtype)
        guard size > 0, let base = data.baseAddress else { return result }
        if isFortran {
            copyFromFortran(base, header.shape, dtype.byteCount, to: result.data)
        } else {
            result.data.copyMemory(from: base, byteCount: size)
        }
        if isSwapped { swapBytes(result.data, size, dtype.byteCount) }
        if dtype.isBool {
            // Kernels rely on 0 and 1.
            let flags = result.data.assumingMemoryBound(to: UInt8.self)
            for i in 0..<size where flags[i] > 1 { flags[i] = 1 }
        }
        return result
    }

    private static func decodeNPZ(
        _ bytes: UnsafeRawBufferPointer, owner: AnyObject?
    ) throws -> [(name: String, tensor: NDArray)] {
        let archive = try ZipArchive(bytes)
        var result: [(name: String, tensor: NDArray)] = []
        for entry in archive.entries {
            let name = entry.name.hasSuffix(".npy") ? String(entry.name.dropLast(4)) : entry.name
            let tensor = try within("array: \(name)") { () throws -> NDArray in
                if let stored = try archive.storedBytes(entry) { return try decodeNPY(stored, owner: owner) }
                let memory = HeapBytes(try allocate(shape: [entry.byteCount], dtype: .uint8))
                defer { withExtendedLifetime(memory) {} }
                let buffer = UnsafeMutableRawBufferPointer(start: memory.tensor.data, count: entry.byteCount)
                try archive.read(entry, into: buffer)
                return try decodeNPY(UnsafeRawBufferPointer(buffer), owner: memory)
            }
            result.append((name: name, tensor: tensor))
        }
        return result
    }

    /// Walks the elements in row-major order, reading at column-major distances.
    private static func copyFromFortran(
        _ from: UnsafeRawPointer, _ shape: [Int], _ size: Int, to: UnsafeMutableRawPointer
    ) {
        var strides: [Int] = []
        var step = size
        for extent in shape {
            strides.append(step)
            step *= extent
        }
        let total = step / size
        var index = [Int](repeating: 0, count: shape.count)
        var offset = 0
        for i in 0..<total {
            memcpy(to + i * size, from + offset, size)
            var axis = shape.count - 1
            while axis >= 0 {
                index[axis] += 1
                offset += strides[axis]
                if index[axis] < shape[axis] { break }
                offset -= strides[axis] * shape[axis]
                index[axis] = 0
                axis -= 1
            }
        }
    }

    private static func swapBytes(_ data: UnsafeMutableRawPointer, _ size: Int, _ width: Int) {
        let bytes = data.assumingMemoryBound(to: UInt8.self)
        var at = 0
        while at < size {
            for i in 0..<width / 2 {
                let other = at + width - 1 - i
                let kept = bytes[at + i]
                bytes[at + i] = bytes[other]
                bytes[other] = kept
            }
            at += width
        }
    }
}

/// Memory of a decompressed member, kept by the array that looks into it.
private final class HeapBytes {
    let tensor: NDArray
    init(_ tensor: NDArray) { self.tensor = tensor }
}
