import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// A computation written as a statement over buffers, for what a formula cannot say (sorting, scattering).
public final class ExternOp: Operation, @unchecked Sendable {
    public let inputs: [Tensor]
    public let inputBuffers: [Buffer]
    public let outputBuffers: [Buffer]
    public let body: Stmt

    init(
        name: String, tag: String, attrs: Attrs, inputs: [Tensor], inputBuffers: [Buffer],
        outputBuffers: [Buffer],
        body: Stmt
    ) {
        self.inputs = inputs
        self.inputBuffers = inputBuffers
        self.outputBuffers = outputBuffers
        self.body = body
        super.init(name: name, tag: tag, attrs: attrs)
    }

    public override var outputCount: Int { outputBuffers.count }
    public override func outputShape(_ i: Int) -> [PrimExpr] { outputBuffers[i].shape }
    public override func outputDType(_ i: Int) -> DataType { outputBuffers[i].dtype }
    public override var inputTensors: [Tensor] { inputs }
    public override func replacingInputs(_ replacement: (Tensor) -> Tensor?) -> Operation {
        guard let new = replaced(inputs, replacement) else { return self }
        return ExternOp(
            name: name, tag: tag, attrs: attrs, inputs: new, inputBuffers: inputBuffers,
            outputBuffers: outputBuffers, body: body)
    }
    public override class var schema: NodeSchema { externSchema }
}

private let externSchema = NodeSchema(
    "te.ExternOp", ExternOp.self,
    [
        .field("name", \.name), .field("tag", \.tag), .field("attrs", \.attrs), .field("inputs", \.inputs),
        .definition("inputBuffers", \.inputBuffers), .definition("outputBuffers", \.outputBuffers),
        .field("body", \.body),
    ], identity: .graph,
    make: {
        let name: String = try $0.next()
        let tag: String = try $0.next()
        let attrs: Attrs = try $0.next()
        let inputs: [Tensor] = try $0.next()
        let inputBuffers: [Buffer] = try $0.next()
        let outputBuffers: [Buffer] = try $0.next()
        return ExternOp(
            name: name, tag: tag, attrs: attrs, inputs: inputs, inputBuffers: inputBuffers,
            outputBuffers: outputBuffers, body: try $0.next())
    })
