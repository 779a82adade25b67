import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Glibc
import Testing

/// 60 levels, each of which uses the one below twice: 61 nodes that a tree would need 2^60 for.
private struct Doubling: Sendable, CustomStringConvertible {
    let name: String
    let make: @Sendable (PrimExpr) -> PrimExpr
    var leaf: DataType = .index
    var description: String { name }

    func dag(_ x: Var, levels: Int = 60) -> PrimExpr {
        (0..<levels).reduce(x as PrimExpr) { e, _ in make(e) }
    }
}

private let doublings = [
    Doubling(name: "add", make: { Add($0, $0) }),
    Doubling(name: "select", make: { Select(LT($0, IntImm(3)), $0, $0) }),
    Doubling(name: "call", make: { intrinsic("bitwise_xor", .index, [$0, $0]) }),
    Doubling(name: "if_then_else", make: { intrinsic("if_then_else", .index, [trueExpr, $0, $0]) }),
    Doubling(name: "logic", make: { And($0, Not($0)) }, leaf: .bool),
    Doubling(name: "float", make: { Mul($0, intrinsic("exp", .float32, [$0])) }, leaf: .float32),
    Doubling(
        name: "shuffle",
        make: { Shuffle([$0, $0], [0]) }),
]

/// Expressions that share parts are walked, rebuilt, compared, saved and freed in time that goes by their nodes, not by
/// what they would be written out. (The printer writes trees.)
@Suite struct SharedTests {
    init() { TIRNodes.registerAll() }

    private func program(_ e: PrimExpr, _ b: Buffer, _ x: Var) -> PrimFunc {
        let h = Var("B_handle", dtype: .handle)
        return PrimFunc(
            [h, x], bufferMap: [(param: h, buffer: b)],
            body: SeqStmt([BufferStore(b, e, [IntImm(0)]), Evaluate(e)]))
    }

    @Test(arguments: doublings.indices) func everyWalk(_ i: Int) throws {
        let d = doublings[i]
        let x = Var("x", dtype: d.leaf)
        let y = Var("y", dtype: d.leaf)
        let e = d.dag(x)
        let other = d.dag(x)
        #expect(uses(e, [x]) && !uses(e, [y]))
        #expect(exprUsesVar(e) { $0 === x } && !exprUsesVar(e) { $0 === y })
        #expect(uses(Evaluate(e), [x]) && !uses(Evaluate(e), [y]))
        #expect(exprDeepEqual(e, other) && !exprDeepEqual(e, d.dag(y)))
        #expect(undefinedVariables(of: e).map { $0.name } == ["x"])
        #expect(sideEffect(of: e) <= .pure)
        #expect(expressionSize(e) > 1 << 59 && expressionSize(e, limit: 10) == 10)
        #expect(expressionSize(e, limit: 1000) == 1000)
        #expect(expressionDepth(e) >= 61)
        #expect(exprComplexity(e) > 1 << 59)
        #expect(structuralEqual(e, other) && structuralHash(e) == structuralHash(other))
        #expect(!structuralEqual(e, d.dag(y)))
        let back = try #require(try loadJSON(saveJSON(e)) as? PrimExpr)
        #expect(structuralEqual(e, back, mapFreeVariables: true))
        var inner = 0
        postOrderVisit(e) { if $0.kind != .variable && $0.asInt == nil { inner += 1 } }
        #expect(inner >= 60 && inner <= 200)

        let z = substitute(e, [x: y])
        #expect(uses(z, [y]) && !uses(z, [x]) && exprDeepEqual(z, d.dag(y)))
        #expect(substitute(e, [y: x]) === e)

        let b = Buffer("B", [4], e.dtype, alignment: 0)
        let f = program(e, b, x)
        try verify(f, level: .deep)
        #expect(undefinedVariables(of: f).isEmpty)
        #expect(buffersAccessed(f.body).writes.count == 1)
        #expect(isSSA(f))
        #expect(convertSSA(f) === f)
        #expect(detectBufferAccessLCA(f).count == 1)
        #expect(memoryViolation(f, targetKind: "cuda") != nil)
        #expect(gpuViolations(f, GPULimits(maxVectorBytes: 16)).isEmpty)
        #expect(estimateFlops(f.body) >= 0)
        let block = Block("b", body: f.body)
        #expect(blockAccessRegion(block).writes.count == 1)
        if d.leaf == .index { _ = try f.specialize([x: 1]) }
        // A closure sees what is shared once.
        var seen = 0
        let same = try irTransform(
            f.body,
            preorder: { n in
                if n === e { seen += 1 }; return nil
            })
        #expect(same === f.body && seen == 1)
        let renamed = try irTransform(
            f.body, postorder: { n in n === x ? y : nil }, onlyEnable: ["tir.Var"])
        #expect(uses(renamed, [y]) && !uses(renamed, [x]))
    }

    /// Separate nodes that happen to be equal, compared with shared ones.
    @Test func sharedEqualsApart() {
        let x = Var("x")
        let shared = doublings[0].dag(x, levels: 10)
        func apart(_ n: Int) -> PrimExpr { n == 0 ? x : Add(apart(n - 1), apart(n - 1)) }
        #expect(structuralEqual(shared, apart(10)) && exprDeepEqual(shared, apart(10)))
        #expect(structuralHash(shared) == structuralHash(apart(10)))
        #expect(expressionSize(shared) == 2047 && expressionSize(apart(10)) == 2047)
        #expect(expressionDepth(shared) == 11 && exprComplexity(shared) == 1023)
        #expect(expressionSize(doublings[0].dag(x, levels: 5)) == 63)
        #expect(estimateFlops(Evaluate(doublings[5].dag(Var("y", dtype: .float32), levels: 10))) == 2046)
    }

    /// A `Let` may be shared; what is defined in one place is not known in another.
    @Test func sharedDefinitions() throws {
        let x = Var("x")
        var e: PrimExpr = Let(Var("y"), x, x)
        for _ in 0..<60 { e = Add(e, e) }
        let h = Var("n")
        let f = PrimFunc([h], bufferMap: [], body: Evaluate(substitute(e, [x: h])))
        try verifyWellFormed(f)
        #expect(undefinedVariables(of: f).isEmpty)
        var chain: PrimExpr = h
        for i in 0..<60 {
            let v = Var("v\(i)")
            chain = Let(v, chain, Add(v, v))
        }
        let g = PrimFunc([h], bufferMap: [], body: Evaluate(chain))
        try verifyWellFormed(g)
        #expect(undefinedVariables(of: g).isEmpty)
        // What is known good outside of a scope is so inside, not the other way round.
        var inside: PrimExpr = x
        for _ in 0..<300 { inside = Add(inside, IntImm(1)) }
        let leak = PrimFunc([h], bufferMap: [], body: Evaluate(Add(Let(x, h, inside), inside)))
        #expect(code { try verifyWellFormed(leak) } == "TIR140")
        #expect(undefinedVariables(of: leak).map { $0.name } == ["x"])
    }

    /// Chains of which each node holds the one below several times are freed by a loop as well.
    @Test func destruction() {
        for make: (PrimExpr) -> PrimExpr in [
            { Add($0, $0) }, { Select(trueExpr, $0, $0) }, { intrinsic("bitwise_xor", .index, [$0, $0]) },
            { e in intrinsic("call_extern", .index, [StringImm("f")] + [PrimExpr](repeating: e, count: 12)) },
            { Let(Var("v"), $0, $0) },
        ] {
            var e: PrimExpr = Var("x")
            for _ in 0..<100_000 { e = make(e) }
            #expect(e.dtype == .index)
        }
        var s: Stmt = Evaluate.noOp
        for _ in 0..<100_000 { s = IfThenElse(trueExpr, s, s) }
        for _ in 0..<100_000 { s = SeqStmt([s, s, s]) }
        #expect(s.stmtKind == .seq)
    }

    @Test func identities() {
        var set = IdentitySet()
        let nodes = (0..<1000).map { IntImm($0) }
        let first = nodes.filter { set.insert($0) }
        let again = nodes.filter { set.insert($0) }
        #expect(first.count == 1000 && again.isEmpty && set.count == 1000)
    }
}
