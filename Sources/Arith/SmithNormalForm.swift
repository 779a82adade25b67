/// `u * a * v == s` for an integer matrix `a`: `u` and `v` have integer inverses, `s` is 0 outside its diagonal, and
/// each diagonal entry, not negative, divides the next.
public struct SmithNormalForm: Sendable, Equatable {
    public let u: [[Int]]
    public let s: [[Int]]
    public let v: [[Int]]
    /// The inverse of `v`.
    public let vInverse: [[Int]]
    /// How many diagonal entries are not 0.
    public let rank: Int

    public var diagonal: [Int] { (0..<Swift.min(s.count, s.first?.count ?? 0)).map { s[$0][$0] } }
}

/// The Smith normal form by elementary integer row and column operations (Newman, Integral Matrices, 1972); nil where
/// an entry leaves 64 bits. Rows of `a` must have one length.
public func smithNormalForm(_ a: [[Int]]) -> SmithNormalForm? {
    var m = SmithState(a)
    return m.run()
}

private func identity(_ n: Int) -> [[Int]] {
    (0..<n).map { i in (0..<n).map { $0 == i ? 1 : 0 } }
}

/// `x + k * y`, remembering overflow (then 0, which harms nobody until the end).
private func fused(_ x: Int, _ k: Int, _ y: Int, _ overflow: inout Bool) -> Int {
    let p = k.multipliedReportingOverflow(by: y)
    let s = x.addingReportingOverflow(p.partialValue)
    if p.overflow || s.overflow || s.partialValue == .min {
        overflow = true
        return 0
    }
    return s.partialValue
}

private struct SmithState {
    var s: [[Int]]
    var u: [[Int]]
    var v: [[Int]]
    var vInverse: [[Int]]
    let rows: Int
    let columns: Int
    var overflow = false

    init(_ a: [[Int]]) {
        s = a
        rows = a.count
        columns = a.first?.count ?? 0
        u = identity(rows)
        v = identity(columns)
        vInverse = identity(columns)
    }

    // Row operations act on `u` from the left; column operations on `v` from the right, inverted on `vInverse`.
    private mutating func addRow(_ k: Int, times f: Int, to i: Int) {
        for j in 0..<columns { s[i][j] = fused(s[i][j], f, s[k][j], &overflow) }
        for j in 0..<rows { u[i][j] = fused(u[i][j], f, u[k][j], &overflow) }
    }
    private mutating func addColumn(_ k: Int, times f: Int, to j: Int) {
        for i in 0..<rows { s[i][j] = fused(s[i][j], f, s[i][k], &overflow) }
        for i in 0..<columns { v[i][j] = fused(v[i][j], f, v[i][k], &overflow) }
        for i in 0..<columns { vInverse[k][i] = fused(vInverse[k][i], -f, vInverse[j][i], &overflow) }
    }
    private mutating func swapRows(_ i: Int, _ k: Int) {
        if i == k { return }
        s.swapAt(i, k)
        u.swapAt(i, k)
    }
    private mutating func swapColumns(_ j: Int, _ k: Int) {
        if j == k { return }
        for i in 0..<rows { s[i].swapAt(j, k) }
        for i in 0..<columns { v[i].swapAt(j, k) }
        vInverse.swapAt(j, k)
    }

    mutating func run() -> SmithNormalForm? {
        for r in s where r.contains(.min) { return nil }
        var rank = 0
        for t in 0..<Swift.min(rows, columns) {
            guard clear(t) else {
                if overflow { return nil }
                break
            }
            if s[t][t] < 0 {
                for j in 0..<columns { s[t][j] = -s[t][j] }
                for j in 0..<rows { u[t][j] = -u[t][j] }
            }
            rank = t + 1
        }
        if overflow { return nil }
        // Of the two signs that a row may have, the one whose first entry is positive.
        for t in 0..<rank where u[t].first(where: { $0 != 0 }) ?? 1 < 0 {
            for j in 0..<rows { u[t][j] = -u[t][j] }
            for i in 0..<columns { v[i][t] = -v[i][t] }
            for i in 0..<columns { vInverse[t][i] = -vInverse[t][i] }
        }
        return SmithNormalForm(u: u, s: s, v: v, vInverse: vInverse, rank: rank)
    }

    /// Brings a pivot to (t, t) that divides all below and right of it, and clears its row and column; false if only
    /// zeros are left, or on overflow.
    private mutating func clear(_ t: Int) -> Bool {
        while !overflow {
            // The smallest entry makes the fewest steps.
            var best: (i: Int, j: Int)?
            for i in t..<rows {
                for j in t..<columns where s[i][j] != 0 {
                    if best.map({ abs(s[i][j]) < abs(s[$0.i][$0.j]) }) ?? true { best = (i: i, j: j) }
                }
            }
            guard let p = best else { return false }
            swapRows(t, p.i)
            swapColumns(t, p.j)
            var clean = true
            for i in (t + 1)..<Swift.max(rows, t + 1) where s[i][t] != 0 {
                addRow(t, times: -(s[i][t] / s[t][t]), to: i)
                if s[i][t] != 0 { clean = false }
            }
            for j in (t + 1)..<Swift.max(columns, t + 1) where s[t][j] != 0 {
                addColumn(t, times: -(s[t][j] / s[t][t]), to: j)
                if s[t][j] != 0 { clean = false }
            }
            if !clean { continue }
            // A smaller remainder appears in row t if some entry is not a multiple of the pivot.
            var row: Int?
            search: for i in (t + 1)..<Swift.max(rows, t + 1) {
                for j in (t + 1)..<Swift.max(columns, t + 1) where s[i][j] % s[t][t] != 0 {
                    row = i
                    break search
                }
            }
            guard let row else { return true }
            addRow(row, times: 1, to: t)
        }
        return false
    }
}
