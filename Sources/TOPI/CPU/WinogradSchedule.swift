import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRSchedule
import ApusTarget

extension TOPI {
    /// The side of the tile with which Winograd's method computes a convolution of 3 x 3 taps and stride 1 faster than the
    /// sum itself does; nil where none does.
    ///
    /// In cycles, with `v = lanes * ports` multiply-adds each. The sum takes 9 multiply-adds an element and reads its weights
    /// once. The method takes `(m + 2)^2 / m^2` and its two transformations, which cost a few instructions for each
    /// element of a transformed tile, but its weights are `(m + 2)^2 / 9` times as large, and what of them does not stay in a
    /// cache comes from memory, shared by the cores, at 8 bytes a cycle. It must save a quarter to be worth its memory.
    public static func winogradTile(
        batch: Int, inChannels: Int, outChannels: Int, height: Int, width: Int, machine: Machine
    ) -> Int? {
        // The tiles of several images are not yet cut into chunks.
        guard batch == 1 else { return nil }
        let lanes = machine.lanes(bits: 32)
        let perCycle = Double(lanes * machine.fmaPorts)
        let weights = Double(inChannels) * Double(outChannels) * 4
        func time(arithmetic: Double, bytes: Double) -> Double {
            arithmetic / Double(max(1, machine.numCores)) + bytes / 8
        }
        let elements = Double(batch) * Double(height) * Double(width)
        let products = Double(inChannels) * Double(outChannels)
        let direct = time(arithmetic: 9 * products * elements / perCycle, bytes: 9 * weights)
        var best: Int?
        var bestTime = 0.75 * direct
        for m in [2, 4] {
            let a = Double((m + 2) * (m + 2))
            let tiles = Double(batch) * Double((height + m - 1) / m) * Double((width + m - 1) / m)
            // A transformed element costs about four vector instructions on the way in and three on the way out.
            let vectors = a * tiles * (4 * Double(inChannels) + 3 * Double(outChannels)) / Double(lanes) / 2
            // Rows of tiles that no register tile divides are left to the sum.
            let (down, across) = ((height + m - 1) / m, (width + m - 1) / m)
            guard (4...14).contains(where: { across % $0 == 0 || (across < 7 && down * across % $0 == 0) })
            else {
                continue
            }
            let t = time(arithmetic: a * products * tiles / perCycle + vectors, bytes: a * weights)
            if t < bestTime {
                bestTime = t
                best = m
            }
        }
        return best
    }
}

/// The schedule of a convolution by Winograd's method.
///
/// The result is computed in chunks of tiles: the data of a chunk is transformed, multiplied and transformed back while it
/// is in the second-level cache. Chunks run in parallel; where there are fewer than cores, all tiles are one chunk and
/// each stage is parallel by itself.
struct WinogradSchedule {
    let scheduler: CPUScheduler
    /// The stages that are there, by tag.
    let stages: [String: BlockRV]

    private var sch: Schedule { scheduler.sch }

    /// The schedule for a function that has the stages, or nil.
    init?(_ scheduler: CPUScheduler) throws {
        self.scheduler = scheduler
        var found: [String: BlockRV] = [:]
        for block in try scheduler.blocks() { found[try scheduler.tag(block)] = block }
        guard found[TOPI.Tag.winogradResult] != nil, found[TOPI.Tag.winogradProduct] != nil else {
            return nil
        }
        stages = found
    }

    private func stage(_ tag: String) throws -> BlockRV {
        guard let block = stages[tag] else { throw ApusError("TOPI030", "no stage \(tag)") }
        return block
    }

    /// Applies it; returns the names of the blocks that need nothing more.
    func apply() throws -> Set<String> {
        let result = try stage(TOPI.Tag.winogradResult)
        var names: Set<String> = [try sch.get(result).name]
        var store = result
        if try !scheduler.isOutput(result) {
            let consumers = try sch.getConsumers(result)
            guard consumers.count == 1 else { throw ApusError("TOPI030", "the result has several consumers") }
            store = consumers[0]
            try sch.computeInline(result)
        }
        let rows = try stage(TOPI.Tag.winogradRows)
        let data = try stage(TOPI.Tag.winogradData)
        let product = try stage(TOPI.Tag.winogradProduct)
        let products = try stage(TOPI.Tag.winogradProducts)
        let columns = try stage(TOPI.Tag.winogradColumns)

        let axes = try scheduler.axisLoops(store)
        guard axes.count == 5, let down = axes[2].loop, let across = axes[3].loop, let lane = axes[4].loop,
            let tile = try sch.get(columns).iterVars[2].dom.extent.asInt
        else { throw ApusError("TOPI030", "the result is not in blocks of channels") }
        let info = try sch.get(product)
        let extents = info.iterVars.compactMap { $0.dom.extent.asInt }
        guard extents.count == 7 else {
            throw ApusError("TOPI030", "a product of five axes and two sums is needed")
        }
        let depth = extents[5] * extents[6]
        let panels = extents[3]
        let width = extents[4]
        let tilesDown = (axes[2].extent + tile - 1) / tile
        let tilesAcross = (axes[3].extent + tile - 1) / tile
        let bytesPerTile = extents[0] * extents[1] * (depth + panels * width) * 4
        let chunk = self.chunk(axes[0].extent, tilesDown, tilesAcross, bytesPerTile)

        // The result: chunks, then blocks of channels, then tiles, then the elements of a tile.
        let y = try sch.split(down, factors: [nil, chunk.down, tile])
        let x = try sch.split(across, factors: [nil, chunk.across, tile])
        let outside = [axes[0].loop].compactMap { $0 } + [y[0], x[0]]
        let channels = [axes[1].loop].compactMap { $0 }
        try sch.reorder(outside + channels + [y[1], x[1], y[2], x[2], lane])
        try sch.computeAt(columns, x[1])
        try sch.setScope(columns, scope: "local")
        try unrollOwn(columns, 3)
        try sch.unroll(y[2])
        try sch.unroll(x[2])
        try sch.vectorize(lane)

        // The products, in tiles of registers.
        let elements = [extents[0], extents[1]]
        let shared = chunk.isParallel ? outside.count : 0
        let count = chunk.isParallel ? chunk.down * chunk.across : extents[2]
        if chunk.isParallel { try sch.computeAt(products, x[0]) }
        var own = try loops(of: products, elements + [count, panels, width], outside: shared)
        guard let wide = own[4] else { throw ApusError("TOPI030", "blocks of one channel") }
        let best = RegisterTile.forMatrix(
            rows: count, panels: panels, vectorBytes: width * 4, machine: scheduler.machine)
        // Tiles of registers divide the rows: what is left over would guard every element.
        let height = (1...best.rows).last { count % $0 == 0 } ?? 1
        let registers = RegisterTile(rows: height, columns: best.columns)
        let r = try scheduler.splitOff(CPUScheduler.Axis(loop: own[2], extent: count), registers.rows)
        let c = try scheduler.splitOff(CPUScheduler.Axis(loop: own[3], extent: panels), registers.columns)
        let element = own[0...1].compactMap { $0 }
        guard let last = (element + c.outer + r.outer).last else {
            throw ApusError("TOPI030", "the tile has no place")
        }
        try sch.reorder(element + c.outer + r.outer + r.inner + c.inner + [wide])
        try sch.setScope(product, scope: "local")
        try sch.computeAt(product, last)
        try Microkernel(block: product, scheduler: scheduler).accumulate(nil)
        for l in r.inner + c.inner { try sch.unroll(l) }
        try sch.vectorize(wide)
        if !chunk.isParallel { try scheduler.parallelise(element + c.outer, work: nil) }

        // The transformed data.
        if chunk.isParallel { try sch.computeAt(data, x[0]) }
        own = try loops(of: data, elements + [count, extents[5], extents[6]], outside: shared)
        let tiles = own[2...3].compactMap { $0 }
        guard let at = tiles.last, let up = own[0], let along = own[1], let lanes = own[4] else {
            throw ApusError("TOPI030", "the data has one tile")
        }
        try sch.reorder(tiles + [up, along, lanes])
        try sch.computeAt(rows, at)
        try sch.setScope(rows, scope: "local")
        try unrollOwn(rows, 3)
        try sch.unroll(up)
        try sch.unroll(along)
        try sch.vectorize(lanes)
        if chunk.isParallel {
            try scheduler.parallelise(outside, work: nil)
        } else {
            try scheduler.parallelise(tiles, work: nil)
            try scheduler.parallelise(outside + channels, work: nil)
        }
        for block in [store, rows, data, product, products, columns] { names.insert(try sch.get(block).name) }
        return names
    }

    /// The loops of a block by axis, those of the first `outside` that it shares left out; an axis of extent 1 may have
    /// none.
    private func loops(of block: BlockRV, _ extents: [Int], outside: Int) throws -> [LoopRV?] {
        var left = Array(try sch.getLoops(block).dropFirst(outside))
        var result: [LoopRV?] = []
        for n in extents.reversed() {
            if let l = left.last, try sch.get(l).extent.asInt == n {
                result.append(left.removeLast())
            } else if n == 1 {
                result.append(nil)
            } else {
                throw ApusError("TOPI030", "an axis has no loop of its own", expected: "\(n)")
            }
        }
        return result.reversed()
    }

    /// The innermost `count` loops of a block: unrolled, the last a vector.
    private func unrollOwn(_ block: BlockRV, _ count: Int) throws {
        let loops = try sch.getLoops(block).suffix(count)
        for l in loops.dropLast() { try sch.unroll(l) }
        if let last = loops.last { try sch.vectorize(last) }
    }

    /// How many tiles make a chunk: enough rows for a register tile, few enough that the transformed data and the products
    /// fill half of the second-level cache, and a whole number of chunks in an image.
    private func chunk(
        _ images: Int, _ down: Int, _ across: Int, _ bytesPerTile: Int
    ) -> (down: Int, across: Int, isParallel: Bool) {
        let machine = scheduler.machine
        let fits = max(1, machine.l2Bytes / 2 / max(1, bytesPerTile))
        // Below this many rows loading the weights takes longer than multiplying by them.
        let enough = 7
        var best = (down: down, across: across)
        for d in (1...down).reversed() where down % d == 0 {
            for a in (1...across).reversed() where across % a == 0 && (d == 1 || a == across) {
                if d * a < enough { continue }
                if best.down * best.across > fits { best = (d, a) }
            }
        }
        let chunks = images * (down / best.down) * (across / best.across)
        if chunks < machine.numCores { return (down, across, false) }
        return (best.down, best.across, true)
    }
}
