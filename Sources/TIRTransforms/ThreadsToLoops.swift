import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// One kernel as loops: a loop over the threads around each part between two barriers.
private final class ThreadSerialiser: StmtExprMutator {
    /// The axes that run as loops around the parts, outermost first.
    private let axes: [For]
    private let total: PrimExpr
    /// The number of this thread: the first axis of the x, y, z order varies fastest.
    private let id: PrimExpr
    private let group: PrimExpr
    private let analyzer: Analyzer
    /// Memory of one thread (or block) as a part of an array over all: by the old data pointer.
    private var expanded: [Var: (data: Var, bytes: PrimExpr, copies: PrimExpr, id: PrimExpr)] = [:]
    private var lets: [Var: PrimExpr] = [:]
    private var varying: Set<Var>

    /// `grid`: blocks wait for each other, so that they run like threads; `blocks`, `threads`: the axes.
    init(blocks: [For], threads: [For], grid: Bool, analyzer: Analyzer) {
        self.analyzer = analyzer
        func number(_ loops: [For]) -> (total: PrimExpr, id: PrimExpr) {
            let sorted = loops.sorted {
                ($0.threadBinding?.threadTag ?? "") < ($1.threadBinding?.threadTag ?? "")
            }
            var total: PrimExpr = IntImm(1)
            var id: PrimExpr = IntImm(0)
            for l in sorted {
                id = id + cast(.index, l.loopVar - l.min) * total
                total = total * cast(.index, l.extent)
            }
            return (analyzer.simplify(total), analyzer.simplify(id))
        }
        let inner = number(threads)
        let outer = grid ? number(blocks) : (total: IntImm(1), id: IntImm(0))
        axes = (grid ? blocks : []) + threads
        group = outer.id
        total = analyzer.simplify(outer.total * inner.total)
        id = analyzer.simplify(outer.id * inner.total + inner.id)
        groups = outer.total
        varying = Set(axes.flatMap { l in [l.loopVar] + (l.threadBinding.map { [$0.variable] } ?? []) })
    }
    private let groups: PrimExpr

    // MARK: Parts

    private func waits(_ s: Stmt) -> Bool {
        var found = false
        postOrderVisit(s, expr: { e in if ThreadSerialiser.isCollective(e) { found = true } })
        return found
    }

    static func isCollective(_ e: PrimExpr) -> Bool {
        guard let c = e as? Call else { return false }
        switch c.name {
        case "tir.storage_sync", "tir.warp_shuffle", "tir.warp_shuffle_up", "tir.warp_shuffle_down",
            "tir.global_barrier_kinit", "tir.thread_allreduce":
            return true
        default: return false
        }
    }

    private func refuse(_ what: String) -> ApusError {
        ApusError(
            "TTR073", "threads that wait for each other cannot become loops here", actual: what,
            hint: "barriers and shuffles must stand where all threads come")
    }

    /// All threads, one after another.
    private func forAll(_ s: Stmt) -> Stmt {
        var body = mutate(s)
        for l in axes.reversed() { body = For(l.loopVar, l.min, l.extent, .serial, body: body) }
        return axes.isEmpty ? body : renamed(body)
    }

    /// The loops' variables anew: each part has loops of its own.
    private func renamed(_ s: Stmt) -> Stmt {
        var map: [Var: PrimExpr] = [:]
        var result = s
        var loops: [For] = []
        for _ in axes {
            guard let l = result as? For else { break }
            loops.append(l)
            result = l.body
        }
        var fresh: [Var] = []
        for (l, a) in zip(loops, axes) {
            let v = Var(l.loopVar.name, type: l.loopVar.type)
            fresh.append(v)
            map[l.loopVar] = v
            if let t = a.threadBinding?.variable { map[t] = v }
        }
        result = substitute(result, map)
        for (l, v) in zip(loops, fresh).reversed() { result = For(v, l.min, l.extent, .serial, body: result) }
        return result
    }

    func parts(_ s: Stmt) throws -> Stmt {
        if !waits(s) { return forAll(s) }
        switch s.stmtKind {
        case .seq:
            var list: [Stmt] = []
            var run: [Stmt] = []
            for p in unsafeDowncast(s, to: SeqStmt.self).stmts {
                if waits(p) {
                    if !run.isEmpty { list.append(forAll(SeqStmt.flat(run))) }
                    run = []
                    list.append(try parts(p))
                } else {
                    run.append(p)
                }
            }
            if !run.isEmpty { list.append(forAll(SeqStmt.flat(run))) }
            return SeqStmt.flat(list)
        case .forLoop:
            let l = unsafeDowncast(s, to: For.self)
            guard !varies(l.min), !varies(l.extent) else { throw refuse("the loop \(l.loopVar.name)") }
            return For(
                l.loopVar, mutate(l.min), mutate(l.extent), l.forKind, body: try parts(l.body),
                threadBinding: l.threadBinding, annotations: l.annotations)
        case .whileLoop:
            let w = unsafeDowncast(s, to: While.self)
            guard !varies(w.condition) else { throw refuse("while \(w.condition)") }
            return While(mutate(w.condition), try parts(w.body))
        case .ifThenElse:
            let i = unsafeDowncast(s, to: IfThenElse.self)
            guard !varies(i.condition) else { throw refuse("if \(i.condition)") }
            return IfThenElse(
                mutate(i.condition), try parts(i.thenCase), try i.elseCase.map { try parts($0) })
        case .allocate:
            let a = unsafeDowncast(s, to: Allocate.self)
            return try allocate(a) { try self.parts($0) }
        case .attr:
            let a = unsafeDowncast(s, to: AttrStmt.self)
            return AttrStmt(a.node, a.key, mutate(a.value), try parts(a.body))
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            return try hoisting(l.value) { value in
                // What differs between threads is kept for each of them.
                guard self.varies(value) else {
                    return LetStmt(l.variable, self.mutate(value), try self.parts(l.body))
                }
                return try self.kept(value, l.variable.name) { v in
                    self.lets[l.variable] = v
                    return try self.parts(l.body)
                }
            }
        case .bufferStore:
            let b = unsafeDowncast(s, to: BufferStore.self)
            return try hoisting([b.value] + b.indices) { e in
                self.forAll(BufferStore(b.buffer, e[0], Array(e.dropFirst())))
            }
        case .evaluate:
            let e = unsafeDowncast(s, to: Evaluate.self).value
            if let c = e as? Call, c.name == "tir.storage_sync" || c.name == "tir.global_barrier_kinit" {
                return Evaluate.noOp
            }
            return try hoisting(e) { self.forAll(Evaluate($0)) }
        case .assert:
            let a = unsafeDowncast(s, to: AssertStmt.self)
            return try hoisting(a.condition) { self.forAll(AssertStmt($0, code: a.code, a.message)) }
        case .block, .blockRealize: throw refuse("a block")
        }
    }

    private func varies(_ e: PrimExpr) -> Bool {
        var found = false
        postOrderVisit(e) { x in
            if let v = x as? Var, self.varying.contains(v) || self.lets[v] != nil { found = true }
            if let l = x as? BufferLoad,
                MemoryRank(l.buffer.scope) > .shared || self.expanded[l.buffer.data] != nil
            {
                found = true
            }
            if let c = x as? Call, effect(of: c) == .updateState { found = true }
        }
        return found
    }

    // MARK: Memory of threads

    private func allocate(_ a: Allocate, _ inside: (Stmt) throws -> Stmt) throws -> Stmt {
        let b = a.buffer
        let rank = MemoryRank(b.scope)
        let copies: PrimExpr
        let number: PrimExpr
        if rank > .shared {
            (copies, number) = (total, id)
        } else if rank == .shared && !groups.isOne {
            (copies, number) = (groups, group)
        } else {
            return Allocate(b, try inside(a.body))
        }
        var count: PrimExpr = IntImm(1)
        for d in b.shape { count = count * d }
        guard b.strides.isEmpty, b.elemOffset.isZero else { throw refuse("memory \(b.name) with strides") }
        let all = Buffer(b.name, [analyzer.simplify(count * copies)], b.dtype)
        expanded[b.data] = (
            data: all.data, bytes: analyzer.simplify(count * b.dtype.byteCount), copies: copies, id: number
        )
        return Allocate(all, try inside(a.body))
    }

    /// `value` of each thread in an array, for what comes after a barrier.
    private func kept(_ value: PrimExpr, _ name: String, _ body: (PrimExpr) throws -> Stmt) throws -> Stmt {
        let b = Buffer(name, [total], value.dtype)
        let store = forAll(BufferStore(b, value, [id]))
        return Allocate(b, SeqStmt.flat([store, try body(BufferLoad(b, [id]))]))
    }

    // MARK: Shuffles

    private func hoisting(_ e: PrimExpr, _ body: (PrimExpr) throws -> Stmt) throws -> Stmt {
        try hoisting([e]) { try body($0[0]) }
    }

    /// `body` with each shuffle in the expressions replaced by what it gives: all threads' values are written first, then
    /// each reads the one that it asks for.
    private func hoisting(_ list: [PrimExpr], _ body: ([PrimExpr]) throws -> Stmt) throws -> Stmt {
        guard let shuffle = list.lazy.compactMap({ self.innermost($0) }).first else { return try body(list) }
        guard !list.contains(where: { self.isGuarded(shuffle, in: $0) }) else { throw refuse("\(shuffle)") }
        return try kept(shuffle.args[1], "lanes") { value in
            guard let load = value as? BufferLoad else { throw self.refuse("\(shuffle)") }
            let from = self.source(shuffle)
            let got = BufferLoad(load.buffer, [from])
            return try self.hoisting(list.map { self.replace($0, shuffle, got) }, body)
        }
    }

    private func innermost(_ e: PrimExpr) -> Call? {
        var found: Call?
        postOrderVisit(e) { x in
            if found == nil, let c = x as? Call, c.name.hasPrefix("tir.warp_shuffle"), c.args.count == 5 {
                found = c
            }
        }
        return found
    }

    private func isGuarded(_ shuffle: Call, in e: PrimExpr) -> Bool {
        if let c = e as? Call, c.name == "tir.if_then_else" {
            if varies(c.args[0]) { return occurs(shuffle, in: c.args[1]) || occurs(shuffle, in: c.args[2]) }
        }
        var found = false
        forEachChild(of: e) { if isGuarded(shuffle, in: $0) { found = true } }
        return found
    }

    private func occurs(_ x: PrimExpr, in e: PrimExpr) -> Bool {
        var found = false
        postOrderVisit(e) { if $0 === x { found = true } }
        return found
    }

    private func replace(_ e: PrimExpr, _ old: PrimExpr, _ new: PrimExpr) -> PrimExpr {
        e === old ? new : mapChildren(of: e) { replace($0, old, new) }
    }

    /// The thread whose value a shuffle takes: within its group of `width` lanes, else its own.
    private func source(_ c: Call) -> PrimExpr {
        let amount = cast(.index, c.args[2])
        let width = cast(.index, c.args[3])
        let within = floorMod(floorMod(id, cast(.index, c.args[4])), width)
        let base = id - within
        switch c.name {
        case "tir.warp_shuffle_up": return select(GE(within, amount), id - amount, id)
        case "tir.warp_shuffle_down":
            return select(and(within + amount .< width, id + amount .< total), id + amount, id)
        default:
            let to = base + floorMod(amount, width)
            return select(to .< total, to, id)
        }
    }

    // MARK: Rewriting within a part

    private func view(_ b: Buffer) -> (buffer: Buffer, shift: PrimExpr)? {
        guard let x = expanded[b.data] else { return nil }
        let each = analyzer.simplify(floorDiv(x.bytes, b.dtype.byteCount))
        let all = Buffer(
            data: x.data, dtype: b.dtype, shape: [analyzer.simplify(each * x.copies)], name: b.name,
            alignment: b.alignment)
        return (all, analyzer.simplify(x.id * each))
    }

    private func index(_ b: Buffer, _ indices: [PrimExpr], _ shift: PrimExpr) -> PrimExpr {
        var sum: PrimExpr = b.elemOffset + shift
        guard let last = indices.last, let step = flatStrides(b).last else { return sum }
        for (i, s) in zip(indices.dropLast(), flatStrides(b)) { sum = sum + mutate(i) * s }
        return vectorAdd(vectorScale(mutate(last), step), sum)
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.kind == .variable { return lets[unsafeDowncast(e, to: Var.self)].map { mutate($0) } ?? e }
        if let l = e as? BufferLoad, let (b, shift) = view(l.buffer) {
            return BufferLoad(b, [index(l.buffer, l.indices, shift)])
        }
        if let c = e as? Call, c.name == "tir.warp_activemask" { return IntImm(0xFFFF_FFFF, dtype: .uint32) }
        return mutateChildren(of: e)
    }

    override func mutate(_ s: Stmt) -> Stmt {
        if let b = s as? BufferStore, let (new, shift) = view(b.buffer) {
            return BufferStore(new, mutate(b.value), [index(b.buffer, b.indices, shift)])
        }
        return mutateChildren(of: s)
    }
}

private final class ThreadLoopKernels: KernelMutator {
    let f: PrimFunc
    init(_ f: PrimFunc) { self.f = f }

    override func kernel(_ root: Stmt, _ nest: LaunchNest) throws -> Stmt {
        guard nest.isCanonical else {
            throw ApusError(
                "TTR053", "threads become loops in kernels of one loop an axis",
                hint: "run UnifyThreadBinding first"
            ).located(root.span)
        }
        var grid = false
        postOrderVisit(
            nest.body,
            expr: { e in
                if let c = e as? Call, c.name == "tir.storage_sync",
                    (c.args.first as? StringImm)?.value == "global"
                {
                    grid = true
                }
            })
        let serialiser = ThreadSerialiser(
            blocks: nest.blocks, threads: nest.threads, grid: grid, analyzer: shapeAnalyzer(f))
        // Shared memory, with blocks as loops outside of it.
        var body = nest.body
        for a in nest.allocations.reversed() { body = Allocate(a.buffer, body) }
        var result = try serialiser.whole(body)
        if grid { return result }
        for (i, l) in nest.blocks.enumerated().reversed() {
            result = For(
                l.loopVar, l.min, l.extent, i == 0 ? .parallel : .serial, body: substituteAxis(l, result))
        }
        return result
    }

    private func substituteAxis(_ l: For, _ s: Stmt) -> Stmt {
        guard let t = l.threadBinding?.variable else { return s }
        return substitute(s, [t: l.loopVar])
    }
}

extension ThreadSerialiser {
    /// The kernel, shared memory first.
    func whole(_ s: Stmt) throws -> Stmt {
        guard let a = s as? Allocate, MemoryRank(a.buffer.scope) <= .shared else { return try parts(s) }
        return try allocate(a) { try self.whole($0) }
    }
}

/// Runs thread-bound programs where there are no threads: blocks become a parallel loop, the threads of a block a loop
/// around each part between two barriers. Memory and values of a thread that live across a barrier become arrays over
/// all threads, shuffles a read of another's value. A barrier of the grid makes blocks run like threads.
///
/// The result is what interpreter and code generators for CPUs take. Throws TTR073 for barriers and shuffles that not
/// all threads reach. Needs kernels of one loop an axis, one index an access.
/// Source of the idea: J. Stratton et al., MCUDA: An efficient implementation of CUDA kernels for multi-core CPUs, 2008.
public func convertThreadsToLoops(_ f: PrimFunc) throws -> PrimFunc { try ThreadLoopKernels(f).run(f) }
