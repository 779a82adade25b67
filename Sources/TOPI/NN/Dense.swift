import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    private static func checkInner(_ a: PrimExpr, _ b: PrimExpr, _ op: String) throws {
        if let x = a.asInt, let y = b.asInt, x != y {
            throw ApusError(
                "TOPI008", "\(op): the inner dimensions differ", expected: "\(x)", actual: "\(y)")
        }
    }

    /// `data[…, K]` times the transpose of `weight[N, K]`.
    public static func dense(_ data: Tensor, _ weight: Tensor, outDType: DataType? = nil) throws -> Tensor {
        try require(
            data.rank >= 1 && weight.rank == 2, "nn.dense", "data[…, K] and weight[N, K] are needed")
        try checkInner(data.shape[data.rank - 1], weight.shape[1], "nn.dense")
        return try product(data, weight.shape[0], "dense", outDType) { n, k in weight[n, k] }
    }

    /// `data[…, K]` times a weight packed as `[N / B][K][B]`, B being the vector's width; `units` = N where
    /// the last block is padded.
    ///
    /// With `dot`, elements are words of several narrow ones along K.
    public static func densePack(
        _ data: Tensor, _ weight: Tensor, units: Int? = nil, outDType: DataType? = nil, dot: DotProduct? = nil
    ) throws -> Tensor {
        try require(
            data.rank >= 1 && weight.rank == 3, "nn.contrib_dense_pack",
            "data[…, K] and weight[N/B][K][B] are needed")
        try checkInner(data.shape[data.rank - 1], weight.shape[1], "nn.contrib_dense_pack")
        let block = weight.shape[2]
        let n = units.map { imm($0) } ?? weight.shape[0] * block
        return try product(data, n, "dense_packed", outDType, dot) { n, k in
            weight[floorDivExpr(n, block), k, floorModExpr(n, block)]
        }
    }

    private static func product(
        _ data: Tensor, _ n: PrimExpr, _ tag: String, _ outDType: DataType?, _ dot: DotProduct? = nil,
        _ weight: (PrimExpr, PrimExpr) -> PrimExpr
    ) throws -> Tensor {
        let outType = dot?.sumType ?? outDType ?? data.dtype
        let sumType = accumulator(of: outType)
        let k = reduceAxis(data.shape[data.rank - 1], name: "k")
        let result = try compute(Array(data.shape.dropLast()) + [n], name: tag, tag: tag) { i in
            let x = data[Array(i.dropLast()) + [k.variable as PrimExpr]]
            if let dot { return reduceSum(dot(x, weight(i[i.count - 1], k.variable)), [k]) }
            return reduceSum(asType(sumType, x) * asType(sumType, weight(i[i.count - 1], k.variable)), [k])
        }
        return sumType == outType ? result : try cast(result, outType)
    }

    /// The product of two matrices, each transposed on request.
    public static func matmul(
        _ a: Tensor, _ b: Tensor, transposeA: Bool = false, transposeB: Bool = false,
        outDType: DataType? = nil
    ) throws -> Tensor {
        try require(a.rank == 2 && b.rank == 2, "nn.matmul", "two matrices are needed")
        return try matrixProduct(
            a, b, transposeA, transposeB, outDType, name: transposeB && !transposeA ? "dense" : "matmul",
            "nn.matmul")
    }

    /// The products of two stacks of matrices, each transposed on request; a stack of one is used for all.
    public static func batchMatmul(
        _ a: Tensor, _ b: Tensor, transposeA: Bool = false, transposeB: Bool = false,
        outDType: DataType? = nil
    ) throws -> Tensor {
        try require(a.rank == 3 && b.rank == 3, "nn.batch_matmul", "two stacks of matrices are needed")
        return try matrixProduct(
            a, b, transposeA, transposeB, outDType, name: "batch_matmul", "nn.batch_matmul")
    }

    private static func matrixProduct(
        _ a: Tensor, _ b: Tensor, _ transposeA: Bool, _ transposeB: Bool, _ outDType: DataType?, name: String,
        _ op: String
    ) throws -> Tensor {
        let r = a.rank
        let inner = a.shape[transposeA ? r - 2 : r - 1]
        try checkInner(inner, b.shape[transposeB ? r - 1 : r - 2], op)
        let batch = try broadcastShape([Array(a.shape.dropLast(2)), Array(b.shape.dropLast(2))])
        let shape = batch + [a.shape[transposeA ? r - 1 : r - 2], b.shape[transposeB ? r - 2 : r - 1]]
        let outType = outDType ?? a.dtype
        let sumType = accumulator(of: outType)
        let k = reduceAxis(inner, name: "k")
        let attrs = Attrs([
            (key: "transpose_a", value: .bool(transposeA)), (key: "transpose_b", value: .bool(transposeB)),
        ])
        let result = try compute(shape, name: name, tag: name, attrs: attrs) { i in
            let row = i[r - 2]
            let column = i[r - 1]
            var ai: [PrimExpr] = []
            var bi: [PrimExpr] = []
            for d in 0..<batch.count {
                ai.append(a.shape[d].asInt == 1 ? imm(0) : i[d])
                bi.append(b.shape[d].asInt == 1 ? imm(0) : i[d])
            }
            let v: PrimExpr = k.variable
            ai.append(contentsOf: transposeA ? [v, row] : [row, v])
            bi.append(contentsOf: transposeB ? [column, v] : [v, column])
            return reduceSum(asType(sumType, a[ai]) * asType(sumType, b[bi]), [k])
        }
        return sumType == outType ? result : try cast(result, outType)
    }

    /// `data` plus `bias[C]` along `axis`.
    public static func biasAdd(_ data: Tensor, _ bias: Tensor, axis: Int = 1) throws -> Tensor {
        let a = try normalized(axis, rank: data.rank, "nn.bias_add")
        try require(bias.rank == 1, "nn.bias_add", "a bias of one axis is needed")
        try checkInner(data.shape[a], bias.shape[0], "nn.bias_add")
        return try compute(data.shape, name: "bias_add", tag: Tag.broadcast) { data[$0] + bias[$0[a]] }
    }
}
