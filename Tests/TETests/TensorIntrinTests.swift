import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import Testing

/// `c[i] = a[i] + b[i]` of `n` elements at once.
func vectorAdd(_ n: Int) throws -> TETensorIntrin {
    let a = te.placeholder([n], name: "a")
    let b = te.placeholder([n], name: "b")
    let c = te.compute([n], name: "c") { i in a[i] + b[i] }
    return try te.declTensorIntrin(c.op, name: "vadd\(n)") { ins, outs, _ in
        IntrinsicForms(
            forEachIndex([te.const(n)]) {
                BufferStore(outs[0], BufferLoad(ins[0], $0) + BufferLoad(ins[1], $0), $0)
            })
    }
}

/// A matrix-vector product of `m` rows and `l` columns: body, reset and update.
func matrixVector(_ m: Int, _ l: Int, reset: Bool = true) throws -> TETensorIntrin {
    let a = te.placeholder([m, l], name: "a")
    let b = te.placeholder([l], name: "b")
    let k = te.reduceAxis(0..<l)
    let c = te.compute([m], name: "c") { i in te.sum(a[i, k] * b[k], axis: k) }
    return try te.declTensorIntrin(c.op, name: "gemv\(m)x\(l)\(reset)") { ins, outs, _ in
        let zero = forEachIndex([te.const(m)]) { BufferStore(outs[0], const(0, .float32), $0) }
        let add = forEachIndex([te.const(m), te.const(l)]) { i in
            BufferStore(
                outs[0], BufferLoad(outs[0], [i[0]]) + BufferLoad(ins[0], i) * BufferLoad(ins[1], [i[1]]),
                [i[0]])
        }
        return IntrinsicForms(body: SeqStmt.flat([zero, add]), reset: reset ? zero : nil, update: add)
    }
}

@Suite struct TensorIntrinTests {
    @Test func declaration() throws {
        let v = try vectorAdd(8)
        #expect(v.inputs.count == 2 && v.buffers.count == 3)
        #expect(v.reduceInit == nil && v.body != nil)
        let a = te.placeholder([4], name: "a")
        let b = te.compute([4], name: "b") { i in a[i] }
        let c = te.compute([4], name: "c") { i in b[i] }
        func forms(_ i: [Buffer], _ o: [Buffer], _ s: [Var]) -> IntrinsicForms {
            IntrinsicForms(Evaluate.noOp)
        }
        #expect(errorCode { _ = try te.declTensorIntrin(c.op, forms) } == "TE016")
        #expect(errorCode { _ = try te.declTensorIntrin(a.op, forms) } == "TE016")
        #expect(
            errorCode {
                _ = try te.declTensorIntrin(b.op) { _, _, _ in
                    IntrinsicForms(body: nil, reset: nil, update: nil)
                }
            } == "TE016")
        #expect(
            errorCode {
                _ = try te.declTensorIntrin(b.op, bindBuffers: [(tensor: a, buffer: Buffer("a", [5]))], forms)
            } == "TE016")
        let own = Buffer("mine", [4])
        let bound = try te.declTensorIntrin(b.op, bindBuffers: [(tensor: a, buffer: own)], forms)
        #expect(bound.buffers[0] === own)
    }

    @Test func tensorComputeOfTiles() throws {
        let v = try vectorAdd(4)
        let a = te.placeholder([6, 8], name: "A")
        let b = te.placeholder([8], name: "B")
        let c = te.compute([6, 4], name: "C") { i in v(a.region(i, 2..<6), b.region(0..<4)) }
        let x = NDArray.random(shape: [6, 8], seed: 1)
        let y = NDArray.random(shape: [8], seed: 2)
        let (p, q) = (try x.toDoubles(), try y.toDoubles())
        let z = try run([c], [(a, x), (b, y)])[0].toDoubles()
        for i in 0..<6 { for j in 0..<4 { #expect(abs(z[i * 4 + j] - p[i * 8 + 2 + j] - q[j]) < 1e-6) } }
        #expect(c.op.rootIterVars.count == 1 && c.axis.count == 2)
    }

    @Test func tensorComputeWithReduction() throws {
        let g = try matrixVector(4, 3)
        let a = te.placeholder([8, 4, 12], name: "A")
        let b = te.placeholder([12], name: "B")
        let k = te.reduceAxis(0..<4, name: "ko")
        let c = te.compute([8, 4], name: "C") { i in
            g(
                a.region(i, 0..<4, IRRange(min: k * 3, extent: te.const(3))),
                b.region(IRRange(min: k * 3, extent: te.const(3))), reduceAxis: [k])
        }
        let x = NDArray.random(shape: [8, 4, 12], seed: 1)
        let y = NDArray.random(shape: [12], seed: 2)
        let (p, q) = (try x.toDoubles(), try y.toDoubles())
        let z = try run([c], [(a, x), (b, y)])[0].toDoubles()
        for i in 0..<32 {
            let want = (0..<12).reduce(0.0) { $0 + p[i * 12 + $1] * q[$1] }
            #expect(abs(z[i] - want) < 1e-4)
        }
    }

    @Test func scalarParametersAreGivenAtEachUse() throws {
        let a = te.placeholder([4], name: "a")
        let b = te.compute([4], name: "b") { i in a[i] }
        let alpha = te.var("alpha", .int64)
        let scaled = try te.declTensorIntrin(b.op, scalarParams: [alpha]) { ins, outs, s in
            IntrinsicForms(
                forEachIndex([te.const(4)]) {
                    BufferStore(outs[0], BufferLoad(ins[0], $0) * cast(.float32, s[0]), $0)
                })
        }
        let x = te.placeholder([3, 4], name: "X")
        let y = te.compute([3, 4], name: "Y") { i in scaled(x.region(i, 0..<4), scalars: [i + 1]) }
        let v = NDArray.random(shape: [3, 4], seed: 8)
        let z = try run([y], [(x, v)])[0].toDoubles()
        for (i, p) in try v.toDoubles().enumerated() { #expect(abs(z[i] - p * Double(i / 4 + 1)) < 1e-5) }
        #expect(te.compute([3, 4]) { i in scaled(x.region(i, 0..<4)) }.op.error?.code == "TE016")
        #expect(
            te.compute([3, 4]) { i in scaled(x.region(i, 0..<3), scalars: [1]) }.op.error?.code == "TE016")
        #expect(
            te.compute([3, 5]) { i in scaled(x.region(i, 0..<4), scalars: [1]) }.op.error?.code == "TE016")
        #expect(te.compute([3, 4]) { i in scaled(scalars: [1]) }.op.error?.code == "TE016")
    }

    @Test func jsonRoundTripOfEveryOperation() throws {
        TENodes.registerAll()
        let v = try vectorAdd(4)
        let a = te.placeholder([6, 4], name: "A")
        let b = te.placeholder([4], name: "B")
        let c = te.compute([6, 4], name: "C") { i in v(a.region(i, 0..<4), b.region(0..<4)) }
        let state = te.placeholder([6, 4], name: "state")
        let initial = te.compute([1, 4], name: "init") { _, i in c[0, i] }
        let update = te.compute([6, 4], name: "update") { t, i in state[t - 1, i] + c[t, i] }
        let s = te.scan(initial, update, state)
        let back = try #require(try loadJSON(saveJSON(s)) as? Tensor)
        #expect(structuralEqual(back, s))
        #expect(back.op is ScanOp)
    }
}
