import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Glibc
import Testing

/// Nodes of the deep structures here.
private let deep = 100_000

/// Structures that nest 100,000 deep, each made by a closure so that a test frees it.
private struct Deep: Sendable, CustomStringConvertible {
    let name: String
    /// A function of buffer `A: float32[16]` and scalar `n`, see `function`.
    let make: @Sendable () -> PrimFunc
    /// Whether the interpreter may run it in a test.
    var runs = true
    var description: String { name }
}

private func chain(_ body: @escaping @Sendable (PrimExpr) -> PrimExpr) -> @Sendable () -> PrimFunc {
    {
        function { _, n in
            var e: PrimExpr = n
            for _ in 0..<deep { e = body(e) }
            return Evaluate(e)
        }
    }
}

private func nest(_ body: @escaping @Sendable (Stmt, Int, Buffer, Var) -> Stmt) -> @Sendable () -> PrimFunc {
    {
        function { a, n in
            var s: Stmt = BufferStore(a, FloatImm(1), [IntImm(0)])
            for i in 0..<deep { s = body(s, i, a, n) }
            return s
        }
    }
}

private func cases() -> [Deep] {
    let one = IntImm(1)
    return [
        Deep(name: "add left", make: chain { Add($0, IntImm(1)) }),
        Deep(name: "add right", make: chain { Add(IntImm(1), $0) }),
        Deep(
            name: "add tree",
            make: {
                function { _, n in
                    var level: [PrimExpr] = (0..<(deep / 2)).map { _ in n }
                    while level.count > 1 {
                        level = stride(from: 0, to: level.count, by: 2).map {
                            $0 + 1 < level.count ? Add(level[$0], level[$0 + 1]) : level[$0]
                        }
                    }
                    return Evaluate(level[0])
                }
            }),
        Deep(name: "select", make: chain { Select(LT(one, IntImm(2)), $0, IntImm(0)) }),
        Deep(name: "call", make: chain { intrinsic("abs", .index, [$0]) }),
        Deep(
            name: "if_then_else",
            make: chain { intrinsic("if_then_else", .index, [trueExpr, $0, IntImm(3)]) }),
        Deep(name: "cast", make: chain { Cast(.int64, $0) }),
        Deep(name: "let body", make: chain { Let(Var("x"), IntImm(1), $0) }),
        Deep(name: "let value", make: chain { Let(Var("x"), $0, IntImm(1)) }),
        Deep(
            name: "not",
            make: {
                function { _, n in
                    var e: PrimExpr = LT(n, IntImm(3))
                    for _ in 0..<deep { e = Not(e) }
                    return IfThenElse(e, Evaluate(IntImm(0)))
                }
            }),
        Deep(
            name: "load",
            make: {
                let b = Buffer("B", [4], .int64)
                return function { _, _ in
                    var e: PrimExpr = IntImm(0)
                    for _ in 0..<deep { e = BufferLoad(b, [e]) }
                    return Allocate(b, SeqStmt([BufferStore(b, IntImm(0), [IntImm(0)]), Evaluate(e)]))
                }
            }),
        Deep(
            name: "let statements",
            make: nest { s, i, _, _ in LetStmt(Var(i % 2 == 0 ? "v" : "w"), IntImm(1), s) }),
        Deep(name: "plain loops", make: nest { s, _, _, _ in For(Var("i"), IntImm(0), IntImm(1), body: s) }),
        Deep(
            name: "parallel loops",
            make: nest { s, _, _, _ in For(Var("i"), IntImm(0), IntImm(1), .parallel, body: s) }),
        Deep(name: "if", make: nest { s, _, _, n in IfThenElse(LT(n, IntImm(9)), s) }),
        Deep(name: "else", make: nest { s, _, _, n in IfThenElse(LT(n, IntImm(9)), Evaluate(IntImm(0)), s) }),
        Deep(name: "attributes", make: nest { s, _, a, _ in AttrStmt(a, "key", IntImm(1), s) }),
        Deep(
            name: "allocations", make: nest { s, _, _, _ in Allocate(Buffer("B", [1], .int8), s) },
            runs: false),
        Deep(name: "while", make: nest { s, _, _, n in While(LT(IntImm(9), n), s) }),
        Deep(
            name: "sequence",
            make: {
                function { a, _ in
                    SeqStmt((0..<deep).map { BufferStore(a, FloatImm(Double($0)), [IntImm($0 % 16)]) })
                }
            }),
        Deep(
            name: "sequences",
            make: nest { s, _, _, _ in SeqStmt([Evaluate(IntImm(1)), s]) }),
        Deep(
            name: "blocks",
            make: nest { s, _, _, _ in BlockRealize([], Block("b", body: s)) }),
        Deep(
            name: "blocks with variables",
            make: nest { s, _, _, _ in
                let v = Var("v")
                return For(
                    Var("i"), IntImm(0), IntImm(1), .unrolled,
                    body: BlockRealize(
                        [IntImm(0)],
                        Block("b", iterVars: [IterVar(IRRange(0, extent: 1), v, .dataParallel)], body: s)))
            }),
    ]
}

/// Runs `body` on a thread with a stack of `bytes`.
private func onThread(_ bytes: Int, _ body: @escaping () -> Void) {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setstacksize(&attributes, bytes)
    var thread = pthread_t()
    let job = Unmanaged.passRetained(Job(body)).toOpaque()
    let status = pthread_create(
        &thread, &attributes,
        { raw in
            guard let raw else { return nil }
            Unmanaged<Job>.fromOpaque(raw).takeRetainedValue().body()
            return nil
        }, job)
    pthread_attr_destroy(&attributes)
    #expect(status == 0)
    if status == 0 { pthread_join(thread, nil) }
}
private final class Job {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
}

private final class Counter: StmtExprVisitor {
    var count = 0
    override func visit(_ e: PrimExpr) {
        count += 1
        super.visit(e)
    }
    override func visit(_ s: Stmt) {
        count += 1
        super.visit(s)
    }
}

/// Everything that goes over a function, on the present thread.
private func everything(_ d: Deep) {
    TIRNodes.registerAll()
    do {
        let f = d.make()
        let g = d.make()
        let counter = Counter()
        counter.visit(f.body)
        #expect(counter.count >= deep / 2, "\(d)")
        #expect(StmtExprMutator().mutate(f.body) === f.body, "\(d)")
        // Another variable: every node above it is built anew.
        let n = f.params[1]
        let other = Var("m")
        let h = substitute(f.body, [n: Add(other, IntImm(0))])
        #expect(uses(f.body, [n]) == (h !== f.body) && !uses(h, [n]), "\(d)")
        #expect(structuralEqual(f, g), "\(d)")
        #expect(structuralHash(f) == structuralHash(g), "\(d)")
        #expect(undefinedVariables(of: f).isEmpty, "\(d)")
        _ = estimateFlops(f.body)
        _ = buffersAccessed(f.body)
        try verifyWellFormed(f)
        let text = TIRPrinter.text(f)
        #expect(text.utf8.count < deep * 400, "\(d): \(text.utf8.count) bytes")
        let back = try TIRParser.parseFunction(text)
        #expect(firstDifference(f, back)?.description == nil, "\(d)")
        #expect(structuralEqual(try loadJSON(saveJSON(f)), back), "\(d)")
        #expect(convertSSA(f) === f, "\(d)")
        if d.runs {
            try TIRInterpreter.run(f, args: [.array(NDArray(shape: [16], dtype: .float32)), .int(1)])
        }
    } catch {
        Issue.record("\(d): \(String("\(error)".prefix(2000)))")
    }
}

/// Structures of 100,000 nodes go through everything, on stacks of the usual 8 MiB and of 512 KiB.
@Suite struct DeepTests {
    /// What passes on the small stack passes on the usual one; a few do so here.
    @Test(arguments: ["add right", "if", "blocks"]) func usualStack(_ name: String) {
        for d in cases() where d.name == name { onThread(8 << 20) { everything(d) } }
    }

    @Test(arguments: cases().indices) func smallStack(_ i: Int) {
        let d = cases()[i]
        onThread(512 << 10) { everything(d) }
    }

    @Test func stacksGrowAndErrorsPass() {
        func down(_ n: Int) throws -> Int {
            try growingStack { () throws(any Error) in
                if n == 0 { throw ApusError("TEST", "bottom") }
                var block = (n, n, n, n, n, n, n, n)
                return try withUnsafeMutablePointer(to: &block) { _ in try down(n - 1) + 1 }
            }
        }
        #expect(code { _ = try down(1_000_000) } == "TEST")
    }

    @Test func coroutinesPause() {
        var log: [Int] = []
        let a = Coroutine { c in
            for i in 0..<3 {
                log.append(i)
                c.pause()
            }
        }
        let b = Coroutine { c in
            for i in 10..<12 {
                log.append(i)
                growingStack { c.pause() }
            }
        }
        while (a?.resume() ?? false) || (b?.isDone == false) { b?.resume() }
        #expect(log == [0, 10, 1, 11, 2])
    }

    /// `APUS_MEASURE=1`: nanoseconds a node of a traversal of a wide tree of 100,000 nodes.
    @Test(.enabled(if: getenv("APUS_MEASURE") != nil)) func costOfTheCheck() {
        var level: [PrimExpr] = (0..<50_000).map { _ in Var("x") }
        while level.count > 1 {
            level = stride(from: 0, to: level.count, by: 2).map {
                $0 + 1 < level.count ? Add(level[$0], level[$0 + 1]) : level[$0]
            }
        }
        let root = level[0]
        var best = Double.infinity
        var nodes = 0
        for _ in 0..<40 {
            nodes = 0
            let start = ContinuousClock.now
            postOrderVisit(root) { _ in nodes += 1 }
            let d = (ContinuousClock.now - start).components
            best = min(best, Double(d.seconds) * 1e9 + Double(d.attoseconds) * 1e-9)
        }
        print("postOrderVisit \(nodes) nodes, \(best / Double(nodes)) ns a node")
    }
}
