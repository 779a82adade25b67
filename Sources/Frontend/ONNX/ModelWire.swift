import ApusSupport

// Decoding a model of gigabytes with a general protobuf decoder copies every weight at least once into the
// decoded message and again into the tensor. So the file is walked first on the level of protobuf's wire
// format (tag, length, bytes; protobuf.dev/programming-guides/encoding): the bulk of each tensor is
// remembered as a range of the file and left out, and what remains, a few hundred kilobytes, goes to
// SwiftProtobuf. The walk is also where limits on size and depth are enforced, before anything is allocated
// for them.

/// Where a tensor's bulk lies in the file.
struct ONNXPayload {
    /// `raw_data`; the last one counts.
    var raw: Range<Int>?
    /// Pieces of `float_data` or `double_data`: packed runs of little-endian numbers, to be put one after
    /// another.
    var floats: [Range<Int>] = []
    var doubles: [Range<Int>] = []
}

/// Messages the walk looks into; all others are copied as they are.
enum ONNXMessage {
    case model, graph, function, node, attribute, tensor, sparseTensor

    /// What field `number` holds, if the walk goes there.
    func child(_ number: Int) -> ONNXMessage? {
        switch (self, number) {
        case (.model, 7): .graph
        case (.model, 25): .function
        case (.graph, 1), (.function, 7): .node
        case (.graph, 5): .tensor
        case (.graph, 15): .sparseTensor
        case (.function, 11), (.node, 5): .attribute
        case (.attribute, 5), (.attribute, 10): .tensor
        case (.attribute, 6), (.attribute, 11): .graph
        case (.attribute, 22), (.attribute, 23): .sparseTensor
        case (.sparseTensor, 1), (.sparseTensor, 2): .tensor
        default: nil
        }
    }

    /// Fields nobody reads here: documentation, tool annotations (stack traces of exporters can outweigh the
    /// graph), training, device placement.
    func ignores(_ number: Int) -> Bool {
        switch self {
        case .model: number == 20 || number == 26
        case .graph: number == 10 || number == 14 || number == 16
        case .function: number == 8 || number == 14
        case .node: number == 6 || number == 9 || number == 10
        case .attribute: number == 13
        case .tensor: number == 12 || number == 16
        case .sparseTensor: false
        }
    }

    var label: String { String(describing: self) }
}

/// The walk: `output` becomes the message without the bulk of its tensors; each tensor's `doc_string`, which
/// has no other use here, holds the number of its payload.
struct ONNXWireWalk {
    private let bytes: UnsafeRawBufferPointer
    private let options: ONNXLoadOptions
    private(set) var output: [UInt8] = []
    private(set) var payloads: [ONNXPayload] = []
    private var fields = 0
    private var nodes = 0

    init(_ bytes: UnsafeRawBufferPointer, _ options: ONNXLoadOptions) {
        self.bytes = bytes
        self.options = options
    }

    /// Walks all bytes as a message of this kind.
    mutating func run(_ kind: ONNXMessage) throws { try walk(kind, 0..<bytes.count, graphs: 0) }

    private func malformed(_ what: String, _ at: Int) -> ApusError {
        ApusError(
            "ONNX001", "not an ONNX file, or a damaged one: \(what)", at: ["byte: \(at)"],
            hint: "check that the file was downloaded completely")
    }

    /// Recursion: at most the permitted number of nested graphs times three, checked here.
    private mutating func walk(_ kind: ONNXMessage, _ range: Range<Int>, graphs: Int) throws {
        if kind == .graph, graphs > options.maximumSubgraphDepth {
            throw ApusError(
                "ONNX004", "graphs are nested too deeply",
                expected: "at most \(options.maximumSubgraphDepth) levels")
        }
        var at = range.lowerBound
        let end = range.upperBound
        var payload = ONNXPayload()
        var children = 0
        while at < end {
            fields += 1
            if fields > options.maximumFields {
                throw ApusError(
                    "ONNX004", "the model has too many fields", expected: "at most \(options.maximumFields)")
            }
            let start = at
            let tag = try varint(&at, end)
            guard tag >= 8, tag <= UInt64(UInt32.max) else { throw malformed("bad field number", start) }
            let number = Int(tag >> 3)
            var body = at..<at
            switch tag & 7 {
            case 0:
                _ = try varint(&at, end)
                body = body.lowerBound..<at
            case 1, 5:
                let size = tag & 7 == 1 ? 8 : 4
                guard end - at >= size else { throw malformed("it ends within a number", at) }
                at += size
                body = body.lowerBound..<at
            case 2:
                let length = try varint(&at, end)
                guard length <= UInt64(end - at) else {
                    throw malformed("it ends within a \(kind.label)", at)
                }
                body = at..<at + Int(length)
                at = body.upperBound
            default: throw malformed("unknown wire type \(tag & 7)", start)
            }
            if kind.ignores(number) { continue }
            if kind == .tensor, takePayload(number, Int(tag & 7), body, &payload) { continue }
            guard tag & 7 == 2, let child = kind.child(number) else {
                try copy(start..<at)
                continue
            }
            if child == .node { try countNode() }
            putVarint(tag)
            // The length is not known yet: five bytes are kept for it, as a varint with leading zeros
            // (valid).
            let mark = output.count
            output.append(contentsOf: [0, 0, 0, 0, 0])
            let index = children
            children += 1
            try within("\(child.label): #\(index)") {
                try walk(child, body, graphs: child == .graph ? graphs + 1 : graphs)
            }
            patch(mark, output.count - mark - 5)
        }
        if kind == .tensor {
            let text = Array(String(payloads.count).utf8)
            payloads.append(payload)
            output.append(12 << 3 | 2)
            output.append(UInt8(text.count))
            output.append(contentsOf: text)
        }
    }

    private mutating func countNode() throws {
        nodes += 1
        if nodes > options.maximumNodes {
            throw ApusError(
                "ONNX004", "the model has too many nodes", expected: "at most \(options.maximumNodes)")
        }
    }

    private func takePayload(_ number: Int, _ wire: Int, _ body: Range<Int>, _ payload: inout ONNXPayload)
        -> Bool
    {
        switch (number, wire) {
        case (9, 2): payload.raw = body
        case (4, 2), (4, 5): payload.floats.append(body)
        case (10, 2), (10, 1): payload.doubles.append(body)
        default: return false
        }
        return true
    }

    private func varint(_ at: inout Int, _ end: Int) throws -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while at < end, shift < 64 {
            let byte = bytes[at]
            at += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        throw malformed(at < end ? "a number is too long" : "it ends within a number", at)
    }

    private mutating func copy(_ range: Range<Int>) throws {
        guard output.count + range.count <= options.maximumStructureBytes else {
            throw ApusError(
                "ONNX004", "the model's structure (all but tensor data) is too large",
                expected: "at most \(options.maximumStructureBytes) bytes",
                hint: "raise maximumStructureBytes in the load options")
        }
        output.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[range]))
    }

    private mutating func putVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            output.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        output.append(UInt8(rest))
    }

    private mutating func patch(_ mark: Int, _ length: Int) {
        var rest = length
        for i in 0..<5 {
            output[mark + i] = UInt8(rest & 0x7F) | (i < 4 ? 0x80 : 0)
            rest >>= 7
        }
    }
}
