import ApusIR
import ApusRuntime

/// Products of short vectors whose elements lie side by side in one word of 32 bits, the first in the lowest bits: what
/// processors do in one instruction, `sum + dot(a, b)`.
///
/// Each is a pure intrinsic of two `uint32`, lane by lane. A code generator may merge it with an addition; where it knows
/// no instruction it generates `expanded`, which is the definition.
public enum DotProduct: String, Sendable, CaseIterable {
    /// Two bfloat16 by two bfloat16: float32. The products are exact; each sum is rounded to float32, in any order. An
    /// instruction may take subnormal numbers for zero.
    case bf16
    /// Four uint8 by four int8: int32, which wraps.
    case u8s8

    /// Of the intrinsic, without `tir.`.
    public var intrinsic: String {
        switch self {
        case .bf16: return "dot2_bf16"
        case .u8s8: return "dot4_u8s8"
        }
    }

    var summary: String {
        switch self {
        case .bf16: return "x0 * y0 + x1 * y1 of the two bfloat16 in each of two uint32, as float32"
        case .u8s8:
            return "the sum of the products of the four uint8 in a uint32 with the four int8 in another"
        }
    }

    public init?(intrinsic name: String) {
        guard name.hasPrefix("dot"), let known = DotProduct.allCases.first(where: { $0.intrinsic == name })
        else {
            return nil
        }
        self = known
    }

    /// The product that a call computes; nil for other calls.
    public init?(_ call: Call) {
        guard call.name.hasPrefix("tir.") else { return nil }
        self.init(intrinsic: String(call.name.dropFirst(4)))
    }

    /// Elements in a word.
    public var perWord: Int { self == .bf16 ? 2 : 4 }
    /// Of the result.
    public var sumType: DataType { self == .bf16 ? .float32 : .int32 }
    /// Of the elements of the left and of the right operand.
    public var elements: (left: DataType, right: DataType) {
        self == .bf16 ? (left: .bfloat16, right: .bfloat16) : (left: .uint8, right: .int8)
    }

    /// The call of the intrinsic for two words.
    public func callAsFunction(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr {
        ApusTIR.intrinsic(intrinsic, sumType.with(lanes: Int(a.dtype.lanes)), [a, b])
    }

    /// `sum + dot(a, b)`, or `dot(a, b)`, in ordinary arithmetic.
    public func expanded(_ a: PrimExpr, _ b: PrimExpr, onto sum: PrimExpr? = nil) -> PrimExpr {
        let x = Var("x", dtype: a.dtype)
        let y = Var("y", dtype: b.dtype)
        var total = sum
        for i in 0..<perWord {
            let product = element(i, of: x, signed: false) * element(i, of: y, signed: true)
            total = total.map { $0 + product } ?? product
        }
        return Let(x, a, Let(y, b, total ?? x))
    }

    /// Element `i` of a word, as the type of sums.
    private func element(_ i: Int, of word: PrimExpr, signed: Bool) -> PrimExpr {
        let lanes = Int(word.dtype.lanes)
        let type = sumType.with(lanes: lanes)
        func number(_ n: Int) -> PrimExpr { const(n, word.dtype) }
        switch self {
        case .bf16:
            let bits =
                i == 0
                ? bitwise("shift_left", word, number(16)) : bitwise("bitwise_and", word, number(0xFFFF_0000))
            return ApusTIR.intrinsic("reinterpret", type, [bits])
        case .u8s8:
            guard signed else {
                return cast(
                    type, bitwise("bitwise_and", bitwise("shift_right", word, number(8 * i)), number(0xFF)))
            }
            let high = bitwise("shift_left", word, number(24 - 8 * i))
            return bitwise("shift_right", ApusTIR.intrinsic("reinterpret", type, [high]), const(24, type))
        }
    }
}
