import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// The order of the accumulator updates of a register tile.
///
/// An unrolled tile is a run of `acc[c] = acc[c] + x * y` with constant, disjoint places. LLVM loads each distinct
/// `x` and `y` once and keeps it as long as it is needed, and it keeps the order given; so where the values that are
/// many (the broadcast rows of a matrix) are each used in several places far apart, all of them are alive at once
/// and the accumulators spill. Updates that share the more numerous operand are therefore put side by side; then
/// only the less numerous one stays alive. The updates do not depend on each other: nothing else changes.
package enum UpdateOrder {
    /// `stmts` with such runs put in order. `isOwn`: whether a buffer is memory of this function, which nothing else
    /// in the run can name.
    package static func arranged(_ stmts: [Stmt], isOwn: (Buffer) -> Bool) -> [Stmt] {
        guard stmts.count >= 4 else { return stmts }
        var result: [Stmt] = []
        result.reserveCapacity(stmts.count)
        var run: [Update] = []
        func flush() {
            result.append(contentsOf: run.count >= 4 ? grouped(run) : run.map { $0.stmt })
            run = []
        }
        for s in stmts {
            guard let u = Update(s), isOwn(u.stmt.buffer) else {
                flush()
                result.append(s)
                continue
            }
            if let first = run.first,
                first.stmt.buffer !== u.stmt.buffer || first.lanes != u.lanes
                    || run.contains(where: { $0.place == u.place })
            {
                flush()
            }
            run.append(u)
        }
        flush()
        return result
    }

    private static func grouped(_ run: [Update]) -> [Stmt] {
        let xs = run.map { structuralHash($0.x) }
        let ys = run.map { structuralHash($0.y) }
        let (nx, ny) = (Set(xs).count, Set(ys).count)
        guard nx != ny else { return run.map { $0.stmt } }
        let keys = nx > ny ? xs : ys
        var order = Array(run.indices)
        // By first occurrence of the key, then as given.
        let rank = run.indices.map { i in keys.firstIndex(of: keys[i]) ?? i }
        order.sort { (rank[$0], $0) < (rank[$1], $1) }
        return order.map { run[$0].stmt }
    }

    /// `acc[place] = acc[place] + x * y`
    private struct Update {
        let stmt: BufferStore
        let place: Int
        let lanes: Int
        let x: PrimExpr
        let y: PrimExpr

        init?(_ s: Stmt) {
            guard s.stmtKind == .bufferStore, let store = s as? BufferStore, store.indices.count == 1,
                let (place, lanes) = Update.constantPlace(store.indices[0]), let sum = store.value as? Add
            else { return nil }
            let load: BufferLoad
            let product: Mul
            if let l = sum.a as? BufferLoad, let m = sum.b as? Mul {
                (load, product) = (l, m)
            } else if let l = sum.b as? BufferLoad, let m = sum.a as? Mul {
                (load, product) = (l, m)
            } else {
                return nil
            }
            guard load.buffer === store.buffer, load.indices.count == 1,
                let (from, width) = Update.constantPlace(load.indices[0]), from == place, width == lanes,
                !Update.reads(product, store.buffer)
            else { return nil }
            stmt = store
            self.place = place
            self.lanes = lanes
            x = product.a
            y = product.b
        }

        /// A constant, or a constant ramp whose base is a multiple of its lanes: places of equal width are then the
        /// same or disjoint.
        private static func constantPlace(_ e: PrimExpr) -> (Int, Int)? {
            if let n = e.asInt { return (n, 1) }
            guard let r = e as? Ramp, let base = r.base.asInt, r.stride.asInt == 1, base % r.lanes == 0 else {
                return nil
            }
            return (base, r.lanes)
        }

        private static func reads(_ e: PrimExpr, _ b: Buffer) -> Bool {
            if let load = e as? BufferLoad, load.buffer.data === b.data { return true }
            if e.kind == .call { return true }
            var found = false
            forEachChild(of: e) { if !found { found = reads($0, b) } }
            return found
        }
    }
}
