import ApusSupport
import Glibc

/// What the runtime needs from a kind of device: memory, copies, completion. Implemented once per kind.
public protocol DeviceAPI: AnyObject, Sendable {
    /// The kind this serves.
    var kind: Device.Kind { get }

    /// How many devices of the kind there are.
    var deviceCount: Int { get }

    /// A property such as `name`, `max_threads`, `memory_bytes`; none where the device has no such property.
    func attribute(_ name: String, device: Device) -> AnyValue

    /// Memory for `bytes` (at least one) at a multiple of `alignment`.
    /// - Throws: RT002 where it cannot be had.
    func allocate(bytes: Int, alignment: Int, device: Device) throws -> UnsafeMutableRawPointer

    /// Gives back what `allocate` returned.
    func free(_ pointer: UnsafeMutableRawPointer, device: Device)

    /// Fills with zero.
    func zero(_ pointer: UnsafeMutableRawPointer, bytes: Int, device: Device) throws

    /// Copies between this kind and the host, or within this kind.
    func copy(
        from source: UnsafeRawPointer, on sourceDevice: Device, to target: UnsafeMutableRawPointer,
        on targetDevice: Device, bytes: Int) throws

    /// Waits until everything submitted to the device is done.
    func synchronize(device: Device) throws
}

/// The host: aligned memory, copies at once, nothing to wait for.
public final class CPUDeviceAPI: DeviceAPI {
    /// The one of the process.
    public static let shared = CPUDeviceAPI()

    public var kind: Device.Kind { .cpu }
    public var deviceCount: Int { 1 }

    public func attribute(_ name: String, device: Device) -> AnyValue {
        switch name {
        case "exist": return .bool(true)
        case "name": return .string("cpu")
        case "max_threads": return .int(ThreadPool.machineThreads)
        case "memory_bytes": return .int(sysconf(Int32(_SC_PHYS_PAGES)) &* sysconf(Int32(_SC_PAGESIZE)))
        default: return .none
        }
    }

    public func allocate(bytes: Int, alignment: Int, device: Device) throws -> UnsafeMutableRawPointer {
        var pointer: UnsafeMutableRawPointer?
        guard bytes >= 0, posix_memalign(&pointer, max(alignment, 16), max(bytes, 1)) == 0, let pointer else {
            throw ApusError("RT002", "out of memory", actual: "\(bytes) bytes on \(device)")
        }
        return pointer
    }

    public func free(_ pointer: UnsafeMutableRawPointer, device: Device) { Glibc.free(pointer) }

    public func zero(_ pointer: UnsafeMutableRawPointer, bytes: Int, device: Device) {
        memset(pointer, 0, bytes)
    }

    public func copy(
        from source: UnsafeRawPointer, on sourceDevice: Device, to target: UnsafeMutableRawPointer,
        on targetDevice: Device, bytes: Int
    ) {
        memmove(target, source, bytes)
    }

    public func synchronize(device: Device) {}
}

/// The kinds of device this process can use. The host is always there; others are registered by their room.
public enum DeviceTable {
    private static let others = Locked<[Device.Kind: any DeviceAPI]>([:])

    /// Makes a kind of device usable; a second registration of the kind replaces the first.
    public static func register(_ api: any DeviceAPI) { others.with { $0[api.kind] = api } }

    /// What serves `device`, or nil.
    public static func find(_ device: Device) -> (any DeviceAPI)? {
        switch device.kind {
        case .cpu, .cudaHost, .cudaManaged: return CPUDeviceAPI.shared
        default: return others.with { $0[device.kind] }
        }
    }

    /// What serves `device`.
    /// - Throws: RT010 where there is no such kind or not as many devices of it.
    public static func api(for device: Device) throws -> any DeviceAPI {
        guard let api = find(device), device.index >= 0, device.kind == .cpu || device.index < api.deviceCount
        else {
            throw ApusError(
                "RT010", "no such device", expected: "one of \(available)", actual: "\(device)",
                hint: "this build of the runtime has no driver for it, or the machine no such device")
        }
        return api
    }

    /// Every device of this process, the host first.
    public static var available: [Device] {
        let apis = others.with { $0.values.sorted { $0.kind.rawValue < $1.kind.rawValue } }
        return [.cpu] + apis.flatMap { api in (0..<api.deviceCount).map { Device(api.kind, $0) } }
    }
}
