import ApusRuntime
import ApusSupport

/// Any node as JSON: a table of nodes, children before parents, shared nodes once.
///
/// `{"apus_json":1,"root":R,"nodes":[{"type":"tir.Add","fields":{...}},…]}`; a reference is `{"node":i}`,
/// a data type `{"dtype":"float32"}`, a tensor `{"tensor":{"dtype":…,"shape":[…],"base64":…}}`,
/// a map `{"map":[[key,value],…]}`, a float `{"float":"1.5"}` (Swift's shortest exact form).
public func saveJSON(_ root: Node) -> String {
    var saver = Saver()
    let index = saver.run(root)
    return JSON.object([
        ("apus_json", .int(1)), ("root", .int(index)), ("nodes", .array(saver.table)),
    ]).text
}

/// Rebuilds what `saveJSON` wrote; every node goes through its validating constructor.
public func loadJSON(_ text: String) throws -> Node {
    let document = try JSON.parse(text)
    guard let entries = document["nodes"]?.arrayValue, let root = document["root"]?.intValue,
        document["apus_json"]?.intValue == 1
    else {
        throw ApusError(
            "NODE003", "not a saved node", expected: #"{"apus_json":1,"root":…,"nodes":[…]}"#,
            actual: String(text.prefix(40)))
    }
    var built: [Node] = []
    built.reserveCapacity(entries.count)
    for (i, entry) in entries.enumerated() {
        built.append(try within("nodes[\(i)]") { try loadNode(entry, built) })
    }
    guard built.indices.contains(root) else {
        throw ApusError("NODE003", "the root is no node", expected: "0..<\(built.count)", actual: "\(root)")
    }
    return built[root]
}

private func loadNode(_ entry: JSON, _ built: [Node]) throws -> Node {
    guard let key = entry["type"]?.stringValue, let schema = NodeRegistry.schema(key) else {
        throw ApusError(
            "NODE004", "unknown kind of node", expected: "a registered type key",
            actual: entry["type"]?.stringValue ?? "none",
            hint: "registerAll() of the room that owns it must run first; `Apus.registerAll()` runs all")
    }
    return try schema.build(
        schema.fields.map { f in
            guard let v = entry["fields"]?[f.name] else {
                throw ApusError("NODE002", "\(key) lacks field \(f.name)")
            }
            return try decode(v, built)
        })
}

private struct Saver {
    var table: [JSON] = []
    var indexOf: [ObjectIdentifier: Int] = [:]

    mutating func run(_ root: Node) -> Int {
        // Post-order on an explicit stack: a node is visited once to push its children, once to be written.
        var stack: [(node: Node, ready: Bool)] = [(root, false)]
        while let (node, ready) = stack.popLast() {
            if indexOf[ObjectIdentifier(node)] != nil { continue }
            let schema = node.schema
            if ready {
                let fields = schema.fields.map { (key: $0.name, value: encode($0.get(node))) }
                indexOf[ObjectIdentifier(node)] = table.count
                table.append(.object([("type", .string(schema.key)), ("fields", .object(fields))]))
            } else {
                stack.append((node, true))
                for f in schema.fields.reversed() {
                    forEachChild(f.get(node)) { stack.append(($0, false)) }
                }
            }
        }
        return indexOf[ObjectIdentifier(root)]!
    }

    func encode(_ v: FieldValue) -> JSON {
        switch v {
        case .null: return .null
        case .bool(let x): return .bool(x)
        case .int(let x): return .int(x)
        case .float(let x): return .object([("float", .string("\(x)"))])
        case .string(let x): return .string(x)
        case .dtype(let x): return .object([("dtype", .string(x.description))])
        case .node(let n): return .object([("node", .int(indexOf[ObjectIdentifier(n)]!))])
        case .tensor(let t):
            return .object([
                (
                    "tensor",
                    .object([
                        ("dtype", .string(t.dtype.description)), ("shape", .array(t.shape.map { .int($0) })),
                        ("base64", .string(t.withUnsafeBytes { Base64.encode($0) })),
                    ])
                )
            ])
        case .array(let x): return .array(x.map(encode))
        case .map(let x):
            return .object([("map", .array(x.map { .array([.string($0.key), encode($0.value)]) }))])
        }
    }
}

/// Calls `body` for every node directly in a field value, in order.
public func forEachChild(_ value: FieldValue, _ body: (Node) -> Void) {
    switch value {
    case .node(let n): body(n)
    case .array(let v): v.forEach { forEachChild($0, body) }
    case .map(let v): v.forEach { forEachChild($0.value, body) }
    default: break
    }
}

private func decode(_ v: JSON, _ built: [Node]) throws -> FieldValue {
    switch v {
    case .null: return .null
    case .bool(let x): return .bool(x)
    case .int(let x): return .int(x)
    case .double(let x): return .float(x)
    case .string(let x): return .string(x)
    case .array(let x): return .array(try x.map { try decode($0, built) })
    case .object(let members):
        guard members.count == 1 else { throw ApusError("NODE005", "malformed field value") }
        let (tag, content) = members[0]
        switch (tag, content) {
        case ("node", .int(let i)):
            guard built.indices.contains(i) else {
                throw ApusError(
                    "NODE005", "reference to a node that does not precede", expected: "0..<\(built.count)",
                    actual: "\(i)")
            }
            return .node(built[i])
        case ("float", .string(let s)):
            guard let x = Double(s) else { throw ApusError("NODE005", "malformed float", actual: s) }
            return .float(x)
        case ("dtype", .string(let s)):
            guard let d = DataType(s) else { throw ApusError("NODE005", "malformed data type", actual: s) }
            return .dtype(d)
        case ("map", .array(let pairs)):
            return .map(
                try pairs.map { pair in
                    guard case .array(let p) = pair, p.count == 2, case .string(let key) = p[0] else {
                        throw ApusError("NODE005", "malformed map")
                    }
                    return (key, try decode(p[1], built))
                })
        case ("tensor", let t): return .tensor(try decodeTensor(t))
        default: throw ApusError("NODE005", "malformed field value", actual: tag)
        }
    }
}

private func decodeTensor(_ t: JSON) throws -> NDArray {
    guard let name = t["dtype"]?.stringValue, let dtype = DataType(name), let dims = t["shape"]?.arrayValue,
        let text = t["base64"]?.stringValue, let bytes = Base64.decode(text)
    else { throw ApusError("NODE005", "malformed tensor") }
    let shape = try dims.map { d in
        guard let n = d.intValue, n >= 0 else { throw ApusError("NODE005", "malformed tensor shape") }
        return n
    }
    let array = try NDArray.allocate(shape: shape, dtype: dtype)
    guard bytes.count == array.byteCount else {
        throw ApusError(
            "NODE005", "tensor data has the wrong size", expected: "\(array.byteCount) bytes",
            actual: "\(bytes.count)")
    }
    bytes.withUnsafeBytes {
        if !$0.isEmpty { array.data.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
    }
    return array
}

/// RFC 4648 base64 with padding.
enum Base64 {
    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func encode(_ bytes: UnsafeRawBufferPointer) -> String {
        var out: [UInt8] = []
        out.reserveCapacity((bytes.count + 2) / 3 * 4)
        var i = 0
        while i < bytes.count {
            let n = min(3, bytes.count - i)
            var group = UInt32(bytes[i]) << 16
            if n > 1 { group |= UInt32(bytes[i + 1]) << 8 }
            if n > 2 { group |= UInt32(bytes[i + 2]) }
            for k in 0..<4 {
                out.append(k <= n ? alphabet[Int(group >> UInt32(18 - 6 * k)) & 63] : UInt8(ascii: "="))
            }
            i += 3
        }
        return String(decoding: out, as: UTF8.self)
    }

    static func decode(_ text: String) -> [UInt8]? {
        var table = [UInt8](repeating: 255, count: 256)
        for (i, c) in alphabet.enumerated() { table[Int(c)] = UInt8(i) }
        let bytes = Array(text.utf8)
        guard bytes.count % 4 == 0 else { return nil }
        var out: [UInt8] = []
        out.reserveCapacity(bytes.count / 4 * 3)
        for start in stride(from: 0, to: bytes.count, by: 4) {
            var group: UInt32 = 0
            var padding = 0
            for k in 0..<4 {
                let c = bytes[start + k]
                if c == UInt8(ascii: "=") {
                    guard k >= 2, start + 4 == bytes.count else { return nil }
                    padding += 1
                    group <<= 6
                } else {
                    guard padding == 0, table[Int(c)] != 255 else { return nil }
                    group = group << 6 | UInt32(table[Int(c)])
                }
            }
            out.append(UInt8(group >> 16 & 255))
            if padding < 2 { out.append(UInt8(group >> 8 & 255)) }
            if padding < 1 { out.append(UInt8(group & 255)) }
        }
        return out
    }
}
