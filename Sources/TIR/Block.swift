import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// `buffer` is a view of the region `source` of another buffer.
public final class MatchBufferRegion: Node, @unchecked Sendable {
    public let buffer: Buffer
    public let source: BufferRegion

    public init(_ buffer: Buffer, _ source: BufferRegion) {
        self.buffer = buffer
        self.source = source
    }

    public override class var schema: NodeSchema { matchBufferSchema }
}

private let matchBufferSchema = NodeSchema(
    "tir.MatchBufferRegion", MatchBufferRegion.self,
    [.field("source", \.source), .definition("buffer", \.buffer)],
    make: {
        let source: BufferRegion = try $0.next()
        return MatchBufferRegion(try $0.next(), source)
    })

/// A unit of computation isolated from the loops around it: iteration variables with their kinds, what it reads
/// and writes, an optional initialisation for a reduction, and a body. The unit on which schedules work.
public final class Block: Stmt, @unchecked Sendable {
    public let iterVars: [IterVar]
    public let reads: [BufferRegion]
    public let writes: [BufferRegion]
    public let name: String
    public private(set) var body: Stmt
    /// Run once before the first iteration of the reduction variables.
    public private(set) var initial: Stmt?
    public let allocBuffers: [Buffer]
    public let matchBuffers: [MatchBufferRegion]
    public let annotations: Attrs

    public init(
        _ name: String, iterVars: [IterVar] = [], reads: [BufferRegion] = [], writes: [BufferRegion] = [],
        body: Stmt, initial: Stmt? = nil, allocBuffers: [Buffer] = [], matchBuffers: [MatchBufferRegion] = [],
        annotations: Attrs = .empty
    ) {
        self.iterVars = iterVars
        self.reads = reads
        self.writes = writes
        self.name = name
        self.body = body
        self.initial = initial
        self.allocBuffers = allocBuffers
        self.matchBuffers = matchBuffers
        self.annotations = annotations
    }

    deinit {
        reclaim(&body)
        reclaim(&initial)
    }

    /// A copy with some parts replaced.
    public func with(
        iterVars: [IterVar]? = nil, reads: [BufferRegion]? = nil, writes: [BufferRegion]? = nil,
        name: String? = nil, body: Stmt? = nil, initial: Stmt?? = nil, allocBuffers: [Buffer]? = nil,
        matchBuffers: [MatchBufferRegion]? = nil, annotations: Attrs? = nil
    ) -> Block {
        let copy = Block(
            name ?? self.name, iterVars: iterVars ?? self.iterVars, reads: reads ?? self.reads,
            writes: writes ?? self.writes, body: body ?? self.body, initial: initial ?? self.initial,
            allocBuffers: allocBuffers ?? self.allocBuffers, matchBuffers: matchBuffers ?? self.matchBuffers,
            annotations: annotations ?? self.annotations)
        copy.locate(span)
        return copy
    }

    public override var stmtKind: StmtKind { .block }
    public override class var schema: NodeSchema { blockSchema }
}

private let blockSchema = NodeSchema(
    "tir.Block", Block.self,
    [
        .definition("iterVars", \.iterVars), .definition("allocBuffers", \.allocBuffers),
        .field("matchBuffers", \.matchBuffers), .field("reads", \.reads), .field("writes", \.writes),
        .ignored("name", \.name), .field("annotations", \.annotations), .field("initial", \.initial),
        .field("body", \.body),
    ],
    make: {
        let iterVars: [IterVar] = try $0.next()
        let allocBuffers: [Buffer] = try $0.next()
        let matchBuffers: [MatchBufferRegion] = try $0.next()
        let reads: [BufferRegion] = try $0.next()
        let writes: [BufferRegion] = try $0.next()
        let name: String = try $0.next()
        let annotations: Attrs = try $0.next()
        let initial: Stmt? = try $0.next()
        return Block(
            name, iterVars: iterVars, reads: reads, writes: writes, body: try $0.next(), initial: initial,
            allocBuffers: allocBuffers, matchBuffers: matchBuffers, annotations: annotations)
    })

/// Runs a block with its iteration variables bound to values of the surrounding loops, where `predicate` holds.
public final class BlockRealize: Stmt, @unchecked Sendable {
    public let iterValues: [PrimExpr]
    public private(set) var predicate: PrimExpr
    public private(set) var block: Block

    /// One value an iteration variable.
    public init(_ iterValues: [PrimExpr], predicate: PrimExpr = IntImm(1, dtype: .bool), _ block: Block) {
        self.iterValues = iterValues
        self.predicate = predicate
        self.block = block
    }

    deinit {
        reclaim(&predicate)
        reclaim(&block)
    }

    public override var stmtKind: StmtKind { .blockRealize }
    public override class var schema: NodeSchema { blockRealizeSchema }
}

private let blockRealizeSchema = NodeSchema(
    "tir.BlockRealize", BlockRealize.self,
    [.field("iterValues", \.iterValues), .field("predicate", \.predicate), .field("block", \.block)],
    make: {
        let iterValues: [PrimExpr] = try $0.next()
        let predicate: PrimExpr = try $0.next()
        let block: Block = try $0.next()
        guard iterValues.count == block.iterVars.count else {
            throw ApusError(
                "TIR006", "a block needs one value an iteration variable",
                expected: "\(block.iterVars.count)",
                actual: "\(iterValues.count)")
        }
        return BlockRealize(iterValues, predicate: predicate, block)
    })
