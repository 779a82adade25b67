import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import Testing

private func floats(_ t: NDArray) throws -> [Double] { try t.toDoubles() }

@Suite struct TensorTests {
    @Test func inputsShapesAndTypes() throws {
        let n = te.var("n")
        let a = te.placeholder([n, 4], name: "A")
        let k = te.reduceAxis(0..<4, name: "k")
        let c = te.compute([n], name: "C") { i in te.sum(a[i, k], axis: k) }
        #expect(c.op.inputTensors.map(\.op.name) == ["A"])
        #expect(c.dtype == .float32 && c.rank == 1 && c.shape[0] === n)
        #expect(c.axis.map { $0.variable.name } == ["i0"])
        #expect(c.reduceAxis.first === k)
        #expect(c.op.rootIterVars.count == 2)
        #expect(c.isSame(as: c.op.output()))
        #expect(!a.isSame(as: c))
        #expect(te.placeholder([2], .int8).dtype == .int8)
        #expect(a.op.outputShape(0).count == 2 && a.op.outputDType(0) == .float32)
    }

    @Test(arguments: [1, 2, 3, 4, 5, 6]) func closuresOfEveryRank(_ rank: Int) throws {
        let shape = Array([2, 3, 1, 2, 1, 2].prefix(rank))
        let a = te.placeholder(shape, name: "A")
        let b: Tensor =
            switch rank {
            case 1: te.compute(shape) { i in a[i] + 1 }
            case 2: te.compute(shape) { i, j in a[i, j] + 1 }
            case 3: te.compute(shape) { i, j, k in a[i, j, k] + 1 }
            case 4: te.compute(shape) { i, j, k, l in a[i, j, k, l] + 1 }
            case 5: te.compute(shape) { i, j, k, l, m in a[i, j, k, l, m] + 1 }
            default: te.compute(shape) { i, j, k, l, m, o in a[i, j, k, l, m, o] + 1 }
            }
        let x = NDArray.random(shape: shape, seed: 3)
        #expect(try floats(try run([b], [(a, x)])[0]) == floats(x).map { Double(Float($0) + 1) })
        let pairs: [Tensor] =
            switch rank {
            case 1: te.computeTuple(shape) { i in [a[i], a[i] * 2] }
            case 2: te.computeTuple(shape) { i, j in [a[i, j], a[i, j] * 2] }
            case 3: te.computeTuple(shape) { i, j, k in [a[i, j, k], a[i, j, k] * 2] }
            case 4: te.computeTuple(shape) { i, j, k, l in [a[i, j, k, l], a[i, j, k, l] * 2] }
            case 5: te.computeTuple(shape) { i, j, k, l, m in [a[i, j, k, l, m], a[i, j, k, l, m] * 2] }
            default:
                te.computeTuple(shape) { i, j, k, l, m, o in [a[i, j, k, l, m, o], a[i, j, k, l, m, o] * 2] }
            }
        let both = try run(pairs, [(a, x)])
        #expect(try floats(both[0]) == floats(x))
        #expect(try floats(both[1]) == floats(x).map { $0 * 2 })
    }

    @Test func indicesAreExpressionsAxesAndIntegers() throws {
        let a = te.placeholder([4, 6], name: "A")
        let k = te.reduceAxis(0..<3, name: "k")
        let b = te.compute([4], name: "B") { i in te.sum(a[i, k + 1] + a[3 - i, 2 * k] * a[i, 0], axis: k) }
        let x = NDArray.random(shape: [4, 6], seed: 5)
        let v = try floats(x)
        let y = try floats(try run([b], [(a, x)])[0])
        for i in 0..<4 {
            let want = (0..<3).reduce(0.0) { s, k in s + v[i * 6 + k + 1] + v[(3 - i) * 6 + 2 * k] * v[i * 6]
            }
            #expect(abs(y[i] - want) < 1e-5)
        }
    }

    @Test func slices() throws {
        let a = te.placeholder([3, 4, 2], name: "A")
        let b = te.compute([4], name: "B") { i in a.slice(1)[i, 1].value }
        let row = a.slice(2).asTensor()
        #expect(row.staticShape == [4, 2])
        let x = NDArray.random(shape: [3, 4, 2], seed: 2)
        let v = try floats(x)
        let out = try run([b, row], [(a, x)])
        #expect(try floats(out[0]) == (0..<4).map { v[8 + $0 * 2 + 1] })
        #expect(try floats(out[1]) == Array(v[16..<24]))
    }

    @Test func replaceInputsReadsOthers() throws {
        let a = te.placeholder([4], name: "A")
        let b = te.placeholder([4], name: "B")
        let c = te.compute([4], name: "C") { i in a[i] + a[3 - i] }
        let other = c.op.replaceInputs([(old: a, new: b)])
        #expect(other !== c.op)
        #expect(other.inputTensors.map(\.op.name) == ["B"])
        #expect(c.op.replaceInputs([(old: b, new: a)]) === c.op)
        let k = te.reduceAxis(0..<4)
        let arg = te.computeTuple([1]) { _ in te.argmax(k.variable, a[k], axis: k) }
        let moved = try #require(arg[0].op.replaceInputs([(old: a, new: b)]) as? ComputeOp)
        #expect(moved.error == nil && moved.outputCount == 2)
        let e = te.extern([(shape: [4], dtype: .float32)], inputs: [a]) { i, o in
            forEachIndex([te.const(4)]) { BufferStore(o[0], BufferLoad(i[0], $0), $0) }
        }
        #expect(e[0].op.replaceInputs([(old: a, new: b)]).inputTensors.map(\.op.name) == ["B"])
    }

    @Test func tagsAndScopes() throws {
        let a = te.placeholder([4], name: "A")
        let (b, c) = te.tagScope("conv") {
            (te.compute([4]) { i in a[i] }, te.compute([4], tag: "own") { i in a[i] })
        }
        #expect(b.op.tag == "conv")
        #expect(c.op.tag == "own")
        #expect(te.compute([4]) { i in a[i] }.op.tag == "")
        #expect(
            te.tagScope("outer") { te.tagScope("inner") { te.compute([1]) { _ in a[0] } } }.op.tag == "inner")
        #expect(try te.tagScope("x") { try compute([4]) { a[$0] } }.op.tag == "x")
    }

    @Test func specializedConditions() {
        let n = te.var("n")
        #expect(SpecializedCondition.current == nil)
        te.specializedCondition([n .>= te.const(16)]) {
            #expect(SpecializedCondition.current?.clauses.count == 1)
        }
        #expect(SpecializedCondition.current == nil)
    }

    @Test func scalarParameters() throws {
        let alpha = te.var("alpha", .float32)
        let a = te.placeholder([3], name: "A")
        let b = te.compute([3], name: "B") { i in a[i] * alpha }
        let f = try te.createPrimFunc([a, alpha, b])
        #expect(f.params.count == 3 && f.params[1] === alpha)
        #expect(errorCode { _ = try te.createPrimFunc([a, b]) } == "TE020")
    }
}

@Suite struct ReducerTests {
    private let values: [Float] = [3, -1, 4, 1, -5, 4]

    private func reduced(_ f: (PrimExpr, IterVar) -> PrimExpr) throws -> [Float] {
        let a = te.placeholder([2, 3], name: "A")
        let k = te.reduceAxis(0..<3)
        let b = te.compute([2], name: "B") { i in f(a[i, k], k) }
        return try run([b], [(a, NDArray(values, shape: [2, 3]))])[0].toArray(Float.self)
    }

    @Test func conditionsAndInitialValues() throws {
        #expect(try reduced { te.sum($0, axis: $1) } == [6, 0])
        #expect(try reduced { te.prod($0, axis: $1) } == [-12, -20])
        #expect(try reduced { te.max($0, axis: $1) } == [4, 4])
        #expect(try reduced { te.min($0, axis: $1) } == [-1, -5])
        #expect(try reduced { te.sum($0, axis: $1, where: $0 .> const(0, .float32)) } == [7, 5])
        #expect(try reduced { te.sum($0, axis: $1, initial: te.const(10.0)) } == [16, 10])
        #expect(try reduced { te.max($0, axis: $1, initial: te.const(9.0)) } == [9, 9])
        #expect(
            try reduced { te.min($0, axis: $1, where: $1 .< 2, initial: te.const(2.0)) } == [-1, -5])
        #expect(try reduced { te.prod($0, axis: $1, initial: te.const(2.0)) } == [-24, -40])
    }

    @Test func anyAndAll() throws {
        let a = te.placeholder([2, 3], name: "A")
        let k = te.reduceAxis(0..<3)
        let some = te.compute([2], name: "some") { i in te.any(a[i, k] .< const(0, .float32), axis: k) }
        let l = te.reduceAxis(0..<3)
        let every = te.compute([2], name: "every") { i in te.all(a[i, l] .> const(-2, .float32), axis: l) }
        let out = try run([some, every], [(a, NDArray(values, shape: [2, 3]))])
        #expect(try out[0].toDoubles() == [1, 1])
        #expect(try out[1].toDoubles() == [1, 0])
    }

    @Test func argmaxTakesTheFirstOfEqualOnes() throws {
        let a = te.placeholder([2, 4], name: "A")
        let k = te.reduceAxis(0..<4)
        let l = te.reduceAxis(0..<4)
        let most = te.computeTuple([2], name: "most") { i in te.argmax(k.variable, a[i, k], axis: k) }
        let least = te.computeTuple([2], name: "least") { i in te.argmin(l.variable, a[i, l], axis: l) }
        let x = NDArray([Float(1), 7, 7, 0, 2, 2, 2, 2], shape: [2, 4])
        let out = try run(most + least, [(a, x)])
        #expect(try out[0].toArray(Int64.self) == [1, 0])
        #expect(try out[1].toArray(Float.self) == [7, 2])
        #expect(try out[2].toArray(Int64.self) == [3, 0])
        #expect(try out[3].toArray(Float.self) == [0, 2])
    }

    @Test func ownReducers() throws {
        let a = te.placeholder([5], .int64, name: "A")
        let xor = te.commReducer(
            { [bitwise("bitwise_xor", $0[0], $1[0])] }, { [const(0, $0[0])] }, name: "xor")
        let k = te.reduceAxis(0..<5)
        let b = te.compute([1], name: "B") { _ in xor(a[k], axis: k) }
        let x = NDArray([Int64(1), 2, 4, 8, 1], shape: [5])
        #expect(try run([b], [(a, x)])[0].toArray(Int64.self) == [14])
        // Sum and product in one pass.
        let both = te.commReducer(
            { [$0[0] + $1[0], $0[1] * $1[1]] }, { [const(0, $0[0]), const(1, $0[1])] }, name: "both")
        let l = te.reduceAxis(0..<5)
        let c = te.computeTuple([1], name: "C") { _ in both([a[l], a[l] + 1], axis: l, where: l .< 3) }
        let out = try run(c, [(a, x)])
        #expect(try out[0].toArray(Int64.self) == [7])
        #expect(try out[1].toArray(Int64.self) == [30])
    }

    @Test func axesThatDoNotStartAtZero() throws {
        let a = te.placeholder([8], name: "A")
        let k = te.reduceAxis(2..<7, name: "k")
        let b = te.compute([1], name: "B") { _ in te.sum(a[k], axis: k) }
        let x = NDArray((0..<8).map { Float($0) }, shape: [8])
        #expect(try run([b], [(a, x)])[0].toArray(Float.self) == [20])
    }
}

@Suite struct TensorArithmeticTests {
    private let a = te.placeholder([2, 3], name: "A")
    private let b = te.placeholder([3], name: "B")

    private func value(_ t: Tensor) throws -> [Double] {
        let x = NDArray((0..<6).map { Float($0 + 1) }, shape: [2, 3])
        let y = NDArray([Float(2), 4, 8], shape: [3])
        return try floats(try run([t], [(a, x), (b, y)])[0])
    }

    @Test func tensorsWithTensors() throws {
        #expect(try value(a + b) == [3, 6, 11, 6, 9, 14])
        #expect(try value(a - b) == [-1, -2, -5, 2, 1, -2])
        #expect(try value(b * a) == [2, 8, 24, 8, 20, 48])
        #expect(try value(a / b) == [0.5, 0.5, 0.375, 2, 1.25, 0.75])
        #expect((a + b).op.tag == "broadcast")
        #expect((a + b).staticShape == [2, 3])
    }

    @Test func tensorsWithScalars() throws {
        #expect(try value(a + 1) == [2, 3, 4, 5, 6, 7])
        #expect(try value(10 - a) == [9, 8, 7, 6, 5, 4])
        #expect(try value(a * 0.5) == [0.5, 1, 1.5, 2, 2.5, 3])
        #expect(try value(12.0 / a) == [12, 6, 4, 3, 2.4000000953674316, 2])
        #expect(try value(a + te.const(1.5)) == [2.5, 3.5, 4.5, 5.5, 6.5, 7.5])
        #expect(try value(te.const(2.0) * a) == [2, 4, 6, 8, 10, 12])
        #expect(try value(-a) == [-1, -2, -3, -4, -5, -6])
        #expect((a + 1).op.tag == "elemwise")
    }

    @Test func chains() throws {
        #expect(try value((a + b) * 2 - a) == [5, 10, 19, 8, 13, 22])
    }

    @Test func dimensionsOfOneRepeat() throws {
        let c = te.placeholder([2, 1], name: "C")
        let d = c * b
        #expect(d.staticShape == [2, 3])
        let n = te.var("n")
        #expect(broadcastShape([n, te.const(1)], [te.const(4)])?.count == 2)
        #expect(broadcastShape([n], [te.const(4)]) == nil)
    }

    @Test func shapesThatDoNotFit() throws {
        let c = te.placeholder([4], name: "C")
        #expect((a + c).op.error?.code == "TE018")
        #expect(errorCode { _ = try createPrimFunc([a, c, a + c]) } == "TE018")
    }
}

@Suite struct DeferredErrorTests {
    private let a = te.placeholder([4, 4], name: "A")
    private let k = te.reduceAxis(0..<4, name: "k")

    private func code(_ t: Tensor) -> String? {
        let thrown = errorCode { _ = try createPrimFunc([a, t]) }
        #expect(thrown == t.op.error?.code || t.op.error == nil)
        return thrown
    }

    @Test func everyDeclarationErrorHasItsCode() {
        #expect(code(te.compute([4]) { i in a[i] }) == "TE010")
        #expect(code(te.compute([4]) { i in a[i, i, i] }) == "TE010")
        #expect(code(te.compute([4]) { i in a[i, cast(.float32, i)] }) == "TE011")
        #expect(code(te.compute([4, 4]) { i in a[i, i] }) == "TE012")
        #expect(code(te.compute([4]) { i, j in a[i, j] }) == "TE012")
        #expect(code(te.compute([4]) { i in te.sum(a[i, k], axis: k) + 1 }) == "TE002")
        let notReduced = IterVar(IRRange(0, extent: 4), Var("x"), .dataParallel)
        #expect(code(te.compute([4]) { i in te.sum(a[i, notReduced], axis: notReduced) }) == "TE013")
        #expect(code(te.compute([4]) { i in te.sum(a[i, k], axis: k, k) }) == "TE013")
        #expect(code(te.compute([4]) { i in te.sum(a[i, i]) }) == "TE013")
        #expect(code(te.computeTuple([4]) { i in [te.sum(a[i, k], axis: k), a[i, i]] }[0]) == "TE014")
        #expect(code(te.computeTuple([4]) { i in [a[i, i], te.sum(a[i, k], axis: k)] }[0]) == "TE014")
        #expect(code(te.compute([4]) { i in te.argmax(k.variable, a[i, k], axis: k)[1] }) == "TE014")
        #expect(code(te.compute([4]) { i in te.any(a[i, k], axis: k) }) == "TE015")
        #expect(code(te.compute([4]) { i in te.sum(a[i, k], axis: k, initial: te.const(1)) }) == "TE015")
        #expect(code(te.compute([4]) { i in te.sum(a[i, k], axis: k, where: k.variable) }) == "TE015")
        let uneven = te.commReducer({ x, y in [x[0] + y[0], x[0]] }, { [const(0, $0[0])] })
        #expect(code(te.compute([4]) { i in uneven(a[i, k], axis: k) }) == "TE015")
        #expect(code(te.compute([-1]) { i in a[i, i] }) == "TE017")
        #expect(te.placeholder([-2]).op.error?.code == "TE017")
        #expect(code(te.compute([4]) { i in a[i, k] }) == "TE020")
    }

    @Test func throwingFormsThrowAtOnce() {
        #expect(errorCode { _ = try compute([4]) { a[$0] } } == "TE010")
        #expect(errorCode { _ = try computeTuple([const(4)]) { _ in [] } } == "TE014")
    }

    @Test func errorsOfInputsAreFound() {
        let bad = te.compute([4], name: "bad") { i in a[i] }
        let user = te.compute([4], name: "user") { i in bad[i] + 1 }
        let e = #expect(throws: ApusError.self) { try createPrimFunc([a, user]) }
        #expect(e?.code == "TE010" && e?.context == ["compute: bad"])
    }
}
