import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRSchedule
import ApusTarget

extension TOPI {
    /// The default schedule of a function made of TOPI computes, for a CPU: what needs no memory of its own is inlined,
    /// the anchor (convolution, matrix product) is tiled for registers with its elementwise tail computed on the tile,
    /// everything else is parallel outside and vectorised inside.
    ///
    /// The same function gives the same schedule. A function that a primitive refuses keeps its plain loops for that
    /// block: the schedule never changes what is computed.
    public static func schedule(_ function: PrimFunc, target: Target) throws -> PrimFunc {
        let schedule = try Schedule(function)
        let machine = target.machine
        let scheduler = CPUScheduler(
            schedule, lanes: machine.lanes(bits: 32), registers: machine.vectorRegisters)
        try scheduler.run()
        return scheduler.sch.function
    }
}

/// One function's schedule in the making.
final class CPUScheduler {
    private(set) var sch: Schedule
    /// Floats of 32 bits in a vector register.
    let lanes: Int
    /// Vector registers there are.
    let registers: Int
    /// Loops shorter than this much work stay on one thread: waking the others costs a few microseconds.
    let parallelWork = 1 << 15

    init(_ schedule: Schedule, lanes: Int, registers: Int) {
        sch = schedule
        self.registers = registers
        self.lanes = lanes
    }

    /// The blocks under the root, in order of execution.
    func blocks() throws -> [BlockRV] { try sch.getChildBlocks(try sch.getBlock("root")) }

    func tag(_ block: BlockRV) throws -> String { try sch.get(block).annotations.string("tag") ?? "" }

    func isReduction(_ block: BlockRV) throws -> Bool {
        try sch.get(block).iterVars.contains { $0.iterType == .commReduce }
    }

    /// Whether the block writes a parameter of the function.
    func isOutput(_ block: BlockRV) throws -> Bool {
        let written = try sch.get(block).writes.map(\.buffer)
        return sch.function.bufferMap.contains { entry in written.contains { $0 === entry.buffer } }
    }

    func run() throws {
        try inlineAll()
        let all = try blocks()
        // Handles of one block differ from query to query; the name it has now does not.
        var named: [(block: BlockRV, name: String)] = []
        for block in all { named.append((block: block, name: try sch.get(block).name)) }
        var done: Set<String> = []
        for (block, name) in named {
            let kind = try tag(block)
            if let tile = try Microkernel.shape(of: block, kind, self) {
                let before = sch.copy()
                do {
                    let store = try tile.apply()
                    done.formUnion([name, try sch.get(store).name])
                } catch is ApusError {
                    // A shape the tiling does not cover: start again from the plain loops of this block.
                    sch = before
                }
            }
        }
        for (block, name) in named where !done.contains(name) { try plain(block) }
    }

    /// Inlines every block whose value is cheap to compute again where it is used; the padding of a windowed operator
    /// keeps its memory, because each element is read many times and guarded reads do not vectorise.
    private func inlineAll() throws {
        for block in try blocks() {
            if try isReduction(block) || isOutput(block) { continue }
            let kind = try tag(block)
            guard [TOPI.Tag.elemwise, TOPI.Tag.broadcast, TOPI.Tag.injective, "constant"].contains(kind) else { continue }
            // An operand of an anchor is read many times: what is more than a constant is computed once.
            let consumers = try sch.getConsumers(block)
            let trivial = try sch.get(block).reads.isEmpty
            if !trivial, try consumers.contains(where: { try isAnchor($0) }) { continue }
            do { try sch.computeInline(block) } catch is ApusError { continue }
        }
    }

    private func isAnchor(_ block: BlockRV) throws -> Bool {
        [
            TOPI.Tag.conv2dNCHWc, TOPI.Tag.depthwiseConv2dNCHWc, TOPI.Tag.densePacked, "batch_matmul", "matmul",
            "dense", "conv2d_nchw", "group_conv2d_nchw", "depthwise_conv2d_nchw",
        ].contains(try tag(block))
    }

    /// Elements computed by a block, reductions counted; nil where a dimension is not known.
    func work(_ block: BlockRV) throws -> Int? {
        var total = 1
        for v in try sch.get(block).iterVars {
            guard let n = v.dom.extent.asInt else { return nil }
            let (product, overflow) = total.multipliedReportingOverflow(by: max(1, n))
            if overflow { return Int.max }
            total = product
        }
        return total
    }

    /// Fuses loops and runs them on all threads where there is enough work.
    func parallelise(_ loops: [LoopRV], work: Int?) throws {
        guard !loops.isEmpty, (work ?? Int.max) >= parallelWork else { return }
        let outer = loops.count == 1 ? loops[0] : try sch.fuse(loops)
        if try sch.get(outer).extent.asInt == 1 { return }
        try sch.parallel(outer)
    }

    // MARK: Plain blocks

    /// Parallel over the outer spatial loops, vectorised over the innermost one.
    private func plain(_ block: BlockRV) throws {
        let before = sch.copy()
        do {
            try schedulePlain(block)
        } catch is ApusError {
            sch = before
        }
    }

    private func schedulePlain(_ block: BlockRV) throws {
        let loops = try sch.getLoops(block)
        let info = try sch.get(block)
        guard loops.count == info.iterVars.count, !loops.isEmpty else { return }
        let spatial = zip(loops, info.iterVars).filter { $0.1.iterType == .dataParallel }.map { $0.0 }
        let reduce = zip(loops, info.iterVars).filter { $0.1.iterType == .commReduce }.map { $0.0 }
        guard spatial.count + reduce.count == loops.count, let innermost = spatial.last else { return }
        let total = try work(block)
        guard let extent = try sch.get(innermost).extent.asInt, let width = vectorWidth(extent, info) else {
            try parallelise(spatial, work: total)
            return
        }
        if reduce.isEmpty {
            // Rows stay rows where they are whole vectors: indices need no division then.
            if spatial.count >= 3, extent % width == 0 {
                let parts = try sch.split(innermost, factors: [nil, width])
                try sch.vectorize(parts[1])
                try parallelise(Array(spatial.dropLast(2)), work: total)
                return
            }
            // One flat loop: its pieces are even whatever the shape.
            let flat = spatial.count == 1 ? innermost : try sch.fuse(spatial)
            let parts = try sch.split(flat, factors: [nil, width])
            try sch.vectorize(parts[1])
            try parallelise([parts[0]], work: total)
            return
        }
        guard readsAlong(innermost, of: block, info) else {
            try parallelise(spatial, work: total)
            return
        }
        let parts = try sch.split(innermost, factors: [nil, width])
        try sch.reorder([parts[0]] + reduce + [parts[1]])
        let initial = try sch.decomposeReduction(block, reduce[0])
        try sch.vectorize(parts[1])
        if let last = try sch.getLoops(initial).last { try sch.vectorize(last) }
        try parallelise(Array(spatial.dropLast()) + [parts[0]], work: total)
    }

    /// Lanes for an innermost extent: whole vectors only, so that there is no tail.
    private func vectorWidth(_ extent: Int, _ block: Block) -> Int? {
        var widest = 1
        for r in block.writes + block.reads { widest = max(widest, Int(r.buffer.dtype.bits)) }
        let fit = max(2, lanes * 32 / max(widest, 8))
        for w in [fit * 2, fit, fit / 2] where w >= 4 && extent % w == 0 { return w }
        return nil
    }

    /// Whether some operand of a reduction lies contiguous along the innermost spatial loop.
    private func readsAlong(_ loop: LoopRV, of block: BlockRV, _ info: Block) -> Bool {
        guard let v = info.iterVars.last(where: { $0.iterType == .dataParallel })?.variable else { return false }
        return info.reads.contains { r in
            guard let last = r.region.last else { return false }
            return last.min === v
        }
    }
}
