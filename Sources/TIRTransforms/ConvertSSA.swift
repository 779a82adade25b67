import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Whether a variable or a buffer is defined more than once.
private func hasRepeatedDefinitions(_ f: PrimFunc) -> Bool {
    var seen: Set<ObjectIdentifier> = []
    var repeated = false
    func define(_ n: Node) { if !seen.insert(ObjectIdentifier(n)).inserted { repeated = true } }
    for p in f.params { define(p) }
    postOrderVisit(
        f.body,
        expr: { e in if let l = e as? Let { define(l.variable) } },
        stmt: { s in
            switch s {
            case let l as LetStmt: define(l.variable)
            case let loop as For: define(loop.loopVar)
            case let a as Allocate:
                define(a.buffer)
                if a.buffer.data !== a.buffer { define(a.buffer.data) }
            case let b as Block:
                for v in b.iterVars { define(v.variable) }
                for a in b.allocBuffers { define(a) }
                for m in b.matchBuffers { define(m.buffer) }
            default: break
            }
        })
    return repeated
}

/// Renames: the first definition of each keeps its name, later ones get variables and buffers of their own.
private final class Renamer: StmtExprMutator {
    private var seen: Set<ObjectIdentifier> = []
    private var variables: [Var: PrimExpr] = [:]
    private var buffers: [Buffer: Buffer] = [:]

    init(_ f: PrimFunc) { for p in f.params { seen.insert(ObjectIdentifier(p)) } }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.kind == .variable { return variables[unsafeDowncast(e, to: Var.self)] ?? e }
        guard let l = e as? Let else { return mutateChildren(of: e) }
        let value = mutate(l.value)
        return defining([l.variable]) { v in
            let body = mutate(l.body)
            return v[0] === l.variable && value === l.value && body === l.body ? e : Let(v[0], value, body)
        }
    }
    override func mutate(_ b: Buffer) -> Buffer {
        if let known = buffers[b] { return known }
        guard let data = variables[b.data] as? Var, data !== b.data else { return b }
        return copy(b, data)
    }

    private func copy(_ b: Buffer, _ data: Var) -> Buffer {
        Buffer(
            data: data, dtype: b.dtype, shape: b.shape.map { mutate($0) },
            strides: b.strides.map { mutate($0) },
            elemOffset: mutate(b.elemOffset), name: b.name, alignment: b.alignment)
    }

    /// Runs `body` with variables defined, under names of their own where they are taken.
    private func defining<R>(_ list: [Var], _ body: ([Var]) -> R) -> R {
        let outer = list.map { variables[$0] }
        let own = list.map { v -> Var in
            if seen.insert(ObjectIdentifier(v)).inserted {
                variables[v] = nil
                return v
            }
            let n = Var(v.name, type: v.type)
            variables[v] = n
            seen.insert(ObjectIdentifier(n))
            kept.append(n)
            return n
        }
        defer { for (v, o) in zip(list, outer) { variables[v] = o } }
        return body(own)
    }
    /// Keeps what `seen` knows by address.
    private var kept: [Var] = []

    private func defining<R>(_ list: [Buffer], _ body: ([Buffer]) -> R) -> R {
        let outer = list.map { buffers[$0] }
        return defining(list.map(\.data)) { (data: [Var]) -> R in
            let own = zip(list, data).map { b, d -> Buffer in
                if d === b.data && seen.insert(ObjectIdentifier(b)).inserted {
                    buffers[b] = nil
                    return b
                }
                let n = copy(b, d)
                buffers[b] = n
                return n
            }
            defer { for (b, o) in zip(list, outer) { buffers[b] = o } }
            return body(own)
        }
    }

    override func mutate(_ s: Stmt) -> Stmt {
        switch s {
        case let l as LetStmt:
            let value = mutate(l.value)
            return defining([l.variable]) { v in
                let body = mutate(l.body)
                return v[0] === l.variable && value === l.value && body === l.body
                    ? s : LetStmt(v[0], value, body)
            }
        case let loop as For:
            let lo = mutate(loop.min)
            let extent = mutate(loop.extent)
            return defining([loop.loopVar]) { v in
                let body = mutate(loop.body)
                let same =
                    v[0] === loop.loopVar && lo === loop.min && extent === loop.extent && body === loop.body
                return same
                    ? s
                    : For(
                        v[0], lo, extent, loop.forKind, body: body, threadBinding: loop.threadBinding,
                        annotations: loop.annotations)
            }
        case let a as Allocate:
            return defining([a.buffer]) { b in
                let body = mutate(a.body)
                return b[0] === a.buffer && body === a.body ? s : Allocate(b[0], body)
            }
        case let b as Block:
            return defining(b.iterVars.map(\.variable)) { (vars: [Var]) -> Stmt in
                defining(b.allocBuffers) { (allocs: [Buffer]) -> Stmt in
                    block(b, vars, allocs)
                }
            }
        default: return mutateChildren(of: s)
        }
    }

    private func block(_ b: Block, _ vars: [Var], _ allocs: [Buffer]) -> Stmt {
        let sources = b.matchBuffers.map { region($0.source) }
        // What a view's declaration defines besides its pointer: the variables that stand alone in its shape.
        var symbols: [Var] = []
        for m in b.matchBuffers {
            for e in m.buffer.shape + m.buffer.strides + [m.buffer.elemOffset] {
                if let v = e as? Var, variables[v] == nil, !symbols.contains(where: { $0 === v }) {
                    symbols.append(v)
                }
            }
        }
        return defining(symbols) { (_: [Var]) -> Stmt in
            defining(b.matchBuffers.map(\.buffer)) { (views: [Buffer]) -> Stmt in
                let iterVars = zip(b.iterVars, vars).map { old, v in
                    IterVar(
                        IRRange(min: mutate(old.dom.min), extent: mutate(old.dom.extent)), v, old.iterType,
                        threadTag: old.threadTag)
                }
                return Block(
                    b.name, iterVars: iterVars, reads: b.reads.map { region($0) },
                    writes: b.writes.map { region($0) }, body: mutate(b.body),
                    initial: b.initial.map { mutate($0) },
                    allocBuffers: allocs, matchBuffers: zip(views, sources).map { MatchBufferRegion($0, $1) },
                    annotations: b.annotations)
            }
        }
    }

    private func region(_ r: BufferRegion) -> BufferRegion {
        BufferRegion(
            mutate(r.buffer), r.region.map { IRRange(min: mutate($0.min), extent: mutate($0.extent)) })
    }
}

/// Gives each definition of a variable or buffer its own object, as `verifyWellFormed` demands: for code put together
/// from pieces that were used more than once. A function in which each is defined once comes back itself.
public func convertToSSA(_ f: PrimFunc) -> PrimFunc {
    f.rewritingBody { body in hasRepeatedDefinitions(f) ? Renamer(f).mutate(body) : body }
}

extension TIRPasses {
    public static let convertSSA = primFuncPass(
        PassInfo(
            "tir.ConvertSSA", "every variable and buffer is defined once", establishes: ["single definitions"]
        )
    ) { f, _, _ in ApusTIRTransforms.convertToSSA(f) }
}
