import ApusIR
import ApusNode
import ApusSupport

/// A block that a schedule has found or made. Valid for the schedule that gave it (and its copies).
public struct BlockRV: Hashable, Sendable {
    public let id: Int
}

/// A loop that a schedule has found or made. Valid until a primitive replaces the loop.
public struct LoopRV: Hashable, Sendable {
    public let id: Int
}

/// An integer that a schedule has sampled, by reference: a replay may decide otherwise.
public struct IntRV: Hashable, Sendable {
    public let id: Int
}

/// An operand of an instruction.
public enum TraceOperand: Hashable, Sendable {
    case block(Int)
    case loop(Int)
    case int(Int)
    /// A literal integer where a sampled one could be.
    case literal(Int)
    /// An absent optional operand.
    case none
}

/// One step of a schedule: primitive, operands, attributes, results and, for sampling, what was decided.
public struct Instruction: Sendable {
    /// The primitive's name, such as `split`.
    public let kind: String
    public let inputs: [TraceOperand]
    /// Named constants: integers, strings and lists of them.
    public let attrs: [(key: String, value: AttrValue)]
    public let outputs: [TraceOperand]
    /// For sampling instructions.
    public let decision: [Int]?

    public init(
        _ kind: String, inputs: [TraceOperand], attrs: [(key: String, value: AttrValue)] = [],
        outputs: [TraceOperand] = [], decision: [Int]? = nil
    ) {
        self.kind = kind
        self.inputs = inputs
        self.attrs = attrs
        self.outputs = outputs
        self.decision = decision
    }
}

/// The history of a schedule; prints as a program, travels as JSON, and replays on another function.
public struct Trace: Sendable, CustomStringConvertible {
    public private(set) var instructions: [Instruction] = []

    public init(_ instructions: [Instruction] = []) { self.instructions = instructions }

    mutating func append(_ i: Instruction) { instructions.append(i) }

    // MARK: Text

    /// One line an instruction: `l3, l4 = sch.split(l1, none, 4)`.
    public var description: String {
        instructions.map { Trace.line($0) }.joined(separator: "\n")
    }

    private static func name(_ o: TraceOperand) -> String {
        switch o {
        case .block(let i): return "b\(i)"
        case .loop(let i): return "l\(i)"
        case .int(let i): return "v\(i)"
        case .literal(let n): return "\(n)"
        case .none: return "none"
        }
    }

    private static func line(_ i: Instruction) -> String {
        var args: [String] = i.inputs.map { name($0) }
        for a in i.attrs { args.append("\(a.key)=\(a.value)") }
        if let d = i.decision { args.append("decision=[" + d.map { "\($0)" }.joined(separator: ", ") + "]") }
        let call = "sch.\(i.kind)(" + args.joined(separator: ", ") + ")"
        return i.outputs.isEmpty ? call : i.outputs.map { name($0) }.joined(separator: ", ") + " = " + call
    }

    // MARK: JSON

    /// `[[kind, inputs, attrs, outputs, decision], …]`: operands as text (`b0`, `l1`, `v2`, `4`, `none`).
    public var json: JSON {
        .array(
            instructions.map { i in
                var attrs: [(key: String, value: JSON)] = []
                for a in i.attrs { attrs.append((key: a.key, value: Trace.json(a.value))) }
                return .array([
                    .string(i.kind), .array(i.inputs.map { .string(Trace.name($0)) }), .object(attrs),
                    .array(i.outputs.map { .string(Trace.name($0)) }),
                    i.decision.map { .array($0.map { .int($0) }) } ?? .null,
                ])
            })
    }

    /// Scalars, integers and strings as themselves; what would read back as something else under its name.
    private static func json(_ v: AttrValue) -> JSON {
        switch v {
        case .int(let x): return .int(x)
        case .bool(let x): return .bool(x)
        case .float(let x): return x.isFinite ? .double(x) : .object([(key: "float", value: .string("\(x)"))])
        case .string(let x): return .string(x)
        case .ints(let x): return .array(x.map { .int($0) })
        case .strings(let x):
            let list = JSON.array(x.map { .string($0) })
            return x.isEmpty ? .object([(key: "strings", value: list)]) : list
        case .floats(let x): return .object([(key: "floats", value: .array(x.map { json(.float($0)) }))])
        case .list(let x): return .object([(key: "list", value: .array(x.map { json($0) }))])
        default: return .null
        }
    }

    /// Reads `json`; throws SCH090 where it is not a trace.
    public init(json: JSON) throws {
        func malformed(_ what: String) -> ApusError {
            ApusError("SCH090", "not a schedule trace", expected: what)
        }
        guard case .array(let rows) = json else { throw malformed("a list of instructions") }
        var defined: Set<TraceOperand> = []
        for (n, row) in rows.enumerated() {
            guard case .array(let parts) = row, parts.count == 5, let kind = parts[0].stringValue,
                case .array(let inputs) = parts[1], case .object(let attrs) = parts[2],
                case .array(let outputs) = parts[3]
            else { throw malformed("[kind, inputs, attrs, outputs, decision] as instruction \(n)") }
            var decision: [Int]?
            switch parts[4] {
            case .null: break
            case .array(let d):
                decision = try d.map {
                    guard let v = $0.intValue else { throw malformed("integers as a decision") }
                    return v
                }
            default: throw malformed("a list or null as a decision")
            }
            instructions.append(
                Instruction(
                    kind, inputs: try inputs.map { try Trace.operand($0) },
                    attrs: try attrs.map { (key: $0.key, value: try Trace.attribute($0.value)) },
                    outputs: try outputs.map { try Trace.operand($0) }, decision: decision))
            for o in instructions[n].outputs {
                switch o {
                case .literal, .none: throw malformed("handles as results of instruction \(n)")
                default: break
                }
                guard defined.insert(o).inserted else {
                    throw malformed("each result once, instruction \(n) defines \(Trace.name(o)) again")
                }
            }
        }
    }

    private static func operand(_ j: JSON) throws -> TraceOperand {
        if let s = j.stringValue {
            if s == "none" { return .none }
            if let n = Int(s) { return .literal(n) }
            if let n = Int(s.dropFirst()), n >= 0 {
                switch s.first {
                case "b": return .block(n)
                case "l": return .loop(n)
                case "v": return .int(n)
                default: break
                }
            }
        }
        throw ApusError(
            "SCH090", "not a schedule trace", expected: "an operand such as b0, l1, v2, 4 or none",
            actual: j.text)
    }

    private static func attribute(_ j: JSON) throws -> AttrValue {
        switch j {
        case .null: return .none
        case .bool(let v): return .bool(v)
        case .int(let v): return .int(v)
        case .double(let v): return .float(v)
        case .string(let v): return .string(v)
        case .array(let v):
            let ints = v.compactMap(\.intValue)
            if ints.count == v.count { return .ints(ints) }
            let strings = v.compactMap(\.stringValue)
            if strings.count == v.count { return .strings(strings) }
            let numbers = v.compactMap(\.doubleValue)
            if numbers.count == v.count { return .floats(numbers) }
        case .object(let members):
            guard members.count == 1, let (key, value) = members.first else { break }
            switch (key, value) {
            case ("float", .string(let s)): if let x = Double(s) { return .float(x) }
            case ("strings", .array(let list)) where list.isEmpty: return .strings([])
            case ("floats", .array(let list)):
                return .floats(
                    try list.map {
                        switch try attribute($0) {
                        case .float(let x): return x
                        case .int(let x): return Double(x)
                        default: throw notPlain
                        }
                    })
            case ("list", .array(let list)): return .list(try list.map { try attribute($0) })
            default: break
            }
        }
        throw notPlain
    }

    private static var notPlain: ApusError {
        ApusError(
            "SCH090", "not a schedule trace",
            expected: "a number, a string, a truth value or a list of one kind")
    }
}
