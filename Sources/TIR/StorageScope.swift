import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// Where memory lies, and a tag that tells memories of one rank apart: `local.acc_buffer` is the memory
/// `acc_buffer` of a thread's own rank. Text form: `global`, `shared`, `shared.dyn`, `warp`, `local`, `wmma.matrix_a`,
/// `wmma.matrix_b`, `wmma.accumulator`, `texture`, each but the fragments with an optional `.tag`.
public struct StorageScope: Hashable, Sendable, CustomStringConvertible {
    /// Who shares the memory, from most to fewest.
    public enum Rank: Int, Sendable, Comparable, CaseIterable {
        /// All threads, and the host.
        case global = 0
        /// The threads of a block.
        case shared = 1
        /// The threads of a warp.
        case warp = 2
        /// One thread.
        case local = 3
        /// Fragments of a matrix, spread over the registers of a warp.
        case matrixA = 4, matrixB = 5, accumulator = 6
        /// Images.
        case texture = 7

        public static func < (a: Rank, b: Rank) -> Bool { a.rawValue < b.rawValue }

        var text: String {
            switch self {
            case .global: return "global"
            case .shared: return "shared"
            case .warp: return "warp"
            case .local: return "local"
            case .matrixA: return "wmma.matrix_a"
            case .matrixB: return "wmma.matrix_b"
            case .accumulator: return "wmma.accumulator"
            case .texture: return "texture"
            }
        }

        /// Memory that a buffer has by default when it is computed within threads bound as deep as `level`:
        /// 0 outside of threads, 1 within blocks, 2 within the threads of a block.
        public static func defaultRank(threadLevel level: Int) -> Rank {
            level <= 0 ? .global : (level == 1 ? .shared : .local)
        }
    }

    public let rank: Rank
    /// With its leading dot; empty for the plain memory.
    public let tag: String

    public init(_ rank: Rank, tag: String = "") {
        self.rank = rank
        self.tag = tag
    }

    /// Parses the text form; an empty text is `global`.
    /// - Throws: TIR149 where it is none.
    public init(_ text: String) throws {
        guard let known = StorageScope.find(text) else {
            throw ApusError(
                "TIR149", "unknown memory scope", expected: Rank.allCases.map(\.text).joined(separator: ", "),
                actual: text, hint: "a tag follows a dot, as in local.acc_buffer")
        }
        self = known
    }

    /// As `init`; nil where the text is no scope.
    public static func find(_ text: String) -> StorageScope? {
        if text.isEmpty { return StorageScope(.global) }
        for rank in Rank.allCases where text.hasPrefix(rank.text) {
            let tag = String(text.dropFirst(rank.text.count))
            if tag.isEmpty { return StorageScope(rank) }
            let fragment = rank == .matrixA || rank == .matrixB || rank == .accumulator
            if !fragment, tag.hasPrefix("."), tag.utf8.count > 1 { return StorageScope(rank, tag: tag) }
        }
        return nil
    }

    /// Shared memory whose size is given at the launch.
    public var isDynamicShared: Bool { rank == .shared && tag == ".dyn" }

    public var description: String { rank.text + tag }
}

/// A thread axis: `blockIdx.x` is rank 0 dimension 0, `threadIdx.y` rank 1 dimension 1, `vthread` rank 1 dimension -1.
public struct ThreadScope: Hashable, Sendable {
    /// 0 = one a block, 1 = one a thread of a block.
    public let rank: Int
    /// 0, 1, 2 = x, y, z; -1 = a virtual thread.
    public let dimension: Int

    /// The scope of a thread tag, or nil where it is none.
    public static func find(_ tag: String) -> ThreadScope? {
        if isVirtual(tag) { return ThreadScope(rank: 1, dimension: -1) }
        for (prefix, rank) in [("blockIdx.", 0), ("threadIdx.", 1)] where tag.hasPrefix(prefix) {
            switch tag.dropFirst(prefix.count) {
            case "x": return ThreadScope(rank: rank, dimension: 0)
            case "y": return ThreadScope(rank: rank, dimension: 1)
            case "z": return ThreadScope(rank: rank, dimension: 2)
            default: return nil
            }
        }
        return nil
    }

    /// Whether the tag names threads that one thread plays: `vthread`, `vthread.x`, `cthread`.
    public static func isVirtual(_ tag: String) -> Bool {
        tag == "vthread" || tag.hasPrefix("vthread.") || tag == "cthread"
    }
}

extension Buffer {
    /// The memory it lives in, typed; `global` for a text that is none (the verifier reports it).
    public var storageScope: StorageScope { StorageScope.find(scope) ?? StorageScope(.global) }
}
