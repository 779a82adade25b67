import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

extension Schedule {
    /// Does again what a trace did, on this schedule's function. Sampling instructions keep their decisions,
    /// or draw anew where `resample` is set. Throws SCH091 for an instruction that this schedule does not
    /// know or whose operands do not fit, and what a primitive throws.
    ///
    /// `decide` may give other decisions: it is asked for each sampling instruction, by its number in the trace; nil
    /// leaves it as above.
    public func apply(
        _ trace: Trace, resample: Bool = false, decide: (Int, Instruction) -> [Int]? = { _, _ in nil }
    ) throws {
        var known: [TraceOperand: TraceOperand] = [:]
        for (n, i) in trace.instructions.enumerated() {
            try within("instruction \(n): \(i.kind)") {
                let inputs: [TraceOperand] = try i.inputs.map { o in
                    switch o {
                    case .literal, .none: return o
                    default:
                        guard let new = known[o] else {
                            throw ApusError(
                                "SCH091", "an operand is used before it is defined", actual: "\(o)")
                        }
                        return new
                    }
                }
                let other = i.isSampling ? decide(n, i) : nil
                let outputs = try perform(
                    other.map { i.deciding($0) } ?? i, inputs, resample: resample && other == nil)
                guard outputs.count == i.outputs.count else {
                    throw ApusError(
                        "SCH091", "the instruction yields another number of results on this function",
                        expected: "\(i.outputs.count)", actual: "\(outputs.count)")
                }
                for (old, new) in zip(i.outputs, outputs) { known[old] = new }
            }
        }
    }

    /// Operands and attributes of one instruction, read with checks.
    private struct Reader {
        let instruction: Instruction
        let inputs: [TraceOperand]

        func mismatch(_ expected: String) -> ApusError {
            ApusError("SCH091", "malformed instruction \(instruction.kind)", expected: expected)
        }
        func block(_ i: Int = 0) throws -> BlockRV {
            guard inputs.indices.contains(i), case .block(let id) = inputs[i] else {
                throw mismatch("a block as operand \(i)")
            }
            return BlockRV(id: id)
        }
        func loop(_ i: Int = 0) throws -> LoopRV {
            guard inputs.indices.contains(i), case .loop(let id) = inputs[i] else {
                throw mismatch("a loop as operand \(i)")
            }
            return LoopRV(id: id)
        }
        var isBlock: Bool {
            if case .block? = inputs.first { return true }
            return false
        }
        func loops() throws -> [LoopRV] { try inputs.indices.map { try loop($0) } }
        func attr(_ key: String) throws -> AttrValue {
            guard let a = instruction.attrs.first(where: { $0.key == key }) else {
                throw mismatch("the attribute \(key)")
            }
            return a.value
        }
        func int(_ key: String) throws -> Int {
            guard case .int(let v) = try attr(key) else { throw mismatch("\(key) as an integer") }
            return v
        }
        func string(_ key: String) throws -> String {
            guard case .string(let v) = try attr(key) else { throw mismatch("\(key) as a string") }
            return v
        }
        func ints(_ key: String) throws -> [Int] {
            guard case .ints(let v) = try attr(key) else { throw mismatch("\(key) as integers") }
            return v
        }
        func strings(_ key: String) throws -> [String] {
            switch try attr(key) {
            case .strings(let v): return v
            case .ints(let v) where v.isEmpty: return []
            default: throw mismatch("\(key) as strings")
            }
        }
        func use() throws -> BufferUse {
            guard let u = BufferUse(rawValue: try string("use")) else {
                throw mismatch("use as read or write")
            }
            return u
        }
        func optionalDouble(_ key: String) throws -> Double? {
            guard let a = instruction.attrs.first(where: { $0.key == key }) else { return nil }
            switch a.value {
            case .float(let v): return v
            case .int(let v): return Double(v)
            default: throw mismatch("\(key) as a number")
            }
        }
        func blocks() throws -> [BlockRV] { try inputs.indices.map { try block($0) } }
        var hasInt: Bool {
            if inputs.count == 2, case .int = inputs[1] { return true }
            return false
        }
        func intRV(_ i: Int) throws -> IntRV {
            guard inputs.indices.contains(i), case .int(let id) = inputs[i] else {
                throw mismatch("an integer as operand \(i)")
            }
            return IntRV(id: id)
        }
        func doubles(_ key: String) throws -> [Double] {
            switch try attr(key) {
            case .floats(let v): return v
            case .ints(let v): return v.map { Double($0) }
            case .list(let v):
                return try v.map {
                    switch $0 {
                    case .float(let x): return x
                    case .int(let x): return Double(x)
                    default: throw mismatch("\(key) as numbers")
                    }
                }
            default: throw mismatch("\(key) as numbers")
            }
        }
    }

    private func perform(
        _ i: Instruction, _ inputs: [TraceOperand], resample: Bool
    ) throws -> [TraceOperand] {
        let r = Reader(instruction: i, inputs: inputs)
        func blocks(_ b: [BlockRV]) -> [TraceOperand] { b.map { .block($0.id) } }
        func loops(_ l: [LoopRV]) -> [TraceOperand] { l.map { .loop($0.id) } }
        let decision = resample ? nil : i.decision
        switch i.kind {
        case "getBlock": return blocks([try getBlock(r.string("name"), function: r.string("function"))])
        case "getLoops": return loops(try getLoops(r.block()))
        case "getChildBlocks":
            return blocks(try r.isBlock ? getChildBlocks(r.block()) : getChildBlocks(r.loop()))
        case "getProducers": return blocks(try getProducers(r.block()))
        case "getConsumers": return blocks(try getConsumers(r.block()))
        case "sampleCategorical":
            let v = try sampleCategorical(
                r.ints("candidates"), weights: r.doubles("weights"), decision: decision?.first)
            return [.int(v.id)]
        case "samplePerfectTile":
            return try samplePerfectTile(
                r.loop(), n: r.int("n"), maxInnermost: r.int("maxInnermost"), decision: decision
            ).map { .int($0.id) }
        case "split":
            if i.attrs.contains(where: { $0.key == "extents" }) {
                return loops(try split(r.loop(), extents: splitExtents(r.loop(), r.strings("extents"))))
            }
            return loops(try split(r.loop(), operands: Array(inputs.dropFirst())))
        case "fuse": return loops([try fuse(r.loops())])
        case "reorder":
            try reorder(r.loops())
            return []
        case "addUnitLoop": return loops([try r.isBlock ? addUnitLoop(r.block()) : addUnitLoop(r.loop())])
        case "parallel":
            try parallel(r.loop())
            return []
        case "vectorize":
            try vectorize(r.loop())
            return []
        case "unroll":
            try unroll(r.loop())
            return []
        case "bind":
            try bind(r.loop(), thread: r.string("thread"))
            return []
        case "annotate" where r.hasInt:
            if r.isBlock {
                try annotate(r.block(), r.string("key"), r.intRV(1))
            } else {
                try annotate(r.loop(), r.string("key"), r.intRV(1))
            }
            return []
        case "annotate":
            let (key, value) = (try r.string("key"), try r.attr("value"))
            if r.isBlock { try annotate(r.block(), key, value) } else { try annotate(r.loop(), key, value) }
            return []
        case "unannotate":
            if r.isBlock {
                try unannotate(r.block(), r.string("key"))
            } else {
                try unannotate(r.loop(), r.string("key"))
            }
            return []
        case "storageAlign":
            try storageAlign(
                r.block(), writeIndex: r.int("writeIndex"), axis: r.int("axis"), factor: r.int("factor"),
                offset: r.int("offset"))
            return []
        case "setScope":
            try setScope(r.block(), writeIndex: r.int("writeIndex"), scope: r.string("scope"))
            return []
        case "computeInline":
            try computeInline(r.block())
            return []
        case "reverseComputeInline":
            try reverseComputeInline(r.block())
            return []
        case "computeAt":
            try computeAt(r.block(), r.loop(1))
            return []
        case "reverseComputeAt":
            try reverseComputeAt(r.block(), r.loop(1))
            return []
        case "cacheRead" where inputs.count > 1:
            return blocks([
                try cacheRead(
                    r.block(), r.int("readIndex"), r.string("scope"), readers: Array(r.blocks().dropFirst()))
            ])
        case "cacheRead": return blocks([try cacheRead(r.block(), r.int("readIndex"), r.string("scope"))])
        case "cacheWrite": return blocks([try cacheWrite(r.block(), r.int("writeIndex"), r.string("scope"))])
        case "decomposeReduction": return blocks([try decomposeReduction(r.block(), r.loop(1))])
        case "blockize": return blocks([try r.isBlock ? blockize(r.blocks()) : blockize(r.loop())])
        case "tensorize":
            let name = try r.string("intrinsic")
            return blocks([try r.isBlock ? tensorize(r.block(), name) : tensorize(r.loop(), name)])
        default: return try performMore(i, r, decision)
        }
    }

    private func performMore(_ i: Instruction, _ r: Reader, _ decision: [Int]?) throws -> [TraceOperand] {
        func blocks(_ b: [BlockRV]) -> [TraceOperand] { b.map { .block($0.id) } }
        switch i.kind {
        case "getOutputBlocks": return blocks(try getOutputBlocks(r.block()))
        case "sampleComputeLocation":
            return [.loop(try sampleComputeLocation(r.block(), decision: decision?.first).id)]
        case "enterPostproc":
            enterPostproc()
            return []
        case "computeRoot":
            try computeRoot(r.block())
            return []
        case "doubleBuffer":
            try doubleBuffer(r.block(), writeIndex: r.int("writeIndex"))
            return []
        case "softwarePipeline":
            try softwarePipeline(r.loop(), stages: r.ints("stages"), order: r.ints("order"))
            return []
        case "prefetch":
            try prefetch(r.block(), r.int("readIndex"), r.loop(1), offset: r.int("offset"))
            return []
        case "pragma":
            try pragma(r.loop(), r.string("key"), r.attr("value"))
            return []
        case "setStorePredicate":
            try setStorePredicate(r.block(), r.loop(1), equals: r.int("equals"))
            return []
        case "transformLayout":
            try transformLayout(
                r.block(), r.int("index"), r.use(), IndexMap(text: r.string("map")),
                padValue: r.optionalDouble("padValue"))
            return []
        case "transformBlockLayout":
            try transformBlockLayout(r.block(), IndexMap(text: r.string("map")))
            return []
        case "reorderBlockIterVar":
            try reorderBlockIterVar(r.block(), r.ints("order"))
            return []
        case "reindex": return blocks([try reindex(r.block(), r.int("index"), r.use())])
        case "unsafeSetDType":
            try unsafeSetDType(r.block(), writeIndex: r.int("writeIndex"), r.string("dtype"))
            return []
        case "decomposePadding": return blocks([try decomposePadding(r.block(), r.loop(1))])
        case "padEinsum":
            try padEinsum(r.block(), r.ints("padding"))
            return []
        case "rfactor": return blocks([try rfactor(r.loop(), factorAxis: r.int("factorAxis"))])
        default: throw ApusError("SCH091", "unknown schedule instruction `\(i.kind)`")
        }
    }
}
