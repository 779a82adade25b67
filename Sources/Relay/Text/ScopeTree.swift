import ApusIR

extension Relay {
    /// Where each expression of a graph belongs: the innermost region that holds all its uses.
    ///
    /// Regions are the root, each function body and each branch of an `if`; and, as asked for, the body of
    /// each `let` (to check scopes) or each `let` that is not the result of its region (to print it as a
    /// block).
    struct ScopeTree {
        enum Lets {
            /// A `let` opens a region for its body.
            case bodies
            /// A `let` that is not the result of its region opens one for itself.
            case blocks
        }

        private(set) var parent: [Int] = [-1]
        private var depth: [Int] = [0]
        /// The expression that a region yields.
        private(set) var tail: [RelayExpr]
        private(set) var scopeOf: [ObjectIdentifier: Int] = [:]
        /// Region of a function's body, of a `let`'s body or block, of an `if`'s first branch (the second is
        /// next).
        private(set) var opened: [ObjectIdentifier: Int] = [:]
        let order: [RelayExpr]
        let uses: [ObjectIdentifier: Int]

        init(_ root: RelayExpr, lets: Lets) {
            order = Relay.postOrder(root)
            uses = Relay.useCounts(root)
            tail = [root]
            scopeOf[ObjectIdentifier(root)] = 0
            // Parents come before children, so an expression's region is final when it is reached.
            for node in order.reversed() {
                let id = ObjectIdentifier(node)
                guard let scope = scopeOf[id] else { continue }
                switch node.exprKind {
                case .function:
                    let body = unsafeDowncast(node, to: Function.self).body
                    let inner = open(in: scope, tail: body)
                    opened[id] = inner
                    use(body, in: inner)
                case .if:
                    let n = unsafeDowncast(node, to: If.self)
                    use(n.condition, in: scope)
                    opened[id] = open(in: scope, tail: n.thenBranch)
                    use(n.thenBranch, in: parent.count - 1)
                    use(n.elseBranch, in: open(in: scope, tail: n.elseBranch))
                case .let:
                    let n = unsafeDowncast(node, to: Let.self)
                    var inner = scope
                    switch lets {
                    case .bodies:
                        use(n.value, in: scope)
                        inner = open(in: scope, tail: n.body)
                        opened[id] = inner
                    case .blocks:
                        if tail[scope] === n && uses[id] == 1 {
                            tail[scope] = n.body
                        } else {
                            inner = open(in: scope, tail: n.body)
                            opened[id] = inner
                        }
                        use(n.value, in: inner)
                    }
                    use(n.body, in: inner)
                default:
                    for child in Relay.children(of: node) { use(child, in: scope) }
                }
            }
        }

        private mutating func open(in scope: Int, tail node: RelayExpr) -> Int {
            parent.append(scope)
            depth.append(depth[scope] + 1)
            tail.append(node)
            return parent.count - 1
        }

        private mutating func use(_ node: RelayExpr, in scope: Int) {
            let id = ObjectIdentifier(node)
            guard let known = scopeOf[id] else {
                scopeOf[id] = scope
                return
            }
            var a = known
            var b = scope
            while a != b {
                if depth[a] >= depth[b] { a = parent[a] } else { b = parent[b] }
            }
            scopeOf[id] = a
        }

        func scope(of node: RelayExpr) -> Int { scopeOf[ObjectIdentifier(node)] ?? 0 }

        /// Whether region `inner` is `outer` or lies within it.
        func isWithin(_ inner: Int, _ outer: Int) -> Bool {
            var a = inner
            while depth[a] > depth[outer] { a = parent[a] }
            return a == outer
        }
    }
}
