import ApusSupport

/// What one option of a target may hold.
public enum TargetOptionKind: String, Sendable {
    case string, int, strings
}

/// One option that targets of a kind accept.
public struct TargetOption: Sendable {
    public let name: String
    public let kind: TargetOptionKind
    /// One sentence: what it means and its unit.
    public let doc: String

    init(_ name: String, _ kind: TargetOptionKind, _ doc: String) {
        self.name = name
        self.kind = kind
        self.doc = doc
    }
}

/// One row of the table of target kinds: a code generator and the options its targets take.
public struct TargetKind: Sendable {
    /// The first word of a target's text: `llvm`, `c`.
    public let name: String
    public let doc: String
    /// Device on which the code runs, as in DLPack: 1 = CPU.
    public let deviceType: Int32
    /// What a schedule is chosen by, most specific first, where the target does not say.
    public let defaultKeys: [String]
    /// In the order in which a target prints them.
    public let options: [TargetOption]

    /// The option named `name`, or nil.
    public func option(_ name: String) -> TargetOption? { options.first { $0.name == name } }

    /// Every kind that has a code generator here.
    public static let all: [TargetKind] = [llvm, c]

    /// The kind with this name; an error that lists what there is otherwise.
    public static func get(_ name: String) throws -> TargetKind {
        if let kind = all.first(where: { $0.name == name }) { return kind }
        let known = all.map(\.name).joined(separator: ", ")
        if withoutGenerator.contains(name) {
            throw ApusError(
                "TGT002", "the target kind `\(name)` has no code generator in this version", expected: known,
                actual: name)
        }
        throw ApusError("TGT001", "there is no target kind `\(name)`", expected: known, actual: name)
    }

    /// Kinds of the 2020 design that are understood but cannot be compiled for yet: named, so that the
    /// message says "not here yet" and not "no such thing".
    static let withoutGenerator: [String] = [
        "cuda", "nvptx", "rocm", "opencl", "metal", "vulkan", "webgpu", "sdaccel", "aocl", "aocl_sw_emu",
        "hexagon", "stackvm", "ext_dev", "hybrid", "composite",
    ]

    private static let common: [TargetOption] = [
        TargetOption("keys", .strings, "what schedules are chosen by, most specific first"),
        TargetOption("libs", .strings, "external libraries that operators may use"),
        TargetOption("device", .string, "family of devices, such as `arm_cpu`"),
        TargetOption("model", .string, "name of the machine, for tuning records"),
    ]

    private static let machine: [TargetOption] = [
        TargetOption("num-cores", .int, "cores that parallel loops may use"),
        TargetOption("vector-bytes", .int, "width of a vector register, in bytes"),
        TargetOption("vector-registers", .int, "number of vector registers"),
        TargetOption("fma-ports", .int, "multiply-adds of a vector that start in a cycle"),
        TargetOption("fma-latency", .int, "cycles until the result of a multiply-add can be used"),
        TargetOption("cache-line-bytes", .int, "size of a cache line, in bytes"),
        TargetOption("l1-bytes", .int, "first-level data cache of a core, in bytes"),
        TargetOption("l2-bytes", .int, "second-level cache, in bytes"),
        TargetOption("l2-shared-by", .int, "cores that share a second-level cache"),
        TargetOption("l3-bytes", .int, "last-level cache, in bytes"),
        TargetOption("l3-shared-by", .int, "cores that share a last-level cache"),
        TargetOption("memory-bandwidth", .int, "what all cores read from memory, in MB a second"),
    ]

    /// Machine code through LLVM.
    public static let llvm = TargetKind(
        name: "llvm", doc: "machine code through LLVM", deviceType: 1, defaultKeys: ["cpu"],
        options: [
            TargetOption("mtriple", .string, "LLVM target triple; absent = this machine's"),
            TargetOption("mcpu", .string, "processor, as LLVM names it; `native` = this machine's"),
            TargetOption("mattr", .strings, "features, each `+name` or `-name`"),
            TargetOption("mabi", .string, "ABI name, as LLVM names it"),
            TargetOption("opt-level", .int, "LLVM optimization level, 0 to 3"),
        ] + machine + common)

    /// C source compiled by the system's C compiler.
    public static let c = TargetKind(
        name: "c", doc: "C source, compiled by the system's C compiler", deviceType: 1, defaultKeys: ["cpu"],
        options: [
            TargetOption("mcpu", .string, "value of -march; absent or `native` = this machine's"),
            TargetOption("cc", .string, "the compiler; absent = cc, clang or gcc, the first there is"),
        ] + machine + common)
}
