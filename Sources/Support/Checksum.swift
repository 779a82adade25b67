/// CRC-32 as zip, gzip and PNG use it (polynomial 0xEDB88320 reflected).
public enum CRC32 {
    /// Eight tables: byte k of a word is looked up in table 7 - k, eight bytes a step ("slicing-by-8",
    /// Kounavis and Berry 2005).
    private static let tables: [UInt32] = {
        var t = [UInt32](repeating: 0, count: 8 * 256)
        for i in 0..<256 {
            var c = UInt32(i)
            for _ in 0..<8 { c = c & 1 == 1 ? 0xEDB8_8320 ^ (c >> 1) : c >> 1 }
            t[i] = c
        }
        for k in 1..<8 {
            for i in 0..<256 {
                let before = t[(k - 1) * 256 + i]
                t[k * 256 + i] = t[Int(before & 0xFF)] ^ (before >> 8)
            }
        }
        return t
    }()

    /// The checksum of `bytes`, going on from `previous` (0 at the start).
    public static func checksum(_ bytes: UnsafeRawBufferPointer, previous: UInt32 = 0) -> UInt32 {
        var c = ~previous
        tables.withUnsafeBufferPointer { (t: UnsafeBufferPointer<UInt32>) in
            var i = 0
            while i + 8 <= bytes.count {
                let low = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: i, as: UInt32.self)) ^ c
                let high = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: i + 4, as: UInt32.self))
                let a = t[1792 + Int(low & 0xFF)] ^ t[1536 + Int((low >> 8) & 0xFF)]
                let b = t[1280 + Int((low >> 16) & 0xFF)] ^ t[1024 + Int(low >> 24)]
                let d = t[768 + Int(high & 0xFF)] ^ t[512 + Int((high >> 8) & 0xFF)]
                let e = t[256 + Int((high >> 16) & 0xFF)] ^ t[Int(high >> 24)]
                c = a ^ b ^ d ^ e
                i += 8
            }
            while i < bytes.count {
                c = t[Int((c ^ UInt32(bytes[i])) & 0xFF)] ^ (c >> 8)
                i += 1
            }
        }
        return ~c
    }
}
