import ApusRuntime
import ApusSupport

/// Base of every IR node. Subclasses are final, immutable after construction, and declare one `NodeSchema`.
///
/// Deep chains: a subclass that can form one moves its children out in `deinit` with `reclaim`, so that
/// destruction is a loop and not a recursion.
open class Node: Object, FieldConvertible, CustomStringConvertible, @unchecked Sendable {
    /// The declaration of this kind of node.
    open class var schema: NodeSchema { internalError("\(Self.self) declares no schema") }

    open override class var typeKey: String { schema.key }

    /// The declaration of this node's kind.
    public final var schema: NodeSchema { Self.schema }

    /// The field named `name`, or nil if there is none.
    public final func field(_ name: String) -> FieldValue? {
        for f in schema.fields where f.name == name { return f.get(self) }
        return nil
    }

    /// The text form where the kind has one; the key otherwise.
    open var description: String { schema.key }

    public final var asField: FieldValue { .node(self) }
    public static func fromField(_ value: FieldValue) throws -> Self {
        guard case .node(let n) = value, let node = n as? Self else {
            throw fieldMismatch("a \(Self.self)", value)
        }
        return node
    }
}

/// All node kinds of the process. Each room registers its list from its `registerAll`, never by side effect.
public enum NodeRegistry {
    private static let state = Locked<[String: NodeSchema]>([:])

    /// Adds kinds; adding the same key again is a no-op, so `registerAll` may be called from anywhere.
    public static func register(_ schemas: [NodeSchema]) {
        state.with { table in
            for s in schemas where table[s.key] == nil { table[s.key] = s }
        }
    }

    /// The kind with this key.
    public static func schema(_ key: String) -> NodeSchema? { state.with { $0[key] } }

    /// Every registered kind, sorted by key.
    public static var all: [NodeSchema] { state.with { $0.values.sorted { $0.key < $1.key } } }
}

// MARK: - Destruction as a loop

/// The children waiting to be released on this thread while a `deinit` drains them; each is owned by this list.
private struct Reclaimer {
    var pending: [Unmanaged<Object>] = []
    var draining = false
}

private let reclaimer = ThreadLocalBox<Reclaimer> { Reclaimer() }

/// What a moved-out field holds until its storage goes away; only ever released.
private let tombstone = Object()

@inline(never)
private func reclaimSlow(_ child: Unmanaged<Object>) {
    let waits = reclaimer.with { r -> Bool in
        r.pending.append(child)
        if r.draining { return true }
        r.draining = true
        return false
    }
    if waits { return }
    while let next = reclaimer.with({ $0.pending.popLast() }) {
        // Its own deinit only appends to `pending`.
        next.release()
    }
    reclaimer.with { $0.draining = false }
}

/// For `deinit` only: if `field` is the last reference to its node, releases it from a loop instead of recursively.
@inlinable
public func reclaim<T: Object>(_ field: inout T) {
    if isKnownUniquelyReferenced(&field) { reclaimUnique(&field) }
}

@usableFromInline
func reclaimUnique<T: Object>(_ field: inout T) {
    // The field's own reference moves to the list: a copy kept here until the list is drained would be released last
    // and so undo the loop. The field is about to be destroyed: all that will happen to the tombstone is a release.
    reclaimSlow(buried(&field))
}

/// For `deinit` only: gives up a reference that is not the last one, so that another field may turn out to hold the last.
@usableFromInline
func forgo<T: Object>(_ field: inout T) { buried(&field).release() }

/// Puts the tombstone in the place of a child, whose reference the caller takes over.
private func buried<T: Object>(_ field: inout T) -> Unmanaged<Object> {
    let child = Unmanaged<Object>.fromOpaque(Unmanaged.passUnretained(field).toOpaque())
    let grave = Unmanaged.passRetained(tombstone).toOpaque()
    withUnsafeMutablePointer(to: &field) {
        UnsafeMutableRawPointer($0).storeBytes(of: grave, as: UnsafeMutableRawPointer.self)
    }
    return child
}

/// For `deinit` only: as `reclaim` for both, which may be the same node.
@inlinable
public func reclaim<T: Object>(_ a: inout T, _ b: inout T) {
    if a === b { forgo(&a) } else { reclaim(&a) }
    reclaim(&b)
}

/// For `deinit` only: as `reclaim` for each element; one may occur several times.
@inlinable
public func reclaim<T: Object>(_ field: inout [T]) {
    guard !field.isEmpty else { return }
    var shared = 0
    for i in field.indices {
        if isKnownUniquelyReferenced(&field[i]) { reclaimUnique(&field[i]) } else { shared += 1 }
    }
    if shared > 1 { reclaimTwins(&field) }
}

@usableFromInline
func reclaimTwins<T: Object>(_ field: inout [T]) {
    // Long lists without looking: giving up the reference early does no harm.
    let looks = field.count <= 8
    for i in field.indices where field[i] !== tombstone {
        if isKnownUniquelyReferenced(&field[i]) {
            reclaimUnique(&field[i])
        } else if !looks || field[(i + 1)...].contains(where: { $0 === field[i] }) {
            forgo(&field[i])
        }
    }
}

/// For `deinit` only: as `reclaim` where there is something.
@inlinable
public func reclaim<T: Object>(_ field: inout T?) {
    guard var child = field.take() else { return }
    reclaim(&child)
}
