import ApusRuntime
import ApusSupport

/// From protobuf's messages to the plain values of `Model.swift`. Recursive along nested graphs, whose depth
/// the wire walk has bounded.
struct ONNXProtoReader {
    let tensors: ONNXTensorDecoder

    func model(_ proto: Onnx_ModelProto) throws -> ONNXModel {
        guard proto.hasGraph, proto.irVersion >= 1 else {
            throw ApusError(
                "ONNX003", "this is not an ONNX model",
                actual: proto.hasGraph ? "IR version \(proto.irVersion)" : "a file without a graph")
        }
        var imports = try self.imports(proto.opsetImport)
        // Before IR version 3 there was one operator set and no field for it.
        if imports[""] == nil && proto.irVersion < 3 { imports[""] = 1 }
        var model = ONNXModel(graph: ONNXGraph(name: ""), irVersion: Int(proto.irVersion))
        model.opsetImports = imports
        model.producerName = proto.producerName
        model.producerVersion = proto.producerVersion
        model.domain = proto.domain
        model.modelVersion = Int(proto.modelVersion)
        model.docString = proto.docString
        model.metadata = textTable(proto.metadataProps)
        for function in proto.functions {
            model.functions.append(
                try within("function: \(function.name)") { try self.function(function, imports) })
        }
        model.graph = try graph(proto.graph, imports)
        return model
    }

    private func imports(_ list: [Onnx_OperatorSetIdProto]) throws -> ONNXTable<Int> {
        var table = ONNXTable<Int>()
        for item in list {
            guard item.version >= 1, item.version <= 1 << 20 else {
                throw ApusError(
                    "ONNX005", "an operator set has an impossible version", at: ["domain: \(item.domain)"],
                    expected: "1 or more", actual: "\(item.version)")
            }
            table[domain(item.domain)] = Int(item.version)
        }
        return table
    }

    private func domain(_ name: String) -> String { name == "ai.onnx" ? "" : name }

    private func function(_ proto: Onnx_FunctionProto, _ outer: ONNXTable<Int>) throws -> ONNXFunction {
        var imports = outer
        for (domain, version) in try self.imports(proto.opsetImport) { imports[domain] = version }
        var defaults = ONNXTable<ONNXAttribute>()
        for attribute in proto.attributeProto {
            defaults[attribute.name] = try within("attribute: \(attribute.name)") {
                try self.attribute(attribute, imports)
            }
        }
        return ONNXFunction(
            name: proto.name, domain: domain(proto.domain), overload: proto.overload, inputs: proto.input,
            outputs: proto.output, attributes: proto.attribute, defaults: defaults, opsetImports: imports,
            nodes: try nodes(proto.node, imports))
    }

    private func graph(_ proto: Onnx_GraphProto, _ imports: ONNXTable<Int>) throws -> ONNXGraph {
        var graph = ONNXGraph(name: proto.name)
        for input in proto.input {
            graph.inputs.append(ONNXValueInfo(name: input.name, type: try type(input)))
        }
        for output in proto.output {
            graph.outputs.append(ONNXValueInfo(name: output.name, type: try type(output)))
        }
        for info in proto.valueInfo { graph.valueInfos[info.name] = try type(info) }
        for tensor in proto.initializer {
            try within("initializer: \(tensor.name)") {
                guard !tensor.name.isEmpty else { throw ApusError("ONNX034", "an initializer has no name") }
                guard graph.initializers[tensor.name] == nil else {
                    throw ApusError("ONNX030", "two initializers have one name")
                }
                graph.initializers[tensor.name] = try tensors.tensor(tensor)
            }
        }
        if let sparse = proto.sparseInitializer.first {
            throw ApusError(
                "ONNX016", "sparse initializers are not supported",
                at: ["initializer: \(sparse.values.name)"],
                hint: "store the tensor densely")
        }
        graph.nodes = try nodes(proto.node, imports)
        return graph
    }

    private func nodes(_ list: [Onnx_NodeProto], _ imports: ONNXTable<Int>) throws -> [ONNXNode] {
        var nodes: [ONNXNode] = []
        nodes.reserveCapacity(list.count)
        for (index, proto) in list.enumerated() {
            var node = ONNXNode(
                proto.opType, inputs: proto.input, outputs: proto.output, name: proto.name,
                domain: domain(proto.domain))
            node.overload = proto.overload
            node.index = index
            guard !proto.opType.isEmpty else {
                throw ApusError("ONNX034", "a node names no operator", at: [node.place])
            }
            if let version = imports[node.domain] {
                node.opset = version
            } else if node.domain.isEmpty {
                throw ApusError(
                    "ONNX005", "the model imports no version of the default operator set", at: [node.place])
            } else {
                // Not allowed by the letter, but harmless: a custom domain, often one of the model's
                // functions.
                node.opset = 1
            }
            for attribute in proto.attribute {
                let value = try within(node.place) {
                    try within("attribute: \(attribute.name)") {
                        guard node.attributes[attribute.name] == nil else {
                            throw ApusError("ONNX030", "two attributes have one name")
                        }
                        return try self.attribute(attribute, imports)
                    }
                }
                node.attributes[attribute.name] = value
            }
            nodes.append(node)
        }
        return nodes
    }

    // MARK: Types

    private func type(_ info: Onnx_ValueInfoProto) throws -> ONNXType {
        try within("value: \(info.name)") { info.hasType ? try type(info.type) : .undeclared }
    }

    private func type(_ proto: Onnx_TypeProto) throws -> ONNXType {
        switch proto.value {
        case .tensorType(let tensor):
            return .tensor(
                try element(tensor.elemType), shape: tensor.hasShape ? try dims(tensor.shape) : nil)
        case .sparseTensorType(let tensor):
            return .sparseTensor(
                try element(tensor.elemType), shape: tensor.hasShape ? try dims(tensor.shape) : nil)
        case .sequenceType(let sequence): return .sequence(try type(sequence.elemType))
        case .optionalType(let optional): return .optional(try type(optional.elemType))
        case .mapType(let map): return .map(key: try element(map.keyType), value: try type(map.valueType))
        case .opaqueType(let opaque): return .opaque(domain: opaque.domain, name: opaque.name)
        case nil: return .undeclared
        }
    }

    private func element(_ number: Int32) throws -> ONNXElementType {
        guard let type = ONNXElementType(rawValue: Int(number)) else {
            throw ApusError("ONNX010", "unknown element type", actual: "number \(number)")
        }
        return type
    }

    private func dims(_ shape: Onnx_TensorShapeProto) throws -> [ONNXDim] {
        var dims: [ONNXDim] = []
        for dim in shape.dim {
            switch dim.value {
            case .dimValue(let n):
                // Some exporters write -1 for an unknown extent.
                guard n >= -1 else {
                    throw ApusError("ONNX011", "a declared shape has a negative extent", actual: "\(n)")
                }
                dims.append(n == -1 ? .unknown : .value(Int(n)))
            case .dimParam(let name): dims.append(name.isEmpty ? .unknown : .symbol(name))
            case nil: dims.append(.unknown)
            }
        }
        return dims
    }

    // MARK: Attributes

    private func attribute(_ proto: Onnx_AttributeProto, _ imports: ONNXTable<Int>) throws -> ONNXAttribute {
        if !proto.refAttrName.isEmpty { return .reference(proto.refAttrName) }
        switch kind(proto) {
        case .float: return .float(proto.f)
        case .int: return .int(Int(proto.i))
        case .string: return .string([UInt8](proto.s))
        case .floats: return .floats(proto.floats)
        case .ints: return .ints(proto.ints.map { Int($0) })
        case .strings: return .strings(proto.strings.map { [UInt8]($0) })
        case .tensor where proto.hasT: return try tensor(proto.t)
        case .graph where proto.hasG: return .graph(try graph(proto.g, imports))
        case .typeProto where proto.hasTp: return .type(try type(proto.tp))
        case .graphs: return .graphs(try proto.graphs.map { try graph($0, imports) })
        case .typeProtos: return .types(try proto.typeProtos.map { try type($0) })
        case .tensors:
            var list: [NDArray] = []
            for item in proto.tensors {
                switch try tensor(item) {
                case .tensor(let value): list.append(value)
                case let other: return other
                }
            }
            return .tensors(list)
        case .sparseTensor, .sparseTensors:
            return .unsupported(ApusError("ONNX016", "sparse tensors are not supported"))
        default: throw ApusError("ONNX022", "an attribute has no value")
        }
    }

    /// The declared kind; for files from before it was declared, the field that is set.
    private func kind(_ proto: Onnx_AttributeProto) -> Onnx_AttributeProto.AttributeType {
        if proto.type != .undefined { return proto.type }
        if proto.hasF { return .float }
        if proto.hasI { return .int }
        if proto.hasS { return .string }
        if proto.hasT { return .tensor }
        if proto.hasG { return .graph }
        if proto.hasTp { return .typeProto }
        if !proto.floats.isEmpty { return .floats }
        if !proto.ints.isEmpty { return .ints }
        if !proto.strings.isEmpty { return .strings }
        if !proto.tensors.isEmpty { return .tensors }
        if !proto.graphs.isEmpty { return .graphs }
        return .undefined
    }

    private func tensor(_ proto: Onnx_TensorProto) throws -> ONNXAttribute {
        if Int(proto.dataType) == ONNXElementType.string.rawValue {
            let shape = try tensors.shape(proto)
            guard (try? NDArray.checkedSize(shape: shape, dtype: .uint8))?.count == proto.stringData.count
            else {
                throw ApusError("ONNX012", "the data of a tensor of strings does not fit its shape \(shape)")
            }
            return .stringTensor(shape: shape, proto.stringData.map { [UInt8]($0) })
        }
        do {
            return .tensor(try tensors.tensor(proto))
        } catch let error as ApusError where error.code == "ONNX010" {
            return .unsupported(error)
        }
    }
}
