import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

extension Schedule {
    /// A name for a new block of function `f`.
    func freshBlockName(_ f: Int, _ wanted: String) -> String {
        let index = index(f)
        var i = 0
        var name = wanted
        while index.blockAt[name] != nil {
            i += 1
            name = "\(wanted)_\(i)"
        }
        return name
    }

    /// `to[v…] = from[v…]` over the box, as a block in loops.
    private func copyNest(
        _ name: String, from: Buffer, to: Buffer, _ box: [Interval?], _ arith: ArithContext
    ) -> Stmt {
        var iters: [IterVar] = []
        var domains: [Var: Interval] = [:]
        for (d, extent) in to.shape.enumerated() {
            let v = Var("v\(d)", dtype: extent.dtype)
            iters.append(IterVar(IRRange(extent: extent), v, .dataParallel))
            if let i = box[d] { domains[v] = i }
        }
        let indices: [PrimExpr] = iters.map { $0.variable }
        let block = Block(
            name, iterVars: iters, reads: [BufferRegion(from, point: indices)],
            writes: [BufferRegion(to, point: indices)],
            body: BufferStore(to, BufferLoad(from, indices), indices))
        return loopNest(block, domains, arith)
    }

    /// The function with `nest` placed next to entry `at`, and `buffer` allocated in the enclosing block.
    func placing(
        _ index: StmtIndex, _ at: Int, _ stmts: [Stmt], allocating buffer: Buffer, scopeName: String
    ) -> PrimFunc {
        let function = index.replacing(at, with: SeqStmt.flat(stmts))
        let now = StmtIndex(function)
        guard let s = now.blockAt[scopeName], let r = now.realize(s) else { return function }
        let block = r.block.with(allocBuffers: r.block.allocBuffers + [buffer])
        return now.replacing(s, with: BlockRealize(r.iterValues, predicate: r.predicate, block))
    }

    /// The statements on the way from a block up to its scope that stand in a sequence or are the scope's
    /// body, innermost first: the places next to which a copy may go.
    private func places(_ index: StmtIndex, _ at: Int) -> [Int] {
        var result: [Int] = []
        var i = at
        while true {
            let p = index.entries[i].parent
            if p < 0 { break }
            switch index.entries[p].stmt.stmtKind {
            case .seq: result.append(i)
            case .blockRealize:
                // A sequence as the whole body has given its places already.
                if index.entries[i].stmt.stmtKind != .seq { result.append(i) }
                return result
            default: break
            }
            i = p
        }
        return result
    }

    private func scopedBuffer(_ b: Buffer, _ scope: String) -> Buffer {
        Buffer("\(b.name)_\(scope)", b.shape, b.dtype, scope: scope, alignment: b.alignment)
    }

    // MARK: cacheRead

    /// Makes `block` read one of its inputs from a copy in `scope`; returns the block that copies. The copy
    /// is placed as far out as its source is ready; `computeAt` moves it inward.
    ///
    /// Errors: SCH080 no such read, or one of a buffer the block writes.
    @discardableResult
    public func cacheRead(_ block: BlockRV, _ readIndex: Int, _ scope: String) throws -> BlockRV {
        try step("cacheRead") {
            let (f, index, at, r) = try locate(block)
            guard r.block.reads.indices.contains(readIndex), !scope.isEmpty, index.entries[at].parent >= 0
            else {
                throw failure(
                    "SCH080", "cacheRead: `\(r.block.name)` reads \(r.block.reads.count) buffers", r,
                    expected: "a scope, and one of " + numbered(r.block.reads),
                    actual: "index \(readIndex), scope \"\(scope)\"")
            }
            let region = r.block.reads[readIndex]
            let source = region.buffer
            if r.block.writes.contains(where: { $0.buffer === source }) {
                throw failure(
                    "SCH080", "cacheRead: `\(r.block.name)` writes \(source.name) itself", r,
                    expected: "one of "
                        + listed(
                            r.block.reads.map(\.buffer).filter { b in
                                !r.block.writes.contains { $0.buffer === b }
                            }.map(\.name)))
            }
            // As far out as no writer of the source is below.
            var place = at
            for p in places(index, at) {
                let writer = index.blocksBelow(p).contains { i in
                    i != at && (index.realize(i)?.block.writes.contains { $0.buffer === source } ?? false)
                }
                if writer { break }
                place = p
            }
            let cache = scopedBuffer(source, scope)
            let arith = index.arith.copy()
            let inside = index.loopsAbove(at).filter { (index.loopAt[$0.loopVar] ?? 0) >= place }
            let box = Relaxation(inside, of: r, relevant: [], arith).box(region, blockMap(r))
            let name = freshBlockName(f, cache.name)
            let copy = copyNest(name, from: source, to: cache, box, arith)
            guard let scopeName = index.realize(index.scope(of: at))?.block.name,
                let changed = substitute(r.block, [:], buffers: [source: cache]) as? Block
            else { internalError("cacheRead lost its scope") }
            // The block itself first, then the copy beside the statement that now holds it.
            let first = StmtIndex(
                index.replacing(at, with: BlockRealize(r.iterValues, predicate: r.predicate, changed)))
            let holder = first.entries[place].stmt
            let function = placing(first, place, [copy, holder], allocating: cache, scopeName: scopeName)
            let checked = StmtIndex(function)
            if let i = checked.blockAt[name] { try checkDependencies(checked, i) }
            commit(f, function)
            let result = newBlock(f, name)
            record(
                "cacheRead", [.block(block.id)],
                [(key: "readIndex", value: .int(readIndex)), (key: "scope", value: .string(scope))],
                outputs: [.block(result.id)])
            return result
        }
    }

    /// As `cacheRead(_:_:_:)`; the blocks `readers` read from the same copy, which then holds the whole buffer and
    /// stands before the first of all.
    ///
    /// Errors: as there, for a reader that does not read the buffer, or is in another scope.
    @discardableResult
    public func cacheRead(_ block: BlockRV, _ readIndex: Int, _ scope: String, readers: [BlockRV]) throws
        -> BlockRV
    {
        if readers.isEmpty { return try cacheRead(block, readIndex, scope) }
        return try step("cacheRead") {
            let (f, index, at, r) = try locate(block)
            guard r.block.reads.indices.contains(readIndex), !scope.isEmpty, index.entries[at].parent >= 0
            else {
                throw failure(
                    "SCH080", "cacheRead: `\(r.block.name)` reads \(r.block.reads.count) buffers", r,
                    expected: "a scope, and one of " + numbered(r.block.reads),
                    actual: "index \(readIndex), scope \"\(scope)\"")
            }
            let source = r.block.reads[readIndex].buffer
            let cache = scopedBuffer(source, scope)
            var entries = [at]
            var changes: [Int: Stmt?] = [:]
            for b in readers {
                let (g, _, i, x) = try locate(b)
                guard g == f, index.scope(of: i) == index.scope(of: at),
                    x.block.reads.contains(where: { $0.buffer === source })
                else {
                    throw failure(
                        "SCH080",
                        "cacheRead: `\(x.block.name)` does not read \(source.name) in the same scope", x,
                        expected: "some of "
                            + listed(readersOf(source, index, index.scope(of: at)).map(\.block.name)))
                }
                if !entries.contains(i) { entries.append(i) }
            }
            for i in entries {
                guard let x = index.realize(i) else { continue }
                if x.block.writes.contains(where: { $0.buffer === source }) {
                    throw failure(
                        "SCH080", "cacheRead: `\(x.block.name)` writes \(source.name) itself", x,
                        expected: "readers that do not write it")
                }
                guard let changed = substitute(x.block, [:], buffers: [source: cache]) as? Block else {
                    continue
                }
                changes[i] = BlockRealize(x.iterValues, predicate: x.predicate, changed)
            }
            // Before the outermost statement that holds the first reader, after all writers.
            var place = entries.min() ?? at
            while index.entries[place].parent > index.scope(of: at),
                index.entries[index.entries[place].parent].stmt.stmtKind != .seq
                    || !index.loopsAbove(index.entries[place].parent).isEmpty
            { place = index.entries[place].parent }
            let name = freshBlockName(f, cache.name)
            let copy = copyNest(
                name, from: source, to: cache, source.shape.map { _ in nil }, index.arith.copy())
            guard let scopeName = index.realize(index.scope(of: at))?.block.name else {
                internalError("cacheRead lost its scope")
            }
            let first = StmtIndex(index.replacing(changes))
            let function = placing(
                first, place, [copy, first.entries[place].stmt], allocating: cache, scopeName: scopeName)
            let checked = StmtIndex(function)
            if let i = checked.blockAt[name] { try checkDependencies(checked, i) }
            commit(f, function)
            let result = newBlock(f, name)
            record(
                "cacheRead", [.block(block.id)] + readers.map { .block($0.id) },
                [(key: "readIndex", value: .int(readIndex)), (key: "scope", value: .string(scope))],
                outputs: [.block(result.id)])
            return result
        }
    }

    private func readersOf(_ b: Buffer, _ index: StmtIndex, _ scope: Int) -> [BlockRealize] {
        index.blocksBelow(max(scope, 0)).compactMap { i in
            index.realize(i).flatMap { x in x.block.reads.contains { $0.buffer === b } ? x : nil }
        }
    }

    // MARK: cacheWrite

    /// Makes `block` write one of its results into a buffer in `scope` first; returns the block that copies
    /// it to the result afterwards. The copy is placed right after the block's loops; `reverseComputeAt`
    /// moves it inward.
    ///
    /// Errors: SCH081 no such write, several writers, or a result read before the copy could be made.
    @discardableResult
    public func cacheWrite(_ block: BlockRV, _ writeIndex: Int, _ scope: String) throws -> BlockRV {
        try step("cacheWrite") {
            let (f, index, at, r) = try locate(block)
            guard r.block.writes.indices.contains(writeIndex), !scope.isEmpty, index.entries[at].parent >= 0
            else {
                throw failure(
                    "SCH081", "cacheWrite: `\(r.block.name)` writes \(r.block.writes.count) buffers", r,
                    expected: "a scope, and one of " + numbered(r.block.writes),
                    actual: "index \(writeIndex), scope \"\(scope)\"")
            }
            let region = r.block.writes[writeIndex]
            let result = region.buffer
            if let other = otherWriters(index, at, result).first {
                throw failure(
                    "SCH081", "cacheWrite: \(result.name) is also written by `\(other.block.name)`", r,
                    expected: "one writer", hint: "cacheWrite before decomposeReduction"
                ).marking(other)
            }
            if r.block.reads.contains(where: { $0.buffer === result }) {
                throw failure(
                    "SCH081", "cacheWrite: `\(r.block.name)` updates \(result.name) in place", r,
                    expected: "a block that does not read what it writes")
            }
            let reduction = bindingVariables(r, { $0 != .dataParallel })
            let arith = index.arith.copy()
            let map = blockMap(r)
            let relevant: [PrimExpr] = region.region.map { substitute($0.min, map) }
            let name = freshBlockName(f, "\(result.name)_\(scope)")
            let cache = scopedBuffer(result, scope)
            guard let scopeName = index.realize(index.scope(of: at))?.block.name,
                let changed = substitute(r.block, [:], buffers: [result: cache]) as? Block
            else { internalError("cacheWrite lost its scope") }
            let all = index.loopsAbove(at)
            for place in places(index, at) {
                let outside = all.filter { (index.loopAt[$0.loopVar] ?? 0) < place }
                let inside = all.filter { (index.loopAt[$0.loopVar] ?? 0) >= place }
                if outside.contains(where: { reduction.contains($0.loopVar) }) { continue }
                let readBelow = index.blocksBelow(place).contains { i in
                    i != at && (index.realize(i)?.block.reads.contains { $0.buffer === result } ?? false)
                }
                if readBelow { break }
                let relaxed = Relaxation(inside, of: r, relevant: relevant, arith)
                var box = relaxed.box(region, map)
                if !relaxed.isExact(box) {
                    if !outside.isEmpty { continue }
                    // All iterations together: the domains of the block's variables.
                    if functions[f].partial.contains(r.block.name) { break }
                    let full = blockDomain(r.block, arith)
                    box = full.box(region, [:])
                    if !full.isExact(box) { break }
                }
                let copy = copyNest(name, from: cache, to: result, box, arith)
                let first = StmtIndex(
                    index.replacing(at, with: BlockRealize(r.iterValues, predicate: r.predicate, changed)))
                let holder = first.entries[place].stmt
                let function = placing(first, place, [holder, copy], allocating: cache, scopeName: scopeName)
                let checked = StmtIndex(function)
                if let i = checked.blockAt[name] { try checkDependencies(checked, i) }
                commit(f, function)
                let rv = newBlock(f, name)
                record(
                    "cacheWrite", [.block(block.id)],
                    [(key: "writeIndex", value: .int(writeIndex)), (key: "scope", value: .string(scope))],
                    outputs: [.block(rv.id)])
                return rv
            }
            throw failure(
                "SCH081", "cacheWrite: there is no place where \(result.name) is complete and not yet read",
                r,
                expected: "a place outside the reduction loops before all readers",
                hint: "cacheWrite before computeAt"
            )
        }
    }
}
