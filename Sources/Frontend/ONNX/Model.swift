import ApusRuntime
import ApusSupport

/// An ONNX model as plain values: what the file says, checked, without a trace of its encoding.
///
/// `load` guarantees: every name a node reads is defined before it (nodes are reordered where the file's
/// order is not topological), no value is defined twice in a graph, initialisers have exactly the bytes of
/// their shape, and calls of model-local functions are inlined unless the options say otherwise.
public struct ONNXModel: Sendable {
    /// Version of the file format, 1 and up.
    public var irVersion: Int
    /// Operator set version by domain; the default domain is "".
    public var opsetImports: ONNXTable<Int>
    public var producerName: String
    public var producerVersion: String
    public var domain: String
    public var modelVersion: Int
    public var docString: String
    /// Free text by key.
    public var metadata: ONNXTable<String>
    /// Functions the model defines for its own nodes, in file order.
    public var functions: [ONNXFunction]
    public var graph: ONNXGraph

    /// A model made by hand; see `load` for files.
    public init(graph: ONNXGraph, irVersion: Int = 8, opset: Int = 17) {
        self.irVersion = irVersion
        opsetImports = ONNXTable()
        opsetImports[""] = opset
        producerName = ""
        producerVersion = ""
        domain = ""
        modelVersion = 0
        docString = ""
        metadata = ONNXTable()
        functions = []
        self.graph = graph
    }

    /// Operator set version of the default domain.
    public var opset: Int { opsetImports[""] ?? 1 }
}

/// Nodes with the values that go in and out.
public struct ONNXGraph: Sendable {
    public var name: String
    /// Inputs in order; a name that is also an initialiser has that as its default.
    public var inputs: [ONNXValueInfo]
    public var outputs: [ONNXValueInfo]
    /// Declared types of values in between.
    public var valueInfos: ONNXTable<ONNXType>
    public var initializers: ONNXTable<NDArray>
    /// In an order that defines every value before its use: the file's, if that is one.
    public var nodes: [ONNXNode]

    /// A graph from its parts.
    public init(
        name: String, inputs: [ONNXValueInfo] = [], outputs: [ONNXValueInfo] = [],
        initializers: ONNXTable<NDArray> = ONNXTable(), nodes: [ONNXNode] = []
    ) {
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        valueInfos = ONNXTable()
        self.initializers = initializers
        self.nodes = nodes
    }

    /// Inputs that a caller must give: those without an initialiser.
    public var requiredInputs: [ONNXValueInfo] { inputs.filter { initializers[$0.name] == nil } }
}

/// One application of an operator.
public struct ONNXNode: Sendable {
    /// As in the file; may be empty.
    public var name: String
    public var opType: String
    /// "" for the default domain (`ai.onnx` is read as that).
    public var domain: String
    /// Distinguishes functions of one name; empty for operators.
    public var overload: String
    /// Names of values; "" for an optional input that is left out.
    public var inputs: [String]
    /// Names of values; "" for an output that nobody wants.
    public var outputs: [String]
    public var attributes: ONNXTable<ONNXAttribute>
    /// Version of the operator set that defines `opType`: the model's, or the function's that the node came
    /// from.
    public var opset: Int
    /// Position in the file's list, for messages about nodes without a name.
    public var index: Int

    /// A node from its parts.
    public init(
        _ opType: String, inputs: [String], outputs: [String],
        attributes: ONNXTable<ONNXAttribute> = ONNXTable(),
        name: String = "", domain: String = "", opset: Int = 17
    ) {
        self.name = name
        self.opType = opType
        self.domain = domain
        overload = ""
        self.inputs = inputs
        self.outputs = outputs
        self.attributes = attributes
        self.opset = opset
        index = 0
    }

    /// Names the node in an error's context: `node: conv_3 (Conv)`; its number where it has no name.
    public var place: String {
        let op = domain.isEmpty ? opType : "\(domain).\(opType)"
        return name.isEmpty ? "node: #\(index) (\(op))" : "node: \(name) (\(op))"
    }

    /// The name of input `i`; nil where it is left out.
    public func input(_ i: Int) -> String? {
        i >= 0 && i < inputs.count && !inputs[i].isEmpty ? inputs[i] : nil
    }
}

/// The value of an attribute.
public enum ONNXAttribute: Sendable {
    case int(Int)
    case float(Float)
    /// Bytes, by convention UTF-8.
    case string([UInt8])
    case tensor(NDArray)
    /// A tensor of strings: shape and bytes of each element.
    case stringTensor(shape: [Int], [[UInt8]])
    case graph(ONNXGraph)
    case type(ONNXType)
    case ints([Int])
    case floats([Float])
    case strings([[UInt8]])
    case tensors([NDArray])
    case graphs([ONNXGraph])
    case types([ONNXType])
    /// Within a function: the value of the calling node's attribute of this name.
    case reference(String)
    /// One that exists but is not supported (sparse tensors, tensors of unsupported types), with the reason;
    /// an error only for a node that needs it.
    case unsupported(ApusError)

    /// The kind in ONNX's words.
    public var kind: String {
        switch self {
        case .int: "int"
        case .float: "float"
        case .string: "string"
        case .tensor: "tensor"
        case .stringTensor: "tensor(string)"
        case .graph: "graph"
        case .type: "type"
        case .ints: "ints"
        case .floats: "floats"
        case .strings: "strings"
        case .tensors: "tensors"
        case .graphs: "graphs"
        case .types: "types"
        case .reference: "reference"
        case .unsupported: "unsupported"
        }
    }
}

/// A function that a model defines: a body whose inputs, outputs and attributes the calling node fills in.
public struct ONNXFunction: Sendable {
    public var name: String
    public var domain: String
    public var overload: String
    public var inputs: [String]
    public var outputs: [String]
    /// Attributes without a default.
    public var attributes: [String]
    /// Attributes with a default.
    public var defaults: ONNXTable<ONNXAttribute>
    public var opsetImports: ONNXTable<Int>
    public var nodes: [ONNXNode]
}

// MARK: - Attributes by kind

extension ONNXNode {
    private func wrongKind(_ name: String, _ expected: String, _ value: ONNXAttribute) -> ApusError {
        if case .unsupported(let error) = value { return error.within("attribute: \(name)").within(place) }
        return ApusError(
            "ONNX020", "attribute has another kind", at: [place, "attribute: \(name)"], expected: expected,
            actual: value.kind)
    }

    /// The attribute as an integer; nil where the node has none of this name.
    /// - Throws: ONNX020 (as all of these) where it has another kind.
    public func int(_ name: String) throws -> Int? {
        guard let value = attributes[name] else { return nil }
        guard case .int(let n) = value else { throw wrongKind(name, "int", value) }
        return n
    }

    /// The attribute as an integer, `standard` where it is absent.
    public func int(_ name: String, default standard: Int) throws -> Int { try int(name) ?? standard }

    /// The attribute as a truth value (an int other than 0).
    public func bool(_ name: String, default standard: Bool) throws -> Bool {
        try int(name).map { $0 != 0 } ?? standard
    }

    /// The attribute as a float.
    public func float(_ name: String) throws -> Float? {
        guard let value = attributes[name] else { return nil }
        guard case .float(let x) = value else { throw wrongKind(name, "float", value) }
        return x
    }

    /// The attribute as a float, `standard` where it is absent.
    public func float(_ name: String, default standard: Float) throws -> Float { try float(name) ?? standard }

    /// The attribute as text; invalid UTF-8 is an error ONNX021.
    public func string(_ name: String) throws -> String? {
        guard let value = attributes[name] else { return nil }
        guard case .string(let bytes) = value else { throw wrongKind(name, "string", value) }
        return try text(bytes, name)
    }

    /// The attribute as text, `standard` where it is absent.
    public func string(_ name: String, default standard: String) throws -> String {
        try string(name) ?? standard
    }

    /// The attribute as a list of texts.
    public func strings(_ name: String) throws -> [String]? {
        guard let value = attributes[name] else { return nil }
        guard case .strings(let list) = value else { throw wrongKind(name, "strings", value) }
        return try list.map { (bytes: [UInt8]) throws -> String in try text(bytes, name) }
    }

    private func text(_ bytes: [UInt8], _ name: String) throws -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw ApusError("ONNX021", "text is not valid UTF-8", at: [place, "attribute: \(name)"])
        }
        return text
    }

    /// The attribute as a list of integers.
    public func ints(_ name: String) throws -> [Int]? {
        guard let value = attributes[name] else { return nil }
        guard case .ints(let list) = value else { throw wrongKind(name, "ints", value) }
        return list
    }

    /// The attribute as a list of integers, `standard` where it is absent.
    public func ints(_ name: String, default standard: [Int]) throws -> [Int] { try ints(name) ?? standard }

    /// The attribute as a list of floats.
    public func floats(_ name: String) throws -> [Float]? {
        guard let value = attributes[name] else { return nil }
        guard case .floats(let list) = value else { throw wrongKind(name, "floats", value) }
        return list
    }

    /// The attribute as a tensor.
    public func tensor(_ name: String) throws -> NDArray? {
        guard let value = attributes[name] else { return nil }
        guard case .tensor(let tensor) = value else { throw wrongKind(name, "tensor", value) }
        return tensor
    }

    /// The attribute as a graph.
    public func graph(_ name: String) throws -> ONNXGraph? {
        guard let value = attributes[name] else { return nil }
        guard case .graph(let graph) = value else { throw wrongKind(name, "graph", value) }
        return graph
    }

    /// The graphs this node holds, in the order of its attributes.
    public var subgraphs: [(attribute: String, graph: ONNXGraph)] {
        var result: [(attribute: String, graph: ONNXGraph)] = []
        for (name, value) in attributes {
            switch value {
            case .graph(let graph): result.append((attribute: name, graph: graph))
            case .graphs(let graphs): for graph in graphs { result.append((attribute: name, graph: graph)) }
            default: break
            }
        }
        return result
    }
}
