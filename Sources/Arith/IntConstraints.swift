import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Variables, ranges of variables (of these and of parameters) and conditions on them: a set of integer points.
/// (TVM's IntConstraints.)
public final class IntConstraints: Node, @unchecked Sendable {
    public let variables: [Var]
    /// The variables that have a range, in a fixed order, beside `ranges`.
    public let rangeVariables: [Var]
    public let ranges: [IRRange]
    /// Boolean expressions, all of which hold.
    public let relations: [PrimExpr]

    public init(_ variables: [Var], ranges: [(variable: Var, range: IRRange)], relations: [PrimExpr]) {
        self.variables = variables
        self.rangeVariables = ranges.map(\.variable)
        self.ranges = ranges.map(\.range)
        self.relations = relations
    }

    /// The range of `v`, if it has one.
    public func range(of v: Var) -> IRRange? {
        rangeVariables.firstIndex { $0 === v }.map { ranges[$0] }
    }

    /// Whether no point fulfils them, as far as is seen.
    public var isContradiction: Bool { relations.contains { $0.isFalse } }

    public override class var schema: NodeSchema { constraintsSchema }
    public override var description: String {
        let list = zip(rangeVariables, ranges).map { "\($0.name) in \($1)" }.joined(separator: ", ")
        let conditions = relations.map { "\($0)" }.joined(separator: ", ")
        return
            "IntConstraints([\(variables.map(\.name).joined(separator: ", "))], {\(list)}, [\(conditions)])"
    }
}

private let constraintsSchema = NodeSchema(
    "arith.IntConstraints", IntConstraints.self,
    [
        .definition("variables", \.variables), .definition("rangeVariables", \.rangeVariables),
        .field("ranges", \.ranges), .field("relations", \.relations),
    ],
    make: {
        let variables: [Var] = try $0.next()
        let keys: [Var] = try $0.next()
        let ranges: [IRRange] = try $0.next()
        guard keys.count == ranges.count else {
            throw ApusError(
                "ARI030", "each variable with a range needs one", expected: "\(keys.count) ranges",
                actual: "\(ranges.count)")
        }
        let list = keys.indices.map { (variable: keys[$0], range: ranges[$0]) }
        return IntConstraints(variables, ranges: list, relations: try $0.next())
    })

/// Two descriptions of one set of points and the maps between them: a variable of `src` as an expression of the
/// variables of `dst`, and the other way round. (TVM's IntConstraintsTransform.)
public final class IntConstraintsTransform: Node, @unchecked Sendable {
    public let src: IntConstraints
    public let dst: IntConstraints
    /// One expression for each of `src.variables`.
    public let srcToDst: [PrimExpr]
    /// One expression for each of `dst.variables`.
    public let dstToSrc: [PrimExpr]

    /// The lists must have the lengths of the variables' lists.
    public init(_ src: IntConstraints, _ dst: IntConstraints, srcToDst: [PrimExpr], dstToSrc: [PrimExpr]) {
        self.src = src
        self.dst = dst
        self.srcToDst = srcToDst
        self.dstToSrc = dstToSrc
    }

    /// The expression in the variables of `dst` that `v` of `src` is.
    public func toDst(_ v: Var) -> PrimExpr? {
        src.variables.firstIndex { $0 === v }.map { srcToDst[$0] }
    }

    /// The expression in the variables of `src` that `v` of `dst` is.
    public func toSrc(_ v: Var) -> PrimExpr? {
        dst.variables.firstIndex { $0 === v }.map { dstToSrc[$0] }
    }

    /// This one and then `next`, whose source is this one's target. ARI031 if it is not.
    public func composed(with next: IntConstraintsTransform) throws -> IntConstraintsTransform {
        guard dst.variables.count == next.src.variables.count,
            zip(dst.variables, next.src.variables).allSatisfy({ $0 === $1 })
        else {
            throw ApusError(
                "ARI031", "two transformations do not meet",
                expected: "\(dst.variables.map(\.name))", actual: "\(next.src.variables.map(\.name))",
                hint: "the second must start from the variables that the first ends with")
        }
        var forward: [Var: PrimExpr] = [:]
        for (v, e) in zip(next.src.variables, next.srcToDst) { forward[v] = e }
        var back: [Var: PrimExpr] = [:]
        for (v, e) in zip(dst.variables, dstToSrc) { back[v] = e }
        let a = Analyzer()
        return IntConstraintsTransform(
            src, next.dst, srcToDst: srcToDst.map { a.simplify(substitute($0, forward)) },
            dstToSrc: next.dstToSrc.map { a.simplify(substitute($0, back)) })
    }

    public override class var schema: NodeSchema { transformSchema }
    public override var description: String {
        let to = zip(src.variables, srcToDst).map { "\($0.name): \($1)" }.joined(separator: ", ")
        let from = zip(dst.variables, dstToSrc).map { "\($0.name): \($1)" }.joined(separator: ", ")
        return "IntConstraintsTransform(\(src) -> \(dst), {\(to)}, {\(from)})"
    }
}

private let transformSchema = NodeSchema(
    "arith.IntConstraintsTransform", IntConstraintsTransform.self,
    [
        .field("src", \.src), .field("dst", \.dst), .field("srcToDst", \.srcToDst),
        .field("dstToSrc", \.dstToSrc),
    ],
    make: {
        let src: IntConstraints = try $0.next()
        let dst: IntConstraints = try $0.next()
        let forward: [PrimExpr] = try $0.next()
        let back: [PrimExpr] = try $0.next()
        guard forward.count == src.variables.count, back.count == dst.variables.count else {
            throw ApusError(
                "ARI030", "each variable of a transformation needs its expression",
                expected: "\(src.variables.count) and \(dst.variables.count)",
                actual: "\(forward.count) and \(back.count)")
        }
        return IntConstraintsTransform(src, dst, srcToDst: forward, dstToSrc: back)
    })

/// The node kinds of this room.
public enum ArithNodes {
    public static let all: [NodeSchema] = [
        IntGroupBounds.schema, IntConstraints.schema, IntConstraintsTransform.schema, IterMark.schema,
        IterSplitExpr.schema, IterSumExpr.schema,
    ]

    /// Makes the kinds known to JSON loading. Idempotent.
    public static func registerAll() {
        TIRNodes.registerAll()
        NodeRegistry.register(all)
    }
}
