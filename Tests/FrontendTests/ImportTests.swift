import ApusFrontend
import ApusIR
import ApusRelay
import ApusRelayBackend
import ApusRuntime
import ApusSupport
import ApusTarget
import Foundation
import Testing

/// What single operators become, and what importing refuses.
@Suite struct ImportTests {
    private func imported(_ proto: Onnx_ModelProto, _ options: ONNXImportOptions? = nil) throws
        -> Relay.Function
    {
        let model = try ONNXModel.load(try proto.encoded())
        let evaluating = ONNXImportOptions(evaluate: constantEvaluator(target: .host))
        return try #require(try importONNX(model, options ?? evaluating).function("main") as? Relay.Function)
    }

    /// The operators of the body in order.
    private func operators(_ f: Relay.Function) -> [String] {
        Relay.postOrder(f.body).compactMap { (($0 as? Relay.Call)?.op as? Op)?.name }
    }

    private func run(_ proto: Onnx_ModelProto, _ inputs: [[Float]]) throws -> [NDArray] {
        let f = try imported(proto)
        let arrays = try zip(f.params, inputs).map { p, v in
            let type = try #require(p.checkedType as? TensorType)
            return NDArray(v, shape: try #require(type.staticShape))
        }
        return try interpret(f, arrays, target: .host)
    }

    private func seed(
        _ op: String, _ dims: [Int64], _ constants: [Onnx_TensorProto] = [],
        _ attributes: [Onnx_AttributeProto] = [],
        outputs: Int = 1, opset: Int64 = 21
    ) -> Onnx_ModelProto {
        ImportSeeds.model(op, [("x", dims, 1)], constants, attributes, outputs: outputs, opset: opset)
    }

    @Test func convolutionKeepsItsGeometry() throws {
        let weight = protoTensor("w", [2, 1, 3, 3], floats: [Float](repeating: 1, count: 18))
        let f = try imported(
            seed(
                "Conv", [1, 2, 5, 5], [weight],
                [
                    ImportSeeds.ints("strides", [2, 2]), ImportSeeds.text("auto_pad", "SAME_LOWER"),
                    protoAttribute("group", int: 2),
                ]))
        let call = try #require(f.body as? Relay.Call)
        #expect(call.attrs.ints("padding") == [1, 1, 1, 1])
        #expect(call.attrs.ints("strides") == [2, 2])
        #expect(call.attrs.int("groups") == 2)
        #expect((f.body.checkedType as? TensorType)?.staticShape == [1, 2, 3, 3])
    }

    @Test func constantsVanish() throws {
        let f = try imported(seed("Reshape", [2, 6], [ImportSeeds.int64s("s", [0, 2, -1])]))
        #expect(operators(f) == ["reshape"])
        #expect((f.body as? Relay.Call)?.attrs.ints("newshape") == [2, 2, 3])
        #expect(
            operators(
                try imported(
                    ImportSeeds.model(
                        "Range", [],
                        [
                            ImportSeeds.int64s("a", [0], []), ImportSeeds.int64s("b", [5], []),
                            ImportSeeds.int64s("c", [2], []),
                        ]))) == [])
    }

    @Test func outputsHaveNames() throws {
        let f = try imported(seed("Split", [3, 4], [ImportSeeds.int64s("s", [1, 2])], [], outputs: 2))
        #expect(f.attrs.strings("output_names") == ["out0", "out1"])
    }

    @Test func unevenSplit() throws {
        let f = try imported(seed("Split", [7], [], [protoAttribute("num_outputs", int: 4)], outputs: 4))
        let tuple = try #require(f.body.checkedType as? TupleType)
        #expect(tuple.fields.map { ($0 as? TensorType)?.staticShape } == [[2], [2], [2], [1]])
    }

    @Test func extremeSlices() throws {
        let far = [
            ImportSeeds.int64s("b", [.max]), ImportSeeds.int64s("e", [.min]), ImportSeeds.int64s("a", [0]),
            ImportSeeds.int64s("t", [-1]),
        ]
        #expect(try run(seed("Slice", [4], far), [[1, 2, 3, 4]])[0].toArray(Float.self) == [4, 3, 2, 1])
        let steps = [
            ImportSeeds.int64s("b", [1]), ImportSeeds.int64s("e", [.max]), ImportSeeds.int64s("a", [-1]),
            ImportSeeds.int64s("t", [2]),
        ]
        #expect(try run(seed("Slice", [4], steps), [[1, 2, 3, 4]])[0].toArray(Float.self) == [2, 4])
    }

    @Test func wrappingPadCutsFirst() throws {
        let proto = seed(
            "Pad", [4], [ImportSeeds.int64s("p", [2, -1])], [ImportSeeds.text("mode", "wrap")], opset: 19)
        #expect(try run(proto, [[1, 2, 3, 4]])[0].toArray(Float.self) == [2, 3, 1, 2, 3])
    }

    @Test func reductionsOfNothing() throws {
        let axis = ImportSeeds.int64s("a", [0])
        #expect(try run(seed("ReduceProd", [0, 2], [axis]), [[]])[0].toArray(Float.self) == [1, 1])
        #expect(
            try run(seed("ReduceMax", [0, 2], [axis]), [[]])[0].toArray(Float.self) == [
                -.infinity, -.infinity,
            ])
        let same = try run(
            seed("ReduceSum", [2], [], [protoAttribute("noop_with_empty_axes", int: 1)]), [[3, 4]])
        #expect(try same[0].toArray(Float.self) == [3, 4])
    }

    @Test func softmaxBefore13IsFlat() throws {
        let old = try run(
            seed("Softmax", [1, 2, 2], [], [protoAttribute("axis", int: 1)], opset: 11), [[0, 0, 0, 0]])
        #expect(try old[0].toArray(Float.self) == [0.25, 0.25, 0.25, 0.25])
        let new = try run(seed("Softmax", [1, 2, 2], [], [protoAttribute("axis", int: 1)]), [[0, 0, 0, 0]])
        #expect(try new[0].toArray(Float.self) == [0.5, 0.5, 0.5, 0.5])
    }

    @Test func einsumOfThree() throws {
        let proto = ImportSeeds.model(
            "Einsum", [("x", [2, 2], 1), ("y", [2], 1), ("z", [2, 2], 1)], [],
            [ImportSeeds.text("equation", "ij,j,jk->ki")])
        let result = try run(proto, [[1, 2, 3, 4], [10, 100], [1, 0, 2, 1]])
        // sum over j of x[i, j] y[j] z[j, k]
        #expect(try result[0].toArray(Float.self) == [410, 830, 200, 400])
        let trace = try run(
            seed("Einsum", [2, 2], [], [ImportSeeds.text("equation", "ii")]), [[1, 2, 3, 4]])
        #expect(try trace[0].toArray(Float.self) == [5])
    }

    @Test func quantisationSaturates() throws {
        let constants = [protoTensor("s", [], floats: [0.5])]
        let result = try run(seed("QuantizeLinear", [5], constants), [[-3, 0.25, 0.75, 1, 900]])
        // 0.5 and 1.5 round to even.
        #expect(try result[0].toArray(UInt8.self) == [0, 0, 2, 2, 255])
    }

    @Test func recurrentLayerByHand() throws {
        // h = tanh(0.5 x + 0.25 h), one unit, three steps, backwards.
        let proto = seed(
            "RNN", [3, 1, 1],
            [protoTensor("w", [1, 1, 1], floats: [0.5]), protoTensor("r", [1, 1, 1], floats: [0.25])],
            [protoAttribute("hidden_size", int: 1), ImportSeeds.text("direction", "reverse")], outputs: 2)
        let results = try run(proto, [[1, 2, 3]])
        var h: Float = 0
        var expected: [Float] = []
        for x: Float in [3, 2, 1] {
            h = tanhf(0.5 * x + 0.25 * h)
            expected.insert(h, at: 0)
        }
        for (a, b) in zip(try results[0].toArray(Float.self), expected) { #expect(abs(a - b) < 1e-6) }
        #expect(try abs(results[1].toArray(Float.self)[0] - h) < 1e-6)
    }

    @Test func loopIsUnrolled() throws {
        let last = try #require(ImportSeeds.all().last)
        let f = try imported(seed("Neg", [1]))
        #expect(operators(f) == ["negative"])
        // x doubled three times.
        #expect(try run(last, [[1, 5]])[0].toArray(Float.self) == [8, 40])
    }

    @Test func shiftsBeyondTheWidth() throws {
        func shift(_ direction: String, _ by: Int64) throws -> [Int64] {
            let proto = ImportSeeds.model(
                "BitShift", [], [ImportSeeds.int64s("x", [-8, 3]), ImportSeeds.int64s("y", [by])],
                [ImportSeeds.text("direction", direction)])
            return try interpret(try imported(proto), [], target: .host)[0].toArray(Int64.self)
        }
        #expect(try shift("LEFT", 64) == [0, 0])
        #expect(try shift("RIGHT", -1) == [-1, 0])
        #expect(try shift("RIGHT", 2) == [-2, 0])
    }

    @Test func everythingUnsupportedIsListed() throws {
        var proto = seed("Det", [2, 2])
        proto.graph.node.append(protoNode("ImageDecoder", ["x"], ["z"], name: "second"))
        let error = try #require(apusError { _ = try imported(proto) })
        #expect(error.code == "ONNX200")
        #expect(error.notes.count == 2)
    }

    @Test func errorsNameTheNode() throws {
        let matrix: [Int64] = [3, 4]
        let cases: [(Onnx_ModelProto, String)] = [
            (seed("Reshape", matrix, [ImportSeeds.int64s("s", [5, -1])]), "ONNX223"),
            (seed("Squeeze", matrix, [ImportSeeds.int64s("a", [0])]), "ONNX224"),
            (seed("Expand", matrix, [ImportSeeds.int64s("s", [2, 4])]), "ONNX226"),
            (seed("Split", matrix, [ImportSeeds.int64s("s", [1, 1])], [], outputs: 2), "ONNX227"),
            (seed("Softmax", matrix, [], [protoAttribute("axis", int: 2)]), "ONNX213"),
            (seed("Einsum", matrix, [], [ImportSeeds.text("equation", "i->j")]), "ONNX323"),
            (ImportSeeds.model("Reshape", [("x", matrix, 1), ("s", [2], 7)]), "ONNX214"),
        ]
        for (proto, code) in cases {
            let error = try #require(apusError { _ = try imported(proto) })
            #expect(error.code == code, "\(error)")
            #expect("\(error)".contains("node: n"), "\(error)")
        }
    }

    @Test func openInputsNeedShapes() throws {
        var proto = seed("Relu", [1, 4])
        proto.graph.input = [protoValue("x", [nil, 4])]
        #expect(apusError { _ = try imported(proto) }?.code == "ONNX203")
        let f = try imported(proto, ONNXImportOptions(shapes: ["x": [3, 4]]))
        #expect((f.body.checkedType as? TensorType)?.staticShape == [3, 4])
        #expect(
            apusError { _ = try imported(proto, ONNXImportOptions(shapes: ["x": [3, 5]])) }?.code == "ONNX204"
        )
        #expect(
            apusError { _ = try imported(proto, ONNXImportOptions(shapes: ["q": [3, 5]])) }?.code == "ONNX201"
        )
    }
}
