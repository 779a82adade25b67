import ApusCABI
import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTarget
import Testing

private func loop(_ i: Var, _ n: PrimExpr, _ kind: ForKind = .serial, _ body: Stmt) -> For {
    For(i, IntImm(0), n, kind, body: body)
}

@Suite struct KernelTests {
    /// Vector access patterns: contiguous, strided, reversed, gathered, uniform; a lane count that is no
    /// power of two.
    @Test(arguments: Engine.allCases, [4, 3, 16])
    func accesses(_ engine: Engine, _ lanes: Int) throws {
        let n = lanes
        let a = Buffer("a", [64], .float32)
        let p = Buffer("p", [64], .int64)
        let o = Buffer("o", [n * 8], .float32)
        func out(_ k: Int, _ v: PrimExpr) -> Stmt { BufferStore(o, v, [Ramp(IntImm(k * n), IntImm(1), n)]) }
        func ramp(_ base: Int, _ stride: Int) -> PrimExpr { Ramp(IntImm(base), IntImm(stride), n) }
        func k(_ v: Int) -> PrimExpr { Broadcast(IntImm(v), n) }
        let s = Var("s")
        let body = SeqStmt([
            out(0, BufferLoad(a, [ramp(1, 1)])), out(1, BufferLoad(a, [ramp(2, 3)])),
            out(2, BufferLoad(a, [ramp(20, -1)])), out(3, BufferLoad(a, [k(5)])),
            out(4, BufferLoad(a, [BufferLoad(p, [ramp(0, 1)])])),
            out(5, BufferLoad(a, [Add(Mul(ramp(0, 1), k(2)), k(1))])),
            loop(s, IntImm(1), .serial, out(6, BufferLoad(a, [Ramp(s, s + 2, n)]))),
            BufferStore(o, BufferLoad(a, [ramp(0, 1)]), [Ramp(IntImm(8 * n - 1), IntImm(-1), n)]),
        ])
        let x: [Float] = (0..<64).map { Float($0) * 1.5 }
        let picks: [Int64] = (0..<64).map { Int64(($0 * 7) % 64) }
        let z = NDArray(shape: [n * 8], dtype: .float32)
        try call(engine.build(PrimFunc(buffers: [a, p, o], body: body)), [NDArray(x), NDArray(picks), z])
        let got: [Float] = try z.toArray()
        for l in 0..<n {
            let want = [
                x[1 + l], x[2 + 3 * l], x[20 - l], x[5], x[Int(picks[l])], x[2 * l + 1], x[2 * l],
                x[n - 1 - l],
            ]
            for (row, w) in want.enumerated() { #expect(got[row * n + l] == w, "pattern \(row), lane \(l)") }
        }
    }

    /// Stores to scattered places, in order of the lanes.
    @Test(arguments: Engine.allCases)
    func scatter(_ engine: Engine) throws {
        let a = Buffer("a", [8], .int32)
        let p = Buffer("p", [8], .int64)
        let o = Buffer("o", [8], .int32)
        let at = Ramp(IntImm(0), IntImm(1), 8)
        let body = BufferStore(o, BufferLoad(a, [at]), [BufferLoad(p, [at])])
        let z = NDArray(shape: [8], dtype: .int32)
        try call(
            engine.build(PrimFunc(buffers: [a, p, o], body: body)),
            [NDArray([1, 2, 3, 4, 5, 6, 7, 8] as [Int32]), NDArray([7, 6, 5, 4, 3, 3, 1, 1] as [Int64]), z])
        #expect(try z.toArray(Int32.self) == [0, 8, 0, 6, 4, 3, 2, 1])
    }

    /// Lanes that are off must not be read or written: the tensor ends inside the vector.
    @Test(arguments: Engine.allCases)
    func predicates(_ engine: Engine) throws {
        let n = Var("n")
        let a = Buffer("a", [n], .float32)
        let p = Buffer("p", [n], .int64)
        let o = Buffer("o", [n], .float32)
        let o2 = Buffer("o2", [IntImm(16)], .float32)
        let at = Ramp(IntImm(0), IntImm(1), 16)
        let inside = LT(at, Broadcast(n, 16))
        let minusOne = Broadcast(FloatImm(-1), 16)
        let gathered = BufferLoad(a, [BufferLoad(p, [at])])
        let body = SeqStmt([
            IfThenElse(inside, BufferStore(o, Add(BufferLoad(a, [at]), gathered), [at])),
            BufferStore(
                o2, intrinsic("if_then_else", minusOne.dtype, [inside, BufferLoad(a, [at]), minusOne]), [at]),
        ])
        let module = try engine.build(PrimFunc(buffers: [a, p, o, o2], body: body))
        for count in [0, 1, 5, 15, 16] {
            let x: [Float] = (0..<count).map { Float($0) + 1 }
            let y = NDArray(shape: [count], dtype: .float32)
            let y2 = NDArray(shape: [16], dtype: .float32)
            let picks: [Int64] = (0..<count).map { Int64(count - 1 - $0) }
            try call(module, [NDArray(x), NDArray(picks), y, y2])
            #expect(try y.toArray(Float.self) == x.indices.map { x[$0] + x[count - 1 - $0] })
            #expect(try y2.toArray(Float.self) == (0..<16).map { $0 < count ? x[$0] : -1 })
        }
    }

    @Test(arguments: Engine.allCases)
    func lazyBranches(_ engine: Engine) throws {
        let n = Var("n")
        let a = Buffer("a", [n], .float32)
        let o = Buffer("o", [IntImm(8)], .float32)
        let i = Var("i")
        let inside = LT(i, n)
        // Reads beyond the end were they evaluated.
        let value = ifThenElse(inside, BufferLoad(a, [i]), FloatImm(9))
        let also = And(inside, GT(BufferLoad(a, [i]), FloatImm(2)))
        let either = Or(Not(inside), GT(BufferLoad(a, [i]), FloatImm(2)))
        let body = loop(
            i, IntImm(8), .serial,
            BufferStore(
                o,
                value + Select(also, FloatImm(100), FloatImm(0))
                    + Select(either, FloatImm(1000), FloatImm(0)), [i]))
        let z = NDArray(shape: [8], dtype: .float32)
        try call(engine.build(PrimFunc(buffers: [a, o], body: body)), [NDArray([1, 2, 3] as [Float]), z])
        #expect(try z.toArray(Float.self) == [1, 2, 1103, 1009, 1009, 1009, 1009, 1009])
    }

    @Test(arguments: Engine.allCases)
    func controlFlow(_ engine: Engine) throws {
        let a = Buffer("a", [10], .int64)
        let o = Buffer("o", [10], .int64)
        let s = Buffer("s", [1], .int64, scope: "local")
        let i = Var("i")
        let j = Var("j")
        let v = Var("v")
        let zero = IntImm(0)
        // Sum of j < a[i] by a loop, unless odd; a while that halves; a let.
        let sum = loop(j, BufferLoad(a, [i]), .serial, BufferStore(s, BufferLoad(s, [zero]) + j, [zero]))
        let halve = While(
            GT(BufferLoad(s, [zero]), IntImm(3)),
            BufferStore(s, truncDiv(BufferLoad(s, [zero]), IntImm(2)), [zero]))
        let body = loop(
            i, IntImm(10), .serial,
            Allocate(
                s,
                SeqStmt([
                    BufferStore(s, zero, [zero]),
                    LetStmt(
                        v, BufferLoad(a, [i]),
                        IfThenElse(
                            EQ(floorMod(v, 2), zero), sum, BufferStore(s, v * 100, [zero]))),
                    halve, BufferStore(o, BufferLoad(s, [zero]), [i]),
                ])))
        let x: [Int64] = [0, 1, 2, 3, 4, 5, 10, 100, -3, 7]
        let z = NDArray(shape: [10], dtype: .int64)
        try call(engine.build(PrimFunc(buffers: [a, o], body: body)), [NDArray(x), z])
        let want: [Int64] = x.map { v in
            var s = v % 2 == 0 ? (0..<max(v, 0)).reduce(0, +) : v * 100
            while s > 3 { s /= 2 }
            return s
        }
        #expect(try z.toArray(Int64.self) == want)
    }

    @Test(arguments: Engine.allCases)
    func parallelLoops(_ engine: Engine) throws {
        let n = 1000
        let a = Buffer("a", [n], .float32)
        let o = Buffer("o", [n], .float32)
        let w = Buffer("w", [8192], .float32)
        let t = Buffer("t", [4], .float32, scope: "local")
        let big = Buffer("big", [n], .float32)
        let i = Var("i")
        let j = Var("j")
        let k = Var("k")
        let scale = Var("scale", dtype: .float32)
        // A workspace around, a workspace and an array inside; a nested parallel loop runs in line.
        let inner = Allocate(
            w,
            Allocate(
                t,
                SeqStmt([
                    loop(
                        j, IntImm(4), .parallel, BufferStore(t, BufferLoad(a, [i]) * cast(.float32, j), [j])),
                    BufferStore(
                        w, BufferLoad(t, [IntImm(3)]) + BufferLoad(t, [IntImm(1)]), [floorMod(i, 8192)]),
                    BufferStore(big, BufferLoad(w, [floorMod(i, 8192)]) * scale, [i]),
                ])))
        let body = Allocate(
            big,
            SeqStmt([
                loop(i, IntImm(n), .parallel, inner),
                // The variable of a loop that is over must not be captured.
                loop(j, IntImm(2), .serial, Evaluate.noOp),
                loop(k, IntImm(n), .parallel, BufferStore(o, BufferLoad(big, [k]) + 1.0.imm, [k])),
            ]))
        let handles: [Var] = [Var("a_handle", dtype: .handle), Var("o_handle", dtype: .handle)]
        let f = PrimFunc(
            [handles[0], scale, handles[1]],
            bufferMap: [(param: handles[0], buffer: a), (param: handles[1], buffer: o)],
            body: body, attrs: Attrs(["tir.noalias": true]))
        let x: [Float] = (0..<n).map { Float($0) }
        let z = NDArray(shape: [n], dtype: .float32)
        let module = try engine.build(f)
        try ApusTargetTests.call(module.kernel(named: "f"), [.tensor(NDArray(x)), .float(0.5), .tensor(z)])
        #expect(try z.toArray(Float.self) == x.map { $0 * 4 * 0.5 + 1 })
        try ApusTargetTests.call(module.kernel(named: "f"), [.tensor(NDArray(x)), .int(2), .tensor(z)])
        #expect(try z.toArray(Float.self) == x.map { $0 * 8 + 1 })
        withExtendedLifetime(module) {}
    }

    @Test(arguments: Engine.allCases)
    func errorsLeaveTheFunction(_ engine: Engine) throws {
        let n = 64
        let a = Buffer("a", [n], .int64)
        let w = Buffer("w", [100_000], .int64)
        let i = Var("i")
        for kind in [ForKind.serial, .parallel] {
            let check = AssertStmt(LT(BufferLoad(a, [i]), IntImm(100)), code: "RT777", "value too large")
            let body = loop(i, IntImm(n), kind, Allocate(w, SeqStmt([check, BufferStore(w, i, [i])])))
            let module = try engine.build(PrimFunc(buffers: [a], body: body))
            var x: [Int64] = Array(repeating: 5, count: n)
            try call(module, [NDArray(x)])
            x[40] = 100
            let error = #expect(throws: ApusError.self) { try call(module, [NDArray(x)]) }
            #expect(error?.code == "RT777")
            #expect(error?.message == "value too large")
        }
    }

    @Test(arguments: Engine.allCases)
    func earlyReturn(_ engine: Engine) throws {
        let a = Buffer("a", [4], .int64)
        let i = Var("i")
        let body = loop(
            i, IntImm(4), .serial,
            SeqStmt([
                IfThenElse(EQ(i, IntImm(2)), Evaluate(intrinsic("ret", .void, [IntImm(0, dtype: .int32)]))),
                BufferStore(a, i + 10, [i]),
            ]))
        let z = NDArray(shape: [4], dtype: .int64)
        try call(engine.build(PrimFunc(buffers: [a], body: body)), [z])
        #expect(try z.toArray(Int64.self) == [10, 11, 0, 0])
    }

    /// What is wrong with an argument is said with a code, and the kernel does not run.
    @Test(arguments: Engine.allCases)
    func argumentChecks(_ engine: Engine) throws {
        let a = Buffer("100%a", [2, 3], .float32)
        let b = Buffer("b", [2, 3], .float32)
        let s = Var("s", dtype: .int32)
        let i = Var("i")
        let j = Var("j")
        let body = loop(
            i, IntImm(2), .serial,
            loop(
                j, IntImm(3), .serial,
                BufferStore(
                    b, BufferLoad(a, [i, j]) * cast(.float32, s), [i, j])))
        let h: [Var] = [Var("ah", dtype: .handle), Var("bh", dtype: .handle)]
        let f = PrimFunc(
            [h[0], s, h[1]], bufferMap: [(param: h[0], buffer: a), (param: h[1], buffer: b)], body: body)
        let module = try engine.build(f)
        let kernel = module.kernel
        let good = NDArray([1, 2, 3, 4, 5, 6] as [Float], shape: [2, 3])
        let out = NDArray(shape: [2, 3], dtype: .float32)
        func code(_ arguments: [Argument]) -> String {
            do {
                try ApusTargetTests.call(kernel("f"), arguments)
                return "ok"
            } catch {
                let error = error as? ApusError
                #expect(error?.message.contains("kernel f") == true)
                return error?.code ?? "other"
            }
        }
        #expect(code([.tensor(good), .int(3), .tensor(out)]) == "ok")
        #expect(try out.toArray(Float.self) == [3, 6, 9, 12, 15, 18])
        #expect(code([.tensor(good), .int(3)]) == "RT101")
        #expect(code([.int(1), .int(3), .tensor(out)]) == "RT102")
        #expect(code([.none, .int(3), .tensor(out)]) == "RT102")
        #expect(code([.tensor(NDArray(shape: [2, 3], dtype: .float64)), .int(3), .tensor(out)]) == "RT104")
        #expect(code([.tensor(NDArray(shape: [6], dtype: .float32)), .int(3), .tensor(out)]) == "RT105")
        #expect(code([.tensor(NDArray(shape: [3, 2], dtype: .float32)), .int(3), .tensor(out)]) == "RT106")
        #expect(code([.tensor(good), .float(3), .tensor(out)]) == "RT109")
        #expect(code([.tensor(good), .tensor(good), .tensor(out)]) == "RT109")
        let wrong = NDArray(shape: [2, 3], dtype: .float32)
        wrong.dlTensor.pointee.device.device_type = 2
        #expect(code([.tensor(wrong), .int(3), .tensor(out)]) == "RT103")
        wrong.dlTensor.pointee.device.device_type = 1
        var strides: [Int64] = [1, 2]
        strides.withUnsafeMutableBufferPointer { p in
            wrong.dlTensor.pointee.strides = p.baseAddress
            #expect(code([.tensor(wrong), .int(3), .tensor(out)]) == "RT107")
            p[0] = 3
            p[1] = 1
            #expect(code([.tensor(wrong), .int(3), .tensor(out)]) == "ok")
        }
        wrong.dlTensor.pointee.strides = nil
        let data = wrong.dlTensor.pointee.data
        wrong.dlTensor.pointee.data = nil
        #expect(code([.tensor(wrong), .int(3), .tensor(out)]) == "RT108")
        wrong.dlTensor.pointee.data = data
        // The offset in bytes counts.
        let shifted = NDArray(shape: [2, 3], dtype: .float32)
        let six = NDArray([0, 1, 1, 1, 1, 1, 2] as [Float])
        let own = shifted.dlTensor.pointee.data
        shifted.dlTensor.pointee.data = six.data
        shifted.dlTensor.pointee.byte_offset = 4
        #expect(code([.tensor(shifted), .int(1), .tensor(out)]) == "ok")
        #expect(try out.toArray(Float.self) == [1, 1, 1, 1, 1, 2])
        shifted.dlTensor.pointee.data = own
        withExtendedLifetime((module, six)) {}
    }

    @Test(arguments: Engine.allCases)
    func symbolicShapes(_ engine: Engine) throws {
        let n = Var("n")
        let m = Var("m", dtype: .int32)
        let a = Buffer("a", [n, cast(.int64, m)], .float32)
        let b = Buffer("b", [n * 2, IntImm(3)], .float32)
        let c = Buffer("c", [m, n], .float32)
        let i = Var("i")
        let j = Var("j")
        let body = loop(
            i, n, .serial,
            loop(
                j, cast(.int64, m), .serial,
                BufferStore(
                    c, BufferLoad(a, [i, j]) + BufferLoad(b, [i * 2, j]), [j, i])))
        let module = try engine.build(PrimFunc(buffers: [a, b, c], body: body))
        let x = NDArray.random(shape: [5, 3], seed: 3)
        let y = NDArray.random(shape: [10, 3], seed: 4)
        let z = NDArray(shape: [3, 5], dtype: .float32)
        try call(module, [x, y, z])
        let (xs, ys, zs): ([Float], [Float], [Float]) = (try x.toArray(), try y.toArray(), try z.toArray())
        for i in 0..<5 { for j in 0..<3 { #expect(zs[j * 5 + i] == xs[i * 3 + j] + ys[i * 6 + j]) } }
        let error = #expect(throws: ApusError.self) {
            try call(module, [x, NDArray.random(shape: [11, 3], seed: 4), z])
        }
        #expect(error?.code == "RT110")
        // Nothing to do is fine.
        try call(
            module,
            [
                NDArray(shape: [0, 3], dtype: .float32), NDArray(shape: [0, 3], dtype: .float32),
                NDArray(shape: [3, 0], dtype: .float32),
            ])
    }

    @Test(arguments: Engine.allCases)
    func stridedArguments(_ engine: Engine) throws {
        let (s0, s1) = (Var("s0"), Var("s1"))
        let pointer = Var("p", type: PointerType(PrimType(.float32)))
        let a = Buffer(
            data: pointer, dtype: .float32, shape: [IntImm(3), IntImm(2)], strides: [s0, s1], name: "a")
        let o = Buffer("o", [3, 2], .float32)
        let (i, j) = (Var("i"), Var("j"))
        let body = loop(
            i, IntImm(3), .serial,
            loop(j, IntImm(2), .serial, BufferStore(o, BufferLoad(a, [i, j]), [i, j])))
        let module = try engine.build(PrimFunc(buffers: [a, o], body: body))
        let x = NDArray([0, 1, 2, 3, 4, 5] as [Float], shape: [3, 2])
        let z = NDArray(shape: [3, 2], dtype: .float32)
        try call(module, [x, z])
        #expect(try z.toArray(Float.self) == [0, 1, 2, 3, 4, 5])
        var strides: [Int64] = [1, 3]
        try strides.withUnsafeMutableBufferPointer { p in
            x.dlTensor.pointee.strides = p.baseAddress
            try call(module, [x, z])
            x.dlTensor.pointee.strides = nil
        }
        #expect(try z.toArray(Float.self) == [0, 3, 1, 4, 2, 5])
    }

    @Test(arguments: Engine.allCases)
    func boolTensors(_ engine: Engine) throws {
        let a = Buffer("a", [32], .bool)
        let b = Buffer("b", [32], .bool)
        let o = Buffer("o", [32], .bool)
        let f = vectorwise([a, b], o, 32, 8) { And(BufferLoad(a, [$0]), Not(BufferLoad(b, [$0]))) }
        let x = (0..<32).map { $0 % 2 == 0 }
        let y = (0..<32).map { $0 % 3 == 0 }
        let z = NDArray(shape: [32], dtype: .bool)
        let (xs, ys) = (NDArray(x), NDArray(y))
        let module = try engine.build(f)
        try call(module, [xs, ys, z])
        #expect(try z.toArray(Bool.self) == zip(x, y).map { $0 && !$1 })
        // DLPack's own bool type.
        xs.dlTensor.pointee.dtype = DLDataType(code: 6, bits: 8, lanes: 1)
        try call(module, [xs, ys, z])
    }

    @Test(arguments: Engine.allCases)
    func shuffles(_ engine: Engine) throws {
        let a = Buffer("a", [8], .int32)
        let o = Buffer("o", [17], .int32)
        let lo = BufferLoad(a, [Ramp(IntImm(0), IntImm(1), 4)])
        let hi = BufferLoad(a, [Ramp(IntImm(4), IntImm(1), 4)])
        let body = SeqStmt([
            BufferStore(o, Shuffle([lo, hi], [0, 4, 1, 5, 2, 6, 3, 7]), [Ramp(IntImm(0), IntImm(1), 8)]),
            BufferStore(o, Shuffle([hi], [2]), [IntImm(8)]),
            BufferStore(
                o, Shuffle([BufferLoad(a, [IntImm(7)]), lo, BufferLoad(a, [IntImm(5)])], [0, 5, 1, 4]),
                [Ramp(IntImm(9), IntImm(1), 4)]),
            BufferStore(o, Shuffle([lo], [3, 2, 1, 0]), [Ramp(IntImm(13), IntImm(1), 4)]),
        ])
        let z = NDArray(shape: [17], dtype: .int32)
        let module = try engine.build(PrimFunc(buffers: [a, o], body: body))
        try call(module, [NDArray([0, 1, 2, 3, 4, 5, 6, 7] as [Int32]), z])
        #expect(try z.toArray(Int32.self) == [0, 4, 1, 5, 2, 6, 3, 7, 6, 7, 5, 0, 3, 3, 2, 1, 0])
    }

    @Test(arguments: Engine.allCases)
    func externalCalls(_ engine: Engine) throws {
        Intrinsics.registerAll()
        let a = Buffer("a", [4], .float64)
        let o = Buffer("o", [4], .float64)
        let i = Var("i")
        let cube = Call(
            .float64, try Op.get("tir.call_pure_extern"), [StringImm("cbrt"), BufferLoad(a, [i])])
        let copy = Call(
            .handle, try Op.get("tir.call_extern"),
            [
                StringImm("memcpy"), intrinsic("address_of", .handle, [BufferLoad(o, [IntImm(0)])]),
                intrinsic("address_of", .handle, [BufferLoad(a, [IntImm(0)])]), IntImm(8),
            ])
        let body = SeqStmt([
            loop(
                i, IntImm(4), .serial,
                SeqStmt([
                    Evaluate(intrinsic("prefetch", .void, [BufferLoad(a, [i])])), BufferStore(o, cube, [i]),
                ])),
            Evaluate(copy),
        ])
        let z = NDArray(shape: [4], dtype: .float64)
        try call(
            engine.build(PrimFunc(buffers: [a, o], body: body)), [NDArray([8, 27, 64, 1000] as [Double]), z])
        let got: [Double] = try z.toArray()
        #expect(got[0] == 8 && Swift.abs(got[1] - 3) < 1e-12 && Swift.abs(got[3] - 10) < 1e-12)
    }

    @Test(arguments: Engine.allCases)
    func letChainsAndDepth(_ engine: Engine) throws {
        let a = Buffer("a", [1], .int64)
        let o = Buffer("o", [2], .int64)
        let x = BufferLoad(a, [IntImm(0)])
        var names: [Var] = []
        for k in 0..<300 { names.append(Var("v\(k)")) }
        var e: PrimExpr = Add(names[299], IntImm(1))
        for k in stride(from: 299, through: 1, by: -1) { e = Let(names[k], Add(names[k - 1], IntImm(1)), e) }
        e = Let(names[0], x, e)
        var deep: PrimExpr = x
        for _ in 0..<2000 { deep = Add(IntImm(1), deep) }
        let body = SeqStmt([BufferStore(o, e, [IntImm(0)]), BufferStore(o, deep, [IntImm(1)])])
        let z = NDArray(shape: [2], dtype: .int64)
        try call(engine.build(PrimFunc(buffers: [a, o], body: body)), [NDArray([5] as [Int64]), z])
        #expect(try z.toArray(Int64.self) == [305, 2005])
    }

    /// Both forms of one function agree with a plain computation: accumulators in registers, packed operand.
    @Test(arguments: Engine.allCases, [false, true])
    func matrixMultiply(_ engine: Engine, _ columnsFirst: Bool) throws {
        let (m, n, k, mr, lanes) = (12, 16, 33, 4, 8)
        let a = Buffer("a", [m * k], .float32)
        let b = Buffer("b", [k * n], .float32)
        let c = Buffer("c", [m * n], .float32)
        let acc = Buffer("acc", [mr * n], .float32, scope: "local")
        let (io, kk) = (Var("io"), Var("k"))
        var start: [Stmt] = []
        var update: [Stmt] = []
        var finish: [Stmt] = []
        let columns = n / lanes
        for t in 0..<mr * columns {
            do {
                let (i, j) = columnsFirst ? (t % mr, t / mr) : (t / columns, t % columns)
                let r = Ramp(IntImm(i * n + j * lanes), IntImm(1), lanes)
                start.append(BufferStore(acc, Broadcast(FloatImm(0), lanes), [r]))
                let x = Broadcast(BufferLoad(a, [(io * mr + i) * k + kk]), lanes)
                let y = BufferLoad(b, [Ramp(kk * n + j * lanes, IntImm(1), lanes)])
                update.append(BufferStore(acc, Add(BufferLoad(acc, [r]), Mul(x, y)), [r]))
                finish.append(
                    BufferStore(
                        c, BufferLoad(acc, [r]), [Ramp((io * mr + i) * n + j * lanes, IntImm(1), lanes)]))
            }
        }
        let inner = Allocate(
            acc, SeqStmt([SeqStmt(start), loop(kk, IntImm(k), .serial, SeqStmt(update)), SeqStmt(finish)]))
        let f = PrimFunc(
            buffers: [a, b, c], body: loop(io, IntImm(m / mr), .parallel, inner),
            attrs: Attrs(["tir.noalias": true]))
        let x = NDArray.random(shape: [m * k], seed: 5)
        let y = NDArray.random(shape: [k * n], seed: 6)
        let z = NDArray(shape: [m * n], dtype: .float32)
        try call(engine.build(f), [x, y, z])
        let (xs, ys, zs): ([Float], [Float], [Float]) = (try x.toArray(), try y.toArray(), try z.toArray())
        for i in 0..<m {
            for j in 0..<n {
                var sum = 0.0
                for q in 0..<k { sum += Double(xs[i * k + q]) * Double(ys[q * n + j]) }
                #expect(Swift.abs(Double(zs[i * n + j]) - sum) < 1e-4)
            }
        }
    }

    /// Updates that share the operand of which there are more come together; what depends on another stays put.
    @Test func orderOfUpdates() throws {
        let acc = Buffer("acc", [64], .float32, scope: "local")
        let a = Buffer("a", [64], .float32)
        let b = Buffer("b", [64], .float32)
        func at(_ c: Int) -> PrimExpr { Ramp(IntImm(c * 8), IntImm(1), 8) }
        func update(_ c: Int, _ x: Int, _ y: Int) -> Stmt {
            let product = Mul(Broadcast(BufferLoad(a, [IntImm(x)]), 8), BufferLoad(b, [at(y)]))
            return BufferStore(acc, Add(BufferLoad(acc, [at(c)]), product), [at(c)])
        }
        var given: [Stmt] = []
        for y in 0..<2 { for x in 0..<3 { given.append(update(y * 3 + x, x, y)) } }
        let arranged = UpdateOrder.arranged(given) { $0 === acc }
        #expect(arranged.map { s in given.firstIndex { $0 === s } } == [0, 3, 1, 4, 2, 5])
        // Memory that others may see, a place written twice, few of them: as given.
        #expect(UpdateOrder.arranged(given) { _ in false } == given)
        #expect(UpdateOrder.arranged(Array(given[..<3])) { _ in true } == Array(given[..<3]))
        let twice = [given[0], given[3], given[1], update(0, 2, 1)]
        #expect(UpdateOrder.arranged(twice) { _ in true } == twice)
        let split = given[..<3] + [BufferStore(b, Broadcast(FloatImm(0), 8), [at(0)])] + given[3...]
        #expect(UpdateOrder.arranged(Array(split)) { $0 === acc } == Array(split))
    }

    @Test func accumulatorsLiveInRegisters() throws {
        let a = Buffer("a", [1024], .float32)
        let o = Buffer("o", [16], .float32)
        let acc = Buffer("acc", [16], .float32, scope: "local")
        let i = Var("i")
        let r = Ramp(IntImm(0), IntImm(1), 16)
        let body = Allocate(
            acc,
            SeqStmt([
                BufferStore(acc, Broadcast(FloatImm(0), 16), [r]),
                loop(
                    i, IntImm(64), .serial,
                    BufferStore(
                        acc, Add(BufferLoad(acc, [r]), BufferLoad(a, [Ramp(i * 16, IntImm(1), 16)])), [r])),
                BufferStore(o, BufferLoad(acc, [r]), [r]),
            ]))
        let f = PrimFunc(buffers: [a, o], body: body)
        let text = try buildSource(functions: [(name: "f", function: f)], target: .host, format: "opt.ll")
        let main = text.components(after: "@f.body", before: "\n}")
        #expect(!main.contains("alloca"))
        #expect(main.contains("phi <16 x float>"))
    }
}

extension Double {
    fileprivate var imm: PrimExpr { FloatImm(self) }
}

extension String {
    /// What lies between two texts.
    func components(after: String, before: String) -> String {
        var lines: [Substring] = []
        var inside = false
        for l in split(separator: "\n", omittingEmptySubsequences: false) {
            if l.contains(after), l.hasPrefix("define") { inside = true }
            if inside { lines.append(l) }
            if inside, l == before.dropFirst() { break }
        }
        return lines.joined(separator: "\n")
    }
}
