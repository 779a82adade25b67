import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Quasi-affine maps as trees: a sum of digits of counters, a counter being a variable or again a sum. Nodes of their own
// and no `PrimExpr`s: `Analyzer.expression` turns them back. (TVM's iter_affine_map has the same three.)

/// Something that counts through `0 ..< extent`: `source - min`, the source a variable or a sum whose digits run
/// densely. Splits of one counter share the node: identity tells counters apart.
public final class IterMark: Node, @unchecked Sendable {
    /// A `Var` or an `IterSumExpr`.
    public let source: Node
    public let min: PrimExpr
    public let extent: PrimExpr

    public init(_ variable: Var, min: PrimExpr = IntImm(0), extent: PrimExpr) {
        self.source = variable
        self.min = min
        self.extent = extent
    }
    public init(_ sum: IterSumExpr, min: PrimExpr = IntImm(0), extent: PrimExpr) {
        self.source = sum
        self.min = min
        self.extent = extent
    }

    public var variable: Var? { source as? Var }
    public var sum: IterSumExpr? { source as? IterSumExpr }

    public override class var schema: NodeSchema { markSchema }
    public override var description: String { "IterMark(\(source), min=\(min), extent=\(extent))" }
}

private let markSchema = NodeSchema(
    "arith.IterMark", IterMark.self,
    [.field("source", \.source), .field("min", \.min), .field("extent", \.extent)], identity: .graph,
    make: {
        let source: Node = try $0.next()
        let low: PrimExpr = try $0.next()
        let extent: PrimExpr = try $0.next()
        if let v = source as? Var { return IterMark(v, min: low, extent: extent) }
        if let s = source as? IterSumExpr { return IterMark(s, min: low, extent: extent) }
        throw ApusError(
            "ARI032", "a counter is a variable or a sum", expected: "tir.Var or arith.IterSumExpr",
            actual: source.schema.key)
    })

/// One digit of a counter, scaled: `source // lowerFactor mod extent * scale`.
public final class IterSplitExpr: Node, @unchecked Sendable {
    public let source: IterMark
    public let lowerFactor: PrimExpr
    public let extent: PrimExpr
    public let scale: PrimExpr

    public init(_ source: IterMark, lowerFactor: PrimExpr, extent: PrimExpr, scale: PrimExpr) {
        self.source = source
        self.lowerFactor = lowerFactor
        self.extent = extent
        self.scale = scale
    }
    /// The whole counter.
    public convenience init(_ source: IterMark, scale: PrimExpr = IntImm(1)) {
        self.init(source, lowerFactor: IntImm(1), extent: source.extent, scale: scale)
    }

    func scaled(_ scale: PrimExpr) -> IterSplitExpr {
        IterSplitExpr(source, lowerFactor: lowerFactor, extent: extent, scale: scale)
    }

    public override class var schema: NodeSchema { splitSchema }
    public override var description: String {
        "IterSplit(\(source), lower=\(lowerFactor), extent=\(extent), scale=\(scale))"
    }
}

private let splitSchema = NodeSchema(
    "arith.IterSplitExpr", IterSplitExpr.self,
    [
        .field("source", \.source), .field("lowerFactor", \.lowerFactor), .field("extent", \.extent),
        .field("scale", \.scale),
    ],
    make: {
        let source: IterMark = try $0.next()
        let lower: PrimExpr = try $0.next()
        let extent: PrimExpr = try $0.next()
        return IterSplitExpr(source, lowerFactor: lower, extent: extent, scale: try $0.next())
    })

/// `base + sum(args)`
public final class IterSumExpr: Node, @unchecked Sendable {
    public let args: [IterSplitExpr]
    public let base: PrimExpr

    public init(_ args: [IterSplitExpr], base: PrimExpr) {
        self.args = args
        self.base = base
    }

    public override class var schema: NodeSchema { sumSchema }
    public override var description: String {
        "IterSum([\(args.map { "\($0)" }.joined(separator: ", "))], \(base))"
    }
}

private let sumSchema = NodeSchema(
    "arith.IterSumExpr", IterSumExpr.self, [.field("args", \.args), .field("base", \.base)],
    make: {
        let args: [IterSplitExpr] = try $0.next()
        return IterSumExpr(args, base: try $0.next())
    })

extension Analyzer {
    /// A sum as an expression of the variables that it counts.
    public func expression(_ s: IterSumExpr) -> PrimExpr {
        var b = IterExpressionBuilder(analyzer: self)
        return simplify(b.build(s))
    }

    /// A counter as an expression.
    public func expression(_ m: IterMark) -> PrimExpr {
        var b = IterExpressionBuilder(analyzer: self)
        return simplify(b.build(m))
    }
}

/// Builds the expressions of sums, that of each counter once: digits of it share the node.
private struct IterExpressionBuilder {
    let analyzer: Analyzer
    var known: [ObjectIdentifier: PrimExpr] = [:]

    mutating func build(_ s: IterSumExpr) -> PrimExpr {
        var sum = s.base
        for a in s.args where !a.extent.isOne { sum = sum + build(a) }
        return sum
    }

    mutating func build(_ m: IterMark) -> PrimExpr {
        if let e = known[ObjectIdentifier(m)] { return e }
        var e: PrimExpr = const(0)
        if let v = m.variable { e = v - m.min } else if let s = m.sum { e = build(s) - m.min }
        known[ObjectIdentifier(m)] = e
        return e
    }

    private mutating func build(_ s: IterSplitExpr) -> PrimExpr {
        var v = build(s.source)
        if !s.lowerFactor.isOne { v = floorDiv(v, s.lowerFactor) }
        // The highest digit has nothing above it.
        if !analyzer.canProveGreaterEqual(s.lowerFactor * s.extent, s.source.extent) {
            v = floorMod(v, s.extent)
        }
        return v * s.scale
    }
}
