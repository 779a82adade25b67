import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRSchedule
import ApusTarget

/// The register tile of a matrix-product-like block: `rows` values of one operand, each broadcast against `columns`
/// vectors of the other, accumulate in `rows * columns` vector registers.
struct RegisterTile {
    let rows: Int
    let columns: Int

    /// Cycles of a step of the reduction: its multiply-adds, a load a row and a vector (two a cycle), the vectors again from
    /// the second-level cache (32 bytes a cycle), and never less than the latency of a multiply-add, since each accumulator
    /// waits for its last.
    func cycles(vectorBytes: Int, machine: Machine) -> Double {
        if rows == 0 { return 0 }
        let multiplies = Double(rows * columns) / Double(machine.fmaPorts)
        let loads = max(Double(rows + columns) / 2, Double(columns * vectorBytes) / 32)
        return max(multiplies, loads, Double(machine.fmaLatency))
    }

    /// The tile of a matrix product of `rows` rows and `panels` vectors of columns that takes the fewest cycles, the rows that
    /// are left over at the end included: rows need not be whole tiles, columns must.
    ///
    /// - Parameters:
    ///   - wholeRows: whether the tile must divide the rows.
    ///   - most: rows of the tile, at most.
    static func forMatrix(
        rows: Int, panels: Int, vectorBytes: Int, machine: Machine, wholeRows: Bool = false, most: Int = .max
    ) -> RegisterTile {
        func cycles(_ r: Int, _ c: Int) -> Double {
            RegisterTile(rows: r, columns: c).cycles(vectorBytes: vectorBytes, machine: machine)
        }
        let registers = machine.vectorRegisters
        var best = RegisterTile(rows: 1, columns: 1)
        var bestCost = Double.infinity
        for c in 1...max(1, min(panels, registers - 2)) where panels % c == 0 {
            for r in 1...max(1, min(rows, registers - 2, most)) where !wholeRows || rows % r == 0 {
                // With one row the vectors are operands in memory and need no register.
                guard r == 1 ? c + 1 <= registers : r * c + c + 1 <= registers else { continue }
                let whole = Double(rows / r) * cycles(r, c) + cycles(rows % r, c)
                // Of equals, the one that keeps the units that load and the second-level cache less busy; one row reads its
                // vectors as often whatever their number.
                let reads = Double(r + c) / 2 + Double(c * vectorBytes) / 32
                let busy = r == 1 ? 1 : reads / Double(r * c)
                let cost = whole * Double(panels / c) * (1 + 1e-3 * busy)
                if cost < bestCost {
                    bestCost = cost
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
        case convolution(depthwise: Bool)
        /// Result `[…][m][n]`, vectors along the last axis.
        case matrix
    }

    private let block: BlockRV
    private let shape: Shape
    private let scheduler: CPUScheduler
    private var sch: Schedule { scheduler.sch }

    /// A matrix product whose tile others have placed.
    init(block: BlockRV, scheduler: CPUScheduler) {
        self.init(block: block, shape: .matrix, scheduler: scheduler)
    }

    private init(block: BlockRV, shape: Shape, scheduler: CPUScheduler) {
        self.block = block
        self.shape = shape
        self.scheduler = scheduler
    }

    /// How to tile `block`, or nil where it is no anchor.
    static func shape(of block: BlockRV, _ tag: String, _ scheduler: CPUScheduler) throws -> Microkernel? {
        let shape: Shape
        switch tag {
        case TOPI.Tag.conv2dNCHWc, TOPI.Tag.depthwiseConv2dNCHWc:
            shape = .convolution(depthwise: tag == TOPI.Tag.depthwiseConv2dNCHWc)
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
        if !isResult, consumers.count == 1, try TOPI.reads(sch, consumers[0], inOrderOf: block) {
            try sch.setScope(block, writeIndex: 0, scope: "local")
            store = consumers[0]
        } else {
            store = try sch.cacheWrite(block, 0, "local")
        }
        let work = try scheduler.work(block)
        let axes = try scheduler.axisLoops(store)
        guard let last = axes.last, let vector = last.loop else {
            throw ApusError("TOPI030", "the result has no innermost loop")
        }
        // Loops around the tile, outermost first, and those of the tile.
        var outer: [LoopRV] = []
        var tile: [LoopRV] = []
        var firstParallel = 0
        var parallelCount = 0
        var width: Int?
        // Whether the block's own first loop runs over vectors of a tile and not over its rows.
        var columnsFirst = false
        switch shape {
        case .convolution(let depthwise):
            guard axes.count == 5 else {
                throw ApusError(
                    "TOPI030", "the result is not in blocks of channels", actual: "\(axes.count) axes")
            }
            // A tile lies in one row of the image: across rows its operands would not be evenly spaced.
            // An image one pixel wide (a 1-d convolution) is a row lying on its side.
            let (row, height) = axes[3].extent == 1 ? (axes[2], axes[3]) : (axes[3], axes[2])
            let image = [height.loop].compactMap { $0 }
            let best: RegisterTile
            if depthwise {
                best = .depthwise(
                    pixels: row.extent, inFlight: scheduler.inFlight, registers: scheduler.registers)
            } else {
                // A word of a pixel goes to all lanes by an instruction and a register of its own; numbers are operands in
                // memory.
                let isWords = try sch.get(block).reads.first?.buffer.dtype == .uint32
                // Channels of one group only read the same data.
                let together = try sch.get(block).annotations.int(TOPI.groupBlocks) ?? axes[1].extent
                best = .convolution(
                    pixels: row.extent, chunks: together,
                    registers: scheduler.registers - (isWords ? 1 : 0), vectorBytes: last.extent * 4,
                    wholeOnly: image.isEmpty, multiplies: isWords ? scheduler.machine.fmaPorts : 1)
            }
            columnsFirst = best.columns > 1
            let channels = try scheduler.splitOff(axes[1], best.columns)
            let rows = try scheduler.splitOff(row, best.rows)
            let rowsOutside =
                try !depthwise
                && rowsComeFirst(images: axes[0].extent, rows: height.extent, columns: best.columns)
            outer = [axes[0].loop].compactMap { $0 }
            outer += rowsOutside ? image + channels.outer : channels.outer + image
            parallelCount = outer.count
            // Rows stay a loop of their own where there are channels enough to share: its borders can then be cut off.
            if depthwise, axes[0].extent * axes[1].extent >= 4 * scheduler.machine.numCores {
                parallelCount -= image.count
            }
            outer += rows.outer
            // A long row of pixels is itself worth sharing where there is nothing else to share.
            if image.isEmpty && axes[1].extent == best.columns { parallelCount = outer.count }
            tile = rows.inner + channels.inner + [vector]
        case .matrix:
            // The product itself is whole vectors wide; what is stored may be less.
            let all =
                try sch.get(block).iterVars.last { $0.iterType == .dataParallel }?.dom.extent.asInt
                ?? last.extent
            guard
                let lanes = [scheduler.lanes, scheduler.lanes / 2].first(where: { $0 > 1 && all % $0 == 0 })
            else {
                throw ApusError("TOPI030", "the result is not whole vectors wide", actual: "\(all)")
            }
            let row = axes.count >= 2 ? axes[axes.count - 2] : CPUScheduler.Axis(loop: nil, extent: 1)
            func registers(_ most: Int) -> RegisterTile {
                .forMatrix(
                    rows: row.extent, panels: all / lanes, vectorBytes: lanes * 4, machine: scheduler.machine,
                    most: most)
            }
            var best = registers(.max)
            let together = try rowsTogether(row.extent)
            if try !spreadRows(row.extent, best, passes: all / lanes / best.columns, lanes),
                best.rows > together
            {
                best = registers(together)
            }
            let columns = try sch.split(vector, factors: [nil, best.columns, lanes])
            let rows = try scheduler.splitOff(row, best.rows)
            let stack = axes.dropLast(2)
            // What is left over at the end is a smaller tile, for which the loop over tiles is cut in two (LoopPartition):
            // that takes a loop of its own, serial or the outermost parallel one.
            let raggedRows = row.extent % best.rows != 0
            let raggedColumns = last.extent % (best.columns * lanes) != 0
            outer = stack.compactMap { $0.loop } + [columns[0]] + rows.outer
            parallelCount = outer.count
            if let tiles = rows.outer.first, let block = try rowBlock(row.extent, best.rows) {
                // All columns see one block of rows while it is in the last-level cache, then the next.
                let parts = try sch.split(tiles, factors: [nil, block])
                firstParallel = stack.filter { $0.loop != nil }.count + 1
                outer = stack.compactMap { $0.loop } + [parts[0], columns[0], parts[1]]
                parallelCount = 1
            } else if raggedColumns {
                let matrices = stack.reduce(1) { $0 * $1.extent }
                let loops = stack.filter { $0.loop != nil }.count
                if matrices >= scheduler.machine.numCores {
                    parallelCount = loops
                } else {
                    firstParallel = loops
                    parallelCount = 1
                }
            } else if raggedRows {
                parallelCount -= rows.outer.count
            }
            tile = rows.inner + [columns[1], columns[2]]
            width = lanes
        }
        if outer.isEmpty { outer = [try sch.addUnitLoop(tile[0])] }
        try sch.reorder(outer + tile)
        guard let at = outer.last else { throw ApusError("TOPI030", "the tile has no place") }
        try sch.computeAt(block, at)
        try accumulate(width, columnsFirst: columnsFirst)
        for l in tile.dropLast() { try sch.unroll(l) }
        if let innermost = tile.last { try sch.vectorize(innermost) }
        // A multiply-add of the tile takes a sixteenth of the time of an element of an ordinary loop.
        try scheduler.parallelise(
            Array(outer.dropFirst(firstParallel).prefix(max(1, parallelCount))), work: work.map { $0 / 16 })
        return store
    }

    /// Copies an operand whose rows lie a multiple of a page apart to rows that do not: those of one tile would all lie in the
    /// same set of the first-level cache and push each other out at each step. (Half a page apart they share two sets, whose
    /// eight ways hold them: measured, the copy costs more.) Pays where the copy is read for many columns.
    ///
    /// - Returns: whether it did.
    private func spreadRows(_ rows: Int, _ tile: RegisterTile, passes: Int, _ lanes: Int) throws -> Bool {
        guard tile.rows > 4, rows >= 4 * tile.rows, passes >= 8, let shape = try leftRows(rows),
            shape[shape.count - 1] * 4 % Self.pageBytes == 0
        else { return false }
        let copy = try sch.cacheRead(block, 0, "global")
        try sch.storageAlign(copy, writeIndex: 0, axis: shape.count - 2, factor: 2 * lanes, offset: lanes)
        let loops = try sch.getLoops(copy)
        guard let last = loops.last else { return true }
        let parts = try sch.split(last, factors: [nil, lanes])
        try sch.vectorize(parts[1])
        try scheduler.parallelise(Array(loops.dropLast()), work: shape.reduce(1, *))
        return true
    }

    /// Addresses this far apart lie in the same set of a first-level cache: its sets are found before addresses are
    /// translated, so that one way of it is a page.
    private static let pageBytes = 4096

    /// How many rows of the left operand stay in the first-level cache side by side, as far apart as they are.
    private func rowsTogether(_ rows: Int) throws -> Int {
        guard let depth = try leftRows(rows)?.last else { return .max }
        let line = scheduler.machine.cacheLineBytes
        let sets = max(1, Self.pageBytes / line)
        // Rows that are no whole lines apart lie in sets of their own sooner or later.
        let (lines, rest) = (depth * 4).quotientAndRemainder(dividingBy: line)
        let distinct = rest != 0 ? sets : (1...sets).first { $0 * lines % sets == 0 } ?? sets
        return max(1, scheduler.machine.l1Bytes / Self.pageBytes) * distinct
    }

    /// The shape of the left operand where its rows are those of the product and its last axis is reduced.
    private func leftRows(_ rows: Int) throws -> [Int]? {
        let info = try sch.get(block)
        guard info.reads.count == 2, let shape = info.reads.first?.buffer.staticShape, shape.count >= 2,
            shape[shape.count - 2] == rows
        else { return nil }
        return shape
    }

    /// How many tiles of `height` rows share a pass over the columns, where their operand is too large to stay in a quarter of
    /// the last-level cache; nil where all do. Source: Goto and van de Geijn (TOMS 2008).
    private func rowBlock(_ rows: Int, _ height: Int) throws -> Int? {
        let depth = try sch.get(block).iterVars.filter { $0.iterType == .commReduce }
            .reduce(1) { $0 * min($1.dom.extent.asInt ?? 1, 1 << 20) }
        let fits = max(1, scheduler.machine.l3Bytes / 4 / (4 * max(1, depth)) / height)
        let tiles = (rows + height - 1) / height
        guard tiles > fits else { return nil }
        // Blocks of about one size.
        let blocks = (tiles + fits - 1) / fits
        return (tiles + blocks - 1) / blocks
    }

    /// Puts the reduction outside the tile and the tile into registers: unrolled rows of vectors of `width` elements, which
    /// is the whole last axis where it is nil.
    ///
    /// A value of a row is used up by all vectors before the next: it then needs no register for longer.
    func accumulate(_ width: Int?, columnsFirst: Bool = false) throws {
        // The loop at which the block is computed is shared with the block that stores; its own loops follow. An axis of
        // extent 1 has no loop.
        let own = try ownLoops(try sch.getLoops(block))
        let reduceVars = try reductionLoopVars()
        let isReduce = try own.map { reduceVars.contains(try sch.get($0).loopVar) }
        var spatial = zip(own, isReduce).filter { !$0.1 }.map { $0.0 }
        var reduce = zip(own, isReduce).filter { $0.1 }.map { $0.0 }
        if let size = try sch.get(block).annotations.int(TOPI.channelBlock), let channels = reduce.first {
            // Channels in blocks of which the last is part full.
            let parts = try sch.split(channels, factors: [nil, size])
            reduce = [parts[0]] + reduce.dropFirst() + [parts[1]]
        }
        guard let whole = spatial.last, let first = reduce.first else {
            throw ApusError("TOPI030", "the tile has no loops")
        }
        var vector = whole
        if let width, let n = try sch.get(whole).extent.asInt, n > width {
            // A vector that spans panels of weights would gather its elements one by one.
            let parts = try sch.split(whole, factors: [nil, width])
            spatial = Array(spatial.dropLast()) + parts
            vector = parts[1]
        }
        if columnsFirst, spatial.count > 2 { spatial.insert(spatial.removeFirst(), at: spatial.count - 1) }
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

    /// Whether a convolution computes all channels of one row of the image before the next row, and not all rows of some
    /// channels before the next channels: what takes fewer bytes from beyond the second-level cache. Weights that stay there
    /// are read again for each row.
    private func rowsComeFirst(images: Int, rows: Int, columns: Int) throws -> Bool {
        let info = try sch.get(block)
        let near = Double(scheduler.machine.l2Bytes / 4)
        guard info.reads.count == 2, let weight = info.reads[1].buffer.staticShape,
            let weights = bytes(info.reads[1].buffer)
        else { return true }
        if weights <= near { return true }
        guard let data = bytes(info.reads[0].buffer).map({ $0 / Double(max(1, images)) }) else {
            return false
        }
        let passes = (info.annotations.int(TOPI.groupBlocks) ?? weight[0]) / max(1, columns)
        return weights * Double(rows) < (data <= 2 * near ? 0 : data * Double(passes))
    }

    /// The size of a buffer; nil where it is not known.
    private func bytes(_ buffer: Buffer) -> Double? {
        buffer.staticShape?.reduce(Double(buffer.dtype.byteCount)) { $0 * Double($1) }
    }
}
