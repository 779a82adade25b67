import Glibc

/// One run of a fuzzer: how long, from which seed, and the line that reports it.
///
///     let run = FuzzRun("arith.simplify", cases: 2_000)
///     while let seed = run.next() { … }        // one case a seed
///     run.finish(differences: failures)
///
/// A test runs `cases` cases. `make fuzz SECONDS=N SEED=S` sets `APUS_FUZZ_SECONDS` (the share of this fuzzer) and
/// `APUS_FUZZ_SEED`; `APUS_FUZZ_CASES` sets a number of cases instead of a time.
public final class FuzzRun {
    public let name: String
    public let firstSeed: UInt64
    public private(set) var cases = 0
    private let limit: Int
    private let deadline: ContinuousClock.Instant?

    public init(_ name: String, cases: Int) {
        self.name = name
        firstSeed = FuzzRun.number("APUS_FUZZ_SEED").map(UInt64.init) ?? 1
        if let n = FuzzRun.number("APUS_FUZZ_CASES") {
            limit = n
            deadline = nil
        } else if let seconds = FuzzRun.number("APUS_FUZZ_SECONDS") {
            limit = .max
            deadline = .now + .seconds(seconds)
        } else {
            limit = cases
            deadline = nil
        }
    }

    /// The seed of the next case, or nil at the end. Case `i` of seed S is case 0 of seed S + i, so that the seed that a
    /// failure prints reproduces it alone.
    public func next() -> UInt64? {
        if cases >= limit { return nil }
        if let deadline, ContinuousClock.Instant.now >= deadline { return nil }
        cases += 1
        return firstSeed &+ UInt64(cases - 1)
    }

    /// Prints `fuzz NAME cases N seed S differences D` and what else the fuzzer counted.
    public func finish(differences: Int, _ more: String = "") {
        let tail = more.isEmpty ? "" : " \(more)"
        print("fuzz \(name) cases \(cases) seed \(firstSeed) differences \(differences)\(tail)")
    }

    private static func number(_ variable: String) -> Int? {
        getenv(variable).flatMap { Int(String(cString: $0)) }.flatMap { $0 >= 0 ? $0 : nil }
    }
}

/// A small seeded generator (SplitMix64: Steele, Lea and Flood, OOPSLA 2014).
public struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A number in `0 ..< n`.
    public mutating func below(_ n: Int) -> Int { Int(next() % UInt64(n)) }

    public mutating func pick<T>(_ list: [T]) -> T? { list.isEmpty ? nil : list[below(list.count)] }
}
