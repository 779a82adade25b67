import ApusRuntime
import ApusSupport

/// Makes tensors of TensorProtos whose bulk the wire walk has left in the file.
final class ONNXTensorDecoder {
    private let bytes: UnsafeRawBufferPointer
    /// Keeps `bytes` alive for tensors that borrow from them; nil: everything is copied.
    private let owner: AnyObject?
    private let payloads: [ONNXPayload]
    private let folder: String?
    private let options: ONNXLoadOptions
    private var external: [String: MappedFile] = [:]

    /// Tensors below this size are copied: what a borrowed one saves would not pay for its odd alignment.
    private static let borrowedBytes = 4096
    /// From this size on a tensor is borrowed even where its elements are not aligned, as most in a file are not: a copy of
    /// all weights beside the one that the compiler lays out would double the memory of a compilation.
    private static let borrowedUnalignedBytes = 1 << 20

    init(
        bytes: UnsafeRawBufferPointer, owner: AnyObject?, payloads: [ONNXPayload], folder: String?,
        options: ONNXLoadOptions
    ) {
        self.bytes = bytes
        self.owner = owner
        self.payloads = payloads
        self.folder = folder
        self.options = options
    }

    /// The shape of a tensor, checked.
    func shape(_ proto: Onnx_TensorProto) throws -> [Int] {
        guard proto.dims.count <= options.maximumRank else {
            throw ApusError(
                "ONNX011", "a tensor has too many axes", expected: "at most \(options.maximumRank)",
                actual: "\(proto.dims.count)")
        }
        let shape = proto.dims.map { Int($0) }
        for extent in shape where extent < 0 {
            throw ApusError("ONNX011", "a tensor has a negative extent", actual: "\(shape)")
        }
        return shape
    }

    /// The tensor.
    /// - Throws: ONNX010 for an element type without tensors, ONNX011 for a shape, ONNX012 where data and
    ///   shape differ in size, ONNX013 for a number out of its type's range, ONNX014 for external data,
    ///   ONNX015 for a segment.
    func tensor(_ proto: Onnx_TensorProto) throws -> NDArray {
        let dtype = try ONNXElementType.dtype(number: Int(proto.dataType))
        let shape = try shape(proto)
        let count: Int
        let size: Int
        do {
            (count, size) = try NDArray.checkedSize(shape: shape, dtype: dtype)
        } catch {
            throw ApusError("ONNX011", "a tensor of this shape is too large", actual: "\(dtype) \(shape)")
        }
        if proto.hasSegment { throw ApusError("ONNX015", "tensors stored in segments are not supported") }
        if proto.dataLocation == .external {
            let (data, file) = try externalData(proto, size)
            return try make(data, file, shape, dtype)
        }
        let payload = Int(proto.docString).flatMap { $0 < payloads.count && $0 >= 0 ? payloads[$0] : nil }
        let hasNumbers = !(payload?.floats.isEmpty ?? true) || !(payload?.doubles.isEmpty ?? true)
        let hasTyped =
            hasNumbers || !proto.int32Data.isEmpty || !proto.int64Data.isEmpty || !proto.uint64Data.isEmpty
        if let raw = payload?.raw, !(raw.isEmpty && hasTyped) {
            try require(raw.count, size, "bytes of raw_data", shape, dtype)
            return try make(UnsafeRawBufferPointer(rebasing: bytes[raw]), owner, shape, dtype)
        }
        switch dtype {
        case .float32: return try numbers(payload?.floats ?? [], "float_data", size, shape, dtype)
        case .float64: return try numbers(payload?.doubles ?? [], "double_data", size, shape, dtype)
        case .int64: return try convert(proto.int64Data, "int64_data", count, shape, dtype, as: Int64.self)
        case .uint64:
            return try convert(proto.uint64Data, "uint64_data", count, shape, dtype, as: UInt64.self)
        case .uint32:
            return try convert(proto.uint64Data, "uint64_data", count, shape, dtype, as: UInt32.self)
        case .int32: return try convert(proto.int32Data, "int32_data", count, shape, dtype, as: Int32.self)
        case .int16: return try convert(proto.int32Data, "int32_data", count, shape, dtype, as: Int16.self)
        case .int8: return try convert(proto.int32Data, "int32_data", count, shape, dtype, as: Int8.self)
        case .uint8: return try convert(proto.int32Data, "int32_data", count, shape, dtype, as: UInt8.self)
        case .bool:
            return try convert(
                proto.int32Data.map { $0 == 0 ? Int32(0) : 1 }, "int32_data", count, shape, dtype,
                as: UInt8.self)
        default:
            // uint16 as its value, float16 and bfloat16 as their bits.
            return try convert(proto.int32Data, "int32_data", count, shape, dtype, as: UInt16.self)
        }
    }

    private func require(
        _ actual: Int, _ expected: Int, _ what: String, _ shape: [Int], _ dtype: DataType
    ) throws {
        guard actual == expected else {
            throw ApusError(
                "ONNX012", "the data of a tensor does not fit its shape \(shape) of \(dtype)",
                expected: "\(expected) \(what)", actual: "\(actual)")
        }
    }

    /// A tensor of little-endian bytes (as every machine this package runs on), whose number has been
    /// checked.
    private func make(
        _ data: UnsafeRawBufferPointer, _ owner: AnyObject?, _ shape: [Int], _ dtype: DataType
    ) throws -> NDArray {
        if let owner, let base = data.baseAddress, data.count >= ONNXTensorDecoder.borrowedBytes,
            !dtype.isBool,
            UInt(bitPattern: base) % UInt(dtype.byteCount) == 0
                || data.count >= ONNXTensorDecoder.borrowedUnalignedBytes
        {
            return NDArray(
                borrowing: UnsafeMutableRawPointer(mutating: base), shape: shape, dtype: dtype, owner: owner)
        }
        let tensor = try NDArray.allocate(shape: shape, dtype: dtype)
        if let base = data.baseAddress { tensor.data.copyMemory(from: base, byteCount: data.count) }
        (owner as? MappedFile)?.forget(data)
        if dtype.isBool {
            // Any byte other than 0 counts as true; kernels rely on 1.
            let flags = tensor.data.assumingMemoryBound(to: UInt8.self)
            for i in 0..<tensor.count where flags[i] > 1 { flags[i] = 1 }
        }
        return tensor
    }

    private func numbers(
        _ pieces: [Range<Int>], _ field: String, _ size: Int, _ shape: [Int], _ dtype: DataType
    ) throws -> NDArray {
        var total = 0
        for piece in pieces { total += piece.count }
        try require(total, size, "bytes of \(field)", shape, dtype)
        if pieces.count == 1 {
            return try make(UnsafeRawBufferPointer(rebasing: bytes[pieces[0]]), owner, shape, dtype)
        }
        let tensor = try NDArray.allocate(shape: shape, dtype: dtype)
        var at = 0
        for piece in pieces {
            if let base = UnsafeRawBufferPointer(rebasing: bytes[piece]).baseAddress {
                (tensor.data + at).copyMemory(from: base, byteCount: piece.count)
            }
            at += piece.count
        }
        return tensor
    }

    private func convert<From: BinaryInteger, To: FixedWidthInteger & BitwiseCopyable>(
        _ values: [From], _ field: String, _ count: Int, _ shape: [Int], _ dtype: DataType, as type: To.Type
    ) throws -> NDArray {
        try require(values.count, count, "values in \(field)", shape, dtype)
        let tensor = try NDArray.allocate(shape: shape, dtype: dtype)
        for (i, value) in values.enumerated() {
            guard let exact = To(exactly: value) else {
                throw ApusError(
                    "ONNX013", "a number is out of range", expected: "\(dtype)", actual: "\(value)")
            }
            tensor.data.storeBytes(of: exact, toByteOffset: i * MemoryLayout<To>.size, as: To.self)
        }
        return tensor
    }

    private func externalData(
        _ proto: Onnx_TensorProto, _ size: Int
    ) throws -> (data: UnsafeRawBufferPointer, file: MappedFile) {
        let fields = textTable(proto.externalData)
        func number(_ key: String) throws -> Int? {
            guard let text = fields[key] else { return nil }
            guard let n = Int(text), n >= 0 else {
                throw ApusError(
                    "ONNX014", "external data has a bad \(key)", expected: "0 or more", actual: text)
            }
            return n
        }
        guard let location = fields["location"], !location.isEmpty else {
            throw ApusError("ONNX014", "external data names no file")
        }
        let offset = try number("offset") ?? 0
        let length = try number("length")
        guard let folder else {
            throw ApusError(
                "ONNX014", "the model keeps data in another file, but no folder is known", actual: location,
                hint: "load the model by its path, or pass `folder`")
        }
        let file: MappedFile
        if let open = external[location] {
            file = open
        } else {
            do {
                file = try MappedFile(location, beneath: folder, followLinks: options.followLinks)
            } catch let error as ApusError {
                throw ApusError(
                    "ONNX014", "external data: \(error.message)", at: error.context,
                    expected: error.expected, actual: error.actual, hint: error.hint)
            }
            external[location] = file
        }
        let available = offset <= file.count ? file.count - offset : 0
        guard offset <= file.count, size <= available, length ?? size == size else {
            throw ApusError(
                "ONNX014", "external data does not fit the tensor", at: ["external file: \(location)"],
                expected: "\(size) bytes from byte \(offset)",
                actual: length.map { "\($0) bytes, file of \(file.count)" } ?? "file of \(file.count) bytes")
        }
        return (UnsafeRawBufferPointer(rebasing: file.bytes[offset..<offset + size]), file)
    }
}
