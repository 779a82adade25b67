import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

extension TIRPasses {
    /// Gives each definition of a variable or buffer its own object, as `verifyWellFormed` demands: for code put together
    /// from pieces that were used more than once. See `convertSSA` of TIR.
    public static let convertSSA = primFuncPass(
        PassInfo(
            "tir.ConvertSSA", "every variable and buffer is defined once", establishes: ["single definitions"]
        )
    ) { f, _, _ in withLargeStack { ApusTIR.convertSSA(f) } }
}
