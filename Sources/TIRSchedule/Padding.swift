import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

extension Schedule {
    /// Takes a block that pads, `B[…] = inside ? value : constant`, apart: a new block, right before `loop`, fills
    /// with the constant; the block itself then runs inside only. Returns the block that fills.
    ///
    /// Errors: SCH106 a block of another form, or one that does not visit all of its domain; SCH083 a loop that is
    /// not around the block.
    @discardableResult
    public func decomposePadding(_ block: BlockRV, _ loop: LoopRV) throws -> BlockRV {
        try step("decomposePadding") {
            let (f, index, at, r) = try locate(block)
            let (g, _, target, l) = try locate(loop)
            let loops = index.loopsAbove(at)
            guard f == g, let first = loops.firstIndex(where: { $0.loopVar === l.loopVar }) else {
                throw failure(
                    "SCH083", "decomposePadding: loop \(l.loopVar.name) is not around `\(r.block.name)`", l,
                    expected: "one of " + names(loops))
            }
            let b = r.block
            guard let store = b.body as? BufferStore, b.initial == nil, b.allocBuffers.isEmpty,
                b.iterVars.allSatisfy({ $0.iterType == .dataParallel }),
                !functions[f].partial.contains(b.name),
                let (condition, inside, pad) = paddingForm(store.value),
                otherWriters(index, at, store.buffer).isEmpty,
                loops[first...].allSatisfy({ x in
                    bindingVariables(r, { _ in true }).contains(x.loopVar) || x.extent.asInt == 1
                }), visitsOnce(r, Array(loops[first...]), index.arith),
                !loops[first...].contains(where: { $0.forKind == .threadBinding || $0.forKind == .vectorized }
                )
            else {
                throw failure(
                    "SCH106",
                    "decomposePadding: `\(b.name)` does not pad, or not all of its domain is visited once",
                    r, expected: "B[…] = if_then_else(inside, value, constant) over serial loops")
            }
            let arith = index.arith.copy()
            var map: [Var: PrimExpr] = [:]
            var fillLoops: [For] = []
            for x in loops[first...] {
                let v = Var("\(x.loopVar.name)_pad", dtype: x.loopVar.dtype)
                let (lo, n) = (substitute(x.min, map), substitute(x.extent, map))
                map[x.loopVar] = v
                arith.bind(v, IRRange(min: lo, extent: n))
                fillLoops.append(initLoop(x, v, lo, n))
            }
            var own: [Var: PrimExpr] = [:]
            var iters: [IterVar] = []
            for v in b.iterVars {
                let fresh = Var("\(v.variable.name)_pad", dtype: v.variable.dtype)
                own[v.variable] = fresh
                iters.append(IterVar(v.dom, fresh, .dataParallel))
            }
            let fillName = freshBlockName(f, "\(b.name)_pad_const")
            let fill = withDetectedRegions(
                Block(
                    fillName, iterVars: iters,
                    body: BufferStore(store.buffer, pad, store.indices.map { substitute($0, own) })))
            let values: [PrimExpr] = r.iterValues.map { arith.simplify(substitute($0, map)) }
            var nest: Stmt = BlockRealize(values, predicate: substitute(r.predicate, map), fill)
            for x in fillLoops.reversed() { nest = x.with(body: nest) }
            let bound = blockMap(r)
            let parts = conjuncts(r.predicate) + conjuncts(condition).map { substitute($0, bound) }
            let new = withDetectedRegions(b.with(body: BufferStore(store.buffer, inside, store.indices)))
            let changed = StmtIndex(
                index.replacing(
                    at, with: BlockRealize(r.iterValues, predicate: conjunction(parts, index.arith), new)))
            let holder = changed.entries[target].stmt
            commit(f, changed.replacing(target, with: SeqStmt.flat([nest, holder])))
            functions[f].partial.insert(b.name)
            let result = newBlock(f, fillName)
            record("decomposePadding", [.block(block.id), .loop(loop.id)], outputs: [.block(result.id)])
            return result
        }
    }

    /// `inside ? value : constant` with a condition of integers only.
    private func paddingForm(_ e: PrimExpr) -> (PrimExpr, PrimExpr, PrimExpr)? {
        func constant(_ x: PrimExpr) -> Bool { x.kind == .intImm || x.kind == .floatImm }
        func plain(_ c: PrimExpr) -> Bool {
            var ok = true
            postOrderVisit(c) { if $0.kind == .bufferLoad || $0.kind == .let { ok = false } }
            return ok
        }
        if let c = e as? Call, c.name == "tir.if_then_else", c.args.count == 3, constant(c.args[2]),
            plain(c.args[0])
        {
            return (c.args[0], c.args[1], c.args[2])
        }
        if let s = e as? Select, constant(s.falseValue), plain(s.condition) {
            return (s.condition, s.trueValue, s.falseValue)
        }
        return nil
    }

    // MARK: padEinsum

    /// Pads the domain of a sum of products to multiples of `padding`, one number a variable of the block: its inputs
    /// are copied into padded buffers (zeros outside), it writes a padded buffer, and a last block copies the result
    /// back. All loops then divide.
    ///
    /// Errors: SCH107 a block of another form, one that shares its loops, or numbers less than 1.
    public func padEinsum(_ block: BlockRV, _ padding: [Int]) throws {
        try step("padEinsum") {
            let (f, index, at, r) = try locate(block)
            let b = r.block
            guard padding.count == b.iterVars.count, padding.allSatisfy({ $0 >= 1 && $0 <= 1 << 20 }) else {
                throw failure(
                    "SCH107", "padEinsum needs a positive multiple for each variable of `\(b.name)`", r,
                    expected: "one each for " + listed(b.iterVars.map { $0.variable.name }),
                    actual: "\(padding)")
            }
            guard index.entries[at].parent >= 0, let top = wholeNest(index, at),
                !functions[f].partial.contains(b.name), let form = einsum(b),
                otherWriters(index, at, form.out).isEmpty
            else {
                throw failure(
                    "SCH107", "padEinsum: `\(b.name)` is not a sum of products alone in its loops", r,
                    expected: "C[i, j] = C[i, j] + A[i, k] * B[k, j], all indices distinct variables from 0")
            }
            var extent: [Var: PrimExpr] = [:]
            var iters: [IterVar] = []
            for (v, p) in zip(b.iterVars, padding) {
                let n = v.dom.extent.asInt ?? 0
                let padded = (n + p - 1) / p * p
                // Further iterations of a variable that does not tell the results apart would write them again.
                let tells = form.indices.contains { $0 === v.variable }
                if v.iterType == .dataParallel, !tells, padded != n {
                    throw failure(
                        "SCH107", "padEinsum: \(v.variable.name) does not index the result of `\(b.name)`", r,
                        expected:
                            "padding of the variables in \(BufferRegion(form.out, point: form.indices))",
                        actual: "\(padding)")
                }
                extent[v.variable] = const(padded, v.variable.dtype)
                iters.append(IterVar(IRRange(0, extent: padded), v.variable, v.iterType))
            }
            var buffers: [Buffer: Buffer] = [:]
            var before: [Stmt] = []
            var names = Set(index.blockAt.keys)
            func fresh(_ wanted: String) -> String {
                let n = uniqueName(wanted, names)
                names.insert(n)
                return n
            }
            func iterVars(_ shape: [PrimExpr]) -> [IterVar] {
                shape.enumerated().map {
                    IterVar(IRRange(extent: $1), Var("v\($0)", dtype: $1.dtype), .dataParallel)
                }
            }
            for load in form.loads where buffers[load.buffer] == nil {
                let shape: [PrimExpr] = load.indices.map { ($0 as? Var).flatMap { extent[$0] } ?? $0 }
                if zip(shape, load.buffer.shape).allSatisfy({ sameExpr($0, $1) }) { continue }
                let padded = Buffer(
                    "\(load.buffer.name)_pad", shape, load.buffer.dtype, scope: load.buffer.scope)
                buffers[load.buffer] = padded
                let vars = iterVars(shape)
                let point: [PrimExpr] = vars.map { $0.variable }
                var inside: [PrimExpr] = []
                for ((v, n), m) in zip(zip(point, load.buffer.shape), shape) where !sameExpr(n, m) {
                    inside.append(v .< n)
                }
                let value: PrimExpr = ifThenElse(
                    all(inside), BufferLoad(load.buffer, point), const(0, load.buffer.dtype))
                let copy = withDetectedRegions(
                    Block(
                        fresh("\(load.buffer.name)_pad"), iterVars: vars,
                        body: BufferStore(padded, value, point)))
                before.append(loopNest(copy, [:], ArithContext()))
            }
            let outShape: [PrimExpr] = form.indices.map { ($0 as? Var).flatMap { extent[$0] } ?? $0 }
            var after: [Stmt] = []
            if !zip(outShape, form.out.shape).allSatisfy({ sameExpr($0, $1) }) {
                let padded = Buffer("\(form.out.name)_pad", outShape, form.out.dtype, scope: form.out.scope)
                buffers[form.out] = padded
                let vars = iterVars(form.out.shape)
                let point: [PrimExpr] = vars.map { $0.variable }
                let copy = withDetectedRegions(
                    Block(
                        fresh("\(form.out.name)_unpad"), iterVars: vars,
                        body: BufferStore(form.out, BufferLoad(padded, point), point)))
                after.append(loopNest(copy, [:], ArithContext()))
            }
            guard let scopeName = index.realize(index.scope(of: at))?.block.name,
                let moved = substitute(b, [:], buffers: buffers) as? Block
            else { internalError("padEinsum lost its scope") }
            let main = withDetectedRegions(moved.with(iterVars: iters))
            let all = before + [loopNest(main, [:], ArithContext())] + after
            var function = index.replacing(top, with: SeqStmt.flat(all))
            let now = StmtIndex(function)
            if let s = now.blockAt[scopeName], let scope = now.realize(s) {
                let added = (form.loads.map(\.buffer) + [form.out]).reduce(into: [Buffer]()) { list, x in
                    if let n = buffers[x], !list.contains(where: { $0 === n }) { list.append(n) }
                }
                let new = scope.block.with(allocBuffers: scope.block.allocBuffers + added)
                function = now.replacing(
                    s, with: BlockRealize(scope.iterValues, predicate: scope.predicate, new))
            }
            commit(f, function)
            record("padEinsum", [.block(block.id)], [(key: "padding", value: .ints(padding))])
        }
    }

    /// The parts of `C[…] = C[…] + product`, init 0, all indices distinct variables over whole dimensions.
    private func einsum(_ b: Block) -> (out: Buffer, indices: [PrimExpr], loads: [BufferLoad])? {
        guard let start = b.initial as? BufferStore, start.value.isZero, let s = b.body as? BufferStore,
            start.buffer === s.buffer, sameExprs(start.indices, s.indices), let sum = s.value as? Add,
            let old = sum.a as? BufferLoad, old.buffer === s.buffer, sameExprs(old.indices, s.indices)
        else { return nil }
        var loads: [BufferLoad] = []
        func product(_ e: PrimExpr) -> Bool {
            if let m = e as? Mul { return product(m.a) && product(m.b) }
            if let c = e as? Cast { return product(c.value) }
            guard let l = e as? BufferLoad, l.buffer !== s.buffer else { return false }
            // One buffer read in two ways would need two paddings.
            if let same = loads.first(where: { $0.buffer === l.buffer }) {
                return sameExprs(same.indices, l.indices)
            }
            loads.append(l)
            return true
        }
        guard product(sum.b) else { return nil }
        let vars = b.iterVars
        func plain(_ indices: [PrimExpr], _ shape: [PrimExpr]) -> Bool {
            var seen: [Var] = []
            for (i, n) in zip(indices, shape) {
                guard let v = i as? Var, !seen.contains(where: { $0 === v }),
                    let iter = vars.first(where: { $0.variable === v }), iter.dom.min.isZero,
                    let m = iter.dom.extent.asInt, n.asInt == m
                else { return false }
                seen.append(v)
            }
            return true
        }
        guard plain(s.indices, s.buffer.shape), loads.allSatisfy({ plain($0.indices, $0.buffer.shape) }),
            vars.allSatisfy({ $0.iterType == .dataParallel || $0.iterType == .commReduce }),
            // Every reduction variable must meet a zero outside.
            vars.allSatisfy({ v in
                v.iterType == .dataParallel || loads.contains { $0.indices.contains { $0 === v.variable } }
            })
        else { return nil }
        // Zero times what is outside must be zero: padded elements are zeros themselves.
        return (out: s.buffer, indices: s.indices, loads: loads)
    }
}
