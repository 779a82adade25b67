import ApusNode
import ApusRuntime
import ApusSupport

/// What a pass says about itself.
public struct PassInfo: Sendable {
    /// Unique, such as `FuseOps` or `tir.Simplify`; `--dump-ir` and required/disabled lists use it.
    public let name: String
    /// One sentence.
    public let summary: String
    /// Runs where the context's optimisation level is at least this.
    public let level: Int
    /// Passes that must have run before within the same `Sequential`; run on demand by it.
    public let requires: [String]
    /// Properties that hold afterwards, in words; the verifier checks those that it knows.
    public let establishes: [String]

    public init(
        _ name: String, _ summary: String, level: Int = 0, requires: [String] = [], establishes: [String] = []
    ) {
        self.name = name
        self.summary = summary
        self.level = level
        self.requires = requires
        self.establishes = establishes
    }
}

/// A transformation of a module: a value, safe to share between threads.
public protocol Pass: Sendable {
    var info: PassInfo { get }
    /// The transformation itself; call `run` to get instruments and verification as well.
    func transform(_ module: IRModule, _ context: PassContext) throws -> IRModule
}

extension Pass {
    /// Runs the pass in `context`: instruments around it, errors with its name, the verifier after it.
    public func run(_ module: IRModule, _ context: PassContext = PassContext()) throws -> IRModule {
        for i in context.instruments where !i.shouldRun(module, info) { return module }
        for i in context.instruments { i.before(module, info) }
        let result = try within("pass: \(info.name)") { try transform(module, context) }
        if let verify = context.verify { try within("after pass: \(info.name)") { try verify(result) } }
        for i in context.instruments.reversed() { i.after(result, info) }
        return result
    }
}

/// Observes passes: timing, printing, statistics.
public protocol PassInstrument: Sendable {
    func shouldRun(_ module: IRModule, _ info: PassInfo) -> Bool
    func before(_ module: IRModule, _ info: PassInfo)
    func after(_ module: IRModule, _ info: PassInfo)
}

extension PassInstrument {
    public func shouldRun(_ module: IRModule, _ info: PassInfo) -> Bool { true }
    public func before(_ module: IRModule, _ info: PassInfo) {}
    public func after(_ module: IRModule, _ info: PassInfo) {}
}

/// Options that passes read, handed down explicitly; there is no global "current" context.
public struct PassContext: Sendable {
    /// 0: as written … 3: everything.
    public var optLevel: Int
    /// Run whatever the level.
    public var requiredPasses: Set<String>
    /// Never run.
    public var disabledPasses: Set<String>
    public var instruments: [any PassInstrument]
    /// Options of single passes, such as `tir.unroll_max_step`.
    public var config: [String: AttrValue]
    /// Called on the result of each pass; nil = no verification. By default the standard one.
    public var verify: (@Sendable (IRModule) throws -> Void)?

    public init(
        optLevel: Int = 3, requiredPasses: Set<String> = [], disabledPasses: Set<String> = [],
        instruments: [any PassInstrument] = [], config: [String: AttrValue] = [:],
        verify: (@Sendable (IRModule) throws -> Void)? = PassContext.standardVerifier
    ) {
        self.optLevel = optLevel
        self.requiredPasses = requiredPasses
        self.disabledPasses = disabledPasses
        self.instruments = instruments
        self.config = config
        self.verify = verify
    }

    private static let standard = Locked<(@Sendable (IRModule) throws -> Void)?>(nil)

    /// The verifier of contexts that name none: nil, unless the process was started to verify everything (`APUS_VERIFY`).
    public static var standardVerifier: (@Sendable (IRModule) throws -> Void)? { standard.with { $0 } }

    /// Sets `standardVerifier`; for the room whose programs it checks.
    package static func setStandardVerifier(_ verify: (@Sendable (IRModule) throws -> Void)?) {
        standard.with { $0 = verify }
    }

    /// Whether a pass runs here.
    public func enables(_ info: PassInfo) -> Bool {
        if disabledPasses.contains(info.name) { return false }
        if requiredPasses.contains(info.name) { return true }
        return optLevel >= info.level
    }

    public func int(_ key: String, default value: Int) -> Int {
        if case .int(let v)? = config[key] { return v }
        return value
    }
    public func bool(_ key: String, default value: Bool) -> Bool {
        if case .bool(let v)? = config[key] { return v }
        return value
    }
}

/// A pass from a closure over the whole module.
public struct ModulePass: Pass {
    public let info: PassInfo
    private let body: @Sendable (IRModule, PassContext) throws -> IRModule

    public init(_ info: PassInfo, _ body: @escaping @Sendable (IRModule, PassContext) throws -> IRModule) {
        self.info = info
        self.body = body
    }

    public func transform(_ module: IRModule, _ context: PassContext) throws -> IRModule {
        try body(module, context)
    }
}

/// A pass from a closure over each function of one kind (`Relay.Function` or `PrimFunc`); others are left alone.
public struct FunctionPass<F: BaseFunc>: Pass {
    public let info: PassInfo
    private let body: @Sendable (F, IRModule, PassContext) throws -> F

    public init(_ info: PassInfo, _ body: @escaping @Sendable (F, IRModule, PassContext) throws -> F) {
        self.info = info
        self.body = body
    }

    public func transform(_ module: IRModule, _ context: PassContext) throws -> IRModule {
        try module.mapFunctions { global, function in
            guard let f = function as? F else { return function }
            return try within("function: @\(global.name)") { try body(f, module, context) }
        }
    }
}

/// Passes in order; one that the context disables is skipped, one that is required is inserted before its user.
public struct Sequential: Pass {
    public let info: PassInfo
    public let passes: [any Pass]

    public init(_ name: String = "Sequential", _ passes: [any Pass]) {
        self.info = PassInfo(name, "a sequence of \(passes.count) passes")
        self.passes = passes
    }

    public func transform(_ module: IRModule, _ context: PassContext) throws -> IRModule {
        var module = module
        var done: Set<String> = []
        for pass in passes where context.enables(pass.info) {
            for name in pass.info.requires where !done.contains(name) {
                guard let required = passes.first(where: { $0.info.name == name }) else {
                    throw ApusError(
                        "IR010", "pass \(pass.info.name) requires \(name), which the sequence does not have")
                }
                module = try required.run(module, context)
                done.insert(name)
            }
            module = try pass.run(module, context)
            done.insert(pass.info.name)
        }
        return module
    }
}

/// Writes the module after the passes named (all if empty) through `write`.
public struct PrintAfterPasses: PassInstrument {
    private let names: Set<String>
    private let write: @Sendable (String) -> Void

    public init(_ names: Set<String> = [], write: @escaping @Sendable (String) -> Void) {
        self.names = names
        self.write = write
    }

    public func after(_ module: IRModule, _ info: PassInfo) {
        if names.isEmpty || names.contains(info.name) { write("// after \(info.name)\n\(module)\n") }
    }
}

/// Collects the wall time of each pass in order of completion, nested sequences included.
public final class PassTimes: PassInstrument, @unchecked Sendable {
    private let state = Locked<(stack: [ContinuousClock.Instant], times: [(name: String, seconds: Double)])>(
        (stack: [], times: []))

    public init() {}

    public func before(_ module: IRModule, _ info: PassInfo) { state.with { $0.stack.append(.now) } }
    public func after(_ module: IRModule, _ info: PassInfo) {
        state.with { s in
            guard let start = s.stack.popLast() else { return }
            let d = (ContinuousClock.Instant.now - start).components
            s.times.append((name: info.name, seconds: Double(d.seconds) + Double(d.attoseconds) * 1e-18))
        }
    }

    public var times: [(name: String, seconds: Double)] { state.with { $0.times } }
}
