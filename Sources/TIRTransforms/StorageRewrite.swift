import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// What a special memory offers: allocations of its scope become parts of one.
public struct MemoryInfo: Sendable, Equatable {
    /// Parts begin at multiples of this many bytes.
    public let unitBytes: Int
    /// All parts together; 0 = no limit.
    public let maxBytes: Int
    /// The address at which an allocation begins, in units; nil = the allocation stays one.
    public let headAddress: Int?

    public init(unitBytes: Int, maxBytes: Int = 0, headAddress: Int? = nil) {
        self.unitBytes = unitBytes
        self.maxBytes = maxBytes
        self.headAddress = headAddress
    }
}

/// What `storageRewrite` may do.
public struct StorageRewriteOptions: Sendable {
    /// Let the result of an element-wise statement take the place of its dying operand.
    public var inPlace = true
    /// Memories whose allocations become parts of one, by storage scope.
    public var memories: [String: MemoryInfo] = [:]
    /// Allocations share if neither is more than this many times the other.
    public var sizeRatio = 16

    public init(inPlace: Bool = true, memories: [String: MemoryInfo] = [:], sizeRatio: Int = 16) {
        self.inPlace = inPlace
        self.memories = memories
        self.sizeRatio = sizeRatio
    }
}

/// The life of one allocation, in positions of a walk in order of execution.
private struct Life {
    let buffer: Buffer
    let elements: Int
    /// The loop over threads, or the function (-1), in whose body it is allocated.
    let home: Int
    /// Loops around the allocation.
    let depth: Int
    var begin = Int.max
    var end = Int.min
    /// The statement, or the outermost loop inside the life, of the first and of the last access.
    var first = -1
    var last = -1
    /// Positions of the accesses that are stores to it or reads of it.
    var leaves: [Int] = []
    /// The address is handed on: it lives as long as it is allocated.
    var isOpaque = false
}

/// Finds lives. Positions count the leaves of the program; a loop is entered at one and left at another.
private final class LifeFinder: StmtExprVisitor {
    private(set) var lives: [Life] = []
    private var number: [Var: Int] = [:]
    /// Loops around: where entered, lives that are touched in it and began outside.
    private var loops: [(entry: Int, id: Int, touched: Set<Int>)] = []
    private var homes = [-1]
    private(set) var position = 0
    private(set) var loopExits: [Int: Int] = [:]
    /// The stores, by position.
    private(set) var stores: [Int: BufferStore] = [:]
    /// Loops around each store that is a candidate for in-place computation.
    private(set) var loopsOfStore: [Int: [For]] = [:]
    private var forStack: [For] = []
    /// Variables whose values are not seen through.
    private(set) var lets: Set<Var> = []

    static func isShareable(_ b: Buffer) -> Bool {
        let scope = b.scope
        // Registers: their separate lives are what makes them registers. Fragments have a shape of their own.
        if scope == "local" || scope == "warp" || scope.hasPrefix("wmma.") || scope.hasPrefix("texture") {
            return false
        }
        return b.rank == 1 && b.strides.isEmpty && b.elemOffset.isZero && (b.shape[0].asInt ?? 0) > 0
    }

    private func access(_ data: Var) {
        guard let n = number[data] else { return }
        let at = position
        if lives[n].leaves.last != at { lives[n].leaves.append(at) }
        let depth = lives[n].depth
        if depth < loops.count {
            let loop = loops[depth]
            if lives[n].begin > loop.entry {
                lives[n].begin = loop.entry
                lives[n].first = loop.entry
            }
            lives[n].last = loop.entry
            loops[depth].touched.insert(n)
        } else {
            if lives[n].begin > at {
                lives[n].begin = at
                lives[n].first = at
            }
            lives[n].last = at
            lives[n].end = Swift.max(lives[n].end, at)
        }
    }

    override func visit(_ e: PrimExpr) {
        switch e.kind {
        case .let: lets.insert(unsafeDowncast(e, to: Let.self).variable)
        case .bufferLoad: access(unsafeDowncast(e, to: BufferLoad.self).buffer.data)
        case .variable:
            if e.dtype.isHandle, let n = number[unsafeDowncast(e, to: Var.self)] { lives[n].isOpaque = true }
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            if c.name == "tir.address_of", let l = c.args.first as? BufferLoad, let n = number[l.buffer.data]
            {
                lives[n].isOpaque = true
            }
        default: break
        }
        visitChildren(of: e)
    }

    private func loop(_ s: Stmt, isHome: Bool, _ body: Stmt) {
        position += 1
        loops.append((entry: position, id: position, touched: []))
        if isHome { homes.append(position) }
        if let f = s as? For { forStack.append(f) }
        if let w = s as? While { visit(w.condition) }
        visit(body)
        position += 1
        if s is For { forStack.removeLast() }
        if isHome { homes.removeLast() }
        let done = loops.removeLast()
        for n in done.touched { lives[n].end = Swift.max(lives[n].end, position) }
        loopExits[done.entry] = position
    }

    override func visit(_ s: Stmt) {
        switch s {
        case let f as For:
            position += 1
            visit(f.min)
            visit(f.extent)
            let apart = f.forKind == .parallel || f.forKind == .threadBinding || f.forKind == .vectorized
            loop(f, isHome: apart, f.body)
        case let w as While: loop(w, isHome: false, w.body)
        case let a as Allocate:
            guard LifeFinder.isShareable(a.buffer), let elements = a.buffer.shape[0].asInt else {
                visit(a.body)
                return
            }
            let n = lives.count
            lives.append(
                Life(buffer: a.buffer, elements: elements, home: homes[homes.count - 1], depth: loops.count))
            number[a.buffer.data] = n
            position += 1
            let begin = position
            visit(a.body)
            position += 1
            if lives[n].isOpaque {
                lives[n].begin = begin
                lives[n].end = position
                lives[n].leaves = []
                lives[n].first = -1
                lives[n].last = -1
            }
        case let store as BufferStore:
            position += 1
            visit(store.value)
            for i in store.indices { visit(i) }
            access(store.buffer.data)
            if number[store.buffer.data] != nil {
                stores[position] = store
                // Only of loops is it known how often they run.
                if loops.count == forStack.count { loopsOfStore[position] = forStack }
            }
        case let l as LetStmt:
            lets.insert(l.variable)
            position += 1
            visitChildren(of: s)
        case let a as AttrStmt:
            // A thread axis without a loop of its own.
            let isHome = (a.node as? IterVar)?.iterType == .threadIndex
            if let v = a.node as? Var, let n = number[v] { lives[n].isOpaque = true }
            if let b = a.node as? Buffer, let n = number[b.data] { lives[n].isOpaque = true }
            position += 1
            visit(a.value)
            if isHome { loop(a, isHome: true, a.body) } else { visit(a.body) }
        default:
            position += 1
            visitChildren(of: s)
        }
    }
}

/// One piece of memory and who has it by turns.
private struct Piece {
    var elements: Int
    var tenants: [Int]
}

private struct StoragePlan {
    let lives: [Life]
    let finder: LifeFinder
    let options: StorageRewriteOptions
    /// By home, in order.
    var pieces: [Int: [Piece]] = [:]

    private struct Kind: Hashable {
        let home: Int
        let scope: String
        let dtype: DataType
    }

    init(_ finder: LifeFinder, _ options: StorageRewriteOptions) {
        self.finder = finder
        self.options = options
        lives = finder.lives
        var groups: [Kind: [Int]] = [:]
        var order: [Kind] = []
        for (n, l) in lives.enumerated() where l.begin <= l.end {
            let k = Kind(home: l.home, scope: l.buffer.scope, dtype: l.buffer.dtype)
            if groups[k] == nil { order.append(k) }
            groups[k, default: []].append(n)
        }
        for k in order {
            let made = share(groups[k] ?? [])
            pieces[k.home, default: []] += made
        }
    }

    private func share(_ members: [Int]) -> [Piece] {
        var pieces: [Piece] = []
        /// The piece of each life.
        var at: [Int: Int] = [:]
        var free: [Int] = []
        var inherited: Set<Int> = []
        let byBegin = members.sorted { (lives[$0].begin, $0) < (lives[$1].begin, $1) }
        let byEnd = members.sorted { (lives[$0].end, $0) < (lives[$1].end, $1) }
        /// Who is used for the last time in a statement or loop.
        var dying: [Int: [Int]] = [:]
        for n in members where lives[n].last >= 0 { dying[lives[n].last, default: []].append(n) }
        var next = 0
        for n in byBegin {
            while next < byEnd.count, lives[byEnd[next]].end < lives[n].begin {
                if let p = at[byEnd[next]], !inherited.contains(byEnd[next]) { free.append(p) }
                next += 1
            }
            if options.inPlace, let from = heir(n, dying[lives[n].first] ?? [], inherited), let p = at[from] {
                inherited.insert(from)
                at[n] = p
                pieces[p].tenants.append(n)
                continue
            }
            if let i = best(lives[n].elements, free, pieces) {
                let p = free.remove(at: i)
                at[n] = p
                pieces[p].tenants.append(n)
                pieces[p].elements = Swift.max(pieces[p].elements, lives[n].elements)
                continue
            }
            at[n] = pieces.count
            pieces.append(Piece(elements: lives[n].elements, tenants: [n]))
        }
        return pieces
    }

    /// The smallest piece that is large enough, else the largest; of the latest freed, whose lines are still near.
    private func best(_ need: Int, _ free: [Int], _ pieces: [Piece]) -> Int? {
        var chosen: Int?
        for i in free.indices.suffix(64) {
            let size = pieces[free[i]].elements
            let (a, b) = size > need ? (size, need) : (need, size)
            if a / Swift.max(b, 1) > options.sizeRatio { continue }
            guard let c = chosen else {
                chosen = i
                continue
            }
            let old = pieces[free[c]].elements
            let better = size >= need ? (old < need || size <= old) : (old < need && size >= old)
            if better { chosen = i }
        }
        return chosen
    }

    /// Who leaves its memory to `n`: the only access of both, where their lives meet, is one store `n[i] = f(old[i])`
    /// that visits each place once.
    private func heir(_ n: Int, _ candidates: [Int], _ taken: Set<Int>) -> Int? {
        guard let at = lives[n].leaves.first, let store = finder.stores[at], store.buffer === lives[n].buffer
        else {
            return nil
        }
        let meeting = lives[n].first
        let exit = finder.loopExits[meeting] ?? meeting
        func only(_ l: Life) -> Bool { l.leaves.allSatisfy { $0 == at || $0 < meeting || $0 > exit } }
        guard only(lives[n]), let index = store.indices.first else { return nil }
        for c in candidates where c != n && !taken.contains(c) {
            let old = lives[c]
            guard old.elements == lives[n].elements, old.depth == lives[n].depth, old.leaves.last == at,
                only(old)
            else { continue }
            var matches = true
            func check(_ e: PrimExpr) {
                postOrderVisit(e) { x in
                    guard let l = x as? BufferLoad else { return }
                    if l.buffer.data === lives[n].buffer.data { matches = false }
                    if l.buffer.data === old.buffer.data, !sameExpr(l.indices[0], index) { matches = false }
                }
            }
            check(store.value)
            postOrderVisit(index) { x in
                if let l = x as? BufferLoad,
                    l.buffer.data === old.buffer.data || l.buffer.data === lives[n].buffer.data
                {
                    matches = false
                }
            }
            if !matches || uses(index, finder.lets) { continue }
            if meeting == at {
                if visitsOnce(index, [], depth: nil) { return c }
            } else if let loops = finder.loopsOfStore[at], visitsOnce(index, loops, depth: old.depth) {
                return c
            }
        }
        return nil
    }

    /// Whether different iterations of the loops inside of the lives have different indices: the strides of the loops,
    /// from small to large, exceed what the smaller ones reach together.
    private func visitsOnce(_ index: PrimExpr, _ loops: [For], depth: Int?) -> Bool {
        let analyzer = Analyzer()
        var steps: [(stride: Int, count: Int)] = []
        var base = index
        if let r = index as? Ramp {
            guard let s = r.stride.asInt, s != 0, s != .min else { return false }
            steps.append((stride: abs(s), count: r.lanes))
            base = r.base
        } else if !index.dtype.isScalar {
            return false
        }
        guard base.dtype == .index else { return false }
        if let depth {
            guard depth <= loops.count else { return false }
            for loop in loops[depth...] {
                guard let n = loop.extent.asInt else { return false }
                if n <= 1 { continue }
                guard let (k, _) = analyzer.linearCoefficient(base, of: loop.loopVar), k != 0, k != .min
                else {
                    return false
                }
                steps.append((stride: abs(k), count: n))
            }
        }
        steps.sort { $0.stride < $1.stride }
        var reach = 0
        for s in steps {
            if s.stride <= reach { return false }
            let (far, o1) = s.stride.multipliedReportingOverflow(by: s.count - 1)
            let (sum, o2) = reach.addingReportingOverflow(far)
            if o1 || o2 { return false }
            reach = sum
        }
        return true
    }
}

/// Puts the plan into effect: shared pieces are allocated where their home begins, their tenants no longer.
private final class StorageRewriter: StmtExprMutator {
    private var replaced: [Buffer: (buffer: Buffer, offset: Int)] = [:]
    /// What is allocated where a home begins.
    private var atHome: [Int: [Buffer]] = [:]
    private var gone: Set<Buffer> = []
    private var position = 0

    init(_ plan: StoragePlan, _ options: StorageRewriteOptions) throws {
        super.init()
        for home in plan.pieces.keys.sorted() {
            var parts: [String: (buffer: Buffer?, bytes: Int, dtype: DataType, tenants: [(Int, Int)])] = [:]
            var order: [String] = []
            for piece in plan.pieces[home] ?? [] {
                guard let first = piece.tenants.first else { continue }
                let b = plan.lives[first].buffer
                if let memory = options.memories[b.scope] {
                    // Parts of one allocation, each type in a view of its own.
                    let key = b.scope
                    if parts[key] == nil { order.append(key) }
                    var p = parts[key] ?? (buffer: nil, bytes: 0, dtype: b.dtype, tenants: [])
                    let unit = Swift.max(memory.unitBytes, b.dtype.byteCount, 1)
                    let start = (p.bytes + unit - 1) / unit * unit
                    for t in piece.tenants { p.tenants.append((t, start)) }
                    p.bytes = start + piece.elements * b.dtype.byteCount
                    if memory.maxBytes > 0 && p.bytes > memory.maxBytes {
                        throw ApusError(
                            "TTR013", "the allocations of scope \(b.scope) do not fit its memory",
                            expected: "at most \(memory.maxBytes) bytes", actual: "\(p.bytes)"
                        ).located(b.data.span)
                    }
                    parts[key] = p
                    continue
                }
                if piece.tenants.count < 2 { continue }
                var alignment = 0
                for t in piece.tenants { alignment = Swift.max(alignment, plan.lives[t].buffer.alignment) }
                let shared = Buffer(
                    data: b.data, dtype: b.dtype, shape: [IntImm(piece.elements)], name: b.name,
                    alignment: alignment)
                atHome[home, default: []].append(shared)
                for t in piece.tenants {
                    replaced[plan.lives[t].buffer] = (buffer: shared, offset: 0)
                    gone.insert(plan.lives[t].buffer)
                }
            }
            for key in order {
                guard let p = parts[key], p.tenants.count > 1, let first = p.tenants.first else { continue }
                let b = plan.lives[first.0].buffer
                let memory = Buffer(
                    data: b.data, dtype: .int8, shape: [IntImm(p.bytes)], name: b.name,
                    alignment: Swift.max(b.alignment, options.memories[key]?.unitBytes ?? 0))
                atHome[home, default: []].append(memory)
                for (t, start) in p.tenants {
                    let own = plan.lives[t].buffer
                    let size = own.dtype.byteCount
                    let view = Buffer(
                        data: b.data, dtype: own.dtype, shape: [IntImm(p.bytes / size)], name: own.name,
                        alignment: own.alignment)
                    replaced[own] = (buffer: view, offset: start / size)
                    gone.insert(own)
                }
            }
        }
    }

    var changesNothing: Bool { gone.isEmpty }

    /// The function's body.
    func run(_ body: Stmt) -> Stmt { allocated(-1, walk(body)) }

    private func allocated(_ home: Int, _ body: Stmt) -> Stmt {
        (atHome[home] ?? []).reversed().reduce(body) { Allocate($1, $0) }
    }

    // Positions are counted exactly as LifeFinder counts them.
    private func walk(_ s: Stmt) -> Stmt {
        switch s {
        case let f as For:
            position += 1
            let lo = mutate(f.min)
            let extent = mutate(f.extent)
            let apart = f.forKind == .parallel || f.forKind == .threadBinding || f.forKind == .vectorized
            let body = inside(f.body, isHome: apart)
            let same = lo === f.min && extent === f.extent && body === f.body
            return same ? s : f.with(min: lo, extent: extent, body: body)
        case let w as While:
            let c = mutate(w.condition)
            let body = inside(w.body, isHome: false)
            return c === w.condition && body === w.body ? s : While(c, body)
        case let a as Allocate:
            guard LifeFinder.isShareable(a.buffer) else {
                let body = walk(a.body)
                return body === a.body ? s : Allocate(a.buffer, body)
            }
            position += 1
            let body = walk(a.body)
            position += 1
            if gone.contains(a.buffer) { return body }
            return body === a.body ? s : Allocate(a.buffer, body)
        case let a as AttrStmt:
            position += 1
            let value = mutate(a.value)
            let isHome = (a.node as? IterVar)?.iterType == .threadIndex
            let body = isHome ? inside(a.body, isHome: true) : walk(a.body)
            return value === a.value && body === a.body ? s : AttrStmt(a.node, a.key, value, body)
        default:
            position += 1
            let n = mapChildren(of: s, expr: { mutate($0) }, stmt: { walk($0) })
            guard let w = n as? BufferStore, let (b, offset) = replaced[w.buffer] else { return n }
            return BufferStore(b, w.value, shifted(w.indices, offset))
        }
    }

    private func inside(_ body: Stmt, isHome: Bool) -> Stmt {
        position += 1
        let id = position
        let n = walk(body)
        position += 1
        return isHome ? allocated(id, n) : n
    }

    private func shifted(_ indices: [PrimExpr], _ offset: Int) -> [PrimExpr] {
        if offset == 0 { return indices }
        return indices.map { i in
            if i.dtype.isScalar { return i + offset }
            if let r = i as? Ramp { return Ramp(r.base + offset, r.stride, r.lanes) }
            return i + const(offset, i.dtype)
        }
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.kind == .variable {
            // A plain pointer: of the whole piece, which begins where the buffer did.
            let v = unsafeDowncast(e, to: Var.self)
            return pointers[v] ?? e
        }
        let n = mutateChildren(of: e)
        guard let l = n as? BufferLoad, let (b, offset) = replaced[l.buffer] else { return n }
        return BufferLoad(b, shifted(l.indices, offset))
    }

    private lazy var pointers: [Var: PrimExpr] = {
        var map: [Var: PrimExpr] = [:]
        for (old, new) in replaced where new.buffer.data !== old.data && new.offset == 0 {
            map[old.data] = new.buffer.data
        }
        for (old, new) in replaced where new.offset != 0 {
            map[old.data] = intrinsic(
                "address_of", .handle, [BufferLoad(new.buffer, [IntImm(new.offset)])])
        }
        return map
    }()
}

/// Lets allocations share memory. Of one storage scope and element type, those whose lives do not overlap take turns in
/// one piece; an element-wise result takes the place of an operand that dies with it; scopes with a `MemoryInfo` become
/// parts of one allocation. A life reaches from the first to the last access, or over the whole of a loop that the
/// allocation is outside of; memory whose address is handed on lives as long as it is allocated. Shared pieces are
/// allocated where the body of the function, of the parallel loop or of the thread begins: pieces are never shared
/// between threads. Registers (`local`, `warp`) and allocations of symbolic size stay as they are.
///
/// Needs one-dimensional buffers and no blocks. Throws TTR013 where a memory is too small. (TVM's StorageRewrite; vector
/// element types are the business of PointerValueTypeRewrite.)
public func storageRewrite(
    _ f: PrimFunc, options: StorageRewriteOptions = StorageRewriteOptions()
) throws -> PrimFunc {
    try f.rewritingBody { (body: Stmt) throws -> Stmt in
        let finder = LifeFinder()
        finder.visit(body)
        if finder.lives.count < 2 { return body }
        let rewriter = try StorageRewriter(StoragePlan(finder, options), options)
        return rewriter.changesNothing ? body : rewriter.run(body)
    }
}

/// Bytes allocated in a function, sums over all allocations of constant size: what sharing reduces.
public func allocatedBytes(_ f: PrimFunc) -> Int {
    var total = 0
    func add(_ b: Buffer) {
        guard let shape = b.staticShape else { return }
        var n = b.dtype.byteCount
        for d in shape { n = n.multipliedReportingOverflow(by: d).partialValue }
        total = total.addingReportingOverflow(n).partialValue
    }
    withLargeStack {
        postOrderVisit(
            f.body,
            stmt: { s in
                if let a = s as? Allocate { add(a.buffer) }
                if let b = s as? Block { for a in b.allocBuffers { add(a) } }
            })
    }
    return total
}

extension TIRPasses {
    public static let storageRewrite = primFuncPass(
        PassInfo("tir.StorageRewrite", "allocations whose lives do not overlap share memory", level: 1)
    ) { f, _, _ in try ApusTIRTransforms.storageRewrite(f) }
}
