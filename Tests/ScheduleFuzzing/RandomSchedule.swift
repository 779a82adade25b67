import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRSchedule
import ApusTestSupport

/// Applies random primitives to random blocks and loops; a schedule decides which of them are legal.
public struct RandomSchedule {
    /// What a run may use.
    public struct Options: Sendable {
        /// Loops bound to the thread axes of a device: the interpreter runs them, a CPU's code generator does not.
        public var threads: Bool
        /// Steps tried.
        public var steps: Int
        public var debugLevel: DebugLevel

        public init(threads: Bool = true, steps: Int = 14, debugLevel: DebugLevel = .none) {
            self.threads = threads
            self.steps = steps
            self.debugLevel = debugLevel
        }
    }

    private enum Refused: Error { case notApplicable }

    public var random: SeededRandom
    public let options: Options
    /// By primitive: how often it was tried and accepted.
    public private(set) var counts: [String: (tried: Int, accepted: Int)] = [:]
    /// By primitive and error code: how often it was refused.
    public private(set) var refusals: [String: Int] = [:]
    /// Errors that are no refusals of a schedule.
    public private(set) var problems: [String] = []

    public init(seed: UInt64, options: Options = Options()) {
        random = SeededRandom(seed: seed &* 0x1234_5678_9ABC_DEF1 &+ 3)
        self.options = options
    }

    /// A schedule of `function` after random steps.
    public mutating func run(_ function: PrimFunc, seed: UInt64) throws -> Schedule {
        let s = try Schedule(function, seed: Int(truncatingIfNeeded: seed >> 1))
        s.errorRenderLevel = .fast
        s.debugLevel = options.debugLevel
        for i in 0..<options.steps {
            let all =
                i * 3 < options.steps ? Self.early : (i * 3 < options.steps * 2 ? Self.middle : Self.late)
            guard let kind = random.pick(all) else { continue }
            try step(s, kind)
        }
        return s
    }

    private static let early = [
        "computeInline", "reverseComputeInline", "cacheRead", "cacheRead.readers", "cacheWrite", "reindex",
        "padEinsum",
        "transformLayout", "transformLayout", "transformLayout.pad", "transformBlockLayout", "unsafeSetDType",
        "decomposePadding", "reorderBlockIterVar", "split", "samplePerfectTile", "fuse", "reorder", "rfactor",
        "sampleComputeLocation", "setScope", "addUnitLoop", "tile", "sampleCategorical", "tensorize",
    ]
    private static let middle = [
        "split", "split", "samplePerfectTile", "fuse", "reorder", "reorder", "computeAt", "computeAt",
        "reverseComputeAt",
        "reverseComputeAt", "computeRoot", "rfactor", "rfactor", "decomposeReduction", "blockize",
        "blockize.list",
        "cacheRead", "cacheWrite", "transformLayout", "computeInline", "reverseComputeInline",
        "setStorePredicate",
        "sampleComputeLocation", "storageAlign", "transformBlockLayout", "decomposePadding", "addUnitLoop",
        "tile",
    ]
    private static let late = [
        "parallel", "parallel", "vectorize", "vectorize", "unroll", "unroll", "bind", "bind.vthread",
        "annotate",
        "unannotate", "pragma", "prefetch", "doubleBuffer", "softwarePipeline", "storageAlign", "setScope",
        "decomposeReduction", "computeAt", "reverseComputeAt", "setStorePredicate", "split", "fuse",
        "enterPostproc",
        "blockize", "tensorize", "tensorize", "fetch", "fetch", "bind.cooperative",
    ]

    private mutating func step(_ s: Schedule, _ kind: String) throws {
        counts[kind, default: (tried: 0, accepted: 0)].tried += 1
        do {
            try attempt(s, kind)
            counts[kind]?.accepted += 1
        } catch is Refused {
        } catch let e as ApusError {
            refusals["\(kind) \(e.code)", default: 0] += 1
            // SCH19x: the schedule's own check found a mistake.
            if !e.code.hasPrefix("SCH") || e.code.hasPrefix("SCH19") {
                problems.append("\(kind): \(e)")
                throw e
            }
        }
    }

    private mutating func pick<T>(_ list: [T]) throws -> T {
        guard let x = random.pick(list) else { throw Refused.notApplicable }
        return x
    }

    private func names(_ f: PrimFunc) -> [String] {
        var names: [String] = []
        postOrderVisit(f.body, stmt: { if let b = $0 as? Block, b.name != "root" { names.append(b.name) } })
        return names
    }

    /// Blocks that a primitive of few uses is likely to accept.
    private func candidates(_ f: PrimFunc, _ kind: String) -> [String] {
        switch kind {
        case "rfactor", "decomposeReduction", "padEinsum", "tensorize":
            var list: [String] = []
            postOrderVisit(
                f.body,
                stmt: { if let b = $0 as? Block, b.initial != nil, b.name != "root" { list.append(b.name) } })
            return list
        case "decomposePadding":
            var list: [String] = []
            postOrderVisit(
                f.body,
                stmt: { s in
                    guard let b = s as? Block, let w = b.body as? BufferStore, let c = w.value as? Call,
                        c.name == "tir.if_then_else"
                    else { return }
                    list.append(b.name)
                })
            return list
        default: return names(f)
        }
    }

    private mutating func attempt(_ s: Schedule, _ kind: String) throws {
        let b = try s.getBlock(pick(candidates(s.function, kind)))
        switch kind {
        case "computeInline": try s.computeInline(b)
        case "reverseComputeInline": try s.reverseComputeInline(b)
        case "computeRoot": try s.computeRoot(b)
        case "enterPostproc": s.enterPostproc()
        case "sampleComputeLocation": try s.computeAt(b, s.sampleComputeLocation(b))
        case "sampleCategorical":
            let v = try s.sampleCategorical([1, 2, 3, 4], weights: [1, 2, 1, 0.5])
            if random.below(2) == 0 {
                try s.annotate(b, "sampled", v)
            } else {
                try s.annotate(pick(s.getLoops(b)), "sampled", v)
            }
        case "cacheRead": try s.cacheRead(b, random.below(max(1, try s.get(b).reads.count)), scope())
        case "cacheRead.readers":
            let reads = try s.get(b).reads
            let n = random.below(max(1, reads.count))
            guard reads.indices.contains(n) else { throw Refused.notApplicable }
            var readers: [BlockRV] = []
            for x in names(s.function) {
                let other = try s.getBlock(x)
                if try s.get(other).reads.contains(where: { $0.buffer === reads[n].buffer }) {
                    readers.append(other)
                }
            }
            try s.cacheRead(b, n, scope(), readers: readers)
        case "cacheWrite": try s.cacheWrite(b, random.below(max(1, try s.get(b).writes.count)), scope())
        case "reindex":
            if random.below(2) == 0 {
                try s.reindex(b, random.below(max(1, try s.get(b).reads.count)), .read)
            } else {
                try s.reindex(b, 0, .write)
            }
        case "padEinsum": try s.padEinsum(b, try s.get(b).iterVars.map { _ in 1 + random.below(4) })
        case "decomposePadding": try s.decomposePadding(b, pick(s.getLoops(b)))
        case "unsafeSetDType": try s.unsafeSetDType(b, "float64")
        case "setScope": try s.setScope(b, scope: scope())
        case "storageAlign":
            let rank = try s.get(b).writes.first?.buffer.rank ?? 0
            try s.storageAlign(
                b, axis: random.below(max(1, rank)), factor: 1 + random.below(5), offset: random.below(4))
        case "doubleBuffer": try s.doubleBuffer(b)
        case "reorderBlockIterVar":
            var order = Array(try s.get(b).iterVars.indices)
            order.shuffle(using: &random)
            try s.reorderBlockIterVar(b, order)
        case "transformLayout", "transformLayout.pad":
            let block = try s.get(b)
            let use: BufferUse = random.below(2) == 0 ? .read : .write
            let list = use == .read ? block.reads : block.writes
            let n = random.below(max(1, list.count))
            guard list.indices.contains(n) else { throw Refused.notApplicable }
            let map = indexMap(list[n].buffer.shape.map { $0.asInt ?? 1 })
            try s.transformLayout(b, n, use, map, padValue: kind == "transformLayout" ? nil : 0)
        case "transformBlockLayout":
            try s.transformBlockLayout(b, indexMap(try s.get(b).iterVars.map { $0.dom.extent.asInt ?? 1 }))
        case "blockize.list":
            let scopeBlock = try s.getBlock("root")
            let children = try s.getChildBlocks(scopeBlock)
            let i = random.below(max(1, children.count))
            try s.blockize(Array(children[i..<min(children.count, i + 1 + random.below(2))]))
        case "unannotate":
            let keys = try s.get(b).annotations.entries.map(\.key).filter { $0 != "buffer_dim_align" }
            try s.unannotate(b, pick(keys))
        default: try attemptLoops(s, kind, b)
        }
    }

    private mutating func attemptLoops(_ s: Schedule, _ kind: String, _ b: BlockRV) throws {
        let loops = try s.getLoops(b)
        switch kind {
        case "addUnitLoop":
            if random.below(2) == 0 { try s.addUnitLoop(b) } else { try s.addUnitLoop(pick(loops)) }
        case "split":
            let n = 2 + random.below(3)
            let factors: [[Int?]] = [[nil, n], [n, nil], [nil, 2, n], [nil, n, 1]]
            try s.split(pick(loops), factors: pick(factors))
        case "samplePerfectTile":
            let l = try pick(loops)
            try s.split(l, factors: s.samplePerfectTile(l, n: 2 + random.below(2), maxInnermost: 8))
        case "tile":
            guard loops.count > 1 else { throw Refused.notApplicable }
            let i = random.below(loops.count - 1)
            try s.tile(loops[i], loops[i + 1], 2 + random.below(3), 2 + random.below(3))
        case "fuse":
            if loops.isEmpty {
                try s.fuse([], around: b)
            } else {
                let i = random.below(loops.count)
                try s.fuse(Array(loops[i...min(loops.count - 1, i + 1 + random.below(2))]))
            }
        case "reorder":
            guard loops.count > 1 else { throw Refused.notApplicable }
            var order = loops
            order.shuffle(using: &random)
            try s.reorder(Array(order.prefix(2 + random.below(order.count - 1))))
        case "computeAt":
            try s.computeAt(b, pick(s.getLoops(pick(s.getConsumers(b)))))
        case "reverseComputeAt":
            try s.reverseComputeAt(b, pick(s.getLoops(pick(s.getProducers(b)))))
        case "rfactor": try s.rfactor(pick(loops), factorAxis: random.below(3))
        case "decomposeReduction": try s.decomposeReduction(b, pick(loops))
        case "blockize": try s.blockize(pick(loops))
        case "tensorize":
            try s.tensorize(pick(loops), FuzzIntrinsics.names[random.below(FuzzIntrinsics.names.count)])
        case "setStorePredicate": try s.setStorePredicate(b, pick(loops), equals: random.below(2))
        case "parallel": try s.parallel(pick(loops))
        case "vectorize": try s.vectorize(loops.last ?? pick(loops))
        case "unroll": try s.unroll(pick(loops))
        case "bind":
            guard options.threads else { throw Refused.notApplicable }
            try s.bind(pick(loops), thread: pick(["blockIdx.x", "blockIdx.y", "threadIdx.x", "threadIdx.y"]))
        case "bind.cooperative":
            guard options.threads else { throw Refused.notApplicable }
            let tags = try loops.compactMap { try s.get($0).threadBinding?.threadTag }
            try s.bind(pick(loops), thread: pick(tags.filter { $0.hasPrefix("threadIdx") }))
        case "fetch":
            guard options.threads else { throw Refused.notApplicable }
            try fetch(s, b, loops)
        case "bind.vthread":
            try s.bind(pick(loops), thread: pick(["vthread", "vthread.x", "cthread"]))
        case "annotate":
            if random.below(2) == 0 {
                try s.annotate(b, "note", .ints([1, 2]))
            } else {
                try s.annotate(pick(loops), "note", .string("x"))
            }
        case "pragma": try s.pragma(pick(loops), "auto_unroll_max_step", .int(random.below(3) * 8))
        case "prefetch": try s.prefetch(b, 0, pick(loops), offset: random.below(3))
        case "softwarePipeline":
            let l = try pick(loops)
            let n = (try s.get(l).body as? SeqStmt)?.stmts.count ?? 1
            var stage = 0
            var stages: [Int] = []
            for _ in 0..<n {
                stages.append(stage)
                stage += random.below(2)
            }
            try s.softwarePipeline(l, stages: stages, order: Array(0..<n))
        default: throw Refused.notApplicable
        }
    }

    /// Threads that read a block's input from memory that they fill together.
    private mutating func fetch(_ s: Schedule, _ b: BlockRV, _ loops: [LoopRV]) throws {
        let copy = try s.cacheRead(b, random.below(max(1, try s.get(b).reads.count)), "shared")
        var bound: [(tag: String, extent: Int)] = []
        for (l, tag) in zip(loops.shuffled(using: &random), ["threadIdx.x", "threadIdx.y"])
        where random.below(4) > 0 {
            let n = try s.get(l).extent.asInt ?? 1
            do {
                try s.bind(l, thread: tag)
                bound.append((tag: tag, extent: n))
            } catch is ApusError {}
        }
        try s.computeAt(copy, pick(loops))
        var own = Array(try s.getLoops(copy).filter { l in !loops.contains { $0.id == l.id } })
        let shared = try Set(loops.map { try s.get($0).loopVar })
        own = try own.filter { try !shared.contains(s.get($0).loopVar) }
        if own.count > 1, random.below(2) == 0 { own = [try s.fuse(own)] }
        for (tag, n) in bound where random.below(4) > 0 {
            guard let l = own.last else { break }
            own.removeLast()
            if random.below(3) == 0 {
                try s.bind(l, thread: tag)
            } else {
                let parts = try s.split(l, factors: [nil, n])
                own.append(parts[0])
                try s.bind(parts[1], thread: tag)
            }
        }
    }

    private mutating func scope() -> String { ["global", "global", "local", "shared"][random.below(4)] }

    /// A map of a shape: a permutation, with one dimension split, or two fused.
    private mutating func indexMap(_ shape: [Int]) -> IndexMap {
        let vars = shape.indices.map { Var("i\($0)") }
        var list: [PrimExpr] = vars
        if !list.isEmpty, random.below(3) > 0 {
            let d = random.below(list.count)
            let n = 2 + random.below(3)
            list.replaceSubrange(d...d, with: [floorDiv(vars[d], n), floorMod(vars[d], n)])
        } else if list.count > 1, random.below(2) == 0 {
            let d = random.below(list.count - 1)
            list.replaceSubrange(d...(d + 1), with: [vars[d] * shape[d + 1] + vars[d + 1]])
        }
        if random.below(2) == 0 { list.shuffle(using: &random) }
        return IndexMap(vars, list)
    }
}

/// Intrinsics that random programs happen to fit: copies and scalings of short rows.
public enum FuzzIntrinsics {
    public static let names = ["fuzz.madd1", "fuzz.madd2", "fuzz.madd4"]

    /// Makes them known. Idempotent.
    public static func registerAll() throws {
        for n in [1, 2, 4] { TensorIntrin.register(try multiplyAdd(n)) }
    }

    /// `c[0] += a[k] * b[k]` over n, float32: as a loop, and written out.
    private static func multiplyAdd(_ n: Int) throws -> TensorIntrin {
        func function(strided: Bool, _ body: (Buffer, Buffer, Buffer) -> Stmt) -> PrimFunc {
            func buffer(_ name: String, _ size: Int) -> Buffer {
                if !strided { return Buffer(name, [size]) }
                return Buffer(
                    data: Var(name, type: PointerType(PrimType(.float32))), dtype: .float32,
                    shape: [const(size)],
                    strides: [Var("\(name)_s")], elemOffset: Var("\(name)_o"), name: name)
            }
            let (a, b, c) = (buffer("a", n), buffer("b", n), buffer("c", 1))
            return PrimFunc(buffers: [a, b, c], body: BlockRealize([], Block("root", body: body(a, b, c))))
        }
        let zero: [PrimExpr] = [const(0)]
        let description = function(strided: false) { a, b, c in
            let (k, v) = (Var("k"), Var("vk"))
            let body = BufferStore(c, BufferLoad(c, zero) + BufferLoad(a, [v]) * BufferLoad(b, [v]), zero)
            let block = Block("madd", iterVars: [IterVar(IRRange(0, extent: n), v, .commReduce)], body: body)
            return For(k, const(0), const(n), body: BlockRealize([k], block))
        }
        let implementation = function(strided: true) { a, b, c in
            var sum: PrimExpr = BufferLoad(c, zero)
            for i in 0..<n { sum = sum + BufferLoad(a, [const(i)]) * BufferLoad(b, [const(i)]) }
            return BufferStore(c, sum, zero)
        }
        return try TensorIntrin("fuzz.madd\(n)", description: description, implementation: implementation)
    }
}
