import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import Testing

@Suite struct ComputeTests {
    @Test func elementwiseText() throws {
        let a = placeholder([4, 8], name: "A")
        let b = try compute([4, 8], name: "B", tag: "elemwise") { a[$0] + 1 }
        let function = try createPrimFunc([a, b], name: "plus")
        let text = """
            @T.prim_func
            def plus(A: T.Buffer((4, 8), "float32"), B: T.Buffer((4, 8), "float32")):
                T.func_attr({"global_symbol": "plus", "tir.noalias": True})
                with T.block("root"):
                    for i0, i1 in T.grid(4, 8):
                        with T.block("B"):
                            v_i0, v_i1 = T.axis.remap("SS", [i0, i1])
                            T.reads(A[v_i0, v_i1])
                            T.writes(B[v_i0, v_i1])
                            T.block_attr({"tag": "elemwise"})
                            B[v_i0, v_i1] = A[v_i0, v_i1] + T.float32(1.0)

            """
        #expect(function.description.trimmed == text.trimmed)
    }

    @Test func matmulEqualsLoops() throws {
        let (m, n, k) = (5, 7, 6)
        let a = placeholder([m, k], name: "A")
        let b = placeholder([k, n], name: "B")
        let r = reduceAxis(k)
        let c = try compute([m, n], name: "C") { reduceSum(a[$0[0], r.variable] * b[r.variable, $0[1]], [r]) }
        let x = NDArray.random(shape: [m, k], seed: 1)
        let y = NDArray.random(shape: [k, n], seed: 2)
        let z = try run([c], [(a, x), (b, y)])[0].toDoubles()
        let (p, q) = (try x.toDoubles(), try y.toDoubles())
        for i in 0..<m {
            for j in 0..<n {
                let sum = (0..<k).reduce(0.0) { $0 + p[i * k + $1] * q[$1 * n + j] }
                #expect(abs(z[i * n + j] - sum) < 1e-4)
            }
        }
    }

    @Test func intermediatesAreAllocatedInTheRoot() throws {
        let a = placeholder([16], name: "A")
        let b = try compute([16], name: "B") { a[$0] * 2 }
        let c = try compute([16], name: "B") { b[$0] - 1 }
        let function = try createPrimFunc([a, c])
        let root = try #require((function.body as? BlockRealize)?.block)
        // Two tensors of one name get buffers of two names.
        #expect(root.allocBuffers.map(\.name) == ["B_1"])
        let x = NDArray((0..<16).map { Float($0) }, shape: [16])
        #expect(try run([c], [(a, x)])[0].toArray(Float.self) == (0..<16).map { Float($0) * 2 - 1 })
    }

    @Test func reductionsOfEveryKind() throws {
        let values: [Float] = [3, -1, 4, 1, -5, 9]
        let a = placeholder([2, 3], name: "A")
        func reduced(_ f: (PrimExpr, [IterVar]) -> PrimExpr) throws -> [Float] {
            let k = reduceAxis(3)
            let b = try compute([2], name: "B") { f(a[$0[0], k.variable], [k]) }
            return try run([b], [(a, NDArray(values, shape: [2, 3]))])[0].toArray(Float.self)
        }
        #expect(try reduced { reduceSum($0, $1) } == [6, 5])
        #expect(try reduced { reduceProd($0, $1) } == [-12, -45])
        #expect(try reduced { reduceMax($0, $1) } == [4, 9])
        #expect(try reduced { reduceMin($0, $1) } == [-1, -5])
        #expect(try reduced { reduceSum($0, $1, where: $0 .> const(0, .float32)) } == [7, 10])
    }

    @Test func reductionOverNothingIsItsInitialValue() throws {
        let a = placeholder([2, 0], name: "A")
        let k = reduceAxis(0)
        let x = try NDArray.allocate(shape: [2, 0], dtype: .float32)
        let b = try compute([2], name: "B") { reduceProd(a[$0[0], k.variable], [k]) }
        #expect(try run([b], [(a, x)])[0].toArray(Float.self) == [1, 1])
    }

    @Test func tupleReductionReadsOldValuesFirst() throws {
        // (sum, sum of squares) in one pass.
        let a = placeholder([4], name: "A")
        let k = reduceAxis(4)
        let vars = ["a", "b", "c", "d"].map { Var($0, dtype: .float32) }
        let both = CommReducer(
            lhs: [vars[0], vars[1]], rhs: [vars[2], vars[3]], result: [vars[0] + vars[2], vars[1] + vars[3]],
            identity: [const(0, .float32), const(0, .float32)])
        let x = a[k.variable]
        let outputs = try computeTuple([], name: "moments") { _ in reduceTuple(both, [x, x * x], [k]) }
        let result = try run(outputs, [(a, NDArray([Float(1), 2, 3, 4], shape: [4]))])
        #expect(try result[0].toArray(Float.self) == [10])
        #expect(try result[1].toArray(Float.self) == [30])
    }

    @Test func externRunsItsStatement() throws {
        let a = placeholder([5], .int64, name: "A")
        let sums = extern([(shape: [IntImm(5)], dtype: .int64)], inputs: [a], name: "prefix") {
            inputs, outputs in
            forLoop("i", const(5)) { i in
                let before = ifThenElse(
                    i .> const(0), BufferLoad(outputs[0], [maximum(i - 1, const(0))]), const(0))
                return BufferStore(outputs[0], before + BufferLoad(inputs[0], [i]), [i])
            }
        }
        let x = NDArray([Int64(1), 2, 3, 4, 5], shape: [5])
        let y = try NDArray.allocate(shape: [5], dtype: .int64)
        try TIRInterpreter.run(try createPrimFunc([a] + sums), [x, y])
        #expect(try y.toArray(Int64.self) == [1, 3, 6, 10, 15])
    }

    @Test func nestedReductionIsRefused() throws {
        let a = placeholder([4], name: "A")
        let k = reduceAxis(4)
        #expect(throws: ApusError.self) {
            try compute([1], name: "B") { _ in reduceSum(a[k.variable], [k]) + 1 }
        }
    }

    @Test func missingInputIsNamed() throws {
        let a = placeholder([4], name: "A")
        let b = try compute([4], name: "B") { a[$0] }
        let error = #expect(throws: ApusError.self) { try createPrimFunc([b]) }
        #expect(error?.code == "TE003")
    }

    @Test func symbolicShapes() throws {
        let n = Var("n")
        let a = placeholder([n], name: "A")
        let b = try compute([n], name: "B") { a[$0] + a[$0] }
        let function = try createPrimFunc([a, b])
        for length in [0, 1, 9] {
            let x = NDArray((0..<length).map { Float($0) }, shape: [length])
            let y = try NDArray.allocate(shape: [length], dtype: .float32)
            try TIRInterpreter.run(function, [x, y])
            #expect(try y.toArray(Float.self) == (0..<length).map { Float(2 * $0) })
        }
    }

    @Test func jsonRoundTrip() throws {
        TENodes.registerAll()
        let a = placeholder([4, 4], name: "A")
        let k = reduceAxis(4)
        let b = try compute([4], name: "B") { reduceMax(a[$0[0], k.variable], [k]) }
        let back = try #require(try loadJSON(saveJSON(b)) as? Tensor)
        #expect(structuralEqual(back, b))
    }
}

extension String {
    fileprivate var trimmed: String {
        var s = self[...]
        while s.last?.isWhitespace == true { s = s.dropLast() }
        return String(s)
    }
}
