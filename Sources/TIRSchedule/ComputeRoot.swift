import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

extension LoopRV {
    /// The index of `sampleComputeLocation` that stands for "outside all loops".
    static let rootLocation = -1
    /// The index that stands for "inlined".
    static let inlineLocation = -2
}

extension Schedule {
    /// Moves a block out of all loops of its scope, with loops of its own over its whole domain: after all that
    /// computes what it reads, before all that reads what it writes.
    ///
    /// Errors: SCH062, SCH071, SCH072 as `computeAt`; SCH076 no such place.
    public func computeRoot(_ block: BlockRV) throws {
        try step("computeRoot") {
            let (f, index, at, r) = try locate(block)
            guard index.entries[at].parent >= 0 else {
                throw failure("SCH076", "computeRoot: the root block has no place of its own", r)
            }
            try requireOwnDomain(f, index, at, r, "computeRoot")
            let scope = index.scope(of: at)
            guard let scopeName = index.realize(scope)?.block.name else {
                internalError("computeRoot lost its scope")
            }
            let made = producers(index, at).compactMap { index.realize($0)?.block.name }
            let users = consumers(index, at).compactMap { index.realize($0)?.block.name }
            let rest = StmtIndex(index.replacing(at, with: nil))
            guard let s = rest.blockAt[scopeName], let holder = rest.realize(s) else {
                throw failure("SCH076", "computeRoot: `\(r.block.name)` is alone in its scope", r)
            }
            var stmts: [Stmt] = (holder.block.body as? SeqStmt)?.stmts ?? [holder.block.body]
            // Entries of the statements directly in the scope.
            var starts: [Int] = []
            var i = s + (holder.block.body is SeqStmt ? 2 : 1)
            for _ in stmts {
                starts.append(i)
                i = rest.entries[i].end
            }
            func statement(_ name: String) -> Int? {
                guard let b = rest.blockAt[name] else { return nil }
                return starts.lastIndex { $0 <= b }
            }
            let after = made.compactMap(statement).max()
            let before = users.compactMap(statement).min()
            let place = after.map { $0 + 1 } ?? before ?? 0
            if let before, place > before {
                throw failure(
                    "SCH076",
                    "computeRoot: no statement of the scope lies between what `\(r.block.name)` reads and its readers",
                    r,
                    expected: "producers (\(listed(made))) and readers (\(listed(users))) in different loops")
            }
            // Inside a block that stands for one tile only the tile's part is to be computed.
            var domains: [Var: Interval] = [:]
            if scope > 0 {
                let moving = Relaxation(
                    index.loopsAbove(at), of: r, relevant: r.iterValues, index.arith.copy())
                for (v, e) in zip(r.block.iterVars, r.iterValues) {
                    guard let i = moving.interval(e), i.contiguous, !moving.restricted else {
                        throw failure(
                            "SCH076",
                            "computeRoot: the part of \(v.variable.name) that `\(r.block.name)` computes "
                                + "is not a box", r, expected: "bindings linear in the loops")
                    }
                    domains[v.variable] = i
                }
            }
            stmts.insert(loopNest(r.block, domains, rest.arith.copy()), at: place)
            let function = rest.replacing(
                s,
                with: BlockRealize(
                    holder.iterValues, predicate: holder.predicate,
                    holder.block.with(body: SeqStmt.flat(stmts))))
            let now = StmtIndex(function)
            if let b = now.blockAt[r.block.name] { try checkDependencies(now, b) }
            commit(f, function)
            record("computeRoot", [.block(block.id)])
        }
    }

    // MARK: sampleComputeLocation

    /// A loop under which `computeAt` accepts the block, drawn evenly from all such, "at the root" (the block stays)
    /// and, where `computeInline` accepts it, "inlined". `computeAt(block, result)` does what was drawn. `decision`:
    /// the number of the loop among those around the block's first reader, -1 = root, -2 = inlined.
    ///
    /// Errors: SCH054 a decision that this block does not allow.
    public func sampleComputeLocation(_ block: BlockRV, decision: Int? = nil) throws -> LoopRV {
        try step("sampleComputeLocation") {
            let (f, index, at, r) = try locate(block)
            let options = computeLocations(block)
            var chosen = LoopRV.rootLocation
            if let decision {
                guard options.contains(where: { $0.number == decision }) else {
                    throw failure(
                        "SCH054", "sampleComputeLocation: `\(r.block.name)` cannot be computed there", r,
                        expected: "one of "
                            + listed(
                                options.map { o in o.loop.map { "\(o.number) (\($0.name))" } ?? "\(o.number)"
                                }),
                        actual: "\(decision)")
                }
                chosen = decision
            } else if !options.isEmpty {
                chosen = options[Int(random.next() % UInt64(options.count))].number
            }
            _ = (index, at)
            switch chosen {
            case LoopRV.rootLocation: handles.append(.root(function: f))
            case LoopRV.inlineLocation: handles.append(.inlined(function: f))
            default:
                guard let v = options.first(where: { $0.number == chosen })?.loop else {
                    internalError("a location without a loop")
                }
                handles.append(.loop(function: f, variable: v))
            }
            let result = LoopRV(id: handles.count - 1)
            record(
                "sampleComputeLocation", [.block(block.id)], outputs: [.loop(result.id)], decision: [chosen])
            return result
        }
    }

    /// Where a block may be computed, by trial: inlined, at the root, under loops around its first reader.
    func computeLocations(_ block: BlockRV) -> [(number: Int, loop: Var?)] {
        var result: [(number: Int, loop: Var?)] = []
        func accepts(_ body: (Schedule) throws -> Void) -> Bool {
            let t = trial()
            return (try? body(t)) != nil
        }
        if accepts({ try $0.computeInline(block) }) {
            result.append((number: LoopRV.inlineLocation, loop: nil))
        }
        result.append((number: LoopRV.rootLocation, loop: nil))
        for (i, l) in readerLoops(block).enumerated() {
            let t = trial()
            let rv = t.newLoop(l.function, l.variable)
            if accepts({ s in
                s.handles = t.handles
                try s.computeAt(block, rv)
            }) {
                result.append((number: i, loop: l.variable))
            }
        }
        return result
    }

    /// The loops around the first reader of a block.
    private func readerLoops(_ block: BlockRV) -> [(function: Int, variable: Var)] {
        guard let (f, index, at, _) = try? locate(block), let user = consumers(index, at).first else {
            return []
        }
        return index.loopsAbove(user).map { (function: f, variable: $0.loopVar) }
    }

    /// The names of the loops that `primitive` accepts for a block, for errors.
    func acceptedLoops(_ loops: [Var], _ f: Int, _ primitive: (Schedule, LoopRV) throws -> Void) -> [String] {
        var names: [String] = []
        for v in loops.prefix(64) {
            let t = trial()
            let rv = t.newLoop(f, v)
            if (try? primitive(t, rv)) != nil, !names.contains(v.name) { names.append(v.name) }
        }
        return names
    }

    /// The variables of all loops of a function, in order of the text.
    func loopVariables(_ f: Int) -> [Var] { index(f).entries.compactMap { ($0.stmt as? For)?.loopVar } }
}
