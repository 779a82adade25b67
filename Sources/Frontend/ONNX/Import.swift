import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport
import ApusTIR

/// What the importer needs to know beside the model.
public struct ONNXImportOptions: Sendable {
    /// Static shapes of inputs, where the model leaves dimensions open (or to replace those it has).
    public var shapes: [String: [Int]]
    /// Inputs fixed to a value.
    public var constants: [String: NDArray]
    /// Evaluates closed functions, for shapes that the model computes from constants.
    public var evaluate: (@Sendable (Relay.Function) throws -> [NDArray])?

    public init(
        shapes: [String: [Int]] = [:], constants: [String: NDArray] = [:],
        evaluate: (@Sendable (Relay.Function) throws -> [NDArray])? = nil
    ) {
        self.shapes = shapes
        self.constants = constants
        self.evaluate = evaluate
    }
}

/// The graph of a model as a module with the function `main`: its parameters are the inputs without a
/// value, its result the output, or a tuple of the outputs; `output_names` names them.
///
/// - Throws: ONNX2xx; every operator that is not supported is listed in one error.
public func importONNX(_ model: ONNXModel, _ options: ONNXImportOptions = ONNXImportOptions()) throws
    -> IRModule
{
    Relay.registerAll()
    let unsupported = unsupportedNodes(model.graph, [])
    if !unsupported.isEmpty {
        throw ApusError(
            "ONNX200", "the model uses operators that are not supported",
            hint: "`apus check` lists what a model needs",
            notes: unsupported.map { "\($0.node): \($0.reason)" })
    }
    let importer = ONNXImporter(model, options)
    return IRModule(try importer.run())
}

/// Turns the nodes of a graph into expressions, in order.
final class ONNXImporter {
    let model: ONNXModel
    let options: ONNXImportOptions
    /// Values by name; a subgraph sees those around it.
    private var scopes: [[String: RelayExpr]] = [[:]]
    /// Nodes so far, those of unrolled loops each time.
    private var converted = 0
    private static let maximumNodes = 200_000
    /// Values computed at compile time so far.
    private var folds = 0
    private static let maximumFolds = 20_000
    /// Elements of the values that a closed expression may go through at compile time.
    private static let maximumWork = 1 << 22

    init(_ model: ONNXModel, _ options: ONNXImportOptions) {
        self.model = model
        self.options = options
    }

    func run() throws -> Relay.Function {
        let graph = model.graph
        for name in options.shapes.keys.sorted() + options.constants.keys.sorted() {
            guard graph.inputs.contains(where: { $0.name == name }) else {
                throw ApusError(
                    "ONNX201", "the model has no input `\(name)`",
                    expected: "one of " + graph.inputs.map(\.name).joined(separator: ", "))
            }
        }
        for (name, data) in graph.initializers { scopes[0][name] = Relay.Constant(data) }
        var params: [Relay.Var] = []
        var open: [String] = []
        for input in graph.inputs where graph.initializers[input.name] == nil {
            if let value = options.constants[input.name] {
                scopes[0][input.name] = Relay.Constant(value)
                continue
            }
            guard let dtype = input.dtype else {
                throw ApusError(
                    "ONNX202", "only tensors of numbers can be inputs", at: ["input: \(input.name)"],
                    actual: "\(input.type)")
            }
            guard let shape = try staticShape(input) else {
                open.append("\(input.name): \(input.type)")
                continue
            }
            // Checked once here, so that no operator meets a shape whose size overflows.
            _ = try within("input: \(input.name)") { try NDArray.checkedSize(shape: shape, dtype: dtype) }
            let param = Relay.Var(input.name, shape: shape, dtype: dtype)
            params.append(param)
            scopes[0][input.name] = param
        }
        if !open.isEmpty {
            throw ApusError(
                "ONNX203", "inputs have dimensions that are not known",
                hint: "give their shapes, such as --shape NAME=1,3,224,224", notes: open)
        }
        try convert(graph.nodes)
        var results: [RelayExpr] = []
        for output in graph.outputs { results.append(try value(output.name, "output: \(output.name)")) }
        let body = results.count == 1 ? results[0] : Relay.Tuple(results)
        let attrs = Attrs(["output_names": .strings(graph.outputs.map(\.name))])
        return Relay.Function(params, body, attrs)
    }

    private func staticShape(_ input: ONNXValueInfo) throws -> [Int]? {
        if let given = options.shapes[input.name] {
            if let declared = input.shape {
                let fits =
                    declared.count == given.count
                    && zip(declared, given).allSatisfy { d, n in d.constant.map { $0 == n } ?? true }
                if !fits {
                    throw ApusError(
                        "ONNX204", "the shape given does not fit the model's", at: ["input: \(input.name)"],
                        expected: "\(input.type)", actual: "\(given)")
                }
            }
            return given
        }
        guard let declared = input.shape else { return nil }
        var shape: [Int] = []
        for d in declared {
            guard let n = d.constant else { return nil }
            shape.append(n)
        }
        return shape
    }

    /// The value of a name, innermost scope first.
    func value(_ name: String, _ place: String) throws -> RelayExpr {
        for scope in scopes.reversed() {
            if let e = scope[name] { return e }
        }
        throw ApusError("ONNX205", "the value `\(name)` is not defined", at: [place])
    }

    private func convert(_ nodes: [ONNXNode]) throws {
        for node in nodes {
            converted += 1
            guard converted <= ONNXImporter.maximumNodes else {
                throw ApusError(
                    "ONNX207", "the model becomes too large",
                    expected: "at most \(ONNXImporter.maximumNodes) nodes, loops unrolled")
            }
            let outputs = try within(node.place) { try convert(node) }
            for (i, name) in node.outputs.enumerated() where !name.isEmpty {
                guard i < outputs.count, let e = outputs[i] else {
                    throw ApusError(
                        "ONNX206", "output \(i) of the operator is not supported", at: [node.place])
                }
                scopes[scopes.count - 1][name] = e
            }
        }
    }

    private func convert(_ node: ONNXNode) throws -> [RelayExpr?] {
        guard isConvertible(node), let converter = onnxConverters[node.opType] else {
            throw ApusError("ONNX200", "the operator \(node.opType) is not supported")
        }
        var inputs: [RelayExpr?] = []
        for name in node.inputs { inputs.append(name.isEmpty ? nil : try value(name, node.place)) }
        let context = NodeContext(node: node, inputs: inputs, importer: self)
        let results = try converter(context)
        return try results.map { e in try e.map { try folded($0, inputs) } }
    }

    /// Small values of constants are computed at once: shapes are made of them.
    private func folded(_ e: RelayExpr, _ inputs: [RelayExpr?]) throws -> RelayExpr {
        guard e.exprKind != .constant, let evaluate = options.evaluate, let type = e.tensorType,
            let shape = type.staticShape,
            let size = try? NDArray.checkedSize(shape: shape, dtype: type.dtype),
            size.count <= 4096, isCheap(e)
        else { return e }
        for i in inputs {
            if let i, i.exprKind != .constant { return e }
        }
        guard Relay.freeVars(e).isEmpty else { return e }
        folds += 1
        guard folds <= ONNXImporter.maximumFolds else {
            throw ApusError(
                "ONNX207", "the model computes too much from constants",
                expected: "at most \(ONNXImporter.maximumFolds) values")
        }
        return Relay.Constant(try evaluate(Relay.Function([], e))[0])
    }

    /// The value of a closed expression; nil where it depends on an input.
    func evaluated(_ e: RelayExpr) throws -> NDArray? {
        if let c = e as? Relay.Constant { return c.data }
        guard let evaluate = options.evaluate, e.tensorType != nil, isCheap(e), Relay.freeVars(e).isEmpty
        else { return nil }
        return try evaluate(Relay.Function([], e))[0]
    }

    /// Whether computing an expression at compile time takes little memory and time: a file must not be
    /// able to ask for more than its own size justifies.
    private func isCheap(_ e: RelayExpr) -> Bool {
        var total = 0
        for node in Relay.postOrder(e) {
            var types: [IRType] = [node.checkedType].compactMap { $0 }
            while let type = types.popLast() {
                if let tuple = type as? TupleType { types += tuple.fields }
                guard let tensor = type as? TensorType else { continue }
                guard let shape = tensor.staticShape,
                    let size = try? NDArray.checkedSize(shape: shape, dtype: tensor.dtype)
                else { return false }
                let (sum, overflow) = total.addingReportingOverflow(size.count)
                if overflow || sum > ONNXImporter.maximumWork { return false }
                total = sum
            }
        }
        return true
    }

    /// The results of a subgraph of a node, which sees the values around it; its inputs are given.
    func subgraph(_ graph: ONNXGraph, _ arguments: [RelayExpr] = []) throws -> [RelayExpr] {
        scopes.append([:])
        defer { scopes.removeLast() }
        for (input, value) in zip(graph.inputs, arguments) { scopes[scopes.count - 1][input.name] = value }
        for (name, data) in graph.initializers { scopes[scopes.count - 1][name] = Relay.Constant(data) }
        try convert(graph.nodes)
        var results: [RelayExpr] = []
        for o in graph.outputs { results.append(try value(o.name, "output: \(o.name)")) }
        return results
    }
}

/// One node on its way: its inputs as expressions, and helpers that converters share.
struct NodeContext {
    let node: ONNXNode
    let inputs: [RelayExpr?]
    let importer: ONNXImporter

    var opset: Int { node.opset }
    var span: Span { Span(source: "\(node.name.isEmpty ? "#\(node.index)" : node.name) (\(node.opType))") }

    /// A required input.
    func x(_ i: Int) throws -> RelayExpr {
        guard i < inputs.count, let e = inputs[i] else {
            throw ApusError("ONNX210", "input \(i) is missing", expected: "at least \(i + 1) inputs")
        }
        return e
    }

    /// An optional input.
    func optional(_ i: Int) -> RelayExpr? { i < inputs.count ? inputs[i] : nil }

    func type(_ e: RelayExpr) throws -> TensorType {
        guard let t = e.tensorType else {
            throw ApusError("ONNX211", "a tensor is needed", actual: "\(e.checkedType)")
        }
        return t
    }

    func shape(_ e: RelayExpr) throws -> [Int] {
        guard let s = try type(e).staticShape else {
            throw ApusError("ONNX212", "a static shape is needed", actual: "\(e.checkedType)")
        }
        return s
    }

    func dtype(_ e: RelayExpr) throws -> DataType { try type(e).dtype }

    /// `axis` counted from the front.
    func axis(_ axis: Int, rank: Int) throws -> Int {
        let a = axis < 0 ? axis + rank : axis
        guard a >= 0, a < rank else {
            throw ApusError(
                "ONNX213", "there is no such axis", expected: "\(-rank)..<\(rank)", actual: "\(axis)")
        }
        return a
    }

    func call(_ op: String, _ args: [RelayExpr], _ attrs: KeyValuePairs<String, AttrValue> = [:]) throws
        -> RelayExpr
    {
        try Relay.Call(try Op.get(op), args, Attrs(attrs), span: span)
    }

    func constant(_ values: NDArray) -> RelayExpr { Relay.Constant(values, span: span) }
    func int64(_ values: [Int]) -> RelayExpr {
        constant(NDArray(values.map { Int64($0) }, shape: [values.count]))
    }
    func scalar(_ value: Double, _ dtype: DataType) throws -> RelayExpr { try Relay.scalar(value, dtype) }

    /// The value of an input that must be known at compile time; nil where it is left out.
    func known(_ i: Int) throws -> NDArray? {
        guard let e = optional(i) else { return nil }
        guard let v = try importer.evaluated(e) else {
            throw ApusError(
                "ONNX214", "input \(i) must be known at compile time",
                expected: "a constant, or computed from constants",
                actual: "a value that depends on the model's inputs")
        }
        return v
    }

    /// As `known`, as integers.
    func knownInts(_ i: Int) throws -> [Int]? {
        guard let v = try known(i) else { return nil }
        guard v.shape.count <= 1, v.count <= 1 << 20 else {
            throw ApusError(
                "ONNX215", "input \(i) must be a vector of integers", actual: "\(v.dtype)\(v.shape)")
        }
        switch v.dtype {
        case .int64: return try v.toArray(Int64.self).map { Int($0) }
        case .int32: return try v.toArray(Int32.self).map { Int($0) }
        default:
            throw ApusError(
                "ONNX215", "input \(i) must be a vector of integers", actual: "\(v.dtype)\(v.shape)")
        }
    }

    func knownFloats(_ i: Int) throws -> [Double]? { try known(i).map { try $0.toDoubles() } }

    func reshape(_ e: RelayExpr, _ shape: [Int]) throws -> RelayExpr {
        if try type(e).staticShape == shape { return e }
        return try call("reshape", [e], ["newshape": .ints(shape), "allowzero": true])
    }

    func transpose(_ e: RelayExpr, _ axes: [Int]) throws -> RelayExpr {
        axes == Array(axes.indices) ? e : try call("transpose", [e], ["axes": .ints(axes)])
    }

    func cast(_ e: RelayExpr, _ to: DataType) throws -> RelayExpr {
        try dtype(e) == to ? e : try call("cast", [e], ["dtype": .dtype(to)])
    }

    func broadcast(_ e: RelayExpr, _ shape: [Int]) throws -> RelayExpr {
        try type(e).staticShape == shape ? e : try call("broadcast_to", [e], ["shape": .ints(shape)])
    }

    func add(_ a: RelayExpr, _ b: RelayExpr) throws -> RelayExpr { try call("add", [a, b]) }
    func sub(_ a: RelayExpr, _ b: RelayExpr) throws -> RelayExpr { try call("subtract", [a, b]) }
    func mul(_ a: RelayExpr, _ b: RelayExpr) throws -> RelayExpr { try call("multiply", [a, b]) }
    func div(_ a: RelayExpr, _ b: RelayExpr) throws -> RelayExpr { try call("divide", [a, b]) }
    func add(_ a: RelayExpr, _ b: Double) throws -> RelayExpr { try add(a, scalar(b, dtype(a))) }
    func mul(_ a: RelayExpr, _ b: Double) throws -> RelayExpr { try mul(a, scalar(b, dtype(a))) }

    /// The product of extents; an error where it overflows.
    func product(_ dims: some Sequence<Int>) throws -> Int {
        var n = 1
        for d in dims {
            let (p, overflow) = n.multipliedReportingOverflow(by: d)
            if overflow { throw ApusError("ONNX216", "a shape is too large") }
            n = p
        }
        return n
    }
}

/// Expressions of the outputs of a node; nil for one that is not supported.
typealias ONNXConverter = @Sendable (NodeContext) throws -> [RelayExpr?]

/// Converters by operator of the default domain.
let onnxConverters: [String: ONNXConverter] = {
    var table: [String: ONNXConverter] = [:]
    addElementwise(&table)
    addShapes(&table)
    addReductions(&table)
    addLayers(&table)
    addAttention(&table)
    addLosses(&table)
    addRecurrent(&table)
    addQuantization(&table)
    addSampling(&table)
    addSelection(&table)
    addControlFlow(&table)
    table["Einsum"] = { c in [try einsum(c)] }
    return table
}()
