import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRTransforms
import Testing

@Suite struct WarpMemoryTests {
    private func run(_ before: String, _ after: String, _ location: SourceLocation = #_sourceLocation) throws
    {
        try expectText({ try lowerWarpMemory($0, warpSize: 32) }, before, after, location)
    }

    @Test("each lane keeps what it stores; another's element comes by shuffle")
    func rotate() throws {
        let before = """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
                for b in T.thread_binding(2, thread="blockIdx.x"):
                    for t in T.thread_binding(32, thread="threadIdx.x"):
                        W = T.allocate((32,), "float32", scope="warp")
                        W[t] = A[b * 32 + t]
                        B[b * 32 + t] = W[(t + 1) % 32] + W[t]
            """
        try run(
            before,
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
                for b in T.thread_binding(2, thread="blockIdx.x"):
                    for t in T.thread_binding(32, thread="threadIdx.x"):
                        W = T.allocate((1,), "float32", scope="local")
                        W[0] = A[b * 32 + t]
                        B[b * 32 + t] = T.warp_shuffle(T.warp_activemask(dtype="uint32"), W[0], T.Cast("int32", (t + 1) % 32), T.int32(32), T.int32(32), dtype="float32") + W[0]
            """)
        let f = try parse(before)
        let x = tensors(f)
        try TIRInterpreter.run(convertThreadsToLoops(try lowerWarpMemory(f, warpSize: 32)), x)
        let a = try x[0].toArray(Float.self)
        let sums = (0..<64).map { (i: Int) -> Float in a[i / 32 * 32 + (i + 1) % 32] + a[i] }
        #expect(try x[1].toArray(Float.self) == sums)
    }

    @Test("two elements a lane, half a warp, two groups of threads")
    func runs() throws {
        let before = """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
                for y in T.thread_binding(2, thread="threadIdx.y"):
                    for t in T.thread_binding(16, thread="threadIdx.x"):
                        W = T.allocate((32,), "float32", scope="warp")
                        for i in range(2):
                            W[t * 2 + i] = A[y * 32 + t * 2 + i]
                        for i in range(2):
                            B[y * 32 + t * 2 + i] = W[30 - t * 2 + i]
            """
        let f = try parse(before)
        let g = try lowerWarpMemory(f, warpSize: 32)
        #expect(count(g) { ($0 as? Allocate)?.buffer.staticShape == [2] } == 1)
        #expect(count(g) { ($0 as? Allocate)?.buffer.scope == "warp" } == 0)
        let x = tensors(f)
        try TIRInterpreter.run(convertThreadsToLoops(g), x)
        let a = try x[0].toArray(Float.self)
        let want: [Float] = (0..<64).map { (i: Int) -> Float in
            let lane: Int = i % 32 / 2
            let at: Int = 30 - lane * 2 + i % 2
            return a[i / 32 * 32 + at]
        }
        #expect(try x[1].toArray(Float.self) == want)
    }

    @Test func refusals() throws {
        func kernel(_ store: String, _ load: String) -> String {
            """
            @T.prim_func
            def main(A: T.Buffer((32,), "float32"), B: T.Buffer((32,), "float32")):
                for t in T.thread_binding(32, thread="threadIdx.x"):
                    W = T.allocate((64,), "float32", scope="warp")
                    \(store)
                    \(load)
            """
        }
        let lower: (PrimFunc) throws -> PrimFunc = { try lowerWarpMemory($0, warpSize: 32) }
        try expectRefused("TTR058", lower, kernel("W[t * t] = A[t]", "B[t] = W[t]"))
        try expectRefused("TTR058", lower, kernel("W[(t + 1) % 32] = A[t]", "B[t] = W[t]"))
        try expectRefused(
            "TTR059", lower,
            kernel(
                "W[t] = A[t]",
                "B[t] = T.if_then_else(t < 4, W[(t + 1) % 32], T.float32(0), dtype=\"float32\")"))
    }
}

@Suite struct FragmentTests {
    private func product(_ k: Int, _ layout: String = "row_major") -> String {
        """
        @T.prim_func
        def main(A: T.Buffer((256,), "float16"), C: T.Buffer((256,), "float32")):
            FA = T.allocate((256,), "float16", scope="wmma.matrix_a")
            FC = T.allocate((256,), "float32", scope="wmma.accumulator")
            T.evaluate(T.fill_fragment(FC.data, 16, 16, 16, 0, T.float32(0), dtype="void"))
            T.evaluate(T.load_matrix_sync(FA.data, 16, 16, \(k), 0, T.address_of(A[0]), 16, "\(layout)", dtype="void"))
            T.evaluate(T.load_matrix_sync(FA.data, 16, 16, 16, 0, T.address_of(A[0]), 16, "row_major", dtype="void"))
            T.evaluate(T.mma_sync(FC.data, 0, FA.data, 0, FA.data, 0, FC.data, 0, dtype="void"))
            T.evaluate(T.store_matrix_sync(FC.data, 16, 16, 16, 0, T.address_of(C[0]), 16, "row_major", dtype="void"))
        """
    }

    @Test func shapesAndLayouts() throws {
        let g = try inferFragment(parse(product(16)))
        var marks: [String] = []
        postOrderVisit(
            g.body,
            stmt: { s in
                if let a = s as? AttrStmt, let v = a.node as? Var, let text = a.value as? StringImm {
                    marks.append("\(v.name) \(a.key) \(text.value)")
                }
            })
        #expect(
            marks == [
                "FC fragment_shape 16, 16, 16", "FA fragment_layout row_major",
                "FA fragment_shape 16, 16, 16",
            ])
        try verifyWellFormed(g)
        #expect(try inferFragment(g) === g)
        #expect(structuralEqual(try parse("\(g)"), g))
    }

    @Test func disagreement() throws {
        try expectRefused("TTR060", inferFragment, product(8))
        try expectRefused("TTR060", inferFragment, product(16, "col_major"))
    }
}

@Suite struct DynamicSharedMemoryTests {
    @Test("one buffer of bytes; what is not in use at the same time shares them")
    func merge() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
                for b in T.thread_binding(1, thread="blockIdx.x"):
                    X = T.allocate((8,), "float32", scope="shared.dyn")
                    Y = T.allocate((3,), "int64", scope="shared.dyn")
                    Z = T.allocate((8,), "float32", scope="shared.dyn")
                    for t in T.thread_binding(8, thread="threadIdx.x"):
                        X[t] = A[t]
                        Y[t % 3] = T.int64(7)
                        Z[t] = T.Cast("float32", Y[t % 3])
                        B[t] = Z[t] + T.float32(1)
            """)
        let g = try mergeDynamicSharedMemoryAllocations(f)
        try verifyWellFormed(g)
        var sizes: [Int] = []
        postOrderVisit(
            g.body, stmt: { s in if let a = s as? Allocate { sizes.append(a.buffer.staticShape?[0] ?? -1) } })
        // X, then Y and Z: Z lies where X was.
        #expect(sizes == [64])
        #expect(try mergeDynamicSharedMemoryAllocations(g) === g)
        #expect(structuralEqual(try parse("\(g)"), g))
        let synced = try threadSync(g, scope: "shared")
        let x = tensors(f)
        try TIRInterpreter.run(convertThreadsToLoops(synced), x)
        #expect(try x[1].toArray(Float.self) == Array(repeating: 8, count: 8))
        let kernels = try splitHostDevice(IRModule(synced))
        #expect((kernels["main_kernel0"] as? PrimFunc)?.attrs.int("tir.dyn_shared_bytes") == 64)
        let host = "\(lowerKernelLaunch(kernels)["main"]!)"
        #expect(host.contains("1, 8, 64"))
    }
}

@Suite struct VectorTypeTests {
    @Test func float4() throws {
        try expectPass(
            pointerValueTypeRewrite,
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32"), C: T.Buffer((64,), "float32")):
                L = T.allocate((8,), "float32", scope="local")
                for i in range(8):
                    L[T.Ramp(0, 1, 4)] = A[T.Ramp(i * 8 + 4, 1, 4)]
                    L[T.Ramp(4, 1, 4)] = A[T.Ramp(i * 8, 1, 4)]
                    B[T.Ramp(i * 8, 1, 4)] = L[T.Ramp(4, 1, 4)]
                    C[T.Ramp(i * 4 + 1, 1, 4)] = L[T.Ramp(0, 1, 4)]
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32"), C: T.Buffer((64,), "float32")):
                A4 = T.decl_buffer((16,), "float32x4", data=A.data, align=0)
                B4 = T.decl_buffer((16,), "float32x4", data=B.data, align=0)
                L = T.allocate((2,), "float32x4", scope="local")
                for i in range(8):
                    L[0] = A4[i * 2 + 1]
                    L[1] = A4[i * 2]
                    B4[i * 2] = L[1]
                    C[T.Ramp(i * 4 + 1, 1, 4)] = L[0]
            """)
    }
}

@Suite struct TextureTests {
    @Test(
        "rows and columns by the layout",
        arguments: ["global.texture", "global.texture-weight", "global.texture-nhwc"])
    func fold(_ scope: String) throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((2, 3, 5, 2, 4), "float32"), B: T.Buffer((2, 3, 5, 2, 4), "float32")):
                X = T.allocate((2, 3, 5, 2, 4), "float32", scope="\(scope)")
                for a, b, c, d, e in T.grid(2, 3, 5, 2, 4):
                    X[a, b, c, d, e] = A[a, b, c, d, e]
                for a, b, c, d, e in T.grid(2, 3, 5, 2, 4):
                    B[a, b, c, d, e] = X[a, b, c, d, e] + X[1 - a, b, c, d, e]
            """
        let f = try parse(text)
        let g = try textureFlatten(f)
        try verifyWellFormed(g)
        try expectSame(f, g)
        #expect(try textureFlatten(g) === g)
        let shape = [
            "global.texture": [30, 2, 4], "global.texture-weight": [2, 30, 4],
            "global.texture-nhwc": [6, 10, 4],
        ]
        #expect(count(g) { ($0 as? Allocate)?.buffer.staticShape == shape[scope] } == 1)
        // Flattening leaves pixels alone.
        let h = flattenBuffer(g)
        #expect(count(h) { ($0 as? Allocate)?.buffer.rank == 3 } == 1)
        try expectSame(f, h)
    }

    @Test func refusals() throws {
        for (scope, shape, index) in [
            ("global.texture", "(4, 4)", "0, 0"), ("global.texture-odd", "(4, 4, 4)", "0, 0, 0"),
        ] {
            try expectRefused(
                "TTR064", textureFlatten,
                """
                @T.prim_func
                def main(A: T.Buffer((4,), "float32")):
                    X = T.allocate(\(shape), "float32", scope="\(scope)")
                    X[\(index)] = A[0]
                """)
        }
    }
}

@Suite struct HostDeviceTests {
    @Test func split() throws {
        let m = try splitHostDevice(
            IRModule(
                try parse(
                    """
                    @T.prim_func
                    def main(A: T.Buffer((n,), "float32"), B: T.Buffer((n,), "float32"), s: T.float32):
                        T.func_attr({"tir.noalias": True})
                        X = T.allocate((n,), "float32")
                        for b in T.thread_binding(n, thread="blockIdx.x"):
                            X[b] = A[b] * s
                        for b in T.thread_binding(n, thread="blockIdx.x"):
                            B[b] = X[b] + A[b]
                    """)))
        #expect(m.globals.map(\.name) == ["main", "main_kernel0", "main_kernel1"])
        let kernel = try #require(m["main_kernel1"] as? PrimFunc)
        #expect(
            kernel.params.filter { $0.dtype.isHandle }.map(\.name) == ["X", "A", "B"]
                || kernel.params.count == 4)
        #expect(kernel.attrs.bool("tir.noalias") == true)
        for f in m.functions {
            let g = try #require(f as? PrimFunc)
            #expect(structuralEqual(try parse("\(g)"), g))
        }
        try verifyWellFormed(m)
        #expect(try splitHostDevice(m) === m)
        let a = NDArray([1, 2, 3] as [Float], shape: [3])
        let b = NDArray(shape: [3], dtype: .float32)
        let host = try #require(m["main"] as? PrimFunc)
        try TIRInterpreter.run(host, args: [.array(a), .array(b), .float(10)], module: try threadsAsLoops(m))
        #expect(try b.toArray(Float.self) == [11, 22, 33])
    }

    @Test("the whole function as code of the device")
    func scope() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
                for i in range(4):
                    B[i] = A[i]
            """)
        let g = decorateDeviceScope(f)
        #expect(decorateDeviceScope(g) === g)
        try expectSame(f, g)
        let m = try splitHostDevice(IRModule(g))
        #expect(m.globals.count == 2)
        let x = tensors(f)
        try TIRInterpreter.run(try #require(m["main"] as? PrimFunc), x, module: m)
        #expect(x[0].hasSameContents(as: x[1]))
    }

    @Test func refusals() throws {
        func kernel(_ scope: String, outside: Bool) -> String {
            let allocation = "X = T.allocate((4,), \"float32\"\(scope.isEmpty ? "" : ", scope=\"\(scope)\""))"
            return """
                @T.prim_func
                def main(A: T.Buffer((4,), "float32")):
                \(outside ? "    " + allocation : "    pass")
                    for b in T.thread_binding(4, thread="blockIdx.x"):
                \(outside ? "        A[0] = T.float32(1)" : "        " + allocation)
                        X[b] = T.float32(0)
                        A[b] = X[b]
                """
        }
        func split(_ f: PrimFunc) throws -> PrimFunc {
            try #require(try splitHostDevice(IRModule(f)).functions[0] as? PrimFunc)
        }
        try expectRefused("TTR063", split, kernel("", outside: false))
        try expectRefused("TTR063", split, kernel("local", outside: true))
    }

    @Test("a context is taken once a function and once a task")
    func contexts() throws {
        try expectText(
            combineContextCall,
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32"), h: T.handle):
                T.evaluate(T.call_extern("f", T.thread_context(h, dtype="handle"), dtype="void"))
                for i in T.parallel(4):
                    T.evaluate(T.call_extern("g", T.thread_context(h, dtype="handle"), i, dtype="void"))
                    T.evaluate(T.call_extern("h", T.thread_context(h, dtype="handle"), i, dtype="void"))
                T.evaluate(T.call_extern("f", T.thread_context(h, dtype="handle"), dtype="void"))
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((4,), "float32"), h: T.handle):
                context: T.handle = T.thread_context(h, dtype="handle")
                T.evaluate(T.call_extern("f", context, dtype="void"))
                for i in T.parallel(4):
                    task: T.handle = T.thread_context(h, dtype="handle")
                    T.evaluate(T.call_extern("g", task, i, dtype="void"))
                    T.evaluate(T.call_extern("h", task, i, dtype="void"))
                T.evaluate(T.call_extern("f", context, dtype="void"))
            """)
    }
}

@Suite struct StorageAccessTests {
    private static let memories = [
        "local.acc": MemoryInfo(unitBytes: 16, maxBytes: 512, headAddress: 16)
    ]

    @Test func addresses() throws {
        try expectText(
            { try lowerDeviceStorageAccessInfo($0, Self.memories) },
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32")):
                X = T.allocate((64,), "float32", scope="local.acc")
                for i in range(8):
                    T.evaluate(T.call_extern("f", T.access_ptr(T.type_annotation(dtype="float32"), X.data, i * 8, 8, 2, dtype="handle"), T.access_ptr(T.type_annotation(dtype="float32"), A.data, i * 8, 8, 1, dtype="handle"), dtype="void"))
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32")):
                A_1 = T.decl_buffer((1099511627776,), "float32", data=A.data, align=0)
                X: T.Ptr(T.float32, "local.acc") = T.reinterpret(16, dtype="handle")
                for i in range(8):
                    T.evaluate(T.call_extern("f", T.reinterpret(i * 2 + 16, dtype="handle"), T.address_of(A_1[i * 8]), dtype="void"))
            """)
    }

    @Test func refusals() throws {
        for (shape, type) in [("(65, 4)", "float32"), ("(n,)", "float32")] {
            try expectRefused(
                "TTR062", { try lowerDeviceStorageAccessInfo($0, Self.memories) },
                """
                @T.prim_func
                def main(A: T.Buffer((n,), "float32")):
                    X = T.allocate(\(shape), "\(type)", scope="local.acc")
                    A[0] = T.float32(0)
                """)
        }
    }
}
