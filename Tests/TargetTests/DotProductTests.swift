import ApusIR
import ApusRuntime
import ApusTIR
import ApusTarget
import Testing

@Suite struct DotProductTests {
    /// `o[i] = s[i] + dot(a[i], b[i])`, in vectors of `lanes`.
    private func kernel(_ dot: DotProduct, _ n: Int, _ lanes: Int) -> PrimFunc {
        let a = Buffer("a", [n], .uint32)
        let b = Buffer("b", [n], .uint32)
        let s = Buffer("s", [n], dot.sumType)
        let o = Buffer("o", [n], dot.sumType)
        func value(_ at: PrimExpr) -> PrimExpr {
            BufferLoad(s, [at]) + dot(BufferLoad(a, [at]), BufferLoad(b, [at]))
        }
        return lanes == 1
            ? elementwise([a, b, s], o, n) { value($0) } : vectorwise([a, b, s], o, n, lanes) { value($0) }
    }

    private let wordsA: [UInt32] = (0..<48).map {
        UInt32(truncatingIfNeeded: $0 &* 0x9E37_79B9 &+ 0x85EB_CA6B)
    }
    private let wordsB: [UInt32] = (0..<48).map {
        UInt32(truncatingIfNeeded: $0 &* 0xC2B2_AE35 ^ 0x27D4_EB2F)
    }

    @Test(arguments: Engine.code, [1, 3, 4, 8, 16])
    func bytes(_ engine: Engine, _ lanes: Int) throws {
        let sums: [Int32] = (0..<48).map { Int32($0 * 1001 - 20000) }
        let z = NDArray(shape: [48], dtype: .int32)
        try call(
            engine.build(kernel(.u8s8, 48, lanes)), [NDArray(wordsA), NDArray(wordsB), NDArray(sums), z])
        let got: [Int32] = try z.toArray()
        for i in 0..<48 {
            var want = sums[i]
            for j in 0..<4 {
                let x = UInt8(truncatingIfNeeded: wordsA[i] >> (8 * j))
                let y = Int8(truncatingIfNeeded: wordsB[i] >> (8 * j))
                want += Int32(x) * Int32(y)
            }
            #expect(got[i] == want, "lane \(i)")
        }
    }

    /// Integers and halves small enough that no sum is rounded: every order gives the same.
    @Test(arguments: Engine.code, [1, 3, 4, 8, 16])
    func pairs(_ engine: Engine, _ lanes: Int) throws {
        let x = (0..<96).map { Float($0 % 13 - 6) / 2 }
        let y = (0..<96).map { Float($0 % 17 - 8) / 4 }
        func words(_ v: [Float]) -> [UInt32] {
            (0..<48).map { v[2 * $0].bitPattern >> 16 | (v[2 * $0 + 1].bitPattern & 0xFFFF_0000) }
        }
        let sums = (0..<48).map { Float($0) - 20 }
        let z = NDArray(shape: [48], dtype: .float32)
        try call(
            engine.build(kernel(.bf16, 48, lanes)), [NDArray(words(x)), NDArray(words(y)), NDArray(sums), z])
        let got: [Float] = try z.toArray()
        for i in 0..<48 {
            #expect(got[i] == sums[i] + x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1], "lane \(i)")
        }
    }

    @Test(arguments: DotProduct.allCases, [1, 4])
    func interpreted(_ dot: DotProduct, _ lanes: Int) throws {
        let function = kernel(dot, 48, lanes)
        let sums = NDArray(shape: [48], dtype: dot.sumType)
        let z = NDArray(shape: [48], dtype: dot.sumType)
        let c = NDArray(shape: [48], dtype: dot.sumType)
        // Numbers of one sign of moderate size, so that no float is infinite or without a number.
        let a = wordsA.map { $0 & 0x3FFF_3FFF }
        let b = wordsB.map { $0 & 0x3FFF_3FFF }
        try TIRInterpreter.run(function, [NDArray(a), NDArray(b), sums, z])
        try call(Engine.jitGeneric.build(function), [NDArray(a), NDArray(b), sums, c])
        let expected = try z.toDoubles()
        let compiled = try c.toDoubles()
        for (e, g) in zip(expected, compiled) { #expect(abs(e - g) <= 1e-6 * abs(e)) }
    }

    /// The instructions are used where the target has them, and not elsewhere.
    @Test func targets() throws {
        let modern = try Target("llvm -mtriple=x86_64-unknown-linux-gnu -mcpu=znver4")
        let older = try Target("llvm -mtriple=x86_64-unknown-linux-gnu -mcpu=x86-64-v3")
        #expect(modern.dotProducts == [.bf16, .u8s8])
        #expect(older.dotProducts.isEmpty)
    }
}
