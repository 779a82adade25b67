import ApusFrontend
import ApusSupport
import Foundation
import Testing

// Small models as protobufs, built field by field: no files, every defect can be made on purpose.

func protoValue(_ name: String, _ dims: [Int64?], type: Int32 = 1) -> Onnx_ValueInfoProto {
    var info = Onnx_ValueInfoProto()
    info.name = name
    info.type.tensorType.elemType = type
    for dim in dims {
        var item = Onnx_TensorShapeProto.Dimension()
        if let dim { item.dimValue = dim } else { item.dimParam = "N" }
        info.type.tensorType.shape.dim.append(item)
    }
    return info
}

func protoNode(
    _ op: String, _ inputs: [String], _ outputs: [String], name: String = "",
    _ attributes: [Onnx_AttributeProto] = []
) -> Onnx_NodeProto {
    var proto = Onnx_NodeProto()
    proto.opType = op
    proto.input = inputs
    proto.output = outputs
    proto.name = name
    proto.attribute = attributes
    return proto
}

func protoAttribute(_ name: String, int: Int64) -> Onnx_AttributeProto {
    var proto = Onnx_AttributeProto()
    proto.name = name
    proto.type = .int
    proto.i = int
    return proto
}

func protoAttribute(_ name: String, graph: Onnx_GraphProto) -> Onnx_AttributeProto {
    var proto = Onnx_AttributeProto()
    proto.name = name
    proto.type = .graph
    proto.g = graph
    return proto
}

func rawBytes<T>(_ values: [T]) -> Data { values.withUnsafeBytes { Data($0) } }

func protoTensor(_ name: String, _ dims: [Int64], floats: [Float]) -> Onnx_TensorProto {
    var proto = Onnx_TensorProto()
    proto.name = name
    proto.dims = dims
    proto.dataType = 1
    proto.rawData = rawBytes(floats)
    return proto
}

/// x[N, 4] -> MatMul with w[4, 3] -> Add b[3] -> Relu -> If with a graph in each branch -> y
func smallModel() -> Onnx_ModelProto {
    var model = Onnx_ModelProto()
    model.irVersion = 8
    model.producerName = "tests"
    var opset = Onnx_OperatorSetIdProto()
    opset.version = 17
    model.opsetImport = [opset]
    var graph = Onnx_GraphProto()
    graph.name = "small"
    graph.input = [protoValue("x", [nil, 4]), protoValue("flag", [], type: 9)]
    graph.output = [protoValue("y", [nil, 3])]
    graph.initializer = [
        protoTensor("w", [4, 3], floats: (0..<12).map { Float($0) }),
        protoTensor("b", [3], floats: [1, 2, 3]),
    ]
    var then = Onnx_GraphProto()
    then.name = "then"
    then.node = [protoNode("Neg", ["r"], ["then_out"], name: "neg", [])]
    then.output = [protoValue("then_out", [nil, 3])]
    var otherwise = Onnx_GraphProto()
    otherwise.name = "else"
    otherwise.node = [
        protoNode("Softmax", ["r"], ["else_out"], name: "soft", [protoAttribute("axis", int: -1)])
    ]
    otherwise.output = [protoValue("else_out", [nil, 3])]
    graph.node = [
        protoNode("MatMul", ["x", "w"], ["m"], name: "matmul"),
        protoNode("Add", ["m", "b"], ["a"], name: "add"),
        protoNode("Relu", ["a"], ["r"], name: "relu"),
        protoNode(
            "If", ["flag"], ["y"], name: "if",
            [protoAttribute("then_branch", graph: then), protoAttribute("else_branch", graph: otherwise)]),
    ]
    model.graph = graph
    return model
}

/// The error that `body` throws; nil (and a recorded issue) where it throws none or another kind.
func apusError(_ body: () throws -> Void, _ place: SourceLocation = #_sourceLocation) -> ApusError? {
    do {
        try body()
        Issue.record("nothing was thrown", sourceLocation: place)
    } catch let error as ApusError {
        return error
    } catch {
        Issue.record("another error: \(error)", sourceLocation: place)
    }
    return nil
}

/// The code with which loading this model fails.
func loadCode(_ model: Onnx_ModelProto, _ place: SourceLocation = #_sourceLocation) -> String? {
    apusError({ _ = try ONNXModel.load(try model.encoded()) }, place)?.code
}

/// A folder that is removed when the object goes.
final class TemporaryFolder {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "apus-tests-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ content: [UInt8]) throws -> String {
        let file = path + "/" + name
        try Data(content).write(to: URL(fileURLWithPath: file))
        return file
    }
}
