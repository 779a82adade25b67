import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRSchedule
import ApusTarget

/// The schedule of a convolution by Winograd's method.
///
/// The tiles of all images are one axis, cut into chunks (`WinogradPlan`): the data of a chunk is transformed, multiplied and
/// transformed back while it is in the second-level cache. Chunks run in parallel; where all tiles are one chunk, each stage
/// is parallel by itself.
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
        guard axes.count == 5, let lane = axes[4].loop,
            let tile = try sch.get(columns).iterVars[2].dom.extent.asInt
        else { throw ApusError("TOPI030", "the result is not in blocks of channels") }
        let info = try sch.get(product)
        let extents = info.iterVars.compactMap { $0.dom.extent.asInt }
        guard extents.count == 7 else {
            throw ApusError("TOPI030", "a product of five axes and two sums is needed")
        }
        let panels = extents[3]
        let width = extents[4]
        let count = info.annotations.int(TOPI.winogradChunk) ?? extents[2]
        let isChunked = count < extents[2]

        // The result: chunks, then blocks of channels, then tiles, then the elements of a tile.
        let y = try cut(axes[2], tile)
        let x = try cut(axes[3], tile)
        let channels = [axes[1].loop].compactMap { $0 }
        let inside = y.inner + x.inner
        let places = [axes[0].loop].compactMap { $0 } + y.outer + x.outer
        try sch.reorder(places + channels + inside + [lane])
        // One pixel has no loop over places.
        let first = (channels + inside).first ?? lane
        var within = places.isEmpty ? try sch.addUnitLoop(first) : try sch.fuse(places)
        var outside: [LoopRV] = []
        if isChunked {
            let parts = try sch.split(within, factors: [nil, count])
            outside = [parts[0]]
            within = parts[1]
            // The last chunk may be part full: a test a tile is cheaper than code of its own, which one core would run.
            for l in parts { try sch.annotate(l, "loop_partition", .bool(false)) }
        }
        try sch.reorder(outside + channels + [within] + inside + [lane])
        try sch.computeAt(columns, within)
        try sch.setScope(columns, scope: "local")
        try unrollOwn(columns, below: within)
        for l in inside { try sch.unroll(l) }
        try sch.vectorize(lane)

        // The products, in tiles of registers.
        let elements = [extents[0], extents[1]]
        for at in outside { try sch.computeAt(products, at) }
        var own = try loops(of: products, elements + [count, panels, width], outside: outside.count)
        guard let wide = own[4] else { throw ApusError("TOPI030", "blocks of one channel") }
        let registers = RegisterTile.forMatrix(
            rows: count, panels: panels, vectorBytes: width * 4, machine: scheduler.machine, wholeRows: true)
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
        if !isChunked { try scheduler.parallelise(element + c.outer, work: nil) }

        // The transformed data.
        for at in outside { try sch.computeAt(data, at) }
        own = try loops(of: data, elements + [count, extents[5], extents[6]], outside: outside.count)
        guard let up = own[0], let along = own[1], let lanes = own[4] else {
            throw ApusError("TOPI030", "a tile of one element")
        }
        var tiles = own[2...3].compactMap { $0 }
        if tiles.isEmpty { tiles = [try sch.addUnitLoop(up)] }
        try sch.reorder(tiles + [up, along, lanes])
        try sch.computeAt(rows, tiles[tiles.count - 1])
        try sch.setScope(rows, scope: "local")
        try unrollOwn(rows, below: tiles[tiles.count - 1])
        try sch.unroll(up)
        try sch.unroll(along)
        try sch.vectorize(lanes)
        if isChunked {
            try scheduler.parallelise(outside, work: nil)
        } else {
            try scheduler.parallelise(tiles, work: nil)
            try scheduler.parallelise(channels + [within], work: nil)
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

    /// The loops of a block below `loop`: unrolled, the last a vector.
    private func unrollOwn(_ block: BlockRV, below loop: LoopRV) throws {
        let loops = try TOPI.ownLoops(sch, block, below: loop)
        for l in loops.dropLast() { try sch.unroll(l) }
        if let last = loops.last { try sch.vectorize(last) }
    }

    /// An axis cut into tiles of `size`: the loop over tiles and the loop in one, absent where the axis has one element.
    private func cut(_ axis: CPUScheduler.Axis, _ size: Int) throws -> (outer: [LoopRV], inner: [LoopRV]) {
        guard let loop = axis.loop else { return (outer: [], inner: []) }
        let parts = try sch.split(loop, factors: [nil, size])
        return (outer: [parts[0]], inner: [parts[1]])
    }
}
