import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// Builds statements in the order in which a program would run them: what opens a scope takes a closure for its body.
///
///     let b = IRBuilder()
///     let a = b.allocate(.float32, [const(16)], name: "A")
///     b.forRange(0, 16, name: "i") { i in
///         b.ifScope(i .< 8) { a[i] = a[i] + const(1.0, .float32) }
///         b.elseScope { a[i] = const(0.0, .float32) }
///     }
///     let s = try b.get()
public final class IRBuilder {
    /// A buffer whose elements are read and written by subscript; writing emits a store.
    public struct BufferHandle {
        public let buffer: Buffer
        let builder: IRBuilder

        /// The element at flat or per-dimension indices; plain numbers and variables both do.
        public subscript(_ indices: PrimExpr...) -> PrimExpr {
            get { BufferLoad(buffer, builder.checked(buffer, indices)) }
            nonmutating set {
                let lanes = Int(indices.last?.dtype.lanes ?? 1) * Int(buffer.dtype.lanes)
                let value = cast(buffer.dtype.with(lanes: lanes), newValue)
                builder.emit(BufferStore(buffer, value, builder.checked(buffer, indices)))
            }
        }
        public subscript(_ index: Int) -> PrimExpr {
            get { self[IntImm(index)] }
            nonmutating set { self[IntImm(index)] = newValue }
        }
    }

    private struct Level {
        var stmts: [Stmt] = []
        /// What opened in this level without a closure: takes all that follows.
        var open: [(at: Int, wrap: (Stmt) -> Stmt)] = []
    }
    private var levels = [Level()]
    /// The first misuse; `get` throws it.
    private var failure: ApusError?

    public init() {}

    private func fail(_ message: String, hint: String? = nil) {
        if failure == nil { failure = ApusError("TIR156", message, hint: hint) }
    }

    fileprivate func checked(_ b: Buffer, _ indices: [PrimExpr]) -> [PrimExpr] {
        if indices.count != b.rank {
            fail("`\(b.name)` is accessed with \(indices.count) indices and has \(b.rank) dimensions")
            return (0..<b.rank).map { _ in IntImm(0) }
        }
        return indices.map {
            $0.dtype.isInteger && $0.dtype.element != .index
                ? cast(DataType.index.with(lanes: Int($0.dtype.lanes)), $0) : $0
        }
    }

    // MARK: Statements

    /// Adds a statement.
    public func emit(_ s: Stmt) { levels[levels.count - 1].stmts.append(s) }
    /// Adds an expression for its effect.
    public func emit(_ e: PrimExpr) { emit(Evaluate(e)) }

    private func closed(_ level: Level) -> Stmt {
        var stmts = level.stmts
        for (at, wrap) in level.open.reversed() {
            let body = SeqStmt.flat(Array(stmts[at...]))
            stmts.removeSubrange(at...)
            stmts.append(wrap(body))
        }
        return SeqStmt.flat(stmts)
    }

    /// The statements that `body` emits, as one that is not emitted.
    public func newScope(_ body: () throws -> Void) rethrows -> Stmt {
        levels.append(Level())
        do { try body() } catch {
            levels.removeLast()
            throw error
        }
        return closed(levels.removeLast())
    }

    /// Wraps all that follows in this scope.
    private func opens(_ wrap: @escaping (Stmt) -> Stmt) {
        levels[levels.count - 1].open.append((at: levels[levels.count - 1].stmts.count, wrap: wrap))
    }

    /// Marks what follows in this scope.
    public func scopeAttr(_ node: Node, _ key: String, _ value: PrimExpr) {
        opens { AttrStmt(node, key, value, $0) }
    }

    /// A loop over `begin ..< end`.
    public func forRange(
        _ begin: PrimExpr, _ end: PrimExpr, name: String = "i", dtype: DataType = .index,
        kind: ForKind = .serial,
        annotations: Attrs = .empty, _ body: (Var) throws -> Void
    ) rethrows {
        let v = Var(name, dtype: dtype)
        let inner = try newScope { try body(v) }
        let lo = cast(dtype, begin)
        emit(For(v, lo, cast(dtype, end) - lo, kind, body: inner, annotations: annotations))
    }
    public func forRange(
        _ begin: Int, _ end: Int, name: String = "i", dtype: DataType = .index, kind: ForKind = .serial,
        annotations: Attrs = .empty, _ body: (Var) throws -> Void
    ) rethrows {
        try forRange(
            IntImm(begin), IntImm(end), name: name, dtype: dtype, kind: kind, annotations: annotations, body)
    }

    /// A loop over the threads of an axis such as `threadIdx.x`.
    public func threads(_ tag: String, _ extent: PrimExpr, _ body: (Var) throws -> Void) rethrows {
        let v = Var(tag.replacing(".", with: "_"), dtype: extent.dtype)
        let inner = try newScope { try body(v) }
        let range = IRRange(extent: extent)
        emit(
            For(
                v, range.min, extent, .threadBinding, body: inner,
                threadBinding: IterVar(range, Var(tag, dtype: extent.dtype), .threadIndex, threadTag: tag)))
    }

    /// A loop while the condition holds.
    public func whileLoop(_ condition: PrimExpr, _ body: () throws -> Void) rethrows {
        let inner = try newScope(body)
        emit(While(condition, inner))
    }

    public func ifScope(_ condition: PrimExpr, _ body: () throws -> Void) rethrows {
        let inner = try newScope(body)
        emit(IfThenElse(condition, inner))
    }

    /// The other branch of the `ifScope` just before.
    public func elseScope(_ body: () throws -> Void) rethrows {
        let inner = try newScope(body)
        let at = levels.count - 1
        guard let last = levels[at].stmts.last as? IfThenElse, last.elseCase == nil else {
            fail("elseScope follows no ifScope")
            return
        }
        levels[at].stmts[levels[at].stmts.count - 1] = IfThenElse(last.condition, last.thenCase, inner)
    }

    /// Gives `value` a name for what follows in this scope.
    public func letValue(_ name: String, _ value: PrimExpr) -> Var {
        let v = Var(name, dtype: value.dtype)
        opens { LetStmt(v, value, $0) }
        return v
    }

    /// Stops the program unless the condition holds.
    public func assert(_ condition: PrimExpr, _ message: String) { emit(AssertStmt(condition, message)) }

    // MARK: Memory

    /// Memory for what follows in this scope.
    public func allocate(
        _ dtype: DataType, _ shape: [PrimExpr], name: String = "buf", scope: String = "global"
    ) -> BufferHandle {
        let b = Buffer(name, shape, dtype, scope: scope)
        opens { Allocate(b, $0) }
        return BufferHandle(buffer: b, builder: self)
    }
    public func allocate(_ dtype: DataType, _ count: Int, name: String = "buf", scope: String = "global")
        -> BufferHandle
    {
        allocate(dtype, [IntImm(count)], name: name, scope: scope)
    }

    /// A one-dimensional buffer over memory that someone else gives: `data` is free in the result.
    public func pointer(
        _ dtype: DataType, name: String = "ptr", count: PrimExpr = IntImm(.max), scope: String = "global"
    )
        -> BufferHandle
    {
        BufferHandle(buffer: Buffer(name, [count], dtype, scope: scope, alignment: 0), builder: self)
    }

    /// Access to a buffer that is there.
    public func bufferPointer(_ b: Buffer) -> BufferHandle { BufferHandle(buffer: b, builder: self) }

    /// `condition`, expected to be true.
    public func likely(_ condition: PrimExpr) -> PrimExpr { tir.likely(condition) }

    /// What was built; the builder is empty afterwards.
    /// - Throws: TIR156 for the first misuse.
    public func get() throws -> Stmt {
        if let failure { throw failure }
        guard levels.count == 1 else { throw ApusError("TIR156", "get() within an open scope") }
        let s = closed(levels[0])
        levels = [Level()]
        return s
    }
}
