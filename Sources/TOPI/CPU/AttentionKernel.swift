import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTarget

extension TOPI {
    /// Whether `fusedAttention` takes less time than three kernels that leave all scores in memory.
    ///
    /// Its vectors hold rows; where there are fewer than half a vector of them (decoding), most of each would be idle.
    public static func attentionPays(_ shape: AttentionShape, machine: Machine) -> Bool {
        AttentionPlan(shape, machine) != nil && 2 * shape.rows >= machine.lanes(bits: 32)
    }

    /// As `attention`, as one kernel that keeps the scores of a tile of rows in the cache and never in memory: for each tile of
    /// rows and block of keys the products, their exponentials and the weighted sum of values.
    ///
    /// With several blocks of keys the greatest score so far, the sum of exponentials and the weighted sum are kept and scaled
    /// when a greater score comes. Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018); Dao et
    /// al., "FlashAttention" (NeurIPS 2022).
    ///
    /// Operands that are `stridedView`s are read where they lie. Nil for element types and shapes it does not know.
    public static func fusedAttention(
        _ query: Tensor, _ key: Tensor, _ value: Tensor, mask: Tensor? = nil, scale: Double = 1,
        causal: Bool = false,
        axes: [Int] = [], machine: Machine
    ) throws -> Tensor? {
        guard let q = query.staticShape, let k = key.staticShape, let v = value.staticShape, q.count >= 2,
            k.count == q.count, v.count == q.count,
            [query, key, value, mask ?? query].allSatisfy({ $0.dtype == .float32 })
        else { return nil }
        let n = q.count
        let shape = AttentionShape(
            outer: Array(q.dropLast(2)), rows: q[n - 2], keys: k[n - 2], depth: q[n - 1], width: v[n - 1])
        let operands = [query, key, value, mask].compactMap { $0 }.map { AttentionOperand($0, rank: n) }
        guard let plan = AttentionPlan(shape, machine), operands.allSatisfy({ $0 != nil }),
            !causal || shape.keys >= shape.rows
        else { return nil }
        let known = operands.compactMap { $0 }
        let order = axes.isEmpty ? Array(0..<n) : axes
        let full = shape.outer + [shape.rows, shape.width]
        return extern(
            [(shape: order.map { imm(full[$0]) }, dtype: .float32)], inputs: known.map(\.source),
            name: "attention",
            tag: Tag.extern, attrs: externAttrs
        ) { ins, outs in
            AttentionKernel(
                shape: shape, plan: plan, scale: scale, causal: causal, query: known[0].reading(ins[0]),
                key: known[1].reading(ins[1]), value: known[2].reading(ins[2]),
                mask: known.count > 3 ? known[3].reading(ins[3]) : nil, result: outs[0], order: order,
                isParallel: shape.matrices * shape.rows * shape.keys * (shape.depth + shape.width) >> 4
                    >= CPUScheduleOptions().parallelWork
            ).body()
        }[0]
    }
}

/// An operand of attention: the memory it lies in and how.
private struct AttentionOperand {
    let source: Tensor
    let access: StridedAccess
    /// Axes of the view that are missing before its own.
    let skipped: Int

    init?(_ tensor: Tensor, rank: Int) {
        guard let shape = tensor.staticShape, shape.count <= rank else { return nil }
        skipped = rank - shape.count
        if tensor.op.tag == TOPI.Tag.stridedView, let source = tensor.op.inputTensors.first,
            let memory = source.staticShape, let strides = tensor.op.attrs.ints("strides")
        {
            guard
                let access = StridedAccess(
                    shape: memory, extents: shape, strides: strides,
                    offset: tensor.op.attrs.int("offset") ?? 0)
            else { return nil }
            self.source = source
            self.access = access
            return
        }
        var strides = [Int](repeating: 1, count: shape.count)
        for d in shape.indices.dropLast().reversed() { strides[d] = strides[d + 1] * shape[d + 1] }
        guard let access = StridedAccess(shape: shape, extents: shape, strides: strides, offset: 0) else {
            return nil
        }
        source = tensor
        self.access = access
    }

    func reading(_ buffer: Buffer) -> AttentionReader {
        AttentionReader(buffer: buffer, access: access, skipped: skipped)
    }
}

/// The positions of `lanes` elements side by side.
private func span(_ first: PrimExpr, _ lanes: Int) -> PrimExpr {
    lanes == 1 ? first : Ramp(first, imm(1), lanes)
}
/// A number in all of `lanes`.
private func wide(_ e: PrimExpr, _ lanes: Int) -> PrimExpr { lanes == 1 ? e : Broadcast(e, lanes) }

/// e^x for x <= 0, a vector of float32: the weight of a score that lies `x` below the greatest of its row.
///
/// `x = n ln 2 + f` with `|f| <= ln 2 / 2`; adding a number whose last digit is a one rounds `n`, and leaves it, the
/// exponent's bias added, in the lowest bits. Below -87 the weight is 0. A weight is within 1.5 units in the last place down
/// to e^-20 and within 5 of them down to e^-87; next to the greatest weight, which is 1, that is nothing.
private func weight(_ x: PrimExpr) -> PrimExpr {
    let type = x.dtype
    let lanes = Int(type.lanes)
    func c(_ v: Double) -> PrimExpr { const(v, type) }
    func named(_ name: String, _ value: PrimExpr, _ body: (PrimExpr) -> PrimExpr) -> PrimExpr {
        let v = Var(name, dtype: type)
        return Let(v, value, body(v))
    }
    let integer = DataType.int32.with(lanes: lanes)
    let bias = 12_582_912.0 + 127
    return named("x", x) { x in
        named("t", x * c(1.4426950408889634) + c(bias)) { t in
            named("f", x - (t - c(bias)) * c(0.6931471805599453)) { f in
                var p = c(1.37805939e-3)
                for k in [8.37312452e-3, 4.16695364e-2, 1.66664720e-1, 4.99999851e-1, 1, 1] {
                    p = p * f + c(k)
                }
                let power = bitwise("shift_left", intrinsic("reinterpret", integer, [t]), const(23, integer))
                return Select(x .< c(-87), c(0), p * intrinsic("reinterpret", type, [power]))
            }
        }
    }
}

/// Reads elements of an operand.
private struct AttentionReader {
    let buffer: Buffer
    let access: StridedAccess
    let skipped: Int

    /// The element at the indices of the stack, a row and a column.
    func at(_ outer: [PrimExpr], _ row: PrimExpr, _ column: PrimExpr) -> PrimExpr {
        BufferLoad(buffer, access.indices(Array((outer + [row, column]).dropFirst(skipped))))
    }

    /// What an axis, counted from the end, adds to the index in the last axis of memory; nil where it adds to another.
    private func step(_ fromEnd: Int) -> Int? {
        var result = 0
        for (j, c) in access.coefficients.enumerated() {
            guard c.count >= fromEnd, c[c.count - fromEnd] != 0 else { continue }
            if j < access.coefficients.count - 1 { return nil }
            result = c[c.count - fromEnd]
        }
        return result
    }

    /// `lanes` elements of a row, from `column` on.
    func alongColumns(_ outer: [PrimExpr], _ row: PrimExpr, _ column: PrimExpr, _ lanes: Int) -> PrimExpr {
        vector(step(1), at(outer, row, column), lanes) { at(outer, row, column + $0) }
    }

    /// The elements of `lanes` rows, from `row` on, in a column; rows from `end` on are those before it again.
    func alongRows(_ outer: [PrimExpr], _ row: PrimExpr, _ column: PrimExpr, _ lanes: Int, end: Int?)
        -> PrimExpr
    {
        let step = step(2)
        let mayRun = step == 0 || end == nil
        return vector(mayRun ? step : nil, at(outer, row, column), lanes) { lane in
            at(outer, end.map { leastOf(row + lane, $0 - 1) } ?? row + lane, column)
        }
    }

    private func vector(_ step: Int?, _ first: PrimExpr, _ lanes: Int, _ lane: (Int) -> PrimExpr) -> PrimExpr
    {
        guard lanes > 1, let load = first as? BufferLoad, let last = load.indices.last else { return first }
        switch step {
        case 0?: return Broadcast(first, lanes)
        case 1?: return BufferLoad(buffer, load.indices.dropLast() + [span(last, lanes)])
        default: return Shuffle((0..<lanes).map(lane), Array(0..<lanes))
        }
    }
}

/// The loops of attention.
private struct AttentionKernel {
    let shape: AttentionShape
    let plan: AttentionPlan
    let scale: Double
    let causal: Bool
    let query: AttentionReader
    let key: AttentionReader
    let value: AttentionReader
    let mask: AttentionReader?
    let result: Buffer
    /// The axes of the result in memory.
    let order: [Int]
    let isParallel: Bool

    // Memory of a thread.
    /// The queries of a tile, transposed and scaled: `[depth][rows]`.
    private let queries: Buffer
    /// Scores, then their exponentials: `[keys of a block][rows]`.
    private let weights: Buffer
    /// A row's greatest score so far.
    private let greatest: Buffer
    /// A row's sum of exponentials so far, then one over it.
    private let total: Buffer
    /// What the sums so far are multiplied by, since a greater score has come.
    private let rescale: Buffer
    /// The weighted sums so far: `[rows][width]`.
    private let sums: Buffer

    /// Rows of scores before those of a block: tiles at the end of the keys begin sooner, so as to be whole.
    private let margin: Int
    private var isOnline: Bool { plan.blocks > 1 }

    init(
        shape: AttentionShape, plan: AttentionPlan, scale: Double, causal: Bool, query: AttentionReader,
        key: AttentionReader, value: AttentionReader, mask: AttentionReader?, result: Buffer, order: [Int],
        isParallel: Bool
    ) {
        self.shape = shape
        self.plan = plan
        self.scale = scale
        self.causal = causal
        self.query = query
        self.key = key
        self.value = value
        self.mask = mask
        self.result = result
        self.order = order
        self.isParallel = isParallel
        margin = plan.blocks > 1 ? plan.scores.rows : 0
        let rows = plan.rows
        queries = Buffer("queries", [shape.depth * rows])
        weights = Buffer("weights", [(plan.block + margin) * rows])
        greatest = Buffer("greatest", [rows])
        total = Buffer("total", [rows])
        rescale = Buffer("rescale", [rows])
        sums = Buffer("sums", [Swift.min(rows, shape.rows) * shape.width])
    }

    // MARK: Tiles of rows

    func body() -> Stmt {
        let whole = shape.rows / plan.rows
        let rest = shape.rows % plan.rows
        let tiles = whole + (rest > 0 ? 1 : 0)
        let item = Var("item")
        let tile = Var("tile")
        var outer: [PrimExpr] = []
        var lets: [(Var, PrimExpr)] = [(tile, floorModExpr(item, imm(tiles)))]
        var left: PrimExpr = floorDivExpr(item, imm(tiles))
        var inside = shape.matrices
        for (d, extent) in shape.outer.enumerated() {
            inside /= extent
            let v = Var("i\(d)")
            lets.append((v, floorDivExpr(left, imm(inside))))
            left = floorModExpr(left, imm(inside))
            outer.append(extent == 1 ? imm(0) : v)
        }
        func wholeTile() -> Stmt {
            let first = Var("first_row")
            return LetStmt(
                first, tile * plan.rows,
                AttentionTile(
                    kernel: self, outer: outer, first: first, rows: plan.rows, vectors: plan.vectors, end: nil
                ).body())
        }
        func lastTile() -> Stmt {
            AttentionTile(
                kernel: self, outer: outer, first: imm(whole * plan.rows), rows: rest,
                vectors: (rest + plan.lanes - 1) / plan.lanes, end: shape.rows
            ).body()
        }
        var stmt: Stmt
        if rest == 0 {
            stmt = wholeTile()
        } else {
            stmt = whole == 0 ? lastTile() : IfThenElse(tile .< whole, wholeTile(), lastTile())
        }
        for b in [queries, weights, greatest, total] + (isOnline ? [rescale, sums] : []) {
            stmt = Allocate(b, stmt)
        }
        for (v, e) in lets.reversed() { stmt = LetStmt(v, e, stmt) }
        return For(item, imm(0), imm(shape.matrices * tiles), isParallel ? .parallel : .serial, body: stmt)
    }

    // MARK: One tile

    private struct AttentionTile {
        let kernel: AttentionKernel
        let outer: [PrimExpr]
        let first: PrimExpr
        /// Rows there are.
        let rows: Int
        /// Vectors they are held in; lanes without a row hold copies of the last one.
        let vectors: Int
        /// The number of rows of the matrix, for the tile that has idle lanes.
        let end: Int?

        private var shape: AttentionShape { kernel.shape }
        private var plan: AttentionPlan { kernel.plan }
        private var lanes: Int { plan.lanes }
        private var pitch: Int { vectors * lanes }
        private let least = -3.4028234663852886e38

        init(kernel: AttentionKernel, outer: [PrimExpr], first: PrimExpr, rows: Int, vectors: Int, end: Int?)
        {
            self.kernel = kernel
            self.outer = outer
            self.first = first
            self.rows = rows
            self.vectors = vectors
            self.end = rows < vectors * kernel.plan.lanes ? end : nil
        }

        func body() -> Stmt {
            let single = Block(kernel: kernel, tile: self, begin: imm(0), count: limit())
            guard kernel.isOnline else {
                return SeqStmt.flat(
                    [transposeQueries()] + single.scores() + [single.exponentials(), single.valueSums()])
            }
            let n = Var("block")
            let begin = Var("first_key")
            let count = Var("keys")
            let block = Block(kernel: kernel, tile: self, begin: begin, count: count)
            let steps = SeqStmt.flat(block.scores() + [block.exponentials(), block.valueSums()])
            let loop = For(
                n, imm(0), ceilDiv(limit(), imm(plan.block)),
                body: LetStmt(
                    begin, n * plan.block,
                    LetStmt(count, leastOf(imm(plan.block), limit() - begin), steps)))
            return SeqStmt.flat([transposeQueries(), clear(), loop, finish()])
        }

        /// Keys that some row of the tile takes.
        private func limit() -> PrimExpr {
            guard kernel.causal else { return imm(shape.keys) }
            return leastOf(first + (rows + shape.keys - shape.rows), imm(shape.keys))
        }

        // MARK: Queries

        /// Squares of `lanes` rows and columns are transposed in registers; columns that are left over one by one.
        private func transposeQueries() -> Stmt {
            let group = Var("group")
            let row = first + group * lanes
            func at(_ lane: Int) -> PrimExpr { end.map { leastOf(row + lane, $0 - 1) } ?? row + lane }
            func store(_ column: PrimExpr, _ v: PrimExpr) -> Stmt {
                let scaled = kernel.scale == 1 ? v : v * wide(const(kernel.scale, .float32), lanes)
                return BufferStore(
                    kernel.queries, scaled, [span(column * pitch + group * lanes, lanes)])
            }
            var parts: [Stmt] = []
            let squares = shape.depth / lanes
            if squares > 0 {
                let square = Var("square")
                let loads = (0..<lanes).map {
                    kernel.query.alongColumns(outer, at($0), square * lanes, lanes)
                }
                parts.append(
                    For(
                        square, imm(0), imm(squares),
                        body: transposed(loads) { vectors in
                            SeqStmt.flat(
                                vectors.enumerated().map { store(square * lanes + $0.offset, $0.element) })
                        }))
            }
            for column in (squares * lanes)..<shape.depth {
                let values = (0..<lanes).map { kernel.query.at(outer, at($0), imm(column)) }
                parts.append(store(imm(column), Shuffle(values, Array(0..<lanes))))
            }
            return For(group, imm(0), imm(vectors), body: SeqStmt.flat(parts))
        }

        /// The square of `vectors` transposed: in each step one bit of a lane's position changes places with the same bit of
        /// the vector's.
        private func transposed(_ vectors: [PrimExpr], _ use: ([PrimExpr]) -> Stmt) -> Stmt {
            var lets: [(Var, PrimExpr)] = []
            func named(_ e: PrimExpr) -> PrimExpr {
                let v = Var("t\(lets.count)", dtype: e.dtype)
                lets.append((v, e))
                return v
            }
            var now = vectors.map(named)
            var bit = lanes / 2
            while bit > 0 {
                var next = now
                for i in 0..<lanes where i & bit == 0 {
                    let pair = [now[i], now[i + bit]]
                    next[i] = named(Shuffle(pair, (0..<lanes).map { $0 & bit == 0 ? $0 : lanes + $0 - bit }))
                    next[i + bit] = named(
                        Shuffle(pair, (0..<lanes).map { $0 & bit == 0 ? $0 + bit : lanes + $0 }))
                }
                now = next
                bit /= 2
            }
            var stmt = use(now)
            for (v, e) in lets.reversed() { stmt = LetStmt(v, e, stmt) }
            return stmt
        }

        // MARK: Sums over blocks

        private func clear() -> Stmt {
            var parts: [Stmt] = []
            for j in 0..<vectors {
                let at = [span(imm(j * lanes), lanes)]
                parts.append(BufferStore(kernel.greatest, wide(const(least, .float32), lanes), at))
                parts.append(BufferStore(kernel.total, wide(const(0.0, .float32), lanes), at))
            }
            let row = Var("row")
            let columns = columnParts().map { c in
                BufferStore(
                    kernel.sums, wide(const(0.0, .float32), c.lanes),
                    [span(row * shape.width + c.first, c.lanes)])
            }
            parts.append(For(row, imm(0), imm(rows), body: SeqStmt.flat(columns)))
            return SeqStmt.flat(parts)
        }

        private func finish() -> Stmt {
            let row = Var("row")
            let factor = Var("factor", dtype: .float32)
            let columns = columnParts().map { c in
                store(
                    row, imm(c.first),
                    BufferLoad(kernel.sums, [span(row * shape.width + c.first, c.lanes)])
                        * wide(factor, c.lanes), c.lanes)
            }
            return SeqStmt.flat([
                invertTotals(),
                For(
                    row, imm(0), imm(rows),
                    body: LetStmt(factor, BufferLoad(kernel.total, [row]), SeqStmt.flat(columns))),
            ])
        }

        func invertTotals() -> Stmt {
            SeqStmt.flat(
                (0..<vectors).map { j in
                    let at = [span(imm(j * lanes), lanes)]
                    return BufferStore(
                        kernel.total, wide(const(1.0, .float32), lanes) / BufferLoad(kernel.total, at), at)
                })
        }

        /// The columns of a value as vectors, those that are left over as shorter ones.
        func columnParts() -> [(first: Int, lanes: Int)] {
            var parts: [(first: Int, lanes: Int)] = []
            var at = 0
            var n = lanes
            while at < shape.width {
                while at + n > shape.width { n /= 2 }
                parts.append((first: at, lanes: n))
                at += n
            }
            return parts
        }

        /// Stores a vector of a row of the result.
        func store(_ row: PrimExpr, _ column: PrimExpr, _ vector: PrimExpr, _ lanes: Int) -> Stmt {
            let all = outer + [first + row, column]
            var at = kernel.order.map { all[$0] }
            at[at.count - 1] = span(column, lanes)
            return BufferStore(kernel.result, vector, at)
        }

        // MARK: One block of keys

        struct Block {
            let kernel: AttentionKernel
            let tile: AttentionTile
            /// The first key.
            let begin: PrimExpr
            let count: PrimExpr

            private var shape: AttentionShape { kernel.shape }
            private var plan: AttentionPlan { kernel.plan }
            private var lanes: Int { plan.lanes }

            /// A vector of the scores of a key, counted from the first of the block.
            private func weightAt(_ key: PrimExpr, _ vector: PrimExpr) -> [PrimExpr] {
                [span((key + kernel.margin) * tile.pitch + vector * lanes, lanes)]
            }

            /// A tile of sums of products in registers.
            ///
            /// A value of a row is used up by all vectors before the next.
            private func product(
                _ rows: Int, _ columns: Int, _ lanes: Int, over extent: PrimExpr,
                left: (Var, Int) -> PrimExpr,
                right: (Var, Int) -> PrimExpr, finish: (Int, Int, PrimExpr) -> Stmt
            ) -> Stmt {
                let sums = Buffer("acc", [rows * columns * lanes], scope: "local")
                func at(_ r: Int, _ c: Int) -> [PrimExpr] {
                    let first = imm((r * columns + c) * lanes)
                    return [span(first, lanes)]
                }
                var initial: [Stmt] = []
                var steps: [Stmt] = []
                var last: [Stmt] = []
                let step = Var("step")
                let type = DataType.float32.with(lanes: lanes)
                let vectors = (0..<columns).map { Var("b\($0)", dtype: type) }
                for r in 0..<rows {
                    let a = Var("a", dtype: .float32)
                    var row: [Stmt] = []
                    for c in 0..<columns {
                        initial.append(BufferStore(sums, wide(const(0.0, .float32), lanes), at(r, c)))
                        row.append(
                            BufferStore(
                                sums, BufferLoad(sums, at(r, c)) + wide(a, lanes) * vectors[c], at(r, c)))
                        last.append(finish(r, c, BufferLoad(sums, at(r, c))))
                    }
                    steps.append(LetStmt(a, left(step, r), SeqStmt.flat(row)))
                }
                var body = SeqStmt.flat(steps)
                for c in (0..<columns).reversed() { body = LetStmt(vectors[c], right(step, c), body) }
                return Allocate(
                    sums, SeqStmt.flat(initial + [For(step, imm(0), extent, body: body)] + last))
            }

            /// The products of keys and queries.
            func scores() -> [Stmt] {
                let r = plan.scores.rows
                // Of the last tile of rows there may be fewer vectors.
                let c = (1...plan.scores.columns).last { tile.vectors % $0 == 0 } ?? 1
                let n = Var("tile_of_keys")
                let group = Var("group")
                let firstKey = Var("key")
                let last = shape.keys - r
                let from =
                    plan.blocks == 1 && shape.keys % r == 0 ? n * r : leastOf(begin + n * r, imm(last))
                let products = product(
                    r, c, lanes, over: imm(shape.depth),
                    left: { step, row in kernel.key.at(tile.outer, firstKey + row, step) },
                    right: { step, column in
                        BufferLoad(
                            kernel.queries, [span(step * tile.pitch + (group * c + column) * lanes, lanes)])
                    },
                    finish: { row, column, sum in
                        BufferStore(
                            kernel.weights, sum, weightAt(firstKey - begin + row, group * c + column))
                    })
                let groups = For(group, imm(0), imm(tile.vectors / c), body: products)
                return [For(n, imm(0), ceilDiv(count, imm(r)), body: LetStmt(firstKey, from, groups))]
            }

            /// Scores with their mask, the greatest of each row, and the exponentials of what lies below it.
            func exponentials() -> Stmt {
                let type = DataType.float32.with(lanes: lanes)
                let now = Buffer("now", [tile.pitch], scope: "local")
                let sum = Buffer("sum", [tile.pitch], scope: "local")
                func at(_ j: Int) -> [PrimExpr] { [span(imm(j * lanes), lanes)] }
                var parts: [Stmt] = []
                for j in 0..<tile.vectors {
                    parts.append(
                        BufferStore(
                            now,
                            kernel.isOnline
                                ? BufferLoad(kernel.greatest, at(j))
                                : wide(const(tile.least, .float32), lanes), at(j)))
                    parts.append(BufferStore(sum, wide(const(0.0, .float32), lanes), at(j)))
                }
                if kernel.causal {
                    // Keys that all rows of the tile take, then those that only some do.
                    let common = Var("common")
                    let visible = tile.first + (shape.keys - shape.rows + 1) - begin
                    parts.append(
                        LetStmt(
                            common, greatestOf(leastOf(visible, count), imm(0)),
                            SeqStmt.flat([
                                maxima(now, imm(0), common, hidden: false),
                                maxima(now, common, count, hidden: true),
                            ])))
                } else {
                    parts.append(maxima(now, imm(0), count, hidden: false))
                }
                // Exponentials.
                let key = Var("key")
                let greatest = (0..<tile.vectors).map { Var("greatest\($0)", dtype: type) }
                var steps: [Stmt] = []
                for j in 0..<tile.vectors {
                    let e = Var("e\(j)", dtype: type)
                    let place = weightAt(key, imm(j))
                    steps.append(
                        LetStmt(
                            e, weight(BufferLoad(kernel.weights, place) - greatest[j]),
                            SeqStmt.flat([
                                BufferStore(kernel.weights, e, place),
                                BufferStore(sum, BufferLoad(sum, at(j)) + e, at(j)),
                            ])))
                }
                var loop: [Stmt] = [For(key, imm(0), count, body: SeqStmt.flat(steps))]
                for j in 0..<tile.vectors {
                    if kernel.isOnline {
                        let factor = Var("factor\(j)", dtype: type)
                        loop.append(
                            LetStmt(
                                factor, weight(BufferLoad(kernel.greatest, at(j)) - greatest[j]),
                                SeqStmt.flat([
                                    BufferStore(kernel.rescale, factor, at(j)),
                                    BufferStore(
                                        kernel.total,
                                        BufferLoad(kernel.total, at(j)) * factor + BufferLoad(sum, at(j)),
                                        at(j)),
                                    BufferStore(kernel.greatest, greatest[j], at(j)),
                                ])))
                    } else {
                        loop.append(BufferStore(kernel.total, BufferLoad(sum, at(j)), at(j)))
                    }
                }
                if !kernel.isOnline { loop.append(tile.invertTotals()) }
                var second = SeqStmt.flat(loop)
                for j in (0..<tile.vectors).reversed() {
                    second = LetStmt(greatest[j], BufferLoad(now, at(j)), second)
                }
                parts.append(second)
                return Allocate(now, Allocate(sum, SeqStmt.flat(parts)))
            }

            /// The greatest scores of keys `low ..< high`, with the mask added; `hidden`: not all rows take them.
            private func maxima(_ now: Buffer, _ low: PrimExpr, _ high: PrimExpr, hidden: Bool) -> Stmt {
                let type = DataType.float32.with(lanes: lanes)
                let key = Var("key")
                var steps: [Stmt] = []
                for j in 0..<tile.vectors {
                    let place = weightAt(key, imm(j))
                    let at = [span(imm(j * lanes), lanes)]
                    var score: PrimExpr = BufferLoad(kernel.weights, place)
                    if let mask = kernel.mask {
                        score =
                            score
                            + mask.alongRows(
                                tile.outer, tile.first + j * lanes, begin + key, lanes, end: tile.end)
                    }
                    if hidden {
                        let row = asType(
                            .int32, tile.first + (j * lanes + shape.keys - shape.rows) - begin - key)
                        score = Select(
                            Ramp(row, const(1, .int32), lanes) .>= wide(const(0, .int32), lanes), score,
                            wide(minValue(.float32), lanes))
                    }
                    let s = Var("s\(j)", dtype: type)
                    let old = BufferLoad(now, at)
                    var stores: [Stmt] = [BufferStore(now, Select(s .> old, s, old), at)]
                    if hidden || kernel.mask != nil {
                        stores.insert(BufferStore(kernel.weights, s, place), at: 0)
                    }
                    steps.append(LetStmt(s, score, SeqStmt.flat(stores)))
                }
                return For(key, low, high - low, body: SeqStmt.flat(steps))
            }

            /// The values weighted by exponentials.
            func valueSums() -> Stmt {
                var parts: [Stmt] = []
                let columns = tile.columnParts()
                let whole = columns.filter { $0.lanes == lanes }.count
                let wide = whole > 0 ? plan.values.columns : 1
                let group = Var("group")
                if whole > 0 {
                    parts.append(
                        For(
                            group, imm(0), imm(whole / wide),
                            body: rowTiles(wide, lanes) { (group * wide + $0) * lanes }))
                }
                for c in columns.dropFirst(whole) {
                    parts.append(rowTiles(1, c.lanes) { _ in imm(c.first) })
                }
                return SeqStmt.flat(parts)
            }

            private func rowTiles(_ columns: Int, _ lanes: Int, _ first: (Int) -> PrimExpr) -> Stmt {
                let r = Swift.min(plan.values.rows, tile.rows)
                var parts: [Stmt] = []
                let n = Var("tile_of_rows")
                let whole = tile.rows / r
                parts.append(
                    For(n, imm(0), imm(whole), body: valueTile(r, n * r, columns, lanes, first)))
                if tile.rows % r > 0 {
                    parts.append(valueTile(tile.rows % r, imm(whole * r), columns, lanes, first))
                }
                return SeqStmt.flat(parts)
            }

            private func valueTile(
                _ rows: Int, _ firstRow: PrimExpr, _ columns: Int, _ lanes: Int, _ column: (Int) -> PrimExpr
            ) -> Stmt {
                return product(
                    rows, columns, lanes, over: count,
                    left: { step, row in
                        BufferLoad(kernel.weights, [(step + kernel.margin) * tile.pitch + firstRow + row])
                    },
                    right: { step, c in kernel.value.alongColumns(tile.outer, begin + step, column(c), lanes)
                    },
                    finish: { row, c, sum in
                        let at = firstRow + row
                        guard kernel.isOnline else {
                            return tile.store(
                                at, column(c), sum * wide(BufferLoad(kernel.total, [at]), lanes), lanes)
                        }
                        let first = at * shape.width + column(c)
                        let place = [span(first, lanes)]
                        return BufferStore(
                            kernel.sums,
                            BufferLoad(kernel.sums, place) * wide(BufferLoad(kernel.rescale, [at]), lanes)
                                + sum, place)
                    })
            }
        }
    }
}
