import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// A function of the loop IR. A parameter of type `handle` is bound to a buffer by `bufferMap`; others are scalars.
///
/// The body of a function that can be scheduled is one root `BlockRealize` without iteration variables.
/// Attributes known: `global_symbol` (exported name), `tir.noalias` (buffers do not overlap), `target`.
public final class PrimFunc: BaseFunc, @unchecked Sendable {
    public let params: [Var]
    /// In the order of the parameters.
    public let bufferMap: [(param: Var, buffer: Buffer)]
    public private(set) var body: Stmt

    public init(
        _ params: [Var], bufferMap: [(param: Var, buffer: Buffer)], body: Stmt, attrs: Attrs = .empty,
        span: Span? = nil
    ) {
        self.params = params
        self.bufferMap = bufferMap
        self.body = body
        super.init(
            checkedType: FuncType(params.map { $0.type }, TupleType([])), attrs: attrs, span: span)
        if VerifyLevel.ambient >= .roundTrip { RoundTrips.made(self) }
    }

    /// A function whose parameters are the given buffers, in order.
    public convenience init(buffers: [Buffer], body: Stmt, attrs: Attrs = .empty) {
        let map: [(param: Var, buffer: Buffer)] = buffers.map {
            (param: Var("\($0.name)_handle", dtype: .handle), buffer: $0)
        }
        self.init(map.map(\.param), bufferMap: map, body: body, attrs: attrs)
    }

    deinit { reclaim(&body) }

    /// The buffer of a parameter, or nil for a scalar.
    public func buffer(of param: Var) -> Buffer? { bufferMap.first { $0.param === param }?.buffer }

    /// The exported name, if it has one.
    public var globalSymbol: String? { attrs.string("global_symbol") }

    public func with(
        params: [Var]? = nil, bufferMap: [(param: Var, buffer: Buffer)]? = nil, body: Stmt? = nil,
        attrs: Attrs? = nil
    ) -> PrimFunc {
        PrimFunc(
            params ?? self.params, bufferMap: bufferMap ?? self.bufferMap, body: body ?? self.body,
            attrs: attrs ?? self.attrs, span: span)
    }

    public override func with(attrs: Attrs) -> BaseFunc { with(attrs: Optional(attrs)) }

    public override var exprKind: RelayExprKind { .primFunc }
    public override class var schema: NodeSchema { primFuncSchema }
    public override var description: String { TIRPrinter.text(self) }

    fileprivate var mapParams: [Var] { bufferMap.map(\.param) }
    fileprivate var mapBuffers: [Buffer] { bufferMap.map(\.buffer) }
}

private let primFuncSchema = NodeSchema(
    "tir.PrimFunc", PrimFunc.self,
    [
        .definition("params", \.params), .field("mapParams", \.mapParams),
        .definition("mapBuffers", \.mapBuffers),
        .field("attrs", \.attrs), .field("body", \.body),
    ], identity: .graph,
    make: {
        let params: [Var] = try $0.next()
        let mapParams: [Var] = try $0.next()
        let mapBuffers: [Buffer] = try $0.next()
        guard mapParams.count == mapBuffers.count else {
            throw ApusError("TIR007", "a buffer map needs one buffer a parameter")
        }
        var map: [(param: Var, buffer: Buffer)] = []
        for i in mapParams.indices { map.append((param: mapParams[i], buffer: mapBuffers[i])) }
        let attrs: Attrs = try $0.next()
        return PrimFunc(params, bufferMap: map, body: try $0.next(), attrs: attrs)
    })

/// The node kinds of this room.
public enum TIRNodes {
    public static let all: [NodeSchema] =
        binarySchemas + [
            Var.schema, IterVar.schema, Buffer.schema, BufferRegion.schema, Cast.schema, Not.schema,
            Select.schema,
            BufferLoad.schema, ProducerLoad.schema, Ramp.schema, Broadcast.schema, Shuffle.schema, Let.schema,
            Call.schema, CommReducer.schema, Reduce.schema, LetStmt.schema, AttrStmt.schema,
            AssertStmt.schema,
            BufferStore.schema, SeqStmt.schema, IfThenElse.schema, Evaluate.schema, For.schema, While.schema,
            Allocate.schema, MatchBufferRegion.schema, Block.schema, BlockRealize.schema, PrimFunc.schema,
        ]

    /// Makes the kinds and the intrinsics known. Idempotent.
    public static func registerAll() {
        IRNodes.registerAll()
        NodeRegistry.register(all)
        Intrinsics.registerAll()
        PassContext.setStandardVerifier(verifier(.checked))
    }
}
