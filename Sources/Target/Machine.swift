import ApusSupport

/// What a schedule needs to know about the processor. Sizes in bytes.
///
/// Every figure comes from the target's options where given, from LLVM's knowledge of the processor for its
/// instructions, and from the table of families (`ProcessorFamily`) otherwise: never from the machine that happens
/// to compile.
public struct Machine: Hashable, Sendable {
    /// Processor, as LLVM names it.
    public let processor: String
    /// The line of the table of families that applies.
    public let family: String

    // MARK: Vector unit

    /// Vector instructions that code uses.
    public let instructions: VectorInstructions
    /// Width of the vector registers that code should use.
    public let vectorBytes: Int
    /// How many vector registers there are.
    public let vectorRegisters: Int
    /// Multiply-adds of a whole vector that can start in one cycle.
    public let fmaPorts: Int
    /// Cycles until the result of a multiply-add can be used.
    public let fmaLatency: Int
    /// Whether a multiply-add is one instruction.
    public let hasFMA: Bool
    /// Whether float16 converts to float32 by an instruction (x86: F16C).
    public let hasF16C: Bool
    /// Whether float16 is added and multiplied without conversion (AVX512-FP16, FullFP16).
    public let hasFP16: Bool
    /// Whether pairs of bfloat16 are multiplied and added to float32 (`vdpbf16ps`, `bfdot`).
    public let hasBF16: Bool
    /// Whether four products of uint8 by int8 are added to an int32 (x86: `vpdpbusd`, AVX512-VNNI or AVX-VNNI).
    public let hasVNNI: Bool
    /// Whether four products of int8 by int8 are added to an int32 (ARM: `sdot`).
    public let hasDotProduct: Bool
    /// Whether there are matrix instructions of int8, and products of uint8 by int8 (ARM: `smmla`, `usdot`).
    public let hasI8MM: Bool
    /// Whether there are tile registers (x86: AMX). Noted; no code uses them.
    public let hasAMX: Bool

    // MARK: Memory

    public let cacheLineBytes: Int
    /// Data cache of one core.
    public let l1Bytes: Int
    public let l2Bytes: Int
    /// Cores that share a second-level cache.
    public let l2SharedBy: Int
    /// Last-level cache, shared by the cores.
    public let l3Bytes: Int
    /// Cores that share a last-level cache, those that this process may not use included.
    public let l3SharedBy: Int
    /// Bytes a second that all cores together read from memory, where it was measured.
    public let memoryBandwidth: Int?

    /// Cores that parallel loops may use.
    public let numCores: Int

    /// How many elements of `bits` bits a vector register holds; at least 1.
    public func lanes(bits: Int) -> Int { max(1, vectorBytes * 8 / max(bits, 8)) }

    /// Floating-point operations of float32 that one core can start in a cycle, a multiply-add being two.
    public var operationsPerCycle: Int { 2 * fmaPorts * lanes(bits: 32) }
}

/// Sets of vector instructions by the registers they have.
public enum VectorInstructions: String, Sendable {
    case sse = "SSE"
    case avx = "AVX"
    case avx2 = "AVX2"
    case avx512 = "AVX-512"
    case neon = "NEON"
    case other = "vectors of 128 bits"
}

extension Target {
    /// The machine that this target describes.
    public var machine: Machine {
        let unit = VectorUnit.of(self)
        // A C target without a processor is compiled for this machine.
        let processor =
            kindName == TargetKind.c.name && ["generic", "native"].contains(mcpu) ? Target.host.mcpu : mcpu
        let family = ProcessorFamily.of(processor, unit)
        let width = int("vector-bytes") ?? unit.bytes
        return Machine(
            processor: processor, family: family.name, instructions: unit.instructions,
            vectorBytes: width,
            vectorRegisters: int("vector-registers") ?? unit.registers,
            fmaPorts: int("fma-ports") ?? family.fmaPorts(bytes: width),
            fmaLatency: int("fma-latency") ?? family.fmaLatency,
            hasFMA: unit.hasFMA, hasF16C: unit.hasF16C, hasFP16: unit.hasFP16, hasBF16: unit.hasBF16,
            hasVNNI: unit.hasVNNI, hasDotProduct: unit.hasDotProduct, hasI8MM: unit.hasI8MM,
            hasAMX: family.hasAMX && !mattr.contains("-amx-tile") || hasFeature("amx-tile"),
            cacheLineBytes: int("cache-line-bytes") ?? family.lineBytes,
            l1Bytes: int("l1-bytes") ?? family.l1Bytes,
            l2Bytes: int("l2-bytes") ?? family.l2Bytes, l2SharedBy: int("l2-shared-by") ?? family.l2SharedBy,
            l3Bytes: int("l3-bytes") ?? family.l3Bytes, l3SharedBy: int("l3-shared-by") ?? family.l3SharedBy,
            memoryBandwidth: int("memory-bandwidth").flatMap {
                let (bytes, overflow) = $0.multipliedReportingOverflow(by: 1_000_000)
                return overflow ? nil : bytes
            }, numCores: int("num-cores") ?? 1)
    }

    /// Whether generated code takes parameters that are not aligned for their elements, at no cost.
    package var readsUnaligned: Bool {
        guard kindName == TargetKind.llvm.name else { return false }
        return ["x86_64", "aarch64", "arm64"].contains { mtriple.hasPrefix($0) }
    }

    /// Width of a vector register, in bytes.
    public var vectorBytes: Int { machine.vectorBytes }
    /// Whether a multiply-add is one instruction.
    public var hasFMA: Bool { machine.hasFMA }
    /// Cores that parallel loops may use.
    public var numCores: Int { machine.numCores }

    /// This machine: its processor, features, caches and cores, all written out.
    public static let host: Target = {
        do {
            return try Target(.llvm, [("mcpu", .string("native"))])
        } catch {
            return .llvm
        }
    }()

    /// Sets what is not given from this machine.
    static func fillFromHost(_ options: inout [String: Value]) throws {
        if case .string(let triple)? = options["mtriple"], triple != LLVMLibrary.hostTriple {
            throw ApusError(
                "TGT007", "the processor `native` needs the triple of this machine",
                expected: LLVMLibrary.hostTriple,
                actual: triple)
        }
        options["mcpu"] = .string(LLVMLibrary.hostCPU)
        func fill(_ name: String, _ value: Int?) {
            if options[name] == nil, let value, value > 0 { options[name] = .int(value) }
        }
        if options["mattr"] == nil {
            let features = LLVMLibrary.hostFeatures.filter(HostMachine.isRelevant)
                .sorted { $0.dropFirst() < $1.dropFirst() }
            if !features.isEmpty { options["mattr"] = .strings(features) }
        }
        fill("num-cores", ThreadPool.availableProcessors)
        let caches = (1...3).map { HostMachine.cache(level: $0) }
        fill("cache-line-bytes", caches[0]?.line)
        fill("l1-bytes", caches[0]?.bytes)
        fill("l2-bytes", caches[1]?.bytes)
        fill("l2-shared-by", caches[1]?.sharedBy)
        fill("l3-bytes", caches[2]?.bytes)
        fill("l3-shared-by", caches[2]?.sharedBy)
    }
}
