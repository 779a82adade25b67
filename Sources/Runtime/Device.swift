import ApusCABI

/// Where memory lives and kernels run: a kind and a number. Same codes and layout as DLPack's `DLDevice`.
///
/// Text form: `cpu(0)`, `cuda(1)`.
public struct Device: Hashable, Sendable {
    /// The kinds that DLPack names.
    public enum Kind: Int32, Sendable, CaseIterable {
        case cpu = 1
        case cuda = 2
        case cudaHost = 3
        case opencl = 4
        case vulkan = 7
        case metal = 8
        case vpi = 9
        case rocm = 10
        case rocmHost = 11
        case ext = 12
        case cudaManaged = 13
        case oneapi = 14
        case webgpu = 15
        case hexagon = 16
    }

    /// What sort of device.
    public let kind: Kind
    /// Which of the devices of that kind, from 0.
    public let index: Int

    /// Number `index` of the devices of a kind.
    public init(_ kind: Kind, _ index: Int = 0) {
        self.kind = kind
        self.index = index
    }

    /// The host processor.
    public static let cpu = Device(.cpu)
    /// The host; the index means nothing.
    public static func cpu(_ index: Int) -> Device { Device(.cpu, index) }
    /// A CUDA device.
    public static func cuda(_ index: Int) -> Device { Device(.cuda, index) }
    /// An OpenCL device.
    public static func opencl(_ index: Int) -> Device { Device(.opencl, index) }

    /// Whether the host can read and write this memory directly.
    public var isHostAccessible: Bool { kind == .cpu || kind == .cudaHost || kind == .cudaManaged }

    /// The C form.
    public var dlDevice: DLDevice {
        DLDevice(device_type: kind.rawValue, device_id: Int32(truncatingIfNeeded: index))
    }

    /// From the C form; nil if the kind is unknown.
    public init?(_ device: DLDevice) {
        guard let kind = Kind(rawValue: device.device_type) else { return nil }
        self.init(kind, Int(device.device_id))
    }
}

extension Device: CustomStringConvertible {
    public var description: String { "\(kind)(\(index))" }

    /// Parses `cpu`, `cpu(0)` or `cpu:0`; `gpu` is another name of `cuda`. Nil if it is none of these.
    public init?(_ text: String) {
        let parts = text.split(omittingEmptySubsequences: false) { $0 == "(" || $0 == ":" || $0 == ")" }
        guard let name = parts.first else { return nil }
        let kindName = name == "gpu" ? "cuda" : name
        guard let kind = Kind.allCases.first(where: { "\($0)" == kindName }) else { return nil }
        if parts.count == 1 {
            self.init(kind)
            return
        }
        guard let index = Int32(parts[1]), index >= 0,
            parts.count == 2 || (parts.count == 3 && parts[2].isEmpty)
        else { return nil }
        self.init(kind, Int(index))
    }
}
