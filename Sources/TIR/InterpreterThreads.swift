import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

// Threads of a device as coroutines: where a thread-bound loop has a barrier or another collective operation inside,
// its iterations run side by side, each up to the barrier, then each on to the next one. A loop without any runs its
// iterations in order, which no program without a barrier can tell apart unless it has a race (`Options.detectRaces`).

/// How far a barrier reaches.
enum TIRWait {
    /// The threads of a block.
    case block
    /// All blocks.
    case grid
}

/// One of several threads that run side by side.
final class TIRThread {
    /// Whether it is a thread of a block (and not a block of a grid).
    let inBlock: Bool
    var coroutine: Coroutine?
    /// What it pauses for.
    var wait: TIRWait?
    var error: (any Error)?
    var isCancelled = false

    init(inBlock: Bool) { self.inBlock = inBlock }

    var isDone: Bool { coroutine?.isDone ?? true }
}

/// Unwinds a thread that nobody needs any more; never seen outside.
struct TIRCancelled: Error {}

/// Where a thread is in its block.
struct TIRPosition {
    var index = [0, 0, 0]
    var extent = [1, 1, 1]
    /// x varies fastest.
    var linear: Int { index[0] + extent[0] * (index[1] + extent[1] * index[2]) }
    var count: Int { extent[0] * extent[1] * extent[2] }
}

/// What the threads of one block share.
final class TIRBlockMemory {
    struct Site: Hashable {
        let buffer: ObjectIdentifier
        let bytes: Int
        /// The warp, for memory of warps; -1 for that of the block.
        let warp: Int
    }
    var memory: [Site: NDArray] = [:]
    /// Values that threads show each other, by the parity of the round.
    var exchange: [[Int: [TIRValue]]] = [[:], [:]]
}

/// A loop whose iterations run at once, for finding races: `epoch` counts its barriers.
final class TIRRegion {
    var epoch = 0
}

/// The iterations of parallel loops that an access belongs to, innermost first.
final class TIRPath {
    let parent: TIRPath?
    let region: TIRRegion
    let iteration: Int

    init(_ parent: TIRPath?, _ region: TIRRegion, _ iteration: Int) {
        self.parent = parent
        self.region = region
        self.iteration = iteration
    }

    /// (region, epoch, iteration) from the outermost in.
    var steps: [TIRRaces.Step] {
        var list: [TIRRaces.Step] = []
        var at: TIRPath? = self
        while let p = at {
            list.append(TIRRaces.Step(region: p.region, epoch: p.region.epoch, iteration: p.iteration))
            at = p.parent
        }
        return list.reversed()
    }
}

/// Finds accesses of one element by two iterations that run at once, one of them a write.
final class TIRRaces {
    struct Step {
        let region: TIRRegion
        let epoch: Int
        let iteration: Int
    }
    private struct Cell {
        var write: [Step]?
        /// The first and the last reader since the last write.
        var firstRead: [Step]?
        var lastRead: [Step]?
    }
    private var cells: [UInt: Cell] = [:]

    /// Whether nothing orders the two.
    private static func atOnce(_ a: [Step]?, _ b: [Step]) -> Bool {
        guard let a else { return false }
        for (x, y) in zip(a, b) {
            if x.region !== y.region || x.epoch != y.epoch { return false }
            if x.iteration != y.iteration { return true }
        }
        return false
    }

    func access(_ p: UnsafeMutableRawPointer, _ path: TIRPath?, isWrite: Bool, _ label: String) throws {
        let now = path?.steps ?? []
        var cell = cells[UInt(bitPattern: p)] ?? Cell()
        var other = TIRRaces.atOnce(cell.write, now) ? "written" : nil
        if isWrite, other == nil,
            TIRRaces.atOnce(cell.firstRead, now) || TIRRaces.atOnce(cell.lastRead, now)
        {
            other = "read"
        }
        if let other {
            throw ApusError(
                "TIR170", "a data race on `\(label)`", expected: "no access by iterations that run at once",
                actual: "an element \(other) by one is \(isWrite ? "written" : "read") by another",
                hint: "put a barrier between them, or run the loop in order")
        }
        if isWrite {
            cell = Cell(write: now)
        } else {
            if cell.firstRead == nil { cell.firstRead = now }
            cell.lastRead = now
        }
        cells[UInt(bitPattern: p)] = cell
    }

    /// Fresh memory has no history.
    func forget(_ p: UnsafeMutableRawPointer, _ bytes: Int) {
        if cells.isEmpty { return }
        let lo = UInt(bitPattern: p)
        if bytes < cells.count {
            for i in 0..<bytes { cells[lo &+ UInt(i)] = nil }
        } else {
            cells = cells.filter { $0.key < lo || $0.key >= lo &+ UInt(bytes) }
        }
    }
}

extension TIRRunContext {
    /// Waits for the other threads; alone, there is nothing to wait for.
    func barrier(_ wait: TIRWait) throws {
        guard let me = current, let coroutine = me.coroutine else { return }
        // A block waits for its own threads only, which are not here.
        if wait == .block && !me.inBlock { return }
        me.wait = wait
        coroutine.pause()
        if me.isCancelled { throw TIRCancelled() }
    }

    /// Runs `count` threads side by side; `start` makes the work of one.
    func together(
        _ count: Int, inBlock: Bool, _ region: TIRRegion?, _ start: (Int) -> (() throws -> Void)
    ) throws {
        let outer = current
        var threads: [TIRThread] = []
        defer {
            for t in threads where !t.isDone {
                t.isCancelled = true
                while !t.isDone {
                    current = t
                    t.coroutine?.resume()
                }
            }
            // Each holds on to what runs it.
            for t in threads { t.coroutine = nil }
            current = outer
        }
        for k in 0..<count {
            let work = start(k)
            let t = TIRThread(inBlock: inBlock)
            t.coroutine = Coroutine { _ in
                if t.isCancelled { return }
                do { try work() } catch { t.error = error }
            }
            guard t.coroutine != nil else {
                throw ApusError(
                    "TIR171", "no memory for so many threads that wait for each other", actual: "\(count)")
            }
            threads.append(t)
        }
        var returned = 0
        while true {
            var waits: [TIRWait] = []
            for t in threads where !t.isDone {
                t.wait = nil
                current = t
                t.coroutine?.resume()
                current = outer
                if t.error is TIRReturn {
                    returned += 1
                    t.error = nil
                }
                if let e = t.error { throw e }
                if !t.isDone { waits.append(t.wait ?? .block) }
            }
            guard let kind = waits.first else { break }
            if waits.count != count || waits.contains(where: { $0 != kind }) {
                throw ApusError(
                    "TIR169", "a barrier that not all threads reach",
                    expected: "\(count) threads at one barrier",
                    actual: "\(waits.filter { $0 == kind }.count)")
            }
            // The threads of this loop are a part of those that the barrier holds back.
            if let outer, kind == .grid || (inBlock && outer.inBlock) { try barrier(kind) }
            region?.epoch += 1
        }
        if returned == count && count > 0 { throw TIRReturn() }
    }
}

extension TIRCompiler {
    /// A loop over threads: `slots` get the index of the thread.
    func threadLoop(
        _ slots: [Int], _ tag: String, _ lo: @escaping IntFn, _ extent: @escaping IntFn, variables: [Var],
        _ inner: Stmt
    ) throws -> Run {
        let axis = ThreadScope.find(tag) ?? ThreadScope(rank: 1, dimension: 0)
        let inBlock = axis.rank == 1
        let before = (blockCollectives, gridCollectives, threadLocals)
        let locals = inBlock && axis.dimension >= 0 ? threadLocals : []
        if inBlock {
            threadDepth += 1
            threadLocals = []
            if axis.dimension >= 0 {
                for v in variables { threadDimension[ObjectIdentifier(v)] = axis.dimension }
            }
        }
        defer {
            if inBlock { threadDepth -= 1 }
            threadLocals = before.2
        }
        let body = try stmt(inner)
        let together =
            axis.dimension >= 0
            && (gridCollectives > before.1 || (inBlock && blockCollectives > before.0))
        let dimension = axis.dimension
        /// Sets up one thread in its frame.
        func enter(_ f: TIRFrame, _ first: Int, _ k: Int, _ n: Int, _ region: TIRRegion?, _ parent: TIRPath?)
            throws
        {
            try f.context.step()
            for s in slots { f.ints[s] = first &+ k }
            if let region { f.path = TIRPath(parent, region, k) }
            guard inBlock, dimension >= 0 else { return }
            f.position.index[dimension] = k
            f.position.extent[dimension] = n
            for slot in locals { f.handles[slot] = try f.handles[slot].copy(of: k) }
        }
        return { f in
            let first = try lo(f)
            let count = try extent(f)
            let context = f.context
            let region = dimension >= 0 && (context.races != nil) ? TIRRegion() : nil
            let (block, path, position) = (f.block, f.path, f.position)
            defer { (f.block, f.path, f.position) = (block, path, position) }
            if inBlock && block == nil { f.block = TIRBlockMemory() }
            if together {
                try context.together(count, inBlock: inBlock, region) { k in
                    let mine = f.copy()
                    return {
                        try enter(mine, first, k, count, region, path)
                        try body(mine)
                    }
                }
                return
            }
            let outside = locals.map { f.handles[$0] }
            defer { for (slot, h) in zip(locals, outside) { f.handles[slot] = h } }
            var k = 0
            while k < count {
                for (slot, h) in zip(locals, outside) { f.handles[slot] = h }
                try enter(f, first, k, count, region, path)
                try body(f)
                k += 1
            }
        }
    }

    // MARK: Collective operations

    /// Shows `values` to the threads of the block and returns what each of them shows.
    private static func exchanged(_ f: TIRFrame, _ values: [TIRValue]) throws -> [Int: [TIRValue]] {
        guard let block = f.block, f.context.current != nil else { return [f.position.linear: values] }
        // All read round r before any writes round r + 2, for the barrier of r + 1 lies between.
        let parity = f.round & 1
        f.round += 1
        block.exchange[parity][f.position.linear] = values
        try f.context.barrier(.block)
        return block.exchange[parity]
    }

    /// `warp_shuffle(mask, value, lane, width, warp size)` and its relatives, CUDA's included.
    func shuffle(_ name: String, _ c: Call) throws -> Code {
        blockCollectives += 1
        var args = c.args
        var warp: PrimExpr = IntImm(context.options.warpSize)
        if name.hasPrefix("warp_") { warp = args.removeLast() }
        if name.hasPrefix("warp_") || name.hasSuffix("_sync") { args.removeFirst() }
        let value = try expr(args[0])
        let by = try int(args[1])
        let width = try int(args[2])
        let size = try int(warp)
        let isUp = name.contains("_up")
        let isDown = name.contains("_down")
        /// The thread whose value is taken.
        let source: IntFn = { f in
            let n = Swift.max(try size(f), 1)
            let w = Swift.min(Swift.max(try width(f), 1), n)
            let me = f.position.linear
            let lane = me % n
            let begin = lane / w * w
            let d = try by(f)
            var from = isUp ? lane &- d : (isDown ? lane &+ d : begin &+ (floorModulo(d, w) ?? 0))
            if from < begin || from >= begin + w { from = lane }
            return me - lane + from
        }
        switch value {
        case .int(let g):
            return .int { f in
                let mine = try g(f)
                let from = try source(f)
                guard case .int(let v)? = try TIRCompiler.exchanged(f, [.int(mine)])[from]?.first else {
                    return mine
                }
                return v
            }
        case .float(let g):
            return .float { f in
                let mine = try g(f)
                let from = try source(f)
                guard case .float(let v)? = try TIRCompiler.exchanged(f, [.float(mine)])[from]?.first else {
                    return mine
                }
                return v
            }
        default: throw ApusError("TIR162", "only scalars go from lane to lane", actual: "\(c)")
        }
    }

    /// The lanes of this warp that exist, as bits.
    func activeMask() -> Code {
        let size = context.options.warpSize
        return .int { f in
            let begin = f.position.linear / size * size
            let n = Swift.min(f.position.count - begin, size)
            return n >= 64 ? -1 : (1 << Swift.max(n, 1)) - 1
        }
    }

    /// `thread_allreduce(n, values…, condition, outputs…, axes…)` in the scope of its reducer.
    func allReduce(_ c: Call) throws -> Run {
        func malformed(_ expected: String) -> ApusError {
            ApusError("TIR162", "malformed call of thread_allreduce", expected: expected, actual: "\(c)")
        }
        guard let reducer, let n = c.args.first?.asInt, n >= 1, n == reducer.result.count,
            c.args.count >= 2 * n + 2
        else { throw malformed("a reducer in a reduce_scope around it, with as many values") }
        blockCollectives += 1
        let values = try c.args[1...n].map { try expr($0) }
        let holds = try int(c.args[n + 1])
        let identity = try reducer.identity.map { try expr($0) }
        let axes = try c.args[(2 * n + 2)...].map { a -> Int in
            guard let v = a as? Var, let d = threadDimension[ObjectIdentifier(v)] else {
                throw malformed("thread axes around it")
            }
            return d
        }
        for v in reducer.lhs + reducer.rhs { define(v) }
        let left = try reducer.lhs.map { try slot($0) }
        let right = try reducer.rhs.map { try slot($0) }
        let result = try reducer.result.map { try expr($0) }
        let types = reducer.lhs.map(\.dtype)
        var stores: [Run] = []
        for i in 0..<n {
            let a = c.args[n + 2 + i]
            let target = (a as? BufferLoad) ?? ((a as? Call)?.args.first as? BufferLoad)
            guard let target else { throw malformed("addresses of elements as outputs") }
            stores.append(try store(target.buffer, target.indices, try expr(reducer.lhs[i])))
        }
        func value(_ c: Code, _ f: TIRFrame) throws -> TIRValue {
            switch c {
            case .int(let g): return .int(try g(f))
            case .float(let g): return .float(try g(f))
            default: throw ApusError("TIR162", "only scalars are reduced over threads")
            }
        }
        return { f in
            let counts = try holds(f) != 0
            let mine = try (counts ? values : identity).map { try value($0, f) }
            let all = try TIRCompiler.exchanged(f, mine)
            for (s, (v, t)) in zip(left, zip(identity, types)) { try f.set(s, try value(v, f), t) }
            for thread in all.keys.sorted() {
                // The threads that differ from this one along the axes only.
                var rest = thread
                var belongs = true
                for d in 0..<3 {
                    let i = rest % f.position.extent[d]
                    rest /= f.position.extent[d]
                    if !axes.contains(d) && i != f.position.index[d] { belongs = false }
                }
                guard belongs, let theirs = all[thread] else { continue }
                for (s, (v, t)) in zip(right, zip(theirs, types)) { try f.set(s, v, t) }
                let next = try result.map { try value($0, f) }
                for (s, (v, t)) in zip(left, zip(next, types)) { try f.set(s, v, t) }
            }
            for s in stores { try s(f) }
        }
    }
}

extension TIRHandle {
    /// The memory of thread `k` where each has its own, its contents those of the whole when it is first asked for.
    func copy(of k: Int) throws -> TIRHandle {
        guard let storage, base != nil else { return self }
        let own: TIRStorage
        if let known = storage.copies[k] {
            own = known
        } else {
            let array = try NDArray.allocate(shape: storage.owner.shape, dtype: storage.owner.dtype)
            array.data.copyMemory(from: storage.owner.data, byteCount: array.byteCount)
            own = TIRStorage(array)
            storage.copies[k] = own
        }
        var h = self
        h.storage = own
        h.base = own.owner.data
        return h
    }
}
