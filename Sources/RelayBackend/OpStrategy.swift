import ApusIR
import ApusNode
import ApusRelay
import ApusRelayTransforms
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTOPI
import ApusTarget

/// One way to compute an operator: tensor expressions for its results from its operands.
public struct OpImplementation: Sendable {
    /// Attributes, operand tensors (tuples flattened), result type → result tensors.
    public typealias Compute = @Sendable (Attrs, [Tensor], IRType) throws -> [Tensor]

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

public let opStrategyKey = OpAttrKey<OpStrategy>("FTVMStrategy")

/// Gives every operator that TOPI computes its strategy, beside those already set.
public enum OpStrategies {
    private static let once: Void = {
        Relay.registerAll()
        PackedOps.registerAll()
        let packed = OpImplementation("conv2d_NCHWc.cpu") { attrs, inputs, _ in
            guard inputs.count == 2 else { throw ApusError("BACKEND009", "a convolution has two operands") }
            return [
                try TOPI.conv2dNCHWc(
                    inputs[0], inputs[1], strides: attrs.ints("strides") ?? [1, 1],
                    padding: attrs.ints("padding") ?? [0, 0, 0, 0],
                    dilation: attrs.ints("dilation") ?? [1, 1],
                    groups: attrs.int("groups") ?? 1)
            ]
        }
        Op.find("nn.contrib_conv2d_NCHWc")?.setting(opStrategyKey, OpStrategy([packed]))
        for name in TOPI.table.keys.sorted() {
            guard let op = Op.find(name), let compute = TOPI.table[name] else { continue }
            var strategy = op[opStrategyKey] ?? OpStrategy()
            strategy.add(OpImplementation("\(name).generic", compute: compute))
            op.setting(opStrategyKey, strategy)
        }
    }()

    /// Idempotent.
    public static func registerAll() { _ = once }
}
