import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// What holds of a block in its place; primitives ask for it, `Schedule.verify` proves it.
public struct BlockInfo: Hashable, Sendable {
    /// Different iterations of the loops give the block's variables different values, each variable by loops of its
    /// own.
    public let affineBinding: Bool
    /// What the block reads was written, completely and before, in the same iteration of the loops that it shares with
    /// the writers.
    public let regionCover: Bool
    /// All blocks directly inside are region covered and are complete or reductions: they form a pipeline of stages.
    public let stagePipeline: Bool

    public init(affineBinding: Bool, regionCover: Bool, stagePipeline: Bool) {
        self.affineBinding = affineBinding
        self.regionCover = regionCover
        self.stagePipeline = stagePipeline
    }
}

/// One block of a scope must come after another.
public struct BlockDependency: Hashable, Sendable, CustomStringConvertible {
    public enum Kind: String, Sendable {
        /// Reads what the first one writes.
        case readAfterWrite = "RAW"
        case writeAfterWrite = "WAW"
        /// Writes what the first one reads.
        case writeAfterRead = "WAR"
    }
    public let source: String
    public let destination: String
    public let kind: Kind
    public let buffer: String

    public var description: String { "\(source) -> \(destination) \(kind.rawValue) \(buffer)" }
}

extension StmtIndex {
    /// The facts about the block at entry `at`, computed once for this state of the function.
    func info(_ at: Int) -> BlockInfo {
        if let known = infoAt[at] { return known }
        guard let r = realize(at) else {
            return BlockInfo(affineBinding: false, regionCover: false, stagePipeline: false)
        }
        let affine = r.block.iterVars.isEmpty || visitsOnce(r, movingLoops(at, r), arith, of: { _ in true })
        var covered = true
        if entries[at].parent >= 0 {
            for other in blocksBelow(max(scope(of: at), 0)) where other != at {
                guard let it = realize(other) else { continue }
                if (try? checkPair(self, writer: other, it, reader: at, r)) == nil { covered = false }
            }
        }
        var pipeline = true
        for child in blocksBelow(at) {
            guard let c = realize(child) else { continue }
            let kinds = c.block.iterVars.map(\.iterType)
            if !kinds.allSatisfy({ $0 == .dataParallel || $0 == .commReduce }) || !info(child).regionCover {
                pipeline = false
            }
        }
        let result = BlockInfo(affineBinding: affine, regionCover: covered, stagePipeline: pipeline)
        infoAt[at] = result
        return result
    }

    /// The loops around a block that its bindings use.
    func movingLoops(_ at: Int, _ r: BlockRealize) -> [For] {
        let used = bindingVariables(r, { _ in true })
        return loopsAbove(at).filter { used.contains($0.loopVar) }
    }

    /// The dependencies among the blocks directly below entry `at`, in order of execution.
    func dependencies(below at: Int) -> [BlockDependency] {
        var result: [BlockDependency] = []
        let blocks = blocksBelow(at).compactMap { realize($0)?.block }
        for (i, a) in blocks.enumerated() {
            for b in blocks[(i + 1)...] {
                func add(_ kind: BlockDependency.Kind, _ x: [BufferRegion], _ y: [BufferRegion]) {
                    for r in x where y.contains(where: { $0.buffer === r.buffer }) {
                        result.append(
                            BlockDependency(
                                source: a.name, destination: b.name, kind: kind, buffer: r.buffer.name))
                    }
                }
                add(.readAfterWrite, a.writes, b.reads)
                add(.writeAfterWrite, a.writes, b.writes)
                add(.writeAfterRead, a.reads, b.writes)
            }
        }
        return result
    }
}

extension Schedule {
    /// What holds of a block as the function stands.
    public func info(_ block: BlockRV) throws -> BlockInfo {
        let (_, index, at, _) = try locate(block)
        return index.info(at)
    }

    /// The dependencies among the blocks directly inside `scope`, in order of execution.
    public func dependencies(in scope: BlockRV) throws -> [BlockDependency] {
        let (_, index, at, _) = try locate(scope)
        return index.dependencies(below: at)
    }
}
