import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRSchedule

/// The schedule of the transformation of weights for Winograd's method.
///
/// The two axes of the tile are innermost and unrolled, so that the coefficients are constants and terms of zeros vanish;
/// vectors run over the last axis of the result. Each filter is read once and its transformed elements are written once.
struct WinogradWeightSchedule {
    private let scheduler: CPUScheduler
    private let columns: BlockRV
    private let result: BlockRV

    private var sch: Schedule { scheduler.sch }

    /// The schedule for a function that has the stages, or nil.
    init?(_ scheduler: CPUScheduler) throws {
        self.scheduler = scheduler
        var found: [String: BlockRV] = [:]
        for block in try scheduler.blocks() { found[try scheduler.tag(block)] = block }
        guard let columns = found[TOPI.Tag.winogradWeightColumns], let result = found[TOPI.Tag.winogradWeight]
        else {
            return nil
        }
        self.columns = columns
        self.result = result
    }

    /// Applies it; returns the names of the blocks that need nothing more.
    func apply() throws -> Set<String> {
        let axes = try scheduler.axisLoops(result)
        guard axes.count >= 4, let e = axes[0].loop, let f = axes[1].loop, let last = axes.last else {
            throw ApusError("TOPI030", "the transformed weight has one element a filter")
        }
        var outer = axes.dropFirst(2).compactMap { $0.loop }
        var lanes: LoopRV?
        let widths = [scheduler.lanes, scheduler.lanes / 2, scheduler.lanes / 4].filter { $0 > 1 }
        if last.loop != nil, let width = widths.first(where: { last.extent % $0 == 0 }) {
            let parts = try scheduler.splitOff(last, width)
            outer = outer.dropLast() + parts.outer
            lanes = parts.inner.first
        }
        if outer.isEmpty { outer = [try sch.addUnitLoop(e)] }
        try sch.reorder(outer + [e, f] + [lanes].compactMap { $0 })
        guard let at = outer.last else { throw ApusError("TOPI030", "the filters have no loop") }
        try sch.computeAt(columns, at)
        try sch.setScope(columns, scope: "local")
        var own = Array(try sch.getLoops(columns).dropFirst(outer.count))
        if let lanes {
            try sch.vectorize(own.removeLast())
            try sch.vectorize(lanes)
        }
        for l in own + [e, f] { try sch.unroll(l) }
        try scheduler.parallelise(outer, work: try scheduler.work(result))
        return [try sch.get(columns).name, try sch.get(result).name]
    }
}
