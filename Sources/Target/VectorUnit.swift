import ApusSupport

/// What LLVM knows about a processor's vector unit.
struct VectorUnit: Sendable {
    var instructions = VectorInstructions.other
    var bytes = 16
    var registers = 16
    var hasFMA = false
    /// Whether float16 converts to float32 by an instruction.
    var hasF16C = false
    var hasFP16 = false
    var hasBF16 = false
    var hasVNNI = false
    var hasDotProduct = false
    var hasI8MM = false

    private static let cache = Locked<[String: VectorUnit]>([:])

    /// The vector unit of a target. LLVM's C API answers no questions about a processor, so functions that some
    /// processors have an instruction for are compiled and the instructions looked at: that also respects a
    /// processor's preference for narrower vectors than it has.
    static func of(_ target: Target) -> VectorUnit {
        if target.kindName == TargetKind.c.name {
            return target.mcpu == "generic" || target.mcpu == "native" ? of(.host) : VectorUnit()
        }
        let key = "\(target.mtriple)|\(target.mcpu)|\(target.mattr.joined(separator: ","))"
        if let known = cache.with({ $0[key] }) { return known }
        let unit = (try? probe(target)) ?? VectorUnit()
        cache.with { $0[key] = unit }
        return unit
    }

    private static func probe(_ target: Target) throws -> VectorUnit {
        let isX86 = target.mtriple.hasPrefix("x86_64") || target.mtriple.hasPrefix("i")
        let isARM = target.mtriple.hasPrefix("aarch64") || target.mtriple.hasPrefix("arm64")
        let module = try LLVMUnit(name: "probe", ir: common + (isX86 ? x86 : isARM ? arm : ""))
        // Nothing is to be optimised: the shortest way to instructions.
        let machine = try LLVMTargetMachine(target, optLevel: 1)
        let text = String(decoding: try machine.emit(module, assembly: true), as: UTF8.self)
        var found: Set<String> = []
        for line in text.split(separator: "\n") {
            let words = line.split { $0 == " " || $0 == "\t" || $0 == "," }
            guard let first = words.first, !first.hasSuffix(":"), !first.hasPrefix(".") else { continue }
            for w in words { found.insert(String(w)) }
        }
        func uses(_ prefix: String) -> Bool { found.contains { $0.hasPrefix(prefix) } }
        var unit = VectorUnit()
        unit.hasF16C = !text.contains("__extendhfsf2") && !text.contains("__gnu_h2f_ieee")
        if isX86 {
            unit.hasFMA = uses("vfmadd")
            unit.bytes = uses("%zmm") || uses("(%zmm") ? 64 : uses("%ymm") ? 32 : 16
            // The absolute value of four 64-bit integers takes 512 bits where AVX-512 has no shorter vectors.
            let hasVL = text.contains("vpabsq") && !lines(text, "vpabsq").contains { $0.contains("zmm") }
            unit.registers = text.contains("vpabsq") && (unit.bytes == 64 || hasVL) ? 32 : 16
            unit.instructions =
                text.contains("vpabsq")
                ? .avx512
                : lines(text, "vpaddq").contains(where: { $0.contains("ymm") })
                    ? .avx2 : unit.bytes >= 32 ? .avx : .sse
            // AVX-NE-CONVERT has the conversion too, written {vex}, but no multiply-add.
            unit.hasBF16 = lines(text, "vcvtneps2bf16").contains { !$0.contains("{vex}") }
            unit.hasVNNI = uses("vpdpwssd")
            unit.hasFP16 = uses("vaddph")
        } else {
            unit.registers = 32
            unit.hasFMA = uses("fmla") || uses("fmadd") || uses("vfmacc")
            if isARM {
                unit.instructions = .neon
                unit.hasBF16 = uses("bfcvtn")
                unit.hasFP16 = lines(text, "fadd").contains { $0.contains(".8h") }
                unit.hasDotProduct = found.contains("sdot")
                unit.hasI8MM = found.contains("usdot")
            }
        }
        return unit
    }

    private static func lines(_ text: String, _ mnemonic: String) -> [Substring] {
        text.split(separator: "\n").filter { $0.contains(mnemonic) }
    }

    /// A multiply-add of a wide vector, and a conversion from float16.
    private static let common = """
        define void @p(ptr %a, ptr %b) {
          %x = load <16 x float>, ptr %a
          %y = load <16 x float>, ptr %b
          %m = fmul contract <16 x float> %x, %y
          %s = fadd contract <16 x float> %m, %x
          store <16 x float> %s, ptr %a
          %h = load <8 x half>, ptr %b
          %e = fpext <8 x half> %h to <8 x float>
          store <8 x float> %e, ptr %b
          ret void
        }
        define <8 x half> @h(<8 x half> %a, <8 x half> %b) {
          %r = fadd <8 x half> %a, %b
          ret <8 x half> %r
        }

        """

    private static let x86 = """
        declare <4 x i32> @llvm.x86.sse2.pmadd.wd(<8 x i16>, <8 x i16>)
        declare <4 x i64> @llvm.abs.v4i64(<4 x i64>, i1)
        define void @bf(ptr %a, ptr %b) {
          %x = load <16 x float>, ptr %a
          %t = fptrunc <16 x float> %x to <16 x bfloat>
          store <16 x bfloat> %t, ptr %b
          ret void
        }
        define <4 x i32> @dot(<4 x i32> %c, <8 x i16> %a, <8 x i16> %b) {
          %r = call <4 x i32> @llvm.x86.sse2.pmadd.wd(<8 x i16> %a, <8 x i16> %b)
          %s = add <4 x i32> %r, %c
          ret <4 x i32> %s
        }
        define <4 x i64> @abs(<4 x i64> %a) {
          %r = call <4 x i64> @llvm.abs.v4i64(<4 x i64> %a, i1 false)
          ret <4 x i64> %r
        }
        define <4 x i64> @sum(<4 x i64> %a, <4 x i64> %b) {
          %r = add <4 x i64> %a, %b
          ret <4 x i64> %r
        }
        """

    private static let arm = """
        declare <4 x i32> @llvm.vector.partial.reduce.add.v4i32.v16i32(<4 x i32>, <16 x i32>)
        define void @bf(ptr %a, ptr %b) {
          %x = load <4 x float>, ptr %a
          %t = fptrunc <4 x float> %x to <4 x bfloat>
          store <4 x bfloat> %t, ptr %b
          ret void
        }
        define <4 x i32> @dot(<4 x i32> %c, <16 x i8> %a, <16 x i8> %b) {
          %x = sext <16 x i8> %a to <16 x i32>
          %y = sext <16 x i8> %b to <16 x i32>
          %m = mul <16 x i32> %x, %y
          %s = call <4 x i32> @llvm.vector.partial.reduce.add.v4i32.v16i32(<4 x i32> %c, <16 x i32> %m)
          ret <4 x i32> %s
        }
        define <4 x i32> @mixed(<4 x i32> %c, <16 x i8> %a, <16 x i8> %b) {
          %x = zext <16 x i8> %a to <16 x i32>
          %y = sext <16 x i8> %b to <16 x i32>
          %m = mul <16 x i32> %x, %y
          %s = call <4 x i32> @llvm.vector.partial.reduce.add.v4i32.v16i32(<4 x i32> %c, <16 x i32> %m)
          ret <4 x i32> %s
        }
        """
}
