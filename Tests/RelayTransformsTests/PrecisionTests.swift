import ApusIR
import ApusNode
import ApusRelay
import ApusRelayTransforms
import ApusRuntime
import Testing

@Suite struct ToMixedPrecisionTests {
    /// What two readers share is narrowed once, transposed as bfloat16, and widened for whom it must be.
    @Test func sharedOperands() throws {
        try expectPass(
            toMixedPrecision(lanes: 16),
            """
            def @main(%a: Tensor[(16, 32), float32], %b: Tensor[(64, 32), float32]) {
              %0 = nn.relu(%a);
              %1 = transpose(%b, axes=[1, 0]);
              %2 = nn.matmul(%0, %1);
              add(%2, sum(%0))
            }
            """,
            """
            def @main(%a: Tensor[(16, 32), float32], %b: Tensor[(64, 32), float32]) {
              %0 = cast(nn.relu(%a), dtype="bfloat16");
              %1 = transpose(cast(%b, dtype="bfloat16"), axes=[1, 0]);
              %2 = nn.matmul(%0, %1, out_dtype="float32");
              add(%2, sum(cast(%0, dtype="float32")))
            }
            """)
    }

    /// A product of few rows, or of integers, is left alone, and so is a result.
    @Test(arguments: [
        """
        def @main(%a: Tensor[(4, 32), float32], %b: Tensor[(32, 64), float32]) {
          nn.matmul(%a, %b)
        }
        """,
        """
        def @main(%a: Tensor[(16, 32), int32], %b: Tensor[(32, 64), int32]) {
          nn.matmul(%a, %b)
        }
        """,
    ])
    func others(_ text: String) throws { try expectPass(toMixedPrecision(lanes: 16), text, text) }

    @Test func readersWidenThemselves() throws {
        try expectPass(
            repeatWidening,
            """
            def @main(%a: Tensor[(4,), bfloat16]) {
              %0 = cast(%a, dtype="float32");
              (nn.relu(%0), sum(%0))
            }
            """,
            """
            def @main(%a: Tensor[(4,), bfloat16]) {
              %0 = cast(%a, dtype="float32");
              %1 = cast(%a, dtype="float32");
              (nn.relu(%0), sum(%1))
            }
            """)
    }
}
