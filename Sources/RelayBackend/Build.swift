import ApusDriver
import ApusIR
import ApusNode
import ApusRelay
import ApusRelayTransforms
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTOPI
import ApusTarget

/// In what matrix products and convolutions are computed.
public enum Precision: String, Sendable, CaseIterable {
    /// In the element types of the model.
    case model
    /// Those of float32 take bfloat16 and sum in float32; weights are stored as bfloat16.
    case bf16
}

/// How to compile a model.
public struct CompileOptions: Sendable {
    public var target: Target
    /// 0: each operator a kernel, nothing moved … 3: everything.
    public var optLevel: Int
    public var precision: Precision
    public var disabledPasses: Set<String>
    /// Observe every graph and loop pass.
    public var instruments: [any PassInstrument]
    /// Checks the module after each pass; nil = not.
    public var verify: (@Sendable (IRModule) throws -> Void)?
    /// The model's name in the exported library.
    public var name: String
    /// Told at the start of each stage: its name, and how far the compilation is, from 0 to 1.
    public var progress: (@Sendable (String, Double) -> Void)?

    public init(
        target: Target, optLevel: Int = 3, precision: Precision = .model, disabledPasses: Set<String> = [],
        instruments: [any PassInstrument] = [], verify: (@Sendable (IRModule) throws -> Void)? = nil,
        name: String = "main", progress: (@Sendable (String, Double) -> Void)? = nil
    ) {
        self.target = target
        self.optLevel = optLevel
        self.precision = precision
        self.disabledPasses = disabledPasses
        self.instruments = instruments
        self.verify = verify
        self.name = name
        self.progress = progress
    }

    var context: PassContext {
        PassContext(
            optLevel: optLevel, disabledPasses: disabledPasses, instruments: instruments,
            config: loweringConfig(target), verify: verify)
    }
}

/// A model as straight-line plan, constants and lowered kernels: ready for any code generator.
public struct CompiledModel: Sendable {
    public let executable: Executable
    /// Lowered loop functions in order of first call; each name is that of its kernel in the plan.
    public let kernels: [(name: String, function: PrimFunc)]
    public let target: Target

    /// Compiles the kernels in memory; the module makes executors: `try model.jit()["default"]`.
    public func jit() throws -> ExecutableModule {
        ExecutableModule(executable, kernels: try buildJIT(functions: kernels, target: target))
    }

    /// An executor of the model compiled in memory.
    public func executor(device: Device = .cpu) throws -> GraphExecutor {
        try GraphExecutor(
            executable, kernels: try buildJIT(functions: kernels, target: target), device: device)
    }

    /// Writes the shared library: kernels, plan and constants in one file. The same model gives the same bytes.
    public func export(to path: String) throws {
        try exportLibrary(
            functions: kernels, blobCount: try executable.serializedCount(), blob: executable.write,
            target: target,
            to: path)
    }
}

/// The graph passes of a level, in order.
///
/// - Parameter evaluate: evaluates closed subgraphs for `FoldConstant`.
public func relayPipeline(
    target: Target, precision: Precision = .model, evaluate: @escaping ConstantEvaluator
) -> Sequential {
    let lanes = max(4, target.machine.lanes(bits: 32))
    let fold = foldConstant(evaluate: evaluate)
    let foldEarly = foldConstant(keepRearranged: true, evaluate: evaluate)
    var passes: [any Pass] = [simplifyInference]
    // Without such instructions products of float32 are faster.
    if target.machine.hasVNNI || target.machine.hasI8MM { passes.append(quantizedProducts) }
    passes += [
        simplifyConvolution(lanes: lanes), foldEarly, foldScaleAxis, foldEarly, eliminateCommonSubexpr,
        deadCodeElimination, recognizeGelu,
    ]
    // Products of bfloat16 have kernels of their own.
    if precision == .model {
        let machine = target.machine
        passes.append(
            fuseAttention { q in
                TOPI.attentionPays(
                    AttentionShape(
                        outer: q.outer, rows: q.rows, keys: q.keys, depth: q.depth, width: q.width),
                    machine: machine)
            })
    }
    passes += [absorbTranspose, narrowProducts]
    if precision == .bf16 { passes.append(toMixedPrecision(lanes: lanes)) }
    let layout = alterOpLayout(lanes: lanes) { question in
        TOPI.winogradTile(
            batch: question.batch, inChannels: question.inChannels, outChannels: question.outChannels,
            height: question.height, width: question.width, machine: target.machine)
    }
    // Before the fold: a weight that many layers share is packed once.
    passes += [layout, eliminateCommonSubexpr, fold, flattenRows, eliminateCommonSubexpr]
    if precision == .bf16 { passes.append(repeatWidening) }
    return Sequential("RelayPipeline", passes + [fuseOps, lowerTE(target)])
}

/// Compiles the function `main` of a module.
///
/// Runs on a stack of its own size: nesting in the model does not matter.
public func compile(_ module: IRModule, _ options: CompileOptions) throws -> CompiledModel {
    try withLargeStack { try compileOnLargeStack(module, options) }
}

private func compileOnLargeStack(_ module: IRModule, _ options: CompileOptions) throws -> CompiledModel {
    OpStrategies.registerAll()
    let context = options.context
    options.progress?("graph passes", 0)
    let evaluate = constantEvaluator(target: options.target)
    let lowered = try relayPipeline(
        target: options.target, precision: options.precision, evaluate: evaluate
    ).run(module, context)
    guard let main = try lowered.function("main") as? Relay.Function else {
        throw ApusError("BACKEND008", "`main` must be a graph function")
    }
    options.progress?("memory plan", 0.4)
    var planner = GraphPlanner()
    let plan = try planner.plan(
        main, name: options.name, inputNames: main.params.map(\.name),
        outputNames: main.attrs.strings("output_names") ?? [])
    // Large ones, such as tables that are looked up, need no copy beside their file.
    let executable = try Executable(plan: plan, constants: planner.constantData) {
        $0.byteCount >= 1 << 20 && canRead($0, options.target)
    }
    options.progress?("loop passes", 0.5)
    let kernels = try lowerKernels(plan.kernelNames, lowered, context).map {
        guard options.precision == .bf16 else { return $0 }
        let attrs = $0.function.attrs.setting(flushesSubnormals, .bool(true))
        return (name: $0.name, function: $0.function.with(attrs: Optional(attrs)))
    }
    options.progress?("code generation", 0.6)
    return CompiledModel(executable: executable, kernels: kernels, target: options.target)
}

/// Whether kernels of the target can use a tensor where it lies.
func canRead(_ tensor: NDArray, _ target: Target) -> Bool {
    target.readsUnaligned || Int(bitPattern: tensor.data) % max(1, tensor.dtype.element.byteCount) == 0
}

/// The loop functions of the names, lowered for code generation.
func lowerKernels(
    _ names: [String], _ module: IRModule, _ context: PassContext
) throws -> [(name: String, function: PrimFunc)] {
    var kernels: [(name: String, function: PrimFunc)] = []
    for name in names {
        guard let function = try module.function(name) as? PrimFunc else {
            internalError("the plan calls \(name), which is no loop function")
        }
        kernels.append(
            (name: name, function: try within("kernel: \(name)") { try lower(function, context: context) }))
    }
    return kernels
}
