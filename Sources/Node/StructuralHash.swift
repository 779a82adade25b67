import ApusRuntime
import ApusSupport

/// A hash that agrees with `structuralEqual` (with either treatment of free variables) and is the same in every
/// process: variables count by the order in which they are first met, never by address.
public func structuralHash(_ node: Node) -> UInt64 {
    var state = HashState()
    return state.run(node)
}

/// 64-bit mixing with fixed constants (splitmix64's finaliser); unlike `Hasher` it has no per-process seed.
package struct StableHash {
    package private(set) var value: UInt64

    package init(_ seed: UInt64 = 0x9E37_79B9_7F4A_7C15) { value = seed }

    package mutating func mix(_ x: UInt64) {
        var z = (value ^ x) &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        value = z ^ (z >> 31)
    }

    package mutating func mix(_ text: String) {
        var text = text
        text.withUTF8 { mix(bytes: UnsafeRawBufferPointer($0)) }
    }

    package mutating func mix(bytes: UnsafeRawBufferPointer) {
        mix(UInt64(bytes.count))
        var at = 0
        while at + 8 <= bytes.count {
            mix(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)))
            at += 8
        }
        var tail: UInt64 = 0
        while at < bytes.count {
            tail = tail << 8 | UInt64(bytes[at])
            at += 1
        }
        mix(tail)
    }
}

/// Post-order hashing on an explicit stack, with a memo so that shared sub-structures are hashed once.
private struct HashState {
    struct Frame {
        let node: Node
        var hash: StableHash
        /// Leaves and children still to be mixed in, last first.
        var items: [FieldValue]
    }

    var stack: [Frame] = []
    var memo: [ObjectIdentifier: UInt64] = [:]
    var variables: [ObjectIdentifier: UInt64] = [:]

    mutating func push(_ node: Node) {
        let schema = node.schema
        var hash = StableHash()
        hash.mix(schema.key)
        if schema.identity == .variable {
            let number = UInt64(variables.count)
            variables[ObjectIdentifier(node)] = number
            hash.mix(number)
        }
        var items: [FieldValue] = []
        for f in schema.fields.reversed() where f.role != .ignored { items.append(f.get(node)) }
        stack.append(Frame(node: node, hash: hash, items: items))
    }

    mutating func run(_ root: Node) -> UInt64 {
        push(root)
        while true {
            let top = stack.count - 1
            guard let item = stack[top].items.popLast() else {
                let frame = stack.removeLast()
                memo[ObjectIdentifier(frame.node)] = frame.hash.value
                if stack.isEmpty { return frame.hash.value }
                stack[stack.count - 1].hash.mix(frame.hash.value)
                continue
            }
            switch item {
            case .null: stack[top].hash.mix(1)
            case .bool(let v): stack[top].hash.mix(v ? 3 : 2)
            case .int(let v):
                stack[top].hash.mix(4)
                stack[top].hash.mix(UInt64(bitPattern: Int64(v)))
            case .float(let v):
                stack[top].hash.mix(5)
                stack[top].hash.mix(v.bitPattern)
            case .string(let v):
                stack[top].hash.mix(6)
                stack[top].hash.mix(v)
            case .dtype(let v):
                stack[top].hash.mix(7)
                stack[top].hash.mix(v.description)
            case .tensor(let v):
                stack[top].hash.mix(8)
                stack[top].hash.mix(v.dtype.description)
                for d in v.shape { stack[top].hash.mix(UInt64(bitPattern: Int64(d))) }
                v.withUnsafeBytes { stack[top].hash.mix(bytes: $0) }
            case .array(let v):
                stack[top].hash.mix(9)
                stack[top].hash.mix(UInt64(v.count))
                stack[top].items.append(contentsOf: v.reversed())
            case .map(let v):
                // Equality ignores the order of a map's keys, so the hash goes by sorted key.
                stack[top].hash.mix(10)
                stack[top].hash.mix(UInt64(v.count))
                for (key, value) in v.sorted(by: { $0.key > $1.key }) {
                    stack[top].items.append(value)
                    stack[top].items.append(.string(key))
                }
            case .node(let n):
                if let known = memo[ObjectIdentifier(n)] {
                    stack[top].hash.mix(known)
                } else {
                    push(n)
                }
            }
        }
    }
}
