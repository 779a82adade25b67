import Apus
import ArgumentParser
import Glibc

struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measures import, compilation, loading, the first run and steady runs.",
        discussion: """
            Example: apus bench model.onnx --threads 2
            Example: apus bench --worker model.onnx recorded.npz 1   (answers a benchmark driver on stdin)
            """)

    @Flag(help: "Speaks JSON lines with a benchmark driver: MODEL.onnx MODEL.npz THREADS follow.")
    var worker = false

    @Argument(
        help: "A compiled library or an ONNX file; with --worker also the recorded arrays and the threads.")
    var arguments: [String]

    @OptionGroup var compile: CompileArguments

    @Option(help: "Threads; 0 = as many as the machine gives this process.")
    var threads = 0

    @Option(help: "Seconds to measure steady runs.")
    var seconds = 2.0

    @Option(name: .customLong("min-runs"), help: "Steady runs at least.")
    var minRuns = 10

    @Flag(help: "Prints the time of each kernel.")
    var profile = false

    @Flag(help: "Prints JSON.")
    var json = false

    func validate() throws {
        guard arguments.count == (worker ? 3 : 1) else {
            throw ValidationError(worker ? "--worker needs MODEL.onnx MODEL.npz THREADS" : "name one model")
        }
        if worker, Int(arguments[2]).map({ $0 < 1 }) ?? true {
            throw ValidationError("THREADS is a positive number")
        }
        guard minRuns >= 1, seconds >= 0, threads >= 0 else {
            throw ValidationError("numbers must not be negative")
        }
    }

    func run() throws {
        if worker {
            try BenchWorker(model: arguments[0], recorded: arguments[1], threads: Int(arguments[2]) ?? 1).run(
                try compile.compiler())
            return
        }
        if threads > 0 { ThreadPool.shared.setSize(threads) }
        var times = ModelCompiler.Times()
        var compiler = try compile.compiler()
        // Every stage is to be measured, so nothing may come from a cache.
        compiler.cache = nil
        let executor = try compiler.executor(arguments[0], times: &times)
        try setInputs(executor, [], seed: 0)
        let first = try timeOf { try executor.run() }
        let steady = try steadyRuns(executor, seconds: seconds, atLeast: minRuns).sorted()
        func percentile(_ p: Double) -> Double {
            steady[min(steady.count - 1, Int((Double(steady.count) * p).rounded(.down)))]
        }
        let p = (p50: percentile(0.5), p90: percentile(0.9), p99: percentile(0.99))
        let threadCount = ThreadPool.shared.threadCount
        if json {
            let fields: [(key: String, value: JSON)] = [
                (key: "model", value: .string(arguments[0])), (key: "threads", value: .int(threadCount)),
                (key: "import_s", value: .double(times.importing)),
                (key: "compile_s", value: .double(times.compiling)),
                (key: "load_s", value: .double(times.loading)), (key: "first_s", value: .double(first)),
                (key: "runs", value: .int(steady.count)), (key: "p50_s", value: .double(p.p50)),
                (key: "p90_s", value: .double(p.p90)), (key: "p99_s", value: .double(p.p99)),
            ]
            print(JSON.object(fields).text)
        } else {
            print("threads   \(threadCount)")
            print("import    \(formatted(seconds: times.importing))")
            print("compile   \(formatted(seconds: times.compiling))")
            print("load      \(formatted(seconds: times.loading))")
            print("first run \(formatted(seconds: first))")
            print(
                "steady    p50 \(formatted(seconds: p.p50)), p90 \(formatted(seconds: p.p90)), p99 \(formatted(seconds: p.p99)) of \(steady.count) runs"
            )
        }
        if profile { try printProfile(executor) }
    }

    private func printProfile(_ executor: GraphExecutor) throws {
        let all = try executor.profile(runs: 10)
        let total = all.reduce(0) { $0 + $1.nanoseconds }
        for t in all.sorted(by: { $0.nanoseconds > $1.nanoseconds }).prefix(40) {
            let share = Double(t.nanoseconds) * 100 / Double(max(1, total))
            let label = t.label.isEmpty ? "" : "  # \(t.label)"
            print(
                "\((share * 10).rounded() / 10) %  \(formatted(seconds: Double(t.nanoseconds) * 1e-9))  \(t.kernel)\(label)"
            )
        }
    }
}

func timeOf(_ body: () throws -> Void) rethrows -> Double {
    let start = ContinuousClock.now
    try body()
    return seconds(ContinuousClock.now - start)
}

func steadyRuns(_ executor: GraphExecutor, seconds limit: Double, atLeast minimum: Int) throws -> [Double] {
    var times: [Double] = []
    var total = 0.0
    while times.count < minimum || total < limit {
        let t = try timeOf { try executor.run() }
        times.append(t)
        total += t
    }
    return times
}

/// Answers a benchmark driver: one line about the model, then one line a command, until the end of input.
struct BenchWorker {
    let model: String
    let recorded: String
    let threads: Int

    func run(_ base: ModelCompiler) throws {
        do {
            try serve(base)
        } catch {
            say([(key: "ok", value: .bool(false)), (key: "error", value: .string("\(error)"))])
        }
    }

    private func serve(_ base: ModelCompiler) throws {
        ThreadPool.shared.setSize(threads)
        var compiler = base
        compiler.cache = nil
        let arrays = try NDArray.loadNPZ(recorded)
        var given: [(name: String, tensor: NDArray)] = []
        for a in arrays where a.name.hasPrefix("in_") {
            given.append((name: String(a.name.dropFirst(3)), tensor: a.tensor))
        }
        for g in given { compiler.shapes[g.name] = g.tensor.shape }
        var times = ModelCompiler.Times()
        var made: GraphExecutor?
        let compileSeconds = try timeOf { made = try compiler.executor(model, times: &times) }
        guard let executor = made else { return }
        try setInputs(executor, given, seed: 0)
        let first = try timeOf { try executor.run() }
        let second = try timeOf { try executor.run() }
        var error = 0.0
        for (i, r) in arrays.filter({ $0.name.hasPrefix("out_") }).enumerated()
        where i < executor.plan.outputs.count {
            let c = try OutputComparison(try executor.output(i), r.tensor, rtol: 0, atol: 0)
            error = max(error, c.maxError / max(c.scale, 1e-30))
        }
        say([
            (key: "ok", value: .bool(true)), (key: "err", value: .double(error)),
            (key: "compile_s", value: .double(compileSeconds)), (key: "first", value: .double(first)),
            (key: "second", value: .double(second)), (key: "rss", value: .double(peakMemory())),
        ])
        while let line = readLine() {
            guard let request = try? JSON.parse(line), request["cmd"]?.stringValue == "run" else { continue }
            let limit = request["secs"]?.doubleValue ?? 1
            let minimum = Int(request["min"]?.doubleValue ?? 1)
            let cpuBefore = processSeconds()
            var runs: [Double] = []
            let wall = try timeOf {
                runs = try steadyRuns(executor, seconds: limit, atLeast: max(1, minimum))
            }
            say([
                (key: "ts", value: .array(runs.map { .double($0) })),
                (key: "cpu", value: .double(processSeconds() - cpuBefore)),
                (key: "wall", value: .double(wall)),
                (key: "rss", value: .double(peakMemory())),
            ])
        }
    }

    private func say(_ fields: [(key: String, value: JSON)]) {
        // One write a line: the other side waits for it.
        writeAll(1, JSON.object(fields).text + "\n")
    }

    private func usage() -> rusage {
        var u = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &u)
        return u
    }

    private func processSeconds() -> Double {
        let u = usage()
        return Double(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + Double(u.ru_utime.tv_usec + u.ru_stime.tv_usec)
            * 1e-6
    }

    /// MiB.
    private func peakMemory() -> Double { Double(usage().ru_maxrss) / 1024 }
}
