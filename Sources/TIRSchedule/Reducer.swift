import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// The reductions that a schedule recognises in a block's body, and so can split (`rfactor`).
public enum Reducers {
    /// Makes a combination for the given element types, or nil where it has none.
    public typealias Maker = @Sendable ([DataType]) -> CommReducer?

    private static let registered = Locked<[(name: String, make: Maker)]>(standard)

    /// Makes a reduction known under a name; the later of one name counts. It must be associative and commutative.
    public static func register(_ name: String, _ make: @escaping Maker) {
        registered.with { list in
            list.removeAll { $0.name == name }
            list.append((name: name, make: make))
        }
    }

    /// Makes one combination known, for its own element types.
    public static func register(_ name: String, _ reducer: CommReducer) {
        let types = reducer.lhs.map(\.dtype)
        register(name) { $0 == types ? reducer : nil }
    }

    /// The names known, in order of registration.
    public static var names: [String] { registered.with { $0.map(\.name) } }

    static func all(_ types: [DataType]) -> [CommReducer] {
        registered.with { $0 }.compactMap { $0.make(types) }
    }

    private static func single(
        _ name: String, _ identity: @escaping @Sendable (DataType) -> PrimExpr,
        _ f: @escaping @Sendable (PrimExpr, PrimExpr) -> PrimExpr
    ) -> (name: String, make: Maker) {
        (
            name: name,
            make: { types in
                guard types.count == 1, (name == "all" || name == "any") == types[0].isBool else {
                    return nil
                }
                let (x, y) = (Var("x", dtype: types[0]), Var("y", dtype: types[0]))
                return CommReducer(lhs: [x], rhs: [y], result: [f(x, y)], identity: [identity(types[0])])
            }
        )
    }

    /// How equal values are told apart.
    private enum Ties { case keepLeft, less, lessOrEqual }

    /// Pairs (place, value): the greater (least) value with its place.
    private static func argument(_ name: String, greater: Bool, _ ties: Ties) -> (name: String, make: Maker) {
        (
            name: name,
            make: { types in
                guard types.count == 2, types[0].isInt else { return nil }
                let (i, x) = (Var("i", dtype: types[0]), Var("x", dtype: types[1]))
                let (j, y) = (Var("j", dtype: types[0]), Var("y", dtype: types[1]))
                let strictly = binary(greater ? .gt : .lt, x, y)
                let better: PrimExpr
                switch ties {
                case .keepLeft: better = binary(greater ? .ge : .le, x, y)
                case .less: better = or(strictly, and(x .== y, i .< j))
                case .lessOrEqual: better = or(strictly, and(x .== y, i .<= j))
                }
                // Of equal values the least place wins: the greatest is neutral.
                return CommReducer(
                    lhs: [i, x], rhs: [j, y], result: [select(better, i, j), select(better, x, y)],
                    identity: [maxValue(types[0]), greater ? minValue(types[1]) : maxValue(types[1])])
            }
        )
    }

    private static let standard: [(name: String, make: Maker)] = [
        single("sum", { const(0, $0) }, { $0 + $1 }), single("prod", { const(1, $0) }, { $0 * $1 }),
        single("min", { maxValue($0) }, { minimum($0, $1) }),
        single("max", { minValue($0) }, { maximum($0, $1) }),
        // Where a NaN need not win: one instruction.
        single("max.ordered", { minValue($0) }, { select($0 .> $1, $0, $1) }),
        single("all", { _ in trueExpr }, { and($0, $1) }), single("any", { _ in falseExpr }, { or($0, $1) }),
        argument("argmax", greater: true, .keepLeft), argument("argmin", greater: false, .keepLeft),
        argument("argmax.first", greater: true, .less), argument("argmin.first", greater: false, .less),
        argument("te.argmax", greater: true, .lessOrEqual),
        argument("te.argmin", greater: false, .lessOrEqual),
    ]
}

/// A block's body read as a reduction: outputs, their common indices, where it starts, what is combined.
struct ReductionForm {
    let outputs: [Buffer]
    let indices: [PrimExpr]
    let initial: [PrimExpr]
    let reducer: CommReducer
    /// The values that are combined with what was there, one an output.
    let sources: [PrimExpr]

    /// Reads a block of the form that TE makes: stores of an init; stores of combined values, possibly through `let`s
    /// and under a condition. nil for another form.
    init?(_ block: Block) {
        guard let start = block.initial else { return nil }
        func stores(_ s: Stmt) -> [BufferStore]? {
            if let one = s as? BufferStore { return [one] }
            guard let seq = s as? SeqStmt else { return nil }
            let list = seq.stmts.compactMap { $0 as? BufferStore }
            return list.count == seq.stmts.count && !list.isEmpty ? list : nil
        }
        guard let first = stores(start) else { return nil }
        var body = block.body
        var condition: PrimExpr?
        if let i = body as? IfThenElse {
            guard i.elseCase == nil else { return nil }
            condition = i.condition
            body = i.thenCase
        }
        var lets: [Var: PrimExpr] = [:]
        while let l = body as? LetStmt {
            lets[l.variable] = substitute(l.value, lets)
            body = l.body
        }
        guard let updates = stores(body), updates.count == first.count else { return nil }
        indices = first[0].indices
        outputs = first.map(\.buffer)
        initial = first.map(\.value)
        var values: [PrimExpr] = []
        for (i, u) in updates.enumerated() {
            guard u.buffer === outputs[i], sameExprs(u.indices, indices),
                sameExprs(first[i].indices, indices),
                !outputs.prefix(i).contains(where: { $0 === u.buffer })
            else { return nil }
            values.append(substitute(u.value, lets))
        }
        // Several plain stores in a row would read what the ones before have written.
        if updates.count > 1, lets.isEmpty { return nil }
        let old = outputs.map { BufferLoad($0, first[0].indices) as PrimExpr }
        for r in Reducers.all(outputs.map(\.dtype)) {
            var lhs: [Var: PrimExpr] = [:]
            for (v, e) in zip(r.lhs, old) { lhs[v] = e }
            var found: [Var: PrimExpr] = [:]
            let fits = zip(r.result, values).allSatisfy {
                ReductionForm.match($0, $1, lhs, Set(r.rhs), &found)
            }
            // A sum may also be written with its sides swapped.
            var swapped: [Var: PrimExpr] = [:]
            let other =
                !fits && r.lhs.count == 1 && (r.result[0] is BinaryExpr)
                && ReductionForm.matchSwapped(r.result[0], values[0], lhs, Set(r.rhs), &swapped)
            let map = fits ? found : swapped
            guard fits || other, r.rhs.allSatisfy({ map[$0] != nil }) else { continue }
            let sources = r.rhs.map { map[$0] ?? const(0, $0.dtype) }
            // What is combined must not depend on what was there.
            let outs = outputs
            var clean = true
            for s in sources {
                postOrderVisit(s) { x in
                    if let l = x as? BufferLoad, outs.contains(where: { $0 === l.buffer }) { clean = false }
                }
            }
            if !clean { continue }
            reducer = r
            self.sources =
                condition.map { c in
                    zip(sources, r.identity).map { ifThenElse(c, $0, $1) }
                } ?? sources
            if let c = condition {
                var reads = false
                postOrderVisit(c) { x in
                    if let l = x as? BufferLoad, outs.contains(where: { $0 === l.buffer }) { reads = true }
                }
                if reads { return nil }
            }
            return
        }
        return nil
    }

    private static func matchSwapped(
        _ p: PrimExpr, _ e: PrimExpr, _ lhs: [Var: PrimExpr], _ rhs: Set<Var>, _ found: inout [Var: PrimExpr]
    ) -> Bool {
        guard let a = p as? BinaryExpr, let b = e as? BinaryExpr, a.kind == b.kind else { return false }
        return match(a.a, b.b, lhs, rhs, &found) && match(a.b, b.a, lhs, rhs, &found)
    }

    /// Whether `e` is `p` with `lhs` put in and the variables `rhs` standing for something.
    private static func match(
        _ p: PrimExpr, _ e: PrimExpr, _ lhs: [Var: PrimExpr], _ rhs: Set<Var>, _ found: inout [Var: PrimExpr]
    ) -> Bool {
        if let v = p as? Var {
            if let known = lhs[v] { return sameExpr(known, e) }
            if rhs.contains(v) {
                if let known = found[v] { return sameExpr(known, e) }
                guard v.dtype == e.dtype else { return false }
                found[v] = e
                return true
            }
            return p === e
        }
        guard p.kind == e.kind, p.dtype == e.dtype else { return false }
        if case .call = p.kind, (p as? Call)?.op !== (e as? Call)?.op { return false }
        var children: [PrimExpr] = []
        forEachChild(of: p) { children.append($0) }
        var others: [PrimExpr] = []
        forEachChild(of: e) { others.append($0) }
        if children.isEmpty { return others.isEmpty && sameExpr(p, e) }
        guard children.count == others.count else { return false }
        for (a, b) in zip(children, others) where !match(a, b, lhs, rhs, &found) { return false }
        if let a = p as? BufferLoad, let b = e as? BufferLoad, a.buffer !== b.buffer { return false }
        return true
    }
}

extension Schedule {
    /// Makes a reduction known to `rfactor`: see `Reducers.register`.
    public static func registerReducer(_ name: String, _ reducer: CommReducer) {
        Reducers.register(name, reducer)
    }
}
