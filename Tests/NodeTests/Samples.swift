import ApusNode
import ApusRuntime
import ApusSupport

// Node kinds for these tests: one of each way of being compared.

final class Leaf: Node, @unchecked Sendable {
    let value: Int
    let note: String
    init(_ value: Int, note: String = "") {
        self.value = value
        self.note = note
    }
    override class var schema: NodeSchema { leafSchema }
}

private let leafSchema = NodeSchema(
    "test.Leaf", Leaf.self, [.field("value", \.value), .ignored("note", \.note)],
    make: { Leaf(try $0.next(), note: try $0.next()) })

final class Pair: Node, @unchecked Sendable {
    private(set) var left: Node
    private(set) var right: Node
    init(_ left: Node, _ right: Node) {
        self.left = left
        self.right = right
    }
    deinit {
        reclaim(&left)
        reclaim(&right)
    }
    override class var schema: NodeSchema { pairSchema }
}

private let pairSchema = NodeSchema(
    "test.Pair", Pair.self, [.field("left", \.left), .field("right", \.right)],
    make: { Pair(try $0.next(), try $0.next()) })

final class Name: Node, @unchecked Sendable {
    let name: String
    init(_ name: String) { self.name = name }
    override class var schema: NodeSchema { nameSchema }
}

private let nameSchema = NodeSchema(
    "test.Name", Name.self, [.ignored("name", \.name)], identity: .variable, make: { Name(try $0.next()) })

/// Binds a name in a body.
final class Bind: Node, @unchecked Sendable {
    let name: Name
    let body: Node
    init(_ name: Name, _ body: Node) {
        self.name = name
        self.body = body
    }
    override class var schema: NodeSchema { bindSchema }
}

private let bindSchema = NodeSchema(
    "test.Bind", Bind.self, [.definition("name", \.name), .field("body", \.body)],
    make: { Bind(try $0.next(), try $0.next()) })

/// A node of a graph: sharing matters.
final class Vertex: Node, @unchecked Sendable {
    let inputs: [Node]
    init(_ inputs: [Node]) { self.inputs = inputs }
    override class var schema: NodeSchema { vertexSchema }
}

private let vertexSchema = NodeSchema(
    "test.Vertex", Vertex.self, [.field("inputs", \.inputs)], identity: .graph,
    make: { Vertex(try $0.next()) })

/// Something with definitions of its own that may be used without being declared.
final class View: Node, @unchecked Sendable {
    let base: Name
    let size: Int
    init(_ base: Name, _ size: Int) {
        self.base = base
        self.size = size
    }
    override class var schema: NodeSchema { viewSchema }
}

private let viewSchema = NodeSchema(
    "test.View", View.self, [.definition("base", \.base), .field("size", \.size)], identity: .variable,
    make: { View(try $0.next(), try $0.next()) })

enum Colour: String, FieldConvertible, Sendable { case red, green }

/// A field of every type.
final class Everything: Node, @unchecked Sendable {
    let flag: Bool
    let int: Int
    let double: Double
    let text: String
    let dtype: DataType
    let node: Node?
    let tensor: NDArray
    let ints: [Int]
    let colour: Colour
    let map: FieldValue
    init(
        flag: Bool = true, int: Int = -3, double: Double = 0.1, text: String = "a\"\\\n\u{1}é😀",
        dtype: DataType = .bfloat16,
        node: Node? = nil, tensor: NDArray = NDArray([Float(1), -0.0, .nan]), ints: [Int] = [1, .min, .max],
        colour: Colour = .green,
        map: FieldValue = .map([
            (key: "b", value: .int(1)), (key: "a", value: .array([.null, .bool(false)])),
        ])
    ) {
        self.flag = flag
        self.int = int
        self.double = double
        self.text = text
        self.dtype = dtype
        self.node = node
        self.tensor = tensor
        self.ints = ints
        self.colour = colour
        self.map = map
    }
    override class var schema: NodeSchema { everythingSchema }
}

private let everythingSchema = NodeSchema(
    "test.Everything", Everything.self,
    [
        .field("flag", \.flag), .field("int", \.int), .field("double", \.double), .field("text", \.text),
        .field("dtype", \.dtype), .field("node", \.node), .field("tensor", \.tensor), .field("ints", \.ints),
        .field("colour", \.colour), .field("map", \.map),
    ],
    make: {
        let flag: Bool = try $0.next()
        let int: Int = try $0.next()
        let double: Double = try $0.next()
        let text: String = try $0.next()
        let dtype: DataType = try $0.next()
        let node: Node? = try $0.next()
        let tensor: NDArray = try $0.next()
        let ints: [Int] = try $0.next()
        let colour: Colour = try $0.next()
        return Everything(
            flag: flag, int: int, double: double, text: text, dtype: dtype, node: node, tensor: tensor,
            ints: ints,
            colour: colour, map: try $0.next())
    })

func registerSamples() {
    NodeRegistry.register([
        Leaf.schema, Pair.schema, Name.schema, Bind.schema, Vertex.schema, View.schema, Everything.schema,
    ])
}

/// A number of nested pairs, `depth` deep on the left.
func chain(_ depth: Int) -> Node {
    var n: Node = Leaf(0)
    for i in 0..<depth { n = Pair(n, Leaf(i)) }
    return n
}

func code(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "none"
    } catch let e as ApusError {
        return e.code
    } catch {
        return "other"
    }
}
