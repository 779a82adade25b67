import ApusTarget

/// Extents of attention over static shapes.
public struct AttentionShape: Sendable, Hashable {
    /// Of the stack of matrices.
    public let outer: [Int]
    public let rows: Int
    public let keys: Int
    /// Elements of a query and of a key.
    public let depth: Int
    /// Elements of a value.
    public let width: Int

    public init(outer: [Int], rows: Int, keys: Int, depth: Int, width: Int) {
        self.outer = outer
        self.rows = rows
        self.keys = keys
        self.depth = depth
        self.width = width
    }

    var matrices: Int { outer.reduce(1, *) }
}

/// How the kernel of attention is cut: tiles of rows, blocks of keys, tiles of registers.
///
/// Rows of a tile lie in the lanes of vectors, so that keys are read as they lie, one number for all lanes, and so that the
/// greatest score and the sum of a row need no step across lanes.
public struct AttentionPlan: Sendable {
    /// Floats of a vector.
    public let lanes: Int
    /// Vectors of rows in a tile.
    public let vectors: Int
    /// Keys in a block; a multiple of `scores.rows`.
    public let block: Int
    /// Blocks of keys. With more than one, what was summed is scaled anew as greater scores come (online softmax).
    public let blocks: Int
    /// Keys by vectors of rows.
    let scores: RegisterTile
    /// Rows by vectors of a value.
    let values: RegisterTile

    /// Rows in a tile.
    public var rows: Int { lanes * vectors }

    /// The plan of fewest cycles by a count of multiply-adds, loads and exponentials.
    ///
    /// A block of scores and the values that belong to it share the first-level cache, since the values are read again for
    /// each few rows of the tile. Nil where vectors are too short to be worth it.
    public init?(_ s: AttentionShape, _ machine: Machine) {
        let lanes = machine.lanes(bits: 32)
        guard lanes >= 4, lanes & (lanes - 1) == 0, s.rows > 0, s.keys > 0, s.depth > 0, s.width > 0,
            s.matrices > 0
        else {
            return nil
        }
        self.lanes = lanes
        let cores = machine.numCores
        var best: (vectors: Int, cycles: Double)?
        for c in 1...Swift.max(1, machine.vectorRegisters / 6) {
            let whole = s.rows / (c * lanes)
            let rest = (s.rows % (c * lanes) + lanes - 1) / lanes
            if whole == 0, c > rest { continue }
            func rounds(_ tiles: Int) -> Double { Double((s.matrices * tiles + cores - 1) / cores) }
            let cycles =
                rounds(whole) * AttentionPlan.cycles(c, s, machine)
                + rounds(rest > 0 ? 1 : 0) * AttentionPlan.cycles(rest, s, machine)
            if cycles < best?.cycles ?? .infinity { best = (c, cycles) }
        }
        guard let best else { return nil }
        vectors = best.vectors
        let rows = best.vectors * lanes
        scores = RegisterTile.forMatrix(
            rows: s.keys, panels: best.vectors, vectorBytes: lanes * 4, machine: machine)
        values = RegisterTile.forMatrix(
            rows: Swift.min(s.rows, rows), panels: Swift.max(1, s.width / lanes), vectorBytes: lanes * 4,
            machine: machine)
        let step = scores.rows
        let fits = Swift.max(step, machine.l1Bytes / (4 * (rows + s.width)))
        blocks = (s.keys + fits - 1) / fits
        let even = (s.keys + blocks - 1) / blocks
        block = (even + step - 1) / step * step
    }

    /// Cycles of a tile of `c` vectors of rows.
    private static func cycles(_ c: Int, _ s: AttentionShape, _ machine: Machine) -> Double {
        if c == 0 { return 0 }
        let lanes = machine.lanes(bits: 32)
        let tile = RegisterTile.forMatrix(rows: s.keys, panels: c, vectorBytes: lanes * 4, machine: machine)
        let multiplies = Double(tile.rows * tile.columns) / Double(machine.fmaPorts)
        let step = Swift.max(multiplies, Double(tile.rows + tile.columns) / 2, Double(machine.fmaLatency))
        let scores = step / Double(tile.rows * tile.columns) * Double(c * s.keys * s.depth)
        let values = Double(c * s.keys * s.width) / Double(machine.fmaPorts)
        // Some twenty instructions for a vector of exponentials, and its way to memory and back.
        let weights = Double(c * s.keys) * 30 / Double(machine.fmaPorts)
        // Keys and values come from the caches behind the first, some 16 bytes a cycle.
        let reads = Double(s.keys * (s.depth + s.width) * 4) / 16
        return scores + values + weights + reads
    }
}
