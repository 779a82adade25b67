import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// Puts the value of a store in the place of loads of its buffer.
private final class LoadReplacer: StmtExprMutator {
    let buffer: Buffer
    let value: ([PrimExpr]) -> PrimExpr

    init(_ buffer: Buffer, _ value: @escaping ([PrimExpr]) -> PrimExpr) {
        self.buffer = buffer
        self.value = value
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if let load = e as? BufferLoad, load.buffer === buffer {
            return value(load.indices.map { mutate($0) })
        }
        return mutateChildren(of: e)
    }
}

/// Brings the indices and conditions of a block's body to normal form.
final class IndexSimplifier: StmtExprMutator {
    let arith: ArithContext

    init(_ block: Block) {
        arith = ArithContext()
        for v in block.iterVars { arith.bind(v.variable, v.dom) }
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.dtype == .index || (e.dtype == .bool && e.kind != .call) {
            let s = arith.simplify(e)
            return sameExpr(s, e) ? e : s
        }
        return mutateChildren(of: e)
    }
}

/// The loads of `buffer` in `s`.
private func loads(of buffer: Buffer, in s: Stmt) -> [BufferLoad] {
    var result: [BufferLoad] = []
    postOrderVisit(s, expr: { if let l = $0 as? BufferLoad, l.buffer === buffer { result.append(l) } })
    return result
}

extension Schedule {
    /// The single store of an elementwise block: spatial variables only, no initialisation, every element
    /// once.
    private func onlyStore(_ f: Int, _ r: BlockRealize, _ primitive: String) throws -> BufferStore {
        guard r.block.initial == nil, r.block.iterVars.allSatisfy({ $0.iterType == .dataParallel }) else {
            throw failure(
                "SCH060", "\(primitive): block `\(r.block.name)` is a reduction", r,
                expected: "a block of spatial iteration variables without init")
        }
        guard let store = r.block.body as? BufferStore, r.block.allocBuffers.isEmpty,
            r.block.matchBuffers.isEmpty
        else {
            throw failure(
                "SCH061", "\(primitive): the body of `\(r.block.name)` is not one store", r,
                expected: "B[…] = value")
        }
        if functions[f].partial.contains(r.block.name) {
            throw failure(
                "SCH062", "\(primitive): the predicate of `\(r.block.name)` leaves elements out", r,
                expected: "a block that visits all of its domain")
        }
        return store
    }

    /// The other blocks of the scope that write `buffer`.
    func otherWriters(_ index: StmtIndex, _ at: Int, _ buffer: Buffer) -> [BlockRealize] {
        index.blocksBelow(max(index.scope(of: at), 0)).compactMap { i -> BlockRealize? in
            guard i != at, let r = index.realize(i) else { return nil }
            return r.block.writes.contains { $0.buffer === buffer } ? r : nil
        }
    }

    func requireInternal(_ index: StmtIndex, _ buffer: Buffer, _ r: BlockRealize, _ primitive: String) throws
    {
        guard isInternal(index, buffer) else {
            throw failure(
                "SCH063",
                "\(primitive): \(buffer.name), written by `\(r.block.name)`, is a result of the function", r,
                expected: "a buffer allocated in the function")
        }
    }

    func removingAllocation(_ f: PrimFunc, _ buffer: Buffer) -> PrimFunc {
        let index = StmtIndex(f)
        for i in index.entries.indices {
            guard let r = index.realize(i), r.block.allocBuffers.contains(where: { $0 === buffer }) else {
                continue
            }
            let block = r.block.with(allocBuffers: r.block.allocBuffers.filter { $0 !== buffer })
            return index.replacing(i, with: BlockRealize(r.iterValues, predicate: r.predicate, block))
        }
        return f
    }

    /// A consumer with its loads of `buffer` replaced, regions found anew.
    private func inlined(
        _ r: BlockRealize, _ buffer: Buffer, _ value: @escaping ([PrimExpr]) -> PrimExpr
    ) throws -> BlockRealize {
        if StmtIndex.containsRealize(r.block.body) {
            throw failure(
                "SCH064", "block `\(r.block.name)` holds blocks of its own", r,
                expected: "a consumer that is one statement", hint: "inline before blockize")
        }
        if !isTransparent(r.block) {
            throw failure(
                "SCH064", "block `\(r.block.name)` accesses \(buffer.name) through a view or a pointer", r,
                expected: "a consumer of plain loads", hint: "inline before tensorize")
        }
        let m = LoadReplacer(buffer, value)
        let tidy = IndexSimplifier(r.block)
        let body = tidy.mutate(m.mutate(r.block.body))
        let initial = r.block.initial.map { tidy.mutate(m.mutate($0)) }
        let changed = withDetectedRegions(r.block.with(body: body, initial: .some(initial)))
        // A decomposed update reads what it writes; that stays as it was.
        return BlockRealize(r.iterValues, predicate: r.predicate, changed)
    }

    // MARK: computeInline

    /// Puts the value of an elementwise (or any injective) block where its consumers read it, and removes the
    /// block.
    ///
    /// Errors: SCH060 a reduction, SCH061 a body other than one store with distinct variables as indices,
    /// SCH062 a predicate, SCH063 a result of the function, SCH064 a consumer with inner blocks, SCH065 no
    /// consumer, or several writers, SCH020 an input that is overwritten in between.
    public func computeInline(_ block: BlockRV) throws {
        try step("computeInline") {
            let (f, index, at, r) = try locate(block)
            let store = try onlyStore(f, r, "computeInline")
            try requireInternal(index, store.buffer, r, "computeInline")
            let users = consumers(index, at)
            guard !users.isEmpty, otherWriters(index, at, store.buffer).isEmpty else {
                throw failure(
                    "SCH065",
                    "computeInline: \(store.buffer.name) needs a reader, and `\(r.block.name)` as its only "
                        + "writer", r, expected: "one writer and at least one reader",
                    actual: "readers: " + listed(users.compactMap { index.realize($0)?.block.name })
                        + "; other writers: "
                        + listed(otherWriters(index, at, store.buffer).map(\.block.name)))
            }
            var vars: [Var?] = []
            for (i, d) in zip(store.indices, store.buffer.shape) {
                if let v = i as? Var, r.block.iterVars.contains(where: { $0.variable === v }),
                    !vars.contains(where: { $0 === v })
                {
                    vars.append(v)
                } else if i.isZero, d.isOne {
                    vars.append(nil)
                } else {
                    throw failure(
                        "SCH061",
                        "computeInline: the store of `\(r.block.name)` is not indexed by distinct variables",
                        r,
                        expected: "a different one of "
                            + listed(r.block.iterVars.map { $0.variable.name }) + " as each index",
                        actual: "\(i)",
                        hint: "reverseComputeInline puts the reader into this block instead")
                }
            }
            guard loads(of: store.buffer, in: store).isEmpty else {
                throw failure(
                    "SCH061", "computeInline: `\(r.block.name)` reads what it writes", r,
                    expected: "a value of other buffers")
            }
            let free = Set(r.block.iterVars.map(\.variable)).subtracting(vars.compactMap { $0 })
            for v in r.block.iterVars where free.contains(v.variable) && v.dom.extent.asInt != 1 {
                throw failure(
                    "SCH061",
                    "computeInline: \(v.variable.name) does not index the store of `\(r.block.name)`", r,
                    expected: "a store indexed by all variables")
            }
            var constant: [Var: PrimExpr] = [:]
            for v in r.block.iterVars where free.contains(v.variable) { constant[v.variable] = v.dom.min }
            let body = substitute(store.value, constant)
            let names = users.compactMap { index.realize($0)?.block.name }
            var changes: [Int: Stmt?] = [at: nil]
            for u in users {
                guard let c = index.realize(u) else { continue }
                changes[u] = try inlined(c, store.buffer) { indices in
                    var map: [Var: PrimExpr] = [:]
                    for (v, e) in zip(vars, indices) { if let v { map[v] = e } }
                    return substitute(body, map)
                }
            }
            let function = removingAllocation(index.replacing(changes), store.buffer)
            let checked = StmtIndex(function)
            for name in names { if let i = checked.blockAt[name] { try checkDependencies(checked, i) } }
            commit(f, function)
            record("computeInline", [.block(block.id)])
        }
    }

    // MARK: reverseComputeInline

    /// Puts an elementwise block into the store of the block that it reads from: the producer then writes the
    /// consumer's buffer. The consumer may permute, split or fuse dimensions (any bijection of constant
    /// extents).
    ///
    /// Errors: as `computeInline`; SCH066 other readers or writers of the buffer between, SCH067 indices that
    /// are no bijection.
    public func reverseComputeInline(_ block: BlockRV) throws {
        try step("reverseComputeInline") {
            let (f, index, at, r) = try locate(block)
            let store = try onlyStore(f, r, "reverseComputeInline")
            var last: Refusal?
            // The producer is the one among those of the block's inputs that allows it.
            for p in producers(index, at).reversed() {
                do {
                    let function = try reverseInlined(f, index, at, r, store, into: p)
                    commit(f, function)
                    record("reverseComputeInline", [.block(block.id)])
                    return
                } catch let e as Refusal {
                    last = last ?? e
                }
            }
            throw last
                ?? failure(
                    "SCH066", "reverseComputeInline: `\(r.block.name)` reads nothing computed before it", r,
                    expected: "a producer in the same scope")
        }
    }

    private func reverseInlined(
        _ f: Int, _ index: StmtIndex, _ at: Int, _ r: BlockRealize, _ store: BufferStore, into p: Int
    ) throws -> PrimFunc {
        guard let producer = index.realize(p) else { return index.function }
        let made = try onlyStore(f, producer, "reverseComputeInline")
        let buffer = made.buffer
        try requireInternal(index, buffer, producer, "reverseComputeInline")
        let users = consumers(index, p).filter { i in
            index.realize(i)?.block.reads.contains { $0.buffer === buffer } ?? false
        }
        guard users == [at], otherWriters(index, p, buffer).isEmpty,
            otherWriters(index, at, store.buffer).isEmpty
        else {
            throw failure(
                "SCH066",
                "reverseComputeInline: \(buffer.name) has other readers or writers than "
                    + "`\(producer.block.name)` and `\(r.block.name)`", r,
                expected: "one reader and one writer",
                actual: "readers: " + listed(users.compactMap { index.realize($0)?.block.name })
            ).marking(producer, "the producer")
        }
        let uses = loads(of: buffer, in: store)
        guard let first = uses.first, uses.allSatisfy({ sameExprs($0.indices, first.indices) }) else {
            throw failure(
                "SCH067", "reverseComputeInline: `\(r.block.name)` reads \(buffer.name) in several places", r,
                expected: "one form of indices", actual: listed(uses.map { "\($0)" }))
        }
        let arith = ArithContext()
        for v in producer.block.iterVars { arith.bind(v.variable, v.dom) }
        guard
            let (inverse, conditions) = inverseBijection(
                first.indices, shape: buffer.shape, r.block.iterVars, values: made.indices, arith)
        else {
            throw failure(
                "SCH067", "reverseComputeInline: \(first) does not visit each element of \(buffer.name) once",
                r,
                expected: "indices that permute, split or fuse the variables of `\(r.block.name)`")
        }
        let domain = blockDomain(producer.block, ArithContext())
        let written = domain.box(BufferRegion(buffer, point: made.indices), [:])
        let complete =
            domain.isExact(written)
            && zip(written, buffer.shape).allSatisfy { i, n in
                guard let i else { return false }
                return domain.arith.canProve(i.lo .<= const(0, n.dtype))
                    && domain.arith.canProve((n - 1) .<= i.hi)
            }
        guard complete else {
            throw failure(
                "SCH067",
                "reverseComputeInline: `\(producer.block.name)` does not write all of \(buffer.name)",
                producer, expected: "a producer of every element",
                actual: "\(BufferRegion(buffer, point: made.indices))")
        }
        let replace = LoadReplacer(buffer) { _ in made.value }
        // The consumer's variables first: what is put in afterwards speaks of the producer's.
        let marker = substitute(store, inverse)
        let value = (marker as? BufferStore).map { replace.mutate($0.value) } ?? store.value
        let indices: [PrimExpr] = store.indices.map { arith.simplify(substitute($0, inverse)) }
        let tidy = IndexSimplifier(producer.block)
        let body = tidy.mutate(BufferStore(store.buffer, value, indices))
        let block = withDetectedRegions(producer.block.with(body: body))
        let map = blockMap(producer)
        let bounds: [PrimExpr] = conditions.map { substitute($0, map) }
        let predicate = conjunction(conjuncts(producer.predicate) + bounds, index.arith)
        let first1 = index.replacing(p, with: BlockRealize(producer.iterValues, predicate: predicate, block))
        let second = StmtIndex(first1)
        var function = first1
        if let i = second.blockAt[r.block.name] { function = second.replacing(i, with: nil) }
        function = removingAllocation(function, buffer)
        let checked = StmtIndex(function)
        if let i = checked.blockAt[block.name] { try checkDependencies(checked, i) }
        // It now leaves out the padding of its domain: loops over all of it would store outside the result.
        if !conditions.isEmpty { functions[f].partial.insert(block.name) }
        return function
    }
}

extension StmtIndex {
    static func containsRealize(_ s: Stmt) -> Bool {
        var found = false
        postOrderVisit(s, stmt: { if $0.stmtKind == .blockRealize { found = true } })
        return found
    }
}

/// Solves `indices(v) = values` for the variables `v`: each index is a sum of digits `(v // a) % b` that
/// fills its dimension, and the digits of each variable fill its domain. nil where they do not, so that the
/// result, if there is one, is a bijection between the domain and the shape. A domain may end inside its last
/// digit (a layout padded to whole tiles): then `conditions` say which values belong to it.
func inverseBijection(
    _ indices: [PrimExpr], shape: [PrimExpr], _ vars: [IterVar], values: [PrimExpr], _ arith: ArithContext
) -> (map: [Var: PrimExpr], conditions: [PrimExpr])? {
    struct Digit {
        var lower: Int
        var extent: Int
        var value: PrimExpr
    }
    let own = ArithContext()
    for v in vars { own.bind(v.variable, v.dom) }
    var digits: [Var: [Digit]] = [:]
    /// (variable, a, b) of `(v // a) % b`.
    func digit(_ e: PrimExpr) -> (Var, Int, Int)? {
        if let v = e as? Var {
            guard let n = own.ranges[v]?.extent.asInt, own.ranges[v]?.min.isZero == true else { return nil }
            return (v, 1, n)
        }
        guard let b = e as? BinaryExpr, let c = b.b.asInt, c > 0, let (v, a, n) = digit(b.a) else {
            return nil
        }
        if e.kind == .floorDiv {
            let p = a.multipliedReportingOverflow(by: c)
            return p.overflow ? nil : (v, p.partialValue, (n - 1) / c + 1)
        }
        if e.kind == .floorMod, n >= c { return (v, a, c) }
        return nil
    }
    for (d, e) in indices.enumerated() {
        let sum = own.affine(e)
        guard let size = shape[d].asInt else {
            // A symbolic dimension: the variable itself, over the whole of it.
            guard sum.terms.count == 1, sum.constant == 0, sum.terms[0].coef == 1,
                let v = sum.terms[0].atom as? Var, let r = own.ranges[v], r.min.isZero,
                sameExpr(r.extent, shape[d]), digits[v] == nil
            else { return nil }
            digits[v] = [Digit(lower: 0, extent: 0, value: values[d])]
            continue
        }
        guard sum.constant == 0 else { return nil }
        var scale = 1
        for t in sum.terms.sorted(by: { $0.coef < $1.coef }) {
            guard let (v, a, n) = digit(t.atom), t.coef == scale else { return nil }
            let next = scale.multipliedReportingOverflow(by: n)
            if next.overflow { return nil }
            let dtype = e.dtype
            let upper = floorDiv(values[d], const(scale, dtype))
            let value = next.partialValue == size ? upper : floorMod(upper, const(n, dtype))
            digits[v, default: []].append(Digit(lower: a, extent: n, value: value))
            scale = next.partialValue
        }
        if scale != size { return nil }
    }
    var result: [Var: PrimExpr] = [:]
    var conditions: [PrimExpr] = []
    for v in vars {
        let dtype = v.variable.dtype
        guard let list = digits[v.variable] else {
            guard v.dom.extent.asInt == 1 else { return nil }
            result[v.variable] = v.dom.min
            continue
        }
        if list.count == 1, list[0].extent == 0 {
            result[v.variable] = arith.simplify(list[0].value)
            continue
        }
        var scale = 1
        var sum: PrimExpr = const(0, dtype)
        for digit in list.sorted(by: { $0.lower < $1.lower }) {
            if digit.lower != scale { return nil }
            sum = sum + digit.value * const(scale, dtype)
            let next = scale.multipliedReportingOverflow(by: digit.extent)
            if next.overflow { return nil }
            scale = next.partialValue
        }
        guard let n = v.dom.extent.asInt, n <= scale else { return nil }
        let value = arith.simplify(sum)
        if n < scale { conditions.append(value .< const(n, dtype)) }
        result[v.variable] = value
    }
    return (result, conditions)
}

/// Whether different iterations of `loops` give a block's spatial variables different values: then a reduction meets
/// each of its elements once, however the loops are ordered.
func visitsOnce(
    _ r: BlockRealize, _ loops: [For], _ arith: ArithContext,
    of kinds: (IterVarType) -> Bool = { $0 == .dataParallel }
) -> Bool {
    let relaxed = Relaxation(loops, arith)
    var indices: [PrimExpr] = []
    var shape: [PrimExpr] = []
    for (v, e) in zip(r.block.iterVars, r.iterValues) where kinds(v.iterType) {
        var sum = Affine(0)
        sum.terms = arith.affine(e).terms.filter { relaxed.touches($0.atom) }
        if sum.terms.isEmpty { continue }
        let moving = sum.expr(e.dtype)
        guard let i = relaxed.interval(moving), i.lo.isZero else { return false }
        indices.append(moving)
        shape.append(arith.simplify(i.width + 1))
    }
    let iters: [IterVar] = loops.map { IterVar(IRRange(extent: $0.extent), $0.loopVar, .dataParallel) }
    return inverseBijection(indices, shape: shape, iters, values: indices, arith) != nil
}
