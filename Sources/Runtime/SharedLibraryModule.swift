import ApusCABI
import ApusSupport
import Glibc

/// Loaders that need no registration.
let builtinLoaders: [String: Module.FileLoader] = ["so": { path in try SharedLibraryModule(path) }]

/// A shared library that was exported by the compiler: its kernels, and the model in it if there is one. The
/// library is unloaded when nothing of it is in use any more.
public final class SharedLibrary: KernelProvider {
    /// The path it was loaded from.
    public let path: String
    nonisolated(unsafe) private let handle: UnsafeMutableRawPointer

    /// - Throws: RT054 where it cannot be loaded.
    public init(_ path: String) throws {
        // Without a slash the loader would search the system's folders instead.
        let file = path.contains("/") ? path : "./\(path)"
        guard let handle = dlopen(file, RTLD_NOW | RTLD_LOCAL) else {
            let reason = dlerror().map { String(cString: $0) } ?? "unknown reason"
            throw ApusError("RT054", "cannot load the library: \(reason)")
        }
        self.path = path
        self.handle = handle
        if let variable = dlsym(handle, "apus_backend_api") {
            variable.assumingMemoryBound(to: UnsafePointer<ApusBackendAPI>.self).pointee = BackendAPI.table
        }
    }

    deinit { dlclose(handle) }

    /// The address of a symbol, or nil.
    public func symbol(_ name: String) -> UnsafeMutableRawPointer? {
        // A null byte would cut the name short and find another symbol.
        name.utf8.contains(0) ? nil : dlsym(handle, name)
    }

    /// The function `apus_fn_<name>` of the library, or nil.
    public func kernel(named name: String) -> ApusCFunction? {
        symbol("apus_fn_\(name)").map { unsafeBitCast($0, to: ApusCFunction.self) }
    }

    /// The model that the library carries, or nil; its constants stay in the library's read-only data.
    /// - Throws: RT060 to RT066 where the data is damaged.
    public func executable() throws -> Executable? {
        guard let blob = symbol("apus_blob"), let size = symbol("apus_blob_size") else { return nil }
        let bytes = size.loadUnaligned(as: UInt64.self)
        guard let count = Int(exactly: bytes) else {
            throw ApusError("RT060", "the model in the library has an impossible size", actual: "\(bytes)")
        }
        return try Executable(decoding: UnsafeRawBufferPointer(start: blob, count: count), owner: self)
    }
}

/// A loaded library as a module: `module["kernel"]` calls a kernel on tensors; with a model in it,
/// `module["default"](device)`, or the model's name in place of `default`, makes an executor.
public final class SharedLibraryModule: Module, @unchecked Sendable {
    public override var kind: String { "library" }

    /// The loaded library.
    public let library: SharedLibrary
    /// The model in the library, if there is one.
    public let executable: Executable?

    /// - Throws: RT054 where the library cannot be loaded; RT060 to RT066 where the model in it is damaged.
    public init(_ path: String) throws {
        library = try SharedLibrary(path)
        executable = try library.executable()
    }

    public override var functionNames: [String] {
        guard let plan = executable?.plan else { return [] }
        return ["default", plan.name] + plan.kernelNames
    }

    public override func localFunction(_ name: String) throws -> PackedFunc? {
        if let executable, name == "default" || name == executable.plan.name {
            return ExecutableModule.factory(name, executable, library)
        }
        return library.kernel(named: name).map {
            PackedFunc(name, cFunction: $0, kernel: true, owner: library)
        }
    }
}

/// A compiled model with its code in this process: what the compiler returns and `export` writes. The same
/// functions as an exported library: `default` and the model's name make executors.
public final class ExecutableModule: Module, @unchecked Sendable {
    public override var kind: String { "graph_executor_factory" }

    /// The model.
    public let executable: Executable
    /// Its code.
    public let kernels: any KernelProvider

    /// A model and the code of all its kernels.
    public init(_ executable: Executable, kernels: any KernelProvider) {
        self.executable = executable
        self.kernels = kernels
    }

    public override var functionNames: [String] {
        ["default", executable.plan.name] + executable.plan.kernelNames
    }

    public override func localFunction(_ name: String) throws -> PackedFunc? {
        if name == "default" || name == executable.plan.name {
            return ExecutableModule.factory(name, executable, kernels)
        }
        return try kernels.kernel(named: name).map {
            PackedFunc(name, cFunction: $0, kernel: true, owner: kernels)
        }
    }

    static func factory(_ name: String, _ executable: Executable, _ kernels: any KernelProvider) -> PackedFunc
    {
        PackedFunc(name, signature: "(device) -> runtime.Module") { args in
            let device = args.count == 0 ? .cpu : try args.get(0, as: Device.self)
            return .object(try GraphExecutor(executable, kernels: kernels, device: device))
        }
    }
}
