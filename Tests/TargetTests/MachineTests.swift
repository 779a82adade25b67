import ApusNode
import ApusSupport
import ApusTarget
import Testing

@Suite struct MachineTests {
    struct Described: Sendable, CustomTestStringConvertible {
        let target: String
        let instructions: VectorInstructions
        let bytes: Int
        let registers: Int
        let ports: Int
        let latency: Int
        let features: String
        var testDescription: String { target }

        init(
            _ target: String, _ instructions: VectorInstructions, bytes: Int, registers: Int, ports: Int,
            latency: Int,
            _ features: String
        ) {
            self.target = target
            self.instructions = instructions
            self.bytes = bytes
            self.registers = registers
            self.ports = ports
            self.latency = latency
            self.features = features
        }
    }

    static let x86 = "llvm -mtriple=x86_64-linux-gnu"
    static let arm = "llvm -mtriple=aarch64-linux-gnu"
    static let table: [Described] = [
        Described(x86, .sse, bytes: 16, registers: 16, ports: 1, latency: 4, ""),
        Described("\(x86) -mcpu=sandybridge", .avx, bytes: 32, registers: 16, ports: 1, latency: 3, ""),
        Described("\(x86) -mcpu=haswell", .avx2, bytes: 32, registers: 16, ports: 2, latency: 5, "FMA F16C"),
        Described("\(x86) -mcpu=znver1", .avx2, bytes: 32, registers: 16, ports: 1, latency: 5, "FMA F16C"),
        Described("\(x86) -mcpu=znver3", .avx2, bytes: 32, registers: 16, ports: 2, latency: 4, "FMA F16C"),
        Described(
            "\(x86) -mcpu=alderlake", .avx2, bytes: 32, registers: 16, ports: 2, latency: 4, "FMA F16C VNNI"),
        Described(
            "\(x86) -mcpu=arrowlake", .avx2, bytes: 32, registers: 16, ports: 2, latency: 4, "FMA F16C VNNI"),
        Described(
            "\(x86) -mcpu=x86-64-v3", .avx2, bytes: 32, registers: 16, ports: 2, latency: 4, "FMA F16C"),
        Described(
            "\(x86) -mcpu=skylake-avx512", .avx512, bytes: 64, registers: 32, ports: 2, latency: 4, "FMA F16C"
        ),
        Described(
            "\(x86) -mcpu=cascadelake", .avx512, bytes: 64, registers: 32, ports: 2, latency: 4,
            "FMA F16C VNNI"),
        Described(
            "\(x86) -mcpu=icelake-client", .avx512, bytes: 64, registers: 32, ports: 1, latency: 4,
            "FMA F16C VNNI"),
        Described(
            "\(x86) -mcpu=sapphirerapids", .avx512, bytes: 64, registers: 32, ports: 2, latency: 4,
            "FMA F16C FP16 BF16 VNNI AMX"),
        Described(
            "\(x86) -mcpu=sapphirerapids -mattr=-amx-tile,-avx512bf16,-avx512fp16", .avx512, bytes: 64,
            registers: 32, ports: 2,
            latency: 4, "FMA F16C VNNI"),
        Described(
            "\(x86) -mcpu=znver4", .avx512, bytes: 64, registers: 32, ports: 1, latency: 4,
            "FMA F16C BF16 VNNI"),
        Described(
            "\(x86) -mcpu=znver4 -vector-bytes=32", .avx512, bytes: 32, registers: 32, ports: 2, latency: 4,
            "FMA F16C BF16 VNNI"),
        Described(
            "\(x86) -mcpu=znver5", .avx512, bytes: 64, registers: 32, ports: 2, latency: 4,
            "FMA F16C BF16 VNNI"),
        Described("\(x86) -mcpu=knl", .avx512, bytes: 64, registers: 32, ports: 2, latency: 6, "FMA F16C"),
        Described(
            "\(x86) -mcpu=haswell -fma-ports=1 -fma-latency=9", .avx2, bytes: 32, registers: 16, ports: 1,
            latency: 9, "FMA F16C"),
        Described(arm, .neon, bytes: 16, registers: 32, ports: 2, latency: 4, "FMA FP16 conversion"),
        Described(
            "\(arm) -mcpu=cortex-a53", .neon, bytes: 16, registers: 32, ports: 1, latency: 4,
            "FMA FP16 conversion"),
        Described(
            "\(arm) -mcpu=neoverse-n1", .neon, bytes: 16, registers: 32, ports: 2, latency: 4,
            "FMA FP16 conversion FP16 DotProd"),
        Described(
            "\(arm) -mcpu=neoverse-v1", .neon, bytes: 16, registers: 32, ports: 4, latency: 4,
            "FMA FP16 conversion FP16 BF16 DotProd I8MM"),
        Described(
            "\(arm) -mcpu=apple-m1", .neon, bytes: 16, registers: 32, ports: 4, latency: 4,
            "FMA FP16 conversion FP16 DotProd"),
        Described(
            "\(arm) -mcpu=apple-m2", .neon, bytes: 16, registers: 32, ports: 4, latency: 4,
            "FMA FP16 conversion FP16 BF16 DotProd I8MM"),
    ]

    @Test(arguments: table) func described(_ row: Described) throws {
        let m = try Target(row.target).machine
        #expect(m.instructions == row.instructions)
        #expect(m.vectorBytes == row.bytes)
        #expect(m.vectorRegisters == row.registers)
        #expect(m.fmaPorts == row.ports)
        #expect(m.fmaLatency == row.latency)
        #expect(m.features.joined(separator: " ") == row.features)
    }

    @Test func caches() throws {
        let haswell = try Target("\(MachineTests.x86) -mcpu=haswell").machine
        #expect([haswell.l1Bytes, haswell.l2Bytes, haswell.l3Bytes] == [32 << 10, 256 << 10, 8 << 20])
        #expect(haswell.l2SharedBy == 1 && haswell.l3SharedBy == 4 && haswell.cacheLineBytes == 64)
        let apple = try Target("\(MachineTests.arm) -mcpu=apple-m1").machine
        #expect(apple.l1Bytes == 128 << 10 && apple.l2SharedBy == 4 && apple.cacheLineBytes == 128)
        let given = try Target("llvm -l2-shared-by=2 -l3-shared-by=6 -memory-bandwidth=41000").machine
        #expect(given.l2SharedBy == 2 && given.l3SharedBy == 6 && given.memoryBandwidth == 41_000_000_000)
    }

    /// What LLVM does not know has modest figures, and every figure is usable.
    @Test func unknownProcessors() throws {
        for text in ["llvm", "c", "c -mcpu=haswell", "llvm -mtriple=riscv64-linux-gnu"] {
            let m = try Target(text).machine
            #expect(
                m.fmaPorts >= 1 && m.fmaLatency >= 1 && m.vectorRegisters >= 8 && m.numCores >= 1, "\(text)")
            #expect(
                m.l1Bytes > 0 && m.l2Bytes >= m.l1Bytes && m.l3Bytes > 0 && m.memoryBandwidth == nil,
                "\(text)")
        }
    }

    @Test func textAndJSON() throws {
        let m = try Target("\(MachineTests.x86) -mcpu=znver4 -num-cores=8").machine
        let text = Dictionary(uniqueKeysWithValues: m.lines.map { ($0.title, $0.text) })
        #expect(text["processor"] == "znver4 (AMD Zen 4)")
        #expect(text["cores"] == "8")
        #expect(text["vectors"] == "AVX-512, 64 bytes, 32 registers")
        #expect(text["multiply-add"] == "1 a cycle, latency 4 cycles, 32 float32 operations a cycle and core")
        #expect(text["L2"] == "1 MiB a core")
        #expect(text["L3"] == "32 MiB shared by 8 cores")
        #expect(text["memory"] == "not measured")
        let json = try JSON.parse(m.json.text)
        #expect(json["fma_ports"]?.intValue == 1 && json["family"]?.stringValue == "AMD Zen 4")
        #expect(json["features"]?.arrayValue?.compactMap(\.stringValue) == m.features)
    }

    @Test func lists() {
        #expect(HostMachine.count(list: "0-3,8") == 5)
        #expect(HostMachine.count(list: "0") == 1)
        #expect(HostMachine.count(list: "") == 1)
        #expect(HostMachine.count(list: "3-1") == 1)
    }

    @Test func hostSaysEverything() {
        let text = Target.host.description
        for option in ["-num-cores=", "-l1-bytes=", "-mcpu="] { #expect(text.contains(option)) }
        #expect(Target.host.numCores == ThreadPool.availableProcessors)
    }

    /// Other work may slow this machine down, but not to nothing.
    @Test func measurement() throws {
        let found = try MachineMeasurement.take()
        #expect(found.oneCoreBandwidth > 1e7 && found.allCoresBandwidth > 1e7)
        #expect(found.peakPerCore > 1e7)
        #expect(found.forkJoin > 0)
    }
}
