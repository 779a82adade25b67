import ApusNode
import ApusRuntime
import ApusSupport

/// A program: functions by global name, in a stable order. Immutable; a pass makes a new one.
public final class IRModule: Node, @unchecked Sendable {
    public let globals: [GlobalVar]
    /// `functions[i]` is the definition of `globals[i]`.
    public let functions: [BaseFunc]
    public let attrs: Attrs
    private let indexOf: [String: Int]

    /// Names must be unique; a later definition of a name replaces the earlier.
    public init(_ definitions: [(global: GlobalVar, function: BaseFunc)] = [], attrs: Attrs = .empty) {
        var globals: [GlobalVar] = []
        var functions: [BaseFunc] = []
        var indexOf: [String: Int] = [:]
        for d in definitions {
            if let i = indexOf[d.global.name] {
                globals[i] = d.global
                functions[i] = d.function
            } else {
                indexOf[d.global.name] = globals.count
                globals.append(d.global)
                functions.append(d.function)
            }
        }
        self.globals = globals
        self.functions = functions
        self.attrs = attrs
        self.indexOf = indexOf
    }

    /// A module of one function called `name`.
    public convenience init(_ function: BaseFunc, name: String = "main") {
        self.init([(global: GlobalVar(name, type: function.checkedType), function: function)])
    }

    public var definitions: [(global: GlobalVar, function: BaseFunc)] {
        var result: [(global: GlobalVar, function: BaseFunc)] = []
        for i in globals.indices { result.append((global: globals[i], function: functions[i])) }
        return result
    }

    /// The function called `name`, or nil.
    public subscript(name: String) -> BaseFunc? { indexOf[name].map { functions[$0] } }

    /// The global called `name`, or nil.
    public func global(_ name: String) -> GlobalVar? { indexOf[name].map { globals[$0] } }

    /// The function called `name`; an error naming those there are otherwise.
    public func function(_ name: String) throws -> BaseFunc {
        if let f = self[name] { return f }
        throw ApusError(
            "IR008", "the module has no function `\(name)`",
            expected: "one of " + globals.map(\.name).joined(separator: ", "))
    }

    /// A copy in which `name` is defined as `function`; a new name goes last.
    public func updating(_ name: String, _ function: BaseFunc) -> IRModule {
        IRModule(
            definitions + [(global: GlobalVar(name, type: function.checkedType), function: function)],
            attrs: attrs)
    }

    /// A copy without the names in `names`.
    public func removing(_ names: Set<String>) -> IRModule {
        IRModule(definitions.filter { !names.contains($0.global.name) }, attrs: attrs)
    }

    /// A copy with each function replaced; nil drops it.
    public func mapFunctions(_ transform: (GlobalVar, BaseFunc) throws -> BaseFunc?) rethrows -> IRModule {
        var result: [(global: GlobalVar, function: BaseFunc)] = []
        for (global, function) in definitions {
            guard let new = try transform(global, function) else { continue }
            let same = new === function || new.checkedType === global.checkedType
            result.append(
                (global: same ? global : GlobalVar(global.name, type: new.checkedType), function: new))
        }
        return IRModule(result, attrs: attrs)
    }

    public func with(attrs: Attrs) -> IRModule { IRModule(definitions, attrs: attrs) }

    public override class var schema: NodeSchema { moduleSchema }

    /// The text of each function in order, a blank line between.
    public override var description: String {
        definitions.map { "def @\($0.global.name) = \($0.function)" }.joined(separator: "\n\n")
    }
}

private let moduleSchema = NodeSchema(
    "IRModule", IRModule.self,
    [.field("globals", \.globals), .field("functions", \.functions), .field("attrs", \.attrs)],
    make: {
        let globals: [GlobalVar] = try $0.next()
        let functions: [BaseFunc] = try $0.next()
        guard globals.count == functions.count else {
            throw ApusError(
                "IR009", "a module needs one function a name", expected: "\(globals.count)",
                actual: "\(functions.count)")
        }
        var definitions: [(global: GlobalVar, function: BaseFunc)] = []
        for i in globals.indices { definitions.append((global: globals[i], function: functions[i])) }
        return IRModule(definitions, attrs: try $0.next())
    })
