import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// A reduction read off the statements of a block: `buffers[i][indices[i]]` accumulates `values[i]` by `reducer`.
struct MatchedReduction {
    let buffers: [Buffer]
    let indices: [[PrimExpr]]
    let reducer: CommReducer
    let values: [PrimExpr]

    /// From the initialisation and the update of a block; nil where they are not of the form that a reducer makes:
    /// one store a value, each `op(old, value)` or `select(condition, old, value)` in either order.
    init?(initial: Stmt, update: Stmt) {
        var lets: [Var: PrimExpr] = [:]
        guard let stores = MatchedReduction.stores(update, &lets), !stores.isEmpty else { return nil }
        var none: [Var: PrimExpr] = [:]
        guard let starts = MatchedReduction.stores(initial, &none), starts.count == stores.count else {
            return nil
        }
        var lhs: [Var] = []
        var rhs: [Var] = []
        var identity: [PrimExpr] = []
        for (i, s) in stores.enumerated() {
            guard s.value.dtype.isScalar,
                let start = starts.first(where: { $0.buffer === s.buffer }),
                start.indices.count == s.indices.count,
                zip(start.indices, s.indices).allSatisfy({ sameExpr($0, $1) }), isConstant(start.value)
            else { return nil }
            identity.append(start.value)
            lhs.append(Var("x\(i)", dtype: s.buffer.dtype))
            rhs.append(Var("y\(i)", dtype: s.buffer.dtype))
        }
        // The old values become the left side.
        func withOld(_ e: PrimExpr) -> PrimExpr {
            if let load = e as? BufferLoad {
                for (i, s) in stores.enumerated()
                where load.buffer === s.buffer
                    && zip(load.indices, s.indices).allSatisfy({ sameExpr($0, $1) })
                {
                    return lhs[i]
                }
            }
            return mapChildren(of: e) { withOld($0) }
        }
        let updates = stores.map { withOld(substitute($0.value, lets)) }
        let old = Set(lhs)
        var values: [PrimExpr] = []
        for (i, e) in updates.enumerated() {
            guard let x = MatchedReduction.operand(e, lhs[i]), !uses(x, old) else { return nil }
            values.append(x)
        }
        // The new values become the right side, wherever they occur.
        func withNew(_ e: PrimExpr) -> PrimExpr {
            for (i, x) in values.enumerated() where sameExpr(e, x) { return rhs[i] }
            return mapChildren(of: e) { withNew($0) }
        }
        var results: [PrimExpr] = []
        let known = Set(lhs + rhs)
        for (i, e) in updates.enumerated() {
            // Where the new value is a constant it must not stand for that constant elsewhere.
            let r =
                values.contains(where: { isConstant($0) })
                ? MatchedReduction.replaced(e, lhs[i], rhs[i]) : withNew(e)
            guard let r else { return nil }
            var open = false
            postOrderVisit(r) { x in
                if let v = x as? Var, !known.contains(v) { open = true }
                if x.kind == .bufferLoad { open = true }
            }
            if open { return nil }
            results.append(r)
        }
        buffers = stores.map(\.buffer)
        indices = stores.map(\.indices)
        reducer = CommReducer(lhs: lhs, rhs: rhs, result: results, identity: identity)
        self.values = values
    }

    private static func stores(_ s: Stmt, _ lets: inout [Var: PrimExpr]) -> [BufferStore]? {
        switch s.stmtKind {
        case .bufferStore: return [unsafeDowncast(s, to: BufferStore.self)]
        case .seq:
            var list: [BufferStore] = []
            for c in unsafeDowncast(s, to: SeqStmt.self).stmts {
                guard let part = stores(c, &lets) else { return nil }
                list += part
            }
            return list
        case .letStmt:
            let l = unsafeDowncast(s, to: LetStmt.self)
            lets[l.variable] = substitute(l.value, lets)
            return stores(l.body, &lets)
        default: return nil
        }
    }

    /// The other side of `e`, which takes `old` or combines it.
    private static func operand(_ e: PrimExpr, _ old: Var) -> PrimExpr? {
        switch e.kind {
        case .add, .mul, .min, .max, .and, .or:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            return b.a === old ? b.b : b.b === old ? b.a : nil
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            return s.trueValue === old ? s.falseValue : s.falseValue === old ? s.trueValue : nil
        case .call:
            let c = unsafeDowncast(e, to: Call.self)
            if c.name == "tir.if_then_else" {
                return c.args[1] === old ? c.args[2] : c.args[2] === old ? c.args[1] : nil
            }
            guard ["tir.bitwise_and", "tir.bitwise_or", "tir.bitwise_xor"].contains(c.name) else {
                return nil
            }
            return c.args[0] === old ? c.args[1] : c.args[1] === old ? c.args[0] : nil
        default: return nil
        }
    }

    /// `op(old, value)` with the value as a variable, for a single operation.
    private static func replaced(_ e: PrimExpr, _ old: Var, _ new: Var) -> PrimExpr? {
        guard let b = e as? BinaryExpr else { return nil }
        return BinaryExpr.raw(e.kind, b.a === old ? old : new, b.b === old ? old : new)
    }
}

private func isConstant(_ e: PrimExpr) -> Bool { e.kind == .intImm || e.kind == .floatImm }
