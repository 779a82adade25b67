import ApusArith
import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// What a schedule checks after each primitive.
public enum DebugLevel: Sendable {
    case none
    /// The function is well formed, names are unique, declared regions cover what is accessed.
    case verify
    /// Also, for small functions, every iteration is enumerated: bindings stay in their domains and reach all of them,
    /// and the facts of `BlockInfo` hold.
    case exhaustive
}

/// Points that an exhaustive check of one block enumerates at most.
private let maxPoints = 4096

extension Schedule {
    /// Checks the schedule's own state against its functions. A failure is a mistake of a primitive.
    ///
    /// Errors: SCH190 a function that is not well formed, SCH191 two blocks of one name, SCH192 a region that does not
    /// cover an access, SCH193 a binding outside its domain, or a domain that is not reached, SCH194 block facts that
    /// do not hold.
    public func verify(exhaustively: Bool = false) throws {
        for f in functions.indices {
            let function = functions[f].function
            do { try verifyWellFormed(function) } catch let e as ApusError {
                throw ApusError(
                    "SCH190", "the function is not well formed: \(e.message)", actual: e.actual,
                    notes: [function.description])
            }
            let index = StmtIndex(function)
            var seen: Set<String> = []
            for i in index.entries.indices {
                guard let r = index.realize(i) else { continue }
                if !seen.insert(r.block.name).inserted {
                    throw ApusError("SCH191", "two blocks are called `\(r.block.name)`", notes: [excerpt(r)])
                }
                try verifyRegions(r, index)
                if exhaustively { try verifyPoints(f, index, i, r) }
            }
        }
    }

    private func verifyRegions(_ r: BlockRealize, _ index: StmtIndex) throws {
        let b = r.block
        if b.iterVars.isEmpty && b.reads.isEmpty && b.writes.isEmpty { return }
        if !isTransparent(b) { return }
        let found = withDetectedRegions(b)
        let arith = index.arith
        func check(_ declared: [BufferRegion], _ found: [BufferRegion], _ what: String) throws {
            for x in found {
                let same = declared.filter { $0.buffer === x.buffer }
                let covered = same.contains { d in
                    zip(zip(d.region, x.region), d.buffer.shape).allSatisfy { pair, n in
                        let (a, e) = pair
                        let lo = arith.canProve(a.min .<= e.min) || (a.min.isZero && sameExpr(a.extent, n))
                        let hi: PrimExpr = (e.min + e.extent) .<= (a.min + a.extent)
                        return lo
                            && (arith.canProve(hi) || arith.canProveDeeply(hi)
                                || (a.min.isZero && sameExpr(a.extent, n)))
                    }
                }
                if !covered {
                    throw ApusError(
                        "SCH192", "block `\(b.name)` \(what) more than it declares", expected: "\(x)",
                        actual: same.map { "\($0)" }.joined(separator: ", "), notes: [excerpt(r)])
                }
            }
        }
        try check(b.reads + (b.initial == nil ? [] : b.writes), found.reads, "reads")
        try check(b.writes, found.writes, "writes")
    }

    // MARK: Enumeration

    /// All values of `loops` within the limit, or nil if there are more, or some that are not constant.
    private func points(_ loops: [For], _ limit: Int = maxPoints) -> [[Var: Int]]? {
        var result: [[Var: Int]] = [[:]]
        for l in loops {
            var next: [[Var: Int]] = []
            for p in result {
                guard let lo = evaluate(l.min, p), let n = evaluate(l.extent, p),
                    next.count + n <= limit
                else { return nil }
                for i in 0..<max(n, 0) {
                    var q = p
                    q[l.loopVar] = lo + i
                    next.append(q)
                }
            }
            result = next
        }
        return result
    }

    /// The values of a block's variables at a point, nil where its predicate does not hold.
    private func values(_ r: BlockRealize, _ p: [Var: Int]) -> (known: Bool, at: [Int]?) {
        guard r.predicate.isTrue || evaluate(r.predicate, p) != nil else { return (false, nil) }
        if !r.predicate.isTrue, evaluate(r.predicate, p) == 0 { return (true, nil) }
        var out: [Int] = []
        for e in r.iterValues {
            guard let v = evaluate(e, p) else { return (false, nil) }
            out.append(v)
        }
        return (true, out)
    }

    private func verifyPoints(_ f: Int, _ index: StmtIndex, _ at: Int, _ r: BlockRealize) throws {
        let loops = index.loopsAbove(at)
        guard !r.block.iterVars.isEmpty, let all = points(loops) else { return }
        var visited: Set<[Int]> = []
        let used = Set(index.movingLoops(at, r).map(\.loopVar))
        var owners: [[Int]: [Int]] = [:]
        var unique = true
        for p in all {
            let (known, v) = values(r, p)
            if !known { return }
            guard let v else { continue }
            for (x, iter) in zip(v, r.block.iterVars) {
                guard let lo = evaluate(iter.dom.min, p), let n = evaluate(iter.dom.extent, p) else { return }
                if x < lo || x >= lo + n {
                    throw ApusError(
                        "SCH193", "block `\(r.block.name)`: \(iter.variable.name) leaves its domain",
                        expected: "\(lo)..<\(lo + n)", actual: "\(x)", notes: [excerpt(r)])
                }
            }
            visited.insert(v)
            let mine = loops.filter { used.contains($0.loopVar) }.map { p[$0.loopVar] ?? 0 }
            if let other = owners[v], other != mine { unique = false }
            owners[v] = mine
        }
        let sizes = r.block.iterVars.map { $0.dom.extent.asInt ?? -1 }
        // A copy may be made of the part that is read only; a result must be computed as a whole.
        let results = r.block.writes.contains { w in
            functions[f].function.bufferMap.contains { $0.buffer === w.buffer }
        }
        if results, !functions[f].partial.contains(r.block.name), sizes.allSatisfy({ $0 >= 0 }),
            index.scope(of: at) <= 0, visited.count != sizes.reduce(1, *)
        {
            throw ApusError(
                "SCH193", "block `\(r.block.name)` does not visit all of its domain",
                expected: "\(sizes.reduce(1, *)) points", actual: "\(visited.count)", notes: [excerpt(r)])
        }
        let info = index.info(at)
        if info.affineBinding, !unique {
            throw ApusError(
                "SCH194", "block `\(r.block.name)` meets a point twice, its binding counts as affine",
                notes: [excerpt(index.function.body)])
        }
        if info.regionCover { try verifyCover(index, at, r) }
    }

    /// Element by element: in each iteration of the loops that a block shares with a writer, what it reads of a buffer
    /// was written in it.
    private func verifyCover(_ index: StmtIndex, _ at: Int, _ r: BlockRealize) throws {
        let mine = index.loopsAbove(at)
        for other in index.blocksBelow(max(index.scope(of: at), 0)) where other != at {
            guard let w = index.realize(other) else { continue }
            for written in w.block.writes {
                guard let read = r.block.reads.first(where: { $0.buffer === written.buffer }) else {
                    continue
                }
                let theirs = index.loopsAbove(other)
                var shared = 0
                while shared < mine.count, shared < theirs.count,
                    mine[shared].loopVar === theirs[shared].loopVar
                {
                    shared += 1
                }
                if shared == 0 { continue }
                guard let writes = elements(w, written, theirs, shared),
                    let reads = elements(r, read, mine, shared)
                else { continue }
                for (key, set) in reads where !set.isSubset(of: writes[key] ?? []) {
                    throw ApusError(
                        "SCH194",
                        "block `\(r.block.name)` reads elements of \(read.buffer.name) that "
                            + "`\(w.block.name)` does not write in the iteration",
                        actual: "iteration \(key)", notes: [excerpt(index.function.body)])
                }
            }
        }
    }

    private func elements(_ r: BlockRealize, _ region: BufferRegion, _ loops: [For], _ shared: Int) -> [[Int]:
        Set<[Int]>]?
    {
        guard let all = points(loops), let shape = region.buffer.staticShape else { return nil }
        var result: [[Int]: Set<[Int]>] = [:]
        for p in all {
            let (known, v) = values(r, p)
            if !known { return nil }
            guard let v else { continue }
            var env = p
            for (x, iter) in zip(v, r.block.iterVars) { env[iter.variable] = x }
            var box: [[Int]] = [[]]
            for (range, n) in zip(region.region, shape) {
                guard let lo = evaluate(range.min, env), let size = evaluate(range.extent, env),
                    box.count * max(size, 1) <= maxPoints
                else { return nil }
                // A box may reach beyond the buffer where the accesses are guarded.
                let from = max(lo, 0)
                let to = min(lo + size, n)
                box = from < to ? box.flatMap { b in (from..<to).map { b + [$0] } } : []
            }
            let key = loops.prefix(shared).map { p[$0.loopVar] ?? 0 }
            result[key, default: []].formUnion(box)
        }
        return result
    }
}
