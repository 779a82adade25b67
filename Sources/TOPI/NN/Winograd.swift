import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI.Tag {
    /// The weight of a convolution, transformed along its columns.
    public static let winogradWeightColumns = "winograd_weight_columns"
    /// The weight, transformed.
    public static let winogradWeight = "winograd_weight"
    // The stages of a convolution by Winograd's method, first to last.
    /// Tiles of the data, transformed along their columns.
    public static let winogradRows = "winograd_rows"
    /// Tiles of the data, transformed.
    public static let winogradData = "winograd_data"
    /// The sum over channels: one matrix product for each element of a transformed tile.
    public static let winogradProduct = "winograd_product"
    /// The products in memory.
    public static let winogradProducts = "winograd_products"
    /// Tiles of the result, transformed back along their columns.
    public static let winogradColumns = "winograd_columns"
    /// The result.
    public static let winogradResult = "winograd_result"
}

/// The three matrices of Winograd's minimal filtering F(m, r): `y = A^T [(G g) * (B^T d)]` gives `m` results of a filter `g`
/// of `r` taps on `m + r - 1` data `d` with as many multiplications.
///
/// The construction is Toom and Cook's, transposed: interpolation at the points 0, 1, -1, 2, -2, 1/2, -1/2, … and infinity.
/// Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016).
public struct WinogradMatrices: Sendable {
    public let tile: Int
    public let taps: Int
    /// Data in a tile: `tile + taps - 1`.
    public var points: Int { tile + taps - 1 }
    /// `A^T`: `tile` rows of `points`.
    public let result: [[Double]]
    /// `G`: `points` rows of `taps`.
    public let weight: [[Double]]
    /// `B^T`: `points` rows of `points`.
    public let data: [[Double]]

    /// TOPI031 outside of 1...6 results and 2...5 taps, for which float32 is too coarse.
    public init(tile: Int, taps: Int) throws {
        guard (1...6).contains(tile), (2...5).contains(taps), tile + taps - 1 <= 8 else {
            throw ApusError(
                "TOPI031", "no transformation of these sizes",
                expected: "1 to 6 results, 2 to 5 taps, at most 8 together",
                actual: "\(tile), \(taps)")
        }
        self.tile = tile
        self.taps = taps
        let finite = Array([0, 1, -1, 2, -2, 0.5, -0.5].prefix(tile + taps - 2))
        let n = finite.count + 1
        /// The coefficients of the product of (x - p), lowest first.
        func product(_ points: [Double]) -> [Double] {
            var c: [Double] = [1]
            for p in points {
                var next = [Double](repeating: 0, count: c.count + 1)
                for (i, v) in c.enumerated() {
                    next[i] -= p * v
                    next[i + 1] += v
                }
                c = next
            }
            return c
        }
        func power(_ x: Double, _ k: Int) -> Double { (0..<k).reduce(1) { v, _ in v * x } }
        var result = (0..<tile).map { i in finite.map { power($0, i) } + [0] }
        result[tile - 1][n - 1] = 1
        var weight: [[Double]] = []
        var data: [[Double]] = []
        for (j, p) in finite.enumerated() {
            let others = finite.enumerated().filter { $0.offset != j }.map(\.element)
            let scale = others.reduce(1) { $0 * (p - $1) }
            weight.append((0..<taps).map { power(p, $0) / scale })
            data.append(product(others) + [0])
        }
        weight.append((0..<taps).map { $0 == taps - 1 ? 1 : 0 })
        data.append(product(finite))
        self.result = result
        self.weight = weight
        self.data = data
    }
}

extension TOPI {
    /// The weight `[O][I][3][3]` as Winograd's method multiplies by it: `[a][a][O][I]` with `a = tile + 2`, `G g G^T`.
    ///
    /// - Parameter block: outputs in a panel; the result is `[a][a][O/block][I][block]` then. 0: no panels.
    public static func conv2dWinogradWeightTransform(_ weight: Tensor, tile: Int, block: Int = 0) throws
        -> Tensor
    {
        guard let shape = weight.staticShape, shape.count == 4, shape[2] == shape[3], block >= 0,
            block == 0 || shape[0] % block == 0
        else {
            throw ApusError(
                "TOPI020", "a square window of static shape is needed, its outputs whole panels",
                actual: "\(weight), panels of \(block)")
        }
        let m = try WinogradMatrices(tile: tile, taps: shape[2])
        let a = m.points
        let inner = block == 0 ? [] : [imm(block)]
        let outputs = block == 0 ? weight.shape[0] : imm(shape[0] / block)
        func output(_ panel: PrimExpr, _ lane: [PrimExpr]) -> PrimExpr {
            lane.first.map { panel * block + $0 } ?? panel
        }
        let columns = try compute(
            [outputs, weight.shape[1], imm(a), imm(m.taps)] + inner, name: "winograd_weight_columns",
            tag: Tag.winogradWeightColumns
        ) { i in
            let column = (0..<m.taps).map { weight[output(i[0], Array(i.dropFirst(4))), i[1], imm($0), i[3]] }
            return choice(i[2], m.weight.map { combination($0, column, weight.dtype) })
        }
        return try compute(
            [imm(a), imm(a), outputs, weight.shape[1]] + inner, name: "winograd_weight",
            tag: Tag.winogradWeight
        ) { i in
            let row = (0..<m.taps).map { columns[[i[2], i[3], i[0], imm($0)] + i.dropFirst(4)] }
            return choice(i[1], m.weight.map { combination($0, row, weight.dtype) })
        }
    }

    /// 2-d convolution with a window of 3 x 3 and stride 1 by Winograd's method, channels in blocks.
    ///
    /// - Parameters:
    ///   - data: `[N][C/c][H][W][c]`.
    ///   - weight: the transformed weight in panels, `[a][a][O/o][C][o]`.
    ///   - tile: results on a side of a tile.
    ///   - padding: top, left, bottom, right.
    ///   - chunk: how many tiles, of all images in one row, are to be computed together (`WinogradPlan`); nil: all. Where it
    ///     does not divide them, the row is filled up with copies of the last tile, whose results nobody reads.
    /// - Returns: `[N][O/o][OH][OW][o]`.
    public static func conv2dWinogradNCHWc(
        _ data: Tensor, _ weight: Tensor, tile: Int, padding: [Int], chunk: Int? = nil
    ) throws -> Tensor {
        guard let x = data.staticShape, x.count == 5, let w = weight.staticShape, w.count == 5 else {
            throw ApusError(
                "TOPI020", "static shapes of blocked operands are needed", actual: "\(data), \(weight)")
        }
        let matrices = try WinogradMatrices(tile: tile, taps: w[0] - tile + 1)
        let (m, a) = (tile, matrices.points)
        let taps = matrices.taps
        let height = x[2] + padding[0] + padding[2] - taps + 1
        let width = x[3] + padding[1] + padding[3] - taps + 1
        let down = (height + m - 1) / m
        let across = (width + m - 1) / m
        let lanes = x[4]
        let dtype = data.dtype
        // Zeros around, and behind as far as the last tiles reach.
        let padded: Tensor
        if padding.allSatisfy({ $0 == 0 }) && height % m == 0 && width % m == 0 {
            padded = data
        } else {
            let shape = [
                data.shape[0], data.shape[1], imm(down * m + taps - 1), imm(across * m + taps - 1),
                imm(lanes),
            ]
            padded = try compute(shape, name: "data_pad", tag: Tag.pad) { i in
                let (y, z) = (i[2] - padding[0], i[3] - padding[1])
                let inside = [y .>= 0, y .< x[2], z .>= 0, z .< x[3]]
                return ifThenElse(conjunction(inside), data[i[0], i[1], y, z, i[4]], const(0, dtype))
            }
        }
        let tiles = x[0] * down * across
        let together = max(1, chunk ?? tiles)
        let count = (tiles + together - 1) / together * together
        let rows = try compute(
            [imm(count), data.shape[1], imm(a), imm(a), imm(lanes)], name: "data_rows",
            tag: Tag.winogradRows
        ) { i in
            let at = count == tiles ? i[0] : ApusTIR.minimum(i[0], imm(tiles - 1))
            let line = floorDivExpr(at, imm(across))
            let image = x[0] == 1 ? imm(0) : floorDivExpr(at, imm(down * across))
            let y = (x[0] == 1 ? line : floorModExpr(line, imm(down))) * m
            let z = floorModExpr(at, imm(across)) * m + i[3]
            let column = (0..<a).map { padded[image, i[1], y + $0, z, i[4]] }
            return choice(i[2], matrices.data.map { combination($0, column, dtype) })
        }
        let transformed = try compute(
            [imm(a), imm(a), imm(count), data.shape[1], imm(lanes)], name: "data_tiles",
            tag: Tag.winogradData
        ) { i in
            let row = (0..<a).map { rows[i[2], i[3], i[0], imm($0), i[4]] }
            return choice(i[1], matrices.data.map { combination($0, row, dtype) })
        }
        let icc = reduceAxis(x[1], name: "icc")
        let ici = reduceAxis(lanes, name: "ici")
        let shape = [imm(a), imm(a), imm(count), weight.shape[2], weight.shape[4]]
        let cut = Attrs([winogradChunk: .int(together)])
        let product = try compute(shape, name: "product", tag: Tag.winogradProduct, attrs: cut) { i in
            reduceSum(
                transformed[i[0], i[1], i[2], icc.variable, ici.variable]
                    * weight[i[0], i[1], i[3], icc.variable * lanes + ici.variable, i[4]], [icc, ici])
        }
        let products = try compute(shape, name: "products", tag: Tag.winogradProducts) { product[$0] }
        let columns = try compute(
            [imm(count), weight.shape[2], imm(m), imm(a), weight.shape[4]], name: "result_columns",
            tag: Tag.winogradColumns
        ) { i in
            let column = (0..<a).map { products[imm($0), i[3], i[0], i[1], i[4]] }
            return choice(i[2], matrices.result.map { combination($0, column, dtype, pairs: true) })
        }
        return try compute(
            [data.shape[0], weight.shape[2], imm(height), imm(width), weight.shape[4]], name: "conv",
            tag: Tag.winogradResult
        ) { i in
            let line = floorDivExpr(i[2], imm(m))
            let at = (x[0] == 1 ? line : i[0] * down + line) * across + floorDivExpr(i[3], imm(m))
            let row = (0..<a).map { columns[at, i[1], floorModExpr(i[2], imm(m)), imm($0), i[4]] }
            return choice(
                floorModExpr(i[3], imm(m)), matrices.result.map { combination($0, row, dtype, pairs: true) })
        }
    }

    /// Annotation of the product: how many tiles are computed together.
    static let winogradChunk = "winograd_chunk"

    /// `values[index]`: unrolling leaves one of them.
    private static func choice(_ index: PrimExpr, _ values: [PrimExpr]) -> PrimExpr {
        var result = values[values.count - 1]
        for (n, v) in values.enumerated().dropLast().reversed() { result = Select(index .== n, v, result) }
        return result
    }

    /// A sum with constant coefficients, written such that rows of a matrix for the points p and -p have their parts in
    /// common: those at even and at odd positions (`pairs` false), or sums and differences of neighbours behind the first.
    private static func combination(
        _ coefficients: [Double], _ values: [PrimExpr], _ dtype: DataType, pairs: Bool = false
    ) -> PrimExpr {
        func times(_ c: Double, _ v: PrimExpr) -> PrimExpr { c == 1 ? v : v * const(c, dtype) }
        /// The sum of what is there, its first coefficient positive, and the sign taken out.
        func part(_ at: [Int]) -> (PrimExpr, Double)? {
            let used = at.filter { coefficients[$0] != 0 }
            guard let first = used.first else { return nil }
            let sign: Double = coefficients[first] < 0 ? -1 : 1
            var e = times(coefficients[first] * sign, values[first])
            for n in used.dropFirst() {
                let c = coefficients[n] * sign
                e = c < 0 ? e - times(-c, values[n]) : e + times(c, values[n])
            }
            return (e, sign)
        }
        var parts: [(PrimExpr, Double)] = []
        if pairs {
            parts += [part([0])].compactMap { $0 }
            var n = 1
            while n + 1 < values.count - 1 {
                let (x, y) = (coefficients[n], coefficients[n + 1])
                if Swift.abs(x) == Swift.abs(y), x != 0 {
                    let both = x == y ? values[n] + values[n + 1] : values[n] - values[n + 1]
                    parts.append((times(Swift.abs(x), both), x < 0 ? -1 : 1))
                } else {
                    parts += [part([n]), part([n + 1])].compactMap { $0 }
                }
                n += 2
            }
            parts += (n..<values.count).compactMap { part([$0]) }
        } else {
            parts = [part(Array(stride(from: 0, to: values.count, by: 2)))].compactMap { $0 }
            parts += [part(Array(stride(from: 1, to: values.count, by: 2)))].compactMap { $0 }
        }
        // What is added comes first, so that a difference needs no negation.
        let ordered = parts.filter { $0.1 > 0 } + parts.filter { $0.1 < 0 }
        guard let first = ordered.first else { return const(0, dtype) }
        var e = first.1 > 0 ? first.0 : const(0, dtype) - first.0
        for (v, sign) in ordered.dropFirst() { e = sign > 0 ? e + v : e - v }
        return e
    }
}
