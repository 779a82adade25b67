import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

extension Relay {
    /// A variable: a parameter or what `let` binds. Equal only to itself; the name is a hint.
    public final class Var: RelayExpr, @unchecked Sendable {
        public let name: String

        /// A variable of a type; pass `IncompleteType()` only where a checked constructor will not see it.
        public init(_ name: String, _ type: IRType, span: Span? = nil) {
            self.name = name
            super.init(checkedType: type, span: span)
        }

        /// A tensor variable with known extents.
        public convenience init(_ name: String, shape: [Int], dtype: DataType = .float32) {
            self.init(name, TensorType(shape, dtype))
        }

        public override var exprKind: RelayExprKind { .variable }
        public override class var schema: NodeSchema { varSchema }
        public override var description: String { describe(self) }
    }

    /// A tensor known at compile time.
    public final class Constant: RelayExpr, @unchecked Sendable {
        public let data: NDArray

        public init(_ data: NDArray, span: Span? = nil) {
            self.data = data
            super.init(checkedType: TensorType(data.shape, data.dtype), span: span)
        }

        public override var exprKind: RelayExprKind { .constant }
        public override class var schema: NodeSchema { constantSchema }
        public override var description: String { describe(self) }
    }

    /// Several values as one.
    public final class Tuple: RelayExpr, @unchecked Sendable {
        public private(set) var fields: [RelayExpr]

        public init(_ fields: [RelayExpr], span: Span? = nil) {
            self.fields = fields
            super.init(checkedType: TupleType(fields.map(\.checkedType)), span: span)
        }

        deinit { reclaim(&fields) }

        public override var exprKind: RelayExprKind { .tuple }
        public override class var schema: NodeSchema { tupleSchema }
        public override var description: String { describe(self) }
    }

    /// One field of a tuple.
    public final class TupleGetItem: RelayExpr, @unchecked Sendable {
        public private(set) var tuple: RelayExpr
        public let index: Int

        /// - Throws: RELAY010 where `tuple` is no tuple, RELAY011 where it has no field `index`.
        public init(_ tuple: RelayExpr, _ index: Int, span: Span? = nil) throws {
            guard let type = tuple.checkedType as? TupleType else {
                throw ApusError(
                    "RELAY010", "only a tuple has fields", expected: "a tuple",
                    actual: "\(tuple.checkedType)")
            }
            guard type.fields.indices.contains(index) else {
                throw ApusError(
                    "RELAY011", "the tuple has no such field",
                    expected: "an index below \(type.fields.count)",
                    actual: "\(index)")
            }
            self.tuple = tuple
            self.index = index
            super.init(checkedType: type.fields[index], span: span)
        }

        deinit { reclaim(&tuple) }

        public override var exprKind: RelayExprKind { .tupleGetItem }
        public override class var schema: NodeSchema { getItemSchema }
        public override var description: String { describe(self) }
    }

    /// A function: of the module, local, or made by fusion (`attrs` has `primitive=True`).
    public final class Function: BaseFunc, @unchecked Sendable {
        public let params: [Var]
        public private(set) var body: RelayExpr

        /// The return type is that of `body`. Parameters must differ; `checkWellFormed` checks it.
        public init(_ params: [Var], _ body: RelayExpr, _ attrs: Attrs = .empty, span: Span? = nil) {
            self.params = params
            self.body = body
            super.init(
                checkedType: FuncType(params.map(\.checkedType), body.checkedType), attrs: attrs, span: span)
        }

        /// As the unlabelled form.
        public convenience init(params: [Var], body: RelayExpr, attrs: Attrs = .empty, span: Span? = nil) {
            self.init(params, body, attrs, span: span)
        }

        deinit { reclaim(&body) }

        /// The type of what a call of this function yields.
        public var retType: IRType { body.checkedType }

        /// The symbolic extents that the parameters' types introduce, in order of first occurrence: bound
        /// here, so that structural equality pairs them.
        public var symbols: [ApusTIR.Var] {
            var result: [ApusTIR.Var] = []
            var seen: Set<ObjectIdentifier> = []
            for p in params { collectSymbols(p.checkedType, &result, &seen) }
            return result
        }

        /// Whether fusion made this function to become one kernel.
        public var isPrimitive: Bool { attrs.bool("primitive") ?? false }

        /// A copy with some parts replaced; itself where nothing changes.
        /// - Throws: RELAY021 where two parameters are the same variable.
        public func with(params: [Var]? = nil, body: RelayExpr? = nil, attrs: Attrs? = nil) throws -> Function
        {
            let newParams = params ?? self.params
            let newBody = body ?? self.body
            let sameParams = newParams.elementsEqual(self.params, by: ===)
            if sameParams && newBody === self.body && (attrs == nil || attrs === self.attrs) { return self }
            try Function.checkDistinct(newParams)
            return Function(newParams, newBody, attrs ?? self.attrs, span: span)
        }

        public override func with(attrs: Attrs) -> BaseFunc { Function(params, body, attrs, span: span) }

        static func checkDistinct(_ params: [Var]) throws {
            var seen: Set<ObjectIdentifier> = []
            for p in params where !seen.insert(ObjectIdentifier(p)).inserted {
                throw ApusError(
                    "RELAY021", "a function has the same parameter twice", expected: "different variables",
                    actual: "%\(p.name)")
            }
        }

        public override var exprKind: RelayExprKind { .function }
        public override class var schema: NodeSchema { functionSchema }
        public override var description: String { describe(self) }
    }

    /// `let variable = value; body`: the variable stands for the value in `body`.
    public final class Let: RelayExpr, @unchecked Sendable {
        public let variable: Var
        public private(set) var value: RelayExpr
        public private(set) var body: RelayExpr

        /// The types of variable and value must agree; `checked` and `checkWellFormed` check it.
        public init(_ variable: Var, _ value: RelayExpr, _ body: RelayExpr, span: Span? = nil) {
            self.variable = variable
            self.value = value
            self.body = body
            super.init(checkedType: body.checkedType, span: span)
        }

        /// As `init`. Throws RELAY012 where the value has another type than the variable.
        public static func checked(
            _ variable: Var, _ value: RelayExpr, _ body: RelayExpr, span: Span? = nil
        ) throws -> Let {
            guard variable.exprKind == .variable, typesEqual(variable.checkedType, value.checkedType) else {
                throw ApusError(
                    "RELAY012", "the value bound to %\(variable.name) has another type than the variable",
                    expected: "\(variable.checkedType)", actual: "\(value.checkedType)")
            }
            return Let(variable, value, body, span: span)
        }

        deinit {
            reclaim(&value)
            reclaim(&body)
        }

        public override var exprKind: RelayExprKind { .let }
        public override class var schema: NodeSchema { letSchema }
        public override var description: String { describe(self) }
    }

    /// One of two values by a scalar condition; only that one is computed.
    public final class If: RelayExpr, @unchecked Sendable {
        public private(set) var condition: RelayExpr
        public private(set) var thenBranch: RelayExpr
        public private(set) var elseBranch: RelayExpr

        /// The branches must have one type and the condition be a boolean scalar; `checked` and
        /// `checkWellFormed` check it.
        public init(
            _ condition: RelayExpr, _ thenBranch: RelayExpr, _ elseBranch: RelayExpr, span: Span? = nil
        ) {
            self.condition = condition
            self.thenBranch = thenBranch
            self.elseBranch = elseBranch
            super.init(checkedType: thenBranch.checkedType, span: span)
        }

        /// As `init`. Throws RELAY013 for a condition that is no boolean scalar, RELAY014 for branches of two
        /// types.
        public static func checked(
            _ condition: RelayExpr, _ thenBranch: RelayExpr, _ elseBranch: RelayExpr, span: Span? = nil
        ) throws -> If {
            guard let type = condition.tensorType, type.rank == 0, type.dtype.isBool else {
                throw ApusError(
                    "RELAY013", "the condition of `if` must be a boolean scalar",
                    expected: "\(TensorType([Int](), .bool))", actual: "\(condition.checkedType)")
            }
            guard typesEqual(thenBranch.checkedType, elseBranch.checkedType) else {
                throw ApusError(
                    "RELAY014", "the branches of `if` have different types",
                    expected: "\(thenBranch.checkedType)", actual: "\(elseBranch.checkedType)")
            }
            return If(condition, thenBranch, elseBranch, span: span)
        }

        deinit {
            reclaim(&condition)
            reclaim(&thenBranch)
            reclaim(&elseBranch)
        }

        public override var exprKind: RelayExprKind { .if }
        public override class var schema: NodeSchema { ifSchema }
        public override var description: String { describe(self) }
    }

    /// A new mutable reference holding `value`.
    public final class RefCreate: RelayExpr, @unchecked Sendable {
        public private(set) var value: RelayExpr

        public init(_ value: RelayExpr, span: Span? = nil) {
            self.value = value
            super.init(checkedType: RelayRefType(value.checkedType), span: span)
        }

        deinit { reclaim(&value) }

        public override var exprKind: RelayExprKind { .refCreate }
        public override class var schema: NodeSchema { refCreateSchema }
        public override var description: String { describe(self) }
    }

    /// What a reference holds.
    public final class RefRead: RelayExpr, @unchecked Sendable {
        public private(set) var ref: RelayExpr

        /// - Throws: RELAY015 where `ref` is no reference.
        public init(_ ref: RelayExpr, span: Span? = nil) throws {
            self.ref = ref
            super.init(checkedType: try RefRead.held(by: ref), span: span)
        }

        static func held(by ref: RelayExpr) throws -> IRType {
            guard let type = ref.checkedType as? RelayRefType else {
                throw ApusError(
                    "RELAY015", "only a reference can be read or written", expected: "a reference",
                    actual: "\(ref.checkedType)")
            }
            return type.value
        }

        deinit { reclaim(&ref) }

        public override var exprKind: RelayExprKind { .refRead }
        public override class var schema: NodeSchema { refReadSchema }
        public override var description: String { describe(self) }
    }

    /// Puts `value` into a reference; yields the empty tuple.
    public final class RefWrite: RelayExpr, @unchecked Sendable {
        public private(set) var ref: RelayExpr
        public private(set) var value: RelayExpr

        /// - Throws: RELAY015 where `ref` is no reference to a value of this type.
        public init(_ ref: RelayExpr, _ value: RelayExpr, span: Span? = nil) throws {
            let held = try RefRead.held(by: ref)
            guard typesEqual(held, value.checkedType) else {
                throw ApusError(
                    "RELAY015", "the value does not have the type that the reference holds",
                    expected: "\(held)",
                    actual: "\(value.checkedType)")
            }
            self.ref = ref
            self.value = value
            super.init(checkedType: TupleType([]), span: span)
        }

        deinit {
            reclaim(&ref)
            reclaim(&value)
        }

        public override var exprKind: RelayExprKind { .refWrite }
        public override class var schema: NodeSchema { refWriteSchema }
        public override var description: String { describe(self) }
    }
}

private let varSchema = NodeSchema(
    "relay.Var", Relay.Var.self, [.ignored("name", \.name), .field("type", \.checkedType)],
    identity: .variable,
    make: {
        let name: String = try $0.next()
        let type: IRType = try $0.next()
        try Relay.checkComplexity(type)
        return Relay.Var(name, type)
    })

// By content: two equal constants may be merged or copied without the program changing.
private let constantSchema = NodeSchema(
    "relay.Constant", Relay.Constant.self, [.field("data", \.data)], make: { Relay.Constant(try $0.next()) })

private let tupleSchema = NodeSchema(
    "relay.Tuple", Relay.Tuple.self, [.field("fields", \.fields)], identity: .graph,
    make: {
        let tuple = Relay.Tuple(try $0.next())
        try Relay.checkComplexity(tuple.checkedType)
        return tuple
    })

private let getItemSchema = NodeSchema(
    "relay.TupleGetItem", Relay.TupleGetItem.self, [.field("tuple", \.tuple), .field("index", \.index)],
    identity: .graph,
    make: {
        let tuple: RelayExpr = try $0.next()
        return try Relay.TupleGetItem(tuple, try $0.next())
    })

private let functionSchema = NodeSchema(
    "relay.Function", Relay.Function.self,
    [
        .definition("symbols", \.symbols), .definition("params", \.params), .field("attrs", \.attrs),
        .field("body", \.body),
    ], identity: .graph,
    make: {
        // Follows from the parameters; listed first so that it is paired before their types are compared.
        let _: [ApusTIR.Var] = try $0.next()
        let params: [Relay.Var] = try $0.next()
        let attrs: Attrs = try $0.next()
        try Relay.Function.checkDistinct(params)
        let function = Relay.Function(params, try $0.next(), attrs)
        try Relay.checkComplexity(function.checkedType)
        return function
    })

private let letSchema = NodeSchema(
    "relay.Let", Relay.Let.self,
    [.definition("variable", \.variable), .field("value", \.value), .field("body", \.body)], identity: .graph,
    make: {
        let variable: Relay.Var = try $0.next()
        let value: RelayExpr = try $0.next()
        return try Relay.Let.checked(variable, value, try $0.next())
    })

private let ifSchema = NodeSchema(
    "relay.If", Relay.If.self,
    [
        .field("condition", \.condition), .field("thenBranch", \.thenBranch),
        .field("elseBranch", \.elseBranch),
    ], identity: .graph,
    make: {
        let condition: RelayExpr = try $0.next()
        let thenBranch: RelayExpr = try $0.next()
        return try Relay.If.checked(condition, thenBranch, try $0.next())
    })

private let refCreateSchema = NodeSchema(
    "relay.RefCreate", Relay.RefCreate.self, [.field("value", \.value)], identity: .graph,
    make: {
        let reference = Relay.RefCreate(try $0.next())
        try Relay.checkComplexity(reference.checkedType)
        return reference
    })

private let refReadSchema = NodeSchema(
    "relay.RefRead", Relay.RefRead.self, [.field("ref", \.ref)], identity: .graph,
    make: { try Relay.RefRead(try $0.next()) })

private let refWriteSchema = NodeSchema(
    "relay.RefWrite", Relay.RefWrite.self, [.field("ref", \.ref), .field("value", \.value)], identity: .graph,
    make: {
        let ref: RelayExpr = try $0.next()
        return try Relay.RefWrite(ref, try $0.next())
    })
