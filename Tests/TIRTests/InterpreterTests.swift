import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

private func run(_ text: String, _ args: TIRArgument..., options: TIRInterpreter.Options = .init()) throws {
    try TIRInterpreter.run(try TIRParser.parseFunction(text), args: args, options: options)
}

private func int(_ text: String, _ vars: [Var: TIRArgument] = [:]) throws -> Int {
    guard
        case .int(let v) = try TIRInterpreter.evaluate(
            try TIRParser.parseExpr(text, variables: Array(vars.keys)), vars)
    else { return .min }
    return v
}

private func float(_ text: String) throws -> Double {
    guard case .float(let v) = try TIRInterpreter.evaluate(try TIRParser.parseExpr(text)) else { return .nan }
    return v
}

@Suite struct InterpreterTests {
    @Test func matmulAgainstLoops() throws {
        let a = NDArray.random(shape: [4, 6], seed: 1)
        let b = NDArray.random(shape: [6, 5], seed: 2)
        let c = NDArray.random(shape: [4, 5], seed: 3)
        try run(matmulText, .array(a), .array(b), .array(c))
        let (x, y, z) = (try a.toArray(Float.self), try b.toArray(Float.self), try c.toArray(Float.self))
        for i in 0..<4 {
            for j in 0..<5 {
                var s: Float = 0
                for k in 0..<6 { s += x[i * 6 + k] * y[k * 5 + j] }
                #expect(z[i * 5 + j] == s)
            }
        }
    }

    @Test(
        arguments: [
            ("T.int8(127) + T.int8(1)", -128), ("T.uint8(0) - T.uint8(1)", 255),
            ("T.int32(65536) * T.int32(65536)", 0),
            ("9223372036854775807 + 1", Int.min), ("-7 // 2", -4), ("-7 % 2", 1), ("7 // -2", -4),
            ("7 % -2", -1),
            ("T.truncdiv(-7, 2)", -3), ("T.truncmod(-7, 2)", -1),
            ("T.truncdiv(-9223372036854775808, -1)", Int.min),
            ("T.truncdiv(T.uint64(-1), T.uint64(2))", Int.max), ("T.min(T.uint64(-1), T.uint64(1))", 1),
            ("T.Cast(\"int8\", T.int32(200))", -56), ("T.Cast(\"bool\", T.int32(2))", 1),
            ("T.Cast(\"int32\", T.float32(-1.9))", -1),
            ("T.Cast(\"uint8\", T.float32(300.0))", 255), ("T.Cast(\"int64\", T.float64(\"nan\"))", 0),
            ("T.Cast(\"int32\", T.float64(1e+20))", 2_147_483_647),
            ("T.Cast(\"uint64\", T.float64(1e+19))", Int(bitPattern: 10_000_000_000_000_000_000)),
            ("T.bitwise_not(T.uint8(1))", 254), ("T.shift_right(T.int8(-128), T.int8(3))", -16),
            ("T.shift_left(T.uint8(255), T.uint8(4))", 240), ("T.shift_left(1, 64)", 0),
            ("T.shift_right(-1, 100)", -1),
            ("T.popcount(T.int8(-1))", 8), ("T.clz(T.int32(1))", 31), ("T.abs(T.int8(-128))", -128),
            ("T.reinterpret(T.float32(1.0), dtype=\"int32\")", 0x3F80_0000), ("T.Let(x, 3, x * x + 1)", 10),
            ("T.Shuffle([T.Ramp(0, 3, 4), T.Broadcast(9, 2)], [3])", 9), ("T.Select(1 < 2, 5, 6)", 5),
            ("T.if_then_else(2 < 1, 1 // 0, 6)", 6), ("T.Cast(\"int64\", True and not False)", 1),
            ("T.Cast(\"int64\", False and 1 // 0 == 1)", 0), ("T.Cast(\"int64\", True or 1 // 0 == 1)", 1),
            ("T.Cast(\"int64\", T.float32(\"nan\") != T.float32(\"nan\"))", 1),
            ("T.Cast(\"int64\", T.isnan(T.float16(\"nan\")))", 1),
            (
                "T.Reduce([0], lambda x, y: (x + y,), [T.iter_var(k, 5, \"reduce\")], [k * k], where=k != 3)",
                21
            ),
            (
                "T.Reduce([-100, 0], lambda a, b, c, d: (T.max(a, c), T.Select(a >= c, b, d)), [T.iter_var(k, 9, \"reduce\")], [k % 5, k], value_index=1)",
                4
            ),
        ])
    func integers(_ text: String, _ expected: Int) throws { #expect(try int(text) == expected) }

    @Test(
        arguments: [
            ("T.float32(16777216.0) + T.float32(1.0)", 16_777_216),
            ("T.float16(2048.0) + T.float16(1.0)", 2048),
            ("T.bfloat16(256.0) + T.bfloat16(1.0)", 256),
            ("T.float16(60000.0) * T.float16(2.0)", Double.infinity),
            ("T.float32(1.0) / T.float32(3.0)", Double(Float(1) / 3)),
            ("T.Cast(\"float16\", T.float32(0.1))", 0.0999755859375),
            ("T.Cast(\"bfloat16\", T.float32(1.00390625))", 1),
            ("T.Cast(\"bfloat16\", T.float32(1.01171875))", 1.015625),
            ("T.Cast(\"float32\", 16777217)", 16_777_216),
            ("T.Cast(\"float32\", T.uint64(-1))", 18_446_744_073_709_551_616),
            ("T.round(T.float32(2.5))", 3), ("T.nearbyint(T.float32(2.5))", 2),
            ("T.trunc(T.float32(-2.5))", -2),
            ("T.floor(T.float32(-2.5))", -3), ("T.sqrt(T.float32(2.0))", Double(Float(2).squareRoot())),
            ("T.fma(T.float32(3.0), T.float32(4.0), T.float32(5.0))", 17),
            ("T.nextafter(T.float32(1.0), T.float32(2.0))", Double(Float(1).nextUp)),
            ("T.nextafter(T.float16(0.0), T.float16(-1.0))", -0x1p-24),
            ("T.copysign(T.float32(1.0), T.float32(-0.0))", -1),
            ("T.ldexp(T.float32(3.0), T.float32(4.0))", 48), ("T.max(T.float32(1.0), T.float32(-1.0))", 1),
            ("T.float32(-7.5) // T.float32(2.0)", -4), ("T.float32(-7.5) % T.float32(2.0)", 0.5),
            ("T.sigmoid(T.float64(0.0))", 0.5),
            ("T.reinterpret(T.int16(16256), dtype=\"bfloat16\")", 1), ("T.rsqrt(T.float32(4.0))", 0.5),
        ])
    func floats(_ text: String, _ expected: Double) throws { #expect(try float(text) == expected) }

    @Test func nanWins() throws {
        #expect(try float("T.min(T.float32(\"nan\"), T.float32(1.0))").isNaN)
        #expect(try float("T.max(T.float32(1.0), T.float32(\"nan\"))").isNaN)
    }

    @Test func vectors() throws {
        let e = try TIRParser.parseExpr("T.Ramp(T.int8(100), T.int8(20), 4) + T.Broadcast(T.int8(1), 4)")
        let lanes = try TIRInterpreter.evaluateLanes(e).map { v -> Int in
            if case .int(let x) = v { return x }
            return -1
        }
        #expect(lanes == [101, 121, -115, -95])
    }

    @Test(arguments: [
        DataType.int8, .int16, .int32, .int64, .uint8, .uint16, .uint32, .uint64, .bool, .float16, .float32,
        .float64, .bfloat16,
    ])
    func everyTypeIsCopied(_ d: DataType) throws {
        let a = NDArray.random(shape: [16], dtype: d, seed: 5)
        let b = NDArray(shape: [16], dtype: d)
        try run(
            """
            @T.prim_func
            def f(A: T.Buffer((16,), "\(d)"), B: T.Buffer((16,), "\(d)")):
                for i in range(8):
                    B[i] = A[i]
                B[T.Ramp(8, 1, 8)] = A[T.Ramp(8, 1, 8)]
            """, .array(a), .array(b))
        #expect(a.hasSameContents(as: b))
    }

    @Test func symbolicShapesBind() throws {
        let text = """
            @T.prim_func
            def f(A: T.Buffer((n, m), "float32"), B: T.Buffer((m, n), "float32"), C: T.Buffer((n * m,), "float32")):
                for i, j in T.grid(n, m):
                    B[j, i] = A[i, j]
                    C[i * m + j] = A[i, j]
            """
        let a = NDArray.random(shape: [3, 5], seed: 1)
        let (b, c) = (NDArray(shape: [5, 3], dtype: .float32), NDArray(shape: [15], dtype: .float32))
        try run(text, .array(a), .array(b), .array(c))
        #expect(try c.toArray(Float.self) == a.toArray(Float.self))
        #expect(try b.toArray(Float.self)[1 * 3 + 2] == a.toArray(Float.self)[2 * 5 + 1])
        let wrong = NDArray(shape: [14], dtype: .float32)
        #expect(code { try run(text, .array(a), .array(b), .array(wrong)) } == "TIR160")
        #expect(code { try run(text, .array(a), .array(a), .array(c)) } == "TIR160")
        #expect(code { try run(text, .array(a), .array(b)) } == "TIR160")
        #expect(code { try run(text, 1, .array(b), .array(c)) } == "TIR160")
    }

    @Test(
        arguments: [
            ("A[4] = T.float32(1.0)", "TIR161"), ("A[-1] = T.float32(1.0)", "TIR161"),
            ("A[0] = A[n]", "TIR161"),
            ("A[T.Ramp(2, 1, 4)] = T.Broadcast(T.float32(0.0), 4)", "TIR161"),
            ("T.evaluate(n // (n - n))", "TIR164"),
            ("assert n < 3, (\"X001\", \"m\")", "X001"), ("while True:\n        pass", "TIR163"),
            ("T.evaluate(T.call_extern(\"f\", dtype=\"int32\"))", "TIR162"),
            ("B = T.allocate((n * 1152921504606846976,), \"int8\")\n    pass", "RT001"),
            ("V = T.decl_buffer((8,), \"float32\", data=A.data)\n    V[5] = T.float32(1.0)", "TIR161"),
            ("T.evaluate(T.call_global(\"g\", dtype=\"int32\"))", "TIR162"),
        ])
    func errors(_ body: String, _ expected: String) {
        let text = "@T.prim_func\ndef f(A: T.Buffer((4,), \"float32\"), n: T.int64):\n    \(body)\n"
        let a = NDArray(shape: [4], dtype: .float32)
        #expect(code { try run(text, .array(a), 7, options: .init(maxSteps: 10_000)) } == expected)
    }

    @Test func outOfBoundsSaysWhere() {
        let a = NDArray(shape: [4], dtype: .float32)
        do {
            try run("@T.prim_func\ndef f(A: T.Buffer((4,), \"float32\")):\n    A[9] = A[0]\n", .array(a))
        } catch let e as ApusError {
            #expect(e.description.contains("buffer: A > dimension: 0"))
            #expect(e.expected == "0..<4" && e.actual == "9")
        } catch { Issue.record("\(error)") }
    }

    @Test func initRunsOncePerOutput() throws {
        // The reduction loop is split and its order reversed: init must run where all reduction variables start.
        let c = NDArray([Float](repeating: 100, count: 2))
        try run(
            """
            @T.prim_func
            def f(C: T.Buffer((2,), "float32")):
                for i, ko, ki in T.grid(2, 3, 2):
                    with T.block("b"):
                        v = T.axis.spatial(2, i)
                        k = T.axis.reduce(6, ko * 2 + ki)
                        T.where(ko * 2 + ki < 5)
                        with T.init():
                            C[v] = T.float32(10.0)
                        C[v] = C[v] + T.Cast("float32", k)
            """, .array(c))
        #expect(try c.toArray(Float.self) == [20, 20])
    }

    @Test func freshMemoryIsPoisoned() throws {
        let c = NDArray([Float](repeating: 0, count: 1))
        try run(
            "@T.prim_func\ndef f(C: T.Buffer((1,), \"float32\")):\n    L = T.allocate((1,), \"float32\")\n    C[0] = L[0]\n",
            .array(c))
        #expect(try c.toArray(Float.self)[0].isNaN)
    }

    @Test func matchBufferViews() throws {
        let a = NDArray(Array(0..<16).map { Float($0) }, shape: [4, 4])
        try run(
            """
            @T.prim_func
            def f(A: T.Buffer((4, 4), "float32")):
                for i in range(2):
                    with T.block("b"):
                        v = T.axis.spatial(2, i)
                        S = T.match_buffer(A[v * 2:v * 2 + 2, 1:3], (2, 2), "float32", strides=(s0, s1), elem_offset=o)
                        R = T.match_buffer(A[v, 0:4], (4,), "float32")
                        S[1, 1] = T.Cast("float32", s0 * 10 + o)
                        R[0] = T.float32(-1.0)
            """, .array(a))
        let v = try a.toArray(Float.self)
        #expect(v[1 * 4 + 2] == 41 && v[3 * 4 + 2] == 49 && v[0] == -1 && v[4] == -1 && v[8] == 8)
    }

    @Test func callsOfTheModule() throws {
        let m = try TIRParser.parseModule(
            """
            @I.ir_module
            class Module:
                @T.prim_func
                def main(A: T.Buffer((4,), "float32")):
                    T.evaluate(T.call_global("twice", A.data, 3, dtype="void"))
                    A[0] = T.Cast("float32", T.call_global("fact", 5, dtype="int64"))

                @T.prim_func
                def twice(A: T.Buffer((4,), "float32"), i: T.int64):
                    A[i] = A[i] * T.float32(2.0)

                @T.prim_func
                def fact(n: T.int64):
                    if n <= 1:
                        T.evaluate(T.ret(1))
                    T.evaluate(T.ret(n * T.call_global("fact", n - 1, dtype="int64")))
            """)
        try verifyWellFormed(m)
        let a = NDArray([Float(1), 2, 3, 4])
        try TIRInterpreter.run(try #require(m["main"] as? PrimFunc), [a], module: m)
        #expect(try a.toArray(Float.self) == [120, 2, 3, 8])
        #expect(
            code { try TIRInterpreter.run(try #require(m["fact"] as? PrimFunc), args: [100_000], module: m) }
                == "TIR168")
    }

    @Test func externs() throws {
        let a = NDArray([Float(1), 2, 3, 4])
        let options = TIRInterpreter.Options(externs: [
            "sum": { args in
                guard case .array(let bytes) = args[0], case .int(let n) = args[1] else { return 0 }
                return .float(Double(bytes.count) + Double(n))
            }
        ])
        try run(
            "@T.prim_func\ndef f(A: T.Buffer((4,), \"float32\")):\n    A[0] = T.call_extern(\"sum\", T.address_of(A[1]), 5, dtype=\"float32\")\n",
            .array(a), options: options)
        #expect(try a.toArray(Float.self)[0] == 17)
    }
}
