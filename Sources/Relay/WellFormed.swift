import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

extension Relay {
    /// Checks what constructors alone cannot: scopes, single binding, calls of functions of the module, and
    /// that each stored type is what inference gives.
    ///
    /// - Throws: RELAY040 listing every finding: RELAY041 a variable bound twice, RELAY042 a variable not
    ///   bound, RELAY043 one used outside the region that binds it, RELAY044 a type that inference does not
    ///   confirm, RELAY045 a call of a function that the module lacks or has with another type, RELAY046 a
    ///   type left open.
    public static func checkWellFormed(_ module: IRModule) throws {
        var findings = DiagnosticCollector()
        for (global, function) in module.definitions {
            guard let f = function as? Function else { continue }
            check(f, "@\(global.name)", module, &findings)
        }
        try findings.throwIfErrors("RELAY040", "the module is not well-formed")
    }

    /// As above for one function; globals are taken at their word.
    public static func checkWellFormed(_ function: Function) throws {
        var findings = DiagnosticCollector()
        check(function, "the function", nil, &findings)
        try findings.throwIfErrors("RELAY040", "the function is not well-formed")
    }

    private static func check(
        _ root: Function, _ place: String, _ module: IRModule?, _ findings: inout DiagnosticCollector
    ) {
        let tree = ScopeTree(root, lets: .bodies)
        var binder: [ObjectIdentifier: Int] = [:]
        func emit(_ code: String, _ message: String, _ node: RelayExpr) {
            findings.emit(Diagnostic(.error, code, "in \(place): \(message)", span: node.span))
        }
        func bind(_ v: Var, _ region: Int) {
            if binder.updateValue(region, forKey: ObjectIdentifier(v)) != nil {
                emit("RELAY041", "%\(v.name) is bound twice", v)
            }
            if isOpen(v.checkedType) { emit("RELAY046", "%\(v.name) has no type", v) }
        }
        for node in tree.order {
            guard let region = tree.opened[ObjectIdentifier(node)] else { continue }
            if let f = node as? Function { for p in f.params { bind(p, region) } }
            if let l = node as? Let { bind(l.variable, region) }
        }
        for node in tree.order {
            switch node.exprKind {
            case .variable:
                let v = unsafeDowncast(node, to: Var.self)
                guard let region = binder[ObjectIdentifier(v)] else {
                    emit("RELAY042", "%\(v.name) is not bound", v)
                    continue
                }
                if !tree.isWithin(tree.scope(of: v), region) {
                    emit("RELAY043", "%\(v.name) is used outside the region that binds it", v)
                }
            case .globalVar:
                let g = unsafeDowncast(node, to: GlobalVar.self)
                guard let module else { continue }
                guard let f = module[g.name] else {
                    emit("RELAY045", "the module has no function @\(g.name)", g)
                    continue
                }
                if !isOpen(f.checkedType) && !alphaEqual(f.checkedType, g.checkedType) {
                    emit("RELAY045", "@\(g.name) is \(f.checkedType), not \(g.checkedType)", g)
                }
            default:
                do {
                    if let type = try inferredAnew(node), !typesEqual(type, node.checkedType) {
                        emit("RELAY044", "the type \(node.checkedType) should be \(type)", node)
                    }
                } catch {
                    emit("RELAY044", "\(error)", node)
                }
            }
        }
    }

    private static func inferredAnew(_ node: RelayExpr) throws -> IRType? {
        switch node {
        case let n as Call: return try Call(n.op, n.args, n.attrs).checkedType
        case let n as Let: return try Let.checked(n.variable, n.value, n.body).checkedType
        case let n as If: return try If.checked(n.condition, n.thenBranch, n.elseBranch).checkedType
        default: return nil
        }
    }

    private static func isOpen(_ type: IRType) -> Bool {
        switch type {
        case is IncompleteType: return true
        case let t as TupleType: return t.fields.contains(where: isOpen)
        default: return false
        }
    }

    /// Whether two function types are the same up to the names of symbolic extents.
    private static func alphaEqual(_ a: IRType, _ b: IRType) -> Bool {
        if typesEqual(a, b) { return true }
        return structuralEqual(a, b, mapFreeVariables: true)
    }

    /// Throws RELAY009 for a type of more parts, or nested deeper, than any program needs: a graph of shared
    /// tuples can spell out an exponential one.
    static func checkComplexity(_ type: IRType) throws {
        var budget = 1 << 16
        var stack: [(type: IRType, depth: Int)] = [(type: type, depth: 0)]
        while let (t, depth) = stack.popLast() {
            budget -= 1
            guard budget > 0, depth < 200 else {
                throw ApusError(
                    "RELAY009", "a type has too many parts",
                    expected: "at most \(1 << 16) parts, nested 200 deep")
            }
            switch t {
            case let t as TupleType: for f in t.fields { stack.append((type: f, depth: depth + 1)) }
            case let t as RelayRefType: stack.append((type: t.value, depth: depth + 1))
            case let t as FuncType:
                for a in t.argTypes { stack.append((type: a, depth: depth + 1)) }
                stack.append((type: t.retType, depth: depth + 1))
            default: break
            }
        }
    }
}
