import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// Narrow elements (bfloat16, int8, uint8) along `axis` side by side in words of 32 bits, the first in the lowest bits,
    /// the last word filled up with zeros: `[…, n, …]` becomes `[…, ⌈n / p⌉, …]`, `p` elements of a word.
    public static func words(_ data: Tensor, axis: Int) throws -> Tensor {
        let a = try normalized(axis, rank: data.rank, "nn.contrib_words")
        let perWord = 4 / max(1, data.dtype.byteCount)
        guard [2, 4].contains(perWord), let extent = data.shape[a].asInt else {
            throw ApusError(
                "TOPI020", "words need elements of 8 or 16 bits and a static extent", actual: "\(data)")
        }
        var shape = data.shape
        shape[a] = IntImm((extent + perWord - 1) / perWord)
        return try compute(shape, name: "words", tag: Tag.injective) { i in
            word(i[a], perWord, of: extent) { k in
                var at = i
                at[a] = k
                return data[at]
            }
        }
    }

    /// Word `position` of the elements of an axis of `extent`, zeros behind its end.
    static func word(
        _ position: PrimExpr, _ perWord: Int, of extent: Int, _ element: (PrimExpr) -> PrimExpr
    ) -> PrimExpr {
        var result: PrimExpr?
        for j in 0..<perWord {
            let k = position * perWord + j
            let value = element(k)
            let raw = intrinsic("reinterpret", DataType(.uint, Int(value.dtype.bits)), [value])
            var bits: PrimExpr = asType(.uint32, raw)
            if extent % perWord != 0, j >= extent % perWord {
                bits = ifThenElse(k .< extent, bits, const(0, .uint32))
            }
            if j > 0 { bits = bitwise("shift_left", bits, const(j * 32 / perWord, .uint32)) }
            result = result.map { bitwise("bitwise_or", $0, bits) } ?? bits
        }
        return result ?? const(0, .uint32)
    }
}
