import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import CLLVM

extension CodeGenLLVM {
    /// `sum + dot(a, b)` in one instruction where there is one; nil for other sums.
    func accumulation(_ e: BinaryExpr) throws -> LV? {
        for (sum, product) in [(e.a, e.b), (e.b, e.a)] where product.kind == .call {
            let call = unsafeDowncast(product, to: Call.self)
            if let dot = DotProduct(call) { return try dotProduct(dot, call, onto: sum) }
        }
        return nil
    }

    /// The product of words that `call` is, added to `sum`.
    func dotProduct(_ dot: DotProduct, _ call: Call, onto sum: PrimExpr?) throws -> LV {
        guard call.args.count == 2, call.args.allSatisfy({ $0.dtype.element == .uint32 }) else {
            throw malformed(call, "two operands of uint32")
        }
        let lanes = Int(call.dtype.lanes)
        guard dots.contains(dot), [4, 8, 16].contains(lanes) else {
            return try value(dot.expanded(call.args[0], call.args[1], onto: sum))
        }
        let result = try type(call.dtype)
        let start: LV = try sum.map { try value($0) } ?? LLVMConstNull(result)
        let name: String
        let operand: LT
        switch dot {
        case .bf16:
            name = "llvm.x86.avx512bf16.dpbf16ps.\(32 * lanes)"
            operand = LLVMVectorType(bfloat, UInt32(2 * lanes))
        case .u8s8:
            name = "llvm.x86.avx512.vpdpbusd.\(32 * lanes)"
            operand = LLVMVectorType(i8, UInt32(4 * lanes))
        }
        let words = try call.args.map { LLVMBuildBitCast(builder, try value($0), operand, "") as LV }
        return intrinsic(name, [], [start] + words)
    }
}
