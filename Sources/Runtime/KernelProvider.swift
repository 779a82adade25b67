import ApusCABI

/// Compiled kernels by name: a JIT module or a loaded library. The code stays valid as long as the provider
/// lives.
public protocol KernelProvider: AnyObject, Sendable {
    /// The C function of the kernel (without the `apus_fn_` of its symbol), or nil.
    func kernel(named name: String) throws -> ApusCFunction?
}
