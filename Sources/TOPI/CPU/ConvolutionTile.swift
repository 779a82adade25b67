// Register tiles of convolutions: pixels of one row of the result by blocks of channels. A tile need not divide the row:
// loop partitioning gives the last, narrower one code of its own.

extension RegisterTile {
    /// The tile of a convolution that takes the least time for a whole row, the narrower tile at its end included.
    ///
    /// A step of the reduction costs its multiply-adds (64 bytes a cycle), a scalar load a row (two a cycle), a vector load a
    /// column (from the second-level cache, 32 bytes a cycle), and no less than the latency of a multiply-add.
    ///
    /// - Parameters:
    ///   - wholeOnly: whether the tile must divide the row.
    ///   - multiplies: multiply-adds of 64 bytes that start in a cycle.
    static func convolution(
        pixels: Int, chunks: Int, registers: Int, vectorBytes: Int, wholeOnly: Bool, multiplies ports: Int = 1
    ) -> RegisterTile {
        var best = RegisterTile(rows: 1, columns: 1)
        var bestEfficiency = 0.0
        for r in 1...max(1, min(pixels, registers - 2)) where !wholeOnly || pixels % r == 0 {
            for c in 1...max(1, min(chunks, registers - 2)) where chunks % c == 0 {
                // With one row the vectors are operands in memory and need no register.
                let used = r == 1 ? c + 1 : r * c + c + 1
                guard used <= registers else { continue }
                func multiplies(_ r: Int) -> Double {
                    Double(r * c * vectorBytes) / Double(64 * max(1, ports))
                }
                func time(_ r: Int) -> Double {
                    r == 0 ? 0 : max(multiplies(r), Double(r) / 2 + Double(c * vectorBytes) / 32, 4.5)
                }
                let row = Double(pixels / r) * time(r) + time(pixels % r)
                // Of equal ones the greater tile reads weights less often, and one without a rest has less code.
                let efficiency =
                    multiplies(pixels) / row + Double(r * c) * 1e-4 - (pixels % r == 0 ? 0 : 5e-4)
                if efficiency > bestEfficiency {
                    bestEfficiency = efficiency
                    best = RegisterTile(rows: r, columns: c)
                }
            }
        }
        return best
    }

    /// The tile of a convolution of each channel by itself: as many pixels as keep the multiply-adds in flight, no more
    /// than twice that. More would share each load of a weight among more pixels, but borders repeat the code of the tile.
    static func depthwise(pixels: Int, inFlight: Int, registers: Int) -> RegisterTile {
        let most = max(1, min(pixels, 2 * inFlight, registers - 2))
        func time(_ r: Int) -> Int {
            let rest = pixels % r
            return 2 * (pixels / r * max(r, inFlight) + (rest == 0 ? 0 : max(rest, inFlight)))
                + (rest == 0 ? 0 : 1)
        }
        let least = (1...most).min { time($0) < time($1) }
        return RegisterTile(rows: least ?? 1, columns: 1)
    }
}
