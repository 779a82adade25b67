extension NDArray {
    /// As `random(shape:dtype:seed:)`.
    public static func random(_ shape: [Int], _ dtype: DataType = .float32, seed: UInt64 = 0) -> NDArray {
        random(shape: shape, dtype: dtype, seed: seed)
    }

    /// All elements 0.
    public static func zeros(_ shape: [Int], _ dtype: DataType = .float32) -> NDArray {
        NDArray(shape: shape, dtype: dtype)
    }

    /// Uniform values that depend on `seed` only: floats in [-1, 1), signed integers in -8..<8, unsigned in
    /// 0..<16, bool 0 or 1. The same on every machine.
    public static func random(shape: [Int], dtype: DataType = .float32, seed: UInt64 = 0) -> NDArray {
        let array = NDArray(shape: shape, dtype: dtype)
        var state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678_9ABC_DEF1
        // splitmix64 (Steele, Lea, Flood 2014)
        func next() -> UInt64 {
            state = state &+ 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
        let n = array.count * Int(dtype.lanes)
        for i in 0..<n {
            let bits = next()
            let unit = Double(bits >> 11) / Double(1 << 52) - 1
            switch dtype.code {
            case .float: ElementCodec.store(unit, at: i, of: dtype, in: array.data)
            case .bfloat: ElementCodec.store(unit, at: i, of: dtype, in: array.data)
            case .int: ElementCodec.store(Double(Int(bits >> 60)) - 8, at: i, of: dtype, in: array.data)
            case .uint:
                let value = dtype.isBool ? bits >> 63 : bits >> 60
                ElementCodec.store(Double(value), at: i, of: dtype, in: array.data)
            case .handle: break
            }
        }
        return array
    }
}
