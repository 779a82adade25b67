import ApusSupport

extension ONNXGraph {
    /// Checks that every value is defined once and before its use, in this graph and those within; nodes that
    /// stand before what they read are moved after it.
    /// - Throws: ONNX030 for a value defined twice, ONNX031 for one that is not defined, ONNX032 for a cycle
    ///   (with the nodes on it), ONNX034 for a missing name.
    public mutating func checkAndSort() throws {
        var checker = GraphChecker()
        _ = try checker.check(&self)
    }
}

/// Names in scope, innermost graph last. Recursive along nested graphs only; node chains are walked with a
/// stack.
private struct GraphChecker {
    /// Of each open graph: the number of the node that defines a name, -1 for inputs and initialisers.
    private var scopes: [[String: Int]] = []

    /// Returns the names this graph takes from outside, in order of first use.
    mutating func check(_ graph: inout ONNXGraph) throws -> [String] {
        scopes.append(try definitions(graph))
        defer { scopes.removeLast() }
        let level = scopes.count - 1
        var free: [String] = []
        var seen: Set<String> = []
        func take(_ name: String) {
            if seen.insert(name).inserted { free.append(name) }
        }
        var reads: [[Int]] = []
        reads.reserveCapacity(graph.nodes.count)
        var isSorted = true
        for i in graph.nodes.indices {
            var uses = graph.nodes[i].inputs.filter { !$0.isEmpty }
            for name in uses where !isDefined(name) {
                throw ApusError(
                    "ONNX031", "a node reads a value that nothing defines", at: [graph.nodes[i].place],
                    actual: name)
            }
            let place = graph.nodes[i].place
            for (name, value) in graph.nodes[i].attributes.entries {
                switch value {
                case .graph(var inner):
                    uses += try within("\(place) > attribute: \(name)") { try check(&inner) }
                    graph.nodes[i].attributes[name] = .graph(inner)
                case .graphs(var list):
                    for j in list.indices {
                        uses += try within("\(place) > attribute: \(name)") { try check(&list[j]) }
                    }
                    graph.nodes[i].attributes[name] = .graphs(list)
                default: break
                }
            }
            var producers: [Int] = []
            for name in uses {
                guard let producer = scopes[level][name] else {
                    take(name)
                    continue
                }
                if producer >= 0 {
                    producers.append(producer)
                    if producer >= i { isSorted = false }
                }
            }
            reads.append(producers)
        }
        for output in graph.outputs {
            guard isDefined(output.name) else {
                throw ApusError(
                    "ONNX031", "nothing defines an output of the graph", at: ["output: \(output.name)"])
            }
            if scopes[level][output.name] == nil { take(output.name) }
        }
        if !isSorted {
            let order = try sorted(graph.nodes, reads)
            graph.nodes = order.map { graph.nodes[$0] }
        }
        return free
    }

    private func isDefined(_ name: String) -> Bool {
        for scope in scopes.reversed() where scope[name] != nil { return true }
        return false
    }

    private func definitions(_ graph: ONNXGraph) throws -> [String: Int] {
        var table: [String: Int] = [:]
        for input in graph.inputs {
            guard !input.name.isEmpty else { throw ApusError("ONNX034", "an input of the graph has no name") }
            if table.updateValue(-1, forKey: input.name) != nil {
                throw ApusError(
                    "ONNX030", "two inputs of the graph have one name", at: ["input: \(input.name)"])
            }
        }
        for (name, _) in graph.initializers { table[name] = -1 }
        for (i, node) in graph.nodes.enumerated() {
            for output in node.outputs where !output.isEmpty {
                if let before = table.updateValue(i, forKey: output) {
                    throw ApusError(
                        "ONNX030", "a value is defined twice", at: [node.place, "value: \(output)"],
                        actual: before < 0
                            ? "also an input or initializer" : "also by \(graph.nodes[before].place)")
                }
            }
        }
        return table
    }

    /// Depth-first from the first node on: each node comes after what it reads, otherwise in the order of the
    /// file.
    private func sorted(_ nodes: [ONNXNode], _ reads: [[Int]]) throws -> [Int] {
        var order: [Int] = []
        order.reserveCapacity(nodes.count)
        // 0 not seen, 1 on the stack, 2 done.
        var state = [UInt8](repeating: 0, count: nodes.count)
        var stack: [(node: Int, next: Int)] = []
        for root in nodes.indices where state[root] == 0 {
            stack.append((node: root, next: 0))
            state[root] = 1
            while let top = stack.last {
                if top.next == reads[top.node].count {
                    state[top.node] = 2
                    order.append(top.node)
                    stack.removeLast()
                    continue
                }
                stack[stack.count - 1].next += 1
                let producer = reads[top.node][top.next]
                if state[producer] == 0 {
                    state[producer] = 1
                    stack.append((node: producer, next: 0))
                } else if state[producer] == 1 {
                    throw cycle(nodes, stack.map { $0.node }, from: producer)
                }
            }
        }
        return order
    }

    private func cycle(_ nodes: [ONNXNode], _ stack: [Int], from start: Int) -> ApusError {
        let first = stack.firstIndex(of: start) ?? 0
        // The stack runs from readers to what they read; a reader of the message follows the data.
        let members = Array(stack[first...].reversed())
        var text = members.prefix(8).map { nodes[$0].place }
        if members.count > 8 { text.append("and \(members.count - 8) more") }
        return ApusError("ONNX032", "the graph has a cycle", at: [nodes[start].place], notes: text)
    }
}
