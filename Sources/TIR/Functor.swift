import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

// Traversal: `forEachChild` and `mapChildren` know the shape of every kind, once; visitors and mutators recurse with
// them. The recursion points grow the stack where it is nearly used up (`growingStack`), so that nesting has no bound; an
// override that recurses by itself, past `super` and `visitChildren`, puts `growingStack` there too.

/// Calls `body` on each direct subexpression. Buffers and variables bound by the node are not children.
public func forEachChild(of e: PrimExpr, _ body: (PrimExpr) throws -> Void) rethrows {
    switch e.kind {
    case .intImm, .floatImm, .stringImm, .variable: break
    case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge, .and,
        .or:
        let e = unsafeDowncast(e, to: BinaryExpr.self)
        try body(e.a)
        try body(e.b)
    case .cast: try body(unsafeDowncast(e, to: Cast.self).value)
    case .not: try body(unsafeDowncast(e, to: Not.self).a)
    case .select:
        let e = unsafeDowncast(e, to: Select.self)
        try body(e.condition)
        try body(e.trueValue)
        try body(e.falseValue)
    case .bufferLoad: for i in unsafeDowncast(e, to: BufferLoad.self).indices { try body(i) }
    case .producerLoad: for i in unsafeDowncast(e, to: ProducerLoad.self).indices { try body(i) }
    case .ramp:
        let e = unsafeDowncast(e, to: Ramp.self)
        try body(e.base)
        try body(e.stride)
    case .broadcast: try body(unsafeDowncast(e, to: Broadcast.self).value)
    case .shuffle: for v in unsafeDowncast(e, to: Shuffle.self).vectors { try body(v) }
    case .let:
        let e = unsafeDowncast(e, to: Let.self)
        try body(e.value)
        try body(e.body)
    case .call: for a in unsafeDowncast(e, to: Call.self).args { try body(a) }
    case .reduce:
        let e = unsafeDowncast(e, to: Reduce.self)
        for a in e.axis {
            try body(a.dom.min)
            try body(a.dom.extent)
        }
        for s in e.source { try body(s) }
        try body(e.condition)
        for s in e.initial { try body(s) }
    }
}

private func mapAll(_ a: [PrimExpr], _ body: (PrimExpr) throws -> PrimExpr) rethrows -> [PrimExpr]? {
    var changed = false
    var result: [PrimExpr] = []
    result.reserveCapacity(a.count)
    for e in a {
        let n = try body(e)
        if n !== e { changed = true }
        result.append(n)
    }
    return changed ? result : nil
}

/// `e` with each direct subexpression replaced by `body` of it; `e` itself if none changes. Constants fold again.
public func mapChildren(of e: PrimExpr, _ body: (PrimExpr) throws -> PrimExpr) rethrows -> PrimExpr {
    try mapChildren(of: e, buffer: { $0 }, body)
}

/// As above; `buffer` replaces the buffers of loads. What is built anew has the span of `e`.
public func mapChildren(
    of e: PrimExpr, buffer: (Buffer) throws -> Buffer, _ body: (PrimExpr) throws -> PrimExpr
) rethrows -> PrimExpr {
    var result = try rebuilt(e, buffer, body)
    keepSpan(of: e, in: &result)
    return result
}

/// Gives `new`, which takes the place of `old`, the span of `old`: if it has none and has just been made, that is if nobody
/// else holds it.
@inline(__always)
private func keepSpan(of old: PrimExpr, in new: inout PrimExpr) {
    if new === old || old.span == nil || new.span != nil { return }
    if isKnownUniquelyReferenced(&new) { new.locate(old.span) }
}

@inline(__always)
private func keepSpan(of old: Stmt, in new: inout Stmt) {
    if new === old || old.span == nil || new.span != nil { return }
    if isKnownUniquelyReferenced(&new) { new.locate(old.span) }
}

private func rebuilt(
    _ e: PrimExpr, _ buffer: (Buffer) throws -> Buffer, _ body: (PrimExpr) throws -> PrimExpr
) rethrows -> PrimExpr {
    switch e.kind {
    case .intImm, .floatImm, .stringImm, .variable: return e
    case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge, .and,
        .or:
        let e = unsafeDowncast(e, to: BinaryExpr.self)
        let a = try body(e.a)
        let b = try body(e.b)
        return a === e.a && b === e.b ? e : binary(e.kind, a, b)
    case .cast:
        let e = unsafeDowncast(e, to: Cast.self)
        let v = try body(e.value)
        return v === e.value ? e : cast(e.dtype.element.with(lanes: Int(v.dtype.lanes)), v)
    case .not:
        let e = unsafeDowncast(e, to: Not.self)
        let a = try body(e.a)
        return a === e.a ? e : not(a)
    case .select:
        let e = unsafeDowncast(e, to: Select.self)
        let c = try body(e.condition)
        let t = try body(e.trueValue)
        let f = try body(e.falseValue)
        return c === e.condition && t === e.trueValue && f === e.falseValue ? e : select(c, t, f)
    case .bufferLoad:
        let e = unsafeDowncast(e, to: BufferLoad.self)
        let b = try buffer(e.buffer)
        let indices = try mapAll(e.indices, body)
        return b === e.buffer && indices == nil ? e : BufferLoad(b, indices ?? e.indices)
    case .producerLoad:
        let e = unsafeDowncast(e, to: ProducerLoad.self)
        return try mapAll(e.indices, body).map { ProducerLoad(e.producer, $0) } ?? e
    case .ramp:
        let e = unsafeDowncast(e, to: Ramp.self)
        let base = try body(e.base)
        let stride = try body(e.stride)
        return base === e.base && stride === e.stride ? e : Ramp(base, stride, e.lanes)
    case .broadcast:
        let e = unsafeDowncast(e, to: Broadcast.self)
        let v = try body(e.value)
        return v === e.value ? e : Broadcast(v, e.lanes)
    case .shuffle:
        let e = unsafeDowncast(e, to: Shuffle.self)
        return try mapAll(e.vectors, body).map { Shuffle($0, e.indices) } ?? e
    case .let:
        let e = unsafeDowncast(e, to: Let.self)
        let value = try body(e.value)
        let inner = try body(e.body)
        return value === e.value && inner === e.body ? e : Let(e.variable, value, inner)
    case .call:
        let e = unsafeDowncast(e, to: Call.self)
        return try mapAll(e.args, body).map { Call(e.dtype, e.op, $0) } ?? e
    case .reduce:
        let e = unsafeDowncast(e, to: Reduce.self)
        var axisChanged = false
        let axis = try e.axis.map { a -> IterVar in
            let lo = try body(a.dom.min)
            let extent = try body(a.dom.extent)
            if lo === a.dom.min && extent === a.dom.extent { return a }
            axisChanged = true
            return IterVar(IRRange(min: lo, extent: extent), a.variable, a.iterType, threadTag: a.threadTag)
        }
        let source = try mapAll(e.source, body)
        let condition = try body(e.condition)
        let initial = try mapAll(e.initial, body)
        if !axisChanged && source == nil && condition === e.condition && initial == nil { return e }
        return Reduce(
            e.combiner, source ?? e.source, axis, condition: condition, valueIndex: e.valueIndex,
            initial: initial ?? e.initial)
    }
}

/// Calls `expr` on each direct expression and `stmt` on each direct substatement, in order of execution.
public func forEachChild(
    of s: Stmt, expr: (PrimExpr) throws -> Void, stmt: (Stmt) throws -> Void
) rethrows {
    func region(_ r: BufferRegion) throws {
        for d in r.region {
            try expr(d.min)
            try expr(d.extent)
        }
    }
    switch s.stmtKind {
    case .letStmt:
        let s = unsafeDowncast(s, to: LetStmt.self)
        try expr(s.value)
        try stmt(s.body)
    case .attr:
        let s = unsafeDowncast(s, to: AttrStmt.self)
        try expr(s.value)
        try stmt(s.body)
    case .assert: try expr(unsafeDowncast(s, to: AssertStmt.self).condition)
    case .bufferStore:
        let s = unsafeDowncast(s, to: BufferStore.self)
        try expr(s.value)
        for i in s.indices { try expr(i) }
    case .seq: for c in unsafeDowncast(s, to: SeqStmt.self).stmts { try stmt(c) }
    case .ifThenElse:
        let s = unsafeDowncast(s, to: IfThenElse.self)
        try expr(s.condition)
        try stmt(s.thenCase)
        if let e = s.elseCase { try stmt(e) }
    case .evaluate: try expr(unsafeDowncast(s, to: Evaluate.self).value)
    case .forLoop:
        let s = unsafeDowncast(s, to: For.self)
        try expr(s.min)
        try expr(s.extent)
        try stmt(s.body)
    case .whileLoop:
        let s = unsafeDowncast(s, to: While.self)
        try expr(s.condition)
        try stmt(s.body)
    case .block:
        let s = unsafeDowncast(s, to: Block.self)
        for v in s.iterVars {
            try expr(v.dom.min)
            try expr(v.dom.extent)
        }
        for r in s.reads { try region(r) }
        for r in s.writes { try region(r) }
        for m in s.matchBuffers { try region(m.source) }
        if let i = s.initial { try stmt(i) }
        try stmt(s.body)
    case .blockRealize:
        let s = unsafeDowncast(s, to: BlockRealize.self)
        for v in s.iterValues { try expr(v) }
        try expr(s.predicate)
        try stmt(s.block)
    case .allocate: try stmt(unsafeDowncast(s, to: Allocate.self).body)
    }
}

/// `s` with each direct part replaced; `s` itself if none changes.
public func mapChildren(
    of s: Stmt, expr: (PrimExpr) throws -> PrimExpr, stmt: (Stmt) throws -> Stmt
) rethrows -> Stmt {
    try mapChildren(of: s, buffer: { $0 }, expr: expr, stmt: stmt)
}

/// As above; `buffer` replaces the buffers of stores, block
/// signatures and allocations (and should be given to `mapChildren(of: PrimExpr)` as well).
public func mapChildren(
    of s: Stmt, buffer: (Buffer) throws -> Buffer, expr: (PrimExpr) throws -> PrimExpr,
    stmt: (Stmt) throws -> Stmt
) rethrows -> Stmt {
    var result = try rebuilt(s, buffer, expr, stmt)
    keepSpan(of: s, in: &result)
    return result
}

private func rebuilt(
    _ s: Stmt, _ buffer: (Buffer) throws -> Buffer, _ expr: (PrimExpr) throws -> PrimExpr,
    _ stmt: (Stmt) throws -> Stmt
) rethrows -> Stmt {
    func mapRange(_ r: IRRange) throws -> IRRange {
        let lo = try expr(r.min)
        let extent = try expr(r.extent)
        return lo === r.min && extent === r.extent ? r : IRRange(min: lo, extent: extent)
    }
    func mapRegion(_ r: BufferRegion) throws -> BufferRegion {
        let b = try buffer(r.buffer)
        let ranges = try r.region.map(mapRange)
        let same = b === r.buffer && zip(ranges, r.region).allSatisfy { $0 === $1 }
        return same ? r : BufferRegion(b, ranges)
    }
    switch s.stmtKind {
    case .letStmt:
        let s = unsafeDowncast(s, to: LetStmt.self)
        let value = try expr(s.value)
        let body = try stmt(s.body)
        return value === s.value && body === s.body ? s : LetStmt(s.variable, value, body)
    case .attr:
        let s = unsafeDowncast(s, to: AttrStmt.self)
        let value = try expr(s.value)
        let body = try stmt(s.body)
        return value === s.value && body === s.body ? s : AttrStmt(s.node, s.key, value, body)
    case .assert:
        let s = unsafeDowncast(s, to: AssertStmt.self)
        let c = try expr(s.condition)
        return c === s.condition ? s : AssertStmt(c, code: s.code, s.message)
    case .bufferStore:
        let s = unsafeDowncast(s, to: BufferStore.self)
        let b = try buffer(s.buffer)
        let value = try expr(s.value)
        let indices = try mapAll(s.indices, expr)
        return b === s.buffer && value === s.value && indices == nil
            ? s : BufferStore(b, value, indices ?? s.indices)
    case .seq:
        let s = unsafeDowncast(s, to: SeqStmt.self)
        var changed = false
        let stmts = try s.stmts.map { c -> Stmt in
            let n = try stmt(c)
            if n !== c { changed = true }
            return n
        }
        return changed ? SeqStmt.flat(stmts) : s
    case .ifThenElse:
        let s = unsafeDowncast(s, to: IfThenElse.self)
        let c = try expr(s.condition)
        let t = try stmt(s.thenCase)
        let e = try s.elseCase.map(stmt)
        return c === s.condition && t === s.thenCase && e === s.elseCase ? s : IfThenElse(c, t, e)
    case .evaluate:
        let s = unsafeDowncast(s, to: Evaluate.self)
        let v = try expr(s.value)
        return v === s.value ? s : Evaluate(v)
    case .forLoop:
        let s = unsafeDowncast(s, to: For.self)
        let lo = try expr(s.min)
        let extent = try expr(s.extent)
        let body = try stmt(s.body)
        return lo === s.min && extent === s.extent && body === s.body
            ? s : s.with(min: lo, extent: extent, body: body)
    case .whileLoop:
        let s = unsafeDowncast(s, to: While.self)
        let c = try expr(s.condition)
        let body = try stmt(s.body)
        return c === s.condition && body === s.body ? s : While(c, body)
    case .block:
        let s = unsafeDowncast(s, to: Block.self)
        let iterVars = try s.iterVars.map { v -> IterVar in
            let dom = try mapRange(v.dom)
            return dom === v.dom ? v : IterVar(dom, v.variable, v.iterType, threadTag: v.threadTag)
        }
        let allocs = try s.allocBuffers.map(buffer)
        let reads = try s.reads.map(mapRegion)
        let writes = try s.writes.map(mapRegion)
        let matches = try s.matchBuffers.map { m -> MatchBufferRegion in
            let r = try mapRegion(m.source)
            return r === m.source ? m : MatchBufferRegion(m.buffer, r)
        }
        let initial = try s.initial.map(stmt)
        let body = try stmt(s.body)
        let same =
            zip(iterVars, s.iterVars).allSatisfy { $0 === $1 }
            && zip(allocs, s.allocBuffers).allSatisfy { $0 === $1 }
            && zip(reads, s.reads).allSatisfy { $0 === $1 } && zip(writes, s.writes).allSatisfy { $0 === $1 }
            && zip(matches, s.matchBuffers).allSatisfy { $0 === $1 } && initial === s.initial
            && body === s.body
        return same
            ? s
            : s.with(
                iterVars: iterVars, reads: reads, writes: writes, body: body, initial: .some(initial),
                allocBuffers: allocs, matchBuffers: matches)
    case .blockRealize:
        let s = unsafeDowncast(s, to: BlockRealize.self)
        let values = try mapAll(s.iterValues, expr)
        let predicate = try expr(s.predicate)
        let inner = try stmt(s.block)
        guard let block = inner as? Block else {
            internalError("a block was replaced by another kind of statement")
        }
        return values == nil && predicate === s.predicate && block === s.block
            ? s : BlockRealize(values ?? s.iterValues, predicate: predicate, block)
    case .allocate:
        let s = unsafeDowncast(s, to: Allocate.self)
        let b = try buffer(s.buffer)
        let body = try stmt(s.body)
        return b === s.buffer && body === s.body ? s : Allocate(b, body)
    }
}

/// Expressions that a walk meets before it looks for those that it has met already: small ones need no table.
let smallWalk = 256

/// Walks statements and expressions; override what interests you and call `super` (or `visitChildren`) to go on.
open class StmtExprVisitor {
    /// Steps within the expression at hand, and what was met in it since there were many.
    private var steps = 0
    private var met = IdentitySet()

    public init() {}

    /// Whether a subexpression that occurs several times in one expression of a statement need be walked once only, which
    /// keeps walks over shared structure linear. True where a second visit would find out nothing new; where occurrences
    /// are counted, or are under different conditions, it must be false.
    open var walksSharedOnce: Bool { false }

    open func visit(_ e: PrimExpr) { visitChildren(of: e) }
    open func visit(_ s: Stmt) { visitChildren(of: s) }
    public final func visitChildren(of e: PrimExpr) {
        steps += 1
        if steps > smallWalk && walksSharedOnce && !met.insert(e) { return }
        growingStack { forEachChild(of: e) { visit($0) } }
    }
    public final func visitChildren(of s: Stmt) {
        growingStack {
            forEachChild(
                of: s,
                expr: {
                    beginExpression()
                    visit($0)
                }, stmt: { visit($0) })
        }
    }

    /// Forgets what was met: what statements share is walked in each of them. For overrides that visit the expressions
    /// of a statement by themselves.
    public final func beginExpression() {
        if steps > smallWalk { met = IdentitySet() }
        steps = 0
    }
}

/// Rebuilds statements and expressions; override what changes and call `super` (or `mutateChildren`) for the rest.
open class StmtExprMutator {
    private var steps = 0
    /// What the children of an expression became, kept with the expression since its address is the key.
    private var known: [ObjectIdentifier: (expr: PrimExpr, result: PrimExpr)] = [:]

    public init() {}

    /// Whether what becomes of an expression depends on the expression alone, wherever it stands: then what is shared is
    /// rebuilt once and stays shared, which keeps walks over shared structure linear.
    open var isContextFree: Bool { false }

    open func mutate(_ e: PrimExpr) -> PrimExpr { mutateChildren(of: e) }
    open func mutate(_ s: Stmt) -> Stmt { mutateChildren(of: s) }
    /// The buffer that takes the place of `b` in loads, stores, signatures and allocations.
    open func mutate(_ b: Buffer) -> Buffer { b }
    public final func mutateChildren(of e: PrimExpr) -> PrimExpr {
        switch e.kind {
        case .intImm, .floatImm, .stringImm, .variable: return e
        default: break
        }
        steps += 1
        let remembers = steps > smallWalk && isContextFree
        if remembers, let done = known[ObjectIdentifier(e)] { return done.result }
        let result = growingStack { mapChildren(of: e, buffer: { mutate($0) }, { child($0) }) }
        if remembers { known[ObjectIdentifier(e)] = (expr: e, result: result) }
        return result
    }
    public final func mutateChildren(of s: Stmt) -> Stmt {
        growingStack {
            mapChildren(of: s, buffer: { mutate($0) }, expr: { child($0) }, stmt: { child($0) })
        }
    }

    private func child(_ e: PrimExpr) -> PrimExpr {
        var result = mutate(e)
        keepSpan(of: e, in: &result)
        return result
    }
    private func child(_ s: Stmt) -> Stmt {
        var result = mutate(s)
        keepSpan(of: s, in: &result)
        return result
    }
}

/// Replaces variables and buffers; whoever calls it makes sure that no binding captures what is put in.
private final class Substituter: StmtExprMutator {
    let variables: [Var: PrimExpr]
    let buffers: [Buffer: Buffer]
    override var isContextFree: Bool { true }

    init(_ variables: [Var: PrimExpr], _ buffers: [Buffer: Buffer]) {
        self.variables = variables
        self.buffers = buffers
    }
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.kind == .variable { return variables[unsafeDowncast(e, to: Var.self)] ?? e }
        return mutateChildren(of: e)
    }
    override func mutate(_ b: Buffer) -> Buffer { buffers[b] ?? b }
}

/// `e` with variables replaced.
public func substitute(_ e: PrimExpr, _ map: [Var: PrimExpr], buffers: [Buffer: Buffer] = [:]) -> PrimExpr {
    map.isEmpty && buffers.isEmpty ? e : Substituter(map, buffers).mutate(e)
}

/// `s` with variables and buffers replaced.
public func substitute(_ s: Stmt, _ map: [Var: PrimExpr], buffers: [Buffer: Buffer] = [:]) -> Stmt {
    map.isEmpty && buffers.isEmpty ? s : Substituter(map, buffers).mutate(s)
}

/// Walks in post-order; a shared subexpression of one expression once.
private final class ClosureVisitor {
    private let onExpr: (PrimExpr) -> Void
    private let onStmt: (Stmt) -> Void
    private var met = IdentitySet()

    init(_ onExpr: @escaping (PrimExpr) -> Void, _ onStmt: @escaping (Stmt) -> Void) {
        self.onExpr = onExpr
        self.onStmt = onStmt
    }

    func visit(_ e: PrimExpr) {
        switch e.kind {
        case .intImm, .floatImm, .stringImm, .variable: break
        default:
            if !met.insert(e) { return }
            growingStack { forEachChild(of: e) { visit($0) } }
        }
        onExpr(e)
    }

    func visit(_ s: Stmt) {
        growingStack {
            forEachChild(
                of: s,
                expr: {
                    if met.count > 0 { met = IdentitySet() }
                    visit($0)
                }, stmt: { visit($0) })
        }
        onStmt(s)
    }
}

/// Calls `body` on the subexpressions of `e`, children before parents. What is shared within `e` is visited once; leaves
/// (variables and constants) wherever they occur in what is visited. To count occurrences, use `sumOverOccurrences`.
public func postOrderVisit(_ e: PrimExpr, _ body: (PrimExpr) -> Void) {
    withoutActuallyEscaping(body) { ClosureVisitor($0, { _ in }).visit(e) }
}

/// Calls the closures on every statement and expression in `s`, children before parents. What is shared within one
/// expression of a statement is visited once; what statements share, in each of them.
public func postOrderVisit(_ s: Stmt, expr: (PrimExpr) -> Void = { _ in }, stmt: (Stmt) -> Void = { _ in }) {
    withoutActuallyEscaping(expr) { onExpr in
        withoutActuallyEscaping(stmt) { onStmt in ClosureVisitor(onExpr, onStmt).visit(s) }
    }
}

/// The sum of `own` over `e` and all its subexpressions, each as often as it occurs; at most `Int.max`. Terms must not be
/// negative.
public func sumOverOccurrences(_ e: PrimExpr, _ own: (PrimExpr) -> Int) -> Int {
    // Small expressions without a table.
    var total = 0
    var steps = 0
    var stack = [e]
    while let x = stack.popLast(), steps <= smallWalk {
        steps += 1
        total += own(x)
        forEachChild(of: x) { stack.append($0) }
    }
    if steps <= smallWalk { return total }
    var sums: [ObjectIdentifier: Int] = [:]
    return sumOfShared(e, own, &sums)
}

private func sumOfShared(_ e: PrimExpr, _ own: (PrimExpr) -> Int, _ sums: inout [ObjectIdentifier: Int])
    -> Int
{
    if let known = sums[ObjectIdentifier(e)] { return known }
    var total = own(e)
    growingStack {
        forEachChild(of: e) { c in
            let (sum, overflow) = total.addingReportingOverflow(sumOfShared(c, own, &sums))
            total = overflow ? .max : sum
        }
    }
    sums[ObjectIdentifier(e)] = total
    return total
}

/// Whether `condition` holds for a subexpression of `e`; ends where it does.
func contains(_ e: PrimExpr, _ condition: (PrimExpr) -> Bool) -> Bool {
    var search = Search()
    return search.finds(e, condition)
}

private struct Search {
    private var steps = 0
    private var met = IdentitySet()

    mutating func finds(_ e: PrimExpr, _ condition: (PrimExpr) -> Bool) -> Bool {
        if condition(e) { return true }
        switch e.kind {
        case .intImm, .floatImm, .stringImm, .variable: return false
        default: break
        }
        steps += 1
        if steps > smallWalk && !met.insert(e) { return false }
        var found = false
        growingStack { forEachChild(of: e) { c in found = found || finds(c, condition) } }
        return found
    }
}

/// Whether one of `variables` occurs in `e`.
public func uses(_ e: PrimExpr, _ variables: Set<Var>) -> Bool {
    contains(e) { $0.kind == .variable && variables.contains(unsafeDowncast($0, to: Var.self)) }
}
