import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// An argument or a result of an interpreted function.
public enum TIRArgument: Sendable, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral {
    case array(NDArray)
    /// Of any integer type; 64-bit unsigned as the bit pattern, bool as 0 or 1.
    case int(Int)
    case float(Double)

    public init(integerLiteral value: Int) { self = .int(value) }
    public init(floatLiteral value: Double) { self = .float(value) }
}

/// Executes loop IR as it is written, before or after any transformation: the reference that transformations
/// and code generators are tested against. Every access is checked; all arithmetic is that of the types.
///
/// Parallel, vectorized and unrolled loops run in order, and so do thread-bound loops, unless threads wait for each other
/// inside: then they run side by side from barrier to barrier. Allocated memory of scope `shared` is one a block, of
/// scope `warp` one a warp, of scope `local` one a thread, wherever the allocation stands. Fresh memory is filled with
/// 0xFF (NaN, -1), so that a read before a write shows. TIR160 arguments, TIR161 out of bounds, TIR162 not executable,
/// TIR163 step limit, TIR164 division by zero, TIR166 undefined variable, TIR167 memory that is not there, TIR168 call
/// depth, TIR169 a barrier that not all threads reach, TIR170 a data race, TIR171 too many threads.
public enum TIRInterpreter {
    /// Bounds and surroundings of a run.
    public struct Options: Sendable {
        /// Loop iterations and simple statements that may run.
        public var maxSteps: Int
        /// Calls within calls that may be open.
        public var maxCallDepth: Int
        /// Threads of a warp.
        public var warpSize: Int
        /// Whether an element that two iterations of a parallel or thread-bound loop touch at once, one of them to write
        /// it, is an error. Slow.
        public var detectRaces: Bool
        /// Functions for `call_extern`, `call_pure_extern` and `call_packed`, by name. A packed function is looked for
        /// here, in the module, and among the registered functions.
        public var externs: [String: @Sendable ([TIRArgument]) throws -> TIRArgument]

        public init(
            maxSteps: Int = .max, maxCallDepth: Int = 256, warpSize: Int = 32, detectRaces: Bool = false,
            externs: [String: @Sendable ([TIRArgument]) throws -> TIRArgument] = [:]
        ) {
            self.maxSteps = maxSteps
            self.maxCallDepth = maxCallDepth
            self.warpSize = Swift.min(Swift.max(warpSize, 1), 64)
            self.detectRaces = detectRaces
            self.externs = externs
        }
    }

    /// Runs `f`; tensors are read and written in place.
    /// - Parameter module: where functions called by name are found.
    public static func run(
        _ f: PrimFunc, args: [TIRArgument], module: IRModule? = nil, options: Options = Options()
    ) throws {
        let context = TIRRunContext(module: module, options: options)
        let compiled = try context.compiled(f)
        _ = try compiled.call(args.map { try TIRValue($0) }, context)
    }

    /// Runs `f` on tensors only.
    public static func run(
        _ f: PrimFunc, _ arrays: [NDArray], module: IRModule? = nil, options: Options = Options()
    ) throws {
        try run(f, args: arrays.map { .array($0) }, module: module, options: options)
    }

    /// The value of a scalar expression whose free variables have the given values.
    public static func evaluate(_ e: PrimExpr, _ variables: [Var: TIRArgument] = [:]) throws -> TIRArgument {
        let context = TIRRunContext(module: nil, options: Options())
        let compiler = TIRCompiler(context)
        for v in variables.keys { compiler.define(v) }
        let code = try compiler.expr(e)
        let frame = TIRFrame(compiler.counts, context)
        for (v, a) in variables { try frame.set(try compiler.slot(v), try TIRValue(a), v.dtype) }
        switch code {
        case .int(let f): return .int(try f(frame))
        case .float(let f): return .float(try f(frame))
        default: throw ApusError("TIR162", "only scalars can be evaluated", actual: "\(e.dtype)")
        }
    }

    /// The lanes of a vector (or scalar) expression as numbers; see `evaluate`.
    public static func evaluateLanes(_ e: PrimExpr, _ variables: [Var: TIRArgument] = [:]) throws
        -> [TIRArgument]
    {
        let context = TIRRunContext(module: nil, options: Options())
        let compiler = TIRCompiler(context)
        for v in variables.keys { compiler.define(v) }
        let code = try compiler.expr(e)
        let frame = TIRFrame(compiler.counts, context)
        for (v, a) in variables { try frame.set(try compiler.slot(v), try TIRValue(a), v.dtype) }
        switch code {
        case .int(let f): return [.int(try f(frame))]
        case .float(let f): return [.float(try f(frame))]
        case .ints(let f): return try f(frame).map { .int($0) }
        case .floats(let f): return try f(frame).map { .float($0) }
        case .handle: throw ApusError("TIR162", "a pointer is no number")
        }
    }
}

/// Memory that handles point into.
final class TIRStorage {
    let owner: NDArray
    /// What each thread has instead, for memory of threads that is allocated around them.
    var copies: [Int: TIRStorage] = [:]
    init(_ owner: NDArray) { self.owner = owner }
}

/// A pointer with its bounds: `base ..< base + bytes` is memory, the pointer itself is at `offset`.
struct TIRHandle {
    var storage: TIRStorage?
    var base: UnsafeMutableRawPointer?
    var bytes = 0
    var offset = 0
    /// The tensor it is the start of, if it came as one.
    var array: NDArray?

    init() {}
    init(_ array: NDArray) {
        storage = TIRStorage(array)
        base = array.data
        self.array = array
        if let strides = array.strides {
            // The extent of memory from the first to the last element; both ends must be at or after `data`.
            var last = 0
            for (n, s) in zip(array.shape, strides) where n > 0 { last += (n - 1) * Swift.max(s, 0) }
            bytes = array.count == 0 ? 0 : (last + 1) * array.dtype.byteCount
        } else {
            bytes = array.byteCount
        }
    }
}

/// A value on its way into a function.
enum TIRValue {
    case int(Int)
    case float(Double)
    case handle(TIRHandle)

    init(_ a: TIRArgument) throws {
        switch a {
        case .int(let v): self = .int(v)
        case .float(let v): self = .float(v)
        case .array(let v):
            guard v.device.isHostAccessible else {
                throw ApusError(
                    "TIR160", "the interpreter needs tensors in host memory", actual: "\(v.device)")
            }
            self = .handle(TIRHandle(v))
        }
    }
}

/// Where a variable's value lives in a frame.
enum TIRSlot {
    case int(Int)
    case float(Int)
    case ints(Int)
    case floats(Int)
    case handle(Int)
}

/// How many slots of each sort a function needs.
struct TIRSlotCounts {
    var int = 0
    var float = 0
    var ints = 0
    var floats = 0
    var handle = 0
}

/// The variables of one activation.
final class TIRFrame {
    let ints: UnsafeMutablePointer<Int>
    let floats: UnsafeMutablePointer<Double>
    let intVectors: UnsafeMutablePointer<[Int]>
    let floatVectors: UnsafeMutablePointer<[Double]>
    let handles: UnsafeMutablePointer<TIRHandle>
    let context: TIRRunContext
    private let counts: TIRSlotCounts
    /// The value of `ret`.
    var result: TIRValue?
    /// Where in the block this thread is, and what it shares with the block's others.
    var position = TIRPosition()
    var block: TIRBlockMemory?
    /// Collective operations so far.
    var round = 0
    /// The iterations of parallel loops around, where races are looked for.
    var path: TIRPath?

    /// A frame of the same variables for another thread.
    func copy() -> TIRFrame {
        let c = TIRFrame(counts, context)
        c.ints.update(from: ints, count: counts.int)
        c.floats.update(from: floats, count: counts.float)
        c.intVectors.update(from: intVectors, count: counts.ints)
        c.floatVectors.update(from: floatVectors, count: counts.floats)
        c.handles.update(from: handles, count: counts.handle)
        c.position = position
        c.block = block
        c.round = round
        c.path = path
        return c
    }

    init(_ counts: TIRSlotCounts, _ context: TIRRunContext) {
        func make<T>(_ n: Int, _ value: T) -> UnsafeMutablePointer<T> {
            let p = UnsafeMutablePointer<T>.allocate(capacity: Swift.max(n, 1))
            p.initialize(repeating: value, count: n)
            return p
        }
        ints = make(counts.int, 0)
        floats = make(counts.float, 0)
        intVectors = make(counts.ints, [])
        floatVectors = make(counts.floats, [])
        handles = make(counts.handle, TIRHandle())
        self.counts = counts
        self.context = context
    }

    deinit {
        ints.deallocate()
        floats.deallocate()
        intVectors.deinitialize(count: counts.ints)
        intVectors.deallocate()
        floatVectors.deinitialize(count: counts.floats)
        floatVectors.deallocate()
        handles.deinitialize(count: counts.handle)
        handles.deallocate()
    }

    /// Sets a scalar or pointer variable, converted to its type.
    func set(_ slot: TIRSlot, _ value: TIRValue, _ d: DataType) throws {
        switch (slot, value) {
        case (.int(let i), .int(let v)): ints[i] = TIRMath.wrapped(v, d)
        case (.float(let i), .float(let v)): floats[i] = TIRMath.rounded(v, d)
        case (.float(let i), .int(let v)): floats[i] = TIRMath.toFloat(v, from: .int64, d)
        case (.handle(let i), .handle(let v)): handles[i] = v
        default: throw ApusError("TIR160", "an argument has the wrong kind", expected: "\(d)")
        }
    }
}

/// Leaves a function; never seen outside.
struct TIRReturn: Error {}

/// What the activations of one run share.
final class TIRRunContext {
    let module: IRModule?
    let options: TIRInterpreter.Options
    private var steps = 0
    private let maxSteps: Int
    var depth = 0
    private var functions: [ObjectIdentifier: TIRCompiledFunction] = [:]
    /// Keeps what `functions` is keyed by.
    private var compiledFunctions: [PrimFunc] = []
    /// The thread that runs, where several run side by side.
    var current: TIRThread?
    let races: TIRRaces?
    /// Of the caller, for the frame of a function that it calls.
    var callPath: TIRPath?
    /// Owns code that other code refers to without owning it: nested closures would be released recursively.
    private var anchors: [AnyObject] = []

    func keep(_ anchor: AnyObject) { anchors.append(anchor) }

    init(module: IRModule?, options: TIRInterpreter.Options) {
        self.module = module
        self.options = options
        maxSteps = options.maxSteps
        races = options.detectRaces ? TIRRaces() : nil
    }

    @inline(__always)
    func step() throws {
        steps &+= 1
        if steps > maxSteps { throw stepLimit() }
    }

    @inline(never)
    private func stepLimit() -> ApusError {
        ApusError("TIR163", "the step limit is reached", expected: "at most \(maxSteps) steps")
    }

    func compiled(_ f: PrimFunc) throws -> TIRCompiledFunction {
        if let known = functions[ObjectIdentifier(f)] { return known }
        let made = try TIRCompiledFunction(f, self)
        functions[ObjectIdentifier(f)] = made
        compiledFunctions.append(f)
        return made
    }
}

/// A function as closures, with the binding of its arguments.
final class TIRCompiledFunction {
    private let function: PrimFunc
    private let name: String
    private var counts = TIRSlotCounts()
    private var params: [(slot: TIRSlot, dtype: DataType)] = []
    private var binders: [(TIRFrame) throws -> Void] = []
    private var body: TIRCompiler.Run = { _ in }

    init(_ f: PrimFunc, _ context: TIRRunContext) throws {
        function = f
        name = f.globalSymbol ?? "main"
        try within("function: \(name)") {
            let compiler = TIRCompiler(context)
            for p in f.params {
                compiler.define(p)
                params.append((slot: try compiler.slot(p), dtype: p.dtype))
            }
            // Variables that stand alone in a shape take their value from the argument; expressions are
            // checked.
            var checks: [() throws -> TIRCompiler.Run] = []
            for (p, b) in f.bufferMap { try bind(p, b, compiler, &checks) }
            for c in checks { binders.append(try c()) }
            for (_, b) in f.bufferMap { try compiler.checkType(b.dtype) }
            body = try compiler.stmt(f.body)
            counts = compiler.counts
        }
    }

    private func bind(
        _ p: Var, _ b: Buffer, _ compiler: TIRCompiler, _ checks: inout [() throws -> TIRCompiler.Run]
    ) throws {
        guard case .handle(let from) = try compiler.slot(p) else {
            throw ApusError(
                "TIR160", "the parameter of a buffer is a handle", actual: "\(p.name): \(p.dtype)")
        }
        compiler.define(b.data)
        guard case .handle(let to) = try compiler.slot(b.data) else {
            throw ApusError("TIR160", "the data of a buffer is a pointer", actual: "\(b.data.dtype)")
        }
        let label = b.name
        let dtype = b.dtype
        let rank = b.rank
        let plain = b.strides.isEmpty
        binders.append { frame in
            let h = frame.handles[from]
            guard h.base != nil else { throw ApusError("TIR160", "`\(label)` needs a tensor") }
            if let a = h.array {
                guard a.dtype == dtype, a.shape.count == rank else {
                    throw ApusError(
                        "TIR160", "the tensor for `\(label)` does not fit",
                        expected: "\(dtype) of rank \(rank)",
                        actual: "\(a.dtype) \(a.shape)")
                }
                if plain && !a.isContiguous {
                    throw ApusError(
                        "TIR160", "the tensor for `\(label)` has strides", hint: "call contiguous() first")
                }
            }
            frame.handles[to] = h
            // What is handed on is memory; only a parameter that came as a tensor speaks of its shape.
            frame.handles[to].array = nil
        }
        func match(_ e: PrimExpr, _ what: String, _ actual: @escaping (NDArray) -> Int) throws {
            if e.kind == .variable, let v = e as? Var, !compiler.isDefined(v) {
                compiler.define(v)
                guard case .int(let slot) = try compiler.slot(v) else {
                    throw ApusError("TIR160", "\(what) of `\(label)` is no integer")
                }
                binders.append { frame in
                    guard let a = frame.handles[from].array else {
                        throw ApusError("TIR160", "\(what) of `\(label)` is not known at this call")
                    }
                    frame.ints[slot] = actual(a)
                }
                return
            }
            // Compiled late: it may use variables that other buffers bind.
            checks.append {
                let f = try compiler.int(e)
                return { frame in
                    guard let a = frame.handles[from].array else { return }
                    let wanted = try f(frame)
                    if wanted != actual(a) {
                        throw ApusError(
                            "TIR160", "\(what) of `\(label)` does not fit", expected: "\(wanted)",
                            actual: "\(actual(a))")
                    }
                }
            }
        }
        for (i, e) in b.shape.enumerated() { try match(e, "dimension \(i)") { $0.shape[i] } }
        for (i, e) in b.strides.enumerated() {
            try match(e, "stride \(i)") { ($0.strides ?? NDArray.compactStrides($0.shape))[i] }
        }
        if let v = b.elemOffset as? Var, !compiler.isDefined(v) {
            compiler.define(v)
            let slot = try compiler.slot(v)
            binders.append { frame in try frame.set(slot, .int(0), .index) }
        } else if let c = b.elemOffset.asInt, c != 0 {
            // The argument's address is that of its first element, which lies `c` elements after the data.
            let shift = c.multipliedReportingOverflow(by: dtype.byteCount).partialValue
            binders.append { frame in frame.handles[to].offset = frame.handles[to].offset &- shift }
        }
    }

    /// Runs the function in a frame of its own.
    func call(_ args: [TIRValue], _ context: TIRRunContext) throws -> TIRValue? {
        try within("function: \(name)") {
            guard args.count == params.count else {
                throw ApusError(
                    "TIR160", "wrong number of arguments", expected: "\(params.count)",
                    actual: "\(args.count)")
            }
            context.depth += 1
            defer { context.depth -= 1 }
            if context.depth > context.options.maxCallDepth {
                throw ApusError(
                    "TIR168", "calls nest too deeply", expected: "at most \(context.options.maxCallDepth)")
            }
            let frame = TIRFrame(counts, context)
            frame.path = context.callPath
            for (i, p) in params.enumerated() {
                try within("parameter: \(function.params[i].name)") {
                    try frame.set(p.slot, args[i], p.dtype)
                }
            }
            for b in binders { try b(frame) }
            do {
                try growingStack { () throws(any Error) in try body(frame) }
            } catch is TIRReturn {}
            return frame.result
        }
    }
}
