import ApusCABI
import ApusDriver
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRTransforms
import ApusTarget
import Testing

/// The ways to an entry with checks: the code generators' own, and the pass `makePackedAPI`, compiled or interpreted.
private enum Entry: String, CaseIterable, Sendable {
    case generatedLLVM, generatedC, packedLLVM, packedC, interpreted

    func call(_ f: PrimFunc, _ args: [ApusAny]) throws {
        let lowered = try lower(f)
        switch self {
        case .generatedLLVM: try run(lowered, .host, args)
        case .generatedC: try run(lowered, .c, args)
        case .packedLLVM: try run(makePackedAPI(lowered, name: "f"), .host, args)
        case .packedC: try run(makePackedAPI(lowered, name: "f"), .c, args)
        case .interpreted:
            let g = try makePackedAPI(lowered, name: "f")
            try verifyWellFormed(g)
            let list = NDArray(shape: [max(args.count, 1) * 16], dtype: .uint8)
            let p = list.data.assumingMemoryBound(to: ApusAny.self)
            for (i, a) in args.enumerated() { p[i] = a }
            try TIRInterpreter.run(g, args: [.array(list), .array(list), .int(args.count), .array(list)])
        }
    }

    private func run(_ f: PrimFunc, _ target: Target, _ args: [ApusAny]) throws {
        let m = try buildJIT(functions: [(name: "f", function: f)], target: target)
        guard let kernel = m.kernel(named: "f") else { throw ApusError("TEST", "no kernel") }
        var list = args
        var result = ApusAny()
        let status = kernel(nil, &list, Int32(args.count), &result)
        withExtendedLifetime(m) {}
        if status != 0 { throw LastError.take(from: "f") }
    }
}

private func any(_ t: NDArray) -> ApusAny { ApusAny(type_index: 7, pad: 0, v: ApusValue(tensor: t.dlTensor)) }
private func any(_ i: Int) -> ApusAny { ApusAny(type_index: 1, pad: 0, v: ApusValue(i: Int64(i))) }
private func any(_ x: Double) -> ApusAny { ApusAny(type_index: 3, pad: 0, v: ApusValue(f: x)) }

@Suite struct EntryTests {
    /// B[i, j] = A[i, j] * x + n, with symbolic rows, a scalar of each kind and a bool tensor.
    static let source = """
        @T.prim_func
        def f(A: T.Buffer((m, 4), "float32"), B: T.Buffer((m, 4), "float32"), M: T.Buffer((4,), "bool"), x: T.float32, k: T.int32):
            T.func_attr({"global_symbol": "f", "tir.noalias": True})
            for i, j in T.grid(m, 4):
                B[i, j] = A[i, j] * x + T.Cast("float32", k) + T.Cast("float32", M[j])
        """

    @Test("all entries compute the same", arguments: Entry.allCases)
    fileprivate func results(_ entry: Entry) throws {
        let f = try TIRParser.parseFunction(Self.source)
        let a = NDArray((0..<12).map { Float($0) }, shape: [3, 4])
        let b = NDArray(shape: [3, 4], dtype: .float32)
        let mask = NDArray(shape: [4], dtype: .bool)
        mask.data.assumingMemoryBound(to: UInt8.self)[2] = 1
        try entry.call(f, [any(a), any(b), any(mask), any(2.0), any(-1)])
        #expect(try b.toArray(Float.self) == (0..<12).map { Float($0) * 2 - 1 + ($0 % 4 == 2 ? 1 : 0) })
        // An integer may stand for a float.
        try entry.call(f, [any(a), any(b), any(mask), any(3), any(0)])
        #expect(try b.toArray(Float.self)[4] == 12)
        withExtendedLifetime([a, b, mask]) {}
    }

    @Test("all entries refuse the same arguments with the same words", arguments: Entry.allCases)
    fileprivate func refusals(_ entry: Entry) throws {
        let f = try TIRParser.parseFunction(Self.source)
        let a = NDArray(shape: [3, 4], dtype: .float32)
        let b = NDArray(shape: [3, 4], dtype: .float32)
        let mask = NDArray(shape: [4], dtype: .bool)
        let rows = NDArray(shape: [2, 4], dtype: .float32)
        let wide = NDArray(shape: [3, 5], dtype: .float32)
        let flat = NDArray(shape: [12], dtype: .float32)
        let ints = NDArray(shape: [3, 4], dtype: .int32)
        var none = a.dlTensor.pointee
        none.data = nil
        var away = a.dlTensor.pointee
        away.device.device_type = 2
        var strides: [Int64] = [1, 3]
        strides.withUnsafeMutableBufferPointer { s in
            var turned = a.dlTensor.pointee
            turned.strides = s.baseAddress
            withUnsafeMutablePointer(to: &turned) { turned in
                withUnsafeMutablePointer(to: &none) { none in
                    withUnsafeMutablePointer(to: &away) { away in
                        func raw(_ t: UnsafeMutablePointer<DLTensor>?) -> ApusAny {
                            ApusAny(type_index: 7, pad: 0, v: ApusValue(tensor: t))
                        }
                        let good = [any(a), any(b), any(mask), any(2.0), any(-1)]
                        func with(_ i: Int, _ x: ApusAny) -> [ApusAny] {
                            var list = good
                            list[i] = x
                            return list
                        }
                        let cases: [(code: String, words: String, args: [ApusAny])] = [
                            (
                                "RT101", "kernel f: wrong number of arguments; expected 5",
                                Array(good.dropLast())
                            ),
                            (
                                "RT102", "kernel f: argument 0 (A) is not a tensor; expected float32[m, 4]",
                                with(0, any(1))
                            ),
                            (
                                "RT102", "kernel f: argument 1 (B) is not a tensor; expected float32[m, 4]",
                                with(1, raw(nil))
                            ),
                            (
                                "RT103",
                                "kernel f: argument 0 (A) is not in the memory of the CPU; expected float32[m, 4]",
                                with(0, raw(away))
                            ),
                            (
                                "RT104",
                                "kernel f: argument 1 (B) has another element type; expected float32[m, 4]",
                                with(1, any(ints))
                            ),
                            (
                                "RT105",
                                "kernel f: argument 0 (A) has another number of dimensions; expected float32[m, 4]",
                                with(0, any(flat))
                            ),
                            (
                                "RT106", "kernel f: argument 0 (A) has another shape; expected float32[m, 4]",
                                with(0, any(wide))
                            ),
                            (
                                "RT107",
                                "kernel f: argument 0 (A) is not compact in row-major order; expected float32[m, 4]",
                                with(0, raw(turned))
                            ),
                            (
                                "RT108", "kernel f: argument 0 (A) has no memory; expected float32[m, 4]",
                                with(0, raw(none))
                            ),
                            (
                                "RT109",
                                "kernel f: argument 3 (x) is not a number of its type; expected float32",
                                with(3, any(a))
                            ),
                            (
                                "RT109",
                                "kernel f: argument 4 (k) is not a number of its type; expected int32",
                                with(4, any(0.5))
                            ),
                            (
                                "RT110",
                                "kernel f: argument 1 (B) has another dimension 0; expected float32[m, 4]",
                                with(1, any(rows))
                            ),
                        ]
                        for c in cases {
                            let e = #expect(throws: ApusError.self, "\(c.code)") { try entry.call(f, c.args) }
                            #expect(
                                e?.code == c.code && e?.message == c.words,
                                "\(entry) \(c.code): \(String(describing: e))")
                        }
                    }
                }
            }
        }
        withExtendedLifetime([a, b, mask, rows, wide, flat, ints]) {}
    }

    @Test(
        "strides that are variables, and dimensions that are expressions of others", arguments: Entry.allCases
    )
    fileprivate func strides(_ entry: Entry) throws {
        let f = try TIRParser.parseFunction(
            """
            @T.prim_func
            def f(A: T.Buffer((n, 2), "float32", strides=(s, 1)), B: T.Buffer((n * 2,), "float32")):
                T.func_attr({"global_symbol": "f"})
                for i, j in T.grid(n, 2):
                    B[i * 2 + j] = A[i, j]
            """)
        let memory = NDArray((0..<12).map { Float($0) }, shape: [12])
        var shape: [Int64] = [3, 2]
        var steps: [Int64] = [4, 1]
        let out = NDArray(shape: [6], dtype: .float32)
        let short = NDArray(shape: [5], dtype: .float32)
        try shape.withUnsafeMutableBufferPointer { shape in
            try steps.withUnsafeMutableBufferPointer { steps in
                var t = memory.dlTensor.pointee
                t.ndim = 2
                t.shape = shape.baseAddress
                t.strides = steps.baseAddress
                t.byte_offset = 4
                try withUnsafeMutablePointer(to: &t) { t in
                    let a = ApusAny(type_index: 7, pad: 0, v: ApusValue(tensor: t))
                    try entry.call(f, [a, any(out)])
                    #expect(try out.toArray(Float.self) == [1, 2, 5, 6, 9, 10])
                    let e = #expect(throws: ApusError.self) { try entry.call(f, [a, any(short)]) }
                    #expect(e?.code == "RT110")
                }
            }
        }
        withExtendedLifetime([memory, out, short]) {}
    }

    @Test("on another device: one number for all tensors, handed to the body")
    func device() throws {
        let f = try TIRParser.parseFunction(
            """
            @T.prim_func
            def f(A: T.Buffer((2,), "float32"), B: T.Buffer((2,), "float32")):
                T.func_attr({"global_symbol": "f", "tir.device_type": 2})
                B[0] = A[0]
            """)
        let g = try makePackedAPI(f)
        var keys: [String] = []
        postOrderVisit(g.body, stmt: { s in if let a = s as? AttrStmt { keys.append(a.key) } })
        #expect(keys == ["compute_scope", "device_type", "device_id"])
        #expect("\(g)".contains("is not in the memory of the device"))
        #expect(try makePackedAPI(g) === g)
    }

    @Test("unpacked: pointers, then dimensions")
    func unpacked() throws {
        let f = try TIRParser.parseFunction(
            """
            @T.prim_func
            def f(A: T.Buffer((n,), "float32"), x: T.float32, B: T.Buffer((n,), "float32")):
                for i in range(n):
                    B[i] = A[i] * x
            """)
        let g = try makeUnpackedAPI(f)
        try verifyWellFormed(g)
        #expect(g.params.map(\.name) == ["A", "x", "B", "n"])
        let a = NDArray([1, 2, 3] as [Float], shape: [3])
        let b = NDArray(shape: [3], dtype: .float32)
        try TIRInterpreter.run(g, args: [.array(a), .float(2), .array(b), .int(3)])
        #expect(try b.toArray(Float.self) == [2, 4, 6])
        #expect(structuralEqual(try TIRParser.parseFunction("\(g)"), g))
        for target in [Target.host, .c] {
            let m = try buildJIT(functions: [(name: "f", function: try lower(g))], target: target)
            let c = NDArray(shape: [3], dtype: .float32)
            func pointer(_ t: NDArray) -> ApusAny { ApusAny(type_index: 4, pad: 0, v: ApusValue(p: t.data)) }
            var list = [pointer(a), any(2.0), pointer(c), any(3)]
            var result = ApusAny()
            #expect(m.kernel(named: "f")?(nil, &list, 4, &result) == 0)
            #expect(try c.toArray(Float.self) == [2, 4, 6])
            withExtendedLifetime([a, b, c]) {}
        }
    }
}
