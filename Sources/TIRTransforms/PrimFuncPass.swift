import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// What every pass of this room is built from.

extension PrimFunc {
    /// The function with another body; itself if `body` is its own, so that passes keep identity.
    package func replacingBody(_ body: Stmt) -> PrimFunc { body === self.body ? self : with(body: body) }

    /// Rewrites the body on a stack that survives deep nesting.
    package func rewritingBody<E: Error>(_ rewrite: (Stmt) throws(E) -> Stmt) throws(E) -> PrimFunc {
        replacingBody(try withLargeStack { () throws(E) -> Stmt in try rewrite(body) })
    }
}

extension TIRPasses {
    /// A pass from a function over each loop function. Names begin with `tir.`.
    public static func primFuncPass(
        _ info: PassInfo, _ body: @escaping @Sendable (PrimFunc, IRModule, PassContext) throws -> PrimFunc
    ) -> FunctionPass<PrimFunc> {
        // An error that names no place in the text the function was read from is about the function.
        FunctionPass<PrimFunc>(info) { f, m, c in try locating(f.span) { try body(f, m, c) } }
    }

    /// Applies `rewrite` to each loop function: for one-off rewrites between passes.
    public static func apply(
        _ name: String = "tir.Apply", _ rewrite: @escaping @Sendable (PrimFunc) throws -> PrimFunc
    ) -> FunctionPass<PrimFunc> {
        primFuncPass(PassInfo(name, "a function given by the caller is applied to each loop function")) {
            f, _, _ in try rewrite(f)
        }
    }

    /// Keeps the loop functions for which `keep` holds; functions of other kinds stay.
    public static func filter(
        _ name: String = "tir.Filter", _ keep: @escaping @Sendable (PrimFunc) -> Bool
    ) -> ModulePass {
        ModulePass(PassInfo(name, "loop functions that do not pass a test are dropped")) { module, _ in
            var dropped: Set<String> = []
            for (global, function) in module.definitions {
                if let f = function as? PrimFunc, !keep(f) { dropped.insert(global.name) }
            }
            return dropped.isEmpty ? module : module.removing(dropped)
        }
    }
}

/// Copies statements with definitions of their own, so that a function in which a body occurs several times still
/// defines each variable and each buffer once.
final class FreshCopier: StmtExprMutator {
    private var variables: [Var: PrimExpr]
    private var buffers: [Buffer: Buffer] = [:]

    init(_ variables: [Var: PrimExpr] = [:], buffers: [Buffer: Buffer] = [:]) {
        self.variables = variables
        self.buffers = buffers
    }

    /// A copy of `s` in which `variables` are replaced.
    static func copy(_ s: Stmt, _ variables: [Var: PrimExpr] = [:]) -> Stmt {
        FreshCopier(variables).mutate(s)
    }

    private func fresh(_ v: Var) -> Var {
        let n = Var(v.name, type: v.type)
        variables[v] = n
        return n
    }
    private func variable(_ v: Var) -> Var { (variables[v] as? Var) ?? v }

    /// A new buffer, at a new address, for one that the copied statement defines.
    private func define(_ b: Buffer, newData: Bool = true) -> Buffer {
        let data = newData ? fresh(b.data) : variable(b.data)
        let n = Buffer(
            data: data, dtype: b.dtype, shape: b.shape.map { mutate($0) },
            strides: b.strides.map { mutate($0) },
            elemOffset: mutate(b.elemOffset), name: b.name, alignment: b.alignment)
        buffers[b] = n
        return n
    }

    override func mutate(_ b: Buffer) -> Buffer {
        if let known = buffers[b] { return known }
        // A view of memory that moved, or whose shape is in terms of what changed.
        var changed = variables[b.data] != nil
        for e in b.shape + b.strides + [b.elemOffset] where !changed { changed = mutate(e) !== e }
        return changed ? define(b, newData: false) : b
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        if e.kind == .variable { return variables[unsafeDowncast(e, to: Var.self)] ?? e }
        if e.kind == .let {
            let l = unsafeDowncast(e, to: Let.self)
            let value = mutate(l.value)
            let v = fresh(l.variable)
            return Let(v, value, mutate(l.body))
        }
        return mutateChildren(of: e)
    }

    override func mutate(_ s: Stmt) -> Stmt {
        switch s.stmtKind {
        case .forLoop:
            let loop = unsafeDowncast(s, to: For.self)
            let lo = mutate(loop.min)
            let extent = mutate(loop.extent)
            let v = fresh(loop.loopVar)
            let thread = loop.threadBinding.map { t in
                IterVar(
                    IRRange(min: mutate(t.dom.min), extent: mutate(t.dom.extent)),
                    t.variable === loop.loopVar ? v : fresh(t.variable), t.iterType, threadTag: t.threadTag)
            }
            return For(
                v, lo, extent, loop.forKind, body: mutate(loop.body), threadBinding: thread,
                annotations: loop.annotations)
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            let value = mutate(l.value)
            let v = fresh(l.variable)
            return LetStmt(v, value, mutate(l.body))
        case .allocate:
            let a = unsafeDowncast(s, to: Allocate.self)
            let b = define(a.buffer)
            return Allocate(b, mutate(a.body))
        case .attr:
            let a = unsafeDowncast(s, to: AttrStmt.self)
            var node = a.node
            if let v = node as? Var { node = variable(v) }
            if let b = node as? Buffer { node = mutate(b) }
            return AttrStmt(node, a.key, mutate(a.value), mutate(a.body))
        case .block:
            let b = unsafeDowncast(s, to: Block.self)
            let iterVars = b.iterVars.map { v in
                IterVar(
                    IRRange(min: mutate(v.dom.min), extent: mutate(v.dom.extent)), fresh(v.variable),
                    v.iterType,
                    threadTag: v.threadTag)
            }
            let allocs = b.allocBuffers.map { define($0) }
            let matches = b.matchBuffers.map { m in
                let source = region(m.source)
                // The variables of a view's shape are defined by the view.
                for e in m.buffer.shape + m.buffer.strides + [m.buffer.elemOffset] {
                    if let v = e as? Var, variables[v] == nil { _ = fresh(v) }
                }
                return MatchBufferRegion(define(m.buffer), source)
            }
            return Block(
                b.name, iterVars: iterVars, reads: b.reads.map { region($0) },
                writes: b.writes.map { region($0) },
                body: mutate(b.body), initial: b.initial.map { mutate($0) }, allocBuffers: allocs,
                matchBuffers: matches, annotations: b.annotations)
        default: return mutateChildren(of: s)
        }
    }

    private func region(_ r: BufferRegion) -> BufferRegion {
        BufferRegion(
            mutate(r.buffer), r.region.map { IRRange(min: mutate($0.min), extent: mutate($0.extent)) })
    }
}

/// Elements from the begin of a buffer to its end.
func elementCount(_ b: Buffer) -> PrimExpr {
    if let outer = b.strides.first, let rows = b.shape.first { return outer * rows }
    return b.shape.reduce(IntImm(1)) { $0 * $1 }
}

/// Pointers of `s` used as they are, not as the memory of an access or of `access_ptr`, which says where.
func plainPointers(_ s: Stmt) -> Set<Var> {
    let finder = PlainPointerFinder()
    finder.visit(s)
    return finder.found
}

private final class PlainPointerFinder: StmtExprVisitor {
    private(set) var found: Set<Var> = []
    override func visit(_ e: PrimExpr) {
        if e.kind == .variable, e.dtype.isHandle { found.insert(unsafeDowncast(e, to: Var.self)) }
        if let c = e as? Call, c.name == "tir.access_ptr", c.args.count > 2, c.args[1].kind == .variable {
            for (i, a) in c.args.enumerated() where i != 1 { visit(a) }
            return
        }
        visitChildren(of: e)
    }
}

/// `access_ptr` of memory of which there are several parts: that of part `number`, if `e` is such a call.
func accessPointer(_ e: PrimExpr, number: PrimExpr, _ buffer: (Var) -> Buffer?) -> PrimExpr? {
    guard let c = e as? Call, c.name == "tir.access_ptr", c.args.count > 2, let v = c.args[1] as? Var,
        let b = buffer(v)
    else { return nil }
    var args = c.args
    args[2] = args[2] + number * elementCount(b)
    return Call(c.dtype, c.op, args)
}

/// Whether evaluating `e` reads memory or state, or changes it.
func touchesState(_ e: PrimExpr) -> Bool { sideEffect(of: e) != .pure }

/// A loop without its variable's name: its range as an interval of an analysis.
func interval(of loop: For) -> IRRange { IRRange(min: loop.min, extent: loop.extent) }

/// The conjuncts of a condition, `likely` marks taken off.
func conjuncts(_ e: PrimExpr) -> [PrimExpr] {
    var result: [PrimExpr] = []
    var stack = [e]
    while let x = stack.popLast() {
        if x.kind == .and {
            let a = unsafeDowncast(x, to: BinaryExpr.self)
            stack.append(a.b)
            stack.append(a.a)
        } else if let c = x as? Call, c.name == "tir.likely" {
            stack.append(c.args[0])
        } else {
            result.append(x)
        }
    }
    return result
}
