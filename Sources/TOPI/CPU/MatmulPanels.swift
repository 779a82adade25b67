import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI.Tag {
    /// The right operand of a matrix product, laid out anew at run time in panels of one vector of columns.
    public static let matmulPanels = "matmul_panels"
}

extension TOPI {
    /// The product of two matrices (`a[M, K]`, `b[K, N]`) or of two stacks of them, each transposed on request, with `b`
    /// copied first into panels `[…, N / lanes, K, lanes]`, the last one filled up with zeros: a step of the reduction then
    /// reads whole vectors side by side, whatever N is and however `b` lies in memory.
    ///
    /// The copy reads `b` once and the product reads it for every tile of rows, so that it pays for more rows than a tile
    /// has. Source: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (TOMS 2008), section 4.
    ///
    /// - Throws: TOPI008 where the inner dimensions differ, TOPI020 for dimensions that are not static.
    ///
    /// With `dot`, `a` is words of several narrow elements along K, and `b` is either, or the elements themselves.
    public static func matmulPanels(
        _ a: Tensor, _ b: Tensor, transposeA: Bool, transposeB: Bool, lanes: Int, dot: DotProduct? = nil
    ) throws -> Tensor {
        let rank = a.rank
        try require(rank >= 2 && b.rank == rank, "nn.matmul", "two matrices or two stacks of them are needed")
        guard let left = a.staticShape, let right = b.staticShape else {
            throw ApusError("TOPI020", "panels need static shapes", actual: "\(a), \(b)")
        }
        let inner = left[transposeA ? rank - 2 : rank - 1]
        let depth = right[transposeB ? rank - 1 : rank - 2]
        // Elements of `b` in a step of the reduction.
        let perStep = dot != nil && b.dtype != .uint32 ? dot?.perWord ?? 1 : 1
        guard inner == (depth + perStep - 1) / perStep else {
            throw ApusError(
                "TOPI008", "nn.matmul: the inner dimensions differ", expected: "\(inner)", actual: "\(depth)")
        }
        let rows = left[transposeA ? rank - 1 : rank - 2]
        let columns = right[transposeB ? rank - 2 : rank - 1]
        let batch = try broadcastShape([Array(a.shape.dropLast(2)), Array(b.shape.dropLast(2))])
        let stack: [PrimExpr] = Array(b.shape.dropLast(2))
        let count = (columns + lanes - 1) / lanes
        let panels = try compute(
            stack + [IntImm(count), IntImm(inner), IntImm(lanes)], name: "panels", tag: Tag.matmulPanels
        ) { i in
            let n = i[rank - 2] * lanes + i[rank]
            let stack = Array(i.prefix(rank - 2))
            func element(_ k: PrimExpr) -> PrimExpr { b[stack + (transposeB ? [n, k] : [k, n])] }
            let value = perStep == 1 ? element(i[rank - 1]) : word(i[rank - 1], perStep, of: depth, element)
            return count * lanes == columns ? value : ifThenElse(n .< columns, value, const(0, value.dtype))
        }
        let k = reduceAxis(inner, name: "k")
        let product = try compute(
            batch + [IntImm(rows), IntImm(count * lanes)], name: "matmul_packed", tag: Tag.densePacked
        ) { i in
            var ai: [PrimExpr] = []
            var bi: [PrimExpr] = []
            for d in 0..<(rank - 2) {
                ai.append(left[d] == 1 ? imm(0) : i[d])
                bi.append(right[d] == 1 ? imm(0) : i[d])
            }
            let m = i[rank - 2]
            ai += transposeA ? [k.variable, m] : [m, k.variable]
            bi += [
                floorDivExpr(i[rank - 1], IntImm(lanes)), k.variable,
                floorModExpr(i[rank - 1], IntImm(lanes)),
            ]
            return reduceSum(dot.map { $0(a[ai], panels[bi]) } ?? a[ai] * panels[bi], [k])
        }
        if count * lanes == columns { return product }
        return try compute(batch + [IntImm(rows), IntImm(columns)], name: "matmul", tag: Tag.injective) {
            product[$0]
        }
    }
}
