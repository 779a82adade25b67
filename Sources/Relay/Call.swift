import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

extension Relay {
    /// A call of an operator, of a function of the module, or of a local function.
    public final class Call: RelayExpr, @unchecked Sendable {
        public private(set) var op: RelayExpr
        public private(set) var args: [RelayExpr]
        /// For an operator: every attribute of its schema, defaults filled in, in the schema's order.
        public let attrs: Attrs

        /// Validates attributes and operands and infers the type.
        ///
        /// - Throws: IR004 to IR006 for attributes; RELAY001 to RELAY009 for operands (see `TypeContext`);
        ///   RELAY016 to RELAY018 for a callee that is no function or takes other arguments.
        public init(_ op: RelayExpr, _ args: [RelayExpr], _ attrs: Attrs = .empty, span: Span? = nil) throws {
            self.op = op
            self.args = args
            let type: IRType
            switch op.exprKind {
            case .op:
                (self.attrs, type) = try Call.infer(unsafeDowncast(op, to: Op.self), args, attrs)
            default:
                self.attrs = attrs
                type = try Call.apply(op, args)
            }
            super.init(checkedType: type, span: span)
        }

        /// As the unlabelled form.
        public convenience init(
            op: RelayExpr, args: [RelayExpr], attrs: Attrs = .empty, span: Span? = nil
        ) throws {
            try self.init(op, args, attrs, span: span)
        }

        deinit {
            reclaim(&op)
            reclaim(&args)
        }

        /// The operator's name; empty for a call of a function.
        public var opName: String { op.exprKind == .op ? unsafeDowncast(op, to: Op.self).name : "" }

        /// A copy with some parts replaced and the type inferred anew; itself where nothing changes.
        public func with(op: RelayExpr? = nil, args: [RelayExpr]? = nil, attrs: Attrs? = nil) throws -> Call {
            let sameArgs = args.map { $0.elementsEqual(self.args, by: ===) } ?? true
            if sameArgs && (op == nil || op === self.op) && (attrs == nil || attrs === self.attrs) {
                return self
            }
            return try Call(op ?? self.op, args ?? self.args, attrs ?? self.attrs, span: span)
        }

        public override var exprKind: RelayExprKind { .call }
        public override class var schema: NodeSchema { callSchema }
        public override var description: String { describe(self) }

        // MARK: Types

        private static func infer(_ op: Op, _ args: [RelayExpr], _ given: Attrs) throws -> (Attrs, IRType) {
            guard op.arity.contains(args.count) else {
                let range = op.arity
                throw ApusError(
                    "RELAY001", "\(op.name) takes another number of operands", at: ["operator: \(op.name)"],
                    expected: range.lowerBound == range.upperBound
                        ? "\(range.lowerBound) (\(op.argNames.joined(separator: ", ")))"
                        : "\(range.lowerBound) to \(range.upperBound)", actual: "\(args.count)")
            }
            var attrs = try op.attrsSchema.complete(listsForSingles(given, op), op: op.name)
            let types = args.map(\.checkedType)
            return try within("operator: \(op.name)") {
                if let canonical = op[canonicalizer] { attrs = try canonical(types, attrs) }
                let type: IRType
                if let relation = op[valueRelation] {
                    type = try relation(args, attrs)
                } else if let relation = op[typeRelation] {
                    type = try relation(types, attrs)
                } else {
                    throw ApusError(
                        "RELAY016", "\(op.name) has no type relation: it cannot be called in a graph",
                        hint: "Relay.registerAll() must run first")
                }
                try checkSize(type)
                return (attrs, type)
            }
        }

        /// `axis=1` where the attribute is a list of integers means `axis=[1]`.
        private static func listsForSingles(_ given: Attrs, _ op: Op) -> Attrs {
            var result = given
            for f in op.attrsSchema.fields where f.kind == .ints {
                if case .int(let v)? = given[f.name] { result = result.setting(f.name, .ints([v])) }
            }
            return result
        }

        private static func apply(_ callee: RelayExpr, _ args: [RelayExpr]) throws -> IRType {
            guard let type = callee.checkedType as? FuncType else {
                throw ApusError(
                    "RELAY017", "what is called is no function", expected: "an operator or a function",
                    actual: "\(callee.checkedType)",
                    hint: callee.exprKind == .globalVar ? "give the GlobalVar the function's type" : nil)
            }
            guard type.argTypes.count == args.count else {
                throw ApusError(
                    "RELAY018", "the function takes another number of arguments",
                    expected: "\(type.argTypes.count)", actual: "\(args.count)")
            }
            var dims: [ApusTIR.Var: PrimExpr] = [:]
            for (i, want) in type.argTypes.enumerated() {
                guard unify(want, args[i].checkedType, &dims) else {
                    throw ApusError(
                        "RELAY018", "argument \(i) has another type than the parameter", expected: "\(want)",
                        actual: "\(args[i].checkedType)")
                }
            }
            if dims.isEmpty { return type.retType }
            let result = substituteDims(type.retType, dims)
            try Dim.checkBounded(result)
            return result
        }
    }

    /// A call of the operator called `name`: `try Relay.call("nn.softmax", [x], ["axis": 1])`.
    /// - Throws: IR007 where there is no such operator; else as `Call.init`.
    public static func call(
        _ name: String, _ args: [RelayExpr], _ attrs: KeyValuePairs<String, AttrValue> = [:],
        span: Span? = nil
    ) throws -> Call {
        try Call(try Op.get(name), args, Attrs(attrs), span: span)
    }

    /// As above, for attributes made elsewhere.
    public static func call(
        _ name: String, _ args: [RelayExpr], attrs: Attrs, span: Span? = nil
    ) throws -> Call {
        try Call(try Op.get(name), args, attrs, span: span)
    }

    /// A constant without axes.
    /// - Throws: RELAY019 where `dtype` has no such value.
    public static func scalar(_ value: Double, _ dtype: DataType) throws -> Constant {
        if dtype.isInteger, dtype.bits == 64, let n = Int(exactly: value) { return try scalar(n, dtype) }
        let bits = Int(dtype.bits)
        let known = [1, 8, 16, 32, 64].contains(bits) && dtype.isScalar
        guard known,
            dtype.isFloat || (dtype.isInteger && Int(exactly: value).map { IntImm.fits($0, dtype) } ?? false)
        else {
            throw ApusError(
                "RELAY019", "no such constant", expected: "a value of \(dtype)", actual: "\(value)")
        }
        let array = NDArray(shape: [], dtype: dtype)
        ElementCodec.store(value, at: 0, of: dtype, in: array.data)
        return Constant(array)
    }

    /// A constant without axes, exact for 64-bit integers.
    public static func scalar(_ value: Int, _ dtype: DataType) throws -> Constant {
        guard dtype.isInteger, dtype.bits == 64, dtype.isScalar else {
            return try scalar(Double(value), dtype)
        }
        guard IntImm.fits(value, dtype), dtype.isInt || value >= 0 else {
            throw ApusError(
                "RELAY019", "no such constant", expected: "a value of \(dtype)", actual: "\(value)")
        }
        let array = NDArray(shape: [], dtype: dtype)
        array.data.storeBytes(of: Int64(value), as: Int64.self)
        return Constant(array)
    }
}

private let callSchema = NodeSchema(
    "relay.Call", Relay.Call.self, [.field("op", \.op), .field("args", \.args), .field("attrs", \.attrs)],
    identity: .graph,
    make: {
        let op: RelayExpr = try $0.next()
        let args: [RelayExpr] = try $0.next()
        return try Relay.Call(op, args, try $0.next())
    })
