import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTarget
import Testing

/// `stack_make_array` of a compact buffer.
private func tensorArgument(_ b: Buffer) -> PrimExpr {
    intrinsic(
        "stack_make_array", .handle,
        [
            b.data, intrinsic("stack_make_shape", .handle, b.shape), IntImm(0, dtype: .handle),
            IntImm(b.rank, dtype: .int32), const(0, b.dtype), b.elemOffset,
        ])
}

private func packed(_ type: DataType, _ name: String, _ args: [PrimExpr]) -> Call {
    intrinsic("call_packed", type, [StringImm(name)] + args)
}

/// What the registered functions saw, by test.
private let seen = Locked<[String: [String]]>([:])

@Suite struct PackedCallTests {
    private func register(_ name: String, _ body: @escaping PackedFunc.Body) throws {
        try Registry.register(name, override: true, PackedFunc(name, body))
    }

    @Test(
        "numbers, pointers and texts arrive as what they are; the result comes back",
        arguments: Engine.allCases)
    func scalars(_ engine: Engine) throws {
        let name = "test.packed.scalars.\(engine.rawValue)"
        try register(name) { args in
            seen.with {
                $0[name] = (0..<args.count).map { i in (try? args[i]).map { "\($0.kindName) \($0)" } ?? "?" }
            }
            return .float(try args.get(0, as: Double.self) * 2)
        }
        defer { Registry.remove(name) }
        let out = Buffer("out", [2], .float32)
        let n = Var("n", dtype: .int32)
        let x = Var("x", dtype: .float32)
        let value = packed(
            .float32, name, [x, n, IntImm(1, dtype: .bool), StringImm("text \"x\""), Cast(.uint8, n)])
        let handle = Var("out_handle", dtype: .handle)
        let f = PrimFunc(
            [handle, n, x], bufferMap: [(param: handle, buffer: out)],
            body: SeqStmt([BufferStore(out, value, [IntImm(0)]), BufferStore(out, value + x, [IntImm(1)])]))
        let module = try engine.build(f)
        let result = NDArray(shape: [2], dtype: .float32)
        try call(module.kernel(named: "f"), [.tensor(result), .int(-3), .float(1.5)])
        #expect(try result.toArray(Float.self) == [3, 4.5])
        let got = seen.with { $0[name] } ?? []
        #expect(got.count == 5)
        #expect(got.map { $0.split(separator: " ")[0] } == ["float", "int", "bool", "str", "int"])
        #expect(got[1].contains("-3") && got[3].contains("text \"x\"") && got[4].contains("253"))
        withExtendedLifetime(module) {}
    }

    @Test("a tensor argument is a view of the kernel's memory, from an offset on", arguments: Engine.allCases)
    func tensors(_ engine: Engine) throws {
        let name = "test.packed.tensors.\(engine.rawValue)"
        try register(name) { args in
            let raw = try args.raw(0)
            guard raw.type_index == 7, let t = raw.v.tensor?.pointee, let data = t.data else {
                return .int(-1)
            }
            let shape = (0..<Int(t.ndim)).map { "\(t.shape[$0])" }
            seen.with { $0[name] = shape + ["\(t.dtype.bits)", "\(t.byte_offset)"] }
            let p = (data + Int(t.byte_offset)).assumingMemoryBound(to: Float.self)
            for i in 0..<6 { p[i] += Float(i) }
            return .int(Int(p[5]))
        }
        defer { Registry.remove(name) }
        let a = Buffer("a", [2, 3], .float32)
        let view = Buffer(
            data: a.data, dtype: .float32, shape: [IntImm(2), IntImm(3)], elemOffset: IntImm(6), name: "view")
        let whole = Buffer("a", [IntImm(4), IntImm(3)])
        let b = Buffer(
            data: whole.data, dtype: view.dtype, shape: view.shape, elemOffset: view.elemOffset, name: "b")
        let i = Var("i", dtype: .int64)
        // In a loop, and from the tasks of a parallel one.
        let body = For(
            i, IntImm(0), IntImm(3), .serial,
            body: BufferStore(
                whole, Cast(.float32, packed(.int64, name, [tensorArgument(b), i])), [IntImm(0), i]))
        let module = try engine.build(PrimFunc(buffers: [whole], body: body))
        let x = NDArray(shape: [4, 3], dtype: .float32)
        try call(module, [x])
        #expect(try x.toArray(Float.self) == [5, 10, 15, 0, 0, 0, 0, 3, 6, 9, 12, 15])
        #expect(seen.with { $0[name] } == ["2", "3", "32", "24"])
    }

    @Test(
        "an error in the called function, a missing one and a wrong result leave the kernel",
        arguments: Engine.allCases)
    func failures(_ engine: Engine) throws {
        let name = "test.packed.failures.\(engine.rawValue)"
        try register(name) { args in
            let kind: Int = try args.get(0)
            if kind == 1 { throw ApusError("TEST7", "refused") }
            return kind == 2 ? .none : .string("text")
        }
        defer { Registry.remove(name) }
        let out = Buffer("out", [1], .int64)
        let big = Buffer("big", [100_000])
        let k = Var("k", dtype: .int64)
        let handle = Var("h", dtype: .handle)
        func kernel(_ value: PrimExpr) throws -> any KernelProvider {
            // With memory to give back on the way out.
            let store = SeqStmt([
                BufferStore(big, FloatImm(1), [k]), BufferStore(out, value, [IntImm(0)]),
            ])
            return try engine.build(
                PrimFunc([handle, k], bufferMap: [(param: handle, buffer: out)], body: Allocate(big, store)))
        }
        let result = NDArray(shape: [1], dtype: .int64)
        let module = try kernel(packed(.int64, name, [k]))
        func code(_ m: any KernelProvider, _ kind: Int) -> String? {
            do { try call(m.kernel(named: "f"), [.tensor(result), .int(kind)]) } catch let e as ApusError {
                return e.code
            } catch { return "?" }
            return nil
        }
        #expect(code(module, 1) == "TEST7")
        #expect(code(module, 2) == "TTR071")
        #expect(code(module, 3) == "TTR071")
        let missing = try kernel(packed(.int64, "test.packed.nobody", [k]))
        #expect(code(missing, 0) == "RT042")
        // A result that nobody wants may be anything.
        let ignoring = try kernel(Cast(.int64, IntImm(4, dtype: .int32)))
        #expect(code(ignoring, 0) == nil)
        let statement = PrimFunc(
            [handle, k], bufferMap: [(param: handle, buffer: out)], body: Evaluate(packed(.void, name, [k])))
        #expect(code(try engine.build(statement), 3) == nil)
        withExtendedLifetime([module, missing, ignoring]) {}
    }

    @Test("assertions leave with their code", arguments: Engine.allCases)
    func assertions(_ engine: Engine) throws {
        let out = Buffer("out", [1], .int64)
        let handle = Var("h", dtype: .handle)
        let k = Var("k", dtype: .int64)
        let f = PrimFunc(
            [handle, k], bufferMap: [(param: handle, buffer: out)],
            body: SeqStmt([
                AssertStmt(k .< 5, code: "TEST5", "k is \"too\" large"), BufferStore(out, k, [IntImm(0)]),
            ]))
        let m = try engine.build(f)
        let result = NDArray(shape: [1], dtype: .int64)
        try call(m.kernel(named: "f"), [.tensor(result), .int(4)])
        #expect(try result.toArray(Int64.self) == [4])
        let error = #expect(throws: ApusError.self) {
            try call(m.kernel(named: "f"), [.tensor(result), .int(5)])
        }
        #expect(error?.code == "TEST5" && error?.message == "k is \"too\" large")
        withExtendedLifetime(m) {}
    }
}
