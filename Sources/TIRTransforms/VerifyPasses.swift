import ApusIR
import ApusSupport
import ApusTIR

// Analyses as passes: they change nothing and throw what they find.
extension TIRPasses {
    private static func check(
        _ name: String, _ summary: String, _ body: @escaping @Sendable (PrimFunc) throws -> Void
    ) -> FunctionPass<PrimFunc> {
        FunctionPass<PrimFunc>(PassInfo("tir.\(name)", summary)) { f, _, _ in
            try body(f)
            return f
        }
    }

    /// Throws where a variable is defined more than once.
    public static let verifySSAPass = check("VerifySSA", "every variable is defined once") { f in
        if let v = ssaViolation(f) {
            throw ApusError(
                "TTR099", "a variable is defined twice, or used where it is not defined: \(v)",
                hint: "ConvertSSA gives each its own")
        }
    }

    /// Throws TIR158 where host code accesses the memory of a device.
    public static let verifyMemoryPass = check("VerifyMemory", "the host leaves a device's memory alone") {
        try verifyMemory($0)
    }

    /// Throws TIR159 where a kernel exceeds what the device allows.
    public static func verifyGPUCodePass(_ limits: GPULimits) -> FunctionPass<PrimFunc> {
        check("VerifyGPUCode", "kernels keep the limits of the device") { try verifyGPUCode($0, limits) }
    }
}
