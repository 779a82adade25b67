import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

@Suite struct BuilderTests {
    init() { TIRNodes.registerAll() }

    @Test func builder() throws {
        let b = IRBuilder()
        let a = Buffer("A", [8])
        let out = b.bufferPointer(a)
        let w = b.allocate(.float32, 8, name: "W")
        b.forRange(0, 8, name: "i") { i in
            b.ifScope(b.likely(i .< 4)) { w[i] = out[i] * 2 }
            b.elseScope {
                b.scopeAttr(a, "note", const(1))
                w[i] = const(0, .float32)
            }
        }
        let x = b.letValue("x", w[3])
        b.assert(x .< FloatImm(100), "too large")
        b.whileLoop(out[0] .< x) { out[0] = out[0] + x }
        b.threads("threadIdx.x", const(2)) { t in out[t] = w[t] }
        let s = try b.get()
        #expect(
            TIRPrinter.text(PrimFunc(buffers: [a], body: s), name: "f")
                == """
                @T.prim_func
                def f(A: T.Buffer((8,), "float32", align=64)):
                    W = T.allocate((8,), "float32")
                    for i in range(8):
                        if T.likely(i < 4):
                            W[i] = A[i] * T.float32(2.0)
                        else:
                            T.attr(A, "note", 1)
                            W[i] = T.float32(0.0)
                    x: T.float32 = W[3]
                    assert x < T.float32(100.0), "too large"
                    while A[0] < x:
                        A[0] = A[0] + x
                    for threadIdx_x in T.thread_binding(2, thread="threadIdx.x"):
                        A[threadIdx_x] = W[threadIdx_x]

                """)
        b.elseScope {}
        #expect(code { _ = try b.get() } == "TIR156")
        let c = IRBuilder()
        let p = c.pointer(.int32, name: "p", count: const(4))
        p[const(1), const(2)] = const(1)
        #expect(code { _ = try c.get() } == "TIR156")
    }

    @Test func transforms() throws {
        let a = Buffer("A", [8])
        let i = Var("i")
        let s = For(i, IntImm(0), IntImm(8), body: BufferStore(a, BufferLoad(a, [i]) + FloatImm(1), [i]))
        let doubled = try irTransform(
            s,
            postorder: { n in (n as? FloatImm).map { FloatImm($0.value * 2) } }, onlyEnable: ["FloatImm"])
        #expect("\(doubled)".contains("T.float32(2.0)"))
        let same = try irTransform(s)
        #expect(same === s)
        // Before its parts: the loop goes away with all inside.
        let gone = try irTransform(
            s, preorder: { n in n is For ? Evaluate.noOp : nil }, onlyEnable: ["tir.For"])
        #expect(gone.isNoOp)
        #expect(
            code { _ = try irTransform(s, postorder: { n in n is FloatImm ? Evaluate.noOp : nil }) }
                == "TIR155")
        let nested = try mergeNest(
            [
                [For(i, IntImm(0), IntImm(8), body: Evaluate.noOp)],
                [AttrStmt(a, "k", IntImm(1), Evaluate.noOp), Evaluate(i)],
            ],
            BufferStore(a, FloatImm(0), [i]))
        #expect(
            "\(nested)"
                == "for i in range(8):\n    T.attr(A, \"k\", 1)\n    T.evaluate(i)\n    A[i] = T.float32(0.0)\n"
        )
        #expect(
            code { _ = try mergeNest([IfThenElse(trueExpr, Evaluate.noOp, Evaluate.noOp)], Evaluate.noOp) }
                == "TIR155")
    }

    @Test func ssa() throws {
        let i = Var("i")
        let w = Buffer("W", [4])
        let x = Var("x", dtype: .float32)
        func part(_ a: Buffer) -> Stmt {
            For(
                i, IntImm(0), IntImm(4),
                body: Allocate(
                    w,
                    SeqStmt([
                        BufferStore(w, BufferLoad(a, [i]), [i]),
                        LetStmt(x, BufferLoad(w, [i]), BufferStore(a, Let(x, x + x, x), [i])),
                    ])))
        }
        let f = function { a, _ in SeqStmt([part(a), part(a)]) }
        #expect(!isSSA(f) && ssaViolation(f)?.contains("defined twice") == true)
        let g = convertSSA(f)
        #expect(isSSA(g))
        try verifyWellFormed(g)
        #expect(TIRPrinter.text(g) == TIRPrinter.text(f))
        #expect(convertSSA(g) === g)
        let block = try TIRParser.parseFunction(programs[4])
        #expect(convertSSA(block) === block)
    }

    /// What is built in a scope of its own is handed over, not emitted; the scopes within it end there.
    @Test func scopesOfTheirOwn() throws {
        let b = IRBuilder()
        let a = Buffer("A", [4])
        let inner = b.newScope {
            b.scopeAttr(a, "key", IntImm(1))
            b.emit(BufferStore(a, FloatImm(1), [IntImm(0)]))
        }
        b.emit(BufferStore(a, FloatImm(2), [IntImm(1)]))
        let outer = try b.get()
        #expect((inner as? AttrStmt)?.key == "key" && (inner as? AttrStmt)?.body is BufferStore)
        #expect((outer as? BufferStore)?.indices[0].asInt == 1)
        #expect(code { _ = try b.newScope { throw ApusError("TEST", "stop") } } == "TEST")
    }

    @Test func specialization() throws {
        let f = try TIRParser.parseFunction(
            """
            @T.prim_func
            def f(A: T.Buffer((n, m), "float32"), B: T.Buffer((n, m), "float32"), k: T.int64):
                W = T.allocate((m,), "float32")
                for i, j in T.grid(n, m):
                    B[i, j] = A[i, j] + T.Cast("float32", k)

            """)
        let g = try f.specialize([(param: f.params[0], value: .buffer(Buffer("X", [4, 8], alignment: 0)))])
        #expect("\(g)".contains("B: T.Buffer((4, 8), \"float32\")") && "\(g)".contains("T.grid(4, 8)"))
        try verifyWellFormed(g)
        let h = try g.specialize([f.params[2]: 3])
        #expect(h.params.count == 2 && "\(h)".contains("T.float32(3.0)"))
        try verifyWellFormed(h)
        expectRoundTrip(h)
        #expect(code { _ = try f.specialize([(param: Var("z"), value: .value(IntImm(1)))]) } == "TIR154")
        #expect(
            code {
                _ = try f.specialize([(param: f.params[0], value: .buffer(Buffer("X", [4], alignment: 0)))])
            } == "TIR154")
        #expect(
            code { _ = try g.specialize([(param: f.params[1], value: .buffer(Buffer("X", [4, 9])))]) }
                == "TIR154")
    }

    @Test func bufferAccess() throws {
        let n = Var("n")
        let a = Buffer("A", [n, IntImm(8)], alignment: 0)
        #expect("\(a.elementOffset([IntImm(2), IntImm(3)]))" == "19")
        #expect(
            "\(try a.vload([IntImm(1), IntImm(4)], DataType.float32.with(lanes: 4)))"
                == "A[1, T.Ramp(4, 1, 4)]")
        #expect(try a.vload([IntImm(1), IntImm(4)]).dtype == .float32)
        #expect(
            "\(try a.vstore([n, IntImm(0)], Broadcast(FloatImm(0), 2)))".hasPrefix("A[n, T.Ramp(0, 1, 2)] ="))
        #expect(code { _ = try a.vload([IntImm(0), IntImm(0)], .int8) } == "TIR153")
        let pointer = a.accessPointer([.read, .write], offset: IntImm(8))
        #expect(
            "\(pointer)".hasPrefix(
                "T.access_ptr(T.type_annotation(dtype=\"float32\"), A, 8, n * 8 - 8, T.int32(3)"))
        #expect(a.accessPointer(.read, contentLanes: 4).args[3].dtype == .int64)
        #expect(a.makeStrideView().strides.map(\.asInt) == [8, 1])
        let rows = try a.makeSlice([IntImm(2), IntImm(0)], [IntImm(3), IntImm(8)])
        #expect(rows.strides.isEmpty && rows.elemOffset.asInt == 16)
        let box = try a.makeSlice([IntImm(2), IntImm(1)], [IntImm(3), IntImm(4)])
        #expect(box.strides.map(\.asInt) == [8, 1] && box.elemOffset.asInt == 17)
        #expect(code { _ = try a.makeSlice([n], [n]) } == "TIR153")
        let d = Buffer.declare("D", [n], strided: true, offsetFactor: 4)
        #expect(d.offsetFactor == 4 && d.strides.count == 1 && d.elemOffset is Var)
        expectRoundTrip(PrimFunc(buffers: [d], body: BufferStore(d, FloatImm(0), [IntImm(0)])))
    }

    @Test func argBinder() throws {
        let n = Var("n")
        let declared = Buffer.declare("A", [n, n * 2], strided: true)
        let given = Buffer("X", [IntImm(4), IntImm(8)], alignment: 0)
        let b = ArgBinder()
        try b.bind(declared, to: given, "A")
        #expect(b.definitions.map(\.variable.name) == ["A", "n", "A_s0", "A_s1"])
        #expect(b.asserts.isEmpty)
        #expect(b.value(of: n)?.asInt == 4)
        // What cannot be decided becomes an assertion.
        let m = Var("m")
        let c = ArgBinder(code: "RT105")
        try c.bind(declared, to: Buffer("Y", [IntImm(4), m], alignment: 0), "A")
        #expect(c.asserts.map(\.code) == ["RT105"])
        let wrapped = c.wrap(Evaluate(n))
        #expect("\(wrapped)".contains("n: T.int64 = 4") && "\(wrapped)".contains("assert"))
        #expect(
            code { try ArgBinder().bind(declared, to: Buffer("Z", [IntImm(4), IntImm(9)]), "A") } == "TIR157")
        #expect(code { try ArgBinder().bind(declared, to: Buffer("Z", [4, 8], .int8), "A") } == "TIR157")
        #expect(
            code { try ArgBinder().bind(declared, to: Buffer("Z", [4, 8], scope: "local"), "A") } == "TIR157")
        // Leading dimensions of one, vectors for rows.
        #expect(
            code { try ArgBinder().bind(declared, to: Buffer("Z", [1, 4, 8], alignment: 0), "A") } == "TIR157"
        )
        let fuzzy = ArgBinder()
        try fuzzy.bind(declared, to: Buffer("Z", [1, 4, 8], alignment: 0), "A", fuzzy: true)
        #expect(fuzzy.value(of: n)?.asInt == 4)
        let vectors = Buffer("V", [IntImm(4)], DataType.float32.with(lanes: 8), alignment: 0)
        try ArgBinder().bind(vectors, to: Buffer("Z", [4, 8], alignment: 0), "V", fuzzy: true)
        // Strides of a compact declaration, offsets of a factor.
        let s = Var("s")
        let strided = Buffer(
            data: Var("z", type: PointerType(PrimType(.float32))), dtype: .float32,
            shape: [IntImm(4), IntImm(8)],
            strides: [s, IntImm(1)], elemOffset: IntImm(6), name: "Z")
        let compact = ArgBinder()
        try compact.bind(Buffer.declare("A", [IntImm(4), IntImm(8)], offsetFactor: 2), to: strided, "A")
        #expect(compact.asserts.count == 1)
        #expect(
            code {
                try ArgBinder().bind(
                    Buffer.declare("A", [IntImm(4), IntImm(8)], offsetFactor: 4), to: strided, "A")
            }
                == "TIR157")
    }
}

@Suite struct DeviceAnalysisTests {
    init() { TIRNodes.registerAll() }

    private let kernel = """
        @T.prim_func
        def k(A: T.Buffer((64,), "float32")):
            T.func_attr({"target": "cuda"})
            for b in T.thread_binding(2, thread="blockIdx.x"):
                for t in T.thread_binding(32, thread="threadIdx.x"):
                    for v in T.thread_binding(3, thread="vthread"):
                        S = T.allocate((256,), "float32", scope="shared")
                        L = T.allocate((8,), "float32", scope="local")
                        A[T.Ramp(t * 4, 1, 4)] = A[T.Ramp(t * 4, 1, 4)]

        """

    @Test func memory() throws {
        let f = try TIRParser.parseFunction(kernel)
        #expect(memoryViolation(f) == nil)
        let host = PrimFunc(
            buffers: [Buffer("A", [4])], body: Evaluate.noOp, attrs: attrs(("target", .string("cuda"))))
        let a = host.bufferMap[0].buffer
        let bad = host.with(body: BufferStore(a, BufferLoad(a, [IntImm(0)]), [IntImm(1)]))
        #expect(memoryViolation(bad) != nil)
        #expect(code { try verifyMemory(bad) } == "TIR158")
        #expect(memoryViolation(bad, targetKind: "llvm") == nil)
        #expect(
            memoryViolation(
                host.with(body: Evaluate(intrinsic("address_of", .handle, [BufferLoad(a, [IntImm(0)])]))))
                == nil)
    }

    @Test func limits() throws {
        let f = try TIRParser.parseFunction(kernel)
        #expect(gpuViolations(f, GPULimits()) == [])
        #expect(
            gpuViolations(f, GPULimits(maxThreadsPerBlock: 16)) == [
                "the number of threads of a block is 32, allowed 16"
            ])
        #expect(
            gpuViolations(f, GPULimits(maxLocalMemoryPerBlock: 31, maxSharedMemoryPerBlock: 1023)) == [
                "local memory of a block in bytes is 32, allowed 31",
                "shared memory of a block in bytes is 1024, allowed 1023",
            ])
        #expect(
            gpuViolations(f, GPULimits(maxThreadX: 31)) == ["the extent of threadIdx.x is 32, allowed 31"])
        #expect(
            gpuViolations(f, GPULimits(maxVThread: 2)) == ["the number of virtual threads is 3, allowed 2"])
        #expect(
            gpuViolations(f, GPULimits(maxVectorBytes: 8)) == [
                "a store to A: its vector in bytes is 16, allowed 8",
                "a load of A: its vector in bytes is 16, allowed 8",
            ])
        #expect(gpuViolations(f, GPULimits(maxKernels: 0)) == ["the number of kernels is 1, allowed 0"])
        #expect(code { try verifyGPUCode(f, GPULimits(maxThreadX: 31)) } == "TIR159")
    }

    @Test func structure() throws {
        let x = Var("x")
        let y = Var("y")
        let a = Buffer("A", [4], .int64)
        let e = { (v: Var) -> PrimExpr in Select(LT(v, IntImm(3)), BufferLoad(a, [v]), tir.abs(v) * 4) }
        #expect(exprDeepEqual(e(x), e(x)) && !exprDeepEqual(e(x), e(y)))
        #expect(!exprDeepEqual(FloatImm(0), FloatImm(-0.0)) && exprDeepEqual(FloatImm(.nan), FloatImm(.nan)))
        #expect(exprUsesVar(e(x)) { $0 === x } && !exprUsesVar(e(x)) { $0 === y })
        #expect(
            exprComplexity(x) == 0 && exprComplexity(x + 1) == 1 && exprComplexity(e(x)) == 1 + 1 + 4 + 20 + 1
        )
        let f = try TIRParser.parseFunction(
            """
            @T.prim_func
            def f(P: T.Buffer((4,), "int64")):
                U = T.allocate((4,), "int64")
                W = T.allocate((100,), "int8")
                for i in range(4):
                    U[i] = P[i]
                    for j in range(4):
                        W[j] = T.int8(1)
                    for k in range(4):
                        W[k] = W[k]

            """)
        let lca = detectBufferAccessLCA(f).map { b, s in
            "\(b.name): \((s as? For)?.loopVar.name ?? s.map { $0.schema.key } ?? "root")"
        }
        #expect(lca == ["U: i", "P: root", "W: i"] || lca == ["P: root", "U: i", "W: i"])
        #expect(calculateWorkspaceBytes(f) == 64 + 128)
        #expect(calculateWorkspaceBytes(f, alignment: 1) == 132)
    }
}
