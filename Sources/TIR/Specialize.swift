import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// What a parameter is fixed to: a value for a scalar, a buffer (with its shape, strides and offset) for a tensor.
public enum ParamValue {
    case value(PrimExpr)
    case buffer(Buffer)
}

extension PrimFunc {
    /// The function with some parameters fixed: scalars become constants and are dropped from the parameters, buffers
    /// take the shape, strides and offset given, and the variables that stood for those are replaced everywhere.
    /// - Throws: TIR154: a parameter that is not of this function, or a value that does not fit it.
    public func specialize(_ given: [(param: Var, value: ParamValue)]) throws -> PrimFunc {
        var map: [Var: PrimExpr] = [:]
        var fixed: [Buffer: Buffer] = [:]
        var dropped: Set<Var> = []
        func bad(_ p: Var, _ message: String, expected: String? = nil, actual: String? = nil) -> ApusError {
            ApusError("TIR154", message, at: ["parameter: \(p.name)"], expected: expected, actual: actual)
        }
        func unify(_ p: Var, _ old: PrimExpr, _ new: PrimExpr, _ what: String) throws {
            if let v = old as? Var, !params.contains(v) {
                if let known = map[v], !structuralEqual(known, new) {
                    throw bad(p, "`\(v.name)` would have two values", expected: "\(known)", actual: "\(new)")
                }
                map[v] = cast(v.dtype, new)
            } else if !structuralEqual(substitute(old, map), new) {
                throw bad(p, "\(what) does not fit", expected: "\(old)", actual: "\(new)")
            }
        }
        for (p, value) in given {
            guard params.contains(p) else { throw bad(p, "the function has no such parameter") }
            switch value {
            case .value(let e):
                guard buffer(of: p) == nil, !p.dtype.isHandle, e.dtype == p.dtype else {
                    throw bad(p, "the value does not fit", expected: "\(p.dtype)", actual: "\(e.dtype)")
                }
                map[p] = e
                dropped.insert(p)
            case .buffer(let b):
                guard let old = buffer(of: p) else { throw bad(p, "a scalar is no buffer") }
                guard old.dtype == b.dtype, old.rank == b.rank, old.scope == b.scope else {
                    throw bad(
                        p, "the buffer does not fit",
                        expected: "\(old.dtype) of rank \(old.rank) in \(old.scope)",
                        actual: "\(b.dtype) of rank \(b.rank) in \(b.scope)")
                }
                for (x, y) in zip(old.shape, b.shape) { try unify(p, x, y, "a dimension") }
                if !old.strides.isEmpty {
                    for (x, y) in zip(old.strides, b.elementStrides) { try unify(p, x, y, "a stride") }
                }
                try unify(p, old.elemOffset, b.elemOffset, "the offset")
                fixed[old] = old.with(
                    strides: b.strides, elemOffset: b.elemOffset,
                    alignment: Swift.max(old.alignment, b.alignment))
            }
        }
        if map.isEmpty && fixed.isEmpty { return self }
        let mutator = Specializer(map, fixed)
        var bufferMap: [(param: Var, buffer: Buffer)] = []
        for (p, b) in self.bufferMap { bufferMap.append((param: p, buffer: mutator.declaration(b))) }
        let body = mutator.mutate(self.body)
        return with(params: params.filter { !dropped.contains($0) }, bufferMap: bufferMap, body: body)
    }

    /// Scalars by value; see `specialize` of pairs.
    public func specialize(_ given: [Var: Int]) throws -> PrimFunc {
        try specialize(
            params.compactMap { p in given[p].map { (param: p, value: .value(const($0, p.dtype))) } }
                + given.keys.filter { !params.contains($0) }.sorted { $0.name < $1.name }.map {
                    (param: $0, value: .value(IntImm(0)))
                })
    }
}

/// Replaces variables in expressions and in the declarations of buffers.
private final class Specializer: StmtExprMutator {
    private let map: [Var: PrimExpr]
    private let fixed: [Buffer: Buffer]
    private var known: [Buffer: Buffer] = [:]
    override var isContextFree: Bool { true }

    init(_ map: [Var: PrimExpr], _ fixed: [Buffer: Buffer]) {
        self.map = map
        self.fixed = fixed
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        e.kind == .variable ? map[unsafeDowncast(e, to: Var.self)] ?? e : mutateChildren(of: e)
    }

    override func mutate(_ b: Buffer) -> Buffer { declaration(b) }

    func declaration(_ b: Buffer) -> Buffer {
        if let done = known[b] { return done }
        let base = fixed[b] ?? b
        let shape = base.shape.map { mutate($0) }
        let strides = base.strides.map { mutate($0) }
        let offset = mutate(base.elemOffset)
        let same =
            zip(shape, b.shape).allSatisfy { $0 === $1 } && strides.count == b.strides.count
            && zip(strides, b.strides).allSatisfy { $0 === $1 } && offset === b.elemOffset
            && base.alignment == b.alignment
        let result = same ? b : base.with(shape: shape, strides: strides, elemOffset: offset)
        known[b] = result
        return result
    }

    override func mutate(_ s: Stmt) -> Stmt {
        // Views in a block's signature are declarations, which the general mutator leaves alone.
        guard let b = s as? Block, !b.matchBuffers.isEmpty else { return mutateChildren(of: s) }
        let views = b.matchBuffers.map { m -> MatchBufferRegion in
            let n = declaration(m.buffer)
            return n === m.buffer ? m : MatchBufferRegion(n, m.source)
        }
        let same = zip(views, b.matchBuffers).allSatisfy { $0 === $1 }
        return mutateChildren(of: same ? b : b.with(matchBuffers: views))
    }
}
