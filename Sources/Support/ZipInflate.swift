/// Decompression of "deflate" data (RFC 1951), for archives on machines without a zlib. Careful rather than
/// fast: every length and distance is checked, the output never grows beyond what the caller gave.
public enum Inflate {
    /// A deflate stream cannot expand further than this: 258 bytes for two bits, rounded up.
    public static let maximumRatio = 1032

    /// Decompresses `input`, which must fill `output` exactly.
    /// - Throws: ZIP005 for data that is damaged, too short or too long.
    public static func inflate(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer)
        throws
    {
        var state = InflateState(input: input, output: output)
        try state.run()
    }
}

private func damaged(_ what: String) -> ApusError {
    ApusError("ZIP005", "compressed data is damaged: \(what)")
}

/// Codes of one alphabet, canonical (RFC 1951, 3.2.2): short ones by table, long ones by counting per length.
private struct HuffmanCodes {
    private static let fastBits = 9
    /// By the next `fastBits` bits: symbol << 4 | length; 0 where the code is longer.
    private var fast = [UInt16](repeating: 0, count: 1 << HuffmanCodes.fastBits)
    private var counts = [Int](repeating: 0, count: 16)
    private var symbols: [UInt16] = []

    /// - Parameter lengths: bits of each symbol's code, 0 for symbols that do not occur.
    init(_ lengths: ArraySlice<UInt8>, _ what: String) throws {
        for n in lengths { counts[Int(n)] += 1 }
        let used = lengths.count - counts[0]
        counts[0] = 0
        // The codes must use up the space of 2^15 exactly; a single code of one bit may leave half unused.
        var left = 1
        for length in 1...15 {
            left = left * 2 - counts[length]
            if left < 0 { throw damaged("too many \(what) codes") }
        }
        guard left == 0 || used == 0 || (used == 1 && counts[1] == 1) else {
            throw damaged("too few \(what) codes")
        }
        var offsets = [Int](repeating: 0, count: 16)
        var next = [Int](repeating: 0, count: 16)
        var code = 0
        for length in 1..<16 {
            offsets[length] = offsets[length - 1] + counts[length - 1]
            code = (code + counts[length - 1]) << 1
            next[length] = code
        }
        symbols = [UInt16](repeating: 0, count: used)
        for (symbol, n) in lengths.enumerated() where n > 0 {
            let length = Int(n)
            symbols[offsets[length]] = UInt16(symbol)
            offsets[length] += 1
            let value = next[length]
            next[length] += 1
            guard length <= HuffmanCodes.fastBits else { continue }
            // Codes are read from their highest bit on, bits of the stream from the lowest: reverse.
            var reversed = 0
            for bit in 0..<length where value >> bit & 1 == 1 { reversed |= 1 << (length - 1 - bit) }
            while reversed < 1 << HuffmanCodes.fastBits {
                fast[reversed] = UInt16(symbol << 4 | length)
                reversed += 1 << length
            }
        }
    }

    func decode(_ bits: inout BitReader) throws -> Int {
        bits.fill()
        let entry = Int(fast[Int(bits.buffer & UInt64((1 << HuffmanCodes.fastBits) - 1))])
        if entry != 0 {
            try bits.drop(entry & 15)
            return entry >> 4
        }
        var code = 0
        var first = 0
        var index = 0
        for length in 1...15 {
            code |= Int(bits.buffer >> UInt64(length - 1) & 1)
            let count = counts[length]
            if code - first < count {
                try bits.drop(length)
                return Int(symbols[index + code - first])
            }
            index += count
            first = (first + count) << 1
            code <<= 1
        }
        throw damaged("an unknown code")
    }
}

private struct BitReader {
    let input: UnsafeRawBufferPointer
    var at = 0
    /// Bits not yet used, the next one lowest; zeros beyond `available`.
    var buffer: UInt64 = 0
    var available = 0

    init(_ input: UnsafeRawBufferPointer) { self.input = input }

    mutating func fill() {
        while available <= 56, at < input.count {
            buffer |= UInt64(input[at]) << UInt64(available)
            at += 1
            available += 8
        }
    }

    mutating func drop(_ n: Int) throws {
        guard n <= available else { throw damaged("it ends too early") }
        buffer >>= UInt64(n)
        available -= n
    }

    mutating func take(_ n: Int) throws -> Int {
        if n == 0 { return 0 }
        fill()
        let value = Int(buffer & (1 << UInt64(n) - 1))
        try drop(n)
        return value
    }
}

private struct InflateState {
    private var bits: BitReader
    private let output: UnsafeMutableRawBufferPointer
    private var written = 0

    init(input: UnsafeRawBufferPointer, output: UnsafeMutableRawBufferPointer) {
        bits = BitReader(input)
        self.output = output
    }

    mutating func run() throws {
        var isLast = false
        while !isLast {
            isLast = try bits.take(1) == 1
            switch try bits.take(2) {
            case 0: try stored()
            case 1: try compressed(InflateState.fixedLiterals, InflateState.fixedDistances)
            case 2:
                let (literals, distances) = try dynamicCodes()
                try compressed(literals, distances)
            default: throw damaged("an unknown kind of block")
            }
        }
        guard written == output.count else { throw damaged("it is shorter than declared") }
    }

    private mutating func stored() throws {
        try bits.drop(bits.available % 8)
        let length = try bits.take(16)
        guard try bits.take(16) == ~length & 0xFFFF else { throw damaged("a length that contradicts itself") }
        guard length <= output.count - written else { throw damaged("it is longer than declared") }
        for _ in 0..<length {
            output[written] = UInt8(try bits.take(8))
            written += 1
        }
    }

    private mutating func compressed(_ literals: HuffmanCodes, _ distances: HuffmanCodes) throws {
        while true {
            let symbol = try literals.decode(&bits)
            if symbol < 256 {
                guard written < output.count else { throw damaged("it is longer than declared") }
                output[written] = UInt8(symbol)
                written += 1
                continue
            }
            if symbol == 256 { return }
            guard symbol < 286 else { throw damaged("an unknown length") }
            let length =
                InflateState.lengthBase[symbol - 257] + (try bits.take(InflateState.lengthBits[symbol - 257]))
            let code = try distances.decode(&bits)
            guard code < 30 else { throw damaged("an unknown distance") }
            let distance = InflateState.distanceBase[code] + (try bits.take(InflateState.distanceBits[code]))
            guard distance <= written else { throw damaged("a distance before the start") }
            guard length <= output.count - written else { throw damaged("it is longer than declared") }
            // The source may overlap the bytes being written: one by one.
            for _ in 0..<length {
                output[written] = output[written - distance]
                written += 1
            }
        }
    }

    private mutating func dynamicCodes() throws -> (literals: HuffmanCodes, distances: HuffmanCodes) {
        let literalCount = try bits.take(5) + 257
        let distanceCount = try bits.take(5) + 1
        let codeCount = try bits.take(4) + 4
        guard literalCount <= 286, distanceCount <= 30 else { throw damaged("too many codes") }
        var codeLengths = [UInt8](repeating: 0, count: 19)
        for i in 0..<codeCount { codeLengths[InflateState.codeOrder[i]] = UInt8(try bits.take(3)) }
        let codes = try HuffmanCodes(codeLengths[...], "length")
        var lengths = [UInt8](repeating: 0, count: literalCount + distanceCount)
        var at = 0
        while at < lengths.count {
            let symbol = try codes.decode(&bits)
            if symbol < 16 {
                lengths[at] = UInt8(symbol)
                at += 1
                continue
            }
            var value: UInt8 = 0
            let times: Int
            switch symbol {
            case 16:
                guard at > 0 else { throw damaged("a repetition of nothing") }
                value = lengths[at - 1]
                times = 3 + (try bits.take(2))
            case 17: times = 3 + (try bits.take(3))
            default: times = 11 + (try bits.take(7))
            }
            guard times <= lengths.count - at else { throw damaged("too many code lengths") }
            for _ in 0..<times {
                lengths[at] = value
                at += 1
            }
        }
        guard lengths[256] != 0 else { throw damaged("no code for the end") }
        return (
            try HuffmanCodes(lengths[..<literalCount], "literal"),
            try HuffmanCodes(ArraySlice(Array(lengths[literalCount...])), "distance")
        )
    }

    private static let codeOrder: [Int] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
    private static let lengthBase: [Int] = [
        3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163,
        195, 227,
        258,
    ]
    private static let lengthBits: [Int] = [
        0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
    ]
    private static let distanceBase: [Int] = [
        1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
        4097,
        6145, 8193, 12289, 16385, 24577,
    ]
    private static let distanceBits: [Int] = [
        0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
    ]
    private static let fixedLiterals: HuffmanCodes = fixed(
        [UInt8](repeating: 8, count: 144) + [UInt8](repeating: 9, count: 112)
            + [UInt8](repeating: 7, count: 24)
            + [UInt8](repeating: 8, count: 8))
    // All 32 codes are part of the fixed code, though 30 and 31 never occur.
    private static let fixedDistances: HuffmanCodes = fixed([UInt8](repeating: 5, count: 32))

    private static func fixed(_ lengths: [UInt8]) -> HuffmanCodes {
        do {
            return try HuffmanCodes(lengths[...], "fixed")
        } catch {
            internalError("the fixed codes of deflate: \(error)")
        }
    }
}
