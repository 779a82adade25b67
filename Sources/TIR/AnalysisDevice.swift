import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// Whether `f` touches memory of a device from the host: an access of a global buffer outside of every thread-bound
/// loop, in a function for a target whose memory the host does not see. nil if it does not; else the first finding.
///
/// Functions for the CPU, and kernels themselves (`calling_conv` 2), have nothing to check. (TVM's `VerifyMemory`.)
public func memoryViolation(_ f: PrimFunc, targetKind: String? = nil) -> String? {
    let kind = targetKind ?? deviceKind(of: f) ?? "llvm"
    if ["llvm", "c", "cpu", "hexagon"].contains(kind) || f.attrs.int("calling_conv") == 2 { return nil }
    let visitor = HostAccess()
    visitor.visit(f.body)
    return visitor.finding
}

/// Throws TIR158 where `memoryViolation` finds something.
public func verifyMemory(_ f: PrimFunc, targetKind: String? = nil) throws {
    if let finding = memoryViolation(f, targetKind: targetKind) {
        throw ApusError(
            "TIR158", "memory of a device is accessed by the host",
            at: ["function: \(f.globalSymbol ?? "main")"],
            expected: "accesses within thread-bound loops", actual: finding,
            hint: "bind the loops around it to blockIdx and threadIdx")
    }
}

/// As above, for every loop function of a module.
public func verifyMemory(_ m: IRModule, targetKind: String? = nil) throws {
    for (_, f) in m.definitions { if let f = f as? PrimFunc { try verifyMemory(f, targetKind: targetKind) } }
}

private func deviceKind(of f: PrimFunc) -> String? {
    guard let text = f.attrs.string("target") else { return nil }
    return text.split(whereSeparator: { $0 == " " || $0 == "," }).first.map { String($0) }
}

private func isThreadBound(_ s: Stmt) -> (tag: String, extent: PrimExpr)? {
    if let l = s as? For, let t = l.threadBinding { return (tag: t.threadTag, extent: l.extent) }
    if let a = s as? AttrStmt, let i = a.node as? IterVar, i.iterType == .threadIndex {
        return (tag: i.threadTag, extent: a.value)
    }
    return nil
}

private final class HostAccess: StmtExprVisitor {
    var finding: String?
    private var local: Set<Var> = []
    override var walksSharedOnce: Bool { true }

    private func record(_ b: Buffer, _ what: String) {
        if finding == nil, !local.contains(b.data), b.storageScope.rank == .global {
            finding = "\(what) of \(b.name)"
        }
    }
    override func visit(_ e: PrimExpr) {
        if let l = e as? BufferLoad { record(l.buffer, "a read") }
        // An address is not yet an access.
        if let c = e as? Call, c.name == "tir.address_of" { return }
        visitChildren(of: e)
    }
    override func visit(_ s: Stmt) {
        if finding != nil { return }
        if let t = isThreadBound(s), !ThreadScope.isVirtual(t.tag) { return }
        // Memory that the host allocates for its own scalars (bound to it by a local scope).
        if let a = s as? Allocate, a.buffer.storageScope.rank != .global { local.insert(a.buffer.data) }
        if let w = s as? BufferStore { record(w.buffer, "a write") }
        visitChildren(of: s)
    }
}

/// What a device allows a kernel; nil = no limit.
public struct GPULimits: Sendable {
    /// Bytes.
    public var maxLocalMemoryPerBlock: Int?
    /// Bytes.
    public var maxSharedMemoryPerBlock: Int?
    public var maxThreadsPerBlock: Int?
    public var maxThreadX: Int?
    public var maxThreadY: Int?
    public var maxThreadZ: Int?
    /// Virtual threads of a kernel.
    public var maxVThread: Int?
    /// Bytes of a vector in one access.
    public var maxVectorBytes: Int?
    public var maxKernels: Int?

    public init(
        maxLocalMemoryPerBlock: Int? = nil, maxSharedMemoryPerBlock: Int? = nil,
        maxThreadsPerBlock: Int? = nil,
        maxThreadX: Int? = nil, maxThreadY: Int? = nil, maxThreadZ: Int? = nil, maxVThread: Int? = nil,
        maxVectorBytes: Int? = nil, maxKernels: Int? = nil
    ) {
        self.maxLocalMemoryPerBlock = maxLocalMemoryPerBlock
        self.maxSharedMemoryPerBlock = maxSharedMemoryPerBlock
        self.maxThreadsPerBlock = maxThreadsPerBlock
        self.maxThreadX = maxThreadX
        self.maxThreadY = maxThreadY
        self.maxThreadZ = maxThreadZ
        self.maxVThread = maxVThread
        self.maxVectorBytes = maxVectorBytes
        self.maxKernels = maxKernels
    }
}

/// How the kernels of a function exceed the limits; empty if they do not. A kernel is an outermost nest of thread-bound
/// loops. Sizes that are not constant are not counted. (TVM's `VerifyGPUCode`.)
public func gpuViolations(_ f: PrimFunc, _ limits: GPULimits) -> [String] {
    let visitor = KernelLimits(limits)
    visitor.visit(f.body)
    visitor.checkKernels()
    return visitor.findings
}

/// Throws TIR159 with all findings of `gpuViolations`.
public func verifyGPUCode(_ f: PrimFunc, _ limits: GPULimits) throws {
    let findings = gpuViolations(f, limits)
    guard let first = findings.first else { return }
    throw ApusError(
        "TIR159", "a kernel exceeds what the device allows: \(first)",
        at: ["function: \(f.globalSymbol ?? "main")"],
        notes: Array(findings.dropFirst()))
}

private final class KernelLimits: StmtExprVisitor {
    let limits: GPULimits
    var findings: [String] = []
    private var depth = 0
    private var kernels = 0
    private var localBytes = 0
    private var sharedBytes = 0
    private var threads: [String: Int] = [:]
    private var threadProduct = 1
    private var virtualProduct = 1
    override var walksSharedOnce: Bool { true }

    init(_ limits: GPULimits) { self.limits = limits }

    private func report(_ text: String) { if !findings.contains(text) { findings.append(text) } }

    private func check(_ actual: Int, _ limit: Int?, _ what: String) {
        if let limit, actual > limit { report("\(what) is \(actual), allowed \(limit)") }
    }

    func checkKernels() { check(kernels, limits.maxKernels, "the number of kernels") }

    override func visit(_ s: Stmt) {
        if let t = isThreadBound(s) {
            if depth == 0 {
                kernels += 1
                (localBytes, sharedBytes, threads, threadProduct, virtualProduct) = (0, 0, [:], 1, 1)
            }
            depth += 1
            if let n = t.extent.asInt { bind(t.tag, n) }
            visitChildren(of: s)
            depth -= 1
            if depth == 0 {
                check(localBytes, limits.maxLocalMemoryPerBlock, "local memory of a block in bytes")
                check(sharedBytes, limits.maxSharedMemoryPerBlock, "shared memory of a block in bytes")
                check(threadProduct, limits.maxThreadsPerBlock, "the number of threads of a block")
                check(virtualProduct, limits.maxVThread, "the number of virtual threads")
            }
            return
        }
        switch s {
        case let a as Allocate: add(a.buffer)
        case let b as Block: for a in b.allocBuffers { add(a) }
        case let w as BufferStore: vector(w.value.dtype, "a store to \(w.buffer.name)")
        default: break
        }
        visitChildren(of: s)
    }

    override func visit(_ e: PrimExpr) {
        if let l = e as? BufferLoad { vector(l.dtype, "a load of \(l.buffer.name)") }
        visitChildren(of: e)
    }

    private func vector(_ d: DataType, _ what: String) {
        if d.lanes > 1 { check(d.byteCount, limits.maxVectorBytes, "\(what): its vector in bytes") }
    }

    private func bind(_ tag: String, _ n: Int) {
        guard let scope = ThreadScope.find(tag), scope.rank == 1 else { return }
        if scope.dimension < 0 {
            virtualProduct = virtualProduct &* n
            return
        }
        if let known = threads[tag] {
            if known != n { report("\(tag) has the extents \(known) and \(n) in one kernel") }
            return
        }
        threads[tag] = n
        threadProduct = threadProduct &* n
        let limit = [limits.maxThreadX, limits.maxThreadY, limits.maxThreadZ][scope.dimension]
        check(n, limit, "the extent of \(tag)")
    }

    private func add(_ b: Buffer) {
        guard let bytes = constantBytes(b) else { return }
        switch b.storageScope.rank {
        case .local: localBytes = localBytes &+ bytes
        case .shared: sharedBytes = sharedBytes &+ bytes
        default: break
        }
    }
}

/// Bytes of a buffer of constant shape; nil for others, or past 64 bits.
func constantBytes(_ b: Buffer) -> Int? {
    var count = b.dtype.byteCount
    for d in b.shape {
        guard let n = d.asInt, n >= 0 else { return nil }
        let (p, overflow) = count.multipliedReportingOverflow(by: n)
        if overflow { return nil }
        count = p
    }
    return count
}
