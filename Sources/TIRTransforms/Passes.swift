import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private func pass(
    _ name: String, _ summary: String, level: Int = 0, requires: [String] = [], establishes: [String] = [],
    _ body: @escaping @Sendable (PrimFunc, PassContext) throws -> PrimFunc
) -> FunctionPass<PrimFunc> {
    let info = PassInfo("tir.\(name)", summary, level: level, requires: requires, establishes: establishes)
    return FunctionPass<PrimFunc>(info) { f, _, context in try body(f, context) }
}

/// The passes over loop functions, as values; each is also a plain function of the same name.
///
/// Options read from the context: `tir.unroll_budget`, `tir.auto_unroll_max_step`, `tir.auto_unroll_max_depth`,
/// `tir.auto_unroll_max_extent`, `tir.loop_partition_max_nodes`, `tir.loop_partition_all_conditions`,
/// `tir.loop_partition_no_unroll`, `tir.disable_vectorize`, `tir.use_fma`.
public enum TIRPasses {
    public static let lowerInitBlock = pass(
        "LowerInitBlock", "initialisation of a reduction becomes a guarded part of its block",
        establishes: ["no block has an init"]
    ) { f, _ in ApusTIRTransforms.lowerInitBlock(f) }

    public static let planAllocation = pass(
        "PlanAndUpdateBufferAllocationLocation", "allocations move to the innermost scope of all accesses"
    ) { f, _ in planAndUpdateBufferAllocationLocation(f) }

    public static let convertBlocksToOpaque = pass(
        "ConvertBlocksToOpaque", "iteration variables are replaced by their values",
        establishes: ["no block has iteration variables"]
    ) { f, _ in ApusTIRTransforms.convertBlocksToOpaque(f) }

    public static let compactBufferAllocation = pass(
        "CompactBufferAllocation", "intermediate buffers shrink to the region accessed"
    ) { f, _ in ApusTIRTransforms.compactBufferAllocation(f) }

    public static let lowerMatchBuffer = pass(
        "LowerMatchBuffer", "views of regions are replaced by what they view",
        establishes: ["no match buffers"]
    ) { f, _ in try ApusTIRTransforms.lowerMatchBuffer(f) }

    public static let lowerOpaqueBlock = pass(
        "LowerOpaqueBlock", "blocks become plain statements", establishes: ["no blocks"]
    ) { f, _ in ApusTIRTransforms.lowerOpaqueBlock(f) }

    public static let hoistAllocation = pass(
        "HoistAllocation", "memory allocated in each iteration of a serial loop is allocated once", level: 1
    ) { f, _ in ApusTIRTransforms.hoistAllocation(f) }

    public static let flattenBuffer = pass(
        "FlattenBuffer", "accesses get one index", establishes: ["buffers in the body have one dimension"]
    ) { f, _ in ApusTIRTransforms.flattenBuffer(f) }

    public static let loopPartition = pass(
        "LoopPartition", "loops are split where their guards hold for certain", level: 2
    ) { f, c in
        var options = LoopPartitionOptions()
        options.maxNodes = c.int("tir.loop_partition_max_nodes", default: options.maxNodes)
        options.allConditions = c.bool("tir.loop_partition_all_conditions", default: false)
        options.unrollSingleIterations = !c.bool("tir.loop_partition_no_unroll", default: false)
        return ApusTIRTransforms.loopPartition(f, options: options)
    }

    public static let vectorizeLoop = pass(
        "VectorizeLoop", "vectorised loops become vector expressions", establishes: ["no vectorised loops"]
    ) { f, c in
        ApusTIRTransforms.vectorizeLoop(f, enable: !c.bool("tir.disable_vectorize", default: false))
    }

    public static let transposeTiles = pass(
        "TransposeTiles", "square tiles read apart and written together are transposed in registers", level: 2
    ) { f, _ in ApusTIRTransforms.transposeTiles(f) }

    public static let combineLanes = pass(
        "CombineLanes", "the lanes of a vector of partial results are combined in halves", level: 2
    ) { f, _ in ApusTIRTransforms.combineLanes(f) }

    public static let unrollLoop = pass(
        "UnrollLoop", "unrolled loops are expanded", establishes: ["no unrolled loops"]
    ) { f, c in
        var options = UnrollOptions()
        options.budget = c.int("tir.unroll_budget", default: options.budget)
        options.autoMaxStep = c.int("tir.auto_unroll_max_step", default: options.autoMaxStep)
        options.autoMaxDepth = c.int("tir.auto_unroll_max_depth", default: options.autoMaxDepth)
        options.autoMaxExtent = c.int("tir.auto_unroll_max_extent", default: options.autoMaxExtent)
        return ApusTIRTransforms.unrollLoop(f, options: options)
    }

    public static let simplify = pass("Simplify", "expressions and branches are simplified") { f, _ in
        simplifyTIR(f)
    }

    public static let removeNoOp = pass("RemoveNoOp", "statements without effect are dropped") { f, _ in
        ApusTIRTransforms.removeNoOp(f)
    }

    public static let hoistIfThenElse = pass(
        "HoistIfThenElse", "conditions that do not change move out of loops", level: 1
    ) { f, _ in ApusTIRTransforms.hoistIfThenElse(f) }

    public static let commonSubexprElim = pass(
        "CommonSubexprElimTIR", "index expressions that occur twice are computed once", level: 4
    ) { f, _ in commonSubexprElimTIR(f) }

    public static let lowerIntrin = pass(
        "LowerIntrin", "elementary functions become arithmetic",
        establishes: ["float32 exp, log, tanh… are gone"]
    ) { f, c in ApusTIRTransforms.lowerIntrin(f, useFMA: c.bool("tir.use_fma", default: true)) }

    /// From a scheduled function to what a code generator takes. The comments say what holds from there on.
    ///
    /// Not in the list: RewriteUnsafeSelect (a `Select` evaluates both sides by definition; whoever needs a guard writes
    /// `if_then_else`), BF16Legalize (code generators know the type), NarrowDataType (for targets whose registers are
    /// narrower than an index), HoistIfThenElseBasic and ConvertForLoopsToSerial (parts of what is here, or for targets
    /// of one thread), InstrumentBoundCheckers and SkipAssert (for debugging).
    public static let lowering: [FunctionPass<PrimFunc>] = [
        lowerInitBlock,
        // While iteration variables still tell reductions from spatial loops.
        planAllocation,
        convertBlocksToOpaque,
        compactBufferAllocation,
        lowerMatchBuffer,
        // Where blocks still tell which statement writes what, and buffers have their dimensions and least size:
        // loops asked to overlap the work of iterations.
        injectDoubleBuffer,
        injectSoftwarePipeline,
        injectPrefetch,
        // No blocks from here on.
        lowerOpaqueBlock,
        // After compaction: sizes no longer depend on the loops around.
        hoistAllocation,
        // One index an access, in normal form.
        flattenBuffer,
        // No virtual threads from here on: what belongs to each is a part of one allocation.
        injectVirtualThread,
        hoistIfThenElse,
        loopPartition,
        vectorizeLoop,
        // While the rows of a tile are a loop.
        transposeTiles,
        // While lanes are a loop.
        combineLanes,
        unrollLoop,
        simplify,
        removeNoOp,
        // After dead memory is gone and before expressions get names: allocations that never live together share.
        storageRewrite,
        commonSubexprElim,
        // Last: nothing after it understands what exp was.
        lowerIntrin,
    ]
}
