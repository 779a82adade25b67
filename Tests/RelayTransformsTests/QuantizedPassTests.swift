import ApusRelayTransforms
import Testing

@Suite struct QuantizedPassTests {
    @Test("what is dequantised, taken the greatest of, rearranged and quantised as before stays integers")
    func throughOperators() throws {
        try expectPass(
            quantizedProducts,
            """
            def @main(%x: Tensor[(1, 3, 8, 8), uint8]) {
              %0 = multiply(subtract(cast(%x, dtype="float32"), cast(3u8, dtype="float32")), 0.5f);
              %1 = reshape(nn.max_pool2d(%0, pool_size=[2, 2], strides=[2, 2]), newshape=[3, 16]);
              %2 = transpose(%1, axes=[1, 0]);
              %3 = add(round(divide(%2, 0.5f)), cast(3u8, dtype="float32"));
              cast(clip(%3, a_min=0f, a_max=255f), dtype="uint8")
            }
            """,
            """
            def @main(%x: Tensor[(1, 3, 8, 8), uint8]) {
              %0 = reshape(nn.max_pool2d(%x, pool_size=[2, 2], strides=[2, 2]), newshape=[3, 16]);
              transpose(%0, axes=[1, 0])
            }
            """)
    }

    @Test(arguments: [
        // Another scale, another zero point, another type.
        """
        def @main(%x: Tensor[(3, 4), uint8]) {
          %0 = multiply(cast(%x, dtype="float32"), 0.5f);
          cast(clip(round(divide(%0, 0.25f)), a_min=0f, a_max=255f), dtype="uint8")
        }
        """,
        """
        def @main(%x: Tensor[(3, 4), uint8]) {
          %0 = multiply(cast(%x, dtype="float32"), 0.5f);
          cast(clip(add(round(divide(%0, 0.5f)), 1f), a_min=0f, a_max=255f), dtype="uint8")
        }
        """,
        """
        def @main(%x: Tensor[(3, 4), uint8]) {
          %0 = multiply(cast(%x, dtype="float32"), 0.5f);
          cast(clip(round(divide(%0, 0.5f)), a_min=-128f, a_max=127f), dtype="int8")
        }
        """,
        // A weight known only at run time; one of float32; data with a scale for each column.
        """
        def @main(%x: Tensor[(3, 4), uint8], %w: Tensor[(5, 4), int8]) {
          nn.dense(multiply(cast(%x, dtype="float32"), 0.5f), multiply(cast(%w, dtype="float32"), 0.5f))
        }
        """,
        """
        def @main(%x: Tensor[(3, 4), uint8], %w: Tensor[(5, 4), float32], %s: Tensor[(4), float32]) {
          %0 = nn.dense(multiply(cast(%x, dtype="float32"), 0.5f), %w);
          (%0, reshape(multiply(cast(%x, dtype="float32"), %s), newshape=[12]))
        }
        """,
    ])
    func others(_ text: String) throws { try expectPass(quantizedProducts, text, text) }
}
