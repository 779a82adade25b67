import ApusSupport

/// Compiled code or an executor: functions by name, and other modules to look in next.
///
/// Subclasses answer `localFunction`; those that can be exported answer `saveToBytes` or `save`.
open class Module: Object, @unchecked Sendable {
    public override class var typeKey: String { "runtime.Module" }

    /// What sort of module: `library`, `llvm`, `graph_executor`. Names the loader that can read its bytes
    /// again.
    open var kind: String { "module" }

    private let importList = Locked<[Module]>([])

    /// Modules to look in where this one has no such function, in order.
    public final var imports: [Module] { importList.with { $0 } }

    /// Adds a module to look in.
    /// - Throws: RT052 where that would make a cycle.
    public final func importModule(_ module: Module) throws {
        var pending = [module]
        var seen: Set<ObjectIdentifier> = []
        while let next = pending.popLast() {
            guard next !== self else {
                throw ApusError("RT052", "modules would import each other", at: ["module: \(kind)"])
            }
            if seen.insert(ObjectIdentifier(next)).inserted { pending += next.imports }
        }
        importList.with { $0.append(module) }
    }

    /// The function of this name that this module itself has, or nil.
    open func localFunction(_ name: String) throws -> PackedFunc? { nil }

    /// Names that `localFunction` knows, sorted; empty where they cannot be listed.
    open var functionNames: [String] { [] }

    /// The function of this name, here or, if asked, in the imports, depth first; nil where there is none.
    public final func findFunction(_ name: String, queryImports: Bool = true) throws -> PackedFunc? {
        if let function = try localFunction(name) { return function }
        guard queryImports else { return nil }
        var seen: Set<ObjectIdentifier> = [ObjectIdentifier(self)]
        var pending = Array(imports.reversed())
        while let next = pending.popLast() {
            guard seen.insert(ObjectIdentifier(next)).inserted else { continue }
            if let function = try next.localFunction(name) { return function }
            pending += next.imports.reversed()
        }
        return nil
    }

    /// The function of this name.
    /// - Throws: RT050 where there is none; it lists what there is.
    public final func getFunction(_ name: String, queryImports: Bool = true) throws -> PackedFunc {
        if let function = try findFunction(name, queryImports: queryImports) { return function }
        let known = functionNames + imports.flatMap(\.functionNames)
        throw ApusError(
            "RT050", "the module has no such function", at: ["module: \(kind)"],
            expected: known.isEmpty ? nil : "one of \(known.prefix(20).joined(separator: ", "))", actual: name
        )
    }

    /// As `getFunction`.
    public final subscript(name: String) -> PackedFunc { get throws { try getFunction(name) } }

    // MARK: Export and load

    /// The formats that `save` understands, the default first.
    open var formats: [String] { [] }

    /// Writes the module to a file.
    /// - Throws: RT053 where this kind cannot be written in that format.
    open func save(to path: String, format: String) throws { throw cannotSave(format) }

    /// The module as bytes that a loader of its kind reads again.
    /// - Throws: RT053 where this kind has no such form.
    open func saveToBytes() throws -> [UInt8] { throw cannotSave("bytes") }

    /// The source text in a format such as `ll`, `c`, `asm`; the default one if empty.
    /// - Throws: RT053 where there is none.
    open func source(format: String = "") throws -> String {
        throw cannotSave(format.isEmpty ? "source" : format)
    }

    private func cannotSave(_ format: String) -> ApusError {
        ApusError(
            "RT053", "a module of this kind cannot be written so", at: ["module: \(kind)"],
            expected: formats.isEmpty ? nil : formats.joined(separator: ", "), actual: format)
    }

    /// Makes a module from the file at a path.
    public typealias FileLoader = @Sendable (String) throws -> Module
    /// Makes a module from the bytes of `saveToBytes`.
    public typealias BytesLoader = @Sendable ([UInt8]) throws -> Module

    private struct Loaders: Sendable {
        var file: [String: FileLoader] = [:]
        var bytes: [String: BytesLoader] = [:]
    }
    private static let loaders = Locked<Loaders>(Loaders())

    /// What reads files whose name ends in `.fileExtension`; replaces an earlier loader.
    public static func registerLoader(fileExtension: String, _ loader: @escaping FileLoader) {
        loaders.with { $0.file[fileExtension] = loader }
    }

    /// What reads the bytes of modules of this kind; replaces an earlier loader.
    public static func registerLoader(kind: String, _ loader: @escaping BytesLoader) {
        loaders.with { $0.bytes[kind] = loader }
    }

    /// Loads a module from a file, by the ending of its name (`.so`, or what was registered).
    /// - Throws: RT051 for an ending that no loader reads; what the loader throws.
    public static func load(_ path: String) throws -> Module {
        let file = path.split(separator: "/").last ?? ""
        let ending = file.split(separator: ".").last.map(String.init) ?? ""
        if let loader = loaders.with({ $0.file[ending] }) ?? builtinLoaders[ending] {
            return try within("file: \(path)") { try loader(path) }
        }
        let known = Set(builtinLoaders.keys).union(loaders.with { Set($0.file.keys) })
        throw ApusError(
            "RT051", "no loader for files of this ending", at: ["file: \(path)"],
            expected: known.sorted().map { ".\($0)" }.joined(separator: ", "), actual: ".\(ending)")
    }

    /// Loads a module from bytes that `saveToBytes` of the same kind made.
    /// - Throws: RT051 for a kind that no loader reads; what the loader throws.
    public static func load(kind: String, bytes: [UInt8]) throws -> Module {
        guard let loader = loaders.with({ $0.bytes[kind] }) else {
            throw ApusError("RT051", "no loader for modules of this kind", actual: kind)
        }
        return try loader(bytes)
    }
}

/// A module over a list of functions, for tests and for functions made by a program.
public final class FunctionModule: Module, @unchecked Sendable {
    private let table: [String: PackedFunc]
    private let kindName: String

    /// A module of these functions under their names.
    public init(_ functions: [PackedFunc], kind: String = "functions") {
        var table: [String: PackedFunc] = [:]
        for function in functions { table[function.name] = function }
        self.table = table
        kindName = kind
    }

    public override var kind: String { kindName }
    public override var functionNames: [String] { table.keys.sorted() }
    public override func localFunction(_ name: String) -> PackedFunc? { table[name] }
}
