import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

private let ready: Void = Relay.registerAll()

/// splitmix64, so that every run sees the same cases.
struct Random: RandomNumberGenerator {
    var state: UInt64
    init(_ seed: UInt64) {
        state = seed
        _ = ready
    }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
    mutating func int(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }
    mutating func shape(rank: Int, _ extents: ClosedRange<Int> = 1...6) -> [Int] {
        (0..<rank).map { _ in int(extents) }
    }
}

func tensor(_ shape: [Int], _ dtype: DataType = .float32, name: String = "x") -> Relay.Var {
    _ = ready
    return Relay.Var(name, shape: shape, dtype: dtype)
}

func symbolic(_ shape: [PrimExpr], _ dtype: DataType = .float32, name: String = "x") -> Relay.Var {
    _ = ready
    return Relay.Var(name, TensorType(shape, dtype))
}

func shape(_ e: RelayExpr) -> [Int]? { e.tensorType?.staticShape }
func dtype(_ e: RelayExpr) -> DataType? { e.tensorType?.dtype }

/// The shapes of a tuple's fields.
func shapes(_ e: RelayExpr) -> [[Int]?] {
    (e.checkedType as? TupleType)?.fields.map { ($0 as? TensorType)?.staticShape } ?? []
}

/// The error's code, or nil if there was none.
func code(_ body: () throws -> Void) -> String? {
    do {
        try body()
        return nil
    } catch let e as ApusError {
        return e.code
    } catch {
        return "\(error)"
    }
}

func failure(_ body: () throws -> Void) -> ApusError? {
    do {
        try body()
        return nil
    } catch {
        return error as? ApusError
    }
}
