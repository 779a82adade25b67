import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// All walks are loops over explicit stacks: a model may be a chain of any length.

extension Relay {
    /// The expressions that `node` is computed from, in order. An `Op`, and the variables that `let` and
    /// functions bind, are not among them.
    public static func children(of node: RelayExpr) -> [RelayExpr] {
        switch node.exprKind {
        case .variable, .globalVar, .constant, .op, .primFunc: return []
        case .call:
            let n = unsafeDowncast(node, to: Call.self)
            return n.op.exprKind == .op ? n.args : [n.op] + n.args
        case .function: return [unsafeDowncast(node, to: Function.self).body]
        case .let:
            let n = unsafeDowncast(node, to: Let.self)
            return [n.value, n.body]
        case .tuple: return unsafeDowncast(node, to: Tuple.self).fields
        case .tupleGetItem: return [unsafeDowncast(node, to: TupleGetItem.self).tuple]
        case .if:
            let n = unsafeDowncast(node, to: If.self)
            return [n.condition, n.thenBranch, n.elseBranch]
        case .refCreate: return [unsafeDowncast(node, to: RefCreate.self).value]
        case .refRead: return [unsafeDowncast(node, to: RefRead.self).ref]
        case .refWrite:
            let n = unsafeDowncast(node, to: RefWrite.self)
            return [n.ref, n.value]
        }
    }

    /// Every expression that `root` is made of, each once, children before parents, in the order of a
    /// left-to-right evaluation.
    /// - Parameter intoFunctions: whether to enter the bodies of functions below `root`.
    public static func postOrder(_ root: RelayExpr, intoFunctions: Bool = true) -> [RelayExpr] {
        var result: [RelayExpr] = []
        var seen: Set<ObjectIdentifier> = []
        var stack: [(node: RelayExpr, ready: Bool)] = [(node: root, ready: false)]
        while let (node, ready) = stack.popLast() {
            if ready {
                result.append(node)
                continue
            }
            guard seen.insert(ObjectIdentifier(node)).inserted else { continue }
            if node.exprKind == .function && !intoFunctions && node !== root {
                result.append(node)
                continue
            }
            stack.append((node: node, ready: true))
            for child in children(of: node).reversed() where !seen.contains(ObjectIdentifier(child)) {
                stack.append((node: child, ready: false))
            }
        }
        return result
    }

    /// How often each expression below `root` is used as a child; `root` itself counts one use.
    public static func useCounts(_ root: RelayExpr, intoFunctions: Bool = true) -> [ObjectIdentifier: Int] {
        var counts: [ObjectIdentifier: Int] = [ObjectIdentifier(root): 1]
        for node in postOrder(root, intoFunctions: intoFunctions) {
            if node.exprKind == .function && !intoFunctions && node !== root { continue }
            for child in children(of: node) { counts[ObjectIdentifier(child), default: 0] += 1 }
        }
        return counts
    }

    /// The variables that `root` uses and does not bind, in order of first use. Each variable is bound once
    /// at most in a well-formed program, so scopes need no tracking.
    public static func freeVars(_ root: RelayExpr) -> [Var] {
        let nodes = postOrder(root)
        var bound: Set<ObjectIdentifier> = []
        for node in nodes {
            if let f = node as? Function { for p in f.params { bound.insert(ObjectIdentifier(p)) } }
            if let l = node as? Let { bound.insert(ObjectIdentifier(l.variable)) }
        }
        return nodes.compactMap { node in
            guard node.exprKind == .variable, !bound.contains(ObjectIdentifier(node)) else { return nil }
            return unsafeDowncast(node, to: Var.self)
        }
    }

    // MARK: Rewriting

    /// Rebuilds `root` from its leaves: `transform` sees each expression once, as it was (`old`) and with its
    /// children already rewritten (`new`, the same object where no child changed), and returns what replaces
    /// it.
    ///
    /// Sharing is kept. A `let` variable whose value changes its type is replaced by one of the new type.
    /// - Parameter intoFunctions: whether to enter functions below `root`.
    public static func rewrite(
        _ root: RelayExpr, intoFunctions: Bool = true,
        _ transform: (_ old: RelayExpr, _ new: RelayExpr) throws -> RelayExpr
    ) throws -> RelayExpr {
        var memo: [RelayExpr: RelayExpr] = [:]
        return try rewrite(root, memo: &memo, intoFunctions: intoFunctions, transform)
    }

    /// As above with a memo that outlives the call: what is in it is not visited; what is visited is put into
    /// it.
    public static func rewrite(
        _ root: RelayExpr, memo: inout [RelayExpr: RelayExpr], intoFunctions: Bool = true,
        _ transform: (_ old: RelayExpr, _ new: RelayExpr) throws -> RelayExpr
    ) throws -> RelayExpr {
        enum Step { case enter, bound, leave }
        var stack: [(node: RelayExpr, step: Step)] = [(node: root, step: .enter)]
        while let (node, step) = stack.popLast() {
            switch step {
            case .enter:
                if memo[node] != nil { continue }
                if node.exprKind == .function && !intoFunctions && node !== root {
                    memo[node] = try transform(node, node)
                    continue
                }
                stack.append((node: node, step: .leave))
                if node.exprKind == .let {
                    // The variable's type is known between the value and the body.
                    let l = unsafeDowncast(node, to: Let.self)
                    stack.append((node: l.body, step: .enter))
                    stack.append((node: node, step: .bound))
                    stack.append((node: l.value, step: .enter))
                } else {
                    for child in children(of: node).reversed() where memo[child] == nil {
                        stack.append((node: child, step: .enter))
                    }
                }
            case .bound:
                let l = unsafeDowncast(node, to: Let.self)
                guard memo[l.variable] == nil, let value = memo[l.value],
                    !typesEqual(value.checkedType, l.variable.checkedType)
                else { continue }
                memo[l.variable] = Var(l.variable.name, value.checkedType, span: l.variable.span)
            case .leave:
                if memo[node] != nil { continue }
                let new = try rebuilt(node) { memo[$0] ?? $0 }
                memo[node] = try transform(node, new)
            }
        }
        return memo[root] ?? root
    }

    /// `node` with each child replaced by `map` of it; the same object where none changed. Bound variables
    /// follow where `map` gives another variable for them.
    public static func rebuilt(_ node: RelayExpr, _ map: (RelayExpr) throws -> RelayExpr) throws -> RelayExpr
    {
        switch node.exprKind {
        case .variable, .globalVar, .constant, .op, .primFunc: return node
        case .call:
            let n = unsafeDowncast(node, to: Call.self)
            let args = try n.args.map(map)
            return try n.with(op: n.op.exprKind == .op ? n.op : try map(n.op), args: args)
        case .function:
            let n = unsafeDowncast(node, to: Function.self)
            let params = try n.params.map { p in (try map(p) as? Var) ?? p }
            return try n.with(params: params, body: try map(n.body))
        case .let:
            let n = unsafeDowncast(node, to: Let.self)
            let variable = (try map(n.variable) as? Var) ?? n.variable
            let value = try map(n.value)
            let body = try map(n.body)
            if variable === n.variable && value === n.value && body === n.body { return n }
            return try Let.checked(variable, value, body, span: n.span)
        case .tuple:
            let n = unsafeDowncast(node, to: Tuple.self)
            let fields = try n.fields.map(map)
            return fields.elementsEqual(n.fields, by: ===) ? n : Tuple(fields, span: n.span)
        case .tupleGetItem:
            let n = unsafeDowncast(node, to: TupleGetItem.self)
            let tuple = try map(n.tuple)
            return tuple === n.tuple ? n : try TupleGetItem(tuple, n.index, span: n.span)
        case .if:
            let n = unsafeDowncast(node, to: If.self)
            let condition = try map(n.condition)
            let thenBranch = try map(n.thenBranch)
            let elseBranch = try map(n.elseBranch)
            if condition === n.condition && thenBranch === n.thenBranch && elseBranch === n.elseBranch {
                return n
            }
            return try If.checked(condition, thenBranch, elseBranch, span: n.span)
        case .refCreate:
            let n = unsafeDowncast(node, to: RefCreate.self)
            let value = try map(n.value)
            return value === n.value ? n : RefCreate(value, span: n.span)
        case .refRead:
            let n = unsafeDowncast(node, to: RefRead.self)
            let ref = try map(n.ref)
            return ref === n.ref ? n : try RefRead(ref, span: n.span)
        case .refWrite:
            let n = unsafeDowncast(node, to: RefWrite.self)
            let ref = try map(n.ref)
            let value = try map(n.value)
            return ref === n.ref && value === n.value ? n : try RefWrite(ref, value, span: n.span)
        }
    }

    /// `root` with variables replaced; types follow.
    public static func substitute(_ root: RelayExpr, _ values: [Var: RelayExpr]) throws -> RelayExpr {
        if values.isEmpty { return root }
        var memo: [RelayExpr: RelayExpr] = [:]
        for (variable, value) in values { memo[variable] = value }
        return try rewrite(root, memo: &memo) { _, new in new }
    }

    /// `function` with some parameters fixed: they are replaced in the body and no longer parameters.
    public static func bind(_ function: Function, _ values: [Var: RelayExpr]) throws -> Function {
        let body = try substitute(function.body, values)
        return try function.with(params: function.params.filter { values[$0] == nil }, body: body)
    }

    /// `function` with parameters fixed to tensors by name.
    /// - Throws: RELAY020 for a name that no parameter has, or that two have, or a tensor of another type.
    public static func bind(_ function: Function, _ tensors: KeyValuePairs<String, NDArray>) throws
        -> Function
    {
        var values: [Var: RelayExpr] = [:]
        for (name, tensor) in tensors {
            let matches = function.params.filter { $0.name == name }
            guard matches.count == 1, let variable = matches.first else {
                throw ApusError(
                    "RELAY020", "a name to bind must be that of one parameter",
                    expected: "one of " + function.params.map(\.name).joined(separator: ", "), actual: name)
            }
            let value = Constant(tensor)
            var dims: [ApusTIR.Var: PrimExpr] = [:]
            guard unify(variable.checkedType, value.checkedType, &dims) else {
                throw ApusError(
                    "RELAY020", "the tensor for `\(name)` has another type than the parameter",
                    expected: "\(variable.checkedType)", actual: "\(value.checkedType)")
            }
            values[variable] = value
        }
        return try bind(function, values)
    }
}
