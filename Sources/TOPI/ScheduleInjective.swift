import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRSchedule

extension TOPI {
    /// What the generic CPU schedules need to know of the machine.
    public struct CPUScheduleOptions: Sendable {
        /// 32-bit floats in a vector register.
        public var lanes = 8
        /// Elements computed below which a loop stays on one thread: waking the others costs microseconds.
        public var parallelWork = 1 << 15

        public init() {}
        public init(lanes: Int, parallelWork: Int = 1 << 15) {
            self.lanes = lanes
            self.parallelWork = parallelWork
        }
    }

    /// A schedule of a whole function from these generic pieces: injective blocks inlined, chains over rows
    /// fused, the rest block by block. A block that a primitive refuses keeps its plain loops.
    public static func scheduleGeneric(
        _ function: PrimFunc, _ options: CPUScheduleOptions = CPUScheduleOptions()
    ) throws -> PrimFunc {
        var sch = try Schedule(function)
        sch.errorRenderLevel = .fast
        try inlineInjective(sch)
        if let rows = try scheduleRows(sch, options) { return likelyGuards(rows.function) }
        var done: Set<String> = []
        for name in try topBlocks(sch).map({ try sch.get($0).name }) where !done.contains(name) {
            if let tail = try scheduleBlock(&sch, name, options) { done.insert(tail) }
        }
        return likelyGuards(sch.function)
    }

    /// Schedules one block by the rules for reductions or for others; leaves its plain loops where a primitive refuses.
    /// Returns the name of a block that this settles too.
    static func scheduleBlock(
        _ sch: inout Schedule, _ name: String, _ options: CPUScheduleOptions
    ) throws -> String? {
        let attempt = sch.copy()
        do {
            let block = try attempt.getBlock(name)
            var tail: String?
            if try attempt.get(block).iterVars.contains(where: { $0.iterType == .commReduce }) {
                tail = try scheduleReduce(attempt, block, options)
            } else {
                try scheduleInjective(attempt, [block], options)
            }
            sch = attempt
            return tail
        } catch is ApusError {
            return nil
        }
    }

    /// The blocks directly under the root, in order of execution.
    static func topBlocks(_ sch: Schedule) throws -> [BlockRV] {
        try sch.getChildBlocks(try sch.getBlock("root"))
    }

    static func isOutput(_ sch: Schedule, _ block: BlockRV) throws -> Bool {
        let written = try sch.get(block).writes.map(\.buffer)
        return sch.function.bufferMap.contains { entry in written.contains { $0 === entry.buffer } }
    }

    /// Inlines every block of the tags elemwise, broadcast and injective that is not a result.
    public static func inlineInjective(_ sch: Schedule) throws {
        for block in try topBlocks(sch) {
            let tag = try sch.get(block).annotations.string("tag") ?? ""
            guard [Tag.elemwise, Tag.broadcast, Tag.injective].contains(tag), try !isOutput(sch, block) else {
                continue
            }
            do { try sch.computeInline(block) } catch is ApusError { continue }
        }
    }

    // MARK: Injective

    /// Schedules the last of `blocks` with the others inlined into it: the trailing axes along which every
    /// access is contiguous (or does not move at all) are one vectorised loop, the others run in parallel.
    public static func scheduleInjective(
        _ sch: Schedule, _ blocks: [BlockRV], _ options: CPUScheduleOptions = CPUScheduleOptions()
    ) throws {
        guard let last = blocks.last else { return }
        for b in blocks.dropLast() {
            do { try sch.computeInline(b) } catch is ApusError { continue }
        }
        let info = try sch.get(last)
        let loops = try sch.getLoops(last)
        guard loops.count == info.iterVars.count, !loops.isEmpty,
            info.iterVars.allSatisfy({ $0.iterType == .dataParallel })
        else { return }
        let width = vectorWidth(info, options)
        if info.annotations.string("tag") == Tag.pad {
            return try schedulePad(sch, info, loops, width, options)
        }
        let extents = info.iterVars.map { $0.dom.extent.asInt }
        guard let count = contiguousAxes(info) else {
            try scheduleScattered(sch, info, loops, width, options)
            return
        }
        let inner = Array(loops.suffix(count))
        let outer = Array(loops.dropLast(count))
        let flat = inner.count == 1 ? inner[0] : try sch.fuse(inner)
        guard let length = product(Array(extents.suffix(count))), length >= width else {
            try parallelise(sch, outer, work: product(extents), options)
            return
        }
        // Whole vectors where the extent allows, two at a time if it can.
        let lanes = length % (2 * width) == 0 ? 2 * width : width
        let parts = try sch.split(flat, factors: [nil, lanes])
        try sch.vectorize(parts[1])
        let rows = product(Array(extents.dropLast(count)))
        // (Rows fused with steps in them need divisions, whose results do not always come out as one run again.)
        if let rows, rows >= 8 {
            try parallelise(sch, outer, work: product(extents), options)
        } else {
            try parallelise(sch, outer + [parts[0]], work: product(extents), options)
        }
    }

    /// A block that reads apart what it writes together: a transposition goes tile by tile, so that every
    /// cache line read is used up while it is there; others gather vectors where the last axis holds whole
    /// ones.
    private static func scheduleScattered(
        _ sch: Schedule, _ info: Block, _ loops: [LoopRV], _ width: Int, _ options: CPUScheduleOptions
    ) throws {
        let extents = info.iterVars.map { $0.dom.extent.asInt }
        let work = product(extents)
        guard let last = extents[loops.count - 1] else {
            try parallelise(sch, loops, work: work, options)
            return
        }
        let accesses = accessesOf(info)
        // Arithmetic on positions is slower in lanes of 64 bits than in scalar loops.
        let loose = (info.body as? BufferStore).map { looseVariables($0.value, guards: false) } ?? []
        let isLoose = info.iterVars.last.map { loose.contains($0.variable) } ?? true
        if isLoose, last <= 16, nodeCount(of: info.body) <= 200 {
            // Positions in a block of channels that decide where it is read (a shuffle of channels): known for each
            // of them once it has code of its own.
            try sch.unroll(loops[loops.count - 1])
            try parallelise(sch, coarse(Array(loops.dropLast()), extents), work: work, options)
            return
        }
        let across = info.iterVars.dropLast().lastIndex { v in
            accesses.contains { a in a.indices.last.map { mentions($0, [v.variable]) } ?? false }
        }
        if let across, let tiles = try squareTiles(sch, info, loops, across) {
            try parallelise(sch, tiles, work: work, options)
            return
        }
        if let across, let other = extents[across], other >= 16, last >= 16, last % 16 == 0 || last >= 64 {
            let side = last % 16 == 0 || last % 8 != 0 ? 16 : 8
            let a = try sch.split(loops[across], factors: [nil, 16])
            let b = try sch.split(loops[loops.count - 1], factors: [nil, side])
            let rest = Array(loops[..<across]) + Array(loops[(across + 1)..<(loops.count - 1)])
            try sch.reorder(rest + [a[0], b[0], a[1], b[1]])
            if last % side == 0 { try sch.vectorize(b[1]) }
            try parallelise(sch, rest + [a[0]], work: work, options)
            return
        }
        if let across, let other = extents[across], other >= 16, last < 64 {
            // Short rows stay whole; a block of channels is read up while one row of it is in the cache.
            let a = try sch.split(loops[across], factors: [nil, 16])
            let rest = Array(loops[..<across]) + Array(loops[(across + 1)..<(loops.count - 1)])
            try sch.reorder(rest + [a[0], a[1], loops[loops.count - 1]])
            try parallelise(sch, rest + [a[0]], work: work, options)
            return
        }
        guard last % width == 0, !isLoose else {
            try parallelise(sch, coarse(loops, extents), work: work, options)
            return
        }
        let parts = try sch.split(loops[loops.count - 1], factors: [nil, width])
        try sch.vectorize(parts[1])
        try parallelise(sch, Array(loops.dropLast()) + [parts[0]], work: work, options)
    }

    /// Cuts a plain transposition of 32-bit elements into square tiles, whose rows are vectors that can be transposed in
    /// registers (`transposeTiles`); the loops around one column of tiles, or nil where it is none. Axes that are
    /// one run in memory, such as the two of an image, count as one.
    private static func squareTiles(
        _ sch: Schedule, _ info: Block, _ loops: [LoopRV], _ across: Int
    ) throws -> [LoopRV]? {
        guard let store = info.body as? BufferStore, let load = store.value as? BufferLoad,
            load.buffer.dtype.bits == 32
        else { return nil }
        let vars = info.iterVars.map(\.variable)
        let extents = info.iterVars.map { $0.dom.extent.asInt }
        // Axes that the read steps through as one: each covers its dimension, and nothing lies between.
        func isRun(_ a: Int, _ b: Int) -> Bool {
            let at = load.indices.firstIndex { $0 === vars[b] }
            guard let at, at > 0, load.indices[at - 1] === vars[a],
                sameDimension(load.buffer.shape[at], info.iterVars[b].dom.extent)
            else { return false }
            return !load.indices.enumerated().contains { i, e in
                i != at && i != at - 1 && mentions(e, [vars[a], vars[b]])
            }
        }
        // (The written axes are in order and whole, always.)
        var lastRun = loops.count - 1
        while lastRun - 1 > across, isRun(lastRun - 1, lastRun) { lastRun -= 1 }
        var acrossRun = across
        while acrossRun > 0, isRun(acrossRun - 1, acrossRun) { acrossRun -= 1 }
        guard let rows = product(Array(extents[lastRun...])),
            let columns = product(Array(extents[acrossRun...across])),
            let side = [16, 8, 4].first(where: { rows % $0 == 0 && columns % $0 == 0 })
        else { return nil }
        func fused(_ range: ClosedRange<Int>) throws -> LoopRV {
            range.count == 1 ? loops[range.lowerBound] : try sch.fuse(Array(loops[range]))
        }
        let rest = Array(loops[..<acrossRun]) + Array(loops[(across + 1)..<lastRun])
        let a = try sch.split(try fused(acrossRun...across), factors: [nil, side])
        let b = try sch.split(try fused(lastRun...(loops.count - 1)), factors: [nil, side])
        try sch.reorder(rest + [a[0], b[0], a[1], b[1]])
        try sch.vectorize(b[1])
        return rest + [a[0]]
    }

    /// The outer loops that are enough iterations for all threads: the others stay loops of their own, whose
    /// positions need no division.
    private static func coarse(_ loops: [LoopRV], _ extents: [Int?]) -> [LoopRV] {
        var total = 1
        for k in loops.indices.dropLast() {
            guard let n = extents[k] else { return Array(loops[...k]) }
            total = min(1 << 20, total * min(1 << 20, max(1, n)))
            if total >= 64 { return Array(loops[...k]) }
        }
        return loops
    }

    private static func nodeCount(of s: Stmt) -> Int {
        var count = 0
        postOrderVisit(s, expr: { _ in count += 1 }, stmt: { _ in count += 1 })
        return count
    }

    /// Padding: the last axis with a guard stays a serial loop, which loop partitioning cuts where the guard
    /// begins and ceases to hold; what lies behind it (a block of channels) is a vector.
    private static func schedulePad(
        _ sch: Schedule, _ info: Block, _ loops: [LoopRV], _ width: Int, _ options: CPUScheduleOptions
    ) throws {
        let work = product(info.iterVars.map { $0.dom.extent.asInt })
        let guarding = (info.body as? BufferStore).map { looseVariables($0.value, guards: true) } ?? []
        let row = info.iterVars.lastIndex { guarding.contains($0.variable) } ?? loops.count - 1
        if row == loops.count - 2, let lanes = info.iterVars[row + 1].dom.extent.asInt, lanes % width == 0 {
            let parts =
                lanes == width ? [loops[row + 1]] : try sch.split(loops[row + 1], factors: [nil, width])
            try sch.vectorize(parts[parts.count - 1])
        }
        try parallelise(sch, Array(loops[..<row]), work: work, options)
    }

    /// Vector lanes for the widest element type of a block.
    static func vectorWidth(_ block: Block, _ options: CPUScheduleOptions) -> Int {
        var bits = 8
        for r in block.writes + block.reads { bits = max(bits, Int(r.buffer.dtype.bits)) }
        var width = max(2, options.lanes * 32 / bits)
        // A last axis made for vectors of 32-bit elements takes as many narrow ones.
        if let last = block.iterVars.last?.dom.extent.asInt, last > 0 {
            while width > options.lanes, last % width != 0 { width /= 2 }
        }
        return width
    }

    static func product(_ extents: [Int?]) -> Int? {
        var n = 1
        for e in extents {
            guard let e else { return nil }
            let (p, overflow) = n.multipliedReportingOverflow(by: max(1, e))
            if overflow { return Int.max }
            n = p
        }
        return n
    }

    static func parallelise(
        _ sch: Schedule, _ loops: [LoopRV], work: Int?, _ options: CPUScheduleOptions
    ) throws {
        guard !loops.isEmpty, (work ?? Int.max) >= options.parallelWork else { return }
        let outer = loops.count == 1 ? loops[0] : try sch.fuse(loops)
        if try sch.get(outer).extent.asInt == 1 { return }
        try sch.parallel(outer)
    }

    /// How many trailing axes form one contiguous run in every access that moves with them; nil if not even
    /// the last one does. What is computed from the axes themselves (a guard, a position) must stay cheap
    /// in a vector: it may use the last axis only, which then is the whole run.
    private static func contiguousAxes(_ block: Block) -> Int? {
        let accesses = accessesOf(block)
        let vars = block.iterVars.map(\.variable)
        let extents = block.iterVars.map { $0.dom.extent }
        guard let store = block.body as? BufferStore else { return nil }
        let loose = looseVariables(store.value, guards: false)
        let guarding = looseVariables(store.value, guards: true)
        var best: Int?
        for count in 1...vars.count {
            let run = Array(vars.suffix(count))
            let runExtents = Array(extents.suffix(count))
            if run.contains(where: { guarding.contains($0) }) { break }
            if count > 1, run.contains(where: { loose.contains($0) }) { break }
            guard accesses.allSatisfy({ isContiguous($0, run, runExtents) }) else { break }
            best = count
            guard let e = runExtents[0].asInt else { break }
            if (product(runExtents.map(\.asInt)) ?? Int.max) >= Int.max / 2 || e < 0 { break }
        }
        return best
    }

    /// The variables that a value uses outside of indices; with `guards` only those in conditions of
    /// if_then_else.
    private static func looseVariables(_ value: PrimExpr, guards: Bool) -> Set<Var> {
        var result: Set<Var> = []
        func visit(_ e: PrimExpr, _ counting: Bool) {
            if e.kind == .bufferLoad { return }
            if let v = e as? Var, counting { result.insert(v) }
            if let c = e as? Call, c.name == "tir.if_then_else" {
                visit(c.args[0], true)
                visit(c.args[1], counting)
                visit(c.args[2], counting)
                return
            }
            forEachChild(of: e) { visit($0, counting) }
        }
        visit(value, !guards)
        return result
    }

    /// Whether `e` is `v` plus something that does not depend on it.
    static func movesByOne(_ e: PrimExpr, _ v: Var) -> Bool {
        if e === v { return true }
        guard let b = e as? BinaryExpr, b.kind == .add || b.kind == .sub else { return false }
        let left = mentions(b.a, [v])
        let right = mentions(b.b, [v])
        if left && !right { return movesByOne(b.a, v) }
        return b.kind == .add && right && !left && movesByOne(b.b, v)
    }

    private typealias Access = (buffer: Buffer, indices: [PrimExpr])

    private static func accessesOf(_ block: Block) -> [Access] {
        var result: [Access] = []
        postOrderVisit(
            block.body,
            expr: { e in if let l = e as? BufferLoad { result.append((buffer: l.buffer, indices: l.indices)) }
            },
            stmt: { s in
                if let b = s as? BufferStore { result.append((buffer: b.buffer, indices: b.indices)) }
            })
        return result
    }

    static func mentions(_ e: PrimExpr, _ vars: [Var]) -> Bool {
        var found = false
        postOrderVisit(e) { x in if vars.contains(where: { $0 === x }) { found = true } }
        return found
    }

    private static func isContiguous(_ access: Access, _ run: [Var], _ extents: [PrimExpr]) -> Bool {
        if !access.indices.contains(where: { mentions($0, run) }) { return true }
        let tail = Array(access.indices.suffix(run.count))
        guard tail.count == run.count, zip(tail, run).dropFirst().allSatisfy({ $0 === $1 }),
            movesByOne(tail[0], run[0])
        else { return false }
        if run.count > 1, mentions(tail[0], Array(run.dropFirst())) { return false }
        if access.indices.dropLast(run.count).contains(where: { mentions($0, run) }) { return false }
        // All but the outermost axis of the run must cover their dimension.
        let dims = Array(access.buffer.shape.suffix(run.count))
        return zip(dims.dropFirst(), extents.dropFirst()).allSatisfy { sameDimension($0, $1) }
    }
}
