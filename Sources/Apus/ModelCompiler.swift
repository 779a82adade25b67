import ApusFrontend
import ApusIR
import ApusNode
import ApusRelay
import ApusRelayBackend
import ApusRuntime
import ApusSupport
import ApusTarget

/// From a model file to something that runs: import, compile, load, with the time of each.
public struct ModelCompiler: Sendable {
    /// Static shapes for inputs whose dimensions are not known.
    public var shapes: [String: [Int]] = [:]
    /// Inputs that are fixed at compile time.
    public var constants: [String: NDArray] = [:]
    public var options: CompileOptions
    /// Compiled libraries are kept here and found again; nil = no cache.
    public var cache: CompileCache?

    public init(options: CompileOptions, cache: CompileCache? = nil) {
        self.options = options
        self.cache = cache
    }

    /// What a stage took, in seconds; zero where it did not run.
    public struct Times: Sendable {
        public var importing = 0.0
        public var compiling = 0.0
        public var loading = 0.0

        public init() {}
    }

    /// The graph of an ONNX file.
    public func importModel(_ path: String) throws -> IRModule {
        try withLargeStack {
            // Loading names the file in its errors itself.
            let model = try ONNXModel.load(path)
            return try within("file: \(path)") {
                try importONNX(
                    model,
                    ONNXImportOptions(
                        shapes: shapes, constants: constants,
                        evaluate: constantEvaluator(target: options.target)))
            }
        }
    }

    /// Compiles an ONNX file to a shared library at `output`. Returns whether it came from the cache.
    @discardableResult
    public func export(_ path: String, to output: String, times: inout Times) throws -> Bool {
        let key = try cacheKey(path)
        if let cache, let key, try cache.fetch(key, to: output) { return true }
        let module = try timed(&times.importing) { try importModel(path) }
        try timed(&times.compiling) {
            let model = try compile(module, options)
            try model.export(to: output)
        }
        if let cache, let key { cache.store(key, from: output) }
        return false
    }

    /// An executor for a compiled library (`.so`) or an ONNX file.
    public func executor(_ path: String, times: inout Times) throws -> GraphExecutor {
        if path.hasSuffix(".so") {
            return try timed(&times.loading) { try load(path) }
        }
        if let cache, let key = try cacheKey(path) {
            if let kept = cache.path(key) { return try timed(&times.loading) { try load(kept) } }
            let module = try timed(&times.importing) { try importModel(path) }
            let model = try timed(&times.compiling) { try compile(module, options) }
            if let kept = try cache.put(key, { try model.export(to: $0) }) {
                return try timed(&times.loading) { try load(kept) }
            }
            return try timed(&times.loading) { try model.executor() }
        }
        let module = try timed(&times.importing) { try importModel(path) }
        return try timed(&times.compiling) { try compile(module, options).executor() }
    }

    private func load(_ path: String) throws -> GraphExecutor {
        let library = try SharedLibrary(path)
        guard let executable = try library.executable() else {
            throw ApusError(
                "CLI004", "the library holds no model", at: ["file: \(path)"],
                hint: "`apus compile` makes one that does")
        }
        return try GraphExecutor(executable, kernels: library)
    }

    /// Everything that the compiled library depends on; nil where that cannot be told cheaply.
    private func cacheKey(_ path: String) throws -> String? {
        guard cache != nil, options.instruments.isEmpty, options.verify == nil else { return nil }
        var hash = ContentHash()
        hash.add(apusVersion)
        hash.add(CompileCache.compilerIdentity)
        guard try hash.add(contentsOf: path) else { return nil }
        // Weights beside the model may change without it.
        if try ONNXModel.usesExternalData(path) { return nil }
        hash.add(options.target.description)
        hash.add(
            "\(options.optLevel) \(options.precision) \(options.name) \(options.disabledPasses.sorted())")
        for (name, shape) in shapes.sorted(by: { $0.key < $1.key }) { hash.add("\(name)=\(shape)") }
        for (name, value) in constants.sorted(by: { $0.key < $1.key }) {
            hash.add("\(name):\(value.dtype)\(value.shape)")
            value.withUnsafeBytes { hash.add(bytes: $0) }
        }
        return hash.hex
    }

    private func timed<R>(_ total: inout Double, _ body: () throws -> R) rethrows -> R {
        let start = ContinuousClock.now
        defer { total += seconds(ContinuousClock.now - start) }
        return try body()
    }
}

/// A duration as seconds.
public func seconds(_ d: Duration) -> Double {
    Double(d.components.seconds) + Double(d.components.attoseconds) * 1e-18
}
