import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// What evaluating an expression may do: the strongest effect of its calls; reading a buffer is reading
/// state.
public func sideEffect(of e: PrimExpr) -> CallEffect {
    var worst = CallEffect.pure
    postOrderVisit(e) { x in
        if x.kind == .bufferLoad {
            worst = max(worst, .readState)
        } else if let c = x as? Call {
            worst = max(worst, effect(of: c))
        }
    }
    return worst
}

/// Buffers that a statement accesses, each once, in order of first access.
public func buffersAccessed(_ s: Stmt) -> (reads: [Buffer], writes: [Buffer]) {
    var reads: [Buffer] = []
    var writes: [Buffer] = []
    var readSet: Set<Buffer> = []
    var writeSet: Set<Buffer> = []
    postOrderVisit(
        s,
        expr: { e in
            if let l = e as? BufferLoad, readSet.insert(l.buffer).inserted { reads.append(l.buffer) }
        },
        stmt: { x in
            if let w = x as? BufferStore, writeSet.insert(w.buffer).inserted { writes.append(w.buffer) }
        })
    return (reads: reads, writes: writes)
}

/// Nodes of an expression, those shared counted each time they occur; at most `limit`.
public func expressionSize(_ e: PrimExpr, limit: Int = .max) -> Int {
    if limit > smallWalk { return Swift.min(sumOverOccurrences(e) { _ in 1 }, limit) }
    var count = 0
    var stack = [e]
    while let x = stack.popLast(), count < limit {
        count += 1
        forEachChild(of: x) { stack.append($0) }
    }
    return count
}

/// Levels of an expression: 1 for a leaf.
public func expressionDepth(_ e: PrimExpr) -> Int {
    var depths: [ObjectIdentifier: Int] = [:]
    func depth(_ x: PrimExpr) -> Int {
        if let known = depths[ObjectIdentifier(x)] { return known }
        var deepest = 0
        growingStack { forEachChild(of: x) { deepest = Swift.max(deepest, depth($0)) } }
        depths[ObjectIdentifier(x)] = deepest + 1
        return deepest + 1
    }
    return depth(e)
}

/// Statements under (and including) a statement.
public func statementCount(_ s: Stmt) -> Int {
    var count = 0
    postOrderVisit(s, stmt: { _ in count += 1 })
    return count
}

/// Arithmetic operations that a statement does on data (not on indices): each lane counts, `fma` counts
/// twice, of the sides of a condition the larger counts, a loop of unknown extent counts as one iteration.
public func estimateFlops(_ s: Stmt) -> Double { growingStack { stmtFlops(s) } }

private func stmtFlops(_ s: Stmt) -> Double {
    switch s.stmtKind {
    case .letStmt:
        let s = unsafeDowncast(s, to: LetStmt.self)
        return flops(s.value) + estimateFlops(s.body)
    case .attr: return estimateFlops(unsafeDowncast(s, to: AttrStmt.self).body)
    case .assert: return 0
    case .bufferStore: return flops(unsafeDowncast(s, to: BufferStore.self).value)
    case .seq: return unsafeDowncast(s, to: SeqStmt.self).stmts.reduce(0) { $0 + estimateFlops($1) }
    case .ifThenElse:
        let s = unsafeDowncast(s, to: IfThenElse.self)
        return flops(s.condition)
            + Swift.max(estimateFlops(s.thenCase), s.elseCase.map { estimateFlops($0) } ?? 0)
    case .evaluate: return flops(unsafeDowncast(s, to: Evaluate.self).value)
    case .forLoop:
        let s = unsafeDowncast(s, to: For.self)
        return Double(Swift.max(s.extent.asInt ?? 1, 0)) * estimateFlops(s.body)
    case .whileLoop: return estimateFlops(unsafeDowncast(s, to: While.self).body)
    case .block:
        let s = unsafeDowncast(s, to: Block.self)
        return (s.initial.map { estimateFlops($0) } ?? 0) + estimateFlops(s.body)
    case .blockRealize: return estimateFlops(unsafeDowncast(s, to: BlockRealize.self).block)
    case .allocate: return estimateFlops(unsafeDowncast(s, to: Allocate.self).body)
    }
}

private func flops(_ e: PrimExpr) -> Double {
    var walk = FlopCount()
    return walk.count(e)
}

private struct FlopCount {
    private var steps = 0
    private var known: [ObjectIdentifier: Double] = [:]

    mutating func count(_ e: PrimExpr) -> Double {
        switch e.kind {
        // What indices cost is not counted.
        case .intImm, .floatImm, .stringImm, .variable, .bufferLoad: return 0
        default: break
        }
        steps += 1
        let remembers = steps > smallWalk
        if remembers, let done = known[ObjectIdentifier(e)] { return done }
        var total = own(e)
        growingStack { forEachChild(of: e) { total += count($0) } }
        if remembers { known[ObjectIdentifier(e)] = total }
        return total
    }

    private func own(_ e: PrimExpr) -> Double {
        if e.dtype.element == .index || e.dtype.element.isBool { return 0 }
        let lanes = Double(e.dtype.lanes)
        switch e.kind {
        case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max: return lanes
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            if c.name == "tir.fma" { return 2 * lanes }
            let free = ["tir.if_then_else", "tir.reinterpret", "tir.likely"].contains(c.name)
            return free ? 0 : lanes
        default: return 0
        }
    }
}
