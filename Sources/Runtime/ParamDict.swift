import ApusSupport
import Glibc

/// Named tensors as bytes, in TVM's format of parameter files: little-endian
/// `u64 0xF7E58D4F05049CB7, u64 0, names (u64 count; u64 length, bytes), u64 count, tensors`; a tensor is
/// `u64 0xDD5E40F096B4A13F, u64 0, device (2 x i32), i32 rank, dtype (u8, u8, u16), i64 extents, i64 bytes,
/// data`.
public enum ParamDict {
    private static let listMagic: UInt64 = 0xF7E5_8D4F_0504_9CB7
    private static let tensorMagic: UInt64 = 0xDD5E_40F0_96B4_A13F

    /// The bytes of `parameters`, in their order.
    public static func save(_ parameters: [(name: String, tensor: NDArray)]) -> [UInt8] {
        var w = ByteWriter()
        w.write(listMagic)
        w.write(UInt64(0))
        w.write(count: parameters.count)
        for (name, _) in parameters { w.write(name) }
        w.write(count: parameters.count)
        for (_, tensor) in parameters { write(tensor, &w) }
        return w.bytes
    }

    private static func write(_ tensor: NDArray, _ w: inout ByteWriter) {
        w.write(tensorMagic)
        w.write(UInt64(0))
        w.write(Device.cpu.kind.rawValue)
        w.write(Int32(0))
        w.write(Int32(tensor.shape.count))
        w.write(tensor.dtype)
        for n in tensor.shape { w.write(Int64(n)) }
        w.write(Int64(tensor.byteCount))
        tensor.withUnsafeBytes { w.bytes.append(contentsOf: $0) }
    }

    /// Reads what `save` or TVM wrote.
    /// - Throws: RT080 for bytes that are no such list; RT001, RT002 for tensors that cannot be.
    public static func load(_ bytes: UnsafeRawBufferPointer) throws -> [(name: String, tensor: NDArray)] {
        var r = ByteReader(bytes, code: "RT080")
        guard try r.read(UInt64.self) == listMagic else { throw r.malformed("this is no parameter file") }
        _ = try r.read(UInt64.self)
        let names = try r.readList(minimum: 8) { r in try r.readString() }
        let tensors = try r.readList(minimum: 40, readTensor)
        guard names.count == tensors.count, r.remaining == 0 else {
            throw r.malformed("\(names.count) names, \(tensors.count) tensors, \(r.remaining) bytes left")
        }
        return zip(names, tensors).map { (name: $0, tensor: $1) }
    }

    private static func readTensor(_ r: inout ByteReader) throws -> NDArray {
        guard try r.read(UInt64.self) == tensorMagic else { throw r.malformed("no tensor here") }
        _ = try r.read(UInt64.self)
        _ = try r.readBytes(8)
        let rank = Int(try r.read(Int32.self))
        let dtype = try r.readDataType()
        guard rank >= 0, rank <= 64 else { throw r.malformed("a rank of \(rank)") }
        let shape = try (0..<rank).map { _ in try r.readInt() }
        let size = try r.readInt()
        guard try NDArray.checkedSize(shape: shape, dtype: dtype).bytes == size else {
            throw r.malformed("\(size) bytes for \(dtype) \(shape)")
        }
        let data = try r.readBytes(size)
        let tensor = try NDArray.allocate(shape: shape, dtype: dtype)
        if let from = data.baseAddress { tensor.data.copyMemory(from: from, byteCount: size) }
        return tensor
    }

    /// Reads a file.
    /// - Throws: RT068 where it cannot be read; as `load`.
    public static func load(_ path: String) throws -> [(name: String, tensor: NDArray)] {
        let mapping = try FileMapping(path)
        return try within("file: \(path)") { try load(mapping.bytes) }
    }

    /// The pairs of a map from strings to tensors.
    /// - Throws: RT020 for keys or values of another kind.
    public static func fromMap(_ map: MapObject) throws -> [(name: String, tensor: NDArray)] {
        try map.entries.map { (name: try $0.key.to(String.self), tensor: try $0.value.to(NDArray.self)) }
    }
}
