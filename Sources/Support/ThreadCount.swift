import ApusCABI
import Glibc

extension ThreadPool {
    /// Processors that are switched on, whether or not this process may use them.
    public static var onlineProcessors: Int { max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }

    /// Processors this process may use: the smaller of those it may be scheduled on and its cgroup's quota
    /// (version 1 or 2) rounded up. At least 1.
    public static let availableProcessors: Int = {
        let scheduled = scheduledProcessors()
        let quota = cgroupQuota(
            root: "/sys/fs/cgroup", membership: readSmallFile("/proc/self/cgroup") ?? "")
        return max(1, min(scheduled, quota ?? scheduled))
    }()

    /// Threads this process may use: `availableProcessors`, or fewer where `APUS_NUM_THREADS`,
    /// `TVM_NUM_THREADS` or `OMP_NUM_THREADS` says so; the first that is set counts.
    public static let machineThreads: Int = {
        let count = availableProcessors
        for name in ["APUS_NUM_THREADS", "TVM_NUM_THREADS", "OMP_NUM_THREADS"] {
            guard let raw = getenv(name), let value = parseThreadCount(String(cString: raw)) else { continue }
            return max(1, min(count, value))
        }
        return max(1, count)
    }()

    /// A positive number, the first of a comma-separated list as OpenMP allows; nil for anything else.
    package static func parseThreadCount(_ text: String) -> Int? {
        let first = text.prefix { $0 != "," }.filter { $0 != " " }
        guard let value = Int(first), value > 0 else { return nil }
        return value
    }

    private static func scheduledProcessors() -> Int {
        let count = Int(apus_scheduled_processors())
        if count > 0 { return count }
        return onlineProcessors
    }

    /// The cgroup's processor quota in whole processors, rounded up; nil where there is none.
    /// - Parameter membership: the text of `/proc/self/cgroup`.
    package static func cgroupQuota(root: String, membership: String) -> Int? {
        var best: Int?
        func consider(_ value: Int?) {
            if let value { best = min(best ?? value, value) }
        }
        for line in membership.split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3 else { continue }
            if parts[0] == "0" && parts[1].isEmpty {
                // Version 2: every ancestor may have a limit. Inside a container the path may not exist: the
                // root.
                for folder in ancestors(String(parts[2])) {
                    consider(quota(v2: readSmallFile("\(root)\(folder)/cpu.max")))
                }
            } else if parts[1].split(separator: ",").contains("cpu") {
                for mount in ["\(root)/cpu", "\(root)/cpu,cpuacct"] {
                    for folder in ancestors(String(parts[2])) {
                        consider(
                            quota(
                                v1: readSmallFile("\(mount)\(folder)/cpu.cfs_quota_us"),
                                period: readSmallFile("\(mount)\(folder)/cpu.cfs_period_us")))
                    }
                }
            }
        }
        return best
    }

    /// `/a/b` gives `/a/b`, `/a`, and the empty string for the root.
    private static func ancestors(_ path: String) -> [String] {
        var folders = [""]
        var current = ""
        for part in path.split(separator: "/") where part != ".." {
            current += "/\(part)"
            folders.append(current)
        }
        return folders.reversed()
    }

    private static func quota(v2 text: String?) -> Int? {
        guard let words = text?.split(whereSeparator: { $0 == " " || $0 == "\n" }), words.count == 2 else {
            return nil
        }
        return quota(v1: String(words[0]), period: String(words[1]))
    }

    private static func quota(v1 quota: String?, period: String?) -> Int? {
        func number(_ text: String?) -> Int? { text.flatMap { Int($0.filter { $0 != "\n" && $0 != " " }) } }
        guard let quota = number(quota), let period = number(period), quota > 0, period > 0 else {
            return nil
        }
        return max(1, quota / period + (quota % period == 0 ? 0 : 1))
    }

    private static func readSmallFile(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0 else { return nil }
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}
