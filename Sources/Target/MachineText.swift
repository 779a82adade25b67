import ApusNode

extension Machine {
    /// Names of the features that change how kernels are written.
    public var features: [String] {
        let all: [(Bool, String)] = [
            (hasFMA, "FMA"), (hasF16C, instructions == .neon ? "FP16 conversion" : "F16C"), (hasFP16, "FP16"),
            (hasBF16, "BF16"), (hasVNNI, "VNNI"), (hasDotProduct, "DotProd"), (hasI8MM, "I8MM"),
            (hasAMX, "AMX"),
        ]
        return all.filter(\.0).map(\.1)
    }

    /// Title and text of each line of the description, for people.
    public var lines: [(title: String, text: String)] {
        func size(_ bytes: Int) -> String {
            if bytes >= 1 << 20, bytes % (1 << 20) == 0 { return "\(bytes >> 20) MiB" }
            return bytes % (1 << 10) == 0 ? "\(bytes >> 10) KiB" : "\(bytes) bytes"
        }
        func shared(_ count: Int) -> String { count <= 1 ? " a core" : " shared by \(count) cores" }
        return [
            (
                title: "processor",
                text: processor == family || family == "generic" ? processor : "\(processor) (\(family))"
            ),
            (title: "cores", text: "\(numCores)"),
            (
                title: "vectors",
                text: "\(instructions.rawValue), \(vectorBytes) bytes, \(vectorRegisters) registers"
            ),
            (
                title: "multiply-add",
                text:
                    "\(fmaPorts) a cycle\(hasFMA ? "" : " in two instructions"), latency \(fmaLatency) cycles, "
                    + "\(operationsPerCycle) float32 operations a cycle and core"
            ),
            (title: "features", text: features.isEmpty ? "none" : features.joined(separator: " ")),
            (title: "cache line", text: "\(cacheLineBytes) bytes"),
            (title: "L1 data", text: size(l1Bytes) + " a core"),
            (title: "L2", text: size(l2Bytes) + shared(l2SharedBy)),
            (title: "L3", text: size(l3Bytes) + shared(l3SharedBy)),
            (
                title: "memory",
                text: memoryBandwidth.map { "\(Double($0 / 100_000_000) / 10) GB/s" } ?? "not measured"
            ),
        ]
    }

    /// The description as JSON.
    public var json: JSON {
        .object([
            (key: "processor", value: .string(processor)), (key: "family", value: .string(family)),
            (key: "num_cores", value: .int(numCores)),
            (key: "instructions", value: .string(instructions.rawValue)),
            (key: "vector_bytes", value: .int(vectorBytes)),
            (key: "vector_registers", value: .int(vectorRegisters)),
            (key: "fma_ports", value: .int(fmaPorts)), (key: "fma_latency", value: .int(fmaLatency)),
            (key: "features", value: .array(features.map { JSON.string($0) })),
            (key: "cache_line_bytes", value: .int(cacheLineBytes)), (key: "l1_bytes", value: .int(l1Bytes)),
            (key: "l2_bytes", value: .int(l2Bytes)), (key: "l2_shared_by", value: .int(l2SharedBy)),
            (key: "l3_bytes", value: .int(l3Bytes)), (key: "l3_shared_by", value: .int(l3SharedBy)),
            (key: "memory_bandwidth", value: memoryBandwidth.map { JSON.int($0) } ?? .null),
        ])
    }
}
