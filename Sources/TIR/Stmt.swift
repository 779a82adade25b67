import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// The closed set of statements.
public enum StmtKind: UInt8, Sendable, CaseIterable {
    case letStmt, attr, assert, bufferStore, seq, ifThenElse, evaluate, forLoop, whileLoop, block,
        blockRealize
    case allocate
}

/// A statement of the loop IR; immutable.
open class Stmt: Node, @unchecked Sendable {
    /// The place in the text it was read from, if it was; not compared, not printed, not saved.
    public final private(set) var span: Span?
    /// As `PrimExpr.locate`.
    package final func locate(_ span: Span?) { if self.span == nil { self.span = span } }

    open var stmtKind: StmtKind { internalError("\(Self.self) names no kind") }
    public final override var description: String { TIRPrinter.text(self) }
}

/// `let variable = value` for the statements of `body`.
public final class LetStmt: Stmt, @unchecked Sendable {
    public let variable: Var
    public private(set) var value: PrimExpr
    public private(set) var body: Stmt

    public init(_ variable: Var, _ value: PrimExpr, _ body: Stmt) {
        self.variable = variable
        self.value = value
        self.body = body
    }

    deinit {
        reclaim(&value)
        reclaim(&body)
    }

    public override var stmtKind: StmtKind { .letStmt }
    public override class var schema: NodeSchema { letStmtSchema }
}

private let letStmtSchema = NodeSchema(
    "tir.LetStmt", LetStmt.self,
    [.field("value", \.value), .definition("variable", \.variable), .field("body", \.body)],
    make: {
        let value: PrimExpr = try $0.next()
        let variable: Var = try $0.next()
        return LetStmt(variable, value, try $0.next())
    })

/// Marks `body` with a key and a value about `node`.
public final class AttrStmt: Stmt, @unchecked Sendable {
    public let node: Node
    public let key: String
    public private(set) var value: PrimExpr
    public private(set) var body: Stmt

    public init(_ node: Node, _ key: String, _ value: PrimExpr, _ body: Stmt) {
        self.node = node
        self.key = key
        self.value = value
        self.body = body
    }

    deinit {
        reclaim(&value)
        reclaim(&body)
    }

    public override var stmtKind: StmtKind { .attr }
    public override class var schema: NodeSchema { attrStmtSchema }
}

private let attrStmtSchema = NodeSchema(
    "tir.AttrStmt", AttrStmt.self,
    [.field("node", \.node), .field("key", \.key), .field("value", \.value), .field("body", \.body)],
    make: {
        let node: Node = try $0.next()
        let key: String = try $0.next()
        let value: PrimExpr = try $0.next()
        return AttrStmt(node, key, value, try $0.next())
    })

/// Stops the function with an error unless `condition` holds.
public final class AssertStmt: Stmt, @unchecked Sendable {
    public private(set) var condition: PrimExpr
    /// Stable error code reported with the message.
    public let code: String
    public let message: String

    public init(_ condition: PrimExpr, code: String = "RT100", _ message: String) {
        self.condition = condition
        self.code = code
        self.message = message
    }

    deinit { reclaim(&condition) }

    public override var stmtKind: StmtKind { .assert }
    public override class var schema: NodeSchema { assertSchema }
}

private let assertSchema = NodeSchema(
    "tir.AssertStmt", AssertStmt.self,
    [.field("condition", \.condition), .field("code", \.code), .field("message", \.message)],
    make: {
        let condition: PrimExpr = try $0.next()
        let code: String = try $0.next()
        return AssertStmt(condition, code: code, try $0.next())
    })

/// `buffer[indices] = value`; a vector index in the last place stores a vector.
public final class BufferStore: Stmt, @unchecked Sendable {
    public let buffer: Buffer
    public private(set) var value: PrimExpr
    public private(set) var indices: [PrimExpr]

    public init(_ buffer: Buffer, _ value: PrimExpr, _ indices: [PrimExpr]) {
        self.buffer = buffer
        self.value = value
        self.indices = indices
    }

    deinit {
        reclaim(&value)
        reclaim(&indices)
    }

    public override var stmtKind: StmtKind { .bufferStore }
    public override class var schema: NodeSchema { bufferStoreSchema }
}

private let bufferStoreSchema = NodeSchema(
    "tir.BufferStore", BufferStore.self,
    [.field("buffer", \.buffer), .field("value", \.value), .field("indices", \.indices)],
    make: {
        let buffer: Buffer = try $0.next()
        let value: PrimExpr = try $0.next()
        return BufferStore(buffer, value, try $0.next())
    })

/// Statements one after another. Flat: `SeqStmt.flat` merges nested ones; an empty one does nothing.
public final class SeqStmt: Stmt, @unchecked Sendable {
    public private(set) var stmts: [Stmt]

    public init(_ stmts: [Stmt]) { self.stmts = stmts }

    deinit { reclaim(&stmts) }

    /// One statement that does all: nested sequences spliced in, no-ops dropped, a single one as itself.
    public static func flat(_ stmts: [Stmt]) -> Stmt {
        var flat: [Stmt] = []
        for s in stmts {
            if let seq = s as? SeqStmt {
                flat.append(contentsOf: seq.stmts)
            } else if let e = s as? Evaluate, e.value.kind == .intImm {
                continue
            } else {
                flat.append(s)
            }
        }
        return flat.count == 1 ? flat[0] : SeqStmt(flat)
    }

    public override var stmtKind: StmtKind { .seq }
    public override class var schema: NodeSchema { seqSchema }
}

private let seqSchema = NodeSchema(
    "tir.SeqStmt", SeqStmt.self, [.field("stmts", \.stmts)], make: { SeqStmt(try $0.next()) })

/// `if condition { thenCase } else { elseCase }`
public final class IfThenElse: Stmt, @unchecked Sendable {
    public private(set) var condition: PrimExpr
    public private(set) var thenCase: Stmt
    public private(set) var elseCase: Stmt?

    public init(_ condition: PrimExpr, _ thenCase: Stmt, _ elseCase: Stmt? = nil) {
        self.condition = condition
        self.thenCase = thenCase
        self.elseCase = elseCase
    }

    deinit {
        reclaim(&condition)
        // Taken out, the last reference may be that of the other field.
        if thenCase === elseCase { elseCase = nil }
        reclaim(&thenCase)
        reclaim(&elseCase)
    }

    public override var stmtKind: StmtKind { .ifThenElse }
    public override class var schema: NodeSchema { ifSchema }
}

private let ifSchema = NodeSchema(
    "tir.IfThenElse", IfThenElse.self,
    [.field("condition", \.condition), .field("thenCase", \.thenCase), .field("elseCase", \.elseCase)],
    make: {
        let condition: PrimExpr = try $0.next()
        let thenCase: Stmt = try $0.next()
        return IfThenElse(condition, thenCase, try $0.next())
    })

/// An expression for its effect; `Evaluate(0)` is the no-op.
public final class Evaluate: Stmt, @unchecked Sendable {
    public private(set) var value: PrimExpr

    public init(_ value: PrimExpr) { self.value = value }

    deinit { reclaim(&value) }

    public static var noOp: Evaluate { Evaluate(IntImm(0)) }

    public override var stmtKind: StmtKind { .evaluate }
    public override class var schema: NodeSchema { evaluateSchema }
}

private let evaluateSchema = NodeSchema(
    "tir.Evaluate", Evaluate.self, [.field("value", \.value)], make: { Evaluate(try $0.next()) })

/// How a loop runs.
public enum ForKind: String, Sendable, FieldConvertible {
    case serial, parallel, vectorized, unrolled, threadBinding
}

/// `for loopVar in min ..< min + extent`
public final class For: Stmt, @unchecked Sendable {
    public let loopVar: Var
    public private(set) var min: PrimExpr
    public private(set) var extent: PrimExpr
    public let forKind: ForKind
    public private(set) var body: Stmt
    /// For `threadBinding`: the thread axis.
    public let threadBinding: IterVar?
    public let annotations: Attrs

    public init(
        _ loopVar: Var, _ min: PrimExpr, _ extent: PrimExpr, _ forKind: ForKind = .serial, body: Stmt,
        threadBinding: IterVar? = nil, annotations: Attrs = .empty
    ) {
        self.loopVar = loopVar
        self.min = min
        self.extent = extent
        self.forKind = forKind
        self.body = body
        self.threadBinding = threadBinding
        self.annotations = annotations
    }

    deinit {
        reclaim(&min)
        reclaim(&extent)
        reclaim(&body)
    }

    /// A copy with some parts replaced.
    public func with(
        min: PrimExpr? = nil, extent: PrimExpr? = nil, kind: ForKind? = nil, body: Stmt? = nil,
        annotations: Attrs? = nil
    ) -> For {
        let copy = For(
            loopVar, min ?? self.min, extent ?? self.extent, kind ?? forKind, body: body ?? self.body,
            threadBinding: threadBinding, annotations: annotations ?? self.annotations)
        copy.locate(span)
        return copy
    }

    public override var stmtKind: StmtKind { .forLoop }
    public override class var schema: NodeSchema { forSchema }
}

private let forSchema = NodeSchema(
    "tir.For", For.self,
    [
        .definition("loopVar", \.loopVar), .field("min", \.min), .field("extent", \.extent),
        .field("kind", \.forKind), .field("threadBinding", \.threadBinding),
        .field("annotations", \.annotations), .field("body", \.body),
    ],
    make: {
        let loopVar: Var = try $0.next()
        let min: PrimExpr = try $0.next()
        let extent: PrimExpr = try $0.next()
        let kind: ForKind = try $0.next()
        let binding: IterVar? = try $0.next()
        let annotations: Attrs = try $0.next()
        return For(
            loopVar, min, extent, kind, body: try $0.next(), threadBinding: binding, annotations: annotations)
    })

/// `while condition { body }`
public final class While: Stmt, @unchecked Sendable {
    public private(set) var condition: PrimExpr
    public private(set) var body: Stmt

    public init(_ condition: PrimExpr, _ body: Stmt) {
        self.condition = condition
        self.body = body
    }

    deinit {
        reclaim(&condition)
        reclaim(&body)
    }

    public override var stmtKind: StmtKind { .whileLoop }
    public override class var schema: NodeSchema { whileSchema }
}

private let whileSchema = NodeSchema(
    "tir.While", While.self, [.field("condition", \.condition), .field("body", \.body)],
    make: {
        let condition: PrimExpr = try $0.next()
        return While(condition, try $0.next())
    })

/// Memory for `buffer`, alive during `body`. Lowered form only; blocks hold `allocBuffers` before.
public final class Allocate: Stmt, @unchecked Sendable {
    public let buffer: Buffer
    public private(set) var body: Stmt

    public init(_ buffer: Buffer, _ body: Stmt) {
        self.buffer = buffer
        self.body = body
    }

    deinit { reclaim(&body) }

    public override var stmtKind: StmtKind { .allocate }
    public override class var schema: NodeSchema { allocateSchema }
}

private let allocateSchema = NodeSchema(
    "tir.Allocate", Allocate.self, [.definition("buffer", \.buffer), .field("body", \.body)],
    make: {
        let buffer: Buffer = try $0.next()
        return Allocate(buffer, try $0.next())
    })
