import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

@Suite struct LayoutTests {
    @Test func names() throws {
        let l = try Layout("NCHW16c")
        #expect(l.rank == 5 && l.name == "NCHW16c" && "\(l)" == "NCHW16c")
        #expect(l.indexOf("C") == 1 && l.indexOf("c") == 4 && l.indexOf("n") == -1)
        #expect(l.factorOf("C") == 16 && l.factorOf("c") == 16 && l.factorOf("N") == -1)
        #expect(l.primal.name == "NCHW")
        #expect(try l.subLayout(1, 3).name == "CHW")
        #expect(try Layout("NHWC").split("C", at: 4, factor: 8).name == "NHWC8c")
        #expect(try Layout("").rank == 0)
        #expect(try Layout("OIHW4i8o").factorOf("O") == 8)
        #expect(try l == Layout("NCHW16c") && l != Layout("NCHW8c"))
    }

    @Test(arguments: ["NCc", "16C", "NCHW16", "NN", "N$", "CHW16n", "N99999999999999999999n", "NÄ"])
    func refused(_ name: String) {
        #expect(code { _ = try Layout(name) } == "TIR150")
    }

    @Test func shapesAndIndices() throws {
        let b = try BijectiveLayout(Layout("NCHW"), Layout("NCHW16c"))
        func ints(_ e: [PrimExpr]) -> [Int?] { e.map(\.asInt) }
        #expect(ints(try b.forwardShape([1, 32, 7, 7].map { IntImm($0) })) == [1, 2, 7, 7, 16])
        #expect(ints(try b.forwardShape([1, 30, 7, 7].map { IntImm($0) })) == [1, 2, 7, 7, 16])
        #expect(ints(try b.backwardShape([1, 2, 7, 7, 16].map { IntImm($0) })) == [1, 32, 7, 7])
        #expect(ints(try b.forwardIndex([0, 17, 3, 4].map { IntImm($0) })) == [0, 1, 3, 4, 1])
        #expect(ints(try b.backwardIndex([0, 1, 3, 4, 1].map { IntImm($0) })) == [0, 17, 3, 4])
        #expect(code { _ = try b.forwardShape([IntImm(1)]) } == "TIR151")
        #expect(code { _ = try b.backwardShape([1, 2, 7, 7, 8].map { IntImm($0) }) } == "TIR151")
        #expect(code { _ = try BijectiveLayout(Layout("NCHW"), Layout("NHW")) } == "TIR151")
    }

    /// Both directions are each other's inverse, also where axes are split twice.
    @Test(arguments: [
        ("OIHW", "IHW4i2o4i2O"), ("OIHW", "OIHW4i8o"), ("NCHW16c", "NHWC8c"), ("ABC", "CBA"),
        ("HW", "HW4h2w"),
    ])
    func inverse(_ names: (String, String)) throws {
        guard let to = try? Layout(names.1) else {
            #expect(names.1 == "IHW4i2o4i2O")
            return
        }
        let b = try BijectiveLayout(Layout(names.0), to)
        let shape = try Layout(names.0).axes.map { PrimExpr?.some(IntImm($0.factor ?? 16)) ?? IntImm(1) }
        let other = try b.forwardShape(shape).map { $0.asInt ?? 0 }
        #expect(try b.backwardShape(other.map { IntImm($0) }).map(\.asInt) == shape.map(\.asInt))
        var state = 7
        for _ in 0..<50 {
            let index = shape.map { d -> PrimExpr in
                state = state &* 1_103_515_245 &+ 12345
                return IntImm(((state >> 16) & 0x7FFF) % (d.asInt ?? 1))
            }
            let there = try b.forwardIndex(index)
            for (e, n) in zip(there, other) { #expect((0..<n).contains(e.asInt ?? -1)) }
            #expect(try b.backwardIndex(there).map(\.asInt) == index.map(\.asInt))
        }
    }

    @Test func scopes() throws {
        for text in [
            "global", "shared", "shared.dyn", "warp", "local", "local.acc_buffer", "wmma.matrix_a",
            "wmma.accumulator",
        ] {
            #expect(try StorageScope(text).description == text)
        }
        #expect(try StorageScope("").rank == .global)
        #expect(try StorageScope("shared.dyn").isDynamicShared)
        #expect(try StorageScope("local.acc_buffer").tag == ".acc_buffer")
        for text in ["heap", "sharedx", "local.", "wmma.matrix_a.x"] {
            #expect(code { _ = try StorageScope(text) } == "TIR149")
        }
        #expect(StorageScope.Rank.global < .local)
        #expect(StorageScope.Rank.defaultRank(threadLevel: 2) == .local)
        #expect(ThreadScope.find("threadIdx.y") == ThreadScope.find("threadIdx.y"))
        #expect(ThreadScope.find("blockIdx.z")?.rank == 0 && ThreadScope.find("vthread.x")?.dimension == -1)
        #expect(ThreadScope.find("warp") == nil)
        #expect(Buffer("B", [4], scope: "warp").storageScope.rank == .warp)
    }
}

@Suite struct OperationTests {
    private let x = Var("x", dtype: .float32)
    private let i = Var("i", dtype: .int32)

    @Test func constantsFold() {
        #expect((IntImm(6) << IntImm(2)).asInt == 24 && (IntImm(-8) >> IntImm(1)).asInt == -4)
        #expect((IntImm(6) & IntImm(3)).asInt == 2 && (IntImm(6) | IntImm(1)).asInt == 7)
        #expect((IntImm(6) ^ IntImm(3)).asInt == 5 && (~IntImm(0)).asInt == -1)
        #expect((~IntImm(1, dtype: .uint8)).asInt == 254)
        #expect(tir.popcount(IntImm(-1, dtype: .int32)).asInt == 32)
        #expect((IntImm(1, dtype: .int8) << IntImm(9, dtype: .int8)) is Call)
        #expect(tir.floor(FloatImm(-1.5)).constantFloat == -2 && tir.round(FloatImm(2.5)).constantFloat == 3)
        #expect(
            tir.nearbyint(FloatImm(2.5)).constantFloat == 2 && tir.trunc(FloatImm(-1.5)).constantFloat == -1)
        #expect(tir.ceil(i) === i && tir.isnan(i).isFalse && tir.isfinite(i).isTrue)
        #expect(tir.abs(IntImm(-3, dtype: .int8)).asInt == 3)
        #expect(tir.abs(IntImm(-128, dtype: .int8)) is Call)
        #expect(tir.largeUIntImm(low: 0xFFFF_FFFF, high: 0xFFFF_FFFF).asInt == -1)
        #expect(tir.infinity().constantFloat == .infinity)
        #expect(tir.any().isFalse && tir.all().isTrue)
        #expect(
            tir.indexmod(IntImm(-7), IntImm(4)).asInt == 1 && tir.truncmod(IntImm(-7), IntImm(4)).asInt == -3)
        #expect(tir.reinterpret(.float32, x) === x)
    }

    @Test func typesMatch() {
        #expect(tir.exp(i).dtype == .float32)
        #expect(tir.power(x, FloatImm(2, dtype: .float64)).dtype == .float64)
        #expect((i & IntImm(3)).dtype == .int32)
        #expect((Cast(.int16, i) | i).dtype == .int32)
        #expect(tir.isnan(Broadcast(x, 4)).dtype == DataType.bool.with(lanes: 4))
        #expect(tir.callExtern(.int32, "f", x).args.count == 2)
        #expect(code { _ = try tir.callIntrin(.float32, "tir.exp", x, x) } == "TIR152")
        #expect(code { _ = try tir.callIntrin(.float32, "tir.nonsense", x) } == "IR007")
        #expect((try? tir.callIntrin(.float32, "tir.exp", x))?.name == "tir.exp")
    }

    @Test func constantsAreRecognised() {
        #expect(IntImm(8).powerOfTwo == 3 && IntImm(6).powerOfTwo == nil && IntImm(0).powerOfTwo == nil)
        #expect(IntImm(3).isPositiveConstant && IntImm(-3).isNegativeConstant && !i.isConstant)
        #expect(Broadcast(IntImm(4), 4).isConstant(4))
        #expect(IntImm(-1, dtype: .uint64).isPositiveConstant)
        #expect(Evaluate.noOp.isNoOp && SeqStmt([]).isNoOp && !Evaluate(x).isNoOp)
    }

    /// Every intrinsic has an effect; every function that is called lane by lane says so.
    @Test func intrinsicsAreDescribed() {
        TIRNodes.registerAll()
        let all = Op.all.filter { $0.name.hasPrefix("tir.") }
        #expect(all.count >= 110)
        for op in all {
            #expect(op[callEffectKey] != nil, "\(op.name)")
            #expect(!op.doc.isEmpty, "\(op.name)")
        }
        #expect(Set(all.compactMap { $0[callEffectKey] }) == Set(CallEffect.allCases))
        #expect(Op.find("tir.cuda.__shfl_sync")?[needsWarpShuffleKey] == true)
        #expect(Op.find("tir.exp")?[vectorizableKey] == true)
        #expect(Op.find("tir.backend_alloc_workspace")?[globalSymbolKey] != nil)
    }
}
