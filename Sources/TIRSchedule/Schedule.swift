import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// A schedule: a function (or the functions of a module) and the primitives that transform it, each checked
/// before it takes effect and recorded in `trace`. A primitive that throws leaves everything as it was.
///
/// The IR is immutable: each primitive makes a new function that shares what did not change. Blocks and loops
/// are named by random variables (`BlockRV`, `LoopRV`) that survive transformations of their surroundings.
/// (The design is that of TVM's TensorIR schedule: Feng et al., ASPLOS 2023.)
///
/// Errors are `ApusError`s of codes SCH001 to SCH099; the first note is an excerpt of the IR at fault.
public final class Schedule {
    struct FunctionState {
        let name: String
        var function: PrimFunc
        var index: StmtIndex?
        /// Blocks that may not visit all of their domain: they came with a predicate, or run in parts
        /// (blockize).
        var partial: Set<String> = []
        /// Whether blocks hold blocks below the root: their signatures then follow what changes inside.
        var nested = false
        /// Whether loops carry notes (pipelines, prefetches) that their bodies must keep fitting.
        var noted = false
        /// Whether loops run over threads of the hardware, which must stay able to work together.
        var threaded = false

        init(name: String, function: PrimFunc) {
            self.name = name
            self.function = function
            let i = StmtIndex(function)
            for e in i.entries {
                guard let r = e.stmt as? BlockRealize, !r.predicate.isTrue else { continue }
                partial.insert(r.block.name)
            }
            nested = i.entries.indices.contains { i.realize($0) != nil && i.scope(of: $0) > 0 }
            noted = i.entries.contains { e in
                let notes = (e.stmt as? For)?.annotations
                return notes?["software_pipeline_stage"] != nil || notes?["prefetch_scope"] != nil
            }
            threaded = hasThreads(i) && threadProblem(i) == nil
            index = i
        }
    }
    enum Handle {
        case block(function: Int, name: String)
        case loop(function: Int, variable: Var)
        case int(Int)
        /// Locations of `sampleComputeLocation` that are no loops.
        case root(function: Int)
        case inlined(function: Int)
        case removed
    }

    private let base: IRModule?
    var functions: [FunctionState]
    var handles: [Handle] = []
    /// What was done so far.
    public internal(set) var trace = Trace()
    var random: SplitMix64
    /// Set while a composite primitive calls others, which are then not recorded.
    var recording = true
    /// How much the errors of refused primitives show.
    public var errorRenderLevel = ErrorRenderLevel.detail
    /// What is checked after each primitive.
    public var debugLevel = DebugLevel.none
    /// Primitives that run, one inside the other.
    var depth = 0
    /// The function in which `getBlock` looks where none is named; nil = all.
    var focus: String?

    /// A schedule of one function. Throws SCH002 if a block's body uses a variable of a loop around it.
    public init(_ function: PrimFunc, seed: Int = 1) throws {
        base = nil
        functions = [FunctionState(name: "main", function: try Schedule.normalized(function))]
        random = SplitMix64(seed: seed)
    }

    /// A schedule of all `PrimFunc`s of a module; SCH001 if it has none.
    public init(_ module: IRModule, seed: Int = 1) throws {
        base = module
        functions = []
        random = SplitMix64(seed: seed)
        for (global, f) in module.definitions {
            guard let f = f as? PrimFunc else { continue }
            let n = try within("function: \(global.name)") { try Schedule.normalized(f) }
            functions.append(FunctionState(name: global.name, function: n))
        }
        if functions.isEmpty { throw ApusError("SCH001", "the module has no PrimFunc to schedule") }
    }

    private init(copying s: Schedule) {
        base = s.base
        functions = s.functions
        handles = s.handles
        trace = s.trace
        random = s.random
        errorRenderLevel = s.errorRenderLevel
        debugLevel = s.debugLevel
        focus = s.focus
    }

    /// A copy to try a primitive on: it neither records nor explains.
    func trial() -> Schedule {
        let t = copy()
        t.recording = false
        t.errorRenderLevel = .fast
        t.debugLevel = .none
        return t
    }

    /// An independent schedule in the same state; handles of this one are valid in it.
    public func copy() -> Schedule { Schedule(copying: self) }

    /// The function as scheduled so far; the first one of a module.
    public var function: PrimFunc { functions[0].function }

    /// The module as scheduled so far.
    public var module: IRModule {
        guard var m = base else { return IRModule(function, name: functions[0].name) }
        for f in functions where m[f.name] !== f.function { m = m.updating(f.name, f.function) }
        return m
    }

    private static func normalized(_ f: PrimFunc) throws -> PrimFunc {
        let n = Normalizer.run(f)
        let index = StmtIndex(n)
        for i in index.entries.indices {
            guard let r = index.realize(i) else { continue }
            let outside = Set(index.loopAt.keys)
            // Loops inside the block belong to it.
            var own: Set<Var> = []
            for j in i..<index.entries[i].end {
                if let f = index.loop(j) { own.insert(f.loopVar) }
            }
            let foreign = outside.subtracting(own)
            if foreign.isEmpty { continue }
            var bad: Var?
            let check: (PrimExpr) -> Void = { e in
                if let v = e as? Var, foreign.contains(v) { bad = v }
            }
            if let s = r.block.initial { postOrderVisit(s, expr: check) }
            if !index.blocksBelow(i).isEmpty || r.block.iterVars.isEmpty { continue }
            postOrderVisit(r.block.body, expr: check)
            if let bad {
                throw ApusError(
                    "SCH002", "block `\(r.block.name)` uses the loop variable \(bad.name) from around it",
                    expected: "a body in terms of the block's own variables", notes: [excerpt(r)])
            }
        }
        return n
    }

    // MARK: Handles

    func newBlock(_ function: Int, _ name: String) -> BlockRV {
        handles.append(.block(function: function, name: name))
        return BlockRV(id: handles.count - 1)
    }

    func newLoop(_ function: Int, _ variable: Var) -> LoopRV {
        handles.append(.loop(function: function, variable: variable))
        return LoopRV(id: handles.count - 1)
    }

    func index(_ function: Int) -> StmtIndex {
        if let i = functions[function].index { return i }
        let i = StmtIndex(functions[function].function)
        functions[function].index = i
        return i
    }

    func commit(_ function: Int, _ new: PrimFunc) {
        functions[function].function = functions[function].nested ? withRefreshedSignatures(new) : new
        functions[function].index = nil
    }

    func record(
        _ kind: String, _ inputs: [TraceOperand], _ attrs: [(key: String, value: AttrValue)] = [],
        outputs: [TraceOperand] = [], decision: [Int]? = nil
    ) {
        if !recording { return }
        trace.append(Instruction(kind, inputs: inputs, attrs: attrs, outputs: outputs, decision: decision))
    }

    /// Where a block is now. SCH003 if the handle names none.
    func locate(_ b: BlockRV) throws -> (function: Int, index: StmtIndex, at: Int, realize: BlockRealize) {
        guard handles.indices.contains(b.id), case .block(let f, let name) = handles[b.id] else {
            throw ApusError("SCH003", "not a block of this schedule", actual: "b\(b.id)")
        }
        let index = index(f)
        guard let at = index.blockAt[name], let realize = index.realize(at) else {
            throw ApusError(
                "SCH003", "the block `\(name)` is no longer there",
                hint: "it was inlined or removed by an earlier primitive")
        }
        return (f, index, at, realize)
    }

    /// Where a loop is now. SCH003 if it was replaced.
    func locate(_ l: LoopRV) throws -> (function: Int, index: StmtIndex, at: Int, loop: For) {
        guard handles.indices.contains(l.id), case .loop(let f, let v) = handles[l.id] else {
            throw ApusError("SCH003", "not a loop of this schedule", actual: "l\(l.id)")
        }
        let index = index(f)
        guard let at = index.loopAt[v], let loop = index.loop(at) else {
            throw ApusError(
                "SCH003", "the loop \(v.name) is no longer there",
                hint: "an earlier split, fuse or compute_at replaced it; ask getLoops again")
        }
        return (f, index, at, loop)
    }

    // MARK: Looking around

    /// The block called `name`. SCH004 if there is none; the error names those there are.
    public func getBlock(_ name: String, function: String = "") throws -> BlockRV {
        let function = function.isEmpty ? focus ?? "" : function
        for f in functions.indices where function.isEmpty || functions[f].name == function {
            if index(f).blockAt[name] != nil {
                let b = newBlock(f, name)
                record(
                    "getBlock", [],
                    [(key: "name", value: .string(name)), (key: "function", value: .string(function))],
                    outputs: [.block(b.id)])
                return b
            }
        }
        let names: [String] = functions.indices.flatMap { f in
            index(f).entries.compactMap { ($0.stmt as? BlockRealize)?.block.name }
        }
        throw ApusError(
            "SCH004", "no block is called `\(name)`", expected: "one of " + names.joined(separator: ", "))
    }

    /// The loops around a block up to the block that encloses it, outermost first.
    public func getLoops(_ block: BlockRV) throws -> [LoopRV] {
        let (f, index, at, _) = try locate(block)
        let loops = index.loopsAbove(at).map { newLoop(f, $0.loopVar) }
        record("getLoops", [.block(block.id)], outputs: loops.map { .loop($0.id) })
        return loops
    }

    /// The blocks directly inside a block, in order of execution.
    public func getChildBlocks(_ block: BlockRV) throws -> [BlockRV] {
        let (f, index, at, _) = try locate(block)
        let blocks = childBlocks(f, index, at)
        record("getChildBlocks", [.block(block.id)], outputs: blocks.map { .block($0.id) })
        return blocks
    }

    /// The blocks inside a loop, in order of execution.
    public func getChildBlocks(_ loop: LoopRV) throws -> [BlockRV] {
        let (f, index, at, _) = try locate(loop)
        let blocks = childBlocks(f, index, at)
        record("getChildBlocks", [.loop(loop.id)], outputs: blocks.map { .block($0.id) })
        return blocks
    }

    private func childBlocks(_ f: Int, _ index: StmtIndex, _ at: Int) -> [BlockRV] {
        index.blocksBelow(at).compactMap { i in index.realize(i).map { newBlock(f, $0.block.name) } }
    }

    /// The blocks of the same scope that write what `block` reads, in order of execution.
    public func getProducers(_ block: BlockRV) throws -> [BlockRV] {
        let (f, index, at, _) = try locate(block)
        let found = producers(index, at).compactMap { i in index.realize(i).map { newBlock(f, $0.block.name) }
        }
        record("getProducers", [.block(block.id)], outputs: found.map { .block($0.id) })
        return found
    }

    /// The blocks of the same scope that read what `block` writes, in order of execution.
    public func getConsumers(_ block: BlockRV) throws -> [BlockRV] {
        let (f, index, at, _) = try locate(block)
        let found = consumers(index, at).compactMap { i in index.realize(i).map { newBlock(f, $0.block.name) }
        }
        record("getConsumers", [.block(block.id)], outputs: found.map { .block($0.id) })
        return found
    }

    /// The block as it is now.
    public func get(_ block: BlockRV) throws -> Block { try locate(block).realize.block }

    /// The loop as it is now.
    public func get(_ loop: LoopRV) throws -> For { try locate(loop).loop }

    /// The text of the function as scheduled so far.
    public var text: String { functions.map { $0.function.description }.joined(separator: "\n\n") }
}

// MARK: - Shared analysis

func producers(_ index: StmtIndex, _ at: Int) -> [Int] {
    guard let b = index.realize(at)?.block else { return [] }
    return index.blocksBelow(max(index.scope(of: at), 0)).filter { i in
        guard i != at, let w = index.realize(i)?.block.writes else { return false }
        return w.contains { x in b.reads.contains { $0.buffer === x.buffer } }
    }
}

func consumers(_ index: StmtIndex, _ at: Int) -> [Int] {
    guard let b = index.realize(at)?.block else { return [] }
    return index.blocksBelow(max(index.scope(of: at), 0)).filter { i in
        guard i != at, let r = index.realize(i)?.block.reads else { return false }
        return r.contains { x in b.writes.contains { $0.buffer === x.buffer } }
    }
}

/// The first lines of a statement's text, for errors.
func excerpt(_ s: Stmt, lines: Int = 24) -> String {
    let all = s.description.split(separator: "\n", omittingEmptySubsequences: false)
    let head = all.prefix(lines).joined(separator: "\n")
    return all.count > lines ? head + "\n…" : head
}

/// The variables of a block's bindings by kind of iteration: loops that a reduction uses, loops that others
/// use.
func bindingVariables(_ r: BlockRealize, _ kinds: (IterVarType) -> Bool) -> Set<Var> {
    var result: Set<Var> = []
    for (value, v) in zip(r.iterValues, r.block.iterVars) where kinds(v.iterType) {
        result.formUnion(variables(value))
    }
    return result
}

/// A small seeded generator (SplitMix64: Steele, Lea and Flood, OOPSLA 2014).
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    init(seed: Int) { state = UInt64(bitPattern: Int64(seed)) }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
