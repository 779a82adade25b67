import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRTransforms
import Testing

@Suite struct StorageRewriteTests {
    func rewritten(
        _ text: String, options: StorageRewriteOptions = StorageRewriteOptions(),
        _ location: SourceLocation = #_sourceLocation
    ) throws -> PrimFunc {
        let f = try parse(text)
        let g = try storageRewrite(f, options: options)
        try verifyWellFormed(g)
        try expectSame(f, g, [:], location)
        #expect(allocatedBytes(g) <= allocatedBytes(f), sourceLocation: location)
        #expect(
            structuralEqual(try storageRewrite(g, options: options), g), "not idempotent",
            sourceLocation: location)
        return g
    }
    func allocations(_ f: PrimFunc) -> [Int] {
        var sizes: [Int] = []
        postOrderVisit(
            f.body, stmt: { s in if let a = s as? Allocate { sizes.append(a.buffer.staticShape?[0] ?? -1) } })
        return sizes
    }

    @Test func turnsInOnePiece() throws {
        try expectPass(
            { try storageRewrite($0) },
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
                with T.allocate():
                    B = T.allocate((8,), "float32")
                    for i in range(8):
                        B[i] = A[i] * T.float32(2)
                    for i in range(8):
                        C[i] = B[7 - i]
                D = T.allocate((4,), "float32")
                for i in range(4):
                    D[i] = C[i] + T.float32(1)
                for i in range(4):
                    A[i] = D[3 - i]
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
                B = T.allocate((8,), "float32")
                for i in range(8):
                    B[i] = A[i] * T.float32(2)
                for i in range(8):
                    C[i] = B[7 - i]
                for i in range(4):
                    B[i] = C[i] + T.float32(1)
                for i in range(4):
                    A[i] = B[3 - i]
            """)
    }

    @Test func chainsNeedTwo() throws {
        // b is read while c is written, and so on: two pieces for four buffers.
        let g = try rewritten(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                B = T.allocate((8,), "float32")
                C = T.allocate((8,), "float32")
                D = T.allocate((8,), "float32")
                E = T.allocate((8,), "float32")
                for i in range(8):
                    B[i] = A[i]
                for i in range(8):
                    C[i] = B[7 - i] + T.float32(1)
                for i in range(8):
                    D[i] = C[7 - i] + T.float32(1)
                for i in range(8):
                    E[i] = D[7 - i] + T.float32(1)
                for i in range(8):
                    A[i] = E[7 - i]
            """)
        #expect(allocations(g) == [8, 8])
    }

    @Test func elementByElementInPlace() throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                B = T.allocate((8,), "float32")
                C = T.allocate((8,), "float32")
                D = T.allocate((8,), "float32")
                for i in range(8):
                    B[i] = A[i]
                for i in range(8):
                    C[i] = B[i] + T.float32(1)
                for i in range(8):
                    D[i] = C[i] * C[i]
                for i in range(8):
                    A[i] = D[i]
            """
        #expect(allocations(try rewritten(text)) == [8])
        #expect(allocations(try rewritten(text, options: StorageRewriteOptions(inPlace: false))) == [8, 8])
    }

    static let notInPlace: [String] = [
        // The value moves.
        "for i in range(8):\n        C[i] = B[7 - i]",
        // Each element is read again in the next turn.
        "for r, i in T.grid(2, 8):\n        C[i] = B[i] + T.float32(1)",
        // Two turns write one element.
        "for i in range(16):\n        C[i // 2] = B[i // 2] + A[0]",
        // The operand is read in another statement of the loop as well.
        "for i in range(8):\n        C[i] = B[i]\n        A[i] = B[7 - i]",
        "for i in range(8):\n        t: T.int64 = 7 - i\n        C[t] = B[i]",
    ]
    @Test(arguments: notInPlace) func operandMustStay(_ statement: String) throws {
        let g = try rewritten(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                B = T.allocate((8,), "float32")
                C = T.allocate((8,), "float32")
                for i in range(8):
                    B[i] = A[i]
                \(statement)
                for i in range(8):
                    A[i] = C[i]
            """)
        #expect(allocations(g).count == 2)
    }

    @Test func loopsKeepWhatTheyCarry() throws {
        // B is needed in each turn: C may not have its memory although it is touched later only.
        let g = try rewritten(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                B = T.allocate((8,), "float32")
                for i in range(8):
                    B[i] = A[i]
                for r in range(3):
                    for i in range(8):
                        A[i] = A[i] + B[i]
                    C = T.allocate((8,), "float32")
                    for i in range(8):
                        C[i] = A[7 - i]
                    for i in range(8):
                        A[i] = C[i]
            """)
        #expect(allocations(g).count == 2)
    }

    @Test func insideOfALoop() throws {
        let g = try rewritten(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for r in range(3):
                    with T.allocate():
                        B = T.allocate((8,), "float32")
                        for i in range(8):
                            B[i] = A[i] + T.float32(1)
                        for i in range(8):
                            A[i] = B[7 - i]
                    C = T.allocate((8,), "float32")
                    for i in range(8):
                        C[i] = A[7 - i]
                    for i in range(8):
                        A[i] = C[i]
            """)
        #expect(allocations(g) == [8])
        #expect(g.body is Allocate)
    }

    @Test func threadsDoNotShare() throws {
        let g = try rewritten(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
                for p in T.parallel(2):
                    with T.allocate():
                        B = T.allocate((4,), "float32")
                        for i in range(4):
                            B[i] = A[p * 4 + i]
                        for i in range(4):
                            C[p * 4 + i] = B[3 - i]
                    D = T.allocate((4,), "float32")
                    for i in range(4):
                        D[i] = C[p * 4 + i]
                    for i in range(4):
                        C[p * 4 + i] = D[3 - i] + T.float32(1)
            """)
        #expect(allocations(g) == [4])
        #expect((g.body as? For)?.body is Allocate)
    }

    @Test func pointersLiveLong() throws {
        let g = try rewritten(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                B = T.allocate((8,), "float32")
                C = T.allocate((8,), "float32")
                B[0] = A[0]
                T.evaluate(T.address_of(B[0], dtype="handle"))
                A[0] = B[0]
                C[0] = A[1]
                A[1] = C[0]
            """)
        #expect(allocations(g).count == 2)
    }

    @Test func typesAndSizesThatDoNotFit() throws {
        let g = try rewritten(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), X: T.Buffer((8,), "int64")):
                with T.allocate():
                    B = T.allocate((8,), "float32")
                    B[0] = A[0]
                    A[1] = B[0]
                with T.allocate():
                    C = T.allocate((8,), "int64")
                    C[0] = X[0]
                    X[1] = C[0]
                with T.allocate():
                    D = T.allocate((4096,), "float32")
                    D[4000] = A[0]
                    A[1] = D[4000]
                R = T.allocate((8,), "float32", scope="local")
                R[0] = A[0]
                A[1] = R[0]
            """)
        #expect(allocations(g).count == 4)
    }

    @Test func specialMemory() throws {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), X: T.Buffer((8,), "int64")):
                B = T.allocate((5,), "float32", scope="shared")
                C = T.allocate((3,), "int64", scope="shared")
                for i in range(3):
                    C[i] = X[i]
                for i in range(5):
                    B[i] = A[i]
                for i in range(3):
                    A[i] = B[4 - i]
                    X[i] = C[2 - i]
            """
        let f = try parse(text)
        let options = StorageRewriteOptions(memories: ["shared": MemoryInfo(unitBytes: 16, maxBytes: 64)])
        let g = try storageRewrite(f, options: options)
        try verifyWellFormed(g)
        try expectSame(f, g)
        #expect(allocations(g) == [56])
        let small = StorageRewriteOptions(memories: ["shared": MemoryInfo(unitBytes: 16, maxBytes: 32)])
        #expect(errorCode { _ = try storageRewrite(f, options: small) } == "TTR013")
    }
}

@Suite struct TypePassTests {
    let bf16 = """
        @T.prim_func
        def main(A: T.Buffer((16,), "bfloat16"), B: T.Buffer((16,), "bfloat16"), C: T.Buffer((16,), "bfloat16"), D: T.Buffer((16,), "float32"), E: T.Buffer((16,), "float64")):
            for i in range(16):
                T_ = T.allocate((1,), "bfloat16")
                T_[0] = A[i] + B[i]
                x: T.bfloat16 = T_[0] * A[i]
                C[i] = T.if_then_else(A[i] < B[i], x, T.max(x, T.bfloat16(1.5)))
                D[i] = T.Cast("float32", T.sqrt(T.fabs(C[i]))) + D[i]
                C[i] = C[i] + T.Cast("bfloat16", D[i]) + T.Cast("bfloat16", E[i]) + T.Cast("bfloat16", i)
        """

    /// The bits of random bfloat16 values, NaN and infinities among them, as uint16; floats as floats.
    func inputs(_ f: PrimFunc, asBits: Bool) -> [NDArray] {
        var r = Random(3)
        return f.bufferMap.enumerated().map { i, b in
            let count = b.buffer.staticShape?[0] ?? 0
            let bits = i < 3
            let a = NDArray(shape: [count], dtype: bits ? (asBits ? .uint16 : .bfloat16) : b.buffer.dtype)
            for k in 0..<count {
                if bits {
                    let special: [UInt16] = [0x7FC0, 0x7F80, 0xFF80, 0x0000, 0x8000, 0x3F80]
                    let v =
                        k < special.count ? special[k] : UInt16(truncatingIfNeeded: 0x3E00 + r.below(0x300))
                    a.data.assumingMemoryBound(to: UInt16.self)[k] = v
                } else if i == 3 {
                    a.data.assumingMemoryBound(to: Float.self)[k] = Float(r.below(1000)) * 0.37
                } else {
                    // Near ties of bfloat16 that float32 would turn into ties.
                    let tie = 1 + Double(2 * r.below(64) + 1) / 256
                    a.data.assumingMemoryBound(to: Double.self)[k] =
                        tie * (1 + Double(r.below(3) - 1) * 1e-12)
                }
            }
            return a
        }
    }
    func bits(_ a: NDArray) -> [UInt64] {
        let n = a.shape[0]
        switch a.dtype.bits {
        case 16: return (0..<n).map { UInt64(a.data.assumingMemoryBound(to: UInt16.self)[$0]) }
        case 32: return (0..<n).map { UInt64(a.data.assumingMemoryBound(to: UInt32.self)[$0]) }
        default: return (0..<n).map { a.data.assumingMemoryBound(to: UInt64.self)[$0] }
        }
    }

    @Test func bfloat16AsBits() throws {
        let f = try parse(bf16)
        let promoted = bf16Promote(f)
        try verifyWellFormed(promoted)
        #expect(bf16Promote(promoted) === promoted)
        let g = try bf16TypeLowering(promoted)
        try verifyWellFormed(g)
        #expect(countExpr(g) { $0.dtype.element == .bfloat16 } == 0)
        #expect(try bf16TypeLowering(g) === g)
        let x = inputs(f, asBits: false)
        let y = inputs(f, asBits: true)
        try TIRInterpreter.run(f, x)
        try TIRInterpreter.run(g, y)
        for (a, b) in zip(x, y) {
            for (p, q) in zip(bits(a), bits(b)) {
                let nan = a.dtype == .bfloat16 && p & 0x7FFF > 0x7F80 && q & 0x7FFF > 0x7F80
                #expect(p == q || nan)
            }
        }
    }

    @Test func castsBetweenOperationsGo() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "bfloat16"), B: T.Buffer((16,), "bfloat16")):
                for i in range(16):
                    B[i] = A[i] * A[i] + A[i]
            """)
        let promoted = bf16Promote(f)
        let fused = bf16CastElimination(promoted)
        #expect(countExpr(promoted) { $0.kind == .cast } == 6)
        #expect(countExpr(fused) { $0.kind == .cast } == 4)
        let g = try bf16Legalize(f)
        try verifyWellFormed(g)
        #expect(countExpr(g) { $0.dtype.element == .bfloat16 } == 0)
    }

    @Test func arithmeticMustBePromotedFirst() throws {
        let f = try parse(bf16)
        #expect(errorCode { _ = try bf16TypeLowering(f) } == "TTR040")
    }

    @Test func otherTypesAreLeftAlone() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((16,), "float32")):
                for i in range(16):
                    A[i] = A[i] + T.float32(1)
            """)
        #expect(try bf16Legalize(f) === f)
    }

    // MARK: Narrow indices

    @Test func indicesThatFit() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
                for i, j in T.grid(8, 8):
                    if i * 8 + j < 60:
                        t: T.int64 = i + j
                        B[i * 8 + j] = A[t * 2] + T.Cast("float32", i * 3)
            """)
        let g = try narrowDataType(f, bits: 32)
        try verifyWellFormed(g)
        try expectSame(f, g)
        #expect(countExpr(g) { $0.dtype == .int64 } == 0)
        #expect(try narrowDataType(g, bits: 32) === g)
    }

    @Test func boundsDecide() throws {
        // 200 * 200 does not fit 16 bits, 200 does; nothing here fits 8.
        let text = """
            @T.prim_func
            def main(A: T.Buffer((40000,), "float32")):
                for i, j in T.grid(200, 200):
                    A[i * 200 + j] = A[i * 200 + j] + T.float32(1)
            """
        let f = try parse(text)
        let g = try narrowDataType(f, bits: 16)
        try verifyWellFormed(g)
        try expectSame(f, g)
        #expect(count(g) { ($0 as? For)?.loopVar.dtype == .int16 } == 2)
        #expect(countExpr(g) { $0.kind == .mul && $0.dtype == .int64 } == 2)
        #expect(try narrowDataType(f, bits: 8) === f)
        #expect(try narrowDataType(g, bits: 16) === g)
    }

    @Test func symbolicShapesStayWide() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(A: T.Buffer((n,), "float32")):
                for i in range(n):
                    A[i] = T.float32(1)
            """)
        #expect(try narrowDataType(f, bits: 32) === f)
    }

    @Test func dataKeepsItsType() throws {
        let f = try parse(
            """
            @T.prim_func
            def main(X: T.Buffer((8,), "int64"), A: T.Buffer((64,), "float32")):
                for i in range(8):
                    X[i] = X[i] + i * 2
                    A[T.Ramp(i * 8, 1, 8)] = A[T.Ramp(i * 8, 1, 8)] + T.Broadcast(A[X[i] % 64], 8)
            """)
        let g = try narrowDataType(f, bits: 32)
        try verifyWellFormed(g)
        try expectSame(f, g)
    }

    @Test func narrowingRefuses() throws {
        let f = try parse(matmul)
        #expect(errorCode { _ = try narrowDataType(f, bits: 32) } == "TTR042")
        #expect(errorCode { _ = try narrowDataType(f, bits: 12) } == "TTR041")
    }
}

@Suite struct LongFunctionTests {
    /// 100,000 statements one after another, and as many nested in each other.
    @Test func everyPassIsLinear() throws {
        let b = Buffer("A", [4], .float32)
        var list: [Stmt] = []
        let n = 100_000
        list.reserveCapacity(n)
        for k in 0..<n / 10 {
            let i = Var("i")
            let t = Buffer("T", [4], .float32)
            let first = BufferStore(t, BufferLoad(b, [i]), [i])
            let second = BufferStore(b, BufferLoad(t, [i]) + const(1.0, .float32), [i])
            let guarded = IfThenElse(intrinsic("likely", .bool, [binary(.lt, i, IntImm(k % 5))]), second)
            list.append(Allocate(t, For(i, IntImm(0), IntImm(4), body: SeqStmt.flat([first, guarded]))))
            for j in 0..<4 { list.append(BufferStore(b, const(Double(j), .float32), [IntImm(j)])) }
        }
        let f = PrimFunc(buffers: [b], body: SeqStmt(list))
        var nested: Stmt = BufferStore(b, const(1.0, .float32), [IntImm(0)])
        for k in 0..<n {
            let v = Var("v")
            nested = LetStmt(
                v, IntImm(k % 3),
                k % 2 == 0 ? nested : SeqStmt([BufferStore(b, const(2.0, .float32), [v]), nested]))
        }
        let deep = PrimFunc(buffers: [b], body: nested)
        let clock = ContinuousClock()
        for (name, pass) in allPasses {
            for (shape, g) in [("long", f), ("deep", deep)] {
                var failed: String?
                let time = clock.measure {
                    do { _ = try pass(g) } catch { failed = "\(error)" }
                }
                // A quadratic pass takes minutes, even where nothing else runs.
                #expect(time < .seconds(60), "\(name) on the \(shape) function: \(time)")
                #expect(failed == nil, "\(name) on the \(shape) function: \(failed ?? "")")
            }
        }
    }

    let allPasses: [(String, (PrimFunc) throws -> PrimFunc)] = {
        var t: [(String, (PrimFunc) throws -> PrimFunc)] = []
        t.append(("Simplify", { simplifyTIR($0) }))
        t.append(("RemoveNoOp", { removeNoOp($0) }))
        t.append(("HoistIfThenElse", { hoistIfThenElse($0) }))
        t.append(("LoopPartition", { loopPartition($0) }))
        t.append(("VectorizeLoop", { vectorizeLoop($0) }))
        t.append(("UnrollLoop", { unrollLoop($0) }))
        t.append(("TransposeTiles", { transposeTiles($0) }))
        t.append(("CombineLanes", { combineLanes($0) }))
        t.append(("InstrumentBoundCheckers", { instrumentBoundCheckers($0) }))
        t.append(("FlattenBuffer", { flattenBuffer($0) }))
        t.append(("StorageRewrite", { try storageRewrite($0) }))
        t.append(("NarrowDataType", { try narrowDataType($0) }))
        t.append(("BF16Legalize", { try bf16Legalize($0) }))
        t.append(("InjectVirtualThread", { try injectVirtualThread($0) }))
        t.append(("InjectSoftwarePipeline", { try injectSoftwarePipeline($0) }))
        t.append(("InjectDoubleBuffer", { try injectDoubleBuffer($0) }))
        t.append(("InjectPrefetch", { try injectPrefetch($0) }))
        t.append(("LiftAttrScope", { liftAttrScope($0, key: "x") }))
        t.append(("RewriteUnsafeSelect", { rewriteUnsafeSelect($0) }))
        t.append(("SkipAssert", { skipAssert($0) }))
        t.append(("ConvertForLoopsToSerial", { convertForLoopsToSerial($0) }))
        t.append(("HoistAllocation", { hoistAllocation($0) }))
        return t
    }()
}
