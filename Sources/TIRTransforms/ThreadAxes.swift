import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// What the passes over thread-bound loops agree on: axes by tag, memory by scope, and the canonical form of a kernel:
// loops over `blockIdx.*`, allocations of shared memory, loops over `threadIdx.*`, and a body without such loops.

/// Whether a thread axis counts blocks of the launch.
func isBlockAxis(_ tag: String) -> Bool { tag.hasPrefix("blockIdx.") }
/// Whether a thread axis counts threads of a block.
func isThreadAxis(_ tag: String) -> Bool { tag.hasPrefix("threadIdx.") }

/// The tag of a loop over blocks or threads of the hardware; nil for other loops, virtual threads included.
func hardwareTag(_ s: Stmt) -> String? {
    guard s.stmtKind == .forLoop else { return nil }
    let loop = unsafeDowncast(s, to: For.self)
    guard loop.forKind == .threadBinding, let tag = loop.threadBinding?.threadTag,
        isBlockAxis(tag) || isThreadAxis(tag)
    else { return nil }
    return tag
}

/// Who sees a piece of memory. Scopes may carry a tag: `shared.dyn`, `wmma.accumulator`, `global.texture`.
enum MemoryRank: Int, Comparable {
    /// All threads.
    case global
    /// The threads of one block.
    case shared
    /// The threads of one warp; fragments of matrix units belong here too.
    case warp
    /// One thread.
    case local

    static func < (a: MemoryRank, b: MemoryRank) -> Bool { a.rawValue < b.rawValue }

    init(_ scope: String) {
        let head = scope.split(separator: ".", maxSplits: 1).first.map(String.init) ?? scope
        switch head {
        case "shared": self = .shared
        case "warp", "wmma": self = .warp
        case "local": self = .local
        default: self = .global
        }
    }
}

/// The loops over hardware threads at the beginning of a kernel, outermost first, and what follows them.
struct LaunchNest {
    var loops: [For] = []
    /// Allocations between the loops, each with the number of loops around it.
    var allocations: [(depth: Int, buffer: Buffer)] = []
    /// The first statement that is neither.
    var body: Stmt

    /// The nest that begins with `root`, a loop over hardware threads.
    init(_ root: Stmt) {
        var s = root
        while true {
            if hardwareTag(s) != nil {
                let loop = unsafeDowncast(s, to: For.self)
                loops.append(loop)
                s = loop.body
            } else if let a = s as? Allocate, hasThreads(a.body) {
                allocations.append((depth: loops.count, buffer: a.buffer))
                s = a.body
            } else {
                break
            }
        }
        body = s
    }

    var tags: [String] { loops.compactMap { $0.threadBinding?.threadTag } }
    /// The loops over threads of a block.
    var threads: [For] { loops.filter { hardwareTag($0).map(isThreadAxis) ?? false } }
    /// The loops over blocks.
    var blocks: [For] { loops.filter { hardwareTag($0).map(isBlockAxis) ?? false } }

    /// The nest around another body; `root` itself where the body is the same.
    func rebuilt(_ root: Stmt, body new: Stmt) -> Stmt {
        if new === body { return root }
        var result = new
        // The sort is stable by position, so that allocations of one depth keep their order.
        var pending = allocations.enumerated().sorted {
            ($0.element.depth, $0.offset) < ($1.element.depth, $1.offset)
        }.map(\.element)
        for depth in stride(from: loops.count, through: 0, by: -1) {
            while let last = pending.last, last.depth == depth {
                result = Allocate(last.buffer, result)
                pending.removeLast()
            }
            if depth > 0 { result = loops[depth - 1].with(body: result) }
        }
        return result
    }

    /// Whether each axis occurs once, blocks before threads, and none is below.
    var isCanonical: Bool {
        var seen: Set<String> = []
        var inThreads = false
        for t in tags {
            if !seen.insert(t).inserted { return false }
            if isThreadAxis(t) { inThreads = true } else if inThreads { return false }
        }
        return !hasThreads(body)
    }
}

/// Whether a statement contains loops over hardware threads.
func hasThreads(_ s: Stmt) -> Bool {
    var found = false
    postOrderVisit(s, stmt: { if hardwareTag($0) != nil { found = true } })
    return found
}

/// The annotation of a loop that runs within the threads below it (`envThreads` of a stage): all of its iterations are one
/// kernel.
let envThreadsKey = "env_threads"

/// Whether a kernel begins here: with a loop over hardware threads, with shared memory in front of one, or with a loop that
/// is to run within its threads.
private func beginsKernel(_ s: Stmt) -> Bool {
    var s = s
    while let a = s as? Allocate, MemoryRank(a.buffer.scope) == .shared { s = a.body }
    if hardwareTag(s) != nil { return true }
    guard let loop = s as? For, loop.annotations[envThreadsKey] != nil else { return false }
    return hasThreads(loop.body)
}

/// A mutator that hands each kernel, from its outermost loop over hardware threads (or shared memory in front of it) on,
/// to `kernel`.
class KernelMutator: StmtExprMutator {
    /// The first error; passes throw it when the walk is over.
    var failure: ApusError?

    func kernel(_ root: Stmt, _ nest: LaunchNest) throws -> Stmt { root }

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        guard beginsKernel(s) else { return mutateChildren(of: s) }
        if failure != nil { return s }
        do { return try kernel(s, LaunchNest(s)) } catch {
            failure = error as? ApusError ?? ApusError("TTR050", "\(error)")
            return s
        }
    }

    /// The function with each kernel replaced.
    func run(_ f: PrimFunc) throws -> PrimFunc {
        try f.rewritingBody { body throws(ApusError) -> Stmt in
            let new = mutate(body)
            if let failure { throw failure }
            return new
        }
    }
}

/// A barrier of the threads that share memory of `scope`.
func barrier(_ scope: String) -> Stmt {
    Evaluate(intrinsic("storage_sync", .void, [StringImm(scope)]))
}

/// The product of constants, or nil.
func constantProduct(_ list: [PrimExpr]) -> Int? {
    var p = 1
    for e in list {
        guard let n = e.asInt else { return nil }
        let (q, overflow) = p.multipliedReportingOverflow(by: n)
        if overflow { return nil }
        p = q
    }
    return p
}
