import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private func pass(
    _ name: String, _ summary: String, requires: [String] = [], establishes: [String] = [],
    _ body: @escaping @Sendable (PrimFunc, PassContext) throws -> PrimFunc
) -> FunctionPass<PrimFunc> {
    let info = PassInfo("tir.\(name)", summary, requires: requires, establishes: establishes)
    return FunctionPass<PrimFunc>(info) { f, _, context in try body(f, context) }
}

/// The passes of programs for devices with threads. Options read from the context: `tir.warp_size` (threads of a warp, 1
/// = no shuffles).
extension TIRPasses {
    public static let lowerCrossThreadReduction = pass(
        "LowerCrossThreadReduction", "reductions bound to threads combine the threads' parts"
    ) { f, _ in try ApusTIRTransforms.lowerCrossThreadReduction(f) }

    public static let unifyThreadBinding = pass(
        "UnifyThreadBinding", "loops bound to one thread axis become one loop around the kernel",
        establishes: ["a kernel has one loop an axis, at its beginning"]
    ) { f, _ in try ApusTIRTransforms.unifyThreadBinding(f) }

    public static let textureFlatten = pass(
        "TextureFlatten", "textures get rows, columns and channels"
    ) { f, _ in try ApusTIRTransforms.textureFlatten(f) }

    public static let inferFragment = pass(
        "InferFragment", "fragments of matrix units know their shape and layout"
    ) { f, _ in try ApusTIRTransforms.inferFragment(f) }

    public static let lowerThreadAllreduce = pass(
        "LowerThreadAllreduce", "reductions across threads become shuffles or a tree in shared memory",
        establishes: ["no thread_allreduce"]
    ) { f, c in try ApusTIRTransforms.lowerThreadAllreduce(f, warpSize: c.int("tir.warp_size", default: 32)) }

    public static let mergeDynamicSharedMemoryAllocations = pass(
        "MergeDynamicSharedMemoryAllocations", "dynamic shared memory is one allocation a kernel"
    ) { f, _ in try ApusTIRTransforms.mergeDynamicSharedMemoryAllocations(f) }

    /// Barriers for memory of one scope.
    public static func threadSync(_ scope: String) -> FunctionPass<PrimFunc> {
        pass("ThreadSync(\(scope))", "threads wait for what others write to \(scope) memory") { f, _ in
            try ApusTIRTransforms.threadSync(f, scope: scope)
        }
    }

    public static let lowerWarpMemory = pass(
        "LowerWarpMemory", "warp memory becomes each lane's own and shuffles", establishes: ["no warp memory"]
    ) { f, c in try ApusTIRTransforms.lowerWarpMemory(f, warpSize: c.int("tir.warp_size", default: 32)) }

    public static let pointerValueTypeRewrite = pass(
        "PointerValueTypeRewrite", "buffers accessed as vectors only become buffers of vectors"
    ) { f, _ in ApusTIRTransforms.pointerValueTypeRewrite(f) }

    /// Renames thread axes.
    public static func remapThreadAxis(_ map: [String: String]) -> FunctionPass<PrimFunc> {
        pass("RemapThreadAxis", "thread axes are renamed") { f, _ in ApusTIRTransforms.remapThreadAxis(f, map)
        }
    }

    public static let convertThreadsToLoops = pass(
        "ConvertThreadsToLoops", "threads run as loops between barriers",
        establishes: ["no thread-bound loops, barriers or shuffles"]
    ) { f, _ in try ApusTIRTransforms.convertThreadsToLoops(f) }

    /// Option: `tir.target_kind`, whose rules are taken.
    public static let lowerIntrinForDevice = pass(
        "LowerIntrinForDevice", "intrinsics become what the kind of target computes them with"
    ) { f, c in
        var kind = "default"
        if case .string(let s)? = c.config["tir.target_kind"] { kind = s }
        return ApusTIRTransforms.lowerIntrin(f, useFMA: c.bool("tir.use_fma", default: true), kind: kind)
    }

    public static let lowerFloorDivision = pass(
        "LowerFloorDivision", "floor division and modulo become shifts, masks and plain division",
        establishes: ["no floor division or modulo of integers"]
    ) { f, _ in ApusTIRTransforms.lowerFloorDivision(f) }

    public static let matchFMA = pass(
        "MatchFMA", "products that are added to something become fused multiply-adds"
    ) { f, _ in ApusTIRTransforms.matchFMA(f) }

    public static let makePackedAPI = FunctionPass<PrimFunc>(
        PassInfo("tir.MakePackedAPI", "functions check and bind their arguments themselves")
    ) { f, _, _ in try ApusTIRTransforms.makePackedAPI(f) }

    public static let makeUnpackedAPI = FunctionPass<PrimFunc>(
        PassInfo("tir.MakeUnpackedAPI", "functions take pointers, scalars and dimensions")
    ) { f, _, _ in try ApusTIRTransforms.makeUnpackedAPI(f) }

    public static let decorateDeviceScope = pass(
        "DecorateDeviceScope", "the whole function is code of the device"
    ) { f, _ in ApusTIRTransforms.decorateDeviceScope(f) }

    public static let combineContextCall = pass(
        "CombineContextCall", "contexts of the thread are taken once"
    ) { f, _ in ApusTIRTransforms.combineContextCall(f) }

    public static let splitHostDevice = ModulePass(
        PassInfo(
            "tir.SplitHostDevice", "kernels become functions of their own that the host calls",
            establishes: ["thread-bound loops are in kernels only"])
    ) { m, _ in try ApusTIRTransforms.splitHostDevice(m) }

    public static let lowerKernelLaunch = ModulePass(
        PassInfo("tir.LowerKernelLaunch", "the host starts kernels by packed calls")
    ) { m, _ in ApusTIRTransforms.lowerKernelLaunch(m) }

    /// From a scheduled function with thread-bound loops to a host function and kernels. The comments say what holds
    /// from there on.
    public static let deviceLowering: [any Pass] = [
        // While blocks tell reductions from spatial loops.
        lowerCrossThreadReduction,
        lowerInitBlock,
        planAllocation,
        convertBlocksToOpaque,
        compactBufferAllocation,
        lowerMatchBuffer,
        injectDoubleBuffer,
        injectSoftwarePipeline,
        injectPrefetch,
        // No blocks from here on.
        lowerOpaqueBlock,
        textureFlatten,
        flattenBuffer,
        // While memory stands where it belongs: what is allocated in the loop of a virtual thread is its own.
        injectVirtualThread,
        // A kernel is one nest of loops over blocks and threads.
        unifyThreadBinding,
        hoistIfThenElse,
        loopPartition,
        // A partition by the block leaves threads below its condition.
        unifyThreadBinding,
        vectorizeLoop,
        unrollLoop,
        simplify,
        removeNoOp,
        inferFragment,
        lowerThreadAllreduce,
        // Before barriers: merged buffers share bytes.
        mergeDynamicSharedMemoryAllocations,
        threadSync("global"),
        threadSync("shared"),
        lowerWarpMemory,
        pointerValueTypeRewrite,
        simplify,
        splitHostDevice,
        // Last: nothing after it understands what exp or a floor division was.
        lowerIntrinForDevice,
        lowerFloorDivision,
    ]
}
