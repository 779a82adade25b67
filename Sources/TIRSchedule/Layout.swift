import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Which buffers of a block a primitive means.
public enum BufferUse: String, Sendable {
    case read, write
}

/// Puts another buffer in the place of one, with other indices; signatures are found anew.
private final class LayoutRewriter: StmtExprMutator {
    let old: Buffer
    let new: Buffer
    let map: IndexMap
    let arith: ArithContext
    var touched = false

    init(_ old: Buffer, _ new: Buffer, _ map: IndexMap, _ arith: ArithContext) {
        self.old = old
        self.new = new
        self.map = map
        self.arith = arith
    }

    private func mapped(_ indices: [PrimExpr]) -> [PrimExpr] {
        touched = true
        return map.apply(indices).map { arith.simplify($0) }
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let e = mutateChildren(of: e)
        guard let load = e as? BufferLoad, load.buffer === old else { return e }
        return BufferLoad(new, mapped(load.indices))
    }

    override func mutate(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .bufferStore:
            guard let store = mutateChildren(of: s) as? BufferStore, store.buffer === old else {
                return mutateChildren(of: s)
            }
            return BufferStore(new, store.value, mapped(store.indices))
        case .block:
            let b = unsafeDowncast(s, to: Block.self)
            let before = touched
            touched = false
            let body = mutate(b.body)
            let initial = b.initial.map { mutate($0) }
            let here = touched
            touched = before || here
            func region(_ r: BufferRegion) -> BufferRegion {
                if r.buffer !== old { return r }
                guard r.region.allSatisfy({ $0.extent.asInt == 1 }) else { return BufferRegion(all: new) }
                return BufferRegion(new, point: mapped(r.region.map(\.min)))
            }
            let result = b.with(
                reads: b.reads.map(region), writes: b.writes.map(region), body: body, initial: .some(initial),
                allocBuffers: b.allocBuffers.map { $0 === old ? new : $0 })
            if here, !(b.iterVars.isEmpty && b.name == "root"), isTransparent(result) {
                return withCheckedRegions(result)
            }
            return result
        default: return mutateChildren(of: s)
        }
    }
}

extension Schedule {
    /// The buffer that operand `index` of a block names.
    func bufferOperand(_ r: BlockRealize, _ index: Int, _ use: BufferUse, _ code: String, _ name: String)
        throws
        -> Buffer
    {
        let list = use == .read ? r.block.reads : r.block.writes
        guard list.indices.contains(index) else {
            throw failure(
                code, "\(name): `\(r.block.name)` has no \(use.rawValue) \(index)", r,
                expected: numbered(list),
                actual: "\(index)")
        }
        return list[index].buffer
    }

    /// Lays a buffer that a block reads or writes out anew: element `[i…]` moves to `map(i…)`, wherever the function
    /// names it. Where the map does not fill its box (`i -> (i // 4, i % 4)` of 7 elements), the rest is padding that
    /// nothing reads; given `padValue`, the block that writes the buffer fills it with that.
    ///
    /// Errors: SCH100 a map of another rank, or one that is not injective; SCH101 a parameter of the function, or
    /// memory that is accessed in other ways; SCH102 padding that the writing block cannot fill.
    public func transformLayout(
        _ block: BlockRV, _ index: Int, _ use: BufferUse, _ map: IndexMap, padValue: Double? = nil
    ) throws {
        try step("transformLayout") {
            let (f, stmts, at, r) = try locate(block)
            let old = try bufferOperand(r, index, use, "SCH101", "transformLayout")
            guard isInternal(stmts, old) else {
                throw failure(
                    "SCH101", "transformLayout: the layout of \(old.name) is fixed: it is a parameter", r,
                    expected: "a buffer allocated in the function",
                    hint: "\(use == .read ? "cacheRead" : "cacheWrite") first, and transform the copy")
            }
            guard map.variables.count == old.rank, map.indices.count <= 32 else {
                throw failure(
                    "SCH100", "transformLayout: the map takes \(map.variables.count) indices", r,
                    expected: "\(old.rank), the rank of \(old.name)", actual: "\(map)")
            }
            for e in map.indices {
                if let v = undefinedVariables(of: e).first(where: { v in !map.variables.contains { $0 === v }
                }) {
                    throw failure("SCH100", "transformLayout: the map uses \(v.name)", r, actual: "\(map)")
                }
            }
            let values = map.indices.indices.map { Var("u\($0)") }
            guard let shape = map.image(of: old.shape),
                let inverse = map.inverse(values, shape: old.shape, image: shape, ArithContext())
            else {
                throw failure(
                    "SCH100", "transformLayout: the map sends two elements of \(old.name) to one place", r,
                    expected: "indices that permute, split or fuse those of shape "
                        + "(\(old.shape.map { "\($0)" }.joined(separator: ", ")))", actual: "\(map)")
            }
            try requireOnlyIndexed(stmts, old, r)
            let new = Buffer(
                data: Var(old.data.name, type: old.data.type), dtype: old.dtype, shape: shape, name: old.name,
                alignment: old.alignment)
            let rewriter = LayoutRewriter(old, new, map, stmts.arith.copy())
            var function = stmts.function.with(body: rewriter.mutate(stmts.function.body))
            if let padValue, !inverse.conditions.isEmpty {
                let writers = stmts.blocksBelow(max(stmts.scope(of: at), 0)).filter { i in
                    stmts.realize(i)?.block.writes.contains { $0.buffer === old } ?? false
                }
                function = try filled(
                    f, stmts, writers, old, StmtIndex(function), new, values, inverse,
                    const(padValue, new.dtype))
            }
            commit(f, function)
            var attrs: [(key: String, value: AttrValue)] = [
                (key: "index", value: .int(index)), (key: "use", value: .string(use.rawValue)),
                (key: "map", value: .string("\(map)")),
            ]
            if let padValue { attrs.append((key: "padValue", value: .float(padValue))) }
            record("transformLayout", [.block(block.id)], attrs)
        }
    }

    /// A buffer that changes its layout may be named by loads and stores only.
    func requireOnlyIndexed(_ index: StmtIndex, _ b: Buffer, _ r: BlockRealize) throws {
        var problem: Stmt?
        for e in index.entries {
            guard let realize = e.stmt as? BlockRealize else { continue }
            if realize.block.matchBuffers.contains(where: { $0.source.buffer === b }) { problem = realize }
            if realize.block.annotations["buffer_dim_align"] != nil,
                realize.block.writes.contains(where: { $0.buffer === b })
            {
                problem = realize
            }
        }
        var pointer = false
        postOrderVisit(
            index.function.body,
            expr: { e in
                if e === b.data { pointer = true }
                if let c = e as? Call, c.name == "tir.address_of", (c.args.first as? BufferLoad)?.buffer === b
                {
                    pointer = true
                }
            })
        if problem != nil || pointer {
            throw failure(
                "SCH101", "the layout of \(b.name) is relied upon: a view, a pointer or an alignment",
                problem ?? r,
                expected: "a buffer that only loads and stores name",
                hint: "change the layout before tensorize and storageAlign")
        }
    }

    /// `after` with the block that writes `new` run over all of it: padding gets `pad`.
    private func filled(
        _ f: Int, _ before: StmtIndex, _ writers: [Int], _ old: Buffer, _ after: StmtIndex, _ new: Buffer,
        _ values: [Var], _ inverse: (indices: [PrimExpr], conditions: [PrimExpr]), _ pad: PrimExpr
    ) throws -> PrimFunc {
        guard writers.count == 1, let w = before.realize(writers[0]) else {
            throw failure(
                "SCH102", "transformLayout: the padding of \(old.name) needs one block that writes it",
                before.realize(writers.first ?? 0) ?? before.function.body,
                actual: "\(writers.count) writers")
        }
        let b = w.block
        guard let store = b.body as? BufferStore, b.initial == nil, b.iterVars.count == old.rank,
            zip(store.indices, b.iterVars).allSatisfy({ $0 === $1.variable && $1.iterType == .dataParallel }),
            zip(b.iterVars, old.shape).allSatisfy({ $0.dom.min.isZero && sameExpr($0.dom.extent, $1) }),
            !functions[f].partial.contains(b.name), let top = wholeNest(before, writers[0])
        else {
            throw failure(
                "SCH102", "transformLayout: `\(b.name)` cannot fill the padding of \(old.name)", w,
                expected: "one store indexed by the block's variables, alone in its loops",
                hint: "leave padValue out, or transform right after the block was made")
        }
        var map: [Var: PrimExpr] = [:]
        for (v, e) in zip(b.iterVars, inverse.indices) { map[v.variable] = e }
        let value: PrimExpr = ifThenElse(all(inverse.conditions), substitute(store.value, map), pad)
        let iters = zip(values, new.shape).map { IterVar(IRRange(extent: $1), $0, .dataParallel) }
        let block = withDetectedRegions(
            b.with(iterVars: iters, body: BufferStore(new, value, values.map { $0 })))
        _ = top
        guard let at = after.blockAt[b.name], let place = wholeNest(after, at) else { return after.function }
        return after.replacing(place, with: loopNest(block, [:], ArithContext()))
    }

    /// The outermost loop (or the block itself) around the block at `at` if all loops around it hold nothing else.
    func wholeNest(_ index: StmtIndex, _ at: Int) -> Int? {
        var top = at
        while index.entries[top].parent >= 0,
            index.entries[index.entries[top].parent].stmt.stmtKind == .forLoop
        {
            top = index.entries[top].parent
        }
        guard index.loopsAbove(top).isEmpty else { return nil }
        // Inside a block that stands for one tile, the whole domain of a block is more than its part in the tile.
        if index.scope(of: at) > 0, let r = index.realize(at), !reachesDomain(index, at, r) { return nil }
        return top
    }

    /// Whether the loops of its own scope take a block through all of its domain.
    func reachesDomain(_ index: StmtIndex, _ at: Int, _ r: BlockRealize) -> Bool {
        let relaxed = Relaxation(index.loopsAbove(at), index.arith.copy())
        for (v, e) in zip(r.block.iterVars, r.iterValues) {
            guard let i = relaxed.interval(e), i.contiguous, index.arith.difference(i.lo, v.dom.min) == 0,
                index.arith.canProve(v.dom.extent .<= (i.width + 1))
            else { return false }
        }
        return true
    }

    // MARK: unsafeSetDType

    /// Makes a buffer that a block writes hold elements of another type: stores convert to it, loads convert back.
    /// Unsafe as the new type may not hold the values.
    ///
    /// Errors: SCH108 a parameter, memory that is accessed in other ways, a type that is not a number.
    public func unsafeSetDType(_ block: BlockRV, writeIndex: Int = 0, _ dtype: String) throws {
        try step("unsafeSetDType") {
            let (f, index, _, r) = try locate(block)
            let old = try bufferOperand(r, writeIndex, .write, "SCH108", "unsafeSetDType")
            guard isInternal(index, old) else {
                throw failure(
                    "SCH108", "unsafeSetDType: the type of \(old.name) is fixed: it is a parameter", r)
            }
            guard let type = DataType(dtype), type.isScalar, type.isFloat || type.isInteger,
                !type.isBool, !old.dtype.isBool
            else {
                throw failure(
                    "SCH108", "unsafeSetDType: `\(dtype)` is not a type of numbers", r,
                    expected: "such as float16, float64 or int32")
            }
            try requireOnlyIndexed(index, old, r)
            let pointer = PointerType(PrimType(type), storageScope: old.scope == "global" ? "" : old.scope)
            let new = Buffer(
                data: Var(old.data.name, type: pointer), dtype: type, shape: old.shape, name: old.name,
                alignment: old.alignment)
            commit(
                f, index.function.with(body: TypeRewriter(old, new).mutate(index.function.body)))
            record(
                "unsafeSetDType", [.block(block.id)],
                [(key: "writeIndex", value: .int(writeIndex)), (key: "dtype", value: .string(dtype))])
        }
    }
}

/// Converts at each access of a buffer that changed its element type.
private final class TypeRewriter: StmtExprMutator {
    let old: Buffer
    let new: Buffer
    init(_ old: Buffer, _ new: Buffer) {
        self.old = old
        self.new = new
    }
    override func mutate(_ b: Buffer) -> Buffer { b === old ? new : b }
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if let load = e as? BufferLoad, load.buffer === old {
            return cast(load.dtype, BufferLoad(new, load.indices.map { mutate($0) }))
        }
        return mutateChildren(of: e)
    }
    override func mutate(_ s: Stmt) -> Stmt {
        if let store = s as? BufferStore, store.buffer === old {
            let value = mutate(store.value)
            return BufferStore(
                new, cast(new.dtype.with(lanes: Int(value.dtype.lanes)), value),
                store.indices.map { mutate($0) })
        }
        return mutateChildren(of: s)
    }
}
