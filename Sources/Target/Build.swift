import ApusRuntime
import ApusSupport
import ApusTIR
import Glibc

/// A lowered function and the name it is exported under: the C symbol is `apus_fn_<name>`.
public struct Kernel: Sendable {
    public let name: String
    public let function: PrimFunc

    public init(_ name: String, _ function: PrimFunc) {
        self.name = name
        self.function = function
    }
}

/// How code is generated, where the target does not say.
public struct BuildOptions: Sendable {
    /// Threads that compile. The result does not depend on it.
    public var threads = 2
    /// Kernels of one LLVM module. The code does not depend on it, the symbols of the object files do.
    public var kernelsPerModule = 4
    /// Whether LLVM's verifier looks at what the code generator made.
    public var verify = true
    /// LLVM's pass pipeline; empty = the one for the target's optimization level.
    public var pipeline = ""

    public init() {}
}

/// Gives back what loading LLVM's library took of memory, some 50 MiB; a program calls it when it starts.
public func forgetCodeGeneratorPages() { LLVMLibrary.forgetPages() }

/// Compiles the functions into this process. The kernels are called by `JITModule.kernel(named:)`.
/// - Throws: an `ApusError` that names the kernel, for what the target cannot express.
public func buildJIT(
    functions: [(name: String, function: PrimFunc)], target: Target, options: BuildOptions = BuildOptions()
) throws -> JITModule {
    let kernels = functions.map { Kernel($0.name, $0.function) }
    if target.kindName == TargetKind.c.name { return try CCompiler.load(kernels, target) }
    guard target.mtriple == LLVMLibrary.hostTriple else {
        throw ApusError(
            "TGT009", "code for another machine cannot run here", at: ["target: \(target)"],
            expected: LLVMLibrary.hostTriple, actual: target.mtriple)
    }
    return try JITModule(objects: compileObjects(kernels, target, options), kernels: kernels.map(\.name))
}

/// The object files of the functions; the first defines `apus_backend_api`. The same input gives the same
/// bytes.
public func buildObjects(
    functions: [(name: String, function: PrimFunc)], target: Target, options: BuildOptions = BuildOptions()
) throws -> [[UInt8]] {
    let kernels = functions.map { Kernel($0.name, $0.function) }
    if target.kindName == TargetKind.c.name { return [try CCompiler.object(kernels, target)] }
    return try compileObjects(kernels, target, options)
}

/// The text that is generated for the functions: `ll` (LLVM IR before optimization), `opt.ll` (after), `asm`,
/// or `c`.
public func buildSource(
    functions: [(name: String, function: PrimFunc)], target: Target, format: String = ""
) throws -> String {
    let kernels = functions.map { Kernel($0.name, $0.function) }
    if target.kindName == TargetKind.c.name || format == "c" { return try CodeGenC.source(kernels) }
    let job = ObjectJob(index: 0, kernels: kernels)
    switch format {
    case "", "ll", "opt.ll", "asm":
        return try withLargeStack { try job.text(target, format.isEmpty ? "ll" : format) }
    default:
        throw ApusError(
            "TGT010", "there is no such form of generated code", expected: "ll, opt.ll, asm, c",
            actual: format)
    }
}

/// Writes a shared library: the kernels, `apus_backend_api`, and the data `apus_blob` with `apus_blob_size`.
///
/// The blob starts at a multiple of 64 bytes. No time, path or build id enters the file: the same input gives
/// the same bytes.
public func exportLibrary(
    functions: [(name: String, function: PrimFunc)], blob: UnsafeRawBufferPointer?, target: Target,
    to path: String,
    options: BuildOptions = BuildOptions()
) throws {
    let objects = try buildObjects(functions: functions, target: target, options: options)
    let whole = blob.map { bytes in Blob(count: bytes.count, write: { sink in try sink(bytes) }) }
    try LibraryWriter.write(objects: objects, blob: whole, target: target, to: path)
}

/// As above, for a blob of `count` bytes that `write` hands over in pieces, in order: it is never in memory as a whole.
public func exportLibrary(
    functions: [(name: String, function: PrimFunc)], blobCount count: Int,
    blob write: @escaping ((UnsafeRawBufferPointer) throws -> Void) throws -> Void, target: Target,
    to path: String,
    options: BuildOptions = BuildOptions()
) throws {
    let objects = try buildObjects(functions: functions, target: target, options: options)
    try LibraryWriter.write(
        objects: objects, blob: Blob(count: count, write: write), target: target, to: path)
}

/// As above, for a blob that is an array.
public func exportLibrary(
    functions: [(name: String, function: PrimFunc)], blob: [UInt8], target: Target, to path: String,
    options: BuildOptions = BuildOptions()
) throws {
    try blob.withUnsafeBytes {
        try exportLibrary(functions: functions, blob: $0, target: target, to: path, options: options)
    }
}

/// The kernels of one LLVM module.
struct ObjectJob: Sendable {
    let index: Int
    let kernels: [Kernel]

    func generate(_ target: Target) throws -> CodeGenLLVM {
        // The name is part of the file: it must not tell where or when it was made.
        let generator = try CodeGenLLVM(
            name: "apus\(index)", hasHalf: VectorUnit.of(target).hasF16C, dots: target.dotProducts,
            readsUnaligned: target.readsUnaligned,
            definesAPI: index == 0)
        for k in kernels { try within("kernel: \(k.name)") { try generator.add(k.name, k.function) } }
        return generator
    }

    static func pipeline(_ target: Target) -> String {
        let level = target.int("opt-level") ?? 3
        return level == 3 ? defaultPipeline : "default<O\(level)>"
    }

    /// What lowered kernels need: memory to registers, common subexpressions, loop invariants, then the
    /// vectorizers for what the schedule left scalar. Loops are already rotated, tiled and unrolled, and
    /// there is nothing to inline, so most of `default<O3>` would only cost time.
    static let defaultPipeline =
        "function(sroa<modify-cfg>,early-cse<memssa>,simplifycfg,instcombine<no-verify-fixpoint>,"
        + "loop-mssa(licm),gvn,loop(indvars,loop-idiom,loop-deletion,loop-unroll-full),"
        + "sroa<modify-cfg>,loop-simplify,lcssa,loop-distribute,"
        + "loop-vectorize,instcombine<no-verify-fixpoint>,slp-vectorizer,vector-combine,"
        + "early-cse<memssa>,loop-unroll<O2>,sroa<modify-cfg>,instcombine<no-verify-fixpoint>,"
        + "loop-mssa(licm),"
        + "alignment-from-assumptions,simplifycfg<hoist-common-insts;sink-common-insts>,adce),globaldce"

    func object(_ target: Target, _ options: BuildOptions, _ machine: LLVMTargetMachine) throws -> [UInt8] {
        let generator = try generate(target)
        machine.prepare(generator.unit)
        if options.verify { try generator.unit.verify() }
        let pipeline = options.pipeline.isEmpty ? ObjectJob.pipeline(target) : options.pipeline
        try machine.optimize(generator.unit, pipeline: pipeline)
        // What optimizes and what emits are different parts of the library.
        LLVMLibrary.forgetPages()
        return try machine.emit(generator.unit)
    }

    func text(_ target: Target, _ format: String) throws -> String {
        let machine = try LLVMTargetMachine(target)
        let generator = try generate(target)
        machine.prepare(generator.unit)
        try generator.unit.verify()
        if format == "ll" { return generator.unit.text }
        try machine.optimize(generator.unit, pipeline: ObjectJob.pipeline(target))
        if format == "opt.ll" { return generator.unit.text }
        return String(decoding: try machine.emit(generator.unit, assembly: true), as: UTF8.self)
    }
}

/// Splits the kernels into modules by their order alone and compiles these on `options.threads` threads.
func compileObjects(_ kernels: [Kernel], _ target: Target, _ options: BuildOptions) throws -> [[UInt8]] {
    let size = max(1, options.kernelsPerModule)
    var jobs: [ObjectJob] = []
    for start in stride(from: 0, to: max(kernels.count, 1), by: size) {
        jobs.append(
            ObjectJob(index: jobs.count, kernels: Array(kernels[start..<min(start + size, kernels.count)])))
    }
    let fixed = jobs
    // Once, before there are threads.
    _ = VectorUnit.of(target)
    let state = Locked<CompileState>(CompileState(results: Array(repeating: nil, count: jobs.count)))
    let work: @Sendable () -> Void = {
        do {
            let machine = try LLVMTargetMachine(target)
            while let i = state.with({ $0.take() }) {
                do {
                    let bytes = try fixed[i].object(target, options, machine)
                    state.with { $0.results[i] = .success(bytes) }
                } catch {
                    state.with { $0.results[i] = .failure(error) }
                }
            }
        } catch {
            state.with { $0.setUp = error }
        }
    }
    runThreads(min(max(1, options.threads), jobs.count), work)
    LLVMLibrary.forgetPages()
    let done = state.with { $0 }
    var objects: [[UInt8]] = []
    for r in done.results {
        guard let r else { throw done.setUp ?? ApusError("TGT011", "a module was not compiled") }
        objects.append(try r.get())
    }
    return objects
}

private struct CompileState: Sendable {
    var next = 0
    var results: [Result<[UInt8], any Error>?]
    var setUp: (any Error)?

    init(results: [Result<[UInt8], any Error>?]) { self.results = results }

    /// The next job, each once.
    mutating func take() -> Int? {
        guard next < results.count else { return nil }
        next += 1
        return next - 1
    }
}

/// Runs `work` on `n` threads with stacks for deep expressions, this one among them, and waits.
private func runThreads(_ n: Int, _ work: @escaping @Sendable () -> Void) {
    final class Box {
        let work: @Sendable () -> Void
        init(_ work: @escaping @Sendable () -> Void) { self.work = work }
    }
    var threads: [pthread_t] = []
    for _ in 1..<max(1, n) {
        let box = Unmanaged.passRetained(Box({ withLargeStack { work() } }))
        var thread = pthread_t()
        let status = pthread_create(
            &thread, nil,
            { raw in
                if let raw { Unmanaged<Box>.fromOpaque(raw).takeRetainedValue().work() }
                return nil
            }, box.toOpaque())
        if status == 0 { threads.append(thread) } else { box.release() }
    }
    withLargeStack { work() }
    for t in threads { pthread_join(t, nil) }
}
