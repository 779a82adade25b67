import ApusSupport
import Synchronization

/// The root of everything that has identity: IR nodes, tensors, modules, functions, containers.
///
/// One base *class*, never a protocol: a dynamic cast through an existential costs 12 to 100 times a class
/// check. Instances are immutable once built (the few that are not, such as `NDArray`'s contents, say so),
/// hence Sendable. Source of the design: TVM's `Object`; type indices are handed out by key at first use.
open class Object: @unchecked Sendable {
    /// Globally unique name of the type, such as `tir.Add`; travels in JSON and over the C ABI.
    open class var typeKey: String { "runtime.Object" }

    public init() {}

    /// Index of this object's type in the process-wide table. Stable within a process only: serialise
    /// `typeKey`.
    public final var typeIndex: Int32 { TypeTable.index(of: type(of: self)) }

    /// `===` by another name, for readers who come from TVM.
    public final func isSame(as other: Object) -> Bool { self === other }
}

extension Object: Hashable {
    /// Identity, not structure: see `structuralEqual` for the latter.
    public static func == (a: Object, b: Object) -> Bool { a === b }
    public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}

/// Process-wide table from object type to index; indices below `firstDynamic` are fixed by the C ABI
/// (`apus.h`).
public enum TypeTable {
    static let firstDynamic: Int32 = 128

    /// The types whose index the C ABI promises, whichever is asked for first.
    private static let fixed: [String: Int32] = [
        "runtime.Object": 64, "runtime.String": 65, "runtime.PackedFunc": 67, "runtime.NDArray": 70,
        "runtime.Array": 71, "runtime.Map": 72, "runtime.Module": 73, "runtime.ADT": 74,
        "runtime.Closure": 75,
    ]

    private struct State: Sendable {
        var indexOf: [ObjectIdentifier: Int32] = [:]
        var indexOfKey: [String: Int32] = [:]
        var keys: [Int32: String] = [:]
        var next = TypeTable.firstDynamic
    }
    private static let state = Mutex(State())

    /// The index of `type`, assigned at the first call.
    public static func index(of type: Object.Type) -> Int32 {
        state.withLock { s in
            if let known = s.indexOf[ObjectIdentifier(type)] { return known }
            let key = type.typeKey
            let index = s.indexOfKey[key] ?? fixed[key] ?? s.next
            if index == s.next { s.next += 1 }
            s.indexOf[ObjectIdentifier(type)] = index
            s.indexOfKey[key] = index
            s.keys[index] = key
            return index
        }
    }

    /// The index of the type named `key`, or nil if no object of it was ever asked for its index.
    public static func index(ofKey key: String) -> Int32? {
        fixed[key] ?? state.withLock { $0.indexOfKey[key] }
    }

    /// The key of the type with this index, or nil if there is none.
    public static func key(of index: Int32) -> String? {
        if let entry = fixed.first(where: { $0.value == index }) { return entry.key }
        return state.withLock { $0.keys[index] }
    }
}
