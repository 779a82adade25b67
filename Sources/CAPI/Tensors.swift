import ApusCABI
import ApusRuntime
import ApusSupport

// Tensors over the C border.

/// `apus_tensor_create` of apus.h.
@_cdecl("apus_tensor_create")
public func apusTensorCreate(
    _ shape: UnsafePointer<Int64>?, _ rank: Int32, _ dtype: DLDataType, _ device: DLDevice,
    _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    status {
        let out = try require(out, "out")
        let n = try count(rank, shape, "shape")
        guard n <= 64 else {
            throw ApusError("RT092", "an impossible rank", expected: "0...64", actual: "\(n)")
        }
        guard let type = DataType(dtype), type.byteCount > 0 else {
            throw ApusError("RT003", "no such type", actual: "code \(dtype.code), \(dtype.bits) bits")
        }
        guard let device = Device(device) else {
            throw ApusError("RT010", "no such device kind", actual: "\(device.device_type)")
        }
        let extents = UnsafeBufferPointer(start: shape, count: n).map { Int($0) }
        out.pointee = owned(try NDArray.allocate(shape: extents, dtype: type, device: device))
    }
}

/// `apus_tensor_view` of apus.h.
@_cdecl("apus_tensor_view")
public func apusTensorView(
    _ tensor: UnsafeMutableRawPointer?, _ out: UnsafeMutablePointer<UnsafeMutablePointer<DLTensor>?>?
) -> Int32 {
    status { try require(out, "out").pointee = try object(tensor, "tensor", as: NDArray.self).dlTensor }
}

/// `apus_tensor_from_dlpack` of apus.h.
@_cdecl("apus_tensor_from_dlpack")
public func apusTensorFromDLPack(
    _ tensor: UnsafeMutablePointer<DLManagedTensor>?, _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    status {
        let array = try NDArray.fromDLPack(require(tensor, "tensor"))
        try require(out, "out").pointee = owned(array)
    }
}

/// `apus_tensor_from_dlpack_versioned` of apus.h.
@_cdecl("apus_tensor_from_dlpack_versioned")
public func apusTensorFromDLPackVersioned(
    _ tensor: UnsafeMutablePointer<DLManagedTensorVersioned>?,
    _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    status {
        let array = try NDArray.fromDLPack(require(tensor, "tensor"))
        try require(out, "out").pointee = owned(array)
    }
}

/// `apus_tensor_to_dlpack` of apus.h.
@_cdecl("apus_tensor_to_dlpack")
public func apusTensorToDLPack(
    _ tensor: UnsafeMutableRawPointer?, _ out: UnsafeMutablePointer<UnsafeMutablePointer<DLManagedTensor>?>?
) -> Int32 {
    status {
        let out = try require(out, "out")
        out.pointee = try object(tensor, "tensor", as: NDArray.self).toDLPack()
    }
}

/// `apus_tensor_to_dlpack_versioned` of apus.h.
@_cdecl("apus_tensor_to_dlpack_versioned")
public func apusTensorToDLPackVersioned(
    _ tensor: UnsafeMutableRawPointer?,
    _ out: UnsafeMutablePointer<UnsafeMutablePointer<DLManagedTensorVersioned>?>?
) -> Int32 {
    status {
        let out = try require(out, "out")
        out.pointee = try object(tensor, "tensor", as: NDArray.self).toDLPackVersioned()
    }
}

/// `apus_tensor_copy` of apus.h.
@_cdecl("apus_tensor_copy")
public func apusTensorCopy(_ source: UnsafeMutableRawPointer?, _ target: UnsafeMutableRawPointer?) -> Int32 {
    status {
        let target = try object(target, "target", as: NDArray.self)
        try target.copy(from: object(source, "source", as: NDArray.self))
    }
}

/// The host memory of a tensor as one compact piece that has exactly `bytes`.
private func compact(_ tensor: NDArray, _ bytes: Int) throws -> NDArray {
    guard tensor.byteCount == bytes else {
        throw ApusError(
            "RT007", "the tensor has another size", expected: "\(tensor.byteCount) bytes", actual: "\(bytes)")
    }
    if tensor.isContiguous && tensor.device.isHostAccessible { return tensor }
    let host = try NDArray.allocate(shape: tensor.shape, dtype: tensor.dtype)
    return host
}

/// `apus_tensor_copy_from_bytes` of apus.h.
@_cdecl("apus_tensor_copy_from_bytes")
public func apusTensorCopyFromBytes(
    _ tensor: UnsafeMutableRawPointer?, _ data: UnsafeRawPointer?, _ bytes: Int
) -> Int32 {
    status {
        let tensor = try object(tensor, "tensor", as: NDArray.self)
        let host = try compact(tensor, bytes)
        if bytes == 0 { return }
        host.data.copyMemory(from: try require(data, "data"), byteCount: bytes)
        if host !== tensor { try tensor.copy(from: host) }
    }
}

/// `apus_tensor_copy_to_bytes` of apus.h.
@_cdecl("apus_tensor_copy_to_bytes")
public func apusTensorCopyToBytes(
    _ tensor: UnsafeMutableRawPointer?, _ data: UnsafeMutableRawPointer?, _ bytes: Int
) -> Int32 {
    status {
        let tensor = try object(tensor, "tensor", as: NDArray.self)
        let host = try compact(tensor, bytes)
        if bytes == 0 { return }
        if host !== tensor { try host.copy(from: tensor) }
        try require(data, "data").copyMemory(from: host.data, byteCount: bytes)
    }
}
