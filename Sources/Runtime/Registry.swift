import ApusSupport

/// The process's functions by name, for every language. Thread-safe; listings are sorted.
///
/// Rooms register from their `registerAll`, never by side effect of a global (Swift's are lazy).
public enum Registry {
    /// A registered function and what is known about it.
    public struct Entry: Sendable {
        /// The name it is registered under.
        public let name: String
        /// What is called.
        public let function: PackedFunc
        /// One paragraph for humans; may be empty.
        public let doc: String
        /// Such as `(int, float) -> str`; taken from the function where none is given.
        public let signature: String
    }

    private static let table = Locked<[String: Entry]>([:])

    /// Adds a function.
    /// - Throws: RT040 if the name is taken and `override` is false, RT041 if it is empty.
    public static func register(
        _ name: String, doc: String = "", signature: String? = nil, override: Bool = false,
        _ function: PackedFunc
    ) throws {
        guard !name.isEmpty else { throw ApusError("RT041", "a global function needs a name") }
        let entry = Entry(
            name: name, function: function, doc: doc, signature: signature ?? function.signature)
        try table.with { table in
            guard override || table[name] == nil else {
                throw ApusError("RT040", "a global function of this name exists", at: ["function: \(name)"])
            }
            table[name] = entry
        }
    }

    /// Adds a typed closure.
    public static func register<each A: AnyConvertible, R: AnyConvertible>(
        _ name: String, doc: String = "", override: Bool = false,
        _ function: @escaping @Sendable (repeat each A) throws -> R
    ) throws {
        try register(name, doc: doc, override: override, PackedFunc.typed(name, function))
    }

    /// Adds a typed closure that returns nothing.
    public static func register<each A: AnyConvertible>(
        _ name: String, doc: String = "", override: Bool = false,
        _ function: @escaping @Sendable (repeat each A) throws -> Void
    ) throws {
        try register(name, doc: doc, override: override, PackedFunc.typed(name, function))
    }

    /// The function of this name, or nil.
    public static func get(_ name: String) -> PackedFunc? { entry(name)?.function }

    /// The function of this name.
    /// - Throws: RT042 where there is none.
    public static func require(_ name: String) throws -> PackedFunc {
        if let function = get(name) { return function }
        throw ApusError(
            "RT042", "no such global function", at: ["function: \(name)"],
            hint: names.first { $0.hasSuffix(".\(name)") }.map { "did you mean \($0)?" })
    }

    /// The function of this name with its metadata, or nil.
    public static func entry(_ name: String) -> Entry? {
        registerBuiltins()
        return table.with { $0[name] }
    }

    /// Removes a function; false if there was none.
    @discardableResult
    public static func remove(_ name: String) -> Bool { table.with { $0.removeValue(forKey: name) != nil } }

    /// Every name, sorted.
    public static var names: [String] {
        registerBuiltins()
        return table.with { $0.keys.sorted() }
    }

    // MARK: What the runtime itself registers

    private static let builtins: Void = {
        func add(_ name: String, _ doc: String, _ function: PackedFunc) {
            let entry = Entry(name: name, function: function, doc: doc, signature: function.signature)
            table.with { table in if table[name] == nil { table[name] = entry } }
        }
        add(
            "ffi.Array", "An array of the arguments.",
            PackedFunc { args in
                .object(ArrayObject(try (0..<args.count).map { try args[$0] }))
            })
        add(
            "ffi.ArrayGetItem", "The element at an index.",
            .typed { (a: ArrayObject, i: Int) in try a.element(i) })
        add("ffi.ArraySize", "Number of elements.", .typed { (a: ArrayObject) in a.count })
        add(
            "ffi.Map", "A map of the arguments, which alternate keys and values.",
            PackedFunc { args in
                guard args.count % 2 == 0 else {
                    throw ApusError(
                        "RT023", "keys and values come in pairs", actual: "\(args.count) arguments")
                }
                let pairs = try stride(from: 0, to: args.count, by: 2).map { i -> (AnyValue, AnyValue) in
                    (try args[i], try args[i + 1])
                }
                return .object(MapObject(pairs))
            })
        add(
            "ffi.MapGetItem", "The value of a key.",
            .typed { (m: MapObject, key: AnyValue) throws -> AnyValue in
                guard let value = m[key] else { throw ApusError("RT031", "no such key", actual: "\(key)") }
                return value
            })
        add(
            "ffi.MapCount", "1 if the key is there, else 0.",
            .typed { (m: MapObject, key: AnyValue) in
                m[key] == nil ? 0 : 1
            })
        add("ffi.MapSize", "Number of keys.", .typed { (m: MapObject) in m.count })
        add(
            "ffi.MapItems", "Keys and values in turn, in order of insertion.",
            .typed { (m: MapObject) -> ArrayObject in
                ArrayObject(m.entries.flatMap { [$0.key, $0.value] })
            })
        add(
            "ffi.ADT", "A record of a tag and fields.",
            PackedFunc { args in
                let fields = try (1..<max(args.count, 1)).map { try args[$0] }
                return .object(ADTObject(tag: try args.get(0, as: Int.self), fields: fields))
            })
        add("ffi.ADTTag", "The tag of a record.", .typed { (a: ADTObject) in a.tag })
        add("ffi.ADTFields", "The fields of a record.", .typed { (a: ADTObject) in ArrayObject(a.fields) })
        add("ffi.TypeKey", "The type key of an object.", .typed { (o: Object) in type(of: o).typeKey })
        add(
            "ffi.FunctionListGlobalNames", "Every global function's name, sorted.",
            .typed { () -> [String] in names })
        add(
            "ffi.FunctionDoc", "What a global function does.",
            .typed { (name: String) throws -> String in
                _ = try require(name)
                return entry(name)?.doc ?? ""
            })
        add(
            "ffi.FunctionSignature", "Parameters and result of a global function.",
            .typed { (name: String) throws -> String in
                _ = try require(name)
                return entry(name)?.signature ?? ""
            })
        add("runtime.Version", "The version of the runtime.", .typed { () -> String in runtimeVersion })
        add(
            "runtime.ModuleLoadFromFile", "Loads a compiled module.",
            .typed { (path: String) throws -> Module in
                try Module.load(path)
            })
    }()

    private static func registerBuiltins() { _ = builtins }
}

/// The version of the runtime: major.minor.patch.
public let runtimeVersion = "0.1.0"
