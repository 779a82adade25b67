import ApusNode
import ApusRuntime
import ApusSupport

/// What a model needs, and what of it is missing.
public struct ONNXReport: Sendable, CustomStringConvertible {
    public let inputs: [ONNXValueInfo]
    public let outputs: [ONNXValueInfo]
    public let opset: Int
    public let producer: String
    /// Operators with the number of nodes, by name.
    public let operators: [(name: String, count: Int)]
    public let unsupported: [(node: String, op: String, reason: String)]

    public var description: String {
        var lines: [String] = ["opset \(opset)\(producer.isEmpty ? "" : ", made by \(producer)")"]
        for i in inputs { lines.append("input  \(i.name): \(i.type)") }
        for o in outputs { lines.append("output \(o.name): \(o.type)") }
        for o in operators { lines.append("\(o.count) x \(o.name)") }
        for u in unsupported { lines.append("UNSUPPORTED \(u.node): \(u.reason)") }
        lines.append(
            unsupported.isEmpty
                ? "every operator is supported" : "\(unsupported.count) nodes are not supported")
        return lines.joined(separator: "\n")
    }

    public var json: JSON {
        func infos(_ list: [ONNXValueInfo]) -> JSON {
            .array(
                list.map {
                    .object([
                        (key: "name", value: .string($0.name)), (key: "type", value: .string("\($0.type)")),
                    ])
                })
        }
        return .object([
            (key: "opset", value: .int(opset)), (key: "producer", value: .string(producer)),
            (key: "inputs", value: infos(inputs)), (key: "outputs", value: infos(outputs)),
            (key: "operators", value: .object(operators.map { (key: $0.name, value: .int($0.count)) })),
            (
                key: "unsupported",
                value: .array(
                    unsupported.map {
                        .object([
                            (key: "node", value: .string($0.node)), (key: "op", value: .string($0.op)),
                            (key: "reason", value: .string($0.reason)),
                        ])
                    })
            ),
        ])
    }
}

/// Lists inputs, outputs and operators of a model, and every node that cannot be imported.
public func checkONNX(_ model: ONNXModel) throws -> ONNXReport {
    var counts: [String: Int] = [:]
    func count(_ graph: ONNXGraph) {
        for node in graph.nodes {
            counts[node.domain.isEmpty ? node.opType : "\(node.domain).\(node.opType)", default: 0] += 1
            for s in node.subgraphs { count(s.graph) }
        }
    }
    count(model.graph)
    return ONNXReport(
        inputs: model.graph.requiredInputs, outputs: model.graph.outputs, opset: model.opset,
        producer: model.producerName,
        operators: counts.sorted { $0.key < $1.key }.map { (name: $0.key, count: $0.value) },
        unsupported: unsupportedNodes(model.graph, []))
}

/// Operators of ONNX Runtime's own domain that are those of the same name here.
private let contributed: Set<String> = [
    "FastGelu", "Gelu", "QuickGelu", "QuantizeLinear", "DequantizeLinear",
]

/// Whether there is a converter for the operator of a node.
func isConvertible(_ node: ONNXNode) -> Bool {
    let known = node.domain.isEmpty || (node.domain == "com.microsoft" && contributed.contains(node.opType))
    return known && onnxConverters[node.opType] != nil
}

/// Operators that have meant the same since version 1.
private let unchangedSince1: Set<String> = [
    "Not", "Transpose", "Shape", "Size", "GlobalAveragePool", "GlobalMaxPool",
]

/// The nodes of a graph and its subgraphs that have no converter.
func unsupportedNodes(_ graph: ONNXGraph, _ around: [String]) -> [(node: String, op: String, reason: String)]
{
    var result: [(node: String, op: String, reason: String)] = []
    for node in graph.nodes {
        let place = (around + [node.place]).joined(separator: " > ")
        let op = node.domain.isEmpty ? node.opType : "\(node.domain).\(node.opType)"
        if !isConvertible(node) {
            result.append((node: place, op: op, reason: "the operator \(op) is not supported"))
        } else if node.domain.isEmpty
            && (node.opset > 28 || (node.opset < 7 && !unchangedSince1.contains(node.opType)))
        {
            result.append((node: place, op: op, reason: "opset \(node.opset) is not supported (7 to 28 are)"))
        }
        for s in node.subgraphs { result += unsupportedNodes(s.graph, around + [node.place]) }
    }
    return result
}

extension ONNXModel {
    /// Whether weights of the model lie in other files.
    public static func usesExternalData(_ path: String) throws -> Bool { try fileUsesExternalData(path) }
}
