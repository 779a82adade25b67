import ApusCABI
import ApusSupport

/// What a foreign tensor needs when it is no longer looked at: the call of its own deleter.
private final class ForeignTensor: @unchecked Sendable {
    private let release: () -> Void
    init(_ release: @escaping () -> Void) { self.release = release }
    deinit { release() }
}

/// Keeps the tensor, and the extents in the form that goes out, as long as the other side looks at it.
private final class ExportContext {
    let tensor: NDArray
    let strides: UnsafeMutablePointer<Int64>

    init(_ tensor: NDArray) {
        self.tensor = tensor
        let values = tensor.strides ?? NDArray.compactStrides(tensor.shape)
        strides = .allocate(capacity: max(1, values.count))
        for (i, n) in values.enumerated() { strides[i] = Int64(n) }
    }

    deinit { strides.deallocate() }

    /// Strides are always written out: newer DLPack does not allow null ones.
    var dlTensor: DLTensor {
        var copy = tensor.dlTensor.pointee
        copy.dtype = tensor.dtype.interchangeDataType
        copy.strides = strides
        return copy
    }
}

extension NDArray {
    /// The tensor for another framework, without copying. The receiver calls its `deleter` exactly once;
    /// until then the memory stays.
    public func toDLPack() -> UnsafeMutablePointer<DLManagedTensor> {
        let context = ExportContext(self)
        let managed = UnsafeMutablePointer<DLManagedTensor>.allocate(capacity: 1)
        managed.initialize(
            to: DLManagedTensor(
                dl_tensor: context.dlTensor, manager_ctx: Unmanaged.passRetained(context).toOpaque(),
                deleter: { managed in
                    guard let managed else { return }
                    if let raw = managed.pointee.manager_ctx {
                        Unmanaged<ExportContext>.fromOpaque(raw).release()
                    }
                    managed.deallocate()
                }))
        return managed
    }

    /// As `toDLPack` in the form of DLPack 1, with version and flags.
    public func toDLPackVersioned() -> UnsafeMutablePointer<DLManagedTensorVersioned> {
        let context = ExportContext(self)
        let managed = UnsafeMutablePointer<DLManagedTensorVersioned>.allocate(capacity: 1)
        managed.initialize(
            to: DLManagedTensorVersioned(
                version: DLPackVersion(major: 1, minor: 0),
                manager_ctx: Unmanaged.passRetained(context).toOpaque(),
                deleter: { managed in
                    guard let managed else { return }
                    if let raw = managed.pointee.manager_ctx {
                        Unmanaged<ExportContext>.fromOpaque(raw).release()
                    }
                    managed.deallocate()
                }, flags: 0, dl_tensor: context.dlTensor))
        return managed
    }

    /// A view of another framework's tensor, which it takes over: the deleter is called when the view goes
    /// away, or at once if this throws.
    /// - Throws: RT003 where it describes no tensor that Apus knows.
    public static func fromDLPack(_ managed: UnsafeMutablePointer<DLManagedTensor>) throws -> NDArray {
        nonisolated(unsafe) let foreign = managed
        let owner = ForeignTensor { foreign.pointee.deleter?(foreign) }
        return try view(of: managed.pointee.dl_tensor, owner: owner)
    }

    /// As `fromDLPack` for the form of DLPack 1.
    /// - Throws: RT003 also for a newer major version.
    public static func fromDLPack(_ managed: UnsafeMutablePointer<DLManagedTensorVersioned>) throws -> NDArray
    {
        nonisolated(unsafe) let foreign = managed
        let owner = ForeignTensor { foreign.pointee.deleter?(foreign) }
        guard managed.pointee.version.major == 1 else {
            throw ApusError(
                "RT003", "a DLPack tensor of an unknown version", expected: "1.x",
                actual: "\(managed.pointee.version.major).\(managed.pointee.version.minor)")
        }
        return try view(of: managed.pointee.dl_tensor, owner: owner)
    }
}
