import ApusSupport
import Glibc

/// What a schedule needs to know about the processor. Sizes in bytes.
///
/// Every figure comes from the target's options where given, from LLVM's knowledge of the processor for the
/// vector unit, and from fixed, modest defaults otherwise: never from the machine that happens to compile.
public struct Machine: Hashable, Sendable {
    /// Width of the vector registers that code should use.
    public let vectorBytes: Int
    /// How many vector registers there are.
    public let vectorRegisters: Int
    /// Whether a multiply-add is one instruction.
    public let hasFMA: Bool
    /// Multiply-adds that can start in one cycle.
    public let fmaPorts: Int
    /// Cycles until the result of a multiply-add can be used.
    public let fmaLatency: Int
    public let cacheLineBytes: Int
    /// Data cache of one core.
    public let l1Bytes: Int
    /// Second-level cache of one core.
    public let l2Bytes: Int
    /// Last-level cache, shared by the cores.
    public let l3Bytes: Int
    public let numCores: Int

    /// How many elements of `bits` bits a vector register holds; at least 1.
    public func lanes(bits: Int) -> Int { max(1, vectorBytes * 8 / max(bits, 8)) }
}

extension Target {
    /// The machine that this target describes.
    public var machine: Machine {
        let vector = VectorUnit.of(self)
        let width = int("vector-bytes") ?? vector.bytes
        return Machine(
            vectorBytes: width, vectorRegisters: int("vector-registers") ?? vector.registers,
            hasFMA: vector.hasFMA,
            fmaPorts: 2, fmaLatency: 4, cacheLineBytes: int("cache-line-bytes") ?? 64,
            l1Bytes: int("l1-bytes") ?? 32 << 10, l2Bytes: int("l2-bytes") ?? 512 << 10,
            l3Bytes: int("l3-bytes") ?? 8 << 20, numCores: int("num-cores") ?? 1)
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
        fill("num-cores", HostMachine.cores)
        fill("cache-line-bytes", HostMachine.cache(level: 1)?.line)
        fill("l1-bytes", HostMachine.cache(level: 1)?.bytes)
        fill("l2-bytes", HostMachine.cache(level: 2)?.bytes)
        fill("l3-bytes", HostMachine.cache(level: 3)?.bytes)
    }
}

/// What the operating system says about this machine.
enum HostMachine {
    /// Features that change which instructions LLVM picks. The others (system instructions) would only make
    /// the target's text long and different between machines that run the same code.
    static func isRelevant(_ feature: String) -> Bool {
        #if arch(x86_64)
            let name = feature.dropFirst()
            // Switched off: only what LLVM's model of the processor may have switched on.
            let off = [
                "avx", "avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "popcnt", "movbe", "vaes", "gfni",
                "vpclmulqdq",
            ]
            if feature.first == "-" { return name.hasPrefix("avx512") || off.contains(String(name)) }
            let on = off + ["sse3", "ssse3", "sse4.1", "sse4.2", "sse4a", "xop", "fma4"]
            return name.hasPrefix("avx") || on.contains(String(name))
        #else
            return feature.first == "+"
        #endif
    }

    /// Cores that are switched on.
    static var cores: Int {
        return max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    }

    /// The data or unified cache of the first core at `level`, from sysfs; nil where the system tells
    /// nothing.
    static func cache(level: Int) -> (bytes: Int, line: Int)? {
        for index in 0..<8 {
            let base = "/sys/devices/system/cpu/cpu0/cache/index\(index)/"
            guard let kind = line(base + "type"), let found = line(base + "level") else { return nil }
            guard kind != "Instruction", Int(found) == level, let text = line(base + "size") else { continue }
            let digits = text.prefix { $0.isNumber }
            guard let n = Int(digits) else { continue }
            let unit = text.dropFirst(digits.count)
            let bytes = unit.hasPrefix("M") ? n << 20 : unit.hasPrefix("K") ? n << 10 : n
            return (bytes, line(base + "coherency_line_size").flatMap { Int($0) } ?? 64)
        }
        return nil
    }

    private static func line(_ path: String) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var buffer = [CChar](repeating: 0, count: 256)
        guard fgets(&buffer, 256, file) != nil else { return nil }
        let bytes = buffer.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// What LLVM knows about a processor's vector unit.
struct VectorUnit: Sendable {
    let bytes: Int
    let registers: Int
    let hasFMA: Bool
    /// Whether float16 converts to float32 by an instruction.
    let hasHalf: Bool

    private static let cache = Locked<[String: VectorUnit]>([:])

    /// The vector unit of a target. LLVM's C API answers no questions about a processor, so one multiply-add
    /// of a wide vector is compiled and the registers it uses are looked at: that also respects a processor's
    /// preference for narrower vectors than it has.
    static func of(_ target: Target) -> VectorUnit {
        if target.kindName == TargetKind.c.name {
            return target.mcpu == "generic" || target.mcpu == "native" ? of(.host) : baseline
        }
        let key = "\(target.mtriple)|\(target.mcpu)|\(target.mattr.joined(separator: ","))"
        if let known = cache.with({ $0[key] }) { return known }
        let unit = (try? probe(target)) ?? baseline
        cache.with { $0[key] = unit }
        return unit
    }

    private static let baseline = VectorUnit(bytes: 16, registers: 16, hasFMA: false, hasHalf: false)

    private static func probe(_ target: Target) throws -> VectorUnit {
        let ir = """
            define void @p(ptr %a, ptr %b) {
              %x = load <16 x float>, ptr %a
              %y = load <16 x float>, ptr %b
              %m = fmul contract <16 x float> %x, %y
              %s = fadd contract <16 x float> %m, %x
              store <16 x float> %s, ptr %a
              %h = load <8 x half>, ptr %b
              %e = fpext <8 x half> %h to <8 x float>
              store <8 x float> %e, ptr %b
              ret void
            }
            """
        let unit = try LLVMUnit(name: "probe", ir: ir)
        let machine = try LLVMTargetMachine(target)
        let text = String(decoding: try machine.emit(unit, assembly: true), as: UTF8.self)
        let isX86 = target.mtriple.hasPrefix("x86_64") || target.mtriple.hasPrefix("i")
        if isX86 {
            let bytes = text.contains("zmm") ? 64 : text.contains("ymm") ? 32 : 16
            return VectorUnit(
                bytes: bytes, registers: bytes == 64 || target.hasFeature("avx512vl") ? 32 : 16,
                hasFMA: text.contains("vfmadd"), hasHalf: !text.contains("__extendhfsf2"))
        }
        return VectorUnit(
            bytes: 16, registers: 32, hasFMA: text.contains("fmla") || text.contains("fmadd"),
            hasHalf: !text.contains("__extendhfsf2"))
    }
}
