import ApusSupport

extension ONNXModel {
    /// Replaces every call of a model-local function by the function's body, nested calls included.
    /// `functions` stays.
    /// - Throws: ONNX033 for a function that calls itself, arguments that do not fit, or two functions of one
    ///   name; ONNX004 where the result is larger than the options allow.
    public mutating func inlineFunctions(options: ONNXLoadOptions = ONNXLoadOptions()) throws {
        var inliner = try FunctionInliner(functions, options)
        graph.nodes = try inliner.expand(graph.nodes, calls: [], graphs: 0)
    }
}

private struct FunctionInliner {
    private struct Key: Hashable {
        var domain: String
        var name: String
        var overload: String
    }

    private var functions: [Key: ONNXFunction] = [:]
    private let options: ONNXLoadOptions
    private var nodes = 0
    private var calls = 0
    /// Functions within functions; a bound on recursion here.
    private static let maximumCallDepth = 64

    init(_ list: [ONNXFunction], _ options: ONNXLoadOptions) throws {
        self.options = options
        for function in list {
            let key = Key(domain: function.domain, name: function.name, overload: function.overload)
            if functions.updateValue(function, forKey: key) != nil {
                throw ApusError("ONNX033", "two functions have one name", at: ["function: \(function.name)"])
            }
        }
    }

    /// `calls`: the functions whose bodies these nodes are in; `graphs`: the graphs around them.
    mutating func expand(_ list: [ONNXNode], calls chain: [ONNXNode], graphs: Int) throws -> [ONNXNode] {
        guard graphs <= options.maximumSubgraphDepth else {
            throw ApusError("ONNX004", "graphs are nested too deeply after inlining functions")
        }
        var result: [ONNXNode] = []
        for var node in list {
            for (name, value) in node.attributes.entries {
                switch value {
                case .graph(var inner):
                    inner.nodes = try expand(inner.nodes, calls: chain, graphs: graphs + 1)
                    node.attributes[name] = .graph(inner)
                case .graphs(var inner):
                    for i in inner.indices {
                        inner[i].nodes = try expand(inner[i].nodes, calls: chain, graphs: graphs + 1)
                    }
                    node.attributes[name] = .graphs(inner)
                default: break
                }
            }
            let key = Key(domain: node.domain, name: node.opType, overload: node.overload)
            guard let function = functions[key] else {
                nodes += 1
                if nodes > options.maximumNodes {
                    throw ApusError(
                        "ONNX004", "the model has too many nodes after inlining its functions",
                        expected: "at most \(options.maximumNodes)")
                }
                result.append(node)
                continue
            }
            for caller in chain
            where Key(
                domain: caller.domain, name: caller.opType, overload: caller.overload) == key
            {
                throw ApusError(
                    "ONNX033", "a function calls itself", at: [node.place], notes: chain.map { $0.place })
            }
            guard chain.count < FunctionInliner.maximumCallDepth else {
                throw ApusError("ONNX004", "functions call each other too deeply", at: [node.place])
            }
            // A body without nodes would otherwise let calls multiply for free.
            calls += 1
            if calls > options.maximumNodes {
                throw ApusError("ONNX004", "the model calls functions too often")
            }
            let body = try instantiate(function, node)
            result += try expand(body, calls: chain + [node], graphs: graphs)
        }
        return result
    }

    /// The body with the call's values and attributes in place of the formal ones.
    private func instantiate(_ function: ONNXFunction, _ call: ONNXNode) throws -> [ONNXNode] {
        guard call.inputs.count <= function.inputs.count, call.outputs.count <= function.outputs.count else {
            throw ApusError(
                "ONNX033", "a call does not fit its function", at: [call.place],
                expected: "at most \(function.inputs.count) inputs and \(function.outputs.count) outputs",
                actual: "\(call.inputs.count) and \(call.outputs.count)")
        }
        let prefix = "\(call.name.isEmpty ? function.name : call.name)@\(calls)/"
        var renaming = Renaming(prefix: prefix, call: call, defaults: function.defaults)
        for (i, formal) in function.inputs.enumerated() {
            renaming.names[formal] = i < call.inputs.count ? call.inputs[i] : ""
        }
        var body: [ONNXNode] = []
        var passed: [ONNXNode] = []
        for (i, formal) in function.outputs.enumerated()
        where i < call.outputs.count && !call.outputs[i].isEmpty {
            if let source = renaming.names[formal] {
                // An output that is an input, or one that is given out twice.
                var copy = ONNXNode(
                    "Identity", inputs: [source], outputs: [call.outputs[i]], name: prefix + formal)
                copy.opset = function.opsetImports[""] ?? call.opset
                copy.index = call.index
                passed.append(copy)
            } else {
                renaming.names[formal] = call.outputs[i]
            }
        }
        for node in function.nodes {
            var copy = renaming.apply(node)
            copy.index = call.index
            body.append(copy)
        }
        return body + passed
    }
}

/// How a function's body is written for one call: names, attributes.
private struct Renaming {
    var names: [String: String] = [:]
    let prefix: String
    let call: ONNXNode
    let defaults: ONNXTable<ONNXAttribute>

    init(prefix: String, call: ONNXNode, defaults: ONNXTable<ONNXAttribute>) {
        self.prefix = prefix
        self.call = call
        self.defaults = defaults
    }

    private func value(_ name: String) -> String { name.isEmpty ? "" : names[name] ?? prefix + name }

    func apply(_ node: ONNXNode) -> ONNXNode {
        var copy = node
        copy.name = prefix + node.name
        copy.inputs = node.inputs.map { value($0) }
        copy.outputs = node.outputs.map { value($0) }
        copy.attributes = ONNXTable()
        for (name, attribute) in node.attributes {
            switch attribute {
            case .reference(let formal): copy.attributes[name] = call.attributes[formal] ?? defaults[formal]
            case .graph(let graph): copy.attributes[name] = .graph(apply(graph))
            case .graphs(let graphs): copy.attributes[name] = .graphs(graphs.map { apply($0) })
            default: copy.attributes[name] = attribute
            }
        }
        return copy
    }

    private func apply(_ graph: ONNXGraph) -> ONNXGraph {
        var copy = ONNXGraph(name: graph.name)
        for info in graph.inputs {
            copy.inputs.append(ONNXValueInfo(name: value(info.name), type: info.type))
        }
        for info in graph.outputs {
            copy.outputs.append(ONNXValueInfo(name: value(info.name), type: info.type))
        }
        for (name, type) in graph.valueInfos { copy.valueInfos[value(name)] = type }
        for (name, tensor) in graph.initializers { copy.initializers[value(name)] = tensor }
        copy.nodes = graph.nodes.map { apply($0) }
        return copy
    }
}
