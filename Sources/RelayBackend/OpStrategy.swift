import ApusIR
import ApusNode
import ApusRelay
import ApusRelayTransforms
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTOPI
import ApusTarget

/// One way to compute an operator: tensor expressions for its results from its operands.
public struct OpImplementation: Sendable {
    /// Attributes, operand tensors (tuples flattened), result type, target → result tensors.
    public typealias Compute = @Sendable (Attrs, [Tensor], IRType, Target) throws -> [Tensor]

    public let name: String
    /// Among those that apply, the greatest wins.
    public let priority: Int
    /// Whether it can serve this call for this target.
    public let applies: @Sendable (Attrs, [IRType], Target) -> Bool
    public let compute: Compute

    public init(
        _ name: String, priority: Int = 10,
        applies: @escaping @Sendable (Attrs, [IRType], Target) -> Bool = { _, _, _ in true },
        compute: @escaping Compute
    ) {
        self.name = name
        self.priority = priority
        self.applies = applies
        self.compute = compute
    }
}

/// The implementations of an operator. (TVM's `FTVMStrategy`.)
public struct OpStrategy: Sendable {
    public private(set) var implementations: [OpImplementation]

    public init(_ implementations: [OpImplementation] = []) { self.implementations = implementations }

    public mutating func add(_ implementation: OpImplementation) { implementations.append(implementation) }

    /// The best that applies.
    public func select(_ attrs: Attrs, _ types: [IRType], _ target: Target) -> OpImplementation? {
        var best: OpImplementation?
        for i in implementations where i.applies(attrs, types, target) {
            if i.priority > best?.priority ?? Int.min { best = i }
        }
        return best
    }
}

/// Whether copying the right operand of a matrix product into panels is worth it: there are more rows than a register tile
/// has, so that the copy is read more than once, and its rows do not already lie near each other in whole vectors.
@Sendable private func repackPays(_ attrs: Attrs, _ types: [IRType], _ target: Target) -> Bool {
    guard types.count == 2, let a = types[0] as? TensorType, let b = types[1] as? TensorType,
        a.dtype == .float32, b.dtype == .float32, (attrs.dtype("out_dtype") ?? .float32) == .float32,
        let left = a.staticShape, let right = b.staticShape, left.count >= 2, right.count == left.count,
        !(left + right).contains(0)
    else { return false }
    let machine = target.machine
    let lanes = machine.lanes(bits: 32)
    let transposed = attrs.bool("transpose_b") ?? false
    let rows = left[left.count - (attrs.bool("transpose_a") ?? false ? 1 : 2)]
    let columns = right[right.count - (transposed ? 2 : 1)]
    guard lanes >= 4, rows >= 8, columns >= lanes / 2 else { return false }
    // Rows further apart than a quarter of a page touch a new page every few steps.
    return transposed || columns % lanes != 0 || columns * b.dtype.byteCount > 1024
}

/// The extents of attention in float32, where they are known.
@Sendable private func attentionShape(_ types: [IRType]) -> AttentionShape? {
    let tensors = types.compactMap { $0 as? TensorType }
    guard tensors.count == types.count, tensors.count >= 3, tensors.allSatisfy({ $0.dtype == .float32 }),
        let q = tensors[0].staticShape, let k = tensors[1].staticShape, let v = tensors[2].staticShape
    else { return nil }
    let n = q.count
    return AttentionShape(
        outer: Array(q.dropLast(2)), rows: q[n - 2], keys: k[n - 2], depth: q[n - 1], width: v[n - 1])
}

public let opStrategyKey = OpAttrKey<OpStrategy>("FTVMStrategy")

/// Gives every operator that TOPI computes its strategy, beside those already set.
public enum OpStrategies {
    private static let once: Void = {
        TENodes.registerAll()
        Relay.registerAll()
        PackedOps.registerAll()
        let packed = OpImplementation("conv2d_NCHWc.cpu") { attrs, inputs, _, _ in
            guard inputs.count == 2 else { throw ApusError("BACKEND009", "a convolution has two operands") }
            return [
                try TOPI.conv2dNCHWc(
                    inputs[0], inputs[1], strides: attrs.ints("strides") ?? [1, 1],
                    padding: attrs.ints("padding") ?? [0, 0, 0, 0],
                    dilation: attrs.ints("dilation") ?? [1, 1],
                    groups: attrs.int("groups") ?? 1,
                    inChannels: attrs.int("in_channels").flatMap { $0 > 0 ? $0 : nil },
                    dot: DotProduct(rawValue: attrs.string("dot") ?? ""), outDType: attrs.dtype("out_dtype"))
            ]
        }
        Op.find("nn.contrib_conv2d_NCHWc")?.setting(opStrategyKey, OpStrategy([packed]))
        let winograd = OpImplementation("conv2d_winograd_NCHWc.cpu") { attrs, inputs, result, target in
            guard inputs.count == 2 else { throw ApusError("BACKEND009", "a convolution has two operands") }
            let tile = attrs.int("tile_size") ?? 4
            guard let w = inputs[1].staticShape, w.count == 5, let y = (result as? TensorType)?.staticShape,
                let plan = WinogradPlan(
                    batch: y[0], inChannels: w[3], outChannels: w[2] * w[4], height: y[2], width: y[3],
                    tile: tile, taps: w[0] - tile + 1, machine: target.machine)
            else {
                throw ApusError("BACKEND009", "Winograd's method needs static shapes", actual: "\(result)")
            }
            return [
                try TOPI.conv2dWinogradNCHWc(
                    inputs[0], inputs[1], tile: tile, padding: attrs.ints("padding") ?? [0, 0, 0, 0],
                    chunk: plan.chunk)
            ]
        }
        Op.find("nn.contrib_conv2d_winograd_without_weight_transform")?.setting(
            opStrategyKey, OpStrategy([winograd]))
        let winogradWeight = OpImplementation("conv2d_winograd_weight_transform.cpu") { attrs, inputs, _, _ in
            guard inputs.count == 1 else { throw ApusError("BACKEND009", "a weight is one operand") }
            return [
                try TOPI.conv2dWinogradWeightTransform(
                    inputs[0], tile: attrs.int("tile_size") ?? 4, block: attrs.int("channel_block") ?? 0)
            ]
        }
        Op.find("nn.contrib_conv2d_winograd_weight_transform")?.setting(
            opStrategyKey, OpStrategy([winogradWeight]))
        let words = OpImplementation("nn.contrib_matmul_words.cpu") { attrs, inputs, _, target in
            guard inputs.count == 2, let dot = DotProduct(rawValue: attrs.string("dot") ?? "") else {
                throw ApusError("BACKEND009", "a product of words has two operands and a kind")
            }
            return [
                try TOPI.matmulPanels(
                    inputs[0], inputs[1], transposeA: false, transposeB: attrs.bool("transpose_b") ?? false,
                    lanes: target.machine.lanes(bits: 32), dot: dot)
            ]
        }
        Op.find("nn.contrib_matmul_words")?.setting(opStrategyKey, OpStrategy([words]))
        for name in ["nn.matmul", "nn.batch_matmul"] {
            let panels = OpImplementation("\(name).panels.cpu", priority: 20, applies: repackPays) {
                attrs, inputs, _, target in
                guard inputs.count == 2 else {
                    throw ApusError("BACKEND009", "a matrix product has two operands")
                }
                return [
                    try TOPI.matmulPanels(
                        inputs[0], inputs[1], transposeA: attrs.bool("transpose_a") ?? false,
                        transposeB: attrs.bool("transpose_b") ?? false, lanes: target.machine.lanes(bits: 32))
                ]
            }
            Op.find(name)?.setting(opStrategyKey, OpStrategy([panels]))
        }
        let attention = OpImplementation(
            "nn.attention.fused.cpu", priority: 20,
            applies: { _, types, target in
                attentionShape(types).map { TOPI.attentionPays($0, machine: target.machine) } ?? false
            }
        ) { attrs, inputs, type, target in
            guard inputs.count >= 3 else {
                throw ApusError("BACKEND009", "attention has three operands at least")
            }
            let fused = try TOPI.fusedAttention(
                inputs[0], inputs[1], inputs[2], mask: inputs.count > 3 ? inputs[3] : nil,
                scale: attrs.float("scale") ?? 1, causal: attrs.bool("causal") ?? false,
                axes: attrs.ints("axes") ?? [],
                machine: target.machine)
            return try fused.map { [$0] } ?? TOPI.results(of: "nn.attention", attrs, inputs, type)
        }
        Op.find("nn.attention")?.setting(opStrategyKey, OpStrategy([attention]))
        // A dense layer whose weight is known only at run time.
        let dense = OpImplementation(
            "nn.dense.panels.cpu", priority: 20,
            applies: { attrs, types, target in
                repackPays(attrs.setting("transpose_b", .bool(true)), types, target)
            }
        ) { _, inputs, _, target in
            guard inputs.count == 2 else { throw ApusError("BACKEND009", "a dense layer has two operands") }
            return [
                try TOPI.matmulPanels(
                    inputs[0], inputs[1], transposeA: false, transposeB: true,
                    lanes: target.machine.lanes(bits: 32))
            ]
        }
        Op.find("nn.dense")?.setting(opStrategyKey, OpStrategy([dense]))
        for name in TOPI.table.keys.sorted() {
            guard let op = Op.find(name), let compute = TOPI.table[name] else { continue }
            var strategy = op[opStrategyKey] ?? OpStrategy()
            strategy.add(
                OpImplementation("\(name).generic") { attrs, inputs, type, _ in
                    try compute(attrs, inputs, type)
                })
            op.setting(opStrategyKey, strategy)
        }
    }()

    /// Also registers the node kinds, operators and intrinsics of all rooms below. Idempotent.
    public static func registerAll() { _ = once }
}
