import ApusSupport
import ApusTIR

/// Attribute of a function whose roundings to bfloat16 may take subnormal numbers for zero, as products of bfloat16 do.
public let flushesSubnormals = "flushes_subnormal_bfloat16"

extension Target {
    private static let dotCache = Locked<[String: Set<DotProduct>]>([:])

    /// The products of words that this target has instructions for, in vectors of each width up to its own.
    ///
    /// LLVM's C API answers no questions about a processor: a rounding to bfloat16 and sums of products of 16 bits, which
    /// LLVM turns into instructions of the same extensions, are compiled and looked at.
    public var dotProducts: Set<DotProduct> {
        guard kindName == TargetKind.llvm.name, mtriple.hasPrefix("x86_64"), vectorBytes == 64 else {
            return []
        }
        let key = "\(mtriple)|\(mcpu)|\(mattr.joined(separator: ","))"
        if let known = Target.dotCache.with({ $0[key] }) { return known }
        let found = (try? probeDotProducts()) ?? []
        Target.dotCache.with { $0[key] = found }
        return found
    }

    private func probeDotProducts() throws -> Set<DotProduct> {
        func picks(_ first: Int) -> String {
            (0..<16).map { "i32 \(2 * $0 + first)" }.joined(separator: ", ")
        }
        let ir = """
            define void @p(ptr %a, ptr %b) {
              %f = load <16 x float>, ptr %a
              %r = fptrunc <16 x float> %f to <16 x bfloat>
              store <16 x bfloat> %r, ptr %b
              ret void
            }
            define void @q(ptr %a, ptr %b, ptr %s) {
              %x = load <32 x i16>, ptr %a
              %y = load <32 x i16>, ptr %b
              %v = sext <32 x i16> %x to <32 x i32>
              %w = sext <32 x i16> %y to <32 x i32>
              %m = mul <32 x i32> %v, %w
              %e = shufflevector <32 x i32> %m, <32 x i32> poison, <16 x i32> <\(picks(0))>
              %o = shufflevector <32 x i32> %m, <32 x i32> poison, <16 x i32> <\(picks(1))>
              %t = load <16 x i32>, ptr %s
              %u = add <16 x i32> %e, %o
              %z = add <16 x i32> %u, %t
              store <16 x i32> %z, ptr %s
              ret void
            }
            """
        let unit = try LLVMUnit(name: "probe", ir: ir)
        let text = String(decoding: try LLVMTargetMachine(self).emit(unit, assembly: true), as: UTF8.self)
        var found: Set<DotProduct> = []
        if text.contains("vcvtneps2bf16") { found.insert(.bf16) }
        if text.contains("vpdpwssd") { found.insert(.u8s8) }
        return found
    }
}
