import ApusTarget

/// How a convolution of stride 1 by Winograd's method is cut up, and the time that takes.
///
/// The tiles of all images lie in one row. They are computed in chunks: the data of a chunk is transformed, multiplied and
/// transformed back while it is in the second-level cache. A chunk is whole register tiles; where chunks do not divide the
/// tiles, the last one is filled up.
public struct WinogradPlan: Sendable {
    /// Results on a side of a tile.
    public let tile: Int
    /// Tiles of all images.
    public let tiles: Int
    /// Tiles of a chunk. One chunk of all tiles and what fills them up means that the stages follow each other, each
    /// shared among the cores by itself.
    public let chunk: Int
    /// Cycles that all of it takes.
    let cycles: Double

    /// The plan that takes the fewest cycles.
    ///
    /// Products cost the steps of their register tiles (`RegisterTile.cycles`) and a quarter of their loads, which delay some
    /// of them, and the end of each sum a mispredicted branch; a transformed element costs about four vector instructions on
    /// the way in and three on the way out. The weights come at 8 bytes a cycle, from memory for all cores together, and then
    /// for every chunk but a core's first, where they are larger than half of the second-level cache. Where all tiles are
    /// one chunk, what they hold beyond that half is written and read by lines far apart, at 2 bytes a cycle.
    ///
    /// Nil for sizes that no memory holds.
    ///
    /// - Parameters:
    ///   - height: rows of the result.
    ///   - width: columns of the result.
    ///   - tile: results on a side of a tile.
    ///   - taps: weights on a side of the window.
    public init?(
        batch: Int, inChannels: Int, outChannels: Int, height: Int, width: Int, tile: Int, taps: Int = 3,
        machine: Machine
    ) {
        let limit = 1 << 30
        let sizes = [batch, inChannels, outChannels, height, width]
        guard sizes.allSatisfy({ (1...limit).contains($0) }), tile >= 1, taps >= 1 else { return nil }
        let (lines, overflow) = batch.multipliedReportingOverflow(by: (height + tile - 1) / tile)
        let (tiles, overflows) = lines.multipliedReportingOverflow(by: (width + tile - 1) / tile)
        guard !overflow, !overflows, tiles <= limit else { return nil }
        let lanes = machine.lanes(bits: 32)
        let panels = max(1, (outChannels + lanes - 1) / lanes)
        let elements = (tile + taps - 1) * (tile + taps - 1)
        let cores = max(1, machine.numCores)
        let cache = machine.l2Bytes / 2
        let bytesPerTile = 4 * elements * (inChannels + outChannels)
        let weightBytes = 4 * Double(elements * inChannels) * Double(outChannels)
        let reading = weightBytes > Double(cache) ? weightBytes / 8 : 0
        let transforming = Double(elements) * Double(4 * inChannels + 3 * outChannels) / Double(lanes) / 2
        var best = (chunk: tiles, cycles: Double.infinity)
        /// Cycles of the products of one element of a tile, in units that are computed each by itself.
        func product(_ rows: Int) -> (unit: Double, units: Int) {
            let r = RegisterTile.forMatrix(
                rows: rows, panels: panels, vectorBytes: machine.vectorBytes, machine: machine,
                wholeRows: true)
            let step = r.cycles(vectorBytes: machine.vectorBytes, machine: machine)
            let loads = Double(r.rows + r.columns)
            let sum = (step + loads / 4) * Double(inChannels) + 16
            return (unit: Double(rows / r.rows) * sum, units: panels / r.columns)
        }
        // All at once.
        for all in tiles..<(tiles + machine.vectorRegisters) {
            let p = product(all)
            let held = Double(all) * Double(bytesPerTile)
            let moving = held > Double(cache) ? held : 0
            let shared = (Double(all) * transforming + moving) / Double(cores)
            let cycles = Double((elements * p.units + cores - 1) / cores) * p.unit + shared
            if cycles < best.cycles { best = (chunk: all, cycles: cycles) }
        }
        // Chunks, each on one core.
        for chunk in 1...max(1, min(512, cache / max(1, bytesPerTile))) {
            let chunks = (tiles + chunk - 1) / chunk
            if chunks < max(2, cores) { break }
            let p = product(chunk)
            let rounds = Double((chunks + cores - 1) / cores)
            let one = Double(elements * p.units) * p.unit + Double(chunk) * transforming
            let cycles = rounds * one + (rounds - 1) * reading
            if cycles < best.cycles { best = (chunk: chunk, cycles: cycles) }
        }
        self.tile = tile
        self.tiles = tiles
        chunk = best.chunk
        cycles = best.cycles + weightBytes / 8
    }
}

extension TOPI {
    /// The side of the tile with which Winograd's method computes a convolution of 3 x 3 taps and stride 1 faster than the
    /// sum itself does; nil where none does.
    ///
    /// In cycles. The sum takes 9 multiply-adds an element in register tiles of a row, with their loads as in
    /// `WinogradPlan`, and reads its weights once. The method takes `(m + 2)^2 / m^2` and its two transformations, but its
    /// weights are `(m + 2)^2 / 9` times as large. It must save a quarter to be worth its memory.
    public static func winogradTile(
        batch: Int, inChannels: Int, outChannels: Int, height: Int, width: Int, machine: Machine
    ) -> Int? {
        let panels = max(1, outChannels / machine.lanes(bits: 32))
        let tile = RegisterTile.convolution(
            pixels: width, chunks: panels, registers: machine.vectorRegisters,
            vectorBytes: machine.vectorBytes,
            wholeOnly: false)
        func step(_ pixels: Int) -> Double {
            let part = RegisterTile(rows: pixels, columns: tile.columns)
            let cycles = part.cycles(vectorBytes: machine.vectorBytes, machine: machine)
            return pixels == 0 ? 0 : cycles + Double(pixels + tile.columns) / 4
        }
        let row = Double(width / tile.rows) * step(tile.rows) + step(width % tile.rows)
        let rows = Double(batch) * Double(height) * Double(panels / tile.columns)
        let sum = 9 * Double(inChannels) * rows * row / Double(max(1, machine.numCores))
        let direct = sum + 9 * Double(inChannels) * Double(outChannels) * 4 / 8
        let plans = [2, 4].compactMap {
            WinogradPlan(
                batch: batch, inChannels: inChannels, outChannels: outChannels, height: height, width: width,
                tile: $0, machine: machine)
        }
        guard let best = plans.min(by: { $0.cycles < $1.cycles }), best.cycles < 0.75 * direct else {
            return nil
        }
        return best.tile
    }
}
