import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTarget

/// Functions compiled into this process: `module["main"]` is one, callable with tensors and scalars.
public final class CompiledModule: Module, @unchecked Sendable {
    /// What was compiled, lowered, in order.
    public let functions: [(name: String, function: PrimFunc)]
    public let target: Target
    private let code: JITModule

    init(_ functions: [(name: String, function: PrimFunc)], _ target: Target) throws {
        self.functions = functions
        self.target = target
        code = try buildJIT(functions: functions, target: target)
    }

    public override var kind: String { target.kindName }
    public override var functionNames: [String] { functions.map(\.name).sorted() }

    public override func localFunction(_ name: String) -> PackedFunc? {
        guard let f = code.kernel(named: name) else { return nil }
        return PackedFunc(name, cFunction: f, kernel: true, owner: code)
    }

    public override var formats: [String] { ["so"] }

    /// Writes a shared library of the functions, which any language can load.
    public override func save(to path: String, format: String) throws {
        guard format.isEmpty || format == "so" else { return try super.save(to: path, format: format) }
        try exportLibrary(functions: functions, blob: nil, target: target, to: path)
    }

    /// The code that was generated, as text: `ll`, `opt.ll`, `asm` or `c`.
    public override func source(format: String = "") throws -> String {
        try buildSource(functions: functions, target: target, format: format)
    }
}

/// Compiles a schedule to a function of these parameters, under `name`.
///
/// Throws what is wrong with a declaration, a step of the schedule or its loops (see `TESchedule.lowered`), and what the target
/// cannot express.
public func build(
    _ schedule: TESchedule, _ arguments: [any FunctionArgument], target: Target = .host,
    name: String = "main",
    context: PassContext = PassContext()
) throws -> CompiledModule {
    try build(
        try schedule.lowered(arguments, name: name, decompose: true), target: target, name: name,
        context: context)
}

/// Compiles a loop function, under `name` or its own (`global_symbol`), else `main`.
public func build(
    _ function: PrimFunc, target: Target = .host, name: String? = nil, context: PassContext = PassContext()
) throws -> CompiledModule {
    let name = name ?? function.globalSymbol ?? "main"
    return try build(IRModule(function, name: name), target: target, context: context)
}

/// Compiles the loop functions of a module, each under its name. TE045 if there is none.
public func build(_ module: IRModule, target: Target = .host, context: PassContext = PassContext()) throws
    -> CompiledModule
{
    var context = context
    context.config.merge(loweringConfig(target)) { given, _ in given }
    let lowered = try lowerModule(module, context: context)
    var functions: [(name: String, function: PrimFunc)] = []
    for (global, f) in lowered.definitions {
        if let f = f as? PrimFunc { functions.append((name: global.name, function: f)) }
    }
    if functions.isEmpty { throw ApusError("TE045", "the module has no loop function to compile") }
    return try CompiledModule(functions, target)
}

/// Compiles modules for several targets; the first one's module imports the others. TE045 if there is none.
public func build(_ parts: [(target: Target, module: IRModule)], context: PassContext = PassContext()) throws
    -> CompiledModule
{
    guard let first = parts.first else {
        throw ApusError("TE045", "there is no module to compile")
    }
    let main = try within("target: \(first.target)") {
        try build(first.module, target: first.target, context: context)
    }
    for p in parts.dropFirst() {
        try main.importModule(
            try within("target: \(p.target)") { try build(p.module, target: p.target, context: context) })
    }
    return main
}

/// The functions of a schedule as a module that passes work on, without code: what `build` starts from.
public func lower(
    _ schedule: TESchedule, _ arguments: [any FunctionArgument], name: String = "main",
    context: PassContext = PassContext()
) throws -> IRModule {
    try lowerModule(
        IRModule(try schedule.lowered(arguments, name: name, decompose: true), name: name), context: context)
}
