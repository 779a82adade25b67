import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

/// A tensor producer, abstract in this room.
private func samples() -> [Node] {
    let a = Buffer("A", [4, 4])
    let x = Var("x")
    let y = Var("y")
    let f = FloatImm(1.5)
    let k = IterVar(IRRange(0, extent: 4), Var("k"), .commReduce)
    let load = BufferLoad(a, [x, y])
    let sum = CommReducer(lhs: [x], rhs: [y], result: [Add(x, y)], identity: [IntImm(0)])
    let block = Block(
        "b", iterVars: [k], reads: [BufferRegion(all: a)], writes: [BufferRegion(a, point: [k.variable, x])],
        body: BufferStore(a, f, [k.variable, x]), initial: BufferStore(a, f, [IntImm(0), x]),
        allocBuffers: [Buffer("L", [2])],
        matchBuffers: [MatchBufferRegion(Buffer("M", [4, 4]), BufferRegion(all: a))],
        annotations: attrs(("k", .ints([1]))))
    var all: [Node] = [
        IntImm(3), f, StringImm("s"), IRRange(0, extent: 3), PrimType(.int8),
        PointerType(PrimType(.int8), storageScope: "local"),
        TensorType([2, 3], .float32), TupleType([PrimType(.int8)]),
        FuncType([PrimType(.int8)], TupleType([])), TypeVar("t"),
        IncompleteType(), RelayRefType(PrimType(.int8)), GlobalVar("g"),
        attrs(("a", .int(1)), ("b", .floats([1.5]))),
        Op.register("test.sample"), x, k, a, BufferRegion(all: a), Cast(.int8, x), Not(LT(x, y)),
        Select(LT(x, y), x, y),
        load, Ramp(x, y, 4), Broadcast(x, 4), Shuffle([x, y], [1, 0]), Let(x, y, Add(x, y)), exp(f), sum,
        Reduce(sum, [k.variable], [k]), LetStmt(x, y, Evaluate(x)), AttrStmt(a, "k", x, Evaluate(x)),
        AssertStmt(LT(x, y), "m"),
        BufferStore(a, f, [x, y]), SeqStmt([Evaluate(x), Evaluate(y)]),
        IfThenElse(LT(x, y), Evaluate(x), Evaluate(y)), Evaluate(x),
        For(x, IntImm(0), y, .parallel, body: Evaluate(x), annotations: attrs(("p", .bool(true)))),
        While(LT(x, y), Evaluate(x)),
        Allocate(Buffer("L", [2]), Evaluate(x)),
        MatchBufferRegion(Buffer("M", [4, 4]), BufferRegion(all: a)), block,
        BlockRealize([x], block),
        PrimFunc(buffers: [a], body: BlockRealize([x], block), attrs: attrs(("global_symbol", .string("f")))),
        IRModule(PrimFunc(buffers: [a], body: Evaluate(load))),
    ]
    let kinds: [PrimExprKind] = [
        .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge,
    ]
    for kind in kinds { all.append(BinaryExpr.raw(kind, x, y)) }
    for kind in [PrimExprKind.and, .or] { all.append(BinaryExpr.raw(kind, LT(x, y), LT(y, x))) }
    return all
}

@Suite struct SampleTests {
    init() { TIRNodes.registerAll() }

    /// `tir.ProducerLoad` needs a tensor of TE, whose room tests it.
    @Test func everyKindHasASample() {
        let have = Set(samples().map(\.schema.key))
        let missing = (IRNodes.all + TIRNodes.all).map(\.key).filter { !have.contains($0) }
        #expect(missing == ["tir.ProducerLoad"])
        let keys = (IRNodes.all + TIRNodes.all).map(\.key)
        #expect(Set(keys).count == keys.count)
    }

    @Test(arguments: samples().indices) func walk(_ i: Int) throws {
        let n = samples()[i]
        let back = try loadJSON(saveJSON(n))
        #expect(firstDifference(n, back, mapFreeVariables: true)?.description == nil)
        #expect(structuralHash(n) == structuralHash(back))
        #expect(saveJSON(back) == saveJSON(n))
        #expect(!n.description.isEmpty)
        #expect(structuralEqual(n, n))
        // The constructor takes exactly the fields that the schema lists.
        let rebuilt = try n.schema.build(n.schema.fields.map { $0.get(n) })
        #expect(type(of: rebuilt) == type(of: n))
        #expect(structuralEqual(n, rebuilt, mapFreeVariables: true))
        // Each wrong field type is refused, not trapped on.
        for at in n.schema.fields.indices {
            var fields = n.schema.fields.map { $0.get(n) }
            fields[at] = .float(0.5)
            _ = try? n.schema.build(fields)
        }
    }

    @Test func unlikeSamplesDiffer() {
        let all = samples()
        for i in all.indices {
            for j in all.indices where i < j && all[i].schema.key != all[j].schema.key {
                #expect(!structuralEqual(all[i], all[j], mapFreeVariables: true))
            }
        }
    }

    @Test func aMillionNestedExpressionsAndStatements() {
        var e: PrimExpr = Var("x")
        for i in 0..<1_000_000 { e = Add(e, IntImm(i)) }
        e = IntImm(0)
        var s: Stmt = Evaluate(e)
        for _ in 0..<300_000 { s = LetStmt(Var("v"), IntImm(1), s) }
        s = Evaluate(e)
        #expect(s is Evaluate)
    }
}
