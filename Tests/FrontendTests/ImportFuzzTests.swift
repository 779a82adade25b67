import ApusFrontend
import ApusRelayBackend
import ApusSupport
import ApusTarget
import Foundation
import Testing

/// Small models of one node each, with what every kind of converter reads: attributes, constants, subgraphs.
enum ImportSeeds {
    static func ints(_ name: String, _ values: [Int64]) -> Onnx_AttributeProto {
        var proto = Onnx_AttributeProto()
        proto.name = name
        proto.type = .ints
        proto.ints = values
        return proto
    }

    static func text(_ name: String, _ value: String) -> Onnx_AttributeProto {
        var proto = Onnx_AttributeProto()
        proto.name = name
        proto.type = .string
        proto.s = Data(value.utf8)
        return proto
    }

    static func int64s(_ name: String, _ values: [Int64], _ dims: [Int64]? = nil) -> Onnx_TensorProto {
        var proto = Onnx_TensorProto()
        proto.name = name
        proto.dims = dims ?? [Int64(values.count)]
        proto.dataType = 7
        proto.rawData = rawBytes(values)
        return proto
    }

    /// One node; inputs `x`, `y`, … are variables of the given shapes, the others constants.
    static func model(
        _ op: String, _ inputs: [(String, [Int64], Int32)], _ constants: [Onnx_TensorProto] = [],
        _ attributes: [Onnx_AttributeProto] = [], outputs: Int = 1, order: [String]? = nil, opset: Int64 = 21
    ) -> Onnx_ModelProto {
        var model = Onnx_ModelProto()
        model.irVersion = 8
        var version = Onnx_OperatorSetIdProto()
        version.version = opset
        model.opsetImport = [version]
        model.graph.name = op
        model.graph.input = inputs.map { protoValue($0.0, $0.1.map { Optional($0) }, type: $0.2) }
        model.graph.initializer = constants
        let names = order ?? inputs.map { $0.0 } + constants.map { $0.name }
        let results = (0..<outputs).map { "out\($0)" }
        model.graph.node = [protoNode(op, names, results, name: "n", attributes)]
        model.graph.output = results.map { protoValue($0, []) }
        return model
    }

    static func all() -> [Onnx_ModelProto] {
        let f: Int32 = 1
        let image: [(String, [Int64], Int32)] = [("x", [1, 4, 6, 6], f)]
        let matrix: [(String, [Int64], Int32)] = [("x", [3, 4], f)]
        var list = [smallModel()]
        let kernel = ints("kernel_shape", [3, 3])
        let geometry = [ints("strides", [2, 2]), ints("pads", [1, 1, 1, 1]), ints("dilations", [1, 1])]
        let weight = protoTensor("w", [4, 4, 3, 3], floats: (0..<144).map { Float($0) })
        list.append(model("Conv", image, [weight], [kernel] + geometry))
        list.append(model("ConvTranspose", image, [weight], geometry + [ints("output_padding", [1, 1])]))
        list.append(model("MaxPool", image, [], [kernel] + geometry + [protoAttribute("ceil_mode", int: 1)]))
        list.append(model("AveragePool", image, [], [kernel, text("auto_pad", "SAME_LOWER")]))
        list.append(model("LpPool", image, [], [kernel, protoAttribute("p", int: 3)]))
        list.append(model("Reshape", matrix, [int64s("s", [0, -1])], [protoAttribute("allowzero", int: 0)]))
        list.append(
            model(
                "Slice", matrix,
                [int64s("b", [-9]), int64s("e", [.max]), int64s("a", [1]), int64s("t", [-1])]))
        list.append(model("Pad", matrix, [int64s("p", [1, 0, 0, -1])], [text("mode", "reflect")]))
        list.append(
            model("Split", matrix, [int64s("s", [1, 2])], [protoAttribute("axis", int: 0)], outputs: 2))
        list.append(model("Split", matrix, [], [protoAttribute("num_outputs", int: 3)], outputs: 3))
        list.append(model("Expand", matrix, [int64s("s", [2, 1, 4])]))
        list.append(model("Tile", matrix, [int64s("s", [2, 3])]))
        list.append(model("Squeeze", [("x", [1, 3, 1], f)], [int64s("a", [0])]))
        list.append(model("Unsqueeze", matrix, [int64s("a", [0, -1])]))
        list.append(model("Transpose", matrix, [], [ints("perm", [1, 0])]))
        list.append(model("Flatten", image, [], [protoAttribute("axis", int: 2)]))
        list.append(model("Gather", matrix, [int64s("i", [0, -1])], [protoAttribute("axis", int: 1)]))
        list.append(
            model(
                "GatherElements", matrix, [int64s("i", [0, 1, 2, 0], [1, 4])],
                [protoAttribute("axis", int: 0)]))
        list.append(
            model("GatherND", matrix, [int64s("i", [0, 1], [1, 2])], [protoAttribute("batch_dims", int: 0)]))
        list.append(
            model(
                "ScatterElements", matrix,
                [int64s("i", [0, 1], [1, 2]), protoTensor("u", [1, 2], floats: [1, 2])],
                [text("reduction", "add")]))
        list.append(
            model(
                "ScatterND", matrix,
                [int64s("i", [0], [1, 1]), protoTensor("u", [1, 4], floats: [1, 2, 3, 4])]))
        list.append(model("ReduceSum", image, [int64s("a", [1, -1])], [protoAttribute("keepdims", int: 0)]))
        list.append(model("ReduceMax", [("x", [0, 3], f)], [int64s("a", [0])]))
        list.append(
            model(
                "ArgMax", matrix, [],
                [protoAttribute("axis", int: -1), protoAttribute("select_last_index", int: 1)]))
        list.append(model("TopK", matrix, [int64s("k", [2])], [protoAttribute("axis", int: -1)], outputs: 2))
        list.append(model("Softmax", matrix, [], [protoAttribute("axis", int: 0)], opset: 11))
        let sizes = int64s("s", [1, 4, 3, 9])
        list.append(model("Resize", image, [sizes], [text("mode", "cubic")], order: ["x", "", "", "s"]))
        list.append(model("Range", [], [int64s("a", [0], []), int64s("b", [9], []), int64s("c", [2], [])]))
        list.append(
            model("OneHot", [("x", [3], 7)], [int64s("d", [5]), protoTensor("v", [2], floats: [0, 1])]))
        list.append(model("ConstantOfShape", [], [int64s("s", [2, 3])]))
        list.append(model("Trilu", matrix, [int64s("k", [1], [])], [protoAttribute("upper", int: 0)]))
        list.append(model("CumSum", matrix, [int64s("a", [1], [])], [protoAttribute("reverse", int: 1)]))
        list.append(
            model("Einsum", [("x", [3, 4], f), ("y", [4, 5], f)], [], [text("equation", "ij,jk->ik")]))
        list.append(model("MatMul", [("x", [2, 3, 4], f), ("y", [4, 5], f)]))
        list.append(
            model(
                "Gemm", matrix, [protoTensor("b", [5, 4], floats: (0..<20).map { Float($0) })],
                [protoAttribute("transB", int: 1)]))
        let gates = protoTensor("w", [1, 8, 4], floats: (0..<32).map { Float($0) })
        let recurrence = protoTensor("r", [1, 8, 2], floats: (0..<16).map { Float($0) })
        list.append(
            model(
                "LSTM", [("x", [3, 1, 4], f)], [gates, recurrence],
                [protoAttribute("hidden_size", int: 2), text("direction", "reverse")], outputs: 3))
        let scale = protoTensor("s", [4], floats: [1, 2, 3, 4])
        list.append(
            model(
                "QuantizeLinear", matrix, [scale],
                [protoAttribute("axis", int: 1), protoAttribute("block_size", int: 0)]))
        list.append(
            model(
                "Attention", [("x", [1, 2, 3, 4], f), ("y", [1, 2, 3, 4], f), ("z", [1, 2, 3, 4], f)], [],
                [protoAttribute("is_causal", int: 1)], opset: 23))
        list.append(
            model(
                "GridSample", [("x", [1, 1, 3, 3], f), ("y", [1, 2, 2, 2], f)], [], [text("mode", "cubic")]))
        list.append(model("DepthToSpace", image, [], [protoAttribute("blocksize", int: 2)]))
        list.append(
            model(
                "GroupNormalization", image,
                [protoTensor("s", [4], floats: [1, 1, 1, 1]), protoTensor("b", [4], floats: [0, 0, 0, 0])],
                [protoAttribute("num_groups", int: 2)]))
        list.append(
            model("LayerNormalization", matrix, [scale], [protoAttribute("axis", int: -1)], outputs: 3))
        list.append(
            model(
                "Compress", matrix, [protoTensor("c", [3], floats: [1, 0, 1])],
                [protoAttribute("axis", int: 0)]))
        list.append(
            model("Unique", [], [int64s("v", [3, 1, 3])], [protoAttribute("axis", int: 0)], outputs: 4))
        list.append(
            model(
                "Loop", [("x", [2], f)], [int64s("m", [3], [])], [protoAttribute("body", graph: body())],
                order: ["m", "", "x"]))
        return list
    }

    /// x + x, for ever.
    private static func body() -> Onnx_GraphProto {
        var graph = Onnx_GraphProto()
        graph.name = "body"
        graph.input = [protoValue("i", [], type: 7), protoValue("c", [], type: 9), protoValue("s", [2])]
        graph.node = [protoNode("Identity", ["c"], ["c2"]), protoNode("Add", ["s", "s"], ["s2"])]
        graph.output = [protoValue("c2", [], type: 9), protoValue("s2", [2])]
        return graph
    }
}

/// What a hostile file may do to the importer: nothing but an error.
@Suite struct ImportFuzzTests {
    private func resident() throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split(whereSeparator: { !$0.isNumber }).first).flatMap { Int($0) }.map { $0 / 1024 }
            ?? 0
    }

    @Test func seedsAreImported() throws {
        for seed in ImportSeeds.all().dropFirst() {
            let model = try ONNXModel.load(try seed.encoded())
            _ = try importONNX(model, ONNXImportOptions(evaluate: constantEvaluator(target: .host)))
        }
    }

    @Test(.timeLimit(.minutes(5))) func mutants() throws {
        let seeds = ImportSeeds.all()
        let operators = Set(seeds.flatMap { $0.graph.node.map { $0.opType } }).sorted()
        let before = try resident()
        var accepted = 0
        var codes: Set<String> = []
        var slowest = 0.0
        for i in 0..<3000 {
            let seed = seeds[i % seeds.count]
            // Most edits are those that converters see; some are of the graph around them.
            let mutant: Onnx_ModelProto
            if i % 5 == 0 {
                var mutator = ONNXMutator(seed: UInt64(i))
                mutant = mutator.mutate(seed)
            } else {
                var mutator = ImportMutator(seed: UInt64(i))
                mutant = mutator.mutate(seed, operators: operators)
            }
            let start = Date()
            do {
                let model = try ONNXModel.load(try mutant.encoded())
                _ = try importONNX(model, ONNXImportOptions(evaluate: constantEvaluator(target: .host)))
                accepted += 1
            } catch let error as ApusError {
                codes.insert(error.code)
            }
            slowest = max(slowest, Date().timeIntervalSince(start))
        }
        // Mutants that all fail at the door would prove nothing.
        #expect(accepted > 500)
        #expect(codes.count > 40)
        #expect(slowest < 30)
        #expect(try resident() - before < 1024)
    }
}
