import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRSchedule

extension TOPI {
    /// Schedules a reduction that has loops of its own.
    ///
    /// Where its operand lies contiguous along a spatial axis, a vector of results accumulates at once;
    /// where it lies contiguous along the reduction, a vector of partial results does (`rfactor`), combined
    /// at the end. An elementwise step after it is computed on the vector of results.
    ///
    /// - Returns: the name of that step, which then needs no schedule of its own.
    @discardableResult
    public static func scheduleReduce(
        _ sch: Schedule, _ block: BlockRV, _ options: CPUScheduleOptions = CPUScheduleOptions()
    ) throws -> String? {
        let info = try sch.get(block)
        let loops = try sch.getLoops(block)
        guard loops.count == info.iterVars.count else { return nil }
        let spatial = zip(loops, info.iterVars).filter { $0.1.iterType == .dataParallel }.map { $0.0 }
        let reduce = zip(loops, info.iterVars).filter { $0.1.iterType == .commReduce }.map { $0.0 }
        guard spatial.count + reduce.count == loops.count, !reduce.isEmpty else { return nil }
        let work = product(info.iterVars.map { $0.dom.extent.asInt })
        let width = vectorWidth(info, options)
        let acrossRows = strides(info, width)
        if !acrossRows, let partial = try partialSums(sch, block, width) {
            let row: LoopRV
            // Loops of the block were made anew, without those of one iteration; the last one is over the partial results.
            let fresh = try sch.getLoops(block)
            if fresh.count < 2 {
                row = try sch.addUnitLoop(fresh[0])
            } else {
                row = fresh.count == 2 ? fresh[0] : try sch.fuse(Array(fresh.dropLast()))
            }
            try sch.computeAt(partial, row)
            try vectorisePartial(sch, partial, row)
            try combineLanes(sch, block, below: row)
            try parallelise(sch, [row], work: work, options)
            return nil
        }
        guard let innermost = spatial.last, let extent = try sch.get(innermost).extent.asInt, extent >= width,
            movesAlong(info)
        else {
            try parallelise(sch, spatial, work: work, options)
            return nil
        }
        let steps =
            product(info.iterVars.map { $0.iterType == .commReduce ? $0.dom.extent.asInt : 1 }) ?? Int.max
        if extent % width != 0 && steps <= 64 && !acrossRows {
            // LLVM unrolls a small window and vectorises around it, tail included.
            try parallelise(sch, spatial, work: work, options)
            return nil
        }
        // A vector of accumulators stays in registers over the whole reduction, then goes to memory once.
        let store: BlockRV
        let tail = try elementwiseTail(sch, block)
        if let tail {
            try sch.setScope(block, writeIndex: 0, scope: "local")
            store = tail
        } else {
            store = try sch.cacheWrite(block, 0, "local")
        }
        let outer = try sch.getLoops(store)
        guard let across = outer.last else { return nil }
        let parts = try sch.split(across, factors: [nil, sideBySide(extent, steps: steps, width)])
        try sch.computeAt(block, parts[0])
        let own = try ownLoops(sch, block, below: parts[0])
        let reduceCount = info.iterVars.filter { $0.iterType == .commReduce && $0.dom.extent.asInt != 1 }
            .count
        if own.count == reduceCount + 1, reduceCount > 0 {
            try sch.reorder(Array(own.dropFirst()) + [own[0]])
            let initial = try sch.decomposeReduction(block, own[1])
            try sch.vectorize(own[0])
            if let lane = try ownLoops(sch, initial, below: parts[0]).last { try sch.vectorize(lane) }
        }
        try sch.vectorize(parts[1])
        let rows = try product(outer.dropLast(2).map { try sch.get($0).extent.asInt })
        if info.annotations.string("tag") == Tag.pool, outer.count >= 3, let rows, rows >= 8 {
            // A row of windows stays a loop of its own, from which loop partitioning cuts the borders.
            try parallelise(sch, Array(outer.dropLast(2)), work: work, options)
        } else {
            try parallelise(sch, Array(outer.dropLast()) + [parts[0]], work: work, options)
        }
        return try tail.map { try sch.get($0).name }
    }

    /// The elementwise step that alone reads the results of `block`, each at its own place; nil where there is none.
    private static func elementwiseTail(_ sch: Schedule, _ block: BlockRV) throws -> BlockRV? {
        guard try !isOutput(sch, block), let tail = try sch.getConsumers(block).first,
            try sch.getConsumers(block).count == 1,
            try sch.get(tail).annotations.string("tag") == Tag.elemwise,
            try reads(sch, tail, inOrderOf: block)
        else { return nil }
        return tail
    }

    /// Whether `consumer` reads what `block` writes element by element, in the same order, and reduces nothing.
    static func reads(_ sch: Schedule, _ consumer: BlockRV, inOrderOf block: BlockRV) throws -> Bool {
        let info = try sch.get(consumer)
        let written = try sch.get(block).writes[0].buffer
        guard info.iterVars.allSatisfy({ $0.iterType == .dataParallel }), info.writes.count == 1,
            let read = info.reads.first(where: { $0.buffer === written })
        else { return false }
        let point = info.writes[0].region
        return read.region.count == point.count
            && zip(read.region, point).allSatisfy { structuralEqual($0.min, $1.min) && $0.extent.asInt == 1 }
    }

    /// Results that are summed side by side: several vectors where sums are long, so that additions do not wait for one
    /// another and rows of the operand are read in runs longer than a cache line, and four or more such runs lie side by side, so
    /// that threads have parts.
    private static func sideBySide(_ extent: Int, steps: Int, _ width: Int) -> Int {
        let most = steps >= 16 ? extent / (4 * width) : 2
        return width * ([8, 4, 2].first { $0 <= max(2, most) && extent % ($0 * width) == 0 } ?? 1)
    }

    /// Whether some operand that is reduced lies contiguous along the last spatial axis. (What is the same for a whole
    /// reduction, such as the mean in a variance, does not count.)
    private static func movesAlong(_ info: Block) -> Bool {
        guard let v = info.iterVars.last(where: { $0.iterType == .dataParallel })?.variable else {
            return false
        }
        let reduced = info.iterVars.filter { $0.iterType == .commReduce }.map(\.variable)
        return info.reads.contains { r in
            r.region.contains { mentions($0.min, reduced) }
                && (r.region.last.map { movesByOne($0.min, v) } ?? false)
        }
    }

    /// Whether an operand lies contiguous along the last spatial axis and not along the last reduction axis, as the right one
    /// of a matrix product: partial sums would gather its elements from as many rows.
    private static func strides(_ info: Block, _ width: Int) -> Bool {
        guard let v = info.iterVars.last(where: { $0.iterType == .commReduce })?.variable,
            let across = info.iterVars.last(where: { $0.iterType == .dataParallel }),
            let extent = across.dom.extent.asInt, extent >= width
        else { return false }
        return info.reads.contains { r in
            guard let last = r.region.last, !mentions(last.min, [v]), movesByOne(last.min, across.variable)
            else {
                return false
            }
            return r.region.dropLast().contains { mentions($0.min, [v]) }
        }
    }

    /// Factors a reduction whose operand lies contiguous along the last reduction axis into a vector of
    /// partial results; nil where it is not such a one, or too short.
    static func partialSums(_ sch: Schedule, _ block: BlockRV, _ width: Int) throws -> BlockRV? {
        let info = try sch.get(block)
        let axes = info.iterVars.filter { $0.iterType == .commReduce }
        guard let v = axes.last?.variable, info.writes.count == 1,
            info.reads.contains(where: { $0.region.last.map { $0.min === v } ?? false }),
            let last = axes.last?.dom.extent.asInt, let total = product(axes.map { $0.dom.extent.asInt })
        else { return nil }
        // Several axes may be one run: the pixels of an image.
        let isRun = axes.count > 1 && coversTail(info, axes)
        let length = isRun ? total : last
        // Several vectors for long ones, whose additions then do not wait for one another.
        let most = length >= 16 * width ? 4 * width : length >= 8 * width ? 2 * width : width
        var lanes = wholeVectors(length, width, most: most) ?? oddVector(length, width)
        // Long ones pay for a guarded last step; the others have none (see `likelyGuards`).
        if lanes == nil, length >= 8 * width { lanes = length >= 32 * width ? 2 * width : width }
        guard let lanes else { return nil }
        let loops = try sch.getLoops(block)
        let own = Array(loops.suffix(axes.count))
        let attempt = isRun && own.count > 1 ? try sch.fuse(own) : own[own.count - 1]
        let parts = try sch.split(attempt, factors: [nil, lanes])
        return try sch.rfactor(parts[1], factorAxis: info.writes[0].buffer.rank)
    }

    /// The most lanes, at most `most`, that divide a length: whole vectors if there are, else vectors and a half (40 of
    /// 1000), else half a vector.
    private static func wholeVectors(_ length: Int, _ width: Int, most: Int) -> Int? {
        let half = width / 2
        let whole = stride(from: most, through: width, by: -width)
        let halves = stride(from: most - half, through: half, by: -width)
        return (Array(whole) + Array(halves)).first { $0 >= 2 && length % $0 == 0 && length > $0 }
    }

    /// A divisor near the vector's width, such as 7 for the 49 pixels of a 7 x 7 image: legal lanes all the
    /// same.
    private static func oddVector(_ length: Int, _ width: Int) -> Int? {
        guard width >= 4, length > width else { return nil }
        return stride(from: 2 * width, through: width / 2 + 1, by: -1).first {
            length % $0 == 0 && length > $0
        }
    }

    /// Whether the reduction axes are the trailing axes of an operand, in order and whole.
    private static func coversTail(_ info: Block, _ axes: [IterVar]) -> Bool {
        let moving = info.reads.filter { r in r.buffer !== info.writes[0].buffer }
        guard !moving.isEmpty else { return false }
        return moving.allSatisfy { r in
            let tail = Array(r.region.suffix(axes.count))
            let dims = Array(r.buffer.shape.suffix(axes.count))
            guard tail.count == axes.count else { return false }
            return zip(tail, axes).allSatisfy { $0.min === $1.variable }
                && zip(dims.dropFirst(), axes.dropFirst()).allSatisfy { sameDimension($0, $1.dom.extent) }
        }
    }

    /// The partial results of one row in registers: steps outside, lanes inside.
    static func vectorisePartial(_ sch: Schedule, _ partial: BlockRV, _ row: LoopRV) throws {
        try sch.setScope(partial, writeIndex: 0, scope: "local")
        let own = try ownLoops(sch, partial, below: row)
        let info = try sch.get(partial)
        let reduceCount = info.iterVars.filter { $0.iterType == .commReduce && $0.dom.extent.asInt != 1 }
            .count
        guard own.count == reduceCount + 1, reduceCount > 0 else { return }
        try sch.reorder(Array(own.dropFirst()) + [own[0]])
        let initial = try sch.decomposeReduction(partial, own[1])
        try sch.vectorize(own[0])
        if let lane = try ownLoops(sch, initial, below: row).last { try sch.vectorize(lane) }
    }

    /// The last step of a factored reduction, over the lanes of its partial results: in halves (the pass CombineLanes).
    private static func combineLanes(_ sch: Schedule, _ block: BlockRV, below row: LoopRV) throws {
        let own = try ownLoops(sch, block, below: row)
        guard own.count == 1 else { return }
        _ = try sch.decomposeReduction(block, own[0])
        try sch.annotate(own[0], "combine_lanes", .int(1))
        try sch.unroll(own[0])
    }

    /// The loops around a block that are below `row`.
    static func ownLoops(_ sch: Schedule, _ block: BlockRV, below row: LoopRV) throws -> [LoopRV] {
        let all = try sch.getLoops(block)
        let mark = try sch.get(row).loopVar
        guard let at = try all.firstIndex(where: { try sch.get($0).loopVar === mark }) else { return all }
        return Array(all[(at + 1)...])
    }

    /// Marks the guards of factored reductions and of padding as likely, so that loop partitioning takes the
    /// steps in which they hold for all lanes apart and these become plain vectors.
    static func likelyGuards(_ function: PrimFunc) -> PrimFunc {
        let body = LikelyGuards().mutate(function.body)
        return body === function.body ? function : function.with(body: body)
    }

    // MARK: Rows

    /// Schedules a chain of reductions and elementwise steps over the last axis (softmax, layer
    /// normalisation, a mean) so that one row goes through all of them while it is in the cache; rows run
    /// in parallel.
    ///
    /// Works on a copy; nil where the function is no such chain: exactly one result, whose shape is the
    /// rows or the rows and their axis, and every other block over the same rows.
    public static func scheduleRows(
        _ sch: Schedule, _ options: CPUScheduleOptions = CPUScheduleOptions()
    ) throws -> Schedule? {
        let s = sch.copy()
        do {
            return try rows(s, options) ? s : nil
        } catch is ApusError {
            return nil
        }
    }

    private static func rows(_ sch: Schedule, _ options: CPUScheduleOptions) throws -> Bool {
        for block in try topBlocks(sch) {
            // The last step of a chain is cheap once the values of its row are known.
            let tag = try sch.get(block).annotations.string("tag") ?? ""
            guard ["softmax_norm", "log_softmax_norm", "layer_norm"].contains(tag), try !isOutput(sch, block)
            else {
                continue
            }
            do { try sch.computeInline(block) } catch is ApusError { continue }
        }
        let blocks = try topBlocks(sch)
        guard let last = blocks.last, blocks.count > 1, let rowExtents = try rowShape(sch, blocks) else {
            return false
        }
        var work = 0
        for b in blocks {
            work += min(product(try sch.get(b).iterVars.map { $0.dom.extent.asInt }) ?? 1 << 40, 1 << 40)
        }
        // Handles of one block differ from query to query; names do not.
        let lastName = try sch.get(last).name
        var names: [String] = []
        var partials: Set<String> = []
        var combined: Set<String> = []
        for b in blocks {
            let info = try sch.get(b)
            if info.iterVars.contains(where: { $0.iterType == .commReduce }) {
                // Results side by side in memory are better summed as a vector of rows.
                if movesAlong(info) { return false }
                let width = vectorWidth(info, options)
                if let partial = try partialSums(sch, b, width) {
                    let name = try sch.get(partial).name
                    partials.insert(name)
                    combined.insert(info.name)
                    names.append(name)
                }
            }
            names.append(info.name)
        }
        let loops = try sch.getLoops(try sch.getBlock(lastName))
        let rowLoops = Array(loops.prefix(rowExtents.count))
        let row: LoopRV
        if rowLoops.isEmpty {
            guard let first = loops.first else { return false }
            row = try sch.addUnitLoop(first)
        } else {
            row = rowLoops.count == 1 ? rowLoops[0] : try sch.fuse(rowLoops)
        }
        for name in names.reversed() where name != lastName { try sch.computeAt(try sch.getBlock(name), row) }
        for name in names {
            let block = try sch.getBlock(name)
            if partials.contains(name) {
                try vectorisePartial(sch, block, row)
                continue
            }
            let info = try sch.get(block)
            let reduces = info.iterVars.contains { $0.iterType == .commReduce }
            let own = try ownLoops(sch, block, below: row)
            guard let inner = own.last, let n = try sch.get(inner).extent.asInt else { continue }
            if reduces {
                if combined.contains(name) {
                    try combineLanes(sch, block, below: row)
                } else if n <= 2 * options.lanes, own.count == 1 {
                    try sch.unroll(inner)
                }
                continue
            }
            let width = vectorWidth(info, options)
            if n < width { continue }
            let lanes = n % (2 * width) == 0 ? 2 * width : wholeVectors(n, width, most: 3 * width) ?? width
            let parts = try sch.split(inner, factors: [nil, max(lanes, width)])
            try sch.vectorize(parts[1])
        }
        try parallelise(sch, [row], work: work, options)
        return true
    }

    /// The extents of the rows, if all blocks run over the same rows and at most one more axis, and
    /// something is reduced.
    private static func rowShape(_ sch: Schedule, _ blocks: [BlockRV]) throws -> [PrimExpr]? {
        var rows: [PrimExpr]?
        for b in blocks {
            let info = try sch.get(b)
            let spatial = info.iterVars.filter { $0.iterType == .dataParallel }.map { $0.dom.extent }
            let reduced = info.iterVars.filter { $0.iterType == .commReduce }
            guard spatial.count + reduced.count == info.iterVars.count else { return nil }
            if !reduced.isEmpty {
                if let rows, !sameShape(rows, spatial) { return nil }
                rows = spatial
            }
        }
        guard let rows else { return nil }
        for (k, b) in blocks.enumerated() {
            let info = try sch.get(b)
            let spatial = info.iterVars.filter { $0.iterType == .dataParallel }.map { $0.dom.extent }
            guard spatial.count >= rows.count, spatial.count <= rows.count + 1,
                sameShape(Array(spatial.prefix(rows.count)), rows)
            else { return nil }
            if k < blocks.count - 1, try isOutput(sch, b) { return nil }
        }
        return rows
    }
}

/// Wraps the conditions of guarded addends in blocks made by `rfactor` and those of padding.
private final class LikelyGuards: StmtExprMutator {
    private var inside = false

    override func mutate(_ s: Stmt) -> Stmt {
        guard let block = s as? Block else { return mutateChildren(of: s) }
        let before = inside
        inside = inside || block.name.contains("_rf") || block.annotations.string("tag") == TOPI.Tag.pad
        defer { inside = before }
        return mutateChildren(of: s)
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        guard inside, let c = e as? Call, c.name == "tir.if_then_else",
            (c.args[0] as? Call)?.name != "tir.likely"
        else {
            return mutateChildren(of: e)
        }
        let marked = intrinsic("likely", .bool, [c.args[0]])
        return Call(c.dtype, c.op, [marked, mutate(c.args[1]), mutate(c.args[2])])
    }
}
