import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// A computation that a target can do at once: what it computes and how it is written.
public struct TensorIntrin: Sendable {
    public let name: String
    /// Loops around one block over the buffers of the parameters: the meaning.
    public let description: PrimFunc
    /// The same parameters in the same order; the body that takes the place.
    public let implementation: PrimFunc

    /// Throws SCH097 unless both have the same buffer shapes and types, and the description is loops around
    /// one block.
    public init(_ name: String, description: PrimFunc, implementation: PrimFunc) throws {
        let a = description.bufferMap.map(\.buffer)
        let b = implementation.bufferMap.map(\.buffer)
        let same =
            a.count == b.count
            && zip(a, b).allSatisfy { x, y in
                x.dtype == y.dtype && x.staticShape != nil && x.staticShape == y.staticShape
            }
        guard same, IntrinPattern(description) != nil else {
            throw ApusError(
                "SCH097", "the intrinsic `\(name)` is not well formed",
                expected: "a description of loops around one block, and an implementation of the same buffers"
            )
        }
        self.name = name
        self.description = description
        self.implementation = implementation
    }

    private static let registry = Locked<[String: TensorIntrin]>([:])

    /// Makes an intrinsic known by its name; the later of one name counts.
    public static func register(_ intrin: TensorIntrin) { registry.with { $0[intrin.name] = intrin } }

    /// The names of all intrinsics known, sorted.
    public static var names: [String] { registry.with { $0.keys.sorted() } }

    /// The intrinsic of that name, or nil.
    public static func find(_ name: String) -> TensorIntrin? { registry.with { $0[name] } }
}

/// Loops around one block.
private struct IntrinPattern {
    var loops: [For] = []
    /// Loops of one iteration: their variables stand for a value.
    private var fixed: [Var: PrimExpr] = [:]
    var realize: BlockRealize

    init?(_ f: PrimFunc) {
        guard let root = f.body as? BlockRealize else { return nil }
        self.init(root.block.body)
    }

    init?(_ body: Stmt) {
        var s = body
        var found: [For] = []
        while let l = s as? For {
            if l.extent.asInt != 1 { found.append(l) } else { fixed[l.loopVar] = l.min }
            s = l.body
        }
        guard let r = s as? BlockRealize, r.predicate.isTrue else { return nil }
        loops = found
        realize = r
    }

    /// The block's statement in terms of the loops.
    func inLoops(_ s: Stmt) -> Stmt { substitute(s, blockMap(realize).mapValues { substitute($0, fixed) }) }
}

/// Compares a program with an intrinsic's description; notes which region each of its buffers stands for.
private struct IntrinMatcher {
    let arith: ArithContext
    /// Description's loop variables to the program's.
    var loops: [Var: PrimExpr] = [:]
    let inner: Set<Var>
    var regions: [(buffer: Buffer, region: BufferRegion)] = []

    mutating func same(_ a: Stmt, _ b: Stmt) -> Bool {
        guard let x = a as? BufferStore, let y = b as? BufferStore else {
            guard let x = a as? SeqStmt, let y = b as? SeqStmt, x.stmts.count == y.stmts.count else {
                return false
            }
            for (p, q) in zip(x.stmts, y.stmts) where !same(p, q) { return false }
            return true
        }
        return access(x.buffer, x.indices, y.buffer, y.indices) && same(x.value, y.value)
    }

    private mutating func same(_ a: PrimExpr, _ b: PrimExpr) -> Bool {
        guard a.kind == b.kind, a.dtype == b.dtype else { return false }
        switch (a, b) {
        case (let x as BufferLoad, let y as BufferLoad):
            return access(x.buffer, x.indices, y.buffer, y.indices)
        case (let x as BinaryExpr, let y as BinaryExpr): return same(x.a, y.a) && same(x.b, y.b)
        case (let x as Cast, let y as Cast): return same(x.value, y.value)
        case (let x as Call, let y as Call):
            guard x.op === y.op, x.args.count == y.args.count else { return false }
            for (p, q) in zip(x.args, y.args) where !same(p, q) { return false }
            return true
        case (is Var, is Var): return arith.difference(substitute(a, loops), b) == 0
        default: return sameExpr(a, b)
        }
    }

    /// An access of the description's buffer `d` stands for one of `b`, at an offset that the loops do not
    /// change.
    private mutating func access(_ d: Buffer, _ di: [PrimExpr], _ b: Buffer, _ bi: [PrimExpr]) -> Bool {
        guard d.dtype == b.dtype, di.count <= bi.count else { return false }
        let lead = bi.count - di.count
        var ranges: [IRRange] = []
        for i in bi.prefix(lead) { ranges.append(IRRange(min: arith.simplify(i), extent: const(1, i.dtype))) }
        for (k, i) in bi.dropFirst(lead).enumerated() {
            ranges.append(IRRange(min: arith.simplify(i - substitute(di[k], loops)), extent: d.shape[k]))
        }
        for r in ranges where uses(r.min, inner) { return false }
        if let known = regions.first(where: { $0.buffer === d }) {
            guard known.region.buffer === b else { return false }
            for (x, y) in zip(known.region.region, ranges) where arith.difference(x.min, y.min) != 0 {
                return false
            }
            return true
        }
        regions.append((buffer: d, region: BufferRegion(b, ranges)))
        return true
    }
}

extension Schedule {
    /// Replaces the loops from `loop` down to their block by a registered intrinsic that computes the same;
    /// returns the block that holds it. The regions that the intrinsic works on become its `matchBuffers`.
    ///
    /// Errors: as `blockize`; SCH097 no such intrinsic, SCH098 another computation than the intrinsic's
    /// description.
    @discardableResult
    public func tensorize(_ loop: LoopRV, _ intrinsic: String) throws -> BlockRV {
        try step("tensorize") {
            let trial = copy()
            trial.recording = false
            trial.depth += 1
            let made = try trial.blockize(loop)
            return try tensorized(trial, made, try locate(loop).loop, intrinsic, .loop(loop.id))
        }
    }

    /// Replaces what a block of `blockize` holds by a registered intrinsic that computes the same.
    ///
    /// Errors: SCH097 no such intrinsic, SCH098 another computation than the intrinsic's description.
    @discardableResult
    public func tensorize(_ block: BlockRV, _ intrinsic: String) throws -> BlockRV {
        try step("tensorize") {
            let trial = copy()
            trial.recording = false
            return try tensorized(trial, block, try locate(block).realize, intrinsic, .block(block.id))
        }
    }

    private func tensorized(
        _ trial: Schedule, _ made: BlockRV, _ original: Stmt, _ intrinsic: String, _ operand: TraceOperand
    ) throws -> BlockRV {
        guard let intrin = TensorIntrin.find(intrinsic), let pattern = IntrinPattern(intrin.description),
            let body = intrin.implementation.body as? BlockRealize
        else {
            throw ApusError(
                "SCH097", "no intrinsic is called `\(intrinsic)`",
                expected: "one of " + listed(TensorIntrin.names),
                hint: "register it with TensorIntrin.register")
        }
        let (f, index, at, r) = try trial.locate(made)
        guard let program = IntrinPattern(r.block.body) else {
            throw failure(
                "SCH098", "tensorize: the body is not loops around one block", r,
                expected: "\(intrin.description.body)")
        }
        // Memory of the inner block, such as the views of an intrinsic that is already there, means nothing outside of it.
        let inner = program.realize.block
        guard inner.matchBuffers.isEmpty, inner.allocBuffers.isEmpty else {
            throw failure(
                "SCH098", "tensorize: `\(inner.name)` has buffers of its own", original,
                expected: "a block that accesses buffers from outside",
                actual: listed((inner.matchBuffers.map(\.buffer) + inner.allocBuffers).map(\.name)))
        }
        let arith = index.arith.copy()
        var map: [Var: PrimExpr] = [:]
        let fits =
            program.loops.count == pattern.loops.count
            && zip(program.loops, pattern.loops).allSatisfy { p, d in
                map[d.loopVar] = p.loopVar
                return sameExpr(p.extent, d.extent)
            }
        var matcher = IntrinMatcher(
            arith: arith, loops: map, inner: Set(program.loops.map(\.loopVar)))
        let a = pattern.realize.block
        let b = program.realize.block
        var equal = fits && (a.initial == nil) == (b.initial == nil)
        if equal { equal = matcher.same(pattern.inLoops(a.body), program.inLoops(b.body)) }
        if equal, let x = a.initial, let y = b.initial {
            equal = matcher.same(pattern.inLoops(x), program.inLoops(y))
        }
        var matches: [MatchBufferRegion] = []
        let described = intrin.description.bufferMap.map(\.buffer)
        for (d, i) in zip(described, intrin.implementation.bufferMap.map(\.buffer)) {
            guard let found = matcher.regions.first(where: { $0.buffer === d }) else {
                equal = false
                break
            }
            matches.append(MatchBufferRegion(i, found.region))
        }
        guard equal else {
            throw failure(
                "SCH098", "tensorize: the loops compute something else than `\(intrinsic)`", original,
                expected: "\(intrin.description.body)")
        }
        // Fresh buffers and variables for each use: the implementation may stand in several places.
        var buffers: [Buffer: Buffer] = [:]
        var data: [Var: PrimExpr] = [:]
        matches = matches.map { m in
            let old = m.buffer
            let pointer = Var(old.data.name, type: old.data.type)
            let strides: [PrimExpr] = old.strides.map { s in
                guard let v = s as? Var else { return s }
                let fresh = Var(v.name, dtype: v.dtype)
                data[v] = fresh
                return fresh
            }
            var offset = old.elemOffset
            if let v = offset as? Var {
                let fresh = Var(v.name, dtype: v.dtype)
                data[v] = fresh
                offset = fresh
            }
            let new = Buffer(
                data: pointer, dtype: old.dtype, shape: old.shape, strides: strides, elemOffset: offset,
                name: old.name, alignment: old.alignment)
            buffers[old] = new
            data[old.data] = pointer
            return MatchBufferRegion(new, m.source)
        }
        let block = r.block.with(
            body: Normalizer.fresh(
                substitute(body.block.body, data, buffers: buffers), taken: Set(index.blockAt.keys)),
            allocBuffers: r.block.allocBuffers + body.block.allocBuffers, matchBuffers: matches)
        commit(f, index.replacing(at, with: BlockRealize(r.iterValues, predicate: r.predicate, block)))
        functions[f].partial = trial.functions[f].partial
        functions[f].nested = trial.functions[f].nested
        let result = newBlock(f, block.name)
        record(
            "tensorize", [operand], [(key: "intrinsic", value: .string(intrinsic))],
            outputs: [.block(result.id)])
        return result
    }
}
