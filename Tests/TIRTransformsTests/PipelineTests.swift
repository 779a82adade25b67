import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRTransforms
import ApusTestSupport
import Testing

/// The code of the error that `body` throws.
func errorCode(_ body: () throws -> Void) -> String? {
    do {
        try body()
        return nil
    } catch { return (error as? ApusError)?.code ?? "\(error)" }
}

@Suite struct SoftwarePipelineTests {
    func text(stages: String, order: String, extent: Int = 8) -> String {
        """
        @T.prim_func
        def main(A: T.Buffer((\(extent), 4), "float32"), C: T.Buffer((\(extent), 4), "float32")):
            with T.block("root"):
                for i in T.serial(\(extent), annotations={"software_pipeline_stage": \(stages), "software_pipeline_order": \(order)}):
                    with T.block("body"):
                        B = T.alloc_buffer((4,), "float32")
                        D = T.alloc_buffer((4,), "float32")
                        for j in range(4):
                            B[j] = A[i, j] * T.float32(2)
                        for j in range(4):
                            D[j] = B[j] + T.float32(1)
                        for j in range(4):
                            C[i, j] = D[j] + B[3 - j]
        """
    }

    @Test func twoStages() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
                for i in T.serial(8, annotations={"software_pipeline_stage": [0, 1], "software_pipeline_order": [0, 1]}):
                    B = T.allocate((1,), "float32")
                    B[0] = A[i] * T.float32(2)
                    C[i] = B[0] + T.float32(1)
            """)
        let g = try injectSoftwarePipeline(f)
        let want = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
                B = T.allocate((2,), "float32")
                B[0] = A[0] * T.float32(2)
                for i in range(7):
                    B[(i + 1) % 2] = A[i + 1] * T.float32(2)
                    C[i] = B[i % 2] + T.float32(1)
                C[7] = B[1] + T.float32(1)
            """)
        #expect(structuralEqual(simplifyTIR(g), simplifyTIR(want)), "\(simplifyTIR(g))")
        try expectSame(f, g)
        try verifyWellFormed(g)
        #expect(try injectSoftwarePipeline(g) === g)
    }

    @Test func readersFirstNeedOneVersion() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
                for i in T.serial(8, annotations={"software_pipeline_stage": [0, 1], "software_pipeline_order": [1, 0]}):
                    B = T.allocate((1,), "float32")
                    B[0] = A[i] * T.float32(2)
                    C[i] = B[0] + T.float32(1)
            """)
        let g = try injectSoftwarePipeline(f)
        #expect(count(g) { ($0 as? Allocate)?.buffer.staticShape == [1] } == 1)
        try expectSame(f, g)
    }

    @Test(arguments: [
        ("[0, 1, 1]", "[0, 1, 2]"), ("[0, 0, 1]", "[1, 2, 0]"), ("[0, 1, 2]", "[2, 1, 0]"),
        ("[0, 1, 3]", "[0, 2, 1]"), ("[0, 0, 0]", "[0, 1, 2]"), ("[2, 3, 4]", "[1, 0, 2]"),
    ])
    func threeStatements(_ stages: String, _ order: String) throws {
        for extent in [1, 2, 3, 8] {
            let f = try parse(text(stages: stages, order: order, extent: extent))
            let g = try injectSoftwarePipeline(f)
            try verifyWellFormed(g)
            try expectSame(f, g)
            try expectPipeline(text(stages: stages, order: order, extent: extent))
        }
    }

    @Test func symbolicExtents() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((n,), "float32"), C: T.Buffer((n,), "float32")):
                for i in T.serial(n, annotations={"software_pipeline_stage": [0, 2]}):
                    B = T.allocate((1,), "float32")
                    B[0] = A[i] * T.float32(2)
                    C[i] = B[0] + T.float32(1)
            """)
        let g = try injectSoftwarePipeline(f)
        try verifyWellFormed(g)
        for n in [0, 1, 2, 3, 9] { try expectSame(f, g, ["n": n]) }
    }

    @Test func refusals() throws {
        #expect(
            errorCode { _ = try injectSoftwarePipeline(try parse(text(stages: "[0, 1]", order: "[0, 1]"))) }
                == "TTR020")
        #expect(
            errorCode {
                _ = try injectSoftwarePipeline(try parse(text(stages: "[0, 1, 1]", order: "[0, 1, 1]")))
            }
                == "TTR020")
        // The user before the producer.
        #expect(
            errorCode {
                _ = try injectSoftwarePipeline(try parse(text(stages: "[1, 0, 1]", order: "[0, 1, 2]")))
            }
                == "TTR022")
        // Each iteration reads what the one before wrote.
        let carried = """
            @T.prim_func
            def main(A: T.Buffer((9,), "float32")):
                for i in T.serial(8, annotations={"software_pipeline_stage": [0, 1]}):
                    B = T.allocate((1,), "float32")
                    B[0] = A[i] * T.float32(2)
                    A[i + 1] = B[0]
            """
        #expect(errorCode { _ = try injectSoftwarePipeline(try parse(carried)) } == "TTR022")
        let inPlace = carried.replacing("A[i + 1]", with: "A[i]")
        let f = try parse(inPlace)
        try expectSame(f, try injectSoftwarePipeline(f))
    }

    /// Memory from outside of the loop, of which each iteration has a part of its own.
    @Test(arguments: [
        "X[i // 4, i % 4]", "X[i % 3, i // 3]", "X[i * 5 % 3, i // 3]", "X[i // 4, 3 - i % 4]",
    ])
    func partsOfAnIteration(_ place: String) throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((12,), "float32"), X: T.Buffer((3, 4), "float32"), C: T.Buffer((12,), "float32")):
                for i in T.serial(12, annotations={"software_pipeline_stage": [0, 1]}):
                    with T.seq():
                        \(place) = A[i] * T.float32(2)
                        C[i] = \(place) + T.float32(1)
            """
        let f = try parse(text)
        try expectSame(f, try injectSoftwarePipeline(f))
    }

    @Test(
        "iterations that meet are not overlapped",
        arguments: ["X[i // 2, 0]", "X[0, i % 1]", "X[T.min(i, 2), 0]"])
    func partsThatMeet(_ place: String) throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((6,), "float32"), X: T.Buffer((3, 4), "float32"), C: T.Buffer((6,), "float32")):
                for i in T.serial(6, annotations={"software_pipeline_stage": [0, 1]}):
                    with T.seq():
                        \(place) = A[i] * T.float32(2)
                        C[i] = \(place) + T.float32(1)
            """
        #expect(errorCode { _ = try injectSoftwarePipeline(try parse(text)) } == "TTR022")
    }

    /// Random stages and orders: legal ones keep the result, others are refused.
    @Test func fuzzPipelines() throws {
        let run = FuzzRun("tir.pipelines", cases: 120)
        var refused = 0
        var wrong = 0
        while let seed = run.next() {
            var r = SeededRandom(seed: seed)
            var stages = (0..<3).map { _ in r.below(4) }
            if r.below(4) > 0 { stages.sort() }
            var order = [0, 1, 2]
            order.shuffle(using: &r)
            let f = try parse(text(stages: "\(stages)", order: "\(order)", extent: 1 + r.below(7)))
            guard let g = try? injectSoftwarePipeline(f) else {
                refused += 1
                continue
            }
            let x = tensors(f)
            let y = tensors(f)
            try TIRInterpreter.run(f, x)
            try TIRInterpreter.run(g, y)
            if !zip(x, y).allSatisfy({ $0.hasSameContents(as: $1) }) {
                wrong += 1
                Issue.record("seed \(seed)\n\(f)\nbecame\n\(g)")
            }
        }
        run.finish(differences: wrong, "refused \(refused)")
    }
}

@Suite struct DoubleBufferTests {
    let text = """
        @T.prim_func
        def main(A: T.Buffer((8, 16), "float32"), C: T.Buffer((8, 16), "float32")):
            with T.block("root"):
                B = T.alloc_buffer((8, 16), "float32", scope="shared")
                for i in range(8):
                    for j in range(16):
                        with T.block("B"):
                            vi = T.axis.spatial(8, i)
                            vj = T.axis.spatial(16, j)
                            T.reads(A[vi, vj])
                            T.writes(B[vi, vj])
                            T.block_attr({"double_buffer_scope": 0})
                            B[vi, vj] = A[vi, vj] * T.float32(2)
                    for j in range(16):
                        with T.block("C"):
                            vi = T.axis.spatial(8, i)
                            vj = T.axis.spatial(16, j)
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, 15 - vj] + T.float32(1)
        """

    func prepared() throws -> PrimFunc {
        var g = lowerInitBlock(try parse(text))
        g = planAndUpdateBufferAllocationLocation(g)
        return compactBufferAllocation(convertBlocksToOpaque(g))
    }

    @Test func producerRunsAhead() throws {
        let f = try prepared()
        let g = try injectDoubleBuffer(f)
        try verifyWellFormed(g)
        try expectSame(f, g)
        var shapes: [[Int]?] = []
        postOrderVisit(
            g.body, stmt: { s in if let b = s as? Block { shapes += b.allocBuffers.map(\.staticShape) } })
        #expect(shapes == [[2, 1, 16]])
        #expect(count(g) { ($0 as? For)?.extent.asInt == 7 } == 1)
        #expect(try injectDoubleBuffer(g) === g)
    }

    @Test(arguments: [1, 2, 3]) func splitLoops(_ split: Int) throws {
        let f = try prepared()
        let g = try injectDoubleBuffer(f, split: split)
        try verifyWellFormed(g)
        // As a pass, with the option of the context.
        let module = IRModule([(global: GlobalVar("main"), function: f)])
        let context = PassContext(config: ["tir.double_buffer_split_loop": .int(split)])
        let made = try TIRPasses.injectDoubleBuffer.run(module, context)
        #expect(structuralEqual(try #require(made.definitions.first?.function), g))
        try expectSame(f, g)
        if split == 2 {
            // The half is a constant within a turn.
            let h = simplifyTIR(g)
            #expect(countExpr(h) { $0.kind == .floorMod } == 0, "\(h)")
        }
    }

    @Test func throughThePipeline() throws {
        let g = try expectPipeline(text)
        #expect(count(g) { ($0 as? Allocate)?.buffer.staticShape == [32] } == 1)
    }

    @Test func nothingToOverlapIsLeftAlone() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                with T.block("root"):
                    for i in range(8):
                        with T.block("w"):
                            T.writes(A[i])
                            T.block_attr({"double_buffer_scope": 0})
                            A[i] = T.float32(1)
            """)
        #expect(try injectDoubleBuffer(f) === f)
    }

    @Test func annotationThatNamesNoWrite() throws {
        let bad = text.replacing("\"double_buffer_scope\": 0", with: "\"double_buffer_scope\": 3")
        var g = planAndUpdateBufferAllocationLocation(try parse(bad))
        g = convertBlocksToOpaque(g)
        #expect(errorCode { _ = try injectDoubleBuffer(g) } == "TTR021")
    }
}

@Suite struct VirtualThreadTests {
    func injected(_ text: String) throws -> PrimFunc {
        let f = try parse(text)
        let g = try injectVirtualThread(f)
        try verifyWellFormed(g)
        try expectSame(f, g)
        #expect(try injectVirtualThread(g) === g)
        return g
    }

    @Test func interleaved() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32"), C: T.Buffer((16,), "float32")):
                for t in T.thread_binding(2, thread="vthread"):
                    for i in range(8):
                        B = T.allocate((4,), "float32")
                        B[0] = A[t * 8 + i]
                        C[t * 8 + i] = B[0] + T.float32(1)
            """)
        let want = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32"), C: T.Buffer((16,), "float32")):
                for i in range(8):
                    B = T.allocate((8,), "float32")
                    B[0] = A[i]
                    B[4] = A[8 + i]
                    C[i] = B[0] + T.float32(1)
                    C[8 + i] = B[4] + T.float32(1)
            """)
        let g = try injectVirtualThread(f)
        #expect(structuralEqual(simplifyTIR(g), simplifyTIR(want)), "\(g)")
        try expectSame(f, g)
    }

    @Test func sharedMemoryIsFilledOnce() throws {
        let g = try injected(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), C: T.Buffer((16,), "float32")):
                for t in T.thread_binding(2, thread="vthread.x"):
                    B = T.allocate((8,), "float32", scope="shared")
                    for i in range(8):
                        B[i] = A[i] * T.float32(2)
                    for i in range(8):
                        C[t * 8 + i] = B[i]
            """)
        #expect(count(g) { ($0 as? Allocate)?.buffer.staticShape == [8] } == 1)
        #expect(count(g) { $0 is BufferStore } == 3)
    }

    @Test func ownThreadsShareNothing() throws {
        let g = try injected(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), C: T.Buffer((16,), "float32")):
                for t in T.thread_binding(2, thread="cthread"):
                    B = T.allocate((8,), "float32", scope="local")
                    for i in range(8):
                        B[i] = A[i] * T.float32(2)
                    for i in range(8):
                        C[t * 8 + i] = B[i]
            """)
        #expect(count(g) { ($0 as? Allocate)?.buffer.staticShape == [16] } == 1)
    }

    @Test func manyThreadsBecomeALoop() throws {
        let g = try injected(
            """
            @T.prim_func
            def main(A: T.Buffer((40,), "float32")):
                for t in T.thread_binding(20, thread="vthread"):
                    for i in range(2):
                        A[t * 2 + i] = A[t * 2 + i] + T.float32(1)
            """)
        #expect(count(g) { ($0 as? For)?.extent.asInt == 20 } == 1)
    }

    @Test func conditionsThatDepend() throws {
        try _ = injected(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32"), C: T.Buffer((16,), "float32")):
                for t in T.thread_binding(4, thread="vthread"):
                    S = T.allocate((1,), "float32")
                    S[0] = T.float32(0)
                    if t < 2:
                        for i in range(t + 1):
                            S[0] = S[0] + A[i]
                    N = T.allocate((1,), "int64")
                    N[0] = 0
                    while N[0] < 2:
                        S[0] = S[0] + A[t]
                        N[0] = N[0] + 1
                    x: T.float32 = S[0]
                    C[t] = x
            """)
    }

    @Test func severalLevels() throws {
        let g = try injected(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32"), C: T.Buffer((16,), "float32")):
                for t in T.thread_binding(2, thread="vthread.x"):
                    for u in T.thread_binding(2, thread="vthread.y"):
                        B = T.allocate((4,), "float32")
                        for i in range(4):
                            B[i] = A[t * 8 + u * 4 + i]
                        for i in range(4):
                            C[t * 8 + u * 4 + i] = B[3 - i]
            """)
        #expect(count(g) { ($0 as? Allocate)?.buffer.staticShape == [16] } == 1)
    }

    @Test func barriers() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32"), C: T.Buffer((16,), "float32")):
                for t in T.thread_binding(2, thread="vthread"):
                    B = T.allocate((8,), "float32", scope="shared")
                    for i in range(8):
                        B[i] = A[t * 8 + i]
                    T.evaluate(T.storage_sync("shared", dtype="void"))
                    for i in range(8):
                        C[t * 8 + i] = B[7 - i]
            """)
        let g = try injectVirtualThread(f)
        #expect(countExpr(g) { ($0 as? Call)?.name == "tir.storage_sync" } == 1)
        let parted = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32")):
                for t in T.thread_binding(2, thread="vthread"):
                    if t < 1:
                        T.evaluate(T.storage_sync("shared", dtype="void"))
                        A[t] = T.float32(1)
            """)
        #expect(errorCode { _ = try injectVirtualThread(parted) } == "TTR010")
    }

    @Test func symbolicNumberOfThreads() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((n,), "float32")):
                for t in T.thread_binding(n, thread="vthread"):
                    A[t] = T.float32(1)
            """)
        #expect(errorCode { _ = try injectVirtualThread(f) } == "TTR012")
    }

    /// Random programs as the bodies of virtual threads.
    @Test func fuzzVirtualThreads() throws {
        let run = FuzzRun("tir.vthreads", cases: 150)
        var wrong = 0
        while let seed = run.next() {
            var program = RandomProgram(seed: seed &+ 5000, useKinds: seed % 2 == 0)
            program.virtualThreads = true
            let f = program.function()
            let x = tensors(f, ["n": RandomProgram.symbolicSize])
            let y = tensors(f, ["n": RandomProgram.symbolicSize])
            try TIRInterpreter.run(f, x)
            let g = try injectVirtualThread(f)
            try verifyWellFormed(g)
            try TIRInterpreter.run(g, y)
            if !zip(x, y).allSatisfy({ $0.hasSameContents(as: $1) }) {
                wrong += 1
                Issue.record("seed \(seed)\n\(f)\nbecame\n\(g)")
                if wrong > 2 { break }
            }
        }
        run.finish(differences: wrong)
    }
}

@Suite struct PrefetchAndCopyTests {
    @Test func prefetchOfTheNextRow() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8, 40), "float32"), C: T.Buffer((8, 40), "float32")):
                for i in T.serial(8, annotations={"prefetch_scope": ["A:1"]}):
                    for j in range(40):
                        C[i, j] = A[i, j] + T.float32(1)
            """)
        let g = try injectPrefetch(f)
        let want = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8, 40), "float32"), C: T.Buffer((8, 40), "float32")):
                for i in range(8):
                    for p in range(3):
                        if i < 7:
                            T.evaluate(T.prefetch(A[i + 1, p * 16], dtype="void"))
                    for j in range(40):
                        C[i, j] = A[i, j] + T.float32(1)
            """)
        #expect(structuralEqual(simplifyTIR(g), simplifyTIR(want)), "\(g)")
        try expectSame(f, g)
        #expect(try injectPrefetch(g) === g)
        try expectPipeline("\(f)")
    }

    @Test("memory of one element and no dimensions has one line")
    func prefetchOfAScalar() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((), "float32"), C: T.Buffer((8,), "float32")):
                for i in T.serial(8, annotations={"prefetch_scope": ["A:1"]}):
                    C[i] = A[()]
            """)
        let g = try injectPrefetch(f)
        #expect(countExpr(g) { ($0 as? Call)?.name == "tir.prefetch" } == 1)
        try expectSame(f, flattenBuffer(g))
    }

    @Test func prefetchesThatCannotBe() throws {
        func code(_ what: String, _ access: String) -> String? {
            errorCode {
                _ = try injectPrefetch(
                    try parse(
                        """
                        @T.prim_func
                        def main(A: T.Buffer((8,), "float32"), X: T.Buffer((8,), "int64"), C: T.Buffer((8,), "float32")):
                            for i in T.serial(8, annotations={"prefetch_scope": ["\(what)"]}):
                                C[i] = \(access)
                        """))
            }
        }
        #expect(code("B:1", "A[i]") == "TTR030")
        #expect(code("A", "A[i]") == "TTR030")
        #expect(code("A:1", "A[X[i]]") == "TTR030")
        #expect(code("A:1", "A[i]") == nil)
    }

    /// Replaces a copy by loops over the views, so that the interpreter can run what was recognised.
    static let loops: CopyIntrin = { r in
        let vars = r.destination.shape.map { _ in Var("c") }
        let inside: [PrimExpr] = vars.indices.map { d in
            r.padBefore.isEmpty ? vars[d] : vars[d] - r.padBefore[d]
        }
        var s: Stmt
        if let pad = r.padValue {
            var conditions: [PrimExpr] = []
            for d in vars.indices {
                conditions += [inside[d] .>= const(0), binary(.lt, inside[d], r.source.shape[d])]
            }
            s = BufferStore(
                r.destination, ifThenElse(all(conditions), BufferLoad(r.source, inside), pad), vars)
        } else {
            s = BufferStore(r.destination, BufferLoad(r.source, inside), vars)
        }
        for (v, n) in zip(vars, r.destination.shape).reversed() { s = For(v, IntImm(0), n, body: s) }
        return s
    }

    static let copies: [String] = [
        "for i, j in T.grid(4, 8):\n        B[i, j] = A[i, j]",
        "for i, j in T.grid(3, 5):\n        B[i + 1, j] = A[i, j + 2]",
        "for i, j in T.grid(4, 4):\n        B[i, j * 2] = A[3 - 0, i * 2]",
        "for i, j in T.grid(4, 8):\n        B[i, j] = T.if_then_else(i >= 1 and i < 3, A[i - 1, j], T.float32(5))",
        "for i, j in T.grid(4, 8):\n        B[i, j] = T.Select(j >= 2, A[i, T.max(j - 2, 0)], T.float32(5))",
        "for i in range(8):\n        B[0, i] = A[2, i]",
    ]
    @Test(arguments: copies) func copiesAreRecognised(_ body: String) throws {
        let f = try parse(
            "@T.prim_func\ndef main(A: T.Buffer((4, 8), \"float32\"), B: T.Buffer((4, 8), \"float32\")):\n"
                + "    T.attr(A, \"pragma_memcpy\", 1)\n    \(body)\n")
        let recognisable = !body.contains("T.max")
        if !recognisable {
            #expect(errorCode { _ = try injectCopyIntrin(f, key: "memcpy", Self.loops) } == "TTR031")
            return
        }
        let g = try injectCopyIntrin(f, key: "memcpy", Self.loops)
        #expect(count(g) { $0 is AttrStmt } == 0)
        try verifyWellFormed(g)
        try expectSame(f, g)
    }

    @Test func copyByAnnotation() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((4, 8), "float32"), B: T.Buffer((8,), "float32")):
                for j in T.serial(8, annotations={"pragma_memcpy": 1}):
                    B[j] = A[2, j]
            """)
        let g = try injectCopyIntrin(f, key: "memcpy") { r in
            #expect(r.source.staticShape == [8] && r.source.elemOffset.asInt == 16)
            #expect(r.source.strides.map(\.asInt) == [1] && r.padValue == nil)
            return try PrefetchAndCopyTests.loops(r)
        }
        try expectSame(f, g)
        let not = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
                for j in T.serial(8, annotations={"pragma_memcpy": 1}):
                    B[j] = A[j] + T.float32(1)
            """)
        #expect(errorCode { _ = try injectCopyIntrin(not, key: "memcpy", Self.loops) } == "TTR031")
    }
}
