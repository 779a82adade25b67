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

/// As above; `buffer` replaces the buffers of loads.
public func mapChildren(
    of e: PrimExpr, buffer: (Buffer) throws -> Buffer, _ body: (PrimExpr) throws -> PrimExpr
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

/// Walks statements and expressions; override what interests you and call `super` (or `visitChildren`) to go on.
open class StmtExprVisitor {
    public init() {}
    open func visit(_ e: PrimExpr) { visitChildren(of: e) }
    open func visit(_ s: Stmt) { visitChildren(of: s) }
    public final func visitChildren(of e: PrimExpr) {
        growingStack { forEachChild(of: e) { visit($0) } }
    }
    public final func visitChildren(of s: Stmt) {
        growingStack { forEachChild(of: s, expr: { visit($0) }, stmt: { visit($0) }) }
    }
}

/// Rebuilds statements and expressions; override what changes and call `super` (or `mutateChildren`) for the rest.
open class StmtExprMutator {
    public init() {}
    open func mutate(_ e: PrimExpr) -> PrimExpr { mutateChildren(of: e) }
    open func mutate(_ s: Stmt) -> Stmt { mutateChildren(of: s) }
    /// The buffer that takes the place of `b` in loads, stores, signatures and allocations.
    open func mutate(_ b: Buffer) -> Buffer { b }
    public final func mutateChildren(of e: PrimExpr) -> PrimExpr {
        growingStack { mapChildren(of: e, buffer: { mutate($0) }, { mutate($0) }) }
    }
    public final func mutateChildren(of s: Stmt) -> Stmt {
        growingStack {
            mapChildren(of: s, buffer: { mutate($0) }, expr: { mutate($0) }, stmt: { mutate($0) })
        }
    }
}

/// Replaces variables and buffers; whoever calls it makes sure that no binding captures what is put in.
private final class Substituter: StmtExprMutator {
    let variables: [Var: PrimExpr]
    let buffers: [Buffer: Buffer]

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

private final class ClosureVisitor: StmtExprVisitor {
    let onExpr: (PrimExpr) -> Void
    let onStmt: (Stmt) -> Void
    init(_ onExpr: @escaping (PrimExpr) -> Void, _ onStmt: @escaping (Stmt) -> Void) {
        self.onExpr = onExpr
        self.onStmt = onStmt
    }
    override func visit(_ e: PrimExpr) {
        visitChildren(of: e)
        onExpr(e)
    }
    override func visit(_ s: Stmt) {
        visitChildren(of: s)
        onStmt(s)
    }
}

/// Calls `body` on every subexpression of `e`, children before parents.
public func postOrderVisit(_ e: PrimExpr, _ body: (PrimExpr) -> Void) {
    withoutActuallyEscaping(body) { ClosureVisitor($0, { _ in }).visit(e) }
}

/// Calls the closures on every statement and expression in `s`, children before parents.
public func postOrderVisit(_ s: Stmt, expr: (PrimExpr) -> Void = { _ in }, stmt: (Stmt) -> Void = { _ in }) {
    withoutActuallyEscaping(expr) { onExpr in
        withoutActuallyEscaping(stmt) { onStmt in ClosureVisitor(onExpr, onStmt).visit(s) }
    }
}

/// Whether one of `variables` occurs in `e`.
public func uses(_ e: PrimExpr, _ variables: Set<Var>) -> Bool {
    var found = false
    postOrderVisit(e) { x in
        if x.kind == .variable && variables.contains(unsafeDowncast(x, to: Var.self)) { found = true }
    }
    return found
}
