import ApusNode
import ApusRuntime
import ApusSupport
import Synchronization

/// Names a typed attribute of operators: `let pattern = OpAttrKey<OpPattern>("TOpPattern")`.
public struct OpAttrKey<Value: Sendable>: Sendable {
    public let name: String
    public init(_ name: String) { self.name = name }
}

/// A primitive operator or intrinsic, known by name; one instance a name in the process.
public final class Op: RelayExpr, @unchecked Sendable {
    public let name: String
    /// One sentence.
    public let doc: String
    /// Names of the operands, in order.
    public let argNames: [String]
    /// How many operands a call may have.
    public let arity: ClosedRange<Int>
    public let attrsSchema: AttrsSchema
    private let attributes = Mutex<[String: any Sendable]>([:])

    private init(
        name: String, doc: String, argNames: [String], arity: ClosedRange<Int>, attrsSchema: AttrsSchema
    ) {
        self.name = name
        self.doc = doc
        self.argNames = argNames
        self.arity = arity
        self.attrsSchema = attrsSchema
        super.init(checkedType: IncompleteType())
    }

    public override var exprKind: RelayExprKind { .op }
    public override class var schema: NodeSchema { opSchema }
    public override var description: String { name }

    /// The typed attribute, or nil if this operator has none.
    public subscript<V: Sendable>(key: OpAttrKey<V>) -> V? { attributes.withLock { $0[key.name] as? V } }

    /// Sets a typed attribute; rooms above add what they know about an operator (a strategy, a gradient).
    @discardableResult
    public func setting<V: Sendable>(_ key: OpAttrKey<V>, _ value: V) -> Op {
        attributes.withLock { $0[key.name] = value }
        return self
    }

    // MARK: The registry

    private static let registry = Locked<[String: Op]>([:])

    /// Registers an operator, or returns the one already registered under the name.
    @discardableResult
    public static func register(
        _ name: String, doc: String = "", args: [String] = [], arity: ClosedRange<Int>? = nil,
        attrs: [AttrField] = []
    ) -> Op {
        registry.with { table in
            if let known = table[name] { return known }
            let op = Op(
                name: name, doc: doc, argNames: args, arity: arity ?? args.count...args.count,
                attrsSchema: AttrsSchema(attrs))
            table[name] = op
            return op
        }
    }

    /// The operator, or nil if none has the name.
    public static func find(_ name: String) -> Op? { registry.with { $0[name] } }

    /// The operator, for names from outside.
    public static func get(_ name: String) throws -> Op {
        if let op = find(name) { return op }
        throw ApusError(
            "IR007", "there is no operator `\(name)`",
            hint: "registerAll() of the room that owns it must run first")
    }

    /// All registered operators, sorted by name.
    public static var all: [Op] { registry.with { $0.values.sorted { $0.name < $1.name } } }
}

private let opSchema = NodeSchema("Op", Op.self, [.field("name", \.name)], make: { try Op.get($0.next()) })
