import ApusFrontend
import Foundation

/// Edits what converters read: attributes, constants, shapes, element types, operators.
struct ImportMutator {
    private var random: ONNXMutator

    init(seed: UInt64) { random = ONNXMutator(seed: seed) }

    private mutating func below(_ n: Int) -> Int { random.below(n) }

    private mutating func number() -> Int64 {
        switch below(12) {
        case 0: -1
        case 1: .max
        case 2: .min
        case 3: 1 << 40
        case 4: 0
        case 5: 1 << 62
        case 6: 1 << 31
        case 7: -2
        default: Int64(below(7))
        }
    }

    private mutating func real() -> Float {
        switch below(8) {
        case 0: .nan
        case 1: .infinity
        case 2: -.infinity
        case 3: 0
        case 4: -1
        case 5: 1e30
        default: Float(below(100)) / 16
        }
    }

    private mutating func word() -> String {
        let words = [
            "", "reverse", "bidirectional", "SAME_UPPER", "SAME_LOWER", "VALID", "linear", "cubic", "nearest",
            "reflect",
            "edge", "wrap", "align_corners", "tf_crop_and_resize", "add", "mul", "none", "sum", "ij,jk->ik",
            "...ii->...i",
            "CRD", "RIGHT", "gated", "not_smaller", "i,j->", "ii", "->",
        ]
        return words[below(words.count)]
    }

    /// A mutant whose operators may become any of `operators`.
    mutating func mutate(_ model: Onnx_ModelProto, operators: [String]) -> Onnx_ModelProto {
        var result = model
        for _ in 0...below(3) { edit(&result, operators) }
        return result
    }

    private mutating func edit(_ model: inout Onnx_ModelProto, _ operators: [String]) {
        let n = model.graph.node.isEmpty ? -1 : below(model.graph.node.count)
        switch below(12) {
        case 0, 1, 2, 3:
            guard n >= 0 else { return }
            if model.graph.node[n].attribute.isEmpty { return add(to: &model.graph.node[n]) }
            let a = below(model.graph.node[n].attribute.count)
            edit(&model.graph.node[n].attribute[a])
        case 4:
            guard !model.graph.input.isEmpty else { return }
            let i = below(model.graph.input.count)
            var dims = model.graph.input[i].type.tensorType.shape.dim
            var dim = Onnx_TensorShapeProto.Dimension()
            dim.dimValue = [0, 1, 2, 3, 7, 64, 1 << 20, 1 << 31, 1 << 40, 1 << 61][below(10)]
            switch below(3) {
            case 0: dims.append(dim)
            case 1: dims = Array(dims.dropLast())
            default: if dims.isEmpty { dims = [dim] } else { dims[below(dims.count)] = dim }
            }
            model.graph.input[i].type.tensorType.shape.dim = dims
        case 5:
            guard !model.graph.input.isEmpty else { return }
            let types: [Int32] = [1, 2, 3, 6, 7, 9, 10, 11, 13, 16]
            model.graph.input[below(model.graph.input.count)].type.tensorType.elemType =
                types[below(types.count)]
        case 6, 7:
            guard !model.graph.initializer.isEmpty else { return }
            edit(&model.graph.initializer[below(model.graph.initializer.count)])
        case 8:
            guard n >= 0, !operators.isEmpty else { return }
            model.graph.node[n].opType = operators[below(operators.count)]
        case 9:
            guard n >= 0, !model.graph.node[n].input.isEmpty else { return }
            let i = below(model.graph.node[n].input.count)
            switch below(4) {
            case 0: model.graph.node[n].input[i] = ""
            case 1: model.graph.node[n].input.removeLast()
            case 2: model.graph.node[n].input.append(model.graph.node[n].input[i])
            default: model.graph.node[n].input.swapAt(i, below(model.graph.node[n].input.count))
            }
        case 10:
            for i in model.opsetImport.indices { model.opsetImport[i].version = Int64(1 + below(28)) }
        default:
            guard n >= 0 else { return }
            add(to: &model.graph.node[n])
        }
    }

    /// An attribute that the operator may or may not know.
    private mutating func add(to node: inout Onnx_NodeProto) {
        let names = [
            "axis", "axes", "kernel_shape", "strides", "pads", "dilations", "group", "auto_pad", "mode", "k",
            "p", "to",
            "alpha", "layout", "direction", "block_size", "blocksize", "num_outputs", "batch_dims", "size",
            "start", "end",
            "ceil_mode", "output_padding", "output_shape", "keepdims", "noop_with_empty_axes", "ignore_index",
            "reduction",
            "num_groups", "scales", "equation", "q_num_heads", "kv_num_heads", "is_causal", "perm",
            "hidden_size", "clip",
        ]
        var attribute = Onnx_AttributeProto()
        attribute.name = names[below(names.count)]
        attribute.type = [.int, .ints, .float, .string][below(4)]
        for _ in 0..<3 { edit(&attribute) }
        node.attribute.append(attribute)
    }

    private mutating func edit(_ attribute: inout Onnx_AttributeProto) {
        switch attribute.type {
        case .int: attribute.i = number()
        case .float: attribute.f = real()
        case .string: attribute.s = Data(word().utf8)
        case .ints:
            switch below(4) {
            case 0: attribute.ints.append(number())
            case 1: attribute.ints = Array(attribute.ints.dropLast())
            default:
                if attribute.ints.isEmpty {
                    attribute.ints = [number()]
                } else {
                    attribute.ints[below(attribute.ints.count)] = number()
                }
            }
        case .floats:
            if attribute.floats.isEmpty {
                attribute.floats = [real()]
            } else {
                attribute.floats[below(attribute.floats.count)] = real()
            }
        case .tensor: edit(&attribute.t)
        case .graph:
            var inner = Onnx_ModelProto()
            inner.graph = attribute.g
            edit(&inner, [])
            attribute.g = inner.graph
        default: attribute.type = .int
        }
    }

    /// Other numbers in a constant, and sometimes another shape with the bytes for it.
    private mutating func edit(_ tensor: inout Onnx_TensorProto) {
        let count = tensor.dims.reduce(1) { $0 &* $1 }
        guard count > 0, count < 4096 else { return }
        var n = Int(count)
        if below(3) == 0 {
            n = below(6)
            tensor.dims = below(4) == 0 ? [1, Int64(n)] : [Int64(n)]
        }
        if tensor.dataType == 7 || tensor.dataType == 6 {
            var values = (0..<n).map { _ in number() }
            if below(2) == 0 { values = (0..<n).map { Int64($0 % 4) } }
            tensor.int64Data = []
            tensor.int32Data = []
            tensor.rawData =
                tensor.dataType == 7
                ? rawBytes(values) : rawBytes(values.map { Int32(truncatingIfNeeded: $0) })
        } else if tensor.dataType == 1 {
            tensor.floatData = []
            tensor.rawData = rawBytes((0..<n).map { _ in real() })
        }
    }
}
