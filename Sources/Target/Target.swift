import ApusNode
import ApusSupport

/// What code is generated for: a kind of code generator and its options.
///
/// Text form `llvm -mcpu=znver4 -mattr=+avx2,+fma -num-cores=2`, JSON form `{"kind": "llvm", "mcpu":
/// "znver4", "mattr": ["+avx2", "+fma"], "num-cores": 2}`; both parse and print, and a target says all that
/// the code depends on: the same text gives the same code on every machine.
public struct Target: Hashable, Sendable, CustomStringConvertible {
    /// The value of an option.
    public enum Value: Hashable, Sendable {
        case string(String)
        case int(Int)
        case strings([String])
    }

    /// One option that was given.
    public struct Attribute: Hashable, Sendable {
        public let name: String
        public let value: Value
    }

    /// `llvm` or `c`.
    public let kindName: String
    /// In the order of the kind's option table; absent options are not listed.
    public let attributes: [Attribute]

    /// The row of the table of kinds.
    public var kind: TargetKind { TargetKind.all.first { $0.name == kindName } ?? .llvm }

    /// A target of `kind` with options; an unknown option, a wrong type or a value out of range is an error.
    public init(_ kind: TargetKind, _ options: [(String, Value)] = []) throws {
        var given: [String: Value] = [:]
        for (name, value) in options {
            guard let option = kind.option(name) else {
                throw ApusError(
                    "TGT003", "the target kind `\(kind.name)` has no option `\(name)`",
                    at: ["target: \(kind.name)"],
                    expected: "one of " + kind.options.map(\.name).joined(separator: ", "),
                    actual: name)
            }
            guard given.updateValue(value, forKey: name) == nil else {
                throw ApusError("TGT004", "the option `\(name)` is given twice", at: ["target: \(kind.name)"])
            }
            try Target.check(value, option, kind.name)
        }
        kindName = kind.name
        if kind.name == TargetKind.llvm.name, given["mcpu"] == .string("native") {
            // Written out, so that the text says what the code depends on.
            try Target.fillFromHost(&given)
        }
        attributes = kind.options.compactMap { option in
            given[option.name].map { Attribute(name: option.name, value: $0) }
        }
    }

    /// Generic code for this machine's architecture; runs on every processor of it.
    public static let llvm = makeStatic(.llvm, [])
    /// C source for this machine.
    public static let c = makeStatic(.c, [])

    private static func makeStatic(_ kind: TargetKind, _ options: [(String, Value)]) -> Target {
        do {
            return try Target(kind, options)
        } catch {
            internalError("a built-in target is not valid: \(error)")
        }
    }

    /// The target that code for the present scope is generated for, where one was set.
    @TaskLocal public static var current: Target?

    // MARK: Options

    /// The value of an option, or nil.
    public subscript(name: String) -> Value? { attributes.first { $0.name == name }?.value }

    /// The text of a string option, or nil.
    public func string(_ name: String) -> String? {
        if case .string(let v)? = self[name] { return v }
        return nil
    }

    /// The number of an integer option, or nil.
    public func int(_ name: String) -> Int? {
        if case .int(let v)? = self[name] { return v }
        return nil
    }

    /// The parts of a list option; empty if it is absent.
    public func strings(_ name: String) -> [String] {
        if case .strings(let v)? = self[name] { return v }
        return []
    }

    /// A copy with one option set, or removed where `value` is nil.
    public func setting(_ name: String, _ value: Value?) throws -> Target {
        var options = attributes.filter { $0.name != name }.map { ($0.name, $0.value) }
        if let value { options.append((name, value)) }
        return try Target(kind, options)
    }

    /// What schedules are chosen by, most specific first.
    public var keys: [String] {
        let own = strings("keys")
        return own.isEmpty ? kind.defaultKeys : own
    }

    /// External libraries that operators may use.
    public var libs: [String] { strings("libs") }
    /// Processor, `generic` if the target names none.
    public var mcpu: String { string("mcpu") ?? "generic" }
    /// Features, each `+name` or `-name`.
    public var mattr: [String] { strings("mattr") }
    /// LLVM triple: the one given or this machine's.
    public var mtriple: String { string("mtriple") ?? LLVMLibrary.hostTriple }
    /// Device on which the code runs, as in DLPack: 1 = CPU.
    public var deviceType: Int32 { kind.deviceType }

    /// Whether the feature is switched on in `mattr`.
    public func hasFeature(_ name: String) -> Bool { mattr.last { $0.dropFirst() == name }?.first == "+" }

    /// Features switched on in `mattr`, without the sign.
    public var features: [String] { mattr.filter { $0.first == "+" }.map { String($0.dropFirst()) } }

    // MARK: Checks

    private static func check(_ value: Value, _ option: TargetOption, _ kind: String) throws {
        func mismatch(_ expected: String, _ actual: String) -> ApusError {
            ApusError(
                "TGT005", "the option `\(option.name)` is not valid", at: ["target: \(kind)"],
                expected: expected,
                actual: actual)
        }
        switch (option.kind, value) {
        case (.string, .string(let text)):
            if text.isEmpty { throw mismatch("a text", "nothing") }
        case (.int, .int(let n)):
            let bounds = option.name == "opt-level" ? 0...3 : 1...(1 << 40)
            if !bounds.contains(n) { throw mismatch("\(bounds.lowerBound) to \(bounds.upperBound)", "\(n)") }
            if option.name == "vector-bytes", n & (n - 1) != 0 || n > 4096 {
                throw mismatch("a power of two up to 4096", "\(n)")
            }
        case (.strings, .strings(let parts)):
            if let bad = parts.first(where: { $0.isEmpty || $0.contains(",") }) {
                throw mismatch("parts that are not empty and hold no comma", "\"\(bad)\"")
            }
            if option.name == "mattr",
                let bad = parts.first(where: { !"+-".contains($0.first ?? " ") || $0.count < 2 })
            {
                throw mismatch("features written +name or -name", bad)
            }
        default:
            throw mismatch("a value of kind \(option.kind.rawValue)", "\(value)")
        }
    }
}
