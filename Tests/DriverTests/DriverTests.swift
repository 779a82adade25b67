import ApusDriver
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTIRSchedule
import Testing

/// A matrix product with a bias, as TE makes it.
private func denseFunction(_ m: Int, _ n: Int, _ k: Int) throws -> PrimFunc {
    let a = placeholder([m, k], name: "A")
    let b = placeholder([n, k], name: "B")
    let bias = placeholder([n], name: "bias")
    let r = reduceAxis(k)
    let c = try compute([m, n], name: "C") { reduceSum(a[$0[0], r.variable] * b[$0[1], r.variable], [r]) }
    let d = try compute([m, n], name: "D") { c[$0] + bias[$0[1]] }
    return try createPrimFunc([a, b, bias, d], name: "dense")
}

/// The results of both functions on the same random inputs.
private func expectSame(_ a: PrimFunc, _ b: PrimFunc) throws {
    func run(_ f: PrimFunc) throws -> [NDArray] {
        var arrays: [NDArray] = []
        for (i, entry) in f.bufferMap.enumerated() {
            let shape = try #require(entry.buffer.staticShape)
            arrays.append(NDArray.random(shape: shape, dtype: entry.buffer.dtype, seed: UInt64(i)))
        }
        try TIRInterpreter.run(f, arrays)
        return arrays
    }
    for (x, y) in zip(try run(a), try run(b)) {
        for (p, q) in zip(try x.toDoubles(), try y.toDoubles()) {
            #expect(abs(p - q) <= 1e-5 * max(1, abs(q)))
        }
    }
}

@Suite struct LowerTests {
    @Test(arguments: [(4, 8, 5), (1, 1, 1), (7, 3, 9)])
    func loweredComputesTheSame(_ s: (Int, Int, Int)) throws {
        let f = try denseFunction(s.0, s.1, s.2)
        let lowered = try lower(f)
        try verifyLowered(lowered)
        try expectSame(lowered, f)
    }

    @Test func scheduledThenLowered() throws {
        let f = try denseFunction(8, 16, 12)
        let sch = try Schedule(f)
        let c = try sch.getBlock("C")
        try sch.setScope(c, writeIndex: 0, scope: "local")
        let store = try sch.getBlock("D")
        let loops = try sch.getLoops(store)
        let rows = try sch.split(loops[0], factors: [nil, 4])
        let columns = try sch.split(loops[1], factors: [nil, 8])
        try sch.reorder([rows[0], columns[0], rows[1], columns[1]])
        try sch.computeAt(c, columns[0])
        try sch.vectorize(columns[1])
        try sch.unroll(rows[1])
        let lowered = try lower(sch.function)
        try verifyLowered(lowered)
        try expectSame(lowered, f)
    }

    @Test func loweringTwiceChangesNothingThatMatters() throws {
        let once = try lower(try denseFunction(3, 4, 5))
        try expectSame(try lower(once), once)
    }

    @Test func whatIsNotLoweredIsNamed() throws {
        let error = #expect(throws: ApusError.self) { try verifyLowered(try denseFunction(2, 2, 2)) }
        #expect(error?.code == "LOW001")
    }

    @Test func graphFunctionsAreLeftAlone() throws {
        let f = try denseFunction(2, 2, 2)
        let module = IRModule([(global: GlobalVar("dense"), function: f)])
        let lowered = try lowerModule(module)
        #expect(lowered.globals.map(\.name) == ["dense"])
        #expect(lowered.functions[0] !== f)
    }
}
