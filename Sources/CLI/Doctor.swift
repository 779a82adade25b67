import Apus
import ArgumentParser
import Glibc

struct Doctor: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Names what this machine lacks and how to get it.",
        discussion: """
            Example: apus doctor
            Example: apus doctor --machine --target "llvm -mcpu=haswell"
            Exits 1 where something needed is missing; what is optional is only named.
            """)

    @Flag(help: "Describes the processor that code is generated for.")
    var machine = false

    @Option(help: "With --machine: the target to describe, instead of this machine.")
    var target: String?

    @Flag(help: "With --machine: measures memory bandwidth and the peak of a core, for about a second.")
    var measure = false

    @Flag(help: "With --machine: prints JSON.")
    var json = false

    func validate() throws {
        guard machine || (target == nil && !measure && !json) else {
            throw ValidationError("--target, --measure and --json belong to --machine")
        }
        if measure, target != nil {
            throw ValidationError("only this machine can be measured: leave --target out")
        }
    }

    func run() throws {
        if machine { return try describe(try CompileArguments.target(target ?? "llvm")) }
        var missing = false
        for c in Doctor.checks() {
            let mark = c.found == nil ? (c.isNeeded ? "MISSING" : "absent") : "ok"
            print("\(mark.padded(to: 8)) \(c.name.padded(to: 16)) \(c.found ?? c.remedy)")
            if c.found == nil && c.isNeeded { missing = true }
        }
        if missing { throw ExitCode(1) }
    }

    private func describe(_ described: Target) throws {
        let found = try measure ? MachineMeasurement.take() : nil
        if json {
            var fields: [(key: String, value: JSON)] = [(key: "target", value: described.json)]
            fields.append((key: "machine", value: described.machine.json))
            if let found {
                let measured: [(key: String, value: JSON)] = [
                    (key: "bandwidth_one_core", value: .int(Int(found.oneCoreBandwidth))),
                    (key: "bandwidth_all_cores", value: .int(Int(found.allCoresBandwidth))),
                    (key: "peak_float32_per_core", value: .int(Int(found.peakPerCore))),
                    (key: "fork_join_ns", value: .int(Int(found.forkJoin * 1e9))),
                ]
                fields.append((key: "measured", value: .object(measured)))
            }
            print(JSON.object(fields).text)
            return
        }
        func say(_ title: String, _ text: String) { print("\(title.padded(to: 14)) \(text)") }
        say("target", described.description)
        for line in described.machine.lines { say(line.title, line.text) }
        if target == nil {
            say(
                "this machine",
                "\(ThreadPool.onlineProcessors) processors, \(ThreadPool.availableProcessors) for this process, "
                    + "\(ThreadPool.shared.threadCount) threads")
        }
        guard let found else { return }
        func billions(_ value: Double) -> String { "\((value / 1e8).rounded() / 10)" }
        say(
            "measured",
            "memory read \(billions(found.oneCoreBandwidth)) GB/s by one core, "
                + "\(billions(found.allCoresBandwidth)) GB/s by all; "
                + "\(billions(found.peakPerCore)) GFLOP/s float32 a core; "
                + "a parallel loop of no work \(formatted(seconds: found.forkJoin)) with "
                + "\(ThreadPool.shared.threadCount) threads")
        let rate = Int(found.allCoresBandwidth / 1e6)
        say("as an option", "-memory-bandwidth=\(rate)")
    }

    private struct Item {
        let name: String
        /// What was found; nil = nothing.
        let found: String?
        let isNeeded: Bool
        /// How to get it.
        let remedy: String
    }

    private static func checks() -> [Item] {
        let host = Result { try CompileArguments.target("llvm") }
        var items: [Item] = []
        switch host {
        case .success(let t):
            items.append(Item(name: "LLVM", found: t.description, isNeeded: true, remedy: ""))
            items.append(
                Item(
                    name: "code generation", found: trialCompilation(t), isNeeded: true,
                    remedy: "compiling a trial function failed: is the LLVM library damaged?"))
        case .failure(let error):
            items.append(
                Item(
                    name: "LLVM", found: nil, isNeeded: true, remedy: "apt-get install llvm-22-dev (\(error))"
                ))
        }
        let compiler = ["cc", "gcc", "clang"].lazy.compactMap { program($0) }.first
        items.append(
            Item(
                name: "C compiler", found: compiler, isNeeded: true,
                remedy: "apt-get install gcc (links exported libraries; compiles the C target)"))
        items.append(
            Item(
                name: "threads", found: "\(ThreadPool.shared.threadCount)", isNeeded: true, remedy: ""))
        items.append(
            Item(
                name: "cache", found: CompileCache.standard?.folder, isNeeded: false,
                remedy: "set HOME or APUS_CACHE_DIR to keep compiled models"))
        items.append(
            Item(
                name: "OpenCL", found: library("libOpenCL.so.1"), isNeeded: false,
                remedy: "apt-get install ocl-icd-libopencl1 and the device's driver"))
        items.append(
            Item(
                name: "CUDA", found: library("libcuda.so.1"), isNeeded: false,
                remedy: "install the GPU vendor's driver, which brings libcuda.so.1"))
        items.append(
            Item(
                name: "Python", found: program("python3"), isNeeded: false,
                remedy: "apt-get install python3 (for the Python package only)"))
        return items
    }

    /// Where a program lies on the search path.
    private static func program(_ name: String) -> String? {
        guard let path = getenv("PATH") else { return nil }
        for folder in String(cString: path).split(separator: ":") {
            let file = "\(folder)/\(name)"
            if access(file, X_OK) == 0 { return file }
        }
        return nil
    }

    private static func library(_ name: String) -> String? {
        guard let handle = dlopen(name, RTLD_LAZY | RTLD_LOCAL) else { return nil }
        dlclose(handle)
        return name
    }

    /// Compiles and runs an addition; the time it took, or nil.
    private static func trialCompilation(_ target: Target) -> String? {
        do {
            let start = ContinuousClock.now
            let a = placeholder([4], .float32, name: "a")
            let b = try compute([4], name: "b", tag: "elemwise") { a[$0] + const(1, .float32) }
            let function = try lower(try createPrimFunc([a, b], name: "trial"), context: PassContext())
            _ = try buildJIT(functions: [(name: "trial", function: function)], target: target)
            return "a trial function compiled in \(formatted(seconds: seconds(ContinuousClock.now - start)))"
        } catch {
            return nil
        }
    }
}

extension String {
    func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
