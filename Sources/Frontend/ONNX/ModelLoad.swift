import ApusRuntime
import ApusSupport
import SwiftProtobuf

/// What `ONNXModel.load` accepts. The limits bound the memory a hostile file can claim.
public struct ONNXLoadOptions: Sendable {
    /// Length of the file itself, without external data.
    public var maximumFileBytes = 1 << 40
    /// Length of everything but float and raw tensor data.
    public var maximumStructureBytes = 1 << 29
    /// Number of protobuf fields outside of values' types.
    public var maximumFields = 1 << 24
    /// Number of nodes, subgraphs included, before and after inlining functions.
    public var maximumNodes = 1_000_000
    /// Graphs within graphs.
    public var maximumSubgraphDepth = 32
    /// Axes of a tensor.
    public var maximumRank = 32
    /// Replace calls of model-local functions by their bodies.
    public var inlineFunctions = true
    /// Follow symbolic links to external data, wherever they lead (as download caches use them).
    public var followLinks = false

    public init() {}
}

extension ONNXModel {
    /// Reads a model file. Weights of some size stay in the file's mapping, those below a megabyte where
    /// their alignment allows, and are read from disk when first used.
    /// - Throws: IO001 to IO003 for the file, else what `load(_:folder:options:)` throws.
    public static func load(_ path: String, options: ONNXLoadOptions = ONNXLoadOptions()) throws -> ONNXModel
    {
        let file = try MappedFile(path, maximumBytes: options.maximumFileBytes)
        let slash = path.lastIndex(of: "/")
        let folder = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        return try within("file: \(path)") {
            try file.withUnsafeBytes { (bytes: UnsafeRawBufferPointer) throws -> ONNXModel in
                let model = try decode(bytes, owner: file, folder: folder, options: options)
                // Decoding looked at what lies between the weights, and wrote nothing.
                file.forget(bytes)
                return model
            }
        }
    }

    /// Reads a model from bytes; tensors are copied out of them.
    /// - Parameter folder: where external data lies; nil: a model with external data is an error.
    /// - Throws: ONNX001 to ONNX004 for a damaged file or one over the limits, ONNX005 for operator sets,
    ///   ONNX010 to ONNX016 for tensors, ONNX022 for attributes, ONNX030 to ONNX034 for a graph that is none;
    ///   each with its place.
    public static func load(
        _ bytes: [UInt8], folder: String? = nil, options: ONNXLoadOptions = ONNXLoadOptions()
    ) throws -> ONNXModel {
        guard bytes.count <= options.maximumFileBytes else {
            throw ApusError(
                "ONNX004", "the model is too large", expected: "at most \(options.maximumFileBytes) bytes")
        }
        return try bytes.withUnsafeBytes { (raw: UnsafeRawBufferPointer) throws -> ONNXModel in
            try decode(raw, owner: nil, folder: folder, options: options)
        }
    }

    private static func decode(
        _ bytes: UnsafeRawBufferPointer, owner: AnyObject?, folder: String?, options: ONNXLoadOptions
    ) throws -> ONNXModel {
        var walk = ONNXWireWalk(bytes, options)
        try walk.run(.model)
        let proto: Onnx_ModelProto = try parse(walk.output)
        let tensors = ONNXTensorDecoder(
            bytes: bytes, owner: owner, payloads: walk.payloads, folder: folder, options: options)
        var model = try ONNXProtoReader(tensors: tensors).model(proto)
        if options.inlineFunctions && !model.functions.isEmpty { try model.inlineFunctions(options: options) }
        try model.graph.checkAndSort()
        return model
    }

    /// Decodes what the walk left over.
    static func parse<M: Message>(_ bytes: [UInt8]) throws -> M {
        var decoding = BinaryDecodingOptions()
        // Three messages a nested graph, and some for the type at its end; the walk has bounded the graphs.
        decoding.messageDepthLimit = 400
        decoding.discardUnknownFields = true
        do {
            return try M(serializedBytes: bytes, extensions: nil, partial: true, options: decoding)
        } catch {
            throw ApusError(
                "ONNX002", "a part of the file is malformed", actual: "\(error)",
                hint: "check that the file was downloaded completely")
        }
    }

    /// Reads a file with one TensorProto, as test cases come with.
    /// - Throws: IO001 to IO003 for the file, ONNX001 and ONNX002 for its form, ONNX010 to ONNX015 for the
    ///   tensor, ONNX017 for a sequence or an optional.
    public static func loadTensor(
        _ path: String, options: ONNXLoadOptions = ONNXLoadOptions()
    ) throws -> (name: String, tensor: NDArray) {
        let file = try MappedFile(path, maximumBytes: options.maximumFileBytes)
        return try within("file: \(path)") {
            try file.withUnsafeBytes {
                (bytes: UnsafeRawBufferPointer) throws -> (name: String, tensor: NDArray) in
                try decodeTensor(bytes, owner: file, options: options)
            }
        }
    }

    /// Reads the bytes of one TensorProto; as `loadTensor(_:options:)` for a file.
    public static func loadTensor(
        _ bytes: [UInt8], options: ONNXLoadOptions = ONNXLoadOptions()
    ) throws -> (name: String, tensor: NDArray) {
        try bytes.withUnsafeBytes { (raw: UnsafeRawBufferPointer) throws -> (name: String, tensor: NDArray) in
            try decodeTensor(raw, owner: nil, options: options)
        }
    }

    private static func decodeTensor(
        _ bytes: UnsafeRawBufferPointer, owner: AnyObject?, options: ONNXLoadOptions
    ) throws -> (name: String, tensor: NDArray) {
        // A file does not say which message it holds. In SequenceProto and OptionalProto field 1 is the name,
        // field 2 the kind of element, and the values follow from field 3 on, where TensorProto has
        // `segment`.
        let other = ApusError(
            "ONNX017", "the file holds a sequence or an optional, not a tensor", expected: "a TensorProto")
        var walk = ONNXWireWalk(bytes, options)
        let proto: Onnx_TensorProto
        do {
            try walk.run(.tensor)
            proto = try parse(walk.output)
        } catch let error as ApusError {
            // A name read as packed dimensions, or a tensor read as a segment, is rarely well-formed.
            if error.code == "ONNX002", let first = bytes.first, first == 10 || first == 16 { throw other }
            throw error
        }
        if proto.hasSegment { throw other }
        let decoder = ONNXTensorDecoder(
            bytes: bytes, owner: owner, payloads: walk.payloads, folder: nil, options: options)
        do {
            return (name: proto.name, tensor: try decoder.tensor(proto))
        } catch let error as ApusError {
            // The letters of a name, read as dimensions.
            let isName = bytes.first == 10 && proto.dims.allSatisfy { $0 >= 0x20 && $0 < 0x7F }
            if isName, ["ONNX010", "ONNX011", "ONNX012"].contains(error.code), proto.dataType <= 5 {
                throw other
            }
            throw error
        }
    }
}

/// Values by text key from protobuf's pairs; the last of equal keys counts.
func textTable(_ pairs: [Onnx_StringStringEntryProto]) -> ONNXTable<String> {
    var table = ONNXTable<String>()
    for pair in pairs { table[pair.key] = pair.value }
    return table
}

// Tests build models with the generated types; these spare them the protobuf library.
extension Onnx_ModelProto {
    package func encoded() throws -> [UInt8] { try serializedBytes() }
}

extension Onnx_TensorProto {
    package func encoded() throws -> [UInt8] { try serializedBytes() }
}

extension Onnx_GraphProto {
    package func encoded() throws -> [UInt8] { try serializedBytes() }
}
