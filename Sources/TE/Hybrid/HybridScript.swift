import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// What a hybrid function can be called with: a tensor, an integer or floating constant, or a scalar expression.
public protocol HybridArgument {}

extension Tensor: HybridArgument {}
extension PrimExpr: HybridArgument {}
extension Int: HybridArgument {}
extension Double: HybridArgument {}

extension te {
    // swift-format-ignore: TypeNamesShouldBeCapitalized
    /// Hybrid script: functions over tensors in a subset of Python's syntax, for what formulas cannot say.
    ///
    ///     let module = try te.hybrid.parse("""
    ///         def outer(a, b):
    ///             c = output_tensor((a.shape[0], b.shape[0]), "float32")
    ///             for i in range(a.shape[0]):
    ///                 for j in range(b.shape[0]):
    ///                     c[i, j] = a[i] * b[j]
    ///             return c
    ///         """)
    ///     let c = try module["outer"](a, b)[0]            // a tensor like any other
    public enum hybrid {
        /// The functions of a text. `constants` are names that the functions may use.
        ///
        /// Throws TE050 to TE053, each with the place and the line of the text.
        public static func parse(
            _ text: String, name: String = "script", constants: [String: any HybridArgument] = [:],
            maxNumThreads: Int = 1024
        ) throws -> HybridModule {
            let source = SourceText(name: name, text: text)
            let definitions = try withLargeStack { try HybridParser.parse(text, source) }
            return HybridModule(
                source: source, definitions: definitions, constants: constants, maxNumThreads: maxNumThreads)
        }

        /// As `parse`, for the text of a file.
        public static func load(_ path: String, constants: [String: any HybridArgument] = [:]) throws
            -> HybridModule
        {
            let file = try MappedFile(path, maximumBytes: HybridLexer.maximumBytes)
            let name = path.split(separator: "/").last.map(String.init) ?? path
            return try parse(
                file.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }, name: name, constants: constants
            )
        }
    }
}

/// The functions of one hybrid script.
public struct HybridModule {
    let source: SourceText
    public let definitions: [HybridDefinition]
    let constants: [String: any HybridArgument]
    let maxNumThreads: Int

    /// The function called `name`. TE054 if there is none; the error names those there are.
    public subscript(_ name: String) -> HybridFunction {
        get throws {
            guard let d = definitions.first(where: { $0.name == name }) else {
                throw ApusError(
                    "TE054", "the script has no function `\(name)`", at: ["script: \(source.name)"],
                    expected: "one of " + definitions.map(\.name).joined(separator: ", "))
            }
            return HybridFunction(module: self, definition: d)
        }
    }

    /// The program as text, in one layout.
    public func getSource() -> String { HybridPrinter.text(definitions) }

    /// Writes the text; `te.hybrid.load` reads it again.
    public func save(_ path: String) throws {
        var file = try FileWriter(path)
        try file.write(Array(getSource().utf8))
        try file.finish()
    }
}

/// One function of a script.
public struct HybridFunction {
    let module: HybridModule
    public let definition: HybridDefinition
    public var name: String { definition.name }

    /// The tensors that the function returns, computed from its arguments.
    ///
    /// Throws TE055 to TE069: what the script does that it cannot, with the place and the line.
    public func callAsFunction(_ arguments: any HybridArgument...) throws -> [Tensor] { try call(arguments) }

    /// As above, for a list of arguments.
    public func call(_ arguments: [any HybridArgument]) throws -> [Tensor] {
        let op = try withLargeStack { try HybridCompiler(module).operation(definition, arguments) }
        return (0..<op.outputCount).map { op.output($0) }
    }

    /// The loop function of the arguments' shapes: its parameters are the tensors among them, then the results.
    public func primFunc(_ arguments: [any HybridArgument], attrs: Attrs = .empty) throws -> PrimFunc {
        var parameters: [any FunctionArgument] = []
        for a in arguments {
            if let t = a as? Tensor { parameters.append(t) }
            if let v = a as? Var { parameters.append(v) }
        }
        for t in try call(arguments) { parameters.append(t) }
        return try createPrimFunc(arguments: parameters, name: name, attrs: attrs)
    }
}
