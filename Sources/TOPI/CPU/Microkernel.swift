import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRSchedule

/// The register tile of a matrix-product-like block: `rows` values of one operand, each broadcast against `columns`
/// vectors of the other, accumulate in `rows * columns` vector registers.
struct RegisterTile {
    let rows: Int
    let columns: Int

    /// The best tile among divisors of the extents, for `registers` vector registers.
    ///
    /// A step of the reduction costs `rows * columns` multiply-adds at two a cycle, `rows + columns` loads at two a
    /// cycle, and no less than the latency of a multiply-add; the tile that keeps the units busiest wins.
    static func best(rows: Int, columns: Int, registers: Int) -> RegisterTile {
        var best = RegisterTile(rows: 1, columns: 1)
        var bestEfficiency = 0.0
        for r in 1...max(1, min(rows, registers - 2)) where rows % r == 0 {
            for c in 1...max(1, min(columns, registers - 2)) where columns % c == 0 {
                // With one row the vectors are operands in memory and need no register.
                let used = r == 1 ? c + 1 : r * c + c + 1
                guard used <= registers else { continue }
                let multiplies = Double(r * c) / 2
                let cycles = max(multiplies, Double(r + c) / 2, 5)
                let efficiency = multiplies / cycles + Double(r * c) * 1e-4
                if efficiency > bestEfficiency {
                    bestEfficiency = efficiency
                    best = RegisterTile(rows: r, columns: c)
                }
            }
        }
        return best
    }
}

/// The schedule of an anchor: accumulators in registers, the elementwise tail on the tile.
struct Microkernel {
    private enum Shape {
        /// Result `[n][oc][h][w][c]`.
        case convolution(depthwise: Bool, pointwise: Bool)
        /// Result `[…][m][n]`, vectors along the last axis.
        case matrix
    }

    private let block: BlockRV
    private let shape: Shape
    private let scheduler: CPUScheduler
    private var sch: Schedule { scheduler.sch }

    /// How to tile `block`, or nil where it is no anchor.
    static func shape(of block: BlockRV, _ tag: String, _ scheduler: CPUScheduler) throws -> Microkernel? {
        let shape: Shape
        switch tag {
        case TOPI.Tag.conv2dNCHWc, TOPI.Tag.depthwiseConv2dNCHWc:
            let info = try scheduler.sch.get(block)
            let reduce = info.iterVars.filter { $0.iterType == .commReduce }
            let windows = reduce.filter { ["v_kh", "v_kw"].contains($0.variable.name) }
            let depthwise = tag == TOPI.Tag.depthwiseConv2dNCHWc
            let unitStride = info.annotations.ints("strides") == [1, 1]
            // A pointwise convolution without stride sees its image as one long row.
            let pointwise = !depthwise && unitStride && windows.allSatisfy { $0.dom.extent.asInt == 1 }
            shape = .convolution(depthwise: depthwise, pointwise: pointwise)
        case TOPI.Tag.densePacked, "batch_matmul", "matmul": shape = .matrix
        default: return nil
        }
        return Microkernel(block: block, shape: shape, scheduler: scheduler)
    }

    /// Applies the tiling; returns the block that writes the tile to memory.
    func apply() throws -> BlockRV {
        let consumers = try sch.getConsumers(block)
        let store: BlockRV
        let isResult = try scheduler.isOutput(block)
        if !isResult, consumers.count == 1, try isTail(consumers[0]) {
            try sch.setScope(block, writeIndex: 0, scope: "local")
            store = consumers[0]
        } else {
            store = try sch.cacheWrite(block, 0, "local")
        }
        let work = try scheduler.work(block)
        let loops = try sch.getLoops(store)
        let extents = try loops.map { l -> Int in
            guard let n = try sch.get(l).extent.asInt else {
                throw ApusError("TOPI030", "a register tile needs constant extents")
            }
            return n
        }
        let at: LoopRV
        let tileLoops: [LoopRV]
        let outer: [LoopRV]
        switch shape {
        case .convolution(let depthwise, let pointwise):
            guard loops.count == 5 else {
                throw ApusError("TOPI030", "the result is not in blocks of channels", actual: "\(extents)")
            }
            let row = pointwise ? try sch.fuse([loops[2], loops[3]]) : loops[3]
            let length = pointwise ? extents[2] * extents[3] : extents[3]
            let tile = RegisterTile.best(rows: length, columns: depthwise ? 1 : extents[1], registers: scheduler.registers)
            let channels = try sch.split(loops[1], factors: [nil, tile.columns])
            let rows = try sch.split(row, factors: [nil, tile.rows])
            let image = pointwise ? [] : [loops[2]]
            // Weights that fit the second-level cache are read again for each row, others once for all rows.
            let rowsOutside = weightBytes() <= 1 << 18
            let order =
                rowsOutside
                ? [loops[0]] + image + [channels[0], rows[0]] : [loops[0], channels[0]] + image + [rows[0]]
            try sch.reorder(order + [rows[1], channels[1], loops[4]])
            at = rows[0]
            tileLoops = [rows[1], channels[1], loops[4]]
            outer = pointwise ? [loops[0], channels[0]] : Array(order.prefix(3))
        case .matrix:
            guard let width = extents.last,
                let lanes = [scheduler.lanes, scheduler.lanes / 2].first(where: { $0 > 1 && width % $0 == 0 })
            else {
                throw ApusError("TOPI030", "the result is not whole vectors wide", actual: "\(extents)")
            }
            let columnCount = width / lanes
            let rowCount = extents.count >= 2 ? extents[extents.count - 2] : 1
            let tile = RegisterTile.best(rows: rowCount, columns: columnCount, registers: scheduler.registers)
            let columns = try sch.split(loops[loops.count - 1], factors: [nil, tile.columns, lanes])
            var before = Array(loops.dropLast(2))
            var rows: [LoopRV] = []
            if loops.count >= 2 { rows = try sch.split(loops[loops.count - 2], factors: [nil, tile.rows]) }
            let tileRows = rows.isEmpty ? [] : [rows[1]]
            before.append(columns[0])
            if !rows.isEmpty { before.append(rows[0]) }
            try sch.reorder(before + tileRows + [columns[1], columns[2]])
            at = before[before.count - 1]
            tileLoops = tileRows + [columns[1], columns[2]]
            outer = before
        }
        try sch.computeAt(block, at)
        try accumulate()
        for l in tileLoops.dropLast() { try sch.unroll(l) }
        if let last = tileLoops.last { try sch.vectorize(last) }
        try scheduler.parallelise(outer, work: work)
        return store
    }

    /// Puts the reduction outside the tile and the tile into registers: unrolled rows of vectors.
    private func accumulate() throws {
        // The loop at which the block is computed is shared with the block that stores; its own loops follow. An axis of
        // extent 1 has no loop.
        let own = try ownLoops(try sch.getLoops(block))
        let reduceVars = try reductionLoopVars()
        let isReduce = try own.map { reduceVars.contains(try sch.get($0).loopVar) }
        let spatial = zip(own, isReduce).filter { !$0.1 }.map { $0.0 }
        let reduce = zip(own, isReduce).filter { $0.1 }.map { $0.0 }
        guard let vector = spatial.last, let first = reduce.first else {
            throw ApusError("TOPI030", "the tile has no loops")
        }
        try sch.reorder(reduce + spatial)
        let initial = try sch.decomposeReduction(block, first)
        for l in spatial.dropLast() { try sch.unroll(l) }
        try sch.vectorize(vector)
        let initialLoops = try sch.getLoops(initial).suffix(spatial.count)
        for l in initialLoops.dropLast() { try sch.unroll(l) }
        if let last = initialLoops.last { try sch.vectorize(last) }
    }

    private func ownLoops(_ loops: [LoopRV]) throws -> [LoopRV] {
        let consumers = try sch.getConsumers(block)
        guard let store = consumers.first else { throw ApusError("TOPI030", "the tile is not stored") }
        let shared = Set(try sch.getLoops(store).map { try sch.get($0).loopVar })
        return try loops.filter { !shared.contains(try sch.get($0).loopVar) }
    }

    /// The loop variables that the reduction axes of the block are made of.
    private func reductionLoopVars() throws -> Set<Var> {
        let target = try sch.get(block)
        var result: Set<Var> = []
        postOrderVisit(
            sch.function.body,
            stmt: { s in
                guard let realize = s as? BlockRealize, realize.block === target else { return }
                for (v, value) in zip(target.iterVars, realize.iterValues) where v.iterType == .commReduce {
                    postOrderVisit(value) { e in
                        if let used = e as? Var { result.insert(used) }
                    }
                }
            })
        return result
    }

    /// Whether a block reads the anchor's result element by element, in the same order.
    private func isTail(_ consumer: BlockRV) throws -> Bool {
        let info = try sch.get(consumer)
        let written = try sch.get(block).writes[0].buffer
        guard info.iterVars.allSatisfy({ $0.iterType == .dataParallel }), info.writes.count == 1,
            let read = info.reads.first(where: { $0.buffer === written })
        else { return false }
        let point = info.writes[0].region
        return read.region.count == point.count
            && zip(read.region, point).allSatisfy { structuralEqual($0.min, $1.min) && $0.extent.asInt == 1 }
    }

    private func weightBytes() -> Int {
        guard let info = try? sch.get(block), info.reads.count == 2, let shape = info.reads[1].buffer.staticShape
        else { return 0 }
        return shape.reduce(4) { a, b in
            let (p, overflow) = a.multipliedReportingOverflow(by: b)
            return overflow ? Int.max : p
        }
    }
}
