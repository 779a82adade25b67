import ApusSupport

/// A compiled model without its code and weights: what memory there is and which kernels run on it, in order.
///
/// Everything is static: the compiler has planned storage, and a run is a straight line of kernel calls. The
/// compiler builds it, `Executable` adds the constants and the bytes, `GraphExecutor` runs it.
public struct ExecutablePlan: Sendable, Equatable {
    /// Bytes at which every storage, constant and input begins; kernels may rely on it.
    public static let alignment = 64

    /// A named tensor of fixed shape and type: an input, output or constant.
    public struct TensorSpec: Sendable, Equatable {
        /// Unique among its kind.
        public var name: String
        /// Extents, outermost first.
        public var shape: [Int]
        /// Element type.
        public var dtype: DataType

        /// A description of a tensor.
        public init(name: String, shape: [Int], dtype: DataType) {
            self.name = name
            self.shape = shape
            self.dtype = dtype
        }
    }

    /// A piece of memory that each executor has for itself; views of several values may share it over time.
    public struct Storage: Sendable, Equatable {
        /// Size; 0 is allowed.
        public var bytes: Int
        /// A power of two, at most 4096; at least `ExecutablePlan.alignment` is given.
        public var alignment: Int

        /// A piece of memory.
        public init(bytes: Int, alignment: Int = ExecutablePlan.alignment) {
            self.bytes = bytes
            self.alignment = alignment
        }
    }

    /// What a view looks at: a number in the plan's list of that kind.
    public enum Source: Sendable, Equatable, Hashable {
        case storage(Int)
        case input(Int)
        case constant(Int)
    }

    /// A compact row-major tensor somewhere in a storage, input or constant.
    public struct View: Sendable, Equatable {
        /// What it looks at.
        public var source: Source
        /// Where it begins in the source; a multiple of the element size.
        public var byteOffset: Int
        /// Extents, outermost first.
        public var shape: [Int]
        /// Element type.
        public var dtype: DataType

        /// A view at `byteOffset` of a source.
        public init(_ source: Source, byteOffset: Int = 0, shape: [Int], dtype: DataType) {
            self.source = source
            self.byteOffset = byteOffset
            self.shape = shape
            self.dtype = dtype
        }
    }

    /// A call of one kernel; its arguments are all tensors, in the order of the kernel's parameters.
    public struct Instruction: Sendable, Equatable {
        /// The kernel's name, without the `apus_fn_` of its symbol.
        public var kernel: String
        /// What it is called with.
        public var args: [View]
        /// For profiles and errors: what it computes in the model's terms; may be empty.
        public var label: String

        /// A call.
        public init(kernel: String, args: [View], label: String = "") {
            self.kernel = kernel
            self.args = args
            self.label = label
        }
    }

    /// An output's name and where its value lies after a run.
    public struct Output: Sendable, Equatable {
        /// Unique among the outputs.
        public var name: String
        /// Where it lies.
        public var view: View

        /// An output.
        public init(name: String, view: View) {
            self.name = name
            self.view = view
        }

        /// Its name, shape and type.
        public var spec: TensorSpec { TensorSpec(name: name, shape: view.shape, dtype: view.dtype) }
    }

    /// The model's name; the exported module has a function of this name beside `default`.
    public var name: String
    /// Memory of each executor.
    public var storages: [Storage]
    /// What a caller sets, in the model's order.
    public var inputs: [TensorSpec]
    /// Weights; their values are in the `Executable`.
    public var constants: [TensorSpec]
    /// What runs, in order.
    public var instructions: [Instruction]
    /// What a caller gets, in the model's order.
    public var outputs: [Output]

    /// A plan; see `validate` for what must hold.
    public init(
        name: String = "main", storages: [Storage] = [], inputs: [TensorSpec] = [],
        constants: [TensorSpec] = [],
        instructions: [Instruction] = [], outputs: [Output] = []
    ) {
        self.name = name
        self.storages = storages
        self.inputs = inputs
        self.constants = constants
        self.instructions = instructions
        self.outputs = outputs
    }

    /// Names of the kernels called, each once, in order of first call.
    public var kernelNames: [String] {
        var seen: Set<String> = []
        return instructions.map(\.kernel).filter { seen.insert($0).inserted }
    }

    /// Where each storage begins if all lie in one block that begins at a page, and the bytes of the block.
    /// - Throws: RT064 where they overflow.
    public func storageLayout() throws -> (offsets: [Int], bytes: Int) {
        var offsets: [Int] = []
        var end = 0
        for storage in storages {
            let unit = max(storage.alignment, ExecutablePlan.alignment)
            let start = (end + unit - 1) / unit * unit
            let (sum, overflow) = start.addingReportingOverflow(storage.bytes)
            guard storage.bytes >= 0, !overflow, sum < 1 << 62 else {
                throw ApusError("RT064", "the storages of the plan are too large")
            }
            offsets.append(start)
            end = sum
        }
        return (offsets, end)
    }

    /// Checks that every reference exists, every view lies inside its source and the names are usable.
    /// - Throws: RT062 (a reference), RT063 (a view outside its source), RT064 (a size), RT065 (a name).
    public func validate() throws {
        for (i, storage) in storages.enumerated() {
            guard storage.bytes >= 0, storage.alignment > 0, storage.alignment <= 4096,
                storage.alignment & (storage.alignment - 1) == 0
            else {
                throw ApusError(
                    "RT064", "malformed storage", at: ["storage: \(i)"],
                    expected: "bytes >= 0, alignment 2^n <= 4096",
                    actual: "\(storage.bytes) bytes at \(storage.alignment)")
            }
        }
        _ = try storageLayout()
        try checkNames(inputs.map(\.name), "input")
        try checkNames(outputs.map(\.name), "output")
        let inputBytes = try inputs.map { try bytes(of: $0, "input") }
        let constantBytes = try constants.map { try bytes(of: $0, "constant") }
        func check(_ view: View) throws {
            let size: Int
            switch view.source {
            case .storage(let i):
                guard storages.indices.contains(i) else { throw dangling("storage", i, storages.count) }
                size = storages[i].bytes
            case .input(let i):
                guard inputs.indices.contains(i) else { throw dangling("input", i, inputs.count) }
                size = inputBytes[i]
            case .constant(let i):
                guard constants.indices.contains(i) else { throw dangling("constant", i, constants.count) }
                size = constantBytes[i]
            }
            guard view.shape.count <= 64, view.dtype.byteCount > 0 else {
                throw ApusError(
                    "RT064", "malformed view", actual: "\(view.dtype) of rank \(view.shape.count)")
            }
            let (_, need) = try NDArray.checkedSize(shape: view.shape, dtype: view.dtype)
            let unit = max(1, Int(view.dtype.bits) / 8)
            guard view.byteOffset >= 0, view.byteOffset <= size, need <= size - view.byteOffset,
                view.byteOffset % unit == 0
            else {
                throw ApusError(
                    "RT063", "a view outside its source", expected: "within \(size) bytes of \(view.source)",
                    actual: "\(need) bytes at \(view.byteOffset)")
            }
        }
        for (i, instruction) in instructions.enumerated() {
            guard !instruction.kernel.isEmpty else {
                throw ApusError("RT065", "an instruction without a kernel", at: ["instruction: \(i)"])
            }
            for (j, view) in instruction.args.enumerated() {
                try within("instruction: \(i) (\(instruction.kernel))") {
                    try within("argument: \(j)") { try check(view) }
                }
            }
        }
        for output in outputs { try within("output: \(output.name)") { try check(output.view) } }
    }

    private func dangling(_ kind: String, _ i: Int, _ count: Int) -> ApusError {
        ApusError("RT062", "no such \(kind)", expected: "below \(count)", actual: "\(i)")
    }

    private func bytes(of spec: TensorSpec, _ kind: String) throws -> Int {
        try within("\(kind): \(spec.name)") {
            guard spec.shape.count <= 64, spec.dtype.byteCount > 0 else {
                throw ApusError(
                    "RT064", "malformed tensor", actual: "\(spec.dtype) of rank \(spec.shape.count)")
            }
            return try NDArray.checkedSize(shape: spec.shape, dtype: spec.dtype).bytes
        }
    }

    private func checkNames(_ names: [String], _ kind: String) throws {
        var seen: Set<String> = []
        for name in names where !seen.insert(name).inserted {
            throw ApusError("RT065", "two \(kind)s of the same name", actual: name)
        }
    }
}

extension ExecutablePlan.Source: CustomStringConvertible {
    public var description: String {
        switch self {
        case .storage(let i): "storage[\(i)]"
        case .input(let i): "input[\(i)]"
        case .constant(let i): "constant[\(i)]"
        }
    }
}

extension ExecutablePlan: CustomStringConvertible {
    /// One line a storage, input, constant, instruction and output; the same for the same plan.
    public var description: String {
        func spec(_ s: TensorSpec) -> String { "\(s.name): \(s.dtype)\(s.shape)" }
        func view(_ v: View) -> String {
            let offset = v.byteOffset == 0 ? "" : "+\(v.byteOffset)"
            return "\(v.source)\(offset): \(v.dtype)\(v.shape)"
        }
        var lines: [String] = ["executable \(name)"]
        for (i, s) in storages.enumerated() {
            lines.append("  storage[\(i)] \(s.bytes) bytes at \(s.alignment)")
        }
        for (i, s) in inputs.enumerated() { lines.append("  input[\(i)] \(spec(s))") }
        for (i, s) in constants.enumerated() { lines.append("  constant[\(i)] \(spec(s))") }
        for n in instructions {
            let label = n.label.isEmpty ? "" : "  # \(n.label)"
            lines.append("  \(n.kernel)(\(n.args.map(view).joined(separator: ", ")))\(label)")
        }
        for (i, o) in outputs.enumerated() { lines.append("  output[\(i)] \(o.name) = \(view(o.view))") }
        return lines.joined(separator: "\n")
    }
}
