import ApusSupport
import Glibc

/// What the operating system says about this machine.
package enum HostMachine {
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
            if feature.first == "-" {
                return name.hasPrefix("avx512") || name == "amx-tile" || off.contains(String(name))
            }
            let on = off + ["sse3", "ssse3", "sse4.1", "sse4.2", "sse4a", "xop", "fma4"]
            return name.hasPrefix("avx") || name == "amx-tile" || on.contains(String(name))
        #else
            return feature.first == "+"
        #endif
    }

    /// A cache of the first core.
    struct Cache {
        let bytes: Int
        let line: Int
        /// Processors, as the system counts them, that share it.
        let sharedBy: Int
    }

    /// The data or unified cache of the first core at `level`, from sysfs; nil where the system tells
    /// nothing.
    static func cache(level: Int, folder: String = "/sys/devices/system/cpu/cpu0/cache") -> Cache? {
        for index in 0..<8 {
            let base = "\(folder)/index\(index)/"
            guard let kind = line(base + "type"), let found = line(base + "level") else { return nil }
            guard kind != "Instruction", Int(found) == level, let text = line(base + "size") else { continue }
            let digits = text.prefix { $0.isNumber }
            guard let n = Int(digits) else { continue }
            let unit = text.dropFirst(digits.count)
            let bytes = unit.hasPrefix("M") ? n << 20 : unit.hasPrefix("K") ? n << 10 : n
            return Cache(
                bytes: bytes, line: line(base + "coherency_line_size").flatMap { Int($0) } ?? 64,
                sharedBy: line(base + "shared_cpu_list").map(count(list:)) ?? 1)
        }
        return nil
    }

    /// How many numbers a list such as `0-3,8` has; at least 1.
    package static func count(list: String) -> Int {
        var total = 0
        for part in list.split(separator: ",") {
            let ends = part.split(separator: "-").compactMap { Int($0) }
            if ends.count == 2, ends[1] >= ends[0], ends[1] - ends[0] < 1 << 20 {
                total += ends[1] - ends[0] + 1
            } else if ends.count == 1 {
                total += 1
            }
        }
        return max(1, total)
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
