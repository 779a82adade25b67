/// What LLVM's C API does not tell of a processor: multiply-add units and caches, by microarchitecture.
///
/// Caches are those of the common models of a family; a target that says its own (as `native` does) overrides them.
/// Sources: the vendors' optimization manuals; Fog, "The microarchitecture of Intel, AMD and VIA CPUs"; LLVM's
/// scheduling models.
struct ProcessorFamily: Sendable {
    let name: String
    /// As LLVM names them.
    let processors: [String]
    /// Units that start a multiply-add each cycle.
    let fmaUnits: Int
    /// Bits that these units take together in a cycle: units that are narrower than a register take it in halves, and
    /// some join to take a wide one.
    let fmaBits: Int
    let fmaLatency: Int
    let l1Bytes: Int
    let l2Bytes: Int
    let l2SharedBy: Int
    let l3Bytes: Int
    let l3SharedBy: Int
    let lineBytes: Int
    let hasAMX: Bool

    private init(
        _ name: String, _ processors: String, units: Int, bits: Int, latency: Int, l1: Int, l2: Int,
        l2SharedBy: Int = 1, l3: Int, l3SharedBy: Int, line: Int = 64, amx: Bool = false
    ) {
        self.name = name
        self.processors = processors.split(separator: " ").map(String.init)
        fmaUnits = units
        fmaBits = bits
        fmaLatency = latency
        l1Bytes = l1 << 10
        l2Bytes = l2 << 10
        self.l2SharedBy = l2SharedBy
        l3Bytes = l3 << 10
        self.l3SharedBy = l3SharedBy
        lineBytes = line
        hasAMX = amx
    }

    /// Multiply-adds of a vector of `bytes` that start in a cycle.
    func fmaPorts(bytes: Int) -> Int { max(1, min(fmaUnits, fmaBits / max(8, bytes * 8))) }

    /// The family of a processor, one of modest sizes if it is not in the table.
    static func of(_ processor: String, _ unit: VectorUnit) -> ProcessorFamily {
        if let known = all.first(where: { $0.processors.contains(processor) }) { return known }
        switch unit.instructions {
        case .neon: return genericARM
        // A multiplication and an addition start in a cycle where they are no single instruction.
        case _ where !unit.hasFMA: return genericWithoutFMA
        default: return generic
        }
    }

    private static let generic = ProcessorFamily(
        "generic", "", units: 2, bits: 1024, latency: 4, l1: 32, l2: 512, l3: 8192, l3SharedBy: 4)
    private static let genericWithoutFMA = ProcessorFamily(
        "generic", "", units: 1, bits: 256, latency: 4, l1: 32, l2: 512, l3: 8192, l3SharedBy: 4)
    private static let genericARM = ProcessorFamily(
        "generic", "", units: 2, bits: 256, latency: 4, l1: 32, l2: 512, l3: 8192, l3SharedBy: 4)

    /// The table. A first-level cache is that of a core, in KiB like the others.
    private static let all: [ProcessorFamily] = [
        // Intel. Those without multiply-adds start one multiplication and one addition, whose latency counts.
        ProcessorFamily(
            "Intel Nehalem", "nehalem corei7 westmere", units: 1, bits: 128, latency: 3, l1: 32, l2: 256,
            l3: 8192,
            l3SharedBy: 4),
        ProcessorFamily(
            "Intel Sandy Bridge", "sandybridge corei7-avx ivybridge core-avx-i", units: 1, bits: 256,
            latency: 3, l1: 32,
            l2: 256, l3: 8192, l3SharedBy: 4),
        ProcessorFamily(
            "Intel Haswell", "haswell core-avx2 broadwell", units: 2, bits: 512, latency: 5, l1: 32, l2: 256,
            l3: 8192,
            l3SharedBy: 4),
        ProcessorFamily(
            "Intel Skylake", "skylake", units: 2, bits: 512, latency: 4, l1: 32, l2: 256, l3: 8192,
            l3SharedBy: 4),
        ProcessorFamily(
            "Intel Skylake server", "skylake-avx512 skx cascadelake cooperlake", units: 2, bits: 1024,
            latency: 4, l1: 32,
            l2: 1024, l3: 22528, l3SharedBy: 16),
        // One unit of 512 bits, made of two.
        ProcessorFamily(
            "Intel Ice Lake", "icelake-client cannonlake rocketlake tigerlake", units: 2, bits: 512,
            latency: 4, l1: 48,
            l2: 512, l3: 8192, l3SharedBy: 4),
        ProcessorFamily(
            "Intel Ice Lake server", "icelake-server", units: 2, bits: 1024, latency: 4, l1: 48, l2: 1280,
            l3: 49152,
            l3SharedBy: 32),
        ProcessorFamily(
            "Intel Golden Cove",
            "alderlake raptorlake meteorlake arrowlake arrowlake-s lunarlake pantherlake",
            units: 2, bits: 512, latency: 4, l1: 48, l2: 1280, l3: 24576, l3SharedBy: 8),
        ProcessorFamily(
            "Intel Golden Cove server",
            "sapphirerapids emeraldrapids graniterapids graniterapids-d diamondrapids", units: 2,
            bits: 1024, latency: 4, l1: 48, l2: 2048, l3: 61440, l3SharedBy: 32, amx: true),
        ProcessorFamily(
            "Intel Gracemont", "gracemont sierraforest grandridge clearwaterforest", units: 2, bits: 256,
            latency: 6, l1: 32, l2: 4096,
            l2SharedBy: 4, l3: 49152, l3SharedBy: 64),
        ProcessorFamily(
            "Intel Knights", "knl knm", units: 2, bits: 1024, latency: 6, l1: 32, l2: 1024, l2SharedBy: 2,
            l3: 1024,
            l3SharedBy: 2),
        // AMD.
        ProcessorFamily(
            "AMD Bulldozer", "bdver1 bdver2 bdver3 bdver4", units: 2, bits: 256, latency: 5, l1: 16, l2: 2048,
            l2SharedBy: 2,
            l3: 8192, l3SharedBy: 8),
        ProcessorFamily(
            "AMD Zen", "znver1", units: 2, bits: 256, latency: 5, l1: 32, l2: 512, l3: 8192, l3SharedBy: 4),
        ProcessorFamily(
            "AMD Zen 2", "znver2", units: 2, bits: 512, latency: 5, l1: 32, l2: 512, l3: 16384, l3SharedBy: 4),
        ProcessorFamily(
            "AMD Zen 3", "znver3", units: 2, bits: 512, latency: 4, l1: 32, l2: 512, l3: 32768, l3SharedBy: 8),
        // A vector of 512 bits passes in two cycles.
        ProcessorFamily(
            "AMD Zen 4", "znver4", units: 2, bits: 512, latency: 4, l1: 32, l2: 1024, l3: 32768, l3SharedBy: 8
        ),
        ProcessorFamily(
            "AMD Zen 5", "znver5", units: 2, bits: 1024, latency: 4, l1: 48, l2: 1024, l3: 32768,
            l3SharedBy: 8),
        // ARM. Latency is that of the operand added to, which arrives late.
        ProcessorFamily(
            "ARM Cortex-A53", "cortex-a53 cortex-a35", units: 1, bits: 64, latency: 4, l1: 32, l2: 512,
            l2SharedBy: 4, l3: 512,
            l3SharedBy: 4),
        ProcessorFamily(
            "ARM Cortex-A55", "cortex-a55 cortex-a510 cortex-a520", units: 2, bits: 128, latency: 4, l1: 32,
            l2: 128, l3: 2048,
            l3SharedBy: 8),
        ProcessorFamily(
            "ARM Cortex-A72", "cortex-a57 cortex-a72 cortex-a73", units: 2, bits: 256, latency: 4, l1: 32,
            l2: 1024,
            l2SharedBy: 4, l3: 1024, l3SharedBy: 4),
        ProcessorFamily(
            "ARM Cortex-A76",
            "cortex-a75 cortex-a76 cortex-a77 cortex-a78 cortex-a710 cortex-a715 cortex-a720", units: 2,
            bits: 256, latency: 4, l1: 64, l2: 512, l3: 4096, l3SharedBy: 8),
        ProcessorFamily(
            "ARM Cortex-X", "cortex-x1 cortex-x2 cortex-x3 cortex-x4 cortex-x925", units: 4, bits: 512,
            latency: 4, l1: 64,
            l2: 1024, l3: 8192, l3SharedBy: 8),
        ProcessorFamily(
            "ARM Neoverse N1", "neoverse-n1 ampere1 ampere1a ampere1b", units: 2, bits: 256, latency: 4,
            l1: 64, l2: 1024, l3: 32768, l3SharedBy: 64),
        ProcessorFamily(
            "ARM Neoverse N2", "neoverse-n2 neoverse-n3", units: 2, bits: 256, latency: 4, l1: 64, l2: 1024,
            l3: 32768,
            l3SharedBy: 64),
        ProcessorFamily(
            "ARM Neoverse V", "neoverse-v1 neoverse-512tvb neoverse-v2 neoverse-v3 neoverse-v3ae grace",
            units: 4, bits: 512,
            latency: 4, l1: 64, l2: 1024, l3: 32768, l3SharedBy: 64),
        ProcessorFamily(
            "Fujitsu A64FX", "a64fx", units: 2, bits: 1024, latency: 9, l1: 64, l2: 8192, l2SharedBy: 12,
            l3: 8192,
            l3SharedBy: 12, line: 256),
        // The second level is the last before the memory's own cache.
        ProcessorFamily(
            "Apple M1", "apple-m1 apple-a14", units: 4, bits: 512, latency: 4, l1: 128, l2: 12288,
            l2SharedBy: 4, l3: 8192,
            l3SharedBy: 8, line: 128),
        ProcessorFamily(
            "Apple M2", "apple-m2 apple-m3 apple-m4 apple-a15 apple-a16 apple-a17 apple-a18", units: 4,
            bits: 512, latency: 4,
            l1: 128, l2: 16384, l2SharedBy: 4, l3: 8192, l3SharedBy: 8, line: 128),
    ]
}
