import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// What went wrong in a schedule so far, and how often it changed. Shared by a schedule and its stages.
final class ScheduleLog {
    private(set) var errors: [ApusError] = []
    private(set) var version = 0

    func changed() { version += 1 }

    func fail(_ e: ApusError) {
        errors.append(e)
        version += 1
    }

    func copy() -> ScheduleLog {
        let c = ScheduleLog()
        c.errors = errors
        c.version = version
        return c
    }
}

/// One computation of a schedule: its axes as they were split, fused and reordered, how each of them runs, and where
/// the whole is computed.
///
/// Steps do not throw. What can be told at once (an axis that is no leaf of the stage, a factor that is not positive) is
/// noted at once, and the step is not taken; what depends on other stages is found when the loops are made. Either is in
/// `TESchedule.asTIR`, and thrown by `TESchedule.check` and whatever builds the schedule. The order of calls across stages is
/// free: a stage may be attached to an axis of a stage that is split later.
public final class Stage {
    /// One change of the loops, in the order of the calls.
    enum Step {
        case relation(IterVarRelation)
        case reorder([IterVar])
    }

    /// What is computed now; caches and factored reductions replace it.
    public internal(set) var op: Operation
    /// What the stage was made for.
    public let originOp: Operation
    public internal(set) var allIterVars: [IterVar]
    /// The loops of the stage, outermost first.
    public internal(set) var leafIterVars: [IterVar]
    public internal(set) var relations: [IterVarRelation] = []
    /// Threads around a scan.
    public internal(set) var envThreads: [IterVar] = []
    public internal(set) var attachType: AttachType = .groupRoot
    public internal(set) var attachStage: Stage?
    public internal(set) var attachIterVar: IterVar?
    /// Memory of the results; empty = `global`.
    public internal(set) var scope = ""
    public internal(set) var isOutput = false
    public internal(set) var isDoubleBuffered = false
    /// The results are stored only where this holds; nil = everywhere.
    public internal(set) var storePredicate: PrimExpr?
    /// The group that the stage belongs to.
    public internal(set) var group: Stage?
    /// Of a group, how many stages it holds.
    public internal(set) var numChildStages = 0
    /// Whether this is a group.
    public let isGroup: Bool

    var steps: [Step] = []
    var attrs: [IterVar: IterVarAttr] = [:]
    let log: ScheduleLog

    init(_ op: Operation, _ log: ScheduleLog, isGroup: Bool = false) {
        self.op = op
        originOp = op
        self.isGroup = isGroup
        self.log = log
        allIterVars = isGroup ? [] : op.rootIterVars
        leafIterVars = allIterVars
    }

    /// What the schedule says about an axis.
    public func attr(_ axis: IterVar) -> IterVarAttr { attrs[axis] ?? IterVarAttr() }

    /// The spatial axes of what is computed now.
    public var axis: [IterVar] { op.axis }

    /// The reduction axes of what is computed now.
    public var reduceAxis: [IterVar] { op.reduceAxis }

    var place: String { isGroup ? "group: \(op.name)" : "stage: \(op.name)" }

    // MARK: Checks

    func fail(
        _ code: String, _ message: String, _ axis: IterVar? = nil, expected: String? = nil,
        actual: String? = nil, hint: String? = nil
    ) {
        var at = [place]
        if let axis { at.append("axis: \(axis.variable.name)") }
        log.fail(ApusError(code, message, at: at, expected: expected, actual: actual, hint: hint))
    }

    /// Position among the leaves; notes TE030 if it is none.
    func leaf(_ axis: IterVar, _ primitive: String) -> Int? {
        if isGroup || op is PlaceholderOp {
            fail("TE031", "\(primitive): \(isGroup ? "a group" : "an input") has no loops", axis)
            return nil
        }
        if let i = leafIterVars.firstIndex(where: { $0 === axis }) { return i }
        let gone = allIterVars.contains { $0 === axis }
        fail(
            "TE030",
            gone
                ? "\(primitive): the axis was split or fused before"
                : "\(primitive): the axis is not one of this stage", axis,
            expected: "one of " + leafIterVars.map { $0.variable.name }.joined(separator: ", "))
        return nil
    }

    private func derived(_ v: IterVar, _ name: String, _ type: IterVarType? = nil) -> IterVar {
        // The range of a derived axis is known when the loops are made; inferBound tells it.
        IterVar(
            IRRange(extent: IntImm(0, dtype: v.variable.dtype)), Var(name, dtype: v.variable.dtype),
            type ?? v.iterType)
    }

    private func add(_ r: IterVarRelation) {
        relations.append(r)
        steps.append(.relation(r))
        allIterVars.append(contentsOf: r.results)
        log.changed()
    }

    // MARK: Loops

    /// Splits an axis: the inner one has `factor` iterations.
    @discardableResult
    public func split(_ axis: IterVar, factor: Int) -> (outer: IterVar, inner: IterVar) {
        split(axis, factor: factor, parts: nil)
    }

    /// Splits an axis: the outer one has `nparts` iterations.
    @discardableResult
    public func split(_ axis: IterVar, nparts: Int) -> (outer: IterVar, inner: IterVar) {
        split(axis, factor: nil, parts: nparts)
    }

    private func split(_ axis: IterVar, factor: Int?, parts: Int?) -> (outer: IterVar, inner: IterVar) {
        let outer = derived(axis, "\(axis.variable.name)_outer")
        let inner = derived(axis, "\(axis.variable.name)_inner")
        guard let i = leaf(axis, "split") else { return (outer, inner) }
        let n = factor ?? parts ?? 0
        guard n >= 1 else {
            fail("TE032", "split needs a positive factor", axis, actual: "\(n)")
            return (outer, inner)
        }
        guard axis.iterType == .dataParallel || axis.iterType == .commReduce || axis.iterType == .ordered
        else {
            fail("TE033", "split: an axis of this kind stays whole", axis, actual: axis.iterType.rawValue)
            return (outer, inner)
        }
        add(.split(parent: axis, outer: outer, inner: inner, factor: factor, parts: parts))
        leafIterVars.replaceSubrange(i...i, with: [outer, inner])
        return (outer, inner)
    }

    /// Makes one axis of axes that follow each other, outermost first; of none, an axis of one iteration around
    /// all loops.
    @discardableResult
    public func fuse(_ axes: IterVar...) -> IterVar { fuse(axes) }

    /// As `fuse(a, b, …)`.
    @discardableResult
    public func fuse(_ axes: [IterVar]) -> IterVar {
        guard var fused = axes.first else {
            let single = IterVar(IRRange(0, extent: 1), Var("singleton"), .dataParallel)
            if isGroup || op is PlaceholderOp {
                fail("TE031", "fuse: \(isGroup ? "a group" : "an input") has no loops")
                return single
            }
            add(.singleton(single))
            leafIterVars.insert(single, at: 0)
            return single
        }
        for next in axes.dropFirst() {
            let type: IterVarType =
                fused.iterType == next.iterType
                ? fused.iterType
                : (fused.iterType == .commReduce || next.iterType == .commReduce
                    ? .commReduce : fused.iterType)
            let result = derived(fused, "\(fused.variable.name)_\(next.variable.name)_fused", type)
            guard let i = leaf(fused, "fuse"), let j = leaf(next, "fuse") else { return result }
            guard j == i + 1 else {
                fail(
                    "TE034", "fuse: the axes do not follow each other", next,
                    expected: "`\(fused.variable.name)` right before `\(next.variable.name)`",
                    actual: leafIterVars.map { $0.variable.name }.joined(separator: ", "))
                return result
            }
            guard fused.iterType == next.iterType else {
                fail(
                    "TE033", "fuse: a spatial and a reduction axis stay apart", next,
                    expected: fused.iterType.rawValue, actual: next.iterType.rawValue)
                return result
            }
            add(.fuse(outer: fused, inner: next, fused: result))
            leafIterVars.replaceSubrange(i...j, with: [result])
            fused = result
        }
        if axes.count == 1 { _ = leaf(fused, "fuse") }
        return fused
    }

    /// Puts axes into the given order, outermost first; the places they take together stay the same.
    @discardableResult
    public func reorder(_ axes: IterVar...) -> Stage { reorder(axes) }

    /// As `reorder(a, b, …)`.
    @discardableResult
    public func reorder(_ axes: [IterVar]) -> Stage {
        var places: [Int] = []
        for a in axes {
            guard let i = leaf(a, "reorder") else { return self }
            guard !places.contains(i) else {
                fail("TE035", "reorder: the axis is named twice", a)
                return self
            }
            guard a.iterType == .dataParallel || a.iterType == .commReduce else {
                fail(
                    "TE033", "reorder: an axis of this kind stays where it is", a, actual: a.iterType.rawValue
                )
                return self
            }
            places.append(i)
        }
        for (at, a) in zip(places.sorted(), axes) { leafIterVars[at] = a }
        if axes.count > 1 { steps.append(.reorder(axes)) }
        log.changed()
        return self
    }

    /// Two splits and a reorder: blocks of `xFactor` by `yFactor`.
    @discardableResult
    public func tile(_ x: IterVar, _ y: IterVar, _ xFactor: Int, _ yFactor: Int) -> (
        xOuter: IterVar, yOuter: IterVar, xInner: IterVar, yInner: IterVar
    ) {
        let (xo, xi) = split(x, factor: xFactor)
        let (yo, yi) = split(y, factor: yFactor)
        reorder(xo, yo, xi, yi)
        return (xo, yo, xi, yi)
    }

    /// As `tile`, with keyword factors.
    @discardableResult
    public func tile(_ x: IterVar, _ y: IterVar, xFactor: Int, yFactor: Int) -> (
        xOuter: IterVar, yOuter: IterVar, xInner: IterVar, yInner: IterVar
    ) {
        tile(x, y, xFactor, yFactor)
    }
}
