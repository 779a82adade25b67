/// One element of any numeric type to and from `Double`, bfloat16 and half included. For tests, printing and
/// random data; kernels never come here.
package enum ElementCodec {
    /// The element number `i` (lanes count one by one).
    package static func load(_ i: Int, of dtype: DataType, in base: UnsafeRawPointer) -> Double {
        func read<T: BitwiseCopyable>(_: T.Type) -> T {
            base.loadUnaligned(fromByteOffset: i * MemoryLayout<T>.size, as: T.self)
        }
        switch (dtype.code, dtype.bits) {
        case (.int, 8): return Double(read(Int8.self))
        case (.int, 16): return Double(read(Int16.self))
        case (.int, 32): return Double(read(Int32.self))
        case (.int, 64): return Double(read(Int64.self))
        case (.uint, 1), (.uint, 8): return Double(read(UInt8.self))
        case (.uint, 16): return Double(read(UInt16.self))
        case (.uint, 32): return Double(read(UInt32.self))
        case (.uint, 64): return Double(read(UInt64.self))
        case (.float, 16): return Double(read(Float16.self))
        case (.float, 32): return Double(read(Float.self))
        case (.float, 64): return read(Double.self)
        case (.bfloat, 16): return Double(Float(bitPattern: UInt32(read(UInt16.self)) << 16))
        default: return 0
        }
    }

    /// Writes `value`, which must lie in the range of the type, as element number `i`.
    package static func store(
        _ value: Double, at i: Int, of dtype: DataType, in base: UnsafeMutableRawPointer
    ) {
        func write<T: BitwiseCopyable>(_ v: T) {
            base.storeBytes(of: v, toByteOffset: i * MemoryLayout<T>.size, as: T.self)
        }
        switch (dtype.code, dtype.bits) {
        case (.int, 8): write(Int8(value))
        case (.int, 16): write(Int16(value))
        case (.int, 32): write(Int32(value))
        case (.int, 64): write(Int64(value))
        case (.uint, 1), (.uint, 8): write(UInt8(value))
        case (.uint, 16): write(UInt16(value))
        case (.uint, 32): write(UInt32(value))
        case (.uint, 64): write(UInt64(value))
        case (.float, 16): write(Float16(value))
        case (.float, 32): write(Float(value))
        case (.float, 64): write(value)
        case (.bfloat, 16): write(roundToBFloat16(Float(value)))
        default: break
        }
    }

    /// Round to nearest even; a NaN stays one.
    package static func roundToBFloat16(_ value: Float) -> UInt16 {
        let bits = value.bitPattern
        if value.isNaN { return UInt16(bits >> 16) | 0x40 }
        return UInt16(truncatingIfNeeded: (UInt64(bits) + 0x7FFF + UInt64((bits >> 16) & 1)) >> 16)
    }
}
