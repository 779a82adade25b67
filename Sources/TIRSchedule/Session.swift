import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

// What concerns the schedule itself rather than the program.

extension Schedule {
    /// Lets `getBlock` look in one function of the module only, unless it is told another. SCH004 if there is none.
    public func workOn(_ function: String) throws {
        guard functions.contains(where: { $0.name == function }) else {
            throw ApusError(
                "SCH004", "no function is called `\(function)`",
                expected: "one of " + functions.map(\.name).joined(separator: ", "))
        }
        focus = function
    }

    /// The blocks directly inside a block that write what outlives it: parameters of the function, or buffers of
    /// blocks further out; in order of execution.
    public func getOutputBlocks(_ scope: BlockRV) throws -> [BlockRV] {
        let (f, index, at, r) = try locate(scope)
        let own = Set(r.block.allocBuffers)
        let found = index.blocksBelow(at).filter { i in
            index.realize(i)?.block.writes.contains { !own.contains($0.buffer) } ?? false
        }
        let blocks = found.compactMap { i in index.realize(i).map { newBlock(f, $0.block.name) } }
        record("getOutputBlocks", [.block(scope.id)], outputs: blocks.map { .block($0.id) })
        return blocks
    }

    /// Marks in the trace where the search's decisions end and its postprocessing begins; `Trace.simplified` may leave
    /// out what follows.
    public func enterPostproc() { record("enterPostproc", []) }

    /// Forgets a handle; using it afterwards is SCH003. The program and the trace stay.
    public func remove(_ block: BlockRV) throws { try forget(block.id) }
    /// Forgets a handle; using it afterwards is SCH003. The program and the trace stay.
    public func remove(_ loop: LoopRV) throws { try forget(loop.id) }
    /// Forgets a handle; using it afterwards is SCH003. The program and the trace stay.
    public func remove(_ value: IntRV) throws { try forget(value.id) }

    private func forget(_ id: Int) throws {
        guard handles.indices.contains(id) else {
            throw ApusError("SCH003", "not a handle of this schedule", actual: "\(id)")
        }
        handles[id] = .removed
    }

    /// Restarts the source of all sampling.
    public func seed(_ seed: Int) { random = SplitMix64(seed: seed) }

    /// A seed for another schedule: independent of what this one draws next, and determined by its state.
    public func forkSeed() -> Int { Int(truncatingIfNeeded: random.next() &* 0x2545_F491_4F6C_DD1D >> 1) }
}
