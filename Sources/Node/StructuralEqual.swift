import ApusRuntime
import ApusSupport

/// Where two structures first differ.
public struct StructuralDifference: Sendable, CustomStringConvertible {
    /// From the root, such as `.body.seq[3].value.a`.
    public let path: String
    public let lhs: String
    public let rhs: String
    public var description: String { "at <root>\(path): \(lhs) is not \(rhs)" }
}

/// Whether two nodes have the same structure, variables being paired by where they are bound.
///
/// - Parameter mapFreeVariables: whether variables bound in neither node may be paired as well (otherwise a free
///   variable equals itself only).
public func structuralEqual(_ a: Node, _ b: Node, mapFreeVariables: Bool = false) -> Bool {
    firstDifference(a, b, mapFreeVariables: mapFreeVariables) == nil
}

/// The first place (in field order) where two nodes differ; nil if they are structurally equal.
public func firstDifference(_ a: Node, _ b: Node, mapFreeVariables: Bool = false) -> StructuralDifference? {
    var comparison = Comparison(mapFreeVariables: mapFreeVariables)
    return comparison.run(a, b)
}

/// The comparison as a loop over an explicit stack: structures may be deeper than any thread's stack.
private struct Comparison {
    struct Pair: Hashable {
        let a: ObjectIdentifier
        let b: ObjectIdentifier
    }
    struct Task {
        let a: FieldValue
        let b: FieldValue
        /// Index into `trail` of the step that led here.
        let trail: Int
        let defining: Defining
    }
    /// Which variables are paired where they are met: none, those that stand here themselves, those anywhere below.
    enum Defining { case none, here, below }

    let mapFreeVariables: Bool
    var stack: [Task] = []
    /// (parent step, label): a path is only spelt out when a difference is reported.
    var trail: [(parent: Int, label: String)] = [(-1, "")]
    var pairedLeft: [ObjectIdentifier: Node] = [:]
    var pairedRight: [ObjectIdentifier: Node] = [:]
    /// Whether some variable was paired with another one: then identical objects need not be equal.
    var renamed = false
    var done: Set<Pair> = []

    init(mapFreeVariables: Bool) { self.mapFreeVariables = mapFreeVariables }

    mutating func run(_ a: Node, _ b: Node) -> StructuralDifference? {
        stack.append(Task(a: .node(a), b: .node(b), trail: 0, defining: .none))
        while let task = stack.popLast() {
            if let difference = step(task) { return difference }
        }
        return nil
    }

    func path(_ step: Int) -> String {
        var labels: [String] = []
        var at = step
        while at > 0 {
            labels.append(trail[at].label)
            at = trail[at].parent
        }
        return labels.reversed().joined()
    }

    func difference(_ task: Task, _ lhs: String, _ rhs: String) -> StructuralDifference {
        StructuralDifference(path: path(task.trail), lhs: lhs, rhs: rhs)
    }

    mutating func extend(_ parent: Int, _ label: String) -> Int {
        trail.append((parent, label))
        return trail.count - 1
    }

    mutating func step(_ t: Task) -> StructuralDifference? {
        switch (t.a, t.b) {
        case (.null, .null): return nil
        case (.bool(let x), .bool(let y)) where x == y: return nil
        case (.int(let x), .int(let y)) where x == y: return nil
        // Bits, so that NaN equals itself and 0.0 differs from -0.0.
        case (.float(let x), .float(let y)) where x.bitPattern == y.bitPattern: return nil
        case (.string(let x), .string(let y)) where x == y: return nil
        case (.dtype(let x), .dtype(let y)) where x == y: return nil
        case (.tensor(let x), .tensor(let y)):
            return x.hasSameContents(as: y) ? nil : difference(t, describe(t.a), describe(t.b))
        case (.array(let x), .array(let y)):
            if x.count != y.count { return difference(t, describe(t.a), describe(t.b)) }
            for i in x.indices.reversed() {
                stack.append(
                    Task(a: x[i], b: y[i], trail: extend(t.trail, "[\(i)]"), defining: t.defining))
            }
            return nil
        case (.map(let x), .map(let y)):
            if x.count != y.count { return difference(t, describe(t.a), describe(t.b)) }
            let right = Dictionary(y.map { ($0.key, $0.value) }, uniquingKeysWith: { first, _ in first })
            for (key, value) in x.reversed() {
                guard let other = right[key] else { return difference(t, "key \"\(key)\"", "missing") }
                stack.append(
                    Task(a: value, b: other, trail: extend(t.trail, "[\"\(key)\"]"), defining: t.defining))
            }
            return nil
        case (.node(let x), .node(let y)): return nodes(x, y, t)
        default: return difference(t, describe(t.a), describe(t.b))
        }
    }

    mutating func nodes(_ x: Node, _ y: Node, _ t: Task) -> StructuralDifference? {
        let schema = x.schema
        guard type(of: x) == type(of: y) else { return difference(t, describe(t.a), describe(t.b)) }
        // A view: a use of something with definitions of its own that nothing declares. It is the same on both sides
        // if its content is, which leads to a variable (a buffer's data) that must have been paired before.
        var isView = false
        if x === y && !renamed && schema.identity != .variable { return nil }
        if schema.identity != .content {
            let left = pairedLeft[ObjectIdentifier(x)]
            let right = pairedRight[ObjectIdentifier(y)]
            if left != nil || right != nil {
                return left === y && right === x ? nil : difference(t, describe(t.a), describe(t.b))
            }
            if schema.identity == .variable && x !== y && t.defining == .none && !mapFreeVariables {
                isView = schema.fields.contains { $0.role == .definition || $0.role == .pattern }
                if !isView { return difference(t, describe(t.a) + " (free)", describe(t.b) + " (free)") }
            }
            pairedLeft[ObjectIdentifier(x)] = y
            pairedRight[ObjectIdentifier(y)] = x
            if schema.identity == .variable && x !== y { renamed = true }
        } else if !done.insert(Pair(a: ObjectIdentifier(x), b: ObjectIdentifier(y))).inserted {
            // Already compared, or being compared further down the stack; pairings only ever grow.
            return nil
        }
        for f in schema.fields.reversed() where f.role != .ignored {
            stack.append(
                Task(
                    a: f.get(x), b: f.get(y), trail: extend(t.trail, ".\(f.name)"),
                    defining: isView ? .none : Self.defining(f.role, in: schema, t.defining)))
        }
        return nil
    }

    /// For a field of a node of some schema, met itself with `outer`.
    static func defining(_ role: FieldRole, in schema: NodeSchema, _ outer: Defining) -> Defining {
        if role == .pattern || outer == .below { return .below }
        return role == .definition || (outer == .here && schema.identity == .variable) ? .here : .none
    }

    func describe(_ v: FieldValue) -> String {
        switch v {
        case .null: return "null"
        case .bool(let x): return "\(x)"
        case .int(let x): return "\(x)"
        case .float(let x): return "\(x)"
        case .string(let x): return "\"\(x)\""
        case .dtype(let x): return "\(x)"
        case .tensor(let x): return "tensor \(x.shape) \(x.dtype)"
        case .array(let x): return "array of \(x.count)"
        case .map(let x): return "map of \(x.count)"
        case .node(let n):
            if case .string(let name)? = n.field("name") { return "\(n.schema.key) \(name)" }
            return n.schema.key
        }
    }
}
