import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

extension Instruction {
    /// Whether it only looks or draws: without its results it may be left out.
    var isPure: Bool { kind.hasPrefix("get") || kind.hasPrefix("sample") }

    /// Whether it takes a decision that a search may change.
    public var isSampling: Bool { kind.hasPrefix("sample") }

    func deciding(_ d: [Int]?) -> Instruction {
        Instruction(kind, inputs: inputs, attrs: attrs, outputs: outputs, decision: d)
    }
}

extension Trace {
    /// The same history without what has no effect: looks and draws whose results nothing uses. With `removePostproc`
    /// the part from `enterPostproc` on is left out, too.
    public func simplified(removePostproc: Bool = false) -> Trace {
        var list = instructions
        if removePostproc, let end = list.firstIndex(where: { $0.kind == "enterPostproc" }) {
            list.removeSubrange(end...)
        }
        var used: Set<TraceOperand> = []
        var kept: [Instruction] = []
        for i in list.reversed() {
            if i.isPure, !i.outputs.contains(where: { used.contains($0) }) { continue }
            kept.append(i)
            used.formUnion(i.inputs)
        }
        return Trace(kept.reversed())
    }

    /// The same history with another decision of instruction `index`, which must be a sampling one. Throws SCH092.
    public func deciding(_ index: Int, _ decision: [Int]) throws -> Trace {
        guard instructions.indices.contains(index), instructions[index].isSampling else {
            let sampling = instructions.indices.filter { instructions[$0].isSampling }
            throw ApusError(
                "SCH092", "instruction \(index) of the trace takes no decision",
                expected: "one of " + listed(sampling.map { "\($0) (\(instructions[$0].kind))" }))
        }
        var list = instructions
        list[index] = list[index].deciding(decision)
        return Trace(list)
    }

    /// The decisions taken, with the number of their instructions.
    public var decisions: [(index: Int, decision: [Int])] {
        instructions.indices.compactMap { i in instructions[i].decision.map { (index: i, decision: $0) } }
    }

    // MARK: Swift

    /// A Swift program that does the same to a schedule called `schedule`: statements that may throw, one a line.
    public func swiftCode(schedule: String = "schedule") -> String {
        var names: [TraceOperand: String] = [:]
        var used: Set<TraceOperand> = []
        for i in instructions { used.formUnion(i.inputs) }
        var lines: [String] = []
        for (n, i) in instructions.enumerated() {
            func operand(_ o: TraceOperand) -> String {
                switch o {
                case .literal(let v): return "\(v)"
                case .none: return "nil"
                default: return names[o] ?? "unknown"
                }
            }
            let call = "try \(schedule)." + TraceCode(i, i.inputs.map(operand)).call
            let wanted = i.outputs.contains { used.contains($0) }
            if TraceCode.givesList.contains(i.kind) {
                for (k, o) in i.outputs.enumerated() { names[o] = "r\(n)[\(k)]" }
                lines.append(wanted ? "let r\(n) = \(call)" : "_ = \(call)")
            } else if let o = i.outputs.first {
                names[o] = "r\(n)"
                lines.append(wanted ? "let r\(n) = \(call)" : "_ = \(call)")
            } else {
                lines.append(i.kind == "enterPostproc" ? String(call.dropFirst(4)) : call)
            }
        }
        return lines.map { $0 + "\n" }.joined()
    }
}

/// One instruction as a call of `Schedule`'s methods.
private struct TraceCode {
    let i: Instruction
    let inputs: [String]

    static let givesList: Set<String> = [
        "getLoops", "getChildBlocks", "getProducers", "getConsumers", "getOutputBlocks", "split",
        "samplePerfectTile",
    ]

    init(_ i: Instruction, _ inputs: [String]) {
        self.i = i
        self.inputs = inputs
    }

    private func attr(_ key: String) -> AttrValue { i.attrs.first { $0.key == key }?.value ?? .none }

    private func literal(_ v: AttrValue) -> String {
        switch v {
        case .none: return ".none"
        case .int(let x): return "\(x)"
        case .float(let x):
            return x.isFinite ? "\(x)" : (x.isNaN ? ".nan" : (x < 0 ? "-.infinity" : ".infinity"))
        case .bool(let x): return "\(x)"
        case .string(let x): return JSON.quoted(x)
        case .ints(let x): return "[" + x.map { "\($0)" }.joined(separator: ", ") + "]"
        case .floats(let x): return "[" + x.map { literal(.float($0)) }.joined(separator: ", ") + "]"
        case .strings(let x): return "[" + x.map { JSON.quoted($0) }.joined(separator: ", ") + "]"
        case .list(let x): return "[" + x.map { literal($0) }.joined(separator: ", ") + "]"
        default: return "nil"
        }
    }

    /// As an argument of type `AttrValue`.
    private func annotation(_ v: AttrValue) -> String {
        switch v {
        case .int, .float, .bool, .string, .none: return literal(v)
        case .ints: return ".ints(\(literal(v)))"
        case .floats: return ".floats(\(literal(v)))"
        case .strings: return ".strings(\(literal(v)))"
        case .list(let x): return ".list([" + x.map { annotation($0) }.joined(separator: ", ") + "])"
        default: return ".none"
        }
    }

    private func named(_ key: String) -> String { "\(key): \(literal(attr(key)))" }
    private func plain(_ key: String) -> String { literal(attr(key)) }
    private var use: String { ".\(plain("use").dropFirst().dropLast())" }
    private var decision: String { (i.decision ?? []).map { "\($0)" }.joined(separator: ", ") }

    private func call(_ args: [String]) -> String { "\(i.kind)(\(args.joined(separator: ", ")))" }

    var call: String {
        switch i.kind {
        case "getBlock":
            let name = plain("name")
            return plain("function") == "\"\"" ? call([name]) : call([name, named("function")])
        case "sampleCategorical":
            return call([plain("candidates"), named("weights"), "decision: \(decision)"])
        case "samplePerfectTile":
            return call([inputs[0], named("n"), named("maxInnermost"), "decision: [\(decision)]"])
        case "sampleComputeLocation": return call([inputs[0], "decision: \(decision)"])
        case "split":
            if case .strings(let texts) = attr("extents") {
                return call([
                    inputs[0],
                    "extents: [" + texts.map { $0 == "none" ? "nil" : $0 }.joined(separator: ", ") + "]",
                ])
            }
            return call([inputs[0], "factors: [\(inputs.dropFirst().joined(separator: ", "))]"])
        case "fuse", "reorder": return call(["[\(inputs.joined(separator: ", "))]"])
        case "bind": return call([inputs[0], named("thread")])
        case "annotate":
            return call(
                inputs.count > 1
                    ? [inputs[0], plain("key"), inputs[1]]
                    : [inputs[0], plain("key"), annotation(attr("value"))])
        case "unannotate": return call([inputs[0], plain("key")])
        case "pragma": return call([inputs[0], plain("key"), annotation(attr("value"))])
        case "storageAlign":
            return call([inputs[0], named("writeIndex"), named("axis"), named("factor"), named("offset")])
        case "setScope": return call([inputs[0], named("writeIndex"), named("scope")])
        case "cacheRead":
            let readers = inputs.count > 1 ? ["readers: [\(inputs.dropFirst().joined(separator: ", "))]"] : []
            return call([inputs[0], plain("readIndex"), plain("scope")] + readers)
        case "cacheWrite": return call([inputs[0], plain("writeIndex"), plain("scope")])
        case "blockize":
            if case .block? = i.inputs.first { return call(["[\(inputs.joined(separator: ", "))]"]) }
            return call(inputs)
        case "tensorize": return call([inputs[0], plain("intrinsic")])
        case "rfactor": return call([inputs[0], named("factorAxis")])
        case "doubleBuffer": return call([inputs[0], named("writeIndex")])
        case "softwarePipeline": return call([inputs[0], named("stages"), named("order")])
        case "prefetch": return call([inputs[0], plain("readIndex"), inputs[1], named("offset")])
        case "setStorePredicate": return call([inputs[0], inputs[1], named("equals")])
        case "transformLayout":
            var args = [inputs[0], plain("index"), use, "IndexMap(text: \(plain("map")))"]
            if attr("padValue") != .none { args.append(named("padValue")) }
            return call(args)
        case "transformBlockLayout": return call([inputs[0], "IndexMap(text: \(plain("map")))"])
        case "reorderBlockIterVar": return call([inputs[0], plain("order")])
        case "reindex": return call([inputs[0], plain("index"), use])
        case "unsafeSetDType": return call([inputs[0], named("writeIndex"), plain("dtype")])
        case "padEinsum": return call([inputs[0], plain("padding")])
        // Operands only.
        default: return call(inputs)
        }
    }
}
