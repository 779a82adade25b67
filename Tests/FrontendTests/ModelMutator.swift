import ApusFrontend
import Foundation

/// Makes broken models of whole ones: flipped bits, cuts and splices of the bytes, and edits of single fields
/// to what a hostile file would hold. The same seed gives the same mutants.
struct ONNXMutator {
    private var state: UInt64

    init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

    /// splitmix64 (Steele, Lea, Flood 2014)
    mutating func next() -> UInt64 {
        state = state &+ 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func below(_ n: Int) -> Int { n <= 0 ? 0 : Int(next() % UInt64(n)) }

    /// A mutant of the bytes.
    mutating func mutate(_ bytes: [UInt8]) -> [UInt8] {
        var result = bytes
        for _ in 0...below(4) where !result.isEmpty {
            let at = below(result.count)
            switch below(7) {
            case 0: result[at] ^= 1 << UInt8(below(8))
            case 1: result[at] = UInt8(truncatingIfNeeded: next())
            case 2: result.removeSubrange(at...)
            case 3: result.removeSubrange(at..<min(result.count, at + 1 + below(16)))
            case 4:
                let from = below(result.count)
                let piece = Array(result[from..<min(result.count, from + 1 + below(64))])
                result.insert(contentsOf: piece, at: at)
            case 5: result[at] = [0, 0x7F, 0x80, 0xFF][below(4)]
            default: result.insert(contentsOf: [0xFF, 0xFF, 0xFF, 0xFF, 0x7F].prefix(1 + below(5)), at: at)
            }
        }
        return result
    }

    private mutating func number() -> Int64 {
        switch below(8) {
        case 0: -1
        case 1: .max
        case 2: .min
        case 3: 1 << 40
        case 4: 0
        case 5: 1 << 62
        default: Int64(below(50))
        }
    }

    private mutating func name(_ graph: Onnx_GraphProto) -> String {
        var names = ["", "nothing", "x", "y", "then_out"]
        for node in graph.node { names += node.output }
        for tensor in graph.initializer { names.append(tensor.name) }
        return names[below(names.count)]
    }

    /// A mutant of the fields.
    mutating func mutate(_ model: Onnx_ModelProto) -> Onnx_ModelProto {
        var result = model
        for _ in 0...below(3) {
            if below(8) == 0 { edit(model: &result) } else { edit(graph: &result.graph) }
        }
        return result
    }

    private mutating func edit(model: inout Onnx_ModelProto) {
        switch below(5) {
        case 0: model.irVersion = number()
        case 1: model.opsetImport = []
        case 2: for i in model.opsetImport.indices { model.opsetImport[i].version = number() }
        case 3: model.functions.append(function(model.graph))
        default: model.clearGraph()
        }
    }

    private mutating func function(_ graph: Onnx_GraphProto) -> Onnx_FunctionProto {
        var function = Onnx_FunctionProto()
        function.name = graph.node.isEmpty ? "F" : graph.node[below(graph.node.count)].opType
        function.input = ["p"]
        function.output = [below(2) == 0 ? "p" : "q"]
        function.node = graph.node
        return function
    }

    private mutating func edit(graph: inout Onnx_GraphProto) {
        let node = below(graph.node.count)
        let tensor = below(graph.initializer.count)
        switch below(14) {
        case 0 where !graph.node.isEmpty:
            graph.node[node].input.append(name(graph))
        case 1 where !graph.node.isEmpty:
            graph.node[node].output = [name(graph)]
        case 2 where !graph.node.isEmpty:
            for i in graph.node[node].input.indices { graph.node[node].input[i] = name(graph) }
        case 3 where !graph.node.isEmpty: graph.node.remove(at: node)
        case 4 where !graph.node.isEmpty: graph.node.append(graph.node[node])
        case 5 where graph.node.count > 1: graph.node.swapAt(node, below(graph.node.count))
        case 6 where !graph.initializer.isEmpty: edit(tensor: &graph.initializer[tensor])
        case 7 where !graph.initializer.isEmpty: graph.initializer.append(graph.initializer[tensor])
        case 8 where !graph.initializer.isEmpty: graph.initializer.remove(at: tensor)
        case 9 where !graph.input.isEmpty:
            var dim = Onnx_TensorShapeProto.Dimension()
            dim.dimValue = number()
            graph.input[below(graph.input.count)].type.tensorType.shape.dim.append(dim)
        case 10 where !graph.output.isEmpty: graph.output[below(graph.output.count)].name = name(graph)
        case 11 where !graph.node.isEmpty && !graph.node[node].attribute.isEmpty:
            edit(attribute: &graph.node[node].attribute[0], graph)
        case 12 where !graph.node.isEmpty:
            var attribute = Onnx_AttributeProto()
            attribute.name = "body"
            attribute.type = .graph
            attribute.g = graph
            graph.node[node].attribute.append(attribute)
        default:
            if !graph.input.isEmpty {
                graph.input[below(graph.input.count)].type.tensorType.elemType = Int32(below(40)) - 3
            }
        }
    }

    private mutating func edit(attribute: inout Onnx_AttributeProto, _ graph: Onnx_GraphProto) {
        switch below(5) {
        case 0: attribute.type = Onnx_AttributeProto.AttributeType(rawValue: below(16)) ?? .undefined
        case 1: attribute.i = number()
        case 2: attribute.refAttrName = "k"
        case 3: edit(tensor: &attribute.t)
        default: edit(graph: &attribute.g)
        }
    }

    private mutating func edit(tensor: inout Onnx_TensorProto) {
        switch below(8) {
        case 0: tensor.dims = [number()]
        case 1: tensor.dims.append(number())
        case 2: tensor.dataType = Int32(below(40)) - 3
        case 3: tensor.rawData = tensor.rawData.prefix(below(tensor.rawData.count + 1))
        case 4: tensor.rawData = Data(count: below(64))
        case 5: tensor.int32Data = (0..<below(20)).map { Int32(truncatingIfNeeded: Int64($0) &* number()) }
        case 6: tensor.name = ""
        default:
            tensor.dataLocation = .external
            let pairs = [
                ("location", ["../x", "/etc/passwd", "", "a/../../b", "x\u{0}", "w.bin"][below(6)]),
                ("offset", "\(number())"), ("length", "\(number())"),
            ]
            for (key, text) in pairs {
                var entry = Onnx_StringStringEntryProto()
                entry.key = key
                entry.value = text
                tensor.externalData.append(entry)
            }
        }
    }
}
