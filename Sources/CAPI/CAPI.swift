import ApusCABI
import ApusRuntime
import ApusSupport

// The functions that apus.h declares: every one turns errors into a status and checks its pointers.

/// Runs `body`; an error goes to `LastError` and gives -1.
@inline(__always)
func status(_ body: () throws -> Void) -> Int32 {
    do {
        try body()
        return 0
    } catch {
        LastError.set(error)
        return -1
    }
}

/// RT090: a null pointer where something must be.
func nullArgument(_ name: String) -> ApusError {
    ApusError("RT090", "a null pointer was given", at: ["argument: \(name)"])
}

/// The pointer, which must not be null.
@inline(__always)
func require<T>(_ pointer: T?, _ name: String) throws -> T {
    guard let pointer else { throw nullArgument(name) }
    return pointer
}

/// The object behind a handle, borrowed.
@inline(__always)
func object<T: Object>(_ handle: UnsafeMutableRawPointer?, _ name: String, as type: T.Type = T.self) throws
    -> T
{
    let any = Unmanaged<Object>.fromOpaque(try require(handle, name)).takeUnretainedValue()
    guard let typed = any as? T else {
        throw ApusError(
            "RT091", "an object of the wrong type", at: ["argument: \(name)"], expected: T.typeKey,
            actual: Swift.type(of: any).typeKey)
    }
    return typed
}

/// A handle with a reference of its own.
func owned(_ object: Object) -> UnsafeMutableRawPointer { Unmanaged.passRetained(object).toOpaque() }

/// A C string.
func text(_ pointer: UnsafePointer<CChar>?, _ name: String) throws -> String {
    String(cString: try require(pointer, name))
}

/// A count of things that C passes as a pointer and a number.
func count<T>(_ n: some BinaryInteger, _ pointer: UnsafePointer<T>?, _ name: String) throws -> Int {
    guard let n = Int(exactly: n), n >= 0 else {
        throw ApusError("RT092", "an impossible count", at: ["argument: \(name)"], actual: "\(n)")
    }
    if n > 0 && pointer == nil { throw nullArgument(name) }
    return n
}

// MARK: - Errors, version, threads

/// The text lives in a buffer of the thread.
@_cdecl("apus_get_last_error")
public func apusGetLastError() -> UnsafePointer<CChar> { LastError.cString() }

/// `apus_set_last_error` of apus.h.
@_cdecl("apus_set_last_error")
public func apusSetLastError(_ code: UnsafePointer<CChar>?, _ message: UnsafePointer<CChar>?) {
    LastError.set(
        ApusError(
            code.map { String(cString: $0) } ?? "RT000",
            message.map { String(cString: $0) } ?? "unknown error"))
}

private let versionObject = StringObject(runtimeVersion)

/// `apus_version` of apus.h.
@_cdecl("apus_version")
public func apusVersion() -> UnsafePointer<CChar> { versionObject.utf8 }

/// `apus_device_synchronize` of apus.h.
@_cdecl("apus_device_synchronize")
public func apusDeviceSynchronize(_ device: DLDevice) -> Int32 {
    status {
        guard let device = Device(device) else {
            throw ApusError("RT010", "no such device kind", actual: "\(device.device_type)")
        }
        try DeviceTable.api(for: device).synchronize(device: device)
    }
}

/// `apus_set_num_threads` of apus.h.
@_cdecl("apus_set_num_threads")
public func apusSetNumThreads(_ count: Int32) -> Int32 {
    status {
        guard count >= 1 else {
            throw ApusError("RT092", "an impossible count", expected: "at least 1", actual: "\(count)")
        }
        ThreadPool.shared.setSize(Int(count))
    }
}

/// `apus_get_num_threads` of apus.h.
@_cdecl("apus_get_num_threads")
public func apusGetNumThreads(_ out: UnsafeMutablePointer<Int32>?) -> Int32 {
    status { try require(out, "out").pointee = Int32(ThreadPool.shared.threadCount) }
}

// MARK: - Objects

/// `apus_object_retain` of apus.h.
@_cdecl("apus_object_retain")
public func apusObjectRetain(_ handle: UnsafeMutableRawPointer?) -> Int32 {
    if let handle { _ = Unmanaged<Object>.fromOpaque(handle).retain() }
    return 0
}

/// `apus_object_release` of apus.h.
@_cdecl("apus_object_release")
public func apusObjectRelease(_ handle: UnsafeMutableRawPointer?) -> Int32 {
    if let handle { Unmanaged<Object>.fromOpaque(handle).release() }
    return 0
}

/// `apus_object_type_index` of apus.h.
@_cdecl("apus_object_type_index")
public func apusObjectTypeIndex(_ handle: UnsafeMutableRawPointer?, _ out: UnsafeMutablePointer<Int32>?)
    -> Int32
{
    status { try require(out, "out").pointee = try object(handle, "object", as: Object.self).abiTypeIndex }
}

/// `apus_object_type_key` of apus.h.
@_cdecl("apus_object_type_key")
public func apusObjectTypeKey(
    _ handle: UnsafeMutableRawPointer?, _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    status {
        let key = type(of: try object(handle, "object", as: Object.self)).typeKey
        try require(out, "out").pointee = owned(StringObject(key))
    }
}

/// `apus_any_release` of apus.h.
@_cdecl("apus_any_release")
public func apusAnyRelease(_ value: UnsafeMutablePointer<ApusAny>?) -> Int32 {
    if let value {
        value.pointee.releaseObject()
        value.pointee = ApusAny()
    }
    return 0
}

// MARK: - Functions

/// `apus_function_get_global` of apus.h.
@_cdecl("apus_function_get_global")
public func apusFunctionGetGlobal(
    _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    status {
        let out = try require(out, "out")
        out.pointee = owned(try Registry.require(text(name, "name")))
    }
}

/// `apus_function_list_global` of apus.h.
@_cdecl("apus_function_list_global")
public func apusFunctionListGlobal(_ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?) -> Int32 {
    status { try require(out, "out").pointee = owned(ArrayObject(Registry.names.map { .string($0) })) }
}

/// `apus_function_register_global` of apus.h.
@_cdecl("apus_function_register_global")
public func apusFunctionRegisterGlobal(
    _ name: UnsafePointer<CChar>?, _ function: UnsafeMutableRawPointer?, _ overrideExisting: Int32
) -> Int32 {
    status {
        try Registry.register(
            text(name, "name"), override: overrideExisting != 0,
            object(function, "function", as: PackedFunc.self))
    }
}

/// `apus_function_create` of apus.h.
@_cdecl("apus_function_create")
public func apusFunctionCreate(
    _ name: UnsafePointer<CChar>?, _ function: ApusCFunction?, _ context: UnsafeMutableRawPointer?,
    _ deleter: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?,
    _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    status {
        let out = try require(out, "out")
        let name = try name.map { try text($0, "name") } ?? ""
        out.pointee = owned(
            PackedFunc(name, cFunction: try require(function, "function"), context: context, deleter: deleter)
        )
    }
}

/// `apus_function_call` of apus.h.
@_cdecl("apus_function_call")
public func apusFunctionCall(
    _ function: UnsafeMutableRawPointer?, _ args: UnsafePointer<ApusAny>?, _ count: Int32,
    _ result: UnsafeMutablePointer<ApusAny>?
) -> Int32 {
    guard let function, count >= 0, count == 0 || args != nil else {
        LastError.set(nullArgument(function == nil ? "function" : "args"))
        return -1
    }
    return Unmanaged<Object>.fromOpaque(function)._withUnsafeGuaranteedRef { any in
        guard let callee = any as? PackedFunc else {
            return status { _ = try object(function, "function", as: PackedFunc.self) }
        }
        if let result {
            result.pointee = ApusAny()
            return callee.callABI(args, count, result)
        }
        // Nobody wants the result: it must not leak.
        var dropped = ApusAny()
        let code = callee.callABI(args, count, &dropped)
        dropped.releaseObject()
        return code
    }
}

// MARK: - Modules

/// `apus_module_load` of apus.h.
@_cdecl("apus_module_load")
public func apusModuleLoad(
    _ path: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    status {
        let out = try require(out, "out")
        out.pointee = owned(try Module.load(text(path, "path")))
    }
}

/// `apus_module_get_function` of apus.h.
@_cdecl("apus_module_get_function")
public func apusModuleGetFunction(
    _ module: UnsafeMutableRawPointer?, _ name: UnsafePointer<CChar>?, _ queryImports: Int32,
    _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    status {
        let out = try require(out, "out")
        let module = try object(module, "module", as: Module.self)
        out.pointee = owned(try module.getFunction(text(name, "name"), queryImports: queryImports != 0))
    }
}

/// `apus_module_import` of apus.h.
@_cdecl("apus_module_import")
public func apusModuleImport(_ module: UnsafeMutableRawPointer?, _ imported: UnsafeMutableRawPointer?)
    -> Int32
{
    status {
        try object(module, "module", as: Module.self).importModule(
            object(imported, "imported", as: Module.self))
    }
}
