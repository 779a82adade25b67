import ApusIR
import ApusNode
import ApusRelay
import ApusRelayTransforms
import ApusRuntime
import Testing

@Suite struct RecognizeGeluTests {
    /// What PyTorch, TensorFlow and others write.
    @Test(arguments: [
        "multiply(multiply(%x, add(erf(divide(%x, 1.4142135f)), 1.0f)), 0.5f)",
        "multiply(multiply(%x, 0.5f), add(erf(divide(%x, 1.4142135f)), 1.0f))",
        "multiply(%x, multiply(add(erf(multiply(%x, 0.70710677f)), 1.0f), 0.5f))",
        "multiply(multiply(0.5f, %x), add(1.0f, erf(multiply(0.70710677f, %x))))",
    ]) func forms(_ body: String) throws {
        try expectPass(
            recognizeGelu, "def @main(%x: Tensor[(2, 8), float32]) {\n  \(body)\n}",
            "def @main(%x: Tensor[(2, 8), float32]) {\n  nn.gelu(%x)\n}")
    }

    /// The argument may itself be a product, and may be used elsewhere.
    @Test func argumentIsAProduct() throws {
        try expectPass(
            recognizeGelu,
            """
            def @main(%x: Tensor[(2, 8), float32], %s: Tensor[(8), float32]) {
              %0 = multiply(%x, %s);
              add(multiply(multiply(%0, add(erf(divide(%0, 1.4142135f)), 1.0f)), 0.5f), %0)
            }
            """,
            """
            def @main(%x: Tensor[(2, 8), float32], %s: Tensor[(8), float32]) {
              %0 = multiply(%x, %s);
              add(nn.gelu(%0), %0)
            }
            """)
    }

    @Test(arguments: [
        // Another constant, another argument, a result of another shape, an integer scale.
        "multiply(multiply(%x, add(erf(divide(%x, 1.5f)), 1.0f)), 0.5f)",
        "multiply(multiply(%x, add(erf(divide(%x, 1.4142135f)), 1.0f)), 0.25f)",
        "multiply(multiply(%x, add(erf(divide(%x, 1.4142135f)), 2.0f)), 0.5f)",
        "multiply(multiply(%y, add(erf(divide(%x, 1.4142135f)), 1.0f)), 0.5f)",
        "multiply(multiply(multiply(%x, %y), add(erf(divide(%x, 1.4142135f)), 1.0f)), 0.5f)",
        "multiply(add(erf(divide(%x, 1.4142135f)), 1.0f), 0.5f)",
    ]) func others(_ body: String) throws {
        let text = "def @main(%x: Tensor[(1, 8), float32], %y: Tensor[(2, 8), float32]) {\n  \(body)\n}"
        try expectPass(recognizeGelu, text, text)
    }
}
