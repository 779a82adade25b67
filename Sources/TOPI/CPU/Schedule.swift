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
        let machine = target.machine
        var options = CPUScheduleOptions(lanes: machine.lanes(bits: 32))
        // Channel blocks narrower than a vector are vectors of their own: anything wider would cross them.
        if let block = function.bufferMap.last?.buffer.staticShape, block.count == 5, let width = block.last,
            width >= 4, width < options.lanes
        {
            options.lanes = width
        }
        let schedule = try Schedule(function)
        // What is refused is left out; nobody reads why.
        schedule.errorRenderLevel = .fast
        let scheduler = CPUScheduler(schedule, options, machine: machine)
        guard try scheduler.hasAnchor() else { return try scheduleGeneric(function, options) }
        try scheduler.run()
        return likelyGuards(scheduler.sch.function)
    }
}

/// One function's schedule in the making.
final class CPUScheduler {
    private(set) var sch: Schedule
    /// Floats of 32 bits in a vector register.
    let lanes: Int
    let machine: Machine
    /// Vector registers there are.
    var registers: Int { machine.vectorRegisters }
    /// Multiply-adds that run at the same time when the units are busy.
    var inFlight: Int { machine.fmaPorts * machine.fmaLatency }

    let options: TOPI.CPUScheduleOptions

    init(_ schedule: Schedule, _ options: TOPI.CPUScheduleOptions, machine: Machine) {
        sch = schedule
        self.options = options
        self.machine = machine
        lanes = options.lanes
    }

    func hasAnchor() throws -> Bool { try blocks().contains { try isAnchor($0) } }

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
        if let winograd = try WinogradSchedule(self) {
            let before = sch.copy()
            do { done = try winograd.apply() } catch is ApusError { sch = before }
        }
        if let weight = try WinogradWeightSchedule(self) {
            let before = sch.copy()
            do { done = try weight.apply() } catch is ApusError { sch = before }
        }
        for (block, name) in named where !done.contains(name) {
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
        for (_, name) in named where !done.contains(name) {
            if let tail = try TOPI.scheduleBlock(&sch, name, options) { done.insert(tail) }
        }
    }

    /// Inlines every block whose value is cheap to compute again where it is used; the padding of a windowed operator
    /// keeps its memory, because each element is read many times and guarded reads do not vectorise.
    private func inlineAll() throws {
        for block in try blocks() {
            if try isReduction(block) || isOutput(block) { continue }
            let kind = try tag(block)
            guard [TOPI.Tag.elemwise, TOPI.Tag.broadcast, TOPI.Tag.injective, "constant"].contains(kind)
            else { continue }
            // An operand of an anchor is read many times: what is more than a constant is computed once.
            let consumers = try sch.getConsumers(block)
            let trivial = try sch.get(block).reads.isEmpty
            if !trivial, try consumers.contains(where: { try isAnchor($0) }) { continue }
            do { try sch.computeInline(block) } catch is ApusError { continue }
        }
    }

    private func isAnchor(_ block: BlockRV) throws -> Bool {
        [
            TOPI.Tag.conv2dNCHWc, TOPI.Tag.depthwiseConv2dNCHWc, TOPI.Tag.densePacked, "batch_matmul",
            "matmul",
            "dense", TOPI.Tag.winogradProduct, TOPI.Tag.winogradWeight, "conv2d_nchw", "group_conv2d_nchw",
            "depthwise_conv2d_nchw",
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
        guard !loops.isEmpty, (work ?? Int.max) >= options.parallelWork else { return }
        let outer = loops.count == 1 ? loops[0] : try sch.fuse(loops)
        if try sch.get(outer).extent.asInt == 1 { return }
        try sch.parallel(outer)
    }

    // MARK: Axes

    /// An axis of the result: the loop that runs over it (nil for an extent of 1 without a loop) and its length.
    struct Axis {
        let loop: LoopRV?
        let extent: Int
    }

    /// The loops of the storing block by axis of the result.
    func axisLoops(_ store: BlockRV) throws -> [Axis] {
        let loops = try sch.getLoops(store)
        let info = try sch.get(store)
        var byVariable: [Var: LoopRV] = [:]
        for l in loops { byVariable[try sch.get(l).loopVar] = l }
        var values: [PrimExpr] = []
        postOrderVisit(
            sch.function.body,
            stmt: { s in if let r = s as? BlockRealize, r.block === info { values = r.iterValues } })
        var axes: [Axis] = []
        for (v, value) in zip(info.iterVars, values) {
            guard let extent = v.dom.extent.asInt else {
                throw ApusError("TOPI030", "a register tile needs constant extents")
            }
            let loop = (value as? Var).flatMap { byVariable[$0] }
            guard loop != nil || extent == 1 else {
                throw ApusError("TOPI030", "an axis has no loop of its own")
            }
            axes.append(Axis(loop: loop, extent: extent))
        }
        return axes
    }

    /// An axis cut into pieces of `size`: the loop over pieces and the loop in one, each absent where it would be empty.
    func splitOff(_ axis: Axis, _ size: Int) throws -> (outer: [LoopRV], inner: [LoopRV]) {
        guard let loop = axis.loop else { return (outer: [], inner: []) }
        if size == 1 { return (outer: [loop], inner: []) }
        if size == axis.extent { return (outer: [], inner: [loop]) }
        let parts = try sch.split(loop, factors: [nil, size])
        return (outer: [parts[0]], inner: [parts[1]])
    }
}
