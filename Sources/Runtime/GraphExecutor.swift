import ApusCABI
import ApusSupport
import Glibc
import Synchronization

/// Runs one compiled model: inputs in, `run`, outputs out.
///
/// Code and constants are shared by all executors of a model; each has its own storages and inputs. All
/// arguments of all kernel calls are prepared once, so a run allocates nothing. One executor serves one
/// thread at a time (a second gets RT077); make one executor a thread to run in parallel.
///
/// As a module: set_input(name|index, tensor), set_input_zero_copy, run, get_output(i[, out]),
/// get_input(name|index), get_num_inputs, get_num_outputs, get_input_index(name), get_input_info,
/// get_output_info, load_params(path|map), share_params(executor, names), profile([runs]).
public final class GraphExecutor: Module, @unchecked Sendable {
    public override var kind: String { "graph_executor" }

    /// The model.
    public let executable: Executable
    /// Where it runs.
    public let device: Device
    /// The plan of the model.
    public var plan: ExecutablePlan { executable.plan }

    private let kernels: any KernelProvider
    private let arena: Arena
    /// Tensors of this executor for the inputs.
    private var ownInputs: [NDArray]
    /// What the kernels read: the own tensor, or what was given without copying.
    private var inputs: [NDArray]
    private let prepared: PreparedCalls
    private let outputViews: [NDArray?]
    private let inputIndex: [String: Int]
    private let busy = Atomic<Bool>(false)

    /// - Throws: RT010 for a device that the plan's code is not for, RT070 naming every kernel that is
    ///   missing, RT002 where memory is refused.
    public init(_ executable: Executable, kernels: any KernelProvider, device: Device = .cpu) throws {
        guard device.kind == .cpu else {
            throw ApusError(
                "RT010", "the model is not compiled for this device", expected: "cpu", actual: "\(device)")
        }
        let plan = executable.plan
        self.executable = executable
        self.kernels = kernels
        self.device = device
        var missing: [String] = []
        var functions: [String: ApusCFunction] = [:]
        for name in plan.kernelNames {
            if let function = try kernels.kernel(named: name) {
                functions[name] = function
            } else {
                missing.append(name)
            }
        }
        guard missing.isEmpty else {
            throw ApusError(
                "RT070", "the code has not all kernels of the plan", at: ["model: \(plan.name)"],
                actual: missing.joined(separator: ", "))
        }
        let layout = try plan.storageLayout()
        let arena = try Arena(bytes: layout.bytes)
        self.arena = arena
        ownInputs = try plan.inputs.map { try NDArray.allocate(shape: $0.shape, dtype: $0.dtype) }
        inputs = ownInputs
        var index: [String: Int] = [:]
        for (i, spec) in plan.inputs.enumerated() { index[spec.name] = i }
        inputIndex = index
        prepared = PreparedCalls(plan, functions) { [inputs = ownInputs] source in
            switch source {
            case .storage(let i): arena.base + layout.offsets[i]
            case .input(let i): inputs[i].data
            case .constant(let i): executable.constants[i].data
            }
        }
        outputViews = plan.outputs.map { output in
            guard case .storage(let i) = output.view.source else { return nil }
            return NDArray(
                borrowing: arena.base + layout.offsets[i] + output.view.byteOffset, shape: output.view.shape,
                dtype: output.view.dtype, owner: arena)
        }
        super.init()
        // The workers start here rather than in the first run.
        _ = ThreadPool.shared.threadCount
    }

    private func exclusively<R>(_ body: () throws -> R) throws -> R {
        guard busy.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged else {
            throw ApusError(
                "RT077", "the executor is in use by another thread", at: ["model: \(plan.name)"],
                hint: "make one executor for each thread; they share code and constants")
        }
        defer { busy.store(false, ordering: .releasing) }
        return try body()
    }

    // MARK: Inputs

    /// The number of the input of this name.
    /// - Throws: RT071 where there is none; it lists the names.
    public func inputIndex(_ name: String) throws -> Int {
        guard let i = inputIndex[name] else {
            throw ApusError(
                "RT071", "no such input", at: ["model: \(plan.name)"],
                expected: "one of \(plan.inputs.map(\.name).joined(separator: ", "))", actual: name)
        }
        return i
    }

    private func inputIndex(_ key: AnyValue) throws -> Int {
        if case .string(let name) = key { return try inputIndex(name) }
        return try checked(key.to(Int.self), plan.inputs.count, "input")
    }

    private func checked(_ i: Int, _ count: Int, _ kind: String) throws -> Int {
        guard i >= 0, i < count else {
            throw ApusError(
                "RT072", "no such \(kind)", at: ["model: \(plan.name)"], expected: "0..<\(count)",
                actual: "\(i)")
        }
        return i
    }

    private func check(_ i: Int, _ tensor: NDArray) throws {
        let spec = plan.inputs[i]
        guard tensor.shape == spec.shape, tensor.dtype == spec.dtype else {
            throw ApusError(
                "RT073", "the tensor does not fit the input",
                at: ["model: \(plan.name)", "input: \(spec.name)"],
                expected: "\(spec.dtype) \(spec.shape)", actual: "\(tensor.dtype) \(tensor.shape)")
        }
    }

    /// Copies `tensor` to input number `i`.
    /// - Throws: RT072 for the number, RT073 for shape or type.
    public func setInput(_ i: Int, _ tensor: NDArray) throws {
        _ = try checked(i, plan.inputs.count, "input")
        try check(i, tensor)
        try exclusively {
            try ownInputs[i].copy(from: tensor)
            if inputs[i] !== ownInputs[i] { use(i, ownInputs[i]) }
        }
    }

    /// Copies `tensor` to the input of this name.
    public func setInput(_ name: String, _ tensor: NDArray) throws { try setInput(inputIndex(name), tensor) }

    /// Lets the kernels read `tensor` itself, now and in later runs, until the input is set again.
    /// - Throws: RT072, RT073, and RT074 for a tensor with strides, off the host, or not 64-byte aligned.
    public func setInputZeroCopy(_ i: Int, _ tensor: NDArray) throws {
        _ = try checked(i, plan.inputs.count, "input")
        try check(i, tensor)
        let address = Int(bitPattern: tensor.data)
        guard tensor.isContiguous, tensor.device.isHostAccessible, address % ExecutablePlan.alignment == 0
        else {
            throw ApusError(
                "RT074", "the tensor cannot be used in place", at: ["input: \(plan.inputs[i].name)"],
                expected: "compact host memory aligned to \(ExecutablePlan.alignment) bytes",
                actual: tensor.isContiguous
                    ? "an address \(address % ExecutablePlan.alignment) bytes off" : "strides",
                hint: "use set_input, which copies")
        }
        try exclusively { use(i, tensor) }
    }

    private func use(_ i: Int, _ tensor: NDArray) {
        inputs[i] = tensor
        prepared.rebind(input: i, to: tensor.data)
    }

    /// The tensor that input number `i` reads at present; writing to it changes the input.
    /// - Throws: RT072 for the number.
    public func input(_ i: Int) throws -> NDArray { inputs[try checked(i, inputs.count, "input")] }

    /// Sets every input that `parameters` names; names that are no inputs are an error.
    /// - Throws: RT071, RT073.
    public func loadParams(_ parameters: [(name: String, tensor: NDArray)]) throws {
        for (name, tensor) in parameters { try setInput(name, tensor) }
    }

    /// Lets the inputs of these names use the tensors of another executor of any model instead of own ones.
    /// - Throws: RT071, RT073, RT074.
    public func shareParams(from other: GraphExecutor, _ names: [String]) throws {
        for name in names { try setInputZeroCopy(inputIndex(name), other.input(other.inputIndex(name))) }
    }

    // MARK: Running

    /// Runs the model once.
    /// - Throws: what a kernel reported, with the instruction's place; RT077 while another thread uses the
    ///   executor.
    public func run() throws {
        try exclusively {
            LastError.clear()
            let failed = ThreadPool.shared.activeRegion { prepared.run() }
            if let failed { throw failure(failed) }
        }
    }

    private func failure(_ i: Int) -> ApusError {
        let n = plan.instructions[i]
        let label = n.label.isEmpty ? "" : " \(n.label)"
        return LastError.take(from: n.kernel).within("instruction: \(i) \(n.kernel)\(label)")
            .within("model: \(plan.name)")
    }

    /// Output number `i` of the last run, without copying: the next run writes to the same memory.
    /// - Throws: RT072 for the number.
    public func output(_ i: Int) throws -> NDArray {
        _ = try checked(i, plan.outputs.count, "output")
        if let view = outputViews[i] { return view }
        // An input or constant handed through: a copy, since those are not the caller's to write.
        let view = plan.outputs[i].view
        let source: NDArray
        switch view.source {
        case .input(let j): source = inputs[j]
        case .constant(let j): source = executable.constants[j]
        case .storage: internalError("a storage output without a view")
        }
        return try NDArray(
            borrowing: source.data + view.byteOffset, shape: view.shape, dtype: view.dtype, owner: source
        ).copied()
    }

    /// Copies output number `i` of the last run to `target`.
    /// - Throws: RT072 for the number, RT007 for shape or type.
    public func copyOutput(_ i: Int, to target: NDArray) throws { try target.copy(from: output(i)) }

    /// The time of one instruction.
    public struct InstructionTime: Sendable {
        /// The kernel called.
        public let kernel: String
        /// What it computes in the model's terms; may be empty.
        public let label: String
        /// Median over the runs.
        public let nanoseconds: Int
    }

    /// Runs the model `runs` times and returns each instruction's median time.
    public func profile(runs: Int = 1) throws -> [InstructionTime] {
        let count = max(1, min(runs, 100_000))
        return try exclusively {
            var times = [[Int]](repeating: [], count: plan.instructions.count)
            for _ in 0..<count {
                LastError.clear()
                let failed: Int? = ThreadPool.shared.activeRegion {
                    for i in plan.instructions.indices {
                        let start = nanosecondsNow()
                        guard prepared.call(i) else { return i }
                        times[i].append(nanosecondsNow() - start)
                    }
                    return nil
                }
                if let failed { throw failure(failed) }
            }
            return zip(plan.instructions, times).map { instruction, samples in
                InstructionTime(
                    kernel: instruction.kernel, label: instruction.label,
                    nanoseconds: samples.sorted()[samples.count / 2])
            }
        }
    }

    // MARK: As a module

    private static let names: [String] = [
        "get_input", "get_input_index", "get_input_info", "get_num_inputs", "get_num_outputs", "get_output",
        "get_output_info", "load_params", "profile", "run", "set_input", "set_input_zero_copy",
        "share_params",
    ]
    public override var functionNames: [String] { GraphExecutor.names }

    public override func localFunction(_ name: String) throws -> PackedFunc? {
        switch name {
        case "run": return .typed(name) { () throws in try self.run() }
        case "set_input":
            return .typed(name) { (key: AnyValue, tensor: NDArray) throws in
                try self.setInput(self.inputIndex(key), tensor)
            }
        case "set_input_zero_copy":
            return .typed(name) { (key: AnyValue, tensor: NDArray) throws in
                try self.setInputZeroCopy(self.inputIndex(key), tensor)
            }
        case "get_input":
            return .typed(name) { (key: AnyValue) throws -> NDArray in try self.input(self.inputIndex(key)) }
        case "get_output":
            return PackedFunc(name, signature: "(int, Optional[runtime.NDArray]) -> runtime.NDArray") {
                args in
                let i = try args.get(0, as: Int.self)
                guard args.count > 1 else { return .object(try self.output(i)) }
                try args.expect(count: 2)
                try self.copyOutput(i, to: try args.get(1, as: NDArray.self))
                return .none
            }
        case "get_num_inputs": return .typed(name) { () -> Int in self.plan.inputs.count }
        case "get_num_outputs": return .typed(name) { () -> Int in self.plan.outputs.count }
        case "get_input_index":
            // As in TVM: -1 where there is no such input.
            return .typed(name) { (input: String) -> Int in self.inputIndex[input] ?? -1 }
        case "get_input_info":
            return .typed(name) { () -> ArrayObject in GraphExecutor.info(self.plan.inputs) }
        case "get_output_info":
            return .typed(name) { () -> ArrayObject in GraphExecutor.info(self.plan.outputs.map(\.spec)) }
        case "load_params":
            return .typed(name) { (value: AnyValue) throws in
                if case .string(let path) = value {
                    try self.loadParams(ParamDict.load(path))
                } else {
                    try self.loadParams(ParamDict.fromMap(value.to(MapObject.self)))
                }
            }
        case "share_params":
            return .typed(name) { (other: GraphExecutor, names: [String]) throws in
                try self.shareParams(from: other, names)
            }
        case "profile":
            return PackedFunc(name, signature: "(Optional[int]) -> Array") { args in
                let times = try self.profile(runs: args.count == 0 ? 1 : args.get(0, as: Int.self))
                return .object(
                    ArrayObject(
                        times.map { t -> AnyValue in
                            .object(ArrayObject([.string(t.kernel), .string(t.label), .int(t.nanoseconds)]))
                        }))
            }
        default: return nil
        }
    }

    /// One map a tensor: `name`, `shape`, `dtype`.
    private static func info(_ specs: [ExecutablePlan.TensorSpec]) -> ArrayObject {
        ArrayObject(
            specs.map { spec -> AnyValue in
                .object(
                    MapObject([
                        ("name", .string(spec.name)), ("shape", spec.shape.asValue),
                        ("dtype", .dtype(spec.dtype)),
                    ]))
            })
    }
}

/// The monotonic clock.
package func nanosecondsNow() -> Int {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec &* 1_000_000_000 &+ now.tv_nsec
}
