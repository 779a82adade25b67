import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

/// Groups operators into primitive functions, each of which becomes one kernel: an anchor (convolution, matrix
/// product) takes the elementwise operators behind it, injective operators join each other and the reduction that
/// follows. Afterwards every operator call of a function lies in a call of a function with `primitive = true`.
///
/// Source: TVM's `FuseOps`: fuse a node into its immediate post-dominator where every path between allows it.
public let fuseOps = FunctionPass<Relay.Function>(
    PassInfo(
        "FuseOps", "operators become primitive functions, one a kernel", level: 0,
        requires: [], establishes: ["operators only inside primitive functions"])
) { function, _, context in
    let limit = context.int("relay.FuseOps.max_depth", default: 64)
    let graph = FusionGraph(function)
    let groups = FusionGrouping(graph, maxNodes: context.optLevel >= 1 ? limit : 1)
    return try groups.rebuild(function)
}

/// The dataflow of a function, indexed: position in dependency order, users with the pattern of each edge, and the
/// tree of immediate post-dominators.
private struct FusionGraph {
    let nodes: [RelayExpr]
    let indexOf: [ObjectIdentifier: Int]
    let patterns: [OpPattern]
    var users: [[Int]]
    /// Immediate post-dominator; -1 = none (the result, or used outside).
    var parent: [Int]
    /// The strongest pattern on the way to the post-dominator.
    var parentPattern: [OpPattern]
    private var depth: [Int]

    init(_ function: Relay.Function) {
        nodes = Relay.postOrder(function.body, intoFunctions: false)
        var index: [ObjectIdentifier: Int] = [:]
        for (i, n) in nodes.enumerated() { index[ObjectIdentifier(n)] = i }
        indexOf = index
        patterns = nodes.map { FusionGraph.pattern(of: $0) }
        users = Array(repeating: [], count: nodes.count)
        for (i, n) in nodes.enumerated() {
            for c in Relay.children(of: n) {
                if let j = index[ObjectIdentifier(c)] { users[j].append(i) }
            }
        }
        parent = Array(repeating: -1, count: nodes.count)
        parentPattern = Array(repeating: .opaque, count: nodes.count)
        depth = Array(repeating: 0, count: nodes.count)
        buildPostDominators()
    }

    /// What a node allows its neighbours.
    static func pattern(of node: RelayExpr) -> OpPattern {
        switch node.exprKind {
        case .call:
            guard let call = node as? Relay.Call, let op = call.op as? Op else { return .opaque }
            // What is memory seen in another way needs no kernel.
            if isWordView(call) { return .opaque }
            // A dynamic shape is only known at run time: leave such calls alone.
            return op[Relay.opPattern] ?? .opaque
        case .tuple: return .tuple
        case .constant:
            // Scalars go into the kernel's code; other constants are its arguments.
            guard let constant = node as? Relay.Constant, constant.data.shape.isEmpty else { return .opaque }
            return .elemWise
        default: return .opaque
        }
    }

    private mutating func buildPostDominators() {
        for i in nodes.indices.reversed() {
            guard let first = users[i].first else {
                depth[i] = 1
                continue
            }
            var ancestor = first
            var strongest = patterns[first]
            for u in users[i].dropFirst() {
                guard ancestor >= 0 else { break }
                (ancestor, strongest) = common(ancestor, u, Swift.max(strongest, patterns[u]))
            }
            parent[i] = ancestor
            parentPattern[i] = strongest
            depth[i] = ancestor < 0 ? 1 : depth[ancestor] + 1
        }
    }

    /// The lowest common ancestor of two nodes in the tree so far, and the strongest pattern passed on the way.
    private func common(_ a: Int, _ b: Int, _ pattern: OpPattern) -> (Int, OpPattern) {
        var a = a
        var b = b
        var strongest = pattern
        while a != b {
            if a < 0 || b < 0 { return (-1, .opaque) }
            if depth[a] < depth[b] {
                strongest = Swift.max(strongest, parentPattern[b])
                b = parent[b]
            } else if depth[b] < depth[a] {
                strongest = Swift.max(strongest, parentPattern[a])
                a = parent[a]
            } else {
                strongest = Swift.max(strongest, Swift.max(parentPattern[a], parentPattern[b]))
                a = parent[a]
                b = parent[b]
            }
        }
        return (a, strongest)
    }
}

/// Union-find over the nodes of a graph; the root of a group is the node that computes its result.
private struct FusionGrouping {
    private let graph: FusionGraph
    private var group: [Int]
    private var groupPattern: [OpPattern]
    private var size: [Int]
    private let maxNodes: Int

    init(_ graph: FusionGraph, maxNodes: Int) {
        self.graph = graph
        self.maxNodes = maxNodes
        group = Array(graph.nodes.indices)
        groupPattern = graph.patterns
        size = Array(repeating: 1, count: graph.nodes.count)
        if maxNodes > 1 {
            // First, so that nothing else joins a view: its memory must be there.
            for i in graph.nodes.indices where isReadThrough(i) { commit(i, graph.parent[i]) }
            for phase in 0..<3 { run(phase) }
        }
    }

    private mutating func run(_ phase: Int) {
        for i in graph.nodes.indices {
            let root = find(i)
            let target = graph.parent[i]
            if groupPattern[root] == .opaque || target < 0 || find(target) == root { continue }
            if graph.patterns[target] == .opaque || size[root] + size[find(target)] > maxNodes { continue }
            if graph.patterns[target] == .tuple {
                // A tuple in the middle would have to exist in memory; only what it feeds may swallow it. Where an
                // injective operator has (a concatenation), what rearranges one of its fields joins them.
                guard phase == 2, groupPattern[root] == .injective, find(target) != target,
                    groupPattern[find(target)] <= .injective
                else { continue }
                if allPaths(i, target, allow: { pattern, _ in pattern <= .injective }) { commit(i, target) }
                continue
            }
            let edge = graph.parentPattern[i]
            switch groupPattern[root] {
            case .outEWiseFusable:
                // Phase 0 only: the elementwise tail, of the same shape, goes with its anchor.
                guard phase == 0, edge <= .broadcast, sameElements(i, target) else { continue }
                if allPaths(i, target, allow: { pattern, _ in pattern <= .broadcast }) { commit(i, target) }
            case .elemWise, .broadcast:
                guard edge <= .injective || edge == .commReduce else { continue }
                // What an anchor's tail reads besides the anchor may be computed there, element by element.
                let joinsTail =
                    groupPattern[root] == .elemWise && graph.patterns[target] <= .broadcast
                    && sameElements(i, target)
                let allowed: (OpPattern, Bool) -> Bool = { pattern, isSink in
                    pattern <= .injective
                        || (isSink && (pattern == .commReduce || (joinsTail && pattern == .outEWiseFusable)))
                }
                if allPaths(i, target, allow: allowed) { commit(i, target) }
            case .injective, .tuple:
                // Later, so that elementwise operators prefer the anchor before them.
                guard phase == 1 else { continue }
                if allPaths(i, target, allow: { pattern, _ in pattern <= .injective }) { commit(i, target) }
            case .commReduce, .opaque: continue
            }
        }
    }

    /// Whether a node is memory seen in another way that attention, its only reader, reads where it lies.
    private func isReadThrough(_ i: Int) -> Bool {
        guard graph.parent[i] >= 0, let view = graph.nodes[i] as? Relay.Call,
            view.opName == "nn.contrib_strided_view"
        else { return false }
        return graph.users[i].allSatisfy { $0 == graph.parent[i] }
            && (graph.nodes[graph.parent[i]] as? Relay.Call)?.opName == "nn.attention"
    }

    /// Whether the results of two nodes have the same shape, so that one loop nest serves both.
    private func sameElements(_ a: Int, _ b: Int) -> Bool {
        guard let x = graph.nodes[a].tensorType, let y = graph.nodes[b].tensorType else { return false }
        return x.shape.count == y.shape.count && zip(x.shape, y.shape).allSatisfy { structuralEqual($0, $1) }
    }

    /// Whether every node between `source` (excluded) and `sink` satisfies `allow(pattern of its group, is it the sink)`.
    private func allPaths(_ source: Int, _ sink: Int, allow: (OpPattern, Bool) -> Bool) -> Bool {
        var seen: Set<Int> = []
        var stack = graph.users[source]
        while let n = stack.popLast() {
            if !seen.insert(n).inserted { continue }
            if !allow(groupPattern[find(n)], n == sink) { return false }
            if n != sink { stack.append(contentsOf: graph.users[n]) }
        }
        return true
    }

    private mutating func commit(_ source: Int, _ sink: Int) {
        var seen: Set<Int> = []
        var stack = [source]
        while let n = stack.popLast() {
            if n == sink || !seen.insert(n).inserted { continue }
            merge(n, into: sink)
            stack.append(contentsOf: graph.users[n])
        }
    }

    private mutating func merge(_ child: Int, into sink: Int) {
        let a = find(child)
        let b = find(sink)
        if a == b { return }
        group[a] = b
        size[b] += size[a]
        // An anchor makes the whole group an anchor's group: a second one may not join.
        groupPattern[b] =
            groupPattern[a] == .tuple ? groupPattern[b] : Swift.max(groupPattern[a], groupPattern[b])
    }

    private func find(_ i: Int) -> Int {
        var root = i
        while group[root] != root { root = group[root] }
        return root
    }

    // MARK: Rebuilding

    /// `function` with each group that holds an operator call made a primitive function and a call of it.
    func rebuild(_ function: Relay.Function) throws -> Relay.Function {
        var members: [Int: [Int]] = [:]
        for i in graph.nodes.indices { members[find(i), default: []].append(i) }
        var done: [ObjectIdentifier: RelayExpr] = [:]
        for p in function.params { done[ObjectIdentifier(p)] = p }
        for i in graph.nodes.indices {
            let node = graph.nodes[i]
            let root = find(i)
            let all = members[root] ?? []
            let isPrimitive = all.contains { isOperatorCall(graph.nodes[$0]) }
            if isPrimitive {
                if i == root { done[ObjectIdentifier(node)] = try primitiveCall(all, root, &done) }
            } else {
                done[ObjectIdentifier(node)] = try Relay.rebuilt(node) { child in
                    done[ObjectIdentifier(child)] ?? child
                }
            }
        }
        guard let body = done[ObjectIdentifier(function.body)] else {
            internalError("FuseOps lost the result")
        }
        return try function.with(body: body)
    }

    private func isOperatorCall(_ node: RelayExpr) -> Bool {
        (node as? Relay.Call)?.op.exprKind == .op
    }

    private func primitiveCall(
        _ members: [Int], _ root: Int, _ done: inout [ObjectIdentifier: RelayExpr]
    ) throws -> RelayExpr {
        let inside = Set(members)
        var params: [Relay.Var] = []
        var args: [RelayExpr] = []
        var local: [ObjectIdentifier: RelayExpr] = [:]
        for i in members {
            let node = graph.nodes[i]
            for child in Relay.children(of: node) where child.exprKind != .op {
                let id = ObjectIdentifier(child)
                if local[id] != nil { continue }
                if let j = graph.indexOf[id], inside.contains(j) { continue }
                if let constant = child as? Relay.Constant, constant.data.shape.isEmpty {
                    local[id] = constant
                    continue
                }
                let param = Relay.Var("p\(params.count)", child.checkedType)
                params.append(param)
                args.append(done[id] ?? child)
                local[id] = param
            }
            local[ObjectIdentifier(node)] = try Relay.rebuilt(node) { local[ObjectIdentifier($0)] ?? $0 }
        }
        guard let body = local[ObjectIdentifier(graph.nodes[root])] else {
            internalError("FuseOps lost a group")
        }
        let function = Relay.Function(params, body, Attrs(["primitive": true]))
        return try Relay.Call(function, args, span: graph.nodes[root].span)
    }
}
